"""The NumPy code of a step: it reads as a student would write it, and its numbers are those of autodiff."""

import ast
import importlib
import inspect
import itertools
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import settings

import tinygrad_dls as tg
from examples import (
    activation_functions,
    breast_cancer,
    gradient_descent,
    logistic_regression,
    loop_and_vectorized,
    newton,
    two_layer_network,
)
from tests.support.programs import OURS, Program, random_program
from tinygrad_dls.engine.errors import RecordingError
from tinygrad_dls.engine.tensor import values
from tinygrad_dls.graph.node import Node
from tinygrad_dls.graph.reading import read
from tinygrad_dls.ir.printing import expression
from tinygrad_dls.nn import losses

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


@pytest.mark.parametrize("name", MODELS)
def test_the_code_gives_the_gradients_of_autodiff_on_other_data(name):
    model, loss = MODELS[name]
    source = tg.numpy_source(model, X, labels(name, 400), loss=loss)
    x, y = RNG.standard_normal((2, 23)), labels(name, 23)
    J = loss(model(x), y)
    for p in model.parameters():
        p.grad = None
    J.backward()
    arrays = {"X": x, "Y": y, **model.state_dict()}
    positional, keywords = arguments_of(source)
    found = function(source)(*(arrays[a] for a in positional), **dict.fromkeys(keywords, 23))
    found = dict(zip(results_of(source), found, strict=True))
    # the code divides by m where autodiff multiplies by 1/m, and the like: each entry's sum differs by a few roundings
    np.testing.assert_allclose(found.pop("J"), J.item(), rtol=1e-14)
    assert found.keys() == {f"d{p}" for p in model.state_dict()}
    for p, tensor in model.named_parameters():
        np.testing.assert_allclose(found[f"d{p}"], tensor.grad, rtol=1e-12, atol=1e-15)


def test_the_code_of_the_network_is_what_a_student_writes():
    source = tg.numpy_source(network(), X, Y, loss=LOGITS)
    backward = source[source.index("# backward") :].splitlines()[1:-1]
    assert [line.split("#")[0].strip() for line in backward] == [
        "dZ2 = (A2 - Y) / m",
        "dW2 = dZ2 @ A1.T",
        "db2 = dZ2.sum(axis=1, keepdims=True)",
        "dA1 = W2.T @ dZ2",
        "dZ1 = dA1 * (1 - A1**2)",
        "dW1 = dZ1 @ X.T",
        "db1 = dZ1.sum(axis=1, keepdims=True)",
    ]
    assert "    Z1 = W1 @ X + b1  # (4, m)\n    A1 = np.tanh(Z1) " in source


def test_the_composed_chain_becomes_a_minus_y():
    source = tg.numpy_source(composed(), X, Y, loss=tg.binary_cross_entropy)
    assert "dZ = (A - Y) / m " in source
    assert "dA" not in source


def test_a_cost_that_was_computed_already_gives_the_same_code():
    model = network()
    assert tg.numpy_source(LOGITS(model(X), Y)) == tg.numpy_source(model, X, Y, loss=LOGITS)


