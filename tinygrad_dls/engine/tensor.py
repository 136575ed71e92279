"""The engine: a `Tensor` remembers how it was computed, and `backward` applies the chain rule to that memory.

The one idea: everything is an array that speaks NumPy's protocols (NEP 13 and NEP 18). The engine never asks what
kind of array a Tensor holds; it uses operators, ``np.*`` functions and array methods only. So the array inside may be
an ``ndarray``, a ``dask.array``, or another `Tensor`, one level up: then the gradients are Tensors themselves, and can
be differentiated again.

An op (see `tinygrad_dls.engine.ops`) is one function that returns its value and, for each input, a *vector-Jacobian
product*: the function that takes ``dz``, the gradient of the cost with respect to the op's output, to the gradient with
respect to that input. In the notation of the course, ``dz`` stands for ``dJ/dz``.

What happens once, here, so that no op has to think of it: un-broadcasting, dtypes, shape checks, the order of the
backward pass, and who owns a gradient.
"""

from __future__ import annotations

import copy
import functools
import inspect
import math
import operator
import sys
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from types import FrameType, FunctionType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeAlias

import numpy as np

from tinygrad_dls.engine.arrays import Array, as_array, truth, unbroadcast
from tinygrad_dls.engine.errors import EXPLAINED, called, explained, not_differentiated, role
from tinygrad_dls.engine.inplace import (
    Lent,
    Watched,
    handed_out,
    held,
    lent,
    memory,
    refuse_changed,
    refuse_changed_since_lent,
    shared,
    watched,
)
from tinygrad_dls.engine.switches import Switch, left

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

__all__ = ["Tensor", "no_grad", "op"]

P = ParamSpec("P")
VJP: TypeAlias = Callable[[Array], Array]
Rule: TypeAlias = tuple[Array, tuple[VJP | None, ...]]

# Whether ops record the graph; or who is to see every Tensor that they record, and every leaf that backward ends at.
Observer: TypeAlias = Callable[["Tensor"], None]
_recording: ContextVar[bool | Observer] = ContextVar("tinygrad_dls_recording", default=True)

# NumPy's functions that write into an array that they are given, or that np.full and np.full_like have made.
_WRITING = {np.copyto, np.put, np.place, np.putmask, np.put_along_axis}

NUMBER = "a Python number"  # as errors call what code asks for

# What a NumPy function means for Tensors. `op` and `implements` fill it.
_implementations: dict[Callable[..., Any], Callable[..., Any]] = {}


# The switches that `no_grad` has to set back, the innermost last; each thread and each task has its own.
_before: ContextVar[tuple[bool | Observer, ...]] = ContextVar("tinygrad_dls_before_no_grad", default=())


class no_grad(Switch):  # noqa: N801  # used as a function
    """Switch the recording of the graph off: as a context manager, or as a decorator.

    The switch is a `contextvars.ContextVar`: threads and tasks that run beside the block do not see it, and it is set
    back even when the block raises. One object may be used again, nested, and by several threads. Of a generator or a
    coroutine that it decorates, it is off while their own code runs. (A block around a ``yield`` stays open for those
    who ask for what comes next: decorate the generator instead.)

    Raises
    ------
    TypeError
        If it decorates without parentheses, or something that is no function.

    Examples
    --------
    >>> import tinygrad_dls as tg
    >>> w = tg.Tensor([1.0, 2.0], requires_grad=True)
    >>> with tg.no_grad():
    ...     z = w * w
    >>> z.requires_grad
    False
    """

    __slots__ = ()

    def __enter__(self) -> None:
        _before.set((*_before.get(), _recording.get()))
        _recording.set(False)

    def __exit__(self, *error: object) -> None:
        _recording.set(left("no_grad", _before))


