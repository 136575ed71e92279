"""Ops in single cases: slopes by differences, choices at kinks and ties, extremes. Beside test_op_properties.py."""

import re

import numpy as np
import pandas as pd
import pytest

import tinygrad_dls as tg
from tests.support.numerical import assert_gradients, assert_second_derivatives
from tests.support.op_cases import CASES, REDUCTIONS, distinct
from tinygrad_dls import symbolic


@pytest.mark.parametrize("name", CASES)
def test_gradient_is_the_slope_of_the_value(name):
    f, arrays = CASES[name]
    assert_gradients(f, *arrays)


@pytest.mark.parametrize("name", CASES)
def test_second_derivative_is_the_slope_of_the_gradient(name):
    f, arrays = CASES[name]
    assert_second_derivatives(f, *arrays)


# -- the choices at ties and kinks ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("f", "x", "expected"),
    [
        (tg.relu, [-1.0, 0.0, 2.0], [0, 0, 1]),
        (tg.abs, [-1.0, 0.0, 2.0], [-1, 0, 1]),
        (lambda x: tg.maximum(x, 0.0), [-1.0, 0.0, 2.0], [0, 0.5, 1]),
        (lambda x: tg.minimum(x, 0.0), [-1.0, 0.0, 2.0], [1, 0.5, 0]),
        (lambda x: tg.minimum(0.0, x), [-1.0, 0.0, 2.0], [1, 0.5, 0]),
        (lambda x: tg.maximum(x, x), [-1.0, 0.0], [1, 1]),
        (tg.std, [0.1, 0.1, 0.1], [0, 0, 0]),  # NumPy's std is 1e-17 here
        (lambda x: tg.clip(x, 0.0, 1.0), [-1.0, 0.0, 0.5, 1.0, 2.0], [0, 1, 1, 1, 0]),
        (tg.max, [1.0, 3.0, 3.0], [0, 0.5, 0.5]),
        (tg.min, [1.0, 1.0, 3.0], [0.5, 0.5, 0]),
        (tg.std, [2.0, 2.0, 2.0], [0, 0, 0]),
        (lambda x: x**0, [0.0, -1.0, 2.0], [0, 0, 0]),
        (lambda x: x ** np.zeros(3), [0.0, -1.0, 2.0], [0, 0, 0]),
        (lambda x: x**1, [0.0, -1.0, 2.0], [1, 1, 1]),
        (lambda x: x ** np.ones(3), [0.0, -1.0, 2.0], [1, 1, 1]),
        (lambda x: 0.0**x, [0.0, 1.0, 2.0], [0, 0, 0]),
        (lambda x: np.zeros(3) ** x, [0.0, 1.0, 2.0], [0, 0, 0]),
    ],
)
def test_choice_at_kinks_and_ties(f, x, expected):
    t = tg.Tensor(x, requires_grad=True)
    np.sum(f(t)).backward()
    np.testing.assert_array_equal(t.grad, expected)


def test_the_slope_of_a_pole_is_infinite():
    x = tg.Tensor([0.0], requires_grad=True)
    with np.errstate(divide="ignore"):
        (x ** np.array([-1.0])).backward([1.0])
    assert x.grad == -np.inf


@pytest.mark.parametrize(
    ("f", "expected"),
    [
        (tg.relu, [0, 0, 0.5]),
        (tg.softplus, [np.log1p(np.exp(-0.5)), np.log(2), np.log1p(np.exp(0.5))]),
        (tg.sigmoid, [1 / (1 + np.exp(0.5)), 0.5, 1 / (1 + np.exp(-0.5))]),
    ],
)
def test_value_close_to_the_kink(f, expected):
    np.testing.assert_allclose(f(np.array([-0.5, 0, 0.5])), expected, rtol=1e-15)


@pytest.mark.parametrize("name", [*REDUCTIONS, "cumsum"])
def test_without_options_a_reduction_is_numpys(name):
    x = distinct(2, 3)
    np.testing.assert_array_equal(getattr(tg, name)(x), getattr(np, name)(x), strict=True)
    np.testing.assert_array_equal(getattr(tg, name)(x, axis=0), getattr(np, name)(x, axis=0), strict=True)
    assert getattr(tg, name)(3.0) == getattr(np, name)(3.0)


