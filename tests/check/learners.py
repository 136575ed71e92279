"""Backprops as learners write them: programs in the course's names, and the mistakes made in them, one line each.

`MISTAKES` lists, for each program, what is replaced by what, and what may truly be said of it. Where a mistake comes to
the same numbers as another at all weights, both are true.
"""

import functools
import itertools
from typing import Any

import numpy as np

import tinygrad_dls as tg

SIGMOID = """
def sigmoid(z):
    return 1 / (1 + np.exp(-z))
"""

LOGISTIC = (
    SIGMOID
    + """
def run(X, Y, p):
    w, b = p["W"].T, p["b"][0, 0]
    m = X.shape[1]
    Z = np.dot(w.T, X) + b
    A = sigmoid(Z)
    dZ = A - Y
    dw = 1 / m * np.dot(X, dZ.T)
    db = 1 / m * np.sum(dZ)
    return {"Z": Z, "A": A}, {"dZ": dZ}, {"dw": dw, "db": db}
"""
)

LOOP = (
    SIGMOID
    + """
def run(X, Y, p):
    w, b = p["W"].T, p["b"][0, 0]
    n, m = X.shape
    Z, A, dZ = np.zeros((1, m)), np.zeros((1, m)), np.zeros((1, m))
    dw, db = np.zeros((n, 1)), 0
    for i in range(m):
        Z[0, i] = np.dot(w[:, 0], X[:, i]) + b
        A[0, i] = sigmoid(Z[0, i])
    for i in range(m):
        dZ[0, i] = A[0, i] - Y[0, i]
        dw += X[:, i : i + 1] * dZ[0, i]
        db += dZ[0, i]
    dw = dw / m
    db = db / m
    return {"Z": Z, "A": A}, {"dZ": dZ}, {"dw": dw, "db": db}
"""
)

PLANAR = (
    SIGMOID
    + """
def g(Z):
    return np.tanh(Z)
def run(X, Y, p):
    m = X.shape[1]
    W1, b1, W2, b2 = (p[name].copy() for name in ("W1", "b1", "W2", "b2"))
    Z1 = np.dot(W1, X) + b1
    A1 = g(Z1)
    Z2 = np.dot(W2, A1) + b2
    A2 = sigmoid(Z2)
    dZ2 = A2 - Y
    dW2 = 1 / m * np.dot(dZ2, A1.T)
    db2 = 1 / m * np.sum(dZ2, axis=1, keepdims=True)
    dA1 = np.dot(W2.T, dZ2)
    dZ1 = dA1 * (1 - np.power(A1, 2))
    dW1 = 1 / m * np.dot(dZ1, X.T)
    db1 = 1 / m * np.sum(dZ1, axis=1, keepdims=True)
    cache = {"Z1": Z1, "A1": A1, "Z2": Z2, "A2": A2}
    return cache, {"dZ2": dZ2, "dZ1": dZ1}, {"dW1": dW1, "db1": db1, "dW2": dW2, "db2": db2}
"""
)
HIDDEN_SIGMOID = PLANAR.replace("np.tanh(Z)", "sigmoid(Z)").replace("(1 - np.power(A1, 2))", "A1 * (1 - A1)")
REGRESSION = PLANAR.replace("A2 = sigmoid(Z2)", "A2 = Z2").replace("dZ2 = A2 - Y", "dZ2 = 2 * (A2 - Y)")

DEEP = (
    SIGMOID
    + """
def relu(Z):
    return np.maximum(0, Z)
def relu_backward(dA, Z):
    dZ = np.array(dA, copy=True)
    dZ[Z <= 0] = 0
    return dZ
def sigmoid_backward(dA, Z):
    s = sigmoid(Z)
    return dA * s * (1 - s)
def linear_backward(dZ, cache):
    A_prev, W, b = cache
    m = A_prev.shape[1]
    dW = 1 / m * np.dot(dZ, A_prev.T)
    db = 1 / m * np.sum(dZ, axis=1, keepdims=True)
    dA_prev = np.dot(W.T, dZ)
    return dA_prev, dW, db
def backward(dA, cache, activation):
    linear_cache, Z = cache
    dZ = relu_backward(dA, Z) if activation == "relu" else sigmoid_backward(dA, Z)
    return (dZ, *linear_backward(dZ, linear_cache))
def run(X, Y, p):
    caches, A, L = [], X, len(p) // 2
    cache, on_the_way, grads = {}, {}, {}
    for l in range(1, L + 1):
        A_prev, W, b = A, p["W" + str(l)].copy(), p["b" + str(l)].copy()
        Z = np.dot(W, A_prev) + b
        A = relu(Z) if l < L else sigmoid(Z)
        caches.append(((A_prev, W, b), Z))
        cache["Z" + str(l)], cache["A" + str(l)] = Z, A
    AL = A
    dA = -(np.divide(Y, AL) - np.divide(1 - Y, 1 - AL))
    for l in reversed(range(L)):
        current_cache = caches[l]
        on_the_way["dA" + str(l + 1)] = dA
        dZ, dA_prev, dW, db = backward(dA, current_cache, "relu" if l < L - 1 else "sigmoid")
        on_the_way["dZ" + str(l + 1)] = dZ
        grads["dW" + str(l + 1)] = dW
        grads["db" + str(l + 1)] = db
        dA = dA_prev
    return cache, on_the_way, grads
"""
)

