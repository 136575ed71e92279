"""Mistakes that leave a multiple of the gradient: the mean over the examples, signs, zeros, whole numbers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tinygrad_dls.check.causes import Step, Variant, cause, multiple_of
from tinygrad_dls.check.mistakes.steps import neighbour
from tinygrad_dls.engine.arrays import Array


@cause("1/m is missing", "dA dZ dW db")
def _missing_mean(s: Step) -> Array:
    """J is a mean over the m examples: divide by m once, in the first dZ, or else in dW and db."""
    return s.expected * s.m


@cause("1/m twice", "dA dZ dW db")
def _doubled_mean(s: Step) -> Array:
    """If dZ carries the 1/m already, dW and db must not divide by m again (as np.mean does)."""
    return s.expected / s.m


@cause("a mean over another count", "dZ dW db")
def _another_m(s: Step) -> Iterator[Variant]:
    """The number of examples is X.shape[1]: they are columns. The rows of an array are features, units or classes."""
    for what, count in _wrong_counts(s).items():
        yield Variant(s.expected * s.m / count, f"m = {what}")


def _wrong_counts(s: Step) -> dict[str, int]:
    """What is taken for m by mistake; 1 and m have causes of their own."""
    below, rows = neighbour(s, "A", -1), {}
    for name, x in {"X": s.arrays["X"], below: s.A_prev, f"Z{s.layer}": s.W, "Y": s.Y}.items():
        rows[f"{name}.shape[0]"] = x.shape[0]
    rows |= {"X.size": s.arrays["X"].size, "Y.size": s.Y.size}
    distinct = {count: what for what, count in reversed(rows.items()) if count not in (1, s.m)}
    return {what: count for count, what in reversed(distinct.items())}


@cause("a constant factor", "dA dZ dW db", free=True)
def _factor(s: Step) -> Array | None:
    """Every entry is the same multiple of the gradient, as of another cost or of a mean over another count."""
    if s.got is None or s.got.shape != s.expected.shape or not np.any(s.expected):
        return None
    if s.got.size < 3 and not _beside_another(s, s.got):
        return None
    factor = multiple_of(s.got, s.expected)
    known = (-1, s.m, -s.m, 1 / s.m, -1 / s.m)  # these have causes of their own
    return None if np.any(np.isclose(factor, known, rtol=1e-6)) else factor * s.expected


def _beside_another(s: Step, got: Array) -> bool:
    """Whether the dW beside a small db is the same multiple of its own gradient: a single number proves nothing."""
    twin = s.given.get(f"dW{s.layer}") if s.kind == "db" else None
    if twin is None or twin.size < 3:
        return False
    right = s.dZ @ s.A_prev.T
    factor = multiple_of(twin, right)
    pairs = ((twin, right), (got, s.expected))
    return factor not in (0, 1) and all(np.allclose(x, factor * y, rtol=1e-9, atol=0) for x, y in pairs)


@cause("sign", "dA dZ dW db")
def _sign(s: Step) -> Array | None:
    """It is minus the gradient. Updates subtract the gradient, so the gradient itself must not be negated."""
    return None if s.kind == "dZ" and s.last else -s.expected


@cause("Y - A for A - Y", "dZ")
def _flipped_error(s: Step) -> Array | None:
    """The gradient is A - Y, prediction minus label."""
    return -s.expected if s.last else None


@cause("all zeros", "dA dZ dW db", zeros=True)
def _zeros(s: Step) -> Array:
    """Every entry is 0, as of an array that np.zeros made and nothing filled, or of an integer division like 1 // m."""
    return np.zeros_like(s.expected)


@cause("clipped", "dA dZ dW db", free=True)
def _clipped(s: Step) -> Variant | None:
    """It was clipped. The gradient itself is not: clip a copy of it, after all gradients are there."""
    if s.got is None or s.got.shape != s.expected.shape:
        return None
    largest = float(np.abs(s.got).max(initial=0))
    inside = np.count_nonzero(np.abs(s.expected) < largest)
    return Variant(np.clip(s.expected, -largest, largest), f"at {largest:.4g}") if largest and inside > 2 else None


@cause("integer division", "dZ dW db", far_fetched=True)
def _integer_division(s: Step) -> Array:
    """The operator // rounds down to whole numbers: divide by m with /."""
    return np.floor(s.expected)
