"""By hand: plain NumPy, as a student of the course writes it, and with planned buffers, as an expert would; and C.

The two of NumPy exist for the three models of the benchmarks: logistic regression, and two layers with a sigmoid or a
softmax. C exists where there is no large product, which is BLAS's work.
"""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np

from benchmarks.peers import Parameters, Peer
from benchmarks.problems import Problem

# -- plain ------------------------------------------------------------------------------------------------------------


def plain(problem: Problem) -> Peer:
    """Vectorized, with a new array for every result: the formulas of the notes, line by line."""
    if len(problem.sizes) == 2:
        return _plain_logistic_regression(problem)
    return _plain_sigmoid(problem) if problem.binary else _plain_softmax(problem)


def _plain_logistic_regression(problem: Problem) -> Peer:
    X, Y = problem.data
    rate, m = problem.learning_rate, problem.m
    W, b = problem.parameters.values()

    def step() -> float:
        nonlocal W, b
        Z = np.dot(W, X) + b
        A = 1 / (1 + np.exp(-Z))
        J = -np.sum(Y * np.log(A) + (1 - Y) * np.log(1 - A)) / m
        dZ = (A - Y) / m
        dW = np.dot(dZ, X.T)
        db = np.sum(dZ, axis=1, keepdims=True)
        W = W - rate * dW
        b = b - rate * db
        return float(J)

    def restart(parameters: Parameters) -> None:
        nonlocal W, b
        W, b = parameters.values()

    return Peer(step, lambda: {"W1": W, "b1": b}, restart)


def _plain_sigmoid(problem: Problem) -> Peer:
    X, Y = problem.data
    rate, m = problem.learning_rate, problem.m
    W1, b1, W2, b2 = problem.parameters.values()

    def step() -> float:
        nonlocal W1, b1, W2, b2
        Z1 = np.dot(W1, X) + b1
        A1 = np.tanh(Z1)
        Z2 = np.dot(W2, A1) + b2
        A2 = 1 / (1 + np.exp(-Z2))
        J = -np.sum(Y * np.log(A2) + (1 - Y) * np.log(1 - A2)) / m
        dZ2 = (A2 - Y) / m
        dW2 = np.dot(dZ2, A1.T)
        db2 = np.sum(dZ2, axis=1, keepdims=True)
        dZ1 = np.dot(W2.T, dZ2) * (1 - A1**2)
        dW1 = np.dot(dZ1, X.T)
        db1 = np.sum(dZ1, axis=1, keepdims=True)
        W1 = W1 - rate * dW1
        b1 = b1 - rate * db1
        W2 = W2 - rate * dW2
        b2 = b2 - rate * db2
        return float(J)

    def restart(parameters: Parameters) -> None:
        nonlocal W1, b1, W2, b2
        W1, b1, W2, b2 = parameters.values()

    return Peer(step, lambda: {"W1": W1, "b1": b1, "W2": W2, "b2": b2}, restart)


def _plain_softmax(problem: Problem) -> Peer:
    X, Y = problem.data
    rate, m = problem.learning_rate, problem.m
    W1, b1, W2, b2 = problem.parameters.values()

    def step() -> float:
        nonlocal W1, b1, W2, b2
        Z1 = np.dot(W1, X) + b1
        A1 = np.tanh(Z1)
        Z2 = np.dot(W2, A1) + b2
        T = np.exp(Z2 - np.max(Z2, axis=0, keepdims=True))
        A2 = T / np.sum(T, axis=0, keepdims=True)
        J = -np.sum(Y * np.log(A2)) / m
        dZ2 = (A2 - Y) / m
        dW2 = np.dot(dZ2, A1.T)
        db2 = np.sum(dZ2, axis=1, keepdims=True)
        dZ1 = np.dot(W2.T, dZ2) * (1 - A1**2)
        dW1 = np.dot(dZ1, X.T)
        db1 = np.sum(dZ1, axis=1, keepdims=True)
        W1 = W1 - rate * dW1
        b1 = b1 - rate * db1
        W2 = W2 - rate * dW2
        b2 = b2 - rate * db2
        return float(J)

    def restart(parameters: Parameters) -> None:
        nonlocal W1, b1, W2, b2
        W1, b1, W2, b2 = parameters.values()

    return Peer(step, lambda: {"W1": W1, "b1": b1, "W2": W2, "b2": b2}, restart)


