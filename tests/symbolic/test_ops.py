"""Every op is proved: its gradient by the rule is the derivative of its value; and wrong rules are found."""

import itertools

import numpy as np
import pytest
import sympy

import tinygrad_dls as tg
from tests.support.op_cases import public_ops
from tests.symbolic.proving import (
    ACTIVATIONS,
    assert_all_same,
    by_hand,
    differentiated,
    p2,
    probabilities,
    two_layers,
    variable,
    x0,
    x2,
    x3,
    x23,
    x32,
    y2,
    y3,
    y13,
    y23,
    y34,
)
from tinygrad_dls.engine import ops
from tinygrad_dls.symbolic import SymbolicArray, in_case, same, symbols

# -- every op ---------------------------------------------------------------------------------------------------------


def orders(*entries):
    """The cases of who is larger than whom, strictly: for each order, the signs of all the differences."""
    pairs = list(itertools.combinations(range(len(entries)), 2))
    differences = np.stack([entries[i] - entries[j] for i, j in pairs])
    ranks = itertools.permutations(range(len(entries)))
    return [[(differences, [1 if rank[i] > rank[j] else -1 for i, j in pairs])] for rank in ranks]


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
# Of NumPy's functions of matrices: what they come to of formulas is in ir/composed.py.
A2 = symbols("a", (2, 2))
MATRICES = {
    "det": [(np.linalg.det, [a]) for a in (A2, symbols("a", (2, 1, 1)))],
    "inv": [(np.linalg.inv, [A2])],
    "slogdet": [(lambda a: np.linalg.slogdet(a).logabsdet, [a]) for a in (A2, symbols("a", (2, 1, 1)))],
    "solve": [(np.linalg.solve, [A2, symbols("b", (2, 1))])],
}
CASES = {f"{name} {i}": case for name, cases in (OPS | MATRICES).items() for i, case in enumerate(cases, 1)}


def test_every_public_op_and_loss_is_in_the_table():
    assert OPS.keys() == public_ops() | {"affine"}


def gradients_of(f, arrays, seed):
    variables = [variable(array) for array in arrays]
    f(*variables).backward(seed)
    return [v.grad for v in variables]


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


@pytest.mark.parametrize("f", [np.linalg.det, lambda a: np.linalg.slogdet(a).logabsdet])
def test_gradient_of_a_determinant_of_three_rows_is_the_derivative_of_the_value(f):
    assert is_derivative(f, [symbols("a", (3, 3))])


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
