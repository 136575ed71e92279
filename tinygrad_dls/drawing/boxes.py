"""What is drawn as one box: a node of the graph, a module that is closed, a part that repeats, or a run of ops.

The one idea: there is a list of ways to draw a graph, from all of it to less and less, and the first one that is within
the limits is taken. A limit is the number of boxes, and how long Graphviz would take for them
(`tinygrad_dls.drawing.ranks`). So a chain of a thousand steps and a network whose layers all skip to all others have
their pictures too, in seconds, and the picture says what was left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tinygrad_dls.drawing.ranks import QUICK, Modules, effort
from tinygrad_dls.graph.names import shortened
from tinygrad_dls.graph.node import Node

__all__ = ["MOST", "RUNS", "Box", "boxes_of", "summary_of"]

MOST = 1000  # boxes, if nobody says how many
RUNS = 30  # boxes of a summary by runs of ops: as many as one still reads
COPIES = 3  # of a part that is folded: two are read as fast as a sentence about them
LONGEST_PART = 200  # boxes of a part that is looked for


@dataclass(eq=False)
class Box:
    """What is drawn as one: a node, or with a title a module, a repeated part or a run of ops."""

    nodes: list[Node]
    modules: Modules  # that it stands in
    title: str = ""
    id: str = ""

    @property
    def kind(self) -> str:
        """The kind of its node, or ``"module"``."""
        return "module" if self.title else self.nodes[0].kind


def boxes_of(
    nodes: list[Node], depth: int | None, limit: int | None, direction: str
) -> tuple[list[Box], list[str], bool]:
    """The boxes within the limits, what the picture says of that, and whether it is sure to be laid out quickly.

    `limit` is the most boxes; where it is given, they are drawn however long that takes.
    """
    paths = _paths(nodes)
    most = MOST if limit is None else limit

    def is_quick(boxes: list[Box]) -> bool:
        return effort(nodes, boxes, direction) <= QUICK

    boxes = _closed(nodes, paths, depth)
    if len(boxes) <= most and (limit is not None or is_quick(boxes)):
        return boxes, [], is_quick(boxes)
    if len(boxes) > most:
        because = f"{len(boxes):,} boxes are more than limit={most:,}"
    else:
        because = f"{len(boxes):,} boxes with edges so long are more than Graphviz lays out in seconds"
    for fewer, what in _ways(nodes, paths, depth, len(boxes) > most):
        if len(fewer) <= most and (limit is not None or is_quick(fewer)):
            whole = f"; limit={len(boxes)} draws all" if limit is None and len(boxes) <= most else ""
            return fewer, [f"{because}: {what}{whole}"], is_quick(fewer)
    runs = summary_of(nodes, min(most, RUNS), is_quick)
    return runs, [f"{because}: summarised by runs of ops; pass a higher limit= to see them"], True


def summary_of(nodes: list[Node], count: int, is_quick: Callable[[list[Box]], bool]) -> list[Box]:
    """At most `count` runs of ops, and fewer where even those would take long."""
    runs = _runs(nodes, count)
    while count > 2 and not is_quick(runs):
        count = count // 2 + 1 if count > 3 else 2
        runs = _runs(nodes, count)
    return runs


def _ways(
    nodes: list[Node], paths: dict[Node, Modules], depth: int | None, many: bool
) -> Iterator[tuple[list[Box], str]]:
    """Ways to draw less: with modules closed and repeats folded; where it is not their number, repeats come first."""
    deepest = max(map(len, paths.values()), default=0)
    levels = list(reversed(range(deepest if depth is None else min(depth, deepest))))
    closed = [(_closed(nodes, paths, level), f"drawn with depth={level}") for level in levels]
    folded = []
    for boxes, what in [(_closed(nodes, paths, depth), ""), *closed]:
        fewer, repeats = _folded(boxes)
        if repeats:
            folded.append((fewer, f"{what}, {repeats}".removeprefix(", ")))
    yield from [*closed, *folded] if many else [*folded, *closed]


# -- modules ----------------------------------------------------------------------------------------------------------


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


# -- repeated parts ---------------------------------------------------------------------------------------------------


def _folded(boxes: list[Box]) -> tuple[list[Box], str]:
    """Of parts that follow each other and are alike, the first one, and one box for the others; and what that was."""
    box_of = {node: box for box in boxes for node in box.nodes}
    inputs = {box: _inputs(box, box_of) for box in boxes}
    chain = [box for box in _late(boxes, inputs) if box.nodes[-1].op]
    parts = list(_repeats([_likeness(box) for box in chain], 0))
    users: dict[Box, set[Box]] = {}
    for box in chain:
        for x in inputs[box]:
            users.setdefault(x, set()).add(box)
    fold_of: dict[Box, Box] = {}
    sentences = []
    for start, length, copies in parts:
        more = chain[start + length : start + length * copies]
        one = chain[start : start + length]
        title = f"{copies - 1} more like {_span(one)}"
        fold = Box([], _shared([box.modules for box in more]), title)
        fold_of.update(dict.fromkeys(more, fold))
        sentences.append(f"{_span(one)}, {copies} times, folded into one")
    for box in boxes:  # what only the others use, such as their parameters
        used = {fold_of.get(user) for user in users.get(box, ())}
        only = used.pop() if len(used) == 1 else None
        if only is not None and box not in fold_of and not box.nodes[-1].op:
            fold_of[box] = only
    for box in boxes:
        if box in fold_of:
            fold_of[box].nodes += box.nodes
    return list(dict.fromkeys(fold_of.get(box, box) for box in boxes)), ", ".join(sentences)


def _inputs(box: Box, box_of: dict[Node, Box]) -> list[Box]:
    found = [box_of[x] for node in box.nodes for x in node.inputs if isinstance(x, Node) and x in box_of]
    return [x for x in dict.fromkeys(found) if x is not box]


def _late(boxes: list[Box], inputs: dict[Box, list[Box]]) -> list[Box]:
    """Each box after its inputs, and those last that need the least before them: so that a step stands in one piece.

    Of ``Wx @ x + Wh @ h``, what was before ``h`` comes first, and then the two products.
    """
    height: dict[Box, int] = {}
    for box in boxes:
        height[box] = 1 + max((height.get(x, 0) for x in inputs[box]), default=0)
    order: dict[Box, None] = {}
    entered: set[Box] = set()
    stack = [(box, False) for box in reversed(boxes)]
    stack.append((boxes[-1], False))
    while stack:
        box, done = stack.pop()
        if done:
            order[box] = None
        elif box not in entered:
            entered.add(box)
            stack.append((box, True))
            stack += [(x, False) for x in sorted(inputs[box], key=height.__getitem__) if x not in entered]
    return list(order)


def _likeness(box: Box) -> tuple[object, ...]:
    """What two boxes share that are drawn alike: what was computed, of what shapes, and in what kind of modules."""
    node = box.nodes[-1]
    kinds = tuple(_kind_of(title) for title in (*box.modules, box.title))
    return node.op, node.shape, kinds, tuple(x.shape if isinstance(x, Node) else None for x in node.inputs)


def _kind_of(title: str) -> str:
    """``(Linear 3 -> 3)`` of ``layer2 (Linear 3 -> 3) #2``: what does not tell one from the next."""
    title = title.split(" #")[0]
    return title[title.index(" (") :] if " (" in title else title


