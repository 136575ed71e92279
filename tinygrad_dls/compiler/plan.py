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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinygrad_dls.compiler.augmenting import augment
from tinygrad_dls.compiler.buffers import assign_buffers, lay_over_gradients, results_of, with_sums
from tinygrad_dls.compiler.draft import BufferAssignment, Draft, Layout, Pass, run_passes
from tinygrad_dls.compiler.instructions import Place, Routine, buffer
from tinygrad_dls.compiler.lowering import copied, lower
from tinygrad_dls.compiler.scaling import delay_scaling
from tinygrad_dls.compiler.scheduling import Scheduler
from tinygrad_dls.compiler.tiling import SHARED, TOO_FEW, find_batch_axes, width, worthwhile
from tinygrad_dls.compiler.updating import lay_out
from tinygrad_dls.ir.call import Call
from tinygrad_dls.ir.program import Program

__all__ = ["PASSES", "Plan", "draft_of", "plan", "plan_function"]

PASSES: tuple[Pass, ...] = (lower, delay_scaling, augment, lay_out, assign_buffers, find_batch_axes)


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
    lines : list of str
        What was done, for `explain`.
    whole : Routine or None
        A step that is done at once.
    tiles : dict of int to Routine
        By their width, what is done with the columns of a tile; empty without tiles.
    update : Routine or None
        What follows the tiles.
    width : int
        The columns of a tile; the last one may be narrower.
    sums : int
        Entries that are summed over the tiles; the gradients come first.
    is_shared : bool
        Whether there is enough to do for several threads.
    native : Native or None
        What C does for it, see `tinygrad_dls.compiler.native.program`.
    """

    m: int | None
    layout: Layout
    kinds: list[tuple[int, ...]]
    split: list[bool]
    counts: int
    is_plain: bool
    is_flat: bool
    lines: list[str]
    whole: Routine | None = None
    tiles: dict[int, Routine] = field(default_factory=dict)
    update: Routine | None = None
    width: int = 0
    sums: int = 0
    is_shared: bool = False
    native: Any = None

    def routines(self) -> list[Routine]:
        """All the routines."""
        return [routine for routine in (self.whole, *self.tiles.values(), self.update) if routine is not None]


def plan(
    step: Program,
    m: int | None,
    *,
    alike: bool = True,
    gradients: bool = False,
    tile: int | None = None,
    native: bool = False,
) -> Plan:
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
    native : bool
        Whether it is for C: then no result shares memory with another, and there are no tiles.
    """
    draft = draft_of(step, alike=alike, gradients=gradients, native=native)
    draft.lines.append(f"{draft.calls} NumPy calls were recorded: forward, backward and update.")
    draft = run_passes(draft, PASSES)
    buffers = draft.buffers
    counts = len(set(buffers.counts.values()))
    result = Plan(
        m,
        draft.layout,
        [update.kinds for update in draft.updates],
        split=[call in draft.axes.axis for call in buffers.arguments],
        counts=counts,
        is_plain=len(buffers.arguments) == 2 and not counts and not buffers.kept,
        is_flat=draft.flat is not None,
        lines=draft.lines,
    )
    if native:
        buffers.scratch.clear()
    elif m is not None and not draft.axes.reason:
        _tile(result, draft, m, tile)
    if not result.tiles:
        if draft.flat is not None and not buffers.kept and not native:
            lay_over_gradients(buffers, draft.flat)
        result.whole = _last("step", draft, buffers, m)
        result.lines.append(f"{len(result.whole.steps)} {'' if native else 'NumPy '}calls a step.")
    return _with_constants(result)


def plan_function(outputs: Sequence[Call], arguments: Mapping[Call, str], *, native: bool) -> Plan:
    """Plan a function of arrays, which returns new arrays of the outputs; its arguments come with their names."""
    draft = Draft(list(outputs), list(arguments), native=native)
    draft.lines.append(f"{draft.calls} NumPy calls were recorded.")
    draft = run_passes(draft, (lower, delay_scaling))
    results = [copied(call) for call in draft.outputs]
    scheduler = Scheduler(BufferAssignment(arguments=dict(arguments)), again=not native)
    whole = scheduler.routine("function", results, results)
    draft.lines.append(f"{len(whole.steps)} {'' if native else 'NumPy '}calls.")
    return _with_constants(Plan(None, draft.layout, [], [], 0, False, False, draft.lines, whole))


def _with_constants(plan: Plan) -> Plan:
    """A plan that tells of its constant arrays."""
    constants = sum(routine.constants for routine in plan.routines())
    plan.lines.append(f"{constants} constant arrays are made once.")
    return plan


def draft_of(step: Program, *, alike: bool = True, gradients: bool = False, native: bool = False) -> Draft:
    """A recorded step before the passes."""
    count = len(step.update) - len(step.state)  # of the parameters, whose new values come first
    updated = {name for name, _ in step.update[:count]}
    parameters = [p for p in step.parameters if p.name in updated]
    others = [p for p in step.parameters if p.name not in updated] + [b.before for b in step.buffers]
    seen, moved = dict(step.backward), [call for _, call in step.moved()]
    outputs = [call for _, call in step.outputs()]
    asked = [seen[f"d{p.name}"] for p in parameters] if gradients else []
    outputs = [*outputs[: len(outputs) - len(moved)], *asked, *moved]
    m, length = step.trace.m, step.trace.length
    return Draft(outputs, step.data, others, parameters, step.state, len(asked), m, length, alike, native)


def _last(name: str, draft: Draft, buffers: BufferAssignment, m: int | None) -> Routine:
    """The routine that ends with the update."""
    rate = buffer("learning_rate", (), float, Place.GIVEN)
    returned = [*buffers.new_counts, *buffers.kept]
    wanted = [*results_of(draft), *returned]
    scheduler = Scheduler(buffers, draft.examples, m, notes=draft.notes, again=not draft.native)
    return scheduler.routine(name, wanted, returned, draft.cost, [rate, *buffers.counts.values()])


def _tile(result: Plan, draft: Draft, m: int, tile: int | None) -> None:
    """Plan tiles of the examples, or say why there are none."""
    untiled = f"Not tiled: {m} examples fit into the cache, or are too few for tiles that do."
    if tile is None and m < TOO_FEW:
        result.lines.append(untiled)
        return
    sums = draft.axes.sums
    of_columns, of_update, size = with_sums(draft.buffers, sums, draft.layout.size)
    data = {call for call in draft.buffers.arguments if call in draft.axes.axis}

    def columns(width: int) -> Routine:
        return Scheduler(of_columns, draft.examples, width, data, draft.notes).routine("columns", sums)

    entries = sum(math.prod(c.shape) // (draft.examples or 1) * np.dtype(c.dtype).itemsize for c in data)
    bytes_per_example = columns(64).bytes // 64 + entries
    wide = tile or width(m, bytes_per_example)
    if tile is None and not worthwhile(m, wide, bytes_per_example):
        result.lines.append(untiled)
    elif wide >= m:
        result.lines.append("Not tiled: one tile would hold all examples.")
    else:
        result.width, result.sums, result.is_shared = wide, size, m * bytes_per_example > SHARED
        result.tiles = {k: columns(k) for k in sorted({wide, m % wide} - {0}, reverse=True)}
        result.update = _last("update", draft, of_update, m)
        result.lines.append(
            f"{-(-m // wide):,} tiles of {wide:,} examples, {len(result.tiles[wide].steps)} NumPy calls each, and "
            f"{len(result.update.steps)} for the update."
        )