def test_without_options_logsumexp_is_of_all():
    assert tg.logsumexp(np.zeros((2, 3))) == pytest.approx(np.log(6))
    assert np.shape(tg.logsumexp(np.zeros((2, 3)))) == ()
    assert tg.logsumexp(np.zeros((2, 3)), axis=0).shape == (3,)


def test_arrays_of_arrays_can_be_joined_and_methods_take_no_axes():
    x = np.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(tg.concatenate(x), np.arange(6))
    np.testing.assert_array_equal(tg.stack(x), x)
    assert tg.Tensor([2.0]).reshape().shape == ()
    np.testing.assert_array_equal(tg.Tensor(x).transpose().data, x.T)


def test_classes_are_rows_and_arrays_are_joined_as_rows_unless_an_axis_is_given():
    Z = np.array([[0.0, 1.0], [0.0, 1.0]])
    np.testing.assert_array_equal(tg.softmax(Z), np.full((2, 2), 0.5))
    np.testing.assert_allclose(tg.log_softmax(Z), np.full((2, 2), np.log(0.5)), rtol=1e-15)
    assert tg.concatenate([Z, Z]).shape == (4, 2)
    assert tg.stack([Z, Z, Z]).shape == (3, 2, 2)


# -- extremes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["sigmoid", "tanh", "relu", "softplus", "softmax", "log_softmax", "logsumexp"])
def test_no_warning_and_nothing_infinite_at_a_thousand(name, dtype):
    z = tg.Tensor(np.array([[-1000.0, -100, -1, 0, 1, 100, 1000]], dtype), requires_grad=True)
    z = tg.concatenate([z, -z, z / 2], axis=0)
    a = getattr(tg, name)(z)
    assert a.dtype == dtype
    assert np.isfinite(a).all()
    a.backward(np.ones(a.shape, dtype))
    assert np.isfinite(z.grad).all()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_sigmoid_is_exact_in_its_tails_and_strictly_between_0_and_1(dtype):
    info = np.finfo(dtype)
    z = np.array([-1000, np.log(info.smallest_normal) + 1, -5, 0, 5, 1000], dtype)
    a = tg.sigmoid(z)
    assert ((a > 0) & (a < 1)).all()
    np.testing.assert_allclose(a[1:3], np.exp(z[1:3]) / (1 + np.exp(z[1:3])), rtol=4 * info.eps)
    assert 1 - a[-1] == info.epsneg


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0)])
@pytest.mark.parametrize("f", [tg.sum, tg.prod, lambda x: x * x, lambda x: tg.sum(x, axis=-1), lambda x: x.reshape(-1)])
def test_empty_arrays_have_empty_gradients(f, shape):
    t = tg.Tensor(np.ones(shape), requires_grad=True)
    z = f(t)
    z.backward(np.ones(z.shape))
    assert t.grad.shape == shape


def test_the_mean_of_no_rows_has_an_empty_gradient():
    t = tg.Tensor(np.ones((0, 3)), requires_grad=True)
    for f in (tg.mean, tg.var, tg.std):
        f(t, axis=1).backward(np.ones(0))
        assert t.grad.shape == (0, 3)


def test_gradients_keep_their_digits_where_values_lose_them():
    x = tg.Tensor([-40.0], requires_grad=True)
    tg.expm1(x).backward([1.0])
    assert x.grad[0] == np.exp(-40.0)
    # log(1/2), not 1000 + log(2) - 1000 in seven digits
    np.testing.assert_array_equal(tg.log_softmax(np.full((2, 1), 1000, np.float32)), np.log(np.full((2, 1), 0.5, "f4")))


def test_float32_stays_float32_in_the_exponent():
    h = tg.Tensor(np.ones(2, np.float32), requires_grad=True) * 1
    (2.0**h).backward(np.ones(2, np.float32))
    assert h.grad.dtype == np.float32


def test_a_cast_hands_back_the_dtype_and_integers_have_no_gradient():
    h = tg.Tensor(np.ones(2, np.float32), requires_grad=True) * 1
    np.sum(h.astype(np.float64)).backward()
    assert h.grad.dtype == np.float32
    with pytest.raises(TypeError, match="astype is not differentiable in its argument 1"):
        h.astype(int)
    assert tg.Tensor([1.5]).astype(int).dtype == int


