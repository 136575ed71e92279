"""Every op: its value, and beside it its gradient, as the mathematics is written.

Read ``lambda dz: dz * y`` as the chain rule: given ``dz = dJ/dz``, the gradient of the cost with respect to the op's
output, it returns the gradient with respect to that input. Un-broadcasting and dtypes are the engine's work (see
`tinygrad_dls.engine.autodiff`), so ``add`` returns ``dz`` itself, whatever the shapes were. Each rule uses ``np.*``
functions, operators and array methods only, so it runs on any array that speaks NumPy's protocols, a Tensor one level
down included: that is how second derivatives come for free.

Kinks and ties, where the derivative does not exist, are given a value once and for all: ``relu'(0) = 0``,
``abs'(0) = 0``, ``std' = 0`` where all entries are equal; ``maximum``, ``minimum``, ``max`` and ``min`` share the
gradient equally among the tied; ``clip`` passes it to x on the closed interval, outside to the limit.
"""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_dls.engine.arrays import Array, as_array, as_operand, boolean, scatter, single_inside
from tinygrad_dls.engine.autodiff import op
from tinygrad_dls.engine.devices import on_device
from tinygrad_dls.engine.errors import EXPLAINED, called, explained, role, shown
from tinygrad_dls.engine.tensor import SELDOM, Rule, Tensor, implements, implements_on_values, values

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

Axis = int | tuple[int, ...] | None

# -- arithmetic -------------------------------------------------------------------------------------------------------


@op(np.add)
def add(x: Array, y: Array) -> Rule:
    """Sum ``z = x + y``, broadcasting: ``dz/dx = dz/dy = 1``."""
    return x + y, (lambda dz: dz, lambda dz: dz)


@op(np.subtract)
def subtract(x: Array, y: Array) -> Rule:
    """Difference ``z = x - y``, broadcasting: ``dz/dx = 1``, ``dz/dy = -1``."""
    return x - y, (lambda dz: dz, lambda dz: -dz)


@op(np.multiply)
def multiply(x: Array, y: Array) -> Rule:
    """Entry-wise product ``z = x * y``, broadcasting: ``dz/dx = y``, ``dz/dy = x``."""
    return x * y, (lambda dz: dz * y, lambda dz: dz * x)


@op(np.divide)
def divide(x: Array, y: Array) -> Rule:
    """Quotient ``z = x / y``, broadcasting: ``dz/dx = 1/y``, ``dz/dy = -x/y^2``."""
    return x / y, (lambda dz: dz / y, lambda dz: -dz * x / y / y)


@op(np.power)
def power(x: Array, y: Array) -> Rule:
    """Power ``z = x ** y``: ``dz/dx = y x^(y-1)``, ``dz/dy = x^y log x``.

    At ``y = 0`` the first is 0 for every x, and at ``x = 0`` the second is 0, their limits from the right. Exponents
    may be of any dtype.
    """

    def dx(dz: Array) -> Array:
        if hasattr(y, "dtype"):
            n = y.astype(z.dtype) if y.dtype.kind in "iub" and z.dtype.kind == "f" else y  # unsigned, 0 - 1 is 255
            one = np.logical_and(values(x) == 0, values(y) == 0)  # 0 * 0^1 is the limit, 0 * 0^-1 is none
            return dz * n * x ** np.where(one, 1, n - 1)
        return dz * y * x ** (y - 1 if y else 0)  # a Python number, which does not widen float32

    def dy(dz: Array) -> Array:
        if hasattr(x, "dtype"):
            return dz * x**y * np.log(np.where(values(x) == 0, 1.0, x))
        return dz * x**y * float(np.log(x if x else 1))

    z = x**y
    return z, (dx, dy)


@op(np.negative)
def negative(x: Array) -> Rule:
    """Negation ``z = -x``: ``dz/dx = -1``."""
    return -x, (lambda dz: -dz,)


