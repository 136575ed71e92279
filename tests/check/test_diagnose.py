"""diagnose: every known mistake, planted, is named, and none of the others; what it does not know, it says so."""

import itertools
import re

import numpy as np
import pytest

import tinygrad_dls as tg
from examples.hand_derived import ACTIVATIONS, sigmoid
from tinygrad_dls.check import cause, causes, diagnose
from tinygrad_dls.check.causes import derivative

LAYERS = {"tanh": tg.nn.Tanh, "sigmoid": tg.nn.Sigmoid, "relu": tg.nn.ReLU}


def problem(activation="tanh", n_x=4, n_h=4, m=7, seed=0):
    """A network of square W1 (so that a wrong transpose has the right shape), its data, and every array by hand."""
    rng = np.random.default_rng(seed)
    X, Y = rng.normal(size=(n_x, m)), np.array([[0, 1, 1, 0, 1, 0, 1, 1, 0][:m]])
    model = tg.nn.TwoLayerNetwork(n_x, n_h, activation=LAYERS[activation](), rng=1, init=tg.init.xavier)
    for p in model.parameters():
        p.data = p.data + 0.1 * rng.normal(size=p.shape)
    return model, X, Y, by_hand(model, X, Y, activation)


def by_hand(model, X, Y, activation="tanh", *, W2_of_dA1=None):
    g, derivative = ACTIVATIONS[activation]
    W1, b1, W2, b2 = (p.data for p in model.parameters())
    m = X.shape[1]
    Z1 = W1 @ X + b1
    A1 = g(Z1)
    Z2 = W2 @ A1 + b2
    A2 = sigmoid(Z2)
    dA2 = (-Y / A2 + (1 - Y) / (1 - A2)) / m
    dZ2 = (A2 - Y) / m
    dA1 = (W2 if W2_of_dA1 is None else W2_of_dA1).T @ dZ2
    dZ1 = dA1 * derivative(Z1, A1)
    return {
        "Z1": Z1, "A1": A1, "Z2": Z2, "A2": A2, "dA2": dA2, "dZ2": dZ2, "dW2": dZ2 @ A1.T, "db2": row_sums(dZ2),
        "dA1": dA1, "dZ1": dZ1, "dW1": dZ1 @ X.T, "db1": row_sums(dZ1),
    }  # fmt: skip


def row_sums(x):
    return x.sum(axis=1, keepdims=True)


def backward(s):
    return {name: x for name, x in s.items() if name.startswith("d")}


# -- nothing is wrong -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", LAYERS)
def test_right_gradients_are_right(activation):
    model, X, Y, s = problem(activation)
    before = model.state_dict()
    result = diagnose(model, X, Y, backward(s), cache={k: x for k, x in s.items() if not k.startswith("d")})
    assert {f.verdict for f in result.findings} == {"right"}
    assert result.first_wrong is None
    assert str(result).endswith("All of these are right.")
    for name, p in model.named_parameters():
        np.testing.assert_array_equal(p.data, before[name])
        assert p.grad is None


def test_the_order_is_that_of_the_computation_whatever_was_given_first():
    model, X, Y, s = problem()
    result = diagnose(model, X, Y, dict(reversed(backward(s).items())), cache={"A2": s["A2"], "Z1": s["Z1"]})
    names = [f.name for f in result.findings]
    assert names == ["Z1", "A2", "dA2", "dZ2", "dW2", "db2", "dA1", "dZ1", "dW1", "db1"]


def test_the_courses_convention_without_one_over_m_in_dz_is_right_and_said():
    model, X, Y, s = problem()
    m = X.shape[1]
    course = {name: x * m if name[:2] in ("dA", "dZ") else x for name, x in backward(s).items()}
    result = diagnose(model, X, Y, course)
    assert {f.verdict for f in result.findings} == {"right"}
    assert "dZ2  right, of each example's loss (without 1/m)\n" in str(result)
    assert "dW2  right\n" in str(result)


def test_logistic_regression_in_the_courses_own_names():
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(3, 8)), rng.integers(0, 2, size=(1, 8))
    model = tg.nn.LogisticRegression(3)
    dZ = model.predict_proba(X) - Y
    result = diagnose(model, X, Y, {"dz": dZ, "dw": dZ @ X.T / 8, "db": np.sum(dZ) / 8})
    assert [(f.name, f.verdict) for f in result.findings] == [("dZ", "right"), ("dW", "right"), ("db", "right")]
    assert "db  right, as a number for (1, 1)" in str(result)
    assert diagnose(model, X, Y, {"dW1": dZ @ X.T / 8}).first_wrong is None


