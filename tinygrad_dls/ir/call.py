"""Programs as data: NumPy calls whose arguments are numbers, arrays and other calls.

What records writes them, and all that reads, simplifies or runs a program goes through them: in one order (`toposort`,
a topological sort), by one way to put other calls in the place of some (`substitute`), and with one answer to whether
two calls are the same (`key`).

The words, for those who come from elsewhere:

- a *call* is a node of a program, an equation of a jaxpr in JAX; its *vjp* takes ``dz``, the cotangent, to ``dx``;
- a *tracer* is an array that writes down the calls of its functions, all in one *trace*; shapes come by *inference*;
- `toposort` gives calls in topological order, arguments first; `evaluate` is the interpreter;
- to *substitute* is to put calls in the place of others, which keep their names;
- to *canonicalize* is to rewrite a program by all rules, so that equal computations become one and the same call.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeGuard

import numpy as np

from tinygrad_dls.engine.arrays import Array

__all__ = [
    "Call", "astype", "called", "each", "evaluate", "fits", "getitem", "is_call", "is_plain_reduction",
    "is_transpose", "key", "key_of_arguments", "like", "program_input", "scalar_value", "scattered", "spelling",
    "substitute", "summed_axes", "toposort", "transpose", "with_arguments",
]  # fmt: skip


@dataclass(eq=False, slots=True, weakref_slot=True)
class Call:
    """A NumPy call of a program; or, without a function, one of its inputs.

    Attributes
    ----------
    function : callable or None
        The NumPy function, such as ``np.matmul``; for indexing, `getitem`; None for an input.
    args : tuple
        Its arguments: other calls, numbers, constant arrays, and lists or tuples of these.
    options : dict
        Its keyword arguments.
    shape, dtype
        The result's, as they were when it was recorded.
    name : str
        The name, such as ``"Z1"``; empty if it has none.
    number : int or float, optional
        Of an input that is a number of Python's, the number of examples or the learning rate: what it was then.
    """

    function: Callable[..., Any] | None
    args: tuple[Any, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    shape: tuple[int, ...] = ()
    dtype: Any = None
    name: str = ""
    number: Any = None

    def calls(self) -> list[Call]:
        """The calls among the arguments."""
        found: list[Call] = []
        _gather(self.args, found)
        if self.options:
            _gather(self.options.values(), found)
        return found

    def __repr__(self) -> str:
        if self.function is None:
            return self.name
        called = ", ".join([a.name or "..." if isinstance(a, Call) else repr(a) for a in self.args])
        return f"{self.name or '_'} = {self.function.__name__}({called})"


def _gather(xs: Iterable[Any], found: list[Call]) -> None:
    for x in xs:
        if isinstance(x, Call):
            found.append(x)
        elif isinstance(x, (tuple, list)):
            _gather(x, found)
        elif isinstance(x, slice):
            _gather((x.start, x.stop, x.step), found)


# -- going through a program ------------------------------------------------------------------------------------------


def toposort(
    outputs: Iterable[Call],
    known: Callable[[Call], bool] = lambda _: False,
    others: Mapping[Call, Call] | None = None,
) -> list[Call]:
    """Sort all the calls that the outputs need, themselves included, so that each comes after its arguments.

    Left out are those that are `known`, and what only they need. A call that others stand for needs what those need.
    """
    others = others or {}
    seen: set[Call] = set()
    found = []
    stack = [(call, False) for call in reversed(list(outputs))]
    while stack:
        call, done = stack.pop()
        if done:
            found.append(call)
        elif call not in seen and not known(call):
            seen.add(call)
            stack.append((call, True))
            stack.extend((x, False) for x in reversed(others.get(call, call).calls()) if x not in seen)
    return found


def each(function: Callable[[Any], Any], x: Any) -> Any:
    """Apply a function to what stands in tuples, lists, dicts and slices."""
    if isinstance(x, (tuple, list)):
        make = getattr(x, "_make", type(x))  # a named tuple is made of its entries otherwise
        return make([each(function, y) for y in x])
    if isinstance(x, dict):
        return {name: each(function, y) for name, y in x.items()}
    if isinstance(x, slice):
        return slice(*[each(function, y) for y in (x.start, x.stop, x.step)])
    return function(x)


def with_arguments(call: Call, function: Callable[[Call], Call]) -> Call:
    """The call, without its name, with a function applied to the calls among its arguments."""

    def replaced(x: Any) -> Any:
        return function(x) if isinstance(x, Call) else x

    args = tuple([function(x) if isinstance(x, Call) else each(replaced, x) for x in call.args])
    return Call(call.function, args, each(replaced, call.options), call.shape, call.dtype)


def substitute(outputs: Sequence[Call], others: Mapping[Call, Call]) -> list[Call]:
    """The outputs with other calls in the place of some, which keep their names."""
    new: dict[Call, Call] = {}
    for call in toposort(outputs, others=others):
        other = others.get(call, call)
        new[call] = other if other.function is None else with_arguments(other, new.__getitem__)
        new[call].name = other.name or call.name
    return [new[call] for call in outputs]


def evaluate(outputs: Iterable[Call], inputs: Mapping[Call, Any]) -> list[Any]:
    """Compute what the calls give for these inputs."""
    outputs = list(outputs)
    found = dict(inputs)

    def value(x: Any) -> Any:
        return found[x] if isinstance(x, Call) else x

    for call in toposort(outputs):
        if call not in found:
            assert call.function is not None, f"{call.name} is an input without a value"
            found[call] = call.function(*each(value, call.args), **each(value, call.options))
    return [found[call] for call in outputs]


# -- whether two are the same -----------------------------------------------------------------------------------------


def key(call: Call, standing: Callable[[Call], Any] = lambda call: call, shape: Any = None) -> Any:
    """Something hashable that is equal for calls that compute the same.

    Parameters
    ----------
    call : Call
    standing : function, optional
        What stands for a call among the arguments: itself by default, so that equal calls have the same ones; or, to
        compare one program with another, its place in the program.
    shape : tuple, optional
        What stands for the shape, where programs are the same that differ in the number of examples.
    """
    args, options = (key_of_arguments(x, standing) for x in (call.args, call.options))
    return call.function, args, options, call.shape if shape is None else shape, call.dtype


def key_of_arguments(x: Any, standing: Callable[[Call], Any] = lambda call: call) -> Any:
    """The same for an argument, or for all of them: numbers are equal if they are written alike, and so are arrays."""
    if isinstance(x, Call):
        return standing(x)
    if isinstance(x, (tuple, list)):
        return type(x), *[key_of_arguments(y, standing) for y in x]
    if isinstance(x, dict):
        return tuple([(name, key_of_arguments(y, standing)) for name, y in sorted(x.items())])
    if isinstance(x, np.ndarray):
        return x.shape, str(x.dtype), x.tobytes()
    if isinstance(x, slice):
        return slice, *[key_of_arguments(y, standing) for y in (x.start, x.stop, x.step)]
    return type(x), repr(x)  # as 0.0 and -0.0 are equal numbers, and NaN is none


# -- asking and making ------------------------------------------------------------------------------------------------


def is_call(x: Any, *functions: Any) -> TypeGuard[Call]:
    """Whether x is a call of one of the functions."""
    return isinstance(x, Call) and any(x.function is function for function in functions)


def scalar_value(x: Any) -> Any:
    """The number that an argument is, or that a call makes an array; else None."""
    if is_call(x, np.asarray):
        x = x.args[0]
    return x if isinstance(x, (int, float, np.number)) and not isinstance(x, bool) else None


def program_input(name: str, shape: tuple[int, ...], dtype: Any, number: Any = None) -> Call:
    """An input of a program; a number of Python's has one of Python's types for its dtype."""
    return Call(None, (), {}, shape, dtype, name, number)


def fits(x: Any, call: Call) -> TypeGuard[Call]:
    """Whether an argument can stand for the result: a call of the same shape and dtype."""
    return isinstance(x, Call) and x.shape == call.shape and bool(x.dtype == call.dtype)


def like(call: Call, function: Any, *args: Any, **options: Any) -> Call:
    """Another call with a result of the same shape and dtype."""
    return Call(function, args, options, call.shape, call.dtype)


def is_transpose(x: Any) -> TypeGuard[Call]:
    """Whether x is the transpose of a matrix, with all axes in reverse."""
    return is_call(x, np.transpose) and not x.options


def transpose(x: Call) -> Any:
    """The call for the transpose."""
    return x.args[0] if is_transpose(x) else Call(np.transpose, (x,), {}, x.shape[::-1], x.dtype)


def summed_axes(call: Call) -> tuple[int, ...]:
    """The axes that a reduction runs over, from 0 and sorted."""
    axes: tuple[int, ...] = call.options["axis"]
    return axes


def is_plain_reduction(call: Call) -> bool:
    """Whether a sum, or the like, has no options but its axes, one at the least."""
    return call.options.keys() <= {"axis", "keepdims"} and bool(summed_axes(call))


# -- what functions are called ----------------------------------------------------------------------------------------


@functools.cache
def spelling(function: Callable[..., Any]) -> str:
    """What code that imports NumPy alone calls a function: ``np.tanh``, ``np.linalg.norm``. Empty if it cannot."""
    name = "abs" if function is np.abs else getattr(function, "__name__", "")
    for path in (str(getattr(function, "__module__", "")).split(".")[1:], []):
        found: Any = np
        for part in (*path, name):
            found = getattr(found, part, None)
        if found is function:
            return ".".join(["np", *path, name])
    return ""


def called(function: Callable[..., Any]) -> str:
    """What a reader is told of a function: what code calls it, with the module that it is imported from."""
    if spelled := spelling(function):
        return spelled
    name = getattr(function, "__name__", type(function).__name__)
    if function in (getitem, astype, scattered):
        return f"np.{name}"
    if function in SLOGDET:
        return "np.linalg.slogdet"
    modules = [key for key, module in sys.modules.copy().items() if _has(module, name, function)]
    home = min(modules, key=lambda key: ("._" in f".{key}", len(key)), default="")
    return f"{home}.{name}" if home else name


def _has(module: Any, name: str, function: Any) -> bool:
    """Whether a function is in a module, which is not asked for what it would only load then."""
    found: bool = getattr(module, "__dict__", {}).get(name) is function
    return found


# -- functions that NumPy has no name for -----------------------------------------------------------------------------


def getitem(x: Array, index: Any) -> Array:
    """``x[index]``, as a function."""
    return x[index]


def astype(x: Array, dtype: Any) -> Array:
    """``x.astype(dtype)``, as a function."""
    return x.astype(dtype)


def scattered(dz: Array, index: Any, shape: tuple[int, ...]) -> Array:
    """Zeros of the shape, with the entries of dz added at the index."""
    z = np.zeros(shape, dz.dtype)
    np.add.at(z, index, dz)
    return z


def sign_of_det(a: Array) -> Array:
    """``np.linalg.slogdet(a)[0]``, as a function."""
    return np.linalg.slogdet(a)[0]


def log_abs_det(a: Array) -> Array:
    """``np.linalg.slogdet(a)[1]``, as a function."""
    return np.linalg.slogdet(a)[1]


SLOGDET = (sign_of_det, log_abs_det)  # its results, in their order
