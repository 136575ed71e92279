"""What a recorded step depends on besides its arrays, and whether any of it has changed since."""

from __future__ import annotations

import dis
import random
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from operator import attrgetter
from types import CodeType, FunctionType, MemberDescriptorType, MethodType, ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from tinygrad_dls.arrays import RecordingError
from tinygrad_dls.nn import Module
from tinygrad_dls.optim import Optimizer
from tinygrad_dls.tensor import Tensor

__all__ = ["Guard", "Surroundings", "refuse_counts"]

_NO_HYPERPARAMETER = {"parameters", "lr", "steps", "_state"}  # parameters are compared separately
_PACKAGE = __name__.split(".")[0]
_OTHERS = {*sys.stdlib_module_names, "numpy"} - {"__main__"}  # whose code takes nothing from around it that is yours
_NUMBERS = (int, float, complex, str, bytes, np.generic, type(None))
_ENTRIES = 4096  # of the largest array that is compared at each step: far more than a program may hold
_MISSING = object()
_depth = attrgetter("_depth")


class Surroundings:
    """What functions, and the modules and objects that they use, take from around them.

    These are: all attributes of modules; the variables of their own that functions use, of the module that they are
    written in and of a function around them; their defaults; and the attributes of objects and classes whose names
    occur in the code. What stands in lists, dicts and tuples belongs to it, and so does what the functions depend on
    that are found among all this. Numbers are compared by value; arrays of up to 4096 entries, and the Tensors that
    hold them, by their entries too; lists and dicts by what is in them; all else by identity.

    Parameters
    ----------
    roots : iterable
        Functions, modules and objects.
    own : iterable of Tensor
        Those whose values are no part of this.
    """

    def __init__(self, roots: Iterable[Any], own: Iterable[Tensor] = ()) -> None:
        self._containers: list[Any] = []  # lists, dicts and sets
        self._copies: list[Any] = []  # of these
        self._variables: list[tuple[Callable[[], Any], Any]] = []  # how to look them up, and what they are
        self._read: Callable[[], Any] = tuple  # what else there is to compare, and what it was
        self._numbers: Any = ()
        self._places: list[tuple[Any, Any, Any]] = []  # containers, keys, and what must be there itself
        self._arrays: list[tuple[Any, bytes]] = []
        self._tensors: list[tuple[Tensor, Any, bytes]] = []
        self._all: list[Tensor] = []
        self._depths: list[int] = []  # of these: whether they require a gradient
        self._generators: list[tuple[Callable[[Any], Any], Any]] = [
            (np.random.set_state, np.random.get_state()),  # noqa: NPY002  # what users may draw from
            (random.setstate, random.getstate()),
        ]
        self._names: dict[int, str] = {}  # of containers, arrays and Tensors
        self._puts: list[tuple[str, Callable[[Any], Any]]] = []  # the names of the variables, and how to set them
        self._own = {id(t) for t in own}
        self._seen: dict[int, Any] = {}
        self._objects: list[tuple[Any, set[str]]] = []  # and the names that were looked for in them
        self._words: set[str] = set()  # the names of attributes in all of the code
        self._waiting: list[tuple[Any, str]] = [(x, "") for x in roots]
        self._look()
        del self._own, self._seen, self._objects, self._words, self._waiting

    # -- finding it ---------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        while self._waiting:
            while self._waiting:
                x, name = self._waiting.pop()
                if not isinstance(x, _NUMBERS) and id(x) not in self._seen:
                    self._seen[id(x)] = x
                    self._found(x, name)
            for x, known in self._objects:
                for word in sorted(self._words - known):
                    self._attribute(x, word)
                known |= self._words

    def _found(self, x: Any, name: str) -> None:
        self._names[id(x)] = name
        if isinstance(x, Tensor):
            self._all.append(x)
            self._depths.append(x._depth)
            if id(x) not in self._own:
                self._tensors.append((x, x._value, _entries(x._value)))
        elif isinstance(x, np.ndarray):
            if before := _entries(x):
                self._arrays.append((x, before))
        elif isinstance(x, Module):
            self._container(vars(x), type(x).__name__)
            self._waiting.append((type(x).__call__, ""))
            self._objects.append((x, set()))
        elif isinstance(x, (list, dict, set, tuple, frozenset)):
            self._container(x, name)
        elif isinstance(x, FunctionType):
            self._function(x)
        elif isinstance(x, MethodType):
            self._waiting += [(x.__func__, name), (x.__self__, name)]
        elif isinstance(x, partial):
            self._waiting += [(x.func, name), (x.args, name), (x.keywords, name)]
        elif isinstance(x, property):
            self._waiting.append((x.fget, name))
        elif isinstance(x, (staticmethod, classmethod)):
            self._waiting.append((x.__func__, name))
        elif isinstance(x, np.random.Generator):
            self._generators.append((partial(setattr, x.bit_generator, "state"), x.bit_generator.state))
        elif isinstance(x, np.random.RandomState):
            self._generators.append((x.set_state, x.get_state()))
        elif isinstance(x, random.Random):
            self._generators.append((x.setstate, x.getstate()))
        else:
            self._other(x, name)

    def _other(self, x: Any, name: str) -> None:
        """A module of Python's, a class or another object: what counts is what the code names."""
        self._waiting.append((getattr(x, "__dict__", {}).get("__wrapped__"), name))
        where = x.__name__ if isinstance(x, ModuleType) else _home(x if isinstance(x, type) else type(x))
        others = {*_OTHERS, _PACKAGE} if isinstance(x, (type, ModuleType)) else _OTHERS
        if where.split(".")[0] in others and not isinstance(x, SimpleNamespace):
            return
        self._objects.append((x, set()))
        if not isinstance(x, (type, ModuleType)) and callable(x):
            self._waiting.append((getattr(type(x).__call__, "__func__", type(x).__call__), name))

    def _container(self, x: Any, name: str) -> None:
        self._names[id(x)] = name
        if not isinstance(x, (tuple, frozenset)):
            self._containers.append(x)
            self._copies.append(x.copy())
        items = x.items() if isinstance(x, dict) else enumerate(x)
        for key, item in items:
            if isinstance(item, (Tensor, np.ndarray)) and item.size < 2 and isinstance(x, (list, dict)):
                self._places.append((x, key, item))
            self._waiting.append((item, f"{name}.{key}" if isinstance(key, str) else name))

    def _function(self, f: FunctionType) -> None:
        cells = list(zip(f.__code__.co_freevars, f.__closure__ or (), strict=False))
        if str(f.__globals__.get("__name__")).split(".")[0] in {_PACKAGE, *_OTHERS}:  # a decorator's, perhaps
            functions = (FunctionType, MethodType, partial)
            self._waiting += [(x, n) for n, cell in cells if isinstance(x := _contents(cell), functions)]
            return
        for name, cell in cells:
            self._variable(partial(_contents, cell), name, partial(setattr, cell, "cell_contents"))
        used: set[str] = set()
        words: set[str] = set()
        for code in _codes(f.__code__):
            for instruction in dis.get_instructions(code):
                if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
                    used.add(instruction.argval)
            words.update(code.co_names)
        for name in sorted(used & f.__globals__.keys()):
            self._entry(f.__globals__, name, name)
        for part in ("__defaults__", "__kwdefaults__"):
            if getattr(f, part):
                self._variable(partial(getattr, f, part), f"the defaults of {f.__name__}", partial(setattr, f, part))
        self._words |= words

    def _attribute(self, x: Any, name: str) -> None:
        """What an attribute of an object is: its own, or its class's."""
        if isinstance(x, ModuleType):
            if name in vars(x):
                self._entry(vars(x), name, f"{x.__name__}.{name}")
            return
        kind = x if isinstance(x, type) else type(x)
        shown = f"{kind.__name__}.{name}"
        own: Any = getattr(x, "__dict__", None)
        known = not isinstance(x, (Module, type)) and isinstance(own, dict)
        if known and name in own:
            self._entry(own, name, shown)
        for base in kind.__mro__:
            if name in vars(base) and _home(base).split(".")[0] not in {_PACKAGE, *_OTHERS}:
                if isinstance(vars(base)[name], MemberDescriptorType):  # of __slots__
                    if not isinstance(x, type):
                        self._variable(partial(getattr, x, name, _MISSING), shown, partial(setattr, x, name))
                    continue
                self._entry(vars(base), name, shown, partial(setattr, base, name))
                if known and name not in own:
                    self._entry(own, name, shown)  # not yet

    def _entry(self, place: Any, key: str, name: str, put: Callable[[Any], Any] | None = None) -> None:
        self._variable(partial(place.get, key, _MISSING), name, put or partial(_put, place, key))

    def _variable(self, get: Callable[[], Any], name: str, put: Callable[[Any], Any]) -> None:
        value = get()
        self._variables.append((get, value))
        self._puts.append((name, put))
        self._waiting.append((value, name))

    # -- comparing ----------------------------------------------------------------------------------------------------

    def forget(self, tensors: Iterable[Tensor]) -> None:
        """Compare the values of these no more: they are inputs of the program."""
        inputs = {id(t) for t in tensors}
        self._tensors = [entry for entry in self._tensors if id(entry[0]) not in inputs]

    def holds(self) -> bool:
        """Whether all of it is as it was."""
        try:
            if self._containers != self._copies or self._read() != self._numbers:
                return False
            for place, key, x in self._places:
                if place[key] is not x:
                    return False
        except Exception:  # arrays and the like that were replaced, and that cannot be compared so
            return False
        if list(map(_depth, self._all)) != self._depths:
            return False
        return not (self._variables or self._arrays or self._tensors) or self._others_hold()

    def _others_hold(self) -> bool:
        """Whether variables, arrays and Tensors are as they were."""
        for get, x in self._variables:
            if (y := get()) is not x and not _equal(y, x):
                return False
        for array, entries in self._arrays:
            if array.tobytes() != entries:
                return False
        for t, value, entries in self._tensors:
            if t._value is not value or (entries and value.tobytes() != entries):
                return False
        return True

    def changes(self) -> list[str]:
        """The names of what is not as it was."""
        found = []
        for now, before in zip(self._containers, self._copies, strict=True):
            name = self._names[id(now)]
            if isinstance(now, dict):
                keys = dict.fromkeys([*before, *now])
                found += [f"{name}.{k}" for k in keys if not _equal(now.get(k, _MISSING), before.get(k, _MISSING))]
            elif len(now) != len(before) or not all(map(_equal, now, before)):
                found.append(name)
        found += [name for (get, x), (name, _) in zip(self._variables, self._puts, strict=True) if not _equal(get(), x)]
        found += [self._names[id(x)] for x, entries in self._arrays if x.tobytes() != entries]
        for t, value, entries in self._tensors:
            if t._value is not value or (entries and value.tobytes() != entries):
                found.append(self._names[id(t)])
        return list(dict.fromkeys(found))

    def restore(self) -> None:
        """Put back what has changed, and what random generators have drawn."""
        for now, before in zip(self._containers, self._copies, strict=True):
            if isinstance(now, dict):
                for key in [key for key in now if key not in before]:
                    del now[key]
                for key, x in before.items():
                    if now.get(key, _MISSING) is not x:
                        now[key] = x
            elif isinstance(now, list):
                now[:] = before
            else:
                now.intersection_update(before)
                now.update(before)
        for (get, x), (_, put) in zip(self._variables, self._puts, strict=True):
            if get() is not x:
                put(x)
        for t, value, entries in self._tensors:
            t._value = value
            _refill(value, entries)
        for array, entries in self._arrays:
            _refill(array, entries)
        for put, state in self._generators:
            put(state)

    def accept(self) -> None:
        """Take all of it as it is now."""
        self._copies = [now.copy() for now in self._containers]
        self._places = [(place, key, place[key]) for place, key, _ in self._places if _has(place, key)]
        self._depths = list(map(_depth, self._all))
        self._variables = [(get, get()) for get, _ in self._variables]
        self._arrays = [(x, x.tobytes()) for x, _ in self._arrays]
        self._tensors = [(t, t._value, _entries(t._value)) for t, _, _ in self._tensors]

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