class Tensor:
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
    __slots__ = ("__weakref__", "_depth", "_grad", "_lent", "_level", "_origin", "_value", "name")

    _is_argument = False  # of a transform: the user's own variable, which may be given another value

    _value: Array
    _grad: Array  # None before the first backward
    _level: int  # 1 for a Tensor of plain arrays, 2 for a Tensor of those, ...
    _depth: int  # 0: no gradient wanted; 1: a leaf that wants one; else 1 + that of the deepest input
    _lent: Lent | None  # set once a caller holds the array, and could change it
    _origin: tuple[Callable[..., Any] | None, tuple[Any, ...], dict[str, Any], tuple[VJP | None, ...], Watched]
    name: str | None

    def __init__(self, data: Array, requires_grad: bool = False, *, name: str | None = None) -> None:
        self._value = data = as_array(data, name)
        self._lent = lent(data)
        self._grad = None
        self._level = data._level + 1 if isinstance(data, Tensor) else 1
        self._origin = _LEAF
        self.name = name
        self.requires_grad = requires_grad

    @property
    def requires_grad(self) -> bool:
        """Whether `backward` computes the gradient with respect to this Tensor. Assign False to freeze a parameter.

        Raises
        ------
        TypeError
            If an integer asks for a gradient, or if `wanted` is neither True nor False.
        RuntimeError
            If it is assigned on a Tensor that an op computed.
        """
        return self._depth > 0

    @requires_grad.setter
    def requires_grad(self, wanted: bool) -> None:
        if self.op is not None:
            raise RuntimeError(f"{called(self.name)} was computed by {self.op.__name__}; use .detach() for a constant.")
        if truth(wanted, f"{called(self.name)}: requires_grad") and self._value.dtype.kind not in "fO":
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
            t._lent = handed_out(t._value, t._lent)
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
        if new is not self._value:  # else `t.data += ...`: what was lent, and its fingerprint, remain
            self._lent = lent(new)
        self._value = new
        self._level = new._level + 1 if isinstance(new, Tensor) else 1

    @property
    def grad(self) -> Array | None:
        """The gradient ``dJ/d(this)``; None before the first `backward`. Assign None, or an array to use instead.

        On a leaf, the sum over the calls of `backward` since it was None; on a computed Tensor, that of the last call.

        Raises
        ------
        ValueError
            If the array has another shape or dtype than `data`.
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
        self._grad = new

    @property
    def op(self) -> Callable[..., Any] | None:
        """The op that computed this Tensor; None for a leaf."""
        return self._origin[0]

    @property
    def inputs(self) -> tuple[Any, ...]:
        """The op's arguments, Tensors and plain arrays alike, in order."""
        return self._origin[1]

    @property
    def options(self) -> dict[str, Any]:
        """The op's keyword arguments, such as ``axis``."""
        return self._origin[2]

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
        """The value of a Tensor of one entry, as a Python number."""
        x = values(self)
        return (x if isinstance(x, np.generic) else np.asarray(x)).item()  # type: ignore[no-any-return]  # any array type may be inside

    def detach(self) -> Tensor:
        """A Tensor of the same array, cut from the graph: a constant for `backward`."""
        return Tensor(self.data, name=self.name)

    # -- the chain rule -----------------------------------------------------------------------------------------------

    def backward(self, seed: Array | None = None) -> None:
        """Compute the gradient of this Tensor with respect to every Tensor that it was computed from.

        Visits every node once, from the deepest to the leaves, and hands ``dz`` through the node's vector-Jacobian
        products. A node's depth is the length of the longest path to it from a leaf; all that used it lie deeper, so
        its gradient is complete when its turn comes. No recursion, and linear in nodes and edges.

        Leaves accumulate: two calls double their gradient exactly. Computed Tensors keep the gradient of the last
        call, so that ``dZ`` can be looked at.

        Parameters
        ----------
        seed : array_like, optional
            The gradient to start from, of this Tensor's shape; 1 by default, for a Tensor of a single entry.

        Raises
        ------
        RuntimeError
            If no Tensor that requires a gradient led here.
        ValueError
            If this Tensor has more than one entry and no seed is given, or if the seed has another shape.
        RuntimeError
            If an array that a gradient depends on was changed in place since it was used; no leaf is changed then.
        """
        if not self._depth:
            raise RuntimeError(
                f"backward: no path leads from {called(self.name)} to a Tensor with requires_grad=True. "
                "Was it computed under no_grad(), from .data or from .detach(), or is no parameter involved?"
                + (" (It is a Tensor in a Tensor, to which the Tensors inside are constants.)" * (self._level > 1))
            )
        dz = self._seed(seed)

        gradients = {self: dz}
        wide: dict[Tensor, Array] = {}  # sums of gradients of half precision, in single precision
        waiting: list[list[Tensor]] = [[] for _ in range(self._depth + 1)]
        waiting[self._depth].append(self)
        for nodes in waiting[:1:-1]:
            for node in nodes:
                node._grad = dz = gradients.pop(node)
                function, inputs, _, vjps, compared = node._origin
                if compared:
                    refuse_changed(node)
                if node._lent is not None:
                    refuse_changed_since_lent(node, node)
                for x, vjp in zip(inputs, vjps):  # noqa: B905  # inputs without a vjp are constants
                    if not isinstance(x, Tensor):
                        continue
                    if x._lent is not None:
                        refuse_changed_since_lent(node, x)
                    if vjp is not None and x._depth:
                        dx = vjp(dz)
                        shape = x._value.shape
                        try:
                            given = dx.shape
                        except AttributeError:  # a number, a list; or None, of a rule that forgot to return
                            dx = as_array(
                                dx, f"backward: the gradient from {getattr(function, '__name__', None)}'s rule"
                            )
                            given = dx.shape
                        if given != shape:
                            dx = unbroadcast(dx, shape, function)
                        if x in gradients:
                            if dx.dtype == _HALF:  # 2048 + 1 is 2048 there
                                wide[x] = (wide[x] if x in wide else gradients[x].astype(np.float32)) + dx
                                gradients[x] = wide[x].astype(_HALF)
                            else:
                                gradients[x] = gradients[x] + dx
                        elif x._depth > 1:
                            gradients[x] = dx
                            waiting[x._depth].append(x)
                        else:
                            gradients[x] = _owned(dx) if dx is dz or getattr(dx, "base", None) is not None else dx
        observer = _recording.get()
        for leaf, dx in gradients.items():  # only now: a rule that fails changes no leaf
            if dx.dtype is not leaf._value.dtype and dx.dtype != leaf._value.dtype:
                if dx.dtype.kind == "c":
                    raise TypeError(f"backward: the gradient of {called(leaf.name)} is complex; costs must be real.")
                dx = dx.astype(leaf._value.dtype)
            leaf._grad = dx if leaf._grad is None else leaf._grad + dx
            if observer is not True and observer:
                observer(leaf)

    def _seed(self, seed: Array | None) -> Array:
        data = self._value
        if seed is None:
            if data.shape == ():
                return _one(data.dtype)
            if data.size != 1:
                raise ValueError(
                    f"backward: {called(self.name)} has shape {data.shape}, not a single entry. Reduce it to a cost "
                    "first (np.mean, np.sum, a loss), or pass the gradient to start from: .backward(seed)."
                )
            return np.ones_like(data)
        if isinstance(seed, Tensor) and seed._level >= self._level:
            seed = seed._value
        seed = as_array(seed, "the seed")
        if seed.shape != data.shape:
            raise ValueError(f"backward: the seed is {seed.shape}; {called(self.name)} is {data.shape}.")
        if seed.dtype != data.dtype and data.dtype.kind == "f":  # symbols take numbers as they are
            seed = seed.astype(data.dtype)
        if self._depth == 1:  # a leaf would keep the caller's own array as its gradient
            seed = _owned(seed)
        return seed

    # -- NumPy's protocols --------------------------------------------------------------------------------------------

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        """Answer ``np.tanh(t)``, ``ndarray @ t`` and every other NumPy ufunc (NEP 13)."""
        name = f"np.{ufunc.__name__}" + ("" if method == "__call__" else f".{method}")
        if "out" in kwargs:
            raise TypeError(
                f"{name}: cannot write a Tensor into an array (out=, or `array += tensor`); "
                "the graph would be lost. Write `array = array + tensor`, or use tensor.data."
            )
        if kwargs:
            raise TypeError(f"{name}: the keyword {', '.join(kwargs)} is not supported on a Tensor.")
        function = _implementations.get(ufunc) if method == "__call__" else None
        if function is None and ufunc.__name__ == "clip" and method == "__call__":  # that of `array.clip(t, u)`
            function = _implementations[np.clip]
        if function is None:
            raise not_differentiated(name)
        return function(*inputs)

    def __array_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Answer ``np.mean(t, axis=1)``, ``np.concatenate([t, u])`` and the like (NEP 18)."""
        function = _implementations.get(func)
        if function is None and func in _WRITING:
            raise TypeError(
                f"np.{func.__name__}: it writes in place, where a Tensor would lose its graph. Make a new array: "
                "np.stack([t, u]) of several Tensors, np.where for some entries, np.broadcast_to(t, shape) for "
                "np.full(shape, t); or use tensor.data."
            )
        if function is None:
            raise not_differentiated(f"{func.__module__.replace('numpy', 'np')}.{func.__name__}")
        return function(*args, **kwargs)

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        """Give the values to code that wants a plain array; refuse where that would drop a graph."""
        self._refuse_to_lose_the_graph("a plain array")
        return np.array(values(self.data), dtype=dtype, copy=copy)

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
        return operator.index(np.asarray(values(self)))

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
        return np.asarray(values(self)).tobytes()

    def __copy__(self) -> Tensor:
        twin = self._copied(lambda x: x)
        twin._take_attributes(self, lambda x: x)
        return twin

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        """A copy with a graph of its own, down to the leaves; without recursion, as graphs are deep."""
        waiting = [self]
        while waiting:
            t = waiting[-1]
            inside = [x for x in (*t.inputs, t._value, t._grad) if isinstance(x, Tensor) and id(x) not in memo]
            if inside:
                waiting += inside
            elif id(waiting.pop()) not in memo:
                memo[id(t)] = twin = t._copied(lambda x: copy.deepcopy(x, memo))
                if t.op is not None and t._level > 1:  # the products know Tensors, whose gradients flow on from them
                    twin._origin = _again(t, twin.inputs, twin.options)
                elif t.op is not None:  # the products of the copy know the original's arrays
                    twin._origin = (*twin._origin[:4], shared(t))
                twin._take_attributes(t, lambda x: copy.deepcopy(x, memo))
        return memo[id(self)]  # type: ignore[no-any-return]  # what was put there

    def _copied(self, each: Callable[[Any], Any]) -> Tensor:
        twin: Tensor = _new(type(self))
        state: Any = object.__getstate__(self)
        for name, x in state[1].items():  # of the slots
            object.__setattr__(twin, name, each(x))
        return twin

    def _take_attributes(self, other: Tensor, each: Callable[[Any], Any]) -> None:
        """What a caller's subclass keeps beside the slots; they may lead back to the Tensor."""
        if attributes := getattr(other, "__dict__", None):
            vars(self).update(each(attributes))

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
        data = self._value
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

    if TYPE_CHECKING:  # the operators and methods that `tinygrad_dls.engine.ops` attaches, for type checkers

        def __add__(self, other: Any) -> Tensor: ...
        def __radd__(self, other: Any) -> Tensor: ...
        def __sub__(self, other: Any) -> Tensor: ...
        def __rsub__(self, other: Any) -> Tensor: ...
        def __mul__(self, other: Any) -> Tensor: ...
        def __rmul__(self, other: Any) -> Tensor: ...
        def __truediv__(self, other: Any) -> Tensor: ...
        def __rtruediv__(self, other: Any) -> Tensor: ...
        def __pow__(self, other: Any) -> Tensor: ...
        def __rpow__(self, other: Any) -> Tensor: ...
        def __matmul__(self, other: Any) -> Tensor: ...
        def __rmatmul__(self, other: Any) -> Tensor: ...
        def __neg__(self) -> Tensor: ...
        def __pos__(self) -> Tensor: ...
        def __abs__(self) -> Tensor: ...
        def __getitem__(self, index: Any) -> Tensor: ...
        def __eq__(self, other: object) -> Any: ...
        def __ne__(self, other: object) -> Any: ...
        def __lt__(self, other: Any) -> Any: ...
        def __le__(self, other: Any) -> Any: ...
        def __gt__(self, other: Any) -> Any: ...
        def __ge__(self, other: Any) -> Any: ...

        T: Tensor
        sum: Callable[..., Tensor]
        mean: Callable[..., Tensor]
        max: Callable[..., Tensor]
        min: Callable[..., Tensor]
        prod: Callable[..., Tensor]
        var: Callable[..., Tensor]
        std: Callable[..., Tensor]
        cumsum: Callable[..., Tensor]
        clip: Callable[..., Tensor]
        reshape: Callable[..., Tensor]
        transpose: Callable[..., Tensor]
        swapaxes: Callable[..., Tensor]
        squeeze: Callable[..., Tensor]
        astype: Callable[..., Tensor]


