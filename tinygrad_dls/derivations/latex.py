r"""NumPy calls as formulas in LaTeX, in the course's notation: what `tinygrad_dls.ir.printing` is for code.

Examples are columns, so a sum over the last axis is a sum over the examples, ``\sum_{i=1}^{m}``; the entry-wise
product is ``\odot``; a division by a number is a fraction in front.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

import numpy as np

from tinygrad_dls.graph.names import Names, shortened
from tinygrad_dls.ir.call import Call, astype, called, getitem, is_call, is_transpose, summed_axes
from tinygrad_dls.ir.functions import FILLED, REDUCTION, VIEW, Binding, Function, row_of
from tinygrad_dls.ir.printing import expression

__all__ = ["SHOWN", "Notation", "digits", "latex", "letter", "marked", "matrix", "name"]

# What a formula is on the outside: that decides where it needs parentheses within another one.
SUM, TOTAL, ENTRYWISE, MATRIX, FRACTION, ATOM = range(6)
_FITS = {  # what may stand as it is in a sum, beside a number, in a product of entries, of matrices, below a power
    SUM: {TOTAL, ENTRYWISE, MATRIX, FRACTION, ATOM},
    TOTAL: {TOTAL, ENTRYWISE, MATRIX, FRACTION, ATOM},
    ENTRYWISE: {ENTRYWISE, FRACTION, ATOM},
    MATRIX: {MATRIX, FRACTION, ATOM},
    ATOM: {ATOM},
}
_SUMS, _PRODUCTS = ("+", "-"), ("*", "/", "@")  # operators that have a notation of their own


def name(text: str) -> str:
    r"""A name as the course writes it: ``W1`` is ``W^{[1]}``, ``dZ2`` is ``dZ^{[2]}``, ``U3`` is ``U_{3}``."""
    text = shortened(text)
    if course := re.fullmatch(r"(d?[WbZADzawVS])(\d+)", text):
        return f"{course[1]}^{{[{course[2]}]}}"
    if power := re.fullmatch(rf"([^\W\d_])([{_SUPERSCRIPTS}]+)", text):
        return f"{_escaped(power[1])}^{{{unicodedata.normalize('NFKC', power[2])}}}"
    match = re.fullmatch(r"(d?)([A-Za-z]+|[\u0370-\u03ff])_?([0-9]*)", text)
    if match is None:
        return _verbatim(text)
    d, base, index = match.groups()
    return f"{d}{_escaped(base) if len(base) == 1 else _verbatim(base)}" + (f"_{{{index}}}" if index else "")


def _verbatim(text: str) -> str:
    """A name letter by letter."""
    return rf"\mathrm{{{_escaped(text)}}}"


class Notation:
    r"""How the arrays of a program are written: each by its name, and no two alike.

    Parameters
    ----------
    arrays : mapping of str to str
        By the identifier of each array, what the user calls it.
    data : str
        An array whose columns are the examples.

    Attributes
    ----------
    count, count_in_code, count_in_shapes : str
        The number of examples: ``m``, but where an array is called so, ``m_{X}``, ``X.shape[1]`` and ``m_X``.
    """

    def __init__(self, arrays: Mapping[str, str], data: str = "") -> None:
        self.count = self.count_in_code = self.count_in_shapes = "m"
        if "m" in arrays and data:
            self.count, self.count_in_code = f"m_{{{name(data)}}}", f"{data}.shape[1]"
            self.count_in_shapes = f"m_{data}"
        self._names = Names({self.count}, kin=("{}", "d{}"), spelled=str, between="", reserved=())
        self._known = {self.count_in_code: self.count}
        self._letters = Names({"L", self.count_in_shapes}, kin=("{}", "d{}"))
        self._small_names = Names({"L", self.count}, kin=("{}", "d{}"), spelled=str, between="", reserved=())
        self._small: dict[str, tuple[str, str]] = {}
        self._called = arrays
        for identifier in sorted(arrays, key=lambda x: arrays[x] != x):
            self._known[identifier] = _own(self._names, arrays[identifier], identifier)
        for identifier in sorted(arrays, key=lambda x: _lowered(x) != x):
            self.small(identifier)

    def __call__(self, identifier: str) -> str:
        """An array, or the gradient with respect to one."""
        if identifier in self._known or identifier[:1] != "d" or identifier[1:] not in self._known:
            return self._known.get(identifier) or name(identifier)
        return f"d{self._known[identifier[1:]]}"

    def small(self, identifier: str) -> tuple[str, str]:
        """An entry of an array, in LaTeX and in code: ``a2`` for one of A2. The cost is one number, and stays J."""
        if identifier not in self._small:
            letter = self._letters.free(_lowered(identifier))
            called = _lowered(self._called.get(identifier, identifier))
            self._small[identifier] = _own(self._small_names, called, letter), letter
        return self._small[identifier]


def _lowered(text: str) -> str:
    return text if text.startswith("J") else text[:1].lower() + text[1:]


def _own(names: Names, called: str, identifier: str) -> str:
    """The formula for a name that nothing else has."""
    text = next((text for text in (name(called), name(identifier)) if names.is_free(text)), _verbatim(identifier))
    return names.free(text)


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
    return _LatexPrinter(names, notation, m).formula(call, top)[0]


class _LatexPrinter:
    def __init__(self, names: Mapping[Call, str], notation: Notation, m: int | None) -> None:
        self.names, self.notation, self.m = names, notation, m

    def formula(self, x: Any, top: bool = False) -> tuple[str, int]:
        """The formula of an argument, and what it is on the outside."""
        if not isinstance(x, Call):
            return self.number(x)
        if x in self.names and not top:
            return self.notation(self.names[x]), ATOM
        if x.function is None:
            return self.notation(x.name), ATOM
        row = row_of(x.function)
        if row.kind is FILLED and row.fill is not None:
            return self.number(x.args[row.fill])
        if row.operator in _SUMS and len(x.args) == 2:
            return self.sum(x)
        if row.operator in _PRODUCTS:
            return self.product(x)
        if row.binding is Binding.SIGN:
            return f"{row.operator}{self.within(x.args[0], SUM)}", SUM
        if is_call(x, np.sum, np.mean) and isinstance(x.args[0], Call):
            return self.total(x)
        return self.function(x, row)

    def within(self, x: Any, outer: int) -> str:
        """The formula of an operand, in parentheses where it needs them."""
        text, own = self.formula(x)
        return text if own in _FITS[outer] else _parentheses(text)

    def number(self, x: Any) -> tuple[str, int]:
        """A number, or whatever it is, as code."""
        if isinstance(x, (int, float, np.generic)) and not isinstance(x, (bool, np.bool_)):
            return digits(x, 12), SUM if float(x) < 0 else ATOM
        if isinstance(x, np.ndarray) and x.ndim == 2:
            return matrix(x), ATOM
        return code(expression(x, self.names)), ATOM

    def sum(self, x: Call) -> tuple[str, int]:
        left, right = x.args
        row = row_of(x.function)
        sign = row.operator
        first, second = self.formula(left)[0], self.within(right, SUM)
        if row.chained and self.formula(right)[1] == SUM:
            second = self.formula(right)[0]
            sign, second = ("-", second[1:].lstrip()) if second.startswith("-") else ("+", second)
        return f"{first} {sign} {second}", SUM

    def product(self, x: Call) -> tuple[str, int]:
        left, right = x.args
        operator = row_of(x.function).operator
        if operator == "@":
            return rf"{self.matrix(left)} \, {self.matrix(right)}", MATRIX
        if operator == "/":
            if _size(right) == 1 and (_size(left) > 1 or _is_sum(left)):
                sign, left = ("-", left.args[0]) if self.is_negative(left) else ("", left)
                return self.scaled(rf"{sign}\frac{{1}}{{{self.formula(right)[0]}}}", left)
            return rf"\frac{{{self.formula(left)[0]}}}{{{self.formula(right)[0]}}}", FRACTION
        if _size(left) == 1 or _size(right) == 1:
            scalar, other = (right, left) if _size(right) == 1 and _size(left) != 1 else (left, right)
            if isinstance(scalar, Call) and _size(other) == 1 and not isinstance(other, Call):
                scalar, other = other, scalar
            return self.scaled(self.within(scalar, TOTAL), other)
        first, second = self.within(left, ENTRYWISE), self.within(right, ENTRYWISE)
        return rf"{first} \odot {second}", ENTRYWISE

    def scaled(self, factor: str, x: Any) -> tuple[str, int]:
        """A number times a formula."""
        text, own = self.formula(x)
        sign = "-" if factor.startswith("-") else ""
        if own == TOTAL and text.startswith("-"):
            sign, text = ("" if sign else "-"), text[1:]
        text = text if own in _FITS[TOTAL] else _parentheses(text)
        between = r" \cdot " if text[:1].isdigit() else " "
        whole = f"{factor.removeprefix('-')}{between}{text}"
        return sign + whole, SUM if sign else own if own in (TOTAL, MATRIX) else ENTRYWISE

    def matrix(self, x: Any) -> str:
        """A factor of a matrix product; a matrix of one number over and over as that number times ones."""
        fill = row_of(x.function).fill if isinstance(x, Call) and x not in self.names and _size(x) > 1 else None
        if fill is not None:
            filled = x.args[fill]
            if _size(filled) == 1:
                shape = r" \times ".join(self.notation.count if n == self.m else str(n) for n in x.shape)
                ones, factor = rf"\mathbf{{1}}_{{{shape}}}", self.within(filled, TOTAL)
                return ones if factor == "1" else rf"\left({factor} \, {ones}\right)"
        return self.within(x, MATRIX)

    def total(self, x: Call) -> tuple[str, int]:
        """A sum or a mean over axes of a matrix: over the examples, which are its columns, or over other entries."""
        argument, axes = x.args[0], summed_axes(x)
        shape = argument.shape
        if len(shape) != 2:
            return self.generic(x)
        rows, columns = (i in axes and (shape[i] > 1 or len(axes) == 1) for i in (0, 1))
        columns = columns or not rows
        examples = columns and shape[1] == self.m
        symbols = rf"\sum_{{i=1}}^{{{self.notation.count}}}" if examples else ""
        indices = ("j" if rows or (columns and not examples and shape[0] > 1) else "") + (
            "k" if columns and not examples else ""
        )
        summed = ("j" if rows else "") + ("k" if columns and not examples else "")
        symbols = (rf"\sum_{{{', '.join(summed)}}}" if summed else "") + symbols
        if x.function is np.mean:
            counts = [str(shape[0])] * rows + [self.notation.count if examples else str(shape[1])] * columns
            symbols = rf"\frac{{1}}{{{r' '.join(counts)}}} {symbols}"
        upper, lower = ("^{(i)}" if examples else ""), (f"_{{{indices}}}" if indices else "")
        if argument in self.names or argument.function is None:
            inside = self.notation(self.names.get(argument, argument.name))
            if upper and inside.endswith("]}"):
                inside, upper = inside[:-1] + "(i)}", ""
            return f"{symbols} {marked(inside, upper + lower)}", TOTAL
        sign, argument = ("-", argument.args[0]) if self.is_negative(argument) else ("", argument)
        return f"{sign}{symbols} {_parentheses(self.formula(argument)[0])}{upper}{lower}", TOTAL

    def is_negative(self, x: Any) -> bool:
        """Whether an argument is written with a minus in front."""
        return isinstance(x, Call) and row_of(x.function).binding is Binding.SIGN and x not in self.names

    def function(self, x: Call, row: Function) -> tuple[str, int]:
        args = x.args
        if is_transpose(x):
            inside = self.within(args[0], ATOM)
            return (inside[:-1] + "T}" if inside.endswith("]}") else marked(inside, "^{T}")), ATOM
        if row.binding is Binding.POWER:
            inside, own = self.formula(args[0])
            inside = inside if own == ATOM and "^" not in inside else _parentheses(inside)
            return f"{inside}^{{{self.formula(args[1])[0]}}}", ATOM
        if row.is_comparison:
            sign = row.latex or row.operator
            return rf"[\,{self.formula(args[0])[0]} {sign} {self.formula(args[1])[0]}\,]", ATOM
        if x.function is astype or (row.kind is VIEW and row.spreads and _size(args[0]) == 1):
            return self.formula(args[0])  # the same number for every entry
        if "#1" in row.latex and not x.options:
            return self.template(row.latex, args)
        if row.kind is REDUCTION and row.latex and isinstance(args[0], Call) and summed_axes(x) == (0,):
            return rf"{row.latex}_{{j}} {self.within(args[0], ATOM)}", TOTAL
        if row.latex and row.kind is not REDUCTION and not x.options:
            inside = ", ".join(self.formula(y)[0] for y in args)
            return f"{row.latex}{_parentheses(inside)}", ATOM
        return self.generic(x)

    def template(self, text: str, args: tuple[Any, ...]) -> tuple[str, int]:
        """A formula with ``#1`` and the like for its arguments: in parentheses those that stand in a sum."""
        before, opening, inside = text.partition("(")
        for i, y in enumerate(args, 1):
            written = self.within(y, SUM) if f"+ #{i}" in text else self.formula(y)[0]
            before, inside = (part.replace(f"#{i}", written) for part in (before, inside))
        whole = before + _parentheses(inside.removesuffix(")")) if opening else before
        return whole, FRACTION if "^" in text else ATOM  # which needs parentheses below another exponent

    def generic(self, x: Call) -> tuple[str, int]:
        """What has no notation of its own: its name, and its arguments; an index as code."""
        assert x.function is not None
        if x.function is getitem:
            text = expression(x, self.names)
            return code(text), ATOM
        inside = [self.formula(y)[0] for y in x.args]
        inside += [f"{code(key)} = {self.formula(y)[0]}" for key, y in x.options.items()]
        return f"{_verbatim(called(x.function).rpartition('.')[2])}{_parentheses(', '.join(inside))}", ATOM


