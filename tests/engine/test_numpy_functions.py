"""NumPy's further functions on Tensors: their values are NumPy's, and their gradients JAX's, and gradcheck's too."""

import operator
import os
import re
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import settings

import tinygrad_dls as tg
from tests.numpy_functions import PAGE, TITLES, dispatched, kind
from tests.support.numpy_calls import CASES, W, X
from tinygrad_dls.engine import tensor
from tinygrad_dls.engine.composed import take_along_axis
from tinygrad_dls.engine.instead import INSTEAD

jax.config.update("jax_enable_x64", True)

ROOT = Path(__file__).parents[2]


def result(name, module, *arrays):
    return CASES[name][0](module, *arrays)


def weighted(name, module, arrays):
    """A number in which every entry of the result counts otherwise."""
    y = result(name, module, *arrays)
    return module.sum(y * np.cos(np.arange(np.prod(y.shape)).reshape(y.shape) + 1.0))


def zero(*arrays):
    """Nothing, that depends on the arrays all the same: the gradient of a linear function does not."""
    return sum(np.sum(x * 0) for x in arrays)


def second(module, gradient):
    """A number in which every entry of a gradient counts otherwise."""
    return sum(module.sum(g * np.sin(np.arange(g.size).reshape(g.shape))) for g in gradient)


# Results of order 1 after at most some ten roundings of 1e-16; and matrices of condition below 100.
CLOSE = {"rtol": 1e-11, "atol": 1e-11}


@pytest.mark.parametrize("name", CASES)
def test_values_are_numpys(name):
    arrays = CASES[name][1]
    value = result(name, np, *(tg.Tensor(x, requires_grad=True) for x in arrays))
    assert isinstance(value, tg.Tensor)
    np.testing.assert_allclose(value.data, np.asarray(result(name, np, *arrays)), rtol=1e-14, atol=1e-14, strict=True)


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_jaxs(name):
    arrays, (ours, jaxs) = CASES[name][1], gradients(name)
    for got, expected in zip(ours(*arrays), jaxs(*arrays), strict=True):
        np.testing.assert_allclose(got, expected, **CLOSE)


def gradients(name):
    """The functions to our gradients and to JAX's."""
    places = tuple(range(len(CASES[name][1])))
    return (
        tg.grad(lambda *xs: weighted(name, np, xs), places),
        jax.grad(lambda *xs: weighted(name, jnp, xs), places),
    )


DEEP = settings.default.max_examples > 100  # JAX takes its time for second derivatives: four minutes for all


@pytest.mark.parametrize("name", CASES if DEEP else list(CASES)[::8])
def test_second_derivatives_are_jaxs(name):
    arrays, (ours, jaxs) = CASES[name][1], gradients(name)
    places = tuple(range(len(arrays)))
    got = tg.grad(lambda *xs: second(np, ours(*xs)) + zero(*xs), places)(*arrays)
    expected = jax.grad(lambda *xs: second(jnp, jaxs(*xs)), places)(*map(jnp.asarray, arrays))
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)  # of terms of some hundreds


@pytest.mark.parametrize("name", CASES)
def test_gradients_and_their_gradients_are_slopes(name):
    function, arrays = CASES[name]
    tg.check.gradcheck(lambda *xs: function(np, *xs), tuple(arrays), entries=16, projections=2)
    ours, _ = gradients(name)
    tg.check.gradcheck(lambda *xs: second(np, ours(*xs)) + zero(*xs), tuple(arrays), entries=4, projections=1)


def test_the_gradient_of_a_cholesky_factor_stands_where_numpy_reads():
    a = np.array([[4.0, 1.0], [1.0, 3.0]])
    tg.check.gradcheck(np.linalg.cholesky, a)
    assert tg.grad(lambda a: np.sum(np.linalg.cholesky(a)))(a)[0, 1] == 0


# -- at the edges -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("f", "x", "expected"),
    [
        (np.linalg.norm, [0.0, 0.0], [0.0, 0.0]),
        (lambda x: np.sum(np.linalg.norm(x, axis=0)), [[3.0, 0.0], [4.0, 0.0]], [[0.6, 0.0], [0.8, 0.0]]),
        (lambda x: np.hypot(x[0], x[1]), [0.0, 0.0], [0.0, 0.0]),
        (lambda x: np.arctan2(x[0], x[1]), [0.0, 0.0], [0.0, 0.0]),
        (lambda x: np.arctan2(x[0], x[1]), [1e-200, 0.0], [0.0, -1e200]),
        (lambda x: np.logaddexp(x[0], x[1]), [-np.inf, -np.inf], [0.5, 0.5]),
        (lambda x: np.logaddexp(x[0], x[1]), [np.inf, 0.0], [1.0, 0.0]),
        (lambda x: np.logaddexp(x[0], x[1]), [1000.0, -1000.0], [1.0, 0.0]),
        (lambda x: np.sum(np.sign(x) * x), [0.0, -2.0], [0.0, -1.0]),
        (lambda x: np.sum(np.floor(x)), [0.0, 1.0], [0.0, 0.0]),
        (lambda x: np.sum(np.nan_to_num(x) / 2), [np.nan, np.inf, 1.0], [0.0, 0.0, 0.5]),
        (lambda x: np.sum(np.sort(x) * np.arange(3.0)), [2.0, 2.0, 1.0], [1.0, 2.0, 0.0]),
        (lambda x: np.sum(np.cumprod(x)), [0.0, 0.0, 3.0], [1.0, 0.0, 0.0]),
        (lambda x: np.sum(np.arcsinh(x)), [1e300, -1e300], [1e-300, 1e-300]),
    ],
)  # fmt: skip
def test_where_a_formula_would_divide_by_zero_or_overflow(f, x, expected):
    np.testing.assert_allclose(tg.grad(f)(np.array(x)), expected, rtol=1e-15)


