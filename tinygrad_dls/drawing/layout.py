"""Where boxes, frames and edges stand, where there is no Graphviz to say it.

The one idea: a module is laid out by itself, as a picture of its own, and then is one block among others in the module
around it. Within a module, blocks stand in rows, each below what it uses; an edge that passes rows has a place in each
of them, as a block has, so that it meets neither box nor frame, and its text has a place between two rows. Places in a
row are then moved towards what they are joined with, as far as their neighbours allow.

All is computed `across` the rows and `along` the way from the input to the cost; a picture from left to right is the
same with both exchanged.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from tinygrad_dls.drawing.boxes import Box
from tinygrad_dls.drawing.picture import LEAVES, Edge, Picture, shared, sides_of
from tinygrad_dls.drawing.ranks import Modules
from tinygrad_dls.drawing.rows import LINE, Block, Joint, ordered, settle, straighten

__all__ = ["ARROW", "Layout", "Point", "Size", "laid_out"]

Size = tuple[float, float]  # across and along
Point = tuple[float, float]

BETWEEN = 26.0  # two rows, for an arrow
ARROW = 11.0  # before and after the text of an edge, and from a row of boxes to the next place of an edge
CHAIN = 10.0  # how much more than another edge the chain of values shall be straight


@dataclass(eq=False)
class Unit(Block):
    """What has a place in a row: a box with the leaves beside it, a module, or an edge that passes."""

    boxes: tuple[Box, ...] = ()
    within: Level | None = None


@dataclass(eq=False)
class Layout:
    """Where all is: boxes and frames by their sides, edges by points from tail to head, texts by their middle."""

    boxes: dict[Box, tuple[float, float, float, float]] = field(default_factory=dict)
    frames: dict[Modules, tuple[float, float, float, float]] = field(default_factory=dict)
    lines: dict[Edge, list[Point]] = field(default_factory=dict)
    straight: set[Edge] = field(default_factory=set)  # those across a row, from a leaf to the op that uses it
    texts: dict[Edge, Point] = field(default_factory=dict)
    size: Size = (0.0, 0.0)


@dataclass(frozen=True)
class _Task:
    """What is laid out: the picture, and how large its boxes, texts and frames' margins are, across and along."""

    picture: Picture
    sizes: Mapping[Box, Size]
    texts: Mapping[Edge, Size]
    titles: Mapping[Modules, Size]
    margins: tuple[float, float, float]  # of a frame: on each side across, before and after along
    sideways: bool
    ends: dict[Edge, tuple[Box, Box]]
    beside: dict[Box, Box]  # a leaf, to the op in whose row it stands
    sides: dict[Box, str]


def laid_out(
    picture: Picture,
    sizes: Mapping[Box, Size],
    texts: Mapping[Edge, Size],
    titles: Mapping[Modules, Size],
    margins: tuple[float, float, float],
    sideways: bool,
) -> Layout:
    """The layout of a picture.

    Parameters
    ----------
    picture : Picture
    sizes, texts, titles : mapping
        How large boxes are, the texts of edges, and the least that frames are.
    margins : tuple of float
        Between a frame and what is in it: across, before and after.
    sideways : bool
        Whether the rows are columns: then the text of an edge stands above its line, and not to the right of it.
    """
    sides = sides_of(picture)
    if sideways:  # a row is high there: only what is small stands beside
        sides = {box: side for box, side in sides.items() if box.kind == "input"}
    beside = {box: picture.users[box][0] for box in sides}
    task = _Task(picture, sizes, texts, titles, margins, sideways, {}, beside, sides)
    number = {box: i for i, box in enumerate(picture.boxes)}
    first: dict[Modules, int] = {}
    for box in picture.boxes:
        for end in range(1, len(box.modules) + 1) if box not in beside else ():
            first.setdefault(box.modules[:end], number[box])

    def order(box: Box, level: Modules) -> int:
        return number[box] if box.modules == level else first[box.modules[: len(level) + 1]]

    for edge in picture.edges:  # the upper end, and the lower one: a closed module may use what comes after it
        level = shared(edge.tail.modules, edge.head.modules)
        turned = order(beside.get(edge.tail, edge.tail), level) > order(edge.head, level)
        task.ends[edge] = (edge.head, edge.tail) if turned else (edge.tail, edge.head)
    whole = Level((), task)
    result = Layout(size=(whole.width, whole.length))
    whole.put(result, whole.left, 0.0)
    return result