def test_three_classes_five_layers_and_another_cost():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2, 6))
    model = tg.nn.TwoLayerNetwork(2, 3, 3, rng=0)
    Y = np.array([[0, 1, 2, 2, 1, 0]])
    A = model.predict_proba(X)
    dZ2 = A - (np.arange(3)[:, None] == Y)
    for labels in (Y, (np.arange(3)[:, None] == Y).astype(float)):
        assert diagnose(model, X, labels, {"dZ2": dZ2}).first_wrong is None
    assert diagnose(model, X, Y, {"dZ2": -dZ2}).first_wrong.causes == ("Y - A for A - Y",)

    sizes = [2, 4, 3, 3, 2, 1]
    layers = [
        layer
        for n, k in itertools.pairwise(sizes)
        for layer in (tg.nn.Linear(n, k, rng=n + k), tg.nn.ReLU() if k > 1 else tg.nn.Sigmoid())
    ]
    deep = tg.nn.Sequential(*layers)
    Y = np.array([[0, 1, 1, 0, 1, 0]])
    J = tg.binary_cross_entropy(deep(X), Y)
    J.backward()
    gradients = {f"d{name}": p.grad for name, p in deep.named_parameters()}
    assert diagnose(deep, X, Y, gradients).first_wrong is None
    wrong = diagnose(deep, X, Y, gradients | {"dW3": gradients["dW3"] * 6, "dW1": -gradients["dW1"]})
    assert (wrong.first_wrong.name, wrong.first_wrong.causes) == ("dW3", ("1/m is missing",))
    assert [f.name for f in wrong.findings if f.verdict == "wrong"] == ["dW3", "dW1"]

    linear = tg.nn.Sequential(tg.nn.Linear(2, 2, rng=0), tg.nn.Tanh(), tg.nn.Linear(2, 1, rng=1))
    Y = rng.normal(size=(1, 6))
    tg.mean_squared_error(linear(X), Y).backward()
    gradients = {f"d{name}": p.grad for name, p in linear.named_parameters()}
    assert diagnose(linear, X, Y, gradients, loss=tg.mean_squared_error).first_wrong is None
    wrong = diagnose(linear, X, Y, gradients | {"dW1": gradients["dW1"].T}, loss=tg.mean_squared_error)
    assert wrong.first_wrong.causes == ("a transpose is missing",)


# -- every cause, planted ---------------------------------------------------------------------------------------------
#
# title: (activation, step, the wrong array from the right ones s, the model's W1 and W2, the data)

PLANTED = {
    "1/m is missing": ("tanh", "dW2", lambda s, p, X, Y: s["dW2"] * 7),
    "1/m is missing ": ("tanh", "db1", lambda s, p, X, Y: s["db1"] * 7),
    "1/m twice": ("tanh", "dW1", lambda s, p, X, Y: s["dZ1"] @ X.T / 7),
    "1/m twice ": ("tanh", "db1", lambda s, p, X, Y: np.mean(s["dZ1"], axis=1, keepdims=True)),
    "sign": ("tanh", "dW2", lambda s, p, X, Y: -s["dW2"]),
    "sign ": ("relu", "dA2", lambda s, p, X, Y: -s["dA2"]),
    "Y - A for A - Y": ("tanh", "dZ2", lambda s, p, X, Y: (Y - s["A2"]) / 7),
    "Y - A for A - Y ": ("tanh", "dZ2", lambda s, p, X, Y: Y - s["A2"]),
    "a transpose is missing": ("tanh", "dW1", lambda s, p, X, Y: X @ s["dZ1"].T),
    "a transpose is missing ": ("tanh", "dW2", lambda s, p, X, Y: s["A1"] @ s["dZ2"].T),
    "keepdims=True is missing": ("tanh", "db1", lambda s, p, X, Y: np.sum(s["dZ1"], axis=1)),
    "keepdims=True is missing ": ("tanh", "db2", lambda s, p, X, Y: np.sum(s["dZ2"], axis=1)),
    "axis=0 for axis=1": ("tanh", "db1", lambda s, p, X, Y: np.sum(s["dZ1"], axis=0, keepdims=True)),
    "axis=0 for axis=1 ": ("tanh", "db1", lambda s, p, X, Y: np.sum(s["dZ1"], axis=0)),
    "axis=1 is missing, so the whole array is summed": ("tanh", "db1", lambda s, p, X, Y: np.sum(s["dZ1"])),
    "axis=1 is missing, so the whole array is summed ": (
        "tanh", "db1", lambda s, p, X, Y: np.zeros((4, 1)) + np.sum(s["dZ1"], keepdims=True)
    ),
    "the sum over the examples is missing": ("tanh", "db1", lambda s, p, X, Y: s["dZ1"]),
    "Z where A belongs in the derivative": ("tanh", "dZ1", lambda s, p, X, Y: s["dA1"] * (1 - s["Z1"] ** 2)),
    "Z where A belongs in the derivative ": (
        "sigmoid", "dZ1", lambda s, p, X, Y: s["dA1"] * s["Z1"] * (1 - s["Z1"])
    ),
    "the derivative of another activation": (
        "tanh", "dZ1", lambda s, p, X, Y: s["dA1"] * s["A1"] * (1 - s["A1"])
    ),
    "the derivative of another activation ": ("sigmoid", "dZ1", lambda s, p, X, Y: s["dA1"] * (1 - s["A1"] ** 2)),
    "the derivative of another activation  ": ("relu", "dZ1", lambda s, p, X, Y: s["dA1"] * (1 - s["A1"] ** 2)),
    "the derivative of another activation   ": ("tanh", "dZ1", lambda s, p, X, Y: s["dA1"] * (s["Z1"] > 0)),
    "dA where dZ belongs": ("tanh", "dZ1", lambda s, p, X, Y: s["dA1"]),
    "dA where dZ belongs ": ("tanh", "dW1", lambda s, p, X, Y: s["dA1"] @ X.T),
    "dA where dZ belongs  ": ("tanh", "db1", lambda s, p, X, Y: row_sums(s["dA1"])),
    "dA where dZ belongs   ": ("tanh", "dA1", lambda s, p, X, Y: p["W2"].T @ s["dA2"]),
    "Z where A belongs in the product": ("tanh", "dW2", lambda s, p, X, Y: s["dZ2"] @ s["Z1"].T),
    "an update applied before the gradient": (
        "tanh", "dA1", lambda s, p, X, Y: (p["W2"] - 0.5 * s["dW2"]).T @ s["dZ2"]
    ),
    "all zeros": ("tanh", "dW1", lambda s, p, X, Y: np.zeros((4, 4))),
    "all zeros ": ("relu", "dZ1", lambda s, p, X, Y: np.zeros((4, 7))),
    "a slip in the derivative": ("tanh", "dZ1", lambda s, p, X, Y: s["dA1"] * (1 + s["A1"] ** 2)),
    "a slip in the derivative ": ("sigmoid", "dZ1", lambda s, p, X, Y: s["dA1"] * (1 - s["A1"])),
    "a slip in the derivative  ": ("relu", "dZ1", lambda s, p, X, Y: s["dA1"] * (s["Z1"] < 0)),
    "the derivative of the sigmoid on top of A - Y": (
        "tanh", "dZ2", lambda s, p, X, Y: (s["A2"] - Y) * s["A2"] * (1 - s["A2"]) / 7
    ),
    "a constant factor": ("tanh", "dW1", lambda s, p, X, Y: s["dZ1"] @ X.T * 7 / 4),
    "a constant factor ": ("tanh", "dZ1", lambda s, p, X, Y: 2 * s["dZ1"]),
    "an L2 term": ("tanh", "dW1", lambda s, p, X, Y: s["dW1"] + 0.7 / 7 * p["W1"]),
    "axis=1 is missing, so the whole array is summed  ": ("tanh", "db1", lambda s, p, X, Y: np.mean(s["dZ1"] * 7)),
    "the derivative of another activation    ": ("relu", "dZ1", lambda s, p, X, Y: s["dA1"] * (1 - s["Z1"] ** 2)),
    "b is missing": ("tanh", "Z1", lambda s, p, X, Y: p["W1"] @ X),
    "another activation": ("tanh", "A1", lambda s, p, X, Y: sigmoid(s["Z1"])),
    "another activation ": ("relu", "A1", lambda s, p, X, Y: np.tanh(s["Z1"])),
    "the activation is missing": ("tanh", "A1", lambda s, p, X, Y: s["Z1"]),
}  # fmt: skip


