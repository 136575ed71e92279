"""One thread at a time: a parameter has one gradient, so one thread at a time may train it.

`Training` says so for as long as a fit or a compiled step lasts, and an optimizer notices if another thread zeroes
the gradients between its ``zero_grad`` and its ``step``.

What threads say to each other stands in cells, which parameters share. A training that ends a step keeps its name in
the cell, so that the next step has nothing to do but to look; whether it is at work is said by its own `busy`. So a
step begins with two actions, in this order: it sets its `busy`, and then it looks whether the cell still has its name.
Who takes the cell does the opposite, in this order: it writes its own name, and then it looks at the `busy` of the name
that it found. Whichever order the four come in, one of the two sees the other:

- The step looks before the other has written its name: then it had set `busy` even earlier, and the other, who looks
  at it later still, finds it set. It puts the old name back, and is refused.
- The step looks after the other has written its name: it does not find its own, and has to take the cell as the other
  did, which finds the other at work. Or it finds the other gone, as that was refused meanwhile, and goes on.

Both may see each other, and then the one that takes the cell is refused, or has ended. Takers do so under a lock, one
after another, so a name that was written for a look is put back before the next taker comes; and a name is removed
under the same lock, so that no other one is removed by mistake. All this takes the actions of a thread to be seen in
their order, which Python's global lock sees to.
"""

from __future__ import annotations

import os
import weakref
from _thread import allocate_lock, get_ident  # threading itself is loaded where two threads meet
from collections.abc import Iterable, Iterator
from typing import TypeAlias

from tinygrad_dls.engine.identity import ById
from tinygrad_dls.engine.tensor import Tensor

Mark: TypeAlias = tuple[int, "Parameters"]  # a thread, and the parameters whose gradients it zeroed


class Cell:
    """What is known of some parameters: who trains them, or did so last, and which thread zeroed their gradients."""

    __slots__ = ("training", "zeroed")

    def __init__(self) -> None:
        self.training: Training | None = None
        self.zeroed: Mark | None = None


class Parameters:
    """Some parameters, not kept alive: cells outlive a training, and are found from its parameters."""

    __slots__ = ("_references",)

    def __init__(self, parameters: Iterable[Tensor] = ()) -> None:
        self._references = [weakref.ref(p) for p in parameters]

    def __iter__(self) -> Iterator[Tensor]:
        for reference in self._references:
            p = reference()
            if p is not None:
                yield p

    def meet(self, others: Iterable[Tensor]) -> bool:
        """Whether one of them is among others."""
        return not set(self).isdisjoint(others)


_cells: ById[Cell] = ById()
_cells_lock = allocate_lock()


def _after_fork() -> None:
    """In a process that was forked: another thread may have held the lock, and it is not there any more."""
    global _cells_lock
    _cells_lock = allocate_lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def cells_of(parameters: Iterable[Tensor]) -> list[Cell]:
    """The cells of these parameters; those that have none yet share one, so that there are few to look at."""
    new = Cell()
    with _cells_lock:
        found = {id(cell): cell for cell in [_cells.setdefault(p, new) for p in parameters]}
    return list(found.values())


class Training:
    """A thread's work on some parameters, from `begin` to `end`; meanwhile, `begin` refuses other threads.

    Within it, the same thread may begin others on the same parameters. `end` may be done again, and without `begin`:
    Ctrl-C may come anywhere. An object is for one thread at a time.

    Who begins again and again spells out `begin` as far as it is needed, ``busy = True`` and a look at each cell, and
    ends by ``busy = False`` alone.

    Parameters
    ----------
    parameters : iterable of Tensor
        Those of the model, and of the optimizer.
    who : str
        Who trains, for the error.

    Attributes
    ----------
    busy : bool
        Whether it is at work. Its own thread sets it, and nobody else.
    """

    def __init__(self, parameters: Iterable[Tensor], who: str) -> None:
        own = list(parameters)
        self.parameters = Parameters(own)
        self.who = who
        self.busy = False
        self.thread = 0
        self.zeroed: Mark = (0, self.parameters)
        self.cells = cells_of(own)

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
        self.busy = True
        for cell in self.cells:
            holder = cell.training
            # within another training of this thread there is nothing to take: who else comes finds that one at work
            if holder is None or not holder.busy or holder.thread != thread:
                self._take(cell)
            cell.zeroed = self.zeroed  # an eager step of another thread is not to go on with these gradients

    def _take(self, cell: Cell) -> None:
        """Write our name into a cell, and then look at the training that was there: it may be at work."""
        with _cells_lock:
            holder = cell.training
            try:
                cell.training = self
                at_work = (
                    holder is not None and holder.busy and (holder.thread == self.thread or is_running(holder.thread))
                )
                if at_work:
                    cell.training = holder
            except BaseException:  # Ctrl-C
                cell.training = holder
                raise
        if holder is not None and at_work and holder.thread != self.thread and holder.parameters.meet(self.parameters):
            self.end()
            raise two_threads(self.who)

    def end(self) -> None:
        """Let others begin."""
        with _cells_lock:  # nobody takes a cell between the look and the removal
            for cell in self.cells:
                if cell.training is self:
                    cell.training = None
            self.busy = False


def is_running(thread: int) -> bool:
    """Whether a thread of this number is running."""
    import threading

    return any(t.ident == thread for t in threading.enumerate())


def two_threads(who: str) -> RuntimeError:
    """The error for a second thread that would train the same parameters."""
    return RuntimeError(
        f"{who}: another thread is training this model, and a parameter has one gradient. Let one end before the other "
        "begins (thread.join(), or a lock around whole steps), or give each thread a copy.deepcopy of the model, and "
        "an optimizer of its own."
    )
