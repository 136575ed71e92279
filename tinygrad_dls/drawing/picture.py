"""What is drawn of a graph: boxes, the edges between them, and the modules around them.

The one idea: what is drawn are boxes (`tinygrad_dls.drawing.boxes`), and the edges between them follow from the nodes
in them. So a network of fifty layers is the same picture as one of two, with more in each box. Everything stands in the
graph's order, and has an id that follows from it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tinygrad_dls.drawing.boxes import Box
from tinygrad_dls.drawing.formulas import formula, local, summed
from tinygrad_dls.drawing.numbers import in_words, norm, shape_in_words
from tinygrad_dls.drawing.ranks import Modules, passes_frames, ranks
from tinygrad_dls.graph.names import Names, shortened
from tinygrad_dls.graph.node import Node
from tinygrad_dls.nn.module import Parameter

__all__ = ["CAPTION", "LEAVES", "LISTED", "Edge", "Picture", "equation", "shared", "sides_of"]

ABOVE = ("cost", "value", "input", "parameter")  # which of its inputs an op stands below, in this order
LEAVES = ABOVE[2:]
LISTED = 4  # nodes or parameters of a closed module that are named
DETOURS = 2  # edges of a box that are led around frames; of more, each is one of a bundle that nobody follows
BUNDLE = 4  # values between two boxes that are one edge with a count
CAPTION = "no gradients yet: call backward()"


@dataclass(eq=False)
class Edge:
    """From a box to one that uses a value in it; of a backward edge, too, `tail` is where the value is computed."""

    tail: Box
    head: Box
    lines: tuple[str, ...]  # its label
    tooltip: str
    backward: bool
    id: str = ""
    detour: bool = False  # led around frames; then it is drawn in three parts

    @property
    def ids(self) -> list[str]:
        """Of the parts that it is drawn in: where it passes, where it leaves, and where it arrives."""
        return [self.id, f"{self.id}-out", f"{self.id}-in"] if self.detour else [self.id]


class Picture:
    """The boxes and edges of a drawing, with their ids."""

    def __init__(
        self, nodes: Sequence[Node], boxes: list[Box], direction: str, with_values: bool, notes: list[str]
    ) -> None:
        self.nodes, self.root = nodes, nodes[-1]
        self.direction, self.with_values, self.notes = direction, with_values, notes
        self.has_gradients = with_values and self.root.x._grad is not None
        if direction == "backward":
            boxes = [box for box in boxes if any(node.kind != "input" for node in box.nodes)]
        self.boxes = boxes
        self.box_of = {node: box for box in boxes for node in box.nodes}
        self.edges = list(self._edges(nodes))
        self._lead_around_frames(nodes)
        self.users: dict[Box, list[Box]] = {}
        for edge in self.edges:
            self.users.setdefault(edge.tail, []).append(edge.head)
        ids = Names(spelled=_id, between="-", reserved=())
        for box in boxes:
            box.id = ids.free(f"node-{box.title or box.nodes[0].name}")
        for number, edge in enumerate(self.edges, 1):
            edge.id = f"edge-{number}"
        paths = dict.fromkeys(box.modules[:end] for box in boxes for end in range(1, len(box.modules) + 1))
        self.modules = {path: ids.free(f"module-{path[-1]}") for path in paths}

    def _lead_around_frames(self, nodes: Sequence[Node]) -> None:
        """Mark the edges that would run through the frames of modules that they have no part in."""
        row = ranks(nodes, self.boxes)
        passing = [edge for edge in self.edges if passes_frames(edge.tail, edge.head, row)]
        many = Counter((box, edge.backward) for edge in passing for box in (edge.tail, edge.head))
        for edge in passing:
            edge.detour = max(many[box, edge.backward] for box in (edge.tail, edge.head)) <= DETOURS

    def _edges(self, nodes: Sequence[Node]) -> Iterator[Edge]:
        """First the forward edges, then the backward ones, each in the order of the ops."""
        for backward in (False, True):
            if self.direction == ("forward" if backward else "backward"):
                continue
            seen = set()
            found = []
            for node in nodes:
                head = self.box_of.get(node)
                for position, x in enumerate(node.inputs):
                    tail = self.box_of.get(x) if isinstance(x, Node) else None
                    if tail is None or head is None or tail is head or (backward and x.kind == "input"):
                        continue
                    if tail.title or head.title:  # of a closed box: what flows, once
                        if (x, head) in seen:
                            continue
                        seen.add((x, head))
                    found.append((node, position, x, tail, head))
            uses = Counter(x for _, _, x, _, _ in found)
            between: dict[tuple[Box, Box], list[Node]] = {}
            for _, _, x, tail, head in found:
                if tail.title or head.title:
                    between.setdefault((tail, head), []).append(x)
            for node, position, x, tail, head in found:
                together = between.get((tail, head), [])
                if len(together) < BUNDLE:
                    yield self._edge(node, position, x, tail, head, backward, uses[x])
                elif x is together[0]:
                    yield _bundle(together, tail, head, backward)

    def _edge(self, node: Node, position: int, x: Node, tail: Box, head: Box, backward: bool, uses: int) -> Edge:
        derivative = "" if tail.title or head.title or x.kind == "input" else _derivative(node, position)
        names = f"{x.name} to {head.title or node.name}"
        if backward:
            times = (derivative,) if derivative and self.direction == "backward" else ()
            part = "one part of " if uses > 1 else ""  # of what is used several times, the contributions add up
            lines = (*times, f"{part}d{shortened(x.name)} {shape_in_words(x)}".rstrip())
            names = f"d{node.name if not head.title else head.title} to {part}d{x.name}"
        elif tail.title or head.title:
            lines = (
                (f"{shortened(x.name)} {shape_in_words(x)}".rstrip(),) if tail.title and x is not tail.nodes[-1] else ()
            )
        else:
            lines = (derivative,) if derivative else ()
        tooltip = names + (f": {derivative}" if derivative.startswith("sum ") else "")
        tooltip += f": times the local derivative {derivative}" if derivative and tooltip == names else ""
        return Edge(tail, head, lines, tooltip, backward)

    def facts(self) -> dict[str, Any]:
        """What the interactive page knows of each node, parameter and module, by the ids of the SVG."""
        return {
            "nodes": {box.id: self._facts_of(box) for box in self.boxes},
            "parameters": {
                node.name: self._way_to(box) for box in self.boxes for node in box.nodes if node.kind == "parameter"
            },
            "modules": {id: {"label": path[-1], "holds": self._held_by(path)} for path, id in self.modules.items()},
            "edges": {id: [edge.tail.id, edge.head.id, edge.backward] for edge in self.edges for id in edge.ids},
        }

    def _facts_of(self, box: Box) -> dict[str, str]:
        node = box.nodes[-1]
        return {
            "name": box.title or node.name,
            "formula": "\n".join(equation(x) for x in box.nodes[-LISTED:] if x.op) or node.name,
            "shape": shape_in_words(node) or "a single number",
            "dtype": str(node.x.dtype),
            "value": self.value(node),
            "gradient": self.gradient(node),
            "norm": self.norm(node),
        }

    def _way_to(self, box: Box) -> list[str]:
        """The ids of all that lies between a box and the root."""
        reached, waiting = {box}, [box]
        while waiting:
            for head in self.users.get(waiting.pop(), ()):
                if head not in reached:
                    reached.add(head)
                    waiting.append(head)
        return [x.id for x in self.boxes if x in reached] + [
            id for edge in self.edges if edge.tail in reached and edge.head in reached for id in edge.ids
        ]

    def _held_by(self, path: Modules) -> list[str]:
        inside = {box for box in self.boxes if box.modules[: len(path)] == path}
        return [
            *(box.id for box in self.boxes if box in inside),
            *(id for edge in self.edges if edge.tail in inside and edge.head in inside for id in edge.ids),
            *(id for other, id in self.modules.items() if other[: len(path)] == path and other != path),
        ]

    # -- the numbers of a node, in words ------------------------------------------------------------------------------

    def value(self, node: Node) -> str:
        """The value in a line, or why there is none."""
        if not self.with_values and not isinstance(node.x, Parameter):
            return "none: drawn from shapes alone"
        return in_words(node.x)

    def gradient(self, node: Node) -> str:
        """The gradient in a line, or why there is none."""
        if node.kind == "input":
            return "none: an input"
        if not self.has_gradients:
            return CAPTION
        return "none" if node.x._grad is None else in_words(node.x._grad)

    def norm(self, node: Node) -> str:
        """The norms of both in a line."""
        known = self.with_values or isinstance(node.x, Parameter)
        norms = [(node.name, node.x if known else None)]
        if self.has_gradients and node.kind != "input":
            norms.append((f"d{node.name}", node.x._grad))
        return ", ".join(f"‖{name}‖ = {norm(x)}" for name, x in norms if x is not None and norm(x))


def sides_of(picture: Picture) -> dict[Box, str]:
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


def shared(one: Modules, other: Modules) -> Modules:
    """The modules that two boxes both stand in."""
    end = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return one[:end]


def _bundle(together: list[Node], tail: Box, head: Box, backward: bool) -> Edge:
    """One edge for all that flows between two boxes, with a count."""
    what = f"{len(together):,} {'gradients' if backward else 'values'}"
    letter = "d" if backward else ""
    names = f"{what}, {letter}{together[0].name} to {letter}{together[-1].name}"
    return Edge(tail, head, (what,), names, backward)


def _derivative(node: Node, position: int) -> str:
    """The local derivative, and the sum over what broadcasting repeated."""
    derivative, over = local(node, position), summed(node, position)
    if not over:
        return derivative
    return f"{derivative}, summed over {over}" if derivative not in ("", "1") else f"sum over {over}"


def equation(node: Node) -> str:
    """``Z1 = W1 @ X + b1``; of a leaf, its name."""
    return f"{node.name} = {formula(node)}" if node.op else node.name


def _id(text: str) -> str:
    """What an id is made of: ``node-W1``, ``module-layer1-Linear-2-4``."""
    kind, _, name = text.partition("-")
    return f"{kind}-" + (re.sub(r"\W+", "-", shortened(name)).strip("-") or "unnamed")
