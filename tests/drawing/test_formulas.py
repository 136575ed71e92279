"""The formula and the local derivatives of each op, as a table; and as numbers, against the vjps of its rule."""

import inspect
import re

import numpy as np
import pytest

import tinygrad_dls as tg
from tinygrad_dls.drawing.formulas import LONGEST, formula, local
from tinygrad_dls.engine import ops
from tinygrad_dls.engine.tensor import values
from tinygrad_dls.graph.node import Node
from tinygrad_dls.graph.reading import read
from tinygrad_dls.ir import functions as of_programs
from tinygrad_dls.nn import losses

RNG = np.random.default_rng(0)


def leaf(name, shape=(2, 3), low=0.5, high=2.0):
    return tg.Tensor(RNG.uniform(low, high, shape), requires_grad=True, name=name)


x, y, z = leaf("x"), leaf("y"), leaf("z", low=-2)
W, b, v = leaf("W", (4, 2)), leaf("b", (4, 1)), leaf("v", (3,))
A, Z = leaf("A", low=0.1, high=0.9), leaf("Z", low=-2)
Y = np.array([[0.0, 1, 0], [1, 0, 1]])
Q = np.array([[0.2, 0.5, 0.1], [0.8, 0.5, 0.9]])  # probabilities of two classes

# Of each node: its formula, and its local derivatives, which are empty where dz is more than multiplied.
TABLE = {
    "add": (lambda: x + y, "x + y", ["1", "1"]),
    "add a number": (lambda: x + 1, "x + 1", ["1"]),
    "subtract": (lambda: x - y, "x - y", ["1", "-1"]),
    "multiply": (lambda: x * y, "x * y", ["y", "x"]),
    "multiply by a number": (lambda: x * 2, "x * 2", ["2"]),
    "divide": (lambda: x / y, "x / y", ["1 / y", "-x / y / y"]),
    "divide a number": (lambda: 2 / x, "2 / x", [None, "-2 / x / x"]),
    "power": (
        lambda: x**y,
        "x**y",
        ["y x ** where(logical_and(x == 0, y == 0), 1, y - 1)", "x**y log(where(x == 0, 1, x))"],
    ),
    "power of a number": (lambda: z**3, "z**3", ["3 z²"]),
    "negative": (lambda: -z, "-z", ["-1"]),
    "matmul": (lambda: W @ x, "W @ x", ["xᵀ", "Wᵀ"]),
    "affine": (lambda: ops.affine(W, x, b), "W @ x + b", ["xᵀ", "Wᵀ", "1"]),
    "exp": (lambda: np.exp(z), "np.exp(z)", ["U1"]),
    "expm1": (lambda: np.expm1(z), "np.expm1(z)", ["exp(z)"]),
    "log": (lambda: np.log(x), "np.log(x)", ["1 / x"]),
    "log1p": (lambda: np.log1p(x), "np.log1p(x)", ["1 / (1 + x)"]),
    "sqrt": (lambda: np.sqrt(x), "np.sqrt(x)", ["1 / 2 / U1"]),
    "square": (lambda: np.square(z), "z**2", ["2 z"]),
    "sin": (lambda: np.sin(z), "np.sin(z)", ["cos(z)"]),
    "cos": (lambda: np.cos(z), "np.cos(z)", ["-sin(z)"]),
    "abs": (lambda: np.abs(z), "np.abs(z)", [""]),
    "maximum": (lambda: np.maximum(x, y), "np.maximum(x, y)", ["", ""]),
    "minimum": (lambda: np.minimum(x, y), "np.minimum(x, y)", ["", ""]),
    "where": (lambda: np.where(Y > 0, x, y), "np.where(C1, x, y)", ["", "", ""]),
    "clip": (lambda: np.clip(x, 0.6, 1.5), "np.clip(x, 0.6, 1.5)", ["(x >= 0.6) (x <= 1.5)"]),
    "sum": (lambda: np.sum(x), "x.sum()", ["1"]),
    "sum over examples": (lambda: np.sum(x, axis=1), "x.sum(axis=1)", ["1"]),
    "mean": (lambda: np.mean(x), "x.mean()", ["1 / 6"]),
    "mean over examples": (lambda: np.mean(x, axis=1, keepdims=True), "x.mean(axis=1, keepdims=True)", ["1 / 3"]),
    "max": (lambda: np.max(x), "x.max()", ["(x == J) / sum(x == J, keepdims=True)"]),
    "min": (lambda: np.min(x, axis=1), "x.min(axis=1)", [""]),
    "prod": (lambda: np.prod(x), "np.prod(x)", [""]),
    "var": (lambda: np.var(x), "np.var(x)", ["2 (x - x.mean(keepdims=True)) / 6"]),
    "std": (lambda: np.std(x), "np.std(x)", [""]),
    "cumsum": (lambda: np.cumsum(x), "np.cumsum(x)", [""]),
    "reshape": (lambda: x.reshape(3, 2), "x.reshape(3, 2)", ["1"]),
    "transpose": (lambda: np.transpose(x, (1, 0)), "x.T", [""]),
    "swapaxes": (lambda: np.swapaxes(x, 0, 1), "x.T", [""]),
    "expand_dims": (lambda: np.expand_dims(x, 0), "np.expand_dims(x, axis=0)", ["1"]),
    "squeeze": (lambda: np.squeeze(b), "np.squeeze(b, axis=1)", ["1"]),
    "broadcast_to": (lambda: np.broadcast_to(v, (2, 3)), "np.broadcast_to(v, (2, 3))", ["1"]),
    "astype": (lambda: x.astype(np.float32), "x.astype(np.float32)", [""]),
    "concatenate": (lambda: np.concatenate([x, y]), "np.concatenate([x, y], axis=0)", ["", ""]),
    "getitem": (lambda: x[:, 1:], "x[:, 1:]", [""]),
    "sigmoid": (lambda: tg.sigmoid(z), "sigmoid(z)", ["U1 (1 - U1)"]),
    "tanh": (lambda: np.tanh(z), "np.tanh(z)", ["1 - U1²"]),
    "relu": (lambda: tg.relu(z), "np.maximum(z, 0)", ["z > 0"]),
    "softplus": (lambda: tg.softplus(z), "np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z)))", ["sigmoid(z)"]),
    "softmax": (lambda: tg.softmax(z), "softmax(z)", [""]),
    "log_softmax": (lambda: tg.log_softmax(z), "log_softmax(z)", [""]),
    "logsumexp": (lambda: tg.logsumexp(z), "logsumexp(z)", [""]),
    "binary_cross_entropy": (
        lambda: tg.binary_cross_entropy(A, Y),
        "np.sum(-(Y * np.log(A) + (1 - Y) * np.log(1 - A))) / m",
        ["((1 - Y) / (1 - A) - Y / A) / m", "(log(1 - A) - log(A)) / m"],
    ),
    "binary_cross_entropy_with_logits": (
        lambda: tg.binary_cross_entropy_with_logits(Z, Y),
        "binary_cross_entropy_with_logits(Z, Y)",
        ["(sigmoid(Z) - Y) / m", "-Z / m"],
    ),
    "softmax_cross_entropy": (
        lambda: tg.softmax_cross_entropy(Z, Q),
        "softmax_cross_entropy(Z, Y)",
        ["(softmax(Z) - Y) / m", ""],
    ),
    "mean_squared_error": (
        lambda: tg.mean_squared_error(A, Y),
        "np.sum((A - Y) ** 2) / m",
        ["2 (A - Y) / m", "-(2 (A - Y)) / m"],
    ),
}
MATRIX_PRODUCTS = {"matmul", "affine"}


