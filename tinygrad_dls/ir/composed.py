"""What some functions are composed of: what they come to of formulas, which NumPy itself cannot compute them of.

Each takes what NumPy's function of its name takes, and is written in functions that have formulas. Rows of
`tinygrad_dls.ir.functions` refer to them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_dls.engine.matrices import SlogdetResult, cofactors

__all__ = ["clip", "det", "dot", "inv", "mean", "slogdet", "solve", "std", "var"]


def mean(x: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    """The sum, divided by the number of the entries."""
    total = np.sum(x, axis=axis, keepdims=keepdims)
    return total / (np.size(x) // np.size(total))


def var(x: Any, axis: Any = None, *, ddof: int = 0, keepdims: bool = False) -> Any:
    """The mean of the squares of what is left without the mean."""
    total = np.sum(np.square(x - np.mean(x, axis=axis, keepdims=True)), axis=axis, keepdims=keepdims)
    return total / (np.size(x) // np.size(total) - ddof)


def std(x: Any, axis: Any = None, *, ddof: int = 0, keepdims: bool = False) -> Any:
    """The root of the variance."""
    return np.sqrt(np.var(x, axis=axis, ddof=ddof, keepdims=keepdims))


def clip(x: Any, a_min: Any = None, a_max: Any = None, *, min: Any = None, max: Any = None) -> Any:
    """The larger of two numbers, and then the smaller of two."""
    low, high = a_min if min is None else min, a_max if max is None else max
    x = x if low is None else np.maximum(x, low)
    return x if high is None else np.minimum(x, high)


def dot(x: Any, y: Any) -> Any:
    """A matrix product, or with a number a plain one."""
    return np.matmul(x, y) if np.ndim(x) and np.ndim(y) else x * y


# -- of matrices ------------------------------------------------------------------------------------------------------


def det(a: Any) -> Any:
    """Laplace's expansion by the first row."""
    if np.shape(a)[-1] == 1:
        return a[..., 0, 0]
    return np.sum(a[..., 0, :] * cofactors(a)[..., 0, :], axis=-1)


def inv(a: Any) -> Any:
    """Cramer's rule: the transpose of the cofactors, divided by the determinant."""
    n = np.shape(a)[-1]
    of_minors = np.swapaxes(cofactors(a), -1, -2) if n > 1 else np.ones_like(a)
    return of_minors / np.expand_dims(np.linalg.det(a), (-2, -1))


def solve(a: Any, b: Any) -> Any:
    """The inverse times what is solved for."""
    return np.matmul(np.linalg.inv(a), b)


def slogdet(a: Any) -> SlogdetResult:
    """The sign of the determinant, and the logarithm of its absolute value: half that of the square, with no kink."""
    z = np.linalg.det(a)
    return SlogdetResult(np.sign(z), np.log(np.square(z)) / 2)
