"""When two arrays are the same: by their own size, by that of the terms which they are sums of, and by their digits.

Numbers that cancel prove nothing. A db of 1e-6 may be the sum of terms of size 1, and then two ways to compute it agree
to 1e-16 only, and in float32 to 1e-8, which is a hundredth of it. So what is right is compared on the scale of the
terms, to as many digits as rounding leaves, and what fits a known mistake also on its own. How far float32 rounds is
not guessed: the whole chain of steps is computed with such rounding, a few times.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tinygrad_dls.check.causes import HANDED_ON, kind_of
from tinygrad_dls.engine.arrays import Array

if TYPE_CHECKING:
    from tinygrad_dls.check.chain import Chain

__all__ = ["DIGITS", "Digits", "Nearness", "Rounding"]

# The relative error of one rounding, by dtype; others are taken for float64.
DIGITS = {"float16": 2.0**-10, "float32": 2.0**-23, "float64": 2.0**-52}
NARROW = {"float16", "float32"}
# Two ways to write a step differ by some roundings, a wrong one by far more: nine digits of the terms, and of the array
# itself seven, unless it is so small that all of it could be rounding.
OF_THE_TERMS, OF_ITSELF = 1e-9, 1e-7
CANCELLED = 2.0**-52 * 2**6
WIDE = 256.0  # times the measured error of float64, as a person may go another way
# What a known mistake gives is computed here as the person did, so it has to fit more closely.
CANDIDATE = 1e-9
# In narrower dtypes: times the measured error (up to 7 occur, where roundings are alike in all examples); and relative
# to the array itself, for arrays of some entries and of few.
SPARE, SOME, FEW = 16.0, 1e-4, 2e-6
FEW_ENTRIES = 3  # of which one or two could be met by chance
ENOUGH = 0.25  # of the entries show rounding; where units are saturated, not all do
ONLY_WIDE = 1e-12  # to so many digits only float64 is right
UNSETTLED = 0.005  # a gap of this size, relative to the array itself, is too much to be called right
# The mean square of 12 draws is small by chance, by a factor of 16, once in 200,000 times; of float64 there is room.
DRAWS = {"float16": 12, "float32": 12, "float64": 3}


class Rounding:
    """By how much rounding in a narrower dtype changes the steps, entry by entry; measured when asked for."""

    def __init__(self, chain: Chain, dtype: str) -> None:
        self.chain, self.dtype = chain, dtype

    @functools.cached_property
    def errors(self) -> dict[str, Array]:
        """Of each step's entries: as they are rounded once, and the usual error if each term is off by a digit."""
        chain = self.chain
        exact = self._rounded({}, None)
        spreads = {name: DIGITS[self.dtype] * chain.spread(name) for name in chain.names}
        with np.errstate(all="ignore"):
            once = self._rounded(exact, lambda _, x: x)
            squares = {name: np.zeros_like(x) for name, x in exact.items()}
            draws = np.random.default_rng(0)
            for _ in range(DRAWS[self.dtype]):
                noisy = self._rounded(exact, lambda name, x: x + spreads[name] * draws.uniform(-1, 1, size=x.shape))
                for name, x in noisy.items():
                    squares[name] += (x - exact[name]) ** 2 / DRAWS[self.dtype]
            found = {name: np.maximum(np.sqrt(squares[name]), np.abs(once[name] - x)) for name, x in exact.items()}
            return {name: np.maximum(_finite(x), spreads[name]) for name, x in found.items()}

    def _rounded(self, exact: dict[str, Array], change: Callable[[str, Array], Array] | None) -> dict[str, Array]:
        """All the steps, each rounded, and changed, before the next; with the gates of ReLU as they are."""
        out: dict[str, Array] = {}
        for name in self.chain.names:
            gates = {z: exact[z] for z in self.chain.forward if z[0] == "Z"} if name[:2] == "dZ" and exact else {}
            x = self.chain.compute(name, out | gates, through_dA=False)
            out[name] = x if change is None else change(name, x).astype(self.dtype).astype(float)
        return out


