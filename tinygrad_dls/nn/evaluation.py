"""The switch of evaluation: no dropout, and no graph."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar, copy_context
from typing import Any, TypeVar

from tinygrad_dls.engine.recording import recording

T = TypeVar("T")

evaluation: ContextVar[bool] = ContextVar("tinygrad_dls_evaluation", default=False)


def evaluated(function: Callable[..., T], *args: Any) -> T:
    """What a function returns without a graph, and with all modules in evaluation mode.

    It runs in a copy of the context: no other thread sees the switches, no module is changed, and Ctrl-C, wherever it
    comes, leaves nothing behind.
    """

    def run() -> T:
        evaluation.set(True)
        recording.set(False)
        return function(*args)

    return copy_context().run(run)
