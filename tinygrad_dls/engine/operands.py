"""The door: what goes into an op and into `backward` is made an array, or refused with the op's name and the roles.

Behind the door, in the rules of the ops, nobody asks what kind of array it is.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable
from types import FunctionType
from typing import Any

import numpy as np

from tinygrad_dls.engine.arrays import HALF, Array, as_array, as_operand
from tinygrad_dls.engine.devices import like
from tinygrad_dls.engine.errors import called, explained, role, several_entries, shown
from tinygrad_dls.engine.tensor import VJP, Op, Tensor, values

__all__ = [
    "PLAIN", "added", "as_gradient", "in_dtype_of", "number_of_inputs", "of_level", "opened", "operand", "owned",
    "refuse_lost_gradients", "refuse_other_functions", "refuse_tensors", "seed_of",
]  # fmt: skip

PLAIN: set[type] = {float, int, bool}  # most operands that are no arrays: nothing to look into


# -- what goes into an op ---------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=1024)  # asked for lists and the like only
def number_of_inputs(rule: Callable[..., Any]) -> float:
    """Count the arguments of a rule that are annotated as arrays; infinite for ``*arrays``.

    They come first; those behind them are options, such as an axis.
    """
    parameters = inspect.signature(rule).parameters.values()
    arrays = [p for p in parameters if p.annotation == "Array"]
    return math.inf if any(p.kind is p.VAR_POSITIONAL for p in arrays) else len(arrays)


def operand(x: Any, name: str, args: tuple[Any, ...], position: int, inputs: float) -> Any:
    """Make a list and the like an array; refuse what only looks like one, such as a masked array or one of objects.

    The first `inputs` arguments are arrays, and those behind them are options, which pass as they are. A rule without
    annotations (`inputs` is 0) does not tell the two apart: there, lists are taken for arrays.
    """
    if position < inputs or (not inputs and (isinstance(x, list) or hasattr(type(x), "__array__"))):
        try:
            return as_operand(x, role(x, position + 1))
        except (ValueError, TypeError) as error:
            raise explained(error, name, args) from error
    return x


def opened(level: int, args: tuple[Any, ...], arrays: list[Any]) -> tuple[int, list[Any]]:
    """Put the Tensors of lower levels back among the arrays; return the greatest depth in `level`, and the arrays.

    The op has taken the array out of every Tensor. Only those of `level`, the highest, are to be opened: to the rule,
    lower ones are arrays, and their own graph must go on.
    """
    depth = max(x._depth for x in args if isinstance(x, Tensor) and x._level == level)
    pairs = zip(args, arrays, strict=True)
    return depth, [x if isinstance(x, Tensor) and x._level < level else array for x, array in pairs]


def refuse_tensors(name: str, options: dict[str, Any]) -> None:
    """Raise if an option is a Tensor: only positional arguments are inputs of the graph."""
    for option, x in options.items():
        if isinstance(x, Tensor):
            raise TypeError(f"{name}: {option}= is a Tensor; pass Tensors by position.")


def refuse_other_functions(functions: tuple[Any, ...]) -> None:
    """Raise for a function that is not NumPy's: ``@tg.op`` without parentheses is given the rule itself."""
    for function in functions:
        if not callable(function):
            raise TypeError(f"op takes NumPy's functions, such as @tg.op(np.tanh); got {shown(function)}.")
        if isinstance(function, FunctionType) and not str(function.__module__).startswith("numpy"):
            raise TypeError(
                f"op: it takes NumPy's functions, not {function.__name__}. Write @tg.op(), with parentheses."
            )


# -- what comes out of a rule -----------------------------------------------------------------------------------------


def refuse_lost_gradients(vjps: Any, name: str, args: tuple[Any, ...]) -> None:
    """Raise if the rule has no vjp for a Tensor that requires a gradient."""
    if not isinstance(vjps, tuple):
        raise TypeError(f"the rule of {name} must return (value, (vjp, ...)): a tuple with one vjp per input.")
    for position, x in enumerate(args[len(vjps) :], len(vjps) + 1):
        if isinstance(x, Tensor) and x._depth:
            raise TypeError(f"{name} is not differentiable in its argument {position}, and that requires a gradient.")


