"""gradcheck passes what is right, finds what is wrong, and says where."""

import copy
import inspect
import pickle
import re

import numpy as np
import pytest

import tinygrad_dls as tg
from tests.check.checked_functions import FUNCTIONS, MISTAKES, points, tampered
from tests.support.op_cases import CASES, public_ops
from tinygrad_dls.check import GradientError, gradcheck
from tinygrad_dls.engine import ops
from tinygrad_dls.nn import losses
from tinygrad_dls.trees import leaves

RNG = np.random.default_rng(0)
LABELS, ONE_HOT = np.array([[0.0, 1.0, 1.0]]), np.eye(3)
LOSSES = {
    "binary_cross_entropy": (lambda A: tg.binary_cross_entropy(A, LABELS), [np.array([[0.2, 0.7, 0.9]])]),
    "binary_cross_entropy_with_logits": (
        lambda Z: tg.binary_cross_entropy_with_logits(Z, LABELS),
        [RNG.normal(size=(1, 3))],
    ),
    "softmax_cross_entropy": (lambda Z: tg.softmax_cross_entropy(Z, ONE_HOT), [RNG.normal(size=(3, 3))]),
    "mean_squared_error": (lambda A: tg.mean_squared_error(A, ONE_HOT), [RNG.normal(size=(3, 3))]),
}
ALL = CASES | LOSSES


@pytest.mark.parametrize("name", ALL)
def test_every_op_passes(name):
    f, arrays = ALL[name]
    assert not any(row.wrong for row in gradcheck(f, tuple(arrays)).rows)


# -- it can fail ------------------------------------------------------------------------------------------------------


def rules():
    """Every rule of the package, by its name: what `op` made, ops used by others included."""
    for module in (ops, losses):
        for name, function in vars(module).items():
            if inspect.isfunction(function) and "rule" in function.__code__.co_freevars:
                yield name.lstrip("_"), function


RULES = dict(rules())
# `scatter` is the gradient of indexing, so a wrong rule of it shows in second derivatives.
USED_BY = {"getitem": "slice", "scatter": None, "of_inner_probabilities": "binary_cross_entropy"}


class Planted:
    """A wrong rule in place of the right one, wherever the op is used."""

    def __init__(self, name, wrong):
        function = RULES[name]
        self.cell = function.__closure__[function.__code__.co_freevars.index("rule")]
        self.rule, self.wrong = self.cell.cell_contents, wrong

    def __enter__(self):
        def wrong_rule(*args, **options):
            value, vjps = self.rule(*args, **options)
            return value, tuple(vjp and (lambda dz, vjp=vjp: self.wrong(vjp(dz))) for vjp in vjps)

        self.cell.cell_contents = wrong_rule

    def __exit__(self, *_):
        self.cell.cell_contents = self.rule


def largest_entry_off(dx):
    dx = np.array(dx, order="C")
    dx.reshape(-1)[np.argmax(np.abs(dx))] *= 1.001
    return dx


WRONG = {
    "sign": lambda dx: -dx,
    "0.1 % too large": lambda dx: dx * 1.001,
    "one entry 0.1 % too large": largest_entry_off,
    "lost": lambda dx: dx * 0,
    "reversed": lambda dx: dx.ravel()[::-1].reshape(dx.shape) if dx.size > 1 else -dx,
}


def case_of(name):
    if name == "scatter":
        return tg.grad(lambda x: np.sum(x[np.array([0, 2, 2])] ** 3)), [np.array([0.5, 1.0, -2.0])]
    return next(case for key, case in ALL.items() if key.split(" ")[0] == USED_BY.get(name, name))


