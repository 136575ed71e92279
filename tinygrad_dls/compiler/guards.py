"""What a recorded step depends on besides its arrays: found in the code of what it calls, and watched from there on.

What a recorded function reads is watched if it is of a kind that can be watched, and refused by name otherwise. How
kinds of objects are watched stands in `reading`; how what is watched is compared, and put back where a recording has
changed it, in `captured`; here is what is read.
"""

from __future__ import annotations

import builtins
import gc
import importlib
import inspect
import random
import sys
import weakref
from collections.abc import Callable, Iterable
from functools import partial
from operator import attrgetter, eq, is_, methodcaller
from types import (
    FunctionType,
    MappingProxyType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
    SimpleNamespace,
)
from typing import Any

import numpy as np

from tinygrad_dls.compiler.captured import (
    ENTRIES,
    CapturedState,
    contents_of,
    put_entries,
    put_in_cell,
    put_in_order,
    put_item,
)
from tinygrad_dls.compiler.reading import (
    MISSING,
    NUMBERS,
    PACKAGE,
    Code,
    from_outside,
    home_of,
    is_data,
    is_library,
    is_library_module,
    is_ours,
    is_written,
    loaded,
    nothing,
    read_by,
    reads_the_world,
    restore,
    state,
    unwatchable,
    view,
    words_in,
)
from tinygrad_dls.compiler.watching import KINDS_OF_NUMBERS, alike, equal, kinds_in, values_in
from tinygrad_dls.engine.errors import RecordingError
from tinygrad_dls.engine.tensor import Tensor
from tinygrad_dls.nn.evaluation import evaluation
from tinygrad_dls.nn.module import Module
from tinygrad_dls.optimizer import OF_THREADS, Optimizer

__all__ = ["NO_HYPERPARAMETER", "Dependencies"]

NO_HYPERPARAMETER = {"parameters", "lr", "steps", "_state", *OF_THREADS}  # parameters are compared separately


