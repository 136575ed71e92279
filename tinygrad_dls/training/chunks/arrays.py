"""The data of a training in chunks: arrays of dask's, held against each other before anything is computed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_dls.engine.arrays import as_array
from tinygrad_dls.engine.devices import called_kind, on_device
from tinygrad_dls.engine.tensor import values
from tinygrad_dls.nn.chunks import is_chunked, refuse_other_collections, whole_columns
from tinygrad_dls.nn.columns import refuse_frame
from tinygrad_dls.nn.labels import prepare_weights
from tinygrad_dls.nn.module import Module
from tinygrad_dls.training.examples import check_columns_of

__all__ = ["Chunked", "in_chunks", "refuse_elsewhere"]


@dataclass(frozen=True)
class Chunked:
    """Examples and labels in the same chunks of columns.

    Attributes
    ----------
    arrays : tuple of dask arrays
        X, Y and, if there are any, weights.
    sizes : tuple of int
        The columns of each chunk.
    which : str
        Of what data they are, for errors.
    """

    arrays: tuple[Any, ...]
    sizes: tuple[int, ...]
    which: str

    @property
    def m(self) -> int:
        """The number of examples."""
        return sum(self.sizes)

    @property
    def numbers(self) -> list[int]:
        """The numbers of the chunks that hold examples: files may be empty."""
        return [i for i, n in enumerate(self.sizes) if n]


def in_chunks(X: Any, Y: Any, sample_weight: Any, which: str) -> Chunked:
    """The data in the chunks of X, which are of whole columns; labels and weights may be NumPy arrays.

    Raises
    ------
    TypeError, ValueError
        If they are no such arrays, do not fit each other, or are of a size that is not known yet.
    """
    X, Y = _array(X, "X", which), _array(Y, "Y", which)
    w = None if sample_weight is None else _array(sample_weight, "sample_weight", which)
    if not is_chunked(X):
        raise TypeError(
            f"fit: X is no dask array in {which}, and {'Y' if is_chunked(Y) else 'sample_weight'} is one. Write X = "
            "dask.array.from_array(X, chunks=(-1, 10_000)), or .compute() the other."
        )
    check_columns_of(X, Y, which)
    if w is not None:
        try:  # its shape; what it holds is seen to where its chunks are
            prepare_weights(np.broadcast_to(np.float64(1), w.shape), X.shape, np.dtype(float))
        except ValueError as error:
            raise ValueError(f"fit: {error}") from None
    X = whole_columns(X, "fit")
    arrays = [X, *[_aligned(x, X) for x in (Y, w) if x is not None]]
    return Chunked(tuple(arrays), tuple(map(int, X.chunks[1])), which)


def refuse_elsewhere(model: Module) -> None:
    """Refuse a model whose arrays are no NumPy arrays: a step in chunks computes with these alone."""
    for name, x in model.state_dict().items():
        if not is_chunked(x) and not on_device(x):
            continue
        kind = "is a dask array" if is_chunked(x) else f"lies on a device ({called_kind(x)})"
        move = "np.asarray" if is_chunked(x) else f"{called_kind(x).split()[0]}.asnumpy"
        raise TypeError(
            f"fit: {name} of the model {kind}; what is trained on dask arrays is of NumPy arrays, as their chunks are. "
            f"Write model.to({move}) before."
        )


def _array(x: Any, name: str, which: str) -> Any:
    """An array, in chunks of known sizes if it is dask's."""
    x = values(x)
    if not is_chunked(x):
        if name == "Y":
            refuse_frame(x, "fit", name)
        if on_device(x):
            raise TypeError(
                f"fit: {name} lies on a device ({called_kind(x)}) in {which}, and dask arrays are trained on by the "
                f"host. Write {name} = {name}.get()."
            )
        return as_array(x, f"fit: {name}")
    refuse_other_collections(x, name, "fit", where=f" in {which}")
    x = as_array(x, f"fit: {name}")
    if any(math.isnan(n) for n in x.shape):
        raise ValueError(
            f"fit: {name} is {x.shape} in {which}: dask does not know yet how many examples there are. Write {name} = "
            f"{name}.compute_chunk_sizes(), or ddf.to_dask_array(lengths=True) of a DataFrame."
        )
    if type(meta := x._meta) is not np.ndarray:
        kind = f"{type(meta).__module__.partition('.')[0]} {type(meta).__name__}"
        raise TypeError(
            f"fit: the chunks of {name} are no NumPy arrays in {which}, but {kind}. Write {name} = "
            f"{name}.map_blocks(...) with what makes NumPy arrays of them."
        )
    return x


def _aligned(x: Any, X: Any) -> Any:
    """Labels or weights in the chunks of X."""
    chunks = (-1, X.chunks[1])
    if is_chunked(x):
        return x.rechunk(chunks)
    import dask.array as da

    return da.from_array(x, chunks=chunks)
