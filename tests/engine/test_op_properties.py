"""Every op over generated shapes and options: what must hold for all of them.

`TABLE` says how each op is called: a strategy of `Call`s, for the arrays' shapes and the options. Values come from a
grid of eighths, exact in float32, in a domain that keeps away from the op's poles, kinks and ties, which have exact
cases in test_ops.py. `FORMULAS` has a formula for each op that is not a NumPy function analytic in complex numbers.
"""

import inspect
import itertools
import operator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_dls as tg
from tests.engine.op_calls import EPS, TABLE, anything, few, randomness
from tests.support.numerical import complex_slopes, curvature, gradients, nested_curvature
from tests.support.op_cases import public_ops
from tinygrad_dls.engine import ops


def examples(a):
    return a.shape[-1] if a.shape else 1


def variance(x, axis=None, *, ddof=0, keepdims=False):
    """np.var, which is of |x - mean|^2 for complex x, as an analytic function."""
    squares = (x - np.mean(x, axis=axis, keepdims=True)) ** 2
    n = squares.size // max(np.sum(squares, axis=axis).size, 1)
    return np.sum(squares, axis=axis, keepdims=keepdims) / (n - ddof if n else 1)


def softmax(z, axis=0):
    return np.exp(z) / np.sum(np.exp(z), axis=axis, keepdims=True)


def one_hot(Z, Y):
    return np.eye(len(Z))[:, Y[0]] if Y.dtype.kind == "i" else Y


# Where NumPy's function is not analytic, and where the op is ours: the textbook formula. maximum, max and clip compare
# complex numbers by their real parts, so NumPy's own have the derivatives of the chosen branch.
FORMULAS = {
    "abs": lambda x: np.sqrt(x * x),
    "var": variance,
    "std": lambda x, *args, **options: np.sqrt(variance(x, *args, **options)),
    "astype": lambda x, dtype: x + 0,
    "getitem": operator.getitem,
    "affine": lambda w, a, b: w @ a + b,
    "relu": lambda z: np.maximum(z, 0),
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "softplus": lambda z: np.log(1 + np.exp(z)),
    "softmax": softmax,
    "log_softmax": lambda z, axis=0: np.log(softmax(z, axis)),
    "logsumexp": lambda z, axis=None, *, keepdims=False: np.log(np.sum(np.exp(z), axis=axis, keepdims=keepdims)),
    "binary_cross_entropy": lambda A, Y: np.sum(-Y * np.log(A) - (1 - Y) * np.log(1 - A)) / examples(A),
    "binary_cross_entropy_with_logits": lambda Z, Y: np.sum(np.log(1 + np.exp(Z)) - Y * Z) / examples(Z),
    "mean_squared_error": lambda A, Y: np.sum((A - Y) ** 2) / examples(A),
    "softmax_cross_entropy": lambda Z, Y: -np.sum(one_hot(Z, Y) * np.log(softmax(Z))) / examples(Z),
}
OPERATORS = {
    "add": operator.add, "subtract": operator.sub, "multiply": operator.mul, "divide": operator.truediv,
    "power": operator.pow, "matmul": operator.matmul, "negative": operator.neg, "abs": operator.abs,
    "getitem": operator.getitem,
}  # fmt: skip


def ours(name):
    return getattr(tg, name, None) or getattr(ops, name)


def formula(name):
    return FORMULAS.get(name) or getattr(np, name)


def spellings(name):
    """NumPy's function, the operator and the method of an op, as far as there are such."""
    found = {"np": getattr(np, name, None), "operator": OPERATORS.get(name)}
    if hasattr(tg.Tensor, name) and name != "dot":  # an array's own dot asks no Tensor
        found["method"] = lambda x, *args, **options: getattr(x, name)(*args, **options)
    return {kind: f for kind, f in found.items() if f}


LOSSES = {name for name in TABLE if inspect.getmodule(ours(name)).__name__ == "tinygrad_dls.nn.losses"}
LAYOUTS = {
    "Fortran": lambda x: np.array(x, order="F"),
    "view": lambda x: np.repeat(x[..., None], 2, axis=-1)[..., 0],
    "negative strides": lambda x: np.flip(np.array(np.flip(x))),
}


def whole(k, arrays, output):
    return output


