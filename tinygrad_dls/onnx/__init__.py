"""Export to ONNX: what a model predicts, or a function computes, as a file that other programs run without Python.

The forward pass is recorded as a program of NumPy calls, in evaluation mode: dropout is off, and batch normalisation
uses its running statistics. Each call is written as what its function is in ONNX (`tinygrad_dls.onnx.operators`). So a
model of one's own is exported as the package's are, without a converter for it.

>>> import os, tempfile, tinygrad_dls as tg
>>> X, Y = tg.datasets.planar_flower()
>>> model = tg.nn.TwoLayerNetwork(2, 4, rng=1)
>>> with tempfile.TemporaryDirectory() as folder:
...     tg.onnx.export(model, os.path.join(folder, "flower.onnx"), X)

The file is of opset 14 and IR version 7 (2021), so that old runtimes take it too.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from tinygrad_dls.engine.arrays import boolean
from tinygrad_dls.engine.errors import RecordingError, shown
from tinygrad_dls.engine.tensor import values
from tinygrad_dls.extras import install
from tinygrad_dls.files import write_whole
from tinygrad_dls.graph.subject import subject
from tinygrad_dls.ir.call import Call, toposort
from tinygrad_dls.ir.program import Program

try:
    from onnx import ModelProto, ValueInfoProto, checker, helper
except ImportError as error:
    raise ImportError(f"export to ONNX needs the package onnx: {install('onnx')}") from error

from tinygrad_dls.onnx.operators import add, operator_of
from tinygrad_dls.onnx.recording import ForwardTrace, record
from tinygrad_dls.onnx.writing import Value, Writer

__all__ = ["IR_VERSION", "OPSET", "add", "export"]

OPSET = 14  # the first whose Reshape takes axes of length 0, so that m may be 0; nothing of later ones is used
IR_VERSION = 7  # that of the release that brought opset 14
LARGEST = 2**31 - 1  # bytes of a file in protobuf


def export(model: Any, path: str | os.PathLike[str], *examples: Any, rows: bool = False, dynamic: bool = True) -> None:
    """Write what a model predicts, or what a function computes, to a file in ONNX.

    The inputs of the file are called as those of the model, and are of the shapes and dtypes of the examples, but that
    the number of examples is open: X is ``(n_x, m)``. Its outputs are, of the models of two classes and of several
    (`tinygrad_dls.nn.Classifier` and its kinds), ``predict_proba`` and ``predict``, as these methods give them; of any
    other, ``output``. Parameters keep their names, W1, b1 and so on.

    Parameters
    ----------
    model : Module or function
        It runs in evaluation mode, once as given and twice more to record it. A module, or a function, may return an
        array, or a dict of arrays, whose keys are the outputs' names, or several, called output1, output2, ...
    path : path-like
        The file, such as ``"model.onnx"``. It is written as a whole, or not at all.
    *examples : array
        An example of each input, with the examples as columns; X of the training data will do.
    rows : bool, default False, keyword-only
        Whether examples are rows in the file, as other libraries have them: X is ``(m, n_x)`` there, and so are the
        outputs. The examples that are passed are columns all the same.
    dynamic : bool, default True, keyword-only
        Whether the file takes any number of examples. If not, inputs have the shapes that are passed, and no others:
        for functions of arrays whose columns are no examples.

    Raises
    ------
    TypeError, ValueError
        If the model is none, the examples are missing or do not fit it.
    RecordingError
        A TypeError: if the file would hold for these data only, or for what ONNX has no operator for; both are named,
        with the line.
    ImportError
        If the package onnx is not there.

    Examples
    --------
    >>> import os, tempfile, numpy as np, tinygrad_dls as tg
    >>> model = tg.nn.LogisticRegression(3)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     tg.onnx.export(model, os.path.join(folder, "model.onnx"), np.ones((3, 1)), rows=True)
    """
    file = _checked(path)
    rows = boolean(rows, "onnx.export: rows")
    dynamic = boolean(dynamic, "onnx.export: dynamic")
    if rows and not dynamic:
        raise ValueError("onnx.export: rows=True says where the examples are, so it takes dynamic=True.")
    given = subject("onnx.export", model, examples)
    first, second, outputs = record(given, dynamic)
    if rows and first.trace.m is None:
        raise ValueError(
            "onnx.export: rows=True takes examples that are the columns of a matrix; none of these is one."
        )
    one, other = (_model(step, outputs, rows, again) for step, again in ((first, second), (second, first)))
    if one != other:
        raise _frozen(one, other)
    if one.ByteSize() > LARGEST:
        raise ValueError(
            f"onnx.export: the file would be of {one.ByteSize():,} bytes; a file in ONNX holds 2 GB at most."
        )
    content = one.SerializeToString()
    checker.check_model(one, full_check=True)
    write_whole(file, content)


def _checked(path: Any) -> Path:
    """The path of a file that can be written."""
    if not isinstance(path, (str, os.PathLike)) or not str(path):
        raise TypeError(f'onnx.export: path is the file to write, such as "model.onnx", got {shown(path)}.')
    file = Path(path)
    if file.is_dir():
        raise ValueError(f"onnx.export: path {str(file)!r} is a folder; name a file in it, such as model.onnx.")
    if not file.absolute().parent.is_dir():
        raise FileNotFoundError(
            f"onnx.export: there is no folder {str(file.absolute().parent)!r} to write the file to."
        )
    return file


def _frozen(one: ModelProto, other: ModelProto) -> RecordingError:
    """The error for a graph that is another one with other numbers of examples."""
    constants = {x.name: x for x in other.graph.initializer}
    differing = [x.name for x in one.graph.initializer if x != constants.get(x.name)]
    nodes = [x.op_type for x, y in zip(one.graph.node, other.graph.node, strict=False) if x != y]
    users = [x.op_type for x in one.graph.node if set(x.input) & set(differing)]
    what = next(iter([*users, *nodes]), "a node")
    return RecordingError(
        f"onnx.export: the file would freeze something: recorded with two numbers of examples, an argument of {what} "
        "is not the same. Does the model count on a fixed number of examples, or draw random numbers? Take lengths "
        "from X.shape, and pass what changes as an argument; or write dynamic=False, for these shapes alone."
    )


def _model(step: Program, outputs: list[str], rows: bool, again: Program) -> ModelProto:
    """The file's content: inputs, nodes, outputs, and parameters."""
    results = dict(step.forward[-len(outputs) :])
    calls = toposort(results.values())
    assert isinstance(step.trace, ForwardTrace)
    w = Writer(step.names, operator_of, step.trace.sites, lambda w: _number_of_examples(w, step))
    w.refuse_dtypes(call for call in calls if call.function is not None or call in step.data)
    m = step.trace.m, again.trace.m
    inputs = [_input(w, x, _lengths(m, x.shape, y.shape), rows) for x, y in zip(step.data, again.data, strict=True)]
    needed = set(calls)
    for p, tensor in zip(step.parameters, step.tensors, strict=True):
        if p in needed:
            w.values[p] = w.constant(values(tensor), p.dtype, name=p.name)
    for buffer in step.buffers:
        w.values[buffer.before] = w.constant(buffer.array, buffer.before.dtype, name=buffer.before.name)
    others = dict(again.forward[-len(outputs) :])
    lengths = {name: _lengths(m, call.shape, others[name].shape) for name, call in results.items()}
    declared = [_output(w, name, call, lengths[name], rows) for name, call in results.items()]
    graph = helper.make_graph(w.nodes, "tinygrad_dls", inputs, declared, w.constants)
    opsets = [helper.make_opsetid("", OPSET)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="tinygrad_dls")


