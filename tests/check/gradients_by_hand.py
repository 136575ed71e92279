"""A problem, and its gradients by hand."""

import numpy as np

import tinygrad_dls as tg
from examples.hand_derived import ACTIVATIONS, sigmoid

LAYERS = {"tanh": tg.nn.Tanh, "sigmoid": tg.nn.Sigmoid, "relu": tg.nn.ReLU}


def problem(activation="tanh", n_x=4, n_h=4, m=7, seed=0):
    """A network of square W1 (so that a wrong transpose has the right shape), its data, and every array by hand."""
    rng = np.random.default_rng(seed)
    X, Y = rng.normal(size=(n_x, m)), np.array([[0, 1, 1, 0, 1, 0, 1, 1, 0][:m]])
    model = tg.nn.TwoLayerNetwork(n_x, n_h, activation=LAYERS[activation](), rng=1, init=tg.init.xavier)
    for p in model.parameters():
        p.data = p.data + 0.1 * rng.normal(size=p.shape)
    return model, X, Y, by_hand(model, X, Y, activation)


def by_hand(model, X, Y, activation="tanh", *, W2_of_dA1=None):
    g, derivative = ACTIVATIONS[activation]
    W1, b1, W2, b2 = (p.data for p in model.parameters())
    m = X.shape[1]
    Z1 = W1 @ X + b1
    A1 = g(Z1)
    Z2 = W2 @ A1 + b2
    A2 = sigmoid(Z2)
    dA2 = (-Y / A2 + (1 - Y) / (1 - A2)) / m
    dZ2 = (A2 - Y) / m
    dA1 = (W2 if W2_of_dA1 is None else W2_of_dA1).T @ dZ2
    dZ1 = dA1 * derivative(Z1, A1)
    return {
        "Z1": Z1, "A1": A1, "Z2": Z2, "A2": A2, "dA2": dA2, "dZ2": dZ2, "dW2": dZ2 @ A1.T, "db2": row_sums(dZ2),
        "dA1": dA1, "dZ1": dZ1, "dW1": dZ1 @ X.T, "db1": row_sums(dZ1),
    }  # fmt: skip


def row_sums(x):
    return x.sum(axis=1, keepdims=True)


def backward(s):
    return {name: x for name, x in s.items() if name.startswith("d")}


STRENGTH = 0.7
PENALTIES = {
    "a term of the cost is missing": ("dW1", lambda s, p: s["dW1"]),
    "a term of the cost is missing ": ("dW2", lambda s, p: s["dW2"]),
    "another factor of the L2 term": ("dW1", lambda s, p: s["dW1"] + STRENGTH * p["W1"]),
    "another factor of the L2 term ": ("dW2", lambda s, p: s["dW2"] + 2 * STRENGTH / 7 * p["W2"]),
    "another factor of the L2 term  ": ("dW2", lambda s, p: s["dW2"] - STRENGTH / 7 * p["W2"]),
    "an L2 term on b": ("db1", lambda s, p: s["db1"] + STRENGTH / 7 * p["b1"]),
    "1/m is missing": ("dW1", lambda s, p: 7 * s["dW1"] + STRENGTH / 7 * p["W1"]),
    "1/m is missing ": ("dW1", lambda s, p: 7 * s["dW1"] + STRENGTH * p["W1"]),
    "sign": ("dW2", lambda s, p: -s["dW2"] + STRENGTH / 7 * p["W2"]),
    "Z where A belongs in the product": ("dW2", lambda s, p: s["dZ2"] @ s["Z1"].T + STRENGTH / 7 * p["W2"]),
    "dA where dZ belongs": ("dW1", lambda s, p: s["dA1"] @ problem()[1].T + STRENGTH / 7 * p["W1"]),
}


# what is planted elsewhere, in test_regularised.py
OF_REGULARISED = {
    "another array in the L2 term", "the mask is not applied backward", "it is not divided by keep_prob",
    "the mask of another layer", "the mask is turned round", "a mask drawn anew", "the mask is not applied forward",
    "A is not divided by keep_prob", "A is masked and divided twice", "labels of shape (m, 1)",
}  # fmt: skip
