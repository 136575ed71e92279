"""Proofs: the formulas that autodiff computes are those that the notes derive by hand.

The engine's own rules run on symbols instead of numbers, and algebra decides whether two formulas are equal for all
real values of the symbols. That proves the rules, and how `backward` chains, sums and un-broadcasts them, at the shapes
named here. It says nothing about other shapes, and nothing about floating point: overflow and rounding are the business
of the numerical tests.

A kink is proved on either side, and where the rules define the gradient at it (``relu'(0) = 0``), there too.
"""

import importlib
import itertools
import random
import re
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
import sympy

import tinygrad_dls as tg
from examples.hand_derived import two_layer_network
from tinygrad_dls import nn
from tinygrad_dls.engine import ops
from tinygrad_dls.symbolic import SymbolicArray, algebra, in_case, same, simplify, symbols, with_symbols

SIZES = (1, 2, 3)


def variable(array):
    return tg.Tensor(array, requires_grad=True)


def row_sums(a):
    return np.sum(a, axis=1, keepdims=True)


def assert_all_same(got, by_hand):
    assert got.keys() == by_hand.keys()
    for name, expected in by_hand.items():
        assert got[name].shape == expected.shape, name
        assert same(got[name], expected), name


# -- the notes' steps for one example ---------------------------------------------------------------------------------

z, y, a = symbols("z", (1, 1)), symbols("y", (1, 1)), symbols("a", (1, 1))


def derivative(f):
    """The value of f at z, and df/dz by the rule."""
    Z = variable(z)
    A = f(Z)
    A.backward()
    return A.data, Z.grad


def test_the_sigmoid_is_written_as_in_the_notes_and_its_derivative_is_a_times_1_minus_a():
    A, slope = derivative(tg.sigmoid)
    assert str(A.item()) == "1/(1 + exp(-z))"  # not the cases that it is coded with against overflow
    assert str(slope.substitute({A: a}).item()) == "a*(1 - a)"
    assert same(slope, A * (1 - A))
    assert same(slope, np.exp(-z) / (1 + np.exp(-z)) ** 2)
    assert same(A, np.exp(z) / (1 + np.exp(z)))
    assert same(np.log(A / (1 - A)), z)  # the logit, from which the notes start


def test_the_derivative_of_tanh_is_1_minus_a_squared():
    A, slope = derivative(np.tanh)
    assert str(slope.substitute({A: a}).item()) == "1 - a**2"
    by_exponentials = (np.exp(z) - np.exp(-z)) / (np.exp(z) + np.exp(-z))
    assert same(differentiated(by_exponentials.item(), z), 1 - by_exponentials**2)
    assert same(SymbolicArray(A.item().rewrite(sympy.exp)), by_exponentials.item())
    assert same(by_exponentials, 2 * tg.sigmoid(2 * z) - 1)


def test_the_derivative_of_relu_is_1_above_0_and_0_elsewhere():
    _, slope = derivative(tg.relu)
    assert [in_case(slope, z, sign).item() for sign in (1, 0, -1)] == [1, 0, 0]
    for assumption, expected in {"positive": 1, "negative": 0, "zero": 0}.items():
        Z = variable(symbols("z", **{assumption: True}))
        tg.relu(Z).backward()
        assert Z.grad.item() == expected


def test_the_derivative_of_softplus_is_the_sigmoid():
    A, slope = derivative(tg.softplus)
    assert str(A.item()) == "log(exp(z) + 1)"
    assert same(slope, tg.sigmoid(z))


def test_the_cancellation_to_a_minus_y_step_by_step():
    Z = variable(z)
    A = tg.sigmoid(Z)
    L = tg.binary_cross_entropy(A, y)
    L.backward()
    assert same(L, -(y * np.log(A.data) + (1 - y) * np.log(1 - A.data)).item())
    dA = A.grad.substitute({A: a})
    assert same(dA, -y / a + (1 - y) / (1 - a))
    _, slope = derivative(tg.sigmoid)
    step = dA * slope.substitute({A: a})
    assert same(step, (-y / a + (1 - y) / (1 - a)) * a * (1 - a))
    assert str(simplify(step).item()) == "a - y"
    assert str(simplify(Z.grad.substitute({A: a})).item()) == "a - y"


def test_the_fused_loss_is_the_composed_one_and_its_gradient_is_a_minus_y_as_it_stands():
    Z = variable(z)
    fused = tg.binary_cross_entropy_with_logits(Z, y)
    fused.backward()
    assert same(fused, tg.binary_cross_entropy(tg.sigmoid(z), y))
    assert str(Z.grad.substitute({tg.sigmoid(z): a}).item()) == "a - y"


