"""What a model is trained for, found out by computing the cost once: classes, several labels, or numbers."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tinygrad_dls.engine.arrays import Array, below_one
from tinygrad_dls.engine.devices import to_host
from tinygrad_dls.engine.recording import recording
from tinygrad_dls.engine.tensor import values
from tinygrad_dls.nn.evaluation import evaluated
from tinygrad_dls.nn.fused import loss_of, nodes
from tinygrad_dls.nn.labels import check_columns, check_finite, check_probabilities, smooth_labels
from tinygrad_dls.nn.models import Classifier, Sequential
from tinygrad_dls.nn.module import Module
from tinygrad_dls.training.metrics import is_of_classes, is_one_class_each

__all__ = ["Trial", "smoothing", "tried"]


class Trial(NamedTuple):
    """What a model is trained for.

    Attributes
    ----------
    judged : bool
        Whether there are classes to measure the accuracy of.
    numbers : bool
        Whether its output is held against numbers.
    """

    judged: bool
    numbers: bool


def tried(
    model: Module, loss: Callable[[Any, Any], Any], X: Array, Y: Array, validation: tuple[Array, Array] | None
) -> Trial:
    """What the model is trained for; and tell a `Classifier` what its rows are.

    The cost is computed once, so that wrong labels are refused before the model is changed. What the logits go into
    says what they are: a sigmoid each, a softmax, or a difference from numbers.

    Raises
    ------
    ValueError
        If the model ends in a sigmoid or a softmax, and the loss applies one itself.
    """
    if isinstance(model, Sequential) and model._ending():
        _trial(model, loss, X, Y)  # a loss that applies a sigmoid again says so
    if not isinstance(model, Classifier):
        numbers = validation is not None and _trial(model, loss, *validation)[0] == "numbers"
        return Trial(not numbers, numbers)
    if validation is None and Y.shape[0] == 1:
        return Trial(False, False)
    use, rows = _trial(model, loss, *((X, Y) if validation is None else validation))
    ending = model._ending()
    if use == "numbers" and not ending:
        return Trial(False, True)
    if rows > 1 and ending != "softmax":
        apart = use == "sigmoid" and not ending
        if apart and not model._sigmoids:
            model._sigmoids = True
        several = Y.shape[0] > 1 and not is_one_class_each(Y)
        if several and (apart or ending or np.isin(to_host(Y), (0, 1)).all()) and not model.several_labels:
            model.several_labels = True
    return Trial(validation is not None and is_of_classes(model, rows, validation[1]), False)


def _trial(model: Module, loss: Callable[[Any, Any], Any], X: Array, Y: Array) -> tuple[str, int]:
    """What the cost makes of the model's output, "sigmoid", "numbers", or "" for all else; and its number of rows."""

    def run() -> tuple[str, int]:
        recording.set(True)
        Z = model(X)
        return _use(Z, loss(Z, Y), Y), np.shape(values(Z))[0] if np.ndim(values(Z)) else 1

    return evaluated(run)


def _use(Z: Any, J: Any, Y: Array) -> str:
    for node in nodes(J, Z):
        name, inputs, own = node.op.__name__, node.inputs, loss_of(node.op)
        predicts = own.predicts if own is not None else name
        if inputs and inputs[0] is Z and predicts == "sigmoid":
            return "sigmoid"
        if any(x is Z for x in inputs) and (
            predicts == "numbers" or (name == "subtract" and any(values(x) is Y for x in inputs))
        ):
            return "numbers"
    return ""


# -- smoothed labels --------------------------------------------------------------------------------------------------


def smoothing(
    eps: Any, model: Module, loss: Callable[[Any, Any], Any], X: Array, Y: Array
) -> Callable[[Array], Array] | None:
    """What smooths labels such as these, as the loss says what they are: classes, or a sigmoid each; None for eps 0.

    Raises
    ------
    ValueError
        If the loss does not say, or is one of numbers.
    """
    eps = below_one(eps, "fit: label_smoothing")
    if not eps:
        return None
    dtype = model.parameters()[0].dtype

    def run() -> tuple[set[Any], int]:
        recording.set(True)
        Z = model(X)
        asked = {said.labels for node in nodes(loss(Z, Y), Z) if (said := loss_of(node.op)) is not None}
        return asked, np.shape(values(Z))[0]

    asked, rows = evaluated(run)
    if asked == {check_columns}:
        return functools.partial(_smoothed, eps=eps, dtype=dtype, n_classes=rows if Y.shape[0] == 1 else None)
    if asked == {check_probabilities}:
        return functools.partial(_smoothed, eps=eps, dtype=dtype, several_labels=True)
    what = "is of numbers" if asked == {check_finite} else "does not say that its labels are probabilities"
    raise ValueError(
        f"fit: label_smoothing is for labels that are probabilities, and the loss {what}. Leave it out; or smooth them "
        "yourself: Y = tg.smooth_labels(Y, eps)."
    )


def _smoothed(Y: Array, eps: float, dtype: np.dtype[Any], **options: Any) -> Array:
    smooth: Array = smooth_labels(Y, eps, **options).astype(dtype)
    return smooth
