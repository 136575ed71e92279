"""How good predictions are: accuracy, and who is taken for whom."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_dls.engine.arrays import Array, as_array
from tinygrad_dls.engine.devices import to_host
from tinygrad_dls.engine.tensor import values
from tinygrad_dls.nn.columns import refuse_series
from tinygrad_dls.nn.models import Classifier
from tinygrad_dls.nn.module import Module

__all__ = ["accuracy", "are_whole", "confusion_matrix", "is_of_classes", "is_one_class_each"]


def accuracy(predictions: Array, Y: Array) -> float:
    """The fraction of examples whose predicted class is the label; for several labels, of the labels that are right.

    Soft labels stand for the likelier class: in one row that is 1 where ``Y > 0.5``, as `predict` has it for A; in
    columns, which then sum to 1, it is the row of the largest.

    Parameters
    ----------
    predictions : array of classes, shape (1, m)
        Or of several labels, each 0 or 1, of shape (n_y, m).
    Y : array, shape (1, m) of classes, or (n_y, m) one-hot
        Or several labels, each 0 or 1, of the shape of `predictions`.

    Raises
    ------
    ValueError
        If the shapes do not fit, or if there are no classes: predictions that are probabilities, numeric targets.
    """
    predictions, Y = _checked(predictions, Y)
    if predictions.shape[0] > 1:
        return float((predictions == Y).mean())
    predictions, classes = predictions[0], _classes(Y, soft=True)
    if Y.shape[0] == 1 and (classes != Y[0]).any() and not np.isin(predictions, (0, 1)).all():
        raise ValueError(f"Y holds soft labels of the classes 0 and 1, predictions hold {predictions.max():g}.")
    for name, one, other in (("Y", classes, predictions), ("predictions", predictions, classes)):
        if one.min() == -1 and other.min() == 0 and np.isin(one, (-1, 1)).all() and np.isin(other, (0, 1)).all():
            raise ValueError(f"{name}: labels -1 and 1, held against labels 0 and 1. Write ({name} + 1) / 2.")
    return float((predictions == classes).mean())


def confusion_matrix(predictions: Array, Y: Array) -> np.ndarray[Any, Any]:
    """Counts of examples by true class (row) and predicted class (column).

    Parameters
    ----------
    predictions : array of classes, shape (1, m)
        As ``model.predict(X)`` gives them.
    Y : array, shape (1, m) of classes, or (n_y, m) one-hot
        The true classes.

    Returns
    -------
    array of int, shape (n_classes, n_classes)

    Raises
    ------
    ValueError
        If the shapes do not fit, or if a class is no integer from 0 up.

    Examples
    --------
    >>> import numpy as np, tinygrad_dls as tg
    >>> tg.confusion_matrix(np.array([[0, 1, 1, 1]]), np.array([[0, 0, 1, 1]]))
    array([[1, 1],
           [0, 2]])
    """
    predictions, Y = _checked(predictions, Y, several=False)
    both = np.concatenate([predictions, _classes(Y, soft=False)[None, :]])
    if not np.isfinite(both).all() or both.min() < 0 or (both != both.astype(int)).any():
        low, high = both.min(), both.max()
        raise ValueError(f"confusion_matrix: classes must be integers from 0 up, got values from {low:g} to {high:g}.")
    n = max(2, np.shape(Y)[0], int(both.max()) + 1)
    if n > 10_000:  # a matrix of nearly a gigabyte
        raise ValueError(f"confusion_matrix: classes up to {n - 1}; number them from 0 without gaps.")
    matrix = np.zeros((n, n), dtype=int)
    np.add.at(matrix, (both[1].astype(int), both[0].astype(int)), 1)
    return matrix


def _checked(predictions: Array, Y: Array, several: bool = True) -> tuple[Array, Array]:
    """Predictions that are classes, or several labels, and labels in as many columns."""
    refuse_series(Y, "accuracy" if several else "confusion_matrix", "Y")
    predictions = to_host(as_array(values(predictions), "predictions"))  # scores are of the host
    Y = to_host(as_array(values(Y), "Y"))
    labels = several and predictions.ndim == 2 and predictions.shape[0] > 1 and predictions.shape == Y.shape
    rows = predictions.shape[0] if labels else 1
    if predictions.ndim != 2 or Y.ndim != 2 or predictions.shape != (rows, Y.shape[1]):
        raise ValueError(
            f"predictions are {predictions.shape}, Y is {Y.shape}; expected (1, m), and a column for each."
        )
    if 0 in (*predictions.shape, *Y.shape):
        raise ValueError(f"predictions are {predictions.shape}, Y is {Y.shape}: there are no examples.")
    if np.isnan(predictions).any() or np.isnan(Y).any():
        raise ValueError("predictions or Y hold NaN, which is no class.")
    if several and not are_whole(predictions):
        raise ValueError(
            f"predictions hold {_first_broken(predictions):g}, which is no class. Pass model.predict(X), or A > 0.5 "
            "for probabilities A of one row and np.argmax(A, axis=0)[None, :] for several; accuracy is not for numbers."
        )
    if labels and not (np.isin(predictions, (0, 1)).all() and np.isin(Y, (0, 1)).all()):
        raise ValueError("several labels for an example must be 0 or 1 each, in predictions and in Y.")
    if labels and is_one_class_each(Y) and is_one_class_each(predictions):
        raise ValueError(
            "predictions and Y have a single 1 in each column. Of one-hot classes pass "
            "np.argmax(predictions, axis=0)[None, :]; the fraction of right labels is np.mean(predictions == Y)."
        )
    return predictions, Y


def _classes(Y: Array, *, soft: bool) -> Array:
    """The class of each column of labels."""
    if Y.shape[0] > 1:
        if not is_one_class_each(Y):
            raise ValueError(
                "a column of Y has several labels, or none; expected the probabilities of the classes, which sum to 1. "
                "For several labels, predictions have the shape of Y: let the model have several_labels=True."
            )
        return np.argmax(Y, axis=0)
    if not soft or are_whole(Y):
        return Y[0]
    if Y.min() < 0 or Y.max() > 1:
        raise ValueError(
            f"Y holds {_first_broken(Y):g}, which is no class: there is no accuracy of numeric targets. "
            "Use tg.mean_squared_error."
        )
    return (Y[0] > 0.5).astype(int)


def are_whole(x: Array) -> bool:
    """Whether all numbers are whole."""
    return x.dtype.kind != "f" or bool((x == np.round(x)).all())


def _first_broken(x: Array) -> Any:
    return x[x != np.round(x)].flat[0]


def is_one_class_each(Y: Array) -> bool:
    """Whether columns of several rows are one class each: one-hot, or probabilities that sum to 1."""
    Y = to_host(Y).astype(float)
    return bool((Y >= 0).all() and (abs(Y.sum(axis=0) - 1) < 1e-3).all())  # float16 sums ten of them to 1e-3


def is_of_classes(model: Module, rows: int, Y: Array) -> bool:
    """Whether labels are of classes that a model with so many rows of output can predict."""
    Y = to_host(Y)
    if Y.shape[0] > 1:
        several = isinstance(model, Classifier) and model.several_labels
        return bool(np.isin(Y, (0, 1)).all()) if several else is_one_class_each(Y)
    if rows > 1:
        return are_whole(Y) and bool(Y.min() >= 0 and Y.max() < rows)
    return not isinstance(model, Classifier) or bool(Y.min() >= 0 and Y.max() <= 1)
