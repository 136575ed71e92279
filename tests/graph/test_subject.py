"""What a user passes: the same mistake gets the same words from everyone, and what fits is taken by all who can."""

import dataclasses
import os
import re
import reprlib
from pathlib import Path

import numpy as np
import pytest

import tinygrad_dls as tg
from tinygrad_dls.graph.subject import WAYS, Subject, subject

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 9))
Y = (RNG.random((1, 9)) < 0.5).astype(float)
LOGITS = tg.binary_cross_entropy_with_logits
MODEL = tg.nn.TwoLayerNetwork(2, 4, rng=0)
OPTIMIZER = tg.optim.SGD(MODEL.parameters(), lr=0.1)
FOREIGN = tg.optim.SGD(tg.nn.TwoLayerNetwork(2, 4, rng=1).parameters(), lr=0.1)
LEAF = tg.Tensor([[1.0]], requires_grad=True, name="w")

HALF = tg.nn.TwoLayerNetwork(2, 4, rng=2)
HALF.layers[0].W.requires_grad = False


class Spare(tg.nn.LogisticRegression):
    """A model with a parameter that nothing reads."""

    def __init__(self):
        super().__init__(2)
        self.unused = tg.nn.Parameter(np.ones((1, 1)))


SPARE = Spare()


def draw(target, *inputs, **options):
    return tg.draw(target, *inputs, **options)


def compile(target, *inputs, loss=None, optimizer=None):
    """The step takes X and Y when it is called, not before."""
    return tg.compile(target, loss, optimizer)


def fit(target, *inputs, loss=None, optimizer=None):
    return tg.fit(target, *(inputs or (X, Y)), loss=loss, optimizer=optimizer, epochs=1)


def learning_rates(target, *inputs, loss=None, optimizer=None):
    return tg.learning_rates(target, *(inputs or (X, Y)), loss=loss, optimizer=optimizer)


def diagnose(target, *inputs, **options):
    return tg.check.diagnose(target, *(inputs or (X, Y)), {"dW1": np.ones((4, 2))}, **options)


def export(target=None, *inputs):
    return tg.onnx.export(target, Path(os.devnull), *inputs)


def summary(target, *inputs):
    return tg.nn.Module.summary(target, *inputs)


CALLS = {
    "draw": draw,
    "derive": tg.derive,
    "numpy_source": tg.numpy_source,
    "report": tg.report,
    "compile": compile,
    "fit": fit,
    "learning_rates": learning_rates,
    "diagnose": diagnose,
    "onnx.export": export,
    "summary": summary,
}
LOOKING = ["draw", "derive", "numpy_source", "report"]  # at a graph, whoever made it
COSTS = ["derive", "numpy_source", "report"]
STEPS = ["compile", "fit", "learning_rates"]
ALL = list(CALLS)
OF_FUNCTIONS = [*LOOKING, "compile"]

# how each is called, as its errors say it
COST = {name: f"{name}(J)" for name in LOOKING}
FUNCTION = {name: f"{name}(f, X, Y)" for name in LOOKING} | {
    "compile": "compile(f)",
    "onnx.export": "onnx.export(f, path, X)",
}
TRAINED = {
    **{name: f"{name}(model, X, Y, loss=...)" for name in LOOKING},
    "compile": "compile(model, loss, optimizer)",
    "fit": "fit(model, X, Y, loss=..., optimizer=...)",
    "learning_rates": "learning_rates(model, X, Y, loss=..., optimizer=...)",
    "diagnose": "diagnose(model, X, Y, gradients, loss=...)",
    "onnx.export": "onnx.export(model, path, X)",
    "summary": "model.summary(X)",
}
WITH_LOSS = [name for name in ALL if "loss" in TRAINED[name]]
MODELS = TRAINED | {"draw": f"draw(model, X) or draw(model, (2, 400)) or {TRAINED['draw']}"}
EXPECTED = {
    name: "; or ".join(
        f"{what}, {ways[name]}"
        for what, ways in (("a cost", COST), ("a function", FUNCTION), ("a model", MODELS))
        if name in ways
    )
    for name in ALL
}


def test_the_table_of_ways_is_that_of_the_errors():
    assert WAYS.keys() == CALLS.keys()
    for name, ways in WAYS.items():
        assert (ways.cost, ways.function) == (COST.get(name, ""), FUNCTION.get(name, ""))
        assert " or ".join(ways.models) == MODELS[name]


