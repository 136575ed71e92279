"""What a notebook shows: objects that have a view in HTML beside their plain text.

Nothing here knows HTML: that is made far above, by `tinygrad_dls.views`, which is loaded when a notebook first asks.
"""

from __future__ import annotations

import importlib

__all__ = ["Viewed"]


class Viewed:
    """Something that notebooks show as HTML, by a view that `tinygrad_dls.views` has for its class."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        return str(importlib.import_module("tinygrad_dls.views").html_of(self))