def marked(text: str, marks: str) -> str:
    """A name with marks above or below; in braces if it has such already."""
    taken = ("^" in marks and "^" in text) or ("_" in marks and "_" in text)
    return f"{{{text}}}{marks}" if taken else text + marks


def code(text: str) -> str:
    """A piece of code within a formula."""
    return rf"\mathtt{{{_escaped(text)}}}"


def digits(x: Any, count: int = 4) -> str:
    """A number, rounded to so many digits."""
    text = f"{x + 0.0:.{count}g}"  # without the sign of a zero
    mantissa, e, exponent = text.partition("e")
    text = rf"{mantissa} \cdot 10^{{{int(exponent)}}}" if e else text
    return text.replace("inf", r"\infty").replace("nan", r"\mathrm{NaN}")


SHOWN = 6  # rows and columns of a matrix that are shown


def matrix(x: Any) -> str:
    """The numbers of an array: all of a few rows and columns, the first two and the last of many."""
    x = np.asarray(x)
    if x.ndim == 0:
        return digits(x.item())
    if x.ndim > 2:
        return code(f"array of shape {x.shape}")
    rows = x[None, :] if x.ndim == 1 else x
    picked = [
        [e if isinstance(e, str) else digits(e) for e in _ends(row, r"\cdots")]
        for row in _ends(list(rows), None)
        if row is not None
    ]
    if len(rows) > SHOWN:
        picked.insert(2, [r"\vdots" if e != r"\cdots" else r"\ddots" for e in picked[0]])
    inside = r" \\ ".join(" & ".join(row) for row in picked)
    return rf"\begin{{bmatrix}} {inside} \end{{bmatrix}}"


