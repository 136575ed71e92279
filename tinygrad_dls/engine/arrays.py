"""What the engine asks of arrays: what counts as one, un-broadcasting, and half precision.

Nothing here knows the Tensor. Arrays are whatever speaks NumPy's protocols; lists and numbers are made into one on
their way in.
"""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar, cast

import numpy as np

from tinygrad_dls.engine.devices import called_kind, on_device, to_host
from tinygrad_dls.engine.errors import called, shown

Array: TypeAlias = Any  # whatever speaks NumPy's protocols
F = TypeVar("F", bound=Callable[..., Any])


def as_array(data: Any, name: str | None = None) -> Array:
    """Keep an array that speaks NumPy's protocols; turn lists, numbers and the like into an ``ndarray``."""
    passed = data
    if not hasattr(type(data), "__array_function__"):
        if hasattr(type(data), "__dlpack__"):
            raise TypeError(
                f"{called(name)} is an array of another library ({called_kind(data)}), whose graph and device would be "
                "lost. Convert it first: np.asarray(x), or x.detach().cpu().numpy() of PyTorch."
            )
        try:
            data = np.asarray(data)
        except Exception as error:  # a list of Tensors, a class of the user's: whatever is the matter
            kind = ValueError if isinstance(error, ValueError) else TypeError
            raise kind(f"{called(name)} is not a rectangular array of numbers: {error}") from error
    elif isinstance(data, (np.ma.MaskedArray, np.matrix)):
        raise TypeError(
            f"{called(name)} is a {type(data).__name__}, whose mask or matrix product would be lost. "
            "Use .filled(value) or np.asarray first."
        )
    kind = data.dtype.kind
    # symbols and the like (kind O) are welcome in an array type of their own, not as loose objects
    if kind in "fiub" or (kind == "O" and type(data) is not np.ndarray):
        return data
    if kind == "c":
        raise TypeError(f"{called(name)} has dtype {data.dtype}: it is complex; costs must be real. Use .real or abs.")
    holds = f" It holds {type(data.flat[0]).__name__}." if kind == "O" and data.size else ""
    advice = "" if kind == "O" and not data.ndim else " Convert it with .astype(float)."  # None, a generator
    if kind == "O" and not data.ndim and isinstance(data.item(), dict):
        advice = " Pass its arrays one by one, each as an argument of its own."
    elif kind == "O" and not data.ndim and hasattr(data.item(), "toarray"):  # a sparse matrix of SciPy's
        advice = " Write .toarray()."
    elif kind in "US":
        advice = " Of numbers, write .astype(float); of classes, number them: np.unique(Y, return_inverse=True)[1]."
    if callable(passed):
        holds, advice = f" It is {shown(passed)}: call it first, and pass what it gives.", ""
    raise TypeError(f"{called(name)} has dtype {data.dtype}, and is not numeric.{holds}{advice}")


def refuse_another_kind(gradient: Array, value: Array, name: str | None) -> None:
    """Refuse a gradient whose step would make something else of an array of NumPy's: a Tensor, or one of dask's."""
    of_numpy = "__array_interface__"  # its memory is NumPy's
    if hasattr(type(value), of_numpy) and not hasattr(type(gradient), of_numpy):
        kind = type(gradient).__name__ if called_kind(gradient).startswith("tinygrad_dls ") else called_kind(gradient)
        raise TypeError(
            f"{called(name)} holds an array of NumPy's; its grad cannot be a {kind}, which a step would make of its "
            "data. Take the array in it: .data of a Tensor, .compute() of dask."
        )


def as_operand(x: Any, name: str) -> Array:
    """The same for an op, but a number of NumPy's stays one: arrays of all kinds take it."""
    array = as_array(x, name)
    return array[()] if isinstance(x, np.generic) else array


