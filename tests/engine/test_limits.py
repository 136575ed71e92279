"""Numbers at the edge: infinite logits, half precision, integer exponents, limits that are Tensors, a number's axes.

Each has a right value, which is said here: as a limit, as NumPy's own result, or as what double precision gives.
"""

import itertools

import numpy as np
import pytest

import tinygrad_dls as tg
from tests.support.numerical import assert_gradients, assert_second_derivatives
from tinygrad_dls.engine import ops

INF = np.inf
RNG = np.random.default_rng(3)
LOGITS = tg.binary_cross_entropy_with_logits
FLOATS = [np.float16, np.float32, np.float64]
quiet = np.errstate(invalid="ignore")  # NumPy warns of inf - inf on the way to a limit


def leaf(x, dtype=float):
    return tg.Tensor(np.array(x, dtype), requires_grad=True)


# -- infinite logits --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    ("z", "y", "J", "dz"),
    [
        (INF, 1, 0, 0), (INF, 0, INF, 1), (-INF, 0, 0, 0), (-INF, 1, INF, -1),
        (INF, 0.25, INF, 0.75), (-INF, 0.25, INF, -0.25), (INF, 0.5, INF, 0.5),
    ],
)  # fmt: skip
@quiet
def test_an_infinite_logit_costs_nothing_where_it_is_right_and_infinity_elsewhere(z, y, J, dz, dtype):
    Z = leaf([[z]], dtype)
    cost = LOGITS(Z, np.array([[y]]))
    cost.backward()
    assert (cost.item(), Z.grad.item()) == (J, dz)


@pytest.mark.parametrize(("z", "y", "J", "dz"), [(1e308, 1, 0, 0), (-1e308, 0, 0, 0), (1e308, 0, 1e308, 1)])
def test_the_largest_logits_are_finite(z, y, J, dz):
    Z = leaf([[z]])
    cost = LOGITS(Z, np.array([[y]]))
    cost.backward()
    assert (cost.item(), Z.grad.item()) == (J, dz)


@quiet
def test_an_infinite_logit_leaves_the_other_examples_their_costs():
    z, y = np.array([[INF, -INF, 1.0, -2.0]]), np.array([[1.0, 0.0, 1.0, 1.0]])
    Z = leaf(z)
    J = LOGITS(Z, y)
    J.backward()
    assert J.item() == pytest.approx(LOGITS(z[:, 2:], y[:, 2:]) / 2, rel=1e-15)
    np.testing.assert_array_equal(Z.grad[:, :2], 0)


def test_a_logit_that_is_nan_stays_nan():
    Z = leaf([[np.nan, 1.0]])
    for J in (LOGITS(Z, np.array([[1, 0]])), tg.softmax_cross_entropy(np.concatenate([Z, -Z]), np.array([[1, 0]]))):
        assert np.isnan(J.item())
    assert np.isnan(tg.softmax(Z, axis=1).data).all()


SHARES = [
    ([-INF, -INF], [1 / 2, 1 / 2]), ([-INF, -INF, -INF, -INF], [1 / 4] * 4), ([INF, 0, 1], [1, 0, 0]),
    ([INF, INF, 1], [1 / 2, 1 / 2, 0]), ([-INF, INF, -1e308], [0, 1, 0]), ([-INF, 0, 0], [0, 1 / 2, 1 / 2]),
    ([INF], [1]), ([-INF], [1]),
]  # fmt: skip


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(("z", "a"), SHARES)
@quiet
def test_logits_that_are_infinite_alike_have_equal_shares(z, a, dtype):
    Z = leaf(np.array(z)[:, None].clip(np.finfo(dtype).min if -1e308 in z else None), dtype)
    with np.errstate(divide="ignore"):
        logarithms = np.log(np.array(a, dtype))
    np.testing.assert_array_equal(tg.softmax(Z).data.ravel(), np.array(a, dtype))
    np.testing.assert_allclose(tg.log_softmax(Z).data.ravel(), logarithms, rtol=np.finfo(dtype).eps)
    total = tg.logsumexp(Z)
    total.backward()
    assert total.item() == (max(z) if np.isinf(max(z)) else pytest.approx(np.log(2), rel=1e-3))
    np.testing.assert_array_equal(Z.grad.ravel(), np.array(a, dtype))


