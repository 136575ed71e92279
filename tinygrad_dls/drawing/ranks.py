"""In which row of a picture a box stands; so how long its layout takes, and which edges pass the frames of others.

Graphviz puts boxes into rows, each below what it uses. An edge that passes rows takes a place in each of them, and it
is these places, not the boxes, for which a layout takes long: a chain of 40 steps that share their weights has 250
boxes, and its weights' edges take ten thousand places.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

from tinygrad_dls.drawing.formulas import local, summed
from tinygrad_dls.graph.node import Node

__all__ = ["QUICK", "Modules", "effort", "passes_frames", "ranks"]

QUICK = 1000  # places that Graphviz finds within a few seconds, whatever the graph

Modules = tuple[str, ...]  # that something stands in, the outermost first


class _Box(Protocol):
    nodes: list[Node]
    modules: Modules
    title: str


B = TypeVar("B", bound=_Box)


def ranks(nodes: Iterable[Node], boxes: Sequence[B]) -> dict[B, int]:
    """The row of each box: below what it uses; of a leaf, and what is made of leaves, above the first that uses it."""
    box_of = {node: box for box in boxes for node in box.nodes}
    row: dict[B, int] = {}
    for node in nodes:
        box = box_of.get(node)
        if box is not None and node.op:
            above = [row[box_of[x]] for x in _within(node, box_of) if box_of[x] is not box and box_of[x] in row]
            row[box] = max([row.get(box, 0), *(rank + 1 for rank in above)])
    first: dict[B, int] = {}  # the row of the first box that uses it
    for node in nodes:
        head = box_of.get(node)
        if head in row:
            for x in _within(node, box_of):
                if box_of[x] is not head:
                    first[box_of[x]] = min(first.get(box_of[x], row[head]), row[head])
    uses_values = {box_of[node] for node in nodes if node in box_of for x in _within(node, box_of) if x.op}
    near = {box: at - 1 for box, at in first.items() if box not in row or box not in uses_values}
    for node in nodes:  # and what they are made of, with them
        box = box_of.get(node)
        if box in near and node.op:
            for x in _within(node, box_of):
                if box_of[x] not in row and first[box_of[x]] == row[box]:
                    near[box_of[x]] = near[box] - 1
    return row | near


def effort(nodes: Sequence[Node], boxes: Sequence[B], direction: str = "forward") -> int:
    """How many places in rows the edges take that pass them; ten without a text weigh as much as one with a text."""
    row = ranks(nodes, boxes)
    box_of = {node: box for box in boxes for node in box.nodes}
    passed: dict[tuple[Node, B], float] = {}
    for node in nodes:
        if node not in box_of:
            continue
        head = box_of[node]
        for position, x in enumerate(node.inputs):
            tail = box_of.get(x) if isinstance(x, Node) else None
            if tail is None or tail is head or (x, head) in passed:
                continue
            places = abs(row.get(head, 0) - row.get(tail, 0)) - 1
            if places > 0:
                texts = direction != "forward" and x.kind != "input"
                if direction != "backward":
                    texts += 1 if tail.title or head.title or _has_text(node, position) else 0.1
                passed[x, head] = places * texts
    return int(sum(passed.values()))


def _has_text(node: Node, position: int) -> bool:
    return bool(local(node, position) or summed(node, position))


def passes_frames(tail: B, head: B, row: dict[B, int]) -> bool:
    """Whether an edge skips rows on its way into, or out of, a module; or in one, beside the modules within."""
    within = bool(tail.modules) and bool(tail.nodes[-1].op)
    return row[head] - row[tail] > 1 and (within or tail.modules != head.modules)


def _within(node: Node, box_of: dict[Node, B]) -> list[Node]:
    return [x for x in node.inputs if isinstance(x, Node) and x in box_of]
