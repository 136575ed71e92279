"""Formulas instead of numbers: an array of SymPy expressions, on which the engine's own rules run unchanged.

The one idea: a rule is written with operators, ``np.*`` functions and array methods only, so it does not care whether
an entry is ``0.73`` or ``1/(1 + exp(-z))``. A `Tensor` of a `SymbolicArray` therefore computes formulas, and `backward`
gives the gradient as a formula: the rule itself, not a sample of it. `same` then decides whether it *is* the formula
that the notes derive by hand, for all real numbers at once.

What comes out is exact: floats that a rule writes, such as ``1.0``, become fractions. What a rule does only against
overflow leaves no trace: the sigmoid is coded with ``min(z, 0)`` and ``|z|``, both of its cases are the same function,
and so it becomes ``1/(1 + exp(-z))``. A kink that does matter stays in the formula, as ``Max(0, z)`` and as a case
``z > 0``, unless the assumptions on the symbols decide it; `in_case` decides it afterwards.

Formulas speak of real numbers. They say nothing about rounding.
"""

from tinygrad_dls.symbolic.arrays import SymbolicArray, symbols, with_symbols
from tinygrad_dls.symbolic.equality import in_case, same, simplify

__all__ = ["SymbolicArray", "in_case", "same", "simplify", "symbols", "with_symbols"]
