"""From a program to the text of functions that run it: lines in order, each into an array that is free by then.

An array is planned by its last use: a function of single entries writes over an argument that nothing needs any more,
and other calls take the memory that was given back. Views of planned arrays are made once, not at every step; so is
what depends on nothing. What NumPy cannot write into a given array, it makes anew.
"""

from __future__ import annotations

import builtins
import keyword
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinygrad_dls.compiling.lowering import (
    ARITHMETIC,
    COMPARISONS,
    FLOATS,
    RUN,
    calls,
    is_number,
    number,
    side_by_side,
    total,
    total_in_runs,
    with_ones,
)
from tinygrad_dls.recording import Call, astype, getitem, reachable, scattered
from tinygrad_dls.rewriting import PATTERNS

__all__ = ["Code", "Function", "Writer", "copied", "safe"]

_REDUCE = {np.sum: "add", np.max: "maximum", np.min: "minimum", np.prod: "multiply"}
LONG = 4 * RUN
_VIEWS = (np.transpose, np.broadcast_to, np.expand_dims, np.squeeze, np.swapaxes, np.reshape)
_FRESH = (
    np.where, np.concatenate, np.stack, np.cumsum, np.sum, np.prod, np.max, np.min, np.mean, np.std, np.var, np.any,
    np.all, getitem, scattered, *PATTERNS,
)  # fmt: skip  # whose results are arrays of their own, indexing among them where it is no view
_BY_KEYWORD = (np.maximum, np.minimum)  # whose third argument by position is deprecated
FEW = 4096  # entries of an array up to which its memory does not matter
_RESERVED = {"memory", "part", "sums", "m", "learning_rate", *keyword.kwlist, *dir(np), *dir(builtins), "np"}


@dataclass
class Function:
    """The text of a function: its name, arguments and lines, each with a comment."""

    name: str
    arguments: list[str]
    lines: list[tuple[str, str]] = field(default_factory=list)

    def text(self) -> str:
        """The function as Python."""
        column = max((len(line) for line, comment in self.lines if comment and len(line) < 64), default=0)
        body = [f"    {line:{column}}  # {comment}" if comment else f"    {line}" for line, comment in self.lines]
        return "\n".join([f"def {self.name}({', '.join(self.arguments)}):", *(body or ["    pass"])])

    @property
    def calls(self) -> int:
        """How many NumPy calls it makes."""
        return sum(not line.startswith(("return", "#")) for line, _ in self.lines)


@dataclass
class Code:
    """What a plan runs: text, and the memory that it needs.

    Attributes
    ----------
    setup : list of str
        Lines that name the arrays, run once for each worker.
    function : Function
    slots : list of (dtype, int)
        The arrays of working memory, and their lengths.
    constants : dict
        By name, what the text cannot hold: NumPy's functions, and arrays.
    own : int
        Bytes of arrays that are kept apart, as they hold ones.
    reused, in_place, hoisted : int
        How often memory was used again, an argument was written over, and a line was moved to the setup.
    """

    setup: list[str] = field(default_factory=list)
    function: Function = field(default_factory=lambda: Function("step", []))
    slots: list[tuple[Any, int]] = field(default_factory=list)
    constants: dict[str, Any] = field(default_factory=dict)
    reused: int = 0
    in_place: int = 0
    hoisted: int = 0
    own: int = 0

    @property
    def bytes(self) -> int:
        """Bytes of the arrays that the function writes into."""
        return self.own + sum(n * int(np.dtype(dtype).itemsize) for dtype, n in self.slots)

    def text(self) -> str:
        """All of it as Python."""
        return "\n".join([*self.setup, "", "", self.function.text(), ""])


def copied(x: Any) -> Any:
    """The same numbers in another array."""
    return x.copy()


def safe(name: str) -> str:
    """A name that means nothing else in the text of a function."""
    return (
        f"{name}_"
        if name in _RESERVED or re.fullmatch(r"(new_)?(parameters|gradients|state\d+)|before|after", name)
        else name
    )


