"""Random models, losses, optimizers and data: a compiled step computes what the eager one does, up to rounding.

How much rounding is allowed, each computation says itself. It is run once more with digits to spare, which is the truth
here, and a few times with each operand of each op disturbed by about one rounding, at random: what that changes is the
error that another order of the same operations may have. `Yardstick` says what a compiled step may then be off by.
"""

import copy
import math
import re
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import tinygrad_dls as tg
from tests.compiler.steps import eager
from tests.support.programs import OURS, random_program
from tinygrad_dls import nn
from tinygrad_dls.engine import ops

# -- programs as lines of Python --------------------------------------------------------------------------------------


@dataclass
class Line:
    """An assignment such as ``v3 = np.tanh(v2)``: a text with places for the operands, and what has its kinks at 0."""

    name: str
    text: str
    operands: tuple
    kinks: tuple = ()

    def plain(self):
        return f"{self.name} = {self.text.format(*self.operands)}"

    def reference(self):
        """The same with operands that can be disturbed, and with a look at the kinks."""
        names = [f"o{i}" for i in range(len(self.operands))]
        lines = [f"{o} = rounded({x})" for o, x in zip(names, self.operands, strict=True)]
        lines += [f"kink({kink.format(*names)})" for kink in self.kinks]
        return "; ".join([*lines, f"{self.name} = {self.text.format(*names)}"])


@dataclass
class Program:
    """A model and a loss as lines; the parameters' first values; the rows of X, and the kind and rows of Y."""

    lines: list
    loss: list
    outputs: list
    values: dict
    n_x: int
    labels: tuple

    def source(self, form=Line.plain):
        def body(lines, owner, first, last):
            used = {name for line in lines for name in line.operands if name in self.values} | set(last.split(", "))
            unpacked = [f"{name} = {owner}.{name}" for name in self.values if name in used]
            return "\n        ".join([*unpacked, *first, *map(form, lines), f"return {last}"])

        returned = ", ".join(self.outputs)
        return (
            f"class Model(Base):\n    def __call__(self, X):\n        {body(self.lines, 'self', [], returned)}\n\n\n"
            f"def make_loss(model):\n    def loss(outputs, Y):\n"
            f"        {body(self.loss, 'model', [f'{returned} = outputs'], 'J')}\n\n    return loss\n"
        )

    def function(self, form=Line.plain):
        """The model as a function of arrays, all values that nothing uses in a nested result."""
        first, *others = self.outputs
        body = "\n    ".join(
            [*map(form, self.lines), f"return {{'first': {first}, 'others': [({', '.join(others)})]}}"]
        )
        return f"def f({', '.join(['X', *self.values])}):\n    {body}\n"

    def data(self, m, seed):
        """Columns that float32 holds exactly, and labels that fit the loss."""
        rng = np.random.default_rng([seed, m])
        kind, n = self.labels
        X = rng.uniform(-2, 2, (self.n_x, m)).astype("f4").astype(float)
        if kind == "classes":
            return X, rng.integers(0, n, (1, m))
        if kind == "one-hot":
            return X, np.eye(n)[:, rng.integers(0, n, m)]
        if kind == "numbers":
            return X, rng.uniform(-1, 1, (n, m)).astype("f4").astype(float)
        return X, (rng.random((n, m)) < 0.5).astype(float)

    def __repr__(self):
        values = "".join(f"# {name} = {value.tolist()}\n" for name, value in self.values.items())
        return f"\n{self.source()}\n{values}# n_x = {self.n_x}, labels {self.labels}\n"


class Base(nn.Module):
    def __init__(self, values, dtype):
        for name, value in values.items():
            setattr(self, name, nn.Parameter(value.astype(dtype)))


def plain(x):
    return x.data if isinstance(x, tg.Tensor) else x


def lead(x, axis):
    """How far the largest entries are ahead of the second largest."""
    x = np.sort(np.moveaxis(plain(x), axis, 0), axis=0)
    return x[-1:] - x[-2:-1] if len(x) > 1 else x[:0]


COMMON = {"np": np, "tg": tg, "ops": ops, "Base": Base, "lead": lead}


def executed(source, **names):
    namespace = {**COMMON, **names}
    exec(compile(source, "<a random program>", "exec"), namespace)
    return namespace


# -- what they are made of --------------------------------------------------------------------------------------------

