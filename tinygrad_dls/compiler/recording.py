"""The recording of a step: its program, the checks of labels that went with it, and what it depends on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FunctionType
from typing import Any

import numpy as np

from tinygrad_dls.compiler.guards import NO_HYPERPARAMETER, Dependencies
from tinygrad_dls.compiler.intervals import lies_within
from tinygrad_dls.compiler.reading import is_ours
from tinygrad_dls.engine.arrays import Array
from tinygrad_dls.engine.errors import RecordingError
from tinygrad_dls.engine.tensor import Tensor
from tinygrad_dls.graph.subject import Subject
from tinygrad_dls.ir.call import Call, evaluate, key, toposort
from tinygrad_dls.ir.program import FunctionSource, Program
from tinygrad_dls.ir.shapes import hollow, shaped
from tinygrad_dls.ir.tracer import Trace, Tracer
from tinygrad_dls.ir.updates import refuse_methods_that_are_not_recorded
from tinygrad_dls.nn.labels import Bounded, Check, noted
from tinygrad_dls.nn.module import Module
from tinygrad_dls.optimizer import NOT_RECORDED, Optimizer

__all__ = [
    "Guard", "checks_of_arguments", "checks_of_recordings", "difference_of", "lines_of", "record", "refuse_counts",
]  # fmt: skip


class DifferingError(RecordingError):
    """What is recorded twice is another program the second time."""


FEW = 64  # examples that the cost is computed of, to see which parameters it depends on


def record(
    model: Module, loss: Callable[[Any, Any], Any], optimizer: Optimizer, X: Array, Y: Array
) -> tuple[Program, list[Check]]:
    """The program of a step, and what the loss asks of the labels.

    Raises
    ------
    RecordingError
        If the step cannot be recorded, or is another one each time.
    """
    matrices = X.ndim == Y.ndim == 2 and X.shape[1] == Y.shape[1] > FEW
    try:
        few = (X[:, :FEW].copy(), Y[:, :FEW].copy()) if matrices else (X, Y.copy())
        source = _Step(Subject("compile", model, few, loss, optimizer))
    except Exception:  # which may come from there being so few, or would speak of them
        source = _Step(Subject("compile", model, (X, Y.copy()), loss, optimizer))
    source.arrays = [hollow(X), hollow(Y)]
    with np.errstate(all="ignore"), checks_of_recordings() as asked:  # of the values, only shapes and dtypes matter
        first, second = source.twice(optimizer)
        differing = _differing(first, second)
        if differing is not None:  # it is another one for other numbers of examples: this one, then
            first, second = (source.recorded(None, optimizer) for _ in range(2))
            differing = _differing(first, second)
    if differing is not None:
        raise differs("step", *differing)
    checks = _checks(first, asked)
    for step in (first, second):
        step.given, step.nodes, step.recorded = [], [], {}  # which hold arrays, and serve pictures only
    return first, checks


# -- shape inference by abstract arrays -------------------------------------------------------------------------------


class _ShapeTrace(Trace):
    """Records shapes and dtypes."""

    def input(self, name: str, value: Any) -> Tracer:
        return super().input(name, hollow(value) if np.shape(value) else value)

    def value(self, function: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        value = shaped(function, args, options)
        return hollow(value) if isinstance(value, np.ndarray) and value.shape else value


class _Step(FunctionSource):
    """A step whose shapes alone are recorded: its arrays are one entry, seen many times over, and cost nothing."""

    trace = _ShapeTrace

    def _refuse_without_graph(self, J: Tensor) -> None:
        if not J.requires_grad:
            J.backward()  # which says so, as in an eager step

    @property
    def m(self) -> int | None:
        """The number of examples, if it is that of nothing else; a number may decide what the program is."""
        m = super().m
        return m if m == self.columns() else None

    def other(self, m: int) -> int:
        """Another number of examples, so much larger that a formula in m can be told from what it gives."""
        return super().other(2 * m)

    def with_examples(self, m: int | None) -> list[Any]:
        """The inputs with m columns, where they have the number of examples."""
        given = self.columns()
        if m is None:
            return self.arrays
        cut = [x.ndim in (1, 2) and x.shape[-1] == given for x in self.arrays]  # labels may be (m,)
        return [hollow(x, (*x.shape[:-1], m)) if c else x for x, c in zip(self.arrays, cut, strict=True)]


# -- what the losses ask of their arguments ---------------------------------------------------------------------------


@contextmanager
def checks_of_recordings() -> Iterator[list[tuple[Tracer, Check]]]:
    """The checks that are asked of tracers within the block; they are not made."""
    asked: list[tuple[Tracer, Check]] = []

    def note(x: Any, check: Check) -> bool:
        if isinstance(x, Tracer):
            asked.append((x, check))
        return isinstance(x, Tracer)

    with noted(note):
        yield asked


def checks_of_arguments(asked: list[tuple[Tracer, Check]], inputs: list[Call]) -> list[tuple[int, Check]]:
    """What a function asks of labels that are one of its arguments, or are computed from one: which, and the check."""
    checks: dict[tuple[int, Check], None] = {}
    for x, check in asked:
        used = [i for i, y in enumerate(inputs) if y in toposort([x.call])]
        if len(used) == 1 and not _each_time(check):
            (i,) = used
            own = x.call is inputs[i]
            checks[i, check if own else _of_labels(x.call, check, inputs[i], x._trace)] = None
    return list(checks)


def _checks(step: Program, asked: list[tuple[Tracer, Check]]) -> list[Check]:
    """The checks of labels that the eager loss makes of each new array, as functions of Y.

    Raises
    ------
    RecordingError
        If a loss checks something at each step that a program does not.
    """
    checks: dict[Check, None] = {}
    Y = step.data[-1]
    own = [(x.call, check) for x, check in asked if x._trace is step.trace]
    for call, check in sorted(own, key=lambda said: not _each_time(said[1])):
        inputs = {x for x in toposort([call]) if x.function is None}
        if _each_time(check):
            if not _passes(call, check):
                raise RecordingError(_each_time(check))
        elif call is Y:
            checks[check] = None
        elif Y in inputs and inputs <= {Y, step.trace.dimension}:
            checks[_of_labels(call, check, Y, step.trace)] = None
        elif not _passes(call, check):
            raise RecordingError(
                "the loss checks labels that are computed from more than Y, at each step anew; a program does not look "
                "at them. Compute them outside, and pass them as Y."
            )
    return list(checks)


def _each_time(check: Check) -> str:
    return check.each_time if isinstance(check, Bounded) else ""


def _passes(call: Call, check: Check) -> bool:
    """Whether what a program computes passes a check whatever the data."""
    return isinstance(check, Bounded) and lies_within(call, *check.within)


def _of_labels(call: Call, check: Check, Y: Call, trace: Trace) -> Check:
    """The check of labels that the loss computes from Y, such as ``1 - Y``."""

    def checked(y: Array) -> str:
        try:
            (labels,) = evaluate([call], {Y: y, trace.dimension: y.shape[-1] if y.shape else 1})
        except Exception as error:  # an array that Y is cut from may not be what the loss expects
            return str(error)
        return check(labels)

    return checked


# -- two recordings ---------------------------------------------------------------------------------------------------


def _differing(first: Program, second: Program) -> tuple[Any, Any] | None:
    """The first calls in which two recordings differ."""
    return first_difference(*(lines_of([call for _, call in p.outputs()], p.trace.m) for p in (first, second)))


def first_difference(a: list[Any], b: list[Any]) -> tuple[Any, Any] | None:
    """The first lines of two programs that differ; an empty one stands for what one of them does not have."""
    return next(((x, y) for x, y in zip([*a, ""], [*b, ""], strict=False) if x != y), None)


def difference_of(program: Program, again: Program) -> str | None:
    """The first call in which what was recorded differs from what is recorded now, in words; None if none does."""
    found = _differing(program, again)
    return None if found is None else f"Recorded then: {_said(found[0])}; now: {_said(found[1])}."


def differs(noun: str, one: Any, other: Any) -> DifferingError:
    """The error for what is recorded twice, and is another program the second time; given the lines that differ."""
    apart = f"a call is first {_said(one)}, then {_said(other)}."
    if one and other and one[:2] == other[:2]:
        apart = f"{_said(one)} has other arguments the second time."
    cause = "Does it draw random numbers? Pass what changes as an argument."
    if any(x is FunctionType for line in (one, other) for x in _things(line)):
        cause = "It is given functions that are made anew each time: write np.where, or define them outside."
    return DifferingError(f"the {noun} would be frozen: recorded twice, {apart} {cause}")


def _things(x: Any) -> Iterator[Any]:
    """All that stands in a line."""
    if isinstance(x, (tuple, list)):
        for y in x:
            yield from _things(y)
    else:
        yield x


def _said(line: Any) -> str:
    if not line:
        return "missing"
    name, shape = line[:2]
    return f"np.{name} {shape}" if hasattr(np, name) else f"{name} {shape}"


def lines_of(outputs: Iterable[Call], m: int | None) -> list[Any]:
    """What a program does, without what the number of examples changes."""
    calls = toposort(outputs)
    place = {call: i for i, call in enumerate(calls)}

    def shape(call: Call) -> Any:
        return tuple([f"{n // m}m" if m and n and n % m == 0 else n for n in call.shape])

    shapes = [(call, shape(call)) for call in calls]
    names = (getattr(call.function, "__name__", call.name) for call in calls)
    return [
        (name, shape, *key(call, place.__getitem__, shape)[1:])
        for name, (call, shape) in zip(names, shapes, strict=True)
    ]


# -- what a step depends on ------------------------------------------------------------------------------------------


class Guard(Dependencies):
    """A model, a loss and an optimizer as they are now.

    Noted are the state that the model and the loss capture, which parameters require a gradient, which ones the
    optimizer has, and its hyperparameters but for the learning rate, which is an argument of the step.
    """

    def __init__(self, model: Module, loss: Callable[..., Any], optimizer: Optimizer, constants: Iterable[Any]) -> None:
        refuse_methods_that_are_not_recorded(optimizer)
        self.model = model.parameters()
        methods = _methods(optimizer)
        own = set(self.model)
        roots = [model, loss, *methods, *(p for p in optimizer.parameters if p not in own)]
        super().__init__(
            [optimizer, *roots] if methods else roots, own, constants
        )  # the last one is the first to be read
        self._optimizer(optimizer, methods)
        for p in self.model:
            self._watch_parameter(p)
        self._put_back(partial(getattr, optimizer, "_state"), partial(setattr, optimizer, "_state"))

    def _counting(self, module: Module) -> set[str]:
        """Without what a step moves, which is an argument of the program, unless the user's code reads it."""
        return super()._counting(module) - (set(module._buffer_names) - self._words)

    def _optimizer(self, optimizer: Optimizer, methods: list[FunctionType]) -> None:
        """Its hyperparameters; its methods, which may be replaced, of it itself or of its class; its parameters."""
        names = [name for name in vars(optimizer) if name not in NO_HYPERPARAMETER]
        if any("lr" in f.__code__.co_names for f in methods if f.__name__ != "__init__"):
            names.append("lr")
        replaced = [name for name in (*NOT_RECORDED, "_update") if hasattr(getattr(optimizer, name), "__func__")]
        self._watch_attributes(optimizer, names, replaced)
        if isinstance(optimizer.weight_decay, dict):  # which may be changed in place
            self._watch_container(f"{type(optimizer).__name__}.weight_decay", optimizer.weight_decay)
        self._watch_item(vars(optimizer), "parameters")
        self._watch_container(f"{type(optimizer).__name__}.parameters", optimizer.parameters)
        for i, p in enumerate(optimizer.parameters):
            if p.size < 2:  # of which == compares the number, and not which one it is
                self._watch_item(optimizer.parameters, i)


def refuse_counts(optimizer: Optimizer) -> None:
    """Refuse an optimizer of the user's own that looks at the number of steps, which a program does not know.

    Raises
    ------
    RecordingError
        That names the method.
    """
    for f in _methods(optimizer):
        if "steps" in f.__code__.co_names:
            raise RecordingError(
                f"the recording would freeze self.steps, which {f.__qualname__} reads: the program would do the same "
                "at each step. Keep such a count in the state of the parameters."
            )


def _methods(optimizer: Optimizer) -> list[FunctionType]:
    """Those that are written by users."""
    bases = [base for base in type(optimizer).__mro__ if base is not object and not is_ours(base)]
    return [f for base in bases for f in vars(base).values() if isinstance(f, FunctionType)]
