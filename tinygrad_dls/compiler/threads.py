"""Lanes: the tiles of a step in a fixed number of groups, which threads share; and BLAS held to one thread meanwhile.

Each lane adds up its tiles in order, and the lanes are added up in order. So the result does not depend on how many
threads there are, or which of them took what.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

__all__ = ["LANES", "available", "cores", "one_blas_thread", "shared"]

LANES = 8

_guard = threading.Lock()
_pools: list[ThreadPoolExecutor] = []  # one, when there is any; its threads do not survive a fork
_controller: Any = None
_holders: dict[Any, int] = {}  # those who want BLAS to have one thread, and their threads
_before: list[tuple[Any, int]] = []  # the libraries, with the threads that they had when the first of these came


def cores() -> int:
    """Processors that this process may use; not more than there are lanes."""
    return min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, LANES)


def available() -> int:
    """The same, for calls of BLAS; 1 if that cannot be held to one thread, as threadpoolctl is missing."""
    return cores() if _blas() is not None else 1


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


class one_blas_thread:  # noqa: N801  # used as a function
    """Hold BLAS to one thread within the block, however many blocks there are at once.

    Ctrl-C may come between the entry of a block and its body. Whoever cannot have that calls `begin` and `end` within
    ``try``, and `end` again if that raises: it does no harm, however far these have come.
    """

    def begin(self) -> None:
        """Hold it, from here on."""
        controller = _blas()
        if controller is None:
            return
        with _guard:
            if not _holders:
                _before[:] = [(library, library.get_num_threads()) for library in controller.lib_controllers]
            _holders[self] = threading.get_ident()
            for library, _ in _before:
                library.set_num_threads(1)

    def end(self) -> None:
        """Let go; the last who does gives BLAS its threads back. May be done again if it was interrupted."""
        with _guard:
            if _holders.keys() <= {self}:
                _let_go()
            _holders.pop(self, None)

    def __enter__(self) -> None:
        self.begin()

    def __exit__(self, *error: object) -> None:
        self.end()


def _let_go() -> None:
    for library, number in _before:
        library.set_num_threads(number)
    _before.clear()


def _after_fork() -> None:
    """Let go of BLAS and of the lock in a process that was forked, where only the thread that forked goes on."""
    global _guard
    _guard = threading.Lock()
    _pools.clear()
    for holder in [x for x, thread in _holders.items() if thread != threading.get_ident()]:
        del _holders[holder]
    if not _holders:
        _let_go()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def shared(tasks: range, work: Callable[[int, int], Any], threads: int) -> None:
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

    helpers: list[Any] = []
    try:
        helpers.extend(_pool().submit(copy_context().run, run, worker) for worker in range(1, threads))
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
        if not _pools:
            _pools.append(ThreadPoolExecutor(LANES, thread_name_prefix="tinygrad_dls"))
        return _pools[0]
