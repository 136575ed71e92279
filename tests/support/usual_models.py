"""Costs that users write: normalisation, residual sums, and losses of plain NumPy; and their derivations."""

import numpy as np

import tinygrad_dls as tg
from tests.support.sources import LOGITS, X, Y

RNG = np.random.default_rng(0)
CLASSES = np.arange(X.shape[1])[None] % 3


def parameter(name, *shape):
    return tg.Tensor(RNG.standard_normal(shape) / 2, requires_grad=True, name=name)


W1, b1, W2, b2 = parameter("W1", 4, 2), parameter("b1", 4, 1), parameter("W2", 1, 4), parameter("b2", 1, 1)
W3, b3, W_r = parameter("W3", 3, 4), parameter("b3", 3, 1), parameter("W_r", 4, 4)
gamma, beta = parameter("gamma", 4, 1), parameter("beta", 4, 1)


def named(x, name):
    x.name = name
    return x


def normalised(X, Y, axis):
    """Layer norm and batch norm, with the names of the papers."""
    Z1 = W1 @ X + b1
    mu = named(np.mean(Z1, axis=axis, keepdims=True), "mu")
    variance = named(np.mean((Z1 - mu) ** 2, axis=axis, keepdims=True), "sigma²")
    z_norm = named((Z1 - mu) / np.sqrt(variance + 1e-8), "z_norm")
    return LOGITS(W2 @ np.tanh(gamma * z_norm + beta) + b2, Y)


def layer_norm(X, Y):
    return normalised(X, Y, 0)


def batch_norm(X, Y):
    return normalised(X, Y, 1)


def batch_norm_without_names(X, Y):
    Z1 = W1 @ X + b1
    Z = (Z1 - Z1.mean(axis=1, keepdims=True)) / np.sqrt(np.var(Z1, axis=1, keepdims=True) + 1e-8)
    return LOGITS(W2 @ np.tanh(gamma * Z + beta) + b2, Y)


def residual(X, Y):
    A1 = np.tanh(W1 @ X + b1)
    A2 = np.tanh(W_r @ A1) + A1
    return LOGITS(W2 @ (np.tanh(W_r @ A2) + A2) + b2, Y)


def output(X):
    return W2 @ np.tanh(W1 @ X + b1) + b2


def hinge(X, Y):
    return np.mean(np.maximum(0, 1 - (2 * Y - 1) * output(X)))


def squared_hinge(X, Y):
    return 1 / X.shape[1] * np.sum(np.maximum(0, 1 - Y * output(X)) ** 2)


def mse(X, Y):
    return np.sum((output(X) - Y) ** 2) / (2 * X.shape[1])


def softmax(X, Y):
    return tg.softmax_cross_entropy(W3 @ np.tanh(W1 @ X + b1) + b3, Y)


def swish(X, Y):
    Z1 = W1 @ X + b1
    return LOGITS(W2 @ (Z1 / (1 + np.exp(-Z1))) + b2, Y)


def l2(X, Y):
    return LOGITS(output(X), Y) + 0.7 / (2 * X.shape[1]) * (np.sum(W1**2) + np.sum(W2**2))


MODELS = {
    f.__name__: (f, X, CLASSES if f is softmax else Y)
    for f in (
        layer_norm, batch_norm, batch_norm_without_names, residual, hinge, squared_hinge, mse, softmax, swish, l2,
    )
}  # fmt: skip
WRITTEN = {name: tg.derive(*arguments) for name, arguments in MODELS.items()}
