"""A picture in the DOT language of Graphviz: colours and shapes, and where things may stand.

The package `graphviz` writes the text, with its quotes; this says what is in it, from the picture alone and in its
order: the same model gives the same text in every process.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import graphviz

from tinygrad_dls.drawing.boxes import Box
from tinygrad_dls.drawing.labels import DARK, Label, Matrix, Row, Words, printable
from tinygrad_dls.drawing.picture import LEAVES, Edge, Picture, shared, sides_of
from tinygrad_dls.drawing.ranks import Modules
from tinygrad_dls.graph.names import shortened

__all__ = ["FLOW", "FONT", "STYLES", "TONE", "digraph"]

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
STRETCH = "<TD></TD>" * 4  # Graphviz widens all columns of a table alike: empty ones around a matrix take most of it
FONT = "Helvetica,Arial,sans-serif"
BEND = {"shape": "point", "width": "0.01", "height": "0.01", "label": "", "style": "invis"}  # of an edge led around
SPACE = "\N{NO-BREAK SPACE}"
GOES_ON = "\\\n"  # a string of DOT, in the next line


def digraph(title: str, picture: Picture, labels: Mapping[Box, Label], rankdir: str = "TB") -> graphviz.Digraph:
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
    sides = sides_of(picture)
    if rankdir == "LR" and picture.direction == "both":  # two edges in a column would have their texts in one place
        sides = {box: side for box, side in sides.items() if box.kind == "input"}
    _fill(whole, (), picture, labels, sides)
    led_around = {edge.tail for edge in picture.edges if edge.detour}
    for one in picture.edges:
        if one.detour:
            below = [edge.head.id for edge in picture.edges if edge.tail is one.tail and _leaves_a_frame(edge)]
            _add_detour(whole, one, picture.direction, below)
        else:
            _add_edge(whole, one, picture.direction, sides, far=one.tail in led_around and _leaves_a_frame(one))
    return whole


def _fill(
    graph: graphviz.Digraph, path: Modules, picture: Picture, labels: Mapping[Box, Label], sides: dict[Box, str]
) -> None:
    """Add the boxes that stand directly in a module, the modules in it, and the bends of edges that pass these."""
    opened = set()
    for box in picture.boxes:
        inner = box.modules[: len(path) + 1]
        if box.modules == path:
            graph.node(box.id, **_attributes_of(box, labels[box]))
            if box in sides:
                _in_a_row(graph, box.id, picture.users[box][0].id)
        elif box.modules[: len(path)] == path and inner not in opened:
            opened.add(inner)
            with graph.subgraph(name=f"cluster_{picture.modules[inner]}", graph_attr=_frame(inner, picture)) as frame:
                _fill(frame, inner, picture, labels, sides)
    for edge in picture.edges:
        if edge.detour and shared(edge.tail.modules, edge.head.modules) == path:
            for bend in _bends(edge):
                graph.node(bend, **BEND)


def _frame(path: Modules, picture: Picture) -> dict[str, str]:
    return {
        "id": picture.modules[path], "class": "module", "label": _text(shortened(path[-1])), "tooltip": _text(path[-1]),
        "labelloc": "t", "labeljust": "l", "margin": "12", "style": "filled,rounded", "fillcolor": "#8080801A",
        "color": TONE, "penwidth": "0.7",
    }  # fmt: skip


def _in_a_row(graph: graphviz.Digraph, *ids: str) -> None:
    with graph.subgraph() as row:
        row.attr(rank="same")
        for id in ids:
            row.node(id)


def _attributes_of(box: Box, says: Label) -> dict[str, str]:
    kind = {"module": "value"}.get(box.kind, box.kind)
    label = "".join(f'<TR><TD ALIGN="CENTER">{_html(row)}</TD></TR>' for row in says.rows)
    table = f'<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="0" CELLPADDING="1">{label}</TABLE>'
    tooltip = _text(says.tooltip)
    return {"id": box.id, "class": kind, **STYLES[box.kind], "tooltip": tooltip, "label": f"<{table}>"}


def _html(row: Row) -> str:
    """A line of a box in DOT's HTML."""
    if not isinstance(row, Matrix):
        return "".join(map(_words, row))
    cells = "".join(
        "<TR>" + "".join(f'<TD ALIGN="RIGHT">{_small(entry, row.color)}</TD>' for entry in entries) + "</TR>"
        for entries in row.entries
    )
    entries_of = f'<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="0" CELLPADDING="2">{cells}</TABLE>'
    left, right = (
        f'<TD BORDER="1" SIDES="{side}TB" COLOR="{row.color}" WIDTH="4" FIXEDSIZE="TRUE" HEIGHT="1"></TD>'
        for side in "LR"
    )
    matrix = (
        f'<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="0" CELLPADDING="0">'
        f"<TR>{left}<TD>{entries_of}</TD>{right}</TR></TABLE>"
    )
    named = f"<TD>{_small(row.before, row.color)}</TD>" if row.before else ""
    whole = f"<TR>{STRETCH}{named}<TD>{matrix}</TD>{STRETCH}</TR>"
    return f'<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="0" CELLPADDING="0">{whole}</TABLE>'


def _words(words: Words) -> str:
    if words.small:
        return _small(words.text, words.color)
    return f"<B>{_escaped(words.text)}</B>" if words.bold else _escaped(words.text)


def _small(text: str, color: str) -> str:
    return f'<FONT POINT-SIZE="10" COLOR="{color}">{_escaped(text)}</FONT>'


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
    parts = [printable(text[i : i + LONGEST]) for i in range(0, len(text), LONGEST)]
    written = [graphviz.escape(part).replace("&", "&amp;").replace("\n", "\\n") for part in parts]
    # The package looks for the last of many backslashes in a time that grows with the square of their number.
    whole = re.sub(r"((?:\\\\){50})", lambda many: many[1] + GOES_ON, GOES_ON.join(written))
    not_html: str = graphviz.nohtml(whole)
    return not_html


def _escaped(text: str) -> str:
    """Text in a label of DOT's HTML."""
    text = printable(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
    return text.replace("\n", "<BR/>")