class Guard(Surroundings):
    """A model, a loss and an optimizer as they are now.

    Noted are the surroundings of the model and the loss, which parameters require a gradient, which ones the optimizer
    has, and its hyperparameters but for the learning rate, which is an argument of the step.
    """

    def __init__(self, model: Module, loss: Callable[..., Any], optimizer: Optimizer) -> None:
        self.model = model.parameters()
        self.values = [(p, p._value, p._value.copy()) for p in self.model]
        self.optimizer, self.state = optimizer, optimizer._state
        methods = _methods(optimizer)
        own = set(self.model)
        super().__init__([model, loss, *methods, *(p for p in optimizer.parameters if p not in own)], own)
        names = [name for name in vars(optimizer) if name not in _NO_HYPERPARAMETER]
        self._read = partial(attrgetter(*names, "parameters", "parameters"), optimizer)  # twice: two at least
        self._numbers = *(getattr(optimizer, name) for name in names), *[optimizer.parameters.copy()] * 2
        for i, p in enumerate(optimizer.parameters):
            if p.size < 2:  # of which == compares the number, and not which one it is
                put = partial(optimizer.parameters.__setitem__, i)
                self._variables.append((partial(_item, optimizer, i), p))
                self._puts.append(("the optimizer's parameters", put))

    def changes(self) -> list[str]:
        """The names of what is not as it was."""
        found = [
            p.name or "a parameter"
            for p, value, before in self.values
            if p._value is not value or value.tobytes() != before.tobytes()
        ]
        return list(dict.fromkeys([*super().changes(), *found]))

    def restore(self) -> None:
        """Put back what has changed, and what random generators have drawn."""
        super().restore()
        self.optimizer._state = self.state
        for p, value, before in self.values:
            p._value = value
            _refill(value, before.tobytes())
        self.values = []


