"""Whatever a user calls his arrays, the code of them compiles, runs, and gives what autodiff gives."""

from functools import partial

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

import tinygrad_dls as tg
from tests.support.any_names import TEXTS, Model, X, Y, gradients
from tests.support.derivations import executed
from tests.support.sources import EPS, arguments_of, function, results_of
from tinygrad_dls.graph.reading import read

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
    assert [p.name for p in model.parameters()] == names
    for source in (tg.numpy_source(model, X, Y, loss=tg.binary_cross_entropy_with_logits), tg.numpy_source(J)):
        positional, keywords = arguments_of(source)
        assert len(set(positional)) == len(arrays)
        assert keywords == ["m"]
        cost, *found = function(source)(*arrays, m=9)
        np.testing.assert_allclose(cost, J.item(), **CLOSE)
        assert len(set(results_of(source))) == len(expected) + 1 == len(found) + 1
        for x, dx in zip(found, expected, strict=True):
            np.testing.assert_allclose(x, dx, **CLOSE)


@settings(max_examples=settings.default.max_examples // 4)  # a derivation takes tenths of a second
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


@given(NAMES)
@example(["W", "dW", "VdW", "SdW", "tdW"])
@example(["learning_rate", "m", "VdW", "step", "np"])
def test_the_code_of_a_step_of_training_updates_any_names_as_the_optimizer_does(names):
    model, loss = Model(names), tg.binary_cross_entropy_with_logits
    optimizer = tg.optim.Adam(model.parameters(), lr=0.5)
    source = tg.numpy_source(model, X, Y, loss=loss, optimizer=optimizer)
    before = [p.data.copy() for p in model.parameters()]
    states = [x for p in before for x in (np.zeros_like(p), np.zeros_like(p), np.zeros((), int))]
    found = function(source)(X, Y, *before, *states, m=9, learning_rate=0.5)
    tg.optim.eager_step(model, loss, optimizer, X, Y)
    assert len(set(results_of(source))) == len(found) == 1 + 4 * len(names)
    for x, p in zip(found[1:], model.parameters(), strict=False):
        np.testing.assert_allclose(x, p.data, rtol=1e-9)  # Adam divides small numbers by their size


@given(
    st.lists(st.sampled_from(["m", "memory", "part", "np", "add", "t", "t1", "function", "x", "float"]), unique=True)
)
@example(["m", "memory", "function"])
def test_a_compiled_function_may_call_its_arguments_anything(names):
    space = {"numpy": np}
    terms = " + ".join(f"numpy.tanh({name}) * {i}" for i, name in enumerate(["first", *names], 2))
    exec(f"def f({', '.join(['first', *names])}):\n    return {terms}", space)
    arrays = [np.full((2, 3), 0.1 * i) for i in range(len(names) + 1)]
    np.testing.assert_allclose(tg.compile(space["f"])(*arrays), space["f"](*arrays), rtol=1e-15)


# -- code that says what it calls otherwise ---------------------------------------------------------------------------


def test_the_code_says_which_argument_is_which():
    model = Model(["enc.W", "enc_W", "m"])
    source = tg.numpy_source(model, X, Y, loss=tg.binary_cross_entropy_with_logits)
    assert "    # In code, enc_W_2 is 'enc.W' and m_2 is 'm'.\n" in source
    assert "In code" not in tg.numpy_source(Model(["W", "b"]), X, Y, loss=tg.binary_cross_entropy_with_logits)


def test_a_derivation_says_so_too_and_writes_what_the_user_wrote():
    model = Model(["enc.W", "enc_W"])
    derivation = tg.derive(model, X, Y, loss=tg.binary_cross_entropy_with_logits)
    assert "In code, enc_W_2 is 'enc.W'." in derivation.text
    assert r"\mathrm{enc.W} \, X" in derivation.latex
    assert r"\mathrm{enc\_W} \, X" in derivation.latex
    assert derivation.formulas.keys() >= {"denc_W", "denc_W_2"}


def test_where_an_array_is_called_m_the_number_of_examples_is_not():
    """y = m x + c, as at school."""

    class Line(tg.nn.Module):
        def __init__(self):
            self.m, self.c = tg.nn.Parameter(np.array([[2.0]])), tg.nn.Parameter(np.array([[0.5]]))

        def __call__(self, x):
            return self.m @ x + self.c

    model, x = Line(), X[:1]
    derivation = tg.derive(model, x, Y, loss=tg.mean_squared_error, values=True)
    found = {"np": np, "X": x, "Y": Y, "m": model.m.data, "c": model.c.data}
    for name, formula in derivation.formulas.items():
        found[name] = eval(formula, found)
    tg.mean_squared_error(model(x), Y).backward()
    np.testing.assert_allclose(found["dm"], model.m.grad, rtol=1e-14)
    assert derivation.formulas["J"] == "np.sum((A - Y) ** 2) / X.shape[1]"
    assert "m_X is the number of examples, as an array is called m." in derivation.text
    assert r"\frac{1}{m_{X}}" in derivation.latex
    assert "(1, m_X)" in derivation.text


def test_letters_for_single_entries_are_told_apart():
    """A and a, which both would be a."""
    A = tg.Tensor(np.ones((1, 9)), requires_grad=True, name="A")
    a = tg.Tensor(np.full((1, 9), 3.0), requires_grad=True, name="a")
    text = tg.derive(np.sum(np.square(A) * a)).text
    assert "a_2" in text
    assert "a**3" not in text


def test_wrt_means_the_array_that_the_user_calls_so():
    model = Model(["enc_W", "enc.W"])
    loss = tg.binary_cross_entropy_with_logits
    for name, other in (("enc.W", "denc_W"), ("enc_W", "denc_W_2")):
        assert other not in tg.derive(model, X, Y, loss=loss, wrt=name).formulas


def test_arguments_may_be_called_like_parameters():
    W = tg.Tensor(np.array([[1.0, 2.0]]), requires_grad=True, name="W")
    source = tg.numpy_source(lambda W_, Y: np.sum((W @ W_ - Y) ** 2), X, Y)
    assert arguments_of(source)[0] == ["W_", "Y", "W"]

    def cost(W, Y):
        return np.sum((weights @ W - Y) ** 2)

    weights = W
    source = tg.numpy_source(cost, X, Y)
    assert arguments_of(source)[0] == ["W", "Y", "W_2"]
    np.testing.assert_allclose(function(source)(X, Y, W.data)[0], cost(X, Y).item(), rtol=1e-14)
