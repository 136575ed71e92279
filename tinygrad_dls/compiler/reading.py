"""What code reads, and what can be watched of it.

Two questions are answered here, without running anything. `read_by` says what a function takes from around it: the
names in its code. `view` says what of an object to compare, to tell later whether it has changed, and what to look
into; it is one table of the kinds of objects that Python programs keep numbers in. What is of no kind in the table, and
hides its state from Python, cannot be watched.
"""

from __future__ import annotations

import contextvars
import copyreg
import datetime as dt
import dis
import inspect
import operator
import os
import re
import sys
import sysconfig
import types
import weakref
from collections import defaultdict, deque, namedtuple
from collections.abc import Callable, Iterable, Iterator
from functools import cache, partialmethod
from typing import Any, NamedTuple

import numpy as np

from tinygrad_dls.engine.errors import RecordingError

__all__ = [
    "MISSING", "NUMBERS", "PACKAGE", "Code", "View", "from_outside", "home_of", "is_data", "is_library",
    "is_library_module", "is_ours", "is_written", "loaded", "nothing", "read_by", "reads_the_world", "restore", "state",
    "unwatchable", "view", "words_in",
]  # fmt: skip

MISSING = object()
PACKAGE = __name__.split(".")[0]
NUMBERS = (int, float, complex, str, bytes, np.generic, type(None))

# What goes through an object by names that do not stand in the code: then all of the object is read.
_BY_FUNCTION = frozenset({"getattr", "vars", "dir", "eval", "exec", "copy", "deepcopy", "replace", "asdict", "astuple"})
_BY_ATTRIBUTE = frozenset(
    {
        "attrgetter", "asdict", "astuple", "deepcopy", "getmembers", "getattr_static", "__dict__",
        "__getattribute__", "__getstate__",
        "__slots__", "__reduce__", "__reduce_ex__",
    }
)  # fmt: skip
_FIELD = type(vars(namedtuple("_", "x"))["x"])  # an attribute of named tuples
_CONSTANT = (
    *NUMBERS, range, slice, type(Ellipsis), type(NotImplemented), np.dtype, np.ufunc, type(np.sum), dt.date, dt.time,
    dt.timedelta, dt.tzinfo, re.Pattern, re.Match, types.CodeType,
    types.GenericAlias, types.WrapperDescriptorType, types.MethodDescriptorType, types.ClassMethodDescriptorType,
    types.GetSetDescriptorType, types.MemberDescriptorType, _FIELD, operator.itemgetter,
)  # fmt: skip
_NUMBERS_AND_PATHS = ("decimal.Decimal", "fractions.Fraction", "pathlib.PurePath")  # constants, too; see `loaded`
# They hold no number that a program could take: what threads wait for each other by, and what only writes elsewhere.
_IDLE = (
    "_thread.LockType", "_thread.RLock", "threading.Condition", "threading.Event", "threading.Semaphore",
    "threading.Barrier", "threading.Thread", "logging.Logger", "logging.Handler", "logging.LoggerAdapter",
)  # fmt: skip
# Modules of Python's whose functions give the same for the same arguments, or draw: two recordings tell that.
_PURE = frozenset(
    {
        "abc", "ast", "base64", "binascii", "bisect", "builtins", "cmath", "collections", "colorsys", "contextlib",
        "copy", "copyreg", "dataclasses", "difflib", "enum", "fractions", "functools", "hashlib", "heapq", "inspect",
        "itertools", "json", "keyword", "logging", "math", "numbers", "operator", "pprint", "random", "re",
        "reprlib", "statistics", "string", "struct", "textwrap", "types", "typing", "unicodedata",
        "warnings", "weakref", "zlib", "array",
        "contextvars", "threading", "traceback", "uuid", "queue", "argparse", "symtable", "token",
    }
)  # fmt: skip
_IMPURE_BUILTINS = ("open", "input", "__import__", "breakpoint")
_IMPURE_NUMPY = (
    "load", "loadtxt", "genfromtxt", "fromfile", "fromregex", "memmap", "geterr", "geterrcall", "getbufsize",
    "get_printoptions", "DataSource",
)  # fmt: skip
_READERS = ("read_", "load", "open", "fetch_")  # how functions of other packages begin that read files
_NAME = re.compile(r"[^\W\d]\w*")
_FIELD_OF_TEXT = re.compile(r"{([^{}]*)}")  # of one that is to be formatted
_CACHED = type(cache(lambda: None))  # what lru_cache and its kin make of a function


