"""Buffer assignment: a plan's functions find what they start from in views of flat arrays, and write into others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tinygrad_dls.compiler.augmenting import append_bias
from tinygrad_dls.compiler.draft import Block, BufferAssignment, Draft, Flat
from tinygrad_dls.compiler.instructions import Buffer, Instruction, Place, buffer
from tinygrad_dls.compiler.liveness import is_elementwise
from tinygrad_dls.compiler.lowering import copied, copy_of, is_number
from tinygrad_dls.graph.names import Names
from tinygrad_dls.ir.call import Call, getitem, is_call, toposort
from tinygrad_dls.ir.functions import MATRIX, row_of

__all__ = ["USED", "assign_buffers", "lay_over_gradients", "results_of", "unscaled_cost", "with_sums"]

USED = {  # in the texts
    "span", "sums", "m", "learning_rate", "gradients", "step", "columns", "update", "function", "np", *dir(np),
}  # fmt: skip


def unscaled_cost(cost: Call) -> Call:
    """What NumPy computes of the cost: its division by m is left to Python."""
    inner = cost.args[0] if is_call(cost, np.divide, np.multiply) and is_number(cost.args[1]) else None
    return inner if isinstance(inner, Call) else cost


def results_of(draft: Draft) -> list[Call]:
    """What NumPy computes of the cost, and what is written into the flat arrays."""
    return [unscaled_cost(draft.cost), *draft.buffers.gradients, *draft.buffers.new]


class _Names(Names):
    """Names of what a step starts from, with those of the arrays that go with them."""

    def __init__(self, regions: Sequence[str]) -> None:
        self.regions = regions
        new = ("", "new_")
        own = [f"{prefix}{region}" for prefix in new for region in regions]
        super().__init__(
            {*USED, *own},
            kin=("{}", "d{}", "new_{}", *(f"{prefix}{region}_{{}}" for prefix in new for region in regions[1:])),
        )
        self.members: dict[str, str] = {}  # of the parameters, by what they are called in the model

    def of(self, name: str, region: str) -> str:
        """The name of a parameter's array of state, or of the parameter itself."""
        return name if region == self.regions[0] else f"{region}_{name}"


def assign_buffers(draft: Draft) -> tuple[Draft, str]:
    """Assign buffers to all that a step starts from, and to what it computes: parameters, state and gradients."""
    layout, flat = draft.layout, draft.flat
    buffers, names = BufferAssignment(), _Names(layout.regions)
    blocks = {block: names.free(block.name) for block in layout.blocks}
    buffers.arguments = {call: names.free(call.name) for call in [*draft.data, *draft.others]}

    def flat_array(name: str, memory: Place) -> Buffer:
        return buffer(name, (layout.size,), layout.dtype, memory)

    old, new = ([flat_array(f"{prefix}{r}", Place.DOUBLE) for r in layout.regions] for prefix in ("", "new_"))
    _assign_parameters(buffers, names, draft, blocks, old)
    _assign_counts(buffers, names, draft)
    if flat is None:
        _assign_updates(buffers, names, draft, blocks, new)
    else:
        gradients = flat_array("gradients", Place.FLAT)
        buffers.arrays |= dict(zip([flat.parameters, *flat.state, flat.gradient], [*old, gradients], strict=True))
        _assign_gradients(buffers, names, flat, blocks, gradients)
        buffers.new = [_write(buffers, call, out) for call, out in zip(flat.new, new, strict=True)]
        buffers.plain = flat.calls
        buffers.scratch = {flat.gradient}
    _keep(buffers, draft)
    copies = sum(call.function is copy_of for call in buffers.output_buffers)
    told = f"{len(buffers.output_buffers)} results are written where they belong, {copies} of them by a copy."
    return replace(draft, buffers=buffers), told


def _assign_parameters(
    buffers: BufferAssignment, names: _Names, draft: Draft, blocks: dict[Block, str], regions: Sequence[Buffer]
) -> None:
    """Views of the parameters and of the arrays of their state."""
    parts = {u.parameter.name: [u.parameter, *(s for s, _ in u.arrays)] for u in draft.updates}
    together = {c.args[0].name: c for c in toposort(draft.outputs) if c.function is append_bias}
    for k, region in enumerate(regions):
        for block, name in blocks.items():
            whole = buffers.span(names.of(name, region.name), region, block.start, block.shape)
            calls = [parts[member][k] for member in block.members]
            views = buffers.members(block, whole, [names.free(x.name) for x in calls] if len(calls) > 1 else ())
            buffers.arrays |= dict(zip(calls, views, strict=True))
            for member, view in zip(block.members, views, strict=True):
                names.members.setdefault(member, view.name)
            if k == 0 and block.members[0] in together:
                buffers.arrays[together[block.members[0]]] = whole


