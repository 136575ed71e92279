"""The steps of a training: eager or compiled, with weights or without."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tinygrad_dls.engine.arrays import Array, boolean
from tinygrad_dls.nn.module import Module
from tinygrad_dls.optimizer import Optimizer, eager_step

if TYPE_CHECKING:
    from tinygrad_dls.training.validation import Validation

__all__ = ["Prepared", "StepError", "Steps", "steps_of", "with_weights"]

Loss = Callable[..., Any]


class StepError(RuntimeError):
    """A step could not be taken, and the training ends with the last whole one.

    Attributes
    ----------
    history : History
        What is known of the epochs before.
    """

    history: Any = None


@dataclass(frozen=True)
class Steps:
    """How steps are taken.

    Attributes
    ----------
    arrays : tuple of array
        What batches are cut from.
    take : function
        A step with a batch of these; it returns the cost from before the update.
    size : function
        How much a batch counts in the cost of an epoch: its number of examples, or the sum of their weights.
    """

    arrays: tuple[Array, ...]
    take: Callable[..., float]
    size: Callable[..., float]


class Prepared(NamedTuple):
    """A training that may begin.

    Attributes
    ----------
    steps : Steps
    batches : iterable
        An epoch each time: of arrays, or of the numbers of chunks.
    validation : Validation or None
    close : function
        Lets go of what the workers hold, if there are any.
    """

    steps: Steps
    batches: Any
    validation: Validation | None
    close: Callable[[], None] = lambda: None


def steps_of(
    model: Module,
    loss: Loss,
    optimizer: Optimizer,
    data: tuple[Array, Array],
    weights: Array | None,
    compile: bool | Mapping[str, Any],
) -> Steps:
    """The steps for these data."""
    X, Y = data
    if not isinstance(compile, Mapping) and not boolean(compile, "fit: compile"):
        if weights is None:
            return Steps(data, functools.partial(eager_step, model, loss, optimizer), _columns)

        def weighted(X: Array, Y: Array, w: Array) -> float:
            return eager_step(model, functools.partial(loss, sample_weight=w), optimizer, X, Y)

        return Steps((X, Y, weights), weighted, _weight)
    from tinygrad_dls.compiler import compile as compiled  # only training that is compiled needs it

    options = {"gradients": True} | (dict(compile) if isinstance(compile, Mapping) else {})
    if weights is None:
        return Steps(data, compiled(model, loss, optimizer, **options), _columns)
    step = compiled(model, _with_weights_below(loss, Y), optimizer, **options)
    return Steps(with_weights(X, Y, weights, True), step, _weight)


def with_weights(X: Array, Y: Array, weights: Array | None, compiled: bool) -> tuple[Array, ...]:
    """What a step is called with: weights stand in a row below the labels, if it is compiled."""
    if weights is None:
        return X, Y
    if not compiled:
        return X, Y, weights
    return X, np.concatenate((Y, weights), dtype=np.result_type(Y, weights))


def _columns(*batch: Array) -> int:
    n: int = batch[0].shape[1]
    return n


def _weight(*batch: Array) -> float:
    """The sum of the weights, which stand in the last row of the last array."""
    return float(batch[-1][-1].sum())


def _with_weights_below(loss: Loss, Y: Array) -> Loss:
    """The loss of labels with the weights in a row below them: a compiled step takes two arrays."""
    whole = Y.dtype if Y.dtype.kind in "iub" else None  # class indices are integers

    def weighted(Z: Any, YW: Any) -> Any:
        labels = YW[:-1] if whole is None else YW[:-1].astype(whole)
        return loss(Z, labels, sample_weight=YW[-1:])

    return weighted
