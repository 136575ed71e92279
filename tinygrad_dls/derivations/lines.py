r"""Lines that are too long for a page: formulas in several rows, each begun by the sign that it was broken before.

A formula is broken where it binds least: before the ``=`` of its equal forms, then before a ``+`` or ``-`` that stands
in no bracket, then before other signs, and last behind the commas between arguments. How wide a formula in LaTeX is
set, `width` estimates.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

__all__ = ["FORMULA", "code_in_rows", "latex_in_rows", "width"]

CODE, FORMULA = 100, 62  # letters of a row: as many as stand between the margins of the document
_TOKEN = re.compile(r"\\[a-zA-Z]+|\\.|[^\\]", re.DOTALL)
_WORDS = {"log", "exp", "tanh", "max", "min", "sin", "cos"}  # that are set letter by letter
_EMPTY = {"left", "right", "Big", "mathrm", "mathtt", "mathbf", "begin", "end", "text", ",", " ", ":"}


def code_in_rows(text: str, before: int = 0) -> list[str]:
    """A formula as code, in rows; `before` characters stand before the first."""
    depths = _depths(text, {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1})
    return _in_rows(text, len, CODE - before, depths, (", ", " + ", " - ", " * ", " / ", " @ "))


def latex_in_rows(text: str, before: float = 0) -> list[str]:
    """A formula in LaTeX, in rows; something so wide stands before the first."""
    rows = _formula_in_rows(text, before)
    if max(map(width, rows)) <= FORMULA - before:
        return rows
    # parentheses of a given height may have their ends in different rows, unlike those that grow
    return _formula_in_rows(text.replace(r"\left(", r"\Big(").replace(r"\right)", r"\Big)"), before)


def _formula_in_rows(text: str, before: float) -> list[str]:
    whole = 10  # a fraction, and parentheses that grow, stay in one row
    depths = _depths(text, {"(": 1, ")": -1, "{": whole, "}": -whole, r"\left": whole, r"\right": -whole})
    return _in_rows(text, width, FORMULA - before, depths, (" + ", " - ", r" \odot ", r" \, "))


def _depths(text: str, brackets: Mapping[str, int]) -> list[int]:
    """In how many brackets each character of a text stands."""
    depth, depths = 0, []
    for token in _TOKEN.findall(text):
        step = brackets.get(token, 0)
        depths += [depth + min(step, 0)] * len(token)
        depth += step
    return depths


def _in_rows(
    text: str, size: Callable[[str], float], room: float, depths: list[int], signs: tuple[str, ...]
) -> list[str]:
    """The text broken before signs in as few brackets as will do, and as few rows as it fits into."""
    if size(text) <= room:
        return [text]
    best = [text]
    for depth in range(3):
        for i in range(1, len(signs) + 1):
            rows = _filled(list(_pieces(text, depths, depth, signs[:i])), size, room)
            if max(map(size, rows)) <= room:
                return rows
            best = min(best, rows, key=lambda rows: max(map(size, rows)))
    return best


def _pieces(text: str, depths: list[int], depth: int, signs: tuple[str, ...]) -> Iterator[str]:
    """The pieces of a text that begin with one of the signs in no more brackets than that; a comma ends one."""
    start = 0
    for i in range(1, len(text)):
        sign = next((sign for sign in signs if text.startswith(sign, i)), None)
        if sign is not None and depths[i] <= depth:
            end = i + 1 if sign == ", " else i
            yield text[start:end]
            start = end
    yield text[start:]


def _filled(pieces: list[str], size: Callable[[str], float], room: float) -> list[str]:
    """Pieces put together as long as they fit into a row."""
    rows = [pieces[0]]
    for piece in pieces[1:]:
        if size(rows[-1] + piece) <= room:
            rows[-1] += piece
        else:
            rows.append(piece.strip())
    return rows


def width(latex: str) -> float:
    """About how many letters a formula in LaTeX is wide."""
    return _width(_TOKEN.findall(latex))[0]


def _width(tokens: list[str], i: int = 0) -> tuple[float, int]:
    """The width up to the end of a group, and where that is."""
    total = 0.0
    while i < len(tokens) and tokens[i] != "}":
        token, i = tokens[i].removeprefix("\\"), i + 1
        if token == "{":
            inner, i = _width(tokens, i)
            total, i = total + inner, i + 1
        elif token == "frac":
            above, i = _width(tokens, i + 1)
            below, i = _width(tokens, i + 2)
            total, i = total + max(above, below) + 0.5, i + 1
        elif token in ("^", "_"):
            marks, i = _width(tokens, i + 1) if tokens[i : i + 1] == ["{"] else (1.0, i)
            total, i = total + 0.7 * marks, i + 1
        else:
            total += 0 if token in _EMPTY else len(token) if token in _WORDS else 1
    return total, i
