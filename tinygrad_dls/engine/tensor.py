"""The Tensor: an array that remembers how it was computed, with NumPy's and Python's protocols.

The one idea: everything is an array that speaks NumPy's protocols (NEP 13 and NEP 18). A rule never asks what kind of
array it is given; it uses operators, ``np.*`` functions and array methods only. So the array inside a Tensor may be an
``ndarray``, a ``dask.array``, or another `Tensor`, one level below: then the gradients are Tensors themselves, and can
be differentiated again.

`tinygrad_dls.engine.autodiff` shows how ops make Tensors, and how `backward` goes through them.
"""

from __future__ import annotations

import functools
import importlib
import math
import operator
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec, Protocol, TypeAlias

import numpy as np

from tinygrad_dls.engine.arrays import Array, as_array, boolean, refuse_another_kind
from tinygrad_dls.engine.devices import on_device, to_host
from tinygrad_dls.engine.errors import called, not_differentiated, several_entries, spelled, unknown_keyword
from tinygrad_dls.engine.inplace import Escaped, Watched, memory, note_escape, note_whole_escape
from tinygrad_dls.engine.viewed import Viewed

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

    from tinygrad_dls.engine.stubs import Attached

    _Attached = Attached["Tensor"]
else:
    _Attached = object

__all__ = [
    "SELDOM", "Op", "Origin", "Rule", "Tensor", "implementations", "implements", "implements_on_values", "values",
]  # fmt: skip

P = ParamSpec("P")
VJP: TypeAlias = Callable[[Array], Array]
Rule: TypeAlias = tuple[Array, tuple[VJP | None, ...]]

# NumPy's functions that write into an array; np.full and np.full_like come here too, as they fill theirs by np.copyto.
_WRITING = {np.copyto, np.put, np.place, np.putmask, np.put_along_axis}

NUMBER = "a Python number"  # as errors call what code asks for
_NUMBERS: set[Any] = {np.float64, np.float32}  # what most costs are: a quick way, as every step ends with one

# What a NumPy function means for Tensors. `op` and `implements` fill it.
implementations: dict[Callable[..., Any], Callable[..., Any]] = {}

_MORE = ["more_ops", "composed", "along_axes", "linalg"]  # further functions, loaded when the first one is asked for
SELDOM = {"dtype", "initial", "where", "out", "correction", "mean"}  # keywords, which `along_axes` sees to
_ALONG_AXES = {  # the functions that take them
    np.sum, np.prod, np.max, np.amax, np.min, np.amin, np.mean, np.var, np.std, np.cumsum, np.cumprod,
}  # fmt: skip


def implementation(function: Callable[..., Any]) -> Callable[..., Any] | None:
    """What a NumPy function means for Tensors, or None."""
    if function not in implementations and _MORE:
        before = implementations.copy()
        while _MORE:
            importlib.import_module(f"tinygrad_dls.engine.{_MORE.pop()}")
        implementations.update(before)  # what a user has given a meaning keeps it
    return implementations.get(function)


class Op(Protocol[P]):
    """A function of Tensors and arrays, which `op` has made of a rule, a function of arrays alone."""

    __name__: str
    rule: Callable[P, Rule]

    def __call__(self, *args: P.args, **options: P.kwargs) -> Any:
        """Return the value as a Tensor, or as an array if there is no Tensor among the arguments."""


class Origin(NamedTuple):
    """How a Tensor was computed. The graph is made of these; that of a leaf has no op, and the rest is empty."""

    op: Op[...] | None
    inputs: tuple[Any, ...]  # Tensors, arrays and numbers, in the order of the op's arguments
    options: dict[str, Any]
    vjps: tuple[VJP | None, ...]  # as many as inputs, or fewer
    watched: Watched  # arrays that a caller could change before `backward`, with their fingerprints


LEAF = Origin(None, (), {}, (), ())