# -- ops --------------------------------------------------------------------------------------------------------------


def op(*numpy_functions: Callable[..., Any]) -> Callable[[Callable[P, Rule]], Callable[P, Any]]:
    """Make an op of a rule: a function that returns its value and one vector-Jacobian product per input.

    The decorated function takes Tensors and arrays. With plain arrays it is just the forward pass and returns a plain
    array. Of the Tensors among its positional arguments, those of the highest level are differentiated; to the rule,
    lower ones are arrays. Keyword arguments are options, not inputs.

    Parameters
    ----------
    *numpy_functions : callable
        The NumPy functions that mean this op: ``@op(np.tanh)`` makes ``np.tanh(tensor)`` keep the graph.

    Examples
    --------
    >>> import numpy as np, tinygrad_dls as tg
    >>> @tg.op()
    ... def cube(x):
    ...     return x ** 3, (lambda dz: dz * 3 * x ** 2,)
    >>> x = tg.Tensor(2.0, requires_grad=True)
    >>> cube(x).backward()
    >>> float(x.grad)
    12.0
    """
    for function in numpy_functions:
        if isinstance(function, FunctionType) and not str(function.__module__).startswith("numpy"):
            raise TypeError(
                f"op: it takes NumPy's functions, not {function.__name__}. Write @tg.op(), with parentheses."
            )

    def decorate(rule: Callable[P, Rule]) -> Callable[P, Any]:
        inputs = _inputs(rule)

        @functools.wraps(rule)
        def apply(*args: Any, **options: Any) -> Any:
            level, depth, mixed = 0, 0, False
            reachable: Any = None  # the arrays that a caller holds and could change, as a linked list
            arrays = []
            for x in args:
                if isinstance(x, Tensor):
                    if x._level != level:
                        mixed, level = level != 0, x._level
                    if x._depth > depth:
                        depth = x._depth
                    if x._lent is not None:
                        if x._lent.array is x._value:
                            reachable = x._lent, reachable
                        else:  # an optimizer has replaced the array since, and no caller holds the new one
                            x._lent = None
                    arrays.append(x._value)
                elif x.__class__ is _NDARRAY and x.dtype.kind in "fiub":
                    reachable = x, reachable
                    arrays.append(x)
                elif x.__class__ in _PLAIN:
                    arrays.append(x)
                else:
                    arrays.append(_operand(x, apply.__name__, args, len(arrays), inputs))
                    if held(x, arrays[-1]):
                        reachable = arrays[-1], reachable
            if options:
                _refuse_tensors(apply.__name__, options)
            if mixed:  # Tensors of the highest level are differentiated, lower ones are arrays to it
                level = max(x._level for x in args if isinstance(x, Tensor))
                highest = [isinstance(x, Tensor) and x._level == level for x in args]
                depth = max(x._depth for x in args if isinstance(x, Tensor) and x._level == level)
                for i, x in enumerate(args):
                    if isinstance(x, Tensor) and not highest[i]:
                        arrays[i] = x
            try:
                value, vjps = rule(*arrays, **options)
            except EXPLAINED as error:
                if any(isinstance(x, Tensor) for x in arrays):
                    raise  # explained already, one level down
                raise explained(error, apply.__name__, args) from error
            if not level:
                return value

            node: Tensor = _new(Tensor)
            node._value = value
            node._level = level
            node._grad = node._lent = node.name = None
            if depth and (recording := _recording.get()):
                if vjps.__class__ is not tuple or len(vjps) != len(args):
                    _refuse_lost_gradients(vjps, apply.__name__, args)
                if mixed:
                    vjps = tuple(vjp if is_highest else None for vjp, is_highest in zip(vjps, highest, strict=False))
                node._depth = depth + 1
                node._origin = apply, args, options, vjps, () if reachable is None else watched(reachable)
                if recording is not True:
                    recording(node)
            else:
                node._depth = 0
                node._origin = _LEAF
            return node

        apply.__name__ = rule.__name__.lstrip("_")  # for errors and pictures
        for function in numpy_functions:
            _implementations[function] = apply
        return apply

    return decorate