def planted(title):
    activation, name, wrong = PLANTED[title]
    model, X, Y, s = problem(activation)
    return model, X, Y, s, name, np.asarray(wrong(s, model.state_dict(), X, Y))


def ask(model, X, Y, arrays):
    cache = {name: x for name, x in arrays.items() if not name.startswith("d")}
    return diagnose(model, X, Y, {name: x for name, x in arrays.items() if name.startswith("d")}, cache=cache)


@pytest.mark.parametrize("title", PLANTED)
def test_a_planted_mistake_is_named_and_no_other(title):
    """With the steps before it given, and right."""
    model, X, Y, s, name, wrong = planted(title)
    names = list(s)
    result = ask(model, X, Y, {k: s[k] for k in names[: names.index(name)]} | {name: wrong})
    assert result.first_wrong.name == name
    assert result.first_wrong.causes == (title.strip(),)
    assert [f.verdict for f in result.findings] == ["right"] * names.index(name) + ["wrong"]


@pytest.mark.parametrize("title", PLANTED)
def test_a_planted_mistake_is_named_when_nothing_else_was_given(title):
    model, X, Y, _, name, wrong = planted(title)
    assert title.strip() in ask(model, X, Y, {name: wrong}).first_wrong.causes


def test_every_cause_is_planted():
    assert {title.strip() for title in [*PLANTED, *PENALTIES]} == set(causes)


@pytest.mark.parametrize("convention", ["of the cost", "of each example"])
@pytest.mark.parametrize("title", [t for t in PLANTED if PLANTED[t][1] in ("dA1", "dZ1", "dZ2") and t != "all zeros "])
def test_what_follows_from_a_mistake_is_not_blamed(title, convention):
    """All the arrays, computed on from the wrong one: it is the only one that is wrong."""
    model, X, Y, s, name, wrong = planted(title)
    if title == "Y - A for A - Y ":
        wrong = wrong / 7  # it is of each example; below, both are tried
    derivative = ACTIVATIONS[PLANTED[title][0]][1](s["Z1"], s["A1"])
    theirs = backward(s) | {name: wrong}
    if name == "dZ2":
        theirs |= {"dW2": wrong @ s["A1"].T, "db2": row_sums(wrong), "dA1": model.state_dict()["W2"].T @ wrong}
    if name in ("dZ2", "dA1"):
        theirs["dZ1"] = theirs["dA1"] * derivative
    theirs |= {"dW1": theirs["dZ1"] @ X.T, "db1": row_sums(theirs["dZ1"])}
    if convention == "of each example":
        theirs = {k: x * 7 if k[:2] in ("dA", "dZ") else x for k, x in theirs.items()}
    for given in (theirs, {k: x for k, x in theirs.items() if k != "dA2"}):
        result = diagnose(model, X, Y, given)
        assert [(f.name, f.causes) for f in result.findings if f.verdict == "wrong"] == [(name, (title.strip(),))]
        later = {"dZ2": ["dW2", "db2", "dA1", "dZ1", "dW1", "db1"], "dA1": ["dZ1", "dW1", "db1"], "dZ1": ["dW1", "db1"]}
        assert [f.name for f in result.findings if f.verdict == "follows"] == later[name]


