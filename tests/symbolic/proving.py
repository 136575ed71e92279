"""Symbols, and what it means that formulas are the same."""

import numpy as np
import sympy

import tinygrad_dls as tg
from tinygrad_dls import nn
from tinygrad_dls.symbolic import SymbolicArray, same, symbols, with_symbols


def variable(array):
    return tg.Tensor(array, requires_grad=True)


def row_sums(a):
    return np.sum(a, axis=1, keepdims=True)


def assert_all_same(got, by_hand):
    assert got.keys() == by_hand.keys()
    for name, expected in by_hand.items():
        assert got[name].shape == expected.shape, name
        assert same(got[name], expected), name


z, y, a = symbols("z", (1, 1)), symbols("y", (1, 1)), symbols("a", (1, 1))
LAYERS = {"sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "relu": nn.ReLU}
# each activation, and its derivative, as the notes write them
ACTIVATIONS = {
    "sigmoid": (lambda Z: 1 / (1 + np.exp(-Z)), lambda Z, A: A * (1 - A)),
    "tanh": (np.tanh, lambda Z, A: 1 - A**2),
    "relu": (lambda Z: np.maximum(Z, 0), lambda Z, A: Z > 0),
}


def two_layers(n_x, n_h, m, activation, composed):
    """The gradients of the model of layer objects by autodiff, and what they depend on, by the course's names."""
    layers = [nn.Linear(n_x, n_h, rng=0), LAYERS[activation](), nn.Linear(n_h, 1, rng=0)]
    model = with_symbols(nn.Sequential(*layers, nn.Sigmoid()) if composed else nn.Sequential(*layers))
    X, Y = symbols("X", (n_x, m)), symbols("Y", (1, m))
    outputs, output = {}, X
    for layer, name in zip(model.layers, ["Z1", "A1", "Z2", "A2"], strict=False):
        output = outputs[name] = layer(output)
    J = tg.binary_cross_entropy(output, Y) if composed else tg.binary_cross_entropy_with_logits(output, Y)
    J.backward()
    outputs |= dict(model.named_parameters())
    return {f"d{name}": t.grad for name, t in outputs.items()}, {name: t.data for name, t in outputs.items()}, X, Y


def by_hand(v, X, Y, derivative, composed):
    """The notes' backward pass, in terms of W2, Z1, A1 and A2."""
    m = Y.shape[1]
    d = {"dA2": (-Y / v["A2"] + (1 - Y) / (1 - v["A2"])) / m} if composed else {}
    d["dZ2"] = (v["A2"] - Y) / m
    d["dW2"] = d["dZ2"] @ v["A1"].T
    d["db2"] = row_sums(d["dZ2"])
    d["dA1"] = v["W2"].T @ d["dZ2"]
    d["dZ1"] = d["dA1"] * derivative(v["Z1"], v["A1"])
    d["dW1"] = d["dZ1"] @ X.T
    d["db1"] = row_sums(d["dZ1"])
    return d


def probabilities(n_y, m):
    """Columns of symbols that sum to 1."""
    free = symbols("Y", (n_y - 1, m))
    return np.concatenate([free, 1 - np.sum(free, axis=0, keepdims=True)])


x23, x32, x3, x2, x0 = symbols("x", (2, 3)), symbols("x", (3, 2)), symbols("x", (3,)), symbols("x", (2,)), symbols("x")
y23, y13, y34, y3, y2 = (symbols("y", shape) for shape in ((2, 3), (1, 3), (3, 4), (3,), (2,)))
p2, p3 = symbols("p", (2,), positive=True), symbols("p", (3,), positive=True)


def differentiated(formula, array):
    """SymPy's derivatives of one formula by each entry of an array of symbols."""
    flat = [sympy.diff(formula, entry) for entry in np.asarray(array).flat]
    return SymbolicArray(flat).reshape(array.shape)
