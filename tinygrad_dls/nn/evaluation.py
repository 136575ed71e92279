"""The switch of evaluation: no dropout, and no graph."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextvars import ContextVar, copy_context
from typing import Any, TypeVar

from tinygrad_dls.engine.errors import RecordedElsewhereError
from tinygrad_dls.engine.recording import recording

T = TypeVar("T")

PATIENCE = 60.0  # seconds for another thread's recordings, which take a small part of one; unless it waits for this one

evaluation: ContextVar[bool] = ContextVar("tinygrad_dls_evaluation", default=False)


def evaluated(function: Callable[..., T], *args: Any) -> T:
    """What a function returns without a graph, and with all modules in evaluation mode.

    It runs in a copy of the context: no other thread sees the switches, no module is changed, and Ctrl-C, wherever it
    comes, leaves nothing behind. While another thread records a program of the model, it waits.

    Raises
    ------
    RecordedElsewhereError
        If that takes a minute.
    """

    def run() -> T:
        evaluation.set(True)
        recording.set(False)
        return function(*args)

    latest = time.monotonic() + PATIENCE
    while True:
        try:
            return copy_context().run(run)
        except RecordedElsewhereError as error:
            left = latest - time.monotonic()
            if left <= 0 or not error.recorded.acquire(timeout=left):
                raise
            error.recorded.release()