# -- logistic regression ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("composed", [True, False])
@pytest.mark.parametrize("m", SIZES)
@pytest.mark.parametrize("n_x", SIZES)
def test_gradient_of_logistic_regression_is_a_minus_y(n_x, m, composed):
    layer = with_symbols(nn.Linear(n_x, 1, rng=0))
    X, Y = symbols("X", (n_x, m)), symbols("Y", (1, m))
    Z = layer(X)
    A = tg.sigmoid(Z) if composed else None
    J = tg.binary_cross_entropy(A, Y) if composed else tg.binary_cross_entropy_with_logits(Z, Y)
    J.backward()

    a = 1 / (1 + np.exp(-(layer.W.data @ X + layer.b.data)))
    dZ = (a - Y) / m
    by_hand = {"Z": dZ, "W": dZ @ X.T, "b": row_sums(dZ)}
    got = {"Z": Z.grad, "W": layer.W.grad, "b": layer.b.grad}
    if composed:
        by_hand["A"], got["A"] = (-Y / a + (1 - Y) / (1 - a)) / m, A.grad
    assert_all_same(got, by_hand)
    assert same(J, -np.sum(Y * np.log(a) + (1 - Y) * np.log(1 - a)) / m)


@pytest.mark.parametrize("m", SIZES)
@pytest.mark.parametrize("n_x", SIZES)
def test_hessian_of_logistic_regression_is_x_diag_x_transposed_over_m(n_x, m):
    inner = variable(symbols("w", (1, n_x)))
    outer = variable(inner)
    X, Y, b = symbols("X", (n_x, m)), symbols("Y", (1, m)), symbols("b", (1, 1))
    tg.binary_cross_entropy_with_logits(tg.matmul(outer, X) + b, Y).backward()
    rows = []
    for j in range(n_x):
        inner.grad = None
        outer.grad[0, j].backward()
        rows.append(inner.grad)
    a = tg.sigmoid(inner.data @ X + b)
    assert same(np.concatenate(rows), (X * (a * (1 - a))) @ X.T / m)


# -- the network with one hidden layer --------------------------------------------------------------------------------

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


SHAPES = {
    "fused": list(itertools.product(SIZES, SIZES, SIZES)),
    # the same chain, longer to prove: all formulas are fractions until a(1 - a) cancels
    "composed": [*itertools.product((1, 2), (1, 2), (1, 2)), (3, 3, 3)],
}


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(("shape", "loss"), [(s, loss) for loss, shapes in SHAPES.items() for s in shapes], ids=str)
def test_gradients_of_the_two_layer_network_are_those_of_the_notes(shape, activation, loss):
    """With ReLU, the sign pattern is left open: ``max(0, z)`` and ``z > 0`` stand in the formulas of both sides."""
    composed = loss == "composed"
    got, v, X, Y = two_layers(*shape, activation, composed)
    g, derivative = ACTIVATIONS[activation]
    v["A2"] = tg.sigmoid(v["Z2"])
    assert same(v["Z1"], v["W1"] @ X + v["b1"])
    assert same(v["A1"], g(v["Z1"]))
    assert same(v["Z2"], v["W2"] @ v["A1"] + v["b2"])
    assert same(v["A2"], 1 / (1 + np.exp(-v["Z2"])))
    # on both sides, a letter for what the notes give one: whatever it stands for, the formulas are equal
    letters = {v[name]: symbols(name, v[name].shape) for name in ("A2", "A1")}
    got = {name: gradient.substitute(letters) for name, gradient in got.items()}
    v |= {"A1": letters[v["A1"]], "A2": letters[v["A2"]]}
    assert_all_same(got, by_hand(v, X, Y, derivative, composed))


PATTERNS = [
    (shape, signs)
    for shape, some in [((1, 1, 1), (-1, 0, 1)), ((2, 2, 1), (-1, 0, 1)), ((3, 1, 2), (-1, 0, 1)), ((1, 2, 2), (-1, 1))]
    for signs in itertools.product(some, repeat=shape[1] * shape[2])
]


@pytest.mark.parametrize("composed", [True, False])
@pytest.mark.parametrize(("shape", "signs"), PATTERNS, ids=str)
def test_relu_network_in_each_pattern_of_signs_is_the_linear_network_of_the_active_units(shape, signs, composed):
    got, v, X, Y = two_layers(*shape, "relu", composed)
    signs = np.reshape(signs, v["Z1"].shape)
    active = (signs > 0).astype(int)
    v["A1"] = v["Z1"] * active
    v["A2"] = 1 / (1 + np.exp(-(v["W2"] @ v["A1"] + v["b2"])))
    got = {name: in_case(gradient, v["Z1"], signs) for name, gradient in got.items()}
    assert_all_same(got, by_hand(v, X, Y, lambda Z, A: active, composed))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_formulas_at_numbers_are_what_the_numeric_engine_computes(activation):
    """The formulas of the gradients, the numeric engine, and the notes' NumPy code: three ways, one number."""
    n_x, n_h, m = 2, 3, 3
    got, v, X, Y = two_layers(n_x, n_h, m, activation, composed=False)
    rng = np.random.default_rng(0)
    numbers = {name: rng.normal(size=v[name].shape) for name in ("W1", "b1", "W2", "b2")}
    x, labels = rng.normal(size=(n_x, m)), np.array([[1.0, 0.0, 1.0]])
    model = nn.Sequential(nn.Linear(n_x, n_h, rng=0), LAYERS[activation](), nn.Linear(n_h, 1, rng=0))
    model.load_state_dict(numbers)
    tg.binary_cross_entropy_with_logits(model(x), labels).backward()
    _, notes = two_layer_network(x, labels, numbers, activation)
    put_in = {v[name]: values for name, values in numbers.items()} | {X: x, Y: labels}
    for name, p in model.named_parameters():
        formula = got[f"d{name}"].evaluate(put_in)
        # some ten roundings of numbers below 1, by 1.1e-16 each; a formula itself has none
        np.testing.assert_allclose(formula, p.grad, rtol=0, atol=1e-15)
        np.testing.assert_allclose(formula, notes[f"d{name}"], rtol=0, atol=1e-15)