SOFTMAX = """
def softmax(Z):
    e = np.exp(Z - np.max(Z, axis=0, keepdims=True))
    return e / np.sum(e, axis=0, keepdims=True)
def run(X, Y, p):
    m = X.shape[1]
    W1, b1, W2, b2, W3, b3 = (p[name].copy() for name in ("W1", "b1", "W2", "b2", "W3", "b3"))
    Z1 = np.dot(W1, X) + b1
    A1 = np.maximum(0, Z1)
    Z2 = np.dot(W2, A1) + b2
    A2 = np.maximum(0, Z2)
    Z3 = np.dot(W3, A2) + b3
    A3 = softmax(Z3)
    dZ3 = A3 - Y
    dW3 = 1 / m * np.dot(dZ3, A2.T)
    db3 = 1 / m * np.sum(dZ3, axis=1, keepdims=True)
    dA2 = np.dot(W3.T, dZ3)
    dZ2 = np.multiply(dA2, np.int64(A2 > 0))
    dW2 = 1 / m * np.dot(dZ2, A1.T)
    db2 = 1 / m * np.sum(dZ2, axis=1, keepdims=True)
    dA1 = np.dot(W2.T, dZ2)
    dZ1 = np.multiply(dA1, np.int64(A1 > 0))
    dW1 = 1 / m * np.dot(dZ1, X.T)
    db1 = 1 / m * np.sum(dZ1, axis=1, keepdims=True)
    cache = {"Z1": Z1, "A1": A1, "Z2": Z2, "A2": A2, "Z3": Z3, "A3": A3}
    on_the_way = {"dZ3": dZ3, "dA2": dA2, "dZ2": dZ2, "dA1": dA1, "dZ1": dZ1}
    return cache, on_the_way, {"dW3": dW3, "db3": db3, "dW2": dW2, "db2": db2, "dW1": dW1, "db1": db1}
"""

AXIS = "axis=0 for axis=1"
BRACKET = "a bracket is missing"
COST = "the gradient of another cost"
COUNT = "a mean over another count"
DA = "dA where dZ belongs"
ENTRY = "an entry-wise product for a matrix product"
ERROR = "a slip in A - Y"
EXTRA = "an extra factor"
FACTOR = "a constant factor"
FLIPPED = "Y - A for A - Y"
FORWARD = "A or Z where a gradient belongs"
FROM_DW = "db from dW"
G = "another activation"
GATE = "ReLU's gate from the wrong array"
IN_PLACE = "changed in place"
LABELS = "other labels"
LAYER = "an array of another layer"
LOSS = "a slip in the derivative of the loss"
MISSING = "1/m is missing"
NAMES = "a gradient under another name"
NO_DA = "dA is missing"
NO_G = "the activation is missing"
ON_TOP = "the derivative of the sigmoid on top of A - Y"
OTHER = "the derivative of another activation"
PARAMETER = "a parameter for its gradient"
ROUNDED = "A is rounded"
SCALED, MOVED, PART = "X in another scale", "X in another scale and place", "a loop that fills a part"
SIGN = "sign"
SLIP = "a slip in the derivative"
SOFT = "softmax over the wrong axis"
TRANSPOSE = "a transpose is missing"
TWICE = "the derivative twice"
UPDATED = "an update applied before the gradient"
VALUE = "a value where ReLU's gate belongs"
Z_FOR_A = "Z where A belongs in the product"
ZEROS = "all zeros"
A_FOR_Z = "A where Z belongs in the derivative"

DERIVATIVE = "dA = -(np.divide(Y, AL) - np.divide(1 - Y, 1 - AL))"
IN_A = "a slip in the activation"
IN_Z = "a slip in Z"
KEEP = "keepdims=True is missing"
LOOP_OF_DZ = "    for i in range(m):\n        dZ"

