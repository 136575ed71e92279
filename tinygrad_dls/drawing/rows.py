"""Blocks in rows: in which order they stand, and where, so that the edges between them cross little and are straight.

The orders are those of barycentres (Sugiyama, Tagawa and Toda, 1981). Places are moved towards what they are joined
with, as far as their neighbours allow.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

__all__ = ["LINE", "Block", "Joint", "ordered", "settle", "straighten"]

APART = 22.0  # between two blocks of a row
LINE = 7.0  # on each side of an edge that passes a row
SWEEPS = 8  # after which orders and places change little
BLOCKS = 40_000  # in all sweeps together: seconds


@dataclass(eq=False)
class Block:
    """What has a place in a row.

    `left` and `right` are how far it reaches from its place, and `length` is how much of the way it takes.
    """

    left: float
    right: float
    length: float
    row: int = 0
    place: float = 0.0
    start: float = 0.0  # where it begins on the way
    above: list[Joint] = field(default_factory=list)
    below: list[Joint] = field(default_factory=list)


@dataclass(eq=False)
class Joint:
    """A piece of an edge, from a block to one in the next row; offsets are from the places of the blocks."""

    upper: Block
    lower: Block
    upper_offset: float
    lower_offset: float
    weight: float


B = TypeVar("B", bound=Block)


# -- orders -----------------------------------------------------------------------------------------------------------


def ordered(rows: list[list[B]]) -> list[list[B]]:
    """Each row in an order in which its edges cross little, by where their other ends are."""
    best, kept = _crossings(rows), [list(row) for row in rows]
    for sweep in range(_sweeps(rows)):
        if not best:
            break
        down = sweep % 2 == 0
        at: dict[Block, int] = {}
        for row in rows if down else reversed(rows):
            now: dict[Block, int] = {block: i for i, block in enumerate(row)}
            wanted = {block: _middle(block, at, down, now) for block in row}
            row.sort(key=wanted.__getitem__)
            at.update({block: i for i, block in enumerate(row)})
        found = _crossings(rows)
        if found < best:
            best, kept = found, [list(row) for row in rows]
    return kept


def _sweeps(rows: Sequence[Sequence[Block]]) -> int:
    """How often all blocks are gone through: of very many, less often."""
    return max(1, min(SWEEPS, BLOCKS // max(1, sum(map(len, rows)))))


def _crossings(rows: Sequence[Sequence[Block]]) -> int:
    count = 0
    at: dict[Block, int] = {block: i for row in rows for i, block in enumerate(row)}
    for row in rows:
        ends = sorted(
            ((i, joint.upper_offset), (at[joint.lower], joint.lower_offset))
            for i, block in enumerate(row)
            for joint in block.below
        )
        count += _inversions([lower for _, lower in ends])
    return count


def _middle(block: Block, at: Mapping[Block, int], down: bool, now: Mapping[Block, int]) -> float:
    """Where the other ends of its edges are, on average; a frame's edges in their order along its side."""
    joints = block.above if down else block.below
    found = [
        at[other] + offset * 1e-5
        for joint in joints
        for other, offset in [(joint.upper, joint.upper_offset) if down else (joint.lower, joint.lower_offset)]
        if other in at
    ]
    return sum(found) / len(found) if found else float(now[block])


def _inversions(numbers: Sequence[tuple[int, float]]) -> int:
    """How many pairs stand in the wrong order."""
    if len(numbers) < 2:
        return 0
    middle = len(numbers) // 2
    left, right = numbers[:middle], numbers[middle:]
    count = _inversions(left) + _inversions(right)
    left, right = sorted(left), sorted(right)
    i = 0
    for number in right:
        while i < len(left) and left[i] <= number:
            i += 1
        count += len(left) - i
    return count


# -- places -----------------------------------------------------------------------------------------------------------


def settle(rows: Sequence[Sequence[Block]]) -> None:
    """Give all blocks their places: first all follow what is above them, then what is below, and then both."""
    for row in rows:
        place = 0.0
        for block in row:
            block.place = place + block.left
            place += block.left + block.right + APART
    for sweep in range(3 * _sweeps(rows)):
        for row in rows if sweep % 2 == 0 else rows[::-1]:
            _settle(row, [_wanted(block, sweep) for block in row])


def straighten(rows: Sequence[Sequence[Block]], ways: Iterable[Sequence[Block]]) -> None:
    """Let each edge pass as many rows as it can in one line, with the blocks beside it where they are."""
    at: dict[Block, int] = {block: i for row in rows for i, block in enumerate(row)}
    row_of = {row[0].row: row for row in rows}

    def room(bend: Block) -> tuple[float, float]:
        row, i = row_of[bend.row], at[bend]
        left = row[i - 1].place + row[i - 1].right + _apart(row[i - 1], bend) + bend.left if i else -math.inf
        ends = i + 1 == len(row)
        right = math.inf if ends else row[i + 1].place - row[i + 1].left - _apart(bend, row[i + 1]) - bend.right
        return left, right

    for way in ways:
        run: list[Block] = []
        low, high = -math.inf, math.inf
        for bend in [*way, None]:
            left, right = room(bend) if bend is not None else (math.inf, -math.inf)
            if max(low, left) > min(high, right):
                middle = sum(x.place for x in run) / len(run) if run else 0.0
                for one in run if high >= low else []:
                    one.place = min(max(middle, low), high)
                run, low, high = [], -math.inf, math.inf
            if bend is not None:
                run, low, high = [*run, bend], max(low, left), min(high, right)


def _wanted(block: Block, sweep: int) -> tuple[float, float]:
    """Where a block would stand if it were alone in its row, and how much that matters."""
    total, weights = 0.0, 0.0
    for joint in block.above if sweep != 1 else []:
        total += joint.weight * (joint.upper.place + joint.upper_offset - joint.lower_offset)
        weights += joint.weight
    for joint in block.below if sweep != 0 else []:
        total += joint.weight * (joint.lower.place + joint.lower_offset - joint.upper_offset)
        weights += joint.weight
    return (total / weights, weights) if weights else (block.place, 1e-3)


def _apart(one: Block, other: Block) -> float:
    """How far apart neighbours in a row are at least."""
    return APART if one.length or other.length else LINE


def _settle(row: Sequence[Block], wanted: Sequence[tuple[float, float]]) -> None:
    """Put the blocks of a row as near to where they want to be as their order and their widths allow.

    This is a regression that must not fall: neighbours that would meet are moved together, to their weighted mean.
    """
    shifts: list[float] = []
    for i, block in enumerate(row):
        shifts.append(shifts[-1] + row[i - 1].right + _apart(row[i - 1], block) + block.left if i else 0.0)
    groups: list[tuple[float, float, int]] = []  # mean, weight, how many
    for shift, (place, weight) in zip(shifts, wanted, strict=True):
        mean, total, count = place - shift, weight, 1
        while groups and groups[-1][0] > mean:
            before = groups.pop()
            mean = (before[0] * before[1] + mean * total) / (before[1] + total)
            total, count = before[1] + total, before[2] + count
        groups.append((mean, total, count))
    places: Iterable[float] = (mean for mean, _, count in groups for _ in range(count))
    for block, shift, mean in zip(row, shifts, places, strict=True):
        block.place = mean + shift