# -- the other losses -------------------------------------------------------------------------------------------------


def probabilities(n_y, m):
    """Columns of symbols that sum to 1."""
    free = symbols("Y", (n_y - 1, m))
    return np.concatenate([free, 1 - np.sum(free, axis=0, keepdims=True)])


@pytest.mark.parametrize("m", SIZES)
@pytest.mark.parametrize("n_y", [2, 3])
def test_softmax_gradient_is_a_minus_y_over_m(n_y, m):
    logits = symbols("z", (n_y, m))
    A = np.exp(logits) / np.sum(np.exp(logits), axis=0, keepdims=True)
    assert same(tg.softmax(logits), A)
    indices = [np.array([classes]) for classes in itertools.product(range(n_y), repeat=m)]
    labels = [*indices, np.eye(n_y)[:, indices[1][0]], probabilities(n_y, m)]  # one-hot, and any probabilities
    for Y in labels:
        Z = variable(logits)
        J = tg.softmax_cross_entropy(Z, Y)
        J.backward()
        y = (np.arange(n_y)[:, None] == Y).astype(int) if Y.shape != (n_y, m) else Y
        assert same(Z.grad, (A - y) / m)
        assert same(J, -np.sum(y * np.log(A)) / m)


@pytest.mark.parametrize("shape", list(itertools.product(SIZES, SIZES)), ids=str)
def test_gradient_of_the_mean_squared_error_is_2_a_minus_y_over_m(shape):
    A, Y = variable(symbols("A", shape)), symbols("Y", shape)
    J = tg.mean_squared_error(A, Y)
    J.backward()
    assert same(J, np.sum((A.data - Y) ** 2) / shape[1])
    assert same(A.grad, 2 * (A.data - Y) / shape[1])


@pytest.mark.parametrize("shape", list(itertools.product(SIZES, SIZES)), ids=str)
def test_a_bias_gets_the_sum_over_the_examples(shape):
    """Un-broadcasting: ``db = np.sum(dZ, axis=1, keepdims=True)``."""
    b, dZ = variable(symbols("b", (shape[0], 1))), symbols("D", shape)
    (symbols("V", shape) + b).backward(dZ)
    assert same(b.grad, row_sums(dZ))


# -- every op ---------------------------------------------------------------------------------------------------------


def orders(*entries):
    """The cases of who is larger than whom, strictly: for each order, the signs of all the differences."""
    pairs = list(itertools.combinations(range(len(entries)), 2))
    differences = np.stack([entries[i] - entries[j] for i, j in pairs])
    ranks = itertools.permutations(range(len(entries)))
    return [[(differences, [1 if rank[i] > rank[j] else -1 for i, j in pairs])] for rank in ranks]


x23, x32, x3, x2, x0 = symbols("x", (2, 3)), symbols("x", (3, 2)), symbols("x", (3,)), symbols("x", (2,)), symbols("x")
y23, y13, y34, y3, y2 = (symbols("y", shape) for shape in ((2, 3), (1, 3), (3, 4), (3,), (2,)))
p2, p3 = symbols("p", (2,), positive=True), symbols("p", (3,), positive=True)
SIGNS = [[(x2, signs)] for signs in itertools.product((1, -1), repeat=2)]
COMPARED = [[(x2 - y2, signs)] for signs in itertools.product((1, -1), repeat=2)]
HELD = np.array([True, False, True])

