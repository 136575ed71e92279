"""Results published with the course's exercises, reproduced through layer objects and autodiff."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

import tinygrad_dls as tg
from tinygrad_dls import nn

TABLES = {e["id"]: e for e in json.loads((Path(__file__).parent / "data/course_tables.json").read_text())["entries"]}
LOGITS = tg.binary_cross_entropy_with_logits


def inputs(entry):
    return {
        k: np.array(v, dtype=float) for k, v in TABLES[entry]["inputs"].items() if isinstance(v, (list, int, float))
    }


def expected(entry):
    return TABLES[entry]["expected"]


def assert_printed(got, printed, digits=8):
    """Equal to all the decimals that were printed: half a unit of the last one, or two roundings of a float64."""
    printed = np.asarray(printed, dtype=float)
    assert np.all(np.abs(got - printed) <= 0.5000001 * 10.0**-digits + 2 * np.spacing(np.abs(printed))), (got, printed)


def decimals(number):
    return len(repr(number).split(".")[1])


def logistic(w, b):
    """Logistic regression with the course's w (a column there) and b (a number there)."""
    model = nn.LogisticRegression(w.size)
    model.load_state_dict({"W": w.reshape(1, -1), "b": np.reshape(b, (1, 1))})
    return model


def test_every_entry_is_reproduced_by_a_test_here():
    source = Path(__file__).read_text()
    assert [entry for entry in TABLES if f'"{entry}"' not in source] == []


def test_sigmoid():
    assert_printed(tg.sigmoid(tg.Tensor([0, 2])).data, expected("c1w2.sigmoid")["sigmoid"])


@pytest.mark.parametrize("entry", ["c1w2.propagate.v2017", "c1w2.propagate.v2021"])
@pytest.mark.parametrize("composed", [True, False])
def test_propagate(entry, composed):
    given, want = inputs(entry), expected(entry)
    linear = logistic(given["w"], given["b"]).layers[0]
    model = nn.Sequential(linear, nn.Sigmoid()) if composed else nn.Sequential(linear)
    J = (tg.binary_cross_entropy if composed else LOGITS)(model(given["X"]), given["Y"])
    J.backward()
    assert_printed(linear.W.grad.T, want["dw"])
    assert_printed(linear.b.grad.item(), want["db"], decimals(want["db"]))
    assert_printed(J.item(), want["cost"], decimals(want["cost"]))


def test_optimize():
    given, want = inputs("c1w2.optimize.v2017"), expected("c1w2.optimize.v2017")
    model = logistic(given["w"], given["b"])
    optimizer = tg.optim.SGD(model.parameters(), lr=given["learning_rate"].item())
    tg.fit(model, given["X"], given["Y"], loss=LOGITS, optimizer=optimizer, epochs=100)
    W, b = model.parameters()
    assert_printed(W.data.T, want["w"])
    assert_printed(b.item(), want["b"], decimals(want["b"]))
    assert_printed(W.grad.T, want["dw"])  # of the last step, before its update
    assert_printed(b.grad.item(), want["db"], decimals(want["db"]))


def test_predict():
    given = inputs("c1w2.predict")
    np.testing.assert_array_equal(
        logistic(given["w"], given["b"]).predict(given["X"]), expected("c1w2.predict")["predictions"]
    )


def course_network(n_h=4):
    return nn.TwoLayerNetwork(2, n_h, rng=np.random.RandomState(2), init=tg.init.small)


def test_initial_parameters():
    for name, value in course_network().state_dict().items():
        assert_printed(value, expected("c1w3.init")[name])


def with_parameters(given, **others):
    model = course_network()
    model.load_state_dict(
        {"W1": given["W1"], "W2": given["W2"], "b1": np.zeros((4, 1)), "b2": np.zeros((1, 1))} | others
    )
    return model


def test_forward():
    given, want = inputs("c1w3.forward"), expected("c1w3.forward")
    random = np.random.RandomState(1)
    X, b1 = random.randn(2, 3), random.randn(4, 1)
    a = X
    for layer, name in zip(
        [*with_parameters(given, b1=b1, b2=given["b2"]).layers, nn.Sigmoid()], ["Z1", "A1", "Z2", "A2"], strict=True
    ):
        a = layer(a)
        mean = want[f"mean_{name}"]
        assert_printed(a.data.mean(), mean, decimals(mean))
        if name in want:
            assert_printed(a.data, want[name])


def test_cost():
    random = np.random.RandomState(1)
    Y = (random.randn(1, 3) > 0).astype(float)
    J = tg.binary_cross_entropy(tg.Tensor(inputs("c1w3.cost")["A2"]), Y)
    assert_printed(J.item(), expected("c1w3.cost")["cost"], 16)


def test_backward():
    random = np.random.RandomState(1)
    X, Y = random.randn(2, 3), random.randn(1, 3) > 0
    model = with_parameters(inputs("c1w3.backward"))
    LOGITS(model(X), Y).backward()
    for name, p in model.named_parameters():
        assert_printed(p.grad, expected("c1w3.backward")[f"d{name}"])


# -- the flower: costs, accuracies, and three mutants that accuracy does not tell apart -------------------------------


