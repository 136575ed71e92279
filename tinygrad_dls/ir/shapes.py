"""Shape inference: what shape and dtype a NumPy call gives, by computing it of arrays that hold one entry only.

So nobody who makes a call needs to say what comes of it: `call_of` brings it into its normal form, and infers the rest.

>>> x = call_of(np.full, (2, 3), 1.0)
>>> y = call_of(np.sum, x, 1, keepdims=True)
>>> y.options, y.shape, y.dtype
({'axis': (1,), 'keepdims': True}, (2, 1), dtype('float64'))
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_dls.engine.arrays import Array
from tinygrad_dls.ir.call import Call, each
from tinygrad_dls.ir.functions import COLUMNWISE, ENTRYWISE, FILLED, MATRIX, REDUCTION, row_of
from tinygrad_dls.ir.normal import Normal

__all__ = ["call_of", "hollow", "inferred", "normalized", "shaped"]


def call_of(function: Callable[..., Any], *args: Any, **options: Any) -> Call:
    """Make a call of calls, numbers and constant arrays, in its normal form; its shape and dtype are inferred."""
    function, args, options = normalized(function, args, options)
    return Call(function, args, options, *inferred(function, args, options))


def normalized(function: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> Normal:
    """Bring what is called, and with what, into its `normal` form."""
    normal = row_of(function).normal
    return (function, args, options) if normal is None else normal(function, *args, **options)


def hollow(x: Array, shape: tuple[int, ...] | None = None) -> Array:
    """An array of the same dtype, and of the same shape or another, that holds a single zero."""
    return np.broadcast_to(np.zeros((), x.dtype), x.shape if shape is None else shape)


def shaped(function: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """What a function gives for abstract arrays; where its shape is known beforehand, without going through them."""
    if function in _OF_REGULAR and args[0].size:  # zeros would be a singular matrix
        args = (np.broadcast_to(np.eye(*args[0].shape[-2:], dtype=args[0].dtype), args[0].shape), *args[1:])
    corners = [x[(slice(0, 1),) * x.ndim] if isinstance(x, np.ndarray) else x for x in args]
    kind = row_of(function).kind
    if kind is MATRIX and all(isinstance(x, np.ndarray) and x.ndim == 2 for x in args):
        a, b = args
        if a.shape[1] == b.shape[0]:
            return np.broadcast_to(function(*corners), (a.shape[0], b.shape[1]))
    elif kind in (ENTRYWISE, COLUMNWISE) and not options:
        shape = np.broadcast_shapes(*map(np.shape, args))
        return np.broadcast_to(function(*corners), shape) if shape else function(*args)
    elif kind is FILLED and args and isinstance(args[0], tuple):
        return np.broadcast_to(function((1,) * len(args[0]), *args[1:], **options), args[0])
    elif kind is REDUCTION and len(args) == 1 and args[0].ndim and options.keys() <= {"axis", "keepdims"}:
        axis, keep = options.get("axis"), bool(options.get("keepdims"))
        shape = args[0].shape
        axes = range(len(shape)) if axis is None else [i % len(shape) for i in np.atleast_1d(axis)]
        shape = tuple(1 if i in axes else n for i, n in enumerate(shape) if keep or i not in axes)
        result = function(corners[0], **options)
        return np.broadcast_to(result, shape) if shape else result
    return function(*args, **options)


_OF_REGULAR = (np.linalg.inv, np.linalg.solve, np.linalg.cholesky)


def inferred(function: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, Any]:
    """The shape and the dtype of a call of these arguments.

    Of numbers of Python's alone, such as the number of examples, the dtype is a type of Python's too.
    """
    plain = isinstance(function, np.ufunc) and not function.signature and not options
    if plain and all(isinstance(x, _OPERANDS) for x in args):
        shapes = {x.shape for x in args if isinstance(x, (Call, np.ndarray))} - {()}
        shape = next(iter(shapes), ()) if len(shapes) < 2 else np.broadcast_shapes(*shapes)
        return shape, _dtype(function, tuple([_kind(x) for x in args]))
    value = shaped(function, each(_example, args), each(_example, options))
    return value.shape, value.dtype


_OPERANDS = (Call, np.ndarray, np.generic, int, float, complex)


def _kind(x: Any) -> Any:
    """What the dtype of a result hangs on: that of an array, or the type of a number of Python's."""
    return x.dtype if isinstance(x, (Call, np.ndarray, np.generic)) else type(x)


@functools.lru_cache(maxsize=1024)
def _dtype(function: np.ufunc, kinds: tuple[Any, ...]) -> Any:
    full = (np.dtype(bool) if kind is bool else kind for kind in kinds)
    found = function.resolve_dtypes((*full, *[None] * function.nout))[-1]
    if all(isinstance(kind, type) for kind in kinds):
        return {"i": int, "f": float}.get(found.kind, found)
    return found


def _example(x: Any) -> Any:
    """An array, or a number, that stands for a call."""
    if not isinstance(x, Call):
        return x
    return np.broadcast_to(np.zeros((), x.dtype), x.shape) if isinstance(x.dtype, np.dtype) else _number(x)


def _number(x: Any) -> Any:
    """The number that Python's arithmetic gives of the numbers of examples and the like, as they were recorded."""
    if not isinstance(x, Call):
        return x
    if x.function is None:
        return x.dtype(1) if x.number is None else x.number
    return x.dtype(x.function(*map(_number, x.args)))