OPTIMIZERS = {
    "SGD": (tg.optim.SGD, {}),
    "momentum": (tg.optim.SGD, {"momentum": 0.9}),
    "Nesterov": (tg.optim.SGD, {"momentum": 0.9, "nesterov": True}),
    "weight decay": (tg.optim.SGD, {"weight_decay": 0.1}),
    "all of SGD": (tg.optim.SGD, {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    "Adam": (tg.optim.Adam, {}),
    "Adam of other rates": (tg.optim.Adam, {"betas": (0, 0.99), "epsilon": 1e-3}),
}


def trained(dtype, optimizer, options, steps, lr):
    """The arrays of a network and its optimizer after some steps: those of the code, and those of autodiff."""
    layers = tg.nn.Linear(2, 4, rng=1, dtype=dtype), tg.nn.Tanh(), tg.nn.Linear(4, 1, rng=2, dtype=dtype)
    model, x = tg.nn.Sequential(*layers), X.astype(dtype)
    optimizer = optimizer(model.parameters(), lr=lr, **options)
    source = tg.numpy_source(model, x, Y, loss=LOGITS, optimizer=optimizer)
    step, results = function(source), results_of(source)
    positional, _ = arguments_of(source)
    names = [node.identifier for node in read(LOGITS(model(x), Y)) if node.kind == "parameter"]
    parameters = dict(zip(names, model.parameters(), strict=True))
    arrays = {"X": x, "Y": Y, **{name: p.data for name, p in parameters.items()}}
    for name in set(positional) - arrays.keys():
        arrays[name] = np.zeros((), int) if name.startswith("td") else np.zeros_like(arrays[name[2:]])
    for _ in range(steps):
        J = LOGITS(model(x), Y)
        optimizer.zero_grad()
        J.backward()
        optimizer.step()
        arrays |= zip(results, step(*(arrays[a] for a in positional), m=400, learning_rate=lr), strict=True)
    eager = {"J": J.data, **{name: p.data for name, p in parameters.items()}}
    for name, p in parameters.items():
        states = optimizer._state.get(p, ())
        eager |= zip([f"{letter}d{name}" for letter in {0: "", 1: "V", 3: "VSt"}[len(states)]], states, strict=True)
    assert eager.keys() == set(results)
    return arrays, eager


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_code_trains_as_the_optimizer_does(name):
    optimizer, options = OPTIMIZERS[name]
    arrays, eager = trained(float, optimizer, options, steps=50, lr=0.05)
    for name, expected in eager.items():
        # a step adds a rounding or two, and those before grow no faster than the state: 50 steps, a few hundred EPS
        np.testing.assert_allclose(arrays[name], expected, rtol=500 * EPS, atol=500 * EPS * np.abs(expected).max())


def test_the_code_counts_the_steps_of_adam():
    arrays, _ = trained(float, tg.optim.Adam, {}, steps=7, lr=0.1)
    assert arrays["tdW1"] == 7
    assert arrays["tdW1"].dtype == int


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_code_of_float32_trains_in_float32(name):
    optimizer, options = OPTIMIZERS[name]
    arrays, eager = trained(np.float32, optimizer, options, steps=10, lr=0.05)
    for name, expected in eager.items():
        assert arrays[name].dtype == expected.dtype, name
        if not name.startswith("td"):
            assert arrays[name].dtype == np.float32, name
        # as above, of 10 steps; Adam divides by sqrt(S), near 0 at first, and may double what dW has lost
        tolerance = 200 * np.finfo(np.float32).eps
        np.testing.assert_allclose(arrays[name], expected, rtol=tolerance, atol=tolerance * np.abs(expected).max())


def test_the_code_trains_the_flower_by_itself():
    """Costs of the course at iterations 0 and 1000, from its seed."""
    model = tg.nn.TwoLayerNetwork(2, 4, rng=np.random.RandomState(2))
    optimizer = tg.optim.SGD(model.parameters(), lr=1.2)
    step = function(tg.numpy_source(model, X, Y, loss=LOGITS, optimizer=optimizer))
    W1, b1, W2, b2 = model.state_dict().values()
    costs = []
    for _ in range(1001):
        J, W1, b1, W2, b2 = step(X, Y, W1, b1, W2, b2, m=400, learning_rate=1.2)
        costs.append(round(float(J), 6))
    assert (costs[0], costs[1000]) == (0.693048, 0.288083)


def test_a_mask_of_dropout_is_an_argument():
    layer1, layer2 = tg.nn.Linear(2, 4, rng=0), tg.nn.Linear(4, 1, rng=0)
    layer1.W.name, layer1.b.name, layer2.W.name, layer2.b.name = "W1", "b1", "W2", "b2"

    def cost(X, Y, D1):
        return LOGITS(layer2(np.tanh(layer1(X)) * D1 / 0.8), Y)

    D1 = (RNG.random((4, 400)) < 0.8).astype(float)
    source = tg.numpy_source(cost, X, Y, D1)
    J = cost(X, Y, D1)
    J.backward()
    parameters = [p.data for p in (layer1.W, layer1.b, layer2.W, layer2.b)]
    results = dict(zip(results_of(source), function(source)(X, Y, D1, *parameters, m=400), strict=True))
    np.testing.assert_allclose(results["dW1"], layer1.W.grad, rtol=1e-12, atol=1e-15)


def branch(X, Y):
    w = MODELS["tanh"][0]
    Z = w(X)
    return LOGITS(Z if np.max(Z.data) > 0 else -Z, Y)


def as_number(X, Y):
    J = LOGITS(MODELS["tanh"][0](X), Y)
    return J * J.item()


def draws_a_number(X, Y):
    return LOGITS(MODELS["tanh"][0](X), Y) * RNG.random()


@pytest.mark.parametrize(
    ("cost", "text"),
    [
        (branch, r"a Python decision .*the result of np.greater .*line \d+ of test_numpy_source.py: return"),
        (as_number, r"would freeze a plain array .*line \d+ of test_numpy_source.py: return J \* J\.item"),
        (draws_a_number, r"recorded twice, a line is first"),
    ],
)
def test_what_would_be_frozen_is_refused_by_name(cost, text):
    with pytest.raises(RecordingError, match=text):
        tg.numpy_source(cost, X, Y)


def test_a_random_mask_is_refused_and_the_layer_named():
    model = tg.nn.Sequential(tg.nn.Linear(2, 4, rng=0), tg.nn.Dropout(0.5, rng=0), tg.nn.Linear(4, 1, rng=0))
    with pytest.raises(RecordingError, match=r"would freeze an array \(4, m\) .* in Dropout 0.5"):
        tg.numpy_source(model, X, Y, loss=LOGITS)


@pytest.mark.parametrize("m", [5, 400])
@pytest.mark.parametrize("make", [lambda m: RNG.random((4, m)), lambda m: RNG.random((4, 1))], ids=["mask", "column"])
def test_a_random_array_is_refused_however_small_it_is(make, m):
    layer1, layer2 = tg.nn.Linear(2, 4, rng=0), tg.nn.Linear(4, 1, rng=0)

    def cost(X, Y):
        return LOGITS(layer2(layer1(X) * make(X.shape[1])), Y)

    with pytest.raises(RecordingError, match=r"freeze an array \(4, [m1]\) .*np.multiply .*line \d+ of test_numpy_so"):
        tg.numpy_source(cost, X[:, :m], Y[:, :m])


def test_a_small_mask_of_dropout_is_refused_and_the_layer_named():
    model = tg.nn.Sequential(tg.nn.Linear(2, 4, rng=0), tg.nn.Dropout(0.5, rng=0), tg.nn.Linear(4, 1, rng=0))
    with pytest.raises(
        RecordingError, match=r"would freeze an array \(4, m\) .* in Dropout 0.5 .*Pass it to the function"
    ):
        tg.numpy_source(model, X[:, :5], Y[:, :5], loss=LOGITS)


@pytest.mark.parametrize("cost", [lambda X: LOGITS(network()(X), Y[:, :5]), lambda X: np.mean(network()(X) * Y[:, :5])])
def test_an_array_from_outside_is_named_as_the_likely_mistake(cost):
    with pytest.raises(
        RecordingError, match=r"works with 5 examples, as given, and fails with 7: .*\n.* not an argument"
    ):
        tg.numpy_source(cost, X[:, :5])


def test_an_array_that_is_the_same_for_all_examples_is_a_constant():
    source = tg.numpy_source(lambda X, Y: LOGITS(network()(X * np.array([[1.0], [2.0]])), Y), X, Y)
    assert "np.array([[1.0], [2.0]])" in source


@pytest.mark.parametrize(
    ("args", "options", "text"),
    [
        ((None,), {}, "expected a cost"),
        ((network(),), {}, "the TwoLayerNetwork alone"),
        ((LOGITS(network()(X), Y), X), {}, r"a Tensor is taken as it was computed.* \(model, X, Y, loss=...\)"),
        ((network(), X, Y), {"loss": "bce"}, "loss= takes a function, such as .* got 'bce'"),
        ((network(), X), {"loss": LOGITS}, "with loss=, the labels come last"),
        ((network(), X, Y), {"loss": LOGITS, "optimizer": 0.1}, "optimizer must be one of tg.optim"),
        *(
            ((network(), X, Y), {"loss": LOGITS, "name": name}, f"name must be the name of a function.* got {name!r}")
            for name in ["a b", "1x", "for", "None", 3]
        ),
        *(
            ((network(), X, Y), {"loss": LOGITS, "name": name}, f"name='{name}' is what the code calls something else")
            for name in ["np", "sigmoid", "softmax", "float"]
        ),
        ((lambda X: X, X), {}, "must return the cost"),
        ((tg.Tensor(1.0),), {}, "has no graph"),
        ((network()(X),), {}, "must be a single number"),
    ],
)
def test_bad_input_is_refused(args, options, text):
    with pytest.raises((TypeError, ValueError), match=text):
        tg.numpy_source(*args, **options)


def test_the_model_is_left_as_it_was():
    model = network()
    before = model.state_dict()
    tg.numpy_source(model, X, Y, loss=LOGITS)
    for name, p in model.named_parameters():
        assert isinstance(p.data, np.ndarray)
        assert p.grad is None
        np.testing.assert_array_equal(p.data, before[name])


def test_the_code_is_the_same_in_every_process():
    code = (
        "import tinygrad_dls as tg; X, Y = tg.datasets.planar_flower(); m = tg.nn.TwoLayerNetwork(2, 4, rng=1);"
        "print(tg.numpy_source(m, X, Y, loss=tg.binary_cross_entropy_with_logits), end='')"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == tg.numpy_source(network(), X, Y, loss=LOGITS)


# -- any composition of ops -------------------------------------------------------------------------------------------


def with_fresh_data(program, rng, data, columns):
    """The program with another draw; the input that is data, and the labels, with another number of columns."""

    def shape(x, is_data=True):
        old, new = columns
        return (x.shape[0], new) if is_data and x.ndim == 2 and x.shape[1] == old else x.shape

    def labels(op, y):
        if y.dtype.kind == "i":
            return rng.integers(0, y.max() + 1, shape(y))
        if op == "softmax_cross_entropy":
            return rng.dirichlet(np.ones(len(y)), size=shape(y)[1]).T
        return rng.uniform(-1, 1, shape(y)) if op == "mean_squared_error" else rng.integers(0, 2, shape(y)) * 1.0

    is_loss = {f.__name__ for f in vars(losses).values() if losses.loss_of(f)}
    steps = [replace(s, args=(labels(s.op, s.args[0]),)) if s.op in is_loss and s.args else s for s in program.steps]
    return Program(steps, [rng.uniform(-2, 2, shape(x, i == data)) for i, x in enumerate(program.inputs)])


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


def outcomes(seed):
    """What became of the code of a random program: whether it was refused, and what it was held against."""
    program, rng = random_program(seed), np.random.default_rng(seed)
    data = matrix_of_data(program)
    J = cost_of(program, data)
    try:
        source = tg.numpy_source(J)
    except RecordingError:
        return ["refused"]
    positional, keywords = arguments_of(source)
    leaves, names = leaves_of(J)
    given = next((leaves[name].shape[1] for name in names if leaves[name].ndim == 2), None)
    compared = []
    for m in [given, given + 4] if keywords else [given]:
        fresh = with_fresh_data(program, rng, data, (given, m))
        try:
            J = cost_of(fresh, data)
            expected = gradients_of(J)
        except RuntimeWarning:  # the draw is too large for an exponential in it
            compared.append("overflowed")
            continue
        except (TypeError, ValueError):  # a mask or a broadcast in it has a fixed length, and autodiff refuses too
            assert m != given
            continue
        arguments, _ = leaves_of(J)
        varying = {n for n in names if leaves[n].ndim == 2 and leaves[n].shape[1] == given}
        if any(x.shape != ((len(x), m) if n in varying else leaves[n].shape) for n, x in arguments.items()):
            continue  # an array computed of the data beforehand, which the code takes as it was
        results = function(source)(*(arguments[a] for a in positional), **dict.fromkeys(keywords, m))
        results = dict(zip(results_of(source), results if isinstance(results, tuple) else [results], strict=True))
        noisy = [gradients_of(cost_of(fresh, data, rounded_anew(rng))) for _ in range(3)]
        assert results.keys() == expected.keys()
        for name, x in expected.items():
            assert results[name].shape == x.shape, name
            assert np.isfinite(x).all(), name
            # The code may round otherwise than autodiff, but not more often: its difference is at most that of
            # autodiff from itself when every step is rounded anew, which has all the sums and cancellations in it.
            # The largest of three draws is within a factor of 4 of the largest there is.
            spread = max(np.abs(other[name] - x).max() for other in noisy)
            assert np.abs(results[name] - x).max() <= 4 * (spread + EPS * np.abs(x).max()), name
        compared.append("compared" if m == given else "compared with another m")
    return compared


def test_the_code_of_random_programs_gives_the_gradients_of_autodiff_on_fresh_data():
    counts = Counter()
    for seed in PROGRAMS:
        try:
            counts.update(outcomes(seed))
        except Exception as error:  # raised again, with the program that it came of
            error.add_note(f"random_program({seed}):{random_program(seed)}")
            raise
    # Refused is a product along the examples, whose factors decide how many steps it takes, and a length such as m + 2.
    # Of 1,500 programs these are 16.
    assert counts["refused"] <= len(PROGRAMS) / 50
    assert counts["overflowed"] <= len(PROGRAMS) / 100
    assert counts["compared"] >= 0.97 * len(PROGRAMS)
    assert counts["compared with another m"] >= len(PROGRAMS) / 25


# -- the models of the examples ---------------------------------------------------------------------------------------


class Reached(BaseException):  # no example catches it
    pass


def first_cost(run):
    """The cost that a run calls backward on first; the run ends there."""
    with mock.patch.object(tg.Tensor, "backward", lambda J, *_: (_ for _ in ()).throw(Reached(J))):
        try:
            run()
        except Reached as reached:
            return reached.args[0]
    raise AssertionError("no cost was reached")


INPUTS = np.random.default_rng(3).standard_normal((30, 50)), np.random.default_rng(4).integers(0, 2, (1, 50))


def breast_cancer_network():
    model = tg.nn.TwoLayerNetwork(30, 8, rng=1, init=tg.init.xavier)
    LOGITS(model(INPUTS[0]), INPUTS[1]).backward()


def newton_cost():
    w = tg.Tensor(np.linspace(-0.1, 0.1, 31), requires_grad=True, name="w")
    newton.logistic_cost(newton.with_ones(INPUTS[0]), INPUTS[1])(w).backward()


EXAMPLES = {
    (logistic_regression, "composed"): logistic_regression.main,
    (two_layer_network, "table"): two_layer_network.main,
    (gradient_descent, "by hand"): lambda: gradient_descent.by_hand(X, Y, 1),
    (gradient_descent, "fit"): lambda: gradient_descent.costs_of(X, Y, lambda p: tg.optim.SGD(p, lr=1.0)),
    **{
        (activation_functions, f"{kind} {name}"): lambda g=g, run=run: run(g)
        for name, g in activation_functions.ACTIVATIONS.items()
        for kind, run in {
            "4 units of": lambda g: activation_functions.train(g, X, Y, hidden=4, seed=1),
            "ten layers of": lambda g: activation_functions.gradient_through_layers(g, X, Y),
        }.items()
    },
    (breast_cancer, "logistic"): lambda: breast_cancer.unpenalised_fit(*INPUTS),
    (breast_cancer, "network"): breast_cancer_network,
    (loop_and_vectorized, "autodiff"): lambda: loop_and_vectorized.descend_by_autodiff(*INPUTS),
    (newton, "cost"): newton_cost,
}


FOLDER = Path(logistic_regression.__file__).parent
PAIR = "tuple[tg.nn.Module, tg.Tensor]"  # what functions of an example return that give a model and its cost
for path in sorted(FOLDER.glob("*.py")):
    if f"() -> {PAIR}" in path.read_text():
        module = importlib.import_module(f"examples.{path.stem}")
        for name, f in inspect.getmembers(module, inspect.isfunction):
            if f.__module__ == module.__name__ and f.__annotations__.get("return") == PAIR:
                EXAMPLES[module, name] = lambda f=f: f()[1].backward()


def computed_again(J, leaves):
    """The cost of the same graph with other arrays at its leaves."""
    new = {}
    for node in read(J):
        if node.op:
            inputs = [new[x] if isinstance(x, Node) else x for x in node.inputs]
            new[node] = node.x.op(*inputs, *node.extra, **node.options)
        else:
            array, is_parameter = leaves[node.identifier], node.kind == "parameter"
            new[node] = tg.Tensor(array, is_parameter, name=node.identifier) if is_parameter else array
    return new[node]


@pytest.mark.parametrize(("module", "model"), EXAMPLES, ids=lambda x: getattr(x, "__name__", x))
def test_the_code_of_the_examples_models_gives_the_gradients_of_autodiff(module, model):
    J = first_cost(EXAMPLES[module, model])
    source = tg.numpy_source(J)
    leaves, data = leaves_of(J)
    for name in data:  # 23 other examples; labels of 0 and 1
        rows = len(leaves[name])
        leaves[name] = RNG.integers(0, 2, (rows, 23)) * 1.0 if name == "Y" else RNG.standard_normal((rows, 23))
    for name in leaves.keys() - set(data):  # and other parameters
        leaves[name] = leaves[name] + 0.1 * RNG.standard_normal(leaves[name].shape)
    positional, keywords = arguments_of(source)
    assert keywords == ["m"]
    results = dict(zip(results_of(source), function(source)(*(leaves[a] for a in positional), m=23), strict=True))
    expected = gradients_of(computed_again(J, leaves))
    assert results.keys() == expected.keys()
    for name, x in expected.items():  # sums of up to 30 terms in each of up to 11 layers: 330 roundings at the worst
        np.testing.assert_allclose(results[name], x, rtol=0, atol=330 * EPS * np.abs(x).max(), err_msg=name)


def test_every_example_that_trains_a_model_is_among_these():
    """Those that show a picture, a derivation or code of a model take it from these, and have tests of their own."""
    texts = {path.stem: path.read_text() for path in FOLDER.glob("*.py")}
    shows = re.compile(r"tg\.(draw|derive|numpy_source)\(")
    with_costs = {name for name, text in texts.items() if "tg.binary_cross_entropy" in text and not shows.search(text)}
    assert with_costs == {module.__name__.split(".")[-1] for module, _ in EXAMPLES}


# -- how it is written ------------------------------------------------------------------------------------------------

ACTIVATIONS = {None: None, "sigmoid": tg.nn.Sigmoid(), "ReLU": tg.nn.ReLU()}
WRITTEN = {
    **MODELS,
    **{f"composed, {g}": (tg.nn.Sequential(*network(x).layers, tg.nn.Sigmoid()), None) for g, x in ACTIVATIONS.items()},
    "five layers of ReLU": (
        tg.nn.Sequential(*(tg.nn.ReLU() if x.__class__ is tg.nn.Tanh else x for x in five_layers().layers)),
        LOGITS,
    ),
}


def sources():
    """The code of every model, with each optimizer and without; and of random programs."""
    for (name, (model, loss)), optimizer in itertools.product(WRITTEN.items(), [None, *OPTIMIZERS]):
        kind, options = OPTIMIZERS.get(optimizer, (None, {}))
        update = kind and kind(model.parameters(), lr=0.1, **options)
        y = labels(name, 400)
        yield tg.numpy_source(model, X, y, loss=loss or tg.binary_cross_entropy, optimizer=update)
    for seed in range(60):
        yield tg.numpy_source(cost_of(program := random_program(seed), matrix_of_data(program)))
    yield tg.numpy_source(network(), X, Y, loss=LOGITS, name="one_step_of_gradient_descent_of_the_two_layer_network")


def test_the_code_is_as_ruff_formats_it_and_has_no_dead_lines(tmp_path):
    for i, source in enumerate(sources()):
        (tmp_path / f"step{i}.py").write_text(source)
    ruff = [sys.executable, "-m", "ruff"]
    style = ["--isolated", "--no-cache", "--line-length=88"]
    run = subprocess.run([*ruff, "format", *style, "--diff", "."], capture_output=True, text=True, cwd=tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr
    rules = "--select=F,E,W,I"  # pyflakes and pycodestyle: no unused names, no dead lines
    run = subprocess.run([*ruff, "check", *style, rules, "."], capture_output=True, text=True, cwd=tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr


def test_lines_that_are_too_long_are_broken_as_ruff_does_it(tmp_path):
    index = np.arange(40) % 7
    names = ["the_weights_of_the_first_layer", "the_weights_of_the_second_layer", "the_weights_of_the_third_layer"]
    Ws = [tg.Tensor(np.ones((7, 2)), requires_grad=True, name=name) for name in names]
    J = tg.sum(tg.concatenate([W[index] for W in Ws] + [W[:, ::-1] for W in Ws]))
    source = tg.numpy_source(J)
    assert max(map(len, source.splitlines())) <= 88
    assert "np.array(\n" in source
    (tmp_path / "step.py").write_text(source)
    command = [sys.executable, "-m", "ruff", "format", "--isolated", "--no-cache", "--diff", "--line-length=88", "."]
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr
    leaves, _ = leaves_of(J)
    assert function(source)(*(leaves[a] for a in arguments_of(source)[0]))[0] == J.item()


def test_an_order_of_gradients_that_several_paths_lead_to_has_no_line_twice():
    """With an L2 penalty in the cost, dW2 waits for both of its terms."""
    model = network()
    W1, _, W2, _ = model.parameters()
    source = tg.numpy_source(lambda X, Y: LOGITS(model(X), Y) + 0.05 * (np.sum(W1**2) + np.sum(W2**2)), X, Y)
    assert source.count("dZ2 = (A2 - Y) / m") == source.count("A2 - Y") == 1


@pytest.mark.parametrize("name", ["m", "np", "sigmoid", "step", "lambda", "learning_rate", "W 1", "J", "A", "Z", "t1"])
def test_a_parameter_may_have_any_name(name):
    W = tg.Tensor(np.ones((1, 2)), requires_grad=True, name=name)
    J = LOGITS(W @ X, Y)
    optimizer = tg.optim.SGD([W], lr=0.5, momentum=0.9)
    step = function(tg.numpy_source(J, optimizer=optimizer))
    cost, w, _ = step(X, Y, np.ones((1, 2)), np.zeros((1, 2)), m=400, learning_rate=0.5)
    J.backward()
    optimizer.step()
    np.testing.assert_allclose(cost, J.item(), rtol=1e-14)  # as of the models: a few roundings
    np.testing.assert_allclose(w, W.data, rtol=1e-12)


def test_a_parameter_named_as_the_gradient_of_another_is_not_taken_for_it():
    W, dW = (tg.Tensor(np.array([x, 5.0]), requires_grad=True, name=name) for x, name in [(2.0, "W"), (3.0, "dW")])
    cost, of_W, of_dW = function(tg.numpy_source(np.sum(W * dW)))(W.data, dW.data)
    assert cost == 31
    np.testing.assert_array_equal(of_W, [3, 5])
    np.testing.assert_array_equal(of_dW, [2, 5])


# -- numbers at the limits --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, float], ids=["float32", "float64"])
@pytest.mark.parametrize("loss", [LOGITS, tg.binary_cross_entropy, tg.softmax_cross_entropy], ids=lambda f: f.__name__)
@pytest.mark.parametrize("activation", [tg.nn.Tanh, tg.nn.Sigmoid, tg.nn.ReLU])
def test_the_code_keeps_its_dtype_and_neither_overflows_nor_warns(dtype, loss, activation):
    rows = 3 if loss is tg.softmax_cross_entropy else 1
    layers = [tg.nn.Linear(2, 4, rng=1, dtype=dtype), activation(), tg.nn.Linear(4, rows, rng=2, dtype=dtype)]
    model = tg.nn.Sequential(*layers, *([tg.nn.Sigmoid()] if loss is tg.binary_cross_entropy else []))
    y = RNG.integers(0, rows if rows > 1 else 2, (1, 8))
    source = tg.numpy_source(model, np.ones((2, 8), dtype), y, loss=loss)
    x = RNG.standard_normal((2, 8)).astype(dtype)
    for scale in (1, 1000):  # of every Z, the hidden one too: |Z1| up to 1000
        Z1 = layers[0](x).data
        x = (x * (scale / np.abs(Z1).max())).astype(dtype)
        layers[2].W.data = layers[2].W.data * dtype(scale)
        J = loss(model(x), y)
        for p in model.parameters():
            p.grad = None
        expected = gradients_of(J)
        leaves, _ = leaves_of(J)
        leaves["Y"] = y if arguments_of(source)[0][1] == "Y" else leaves["Y"]
        positional, _ = arguments_of(source)
        results = dict(zip(results_of(source), function(source)(*(leaves[a] for a in positional), m=8), strict=True))
        for name, found in results.items():
            assert found.dtype == dtype, name
            # sums of 8 examples after two layers, of terms no larger than the inputs times the weights: 50 roundings
            terms = max(1, np.abs(x).max()) * max(1, np.abs(layers[2].W.data).max())
            limit = 50 * np.finfo(dtype).eps * terms
            np.testing.assert_allclose(found, expected[name], rtol=0, atol=limit, err_msg=name)


# -- the notation of the course, written out ---------------------------------------------------------------------------

w, b = tg.Tensor(np.array([[0.3], [-0.2]]), requires_grad=True, name="w"), tg.Tensor(0.1, requires_grad=True, name="b")


def written_out(X, Y):
    """Logistic regression as the notes write it, with a number b."""
    A = tg.sigmoid(np.dot(w.T, X) + b)
    return -np.mean(Y * np.log(A) + (1 - Y) * np.log(1 - A))


def test_the_sum_for_a_number_b_is_written_as_one():
    source = tg.numpy_source(written_out, X, Y)
    assert "    db = dZ.sum()\n" in source


COSTS = {
    "sum": lambda X, Y: -(1 / X.shape[1]) * total(X, Y),
    "sum, of floats": lambda X, Y: -(1.0 / X.shape[1]) * total(X, Y),
    "L2": lambda X, Y: -1 / X.shape[1] * total(X, Y) + 0.7 / (2 * X.shape[1]) * np.sum(w**2),
    "product": lambda X, Y: -total(X, Y) * (0.5 * X.shape[1]),
    "without a degree of freedom": lambda X, Y: -total(X, Y) * (1 - 1 / X.shape[1]) / (X.shape[1] - 1.0),
}


def total(X, Y):
    A = tg.sigmoid(w.T @ X + b)
    return np.sum(Y * np.log(A) + (1 - Y) * np.log(1 - A))


@pytest.mark.parametrize("name", COSTS)
@pytest.mark.parametrize("m", [5, 400])
def test_what_a_cost_computes_from_the_number_of_examples_stays_a_formula(name, m):
    cost = COSTS[name]
    source = tg.numpy_source(cost, X[:, :m], Y[:, :m])
    for other in (5, 13, 400):
        x, y = RNG.standard_normal((2, other)), RNG.integers(0, 2, (1, other))
        w.grad = b.grad = None
        J = cost(x, y)
        J.backward()
        found = function(source)(x, y, w.data, b.data, m=other)
        # sums of up to 400 terms, which are of one sign but for those of the gradients
        for value, expected in zip(found, (J.data, w.grad, b.grad), strict=True):
            np.testing.assert_allclose(value, expected, rtol=400 * EPS, atol=400 * EPS * np.abs(J.data))


def test_an_l2_penalty_is_written_with_m():
    source = tg.numpy_source(COSTS["L2"], X, Y)
    assert "0.35 / m" in source
    assert "w * 0.7 / m" in source


FROZEN = {
    "sum": ["-0.2 may stand for -1/m: there were 5 examples."],
    "sum, of floats": ["-0.2 may stand for -1/m: there were 5 examples."],
    "product": ["2.5 may stand for 0.5m: there were 5 examples."],
    "L2": ["-0.2 may stand for -1/m: there were 5 examples."],  # 0.07 is as simple a number as 0.35 / 5
}


@pytest.mark.parametrize("name", FROZEN)
def test_numbers_of_a_cost_that_may_be_the_number_of_examples_are_named(name):
    source = tg.numpy_source(COSTS[name](X[:, :5], Y[:, :5]))
    comment = " ".join(line.strip("# ") for line in source.splitlines() if line.startswith("    # "))
    for text in FROZEN[name]:
        assert comment.startswith(f"{text} To have m in its place, pass the function that computes J. forward")


def test_a_penalty_of_the_given_number_of_examples_is_named_where_the_number_shows_it():
    source = tg.numpy_source(COSTS["L2"](X, Y))
    assert "    # -0.0025 may stand for -1/m and 0.0008749999999999999 for 0.35/m: " in source
    assert source.splitlines()[source.splitlines().index("    # forward") - 1] == ""


@pytest.mark.parametrize("number", [0.05, 0.25, 1.0, 3, 1 / 3])
def test_any_other_number_is_not_called_the_number_of_examples(number):
    assert "may stand for" not in tg.numpy_source(written_out(X, Y) + number * np.sum(w**2))


def lines_of(source):
    return [line.split("  # (")[0].strip() for line in source.partition("def step")[2].splitlines()[1:] if line]


def test_logistic_regression_written_out_is_the_code_of_the_notes():
    assert lines_of(tg.numpy_source(COSTS["sum"], X, Y)) == [
        "# forward",
        "Z = w.T @ X + b",
        "A = sigmoid(Z)",
        "J = -np.sum(Y * np.log(A) + (1 - Y) * np.log(1 - A)) / m",
        "# backward",
        "dZ = (A - Y) / m",
        "db = dZ.sum()",
        "dw = X @ dZ.T",
        "return J, dw, db",
    ]


def test_what_has_no_name_and_one_use_is_written_within_the_formula_that_uses_it():
    W = tg.Tensor(np.ones((1, 2)), requires_grad=True, name="W")

    def cost(X, Y):
        U = np.sqrt(1 + np.exp(W @ X))  # all but W @ X and its sum with 1 are in two formulas, and get lines
        return np.mean(np.square(U - Y)) + np.mean(U)

    lines = lines_of(tg.numpy_source(cost, X, Y))
    assert [line for line in lines if line.startswith("U")] == [
        "U2 = np.exp(W @ X)",
        "U4 = np.sqrt(1 + U2)",
        "U5 = U4 - Y",
    ]
    assert "J = np.mean(U5**2) + U4.mean()" in lines


def test_a_nameless_value_with_a_long_formula_keeps_its_line():
    W = tg.Tensor(np.ones((1, 2)), requires_grad=True, name="W")
    source = tg.numpy_source(lambda X, Y: np.mean(np.exp(np.sin(np.cos(W @ X + Y) * 0.123456789) - 0.987654321)), X, Y)
    assert max(len(line) for line in lines_of(source)) < 70
    assert any(re.match(r"U\d+ = ", line) for line in lines_of(source))


@pytest.mark.parametrize("dtype", [int, float, np.float32])
@pytest.mark.parametrize("loss", [LOGITS, tg.mean_squared_error], ids=lambda f: f.__name__)
def test_the_code_of_a_cost_in_float32_stays_so_whatever_the_labels_are(loss, dtype):
    model = tg.nn.Linear(2, 1, rng=1, dtype=np.float32)
    x, y = X.astype(np.float32), Y.astype(dtype)
    source = tg.numpy_source(loss(model(x), y))
    for found in function(source)(x, y, model.W.data, model.b.data, m=400):
        assert found.dtype == np.float32
    if dtype is not np.float32:
        assert source == tg.numpy_source(lambda X, Y: loss(model(X), Y), x, y)


@pytest.mark.parametrize("name", ["sum", "product"])
def test_a_cost_that_was_written_out_already_speaks_of_one_minus_the_labels_too(name):
    lines = lines_of(tg.numpy_source(COSTS[name](X, Y)))
    number = {"sum": "0.0025", "product": "200"}[name]
    assert lines[lines.index("# forward") + 1 :] == [
        "Z = w.T @ X + b",
        "A = sigmoid(Z)",
        {
            "sum": "J = -0.0025 * np.sum(Y * np.log(A) + (1 - Y) * np.log(1 - A))",
            "product": "J = -np.sum(Y * np.log(A) + (1 - Y) * np.log(1 - A)) * 200",
        }[name],
        "# backward",
        f"dZ = (A - Y) * {number}",
        "db = dZ.sum()",
        "dw = X @ dZ.T",
        "return J, dw, db",
    ]
    y = RNG.integers(0, 2, (1, 400))
    expected = COSTS[name](X, y)
    found = function(tg.numpy_source(COSTS[name](X, Y)))(X, y, w.data, b.data)[0]
    np.testing.assert_allclose(found, expected.data, rtol=400 * EPS)  # a sum of 400 terms of one sign


# -- parameters that are read without a gradient ----------------------------------------------------------------------


def under_no_grad(f):
    with tg.no_grad():
        return f()


READ = {  # how a penalty may read W besides
    "W.detach() * W": lambda W: np.sum(W.detach() * W),
    "W * W.detach()": lambda W: np.sum(W * W.detach()),
    "W.data * W": lambda W: np.sum(W.data * W),
    "of no_grad": lambda W: np.sum(under_no_grad(lambda: W * W) * W),
    "a Tensor of its array": lambda W: np.sum(tg.Tensor(W.data, name="W") * W),
    "detached twice": lambda W: np.sum(W.detach().detach() * W * W.detach()),
    "detached and transposed": lambda W: np.sum(W.detach().T @ W),
    "detached alone": lambda W: np.sum(W.detach()),
    "data alone": lambda W: np.sum(W.data**2),
}


class WithPenalty(tg.nn.Module):
    """Z = V X + a penalty of W, which stands before V or behind."""

    def __init__(self, read, first):
        self.V, self.W = tg.nn.Parameter(np.ones((1, 2))), tg.nn.Parameter(np.full((2, 2), 0.5))
        self.read, self.first = read, first

    def __call__(self, X):
        return self.read(self.W) * 0.1 + self.V @ X if self.first else self.V @ X + self.read(self.W) * 0.1


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("name", READ)
def test_a_parameter_that_is_detached_somewhere_keeps_its_gradient_and_no_other_gets_it(name, first):
    model = WithPenalty(READ[name], first)
    J = LOGITS(model(X), Y)
    J.backward()
    right = {f"d{p}": tensor.grad for p, tensor in model.named_parameters() if tensor.grad is not None}
    source = tg.numpy_source(model, X, Y, loss=LOGITS)
    assert results_of(source) == ["J", *(name for name in results_of(source) if name in right)]
    positional, _ = arguments_of(source)
    arrays = {"X": X, "Y": Y, **model.state_dict()}
    found = dict(zip(results_of(source), function(source)(*(arrays[a] for a in positional), m=400), strict=True))
    assert found.keys() == {"J", *right}
    for gradient, x in right.items():
        np.testing.assert_allclose(found[gradient], x, rtol=1e-12, atol=1e-15)
    assert set(results_of(tg.numpy_source(J))) == {"J", *right}
    arrays["m"] = 400
    formulas = {"np": np, "sigmoid": lambda Z: 1 / (1 + np.exp(-Z)), **arrays}
    for formula, code in tg.derive(model, X, Y, loss=LOGITS).formulas.items():
        formulas[formula] = eval(code, formulas)
    for gradient, x in right.items():
        np.testing.assert_allclose(formulas[gradient], x, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("name", READ)
def test_a_compiled_step_with_a_detached_parameter_trains_as_the_eager_one(name, first, gradients):
    costs = []
    for compiled in (False, True):
        model = WithPenalty(READ[name], first)
        optimizer = tg.optim.Adam(model.parameters(), lr=0.1)
        step = tg.compile(model, LOGITS, optimizer, gradients=gradients)
        costs.append([step(X, Y) if compiled else tg.optim.eager_step(model, LOGITS, optimizer, X, Y) for _ in "abc"])
    np.testing.assert_allclose(*costs, rtol=1e-12)


def test_a_parameter_that_is_only_read_gives_no_gradient_of_another_node():
    """One that is called like an inner value without a name."""

    class Model(tg.nn.Module):
        def __init__(self):
            self.W, self.U1 = tg.nn.Parameter(np.ones((1, 2))), tg.nn.Parameter(np.ones((1, 1)))

        def __call__(self, X):
            return np.tanh(np.sin(self.W @ X) + 1.0 * self.U1.data)

    source = tg.numpy_source(Model(), X, Y, loss=tg.mean_squared_error)
    assert results_of(source) == ["J", "dW"]
    assert arguments_of(source)[0] == ["X", "Y", "W", "U1"]


# -- what it costs ----------------------------------------------------------------------------------------------------


def calls_of(f):
    """How many Python functions a call runs."""
    count = 0

    def note(_frame, event, _argument):
        nonlocal count
        count += event == "call"

    sys.setprofile(note)
    try:
        f()
    finally:
        sys.setprofile(None)
    return count


def repeated(step):
    def cost(n):
        a = tg.Tensor(np.full((1, 3), 0.5), requires_grad=True, name="x")
        b = a + 0.5
        for _ in range(n):
            a, b = step(a, b)
        return np.sum(b)

    return cost


GRAPHS = {
    "a chain": repeated(lambda _, b: (b, np.tanh(b))),
    "products of shared factors": repeated(lambda a, b: (b, a * b)),
    "squares": repeated(lambda _, b: (b, b * b)),
    "negative squares": repeated(lambda _, b: (b, -(b * b))),
    "quotients": repeated(lambda a, b: (b, a / (2 + b))),
    "sums": repeated(lambda a, b: (b, a + b)),
    "a sigmoid and its products": repeated(lambda a, b: (tg.sigmoid(b), a * b)),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_the_code_of_four_times_the_ops_takes_about_four_times_the_work(name):
    small, large = (calls_of(lambda n=n: tg.numpy_source(GRAPHS[name](n))) for n in (40, 160))
    assert large < 6 * small  # quadratic: 16 times; exponential: never


@pytest.mark.parametrize("name", ["products of shared factors", "squares", "quotients", "sums", "a chain"])
def test_a_derivation_and_a_picture_of_shared_factors_end(name):
    # the first 40 ops may still be shortened by algebra; behind them each costs the same
    small, large = (calls_of(lambda n=n: tg.derive(GRAPHS[name](n))) for n in (30, 60))
    assert large < 4 * small
    small, large = (calls_of(lambda n=n: tg.draw(GRAPHS[name](n))) for n in (40, 160))
    assert large < 6 * small


def test_a_compiled_step_of_shared_factors_is_made_in_linear_time():
    class Model(tg.nn.Module):
        def __init__(self, n):
            self.W, self.n = tg.nn.Parameter(np.full((1, 2), 0.1)), n

        def __call__(self, X):
            a = np.tanh(self.W @ X)
            b = a + 0.5
            for _ in range(self.n):
                a, b = b, a * b
            return b

    def make(n):
        model = Model(n)
        tg.compile(model, LOGITS, tg.optim.SGD(model.parameters(), lr=0.1))(X, Y)

    make(3)
    small, large = (calls_of(lambda n=n: make(n)) for n in (15, 60))
    assert large < 6 * small


@pytest.mark.parametrize(
    "step", [lambda z, w: z @ w, np.maximum, lambda z, w: np.where(z > 0, z, w) * w, lambda z, w: z / (1 + w * w)]
)
def test_a_weight_that_is_used_again_and_again_takes_time_in_proportion(step, monkeypatch):
    """As in a recurrent network: its gradient is a sum of as many terms, which gets lines of a few terms each."""
    characters = []
    for n in (60, 240):
        written = []
        monkeypatch.setattr(
            "tinygrad_dls.source.expression",
            lambda *args, written=written, **options: written.append(expression(*args, **options)) or written[-1],
        )
        w = tg.Tensor(np.full((2, 2), 0.1), requires_grad=True, name="W")
        z = w
        for _ in range(n):
            z = step(z, w)
        tg.numpy_source(np.sum(z))
        characters.append(sum(map(len, written)))
    assert characters[1] < 6 * characters[0]  # 4, and longer names, such as U100 for U10; the square would be 16
