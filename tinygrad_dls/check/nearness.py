"""When two arrays are the same: by their own size, by that of the terms which they are sums of, and by their digits.

Numbers that cancel prove nothing. A db of 1e-6 may be the sum of terms of size 1, and then two ways to compute it agree
to 1e-16 only, and in float32 to 1e-8, which is a hundredth of it. So what is right is compared on the scale of the
terms, to as many digits as rounding leaves, and what fits a known mistake also on its own. How far float32 rounds is
not guessed: the whole chain of steps is computed with such rounding, a few times.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

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


class Rounding:
    """What rounding in a narrower dtype makes of the steps, each relative to its terms; measured when asked for."""

    def __init__(self, chain: Chain, dtype: str) -> None:
        self.chain, self.dtype = chain, dtype

    @functools.cached_property
    def errors(self) -> dict[str, float]:
        """The largest error of each step's entries, relative to the terms that they are sums of."""
        chain, unit, draws = self.chain, DIGITS[self.dtype], np.random.default_rng(0)
        spreads = {name: unit * chain.spread(name) for name in chain.names}
        errors = {name: _largest(spreads[name], chain.magnitudes[name]) for name in chain.names}
        exact: dict[str, Array] = {}
        for name in chain.names:
            exact[name] = chain.compute(name, exact, through_dA=False)
        for _ in range(DRAWS):
            out: dict[str, Array] = {}
            for name in chain.names:
                noisy = chain.compute(name, out, through_dA=False)
                noisy = noisy + spreads[name] * draws.uniform(-1, 1, size=noisy.shape)
                out[name] = noisy.astype(self.dtype).astype(float)
                errors[name] = max(errors[name], _largest(np.abs(out[name] - exact[name]), chain.magnitudes[name]))
        return errors


def _largest(gap: Array, size: Array) -> float:
    return float(np.max(gap / np.maximum(size, 1e-300), initial=0, where=size > 0))


@dataclass(frozen=True)
class Nearness:
    """Comparisons of the arrays of one step: equal to autodiff's, or to what a mistake would give.

    Attributes
    ----------
    name : str
        Of the step.
    magnitude : array
        The sum of the magnitudes of the terms in it, entry by entry: what rounding is relative to.
    rounding : Rounding or None
        Of the dtype whose digits are asked for; None of float64.
    own : bool
        Whether these digits are those of the dtype; if not, the numbers themselves have to look rounded.
    single : bool
        Whether a dtype, or other arrays, show that these were computed in float32.
    """

    name: str
    magnitude: Array
    rounding: Rounding | None
    own: bool
    single: bool

    def right(self, a: Array, b: Array) -> bool:
        """Whether they are the same result of the same step, computed in two ways."""
        if a.shape != b.shape:
            return False
        gap, size = np.abs(a - b), self._terms(b)
        if self.rounding is None:
            near = gap.max(initial=0) <= OF_ITSELF * np.abs(b).max(initial=0)
            return bool(np.all(gap <= OF_THE_TERMS * size) and (near or np.all(gap <= CANCELLED * size)))
        close = bool(np.all(gap <= SPARE * self.rounding.errors[self.name] * size))
        return close and (self.own or _looks_rounded(a, gap, size))

    def settled(self, a: Array, b: Array) -> bool:
        """Whether the digits that rounding leaves tell more than the order of magnitude."""
        gap = np.abs(a - b).max(initial=0)
        return self.rounding is None or bool(gap <= UNSETTLED * np.abs(b).max(initial=0))

    def fits(self, a: Array, b: Array) -> bool:
        """Whether an array is what a mistake gives, by its own size too."""
        if a.shape != b.shape:
            return False
        gap, own, size = np.abs(a - b), np.abs(b), self._terms(b)
        largest = own.max(initial=0)
        scaled = np.maximum(size * (largest / max(size.max(initial=0), 1e-300)), own)
        if self.rounding is None:
            return bool(np.all(gap <= CANDIDATE * scaled + CANDIDATE_CANCELLED * size))
        few = a.size < FEW_ENTRIES
        if few and not self.single:
            return False
        near = gap.max(initial=0) <= (FEW if few else SOME) * largest
        tolerance = SPARE * self.rounding.errors[self.name]
        close = bool(near and np.all(gap <= tolerance * np.maximum(size, scaled)))
        return close and (self.own or _looks_rounded(a, gap, size))

    def _terms(self, b: Array) -> Array:
        shaped = b.shape == self.magnitude.shape
        return self.magnitude if shaped else np.full(b.shape, np.max(self.magnitude, initial=0.0))


def _looks_rounded(a: Array, gap: Array, size: Array) -> bool:
    """Float32 throughout, and not float64 with a few wrong entries."""
    return np.array_equal(a, a.astype(np.float32)) or bool(np.mean(gap > 1e-12 * size) >= 0.5)