SINGULAR = {
    "zeros": [[0.0, 0.0], [0.0, 0.0]], "rank 1": [[1.0, 2.0], [2.0, 4.0]], "a number": [[0.0]],
    "rank 2 of 3": [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [1.0, 1.0, 0.0]], "rank 1 of 3": [[1.0, 1.0, 1.0]] * 3,
    "a stack": [[[1.0, 0.0], [0.0, 2.0]], [[1.0, 1.0], [1.0, 1.0]], [[0.0, 0.0], [0.0, 0.0]]],
}  # fmt: skip


@pytest.mark.parametrize("name", SINGULAR)
def test_the_gradient_of_a_determinant_is_that_of_a_polynomial_where_the_matrix_is_singular(name):
    a = np.array(SINGULAR[name])
    tg.check.gradcheck(np.linalg.det, a)
    tg.check.gradcheck(lambda a: np.sum(tg.grad(lambda a: np.sum(np.linalg.det(a)))(a) ** 2), a)
    half = tg.Tensor(a.astype(np.float32), requires_grad=True)
    np.sum(np.linalg.det(half)).backward()
    assert half.grad.dtype == np.float32


def test_the_logarithm_of_the_determinant_of_a_singular_matrix_has_no_gradient():
    a = tg.Tensor([[1.0, 1.0], [1.0, 1.0]], requires_grad=True)
    with np.errstate(divide="ignore"):
        z = np.linalg.slogdet(a).logabsdet
    with pytest.raises(ValueError, match=r"slogdet: a is \(2, 2\), and singular: its logarithm is -inf"):
        z.backward()


def test_the_logarithm_of_a_determinant_is_recorded_beside_its_sign():
    a = np.array([[1.0, 3.0], [2.0, 1.0]])

    def cost(a):
        sign, log = np.linalg.slogdet(a)
        return log + sign * np.sum(a * a)

    for f in (cost, tg.grad(cost), lambda a: np.linalg.slogdet(a * a).logabsdet):
        np.testing.assert_allclose(tg.compile(f)(a), f(a), rtol=1e-14)  # a few roundings
    derivation = tg.derive(lambda a: np.linalg.slogdet(a).logabsdet, a)
    assert "J = np.linalg.slogdet(a)[1]" in derivation.text
    assert "da = np.linalg.inv(a).T " in derivation.text
    assert r"J = \log \left|\det (a)\right|" in derivation.latex
    signed = tg.derive(cost, a).latex
    assert r"\operatorname{sgn} \det(a)" in signed


def test_a_step_gives_zeros_even_of_an_infinite_gradient():
    x = tg.Tensor([0.0, 1.0], requires_grad=True)
    with np.errstate(divide="ignore"):
        np.sqrt(np.floor(x)).sum().backward()
    np.testing.assert_array_equal(x.grad, [0.0, 0.0])


def test_the_median_of_what_holds_nan_is_nan_as_in_numpy():
    x = tg.Tensor([[[1.0, np.nan, 2.0], [3.0, 1.0, 2.0]]], requires_grad=True)
    np.testing.assert_array_equal(np.median(x, axis=2).data, [[np.nan, 2.0]])
    np.testing.assert_array_equal(np.median(x, axis=1).data, [[2.0, np.nan, 2.0]])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", CASES)
def test_dtypes_are_numpys(name, dtype):
    if name in ("sum in a dtype",):
        return
    arrays = [x.astype(dtype) for x in CASES[name][1]]
    value = result(name, np, *(tg.Tensor(x, requires_grad=True) for x in arrays))
    expected = result(name, np, *arrays)
    assert value.dtype == np.asarray(expected).dtype or name.startswith("float_power")  # NumPy's is float64 always


# -- methods of arrays ------------------------------------------------------------------------------------------------

METHODS = {
    "ravel": lambda x: x.ravel(), "flatten": lambda x: x.flatten(), "dot": lambda x: x.dot(W.T),
    "copy": lambda x: x.copy(),
    "take": lambda x: x.take([0, 2], axis=1), "repeat": lambda x: x.repeat(2, axis=0),
    "cumprod": lambda x: x.cumprod(axis=1), "trace": lambda x: x.trace(), "diagonal": lambda x: x.diagonal(1),
    "round": lambda x: x.round(1), "argmax": lambda x: x.argmax(axis=0), "argmin": lambda x: x.argmin(),
    "argsort": lambda x: x.argsort(axis=1), "all": lambda x: x.all(), "any": lambda x: x.any(axis=0),
    "tolist": lambda x: x.tolist(),
}  # fmt: skip