POSITIVE = ("(np.square({0}) + 0.5)", "(tg.softplus({0}) + 0.25)", "(np.exp(0.5 * {0}) + 0.1)")
UNARY = [
    ("np.tanh({0})",), ("tg.sigmoid({0})",), ("np.sin({0})",), ("np.cos({0})",), ("np.square({0})",), ("{0} ** 2",),
    ("{0} ** 3",), ("np.exp({0})",), ("np.expm1({0})",), ("tg.softplus({0})",), ("-{0}",), ("1 - {0}",), ("{0} * 0.7",),
    ("{0} / 3",), ("{0} - {0} * 0.25",), ("{0} + 0.5",), ("{0} * {0}",), ("np.power({0}, 2)",),
    ("{0} / (1 + {0} ** 2)",), ("tg.relu({0})", "{0}"), ("np.maximum({0}, 0)", "{0}"), ("np.abs({0})", "{0}"),
    ("np.maximum({0}, 0.3)", "{0} - 0.3"),
    ("np.minimum({0}, 0.25)", "{0} - 0.25"), ("np.maximum(0.1 * {0}, {0})", "{0}"), ("({0} > 0.2) * {0}", "{0} - 0.2"),
    ("np.where({0} > 0, {0}, 0.1 * {0})", "{0}"), ("np.clip({0}, -0.5, 0.75)", "{0} + 0.5", "{0} - 0.75"),
    ("np.clip({0}, None, 0.5)", "{0} - 0.5"),
    *((text.format(positive),) for positive in POSITIVE for text in ("np.log({})", "np.sqrt({})", "np.log1p({})",
      "1 / {}", "{} ** 1.5", "{} ** -1", "{} ** 0.5")),
]  # fmt: skip
BINARY = [
    ("{0} + {1}",), ("{0} - {1}",), ("{0} * {1}",), ("{0} * {1} + {0}",), ("{0} * (1 - {1})",),
    ("np.maximum({0}, {1})", "{0} - {1}"), ("np.minimum({0}, {1})", "{0} - {1}"),
    ("np.where({0} > {1}, {0}, 0.5 * {1})", "{0} - {1}"), ("np.where({0} <= {1}, 0.5, {0})", "{0} - {1}"),
    ("np.where({1} > 0, {0}, {1})", "{1}"), ("({0} >= {1}) * {1}", "{0} - {1}"),
    *(("{0} / " + positive.replace("0}", "1}"),) for positive in POSITIVE),
    (POSITIVE[0] + " ** {1}",),
]  # fmt: skip
ROWS = [  # over the rows of one example
    ("np.sum({0}, axis=0, keepdims=True)",), ("np.mean({0}, axis=0, keepdims=True)",), ("{0} - np.mean({0}, axis=0)",),
    ("np.max({0}, axis=0, keepdims=True)", "lead({0}, 0)"), ("np.min({0}, axis=0, keepdims=True)", "lead(-{0}, 0)"),
    ("tg.softmax({0}, axis=0)",), ("tg.log_softmax({0}, axis=0)",), ("tg.logsumexp({0}, axis=0, keepdims=True)",),
    ("np.prod({0}, axis=0, keepdims=True)",), ("np.cumsum({0}, axis=0)",),
    ("{0} / np.sqrt(np.var({0}, axis=0, keepdims=True) + 0.5)",),
    ("{0} / (1 + np.sqrt(np.sum({0} * {0}, axis=0) + 0.1))",),
]  # fmt: skip
EXAMPLES = [  # over all examples: these programs cannot be cut into tiles
    ("np.mean({0}, axis=1, keepdims=True)",), ("np.sum({0}, axis=1, keepdims=True) / {0}.shape[1]",),
    ("{0} - np.mean({0}, axis=1, keepdims=True)",), ("np.mean({0})",), ("tg.softmax({0}, axis=1)",),
    ("np.max({0}, axis=1, keepdims=True)", "lead({0}, 1)"), ("{0} @ {0}.T / {0}.shape[1]",),
    ("{0} / np.sqrt(np.var({0}, axis=1, keepdims=True) + 0.5)",),
]  # fmt: skip
SHAPES = [
    "{0}[1:]", "{0}[:1]", "{0}[::-1]", "{0}[[0, -1]]", "{0}[-1]", "{0}[0][None]", "{0}[:, ::-1]", "{0}.T", "{0}.T.T",
    "np.concatenate([{0}, 0.5 * {0}])", "np.stack([{0}, {0} * {0}])", "np.expand_dims({0}, 1)", "{0}.reshape(-1)",
    "{0}.reshape({0}.shape[0], 1, -1)", "{0}.reshape(1, -1)", "np.swapaxes({0}, 0, 1)", "np.sum({0}, axis=0)",
    "np.broadcast_to({0}, (2, *{0}.shape))", "np.squeeze({0}, axis=0)", "{0}.reshape(2, -1, {0}.shape[-1])",
]  # fmt: skip

LARGEST = 4.0  # what is larger is scaled down
LENGTHS = 7, 11  # two numbers of examples that no other length equals, to tell which axes are theirs


class UnfitError(Exception):
    """A line that the values at hand are not fit for."""


