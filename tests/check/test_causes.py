"""diagnose: every known mistake, planted, is named, and none of the others."""

import re

import numpy as np
import pytest

import tinygrad_dls as tg
from examples.hand_derived import ACTIVATIONS, sigmoid
from tests.check.gradients_by_hand import LAYERS, OF_REGULARISED, PENALTIES, backward, by_hand, problem, row_sums
from tests.check.learners import MISTAKES, says_true
from tinygrad_dls.check import cause, causes, diagnose

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
    "a constant factor": ("tanh", "dW1", lambda s, p, X, Y: s["dZ1"] @ X.T * 1.5),
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


def test_every_cause_is_planted_and_named():
    named = set()
    for title in MISTAKES:
        result = says_true(title, trained=True, everything=True)
        named |= {c for f in (result.findings if result else ()) if f.verdict == "wrong" for c in f.causes}
    planted = {title.strip() for title in [*PLANTED, *PENALTIES]} | OF_REGULARISED
    assert not set(causes) - planted - named


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


# -- what explains several arrays at once, and what takes two mistakes ------------------------------------------------


def three_layers(seed=4):
    """A network of two hidden layers of ReLU, its data, and its gradients by hand, with mistakes where asked."""
    rng = np.random.default_rng(seed)
    linear = [tg.nn.Linear(n, n_out, rng=k) for k, (n, n_out) in enumerate([(3, 5), (5, 4), (4, 1)])]
    model = tg.nn.Sequential(linear[0], tg.nn.ReLU(), linear[1], tg.nn.ReLU(), linear[2])
    X, Y = rng.normal(size=(3, 20)), rng.integers(0, 2, size=(1, 20))

    def backprop(rate=0.0, gate=True, loss=lambda A: A - Y, epsilon=None):
        W, b = [layer.W.data for layer in linear], [layer.b.data for layer in linear]
        A, Z = [X], []
        for k in range(3):
            Z.append(W[k] @ A[-1] + b[k])
            A.append(np.maximum(Z[-1], 0) if k < 2 else sigmoid(Z[-1]))
        dZ = loss(A[3])
        s = {}
        if epsilon is not None:
            s["dA3"] = -Y / (A[3] + epsilon) + (1 - Y) / (1 - A[3] + epsilon)
            dZ = s["dA3"] * A[3] * (1 - A[3])
        for k in (2, 1, 0):
            s |= {f"dZ{k + 1}": dZ, f"dW{k + 1}": dZ @ A[k].T / 20, f"db{k + 1}": row_sums(dZ) / 20}
            dA = (W[k] - rate * s[f"dW{k + 1}"] if k == 2 else W[k]).T @ dZ
            dZ = dA * (Z[k - 1] > 0) if gate else dA
        return s

    return model, X, Y, backprop


def of_parameters(s):
    return {name: x for name, x in s.items() if name[:2] in ("dW", "db")}


@pytest.mark.parametrize("rate", [0.5, -0.5])
def test_an_update_applied_too_early_is_said_once_and_the_layers_below_follow(rate):
    model, X, Y, backprop = three_layers()
    result = diagnose(model, X, Y, of_parameters(backprop(rate)))
    [finding] = [f for f in result.findings if f.verdict == "wrong"]
    assert (finding.name, finding.where) == ("dW2", "dA2")
    assert finding.causes == ("an update applied before the gradient",)
    assert [f.name for f in result.findings if f.verdict == "follows"] == ["db2", "dW1", "db1"]


def test_a_gate_that_is_missing_is_said_of_each_layer_and_not_of_each_array():
    model, X, Y, backprop = three_layers()
    result = diagnose(model, X, Y, of_parameters(backprop(gate=False)))
    found = {f.name: (f.causes, f.where) for f in result.findings if f.verdict == "wrong"}
    assert found == {f"dW{n}": (("dA where dZ belongs",), f"dZ{n}") for n in (2, 1)}


def test_a_flipped_error_is_said_once_of_the_last_dz_if_all_layers_follow():
    model, X, Y, backprop = three_layers()
    result = diagnose(model, X, Y, of_parameters(backprop(loss=lambda A: Y - A)))
    [finding] = [f for f in result.findings if f.verdict == "wrong"]
    assert (finding.name, finding.where, finding.causes) == ("dW3", "dZ3", ("Y - A for A - Y",))


def test_labels_of_other_examples_are_counted():
    model, X, Y, backprop = three_layers()
    s = backprop(loss=lambda A: A - np.roll(Y, 1))
    finding = diagnose(model, X, Y, s).first_wrong
    others = int(np.sum(np.roll(Y, 1) != Y))
    assert (finding.name, finding.causes) == ("dZ3", ("other labels",))
    assert f"other labels (of {others} of the 20 examples)" in finding.text


@pytest.mark.parametrize(("epsilon", "everything"), [(1e-8, True), (1e-8, False), (1e-6, True), (1e-6, False)])
def test_a_small_number_in_the_divisions_of_the_last_da_is_right_and_said(epsilon, everything):
    model, X, Y, backprop = three_layers()
    s = backprop(epsilon=epsilon)
    result = diagnose(model, X, Y, s if everything else of_parameters(s), cache={"A3": sigmoid(model(X).data)})
    assert result.first_wrong is None
    assert f"right, up to an epsilon of {epsilon:g} in its divisions" in str(result)
    s["dW1"] = s["dW1"] * (1 + 1e-4)
    assert diagnose(model, X, Y, s).first_wrong.name == "dW1"