@pytest.mark.parametrize("name", METHODS)
def test_methods_are_those_of_arrays(name):
    t = tg.Tensor(X, requires_grad=True)
    got, expected = METHODS[name](t), METHODS[name](X)
    np.testing.assert_array_equal(tensor.values(got), expected)
    keeps = name not in ("argmax", "argmin", "argsort", "all", "any", "tolist")
    assert getattr(got, "requires_grad", False) == keeps


# -- what is refused --------------------------------------------------------------------------------------------------

T = tg.Tensor(X, requires_grad=True)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: np.ravel(T, order="F"), TypeError,
         "np.ravel: order='F' is not supported on a Tensor; transpose it first"),
        (lambda: np.take(T, [9], mode="wrap"), TypeError,
         "np.take: mode='wrap' is not supported on a Tensor; clip the"),
        (lambda: np.pad(T, 1, mode="linear_ramp"), TypeError,
         "np.pad: mode='linear_ramp' is not supported on a Tensor; one"),
        (lambda: np.average(T, returned=True), TypeError, "np.average: returned=True is not supported on a Tensor"),
        (lambda: np.average(T, axis=0, weights=np.ones(3)), ValueError,
         "np.average: the weights are (3,), the array is"),
        (lambda: np.average(T, weights=np.ones(3)), ValueError, "np.average: the weights are (3,), the array is (2"),
        (lambda: np.average(T, axis=(0, 1), weights=np.ones(3)), ValueError, "np.average: the weights are (3,), the"),
        (lambda: np.flip(T, (0, -2)), ValueError, "repeated axis"),
        (lambda: np.median(T, axis=(1, 1)), ValueError, "repeated axis"),
        (lambda: np.moveaxis(T, (0, 0), (0, 1)), ValueError, "repeated axis"),
        (lambda: np.tensordot(T, T, ((0, 0), (0, 0))), ValueError, "repeated axis"),
        (lambda: np.moveaxis(T, (0, 1), (0,)), ValueError,
         "np.moveaxis: the axes (0, 1) are to go to (0,); expected as many places as axes."),
        (lambda: np.roll(T, (1, 2, 3), axis=(0, 1)), ValueError,
         "np.roll: shift=(1, 2, 3) is for other axes than (0, 1); expected one for each."),
        (lambda: np.roll(T, [[1], [2]], axis=0), ValueError, "np.roll: shift=[[1], [2]] is for other axes than 0;"),
        (lambda: np.split(T, 2, axis=1), ValueError,
         "np.split: 3 entries do not make 2 equal parts; see np.array_split"),
        (lambda: np.tensordot(T, T, 1), ValueError, "np.tensordot: axes (1,) of (2, 3) do not fit axes (0,) of (2, 3)"),
        (lambda: np.flip(T, 5), np.exceptions.AxisError, "axis 5 is out of bounds for array of dimension 2"),
        (lambda: np.diag(tg.Tensor(np.ones((1, 1, 1)))), ValueError,
         "np.diag: the array is (1, 1, 1); expected one axis"),
        (lambda: np.einsum("ij,jk->ik", T), ValueError, "np.einsum: 'ij,jk->ik' is for 2 operands; there are 1"),
        (lambda: np.einsum(T, [0, 1]), TypeError, "np.einsum: on Tensors, the subscripts are text such as 'ij,jk->ik'"),
        (lambda: np.einsum("ij->i", T, dtype=float, casting="safe"), TypeError,
         "np.einsum: the keyword casting is not supported on a Tensor."),
        (lambda: np.einsum("ii", T), ValueError, "np.einsum: 'i' is 2 and 3 long"),
        (lambda: np.linalg.norm(T, "nuc"), TypeError, "np.linalg.norm: ord='nuc' of matrices is not differentiated"),
        (lambda: np.linalg.norm(T, 2), TypeError, "np.linalg.norm: ord=2 of matrices is not differentiated"),
        (lambda: np.linalg.norm(T, 2, axis=(0, 1)), TypeError, "np.linalg.norm: ord=2 of matrices is not"),
        (lambda: np.linalg.norm(T[0], "fro"), ValueError, "np.linalg.norm: ord='fro' is of matrices, and not of vect"),
        (lambda: np.linalg.norm(T[None], 1), ValueError,
         "np.linalg.norm: ord=1 is of vectors or matrices, and not of 3 axes."),
        (lambda: np.linalg.norm(T[None], 2, axis=(0, 1, 2)), ValueError, "ord=2 is of vectors or matrices, and not of"),
        (lambda: np.linalg.norm(T[0, 0], np.inf), ValueError, "ord=inf is of vectors or matrices, and not of 0 axes."),
        (lambda: np.linalg.norm(T[0], 0), TypeError, "np.linalg.norm: ord=0 counts entries, and has no gradient"),
        (lambda: np.median(tg.Tensor(np.zeros((0, 2))), axis=0), ValueError,
         "np.median: an array without entries has no median"),
        (lambda: np.sum(T, out=np.zeros(())), TypeError, "np.sum: the keyword out is not supported on a Tensor"),
        (lambda: np.max(T, where=X > 0), ValueError, "np.max: where= needs an initial= value, as in NumPy"),
        (lambda: np.var(T, where=X > 0), TypeError, "np.var: the keyword where is not supported on a Tensor"),
        (lambda: np.var(T, where=X > 0, out=np.zeros(())), TypeError, "np.var: the keyword out is not supported on a"),
        (lambda: np.mean(T, initial=1.0), TypeError, "initial"),
        (lambda: np.take_along_axis(T, np.zeros((1, 2), int), axis=0), IndexError,
         "np.take_along_axis: the indices are (1, 2), the array is (2, 3); but for axis 0, they are as long"),
        (lambda: np.take_along_axis(T, np.zeros(2, int), axis=0), ValueError,
         "np.take_along_axis: the indices are (2,), the array is (2, 3); expected as many axes."),
        (lambda: np.diff(T, prepend=0.0), TypeError, "np.diff: the keyword prepend is not supported on a Tensor."),
        (lambda: np.sort(T, kind="stable"), TypeError, "np.sort: the keyword kind is not supported on a Tensor."),
        (lambda: np.reshape(T, 6, order="F"), TypeError, "np.reshape: the keyword order is not supported on a "),
        (lambda: np.stack([T, T], dtype=float), TypeError, "np.stack: the keyword dtype is not supported on a "),
        (lambda: np.linalg.cholesky(T, upper=True), TypeError, "np.linalg.cholesky: the keyword upper is not "),
        (lambda: T.reshape(6, order="F"), TypeError, "reshape: the keyword order is not supported on a Tensor; transp"),
        (lambda: T.flatten("F"), TypeError, "np.ravel: order='F' is not supported on a Tensor; transpose it first."),
        (lambda: T.flatten(order="F"), TypeError, "np.ravel: order='F' is not supported on a Tensor; transpose it f"),
        (lambda: np.cumsum(T, dtype=float, out=np.zeros(6)), TypeError, "np.cumsum: the keyword out is not supported"),
        (lambda: np.linalg.inv(tg.Tensor(np.ones((2, 2)))), ValueError, "inv: argument 1 is (2, 2); Singular matrix"),
        (lambda: np.nan_to_num(T, False), TypeError, "np.nan_to_num: copy=False writes in place, and a Tensor is"),
        (lambda: np.linalg.svd(T), TypeError, "tinygrad_dls does not differentiate np.linalg.svd. Apply it to"),
        (lambda: np.interp(T, [0, 1], [0, 1]), TypeError, "tinygrad_dls does not differentiate np.interp"),
    ],
)  # fmt: skip
def test_what_is_refused_says_why(call, error, message):
    with pytest.raises(error, match=re.escape(message)):
        call()


