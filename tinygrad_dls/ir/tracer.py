"""An array that writes down what is done to it: the NumPy calls of a computation, as a program.

The one idea: the engine's rules, the losses and the optimizers compute with operators, ``np.*`` functions and array
methods only. Run once on a `Tracer`, which answers NumPy's protocols by computing *and* noting each call, a
training step becomes a graph of NumPy calls: forward, backward and update in one, without a Tensor left in it.

What a recording would freeze is refused, by name: a Python ``if`` on a value, a conversion to a number, an array that
is made on the way. The number of examples is no number in the program but a symbol, see `size`.
"""

from __future__ import annotations

import os
from _thread import allocate_lock, get_ident
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from tinygrad_dls.engine.arrays import HALF, Array
from tinygrad_dls.engine.errors import RecordedElsewhereError, RecordingError
from tinygrad_dls.engine.tensor import Tensor
from tinygrad_dls.graph.call_site import find_call_site
from tinygrad_dls.ir.call import Call, astype, called, each, getitem, is_call, program_input, scattered
from tinygrad_dls.ir.functions import FREE, REDUCTION, SHAPE, row_of, rows
from tinygrad_dls.ir.shapes import call_of, normalized
from tinygrad_dls.ir.size import Dimension, call_behind, symbolic, without_symbol
from tinygrad_dls.nn.evaluation import evaluation

__all__ = ["RecordingError", "Trace", "Tracer"]

CONSTANT = 64  # entries of the largest array that a program may hold as a constant


class MissingError(RecordingError, AttributeError):
    """An attribute that arrays have and tracers do not; to ``hasattr``, one that is not there."""


# -- the array --------------------------------------------------------------------------------------------------------