class Writer:
    """Writes a function of a plan.

    Parameters
    ----------
    recorded : int or None
        The number of examples that the program was recorded with.
    width : int or None
        The number of examples that the functions are for: all, or those of a tile.
    given : dict of Call to str
        What is there when a function starts: its arguments, and views of the flat arrays.
    fixed : set of Call
        Those of them whose memory stays where it is.
    into : dict of Call to str
        Where the results that somebody waits for are to be written.
    plain : set of Call
        Those whose lengths are no number of examples, even if they are multiples of it.
    """

    def __init__(
        self,
        recorded: int | None,
        width: int | None,
        given: Mapping[Call, str],
        fixed: set[Call],
        into: dict[Call, str],
        plain: set[Call] | None = None,
    ) -> None:
        self.recorded, self.width = recorded, width
        self.code = Code()
        self.given, self.into, self.plain = given, into, plain or set()
        self.fixed = set(fixed)
        self.scratch: set[Call] = set()  # what is given, but may be written over
        self.strided: set[Call] = set()  # what is given as a run of columns of a larger array
        self.notes: dict[str, str] = {}  # by name, for the comment of a line
        self.names: dict[Call, str] = dict(given)
        self.taken = {*_RESERVED, *given.values()}
        self.free: list[int] = []
        self.slot: dict[Call, int] = {}
        self.end: dict[Call, int] = {}  # by what owns memory: the place of its last use
        self.places: dict[Any, str] = {}
        self.constants: set[Call] = set()

    # -- one function -------------------------------------------------------------------------------------------------

    def start(self, lines: list[str]) -> None:
        """The first lines of the setup, whose names are taken."""
        self.code.setup += lines
        for line in lines:
            self.taken.update(line.split(" = ")[0].split(", "))

    def function(self, name: str, arguments: list[str], wanted: Iterable[Call]) -> Function:
        """Write the function that computes the calls; its last line is left to the caller."""
        self.f = Function(name, arguments)
        self.code.function = self.f
        wanted = list(wanted)
        self.order = reachable(wanted, known=lambda call: call in self.given or is_number(call))
        self.alike = {x.args[0] for x in self.order if x.function is with_ones}
        for i, call in enumerate(self.order):
            for x in (call, *call.calls()):
                self.end[self.root(x)] = i
        for call in wanted:
            self.end[self.root(call)] = len(self.order)
        for at, call in enumerate(self.order):
            self.at = at
            self.line(call)
            for x in {self.root(y) for y in (call, *call.calls())}:
                if self.end.get(x) == self.at and x in self.slot:
                    self.free.append(self.slot.pop(x))
        return self.f

    def root(self, call: Call) -> Call:
        """What owns the memory of a view."""
        while self.is_view(call):
            call = call.args[0]
        return call

    def is_view(self, call: Call) -> bool:
        """Whether the result shares the memory of the first argument."""
        f = call.function
        if f is None or call in self.given or not call.args or not isinstance(call.args[0], Call):
            return False
        if is_number(call.args[0]):
            return False
        if f is np.reshape:
            x = call.args[0]
            return x.function is not None and not self.is_view(x) and x.function not in (with_ones, side_by_side)
        if f is getitem:
            index = call.args[1]
            number = call.shape == () and index is not Ellipsis and not (isinstance(index, tuple) and Ellipsis in index)
            return _basic(index) and not number
        if f is with_ones:
            return call.args[0] not in self.given
        return f in _VIEWS

    # -- one line -----------------------------------------------------------------------------------------------------

    def line(self, call: Call) -> None:
        """Write the line for a call, unless it is known or only a name."""
        f = call.function
        if call in self.names or is_number(call):
            return
        if f is np.asarray:
            self.names[call] = self.constant(number(call), call.dtype)
        elif self.is_view(call):
            self.view(call)
        elif f is with_ones:
            self.copied(call)
        elif all(x in self.constants or (is_number(x) and not self.changes(x)) for x in call.calls()):
            self.once(call)
        else:
            self.computed(call)
        if call in self.into and self.names[call] != self.into[call]:  # a view, or a constant
            self.write(f"{self.into[call]}[...] = {self.names[call]}")

    def changes(self, x: Call) -> bool:
        """Whether a number may be another one at the next step."""
        if x.function is None:
            return x.name == "learning_rate"  # the other symbol is m
        return any(map(self.changes, x.calls()))

    def once(self, call: Call) -> None:
        """What depends on nothing is computed when the plan is made."""
        if call.function is np.ones:
            text = f"np.ones({self.shape(call)}, {self.dtype(call.dtype)})"
            key: Any = text
        else:
            text = f"{self.called(call.function)}({self.arguments(call)})"
            if call.function in _VIEWS:  # of a number
                text = f"np.full({self.shape(call)}, {self.number(call.args[0])}, {self.dtype(call.dtype)})"
            key = call
        if key not in self.places:
            name = self.name(call, "ones" if call.function is np.ones else "c")
            self.places[key] = name
            self.code.setup.append(f"{name} = {text}")
            self.code.hoisted += 1
        self.names[call] = self.places[key]
        self.fixed.add(call)
        self.constants.add(call)

    def view(self, call: Call) -> None:
        """A view: made once if what it is of stays where it is."""
        x = call.args[0]
        if call.function is with_ones:
            text = f"{self.names[x]}_and_1"  # named when x was
            self.names[call] = text
            self.fixed.add(call)
            return
        inner = self.names[x]
        if call.function is np.transpose and len(call.args) == 1 and not call.options:
            text = f"{inner}.T"
        elif call.function is getitem:
            text = f"{inner}[{self.index(call.args[1])}]"
        elif call.function in (np.reshape, np.broadcast_to):
            shape = self.shape(call)
            text = f"{self.called(call.function)}({inner}, {shape})"
        else:
            text = f"{self.called(call.function)}({self.arguments(call)})"
        stem = f"{inner}_T" if text == f"{inner}.T" else self.name(call, "view", take=False)
        name = self.unique(stem)
        self.names[call] = name
        if self.root(call) in self.fixed:
            self.fixed.add(call)
            self.code.setup.append(f"{name} = {text}")
            if self.root(call) in self.constants:
                self.constants.add(call)
        else:
            self.write(f"{name} = {text}")

    def copied(self, call: Call) -> None:
        """An input with a row of ones below."""
        name, inner = self.name(call, "t"), self.names[call.args[0]]
        self.code.own += math.prod(self.lengths(call)) * np.dtype(call.dtype).itemsize
        self.code.setup.append(f"{name} = np.ones({self.shape(call)}, {self.dtype(call.dtype)})")
        rows = self.unique(f"{name}_rows")
        self.code.setup.append(f"{rows} = {name}[:-1]")
        self.names[call] = name
        self.fixed.add(call)
        self.write(f"{rows}[...] = {inner}", "a copy, with a row of ones below")

    def computed(self, call: Call) -> None:
        """The line of what is computed at every step."""
        f = call.function
        comment = self.comment(call)
        if f is total:
            x, y = (self.raveled(a) for a in call.args)
            if not self.is_long(call.args[0]):
                self.assigned(call, f"{x}.dot({y})")
            elif calls(call.args[1], np.ones):
                self.assigned(call, f"{self.called(np.add)}.reduce({x})")
            else:
                self.code.constants["total_in_runs"] = total_in_runs
                self.assigned(call, f"total_in_runs({x}, {y})")
        elif f is np.dot and calls(call.args[1], np.ones) and self.is_long(call.args[1]) and call.shape != ():
            x = self.operand(call.args[0], call)
            kept = ", keepdims=True" if len(call.shape) == 2 else ""
            self.write(f"{self.called(np.add)}.reduce({x}, 1, out={self.target(call)}{kept})", comment)
        elif f is np.dot and all(isinstance(x, Call) for x in call.args):
            a, b = (self.operand(x, call) for x in call.args)
            if call.shape == ():
                self.assigned(call, f"{a}.dot({b})")
            elif any(self.root(x) in self.strided for x in call.args):  # which np.dot would copy, or go through by hand
                self.write(f"{self.called(np.matmul)}({a}, {b}, {self.target(call)})", comment)
            else:
                self.write(f"{a}.dot({b}, {self.target(call)})", comment)
        elif isinstance(f, np.ufunc) and f.nout == 1 and call.shape != ():
            args = [self.operand(x, call) for x in call.args]
            out = self.target(call)
            out = f"out={out}" if f in _BY_KEYWORD else out
            self.write(f"{self.called(f)}({', '.join([*args, out])})", comment)
        elif f in _REDUCE and call.args[0].dtype == call.dtype and call.dtype != bool and call.shape != ():
            axis = call.options.get("axis")
            keep = bool(call.options.get("keepdims"))
            axis = axis if not isinstance(axis, tuple) else axis if len(axis) > 1 else axis[0]
            x = self.operand(call.args[0], call)
            ufunc = self.called(getattr(np, _REDUCE[f]))
            keyword_ = ", keepdims=True" if keep else ""
            self.write(f"{ufunc}.reduce({x}, {axis}, out={self.target(call)}{keyword_})", comment)
        elif f is astype and call.shape != ():
            self.write(f"{self.target(call)}[...] = {self.names[call.args[0]]}", comment)
        elif f is copied and call not in self.into:
            self.assigned(call, f"{self.any(call.args[0])}.copy()")
        elif f is copied:
            self.names[call] = self.into[call]
            self.write(f"{self.into[call]}[...] = {self.any(call.args[0])}", comment)
        else:
            text = f"{self.called(f)}({self.arguments(call)})"
            fresh = isinstance(f, np.ufunc) or f in _FRESH
            self.assigned(call, text if fresh else f"{text}.copy()")  # it may be a view of memory that is used again

    def is_long(self, x: Call) -> bool:
        """Whether BLAS would lose digits in the sum of so many entries: NumPy adds in pairs, and is as fast there."""
        return bool(x.dtype == np.float32 and math.prod(self.lengths(x)) > LONG)

    def write(self, line: str, comment: str = "") -> None:
        """Append a line."""
        self.f.lines.append((line, comment))

    def assigned(self, call: Call, text: str) -> None:
        """A line that makes a new array, or a number."""
        name = self.into.get(call) or self.name(call, "s" if call.shape == () else "t")
        filled = call in self.into and not name.endswith("]")
        self.write(f"{name}{'[...]' if filled else ''} = {text}", self.comment(call))
        self.names[call] = name

    def comment(self, call: Call) -> str:
        """The comment of a line: the shape of its result, and by what it differs from what its name says."""
        return ", ".join(x for x in (self.shape(call) * bool(call.shape), self.notes.get(call.name, "")) if x)

    # -- memory -------------------------------------------------------------------------------------------------------

    def target(self, call: Call) -> str:
        """The array to write a result into."""
        if call in self.into:
            self.names[call] = self.into[call]
            self.fixed.add(call)
            return self.names[call]
        name = self.name(call, "t")
        self.names[call] = name
        self.fixed.add(call)
        if call in self.alike:
            whole = self.unique(f"{name}_and_1")
            shape = self.lengths(call)
            self.code.own += math.prod((shape[0] + 1, *shape[1:])) * np.dtype(call.dtype).itemsize
            self.code.setup.append(f"{whole} = np.ones({(shape[0] + 1, *shape[1:])}, {self.dtype(call.dtype)})")
            self.code.setup.append(f"{name} = {whole}[:-1]")
            return name
        old = self.overwritten(call)
        if old is not None:
            self.code.in_place += 1
            if old in self.slot:
                self.slot[call] = self.slot.pop(old)
            self.code.setup.append(f"{name} = {self.names[old]}")
            return name
        i = self.memory(np.dtype(call.dtype), math.prod(self.lengths(call)))
        self.slot[call] = i
        self.code.setup.append(f"{name} = part(memory[{i}], {self.shape(call)})")
        return name

    def overwritten(self, call: Call) -> Call | None:
        """An argument that a function of single entries may write over."""
        if not isinstance(call.function, np.ufunc) or call.function.signature is not None:
            return None
        args = [x for x in call.args if isinstance(x, Call)]
        for x in args:
            own = x not in self.given or x in self.scratch
            free = self.end.get(x) == self.at and x in self.fixed and own and x not in self.into
            free = free and not self.is_view(x) and x not in self.constants and x.function is not with_ones
            alone = all(y is x or self.root(y) is not x for y in args)
            if free and alone and x.shape == call.shape and x.dtype == call.dtype and x not in self.alike:
                return x
        return None

    def memory(self, dtype: Any, size: int) -> int:
        """A piece of working memory that is free: the smallest that is large enough, or the largest, made larger."""
        slots = self.code.slots
        free = [i for i in self.free if slots[i][0] == dtype]
        large = [i for i in free if slots[i][1] >= size]
        if not free:
            slots.append((dtype, size))
            return len(slots) - 1
        i = min(large, key=lambda i: slots[i][1]) if large else max(free, key=lambda i: slots[i][1])
        self.free.remove(i)
        slots[i] = (dtype, max(size, slots[i][1]))
        self.code.reused += 1
        return i

    # -- arguments ----------------------------------------------------------------------------------------------------

    def operand(self, x: Any, call: Call) -> str:
        """An argument of a function of entries: numbers become arrays of the dtype, which NumPy takes faster."""
        if isinstance(x, np.ndarray) or (isinstance(x, Call) and not is_number(x)):
            return self.any(x)
        dtypes = {y.dtype for y in call.args if isinstance(y, Call) and not is_number(y)}
        dtype = dtypes.pop() if len(dtypes) == 1 else None
        same = dtype in FLOATS and (call.dtype == dtype or call.function in COMPARISONS)
        if not same or call.function is np.power:
            return self.number(x)
        if number(x) is not None:
            if call.function in _BY_KEYWORD and math.prod(self.lengths(call)) <= FEW:
                return self.filled(number(x), call)
            return self.constant(number(x), dtype)
        return self.live(x, dtype)

    def filled(self, value: Any, call: Call) -> str:
        """The name of an array that is one number over and over: for extremes, faster than the number."""
        key = ("filled", repr(value), str(call.dtype), self.shape(call))
        if key not in self.places:
            self.places[key] = name = self.unique("zeros" if value == 0 else "filled")
            self.code.own += math.prod(self.lengths(call)) * np.dtype(call.dtype).itemsize
            text = f"np.full({self.shape(call)}, {self.number(value)}, {self.dtype(call.dtype)})"
            self.code.setup.append(f"{name} = {text}")
        return self.places[key]

    def constant(self, value: Any, dtype: Any) -> str:
        """The name of a number as an array without axes."""
        key = ("number", repr(value), str(dtype))
        if key not in self.places:
            name = self.unique("number_" + re.sub(r"\W", "_", f"{value:g}".replace("-", "minus_").replace("+", "")))
            self.places[key] = name
            self.code.setup.append(f"{name} = np.array({self.number(value)}, {self.dtype(dtype)})")
        return self.places[key]

    def live(self, x: Call, dtype: Any) -> str:
        """The same for one that depends on the learning rate; or on the number of examples, which is fixed."""
        text = self.number(x)
        key = ("number", text, str(dtype))
        changes = self.changes(x)
        if key not in self.places:
            self.places[key] = self.unique("rate" if changes else "number")
            self.code.setup.append(f"{self.places[key]} = np.array({0.0 if changes else text}, {self.dtype(dtype)})")
        name = self.places[key]
        line = f"{name}[...] = {text}"
        if changes and all(line != other for other, _ in self.f.lines):
            self.write(line)
        return name

    def number(self, x: Any) -> str:
        """A number as Python computes it."""
        if isinstance(x, Call):
            if x.function is None:
                return x.name
            if x.function is np.asarray:
                return self.number(x.args[0])
            if x.function in ARITHMETIC:
                return f"({self.number(x.args[0])} {ARITHMETIC[x.function]} {self.number(x.args[1])})"
            return self.names[x]
        if isinstance(x, np.generic):
            x = x.item()
        if isinstance(x, float) and not math.isfinite(x):
            return "np.nan" if x != x else "np.inf" if x > 0 else "-np.inf"
        return repr(x)

    def raveled(self, x: Call) -> str:
        """The entries of an array in a row."""
        if x.function is np.ones and not x.args:
            one = Call(np.ones, (), {}, (math.prod(x.shape),), x.dtype)
            self.once(one)
            return self.names[one]
        name = self.names[x]
        if x in self.fixed and x not in self.given and not self.is_view(x):
            key = ("row", name)
            if key not in self.places:
                self.places[key] = self.unique(f"{name}_row")
                self.code.setup.append(f"{self.places[key]} = {name}.reshape(-1)")
            return self.places[key]
        return f"{name}.ravel()"

    def arguments(self, call: Call) -> str:
        """The arguments of a call that stands as it was recorded."""
        if call.function in (np.reshape, np.broadcast_to):
            return f"{self.any(call.args[0])}, {self.shape(call)}"
        if call.function is np.full:
            return f"{self.shape(call)}, {self.any(call.args[1])}, {self.dtype(call.dtype)}"
        options = [f"{key}={self.any(x)}" for key, x in call.options.items()]
        return ", ".join([*map(self.any, call.args), *options])

    def any(self, x: Any) -> str:
        """Anything that may be an argument."""
        if isinstance(x, Call):
            return self.number(x) if is_number(x) else self.names[x]
        if isinstance(x, tuple):
            return f"({', '.join(map(self.any, x))}{',' * (len(x) == 1)})"
        if isinstance(x, list):
            return f"[{', '.join(map(self.any, x))}]"
        if isinstance(x, slice):
            return f"slice({self.any(x.start)}, {self.any(x.stop)}, {self.any(x.step)})"
        if isinstance(x, np.dtype):
            return self.dtype(x)
        if isinstance(x, np.ndarray):
            name = self.unique("array")
            self.code.constants[name] = x
            return name
        if isinstance(x, (int, float, np.number)) and not isinstance(x, bool):
            return self.number(x)
        return "..." if x is Ellipsis else repr(x)

    def index(self, x: Any) -> str:
        """What stands between the brackets."""
        if isinstance(x, tuple):
            return ", ".join(map(self.index, x)) or "()"
        if isinstance(x, slice):
            start, stop, step = ("" if i is None else self.any(i) for i in (x.start, x.stop, x.step))
            return f"{start}:{stop}" + (f":{step}" if step else "")
        return self.any(x)

    def called(self, function: Any) -> str:
        """The name under which the text calls a function."""
        if function in PATTERNS or function in (getitem, astype, scattered):
            self.code.constants[function.__name__] = function
            return str(function.__name__)
        name = {np.abs: "abs"}.get(function, function.__name__)
        if getattr(np, name, None) is not function:
            self.code.constants[name] = function
            return str(name)
        self.code.constants["np"] = np
        if isinstance(function, np.ufunc):
            self.code.constants[name] = function
            return str(name)
        return f"np.{name}"

    # -- shapes and names ---------------------------------------------------------------------------------------------

    def lengths(self, call: Call) -> tuple[int, ...]:
        """The shape of a result for the examples that the functions are for."""
        m, w = self.recorded, self.width
        if not m or w is None or call in self.plain:
            return call.shape
        return tuple(n // m * w if n and n % m == 0 else n for n in call.shape)

    def shape(self, call: Call) -> str:
        """The same as text."""
        return str(self.lengths(call))

    def dtype(self, dtype: Any) -> str:
        """A dtype as text."""
        return "bool" if np.dtype(dtype).kind == "b" else f"np.{np.dtype(dtype).name}"

    def name(self, call: Call, stem: str, take: bool = True) -> str:
        """A name for a result: its own if it has one that is free."""
        name = call.name if call.name.isidentifier() else ""
        if name and name not in self.taken:
            if take:
                self.taken.add(name)
            return name
        if not take:
            return name or stem
        return self.unique(name or stem)

    def unique(self, stem: str) -> str:
        """A name that nothing has."""
        name, i = stem, 1
        while name in self.taken or (i == 1 and stem in ("t", "s", "c", "view")):
            name, i = f"{stem}{i}", i + 1
        self.taken.add(name)
        return name


def _basic(index: Any) -> bool:
    """Whether indexing gives a view, or a number."""
    index = index if isinstance(index, tuple) else (index,)
    plain = (int, np.integer, slice, type(None), type(Ellipsis))
    return all(isinstance(i, plain) and not isinstance(i, bool) for i in index)