A, B, S = np.array([[2.0, 1.0], [0.5, 3.0]]), np.array([[1.0, -1.0], [2.0, 0.5]]), np.array([0.3, 2.0, -1.5, 0.7, 4.0])
GRID, FOUND = np.array([0.0, 1.0, 3.0]), np.array([2.0, 5.0, 1.0])
HOLES = np.array([1.0, np.nan, -2.0])
# Of what is refused: the code that the error names, the arrays in it, and NumPy's own result of them.
WRITTEN_INSTEAD = {
    "np.add.accumulate": ("", {"x": A}, lambda np, x: np.add.accumulate(x)),
    "np.add.outer": ("", {"x": GRID, "y": S}, lambda np, x, y: np.add.outer(x, y)),
    "np.add.reduce": ("", {"x": A}, lambda np, x: np.add.reduce(x, axis=0)),
    "np.append": ("", {"x": A, "y": B}, lambda np, x, y: np.append(x, y, axis=0)),
    "np.apply_along_axis": ("np.stack([f(column) for column in x.T], axis=-1)", {"x": A, "f": np.cumsum},
        lambda np, x, f: np.apply_along_axis(f, 0, x)),
    "np.block": ("", {"a": A, "b": B, "c": B, "d": A}, lambda np, a, b, c, d: np.block([[a, b], [c, d]])),
    "np.broadcast_arrays": ("", {"x": A, "y": B[0]}, lambda np, x, y: np.broadcast_arrays(x, y)),
    "np.cbrt": ("", {"x": B}, lambda np, x: np.cbrt(x)),
    "np.choose": ("", {"k!": np.eye(2, dtype=int), "a": A, "b": B}, lambda np, k, a, b: np.choose(k, [a, b])),
    "np.compress": ("", {"condition!": np.array([False, True]), "x": A},
        lambda np, condition, x: np.compress(condition, x, axis=0)),
    "np.conjugate": ("x", {"x": A}, lambda np, x: np.conj(x)),
    "np.convolve": ("x[np.arange(len(x) - k + 1)[:, None] + np.arange(k)] @ v[::-1]", {"x": S, "v": GRID, "k": 3},
                    lambda np, x, v, k: np.convolve(x, v, "valid")),
    "np.copysign": ("np.where(np.signbit(y), -np.abs(x), np.abs(x))", {"x": A, "y!": B},
                    lambda np, x, y: np.copysign(x, y)),
    "np.corrcoef": ("C / np.outer(s, s)", {"C": np.cov(A), "s": np.sqrt(np.diag(np.cov(A))), "a": A},
                    lambda np, C, s, a: np.corrcoef(a)),
    "np.correlate": ("x[np.arange(len(x) - k + 1)[:, None] + np.arange(k)] @ v", {"x": S, "v": GRID, "k": 3},
                     lambda np, x, v, k: np.correlate(x, v)),
    "np.cov": ("X_c @ X_c.T / (m - 1)", {"X_c": X - X.mean(axis=1, keepdims=True), "m": 3},
               lambda np, X_c, m: np.cov(X_c)),
    "np.cross": ("", {"a": GRID, "b": FOUND}, lambda np, a, b: np.cross(a, b)),
    "np.cumulative_prod": ("", {"x": A, "axis": 0}, lambda np, x, axis: np.cumulative_prod(x, axis=axis)),
    "np.cumulative_sum": ("", {"x": A, "axis": 0}, lambda np, x, axis: np.cumulative_sum(x, axis=axis)),
    "np.delete": ("", {"x": S, "removed": (1, 3)}, lambda np, x, removed: np.delete(x, removed)),
    "np.diagflat": ("", {"x": A}, lambda np, x: np.diagflat(x)),
    "np.divmod": ("", {"x": B, "y": A}, lambda np, x, y: np.divmod(x, y)),
    "np.dsplit": ("", {"x": A[:, None].repeat(4, 2).reshape(2, 2, -1)[:, :, :2], "n": 2},
                  lambda np, x, n: np.dsplit(x, n)),
    "np.ediff1d": ("", {"x": A}, lambda np, x: np.ediff1d(x)),
    "np.extract": ("", {"condition!": np.eye(2) > 0, "x": A}, lambda np, condition, x: np.extract(condition, x)),
    "np.fix": ("", {"x": B * 1.7}, lambda np, x: np.fix(x)),
    "np.floor_divide": ("", {"x": A, "y": B}, lambda np, x, y: np.floor_divide(x, y)),
    "np.fmod": ("", {"x": B, "y": A}, lambda np, x, y: np.fmod(x, y)),
    "np.full_like": ("", {"x": A, "c": 7.0}, lambda np, x, c: np.full_like(x, c)),
    "np.geomspace": ("", {"a": A, "b": A[1, 1], "n": 2}, lambda np, a, b, n: np.geomspace(a, b, n, axis=1)[:, :, 0]),
    "np.gradient": ("", {"x": S}, lambda np, x: np.gradient(x)),
    "np.heaviside": ("", {"x": B}, lambda np, x: np.heaviside(x, 0.0)),
    "np.insert": ("", {"x": S, "i": 2, "y": FOUND}, lambda np, x, i, y: np.insert(x, i, y)),
    "np.interp": ("fp[k] + (x - xp[k]) * (fp[k + 1] - fp[k]) / (xp[k + 1] - xp[k])",
                  {"x": np.array([0.5, 2.0]), "xp": GRID, "fp": FOUND, "k!": np.array([0, 1])},
                  lambda np, x, xp, fp, k: np.interp(x, xp, fp)),
    "np.ldexp": ("", {"x": A, "n": 3}, lambda np, x, n: np.ldexp(x, n)),
    "np.linalg.cross": ("", {"a": GRID, "b": FOUND}, lambda np, a, b: np.linalg.cross(a, b)),
    "np.linalg.lstsq": ("", {"a": A, "b": B}, lambda np, a, b: np.linalg.lstsq(a, b)[0]),
    "np.linalg.matmul": ("", {"a": A, "b": B}, lambda np, a, b: np.linalg.matmul(a, b)),
    "np.linalg.matrix_norm": ("", {"a": A}, lambda np, a: np.linalg.matrix_norm(a)),
    "np.linalg.matrix_power": ("", {"a": A}, lambda np, a: np.linalg.matrix_power(a, 3)),
    "np.linalg.multi_dot": ("", {"a": A, "b": B, "c": A}, lambda np, a, b, c: np.linalg.multi_dot([a, b, c])),
    "np.linalg.pinv": ("", {"a": np.vstack([A, B])}, lambda np, a: np.linalg.pinv(a)),
    "np.linalg.vecdot": ("", {"a": A, "b": B}, lambda np, a, b: np.linalg.vecdot(a, b)),
    "np.linalg.vector_norm": ("", {"x": A}, lambda np, x: np.linalg.vector_norm(x, axis=-1)),
    "np.linspace": ("", {"a": A, "b": B[0, 0], "n": 2}, lambda np, a, b, n: np.linspace(a, b, n, axis=1)[:, :, 0]),
    "np.logspace": ("", {"a": A, "b": B[0, 0], "n": 2}, lambda np, a, b, n: np.logspace(a, b, n, axis=1)[:, :, 0]),
    "np.matvec": ("", {"a": A, "v": B[0]}, lambda np, a, v: np.matvec(a, v)),
    "np.maximum.reduce": ("", {"x": A}, lambda np, x: np.maximum.reduce(x)),
    "np.meshgrid": ("", {"x": GRID, "y": S}, lambda np, x, y: np.meshgrid(x, y)),
    "np.minimum.reduce": ("", {"x": A}, lambda np, x: np.minimum.reduce(x)),
    "np.multiply.accumulate": ("", {"x": A}, lambda np, x: np.multiply.accumulate(x)),
    "np.multiply.outer": ("", {"x": GRID, "y": S}, lambda np, x, y: np.multiply.outer(x, y)),
    "np.multiply.reduce": ("", {"x": A}, lambda np, x: np.multiply.reduce(x)),
    "np.nancumprod": ("", {"x": HOLES}, lambda np, x: np.nancumprod(x)),
    "np.nancumsum": ("", {"x": HOLES}, lambda np, x: np.nancumsum(x)),
    "np.nanmax": ("", {"x": HOLES}, lambda np, x: np.nanmax(x)),
    "np.nanmean": ("", {"x": HOLES}, lambda np, x: np.nanmean(x)),
    "np.nanmedian": ("", {"x": HOLES}, lambda np, x: np.nanmedian(x)),
    "np.nanmin": ("", {"x": HOLES}, lambda np, x: np.nanmin(x)),
    "np.nanprod": ("", {"x": HOLES}, lambda np, x: np.nanprod(x)),
    "np.nanstd": ("", {"x": HOLES}, lambda np, x: np.nanstd(x)),
    "np.nansum": ("", {"x": HOLES}, lambda np, x: np.nansum(x)),
    "np.nanvar": ("", {"x": HOLES}, lambda np, x: np.nanvar(x)),
    "np.percentile": ("(1 - share) * s[k] + share * s[k + 1]", {"s": np.sort(S), "k": 1, "share": 0.2},
                      lambda np, s, k, share: np.percentile(s, 30)),
    "np.piecewise": ("", {"x": S, "f": np.square, "g": np.sin},
        lambda np, x, f, g: np.piecewise(x, [tensor.values(x) > 0], [f, g])),
    "np.polyval": ("", {"c": FOUND, "x": S}, lambda np, c, x: np.polyval(c, x)),
    "np.quantile": ("(1 - share) * s[k] + share * s[k + 1]", {"s": np.sort(S), "k": 1, "share": 0.2},
                    lambda np, s, k, share: np.quantile(s, 0.3)),
    "np.real": ("x", {"x": A}, lambda np, x: np.real(x)),
    "np.remainder": ("", {"x": B, "y": A}, lambda np, x, y: np.mod(x, y)),
    "np.rollaxis": ("", {"x": np.arange(8.0).reshape(2, 2, 2)}, lambda np, x: np.rollaxis(x, 2)),
    "np.rot90": ("", {"x": A}, lambda np, x: np.rot90(x)),
    "np.select": ("", {"x": S, "a": S * 2, "b": S * 3, "c": S * 4},
                  lambda np, x, a, b, c: np.select([tensor.values(x) > 1, tensor.values(x) > 0], [a, b], c)),
    "np.sinc": ("np.sin(np.pi * x) / (np.pi * x)", {"x": S}, lambda np, x: np.sinc(x)),
    "np.trapezoid": ("", {"y": FOUND, "x": GRID}, lambda np, y, x: np.trapezoid(y, x)),
    "np.unstack": ("", {"x": A}, lambda np, x: np.unstack(x)),
    "np.vander": ("", {"x": S, "n": 3}, lambda np, x, n: np.vander(x, n)),
    "np.vecdot": ("", {"a": A, "b": B}, lambda np, a, b: np.vecdot(a, b)),
    "np.vecmat": ("", {"v": B[0], "a": A}, lambda np, v, a: np.vecmat(v, a)),
}  # fmt: skip