# What is differentiated, at which symbols, and the cases that decide its kinks (none: it has none).
OPS = {
    "abs": [(tg.abs, [x2], SIGNS)],
    "add": [(tg.add, [x23, y13]), (lambda x: 2.0 + x, [x3])],
    "affine": [(ops.affine, [x23, y34, symbols("b", (2, 1))])],
    "astype": [(lambda x: tg.astype(x, object), [x2])],
    "binary_cross_entropy": [(tg.binary_cross_entropy, [symbols("a", (2, 2)), symbols("y", (2, 2))])],
    "binary_cross_entropy_with_logits": [
        (tg.binary_cross_entropy_with_logits, [symbols("z", (2, 2)), symbols("y", (2, 2))])
    ],
    "broadcast_to": [(lambda x: tg.broadcast_to(x, (2, 2, 3)), [symbols("x", (2, 1))])],
    "clip": [
        (lambda x: tg.clip(x, -1, 0.5), [x0], [[(x0 + 1, s), (x0 - 0.5, t)] for s, t in [(1, 1), (1, -1), (-1, -1)]]),
        (lambda x: np.clip(x, None, 2), [x0], [[(x0 - 2, sign)] for sign in (1, -1)]),
    ],
    "concatenate": [
        (lambda x, y: tg.concatenate([x, y], axis=1), [x23, symbols("y", (2, 1))]),
        (lambda x, y: tg.concatenate([x, y], axis=None), [x23, y3]),
    ],
    "cos": [(tg.cos, [x2])],
    "cumsum": [(lambda x, axis=axis: tg.cumsum(x, axis), [x23]) for axis in (None, 0, 1)],
    "divide": [(tg.divide, [x23, y3]), (lambda x: 1 / x, [x2])],
    "dot": [(tg.dot, [x23, y34]), (tg.dot, [x3, y3]), (tg.dot, [x0, y3])],
    "exp": [(tg.exp, [x2])],
    "expand_dims": [(lambda x: tg.expand_dims(x, (0, 2)), [x23])],
    "expm1": [(tg.expm1, [x2])],
    "getitem": [
        (lambda x, i=i: tg.getitem(x, i), [x23])
        for i in (1, (0, 2), slice(None, None, -1), np.array([0, 0, 1]), np.eye(2, 3) > 0, (..., None, 1))
    ],
    "log": [(tg.log, [p2])],
    "log1p": [(tg.log1p, [p2])],
    "log_softmax": [(lambda x, axis=axis: tg.log_softmax(x, axis), [symbols("x", (2, 2))]) for axis in (0, 1, None)],
    "logsumexp": [
        (lambda x, axis=axis: tg.logsumexp(x, axis, keepdims=axis == 0), [symbols("x", (2, 2))])
        for axis in (0, 1, None)
    ],
    "matmul": [
        (tg.matmul, [symbols("x", a), symbols("y", b)])
        for a, b in zip(
            [(2, 3), (3,), (3,), (2, 3), (2, 1, 2), (2,)], [(3, 2), (3,), (3, 2), (3,), (2, 2), (2, 2, 1)], strict=True
        )
    ],
    "max": [(tg.max, [x3], orders(*x3)), (lambda x: tg.max(x, 0, keepdims=True), [x32[:, :1]], orders(*x32[:, 0]))],
    "maximum": [(tg.maximum, [x2, y2], COMPARED), (lambda x: np.maximum(x, 0.0), [x2], SIGNS)],
    "mean": [(lambda x, axis=axis: tg.mean(x, axis), [x23]) for axis in (None, 0, (0, 1))],
    "mean_squared_error": [(tg.mean_squared_error, [x23, y23])],
    "min": [(tg.min, [x3], orders(*x3))],
    "minimum": [(tg.minimum, [x2, y2], COMPARED), (lambda x: np.minimum(0, x), [x2], SIGNS)],
    "multiply": [(tg.multiply, [x23, y3]), (lambda x: x * 0.5, [x2])],
    "negative": [(tg.negative, [x2])],
    "power": [
        (tg.power, [p2, y2]),
        (lambda x: x**3, [x2]),
        (lambda x: x**-1.0, [x2]),
        (lambda x: x**0.5, [p2]),
        (lambda x: SymbolicArray(2) ** x, [x2]),
    ],
    "prod": [(lambda x, axis=axis: tg.prod(x, axis), [x23]) for axis in (None, 0, 1)],
    "relu": [(tg.relu, [x2], SIGNS)],
    "reshape": [(lambda x: tg.reshape(x, (3, -1)), [x23])],
    "sigmoid": [(tg.sigmoid, [x2])],
    "sin": [(tg.sin, [x2])],
    "softmax": [(lambda x, axis=axis: tg.softmax(x, axis), [symbols("x", (2, 2))]) for axis in (0, 1)]
    + [(lambda x: tg.softmax(x, None), [symbols("x", (3, 1))])],
    "softmax_cross_entropy": [
        (lambda z: tg.softmax_cross_entropy(z, np.array([[1, 0]])), [symbols("z", (2, 2))]),
        (lambda z: tg.softmax_cross_entropy(z, probabilities(3, 1)), [symbols("z", (3, 1))]),
    ],
    "softplus": [(tg.softplus, [x2])],
    "sqrt": [(tg.sqrt, [p2])],
    "square": [(tg.square, [x2])],
    "squeeze": [(lambda x: tg.squeeze(x, axis=1), [symbols("x", (2, 1, 3))])],
    "stack": [(lambda x, y: tg.stack([x, y], axis=1), [x23, y23])],
    "std": [(tg.std, [x3], orders(*x3)), (lambda x: tg.std(x, axis=0, ddof=1), [x3], orders(*x3)[:1])],
    "subtract": [(tg.subtract, [x23, symbols("y", (2, 1))]), (lambda x: 1 - x, [x2])],
    "sum": [(lambda x, axis=axis: tg.sum(x, axis), [x23]) for axis in (None, 1, (0, 1))],
    "swapaxes": [(lambda x: tg.swapaxes(x, 0, 1), [x23])],
    "tanh": [(tg.tanh, [x2])],
    "transpose": [(tg.transpose, [x23]), (lambda x: tg.transpose(x, (1, 2, 0)), [symbols("x", (1, 2, 2))])],
    "var": [(lambda x, ddof=ddof: tg.var(x, axis=-1, ddof=ddof), [x23]) for ddof in (0, 1)],
    "where": [
        (lambda x, y: tg.where(HELD, x, y), [x23, y3]),
        (lambda x, y: tg.where(tg.getitem(x, slice(2)) > 0, x, y), [x2, y2], SIGNS),
    ],
}  # fmt: skip
CASES = {f"{name} {i}": case for name, cases in OPS.items() for i, case in enumerate(cases, 1)}


