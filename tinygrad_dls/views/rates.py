"""The view of a range test: what each learning rate did to the cost, and the one to begin with."""

from __future__ import annotations

from tinygrad_dls.training.rates import LearningRates
from tinygrad_dls.views import markup

__all__ = ["view"]

ROWS = 20  # as many rates as a page shows without scrolling


def view(found: LearningRates) -> str:
    """The rates and their costs as a table: of many, some at equal distances; the lowest cost stands out."""
    lowest = min(range(len(found.costs)), key=found.costs.__getitem__)
    step = -(-len(found.lrs) // ROWS)
    shown = sorted({*range(0, len(found.lrs), step), lowest})
    rows = [[f"{found.lrs[i]:.3g}", f"{found.costs[i]:#.6g}", "the lowest cost" if i == lowest else ""] for i in shown]
    return markup.view(repr(found), markup.table(["learning rate", "cost", ""], rows, right=range(2)))