def _entries(x: Any) -> bytes:
    """The bytes of an array that is compared by its entries; none of another."""
    small = type(x) is np.ndarray and x.size <= _ENTRIES and not x.dtype.hasobject
    return x.tobytes() if small else b""


def _has(place: Any, key: Any) -> bool:
    return key in place if isinstance(place, dict) else key < len(place)


def _refill(array: Any, entries: bytes) -> None:
    if entries and array.tobytes() != entries and array.flags.writeable:
        array[...] = np.frombuffer(entries, array.dtype).reshape(array.shape)


def _equal(x: Any, y: Any) -> bool:
    """Whether two things are the same one, or the same number."""
    return x is y or (type(x) is type(y) and isinstance(x, _NUMBERS) and bool(x == y))


def _contents(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not assigned yet
        return _MISSING


def refuse_counts(optimizer: Optimizer) -> None:
    """Refuse an optimizer of the user's own that looks at the number of steps, which a program does not know.

    Raises
    ------
    RecordingError
        That names the method.
    """
    for f in _methods(optimizer):
        if "steps" in f.__code__.co_names:
            raise RecordingError(
                f"the recording would freeze self.steps, which {f.__qualname__} reads: the program would do the same "
                "at each step. Keep such a count in the state of the parameters."
            )


def _methods(optimizer: Optimizer) -> list[FunctionType]:
    """Those that are written by users."""
    return [f for base in _users(type(optimizer)) for f in vars(base).values() if isinstance(f, FunctionType)]


def _item(optimizer: Optimizer, i: int) -> Any:
    return optimizer.parameters[i] if i < len(optimizer.parameters) else _MISSING


def _put(place: dict[str, Any], key: str, value: Any) -> None:
    if value is _MISSING:
        place.pop(key, None)
    else:
        place[key] = value


def _codes(code: CodeType) -> Iterator[CodeType]:
    """The code of a function, and of those within it."""
    yield code
    for x in code.co_consts:
        if isinstance(x, CodeType):
            yield from _codes(x)


def _home(kind: type) -> str:
    return str(getattr(kind, "__module__", ""))


def _users(kind: type) -> Iterator[type]:
    """A class and its bases, but for those of this package, of NumPy and of Python."""
    return (base for base in kind.__mro__ if _home(base).split(".")[0] not in {_PACKAGE, *_OTHERS})
