"""Metrics beyond the accuracy, by name or as functions, measured on the validation data after each epoch.

Those with names are scikit-learn's functions, given what they expect; each says what it is for: one class against the
other, one class for each example, several labels, or numbers. For anything else it is refused before the training.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from tinygrad_dls.engine.arrays import Array, as_array, real_number
from tinygrad_dls.engine.devices import to_host
from tinygrad_dls.engine.errors import shown
from tinygrad_dls.engine.tensor import values
from tinygrad_dls.extras import install
from tinygrad_dls.nn.evaluation import evaluated
from tinygrad_dls.nn.module import Module
from tinygrad_dls.training.history import COST, VALIDATION_ACCURACY, VALIDATION_COST
from tinygrad_dls.training.metrics import accuracy, are_whole

__all__ = ["Scores"]

AVERAGES = ("macro", "micro", "weighted")
OF_CLASSES = {"precision": "precision_score", "recall": "recall_score", "f1": "f1_score"}
NAMES = [
    "accuracy", *(f"{name}{average}" for name in OF_CLASSES for average in ("", *(f"_{a}" for a in AVERAGES))),
    "auc", "auc_ovr", "auc_ovo", "auc_macro", "r2",
]  # fmt: skip


class _Seen(NamedTuple):
    """What a metric is measured of.

    Attributes
    ----------
    model : Module
    X, Y : array
        The validation data.
    numbers : bool
        Whether the model is trained for numbers.
    """

    model: Module
    X: Array
    Y: Array
    numbers: bool

    def output(self) -> Array:
        """What the model gives."""
        return as_array(evaluated(lambda: values(self.model(self.X))), "the model's output")

    def predictions(self) -> Array:
        """The classes, or several labels; of a model that is trained for numbers, these."""
        if self.numbers:
            return self.output()
        return as_array(values(self._of("predict")(self.X)), "predictions")

    def probabilities(self) -> Array:
        """The probability of 1, or of each class."""
        return as_array(values(self._of("predict_proba")(self.X)), "probabilities")

    def _of(self, method: str) -> Any:
        found = getattr(self.model, method, None)
        if found is None:
            raise ValueError(
                f"{type(self.model).__name__} has no {method}(X). Give it one, or let it be an nn.Classifier."
            )
        return found


Score = Callable[[_Seen], float]


class Scores:
    """The metrics that `fit` measures after each epoch.

    Attributes
    ----------
    larger_is_better : dict of str to bool or None
        By name; None of a function, of which nobody knows.
    """

    def __init__(self, metrics: Any) -> None:
        self._scores: dict[str, Score] = {}
        self.larger_is_better: dict[str, bool | None] = {}
        for name, metric in _named(metrics):
            if name in self._scores:
                raise ValueError(f"fit: metrics: there are two called {name}. Name them: metrics={{'name': function}}.")
            if name in (COST, VALIDATION_COST, VALIDATION_ACCURACY, "epoch"):
                raise ValueError(f"fit: metrics: {name} is what the history calls something else. Take another name.")
            self._scores[name] = _by_function(metric) if callable(metric) else _by_name(metric)
            self.larger_is_better[name] = None if callable(metric) else True

    def __bool__(self) -> bool:
        return bool(self._scores)

    def measured(self, model: Module, X: Array, Y: Array, numbers: bool) -> dict[str, float]:
        """All of them, of the model as it is.

        Raises
        ------
        TypeError, ValueError
            That name the metric, if there is no such number here.
        """
        seen, found = _Seen(model, X, Y, numbers), {}
        for name, score in self._scores.items():
            try:
                found[name] = score(seen)
            except (TypeError, ValueError) as error:
                raise type(error)(f"fit: metrics: {name}: {error}") from error
        return found


def _named(metrics: Any) -> list[tuple[str, Any]]:
    """The metrics with their names."""
    if isinstance(metrics, str) or callable(metrics):
        metrics = [metrics]
    if isinstance(metrics, Mapping):
        named = list(metrics.items())
    elif isinstance(metrics, (list, tuple)):
        named = [(x if isinstance(x, str) else getattr(x, "__name__", "<lambda>"), x) for x in metrics]
    else:
        raise TypeError(
            "fit: metrics are names, functions of (predictions, Y), or a dict of them by name: "
            f"metrics=['f1', 'auc']; got {shown(metrics)}."
        )
    for name, metric in named:
        if not isinstance(name, str):
            raise TypeError(f"fit: metrics: a name is a text, got {shown(name)}.")
        if name == "<lambda>":
            raise ValueError("fit: metrics: a function without a name. Name it: metrics={'name': function}.")
        if isinstance(metric, str):
            if metric not in NAMES:
                raise ValueError(f"fit: metrics: there is none called {metric}; there are {', '.join(NAMES)}.")
        elif not callable(metric):
            raise TypeError(f"fit: metrics: {name} is a name or a function of (predictions, Y), got {shown(metric)}.")
        elif str(getattr(metric, "__module__", "")).split(".")[0] == "sklearn":
            raise TypeError(
                f"fit: metrics: {name} of scikit-learn takes rows, and the labels first. Take one by name, such as "
                f"'f1'; or write metrics={{{name!r}: lambda predictions, Y: {name}(Y[0], predictions[0])}}."
            )
    return named


def _by_function(function: Callable[[Array, Array], Any]) -> Score:
    """A function of the user's: of the predictions, or of the numbers that the model gives, and Y."""

    def score(seen: _Seen) -> float:
        return real_number(function(seen.predictions(), seen.Y), "its value")

    return score


