"""One HTML file around a picture of a graph: zoom it, fold its modules, look at its nodes, follow one gradient.

The one idea: Graphviz, or `tinygrad_dls.drawing.svg`, has already drawn the graph. A page is the picture, the facts
about it as JSON, and one small hand-written script that shows, hides and dims parts of the picture by their ids; where
modules are closed, it moves what is left together. All of it is in the file: no server, no network, it opens from a
disk.

A page may hold several pictures: `widget` is one of them as a fragment, `STYLE` and `SCRIPT` are there once for all of
them, the script at the end of the page. `page` is the simplest such page. The script expects of a picture what both
make: groups of the classes ``node``, ``edge`` and ``cluster``, with ids.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from importlib.resources import files
from string import Template
from typing import Any

from tinygrad_dls.views.style import PALETTE

__all__ = ["SCRIPT", "STYLE", "fragment", "page", "widget"]


def _file(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


STYLE = PALETTE + _file("page.css")
SCRIPT = _file("page.js").replace("/* layout.js */", _file("layout.js").rstrip())
_PAGE = Template(_file("page.html"))
_WIDGET = Template(_file("widget.html"))


def page(svg: str, facts: Mapping[str, Any], *, title: str) -> str:
    """A whole HTML file that shows one picture.

    Parameters
    ----------
    svg : str
        What Graphviz's ``dot -Tsvg`` made, or `tinygrad_dls.drawing.svg`.
    facts : Mapping
        What the picture shows, see `widget`.
    title : str
        The heading, as plain text.

    Returns
    -------
    str
        To be saved as UTF-8.

    Raises
    ------
    ValueError
        If there is no ``<svg>`` in `svg`, or `facts` lacks a part.
    """
    return _PAGE.substitute(title=html.escape(title), style=STYLE, widget=widget(svg, facts, "graph"), script=SCRIPT)


def widget(svg: str, facts: Mapping[str, Any], ident: str) -> str:
    """A picture and its facts as a fragment of HTML, for a page that has `STYLE` and, at its end, `SCRIPT`.

    Parameters
    ----------
    svg : str
        What Graphviz's ``dot -Tsvg`` made, or `tinygrad_dls.drawing.svg`.
    facts : Mapping
        Four mappings, with the ids that are in `svg`; any text will do, none is read as HTML.

        - ``"nodes"``: an id to the lines of the node's card: its ``"name"``, and what else there is to say, such as
          ``"formula"``, ``"shape"``, ``"dtype"``, ``"value"``, ``"gradient"``, ``"norm"``. An empty one is left out.
        - ``"parameters"``: the name of a parameter to the ids on the path of its gradient.
        - ``"modules"``: the id of a cluster to its ``"label"``, and to the ids of what it ``"holds"``: nodes, the edges
          that do not leave it, and the modules in it.
        - ``"edges"``: an id to the nodes at the tail and at the head, and whether it is a gradient's.
    ident : str
        Tells the pictures of a page apart: all ids in the fragment begin with it.

    Raises
    ------
    ValueError
        If there is no ``<svg>`` in `svg`, `facts` lacks a part, or `ident` is not a letter and then letters, digits,
        ``-`` and ``_``.
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", ident):
        raise ValueError(f"ident must be a letter and then letters, digits, - and _, got {ident!r}")
    if missing := {"nodes", "parameters", "modules", "edges"} - set(facts):
        raise ValueError(f"facts lack {', '.join(sorted(missing))}")
    return _WIDGET.substitute(ident=ident, svg=fragment(svg, ident), facts=_json(facts))


def fragment(svg: str, ident: str) -> str:
    """The ``<svg>`` element alone, without what only an XML file begins with, and with `ident` before all ids."""
    found = re.search(r"<svg\b.*</svg>", svg, re.DOTALL)
    if found is None:
        raise ValueError(f"no <svg> in what should be a picture: it begins with {svg[:60]!r}")
    return _prefixed(found[0], ident)


def _prefixed(svg: str, ident: str) -> str:
    """With `ident` before all ids, and before all references to them. Graphviz escapes ``<`` and ``"`` in its texts."""
    svg = re.sub(r'(<[^<>]*?\sid=")', rf"\1{ident}-", svg)
    return re.sub(r'(url\(#|\shref="#|:href="#)', rf"\1{ident}-", svg)


def _json(facts: Mapping[str, Any]) -> str:
    """The facts as JSON in which nothing can end the ``<script>`` that it stands in."""
    return json.dumps(facts, default=dict, allow_nan=False).replace("<", r"\u003c")