@pytest.mark.parametrize("mistake", WRONG)
@pytest.mark.parametrize("name", RULES)
def test_a_wrong_gradient_planted_in_any_op_is_found(name, mistake):
    f, arrays = case_of(name)
    if mistake == "reversed" and name in ("sum", "mean"):
        f, arrays = lambda x: getattr(tg, name)(x, axis=1), [RNG.normal(size=(3, 2))]  # else all entries are alike
    with Planted(name, WRONG[mistake]), pytest.raises(GradientError):
        gradcheck(f, tuple(arrays))
    assert gradcheck(f, tuple(arrays))  # and the op is whole again


def test_there_is_a_rule_for_every_public_op():
    composed = {"dot", "stack"}  # of matmul, multiply, concatenate and expand_dims
    assert public_ops() - composed <= set(RULES)


@pytest.mark.parametrize("factor", [2, 1.01])
def test_one_wrong_entry_among_twenty_thousand_is_found_and_named(factor):
    @tg.op()
    def square(x):
        def dx(dz):
            dx = dz * 2 * x
            dx[12, 34] *= factor
            return dx

        return x * x, (dx,)

    with pytest.raises(GradientError) as error:
        gradcheck(square, np.random.default_rng(1).normal(size=(100, 200)))
    assert error.value.result.rows[0].worst == (12, 34)
    assert str(error.value).startswith("gradcheck: the gradient of square with respect to x is wrong at [12, 34]: got ")


def test_the_error_names_function_argument_index_got_and_expected():
    @tg.op()
    def product(x, y):
        return x * y, (lambda dz: dz * y, lambda dz: dz * y)

    with pytest.raises(GradientError) as error:
        gradcheck(product, (np.array([2.0, 3.0]), np.array([2.0, 5.0])))
    text = str(error.value)
    pattern = r"gradcheck: the gradient of product with respect to y is wrong at \[1\]: got (\S+), expected (\S+) by"
    got, expected = map(float, re.match(pattern, text).groups())
    assert got / expected == pytest.approx(5 / 3)  # y instead of x; the weights cancel
    assert re.search(r"\nx  \(2,\) .* ok\ny  \(2,\) .* WRONG", text)
    for again in (pickle.loads(pickle.dumps(error.value)), copy.deepcopy(error.value)):  # as to another process
        assert (str(again), str(again.result)) == (text, str(error.value.result))


def test_a_wrong_parameter_of_a_module_is_named():
    class Halved(tg.nn.Linear):
        def __call__(self, a):
            return tg.matmul(self.W, a) + self.b / 2 + self.b.detach() / 2

    X = RNG.normal(size=(2, 5))
    model = tg.nn.Sequential(Halved(2, 3, rng=0), tg.nn.Tanh(), tg.nn.Linear(3, 1, rng=1))
    with pytest.raises(GradientError, match=r"the gradient of cost with respect to b1 is wrong at \[\d, 0\]"):
        gradcheck(cost_of(X, LABELS_5), model)


# -- what it reports --------------------------------------------------------------------------------------------------

LABELS_5 = np.array([[0, 1, 1, 0, 1]])


def cost_of(X, Y):
    def cost(model):
        return tg.binary_cross_entropy_with_logits(model(X), Y)

    return cost


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_model_passes_and_the_courses_ratio_is_small(dtype):
    model = tg.nn.TwoLayerNetwork(2, 3, rng=0, init=tg.init.xavier, dtype=dtype)
    before = model.state_dict()
    result = gradcheck(cost_of(RNG.normal(size=(2, 5)).astype(dtype), LABELS_5), model)
    assert [row.argument for row in result.rows] == ["W1", "b1", "W2", "b2"]
    # the course calls 1e-7 good; float32 rules have seven digits, less the cancellation in sums
    assert all(row.ratio < (1e-7 if dtype is np.float64 else 1e-5) for row in result.rows)
    for name, p in model.named_parameters():
        assert p.grad is None
        np.testing.assert_array_equal(p.data, before[name])


