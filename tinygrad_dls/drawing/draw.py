"""The picture of a graph: every value with its formula, shape and numbers, every edge with its local derivative.

`draw` reads the graph of a Tensor or of a model (`tinygrad_dls.drawing.subject`), decides what is drawn of it
(`tinygrad_dls.drawing.picture`) and writes that down in the DOT language of Graphviz (`tinygrad_dls.drawing.dot`). Only
the picture itself needs Graphviz; `Drawing.source`, ``.save("graph.dot")`` and a notebook do without it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_dls.drawing.dot import dot
from tinygrad_dls.drawing.picture import CAPTION, Picture, boxes_of
from tinygrad_dls.drawing.rendering import GraphvizNotFoundError, render
from tinygrad_dls.drawing.subject import is_shape, nodes_of
from tinygrad_dls.engine.arrays import positive_integer
from tinygrad_dls.engine.errors import shown
from tinygrad_dls.engine.tensor import Tensor
from tinygrad_dls.files import write_whole
from tinygrad_dls.graph.subject import subject
from tinygrad_dls.nn.module import Module

__all__ = ["Drawing", "draw"]

DIRECTIONS = ("forward", "backward", "both")
ENDINGS = (".svg", ".png", ".pdf", ".html", ".dot")


def draw(
    target: Tensor | Module | Callable[..., Any],
    *inputs: Any,
    loss: Callable[[Any, Any], Any] | None = None,
    direction: str = "forward",
    depth: int | None = None,
    limit: int = 1000,
) -> Drawing:
    """Draw the graph behind a Tensor, or of a run of a model or a function.

    A box shows a value's formula, op, shape, dtype, its numbers (an array larger than 4 by 4 as mean, standard
    deviation and range), and its gradient once `backward` has run. Parameters are boxes with corners, inputs ellipses,
    computed values are rounded, and the cost has a double line. An edge carries the local derivative: what a gradient
    is multiplied with on its way back.

    Parameters
    ----------
    target : Tensor, function or Module
        The cost J, or whatever else was computed; or a function that computes it of `inputs`, which is called once; or
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
        If `target` is none of these, a model has no input, or an option is of a wrong type.
    ValueError
        If there is no graph, an option has no such value, or the input does not fit the model.

    Examples
    --------
    >>> import numpy as np, tinygrad_dls as tg
    >>> from tinygrad_dls.drawing.draw import draw
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
    given = subject("draw", target, inputs, loss)
    nodes = nodes_of(given)
    made_up = any(map(is_shape, inputs))
    boxes, notes = boxes_of(nodes, None if depth is None else int(depth), limit)
    if made_up:
        notes.append("from shapes alone: no values")
    elif nodes[-1].x._grad is None:
        notes.append(f"{CAPTION} on the cost, and draw that" if given.cost is None else CAPTION)
    return Drawing(nodes[-1].name, Picture(nodes, boxes, direction, not made_up, notes))


class Drawing:
    """A picture of a graph; `draw` makes it.

    Examples
    --------
    >>> import numpy as np, tinygrad_dls as tg
    >>> from tinygrad_dls.drawing.draw import draw
    >>> w = tg.Tensor([[1.0, 2.0]], requires_grad=True, name="w")
    >>> drawing = draw(np.sum(w * w))
    >>> print(drawing.source.splitlines()[0])
    digraph "J" {
    """

    def __init__(self, title: str, picture: Picture) -> None:
        self._title = title
        self._picture = picture
        self._source, self._facts = dot(title, picture), picture.facts()  # now: training changes the arrays

    @property
    def source(self) -> str:
        """The graph in the DOT language. It needs no Graphviz."""
        return self._source

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
            If Graphviz is missing, saying how to get it. ``.dot`` does not need it.

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

        Raises
        ------
        RuntimeError
            If Graphviz is missing, saying how to get it.
        """
        from tinygrad_dls.drawing.page import widget

        return widget(render(self._source, "svg").decode("utf-8"), self._facts, ident)

    def _in_format(self, format: str) -> bytes:
        if format == "dot":
            return self._source.encode("utf-8")
        if format == "html":
            from tinygrad_dls.drawing.page import page

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
            f"Drawing of {self._title}: {boxes} box{'es' if boxes != 1 else ''}, {edges} "
            f"edge{'s' if edges != 1 else ''}. "
            'Write .save("graph.svg") for a file.'
        )
