"""Indexing in ONNX: slices, single places, new axes, and arrays of places, in NumPy's order."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_dls.ir.call import Call
from tinygrad_dls.onnx.writing import Value, Writer

__all__ = ["write_index"]

FIRST, LAST = -(2**63), 2**63 - 1  # beyond any axis: what a slice without a start or a stop means


def write_index(w: Writer, call: Call) -> Value:
    """``x[index]``: slices first, then arrays of places, then new axes."""
    x, index = call.args
    parts = _spelled_out(index if isinstance(index, tuple) else (index,), len(x.shape))
    along = [i for i in parts if i is not None]  # one for each axis
    z = _sliced(w, w.value(x), along)
    arrays = [k for k, i in enumerate(along) if not isinstance(i, slice)]
    if all(isinstance(along[k], int) for k in arrays):
        for k in reversed(arrays):
            z = w.node("Gather", z, w.constant(along[k], np.int64), dtype=z.dtype, axis=k)
        places = [i for i in parts if not isinstance(i, int)]
        return w.unsqueezed(z, [k for k, i in enumerate(places) if i is None])
    rank = max(len(_shape(along[k])) for k in arrays)
    z = _gathered(w, z, along, arrays, rank)
    positions = [k for k, i in enumerate(parts) if i is not None and not isinstance(i, slice)]
    apart = positions[-1] - positions[0] >= len(positions)
    first = 0 if apart else sum(isinstance(i, slice) for i in parts[: positions[0]])  # of the axes without new ones
    order = (
        list(range(rank, rank + first)) + list(range(rank)) + list(range(rank + first, len(along) - len(arrays) + rank))
    )
    z = w.transposed(z, order)
    kept = [i for i in parts if i is None or isinstance(i, slice)]
    ahead = 0 if apart else len([i for i in parts[: positions[0]] if i is None or isinstance(i, slice)])
    layout = [*kept[:ahead], *[Ellipsis] * rank, *kept[ahead:]]
    return w.unsqueezed(z, [k for k, i in enumerate(layout) if i is None])


def _spelled_out(parts: tuple[Any, ...], rank: int) -> list[Any]:
    """The parts of an index with a slice for each axis that is taken whole, and places for masks."""
    found: list[Any] = []
    for i in parts:
        if isinstance(i, np.ndarray) and i.dtype == bool:
            found += np.nonzero(i)
        elif isinstance(i, (int, np.integer)):
            found.append(int(i))
        elif isinstance(i, (list, np.ndarray)):
            found.append(np.asarray(i, np.int64))
        else:
            found.append(i)
    missing = [slice(None)] * (rank - sum(i is not None and i is not Ellipsis for i in found))
    at = next((k for k, i in enumerate(found) if i is Ellipsis), None)
    return [*found, *missing] if at is None else [*found[:at], *missing, *found[at + 1 :]]


def _shape(x: Any) -> tuple[int, ...]:
    return () if isinstance(x, int) else tuple(x.shape)


def _sliced(w: Writer, z: Value, along: list[Any]) -> Value:
    taken = [(k, i) for k, i in enumerate(along) if isinstance(i, slice) and i != slice(None)]
    if not taken:
        return z
    steps = [1 if i.step is None else i.step for _, i in taken]
    bounds = [(0, LAST) if step > 0 else (LAST, FIRST) for step in steps]
    starts = [low if i.start is None else i.start for (_, i), (low, _) in zip(taken, bounds, strict=True)]
    stops = [high if i.stop is None else i.stop for (_, i), (_, high) in zip(taken, bounds, strict=True)]
    axes = [k for k, _ in taken]
    return w.node(
        "Slice", z, w.lengths(starts), w.lengths(stops), w.integers(axes), w.integers(steps), dtype=z.dtype
    )  # fmt: skip


def _gathered(w: Writer, z: Value, along: list[Any], arrays: list[int], rank: int) -> Value:
    """The entries at arrays of places, whose axes come first, and behind them those that were sliced."""
    if len(arrays) == 1:
        (k,) = arrays
        z = w.transposed(z, [k, *(i for i in range(len(along)) if i != k)])
        return w.node("Gather", z, w.value(along[k], np.int64), dtype=z.dtype, axis=0)
    z = w.transposed(z, [*arrays, *(i for i in range(len(along)) if i not in arrays)])
    places = [w.value(along[k], np.int64) for k in arrays]
    total = places[0]
    for other in places[1:]:  # the shape that all of them are broadcast to
        total = w.node("Add", total, other, dtype=np.int64)
    shape = w.node("Shape", total, dtype=np.int64)
    columns = [w.unsqueezed(w.node("Expand", i, shape, dtype=np.int64), [rank]) for i in places]
    return w.node("GatherND", z, w.node("Concat", *columns, dtype=np.int64, axis=rank), dtype=z.dtype)