@pytest.mark.parametrize(
    "kind", [lambda W, b: {"W": W, "b": b}, lambda W, b: {"layers": [(W, b)]}, lambda W, b: [W, b]]
)
def test_arrays_in_dicts_and_lists_are_checked_each_by_itself(kind):
    def f(p, X, wrong=False):
        W, b = leaves(p)
        return tanh_with_a_wrong_gradient(W @ X + b) if wrong else np.tanh(W @ X + b)

    inputs = kind(RNG.normal(size=(3, 2)), np.zeros((3, 1))), X_2
    result = gradcheck(f, inputs)
    assert [row.shape for row in result.rows] == [(3, 2), (3, 1), X_2.shape]
    assert result.rows[0].argument in ("p['W']", "p['layers'][0][0]", "p[0]")
    assert result.complete
    with pytest.raises(GradientError, match=r"with respect to p\['W'\]|p\['layers'\]\[0\]\[0\]|p\[0\] is wrong"):
        gradcheck(lambda p, X: f(p, X, wrong=True), inputs)


@tg.op()
def tanh_with_a_wrong_gradient(z):
    a = np.tanh(z)
    return a, (lambda da: da * (1 - a),)


def test_parameters_used_beside_the_layers_count():
    model = tg.nn.LogisticRegression(2)
    model.layers[0].W.data = np.array([[1.0, -2.0]])
    result = gradcheck(lambda model: sum(np.sum(p**2) for p in model.parameters()), model)
    assert (result.rows[0].got, result.rows[0].wrong) in [(2.0, False), (-4.0, False)]


def test_a_notebook_shows_the_table():
    result = gradcheck(np.tanh, 0.5)
    assert repr(result) == str(result)


def test_the_table_prints_in_columns():
    lines = str(gradcheck(lambda w, b: tg.relu(w) * b, (np.array([1.0, 0.0]), np.array(2.0)))).splitlines()
    assert lines[0].split() == ["shape", "checked", "method", "ratio", "worst", "at", "autodiff", "slope"]
    assert re.match(r"w  \(2,\) +all 2 entries  central differences  \S+e\S+ .* ok, 1 kink, first at \[1\]$", lines[1])
    assert re.match(r"b  \(\) +its entry      \w+ \w+ .* \[\] .* ok$", lines[2])


@pytest.mark.parametrize("f", [tg.relu, tg.abs, lambda x: tg.maximum(x, 0.0), lambda x: tg.clip(x, 0.0, 2.0)])
def test_a_kink_is_reported_and_does_not_fail(f):
    (row,) = gradcheck(f, np.array([-1.0, 0.0, 1.0])).rows
    assert (row.kinks, row.compared, row.wrong) == ([(1,)], 2, False)


def test_a_kink_nearby_is_stepped_around():
    (row,) = gradcheck(tg.relu, np.array([1e-5, -1e-6])).rows
    assert (row.kinks, row.compared, row.wrong) == ([], 2, False)


def test_kinks_among_many_entries_are_found_by_halving():
    x = RNG.uniform(0.5, 1, size=1000)
    x[[7, 500]] = 0
    (row,) = gradcheck(tg.relu, x).rows
    assert set(row.kinks) >= {(7,), (500,)}
    assert not row.wrong


def test_nothing_but_kinks_is_said():
    (row,) = (result := gradcheck(tg.abs, np.zeros(3))).rows
    assert row.compared == 0
    assert "nothing to compare, 3 kinks, first at [0]" in str(result)


def test_the_method_is_exact_where_the_function_is_analytic():
    methods = {f: gradcheck(f, np.array([0.5, -0.3])).rows[0].method for f in (np.tanh, np.exp, np.abs, tg.sigmoid)}
    assert methods[np.tanh] == methods[np.exp] == "complex step"
    assert methods[np.abs] == "central differences"  # |z| of a complex number is another function


def test_second_derivatives_by_checking_a_gradient():
    assert gradcheck(tg.grad(lambda x: np.sum(np.tanh(x) ** 3)), RNG.normal(size=4)).rows[0].argument == "x"