def test_every_public_op_and_loss_is_in_the_table():
    public = {
        name
        for name in tg.__all__
        if getattr(getattr(tg, name), "__module__", "") in ("tinygrad_dls.engine.ops", "tinygrad_dls.nn.losses")
    }
    assert OPS.keys() == public | {"affine"}


def gradients_of(f, arrays, seed):
    variables = [variable(array) for array in arrays]
    f(*variables).backward(seed)
    return [v.grad for v in variables]


def differentiated(formula, array):
    """SymPy's derivatives of one formula by each entry of an array of symbols."""
    flat = [sympy.diff(formula, entry) for entry in np.asarray(array).flat]
    return SymbolicArray(flat).reshape(array.shape)


def decided(formulas, case):
    for differences, signs in case:
        formulas = in_case(formulas, differences, signs)
    return formulas


def is_derivative(f, arrays, cases=((),)):
    """Whether, for any weights of its outputs, the rules' gradient of f is SymPy's derivative of the value of f."""
    value = f(*arrays)
    seed = symbols("d", value.shape)
    gradients = gradients_of(f, arrays, seed)
    total = np.sum(value * seed)
    return all(
        same(decided(gradient, case), differentiated(decided(total, case).item(), array))
        for case in cases
        for gradient, array in zip(gradients, arrays, strict=True)
    )


@pytest.mark.parametrize("name", CASES)
def test_gradient_by_the_rule_is_the_derivative_of_the_value(name):
    assert is_derivative(*CASES[name])


@pytest.mark.parametrize("name", CASES)
def test_second_derivative_by_nesting_is_the_derivative_of_the_gradient(name):
    f, arrays, *cases = CASES[name]
    seed = symbols("d", f(*arrays).shape)
    gradients = gradients_of(f, arrays, seed)
    directions = [symbols(f"v{i}", array.shape) for i, array in enumerate(arrays)]
    slope = sum(np.sum(v * g) for v, g in zip(directions, gradients, strict=True))

    inner = [variable(array) for array in arrays]
    outer = [variable(t) for t in inner]
    f(*outer).backward(seed)
    nested = sum(tg.sum(tg.multiply(v, t.grad)) for v, t in zip(directions, outer, strict=True))
    if isinstance(nested, tg.Tensor) and nested.requires_grad:
        nested.backward()
    for case in cases[0] if cases else [()]:
        for t, array in zip(inner, arrays, strict=True):
            got = np.zeros_like(array) if t.grad is None else decided(t.grad, case)
            assert same(got, differentiated(decided(slope, case).item(), array))


@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_at_numbers_are_the_numeric_ones_and_the_formulas_exact(name):
    f, arrays, *_ = CASES[name]
    value = f(*arrays)
    seed = symbols("d", value.shape)
    rng = np.random.default_rng(0)
    numbers = {array: rng.uniform(0.1, 0.9, array.shape) for array in [*arrays, seed]}
    free = symbols("Y", (2, 1))  # of the probabilities
    if name == "softmax_cross_entropy 2":
        numbers[free] = np.array([[0.25], [0.5]])
        plain = [lambda z: tg.softmax_cross_entropy(z, np.array([[0.25], [0.5], [0.25]]))]
    else:
        plain = [f]
    inputs = [numbers[array] for array in arrays]
    if name.startswith("astype"):
        plain = [lambda x: tg.astype(x, float)]
    if name == "power 5":
        plain = [lambda x: np.array(2.0) ** x]
    pairs = [(value, plain[0](*inputs))]
    pairs += zip(gradients_of(f, arrays, seed), gradients_of(plain[0], inputs, numbers[seed]), strict=True)
    for formulas, expected in pairs:
        assert not any(entry.has(sympy.Float) for entry in np.asarray(formulas).flat)
        # a handful of roundings of numbers of order 1, by 1.1e-16 each, and as many digits lost in 1 - a or x - mean
        np.testing.assert_allclose(formulas.evaluate(numbers), expected, rtol=1e-14, atol=1e-15)


# -- a proof that cannot fail proves nothing --------------------------------------------------------------------------


@tg.op()
def tanh_by_z(z):
    return np.tanh(z), (lambda da: da * (1 - z * z),)


@tg.op()
def tanh_almost(z):
    a = np.tanh(z)
    return a, (lambda da: da * (1 - (1 + 1e-15) * a * a),)


@tg.op()
def sigmoid_without_1_minus_a(z):
    a = tg.sigmoid(z)
    return a, (lambda da: da * a,)


@tg.op()
def relu_leaking(z):
    return np.maximum(z, 0), (lambda da: da * np.where(z > 0, 1, 0.01),)


@tg.op()
def matmul_untransposed(a, b):
    return np.matmul(a, b), (lambda dz: dz @ b, lambda dz: a.T @ dz)