def _finite(x: Array) -> Array:
    return np.where(np.isfinite(x), x, 0.0)


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
    double : Rounding
        Of float64.
    own : bool
        Whether these digits are those of the dtype; if not, the numbers themselves have to look rounded.
    single : bool
        Whether a dtype, or other arrays, show that these were computed in float32.
    wide : bool
        Whether other arrays show that these were computed in float64.
    """

    name: str
    magnitude: Array
    rounding: Rounding | None
    double: Rounding
    own: bool
    single: bool
    wide: bool = False

    def right(self, a: Array, b: Array) -> bool:
        """Whether they are the same result of the same step, computed in two ways."""
        if a.shape != b.shape:
            return False
        gap, size = np.abs(a - b), self._terms(b)
        if self.rounding is None:
            near = gap.max(initial=0) <= OF_ITSELF * np.abs(b).max(initial=0)
            if np.all(gap <= OF_THE_TERMS * size) and (near or np.all(gap <= CANCELLED * size)):
                return True
            lost = self.double.errors[self.name]  # where A - Y cancels, and what comes from it
            if lost.shape != b.shape:
                return False
            return bool(np.all((gap <= WIDE * lost) | (gap <= CANCELLED * size) | (gap <= OF_THE_TERMS * np.abs(b))))
        errors = self.rounding.errors[self.name]
        # of what follows from larger arrays, the errors are larger too
        larger = (
            size / np.maximum(self.rounding.chain.magnitudes[self.name], 1e-300) if b.shape == errors.shape else 1.0
        )
        close = bool(np.all(gap <= SPARE * np.broadcast_to(errors, b.shape) * np.maximum(larger, 1.0)))
        return close and self._may_be_single(a, b)

    def _may_be_single(self, a: Array, b: Array) -> bool:
        """Whether these may have been computed in the narrower dtype: it is theirs, or their numbers look like it."""
        m = self.double.chain.m
        if self.own or self.single:
            return True
        return _share(a, b, _of_single(a, m)) >= ENOUGH if self.wide else _looks_rounded(a, b, m)

    def of(self, name: str, magnitude: Array) -> Nearness:
        """The same comparison of another step's arrays."""
        return replace(self, name=name, magnitude=magnitude)

    def rounds_by(self) -> Array:
        """By how much rounding may change the step's entries; in float64, which need not be told, by nothing."""
        return 0 * self.magnitude if self.rounding is None else SPARE * self.rounding.errors[self.name]

    def last_digits(self) -> float:
        """How far float64 rounds at most, relative to the largest entry of the step."""
        lost = np.abs(self.double.errors[self.name]).max(initial=0)
        size = np.abs(self.double.chain.reference[self.name]).max(initial=0)
        return float(WIDE * lost / max(size, 1e-300) + CANCELLED)

    def settled(self, a: Array, b: Array) -> bool:
        """Whether the digits that rounding leaves tell more than the order of magnitude."""
        gap = np.abs(a - b).max(initial=0)
        unproved = a.size < FEW_ENTRIES and not self.single  # that this was computed in float32
        return self.rounding is None or bool(gap <= (SOME if unproved else UNSETTLED) * np.abs(b).max(initial=0))

    def fits(self, a: Array, b: Array) -> bool:
        """Whether an array is what a mistake gives, by its own size too."""
        if a.shape != b.shape:
            return False
        gap, own, size = np.abs(a - b), np.abs(b), self._terms(b)
        largest = own.max(initial=0)
        scaled = np.maximum(size * (largest / max(size.max(initial=0), 1e-300)), own)
        few = a.size < FEW_ENTRIES
        if self.rounding is None:
            lost = 0.0 if few else CANCELLED * size
            return bool(gap.max(initial=0) <= OF_ITSELF * largest and np.all(gap <= CANDIDATE * scaled + lost))
        if few and not self.single:
            return False
        some = max(SOME, 4 * DIGITS[self.rounding.dtype])
        near = gap.max(initial=0) <= (FEW if few else some) * largest
        error = SPARE * self.rounding.errors[self.name].max(initial=0) / max(self.magnitude.max(initial=0), 1e-300)
        tolerance = max(error, 4 * DIGITS[self.rounding.dtype])
        close = bool(near and np.all(gap <= tolerance * np.maximum(size, scaled)))
        return close and self._may_be_single(a, b)

    def _terms(self, b: Array) -> Array:
        shaped = b.shape == self.magnitude.shape
        return self.magnitude if shaped else np.full(b.shape, np.max(self.magnitude, initial=0.0))


def _looks_rounded(a: Array, b: Array, m: int) -> bool:
    """Float32 throughout, divided by m or not, and not float64 with a few wrong entries."""
    return _share(a, b, _of_single(a, m) | (np.abs(a - b) > 1e-12 * np.abs(b))) >= ENOUGH


