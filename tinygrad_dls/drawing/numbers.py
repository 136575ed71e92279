"""Numbers in words: what a box of a picture says of an array, whole if it is small, and else in a line.

Bad numbers are no error here: that is when a picture is wanted most.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_dls.engine.devices import to_host
from tinygrad_dls.engine.tensor import values

__all__ = ["entries", "in_words", "norm", "shape_in_words"]

WHOLE = 4  # rows and columns of the largest array that is shown entry by entry


def entries(x: Any) -> list[list[str]] | None:
    """The entries of a small array as rows of text; None for a larger one."""
    array = _array(x)
    if array is None or array.ndim > 2 or not array.size or max(array.shape, default=1) > WHOLE:
        return None
    return [[_entry(number) for number in row] for row in np.atleast_2d(array)]


def _entry(number: Any) -> str:
    text = f"{number:.3g}" if isinstance(number, (float, np.floating)) else str(number)
    text = "0" if text == "-0" else text
    return text if len(text) <= 40 else f"{text[:39]}…"  # a formula of a symbolic array


def in_words(x: Any) -> str:
    """A small array entry by entry, a larger one as its mean, standard deviation and range."""
    rows = entries(x)
    if rows is None:
        return _summary(x)
    text = "; ".join(", ".join(row) for row in rows)
    return text if len(rows) == len(rows[0]) == 1 else f"[{text}]"


def _summary(x: Any) -> str:
    array = _array(x)
    if array is None:
        return "not computed yet"
    if not array.size:
        return "no entries"
    if array.dtype.kind not in "fiub":
        return "formulas"
    finite = array[np.isfinite(array)].astype(float)
    bad = array.size - finite.size
    if not finite.size:
        return "no finite entry"
    with np.errstate(all="ignore"):
        mean, std, low, high = map(_entry, (finite.mean(), finite.std(), finite.min(), finite.max()))
    text = f"mean {mean}, std {std}, {low} to {high}"
    return text + (f"; {bad:,} not finite" if bad else "")


def shape_in_words(x: Any) -> str:
    """``(4, m)`` as Python writes it; empty of a single number, which has none worth saying."""
    return str(x.shape) if x.shape else ""


def norm(x: Any) -> str:
    """The root of the sum of squares; empty of what holds no numbers."""
    array = _array(x)
    if array is None or array.dtype.kind not in "fiub":
        return ""
    with np.errstate(all="ignore"):
        return f"{np.linalg.norm(array.astype(float).ravel()):.4g}"


def _array(x: Any) -> np.ndarray[Any, Any] | None:
    """The plain array in a node or a gradient; None if there is none yet, as of a lazy dask array."""
    x = values(x)
    return None if hasattr(x, "compute") else to_host(x)
