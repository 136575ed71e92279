"""When two arrays are the same: by their own size, by that of the terms which they are sums of, and by their digits.

Numbers that cancel prove nothing. A db of 1e-6 may be the sum of terms of size 1, and then two ways to compute it agree
to 1e-16 only, and in float32 to 1e-8, which is a hundredth of it. So what is right is compared on the scale of the
terms, to as many digits as rounding leaves, and what fits a known mistake also on its own. How far float32 rounds is
not guessed: the whole chain of steps is computed with such rounding, a few times.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tinygrad_dls.engine.arrays import Array

if TYPE_CHECKING:
    from tinygrad_dls.check.chain import Chain

__all__ = ["DIGITS", "Nearness", "Rounding"]

# The relative error of one rounding, by dtype. Integers and longdouble are taken for float64.
DIGITS = {"float16": 2.0**-10, "float32": 2.0**-23}
# Two ways to write a step differ by some roundings, a wrong one by far more: nine digits of the terms, and of the array
# itself seven, unless it is so small that all of it could be rounding.
OF_THE_TERMS, OF_ITSELF = 1e-9, 1e-7
CANCELLED = 2.0**-52 * 2**12
# What a known mistake gives is computed here as the person did, so it has to fit more closely.
CANDIDATE, CANDIDATE_CANCELLED = 1e-9, 2.0**-52 * 2**6
# In narrower dtypes: times the measured error; and relative to the array itself, for arrays of some entries and of few.
SPARE, SOME, FEW = 8.0, 1e-4, 2e-6
FEW_ENTRIES = 3  # of which one or two could be met by chance
UNSETTLED = 0.02  # a gap of this size, relative to the array itself, is too much to be called right
DRAWS = 4


class Rounding(NamedTuple):
    """A dtype's rounding: one step's relative error, and each step's measured error, relative to its terms."""

    unit: float
    errors: dict[str, float]


class Nearness:
    """Comparisons of the arrays of one step: equal to autodiff's, or to what a mistake would give.

    Attributes
    ----------
    rounding : Rounding or None
        Of the dtype whose digits are asked for; None of float64.
    """

    def __init__(self, chain: Chain, name: str, rounding: Rounding | None, single: bool) -> None:
        self.name, self.rounding = name, rounding
        self.magnitude = chain.magnitudes[name]
        self.single = single  # whether other arrays, or the dtype, show that it was computed in float32

    def right(self, a: Array, b: Array) -> bool:
        """Whether they are the same result of the same step, computed in two ways."""
        if a.shape != b.shape:
            return False
        gap, size = np.abs(a - b), np.broadcast_to(self._terms(b), b.shape)
        if self.rounding is None:
            near = gap.max(initial=0) <= OF_ITSELF * np.abs(b).max(initial=0)
            return bool(np.all(gap <= OF_THE_TERMS * size) and (near or np.all(gap <= CANCELLED * size)))
        return bool(np.all(gap <= SPARE * self.rounding.errors[self.name] * size)) and self._looks_rounded(a, gap, size)

    def settled(self, a: Array, b: Array) -> bool:
        """Whether the digits that are left tell more than the order of magnitude."""
        gap = np.abs(a - b).max(initial=0)
        return bool(gap <= UNSETTLED * np.abs(b).max(initial=0)) or self.rounding is None

    def fits(self, a: Array, b: Array) -> bool:
        """Whether an array is what a mistake gives, by its own size too."""
        if a.shape != b.shape:
            return False
        gap, own = np.abs(a - b), np.abs(b)
        size, largest = np.broadcast_to(self._terms(b), b.shape), own.max(initial=0)
        scaled = np.maximum(size * (largest / max(size.max(initial=0), 1e-300)), own)
        if self.rounding is None:
            return bool(np.all(gap <= CANDIDATE * scaled + CANDIDATE_CANCELLED * size))
        few = a.size < FEW_ENTRIES
        if few and not self.single:
            return False
        near = gap.max(initial=0) <= (FEW if few else SOME) * largest
        tolerance = SPARE * self.rounding.errors[self.name]
        return bool(near and np.all(gap <= tolerance * np.maximum(size, scaled)) and self._looks_rounded(a, gap, size))

    def _terms(self, b: Array) -> Array:
        return self.magnitude if b.shape == self.magnitude.shape else np.max(self.magnitude, initial=0.0)

    def _looks_rounded(self, a: Array, gap: Array, size: Array) -> bool:
        """Float32 throughout, and not float64 with a few wrong entries."""
        if np.array_equal(a, a.astype(np.float32)):
            return True
        return bool(np.mean(gap > 1e-12 * size) >= 0.5)


def measured(chain: Chain, unit: float, dtype: str, compute: Callable[[str, dict[str, Array]], Array]) -> Rounding:
    """How far the steps come out from autodiff's if each is rounded, in its terms and in its result."""
    draws = np.random.default_rng(0)
    errors = dict.fromkeys(chain.names, 0.0)
    exact: dict[str, Array] = {}
    for name in chain.names:
        exact[name] = compute(name, exact)
    spreads = {name: unit * chain.spread(name) for name in chain.names}
    for _ in range(DRAWS):
        out: dict[str, Array] = {}
        for name in chain.names:
            noisy = compute(name, out) + spreads[name] * draws.uniform(-1, 1, size=spreads[name].shape)
            out[name] = noisy.astype(dtype).astype(float)
            gap = np.abs(out[name] - exact[name])
            size = chain.magnitudes[name]
            errors[name] = max(errors[name], float(np.max(gap / np.maximum(size, 1e-300), initial=0, where=size > 0)))
    for name, spread in spreads.items():
        size = chain.magnitudes[name]
        least = np.max(spread / np.maximum(size, 1e-300), initial=0, where=size > 0)
        errors[name] = max(errors[name], float(least))
    return Rounding(unit, errors)
