"""Functions of plain arguments are derived as `tg.grad` differentiates them; those of numbers, op by op."""

import re

import numpy as np
import pytest

import tinygrad_dls as tg
from tests.support.derivations import executed
from tinygrad_dls.engine.errors import RecordingError
from tinygrad_dls.ir import functions


def gaussian(x):
    return x * np.exp(-(x**2))


def gradient(derivation, name, **given):
    """What the final formulas give for a gradient."""
    found = {"np": np, "sigmoid": functions.sigmoid, **given}
    for array, formula in derivation.formulas.items():
        found[array] = eval(formula, found)
    return found[f"d{name}"]


def lines(derivation):
    return [" = ".join([x.left.code, *(y.code for y in x.rights)]) for part in derivation.parts for x in part.lines]


# -- step by step -----------------------------------------------------------------------------------------------------


def test_the_product_rule_and_the_chain_rule_go_op_by_op():
    derivation = tg.derive(gaussian, 1.5)
    assert [part.title for part in derivation.parts] == ["Step by step"]
    assert lines(derivation) == [
        "u1 = x**2",
        "u2 = -u1",
        "u3 = exp(u2)",
        "J = u3*x",
        "dJ/du3 = x",
        "du3/du2 = u3",
        "dJ/du2 = dJ/du3 * du3/du2 = x * u3 = u3*x",
        "du2/du1 = -1",
        "dJ/du1 = dJ/du2 * du2/du1 = u3*x * (-1) = -u3*x",
        "du1/dx = 2*x",
        "dJ/dx = dJ/du1 * du1/dx + u3 = (-u3*x) * 2*x + u3 = u3 - 2*u3*x**2",
        "dJ/dx = exp(-x**2) - 2*x**2*exp(-x**2) = (1 - 2*x**2)*exp(-x**2)",
    ]
    for rule in ("The product rule:", "The power rule.", "The derivative of exp.", "x is used 2 times"):
        assert rule in derivation.text