@pytest.mark.parametrize(
    ("title", "given", "where"),
    [
        ("Z where A belongs in the derivative", "dW1", "dZ1"),
        ("the derivative of another activation", "db1", "dZ1"),
        ("Y - A for A - Y", "dA1", "dZ2"),
        ("dA where dZ belongs   ", "dZ1", "dA1"),
    ],
)
def test_a_mistake_in_a_step_that_was_not_given_is_found_there(title, given, where):
    model, X, Y, s, name, wrong = planted(title)
    assert name == where
    W2, slope = model.state_dict()["W2"], 1 - s["A1"] ** 2
    dA1 = W2.T @ wrong if where == "dZ2" else wrong if where == "dA1" else s["dA1"]
    dZ1 = wrong if where == "dZ1" else dA1 * slope
    array = {"dA1": dA1, "dZ1": dZ1, "dW1": dZ1 @ X.T, "db1": row_sums(dZ1)}[given]
    finding = diagnose(model, X, Y, {given: array}).first_wrong
    if title == "Y - A for A - Y":  # of dA1 alone, the sign could have been lost in either step: the nearest is named
        assert (finding.causes, finding.where) == (("sign",), "dA1")
    else:
        assert (finding.causes, finding.where) == ((title.strip(),), where)
        assert f"WRONG: {title.strip()}, in the {where} that went into it" in finding.text


@pytest.mark.parametrize("alpha", [0.0075, 1.2])
def test_an_update_applied_too_early_is_found_in_what_follows_from_it(alpha):
    model, X, Y, s = problem()
    late = by_hand(model, X, Y, W2_of_dA1=model.state_dict()["W2"] - alpha * s["dW2"])
    for given in (["dA1", "dZ1", "dW1", "db1"], ["dZ1", "dW1"], ["dW1"]):
        finding = diagnose(model, X, Y, {name: late[name] for name in given}).first_wrong
        assert (finding.name, finding.causes) == (given[0], ("an update applied before the gradient",))


@pytest.mark.parametrize("alpha", [0.0075, 1.2])
def test_a_model_that_was_updated_before_it_was_diagnosed_is_found_out(alpha):
    model, X, Y, s = problem()
    gradients = {f"d{name}": s[f"d{name}"] for name, _ in model.named_parameters()}
    for name, p in model.named_parameters():
        p.data = p.data - alpha * gradients[f"d{name}"]
    finding = diagnose(model, X, Y, gradients).first_wrong
    assert (finding.name, finding.causes) == ("dW2", ("an update applied before the gradient",))
    assert f"a learning rate of about {alpha:.3g}. Compute" in " ".join(finding.text.split())
    gradients["dW1"] = np.random.default_rng(0).normal(size=(4, 4))
    assert diagnose(model, X, Y, gradients).first_wrong.causes == ()


def test_a_wrong_cache_is_named_first_and_the_gradients_follow_from_it():
    model, X, Y, _ = problem()
    W1, b1, W2, b2 = (p.data for p in model.parameters())
    Z1 = W1 @ X + b1
    A1 = sigmoid(Z1)  # the model has tanh
    Z2 = W2 @ A1 + b2
    A2 = sigmoid(Z2)
    dZ2 = (A2 - Y) / 7
    result = diagnose(
        model,
        X,
        Y,
        {"dZ2": dZ2, "dW2": dZ2 @ A1.T, "db2": row_sums(dZ2)},
        cache={"Z1": Z1, "A1": A1, "Z2": Z2, "A2": A2},
    )
    verdicts = {f.name: f.verdict for f in result.findings}
    assert verdicts == {"Z1": "right", "A1": "wrong"} | dict.fromkeys(["Z2", "A2", "dZ2", "dW2", "db2"], "follows")
    assert result.first_wrong.causes == ("another activation",)


def test_two_mistakes_are_both_named():
    model, X, Y, s = problem()
    dZ1 = s["dA1"] * (1 - s["Z1"] ** 2)
    result = diagnose(model, X, Y, backward(s) | {"dZ1": dZ1, "dW1": dZ1 @ X.T / 7, "db1": row_sums(dZ1)})
    found = {f.name: f.causes for f in result.findings if f.verdict == "wrong"}
    assert found == {"dZ1": ("Z where A belongs in the derivative",), "dW1": ("1/m twice",)}


def test_what_was_not_given_is_inferred_for_the_rest():
    model, X, Y, s = problem()
    dZ1 = s["dA1"] * (1 - s["Z1"] ** 2)
    result = diagnose(model, X, Y, {"dW1": dZ1 @ X.T, "db1": row_sums(dZ1)})
    assert [(f.name, f.verdict) for f in result.findings] == [("dW1", "wrong"), ("db1", "follows")]
    assert "db1  follows: right for the same mistake in dZ1" in str(result)
    result = diagnose(model, X, Y, {"dW1": dZ1 @ X.T, "db1": np.sum(dZ1)})
    assert result.findings[1].causes == ("axis=1 is missing, so the whole array is summed",)


