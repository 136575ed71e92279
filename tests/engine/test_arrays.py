"""What the engine asks of arrays: what counts as one, numbers that are checked, un-broadcasting, and sums."""

import re
import sys

import dask.array as da
import numpy as np
import pytest
import scipy.sparse

import tinygrad_dls as tg
from tinygrad_dls import symbolic
from tinygrad_dls.engine.arrays import (
    as_array,
    floating,
    positive_integer,
    real_number,
    single_inside,
    summed,
    unbroadcast,
)


class Own(np.ndarray):
    """A kind of array of a user's."""


LEAF = tg.Tensor([1.0], requires_grad=True)
NOT_NUMERIC = "x has dtype {}, and is not numeric.{} Convert it with .astype(float)."
TEXTS = (
    "x has dtype {}, and is not numeric. Of numbers, write .astype(float); of classes, number them: "
    "np.unique(Y, return_inverse=True)[1]."
)


# -- what counts as an array ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make", [np.asarray, lambda x: np.asarray(x).view(Own), lambda x: da.from_array(np.asarray(x))]
)
@pytest.mark.parametrize(
    ("data", "text"),
    [
        (np.array([1j]), "x has dtype complex128: it is complex; costs must be real. Use .real or abs."),
        (np.array(["a"]), TEXTS.format("<U1")),
        (np.array([b"a"]), TEXTS.format("|S1")),
        (np.array(["2020"], "M8[Y]"), NOT_NUMERIC.format("datetime64[Y]", "")),
        (np.array([1], "m8[D]"), NOT_NUMERIC.format("timedelta64[D]", "")),
    ],
)
def test_arrays_of_no_numbers_are_refused_whatever_kind_they_are(make, data, text):
    with pytest.raises(TypeError, match=f"^{re.escape(text)}$"):
        as_array(make(data), "x")


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (np.array([1, "a"], object), NOT_NUMERIC.format("object", " It holds int.")),
        (np.array([], object), NOT_NUMERIC.format("object", "")),
        (np.array("a"), TEXTS.format("<U1")),
        (np.datetime64("2020"), NOT_NUMERIC.format("datetime64[Y]", "")),
        (None, "x has dtype object, and is not numeric. It holds NoneType."),
        (
            scipy.sparse.csr_matrix([[1.0]]),
            "x has dtype object, and is not numeric. It holds csr_matrix. Write .toarray().",
        ),
        ({"W": 1.0}, "x has dtype object, and is not numeric. It holds dict. Pass its arrays one by one, each as an "
         "argument of its own."),
        (abs, "x has dtype object, and is not numeric. It is <built-in function abs>: call it first, and pass what it "
         "gives."),
    ],
)  # fmt: skip
def test_what_is_no_number_is_refused_with_what_it_holds_and_what_helps(data, text):
    with pytest.raises(TypeError, match=f"^{re.escape(text)}$"):
        as_array(data, "x")


@pytest.mark.parametrize(("data", "error"), [([[1.0], [1.0, 2.0]], ValueError), ([LEAF], TypeError)])
def test_what_numpy_makes_no_array_of_is_refused_as_numpy_does(data, error):
    with pytest.raises(error, match=r"^x is not a rectangular array of numbers: .") as raised:
        as_array(data, "x")
    assert type(raised.value) is error


# -- numbers that are checked -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("x", [True, np.True_, [1.0], np.ones(1), "a", [[1.0], [1.0, 2.0]], None])
def test_a_real_number_is_one_number(x):
    with pytest.raises(TypeError, match=r"^lr must be a number, got "):
        real_number(x, "lr")


def test_a_tensor_with_a_graph_is_no_setting():
    with pytest.raises(
        TypeError, match=r"^lr: this Tensor requires a gradient, and a Python number would lose the graph"
    ):
        real_number(tg.Tensor(1.0, requires_grad=True), "lr")
    assert real_number(tg.Tensor(0.5), "lr") == 0.5


def test_a_symbol_that_is_a_number_is_one():
    x = symbolic.symbols("x", ())
    assert real_number(x * 0 + 2.0, "lr") == 2.0
    with pytest.raises(TypeError, match=r"^lr: no number for x: pass one for every symbol"):
        real_number(x, "lr")


