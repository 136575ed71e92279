"""What stands in a box of a picture: its lines, as text and as small matrices, and what its tooltip says.

Two writers put it down, each in its own language: `tinygrad_dls.drawing.dot` for Graphviz, and
`tinygrad_dls.drawing.svg` where there is none.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from tinygrad_dls.drawing.boxes import Box
from tinygrad_dls.drawing.formulas import formula
from tinygrad_dls.drawing.numbers import entries, in_words, shape_in_words
from tinygrad_dls.drawing.picture import LISTED, Picture, equation
from tinygrad_dls.graph.names import shortened
from tinygrad_dls.graph.node import Node
from tinygrad_dls.nn.module import Parameter

__all__ = ["DARK", "Label", "Matrix", "Row", "Words", "labels_of", "printable"]

DARK, QUIET, GRADIENT = "#1A1A1A", "#555555", "#963C00"  # text on a tint


class Words(NamedTuple):
    """A piece of a line."""

    text: str
    color: str = DARK
    bold: bool = False
    small: bool = False


class Matrix(NamedTuple):
    """Numbers in brackets, with what stands before these."""

    before: str
    entries: list[list[str]]
    color: str


Row = tuple[Words, ...] | Matrix


class Label(NamedTuple):
    """What a box says: its lines, and all that is known of it."""

    rows: tuple[Row, ...]
    tooltip: str


def labels_of(picture: Picture) -> dict[Box, Label]:
    """What all boxes say at this moment: training changes their arrays."""
    return {box: Label(tuple(_rows(box, picture)), "\n".join(_tooltip(box, picture))) for box in picture.boxes}


def _tooltip(box: Box, picture: Picture) -> Iterator[str]:
    if box.title:
        yield box.title
        yield from (", ".join(filter(None, [equation(node), shape_in_words(node)])) for node in box.nodes[:20])
        if len(box.nodes) > 20:
            yield f"... and {len(box.nodes) - 20:,} more"
        return
    [node] = box.nodes
    yield equation(node)
    what = " ".join(filter(None, [shape_in_words(node), str(node.x.dtype)]))
    yield f"{_kind_in_words(node)}, {what}" + (f", by {node.op}" if node.op else "")
    yield f"value: {picture.value(node)}"
    yield f"gradient: {picture.gradient(node)}"
    if norm := picture.norm(node):
        yield f"norm: {norm}"


def _kind_in_words(node: Node) -> str:
    return "frozen parameter" if node.kind == "input" and isinstance(node.x, Parameter) else node.kind


def _rows(box: Box, picture: Picture) -> Iterator[Row]:
    """The lines of a box."""
    if box.title:
        yield (Words(shortened(box.title), bold=True),)
        parameters = [
            f"{shortened(node.name)} {shape_in_words(node)}".rstrip() for node in box.nodes if node.kind == "parameter"
        ]
        if parameters and not box.title[0].isdigit():
            more = f" and {len(parameters) - LISTED:,} more" if len(parameters) > LISTED else ""
            yield _small(", ".join(parameters[:LISTED]) + more)
        if box.nodes[-1].op:
            yield _small(f"gives {shortened(box.nodes[-1].name)} {shape_in_words(box.nodes[-1])}".rstrip())
        return
    [node] = box.nodes
    backward = picture.direction == "backward"
    equals = f" = {formula(node)}" if node.op and not backward else ""
    name = Words(("d" if backward else "") + shortened(node.name), bold=True)
    yield (name, Words(equals)) if equals else (name,)
    kind = "frozen" if _kind_in_words(node) == "frozen parameter" else "" if backward else node.op
    if equals.startswith(f" = {node.op}("):
        kind = ""  # it is there already
    yield _small(" · ".join(filter(None, [kind, shape_in_words(node), str(node.x.dtype)])))
    if not backward and (picture.with_values or isinstance(node.x, Parameter)):
        yield _numbers("", node.x, QUIET)
    if picture.has_gradients and node.kind != "input" and node.x._grad is not None:
        yield _numbers("" if backward else f"d{shortened(node.name)}", node.x._grad, GRADIENT)


def _small(text: str, color: str = QUIET) -> Row:
    return (Words(text, color, small=True),)


def _numbers(name: str, x: Any, color: str) -> Row:
    """A small array as a matrix, a larger one in words."""
    rows = entries(x)
    if rows is None:
        return _small((f"{name}: " if name else "") + in_words(x), color)
    before = f"{name} = " if name else ""
    if len(rows) == len(rows[0]) == 1:
        return _small(before + in_words(x), color)
    return Matrix(before, rows, color)


def printable(text: str) -> str:
    """With a mark in the place of what no font can show."""
    return "".join(c if c.isprintable() or c in "\n\N{NO-BREAK SPACE}" else "\ufffd" for c in text)