@pytest.mark.parametrize("divided", [1, 7])
def test_what_follows_from_an_unexplained_step_of_unknown_scale(divided):
    """A dZ2 that nothing explains may be of the cost or of each example: later steps are not blamed for either."""
    model, X, Y, s = problem()
    dZ2 = np.round(s["A2"]) - Y + 0.1
    result = diagnose(model, X, Y, {"dZ2": dZ2, "dW2": dZ2 @ s["A1"].T / divided, "db2": row_sums(dZ2) / divided})
    assert [(f.name, f.verdict, f.causes) for f in result.findings] == [
        ("dZ2", "wrong", ()), ("dW2", "follows", ()), ("db2", "follows", ()),
    ]  # fmt: skip
    doubt = "right for your dZ2, if that carries the 1/m; if it does not, 1/m is missing here"
    assert (doubt in str(result)) == (divided == 1)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_courses_column_w_and_number_b_are_brought_into_shape_first(sign):
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(3, 8)), np.array([[0, 1, 1, 0, 1, 1, 0, 1]])
    model = tg.nn.LogisticRegression(3)
    dZ = sign * (model.predict_proba(X) - Y)
    for dw in (X @ dZ.T / 8, (X @ dZ.T / 8).ravel()):
        result = diagnose(model, X, Y, {"dw": dw, "db": np.sum(dZ) / 8})
        if sign == 1:
            assert result.first_wrong is None
            assert f"dW  right, as {dw.shape} for (1, 3)" in str(result)
        else:
            assert {f.name: f.causes for f in result.findings} == {"dW": ("sign",), "db": ("sign",)}
    assert diagnose(model, X, Y, {"db": np.sum(dZ)}).first_wrong.causes == (("1/m is missing",) if sign == 1 else ())


def test_the_factor_is_told_and_what_else_to_give():
    model, X, Y, s = problem()
    result = diagnose(model, X, Y, {"dW2": 2 * s["dW2"]})
    assert "WRONG: a constant factor, 2\n" in result.first_wrong.text
    unknown = diagnose(model, X, Y, {"dW2": s["dW2"] + np.arange(4.0)})
    assert str(unknown).endswith("Give dZ2 and the other dZ and dA too: they tell which of these only follow.")
    assert repr(unknown) == str(unknown)


def test_a_three_layer_networks_followers_name_their_source():
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(2, 6)), np.array([[0, 1, 1, 0, 1, 0]])
    model = tg.nn.Sequential(
        tg.nn.Linear(2, 4, rng=0), tg.nn.ReLU(), tg.nn.Linear(4, 3, rng=1), tg.nn.Tanh(), tg.nn.Linear(3, 1, rng=2)
    )  # fmt: skip
    W = [layer.W.data for layer in model.layers[::2]]
    A1 = np.maximum(W[0] @ X, 0)
    A2 = np.tanh(W[1] @ A1)
    dZ3 = (sigmoid(W[2] @ A2) - Y) / 6
    dZ2 = W[2].T @ dZ3 * (1 - A2)  # for 1 - A2^2
    dZ1 = W[1].T @ dZ2 * (A1 > 0)
    result = diagnose(model, X, Y, {"dW2": dZ2 @ A1.T, "db2": row_sums(dZ2), "dW1": dZ1 @ X.T, "db1": row_sums(dZ1)})
    assert result.first_wrong.causes == ("a slip in the derivative",)
    assert [f.text for f in result.findings[1:]] == ["follows: right for the same mistake in dZ2"] * 3


def test_mistakes_are_named_in_float32_too():
    model, X, Y, s = problem()
    single = {name: x.astype(np.float32) for name, x in backward(s).items()}
    assert diagnose(model, X, Y, single).first_wrong is None
    wrong = diagnose(model, X, Y, single | {"dW1": single["dZ1"] @ X.T.astype(np.float32) * 7}).first_wrong
    assert (wrong.name, wrong.causes) == ("dW1", ("1/m is missing",))


@pytest.mark.parametrize("activation", LAYERS)
def test_float32_data_with_integer_labels_are_right_to_seven_digits(activation):
    """``float32 - int64`` is float64, so the dtype of the arrays does not tell."""
    model, X, Y, _ = problem(activation, seed=5)
    for p in model.parameters():
        p.data = p.data.astype(np.float32).astype(float)
    X = X.astype(np.float32).astype(float)
    W1, b1, W2, b2 = (p.data.astype(np.float32) for p in model.parameters())
    g, derivative = ACTIVATIONS[activation]
    Z1 = W1 @ X.astype(np.float32) + b1
    A1 = g(Z1)
    dZ2 = sigmoid(W2 @ A1 + b2) - Y
    dA1 = W2.T @ dZ2
    dZ1 = dA1 * derivative(Z1, A1)
    given = {"dZ2": dZ2, "dW2": dZ2 @ A1.T / 7, "dA1": dA1, "dZ1": dZ1, "dW1": dZ1 @ X.T / 7, "db1": row_sums(dZ1) / 7}
    assert given["dZ2"].dtype == float
    result = diagnose(model, X, Y, given)
    assert {f.verdict for f in result.findings} == {"right"}
    assert result.findings[0].causes == ("float32 rounding",)
    assert "dZ2  right, to float32's seven digits, of each example's loss" in str(result)
    wrong = given | {"dW1": given["dW1"] * 7}
    assert diagnose(model, X, Y, wrong).first_wrong.causes == ("1/m is missing",)


def test_float32_rounding_is_no_excuse_for_a_few_entries():
    model, X, Y, s = problem()
    dW1 = s["dW1"].copy()
    dW1[0, 0] *= 1 + 5e-7
    assert diagnose(model, X, Y, {"dW1": dW1}).first_wrong.causes == ()
    rounded = diagnose(model, X, Y, {"dW1": s["dW1"].astype(np.float32).astype(float)})
    assert rounded.first_wrong is None
    assert rounded.findings[0].causes == ("float32 rounding",)


