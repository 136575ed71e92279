"""Buffer assignment: a plan's functions find what they start from in views of flat arrays, and write into others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from tinygrad_dls.compiler.augmenting import append_bias
from tinygrad_dls.compiler.draft import Block, Draft, Flat, Update
from tinygrad_dls.compiler.liveness import is_elementwise
from tinygrad_dls.compiler.lowering import copy_of, is_number
from tinygrad_dls.graph.names import Names
from tinygrad_dls.ir.call import Call, getitem, is_call, toposort
from tinygrad_dls.ir.functions import MATRIX, row_of

__all__ = ["USED", "BufferAssignment", "Line", "assign_buffers", "over_gradients", "unscaled_cost", "with_sums"]

USED = {  # in the texts
    "memory", "part", "sums", "m", "learning_rate", "before", "after", "gradients", "step", "columns", "update",
    "function", "total_in_runs", "np", *dir(np),
}  # fmt: skip


@dataclass(frozen=True)
class Line:
    """A line of a function, or of its setup.

    Attributes
    ----------
    text, comment : str
    per_buffer : bool
        Whether a line of the setup makes a view of one of the two buffers; the others are the same for both.
    """

    text: str
    comment: str = ""
    per_buffer: bool = False

    @property
    def names(self) -> list[str]:
        """What it gives names to."""
        return self.text.split(" = ")[0].split(", ")


@dataclass
class BufferAssignment:
    """The names of the arrays that are there when a function starts, and the output buffers of its results.

    Attributes
    ----------
    arguments : dict of Call to str
        The arguments of the functions that hold data: X, Y, parameters that are not updated.
    counts : dict of Call to str
        The arguments that hold the optimizer's counts of steps.
    arrays : dict of Call to str
        Views of the flat arrays.
    per_buffer : set of Call
        Those of them that lie on one of the two buffers: parameters and state.
    setup : list of Line
        What makes the views.
    output_buffers : dict of Call to str
        The output buffers: the views that results are written into.
    gradients, new, new_counts, kept : list of Call
        These results; and copies of the gradients, for those who want to see them.
    plain : set of Call
        Calls whose lengths are no number of examples, even if they are multiples of it.
    scratch : set of Call
        Arrays that may be written over when nothing needs them any more.
    """

    arguments: dict[Call, str] = field(default_factory=dict)
    counts: dict[Call, str] = field(default_factory=dict)
    arrays: dict[Call, str] = field(default_factory=dict)
    per_buffer: set[Call] = field(default_factory=set)
    setup: list[Line] = field(default_factory=list)
    output_buffers: dict[Call, str] = field(default_factory=dict)
    gradients: list[Call] = field(default_factory=list)
    new: list[Call] = field(default_factory=list)
    new_counts: list[Call] = field(default_factory=list)
    kept: list[Call] = field(default_factory=list)
    plain: set[Call] = field(default_factory=set)
    scratch: set[Call] = field(default_factory=set)

    def results(self, cost: Call) -> list[Call]:
        """What NumPy computes of the cost, and what is written into the flat arrays."""
        return [unscaled_cost(cost), *self.gradients, *self.new]

    def view(self, name: str, text: str) -> str:
        """Add a line to the setup that makes a view of one of the two buffers, and return the name that it gives."""
        self.setup.append(Line(f"{name} = {text}", per_buffer=True))
        return name

    def write(self, call: Call, name: str, *, strided: bool = False) -> Call:
        """The call, or a copy of its result, that is written into an array; no copy where NumPy can write there."""
        able = is_elementwise(call) or (row_of(call.function).kind is MATRIX and not strided)
        if not able or call in self.output_buffers or call in self.arrays or call in self.arguments or is_number(call):
            call = Call(copy_of, (call,), {}, call.shape, call.dtype)
        self.output_buffers[call] = name
        return call


def unscaled_cost(cost: Call) -> Call:
    """What NumPy computes of the cost: its division by m is left to Python."""
    inner = cost.args[0] if is_call(cost, np.divide, np.multiply) and is_number(cost.args[1]) else None
    return inner if isinstance(inner, Call) else cost


class _Names(Names):
    """Names of what a step starts from, with those of the arrays that go with them."""

    def __init__(self, states: int) -> None:
        self.regions = ["parameters", *(f"state{k}" for k in range(1, states + 1))]
        new = ("", "new_")
        own = [f"{prefix}{region}" for prefix in new for region in self.regions]
        super().__init__(
            {*USED, *own},
            kin=("{}", "d{}", "new_{}", *(f"{prefix}{region}_{{}}" for prefix in new for region in self.regions[1:])),
        )
        self.members: dict[str, str] = {}  # of the parameters, by what they are called in the model

    def of(self, name: str, region: int) -> str:
        """The name of a parameter's array of state, or of the parameter itself."""
        return name if region == 0 else f"{self.regions[region]}_{name}"