class Code(NamedTuple):
    """What a function's code reads.

    Attributes
    ----------
    names : set of str
        The names of global variables.
    words : set of str
        The names of attributes, and what may be one: strings. Not those of the libraries' modules.
    of_libraries : dict of str to object
        What is read of the libraries' modules, by name: ``np.tanh``, ``os.path.exists``.
    imports : set of str
        Modules that it imports itself.
    reflects : bool
        Whether it may read attributes by names that do not stand in it.
    computes_names : bool
        Whether it reads its global variables by names that do not stand in it.
    """

    names: set[str]
    words: set[str]
    of_libraries: dict[str, Any]
    imports: set[str]
    reflects: bool
    computes_names: bool


def read_by(f: types.FunctionType) -> Code:
    """What a function reads, and the functions that are written within it."""
    code = Code(set(), set(), {}, set(), False, False)
    texts: set[str] = set()  # those that may be names
    written: list[str] = []
    for part in _codes(f.__code__):
        name, value = "", None  # of a library's module, and then of what a chain of attributes reads of it
        for instruction in dis.get_instructions(part):
            argument = instruction.argval
            if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
                code.names.add(argument)
                value = f.__globals__.get(argument)
                name = argument if isinstance(value, types.ModuleType) and is_library(value.__name__) else ""
                continue
            if instruction.opname == "IMPORT_NAME":
                code.imports.add(argument)
            if instruction.opname.endswith("_ATTR") or instruction.opname in ("LOAD_METHOD", "IMPORT_FROM"):
                if name:  # np.random.rand
                    if isinstance(value, types.ModuleType):
                        name, value = f"{name}.{argument}", vars(value).get(argument)
                        code.of_libraries[name] = value
                    continue  # the rest of the chain is the library's too
                code.words.add(argument)
            name = ""
        written += [text for x in part.co_consts for text in _texts(x)]
    texts.update(text for text in written if text.isidentifier())
    if any(name.endswith("import_module") for name in (*code.words, *code.names, *code.of_libraries)):
        code.imports.update(text for text in texts if text in sys.modules)
    if not {"format", "format_map"}.isdisjoint(code.words):  # "{0.k}".format(o) reads o.k
        code.words.update(
            word for text in written for field in _FIELD_OF_TEXT.findall(text) for word in _NAME.findall(field)
        )
    by_name = bool(code.names & {"globals", "eval", "exec"}) or "f_globals" in code.words
    if by_name:  # exec("v = k") reads k
        texts.update(word for text in written for word in _NAME.findall(text))
    of_all = {*code.words, *(name.split(".")[-1] for name in code.of_libraries)}
    return code._replace(
        names=code.names | texts if by_name else code.names,
        words=code.words | texts,
        reflects=bool(code.names & _BY_FUNCTION or of_all & _BY_ATTRIBUTE or "sys.modules" in code.of_libraries),
        computes_names=by_name and not texts,
    )


def words_in(functions: Iterable[Any]) -> set[str]:
    """The names of attributes in the code of functions."""
    return {word for f in functions if isinstance(f, types.FunctionType) for word in f.__code__.co_names}


def _texts(x: Any) -> Iterator[str]:
    if isinstance(x, str):
        yield x
    elif isinstance(x, (tuple, frozenset)):
        for y in x:
            yield from _texts(y)


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    """The code of a function, and of those within it."""
    yield code
    for x in code.co_consts:
        if isinstance(x, types.CodeType):
            yield from _codes(x)


# -- what can be watched ----------------------------------------------------------------------------------------------


class View(NamedTuple):
    """How to watch an object.

    Attributes
    ----------
    look : callable
        Without arguments: what to compare, which is another object if the watched one has changed.
    put : callable
        Takes what `look` gave, and makes the object as it was then.
    within : list of (str, object)
        What to look into, with a name for each: an attribute, a key, or nothing.
    """

    look: Callable[[], Any]
    put: Callable[[Any], Any]
    within: list[tuple[str, Any]]


def loaded(*names: str) -> tuple[Any, ...]:
    """The classes of these names, of modules that are loaded: of others, nobody has objects."""
    parts = [name.rpartition(".") for name in names]
    found = [getattr(sys.modules.get(module), name, None) for module, _, name in parts]
    return tuple(x for x in found if isinstance(x, type))