@pytest.mark.parametrize(("z", "a"), SHARES)
@pytest.mark.parametrize("f", [tg.softmax, tg.log_softmax, tg.logsumexp], ids=lambda f: f.__name__)
@quiet
def test_no_gradient_of_infinite_logits_is_nan_nor_is_a_second_one(f, z, a):
    z = np.array(z)[:, None]
    weights = np.arange(1.0, 1 + np.size(f(z))).reshape(np.shape(f(z)))

    def gradient(x):
        X = tg.Tensor(x, requires_grad=True)
        f(X).backward(weights)
        return X.grad

    assert np.isfinite(gradient(z)).all()
    X = leaf(z)
    np.sum(gradient(X) * weights.sum()).backward()
    assert np.isfinite(X.grad).all()


@pytest.mark.parametrize("f", [tg.sigmoid, tg.softplus, tg.relu, np.tanh], ids=lambda f: f.__name__)
def test_activations_have_their_limits(f):
    Z = leaf([-INF, INF])
    A = f(Z)
    A.backward(np.ones(2))
    values, slopes = {tg.sigmoid: ([0, 1], [0, 0]), np.tanh: ([-1, 1], [0, 0])}.get(f, ([0, INF], [0, 1]))
    # a sigmoid is rounded to lie strictly between 0 and 1
    np.testing.assert_allclose(A.data, values, atol=2e-16)
    np.testing.assert_allclose(Z.grad, slopes, atol=2e-16)


@pytest.mark.parametrize(
    ("z", "J", "dz"),
    [
        ([0, INF], INF, [-1, 1]), ([INF, 0], 0, [0, 0]), ([-INF, 0], INF, [-1, 1]), ([0, -INF], 0, [0, 0]),
        ([-INF, -INF], np.log(2), [-0.5, 0.5]), ([INF, INF], np.log(2), [-0.5, 0.5]),
    ],
)  # fmt: skip
def test_a_class_of_infinite_logit_costs_nothing_where_it_is_right_and_infinity_elsewhere(z, J, dz):
    Z = leaf(np.array(z)[:, None])
    cost = tg.softmax_cross_entropy(Z, np.array([[0]]))
    cost.backward()
    assert cost.item() == J
    np.testing.assert_array_equal(Z.grad.ravel(), dz)


class Shift(tg.nn.Module):
    def __init__(self, n):
        self.b = tg.nn.Parameter(np.zeros((n, 1)))

    def __call__(self, X):
        return X + self.b


@pytest.mark.parametrize("loss", [LOGITS, tg.softmax_cross_entropy], ids=lambda f: f.__name__)
@pytest.mark.parametrize("infinite", [[INF, -INF], [-INF, INF]])
@quiet
def test_a_compiled_step_has_the_limits_of_the_eager_one(loss, infinite):
    rows, Y = (1, np.array([[1.0, 0, 1, 0]])) if loss is LOGITS else (2, np.array([[0, 1, 1, 0]]))
    X = np.zeros((rows, 4))
    X[0] = [*infinite, 1, 2]
    models = [Shift(rows), Shift(rows)]
    optimizers = [tg.optim.SGD(model.parameters(), lr=0.1) for model in models]
    step = tg.compile(models[0], loss, optimizers[0])
    for _ in range(3):
        J = loss(models[1](X), Y)
        optimizers[1].zero_grad()
        J.backward()
        optimizers[1].step()
        assert step(X, Y) == pytest.approx(J.item(), rel=1e-14)
        np.testing.assert_allclose(models[0].b.data, models[1].b.data, rtol=1e-14)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("f", [np.std, np.var], ids=lambda f: f.__name__)
