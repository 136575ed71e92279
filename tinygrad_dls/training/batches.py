"""The examples in batches of columns."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from tinygrad_dls.engine.arrays import Array, as_array, positive_integer
from tinygrad_dls.engine.errors import flattened
from tinygrad_dls.engine.tensor import values
from tinygrad_dls.nn.columns import refuse_frame, refuse_series
from tinygrad_dls.nn.init import generator
from tinygrad_dls.nn.labels import prepare_weights

__all__ = ["minibatches"]


class minibatches:  # noqa: N801  # called like a function, and iterated over
    """The examples in batches of columns, shuffled anew in each epoch; the last batch may be smaller.

    Each ``for`` over it is an epoch.

    Parameters
    ----------
    X : array, shape (n_x, m)
        The examples, as columns.
    Y : array, shape (n_y, m)
        Their labels or targets.
    batch_size : int
        Columns in a batch.
    rng : int or generator, keyword-only
        Where the shuffling draws from.
    sample_weight : array, shape (1, m), optional
        A weight for each example, which goes with it.

    Yields
    ------
    (array, array)
        Shapes (n_x, batch_size) and (n_y, batch_size); with weights, a third, (1, batch_size).

    Raises
    ------
    TypeError, ValueError
        If X, Y and weights have different numbers of columns, or if an argument is of a wrong kind.

    Examples
    --------
    >>> import numpy as np, tinygrad_dls as tg
    >>> batches = tg.minibatches(np.ones((2, 10)), np.ones((1, 10)), 4, rng=0)
    >>> len(batches)
    3
    >>> [X.shape[1] for epoch in range(2) for X, Y in batches]
    [4, 4, 2, 4, 4, 2]
    """

    def __init__(self, X: Array, Y: Array, batch_size: int, *, rng: Any, sample_weight: Any = None) -> None:
        self._batch_size = positive_integer(batch_size, "minibatches: batch_size")
        for x, name in ((X, "X"), (Y, "Y")):
            refuse_frame(x, "minibatches", name)
            refuse_series(x, "minibatches", name)
        X, Y = as_array(values(X), "minibatches: X"), as_array(values(Y), "minibatches: Y")
        if len(X.shape) != 2 or len(Y.shape) != 2 or X.shape[1] != Y.shape[1]:
            raise ValueError(
                f"minibatches: X is {X.shape}, Y is {Y.shape}; expected a column for each example in both"
                f"{': ' + flattened('X') if len(X.shape) > 2 else ''}."
            )
        self._m: int = X.shape[1]
        self._arrays: tuple[Array, ...] = (X, Y)
        if sample_weight is not None:
            weights = as_array(values(sample_weight), "minibatches: sample_weight")
            floats = weights.dtype if weights.dtype.kind == "f" else np.dtype(float)
            self._arrays = X, Y, prepare_weights(weights, X.shape, floats)
        self._rng = generator(rng, "minibatches")

    def __iter__(self) -> Iterator[tuple[Array, ...]]:
        m, size = self._m, self._batch_size
        order = self._rng.permutation(m)
        arrays = [np.take(x, order, axis=1) for x in self._arrays]
        for start in range(0, m, size):
            yield tuple([x[:, start : start + size] for x in arrays])

    def __len__(self) -> int:
        return math.ceil(self._m / self._batch_size)

    def __next__(self) -> Any:
        raise TypeError(
            "minibatches serves any number of epochs; write `for X, Y in batches:`, or next(iter(batches)) "
            "for one batch."
        )

    def __repr__(self) -> str:
        return f"minibatches: {len(self)} of up to {self._batch_size} of {self._m} examples"
