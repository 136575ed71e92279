"""Whether formulas are equal: one form for all that are, a verdict that is a proof, and the kinks decided before it.

The algebra is that of single formulas, in `algebra`; here it is asked of whole arrays, entry by entry.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_dls.engine.errors import shown
from tinygrad_dls.engine.tensor import values
from tinygrad_dls.symbolic.algebra import canonical, decided, differs, is_zero
from tinygrad_dls.symbolic.arrays import SymbolicArray, each, entries_of, numbers_of

__all__ = ["in_case", "same", "simplify"]


def in_case(formulas: Any, Z: Any, signs: Any) -> SymbolicArray:
    """The formulas where the entries of Z have these signs: kinks in Z are decided.

    Parameters
    ----------
    formulas : SymbolicArray
        Of any shape.
    Z : SymbolicArray
        Symbols or formulas, such as the linear part before a ReLU.
    signs : array_like of -1, 0 and 1
        The signs of Z's entries, of a shape that broadcasts to that of Z.

    Returns
    -------
    SymbolicArray
        Of the shape of `formulas`.

    Raises
    ------
    ValueError
        If a sign is another number, or their shape does not fit that of Z.

    Examples
    --------
    >>> import tinygrad_dls as tg
    >>> from tinygrad_dls import symbolic
    >>> z = symbolic.symbols("z", (1, 2))
    >>> a = tg.relu(z)
    >>> a
    SymbolicArray([[Max(0, z_{1}), Max(0, z_{2})]])
    >>> symbolic.in_case(a, z, [[1, -1]])
    SymbolicArray([[z_{1}, 0]])
    """
    Z = entries_of(values(Z))
    if not np.isin(signs, (-1, 0, 1)).all():
        raise ValueError(f"in_case: signs are -1, 0 and 1, got {shown(signs)}.")
    try:
        of_each = np.broadcast_to(signs, Z.shape)
    except ValueError:
        raise ValueError(f"in_case: signs are {np.shape(signs)}; expected the shape of Z, {Z.shape}, or 1.") from None
    known = list(zip(Z.flat, map(int, of_each.flat), strict=True))
    return SymbolicArray(each(lambda x: decided(x, known), entries_of(values(formulas))))


def same(a: Any, b: Any) -> bool:
    """Whether two arrays of formulas are equal: whether each difference is 0 for all values of the symbols.

    A True is a proof, by algebra: see `simplify`. A False is one too, by example: at some point, their values differ
    (or one is not finite, which is equal to nothing). If neither is found, that is an error. Hyperbolic functions count
    as the exponentials that they are made of; kinks and other functions are equal if their arguments are, so let
    `in_case` decide kinks first.

    Parameters
    ----------
    a, b : SymbolicArray, Tensor of one, or array_like
        Arrays of one shape.

    Returns
    -------
    bool

    Raises
    ------
    ValueError
        If their shapes differ: no broadcasting here. Or if it is undecided: equal at all points tried, random fractions
        for the symbols, to 40 digits, but no proof found.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_dls import symbolic
    >>> z = symbolic.symbols("z", (1, 1))
    >>> symbolic.same(1 / (1 + np.exp(-z)), np.exp(z) / (1 + np.exp(z)))
    True
    >>> symbolic.same(1 - np.tanh(z) ** 2, 1 / np.cosh(z) ** 2)
    True
    >>> symbolic.same(1 - np.tanh(z) ** 2, 1 / np.cosh(z))
    False
    """
    a, b = numbers_of(values(a)), numbers_of(values(b))
    if a.shape != b.shape:
        raise ValueError(f"same: the formulas are {a.shape} and {b.shape}; expected one shape.")
    undecided = ""
    for x, y in zip(a.flat, b.flat, strict=True):
        if not is_zero(x - y):
            if different := differs(x - y):
                return False
            tried = "no point found where both are real" if different is None else "equal at all points tried"
            undecided = undecided or f"same: undecided: {tried}, but no proof found that {x} is {y}."
    if undecided:
        raise ValueError(f"{undecided} Decide kinks first, with in_case(formulas, z, +1), or rewrite one side.")
    return True


def simplify(formulas: Any) -> SymbolicArray:
    """Formulas as fractions in lowest terms, of polynomials in the symbols and in the functions of them.

    Exponentials are taken apart into as few as multiply to all of them, so that ``exp(-z)`` is ``1/exp(z)``; logarithms
    into those of the factors, which is right where they are defined. Two formulas that are equal as fractions come out
    as one, and a 0 comes out as 0.

    Parameters
    ----------
    formulas : SymbolicArray or Tensor of one
        Of any shape.

    Returns
    -------
    SymbolicArray
        Of the same shape.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_dls import symbolic
    >>> z, y = symbolic.symbols("z", (1, 1)), symbolic.symbols("y", (1, 1))
    >>> a = 1 / (1 + np.exp(-z))
    >>> symbolic.simplify((-y / a + (1 - y) / (1 - a)) * a * (1 - a) - (a - y))
    SymbolicArray([[0]])
    """
    return SymbolicArray(each(canonical, numbers_of(values(formulas))))