def test_counts_go_up_to_the_longest_that_python_counts():
    assert positive_integer(1, "m") == 1
    assert positive_integer(np.int64(sys.maxsize), "m") == sys.maxsize
    for x in (0, -1, sys.maxsize + 1, True, 1.0, np.timedelta64(1, "s")):
        with pytest.raises(ValueError, match=r"^m must be a positive integer, got "):
            positive_integer(x, "m")


@pytest.mark.parametrize("x", ["int", int, "nonsense", "f8,", "a,,b", "f8,(2,-1)f8", None, np.ones(2), 8])
def test_a_floating_dtype_is_said_by_its_name_or_type(x):
    assert floating("float32", "dtype") == floating(np.float32, "dtype") == np.float32
    with pytest.raises(TypeError, match=r"^dtype must be a floating dtype, such as float or np\.float32, got "):
        floating(x, "dtype")


# -- sums -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gradient", "shape"), [((3,), (1, 3)), ((3,), (2,)), ((3,), (0,)), ((2, 3), (3, 1)), ((), (1,)), ((3, 1), (3,))]
)
def test_a_gradient_that_its_input_does_not_broadcast_to_is_refused(gradient, shape):
    with pytest.raises(ValueError, match=r"gave a gradient of shape .* for an input of shape"):
        unbroadcast(np.ones(gradient), shape)


@pytest.mark.parametrize("make", [np.asarray, da.from_array])
@pytest.mark.parametrize("shape", [(2, 3), (2, 1), (1, 3), (3,), (1,), (1, 1), ()])
def test_a_gradient_is_summed_over_the_axes_of_broadcasting(make, shape):
    dx = np.arange(6.0).reshape(2, 3)
    expected = np.zeros(shape)
    for i, j in np.ndindex(2, 3):
        expected[tuple(min(k, n - 1) for k, n in zip((i, j)[2 - len(shape) :], shape, strict=True))] += dx[i, j]
    np.testing.assert_array_equal(unbroadcast(make(dx), shape), expected)


@pytest.mark.parametrize("make", [np.asarray, da.from_array])
def test_half_precision_is_summed_in_single_precision_and_nothing_else_is(make):
    """In half precision 2048 + 1 is 2048; in single precision, 2^24 + 1 is 2^24."""
    half = np.ones((4096, 1), np.float16)
    assert unbroadcast(make(half), (1, 1)) == summed(make(half)) == 4096
    for dtype in (np.float64, np.longdouble, np.int64):
        x = np.array([2**24, 1], dtype)
        for total in (summed(make(x)), unbroadcast(make(x), ())):
            assert total == 2**24 + 1
            assert total.dtype == dtype


def test_a_rule_in_single_precision_is_given_what_is_of_half_precision_in_it_and_the_rest_as_it_is():
    given = []

    @single_inside
    def rule(x, *others):
        """Double x."""
        given.append((x, *others))
        return 2 * x, (lambda dz: 2 * dz,)

    half, labels, chosen = np.ones(2, np.float16), np.array([0, 1], np.int8), np.array([True, False])
    value, (vjp,) = rule(half, half, labels, chosen, 0.5)
    assert [getattr(x, "dtype", type(x)) for x in given[0]] == [np.float32, np.float32, np.int8, bool, float]
    assert value.dtype == vjp(half).dtype == np.float16
    value, (vjp,) = rule(np.ones(2), half)
    assert [x.dtype for x in given[1]] == [float, np.float16]
    assert value.dtype == vjp(np.ones(2)).dtype == float
    assert (rule.__name__, rule.__doc__) == ("rule", "Double x.")


@pytest.mark.parametrize("f", [tg.mean, tg.var, tg.std, tg.logsumexp])
def test_what_is_computed_of_long_doubles_keeps_their_digits(f):
    x = np.array([2.0**24, 2.0**24 + 1, 2.0**24 + 5], np.longdouble)
    assert f(x).dtype == np.longdouble
    assert f(x) == pytest.approx(f(x.astype(float)), rel=1e-15)