MISTAKES: dict[str, tuple[str, str, str, set[str]]] = {
    # -- logistic regression ------------------------------------------------------------------------------------------
    "dw of dZ * A": (LOGISTIC, "np.dot(X, dZ.T)", "np.dot(X, (dZ * A).T)", {EXTRA}),
    "dw of A for dZ": (LOGISTIC, "np.dot(X, dZ.T)", "np.dot(X, A.T)", {FORWARD}),
    "dw of Z for dZ": (LOGISTIC, "np.dot(X, dZ.T)", "np.dot(X, Z.T)", {FORWARD, ZEROS}),
    "dw of Y for dZ": (LOGISTIC, "np.dot(X, dZ.T)", "np.dot(X, Y.T)", {FORWARD}),
    "db the sum of dw": (LOGISTIC, "np.sum(dZ)", "np.sum(dw)", {FROM_DW}),
    "db the mean of A": (LOGISTIC, "np.sum(dZ)", "np.sum(A)", {FORWARD}),
    "db without a sum": (LOGISTIC, "np.sum(dZ)", "dZ", {"the sum over the examples is missing", AXIS}),
    "the error squared": (LOGISTIC, "dZ = A - Y", "dZ = (A - Y) ** 2", {ERROR}),
    "the error's size": (LOGISTIC, "dZ = A - Y", "dZ = np.abs(A - Y)", {ERROR, LOSS}),
    "A + Y": (LOGISTIC, "dZ = A - Y", "dZ = A + Y", {ERROR}),
    "the loss for dZ": (LOGISTIC, "dZ = A - Y", "dZ = -(Y * np.log(A) + (1 - Y) * np.log(1 - A))", {ERROR}),
    "A (1 - A) (A - Y)": (LOGISTIC, "dZ = A - Y", "dZ = A * (1 - A) * (A - Y)", {ON_TOP}),
    "the mean of A alone": (LOGISTIC, "dZ = A - Y", "dZ = 1 / m * A - Y", {ERROR}),
    "the labels' other side": (LOGISTIC, "dZ = A - Y", "dZ = A - (1 - Y)", {LABELS, FLIPPED, SIGN}),
    "no labels": (LOGISTIC, "dZ = A - Y", "dZ = A", {"Y is missing", FORWARD}),
    "predictions for A": (LOGISTIC, "A = sigmoid(Z)", "A = (sigmoid(Z) > 0.5).astype(float)", {ROUNDED}),
    "tanh for sigmoid": (LOGISTIC, "A = sigmoid(Z)", "A = np.tanh(Z)", {G}),
    "relu for sigmoid": (LOGISTIC, "A = sigmoid(Z)", "A = np.maximum(0, Z)", {G}),
    "Z for A": (LOGISTIC, "A = sigmoid(Z)", "A = Z", {NO_G}),
    "sigmoid twice": (LOGISTIC, "A = sigmoid(Z)", "A = sigmoid(sigmoid(Z))", {"the activation twice"}),
    "dw summed up": (LOGISTIC, "np.dot(X, dZ.T)", "np.sum(X * dZ)", {ENTRY}),
    "dw over all entries": (LOGISTIC, "dw = 1 / m", "dw = 1 / X.size", {COUNT}),
    "m from Y's rows": (LOGISTIC, "m = X.shape[1]", "m = Y.shape[0]", {MISSING}),
    "m from X's rows": (LOGISTIC, "m = X.shape[1]", "m = len(X)", {COUNT}),
    "dw rounded down": (
        LOGISTIC,
        "dw = 1 / m * np.dot(X, dZ.T)",
        "dw = np.dot(X, dZ.T) // m",
        {"integer division", "all zeros"},
    ),
    "dw times w": (LOGISTIC, "np.dot(X, dZ.T)", "np.dot(X, dZ.T) * w", {EXTRA, ZEROS}),
    "dw with a minus": (LOGISTIC, "dw = 1 / m", "dw = -1 / m", {SIGN}),
    "X squared": (LOGISTIC, "np.dot(X, dZ.T)", "np.dot(X ** 2, dZ.T)", {EXTRA}),
    "w returned": (LOGISTIC, '"dw": dw', '"dw": w', {PARAMETER, ZEROS}),
    "w updated and returned": (LOGISTIC, '"dw": dw', '"dw": w - 0.1 * dw', {PARAMETER, FACTOR}),
    "db with X": (LOGISTIC, "np.sum(dZ)", "np.sum(dZ * X)", {EXTRA, FROM_DW}),
    "db with A": (LOGISTIC, "np.sum(dZ)", "np.sum(dZ * A)", {EXTRA}),
    "dw times X": (LOGISTIC, "np.dot(X, dZ.T)", "np.dot(X, dZ.T) * X", {EXTRA}),
    "1/1 + exp(-Z)": (LOGISTIC, "1 / (1 + np.exp(-z))", "1 / 1 + np.exp(-z)", {"a slip in the activation"}),
    "1/(1 + exp(Z))": (LOGISTIC, "1 / (1 + np.exp(-z))", "1 / (1 + np.exp(z))", {"a sign in the exponent"}),
    "the label squared off": (LOGISTIC, "dZ = A - Y", "dZ = A ** 2 - Y", {ERROR, LOSS}),
    "labels in a column": (LOGISTIC, "dZ = A - Y", "dZ = A - Y.T", {"labels of shape (m, 1)"}),
    "the squared error": (LOGISTIC, "dZ = A - Y", "dZ = 2 * (A - Y) * A * (1 - A)", {COST, FACTOR}),
    "twice the error": (LOGISTIC, "dZ = A - Y", "dZ = 2 * (A - Y)", {FACTOR}),
    "the error's sign": (LOGISTIC, "dZ = A - Y", "dZ = np.sign(A - Y)", set()),
    "A - 1": (LOGISTIC, "dZ = A - Y", "dZ = A - 1", {ERROR}),
    "1 - A": (LOGISTIC, "dZ = A - Y", "dZ = 1 - A", {ERROR}),
    "tanh's derivative on top": (LOGISTIC, "dZ = A - Y", "dZ = (A - Y) * (1 - A ** 2)", {ON_TOP}),
    "db without a sum or 1/m": (LOGISTIC, "1 / m * np.sum(dZ)", "dZ", {"the sum over the examples is missing", AXIS}),
    "b twice": (LOGISTIC, "np.dot(w.T, X) + b", "np.dot(w.T, X) + 2 * b", {IN_Z}),
    "exp(-2 Z)": (LOGISTIC, "np.exp(-z)", "np.exp(-2 * z)", {IN_A}),
    "exp(-|Z|)": (LOGISTIC, "np.exp(-z)", "np.exp(-np.abs(z))", {IN_A}),
    "2^-Z": (LOGISTIC, "np.exp(-z)", "2.0 ** -z", {IN_A}),
    "softmax of one": (LOGISTIC, "A = sigmoid(Z)", "A = np.exp(Z) / np.sum(np.exp(Z), axis=0)", {G}),
    "softmax along the examples": (LOGISTIC, "A = sigmoid(Z)", "A = np.exp(Z) / np.sum(np.exp(Z))", {G}),
    "b returned": (LOGISTIC, '"db": db', '"db": b', {PARAMETER, ZEROS}),
    "A where Y is 0": (SOFTMAX, "dZ3 = A3 - Y", "dZ3 = A3 * (1 - Y)", {ERROR}),
    "dW1 clipped": (PLANAR, "cache = {", "dW1 = np.clip(dW1, -0.005, 0.005); cache = {", {"clipped"}),
    "minus the labels": (LOGISTIC, "dZ = A - Y", "dZ = -Y", {"A is missing"}),
    "a prediction of int": (LOGISTIC, "dZ = A - Y", "dZ = A.astype(int) - Y", {"A is missing"}),
    "X centred backward only": (
        LOGISTIC,
        "np.dot(X, dZ.T)",
        "np.dot(X - X.mean(axis=1, keepdims=True), dZ.T)",
        {SCALED},
    ),
    "X of bytes backward only": (LOGISTIC, "np.dot(X, dZ.T)", "np.dot(255 * X, dZ.T)", {SCALED, FACTOR}),
    "X normalised forward only": (
        LOGISTIC,
        "np.dot(w.T, X)",
        "np.dot(w.T, (X - X.mean(axis=1, keepdims=True)) / X.std(axis=1, keepdims=True))",
        {SCALED},
    ),
    # -- with loops ---------------------------------------------------------------------------------------------------
    "dw overwritten": (LOOP, "dw += X", "dw = X", {"one example for all"}),
    "db overwritten": (LOOP, "db += dZ", "db = dZ", {"one example for all"}),
    "one example too few": (LOOP, LOOP_OF_DZ, "    for i in range(m - 1):\n        dZ", {"an example is missing"}),
    "one example too late": (LOOP, LOOP_OF_DZ, "    for i in range(1, m):\n        dZ", {"an example is missing"}),
    "divided in the loop": (LOOP, "dw = dw / m", "dw = dw", {MISSING}),
    "one feature too few": (
        LOOP,
        "dw = dw / m",
        "dw = np.array([dw[j] / m if j < n - 1 else [0.0] for j in range(n)])",
        {PART},
    ),
    "one feature too late": (
        LOOP,
        "dw = dw / m",
        "dw = np.array([dw[j] / m if j > 0 else [0.0] for j in range(n)])",
        {PART},
    ),
    # -- one hidden layer of tanh -------------------------------------------------------------------------------------
    "dW2 for W2": (PLANAR, "np.dot(W2.T, dZ2)", "np.dot(dW2.T, dZ2)", {"dW for W"}),
    "(1 - A)^2": (PLANAR, "(1 - np.power(A1, 2))", "np.power(1 - A1, 2)", {SLIP}),
    "1 - A^2 without brackets": (PLANAR, "dA1 * (1 - np.power(A1, 2))", "dA1 * 1 - np.power(A1, 2)", {BRACKET}),
    "1 - A^3": (PLANAR, "np.power(A1, 2)", "np.power(A1, 3)", {SLIP}),
    "1 + A^2": (PLANAR, "1 - np.power(A1, 2)", "1 + np.power(A1, 2)", {SLIP}),
    "Z^2": (PLANAR, "np.power(A1, 2)", "np.power(Z1, 2)", {"Z where A belongs in the derivative"}),
    "tanh of A": (PLANAR, "np.power(A1, 2)", "np.power(np.tanh(A1), 2)", {A_FOR_Z}),
    "A2^2": (PLANAR, "np.power(A1, 2)", "np.power(A2, 2)", {LAYER}),
    "the gate of relu": (PLANAR, "(1 - np.power(A1, 2))", "(A1 > 0)", {OTHER}),
    "the derivative alone": (PLANAR, "dA1 * (1 - np.power(A1, 2))", "(1 - np.power(A1, 2))", {NO_DA}),
    "the derivative added": (PLANAR, "dA1 * (1 - np.power(A1, 2))", "dA1 + (1 - np.power(A1, 2))", {BRACKET}),
    "dZ1 without a derivative": (PLANAR, "dA1 * (1 - np.power(A1, 2))", "dA1", {DA}),
    "dZ1 times A": (PLANAR, "(1 - np.power(A1, 2))", "(1 - np.power(A1, 2)) * A1", {EXTRA}),
    "no W2": (PLANAR, "np.dot(W2.T, dZ2)", "dZ2", {"W is missing"}),
    "A2 back through W2": (PLANAR, "np.dot(W2.T, dZ2)", "np.dot(W2.T, A2)", {FORWARD}),
    "X for A1": (PLANAR, "np.dot(dZ2, A1.T)", "np.dot(dZ2, X.T)", {LAYER}),
    "X before its scaling": (PLANAR, "np.dot(dZ1, X.T)", "np.dot(dZ1, (3 * X + 2).T)", {MOVED}),
    "X before its own scaling": (
        PLANAR,
        "np.dot(dZ1, X.T)",
        "np.dot(dZ1, ([[3], [0.2], [1]] * X + [[2], [5], [0]]).T)",
        {MOVED},
    ),
    "one unit too few": (PLANAR, "cache = {", "dW1[-1] = 0; cache = {", {PART}),
    "one feature of dW1 too few": (PLANAR, "cache = {", "dW1[:, -1] = 0; cache = {", {PART}),
    "one unit of db1 too late": (PLANAR, "cache = {", "db1[0] = 0; cache = {", {PART}),
    "A2 for A1": (PLANAR, "np.dot(dZ2, A1.T)", "np.dot(dZ2, A2.T)", {LAYER}),
    "Z1 for A1": (PLANAR, "np.dot(dZ2, A1.T)", "np.dot(dZ2, Z1.T)", {Z_FOR_A}),
    "Z1 for X": (PLANAR, "np.dot(dZ1, X.T)", "np.dot(dZ1, Z1.T)", {Z_FOR_A, LAYER}),
    "dA1 for dZ1": (PLANAR, "np.dot(dZ1, X.T)", "np.dot(dA1, X.T)", {DA}),
    "A1 for dZ1": (PLANAR, "np.dot(dZ1, X.T)", "np.dot(A1, X.T)", {FORWARD}),
    "db2 of dW2": (PLANAR, "np.sum(dZ2, axis=1", "np.sum(dW2, axis=1", {FROM_DW}),
    "db1 of dW1": (PLANAR, "1 / m * np.sum(dZ1, axis=1", "np.sum(dW1, axis=1", {FROM_DW}),
    "db1 of dZ2": (PLANAR, "np.sum(dZ1, axis=1", "np.sum(dZ2, axis=1", {LAYER}),
    "db1 of dA1": (PLANAR, "np.sum(dZ1, axis=1", "np.sum(dA1, axis=1", {DA}),
    "db1 along the units": (PLANAR, "np.sum(dZ1, axis=1", "np.sum(dZ1, axis=0", {AXIS}),
    "db1 and db2 swapped": (
        PLANAR,
        '"db1": db1, "dW2": dW2, "db2": db2',
        '"db1": db2, "dW2": dW2, "db2": db1',
        {NAMES},
    ),
    "dW2 entry by entry": (PLANAR, "np.dot(dZ2, A1.T)", "dZ2 * A1", {ENTRY}),
    "dW1 with X's rows for m": (PLANAR, "dW1 = 1 / m", "dW1 = 1 / X.shape[0]", {COUNT}),
    "dW1 with Z1's rows for m": (PLANAR, "dW1 = 1 / m", "dW1 = 1 / dZ1.shape[0]", {COUNT}),
    "half the gradient": (PLANAR, "dZ2 = A2 - Y", "dZ2 = (A2 - Y) / 2", {FACTOR}),
    "a product of all pairs": (
        PLANAR,
        "dA1 * (1 - np.power(A1, 2))",
        "np.dot(1 - np.dot(A1, A1.T), dA1)",
        {"a matrix product for an entry-wise one"},
    ),
    "dW1 of sums": (
        PLANAR,
        "np.dot(dZ1, X.T)",
        "np.sum(dZ1, axis=1, keepdims=True) * np.sum(X, axis=1)",
        {"the product of the sums for the sum of the products"},
    ),
    "minus b1": (PLANAR, "np.dot(W1, X) + b1", "np.dot(W1, X) - b1", {"a slip in Z"}),
    "no b1": (PLANAR, "np.dot(W1, X) + b1", "np.dot(W1, X)", {"b is missing"}),
    "no b2": (PLANAR, "np.dot(W2, A1) + b2", "np.dot(W2, A1)", {"b is missing"}),
    "relu for tanh": (PLANAR, "np.tanh(Z)", "np.maximum(0, Z)", {G}),
    "W2 updated first": (PLANAR, "    dA1 =", "    W2 -= 1.2 * dW2\n    dA1 =", {UPDATED}),
    "the sum of W2": (PLANAR, "np.dot(W2.T, dZ2)", "np.sum(W2) * dZ2", set()),
    "dZ2 with tanh's derivative": (PLANAR, "np.dot(W2.T, dZ2)", "np.dot(W2.T, dZ2 * (1 - A2 ** 2))", {EXTRA}),
    "dZ2 with its own derivative": (PLANAR, "np.dot(W2.T, dZ2)", "np.dot(W2.T, dZ2 * A2 * (1 - A2))", {EXTRA}),
    "dA1 for A1": (
        PLANAR,
        "    dZ1 =",
        "    dW2 = 1 / m * np.dot(dZ2, dA1.T)\n    dZ1 =",
        {"a gradient where A belongs"},
    ),
    "1 - A Z": (PLANAR, "np.power(A1, 2)", "A1 * Z1", {SLIP}),
    "dA1 times A1": (PLANAR, "(1 - np.power(A1, 2))", "A1", {SLIP}),
    "dA1 times Z1": (PLANAR, "(1 - np.power(A1, 2))", "Z1", {SLIP}),
    "1 - Z": (PLANAR, "np.power(A1, 2)", "Z1", {SLIP}),
    "1 - 2^A": (PLANAR, "np.power(A1, 2)", "np.power(2, A1)", {SLIP}),
    "leaky ReLU's derivative": (PLANAR, "(1 - np.power(A1, 2))", "np.where(Z1 > 0, 1, 0.01)", {OTHER}),
    "ELU's derivative": (PLANAR, "(1 - np.power(A1, 2))", "np.where(Z1 > 0, 1, np.exp(Z1))", {OTHER}),
    "db and dW swapped": (PLANAR, "return cache, {", "dW2, db2 = db2, dW2\n    return cache, {", {NAMES}),
    "dW2 as db2": (PLANAR, '"db2": db2', '"db2": dW2', {NAMES}),
    "updated the wrong way first": (PLANAR, "    dA1 =", "    W2 += 1.2 * dW2\n    dA1 =", {UPDATED}),
    "1/(2m) in all": (PLANAR, "1 / m *", "1 / (2 * m) *", {FACTOR}),
    "m - 1 in all": (PLANAR, "1 / m *", "1 / (m - 1) *", {FACTOR}),
    "db1 of rank 1, without 1/m": (
        PLANAR,
        "db1 = 1 / m * np.sum(dZ1, axis=1, keepdims=True)",
        "db1 = np.sum(dZ1, axis=1)",
        {KEEP, MISSING},
    ),
    "dW1 transposed, without 1/m": (
        PLANAR,
        "1 / m * np.dot(dZ1, X.T)",
        "np.dot(X, dZ1.T)",
        {TRANSPOSE, MISSING},
    ),
    "tanh at the end": (PLANAR, "A2 = sigmoid(Z2)", "A2 = np.tanh(Z2)", {G}),
    "the squared error behind tanh": (PLANAR, "A2 - Y", "2 * (A2 - Y) * A2 * (1 - A2)", {COST}),
    "ELU for tanh": (PLANAR, "np.tanh(Z)", "np.where(Z > 0, Z, np.exp(Z) - 1)", {G}),
    "2 sigmoid(Z) - 1": (PLANAR, "np.tanh(Z)", "2 * sigmoid(Z) - 1", {IN_A}),
    # -- one hidden layer of the sigmoid ------------------------------------------------------------------------------
    "A (1 + A)": (HIDDEN_SIGMOID, "A1 * (1 - A1)", "A1 * (1 + A1)", {SLIP}),
    "A 1 - A": (HIDDEN_SIGMOID, "A1 * (1 - A1)", "A1 * 1 - A1", {BRACKET}),
    "A^2 (1 - A)": (HIDDEN_SIGMOID, "A1 * (1 - A1)", "A1 ** 2 * (1 - A1)", {SLIP}),
    "A - A^2 without brackets": (HIDDEN_SIGMOID, "A1 * (1 - A1)", "A1 - np.power(A1, 2)", {BRACKET}),
    "A twice": (HIDDEN_SIGMOID, "A1 * (1 - A1)", "(A1 * (1 - A1)) ** 2", {TWICE}),
    "sigmoid of A": (HIDDEN_SIGMOID, "A1 * (1 - A1)", "sigmoid(A1) * (1 - sigmoid(A1))", {A_FOR_Z}),
    "A2 (1 - A2)": (HIDDEN_SIGMOID, "A1 * (1 - A1)", "A2 * (1 - A2)", {LAYER}),
    "1 - A^2 for A (1 - A)": (HIDDEN_SIGMOID, "A1 * (1 - A1)", "(1 - A1 ** 2)", {OTHER}),
    # -- regression ---------------------------------------------------------------------------------------------------
    "the 2 is missing": (REGRESSION, "dZ2 = 2 * (A2 - Y)", "dZ2 = A2 - Y", {FACTOR}),
    "Y - A in a regression": (REGRESSION, "2 * (A2 - Y)", "2 * (Y - A2)", {FLIPPED, SIGN}),
    "a derivative of nothing": (REGRESSION, "2 * (A2 - Y)", "2 * (A2 - Y) * A2 * (1 - A2)", {OTHER, EXTRA}),
    "the derivative twice in a regression": (
        REGRESSION,
        "(1 - np.power(A1, 2))",
        "(1 - np.power(A1, 2)) ** 2",
        {TWICE},
    ),
    "the error squared in a regression": (REGRESSION, "2 * (A2 - Y)", "2 * (A2 - Y) ** 2", {ERROR}),
    "relu at the end of a regression": (REGRESSION, "A2 = Z2", "A2 = np.maximum(0, Z2)", {G}),
    "2 A - Y in a regression": (REGRESSION, "2 * (A2 - Y)", "2 * A2 - Y", {ERROR}),
    "the absolute error": (REGRESSION, "2 * (A2 - Y)", "np.sign(A2 - Y)", {COST}),
    # -- many layers, of ReLU -----------------------------------------------------------------------------------------
    "W untransposed": (
        DEEP,
        "dA_prev = np.dot(W.T, dZ)",
        "dA_prev = np.dot(W if len(W) > 1 and W.shape[0] == W.shape[1] else W.T, dZ)",
        {TRANSPOSE},
    ),
    "dA for dZ in dA_prev": (
        DEEP,
        "return (dZ, *linear_backward(dZ, linear_cache))",
        "_, dW, db = linear_backward(dZ, linear_cache); return dZ, np.dot(linear_cache[1].T, dA), dW, db",
        {DA},
    ),
    "A_prev through W": (DEEP, "dA_prev = np.dot(W.T, dZ)", "dA_prev = np.dot(W.T, np.dot(W, A_prev) + b)", {FORWARD}),
    "the cache below": (
        DEEP,
        "current_cache = caches[l]",
        "current_cache = caches[l] if l in (0, 1, L - 1) else caches[l - 1]",
        {"the cache of another layer", LAYER},
    ),
    "the gate turned round": (DEEP, "dZ[Z <= 0] = 0", "dZ[Z > 0] = 0", {SLIP}),
    "the gate of A_prev": (
        DEEP,
        "dZ = relu_backward(dA, Z) if",
        "dZ = (relu_backward(dA, linear_cache[0]) if linear_cache[0].shape == Z.shape else relu_backward(dA, Z)) if",
        {LAYER},
    ),
    "the gate of dA": (DEEP, "dZ[Z <= 0] = 0", "dZ[dZ <= 0] = 0", {GATE}),
    "Z for dA": (DEEP, "dZ = np.array(dA, copy=True)", "dZ = np.array(Z, copy=True)", {FORWARD}),
    "relu's derivative alone": (
        DEEP,
        "dZ = np.array(dA, copy=True)\n    dZ[Z <= 0] = 0",
        "dZ = np.where(Z > 0, 1.0, 0.0)",
        {NO_DA},
    ),
    "times Z": (DEEP, "dZ[Z <= 0] = 0", "dZ = dA * Z", {VALUE}),
    "times A": (DEEP, "dZ[Z <= 0] = 0", "dZ = dA * relu(Z)", {VALUE}),
    "leaky in the backward pass": (DEEP, "dZ[Z <= 0] = 0", "dZ[Z <= 0] *= 0.1", {SLIP}),
    "relu of dA": (DEEP, "dZ[Z <= 0] = 0", "dZ = relu(dA)", {GATE}),
    "sigmoid's derivative in all": (DEEP, 'if activation == "relu"', 'if activation == "none"', {OTHER}),
    "the sigmoid's derivative in Z": (DEEP, "s = sigmoid(Z)", "s = Z", {"Z where A belongs in the derivative"}),
    "dAL = AL - Y": (DEEP, DERIVATIVE, "dA = AL - Y", {"dZ where dA belongs", ON_TOP}),
    "dAL with plus": (DEEP, "dA = -(np.divide(Y, AL)", "dA = (np.divide(Y, AL)", {SIGN, FLIPPED}),
    "dAL of the ones": (DEEP, DERIVATIVE, "dA = -np.divide(Y, AL)", {LOSS}),
    "dAL without brackets": (DEEP, DERIVATIVE, "dA = -Y / AL + (1 - Y) / 1 - AL", {LOSS}),
    "dAL the loss": (DEEP, DERIVATIVE, "dA = -Y * np.log(AL) - (1 - Y) * np.log(1 - AL)", {LOSS}),
    "the last dA for all": (
        DEEP,
        "        dA = dA_prev\n",
        "        dA = dA_prev if l == L - 1 or dA.shape[0] == 1 else dA\n",
        {LAYER},
    ),
    "leaky ReLU forward": (DEEP, "np.maximum(0, Z)", "np.maximum(0.01 * Z, Z)", {G}),
    "tanh forward": (DEEP, "np.maximum(0, Z)", "np.tanh(Z)", {G}),
    "linear forward": (DEEP, "A = relu(Z) if l < L else", "A = Z if l < L else", {NO_G}),
    "no b forward": (DEEP, "np.dot(W, A_prev) + b\n        A", "np.dot(W, A_prev)\n        A", {"b is missing"}),
    "relu at the end": (
        DEEP,
        "relu(Z) if l < L else sigmoid(Z)",
        "relu(Z) if l < L else np.clip(relu(Z), 1e-3, 0.999)",
        set(),
    ),
    "dA changed in place": (DEEP, "np.array(dA, copy=True)", "dA", {IN_PLACE}),
    "m from A_prev's rows": (DEEP, "m = A_prev.shape[1]", "m = A_prev.shape[0]", {COUNT}),
    "m from dZ's rows": (DEEP, "m = A_prev.shape[1]", "m = dZ.shape[0]", {COUNT, MISSING}),
    "dW of A": (
        DEEP,
        "np.dot(dZ, A_prev.T)",
        "np.dot(dZ, np.maximum(0, np.dot(W, A_prev) + b).T if dZ.shape == A_prev.shape else A_prev.T)",
        {LAYER},
    ),
    "dW of the gate": (
        DEEP,
        "np.dot(dZ, A_prev.T)",
        "np.dot(dZ, (A_prev > 0).T if len(A_prev) == 6 else A_prev.T)",
        {IN_PLACE},
    ),
    "1 for 0": (DEEP, "dZ[Z <= 0] = 0", "dZ[Z <= 0] = 1", {VALUE}),
    "1 where Z > 0": (DEEP, "dZ[Z <= 0] = 0", "dZ[Z > 0] = 1", {VALUE}),
    "s (1 - Z)": (DEEP, "return dA * s * (1 - s)", "return dA * s * (1 - Z)", {SLIP}),
    "the gate written into Z": (
        DEEP,
        "dZ = np.array(dA, copy=True)\n    dZ[Z <= 0] = 0",
        "Z[Z <= 0] = 0; Z[Z > 0] = 1; dZ = dA * Z",
        {IN_PLACE},
    ),
    "Z changed into A": (DEEP, "    return np.maximum(0, Z)", "    Z[Z < 0] = 0; return Z", {IN_PLACE, NO_G}),
    "no gate at all": (DEEP, "dZ[Z <= 0] = 0", "pass", {DA}),
    "both gates": (DEEP, "dZ[Z <= 0] = 0", "dZ = np.maximum(0, dA) * (Z > 0)", {GATE}),
    "Z where dA > 0": (DEEP, "dZ[Z <= 0] = 0", "dZ = Z * (dA > 0)", {VALUE}),
    "ELU's derivative for ReLU's": (DEEP, "dZ[Z <= 0] = 0", "dZ = dA * np.where(Z > 0, 1, np.exp(Z))", {OTHER}),
    "dAL of Y alone": (DEEP, "np.divide(1 - Y, 1 - AL)", "np.divide(Y, 1 - AL)", {LOSS}),
    "dAL = Y - AL": (DEEP, DERIVATIVE, "dA = Y - AL", {"dZ where dA belongs", ON_TOP, FLIPPED, SIGN}),
    "dAL of the squared error": (DEEP, DERIVATIVE, "dA = 2 * (AL - Y)", {COST}),
    "dAL multiplied": (DEEP, DERIVATIVE, "dA = -(Y * AL - (1 - Y) * (1 - AL))", {LOSS}),
    "an endless dAL": (DEEP, "np.divide(Y, AL)", "np.divide(AL, Y + 1e-300)", set()),
    "dA_prev times A_prev": (DEEP, "np.dot(W.T, dZ)", "np.dot(W.T, dZ) * A_prev", {EXTRA, VALUE}),
    "minus b in every layer": (DEEP, "np.dot(W, A_prev) + b\n", "np.dot(W, A_prev) - b\n", {IN_Z}),
    "leaky ReLU of 0.05": (DEEP, "np.maximum(0, Z)", "np.maximum(0.05 * Z, Z)", {G}),
    "softplus": (DEEP, "np.maximum(0, Z)", "np.log1p(np.exp(Z))", {G}),
    "|Z|": (DEEP, "np.maximum(0, Z)", "np.abs(Z)", {IN_A}),
    "max(0, -Z)": (DEEP, "np.maximum(0, Z)", "np.maximum(0, -Z)", {IN_A}),
    # -- softmax ------------------------------------------------------------------------------------------------------
    "A (1 - A) on top": (SOFTMAX, "dZ3 = A3 - Y", "dZ3 = A3 * (1 - A3) * (A3 - Y)", {ON_TOP}),
    "softmax over everything": (SOFTMAX, "np.sum(e, axis=0, keepdims=True)", "np.sum(e)", {SOFT}),
    "softmax's sum along the examples": (SOFTMAX, "np.sum(e, axis=0", "np.sum(e, axis=1", {SOFT}),
    "softmax without its sum": (SOFTMAX, "return e / np.sum(e, axis=0, keepdims=True)", "return e", {SOFT}),
    "the likeliest class": (SOFTMAX, "dZ3 = A3 - Y", "dZ3 = np.eye(4)[:, A3.argmax(axis=0)] - Y", {ROUNDED, ZEROS}),
    "exp(-Z)": (
        SOFTMAX,
        "e = np.exp(Z - np.max(Z, axis=0, keepdims=True))",
        "e = np.exp(-Z)",
        {"a sign in the exponent"},
    ),
    "the true class alone": (
        SOFTMAX,
        "dZ3 = A3 - Y",
        "dZ3 = (A3 - Y) * Y",
        {"only the diagonal of the softmax's derivative"},
    ),
    "two-class dA for dZ": (SOFTMAX, "dZ3 = A3 - Y", "dZ3 = -Y / A3 + (1 - Y) / (1 - A3)", {LOSS}),
    "sigmoid for softmax": (SOFTMAX, "A3 = softmax(Z3)", "A3 = 1 / (1 + np.exp(-Z3))", {G}),
    "dW2 with X": (SOFTMAX, "np.dot(dZ2, A1.T)", "np.dot(dZ2, X.T)", {LAYER}),
    "dW2 with A2": (SOFTMAX, "np.dot(dZ2, A1.T)", "np.dot(dZ2, A2.T)", {LAYER}),
    "dZ1 with the gate of dA1": (SOFTMAX, "np.int64(A1 > 0)", "np.int64(dA1 > 0)", {GATE}),
    "int(A1) for its gate": (SOFTMAX, "np.int64(A1 > 0)", "np.int64(A1)", {VALUE}),
    "dZ2 for dZ1": (SOFTMAX, "np.dot(dZ1, X.T)", "np.dot(dZ2, X.T)", {LAYER}),
    "dW1 and dW2 swapped": (
        SOFTMAX,
        '"dW2": dW2, "db2": db2, "dW1": dW1',
        '"dW2": dW1, "db2": db2, "dW1": dW2',
        {NAMES},
    ),
    "db3 over the classes": (SOFTMAX, "db3 = 1 / m * np.sum(dZ3, axis=1", "db3 = 1 / m * np.sum(dZ3, axis=0", {AXIS}),
    "a mean over the classes too": (SOFTMAX, "dZ3 = A3 - Y", "dZ3 = (A3 - Y) / len(Y)", {COUNT, FACTOR}),
    "dW3 of A3": (SOFTMAX, "np.dot(dZ3, A2.T)", "np.dot(A3, A2.T)", {FORWARD, "Y is missing"}),
    "the derivative without dA": (SOFTMAX, "dZ3 = A3 - Y", "dZ3 = A3 * (1 - A3)", {NO_DA}),
    "the other classes' labels": (SOFTMAX, "dZ3 = A3 - Y", "dZ3 = A3 - (1 - Y)", {LABELS}),
    "the argmax's number": (SOFTMAX, "dZ3 = A3 - Y", "dZ3 = np.argmax(A3, axis=0) - Y", {ROUNDED}),
    "the squared error through the softmax": (
        SOFTMAX,
        "dZ3 = A3 - Y",
        "dZ3 = A3 * (2 * (A3 - Y) - np.sum(2 * (A3 - Y) * A3, axis=0))",
        {COST},
    ),
    "relu before the softmax": (SOFTMAX, "softmax(Z3)", "softmax(np.maximum(0, Z3))", {G}),
    "2^Z for exp(Z)": (SOFTMAX, "softmax(Z3)", "2**Z3 / np.sum(2**Z3, axis=0)", {IN_A}),
    "the logarithm of A": (SOFTMAX, "A3 = softmax(Z3)", "A3 = np.log(softmax(Z3))", {IN_A, ERROR}),
    "W3 updated first": (SOFTMAX, "    dA2 =", "    W3 -= 0.3 * dW3\n    dA2 =", {UPDATED}),
    "dW2 through dW3": (SOFTMAX, "np.dot(W3.T, dZ3)", "np.dot(dW3.T, dZ3)", {"dW for W"}),
}


