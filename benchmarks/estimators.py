"""TinyClassifier beside scikit-learn's MLPClassifier: accuracy and time of a fit, on three of scikit-learn's data sets.

Both have scikit-learn's defaults for networks: a hidden layer of 100, ReLU, Adam with a learning rate of 0.001, batches
of 200. They take turns on the same folds, with BLAS on one thread; what is timed is the processor's time, in which
other processes of the machine do not count. The table of docs/scikit_learn.md is made of the medians.
"""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Callable
from statistics import mean, median
from typing import Any

import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits, load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import StratifiedKFold
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from benchmarks.ratios import table
from benchmarks.results import ROOT, Results, arguments, load
from tinygrad_dls.sklearn import TinyClassifier

PAGE = ROOT / "docs/scikit_learn.md"
DATA = {  # and the epochs: an epoch of iris is a single step
    "iris": (load_iris, 200),
    "iris, longer": (load_iris, 1000),
    "breast cancer": (load_breast_cancer, 200),
    "digits": (load_digits, 200),
}
MODELS: dict[str, Callable[[int, int], Any]] = {
    "TinyClassifier": lambda seed, epochs: TinyClassifier(epochs=epochs, random_state=seed),
    "MLPClassifier, as many epochs": lambda seed, epochs: MLPClassifier(
        max_iter=epochs, tol=0, n_iter_no_change=epochs, random_state=seed
    ),
    "MLPClassifier, as it comes": lambda seed, epochs: MLPClassifier(max_iter=epochs, random_state=seed),
}


def measured(X: np.ndarray, y: np.ndarray, epochs: int, seeds: int) -> dict[str, dict[str, list[float]]]:
    """Of each model the accuracy, the processor's seconds and the epochs of every fit, in turns."""
    found: dict[str, dict[str, list[float]]] = {name: {"accuracy": [], "seconds": [], "epochs": []} for name in MODELS}
    for seed in range(seeds):
        for train, test in StratifiedKFold(5, shuffle=True, random_state=seed).split(X, y):
            for name, make in MODELS.items():
                model = make_pipeline(StandardScaler(), make(seed, epochs))
                start = time.process_time()
                model.fit(X[train], y[train])
                found[name]["seconds"].append(round(time.process_time() - start, 4))
                found[name]["accuracy"].append(round(model.score(X[test], y[test]), 4))
                found[name]["epochs"].append(model[-1].n_iter_)
    return found


def table_of(kept: dict[str, Any]) -> str:
    """Accuracy in the mean over seeds and folds, and the median of the seconds and of the epochs."""
    lines = []
    for row in kept["rows"]:
        for name, fits in row["models"].items():
            epochs = f"{median(fits['epochs']):.0f}"
            accuracies = f"{mean(fits['accuracy']):.1%}"
            lines.append([row["data"], name, accuracies, f"{median(fits['seconds']):.2f}", epochs])
    facts, fits = kept["machine"], len(kept["rows"][0]["models"]["TinyClassifier"]["seconds"])
    return (
        f"{table(['data', 'model', 'accuracy', 'seconds', 'epochs'], lines)}\n\n"
        f"{fits} fits each, on {facts['cores']} cores of {facts['processor']} that other processes were using, with "
        f"Python {facts['python']}, NumPy {facts['numpy']} and scikit-learn {facts['scikit-learn']}."
    )


def written(page: str) -> str:
    """The page with its table made from what has been measured."""
    place = re.compile(r"(<!-- estimators -->\n).*?(<!-- /estimators -->)", re.DOTALL)
    return place.sub(lambda found: f"{found[1]}\n{table_of(load('estimators'))}\n\n{found[2]}", page)


def main() -> None:
    """Measure, and write the table."""
    quick = arguments(__doc__).quick
    results = Results("estimators", quick=quick)
    warnings.simplefilter("ignore", ConvergenceWarning)  # that the epochs are over is meant
    for name, (read, epochs) in DATA.items():
        X, y = read(return_X_y=True)
        with threadpool_limits(1):
            models = measured(X, y, epochs, seeds=1 if quick else 5)
        results.add(("data",), {"data": name, "examples": len(y), "models": models})
        print(name, {model: (mean(f["accuracy"]), median(f["seconds"])) for model, f in models.items()})
    if not quick:
        PAGE.write_text(written(PAGE.read_text()))


if __name__ == "__main__":
    main()
