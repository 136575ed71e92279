"""Random models and losses as lines of Python."""

import math
import re
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

import tinygrad_dls as tg
from tests.support.generator import Generator, UnfitError, factor, together
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

    def contracted(self):
        """As `reference`, where each use of an operand may have a rounding of its own.

        In C, a product and the sum that it is used in are rounded once, together; and what two loops need, both
        compute. So `x - np.mean(x)` of a single product may be a rounding of it, where NumPy gives 0.
        """
        of_its_own = [f"rounded({x})" for x in self.operands]
        lines = [f"kink({kink.format(*of_its_own)})" for kink in self.kinks]
        return "; ".join([*lines, f"{self.name} = {self.text.format(*of_its_own)}"])


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

LENGTHS = 7, 11  # two numbers of examples that no other length equals, to tell which axes are theirs


class Lines(Generator):
    """The grammar of lines, which knows the value of each for two numbers of examples, so that any number will do."""

    def __init__(self, draw, n_x, tiles):
        super().__init__()
        self.draw, self.tiles = draw, tiles
        self.rng = np.random.default_rng(draw(st.integers(0, 2**16)))
        self.lines, self.parameters = [], {}
        self.values["X"] = [self.rng.uniform(-2, 2, (n_x, m)) for m in LENGTHS]

    def choice(self, options):
        return self.draw(st.sampled_from(list(options)))

    def chance(self, percent):
        return self.draw(st.integers(0, 99)) >= 100 - percent  # shrinks to no

    def sample(self, name):
        return self.values[name][0]

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
        if smaller := factor(value[0]):
            text = f"({text}) * {smaller}"
            value = [self.value(text, operands, i) for i in (0, 1)]
        shape, other = map(np.shape, value)
        if len(shape) > 3 or not 0 < math.prod(shape) <= 24 * LENGTHS[0] or shape.count(LENGTHS[0]) > 1:
            raise UnfitError
        if tuple(LENGTHS[1] if n == LENGTHS[0] else n for n in shape) != other:
            raise UnfitError
        self.lines.append(Line(name, text, operands, tuple(kinks)))
        return self.keep(name, value, operands)

    def value(self, text, operands, i):
        names = {name: self.values[name][i] for name in operands}
        try:
            with np.errstate(all="ignore"):
                return eval(text.format(*operands), {**COMMON, **names})
        except (ValueError, IndexError) as error:
            raise UnfitError from error

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
            both = together(shape, np.shape(y))
            return both is not None and len(both) <= 3

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
        kinds += [self.shape, self.shape, self.joined, self.examples]
        for _ in range(20):
            if (name := self.tried(lambda: self.choice(kinds)())) is not None:
                return name
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
    w = Lines(draw, n_x, draw(st.booleans()) if tiles is None else tiles)
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
    if any(line.name == Z and line.text.startswith(("tg.sigmoid(", "tg.softmax(")) for line in forward):
        text = text.replace("({0}, Y)", "(1.0 * {0}, Y)")  # a loss of logits wants to be told that it is meant
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
    limits = draw(st.sampled_from([{}, {}, {"clip_norm": 0.05}, {"clip_value": 0.01}]))
    decay = draw(st.sampled_from([0.0, 0.1]))
    if draw(st.integers(0, 3)) == 3:
        return tg.optim.RMSprop, {"lr": lr, "beta": draw(st.sampled_from([0.9, 0.5])), "weight_decay": decay, **limits}
    momentum = draw(st.sampled_from([0.0, 0.9, 0.5]))
    nesterov = bool(momentum) and draw(st.booleans())
    dampening = draw(st.sampled_from([0.0, 0.9])) if momentum and not nesterov else 0.0
    own = {"momentum": momentum, "nesterov": nesterov, "dampening": dampening}
    return tg.optim.SGD, {"lr": lr, "weight_decay": decay, **own, **limits}


def rate_of(lr):
    return tg.optim.inverse_time_decay(0.1, rate=0.5) if lr == "schedule" else lr
