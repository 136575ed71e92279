"""NumPy calls as text: the expression that a person would write for a call of a program.

The one idea: `Printer` goes through a call once, for all who print one. A call that has been computed before is its
name; every text comes with how tightly it binds; and what binds less than its place asks for is put in parentheses.
`PythonPrinter` spells it as code; the formulas of `tinygrad_dls.derivations.latex` and the text of a compiled step
derive from the same walk, and override only what they write otherwise. What a function looks like stands in its row,
in `tinygrad_dls.ir.functions`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from tinygrad_dls.engine.errors import RecordingError, shown
from tinygrad_dls.graph.names import identifier, shortened
from tinygrad_dls.graph.node import Node
from tinygrad_dls.ir.call import Call, called, is_call, spelling
from tinygrad_dls.ir.functions import (
    ATOM,
    COMPARISON,
    FILLED,
    LOOSEST,
    MATRIX,
    PATTERNS,
    POWER,
    PRODUCT,
    REDUCTION,
    SIGN,
    SUM,
    VIEW,
    Function,
    row_of,
)
from tinygrad_dls.ir.program import Program

__all__ = ["Printer", "PythonPrinter", "Written", "called_otherwise", "expression", "is_written_within", "remark"]

INLINE = 48  # characters of the longest formula that is written within another one instead of getting a name
CERTAIN = 15  # digits that a double holds for certain


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
    return PythonPrinter(names, exact=False).text(call, top).text


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


# -- the walk over a call, for all printers ---------------------------------------------------------------------------


class Written(NamedTuple):
    """A text, and how tightly it binds: a `Binding`, or a level of the printer's own."""

    text: str
    binding: int = ATOM


