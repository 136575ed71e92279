"""Every op over generated shapes and options: what must hold for all of them.

`TABLE` says how each op is called: a strategy of `Call`s, for the arrays' shapes and the options. Values come from a
grid of eighths, exact in float32, in a domain that keeps away from the op's poles, kinks and ties, which have exact
cases in test_ops.py. `FORMULAS` has a formula for each op that is not a NumPy function analytic in complex numbers.
"""

import functools
import inspect
import itertools
import math
import operator
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tinygrad_dls as tg
from tests.support.numerical import complex_slopes, curvature, gradients, nested_curvature
from tinygrad_dls.engine import ops

EPS = np.finfo(float).eps

# A fifth of the profile's examples for each of 51 ops and 8 claims: 8,000 calls of an op in an ordinary run.
few = settings(max_examples=settings.default.max_examples // 5)

# -- how ops are called -----------------------------------------------------------------------------------------------


@dataclass
class Call:
    """Arguments of an op: `arrays` may be Tensors; `before` and `after` them, and the options, are constants."""

    arrays: list
    after: tuple = ()
    options: dict = field(default_factory=dict)
    before: tuple = ()
    listed: bool = False

    def __call__(self, op, *arrays):
        given = [list(arrays)] if self.listed else arrays
        return op(*self.before, *given, *self.after, **self.options)

    def of(self, op):
        return lambda *arrays: self(op, *arrays)


def grid(rng, shapes, eighths):
    arrays = [np.asarray(rng.choice(eighths, size=shape) / 8) for shape in shapes]
    for array in arrays:
        array.flags.writeable = False  # a rule that writes into what it is given raises
    return arrays


def anything(rng, *shapes):
    """Both signs, zeros, ties."""
    return grid(rng, shapes, np.arange(-16, 17))


def positive(rng, *shapes):
    return grid(rng, shapes, np.arange(4, 21))


def nonzero(rng, *shapes):
    return grid(rng, shapes, np.delete(np.arange(-20, 21), slice(17, 24)))


def between_quarters(rng, *shapes):
    """An eighth from the kinks, which are quarters."""
    return grid(rng, shapes, np.arange(-15, 17, 2))


def probabilities(rng, *shapes):
    return grid(rng, shapes, np.arange(2, 7))


def distinct(rng, *shapes):
    """Half apart, over all the arrays: nothing that the differences do changes who is the largest."""
    sizes = [math.prod(shape) for shape in shapes]
    entries = rng.permutation(sum(sizes)) / 2 - sum(sizes) / 4
    arrays = [part.reshape(shape) for part, shape in zip(np.split(entries, np.cumsum(sizes)[:-1]), shapes, strict=True)]
    for array in arrays:
        array.flags.writeable = False
    return arrays


randomness = st.integers(0, 2**32 - 1).map(np.random.default_rng)
shapes = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)
numbers = st.sampled_from([-1.5, 0.75, 2.0, 3])  # Python numbers: constants that widen no dtype


@st.composite
def entrywise(draw, domain, n=1):
    broadcastable = hnp.mutually_broadcastable_shapes(num_shapes=n, max_dims=3, min_side=0, max_side=3)
    return Call(domain(draw(randomness), *draw(broadcastable).input_shapes))


def number_behind(calls, constants=numbers):
    return st.builds(lambda call, number: Call(call.arrays, after=(number,)), calls, constants)


def number_in_front(calls, constants=numbers):
    return st.builds(lambda call, number: Call(call.arrays, before=(number,)), calls, constants)


def binary(first, second):
    both = entrywise(lambda rng, x, y: first(rng, x) + second(rng, y), n=2)
    return both | number_behind(entrywise(first)) | number_in_front(entrywise(second))


