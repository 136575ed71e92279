"""A verdict of diagnose is never false: a share of what ``python -m tests.check.verdicts`` counts."""

import numpy as np
import pytest

import tinygrad_dls as tg
from tests.check.backprops import Case, gradients
from tests.check.gradients_by_hand import backward, by_hand, problem, row_sums
from tests.check.verdicts import finding, named, off_by, random_arrays, right_gradients
from tinygrad_dls.check import cause, causes, diagnose


def test_random_arrays_in_the_place_of_a_gradient_have_no_cause():
    for name, result in random_arrays(1, seed=1):
        assert named(name, result) == []
        assert finding(name, result).verdict == "wrong"
        assert [f.name for f in result.findings if f.verdict == "wrong"] == [name]


def test_right_gradients_are_never_called_wrong():
    seen = 0
    for case, result in right_gradients(0.03, seed=1):
        assert {f.verdict for f in result.findings} <= {"right", "unsettled"}, case
        seen += len(result.findings)
    assert seen > 300


def test_arrays_that_are_off_by_one_per_cent_are_not_right():
    for name, result in off_by((0.99,)):
        assert finding(name, result).verdict in ("wrong", "unsettled")


def test_these_checks_can_fail():
    """With a cause that fits everything, random arrays have one; and what is off by 1e-12 is right."""

    @cause("whatever you have", "dA dZ dW db")
    def whatever(step):
        """It is what it is."""
        return step.got

    try:
        assert any(named(name, result) for name, result in random_arrays(1))
    finally:
        del causes["whatever you have"]
    assert all(finding(name, result).verdict == "right" for name, result in off_by((1 + 1e-12,)))


@pytest.mark.parametrize("epochs", [0, 100, 1000])
def test_a_db2_that_is_six_per_cent_off_is_wrong_at_the_docs_own_model(epochs):
    X, Y = tg.datasets.planar_flower()
    model = tg.nn.TwoLayerNetwork(2, 4, rng=3)
    if epochs:
        optimizer = tg.optim.SGD(model.parameters(), lr=1.2)
        tg.fit(model, X, Y, loss=tg.binary_cross_entropy_with_logits, optimizer=optimizer, epochs=epochs)
    s = by_hand(model, X, Y)
    for name in ("db1", "db2"):
        for given in ({name: 1.06 * s[name]}, backward(s) | {name: 1.06 * s[name]}):
            alone = (
                name == "db2" and len(given) == 1
            )  # a number that float32 may round to, but the others are of float64
            assert finding(name, diagnose(model, X, Y, given)).verdict in ("wrong", "unsettled" if alone else "wrong")


def test_what_float32_cannot_tell_is_neither_right_nor_wrong():
    """The sum of terms of 0.5 is 1e-9: in float32 it may as well be 2.3e-9."""
    X, Y = np.zeros((2, 4)), np.array([[0, 1, 0, 1]])
    model = tg.nn.LogisticRegression(2)
    model.layers[0].b.data = np.array([[4e-9]])
    result = diagnose(model, X, Y, {"db": np.array([[2.3e-9]], np.float32)})
    assert result.findings[0].verdict == "unsettled"
    assert str(result).splitlines()[1].startswith("  db  unsettled: its terms cancel, and float32 rounds by as much")
    assert str(result).endswith("None of these is wrong, but db cannot be told from rounding.")
    assert result.first_wrong is None
    assert diagnose(model, X, Y, {"db": np.array([[2.3e-9]])}).findings[0].verdict == "unsettled"
    assert diagnose(model, X, Y, {"db": np.array([[3e-6]])}).findings[0].verdict == "wrong"


# -- what follows from an earlier slip --------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [2, 0.5, 1 / 3])
@pytest.mark.parametrize("course", [True, False])
def test_a_factor_in_the_last_dz_is_said_once(factor, course):
    case = Case((4, 5, 3, 1), ("relu", "tanh"), m=30, course=course)
    model, X, Y, _, _ = case.build()
    s = {k: x * factor if k[0] == "d" else x for k, x in case.backprop(model, X, Y, {}).items() if k != "dA3"}
    result = diagnose(model, X, Y, gradients(s))
    assert [(f.name, f.causes) for f in result.findings if f.verdict == "wrong"] == [("dZ3", ("a constant factor",))]
    assert f"a constant factor, {factor:.6g}" in result.first_wrong.text
    only = diagnose(model, X, Y, {k: x for k, x in s.items() if k[:2] in ("dW", "db")})
    assert [(f.name, f.causes, f.where) for f in only.findings if f.verdict == "wrong"] == [
        ("dW3", ("a constant factor",), "dZ3")
    ]
    assert {f.text for f in only.findings[1:]} == {"follows: right for the same mistake in dZ3"}


def test_one_over_m_that_is_missing_or_twice_everywhere_is_said_once():
    model, X, Y, s = problem()
    for factor, title in ((7, "1/m is missing"), (1 / 7, "1/m twice")):
        given = {k: x * factor for k, x in s.items() if k[:2] in ("dW", "db")}
        result = diagnose(model, X, Y, given)
        assert [(f.name, f.causes) for f in result.findings if f.verdict == "wrong"] == [("dW2", (title,))]


