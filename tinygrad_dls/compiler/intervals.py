"""Interval analysis: the numbers between which a program's results lie, whatever the data, to tell a probability."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from tinygrad_dls.ir.call import Call, is_call, toposort
from tinygrad_dls.ir.functions import row_of
from tinygrad_dls.ir.rules import canonicalize

__all__ = ["lies_within"]

_ANYWHERE = (-np.inf, np.inf)


def lies_within(call: Call, least: float, largest: float) -> bool:
    """Whether all entries of a result lie between two limits, or are NaN; False also where it cannot be told."""
    (call,) = canonicalize([call])
    found: dict[Call, tuple[float, float]] = {}
    with np.errstate(all="ignore"):
        for x in toposort([call]):
            found[x] = _interval(x, found)
    low, high = found[call]
    return low >= least and high <= largest


def _interval(call: Call, found: dict[Call, tuple[float, float]]) -> tuple[float, float]:
    """The least and the largest that a call can give."""

    def of(x: Any) -> tuple[float, float]:
        if isinstance(x, Call):
            return found[x]
        return (float(x), float(x)) if isinstance(x, (int, float, np.number)) else _ANYWHERE

    row = row_of(call.function)
    low, high = (0.0, 1.0) if call.dtype == bool else row.bounds
    if is_call(call, np.power) and not isinstance(call.args[1], Call) and call.args[1] == 2:
        low = 0.0
    inner = [of(x) for x in call.args]
    if row.fill is not None or (row.selects and isinstance(call.args[0], Call)):
        low, high = _both((low, high), inner[row.fill or 0])
    elif row.monotone and not call.options and not _meets_pole(call, inner):
        ends = [float(row.function(*map(np.float64, corner))) for corner in itertools.product(*inner)]
        if not any(np.isnan(ends)):
            low, high = _both((low, high), (min(ends), max(ends)))
    return low, high


def _meets_pole(call: Call, inner: list[tuple[float, float]]) -> bool:
    """Whether what a quotient is divided by may be 0."""
    return is_call(call, np.divide) and inner[1][0] <= 0 <= inner[1][1]


def _both(x: tuple[float, float], y: tuple[float, float]) -> tuple[float, float]:
    """What lies in two intervals."""
    return max(x[0], y[0]), min(x[1], y[1])