def refused(names, error, text, *args, **options):
    """For each of some functions: the error, and its text behind the function's name."""
    for name in names:
        own = {"cost": COST.get(name), "function": FUNCTION.get(name), "model": TRAINED[name], "models": MODELS[name]}
        yield pytest.param(
            name, args, options, error, text.format(expected=EXPECTED[name], **own), id=f"{name}-{text[:40]}"
        )


HINT = "Did it, or what it calls, use .data, .item() or float(), or forget to return?"


@pytest.mark.parametrize(
    ("name", "args", "options", "error", "text"),
    [
        # what is none of the things that the function takes
        *refused(ALL, TypeError, "expected {expected}; got None.", None),
        *refused(ALL, TypeError, "expected {expected}; got 'J'.", "J"),
        *refused(ALL, TypeError, "expected {expected}; got the class Linear. Make one first, as in Linear(...).",
                 tg.nn.Linear),
        *refused(LOOKING, TypeError, "expected {expected}; got an array of shape (2, 9). "
                 "Only a Tensor remembers how it was computed.", X),
        *refused(ALL, TypeError, f"expected {{expected}}; got {reprlib.repr(np)}.", np),
        *refused([*STEPS, "diagnose", "summary"], TypeError, "expected {expected}; got an array of shape (2, 9).", X),
        *refused([*STEPS, "diagnose", "summary"], TypeError, "expected {expected}; got a Tensor. "
                 "A Tensor has been computed: pass what computes it.", LOGITS(MODEL(X), Y)),
        *refused(["fit", "diagnose", "summary"], TypeError, "expected {expected}; got <ufunc 'sin'>. "
                 "A function does not say what its parameters are: write a tg.nn.Module with it.", np.sin),
        # a cost
        *refused(LOOKING, ValueError, "w has no graph: no op computed it from a Tensor that requires a gradient. Pass "
                 "what was computed from it, such as the cost J; was that under no_grad(), or from .data?", LEAF),
        *refused(COSTS, ValueError, "the cost must be a single number, got Z2 of shape (1, 9).", MODEL(X)),
        *refused(COSTS, ValueError, "the cost must be a single number, got Z2 of shape (1, 1). It holds one: write "
                 "np.squeeze(Z2).", MODEL(X[:, :1])),
        *refused(LOOKING, TypeError, "a Tensor is taken as it was computed, so inputs and loss= belong to a model: "
                 "write {cost}, or {model}.", LOGITS(MODEL(X), Y), X),
        *refused(LOOKING, TypeError, "a Tensor is taken as it was computed, so inputs and loss= belong to a model: "
                 "write {cost}, or {model}.", MODEL(X), loss=LOGITS),
        # a function
        *refused(OF_FUNCTIONS, TypeError, "a function is taken as it is, so loss= belongs to a model: "
                 "write {function}, or {model}.", lambda X, Y: MODEL(X), X, Y, loss=LOGITS),
        *refused(LOOKING, TypeError, "the function does not take 1 input: missing a required argument: 'Y'.",
                 lambda X, Y: LOGITS(MODEL(X), Y), X),
        *refused(COSTS, TypeError, f"the function must return the cost, a Tensor of a single number, got 1.0. {HINT} "
                 "A Tensor within it can be passed by itself: {cost}.", lambda X: 1.0, X),
        *refused(["draw"], TypeError, f"the function must return a Tensor, got 1.0. {HINT} "
                 "A Tensor within it can be passed by itself: {cost}.", lambda X: 1.0, X),
        *refused(COSTS, TypeError, "the function must return the cost, a Tensor of a single number, got Z2 of shape "
                 "(1, 9).", lambda X: MODEL(X), X),
        *refused(LOOKING, ValueError, "no gradient flows through the function: it has no parameter that requires one, "
                 "or runs under no_grad().", lambda X: tg.Tensor(1.0), X),
        # a model
        *refused(["draw"], TypeError, "TwoLayerNetwork came without inputs: write {models}.", MODEL),
        *refused(COSTS, TypeError, "TwoLayerNetwork came without inputs and loss=: write {models}.", MODEL),
        *refused(COSTS, TypeError, "TwoLayerNetwork came without loss=: write {models}.", MODEL, X, Y),
        *refused(STEPS, TypeError, "TwoLayerNetwork came without loss= and optimizer=: write {models}.", MODEL),
        *refused(STEPS, TypeError, "TwoLayerNetwork came without optimizer=: write {models}.", MODEL, loss=LOGITS),
        *refused(STEPS, TypeError, "TwoLayerNetwork came without loss=: write {models}.", MODEL, optimizer=OPTIMIZER),
        *refused(LOOKING, TypeError, "with loss=, the labels come last: write {model}; got 1 input.", MODEL, X,
                 loss=LOGITS),
        *refused(LOOKING, TypeError, "with loss=, the labels come last: write {model}; got no input.", MODEL,
                 loss=LOGITS),
        *refused(WITH_LOSS, TypeError, "loss= takes a function, such as tg.binary_cross_entropy_with_logits, got "
                 "'mse'.", MODEL, X, Y, loss="mse"),
        *refused(["draw"], TypeError, "TwoLayerNetwork does not take 2 inputs: too many positional arguments. Labels "
                 "come with loss=: write {model}.", MODEL, X, Y),
        *refused(LOOKING, TypeError, "TwoLayerNetwork does not take 2 inputs: too many positional arguments.", MODEL,
                 X, X, Y, loss=LOGITS),
        *refused(["summary"], TypeError, "TwoLayerNetwork does not take 2 inputs: too many positional arguments.",
                 MODEL, X, Y),
        *refused(COSTS, TypeError, f"the loss must return the cost, a Tensor of a single number, got 1.0. {HINT} "
                 "A Tensor within it can be passed by itself: {cost}.", MODEL, X, Y, loss=lambda Z, Y: 1.0),
        *refused(LOOKING, ValueError, "no gradient flows through TwoLayerNetwork: it has no parameter that requires "
                 "one, or runs under no_grad().", MODEL, X, Y, loss=lambda Z, Y: tg.Tensor(1.0)),
        # an optimizer
        *refused(["numpy_source", *STEPS], TypeError, "optimizer= takes one of tg.optim, such as "
                 "SGD(model.parameters(), lr=0.1), got 0.1.", MODEL, X, Y, loss=LOGITS, optimizer=0.1),
        *refused(["numpy_source", *STEPS], ValueError, "the optimizer holds none of this model's parameters, so "
                 "nothing would be learned. Was the model made anew after the optimizer?", MODEL, X, Y, loss=LOGITS,
                 optimizer=FOREIGN),
        *refused(["numpy_source"], ValueError, "the optimizer holds none of the parameters that this cost depends on, "
                 "so nothing would be learned. Was the model made anew after the optimizer?", LOGITS(MODEL(X), Y),
                 optimizer=FOREIGN),
        *refused(["numpy_source"], ValueError, "the optimizer holds none of the parameters that this cost depends on, "
                 "so nothing would be learned. Was the model made anew after the optimizer?",
                 lambda X, Y: LOGITS(MODEL(X), Y), X, Y, optimizer=FOREIGN),
        *refused(["numpy_source"], ValueError, "the optimizer holds none of the parameters that this cost depends on, "
                 "so nothing would be learned. Was the model made anew after the optimizer?",
                 SPARE, X, Y, loss=LOGITS, optimizer=tg.optim.SGD([SPARE.unused], lr=0.1)),
        *refused(["numpy_source"], ValueError, "the optimizer holds frozen parameters alone, so nothing would be "
                 "learned. Set p.requires_grad = True for those to train.", HALF, X, Y, loss=LOGITS,
                 optimizer=tg.optim.SGD([HALF.layers[0].W], lr=0.1)),
    ],
)  # fmt: skip
def test_the_same_mistake_gets_the_same_words(name, args, options, error, text):
    with pytest.raises(error, match=re.escape(f"{name}: {text}") + "$"):
        CALLS[name](*args, **options)


