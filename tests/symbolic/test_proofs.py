"""Proofs: the formulas that autodiff computes are those that the notes derive by hand.

The engine's own rules run on symbols instead of numbers, and algebra decides whether two formulas are equal for all
real values of the symbols. That proves the rules, and how `backward` chains, sums and un-broadcasts them, at the shapes
named here. It says nothing about other shapes, and nothing about floating point: overflow and rounding are the business
of the numerical tests.

A kink is proved on either side, and where the rules define the gradient at it (``relu'(0) = 0``), there too.
"""

import itertools

import numpy as np
import pytest
import sympy

import tinygrad_dls as tg
from examples.hand_derived import two_layer_network
from tests.symbolic.proving import (
    ACTIVATIONS,
    LAYERS,
    a,
    assert_all_same,
    by_hand,
    differentiated,
    probabilities,
    row_sums,
    two_layers,
    variable,
    y,
    z,
)
from tinygrad_dls import nn
from tinygrad_dls.symbolic import SymbolicArray, in_case, same, simplify, symbols, with_symbols

SIZES = (1, 2, 3)


# -- the notes' steps for one example ---------------------------------------------------------------------------------


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
