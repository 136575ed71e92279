"""The NumPy code of a step: it reads as a student would write it, and its numbers are those of autodiff."""

import subprocess
import sys

import numpy as np
import pytest

import tinygrad_dls as tg
from tests.support.sources import (
    EPS,
    LOGITS,
    MODELS,
    OPTIMIZERS,
    RNG,
    X,
    Y,
    arguments_of,
    composed,
    function,
    gradients_of,
    labels,
    leaves_of,
    network,
    results_of,
)
from tinygrad_dls.engine.errors import RecordingError
from tinygrad_dls.graph.reading import read


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
        letters = optimizer.letters or {0: "", 1: "V", 3: "VSt"}[len(states)]  # S of RMSprop
        eager |= zip([f"{letter}d{name}" for letter in letters], states, strict=True)
    assert eager.keys() == set(results)
    return arrays, eager


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_code_trains_as_the_optimizer_does(name):
    optimizer, options = OPTIMIZERS[name]
    arrays, eager = trained(float, optimizer, options, steps=50, lr=0.05)
    for name, expected in eager.items():
        # a step adds a rounding or two, and those before grow no faster than the state: 50 steps, a few hundred EPS;
        # and a gradient is a sum of 400 entries that may cancel
        np.testing.assert_allclose(arrays[name], expected, rtol=1000 * EPS, atol=1000 * EPS * np.abs(expected).max())


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
        (
            (network(),),
            {},
            r"came without inputs and loss=: write numpy_source\(model, X, Y, loss=...\)",
        ),
        (
            (LOGITS(network()(X), Y), X),
            {},
            r"a Tensor is taken as it was .* numpy_source\(model, X, Y, loss=...\)",
        ),
        ((network(), X, Y), {"loss": "bce"}, "loss= takes a function, such as .* got 'bce'"),
        ((network(), X), {"loss": LOGITS}, "with loss=, the labels come last"),
        ((network(), X, Y), {"loss": LOGITS, "optimizer": 0.1}, "optimizer= takes one of tg.optim, .* got 0.1"),
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