# -- with planned buffers ---------------------------------------------------------------------------------------------


class Flat:
    """The parameters in one array, and their gradients in another, so that the update is two calls."""

    def __init__(self, first: Parameters) -> None:
        self.P = np.concatenate([value.ravel() for value in first.values()])
        self.G = np.empty_like(self.P)
        ends = np.cumsum([value.size for value in first.values()])[:-1]
        shapes = [value.shape for value in first.values()]
        self.names = list(first)
        self.values = [part.reshape(shape) for part, shape in zip(np.split(self.P, ends), shapes, strict=True)]
        self.gradients = [part.reshape(shape) for part, shape in zip(np.split(self.G, ends), shapes, strict=True)]

    def parameters(self) -> Parameters:
        """Views of the flat array, by name."""
        return dict(zip(self.names, self.values, strict=True))

    def restart(self, parameters: Parameters) -> None:
        """Write these parameters into the flat array."""
        for value, first in zip(self.values, parameters.values(), strict=True):
            value[...] = first


# Common to the three below: results go into buffers, in place where the operand is done with; 1/m is folded into the
# learning rate; sums are products with a vector of ones, which NumPy hands to BLAS; and with e = exp(-z),
# -log a = log(1 + e) and -log(1 - a) = log(1 + e) + z, so that the cost takes one logarithm.


def planned(problem: Problem) -> Peer:
    """No new array in a step, and as few calls as the writer could find."""
    if len(problem.sizes) == 2:
        return _planned_logistic_regression(problem)
    return _planned_sigmoid(problem) if problem.binary else _planned_softmax(problem)


def _planned_logistic_regression(problem: Problem) -> Peer:
    X, Y = problem.data
    m, dtype = problem.m, X.dtype.type
    flat = Flat(problem.parameters)
    P, G = flat.P, flat.G
    W, b = flat.values
    dW, db = flat.gradients
    db = db.reshape(1)
    rate, one = dtype(problem.learning_rate / m), dtype(1)
    Z, E = np.empty((1, m), dtype), np.empty((1, m), dtype)
    ones, is_0, z = np.ones(m, dtype), (1 - Y).ravel(), Z.ravel()
    XT = X.T

    def step() -> float:
        np.dot(W, X, Z)
        np.add(Z, b, Z)
        np.negative(Z, E)
        np.exp(E, E)
        np.add(E, one, E)
        J = is_0.dot(z)
        np.log(E, Z)
        J += ones.dot(z)
        np.reciprocal(E, E)
        np.subtract(E, Y, E)
        np.dot(E, XT, dW)
        np.dot(E, ones, db)
        np.multiply(G, rate, G)
        np.subtract(P, G, P)
        return float(J) / m

    return Peer(step, flat.parameters, flat.restart)


def _planned_sigmoid(problem: Problem) -> Peer:
    X, Y = problem.data
    m, dtype = problem.m, X.dtype.type
    n_h = problem.sizes[1]
    flat = Flat(problem.parameters)
    P, G = flat.P, flat.G
    W1, b1, W2, _ = flat.values
    dW1, db1, _, _ = flat.gradients
    db1 = db1.reshape(n_h)
    Wb2, dWb2 = (array[-n_h - 1 :].reshape(1, n_h + 1) for array in (P, G))  # W2 and b2, next to each other
    rate, one = dtype(problem.learning_rate / m), dtype(1)
    A1_1 = np.ones((n_h + 1, m), dtype)  # A1 above a row of ones, by which b2 is multiplied
    A1, dZ1 = A1_1[:-1], np.empty((n_h, m), dtype)
    Z2, E = np.empty((1, m), dtype), np.empty((1, m), dtype)
    ones, is_0, z = np.ones(m, dtype), (1 - Y).ravel(), Z2.ravel()
    XT, A1_1T, W2T = X.T, A1_1.T, W2.T

    def step() -> float:
        np.dot(W1, X, A1)
        np.add(A1, b1, A1)
        np.tanh(A1, A1)
        np.dot(Wb2, A1_1, Z2)
        np.negative(Z2, E)
        np.exp(E, E)
        np.add(E, one, E)
        J = is_0.dot(z)
        np.log(E, Z2)
        J += ones.dot(z)
        np.reciprocal(E, E)
        np.subtract(E, Y, E)  # dZ2, times m
        np.dot(E, A1_1T, dWb2)
        np.multiply(W2T, E, dZ1)
        np.multiply(A1, A1, A1)
        np.subtract(one, A1, A1)
        np.multiply(dZ1, A1, dZ1)
        np.dot(dZ1, XT, dW1)
        np.dot(dZ1, ones, db1)
        np.multiply(G, rate, G)
        np.subtract(P, G, P)
        return float(J) / m

    return Peer(step, flat.parameters, flat.restart)


