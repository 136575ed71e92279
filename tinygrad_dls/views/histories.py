"""The view of a history: its figures by epoch, and the curves of the costs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from tinygrad_dls.training.history import COST, VALIDATION_COST, History
from tinygrad_dls.views import markup
from tinygrad_dls.views.markup import Markup, element

__all__ = ["view"]

FIRST, LAST = 3, 5  # epochs that are shown of a long history
POINTS = 240  # of a curve: more than there are pixels for show nothing more
WIDTH, HEIGHT, LEFT, BELOW = 420, 130, 52, 18  # of the drawing, and of its margins for the numbers
ABOVE = 20
NAMES = {"first": "training", "second": "validation"}


def view(history: History) -> str:
    """A history: the first and the last epochs as a table, and the costs as curves."""
    columns = history.columns
    body = [_curves({"first": columns[COST], "second": columns.get(VALIDATION_COST, [])})] if len(history) > 1 else []
    if len(history):
        head = ["epoch", *(name.replace("_", " ") for name in columns)]
        body.append(markup.table(head, _rows(columns), right=range(len(head))))
    return markup.view(repr(history), *body)


def _rows(columns: dict[str, list[float]]) -> Iterator[list[str]]:
    count = len(columns[COST])
    left_out = count - FIRST - LAST
    for epoch in range(count):
        if left_out > 1 and FIRST <= epoch < count - LAST:
            if epoch == FIRST:
                yield [f"... {left_out:,} more ..."]
            continue
        yield [f"{epoch:,}", *(f"{column[epoch]:#.6g}" for column in columns.values())]


# -- curves -----------------------------------------------------------------------------------------------------------


def _curves(costs: dict[str, list[float]]) -> Markup:
    """The costs by epoch, from the smallest number to the largest; where one is not finite, there is a gap."""
    finite = [x for column in costs.values() for x in column if math.isfinite(x)]
    if not finite:
        return Markup("")
    low, high = min(finite), max(finite)
    epochs = max(map(len, costs.values()))
    bottom, right = HEIGHT - BELOW, WIDTH - 8

    def at(epoch: float, cost: float) -> str:
        share = (cost / 2 - low / 2) / (high / 2 - low / 2) if high > low else 0.5  # halves do not overflow
        return f"{LEFT + (right - LEFT) * epoch / max(epochs - 1, 1):.1f} {bottom - (bottom - ABOVE) * share:.1f}"

    def text(x: float, y: float, words: str, anchor: str, class_: str = "") -> Markup:
        return element("text", words, x=f"{x:g}", y=f"{y:g}", text_anchor=anchor, class_=class_)

    axes = [element("line", x1=str(LEFT), y1=str(y), x2=str(right), y2=str(y)) for y in ((ABOVE, bottom))]
    numbers = [
        text(LEFT - 6, bottom + 4, f"{low:.3g}", "end"),
        text(LEFT - 6, ABOVE + 4, f"{high:.3g}" if high > low else "", "end"),
        text(LEFT, HEIGHT - 3, "0", "middle"),
        text(right, HEIGHT - 3, f"{epochs - 1:,}", "end"),
        text((LEFT + right) / 2, HEIGHT - 3, "epoch", "middle"),
        text(LEFT, 11, "cost J", "start"),
    ]
    drawn = {name: column for name, column in costs.items() if column}
    if len(drawn) > 1:
        places = zip(drawn, (right - 80, right), strict=True)
        numbers += [text(x, 11, NAMES[name], "end", f"tg-key-{name}") for name, x in places]
    paths = [
        element("path", d=" ".join(_path(column, at)), class_="" if name == "first" else f"tg-{name}")
        for name, column in drawn.items()
    ]
    label = f"The cost by epoch, from {drawn['first'][0]:.4g} to {drawn['first'][-1]:.4g}"
    return element("svg", *axes, *numbers, *paths, viewBox=f"0 0 {WIDTH} {HEIGHT}", class_="tg-curve", role="img",
                   aria_label=label)  # fmt: skip


def _path(column: Sequence[float], at: Callable[[float, float], str]) -> Iterator[str]:
    """The commands of a line; of a long one, the lowest and the highest of neighbours, so that no spike is lost."""
    pen = "M"
    for epoch, cost in _thinned(column):
        if not math.isfinite(cost):
            pen = "M"
            continue
        yield f"{pen}{at(epoch, cost)}"
        if pen == "M":
            yield f"L{at(epoch, cost)}"  # a point, if nothing follows
        pen = "L"


def _thinned(column: Sequence[float]) -> Iterator[tuple[int, float]]:
    step = max(1, 2 * len(column) // POINTS)
    if step < 3:
        yield from enumerate(column)
        return
    for start in range(0, len(column), step):
        part = range(start, min(start + step, len(column)))
        finite = [epoch for epoch in part if math.isfinite(column[epoch])]
        chosen = {min(finite, key=column.__getitem__), max(finite, key=column.__getitem__)} if finite else {start}
        if start + step >= len(column):
            chosen.add(len(column) - 1)
        for epoch in sorted(chosen):
            yield epoch, column[epoch]
