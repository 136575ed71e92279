"""Between which numbers the results of a program lie, whatever the data: enough to tell a probability."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_dls.ir.call import Call, astype, getitem, reachable
from tinygrad_dls.ir.functions import clipped_sigmoid, shared_softmax, sigmoid, softmax
from tinygrad_dls.ir.rules import simplified

__all__ = ["lies_within"]

_ANYWHERE = (-np.inf, np.inf)
_SAME = (getitem, astype, np.transpose, np.reshape, np.broadcast_to, np.squeeze, np.expand_dims, np.max, np.min)
_ARITHMETIC = (np.add, np.subtract, np.multiply, np.divide)


def lies_within(call: Call, least: float, largest: float) -> bool:
    """Whether all entries of a result lie between two limits, or are NaN; False also where it cannot be told."""
    (call,) = simplified([call])
    known: dict[Call, tuple[float, float]] = {}
    with np.errstate(all="ignore"):
        for x in reachable([call]):
            known[x] = _range(x, known)
    low, high = known[call]
    return low >= least and high <= largest


def _range(call: Call, known: dict[Call, tuple[float, float]]) -> tuple[float, float]:
    """The least and the largest that a call can give."""

    def of(x: Any) -> tuple[float, float]:
        if isinstance(x, Call):
            return known[x]
        return (float(x), float(x)) if isinstance(x, (int, float, np.number)) else _ANYWHERE

    f = call.function
    if call.dtype == bool or f in (sigmoid, clipped_sigmoid, softmax, shared_softmax):
        return 0.0, 1.0
    if f is np.tanh:
        return -1.0, 1.0
    if f is np.power and not isinstance(call.args[1], Call) and call.args[1] == 2:
        return 0.0, np.inf
    if f is None or not call.args:
        return _ANYWHERE
    (low, high), *others = (of(x) for x in call.args)
    if f is np.asarray or (f in _SAME and isinstance(call.args[0], Call)):
        return low, high
    if f is np.negative:
        return -high, -low
    if f is np.abs:
        return 0.0, np.inf
    if f is np.exp:
        return float(np.exp(low)), float(np.exp(high))
    if f in (np.maximum, np.minimum, np.clip):
        limits = [(low, high), *others]
        if f is np.clip:
            return max(low, limits[1][0]), min(high, limits[2][1])
        best = max if f is np.maximum else min
        return best(x for x, _ in limits), best(x for _, x in limits)
    if f in _ARITHMETIC and (f is not np.divide or others[0][0] > 0 or others[0][1] < 0):
        corners = [float(f(np.float64(x), np.float64(y))) for x in (low, high) for y in others[0]]
        return (min(corners), max(corners)) if not any(np.isnan(corners)) else _ANYWHERE
    return _ANYWHERE
