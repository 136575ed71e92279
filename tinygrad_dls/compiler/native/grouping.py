"""Grouping: in which order the instructions of a loop go through its rows and columns, and what they keep meanwhile.

A loop takes a tile of columns, as many as fit into the first level of the cache. Within a tile, instructions for as
many rows are a group: row by row, and a vector of columns at a time, all of them are computed in registers. Only what
other groups need is kept in the tile. Large products, and large sums of products, are groups of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinygrad_dls.compiler.instructions import Buffer, Instruction
from tinygrad_dls.compiler.lowering import total
from tinygrad_dls.compiler.native.fusing import Fused, Operand, Piece, extent, first_or_new, reads
from tinygrad_dls.compiler.scheduling import total_in_runs

__all__ = ["Group", "Grouping"]

WRITTEN = 8  # rows of a product, or of sums of products, up to which each is written out
CACHE = 32 * 1024  # bytes of a tile
PRODUCTS = (np.dot, np.matmul)


@dataclass(eq=False, slots=True)
class Group:
    """Instructions of a loop that go through the same rows, one row after another.

    Attributes
    ----------
    rows : int
    kernel : str
        ``"product"`` or ``"sums"``: of a large product, or large sums of products, which stands alone.
    instructions : list of Instruction
    """

    rows: int
    kernel: str = ""
    instructions: list[Instruction] = field(default_factory=list)


class Grouping:
    """The groups of a loop.

    Attributes
    ----------
    groups : list of Group
        In order.
    of : dict of Buffer to Group
        By what is made, where.
    places : dict of Buffer to int
        What is kept in the tile, and in which of its places.
    heights : list of int
        The rows of these places.
    tile : int
        The columns of a tile.
    """

    def __init__(self, fused: Fused, piece: Piece) -> None:
        self.fused, self.piece = fused, piece
        self.groups: list[Group] = []
        self.of: dict[Buffer, Group] = {}
        for x in piece.instructions:
            self._place(x)
        self._sink()
        self.places: dict[Buffer, int] = {}
        self.heights: list[int] = []
        self._assign_places()
        self.tile = self._tile()

    def shape(self, x: Buffer) -> tuple[int, int]:
        """Rows and columns, as the loop goes through them."""
        rows, columns = extent(x)
        return (columns, rows) if self.piece.line else (rows, columns)

    def local(self, x: Any) -> Operand | None:
        """What this loop has made, as an operand sees it."""
        found = self.fused.operand(x) if isinstance(x, Buffer) else None
        return found if found is not None and found.base in self.of else None

    def _is_cut(self, y: Buffer, found: Operand) -> bool:
        """Whether an operand shows other rows than were made: the first alone, perhaps, beside each of the others."""
        rows = 0 if found.transposed else self.shape(found.base)[0] - (self.shape(y)[0] - found.ones)
        return bool(found.first or rows)

    def factors(self, x: Instruction) -> tuple[Any, Any, bool]:
        """The rows that are summed; those that they are multiplied by, or None; and whether each is by each."""
        call = x.call
        if call.function not in (*PRODUCTS, total, total_in_runs) or self.fused.numbers.get(call.args[1]) == 1:
            return call.args[0], None, False
        first, second = call.args
        if call.function in PRODUCTS and len(second.shape) == 2:
            return first, self.fused.views[second].args[0], True  # it is a transpose
        return first, second, False

    def _whole(self, x: Instruction) -> tuple[list[Any], str]:
        """The operands of which each row of the result takes all rows; and whether a kernel computes it."""
        kind, rows = self.fused.forms[x.out].kind, self.fused.forms[x.out].rows
        if kind == "product":
            return [x.call.args[1]], "product" if self.shape(x.call.args[1])[0] > WRITTEN else ""
        if kind == "down":
            return reads(x), ""
        if kind == "across":
            _, second, each = self.factors(x)
            if each:
                inner = self.shape(second)[0]
                return [second], "sums" if inner > WRITTEN or rows * inner > 8 * WRITTEN else ""
        return [], ""

    def _place(self, x: Instruction) -> None:
        rows = self.fused.forms[x.out].rows
        whole, kernel = self._whole(x)
        apart = {found.base for y in whole if (found := self.local(y)) is not None} if rows > 1 else set()
        first = 0

        def alike(group: Group) -> bool:
            return group.rows == rows and not group.kernel and not kernel

        for y in reads(x):
            found = self.local(y)
            if found is not None:
                group = self.of[found.base]
                together = alike(group) and not self._is_cut(y, found) and found.base not in apart
                first = max(first, self.groups.index(group) + (not together))
        if kernel == "sums":  # nothing in the loop reads these: at once, then, and what they sum is not kept for long
            self.groups.insert(first, group := Group(rows, kernel))
        else:
            group = first_or_new(self.groups, first, alike, lambda: Group(rows, kernel))
        group.instructions.append(x)
        self.of[x.out] = group

    def _sink(self) -> None:
        """Move what only one later group needs there, where that leaves no more to be kept in the tile."""
        users: dict[Buffer, list[Group]] = {}
        whole: set[Buffer] = set()
        for group in self.groups:
            for x in group.instructions:
                whole |= {found.base for y in self._whole(x)[0] if (found := self.local(y)) is not None}
                for y in reads(x):
                    if (found := self.local(y)) is not None:
                        users.setdefault(found.base, []).append(group)
                        if self._is_cut(y, found) or group.kernel:
                            whole.add(found.base)
        for group in reversed(self.groups):
            for x in reversed(group.instructions[:]):
                later = set(users.get(x.out, ()))
                able = self.fused.forms[x.out].kind in ("entries", "line") and x.out.dtype != bool
                if not able or len(later) != 1 or x.out in whole or x.out in self.fused.stored:
                    continue
                (other,) = later
                bases = [found.base for y in reads(x) if (found := self.local(y)) is not None]
                more = sum(all(user is self.of[y] for user in users[y]) for y in set(bases))
                if other is group or other.rows != group.rows or more > 1:
                    continue
                group.instructions.remove(x)
                other.instructions.insert(0, x)
                self.of[x.out] = other
                for y in bases:
                    users[y].remove(group)
                    users[y].append(other)

    def _shared(self) -> Iterator[tuple[Buffer, int]]:
        """What groups keep for others, and the numbers of these, in order."""
        for i, group in enumerate(self.groups):
            for x in group.instructions:
                if group.kernel == "product":
                    yield x.out, i
                for y in reads(x):
                    found = self.local(y)
                    if found is not None and self.of[found.base] is not group:
                        yield found.base, i

    def _assign_places(self) -> None:
        """Give what is kept a place in the tile, which is free again after the last group that reads it."""
        last = dict(self._shared())
        busy: list[int] = []  # until when places are
        for i, group in enumerate(self.groups):
            for x in group.instructions:
                if x.out not in last:
                    continue
                rows = self.shape(x.out)[0]
                free = [place for place, height in enumerate(self.heights) if height == rows and busy[place] < i]
                if not free:
                    free = [len(busy)]
                    self.heights.append(rows)
                    busy.append(i)
                self.places[x.out], busy[free[0]] = free[0], last[x.out]

    def _tile(self) -> int:
        """The columns of a tile: as many as fit into the first level of the cache, or all; a multiple of 64."""
        columns = self.piece.columns
        given = {y.owner: y.size for x in self.piece.instructions for y in reads(x) if self.local(y) is None}
        rows = sum(self.heights) + sum(size // columns for size in given.values())
        most = max(64, CACHE // max(1, rows * self.fused.dtype.itemsize) // 64 * 64)
        tiles = -(-columns // most)
        return int(-(-columns // tiles // 64) * 64)
