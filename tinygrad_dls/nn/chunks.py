"""Arrays in chunks, which are dask's: what is predicted of one is lazy, a task for each chunk of examples.

Nothing here imports dask: its arrays bring with them what is asked of them.
"""

from __future__ import annotations

import copy
import functools
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_dls.engine.arrays import Array
from tinygrad_dls.engine.tensor import values

__all__ = ["by_chunks", "is_chunked", "lazily", "whole_columns"]


def is_chunked(x: Any) -> bool:
    """Whether something is a collection of dask's, such as an array in chunks; a Tensor of one, too."""
    return hasattr(type(values(x)), "__dask_graph__")


def whole_columns(X: Any, who: str, axis: int = 1) -> Any:
    """An array in chunks of whole examples, which `axis` counts.

    Warns
    -----
    UserWarning
        If the features of an example lie in several chunks: they are brought together, which may move all the data.
    """
    features = 1 - axis
    if len(X.chunks[features]) > 1:
        parts = "columns, which are examples," if axis else "rows, which are examples,"
        warnings.warn(
            f"{who}: X is in chunks of {X.chunksize}, which cut its {parts} apart; they are brought together, at each "
            f"pass over the data. Write X = X.rechunk({{{features}: -1}}), or read it in such chunks.",
            UserWarning,
            stacklevel=4,
        )
        X = X.rechunk({features: -1})
    return X


def by_chunks(function: Callable[[Array], Array], X: Any, who: str, axis: int = 1) -> Any:
    """A function of examples, applied to each chunk of an array when that is computed: a lazy array.

    What it gives for one example says of which shape and dtype the result is. What the function is bound to is copied,
    so that a model that is trained further meanwhile predicts as it did.
    """
    X = whole_columns(values(X), who, axis)
    example = np.zeros((X.shape[0], 1) if axis else (1, X.shape[1]), X.dtype)
    one = function(example)
    chunks = [(n,) for n in one.shape]
    chunks[axis if len(one.shape) == 2 else 0] = X.chunks[axis]
    options = {"drop_axis": 1 - axis} if len(one.shape) == 1 else {}
    return X.map_blocks(
        copy.deepcopy(function), chunks=tuple(chunks), dtype=one.dtype, meta=one[(slice(0, 0),) * one.ndim], **options
    )


def lazily(axis: int = 1) -> Callable[[Any], Any]:
    """Let a method of examples take arrays in chunks too, of which it gives a lazy array; `axis` counts examples."""

    def decorate(method: Any) -> Any:
        @functools.wraps(method)
        def by_method(self: Any, X: Any) -> Any:
            if not is_chunked(X):
                return method(self, X)
            return by_chunks(getattr(self, method.__name__), X, f"{type(self).__name__}.{method.__name__}", axis)

        return by_method

    return decorate
