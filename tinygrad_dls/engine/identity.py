"""What is known of objects, by who they are: `==` of Tensors compares entries, and a user's class may have no hash.

A `ById` does not keep its objects alive. It has no callbacks of weak references, in which Python would lose a Ctrl-C;
entries of objects that are gone are dropped when others come.
"""

from __future__ import annotations

import weakref
from typing import Any, Generic, TypeVar

__all__ = ["ById"]

V = TypeVar("V")


class ById(Generic[V]):
    """A table of objects and values.

    Examples
    --------
    >>> class Thing: ...
    >>> thing, table = Thing(), ById()
    >>> table.setdefault(thing, 1), table.setdefault(thing, 2), table.get(Thing())
    (1, 1, None)
    """

    def __init__(self) -> None:
        self._entries: dict[int, tuple[weakref.ref[Any], V]] = {}
        self._limit = 64  # entries to look through once there are so many: few enough on the whole

    def get(self, x: Any) -> V | None:
        """Return what is known of an object, or None."""
        known, value = self._entries.get(id(x), (None, None))
        return value if known is not None and known() is x else None

    def set(self, x: Any, value: V) -> None:
        """Know this of an object."""
        self._entries[id(x)] = weakref.ref(x), value
        if len(self._entries) > self._limit:
            for key, (known, _) in list(self._entries.items()):
                if known() is None:
                    self._entries.pop(key, None)
            self._limit = 2 * len(self._entries) + 64

    def setdefault(self, x: Any, value: V) -> V:
        """Return what is known of an object; if nothing is, know this from now on."""
        known = self.get(x)
        if known is None:
            self.set(x, value)
            return value
        return known
