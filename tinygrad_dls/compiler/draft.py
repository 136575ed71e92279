"""A draft of a plan: what goes through the passes of the compiler, each of which takes one and gives one.

A pass is a function: a draft in, a draft and a line for `explain` out. Passes never change what they are given.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from tinygrad_dls.compiler.instructions import Buffer, Instruction, span, view_of
from tinygrad_dls.engine.arrays import Array
from tinygrad_dls.ir.call import Call, getitem, toposort

__all__ = ["BatchAxes", "Block", "BufferAssignment", "Draft", "Flat", "Layout", "Pass", "Update", "run_passes"]


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
    def parts(self) -> list[tuple[tuple[int, ...], Any]]:
        """The shape of each member, and its index in the block."""
        if len(self.members) == 1:
            return [(self.shape, ...)]
        rows, columns = self.shape
        return [((rows, columns - 1), np.s_[:, :-1]), ((rows, 1), np.s_[:, -1:])]

    @property
    def stop(self) -> int:
        """Where the next one starts."""
        return self.start + math.prod(self.shape)


@dataclass(frozen=True)
class Layout:
    """The places of all parameters in a flat array; those of each array of state are the same in one of its own."""

    blocks: tuple[Block, ...]
    dtype: Any
    states: int  # arrays of state, of the shape of its parameter, that each parameter has

    @property
    def size(self) -> int:
        """Entries of the parameters."""
        return self.blocks[-1].stop if self.blocks else 0

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
            found.update({name: whole[index] for name, (_, index) in zip(block.members, block.parts, strict=True)})
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
    counts : list of (Call, Call)
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
class BufferAssignment:
    """The names of the arrays that are there when a function starts, and the output buffers of its results.

    Attributes
    ----------
    arguments : dict of Call to str
        The names of the arguments that hold data: X, Y, parameters that are not updated.
    counts : dict of Call to Buffer
        The arguments that hold the optimizer's counts of steps.
    arrays : dict of Call to Buffer
        The flat arrays, and views of them.
    setup : list of Instruction
        What makes the views.
    output_buffers : dict of Call to Buffer
        The output buffers: the views that results are written into.
    gradients, new, new_counts, kept : list of Call
        These results; and copies of what else is to be given back: gradients, and what modules keep.
    plain : set of Call
        Calls whose lengths are no number of examples, even if they are multiples of it.
    scratch : set of Call
        Arrays that may be written over when nothing needs them any more.
    """

    arguments: dict[Call, str] = field(default_factory=dict)
    counts: dict[Call, Buffer] = field(default_factory=dict)
    arrays: dict[Call, Buffer] = field(default_factory=dict)
    setup: list[Instruction] = field(default_factory=list)
    output_buffers: dict[Call, Buffer] = field(default_factory=dict)
    gradients: list[Call] = field(default_factory=list)
    new: list[Call] = field(default_factory=list)
    new_counts: list[Call] = field(default_factory=list)
    kept: list[Call] = field(default_factory=list)
    plain: set[Call] = field(default_factory=set)
    scratch: set[Call] = field(default_factory=set)

    def view(self, name: str, call: Call) -> Buffer:
        """Add an instruction that makes a view, and return its buffer."""
        self.setup.append(Instruction(call, view_of(call, name)))
        return self.setup[-1].out

    def span(self, name: str, flat: Buffer, start: int, shape: tuple[int, ...]) -> Buffer:
        """A run of entries of a flat array, as an array of a shape."""
        return self.view(name, Call(span, (flat, start, shape), {}, shape, flat.dtype))

    def members(self, block: Block, whole: Buffer, names: Sequence[str]) -> list[Buffer]:
        """The members of a block: all of it; or by these names the weights, and the biases."""
        if len(block.members) == 1:
            return [whole]
        return [
            self.view(name, Call(getitem, (whole, index), {}, shape, whole.dtype))
            for name, (shape, index) in zip(names, block.parts, strict=True)
        ]


@dataclass
class Draft:
    """A program on its way to a plan.

    Attributes
    ----------
    outputs : list of Call
        The cost, the new parameters, the new parts of the state, the gradients that are asked for, and what modules
        keep, such as a running mean.
    data, others, parameters, state : list of Call
        The inputs: examples and labels; parameters that are not updated and what modules keep; the parameters that are
        updated; what the optimizer keeps.
    gradients : int
        How many gradients are asked for.
    examples : int or None
        The number of examples that it was recorded with, if it is a symbol there.
    length : function
        Takes the length of an axis to the symbol that it is.
    alike : bool
        Whether the states that are numbers, such as Adam's counts of steps, are the same for all parameters.
    native : bool
        Whether it is to be compiled by a compiler of C.
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
    buffers : BufferAssignment
        What lies where.
    axes : BatchAxes
        What calls do to the examples.
    lines : list of str
        What the passes have done, for those who ask.
    """

    outputs: list[Call]
    data: list[Call] = field(default_factory=list)
    others: list[Call] = field(default_factory=list)
    parameters: list[Call] = field(default_factory=list)
    state: list[Call] = field(default_factory=list)
    gradients: int = 0
    examples: int | None = None
    length: Callable[[int], Any] = lambda n: n
    alike: bool = True
    native: bool = False
    notes: dict[str, str] = field(default_factory=dict)
    partners: dict[Call, Call] = field(default_factory=dict)
    layout: Layout = field(default_factory=lambda: Layout((), np.dtype(float), 0))
    updates: list[Update] = field(default_factory=list)
    flat: Flat | None = None
    buffers: BufferAssignment = field(default_factory=BufferAssignment)
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
