"""A draft of a plan: what goes through the passes of the compiler, each of which takes one and gives one.

A pass is a function: a draft in, a draft and a line for `explain` out. Passes never change what they are given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from tinygrad_dls.engine.arrays import Array
from tinygrad_dls.ir.call import Call, toposort

__all__ = ["BatchAxes", "Block", "Draft", "Flat", "Layout", "Pass", "Update", "run_passes"]


@dataclass(frozen=True)
class Update:
    """What the optimizer does to one parameter.

    Attributes
    ----------
    parameter, new : Call
        The parameter, and what takes its place.
    arrays, counts : tuple of (Call, Call)
        The parts of its state, and what takes their places: arrays like the parameter; and numbers, or other arrays.
    kinds : tuple of int
        The flat array that holds each part of the state: 1, 2, ... after that of the parameters; or 0 where none does.
    """

    parameter: Call
    new: Call
    arrays: tuple[tuple[Call, Call], ...] = ()
    counts: tuple[tuple[Call, Call], ...] = ()
    kinds: tuple[int, ...] = ()


@dataclass(frozen=True)
class Block:
    """The place of one parameter, or of a W with its b in the last column, in a flat array."""

    members: tuple[str, ...]
    shape: tuple[int, ...]
    start: int  # in entries

    @property
    def name(self) -> str:
        """``W1``, or ``W1b1``."""
        return "".join(self.members)

    @property
    def stop(self) -> int:
        """Where the next one starts."""
        return self.start + int(np.prod(self.shape, dtype=int))


@dataclass(frozen=True)
class Layout:
    """The places of all parameters in a flat array; those of each array of state are the same in one of its own."""

    blocks: tuple[Block, ...]
    dtype: Any
    states: int  # arrays of state, of the shape of its parameter, that each parameter has

    @property
    def size(self) -> int:
        """Entries of the parameters."""
        return self.blocks[-1].stop

    @property
    def names(self) -> list[str]:
        """The parameters, in the order of their places."""
        return [name for block in self.blocks for name in block.members]

    @property
    def regions(self) -> list[str]:
        """What the flat arrays are called: that of the parameters, and those of the arrays of state."""
        return ["parameters", *(f"state{k}" for k in range(1, self.states + 1))]

    def views(self, flat: Array) -> dict[str, Array]:
        """The parts of a flat array by parameter."""
        found: dict[str, Array] = {}
        for block in self.blocks:
            whole = flat[block.start : block.stop].reshape(block.shape)
            parts = [whole] if len(block.members) == 1 else [whole[:, :-1], whole[:, -1:]]
            found.update(zip(block.members, parts, strict=True))
        return found


@dataclass
class Flat:
    """The update of a flat array.

    Attributes
    ----------
    parameters, gradient, state : Call
        What it starts from: arrays that hold those of all parameters one after another.
    new : list of Call
        The new parameters, and the new arrays of state.
    counts : tuple of (Call, Call)
        States that are numbers, and their new values.
    gradients : dict of str to Call
        By parameter, the call that its part of the gradient comes from.
    calls : set of Call
        All that works on the flat arrays; the lengths are no numbers of examples.
    """

    parameters: Call
    gradient: Call
    state: list[Call]
    gradients: dict[str, Call]
    new: list[Call] = field(default_factory=list)
    counts: list[tuple[Call, Call]] = field(default_factory=list)
    calls: set[Call] = field(default_factory=set)


@dataclass
class BatchAxes:
    """What the calls of a program do to the examples.

    Attributes
    ----------
    axis : dict
        For each call that works on the examples, the axis that they lie on, counted from the end: -1 or -2.
    sums : list of Call
        What sums over them.
    reason : str
        Why the program cannot be tiled; empty if it can.
    """

    axis: dict[Call, int] = field(default_factory=dict)
    sums: list[Call] = field(default_factory=list)
    reason: str = ""


@dataclass
class Draft:
    """A program on its way to a plan.

    Attributes
    ----------
    outputs : list of Call
        The cost, the new parameters, the new parts of the state, and the gradients that are asked for.
    data, frozen, parameters, state : list of Call
        The inputs: examples and labels; parameters that are not updated, and those that are; what the optimizer keeps.
    examples : int or None
        The number of examples that it was recorded with, if it is a symbol there.
    length : function
        Takes the length of an axis to the symbol that it is.
    alike : bool
        Whether the states that are numbers, such as Adam's counts of steps, are the same for all parameters.
    notes : dict of str to str
        By what results differ from what their names say.
    partners : dict of Call to Call
        By weights, the biases that stand beside them.
    layout : Layout
        The places of the parameters in flat arrays.
    updates : list of Update
        In the order of the layout.
    flat : Flat or None
        The one update that works on the flat arrays at once.
    axes : BatchAxes
        What calls do to the examples.
    lines : list of str
        What the passes have done, for those who ask.
    """

    outputs: list[Call]
    data: list[Call] = field(default_factory=list)
    frozen: list[Call] = field(default_factory=list)
    parameters: list[Call] = field(default_factory=list)
    state: list[Call] = field(default_factory=list)
    examples: int | None = None
    length: Callable[[int], Any] = lambda n: n
    alike: bool = True
    notes: dict[str, str] = field(default_factory=dict)
    partners: dict[Call, Call] = field(default_factory=dict)
    layout: Layout = field(default_factory=lambda: Layout((), None, 0))
    updates: list[Update] = field(default_factory=list)
    flat: Flat | None = None
    buffers: Any = None  # of `buffers`, which knows more than this module
    axes: BatchAxes = field(default_factory=BatchAxes)
    lines: list[str] = field(default_factory=list)

    @property
    def cost(self) -> Call:
        """The cost."""
        return self.outputs[0]

    @property
    def calls(self) -> int:
        """How many NumPy calls the outputs need."""
        return sum(call.function is not None for call in toposort(self.outputs))


Pass: TypeAlias = Callable[[Draft], tuple[Draft, str]]


def run_passes(draft: Draft, passes: Sequence[Pass]) -> Draft:
    """Run passes one after another, and note what they tell."""
    for run in passes:
        draft, line = run(draft)
        draft.lines += [line] if line else []
    return draft