def test_a_small_entry_beside_large_ones_is_judged_by_its_own_size():
    """A feature in other units: its column of dW1 is a million times smaller, and of the wrong sign."""
    model, X, Y, _ = problem()
    X = X * np.array([[1], [1], [1], [1e-6]])
    dW1 = by_hand(model, X, Y)["dW1"]
    dW1[:, 3] *= -1
    assert diagnose(model, X, Y, {"dW1": dW1}).first_wrong.worst[1] == 3
    assert diagnose(model, X, Y, {"dW1": dW1.astype(np.float32)}).first_wrong.worst[1] == 3


def test_saturated_units_hide_no_update():
    """Where every unit is saturated, the gradients are alike at any learning rate."""
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(3, 8)), rng.integers(0, 2, size=(1, 8))
    model = tg.nn.LogisticRegression(3)
    model.layers[0].W.data = np.array([[30.0, -60, 90]])
    dZ = tg.sigmoid(model.layers[0].W.data @ X) - Y
    right = {"dZ": dZ, "dW": dZ @ X.T / 8, "db": dZ.mean(keepdims=True)}
    assert diagnose(model, X, Y, right).first_wrong is None
    wrong = diagnose(model, X, Y, {"dA": rng.normal(size=(1, 8)), **right})
    assert [(f.name, f.causes) for f in wrong.findings if f.verdict == "wrong"] == [("dA", ())]
    wrong = diagnose(model, X, Y, right | {"dW": right["dW"] * np.nan})
    assert wrong.first_wrong.text.startswith("WRONG: it holds NaN")


def test_either_slope_of_relu_at_zero_is_right():
    model, X, Y, _ = problem("relu")
    for p in model.parameters()[:2]:
        p.data = p.data * np.array([[0], [1], [1], [1]])
    s = by_hand(model, X, Y, "relu")
    assert (s["Z1"][0] == 0).all()
    dZ1 = s["dA1"] * (s["Z1"] >= 0)
    result = diagnose(model, X, Y, {"dA1": s["dA1"], "dZ1": dZ1, "dW1": dZ1 @ X.T})
    assert result.first_wrong is None
    assert "dZ1  right, with slope 1 of ReLU where Z is 0 (autodiff takes 0)" in str(result)


def test_a_cost_with_an_l2_penalty_is_recognised_and_m_of_one_claims_nothing():
    model, X, Y, s = problem()
    dW2 = s["dW2"] + 0.3 * model.state_dict()["W2"]
    assert diagnose(model, X, Y, {"dW2": dW2}).first_wrong.causes == ("an L2 term",)
    assert diagnose(model, X[:, :1], Y[:, :1], backward(by_hand(model, X[:, :1], Y[:, :1]))).first_wrong is None


# -- costs with terms in the parameters -------------------------------------------------------------------------------

STRENGTH = 0.7


def penalised(model, terms):
    """The cross-entropy of logits and terms in the model's parameters."""

    def cost(Z, Y):
        return tg.binary_cross_entropy_with_logits(Z, Y) + terms(*model.parameters())

    return cost


def squares(*parameters):
    return STRENGTH / 14 * sum(np.sum(p**2) for p in parameters if p.shape[1] > 1)  # 14 is 2 m


def l2_gradients(s, p):
    """The course's: dW + lambda / m W."""
    return backward(s) | {name: s[name] + STRENGTH / 7 * p[name[1:]] for name in ("dW1", "dW2")}


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("convention", [1, 7])
def test_with_an_l2_penalty_in_the_cost_the_right_gradients_have_its_term(dtype, convention):
    model, X, Y, s = problem()
    if dtype is np.float32:
        model = tg.nn.TwoLayerNetwork(4, 4, rng=1, init=tg.init.xavier, dtype=dtype)
        s = by_hand(model, X, Y)
    model.parameters()[0].grad = np.ones((4, 4), dtype)
    given = l2_gradients(s, model.state_dict())
    given = {k: x * convention if k[:2] in ("dA", "dZ") else x for k, x in given.items() if k not in ("dA2",)}
    result = diagnose(model, X, Y, given, loss=penalised(model, squares))
    assert {f.verdict for f in result.findings} == {"right"}
    assert [p.grad is None for p in model.parameters()] == [False, True, True, True]  # as before
    assert (model.parameters()[0].grad == 1).all()
    for given in (l2_gradients(s, model.state_dict()), {"dW1": l2_gradients(s, model.state_dict())["dW1"]}):
        assert diagnose(model, X, Y, given).first_wrong.causes == ("an L2 term",)  # of the cost without one


def test_a_cost_may_give_its_argument_another_value():
    model, X, Y, _ = problem()

    def cost(Z, Y):
        Z -= Y
        Z *= Z
        return np.sum(Z) / Y.shape[1]

    given = backward(by_hand(model, X, Y)) | {"dZ2": 2 * (model(X).data - Y) / 7}
    assert diagnose(model, X, Y, {"dZ2": given["dZ2"]}, loss=cost).first_wrong is None
    assert diagnose(model, X, Y, {"dZ2": given["dZ2"] / 2}, loss=cost).first_wrong.name == "dZ2"


