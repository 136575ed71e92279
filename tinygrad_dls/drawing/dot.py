"""A picture in the DOT language of Graphviz: colours and shapes, what stands in a box, and where things may stand.

The package `graphviz` writes the text, with its quotes; this says what is in it, from the picture alone and in its
order: the same model gives the same text in every process.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import graphviz

from tinygrad_dls.drawing.boxes import Box
from tinygrad_dls.drawing.formulas import formula
from tinygrad_dls.drawing.numbers import entries, in_words, shape_in_words
from tinygrad_dls.drawing.picture import LISTED, Edge, Picture, equation
from tinygrad_dls.drawing.ranks import Modules
from tinygrad_dls.graph.names import shortened
from tinygrad_dls.graph.node import Node
from tinygrad_dls.nn.module import Parameter

__all__ = ["digraph"]

LONGEST = 3000  # characters of a line of a string: five times as many, as they may become, is as long as Graphviz reads
MANY = 200  # boxes above which the layout is told to stop improving: seconds instead of half a minute

# Okabe and Ito's colours, which a colour-blind eye tells apart: a tint behind dark text, and a tone for strokes that is
# as far from white as from the #1e1e1e of a dark page. Each kind has a shape of its own too.
STYLES = {
    "parameter": {"shape": "box", "style": "filled", "fillcolor": "#FBE3B4", "color": "#B97E00"},
    "input": {
        "shape": "ellipse", "style": "filled", "fillcolor": "#D5ECFB", "color": "#2F8DC4", "margin": "0.05,0.03"
    },
    "value": {"shape": "box", "style": "filled,rounded", "fillcolor": "#D9F0E8", "color": "#078C67"},
    "cost": {
        "shape": "box", "style": "filled,rounded", "fillcolor": "#F5DCEA", "color": "#B8608F", "peripheries": "2",
        "penwidth": "1.6",
    },
    "module": {"shape": "box3d", "style": "filled", "fillcolor": "#EBEBEB", "color": "#7D7D7D"},
}  # fmt: skip
TONE, FLOW = "#7D7D7D", "#D55E00"  # of the forward edges and captions; of the gradients
DARK, QUIET, GRADIENT = "#1A1A1A", "#555555", "#963C00"  # text on a tint
ABOVE = ("cost", "value", "input", "parameter")  # which of its inputs an op stands below, in this order
LEAVES = ABOVE[2:]
STRETCH = "<TD></TD>" * 4  # Graphviz widens all columns of a table alike: empty ones around a matrix take most of it
FONT = "Helvetica,Arial,sans-serif"
BEND = {"shape": "point", "width": "0.01", "height": "0.01", "label": "", "style": "invis"}  # of an edge led around
SPACE = "\N{NO-BREAK SPACE}"
GOES_ON = "\\\n"  # a string of DOT, in the next line


def digraph(title: str, picture: Picture, rankdir: str = "TB") -> graphviz.Digraph:
    """The whole graph; `rankdir` is ``"TB"``, from top to bottom, or ``"LR"``, from left to right."""
    graph = {
        "bgcolor": "transparent", "fontname": FONT, "fontsize": "11", "fontcolor": TONE, "rankdir": rankdir,
        "nodesep": "0.3", "ranksep": "0.35", "labelloc": "b", "tooltip": _text(title),
    }  # fmt: skip
    if len(picture.boxes) > MANY:
        graph |= {"nslimit": "2", "nslimit1": "2"}
    if picture.notes:
        graph["label"] = _text("; ".join(picture.notes))
    if any(edge.detour for edge in picture.edges):
        graph["newrank"] = "true"  # then a box and the bend of an edge may share a row across the frame between them
    node = {
        "fontname": FONT, "fontsize": "13", "fontcolor": DARK, "margin": "0.16,0.06", "height": "0", "width": "0"
    }  # fmt: skip
    edge = {"fontname": FONT, "fontsize": "11", "color": TONE, "fontcolor": TONE, "arrowsize": "0.7"}
    whole = graphviz.Digraph(_text(shortened(title)), graph_attr=graph, node_attr=node, edge_attr=edge)
    sides = _sides(picture)
    if rankdir == "LR" and picture.direction == "both":  # two edges in a column would have their texts in one place
        sides = {box: side for box, side in sides.items() if box.kind == "input"}
    _fill(whole, (), picture, sides)
    led_around = {edge.tail for edge in picture.edges if edge.detour}
    for one in picture.edges:
        if one.detour:
            below = [edge.head.id for edge in picture.edges if edge.tail is one.tail and _leaves_a_frame(edge)]
            _add_detour(whole, one, picture.direction, below)
        else:
            _add_edge(whole, one, picture.direction, sides, far=one.tail in led_around and _leaves_a_frame(one))
    return whole


def _sides(picture: Picture) -> dict[Box, str]:
    """The leaves that stand beside the op that uses them, as in its formula: W on its left, and b on its right.

    What else an op uses stands above it. So what is computed makes a column, however deep the network is.
    """
    sides: dict[Box, str] = {}
    for head in picture.boxes:
        inputs = [] if head.title else [x for x in head.nodes[0].inputs if isinstance(x, Node)]
        above = min(range(len(inputs)), key=lambda i: ABOVE.index(inputs[i].kind), default=0)
        for i, side in ((above - 1, "left"), (above + 1, "right")):
            box = picture.box_of.get(inputs[i]) if 0 <= i < len(inputs) and inputs[i] is not inputs[above] else None
            if box and box.kind in LEAVES and box.modules == head.modules and set(picture.users[box]) == {head}:
                sides[box] = side
    return sides


def _fill(graph: graphviz.Digraph, path: Modules, picture: Picture, sides: dict[Box, str]) -> None:
    """Add the boxes that stand directly in a module, the modules in it, and the bends of edges that pass these."""
    opened = set()
    for box in picture.boxes:
        inner = box.modules[: len(path) + 1]
        if box.modules == path:
            graph.node(box.id, **_attributes_of(box, picture))
            if box in sides:
                _in_a_row(graph, box.id, picture.users[box][0].id)
        elif box.modules[: len(path)] == path and inner not in opened:
            opened.add(inner)
            with graph.subgraph(name=f"cluster_{picture.modules[inner]}", graph_attr=_frame(inner, picture)) as frame:
                _fill(frame, inner, picture, sides)
    for edge in picture.edges:
        if edge.detour and _shared(edge.tail.modules, edge.head.modules) == path:
            for bend in _bends(edge):
                graph.node(bend, **BEND)


def _frame(path: Modules, picture: Picture) -> dict[str, str]:
    return {
        "id": picture.modules[path], "class": "module", "label": _text(shortened(path[-1])), "tooltip": _text(path[-1]),
        "labelloc": "t", "labeljust": "l", "margin": "12", "style": "filled,rounded", "fillcolor": "#8080801A",
        "color": TONE, "penwidth": "0.7",
    }  # fmt: skip


def _shared(one: Modules, other: Modules) -> Modules:
    end = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return one[:end]


def _in_a_row(graph: graphviz.Digraph, *ids: str) -> None:
    with graph.subgraph() as row:
        row.attr(rank="same")
        for id in ids:
            row.node(id)


def _attributes_of(box: Box, picture: Picture) -> dict[str, str]:
    kind = {"module": "value"}.get(box.kind, box.kind)
    label = "".join(f'<TR><TD ALIGN="CENTER">{row}</TD></TR>' for row in _rows(box, picture))
    table = f'<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="0" CELLPADDING="1">{label}</TABLE>'
    tooltip = _text("\n".join(_tooltip(box, picture)))
    return {"id": box.id, "class": kind, **STYLES[box.kind], "tooltip": tooltip, "label": f"<{table}>"}


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


def _rows(box: Box, picture: Picture) -> Iterator[str]:
    """The lines of a box."""
    if box.title:
        yield f"<B>{_escaped(shortened(box.title))}</B>"
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
    equals = f" = {_escaped(formula(node))}" if node.op and not backward else ""
    yield f"<B>{_escaped(('d' if backward else '') + shortened(node.name))}</B>{equals}"
    kind = "frozen" if _kind_in_words(node) == "frozen parameter" else "" if backward else node.op
    if equals.startswith(f" = {node.op}("):
        kind = ""  # it is there already
    yield _small(" · ".join(filter(None, [kind, shape_in_words(node), str(node.x.dtype)])))
    if not backward and (picture.with_values or isinstance(node.x, Parameter)):
        yield _numbers("", node.x, QUIET)
    if picture.has_gradients and node.kind != "input" and node.x._grad is not None:
        yield _numbers("" if backward else f"d{shortened(node.name)}", node.x._grad, GRADIENT)


def _small(text: str, color: str = QUIET) -> str:
    return f'<FONT POINT-SIZE="10" COLOR="{color}">{_escaped(text)}</FONT>'


def _numbers(name: str, x: Any, color: str) -> str:
    """A small array as a matrix, a larger one in words."""
    rows = entries(x)
    if rows is None:
        return _small((f"{name}: " if name else "") + in_words(x), color)
    before = f"{name} = " if name else ""
    if len(rows) == len(rows[0]) == 1:
        return _small(before + in_words(x), color)
    cells = "".join(
        "<TR>" + "".join(f'<TD ALIGN="RIGHT">{_small(entry, color)}</TD>' for entry in row) + "</TR>" for row in rows
    )
    entries_of = f'<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="0" CELLPADDING="2">{cells}</TABLE>'
    left, right = (
        f'<TD BORDER="1" SIDES="{side}TB" COLOR="{color}" WIDTH="4" FIXEDSIZE="TRUE" HEIGHT="1"></TD>' for side in "LR"
    )
    matrix = (
        f'<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="0" CELLPADDING="0">'
        f"<TR>{left}<TD>{entries_of}</TD>{right}</TR></TABLE>"
    )
    named = f"<TD>{_small(before, color)}</TD>" if before else ""
    row = f"<TR>{STRETCH}{named}<TD>{matrix}</TD>{STRETCH}</TR>"
    return f'<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="0" CELLPADDING="0">{row}</TABLE>'


# -- edges ------------------------------------------------------------------------------------------------------------


def _add_edge(graph: graphviz.Digraph, edge: Edge, direction: str, sides: dict[Box, str], far: bool) -> None:
    facts = {"id": edge.id, **_look(edge, direction), **_label(edge, direction)}
    # Gradients too are written as the values flow, and what stands on the right is written last, because Graphviz puts
    # the tail of an edge above or to the left. So the arrow is at the tail if one of the two was turned around.
    ends = [edge.tail.id, edge.head.id]
    turned = sides.get(edge.tail) == "right"
    if edge.backward != turned:
        facts["dir"] = "back"
    if edge.tail.kind not in LEAVES and edge.backward == (direction == "backward"):
        facts["weight"] = "10"  # the chain of values is what shall be straight; with both, their gradients beside
    if far:  # a row between two frames, through which the edge gets out that is led around the second one
        facts["minlen"] = "2"
    graph.edge(*(reversed(ends) if turned else ends), **facts)


def _leaves_a_frame(edge: Edge) -> bool:
    return not edge.detour and edge.tail.modules != edge.head.modules


def _add_detour(graph: graphviz.Digraph, edge: Edge, direction: str, below: list[str]) -> None:
    """An edge that passes the frames in its way beside them, and comes in to its head from the side."""
    at_tail, at_head = _bends(edge)
    passing, leaving, arriving = edge.ids
    look = _look(edge, direction)
    to_tail, to_head = ("back", "none") if edge.backward else ("none", "forward")
    graph.edge(edge.tail.id, at_tail, id=leaving, **look, dir=to_tail, headclip="false")
    for id in dict.fromkeys(below):  # the bend is in the row between the frames, above what is in the next one
        graph.edge(at_tail, id, style="invis", weight="0")
    label = _label(edge, direction)
    graph.edge(
        at_tail, at_head, id=passing, **look, **label, dir="none", tailclip="false", headclip="false", weight="20"
    )
    _in_a_row(graph, at_head, edge.head.id)
    graph.edge(at_head, edge.head.id, id=arriving, **look, dir=to_head, tailclip="false")


def _bends(edge: Edge) -> tuple[str, str]:
    return f"{edge.id}-at-tail", f"{edge.id}-at-head"


def _look(edge: Edge, direction: str) -> dict[str, str]:
    tooltip = _text(edge.tooltip)
    look = {"class": "backward" if edge.backward else "forward", "tooltip": tooltip, "labeltooltip": tooltip}
    if edge.backward:
        look |= {"color": FLOW, "fontcolor": FLOW} | ({"style": "dashed"} if direction == "both" else {})
    return look


def _label(edge: Edge, direction: str) -> dict[str, str]:
    # Spaces keep the text off the line; alone, they keep the line off that of the gradient, which has a text.
    lines = edge.lines or ("",) * (direction == "both" and edge.tail.kind != "input")
    return {"label": _text("\n".join(SPACE + line + SPACE for line in lines))} if lines else {}


# -- texts ------------------------------------------------------------------------------------------------------------


def _text(text: str) -> str:
    """A string of DOT that stands for the text as it is: DOT knows escapes, entities of HTML, and lines that go on."""
    parts = [_printable(text[i : i + LONGEST]) for i in range(0, len(text), LONGEST)]
    written = [graphviz.escape(part).replace("&", "&amp;").replace("\n", "\\n") for part in parts]
    # The package looks for the last of many backslashes in a time that grows with the square of their number.
    whole = re.sub(r"((?:\\\\){50})", lambda many: many[1] + GOES_ON, GOES_ON.join(written))
    not_html: str = graphviz.nohtml(whole)
    return not_html


def _escaped(text: str) -> str:
    """Text in a label of DOT's HTML."""
    text = _printable(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
    return text.replace("\n", "<BR/>")


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() or c in "\n\N{NO-BREAK SPACE}" else "\ufffd" for c in text)
