"""Liveness: an array is free after its last use, and later results are written into its memory.

A function of single entries writes over an argument that nothing needs any more, and other calls take the memory that
was given back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinygrad_dls.ir.call import Call, fits

__all__ = ["Liveness", "assign_slots", "is_elementwise"]


@dataclass
class Liveness:
    """The memory of results: a slot of their own, or in place of an argument.

    Attributes
    ----------
    slots : list of (dtype, int)
        The arrays of working memory, and their lengths.
    slot : dict of Call to int
        Which of them results are the first entries of.
    in_place : dict of Call to Call
        The arguments that results are written over.
    """

    slots: list[tuple[Any, int]] = field(default_factory=list)
    slot: dict[Call, int] = field(default_factory=dict)
    in_place: dict[Call, Call] = field(default_factory=dict)

    @property
    def reused(self) -> int:
        """How often memory was used again."""
        return len(self.slot) - len(self.slots)


def is_elementwise(call: Call) -> bool:
    """Whether a call is a NumPy function that goes through its arguments entry by entry."""
    return isinstance(call.function, np.ufunc) and call.function.signature is None


def assign_slots(
    order: Sequence[Call],
    wanted: Sequence[Call],
    *,
    arrays: set[Call],
    scratch: set[Call],
    owner: Callable[[Call], Call],
    size: Callable[[Call], int],
    again: bool = True,
) -> Liveness:
    """Find memory for results.

    Parameters
    ----------
    order : sequence of Call
        The calls in the order in which they are computed.
    wanted : sequence of Call
        The calls that are needed after the last one.
    arrays : set of Call
        The calls that need memory.
    scratch : set of Call
        Inputs that may be written over after their last use.
    owner : function
        Takes a view to the call whose memory it shares, and any other call to itself.
    size : function
        The number of entries of a result.
    again : bool
        Whether memory is used again; without, each result has a slot of its own.
    """
    last = {owner(x): i for i, call in enumerate(order) for x in (call, *call.calls())}
    last |= {owner(call): len(order) for call in wanted}
    found = Liveness()
    writable = arrays | scratch
    live: dict[Call, int] = {}  # the slots in use, by what is in them now
    free: list[int] = []
    for i, call in enumerate(order):
        if call in arrays:
            old = _operand_to_reuse(call, {x for x in call.calls() if x in writable and last[x] == i}, owner)
            if again and old is not None:
                found.in_place[call] = old
                if old in live:
                    live[call] = live.pop(old)
            else:
                live[call] = found.slot[call] = _take_slot(
                    found.slots, free if again else [], np.dtype(call.dtype), size(call)
                )
        ended = [x for x in dict.fromkeys(map(owner, (call, *call.calls()))) if last[x] == i and x in live]
        free += [live.pop(x) for x in ended]
    return found


def _operand_to_reuse(call: Call, free: set[Call], owner: Callable[[Call], Call]) -> Call | None:
    """The argument that a function of single entries may write over, if there is one."""
    if is_elementwise(call):
        args = [x for x in call.args if isinstance(x, Call)]
        for x in args:
            if x in free and fits(x, call) and all(y is x or owner(y) is not x for y in args):
                return x
    return None


def _take_slot(slots: list[tuple[Any, int]], free: list[int], dtype: Any, size: int) -> int:
    """A slot that is free: the smallest that is large enough, or the largest, made larger; or else a new one."""
    fitting = [i for i in free if slots[i][0] == dtype]
    if not fitting:
        slots.append((dtype, size))
        return len(slots) - 1
    i = min(fitting, key=lambda i: (slots[i][1] < size, abs(slots[i][1] - size)))
    free.remove(i)
    slots[i] = (dtype, max(size, slots[i][1]))
    return i