def _planned_softmax(problem: Problem) -> Peer:
    X, Y = problem.data
    m, dtype = problem.m, X.dtype.type
    _, n_h, n_y = problem.sizes
    flat = Flat(problem.parameters)
    P, G = flat.P, flat.G
    W1, b1, W2, b2 = flat.values
    dW1, db1, dW2, db2 = flat.gradients
    db1, db2 = db1.reshape(n_h), db2.reshape(n_y)
    rate, one = dtype(problem.learning_rate / m), dtype(1)
    A1, dZ1 = np.empty((n_h, m), dtype), np.empty((n_h, m), dtype)
    Z2, row = np.empty((n_y, m), dtype), np.empty((1, m), dtype)
    ones, ones_y, y, z = np.ones(m, dtype), np.ones((1, n_y), dtype), Y.ravel(), Z2.ravel()
    XT, A1T, W2T = X.T, A1.T, W2.T

    def step() -> float:
        np.dot(W1, X, A1)
        np.add(A1, b1, A1)
        np.tanh(A1, A1)
        np.dot(W2, A1, Z2)
        np.add(Z2, b2, Z2)
        np.maximum.reduce(Z2, axis=0, out=row, keepdims=True)
        np.subtract(Z2, row, Z2)
        J = -y.dot(z)
        np.exp(Z2, Z2)
        np.dot(ones_y, Z2, row)
        np.divide(Z2, row, Z2)
        np.log(row, row)
        J += ones.dot(row[0])
        np.subtract(Z2, Y, Z2)  # dZ2, times m
        np.dot(Z2, A1T, dW2)
        np.dot(Z2, ones, db2)
        np.dot(W2T, Z2, dZ1)
        np.multiply(A1, A1, A1)
        np.subtract(one, A1, A1)
        np.multiply(dZ1, A1, dZ1)
        np.dot(dZ1, XT, dW1)
        np.dot(dZ1, ones, db1)
        np.multiply(G, rate, G)
        np.subtract(P, G, P)
        return float(J) / m

    return Peer(step, flat.parameters, flat.restart)


# -- in C -------------------------------------------------------------------------------------------------------------

C = Path(__file__).with_name("by_hand.c")


def has_c(problem: Problem) -> bool:
    """Whether there is C by hand: for one output and at most one small hidden layer, of whole vectors of units."""
    n_x, *hidden, n_y = problem.sizes
    return n_y == 1 and n_x <= 100 and len(hidden) <= 1 and all(n % 4 == 0 and n <= 64 for n in hidden)


class _Parameters(ctypes.Structure):
    _fields_ = [(name, ctypes.c_void_p) for name in ("W1", "b1", "W2", "b2")]


def in_c(problem: Problem) -> Peer:
    """One pass over tiles of examples, on one thread, in the file beside this one; built as compiled steps are."""
    from tinygrad_dls.compiler.native.building import library
    from tinygrad_dls.compiler.native.vectors import header

    n_x, *hidden, _ = problem.sizes
    sizes = f"#define NX {n_x}\n#define NH {hidden[0] if hidden else 0}\n#define M {problem.m}\n"
    run = library(f"{header(problem.dtype)}\n{sizes}{C.read_text()}").step
    run.argtypes, run.restype = [ctypes.c_void_p] * 3 + [ctypes.c_double], ctypes.c_double
    own = {name: first.copy() for name, first in problem.parameters.items()}
    places = [x.ctypes.data_as(ctypes.c_void_p) for x in own.values()]
    table = _Parameters(*places) if hidden else _Parameters(None, None, *places)
    X, Y = (np.ascontiguousarray(x).ctypes.data_as(ctypes.c_void_p) for x in problem.data)  # they hold their arrays
    parameters, rate = ctypes.byref(table), problem.learning_rate

    def step() -> float:
        return float(run(parameters, X, Y, rate))

    def restart(first: Parameters) -> None:
        for value, x in zip(own.values(), first.values(), strict=True):
            value[...] = x

    return Peer(step, lambda: own, restart)
