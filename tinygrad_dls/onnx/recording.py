"""The forward pass of a model or a function as a program, recorded in evaluation mode with two numbers of examples."""

from __future__ import annotations

from contextvars import copy_context
from typing import Any

import numpy as np

from tinygrad_dls.engine.errors import RecordingError, shown
from tinygrad_dls.engine.tensor import Tensor, implementation, values
from tinygrad_dls.graph.names import Names
from tinygrad_dls.graph.reading import names_of_arrays, read
from tinygrad_dls.graph.subject import Subject
from tinygrad_dls.ir.agreement import refuse_arrays_that_differ
from tinygrad_dls.ir.beside import buffers_as_inputs
from tinygrad_dls.ir.call import Call, each
from tinygrad_dls.ir.functions import SHAPE, row_of
from tinygrad_dls.ir.program import FunctionSource, Program, holding
from tinygrad_dls.ir.tracer import Trace, Tracer
from tinygrad_dls.nn.evaluation import evaluated, evaluation
from tinygrad_dls.nn.models import Classifier
from tinygrad_dls.onnx.operators import operator_of
from tinygrad_dls.optimizer import Optimizer

__all__ = ["ForwardTrace", "record"]

OF_CLASSIFIERS = ("predict_proba", "predict")
FEW = 64  # examples that are enough to record with
DRAWS = 4  # recordings of the same, in all of which even a single random truth is unlikely to be the same