class Level:
    """A module's own layout: its blocks in rows, and the ways of the edges that begin, end or pass in it."""

    def __init__(self, path: Modules, task: _Task) -> None:
        self.path, self.task = path, task
        self.block_of: dict[Box, Unit] = {}
        self.ways: dict[Edge, list[Unit]] = {}  # the places of an edge, from above
        self.inner: dict[Edge, tuple[Unit | None, Unit | None]] = {}
        self._blocks()
        self._rows()
        self._bends()
        self._across()
        self._along()

    def _blocks(self) -> None:
        task = self.task
        leaves: dict[Box, list[Box]] = defaultdict(list)
        for leaf, head in task.beside.items():
            leaves[head].append(leaf)
        children: dict[Modules, Unit] = {}
        self.blocks: list[Unit] = []
        for box in task.picture.boxes:
            if box.modules[: len(self.path)] != self.path or box in task.beside:
                continue
            if box.modules == self.path:
                block = self._with_leaves(box, leaves[box])
                for part in block.boxes:
                    self.block_of[part] = block
            else:
                inner = box.modules[: len(self.path) + 1]
                if inner not in children:
                    level = Level(inner, task)
                    children[inner] = Unit(level.left, level.width - level.left, level.length, within=level)
                    self.block_of.update(dict.fromkeys(level.block_of, children[inner]))
                    self.blocks.append(children[inner])
                continue
            self.blocks.append(block)

    def _with_leaves(self, box: Box, leaves: list[Box]) -> Unit:
        task = self.task
        half, length = task.sizes[box][0] / 2, task.sizes[box][1]
        reach = {"left": half, "right": half}
        for leaf in leaves:
            reach[task.sides[leaf]] += self._gap(leaf) + task.sizes[leaf][0]
            length = max(length, task.sizes[leaf][1])
        return Unit(reach["left"], reach["right"], length, boxes=(box, *leaves))

    def _gap(self, leaf: Box) -> float:
        widths = [self.task.texts[edge][0] for edge in self._of_leaf(leaf)]
        return max([BETWEEN, *(width + ARROW for width in widths)])

    def _of_leaf(self, leaf: Box) -> list[Edge]:
        return [edge for edge in self.task.picture.edges if edge.tail is leaf]

    # -- rows ---------------------------------------------------------------------------------------------------------

    def _rows(self) -> None:
        """Each block below what it uses; then down to what uses it, where that makes its edges shorter."""
        above: dict[Unit, list[Unit]] = {block: [] for block in self.blocks}
        below: dict[Unit, list[Unit]] = {block: [] for block in self.blocks}
        self.joined: list[tuple[Edge, Unit | None, Unit | None]] = []  # None: it goes on outside
        for edge, (tail, head) in self.task.ends.items():
            upper, lower = self.block_of.get(tail), self.block_of.get(head)
            if upper is lower:
                continue
            self.joined.append((edge, upper, lower))
            if upper is not None and lower is not None:
                above[lower].append(upper)
                below[upper].append(lower)
        for block in self.blocks:
            block.row = max((x.row + 1 for x in above[block]), default=0)
        for block in reversed(self.blocks):
            if below[block] and len(below[block]) >= len(above[block]):
                block.row = max(block.row, min(x.row for x in below[block]) - 1)
        least = min((block.row for block in self.blocks), default=0)
        for block in self.blocks:  # between two rows of blocks there is one of texts
            block.row = 2 * (block.row - least)
        self.last = max((block.row for block in self.blocks), default=0)

    def _bends(self) -> None:
        """A place for each edge in each row that it passes; what comes from outside, or goes there, has one more."""
        for edge, upper, lower in self.joined:
            first = -1 if upper is None else upper.row + 1
            last = self.last + 1 if lower is None else lower.row - 1
            way = [self._bend(row) for row in range(first, last + 1)]
            text = self.task.texts[edge]
            if upper is None or lower is None:  # as wide as it will be outside, so that it gets there straight
                self._make_room(way[0 if upper is None else -1], text)
            else:
                bend = self._with_text(way)
                self._make_room(bend, text)
                bend.length = text[1] + 2 * ARROW if text[0] else 0.0
            self.ways[edge] = way
            chain = edge.tail.kind not in LEAVES and edge.backward == (self.task.picture.direction == "backward")
            straight = CHAIN if chain else 1.0
            tail, head = self.task.ends[edge]
            stops = [x for x in (upper, *way, lower) if x is not None]
            for one, other in pairwise(stops):
                weight = straight * (4.0 if one in way and other in way else 1.0)
                joint = Joint(one, other, self._offset(one, edge, tail), self._offset(other, edge, head), weight)
                one.below.append(joint)
                other.above.append(joint)
            self.blocks += way

    def _bend(self, row: int) -> Unit:
        return Unit(LINE, LINE, 0.0, row=row)

    def _make_room(self, bend: Unit, text: Size) -> None:
        if self.task.sideways:
            bend.left += text[0]
        else:
            bend.right += text[0]

    def _with_text(self, way: list[Unit]) -> Unit:
        """The place of an edge where its text stands: between two rows of boxes, about in the middle."""
        return way[(len(way) - 1) // 4 * 2]

    def _offset(self, block: Unit, edge: Edge, end: Box) -> float:
        """Where an edge leaves or enters a block: a frame where it does within."""
        if block.within is None:
            return 0.0
        way = block.within.ways[edge]
        return (way[-1] if self.task.ends[edge][0] is end else way[0]).place

    # -- across -------------------------------------------------------------------------------------------------------

    def _across(self) -> None:
        rows: dict[int, list[Unit]] = defaultdict(list)
        for block in self.blocks:
            rows[block.row].append(block)
        self.rows = ordered([rows[row] for row in sorted(rows)])
        settle(self.rows)
        straighten(self.rows, self.ways.values())
        everything = self.blocks or [Unit(0, 0, 0)]
        least = min(block.place - block.left for block in everything)
        most = max(block.place + block.right for block in everything)
        side = self.task.margins[0] if self.path else 0.0
        title = self.task.titles.get(self.path, (0.0, 0.0))
        more = max(title[0] - (most - least) - 2 * side, 0.0) if not self.task.sideways else 0.0
        before = title[0] if self.task.sideways else 0.0  # there, the title is above, and so across
        for block in self.blocks:
            block.place += before + side + more / 2 - least
        self.left = 0.0  # places count from its side
        self.width = before + most - least + 2 * side + more

    # -- along --------------------------------------------------------------------------------------------------------

    def _along(self) -> None:
        _, before, after = self.task.margins
        title = self.task.titles.get(self.path, (0.0, 0.0))
        at = before + (0.0 if self.task.sideways else title[1]) if self.path else 0.0
        self.stops: dict[int, tuple[float, float]] = {}
        for row in self.rows:
            number = row[0].row
            length = max(block.length for block in row)
            if number % 2 and 0 < number < self.last:
                length = max(length, BETWEEN)
            elif number % 2:
                length = max(length, 2 * ARROW)
            for block in row:
                block.start = at + (length - block.length) / 2
            self.stops[number] = (at, at + length)
            at += length
        self.length = at + (after if self.path else 0.0)
        if self.path and self.task.sideways:
            self.length = max(self.length, title[1])

    # -- the result ---------------------------------------------------------------------------------------------------

    def put(self, result: Layout, across: float, along: float) -> None:
        """Write down where all is, the corner of this level being there."""
        if self.path:
            result.frames[self.path] = (across, along, across + self.width, along + self.length)
        for block in self.blocks:
            if block.within is not None:
                block.within.put(result, across + block.place, along + block.start)
            elif block.boxes:
                self._put_row(result, block, across + block.place, along + block.start + block.length / 2)
        for edge, upper, lower in self.joined:
            if upper is not None and lower is not None:
                self._put_edge(result, edge, upper, lower, across, along)

    def _put_row(self, result: Layout, block: Unit, across: float, along: float) -> None:
        box, *leaves = block.boxes
        sizes = self.task.sizes

        def put(box: Box, center: float) -> None:
            width, length = sizes[box]
            result.boxes[box] = (center - width / 2, along - length / 2, center + width / 2, along + length / 2)

        put(box, across)
        ends = {"left": across - sizes[box][0] / 2, "right": across + sizes[box][0] / 2}
        for leaf in leaves:
            side = self.task.sides[leaf]
            sign = -1 if side == "left" else 1
            start, gap = ends[side], self._gap(leaf)
            ends[side] = start + sign * (gap + sizes[leaf][0])
            put(leaf, start + sign * (gap + sizes[leaf][0] / 2))
            edges = self._of_leaf(leaf)
            step = max([2 * LINE, *(self.task.texts[edge][1] + 6 for edge in edges)])
            for i, edge in enumerate(edges):
                at = along + (i - (len(edges) - 1) / 2) * step
                result.lines[edge] = [(start + sign * gap, at), (start, at)]
                result.straight.add(edge)
                aside = self.task.texts[edge][1] / 2 + 2
                result.texts[edge] = (start + sign * gap / 2, at + aside if self.task.sideways else at - aside)

    def _put_edge(self, result: Layout, edge: Edge, upper: Unit, lower: Unit, across: float, along: float) -> None:
        tail, head = self.task.ends[edge]
        points = self._points(edge, across, along)
        for block, end in ((upper, tail), (lower, head)):
            level, corner = self, (across, along)
            while block.within is not None:  # straight from the frame to where its row ends
                stop = corner[1] + level.stops[block.row][1 if end is tail else 0]
                corner = (corner[0] + block.place, corner[1] + block.start)
                level = block.within
                inner = level._points(edge, *corner)
                out = (inner[-1 if end is tail else 0][0], stop)
                points = [*inner, out, *points] if end is tail else [*points, out, *inner]
                block = level.block_of[end]  # from the outermost frame inwards
        bend = self._with_text(self.ways[edge])
        width = self.task.texts[edge][0]
        if width:
            aside = width / 2 + (3 if not self.task.sideways else 2)
            at_text = across + bend.place + (-aside if self.task.sideways else aside)
            result.texts[edge] = (at_text, along + sum(self.stops[bend.row]) / 2)
        result.lines[edge] = points if tail is edge.tail else points[::-1]

    def _points(self, edge: Edge, across: float, along: float) -> list[Point]:
        """Where an edge passes the rows of this level: straight through rows of boxes."""
        points: list[Point] = []
        for bend in self.ways[edge]:
            start, end = self.stops[bend.row]
            at = across + bend.place
            if bend.row % 2:  # with room for an arrow before and after
                inset = min(ARROW, (end - start) / 2)
                start, end = start + inset, end - inset
            points += [(at, along + start), (at, along + end)]
        return points
