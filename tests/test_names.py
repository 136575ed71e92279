"""Names: whatever a user calls his arrays, the code of them compiles, runs, and gives what autodiff gives."""

import sys
import unicodedata
from functools import partial

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import tinygrad_dls as tg
from tests.test_derive import executed
from tests.test_numpy_source import EPS, arguments_of, function, results_of
from tinygrad_dls.graph import read
from tinygrad_dls.names import KIN, RESERVED, Names, identifier, shortened
from tinygrad_dls.views import latex

X = np.random.default_rng(0).standard_normal((2, 9))
Y = (np.random.default_rng(1).random((1, 9)) < 0.5) * 1.0

TEXTS = st.text(max_size=8) | st.sampled_from([
    "W", "W1", "b", "m", "M", "X", "Y", "Z", "A", "a", "J", "L", "U1", "P1", "C1", "dW", "dZ", "dA", "dU1", "VdW", "SdW", "tdW",
    "new_W", "state1_W", "W_", "W_2", "W 2", "enc.W", "enc_W", "x²", "x2", "½", "1/m", "µ", "μ", "λ", "Λ", "ſ", "s", "ﬁ",
    "fi", "日本", "é", "e\u0301", "🙂", "_", "__", "__debug__", "__builtins__", "np", "float", "bool", "lambda", "None",
    "match", "type", "sigmoid", "softmax", "step", "memory", "part", "sums", "learning_rate", "gradients", "before",
    "parameters", "state1", "t", "t1", "c", "s", "view", "view1", "ones", "zeros", "add", "multiply", "exp", "tanh", "el",
    "ivmod", "W" * 20_000, "W" * 20_000 + "1", "%", "#", "\\", "{", "\n", "\x00", '"', "'", "a\nimport os",
])  # fmt: skip


class Model(tg.nn.Module):
    """The sum of the parts of several parameters of one shape, each in a way of its own."""

    def __init__(self, names):
        rng = np.random.default_rng(2)
        self.parts = [tg.nn.Parameter(rng.standard_normal((1, 2)), name=name) for name in names]

    def __call__(self, X):
        Z = self.parts[0] @ X
        for i, w in enumerate(self.parts[1:], 2):
            Z = Z * 0.7 + np.tanh(w @ X) * i
        return Z


def gradients(model):
    J = tg.binary_cross_entropy_with_logits(model(X), Y)
    for p in model.parameters():
        p.grad = None
    J.backward()
    return J, [p.grad for p in model.parameters()]


NAMES = st.lists(TEXTS, min_size=1, max_size=5)
CLOSE = {"rtol": 500 * EPS, "atol": 500 * EPS}  # sums of 9 examples of a few ops each: tens of roundings


@given(NAMES)
@example(["enc.W", "enc_W"])
@example(["µ", "μ"])
@example(["m", "learning_rate", "X", "J"])
@example(["W", "dW", "VdW", "new_W", "state1_W"])
@example(["A", "a", "L", "l"])
def test_the_code_of_any_names_gives_the_gradients_of_autodiff(names):
    model = Model(names)
    J, expected = gradients(model)
    arrays = [X, Y, *(p.data for p in model.parameters())]
    for source in (tg.numpy_source(model, X, Y, loss=tg.binary_cross_entropy_with_logits), tg.numpy_source(J)):
        positional, keywords = arguments_of(source)
        assert len(set(positional)) == len(arrays)
        assert keywords == ["m"]
        cost, *found = function(source)(*arrays, m=9)
        np.testing.assert_allclose(cost, J.item(), **CLOSE)
        assert len(set(results_of(source))) == len(expected) + 1 == len(found) + 1
        for x, dx in zip(found, expected, strict=True):
            np.testing.assert_allclose(x, dx, **CLOSE)


@given(NAMES)
@example(["enc.W", "enc_W"])
@example(["m"])
@example(["A", "a", "L", "l"])
def test_the_formulas_of_any_names_give_the_gradients_of_autodiff(names):
    model = Model(names)
    J, expected = gradients(model)
    derivation = tg.derive(J)
    found = executed(derivation, J)
    for p, dx in zip(model.parameters(), expected, strict=True):
        (node,) = [node for node in read(J) if node.x is p]
        np.testing.assert_allclose(found[f"d{node.identifier}"], dx, **CLOSE)
    for text in (derivation.latex, derivation.text, derivation.html):
        assert "\\lamda" not in text


@given(NAMES, st.sampled_from(["SGD", "momentum", "Adam"]))
@example(["µ", "μ"], "SGD")
@example(["W", "state1_W", "new_W", "parameters", "gradients"], "Adam")
def test_a_compiled_step_of_any_names_trains_as_the_eager_one_does(names, kind):
    kinds = {
        "SGD": lambda p: tg.optim.SGD(p, lr=0.5),
        "momentum": lambda p: tg.optim.SGD(p, lr=0.5, momentum=0.9),
        "Adam": lambda p: tg.optim.Adam(p, lr=0.5),
    }
    costs = []
    for compiled in (False, True):
        model = Model(names)
        optimizer = kinds[kind](model.parameters())
        loss = tg.binary_cross_entropy_with_logits
        run = tg.compile(model, loss, optimizer) if compiled else partial(tg.optim.eager_step, model, loss, optimizer)
        costs.append([run(X, Y) for _ in range(3)])
    np.testing.assert_allclose(*costs, rtol=1e-9)  # Adam divides small numbers by their size
