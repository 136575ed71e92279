"""How views and pages look: the colors in `palette.css`, for all of them, and the views' own rules in `view.css`.

A view stands in somebody else's page, so each of its rules is for what is in ``.tg-box``, and its colors are its own: it can
be read on any background, whether or not a notebook's theme is known here.
"""

from __future__ import annotations

from importlib.resources import files

__all__ = ["PALETTE", "VIEW"]


def _file(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


PALETTE = _file("palette.css")  # for pages, whose own rules come after it
VIEW = PALETTE + _file("view.css")
