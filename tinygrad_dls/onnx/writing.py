"""Writing a program as a graph of ONNX: each call becomes the nodes that its function's row says.

NumPy finds a common dtype for what it computes with, and a number of Python's has none of its own; ONNX takes arguments
of one dtype. So the dtypes of each call are looked up in NumPy, and casts are written where they are needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from tinygrad_dls.engine.errors import RecordingError
from tinygrad_dls.graph.names import Names
from tinygrad_dls.ir.call import Call, called, toposort
from tinygrad_dls.ir.rewrite import traced

__all__ = ["Operator", "Value", "Writer"]

DTYPES = {np.dtype(x): x for x in (np.float32, np.float64, np.int32, np.int64, np.bool_)}
OF_TRUTHS = {"Add": "Or", "Max": "Or", "Mul": "And", "Min": "And", "Equal": "Equal"}  # the rest is of numbers


class Value(NamedTuple):
    """What a node gives: its name in the graph, and its dtype."""

    name: str
    dtype: np.dtype[Any]


@dataclass(frozen=True)
class Operator:
    """What a function is in ONNX.

    Attributes
    ----------
    function : callable
        As it stands in programs.
    name : str
        The operator that goes entry by entry, ``"Tanh"``; empty if there is none.
    composed : callable, optional
        The same of the same arguments, in NumPy functions that have rows. Beside a name, it is for float64.
    write : callable, optional
        Writes a call into a `Writer`, and returns the value.
    arguments : int, optional
        How many arguments by position, and...
    keywords : tuple of str
        ... which keywords it is written with. With others, it is recorded as what the engine composes it of.
    """

    function: Callable[..., Any]
    name: str = ""
    composed: Callable[..., Any] | None = None
    write: Callable[[Writer, Call], Value] | None = None
    arguments: int | None = None
    keywords: tuple[str, ...] = ()

    def takes(self, args: Sequence[Any], options: Mapping[str, Any]) -> bool:
        """Whether a call with these arguments is written."""
        return self.arguments is None or (len(args) <= self.arguments and options.keys() <= set(self.keywords))


class Writer:
    """The nodes and the constants of a graph.

    Parameters
    ----------
    names : Names
        What is taken already.
    operator_of : function
        The row of a function, or None.
    call_sites : mapping
        For functions, where they were called, for errors.
    m : function
        Writes the number of examples.
    """

    def __init__(
        self,
        names: Names,
        operator_of: Callable[[Any], Operator | None],
        call_sites: Mapping[Any, Iterable[str]],
        m: Callable[[Writer], Value],
    ) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []
        self.values: dict[Call, Value] = {}
        self._names, self._operator_of, self._call_sites, self._m = names, operator_of, call_sites, m
        self._known: dict[Any, Value] = {}  # constants, and casts
        self._layers: set[str] = set()

    # -- what is written ----------------------------------------------------------------------------------------------

    def written(self, call: Call) -> Value:
        """The value of a call, after those that it needs."""
        for inner in toposort([call], known=self.values.__contains__):
            if inner.function is None:
                self.values[inner] = self._m(self)
            else:
                value = self._of(inner)
                self.values[inner] = self._called(value, inner.name) if inner.name else value
        return self.values[call]

    def _called(self, value: Value, name: str) -> Value:
        """The value by the name of a layer's output, if it has just been written, and for nothing else."""
        last = self.nodes[-1] if self.nodes else None
        if last is None or list(last.output) != [value.name] or last.op_type == "Cast" or name in self._layers:
            return value
        self._layers.add(name)
        last.output[0] = last.name = name
        return Value(name, value.dtype)

    def _of(self, call: Call) -> Value:
        row = self._operator_of(call.function)
        if row is None:
            raise self.refused(call)
        if row.composed is not None and (not row.name or call.dtype == np.float64):
            return self.composed(call, row.composed)
        if row.write is not None:
            return self.cast(row.write(self, call), call.dtype)
        return self._entrywise(call, row.name)

    def composed(self, call: Call, function: Callable[..., Any]) -> Value:
        """A call as what NumPy functions compose it of."""
        with np.errstate(all="ignore"):  # shapes are inferred of zeros
            return self.cast(self.written(traced(function, *call.args, **call.options)), call.dtype)

    def _entrywise(self, call: Call, name: str) -> Value:
        assert isinstance(call.function, np.ufunc)
        if call.options:
            raise self.refused(call, f"with {', '.join(f'{x}=' for x in call.options)}")
        kinds = [x.dtype if hasattr(x, "dtype") else type(x) for x in call.args]
        full = [np.dtype(bool) if kind is bool else kind for kind in kinds]
        *dtypes, result = call.function.resolve_dtypes((*full, None))
        if dtypes[0].kind == "b":
            if name in OF_TRUTHS:
                return self.node(OF_TRUTHS[name], *map(self.value, call.args), dtype=bool)
            dtypes = [np.dtype(np.int32)] * len(dtypes)
        inputs = [self.value(x, dtype) for x, dtype in zip(call.args, dtypes, strict=True)]
        return self.cast(self.node(name, *inputs, dtype=result), call.dtype)

    # -- values -------------------------------------------------------------------------------------------------------

    def value(self, x: Any, dtype: Any = None) -> Value:
        """What stands for an argument: a call, or a constant; in a dtype."""
        if not isinstance(x, Call):
            return self.constant(x, dtype)
        value = self.written(x)
        return value if dtype is None else self.cast(value, dtype)

    def constant(self, x: Any, dtype: Any = None, name: str = "") -> Value:
        """An array, or a number, that the file holds; equal ones once."""
        array = np.asarray(x) if dtype is None else np.asarray(x).astype(dtype)
        array = np.ascontiguousarray(array).reshape(array.shape)  # which makes a vector of a number
        key = array.shape, array.dtype, array.tobytes()
        if name or key not in self._known:
            value = Value(name or self._names.free("constant"), array.dtype)
            self.constants.append(numpy_helper.from_array(array, value.name))
            if name:
                return value
            self._known[key] = value
        return self._known[key]

    def integers(self, numbers: Iterable[int]) -> Value:
        """A vector of integers, such as axes."""
        return self.constant(np.asarray(list(numbers), np.int64))

    def lengths(self, shape: Any) -> Value:
        """A vector of integers, some of them computed from the number of examples."""
        parts: Sequence[Any] = shape if isinstance(shape, (tuple, list)) else (shape,)
        if not any(isinstance(n, Call) for n in parts):
            return self.integers(int(n) for n in parts)
        pieces = [self.unsqueezed(self.value(n, np.int64), [0]) for n in parts]
        return self.node("Concat", *pieces, dtype=np.int64, axis=0)

    def cast(self, value: Value, dtype: Any) -> Value:
        """The same in another dtype."""
        dtype = np.dtype(dtype)
        if value.dtype == dtype:
            return value
        key = value.name, dtype
        if key not in self._known:
            self._known[key] = self.node("Cast", value, dtype=dtype, to=helper.np_dtype_to_tensor_dtype(dtype))
        return self._known[key]

    # -- nodes --------------------------------------------------------------------------------------------------------

    def node(self, name: str, *inputs: Value, dtype: Any, **attributes: Any) -> Value:
        """A node with one output."""
        return self.several(name, *inputs, dtypes=(np.dtype(dtype),), **attributes)[0]

    def several(self, name: str, *inputs: Value, dtypes: tuple[Any, ...], **attributes: Any) -> list[Value]:
        """A node with several outputs."""
        outputs = [Value(self._names.free(name.lower()), dtype) for dtype in dtypes]
        given, made = [x.name for x in inputs], [x.name for x in outputs]
        self.nodes.append(helper.make_node(name, given, made, name=made[0], **attributes))  # runtimes ask for names
        return outputs

    def transposed(self, x: Value, order: Sequence[int]) -> Value:
        """With the axes in another order."""
        same = list(order) == sorted(order)
        return x if same else self.node("Transpose", x, dtype=x.dtype, perm=list(order))

    def unsqueezed(self, x: Value, axes: Sequence[int]) -> Value:
        """With new axes at these places of the result."""
        return self.node("Unsqueeze", x, self.integers(axes), dtype=x.dtype) if axes else x

    def named(self, value: Value, name: str) -> Value:
        """The same by the name of an output."""
        self.nodes.append(helper.make_node("Identity", [value.name], [name], name=name))
        return Value(name, value.dtype)

    # -- errors -------------------------------------------------------------------------------------------------------

    def refused(self, call: Call, how: str = "") -> RecordingError:
        """The error for a call that ONNX has no operator for."""
        assert call.function is not None
        sites = sorted(x.strip() for x in self._call_sites.get(call.function, ()) if x)
        where = f" {'; '.join(sites)}" if sites else ""
        return RecordingError(
            f"onnx.export: ONNX has nothing for {' '.join(filter(None, [called(call.function), how]))}{where}. Write "
            "it with other np.* functions, or say what it is in ONNX with tinygrad_dls.onnx.add."
        )

    def refuse_dtypes(self, calls: Iterable[Call]) -> None:
        """Refuse numbers that runtimes do not compute with."""
        for call in calls:
            if np.dtype(call.dtype) not in DTYPES:
                what = f"the input {call.name}" if call.function is None else f"what {called(call.function)} gives"
                raise RecordingError(
                    f"onnx.export: {what} is {np.dtype(call.dtype)}; runtimes compute with float32, float64, int32, "
                    "int64 and bool. Convert it first, with .astype(np.float32) say."
                )
