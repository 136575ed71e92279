"""The update of a program: what an optimizer does to parameters and state, recorded after the backward pass.

The optimizer's own `_update` runs on tracers, its state an input of the program like the parameters. What a program
could not repeat at each step is refused, in words that say what to write: a method that is not recorded, a state that
changes its shape, a number that would freeze.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tinygrad_dls.engine.errors import RecordingError, shown
from tinygrad_dls.engine.tensor import Tensor, values
from tinygrad_dls.graph.names import STATES
from tinygrad_dls.ir.call import Call
from tinygrad_dls.ir.tracer import Trace, Tracer
from tinygrad_dls.optimizer import NOT_RECORDED, Optimizer

__all__ = ["refuse_methods_that_are_not_recorded", "updates_of"]


def refuse_methods_that_are_not_recorded(optimizer: Optimizer) -> None:
    """Refuse an optimizer whose step is another than `Optimizer.step`: of it, a program would hold nothing.

    Raises
    ------
    RecordingError
        That names the method.
    """
    for name, own in NOT_RECORDED.items():
        if getattr(getattr(optimizer, name), "__func__", None) is not own:
            raise RecordingError(
                f"the program would drop what {type(optimizer).__name__}.{name} does: of an optimizer, _update is "
                "recorded, and nothing else. Write what is to happen to a gradient in _update, which gives the new "
                "array and state of a parameter; or take eager steps (compile(..., fallback=True) does)."
            )


def updates_of(
    optimizer: Optimizer, trace: Trace, inputs: Sequence[Call], parameters: Mapping[Tensor, Tensor]
) -> tuple[Call, list[Call], list[tuple[str, Call]]]:
    """Record the update that an optimizer makes after the backward pass.

    Parameters
    ----------
    optimizer : Optimizer
        It is left as it is.
    trace : Trace
        Of the recording.
    inputs : sequence of Call
        The program's inputs for the parameters, which give them their names.
    parameters : mapping of Tensor to Tensor
        The model's own, in the same order, to those of the recording, which have their gradients.

    Returns
    -------
    rate : Call
        The learning rate, an input.
    state : list of Call
        What the optimizer remembers before the step, inputs too.
    updates : list of (str, Call)
        The new parameters, and after them the new state.

    Raises
    ------
    RecordingError
        If a program could not repeat the update.
    """
    refuse_methods_that_are_not_recorded(optimizer)
    known = set(optimizer.parameters)
    rate: Any = trace.input("learning_rate", 0.1)
    rate.call.dtype, rate.call.number = float, 0.1  # a number of Python's, as m is
    state: list[Call] = []
    updates: list[tuple[str, Call]] = []
    states: list[tuple[str, Call]] = []
    kept = optimizer._state
    try:
        optimizer._state = {}
        with optimizer._clipping([recorded for p, recorded in parameters.items() if p in known]):
            for (p, recorded), call in zip(parameters.items(), inputs, strict=True):
                if p not in known or recorded._grad is None:
                    continue
                start = optimizer._start(p)
                names = [f"{letter}d{call.name}" for letter in _letters(len(start), optimizer)]
                before = optimizer._state
                arrays = kept.get(p, ())
                if len(arrays) != len(names):  # none yet, or those of another momentum
                    arrays = optimizer._start(Tensor(_plain(p)))
                states_of_p = tuple(trace.input(name, x) for name, x in zip(names, arrays, strict=True))
                optimizer._state = {recorded: states_of_p} if states_of_p else before
                w, new = optimizer._update(recorded, rate)
                _refuse_other_state(optimizer, call, w, states_of_p, new)
                state += [x.call for x in states_of_p]
                updates.append((call.name, w.call))
                states += [(name, x.call) for name, x in zip(names, new, strict=True)]
    finally:
        optimizer._state = kept
    return rate.call, state, updates + states


def _letters(count: int, optimizer: Optimizer) -> str:
    """The letters for the parts of a state: the course's V of Momentum, S of RMSprop, both of Adam (and its counts)."""
    if count == 3:
        return "VSt"
    if count == len(optimizer.letters):
        return optimizer.letters
    if count > len(STATES):
        raise RecordingError(
            f"the state of {type(optimizer).__name__} has {count} parts for each parameter; a program has letters for "
            f"{len(STATES)}. Put several arrays into one with np.stack."
        )
    return STATES[:count]


def _refuse_other_state(optimizer: Optimizer, p: Call, w: Any, before: tuple[Any, ...], new: Any) -> None:
    """Refuse an update that gives what the next one could not start from, or that the eager one would not give."""
    who = type(optimizer).__name__
    if not isinstance(w, Tracer) or (w.call.shape, w.dtype) != (p.shape, p.dtype):
        raise RecordingError(
            f"{who} gives {_kind(w)} for {p.name or 'a parameter'} of {_kind_of(p)}; a program updates a parameter by "
            "an array of its shape and dtype that is computed from it. Write .astype(p.dtype) where another dtype "
            "comes in, as by a count that is an array of integers."
        )
    if not isinstance(new, (tuple, list)) or len(new) != len(before):
        count = len(new) if isinstance(new, (tuple, list)) else "no tuple of"
        raise RecordingError(
            f"the state of {who} has {len(before)} parts before a step and {count} after it; a program needs as many. "
            "Let _start return all of them."
        )
    for old, x in zip(before, new, strict=True):
        if not isinstance(x, Tracer):
            raise RecordingError(
                f"the recording would freeze a part of the state of {who}, {shown(x)}, which is not computed from the "
                "parameter, its gradient or the state."
            )
        if (x.call.shape, x.dtype) != (old.call.shape, old.dtype):
            raise RecordingError(
                f"a part of the state of {who} is {_kind_of(old.call)} before a step and {_kind_of(x.call)} after it; "
                "a program needs the same each time. Let _start return an array as it is after a step."
            )


def _kind(x: Any) -> str:
    return _kind_of(x.call) if isinstance(x, Tracer) else shown(x)


def _kind_of(call: Call) -> str:
    return f"shape {call.shape} and dtype {np.dtype(call.dtype)}"


def _plain(p: Tensor) -> Any:
    return p._value.value if isinstance(p._value, Tracer) else values(p)
