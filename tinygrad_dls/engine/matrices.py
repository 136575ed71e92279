"""What rules of linear algebra and rows of programs share: cofactors, and what a determinant's logarithm comes as."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tinygrad_dls.engine.arrays import Array

__all__ = ["SlogdetResult", "cofactors"]


def cofactors(a: Array) -> Array:
    """The determinants of what is left without a row and a column, and their signs: ``n^2`` of them."""
    n = np.shape(a)[-1]
    others = [[j for j in range(n) if j != i] for i in range(n)]  # than each row or column
    rows = [
        np.stack([np.linalg.det(a[..., others[i], :][..., others[j]]) * (-1) ** (i + j) for j in range(n)], axis=-1)
        for i in range(n)
    ]
    return np.stack(rows, axis=-2)


class SlogdetResult(NamedTuple):
    """The sign of a determinant, and the logarithm of its absolute value."""

    sign: Any
    logabsdet: Any