class Printer:
    """Writes calls: the walk, precedence and parentheses, which all printers share.

    Parameters
    ----------
    names : mapping of Call to str
        What stands for a call that has been computed before.
    exact : bool
        Whether numbers keep the last digits that only rounding has brought: 0.0017499999999999998, not 0.00175.
    """

    def __init__(self, names: Mapping[Call, str], *, exact: bool = True) -> None:
        self.names, self.exact = names, exact

    def text(self, x: Any, top: bool = False) -> Written:
        """The text of an argument, and how tightly it binds; at the top, a call with a name is written out."""
        if isinstance(x, Written):
            return x
        if not isinstance(x, Call):
            return self.literal(x)
        if x.function is None or (x in self.names and not top):
            return self.name(self.names.get(x, x.name))
        return self.call(x, row_of(x.function))

    def within(self, x: Any, binding: int = LOOSEST) -> str:
        """The text of an operand, in parentheses if it binds less than its place asks for."""
        text, own = self.text(x)
        return text if own >= binding else self.parentheses(text)

    def parentheses(self, text: str) -> str:
        """A text in parentheses."""
        return f"({text})"

    def name(self, name: str) -> Written:
        """What has been computed before, or is given."""
        return Written(name)

    # -- calls --------------------------------------------------------------------------------------------------------

    def call(self, x: Call, row: Function) -> Written:
        """A call that is written out, by the row of its function."""
        return self.operator(x, row) if row.operator else self.function(x, row)

    def operator(self, x: Call, row: Function) -> Written:
        """An operator, with its operands in parentheses where they bind less than it asks for."""
        symbol, binding = self.symbol(row), row.binding
        if binding == SIGN:
            return Written(f"{symbol}{self.within(x.args[0], ATOM)}", SIGN)
        left, right = x.args
        if binding == POWER:
            base, exponent = self.within(left, ATOM), self.within(right, SIGN)
            space = "" if set("([ ").isdisjoint(base + exponent) else " "  # x**2, and (1 - x) ** 2
            return Written(f"{base}{space}{symbol}{space}{exponent}", POWER)
        if binding == SUM:
            return self.sum(left, right, row)
        apart = binding == COMPARISON or (row.kind is MATRIX and self.is_other_product(left))
        first, second = binding + 1 if apart else binding, binding if row.chained else binding + 1
        return Written(f"{self.within(left, first)} {symbol} {self.within(right, second)}", binding)

    def sum(self, left: Any, right: Any, row: Function) -> Written:
        """A sum or a difference; a minus in front of what is added or subtracted goes into its sign."""
        regroups = self.regroups(left, right)
        minus, summand = self.without_minus(right) if regroups else (False, right)
        if minus:
            row = row_of(np.subtract if row.chained else np.add)
        second = self.within(summand, SUM if row.chained and not minus and regroups else SUM + 1)
        return Written(f"{self.within(left, SUM)} {self.symbol(row)} {second}", SUM)

    def regroups(self, left: Any, right: Any) -> bool:  # noqa: ARG002  # in mathematics, always
        """Whether summands may be taken in another order, and a sign into the sum's."""
        return True

    def without_minus(self, x: Any) -> tuple[bool, Any]:
        """Whether an argument begins with a minus that is of all of it, and what is behind that."""
        if isinstance(x, Call) and x not in self.names and row_of(x.function).binding == SIGN:
            return True, x.args[0]
        text, own = self.text(x)
        return (
            (True, Written(text[1:], PRODUCT))
            if text.startswith("-") and own >= PRODUCT
            else (False, Written(text, own))
        )

    def is_other_product(self, x: Any) -> bool:
        """Whether an operand is a product or a quotient of entries, which matrix products are not mixed with."""
        if not isinstance(x, Call) or x in self.names:
            return False
        row = row_of(x.function)
        return row.is_arithmetic and row.binding == PRODUCT

    def symbol(self, row: Function) -> str:
        """What an operator looks like."""
        return row.operator

    def function(self, x: Call, row: Function) -> Written:
        """A function's name, with its arguments in parentheses."""
        return Written(f"{self.function_name(row.function)}({self.arguments(x.args, self.said(x))})")

    def function_name(self, function: Any) -> str:
        """What a function is called."""
        raise NotImplementedError

    def arguments(self, args: tuple[Any, ...], options: Mapping[str, Any]) -> str:
        """Arguments, and after them the options."""
        return ", ".join([*map(self.within, args), *[self.option(name, x) for name, x in options.items()]])

    def said(self, x: Call) -> dict[str, Any]:
        """The options of a call that are written: of a reduction, all axes go without saying."""
        if row_of(x.function).kind is not REDUCTION:
            return dict(x.options)
        every = tuple(range(len(x.args[0].shape)))
        return {name: y for name, y in x.options.items() if name != "axis" or y != every}

    def option(self, name: str, x: Any) -> str:
        """An argument by its name; an axis alone without the tuple around it."""
        return f"{name}={self.within(x[0] if name == 'axis' and isinstance(x, tuple) and len(x) == 1 else x)}"

    # -- what is no call ----------------------------------------------------------------------------------------------

    def index(self, x: Any) -> str:
        """What stands between the brackets of an index."""
        if isinstance(x, tuple):
            return ", ".join(map(self.index, x)) or "()"
        if isinstance(x, slice):
            start, stop, step = ("" if i is None else self.within(i) for i in (x.start, x.stop, x.step))
            return f"{start}:{stop}" + (f":{step}" if step else "")
        return "..." if x is Ellipsis else self.within(x)

    def literal(self, x: Any) -> Written:
        """What is no call: a number, a constant array, a dtype, a list of arguments."""
        if isinstance(x, (tuple, list)):
            return self.sequence(x)
        if isinstance(x, (type, np.dtype)):
            return Written(self.dtype(np.dtype(x)))
        if isinstance(x, np.ndarray):
            return self.array(x)
        if isinstance(x, (int, float, np.integer, np.floating)) and not isinstance(x, bool):
            return self.number(x)
        return Written(self.function_name(x) if callable(x) else self.other(x))

    def sequence(self, x: tuple[Any, ...] | list[Any]) -> Written:
        """A tuple or a list."""
        inside = ", ".join(map(self.within, x))
        if isinstance(x, list):
            return Written(f"[{inside}]")
        return Written(f"({inside}{',' if len(x) == 1 else ''})")

    def number(self, x: Any) -> Written:
        """A number of Python's or NumPy's, but no truth value."""
        text = number_text(x, exact=self.exact)
        return Written(text, SIGN if text.startswith("-") else ATOM)

    def array(self, x: np.ndarray[Any, Any]) -> Written:
        """A constant array."""
        raise NotImplementedError

    def dtype(self, dtype: np.dtype[Any]) -> str:
        """A dtype."""
        raise NotImplementedError

    def other(self, x: Any) -> str:
        """Anything else that may be an argument, such as a string or None."""
        return repr(x.item() if isinstance(x, np.generic) else x)