def test_large_and_small_magnitudes():
    for scale in (1e-6, 1e6):
        x = np.array([1.0, 2.0, 3.0]) * scale
        assert gradcheck(lambda x: np.sum(x**2 / 7), x).rows[0].ratio < 1e-7
        assert gradcheck(np.log, x).rows[0].ratio < 1e-7


def test_a_projection_of_gradients_whose_squares_overflow():
    @tg.op()
    def power(x, factor):
        return np.exp(x), (lambda dz: dz * np.exp(x) * factor, None)

    x = np.full(100, 600.0)
    assert not gradcheck(lambda x: np.sum(power(x, 1)), x).rows[0].wrong
    factor = np.ones(100)
    factor[50] = 1.1
    with pytest.raises(GradientError, match=r"wrong at \[50\]"):
        gradcheck(lambda x: np.sum(power(x, factor)), x)


def test_the_noise_of_a_function_that_cancels_large_terms_is_allowed_for():
    def f(x):  # 3x, with 1e-10 of noise
        return (x * 1e6 + 3 * x) - x * 1e6

    (row,) = gradcheck(f, np.array([0.7, 1.1])).rows
    assert not row.wrong
    with Planted("multiply", WRONG["0.1 % too large"]), pytest.raises(GradientError):
        gradcheck(lambda x: 3 * x, np.array([0.7, 1.1]))


def test_integers_among_the_arguments_are_left_alone():
    result = gradcheck(lambda x, n: x**n, (np.array([1.5, 2.0]), np.array([2, 3])))
    assert [row.argument for row in result.rows] == ["x"]


X_2 = np.ones((2, 5))
UNITS = tg.nn.LogisticRegression(2)
DROPS = tg.nn.Sequential(tg.nn.Linear(9, 9, rng=0), tg.nn.Dropout(0.5, rng=0))


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: gradcheck(2.0, 1.0), TypeError, r"expected a function, got 2.0. Write gradcheck\(f, x\)"),
        (lambda: gradcheck(np.tanh, 1), TypeError, "no input is of floats, so there is nothing to differentiate"),
        (
            lambda: gradcheck(lambda x: np.ones(2), 1.0),
            TypeError,
            "<lambda> returned a ndarray that does not",
        ),
        (lambda: gradcheck(lambda model, x: 0, (UNITS, X_2)), TypeError, "not be checked; pass the model alone"),
        (lambda: gradcheck(lambda model: model(X_2), [UNITS]), TypeError, r"gradcheck\(lambda model: \.\.\., model\)"),
        (
            lambda: gradcheck(lambda W, b: W @ X_2 + b, UNITS.parameters()),
            TypeError,
            "cannot take these .*'b'. A tuple",
        ),
        (lambda: gradcheck(lambda W: 0, ({"W": UNITS},)), TypeError, "not be checked; pass the model alone"),
        (lambda: gradcheck(lambda x: 1 / x, np.zeros(1)), ValueError, "<lambda> is not finite at these inputs"),
        (lambda: gradcheck(lambda x: x * RNG.random(), 1.0), ValueError, "gives another value each time .* dropout"),
        (lambda: gradcheck(lambda model: np.sum(model(np.ones((9, 9)))), DROPS), ValueError, r"model.eval\(\)"),
    ],
)
def test_errors_say_what_is_wrong_with_the_question(call, error, text):
    with np.errstate(divide="ignore"), pytest.raises(error, match=text):
        call()


# -- near kinks -------------------------------------------------------------------------------------------------------


@tg.op()
def halved(x):
    """ReLU with half its gradient."""
    return np.maximum(x, 0), (lambda dz: dz * 0.5 * (x > 0),)


@tg.op()
def a_tenth_off(x):
    return np.maximum(x, 0), (lambda dz: dz * 1.1 * (x > 0),)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("distance", [10.0**-k for k in range(4, 13)])