def of_level(level: int, vjps: tuple[VJP | None, ...], args: tuple[Any, ...]) -> tuple[VJP | None, ...]:
    """Keep the vjps with respect to the Tensors of a level; what is lower is a constant to it, and gets None."""
    pairs = zip(vjps, args, strict=False)
    return tuple(vjp if isinstance(x, Tensor) and x._level == level else None for vjp, x in pairs)


# -- what goes into backward, and what it makes -----------------------------------------------------------------------

_ONES = {np.float64: np.float64(1), np.float32: np.float32(1)}  # dJ/dJ of most costs


def seed_of(z: Tensor, seed: Any) -> Array:
    """Return the gradient that `backward` starts from: dJ/dJ = 1, or the caller's; as the kind of array z holds."""
    if not z._depth:
        raise RuntimeError(
            f"backward: no path leads from {called(z.name)} to a Tensor with requires_grad=True. "
            "Was it computed under no_grad(), from .data or from .detach(), are all parameters frozen, or is no "
            "parameter involved?"
            + (" (It is a Tensor in a Tensor, to which the Tensors inside are constants.)" if z._level > 1 else "")
        )
    data = z._value
    if seed is None:
        if data.__class__ in _ONES:
            return _ONES[data.__class__]
        if data.size != 1:
            raise several_entries("backward", z.name, data.shape, "pass the gradient to start from: .backward(seed)")
        return _ones_like(data)
    if isinstance(seed, Tensor) and seed._level >= z._level:
        seed = seed._value
    seed = as_array(seed, "the seed")
    if seed.shape != data.shape:
        raise ValueError(f"backward: the seed is {seed.shape}; {called(z.name)} is {data.shape}.")
    if data.dtype.kind == "f":  # symbols take numbers as they are
        if seed.dtype != data.dtype:
            seed = seed.astype(data.dtype)
        if type(seed) is not type(data):
            seed = _ones_like(data) * like(seed, values(data))
    return owned(seed) if z._depth == 1 else seed  # a leaf would keep the caller's own array as its gradient


def _ones_like(x: Array) -> Array:
    """Make ones of the array's kind: for a Tensor, a Tensor of its level, where `np.ones_like` gives plain numbers."""
    if not isinstance(x, Tensor):
        return np.ones_like(x)
    ones = Tensor(_ones_like(x._value))
    ones._level, ones._escaped = x._level, None
    return ones


def as_gradient(dx: Any, op: Op[...] | None) -> Array:
    """Make an array of a number or a list that a vjp gave; refuse None, which a vjp without ``return`` gives."""
    return as_array(dx, f"backward: the gradient from {getattr(op, '__name__', None)}'s rule")


def added(x: Tensor, sum: Array, dx: Array, wide: dict[Tensor, Array]) -> Array:
    """Add up the gradients from several uses of x; sums in half precision are kept in single precision in `wide`."""
    if dx.dtype.char != HALF:  # 2048 + 1 is 2048 there
        return sum + dx
    wide[x] = (wide[x] if x in wide else sum.astype(np.float32)) + dx
    return wide[x].astype(dx.dtype)


def owned(dx: Array) -> Array:
    """Copy a gradient for a leaf to keep, so that scaling one ``dW`` in place cannot scale another.

    Tensors need no copy, as they are never changed in place.
    """
    return dx if isinstance(dx, Tensor) else dx.copy()


def in_dtype_of(leaf: Tensor, dx: Array) -> Array:
    """Convert a gradient to the dtype of its leaf."""
    if dx.dtype.kind == "c":
        raise TypeError(f"backward: the gradient of {called(leaf.name)} is complex; costs must be real.")
    return dx.astype(leaf._value.dtype)
