"""NumPy's functions that are a few ops one after the other, and so are differentiated, drawn and compiled as those are.

They are loaded when one of them is first called on a Tensor. Slices and shapes are used where they can be, so that a
program of them is short; only orders that depend on the numbers (`np.sort`, `np.median`) are indices.
"""

from __future__ import annotations

import builtins
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from tinygrad_dls.engine.arrays import as_array
from tinygrad_dls.engine.devices import like
from tinygrad_dls.engine.errors import shown
from tinygrad_dls.engine.ops import (
    broadcast_to,
    concatenate,
    expand_dims,
    getitem,
    matmul,
    multiply,
    reshape,
    sum,
    swapaxes,
    transpose,
    where,
)
from tinygrad_dls.engine.tensor import Tensor, implements, values

__all__ = ["axes_of", "diagonal", "part", "take_along_axis"]

Axes = int | tuple[int, ...]


def _refuse_order(function: str, order: str) -> None:
    if order not in ("C", "K", "A"):
        raise TypeError(f"np.{function}: order={order!r} is not supported on a Tensor; transpose it first.")


def part(x: Any, axis: int, start: int | None, stop: int | None, step: int | None = None) -> Any:
    """A part along an axis."""
    return getitem(x, (slice(None),) * (axis % x.ndim) + (slice(start, stop, step),))


def axes_of(axes: Axes | None, ndim: int) -> tuple[int, ...]:
    """Axes counted from 0; all of them for None."""
    return tuple(range(ndim)) if axes is None else normalize_axis_tuple(axes, ndim)


# -- shapes -----------------------------------------------------------------------------------------------------------


@implements(np.ravel)
def ravel(x: Any, order: str = "C") -> Any:
    """All entries in a row."""
    _refuse_order("ravel", order)
    return reshape(x, -1)


@implements(np.copy)
def copied(x: Any, order: str = "K") -> Any:
    """A copy, which keeps the graph."""
    _refuse_order("copy", order)
    return np.positive(x)


def _at_least(n: int) -> Callable[..., Any]:
    def at_least(*arrays: Any) -> Any:
        found = []
        for x in arrays:
            x = as_array(x, f"np.atleast_{n}d")
            missing = n - x.ndim
            if missing > 0:  # as NumPy does it: vectors become rows, and in three axes get the last one as well
                behind = int(n == 3)
                x = reshape(x, (1,) * (missing - behind) + tuple(x.shape) + (1,) * behind)
            found.append(x)
        return found[0] if len(found) == 1 else tuple(found)

    return at_least


atleast_1d, atleast_2d, atleast_3d = map(_at_least, (1, 2, 3))
implements(np.atleast_1d)(atleast_1d)
implements(np.atleast_2d)(atleast_2d)
implements(np.atleast_3d)(atleast_3d)


@implements(np.moveaxis)
def moveaxis(x: Any, source: Axes, destination: Axes) -> Any:
    """Axes moved to other places; the others keep their order."""
    from_, to = axes_of(source, x.ndim), axes_of(destination, x.ndim)
    if len(from_) != len(to):
        raise ValueError(
            f"np.moveaxis: the axes {shown(source)} are to go to {shown(destination)}; expected as many places as axes."
        )
    order = [i for i in range(x.ndim) if i not in from_]
    for place, axis in sorted(zip(to, from_, strict=True)):
        order.insert(place, axis)
    return transpose(x, tuple(order))


@implements(np.matrix_transpose, np.linalg.matrix_transpose)
def matrix_transpose(x: Any) -> Any:
    """The last two axes exchanged."""
    return swapaxes(x, -1, -2)


@implements(np.flip)
def flip(x: Any, axis: Axes | None = None) -> Any:
    """The entries along axes, from the end; by default, along all."""
    axes = axes_of(axis, x.ndim)
    return getitem(x, tuple(slice(None, None, -1 if i in axes else None) for i in range(x.ndim)))


@implements(np.fliplr)
def fliplr(x: Any) -> Any:
    """The columns from the last."""
    return flip(x, 1)


@implements(np.flipud)
def flipud(x: Any) -> Any:
    """The rows from the last."""
    return flip(x, 0)


