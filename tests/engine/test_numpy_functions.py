"""NumPy's further functions on Tensors: their values are NumPy's, and their gradients JAX's, and gradcheck's too."""

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
from tinygrad_dls.engine import tensor

jax.config.update("jax_enable_x64", True)

RNG = np.random.default_rng(3)
ROOT = Path(__file__).parents[2]


def reals(*shape):
    """At least 0.2 from 0, where some have kinks or poles."""
    return RNG.uniform(0.2, 2, shape) * RNG.choice([-1, 1], shape)


def inside(*shape):
    return RNG.uniform(0.1, 0.9, shape) * RNG.choice([-1, 1], shape)


def above(*shape):
    return RNG.uniform(1.1, 3, shape)


def distinct(*shape):
    return RNG.permutation(np.arange(np.prod(shape, dtype=int)) * 0.1 + 0.05).reshape(shape) - 0.4


def regular(*shape):
    """Matrices far from singular ones."""
    return RNG.normal(size=shape) + 3 * np.eye(shape[-1])


X, V = reals(2, 3), reals(3)
W = RNG.uniform(0.5, 2, (2, 3))
ORDER = np.array([[2, 0, 1], [1, 1, 0]])
# name: a function of a module, NumPy or JAX's, and of arrays; and these
CASES = {
    **{name: (lambda np, x, name=name: getattr(np, name)(x), [domain(2, 3)]) for name, domain in {
        "tan": inside, "arcsin": inside, "arccos": inside, "arctan": reals, "sinh": reals, "cosh": reals,
        "arcsinh": reals, "arccosh": above, "arctanh": inside, "exp2": reals, "log2": above, "log10": above,
        "reciprocal": reals, "positive": reals, "fabs": reals, "degrees": reals, "radians": reals, "deg2rad": reals,
        "rad2deg": reals, "sign": reals, "floor": reals, "ceil": reals, "trunc": reals, "rint": reals, "round": reals,
        "ravel": reals, "copy": reals, "nan_to_num": reals, "atleast_1d": reals, "atleast_2d": reals,
        "atleast_3d": reals, "flip": reals, "fliplr": reals, "flipud": reals, "diag": reals, "diagonal": reals,
        "trace": reals, "tril": reals, "triu": reals, "average": reals, "ptp": distinct, "diff": reals,
        "sort": distinct, "median": distinct, "cumprod": reals, "matrix_transpose": reals,
    }.items()},
    **{f"{name} of two": (lambda np, x, y, name=name: getattr(np, name)(x, y), [reals(2, 3), reals(3)]) for name in (
        "arctan2", "hypot", "logaddexp", "logaddexp2", "fmax", "fmin", "outer", "inner", "kron",
    )},
    "float_power": (lambda np, x, y: np.float_power(x, y), [above(2, 3), reals(3)]),
    "round to decimals": (lambda np, x: np.round(x, 1) * x, [X]),
    "vstack": (lambda np, x, v: np.vstack([x, v]), [X, V]),
    "hstack": (lambda np, x, y: np.hstack([x, y]), [X, reals(2, 2)]),
    "hstack of vectors": (lambda np, x, y: np.hstack([x, y]), [V, reals(2)]),
    "dstack": (lambda np, x, y: np.dstack([x, y]), [X, W]),
    "column_stack": (lambda np, x, v: np.column_stack([x, v]), [X, reals(2)]),
    "atleast_3d of a vector": (lambda np, v: np.atleast_3d(v), [V]),
    "atleast_2d of a number": (lambda np, v: np.atleast_2d(v), [reals()]),
    "atleast_2d of two": (lambda np, v, x: np.atleast_2d(v, x)[0] * 2, [V, X]),
    "moveaxis": (lambda np, x: np.moveaxis(x, 0, -1), [reals(2, 3, 4)]),
    "moveaxis of two": (lambda np, x: np.moveaxis(x, (0, 2), (2, 1)), [reals(2, 3, 4)]),
    "flip of axes": (lambda np, x: np.flip(x, (0, -1)), [reals(2, 3, 2)]),
    "roll": (lambda np, x: np.roll(x, 2), [X]),
    "roll along axes": (lambda np, x: np.roll(x, (1, -4), (0, 1)), [X]),
    "roll along -1": (lambda np, x: np.roll(x, 1, axis=-1), [X]),
    "tile": (lambda np, x: np.tile(x, (2, 1, 3)), [X]),
    "tile a number of times": (lambda np, x: np.tile(x, 2), [X]),
    "repeat": (lambda np, x: np.repeat(x, 2), [X]),
    "repeat along 1": (lambda np, x: np.repeat(x, 3, axis=1), [X]),
    "repeat by counts": (lambda np, x: np.repeat(x, np.array([1, 0, 2]), axis=1), [X]),
    "split": (lambda np, x: np.split(x, 3, axis=1)[1], [X]),
    "split at places": (lambda np, x: np.split(x, [1, 2], axis=-1)[2], [X]),
    "array_split": (lambda np, x: np.array_split(x, 2, axis=1)[0], [X]),
    "hsplit": (lambda np, x: np.hsplit(x, 3)[0], [X]), "vsplit": (lambda np, x: np.vsplit(x, 2)[1], [X]),
    **{f"pad {mode}": (lambda np, x, mode=mode: np.pad(x, ((1, 0), (2, 1)), mode=mode), [reals(3, 4)])
       for mode in ("constant", "edge", "reflect", "symmetric", "wrap")},
    "pad with values": (lambda np, x: np.pad(x, 1, constant_values=2.0), [X]),
    "take": (lambda np, x: np.take(x, np.array([0, 5, 0])), [X]),
    "take along 1": (lambda np, x: np.take(x, np.array([[0, 2], [2, 2]]), axis=1), [X]),
    "take_along_axis": (lambda np, x: np.take_along_axis(x, ORDER, axis=1), [X]),
    "take_along_axis 0": (lambda np, x: np.take_along_axis(x, ORDER % 2, axis=0), [X]),
    "diag of a vector": (lambda np, v: np.diag(v), [V]), "diag above": (lambda np, v: np.diag(v, 2), [V]),
    "diag below": (lambda np, v: np.diag(v, -1), [V]), "diag of a matrix, above": (lambda np, x: np.diag(x, 1), [X]),
    "diagonal of a stack": (lambda np, x: np.diagonal(x, -1, 1, 2), [reals(2, 3, 3)]),
    "trace of a stack": (lambda np, x: np.trace(x, 1, 0, 2), [reals(3, 2, 3)]),
    "tril of a stack": (lambda np, x: np.tril(x, 1), [reals(2, 3, 3)]),
    "triu below": (lambda np, x: np.triu(x, -1), [reals(3, 3)]),
    "average with weights": (lambda np, x, w: np.average(x, axis=0, weights=w), [X, W]),
    "average with weights of an axis": (lambda np, x, w: np.average(x, axis=1, weights=w), [X, W[0]]),
    "ptp along 1": (lambda np, x: np.ptp(x, axis=1), [distinct(2, 3)]),
    "diff twice along 0": (lambda np, x: np.diff(x, n=2, axis=0), [reals(4, 2)]),
    "sort along 0": (lambda np, x: np.sort(x, axis=0), [distinct(3, 2)]),
    "sort flattened": (lambda np, x: np.sort(x, axis=None), [distinct(3, 2)]),
    "median along 1": (lambda np, x: np.median(x, axis=1), [distinct(2, 4)]),
    "median kept": (lambda np, x: np.median(x, axis=(0, 2), keepdims=True), [distinct(2, 3, 2)]),
    "cumprod along 1": (lambda np, x: np.cumprod(x, axis=1), [X]),
    "cumprod with a zero": (lambda np, x: np.cumprod(x), [np.array([2.0, 0.0, 3.0, -1.5])]),
    "tensordot": (lambda np, a, b: np.tensordot(a, b), [reals(2, 3, 4), reals(3, 4, 2)]),
    "tensordot over axes": (lambda np, a, b: np.tensordot(a, b, axes=([0, 2], [1, 0])), [reals(2, 3, 4), reals(4, 2)]),
    "tensordot of no axes": (lambda np, a, b: np.tensordot(a, b, axes=0), [V, reals(2)]),
    "inner of matrices": (lambda np, a, b: np.inner(a, b), [reals(2, 3), reals(4, 3)]),
    "vdot": (lambda np, a, b: np.vdot(a, b), [reals(2, 3), reals(2, 3)]),
    "kron of matrices": (lambda np, a, b: np.kron(a, b), [reals(2, 3), reals(2, 2)]),
    **{f"einsum {spelled}": (lambda np, *xs, spelled=spelled: np.einsum(spelled, *xs), [reals(*s) for s in shapes])
       for spelled, shapes in {
        "ij,jk->ik": ((2, 3), (3, 4)), "ij,jk": ((2, 3), (3, 4)), "ii->i": ((3, 3),), "ii": ((3, 3),),
        "ij->ji": ((2, 3),), "ij->": ((2, 3),), "ij->j": ((2, 3),), "bij,bjk->bik": ((2, 2, 3), (2, 3, 2)),
        "...ij,...jk->...ik": ((2, 2, 3), (2, 3, 2)), "i,j,k->kij": ((2,), (3,), (2,)), "ij,ij,ij->i": ((2, 3),) * 3,
        "i,i": ((3,), (3,)), "iij,j->i": ((2, 2, 3), (3,)), "ij,k->i": ((2, 3), (4,)), "...i->...": ((2, 3),),
        "iii->i": ((2, 2, 2),),
    }.items()},
    "norm": (lambda np, x: np.linalg.norm(x), [X]), "norm of a vector": (lambda np, v: np.linalg.norm(v), [V]),
    "norm along 0": (lambda np, x: np.linalg.norm(x, axis=0, keepdims=True), [X]),
    "norm of rows": (lambda np, x: np.linalg.norm(x, axis=1), [X]),
    "norm fro": (lambda np, x: np.linalg.norm(x, "fro"), [X]),
    "norm of matrices": (lambda np, x: np.linalg.norm(x, axis=(0, 2)), [reals(2, 3, 2)]),
    **{f"norm {o} of a vector": (lambda np, v, o=o: np.linalg.norm(v, o), [distinct(5)])
       for o in (1, 2, 3, np.inf, -np.inf)},
    "solve": (lambda np, a, b: np.linalg.solve(a, b), [regular(3, 3), reals(3, 2)]),
    "solve a vector": (lambda np, a, b: np.linalg.solve(a, b), [regular(3, 3), reals(3)]),
    "solve a stack": (lambda np, a, b: np.linalg.solve(a, b), [regular(2, 3, 3), reals(2, 3, 2)]),
    "inv": (lambda np, a: np.linalg.inv(a), [regular(3, 3)]), "inv of a stack": (
        lambda np, a: np.linalg.inv(a), [regular(2, 2, 2)]),
    "det": (lambda np, a: np.linalg.det(a), [regular(3, 3)]),
    "det of a stack": (lambda np, a: np.linalg.det(a), [regular(2, 3, 3)]),
    "slogdet": (lambda np, a: np.linalg.slogdet(a)[1], [regular(3, 3)]),
    "slogdet, with its sign": (lambda np, a: np.linalg.slogdet(a)[0] * a, [-regular(3, 3)]),
    "cholesky": (lambda np, a: np.linalg.cholesky(a @ a.T), [regular(3, 3)]),
    "cholesky of a stack": (lambda np, a: np.linalg.cholesky(a @ np.swapaxes(a, 1, 2)), [regular(2, 2, 2)]),
    "sum in a dtype": (lambda np, x: np.sum(x, dtype=np.float64), [X]),
    "sum with a start": (lambda np, x: np.sum(x, axis=1, initial=2.0), [X]),
    "sum of the chosen": (lambda np, x: np.sum(x, axis=0, where=X > 0), [X]),
    "mean of the chosen": (lambda np, x: np.mean(x, axis=0, where=W.max() > W, keepdims=True), [X]),
    "prod of the chosen": (lambda np, x: np.prod(x, where=X > 0), [X]),
    "max of the chosen": (lambda np, x: np.max(x, where=X > 0, initial=-9.0), [distinct(2, 3)]),
    "max of axes": (lambda np, x: np.max(x, axis=(0, 1)), [distinct(2, 3)]),
    "min with a start": (lambda np, x: np.min(x, initial=9.0), [distinct(2, 3)]),
}  # fmt: skip


