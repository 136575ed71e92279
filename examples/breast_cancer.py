"""Real input: the Wisconsin breast-cancer table, from a CSV file to held-out predictions.

Reads the file, standardises with the training part's mean and standard deviation, trains logistic regression and a
small network, and holds the coefficients of an unpenalised logistic fit against scikit-learn's.

Run: ``python -m examples.breast_cancer [output_folder]`` (needs scikit-learn, for the data and the comparison)
"""

from __future__ import annotations

import csv
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_dls as tg
from examples import plots
from tinygrad_dls.extras import install
from tinygrad_dls.training import Epoch

TARGET = "diagnosis"
# With all 30 features a plane parts the two classes without an error. Then the likelihood has no maximum: the longer
# one trains, the larger the coefficients. With these three the classes overlap, and the fit is unique.
OVERLAPPING = ("mean radius", "mean texture", "mean smoothness")


def write_csv(path: Path) -> None:
    """Write scikit-learn's copy of the table: one row per patient, the features and the diagnosis as text."""
    try:
        from sklearn.datasets import load_breast_cancer
    except ImportError as error:
        raise ImportError(f"this example needs scikit-learn: {install('demo')}") from error
    data = load_breast_cancer()
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*data.feature_names, TARGET])
        for row, label in zip(data.data.tolist(), data.target, strict=True):
            writer.writerow([*row, data.target_names[label]])


def standardised(X: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Shift and scale each feature (row) of X so that those of `like` would get mean 0 and standard deviation 1."""
    return (X - like.mean(axis=1, keepdims=True)) / like.std(axis=1, keepdims=True)


def held_out_results(model: Any, X: np.ndarray, Y: np.ndarray, classes: tuple[str, ...]) -> dict[str, Any]:
    """Print the accuracy and the confusion matrix."""
    predictions = model.predict(X)
    accuracy, matrix = tg.accuracy(predictions, Y), tg.confusion_matrix(predictions, Y)
    print(f"  held-out accuracy {accuracy:.2%}")
    print(f"  {'':18}" + "".join(f"{'predicted ' + name:>22}" for name in classes))
    for name, row in zip(classes, matrix, strict=True):
        print(f"  {'truly ' + name:18}" + "".join(f"{count:22}" for count in row))
    return {"accuracy": accuracy, "confusion": matrix.tolist()}


def unpenalised_fit(X: np.ndarray, Y: np.ndarray) -> tuple[np.ndarray, int]:
    """Maximise the likelihood, by gradient descent with momentum to the end: ``w1 ... wn, b``, and the epochs taken."""
    model = tg.nn.LogisticRegression(X.shape[0])

    def converged(now: Epoch) -> bool:
        return all(float(np.abs(p.grad).max()) < 1e-13 for p in now.model.parameters())

    history = tg.fit(
        model,
        X,
        Y,
        loss=tg.binary_cross_entropy_with_logits,
        optimizer=tg.optim.SGD(model.parameters(), lr=1.0, momentum=0.9),
        epochs=20_000,
        callbacks=[converged],
    )
    W, b = (p.data for p in model.parameters())
    return np.append(W[0], b[0, 0]), len(history)


def scikit_learns_fit(X: np.ndarray, Y: np.ndarray) -> np.ndarray:
    """Do the same with scikit-learn, which has the examples as rows and penalises unless C is infinite."""
    from sklearn.linear_model import LogisticRegression

    fit = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-13).fit(X.T, Y[0])
    return np.append(fit.coef_[0], fit.intercept_[0])


def main(output: Path | None = None) -> dict[str, Any]:
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) if output is None else output
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "breast_cancer.csv"
        write_csv(path)
        table = tg.datasets.read_csv(path, target=TARGET)
    X, Y = table.X, table.Y
    n_x, m = X.shape
    results["shape"], results["classes"] = X.shape, table.classes
    print(f"Read {m} examples of {n_x} features; the classes are " + ", ".join(table.classes))

    # Three examples in ten are held out, by chance. Nothing about them, their mean included, may enter the training.
    order = np.random.default_rng(0).permutation(m)
    held_out, training = order[: m * 3 // 10], order[m * 3 // 10 :]
    X_train, Y_train = standardised(X[:, training], like=X[:, training]), Y[:, training]
    X_test, Y_test = standardised(X[:, held_out], like=X[:, training]), Y[:, held_out]
    print(f"Training on {len(training)}, holding out {len(held_out)}")

    print(f"Logistic regression, {n_x} features")
    model = tg.nn.LogisticRegression(n_x)
    logistic_history = tg.fit(
        model,
        X_train,
        Y_train,
        loss=tg.binary_cross_entropy_with_logits,
        optimizer=tg.optim.SGD(model.parameters(), lr=0.5),
        epochs=200,
        validation=(X_test, Y_test),
    )
    results["logistic"] = held_out_results(model, X_test, Y_test, table.classes)

    print("Two-layer network, 8 hidden units, mini-batches of 32")
    model = tg.nn.TwoLayerNetwork(n_x, 8, rng=1, init=tg.init.xavier)
    network_history = tg.fit(
        model,
        X_train,
        Y_train,
        loss=tg.binary_cross_entropy_with_logits,
        optimizer=tg.optim.Adam(model.parameters(), lr=0.002),
        epochs=40,
        batch_size=32,
        rng=2,
        validation=(X_test, Y_test),
    )
    results["network"] = held_out_results(model, X_test, Y_test, table.classes)

    # All examples, three features: the coefficients mean something here, so they can be compared.
    rows = [table.features.index(name) for name in OVERLAPPING]
    X_few = standardised(X[rows], like=X[rows])
    ours, epochs = unpenalised_fit(X_few, Y)
    theirs = scikit_learns_fit(X_few, Y)
    results["coefficients"], results["scikit_learn"], results["epochs"] = ours, theirs, epochs
    results["coefficient_difference"] = float(np.abs(ours / theirs - 1).max())
    print(f"Unpenalised logistic fit, {len(rows)} features, all examples ({epochs} epochs)")
    print(f"  {'coefficient':18}{'tinygrad_dls':>22}{'scikit-learn':>22}")
    for name, own, other in zip((*OVERLAPPING, "b"), ours, theirs, strict=True):
        print(f"  {name:18}{own:22.12f}{other:22.12f}")
    print(f"  largest relative difference {results['coefficient_difference']:.1e}")

    if output is not None:
        print(f"wrote {path}")
        figure, axes = plots.new_figure(9.6, 4.0, ncols=2, sharey=True)
        for ax, history, title in (
            (axes[0], logistic_history, "Logistic regression (whole batches)"),
            (axes[1], network_history, "Two-layer network (mini-batches)"),
        ):
            plots.draw_curves(ax, {"training": history.costs, "held out": history.validation_costs})
            ax.set(title=title, xlabel="epoch", ylim=(0, 0.75))
        axes[0].set(ylabel="cost J")
        plots.save(figure, output, "breast_cancer_cost.png")
    return results


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