@implements(np.roll)
def roll(x: Any, shift: Any, axis: Axes | None = None) -> Any:
    """The entries moved along axes; those that leave at one end come in at the other."""
    if axis is None:
        return reshape(roll(reshape(x, -1), shift, 0), x.shape)
    axes = normalize_axis_tuple(axis, x.ndim, allow_duplicate=True)
    shifts = tuple(shift) if np.ndim(shift) else (shift,)
    if len(axes) == 1:
        axes *= len(shifts)
    if len(shifts) == 1:
        shifts *= len(axes)
    if len(shifts) != len(axes) or any(np.ndim(by) for by in shifts):
        raise ValueError(f"np.roll: shift={shown(shift)} is for other axes than {shown(axis)}; expected one for each.")
    for by, i in zip(shifts, axes, strict=True):
        n = x.shape[i]
        if abs(by) >= n:
            by %= builtins.max(n, 1)
        if by:  # counted from its own end, whatever the length
            x = concatenate([part(x, i, -by, None), part(x, i, None, -by)], axis=i)
    return x


@implements(np.tile)
def tile(x: Any, reps: Any) -> Any:
    """The array, so many times along each axis."""
    x, reps = as_array(x, "np.tile"), tuple(np.atleast_1d(np.asarray(reps)).tolist())
    ndim = builtins.max(x.ndim, len(reps))
    reps = (1,) * (ndim - len(reps)) + reps
    shape = (1,) * (ndim - x.ndim) + x.shape
    between = reshape(x, tuple(n for length in shape for n in (1, length)))
    repeated = broadcast_to(between, tuple(n for r, length in zip(reps, shape, strict=True) for n in (r, length)))
    return reshape(repeated, tuple(r * length for r, length in zip(reps, shape, strict=True)))


@implements(np.repeat)
def repeat(x: Any, repeats: Any, axis: int | None = None) -> Any:
    """Each entry so many times, one after the other."""
    x = as_array(x, "np.repeat")
    if axis is None:
        x, axis = reshape(x, -1), 0
    (axis,) = axes_of(axis, x.ndim)
    if np.ndim(repeats):
        return take(x, np.repeat(np.arange(x.shape[axis]), values(repeats)), axis)
    n = int(repeats)
    more = broadcast_to(expand_dims(x, axis + 1), (*x.shape[: axis + 1], n, *x.shape[axis + 1 :]))
    return reshape(more, (*x.shape[:axis], x.shape[axis] * n, *x.shape[axis + 1 :]))


# -- several arrays ---------------------------------------------------------------------------------------------------


@implements(np.vstack)
def vstack(arrays: Sequence[Any]) -> Any:
    """Arrays below each other; vectors are rows."""
    return concatenate([atleast_2d(x) for x in arrays], axis=0)


@implements(np.hstack)
def hstack(arrays: Sequence[Any]) -> Any:
    """Arrays beside each other."""
    arrays = [atleast_1d(x) for x in arrays]
    return concatenate(arrays, axis=int(arrays[0].ndim > 1))


@implements(np.dstack)
def dstack(arrays: Sequence[Any]) -> Any:
    """Arrays behind each other."""
    return concatenate([atleast_3d(x) for x in arrays], axis=2)


@implements(np.column_stack)
def column_stack(arrays: Sequence[Any]) -> Any:
    """Arrays beside each other; vectors are columns."""
    arrays = [as_array(x, "np.column_stack") for x in arrays]
    return concatenate([x if x.ndim > 1 else reshape(x, (-1, 1)) for x in arrays], axis=1)


@implements(np.array_split)
def array_split(x: Any, sections: Any, axis: int = 0) -> Any:
    """Parts along an axis: so many, as equal as can be, or between given places."""
    (axis,) = axes_of(axis, x.ndim)
    n = x.shape[axis]
    if np.ndim(sections):
        ends = [*(int(i) for i in sections), n]
    else:
        size, rest = divmod(n, int(sections))
        ends = np.cumsum([size + 1] * rest + [size] * (int(sections) - rest)).tolist()
    return [part(x, axis, start, end) for start, end in zip([0, *ends[:-1]], ends, strict=True)]


@implements(np.split)
def split(x: Any, sections: Any, axis: int = 0) -> Any:
    """Parts along an axis, of equal length, or between given places."""
    if not np.ndim(sections) and x.shape[axis] % int(sections):
        raise ValueError(f"np.split: {x.shape[axis]} entries do not make {sections} equal parts; see np.array_split.")
    return array_split(x, sections, axis)


@implements(np.hsplit)
def hsplit(x: Any, sections: Any) -> Any:
    """Parts beside each other."""
    return split(x, sections, int(x.ndim > 1))