def test_a_kink_however_near_is_no_mistake(distance, sign):
    (row,) = gradcheck(lambda x: np.sum(tg.relu(x)), np.array([sign * distance, 1.0])).rows
    assert (len(row.kinks) + len(row.noisy) + row.compared, row.wrong) == (2, False)
    assert distance < 1e-9 or row.compared == 2  # steps of 1e-9 still tell a slope of 1 to six digits


@pytest.mark.parametrize("distance", [1e-3, 1e-5, 1e-7, 1e-9])
@pytest.mark.parametrize("f", [halved, a_tenth_off])
def test_a_wrong_gradient_near_a_kink_is_found(f, distance):
    with pytest.raises(GradientError):
        gradcheck(lambda x: np.sum(f(x)), np.array([distance, -1.0]))


@pytest.mark.parametrize("seed", [0, 1, 2, 3, 46, 48, 55, 108, 139, 145])  # the last six have kinks close by
def test_networks_of_relu_pass_and_wrong_ones_do_not(seed):
    r = np.random.default_rng(seed)
    X, Y = r.normal(size=(2, 200)), r.integers(0, 2, size=(1, 200))
    gradcheck(cost_of(X, Y), tg.nn.TwoLayerNetwork(2, 8, activation=tg.nn.ReLU(), rng=seed))

    class Wrong(tg.nn.Module):
        def __call__(self, a):
            return a_tenth_off(a)

    with pytest.raises(GradientError):
        gradcheck(cost_of(X, Y), tg.nn.TwoLayerNetwork(2, 8, activation=Wrong(), rng=seed))


def test_two_kinks_that_meet_are_reported():
    def f(x):  # slopes 1.1 and 1, and the rules say 0
        return 1.1 * tg.relu(x) - tg.relu(-x)

    (row,) = gradcheck(f, np.array([0.0, 1.0])).rows
    assert (row.kinks, row.compared, row.wrong) == ([(0,)], 1, False)


def test_a_flat_spot_is_no_kink():
    (row,) = gradcheck(lambda x: x**4 + 0 * np.abs(x - 1), np.array([0.0, 0.5])).rows
    assert (row.kinks, row.noisy, row.compared) == ([], [], 2)


def test_with_too_many_kinks_it_says_that_projections_were_not_compared():
    x = RNG.uniform(0.5, 1, size=1000)
    x[:100] = 0
    (row,) = (result := gradcheck(tg.relu, x)).rows
    assert not row.wrong
    assert row.uncompared == 8
    assert str(result).endswith("8 projections not compared")


# -- small entries, and edges -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("x", [1.0, 1e-5, 1e-9, 1e-30])
def test_a_wrong_gradient_at_the_edge_of_the_domain_is_found(x):
    @tg.op()
    def bad_log(x):
        return np.log(x), (lambda dz: dz * 7 / x,)

    def real_log(x):  # refuses complex numbers
        return np.sum(bad_log(x)) if isinstance(x, tg.Tensor) else float(x)

    for f in (lambda x: np.sum(bad_log(x)), real_log):
        with pytest.raises(GradientError):
            gradcheck(f, np.array([x]))
    assert gradcheck(lambda x: np.sum(np.log(x)), np.array([x])).rows[0].ratio < 1e-7


def test_an_entry_without_a_slope_is_not_called_right():
    @tg.op()
    def power(x):  # of no sense below 0, and not for complex numbers
        return np.power(x, 1.5, dtype=float), (lambda dz: dz * 1.5 * x**0.5,)

    (row,) = (result := gradcheck(power, np.array([0.0, 2.0]))).rows
    assert (row.edges, row.compared, row.wrong) == ([(0,)], 1, False)
    assert str(result).endswith(" ok, 1 without a slope, first at [0]")
    assert "nothing to compare, 1 without a slope" in str(gradcheck(power, np.zeros(1)))
    assert gradcheck(lambda x: x**1.5, np.zeros(1)).rows[0].method == "complex step"


