"""The view of a compiled step or function: what was made of it, and the program that runs, folded."""

from __future__ import annotations

from tinygrad_dls.compiler.compiled import Compiled
from tinygrad_dls.views import markup

__all__ = ["view"]


def view(x: Compiled) -> str:
    """What `explain` says, a line for each; before the first call, that there is nothing yet."""
    if x._now is None:
        waiting = f"Nothing is recorded yet: call {x.how_to_call} first."
        return markup.view(repr(x), markup.lines([waiting]))
    source = x.source
    body = [markup.lines(x.explain().splitlines(), "tg-said")]
    if source:
        body.append(markup.code(source.strip("\n"), summary=f"The program that runs, {_lines(source)}"))
    return markup.view(repr(x), *body)


def _lines(source: str) -> str:
    count = len(source.strip("\n").splitlines())
    return f"{count:,} line{'s' * (count != 1)}"
