"""NumPy calls as text: the expression that a person would write for a call of a program."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_dls.engine.errors import RecordingError, shown
from tinygrad_dls.graph.names import identifier, shortened
from tinygrad_dls.graph.node import Node
from tinygrad_dls.ir.call import Call, astype, called, getitem, is_call, is_transpose, scattered, spelling
from tinygrad_dls.ir.functions import ATOM, COMPARISON, MATRIX, PATTERNS, POWER, PRODUCT, SIGN, row_of
from tinygrad_dls.ir.program import Program

__all__ = ["called_otherwise", "expression", "is_written_within", "remark"]

INLINE = 48  # characters of the longest formula that is written within another one instead of getting a name

_NUMBER = r"\d[\d.]*(e-?\d+)?"
_SIMPLE = re.compile(rf"-*({_NUMBER}|[^\W\d]\w*(\.[^\W\d]\w*)*)")  # what ruff writes a power of without spaces
_PLAIN = re.compile(rf"-*({_NUMBER}|\w+)?")  # the bounds of a slice that ruff writes without spaces


def expression(call: Any, names: Mapping[Call, str], *, top: bool = True) -> str:
    """A call as Python writes it; the calls that have names by these.

    Parameters
    ----------
    call : Call, number, or what else may be an argument
    names : mapping of Call to str
        What stands for a call that has been computed before.
    top : bool
        Whether the call itself is to be written out although it has a name.
    """
    return _PythonPrinter(names).text(call, top)[0]


def is_written_within(node: Node | None, users: int, call: Call, names: Mapping[Call, str]) -> bool:
    """Whether what a node stands for is written within the formula that uses it, instead of on a line of its own.

    Parameters
    ----------
    node : Node or None
        A node of the graph. None, a node with a name, and one that the course has a name for get a line.
    users : int
        How many formulas use it: for more than one, it gets a line.
    call : Call
        Its formula, which is to be short.
    names : mapping of Call to str
        What stands for calls that have lines already.
    """
    if node is None or getattr(node.x, "name", None) or not re.fullmatch(r"U\d*", node.name):
        return False
    return users <= 1 and len(expression(call, names)) <= INLINE


def remark(step: Program) -> str:
    """A warning of numbers in the graph of a cost that may stand for the number of examples; empty without such."""
    if not step.frozen:
        return ""
    given = next(x.shape[1] for x in step.given if len(x.shape) == 2)
    numbers = _listed([f"{expression(x, {})} for {text}" for x, text in step.frozen])
    return (
        f"{numbers.replace(' for ', ' may stand for ', 1)}: there were {given} examples. To have m in its place, "
        f"pass the function that computes {step.forward[-1][0]}."
    )


def called_otherwise(names: Iterable[tuple[str, str]], mark: str = "") -> str:
    """What code calls otherwise than the user does: pairs of what it is called in code, and the user's name.

    That ``layers.0.W`` is ``layers_0_W`` goes without saying.
    """
    others = [(code, name) for code, name in names if code != name.replace(".", "_")]
    pairs = [(code, repr(shortened(name)).replace("`", "'")) for code, name in others]
    said = [f"{mark}{code}{mark} is {mark}{name}{mark}" for code, name in pairs]
    return f"In code, {_listed(said)}." if said else ""


def _listed(texts: list[str]) -> str:
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"


@dataclass(frozen=True)
class _Written:
    """An argument as text, and how tightly it binds."""

    text: str
    binding: int


class _PythonPrinter:
    def __init__(self, names: Mapping[Call, str]) -> None:
        self.names = names

    def text(self, x: Any, top: bool = False) -> tuple[str, int]:
        """The text of an argument, and how tightly it binds."""
        if isinstance(x, _Written):
            return x.text, x.binding
        if not isinstance(x, Call):
            return self.literal(x)
        if x in self.names and not top:
            return self.names[x], ATOM
        if x.function is None:
            return x.name, ATOM
        if any(isinstance(y, (float, np.generic)) for y in x.args):
            x = Call(x.function, tuple(self.operand(y, x) for y in x.args), x.options, x.shape, x.dtype)
        return self.operator(x) if row_of(x.function).operator else (self.function(x), ATOM)

    def operand(self, x: Any, call: Call) -> Any:
        """A number beside arrays, with its dtype where Python's number would give another result than it."""
        others = [y.dtype for y in call.args if isinstance(y, (Call, np.ndarray)) and isinstance(y.dtype, np.dtype)]
        if not others or isinstance(x, (bool, np.bool_)) or not isinstance(x, (float, np.generic)):
            return x
        text, binding = self.literal(x)
        result, number = np.result_type(*others, x), x.item() if isinstance(x, np.generic) else x
        if result != np.result_type(*others, number):
            return _Written(f"np.{np.result_type(x).name}({text})", ATOM)
        if isinstance(number, float) and text.lstrip("-").isdigit() and result != np.result_type(*others, int(number)):
            return _Written(repr(number), binding)
        return x

    def within(self, x: Any, binding: int) -> str:
        """The text of an operand, in parentheses if it binds less than this."""
        text, own = self.text(x)
        return f"({text})" if own < binding else text

    def array(self, x: Any) -> str:
        """The text of what is indexed, or whose method is called: of a number, an array without axes."""
        if is_call(x, np.asarray) and x not in self.names:
            return f"np.full((), {self.literal(x.args[0])[0]}, dtype={self.literal(x.dtype)[0]})"
        return self.within(x, ATOM)

    def operator(self, x: Call) -> tuple[str, int]:
        row = row_of(x.function)
        symbol, binding = row.operator, row.binding
        if binding == SIGN:
            text, own = self.text(x.args[0])
            return f"{symbol}({text})" if own < SIGN or own == POWER else f"{symbol}{text}", SIGN
        left, right = x.args
        if binding == POWER:
            base, exponent = self.within(left, ATOM), self.within(right, SIGN)
            hug = _SIMPLE.fullmatch(base) and _SIMPLE.fullmatch(exponent)  # as ruff does it
            return f"{base}{symbol}{exponent}" if hug else f"{base} {symbol} {exponent}", POWER
        mixed = row.kind is MATRIX and isinstance(left, Call) and left not in self.names
        mixed = mixed and row_of(left.function).is_arithmetic and row_of(left.function).binding == PRODUCT
        first = self.within(left, binding + 1 if mixed or binding == COMPARISON else binding)
        return f"{first} {symbol} {self.within(right, binding if row.chained else binding + 1)}", binding

    def function(self, x: Call) -> str:
        function, args, options = x.function, x.args, {k: v for k, v in x.options.items() if _is_set(k, v)}
        if function is np.asarray:
            return self.literal(args[0])[0]
        if is_transpose(x):
            return f"{self.array(args[0])}.T"
        if function is getitem:
            return f"{self.array(args[0])}[{self.index(args[1])}]"
        if function is scattered:
            dz, index, shape = args
            return self.scattered(dz, index, shape, x.dtype)
        if function is astype:
            return f"{self.array(args[0])}.astype({self.literal(args[1])[0]})"
        if function is np.reshape and not options and args[0].shape:
            shape = args[1] if isinstance(args[1], tuple) else (args[1],)
            return f"{self.within(args[0], ATOM)}.reshape({', '.join(self.text(n)[0] for n in shape) or '()'})"
        method = row_of(function).method
        if method and isinstance(args[0], Call) and args[0] in self.names and len(args) == 1:
            return f"{self.names[args[0]]}.{method}({self.arguments((), options)})"
        return f"{_name(function)}({self.arguments(args, options)})"

    def scattered(self, dz: Call, index: Any, shape: tuple[Any, ...], dtype: Any) -> str:
        """The entries of dz added up by the places that the index says, which are counted through."""
        lengths = [self.within(n, ATOM) for n in shape]
        size = str(math.prod(shape)) if all(isinstance(n, int) for n in shape) else " * ".join(lengths)
        places = f"np.arange({size}).reshape({', '.join(lengths) or '()'})[{self.index(index)}].ravel()"
        text = f"np.bincount({places}, {self.array(dz)}.ravel(), {size})"
        cast = "" if dtype == np.float64 else f".astype({self.literal(dtype)[0]})"  # which it computes in
        return f"{text}.reshape({', '.join(lengths) or '()'}){cast}"

    def arguments(self, args: tuple[Any, ...], options: Mapping[str, Any]) -> str:
        plain = [self.text(x)[0] for x in args]
        return ", ".join(plain + [f"{name}={self.option(name, x)}" for name, x in options.items()])

    def option(self, name: str, x: Any) -> str:
        if name == "axis" and isinstance(x, tuple) and len(x) == 1:
            x = x[0]
        return self.text(x)[0]

    def index(self, x: Any) -> str:
        if isinstance(x, tuple):
            return ", ".join(map(self.index, x)) or "()"
        if isinstance(x, slice):
            bounds = ["" if i is None else self.text(i)[0] for i in (x.start, x.stop, x.step)]
            bounds = bounds if bounds[2] else bounds[:2]
            if all(map(_PLAIN.fullmatch, bounds)):
                return ":".join(bounds)
            return " : ".join(bounds).replace(":  :", "::").strip()
        return "..." if x is Ellipsis else self.text(x)[0]

    def literal(self, x: Any) -> tuple[str, int]:
        """A number, a constant array, or a list of arguments."""
        if isinstance(x, tuple):
            inside = ", ".join(self.text(y)[0] for y in x)
            return f"({inside}{',' if len(x) == 1 else ''})", ATOM
        if isinstance(x, list):
            return f"[{', '.join(self.text(y)[0] for y in x)}]", ATOM
        if isinstance(x, type):
            x = np.dtype(x)
        if isinstance(x, np.dtype):
            named = "float" if x == np.float64 else "bool" if x == np.bool_ else f"np.{x.name}"
            return (named if x.kind in "fiubc" else f"np.dtype({x.str!r})"), ATOM
        if isinstance(x, np.ndarray):
            if not x.size:
                return f"np.zeros({x.shape}, {self.literal(x.dtype)[0]})", ATOM
            if x.dtype.kind not in "fiubcUS":
                raise _without_text(x)
            plain = x.dtype in (np.dtype(float), np.dtype(np.int64), np.dtype(bool)) or x.dtype.kind in "US"
            numbers = x.tolist() if x.dtype.kind != "f" or np.isfinite(x).all() else _spelled_out(x.tolist())
            return f"np.array({numbers}{'' if plain else f', dtype=np.{x.dtype.name}'})", ATOM
        if isinstance(x, np.generic):
            x = x.item()
        if isinstance(x, float):
            return self.number(x)
        if callable(x):
            return _name(x), ATOM
        if not isinstance(x, (int, complex, str, bytes, slice, range, type(None), type(Ellipsis))):
            raise _without_text(x)
        return repr(x), SIGN if isinstance(x, int) and x < 0 else ATOM

    def number(self, x: float) -> tuple[str, int]:
        if x != x or x in (np.inf, -np.inf):
            return ("np.nan", ATOM) if x != x else ("np.inf", ATOM) if x > 0 else ("-np.inf", SIGN)
        whole = x == int(x) and abs(x) < 1e6 and (x != 0 or math.copysign(1, x) > 0)
        text = str(int(x)) if whole else repr(x).replace("e+", "e")
        return text, SIGN if text.startswith("-") else ATOM


def _without_text(x: Any) -> RecordingError:
    return RecordingError(
        f"the code cannot hold {shown(x)}, which is an argument of a NumPy function: Python has no text for it. Use "
        "numbers, strings and arrays of numbers; or pass what is computed of it as an argument."
    )


def _spelled_out(x: Any) -> str:
    """The entries of an array, some of which Python has no literal for."""
    if isinstance(x, list):
        return f"[{', '.join(map(_spelled_out, x))}]"
    return repr(x) if np.isfinite(x) else "np.nan" if x != x else "np.inf" if x > 0 else "-np.inf"


def _is_set(name: str, x: Any) -> bool:
    return not ((name == "keepdims" and x is False) or (name == "axis" and x is None))


def _name(function: Any) -> str:
    """What the code calls a function."""
    if function in PATTERNS:
        return str(function.__name__).rpartition("_")[2]  # clipped or shared, they are the sigmoid and the softmax
    return spelling(function) or ".".join(map(identifier, called(function).split(".")))
