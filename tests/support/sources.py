"""Models, their code, and how it is run beside autodiff."""

import ast

import numpy as np
from hypothesis import settings

import tinygrad_dls as tg
from tests.support.programs import OURS
from tinygrad_dls.engine.tensor import values
from tinygrad_dls.graph.reading import read

LOGITS = tg.binary_cross_entropy_with_logits
X, Y = tg.datasets.planar_flower()
RNG = np.random.default_rng(0)
EPS = np.finfo(float).eps
PROGRAMS = range(2 * settings.default.max_examples)  # 200 ordinarily, 6,000 in the deep profile


def network(activation=None, n_y=1):
    return tg.nn.TwoLayerNetwork(2, 4, n_y, activation, rng=1, init=tg.init.xavier)


def composed():
    return tg.nn.Sequential(tg.nn.Linear(2, 1, rng=0), tg.nn.Sigmoid())


def five_layers():
    layers = [layer for n, k in [(2, 5), (5, 4), (4, 4), (4, 3)] for layer in (tg.nn.Linear(n, k, rng=3), tg.nn.Tanh())]
    return tg.nn.Sequential(*layers, tg.nn.Linear(3, 1, rng=3))


MODELS = {
    "logistic regression": (tg.nn.LogisticRegression(2), LOGITS),
    "logistic regression, composed": (composed(), tg.binary_cross_entropy),
    "tanh": (network(), LOGITS),
    "sigmoid": (network(tg.nn.Sigmoid()), LOGITS),
    "relu": (network(tg.nn.ReLU()), LOGITS),
    "three classes": (network(n_y=3), tg.softmax_cross_entropy),
    "five layers": (five_layers(), LOGITS),
    "squared error": (network(), tg.mean_squared_error),
}


def labels(name, m, dtype=int):
    return RNG.integers(0, 3 if name == "three classes" else 2, (1, m)).astype(dtype)


def function(source):
    namespace = {}
    exec(compile(source, "step", "exec"), namespace)
    return namespace["step"]


def results_of(source):
    *_, last = ast.parse(source).body[-1].body
    return [name.id for name in getattr(last.value, "elts", [last.value])]


def arguments_of(source):
    arguments = ast.parse(source).body[-1].args
    return [a.arg for a in arguments.args], [a.arg for a in arguments.kwonlyargs]


OPTIMIZERS = {
    "SGD": (tg.optim.SGD, {}),
    "momentum": (tg.optim.SGD, {"momentum": 0.9}),
    "Nesterov": (tg.optim.SGD, {"momentum": 0.9, "nesterov": True}),
    "weight decay": (tg.optim.SGD, {"weight_decay": 0.1}),
    "all of SGD": (tg.optim.SGD, {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    "the course's momentum": (tg.optim.SGD, {"momentum": 0.9, "dampening": 0.9}),
    "clipped by norm": (tg.optim.SGD, {"clip_norm": 0.01}),
    "clipped by value": (tg.optim.SGD, {"momentum": 0.9, "clip_value": 0.01}),
    "RMSprop": (tg.optim.RMSprop, {}),
    "all of RMSprop": (tg.optim.RMSprop, {"beta": 0.5, "epsilon": 1e-3, "weight_decay": 0.1}),
    "Adam with decay": (tg.optim.Adam, {"weight_decay": 0.1}),
    "Adam": (tg.optim.Adam, {}),
    "Adam of other rates": (tg.optim.Adam, {"betas": (0, 0.99), "epsilon": 1e-3}),
}


def matrix_of_data(program):
    """The first matrix among several inputs is data; the others are parameters."""
    return next((i for i, x in enumerate(program.inputs) if x.ndim == 2 and len(program.inputs) > 1), None)


def cost_of(program, data, table=OURS):
    inputs = [x if i == data else tg.Tensor(x, requires_grad=True, name=f"x{i}") for i, x in enumerate(program.inputs)]
    return program.run(table, inputs)[-1]


def gradients_of(J):
    """By the names of the results of the code."""
    J.backward()
    parameters = {node.identifier: node.x for node in read(J) if node.kind == "parameter"}
    return {"J": J.data, **{f"d{name}": p.grad for name, p in parameters.items()}}


def leaves_of(J):
    """The arguments of the code, and the names of those that are data."""
    leaves = [node for node in read(J) if not node.op]
    return {n.identifier: values(n.x) for n in leaves}, [n.identifier for n in leaves if n.kind == "input"]


def rounded_anew(rng):
    """Ops whose every result is off by one rounding, up or down."""

    def off(op):
        return lambda *args, **options: (z := op(*args, **options)) * (1 + EPS * rng.choice([-1, 1], np.shape(z)))

    return {name: off(op) for name, op in OURS.items()}