def real_number(x: Any, name: str) -> float:
    """Convert a number to Python's float, which does not widen float32; `name` says in the error what it is for."""
    try:
        array = as_array(x)
    except (TypeError, ValueError):
        array = np.True_  # refused below, like a truth value
    if array.shape != () or array.dtype.kind == "b":
        raise TypeError(f"{name} must be a number, got {shown(x)}.")
    try:
        return float(array)
    except TypeError as error:  # a Tensor with a graph
        raise TypeError(f"{name}: {error}") from error


def positive_number(x: Any, name: str) -> float:
    """Check a finite number > 0, such as epsilon; `name` says in the error what it is."""
    number = real_number(x, name)
    if not 0 < number < math.inf:
        raise ValueError(f"{name} must be a finite number > 0, got {shown(x)}.")
    return number


def below_one(x: Any, name: str) -> float:
    """Check a number in [0, 1), such as a momentum; `name` says in the error what it is."""
    number = real_number(x, name)
    if not 0 <= number < 1:
        raise ValueError(f"{name} must be in [0, 1), got {x}.")
    return number


def rate_of(x: Any, name: str) -> float:
    """Check a finite number >= 0, such as a learning rate; `name` says in the error what it is."""
    rate = real_number(x, name)
    if not 0 <= rate < math.inf:
        raise ValueError(f"{name} must be a finite number >= 0, got {x}.")
    return rate


def positive_integer(x: Any, name: str) -> int:
    """Convert a count to Python's int; `name` says in the error what is counted."""
    integer = isinstance(x, (int, np.integer)) and not isinstance(x, (bool, np.timedelta64))
    if not integer or not 0 < x <= sys.maxsize:
        raise ValueError(f"{name} must be a positive integer, got {shown(x)}.")
    return int(x)


def floating(dtype: Any, name: str) -> np.dtype[Any]:
    """Check a dtype that gradients are to have; `name` says in the error what is to have it."""
    try:
        # NumPy would take None for float64, and an array for its dtype
        found = np.dtype(dtype) if isinstance(dtype, (str, type, np.dtype)) else None
    except (TypeError, ValueError, SyntaxError):  # NumPy takes text with commas for Python code
        found = None
    if found is None or found.kind != "f":
        raise TypeError(f"{name} must be a floating dtype, such as float or np.float32, got {shown(dtype)}.")
    return found.newbyteorder("=")  # files may have the other order of bytes, and what is computed of them has not