# -- by scikit-learn --------------------------------------------------------------------------------------------------


def _by_name(name: str) -> Score:
    if name == "accuracy":
        return _accuracy
    metrics = _scikit_learn(name)
    if name == "r2":
        return lambda seen: _r2(metrics, seen)
    kind, _, average = name.partition("_")
    if kind == "auc":
        return lambda seen: _auc(metrics, average, seen)
    function = getattr(metrics, OF_CLASSES[kind])
    return lambda seen: float(function(*_labels(seen, name, average), average=average or "binary", zero_division=0))


def _scikit_learn(name: str) -> Any:
    try:
        from sklearn import metrics
    except ImportError as error:
        raise ImportError(f"the metric {name} needs scikit-learn: {install('sklearn')}") from error
    return metrics


def _accuracy(seen: _Seen) -> float:
    _refuse_numbers(seen)
    return accuracy(seen.predictions(), seen.Y)


def _labels(seen: _Seen, name: str, average: str) -> tuple[Array, Array]:
    """The labels and the predictions, as scikit-learn takes them: one class for each example, or rows of several."""
    _refuse_numbers(seen)
    predictions, Y = to_host(seen.predictions()), _hard(seen.Y)
    accuracy(predictions, Y)  # which refuses what does not fit
    if predictions.shape[0] > 1:  # several labels
        if not average:
            raise ValueError(f"there are several labels for each example. Say how to average: '{name}_macro'.")
        return Y.T.astype(int), predictions.T.astype(int)
    both = _classes(Y), predictions[0].astype(int)
    if not average and max(int(x.max()) for x in both) > 1:
        raise ValueError(f"there are more than two classes. Say how to average: '{name}_macro'.")
    return both


def _auc(metrics: Any, average: str, seen: _Seen) -> float:
    """The area under the curve of true and false positives: of probabilities, not of predictions."""
    _refuse_numbers(seen)
    A, Y = to_host(seen.probabilities()), _hard(seen.Y)
    several = A.shape[0] > 1 and Y.shape == A.shape and bool(getattr(seen.model, "several_labels", False))
    if several != (average == "macro") or (A.shape[0] > 1) != bool(average):
        right = "'auc_macro'" if several else "'auc_ovr' or 'auc_ovo'" if A.shape[0] > 1 else "'auc'"
        raise ValueError(f"the model gives {A.shape[0]} rows of probabilities. Take {right}.")
    if several:
        if (Y.min(axis=1) == Y.max(axis=1)).any():
            raise ValueError("a label is the same for all examples of the validation data, so there is no such area.")
        return float(metrics.roc_auc_score(Y.T, A.T, average="macro"))
    y = _classes(Y)
    if A.shape[0] == 1:
        if set(np.unique(y)) != {0, 1}:
            raise ValueError("the labels of the validation data are not both of 0 and 1, so there is no such area.")
        return float(metrics.roc_auc_score(y, A[0]))
    if len(np.unique(y)) < A.shape[0]:
        raise ValueError("a class has no example in the validation data, so there is no such area.")
    if not np.allclose(A.sum(axis=0), 1, atol=1e-3):
        raise ValueError("the probabilities of the classes do not sum to 1: a sigmoid for each class is no softmax.")
    A = A.astype(float) / A.sum(axis=0, dtype=float)  # exactly, as scikit-learn wants it
    return float(metrics.roc_auc_score(y, A.T, multi_class=average, average="macro"))


def _r2(metrics: Any, seen: _Seen) -> float:
    """How much of the variance of the numbers is explained, the mean over the rows."""
    if not seen.numbers:
        raise ValueError("it is for targets that are numbers, with a loss of errors such as tg.mean_squared_error.")
    A, Y = to_host(seen.output()), to_host(seen.Y)
    if A.shape != Y.shape:
        raise ValueError(f"the model gives {A.shape}, and Y is {Y.shape}.")
    if A.shape[1] < 2:
        raise ValueError("there is no variance of a single example.")
    return float(metrics.r2_score(Y.T, A.T)) if np.isfinite(A).all() else math.nan


def _refuse_numbers(seen: _Seen) -> None:
    if seen.numbers:
        raise ValueError("it is for classes, and the model is trained for numbers. Take 'r2', or a function.")


def _hard(Y: Array) -> Array:
    """Labels that are of classes, and not soft."""
    Y = to_host(Y)
    if not are_whole(Y) or (Y.shape[0] > 1 and not np.isin(Y, (0, 1)).all()):
        raise ValueError("the labels of the validation data are soft, or numbers; it is for classes.")
    return Y


def _classes(Y: Array) -> Array:
    return np.argmax(Y, axis=0) if Y.shape[0] > 1 else Y[0].astype(int)