def result(name, module, *arrays):
    return CASES[name][0](module, *arrays)


def weighted(name, module, arrays):
    """A number in which every entry of the result counts otherwise."""
    y = result(name, module, *arrays)
    return module.sum(y * np.cos(np.arange(np.prod(y.shape)).reshape(y.shape) + 1.0))


def second(module, gradient):
    """A number in which every entry of a gradient counts otherwise."""
    return sum(module.sum(g * np.sin(np.arange(g.size).reshape(g.shape))) for g in gradient)


# Results of order 1 after at most some ten roundings of 1e-16; and matrices of condition below 100.
CLOSE = {"rtol": 1e-11, "atol": 1e-11}


@pytest.mark.parametrize("name", CASES)
def test_values_are_numpys_and_gradients_jaxs(name):
    arrays = CASES[name][1]
    value = result(name, np, *(tg.Tensor(x, requires_grad=True) for x in arrays))
    assert isinstance(value, tg.Tensor)
    np.testing.assert_allclose(value.data, result(name, np, *arrays), rtol=1e-14, atol=1e-14)
    ours, jaxs = gradients(name)
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
    zero = lambda *xs: sum(np.sum(x * 0) for x in xs)  # noqa: E731  # the gradient of a linear function depends on none
    got = tg.grad(lambda *xs: second(np, ours(*xs)) + zero(*xs), places)(*arrays)
    expected = jax.grad(lambda *xs: second(jnp, jaxs(*xs)), places)(*map(jnp.asarray, arrays))
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)  # of terms of some hundreds