def node_of(case):
    return read(TABLE[case][0]())[-1]


@pytest.mark.parametrize("case", TABLE)
def test_the_formula_and_the_local_derivatives_of_an_op(case):
    node = node_of(case)
    _, expected, derivatives = TABLE[case]
    assert formula(node) == expected
    assert [local(node, i) if d is not None else None for i, d in enumerate(derivatives)] == derivatives


def test_every_op_has_a_case():
    functions = [f for module in (ops, losses) for f in vars(module).values() if inspect.isfunction(f)]
    rules = {f.__name__ for f in functions if hasattr(f, "rule") and f.__name__[0] != "_"}  # no parts of rules
    assert len(rules) > 40
    assert rules - {"scatter"} == {node_of(case).op for case in TABLE}  # which only the gradient of indexing is made of


def as_python(text):
    """A local derivative as NumPy code: two factors side by side are a product."""
    text = text.replace("²", " ** 2").replace("ᵀ", ".T")
    return re.sub(r"(?<=[\w)\]]) (?=[\w(])", " * ", text)


def names_of(node):
    """What may stand in a local derivative of a node."""
    arrays = {n.name: values(n.x) for n in (*node.inputs, node) if isinstance(n, Node)}
    functions = {name: getattr(np, name) for name in ("cos", "exp", "log", "logical_and", "sin", "sum", "where")}
    patterns = {f.__name__: f for f in of_programs.PATTERNS}
    return {**functions, **patterns, **arrays, "m": 3}