@op(np.matmul)
def matmul(a: Array, b: Array) -> Rule:
    """Matrix product ``z = a @ b``, by NumPy's rules: ``da = dz b^T``, ``db = a^T dz``.

    A 1-D `a` counts as one row, a 1-D `b` as one column; axes before the last two are batches, and broadcast.
    """

    def da(dz: Array) -> Array:
        if a.ndim == b.ndim == 2:
            return dz @ b.T
        column = b if b.ndim > 1 else b[:, None]
        dz = dz if b.ndim > 1 else dz[..., None]
        dz = dz if a.ndim > 1 else dz[..., None, :]
        return dz @ np.swapaxes(column, -1, -2)  # the engine sums over the row that a 1-D a counted as

    def db(dz: Array) -> Array:
        if a.ndim == b.ndim == 2:
            return a.T @ dz
        row = a if a.ndim > 1 else a[None, :]
        dz = dz if b.ndim > 1 else dz[..., None]
        dz = dz if a.ndim > 1 else dz[..., None, :]
        db = np.swapaxes(row, -1, -2) @ dz
        return db if b.ndim > 1 else db[..., 0]

    return np.matmul(a, b), (da, db)


@op()
def affine(w: Array, a: Array, b: Array) -> Rule:
    """One layer's linear part, ``z = w @ a + b``: ``dw = dz a^T``, ``da = w^T dz``, ``db = dz`` summed over examples.

    The op of `tinygrad_dls.nn.Linear`, which sees to it that all three are matrices.

    Parameters
    ----------
    w : array, shape (n, n_prev)
    a : array, shape (n_prev, m)
    b : array, shape (n, 1)
    """
    return np.dot(w, a) + b, (lambda dz: np.dot(dz, a.T), lambda dz: np.dot(w.T, dz), lambda dz: dz)


@implements(np.dot)
def dot(a: Any, b: Any) -> Any:
    """``np.dot`` as the course uses it: the matrix product of vectors and matrices, or the product with a number."""
    m, n = (np.ndim(as_array(values(x), f"dot: {role(x, i)}")) for i, x in enumerate((a, b), 1))
    if not (m and n):
        return multiply(a, b)
    if m > 2 or n > 2:
        raise TypeError("np.dot of more than two axes is not differentiated; use a @ b.")
    return matmul(a, b)


# -- exponentials, roots, waves ---------------------------------------------------------------------------------------


@op(np.exp)
def exp(x: Array) -> Rule:
    """Exponential ``z = e^x``: ``dz/dx = z``."""
    z = np.exp(x)
    return z, (lambda dz: dz * z,)


@op(np.expm1)
def expm1(x: Array) -> Rule:
    """``z = e^x - 1``, exact for small x: ``dz/dx = e^x``."""
    return np.expm1(x), (lambda dz: dz * np.exp(x),)


@op(np.log)
def log(x: Array) -> Rule:
    """Natural logarithm ``z = log x``: ``dz/dx = 1/x``."""
    return np.log(x), (lambda dz: dz / x,)


@op(np.log1p)
def log1p(x: Array) -> Rule:
    """``z = log(1 + x)``, exact for small x: ``dz/dx = 1/(1 + x)``."""
    return np.log1p(x), (lambda dz: dz / (1 + x),)


@op(np.sqrt)
def sqrt(x: Array) -> Rule:
    """Square root ``z = sqrt(x)``: ``dz/dx = 1/(2z)``."""
    z = np.sqrt(x)
    return z, (lambda dz: dz / (2 * z),)


@op(np.square)
def square(x: Array) -> Rule:
    """Square ``z = x^2``: ``dz/dx = 2x``."""
    return np.square(x), (lambda dz: dz * 2 * x,)


@op(np.sin)
def sin(x: Array) -> Rule:
    """Sine: ``dz/dx = cos x``."""
    return np.sin(x), (lambda dz: dz * np.cos(x),)


@op(np.cos)
def cos(x: Array) -> Rule:
    """Cosine: ``dz/dx = -sin x``."""
    return np.cos(x), (lambda dz: -dz * np.sin(x),)


# -- choices: a gradient for whoever was chosen -----------------------------------------------------------------------


@op(np.abs)
def abs(x: Array) -> Rule:
    """Absolute value ``z = |x|``: ``dz/dx = sign x``, and 0 at 0."""
    return np.abs(x), (lambda dz: dz * (x > 0) - dz * (x < 0),)


@op(np.maximum)
def maximum(x: Array, y: Array) -> Rule:
    """The larger of x and y: the gradient goes to it; half to each at a tie."""
    return np.maximum(x, y), (
        lambda dz: dz * (x > y) + dz * (x == y) / 2,
        lambda dz: dz * (y > x) + dz * (x == y) / 2,
    )


