r"""NumPy calls as formulas in LaTeX, in the course's notation: what `PythonPrinter` is for code.

Examples are columns, so a sum over the last axis is a sum over the examples, ``\sum_{i=1}^{m}``; the entry-wise
product is ``\odot``; a product of quotients is one fraction, with what is a single number in front.
"""

from __future__ import annotations

import collections
import enum
import functools
import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np

from tinygrad_dls.derivations.notation import Notation, code, marked, matrix, typeset, verbatim
from tinygrad_dls.ir.call import Call, astype, called, is_call, is_plain_reduction, scalar_value, summed_axes
from tinygrad_dls.ir.functions import FILLED, LOOSEST, REDUCTION, VIEW, Binding, Function, Kind, row_of
from tinygrad_dls.ir.printing import Printer, Written, expression, number_text
from tinygrad_dls.ir.shapes import call_of

__all__ = ["LatexPrinter", "latex"]


class Level(enum.IntEnum):
    r"""How tightly a formula binds: the levels of `Binding`, and those that formulas have besides.

    A total, ``\sum_i x_i``, takes in the product behind it. A product of matrices binds less than one of entries, but
    the two are not mixed, and have parentheses in each other. What has a mark above has no room for another.
    """

    SUM = Binding.SUM
    TOTAL = SUM + 1
    MATRIX = TOTAL + 1
    ENTRYWISE = MATRIX + 1
    FRACTION = ENTRYWISE + 1
    MARKED = FRACTION + 1
    ATOM = Binding.ATOM


SUM, TOTAL, MATRIX, ENTRYWISE, FRACTION, MARKED, ATOM = Level
_ADDING = (r"\sum", r"\prod")  # symbols of reductions that have limits above and below


def latex(call: Any, names: Mapping[Call, str], notation: Notation, m: int | None = None, *, top: bool = True) -> str:
    """A call as a formula; the calls that have names by these.

    Parameters
    ----------
    call : Call, number, or what else may be an argument
    names : mapping of Call to str
        The names, as identifiers, of calls that have been computed before.
    notation : Notation
        How these are written.
    m : int, optional
        The number of examples, when it was recorded: what columns of this number are.
    top : bool
        Whether the call itself is to be written out although it has a name.
    """
    return LatexPrinter(names, notation, m).text(call, top).text