def test_whatever_is_named_instead_has_a_case():
    assert WRITTEN_INSTEAD.keys() == INSTEAD.keys()


@pytest.mark.parametrize("name", WRITTEN_INSTEAD)
def test_what_is_refused_names_code_that_gives_the_same(name):
    code, arrays, numpys = WRITTEN_INSTEAD[name]
    try:
        operator.attrgetter(name.removeprefix("np."))(np)
    except AttributeError:  # NumPy 2.0 has fewer
        return
    code = code or INSTEAD[name]
    plain = {key.rstrip("!"): x for key, x in arrays.items()}
    tensors = {
        key.rstrip("!"): tg.Tensor(x, requires_grad=True) if np.ndim(x) and not key.endswith("!") and key != "removed"
        else x for key, x in arrays.items()
    }  # fmt: skip
    result = eval(code, {"np": np} | tensors)
    results = [x if isinstance(x, (list, tuple)) else [x] for x in (result, numpys(np, **plain))]
    for got, wanted in zip(*results, strict=True):
        np.testing.assert_allclose(tensor.values(got), wanted, rtol=1e-12, atol=1e-15)
    with pytest.raises(TypeError, match=re.escape(f"does not differentiate {name}. Write {INSTEAD[name]};")) as raised:
        numpys(np, **tensors)
    assert code in str(raised.value)


