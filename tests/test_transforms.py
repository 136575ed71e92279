"""Function transforms: they nest, they keep their levels apart, and they say what went wrong."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_dls as tg
from tests.numerical import differences
from tests.test_ops import CASES
from tinygrad_dls.views.symbolic import same, symbols

# The two sides take the same roundings in another order: a handful of 1.1e-16 of numbers of order 1.
EXACT = {"rtol": 1e-13, "atol": 1e-13}
# Central differences of values of order 1, see tests/numerical.py.
SLOPE = {"rtol": 1e-6, "atol": 1e-6}


def data(n_x=3, m=8, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n_x, m)), rng.integers(0, 2, size=(1, m))


# -- what they compute ------------------------------------------------------------------------------------------------


def test_grad_of_a_cubic():
    x = np.array([1.0, -2.0, 0.5])
    np.testing.assert_array_equal(tg.grad(lambda x: np.sum(x**3))(x), 3 * x**2)


def test_derivatives_of_every_order():
    f, expected = np.sin, [np.sin, np.cos, lambda x: -np.sin(x), lambda x: -np.cos(x), np.sin]
    for derivative in expected:
        assert float(f(0.7)) == pytest.approx(derivative(0.7), rel=1e-15)
        f = tg.grad(f)


def test_value_and_gradient_in_one_pass():
    calls = []

    def f(x):
        calls.append(x)
        return np.sum(x * x)

    value, gradient = tg.value_and_grad(f)(np.array([1.0, 2.0]))
    assert (value, gradient.tolist(), len(calls)) == (5.0, [2.0, 4.0], 1)


def test_argnums_choose_the_arguments():
    f = lambda x, y: np.sum(x * x * y)  # noqa: E731
    x, y = np.array([1.0, 2.0]), np.array([3.0, 4.0])
    np.testing.assert_array_equal(tg.grad(f)(x, y), 2 * x * y)
    np.testing.assert_array_equal(tg.grad(f, 1)(x, y), x * x)
    np.testing.assert_array_equal(tg.grad(f, -1)(x, y), x * x)
    both = tg.grad(f, (1, 0))(x, y)
    np.testing.assert_array_equal(both[0], x * x)
    np.testing.assert_array_equal(both[1], 2 * x * y)
    (xx, xy), (yx, yy) = tg.hessian(f, (0, 1))(x, y)
    np.testing.assert_array_equal(xx, np.diag(2 * y))
    np.testing.assert_array_equal(xy, np.diag(2 * x))
    np.testing.assert_array_equal(yx, np.diag(2 * x))
    np.testing.assert_array_equal(yy, np.zeros((2, 2)))


def test_keyword_arguments_are_passed_on():
    assert tg.grad(lambda x, *, power: x**power)(2.0, power=3) == 12


def test_jacobian_of_a_matrix_function_has_both_shapes():
    X, W = np.arange(6.0).reshape(3, 2), np.arange(1.0, 13.0).reshape(4, 3)
    J = tg.jacobian(lambda X: W @ X)(X)
    assert J.shape == (4, 2, 3, 2)
    np.testing.assert_array_equal(J, np.einsum("ik,jl->ijkl", W, np.eye(2)))


def test_jacobian_of_several_outputs_keeps_their_structure():
    J = tg.jacobian(lambda x: {"double": 2 * x, "pair": (x * x, np.sum(x))})(np.array([1.0, 2.0]))
    np.testing.assert_array_equal(J["double"], 2 * np.eye(2))
    np.testing.assert_array_equal(J["pair"][0], np.diag([2.0, 4.0]))
    np.testing.assert_array_equal(J["pair"][1], [1.0, 1.0])


def test_jacobian_of_no_outputs_is_empty():
    assert tg.jacobian(lambda x: x[:0])(np.ones(3)).shape == (0, 3)


@given(st.integers(1, 4), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_hessian_of_logistic_regression_is_x_diag_a_one_minus_a_xt_over_m(n_x, m, seed):
    X, Y = data(n_x, m, seed)
    w = np.random.default_rng(seed).normal(size=(1, n_x))
    H = tg.hessian(lambda w: tg.binary_cross_entropy_with_logits(w @ X, Y))(w).reshape(n_x, n_x)
    a = tg.sigmoid(w @ X)
    np.testing.assert_allclose(H, X @ np.diag((a * (1 - a))[0]) @ X.T / m, **EXACT)


@given(st.integers(0, 2**32 - 1))
def test_hessian_is_the_slope_of_the_gradient_and_symmetric(seed):
    rng = np.random.default_rng(seed)
    A, x = rng.normal(size=(3, 4)), rng.normal(size=4)
    f = lambda x: np.sum(np.tanh(A @ x) ** 2) + np.prod(x)  # noqa: E731
    H = tg.hessian(f)(x)
    slopes = np.stack([differences(lambda x, i=i: tg.grad(f)(x)[i], [x], 1.0)[0] for i in range(4)])
    np.testing.assert_allclose(H, slopes, **SLOPE)
    np.testing.assert_allclose(H, H.T, **EXACT)


@given(st.integers(0, 2**32 - 1))
def test_hvp_is_the_hessian_times_v(seed):
    rng = np.random.default_rng(seed)
    A, x, v = rng.normal(size=(3, 4)), rng.normal(size=4), rng.normal(size=4)
    f = lambda x: np.sum(np.tanh(A @ x) ** 2)  # noqa: E731
    np.testing.assert_allclose(tg.hvp(f)(x, v), tg.hessian(f)(x) @ v, **EXACT)


def test_hvp_of_a_large_argument_needs_no_hessian():
    x = np.ones(200_000)  # its Hessian would take 320 GB
    np.testing.assert_array_equal(tg.hvp(lambda x: np.sum(x**3))(x, 2 * x), 12 * x)


@pytest.mark.parametrize("name", CASES)
def test_third_derivatives_of_every_op(name):
    """The gradient of a sum of second derivatives, by nesting three deep, is the slope of that sum."""
    f, arrays = CASES[name]
    places = tuple(range(len(arrays)))
    weights = np.random.default_rng(0).normal(size=np.shape(f(*arrays)))

    def first(*xs):
        return np.sum(f(*xs) * weights)

    def slope(*xs):
        return sum(np.sum(np.sin(np.arange(1.0, g.size + 1)).reshape(g.shape) * g) for g in tg.grad(first, places)(*xs))

    def sum_of_second(*xs):
        gradients = tg.grad(slope, places)(*xs)
        return sum(np.sum(np.cos(np.arange(1.0, g.size + 1)).reshape(g.shape) * g) for g in gradients)

    assert not any(row.wrong for row in tg.check.gradcheck(sum_of_second, tuple(arrays)).rows)


def test_hessian_of_formulas():
    x = symbols("x", (2,))
    H = tg.hessian(lambda x: np.sum(x**3))(x)
    assert same(H, [[6 * x[0], 0], [0, 6 * x[1]]])


def test_float32_stays_float32():
    x = np.array([0.5, 2.0], np.float32)
    f = lambda x: np.sum(np.exp(x) * 2)  # noqa: E731
    results = tg.grad(f)(x), tg.jacobian(np.exp)(x), tg.hessian(f)(x), tg.hvp(f)(x, x), tg.value_and_grad(f)(x)[0]
    assert {result.dtype for result in results} == {np.dtype(np.float32)}


# -- modules ----------------------------------------------------------------------------------------------------------


def cost(X, Y):
    return lambda model: tg.binary_cross_entropy_with_logits(model(X), Y)


def test_gradients_of_a_module_are_those_of_backward_and_leave_it_as_it_is():
    X, Y = data()
    model = tg.nn.TwoLayerNetwork(3, 4, rng=0)
    before = model.state_dict()
    gradients = tg.grad(cost(X, Y))(model)
    assert all(p.grad is None for p in model.parameters())
    cost(X, Y)(model).backward()
    assert list(gradients) == ["W1", "b1", "W2", "b2"]
    for name, p in model.named_parameters():
        np.testing.assert_array_equal(gradients[name], p.grad)
        np.testing.assert_array_equal(before[name], p.data)
        assert type(gradients[name]) is np.ndarray


def test_hessian_of_a_module_is_by_pairs_of_names_and_its_product_is_hvp():
    X, Y = data(2, 6)
    model = tg.nn.TwoLayerNetwork(2, 3, rng=0, init=tg.init.xavier)
    H = tg.hessian(cost(X, Y))(model)
    assert {name: list(row) for name, row in H.items()} == {name: ["W1", "b1", "W2", "b2"] for name in H}
    assert H["W1"]["b1"].shape == (3, 2, 3, 1)
    np.testing.assert_allclose(H["W1"]["b1"], np.transpose(H["b1"]["W1"], (2, 3, 0, 1)), **EXACT)
    v = {name: np.random.default_rng(1).normal(size=p.shape) for name, p in model.named_parameters()}
    product = tg.hvp(cost(X, Y))(model, v)
    for name in v:
        by_hand = sum(np.tensordot(H[name][other], v[other], axes=v[other].ndim) for other in v)
        np.testing.assert_allclose(product[name], by_hand, **EXACT)


def test_a_frozen_parameter_is_a_constant():
    X, Y = data()
    model = tg.nn.TwoLayerNetwork(3, 4, rng=0)
    model.layers[0].W.requires_grad = False
    assert list(tg.grad(cost(X, Y))(model)) == ["b1", "W2", "b2"]
    for p in model.parameters():
        p.requires_grad = False
    with pytest.raises(TypeError, match="TwoLayerNetwork has no parameter that requires a gradient"):
        tg.grad(cost(X, Y))(model)


def test_a_penalty_on_the_parameters_counts():
    model = tg.nn.LogisticRegression(3)
    model.layers[0].W.data = np.ones((1, 3))
    f = lambda model: sum(np.sum(p**2) for p in model.parameters())  # noqa: E731
    np.testing.assert_array_equal(tg.grad(f)(model)["W"], 2 * np.ones((1, 3)))


def test_a_module_that_the_function_ignores_is_an_error():
    X, Y = data()
    model = tg.nn.LogisticRegression(3)
    with pytest.raises(TypeError, match="<lambda> returned a Tensor that does not depend on its argument"):
        tg.grad(lambda copy: cost(X, Y)(model))(model)


# -- levels -----------------------------------------------------------------------------------------------------------


def test_nested_derivatives_are_not_confused():
    """d/dx (x * d/dy (x + y)) is 1: to the inner derivative, x is a constant."""
    assert tg.grad(lambda x: x * tg.grad(lambda y: x + y)(1.0))(1.0) == 1
    assert tg.grad(lambda x: x * tg.grad(lambda y: x * y)(2.0))(3.0) == 6
    # d/dx of d/dy (x y^2) at y = x is d/dx of 2 x x
    assert tg.grad(lambda x: tg.grad(lambda y: x * y * y)(x))(3.0) == 4 * 3
    # three deep: d/dx x^2 d/dy (y^2 d/dz (x y z))
    inner = lambda x, y: tg.grad(lambda z: x * y * z)(1.0)  # noqa: E731
    middle = lambda x: tg.grad(lambda y: y * y * inner(x, y))(2.0)  # noqa: E731  # 3 y^2 x
    assert tg.grad(lambda x: x * x * middle(x))(3.0) == 3 * 2**2 * 3 * 3**2


def test_the_gradient_of_a_linear_function_is_constant_and_its_hessian_zero():
    assert tg.grad(tg.grad(lambda x: 3 * x))(1.0) == 0
    np.testing.assert_array_equal(tg.hessian(lambda x: np.sum(2 * x))(np.ones(2)), np.zeros((2, 2)))
    np.testing.assert_array_equal(tg.hvp(lambda x: np.sum(2 * x))(np.ones(2), np.ones(2)), np.zeros(2))


def test_a_gradient_with_respect_to_data_can_be_a_penalty_on_parameters():
    X, Y = data()
    model = tg.nn.LogisticRegression(3)
    model.layers[0].W.data = np.array([[1.0, -2.0, 0.5]])
    gradient = tg.grad(lambda X: tg.binary_cross_entropy_with_logits(model(X), Y))(X)
    assert isinstance(gradient, tg.Tensor)
    assert all(p.grad is None for p in model.parameters())
    np.sum(gradient**2).backward()

    def penalty(W):
        dX = W.T @ (tg.sigmoid(W @ X) - Y) / Y.shape[1]
        return np.sum(dX**2)

    (expected,) = differences(penalty, [model.layers[0].W.data.copy()], 1.0)
    np.testing.assert_allclose(model.layers[0].W.grad, expected, **SLOPE)


def test_under_no_grad_the_result_is_plain():
    X, Y = data()
    model = tg.nn.LogisticRegression(3)
    with tg.no_grad():
        value, gradient = tg.value_and_grad(lambda X: tg.binary_cross_entropy_with_logits(model(X), Y))(X)
    assert type(gradient) is np.ndarray
    assert not isinstance(value, tg.Tensor)
    J = cost(X, Y)(model)  # recording is on again
    assert J.requires_grad


def test_a_tensor_gives_a_tensor():
    x = tg.Tensor([1.0, 2.0], requires_grad=True)
    gradient = tg.grad(lambda x: np.sum(x**3))(x)
    np.sum(gradient).backward()
    np.testing.assert_array_equal(x.grad, 6 * x.data)
    constant = tg.grad(lambda x: np.sum(2 * x))(x)
    assert isinstance(constant, tg.Tensor)
    assert not constant.requires_grad


def test_an_exception_in_the_function_leaves_no_trace():
    def f(x):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        tg.grad(f)(1.0)
    assert type(tg.grad(lambda x: x * x)(3.0)) is np.float64


# -- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: tg.grad(3.0), TypeError, r"grad: expected a function, got 3.0. Write tg.grad\(f\)\(x\), not"),
        (lambda: tg.grad(lambda x: x * x)(np.ones(2)), ValueError, r"<lambda> returned shape \(2,\), not a single"),
        (lambda: tg.grad(lambda x: x * x)(3), TypeError, "grad: x has dtype int64: only floating-point .* Write 1.0"),
        (
            lambda: tg.grad(lambda ps: ps[0])(tg.nn.LogisticRegression(2).parameters()),
            TypeError,
            "grad: ps is a list of Tensors. Pass the model itself",
        ),
        (lambda: tg.grad(lambda x: x * x)("a"), TypeError, "x has dtype <U1, and is not numeric"),
        (lambda: tg.grad(lambda x: float(x) ** 2)(3.0), TypeError, r"returned a float that does not .*float\(\)"),
        (lambda: tg.grad(lambda x: print(end=""))(3.0), TypeError, "returned None, that .* forget to return"),
        (lambda: tg.grad(lambda x: x.data * 2)(3.0), TypeError, r"<lambda> returned a \w+ that does not depend"),
        (lambda: tg.grad(lambda x: x, 1)(3.0), TypeError, r"called with 1 argument by position; there is no number 1"),
        (lambda: tg.grad(lambda x: x)(x=3.0), TypeError, "called with 0 arguments by position; there is no number 0"),
        (lambda: tg.hvp(lambda x: np.sum(x))(np.ones(2), np.ones(3)), ValueError, r"v is \(3,\); expected \(2,\)"),
        (lambda: tg.jacobian(lambda x: np.ones(2))(1.0), TypeError, "jacobian: <lambda> returned a ndarray that does"),
        (lambda: tg.hessian(lambda x: 2.0)(1.0), TypeError, "<lambda> returned a float that does not depend"),
    ],
)  # fmt: skip
def test_errors_name_the_function_and_the_likely_mistake(call, error, text):
    with pytest.raises(error, match=text):
        call()
