"""How Python and LaTeX write what has a notation of its own: what rows of `tinygrad_dls.ir.functions` refer to.

Each is a function of the printer, a `tinygrad_dls.ir.printing.PythonPrinter` or a
`tinygrad_dls.derivations.latex.LatexPrinter`, and of the call. It gives the text; or None, for the usual one.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_dls.ir.call import is_transpose

__all__ = ["latex_equal", "latex_transpose", "python_filled", "python_reshape", "python_scattered", "python_transpose"]


def python_transpose(p: Any, x: Any) -> str | None:
    """``W.T``, where all axes are in reverse."""
    return f"{p.owner(x.args[0])}.T" if is_transpose(x) else None


def latex_transpose(p: Any, x: Any) -> Any:
    """A transpose, where all axes are in reverse."""
    return p.transposed(x.args[0]) if is_transpose(x) else None


def latex_equal(p: Any, x: Any) -> Any:
    """A comparison; of class numbers with the numbers of all classes, one below the other, the one-hot columns."""
    classes, labels = x.args
    if (
        isinstance(classes, np.ndarray)
        and classes.ndim == 2
        and np.array_equal(classes, np.arange(len(classes))[:, None])
    ):
        return rf"\mathrm{{onehot}}({p.within(labels)})"
    return p.comparison(x, "=")


def python_reshape(p: Any, x: Any) -> str | None:
    """``x.reshape(2, 3)``, as a method."""
    if x.options or not x.args[0].shape:
        return None
    return f"{p.owner(x.args[0])}.reshape({_shape(p, x.args[1])})"


def _shape(p: Any, shape: Any) -> str:
    return ", ".join(map(p.within, shape if isinstance(shape, tuple) else (shape,))) or "()"


def python_filled(p: Any, x: Any) -> str | None:
    """An array of one number over and over: ``np.ones((1, m))``, ``np.full((1, m), 0.5)``."""
    number = p.spread(x)
    if number is None or not x.shape or x.options.keys() - {"dtype"}:
        return None
    shape = x.args[0] if x.function is np.full else x.args[1]
    exact = np.result_type(getattr(number, "dtype", None) or type(number)) == x.dtype
    dtype = "" if x.dtype == np.float64 and (exact or number == 1) else f", {p.dtype(np.dtype(x.dtype))}"
    made = "np.ones({}" if number == 1 else f"np.full({{}}, {p.within(number)}"
    return f"{made.format(p.within(shape))}{dtype})"


def python_scattered(p: Any, x: Any) -> str:
    """The entries of dz added up by the places that the index says, which are counted through."""
    dz, index, shape = x.args
    known = all(isinstance(n, int) for n in shape)
    size = str(math.prod(shape)) if known else " * ".join(p.owner(n) for n in shape)
    places = f"np.arange({size}).reshape({_shape(p, shape)})[{p.index(index)}].ravel()"
    cast = "" if x.dtype == np.float64 else f".astype({p.dtype(x.dtype)})"  # which it computes in
    return f"np.bincount({places}, {p.owner(dz)}.ravel(), {size}).reshape({_shape(p, shape)}){cast}"