def test_the_spread_of_the_smallest_numbers_has_a_finite_gradient(f, dtype):
    tiny = np.finfo(dtype).smallest_subnormal
    for k in (1, 3, 1000):
        x = leaf([tiny, k * tiny, 0], dtype)
        f(x).backward()
        assert np.isfinite(x.grad).all()


# -- half precision ---------------------------------------------------------------------------------------------------

HALF = np.float16
MANY = 5000  # of which a sum of ones in half precision reaches 2048
REDUCED = {
    "sum": lambda x: np.sum(x, axis=0), "mean": lambda x: np.mean(x, axis=0), "var": lambda x: np.var(x, axis=0),
    "std": lambda x: np.std(x, axis=0), "cumsum": lambda x: np.cumsum(x, axis=0), "softmax": tg.softmax,
    "log_softmax": tg.log_softmax, "logsumexp": lambda x: tg.logsumexp(x, axis=0), "max": lambda x: np.max(x, axis=0),
    "min": lambda x: np.min(x, axis=0), "norm": lambda x: np.linalg.norm(30 * x, axis=0),
}  # fmt: skip
LOSSES = {
    "binary_cross_entropy": lambda a, y: tg.binary_cross_entropy(a, y), "with_logits": LOGITS,
    "softmax_cross_entropy": lambda z, y: tg.softmax_cross_entropy(np.concatenate([z, -z]), y.astype(int)),
    "mean_squared_error": lambda a, y: tg.mean_squared_error(a * 6, y),
}  # fmt: skip


def halves(f, *arrays):
    """The value and the gradients in half precision, and in double precision of the same numbers."""
    found = []
    for dtype in (HALF, float):
        tensors = [tg.Tensor(x.astype(HALF).astype(dtype), requires_grad=True) for x in arrays]
        z = f(*tensors)
        z.backward(np.ones(z.shape))
        assert {z.dtype, *(t.grad.dtype for t in tensors)} == {np.dtype(dtype)}
        found.append([z.data, *(t.grad for t in tensors)])
    return found


def assert_half(found, exact):
    for got, right in zip(found, exact, strict=True):
        # a few roundings to half precision, of values and of the smallest steps there are
        np.testing.assert_allclose(got.astype(float), right, rtol=4e-3, atol=2e-7)


@pytest.mark.parametrize("name", REDUCED)
def test_half_precision_sums_and_counts_in_single(name):
    x = np.where(np.arange(MANY)[:, None] % 2, 1.0, 0.5) * np.ones((1, 2))
    assert_half(*halves(REDUCED[name], x))


@pytest.mark.parametrize("name", REDUCED)
@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e4])
def test_numbers_of_more_digits_are_reduced_as_others(name, scale):
    """A long double has a larger exponent than any Python number."""
    x = scale * RNG.normal(size=(20, 2))
    found = []
    for dtype in (np.longdouble, float):
        t = leaf(x, dtype)
        z = REDUCED[name](t)
        z.backward(np.ones(z.shape, dtype))
        assert z.dtype == t.grad.dtype == dtype
        found.append((z.data.astype(float), t.grad.astype(float)))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-15 * max(1, scale))


@pytest.mark.parametrize("f", [np.mean, np.max, np.min], ids=lambda f: f.__name__)
def test_the_share_of_one_in_seventy_thousand_is_not_zero(f):
    x = leaf(np.ones(70_000), HALF)
    f(x).backward()
    np.testing.assert_allclose(x.grad.astype(float), 1 / 70_000, rtol=5e-3)  # half an ulp of a subnormal


@pytest.mark.parametrize("m", [30_000, 70_000])
@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_of_many_examples_in_half_precision(name, m):
    a, y = np.full((1, m), 0.5), np.arange(m)[None] % 2
    (J, dA), (right, slope) = halves(lambda t: LOSSES[name](t, y), a)
    assert float(J) == pytest.approx(float(right), rel=1e-3)
    np.testing.assert_allclose(dA.astype(float), slope, rtol=2e-2)  # 1/70,000 is a subnormal of 240 steps