class Writer:
    """Writes line after line, and knows the value of each for two numbers of examples, so that any number will do."""

    def __init__(self, draw, n_x, tiles):
        self.draw, self.tiles = draw, tiles
        self.rng = np.random.default_rng(draw(st.integers(0, 2**16)))
        self.lines, self.values, self.parameters, self.unused = [], {}, {}, []
        self.values["X"] = [self.rng.uniform(-2, 2, (n_x, m)) for m in LENGTHS]

    def choice(self, options):
        return self.draw(st.sampled_from(list(options)))

    def chance(self, percent):
        return self.draw(st.integers(0, 99)) >= 100 - percent  # shrinks to no

    def parameter(self, shape):
        """A parameter of this shape, old or new."""
        old = [name for name, value in self.parameters.items() if value.shape == shape]
        if old and self.chance(50):
            return self.choice(old)
        name = f"{'wW'[len(shape) == 2 and 1 not in shape]}{len(self.parameters)}"
        self.parameters[name] = value = self.rng.uniform(-1, 1, shape).astype("f4").astype(float)
        self.values[name] = [value, value]
        return name

    def write(self, text, *operands, kinks=()):
        """Append a line, and scale its value down if that is too large. Returns the name of the value."""
        name = f"v{len(self.lines)}"
        value = [self.value(text, operands, i) for i in (0, 1)]
        largest = np.abs(value[0]).max(initial=0)
        if not largest < 1000:
            raise UnfitError
        if largest > LARGEST:
            text = f"({text}) * {np.floor(999 * LARGEST / largest) / 1000}"
            value = [self.value(text, operands, i) for i in (0, 1)]
        shape, other = map(np.shape, value)
        if len(shape) > 3 or not 0 < math.prod(shape) <= 24 * LENGTHS[0] or shape.count(LENGTHS[0]) > 1:
            raise UnfitError
        if tuple(LENGTHS[1] if n == LENGTHS[0] else n for n in shape) != other:
            raise UnfitError
        self.lines.append(Line(name, text, operands, tuple(kinks)))
        self.values[name] = value
        self.unused = [v for v in self.unused if v not in operands] + [name]
        return name

    def value(self, text, operands, i):
        names = {name: self.values[name][i] for name in operands}
        try:
            with np.errstate(all="ignore"):
                return eval(text.format(*operands), {**COMMON, **names})
        except (ValueError, IndexError) as error:
            raise UnfitError from error

    def pick(self, fit=lambda x: True):
        """A value that is fit, rather one that nothing has used yet."""
        fits = [name for name, (x, _) in self.values.items() if fit(x)]
        loose = [name for name in fits if name in self.unused]
        if not fits:
            raise UnfitError
        return self.choice(loose if loose and self.chance(70) else fits)

    def columns(self, rows=1):
        return self.pick(lambda x: np.ndim(x) == 2 and x.shape[1] == LENGTHS[0] and len(x) >= rows)

    def output(self):
        """Columns that depend on a parameter."""
        learned = set(self.parameters)
        for line in self.lines:
            decided = re.sub(r"\{\d\} [<>]=? \S+?[,)]", "", line.text)  # no gradient flows through a comparison
            flowing = {name for i, name in enumerate(line.operands) if f"{{{i}}}" in decided}
            learned |= {line.name} if learned & flowing else set()
        return self.choice(
            [
                name
                for name, (x, _) in self.values.items()
                if name in learned and np.ndim(x) == 2 and x.shape[1] == LENGTHS[0]
            ]
        )

    def partner(self, x):
        """Something that broadcasts with x: a value, or a parameter made for it."""
        shape = np.shape(self.values[x][0])
        if self.chance(40):
            rows = [n for n in shape if n != LENGTHS[0]] or [1]
            return self.parameter(self.choice([(), (1, 1), (rows[0], 1)] if len(shape) == 2 else [(), (1,)]))

        def fits(y):
            try:
                return len(np.broadcast_shapes(shape, np.shape(y))) <= 3
            except ValueError:
                return False

        return self.pick(fits)

    def unary(self):
        text, *kinks = self.choice(UNARY)
        x = self.pick()
        return self.write(text, x, kinks=kinks)

    def binary(self):
        text, *kinks = self.choice(BINARY)
        x = self.pick()
        return self.write(text, x, self.partner(x), kinks=kinks)

    def product(self):
        """A layer's linear part in one of its spellings."""
        x = self.columns()
        n, k = self.choice([1, 2, 3, 5]), len(self.values[x][0])
        if self.chance(25):
            return self.write("{0}.T @ {1}", self.parameter((k, n)), x)
        if self.chance(15):
            return self.write("({0}.T @ {1}).T", x, self.parameter((k, n)))
        if self.chance(40):
            return self.write("{0} @ {1}", self.parameter((n, k)), x)
        if self.chance(40):
            return self.write("ops.affine({0}, {1}, {2})", self.parameter((n, k)), x, self.parameter((n, 1)))
        text = self.choice(["{0} @ {1} + {2}", "np.dot({0}, {1}) + {2}", "{2} + {0} @ {1}", "{0} @ {1} - {2}"])
        return self.write(text, self.parameter((n, k)), x, self.parameter(self.choice([(n, 1), (1, 1), ()])))

    def rows(self):
        text, *kinks = self.choice(ROWS)
        return self.write(text, self.columns(rows=2), kinks=kinks)

    def examples(self):
        if self.tiles:
            raise UnfitError
        text, *kinks = self.choice(EXAMPLES)
        return self.write(text, self.columns(), kinks=kinks)

    def shape(self):
        return self.write(self.choice(SHAPES), self.pick(np.ndim))

    def joined(self):
        x = self.columns()
        other = self.pick(lambda y: np.ndim(y) == 2 and y.shape[1] == LENGTHS[0])
        return self.write("np.concatenate([{0}, {1}])", x, other)

    def any(self):
        kinds = [self.product] * 3 + [self.unary] * 4 + [self.binary] * 4 + [self.rows] * 2
        for _ in range(20):
            made = len(self.lines), list(self.unused), dict(self.parameters)
            try:
                return self.choice([*kinds, self.shape, self.shape, self.joined, self.examples])()
            except UnfitError:
                for line in self.lines[made[0] :]:
                    del self.values[line.name]
                for name in self.parameters.keys() - made[2].keys():
                    del self.values[name]
                del self.lines[made[0] :]
                self.unused, self.parameters = made[1:]
        return None