Lengths: TypeAlias = "list[int | str | None]"  # None: not known


def _input(w: Writer, x: Call, lengths: Lengths, rows: bool) -> ValueInfoProto:
    """An input, which is transposed first if its examples are rows in the file."""
    value = Value(x.name, np.dtype(x.dtype))
    if turned := rows and _has_examples(lengths):
        w.values[x] = w.transposed(value, [1, 0])
    else:
        w.values[x] = value
    return helper.make_tensor_value_info(x.name, _type(value), lengths[::-1] if turned else lengths)


def _output(w: Writer, name: str, call: Call, lengths: Lengths, rows: bool) -> ValueInfoProto:
    value = w.written(call)
    if rows and _has_examples(lengths):
        value, lengths = w.transposed(value, [1, 0]), lengths[::-1]
    value = w.named(value, name)
    return helper.make_tensor_value_info(name, _type(value), lengths)


def _lengths(m: tuple[int | None, int | None], one: tuple[int, ...], other: tuple[int, ...]) -> Lengths:
    """The lengths of axes: a number where it is the same for all numbers of examples, or "m" where it is these."""
    return [n if n == k else "m" if (n, k) == m else None for n, k in zip(one, other, strict=True)]


def _has_examples(lengths: Lengths) -> bool:
    return len(lengths) == 2 and lengths[1] == "m"


def _type(value: Value) -> int:
    return helper.np_dtype_to_tensor_dtype(value.dtype)


def _number_of_examples(w: Writer, step: Program) -> Value:
    """The length of the axis of the examples, of the first input that has it."""
    x = next(x for x in step.data if len(x.shape) == 2 and x.shape[1] == step.trace.m)
    shape = w.node("Shape", w.values[x], dtype=np.int64)
    return w.node("Gather", shape, w.constant(1, np.int64), dtype=np.int64, axis=0)