def assign_buffers(draft: Draft) -> tuple[Draft, str]:
    """Assign buffers to all that a step starts from, and to what it computes: parameters, state and gradients."""
    layout, updates, flat = draft.layout, draft.updates, draft.flat
    buffers, names = BufferAssignment(), _Names(layout.states)
    blocks = {block: names.free(block.name) for block in layout.blocks}
    buffers.arguments = {call: names.free(call.name) for call in [*draft.data, *draft.frozen]}
    for k, region in enumerate(names.regions):
        buffers.view(f"{region}, new_{region}", f"before[{k}], after[{k}]")
    parts = {u.parameter.name: [u.parameter, *(s for s, _ in u.arrays)] for u in updates}
    together = {c.args[0].name: c for c in toposort(draft.outputs) if c.function is append_bias}
    for k, region in enumerate(names.regions):
        for block, name in blocks.items():
            whole = buffers.view(names.of(name, k), _span(region, block))
            for member, part in block.parts():
                call = parts[member][k]
                name = buffers.view(names.free(call.name), whole + part) if part else whole
                buffers.arrays[call] = name
                names.members.setdefault(member, name)
            if k == 0 and block.members[0] in together:
                buffers.arrays[together[block.members[0]]] = whole
    _assign_counts(buffers, names, updates, flat)
    if flat is None:
        _assign_updates(buffers, names, updates, blocks)
    else:
        buffers.arrays |= dict(zip([flat.parameters, *flat.state], names.regions, strict=True))
        _assign_flat_update(buffers, names, flat, blocks)
    buffers.per_buffer = set(buffers.arrays)
    own = dict(
        zip(
            (p.name for p in draft.parameters),
            draft.outputs[1 + len(draft.parameters) + len(draft.state) :],
            strict=False,
        )
    )
    if flat is not None:
        buffers.arrays[flat.gradient] = "gradients"
        buffers.plain = flat.calls
        buffers.scratch = {flat.gradient}
    buffers.kept = [Call(copy_of, (own[name],), {}, own[name].shape, own[name].dtype) for name in layout.names if own]
    if own:
        buffers.scratch.clear()
    copies = sum(call.function is copy_of for call in buffers.output_buffers)
    told = f"{len(buffers.output_buffers)} results are written where they belong, {copies} of them by a copy."
    return replace(draft, buffers=buffers), told


def _span(array: str, block: Block) -> str:
    return f"{array}[{block.start}:{block.stop}].reshape({block.shape})"


def _assign_counts(buffers: BufferAssignment, names: _Names, updates: Sequence[Update], flat: Flat | None) -> None:
    counts = [(s, new) for u in updates for s, new in u.counts]
    if flat is not None:  # one number for all
        of_all = [names.free(s.name) for s, _ in flat.counts]
        buffers.counts = {s: name for u in updates for (s, _), name in zip(u.counts, of_all, strict=True)}
        buffers.new_counts = [new for _, new in flat.counts]
    else:
        buffers.counts = {s: names.free(s.name) for s, _ in counts}
        buffers.new_counts = [new for _, new in counts]