def test_a_factor_of_one_array_stays_with_it():
    model, X, Y, s = problem()
    given = {k: x for k, x in s.items() if k[:2] in ("dW", "db")} | {"dW2": 2 * s["dW2"]}
    result = diagnose(model, X, Y, given)
    assert [(f.name, f.causes, f.where) for f in result.findings if f.verdict == "wrong"] == [
        ("dW2", ("a constant factor",), "dW2")
    ]


def test_a_single_number_names_no_earlier_step_that_another_array_denies():
    """db2 is that of a flipped dZ2, and dW2 is right: so the slip is not in dZ2."""
    model, X, Y, s = problem()
    alone = diagnose(model, X, Y, {"db2": row_sums(s["dA2"] * s["A2"] ** 2)})
    title = ("the derivative of another activation",)

    @cause("a test's own slip", "dZ")
    def slip(step):
        """It is for a test."""
        return step.expected * step.A * 3 if step.last else None

    try:
        db2 = row_sums(s["dZ2"] * s["A2"] * 3)
        assert diagnose(model, X, Y, {"db2": db2}).first_wrong.where == "dZ2"
        for dW2 in (s["dW2"], s["dW2"] + np.arange(4.0)):
            found = finding("db2", diagnose(model, X, Y, {"db2": db2, "dW2": dW2}))
            assert (found.verdict, found.causes) == ("wrong", ())
    finally:
        del causes["a test's own slip"]
    assert alone.first_wrong.causes != title


# -- another question -------------------------------------------------------------------------------------------------


def logistic_or_network(depth, seed=0):
    sizes = {1: ((6, 1), ()), 2: ((4, 5, 1), ("tanh",)), 3: ((4, 6, 5, 1), ("relu", "relu"))}[depth]
    case = Case(*sizes, m=60, seed=seed)
    return case, *case.build()[:3]


def of_parameters(s):
    return {k: x for k, x in s.items() if k[:2] in ("dW", "db")}


def descended(case, model, s, alpha):
    for n, layer in zip(case.numbers, model.layers[::2], strict=True):
        layer.W.data, layer.b.data = layer.W.data - alpha * s[f"dW{n}"], layer.b.data - alpha * s[f"db{n}"]


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("alpha", [0.0075, 0.1, 1.2])
@pytest.mark.parametrize("which", ["before", "after"])
def test_gradients_on_the_other_side_of_an_update_are_recognised(depth, alpha, which):
    case, model, X, Y = logistic_or_network(depth)
    first = model.state_dict()
    s = case.backprop(model, X, Y, {})
    descended(case, model, s, alpha)
    if which == "after":
        s = case.backprop(model, X, Y, {})
        model.load_state_dict(first)
    for given in (of_parameters(s), gradients(s)):
        result = diagnose(model, X, Y, given)
        assert result.first_wrong.causes == ("an update applied before the gradient",)
        assert f"a learning rate of about {alpha:.3g}" in " ".join(result.first_wrong.text.split())
        assert [f.verdict for f in result.findings].count("wrong") == 1
    for p in model.parameters():
        p.data = p.data.copy()  # the model is as before
    assert which == "before" or all(np.array_equal(first[k], x) for k, x in model.state_dict().items())


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("batch", [(0, 16), (16, 32), (48, 60), (0, 59)])
def test_gradients_of_a_mini_batch_are_recognised(depth, batch):
    case, model, X, Y = logistic_or_network(depth)
    some = slice(*batch)
    s = case.backprop(model, X[:, some], Y[:, some], {})
    for given in (of_parameters(s), gradients(s)):
        result = diagnose(model, X, Y, given)
        assert result.first_wrong.causes == ("some of the examples only",)
        text = f"right for the examples {batch[0]} to {batch[1] - 1} alone, a mini-batch of {batch[1] - batch[0]}."
        assert text in " ".join(result.first_wrong.text.split())


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("what", ["another seed", "other examples", "shuffled labels", "ten steps on"])
def test_gradients_of_another_question_have_no_cause_and_it_is_said(depth, what):
    case, model, X, Y = logistic_or_network(depth)
    other = logistic_or_network(depth, seed=8)[1] if what == "another seed" else model
    first = model.state_dict()
    for _ in range(10 * (what == "ten steps on")):
        descended(case, model, case.backprop(model, X, Y, {}), 0.5)
    rng = np.random.default_rng(0)
    order = rng.permutation(60)
    X2 = X[:, order] + 0.1 if what == "other examples" else X
    s = case.backprop(other, X2, Y[:, order] if what == "shuffled labels" else Y, {})
    model.load_state_dict(first)
    for given in (of_parameters(s), gradients(s)):
        result = diagnose(model, X, Y, given)
        assert [named(f.name, result) for f in result.findings if f.verdict == "wrong" and f.causes] == []
        assert result.first_wrong is not None
        assert "as if these gradients were computed with other parameters or data" in result.hint