class Tensor(Viewed, _Attached):
    """An array that remembers how it was computed.

    Parameters
    ----------
    data : array_like, or any array that speaks NumPy's protocols
        The values. An array is kept as it is, not copied; lists and numbers become an ``ndarray``. Another Tensor
        makes a Tensor one level up, for gradients of gradients.
    requires_grad : bool, default False
        Whether `backward` shall compute the gradient with respect to this Tensor. Needs a floating dtype.
    name : str, optional
        The name used in errors and pictures, such as ``"W1"``.

    Raises
    ------
    TypeError
        If `data` is not numeric, is a masked array or a ``np.matrix``, or if an integer asks for a gradient.

    Examples
    --------
    >>> import numpy as np, tinygrad_dls as tg
    >>> w = tg.Tensor([[1.0, 2.0]], requires_grad=True, name="w")
    >>> J = np.sum(w ** 2)
    >>> J.backward()
    >>> w.grad
    array([[2., 4.]])
    """

    __pandas_priority__ = 5000  # above a DataFrame's: `series + tensor` is a Tensor, not a column of objects
    __slots__ = ("__weakref__", "_depth", "_escaped", "_grad", "_level", "_origin", "_value", "name")

    _is_argument = False  # True for the argument of a transform such as `grad`: there, ``x += 1`` is allowed

    _value: Array
    _grad: Array  # None before the first backward
    _level: int  # one more than that of the Tensor inside, 1 if none is; transforms choose higher ones
    _depth: int  # 0: no gradient wanted; 1: a leaf that wants one; else 1 + that of the deepest input
    _escaped: Escaped | None  # set once a caller holds the array, and could change it
    _origin: Origin
    name: str | None

    def __init__(self, data: Array, requires_grad: bool = False, *, name: str | None = None) -> None:
        self._value = data = as_array(data, name)
        self._escaped = note_escape(data)
        self._grad = None
        self._level = data._level + 1 if isinstance(data, Tensor) else 1
        self._origin = LEAF
        self.name = name
        self.requires_grad = requires_grad

    @property
    def requires_grad(self) -> bool:
        """Whether `backward` computes the gradient with respect to this Tensor. Assign False to freeze a parameter.

        Raises
        ------
        TypeError
            If an integer asks for a gradient, or if what is assigned is neither True nor False.
        RuntimeError
            If it is assigned on a Tensor that an op computed.
        """
        return self._depth > 0

    @requires_grad.setter
    def requires_grad(self, wanted: bool) -> None:
        if self.op is not None:
            raise RuntimeError(f"{called(self.name)} was computed by {self.op.__name__}; use .detach() for a constant.")
        if boolean(wanted, f"{called(self.name)}: requires_grad") and self._value.dtype.kind not in "fO":
            raise TypeError(
                f"{called(self.name)} has dtype {self.dtype}: only floating-point Tensors can require a gradient. "
                "Write 1.0 instead of 1, or convert with .astype(float)."
            )
        self._depth = 1 if wanted else 0

    # -- the array inside ---------------------------------------------------------------------------------------------

    @property
    def data(self) -> Array:
        """The array inside. Assigning replaces it by another of the same shape and dtype.

        It may be changed in place too (``W.data -= alpha * W.grad``), but not between a forward pass and its
        `backward`, which then raises.

        Raises
        ------
        ValueError, TypeError
            If the new array has another shape or dtype.
        """
        waiting = [self]
        while waiting:
            t = waiting.pop()
            t._escaped = note_whole_escape(t._value, t._escaped)
            base = memory(t._value)
            if base is not t._value:  # a view: the same memory belongs to what it was computed from
                waiting += (x for x in t.inputs if isinstance(x, Tensor) and memory(x._value) is base)
        return self._value

    @data.setter
    def data(self, new: Array) -> None:
        new = as_array(new, self.name)
        if isinstance(new, Tensor) and not isinstance(self._value, Tensor) and not _is_for_another_level(new, self):
            name = self.name or "t"
            raise TypeError(
                f"the data of {called(self.name)} is an array, and a Tensor in its place would be one level more, "
                f"with every step another. Compute with arrays: {name}.data = {name}.data - ..., or take .data of "
                "the Tensor."
            )
        if new.shape != self._value.shape:
            raise ValueError(f"{called(self.name)} has shape {self._value.shape}; its data cannot become {new.shape}.")
        if new.dtype != self._value.dtype:
            raise TypeError(
                f"{called(self.name)} is {self._value.dtype}; its data cannot become {new.dtype}. "
                f"Convert with .astype({str(self._value.dtype)!r}), or make a new Tensor."
            )
        if new is not self._value:  # else `t.data += ...`: what escaped, and its fingerprint, remain
            self._escaped = note_escape(new)
        self._value = new
        self._level = new._level + 1 if isinstance(new, Tensor) else 1

    @property
    def grad(self) -> Array | None:
        """The gradient ``dJ/d(this)``; None before the first `backward`. Assign None, or an array to use instead.

        On a leaf, the sum over the calls of `backward` since it was None; on a computed Tensor, that of the last call.

        Raises
        ------
        ValueError, TypeError
            If the array has another shape or dtype than `data`, or is none of NumPy's where that is.
        """
        return self._grad

    @grad.setter
    def grad(self, new: Array | None) -> None:
        if new is not None:
            new = as_array(new, "grad")
            if new.shape != self._value.shape or new.dtype != self._value.dtype:
                raise ValueError(
                    f"{called(self.name)} is {self._value.shape} {self._value.dtype}; "
                    f"its grad cannot be {new.shape} {new.dtype}."
                )
            refuse_another_kind(new, self._value, self.name)
        self._grad = new

    @property
    def op(self) -> Op[...] | None:
        """The op that computed this Tensor; None for a leaf."""
        return self._origin.op

    @property
    def inputs(self) -> tuple[Any, ...]:
        """The op's arguments, Tensors and plain arrays alike, in order."""
        return self._origin.inputs

    @property
    def options(self) -> dict[str, Any]:
        """The op's keyword arguments, such as ``axis``."""
        return self._origin.options

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array, such as ``(n_x, m)``."""
        return self._value.shape  # type: ignore[no-any-return]  # any array type may be inside

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self._value.ndim  # type: ignore[no-any-return]  # any array type may be inside

    @property
    def size(self) -> int:
        """Number of entries."""
        return self._value.size  # type: ignore[no-any-return]  # any array type may be inside

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of the array."""
        return self._value.dtype  # type: ignore[no-any-return]  # any array type may be inside

    def item(self) -> float:
        """The value of a Tensor of one entry, as a Python number; of more entries, or none, there is a ValueError."""
        x = values(self)
        if x.__class__ in _NUMBERS or self.size == 1:
            return float(x) if x.__class__ in _NUMBERS else to_host(x).item()
        raise several_entries("item", self.name, self.shape, "take .data for the array")

    def detach(self) -> Tensor:
        """A Tensor of the same array, cut from the graph: a constant for `backward`."""
        return Tensor(self.data, name=self.name)

    # -- NumPy's protocols --------------------------------------------------------------------------------------------

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        """Answer ``np.tanh(t)``, ``ndarray @ t`` and every other NumPy ufunc (NEP 13)."""
        name = f"np.{ufunc.__name__}" + ("" if method == "__call__" else f".{method}")
        if "out" in kwargs:
            raise TypeError(
                f"{name}: cannot write a Tensor into an array (out=, or `array += tensor`); "
                "the graph would be lost. Write `array = array + tensor`, or use tensor.data."
            )
        function = implementations.get(ufunc) or implementation(ufunc) if method == "__call__" else None
        if function is None and ufunc.__name__ == "clip" and method == "__call__":  # that of `array.clip(t, u)`
            function = implementations[np.clip]
        if function is None:
            raise not_differentiated(name)
        if kwargs:
            raise TypeError(f"{name}: the keyword {', '.join(kwargs)} is not supported on a Tensor.")
        return function(*inputs)

    def __array_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Answer ``np.mean(t, axis=1)``, ``np.concatenate([t, u])`` and the like (NEP 18)."""
        function = implementations.get(func) or implementation(func)
        if func in _ALONG_AXES and not SELDOM.isdisjoint(kwargs):
            return importlib.import_module("tinygrad_dls.engine.along_axes").with_keywords(func, *args, **kwargs)
        if function is None and func in _WRITING:
            raise TypeError(
                f"np.{func.__name__}: it writes in place, where a Tensor would lose its graph. Make a new array: "
                "np.stack([t, u]) of several Tensors, np.where for some entries, np.broadcast_to(t, shape) for "
                "np.full(shape, t); or use tensor.data."
            )
        if function is None:
            raise not_differentiated(spelled(func))
        try:
            return function(*args, **kwargs)
        except TypeError as error:
            if (keyword := unknown_keyword(error)) not in kwargs:
                raise
            raise TypeError(f"{spelled(func)}: the keyword {keyword} is not supported on a Tensor.") from None

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        """Give the values to code that wants a plain array; refuse where that would drop a graph."""
        self._refuse_to_lose_the_graph("a plain array")
        return np.array(values(self.data), dtype=dtype, copy=copy)

    def __dlpack__(self, **options: Any) -> Any:
        """Share the memory of the values with other libraries; refuse where that would drop a graph."""
        self._refuse_to_lose_the_graph("an array of another library")
        return values(self.data).__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return values(self).__dlpack_device__()

    # -- Python's protocols -------------------------------------------------------------------------------------------

    __hash__ = object.__hash__  # by identity; == compares values

    def __bool__(self) -> bool:
        return bool(values(self))

    def _refuse_to_lose_the_graph(self, what: str) -> None:
        """Raise where code asks for something that remembers nothing of the graph that leads here."""
        x: Any = self
        while isinstance(x, Tensor):
            if x._depth:
                if what == NUMBER and _writes(sys._getframe(1).f_back):
                    return
                raise TypeError(
                    f"{called(self.name)} requires a gradient, and {what} would lose the graph. Write np.exp for "
                    "math.exp and so on, X @ t for X.dot(t), and np.stack([t, u]) for an array of Tensors. If no "
                    "gradient shall flow, say so with .data (or .detach()), or .item() for a number."
                )
            x = x._value

    def __float__(self) -> float:
        self._refuse_to_lose_the_graph(NUMBER)
        return float(self.item())

    def __int__(self) -> int:
        self._refuse_to_lose_the_graph(NUMBER)
        return int(self.item())

    def __complex__(self) -> complex:
        self._refuse_to_lose_the_graph(NUMBER)
        return complex(self.item())

    def __index__(self) -> int:
        self._refuse_to_lose_the_graph(NUMBER)
        return operator.index(to_host(values(self)))

    def __round__(self, digits: int | None = None) -> Any:
        self._refuse_to_lose_the_graph(NUMBER)
        return round(self.item(), digits)

    def __trunc__(self) -> int:
        self._refuse_to_lose_the_graph(NUMBER)
        return math.trunc(self.item())

    def __floor__(self) -> int:
        self._refuse_to_lose_the_graph(NUMBER)
        return math.floor(self.item())

    def __ceil__(self) -> int:
        self._refuse_to_lose_the_graph(NUMBER)
        return math.ceil(self.item())

    def __bytes__(self) -> bytes:
        self._refuse_to_lose_the_graph("bytes")
        return to_host(values(self)).tobytes()

    def __reduce_ex__(self, protocol: Any) -> Any:
        if self.op is not None:
            raise TypeError(
                f"{called(self.name)} was computed by {self.op.__name__}, and a graph cannot be pickled, as it holds "
                "functions. Take .detach() or .data of it; if a model keeps it in an attribute, delete that before, or "
                "save model.state_dict()."
            )
        return object.__reduce_ex__(self, protocol)

    def __len__(self) -> int:
        return len(self._value)

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __contains__(self, x: Any) -> bool:
        return bool(np.any(self == x))

    def __setitem__(self, index: Any, value: Any) -> None:
        raise TypeError(
            "a Tensor cannot be changed in place: the graph needs the old values. "
            "Build a new one with np.where or np.concatenate, or set tensor.data before the forward pass."
        )

    def __delitem__(self, index: Any) -> None:
        raise TypeError(
            "entries of a Tensor cannot be deleted: the graph needs the old values. "
            "Take those that remain, such as t[1:], or t[kept] with a mask, or join parts with np.concatenate."
        )

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec else str(self)

    def __repr__(self) -> str:
        data = to_host(self._value) if on_device(self._value) else self._value
        if hasattr(data, "__array_interface__") and data.ndim:
            text = np.array2string(data, separator=", ", prefix="Tensor(")
        else:
            text = str(data)
        facts = [text, f"shape={self.shape}", f"dtype={self.dtype}"]
        if self.name is not None:
            facts.append(f"name={self.name!r}")
        if self.op is not None:
            facts.append(f"op={self.op.__name__}")
        elif self.requires_grad:
            facts.append("requires_grad=True")
        return f"Tensor({', '.join(facts)})"


def implements(*numpy_functions: Callable[..., Any]) -> Callable[[Callable[P, Any]], Callable[P, Any]]:
    """Register a function composed of ops as the meaning of NumPy functions."""

    def register(function: Callable[P, Any]) -> Callable[P, Any]:
        for numpy_function in numpy_functions:
            implementations[numpy_function] = function
        return function

    return register


def implements_on_values(*numpy_functions: Callable[..., Any]) -> None:
    """Let NumPy functions whose results are counts, booleans or constants see the plain values of Tensors."""

    def on_values(function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args, **kwargs: function(*map(values, args), **kwargs)

    for function in numpy_functions:
        implementations[function] = on_values(function)


def _is_for_another_level(new: Tensor, holder: Tensor) -> bool:
    """Whether `new`, which is to be the data of `holder`, wants a gradient and was not computed from `holder`."""
    waiting, seen = [new], {new}
    while waiting:
        inputs = {x for x in waiting.pop().inputs if isinstance(x, Tensor)} - seen
        if holder in inputs:
            return False
        seen |= inputs
        waiting += inputs
    return new.requires_grad


def values(x: Any) -> Any:
    """The plain array at the bottom of a Tensor of any level; anything else as it is."""
    while isinstance(x, Tensor):
        x = x._value
    return x


def _writes(frame: FrameType | None) -> bool:
    """Whether a caller is at an operator ``%``, which asks for a number only to write it: ``"cost %f" % J``."""
    if frame is None:  # a thread of C code
        return False
    code, at = frame.f_code.co_code, frame.f_lasti
    return tuple(code[at : at + 2]) in _per_cent()


@functools.cache
def _per_cent() -> set[tuple[int, int | None]]:
    """The bytecode of ``%`` and of ``%=``."""
    import dis

    instructions = [i for text in ("a % b", "a %= b") for i in dis.Bytecode(text)]
    return {(i.opcode, i.arg) for i in instructions if i.opname == "BINARY_OP"}