def _of_single(a: Array, m: int) -> Array:
    """Which entries are numbers of float32, or such divided by m."""
    with np.errstate(over="ignore", invalid="ignore"):
        whole = [np.abs(x - x.astype(np.float32)) <= 4 * DIGITS["float64"] * np.abs(x) for x in (a, a * m)]
    return np.asarray(whole[0] | whole[1])


def _share(a: Array, b: Array, rounded: Array) -> float:
    """The share of the entries that are, of those that are not zero in both."""
    some = (a != 0) | (b != 0)
    return float(np.mean(rounded[some])) if np.any(some) else 1.0


class Digits:
    """To how many digits the arrays of a question are compared; what its float32 rounds to is measured once."""

    def __init__(self, chain: Chain, given: Mapping[str, Array], half: bool = False) -> None:
        self.chain, self.given = chain, given
        self._roundings = {dtype: Rounding(chain, dtype) for dtype in DIGITS}
        self.single, self.half, self.wide = False, False, set[str]()
        if not any(p.dtype.name in NARROW for p in chain.originals.values()):  # else terms in them are rounded
            self.wide = {name for name, x in given.items() if self._is_wide(name, x)}
        self.single = any(_is_single(x) for x in given.values())
        self.single = self.single or any(self._is_rounded(name, x) for name, x in given.items())
        # of a forward pass in float16, and labels of integers: A - Y is of float64, and so is what comes from it
        self.half = half or chain.half or any(x.dtype == np.float16 for x in given.values())

    def _is_rounded(self, name: str, x: Array) -> bool:
        """Whether an array of float64 is right to the digits of float32 only, and has its numbers.

        Without these, it may be a slip that changes little: 1 - Z^2 for 1 - A^2, of small weights.
        """
        reference = self.chain.reference[name]
        if x.size < FEW_ENTRIES or x.shape != reference.shape or not np.all(np.isfinite(x)):
            return False
        if _share(x, reference, _of_single(x, self.chain.m)) < ENOUGH:
            return False
        double, *narrower = self.scales(name)
        factors = (1.0, self.chain.m) if kind_of(name) in HANDED_ON else (1.0,)
        if any(double.right(x / factor, reference) for factor in factors):
            return False
        return any(near.right(x / factor, reference) for near in narrower for factor in factors)

    def _is_wide(self, name: str, x: Array) -> bool:
        """Whether an array is right to the digits of float64, and float32 does not have its numbers."""
        reference = self.chain.reference[name]
        if x.size < FEW_ENTRIES or x.shape != reference.shape or not np.all(np.isfinite(x)):
            return False
        near = np.abs(x - reference).max(initial=0) <= ONLY_WIDE * np.abs(reference).max(initial=0)
        return bool(near) and _share(x, reference, _of_single(x, self.chain.m)) < ENOUGH

    def scales(self, name: str) -> list[Nearness]:
        """How to compare an array: by the digits of its dtype, and by those of a narrower one that went into it."""
        parts = [self.given[name], self.chain.beside.get(name, 0.0)]
        dtypes = {np.asarray(part).dtype.name for part in parts}
        narrow = "float16" if "float16" in dtypes else "float32" if "float32" in dtypes else None
        roundings = [self._roundings[narrow]] if narrow else [None, self._roundings["float32"]]
        size, own = self.chain.magnitudes[name], narrow is not None
        double = self._roundings["float64"]
        wide = bool(self.wide - {name})
        found = [Nearness(name, size, rounding, double, own, self.single, wide) for rounding in roundings]
        if self.half and not wide and narrow != "float16":
            found.append(Nearness(name, size, self._roundings["float16"], double, own=True, single=True))
        return found

    def rounded(self, name: str) -> Nearness:
        """How to compare an array by the digits of float32, whatever its numbers look like."""
        single, double = self._roundings["float32"], self._roundings["float64"]
        return Nearness(name, self.chain.magnitudes[name], single, double, own=True, single=True)


def _is_single(x: Array) -> bool:
    """Whether an array was computed in float32, or narrower, as its dtype or every one of its numbers shows."""
    if x.dtype.name in NARROW:
        return True
    if x.size < FEW_ENTRIES or x.dtype.kind != "f" or np.array_equal(x, np.round(x)):
        return False
    with np.errstate(over="ignore"):
        return bool(np.array_equal(x, x.astype(np.float32)))
