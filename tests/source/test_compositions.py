"""The code of any composition of ops, and of the models of the examples, gives autodiff's gradients."""

import importlib
import inspect
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

import tinygrad_dls as tg
from examples import (
    activation_functions,
    breast_cancer,
    gradient_descent,
    initialisation,
    l_layer,
    logistic_regression,
    loop_and_vectorized,
    newton,
    optimizers,
    regularisation,
    two_layer_network,
)
from tests.support.programs import Program, random_program
from tests.support.sources import (
    EPS,
    LOGITS,
    PROGRAMS,
    RNG,
    X,
    Y,
    arguments_of,
    cost_of,
    function,
    gradients_of,
    leaves_of,
    matrix_of_data,
    results_of,
    rounded_anew,
)
from tinygrad_dls.engine.errors import RecordingError
from tinygrad_dls.graph.node import Node
from tinygrad_dls.graph.reading import read
from tinygrad_dls.nn import losses
from tinygrad_dls.nn.fused import loss_of

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

    is_loss = {f.__name__ for f in vars(losses).values() if loss_of(f)}
    steps = [replace(s, args=(labels(s.op, s.args[0]),)) if s.op in is_loss and s.args else s for s in program.steps]
    return Program(steps, [rng.uniform(-2, 2, shape(x, i == data)) for i, x in enumerate(program.inputs)])


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


def l_layer_cost(example):
    LOGITS(l_layer.network(example.SIZES, rng=0)(X), Y).backward()


EXAMPLES = {
    (initialisation, "network"): lambda: l_layer_cost(initialisation),
    (regularisation, "network"): lambda: l_layer_cost(regularisation),
    (optimizers, "network"): lambda: l_layer_cost(optimizers),
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
