r"""How names and numbers are written in formulas: ``W1`` is ``W^{[1]}``, ``gamma`` a Greek letter, 1e-8 a power of ten.

No two arrays of a derivation are written alike, whatever the user calls them: see `Notation`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

import numpy as np

from tinygrad_dls.graph.names import Names, shortened

__all__ = ["SHOWN", "Notation", "code", "digits", "letter", "marked", "matrix", "name", "typeset", "verbatim"]


def name(text: str) -> str:
    r"""A name as the course writes it: ``W1`` is ``W^{[1]}``, ``dZ2`` is ``dZ^{[2]}``, ``U3`` is ``U_{3}``."""
    text = shortened(text)
    if course := re.fullmatch(r"(d?[WbZADzawVS])(\d+)", text):
        return f"{course[1]}^{{[{course[2]}]}}"
    if power := re.fullmatch(rf"({_LETTER}|[^\W\d_])([{_SUPERSCRIPTS}]+)", text):
        return f"{_spelled_out(power[1]) or _escaped(power[1])}^{{{unicodedata.normalize('NFKC', power[2])}}}"
    if match := re.fullmatch(rf"(d?)({_LETTER})(?:_?(\d+)|_([^\W_]\w*?)_?|_)?", text):
        d, base, index, word = match.groups()
        below = index or (verbatim(word) if len(word or "") > 1 else word)
        return f"{d}{_spelled_out(base) or _escaped(base)}" + (f"_{{{below}}}" if below else "")
    numbered = re.fullmatch(r"([A-Za-z]+)_?([0-9]+)", text)
    return f"{verbatim(numbered[1])}_{{{numbered[2]}}}" if numbered else verbatim(text)


def _spelled_out(word: str) -> str:
    """A Greek letter by its name, as LaTeX has it; empty for any other word."""
    word = {"lambd": "lambda", "eps": "epsilon"}.get(word, word)
    return rf"\{word}" if word in _SPELLED else ""


def verbatim(text: str) -> str:
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
    text = next((text for text in (name(called), name(identifier)) if names.is_free(text)), verbatim(identifier))
    return names.free(text)


def marked(text: str, marks: str) -> str:
    """A name with marks above or below; in braces if it has such already."""
    taken = ("^" in marks and "^" in text) or ("_" in marks and "_" in text)
    return f"{{{text}}}{marks}" if taken else text + marks


def code(text: str) -> str:
    """A piece of code within a formula."""
    return rf"\mathtt{{{_escaped(text)}}}"


def digits(x: Any, count: int = 4) -> str:
    """A number, rounded to so many digits."""
    return typeset(f"{x + 0.0:.{count}g}")  # without the sign of a zero


def typeset(number: str) -> str:
    """The text of a number as a formula: ``1e-8`` is a power of ten."""
    sign, text = ("-", number[1:]) if number.startswith("-") else ("", number)
    mantissa, e, exponent = text.partition("e")
    if e:
        times = "" if mantissa == "1" else rf"{mantissa} \cdot "
        text = rf"{times}10^{{{int(exponent)}}}"
    return sign + text.replace("inf", r"\infty").replace("nan", r"\mathrm{NaN}")


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


_SPELLED = _MACROS | {
    "lambda", "Gamma", "Delta", "Theta", "Lambda", "Xi", "Pi", "Sigma", "Upsilon", "Phi", "Psi", "Omega",
}  # fmt: skip
_LETTER = "|".join([*sorted({*_SPELLED, "lambd", "eps"}, key=len, reverse=True), "[A-Za-z]", "[\u0370-\u03ff]"])


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
