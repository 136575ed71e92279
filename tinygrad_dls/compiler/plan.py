"""A plan: how one step of training runs, for data of one shape; made of a recorded program by the passes, in order.

The words, in the order of the passes:

- *lowering*: a program in terms of cheaper calls; *delayed scaling*: scalars are multiplied last;
- *augmented weights*: the bias beside the weights, ``[W b]``, and a row of ones below the examples;
- *buffer assignment*: what lies in which flat array, the parameters in a *front* and a *back buffer*;
- *liveness*: memory is free after the last use of what it holds, so results are computed *in place*;
- *batch-wise* calls do to each example what they would do to it alone; a *hoisted constant* is computed once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from tinygrad_dls.compiler.augmenting import augment
from tinygrad_dls.compiler.buffers import BufferAssignment, assign_buffers, over_gradients, with_sums
from tinygrad_dls.compiler.code import Code
from tinygrad_dls.compiler.emit import Emitter, unscaled_cost
from tinygrad_dls.compiler.lowering import copy_of, lower
from tinygrad_dls.compiler.scaling import delay_scaling
from tinygrad_dls.compiler.tiling import SHARED, BatchAxes, find_batch_axes, width, worthwhile
from tinygrad_dls.compiler.updating import Flat, Layout, Update, flat_update, lay_out
from tinygrad_dls.engine.errors import RecordingError
from tinygrad_dls.ir.call import Call, fits, toposort
from tinygrad_dls.ir.program import Program

__all__ = ["Plan", "plan"]


@dataclass
class Plan:
    """What runs a step for data of one shape.

    Attributes
    ----------
    m : int or None
        The number of examples.
    layout : Layout
        The places of all parameters in the flat arrays.
    kinds : list of tuple of int
        The flat array that holds each part of each parameter's state, or 0 where none does.
    split : list of bool
        Whether an argument that holds data holds examples: X, Y and parameters that are not updated, in this order.
    counts : int
        How many arguments follow that hold the optimizer's counts of steps, and what else is not like the parameter.
    is_plain : bool
        Whether X, Y and the learning rate are all that is passed, and the cost is all that comes back.
    is_flat : bool
        Whether one update serves all parameters.
    recorded : int
        The calls that were recorded.
    augmented : list of str
        The layers with augmented weights: the bias b beside W.
    whole : Code or None
        The function of a step that is done at once.
    tiles : dict of int to Code
        By their width, the functions for the columns of a tile; empty without tiles.
    update : Code or None
        What follows the tiles.
    width : int
        The columns of a tile; the last one may be narrower.
    sums : int
        Entries that are summed over the tiles; the gradients come first.
    is_shared : bool
        Whether there is enough to do for several threads.
    why_whole : str
        Why there are no tiles.
    """

    m: int | None
    layout: Layout
    kinds: list[tuple[int, ...]]
    split: list[bool]
    counts: int
    is_plain: bool
    is_flat: bool
    recorded: int
    augmented: list[str]
    whole: Code | None = None
    tiles: dict[int, Code] = field(default_factory=dict)
    update: Code | None = None
    width: int = 0
    sums: int = 0
    is_shared: bool = False
    why_whole: str = ""

    def text(self) -> str:
        """All the functions as Python."""
        return "\n\n".join(code.text() for code in self.codes())

    def codes(self) -> list[Code]:
        """All the functions."""
        return [code for code in (self.whole, *self.tiles.values(), self.update) if code is not None]


def plan(step: Program, m: int | None, *, alike: bool = True, gradients: bool = False, tile: int | None = None) -> Plan:
    """Plan a recorded step for m examples.

    Parameters
    ----------
    step : Program
        With an update.
    m : int or None
        The number of examples.
    alike : bool
        Whether the states that are numbers, such as Adam's counts of steps, are the same for all parameters.
    gradients : bool
        Whether the functions return new arrays of the gradients too.
    tile : int, optional
        The columns of a tile, instead of what fits into the cache.
    """
    work = _run_passes(step, alike, gradients)
    found = find_batch_axes([*work.results, *work.kept], step.trace.m, work.buffers.plain)
    if any(found.axis.get(call, -1) != -1 for call in work.data):
        found.reason = found.reason or "the examples are not the columns of all data"
    if any(call.dtype != work.layout.dtype for call in found.sums):
        found.reason = found.reason or "sums over the examples are not of the parameters' dtype"
    counts = len(dict.fromkeys(work.buffers.counts.values()))
    result = Plan(
        m,
        work.layout,
        work.kinds,
        split=[call in found.axis for call in work.data],
        counts=counts,
        is_plain=len(work.data) == 2 and not counts and not work.kept,
        is_flat=work.flat is not None,
        recorded=work.recorded,
        augmented=[block.name for block in work.layout.blocks if len(block.members) > 1],
        why_whole=found.reason,
    )
    if m is not None and not result.why_whole:
        _tile(result, work, found, m, tile)
    if not result.tiles:
        buffers = work.buffers if work.flat is None or work.kept else over_gradients(work.buffers, work.flat)
        result.whole = work.last("step", buffers, m)
    return result


# -- what is to be computed -------------------------------------------------------------------------------------------


@dataclass
class _Work:
    """What a step computes, after the passes, and where it is found and written.

    Attributes
    ----------
    examples : int or None
        The number of examples that it was recorded with.
    recorded : int
        The calls that were recorded.
    data : list of Call
        The arguments that hold data.
    cost : Call
    kept : list of Call
        Copies of the gradients, for those who want to see them, and of what modules keep, such as a running mean.
    layout, kinds, flat, buffers
        The flat arrays, what of the state they hold, the update that works on them at once if there is one, and what
        lies where.
    """

    examples: int | None
    recorded: int
    data: list[Call]
    cost: Call
    kept: list[Call]
    layout: Layout
    kinds: list[tuple[int, ...]]
    flat: Flat | None
    buffers: BufferAssignment

    @property
    def results(self) -> list[Call]:
        """What NumPy computes of the cost, and what is written into the flat arrays."""
        return [unscaled_cost(self.cost), *self.buffers.gradients, *self.buffers.new]

    def last(self, name: str, buffers: BufferAssignment, m: int | None) -> Code:
        """The function that ends with the update."""
        arguments = [*buffers.arguments.values(), "learning_rate", *buffers.counts.values()]
        returned = [*buffers.new_counts, *self.kept]
        emitter = Emitter(buffers, self.examples, m)
        return emitter.code(name, arguments, [*self.results, *returned], returned, self.cost)


def _run_passes(step: Program, alike: bool, gradients: bool) -> _Work:
    """The passes over a program, in order."""
    count = len(step.update) - len(step.state)  # of the parameters, whose new values come first
    updated = {name for name, _ in step.update[:count]}
    parameters = [p for p in step.parameters if p.name in updated]
    seen = dict(step.backward)
    outputs = [call for _, call in step.outputs()]
    outputs = outputs[: len(outputs) - len(step.moved())]
    outputs += [seen[f"d{p.name}"] for p in parameters] if gradients else []
    outputs += [call for _, call in step.moved()]
    recorded = sum(call.function is not None for call in toposort(outputs))

    outputs = lower(outputs, step.trace.length)
    outputs, notes = delay_scaling(outputs)
    outputs, partners = augment(outputs, parameters, step.data, step.trace.m)

    new = dict(zip([*parameters, *step.state], outputs[1:], strict=False))
    states = [[s for s in step.state if s.name[1:] == f"d{p.name}"] for p in parameters]
    kept_flat = _like_parameters(parameters, states)
    updates = [_update(p, own, kept_flat, new) for p, own in zip(parameters, states, strict=True)]
    rest = outputs[1 + len(new) :]
    own = dict(zip((p.name for p in parameters), rest, strict=False)) if gradients else {}
    dtypes = sorted({str(p.dtype) for p in parameters})
    if len(dtypes) > 1:
        raise RecordingError(f"the parameters are of several dtypes, {' and '.join(dtypes)}; a plan needs one.")
    layout = lay_out(updates, partners)
    updates.sort(key=lambda update: layout.names.index(update.parameter.name))
    flat = flat_update(updates, layout.size)
    flat = flat if alike or not (flat and flat.counts) else None
    data = [*step.data, *(p for p in step.parameters if p.name not in updated), *(b.before for b in step.buffers)]
    buffers = assign_buffers(updates, layout, flat, data, outputs)
    kept = [own[name] for name in layout.names if own] + rest[len(own) :]
    kept = [Call(copy_of, (call,), {}, call.shape, call.dtype) for call in kept]
    if kept:
        buffers.scratch.clear()
    notes |= {f"d{w.name}{b.name}": notes[f"d{w.name}"] for w, b in partners.items() if f"d{w.name}" in notes}
    buffers.notes = notes
    numbers = {p.name: _kinds(own, kept_flat) for p, own in zip(parameters, states, strict=True)}
    in_order = [numbers[name] for name in layout.names]
    return _Work(step.trace.m, recorded, data, outputs[0], kept, layout, in_order, flat, buffers)


def _like_parameters(parameters: Sequence[Call], states: Sequence[Sequence[Call]]) -> list[int]:
    """The parts of the state, by number, that are arrays like the parameter, for all parameters."""
    return [
        k
        for k in range(min(map(len, states), default=0))
        if all(fits(own[k], p) for p, own in zip(parameters, states, strict=True))
    ]


def _kinds(own: Sequence[Call], kept_flat: Sequence[int]) -> tuple[int, ...]:
    """The flat array that holds each part of the state: 1, 2, ... after that of the parameters; or 0."""
    return tuple(kept_flat.index(k) + 1 if k in kept_flat else 0 for k in range(len(own)))


def _update(p: Call, own: Sequence[Call], kept_flat: Sequence[int], new: dict[Call, Call]) -> Update:
    """What becomes of a parameter and its state."""
    arrays = tuple((own[k], new[own[k]]) for k in kept_flat)
    others = (s for k, s in enumerate(own) if k not in kept_flat)
    return Update(p, new[p], arrays, tuple((s, _of_its_own(new[s])) for s in others))


def _of_its_own(new: Call) -> Call:
    """A part of the state that is given back: numbers are new each time, and arrays are copied out of our memory."""
    return Call(copy_of, (new,), {}, new.shape, new.dtype) if new.shape else new


# -- tiles ------------------------------------------------------------------------------------------------------------


def _tile(result: Plan, work: _Work, found: BatchAxes, m: int, tile: int | None) -> None:
    """Plan tiles of the examples, or say why there are none."""
    of_columns, of_update, sums = with_sums(work.buffers, found.sums, work.layout.size)
    data = {call for call in work.data if call in found.axis}

    def columns(width: int) -> Code:
        emitter = Emitter(of_columns, work.examples, width, strided=data)
        return emitter.code("columns", [*of_columns.arguments.values()], found.sums)

    entries = sum(math.prod(c.shape) // (work.examples or 1) * np.dtype(c.dtype).itemsize for c in data)
    bytes_per_example = columns(64).bytes // 64 + entries
    wide = tile or width(m, bytes_per_example)
    if tile is None and not worthwhile(m, wide, bytes_per_example):
        result.why_whole = f"{m} examples fit into the cache, or are too few for tiles that do"
    elif wide >= m:
        result.why_whole = "one tile would hold all examples"
    else:
        result.width, result.sums, result.is_shared = wide, sums, m * bytes_per_example > SHARED
        result.tiles = {k: columns(k) for k in sorted({wide, m % wide} - {0}, reverse=True)}
        result.update = work.last("update", of_update, m)
