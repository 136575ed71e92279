"""Initialisers: functions of a shape ``(n_out, n_in)`` and a random generator (or None) that return the first W.

Why not zeros: if all units of a hidden layer start alike, they get equal gradients and stay alike. Why not large: a
saturated tanh or sigmoid has almost no gradient. `xavier` and `he` keep the variance of the activations from layer to
layer, so that neither happens in deep networks.

Each takes the shape ``(n_out, n_in)`` and a seed or a generator, and returns a new float64 array of this shape; another
shape is a ValueError, and no generator where one is needed a TypeError.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from tinygrad_dls.engine.arrays import Array, positive_integer
from tinygrad_dls.engine.errors import shown

__all__ = ["he", "small", "xavier", "zeros"]

if TYPE_CHECKING:  # np.random is loaded on first use, not on import
    from numpy.random import Generator, RandomState

Shape: TypeAlias = tuple[int, int]
RandomGenerator: TypeAlias = "Generator | RandomState | None"
Initialiser: TypeAlias = Callable[[Shape, RandomGenerator], Array]


def zeros(shape: Shape, rng: RandomGenerator = None) -> Array:  # noqa: ARG001  # initialisers have one signature
    """All zeros: right for logistic regression, whose single layer has nothing to break the symmetry of."""
    return np.zeros(_checked(shape, "init.zeros"))


def small(shape: Shape, rng: RandomGenerator) -> Array:
    """``0.01`` times standard normal: the course's choice for the two-layer network."""
    return generator(rng, "init.small").standard_normal(_checked(shape, "init.small")) * 0.01


def xavier(shape: Shape, rng: RandomGenerator) -> Array:
    """Normal with variance ``1 / n_in``, for tanh and sigmoid (Xavier initialisation, as the course teaches it)."""
    return generator(rng, "init.xavier").standard_normal(_checked(shape, "init.xavier")) * np.sqrt(1 / shape[1])


def he(shape: Shape, rng: RandomGenerator) -> Array:
    """Normal with variance ``2 / n_in``, for ReLU, which silences half (He et al., 2015)."""
    return generator(rng, "init.he").standard_normal(_checked(shape, "init.he")) * np.sqrt(2 / shape[1])


def _checked(shape: Any, who: str) -> Shape:
    if not isinstance(shape, (tuple, list)) or len(shape) != 2:
        raise ValueError(f"{who}: shape must be (n_out, n_in), got {shown(shape)}.")
    n_out, n_in = (positive_integer(n, f"{who}: each entry of shape") for n in shape)
    return n_out, n_in


def generator(rng: Any, who: str) -> Generator | RandomState:
    """A random generator from a seed or a generator; never from nothing, so that results can be repeated.

    The streams of the course are ``np.random.RandomState(3)``, and `np.random` itself after ``np.random.seed(3)``.
    """
    if rng is None:
        raise TypeError(
            f"{who} draws random numbers: pass a seed, rng=0, or a generator, rng=np.random.default_rng(0)."
        )
    if isinstance(rng, (np.random.Generator, np.random.RandomState)):
        return rng
    if rng is np.random:  # the stream that np.random.seed(3) starts: np.random.randn and the like are its methods
        return np.random.standard_normal.__self__  # type: ignore[no-any-return, attr-defined]
    try:
        if isinstance(rng, (bool, np.bool_)):  # to NumPy, 0 and 1
            raise TypeError
        return np.random.default_rng(rng)
    except (TypeError, ValueError):
        raise TypeError(f"{who}: rng must be a seed, an integer >= 0, or a generator, got {shown(rng)}.") from None