@op(np.minimum)
def minimum(x: Array, y: Array) -> Rule:
    """The smaller of x and y: the gradient goes to it; half to each at a tie."""
    return np.minimum(x, y), (
        lambda dz: dz * (x < y) + dz * (x == y) / 2,
        lambda dz: dz * (y < x) + dz * (x == y) / 2,
    )


@op(np.where)
def where(condition: Array, x: Array, y: Array) -> Rule:
    """Take x where the condition holds, y elsewhere: each gets the gradient where it was taken."""
    condition = values(condition)
    return np.where(condition, x, y), (
        None,
        lambda dz: np.where(condition, dz, 0),
        lambda dz: np.where(condition, 0, dz),
    )


def clip(x: Any, min: Any = None, max: Any = None) -> Any:
    """Limit x to [min, max], as NumPy does: ``minimum(maximum(x, min), max)``, so that max wins where min is above it.

    The gradient goes to x in the closed interval, outside to the limit that was taken. Either limit may be None.
    """
    given = {name: limit for name, limit in (("min", min), ("max", max)) if limit is not None}
    # copies of arrays: limits may be changed before `backward`, as indices may
    limits = [limit.copy() if hasattr(limit, "flags") else limit for limit in given.values()]
    return _clip(x, *limits) if len(given) == 2 else _clip(x, *limits, given=tuple(given))


@op()
def _clip(x: Array, *limits: Array, given: tuple[str, ...] = ("min", "max")) -> Rule:
    named = dict(zip(given, limits, strict=True))
    min, max = named.get("min"), named.get("max")

    def dx(dz: Array) -> Array:
        dz = dz if min is None else dz * (x >= min)
        return dz if max is None else dz * (x <= max)

    def dmin(dz: Array) -> Array:
        dz = dz * (x < min)
        return dz if max is None else dz * (min <= max)

    def dmax(dz: Array) -> Array:
        return dz * ((x if min is None else np.maximum(x, min)) > max)

    rules = {"min": dmin, "max": dmax}
    return np.clip(x, min, max), (dx, *(rules[name] for name in given))


@implements(np.clip)
def _numpy_clip(x: Any, a_min: Any = None, a_max: Any = None, *, min: Any = None, max: Any = None) -> Any:
    """``np.clip``, by the older names of its limits too."""
    return clip(x, a_min if min is None else min, a_max if max is None else max)


# -- sums, means, extremes --------------------------------------------------------------------------------------------


def _kept(dz: Array, axis: Axis, keepdims: bool, x: Array) -> Array:
    """Give a reduction's output its lost axes back, of length 1, so that it broadcasts against the input."""
    if keepdims:
        return dz
    return dz.reshape((1,) * x.ndim) if axis is None or not x.ndim else np.expand_dims(dz, axis)


