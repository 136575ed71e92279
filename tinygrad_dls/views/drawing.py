"""The picture of a graph: every value with its formula, shape and numbers, every edge with its local derivative.

`draw` reads the graph (see `tinygrad_dls.graph`) and writes it down in the DOT language of Graphviz. The one
idea: what is drawn are boxes, and a box holds one node of the graph, a whole module, or a run of ops. So a network of
fifty layers is the same picture as one of two, with more in each box.

The text is made from the graph alone, in the graph's order: the same model gives the same text in every process. Only
the picture needs Graphviz; `Drawing.source`, ``.save("graph.dot")`` and a notebook do without it.
"""

from __future__ import annotations

import copy
import inspect
import os
import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_dls.arrays import positive_integer, shown
from tinygrad_dls.graph import Node, read, trace
from tinygrad_dls.nn import Module, Parameter, with_parameters
from tinygrad_dls.tensor import Tensor, values
from tinygrad_dls.views.formulas import formula, local
from tinygrad_dls.views.rendering import GraphvizNotFoundError, render

__all__ = ["Drawing", "draw"]

DIRECTIONS = ("forward", "backward", "both")
ENDINGS = (".svg", ".png", ".pdf", ".html", ".dot")
WHOLE = 4  # rows and columns of the largest array that is shown entry by entry
RUNS = 30  # boxes of a summary by runs of ops: as many as one still reads
MANY = 200  # boxes above which the layout is told to stop improving: seconds instead of half a minute
CAPTION = "no gradients yet: call backward()"

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
FONT = "Helvetica,Arial,sans-serif"

PathOfModules = tuple[str, ...]


def draw(
    target: Tensor | Module,
    *inputs: Any,
    loss: Callable[[Any, Any], Any] | None = None,
    direction: str = "forward",
    depth: int | None = None,
    limit: int = 1000,
) -> Drawing:
    """Draw the graph behind a Tensor, or of a model with an input.

    A box shows a value's formula, op, shape, dtype, its numbers (an array larger than 4 by 4 as mean, standard
    deviation and range), and its gradient once `backward` has run. Parameters are boxes with corners, inputs ellipses,
    computed values are rounded, and the cost has a double line. An edge carries the local derivative: what a gradient
    is multiplied with on its way back.

    Parameters
    ----------
    target : Tensor or Module
        The cost J, or whatever else was computed; or a model, which is run once on `inputs`. That run is made with a
        copy of the model and of its random generators, so that neither it nor a later run of the model is changed.
    *inputs : array or shape
        For a model: its input X, and Y behind it if there is a `loss`. A tuple of integers, such as ``(2, 400)``, is a
        shape: then made-up data run through the model, and the picture has shapes but no values.
    loss : function, optional
        For a model: the cost ``loss(output, Y)``, such as `tinygrad_dls.binary_cross_entropy_with_logits`.
    direction : str
        ``"forward"``: how the values are computed. ``"backward"``: the gradients alone, and how they flow. ``"both"``.
    depth : int, optional
        How many levels of modules are opened; a module below is a single box. 0 leaves the outermost closed. By default
        all are open.
    limit : int
        The most boxes to draw. Beyond it, modules are closed until the graph fits, and a graph without modules is
        summarised by runs of ops; a caption says so.

    Returns
    -------
    Drawing
        Shows itself in a notebook; ``.save("graph.svg")`` writes a file, ``.source`` is the text.

    Raises
    ------
    TypeError
        If `target` is neither, a model has no input, or an option is of a wrong type.
    ValueError
        If a Tensor has no graph, an option has no such value, or the input does not fit the model.

    Examples
    --------
    >>> import numpy as np, tinygrad_dls as tg
    >>> from tinygrad_dls.views.drawing import draw
    >>> model = tg.nn.TwoLayerNetwork(2, 4, rng=1)
    >>> draw(model, (2, 400), (1, 400), loss=tg.binary_cross_entropy_with_logits)
    Drawing of J: 10 boxes, 9 edges. Write .save("graph.svg") for a file.
    >>> J = tg.binary_cross_entropy_with_logits(model(np.ones((2, 3))), np.ones((1, 3)))
    >>> J.backward()
    >>> print(draw(J, direction="backward", depth=0).source.splitlines()[0])
    digraph "J" {
    """
    if not isinstance(direction, str) or direction not in DIRECTIONS:
        raise ValueError(f'draw: direction must be "forward", "backward" or "both", got {shown(direction)}.')
    if depth is not None and (isinstance(depth, bool) or not isinstance(depth, (int, np.integer)) or depth < 0):
        raise ValueError(
            f"draw: depth must be the number of levels of modules to open, 0 or more, or None for all; "
            f"got {shown(depth)}."
        )
    limit = positive_integer(limit, "draw: limit")
    notes: list[str] = []
    made_up = False
    if isinstance(target, Tensor):
        nodes = _read(target, inputs, loss)
    elif isinstance(target, Module):
        made_up = any(map(_is_shape, inputs))
        nodes = _run(target, inputs, loss)
    else:
        raise _no_target(target)
    if made_up:
        notes.append("from shapes alone: no values")
    elif nodes[-1].x._grad is None:
        notes.append(CAPTION if isinstance(target, Tensor) else f"{CAPTION} on the cost, and draw that")
    boxes, summarised = _boxes(nodes, None if depth is None else int(depth), limit)
    picture = _Picture(nodes, boxes, direction, not made_up, [*summarised, *notes])
    return Drawing(nodes[-1].name, picture)


