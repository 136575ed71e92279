"""The weights of examples in training: one for each, one for each class, or both, which multiply."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tinygrad_dls.engine.arrays import HALF, Array, as_array, real_number
from tinygrad_dls.engine.devices import like, to_host
from tinygrad_dls.engine.errors import shown
from tinygrad_dls.engine.tensor import values
from tinygrad_dls.nn.columns import refuse_series
from tinygrad_dls.nn.labels import check_any_weight, check_weights, prepare_weights
from tinygrad_dls.training.metrics import are_whole

__all__ = ["check_takes_weights", "class_of_each", "weights_by_class", "weights_of", "weights_of_examples"]

Loss = Callable[..., Any]


def weights_of(sample_weight: Any, class_weight: Any, Y: Array, dtype: np.dtype[Any]) -> Array | None:
    """The weight of each example, ``(1, m)``, in the model's dtype; None where there are none."""
    weights = None if sample_weight is None else weights_of_examples(sample_weight, Y.shape[1], dtype, "fit")
    if class_weight is None:
        return weights
    wide = np.float32 if dtype.char == HALF else dtype  # as those of examples are: their sum may be large
    of_classes = like(_of_classes(class_weight, to_host(Y)).astype(wide), Y)
    if weights is None:
        return of_classes
    both: Array = weights * of_classes
    if problem := check_weights(both) or check_any_weight(both):
        raise ValueError(f"fit: sample_weight and class_weight multiply. {problem}")
    return both


def weights_of_examples(sample_weight: Any, m: int, dtype: np.dtype[Any], who: str) -> Array:
    """Weights as they were passed, checked; `who` begins the error."""
    refuse_series(sample_weight, who, "sample_weight")
    weights = as_array(values(sample_weight), f"{who}: sample_weight")
    try:
        checked: Array = prepare_weights(weights, (1, m), dtype)
    except ValueError as error:
        raise ValueError(f"{who}: {error}") from None
    return checked


# -- by class ---------------------------------------------------------------------------------------------------------


def _of_classes(class_weight: Any, Y: Array) -> Array:
    """The weight of each example, by its class."""
    labels = class_of_each(Y)
    classes, counts = np.unique(labels, return_counts=True)
    weights = weights_by_class(class_weight, classes, counts, Y.shape[0])
    by_example: Array = weights[np.searchsorted(classes, labels)][None, :]
    return by_example


def weights_by_class(class_weight: Any, classes: Array, counts: Array, rows: int) -> Array:
    """The weights of the classes that there are, of which there are so many examples, in labels of so many rows."""
    if isinstance(class_weight, str) and class_weight == "balanced":
        # as many examples of each class, in effect: their mean is 1
        balanced: Array = counts.sum() / (classes.size * counts)
        return balanced
    if not isinstance(class_weight, Mapping):
        raise TypeError(
            'fit: class_weight is "balanced" or a dict of weights by class, such as {0: 1, 1: 5}; '
            f"got {shown(class_weight)}."
        )
    weights = np.array(_in_order(class_weight, [int(c) for c in classes], rows))
    if not weights.any():
        raise ValueError("fit: class_weight is zero for all classes: there is nothing to take the mean over.")
    return weights


def class_of_each(Y: Array) -> Array:
    """The class of each example: its index, its 0 or 1, or the row of its 1."""
    if Y.shape[0] == 1:
        if not are_whole(Y) or Y.min() < 0:
            raise ValueError(
                f"fit: class_weight is for classes 0, 1, 2, ..., and Y holds {Y.min():g} to {Y.max():g}, not all of "
                "them such. For soft labels and for numbers, weigh each example: sample_weight=."
            )
        return Y[0].astype(int)
    if not (np.isin(Y, (0, 1)).all() and (Y.sum(axis=0) == 1).all()):
        raise ValueError(
            "fit: class_weight is for one class for each example, and Y's columns are not one-hot. For several labels "
            "and for soft ones, weigh each example: sample_weight=."
        )
    return np.argmax(Y, axis=0)


def _in_order(class_weight: Mapping[Any, Any], classes: list[int], rows: int) -> list[float]:
    """The weights of these classes."""
    there = ", ".join(map(str, classes[:10])) + (", ..." if len(classes) > 10 else "")
    named = {}
    for c, weight in class_weight.items():
        if isinstance(c, (bool, np.bool_)) or not isinstance(c, (int, np.integer)):
            raise TypeError(f"fit: class_weight names classes by their index, 0, 1, ...; got {shown(c)}.")
        if c not in classes and not 0 <= c < rows:
            raise ValueError(f"fit: class_weight names class {c}, and Y holds {there}.")
        weight = real_number(weight, f"fit: class_weight of class {c}")
        if not 0 <= weight < np.inf:
            raise ValueError(f"fit: class_weight of class {c} must be a finite number >= 0, got {weight}.")
        named[int(c)] = weight
    for c in classes:
        if c not in named:
            raise ValueError(f"fit: class_weight has no weight for class {c}, of {there}. Add it: {{..., {c}: 1}}.")
    return [named[c] for c in classes]


# -- the loss ----------------------------------------------------------------------------------------------------------


def check_takes_weights(loss: Loss) -> None:
    """Refuse a loss that takes no weights.

    Raises
    ------
    TypeError
        That says what to write.
    """
    try:
        parameters = inspect.signature(loss).parameters.values()
    except (TypeError, ValueError):  # a builtin, which does not say what it takes
        return
    if any(p.name == "sample_weight" or p.kind is p.VAR_KEYWORD for p in parameters):
        return
    name = getattr(loss, "__name__", type(loss).__name__)
    raise TypeError(
        f"fit: the loss {name} takes no sample_weight, so weights would be lost. Write `def {_usable(name)}(Z, Y, *, "
        "sample_weight=None)`, and pass it on: tg.binary_cross_entropy_with_logits(Z, Y, sample_weight=sample_weight)."
    )


def _usable(name: str) -> str:
    return name if name.isidentifier() else "loss"
