"""NumPy's functions along axes that are a few ops: means by weights, medians, differences; and seldom keywords.

They are loaded when one of them is first called on a Tensor, as those of `tinygrad_dls.engine.composed` are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_dls.engine.arrays import as_array
from tinygrad_dls.engine.composed import Axes, axes_of, part, take_along_axis
from tinygrad_dls.engine.ops import (
    astype,
    divide,
    max,
    mean,
    min,
    multiply,
    prod,
    reshape,
    subtract,
    sum,
    transpose,
    where,
)
from tinygrad_dls.engine.tensor import implements, values

__all__ = ["with_keywords"]


@implements(np.average)
def average(
    x: Any, axis: Axes | None = None, weights: Any = None, returned: bool = False, *, keepdims: bool = False
) -> Any:
    """The mean; with weights, the sum of the weighted entries over that of the weights."""
    if returned:
        raise TypeError("np.average: returned=True is not supported on a Tensor; sum the weights yourself.")
    if weights is None:
        return mean(x, axis, keepdims=keepdims)
    x, weights = as_array(x, "np.average"), as_array(weights, "the weights")
    if weights.shape != x.shape:
        if axis is None or isinstance(axis, tuple) or weights.shape != (x.shape[axis],):
            raise ValueError(f"np.average: the weights are {weights.shape}, the array is {x.shape}.")
        weights = reshape(weights, tuple(n if i == axis % x.ndim else 1 for i, n in enumerate(x.shape)))
    return divide(sum(multiply(x, weights), axis, keepdims=keepdims), sum(weights, axis, keepdims=keepdims))


@implements(np.ptp)
def ptp(x: Any, axis: Axes | None = None, *, keepdims: bool = False) -> Any:
    """The largest less the smallest entry."""
    return subtract(max(x, axis, keepdims=keepdims), min(x, axis, keepdims=keepdims))


@implements(np.diff)
def diff(x: Any, n: int = 1, axis: int = -1) -> Any:
    """Each entry less the one before it; n times."""
    for _ in range(n):
        x = subtract(part(x, axis, 1, None), part(x, axis, None, -1))
    return x


@implements(np.sort)
def sort(x: Any, axis: int | None = -1) -> Any:
    """The entries in order: each takes its gradient along."""
    if axis is None:
        x, axis = reshape(x, -1), 0
    return take_along_axis(x, np.argsort(values(x), axis=axis, kind="stable"), axis)


@implements(np.median)
def median(x: Any, axis: Axes | None = None, *, keepdims: bool = False) -> Any:
    """The entry in the middle, or the mean of the two there."""
    axes = axes_of(axis, x.ndim)
    kept = tuple(1 if i in axes else n for i, n in enumerate(x.shape))
    rest = [i for i in range(x.ndim) if i not in axes]
    row = reshape(transpose(x, (*rest, *axes)), (*(x.shape[i] for i in rest), math.prod(x.shape[i] for i in axes)))
    n = row.shape[-1]
    if not n:
        raise ValueError("np.median: an array without entries has no median.")
    in_order = sort(row)
    z = mean(part(in_order, -1, (n - 1) // 2, n // 2 + 1), -1)
    z = where(np.isnan(values(row)).any(axis=-1), math.nan, z)  # which sorting puts last
    return reshape(z, kept) if keepdims else z


# -- keywords of reductions -------------------------------------------------------------------------------------------

# Of a reduction: the op, the number that changes no result, and what joins two results.
_MAX, _MIN = (max, -np.inf, np.maximum), (min, np.inf, np.minimum)
_REDUCTIONS: dict[Callable[..., Any], tuple[Callable[..., Any], Any, Any]] = {
    np.sum: (sum, 0, np.add), np.prod: (prod, 1, np.multiply), np.max: _MAX, np.amax: _MAX, np.min: _MIN, np.amin: _MIN,
    np.mean: (mean, None, None),
}  # fmt: skip


def with_keywords(function: Callable[..., Any], x: Any, *args: Any, **options: Any) -> Any:
    """A function along axes with NumPy's seldom keywords: ``dtype=``; of a reduction ``initial=`` and ``where=``, too.

    Raises
    ------
    TypeError
        If a keyword is not supported on a Tensor.
    """
    name = f"np.{function.__name__}"
    given = {key: options.pop(key) for key in ("dtype", "initial", "where") if options.get(key) is not None}
    reduced, nothing, join = _REDUCTIONS.get(function, (function, None, None))
    supported = {"axis", "keepdims", "ddof", "dtype"}
    supported |= {"where"} if function in _REDUCTIONS else set()
    supported |= {"initial"} if join is not None else set()
    if unknown := sorted((options.keys() | given.keys()) - supported):
        raise TypeError(f"{name}: the keyword {unknown[0]} is not supported on a Tensor.")
    if "dtype" in given:
        x = astype(x, given["dtype"])
    if "where" in given:
        chosen = values(given["where"])
        if function is np.mean:
            ones = np.ones_like(values(x))
            return divide(sum(where(chosen, x, 0), *args, **options), sum(where(chosen, ones, 0), *args, **options))
        if "initial" not in given and join in (np.maximum, np.minimum):
            raise ValueError(f"{name}: where= needs an initial= value, as in NumPy.")
        x = where(chosen, x, nothing)
    z = reduced(x, *args, **options)
    return join(z, given["initial"]) if "initial" in given else z