def view(x: Any) -> View | None:
    """How to watch an object of a kind that is known here; None for a constant.

    Raises
    ------
    TypeError
        If its state is hidden from Python.
    """
    if isinstance(x, loaded("pathlib.Path")):
        raise TypeError("a path leads to a file")
    if isinstance(x, (type, types.ModuleType, *_CONSTANT, *loaded(*_NUMBERS_AND_PATHS, *_IDLE))):
        return None
    if isinstance(x, types.BuiltinMethodType) and isinstance(x.__self__, (types.ModuleType, type(None))):
        return None
    if isinstance(x, (dict, types.MappingProxyType)):
        put = nothing if isinstance(x, types.MappingProxyType) else _refilled(x, x.update)
        within = [(key if isinstance(key, str) else "", item) for key, item in list(x.items())]
        if isinstance(x, defaultdict):
            return View(lambda: [*x.items(), x.default_factory], put, [*within, ("", x.default_factory)])
        return View(lambda: list(x.items()), put, within)
    if x is os.environ:
        entries: dict[Any, Any] = vars(x)["_data"]  # as bytes, which costs less at each step than texts
        return View(lambda: [y for item in entries.items() for y in item], _environment, [])
    if isinstance(x, (list, deque)):
        return View(lambda: list(x), _refilled(x, x.extend), [("", item) for item in list(x)])
    if isinstance(x, set):
        return View(lambda: sorted(map(id, x)), _refilled(x, x.update), [("", item) for item in list(x)])
    if isinstance(x, (tuple, frozenset)):
        return View(tuple, nothing, [("", item) for item in x])
    if isinstance(x, loaded("array.array")):
        return View(x.tobytes, lambda before: x.__setitem__(slice(None), type(x)(x.typecode, before)), [])
    if isinstance(x, contextvars.ContextVar):
        return View(lambda: x.get(MISSING), lambda before: before is MISSING or x.set(before), [("", x.get(MISSING))])
    if isinstance(x, loaded("_thread._local")):
        return View(lambda: list(vars(x).items()), _refilled(vars(x), vars(x).update), list(vars(x).items()))
    if isinstance(x, weakref.ref):
        return View(x, nothing, [("", x())])
    if isinstance(x, (types.BuiltinMethodType, types.MethodWrapperType)):
        return View(tuple, nothing, [("", x.__self__)])
    if isinstance(x, (operator.attrgetter, operator.methodcaller)):
        return None
    if isinstance(x, partialmethod):
        return View(tuple, nothing, [("", x.func), ("", x.args), ("", x.keywords)])
    if isinstance(x, _CACHED):
        return View(tuple, nothing, [("", x.__wrapped__)])
    if (bytes_of := _buffer(x)) is not None:
        return View(bytes_of, _written(x), [])
    if hides_its_state(type(x)):  # type: ignore[arg-type]  # classes are hashable
        raise TypeError(f"a {type(x).__name__} hides its state")
    return View(lambda: state(x), lambda before: restore(x, before), [(k, v) for k, v in state(x)])


def state(x: Any) -> list[tuple[str, Any]]:
    """All the attributes of an object, in order."""
    own = getattr(x, "__dict__", None)
    found = list(own.items()) if isinstance(own, dict) else []
    slots = (name for name in copyreg._slotnames(type(x)) if hasattr(x, name))  # type: ignore[attr-defined]  # CPython's own
    return found + [(name, getattr(x, name)) for name in slots]


def restore(x: Any, before: list[tuple[str, Any]]) -> None:
    """Give an object the attributes that it had."""
    known = dict(before)
    for name, _ in state(x):
        if name not in known:
            object.__delattr__(x, name)
    for name, value in before:
        if getattr(x, name, MISSING) is not value:
            object.__setattr__(x, name, value)


