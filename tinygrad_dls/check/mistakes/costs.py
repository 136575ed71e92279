"""Mistakes of the wrong time and of the wrong cost: an update too early, and the terms of an L2 penalty."""

from __future__ import annotations

import numpy as np

from tinygrad_dls.check.causes import Step, cause
from tinygrad_dls.engine.arrays import Array


@cause("an update applied before the gradient", "dA dZ dW db", free=True)
def _updated_too_early(s: Step) -> Array | None:
    """The layer above had been updated already when its W was used here. Compute all gradients, then update."""
    if (
        s.got is None
        or s.W_next is None
        or s.dZ_next is None
        or s.dW_next is None
        or s.got.shape != s.expected.shape
        or s.got.size < 3
    ):
        return None
    right = s.W_next.T @ s.dZ_next
    slope = s.if_instead(f"dA{s.layer}", right - s.dW_next.T @ s.dZ_next) - s.expected  # for a learning rate of 1
    aligned = np.sum(slope * s.expected) ** 2 / (np.sum(slope**2) * np.sum(s.expected**2) + np.finfo(float).tiny)
    if not np.any(slope) or aligned > 1 - 1e-9:  # a mere factor could be anything
        return None
    alpha = np.sum((s.got - s.expected) * slope) / np.sum(slope**2)
    return s.expected + alpha * slope if alpha > 0 else None


@cause("an L2 term", "dW", free=True)
def _l2_term(s: Step) -> Array | None:
    """It is the gradient plus a multiple of W, as of a cost with an L2 penalty. The cost asked about here has none."""
    return _with_a_multiple(s, s.W) if s.beside is None else None


@cause("an L2 term on b", "db", free=True)
def _l2_term_on_b(s: Step) -> Array | None:
    """It is the gradient plus a multiple of b. The cost asked about here has no penalty on b, as in the course."""
    return _with_a_multiple(s, s.b) if s.beside is None else None


@cause("another factor of the L2 term", "dW", free=True)
def _another_l2_term(s: Step) -> Array | None:
    """The penalty lambda / (2 m) * sum(W^2) has the gradient lambda / m * W: look at the 2, the m and the lambda."""
    if s.beside is None or not _is_multiple(s.beside, s.W):
        return None
    return _with_a_multiple(s, s.W)


@cause("a term of the cost is missing", "dW db")
def _term_missing(s: Step) -> Array | None:
    """The cost has a term in this parameter itself, such as an L2 penalty (of lambda / m * W): add its gradient."""
    return None if s.beside is None else s.expected - s.beside


def _with_a_multiple(s: Step, p: Array) -> Array | None:
    """The gradient plus that multiple of a parameter that explains the given array best."""
    if s.got is None or s.got.shape != p.shape or s.got.size < 3 or not np.any(p):
        return None
    factor = np.sum((s.got - s.expected) * p) / np.sum(p**2)
    missing = s.beside is not None and np.allclose(factor * p, -s.beside, rtol=1e-6, atol=0)
    return s.expected + factor * p if (factor > 0 or s.beside is not None) and not missing else None


def _is_multiple(x: Array, p: Array) -> bool:
    return bool(np.any(p)) and np.allclose(x, np.sum(x * p) / np.sum(p**2) * p, rtol=1e-6, atol=1e-9 * np.abs(x).max())


