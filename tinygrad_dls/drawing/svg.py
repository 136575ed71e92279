"""A picture as SVG without Graphviz: for a notebook on a computer, or in a browser, where it is not installed.

It has what Graphviz's has: the same boxes, lines and colours, and groups of the same ids and classes, so that the
interactive page takes either. Where things stand is for `tinygrad_dls.drawing.layout` to say; Graphviz, where it is
there, packs large graphs better.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from tinygrad_dls.drawing.boxes import Box
from tinygrad_dls.drawing.dot import FLOW, FONT, STYLES, TONE
from tinygrad_dls.drawing.labels import Label, Matrix, Row, Words, printable
from tinygrad_dls.drawing.layout import ARROW, Layout, Point, laid_out
from tinygrad_dls.drawing.picture import Edge, Picture
from tinygrad_dls.graph.names import shortened

__all__ = ["picture_of"]

MARGIN = 8.0  # around all
ASIDE = (12.0, 6.0)  # in a box, on the sides, and above and below
TITLE = 11.0  # size of the letters of a frame's title, of an edge's text and of the caption
NARROW, WIDE = set("iljtfrI.,:;'|!()[]{}\"/\\- "), set("mwMW@%—")
HIGH = 13.0  # a line of these
TALL = 10.0 + 2 * 2.0  # a row of a matrix
BRACKET = 4.0
HEAD = (8.0, 2.8)  # of an arrow: how long, and half of how wide
CORNER = 12.0  # of what is rounded
RIM = 4.0  # between the two lines around the cost

Sides = tuple[float, float, float, float]


def picture_of(title: str, picture: Picture, labels: Mapping[Box, Label], rankdir: str) -> str:
    """The picture, as one ``<svg>`` element; `rankdir` as for `tinygrad_dls.drawing.dot.digraph`."""
    return "\n".join(_Writer(title, picture, labels, rankdir == "LR").lines())


class _Writer:
    def __init__(self, title: str, picture: Picture, labels: Mapping[Box, Label], sideways: bool) -> None:
        self.title, self.picture, self.labels, self.sideways = title, picture, labels, sideways
        sizes = {box: self._turned(_size(box, labels[box].rows)) for box in picture.boxes}
        texts = {edge: self._turned(_text_size(edge.lines)) for edge in picture.edges}
        titles = {path: _width(shortened(path[-1]), TITLE) for path in picture.modules}
        margins = (12.0, 0.0, 12.0) if not sideways else (12.0, 12.0, 12.0)
        frames = {path: (22.0, w + 24.0) if sideways else (w, 22.0) for path, w in titles.items()}
        self.layout: Layout = laid_out(picture, sizes, texts, frames, margins, sideways)

    def _turned(self, size: Point) -> Point:
        """Of (x, y), (across, along); and back."""
        return (size[1], size[0]) if self.sideways else size

    def _sides(self, sides: Sides) -> Sides:
        left, top, right, bottom = sides
        return (top, left, bottom, right) if self.sideways else sides

    # -- the whole ----------------------------------------------------------------------------------------------------

    def lines(self) -> Iterator[str]:
        width, height = self._turned(self.layout.size)
        caption = "; ".join(self.picture.notes)
        across = max(width, _width(caption, TITLE)) + 2 * MARGIN
        along = height + 2 * MARGIN + (20.0 if caption else 0.0)
        x = (across - width) / 2
        yield (
            f'<svg width="{across:.0f}pt" height="{along:.0f}pt" viewBox="0 0 {across:.0f} {along:.0f}" '
            f'xmlns="http://www.w3.org/2000/svg" font-family="{FONT}">'
        )
        yield f'<g id="graph0" class="graph" transform="translate({x:.2f} {MARGIN:.2f})">'
        yield f"<title>{_escaped(self.title)}</title>"
        if caption:
            yield _text((width / 2, height + 20.0), caption, TITLE, TONE)
        for path, sides in sorted(self.layout.frames.items(), key=lambda item: len(item[0])):
            yield from self._frame(path, self._sides(sides))
        for edge in self.picture.edges:
            yield from self._edge(edge)
        for box in self.picture.boxes:
            yield from self._box(box, self._sides(self.layout.boxes[box]))
        yield "</g>"
        yield "</svg>"

    def _frame(self, path: tuple[str, ...], sides: Sides) -> Iterator[str]:
        left, top, *_ = sides
        shape = f'fill="#808080" fill-opacity="0.1" stroke="{TONE}" stroke-width="0.7"'
        words = shortened(path[-1])
        yield f'<g id="{self.picture.modules[path]}" class="cluster module"><title>{_escaped(path[-1])}</title>'
        yield f'<path {shape} d="{_rounded(sides)}"/>'
        yield _text((left + 8 + _width(words, TITLE) / 2, top + 15), words, TITLE, TONE)
        yield "</g>"

    # -- boxes --------------------------------------------------------------------------------------------------------

    def _box(self, box: Box, sides: Sides) -> Iterator[str]:
        style, rows = STYLES[box.kind], self.labels[box].rows
        kind = {"module": "value"}.get(box.kind, box.kind)
        yield f'<g id="{box.id}" class="node {kind}"><title>{_escaped(self.labels[box].tooltip)}</title>'
        look = f'fill="{style["fillcolor"]}" stroke="{style["color"]}" stroke-width="{style.get("penwidth", "1")}"'
        left, top, right, bottom = sides
        if style["shape"] == "ellipse":
            x, y = (left + right) / 2, (top + bottom) / 2
            yield f'<ellipse {look} cx="{x:.2f}" cy="{y:.2f}" rx="{right - x:.2f}" ry="{bottom - y:.2f}"/>'
        elif "rounded" in style["style"]:
            if "peripheries" in style:
                yield f'<path {look.replace(style["fillcolor"], "none")} d="{_rounded(sides)}"/>'
                sides = (left + RIM, top + RIM, right - RIM, bottom - RIM)
            yield f'<path {look} d="{_rounded(sides)}"/>'
        else:
            deep = RIM if style["shape"] == "box3d" else 0.0
            if deep:
                back = [(left, top + deep), (left + deep, top), (right, top), (right, bottom - deep)]
                yield f'<polygon {look} points="{_joined([*back, (right - deep, bottom), (left, bottom)])}"/>'
                lines = [(left, top + deep), (right - deep, top + deep), (right - deep, bottom)]
                yield f'<polyline fill="none" stroke="{style["color"]}" points="{_joined(lines)}"/>'
                corner = [(right - deep, top + deep), (right, top)]
                yield f'<polyline fill="none" stroke="{style["color"]}" points="{_joined(corner)}"/>'
            else:
                corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
                yield f'<polygon {look} points="{_joined(corners)}"/>'
        heights = [_row_size(row)[1] for row in rows]
        y = (top + bottom - sum(heights)) / 2
        for row, height in zip(rows, heights, strict=True):
            yield from _row(row, (left + right) / 2, y, height)
            y += height
        yield "</g>"

    # -- edges --------------------------------------------------------------------------------------------------------

    def _edge(self, edge: Edge) -> Iterator[str]:
        color = FLOW if edge.backward else TONE
        points, is_straight = self._points(edge), edge in self.layout.straight
        if edge.backward:  # the arrow is where the gradient arrives
            points.reverse()
        tip, before = points[-1], points[-2]
        if not is_straight:  # it arrives upright
            before = (before[0], tip[1]) if self.sideways else (tip[0], before[1])
        base, corners = _arrow(before, tip)
        dashed = ' stroke-dasharray="5,2"' if edge.backward and self.picture.direction == "both" else ""
        way = "backward" if edge.backward else "forward"
        yield f'<g id="{edge.id}" class="edge {way}"><title>{_escaped(edge.tooltip)}</title>'
        yield f'<path fill="none" stroke="{color}"{dashed} d="{self._curve([*points[:-1], base], is_straight)}"/>'
        yield f'<polygon fill="{color}" stroke="{color}" points="{_joined(corners)}"/>'
        if edge.lines:
            x, y = self._turned(self.layout.texts[edge])
            top = y - HIGH * len(edge.lines) / 2
            for i, line in enumerate(edge.lines):
                yield _text((x, top + HIGH * (i + 0.78)), line, TITLE, color)
        yield "</g>"

    def _points(self, edge: Edge) -> list[Point]:
        """The points of an edge, from its tail to its head."""
        line, across = self.layout.lines[edge], edge in self.layout.straight
        first = _met(edge.tail, self.layout.boxes[edge.tail], line[0], across)
        last = _met(edge.head, self.layout.boxes[edge.head], line[-1], across)
        if across:
            return [self._turned(first), self._turned(last)]
        return [self._turned(point) for point in (*_way_out(first, line[0]), *line, *_way_out(last, line[-1])[::-1])]

    def _curve(self, points: Sequence[Point], is_straight: bool) -> str:
        text = f"M{_point(points[0])}"
        for one, other in pairwise(points):
            if is_straight:
                bends = [one, other]
            elif self.sideways:
                middle = (one[0] + other[0]) / 2
                bends = [(middle, one[1]), (middle, other[1])]
            else:
                middle = (one[1] + other[1]) / 2
                bends = [(one[0], middle), (other[0], middle)]
            text += "C" + " ".join(map(_point, [*bends, other]))
        return text


# -- sizes ------------------------------------------------------------------------------------------------------------


def _size(box: Box, rows: Sequence[Row]) -> Point:
    """How large a box is, in x and y."""
    sizes = [_row_size(row) for row in rows]
    width, height = max(x for x, _ in sizes) + 2 * ASIDE[0], sum(y for _, y in sizes) + 2 * ASIDE[1]
    style = STYLES[box.kind]
    if style["shape"] == "ellipse":  # what has its corners on the rim is as much wider as it is higher
        return (width - ASIDE[0]) * math.sqrt(2), height * math.sqrt(2)
    more = 2 * RIM if "peripheries" in style else 0.0
    return width + more, height + more


def _row_size(row: Row) -> Point:
    if isinstance(row, Matrix):
        columns, before = _columns(row)
        return before + sum(columns) + 2 * BRACKET + 4, TALL * len(row.entries) + 4
    width = sum(_width(words.text, 10 if words.small else 13, words.bold) for words in row)
    return width, 14.0 if row[0].small else 17.0


def _columns(row: Matrix) -> tuple[list[float], float]:
    """How wide the columns of a matrix are, and what stands before it."""
    columns = [max(_width(entry, 10) for entry in column) + 6 for column in zip(*row.entries, strict=True)]
    return columns, _width(row.before, 10)


def _text_size(lines: Sequence[str]) -> Point:
    return max((_width(line, TITLE) for line in lines), default=0.0), HIGH * len(lines)


def _width(text: str, size: float, bold: bool = False) -> float:
    """About as wide as the text is in Helvetica, and rather more: what a font has in its place may be wider."""
    widths = (0.33 if c in NARROW else 0.86 if c in WIDE else 0.7 if c.isupper() else 0.57 for c in text)
    return size * sum(widths) * (1.06 if bold else 1.0)


# -- pieces -----------------------------------------------------------------------------------------------------------


def _row(row: Row, x: float, y: float, height: float) -> Iterator[str]:
    """A line of a box, around x and below y."""
    if not isinstance(row, Matrix):
        pieces = "".join(_piece(words) for words in row)
        base = y + height - 4
        yield f'<text x="{x:.2f}" y="{base:.2f}" text-anchor="middle" xml:space="preserve">{pieces}</text>'
        return
    columns, before = _columns(row)
    left = x - _row_size(row)[0] / 2
    bottom = y + TALL * len(row.entries)
    if row.before:
        yield _text((left + before / 2, (y + bottom) / 2 + 3.5), row.before, 10, row.color)
    left += before
    right = left + sum(columns) + 2 * BRACKET
    for side, inwards in ((left, BRACKET), (right, -BRACKET)):
        corners = [(side + inwards, y + 1), (side, y + 1), (side, bottom - 1), (side + inwards, bottom - 1)]
        yield f'<polyline fill="none" stroke="{row.color}" points="{_joined(corners)}"/>'
    for i, entries in enumerate(row.entries):
        at = left + BRACKET
        for entry, column in zip(entries, columns, strict=True):
            at += column
            yield _text((at - 3, y + TALL * i + 10.5), entry, 10, row.color, "end")


def _piece(words: Words) -> str:
    weight = ' font-weight="bold"' if words.bold else ""
    return f'<tspan font-size="{10 if words.small else 13}" fill="{words.color}"{weight}>{_escaped(words.text)}</tspan>'


def _text(at: Point, text: str, size: float, color: str, anchor: str = "middle") -> str:
    place = f'x="{at[0]:.2f}" y="{at[1]:.2f}" text-anchor="{anchor}"'
    return f'<text {place} font-size="{size:g}" fill="{color}" xml:space="preserve">{_escaped(text)}</text>'


def _escaped(text: str) -> str:
    return html.escape(printable(text))


def _met(box: Box, sides: Sides, to: Point, across: bool) -> Point:
    """Where an edge to a point leaves a box, or arrives at it; all across and along."""
    axis = 0 if across else 1
    middle = ((sides[0] + sides[2]) / 2, (sides[1] + sides[3]) / 2)
    half = (sides[2] - middle[0], sides[3] - middle[1])
    round_ = STYLES[box.kind]["shape"] == "ellipse"
    room = half[1 - axis] * 0.6 if round_ else max(half[1 - axis] - CORNER, 0.0)
    aside = min(max(to[1 - axis] - middle[1 - axis], -room), room)
    reach = half[axis] * (math.sqrt(1 - (aside / half[1 - axis]) ** 2) if round_ else 1.0)
    at = middle[axis] + (reach if to[axis] > middle[axis] else -reach)
    return (at, middle[1] + aside) if across else (middle[0] + aside, at)


def _way_out(end: Point, to: Point) -> list[Point]:
    """From a box straight to where its row ends, as there may be something longer beside it."""
    stop = to[1] + math.copysign(ARROW, end[1] - to[1])
    return [end, (end[0], stop)] if abs(stop - end[1]) > 1 else [end]


def _arrow(before: Point, tip: Point) -> tuple[Point, list[Point]]:
    """Where the line ends, and the corners of the arrow's head."""
    dx, dy = tip[0] - before[0], tip[1] - before[1]
    apart = math.hypot(dx, dy) or 1.0
    ux, uy = dx / apart, dy / apart
    long, wide = HEAD
    base = (tip[0] - long * ux, tip[1] - long * uy)
    return base, [tip, (base[0] - wide * uy, base[1] + wide * ux), (base[0] + wide * uy, base[1] - wide * ux)]


def _rounded(sides: Sides) -> str:
    """A rectangle with round corners, as a path of curves, which the page reads."""
    left, top, right, bottom = sides
    r = min(CORNER, (right - left) / 2, (bottom - top) / 2)
    corners = [
        ((left, top + r), (left, top), (left + r, top)),
        ((right - r, top), (right, top), (right, top + r)),
        ((right, bottom - r), (right, bottom), (right - r, bottom)),
        ((left + r, bottom), (left, bottom), (left, bottom - r)),
    ]
    text = f"M{_point(corners[-1][2])}"
    at = corners[-1][2]
    for start, corner, end in corners:
        text += "C" + " ".join(map(_point, [at, start, start])) + "C" + " ".join(map(_point, [corner, corner, end]))
        at = end
    return text


def _point(point: Point) -> str:
    return f"{point[0]:.2f},{point[1]:.2f}"


def _joined(points: Sequence[Point]) -> str:
    return " ".join(map(_point, points))
