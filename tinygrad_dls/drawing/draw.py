"""The picture of a graph: every value with its formula, shape and numbers, every edge with its local derivative.

`draw` reads the graph of a Tensor or of a model (`tinygrad_dls.drawing.subject`), decides what is drawn of it
(`tinygrad_dls.drawing.boxes`) and writes that down in the DOT language of Graphviz (`tinygrad_dls.drawing.dot`).
Where there is no Graphviz, `tinygrad_dls.drawing.svg` draws: SVG, pages and notebooks have their picture; PNG and PDF
need Graphviz.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import graphviz
import numpy as np

from tinygrad_dls.drawing.boxes import Box, boxes_of, summary_of
from tinygrad_dls.drawing.dot import digraph
from tinygrad_dls.drawing.labels import labels_of
from tinygrad_dls.drawing.picture import CAPTION, Picture
from tinygrad_dls.drawing.rendering import GraphvizNotFoundError, GraphvizTimeoutError, render
from tinygrad_dls.drawing.subject import is_shape, nodes_of
from tinygrad_dls.engine.arrays import boolean, positive_integer
from tinygrad_dls.engine.errors import shown
from tinygrad_dls.engine.tensor import Tensor
from tinygrad_dls.files import write_whole
from tinygrad_dls.graph.node import Node
from tinygrad_dls.graph.subject import Subject, subject
from tinygrad_dls.nn.module import Module

__all__ = ["Drawing", "draw", "draw_with_gradients"]

DIRECTIONS = ("forward", "backward", "both")
RANKDIRS = ("TB", "LR")
SECONDS = 30  # that Graphviz gets for a picture; then it gets a simpler one
SIMPLEST = 12  # runs of ops, which even a slow computer lays out at once
ENDINGS = (".svg", ".png", ".pdf", ".html", ".dot")


def draw(
    target: Tensor | Module | Callable[..., Any],
    *inputs: Any,
    loss: Callable[[Any, Any], Any] | None = None,
    direction: str = "forward",
    depth: int | None = None,
    limit: int | None = None,
    rankdir: str = "TB",
    notes: bool = True,
) -> Drawing:
    """Draw the graph behind a Tensor, or of a run of a model or a function.

    A box shows a value's formula, op, shape, dtype, its numbers (an array larger than 4 by 4 as mean, standard
    deviation and range), and its gradient once `backward` has run. Parameters are boxes with corners, inputs ellipses,
    computed values are rounded, and the cost has a double line. An edge carries the local derivative: what a gradient
    is multiplied with on its way back.

    Parameters
    ----------
    target : Tensor, function or Module
        The cost J, or whatever else was computed; or a function that computes it from `inputs`, and is called once; or
        a model, which is run once on `inputs`. That run is made with a copy of the model and of its random generators,
        so that neither it nor a later run of the model is changed.
    *inputs : array or shape
        The arguments of a function; of a model, its input X, and Y behind it if there is a `loss`. A tuple of integers,
        such as ``(2, 400)``, is a shape: then made-up data run through, and the picture has shapes but no values.
    loss : function, optional
        For a model: the cost ``loss(output, Y)``, such as `tinygrad_dls.binary_cross_entropy_with_logits`.
    direction : str
        ``"forward"``: how the values are computed. ``"backward"``: the gradients alone, and how they flow. ``"both"``.
    depth : int, optional
        How many levels of modules are opened; a module below is a single box. 0 leaves the outermost closed. By default
        all are open.
    limit : int, optional
        The most boxes to draw. Beyond it, modules are closed until the graph fits, parts that repeat are drawn once
        with a count, and a graph without either is summarised by runs of ops; a caption says so. By default 1000 boxes,
        and fewer if their edges are so long that Graphviz would take more than a few seconds. A limit of yours is taken
        at its word: Graphviz gets half a minute for so many boxes, and then a simpler picture, which says so.
    rankdir : str, default "TB"
        ``"TB"``: what is computed stands below what it is computed from. ``"LR"``: to the right of it, as on a slide.
    notes : bool, default True
        Whether the picture says below itself what it lacks, such as gradients before `backward`.

    Returns
    -------
    Drawing
        Shows itself in a notebook; ``.save("graph.svg")`` writes a file, ``.source`` is the text.

    Raises
    ------
    TypeError
        If `target` is none of these, a model has no input, or an option is of a wrong type.
    ValueError
        If there is no graph, an option has no such value, or the input does not fit the model.

    Examples
    --------
    >>> import numpy as np, tinygrad_dls as tg
    >>> model = tg.nn.TwoLayerNetwork(2, 4, rng=1)
    >>> tg.draw(model, (2, 400), (1, 400), loss=tg.binary_cross_entropy_with_logits)
    Drawing of J: 10 boxes, 9 edges. Write .save("graph.svg") for a file.
    >>> J = tg.binary_cross_entropy_with_logits(model(np.ones((2, 3))), np.ones((1, 3)))
    >>> J.backward()
    >>> print(tg.draw(J, direction="backward", depth=0).source.splitlines()[0])
    digraph J {
    """
    if not isinstance(direction, str) or direction not in DIRECTIONS:
        raise ValueError(f'draw: direction must be "forward", "backward" or "both", got {shown(direction)}.')
    if depth is not None and (isinstance(depth, bool) or not isinstance(depth, (int, np.integer)) or depth < 0):
        raise ValueError(
            f"draw: depth must be the number of levels of modules to open, 0 or more, or None for all; "
            f"got {shown(depth)}."
        )
    limit = None if limit is None else positive_integer(limit, "draw: limit")
    if not isinstance(rankdir, str) or rankdir not in RANKDIRS:
        raise ValueError(
            f'draw: rankdir must be "TB", from top to bottom, or "LR", from left to right; got {shown(rankdir)}.'
        )
    with_notes = boolean(notes, "draw: notes")
    given = subject("draw", target, inputs, loss)
    options = _Options(direction, None if depth is None else int(depth), limit, rankdir, with_notes)
    return _drawing(given, nodes_of(given), options)


def draw_with_gradients(given: Subject) -> Drawing:
    """Draw values and gradients of what is run for it, in both directions; no gradient of the user's is touched."""
    nodes = nodes_of(given)
    if given.cost is None and not any(map(is_shape, given.inputs)):
        parameters = [node.x for node in nodes if node.kind == "parameter"]
        before = [p._grad for p in parameters]
        try:
            for p in parameters:
                p._grad = None
            nodes[-1].x.backward()
            return _drawing(given, nodes, _Options("both"))
        finally:
            for p, gradient in zip(parameters, before, strict=True):
                p._grad = gradient
    return _drawing(given, nodes, _Options("both"))


class _Options(NamedTuple):
    direction: str
    depth: int | None = None
    limit: int | None = None
    rankdir: str = "TB"
    notes: bool = True


def _drawing(given: Subject, nodes: list[Node], options: _Options) -> Drawing:
    direction, depth, limit, rankdir, with_notes = options
    made_up = any(map(is_shape, given.inputs))
    boxes, left_out, quick = boxes_of(nodes, depth, limit, direction)
    lacks = []
    if made_up:
        lacks.append("from shapes alone: no values")
    elif nodes[-1].x._grad is None:
        lacks.append(f"{CAPTION} on the cost, and draw that" if given.cost is None else CAPTION)

    def drawing(boxes: list[Box], said: list[str], simpler: Drawing | None = None) -> Drawing:
        picture = Picture(nodes, boxes, direction, not made_up, said + lacks if with_notes else [])
        return Drawing(nodes[-1].name, picture, rankdir, simpler)

    simpler = None
    if not quick or len(boxes) > SIMPLEST:
        # made now, as training changes the arrays; it is drawn only where Graphviz does not finish the other one
        late = f"{len(boxes):,} boxes took Graphviz more than {SECONDS} s"
        runs = summary_of(nodes, SIMPLEST, lambda _: True)
        simpler = drawing(runs, [f"{late}: summarised by runs of ops"])
        if limit is not None and not quick:
            fewer, others, _ = boxes_of(nodes, depth, None, direction)
            simpler = drawing(fewer, [f"{late}: {others[0].partition(': ')[2].partition(';')[0]}"], simpler)
    return drawing(boxes, left_out, simpler)


class Drawing:
    """A picture of a graph; `draw` makes it.

    Examples
    --------
    >>> import numpy as np, tinygrad_dls as tg
    >>> from tinygrad_dls.drawing.draw import draw
    >>> w = tg.Tensor([[1.0, 2.0]], requires_grad=True, name="w")
    >>> drawing = draw(np.sum(w * w))
    >>> print(drawing.source.splitlines()[0])
    digraph J {
    """

    def __init__(self, title: str, picture: Picture, rankdir: str = "TB", simpler: Drawing | None = None) -> None:
        self._title, self._picture, self._simpler = title, picture, simpler
        self._rankdir, self._labels, self._facts = rankdir, labels_of(picture), picture.facts()  # the numbers of now
        self._graph = digraph(title, picture, self._labels, rankdir)
        self._source: str = self._graph.source

    @property
    def source(self) -> str:
        """The graph in the DOT language. It needs no Graphviz."""
        return self._source

    @property
    def graphviz(self) -> graphviz.Digraph:
        """The graph as an object of the package `graphviz`, a copy: to add to it, to restyle it, to render it.

        Examples
        --------
        >>> import numpy as np, tinygrad_dls as tg
        >>> from tinygrad_dls.drawing.draw import draw
        >>> w = tg.Tensor([[1.0, 2.0]], requires_grad=True, name="w")
        >>> graph = draw(np.sum(w * w)).graphviz
        >>> graph.node("mine", "The weights that I start from")
        >>> graph.edge("mine", "node-w")
        >>> graph.source.count("->")
        4
        """
        return self._graph.copy()

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the picture to a file; its ending says the format.

        A file of that name is replaced once the whole picture is there: an error, or a kill, leaves it as it was. It
        keeps its permissions, and a symbolic link is followed.

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
        PermissionError
            If the file is read-only.
        RuntimeError
            If Graphviz is missing for ``.png`` or ``.pdf``, saying how to get it.

        Examples
        --------
        >>> import numpy as np, tempfile, tinygrad_dls as tg
        >>> from tinygrad_dls.drawing.draw import draw
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
        write_whole(file, self._in_format(ending[1:]))
        return file

    def widget(self, ident: str = "graph") -> str:
        """The interactive picture as a piece of HTML, for a page that also holds `drawing.page`'s STYLE and SCRIPT.

        Parameters
        ----------
        ident : str, default "graph"
            Tells it from other pictures on the page.
        """
        from tinygrad_dls.drawing.page import widget

        drawn, picture = self._svg()
        return widget(picture, drawn._facts, ident)

    def _in_format(self, format: str) -> bytes:
        if format == "dot":
            return self._source.encode("utf-8")
        if format == "svg":
            return self._svg()[1].encode("utf-8")
        if format == "html":
            from tinygrad_dls.drawing.page import page

            drawn, picture = self._svg()
            return page(picture, drawn._facts, title=self._title).encode("utf-8")
        return self._drawn(format)[1]

    def _svg(self) -> tuple[Drawing, str]:
        """The picture as SVG, and what it is of: as Graphviz draws it, and without Graphviz as we do."""
        try:
            drawn, picture = self._drawn("svg")
            return drawn, picture.decode("utf-8")
        except GraphvizNotFoundError:
            from tinygrad_dls.drawing.svg import picture_of

            return self, picture_of(self._title, self._picture, self._labels, self._rankdir)

    def _drawn(self, format: str) -> tuple[Drawing, bytes]:
        """The picture as Graphviz draws it: where that does not finish in time, of a simpler drawing."""
        graph = self.graphviz
        if format == "png":
            graph.graph_attr["dpi"] = "144"  # sharp on today's screens
        try:
            return self, render(graph.source, format, seconds=SECONDS)
        except GraphvizTimeoutError:
            if self._simpler is None:
                raise
            return self._simpler._drawn(format)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        """What a notebook shows: the picture, no wider than the page, with ids of its own; text in a console."""
        from tinygrad_dls.drawing.page import fragment

        picture = self._svg()[1]
        ident = f"tg-{hashlib.sha256(picture.encode()).hexdigest()[:8]}"
        fitting = fragment(picture, ident).replace("<svg ", '<svg style="max-width: 100%; height: auto" ', 1)
        return {"image/svg+xml": fitting, "text/plain": repr(self)}

    def __repr__(self) -> str:
        boxes, edges = len(self._picture.boxes), len(self._picture.edges)
        return (
            f"Drawing of {self._title}: {boxes} box{'es' if boxes != 1 else ''}, {edges} "
            f"edge{'s' if edges != 1 else ''}. "
            'Write .save("graph.svg") for a file.'
        )
