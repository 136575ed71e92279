"""The view of a model, and of its summary: a table of its layers."""

from __future__ import annotations

from tinygrad_dls.nn.module import Module
from tinygrad_dls.nn.summary import HEAD, RIGHT, Summary
from tinygrad_dls.views import markup
from tinygrad_dls.views.summaries import known_of

__all__ = ["view"]

DEEPER = "\u2003"  # a wide space for each module that a layer lies in; it stays where a page drops styles


def view(x: Module | Summary) -> str:
    """A model as a table; a summary, with what its layers gave."""
    summary = known_of(x) if isinstance(x, Module) else x
    head, *rows = summary.rows
    at = head.index("kind")
    shown = [
        (*row[:at], DEEPER * layer.depth + row[at], *row[at + 1 :])
        for row, layer in zip(rows, summary.layers, strict=True)
    ]
    right = [i for i, title in enumerate(head) if HEAD.index(title) in RIGHT]
    return markup.view(summary.title, markup.table(head, shown, right=right), markup.lines(summary.totals))