class ForwardTrace(Trace):
    """Writes down functions that ONNX has, and others as what the engine composes them of; arrays may be large."""

    largest_constant = np.inf  # a file holds them all

    def __init__(self, m: int | None = None) -> None:
        super().__init__(m)
        self.sites: dict[Any, set[str]] = {}
        self._within: list[Any] = []

    def record(self, function: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Compute a call, and write it down, or what composes it."""
        if self._is_taken_apart(function, args, options):
            self._within.append(function)
            try:
                return each(values, function(*each(_as_tensor, args), **options))
            finally:
                self._within.pop()
        self.sites.setdefault(function, set()).add(self.call_site())
        return super().record(function, args, options)

    def _is_taken_apart(self, function: Any, args: tuple[Any, ...], options: dict[str, Any]) -> bool:
        """Whether the engine composes a function of others, and it has no row, or not with these arguments."""
        if (
            function in self._within or row_of(function).kind is SHAPE
        ):  # an op computes its value by the function itself
            return False
        row = operator_of(function)
        return (row is None or not row.takes(args, options)) and implementation(function) is not None


def _as_tensor(x: Any) -> Any:
    return Tensor(x) if isinstance(x, Tracer) else x


def record(given: Subject, dynamic: bool) -> tuple[Program, Program, list[str]]:
    """Two recordings of the forward pass with different numbers of examples, which are one program, and its outputs.

    The outputs are the last of what has a name in the forward pass; before them come the layers'.

    Raises
    ------
    TypeError, ValueError
        If the model does not take these inputs, or gives no arrays.
    RecordingError
        If something would be frozen that hangs on the data or on the number of examples.
    """
    with np.errstate(all="ignore"):  # of examples made up to record with another number of them
        source = _Forward(given, dynamic)
        first, second = source.twice(None)
        source.refuse_other_dtypes(first)
        one = _recorded(source.again())
        for other in (second, *(source.again() for _ in range(DRAWS))):
            refuse_arrays_that_differ(one, _recorded(other))
    return first, second, source.outputs


def _recorded(step: Program) -> tuple[Trace, list[Call]]:
    return step.trace, [call for _, call in step.forward]


class _Forward(FunctionSource):
    """What a model predicts, or what a function gives; for any number of examples, or for those that are given."""

    trace = ForwardTrace

    def __init__(self, given: Subject, dynamic: bool) -> None:
        self.dynamic = dynamic
        names = names_of_arrays()
        self.subject, self.function = given, given.call
        self.names = [names.free(name) for name in given.names]
        self.arrays = given.arrays("onnx.export: ")
        self.tensors = {p: names.free(p.name) if p.name else names.numbered("P") for p in given.parameters}
        self.shapes = [p.shape for p in self.tensors]
        results = self._results(evaluated(self._all, *self.arrays))  # whose errors are the user's
        self.dtypes = {name: values(x).dtype for name, x in results.items()}
        self.outputs = list(self.dtypes)

    @property
    def m(self) -> int | None:
        """The number of examples to record with, a few; None for those that are given, whatever they are."""
        found = super().m if self.dynamic else None
        return found if found is None or found <= FEW else self.other(FEW - 1)

    def refuse_other_dtypes(self, step: Program) -> None:
        """Refuse a recording that is not what was computed."""
        for name, call in step.forward[-len(self.outputs) :]:
            if call.dtype != self.dtypes[name]:
                raise RecordingError(
                    f"onnx.export: {name} is {self.dtypes[name]}, and would be {np.dtype(call.dtype)} in the file. "
                    "Convert it with .astype(...) to the one that you mean."
                )

    def again(self) -> Program:
        """A recording with the number of examples of the first."""
        return self.recorded(self.m, None)

    def raw(self, m: int | None, _: Optimizer | None) -> Program:
        """A recording before it is simplified."""
        trace, names = self.trace(m), names_of_arrays()
        names.take(*self.names, *self.tensors.values(), *self.outputs)
        result = Program(trace, names, tensors=list(self.tensors), given=self.arrays)
        arrays = [trace.input(name, x) for name, x in zip(self.names, self.with_examples(m), strict=True)]
        result.data = [x.call for x in arrays]
        parameters = {p: trace.input(name, p._value) for p, name in self.tensors.items()}
        result.parameters = [x.call for x in parameters.values()]
        with trace.holding, holding(parameters), buffers_as_inputs(trace, names, result.buffers):
            result.forward = copy_context().run(self._forward, arrays, m, names)
        return result

    def _all(self, *arrays: Any) -> Any:
        """What is asked of a model: its layers, and of a classifier what it predicts."""
        if not isinstance(self.subject.model, Classifier):
            return self.subject.call(*arrays)
        model = self.subject.model
        return {"": self.subject.call(*arrays), **{name: getattr(model, name)(*arrays) for name in OF_CLASSIFIERS}}

    def _forward(self, arrays: list[Tracer], m: int | None, names: Names) -> list[tuple[str, Call]]:
        """The layers, which have names in the graph, and the outputs."""
        evaluation.set(True)
        self.function = self._all
        result = self._called(arrays, m)
        tops = (
            result.values() if isinstance(result, dict) else result if isinstance(result, (tuple, list)) else [result]
        )
        layers = [node for x in tops if isinstance(x, Tensor) and x.op is not None for node in read(x)]
        named = [(x.name, x._value.call) for x in (node.x for node in layers if node.op) if x.name]
        for name, call in named:
            call.name = call.name or names.free(name)
        outputs = self._results(result)
        for name, x in outputs.items():
            if not isinstance(values(x), Tracer):
                raise RecordingError(f"onnx.export: {name} does not depend on the inputs: it is {shown(values(x))}.")
        return [*named, *((name, values(x).call) for name, x in outputs.items())]

    def _results(self, result: Any) -> dict[str, Any]:
        """What is returned, by name."""
        if isinstance(result, dict):
            found = {str(name): x for name, x in result.items() if name != ""}
        elif isinstance(result, (tuple, list)):
            found = {f"output{i + 1}": x for i, x in enumerate(result)}
        else:
            found = {"output": result}
        for x in found.values():
            if not isinstance(x, (Tensor, Tracer, np.ndarray, np.generic)):
                kind = "the function" if self.subject.model is None else type(self.subject.model).__name__
                raise TypeError(
                    f"onnx.export: {kind} must return an array, or a dict, a list or a tuple of arrays, got {shown(x)}."
                )
        if taken := sorted(found.keys() & {*self.names, *self.tensors.values()}):
            raise ValueError(
                f"onnx.export: the output {taken[0]} is called as an input or a parameter is; give it another name."
            )
        return found

    def _called(self, arrays: list[Tracer], m: int | None) -> Any:
        try:
            return super()._called(arrays, m)
        except RecordingError as error:
            if error.__cause__ is None:
                raise
            hint = "If its columns are no examples, or the file is for these shapes alone, write dynamic=False."
            raise RecordingError(f"onnx.export: {error} {hint}") from error.__cause__