def test_dot_names_the_argument_that_it_refuses():
    for position, pair in ((1, (["a"], [1.0])), (2, ([1.0], ["a"]))):
        with pytest.raises(TypeError, match=f"^dot: argument {position} has dtype <U1, and is not numeric"):
            tg.dot(*pair)
    for pair in ((np.ones((2, 2, 2)), np.ones((2, 2))), (np.ones((2, 2)), np.ones((2, 2, 2)))):
        with pytest.raises(TypeError, match=r"np\.dot of more than two axes is not differentiated"):
            tg.dot(*pair)


def test_an_exponent_of_a_negative_base_has_no_slope():
    for base in (np.array([-2.0]), -2.0):
        y = tg.Tensor([1.0], requires_grad=True)
        with np.errstate(invalid="ignore"):
            (base**y).backward([1.0])
        assert np.isnan(y.grad)


def test_parts_of_symbols_have_gradients_of_symbols():
    x = tg.Tensor(symbolic.symbols("x", (3,)), requires_grad=True)
    np.sum(x[np.array([0, 0, 1])] ** 2).backward()
    assert isinstance(x.grad, symbolic.SymbolicArray)
    np.testing.assert_array_equal(x.grad.evaluate({x: [3.0, 4.0, 5.0]}), [12, 8, 0])


def test_numpys_older_names_of_the_limits_of_clip():
    t = tg.Tensor([-1.0, 0.5, 2.0], requires_grad=True)
    for z in (np.clip(t, a_min=0, a_max=1), np.clip(t, 0, 1), np.clip(t, min=0, max=1)):
        np.testing.assert_array_equal(z.data, [0, 0.5, 1])


def test_lists_are_operands():
    w = tg.Tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    np.sum(w @ [[1.0], [2.0]] + (w ** [1, 2])).backward()
    np.testing.assert_array_equal(w.grad, [[1 * 2 + 1, 2 * 2 + 4], [1 * 2 + 1, 2 * 2 + 8]])


class OwnMasked(np.ma.MaskedArray):
    pass


@pytest.mark.parametrize("operand", [np.ma.array([1.0, 2.0], mask=[True, False]), OwnMasked([1.0, 2.0]), np.ma.masked])
def test_masked_operands_are_refused(operand):
    w = tg.Tensor([1.0, 2.0], requires_grad=True)
    for f in (lambda: w * operand, lambda: operand * w, lambda: np.multiply(w, operand)):
        with pytest.raises(TypeError, match=r"Masked\w*, whose mask or matrix product would be lost|plain array"):
            f()


@pytest.mark.parametrize(
    ("operand", "text"),
    [
        (
            np.array([1, 2], dtype=object),
            "argument 2 has dtype object, and is not numeric. It holds int. Convert it with",
        ),
        ([None, 1.0], "argument 2 has dtype object, and is not numeric. It holds NoneType."),
        (
            [tg.Tensor([1.0], requires_grad=True)],
            "argument 2 is not a rectangular array of numbers: this Tensor requires",
        ),
        (np.array(["2020"], "M8[Y]"), "argument 2 has dtype datetime64[Y], and is not numeric"),
        (np.array([1j]), "argument 2 has dtype complex128: it is complex; costs must be real. Use .real or abs."),
        (None, "argument 2 has dtype object"),
    ],
)
def test_operands_that_are_no_numbers_are_refused_beside_the_shapes(operand, text):
    w = tg.Tensor([1.0, 2.0], requires_grad=True, name="w")
    with pytest.raises((TypeError, ValueError), match=rf"multiply: w is \(2,\), argument 2 is .*; {re.escape(text)}"):
        w * operand


def test_tuples_and_tables_are_operands_like_lists():
    w = tg.Tensor([2.0, 3.0], requires_grad=True)
    for exponent in ((1, 2), pd.Series([1, 2], index=[1, 0]), memoryview(np.array([1.0, 2.0]))):
        w.grad = None
        np.sum(w**exponent).backward()
        np.testing.assert_array_equal(w.grad, [1, 6])
    np.testing.assert_array_equal(tg.add((1, 2), (3, 4)), [4, 6])


def test_a_number_compares_in_the_precision_of_the_array():
    assert (tg.Tensor(np.full(2, 0.1, np.float32)) == 0.1).all()
    with pytest.raises(TypeError, match="less: argument 2 has dtype <U1, and is not numeric"):
        tg.Tensor([1.0]) < "a"  # noqa: B015  # the comparison itself raises
    with pytest.raises(ValueError, match=r"less: argument 1 is \(2,\), argument 2 is \(3,\); operands could not"):
        tg.Tensor([1.0, 2.0]) < np.ones(3)  # noqa: B015  # as above