# kind of labels, text, kinks; {0} is the output and Y the labels
LOSSES = [
    ("bits", "tg.binary_cross_entropy_with_logits({0}, Y)"),
    ("bits", "tg.binary_cross_entropy(tg.sigmoid({0}), Y)"),
    ("bits", "-np.mean(Y * np.log(tg.sigmoid({0})) + (1 - Y) * np.log(1 - tg.sigmoid({0})))"),
    ("bits", "np.sum(np.log(1 + np.exp(-(2 * Y - 1) * {0}))) / Y.shape[1]"),
    ("classes", "tg.softmax_cross_entropy({0}, Y)"),
    ("one-hot", "tg.softmax_cross_entropy({0}, Y)"),
    ("one-hot", "tg.binary_cross_entropy(tg.softmax({0}), Y)"),
    ("one-hot", "-np.sum(Y * tg.log_softmax({0}, axis=0)) / Y.shape[1]"),
    ("one-hot", "-np.mean(np.log(np.sum(Y * tg.softmax({0}), axis=0)))"),
    ("numbers", "tg.mean_squared_error({0}, Y)"),
    ("numbers", "np.mean(({0} - Y) ** 2)"),
    ("numbers", "0.5 / Y.shape[1] * np.sum(np.square(Y - {0}))"),
    ("numbers", "np.mean(np.abs({0} - Y))", "{0} - Y"),
    ("numbers", "np.mean(np.sum(({0} - Y) ** 2, axis=0))"),
    ("numbers", "np.mean((0.5 + (Y > 0)) * ({0} - Y) ** 2)"),
    ("numbers", "np.mean(np.where(np.abs({0} - Y) < 1, 0.5 * ({0} - Y) ** 2, np.abs({0} - Y) - 0.5))",
     "np.abs({0} - Y) - 1", "{0} - Y"),
    ("numbers", "np.sum({0} * Y) / {0}.shape[1]"),
]  # fmt: skip
PENALTIES = [
    ("0.01 * np.sum({0} ** 2)",), ("0.005 * np.sum(np.square({0}))",), ("0.01 * np.sum(np.abs({0}))", "{0}"),
    ("0.1 * np.sqrt(np.sum({0} * {0}) + 0.01)",), ("0.02 * np.mean({0} * {0})",),
]  # fmt: skip
EXTRAS = ["{1} + 0.1 * np.mean({0})", "{1} + 0.1 * np.mean(np.square({0}))", "{1} - np.sum({0}) / 100"]


@st.composite
def programs(draw, lines=8, tiles=None):
    """A random model and its loss."""
    n_x = draw(st.integers(1, 5))
    w = Writer(draw, n_x, draw(st.booleans()) if tiles is None else tiles)
    w.product()
    for _ in range(draw(st.integers(0, lines))):
        w.any()
    Z = w.output()
    n_y = len(w.values[Z][0])
    loose = [v for v in w.unused if v != Z]
    outputs = [Z, *loose[: draw(st.integers(0, 3))]]
    forward, w.lines = w.lines, []
    kind, text, *kinks = draw(
        st.sampled_from([loss for loss in LOSSES if n_y > 1 or loss[0] not in ("classes", "one-hot")])
    )
    loss = [Line("J", text, (Z,), tuple(kinks))]
    loss += [Line("J", draw(st.sampled_from(EXTRAS)), (v, "J")) for v in outputs[1:]]
    for text, *kinks in draw(st.lists(st.sampled_from(PENALTIES), max_size=2)):
        loss.append(Line("J", "{1} + " + text, (draw(st.sampled_from(sorted(w.parameters))), "J"), tuple(kinks)))
    return Program(forward, loss, outputs, w.parameters, n_x, (kind, n_y))


@st.composite
def optimizers(draw):
    """What makes an optimizer of a model's parameters: a class and its options."""
    lr = draw(st.sampled_from([0.1, 0.02, "schedule"]))
    if draw(st.booleans()):
        betas = draw(st.sampled_from([(0.9, 0.999), (0.5, 0.9), (0.0, 0.99), (0.9, 0.0)]))
        return tg.optim.Adam, {"lr": lr, "betas": betas, "epsilon": draw(st.sampled_from([1e-8, 1e-3]))}
    momentum = draw(st.sampled_from([0.0, 0.9, 0.5]))
    nesterov = bool(momentum) and draw(st.booleans())
    decay = draw(st.sampled_from([0.0, 0.1]))
    return tg.optim.SGD, {"lr": lr, "momentum": momentum, "nesterov": nesterov, "weight_decay": decay}


def rate_of(lr):
    return tg.optim.inverse_time_decay(0.1, rate=0.5) if lr == "schedule" else lr


# -- how far off a step may be ----------------------------------------------------------------------------------------

WIDER = {"float32": np.dtype(float), "float64": np.dtype(np.longdouble)}
RUNS = 3  # disturbed ones
# An operand is disturbed by at most one eps, by half of that on average, and the worst of three runs stands for all. In
# 2,400 random steps, the largest error of their 20,000 arrays was half of what 16 allows.
DISTURBANCES = 16


class Wide:
    """What the lines of a reference call: operands are disturbed at random, and the kinks looked at."""

    def __init__(self, dtype, disturbance, seed):
        self.dtype, self.disturbance, self.rng = dtype, disturbance, np.random.default_rng(seed)
        self.names = {"rounded": self.rounded, "kink": self.kink}
        self.forget()

    def forget(self):
        self.kinks, self.largest = [], 0.0

    def rounded(self, x):
        self.largest = max(self.largest, np.abs(plain(x)).max())
        if not self.disturbance:
            return x
        return x * (1 + self.disturbance * self.rng.uniform(-1, 1, x.shape)).astype(self.dtype)

    def kink(self, x):
        self.kinks.append(np.array(plain(x)))