DERIVATIVES = [(case, i) for case, (*_, found) in TABLE.items() for i, text in enumerate(found) if text]


@pytest.mark.parametrize(("case", "position"), DERIVATIVES)
def test_the_local_derivative_times_dz_is_what_the_rule_gives(case, position):
    node = node_of(case)
    inputs = [values(n.x) if isinstance(n, Node) else n for n in node.inputs]
    value, vjps = node.x.op.rule(*inputs, *node.extra, **node.options)
    derivative = eval(as_python(local(node, position)), names_of(node))
    entrywise = np.shape(value) == node.inputs[position].shape
    # An op that changes the shape gets one number everywhere, so that it makes no difference which entry goes where.
    dz = RNG.standard_normal(value.shape) if entrywise or case in MATRIX_PRODUCTS else np.full(value.shape, 0.7)
    found = vjps[position](dz)
    if case in MATRIX_PRODUCTS and position < 2:
        expected = derivative @ dz if position else dz @ derivative
    else:
        expected = (dz if entrywise or case in MATRIX_PRODUCTS else 0.7) * derivative * np.ones(found.shape)
    # a handful of products and quotients, taken in another order
    np.testing.assert_allclose(found, expected, rtol=16 * np.finfo(float).eps)


def test_a_wrong_derivative_would_be_noticed():
    """1 - U1 for 1 - U1²."""
    node = node_of("tanh")
    (vjp,) = node.x.op.rule(values(z))[1]
    right, wrong = (eval(as_python(text), names_of(node)) for text in ("1 - U1²", "1 - U1"))
    np.testing.assert_allclose(vjp(np.ones((2, 3))), right, rtol=1e-14)
    assert np.abs(vjp(np.ones((2, 3))) - wrong).max() > 0.01


def test_what_is_long_is_left_out():
    nodes = [node_of(case) for case in TABLE]
    assert all(len(formula(node)) <= LONGEST for node in nodes)
    assert all(len(local(node, i)) <= LONGEST for node in nodes for i in range(3))


def test_a_position_that_the_op_does_not_have_has_no_derivative():
    assert local(node_of("tanh"), 1) == ""


def test_what_cannot_be_recorded_has_the_name_of_its_op():
    """An op whose rule decides on a value."""

    @tg.op()
    def halved_if_large(x):
        return (x / 2, (lambda dz: dz / 2,)) if np.max(x) > 1 else (x, (lambda dz: dz,))

    node = read(halved_if_large(tg.Tensor(np.full((2, 2), 3.0), requires_grad=True, name="x")))[-1]
    assert (formula(node), local(node, 0)) == ("halved_if_large(x)", "")
