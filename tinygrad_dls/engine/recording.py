"""Whether ops record the graph, and who looks on: one switch, that each thread and each task has for itself."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, TypeAlias

from tinygrad_dls.engine.switches import Switch, left

__all__ = ["no_grad", "recording"]

# True if ops record the graph, False if not; or an observer: ops record, and it is called with every Tensor that they
# record, and with every leaf that `backward` ends at.
Observer: TypeAlias = Callable[[Any], None]
recording: ContextVar[bool | Observer] = ContextVar("tinygrad_dls_recording", default=True)

# The switches that `no_grad` has to set back, the innermost last; each thread and each task has its own.
_before: ContextVar[tuple[bool | Observer, ...]] = ContextVar("tinygrad_dls_before_no_grad", default=())


class no_grad(Switch):  # noqa: N801  # used as a function
    """Switch the recording of the graph off: as a context manager, or as a decorator.

    The switch is a `contextvars.ContextVar`: threads and tasks that run beside the block do not see it, and it is set
    back even when the block raises. One object may be used again, nested, and by several threads. If it decorates a
    generator or a coroutine, recording is off while the code of that runs, and on again while the caller's code runs.
    (A block around a ``yield`` would stay open in the caller's code too: decorate the generator instead.)

    Raises
    ------
    TypeError
        If it decorates without parentheses, or something that is no function.

    Examples
    --------
    >>> import tinygrad_dls as tg
    >>> w = tg.Tensor([1.0, 2.0], requires_grad=True)
    >>> with tg.no_grad():
    ...     z = w * w
    >>> z.requires_grad
    False
    """

    __slots__ = ()

    def __enter__(self) -> None:
        _before.set((*_before.get(), recording.get()))
        recording.set(False)

    def __exit__(self, *error: object) -> None:
        recording.set(left("no_grad", _before))