@pytest.mark.parametrize("factor", [1e4, 1e8])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_wrong_sign_beside_a_large_entry_is_found(factor, dtype):
    @tg.op()
    def square(x):
        return x**2, (lambda dz: dz * 2 * x * np.array([1, -1], dtype=x.dtype),)

    with pytest.raises(GradientError, match=r"is wrong at \[1\]: got -2, expected (2|1\.9999\d*|2\.0000\d*) by"):
        gradcheck(lambda x: np.sum(square(x) * np.array([factor, 1], dtype=dtype)), np.ones(2, dtype))


def test_an_entry_below_the_noise_is_said_to_be_too_noisy_to_tell():
    @tg.op()
    def square(x):  # real only, so that differences are all there is
        return np.square(x, dtype=float), (lambda dz: dz * 2 * x * np.array([1, -1]),)

    (row,) = (result := gradcheck(lambda x: np.sum(square(x) * np.array([1e13, 1.0])), np.ones(2))).rows
    assert (row.noisy, row.compared) == ([(1,)], 1)
    assert str(result).endswith(" ok, 1 too noisy to tell, first at [1]")


def test_a_gradient_that_is_zero_up_to_rounding_is_right():
    Z = RNG.normal(size=(3, 5))
    for f in (lambda Z: np.sum(tg.softmax(Z)), lambda Z: tg.softmax_cross_entropy(Z, np.full((3, 5), 1 / 3)) * 0):
        (row,) = gradcheck(f, Z).rows
        assert (row.compared, row.noisy, row.wrong) == (15, [], False)


def test_a_rule_that_fails_in_float32_alone_is_found():
    @tg.op()
    def square(x):
        return x**2, (lambda dz: dz * x * (2 if x.dtype == np.float64 else 3),)

    gradcheck(square, np.ones(2))
    with pytest.raises(GradientError, match=r"at \[0\]: got 3.*, expected 2.* by autodiff in float64"):
        gradcheck(lambda x: np.sum(square(x)), np.ones(2, np.float32))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_gradient_that_is_not_finite_is_called_that(bad):
    @tg.op()
    def square(x):
        return x**2, (lambda dz: dz * 2 * x * np.array([1, bad]),)

    text = rf"the gradient of <lambda> with respect to x is not finite at \[1\]: got {bad}\.\n"
    with pytest.raises(GradientError, match=text) as error:
        gradcheck(lambda x: np.sum(square(x)), np.ones(2))
    assert str(error.value).endswith("WRONG: not finite")


@tg.op()
def unrelated(x):
    """Zero, with a gradient from elsewhere."""
    return np.zeros_like(x), (lambda dz: dz * 0.5,)


# -- it does not cry wolf ---------------------------------------------------------------------------------------------


class Tied(tg.nn.Module):
    """One W three times, beginning at 0: the cost is of third order in it."""

    def __init__(self):
        self.W = tg.nn.Parameter(np.zeros((2, 2)))

    def __call__(self, x):
        return self.W @ np.tanh(self.W @ np.tanh(self.W @ x))


@pytest.mark.parametrize("scale", [1.0, 1e50, 1e-50])
@pytest.mark.parametrize(
    "f",
    [
        lambda z: z**3, lambda z: z * z * z, lambda z: z**5, lambda z: z * np.abs(z), lambda z: np.sin(z) ** 3,
        lambda z: np.sum(z) ** 3, lambda z: z[0] * z[1] * z[2], lambda z: np.prod(z), lambda z: 1 + z**4,
        lambda z: (1 - np.cos(z)) ** 2,
    ],
)  # fmt: skip
def test_a_gradient_that_vanishes_to_higher_order_is_right(f, scale):
    (row,) = gradcheck(lambda z: scale * f(z), np.zeros(3)).rows
    assert (row.compared, row.wrong) == (3, False)
    with pytest.raises(GradientError):  # beside it, a term is lost
        gradcheck(tampered(lambda z: scale * (f(z) + z), lambda dz: 0 * dz), np.zeros(3))


