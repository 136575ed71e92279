"""One thread at a time: a parameter has one gradient, so one thread at a time may train it.

`Training` says so for as long as a fit or a compiled step lasts, and an optimizer notices if another thread zeroes
the gradients between its ``zero_grad`` and its ``step``.
"""

from __future__ import annotations

from _thread import allocate_lock, get_ident  # threading itself is loaded where two threads meet
from collections.abc import Iterable
from typing import Any, TypeAlias

from tinygrad_dls.engine.identity import ById
from tinygrad_dls.engine.tensor import Tensor

Mark: TypeAlias = tuple[int, Iterable[Tensor]]  # a thread, and the parameters whose gradients it zeroed
Cell: TypeAlias = dict[str, Any]  # of some parameters: who trains them, and which thread zeroed their gradients last

_cells: ById[Cell] = ById()
_cells_lock = allocate_lock()


def _cells_of(parameters: Iterable[Tensor]) -> list[Cell]:
    """The cells of these parameters; those that have none yet share one, so that there are few to look at."""
    new: Cell = {"zeroed": None}
    with _cells_lock:
        found = {id(cell): cell for cell in [_cells.setdefault(p, new) for p in parameters]}
    return list(found.values())


class Training:
    """A thread's work on some parameters, from `begin` to `end`; meanwhile, `begin` refuses other threads.

    Within it, the same thread may begin others on the same parameters. `end` may be done again, and without `begin`:
    Ctrl-C may come anywhere. An object is for one thread at a time.

    Parameters
    ----------
    parameters : iterable of Tensor
        Those of the model, and of the optimizer.
    who : str
        Who trains, for the error.
    """

    def __init__(self, parameters: Iterable[Tensor], who: str) -> None:
        self.parameters = set(parameters)
        self.who = who
        self.thread = 0
        self.zeroed: tuple[int, set[Tensor]] = (0, self.parameters)
        self.cells = _cells_of(self.parameters)

    def begin(self) -> None:
        """Keep other threads away, from here on.

        Raises
        ------
        RuntimeError
            If another thread trains any of the parameters.
        """
        thread = get_ident()
        if thread != self.thread:
            self.thread, self.zeroed = thread, (thread, self.parameters)
        for cell in self.cells:
            holder = cell.setdefault("training", self)  # looks and takes it at once: no thread comes between
            if holder.thread != thread:
                self._met(cell, holder)
            cell["zeroed"] = self.zeroed  # an eager step of another thread is not to go on with these gradients

    def _met(self, cell: Cell, holder: Training) -> None:
        if not _is_running(holder.thread):  # it ended without `end`, in a process that was forked say
            cell["training"] = self
        elif not holder.parameters.isdisjoint(self.parameters):
            self.end()
            raise _two_threads(self.who)

    def end(self) -> None:
        """Let others begin."""
        for cell in self.cells:
            if cell.get("training") is self:
                cell.pop("training", None)


def _is_running(thread: int) -> bool:
    import threading

    return any(t.ident == thread for t in threading.enumerate())


def _two_threads(who: str) -> RuntimeError:
    return RuntimeError(
        f"{who}: another thread is training this model, and a parameter has one gradient. Let one end before the other "
        "begins (thread.join(), or a lock around whole steps), or give each thread a copy.deepcopy of the model, and "
        "an optimizer of its own."
    )