@tg.op()
def softmax_as_if_sigmoid(z):
    a = tg.softmax(z)
    return a, (lambda da: da * a * (1 - a),)


@tg.op()
def divide_with_the_wrong_sign(x, y):
    return x / y, (lambda dz: dz / y, lambda dz: dz * x / y / y)


@tg.op()
def mean_without_1_over_n(x):
    return np.mean(x), (lambda dz: np.broadcast_to(dz, x.shape),)


@tg.op()
def power_one_too_high(x):
    return x**3, (lambda dz: dz * 3 * x**3,)


square2 = symbols("x", (2, 2)), symbols("y", (2, 2))
WRONG = [
    (tanh_by_z, [x2]), (tanh_almost, [x2]), (sigmoid_without_1_minus_a, [x2]), (relu_leaking, [x2], SIGNS),
    (matmul_untransposed, square2), (softmax_as_if_sigmoid, [symbols("x", (2, 1))]),
    (divide_with_the_wrong_sign, [x2, y2]), (mean_without_1_over_n, [x2]), (power_one_too_high, [x2]),
]  # fmt: skip


@pytest.mark.parametrize("case", WRONG, ids=[case[0].__name__ for case in WRONG])
def test_a_wrong_rule_is_found(case):
    assert not is_derivative(*case)


@pytest.mark.parametrize("wrong", ["dZ2", "dW1", "db1", "dZ1"])
def test_a_wrong_hand_derivation_is_found(wrong):
    got, v, X, Y = two_layers(2, 2, 2, "tanh", composed=True)
    hand = by_hand(v, X, Y, ACTIVATIONS["tanh"][1], composed=True)
    mistakes = {
        "dZ2": hand["dZ2"] * 2,  # the 1/m forgotten
        "dW1": hand["dZ1"] @ X,  # a transpose forgotten, which square shapes hide
        "db1": hand["db1"][::-1],
        "dZ1": hand["dA1"] * (1 - np.tanh(v["W1"] @ X)),  # a and not a^2, and the bias left out
    }
    with pytest.raises(AssertionError, match=wrong):
        assert_all_same(got, hand | {wrong: mistakes[wrong]})


# -- what symbols cannot do, and what they say ------------------------------------------------------------------------

ERRORS = [
    (lambda: np.argmax(x2), TypeError, "np.argmax has no formula on symbols. Put numbers in first, with .evaluate("),
    (lambda: np.hypot(x2, 1), TypeError, "np.hypot has no formula on symbols."),
    (lambda: np.add.reduce(x2), TypeError, "np.add.reduce has no formula on symbols."),
    (lambda: np.exp(x2, out=np.zeros(2)), TypeError, "np.exp has no formula on symbols."),
    (lambda: np.linalg.norm(x2), TypeError, "np.linalg.norm has no formula on symbols."),
    (lambda: bool(x0 > 0), TypeError, "whether x > 0 depends on the symbols. Give them a sign, as in "
     "symbols('z', shape, positive=True), decide it with in_case(formulas, z, +1), or put numbers in with .evaluate("),
    (lambda: float(x0), TypeError, "x has no number: pass one for every symbol, as in .evaluate({z: ...})."),
    (lambda: (x2 * y2).evaluate({x2: 1}), TypeError, "y_{1}, y_{2} has no number"),
    (lambda: np.log(x0).evaluate({x0: -1}), TypeError, "I*pi is not a real number."),
    (lambda: tg.astype(x2, float), TypeError, "x_{1}, x_{2} has no number"),
    (lambda: SymbolicArray(["z"]), TypeError, "a SymbolicArray holds SymPy expressions and real numbers, not str."),
    (lambda: SymbolicArray(1j), TypeError, "a SymbolicArray holds SymPy expressions and real numbers, not complex."),
    (lambda: same(x2, x23), ValueError, "same: the formulas are (2,) and (2, 3); expected one shape."),
    (lambda: tg.binary_cross_entropy(x2[None] + 2, y2), ValueError, "Y is (2,), but A is (1, 2)"),
    (lambda: nn.Linear(2, 1, rng=0)(x32), ValueError, "Did you pass X transposed?"),
    (lambda: tg.binary_cross_entropy(symbols("a", (1, 1), negative=True), y), ValueError, "A has values outside"),
]  # fmt: skip


@pytest.mark.parametrize(("fails", "kind", "text"), ERRORS, ids=[text for *_, text in ERRORS])
def test_errors_name_the_function_and_the_way_out(fails, kind, text):
    with pytest.raises(kind, match=re.escape(text)):
        fails()


def test_without_sympy_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "sympy", None)
    monkeypatch.delitem(sys.modules, "tinygrad_dls.symbolic")
    monkeypatch.delitem(sys.modules, "tinygrad_dls.symbolic.arrays")
    with pytest.raises(ImportError, match=r"^symbols need SymPy: pip install 'tinygrad_dls\[symbolic\]'$"):
        importlib.import_module("tinygrad_dls.symbolic")