@pytest.mark.parametrize(
    ("name", "mistake", "said"),
    [
        ("db1", lambda s, X: s["dZ1"].sum(axis=1) * 7, "keepdims=True is missing; and 1/m is missing"),
        ("db1", lambda s, X: s["dZ1"].sum(axis=1) / 7, "keepdims=True is missing; and 1/m twice"),
        ("dW1", lambda s, X: X @ s["dZ1"].T * 7, "a transpose is missing; and 1/m is missing"),
        ("dW1", lambda s, X: -s["dA1"] @ X.T, "dA where dZ belongs; and sign"),
    ],
)
def test_two_mistakes_in_one_array_are_named_together(name, mistake, said):
    model, X, Y, s = problem()
    finding = diagnose(model, X, Y, backward(s) | {name: mistake(s, X)}).first_wrong
    assert finding.name == name
    assert finding.text.startswith(f"WRONG: {said}")
    assert finding.causes == tuple(said.split("; and "))


def test_a_factor_of_one_number_is_told_by_the_array_beside_it():
    model, X, Y, s = problem()
    both = diagnose(model, X, Y, backward(s) | {"dW2": 3 * s["dW2"], "db2": 3 * s["db2"]})
    assert {f.name: f.causes for f in both.findings if f.verdict == "wrong"} == {
        "dW2": ("a constant factor",), "db2": ("a constant factor",),
    }  # fmt: skip
    assert diagnose(model, X, Y, backward(s) | {"db2": 3 * s["db2"]}).first_wrong.causes == ()


def test_of_causes_that_are_nearly_alike_the_one_that_fits_to_the_last_digit_is_named():
    model, X, Y, _ = problem()
    W1, b1, W2, b2 = model.parameters()
    W2.data, b2.data = 5e-4 * W2.data, 0 * b2.data  # so that tanh(Z2) is Z2 to some nine digits
    Z2 = W2.data @ np.tanh(W1.data @ X + b1.data)
    for A, title in ((np.tanh(Z2), "another activation"), (Z2, "the activation is missing")):
        assert diagnose(model, X, Y, {"dZ2": A - Y}).first_wrong.causes == (title,)


@pytest.mark.parametrize("factor", [2.0, 0.3])
def test_where_every_output_is_the_same_a_mere_factor_has_no_cause(factor):
    _, X, Y, _ = problem()
    logistic = tg.nn.LogisticRegression(4)
    dZ = factor * (0.5 - Y)
    finding = diagnose(logistic, X, Y, {"dZ": dZ, "dW": dZ @ X.T / 7}).first_wrong
    # 2 (A - Y) is what (A - Y) / (1 - A) comes to, and others; nothing that is known comes to 0.3 (A - Y)
    assert finding.causes == (() if factor == 2 else ("a constant factor",))


# -- what broadcasts in silence, where n is m --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("slip", "said"),
    [
        (lambda W, X, b: W @ X + b[:, 0], "b is (n,), not (n, 1), and goes along the examples"),
        (lambda W, X, b: W @ X.T + b, "a transpose is missing"),
    ],
)
def test_as_many_units_or_features_as_examples_hide_no_wrong_shape(slip, said):
    rng = np.random.default_rng(0)
    model = tg.nn.TwoLayerNetwork(4, 4, rng=0)
    W1, b1, _, _ = (p.data for p in model.parameters())
    b1[...] = rng.normal(size=(4, 1))
    X, Y = rng.normal(size=(4, 4)), np.array([[0, 1, 1, 0]])
    result = diagnose(model, X, Y, {"dW1": np.ones((4, 4))}, cache={"Z1": slip(W1, X, b1)})
    assert said in result.first_wrong.text
    assert diagnose(model, X, Y, {"dW1": np.ones((4, 4))}, cache={"Z1": W1 @ X + b1}).findings[0].verdict == "right"


def test_one_hot_labels_on_the_wrong_axis_are_named_where_there_are_as_many_classes_as_examples():
    model = tg.nn.Sequential(tg.nn.Linear(2, 4, rng=0))
    X, Y = np.random.default_rng(0).normal(size=(2, 4)), np.eye(4)[[1, 2, 3, 0]]
    dZ = tg.softmax(model(X)).data - Y.T
    finding = diagnose(model, X, Y, {"dZ": dZ, "dW": dZ @ X.T / 4}).first_wrong
    assert (finding.name, finding.causes) == ("dZ", ("other labels",))
    assert "Y.T for Y" in finding.text


# -- with a number that the person chose ------------------------------------------------------------------------------


def test_smoothed_labels_and_clipped_gradients_are_named_with_their_numbers():
    X, Y = tg.datasets.planar_flower()
    model = tg.nn.LogisticRegression(2)
    model.layers[0].W.data = np.array([[0.3, -0.2]])
    dZ = model.predict_proba(X) - Y
    smoothed = diagnose(model, X, Y, {"dZ": model.predict_proba(X) - (0.9 * Y + 0.05)}).first_wrong
    assert smoothed.causes == ("other labels",)
    assert "smoothed by 0.1" in smoothed.text
    clipped = diagnose(model, X, Y, {"dZ": np.clip(dZ, -0.4, 0.4)}).first_wrong
    assert clipped.causes == ("clipped",)
    assert "clipped (at 0.4" in clipped.text or "clipped (at 0.001)" in clipped.text