@st.composite
def whole_powers(draw):
    """Of a base of both signs, by constant whole numbers: a Python number, or an array with zeros among them."""
    (base,) = nonzero(draw(randomness), draw(shapes))
    whole = st.sampled_from([0, 1, 2, 3, -1, -2, 2.0])
    several = hnp.arrays(np.int8, base.shape, elements=st.integers(-2, 3))
    return Call([base], after=(draw(whole | several),))


def powers():
    both = entrywise(lambda rng, x, y: positive(rng, x) + anything(rng, y), n=2)
    by_number = number_behind(entrywise(positive))
    of_number = number_in_front(entrywise(anything), st.sampled_from([0.75, 2.0, 3]))
    return both | by_number | of_number | whole_powers()


def extremes():
    limited = entrywise(between_quarters)
    quarters = st.sampled_from([0, 0.25, -1.0])
    return entrywise(distinct, n=2) | number_behind(limited, quarters) | number_in_front(limited, quarters)


@st.composite
def wheres(draw):
    condition, x, y = draw(hnp.mutually_broadcastable_shapes(num_shapes=3, max_dims=3, min_side=0, max_side=3))[0]
    rng = draw(randomness)
    return Call(anything(rng, x, y), before=(rng.random(condition) < 0.5,))


@st.composite
def clips_between_arrays(draw):
    """x and both limits, or x and the low one: all inputs of the graph, the low limit above the high one or not."""
    x, low, high = draw(hnp.mutually_broadcastable_shapes(num_shapes=3, max_dims=3, min_side=0, max_side=3))[0]
    x, low, high = distinct(draw(randomness), x, low, high)
    return Call([x, low, high]) if draw(st.booleans()) else Call([x, low], after=(None,))


@st.composite
def clips(draw):
    low, high = draw(
        st.sampled_from([(-0.5, 0.75), (0.25, None), (None, -0.25), (None, None), (np.full(1, -1, "f4"), 1)])
    )
    call = draw(entrywise(between_quarters))
    return (
        Call(call.arrays, (low, high)) if draw(st.booleans()) else Call(call.arrays, options={"min": low, "max": high})
    )


def axes_of(ndim):
    """None, an axis counted from either end, or a tuple of them; a number can be reduced over 0, as in NumPy."""
    one = st.integers(-max(ndim, 1), max(ndim, 1) - 1) if ndim else st.sampled_from([0, -1])
    several = st.permutations(range(ndim)).flatmap(
        lambda axes: st.tuples(*(st.sampled_from([axis, axis - ndim]) for axis in axes[: ndim - 1]))
    )
    return st.none() | one | several