def references(dtype):
    """One that gives the truth, and the disturbed ones."""
    eps = np.finfo(dtype).eps
    return [Wide(WIDER[dtype], eps if seed else 0.0, seed) for seed in range(RUNS + 1)]


def can_be_compared(wides):
    """Whether numbers stay moderate, and no kink is so near that a rounding might cross it.

    The results may be off by 16 disturbances; what lies twice as far from a kink is on the same side in all of them.
    """
    truth, *disturbed = wides
    if not truth.largest < 1e3:
        return False
    for i, kink in enumerate(truth.kinks):
        moved = [np.abs(wide.kinks[i] - kink).max(initial=0) for wide in disturbed]
        if not np.abs(kink).min(initial=np.inf) > 2 * DISTURBANCES * max(moved):
            return False
    return True


def off_by(x, truth, disturbed, eager, dtype, tiles=1):
    """The largest error, as a share of what it may be.

    That is four times the error of the eager computation, 16 times what the disturbances change, and a few roundings of
    the result: one for each tile, half of eps, as these are added up one after the other.
    """
    kind = np.finfo(dtype)
    changed = max(np.abs(other - truth).max(initial=0) for other in disturbed)
    allowed = 4 * np.abs(eager - truth).max(initial=0) + DISTURBANCES * changed
    allowed += (4 + tiles / 2) * kind.eps * np.abs(truth).max(initial=0) + 100 * kind.tiny
    return float(np.abs(x - truth).max(initial=0) / allowed)


class Twin:
    """A model with its loss, optimizer and step; all that a step may change can be read and set."""

    def __init__(self, program, optimizer, dtype, step=eager, wide=None):
        self.dtype = np.dtype(dtype)
        source = program.source(Line.reference if wide else Line.plain)
        names = executed(source, **(wide.names if wide else {}))
        self.model = names["Model"](program.values, self.dtype)
        self.make_loss, self.make_step = names["make_loss"], step
        kind, options = optimizer
        self.optimizer = kind(self.model.parameters(), **{**options, "lr": rate_of(options["lr"])})
        self.prepare()

    def prepare(self):
        self.loss = self.make_loss(self.model)
        self.step = self.make_step(self.model, self.loss, self.optimizer)

    def __call__(self, X, Y):
        """A step with data in this twin's precision: the cost, and all that the step leaves behind, by name."""
        X, Y = (np.asarray(x, self.dtype) if x.dtype == float else x for x in (X, Y))
        before = X.copy(), Y.copy()
        J = self.step(X, Y)
        assert all((x == then).all() for x, then in zip((X, Y), before, strict=True))
        gradients = {f"d{p.name}": p.grad for p in self.model.parameters() if p.grad is not None}
        return {"J": np.asarray(J), **self.arrays(), **gradients}

    def arrays(self):
        state = self.optimizer.state_dict()
        found = {**self.model.state_dict(), "steps": np.asarray(state["steps"])}
        for p, arrays in zip(self.optimizer.parameters, state["state"], strict=True):
            found |= {f"state {i} of {p.name}": x for i, x in enumerate(arrays)}
            if len(arrays) == 3:  # Adam's: the second moment is a square, and so would be what it may be off by
                found[f"state 1 of {p.name}"] = np.sqrt(arrays[1])
        return found

    def take(self, other):
        """Stand where another twin stands."""
        for p, value in zip(self.model.parameters(), other.model.state_dict().values(), strict=True):
            p.data = value.astype(self.dtype)
        state = other.optimizer.state_dict()
        floats = [tuple(x.astype(self.dtype) if x.dtype.kind == "f" else x for x in s) for s in state["state"]]
        self.optimizer.load_state_dict({**state, "state": floats})


class Yardstick:
    """The eager step, the truth and the disturbed runs, to compare a compiled step with."""

    def __init__(self, program, optimizer, dtype, twin=Twin):
        self.wides = references(dtype)
        self.eager = twin(program, optimizer, dtype)
        self.references = [twin(program, optimizer, wide.dtype, wide=wide) for wide in self.wides]
        self.twins = [*self.references, self.eager]

    def take(self, other):
        for twin in self.twins:
            twin.take(other)

    def step(self, X, Y):
        """Take the step; whether what others make of it can be compared."""
        try:
            with np.errstate(all="ignore"):  # that the numbers are moderate is looked at now
                self.truth, *self.disturbed = [twin(X, Y) for twin in self.references]
            comparable = can_be_compared(self.wides)
        finally:
            for wide in self.wides:
                wide.forget()
        if comparable:
            self.plain = self.eager(X, Y)
        return comparable

    def assert_as_exact(self, results, gradients=True, tiles=1):
        expected = {name for name in self.plain if gradients or not name.startswith("d")}
        assert results.keys() == expected
        for name, x in results.items():
            eager = self.plain[name]
            assert x.shape == eager.shape, name
            assert x.dtype == eager.dtype or name == "J", name
            share = off_by(
                x, self.truth[name], [other[name] for other in self.disturbed], eager, self.eager.dtype, tiles
            )
            assert share <= 1, f"{name} is off by {share:.3g} times what it may be"


def compiled(**options):
    return lambda model, loss, optimizer: tg.compile(model, loss, optimizer, **options)


@st.composite
def tiles(draw, m):
    return draw(st.sampled_from([None, 1, 7, 64, max(1, m - 1), m, m + 1]))


