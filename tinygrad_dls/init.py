"""Initialisers: functions of a shape ``(n_out, n_in)`` and a random generator (or None) that return the first W.

Why not zeros: if all units of a hidden layer start alike, they get equal gradients and stay alike. Why not large: a
saturated tanh or sigmoid has almost no gradient. `xavier` and `he` keep the variance of the activations from layer to
layer, so that neither happens in deep networks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from tinygrad_dls.arrays import Array

__all__ = ["he", "small", "xavier", "zeros"]

if TYPE_CHECKING:  # np.random is loaded on first use, not on import
    from numpy.random import Generator, RandomState

Shape: TypeAlias = tuple[int, int]
RandomGenerator: TypeAlias = "Generator | RandomState | None"
Initialiser: TypeAlias = Callable[[Shape, RandomGenerator], Array]


def zeros(shape: Shape, rng: RandomGenerator = None) -> Array:  # noqa: ARG001  # initialisers have one signature
    """All zeros: right for logistic regression, whose single layer has nothing to break the symmetry of."""
    return np.zeros(shape)


def small(shape: Shape, rng: RandomGenerator) -> Array:
    """``0.01`` times standard normal: the course's choice for the two-layer network."""
    return generator(rng, "init.small").standard_normal(shape) * 0.01


def xavier(shape: Shape, rng: RandomGenerator) -> Array:
    """Normal with variance ``1 / n_in``, for tanh and sigmoid (Xavier initialisation as taught in the course)."""
    return generator(rng, "init.xavier").standard_normal(shape) * np.sqrt(1 / shape[1])


def he(shape: Shape, rng: RandomGenerator) -> Array:
    """Normal with variance ``2 / n_in``, for ReLU, which silences half (He et al., 2015)."""
    return generator(rng, "init.he").standard_normal(shape) * np.sqrt(2 / shape[1])


def generator(rng: Any, who: str) -> Generator | RandomState:
    """A random generator from a seed or a generator; never from nothing, so that results can be repeated."""
    if rng is None:
        raise TypeError(
            f"{who} draws random numbers: pass a seed, rng=0, or a generator, rng=np.random.default_rng(0)."
        )
    if isinstance(rng, (np.random.Generator, np.random.RandomState)):
        return rng
    return np.random.default_rng(rng)
