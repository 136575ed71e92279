"""What is drawn of a graph: boxes, the edges between them, and the modules around them.

The one idea: what is drawn are boxes, and a box holds one node of the graph, a whole module, or a run of ops. So a
network of fifty layers is the same picture as one of two, with more in each box. Everything stands in the graph's
order, and has an id that follows from it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tinygrad_dls.drawing.formulas import formula, local, summed
from tinygrad_dls.drawing.numbers import in_words, norm
from tinygrad_dls.graph.names import Names, shortened
from tinygrad_dls.graph.node import Node
from tinygrad_dls.nn.module import Parameter

__all__ = ["CAPTION", "LISTED", "RUNS", "Box", "Edge", "Modules", "Picture", "boxes_of", "equation"]

LISTED = 4  # nodes or parameters of a closed module that are named
RUNS = 30  # boxes of a summary by runs of ops: as many as one still reads
CAPTION = "no gradients yet: call backward()"

Modules = tuple[str, ...]  # that something stands in, the outermost first


@dataclass(eq=False)
class Box:
    """What is drawn as one: a node, or with a title a module or a run of ops."""

    nodes: list[Node]
    modules: Modules  # that it stands in
    title: str = ""
    id: str = ""

    @property
    def kind(self) -> str:
        """The kind of its node, or ``"module"``."""
        return "module" if self.title else self.nodes[0].kind


@dataclass(eq=False)
class Edge:
    """From a box to one that uses a value in it; of a backward edge, too, `tail` is where the value is computed."""

    tail: Box
    head: Box
    lines: tuple[str, ...]  # its label
    tooltip: str
    backward: bool
    id: str = ""


def boxes_of(nodes: list[Node], depth: int | None, limit: int) -> tuple[list[Box], list[str]]:
    """The boxes, at most `limit` of them, and what to say of it in the picture."""
    paths = _paths(nodes)
    boxes = _closed(nodes, paths, depth)
    if len(boxes) <= limit:
        return boxes, []
    because = f"{len(boxes):,} boxes are more than limit={limit:,}"
    deepest = max(map(len, paths.values()), default=0)
    for level in reversed(range(deepest if depth is None else min(depth, deepest))):
        fewer = _closed(nodes, paths, level)
        if len(fewer) <= limit:
            return fewer, [f"{because}: drawn with depth={level}"]
    runs = _runs(nodes, min(limit, RUNS))
    return runs, [f"{because}: summarised by runs of ops; pass a higher limit= to see them"]


def _paths(nodes: list[Node]) -> dict[Node, Modules]:
    """The modules around each node, but for those that hold one value alone and are called like its op: a Tanh."""
    held: dict[Modules, list[Node]] = {}
    for node in nodes:
        for end in range(1, len(node.modules) + 1):
            held.setdefault(node.modules[:end], []).append(node)
    repeats = {
        path
        for path, inside in held.items()
        if len(inside) == 1 and inside[0].op and _bare(path[-1]) == _bare(inside[0].op)
    }
    return {
        node: tuple(title for end, title in enumerate(node.modules, 1) if node.modules[:end] not in repeats)
        for node in nodes
    }


def _bare(title: str) -> str:
    """A title without its number, to be compared with an op: ``Tanh #2`` is tanh."""
    return title.split(" #")[0].lower()


def _closed(nodes: list[Node], paths: dict[Node, Modules], depth: int | None) -> list[Box]:
    """One box for each node, and one for each module below `depth`."""
    boxes: list[Box] = []
    modules: dict[Modules, Box] = {}
    for node in nodes:
        path = paths[node]
        if depth is None or len(path) <= depth:
            boxes.append(Box([node], path))
            continue
        path = path[: depth + 1]
        if path not in modules:
            modules[path] = Box([], path[:-1], path[-1])
            boxes.append(modules[path])
        modules[path].nodes.append(node)
    return boxes


def _runs(nodes: list[Node], count: int) -> list[Box]:
    """Put ops that follow each other into at most `count` boxes, and the root into one of its own if there is room."""
    *before, root = nodes
    if count == 1:
        return [Box(nodes, (), _run_title(nodes))]
    length = -(-len(before) // (count - 1))
    parts = [before[i : i + length] for i in range(0, len(before), length)]
    return [*(Box(part, (), _run_title(part)) for part in parts), Box([root], ())]


def _run_title(nodes: list[Node]) -> str:
    ops = sum(1 for node in nodes if node.op)
    return f"{ops:,} op{'s' if ops != 1 else ''}, {shortened(nodes[0].name)} to {shortened(nodes[-1].name)}"


class Picture:
    """The boxes and edges of a drawing, with their ids."""

    def __init__(
        self, nodes: list[Node], boxes: list[Box], direction: str, with_values: bool, notes: list[str]
    ) -> None:
        self.root = nodes[-1]
        self.direction, self.with_values, self.notes = direction, with_values, notes
        self.has_gradients = with_values and self.root.x._grad is not None
        if direction == "backward":
            boxes = [box for box in boxes if any(node.kind != "input" for node in box.nodes)]
        self.boxes = boxes
        self.box_of = {node: box for box in boxes for node in box.nodes}
        self.edges = list(self._edges(nodes))
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

    def _edges(self, nodes: list[Node]) -> Iterator[Edge]:
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
            for node, position, x, tail, head in found:
                yield self._edge(node, position, x, tail, head, backward, uses[x])

    def _edge(self, node: Node, position: int, x: Node, tail: Box, head: Box, backward: bool, uses: int) -> Edge:
        derivative = "" if tail.title or head.title or x.kind == "input" else _derivative(node, position)
        names = f"{x.name} to {head.title or node.name}"
        if backward:
            times = (derivative,) if derivative and self.direction == "backward" else ()
            part = "one part of " if uses > 1 else ""  # of what is used several times, the contributions add up
            lines = (*times, f"{part}d{shortened(x.name)} {x.shape}")
            names = f"d{node.name if not head.title else head.title} to {part}d{x.name}"
        elif tail.title or head.title:
            lines = (f"{shortened(x.name)} {x.shape}",) if tail.title and x is not tail.nodes[-1] else ()
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
        }

    def _facts_of(self, box: Box) -> dict[str, str]:
        node = box.nodes[-1]
        return {
            "name": box.title or node.name,
            "formula": "\n".join(equation(x) for x in box.nodes[-LISTED:] if x.op) or node.name,
            "shape": str(node.shape),
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
            edge.id for edge in self.edges if edge.tail in reached and edge.head in reached
        ]

    def _held_by(self, path: Modules) -> list[str]:
        inside = {box for box in self.boxes if box.modules[: len(path)] == path}
        return [
            *(box.id for box in self.boxes if box in inside),
            *(edge.id for edge in self.edges if edge.tail in inside and edge.head in inside),
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
