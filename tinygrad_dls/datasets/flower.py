"""The course's planar flower."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_dls.engine.arrays import positive_integer
from tinygrad_dls.nn.init import generator

__all__ = ["planar_flower"]


def planar_flower(
    m: int = 400, *, rng: Any = None
) -> tuple[np.ndarray[Any, np.dtype[np.float64]], np.ndarray[Any, np.dtype[np.int64]]]:
    """The course's flower: two classes of points on interleaved petals in the plane.

    Parameters
    ----------
    m : int, default 400
        Number of examples, half of each class; even.
    rng : int or generator, optional
        By default ``np.random.RandomState(1)``, which gives the course's own points.

    Returns
    -------
    X : array of float64, shape (2, m)
    Y : array of int64, shape (1, m)
        0 (red in the course) or 1 (blue).

    Raises
    ------
    ValueError
        If m is odd, or below 2.
    """
    if positive_integer(m, "planar_flower: m") % 2:
        raise ValueError(f"planar_flower: m must be even and at least 2, got {m}.")
    rng = np.random.RandomState(1) if rng is None else generator(rng, "planar_flower")
    n = m // 2
    petals, radius, noise = 4, 4, 0.2
    points = []
    for label in (0, 1):
        # 3.12 is the course's constant: a little less than half a turn for each class
        theta = np.linspace(label * 3.12, (label + 1) * 3.12, n) + rng.standard_normal(n) * noise
        r = radius * np.sin(petals * theta) + rng.standard_normal(n) * noise
        points.append(np.stack([r * np.sin(theta), r * np.cos(theta)]))
    return np.concatenate(points, axis=1), np.repeat([0, 1], n)[None, :]