USES = {
    "broadcast": (lambda b: b * np.ones((2, MANY), HALF), (2, 1)),
    "broadcast_to": (lambda b: np.broadcast_to(b, (MANY, 2)), (2,)),
    "index": (lambda b: b[np.zeros(MANY, int)], (2,)),
    "bias": (lambda b: ops.affine(np.ones((2, 1), HALF), np.ones((1, MANY), HALF), b), (2, 1)),
    "weights": (lambda w: w @ np.ones((2, MANY), HALF), (2, 2)),
    "weights by dot": (lambda w: np.dot(w, np.ones((2, MANY), HALF)), (2, 2)),
}


@pytest.mark.parametrize("name", USES)
def test_five_thousand_uses_add_up_in_half_precision(name):
    f, shape = USES[name]
    x = leaf(np.ones(shape), HALF)
    z = f(x)
    z.backward(np.ones(z.shape, HALF))
    expected = [MANY, 0] if name == "index" else MANY
    np.testing.assert_array_equal(x.grad, np.broadcast_to(np.array(expected, HALF), shape))


def test_a_saturated_probability_of_half_precision_stays_finite():
    A = leaf([[0, 1]], HALF)
    J = tg.binary_cross_entropy(A, [[1, 0]])
    J.backward()
    assert np.isfinite(J.item())
    assert np.isfinite(A.grad).all()


def test_columns_of_many_classes_in_half_precision_sum_to_1():
    Y = np.full((MANY, 2), 1 / MANY, HALF)
    assert tg.softmax_cross_entropy(np.zeros((MANY, 2), HALF), Y) == pytest.approx(np.log(MANY), rel=1e-3)


@pytest.mark.parametrize("loss", [LOGITS, tg.mean_squared_error], ids=lambda f: f.__name__)
def test_a_compiled_step_of_half_precision_is_the_eager_one(loss):
    X, Y = RNG.normal(size=(1, 6000)).astype(HALF), (RNG.random((1, 6000)) < 0.5).astype(HALF)
    models = [Shift(1), Shift(1)]
    for model in models:
        model.b = tg.nn.Parameter(np.zeros((1, 1), HALF))
    optimizers = [tg.optim.SGD(model.parameters(), lr=0.1) for model in models]
    step = tg.compile(models[0], loss, optimizers[0])
    for _ in range(3):
        J = loss(models[1](X), Y)
        optimizers[1].zero_grad()
        J.backward()
        optimizers[1].step()
        assert step(X, Y) == pytest.approx(J.item(), rel=2e-3)  # one step of half precision
        np.testing.assert_allclose(models[0].b.data, models[1].b.data, rtol=2e-3)
    code = tg.numpy_source(models[0], X, Y, loss=loss)
    space: dict = {}
    exec(code, space)
    J, db = space["step"](X, Y, models[0].b.data, m=6000)
    loss(models[0](X), Y).backward()
    np.testing.assert_allclose(db, models[0].b.grad, rtol=2e-3)


# -- exponents --------------------------------------------------------------------------------------------------------

INTEGERS = [np.dtype(kind) for kind in "?bBhHiIlLqQ"]