class LatexPrinter(Printer):
    """Writes calls as formulas; of functions, what their rows say.

    Parameters
    ----------
    names, notation, m
        As for `latex`.
    """

    def __init__(self, names: Mapping[Call, str], notation: Notation, m: int | None) -> None:
        super().__init__(names, exact=False)
        self.notation, self.m = notation, m
        self._texts: dict[Call, Written] = {}  # as a formula asks for the same part more than once
        self._factors: dict[Call, tuple[int, list[Any], list[Any]]] = {}

    def text(self, x: Any, top: bool = False) -> Written:
        """The formula of an argument, and how tightly it binds."""
        if top or not isinstance(x, Call):
            return super().text(x, top)
        if x not in self._texts:
            self._texts[x] = super().text(x)
        return self._texts[x]

    # -- pieces -------------------------------------------------------------------------------------------------------

    def name(self, name: str) -> Written:
        """An array's name."""
        return _with_marks(self.notation(name))

    def parentheses(self, text: str) -> str:
        """A formula in parentheses, which are as tall as it is."""
        tall = r"\frac" in text or r"\sum" in text
        return rf"\left({text}\right)" if tall else f"({text})"

    def number(self, x: Any) -> Written:
        """A number, with powers of ten as such."""
        text = typeset(number_text(x))
        return Written(text, SUM if text.startswith("-") else ENTRYWISE if r"\cdot" in text else _with_marks(text)[1])

    def literal(self, x: Any) -> Written:
        """A number, or the numbers of a matrix; whatever else it is, as code."""
        if isinstance(x, (int, float, np.integer, np.floating)) and not isinstance(x, bool):
            return self.number(x)
        return Written(matrix(x)) if isinstance(x, np.ndarray) and x.ndim == 2 else self.code(x)

    def code(self, x: Any) -> Written:
        """What formulas have no notation for, as code."""
        return Written(code(expression(x, self.names)))

    def function_name(self, function: Any) -> str:
        """What a function is called in formulas; letter by letter, if its row does not say."""
        latex = row_of(function).latex
        return latex if isinstance(latex, str) and latex else verbatim(_short_name(function))

    def option(self, name: str, x: Any) -> str:
        """An argument by its name, which is code."""
        _, _, value = super().option(name, x).partition("=")
        return f"{code(name)} = {value}"

    # -- calls --------------------------------------------------------------------------------------------------------

    def call(self, x: Call, row: Function) -> Written:
        """A call as its row says."""
        if isinstance(row.latex, str) and "#1" in row.latex and not x.options:
            return self.template(row.latex, x.args)
        if row.kind is FILLED and row.fill is not None:
            return self.text(x.args[row.fill])
        if row.kind is VIEW and row.spreads and _size(x.args[0]) == 1:
            return self.text(x.args[0])  # the same number for every entry
        if row.linear and self.factors(x)[0] < 0:
            return self.product(x)
        if callable(row.latex) and (own := row.latex(self, x)) is not None:
            return own if isinstance(own, Written) else Written(own)
        return super().call(x, row)

    def operator(self, x: Call, row: Function) -> Written:
        """A sum, a product, or a comparison; a minus has the place of a sum's."""
        if row.binding in (Binding.SIGN, Binding.PRODUCT) and row.is_entrywise:
            return self.product(x)
        left, right = x.args
        if row.is_comparison:
            return self.comparison(x, row.latex if isinstance(row.latex, str) and row.latex else row.operator)
        if row.kind is Kind.MATRIX:
            return Written(rf"{self.factor(left)} {row.latex} {self.factor(right)}", MATRIX)
        return self.sum(left, right, row)

    def comparison(self, x: Call, sign: str) -> Written:
        """A comparison, in brackets: 1 where it holds, and 0 elsewhere."""
        left, right = map(self.within, x.args)
        return Written(rf"[\,{left} {sign} {right}\,]")

    def sum(self, left: Any, right: Any, row: Function) -> Written:
        """A sum or a difference; a minus in front of what is added or subtracted goes into its sign."""
        negative, (text, own) = row.operator == "-", self.text(right)
        if own == SUM and text.startswith("-") and (row.chained or self.is_one(right)):
            negative, text = not negative, text[1:].lstrip()
        elif not (own == SUM and row.chained):
            text = self.within(Written(text, own), TOTAL)
        return Written(f"{self.within(left)} {'-' if negative else '+'} {text}", SUM)

    def is_one(self, x: Any) -> bool:
        """Whether the minus in front of an argument is of all of it, and not of the first summand alone."""
        return not isinstance(x, Call) or row_of(x.function).binding is not Binding.SUM

    def power(self, base: Any, exponent: Any) -> Written:
        """A power."""
        return Written(f"{self.within(base, ATOM)}^{{{self.within(exponent)}}}", MARKED)

    # -- products -----------------------------------------------------------------------------------------------------

    def product(self, x: Call) -> Written:
        r"""A product of quotients as one: its sign, in front what is one number, and behind it a fraction of arrays.

        So ``2 * (Z - Y) / m`` is ``\frac{2}{m} (Z - Y)``. A sum over examples is one number, but stands behind.
        """
        sign, above, below = self.factors(x)
        totals = [y for y in above if _size(y) == 1 and r"\sum" in self.text(y).text]
        arrays, others = _arrays(above) or totals, _arrays(below)
        above, below = _as_one_number(_without(above, arrays), _without(below, others))
        if others:
            top, bottom = self.scaled(self.joined(above, " "), arrays), self.scaled(self.joined(below, " "), others)
            return self.signed(sign, Written(rf"\frac{{{top.text}}}{{{bottom.text}}}", FRACTION))
        front = self.joined(above, " ")
        if below:
            front = Written(rf"\frac{{{front.text}}}{{{self.joined(below, ' ').text}}}", FRACTION)
        return self.signed(sign, self.scaled(front, arrays))

    def scaled(self, number: Written, arrays: list[Any]) -> Written:
        """A number in front of a product of arrays."""
        if not arrays:
            return number
        behind = self.joined(arrays, f" {row_of(np.multiply).latex} ")
        if number.text == "1":
            return behind
        text = _side_by_side(self.within(number, TOTAL), self.within(behind, TOTAL))
        return Written(text, behind.binding if behind.binding in (TOTAL, MATRIX) else ENTRYWISE)

    def signed(self, sign: int, x: Written) -> Written:
        """A formula with a minus in front, if that is its sign."""
        return x if sign > 0 else Written(f"-{self.within(x, TOTAL)}", SUM)

    def factors(self, x: Any, top: bool = True) -> tuple[int, list[Any], list[Any]]:
        """The sign of a product of quotients, and what it has above and below the line."""
        if not isinstance(x, Call):
            return (-1, [-x], []) if _is_number(x) and x < 0 else (1, [x], [])
        if x in self.names and not top:
            return 1, [x], []
        if x not in self._factors:
            self._factors[x] = self._factored(x, row_of(x.function))
        return self._factors[x]

    def _factored(self, x: Call, row: Function) -> tuple[int, list[Any], list[Any]]:
        if row.kind is FILLED and row.fill is not None:
            return self.factors(x.args[row.fill], False)
        if x.function is astype or (row.kind is VIEW and row.spreads and _size(x.args[0]) == 1):
            return self.factors(x.args[0], False)
        if row.linear and isinstance(x.args[0], Call) and self.factors(x.args[0], False)[0] < 0:
            minus = call_of(np.negative, x.args[0])
            return -1, [call_of(row.function, minus, *x.args[1:], **x.options)], []
        if row.binding is Binding.SIGN:
            sign, above, below = self.factors(x.args[0], False)
            return -sign, above, below
        if row.operator not in ("*", "/"):
            return 1, [x], []
        sign, above, below = self.factors(x.args[0], False)
        other, *others = self.factors(x.args[1], False)
        more, less = others if row.operator == "*" else others[::-1]
        return sign * other, above + more, below + less

    def joined(self, xs: list[Any], between: str) -> Written:
        """Factors in a row, with a sign between them; equal ones as a power."""
        counts = collections.Counter(map(id, xs))
        powers = [self.repeated(x, counts[id(x)]) for x in {id(x): x for x in xs}.values()]
        if len(powers) < 2:
            return powers[0] if powers else Written("1")
        texts = [self.within(x, ENTRYWISE) for x in powers]
        return Written(functools.reduce(_side_by_side, texts) if between == " " else between.join(texts), ENTRYWISE)

    def repeated(self, x: Any, count: int) -> Written:
        """A factor to the power of how often it occurs."""
        if count % 2 == 0 and is_call(x, np.sqrt) and x not in self.names:
            x, count = x.args[0], count // 2
        return self.text(x) if count == 1 else self.power(x, count)

    def factor(self, x: Any) -> str:
        """A factor of a matrix product; a matrix of one number over and over as that number times ones."""
        fill = row_of(x.function).fill if isinstance(x, Call) and x not in self.names and _size(x) > 1 else None
        if fill is not None and _size(x.args[fill]) == 1:
            shape = r" \times ".join(self.notation.count if n == self.m else str(n) for n in x.shape)
            ones, number = rf"\mathbf{{1}}_{{{shape}}}", self.within(x.args[fill], TOTAL)
            return ones if number == "1" else rf"\left({number} \, {ones}\right)"
        written = self.text(x)
        return written.text if written.binding == MATRIX else self.within(written, FRACTION)

    # -- functions ----------------------------------------------------------------------------------------------------

    def function(self, x: Call, row: Function) -> Written:
        """A function by its name, with its arguments; of a reduction, with the index that it runs over below."""
        if row.kind is REDUCTION and row.latex and (total := self.total(x, self.function_name(x.function))):
            return total
        plain = row.kind is not REDUCTION and not x.options
        called = self.function_name(x.function) if plain else verbatim(_short_name(x.function))
        return Written(f"{called}{self.parentheses(self.arguments(x.args, self.said(x)))}")

    def total(self, x: Call, symbol: str, mean: bool = False) -> Written | None:
        r"""A reduction with its indices: over the examples, which are columns, or over other entries.

        None if the argument is neither a matrix nor a vector. A symbol that is no sum and no product, such as ``\max``,
        has its indices alone below.
        """
        argument = x.args[0]
        rank = len(argument.shape) if isinstance(argument, Call) else 0
        if rank not in (1, 2) or not is_plain_reduction(x):
            return None
        shape, axes = (1,) * (2 - rank) + argument.shape, [i + 2 - rank for i in summed_axes(x)]
        rows, columns = (i in axes and (shape[i] > 1 or len(axes) == 1) for i in (0, 1))
        columns = columns or not rows
        examples, others = (columns and shape[1] == self.m), (columns and shape[1] != self.m)
        over = ["j"] * rows + ["k"] * others
        symbols = rf"{symbol}_{{{', '.join(over)}}}" if over else ""
        if examples:
            symbols += rf"{symbol}_{{i=1}}^{{{self.notation.count}}}" if symbol in _ADDING else rf"{symbol}_{{i}}"
        if mean:
            counts = [str(shape[0])] * rows + [self.notation.count if examples else str(shape[1])] * columns
            symbols = rf"\frac{{1}}{{{r' '.join(counts)}}} {symbols}"
        lower = ["j"] * (rows or (others and shape[0] > 1)) + ["k"] * others
        entry = self.entry(argument, "i" * examples, "".join(lower))
        return Written(f"{symbols} {entry.text}", TOTAL)

    def entry(self, x: Call, upper: str, lower: str) -> Written:
        """An entry of an array: above its example, below its row or column; of a power, at the base."""
        marks = (f"^{{({upper})}}" if upper else "") + (f"_{{{lower}}}" if lower else "")
        named = x in self.names or x.function is None
        if not named and row_of(x.function).binding is Binding.POWER and isinstance(x.args[0], Call):
            base, exponent = x.args
            plain = base in self.names or base.function is None or not upper
            if plain and scalar_value(exponent) is not None:
                return self.power(self.entry(base, upper, lower), exponent)
        text = self.within(x)
        if not named:
            return Written(f"{self.parentheses(text)}{marks}", MARKED if upper else ATOM)
        if upper and text.endswith("]}"):
            text, marks = f"{text[:-1]}({upper})}}", marks.removeprefix(f"^{{({upper})}}")
        return _with_marks(marked(text, marks))

    def transposed(self, x: Any) -> Written:
        """A transpose, in the mark that a layer's number stands in already if there is one."""
        text = self.within(x, MARKED)
        return Written(f"{text[:-1]}T}}" if text.endswith("]}") else marked(text, "^{T}"), MARKED)

    def template(self, text: str, args: tuple[Any, ...]) -> Written:
        """A formula with ``#1`` and the like for its arguments: in parentheses those that stand in a sum."""
        before, opening, inside = text.partition("(")
        for i, y in enumerate(args, 1):
            written = self.within(y, TOTAL if f"+ #{i}" in text else LOOSEST)
            before, inside = (part.replace(f"#{i}", written) for part in (before, inside))
        whole = before + self.parentheses(inside.removesuffix(")")) if opening else before
        return Written(whole, FRACTION if "^" in text else ATOM)  # which needs parentheses below another exponent


