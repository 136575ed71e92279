"""The gradients that the notes derive by hand, in plain NumPy: what autodiff is held against.

Examples are columns. ``dZ`` stands for ``dJ/dZ``, and J is the mean over the m examples, so the ``1/m`` appears once,
in the first ``dZ`` of the backward pass. Nothing here knows tinygrad_dls.
"""

from __future__ import annotations

import numpy as np

Arrays = dict[str, np.ndarray]


def sigmoid(Z: np.ndarray) -> np.ndarray:
    """``1 / (1 + e^-Z)``, without an exponent above 0."""
    return np.exp(np.minimum(Z, 0)) / (1 + np.exp(-np.abs(Z)))


# Each hidden activation with its derivative, which the notes write in terms of A where they can.
ACTIVATIONS = {
    "sigmoid": (sigmoid, lambda Z, A: A * (1 - A)),
    "tanh": (np.tanh, lambda Z, A: 1 - A**2),
    "relu": (lambda Z: np.maximum(Z, 0), lambda Z, A: Z > 0),
}


def cost(A: np.ndarray, Y: np.ndarray) -> float:
    """The negative log-likelihood, mean over the examples."""
    m = Y.shape[1]
    return float(-np.sum(Y * np.log(A) + (1 - Y) * np.log(1 - A)) / m)


def logistic_regression(X: np.ndarray, Y: np.ndarray, W: np.ndarray, b: np.ndarray) -> tuple[float, Arrays]:
    """Cost and gradients of logistic regression: W is (1, n_x), b is (1, 1)."""
    m = X.shape[1]
    A = sigmoid(W @ X + b)
    dZ = (A - Y) / m
    return cost(A, Y), {"dZ": dZ, "dW": dZ @ X.T, "db": np.sum(dZ, axis=1, keepdims=True)}


def two_layer_network(
    X: np.ndarray, Y: np.ndarray, parameters: Arrays, activation: str = "tanh"
) -> tuple[float, Arrays]:
    """Cost and gradients of the network with one hidden layer and a sigmoid output."""
    g, derivative = ACTIVATIONS[activation]
    W1, b1, W2, b2 = (parameters[name] for name in ("W1", "b1", "W2", "b2"))
    m = X.shape[1]

    Z1 = W1 @ X + b1
    A1 = g(Z1)
    A2 = sigmoid(W2 @ A1 + b2)

    dZ2 = (A2 - Y) / m
    dW2 = dZ2 @ A1.T
    db2 = np.sum(dZ2, axis=1, keepdims=True)
    dA1 = W2.T @ dZ2
    dZ1 = dA1 * derivative(Z1, A1)
    dW1 = dZ1 @ X.T
    db1 = np.sum(dZ1, axis=1, keepdims=True)
    return cost(A2, Y), {"dZ2": dZ2, "dW2": dW2, "db2": db2, "dA1": dA1, "dZ1": dZ1, "dW1": dW1, "db1": db1}


def largest_difference(a: np.ndarray, b: np.ndarray) -> float:
    """``max |a - b|`` relative to the largest entry of both: 0 where they agree to the last bit."""
    scale = max(np.abs(a).max(), np.abs(b).max())
    return float(np.abs(a - b).max() / scale) if scale else 0.0