@pytest.mark.parametrize("base", [0.0, -1.5, 1.5, 1000.0])
@pytest.mark.parametrize("x_dtype", [np.float32, np.float64])
@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_powers_by_integers_of_every_dtype_have_the_slopes_of_powers(dtype, x_dtype, base):
    exponents = [0, 1] if dtype.kind == "b" else [0, 1, 2, 3]
    right = [n * float(base) ** (n - 1) if n else 0.0 for n in exponents]
    for one, n in zip(right, exponents, strict=True):
        for exponent in (dtype.type(n), np.array(n, dtype), np.array([n], dtype), np.array([n], dtype).tolist(), n):
            x = leaf([base], x_dtype)
            (x**exponent).backward([1.0])
            assert x.grad.dtype == x_dtype
            assert x.grad[0] == pytest.approx(one, rel=1e-6)
    x = leaf(base, x_dtype)
    np.sum(x ** np.array(exponents, dtype)).backward()
    assert x.grad == pytest.approx(sum(right), rel=1e-6)


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_powers_by_integers_have_second_derivatives(dtype):
    assert_second_derivatives(lambda x: x ** np.array([[0, 1, 1]], dtype), np.array([[-1.5], [0.5]]))


def test_the_exponent_zero_has_no_slope_even_at_infinity():
    for exponent in (0, 0.0, np.array(0), np.array(0, np.uint8), np.array(0.0)):
        x = leaf([INF, -INF, 0.0])
        (x**exponent).backward(np.ones(3))
        np.testing.assert_array_equal(x.grad, 0)


# -- limits that are Tensors ------------------------------------------------------------------------------------------