@functools.cache
def _one(dtype: np.dtype[Any]) -> Any:
    """The seed of a cost: dJ/dJ."""
    return dtype.type(1)


_new = object.__new__
_NDARRAY = np.ndarray
_HALF = np.dtype(np.float16)
_PLAIN: set[type] = {float, int, bool}  # most other operands: nothing to look into
_LEAF: Any = None, (), {}, (), ()


# -- what goes into an op ---------------------------------------------------------------------------------------------


def _inputs(rule: Callable[..., Any]) -> float:
    """How many of a rule's first arguments are annotated as arrays; those behind are options, such as an axis."""
    parameters = inspect.signature(rule).parameters.values()
    arrays = [p for p in parameters if p.annotation == "Array"]
    return math.inf if any(p.kind is p.VAR_POSITIONAL for p in arrays) else len(arrays)


def _operand(x: Any, name: str, args: tuple[Any, ...], position: int, inputs: float) -> Any:
    """Make a list and the like an array; refuse what only looks like one, such as a masked array or one of objects.

    Options pass as they are. A rule without annotations does not tell them from arrays: there, lists are arrays.
    """
    if position < inputs or (not inputs and (isinstance(x, list) or hasattr(type(x), "__array__"))):
        try:
            return as_array(x, role(x, position + 1))
        except (ValueError, TypeError) as error:
            raise explained(error, name, args) from error
    return x