def reduced(shape, axis):
    """The axes, counted from 0."""
    axes = range(len(shape)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    return {i % len(shape) for i in axes} if shape else set()


@st.composite
def reductions(draw, domain, least=0, *, keepdims=True, ddof=False, over_number=True):
    """Axes by position or name; of every reduced axis there are at least `least` entries."""
    shape = draw(shapes)
    axis = draw(axes_of(len(shape)))
    if not over_number and not shape:
        axis = draw(st.sampled_from([None, ()]))  # NumPy's mean of a number has no axis 0
    axes = reduced(shape, axis)
    shape = tuple(max(n, least) if i in axes else n for i, n in enumerate(shape))
    options = {"keepdims": draw(st.booleans())} if keepdims else {}
    if ddof and math.prod(shape[i] for i in axes) > 1:
        options["ddof"] = draw(st.integers(0, 1))
    by_position = draw(st.booleans())
    after = (axis,) if by_position else ()
    return Call(domain(draw(randomness), shape), after, options if by_position else options | {"axis": axis})


def spread(call):
    """Whether several entries are reduced to each: the standard deviation of one has no derivative."""
    (x,) = call.arrays
    axis = call.after[0] if call.after else call.options["axis"]
    return math.prod(x.shape[i] for i in reduced(x.shape, axis)) > 1


@st.composite
def cumsums(draw):
    shape = draw(shapes)
    axis = draw(st.none() | st.integers(-max(len(shape), 1), max(len(shape), 1) - 1))
    return Call(anything(draw(randomness), shape), options=draw(st.just({"axis": axis})))


@st.composite
def matrix_products(draw):
    a, b = draw(hnp.mutually_broadcastable_shapes(signature=np.matmul.signature, max_dims=1, min_side=0, max_side=3))[0]
    return Call(anything(draw(randomness), a, b))


@st.composite
def dots(draw):
    n, k, m = (draw(st.integers(0, 3)) for _ in range(3))
    pairs = [((n, k), (k, m)), ((k,), (k, m)), ((n, k), (k,)), ((k,), (k,)), ((), (n, m)), ((n,), ()), ((), ())]
    return Call(anything(draw(randomness), *draw(st.sampled_from(pairs))))


@st.composite
def affines(draw):
    n, k, m = (draw(st.integers(0, 3)) for _ in range(3))
    return Call(anything(draw(randomness), (n, k), (k, m), (n, 1)))


@st.composite
def reshapes(draw):
    shape = draw(shapes)
    size = math.prod(shape)
    factors = [n for n in range(1, size + 1) if size % n == 0]
    forms = [size, (size,), (1, size, 1), shape[::-1]]
    forms += [-1, (*shape[:1], -1)] if size else []
    forms += [(n, -1) for n in factors] + [(size // n, n) for n in factors]
    return Call(anything(draw(randomness), shape), after=(draw(st.sampled_from(forms)),))


@st.composite
def transposes(draw):
    shape = draw(shapes)
    order = st.permutations(range(len(shape))).flatmap(
        lambda axes: st.tuples(*(st.sampled_from([axis, axis - len(shape)]) for axis in axes))
    )
    after = draw(st.just(()) | st.tuples(st.none() | order))
    return Call(anything(draw(randomness), shape), after)


@st.composite
def swaps(draw):
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=3))
    axis = st.integers(-len(shape), len(shape) - 1)
    return Call(anything(draw(randomness), shape), after=(draw(axis), draw(axis)))


@st.composite
def expansions(draw):
    shape = draw(shapes)
    ndim = len(shape) + 1
    two = st.sampled_from([(0, -1), (-1, 0), (0, 1), (ndim, 0)])
    return Call(anything(draw(randomness), shape), after=(draw(st.integers(-ndim, ndim - 1) | two),))


@st.composite
def squeezes(draw):
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=2))
    ones = [i - len(shape) * draw(st.booleans()) for i, n in enumerate(shape) if n == 1]
    axis = draw(st.sampled_from([None, (), *ones, tuple(ones)]))
    return Call(anything(draw(randomness), shape), options={"axis": axis})


@st.composite
def broadcasts(draw):
    shape = draw(shapes)
    full = draw(hnp.broadcastable_shapes(shape, min_dims=len(shape), max_dims=4, min_side=0, max_side=3))
    full = np.broadcast_shapes(shape, full)
    return Call(anything(draw(randomness), shape), after=(full[0] if len(full) == 1 else full,))


@st.composite
def concatenations(draw):
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=3))
    axis = draw(st.none() | st.integers(-len(shape), len(shape) - 1))
    lengths = draw(st.lists(st.integers(0, 3), min_size=1, max_size=3))
    if axis is None:
        several = [shape, *((n,) for n in lengths)]
    else:
        several = [tuple(n if i == axis % len(shape) else side for i, side in enumerate(shape)) for n in lengths]
    by_position = draw(st.booleans())
    options = {"listed": True, "after": (axis,)} if by_position else {"listed": True, "options": {"axis": axis}}
    return Call(anything(draw(randomness), *several), **options)


@st.composite
def stacks(draw):
    shape = draw(shapes)
    axis = draw(st.integers(-len(shape) - 1, len(shape)))
    return Call(anything(draw(randomness), *[shape] * draw(st.integers(1, 3))), options={"axis": axis}, listed=True)


