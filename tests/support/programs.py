"""Random programs of our ops: a list of steps that can be run with our functions, or with anyone's of the same meaning.

Beside what the generator sees to, logarithms and divisors are well above 0, and whatever has a kink or a tie stays away
from it.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import tinygrad_dls as tg
from tests.support.generator import Generator, UnfitError, factor, together
from tinygrad_dls.engine import ops
from tinygrad_dls.ir.call import Call, each, toposort
from tinygrad_dls.ir.rules import canonicalize
from tinygrad_dls.ir.tracer import Trace, Tracer

OURS = {
    **{name: getattr(tg, name) for name in (
        "abs", "add", "astype", "binary_cross_entropy", "binary_cross_entropy_with_logits", "broadcast_to", "clip",
        "cos", "cumsum", "divide", "dot", "exp", "expand_dims", "expm1", "getitem", "log", "log1p", "log_softmax",
        "logsumexp", "matmul", "max", "maximum", "mean", "mean_squared_error", "min", "minimum", "multiply", "negative",
        "power", "prod", "relu", "reshape", "sigmoid", "sin", "softmax", "softmax_cross_entropy", "softplus", "sqrt",
        "square", "squeeze", "std", "subtract", "sum", "swapaxes", "tanh", "transpose", "var",
    )},
    "affine": ops.affine,
    "concatenate": lambda *xs, axis: tg.concatenate(xs, axis=axis),
    "stack": lambda *xs, axis: tg.stack(xs, axis=axis),
    "where": lambda x, y, a, b: tg.where(x > y, a, b),
}  # fmt: skip

MARGIN = 1e-3  # from kinks and ties: a million times the rounding that could take one program to another side
SIZE = 18


@dataclass
class Step:
    """An op, the places of the values that it is given, its further arguments; or an input of the program."""

    op: str
    of: tuple = ()
    args: tuple = ()
    options: dict = field(default_factory=dict)

    def __str__(self):
        options = [f"{key}={value!r}" for key, value in self.options.items()]
        return f"{self.op}({', '.join([f'v{i}' for i in self.of] + [repr(a) for a in self.args] + options)})"


@dataclass
class Program:
    """The last step is the cost."""

    steps: list
    inputs: list

    def run(self, table, inputs):
        """The value of every step."""
        values: list[Any] = []
        remaining = iter(inputs)
        for step in self.steps:
            of = [values[i] for i in step.of]
            is_input = step.op == "input"
            values.append(next(remaining) if is_input else table[step.op](*of, *step.args, **step.options))
        return values

    def __str__(self):
        lines = [f"v{i} = {step}" for i, step in enumerate(self.steps)]
        return "\n".join(["", *lines, *(f"input {x!r}" for x in self.inputs)])


class Ops(Generator):
    """The grammar of steps; a value is called by its place."""

    PREFER_UNUSED = 80

    def __init__(self, rng):
        super().__init__()
        self.rng, self.steps = rng, []

    def choice(self, options):
        return options[self.rng.integers(len(options))]

    def chance(self, percent):
        return self.rng.random() < percent / 100

    def sample(self, place):
        return self.values[place]

    def input(self, shape):
        self.steps.append(Step("input"))
        return self.keep(len(self.steps) - 1, self.rng.uniform(-2, 2, shape))

    def emit(self, op, *of, args=(), **options):
        """Append a step; scale its value down if it is too large. Returns the place of the value."""
        step = Step(op, of, args, options)
        value = OURS[op](*(self.values[i] for i in of), *args, **options)
        smaller = factor(value)
        if not 0 < np.size(value) <= SIZE or np.ndim(value) > 3:
            raise UnfitError
        self.steps.append(step)
        used = of[2:] if op == "where" else of  # no gradient flows to what `where` compares
        place = self.keep(len(self.steps) - 1, np.asarray(value), used)
        return place if smaller is None else self.emit("multiply", place, args=(smaller,))

    def of_shape(self, shape):
        """A value of this shape, old or new."""
        old = [i for i, x in self.values.items() if x.shape == shape]
        return self.choice(old) if old and self.chance(70) else self.input(shape)

    def positive(self, fit=lambda x: True):
        op = self.choice(["square", "softplus"])
        return self.emit("add", self.emit(op, self.pick(fit)), args=(0.5,))

    def axis(self, x):
        """None, one axis, or several."""
        axes = range(-x.ndim, x.ndim)
        return self.choice([None, *axes, *([(0, -1)] if x.ndim > 1 else []), *([(2, 0)] if x.ndim > 2 else [])])

    def one_axis(self, x):
        return self.choice(range(-x.ndim, x.ndim))

    def broadcastable(self, *places):
        shape = np.broadcast_shapes(*(self.values[i].shape for i in places))

        def fit(x):
            both = together(shape, x.shape)
            return both is not None and math.prod(both) <= SIZE

        return fit

    def finish(self):
        """Sum up everything that nothing has used."""
        cost, *others = [self.emit("sum", i) for i in self.unused]
        for term in others:
            cost = self.emit("add", cost, term)
        inputs = [x for step, x in zip(self.steps, self.values.values(), strict=True) if step.op == "input"]
        return Program(self.steps, inputs)


def entrywise(op):
    return lambda w: w.emit(op, w.pick())


def of_positive(op):
    return lambda w: w.emit(op, w.positive())


def kinked_at_zero(op):
    return lambda w: w.emit(op, w.pick(away_from(0)))


def away_from(*kinks):
    return lambda x: all(np.abs(x - kink).min() > MARGIN for kink in kinks)


def clip(w):
    low, high = w.choice([(-0.5, 0.75), (None, 0.25), (-0.25, None)])
    return w.emit("clip", w.pick(away_from(*(k for k in (low, high) if k is not None))), args=(low, high))


def binary(op):
    def write(w):
        i = w.pick()
        if w.rng.random() < 0.2:
            return w.emit(op, i, args=(w.choice([-1.5, 0.75, 2]),))
        return w.emit(op, i, w.pick(w.broadcastable(i)))

    return write


def divide(w):
    i = w.pick()
    return w.emit("divide", i, w.positive(w.broadcastable(i)))


def power(w):
    if w.rng.random() < 0.4:
        return w.emit("power", w.pick(), args=(w.choice([0, 1, 2, 3, 2.0]),))
    i = w.positive()
    return w.emit("power", i, w.pick(w.broadcastable(i)))


def untied(w):
    i = w.pick()
    fits = w.broadcastable(i)
    return i, w.pick(lambda x: fits(x) and np.abs(w.values[i] - x).min() > MARGIN)


def extreme(op):
    return lambda w: w.emit(op, *untied(w))


def where(w):
    i, j = untied(w)
    a = w.pick(w.broadcastable(i, j))
    return w.emit("where", i, j, a, w.pick(w.broadcastable(i, j, a)))


def reduction(op):
    def write(w):
        i = w.pick()
        axis, keepdims = w.axis(w.values[i]), bool(w.rng.integers(2))
        return w.emit(op, i, axis=axis, keepdims=keepdims)

    return write


def deviation(op):
    def write(w):
        i = w.pick(lambda x: x.ndim)
        x, ddof = w.values[i], int(w.rng.integers(2))
        axis = w.axis(x)
        spread = x.std(axis=axis)
        if spread.min() < 0.1 or spread.size * 2 > x.size:  # the square root, and n - 1, stay away from 0
            raise UnfitError
        return w.emit(op, i, axis=axis, ddof=ddof, keepdims=bool(w.rng.integers(2)))

    return write


def largest(op):
    def write(w):
        i = w.pick()
        x = w.values[i]
        axis = w.axis(x)
        best = getattr(np, op)(x, axis=axis, keepdims=True)
        if (np.sum(np.abs(x - best) < MARGIN, axis=axis) > 1).any():
            raise UnfitError
        return w.emit(op, i, axis=axis, keepdims=bool(w.rng.integers(2)))

    return write


def along(op):
    def write(w):
        i = w.pick(lambda x: x.ndim)
        return w.emit(op, i, axis=w.one_axis(w.values[i]))

    return write


def product(op):
    def write(w):
        i = w.pick(lambda x: 0 < x.ndim < (3 if op == "dot" else 4))
        shape = w.values[i].shape
        k = shape[-1]
        if w.rng.random() < 0.3:
            partner = (k,)
        else:
            partner = (k, int(w.choice([1, 2, 3])))
        return w.emit(op, i, w.of_shape(partner))

    return write


def affine(w):
    i = w.pick(lambda x: x.ndim == 2)
    n = int(w.choice([1, 2, 3]))
    return w.emit("affine", w.of_shape((n, len(w.values[i]))), i, w.of_shape((n, 1)))


def reshape(w):
    i = w.pick()
    x = w.values[i]
    forms = [-1, (1, -1), (-1, 1), x.shape[::-1], (x.size,)] + ([(2, -1)] if x.size % 2 == 0 else [])
    return w.emit("reshape", i, args=(w.choice(forms),))


def transpose(w):
    i = w.pick(lambda x: x.ndim > 1)
    axes = w.choice([None, tuple(int(k) for k in w.rng.permutation(w.values[i].ndim))])
    return w.emit("transpose", i, args=(axes,))


def swapaxes(w):
    i = w.pick(lambda x: x.ndim > 1)
    x = w.values[i]
    return w.emit("swapaxes", i, args=(w.one_axis(x), w.one_axis(x)))


def expand_dims(w):
    i = w.pick(lambda x: x.ndim < 3)
    return w.emit("expand_dims", i, axis=w.choice(range(-w.values[i].ndim - 1, w.values[i].ndim + 1)))


def squeeze(w):
    i = w.pick(lambda x: 1 in x.shape)
    return w.emit("squeeze", i, axis=w.choice([None, w.values[i].shape.index(1)]))


def broadcast_to(w):
    i = w.pick(lambda x: x.ndim < 3)
    return w.emit("broadcast_to", i, args=((2, *(3 if n == 1 else n for n in w.values[i].shape)),))


def concatenate(w):
    i = w.pick(lambda x: x.ndim)
    axis = w.one_axis(w.values[i])
    return w.emit("concatenate", i, w.of_shape(w.values[i].shape), axis=axis)


def stack(w):
    i = w.pick(lambda x: x.ndim < 3)
    axis = w.choice(range(-w.values[i].ndim - 1, w.values[i].ndim + 1))
    return w.emit("stack", i, w.of_shape(w.values[i].shape), axis=axis)


def getitem(w):
    i = w.pick(lambda x: x.ndim)
    n = len(w.values[i])
    mask = np.arange(n) != 1
    repeats = np.array([0, n - 1, 0])
    index = w.choice([slice(None, None, -1), -1, (..., 0), None, repeats, (..., repeats % w.values[i].shape[-1]), mask])
    return w.emit("getitem", i, args=(index,))


def predictions(w, rows=1):
    """A value of the shape (n_y, m)."""
    i = w.pick()
    if w.values[i].ndim == 2 and len(w.values[i]) >= rows:
        return i
    return w.emit("reshape", i, args=((-1, 1) if rows > 1 else (1, -1),))


def binary_cross_entropy(w):
    i = w.emit("sigmoid", predictions(w))
    return w.emit("binary_cross_entropy", i, args=(w.rng.integers(0, 2, w.values[i].shape).astype(float),))


def logits(w, rows=1):
    """What a loss of logits takes; of what a sigmoid or a softmax made, it wants to be told that it is meant."""
    i = predictions(w, rows)
    return w.emit("multiply", i, args=(1.0,)) if w.steps[i].op in ("sigmoid", "softmax", "divide") else i


def with_logits(w):
    i = logits(w)
    return w.emit("binary_cross_entropy_with_logits", i, args=(w.rng.integers(0, 2, w.values[i].shape).astype(float),))


def mean_squared_error(w):
    i = predictions(w)
    if w.rng.random() < 0.5:
        return w.emit("mean_squared_error", i, w.of_shape(w.values[i].shape))
    return w.emit("mean_squared_error", i, args=(w.rng.uniform(-1, 1, w.values[i].shape).round(3),))


def softmax_cross_entropy(w):
    i = logits(w, rows=2)
    n, m = w.values[i].shape
    if n == 1:
        raise UnfitError
    Y = w.choice([w.rng.integers(0, n, (1, m)), w.rng.dirichlet(np.ones(n), size=m).T])
    return w.emit("softmax_cross_entropy", i, args=(Y,))


smooth = ("negative", "exp", "expm1", "square", "sin", "cos", "tanh", "sigmoid", "softplus")
WRITERS = {
    **{op: entrywise(op) for op in smooth},
    **{op: of_positive(op) for op in ("log", "log1p", "sqrt")},
    **{op: kinked_at_zero(op) for op in ("abs", "relu")},
    **{op: binary(op) for op in ("add", "subtract", "multiply")},
    **{op: extreme(op) for op in ("maximum", "minimum")},
    **{op: reduction(op) for op in ("sum", "mean", "prod", "logsumexp")},
    **{op: largest(op) for op in ("max", "min")},
    **{op: deviation(op) for op in ("var", "std")},
    **{op: along(op) for op in ("cumsum", "softmax", "log_softmax")},
    **{op: product(op) for op in ("matmul", "dot")},
    "astype": lambda w: w.emit("astype", w.pick(), args=(np.float64,)),
    "clip": clip, "divide": divide, "power": power, "where": where, "affine": affine, "reshape": reshape,
    "transpose": transpose, "swapaxes": swapaxes, "expand_dims": expand_dims, "squeeze": squeeze,
    "broadcast_to": broadcast_to, "concatenate": concatenate, "stack": stack, "getitem": getitem,
    "binary_cross_entropy": binary_cross_entropy, "binary_cross_entropy_with_logits": with_logits,
    "mean_squared_error": mean_squared_error, "softmax_cross_entropy": softmax_cross_entropy,
}  # fmt: skip


def random_program(seed, length=12):
    """A program of about so many steps, and those that prepare values for them and sum up what is left over."""
    w = Ops(np.random.default_rng(seed))
    for _ in range(2):
        w.input(w.choice([(2, 3), (3, 2), (1, 3), (3, 1), (2, 2, 3), (3,), ()]))
    while length:
        length -= w.tried(lambda: WRITERS[w.choice(list(WRITERS))](w)) is not None
    return w.finish()


# -- as NumPy calls ---------------------------------------------------------------------------------------------------

EPS = np.finfo(float).eps
ROUNDING = {
    np.add, np.subtract, np.multiply, np.divide, np.power, np.square, np.sqrt, np.exp, np.expm1, np.log, np.log1p,
    np.sin, np.cos, np.tanh, np.matmul, np.dot, np.sum, np.mean, np.prod, np.cumsum, np.var, np.std,
}  # fmt: skip


def text(x):
    """A call as functions of functions."""
    if not isinstance(x, Call):
        return repr(x.item() if isinstance(x, np.generic) else x)
    if x.function is None:
        return x.name
    options = [f"{name}={text(y)}" for name, y in x.options.items()]
    return f"{x.function.__name__}({', '.join([*map(text, x.args), *options])})"


def evaluated(outputs, inputs, noise=None):
    """The value of every call that these outputs need, of inputs by name; with noise, each is off by a rounding."""
    found = {}
    for call in toposort(outputs):
        if call.function is None:
            found[call] = inputs[call.name]
        else:
            args, options = (
                each(lambda x: found[x] if isinstance(x, Call) else x, y) for y in (call.args, call.options)
            )
            found[call] = np.asarray(call.function(*args, **options))
            if noise is not None and call.function in ROUNDING and found[call].dtype.kind == "f":
                found[call] = found[call] * (1 + EPS * noise.choice([-1, 1], call.shape))
    return found


def calls_saved(seed, change=canonicalize):
    """Assert that a random program with its gradients, and what becomes of it, compute the same; count the calls."""
    program, rng, trace = random_program(seed), np.random.default_rng(seed), Trace()
    inputs = {f"x{i}": x for i, x in enumerate(program.inputs)}
    tensors = [tg.Tensor(trace.input(name, x), requires_grad=True) for name, x in inputs.items()]
    J = program.run(OURS, tensors)[-1]
    J.backward(trace.constant(1.0, float))
    arrays = [J._value, *(x._grad for x in tensors)]
    before = [x.call for x in arrays if isinstance(x, Tracer)]
    after = change(before)
    old, found = evaluated(before, inputs), evaluated(after, inputs)
    noisy = [evaluated(before, inputs, rng) for _ in range(3)]
    for call, new in zip(before, after, strict=True):
        # A rule may round otherwise, but not more often: the difference is at most that of the program from itself
        # when each call is rounded anew, up to a factor of 4 for having drawn this only three times.
        spread = max(np.abs(other[call] - old[call]).max() for other in noisy)
        assert np.abs(found[new] - old[call]).max() <= 4 * (spread + EPS * np.abs(old[call]).max())
    for call, value in found.items():
        as_numbers = value.dtype == bool and call.dtype.kind == "f"  # what a comparison can write into numbers
        assert value.shape == call.shape, text(call)
        assert value.dtype == call.dtype or as_numbers, text(call)
    return len(toposort(before)) - len(toposort(after))
