"""The training problems that all peers solve: a shape, a dtype, data and first parameters from a fixed seed.

A network has tanh in its hidden layers; its last layer is a sigmoid for one output and a softmax for several, under
cross-entropy. Examples are columns, as in the course. The labels are noisy, so that no network separates them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Problem:
    """Layers of sizes ``n_x, ..., n_y``, trained on m examples in a dtype by plain gradient descent."""

    sizes: tuple[int, ...]
    m: int
    dtype: str

    def __str__(self) -> str:
        return f"{self.network}, m = {self.m:,}, {self.dtype}"

    @property
    def network(self) -> str:
        """The sizes, as tables name them: ``2-4-1``, or what else the model is called."""
        if len(self.sizes) == 2:
            return f"logistic regression, n_x = {self.sizes[0]}"
        return "-".join(map(str, self.sizes))

    @property
    def binary(self) -> bool:
        """Whether the output is the probability of one class."""
        return self.sizes[-1] == 1

    @property
    def learning_rate(self) -> float:
        """A rate at which the cost falls."""
        return 0.1 if self.sizes[0] <= 100 else 0.005

    @cached_property
    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """X of shape (n_x, m) and Y of shape (n_y, m): labels 0 and 1, or one-hot columns."""
        rng = np.random.default_rng(0)
        n_x, n_y = self.sizes[0], self.sizes[-1]
        X = rng.standard_normal((n_x, self.m), np.float32).astype(self.dtype)
        noisy = X[:n_y] + 0.5 * rng.standard_normal((n_y, self.m))
        Y = noisy > 0 if n_y == 1 else noisy == noisy.max(axis=0)
        return X, Y.astype(self.dtype)

    @cached_property
    def parameters(self) -> dict[str, np.ndarray]:
        """First parameters: ``W1, b1, W2, b2, ...``."""
        rng = np.random.default_rng(1)
        parameters = {}
        for k, (n_in, n_out) in enumerate(zip(self.sizes, self.sizes[1:], strict=False), 1):
            parameters[f"W{k}"] = (rng.standard_normal((n_out, n_in)) / np.sqrt(n_in)).astype(self.dtype)
            parameters[f"b{k}"] = np.zeros((n_out, 1), self.dtype)
        return parameters

    def __getstate__(self) -> dict[str, Any]:  # another process makes the data itself
        return {"sizes": self.sizes, "m": self.m, "dtype": self.dtype}


DTYPES = "float64", "float32"
SHAPES: list[tuple[tuple[int, ...], int]] = [
    ((2, 4, 1), 400),
    ((3, 4, 1), 1_000),
    ((784, 128, 1), 256),
    ((12_288, 7, 1), 209),
    ((32, 64, 1), 100_000),
    ((30, 1), 569),
    ((100, 1), 1_000_000),
    ((784, 128, 10), 128),
    ((2, 4, 1), 100_000),
    ((20, 10, 5), 2_000),
]
COURSE = [((2, 4, 1), 400), ((3, 4, 1), 1_000), ((30, 1), 569)]  # what the course trains; and the breast cancer data
PROBLEMS = [Problem(sizes, m, dtype) for sizes, m in SHAPES for dtype in DTYPES]