# The shape to which input k is broadcast, for an output of a shape.
BROADCASTING = dict.fromkeys(
    ["add", "subtract", "multiply", "divide", "power", "maximum", "minimum", "where", "clip"], whole
) | {
    "affine": lambda k, arrays, output: output if k == 2 else arrays[k].shape,
    "matmul": lambda k, arrays, output: (
        (*batches(arrays), *arrays[k].shape[-2:]) if arrays[k].ndim > 1 else arrays[k].shape
    ),
    "broadcast_to": whole,
}


def batches(arrays):
    return np.broadcast_shapes(*(a.shape[:-2] for a in arrays))


every_op = pytest.mark.parametrize("name", TABLE)
every_spelling = pytest.mark.parametrize(("name", "kind"), [(name, kind) for name in TABLE for kind in spellings(name)])


def seed_for(call, op, rng=0):
    """A direction of the output: eighths, exact in float32."""
    shape = np.shape(call(op, *call.arrays))
    return anything(np.random.default_rng(rng), shape)[0]


def test_the_table_has_every_public_op():
    assert TABLE.keys() == public_ops() | {"affine"}


@every_op
@given(data=st.data())
@few
def test_value_is_numpys_or_the_formulas(name, data):
    call = data.draw(TABLE[name])
    value = call(ours(name), *call.arrays)
    assert not isinstance(value, tg.Tensor)
    of_tensors = call(ours(name), *map(tg.Tensor, call.arrays))
    assert isinstance(of_tensors, tg.Tensor)
    np.testing.assert_array_equal(of_tensors.data, value, strict=True)
    if hasattr(np, name):
        np.testing.assert_array_equal(value, call(getattr(np, name), *call.arrays), strict=True)
    else:
        # values below 10, by some ten roundings
        np.testing.assert_allclose(value, call(FORMULAS[name], *call.arrays), rtol=10 * EPS, atol=100 * EPS)


@every_op
@given(data=st.data())
@few
def test_gradient_is_the_complex_slope(name, data):
    call = data.draw(TABLE[name])
    seed = seed_for(call, ours(name))
    expected = complex_slopes(call.of(formula(name)), call.arrays, seed)
    for got, slope in zip(gradients(call.of(ours(name)), call.arrays, seed), expected, strict=True):
        np.testing.assert_allclose(got, slope, rtol=1e-13, atol=1e-13, strict=True)


@every_op
@given(data=st.data())
@few
def test_second_derivative_is_the_formulas_curvature(name, data):
    call = data.draw(TABLE[name])
    seed = seed_for(call, ours(name))
    rng = data.draw(randomness)
    u, v = ([rng.uniform(-0.5, 0.5, a.shape) for a in call.arrays] for _ in range(2))
    expected, rounding = curvature(call.of(formula(name)), call.arrays, seed, u, v)
    got = nested_curvature(call.of(ours(name)), call.arrays, seed, u, v)
    assert got == pytest.approx(expected, rel=1e-12, abs=rounding)


@every_spelling
@given(data=st.data())
@few
def test_spellings_agree_bit_for_bit_beside_constants_too(name, kind, data):
    """np.f(t), t.f() and the operator are tg.f(t), also where some of the inputs are plain arrays."""
    call = data.draw(TABLE[name])
    seed = seed_for(call, ours(name))
    n = len(call.arrays)
    wanted = data.draw(st.lists(st.booleans(), min_size=n, max_size=n).filter(any))
    results = []
    for f in (ours(name), spellings(name)[kind]):
        inputs = [tg.Tensor(a, requires_grad=True) if w else a for a, w in zip(call.arrays, wanted, strict=True)]
        z = call(f, *inputs)
        z.backward(seed)
        results.append([z.data, *(t.grad for t in inputs if isinstance(t, tg.Tensor))])
    full = gradients(call.of(ours(name)), call.arrays, seed)
    for a, b, of_all_tensors in zip(*results, [z.data, *itertools.compress(full, wanted)], strict=True):
        np.testing.assert_array_equal(a, b, strict=True)
        np.testing.assert_array_equal(a, of_all_tensors, strict=True)


@every_op
@given(data=st.data(), alpha=st.sampled_from([0.0, 1.0, -2.0, 0.5]), beta=st.sampled_from([0.0, -1.0, 4.0]))
@few
def test_gradient_is_linear_in_its_seed(name, data, alpha, beta):
    call = data.draw(TABLE[name])
    f = call.of(ours(name))
    dz, dz2 = (seed_for(call, ours(name), rng) for rng in (1, 2))
    mixed, first, second = (gradients(f, call.arrays, seed) for seed in (alpha * dz + beta * dz2, dz, dz2))
    for got, a, b in zip(mixed, first, second, strict=True):
        # each gradient is rounded some ten times, at the size of its terms, below 100
        np.testing.assert_allclose(got, alpha * a + beta * b, rtol=1e-13, atol=1e-13, strict=True)
        if alpha == beta == 0:
            assert not got.any()


