"""Lanes: the tiles of a step in a fixed number of groups, which threads share; and BLAS held to one thread meanwhile.

Each lane adds up its tiles in order, and the lanes are added up in order. So the result does not depend on how many
threads there are, or which of them took what.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any

__all__ = ["LANES", "available", "one_blas_thread", "shared"]

LANES = 8

_guard = threading.Lock()
_pools: dict[int, ThreadPoolExecutor] = {}  # by process: threads do not survive a fork
_controller: Any = None
_limiter: Any = None
_holders = 0


def available() -> int:
    """Processors that this process may use; 1 if BLAS cannot be held to one thread, as threadpoolctl is missing."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, LANES) if _blas() is not None else 1


def _blas() -> Any:
    """The controller of the BLAS libraries that are loaded; None without threadpoolctl."""
    global _controller
    if _controller is None:
        try:
            from threadpoolctl import ThreadpoolController  # the extra "threads"
        except ImportError:
            return None
        _controller = ThreadpoolController().select(user_api="blas")
    return _controller


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Hold BLAS to one thread within the block, however many blocks there are at once."""
    global _limiter, _holders
    controller = _blas()
    if controller is None:
        yield
        return
    with _guard:
        if _holders == 0:
            _limiter = controller.limit(limits=1)
        _holders += 1
    try:
        yield
    finally:
        with _guard:
            _holders -= 1
            if _holders == 0:
                _limiter.restore_original_limits()
                _limiter = None


def shared(tasks: range, work: Callable[[int, int], None], threads: int) -> None:
    """Do all the tasks, ``work(worker, task)``, by this thread and by others that help.

    When it returns or raises, nobody works any more.
    """
    waiting = deque(tasks)

    def run(worker: int) -> None:
        while True:
            try:
                task = waiting.popleft()
            except IndexError:
                return
            work(worker, task)

    helpers = [_pool().submit(copy_context().run, run, worker) for worker in range(1, threads)]
    try:
        run(0)
    finally:
        waiting.clear()
        _ended(helpers)
    for helper in helpers:
        if not helper.cancelled():
            helper.result()


def _ended(helpers: list[Any]) -> None:
    """Wait for the helpers that have begun, even if Ctrl-C comes meanwhile: they write into our memory."""
    interrupted = None
    for helper in helpers:
        while not helper.cancel() and not helper.done():
            try:
                helper.exception()
            except BaseException as error:
                interrupted = error
    if interrupted is not None and isinstance(interrupted, KeyboardInterrupt):
        raise interrupted


def _pool() -> ThreadPoolExecutor:
    with _guard:
        pool = _pools.get(os.getpid())
        if pool is None:
            _pools.clear()
            pool = _pools[os.getpid()] = ThreadPoolExecutor(LANES, thread_name_prefix="tinygrad_dls")
        return pool