CALLS = {
    "np.clip": np.clip, "tg.clip": tg.clip, "method": lambda x, low, high: x.clip(low, high),
    "older names": lambda x, low, high: np.clip(x, a_min=low, a_max=high),
    "names": lambda x, low, high: np.clip(x, min=low, max=high),
    "names of the op": lambda x, low, high: tg.clip(x, min=low, max=high),
    "names of the method": lambda x, low, high: x.clip(max=high, min=low),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_outside_the_limits_the_gradient_goes_to_the_limit_that_was_taken(name):
    #               below, at low, between, at high, above, low above high: below, between and above the two
    x, low = leaf([-2.0, -1.0, 0.0, 1.0, 3.0, 0.0, 1.5, 3.0]), leaf([-1.0, -1, -1, -1, -1, 2, 2, 2])
    high = leaf(1.0)
    z = CALLS[name](x, low, high)
    z.backward(np.ones(8))
    np.testing.assert_array_equal(z.data, np.clip(x.data, low.data, high.data))
    np.testing.assert_array_equal(x.grad, [0, 1, 1, 1, 0, 0, 0, 0])
    np.testing.assert_array_equal(low.grad, [1, 0, 0, 0, 0, 0, 0, 0])
    assert high.grad == 4
    assert z.op.__name__ == "clip"


@pytest.mark.parametrize("limits", list(itertools.product([None, -0.5, "low"], [None, 0.5, "high"])), ids=str)
def test_clip_with_any_limits_has_the_slopes_of_its_value(limits):
    x, low, high = np.array([[-2.0, 0.25, 2.0], [0.1, -1.0, 0.75]]), np.array([[-0.75], [-0.25]]), np.array(0.6)
    places = [i for i, limit in enumerate(limits) if isinstance(limit, str)]

    def f(x, *given):
        filled = list(limits)
        for i, limit in zip(places, given, strict=True):
            filled[i] = limit
        return tg.clip(x, *filled) ** 2

    arrays = [x, *((low, high)[i] for i in places)]
    assert_gradients(f, *arrays)
    assert_second_derivatives(f, *arrays)


def test_a_constant_between_limits_that_are_tensors():
    low = leaf(1.5)
    z = np.clip(np.arange(5), low, 3)
    z.backward(np.ones(5))
    np.testing.assert_array_equal(z.data, [1.5, 1.5, 2, 3, 3])
    assert low.grad == 2


class Clipped(tg.nn.Module):
    def __init__(self):
        self.W = tg.nn.Parameter(np.array([[1.0, 2.0]]))
        self.low = tg.nn.Parameter(np.array([[-0.3]]))
        self.high = tg.nn.Parameter(np.array([[0.5]]))

    def __call__(self, X):
        return np.clip(self.W @ X, self.low, self.high)


def test_limits_that_are_parameters_are_trained_drawn_derived_and_printed():
    X, Y = RNG.normal(size=(2, 100)), RNG.normal(size=(1, 100))
    models = [Clipped(), Clipped()]
    optimizers = [tg.optim.SGD(model.parameters(), lr=0.1) for model in models]
    step = tg.compile(models[0], tg.mean_squared_error, optimizers[0])
    for _ in range(5):
        J = tg.mean_squared_error(models[1](X), Y)
        optimizers[1].zero_grad()
        J.backward()
        optimizers[1].step()
        assert step(X, Y) == pytest.approx(J.item(), rel=1e-13)
    for p, q in zip(models[0].parameters(), models[1].parameters(), strict=True):
        np.testing.assert_allclose(p.data, q.data, rtol=1e-12)
        assert not np.array_equal(p.data, getattr(Clipped(), p.name).data)
    model = Clipped()
    code = tg.numpy_source(model, X, Y, loss=tg.mean_squared_error)
    space: dict = {}
    exec(code, space)
    _, *gradients = space["step"](X, Y, *(p.data for p in model.parameters()), m=100)
    tg.mean_squared_error(model(X), Y).backward()
    for got, p in zip(gradients, model.parameters(), strict=True):
        np.testing.assert_allclose(got, p.grad, rtol=1e-12)
    assert "dlow = np.sum(dA * (W @ X < low) * (low <= high)" in str(tg.derive(model, X, Y, loss=tg.mean_squared_error))
    assert "clip" in tg.draw(tg.mean_squared_error(model(X), Y)).source


# -- as NumPy decides -------------------------------------------------------------------------------------------------


def outcome(f):
    """What comes out, or the kind of error."""
    try:
        return np.asarray(f())
    except Exception as error:
        return type(error)


@pytest.mark.parametrize("axis", [None, 0, -1, 1, -2, (), (0,), (-1,), (0, -1)], ids=str)
@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("name", ["sum", "mean", "max", "min", "prod", "var", "std", "cumsum"])
def test_a_number_is_reduced_over_the_axes_that_numpy_allows(name, axis, keepdims):
    f, options = getattr(np, name), {} if name == "cumsum" else {"keepdims": keepdims}
    x = leaf(3.0)
    expected, found = (outcome(lambda x=x: values_of(f(x, axis=axis, **options))) for x in (x.data, x))
    if isinstance(expected, type):
        assert found is expected
    else:
        np.testing.assert_array_equal(found, expected, strict=True)
        np.sum(f(x, axis=axis, **options)).backward()
        assert x.grad == (0 if name in ("var", "std") else 1)


def values_of(x):
    return x.data if isinstance(x, tg.Tensor) else x


SHAPES = [(), (0,), (2,), (0, 0), (0, 3), (2, 0), (2, 3), (1, 2, 3)]


@pytest.mark.parametrize("axis", [None, 0, 1, -1, 2, -2], ids=str)
@pytest.mark.parametrize("shapes", list(itertools.product(SHAPES, SHAPES)), ids=str)
def test_arrays_are_joined_where_numpy_joins_them(shapes, axis):
    arrays = [RNG.normal(size=shape) for shape in shapes]
    tensors = [leaf(x) for x in arrays]
    expected = outcome(lambda: np.concatenate(arrays, axis=axis))
    found = outcome(lambda: np.concatenate(tensors, axis=axis).data)
    if isinstance(expected, type):
        assert found is expected
    else:
        np.testing.assert_array_equal(found, expected, strict=True)
        np.sum(np.concatenate(tensors, axis=axis) * 2).backward()
        assert all((t.grad == 2).all() and t.grad.shape == t.shape for t in tensors)


# -- standard deviations whose squares leave the range ----------------------------------------------------------------


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("axis", [0, None])
@pytest.mark.parametrize("size", [1e-315, 1e-300, 1e-200, 1e-160, 1e160, 1e300])
def test_a_standard_deviation_and_its_gradient_hold_at_any_size(size, axis, keepdims):
    """The gradient does not change with the size of all entries: it is that of ordinary ones."""
    ordinary = np.array([[1.0, -3.0, 2.0], [2.0, 4.0, 2.0], [4.0, 1.0, 2.0]])  # in one column all are equal
    x, y = leaf(ordinary * size), leaf(ordinary)
    found, expected = (np.std(t, axis=axis, ddof=1, keepdims=keepdims) for t in (x, y))
    digits = 1e-14 if size > 1e-308 else 1e-7  # subnormal numbers have fewer
    np.testing.assert_allclose(found.data / size, expected.data, rtol=digits)
    for z in (found, expected):
        z.backward(np.ones(z.shape))
    np.testing.assert_allclose(x.grad, y.grad, rtol=digits, atol=digits)


def test_columns_of_all_sizes_have_their_standard_deviations_side_by_side():
    sizes = np.array([1e-310, 1e-200, 1.0, 1e200, 1e308])
    x = leaf(np.array([[-1.0], [1.0]]) * sizes)
    z = np.std(x, axis=0)
    np.testing.assert_allclose(z.data, sizes, rtol=1e-13)
    np.sum(z * np.array([0.1, 0.2, 0.3, 0.4, 0.5])).backward()
    np.testing.assert_allclose(x.grad, np.array([[-0.5], [0.5]]) * [0.1, 0.2, 0.3, 0.4, 0.5], rtol=1e-12)


@pytest.mark.parametrize("dtype", FLOATS)
def test_many_uses_in_half_precision_add_up_within_the_graph_too(dtype):
    """Of a computed Tensor, as of a leaf: 5,000 shares of a thousandth are 5, not the 4 at which halves stop adding."""
    w = leaf(1.0, dtype)
    u = w * dtype(1.0)
    J = u * dtype(0)
    for _ in range(5000):
        J = J + u * dtype(1e-3)
    J.backward()
    assert u.grad.dtype == w.grad.dtype == dtype
    np.testing.assert_allclose([float(u.grad), float(w.grad)], 5, rtol=1e-3)  # 1e-3 itself is rounded


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("f", [np.fmax, np.fmin])
def test_a_number_comes_before_nan_as_in_numpy(f, dtype):
    x, y = np.array([[np.nan, 1, np.nan, 2, 5, 3, np.inf], [1, np.nan, np.nan, 4, 2, 3, np.nan]], dtype)
    a, b = (tg.Tensor(z, requires_grad=True) for z in (x, y))
    z = f(a, b)
    np.testing.assert_array_equal(z.data, f(x, y), strict=True)
    np.testing.assert_array_equal(f(x, b).data, f(x, y), strict=True)
    np.testing.assert_array_equal(f(a, 2.5).data, f(x, dtype(2.5)), strict=True)
    z.backward(np.ones_like(x))
    a_first = f is np.fmin
    np.testing.assert_array_equal(a.grad, [0, 1, 0, a_first, not a_first, 0.5, 1])
    np.testing.assert_array_equal(b.grad[[0, 1, 3, 4, 5, 6]], [1, 0, not a_first, a_first, 0.5, 0])


def test_a_standard_deviation_whose_squares_vanish_has_no_slope():
    x = tg.Tensor([2e-154, np.nextafter(2e-154, 1)], requires_grad=True)
    z = np.std(x)
    z.backward()
    assert z.item() == 0
    np.testing.assert_array_equal(x.grad, [0, 0])


def test_each_row_has_its_own_unit_in_a_standard_deviation():
    x = np.array([[1.0, 2.0, 3.0], [4.0, 4.0, 7.0]]) * np.array([[1e-200], [1e200]])
    expected = np.array([np.sqrt(2 / 3) * 1e-200, np.sqrt(2) * 1e200])
    np.testing.assert_allclose(np.std(tg.Tensor(x), axis=1).data, expected, rtol=1e-15)
