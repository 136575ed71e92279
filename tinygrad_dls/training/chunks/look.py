"""The one look at all chunks before a training: whether they are numbers, what they count, and who stands for all.

A few columns stand for all of a chunk: the first ones, and those that would make a check of labels fail if one does. So
what a model is trained for, and whether labels are fit for the loss, is found out of these, by the code that otherwise
sees all labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from tinygrad_dls.engine.arrays import HALF, Array, as_array
from tinygrad_dls.nn.labels import check_weights
from tinygrad_dls.training.weights import class_of_each

__all__ = ["Look", "Shapes", "look"]

FIRST = 8  # columns, enough to be cut in two uneven parts


class Tally(NamedTuple):
    """The classes, how many examples each has, and the sum of their weights."""

    classes: Array
    counts: Array
    weights: Array


class Look(NamedTuple):
    """What was seen of a chunk.

    Attributes
    ----------
    infinite : int
        Entries of X that are no finite numbers.
    X, Y, w : array
        Columns that stand for all; of w, None without weights.
    weight : float
        The sum of the weights, or the number of examples.
    tally : Tally or None
        None if nobody asks.
    """

    infinite: int
    X: Array
    Y: Array
    w: Array | None
    weight: float
    tally: Tally | None


@dataclass(frozen=True)
class Shapes:
    """Those of a chunk's arrays; no list, which dask would look into."""

    each: list[tuple[int, int]]


def look(source: Any, shapes: Shapes, dtype: Any, classes: bool) -> Look:
    """Look at a chunk, whose arrays are to be of these shapes; X is trained with in a dtype."""
    X, Y, *rest = [as_array(x, "fit: a chunk") for x in source.load()]
    for x, shape, name in zip((X, Y, *rest), shapes.each, ("X", "Y", "sample_weight"), strict=False):
        if x.shape != shape:
            raise ValueError(
                f"fit: a chunk of {name} is {x.shape}, and dask takes it for {shape}. Write {name} = "
                f"{name}.compute_chunk_sizes(), or give map_blocks, from_delayed and the like the right chunks."
            )
    w = rest[0].astype(np.float32 if dtype.char == HALF else dtype) if rest else None
    if w is not None and (problem := check_weights(w)):
        raise ValueError(f"fit: in a chunk, {problem}")
    with np.errstate(all="ignore"):
        infinite = 0 if X.dtype.kind != "f" else int(np.sum(~np.isfinite(X.astype(dtype, copy=False))))
    chosen = standing_for_all(Y)
    weight = float(Y.shape[1] if w is None else w.sum())
    X, first, few = X[:, chosen], Y[:, chosen], None if w is None else w[:, chosen]
    if not classes:
        return Look(infinite, X, first, few, weight, None)
    each = class_of_each(Y)
    found, inverse, counts = np.unique(each, return_inverse=True, return_counts=True)
    weights = counts.astype(float) if w is None else np.bincount(inverse.ravel(), weights=w[0].astype(float))
    return Look(infinite, X, first, few, weight, Tally(found, counts, weights))


def standing_for_all(Y: Array) -> Array:
    """The numbers of columns that pass the checks of labels only if all do: each check is of single columns."""
    if not Y.size:
        return np.arange(min(FIRST, Y.shape[1]))
    y = Y.astype(float)
    chosen = [*range(min(FIRST, Y.shape[1])), int(np.argmin(y.min(axis=0))), int(np.argmax(y.max(axis=0)))]
    with np.errstate(invalid="ignore"):
        strange = (
            y != np.round(y),  # no class
            (y != 0) & (y != 1),
            abs(y.sum(axis=0, keepdims=True) - 1) >= 1e-3,  # not one class: of several labels
            ~np.isfinite(y),
        )
    chosen += [int(np.argmax(found)) for each in strange if (found := each.any(axis=0)).any()]
    return np.unique(chosen)