def run(source: str, old: str = "", new: str = "") -> Any:
    """The program, with its mistake, as a function of X, Y and the parameters."""
    assert old in source, old
    space: dict[str, Any] = {"np": np}
    exec(source.replace(old, new) if old else source, space)
    return space["run"]


def problem(source: str, trained: bool) -> tuple[Any, Any, Any, Any, Any]:
    """The model that a program is of, its data as the program and as `diagnose` wants them, and the loss."""
    rng = np.random.default_rng(11)
    m = 60
    sizes = {LOGISTIC: [5, 1], LOOP: [5, 1], DEEP: [5, 6, 6, 6, 1], SOFTMAX: [5, 7, 6, 4]}.get(source, [3, 4, 1])
    X = rng.standard_normal((sizes[0], m))
    if source in (LOGISTIC, LOOP):
        X += 0.3
    score = np.tanh(X[:1] * X[1:2]) + X[2:3]
    noisy = score + 0.2 * rng.standard_normal((1, m))
    Y = labels = (noisy > np.quantile(noisy, 0.4)).astype(int)
    loss = None
    if source == SOFTMAX:
        labels = np.argmax(rng.standard_normal((4, 5)) @ X, axis=0)[None]
        Y = (np.arange(4)[:, None] == labels).astype(float)
    if source == REGRESSION:
        Y = labels = score
        loss = tg.mean_squared_error
    hidden = tg.nn.ReLU if source in (DEEP, SOFTMAX) else tg.nn.Sigmoid if source == HIDDEN_SIGMOID else tg.nn.Tanh
    layers: list[Any] = []
    for k, (n, n_out) in enumerate(itertools.pairwise(sizes)):
        layers += [tg.nn.Linear(n, n_out, rng=k)] + ([hidden()] if k < len(sizes) - 2 else [])
    model = tg.nn.Sequential(*layers)
    scale = 0.0 if source in (LOGISTIC, LOOP) else 0.01 if len(sizes) == 3 else None
    for p in model.parameters():
        if p.shape[1] > 1 and scale is not None:
            p.data = scale * rng.standard_normal(p.shape)
        elif p.shape[1] > 1:
            p.data = np.sqrt(2 / p.shape[1]) * rng.standard_normal(p.shape)
    right = run(source)
    for _ in range(150 if trained else 0):
        _, _, gradients = right(X, Y, parameters(model))
        for name, p in model.named_parameters():
            d = gradients.get(f"d{name}", gradients.get("dw") if name == "W" else None)
            p.data = p.data - 0.3 * np.reshape(d.T if name == "W" else d, p.shape)
    return model, X, Y, labels, loss


