"""A picture in the DOT language of Graphviz: colours and shapes, what stands in a box, and where things may stand.

The text is made from the picture alone, in its order: the same model gives the same text in every process.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tinygrad_dls.drawing.formulas import formula
from tinygrad_dls.drawing.numbers import entries, in_words
from tinygrad_dls.drawing.picture import LISTED, Box, Edge, Modules, Picture, equation
from tinygrad_dls.graph.names import shortened
from tinygrad_dls.graph.node import Node
from tinygrad_dls.nn.module import Parameter

__all__ = ["dot"]

LONGEST = 3000  # characters of a string: five times as many, as they may become, is as long as Graphviz reads
MANY = 200  # boxes above which the layout is told to stop improving: seconds instead of half a minute

# Okabe and Ito's colours, which a colour-blind eye tells apart: a tint behind dark text, and a tone for strokes that is
# as far from white as from the #1e1e1e of a dark page. Each kind has a shape of its own too.
STYLES = {
    "parameter": 'shape=box, style=filled, fillcolor="#FBE3B4", color="#B97E00"',
    "input": 'shape=ellipse, style=filled, fillcolor="#D5ECFB", color="#2F8DC4", margin="0.05,0.03"',
    "value": 'shape=box, style="filled,rounded", fillcolor="#D9F0E8", color="#078C67"',
    "cost": 'shape=box, style="filled,rounded", fillcolor="#F5DCEA", color="#B8608F", peripheries=2, penwidth=1.6',
    "module": 'shape=box3d, style=filled, fillcolor="#EBEBEB", color="#7D7D7D"',
}
TONE, FLOW = "#7D7D7D", "#D55E00"  # of the forward edges and captions; of the gradients
DARK, QUIET, GRADIENT = "#1A1A1A", "#555555", "#963C00"  # text on a tint
ABOVE = ("cost", "value", "input", "parameter")  # which of its inputs an op stands below, in this order
LEAVES = ABOVE[2:]
STRETCH = "<TD></TD>" * 4  # Graphviz widens all columns of a table alike: empty ones around a matrix take most of it
FONT = "Helvetica,Arial,sans-serif"


def dot(title: str, picture: Picture) -> str:
    """The whole graph in the DOT language."""
    caption = "; ".join(picture.notes)
    sides = _sides(picture)
    hurry = ", nslimit=2, nslimit1=2" if len(picture.boxes) > MANY else ""
    lines = [
        f"digraph {_quoted(shortened(title))} {{",
        f'  graph [bgcolor="transparent", fontname="{FONT}", fontsize=11, fontcolor="{TONE}", rankdir=TB, nodesep=0.3, '
        f"ranksep=0.35, labelloc=b, tooltip={_quoted(title)}"
        + hurry
        + (f", label={_quoted(caption)}" if caption else "")
        + "]",
        f'  node [fontname="{FONT}", fontsize=13, fontcolor="{DARK}", margin="0.16,0.06", height=0, width=0]',
        f'  edge [fontname="{FONT}", fontsize=11, color="{TONE}", fontcolor="{TONE}", arrowsize=0.7]',
        *_within((), picture, sides, "  "),
        *(_edge_line(edge, picture.direction, sides) for edge in picture.edges),
        "}",
    ]
    return "\n".join(lines) + "\n"


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


def _within(path: Modules, picture: Picture, sides: dict[Box, str], indent: str) -> Iterator[str]:
    """The boxes that stand directly in a module, and the modules in it."""
    opened = set()
    for box in picture.boxes:
        inner = box.modules[: len(path) + 1]
        if box.modules == path:
            yield f"{indent}{_quoted(box.id)} [{_attributes_of(box, picture)}]"
            if box in sides:
                yield f"{indent}{{rank=same; {_quoted(box.id)}; {_quoted(picture.users[box][0].id)}}}"
        elif box.modules[: len(path)] == path and inner not in opened:
            opened.add(inner)
            id, title, whole = picture.modules[inner], _quoted(shortened(inner[-1])), _quoted(inner[-1])
            yield f"{indent}subgraph {_quoted(f'cluster_{id}')} {{"
            yield (
                f'{indent}  graph [id={_quoted(id)}, class="module", label={title}, tooltip={whole}, labelloc=t, '
                f'labeljust=l, style="filled,rounded", fillcolor="#8080801A", color="{TONE}", penwidth=0.7]'
            )
            yield from _within(inner, picture, sides, indent + "  ")
            yield f"{indent}}}"


def _attributes_of(box: Box, picture: Picture) -> str:
    kind = {"module": "value"}.get(box.kind, box.kind)
    tooltip = "\n".join(_tooltip(box, picture))
    label = "".join(f'<TR><TD ALIGN="CENTER">{row}</TD></TR>' for row in _rows(box, picture))
    table = f'<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="0" CELLPADDING="1">{label}</TABLE>'
    return f'id={_quoted(box.id)}, class="{kind}", {STYLES[box.kind]}, tooltip={_quoted(tooltip)}, label=<{table}>'


def _tooltip(box: Box, picture: Picture) -> Iterator[str]:
    if box.title:
        yield box.title
        yield from (f"{equation(node)}, {node.shape}" for node in box.nodes[:20])
        if len(box.nodes) > 20:
            yield f"... and {len(box.nodes) - 20:,} more"
        return
    [node] = box.nodes
    yield equation(node)
    yield f"{_kind_in_words(node)}, {node.shape} {node.x.dtype}" + (f", by {node.op}" if node.op else "")
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
        parameters = [f"{shortened(node.name)} {node.shape}" for node in box.nodes if node.kind == "parameter"]
        if parameters and not box.title[0].isdigit():
            more = f" and {len(parameters) - LISTED:,} more" if len(parameters) > LISTED else ""
            yield _small(", ".join(parameters[:LISTED]) + more)
        if box.nodes[-1].op:
            yield _small(f"gives {shortened(box.nodes[-1].name)} {box.nodes[-1].shape}")
        return
    [node] = box.nodes
    backward = picture.direction == "backward"
    equals = f" = {_escaped(formula(node))}" if node.op and not backward else ""
    yield f"<B>{_escaped(('d' if backward else '') + shortened(node.name))}</B>{equals}"
    kind = "frozen" if _kind_in_words(node) == "frozen parameter" else "" if backward else node.op
    if equals.startswith(f" = {node.op}("):
        kind = ""  # it is there already
    yield _small(" · ".join(filter(None, [kind, str(node.shape), str(node.x.dtype)])))
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


def _edge_line(edge: Edge, direction: str, sides: dict[Box, str]) -> str:
    facts = [f"id={_quoted(edge.id)}", f'class="{"backward" if edge.backward else "forward"}"']
    # Gradients too are written as the values flow, and what stands on the right is written last, because Graphviz puts
    # the tail of an edge above or to the left. So the arrow is at the tail if one of the two was turned around.
    ends = [edge.tail, edge.head]
    if sides.get(edge.tail) == "right":
        ends.reverse()
    if edge.backward != (sides.get(edge.tail) == "right"):
        facts.append("dir=back")
    if edge.backward:
        facts.append(f'color="{FLOW}", fontcolor="{FLOW}"' + (", style=dashed" if direction == "both" else ""))
    # Spaces keep the text off the line; alone, they keep the line off that of the gradient, which has a text.
    space = "\N{NO-BREAK SPACE}"
    lines = edge.lines or ("",) * (direction == "both" and edge.tail.kind != "input")
    if lines:
        facts.append(f"label={_quoted(chr(10).join(space + line + space for line in lines))}")
    if edge.tail.kind not in LEAVES and edge.backward == (direction == "backward"):
        facts.append("weight=10")  # the chain of values is what shall be straight; with both, their gradients beside
    tooltip = _quoted(edge.tooltip)
    facts.append(f"tooltip={tooltip}, labeltooltip={tooltip}")
    return f"  {' -> '.join(_quoted(box.id) for box in ends)} [{', '.join(facts)}]"


def _quoted(text: str) -> str:
    """A string of DOT that stands for the text as it is: DOT knows escapes, entities of HTML, and sums of strings."""
    parts = [text[i : i + LONGEST] for i in range(0, len(text), LONGEST)] or [""]
    escapes = str.maketrans({"\\": "\\\\", '"': '\\"', "&": "&amp;", "\n": "\\n"})
    return " + ".join(f'"{_printable(part).translate(escapes)}"' for part in parts)


def _escaped(text: str) -> str:
    """Text in a label of DOT's HTML."""
    text = _printable(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
    return text.replace("\n", "<BR/>")


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() or c in "\n\N{NO-BREAK SPACE}" else "\ufffd" for c in text)