def boolean(x: Any, name: str) -> bool:
    """Check a switch: True or False, not what Python takes for them, such as ``"no"``."""
    if not isinstance(x, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, got {shown(x)}.")
    return bool(x)


def unbroadcast(dx: Array, shape: tuple[int, ...], function: Callable[..., Any] | None = None) -> Array:
    """Sum a gradient over the axes along which its input was broadcast.

    Where the forward pass used one number many times, its gradient is the sum over all the uses. This is where the
    course's ``db = np.sum(dZ, axis=1, keepdims=True)`` comes from: ``b`` is ``(n, 1)``, and broadcasting used it for
    each of the ``m`` columns of ``Z = W A + b``.

    Parameters
    ----------
    dx : array
        A gradient of the broadcast shape.
    shape : tuple of int
        The shape of the input, which broadcasts to that of `dx`.
    function : callable, optional
        The op, named in the error.

    Raises
    ------
    ValueError
        If `shape` does not broadcast to the shape of `dx`: the op's gradient rule is wrong.
    """
    axes = _summed_axes(dx.shape, shape)
    if axes is None:
        raise ValueError(
            f"the gradient rule of {getattr(function, '__name__', 'an op')} gave a gradient of shape {dx.shape} "
            f"for an input of shape {shape}."
        )
    if dx.__class__ is _NDARRAY and dx.dtype.char != HALF:  # spelled out: every bias comes here
        dx = _add(dx, axes, None, None, True)
    else:
        dx = summed(dx, axes, True)
    return dx if len(dx.shape) == len(shape) else dx.reshape(shape)


def summed(x: Array, axis: Any = None, keepdims: bool = False) -> Array:
    """Sum over axes; half precision is summed in single precision."""
    if x.dtype.char == HALF:
        return x.astype(np.float32).sum(axis=axis, keepdims=keepdims).astype(x.dtype)
    if x.__class__ is _NDARRAY:  # x.sum() ends here too, after a call of a Python function
        return _add(x, axis, None, None, keepdims)
    return x.sum(axis=axis, keepdims=keepdims)


def scatter(dz: Array, index: Any, shape: tuple[int, ...]) -> Array:
    """Add the entries of dz, at an index, to zeros of a shape; the result is the kind of array that dz is.

    NumPy has no function for it. A kind of array that can do it has a method ``_scatter``, as a Tensor, whose graph
    goes on; for others it is done by writing, or by reading.
    """
    if (scatter_itself := getattr(dz, "_scatter", None)) is not None:
        return scatter_itself(index, shape)
    z = np.zeros_like(dz, shape=shape)
    if z.__array_ufunc__(np.add, "at", z, index, dz) is NotImplemented:  # NEP 13: cannot be written into
        return _gather(dz, index, shape)
    return z


def _gather(dz: Array, index: Any, shape: tuple[int, ...]) -> Array:
    """Do as `scatter`, without writing: each entry of the result reads one of dz, or a zero appended to them.

    If the index names an entry several times, there are several rounds: each reads one of them, and adds it.
    """
    parts = index if isinstance(index, tuple) else (index,)
    places = tuple(to_host(i) if on_device(i) else i for i in parts)
    taken = np.arange(math.prod(shape)).reshape(shape)[places].ravel()  # the entries by their numbers
    given = np.concatenate([dz.reshape(-1), np.zeros_like(dz, shape=(1,))])
    waiting, total = np.arange(taken.size), np.zeros_like(dz, shape=(math.prod(shape),))
    while waiting.size:
        entries, first = np.unique(taken[waiting], return_index=True)
        source = np.full(total.shape, taken.size)
        source[entries] = waiting[first]
        total = total + given[source]
        waiting = np.delete(waiting, first)
    return total.reshape(shape)


_NDARRAY = np.ndarray
_add: Callable[..., Array] = np.add.reduce

HALF = "e"  # the character of float16, in which 2048 + 1 is 2048, and 65,520 is infinite


def single_inside(rule: F) -> F:
    """Make a rule that sums or counts compute in single precision inside where its arrays are of half precision.

    The value and the gradients are of half precision again; in between, no count of examples is infinite, and no share
    of one in many is 0.
    """

    @functools.wraps(rule)
    def wide(x: Array, *args: Any, **options: Any) -> Any:
        is_half = hasattr(x, "dtype") and x.dtype.char == HALF
        return in_single(rule, x, *args, **options) if is_half else rule(x, *args, **options)

    return cast(F, wide)


def in_single(rule: Callable[..., Any], x: Array, *args: Any, **options: Any) -> Any:
    """Run a rule for arrays of half precision in single precision, and round what it gives."""
    half = x.dtype
    args = tuple(a.astype(np.float32) if getattr(a, "dtype", None) == half else a for a in args)
    value, vjps = rule(x.astype(np.float32), *args, **options)

    def narrowed(vjp: Callable[..., Any]) -> Callable[..., Any]:
        return lambda dz: vjp(dz.astype(np.float32)).astype(half)

    return value.astype(half), tuple(map(narrowed, vjps))


@functools.lru_cache(maxsize=1024)
def _summed_axes(broadcast: tuple[int, ...], shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """Find the axes of a broadcast shape along which an input was repeated; None if it does not broadcast to it."""
    extra = len(broadcast) - len(shape)
    if extra < 0 or any(n not in (1, broadcast[extra + i]) for i, n in enumerate(shape)):
        return None
    return tuple(i for i, n in enumerate(broadcast) if i < extra or shape[i - extra] != n)