@implements(np.vsplit)
def vsplit(x: Any, sections: Any) -> Any:
    """Parts below each other."""
    return split(x, sections, 0)


@implements(np.pad)
def pad(x: Any, pad_width: Any, mode: str = "constant", *, constant_values: Any = 0) -> Any:
    """More entries at the ends of axes: a constant, or the array's own, by ``mode``."""
    modes = ("constant", "edge", "reflect", "symmetric", "wrap")
    if mode not in modes:
        raise TypeError(f"np.pad: mode={shown(mode)} is not supported on a Tensor; one of {', '.join(modes)} is.")
    widths = np.broadcast_to(np.asarray(pad_width), (x.ndim, 2)).tolist()
    fills = np.broadcast_to(np.asarray(values(constant_values)), (x.ndim, 2)).tolist()
    for axis, ((before, after), filled) in enumerate(zip(widths, fills, strict=True)):
        if not before and not after:
            continue
        if mode != "constant":
            x = take(x, np.pad(np.arange(x.shape[axis]), (before, after), mode), axis)  # type: ignore[call-overload]
            continue
        edge = np.zeros_like(values(part(x, axis, None, 1)))  # as long as the other axes, also where a program runs
        ends = [
            broadcast_to(edge + x.dtype.type(number), (*x.shape[:axis], width, *x.shape[axis + 1 :]))
            for width, number in zip((before, after), filled, strict=True)
        ]
        joined = [part for part, width in ((ends[0], before), (x, 1), (ends[1], after)) if width]
        x = concatenate(joined, axis=axis)
    return x


# -- entries ----------------------------------------------------------------------------------------------------------


@implements(np.take)
def take(x: Any, indices: Any, axis: int | None = None, mode: str = "raise") -> Any:
    """Entries by their numbers along an axis; by default, of the flattened array."""
    if mode != "raise":
        raise TypeError(f"np.take: mode={mode!r} is not supported on a Tensor; clip the indices first.")
    x = as_array(x, "np.take")
    if axis is None:
        return getitem(reshape(x, -1), indices)
    (axis,) = axes_of(axis, x.ndim)
    return getitem(x, (*(slice(None),) * axis, values(indices)))


@implements(np.take_along_axis)
def take_along_axis(x: Any, indices: Any, axis: int | None = -1) -> Any:
    """Along an axis, the entries by the numbers that stand in their places."""
    indices = values(indices)
    if axis is None:
        return getitem(reshape(x, -1), indices)
    (axis,) = axes_of(axis, x.ndim)
    if indices.ndim != x.ndim:
        raise ValueError(
            f"np.take_along_axis: the indices are {indices.shape}, the array is {x.shape}; expected as many axes."
        )
    pairs = enumerate(zip(indices.shape, x.shape, strict=True))
    if any(i != axis and n != size and 1 not in (n, size) for i, (n, size) in pairs):
        raise IndexError(
            f"np.take_along_axis: the indices are {indices.shape}, the array is {x.shape}; but for axis {axis}, they "
            "are as long as it, or 1."
        )
    return getitem(x, tuple(indices if i == axis else _places(x, i) for i in range(x.ndim)))


def _places(x: Any, axis: int) -> Any:
    """The numbers of the places along an axis, along that axis; counted by a call, so that a program leaves it open."""
    ones = np.ones_like(values(x), dtype=np.intp, shape=tuple(n if i == axis else 1 for i, n in enumerate(x.shape)))
    return values(np.cumsum(ones, axis)) - 1


