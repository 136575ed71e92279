"""Arrays in chunks, which are dask's: what is predicted of one is lazy, a task for each chunk of examples.

Nothing here imports dask: its arrays bring with them what is asked of them.
"""

from __future__ import annotations

import copy
import functools
import inspect
import warnings
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np

from tinygrad_dls.engine.arrays import Array
from tinygrad_dls.engine.tensor import values

__all__ = [
    "blocks_of_columns", "by_chunks", "is_chunked", "lazily", "refuse_other_collections", "taking_chunks",
    "whole_columns",
]  # fmt: skip

C = TypeVar("C", bound=type)


def is_chunked(x: Any) -> bool:
    """Whether something is a collection of dask's, such as an array in chunks; a Tensor of one, too."""
    return hasattr(type(values(x)), "__dask_graph__")


def refuse_other_collections(x: Any, name: str, who: str, axis: int = 1, where: str = "") -> None:
    """Refuse a collection of dask's that is no array, such as a DataFrame; of an array, `axis` counts examples."""
    if hasattr(type(x), "map_blocks") and hasattr(type(x), "chunks"):
        return
    raise TypeError(
        f"{who}: {name} is a dask {type(x).__name__}{where}, and no array. Of a DataFrame, whose rows are examples, "
        f"write {name} = ddf[columns].to_dask_array(lengths=True){'.T' if axis else ''}."
    )


def _refuse_other_shapes(X: Any, who: str, axis: int) -> None:
    """Refuse what is no matrix of examples, or whose features nobody has counted."""
    if len(X.shape) != 2:
        wanted = "(n_x, m), with the examples as columns" if axis else "(m, n_x), with the examples as rows"
        raise ValueError(f"{who}: X is {X.shape}; expected {wanted}.")
    if np.isnan(X.shape[1 - axis]):
        raise ValueError(
            f"{who}: X is {X.shape}, and dask does not know yet how many features there are. Write X = "
            "X.compute_chunk_sizes(); or X.T, if it is the examples that are not counted."
        )


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


def blocks_of_columns(X: Any, who: str) -> Iterator[Array]:
    """The chunks of an array of columns that have examples, in memory one at a time."""
    refuse_other_collections(X, "X", who)
    _refuse_other_shapes(X, who, axis=1)
    X = whole_columns(X, who)
    return (block for i in range(X.numblocks[1]) if (block := X.blocks[:, i].compute()).size)


def by_chunks(function: Callable[[Array], Array], X: Any, who: str, axis: int) -> Any:
    """A function of examples, applied to each chunk of an array when that is computed: a lazy array.

    What it gives for one example says of which shape and dtype the result is. What the function is bound to is copied,
    so that a model that is trained further meanwhile predicts as it did.
    """
    X = values(X)
    refuse_other_collections(X, "X", who, axis)
    _refuse_other_shapes(X, who, axis)
    X = whole_columns(X, who, axis)
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


# -- estimators, whose examples are rows ------------------------------------------------------------------------------


def taking_chunks(estimator: C) -> C:
    """Let an estimator of scikit-learn's manners take arrays in chunks of rows.

    What it predicts of one is lazy, and `partial_fit` goes through the chunks in their order, one in memory at a time.
    """
    for name in ("predict", "predict_proba"):
        if name in vars(estimator):
            setattr(estimator, name, lazily(axis=0)(vars(estimator)[name]))
    estimator.partial_fit = _chunk_by_chunk(estimator.partial_fit)  # type: ignore[attr-defined]
    return estimator


def _chunk_by_chunk(partial_fit: Any) -> Any:
    signature = inspect.signature(partial_fit)

    @functools.wraps(partial_fit)
    def by_chunks_of_rows(self: Any, X: Any, y: Any, *args: Any, **options: Any) -> Any:
        if not is_chunked(X):
            return partial_fit(self, X, y, *args, **options)
        bound = signature.bind(self, X, y, *args, **options)
        who = f"{type(self).__name__}.partial_fit"
        by_row = {name: x for name, x in bound.arguments.items() if name in ("y", "sample_weight") and x is not None}
        for name, x in {"X": X, **by_row}.items():
            if is_chunked(x):
                refuse_other_collections(x, name, who, axis=0)
        _refuse_other_shapes(X, who, axis=0)
        X = whole_columns(X, who, axis=0)
        for blocks in _blocks_of_rows({"X": X} | by_row, type(self).__name__):
            bound.arguments.update(blocks)
            if len(blocks["X"]):
                partial_fit(*bound.args, **bound.kwargs)
        return self

    return by_chunks_of_rows


def _blocks_of_rows(arrays: dict[str, Any], who: str) -> Iterator[dict[str, Array]]:
    """The blocks of arrays with as many rows, in memory."""
    import dask
    import dask.array as da

    sizes = arrays["X"].chunks[0]
    known = not any(np.isnan(n) for n in sizes)
    parts = {}
    for name, x in arrays.items():
        if not is_chunked(x) or (known and x.chunks[0] != sizes):
            if not known or len(x) != sum(sizes):
                raise ValueError(
                    f"{who}.partial_fit: {name} has {len(x)} rows, and X {sum(sizes)}, in chunks of dask. Of sizes "
                    "that it does not know yet, write X = X.compute_chunk_sizes()."
                )
            rows = x if is_chunked(x) else da.from_array(np.asarray(x))
            x = rows.rechunk({0: sizes})
        parts[name] = x
    if len({x.numblocks[0] for x in parts.values()}) > 1:
        raise ValueError(
            f"{who}.partial_fit: X and y are in different numbers of chunks, of sizes that dask does not know yet. "
            "Write X = X.compute_chunk_sizes(), and so for y."
        )
    for i in range(len(sizes)):
        yield dict(zip(parts, dask.compute(*[x.blocks[i] for x in parts.values()]), strict=True))
