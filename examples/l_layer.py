"""What the examples from the course's week 4 on share: the network with L layers, and data that scikit-learn draws.

The course draws its data and first weights from the legacy stream, ``np.random.seed(3)``; ``np.random.RandomState(3)``
is the same stream without its global state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

import tinygrad_dls as tg
from tinygrad_dls.extras import install


def network(
    sizes: Sequence[int], *, rng: Any = None, init: Callable[..., np.ndarray] = tg.init.he, dropout: Any = None
) -> tg.nn.Classifier:
    """Make ``LINEAR -> RELU``, L - 1 times, and a last ``LINEAR``, whose sigmoid or softmax belongs to the cost.

    `sizes` are the numbers of features, of units in each hidden layer, and of outputs. `dropout` makes a layer that
    goes behind each ReLU.
    """
    layers: list[Any] = []
    for n_in, n_out in pairwise(sizes[:-1]):
        layers += [tg.nn.Linear(n_in, n_out, rng=rng, init=init), tg.nn.ReLU()]
        layers += [] if dropout is None else [dropout()]
    return tg.nn.Classifier(*layers, tg.nn.Linear(sizes[-2], sizes[-1], rng=rng, init=init))


def scikit_learns(dataset: str, **options: Any) -> tuple[np.ndarray, np.ndarray]:
    """One of scikit-learn's datasets, such as ``make_moons``, with the examples as columns: X and Y of (1, m)."""
    try:
        from sklearn import datasets
    except ImportError as error:
        raise ImportError(f"this example needs scikit-learn: {install('demo')}") from error
    X, y = getattr(datasets, dataset)(**options)
    return np.ascontiguousarray(X.T), y.reshape(1, -1)