def _refilled(x: Any, fill: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def put(before: Any) -> None:
        x.clear()
        fill([item for item in before if isinstance(item, tuple)] if isinstance(x, dict) else before)

    return put


def _environment(before: list[bytes]) -> None:
    """Give the environment the variables that it had."""
    known = dict(zip(map(os.fsdecode, before[::2]), map(os.fsdecode, before[1::2]), strict=True))
    for name in os.environ.keys() - known.keys():
        del os.environ[name]
    os.environ.update(known)


def nothing(before: Any) -> None:
    """Put nothing back: no recording changes that, or what it stands in, or what it shows, is put back."""


def _buffer(x: Any) -> Callable[[], bytes] | None:
    """What gives the bytes of an object that is nothing but memory, such as a bytearray or a C structure."""
    if any(base.__name__ == "_Pointer" for base in type(x).__mro__):  # of ctypes: the memory is elsewhere
        return None
    try:
        memoryview(x).tobytes()
    except (TypeError, BufferError, NotImplementedError):
        return None
    return lambda: memoryview(x).tobytes()


def _written(x: Any) -> Callable[[Any], Any]:
    def put(before: bytes) -> None:
        memory = memoryview(x)
        if not memory.readonly and memory.tobytes() != before and memory.contiguous:
            memory.cast("B")[:] = before

    return put


@cache
def hides_its_state(kind: Any) -> bool:
    """Whether objects of a class hold more than its attributes: whether some of it is written in C, and has fields."""
    pointer = np.dtype(np.intp).itemsize
    room = object.__basicsize__ + pointer * (
        bool(kind.__dictoffset__) + bool(kind.__weakrefoffset__) + len(copyreg._slotnames(kind))  # type: ignore[attr-defined]
    )
    return kind.__basicsize__ > room or bool(kind.__itemsize__)


def reads_the_world(x: Any) -> bool:
    """Whether a library's function or class takes numbers from elsewhere: a clock, a file, the process, a switch."""
    if not isinstance(x, (type, types.FunctionType, types.BuiltinFunctionType, type(np.sum))):
        return False
    owner = getattr(x, "__self__", None)
    module = owner.__name__ if isinstance(owner, types.ModuleType) else getattr(x, "__module__", None)
    if not isinstance(module, str):
        return False
    top = module.lstrip("_").split(".")[0]
    name = getattr(x, "__name__", "")
    if top in ("builtins", "io"):
        return name in _IMPURE_BUILTINS or top == "io"
    if top == "numpy":
        return name in _IMPURE_NUMPY
    if top not in (*sys.stdlib_module_names, "thread", "posix", "tinygrad_dls"):
        return name.startswith(_READERS) and is_library(module)
    top = {"thread": "threading", "posix": "os", "collections_abc": "collections"}.get(top, top)
    return top in sys.stdlib_module_names and top not in _PURE


# -- whose code it is -------------------------------------------------------------------------------------------------

_INSTALLED = tuple(
    os.path.realpath(path) + os.sep
    for name in ("stdlib", "platstdlib", "purelib", "platlib")
    if (path := sysconfig.get_paths().get(name))
)


@cache
def is_library(module: str) -> bool:
    """Whether a module is one of Python's own or of an installed package, by its name."""
    top = module.split(".")[0]
    if top == "__main__":
        return False
    if top in sys.stdlib_module_names or top == "numpy":
        return True
    file = getattr(sys.modules.get(top), "__file__", None)
    return isinstance(file, str) and os.path.realpath(file).startswith(_INSTALLED)


def home_of(x: Any) -> Any:
    """The name of the module that a function was written in, or the class of an object."""
    return x.__globals__.get("__name__") if isinstance(x, types.FunctionType) else type(x).__module__


def is_ours(kind: Any) -> bool:
    """Whether a class or a function is of this package."""
    return str(kind.__module__).split(".")[0] == PACKAGE


def is_data(x: Any) -> bool:
    """Whether what stands in a library's module is no part of its code, such as ``os.environ``."""
    return not (callable(x) or isinstance(x, (types.ModuleType, *NUMBERS)))


def is_library_module(x: Any) -> bool:
    """Whether it is a module of Python's own, or of an installed package."""
    return isinstance(x, types.ModuleType) and is_library(x.__name__)


def is_written(f: Any) -> bool:
    """Whether a method was written by ``dataclass``: ``__eq__``, ``__repr__`` and the like, which read all fields."""
    f = inspect.unwrap(f) if isinstance(f, types.FunctionType) else f
    return isinstance(f, types.FunctionType) and f.__code__.co_filename == "<string>"


# -- what is said -----------------------------------------------------------------------------------------------------


def unwatchable(name: str, what: str) -> RecordingError:
    """The error for what a function reads and nobody could compare at each step."""
    return RecordingError(
        f"the recording would freeze what {name or 'the function'} holds: {what}, whose changes cannot be watched. "
        "Pass what the code takes from it as an argument, or keep that as a number or an array in a variable; "
        f"if it never changes, declare it with compile(..., constants=[{name or '...'}])."
    )


def from_outside(name: str) -> RecordingError:
    """The error for a function that reads a clock, a file and the like."""
    return RecordingError(
        f"the recording would freeze what {name} gives, which comes from outside: a clock, a file, the process, a "
        "setting. Call it before, and pass what it gave as an argument, or keep that in a variable; if it never "
        f"changes, declare it with compile(..., constants=[{name}])."
    )
