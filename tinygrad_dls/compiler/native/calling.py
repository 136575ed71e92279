"""How Python calls a function of C: as one of its own built-in functions, which are given objects as they are.

`ctypes` takes 0.35 us for a call, as it makes an object of C for each argument and gives up Python's lock meanwhile. A
small step computes for no longer than four times that. A built-in function takes 0.02 us. It keeps the lock, unless it
has enough to do.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_dls.engine.arrays import Array

__all__ = ["PYTHON", "Memory", "builtin", "entry", "introduce"]

FASTCALL = 0x80  # METH_FASTCALL: arguments come as a vector, and their number
# What C calls of Python's interface, in this order. It is given their addresses, so nothing has to be linked.
FUNCTIONS = ("PyFloat_FromDouble", "PyFloat_AsDouble", "PyErr_Occurred", "PyEval_SaveThread", "PyEval_RestoreThread")
PYTHON = """\
static struct {
  void *(*number)(double); double (*value)(void *); void *(*failed)(void); void *(*unlock)(void); void (*lock)(void *);
} python;
void introduce(void **functions) { memcpy(&python, functions, sizeof python); }"""

_new = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p)(
    ("PyCFunction_NewEx", ctypes.pythonapi)
)


class _Definition(ctypes.Structure):
    """What Python knows of a built-in function."""

    _fields_ = [
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    ]


class Memory(np.ndarray[Any, Any]):
    """The addresses of arrays, which live as long as it does.

    Attributes
    ----------
    held : tuple
        What else is to live as long.
    """

    held: Any

    @classmethod
    def of(cls, arrays: Sequence[Array]) -> Memory:
        """The addresses of these arrays."""
        memory = np.array([x.ctypes.data for x in arrays], np.uintp).view(cls)
        memory.held = arrays
        return memory


def entry(name: str, arrays: int, numbers: int, *, unlocked: bool) -> str:
    """C that makes a function of C, of so many arrays and then numbers, one for `builtin`.

    With `unlocked`, other threads run meanwhile. That takes 0.04 us.
    """
    given = ["(void **)((Array *)memory)->data", *(f"given[{i}]" for i in range(arrays))]
    given += [f"n{i}" for i in range(numbers)]
    lines = [f"void *{name}_entry(void *memory, void **given, Size count) {{"]
    for i in range(numbers):
        lines.append(f"    double n{i} = python.value(given[{arrays + i}]);")
        lines.append(f"    if (n{i} == -1 && python.failed()) return 0;")
    lines += ["    void *thread = python.unlock();"] if unlocked else []
    lines.append(f"    double result = {name}({', '.join(given)});")
    lines += ["    python.lock(thread);"] if unlocked else []
    return "\n".join([*lines, "    return python.number(result);", "}"])


def introduce(library: ctypes.CDLL) -> None:
    """Tell a library, whose text holds `PYTHON`, where Python's functions are."""
    addresses = [ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value for name in FUNCTIONS]
    library.introduce((ctypes.c_void_p * len(FUNCTIONS))(*addresses))


def builtin(library: ctypes.CDLL, name: str, memory: Memory) -> Callable[..., float]:
    """A built-in function of Python's that calls a function of C, which has an `entry`, with this memory."""
    address = ctypes.cast(getattr(library, f"{name}_entry"), ctypes.c_void_p).value
    definition = _Definition(name.encode(), address, FASTCALL, None)
    memory.held = memory.held, definition  # Python looks at it as long as there is the function
    function: Callable[..., float] = _new(ctypes.addressof(definition), memory, None)
    return function