def test_a_weight_that_is_used_three_times_may_begin_at_zero():
    X = RNG.normal(size=(2, 5))
    (row,) = gradcheck(lambda model: np.sum(model(X)), Tied()).rows
    assert (row.compared, row.wrong) == (4, False)


@pytest.mark.parametrize("z", [10.0, 14.0, 16.0, 20.0, 25.0, 30.0, 36.0, 40.0, 100.0, 1000.0])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_sure_sigmoid_is_right_or_too_noisy_to_tell(z, dtype):
    def cost(z):
        return tg.binary_cross_entropy(tg.sigmoid(z), np.array([[0]]))

    result = gradcheck(cost, np.array([[z]], dtype=dtype))
    assert result.complete or z > 20
    assert result.complete or "too noisy to tell, first at [0, 0]" in str(result)


SURE = {
    "logits": lambda z, y: tg.binary_cross_entropy_with_logits(z, y),
    "of a sigmoid": lambda z, y: tg.binary_cross_entropy(tg.sigmoid(z), y),
    "softmax": lambda z, y: tg.softmax_cross_entropy(np.concatenate([0 * z, z]), y),
    "beside an unsure one": lambda z, y: tg.binary_cross_entropy_with_logits(
        np.concatenate([z, 0 * z + 1], axis=1), np.concatenate([y, 1 - y], axis=1)
    ),
}


@pytest.mark.parametrize("y", [0, 1])
@pytest.mark.parametrize("name", SURE)
def test_a_gradient_of_rounded_terms_is_not_called_wrong(name, y):
    """``A - Y`` has no digits left where A is 1 but for the last of its own, and is 0 beyond."""
    for z in (20.0, 25.0, 30.0, 34.0, 36.0, 37.0, 40.0, 100.0, 500.0):
        gradcheck(lambda z: SURE[name](z, np.array([[y]])), np.array([[z if y else -z]]))


@pytest.mark.parametrize("mistake", ["sign", "0.1 % too large", "lost", "reversed"])
@pytest.mark.parametrize("z", [1.0, 20.0, 25.0, 37.0, 100.0])
def test_a_wrong_gradient_as_small_as_that_is_found(z, mistake):
    """That of ``e^-z``, which does not round: only its size is alike."""
    with Planted("exp", WRONG[mistake]), pytest.raises(GradientError):
        gradcheck(lambda z: np.sum(np.exp(-z)), np.array([z]))


# whose values have no digits to tell a slope by, at most points; and those whose wrong gradients are zero as well
HARDLY_TOLD = {"1e100 x^3", "1e9 (1 + 1e-9 x)", "(x + 1e10) - 1e10", "(x + 1e17) - 1e17", "x^2 + 1e16", "x + 1e30"}
NEVER_FOUND = {"0 x", "x - x", "halves", "(x + 1e17) - 1e17", "x^2 + 1e16", "x + 1e30"}


@pytest.mark.parametrize(
    ("name", "dtype"),
    [(name, np.float64) for name in FUNCTIONS] + [(name, np.float32) for name in FUNCTIONS if "real" not in name],
)
def test_a_right_gradient_is_never_called_wrong(name, dtype):
    """At points of all magnitudes, on plateaus, at kinks: 29 for each function."""
    told = 0
    with np.errstate(all="ignore"):
        for _, x in points(np.random.default_rng(1)):
            if not np.all(np.isfinite(x.astype(dtype))):
                continue
            try:
                told += gradcheck(FUNCTIONS[name], x.astype(dtype)).rows[0].compared
            except (ValueError, GradientError) as error:  # the function is not finite there, or its gradient is not
                if "is not finite at" not in str(error):
                    raise
    assert told >= 20 or name.removesuffix(", real") in HARDLY_TOLD  # of 87


