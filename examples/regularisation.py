"""Against overfitting: nothing, L2 and dropout compared (the second course, week 1).

The course's network, learning rate, lambda and keep_prob. Its football field is in no package; here are two rings with
so much noise that they run into each other. Without regularisation the network learns every example, noise included.

Run: ``python -m examples.regularisation [output_folder]`` (needs scikit-learn, for the data)
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_dls as tg
from examples import l_layer, plots

SIZES = (2, 20, 3, 1)
LAMBDA, KEEP_PROB = 0.7, 0.86
EPOCHS = 8000


def rings(m: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    return l_layer.scikit_learns("make_circles", n_samples=m, noise=0.2, factor=0.4, random_state=seed)


def penalised(model: tg.nn.Module) -> Any:
    """The cost with the L2 penalty of the course, ``lambda / (2 m) * (||W1||^2 + ||W2||^2 + ||W3||^2)``."""
    return lambda Z, Y: tg.binary_cross_entropy_with_logits(Z, Y) + tg.l2(model, LAMBDA, Y.shape[1])


def train(kind: str, X: np.ndarray, Y: np.ndarray) -> tuple[tg.nn.Classifier, list[float]]:
    """Train the network, always from the same first weights; return it, and the costs."""
    masks = np.random.RandomState(1)
    dropout = (lambda: tg.nn.Dropout(KEEP_PROB, rng=masks)) if kind == "dropout" else None
    model = l_layer.network(SIZES, rng=np.random.RandomState(3), dropout=dropout)
    history = tg.fit(
        model,
        X,
        Y,
        loss=penalised(model) if kind == "L2" else tg.binary_cross_entropy_with_logits,
        optimizer=tg.optim.SGD(model.parameters(), lr=0.3),
        epochs=EPOCHS,
        compile=kind != "dropout",  # which draws new masks in each step, and so cannot be recorded
    )
    return model, history.costs


def main(output: Path | None = None) -> dict[str, Any]:
    X, Y = rings(100, seed=1)
    X_test, Y_test = rings(1000, seed=2)
    models, costs, results = {}, {}, {}
    print(f"{'':12}{'training cost':>15}{'training acc.':>15}{'test acc.':>12}{'test cost':>12}{'|weights|':>12}")
    for kind in ("none", "L2", "dropout"):
        models[kind], costs[kind] = train(kind, X, Y)
        model = models[kind]
        A = model.predict_proba(X_test)  # evaluates: nothing is dropped
        weights = [w for name, w in model.state_dict().items() if name.startswith("W")]
        results[kind] = {
            "cost": costs[kind][-1],
            "accuracy": tg.accuracy(model.predict(X), Y),
            "test": tg.accuracy(model.predict(X_test), Y_test),
            "test_cost": float(np.mean(-Y_test * np.log(A) - (1 - Y_test) * np.log(1 - A))),
            "weights": float(np.sqrt(sum(np.sum(w**2) for w in weights))),
        }
        row = results[kind]
        print(
            f"{kind:12}{row['cost']:15.4f}{row['accuracy']:15.1%}{row['test']:12.1%}{row['test_cost']:12.4f}"
            f"{row['weights']:12.2f}"
        )
    print("Both give up a little of the training set and gain on the test set. The unregularised network is sure of")
    print("its mistakes: its test cost is the largest, although only one prediction in nine is wrong.")

    if output is not None:
        names = {"none": "no regularisation"}
        titled = {
            f"{names.get(kind, kind)}: {results[kind]['test']:.1%} on the test set": model
            for kind, model in models.items()
        }
        plots.save(plots.boundaries(titled, X, Y), output, "regularisation_boundary.png")
    return results


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
