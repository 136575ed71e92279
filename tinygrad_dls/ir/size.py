"""The number of examples, as a symbol: a length that remembers the call that it stands for."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_dls.engine.operands import PLAIN
from tinygrad_dls.ir.call import Call
from tinygrad_dls.ir.shapes import call_of

__all__ = ["Dimension", "call_behind", "symbolic", "without_symbol"]


class _Symbolic:
    """A number that remembers the call that it stands for, through sums, products and quotients."""

    call: Call

    def __add__(self, other: Any) -> Any:
        return _dimension(np.add, self, other)

    def __radd__(self, other: Any) -> Any:
        return _dimension(np.add, other, self)

    def __sub__(self, other: Any) -> Any:
        return _dimension(np.subtract, self, other)

    def __rsub__(self, other: Any) -> Any:
        return _dimension(np.subtract, other, self)

    def __mul__(self, other: Any) -> Any:
        return _dimension(np.multiply, self, other)

    def __rmul__(self, other: Any) -> Any:
        return _dimension(np.multiply, other, self)

    def __truediv__(self, other: Any) -> Any:
        return _dimension(np.divide, self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return _dimension(np.divide, other, self)

    def __neg__(self) -> Any:
        return _dimension(np.multiply, -1, self)


class Dimension(_Symbolic, int):
    """The length of an axis that the program does not fix, and what is computed from it: ``m``, ``4 * m``, ``1 / m``.

    An int to Python and to NumPy; to a `Trace`, the call that it stands for. Python asks a float before it: of
    ``1.0 / m`` a plain float comes out, which `remember_lengths` finds again.
    """

    def __floordiv__(self, other: Any) -> Any:
        return _dimension(np.floor_divide, self, other)


class _Ratio(_Symbolic, float):
    """A number computed from the length of an axis."""


PLAIN.update((Dimension, _Ratio))  # ops take them as they are


def _dimension(function: Any, x: Any, y: Any) -> Any:
    """A number computed from the lengths of axes; anything but numbers answers for itself."""
    if not (isinstance(x, (int, float)) and isinstance(y, (int, float))):
        return NotImplemented
    plain_x, plain_y = without_symbol(x), without_symbol(y)
    number = function(plain_x, plain_y).item()
    return symbolic(number, call_of(function, call_behind(x), call_behind(y)))


def symbolic(number: float, call: Call) -> Any:
    """A number that remembers its call."""
    symbol: Any = Dimension(number) if isinstance(number, int) else _Ratio(number)
    symbol.call = call
    return symbol


def call_behind(x: Any) -> Any:
    """The call that a number of a symbol stands for; any other number as it is."""
    return x.call if isinstance(x, _Symbolic) else x


def without_symbol(x: Any) -> Any:
    """A number without the memory of its symbol."""
    return int(x) if isinstance(x, Dimension) else float(x) if isinstance(x, _Ratio) else x