def _assign_counts(buffers: BufferAssignment, names: _Names, draft: Draft) -> None:
    """Arguments for parts of the state that are numbers, or other arrays; one for all parameters if that will do."""
    flat, of_each = draft.flat, [u.counts for u in draft.updates]
    of_all = [(s, new) for counts in of_each for s, new in counts] if flat is None else flat.counts
    given = [buffer(names.free(s.name), s.shape, s.dtype, Place.GIVEN) for s, _ in of_all]
    buffers.new_counts = [new for _, new in of_all]
    each = given if flat is None else given * len(of_each)
    buffers.counts = dict(zip((s for counts in of_each for s, _ in counts), each, strict=True))


def _assign_gradients(
    buffers: BufferAssignment, names: _Names, flat: Flat, blocks: dict[Block, str], gradients: Buffer
) -> None:
    """Gradients side by side, from which one update follows."""
    for block, name in blocks.items():
        whole = buffers.span(f"d{name}", gradients, block.start, block.shape)
        found = [flat.gradients[member] for member in block.members]
        both = {g.args[0] for g in found if is_call(g, getitem)}
        if len(found) == 2 and len(both) == 1 and all(is_call(g, getitem) for g in found):
            buffers.gradients.append(_write(buffers, both.pop(), whole))
            continue
        views = buffers.members(block, whole, [f"d{names.members[x]}" for x in block.members])
        buffers.gradients += [_write(buffers, g, view) for g, view in zip(found, views, strict=True)]


def _assign_updates(
    buffers: BufferAssignment, names: _Names, draft: Draft, blocks: dict[Block, str], regions: Sequence[Buffer]
) -> None:
    """Each parameter's update by itself."""
    new = {u.parameter.name: [u.new, *(s for _, s in u.arrays)] for u in draft.updates}
    for k, (region, old) in enumerate(zip(regions, names.regions, strict=True)):
        for block, name in blocks.items():
            whole = buffers.span(f"new_{names.of(name, old)}", region, block.start, block.shape)
            own = [f"new_{names.of(names.members[member], old)}" for member in block.members]
            views = buffers.members(block, whole, own)
            for member, view in zip(block.members, views, strict=True):
                buffers.new.append(_write(buffers, new[member][k], view))


def _keep(buffers: BufferAssignment, draft: Draft) -> None:
    """Copies of the gradients that are asked for, in the order of the layout, and of what modules keep."""
    rest = draft.outputs[1 + len(draft.parameters) + len(draft.state) :]
    own = dict(zip((p.name for p in draft.parameters), rest[: draft.gradients], strict=False))
    found = [own[name] for name in draft.layout.names if own] + rest[draft.gradients :]
    buffers.kept = [copied(call) for call in found]
    if found:
        buffers.scratch.clear()  # no gradient is written over


def _write(buffers: BufferAssignment, call: Call, out: Buffer) -> Call:
    """The call, or a copy of its result, that is written into an array; no copy where NumPy can write there."""
    able = is_elementwise(call) or (row_of(call.function).kind is MATRIX and out.contiguous)
    known = call in buffers.output_buffers or call in buffers.arrays or call in buffers.arguments
    if not able or known or is_number(call):
        call = copied(call)
    buffers.output_buffers[call] = out
    return call


def lay_over_gradients(buffers: BufferAssignment, flat: Flat) -> None:
    """Let the gradients lie where the new parameters will: less memory to go through, if they are many.

    Only if all else comes before the new parameters, which are written over it entry by entry.
    """
    before = set(toposort([flat.new[0]]))
    if all(call in before for call in flat.calls) and all(map(is_elementwise, flat.new)):
        gradients, parameters = buffers.arrays[flat.gradient], buffers.output_buffers[buffers.new[0]]
        gradients.of = parameters
        buffers.setup.insert(0, Instruction(parameters, gradients))


def with_sums(
    buffers: BufferAssignment, sums: Sequence[Call], size: int
) -> tuple[BufferAssignment, BufferAssignment, int]:
    """The buffers in which a tile adds up: the gradients that are sums over the examples, and further sums behind them.

    Returns
    -------
    columns, update : BufferAssignment
        For the routine of a tile, which writes them, and for that of the update, which reads them.
    size : int
        Entries of all the sums.
    """
    given = (
        *buffers.arguments.values(),
        *(x.name for x in buffers.counts.values()),
        *(x.out.name for x in buffers.setup),
    )
    names = Names({*USED, *given})
    more = [call for call in sums if call not in buffers.output_buffers]
    whole = size + sum(math.prod(call.shape) for call in more)
    flat = buffer("sums", (whole,), sums[0].dtype, Place.FLAT)
    all_sums = replace(buffers, setup=[*buffers.setup])
    places = {call: buffers.output_buffers[call] for call in sums if call not in more}
    for call in more:
        places[call] = all_sums.span(names.numbered("sum"), flat, size, call.shape)
        size += math.prod(call.shape)
    rest = {call: out for call, out in buffers.output_buffers.items() if call not in places}
    columns = replace(all_sums, counts={}, output_buffers=places)
    update = replace(all_sums, arrays={**buffers.arrays, **places}, output_buffers=rest)
    return columns, update, size
