"""How views and pages look: the colors in `palette.css`, for all of them, and the views' own rules in `view.css`.

A view stands in somebody else's page. So its rules are for what is in ``.tg-box`` alone, and it has a background of its
own: it can be read on any other, whether or not a notebook's theme is known here.
"""

from __future__ import annotations

import re
from importlib.resources import files

__all__ = ["PALETTE", "VIEW"]


def _file(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _short(text: str) -> str:
    """A stylesheet without comments and line breaks."""
    return " ".join(re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL).split())


PALETTE = _file("palette.css").replace(".tg-box", ".tg-page, .tg-figure, .walk")  # of pages, before their own rules
VIEW = _short(_file("palette.css") + _file("view.css"))  # it comes with each view