def test_importing_the_package_imports_neither_sympy_nor_the_views():
    rooms = ("sympy", *(f"tinygrad_dls.{room}" for room in ("symbolic", "source", "drawing", "derivations")))
    code = f"import sys, tinygrad_dls; print([m for m in sys.modules if m.startswith({rooms})])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


# -- the array --------------------------------------------------------------------------------------------------------


def test_floats_become_the_simplest_fraction_that_rounds_to_them():
    floats = SymbolicArray([1.0, -0.5, 0.1, 1 / 3, np.float32(0.25), np.pi])
    assert str(floats) == "[1, -1/2, 1/10, 1/3, 1/4, 884279719003555/281474976710656]"
    np.testing.assert_array_equal(floats.evaluate({}), [1, -0.5, 0.1, 1 / 3, 0.25, np.pi])  # to the last bit
    assert str(SymbolicArray(2.0) * x0 ** np.int64(2) + True) == "2*x**2 + 1"
    assert str(SymbolicArray([Fraction(2, 3), np.True_, np.int8(4), x0])) == "[2/3, 1, 4, x]"


def test_symbols_have_the_indices_of_the_course():
    assert str(symbols("W1", (2, 2))) == "[[W1_{11}, W1_{12}],\n [W1_{21}, W1_{22}]]"
    assert str(symbols("b2", (1, 1)).item()) == "b2"
    assert str(symbols("Y", (1, 2))) == "[[Y_{1}, Y_{2}]]"
    assert str(symbols("X", (12, 2))[-1]) == "[X_{12,1}, X_{12,2}]"  # not X_{121}
    assert sympy.latex(symbols("W1", (2, 2))[0, 1].item()) == "W1_{12}"


def test_a_model_of_symbols_leaves_the_model_alone_and_keeps_shared_parameters_shared():
    model = nn.TwoLayerNetwork(2, 2, rng=0)
    model.layers[2].b = model.layers[2].W
    with_names = with_symbols(model)
    assert [str(p.data[0, 0].item()) for p in with_names.parameters()] == ["W1_{11}", "b1_{1}", "W2_{1}"]
    assert with_names.layers[2].W is with_names.layers[2].b
    assert model.parameters()[0].dtype == float


def test_tensors_come_first_where_symbols_meet_them():
    for meet in (lambda t: x2 * t, lambda t: np.multiply(x2, t), lambda t: np.concatenate([x2, t]), lambda t: x2 @ t):
        assert isinstance(meet(tg.Tensor(y2)), tg.Tensor)


def test_numbers_and_symbols_meet_exactly():
    X = np.array([[0.5, 1.0], [2.0, 0.0]])
    assert str(X @ symbols("w", (2, 1))) == "[[w_{1}/2 + w_{2}],\n [2*w_{1}]]"
    assert str(sympy.Symbol("k") * x2) == "[k*x_{1}, k*x_{2}]"
    assert str(0.25 - x2) == "[1/4 - x_{1}, 1/4 - x_{2}]"


def test_conditions_count_as_1_and_0_and_assumptions_decide_them():
    p, n = symbols("p", positive=True), symbols("n", negative=True)
    assert str((p > n) * x0) == "x"
    assert str(np.maximum(p, n)) == str(np.abs(p)) == "p"
    assert str(np.where(x0 > 0, x0, 0)) == "Piecewise((x, x > 0), (0, True))"
    assert bool(np.all(p2 > 0))
    assert not bool(np.any(p2 < 0))
    assert bool(np.logical_and(p > 0, np.logical_not(n > 0)))
    assert str(np.isnan(x0) * 1 + np.isfinite(x0) * 2) == "2"


def test_formulas_are_found_equal_by_algebra():
    u, v = symbols("u"), symbols("v")
    equal = [
        (np.exp(u + v), np.exp(u) * np.exp(v)),
        (np.exp(u / 2) ** 2, np.exp(u)),
        (np.log(np.exp(u) / (1 + np.exp(v))), u - np.log(1 + np.exp(v))),
        (np.log((1 - u) * 6), np.log(1 - u) + np.log(SymbolicArray(6))),
        (np.log((u - 1) ** 2), np.log((1 - u) ** 2)),
        (2.0 ** (u + 1), 2 * 2.0**u),
        (np.exp(SymbolicArray(1) + u), np.exp(SymbolicArray(1)) * np.exp(u)),
        (np.sqrt(u**2 + 2 * u * v + v**2 + 1), np.sqrt((u + v) ** 2 + 1)),
        (np.sin(u * (v + 1)), np.sin(u * v + u)),
        (np.sqrt(np.exp(u) + 1) ** 3, (np.exp(u) + 1) * np.sqrt(1 + np.exp(u))),
        (np.exp(2 * np.exp(u)), np.exp(np.exp(u)) ** 2),
        (np.log(1 + np.exp(-np.exp(u))), np.log(1 + np.exp(np.exp(u))) - np.exp(u)),
        (np.exp(u) ** (v + 0.5), np.exp(u * v + u / 2)),
        (
            symbols("p", positive=True) ** (v + 0.5),
            symbols("p", positive=True) ** v * np.sqrt(symbols("p", positive=True)),
        ),
        (
            np.log(SymbolicArray(12) / 5),
            2 * np.log(SymbolicArray(2)) + np.log(SymbolicArray(3)) - np.log(SymbolicArray(5)),
        ),
        (tg.sigmoid(-u), 1 - tg.sigmoid(u)),
        (tg.softmax(np.stack([u, v]))[0], tg.sigmoid(u - v)),
        (1 - np.tanh(u) ** 2, 1 / np.cosh(u) ** 2),
        (np.tanh(u), 2 * tg.sigmoid(2 * u) - 1),
        (np.sinh(u + v), np.sinh(u) * np.cosh(v) + np.cosh(u) * np.sinh(v)),
        (np.log(2 * np.cosh(u)), np.log(np.exp(u) + np.exp(-u))),
    ]
    for a, b in equal:
        assert same(a, b), (a, b)
        assert not same(a, b + 1)
        assert same(simplify(a - b), SymbolicArray(0)), (a, b)


