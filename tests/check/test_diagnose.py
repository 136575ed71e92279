"""diagnose: what is right is called right, and what it does not know, it says so."""

import itertools

import numpy as np
import pytest

import tinygrad_dls as tg
from tests.check.gradients_by_hand import LAYERS, PENALTIES, STRENGTH, backward, by_hand, problem
from tinygrad_dls.check import diagnose
from tinygrad_dls.check.causes import derivative

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


# -- costs with terms in the parameters -------------------------------------------------------------------------------


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


def test_a_single_example_is_one_example():
    model, X, Y, s = problem(m=1)
    assert str(diagnose(model, X, Y, backward(s))).startswith("TwoLayerNetwork, 1 example\n")