@implements(np.diagonal, np.linalg.diagonal)
def diagonal(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """The entries on a diagonal, along a new last axis."""
    x = moveaxis(x, (axis1, axis2), (-2, -1))
    below, right = builtins.max(-offset, 0), builtins.max(offset, 0)
    n = np.arange(builtins.min(x.shape[-2] - below, x.shape[-1] - right))  # none, beyond the corners
    return getitem(x, (..., n + below, n + right))


@implements(np.diag)
def diag(x: Any, k: int = 0) -> Any:
    """The diagonal of a matrix; or a matrix with these entries on its diagonal, and zeros beside it."""
    if x.ndim == 2:
        return diagonal(x, k)
    if x.ndim != 1:
        raise ValueError(f"np.diag: the array is {x.shape}; expected one axis, or two.")
    n = x.shape[0]
    on_diagonal = like(np.eye(n + abs(k), k=k, dtype=bool), values(x))
    across = pad(x, (builtins.max(k, 0), builtins.max(-k, 0)))  # by columns
    return where(on_diagonal, across, 0)


@implements(np.trace, np.linalg.trace)
def trace(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """The sum of the entries on a diagonal."""
    return sum(diagonal(x, offset, axis1, axis2), -1)


@implements(np.tril)
def tril(x: Any, k: int = 0) -> Any:
    """The entries on and below a diagonal, and zeros above it."""
    return where(like(np.tri(x.shape[-2], x.shape[-1], k, dtype=bool), values(x)), x, 0)


@implements(np.triu)
def triu(x: Any, k: int = 0) -> Any:
    """The entries on and above a diagonal, and zeros below it."""
    return where(like(np.tri(x.shape[-2], x.shape[-1], k - 1, dtype=bool), values(x)), 0, x)


@implements(np.nan_to_num)
def nan_to_num(x: Any, copy: bool = True, nan: Any = 0.0, posinf: Any = None, neginf: Any = None) -> Any:
    """Numbers in the place of NaN and infinities: those have no gradient there."""
    if not copy:
        raise TypeError("np.nan_to_num: copy=False writes in place, and a Tensor is never written into; leave it out.")
    a, info = values(x), np.finfo(x.dtype)
    for wrong, number in (
        (np.isnan(a), nan), (a == np.inf, info.max if posinf is None else posinf),
        (a == -np.inf, info.min if neginf is None else neginf),
    ):  # fmt: skip
        x = where(wrong, x.dtype.type(number) if not isinstance(number, Tensor) else number, x)
    return x


# -- products ---------------------------------------------------------------------------------------------------------


@implements(np.outer, np.linalg.outer)
def outer(a: Any, b: Any) -> Any:
    """Every entry of a times every entry of b: a column times a row."""
    return multiply(reshape(as_array(a, "np.outer"), (-1, 1)), reshape(as_array(b, "np.outer"), (1, -1)))


@implements(np.inner)
def inner(a: Any, b: Any) -> Any:
    """Sums of products along the last axes."""
    a, b = as_array(a, "np.inner"), as_array(b, "np.inner")
    return tensordot(a, b, (-1, -1)) if a.ndim and b.ndim else multiply(a, b)


@implements(np.vdot)
def vdot(a: Any, b: Any) -> Any:
    """The sum of the products of all entries."""
    return matmul(reshape(as_array(a, "np.vdot"), -1), reshape(as_array(b, "np.vdot"), -1))


@implements(np.tensordot, np.linalg.tensordot)
def tensordot(a: Any, b: Any, axes: Any = 2) -> Any:
    """Sums of products over axes of a and axes of b: one matrix product of both, reshaped."""
    a, b = as_array(a, "np.tensordot"), as_array(b, "np.tensordot")
    if isinstance(axes, (int, np.integer)):
        axes = (tuple(range(a.ndim - axes, a.ndim)), tuple(range(axes)))
    of_a, of_b = axes_of(axes[0], a.ndim), axes_of(axes[1], b.ndim)
    if [a.shape[i] for i in of_a] != [b.shape[i] for i in of_b]:
        raise ValueError(f"np.tensordot: axes {of_a} of {a.shape} do not fit axes {of_b} of {b.shape}.")
    rest_a = [i for i in range(a.ndim) if i not in of_a]
    rest_b = [i for i in range(b.ndim) if i not in of_b]
    length = math.prod(a.shape[i] for i in of_a)
    left = reshape(transpose(a, (*rest_a, *of_a)), (math.prod(a.shape[i] for i in rest_a), length))
    right = reshape(transpose(b, (*of_b, *rest_b)), (length, math.prod(b.shape[i] for i in rest_b)))
    return reshape(matmul(left, right), tuple(a.shape[i] for i in rest_a) + tuple(b.shape[i] for i in rest_b))


@implements(np.kron)
def kron(a: Any, b: Any) -> Any:
    """Every entry of a times all of b, in its place."""
    a, b = as_array(a, "np.kron"), as_array(b, "np.kron")
    ndim = builtins.max(a.ndim, b.ndim)
    left, right = ((1,) * (ndim - x.ndim) + tuple(x.shape) for x in (a, b))
    product = multiply(
        reshape(a, tuple(n for length in left for n in (length, 1))),
        reshape(b, tuple(n for length in right for n in (1, length))),
    )
    return reshape(product, tuple(n * k for n, k in zip(left, right, strict=True)))