def _size(x: Any) -> int:
    return int(np.prod(x.shape)) if isinstance(x, Call) else int(np.size(x)) if isinstance(x, np.ndarray) else 1


def _arrays(xs: list[Any]) -> list[Any]:
    return [x for x in xs if _size(x) > 1]


def _without(xs: list[Any], others: list[Any]) -> list[Any]:
    return [x for x in xs if not any(x is y for y in others)]


def _is_number(x: Any) -> bool:
    return isinstance(x, (int, float, np.number)) and not isinstance(x, bool)


def _as_one_number(above: list[Any], below: list[Any]) -> tuple[list[Any], list[Any]]:
    """Factors above and below the line, with their numbers multiplied: ``2 / 4`` is ``1 / 2``."""
    top, bottom = (math.prod([float(x) for x in xs if _is_number(x)], start=1.0) for xs in (above, below))
    if not math.isfinite(top) or not math.isfinite(bottom) or not bottom:
        return above, below
    if top.is_integer() and bottom.is_integer():
        top, bottom = (float(n) for n in Fraction(int(top), int(bottom)).as_integer_ratio())
    above, below = ([x for x in xs if not _is_number(x)] for xs in (above, below))
    return [top] * (top != 1) + above, [bottom] * (bottom != 1) + below


def _side_by_side(left: str, right: str) -> str:
    """Two factors: with a point before a digit, and apart where a word stands next to another letter."""
    if right[:1].isdigit():
        return rf"{left} \cdot {right}"
    return rf"{left} \, {right}" if r"\mathrm" in left or right.startswith(r"\mathrm") else f"{left} {right}"


def _short_name(function: Any) -> str:
    return called(function).rpartition(".")[2]


def _with_marks(text: str) -> Written:
    """A formula that binds less if it has a mark above, as another one would have no room."""
    return Written(text, MARKED if "^" in text else ATOM)
