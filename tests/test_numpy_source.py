"""The NumPy code of a step: it reads as a student would write it, and its numbers are those of autodiff."""

import ast
import subprocess
import sys

import numpy as np
import pytest

import tinygrad_dls as tg
from tinygrad_dls.recording import RecordingError

LOGITS = tg.binary_cross_entropy_with_logits
X, Y = tg.datasets.planar_flower()
RNG = np.random.default_rng(0)


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
    return [name.id for name in last.value.elts]


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


@pytest.mark.parametrize(
    "options", [{}, {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True}, {"weight_decay": 0.1}], ids=str
)
def test_the_code_trains_as_the_optimizer_does(options):
    model = network()
    optimizer = tg.optim.SGD(model.parameters(), lr=0.5, **options)
    source = tg.numpy_source(model, X, Y, loss=LOGITS, optimizer=optimizer)
    step, results = function(source), results_of(source)
    positional, _ = arguments_of(source)
    arrays = {"X": X, "Y": Y, **model.state_dict()}
    arrays |= {name: np.zeros_like(arrays[name.removeprefix("Vd")]) for name in positional if name.startswith("Vd")}
    for _ in range(20):
        J = LOGITS(model(X), Y)
        optimizer.zero_grad()
        J.backward()
        optimizer.step()
        arrays |= zip(results, step(*(arrays[a] for a in positional), m=400, learning_rate=0.5), strict=True)
    np.testing.assert_allclose(arrays["J"], J.item(), rtol=1e-12)
    for name, p in model.named_parameters():
        np.testing.assert_allclose(arrays[name], p.data, rtol=1e-10, atol=1e-13)  # roundings of 20 steps


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
    return J * float(J)


def draws_a_number(X, Y):
    return LOGITS(MODELS["tanh"][0](X), Y) * RNG.random()


@pytest.mark.parametrize(
    ("cost", "text"),
    [
        (branch, r"a Python decision .*the result of np.greater .*line \d+ of test_numpy_source.py: return"),
        (as_number, r"would freeze a plain array .*line \d+ of test_numpy_source.py: return J \* float"),
        (draws_a_number, r"recorded twice, a line is first"),
    ],
)
def test_what_would_be_frozen_is_refused_by_name(cost, text):
    with pytest.raises(RecordingError, match=text):
        tg.numpy_source(cost, X, Y)


def test_a_random_mask_is_refused_and_the_layer_named():
    model = tg.nn.Sequential(tg.nn.Linear(2, 4, rng=0), tg.nn.Dropout(0.5, rng=0), tg.nn.Linear(4, 1, rng=0))
    with pytest.raises(RecordingError, match=r"would freeze an array \(4, 400\) .* in Dropout 0.5"):
        tg.numpy_source(model, X, Y, loss=LOGITS)


@pytest.mark.parametrize(
    ("args", "options", "text"),
    [
        ((None,), {}, "expected a cost"),
        ((network(),), {}, "the TwoLayerNetwork alone"),
        ((LOGITS(network()(X), Y), X), {}, "has its inputs already"),
        ((network(), X, Y), {"loss": LOGITS, "optimizer": 0.1}, "optimizer must be one of tg.optim"),
        ((network(), X, Y), {"loss": LOGITS, "name": "a b"}, "name must be the name of a function"),
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
