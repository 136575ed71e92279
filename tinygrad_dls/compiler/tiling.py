"""Tiles: whether a program goes through the examples one run of columns after another, and how wide a run is.

Every call is one of four kinds: it works on the examples, each for itself; it sums over them; it comes before these or
after. A program can be tiled if nothing that works on the examples needs a sum over all of them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np

from tinygrad_dls.compiler.augmenting import append_ones
from tinygrad_dls.compiler.buffers import results_of
from tinygrad_dls.compiler.draft import BatchAxes, Draft
from tinygrad_dls.compiler.lowering import total
from tinygrad_dls.ir.call import (
    Call,
    getitem,
    is_plain_reduction,
    is_transpose,
    summed_axes,
    toposort,
)
from tinygrad_dls.ir.functions import ENTRYWISE, FILLED, MATRIX, REDUCTION, row_of

__all__ = ["SHARED", "TOO_FEW", "find_batch_axes", "width", "worthwhile"]

# Measured on a server processor with 1 MB of second-level and 32 MB of third-level cache for each two cores: narrower
# tiles lose more to starting calls, of which two threads wait for each other, than they gain by the faster cache.
CACHE = 2048 * 1024  # bytes of a tile's arrays
SMALL = 4096 * 1024  # bytes of all arrays up to which there are no tiles
SHARED = 32 * 1024 * 1024  # bytes of all arrays from which on threads gain more than they wait for each other
NARROWEST = 256  # columns; below, starting calls and packing the weights for each product cost too much
FEWEST = 8  # tiles, for as many lanes
TOO_FEW = FEWEST // 2 * NARROWEST  # examples below which there are no tiles, however much memory each takes


def find_batch_axes(draft: Draft) -> tuple[Draft, str]:
    """Find the calls that work on the examples and those that sum over them, and whether the program can be tiled."""
    buffers = draft.buffers
    found = _batch_axes([*results_of(draft), *buffers.kept], draft.examples, buffers.plain)
    if any(found.axis.get(call, -1) != -1 for call in buffers.arguments):
        found.reason = found.reason or "the examples are not the columns of all data"
    if any(call.dtype != draft.layout.dtype for call in found.sums):
        found.reason = found.reason or "sums over the examples are not of the parameters' dtype"
    return replace(draft, axes=found), f"Not tiled: {found.reason}." if found.reason and not draft.native else ""


def _batch_axes(outputs: Sequence[Call], m: int | None, plain: Collection[Call]) -> BatchAxes:
    """What the calls that outputs need do to the m examples.

    The lengths of those that are `plain` are no numbers of examples, even if they are multiples of m.
    """
    found = BatchAxes()
    if m is None:
        found.reason = (
            "it cannot be told which axes hold the examples: their number is less than 7 or another length too, or the "
            "program is another one for other numbers of them"
        )
        return found
    after: set[Call] = set()
    for call in toposort(outputs):
        axes = [i - len(call.shape) for i, n in enumerate(call.shape) if n and n % m == 0 and call not in plain]
        args = list(call.calls())
        examples = [x for x in args if x in found.axis]
        if axes and (len(axes) > 1 or call.shape[axes[0]] != m):
            found.reason = f"{_said(call)} has the examples on its axes more than once"
        elif axes:
            found.axis[call] = axes[0]
            if any(x in after for x in args):
                found.reason = f"{_said(call)} needs a sum over all examples before it goes on with each of them"
            elif call.function is not None and not _is_batchwise(call, axes[0], found.axis):
                found.reason = f"{_said(call)} does not work on each example by itself"
        elif examples:
            found.sums.append(call)
            after.add(call)
            if not _reduces_batch(call, found.axis):
                found.reason = f"{_said(call)} takes all examples, but is no sum over them"
        elif any(x in after for x in args):
            after.add(call)
        if found.reason:
            return found
    if not found.sums:
        found.reason = "nothing is summed over the examples"
    elif any(call in found.axis for call in outputs):
        found.reason = "an output holds a column for each example"
    elif len({s.dtype for s in found.sums}) > 1 or any(s.dtype.kind != "f" for s in found.sums):
        found.reason = "the sums over the examples are not of one dtype"
    return found


def _said(call: Call) -> str:
    function = getattr(call.function, "__name__", "")
    return f"{call.name} ({function})" if call.name and function else call.name or f"np.{function}"


def _is_batchwise(call: Call, axis: int, axes: dict[Call, int]) -> bool:
    """Whether a call that works on the examples does to each what it would do to it alone."""
    f = call.function
    row = row_of(f)
    args = [x for x in call.args if isinstance(x, Call)]
    if row.kind is MATRIX:
        a, b = call.args  # of which one may be a constant array
        if len(a.shape) != 2 or len(b.shape) != 2:
            return False
        rows, columns = (isinstance(x, Call) and x in axes for x in (a, b))
        return (axis == -1 and not rows) if columns else axis == -2
    if row.kind is ENTRYWISE:
        return not call.options and all(axes.get(x, axis) == axis for x in args)
    if f is np.transpose:
        return is_transpose(call) and len(call.shape) == 2
    if row.kind is FILLED or f is append_ones:
        return True
    if row.kind is REDUCTION:
        x = args[0]
        across = all(i - len(x.shape) != axes[x] for i in summed_axes(call))
        return is_plain_reduction(call) and across and bool(call.options.get("keepdims"))
    if f is np.broadcast_to:
        return axes.get(args[0], axis) == axis
    if f is getitem:
        index = call.args[1]
        index = index if isinstance(index, tuple) else (index,)
        place = len(args[0].shape) + axes.get(args[0], 0)
        plain = all(isinstance(i, slice) for i in index) and args[0] in axes and axes[args[0]] == axis
        return plain and (place >= len(index) or index[place] == slice(None))
    return False


def _reduces_batch(call: Call, axes: dict[Call, int]) -> bool:
    """Whether a call that takes the examples is the sum of what it makes of some of them, and of the others."""
    f = call.function
    args = [x for x in call.args if isinstance(x, Call)]
    if f is np.dot and len(args) == 2:
        a, b = args
        return axes.get(a) == -1 and axes.get(b) == (-2 if len(b.shape) == 2 else -1)
    if f is total:
        return all(x in axes for x in args) and args[0].shape == args[1].shape
    return f is np.sum and is_plain_reduction(call)


def width(m: int, bytes_per_example: int) -> int:
    """Columns in a tile: what fits into the cache, in multiples of 64; fewer if there were too few tiles."""
    return int(max(NARROWEST, min(CACHE // max(1, bytes_per_example), m // FEWEST) // 64 * 64))


def worthwhile(m: int, width: int, bytes_per_example: int) -> bool:
    """Whether there are several tiles, and the whole does not fit into the cache anyway."""
    return m >= FEWEST // 2 * width and m * bytes_per_example > SMALL
