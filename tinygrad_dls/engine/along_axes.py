"""NumPy's functions along axes that are a few ops: means by weights, medians, differences; and seldom keywords.

They are loaded when one of them is first called on a Tensor, as those of `tinygrad_dls.engine.composed` are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_dls.engine.composed import Axes, array_of, axes_of, part, take_along_axis
from tinygrad_dls.engine.ops import (
    astype,
    broadcast_to,
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
    x, weights = array_of(x, "np.average"), array_of(weights, "the weights")
    if weights.shape != x.shape:
        if axis is None or isinstance(axis, tuple) or weights.shape != (x.shape[axis],):
            raise ValueError(f"np.average: the weights are {weights.shape}, the array is {x.shape}.")
        weights = reshape(weights, tuple(n if i == axis % x.ndim else 1 for i, n in enumerate(x.shape)))
    total = sum(broadcast_to(weights, x.shape), axis, keepdims=keepdims)
    return divide(sum(multiply(x, weights), axis, keepdims=keepdims), total)


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
        raise ValueError("np.median: 0 entries have none in the middle.")
    in_order = sort(row)
    z = mean(part(in_order, -1, (n - 1) // 2, n // 2 + 1), -1)
    z = where(np.isnan(values(row)).any(axis=-1), math.nan, z)  # which sorting puts last
    return reshape(z, kept) if keepdims else z


# -- keywords of reductions -------------------------------------------------------------------------------------------

_FIRST = {np.sum: 0, np.prod: 1, np.max: -np.inf, np.min: np.inf}  # what changes no result
_REDUCTIONS = {np.sum: sum, np.prod: prod, np.max: max, np.min: min, np.mean: mean}


def with_keywords(function: Callable[..., Any], x: Any, *args: Any, **options: Any) -> Any:
    """A reduction with NumPy's seldom keywords: ``dtype=``, ``initial=``, and ``where=``.

    Raises
    ------
    TypeError
        If a keyword is not supported on a Tensor.
    """
    name = f"np.{function.__name__}"
    dtype, initial, chosen = (options.pop(key, None) for key in ("dtype", "initial", "where"))
    supported = {"axis", "keepdims"} | ({"ddof"} if function in (np.var, np.std) else set())
    if unknown := sorted(options.keys() - supported):
        raise TypeError(f"{name}: the keyword {unknown[0]} is not supported on a Tensor.")
    if function not in _REDUCTIONS and (initial is not None or chosen is not None or dtype is None):
        raise TypeError(
            f"{name}: the keyword {'where' if chosen is not None else 'initial'} is not supported on a Tensor."
        )
    if dtype is not None:
        x = astype(x, dtype)
    if function not in _REDUCTIONS:
        return function(x, *args, **options)
    reduced = _REDUCTIONS[function]
    if chosen is not None:
        chosen = values(chosen)
        if function is np.mean:
            ones = np.ones_like(values(x))
            return divide(sum(where(chosen, x, 0), *args, **options), sum(where(chosen, ones, 0), *args, **options))
        if initial is None and function in (np.max, np.min):
            raise ValueError(f"{name}: where= needs an initial= value, as in NumPy.")
        x = where(chosen, x, _FIRST[function])
    z = reduced(x, *args, **options)
    if initial is None:
        return z
    together = {np.sum: np.add, np.prod: np.multiply, np.max: np.maximum, np.min: np.minimum}
    if function not in together:
        raise TypeError(f"{name}: the keyword initial is not supported on a Tensor.")
    return together[function](z, initial)
