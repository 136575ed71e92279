"""The normal form of a call: of the ways in which NumPy lets it be written, the one that programs hold.

To NumPy, ``np.sum(x, 1)``, ``np.sum(x, axis=(-1,), keepdims=False)`` and ``np.sum(x, axis=1, dtype=x.dtype)`` are the
same. Who goes through a program is to know one of them. So what records a call, and what makes one, normalizes it:

- axes are counted from 0 and sorted, in a tuple where NumPy takes several; none given are all of them;
- arrays and shapes stand by position and shapes are tuples; axes, dtypes and switches stand by name;
- an option that goes without saying is left out: ``keepdims=False``, ``order="C"``, the dtype that there is anyway;
- ``np.dot`` of vectors and matrices is ``np.matmul``, ``np.swapaxes`` is ``np.transpose``, ``np.amax`` is ``np.max``.

Each function here has the signature of the NumPy functions that it is for, so Python itself sorts the arguments. A row
of the table `functions` says which one is for a function; a call of any other stands as it was written.

The numbers stay what they are, to the last bit. So a dtype of half precision stands in ``np.mean(x, dtype=...)``: with
it, NumPy adds up in half precision, and else in single. For arrays whose entries lie side by side, ``np.dot`` and
``np.matmul`` are one product for all dtypes; for others, such as every second column, NumPy copies for the one, and may
add up in another order for the other, whose last bits may differ then. Which of the two it is, an array does not tell
before it is there; `tinygrad_dls.ops.dot` is a matrix product all the same.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_dls.ir.call import Call

__all__ = [
    "Normal", "averaged", "clipped", "expanded", "filled", "joined", "largest", "product", "reduced", "reshaped",
    "rounded", "running", "smallest", "spread", "squeezed", "stacked", "summed", "swapped", "transposed", "varying",
]  # fmt: skip

Normal = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]  # a function, its arguments and options

_UNSAID: Any = np._NoValue


# -- along axes -------------------------------------------------------------------------------------------------------


def reduced(
    f: Any, a: Any, axis: Any = None, out: Any = None, keepdims: Any = False, initial: Any = None, where: Any = True,
    **others: Any,
) -> Normal:  # fmt: skip
    """Normalize ``np.max``, ``np.all`` and the like: ``(x, axis=(0,), keepdims=True)``."""
    kept = True if keepdims is not _UNSAID and keepdims else None
    said = _said(keepdims=kept, out=out, initial=initial, where=_unless_said(where, True), **others)
    return f, (a,), {"axis": _axes(axis, _rank(a)), **said}


def summed(f: Any, a: Any, axis: Any = None, dtype: Any = None, *others: Any, **options: Any) -> Normal:
    """Normalize ``np.sum`` and ``np.prod``."""
    return reduced(f, a, axis, *others, dtype=_unless(dtype, _of_sum, a), **options)


def averaged(f: Any, a: Any, axis: Any = None, dtype: Any = None, *others: Any, **options: Any) -> Normal:
    """Normalize ``np.mean``."""
    return reduced(f, a, axis, *others, dtype=_unless(dtype, _of_mean, a), **options)


def varying(
    f: Any, a: Any, axis: Any = None, dtype: Any = None, out: Any = None, ddof: Any = 0, keepdims: Any = False,
    **others: Any,
) -> Normal:  # fmt: skip
    """Normalize ``np.var`` and ``np.std``."""
    correction = others.pop("correction", _UNSAID)
    taken = _unless_said(ddof if correction is _UNSAID else correction, 0)
    return reduced(f, a, axis, out, keepdims, dtype=_unless(dtype, _of_mean, a), ddof=taken, **others)


def largest(_: Any, *args: Any, **options: Any) -> Normal:
    """Normalize ``np.amax``."""
    return reduced(np.max, *args, **options)


def smallest(_: Any, *args: Any, **options: Any) -> Normal:
    """Normalize ``np.amin``."""
    return reduced(np.min, *args, **options)


def running(f: Any, a: Any, axis: Any = None, dtype: Any = None, out: Any = None) -> Normal:
    """Normalize ``np.cumsum``: along one axis; without any, of all entries in a row."""
    place = None if axis is None else _axis(axis, _rank(a))
    return f, (a,), _said(axis=place, dtype=_unless(dtype, _of_sum, a), out=out)


def rounded(f: Any, a: Any, decimals: Any = 0, out: Any = None) -> Normal:
    """Normalize ``np.round``."""
    return f, (a,), _said(decimals=_unless_said(decimals, 0), out=out)


# -- the same entries elsewhere ---------------------------------------------------------------------------------------


def transposed(f: Any, a: Any, axes: Any = None) -> Normal:
    """Normalize ``np.transpose``: without axes if they are reversed, as they are by themselves."""
    rank = _rank(a)
    if axes is None or rank is None:
        return f, (a,), {} if axes is None else {"axes": axes}
    order = tuple([_axis(i, rank) for i in axes])
    return f, (a,), {} if order == tuple(range(rank))[::-1] else {"axes": order}


def swapped(f: Any, a: Any, axis1: Any, axis2: Any) -> Normal:
    """Normalize ``np.swapaxes``."""
    rank = _rank(a)
    if rank is None:
        return f, (a, axis1, axis2), {}
    order, i, j = list(range(rank)), _axis(axis1, rank), _axis(axis2, rank)
    order[i], order[j] = j, i
    return transposed(np.transpose, a, order)


def reshaped(f: Any, a: Any, shape: Any = None, order: Any = "C", **others: Any) -> Normal:
    """Normalize ``np.reshape``. A length of -1 stays: the program may not know it."""
    return f, (a,) if shape is None else (a, _shape(shape)), _said(order=_unless_said(order, "C"), **others)


def spread(f: Any, array: Any, shape: Any, **_: Any) -> Normal:
    """Normalize ``np.broadcast_to``; ``subok=`` says nothing, as the arrays of programs are of no subclass."""
    return f, (array, _shape(shape)), {}


def squeezed(f: Any, a: Any, axis: Any = None) -> Normal:
    """Normalize ``np.squeeze``: the axes that go are named."""
    if axis is None and _rank(a) is not None:
        axis = tuple([i for i, n in enumerate(getattr(a, "shape", ())) if n == 1])
    return f, (a,), {"axis": _axes(axis, _rank(a))}


def expanded(f: Any, a: Any, axis: Any) -> Normal:
    """Normalize ``np.expand_dims``: the new axes, as they are counted in the result."""
    rank = _rank(a)
    new = len(axis) if isinstance(axis, (tuple, list)) else 1
    return f, (a,), {"axis": _axes(axis, None if rank is None else rank + new)}


# -- several arrays, and new ones -------------------------------------------------------------------------------------


def joined(f: Any, arrays: Any, axis: Any = 0, out: Any = None, *, new: int = 0, **others: Any) -> Normal:
    """Normalize ``np.concatenate``: the arrays in a list, and the axis said, as there is one for all of them."""
    arrays = list(arrays) if isinstance(arrays, (tuple, list)) else arrays
    rank = _rank(arrays[0]) if isinstance(arrays, list) and arrays else None
    place = axis if axis is None or rank is None else _axis(axis, rank + new)
    casting = _unless_said(others.pop("casting", None), "same_kind")
    return f, (arrays,), {"axis": place, **_said(out=out, casting=casting, **others)}


def stacked(f: Any, *args: Any, **options: Any) -> Normal:
    """Normalize ``np.stack``, whose axis is counted in the result."""
    return joined(f, *args, **options, new=1)


def filled(f: Any, shape: Any, fill_value: Any, dtype: Any = None, order: Any = "C", **others: Any) -> Normal:
    """Normalize ``np.full``: the dtype is said."""
    dtype = np.asarray(fill_value).dtype if dtype is None else np.dtype(dtype)
    return f, (_shape(shape), fill_value), {"dtype": dtype, **_said(order=_unless_said(order, "C"), **others)}


def product(f: Any, a: Any, b: Any, out: Any = None) -> Normal:
    """Normalize ``np.dot``: the matrix product of vectors and matrices, as the engine has it."""
    plain = out is None and all(_rank(x) in (1, 2) for x in (a, b))
    return (np.matmul if plain else f), (a, b), _said(out=out)


def clipped(
    f: Any, a: Any, a_min: Any = None, a_max: Any = None, out: Any = None, *, min: Any = None, max: Any = None,
    **others: Any,
) -> Normal:  # fmt: skip
    """Normalize ``np.clip``: both limits stand by position, as the operands that they are; None is no limit."""
    low, high = (next(iter(_said(new=new, old=old).values()), None) for new, old in ((min, a_min), (max, a_max)))
    return f, (a, low, high), _said(out=out, **others)


# -- parts ------------------------------------------------------------------------------------------------------------


def _said(**options: Any) -> dict[str, Any]:
    """The options that say something."""
    return {name: x for name, x in options.items() if x is not None and x is not _UNSAID}


def _unless_said(x: Any, default: Any) -> Any:
    """What an option says; None if it is what it would be by itself."""
    return None if isinstance(x, type(default)) and x == default else x


def _rank(x: Any) -> int | None:
    """The number of axes of an argument; None of a variable of a rule, which stands for any array."""
    shape = getattr(x, "shape", ())
    return None if shape is None else len(shape)


def _axis(i: Any, rank: int | None) -> Any:
    """An axis from 0; in a rule, it is from 0 already, or stands for any."""
    if rank is None:
        return i
    place = operator.index(i)
    return place + rank if place < 0 else place


def _axes(axis: Any, rank: int | None) -> Any:
    """Axes from 0, sorted; what stands for all axes, in a rule, as it is."""
    if isinstance(axis, Call):
        return axis
    if axis is None:
        return None if rank is None else tuple(range(rank))
    several: Sequence[Any] = axis if isinstance(axis, (tuple, list)) else (axis,)
    if rank == 0:  # a number, of which NumPy takes axis 0 for none
        return ()
    return tuple(sorted([_axis(i, rank) for i in several]))


def _shape(shape: Any) -> Any:
    if isinstance(shape, Call) and _rank(shape) is None:  # in a rule, any shape
        return shape
    several = shape if isinstance(shape, (tuple, list)) else (shape,)
    return tuple([n if isinstance(n, Call) else operator.index(n) for n in several])


def _unless(dtype: Any, natural: Callable[[np.dtype[Any]], Any], a: Any) -> np.dtype[Any] | None:
    """The dtype of a reduction; None if it would have it by itself."""
    return None if dtype is None or natural(np.dtype(a.dtype)) == np.dtype(dtype) else np.dtype(dtype)


def _of_sum(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype that NumPy adds up in, if nothing is said."""
    return np.result_type(dtype, np.uint if dtype.kind == "u" else int) if dtype.kind in "iub" else dtype


def _of_mean(dtype: np.dtype[Any]) -> np.dtype[Any] | None:
    """The dtype that NumPy takes means in, if nothing is said: half precision in none, but in single and back."""
    return None if dtype == np.float16 else np.dtype(float) if dtype.kind in "iub" else dtype