PENALTIES = {
    "a term of the cost is missing": ("dW1", lambda s, p: s["dW1"]),
    "a term of the cost is missing ": ("dW2", lambda s, p: s["dW2"]),
    "another factor of the L2 term": ("dW1", lambda s, p: s["dW1"] + STRENGTH * p["W1"]),
    "another factor of the L2 term ": ("dW2", lambda s, p: s["dW2"] + 2 * STRENGTH / 7 * p["W2"]),
    "another factor of the L2 term  ": ("dW2", lambda s, p: s["dW2"] - STRENGTH / 7 * p["W2"]),
    "an L2 term on b": ("db1", lambda s, p: s["db1"] + STRENGTH / 7 * p["b1"]),
    "1/m is missing": ("dW1", lambda s, p: 7 * s["dW1"] + STRENGTH / 7 * p["W1"]),
    "1/m is missing ": ("dW1", lambda s, p: 7 * s["dW1"] + STRENGTH * p["W1"]),
    "sign": ("dW2", lambda s, p: -s["dW2"] + STRENGTH / 7 * p["W2"]),
    "Z where A belongs in the product": ("dW2", lambda s, p: s["dZ2"] @ s["Z1"].T + STRENGTH / 7 * p["W2"]),
    "dA where dZ belongs": ("dW1", lambda s, p: s["dA1"] @ problem()[1].T + STRENGTH / 7 * p["W1"]),
}


@pytest.mark.parametrize("title", PENALTIES)
@pytest.mark.parametrize("alone", [False, True])
def test_mistakes_beside_an_l2_penalty_are_named_and_no_others(title, alone):
    model, X, Y, s = problem()
    name, wrong = PENALTIES[title]
    wrong = {name: wrong(s, model.state_dict())}
    given = {k: x for k, x in l2_gradients(s, model.state_dict()).items() if k != "dA2"}
    result = diagnose(model, X, Y, wrong if alone else given | wrong, loss=penalised(model, squares))
    assert result.first_wrong.name == name
    assert result.first_wrong.causes == (title.strip(),)
    assert len([f for f in result.findings if f.verdict == "wrong"]) == 1


def test_gradients_that_are_sums_of_several_paths_are_right_as_sums():
    model, X, Y, s = problem()
    p = model.state_dict()
    on_b = penalised(model, lambda W1, b1, W2, b2: 0.5 * np.sum(b1**2) + np.sum(np.abs(W2)))
    result = diagnose(model, X, Y, {"db1": s["db1"] + p["b1"], "dW2": s["dW2"] + np.sign(p["W2"])}, loss=on_b)
    assert result.first_wrong is None
    forgotten = diagnose(model, X, Y, {"db1": s["db1"], "dW2": s["dW2"]}, loss=on_b)
    assert [(f.verdict, f.causes) for f in forgotten.findings] == 2 * [("wrong", ("a term of the cost is missing",))]

    hidden = penalised(model, lambda W1, b1, *_: 0.1 * np.mean(np.tanh(W1 @ X + b1) ** 2))  # of activations
    right = tg.grad(lambda W1, b1: tg.binary_cross_entropy_with_logits(
        p["W2"] @ np.tanh(W1 @ X + b1) + p["b2"], Y) + 0.1 * np.mean(np.tanh(W1 @ X + b1) ** 2), (0, 1),
    )(p["W1"], p["b1"])  # fmt: skip
    assert diagnose(model, X, Y, {"dW1": right[0], "db1": right[1]}, loss=hidden).first_wrong is None
    assert diagnose(model, X, Y, {"dW1": s["dW1"]}, loss=hidden).first_wrong is not None


def test_a_layer_that_is_used_twice_has_the_sum_of_both_gradients():
    rng = np.random.default_rng(0)
    shared = tg.nn.Linear(3, 3, rng=0)
    model = tg.nn.Sequential(shared, tg.nn.Tanh(), shared, tg.nn.Tanh(), tg.nn.Linear(3, 1, rng=1))
    X, Y = rng.normal(size=(3, 6)), rng.integers(0, 2, size=(1, 6))
    gradients = tg.grad(lambda model: tg.binary_cross_entropy_with_logits(model(X), Y))(model)
    dW = next(x for x in gradients.values() if x.shape == (3, 3))
    assert diagnose(model, X, Y, {"dW1": dW, "dW2": dW}).first_wrong is None
    assert diagnose(model, X, Y, {"dW1": dW / 2}).first_wrong is not None


@pytest.mark.parametrize("epochs", [0, 100])
def test_a_random_number_in_the_place_of_a_gradient_has_no_cause(epochs):
    X, Y = tg.datasets.planar_flower()
    model = tg.nn.TwoLayerNetwork(2, 4, rng=3)
    if epochs:
        optimizer = tg.optim.SGD(model.parameters(), lr=1.2)
        tg.fit(model, X, Y, loss=tg.binary_cross_entropy_with_logits, optimizer=optimizer, epochs=epochs)
    rng = np.random.default_rng(0)
    for _ in range(50):
        [finding] = [
            f for f in diagnose(model, X, Y, {"db2": 0.1 * rng.standard_normal((1, 1))}).findings if f.name == "db2"
        ]
        assert finding.causes == ()


def test_several_causes_that_fit_are_all_named():
    """With two examples and one unit, some mistakes give the same numbers: it does not choose."""
    model, X, Y, s = problem(n_x=1, n_h=1, m=2)
    both = diagnose(model, X, Y, {"dW2": s["dZ2"] @ s["A1"].T * 2, "dZ2": s["dZ2"]}).first_wrong
    assert both.causes == ("1/m is missing",)
    X1, Y1 = X[:, :1], Y[:, :1]
    s = by_hand(model, X1, Y1)
    # of one example, db is dZ: a flipped error and a flipped sum cannot be told apart
    finding = diagnose(model, X1, Y1, {"db2": -s["db2"]}).first_wrong
    assert "sign" in finding.causes


# -- what it does not know --------------------------------------------------------------------------------------------