# -- steps ------------------------------------------------------------------------------------------------------------

DTYPES = st.sampled_from(["float32", "float64"])
EXAMPLES_OF_DATA = st.one_of(st.integers(1, 12), st.integers(1, 300))  # few may be as many as some layer has units
OFTEN = settings().max_examples  # of the profile


@settings(max_examples=OFTEN)
@given(st.data(), programs(), optimizers(), DTYPES, EXAMPLES_OF_DATA, st.integers(0, 9))
def test_a_step_of_a_random_model_is_as_exact_as_the_eager_one(data, program, optimizer, dtype, m, seed):
    tile, gradients = data.draw(tiles(m)), data.draw(st.booleans())
    options = {"tile": tile, "threads": data.draw(st.sampled_from([1, 2, 3, 5]))}
    yardstick = Yardstick(program, optimizer, dtype)
    fast = Twin(program, optimizer, dtype, compiled(gradients=gradients, **options))
    for i, size in enumerate([m, m, (m + 1) // 2]):
        yardstick.take(fast)  # so that differences do not grow from step to step
        X, Y = program.data(size, seed + i)
        if not yardstick.step(X, Y):
            assume(i > 0)
            return
        yardstick.assert_as_exact(fast(X, Y), gradients, tiles=size / (tile or size))


@settings(max_examples=max(10, OFTEN // 3))
@given(st.data(), programs(), optimizers(), EXAMPLES_OF_DATA, st.integers(0, 9))
def test_many_steps_of_a_random_model_are_the_eager_ones(data, program, optimizer, m, seed):
    """The disturbed runs go their own ways too, and show how fast differences grow."""
    yardstick = Yardstick(program, optimizer, "float64")
    tile = data.draw(tiles(m))
    fast = Twin(program, optimizer, "float64", compiled(tile=tile))
    for i in range(10):
        X, Y = program.data(m, seed + i % 3)
        if not yardstick.step(X, Y):
            assume(i > 0)
            return
        yardstick.assert_as_exact(fast(X, Y), gradients=False, tiles=m / (tile or m))


@settings(max_examples=max(10, OFTEN // 4))
@given(st.data(), programs(tiles=True), optimizers(), DTYPES, st.integers(2, 300), st.integers(0, 9))
def test_the_number_of_threads_changes_no_bit(data, program, optimizer, dtype, m, seed):
    tile = data.draw(st.integers(1, m - 1))
    X, Y = program.data(m, seed)
    yardstick = Yardstick(program, optimizer, dtype)
    steps = [Twin(program, optimizer, dtype, compiled(gradients=True, tile=tile, threads=n)) for n in (1, 2, 3, 5)]
    for _ in range(2):
        assume(yardstick.step(X, Y))  # moderate numbers
        one, *others = [{name: (x.dtype, x.tobytes()) for name, x in step(X, Y).items()} for step in steps]
        assert all(other == one for other in others)


# -- the yardstick itself ---------------------------------------------------------------------------------------------

LAYER = Line("v0", "np.tanh({0} @ {1} + {2})", ("W0", "X", "w1"))
OUTPUT = Line("v1", "{0} @ {1}", ("W2", "v0"))
COST = [
    Line("J", "tg.binary_cross_entropy_with_logits({0}, Y)", ("v1",)),
    Line("J", "{1} + 0.01 * np.sum({0} ** 2)", ("W0", "J")),
]
NETWORK = Program(
    [LAYER, OUTPUT],
    COST,
    ["v1"],
    {
        "W0": np.linspace(-1, 1, 12).reshape(4, 3).astype("f4").astype(float),
        "w1": np.full((4, 1), 0.25),
        "W2": np.array([[0.5, -1.0, 0.75, 0.125]]),
    },
    3,
    ("bits", 1),
)


@pytest.mark.parametrize(("dtype", "error"), [("float64", 1e-13), ("float32", 1e-4)])
@pytest.mark.parametrize("optimizer", [(tg.optim.SGD, {"lr": 0.1, "momentum": 0.9}), (tg.optim.Adam, {"lr": 0.1})])
def test_a_planted_error_is_caught(dtype, error, optimizer):
    """Of some 500 roundings of the largest entry, in any one array."""
    yardstick = Yardstick(NETWORK, optimizer, dtype)
    fast = Twin(NETWORK, optimizer, dtype, compiled(gradients=True))
    assert yardstick.step(*NETWORK.data(200, 0))
    right = fast(*NETWORK.data(200, 0))
    yardstick.assert_as_exact(right)
    for name, x in right.items():
        for sign in (1, -1):
            wrong = (x + sign * max(error * np.abs(x).max(), x.dtype.kind != "f")).astype(x.dtype)
            with pytest.raises(AssertionError, match=f"{name} is off by"):
                yardstick.assert_as_exact({**right, name: wrong})
    for name in right:
        with pytest.raises(AssertionError):
            yardstick.assert_as_exact({other: x for other, x in right.items() if other != name})


def test_what_a_rounding_may_decide_is_not_compared():
    kinked = Program(
        [Line("v0", "{0} @ {1}", ("w0", "X")), Line("v1", "tg.relu({0} - 1)", ("v0",), ("{0} - 1",))],
        [Line("J", "np.mean(({0} - Y) ** 2)", ("v1",))], ["v1"], {"w0": np.array([[0.5]])}, 1, ("numbers", 1),
    )  # fmt: skip
    for x, comparable in ((2.0, False), (2.0 + 1e-15, False), (2.0 + 1e-13, True)):
        yardstick = Yardstick(kinked, (tg.optim.SGD, {"lr": 0.1}), "float64")
        assert yardstick.step(np.array([[x]]), np.array([[0.0]])) == comparable


# -- what happens between two steps -----------------------------------------------------------------------------------


@st.composite
def events(draw, kind, sizes, count):
    """A step, or something that users do between two of them; most are followed by a step."""
    k, seed = draw(st.integers(0, count - 1)), draw(st.integers(0, 3))
    step = ("step", draw(st.sampled_from(sizes)), seed, draw(st.sampled_from(["", "", "run", "f4", "columns"])))
    options = {"lr": st.sampled_from([0.1, 0.02, 0.0, "schedule"])}
    if kind is tg.optim.Adam:
        options["betas"] = st.sampled_from([(0.9, 0.999), (0.5, 0.9), (0.0, 0.99), (0.9, 0.0)])
        options["epsilon"] = st.sampled_from([1e-8, 1e-3])
    else:
        options["momentum"] = st.sampled_from([0.0, 0.9, 0.5])
        options["nesterov"] = st.booleans()
        options["weight_decay"] = st.sampled_from([0.0, 0.1])
    name = draw(st.sampled_from(sorted(options)))
    event = draw(
        st.sampled_from(
            [
                step, ("set", name, draw(options[name])), ("freeze", k), ("thaw", k), ("replace", k, seed),
                ("in place", k), ("entry", k), ("save",), ("load",), ("load", "state"), ("eager", sizes[0], seed),
                ("hold",), ("copy",), ("data", k),
            ]
        )
    )  # fmt: skip
    return [event] if event is step or draw(st.integers(0, 3)) == 3 else [event, step]


class Subject(Twin):
    """A twin that the events happen to. What it has handed out must not change under its holder."""

    held = ()

    def happen(self, program, what, *arguments):
        parameters = self.model.parameters()
        p = parameters[arguments[0]] if arguments and what in self.OF_ONE else None
        if what == "set":
            name, value = arguments
            setattr(self.optimizer, name, rate_of(value) if name == "lr" else value)
        elif what in ("freeze", "thaw"):
            p.requires_grad = what == "thaw"
        elif what == "replace":
            rng = np.random.default_rng(arguments[1])
            p.data = rng.uniform(-1, 1, p.shape).astype("f4").astype(self.dtype)
        elif what in ("in place", "entry"):
            if what == "entry":
                p.data.flat[0] = 0.25
            else:
                p.data[...] *= 0.5
            self.held = [pair for pair in self.held if not np.shares_memory(pair[0], p.data)]  # it is the holder's
        elif what == "data":
            p.data = p.data
        elif what == "save":
            self.saved = self.model.state_dict(), self.optimizer.state_dict()
        elif what == "load" and hasattr(self, "saved"):
            if not arguments:
                self.model.load_state_dict(self.saved[0])
            self.optimizer.load_state_dict(self.saved[1])
        elif what == "eager":
            X, Y = program.data(*arguments)
            eager(self.model, self.loss, self.optimizer)(*(np.asarray(x, self.dtype) for x in (X, Y)))
        elif what == "hold":
            self.held = [*self.held, *((q.data, q.data.copy()) for q in parameters)]
        elif what == "copy":
            self.model, self.optimizer = copy.deepcopy((self.model, self.optimizer))
            self.prepare()

    OF_ONE = "freeze", "thaw", "replace", "in place", "entry", "data"

    def assert_nothing_held_has_changed(self):
        for array, then in self.held:
            assert (array == then).all()


def in_form(form, X, Y):
    if form == "f4":
        return X.astype("f4"), Y
    if form == "columns":
        return np.asfortranarray(X), Y
    if form == "run":  # a mini-batch out of something larger
        return (np.concatenate([x, x, x], axis=1)[:, x.shape[1] : 2 * x.shape[1]] for x in (X, Y))
    return X, Y


def outcome(act, *arguments):
    """What an act returns, and the error that it ends in."""
    try:
        return act(*arguments), None
    except (RuntimeError, ValueError) as error:
        return None, error


@settings(max_examples=max(10, OFTEN // 4))
@given(st.data(), programs(lines=4), optimizers(), st.lists(st.integers(1, 40), min_size=1, max_size=2))
def test_whatever_happens_between_steps_a_compiled_model_stays_the_eager_one(data, program, optimizer, sizes):
    yardstick = Yardstick(program, optimizer, "float64", Subject)
    tile = data.draw(st.sampled_from([None, 5]))
    fast = Subject(program, optimizer, "float64", compiled(tile=tile))
    one = events(optimizer[0], sizes, len(program.values))
    for event in [e for some in data.draw(st.lists(one, min_size=5, max_size=15)) for e in some]:
        if event[0] == "step":
            X, Y = in_form(event[3], *program.data(*event[1:3]))
            comparable, error = outcome(yardstick.step, X, Y)
            if error is None and not comparable:
                return
            results, other = outcome(fast, X, Y)
            assert (type(other), str(other)) == (type(error), str(error))
            if error is None:
                yardstick.assert_as_exact(results, gradients=False, tiles=X.shape[1] / (tile or 40))
        else:
            with np.errstate(all="ignore"):
                *_, error = [outcome(twin.happen, program, *event)[1] for twin in yardstick.twins]
            _, other = outcome(fast.happen, program, *event)
            assert (type(other), str(other)) == (type(error), str(error))
        fast.assert_nothing_held_has_changed()


HYPERPARAMETERS = [
    (tg.optim.Adam, {}, "betas", [(0.5, 0.9), (0.0, 0.99), (0.9, 0.0), (0.9, 0.999)]),
    (tg.optim.Adam, {}, "epsilon", [1e-3, 1.0, 1e-8]),
    (tg.optim.SGD, {"momentum": 0.9}, "nesterov", [True, False, True]),
    (tg.optim.SGD, {"momentum": 0.9, "nesterov": True}, "momentum", [0.5, 0.0, 0.9]),
    (tg.optim.SGD, {"momentum": 0.9}, "weight_decay", [0.1, 0.0, 0.5]),
    (tg.optim.SGD, {}, "weight_decay", [0.1, 0.0, 0.5]),
    (tg.optim.SGD, {}, "nesterov", [True, False]),
]


@pytest.mark.parametrize(("kind", "options", "name", "values"), HYPERPARAMETERS)
@pytest.mark.parametrize("tile", [None, 16])
def test_a_hyperparameter_changed_between_two_steps_is_that_of_the_next(kind, options, name, values, tile):
    optimizer = kind, {"lr": 0.1, **options}
    yardstick = Yardstick(NETWORK, optimizer, "float64")
    fast = Twin(NETWORK, optimizer, "float64", compiled(tile=tile))
    for value in [options.get(name), *values]:
        for twin in (*yardstick.twins, fast):
            if value is not None:
                setattr(twin.optimizer, name, value)
        for seed in (0, 1):
            assert yardstick.step(*NETWORK.data(50, seed))
            yardstick.assert_as_exact(fast(*NETWORK.data(50, seed)), gradients=False)


# -- functions of arrays ----------------------------------------------------------------------------------------------


def leaves(x):
    """The arrays of a nested result."""
    if isinstance(x, dict):
        return [leaf for value in x.values() for leaf in leaves(value)]
    return [leaf for value in x for leaf in leaves(value)] if isinstance(x, (list, tuple)) else [x]


@settings(max_examples=max(10, OFTEN // 2))
@given(programs(), DTYPES, EXAMPLES_OF_DATA, st.integers(0, 9))
def test_a_random_function_of_arrays_is_itself(program, dtype, m, seed):
    wides = references(dtype)
    f = executed(program.function())["f"]
    fast = tg.compile(f)
    others = [executed(program.function(Line.reference), **wide.names)["f"] for wide in wides]
    kept = []
    for i, size in enumerate([m, m, m + 1]):
        arrays = [program.data(size, seed + i)[0], *(value * 0.75**i for value in program.values.values())]
        arrays = [x.astype(dtype) for x in arrays]
        with np.errstate(all="ignore"):
            truth, *disturbed = [
                leaves(g(*(x.astype(wide.dtype) for x in arrays))) for g, wide in zip(others, wides, strict=True)
            ]
        assume(can_be_compared(wides))
        for wide in wides:
            wide.forget()
        before = [x.copy() for x in arrays]
        plain, result = f(*arrays), fast(*arrays)
        assert all((x == y).all() for x, y in zip(arrays, before, strict=True))
        assert result.keys() == plain.keys()
        assert [type(x) for x in result["others"]] == [type(x) for x in plain["others"]]
        for j, (x, y) in enumerate(zip(leaves(result), leaves(plain), strict=True)):
            assert (np.shape(x), x.dtype) == (np.shape(y), y.dtype)
            assert off_by(x, truth[j], [other[j] for other in disturbed], np.asarray(y), dtype) <= 1, j
            kept.append((x, np.copy(x)))
        assert all((x == then).all() for x, then in kept)


# -- compositions of all ops, without an axis of examples -------------------------------------------------------------


class Composition(nn.Module):
    """A random program of our ops, whose inputs are the parameters."""

    def __init__(self, program):
        self.program = program
        self.P = [nn.Parameter(x) for x in program.inputs]

    def __call__(self, X):
        return self.program.run(OURS, self.P)[-1]


@pytest.mark.parametrize("block", range(4))
def test_random_compositions_of_ops_are_compiled(block):
    """No composition is refused; buffers that are used again, views of them, and writing over arguments show here."""
    for seed in range(40 * block, 40 * (block + 1)):
        a, b = (Composition(random_program(seed)) for _ in range(2))
        oa, ob = (tg.optim.SGD(m.parameters(), lr=1e-3, momentum=0.5 * (seed % 2)) for m in (a, b))
        loss = lambda z, y: z * np.mean(y)  # noqa: E731  # the data enter too
        slow, fast = eager(a, loss, oa), tg.compile(b, loss, ob, gradients=True)
        x = y = np.ones((1, 9))
        for _ in range(2):
            J, cost = slow(x, y), fast(x, y)
            # the operands are of order 1, at most a few hundred roundings apart
            assert cost == pytest.approx(J, rel=1e-10, abs=1e-10), seed
            for p, q in zip(a.parameters(), b.parameters(), strict=True):
                for one, other in ((p.data, q.data), (p.grad, q.grad)):
                    if one is not None:
                        scale = 1e-9 * max(1.0, np.abs(one).max())
                        np.testing.assert_allclose(other, one, rtol=1e-9, atol=scale, err_msg=f"{seed} {p.name}")
