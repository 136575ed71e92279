r"""NumPy calls as formulas in LaTeX, in the course's notation: what `tinygrad_dls.views.text` is for code.

Examples are columns, so a sum over the last axis is a sum over the examples, ``\sum_{i=1}^{m}``; the entry-wise
product is ``\odot``; a division by a number is a fraction in front.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from tinygrad_dls.recording import Call, astype, getitem
from tinygrad_dls.rewriting import clipped_sigmoid, sigmoid
from tinygrad_dls.views.text import expression

__all__ = ["latex", "marked", "name"]

SUM, PRODUCT, ATOM = range(3)  # how tightly an operator binds

_FUNCTIONS = {
    np.tanh: r"\tanh", np.exp: r"\exp", np.log: r"\log", np.sin: r"\sin", np.cos: r"\cos",
    np.maximum: r"\max", np.minimum: r"\min", sigmoid: r"\sigma", clipped_sigmoid: r"\sigma",
}  # fmt: skip
_RELATIONS = {
    np.greater: ">", np.greater_equal: r"\ge", np.less: "<", np.less_equal: r"\le", np.equal: "=",
    np.not_equal: r"\ne",
}  # fmt: skip
_EXTREMES = {np.max: r"\max", np.min: r"\min"}


def name(identifier: str) -> str:
    r"""A name as the course writes it: ``W1`` is ``W^{[1]}``, ``dZ2`` is ``dZ^{[2]}``, ``U3`` is ``U_{3}``."""
    course = re.fullmatch(r"(d?[WbZADzawVS])(\d+)", identifier)
    if course:
        return f"{course[1]}^{{[{course[2]}]}}"
    match = re.fullmatch(r"(d?)([A-Za-z]+)_?(\d*)(.*)", identifier)
    if match is None or match[4]:
        return rf"\mathrm{{{identifier.replace('_', chr(92) + '_')}}}"
    d, base, index, _ = match.groups()
    word = base if len(base) == 1 else rf"\mathrm{{{base}}}"
    return f"{d}{word}" + (f"_{{{index}}}" if index else "")


def latex(call: Any, names: Mapping[Call, str], *, top: bool = True) -> str:
    """A call as a formula; the calls that have names by these.

    Parameters
    ----------
    call : Call, number, or what else may be an argument
    names : mapping of Call to str
        The names, as identifiers, of calls that have been computed before.
    top : bool
        Whether the call itself is to be written out although it has a name.
    """
    return _Writer(names).formula(call, top)[0]


class _Writer:
    def __init__(self, names: Mapping[Call, str]) -> None:
        self.names = names

    def formula(self, x: Any, top: bool = False) -> tuple[str, int]:
        """The formula of an argument, and how tightly it binds."""
        if not isinstance(x, Call):
            return self.number(x)
        if x in self.names and not top:
            return name(self.names[x]), ATOM
        if x.function is None:
            return name(x.name), ATOM
        if x.function is np.asarray:
            return self.number(x.args[0])
        if x.function in (np.add, np.subtract):
            return self.sum(x)
        if x.function in (np.multiply, np.divide, np.matmul):
            return self.product(x)
        if x.function is np.negative:
            return f"-{self.within(x.args[0], PRODUCT)}", SUM
        if x.function in (np.sum, np.mean) and isinstance(x.args[0], Call):
            return self.total(x)
        return self.function(x)

    def within(self, x: Any, binding: int) -> str:
        """The formula of an operand, in parentheses if it binds less than this."""
        text, own = self.formula(x)
        return _parentheses(text) if own < binding else text

    def number(self, x: Any) -> tuple[str, int]:
        """A number, or whatever it is, as code."""
        if isinstance(x, (int, float, np.generic)) and not isinstance(x, (bool, np.bool_)):
            text = expression(x, {})
            mantissa, e, exponent = text.partition("e")
            text = rf"{mantissa} \cdot 10^{{{int(exponent)}}}" if e else text.replace("np.inf", r"\infty")
            return text, SUM if text.startswith("-") else PRODUCT if e else ATOM
        return code(expression(x, self.names)), ATOM

    def sum(self, x: Call) -> tuple[str, int]:
        left, right = x.args
        sign = "+" if x.function is np.add else "-"
        second = self.within(right, SUM if x.function is np.add else PRODUCT)
        if second.startswith("-"):
            second = _parentheses(second)
        return f"{self.within(left, SUM)} {sign} {second}", SUM

    def product(self, x: Call) -> tuple[str, int]:
        left, right = x.args
        if x.function is np.divide:
            if _size(right) == 1 and (_size(left) > 1 or _is_sum(left)):
                below = self.formula(right)[0]
                if self.is_negative(left):
                    return rf"-\frac{{1}}{{{below}}} {self.within(left.args[0], PRODUCT)}", SUM
                above = self.formula(left)[0] if _is_sum(left) else self.within(left, PRODUCT)
                sign, above = ("-", above[1:]) if above.startswith("-") else ("", above)
                return rf"{sign}\frac{{1}}{{{below}}} {above}", SUM if sign else PRODUCT
            return rf"\frac{{{self.formula(left)[0]}}}{{{self.formula(right)[0]}}}", PRODUCT
        first, second = self.within(left, PRODUCT), self.within(right, PRODUCT)
        if second.startswith("-"):
            second = _parentheses(second)
        if x.function is np.matmul:
            return rf"{first} \, {second}", PRODUCT
        if _size(left) == 1 or _size(right) == 1:
            number_first = isinstance(left, Call) and not isinstance(right, Call)
            first, second = (second, first) if number_first else (first, second)
            return (rf"{first} \cdot {second}" if second[:1].isdigit() else f"{first} {second}"), PRODUCT
        return rf"{first} \odot {second}", PRODUCT

    def total(self, x: Call) -> tuple[str, int]:
        """A sum or a mean over axes; of a matrix, over its columns (the examples), its rows, or both."""
        argument, axis = x.args[0], x.options.get("axis", x.args[1] if len(x.args) > 1 else None)
        ndim = len(argument.shape)
        axes = tuple(range(ndim)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
        axes = tuple(i % ndim for i in axes if -ndim <= i < ndim)
        if ndim != 2 or not axes:
            return self.generic(x)
        rows, columns = (i in axes and (argument.shape[i] > 1 or len(axes) == 1) for i in (0, 1))
        if not (rows or columns):
            columns = True
        symbols = (r"\sum_{j}" if rows else "") + (r"\sum_{i=1}^{m}" if columns else "")
        if x.function is np.mean:
            counts = [n for i, n in ((0, str(argument.shape[0])), (1, "m")) if (rows, columns)[i]]
            symbols = rf"\frac{{1}}{{{' '.join(counts)}}} {symbols}"
        upper, lower = r"^{(i)}" if columns else "", "_{j}" if rows else ""
        if (argument in self.names or argument.function is None) and argument.name:
            inside = name(self.names.get(argument, argument.name))
            if upper and inside.endswith("]}"):
                inside, upper = inside[:-1] + "(i)}", ""
            return f"{symbols} {marked(inside, upper + lower)}", PRODUCT
        sign, argument = ("-", argument.args[0]) if self.is_negative(argument) else ("", argument)
        text = self.formula(argument)[0]
        return f"{sign}{symbols} {_parentheses(text)}{upper}{lower}", SUM if sign else PRODUCT

    def is_negative(self, x: Any) -> bool:
        """Whether an argument is written with a minus in front."""
        return isinstance(x, Call) and x.function is np.negative and x not in self.names

    def function(self, x: Call) -> tuple[str, int]:
        function, args = x.function, x.args
        if function is np.transpose and not x.options and (len(args) == 1 or args[1] is None):
            inside = self.within(args[0], ATOM)
            return (inside[:-1] + "T}" if inside.endswith("]}") else marked(inside, "^{T}")), ATOM
        if function is np.power:
            inside = self.within(args[0], ATOM)
            power = self.formula(args[1])[0]
            return marked(f"({inside})" if "^" in inside else inside, f"^{{{power}}}"), ATOM
        if function is np.sqrt:
            return rf"\sqrt{{{self.formula(args[0])[0]}}}", ATOM
        if function is np.abs:
            return rf"\left|{self.formula(args[0])[0]}\right|", ATOM
        if function in _RELATIONS:
            return rf"[\,{self.formula(args[0])[0]} {_RELATIONS[function]} {self.formula(args[1])[0]}\,]", ATOM
        if function in (np.broadcast_to, np.reshape, np.expand_dims, astype) and _size(args[0]) == 1:
            return self.formula(args[0])  # the same number for every entry
        if function in _FUNCTIONS and not x.options:
            inside = ", ".join(self.formula(y)[0] for y in args)
            return f"{_FUNCTIONS[function]}{_parentheses(inside)}", ATOM
        if function in _EXTREMES and isinstance(args[0], Call) and x.options.get("axis") == 0:
            return rf"{_EXTREMES[function]}_{{j}} {self.within(args[0], ATOM)}", PRODUCT
        return self.generic(x)

    def generic(self, x: Call) -> tuple[str, int]:
        """What has no notation of its own: its name, and its arguments; an index as code."""
        assert x.function is not None
        if x.function is getitem:
            text = expression(x, self.names)
            return code(text), ATOM
        inside = [self.formula(y)[0] for y in x.args]
        inside += [f"{code(key)} = {self.formula(y)[0]}" for key, y in x.options.items() if y not in (None, False)]
        return rf"\mathrm{{{x.function.__name__.replace('_', chr(92) + '_')}}}{_parentheses(', '.join(inside))}", ATOM


def marked(text: str, marks: str) -> str:
    """A name with marks above or below; in braces if it has such already."""
    taken = ("^" in marks and "^" in text) or ("_" in marks and "_" in text)
    return f"{{{text}}}{marks}" if taken else text + marks


def code(text: str) -> str:
    """A piece of code within a formula."""
    for plain, written in (
        ("\\", r"\backslash "),
        ("_", r"\_"),
        ("{", r"\{"),
        ("}", r"\}"),
        ("&", r"\&"),
        ("%", r"\%"),
    ):
        text = text.replace(plain, written)
    return rf"\mathtt{{{text.replace(' ', chr(92) + ' ')}}}"


def _size(x: Any) -> int:
    return int(np.prod(x.shape)) if isinstance(x, Call) else int(np.size(x)) if isinstance(x, np.ndarray) else 1


def _is_sum(x: Any) -> bool:
    return isinstance(x, Call) and x.function is np.sum


def _parentheses(text: str) -> str:
    tall = r"\frac" in text or r"\sum" in text
    return rf"\left({text}\right)" if tall else f"({text})"