class Drawing:
    """A picture of a graph; `draw` makes it.

    Examples
    --------
    >>> import numpy as np, tinygrad_dls as tg
    >>> from tinygrad_dls.views.drawing import draw
    >>> w = tg.Tensor([[1.0, 2.0]], requires_grad=True, name="w")
    >>> drawing = draw(np.sum(w * w))
    >>> print(drawing.source.splitlines()[0])
    digraph "J" {
    """

    def __init__(self, title: str, picture: _Picture) -> None:
        self._title = title
        self._picture = picture
        self._source, self._facts = _text(title, picture), picture.facts()  # now: training changes the arrays

    @property
    def source(self) -> str:
        """The graph in the DOT language. It needs no Graphviz."""
        return self._source

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the picture to a file; its ending says the format.

        A file of that name is replaced once the whole picture is there: an error leaves it as it was.

        Parameters
        ----------
        path : str or Path
            Ending in ``.svg``, ``.png``, ``.pdf``, ``.html`` (a page to zoom, to fold modules and to follow a
            parameter's gradient) or ``.dot`` (the text).

        Returns
        -------
        Path
            The file.

        Raises
        ------
        TypeError, ValueError
            If it is no path, or has another ending.
        FileNotFoundError
            If its folder does not exist.
        RuntimeError
            If Graphviz is missing, saying how to get it. ``.dot`` does not need it.

        Examples
        --------
        >>> import numpy as np, tempfile, tinygrad_dls as tg
        >>> from tinygrad_dls.views.drawing import draw
        >>> w = tg.Tensor([[1.0, 2.0]], requires_grad=True, name="w")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     draw(np.sum(w * w)).save(f"{folder}/graph.dot").name
        'graph.dot'
        """
        if not isinstance(path, (str, os.PathLike)) or not isinstance(os.fspath(path), str):
            raise TypeError(f'save takes the path of a file, such as "graph.svg", got {shown(path)}.')
        file = Path(path)
        ending = file.suffix.lower()
        if ending not in ENDINGS:
            raise ValueError(
                f"save: {shown(str(path))} must end in {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}, "
                "which says what to write."
            )
        if not file.parent.is_dir():
            raise FileNotFoundError(
                f"save: there is no folder {str(file.parent)!r}. Make it first, or write elsewhere."
            )
        if file.is_dir():
            raise ValueError(f"save: {shown(str(path))} is a folder; name a file in it.")
        _write(file, self._in_format(ending[1:]))
        return file

    def _in_format(self, format: str) -> bytes:
        if format == "dot":
            return self._source.encode("utf-8")
        if format == "html":
            from tinygrad_dls.views.page import page

            svg = render(self._source, "svg").decode("utf-8")
            return page(svg, self._facts, title=self._title).encode("utf-8")
        if format == "png":  # sharp on today's screens
            return render(self._source.replace("graph [", "graph [dpi=144, ", 1), format)
        return render(self._source, format)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        """What a notebook shows: the picture; without Graphviz the text, and how to get it."""
        try:
            return {"image/svg+xml": render(self._source, "svg").decode("utf-8"), "text/plain": repr(self)}
        except GraphvizNotFoundError as error:
            return {"text/plain": f"{error}\n\n{self._source}"}

    def __repr__(self) -> str:
        boxes, edges = len(self._picture.boxes), len(self._picture.edges)
        return (
            f"Drawing of {self._title}: {boxes} box{'es' * (boxes != 1)}, {edges} edge{'s' * (edges != 1)}. "
            'Write .save("graph.svg") for a file.'
        )


def _write(file: Path, content: bytes) -> None:
    """Write a file as a whole or not at all."""
    beside = file.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with beside.open("xb") as new:
            new.write(content)
        os.replace(beside, file)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


# -- what is drawn ----------------------------------------------------------------------------------------------------


def _read(target: Tensor, inputs: tuple[Any, ...], loss: Any) -> list[Node]:
    """The nodes behind a Tensor."""
    if inputs or loss is not None:
        raise TypeError(
            "draw: a Tensor is drawn as it was computed, so inputs and loss= belong to a model: "
            "write draw(J), or draw(model, X, Y, loss=...)."
        )
    if target.op is None:
        raise ValueError(
            f"draw: {target.name or 'this Tensor'} has no graph: no op computed it from a Tensor that requires a "
            "gradient. Draw what was computed from it, such as the cost J; was that under no_grad(), or from .data?"
        )
    return read(target)


def _no_target(target: Any) -> TypeError:
    kind = f"the class {target.__name__}" if isinstance(target, type) else shown(target)
    hint = ""
    if isinstance(target, type) and issubclass(target, Module):
        hint = f" Make one first, as in {target.__name__}(...)."
    elif callable(target):
        hint = " Call the function, and draw what it returns."
    elif hasattr(target, "shape"):
        kind = f"an array of shape {tuple(target.shape)}"
        hint = " Only a Tensor remembers how it was computed."
    return TypeError(
        "draw: expected a Tensor, such as the cost J, or a model with its input, as in draw(model, X); "
        f"got {kind}.{hint}"
    )


def _is_shape(x: Any) -> bool:
    return isinstance(x, tuple) and all(isinstance(n, (int, np.integer)) and not isinstance(n, bool) for n in x)


def _run(model: Module, inputs: tuple[Any, ...], loss: Any) -> list[Node]:
    """The nodes of a run of a model, which leaves the model as it was."""
    kind = type(model).__name__
    if not inputs:
        raise TypeError(
            f"draw: a model is drawn with an input, or with its shape: draw(model, X) or draw(model, (2, 400)). "
            f"Got {kind} alone."
        )
    if loss is not None and not callable(loss):
        raise TypeError(
            f"draw: loss= takes a function, such as tg.binary_cross_entropy_with_logits, got {shown(loss)}."
        )
    if loss is not None and len(inputs) < 2:
        raise TypeError("draw: with loss=, the labels come last: draw(model, X, Y, loss=...).")
    twin = _twin(model)
    given = [_made_up(x, model, position) if _is_shape(x) else x for position, x in enumerate(inputs, 1)]
    if loss is not None and _is_shape(inputs[-1]):
        given[-1] = _labels(inputs[-1])
    data = given[:-1] if loss is not None else given
    try:
        inspect.signature(twin.__call__).bind(*data)
    except TypeError as error:
        hint = " To draw the cost too, pass loss= as well: draw(model, X, Y, loss=...)." if loss is None else ""
        raise TypeError(f"draw: {kind} does not take {len(data)} inputs: {error}.{hint}") from error
    with trace() as made_in, np.errstate(all="ignore" if any(map(_is_shape, inputs)) else "warn"):
        output = twin(*data)
        if loss is not None:
            output = loss(output, given[-1])
    if not isinstance(output, Tensor):
        what = "the loss" if loss is not None else kind
        raise TypeError(
            f"draw: {what} returned {shown(output)}, not a Tensor. A picture ends in one: "
            "call the model yourself, and draw the Tensor that you mean."
        )
    if output.op is None:
        raise ValueError(
            f"draw: no gradient flows through {kind}: it has no parameter that requires one, or runs under no_grad()."
        )
    nodes = read(output, made_in)
    for node in nodes:  # an array that a module made, such as the mask of dropout, stands with what it is used for
        for x in node.inputs:
            if isinstance(x, Node) and re.fullmatch(r"[CD]\d*", x.name) and not any(x.x is array for array in given):
                x.modules = x.modules or node.modules
    return nodes


def _twin(model: Module) -> Module:
    """A copy that shares the parameters, and draws the same random numbers without taking them from the model."""
    twin = with_parameters(model, {})
    memo: dict[int, Any] = {}
    for module in twin.modules():
        for attribute, x in vars(module).items():
            if isinstance(x, (np.random.Generator, np.random.RandomState)):
                object.__setattr__(module, attribute, copy.deepcopy(x, memo))
    return twin


def _made_up(shape: tuple[int, ...], model: Module, position: int) -> np.ndarray[Any, Any]:
    """Zeros in the place of data."""
    if not shape or min(shape) < 1:
        raise ValueError(
            f"draw: input {position} is the tuple {shape}, which is no shape such as (n_x, m) = (2, 400). "
            "Pass numbers as an array."
        )
    dtype = next((p.dtype for p in model.parameters() if p.dtype.kind == "f"), np.dtype(float))
    return np.zeros(shape, dtype)


def _labels(shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """Labels that every loss takes: all examples of the first class, whether as its index or one-hot."""
    Y = np.zeros(shape, int)
    if len(shape) == 2 and shape[0] > 1:
        Y[0] = 1
    return Y


# -- boxes ------------------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class _Box:
    """What is drawn as one: a node, or with a title a module or a run of ops."""

    nodes: list[Node]
    modules: PathOfModules  # that it stands in
    title: str = ""
    id: str = ""

    @property
    def kind(self) -> str:
        return "module" if self.title else self.nodes[0].kind


@dataclass(eq=False)
class _Edge:
    """From a box to one that uses a value in it; of a backward edge, too, `tail` is where the value is computed."""

    tail: _Box
    head: _Box
    lines: tuple[str, ...]  # its label
    tooltip: str
    backward: bool
    id: str = ""


def _boxes(nodes: list[Node], depth: int | None, limit: int) -> tuple[list[_Box], list[str]]:
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


def _paths(nodes: list[Node]) -> dict[Node, PathOfModules]:
    """The modules around each node, but for those that hold one value alone and are called like its op: a Tanh."""
    held: dict[PathOfModules, list[Node]] = {}
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


def _closed(nodes: list[Node], paths: dict[Node, PathOfModules], depth: int | None) -> list[_Box]:
    """One box for each node, and one for each module below `depth`."""
    boxes: list[_Box] = []
    modules: dict[PathOfModules, _Box] = {}
    for node in nodes:
        path = paths[node]
        if depth is None or len(path) <= depth:
            boxes.append(_Box([node], path))
            continue
        path = path[: depth + 1]
        if path not in modules:
            modules[path] = _Box([], path[:-1], path[-1])
            boxes.append(modules[path])
        modules[path].nodes.append(node)
    return boxes


def _runs(nodes: list[Node], count: int) -> list[_Box]:
    """At most `count` boxes of ops that follow each other, and the root in one of its own if there is room."""
    *before, root = nodes
    if count == 1:
        return [_Box(nodes, (), _run_title(nodes))]
    length = -(-len(before) // (count - 1))
    parts = [before[i : i + length] for i in range(0, len(before), length)]
    return [*(_Box(part, (), _run_title(part)) for part in parts), _Box([root], ())]


def _run_title(nodes: list[Node]) -> str:
    ops = sum(1 for node in nodes if node.op)
    return f"{ops:,} op{'s' * (ops != 1)}, {nodes[0].name} to {nodes[-1].name}"


class _Picture:
    """The boxes and edges of a drawing, with their ids."""

    def __init__(
        self, nodes: list[Node], boxes: list[_Box], direction: str, with_values: bool, notes: list[str]
    ) -> None:
        self.root = nodes[-1]
        self.direction, self.with_values, self.notes = direction, with_values, notes
        self.has_gradients = with_values and self.root.x._grad is not None
        if direction == "backward":
            boxes = [box for box in boxes if any(node.kind != "input" for node in box.nodes)]
        self.boxes = boxes
        self.box_of = {node: box for box in boxes for node in box.nodes}
        self.edges = list(self._edges(nodes))
        self.users: dict[_Box, list[_Box]] = {}
        for edge in self.edges:
            self.users.setdefault(edge.tail, []).append(edge.head)
        taken: set[str] = set()
        for box in boxes:
            box.id = _identifier("node", box.title or box.nodes[0].name, taken)
        for number, edge in enumerate(self.edges, 1):
            edge.id = f"edge-{number}"
        paths = dict.fromkeys(box.modules[:end] for box in boxes for end in range(1, len(box.modules) + 1))
        self.modules = {path: _identifier("module", path[-1], taken) for path in paths}

    def _edges(self, nodes: list[Node]) -> Iterator[_Edge]:
        """First the forward edges, then the backward ones, each in the order of the ops."""
        for backward in (False, True):
            if self.direction == ("forward" if backward else "backward"):
                continue
            seen = set()
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
                    yield self._edge(node, position, x, tail, head, backward)

    def _edge(self, node: Node, position: int, x: Node, tail: _Box, head: _Box, backward: bool) -> _Edge:
        derivative = "" if tail.title or head.title or x.kind == "input" else local(node, position)
        names = f"{x.name} to {head.title or node.name}"
        if backward:
            times = (derivative,) if derivative and self.direction == "backward" else ()
            lines = (*times, f"d{x.name} {x.shape}")
            names = f"d{node.name if not head.title else head.title} to d{x.name}"
        elif tail.title or head.title:
            lines = (f"{x.name} {x.shape}",) if tail.title and x is not tail.nodes[-1] else ()
        else:
            lines = (derivative,) if derivative else ()
        tooltip = names + (f": times the local derivative {derivative}" if derivative else "")
        return _Edge(tail, head, lines, tooltip, backward)

    def facts(self) -> dict[str, Any]:
        """What the interactive page knows of each node, parameter and module, by the ids of the SVG."""
        return {
            "nodes": {box.id: self._facts_of(box) for box in self.boxes},
            "parameters": {
                node.name: self._way_to(box) for box in self.boxes for node in box.nodes if node.kind == "parameter"
            },
            "modules": {id: {"label": path[-1], "holds": self._held_by(path)} for path, id in self.modules.items()},
        }

    def _facts_of(self, box: _Box) -> dict[str, str]:
        node = box.nodes[-1]
        return {
            "name": box.title or node.name,
            "formula": "\n".join(_equation(x) for x in box.nodes[-WHOLE:] if x.op) or node.name,
            "shape": str(node.shape),
            "dtype": str(node.x.dtype),
            "value": self.value(node),
            "gradient": self.gradient(node),
            "norm": self.norm(node),
        }

    def _way_to(self, box: _Box) -> list[str]:
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

    def _held_by(self, path: PathOfModules) -> list[str]:
        inside = {box for box in self.boxes if box.modules[: len(path)] == path}
        return [
            *(box.id for box in self.boxes if box in inside),
            *(edge.id for edge in self.edges if edge.tail in inside and edge.head in inside),
            *(id for other, id in self.modules.items() if other[: len(path)] == path and other != path),
        ]

    # -- the numbers of a node, in words -------------------------------------------------------------------------------

    def value(self, node: Node) -> str:
        """The value in a line, or why there is none."""
        if not self.with_values and not isinstance(node.x, Parameter):
            return "none: drawn from shapes alone"
        return _in_words(node.x)

    def gradient(self, node: Node) -> str:
        """The gradient in a line, or why there is none."""
        if node.kind == "input":
            return "none: an input"
        if not self.has_gradients:
            return CAPTION
        return "none" if node.x._grad is None else _in_words(node.x._grad)

    def norm(self, node: Node) -> str:
        """The norms of both in a line."""
        known = self.with_values or isinstance(node.x, Parameter)
        norms = [(node.name, node.x if known else None)]
        if self.has_gradients and node.kind != "input":
            norms.append((f"d{node.name}", node.x._grad))
        return ", ".join(f"‖{name}‖ = {_norm(x)}" for name, x in norms if x is not None and _norm(x))


# -- formulas ---------------------------------------------------------------------------------------------------------


def _equation(node: Node) -> str:
    return f"{node.name} = {formula(node)}" if node.op else node.name


# -- numbers ----------------------------------------------------------------------------------------------------------


def _array(x: Any) -> np.ndarray[Any, Any] | None:
    """The plain array in a node or a gradient; None if there is none yet, as of a lazy dask array."""
    x = values(x)
    return None if hasattr(x, "compute") else np.asarray(x)


def _entries(x: Any) -> list[list[str]] | None:
    """The entries of a small array as rows of text; None for a larger one."""
    array = _array(x)
    if array is None or array.ndim > 2 or not array.size or max(array.shape, default=1) > WHOLE:
        return None
    return [[_entry(number) for number in row] for row in np.atleast_2d(array)]


def _entry(number: Any) -> str:
    text = f"{number:.3g}" if isinstance(number, (float, np.floating)) else str(number)
    text = "0" if text == "-0" else text
    return text if len(text) <= 40 else f"{text[:39]}…"  # a formula of a symbolic array


def _in_words(x: Any) -> str:
    """A small array entry by entry, a larger one as its mean, standard deviation and range."""
    rows = _entries(x)
    if rows is None:
        return _summary(x)
    text = "; ".join(", ".join(row) for row in rows)
    return text if len(rows) == len(rows[0]) == 1 else f"[{text}]"


def _summary(x: Any) -> str:
    array = _array(x)
    if array is None:
        return "not computed yet"
    if not array.size:
        return "no entries"
    if array.dtype.kind not in "fiub":
        return "formulas"
    finite = array[np.isfinite(array)].astype(float)
    bad = array.size - finite.size
    if not finite.size:
        return "no finite entry"
    with np.errstate(all="ignore"):
        text = f"mean {finite.mean():.3g}, std {finite.std():.3g}, {finite.min():.3g} to {finite.max():.3g}"
    return text + f"; {bad:,} not finite" * bool(bad)


def _norm(x: Any) -> str:
    array = _array(x)
    if array is None or array.dtype.kind not in "fiub":
        return ""
    with np.errstate(all="ignore"):
        return f"{np.linalg.norm(array.astype(float).ravel()):.4g}"


# -- the text in DOT --------------------------------------------------------------------------------------------------


def _text(title: str, picture: _Picture) -> str:
    """The whole graph in the DOT language."""
    caption = "; ".join(picture.notes)
    hurry = ", nslimit=2, nslimit1=2" * (len(picture.boxes) > MANY)
    lines = [
        f"digraph {_quoted(title)} {{",
        f'  graph [bgcolor="transparent", fontname="{FONT}", fontsize=11, fontcolor="{TONE}", rankdir=TB, nodesep=0.3, '
        f"ranksep=0.35, labelloc=b, tooltip={_quoted(title)}"
        + hurry
        + f", label={_quoted(caption)}" * bool(caption)
        + "]",
        f'  node [fontname="{FONT}", fontsize=13, fontcolor="{DARK}", margin="0.16,0.06", height=0, width=0]',
        f'  edge [fontname="{FONT}", fontsize=11, color="{TONE}", fontcolor="{TONE}", arrowsize=0.7]',
        *_within((), picture, "  "),
        *(_edge_line(edge, picture.direction) for edge in picture.edges),
        "}",
    ]
    return "\n".join(lines) + "\n"


def _within(path: PathOfModules, picture: _Picture, indent: str) -> Iterator[str]:
    """The boxes that stand directly in a module, and the modules in it."""
    opened = set()
    for box in picture.boxes:
        inner = box.modules[: len(path) + 1]
        if box.modules == path:
            yield f"{indent}{_quoted(box.id)} [{_attributes_of(box, picture)}]"
        elif box.modules[: len(path)] == path and inner not in opened:
            opened.add(inner)
            id, title = picture.modules[inner], _quoted(inner[-1])
            yield f"{indent}subgraph {_quoted(f'cluster_{id}')} {{"
            yield (
                f'{indent}  graph [id={_quoted(id)}, class="module", label={title}, tooltip={title}, labelloc=t, '
                f'labeljust=l, style="filled,rounded", fillcolor="#8080801A", color="{TONE}", penwidth=0.7]'
            )
            yield from _within(inner, picture, indent + "  ")
            yield f"{indent}}}"


def _attributes_of(box: _Box, picture: _Picture) -> str:
    kind = {"module": "value"}.get(box.kind, box.kind)
    tooltip = "\n".join(_tooltip(box, picture))
    label = "".join(f'<TR><TD ALIGN="CENTER">{row}</TD></TR>' for row in _rows(box, picture))
    table = f'<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="0" CELLPADDING="1">{label}</TABLE>'
    return f'id={_quoted(box.id)}, class="{kind}", {STYLES[box.kind]}, tooltip={_quoted(tooltip)}, label=<{table}>'


def _tooltip(box: _Box, picture: _Picture) -> Iterator[str]:
    if box.title:
        yield box.title
        yield from (f"{_equation(node)}, {node.shape}" for node in box.nodes[:20])
        if len(box.nodes) > 20:
            yield f"... and {len(box.nodes) - 20:,} more"
        return
    [node] = box.nodes
    yield _equation(node)
    yield f"{_kind_in_words(node)}, {node.shape} {node.x.dtype}" + f", by {node.op}" * bool(node.op)
    yield f"value: {picture.value(node)}"
    yield f"gradient: {picture.gradient(node)}"
    if norm := picture.norm(node):
        yield f"norm: {norm}"


def _kind_in_words(node: Node) -> str:
    return "frozen parameter" if node.kind == "input" and isinstance(node.x, Parameter) else node.kind


def _rows(box: _Box, picture: _Picture) -> Iterator[str]:
    """The lines of a box."""
    if box.title:
        yield f"<B>{_escaped(box.title)}</B>"
        parameters = [f"{node.name} {node.shape}" for node in box.nodes if node.kind == "parameter"]
        if parameters and not box.title[0].isdigit():
            more = f" and {len(parameters) - WHOLE:,} more" if len(parameters) > WHOLE else ""
            yield _small(", ".join(parameters[:WHOLE]) + more)
        if box.nodes[-1].op:
            yield _small(f"gives {box.nodes[-1].name} {box.nodes[-1].shape}")
        return
    [node] = box.nodes
    backward = picture.direction == "backward"
    equals = f" = {_escaped(formula(node))}" if node.op and not backward else ""
    yield f"<B>{_escaped('d' * backward + node.name)}</B>{equals}"
    kind = "frozen" if _kind_in_words(node) == "frozen parameter" else "" if backward else node.op
    if equals.startswith(f" = {node.op}("):
        kind = ""  # it is there already
    yield _small(" · ".join(filter(None, [kind, str(node.shape), str(node.x.dtype)])))
    if not backward and (picture.with_values or isinstance(node.x, Parameter)):
        yield _numbers("", node.x, QUIET)
    if picture.has_gradients and node.kind != "input" and node.x._grad is not None:
        yield _numbers("" if backward else f"d{node.name}", node.x._grad, GRADIENT)


def _small(text: str, color: str = QUIET) -> str:
    return f'<FONT POINT-SIZE="10" COLOR="{color}">{_escaped(text)}</FONT>'


def _numbers(name: str, x: Any, color: str) -> str:
    """A small array as a matrix, a larger one in words."""
    rows = _entries(x)
    if rows is None:
        return _small(f"{name}: " * bool(name) + _in_words(x), color)
    before = f"{name} = " * bool(name)
    if len(rows) == len(rows[0]) == 1:
        return _small(before + _in_words(x), color)
    cells = "".join(
        "<TR>" + "".join(f'<TD ALIGN="RIGHT">{_small(entry, color)}</TD>' for entry in row) + "</TR>" for row in rows
    )
    matrix = (
        f'<TABLE BORDER="1" SIDES="LR" COLOR="{color}" CELLBORDER="0" CELLSPACING="0" CELLPADDING="2">{cells}</TABLE>'
    )
    if not before:
        return matrix
    row = f"<TR><TD>{_small(before, color)}</TD><TD>{matrix}</TD></TR>"
    return f'<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="0" CELLPADDING="0">{row}</TABLE>'


def _edge_line(edge: _Edge, direction: str) -> str:
    facts = [f"id={_quoted(edge.id)}", f'class="{"backward" if edge.backward else "forward"}"']
    if edge.backward:  # written as the values flow, so that the picture stands as in the forward direction
        facts.append(f'dir=back, color="{FLOW}", fontcolor="{FLOW}"' + ", style=dashed" * (direction == "both"))
    if edge.lines:
        space = "\N{NO-BREAK SPACE}"  # keeps the text off the line
        facts.append(f"label={_quoted(chr(10).join(space + line + space for line in edge.lines))}")
    out_of, into = edge.tail.modules, edge.head.modules
    if out_of != into[: len(out_of)] and into != out_of[: len(into)]:
        facts.append("minlen=2")  # the parameters of the next module stand below the last one, not beside it
    if edge.tail.kind in ("value", "module"):
        facts.append("weight=4")  # the chain of values is what shall be straight
    tooltip = _quoted(edge.tooltip)
    facts.append(f"tooltip={tooltip}, labeltooltip={tooltip}")
    return f"  {_quoted(edge.tail.id)} -> {_quoted(edge.head.id)} [{', '.join(facts)}]"


def _quoted(text: str) -> str:
    """A string of DOT that stands for the text as it is: DOT knows escapes, and entities of HTML."""
    text = _printable(text).replace("\\", "\\\\").replace('"', '\\"').replace("&", "&amp;")
    return '"' + text.replace("\n", "\\n") + '"'


def _escaped(text: str) -> str:
    """Text in a label of DOT's HTML."""
    text = _printable(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
    return text.replace("\n", "<BR/>")


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() or c in "\n\N{NO-BREAK SPACE}" else "\ufffd" for c in text)


def _identifier(kind: str, text: str, taken: set[str]) -> str:
    """An id that no other box or module has: ``node-W1``, ``module-layer1-Linear-2-4``."""
    stem = f"{kind}-" + (re.sub(r"\W+", "-", text).strip("-") or "unnamed")
    id, count = stem, 1
    while id in taken:
        count += 1
        id = f"{stem}-{count}"
    taken.add(id)
    return id