def _ends(row: Any, between: Any) -> list[Any]:
    """All of a few, or the first two and the last of many."""
    return list(row) if len(row) <= SHOWN else [*row[:2], between, row[-1]]


_SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹"
_SPECIAL = {  # what means something to LaTeX, or is no letter of its fonts
    "\\": r"\backslash ", "^": r"\wedge ", "~": r"\sim ", "…": r"\ldots ", "∂": r"\partial ", " ": r"\ ",
    **{c: f"\\{c}" for c in "_%#&${}"},
}  # fmt: skip
_GREEK = {  # letters that LaTeX calls otherwise than Unicode; of capitals that look Latin, it has no others
    **{f"GREEK CAPITAL LETTER {x.split()[0]}": x.split()[1] for x in (
        "ALPHA A", "BETA B", "EPSILON E", "ZETA Z", "ETA H", "IOTA I", "KAPPA K", "MU M", "NU N", "OMICRON O", "RHO P",
        "TAU T", "CHI X",
    )},
    "GREEK SMALL LETTER OMICRON": "o", "GREEK SMALL LETTER LAMDA": r"\lambda ",
    "GREEK CAPITAL LETTER LAMDA": r"\Lambda ", "GREEK SMALL LETTER FINAL SIGMA": r"\varsigma ",
    "GREEK THETA SYMBOL": r"\vartheta ", "GREEK PHI SYMBOL": r"\varphi ",
    "GREEK PI SYMBOL": r"\varpi ", "GREEK RHO SYMBOL": r"\varrho ", "GREEK KAPPA SYMBOL": r"\kappa ",
    "GREEK LUNATE EPSILON SYMBOL": r"\varepsilon ", "MICRO SIGN": r"\mu ",
}  # fmt: skip
_MACROS = {
    "alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "mu", "nu", "xi", "pi",
    "rho", "sigma", "tau", "upsilon", "phi", "chi", "psi", "omega",
}  # fmt: skip


def _escaped(text: str) -> str:
    """Text within a formula, letter by letter."""
    return "".join(map(letter, text))


def letter(x: str) -> str:
    """A letter as LaTeX has it, or without its accents."""
    if x in _SPECIAL:
        return _SPECIAL[x]
    if x.isascii():
        return x if x.isprintable() else "?"
    called = unicodedata.name(x, "")
    if called in _GREEK:
        return _GREEK[called]
    match = re.fullmatch(r"GREEK (SMALL|CAPITAL) LETTER (\w+)", called)
    if match and match[2].lower() in _MACROS:
        return rf"\{match[2].lower() if match[1] == 'SMALL' else match[2].title()} "
    plain = unicodedata.normalize("NFKD", x).encode("ascii", "ignore").decode()
    return plain if plain.isalnum() else "?"


def _size(x: Any) -> int:
    return int(np.prod(x.shape)) if isinstance(x, Call) else int(np.size(x)) if isinstance(x, np.ndarray) else 1


def _is_sum(x: Any) -> bool:
    return isinstance(x, Call) and x.function is np.sum


def _parentheses(text: str) -> str:
    tall = r"\frac" in text or r"\sum" in text
    return rf"\left({text}\right)" if tall else f"({text})"