@pytest.mark.parametrize("name", CASES)
def test_gradients_and_their_gradients_are_slopes(name):
    function, arrays = CASES[name]
    tg.check.gradcheck(lambda *xs: function(np, *xs), tuple(arrays), entries=16, projections=2)
    ours, _ = gradients(name)
    zero = lambda *xs: sum(np.sum(x * 0) for x in xs)  # noqa: E731
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


def test_a_step_gives_zeros_even_of_an_infinite_gradient():
    x = tg.Tensor([0.0, 1.0], requires_grad=True)
    with np.errstate(divide="ignore"):
        np.sqrt(np.floor(x)).sum().backward()
    np.testing.assert_array_equal(x.grad, [0.0, 0.0])


def test_the_median_of_what_holds_nan_is_nan_as_in_numpy():
    x = tg.Tensor([[1.0, np.nan, 2.0], [3.0, 1.0, 2.0]], requires_grad=True)
    np.testing.assert_array_equal(np.median(x, axis=1).data, [np.nan, 2.0])


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
        (lambda: np.split(T, 2, axis=1), ValueError,
         "np.split: 3 entries do not make 2 equal parts; see np.array_split"),
        (lambda: np.tensordot(T, T, 1), ValueError, "np.tensordot: axes (1,) of (2, 3) do not fit axes (0,) of (2, 3)"),
        (lambda: np.flip(T, 5), np.exceptions.AxisError, "axis 5 is out of bounds for array of dimension 2"),
        (lambda: np.diag(tg.Tensor(np.ones((1, 1, 1)))), ValueError,
         "np.diag: the array is (1, 1, 1); expected one axis"),
        (lambda: np.einsum("ij,jk->ik", T), ValueError, "np.einsum: 'ij,jk->ik' is for 2 operands; there are 1"),
        (lambda: np.einsum(T, [0, 1]), TypeError, "np.einsum: on Tensors, the subscripts are text such as 'ij,jk->ik'"),
        (lambda: np.einsum("ii", T), ValueError, "np.einsum: 'i' is 2 and 3 long"),
        (lambda: np.linalg.norm(T, "nuc"), TypeError, "np.linalg.norm: ord='nuc' of matrices is not differentiated"),
        (lambda: np.linalg.norm(T[0], 0), TypeError, "np.linalg.norm: ord=0 counts entries, and has no gradient"),
        (lambda: np.median(tg.Tensor(np.zeros((0, 2))), axis=0), ValueError,
         "np.median: 0 entries have none in the middle"),
        (lambda: np.sum(T, out=np.zeros(())), TypeError, "np.sum: the keyword out is not supported on a Tensor"),
        (lambda: np.max(T, where=X > 0), ValueError, "np.max: where= needs an initial= value, as in NumPy"),
        (lambda: np.var(T, where=X > 0), TypeError, "np.var: the keyword where is not supported on a Tensor"),
        (lambda: np.mean(T, initial=1.0), TypeError, "initial"),
        (lambda: np.cumsum(T, dtype=float, out=np.zeros(6)), TypeError, "np.cumsum: the keyword out is not supported"),
        (lambda: np.linalg.inv(tg.Tensor(np.ones((2, 2)))), ValueError, "inv: argument 1 is (2, 2); Singular matrix"),
        (lambda: np.linalg.svd(T), TypeError, "tinygrad_dls does not differentiate np.linalg.svd. Apply it to"),
        (lambda: np.interp(T, [0, 1], [0, 1]), TypeError, "tinygrad_dls does not differentiate np.interp"),
    ],
)  # fmt: skip
def test_what_is_refused_says_why(call, error, message):
    with pytest.raises(error, match=re.escape(message)):
        call()


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