@st.composite
def indexings(draw):
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=4))
    rows = hnp.arrays(np.intp, st.integers(0, 4), elements=st.integers(-shape[0], shape[0] - 1))
    index = draw(
        hnp.basic_indices(shape, allow_newaxis=True)
        | hnp.integer_array_indices(shape)
        | hnp.arrays(bool, shape)
        | hnp.arrays(bool, shape[0])
        | rows
        | st.tuples(rows, st.just(...))
        | st.tuples(rows, *[st.slices(n) for n in shape[1:]])
    )
    return Call(anything(draw(randomness), shape), after=(index,))


@st.composite
def losses(draw, domain, labels=None):
    """Predictions and labels of the shape (n_y, m), both of them inputs of the graph."""
    shape = draw(st.just(()) | st.tuples(st.integers(1, 3), st.integers(1, 4)))
    rng = draw(randomness)
    return Call(domain(rng, shape) + (labels or domain)(rng, shape))


@st.composite
def classifications(draw):
    """Class indices, or columns of probabilities in quarters. They are constants: the sums of columns are no choice."""
    n, m = draw(st.tuples(st.integers(2, 4), st.integers(1, 4)))
    rng = draw(randomness)
    Y = rng.integers(0, n, (1, m)) if draw(st.booleans()) else rng.multinomial(4, np.full(n, 1 / n), m).T / 4
    return Call(anything(rng, (n, m)), after=(Y,))


mean_like = functools.partial(reductions, anything, 1, over_number=False)
TABLE = {
    **{name: entrywise(anything) for name in ["negative", "exp", "expm1", "square", "sin", "cos", "tanh"]},
    **{name: entrywise(anything) for name in ["sigmoid", "softplus"]},
    **{name: entrywise(positive) for name in ["log", "log1p", "sqrt"]},
    **{name: entrywise(between_quarters) for name in ["abs", "relu"]},
    **{name: binary(anything, anything) for name in ["add", "subtract", "multiply"]},
    "divide": binary(nonzero, nonzero),
    "power": powers(),
    **{name: extremes() for name in ["maximum", "minimum"]},
    "where": wheres(),
    "clip": clips() | clips_between_arrays(),
    "sum": reductions(anything),
    "prod": reductions(anything),
    "max": reductions(distinct, 1),
    "min": reductions(distinct, 1),
    "mean": mean_like(),
    "var": mean_like(ddof=True),
    "std": reductions(distinct, 2, ddof=True, over_number=False).filter(spread),
    "cumsum": cumsums(),
    "logsumexp": reductions(anything, 1),
    "softmax": reductions(anything, 1, keepdims=False),
    "log_softmax": reductions(anything, 1, keepdims=False),
    "matmul": matrix_products(),
    "dot": dots() | number_behind(entrywise(anything)) | number_in_front(entrywise(anything)),
    "affine": affines(),
    "reshape": reshapes(),
    "transpose": transposes(),
    "swapaxes": swaps(),
    "expand_dims": expansions(),
    "squeeze": squeezes(),
    "broadcast_to": broadcasts(),
    "astype": entrywise(anything).map(lambda call: Call(call.arrays, after=(np.float64,))),
    "concatenate": concatenations(),
    "stack": stacks(),
    "getitem": indexings(),
    "binary_cross_entropy": losses(probabilities),
    "binary_cross_entropy_with_logits": losses(anything, probabilities),
    "mean_squared_error": losses(anything),
    "softmax_cross_entropy": classifications(),
}

# -- what they mean ---------------------------------------------------------------------------------------------------


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
    if hasattr(tg.Tensor, name):
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
    homes = {"tinygrad_dls.engine.ops", "tinygrad_dls.nn.losses"}
    public = {name for name in tg.__all__ if inspect.getmodule(getattr(tg, name)).__name__ in homes}
    assert TABLE.keys() == public | {"affine"}


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
