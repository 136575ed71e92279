"""gradcheck passes what is right, finds what is wrong, and says where."""

import inspect
import re

import numpy as np
import pytest

import tinygrad_dls as tg
from tests.test_ops import CASES
from tinygrad_dls import losses, ops
from tinygrad_dls.check import GradientError, gradcheck

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
USED_BY = {"getitem": "slice", "scatter": None}


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
    public = {name for name in tg.__all__ if inspect.getmodule(getattr(tg, name)) in (ops, losses)}
    assert public - composed <= set(RULES)


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


def test_parameters_used_beside_the_layers_count():
    model = tg.nn.LogisticRegression(2)
    model.layers[0].W.data = np.array([[1.0, -2.0]])
    result = gradcheck(lambda model: sum(np.sum(p**2) for p in model.parameters()), model)
    assert (result.rows[0].got, result.rows[0].wrong) in [(2.0, False), (-4.0, False)]


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
        (lambda: gradcheck(lambda x: 1 / x, np.zeros(1)), ValueError, "<lambda> is not finite at these inputs"),
        (lambda: gradcheck(lambda x: x * RNG.random(), 1.0), ValueError, "gives another value each time .* dropout"),
    ],
)
def test_errors_say_what_is_wrong_with_the_question(call, error, text):
    with np.errstate(divide="ignore"), pytest.raises(error, match=text):
        call()