def parameters(model: Any) -> dict[str, Any]:
    return {name: p.data.copy() for name, p in model.named_parameters()}


asked = functools.cache(problem)


@functools.cache
def says_true(title, trained, everything):
    """What `diagnose` says of a mistake, after it was held against what is true."""
    source, old, new, true = MISTAKES[title]
    model, X, Y, labels, loss = asked(source, trained)
    with np.errstate(all="ignore"):
        rights = run(source)(X, Y, parameters(model))
        cache, on_the_way, gradients = run(source, old, new)(X, Y, parameters(model))
    if not everything:
        rights, cache, on_the_way = rights[2:], None, {}
    result = tg.check.diagnose(model, X, labels, {**on_the_way, **gradients}, cache=cache, loss=loss)
    wrong = [f for f in result.findings if f.verdict == "wrong"]
    right = {name: x for arrays in rights for name, x in arrays.items()}
    given = {**(cache or {}), **on_the_way, **gradients}
    visible = any(np.shape(x) != np.shape(right[k]) or not np.allclose(x, right[k], 1e-12, 0) for k, x in given.items())
    assert visible or not wrong, result
    seen = any(np.shape(x) != np.shape(right[k]) or _apart(x, right[k]) > 1e-9 for k, x in given.items())
    assert wrong or not seen or any(f.verdict == "unsettled" for f in result.findings), result
    assert {c for f in wrong for c in f.causes} <= true, result
    return result if wrong else None


def _apart(x, y):
    """How far two arrays are apart, relative to the largest entry: by far more than float64 rounds, or not."""
    return np.abs(x - y).max(initial=0) / max(np.abs(y).max(initial=0), 1e-300)
