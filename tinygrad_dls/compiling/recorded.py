"""The recording of a step, and the checks of labels that went with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from tinygrad_dls import losses
from tinygrad_dls.arrays import Array, RecordingError
from tinygrad_dls.nn import Module
from tinygrad_dls.optim import Optimizer
from tinygrad_dls.program import Program, _source, program
from tinygrad_dls.recording import Call, reachable

__all__ = ["examples", "lines_of", "recorded"]

EXAMPLES = 4096  # at most: a program is the same for more

Check = Callable[[Array], str]


def examples(*arrays: Array) -> int | None:
    """The number of examples: the columns of the first matrix."""
    return next((x.shape[1] for x in arrays if len(x.shape) == 2), None)


def recorded(
    model: Module, loss: Callable[[Any, Any], Any], optimizer: Optimizer, X: Array, Y: Array
) -> tuple[Program, list[Check]]:
    """The program of a step, and what the loss asks of the labels.

    Raises
    ------
    RecordingError
        If the step cannot be recorded, or is another one each time.
    """
    m = examples(X, Y)
    x, y = X, Y
    if m is not None and m > EXAMPLES and X.ndim == Y.ndim == 2 and X.shape[1] == Y.shape[1]:
        x, y = X[:, :EXAMPLES], Y[:, :EXAMPLES]
    y = y.copy()  # a new array, so that the checks that it passes are those of this step
    first, second = program(model, x, y, loss=loss, optimizer=optimizer)
    checks = [check for (_, check), passed in list(losses._passed.items()) if passed() is y]
    if _differing(first, second) is not None:  # it is another one for other numbers of examples: this one, then
        source = _source(model, (X, Y), loss)
        with np.errstate(all="ignore"):
            first, second = (source.recorded(None, optimizer) for _ in range(2))
    if (differing := _differing(first, second)) is not None:
        one, other = differing
        raise RecordingError(
            f"the step would be frozen: recorded twice, a call is first {_said(one)}, then {_said(other)}. Does it "
            "draw random numbers? Pass what changes as an argument."
        )
    first.given, first.nodes, first.recorded = [], [], {}  # which hold arrays, and serve pictures only
    return first, checks


def _differing(first: Program, second: Program) -> tuple[Any, Any] | None:
    """The first calls in which two recordings differ."""
    a, b = (lines_of([call for _, call in p.outputs()], p.recorder.m) for p in (first, second))
    return next(((x, y) for x, y in zip([*a, ""], [*b, ""], strict=False) if x != y), None)


def _said(line: Any) -> str:
    return f"np.{line[0]} {line[1]}" if line else "missing"


def lines_of(outputs: Iterable[Call], m: int | None) -> list[Any]:
    """What a program does, without what the number of examples changes."""
    calls = reachable(outputs)
    place = {call: i for i, call in enumerate(calls)}

    def text(x: Any) -> Any:
        if isinstance(x, Call):
            return "call", place[x]
        if isinstance(x, (tuple, list)):
            return tuple(map(text, x))
        if isinstance(x, dict):
            return tuple((key, text(y)) for key, y in x.items())
        if isinstance(x, slice):
            return "slice", text(x.start), text(x.stop), text(x.step)
        if isinstance(x, np.ndarray):
            return x.shape, str(x.dtype), x.tobytes()
        return type(x).__name__, repr(x)

    def shape(call: Call) -> Any:
        return tuple(f"{n // m}m" if m and n and n % m == 0 else n for n in call.shape)

    return [
        (getattr(c.function, "__name__", c.name), shape(c), str(c.dtype), text(c.args), text(c.options)) for c in calls
    ]