def number_text(x: Any, *, exact: bool = False) -> str:
    """A number as a person writes it: ``1e-8``, ``2`` for 2.0, ``0.1`` for ``np.float32(0.1)``.

    Unless it is to be exact, without what roundings have left: ``0.00175`` for 0.7 / 400, which to Python is
    0.0017499999999999998.
    """
    if not isinstance(x, (float, np.floating)):
        return str(int(x))
    value = float(x)
    if not math.isfinite(value):
        return "nan" if value != value else "inf" if value > 0 else "-inf"
    if value == int(value) and abs(value) < 1e6 and (value != 0 or math.copysign(1, value) > 0):
        return str(int(value))
    text, rounded = str(x), f"{value:.{CERTAIN}g}"
    if not exact and len(rounded) < len(text) - 2:  # not where it only has fewer digits of 1/3
        text = rounded
    mantissa, e, exponent = text.partition("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}" if e else text


# -- Python -----------------------------------------------------------------------------------------------------------


class PythonPrinter(Printer):
    """Writes calls as Python code that imports NumPy alone."""

    def call(self, x: Call, row: Function) -> Written:
        """A call, its numbers with their dtypes where Python's would do otherwise."""
        if row.is_entrywise:
            x = Call(x.function, tuple(self.operand(y, x) for y in x.args), x.options, x.shape, x.dtype)
        return super().call(x, row)

    def operand(self, x: Any, call: Call) -> Any:
        """A number beside arrays, with its dtype where Python's number would give another result than it."""
        others = [
            y for y in call.args if isinstance(y, (Call, np.ndarray)) and isinstance(y.dtype, np.dtype) and y is not x
        ]
        dtypes = [y.dtype for y in others]
        if isinstance(x, Call):
            number, whole = self.spread(x), any(y.shape == call.shape and y.shape for y in others)
            same = number is not None and whole and x.dtype == np.result_type(*dtypes, 1.0)
            return number if same else x
        if not dtypes or isinstance(x, (bool, np.bool_)) or not isinstance(x, (float, np.generic)):
            return x
        text, binding = self.literal(x)
        result, number = np.result_type(*dtypes, x), x.item() if isinstance(x, np.generic) else x
        if result != np.result_type(*dtypes, number):
            return Written(f"np.{np.result_type(x).name}({text})")
        if isinstance(number, float) and text.lstrip("-").isdigit() and result != np.result_type(*dtypes, int(number)):
            return Written(repr(number), binding)
        return x

    def regroups(self, left: Any, right: Any) -> bool:
        """Whether all is of one dtype: of an int8 that is -128, ``1.5 - n`` is another number than ``1.5 + -n``."""
        if not self.is_arithmetic(right):
            return True
        found = [*self.dtypes(left), *self.dtypes(right)]
        dtypes = {x for x in found if isinstance(x, np.dtype)}
        return len(dtypes) < 2 and (float not in found or all(x.kind == "f" for x in dtypes))

    def is_arithmetic(self, x: Any) -> bool:
        """Whether it is arithmetic of entries that is written out."""
        if not isinstance(x, Call) or x in self.names:
            return False
        row = row_of(x.function)
        return row.is_arithmetic or row.binding == SIGN

    def dtypes(self, x: Any) -> Iterator[Any]:
        """The dtypes of arrays, and the types of Python's numbers, from which arithmetic that is written out starts."""
        if isinstance(x, (Call, np.ndarray, np.generic)):
            yield x.dtype
        elif isinstance(x, (int, float)):
            yield type(x)
        elif isinstance(x, Written):  # a number with its dtype, see `operand`
            yield float
        if self.is_arithmetic(x):
            for y in x.args:
                yield from self.dtypes(y)

    def spread(self, x: Any) -> Any:
        """The number that an array consists of, over and over, if it has no name; None if it is another one."""
        found = x
        while isinstance(found, Call) and found not in self.names:
            if found.function is np.ones:
                return 1.0
            row = row_of(found.function)
            inner = found.args[row.fill] if row.kind is FILLED and row.fill is not None else None
            if row.kind is VIEW and row.spreads and math.prod(getattr(found.args[0], "shape", ())) == 1:
                inner = found.args[0]
            if inner is None:
                break
            found = inner
        return found if found is not x and getattr(found, "shape", ()) == () else None

    def function(self, x: Call, row: Function) -> Written:
        """A function as its row says, as a method of what has a name, or by its name."""
        if row.python is not None and (own := row.python(self, x)) is not None:
            return own if isinstance(own, Written) else Written(own)
        if row.method and len(x.args) == 1 and isinstance(x.args[0], Call) and x.args[0] in self.names:
            return Written(f"{self.within(x.args[0])}.{row.method}({self.arguments((), self.said(x))})")
        return super().function(x, row)

    def owner(self, x: Any) -> str:
        """What is indexed, or whose method is called: of a number, an array without axes."""
        if is_call(x, np.asarray) and x not in self.names:
            return f"np.full((), {self.within(x.args[0])}, dtype={self.within(x.dtype)})"
        return self.within(x, ATOM)

    def function_name(self, function: Any) -> str:
        """Such as ``np.tanh``."""
        if function in PATTERNS:
            return str(function.__name__).rpartition("_")[2]  # clipped or shared, they are the sigmoid and the softmax
        return spelling(function) or ".".join(map(identifier, called(function).split(".")))

    def number(self, x: Any) -> Written:
        """A number, with all its digits."""
        text, binding = super().number(x.item() if isinstance(x, np.generic) else x)
        spelled = {"nan": "np.nan", "inf": "np.inf", "-inf": "-np.inf"}
        return Written(spelled.get(text, text), binding)

    def dtype(self, dtype: np.dtype[Any]) -> str:
        """A dtype by a name that the code has."""
        if dtype.kind not in "fiubc":
            return f"np.dtype({dtype.str!r})"
        return "float" if dtype == np.float64 else "bool" if dtype == np.bool_ else f"np.{dtype.name}"

    def array(self, x: np.ndarray[Any, Any]) -> Written:
        """A constant array, as nested lists."""
        if not x.size:
            return Written(f"np.zeros({x.shape}, {self.dtype(x.dtype)})")
        if x.dtype.kind not in "fiubcUS":
            raise _without_text(x)
        plain = x.dtype in (np.dtype(float), np.dtype(np.int64), np.dtype(bool)) or x.dtype.kind in "US"
        numbers = x.tolist() if x.dtype.kind != "f" or np.isfinite(x).all() else _spelled_out(x.tolist())
        return Written(f"np.array({numbers}{'' if plain else f', dtype=np.{x.dtype.name}'})")

    def other(self, x: Any) -> str:
        """What Python has a text for; anything else is refused."""
        kinds = (bool, complex, str, bytes, slice, range, type(None), type(Ellipsis), np.generic)
        if not isinstance(x, kinds):
            raise _without_text(x)
        return super().other(x)


def _without_text(x: Any) -> RecordingError:
    return RecordingError(
        f"the code cannot hold {shown(x)}, which is an argument of a NumPy function: Python has no text for it. Use "
        "numbers, strings and arrays of numbers; or pass what is computed from it as an argument."
    )


def _spelled_out(x: Any) -> str:
    """The entries of an array, some of which Python has no literal for."""
    if isinstance(x, list):
        return f"[{', '.join(map(_spelled_out, x))}]"
    return repr(x) if np.isfinite(x) else "np.nan" if x != x else "np.inf" if x > 0 else "-np.inf"