def test_complex_numbers_are_why_fourier_transforms_are_refused():
    with pytest.raises(TypeError, match=r"does not differentiate np\.fft\.fft\. It computes with complex numbers"):
        np.fft.fft(T)


def test_a_users_own_op_keeps_its_place():
    code = """
import numpy as np, tinygrad_dls as tg
@tg.op(np.arctan)
def mine(x):
    return np.arctan(x), (lambda dz: dz * 7,)
x = tg.Tensor(1.0, requires_grad=True)
np.sinh(x)  # loads the package's own
np.arctan(x).backward()
assert float(x.grad) == 7
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


# -- programs ---------------------------------------------------------------------------------------------------------

IN_A_MODEL = {
    "arctan": np.arctan, "arcsinh": np.arcsinh, "logaddexp": lambda z: np.logaddexp(z, 0.0),
    "norm": lambda z: z / (1 + np.linalg.norm(z, axis=0, keepdims=True)), "flip": lambda z: np.flip(z, 0),
    "roll": lambda z: np.roll(z, 1, axis=0), "vstack": lambda z: np.vstack([z, z])[:4],
    "tril": lambda z: np.tril(np.ones((4, 4))) @ z,
    "einsum": lambda z: np.einsum("ij,jm->im", np.ones((4, 4)) / 4, z),
    "pad": lambda z: np.pad(z, ((1, 0), (0, 0)))[:4],
    "ptp": lambda z: z / (1 + np.ptp(z, axis=0, keepdims=True)), "hypot": lambda z: np.hypot(z, 1.0),
    "diff": lambda z: np.concatenate([z[:1], np.diff(z, axis=0)]), "sinh": lambda z: np.sinh(z / 10),
    "repeat": lambda z: np.repeat(z[:2], 2, axis=0), "tile": lambda z: np.tile(z[:2], (2, 1)),
    "cumprod": lambda z: np.cumprod(1 + z / 10, axis=0),
    "sum where": lambda z: z - np.sum(z, axis=0, where=np.arange(4)[:, None] != 1),
    "sort": lambda z: np.sort(z, axis=0), "median": lambda z: z - np.median(z, axis=0),
    "take_along_axis": lambda z: z - np.take_along_axis(z, np.argmax(z, axis=0, keepdims=True), axis=0),
    "average": lambda z: z - np.average(z, axis=0, weights=[1.0, 2.0, 3.0, 4.0]),
    "inv": lambda z: np.linalg.inv(z @ z.T + np.eye(4)) @ z, "solve": lambda z: np.linalg.solve(z @ z.T + np.eye(4), z),
    "det": lambda z: z / np.linalg.det(z @ z.T / 40 + np.eye(4)),
    "slogdet": lambda z: z / (1 + np.linalg.slogdet(z @ z.T / 40 + np.eye(4)).logabsdet),
    "slogdet, with its sign": lambda z: np.multiply(*np.linalg.slogdet(np.eye(4) - z @ z.T / 400)) + z,
    "cholesky": lambda z: np.linalg.cholesky(z @ z.T / 40 + np.eye(4)) @ z,
}  # fmt: skip


@pytest.mark.parametrize("name", IN_A_MODEL)
def test_models_of_them_are_compiled_printed_drawn_and_derived(name):
    X, Y = tg.datasets.planar_flower(40)

    def model_and_step():
        model = tg.nn.Sequential(tg.nn.Linear(2, 4, rng=0), IN_A_MODEL[name], tg.nn.Linear(4, 1, rng=1))
        return model, tg.optim.SGD(model.parameters(), lr=0.1)

    loss = tg.binary_cross_entropy_with_logits
    model, optimizer = model_and_step()
    other, its = model_and_step()
    step = tg.compile(other, loss, its)
    for _ in range(3):
        expected = tg.optim.eager_step(model, loss, optimizer, X, Y)
        assert step(X, Y) == pytest.approx(expected, rel=1e-12)
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        np.testing.assert_allclose(q.data, p.data, rtol=1e-9, atol=1e-12)
    source = tg.numpy_source(model, X, Y, loss=loss)
    values = {}
    exec(str(source), values)
    assert "np." in str(source)
    assert tg.draw(loss(model(X), Y)).source
    assert str(tg.derive(model, X, Y, loss=loss))
    if name not in ("sort", "median", "take_along_axis"):  # whose order is an array in a graph that is there already
        assert str(tg.derive(loss(model(X), Y)))


def test_the_table_of_the_page_is_what_is_registered():
    """Releases of NumPy differ in what they have: the page may list what this one has not, and lack what is refused."""
    functions, listed = dispatched(), {}
    for wanted, title in TITLES.items():
        (names,) = re.findall(rf"\*\*{re.escape(title)}\*\* \(\d+\)\n\n(.*)\n", PAGE.read_text(encoding="utf-8"))
        listed |= dict.fromkeys(re.findall(r"`([\w.]+)`", names), wanted)
    now = {name: kind(function) for name, function in functions.items()}
    assert {name: listed[name] for name in listed.keys() & now.keys()} == {
        name: now[name] for name in listed.keys() & now
    }
    assert {name for name in now.keys() - listed.keys() if now[name] != "refused"} == set()
    assert len(listed) > 250


@pytest.mark.parametrize("numbers", [{}, {"nan": 1.0, "posinf": 2.0, "neginf": 3.0}, {"posinf": 2.0}, {"neginf": 3.0}])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numbers_in_the_place_of_nan_and_infinities_are_numpys(dtype, numbers):
    x = np.array([np.nan, np.inf, -np.inf, 1.5, -1e30], dtype)
    got = np.nan_to_num(tg.Tensor(x, requires_grad=True), True, **numbers)
    np.testing.assert_array_equal(got.data, np.nan_to_num(x, **numbers), strict=True)


def test_a_tensor_in_the_place_of_nan_gets_the_gradient():
    x, c = tg.Tensor([np.nan, 1.0, np.nan], requires_grad=True), tg.Tensor(2.0, requires_grad=True)
    np.sum(np.nan_to_num(x, nan=c) * np.array([3.0, 4.0, 5.0])).backward()
    np.testing.assert_array_equal(x.grad, [0.0, 4.0, 0.0])
    assert c.grad == 8.0


@pytest.mark.parametrize("sections", [1, 2, 3, 5, 7, [1, 4]])
def test_an_array_is_split_into_as_many_parts_as_numpys(sections):
    x = np.arange(10.0).reshape(5, 2)
    shapes = [part.shape for part in np.array_split(tg.Tensor(x, requires_grad=True), sections)]
    assert shapes == [part.shape for part in np.array_split(x, sections)]


def test_by_default_entries_are_taken_along_the_last_axis():
    x, places = np.arange(12.0).reshape(2, 2, 3), np.array([[[2, 0, 0], [1, 1, 0]]])
    np.testing.assert_array_equal(take_along_axis(tg.Tensor(x), places).data, np.take_along_axis(x, places, axis=-1))


@pytest.mark.parametrize("f", [lambda x: np.roll(x, 1, axis=0), lambda x: np.roll(x, 1), lambda x: np.flip(x)])
def test_of_no_entries_there_are_none(f):
    x = np.zeros((0, 3))
    assert f(tg.Tensor(x, requires_grad=True)).shape == f(x).shape


@pytest.mark.parametrize("make", [np.zeros_like, np.ones_like])
def test_constants_like_a_tensor_may_have_another_dtype(make):
    t = tg.Tensor([1.0, 2.0], requires_grad=True)
    for dtype in (int, bool, np.float32):
        np.testing.assert_array_equal(make(t, dtype=dtype), make(t.data, dtype=dtype), strict=True)


@pytest.mark.parametrize(
    ("function", "others"),
    [
        (lambda x, v: np.einsum("ij,j->i", x, v), ([1.0, 2.0, 3.0],)),
        (np.outer, ([1.0, 2.0],)),
        (np.inner, ([1.0, 2.0, 3.0],)),
        (np.vdot, ([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]],)),
        (lambda x, v: np.tensordot(x, v, 1), ([1.0, 2.0, 3.0],)),
        (np.kron, ([1.0, 2.0],)),
        (lambda x, v: np.average(x, axis=1, weights=v), ([1.0, 2.0, 3.0],)),
        (lambda x, v: np.column_stack([x, v]), ([1.0, 2.0],)),
        (lambda x, v: np.vstack([x, v]), ([1.0, 2.0, 3.0],)),
    ],
)
def test_lists_are_operands_of_them(function, others):
    np.testing.assert_allclose(function(T, *others).data, function(X, *others), rtol=1e-14)


def test_einsum_has_letters_for_all_the_axes_that_dots_stand_for():
    x = np.ones((1,) * 30 + (3,))
    np.testing.assert_array_equal(np.einsum("...a->...", tg.Tensor(x)).data, np.einsum("...a->...", x))


@pytest.mark.parametrize(("name", "spelled"), [("max", "amax"), ("min", "amin")])
def test_the_other_names_of_extremes_take_the_same_keywords(name, spelled):
    chosen = {"where": X > 0, "initial": 0.0}
    np.testing.assert_array_equal(getattr(np, spelled)(T, **chosen).data, getattr(np, name)(X, **chosen))


WITH_KEYWORDS = {
    "sum": [{"dtype": np.float32}, {"where": X > 0}, {"initial": 2.0}],
    "prod": [{"dtype": np.float32}, {"where": X > 0}, {"initial": 2.0}],
    "mean": [{"dtype": np.float32}, {"where": X > 0}],
    "max": [{"initial": 2.0}, {"where": X > 0, "initial": 0.5}],
    "min": [{"initial": -2.0}, {"where": X > 0, "initial": 9.0}],
    "var": [{"dtype": np.float32}, {"ddof": 1}],
    "std": [{"dtype": np.float32}, {"ddof": 1}],
    "cumsum": [{"dtype": np.float32}],
    "cumprod": [{"dtype": np.float32}],
}


@pytest.mark.parametrize("name", WITH_KEYWORDS)
def test_a_method_takes_the_keywords_that_numpys_function_takes(name):
    t = tg.Tensor(X, requires_grad=True)
    for options in WITH_KEYWORDS[name]:
        by_method, by_function = getattr(t, name)(**options), getattr(np, name)(t, **options)
        np.testing.assert_array_equal(by_method.data, by_function.data, strict=True)
        np.testing.assert_allclose(by_method.data, getattr(X, name)(**options), rtol=1e-6, strict=True)  # of float32
        gradients = []
        for z in (by_method, by_function):
            np.sum(z**2).backward()
            gradients.append(t.grad)
            t.grad = None
        np.testing.assert_array_equal(*gradients, strict=True)


@pytest.mark.parametrize("options", [{"where": X > 0, "dtype": float}, {"out": np.zeros(())}, {"mean": 0.0}])
def test_a_method_refuses_keywords_in_the_words_of_the_function(options):
    t, texts = tg.Tensor(X, requires_grad=True), []
    for call in (lambda: t.var(**options), lambda: np.var(t, **options)):
        with pytest.raises(TypeError, match=r"^np\.var: the keyword \w+ is not supported on a Tensor") as raised:
            call()
        texts.append(str(raised.value))
    assert texts[0] == texts[1]