FUNCTIONS = {
    "x e^-x^2": gaussian,
    "quotient": lambda x: np.sin(x) / (1 + x**2),
    "used three times": lambda x: tg.sigmoid(x) * np.tanh(x) / x,
    "tower": lambda x: np.exp(np.sin(np.log(x))),
    "polynomial": lambda x: x**3 - 2 * x**2 + 0.5 * x - 1,
    "root": lambda x: np.sqrt(1 + np.square(x)),
    "kink": lambda x: np.maximum(x, 0.0) ** 2,
    "absolute": lambda x: np.abs(x) * x,
    "twice the same": lambda x: x + x,
    "a line": lambda x: 3 * x,
    "summands with one gradient": lambda x: x * np.sin(x) + np.log(x),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("x", [0.7, 2.0])
def test_the_steps_are_right_and_end_in_the_gradient_of_grad(name, x):
    f = FUNCTIONS[name]
    derivation, expected = tg.derive(f, x), tg.grad(f)(x)
    np.testing.assert_allclose(gradient(derivation, "x", x=x), expected, rtol=1e-12)
    last = lines(derivation)[-1]
    assert last.startswith("dJ/dx = ")
    *_, result = last.split(" = ")
    known = {f: getattr(np, f) for f in ("absolute", "exp", "sin", "cos", "log", "tanh", "sqrt")} | {"max": max}
    np.testing.assert_allclose(eval(result, {"x": x, **known}), expected, rtol=1e-12)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_step_is_written_twice(name):
    derivation = tg.derive(FUNCTIONS[name], 0.7)
    assert len(set(lines(derivation))) == len(lines(derivation))


def test_each_step_carries_its_number():
    derivation = tg.derive(gaussian, 1.5, values=True)
    numbers = {line.left.code: float(line.value) for line in derivation.parts[-1].lines if line.value is not None}
    assert numbers["u1"] == 2.25
    assert numbers["du1/dx"] == 3
    np.testing.assert_allclose(numbers["dJ/dx"], tg.grad(gaussian)(1.5), rtol=1e-12)


def test_a_rule_that_is_wrong_gets_no_steps():
    @tg.op()
    def slipped(x):
        """The square, with a slip."""
        return x * x, (lambda dz: 3 * dz * x,)

    derivation = tg.derive(lambda x: np.exp(slipped(x)), 1.5)
    assert "Step by step" not in derivation.text
    np.testing.assert_allclose(gradient(derivation, "x", x=1.5), tg.grad(lambda x: np.exp(slipped(x)))(1.5), rtol=1e-12)


# -- with respect to what ---------------------------------------------------------------------------------------------


def product(x, y):
    return x * np.sin(y)


def test_the_first_argument_is_what_is_derived_with_respect_to():
    derivation = tg.derive(product, 2.0, 0.5)
    assert gradient(derivation, "x", x=2.0, y=0.5) == np.sin(0.5)
    assert "dy" not in derivation.formulas


@pytest.mark.parametrize(("wrt", "wanted"), [("y", ["y"]), (["x", "y"], ["x", "y"]), (["y", "x"], ["x", "y"])])
def test_wrt_names_arguments(wrt, wanted):
    derivation = tg.derive(product, 2.0, 0.5, wrt=wrt)
    expected = dict(zip("xy", tg.grad(product, argnums=(0, 1))(2.0, 0.5), strict=True))
    for name in wanted:
        np.testing.assert_allclose(gradient(derivation, name, x=2.0, y=0.5), expected[name], rtol=1e-14)
    assert sorted(x for x in derivation.formulas if x in ("dx", "dy")) == [f"d{name}" for name in wanted]


def test_tensors_keep_their_names_and_may_be_named_by_wrt():
    mass, speed = (tg.Tensor(x, requires_grad=True, name=name) for x, name in [(2.0, "mass"), (3.0, "speed")])

    def energy(m, v):
        return m * v**2 / 2

    both = tg.derive(energy, mass, speed)
    assert gradient(both, "mass", mass=2.0, speed=3.0) == 4.5
    assert gradient(both, "speed", mass=2.0, speed=3.0) == 6
    for wrt in (speed, "speed", "v"):
        one = tg.derive(energy, mass, speed, wrt=wrt)
        assert "dspeed" in one.formulas
        assert "dmass" not in one.formulas
    assert mass.grad is None


def test_a_tensor_without_a_name_is_called_as_the_argument():
    x = tg.Tensor(1.5, requires_grad=True)
    assert tg.derive(gaussian, x).text == tg.derive(gaussian, 1.5).text
    assert tg.derive(gaussian, x, wrt=x).text == tg.derive(gaussian, 1.5).text
    assert x.name is None


def test_arrays_are_derived_like_numbers():
    W, X, Y = np.array([[0.5, -1.0]]), np.arange(18.0).reshape(2, 9), np.ones((1, 9))

    def cost(W, X, Y):
        return np.mean((W @ X - Y) ** 2)

    derivation = tg.derive(cost, W, X, Y)
    assert derivation.formulas["dW"].endswith("/ m) @ X.T") or "m" in derivation.formulas["dW"]
    np.testing.assert_allclose(gradient(derivation, "W", W=W, X=X, Y=Y, m=9), tg.grad(cost)(W, X, Y), rtol=1e-12)


def test_an_argument_with_columns_for_examples_is_derived_at_the_lengths_that_are_given():
    W, X, Y = np.array([[0.5, -1.0]]), np.arange(18.0).reshape(2, 9), np.ones((1, 9))

    def cost(W, X, Y):
        return np.mean((W @ X - Y) ** 2)

    derivation = tg.derive(cost, W, X, Y, wrt="X")
    np.testing.assert_allclose(gradient(derivation, "X", W=W, X=X, Y=Y), tg.grad(cost, 1)(W, X, Y), rtol=1e-12)


def test_a_function_with_parameters_of_its_own_is_derived_with_respect_to_these():
    model, (X, Y) = tg.nn.LogisticRegression(2), tg.datasets.planar_flower()
    by_function = tg.derive(lambda X, Y: tg.binary_cross_entropy_with_logits(model(X), Y), X, Y)
    assert {"dW", "db"} <= by_function.formulas.keys()
    assert "dX" not in by_function.formulas
    J = tg.binary_cross_entropy_with_logits(model(X), Y)
    J.backward()
    np.testing.assert_allclose(executed(by_function, J)["dW"], model.layers[0].W.grad, rtol=1e-10)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda: tg.derive(gaussian, 2),
            TypeError,
            "derive: x holds int64, and only floats have a gradient: write x=2.0.",
        ),
        (lambda: tg.derive(product, 2.0, 3, wrt="y"), TypeError, "derive: y holds int64"),
        (lambda: tg.derive(product, 2.0, 3.0, wrt="z"), ValueError, "no gradient with respect to 'z'"),
        (lambda: tg.derive(lambda x: float(x) ** 2, 2.0), TypeError, "a Python number would lose the graph"),
        (lambda: tg.derive(lambda x: None, 2.0), TypeError, "the function must return the cost"),
        (lambda: tg.derive(lambda x: x, np.ones(3)), TypeError, "a Tensor of a single number"),
        (lambda: tg.derive(product, 2.0), TypeError, "does not take 1 input"),
    ],
)
def test_what_has_no_gradient_is_refused(call, error, text):
    with pytest.raises(error, match=re.escape(text)):
        call()


class _With(tg.nn.Module):
    def __init__(self, more):
        self.more, self.W = more, tg.nn.Parameter(np.ones((1, 3)), name="W")

    def __call__(self, X):
        return self.W @ np.concatenate([X, self.more(X)])


@pytest.mark.parametrize("m", [5, 20, 100])  # a few entries could be written down, of another number of examples
@pytest.mark.parametrize("take", [tg.derive, tg.numpy_source])
def test_ones_for_all_examples_are_refused_and_the_ones_that_it_advises_are_not(take, m):
    X, Y = tg.datasets.planar_flower(100)
    X, Y = X[:, :m], Y[:, :m]
    loss = tg.binary_cross_entropy_with_logits
    with pytest.raises(
        RecordingError, match=r"array \(1, m\) .*: one number for all examples.*np\.ones_like\(X\[:1\]\)"
    ):
        take(_With(lambda X: np.ones((1, X.shape[1]))), X, Y, loss=loss)
    assert str(take(_With(lambda X: np.ones_like(X[:1])), X, Y, loss=loss))
    numbers = np.arange(1000.0)
    if take is tg.derive and m < 100:  # so few are written down, as a dropout mask is
        assert "4" in str(take(_With(lambda X: numbers[None, : X.shape[1]]), X, Y, loss=loss))
    else:
        with pytest.raises(RecordingError, match="a random draw, such as a dropout mask, or data from elsewhere"):
            take(_With(lambda X: numbers[None, : X.shape[1]]), X, Y, loss=loss)
