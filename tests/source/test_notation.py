"""The code reads as a student would write it, in the notation of the course."""

import itertools
import re
import subprocess
import sys

import numpy as np
import pytest

import tinygrad_dls as tg
from tests.support.programs import random_program
from tests.support.sources import (
    EPS,
    LOGITS,
    MODELS,
    OPTIMIZERS,
    RNG,
    X,
    Y,
    arguments_of,
    cost_of,
    five_layers,
    function,
    labels,
    leaves_of,
    matrix_of_data,
    network,
)

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


def test_the_code_has_no_unused_names_and_no_dead_or_long_lines(tmp_path):
    for i, source in enumerate(sources()):
        (tmp_path / f"step{i}.py").write_text(source)
    ruff = [sys.executable, "-m", "ruff", "check", "--isolated", "--no-cache", "--line-length=88"]
    run = subprocess.run([*ruff, "--select=F,E,W,I", "."], capture_output=True, text=True, cwd=tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr


def test_lines_that_are_too_long_are_broken_behind_commas_in_brackets():
    index = np.arange(40) % 7
    names = ["the_weights_of_the_first_layer", "the_weights_of_the_second_layer", "the_weights_of_the_third_layer"]
    Ws = [tg.Tensor(np.ones((7, 2)), requires_grad=True, name=name) for name in names]
    J = tg.sum(tg.concatenate([W[index] for W in Ws] + [W[:, ::-1] for W in Ws]))
    source = tg.numpy_source(J)
    assert max(map(len, source.splitlines())) <= 88
    assert len([line for line in source.splitlines() if line.startswith(8 * " ")]) > 3
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


# -- the notation of the course, written out --------------------------------------------------------------------------


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
    assert "    # -0.0025 may stand for -1/m and 0.000875 for 0.35/m: " in source
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
