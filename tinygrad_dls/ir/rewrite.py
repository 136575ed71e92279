"""The one way through a program: inputs first, equal calls become one, and the rules are tried on each.

What nothing needs is left behind (dead code).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from tinygrad_dls.ir.call import (
    Call,
    each,
    reachable,
)

__all__ = ["exchanged", "rewrite"]

Rule: TypeAlias = Callable[[Call], Any]


def rewrite(outputs: Sequence[Call], rules: Sequence[Rule]) -> list[Call]:
    """The calls that compute the same outputs as these, with fewer and simpler calls.

    Parameters
    ----------
    outputs : sequence of Call
    rules : sequence of functions
        Each takes a call to one that gives the same, or to None.

    Returns
    -------
    list of Call
        One for each output. A name moves to the call that takes its place, unless that has one already.
    """
    new: dict[Call, Call] = {}
    known: dict[Any, Call] = {}  # by what it computes: the simplest call for it
    settled: set[Call] = set()

    def settle(call: Call) -> Call:
        """The simplest call for one whose arguments are simple already."""
        key = _key(call)
        if key not in known:
            known[key] = call  # for rules that come back to it
            found = next((found for rule in rules if (found := rule(call)) is not None), call)
            known[key] = call if found is call else built(found)
            settled.add(known[key])
        return known[key]

    def built(call: Call) -> Call:
        """The same for one that a rule has made, of parts that may be new too."""
        return call if call in settled or call.function is None else settle(_with_arguments(call, built))

    for call in reachable(outputs):
        new[call] = call if call.function is None else settle(_with_arguments(call, new.__getitem__))
        new[call].name = new[call].name or call.name
    return [new[call] for call in outputs]


def exchanged(outputs: Sequence[Call], others: dict[Call, Call]) -> list[Call]:
    """The outputs with other calls in the place of some, which keep their names."""
    new: dict[Call, Call] = {}

    def own(x: Any) -> Any:
        return new[x] if isinstance(x, Call) else x

    stack = [(call, False) for call in outputs]
    while stack:
        call, ready = stack.pop()
        other = others.get(call, call)
        if call in new:
            continue
        if not ready:
            stack.append((call, True))
            stack.extend((x, False) for x in other.calls())
        elif other.function is None:
            new[call] = other
        else:
            args, options = each(own, other.args), each(own, other.options)
            new[call] = Call(other.function, args, options, other.shape, other.dtype, other.name or call.name)
    return [new[call] for call in outputs]


def _with_arguments(call: Call, function: Callable[[Call], Any]) -> Call:
    """The call with a function applied to the calls among its arguments."""

    def replaced(x: Any) -> Any:
        return function(x) if isinstance(x, Call) else x

    return Call(call.function, each(replaced, call.args), each(replaced, call.options), call.shape, call.dtype)


def _key(call: Call) -> Any:
    """Something hashable that is equal for equal calls."""
    return call.function, _argument_key(call.args), _argument_key(call.options), call.shape, str(call.dtype)


def _argument_key(x: Any) -> Any:
    if isinstance(x, Call):
        return x
    if isinstance(x, (tuple, list)):
        return type(x).__name__, tuple(map(_argument_key, x))
    if isinstance(x, dict):
        return tuple((name, _argument_key(y)) for name, y in sorted(x.items()))
    if isinstance(x, np.ndarray):
        return x.shape, str(x.dtype), x.tobytes()
    if isinstance(x, slice):
        return "slice", *map(_argument_key, (x.start, x.stop, x.step))
    return type(x).__name__, repr(x)