def _assign_flat_update(buffers: BufferAssignment, names: _Names, flat: Flat, blocks: dict[Block, str]) -> None:
    """Gradients side by side, from which one update follows."""
    for block, name in blocks.items():
        whole = buffers.view(f"d{name}", _span("gradients", block))
        found = [flat.gradients[member] for member in block.members]
        both = {g.args[0] for g in found if is_call(g, getitem)}
        if len(found) == 2 and len(both) == 1 and all(is_call(g, getitem) for g in found):
            buffers.gradients.append(buffers.write(both.pop(), whole))
            continue
        for (member, part), g in zip(block.parts(), found, strict=True):
            name = buffers.view(f"d{names.members[member]}", whole + part) if part else whole
            buffers.gradients.append(buffers.write(g, name, strided=bool(part)))
    for region, call in zip(names.regions, flat.new, strict=True):
        buffers.new.append(buffers.write(call, f"new_{region}"))


def _assign_updates(
    buffers: BufferAssignment, names: _Names, updates: Sequence[Update], blocks: dict[Block, str]
) -> None:
    """Each parameter's update by itself."""
    new = {u.parameter.name: [u.new, *(s for _, s in u.arrays)] for u in updates}
    for k, region in enumerate(names.regions):
        for block, name in blocks.items():
            whole = buffers.view(f"new_{names.of(name, k)}", _span(f"new_{region}", block))
            for member, part in block.parts():
                free = f"new_{names.of(names.members[member], k)}"
                name = buffers.view(free, whole + part) if part else whole
                buffers.new.append(buffers.write(new[member][k], name, strided=bool(part)))


def over_gradients(buffers: BufferAssignment, flat: Flat) -> BufferAssignment:
    """Let the gradients lie where the new parameters will: less memory to go through, if they are many.

    Only if all else comes before the new parameters, which are written over it entry by entry.
    """
    before = set(toposort([flat.new[0]]))
    if not all(call in before for call in flat.calls) or not all(map(is_elementwise, flat.new)):
        return buffers
    regions = 1 + len(flat.state)
    line = Line("gradients = new_parameters", per_buffer=True)
    setup = [*buffers.setup[:regions], line, *buffers.setup[regions:]]
    return replace(buffers, setup=setup, per_buffer={*buffers.per_buffer, flat.gradient})


def with_sums(
    buffers: BufferAssignment, sums: Sequence[Call], size: int
) -> tuple[BufferAssignment, BufferAssignment, int]:
    """The buffers in which a tile adds up: the gradients that are sums over the examples, and further sums behind them.

    Returns
    -------
    columns, update : BufferAssignment
        For the function of a tile, which writes them, and for that of the update, which reads them.
    size : int
        Entries of all the sums.
    """
    output_buffers: dict[Call, str] = {}
    setup: list[Line] = []
    given = (*buffers.arguments.values(), *buffers.counts.values(), *(n for line in buffers.setup for n in line.names))
    names = Names({*USED, *given})
    for call in sums:
        if call in buffers.output_buffers:
            output_buffers[call] = buffers.output_buffers[call]
            continue
        name = names.numbered("sum")
        entries = math.prod(call.shape)
        setup.append(Line(f"{name} = sums[{size}:{size + entries}].reshape({call.shape})"))
        output_buffers[call] = name
        size += entries
    setup = [*buffers.setup, *setup]
    rest = {call: name for call, name in buffers.output_buffers.items() if call not in output_buffers}
    columns = replace(buffers, counts={}, output_buffers=output_buffers, setup=setup)
    update = replace(
        buffers,
        arrays={**buffers.arrays, **output_buffers},
        per_buffer={*buffers.per_buffer, *output_buffers},
        output_buffers=rest,
        setup=setup,
    )
    return columns, update, size