def _repeats(row: list[tuple[object, ...]], first: int) -> Iterator[tuple[int, int, int]]:
    """Where a part begins that repeats, its length, and how often it is there; of all such, those that save most."""
    best = (0, 0, 0, 0)
    for length in range(1, min(len(row) // COPIES, LONGEST_PART) + 1):
        run = 0
        for i in range(len(row) - length + 1):
            if i + length < len(row) and row[i] == row[i + length]:
                run += 1
                continue
            copies = run // length + 1
            saved = (copies - 1) * length
            if copies >= COPIES and saved > best[0]:
                best = saved, i - run, length, copies
            run = 0
    saved, start, length, copies = best
    if saved < COPIES:
        return
    yield from _repeats(row[:start], first)
    yield first + start, length, copies
    end = start + length * copies
    yield from _repeats(row[end:], first + end)


def _span(boxes: list[Box]) -> str:
    names = [shortened(box.title or box.nodes[-1].name) for box in boxes]
    return names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"


def _shared(paths: list[Modules]) -> Modules:
    """The modules that all of them stand in."""
    first, *others = paths
    end = next((i for i, title in enumerate(first) if any(path[i : i + 1] != (title,) for path in others)), len(first))
    return first[:end]


# -- runs of ops ------------------------------------------------------------------------------------------------------


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