class Trace:
    """What the tracers of one recording share.

    Parameters
    ----------
    m : int, optional
        The number of examples: axes of this length, or of a multiple, are `Dimension` objects. None: all are numbers.
    """

    largest_constant: float = CONSTANT

    def __init__(self, m: int | None = None) -> None:
        self.m = m
        self.dimension = program_input("m", (), int, m)
        self.call_sites: dict[int, str] = {}  # where the constant arrays come in, by their ids
        self.thread, self.holding = get_ident(), allocate_lock()  # which parameters hold its tracers for

    def input(self, name: str, value: Any) -> Tracer:
        """An input of the program: an array, or a number such as the learning rate."""
        array = np.asarray(value)
        return Tracer(self, program_input(name, array.shape, array.dtype), value)

    def constant(self, value: float, dtype: Any) -> Tracer:
        """A number that is an array to the engine, such as the gradient that backward starts from."""
        return Tracer(self, call_of(np.asarray, value, dtype=np.dtype(dtype)), np.dtype(dtype).type(value))

    def length(self, n: int) -> int:
        """The length of an axis, as a symbol if it is a multiple of the number of examples."""
        if not self.m or not n or n % self.m:
            return n
        m: Dimension = symbolic(self.m, self.dimension)
        multiple: int = m if n == self.m else n // self.m * m
        return multiple

    def record(self, function: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Compute a call, and write it down."""
        self._refuse_what_hangs_on_values(function, args)
        value = self.value(function, each(_value_of, args), each(_value_of, options))
        if parts := row_of(function).parts:
            return type(value)(*[self.record(part, args, options) for part in parts])
        if row_of(function).kind is SHAPE or isinstance(value, np.dtype):
            return self.length(value) if type(value) is int else value
        if not isinstance(value, (np.ndarray, np.generic)):
            raise RecordingError(
                f"the recording would freeze what {called(function)} gives{_where()}: a program knows calls that "
                "give one array. Compute it outside, or write it with slices and comparisons."
            )
        arguments, settings = (each(lambda x: self._operand(x, function), x) for x in (args, options))
        call = Call(*normalized(function, arguments, settings), value.shape, value.dtype)
        if "out" in call.options:
            raise RecordingError(
                f"{called(function)} with out= is not recorded{_where()}. Use the array that it gives."
            )
        if value.dtype == object and not any(x.dtype == object for x in call.calls()):
            raise RecordingError(
                f"the recording would lose what {called(function)} gives{_where()}: objects of Python's, such as "
                "fractions or integers of any size, which are no numbers of NumPy's. Write float(...) of its arguments."
            )
        return Tracer(self, call, value)

    def value(self, function: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """What a call gives."""
        return function(*args, **options)

    @property
    def is_elsewhere(self) -> bool:
        """Whether another thread has come upon a tracer, in a parameter that it shares with the one that records."""
        return get_ident() != self.thread

    def call_site(self) -> str:
        """Where the code outside this package is that is recorded now, in words."""
        return _where()

    def _refuse_what_hangs_on_values(self, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        """Refuse what gives arrays of other shapes for other values."""
        index = args[1] if function is getitem else None
        parts = index if isinstance(index, tuple) else (index,)
        masked = any(isinstance(i, Tracer) and i.dtype == bool for i in parts)
        if row_of(function).kind is FREE or masked or (function is np.where and len(args) == 1):
            what = "indexing by a mask" if masked else f"{called(function)}"
            raise RecordingError(
                f"the recording would freeze the shape that {what} gives{_where()}, which is another one for other "
                "values. Write np.where(condition, x, 0) and the like, which keep the shape; or compute it outside."
            )

    def freezing(self, x: Array, function: Callable[..., Any], where: str) -> RecordingError:
        """The error for an array that is made on the way."""
        lengths = ["m" if n == self.m else str(n) for n in x.shape]
        shape = f"({', '.join(lengths)}{',' if len(lengths) == 1 else ''})"
        cause = (
            "one number for all examples, such as np.ones((1, m)). Make it of an argument, so that m stays open: "
            "np.ones_like(X[:1]), or full of c, np.zeros_like(X[:1]) + c."
            if self.is_one_for_all_examples(x)
            else "a random draw, such as a dropout mask, or data from elsewhere. Pass it to the function as an "
            "argument."
        )
        return RecordingError(
            f"the recording would freeze an array {shape} that is an argument of {called(function)}{where}: {cause}"
        )

    def is_one_for_all_examples(self, x: Array) -> bool:
        """Whether an array holds one number, as often as there are examples: ``np.ones((1, m))``."""
        return self.m in x.shape and x.dtype.kind in "fiub" and bool((x == x.flat[0]).all())

    def _operand(self, x: Any, function: Callable[..., Any]) -> Any:
        """What stands for an argument in the program."""
        if isinstance(x, Tracer):
            return x.call
        if not (isinstance(x, _ARGUMENTS) or callable(x)) or isinstance(x, np.ndarray):
            x = _plain_array(x, function)
            if x.size > self.largest_constant:
                raise self.freezing(x, function, _where())
            if not x.shape:
                return x[()]
            self.call_sites[id(x)] = _where()
            return x
        if type(x) is int and abs(x) >= 2**64:  # no dtype of NumPy's holds it: beside floats, it becomes one
            return float(x)
        return call_behind(x)


_ARGUMENTS = (int, float, complex, str, bytes, slice, np.generic, np.dtype, type(None), type(...), type(np._NoValue))


def _plain_array(x: Any, function: Callable[..., Any]) -> Any:
    """A copy of an array, or of what NumPy takes for one, such as a deque or an object with ``__array__``."""
    kind = type(x)
    own = any(
        getattr(kind, name, None) not in (None, getattr(np.ndarray, name))
        for name in ("__array_ufunc__", "__array_function__")
    )
    if not own and not isinstance(x, (np.ma.MaskedArray, np.matrix)):
        array = np.array(x)
        if isinstance(x, np.ndarray) or array.dtype.kind in "fiubc":
            return array
    raise RecordingError(
        f"the recording would lose what a {kind.__name__} does beside arrays, which is an argument of "
        f"{called(function)}{_where()}. Write np.asarray(...) of it, as floats, or take a number or an array from it."
    )


def _value_of(x: Any) -> Any:
    return x.value if isinstance(x, Tracer) else without_symbol(x)


class Tracer(NDArrayOperatorsMixin):
    """An array of numbers that remembers the NumPy calls that computed it; it never changes.

    Parameters
    ----------
    _trace : Trace
    call : Call
        What computed it.
    value : array or number
        What came out. A Python number keeps its weak dtype, so that float32 stays float32.

    Raises
    ------
    RecordingError
        When it is asked for its truth or its numbers, which a program could not ask again.
    """

    __slots__ = ("__weakref__", "_trace", "call", "value")
    __hash__ = object.__hash__  # by identity; == compares entries

    def __init__(self, trace: Trace, call: Call, value: Any) -> None:
        self._trace, self.call, self.value = trace, call, value

    # -- what an array has --------------------------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array; the number of examples in it is a `Dimension`."""
        return tuple(map(self._trace.length, self.call.shape))

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.call.shape)

    @property
    def size(self) -> int:
        """Number of entries."""
        return self._trace.length(int(np.size(self.value)))

    @property
    def dtype(self) -> Any:
        """Dtype of the array."""
        return self.call.dtype

    @property
    def T(self) -> Any:  # noqa: N802  # NumPy's name
        """The transpose."""
        return self._record(np.transpose, self)

    @property
    def input_name(self) -> str | None:
        """The input of the program that this is, in another dtype perhaps (labels, which a loss takes as floats)."""
        call = self.call
        while is_call(call, astype):
            call = call.args[0]
        return call.name if call.function is None else None

    def copy(self) -> Tracer:
        """The array itself, which never changes."""
        return self

    def __deepcopy__(self, memo: Any) -> Tracer:
        return self

    def reshape(self, *shape: Any) -> Any:
        """The entries in another shape."""
        return self._record(np.reshape, self, shape[0] if len(shape) == 1 else shape)

    def astype(self, dtype: Any) -> Any:
        """The numbers in another dtype."""
        known = self.dtype is not None  # not so of a variable of a rule; NumPy takes None for float64
        return self if known and np.dtype(dtype) == self.dtype else self._record(astype, self, np.dtype(dtype))

    def __getitem__(self, index: Any) -> Any:
        return self._record(getitem, self, index)

    def __setitem__(self, index: Any, value: Any) -> None:
        raise RecordingError(
            f"the recording would lose what is written into {self._called_what()}{_where()}. Make a new array, with "
            "np.where, np.concatenate and the like."
        )

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "base" or not hasattr(np.ndarray, name):
            raise AttributeError(f"'{type(self).__name__}' object has no attribute {name!r}")
        if self._trace.is_elsewhere:
            raise RecordedElsewhereError(self._trace.holding)
        raise MissingError(
            f"the recording does not know .{name} of {self._called_what()}{_where()}. Write it with operators and "
            "np.* functions, such as np.clip(Y, 0, 1) for Y.clip(0, 1); or compute it outside and pass it on."
        )

    def __len__(self) -> int:
        return len(self.value)

    def __repr__(self) -> str:
        return f"Tracer({self.call!r}, shape={self.call.shape}, dtype={self.dtype})"

    def _record(self, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        trace = self._trace
        if not trace.is_elsewhere:
            return trace.record(function, args, options)
        if evaluation.get():  # predictions, which are never a part of what is recorded elsewhere
            raise RecordedElsewhereError(trace.holding)
        try:  # a model may have its layers computed by threads of its own
            return trace.record(function, args, options)
        except RecordingError as error:
            raise RecordedElsewhereError(trace.holding) from error

    def _called_what(self) -> str:
        """How errors call the array."""
        function = self.call.function
        return self.call.name or (f"the result of {called(function)}" if function else "a value")

    # -- what would freeze a value ------------------------------------------------------------------------------------

    def _refuse(self, what: str) -> Exception:
        if self._trace.is_elsewhere:
            return RecordedElsewhereError(self._trace.holding)
        is_integer = self.dtype is not None and self.dtype.kind in "iu"
        indexing = (
            " If it is an index of an array E, make E a parameter of the model, or an argument; or write "
            "E.T @ (np.arange(len(E))[:, None] == index) for E[index].T."
        )
        return RecordingError(
            f"the recording would freeze {what} {self._called_what()}{_where()}: the program would do the same for all "
            "data. Write np.where, np.maximum and the like, which NumPy decides anew each time; "
            f"or compute it outside and pass it as an argument.{indexing if is_integer else ''}"
        )

    def __bool__(self) -> bool:
        raise self._refuse("a Python decision (if, while, and, or) on")

    def __float__(self) -> float:
        raise self._refuse("the number that Python makes of")

    __int__ = __index__ = __complex__ = item = tolist = __float__

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        raise self._refuse("a plain array (np.asarray, or a function that is not NumPy's) of")

    # -- NumPy's protocols --------------------------------------------------------------------------------------------

    def __pow__(self, y: Any) -> Any:
        """``x ** y``: of an array and a number of Python's, NumPy squares and takes roots by other functions."""
        char = self.call.dtype.char if self.call.shape else ""
        if char == "?" and type(y) is int and y == 2:
            return np.square(self)  # of small integers, np.power(x, 2) of large ones
        if char == HALF and type(y) is float and y == 0.5:
            return np.sqrt(self)  # of -inf no number, and np.power(x, 0.5) infinite
        return super().__pow__(y)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        """Answer ``np.tanh(r)``, ``ndarray @ r`` and the like (NEP 13)."""
        if any(isinstance(x, Tensor) for x in inputs):
            return NotImplemented
        if ufunc is np.add and method == "at" and isinstance(inputs[0], Tracer):
            z, index, dz = inputs  # the rule of indexing, on zeros that are still its own
            if z.call.function is not np.full or z.call.args[1] != 0:
                raise RecordingError(f"np.add.at on anything but zeros is not recorded{_where()}.")
            summed = self._record(scattered, dz, index, z.shape)
            z.call, z.value = summed.call, summed.value
            return None
        if method != "__call__" or kwargs:
            what = (
                called(ufunc)
                + (f".{method}" if method != "__call__" else "")
                + (f" with {', '.join(kwargs)}=" if kwargs else "")
            )
            raise RecordingError(f"{what} is not recorded{_where()}. Write it with operators and plain np.* functions.")
        return self._record(ufunc, *inputs)

    def __array_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Answer ``np.sum(r, axis=1)``, ``np.concatenate([r, s])`` and the like (NEP 18)."""
        if any(issubclass(t, Tensor) for t in types):
            return NotImplemented
        if func is np.shape:
            return args[0].shape
        if func is np.astype:
            return args[0].astype(*args[1:])
        if func in (np.zeros_like, np.ones_like):
            return _filled(func is np.ones_like, *args, **kwargs)
        return self._record(func, *args, **kwargs)


def _filled(number: bool, x: Any, dtype: Any = None, *_: Any, shape: Any = None, **__: Any) -> Any:
    """Zeros or ones like a tracer, of its shape and dtype or of others."""
    dtype = np.dtype(x.dtype if dtype is None else dtype)
    return x._record(np.full, x.shape if shape is None else shape, dtype.type(number).item(), dtype=dtype)


def _where() -> str:
    """Where the code outside this package is, in words: its line, and the layer that it is within if there is one."""
    file, number, text, layer, _ = find_call_site()
    within = f" in {layer}" if layer else ""
    return f"{within} (line {number} of {os.path.basename(file)}{': ' + text if text else ''})" if file else within


def _reduction(function: Callable[..., Any]) -> Callable[..., Any]:
    """The method of tracers that is a reduction of NumPy's."""

    def reduced(self: Tracer, axis: Any = None, *, keepdims: bool = False) -> Any:
        return self._record(function, self, axis=axis, keepdims=keepdims)

    return reduced


for _row in rows():
    if _row.kind is REDUCTION and _row.method:
        setattr(Tracer, _row.method, _reduction(_row.function))