def test_formulas_that_differ_are_not_found_equal():
    """Also where the quick look at numbers is no help: pairs whose difference is small, or 0 at those numbers."""
    u, p = symbols("u"), symbols("p", positive=True)
    different = [
        (np.sqrt(u**2), u), (np.log(u**2), 2 * np.log(-u) + 1), (p ** (u + 0.5), p**u), (np.exp(u / 2), 1),
        (np.exp(np.exp(u)), np.exp(2 * np.exp(u))), (np.log(1 + np.exp(-np.exp(u))), np.log(1 + np.exp(np.exp(u)))),
        (np.abs(u), u), (np.maximum(u, 0), u), (u > 0, 1), (np.sin(u), u), (1 / u, np.log(SymbolicArray(0))),
    ]  # fmt: skip
    for a, b in different:
        assert not same(a, b), (a, b)
        with pytest.MonkeyPatch.context() as blind:
            blind.setattr(algebra, "_is_not_zero_somewhere", lambda x: False)
            assert not same(a, b), (a, b)
            assert not same(a * 1e-9, b * 1e-9), (a, b)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (np.sin(z) ** 2, 1 - np.cos(z) ** 2),
        (np.maximum(z, 0), (z + np.abs(z)) / 2),
        (np.where(z > 0, np.log(z), np.log(-z)), np.log(np.abs(z))),
        (np.sqrt(z) * np.sqrt(y), np.sqrt(z * y)),  # also below 0, where the roots are not real
        (1 / np.arctan(y / z), 1 / np.arcsin(y / np.sqrt(z**2 + y**2) * np.sign(z))),  # not defined everywhere
    ],
)
def test_formulas_that_seem_equal_without_a_proof_are_undecided(a, b):
    with pytest.raises(ValueError, match=r"^same: undecided: equal at all points tried, but no proof found that "):
        same(a, b)
    assert not same(a, b + symbols("tiny", (1, 1)) * 1e-15)
    assert not same(np.concatenate([a, z]), np.concatenate([b, y]))  # the first undecided, the second different


@pytest.mark.parametrize("assumption", ["positive", "negative", "integer", "even", "nonzero", "nonpositive"])
def test_points_where_formulas_are_compared_are_as_assumed(assumption):
    u = symbols("u", **{assumption: True})
    with pytest.raises(ValueError, match="equal at all points"):
        same(np.sin(u) ** 2, 1 - np.cos(u) ** 2)
    draws = random.Random(1)
    assert all(getattr(algebra._draw(u.item(), draws, -101, 101), f"is_{assumption}") for _ in range(20))


def test_without_a_point_to_compare_at_it_is_undecided():
    with pytest.raises(ValueError, match="undecided: no point found where both are real, but no proof"):
        same(np.log(-(y**2) - 1), y)
    with pytest.raises(ValueError, match="undecided: no point found"):
        same(np.sin(symbols("u", irrational=True)) ** 2, symbols("u", irrational=True))


def test_what_is_substituted_is_what_stands_there():
    A = tg.sigmoid(x2)
    a = symbols("a", (2,))
    assert str((A**2 * (1 - A) + np.exp(x2) / A).substitute({A: a})) == str(a**2 * (1 - a) + np.exp(x2) / a)
    assert str(np.maximum(x2, 0).substitute({SymbolicArray([0, 1]): a, x2: 1})) == "[1, 1]"  # numbers stay
    with pytest.raises(ValueError, match=r"^substitute: x stands for both a_\{1\} and a_\{2\}\.$"):
        x0.substitute({np.stack([x0, x0]): a})


def test_a_kink_is_decided_by_any_multiple_of_what_it_compares():
    u, v = symbols("u"), symbols("v")
    assert str(in_case(np.maximum(2 * u, 2 * v) + np.abs(v - u), u - v, 1)) == "3*u - v"
    assert str(in_case(np.minimum(-3 * u, 0) * (u <= 0), u, 0)) == "0"
    assert str(in_case(np.max(np.stack([u, v, 2 * v - u])), v - u, -1)) == "u"
    assert str(in_case(np.abs(v), u, 1)) == "Abs(v)"
    assert str(in_case(np.abs(v), SymbolicArray([0, 1]), 1)) == "Abs(v)"  # nothing to learn from numbers