def test_a_function_with_an_optimizer_or_the_options_of_a_step_is_not_compiled():
    with pytest.raises(TypeError, match=r"compile: a function is taken as it is, so optimizer= belongs to a model"):
        tg.compile(np.sin, optimizer=OPTIMIZER)
    with pytest.raises(TypeError, match=r"compile: a function is taken as it is, so loss= and optimizer= belong to a"):
        tg.compile(np.sin, LOGITS, OPTIMIZER)
    with pytest.raises(TypeError, match=r"compile: the options of a step go with a model.*: write compile\(f\)"):
        tg.compile(np.sin, threads=2)


def test_an_error_within_a_function_is_not_taken_for_a_wrong_number_of_inputs():
    def cost(X, Y):
        return len(3)

    for call in (tg.draw, tg.derive, tg.numpy_source):
        with pytest.raises(TypeError, match="has no len"):
            call(cost, X, Y)


# -- what is taken ----------------------------------------------------------------------------------------------------


def cost(X, Y):
    return LOGITS(MODEL(X), Y)


def test_a_cost_a_function_and_a_model_are_drawn_alike():
    def parts(text):
        return sorted(re.findall(r"(?:label=|<B>)\"?[^<>\[\]\"]*\b(?:W1|b1|Z1|A1|W2|b2|Z2|J|Y|X)\b", text))

    whole = tg.draw(MODEL, X, Y, loss=LOGITS)
    for drawing in (tg.draw(cost(X, Y)), tg.draw(cost, X, Y), tg.draw(cost, (2, 9), (1, 9))):
        assert repr(drawing) == repr(whole)
        assert parts(drawing.source) == parts(whole.source) != []