def train_flower(n_h, epochs, mutant=lambda gradients: None):
    X, Y = tg.datasets.planar_flower()
    model = course_network(n_h)
    optimizer = tg.optim.SGD(model.parameters(), lr=1.2)
    named = dict(model.named_parameters())
    costs = []
    for _ in range(epochs):
        J = LOGITS(model(X), Y)
        costs.append(J.item())
        optimizer.zero_grad()
        J.backward()
        mutant(named)
        optimizer.step()
    return costs, 100 * tg.accuracy(model.predict(X), Y)


def flower_costs_match(costs):
    return all(round(costs[i], 6) == cost for i, cost in expected("c1w3.flower")["costs"] if i < len(costs))


def test_flower_data_are_the_courses_own():
    """The recipe of the course, written out once more."""
    np_random = np.random.RandomState(1)
    X, Y = np.zeros((400, 2)), np.zeros((400, 1))
    for j in range(2):
        ix = range(200 * j, 200 * (j + 1))
        t = np.linspace(j * 3.12, (j + 1) * 3.12, 200) + np_random.randn(200) * 0.2
        r = 4 * np.sin(4 * t) + np_random.randn(200) * 0.2
        X[ix] = np.c_[r * np.sin(t), r * np.cos(t)]
        Y[ix] = j
    got = tg.datasets.planar_flower()
    np.testing.assert_array_equal(got[0], X.T)
    np.testing.assert_array_equal(got[1], Y.T)


def test_flower_cost_table():
    costs, accuracy = train_flower(4, 7001)
    got = [[i, round(costs[i], 6)] for i, _ in expected("c1w3.flower")["costs"]]
    assert got == expected("c1w3.flower")["costs"]
    assert accuracy > 90


def scalar_db(named):
    named["b1"].grad = np.full((4, 1), named["b1"].grad.sum())


def doubled_dw2(named):
    named["W2"].grad = 2 * named["W2"].grad


def db1_times_four(named):
    named["b1"].grad = 4 * named["b1"].grad


@pytest.mark.parametrize("mutant", [scalar_db, doubled_dw2, db1_times_four])
def test_mutants_reach_the_accuracy_but_not_the_costs(mutant):
    costs, accuracy = train_flower(4, 7_000, mutant)
    assert accuracy > 89  # within two points of right, 90.5: accuracy proves nothing
    assert not flower_costs_match(costs)


@pytest.mark.parametrize("mutant", [scalar_db, doubled_dw2, db1_times_four])
def test_mutants_do_not_give_the_printed_gradients(mutant):
    random = np.random.RandomState(1)
    X, Y = random.randn(2, 3), random.randn(1, 3) > 0
    model = with_parameters(inputs("c1w3.backward"))
    LOGITS(model(X), Y).backward()
    named = dict(model.named_parameters())
    mutant(named)
    printed = expected("c1w3.backward")
    assert any(np.abs(p.grad - printed[f"d{name}"]).max() > 1e-4 for name, p in named.items())


@pytest.mark.parametrize("n_h", [1, 2, 3, 4, 5])
def test_accuracy_by_hidden_size(n_h):
    _, accuracy = train_flower(n_h, 5000)
    assert accuracy == expected("c1w3.hidden_sizes")["accuracy"][str(n_h)]


# -- the gradient check of the three-layer network --------------------------------------------------------------------


def gradient_check(plant):
    """The course's relative difference between autodiff's gradients, with bugs planted, and central differences."""
    random = np.random.RandomState(1)
    X, Y = random.randn(4, 3), np.array([[1, 1, 0]])
    sizes = [4, 5, 3, 1]
    layers = []
    for n_in, n_out in itertools.pairwise(sizes):
        linear = nn.Linear(n_in, n_out, init=random.randn(n_out, n_in))
        linear.b.data = random.randn(n_out, 1)
        layers += [linear, nn.ReLU()]
    model = nn.Sequential(*layers[:-1], nn.Sigmoid())

    def cost():
        return tg.binary_cross_entropy(model(X), Y)

    cost().backward()
    grad = np.concatenate([plant(name, p.grad).ravel() for name, p in model.named_parameters()])
    approx, epsilon = [], TABLES["c2w1.gradcheck.buggy"]["inputs"]["epsilon"]
    for p in model.parameters():
        original = p.data
        for index in np.ndindex(p.shape):
            values = []
            for step in (epsilon, -epsilon):
                p.data = original.copy()
                p.data[index] += step
                values.append(cost().item())
            approx.append((values[0] - values[1]) / (2 * epsilon))
        p.data = original
    return np.linalg.norm(grad - approx) / (np.linalg.norm(grad) + np.linalg.norm(approx))


def test_gradient_check_finds_the_two_planted_bugs():
    bugs = {"W2": 2, "b1": 4}
    difference = gradient_check(lambda name, grad: bugs.get(name, 1) * grad)
    assert abs(difference - expected("c2w1.gradcheck.buggy")["difference"]) < 1e-6


def test_gradient_check_passes_without_them():
    difference = gradient_check(lambda name, grad: grad)
    # rounding of a 1e-7 step: only its order of magnitude means anything
    assert difference < 10 * expected("c2w1.gradcheck.fixed")["difference"]
