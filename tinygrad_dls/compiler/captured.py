"""Captured state: what a recorded step depends on besides its arrays, as one list of watched things.

What is found where stands in `guards`, and how each is watched in `watching`; here is how all of it is compared at each
step, named, put back where a recording has changed it, and taken as it is now.

A small step takes no longer than a few dozen of Python's calls. So what is watched is compared at a glance first: all
of it in one expression, which is written for it and calls as little as it can. Where that does not find all as it was,
each is looked at, as attributes that no code reads may have changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, partial
from operator import attrgetter, eq, getitem, is_, methodcaller
from types import CodeType, FunctionType
from typing import Any

import numpy as np

from tinygrad_dls.compiler.reading import MISSING, nothing
from tinygrad_dls.compiler.watching import Container, Put, Same, Watched, equal
from tinygrad_dls.engine.errors import RecordingError
from tinygrad_dls.engine.inplace import fingerprint
from tinygrad_dls.engine.tensor import Tensor

__all__ = ["ENTRIES", "CapturedState", "contents_of", "put_entries", "put_in_cell", "put_in_order", "put_item"]

ENTRIES = 4096  # of the largest array or container that is compared at each step: far more than a program may hold


class CapturedState:
    """All that is watched for a program.

    Subclasses fill it by `_watch` and its kin.
    """

    def __init__(self) -> None:
        self._watched: list[Watched] = []
        self._of_tensors: dict[int, Watched] = {}  # those of the values of Tensors, by the identity of these
        self._during: list[Watched] = []  # what is put back after a recording, and no part of what a program depends on
        self._copies: list[Any] = []  # of containers, as a glance compares them
        self.unchanged = _unknown  # whether nothing has changed, at a glance; if not, `holds` knows more

    # -- filling it ---------------------------------------------------------------------------------------------------

    def _watch(self, name: str | None, get: Callable[[], Any], put: Put, same: Same = equal) -> Any:
        """Watch something, and return what it is."""
        self._watched.append(watched := Watched(name, get, put, same))
        return watched.value

    def _watch_container(self, name: str, container: Any) -> None:
        self._watched.append(Container(name, container))

    def _watch_quickly(self, get: Callable[[], Any], same: Same, glance: str, **parts: Any) -> None:
        """Watch something by an expression that takes less time than a call of `get`; it is never spoken of."""
        self._watched.append(Watched(None, get, nothing, same, glance, **parts))

    def _watch_item(self, container: Any, key: Any, same: Same = is_) -> None:
        """Watch what stands in a container more closely than by ==: which object, or a number of which kind."""
        glance = "((now := container#[key#]) is value# or same#(now, value#))"
        self._watch_quickly(partial(getitem, container, key), same, glance, container=container, key=key)

    def _watch_class(self, name: str, owner: Any) -> None:
        """Watch of which class a module is, which may be assigned to."""
        put = partial(object.__setattr__, owner, "__class__")
        glance = "type(owner#) is value#"
        self._watched.append(Watched(f"the class of {name}", partial(type, owner), put, is_, glance, owner=owner))

    def _watch_absent(self, place: Any, names: Iterable[str]) -> None:
        """Watch that a dict has none of these keys yet: attributes that code asks for, and an object has not."""
        keys = place.keys()
        if absent := frozenset(names) - keys:
            glance = "keys#.isdisjoint(names#)"
            self._watch_quickly(partial(keys.isdisjoint, absent), equal, glance, keys=keys, names=absent)

    def _watch_array(self, name: str, array: Any) -> None:
        self._watch(name, partial(_form_and_entries, array), partial(_put_entries, array), eq)

    def _watch_value(self, name: str, t: Tensor) -> None:
        """Watch the array of a Tensor, and what is in it."""
        self._watch(name, partial(_value_and_entries, t), partial(_put_value, t), _same_entries)
        self._of_tensors[id(t)] = self._watched[-1]

    def _watch_parameter(self, p: Tensor) -> None:
        """Watch the value of a parameter for as long as it is recorded: a step does change it."""
        get = partial(_value_and_entries, p, of=methodcaller("tobytes"))
        self._during.append(Watched(p.name or "a parameter", get, partial(_put_value, p), _same_entries))

    def _put_back(self, get: Callable[[], Any], put: Put) -> None:
        """After the recording, put back the state of a random generator, say, which a recording may change."""
        self._during.append(Watched(None, get, put))

    def _watch_gradient_of(self, t: Tensor) -> None:
        """Watch whether a Tensor requires a gradient."""
        self._watch_quickly(partial(attrgetter("_depth"), t), equal, "tensor#._depth == value#", tensor=t)

    def _watch_attributes(self, x: Any, names: Iterable[str], methods: Iterable[str]) -> None:
        """Watch attributes of an object, compared by ==, and the functions of its methods.

        Methods may be replaced in its class, or by attributes of its own; and its dict of these, by another one.
        """
        self._watch_quickly(partial(vars, x), is_, "owner#.__dict__ is value#", owner=x)
        for name in names:
            if hasattr(getattr(type(x), name, None), "__set__"):  # a property that is called as the entry of the dict
                self._watch(None, partial(getattr, x, name), nothing, eq)
            else:
                self._watch_item(vars(x), name, eq)
        for name in methods:
            get = partial(attrgetter(f"{name}.__func__"), x)
            glance = f"type(owner#).{name} is value# and key# not in attributes#"
            self._watch_quickly(get, is_, glance, owner=x, key=name, attributes=vars(x))

    def _counts_only(self, container: Any, keys: Iterable[str]) -> None:
        """Of a dict that is watched, these keys count, and new ones."""
        for watched in self._watched:
            if isinstance(watched, Container) and watched.container is container:
                watched.counting = frozenset(keys)

    @property
    def _containers(self) -> list[Container]:
        return [watched for watched in self._watched if isinstance(watched, Container)]

    # -- comparing ----------------------------------------------------------------------------------------------------

    def forget(self, tensors: Iterable[Tensor]) -> None:
        """Compare the values of these no more: they are inputs of the program."""
        gone = {id(self._of_tensors.pop(id(t), None)) for t in tensors}
        self._watched = [watched for watched in self._watched if id(watched) not in gone]
        self.unchanged = _unknown

    def hasten(self) -> None:
        """Make the comparison at a glance, which is worth it for what is compared at each step."""
        others = [watched for watched in self._watched if not isinstance(watched, Container)]
        self._copies = [watched.value for watched in self._containers]
        self.unchanged = _at_a_glance(others, [watched.container for watched in self._containers], self._copies)

    def holds(self) -> bool:
        """Whether all of it is as it was."""
        if self.unchanged():
            return True
        try:
            for watched in self._watched:
                if not watched.holds():
                    return False
        except Exception:  # arrays and the like that were replaced, and that cannot be compared so
            return False
        self._copies[:] = [watched.value for watched in self._containers]
        return True

    def changes(self) -> list[str]:
        """The names of what is not as it was."""
        return list(dict.fromkeys(name for watched in [*self._watched, *self._during] for name in watched.changes()))

    def restore(self) -> None:
        """Put back what has changed, and what random generators have drawn."""
        for watched in self._watched:
            watched.restore()
        for watched in self._during:
            watched.put(watched.value)
        self._during = []

    def accept(self) -> None:
        """Take all of it as it is now."""
        self._watched = [watched for watched in self._watched if watched.accept()]
        self.unchanged = _unknown

    def refuse_changes(self) -> None:
        """Put back what a recording has changed, and raise if there is any.

        Raises
        ------
        RecordingError
            That names what the recorded functions change.
        """
        names = self.changes()
        self.restore()
        if names:
            raise RecordingError(
                f"the recording would freeze {', '.join(names)}, which the code changes each time that it runs: a "
                "program computes the cost and the update, and nothing else. Change it between two steps, or do "
                "without it."
            )


# -- at a glance ------------------------------------------------------------------------------------------------------


def _unknown() -> bool:
    """That nothing has changed cannot be told at a glance."""
    return False


def _at_a_glance(watched: Sequence[Watched], containers: list[Any], copies: list[Any]) -> Callable[[], bool]:
    """A function that is true if nothing of it has changed; Python compares the lists of containers in one go."""
    names = {f"{part}{i}": found for i, x in enumerate(watched) for part, found in x.read().items()}
    tests = [x.glance.replace("#", str(i)) for i, x in enumerate(watched)]
    code = _code(" and ".join(["containers == copies", *tests]))
    # Python remembers in a code where it found the names that it reads: for each function its own copy
    return FunctionType(code.replace(), {**names, "containers": containers, "copies": copies})


@lru_cache(maxsize=64)
def _code(test: str) -> CodeType:
    """The code of a function that is true if a test is; what cannot be compared has changed."""
    text = f"def unchanged():\n    try:\n        return {test}\n    except Exception:\n        return False\n"
    module = compile(text, "<what is watched>", "exec")
    return next(x for x in module.co_consts if isinstance(x, CodeType))


# -- looking up and putting back --------------------------------------------------------------------------------------


def _entries(x: Any) -> bytes:
    """The bytes of an array, or a sample of a larger one; none of another kind of array."""
    if not isinstance(x, np.ndarray) or x.dtype.hasobject:
        return b""
    return x.tobytes() if x.size <= ENTRIES else fingerprint(x, whole=True)


def _form_and_entries(x: Any) -> tuple[Any, Any, bytes]:
    """The shape and the dtype of an array, which may be assigned to, and what is in it."""
    return x.shape, x.dtype, _entries(x)


def _put_entries(array: Any, before: tuple[Any, Any, bytes]) -> None:
    """Give an array of the shape and the dtype that it had its entries back."""
    *form, entries = before
    if form == [array.shape, array.dtype]:
        _refill(array, entries)


def _refill(array: Any, entries: bytes) -> None:
    """Give an array the entries that it had, if all of them are known, and not a sample."""
    if entries and len(entries) == array.nbytes and array.tobytes() != entries and array.flags.writeable:
        array[...] = np.frombuffer(entries, array.dtype).reshape(array.shape)


def _value_and_entries(t: Tensor, of: Callable[[Any], bytes] = _entries) -> tuple[Any, bytes]:
    """The array of a Tensor, and what is in it."""
    return t._value, of(t._value)


def _same_entries(now: tuple[Any, bytes], before: tuple[Any, bytes]) -> bool:
    """Whether it is the same array, with the same in it."""
    return now[0] is before[0] and now[1] == before[1]


def _put_value(t: Tensor, before: tuple[Any, bytes]) -> None:
    t._value, entries = before
    _refill(t._value, entries)


def put_entries(array: Any, items: list[Any]) -> None:
    """Put objects into an array of them."""
    for i, item in enumerate(items):
        array.flat[i] = item


def put_in_cell(cell: Any, value: Any) -> None:
    """Assign the variable of a function around another one, if it had a value."""
    if value is not MISSING:
        cell.cell_contents = value


def put_in_order(x: dict[Any, Any], keys: list[Any]) -> None:
    """Give the entries of a dict the order that they had."""
    for key in keys:
        if key in x:
            x[key] = x.pop(key)


def contents_of(cell: Any) -> Any:
    """The value of a variable of a function around another one."""
    try:
        return cell.cell_contents
    except ValueError:  # not assigned yet
        return MISSING


def put_item(place: dict[str, Any], key: str, value: Any) -> None:
    """Give an entry of a dict its value, or remove what was missing."""
    if value is MISSING:
        place.pop(key, None)
    else:
        place[key] = value