def test_a_function_of_shapes_is_drawn_without_values_and_its_labels_suit_every_loss():
    network = tg.nn.Sequential(tg.nn.Linear(2, 3, rng=0))

    def cost(X, Y):
        return tg.softmax_cross_entropy(network(X), Y)

    drawing = tg.draw(cost, (2, 400), (3, 400))
    assert "from shapes alone: no values" in drawing.source
    assert "(2, 400)" in drawing.source


def test_a_cost_a_function_and_a_model_are_derived_and_printed_alike():
    derivation = tg.derive(MODEL, X, Y, loss=LOGITS)
    assert tg.derive(cost, X, Y).formulas == tg.derive(cost(X, Y)).formulas == derivation.formulas
    source = tg.numpy_source(MODEL, X, Y, loss=LOGITS, optimizer=OPTIMIZER)
    assert source == tg.numpy_source(cost, X, Y, optimizer=OPTIMIZER)


def test_inputs_have_the_course_s_names_and_those_of_arguments():
    assert subject("derive", MODEL, (X, Y), LOGITS).names == ["X", "Y"]
    assert subject("draw", MODEL, (X,)).names == ["X"]
    assert Subject("derive", MODEL, (X, X, Y), LOGITS).names == ["X1", "X2", "Y"]
    assert subject("derive", cost, (X, Y)).names == ["X", "Y"]
    assert subject("derive", lambda *args: args, (X, Y)).names == ["C1", "C2"]


def test_parameters_have_the_course_s_names():
    given = subject("derive", MODEL, (X, Y), LOGITS)
    assert list(given.parameters_of(given.run(X, Y)).values()) == ["W1", "b1", "W2", "b2"]
    w = tg.Tensor(np.ones((1, 2)), requires_grad=True)
    given = subject("derive", lambda X: tg.mean(w @ X), (X,))
    assert given.parameters_of(given.run(X)) == {w: "P1"}


def test_parameters_of_the_optimizer_count_too():
    assert subject("fit", MODEL, (X, Y), LOGITS, OPTIMIZER).parameters == MODEL.parameters()
    frozen = tg.nn.Parameter(np.ones((1, 1)))
    wider = tg.optim.SGD([*MODEL.parameters(), frozen], lr=0.1)
    assert subject("fit", MODEL, (X, Y), LOGITS, wider).parameters == [*MODEL.parameters(), frozen]


def test_it_is_frozen():
    given = subject("derive", MODEL, (X, Y), LOGITS)
    with pytest.raises(dataclasses.FrozenInstanceError):
        given.loss = None


def test_a_cost_a_function_and_a_model_are_told_apart():
    J = cost(X, Y)
    for target, of_cost, of_model in ((J, J, None), (cost, None, None)):
        given = subject("derive", target, () if target is J else (X, Y))
        assert (given.cost, given.model) == (of_cost, of_model)
    given = subject("derive", MODEL, (X, Y), LOGITS)
    assert (given.cost, given.model) == (None, MODEL)
    assert given.function(X, Y).item() == J.item()


@pytest.mark.parametrize("call", [tg.draw, tg.derive, tg.numpy_source, tg.report, lambda f, p: tg.compile(f)(p)])
def test_arrays_in_a_dict_are_to_be_passed_one_by_one(call):
    with pytest.raises(TypeError, match=r"(is a dict|holds dict).* one by one, each as an argument of its own\."):
        call(lambda p: np.sum(p["W"] ** 2), {"W": np.ones((1, 2))})


def test_arrays_in_a_list_are_to_be_passed_one_by_one():
    text = "draw: p is a list, whose arrays have no graph. Pass them one by one, each as an argument of its own."
    with pytest.raises(TypeError, match=re.escape(text)):
        tg.draw(lambda p: np.sum(p[0] @ p[1]), [np.ones((1, 2)), np.ones((2, 1))])