def _axes(x: Array, axis: Axis) -> tuple[int, ...]:
    """The axes that a reduction runs over, counted from 0. A number has none; NumPy reduces it over 0 all the same."""
    if not x.ndim:
        return ()
    axes = range(x.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    return tuple(i % x.ndim for i in axes)


def _count(x: Array, axis: Axis) -> int:
    """Count the entries of x that one entry of a reduction stands for."""
    return math.prod(x.shape[i] for i in _axes(x, axis))


def _refuse_too_few(x: Array, axis: Axis, ddof: int = 0) -> None:
    """Raise where NumPy would warn and give NaN."""
    if (ddof != 0 or not getattr(x, "size", 1)) and _count(x, axis) <= ddof:
        raise ValueError(f"{_count(x, axis)} entries are too few" + (f" for ddof={ddof}" if ddof else ""))


@op(np.sum)
@single_inside
def sum(x: Array, axis: Axis = None, *, keepdims: bool = False) -> Rule:
    """Sum over the axes: every summand gets the gradient of the sum."""
    return np.sum(x, axis=axis, keepdims=keepdims), (lambda dz: np.broadcast_to(_kept(dz, axis, keepdims, x), x.shape),)


@op(np.mean)
@single_inside
def mean(x: Array, axis: Axis = None, *, keepdims: bool = False) -> Rule:
    """Mean over the axes, of n entries each: every one gets ``1/n`` of the gradient."""
    _refuse_too_few(x, axis)
    z = np.mean(x, axis=axis, keepdims=keepdims)
    return z, (lambda dz: np.broadcast_to(_kept(dz / _count(x, axis), axis, keepdims, x), x.shape),)


@op(np.max, np.amax)
def max(x: Array, axis: Axis = None, *, keepdims: bool = False) -> Rule:
    """Largest entry over the axes: the gradient goes to it, in equal shares to the tied."""
    z = np.max(x, axis=axis, keepdims=keepdims)
    return z, (lambda dz: _shared(dz, z, axis, keepdims, x),)


@op(np.min, np.amin)
def min(x: Array, axis: Axis = None, *, keepdims: bool = False) -> Rule:
    """Smallest entry over the axes: the gradient goes to it, in equal shares to the tied."""
    z = np.min(x, axis=axis, keepdims=keepdims)
    return z, (lambda dz: _shared(dz, z, axis, keepdims, x),)


def _shared(dz: Array, z: Array, axis: Axis, keepdims: bool, x: Array) -> Array:
    chosen = x == _kept(z, axis, keepdims, x)
    share = (chosen / chosen.sum(axis=axis, keepdims=True)).astype(dz.dtype)
    return _kept(dz, axis, keepdims, x) * share


@op(np.prod)
def prod(x: Array, axis: Axis = None, *, keepdims: bool = False) -> Rule:
    """Product over the axes: ``dz/dx_i`` is the product of the others, zeros among them or not."""

    def dx(dz: Array) -> Array:
        axes = _axes(x, axis)
        order = (*(i for i in range(x.ndim) if i not in axes), *axes)
        moved = np.transpose(x, order)
        flat = moved.reshape((*moved.shape[: x.ndim - len(axes)], _count(x, axis)))
        others = _product_of_others(flat).reshape(moved.shape)
        return _kept(dz, axis, keepdims, x) * np.transpose(others, _inverse(order))

    return np.prod(x, axis=axis, keepdims=keepdims), (dx,)


def _product_of_others(x: Array) -> Array:
    """Along the last axis, the product of all the entries but one: of those before, and of those behind."""
    backward = x[..., ::-1]
    return _product_of_earlier(x) * _product_of_earlier(backward)[..., ::-1]


def _product_of_earlier(x: Array) -> Array:
    """Along the last axis, the product of the entries before each, by doubling the reach."""
    z = np.concatenate([np.ones_like(x[..., :1]), x[..., :-1]], axis=-1)
    reach = 1
    while reach < x.shape[-1]:
        z = np.concatenate([z[..., :reach], z[..., reach:] * z[..., :-reach]], axis=-1)
        reach *= 2
    return z


@op(np.var)
@single_inside
def var(x: Array, axis: Axis = None, *, ddof: int = 0, keepdims: bool = False) -> Rule:
    """Variance over the axes, of n entries each: ``dz/dx = 2 (x - mean) / (n - ddof)``."""
    _refuse_too_few(x, axis, ddof)
    z = np.var(x, axis=axis, ddof=ddof, keepdims=keepdims)

    def dx(dz: Array) -> Array:
        deviation = x - np.mean(x, axis=axis, keepdims=True)
        return _kept(dz * 2 / (_count(x, axis) - ddof), axis, keepdims, x) * deviation

    return z, (dx,)


@op(np.std)
@single_inside
def std(x: Array, axis: Axis = None, *, ddof: int = 0, keepdims: bool = False) -> Rule:
    """Standard deviation over the axes: ``dz/dx = (x - mean) / ((n - ddof) z)``, and 0 where z is, or all are equal."""
    _refuse_too_few(x, axis, ddof)
    unit = _unit(x, axis)
    x = x if unit is None else x / unit  # the gradient is the same in all units
    z = np.std(x, axis=axis, ddof=ddof, keepdims=keepdims)

    def dx(dz: Array) -> Array:
        a = values(x)
        equal = a.max(axis=axis, keepdims=keepdims) == a.min(axis=axis, keepdims=keepdims)  # z may be 1e-17 there
        if a.dtype.kind != "O":  # nor do squares of symbols vanish
            equal = np.logical_or(equal, values(z) == 0)
        scale = np.where(equal, 0, dz / (_count(x, axis) - ddof) / np.where(equal, 1, z))
        return _kept(scale, axis, keepdims, x) * (x - np.mean(x, axis=axis, keepdims=True))

    return z if unit is None else z * unit.reshape(np.shape(z)), (dx,)


def _unit(x: Array, axis: Axis) -> Any:
    """Powers of two to measure numbers in whose squares would underflow or overflow; None where there are no such."""
    x = values(x)
    if not (hasattr(type(x), "__array_interface__") or on_device(x)) or x.dtype.kind != "f":
        return None
    info, one = np.finfo(x.dtype), x.dtype.type(1)  # 2.0**k of the largest long doubles is more than Python's floats
    largest = np.max(np.abs(x), axis=axis, keepdims=True)
    tiny = np.logical_and(largest > 0, largest < np.sqrt(info.smallest_normal))
    # a million squares of numbers below this can be added up
    huge = np.logical_and(largest < np.inf, largest > np.ldexp(one, info.maxexp // 2 - 10))
    if not (np.any(tiny) or np.any(huge)):
        return None
    unit = np.ldexp(one, 3 * info.maxexp // 4)  # far from both ends, and so are squares in it
    return np.where(huge, unit, np.where(tiny, 1 / unit, one))


@op(np.cumsum)
@single_inside
def cumsum(x: Array, axis: int | None = None) -> Rule:
    """Running sum: each entry is in its own sum and in all behind it, so its gradient is the running sum from the end.

    Without an axis, of the flattened array, as in NumPy.
    """

    def dx(dz: Array) -> Array:
        if axis is None or not x.ndim:
            return np.cumsum(dz[::-1])[::-1].reshape(x.shape)
        reverse = (slice(None),) * (axis % x.ndim) + (slice(None, None, -1),)
        return np.cumsum(dz[reverse], axis=axis)[reverse]

    return np.cumsum(x, axis=axis), (dx,)


# -- shapes: the gradient goes back the way it came -------------------------------------------------------------------


@op(np.reshape)
def reshape(x: Array, shape: int | tuple[int, ...]) -> Rule:
    """Give the entries another shape."""
    return np.reshape(x, shape), (lambda dz: dz.reshape(x.shape),)


@op(np.transpose)
def transpose(x: Array, axes: Sequence[int] | None = None) -> Rule:
    """Permuted axes, reversed by default; the gradient by the inverse permutation."""
    return np.transpose(x, axes), (
        lambda dz: np.transpose(dz, None if axes is None else _inverse([int(i) % x.ndim for i in axes])),
    )


def _inverse(permutation: Sequence[int]) -> tuple[int, ...]:
    return tuple(sorted(range(len(permutation)), key=permutation.__getitem__))


@op(np.swapaxes)
def swapaxes(x: Array, axis1: int, axis2: int) -> Rule:
    """Two axes exchanged; the gradient exchanges them again."""
    return np.swapaxes(x, axis1, axis2), (lambda dz: np.swapaxes(dz, axis1, axis2),)


@op(np.expand_dims)
def expand_dims(x: Array, axis: int | tuple[int, ...]) -> Rule:
    """New axes of length 1."""
    return np.expand_dims(x, axis), (lambda dz: dz.reshape(x.shape),)


@op(np.squeeze)
def squeeze(x: Array, axis: Axis = None) -> Rule:
    """Axes of length 1 removed."""
    return np.squeeze(x, axis=axis), (lambda dz: dz.reshape(x.shape),)


@op(np.broadcast_to)
def broadcast_to(x: Array, shape: int | tuple[int, ...]) -> Rule:
    """Entries repeated along new or unit axes; the engine sums the gradient over them."""
    return np.broadcast_to(x, shape), (lambda dz: dz,)


@op(np.astype)
def astype(x: Array, dtype: DTypeLike) -> Rule:
    """Convert the numbers to another floating dtype; the gradient is cast back. Integers have no gradient."""
    z = as_array(x.astype(dtype), "the result")
    return z, (lambda dz: dz.astype(x.dtype),) if z.dtype.kind in "fO" else ()


@implements(np.concatenate)
def concatenate(arrays: Sequence[Any], axis: int | None = 0) -> Any:
    """Arrays joined along an axis (None: flattened first); each gets its slice of the gradient."""
    arrays = _listed(arrays, "concatenate")
    if axis is None:
        arrays, axis = [reshape(x, -1) for x in arrays], 0
    return _concatenate(*arrays, axis=axis)


@op()
def _concatenate(*arrays: Array, axis: int) -> Rule:
    z = np.concatenate(arrays, axis=axis)  # first: what does not fit together, NumPy says
    ends = list(accumulate(np.shape(x)[axis] for x in arrays))

    def piece(start: int, end: int) -> Any:
        return lambda dz: dz[(slice(None),) * (axis % dz.ndim) + (slice(start, end),)]

    return z, tuple(map(piece, [0, *ends], ends))


@implements(np.stack)
def stack(arrays: Sequence[Any], axis: int = 0) -> Any:
    """Arrays of one shape joined along a new axis."""
    return concatenate([expand_dims(x, axis) for x in _listed(arrays, "stack")], axis=axis)


def _listed(arrays: Any, name: str) -> list[Any]:
    """Return the arrays to join: in a list, or along the first axis of one array."""
    if not isinstance(arrays, (list, tuple)) and not np.ndim(as_array(values(arrays), f"{name}: the list of arrays")):
        raise TypeError(f"{name} takes a list of arrays, got {shown(arrays)}.")
    return list(arrays)


# -- indexing ---------------------------------------------------------------------------------------------------------


def getitem(x: Any, index: Any) -> Any:
    """Part of an array, ``x[index]``: slices, integers, arrays, masks. Entries taken twice add up their gradients."""
    return _getitem(x, index=tuple(map(_kept_index, index)) if isinstance(index, tuple) else _kept_index(index))


def _kept_index(index: Any) -> Any:
    """Copy an array or a list, which the caller may change before `backward`."""
    index = values(index)
    return copy.deepcopy(index) if hasattr(index, "__len__") else index


@op()
def _getitem(x: Array, *, index: Any) -> Rule:
    return x[index], (lambda dz: _scatter(dz, index=index, shape=x.shape),)


@op()
@single_inside
def _scatter(dz: Array, *, index: Any, shape: tuple[int, ...]) -> Rule:
    """Add the entries of dz, at the index, to zeros: the gradient of indexing, whose own gradient is indexing."""
    return scatter(dz, index, shape), (lambda dx: dx[index],)


# -- activations ------------------------------------------------------------------------------------------------------


def rounded_into_unit_interval(a: Array) -> Array:
    """Keep probabilities strictly between 0 and 1, as the exact ones are, at the cost of less than one rounding.

    Then ``log a``, ``log(1 - a)`` and ``da/dz = a(1 - a)`` are finite and non-zero, and the chain ``dA``, ``dZ`` of
    the notes gives ``a - y`` even where the sigmoid saturates. Arrays of exact numbers pass as they are.
    """
    limits = _open_unit_interval(a.dtype)
    return a if limits is None else np.clip(a, *limits)


@functools.cache
def _open_unit_interval(dtype: np.dtype[Any]) -> tuple[Any, Any] | None:
    """The smallest normal number of a dtype, and the largest below 1."""
    if dtype.kind != "f":
        return None
    info = np.finfo(dtype)
    return info.smallest_normal, 1 - info.epsneg


def _floats(z: Array) -> Array:
    """Integers as floats: unsigned ones have no ``-z``, and of small ones NumPy computes ``e^z`` in float16."""
    return z.astype(float) if getattr(z, "dtype", _FLOAT).kind in "iub" else z


_FLOAT = np.dtype(float)


def _sigmoid(z: Array) -> Array:
    """``1 / (1 + e^-z)``, written so that no exponent is positive and nothing overflows or loses digits."""
    z = _floats(z)
    return np.exp(np.minimum(z, 0)) / (1 + np.exp(-np.abs(z)))


@op()
def sigmoid(z: Array) -> Rule:
    """Sigmoid, the inverse of the logit link: ``a = 1 / (1 + e^-z)``, ``da/dz = a (1 - a)``.

    Exact in both tails; rounded to stay strictly between 0 and 1.
    """
    a = rounded_into_unit_interval(_sigmoid(z))
    return a, (lambda da: da * a * (1 - a),)


@op(np.tanh)
def tanh(z: Array) -> Rule:
    """Hyperbolic tangent: ``a = tanh z``, ``da/dz = 1 - a^2``."""
    a = np.tanh(z)
    return a, (lambda da: da * (1.0 - a * a),)


@op()
def relu(z: Array) -> Rule:
    """Rectified linear unit: ``a = max(z, 0)``, ``da/dz`` is 1 for z > 0, else 0 (at 0 too)."""
    return np.maximum(z, 0), (lambda da: da * (z > 0),)


@op()
def softplus(z: Array) -> Rule:
    """``log(1 + e^z)``, a smooth ReLU: ``da/dz = sigmoid(z)``."""
    z = _floats(z)
    return np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z))), (lambda da: da * _sigmoid(z),)


def below_largest(z: Array, axis: Axis) -> tuple[Array, Array]:
    """``z - max z`` over the axes, never above 0, and the maximum.

    Logits that are infinite alike count as equal: where the largest is infinite, it is 0 below itself, not inf - inf.
    """
    top = np.max(z, axis=axis, keepdims=True)
    if top.dtype.kind == "O":  # symbols stand for finite numbers
        return z - top, top
    infinite = np.where(np.isinf(values(top)), values(top), np.nan)  # which is equal to nothing
    with np.errstate(invalid="ignore"):
        return np.where(values(z) == infinite, 0, z - top), top


def _softmax(z: Array, axis: Axis) -> Array:
    z = _floats(z)
    e = np.exp(below_largest(z, axis)[0])
    return e / e.sum(axis=axis, keepdims=True)


@op()
@single_inside
def softmax(z: Array, axis: Axis = 0) -> Rule:
    """Probabilities of the classes (rows), for each example (column): ``a_k = e^z_k / sum_j e^z_j``.

    ``dz = a * (da - sum_k a_k da_k)``. Equal logits have equal shares, infinite ones too: those of +inf share 1 among
    them, and so do all where all are -inf.
    """
    a = _softmax(z, axis)
    return a, (lambda da: a * (da - (a * da).sum(axis=axis, keepdims=True)),)


@op()
@single_inside
def log_softmax(z: Array, axis: Axis = 0) -> Rule:
    """Logarithm of `softmax`, without its underflow: ``dz = da - a sum_k da_k``."""
    z = _floats(z)
    s, _ = below_largest(z, axis)
    return s - np.log(np.exp(s).sum(axis=axis, keepdims=True)), (
        lambda da: da - _softmax(z, axis) * da.sum(axis=axis, keepdims=True),
    )


@op()
@single_inside
def logsumexp(z: Array, axis: Axis = None, *, keepdims: bool = False) -> Rule:
    """``log sum e^z`` over the axes, without overflow: ``dz = softmax(z) da``; of -inf alone, -inf."""
    z, keepdims = _floats(z), boolean(keepdims, "keepdims")
    s, top = below_largest(z, axis)
    a = top + np.log(np.exp(s).sum(axis=axis, keepdims=True))
    return (a if keepdims else np.squeeze(a, axis=axis)), (lambda da: _kept(da, axis, keepdims, z) * _softmax(z, axis),)


# -- what Tensor gets from here ---------------------------------------------------------------------------------------


def _reflected(function: Any) -> Any:
    return lambda x, y: function(y, x)


def _compared(function: Any) -> Any:
    def compare(x: Any, y: Any) -> Any:
        y = values(y)
        if not isinstance(y, (int, float)):  # which have no precision of their own
            y = as_operand(y, f"{function.__name__}: argument 2")
        try:
            return function(values(x), y)
        except EXPLAINED as error:
            raise explained(error, function.__name__, (x, y)) from error

    return compare


def _in_place(symbol: str) -> Any:
    """Refuse ``p -= ...`` of a leaf that requires a gradient; for other Tensors, Python does ``p = p - ...``."""

    def change(x: Tensor, _: Any) -> Any:
        if x._depth != 1 or x._is_argument:
            return NotImplemented
        name = x.name or "t"
        raise TypeError(
            f"`{name} {symbol}= ...` would make a new Tensor, and leave {called(x.name)} as it is: a leaf that "
            f"requires a gradient. Write {name}.data {symbol}= ..., or let an optimizer take the step; or give a new "
            f"Tensor another name, new = {name} {symbol} ..."
        )

    return change


def _method(name: str) -> Any:
    function = getattr(np, name)

    def method(x: Tensor, *args: Any, **options: Any) -> Any:
        return function(x, *args, **options)

    method.__name__ = name
    method.__doc__ = f"``np.{name}`` of this Tensor, with the same arguments."
    return method


def _method_along_axes(op: Any) -> Any:
    """An op as a method; NumPy's seldom keywords take the way that they take in NumPy's function."""
    function = getattr(np, op.__name__)

    @functools.wraps(op)
    def method(x: Tensor, *args: Any, **options: Any) -> Any:
        if options and not SELDOM.isdisjoint(options):
            return function(x, *args, **options)
        return op(x, *args, **options)

    return method


def _method_tolist(x: Tensor) -> Any:
    """The entries as Python's numbers, in lists: values, without a graph."""
    return values(x).tolist()


def _method_flatten(x: Tensor, *order: Any, **options: Any) -> Any:
    """The entries along one axis, as `ravel` gives them."""
    return np.ravel(x, *order, **options) if order or options else reshape(x, -1)


def _method_reshape(x: Tensor, *shape: Any, **options: Any) -> Any:
    """The entries in another shape, ``t.reshape(2, -1)`` or ``t.reshape((2, -1))``: `tinygrad_dls.reshape`."""
    if options:
        raise TypeError(f"reshape: the keyword {next(iter(options))} is not supported on a Tensor; transpose it first.")
    return reshape(x, shape[0] if len(shape) == 1 else shape)


def _method_transpose(x: Tensor, *axes: Any) -> Any:
    """The axes in another order, reversed by default: `tinygrad_dls.transpose`."""
    return transpose(x, axes[0] if len(axes) == 1 else axes or None)


_OPERATORS = {"add": add, "sub": subtract, "mul": multiply, "truediv": divide, "pow": power, "matmul": matmul}
_SYMBOLS = {
    "add": "+", "sub": "-", "mul": "*", "truediv": "/", "pow": "**", "matmul": "@", "floordiv": "//", "mod": "%",
    "and": "&", "or": "|", "xor": "^", "lshift": "<<", "rshift": ">>",
}  # fmt: skip
_COMPARISONS = {
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal,
}  # fmt: skip
_UNDIFFERENTIATED: dict[str, Any] = {
    "floordiv": np.floor_divide, "mod": np.remainder, "divmod": np.divmod, "and": np.bitwise_and, "or": np.bitwise_or,
    "xor": np.bitwise_xor, "lshift": np.left_shift, "rshift": np.right_shift,
}  # fmt: skip
_METHODS_ALONG_AXES = (sum, mean, max, min, prod, var, std, cumsum)
_METHODS = (clip, swapaxes, squeeze, astype)
OF_NUMPY = (  # methods that NumPy has a function of the same name for
    "ravel", "dot", "copy", "take", "repeat", "cumprod", "trace", "diagonal", "round", "argmax", "argmin", "argsort",
    "all", "any",
)  # fmt: skip


def _attach() -> None:
    """Give Tensor its operators and methods: an op in a class is a method, so ``a + b`` calls `add` directly."""
    for name, function in _OPERATORS.items():
        setattr(Tensor, f"__{name}__", function)
        setattr(Tensor, f"__r{name}__", _reflected(function))
    for name, symbol in _SYMBOLS.items():
        setattr(Tensor, f"__i{name}__", _in_place(symbol))
    for name, compare in _COMPARISONS.items():
        setattr(Tensor, f"__{name}__", _compared(compare))
    for name, undifferentiated in _UNDIFFERENTIATED.items():  # refused, by name
        setattr(Tensor, f"__{name}__", lambda x, y, f=undifferentiated: f(x, y))
        setattr(Tensor, f"__r{name}__", lambda x, y, f=undifferentiated: f(y, x))
    for method in _METHODS:
        setattr(Tensor, method.__name__, method)
    for along in _METHODS_ALONG_AXES:
        setattr(Tensor, along.__name__, _method_along_axes(along))
    for name in OF_NUMPY:
        setattr(Tensor, name, _method(name))
    others: dict[str, Any] = {
        "__neg__": negative, "__invert__": lambda x: np.bitwise_not(x),
        "__pos__": lambda x: x, "__abs__": abs, "__getitem__": getitem,
        "flatten": _method_flatten, "tolist": _method_tolist,
        "T": property(transpose), "reshape": _method_reshape, "transpose": _method_transpose,
        "_scatter": lambda dz, index, shape: _scatter(dz, index=index, shape=shape),
    }  # fmt: skip
    for name, function in others.items():
        setattr(Tensor, name, function)


_attach()

implements_on_values(
    *_COMPARISONS.values(), np.logical_and, np.logical_or, np.logical_not, np.isnan, np.isinf, np.isfinite,
    np.isclose, np.allclose, np.array_equal, np.all, np.any, np.count_nonzero, np.argmax, np.argmin, np.argsort,
    np.shape, np.ndim, np.size, np.zeros_like, np.ones_like, np.result_type,
)  # fmt: skip