@every_op
@given(data=st.data())
@few
def test_float32_stays_float32(name, data):
    call = data.draw(TABLE[name])
    if name == "astype":
        call.after = (np.float32,)
    seed = seed_for(call, ours(name))
    # computed Tensors, so that their gradients are as the rules made them: the engine casts those of leaves
    tensors = [tg.Tensor(a.astype(np.float32), requires_grad=True) * 1 for a in call.arrays]
    z = call(ours(name), *tensors)
    z.backward(seed)
    assert {z.dtype, *(t.grad.dtype for t in tensors)} == {np.dtype(np.float32)}
    # some ten roundings by 6e-8 of terms below 100
    np.testing.assert_allclose(z.data, call(ours(name), *call.arrays), rtol=1e-6, atol=1e-5)
    for t, exact in zip(tensors, gradients(call.of(ours(name)), call.arrays, seed), strict=True):
        np.testing.assert_allclose(t.grad, exact, rtol=1e-5, atol=1e-4)


@every_op
@given(data=st.data())
@few
def test_mixed_dtypes_are_numpys_and_every_gradient_has_its_inputs(name, data):
    call = data.draw(TABLE[name])
    dtypes = data.draw(st.tuples(*(st.sampled_from([np.float32, np.float64]) for _ in call.arrays)))
    arrays = [a.astype(dtype) for a, dtype in zip(call.arrays, dtypes, strict=True)]
    tensors = [tg.Tensor(a, requires_grad=True) for a in arrays]
    z = call(ours(name), *tensors)
    z.backward(seed_for(call, ours(name)))
    if hasattr(np, name) and name != "dot":  # to np.dot, a Python number is a float64
        assert z.dtype == call(getattr(np, name), *arrays).dtype
    elif name in LOSSES:
        assert z.dtype == dtypes[0]  # a cost has the dtype of the predictions, whatever the labels are
    else:
        assert z.dtype == np.result_type(*arrays)
    assert [t.grad.dtype for t in tensors] == list(dtypes)


@every_op
@given(data=st.data())
@few
def test_layout_does_not_matter(name, data):
    """Fortran order, views and negative strides, of inputs and seed, give what the contiguous arrays give."""
    call = data.draw(TABLE[name])
    contiguous = [*call.arrays, seed_for(call, ours(name))]
    laid_out = [LAYOUTS[data.draw(st.sampled_from(list(LAYOUTS)))](a) for a in contiguous]
    results = []
    for *arrays, seed in (contiguous, laid_out):
        tensors = [tg.Tensor(a, requires_grad=True) for a in arrays]
        z = call(ours(name), *tensors)
        z.backward(seed)
        results.append([z.data, *(t.grad for t in tensors)])
    for a, b in zip(*results, strict=True):
        # sums run in another order, by other kernels: a few roundings of terms below 100
        np.testing.assert_allclose(a, b, rtol=1e-14, atol=1e-13, strict=True)


@pytest.mark.parametrize("name", BROADCASTING)
@given(data=st.data())
@few
def test_gradient_of_a_broadcast_input_is_the_sum_over_its_copies(name, data):
    call = data.draw(TABLE[name])
    seed = seed_for(call, ours(name))
    got = gradients(call.of(ours(name)), call.arrays, seed)
    copies = [np.broadcast_to(a, BROADCASTING[name](k, call.arrays, seed.shape)) for k, a in enumerate(call.arrays)]
    of_copies = gradients(call.of(ours(name)), copies, seed)
    for x, gradient, parts in zip(call.arrays, got, of_copies, strict=True):
        summed = np.zeros(x.shape)
        aligned = summed.reshape((1,) * (parts.ndim - x.ndim) + x.shape)  # a view: what is added there is in `summed`
        for index in np.ndindex(parts.shape):
            aligned[tuple(i if n > 1 else 0 for i, n in zip(index, aligned.shape, strict=True))] += parts[index]
        # the same terms, below 100, in another order
        np.testing.assert_allclose(gradient, summed, rtol=1e-13, atol=1e-13, strict=True)
