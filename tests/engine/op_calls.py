"""How ops are called: strategies for arrays and options of each, in `TABLE`."""

import functools
import math
from dataclasses import dataclass, field

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

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