PLACES = ("1e-6", "1e0", "1e1", "20", "near 1", "mixed")


def below_all_digits(f, x, i, gradient):
    """Whether a slope is less than a millionth of what slopes nearby are like, or does not change the function."""
    size = max(1, abs(x[i]))
    steps = [np.eye(3)[i] * s * 1e-3 * size for s in (1, -1)]
    (middle, *sides) = (np.sum(f(x + step)) for step in [np.zeros(3), *steps])
    changes = [abs(side - middle) for side in sides]
    # 3: a weighted sum of three was looked at, with weights of about 1
    return (
        max(changes) == 0 or abs(gradient) < 3 * 2e-6 * max(np.sum(np.abs(f(x))), *(c / 1e-3 for c in changes)) / size
    )


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.parametrize("name", [name for name in FUNCTIONS if not name.endswith("real")])
def test_a_wrong_gradient_is_never_called_right(name, mistake):
    """It is found, or what is wrong is among that which cannot be told, or is 0 for what is below all digits."""
    f, wrong = FUNCTIONS[name], tampered(FUNCTIONS[name], MISTAKES[mistake])
    at = dict(points(np.random.default_rng(1)))
    found, passed = 0, []
    with np.errstate(all="ignore"):
        for place in PLACES:
            x = at[place]
            right, got = (tg.grad(lambda x, g=g: np.sum(g(x)))(x) for g in (f, wrong))
            off = np.abs(right - got) > 1e-4 * np.maximum(np.abs(right), np.abs(got))
            try:
                (row,) = gradcheck(wrong, x).rows
            except ValueError:
                continue
            except GradientError:
                found += 1
                continue
            untold = [*row.noisy, *row.kinks, *row.edges]
            left = [i for (i,) in zip(*np.nonzero(off), strict=True) if (i,) not in untold]
            passed += [(place, i) for i in left if got[i] != 0 or not below_all_digits(f, x, i, right[i])]
    assert not passed
    assert found or name in NEVER_FOUND


def test_infinite_inputs_have_no_slope():
    with np.errstate(invalid="ignore"):
        (row,) = gradcheck(lambda x: np.sum(1 / x), np.array([np.inf, 2.0])).rows
    assert (row.edges, row.compared, row.wrong) == ([(0,)], 1, False)


def test_a_function_that_stands_still_has_no_other_gradient_than_zero():
    for f in (lambda x: tg.relu(x), lambda x: np.sum(x * 0) + 5, lambda x: np.where(x > 0, x, 0 * x)):
        assert gradcheck(f, np.array([-1.0, -2.0])).complete
        with pytest.raises(GradientError, match="expected 0 by"):
            gradcheck(lambda x, f=f: np.sum(f(x)) + np.sum(unrelated(x)), np.array([-1.0, -2.0]))


# -- what it costs ----------------------------------------------------------------------------------------------------


def test_it_takes_few_evaluations():
    """Of a slope, about six: two for each of two or three steps."""
    X, Y = RNG.normal(size=(100, 20)), RNG.integers(0, 2, size=(1, 20))
    calls = []

    def cost(model):
        calls.append(1)
        return tg.binary_cross_entropy_with_logits(model(X), Y)

    gradcheck(cost, tg.nn.TwoLayerNetwork(100, 20, rng=0))
    assert len(calls) < 8 * (24 + 24 + 20 + 1)  # slopes: of W1 and b1, eight projections and sixteen entries, ...


def test_frozen_parameters_are_shared_with_the_model():
    seen = []

    class Frozen(tg.nn.Module):
        def __init__(self):
            self.W, self.c = tg.nn.Parameter(np.ones(2)), tg.nn.Parameter(np.ones(3))
            self.c.requires_grad = False

        def __call__(self):
            seen.append(self.c)
            return np.sum(self.W**2) + np.sum(self.c)

    model = Frozen()
    gradcheck(lambda model: model(), model)
    assert all(c is model.c for c in seen)