def implements(*numpy_functions: Callable[..., Any]) -> Callable[[Callable[P, Any]], Callable[P, Any]]:
    """Register a function composed of ops as the meaning of NumPy functions."""

    def register(function: Callable[P, Any]) -> Callable[P, Any]:
        for numpy_function in numpy_functions:
            _implementations[numpy_function] = function
        return function

    return register


def implements_on_values(*numpy_functions: Callable[..., Any]) -> None:
    """Let NumPy functions whose results are counts, booleans or constants see the plain values of Tensors."""

    def on_values(function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args, **kwargs: function(*map(values, args), **kwargs)

    for function in numpy_functions:
        _implementations[function] = on_values(function)


def _refuse_tensors(name: str, options: dict[str, Any]) -> None:
    """Raise if an option is a Tensor: only positional arguments are inputs of the graph."""
    for option, x in options.items():
        if isinstance(x, Tensor):
            raise TypeError(f"{name}: {option}= is a Tensor; pass Tensors by position.")


def _refuse_lost_gradients(vjps: Any, name: str, args: tuple[Any, ...]) -> None:
    """Raise where a Tensor that requires a gradient stands where the rule has none for it."""
    if not isinstance(vjps, tuple):
        raise TypeError(f"the rule of {name} must return (value, (vjp, ...)): a tuple with one vjp per input.")
    for position, x in enumerate(args[len(vjps) :], len(vjps) + 1):
        if isinstance(x, Tensor) and x._depth:
            raise TypeError(f"{name} is not differentiable in its argument {position}, and that requires a gradient.")


def _owned(dx: Array) -> Array:
    """A copy for a leaf to keep, so that scaling one ``dW`` in place cannot scale another. Tensors never change."""
    return dx if isinstance(dx, Tensor) else dx.copy()


def _is_for_another_level(new: Tensor, holder: Tensor) -> bool:
    """Whether a Tensor wants a gradient of its own, and does not come of the one whose data it is to be."""
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


# -- copies, and what is only written out -----------------------------------------------------------------------------


def _again(t: Tensor, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """How a Tensor of Tensors comes of copies of its inputs: its op runs again, and its products know the copies.

    Raises
    ------
    RuntimeError
        If the op gives other values now.
    """
    op: Any = t.op
    token = _recording.set(True)
    try:
        with np.errstate(all="ignore"):  # which warned the first time
            twin = op(*inputs, **options)
    finally:
        _recording.reset(token)
    before, after = values(t), values(twin)
    if before.dtype.kind != "O" and not np.all((after == before) | ((after != after) & (before != before))):  # NaN too
        raise RuntimeError(
            f"deepcopy: {called(t.name)} was computed by {op.__name__}, which gives other values now. Does its rule "
            "draw random numbers, or was an array changed in place? Copy t.detach(), or compute it again of copies."
        )
    return twin._origin


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
