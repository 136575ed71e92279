"""What is watched, one by one: how to look it up, what it was, how to put that back, and whether it has changed.

Each says so in two ways: as methods, and as an expression that calls as little as it can, which is a part of the one
that `captured` compares all of them by, at a glance.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from tinygrad_dls.compiler.reading import MISSING, NUMBERS, nothing

__all__ = ["KINDS_OF_NUMBERS", "Container", "Put", "Same", "Watched", "alike", "equal", "kinds_in", "values_in"]

KINDS_OF_NUMBERS = (int, float, complex, np.generic)  # which are equal to those of other kinds, as 1 is to True

Same: TypeAlias = Callable[[Any, Any], bool]
Put: TypeAlias = Callable[[Any], Any]


def equal(x: Any, y: Any) -> bool:
    """Whether two things are the same one, or the same number; -0.0 is another one than 0.0, which shows in 1 / x."""
    if x is y:
        return True
    return type(x) is type(y) and isinstance(x, NUMBERS) and bool(x == y) and (bool(x) or repr(x) == repr(y))


def alike(x: Any, y: Any) -> bool:
    """Whether two lists, as they were made to be compared, hold the same things, or the same numbers."""
    if type(x) is type(y) and isinstance(x, (list, tuple)):
        return len(x) == len(y) and all(map(alike, x, y))
    return equal(x, y)


def values_in(x: Any) -> Any:
    """What stands in a list or a dict, in order."""
    return x.values() if isinstance(x, dict) else x


def kinds_in(x: Any) -> list[type]:
    """Of which classes the things in a list or a dict are."""
    return [*map(type, values_in(x))]


class Watched:
    """Something that a program depends on.

    Attributes
    ----------
    name : str or None
        What errors call it; None for what is compared and never spoken of.
    get : callable
        Looks it up, as something to compare.
    value
        What `get` gave when it was recorded.
    put : callable
        Makes it what it was, given `value`.
    same : callable
        Whether what `get` gives now is the same as `value`; it is not asked of the same object.
    glance : str
        An expression that is true if it has not changed, with a number in the place of ``#``.
    parts : dict of str to object
        What the expression reads besides.
    """

    __slots__ = ("get", "glance", "name", "parts", "put", "same", "value")

    def __init__(
        self,
        name: str | None,
        get: Callable[[], Any],
        put: Put,
        same: Same = equal,
        glance: str = "((now := get#()) is value# or same#(now, value#))",
        **parts: Any,
    ) -> None:
        self.name, self.get, self.put, self.same, self.value = name, get, put, same, get()
        self.glance, self.parts = glance, parts

    def read(self) -> dict[str, Any]:
        """What the expression reads, by name."""
        known = {"get": self.get, "value": self.value, "same": self.same, **self.parts}
        return {part: x for part, x in known.items() if f"{part}#" in self.glance}

    def holds(self) -> bool:
        """Whether it has not changed."""
        now = self.get()
        return now is self.value or self.same(now, self.value)

    def changes(self) -> list[str]:
        """Its name, if it is to be told and has changed."""
        if self.name is None or self.same(self.get(), self.value):
            return []
        return [self.name]

    def restore(self) -> None:
        """Put it back if it has changed; a number also if it is only equal, as -0.0 is to 0.0."""
        if self.put is nothing:
            return
        now = self.get()
        if now is not self.value and (self.same is equal or not self.same(now, self.value)):
            self.put(self.value)

    def accept(self) -> bool:
        """Take it as it is now; False if it is gone."""
        try:
            self.value = self.get()
        except LookupError:
            return False
        return True


class Container(Watched):
    """A list, a dict or a set, compared by what is in it; of the attributes of a module, those that code reads.

    Attributes
    ----------
    container
        It itself, which is compared with the copy at each step.
    counting : set of str or None
        The keys that count; None for all of them.
    """

    __slots__ = ("container", "counting")

    def __init__(self, name: str, container: Any) -> None:
        super().__init__(name, container.copy, partial(put_items, container), self._same)
        self.container = container
        self.counting: frozenset[str] | None = None

    def _same(self, now: Any, before: Any) -> bool:
        counting = self.counting
        if counting is None:
            return bool(now == before)
        return all(
            equal(now.get(key, MISSING), before.get(key, MISSING))
            for key in dict.fromkeys([*now, *before])
            if key in counting or key not in before
        )

    def holds(self) -> bool:
        """Whether what counts has not changed; what does not is taken as it is, so that a glance is enough again."""
        if not self._same(self.container, self.value):
            return False
        if self.counting is not None:
            self.accept()
        return True

    def changes(self) -> list[str]:
        """The names of what is in it and has changed."""
        now, before, name = self.container, self.value, str(self.name)
        if isinstance(before, dict):
            keys = dict.fromkeys([*before, *now])
            return [f"{name}.{key}" for key in keys if not equal(now.get(key, MISSING), before.get(key, MISSING))]
        return [] if len(now) == len(before) and all(map(equal, self.get(), before)) else [name]

    def restore(self) -> None:
        """Put all of it back."""
        self.put(self.value)


def put_items(container: Any, before: Any) -> None:
    """Put back what was in a container, into it itself."""
    if isinstance(container, dict):
        for key in [key for key in container if key not in before]:
            del container[key]
        for key, x in before.items():
            if container.get(key, MISSING) is not x:
                container[key] = x
    elif isinstance(container, list):
        container[:] = before
    else:
        container.intersection_update(before)
        container.update(before)
