"""Both models of the notes, with four examples and short numbers: what one person can follow with a pencil.

Logistic regression is written as in the notes, a linear part, a sigmoid, and the cost of the probabilities, so that
``dL/da`` and ``da/dz`` are steps of their own. The network ends in the fused cost, as one trains it.
"""

from __future__ import annotations

import numpy as np

import tinygrad_dls as tg

X = np.array([[1.0, 2.0, 0.0, 1.0], [0.0, 1.0, 1.0, 1.0]])  # an example is a column
Y = np.array([[1, 0, 0, 1]])


def logistic_regression() -> tuple[tg.nn.Module, tg.Tensor]:
    """Make the model, at parameters for which Z is 2, 1, -1, 0, and its cost."""
    model = tg.nn.Sequential(tg.nn.Linear(2, 1, rng=0), tg.nn.Sigmoid())
    model.load_state_dict({"W": [[1.0, -2.0]], "b": [[1.0]]})
    return model, tg.binary_cross_entropy(model(X), Y)


def two_layer_network() -> tuple[tg.nn.Module, tg.Tensor]:
    """Make the network with two hidden units, and its cost."""
    model = tg.nn.TwoLayerNetwork(2, 2, rng=0)
    model.load_state_dict({"W1": [[1.0, -2.0], [-1.0, 1.0]], "b1": [[1.0], [0.5]], "W2": [[2.0, 1.0]], "b2": [[-0.5]]})
    return model, tg.binary_cross_entropy_with_logits(model(X), Y)