def test_what_fits_nothing_is_said_with_norms_and_the_worst_index():
    model, X, Y, s = problem()
    wrong = s["dW1"].copy()
    wrong[2, 3] += 5
    finding = diagnose(model, X, Y, backward(s) | {"dW1": wrong}).first_wrong
    assert (finding.name, finding.causes, finding.worst) == ("dW1", (), (2, 3))
    assert finding.got_norm == pytest.approx(np.linalg.norm(wrong))
    assert finding.expected_norm == pytest.approx(np.linalg.norm(s["dW1"]))
    assert finding.text.startswith("WRONG: no cause that is known here fits\n|yours| = ")
    assert f"farthest apart at [2, 3]: {wrong[2, 3]:.7g} for {s['dW1'][2, 3]:.7g}" in finding.text


def test_random_numbers_fit_nothing():
    model, X, Y, s = problem()
    rng = np.random.default_rng(3)
    for name, x in backward(s).items():
        assert diagnose(model, X, Y, {name: rng.normal(size=x.shape)}).first_wrong.causes == ()


def test_a_wrong_shape_and_a_nan_are_said():
    model, X, Y, s = problem()
    finding = diagnose(model, X, Y, {"dW1": np.ones((3, 9))}).first_wrong
    assert "no cause that is known here fits; shape (3, 9), expected (4, 4)" in finding.text
    finding = diagnose(model, X, Y, {"dW1": s["dW1"] * np.nan}).first_wrong
    assert finding.text.startswith("WRONG: it holds NaN or infinities")


# -- a teacher's own cause --------------------------------------------------------------------------------------------


def test_a_teacher_adds_a_cause():
    @cause("X for A1", "dW")
    def x_for_a(step):
        """The second layer's input is A1,
        not X."""
        return step.dZ @ np.ones((4, 7)).T if step.layer == "2" else None

    try:
        model, X, Y, s = problem()
        finding = diagnose(model, X, Y, {"dW2": s["dZ2"] @ np.ones((4, 7)).T}).first_wrong
        assert finding.causes == ("X for A1",)
        assert "WRONG: X for A1\nThe second layer's input is A1, not X.\n" in finding.text
    finally:
        del causes["X for A1"]


@pytest.mark.parametrize("title", causes)
def test_an_explanation_is_a_sentence_that_does_not_begin_with_a_name_in_another_case(title):
    text = causes[title].explanation
    assert text[0].isupper()
    assert text.endswith(".")
    # the course's b, m, n, dZ, dW, dA and db, alpha and lambda have no capitals at their first letters
    assert not re.match(r"([BMN]|D[A-Za-z]\d*|Alpha|Lambda|Np)\b", text)


@pytest.mark.parametrize(
    ("kinds", "doc", "text"),
    [("dX", "why", "kinds must be some of 'dA dZ dW db Z A', got 'dX'"), ("dW", "", "'mine' needs a docstring")],
)
def test_a_cause_that_cannot_be_used_is_refused(kinds, doc, text):
    def mistake(step):
        return step.expected

    mistake.__doc__ = doc
    with pytest.raises(ValueError, match=text):
        cause("mine", kinds)(mistake)
    assert "mine" not in causes


# -- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda m, X, Y: diagnose(m, X, Y, {"dW3": X}), ValueError, "dW3 is none of this model's gradients: dA2, dZ2,"),
        (lambda m, X, Y: diagnose(m, X, Y, {"W1": X}), ValueError, r"W1 is none of .* Did you mean dW1\?"),
        (lambda m, X, Y: diagnose(m, X, Y, {"dW1": X, "dw1": X}), ValueError, "dW1 was given twice, once as dw1"),
        (lambda m, X, Y: diagnose(m, X, Y, {}), ValueError, "no arrays were given; expected some of dA2, dZ2, dW2"),
        (lambda m, X, Y: diagnose(m, X, Y, {"dW1": "a"}), TypeError, "dW1 has dtype <U1, and is not numeric"),
        (lambda m, X, Y: diagnose(m, X.T, Y, {"dW1": X}), ValueError, "Did you pass X transposed"),
        (lambda m, X, Y: diagnose(m, X, Y.T, {"dW1": X}), ValueError, "Did you forget a transpose"),
        (lambda m, X, Y: diagnose(m, X, Y + 1, {"dW1": X}), ValueError, "Y holds labels from 1 to 2"),
        (lambda m, X, Y: diagnose(m.layers[0], X, Y, {"dW1": X}), TypeError, "expected a Sequential of Linear layers"),
        (
            lambda m, X, Y: diagnose(tg.nn.Sequential(*m.layers, tg.nn.Tanh()), X, Y, {"dW1": X}),
            ValueError,
            "ends in tanh, which gives no probabilities .* loss=tg.mean_squared_error",
        ),
        (
            lambda m, X, Y: diagnose(tg.nn.Sequential(*m.layers, tg.nn.Dropout(0.5, rng=0)), X, Y, {"dW1": X}),
            ValueError,
            r"drops out at random. Call model.eval\(\)",
        ),
    ],
)
def test_errors_say_what_is_wrong_with_the_question(call, error, text):
    model, X, Y, _ = problem()
    with pytest.raises(error, match=text):
        call(model, X, Y)


def test_the_derivative_of_an_activation_is_its_rules_in_a_where_the_rule_is_written_so():
    Z, A = np.random.default_rng(0).standard_normal((2, 3, 4))
    np.testing.assert_array_equal(derivative("tanh", Z, A), 1 - A * A)
    np.testing.assert_array_equal(derivative("sigmoid", Z, A), A * (1 - A))
    np.testing.assert_array_equal(derivative("ReLU", Z, A), (Z > 0).astype(float))