def test_a_single_entry_that_is_off_is_no_other_question():
    model, X, Y, s = problem()
    dW1 = s["dW1"].copy()
    dW1[0, 0] += 1
    assert "other parameters" not in diagnose(model, X, Y, {"dW1": dW1}).hint


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_labels_as_a_column_are_said_and_nothing_else(depth):
    case, model, X, Y = logistic_or_network(depth)
    s, n, m = case.backprop(model, X, Y, {}), case.numbers[-1], X.shape[1]
    dZ = s[f"A{n}"] - Y.T
    below = X if depth == 1 else s[f"A{case.numbers[-2]}"]
    given = {f"dZ{n}": dZ, f"dW{n}": dZ @ below.T / m, f"db{n}": dZ.sum(axis=1, keepdims=True) / m}
    ways = [given, of_parameters(given), given | {f"db{n}": np.sum(dZ) / m}]
    if depth == 1:
        ways += [{"dw": X @ dZ.T / m, "db": np.sum(dZ) / m}]
    for arrays in ways:
        result = diagnose(model, X, Y, arrays)
        wrong = [f for f in result.findings if f.verdict == "wrong"]
        assert [f.causes for f in wrong] == [("labels of shape (m, 1)",)]
        assert "Y must be (1, m)" in " ".join(wrong[0].text.split())


# -- float16 forward, and labels of integers ---------------------------------------------------------------------------


def of_half_a_forward_pass(slip=lambda dZ: dZ, labels=int):
    """Gradients of float64 (float32), as A - Y is of that, behind a forward pass in float16; and what goes into it."""
    X, Y = tg.datasets.planar_flower()
    model = tg.nn.TwoLayerNetwork(2, 4, rng=0)
    tg.fit(
        model, X, Y, loss=tg.binary_cross_entropy_with_logits, optimizer=tg.optim.SGD(model.parameters(), lr=1.2),
        epochs=100, progress=False,
    )  # fmt: skip
    W1, b1, W2, b2 = (p.data.astype(np.float16) for p in model.parameters())
    A1 = np.tanh(W1 @ X.astype(np.float16) + b1)
    A2 = 1 / (1 + np.exp(-(W2 @ A1 + b2)))
    dZ2 = slip(A2 - Y.astype(labels))
    dZ1 = W2.T @ dZ2 * (1 - A1**2)
    dW2, dW1 = dZ2 @ A1.T / 400, dZ1 @ X.astype(np.float16).T / 400
    return model, X, Y, {"dZ2": dZ2, "dW2": dW2, "dZ1": dZ1, "dW1": dW1}, {"A1": A1, "A2": A2}


@pytest.mark.parametrize("labels", [int, np.float16, np.float32, float])
def test_a_right_program_with_a_forward_pass_in_float16_is_not_called_wrong(labels):
    model, X, Y, given, cache = of_half_a_forward_pass(labels=labels)
    weights = {name: given[name] for name in ("dW1", "dW2")}
    for shows in ({}, {"cache": cache}):
        result = diagnose(model, X, Y, given, **shows)
        assert {f.verdict for f in result.findings} <= {"right", "unsettled"}, result
    assert "right, to float16's three digits" in str(result) or labels is np.float16
    assert diagnose(model, X.astype(np.float16), Y, weights).first_wrong is None
    assert diagnose(model, X, Y, weights).first_wrong is None  # where nothing shows the float16


@pytest.mark.parametrize("labels", [int, np.float32])
def test_an_x_of_float16_alone_is_no_mistake(labels):
    """At weights of zero, A is exact in float16, and X is all that is rounded."""
    X, Y = tg.datasets.planar_flower()
    dZ = np.full((1, 400), 0.5, np.float16) - Y.astype(labels)
    result = diagnose(tg.nn.LogisticRegression(2), X, Y, {"dZ": dZ, "dW": dZ @ X.astype(np.float16).T / 400})
    assert {f.verdict for f in result.findings} == {"right"}


def test_a_mistake_of_two_percent_is_no_rounding_of_float16():
    model, X, Y, given, _ = of_half_a_forward_pass()
    off = {name: 1.02 * given[name] for name in ("dW1", "dW2")}
    assert diagnose(model, X, Y, off).first_wrong is not None


def test_a_mistake_behind_a_forward_pass_in_float16_is_named():
    model, X, Y, given, cache = of_half_a_forward_pass(slip=lambda dZ: -dZ)
    assert diagnose(model, X, Y, given, cache=cache).first_wrong.causes == ("Y - A for A - Y",)


def test_three_digits_are_not_enough_beside_arrays_of_float64():
    model, X, Y, given, _ = of_half_a_forward_pass()
    right = backward(by_hand(model, X, Y))
    given = right | {"dW1": given["dW1"]}
    assert finding("dW1", diagnose(model, X, Y, given)).verdict == "wrong"