class Dependencies(CapturedState):
    """What functions, and the modules and objects that they use, take from around them.

    These are: the variables of their own that functions use, of the module that they are written in and of a function
    around them; what they import; their defaults; and the attributes of modules, objects and classes whose names occur
    in the code, or all of them where the code reads attributes by other means, such as ``vars``. What stands in lists,
    dicts and the like belongs to it, and so does what the functions depend on that are found among all this. Numbers
    are compared by value, arrays by their entries (by sums of more than 4096), objects by what is in them.

    Parameters
    ----------
    roots : iterable
        Functions, modules and objects.
    own : iterable of Tensor
        Those whose values are no part of this.
    constants : iterable
        What is declared never to change: it is not looked into.

    Raises
    ------
    RecordingError
        If a function reads what cannot be watched.
    """

    def __init__(self, roots: Iterable[Any], own: Iterable[Tensor] = (), constants: Iterable[Any] = ()) -> None:
        super().__init__()
        roots = list(roots)
        self._own = {id(t) for t in own}
        self._seen: dict[int, Any] = {id(x): x for x in constants}
        self._objects: list[tuple[Any, set[str], str]] = []  # the names looked for in them, and what they are called
        self._modules: list[Module] = []
        self._wholes: set[int] = set()  # of these objects, all attributes are watched
        self._words: set[str] = {"__call__"}  # the names of attributes in all of the code
        self._makers: list[tuple[Any, str]] = []  # what makes objects of the classes that code names
        self._lenient = False  # whether what cannot be watched is passed over
        self._reflects = self._draws = False  # whether code reads by other names than those in it; whether it draws
        self._packages = {str(home_of(x)).split(".")[0] for x in roots} - {PACKAGE, "numpy", *sys.stdlib_module_names}
        self._waiting: list[tuple[Any, str, bool]] = [(x, "", True) for x in roots]  # whether the code names them
        self._watch(None, evaluation.get, nothing)
        self._look()
        self._look_into_makers()
        self._finish()
        del self._own, self._seen, self._objects, self._wholes, self._words, self._waiting, self._modules, self._makers

    # -- finding it ---------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        while self._waiting:
            while self._waiting:
                x, name, named = self._waiting.pop()
                if id(x) not in self._seen and not (isinstance(x, NUMBERS) and not self._yours(type(x))):
                    self._seen[id(x)] = x
                    try:
                        self._found(x, name, named)
                    except RecordingError:
                        if not self._lenient:
                            raise
            for x, known, name in self._objects:
                for word in sorted(self._words - known):
                    self._attribute(x, word, name)
                known |= self._words
            for module in self._modules:
                self._module(module)
            if self._reflects:
                for x, _, name in self._objects:
                    if not isinstance(x, _BY_ATTRIBUTE) and id(x) not in self._wholes:
                        self._whole(x, name, False)

    def _look_into_makers(self) -> None:
        """What is read where objects are made, if they are: which of the classes a code calls, nobody can tell."""
        self._lenient = True
        while self._makers:
            self._waiting += [(f, name, False) for f, name in self._makers]
            self._makers = []
            self._look()

    def _finish(self) -> None:
        """What is to be watched once all words are known."""
        classes: dict[int, type] = {}
        for x, _, _ in self._objects:
            kind = x if isinstance(x, type) else type(x)
            classes |= {id(base): base for base in kind.__mro__ if self._yours(base)}
            own = getattr(x, "__dict__", None)
            if isinstance(own, dict) and not isinstance(x, (type, ModuleType, Module, FunctionType)):
                self._watch_absent(own, self._words)
        for base in classes.values():
            self._watch_absent(vars(base), self._words)
        for module in self._modules:
            self._counts_only(vars(module), counting := self._counting(module))
            for key, item in vars(module).items() if self._yours(type(module)) else ():
                if key in counting and isinstance(item, KINDS_OF_NUMBERS):
                    self._watch_item(vars(module), key, equal)
        if self._draws:
            self._put_back(np.random.get_state, np.random.set_state)  # users may draw from it
            self._put_back(random.getstate, random.setstate)

    def _yours(self, x: Any) -> bool:
        """Whether a class or a function is the user's: of no library, or of the package that the model is from."""
        home = x.__globals__.get("__name__") if isinstance(x, FunctionType) else getattr(x, "__module__", None)
        top = str(home).split(".")[0]
        return top != PACKAGE and (top in self._packages or not is_library(str(home)))

    def _found(self, x: Any, name: str, named: bool) -> None:
        if named and reads_the_world(x):
            raise from_outside(name)
        if type(x) in weakref.ProxyTypes:
            raise unwatchable(name, "a weak proxy")
        if isinstance(x, Tensor):
            self._watch_gradient_of(x)
            self._objects.append((x, set(), name or x.name or "a Tensor"))
            if id(x) not in self._own:
                self._watch_value(name, x)
        elif isinstance(x, np.ndarray):
            self._array(x, name)
            if self._yours(type(x)):
                self._objects.append((x, set(), name))
        elif isinstance(x, Module):
            self._container(vars(x), type(x).__name__, named=False, into=False)
            self._watch_class(type(x).__name__, x)
            self._modules.append(x)
            self._objects.append((x, set(), name))
            self._special(type(x).__mro__, name)
        elif type(x) in (list, dict, set, tuple, frozenset):
            self._container(x, name, named)
        elif isinstance(x, FunctionType):
            self._function(x, name)
        elif isinstance(x, MethodType):
            self._wait(name, named, x.__func__, x.__self__)
        elif isinstance(x, partial):
            self._wait(name, named, x.func, x.args, x.keywords)
        elif isinstance(x, property):
            self._wait(name, named, x.fget)
        elif isinstance(x, (staticmethod, classmethod)):
            self._wait(name, named, x.__func__)
        elif isinstance(x, np.random.Generator):
            self._put_back(partial(getattr, x.bit_generator, "state"), partial(setattr, x.bit_generator, "state"))
        elif isinstance(x, np.random.RandomState):
            self._put_back(x.get_state, x.set_state)
        elif isinstance(x, random.Random) and not isinstance(x, random.SystemRandom):
            self._put_back(x.getstate, x.setstate)
        else:
            self._other(x, name, named)

    def _wait(self, name: str, named: bool, *found: Any) -> None:
        self._waiting += [(x, name, named) for x in found]

    def _follow(self, name: str, get: Callable[[], Any], put: Callable[[Any], Any], named: bool = True) -> None:
        """Watch something, and look into what it is."""
        self._wait(name, named, self._watch(name, get, put))

    def _follow_attribute(self, name: str, x: Any, attribute: str, named: bool = True) -> None:
        """The same of an attribute."""
        self._follow(name, partial(getattr, x, attribute, MISSING), partial(setattr, x, attribute), named)

    def _array(self, x: Any, name: str) -> None:
        if not x.dtype.hasobject:
            self._watch_array(name, x)
        elif x.size <= ENTRIES:
            items = x.ravel().tolist()
            self._watch(name, lambda: x.ravel().tolist(), partial(put_entries, x), alike)
            self._wait(name, False, *items)

    def _other(self, x: Any, name: str, named: bool) -> None:
        """A module of Python's, a class or another object: what counts is what the code names, or all of it."""
        own: Any = getattr(x, "__dict__", None)
        self._wait(name, named, own.get("__wrapped__") if isinstance(own, (dict, MappingProxyType)) else None)
        if isinstance(x, ModuleType):
            self._objects.append((x, set(), name))
            if not is_library(x.__name__):
                self._wait(name, False, vars(x).get("__getattr__"))
            return
        if isinstance(x, np.ufunc):  # of np.frompyfunc, perhaps, which holds a user's function
            self._wait(name, False, *(y for y in gc.get_referents(x) if callable(y)))
        if isinstance(x, (attrgetter, methodcaller)):
            self._words |= {word for path in x.__reduce__()[1] if isinstance(path, str) for word in path.split(".")}
        kind = x if isinstance(x, type) else type(x)
        bases = [base for base in kind.__mro__ if base is not object and base.__module__ not in ("abc", "typing")]
        yours = any(self._yours(base) or is_ours(base) for base in bases)
        if not isinstance(x, type) and (
            self._reflects or not all(self._yours(base) or is_ours(base) for base in bases)
        ):
            self._whole(x, name, named)
        if yours:
            self._objects.append((x, set(), name))
            if not isinstance(x, type) and hasattr(kind, "__dataclass_fields__"):  # which may be compared, as a whole
                self._watch(name, partial(state, x), partial(restore, x), alike)
            if not isinstance(x, type):
                self._watch(f"the class of {name}", partial(type, x), partial(setattr, x, "__class__"))
            self._watch(f"the bases of {kind.__name__}", partial(getattr, kind, "__mro__"), nothing)
        if isinstance(x, type) and yours:
            bases = [*bases, *(base for base in inspect.getmro(type(x)) if base not in (type, object))]
        self._special(bases, name, made=isinstance(x, type))

    def _special(self, bases: Iterable[type], name: str, made: bool = False) -> None:
        """What Python calls of an object by itself: ``__getitem__``, ``__float__``; and what makes it, of a class."""
        for base in bases:
            if self._yours(base):
                special = [f for word, f in vars(base).items() if word.startswith("__") and word not in _NOT_OF_VALUES]
                kinds = (FunctionType, property, classmethod, staticmethod)
                if made and isinstance(maker := vars(base).get("__init__"), FunctionType):
                    self._makers.append((maker, name))
                self._waiting += [(f, name, False) for f in special if isinstance(f, kinds) and not is_written(f)]

    def _replaceable(self, owner: Any, name: str) -> None:
        """A function of this package, such as ``tg.sigmoid``, which users replace now and then."""
        self._watch(None, partial(attrgetter(name), owner), nothing, is_)

    def _whole(self, x: Any, name: str, named: bool) -> None:
        """All of an object, of a kind that `reading` knows."""
        self._wholes.add(id(x))
        try:
            watched = view(x)
        except Exception as error:
            if not named:
                return  # beside what the code reads; a step compares itself with the eager one now and then
            raise unwatchable(name, f"a {type(x).__name__}") from error
        if watched is None:
            return
        if len(watched.within) > ENTRIES:
            if named:
                raise unwatchable(name, f"a {type(x).__name__} of {len(watched.within):,} entries")
            return
        self._watch(name, watched.look, watched.put, alike)
        by_name = self._yours(type(x)) or isinstance(x, (dict, SimpleNamespace, *loaded("argparse.Namespace")))
        for key, item in watched.within:
            if not (isinstance(x, Optimizer) and key in NO_HYPERPARAMETER):
                read = named and (not by_name or not key or key in self._words)
                self._waiting.append((item, f"{name}.{key}" if key and by_name else name, read))

    def _module(self, module: Module) -> None:
        """The attributes that count, where they may change by themselves."""
        counting = self._counting(module)
        for key, item in list(vars(module).items()):
            if id(item) not in self._seen and not isinstance(item, NUMBERS):
                yours = key in self._words or self._reflects
                if key in counting:
                    self._place(vars(module), key, item)
                    self._waiting.append((item, f"{type(module).__name__}.{key}", yours))

    def _counting(self, module: Module) -> set[str]:
        """The names of a module's attributes that its code, or the code of this package, reads."""
        own = vars(module).keys()
        if self._reflects:
            return set(own)
        ours = words_in(f for base in type(module).__mro__ if is_ours(base) for f in vars(base).values())
        return {key for key, x in vars(module).items() if key in self._words or key in ours or _lists_parameters(x)}

    def _container(self, x: Any, name: str, named: bool, into: bool = True) -> None:
        changes = not isinstance(x, (tuple, frozenset))
        if changes and into and len(x) > ENTRIES:
            if named:
                raise unwatchable(name, f"a {type(x).__name__} of {len(x):,} entries")
            return
        if changes:
            self._watch_container(name, x)
        if not into:
            return
        if isinstance(x, dict):  # equal dicts may be in another order
            self._watch(name, partial(list, x), partial(put_in_order, x), alike)
        if isinstance(x, (list, dict)) and any(isinstance(item, KINDS_OF_NUMBERS) for item in values_in(x)):
            self._watch(name, partial(kinds_in, x), nothing, eq)  # 2 is equal to 2.0, and makes another dtype
        items = x.items() if isinstance(x, dict) else enumerate(x)
        for key, item in items:
            self._place(x, key, item)
            text = isinstance(key, str)
            self._waiting += [(key, name, False)] if isinstance(x, dict) and not text else []
            read = named and (not text or key in self._words)
            self._waiting.append((item, f"{name}.{key}" if text else name, read))

    def _place(self, x: Any, key: Any, item: Any) -> None:
        """Watch what stands in a list or a dict where == is not enough: equal arrays, zeros of both signs."""
        if not isinstance(x, (list, dict)):
            return
        if isinstance(item, (Tensor, np.ndarray)):
            if item.size < 2:
                self._watch_item(x, key)
        elif isinstance(item, (float, complex, np.inexact)):
            if not item:
                self._watch_item(x, key, equal)
        elif isinstance(item, (list, tuple)) and any(isinstance(y, KINDS_OF_NUMBERS) for y in item):
            self._watch_item(x, key, alike)  # another one may come in its place

    def _function(self, f: FunctionType, name: str) -> None:
        cells = list(zip(f.__code__.co_freevars, f.__closure__ or (), strict=False))
        if not self._yours(f):  # a decorator's, perhaps
            kinds = (FunctionType, MethodType, partial, dict, list, tuple)
            self._waiting += [(x, n, False) for n, cell in cells if isinstance(x := contents_of(cell), kinds)]
            return
        self._watch(f"the code of {f.__name__}", partial(getattr, f, "__code__"), partial(setattr, f, "__code__"))
        code = read_by(f)
        if code.computes_names:
            raise RecordingError(
                f"the recording would freeze the variables that {f.__qualname__} reads by globals(), eval or exec, "
                "with names that do not stand in its code. Write their names, or pass them as arguments."
            )
        for variable, cell in cells:
            self._follow(variable, partial(contents_of, cell), partial(put_in_cell, cell))
        self._variables(f, code)
        if code.words & _OF_COMMAND_LINES:
            self._follow_attribute("sys.argv", sys, "argv")
        for imported in sorted(code.imports):
            self._imported(imported)
        for part in ("__defaults__", "__kwdefaults__"):
            if getattr(f, part):
                self._follow_attribute(f"the defaults of {f.__name__}", f, part)
        if vars(f) or code.words & _OF_ALL:
            self._objects.append((f, set(), name))
        self._words |= code.words
        self._reflects |= code.reflects
        self._draws |= any("random" in name for name in (*code.words, *code.imports, *code.names, *code.of_libraries))

    def _variables(self, f: FunctionType, code: Code) -> None:
        """The global variables that a function reads, Python's own names, and what it reads of libraries."""
        for used in sorted(code.names & f.__globals__.keys()):
            if is_library_module(f.__globals__[used]) and not code.reflects:  # of which it is known what is read
                self._watch(used, partial(f.__globals__.get, used, MISSING), partial(put_item, f.__globals__, used))
            else:
                self._entry(f.__globals__, used, used)
        self._watch_absent(f.__globals__, code.names)  # a variable of such a name would hide a builtin
        for used in sorted(code.names - f.__globals__.keys()):
            found = vars(builtins).get(used)
            if found is not None and reads_the_world(found):
                raise from_outside(used)
            if getattr(found, "__module__", "builtins") != "builtins" or not callable(found):
                self._entry(vars(builtins), used, used)
        for used, found in code.of_libraries.items():
            if is_data(found) or reads_the_world(found):
                self._wait(used, True, found)
            elif isinstance(found, FunctionType) and is_ours(found):  # where this package is installed
                module, _, path = used.partition(".")
                self._replaceable(f.__globals__[module], path)

    def _imported(self, module: str) -> None:
        """A module that a function imports when it runs."""
        try:
            importlib.import_module(module)
        except Exception:  # the function itself says what is the matter, or has a way around it
            self._entry(sys.modules, module, module)  # until it is there
            return
        for name in dict.fromkeys((module.split(".")[0], module)):  # `import a.b` names a, `from a.b import c` a.b
            self._entry(sys.modules, name, name)

    def _attribute(self, x: Any, word: str, name: str) -> None:
        """What an attribute of an object is: its own, or its class's."""
        if isinstance(x, ModuleType):
            if word in vars(x):
                self._of_module(x, word)
            return
        if isinstance(x, Tensor) and word in ("name", "grad"):
            if word == "name" or id(x) not in self._own:  # gradients of parameters are what a step computes
                self._follow_attribute(f"{name}.{word}", x, "_grad" if word == "grad" else word)
            return
        kind = x if isinstance(x, type) else type(x)
        shown = f"{name if isinstance(x, FunctionType) else kind.__name__}.{word}"
        own: Any = getattr(x, "__dict__", None)
        known = not isinstance(x, (Module, type)) and isinstance(own, dict)
        if isinstance(x, Optimizer) and word in NO_HYPERPARAMETER:
            if name and word in ("lr", "steps"):  # a loss that looks at them; of the step's own, they are arguments
                self._entry(own, word, shown)
            return
        if word == "__subclasses__" and isinstance(x, type):
            self._watch(shown, x.__subclasses__, nothing, alike)
        if word in _OF_ALL:
            for y in [x] if x is kind or not self._yours(kind) else [x, kind]:
                self._follow_attribute(shown, y, word, named=False)
        if known and word in own:
            self._entry(own, word, shown)
        for base in (*kind.__mro__, *(inspect.getmro(type(x)) if isinstance(x, type) else ())):
            if word in vars(base) and self._yours(base):
                if isinstance(vars(base)[word], MemberDescriptorType):  # of __slots__
                    if not isinstance(x, type):
                        self._follow_attribute(shown, x, word)
                    continue
                self._entry(vars(base), word, shown, partial(setattr, base, word))
                if known and word not in own:
                    self._entry(own, word, shown)  # not yet

    def _of_module(self, module: ModuleType, word: str) -> None:
        """A variable of a user's module; of libraries, what is no code, or reads the world."""
        found, name = vars(module)[word], f"{module.__name__}.{word}"
        ours = module.__name__.split(".")[0] == PACKAGE
        if not (ours or is_library(module.__name__)):
            self._entry(vars(module), word, name)
        elif not ours and (isinstance(found, ModuleType) or is_data(found) or reads_the_world(found)):
            self._wait(name, True, found)
        elif ours and isinstance(found, FunctionType):
            self._replaceable(module, word)

    def _entry(self, place: Any, key: str, name: str, put: Callable[[Any], Any] | None = None) -> None:
        self._follow(name, partial(place.get, key, MISSING), put or partial(put_item, place, key))


_BY_ATTRIBUTE = (type, ModuleType, Module, FunctionType, Tensor, np.ndarray)  # never all of them, whoever reflects
_OF_COMMAND_LINES = {"parse_args", "parse_known_args", "parse_intermixed_args"}  # they read sys.argv
_NOT_OF_VALUES = {"__init__", "__del__", "__setattr__", "__delattr__", "__init_subclass__", "__annotate_func__"}
# What Python itself gives of functions, classes and objects, and lets be replaced.
_OF_ALL = {"__doc__", "__annotations__", "__name__", "__qualname__", "__class__", "__bases__", "__module__"}


def _lists_parameters(x: Any) -> bool:
    """Whether ``parameters()`` and the like, which read nothing else of a module, look at this attribute.

    It is a Tensor or a module, or a container, of not too many entries, that holds some at any depth.
    """
    if isinstance(x, (Tensor, Module)):
        return True
    items = x.values() if isinstance(x, dict) else x if isinstance(x, (list, tuple)) else ()
    return len(items) <= ENTRIES and any(map(_lists_parameters, items))
