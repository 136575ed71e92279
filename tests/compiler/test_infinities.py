"""What is compiled holds for all numbers: infinite ones, those that are none, zeros of both signs, and the tiniest."""

import itertools
import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_dls as tg
from tests.compiler.steps import LOGITS
from tinygrad_dls import nn
from tinygrad_dls.ir.functions import rows

inf, nan = math.inf, math.nan
GRID = [inf, -inf, nan, 0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 3.0, 40.0, -750.0, 5e-324, -1e-310]
PAIRS = np.array(list(itertools.product(GRID, GRID))).T
X, Y = PAIRS[:1], PAIRS[1:]


def assert_same_numbers(f, *arrays):
    """Compiled as eagerly: infinite or NaN at the same places, and equal to rounding elsewhere."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        right = f(*arrays)
        got = tg.compile(f)(*arrays)
    right, got = (x if isinstance(x, tuple) else (x,) for x in (right, got))
    for one, other in zip(right, got, strict=True):
        assert one.dtype == other.dtype
        # What is lost below the smallest normal number is no matter here.
        np.testing.assert_allclose(other, one, rtol=1e-5 if one.dtype == np.float32 else 1e-11, atol=1e-30)


def elu(z):
    return np.where(z > 0, z, np.exp(np.minimum(z, 0)) - 1)


def selu(z):
    return 1.0507 * (np.maximum(z, 0) + 1.67326 * np.minimum(np.expm1(np.minimum(z, 0)), 0))


FUNCTIONS = {
    "leaky ReLU of two parts": lambda z: np.maximum(z, 0) + 0.01 * np.minimum(z, 0),
    "leaky ReLU of a maximum": lambda z: np.maximum(z, 0.01 * z),
    "leaky ReLU by np.where": lambda z: np.where(z > 0, z, 0.01 * z),
    "both parts": lambda z: (np.maximum(z, 0), np.minimum(z, 0), -np.abs(z)),
    "the magnitude of two parts": lambda z: np.maximum(z, 0) - np.minimum(z, 0),
    "minus the magnitude of two parts": lambda z: np.minimum(z, 0) - np.maximum(z, 0),
    "the negative part by subtraction": lambda z: z - np.maximum(z, 0),
    "twice": lambda z: z - np.maximum(z, 0) - np.maximum(z, 0),
    "zeros first": lambda z: np.maximum(0, z) + np.minimum(0, z) * np.exp(-np.abs(z)),
    "ELU": elu,
    "ELU of parts": lambda z: np.maximum(z, 0) + np.exp(np.minimum(z, 0)) - 1,
    "ELU with its slope": lambda z: (elu(z), np.where(z > 0, 1.0, np.exp(np.minimum(z, 0)))),
    "SELU": selu,
    "softplus": tg.softplus,
    "softplus of parts": lambda z: np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z))),
    "softplus and sigmoid": lambda z: (tg.softplus(z), tg.sigmoid(z), np.minimum(z, 0)),
    "softplus by the book": lambda z: np.log(1 + np.exp(z)),
    "sigmoid": tg.sigmoid,
    "sigmoid by the book": lambda z: 1 / (1 + np.exp(-z)),
    "sigmoid of parts": lambda z: np.exp(np.minimum(z, 0)) / (1 + np.exp(-np.abs(z))),
    "swish": lambda z: z * tg.sigmoid(z),
    "GELU": lambda z: 0.5 * z * (1 + np.tanh(0.797885 * (z + 0.044715 * z**3))),
    "mish": lambda z: z * np.tanh(tg.softplus(z)),
    "softsign": lambda z: z / (1 + np.abs(z)),
    "hard sigmoid": lambda z: np.clip(0.2 * z + 0.5, 0, 1),
    "hard tanh": lambda z: np.minimum(np.maximum(z, -1), 1),
    "ReLU6": lambda z: np.minimum(np.maximum(z, 0), 6),
    "shrunk": lambda z: np.sign(z) * np.maximum(np.abs(z) - 0.5, 0),
    "Huber": lambda z: np.where(np.abs(z) < 1, 0.5 * z**2, np.abs(z) - 0.5),
    "log-cosh": lambda z: np.abs(z) + np.log1p(np.exp(-2 * np.abs(z))) - math.log(2),
    "differences": lambda z: (z - z, z + z - z, 2 * z - z),
    "products with numbers": lambda z: (0 * z, -1 * z, z * 0.0 * 5, 2 * (3 * z), -(2 * z), z * 1e-200 * 1e-200),
    "numbers that overflow together": lambda z: (z * 1e200 * 1e200, z * 1e200 / 1e200, z / 1e200 / 1e200),
    "infinite numbers": lambda z: (z * inf, z + inf, z - inf, z / inf, z * inf * 0, np.minimum(z, inf), inf / z),
    "quotients": lambda z: (z / z, 1 / z, -(1 / z), 1 / (1 / z), z * (1 / z), -(z / 3), z * (2 / np.sum(z * 0 + 1))),
    "powers": lambda z: (z**0, z**1, z**2, z * z, z**-1, z**0.5, np.square(z), np.sqrt(z), z**3),
    "signs": lambda z: (np.negative(-z), -(z - 1), z - (-z), -(1 - z), 1 - (1 - z)),
    "booleans": lambda z: ((z > 0) * z, (z == z) * 1.0, (z != z) * z, 1 - (z > 0), (z >= 0) * (z < 1) * z),
    "limits": lambda z: (np.clip(z, -1, 1), np.clip(np.clip(z, 0, 1), 0, 1), np.maximum(z, nan), np.clip(z, 1, -1)),
    "sums": lambda z: (np.sum(z, axis=0), np.mean(z), np.sum(z * z), np.sum(z**2, axis=1), np.max(z), np.mean(z, 1)),
    "products of matrices": lambda z: (
        (2 * z) @ (z / 3).T,
        (z * 0.5).T @ z,
        -(z @ z.T),
        (z * z) @ np.ones((z.shape[1], 1)),
    ),
    "softmax": lambda z: np.exp(z - np.max(z, 0, keepdims=True)) / np.sum(np.exp(z - np.max(z, 0, keepdims=True)), 0),
    "an entropy": lambda z: -(tg.sigmoid(z) * np.log(tg.sigmoid(z)) + (1 - tg.sigmoid(z)) * np.log(1 - tg.sigmoid(z))),
    "logarithms": lambda z: (np.log(z), np.log1p(z), np.log(np.exp(z)), np.exp(np.log(z))),
    "rows": lambda z: (np.concatenate([z, 0 * z]), z[:, ::-1] - z, np.cumsum(z, 1), np.broadcast_to(z, (2, *z.shape))),
}


TOO_LARGE = "products with numbers", "numbers that overflow together"  # with numbers that float32 does not hold
CASES = [(name, dtype) for name in FUNCTIONS for dtype in ("float64", "float32")[: 1 + (name not in TOO_LARGE)]]


@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_functions_at_infinite_numbers(name, dtype):
    z = np.array([GRID], dtype)
    if name == "products of matrices":
        z = z[:, :-2]  # where one factor is infinite, the tiniest are not 0 if a number is multiplied last
    assert_same_numbers(FUNCTIONS[name], z)
    for x in GRID:  # where all of an array is infinite, as in a sum
        assert_same_numbers(FUNCTIONS[name], np.full((1, 8), x, dtype))


UNARY = [
    "-{0}", "np.abs({0})", "np.exp({0})", "np.tanh({0})", "tg.sigmoid({0})", "tg.softplus({0})", "np.maximum({0}, 0)",
    "np.minimum({0}, 0)", "np.maximum(0, {0})", "np.minimum(np.zeros((1, 1)), {0})", "{0} * 2", "0.5 * {0}", "{0} * -1",
    "{0} / 3", "{0} + 0", "{0} * 1", "1 - {0}", "{0} ** 2", "{0} * {0}", "1 / {0}", "({0} > 0) * {0}",
    "np.where({0} > 0, {0}, 0.1 * {0})", "np.clip({0}, -1, 1)", "np.log1p(np.exp(-np.abs({0})))", "{0} - {0}",
    "{0} * True", "{0} * (1 / 7)", "np.log({0})", "np.sqrt({0})", "np.sign({0})", "{0} - np.maximum({0}, 0)",
]  # fmt: skip
BINARY = [
    "{0} + {1}", "{0} - {1}", "{0} * {1}", "{0} / {1}", "np.maximum({0}, {1})", "np.minimum({0}, {1})", "-({0} - {1})",
    "np.where({0} > {1}, {0}, {1})", "({0} >= {1}) * {0}", "{0} - (-{1})", "(2 * {0}) * (3 * {1})",
]  # fmt: skip


@st.composite
def expressions(draw, depth=4):
    if depth == 0:
        return draw(st.sampled_from("xy"))
    if draw(st.booleans()):
        return "(" + draw(st.sampled_from(UNARY)).format(draw(expressions(depth - 1))) + ")"
    one, other = draw(expressions(depth - 1)), draw(expressions(draw(st.integers(0, depth - 1))))
    return "(" + draw(st.sampled_from(BINARY)).format(one, other) + ")"


@given(st.lists(expressions(), min_size=1, max_size=3))
def test_expressions_at_infinite_numbers(codes):
    f = eval(f"lambda x, y: ({', '.join(codes)},)", {"np": np, "tg": tg})
    assert_same_numbers(f, X, Y)


def test_an_identity_of_finite_numbers_is_noticed(monkeypatch):
    """Else the tests above would show nothing."""
    from tinygrad_dls.ir import rules
    from tinygrad_dls.ir.call import is_call, like

    def nothing_left(call):
        if is_call(call, np.subtract) and call.args[0] is call.args[1]:
            return like(call, np.full, call.shape, 0.0, dtype=np.dtype(call.dtype))
        return None

    monkeypatch.setattr(rules, "RULES", (nothing_left, *rules.RULES))
    with pytest.raises(RuntimeError, match="the same is recorded now as before, so this is most likely a mistake of"):
        test_functions_at_infinite_numbers("differences", "float64")


@pytest.mark.parametrize("z", [inf, -inf])
@pytest.mark.parametrize("y", [0.0, 1.0])
def test_a_step_with_infinite_logits_is_the_eager_one(z, y):
    results = []
    for compiled in (False, True):
        model = nn.Sequential(nn.Linear(1, 1, init=np.array([[1.0]])))
        optimizer = tg.optim.SGD(model.parameters(), lr=0.1)
        data = np.array([[z] * 8]), np.array([[y] * 8])
        with np.errstate(all="ignore"):
            if compiled:
                step = tg.compile(model, LOGITS, optimizer)
            else:
                step = lambda X, Y: tg.optim.eager_step(model, LOGITS, optimizer, X, Y)  # noqa: B023, E731
            results.append([step(*data), *(p.data.copy() for p in model.parameters())])
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(other, one)


LOSSES = {
    "logits": (LOGITS, (1, 3), np.array([[1.0, 0.0, 1.0]])),
    "classes": (tg.softmax_cross_entropy, (3, 1), np.array([[1]])),
    "probabilities": (tg.softmax_cross_entropy, (3, 1), np.array([[0.5], [0.5], [0.0]])),
}


@pytest.mark.parametrize("transform", [lambda f: f, tg.grad, tg.value_and_grad], ids=["f", "grad", "value_and_grad"])
@pytest.mark.parametrize("name", LOSSES)
def test_a_function_of_infinite_logits_is_the_eager_one(name, transform):
    """At every call: those that are not compared with the eager function too."""
    loss, shape, Y = LOSSES[name]
    f = transform(lambda Z: loss(Z, Y))
    compiled = tg.compile(f)
    with np.errstate(all="ignore"):
        for z in itertools.product((inf, -inf, 2.0), repeat=3):
            expected, got = f(np.reshape(z, shape)), compiled(np.reshape(z, shape))
            assert not any(np.isnan(x).any() for x in (expected if isinstance(expected, tuple) else (expected,)))
            assert_alike(got, expected)


def test_a_difference_is_named_where_labels_cannot_be_rounded_anew(monkeypatch):
    """Rounded up, a label of 1 is no label; the error is still that of the comparison."""
    function = tg.compile(lambda Z, Y: LOGITS(Z, Y))
    Z, Y = np.array([[1.0, 2.0]]), np.array([[1.0, 0.0]])
    function(Z, Y)
    function._now.left = 1
    monkeypatch.setattr(function, "function", lambda Z, Y: LOGITS(Z, Y) + 1.0)
    with pytest.raises(RuntimeError, match="the compiled function gave"):
        function(Z, Y)


def assert_alike(got, expected):
    """Up to the roundings of a few calls."""
    for x, y in zip(*(r if isinstance(r, tuple) else (r,) for r in (got, expected)), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-13, atol=1e-13)


# -- function by function, in every dtype, to the sign of zero ---------------------------------------------------------


def edges(dtype):
    dtype = np.dtype(dtype)
    if dtype.kind != "f":
        limits = [False, True] if dtype.kind == "b" else [np.iinfo(dtype).min, 0, 1, 2, 7, np.iinfo(dtype).max]
        return np.array([[*limits, *([-1, -2] if dtype.kind == "i" else [])]], dtype)
    tiny, large = np.finfo(dtype).smallest_subnormal, np.finfo(dtype).max
    return np.array([[0.0, -0.0, inf, -inf, nan, tiny, -tiny, large, -large, 1, -1, 0.5, -2.5, 3]], dtype)


def assert_same_bits(f, *arrays, **options):
    """The dtype, what is not finite, and the signs of zeros; all else to 8 roundings, as the C of some functions is."""
    with np.errstate(all="ignore"):
        try:
            right = f(*arrays)
        except (TypeError, ValueError, OverflowError):  # of truths and integers
            return
        got = tg.compile(f, **options)(*arrays)
    assert got.dtype == right.dtype
    assert got.shape == right.shape
    if right.dtype.kind == "f":
        eps, tiny = np.finfo(right.dtype).eps, np.finfo(right.dtype).smallest_subnormal
        np.testing.assert_allclose(got, right, rtol=8 * eps, atol=4 * tiny)
        zeros = ~np.isnan(right)
        np.testing.assert_array_equal(np.signbit(got)[zeros], np.signbit(right)[zeros])
    else:
        np.testing.assert_array_equal(got, right)


UFUNCS = [row.function for row in rows() if isinstance(row.function, np.ufunc) and not row.function.signature]
DTYPES = ["float16", "float32", "float64", "int64", "int32", "uint8", "bool"]


@pytest.mark.parametrize("backend", ["numpy", "native"])
@pytest.mark.parametrize("ufunc", UFUNCS, ids=lambda ufunc: ufunc.__name__)
def test_each_function_of_entries_is_compiled_to_what_numpy_gives_at_the_edges_of_each_dtype(ufunc, backend):
    for dtype in DTYPES if backend == "numpy" else DTYPES[1:3]:
        x = edges(dtype)
        arrays = [x] if ufunc.nin == 1 else [a.reshape(1, -1) for a in np.meshgrid(x, x)]
        assert_same_bits(ufunc, *arrays, backend=backend)


@pytest.mark.parametrize("exponent", [0, 1, 2, 3, -1, 0.0, 0.5, -0.5, 1.0, 2.0, -1.0, np.float64(0.5), np.int8(2)])
def test_powers_by_a_number_are_compiled_to_what_the_operator_gives(exponent):
    """Which is another function than `np.power` where NumPy knows a faster one."""
    for dtype in DTYPES:
        x = edges(dtype)
        assert_same_bits(lambda x: x**exponent, x)
        assert_same_bits(lambda x: (x > 0) ** exponent, x)
        assert_same_bits(lambda x: np.power(x, exponent), x)


def test_zero_times_anything_keeps_its_sign():
    for dtype in DTYPES[:3]:
        assert_same_bits(lambda x: -(0 * x), edges(dtype))
        assert_same_bits(lambda x: -(x * 0), edges(dtype))
