"""Costs: their values and gradients, what they accept as labels, and what they say about the rest."""

import re
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_dls as tg
from tests.support.numerical import assert_gradients, assert_second_derivatives
from tinygrad_dls import symbolic
from tinygrad_dls.nn import labels as label_checks
from tinygrad_dls.nn import losses

RNG = np.random.default_rng(3)
PROBABILITIES, LABELS = RNG.uniform(0.05, 0.95, (2, 5)), RNG.integers(0, 2, (2, 5)).astype(float)
COLUMNS = RNG.dirichlet(np.ones(3), size=4).T
CASES = {
    "binary_cross_entropy": (tg.binary_cross_entropy, PROBABILITIES, LABELS),
    "binary_cross_entropy of soft labels": (tg.binary_cross_entropy, PROBABILITIES, RNG.uniform(size=(2, 5))),
    "binary_cross_entropy_with_logits": (tg.binary_cross_entropy_with_logits, RNG.normal(size=(2, 5)), LABELS),
    "softmax_cross_entropy": (tg.softmax_cross_entropy, RNG.normal(size=(3, 4)), COLUMNS),
    "mean_squared_error": (tg.mean_squared_error, RNG.normal(size=(2, 5)), RNG.normal(size=(2, 5))),
    "binary_cross_entropy of one example": (tg.binary_cross_entropy, np.array(0.3), np.array(1.0)),
}
BINARY = [tg.binary_cross_entropy, tg.binary_cross_entropy_with_logits]


@pytest.mark.parametrize("name", CASES)
def test_gradient_and_second_derivative(name):
    loss, A, Y = CASES[name]
    assert_gradients(lambda a: loss(a, Y), A)
    assert_second_derivatives(lambda a: loss(a, Y), A)


@pytest.mark.parametrize("rule", ["binary_cross_entropy", "binary_cross_entropy_with_logits", "mean_squared_error"])
def test_gradient_with_respect_to_the_labels(rule):
    assert_gradients(getattr(losses, f"_{rule}"), PROBABILITIES, LABELS * 0.8 + 0.1)


def test_softmax_gradient_with_respect_to_the_labels():
    """Along directions that keep the columns' sums, where the rule's -log A is the slope."""
    Z, (Y, step) = RNG.normal(size=(3, 4)), (COLUMNS, np.array([[1e-3], [-1e-3], [0]]))
    y = tg.Tensor(Y, requires_grad=True)
    losses._softmax_cross_entropy(Z, y).backward()
    rise = losses._softmax_cross_entropy(Z, Y + step) - losses._softmax_cross_entropy(Z, Y)
    assert np.sum(y.grad * step) == pytest.approx(rise, rel=1e-10)  # linear in Y: only rounding remains


logits = st.lists(st.floats(-30, 30), min_size=1, max_size=20)


@given(logits, st.randoms(use_true_random=False))
def test_fused_equals_composed(z, random):
    Z = np.array([z])
    Y = np.array([[random.randint(0, 1) for _ in z]])
    fused = tg.binary_cross_entropy_with_logits(Z, Y)
    # an a near 1 has an error of 2e-16, and log(1 - a) one of 2e-16 / (1 - a), which is 2e-16 e^z
    lost = 3e-16 * np.exp(np.abs(Z)).max()
    assert fused == pytest.approx(tg.binary_cross_entropy(tg.sigmoid(Z), Y), rel=1e-13, abs=lost)


@pytest.mark.parametrize("loss", ["binary_cross_entropy_with_logits", "softmax_cross_entropy"])
def test_what_a_loss_says_it_is_composed_of_is_the_same_cost(loss):
    fused, Y = getattr(losses, f"_{loss}"), COLUMNS if loss == "softmax_cross_entropy" else LABELS
    Z = RNG.normal(size=Y.shape)
    assert fused.loss.composed(Z, Y) == pytest.approx(fused(Z, Y), rel=1e-14)  # sums of a few terms of order 1


@pytest.mark.parametrize(
    ("loss", "a"),
    [
        ("binary_cross_entropy", [[1e-4], [0.25]]),
        ("mean_squared_error", [[5], [5]]),
        ("softmax_cross_entropy", [[-15], [15]]),
    ],
)
def test_the_sums_of_half_precision_are_taken_in_single(loss, a):
    """The losses of 8000 examples sum to more than 65504, beyond which half precision is infinite."""
    m, cost = 8000, getattr(tg, loss)
    A = np.repeat(np.array(a, np.float16), m, axis=1)
    Y = np.repeat(np.array([[1], [0]], np.float16), m, axis=1)
    J, expected = cost(A, Y), cost(A.astype(float), Y.astype(float))
    assert J.dtype == np.float16
    assert pytest.approx(float(expected), rel=2**-11) == J  # rounded once


def test_with_logits_is_exact_everywhere():
    """-log sigmoid(z) = log(1 + e^-z), to the last digits, where the composed form saturates."""
    for z, exact in [(1000.0, 0.0), (-1000.0, 1000.0), (40.0, np.exp(-40.0)), (-40.0, 40.0), (0.0, np.log(2))]:
        Z = tg.Tensor([[z]], requires_grad=True)
        J = tg.binary_cross_entropy_with_logits(Z, [[1]])
        assert J.item() == pytest.approx(exact, rel=1e-15)
        J.backward()
        assert Z.grad[0, 0] == pytest.approx(0 if z == 1000 else -1 / (1 + np.exp(z)) if z < 700 else 0, abs=2e-16)


def test_finite_logits_beside_an_infinite_one_cost_what_they_cost_alone():
    Z, Y = np.array([[-0.5, 0.5, -3.0, 0.0]]), np.array([[0.0, 1.0, 0.3, 1.0]])
    alone = tg.binary_cross_entropy_with_logits(Z, Y) * 4
    with np.errstate(invalid="ignore"):
        beside = tg.binary_cross_entropy_with_logits(np.append(Z, [[np.inf]], axis=1), np.append(Y, [[1.0]], axis=1))
    assert beside * 5 == pytest.approx(alone, rel=1e-14)  # sums of four terms of order 1


def test_softmax_equals_binary_for_two_classes():
    z, Y = RNG.normal(size=(1, 9)), RNG.integers(0, 2, (1, 9))
    two = np.concatenate([np.zeros((1, 9)), z])
    assert tg.softmax_cross_entropy(two, Y) == pytest.approx(tg.binary_cross_entropy_with_logits(z, Y), rel=1e-14)
    far = tg.softmax_cross_entropy(np.array([[1000.0], [-1000.0]]), [[1]])
    assert far == 2000


@pytest.mark.parametrize("loss", BINARY)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("labels", [np.int64, np.uint8, bool, np.float64, np.float32])
def test_the_cost_has_the_dtype_of_the_output_whatever_the_labels(loss, dtype, labels):
    A = tg.Tensor(PROBABILITIES.astype(dtype), requires_grad=True)
    J = loss(A, LABELS.astype(labels))
    J.backward()
    assert J.dtype == A.grad.dtype == dtype


def test_a_saturated_prediction_stays_finite_and_right():
    A = tg.Tensor([[1.0, 0.0, 1.0, 0.0]], requires_grad=True)
    J = tg.binary_cross_entropy(A, [[1, 0, 0, 1]])
    J.backward()
    assert np.isfinite(J.item())
    assert np.isfinite(A.grad).all()
    assert tg.binary_cross_entropy(np.array([[1.0, 0.0]]), [[1, 0]]) == pytest.approx(0, abs=2e-16)


# -- labels -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", BINARY)
@pytest.mark.parametrize(
    ("Y", "text"),
    [
        (np.ones(5), "Y is (5,), but {} is (1, 5); expected Y to be (1, 5), one column per example. "
         "Write Y.reshape(1, -1): examples are columns."),
        (np.ones((5, 1)), "Y is (5, 1), but {} is (1, 5); expected Y to be (1, 5), one column per example. "
         "Did you forget a transpose? Write Y.T: {} - Y would silently become (5, 5)."),
        (np.ones((1, 4)), "Do X and Y hold the same examples?"),
        (np.ones(4), "Do X and Y hold the same examples?"),
        (np.ones((3, 4)), "Do X and Y hold the same examples?"),
        (np.ones((3, 6)), "Do X and Y hold the same examples?"),
        (np.ones((7, 5)), "For one-hot columns, the last layer needs one row per class, and softmax_cross_entropy."),
        (np.ones((2, 5, 1)), "Do X and Y hold the same examples?"),
        (np.ones((3, 5)), "For one-hot columns, the last layer needs one row per class, and softmax_cross_entropy."),
        (1.0, "Y is (), but {} is (1, 5)"),
        ([[0, 1, 2, 1, 0]], "Y holds labels from 0 to 2; expected 0 and 1 (or probabilities between). "
         "For several classes use softmax_cross_entropy"),
        ([[0, 0.5, 1, -0.5, 1]], "Y holds labels from -0.5 to 1; expected 0 and 1"),
        ([[0, 0.5, 1, 1.5, 1]], "Y holds labels from 0 to 1.5; expected 0 and 1"),
        ([[-2, 1, 1, 1, 1]], "Y holds labels from -2 to 1; expected 0 and 1 (or probabilities between). For several"),
        ([[3, 1, 1, 1, 1]], "Y holds labels from 1 to 3; expected 0 and 1 (or probabilities between). For several"),
        ([[-1, 1, 1, -1, 1]], "For labels -1 and 1, write (Y + 1) / 2."),
        ([[1, 2, 2, 1, 1]], "For labels 1 and 2, write Y - 1."),
        ([[0, 1, np.nan, 1, np.nan]], "Y holds 2 NaN among its 5 labels. Drop those examples"),
        ([["a", "b", "c", "d", "e"]], "Y has dtype <U1, and is not numeric"),
        (np.array([["0", "7", "1", "1", "1"]]), "Y has dtype <U1, and is not numeric"),
        (np.array([[0, None, 1, 1, 1]]), "Y has dtype object, and is not numeric"),
        (np.ma.array(np.ones((1, 5)), mask=[[0, 1, 0, 0, 0]]), "Y is a MaskedArray"),
    ],
)  # fmt: skip
def test_wrong_labels_are_refused_with_what_to_do(loss, Y, text):
    name = "A" if loss is tg.binary_cross_entropy else "Z"
    with pytest.raises((ValueError, TypeError), match=re.escape(text.replace("{}", name))):
        loss(tg.Tensor(np.full((1, 5), 0.5), requires_grad=True), Y)


@pytest.mark.parametrize(
    ("Y", "text"),
    [
        (np.array([0, 1, 2, 1]), "expected class indices as (1, 4), or one-hot columns as (3, 4). Write Y.reshape"),
        (np.array([[0], [1], [2], [1]]), "expected class indices as (1, 4), or one-hot columns as (3, 4)."),
        (np.array([[0.0, 1, 2, 1]]), "Y is (1, 4) of float64; class indices must be integers. Write Y.astype(int)."),
        (np.array([[0, 1, 3, 1]]), "Y holds classes from 0 to 3; Z has 3 rows, so expected 0 to 2. "),
        (np.array([[1, 2, 3, 1]]), "For classes counted from 1, write Y - 1."),
        (np.array([[-1, 2, 0, 1]]), "Y holds classes from -1 to 2"),
        (np.eye(4)[:, :3], "Did you forget a transpose?"),
        (np.array([[1, 0, 0.5, 0], [0, 1, 0.49, 0], [0, 0, 0, 1]]), "Y's column 2 sums to 0.99"),
        (np.array([[1, 0, 1, 0], [0, 1, 1, 0], [0, 0, 0, 1]]), "Y's column 2 sums to 2; class probabilities must"),
    ],
)  # fmt: skip
def test_wrong_classes_are_refused_with_what_to_do(Y, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        tg.softmax_cross_entropy(tg.Tensor(np.zeros((3, 4)), requires_grad=True), Y)


@pytest.mark.parametrize(
    ("Y", "hint"),
    [
        ([[1, 2, 3, 1]], "For classes counted from 1, write Y - 1."),
        ([[0, 2, 3, 1]], ""),
        ([[1, 2, 4, 1]], ""),
        ([[-1, 2, 1, 1]], ""),
    ],
)
def test_counting_from_1_is_suggested_where_it_explains_the_classes(Y, hint):
    with pytest.raises(ValueError, match=re.escape("so expected 0 to 2. " + hint) + "$"):
        tg.softmax_cross_entropy(np.zeros((3, 4)), Y)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: tg.binary_cross_entropy(np.array([[2.0, -3.0]]), [[1, 0]]),
         "A has values outside [0, 1], or NaN. It takes probabilities; for logits Z use binary_cross_entropy_with"),
        (lambda: tg.binary_cross_entropy(np.array([[0.5, 1.5]]), [[1, 0]]), "A has values outside [0, 1], or NaN"),
        (lambda: tg.binary_cross_entropy(np.array([[0.5, -0.5]]), [[1, 0]]), "A has values outside [0, 1], or NaN"),
        (lambda: tg.binary_cross_entropy(np.array([[np.nan]]), [[1]]), "A has values outside [0, 1], or NaN"),
        (lambda: tg.softmax_cross_entropy(np.zeros((1, 4)), np.zeros((1, 4), int)), "a single class"),
        (lambda: tg.softmax_cross_entropy(np.zeros(4), np.zeros(4, int)), "Z is (4,); expected (n_y, m)"),
        (lambda: tg.binary_cross_entropy_with_logits(np.zeros(4), np.zeros(4)), "Write Z.reshape(1, -1)"),
        (lambda: tg.binary_cross_entropy_with_logits(np.zeros((1, 0)), np.zeros((1, 0))), "there are no examples"),
        (lambda: tg.binary_cross_entropy_with_logits(np.zeros((1, 2, 3)), np.zeros((1, 2, 3))), "Z must be (n_y, m)"),
        (lambda: tg.mean_squared_error(np.zeros((2, 5)), np.zeros((3, 5))), "Do X and Y hold the same examples?"),
        (lambda: tg.mean_squared_error(np.zeros((0, 5)), np.zeros((3, 5))), "Do X and Y hold the same examples?"),
        (lambda: tg.mean_squared_error(np.zeros((1, 3)), [[1, np.inf, np.nan]]), "Y holds 2 NaN or infinities among"),
    ],
)  # fmt: skip
def test_wrong_outputs_are_refused_with_what_to_do(call, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        call()


def test_values_are_checked_once_per_array(monkeypatch):
    checked = []
    fused = losses._binary_cross_entropy_with_logits
    counted = fused.loss._replace(labels=lambda y: checked.append(1) or label_checks.check_probabilities(y))
    monkeypatch.setattr(fused, "loss", counted)
    Z, Y = np.zeros((1, 6)), np.array([[0, 1, 0, 1, 1, 0]])
    for _ in range(3):
        tg.binary_cross_entropy_with_logits(Z, Y)
    tg.binary_cross_entropy_with_logits(Z[:, :2], Y[:, 2:4])  # columns of what has passed
    assert len(checked) == 1
    tg.mean_squared_error(Z, Y)
    tg.binary_cross_entropy_with_logits(Z, Y)  # another check does not push this one out
    assert len(checked) == 1
    tg.binary_cross_entropy_with_logits(Z, Y.copy())
    assert len(checked) == 2
    model = tg.nn.LogisticRegression(2)
    optimizer = tg.optim.SGD(model.parameters(), 0.1)
    loss = tg.binary_cross_entropy_with_logits
    tg.fit(model, np.zeros((2, 6)), Y, loss=loss, optimizer=optimizer, epochs=5, batch_size=2, rng=0)
    assert len(checked) == 2 + 5  # once for each epoch's shuffled labels, not once a batch


def test_passing_vouches_for_columns_only():
    Y = np.eye(3)[:, [0, 1, 2, 2]].copy()
    tg.softmax_cross_entropy(np.zeros((3, 4)), Y)
    with pytest.raises(ValueError, match="column 2 sums to 0"):
        tg.softmax_cross_entropy(np.zeros((2, 4)), Y[:2])
    ones = np.ones((1, 4))
    tg.binary_cross_entropy(np.full((1, 4), 0.5), ones)
    with pytest.raises(ValueError, match="labels from"):
        tg.binary_cross_entropy(np.full((1, 4), 0.5), ones.view(np.int64))


def test_passing_vouches_for_no_other_cut():
    Y = np.array([[1.0, 1.0, 0.5], [0.0, 0.0, 0.5], [0.0, 0.0, 0.0]])
    tg.softmax_cross_entropy(np.zeros((3, 3)), Y)
    tg.softmax_cross_entropy(np.zeros((3, 2)), Y[:, ::2])
    with pytest.raises(ValueError, match=r"column 0 sums to 2\.5"):
        tg.softmax_cross_entropy(np.zeros((3, 3)), Y.T)
    with pytest.raises(ValueError, match=r"column 2 sums to 0\.5"):
        tg.softmax_cross_entropy(np.zeros((2, 3)), Y[::2])
    assert tg.binary_cross_entropy(np.array(0.25), Y[0, 0, ...]) == -np.log(0.25)


def test_labels_that_have_passed_must_still_fit():
    Y = np.array([[0.0, 1.0]])
    for Z in (np.zeros((1, 2)), np.zeros((1, 2), np.float32), np.zeros((1, 2))):
        assert tg.binary_cross_entropy_with_logits(Z, Y).dtype == Z.dtype
        for shape in ((2, 2), (1, 1)):
            with pytest.raises(ValueError, match=re.escape(f"Y is (1, 2), but Z is {shape}")):
                tg.binary_cross_entropy_with_logits(np.zeros(shape, Z.dtype), Y)


def test_soft_labels_of_another_precision_are_brought_to_that_of_the_output_every_time():
    A, Y = np.array([[0.3, 0.7]]), np.array([[0.1, 0.2]], np.float32)
    expected = tg.binary_cross_entropy(A, Y.astype(float))
    assert [tg.binary_cross_entropy(A, Y) for _ in range(2)] == [expected] * 2


def test_a_single_example_needs_no_axes_and_a_single_column_no_others():
    assert tg.binary_cross_entropy(np.array(0.25), 1.0) == -np.log(0.25)
    assert tg.binary_cross_entropy_with_logits(np.array(0.0), 1.0) == np.log(2)
    assert tg.mean_squared_error(np.array(3.0), 1.0) == 4
    assert tg.softmax_cross_entropy(np.zeros((4, 1)), [[3]]) == pytest.approx(np.log(4))


def test_costs_of_symbols_are_formulas():
    a, y = symbolic.symbols("a", (1, 2)), symbolic.symbols("y", (1, 2))
    numbers = {a: [[0.25, 0.5]], y: [[0.0, 1.0]]}
    for loss in (*BINARY, tg.mean_squared_error):
        assert loss(a, y).evaluate(numbers) == pytest.approx(loss(np.array(numbers[a]), numbers[y]))
        assert loss(a, [[0, 1]]).evaluate(numbers) == pytest.approx(loss(np.array(numbers[a]), numbers[y]))
    z, columns = symbolic.symbols("z", (2, 1)), symbolic.symbols("y", (2, 1))
    numbers = {z: [[0.25], [0.5]], columns: [[0.25], [0.75]]}
    assert tg.softmax_cross_entropy(z, columns).evaluate(numbers) == pytest.approx(
        tg.softmax_cross_entropy(np.array(numbers[z]), numbers[columns])
    )


def test_labels_outside_the_columns_in_use_may_be_anything():
    Y = np.array([[0.0, 1.0, np.nan]])
    assert tg.binary_cross_entropy(np.full((1, 2), 0.5), Y[:, :2]) == pytest.approx(np.log(2))


def test_labels_as_a_tensor_and_logits_as_a_list():
    Y = tg.Tensor([[0.0, 1.0]])
    for _ in range(2):
        assert tg.binary_cross_entropy_with_logits([[0.0, 0.0]], Y).item() == pytest.approx(np.log(2))
        assert tg.binary_cross_entropy_with_logits([[0.0, 0.0]], Y.data) == pytest.approx(np.log(2))


def test_a_class_ruled_out_by_its_logit_costs_nothing():
    Z = tg.Tensor([[0.0, 1.0], [0.0, 2.0], [-np.inf, -np.inf]], requires_grad=True)
    J = tg.softmax_cross_entropy(Z, [[0, 1]])
    J.backward()
    assert J.item() == pytest.approx((np.log(2) + np.log(1 + np.exp(-1))) / 2)
    assert np.isfinite(Z.grad).all()


def test_one_check_does_not_vouch_for_another():
    Y = np.array([[5.0, 7.0]])
    tg.mean_squared_error(np.zeros((1, 2)), Y)
    with pytest.raises(ValueError, match="labels from 5 to 7"):
        tg.binary_cross_entropy_with_logits(np.zeros((1, 2)), Y)
    three = np.array([[0, 2]])
    tg.softmax_cross_entropy(np.zeros((3, 2)), three)
    with pytest.raises(ValueError, match="expected 0 to 1"):
        tg.softmax_cross_entropy(np.zeros((2, 2)), three)


def test_checked_labels_are_not_kept_alive_nor_are_their_traces():
    Y = np.ones((1, 3))
    tg.binary_cross_entropy_with_logits(np.zeros((1, 3)), Y)
    alive = weakref.ref(Y)
    assert label_checks._passed[id(Y), label_checks.check_probabilities]() is Y
    del Y
    assert alive() is None
    held = [np.ones((1, 3)) for _ in range(10)]
    before = len(label_checks._passed)
    for _ in range(1000):
        for labels in held:
            tg.mean_squared_error(np.zeros((1, 3)), labels)
        tg.mean_squared_error(np.zeros((1, 3)), np.ones((1, 3)))
    assert len(label_checks._passed) <= before + 64  # of 1,000 that are gone


def test_no_reference_to_labels_calls_python_back():
    Y = np.ones((1, 3))
    tg.binary_cross_entropy_with_logits(np.zeros((1, 3)), Y)
    assert all(passed.__callback__ is None for passed in label_checks._passed.values())  # Ctrl-C there would be lost


def test_an_array_is_known_by_itself_not_by_its_address():
    other, Y = np.ones((1, 2)), np.array([[0.0, 7.0]])
    label_checks._passed[id(Y), label_checks.check_probabilities] = weakref.ref(other)  # at Y's address
    with pytest.raises(ValueError, match="labels from 0 to 7"):
        tg.binary_cross_entropy_with_logits(np.zeros((1, 2)), Y)
    del label_checks._passed[id(Y), label_checks.check_probabilities]


@pytest.mark.parametrize("dtype", [np.uint8, bool, int])
def test_outputs_of_integers_count_as_floats_every_time(dtype):
    A, Y = np.array([[200, 10]]).astype(dtype), np.array([[100, 20]]).astype(dtype)
    expected = np.mean((A.astype(float) - Y.astype(float)) ** 2)
    assert [tg.mean_squared_error(A, Y) for _ in range(2)] == [expected] * 2
    classes = np.array([[1, 0]]).astype(dtype)
    assert tg.binary_cross_entropy(classes, classes) == pytest.approx(0, abs=1e-15)
    assert tg.softmax_cross_entropy(np.zeros((3, 2), dtype), np.array([[0, 1]])) == pytest.approx(np.log(3))


def test_no_examples_and_too_few_rows_are_named():
    with pytest.raises(ValueError, match="there are no examples"):
        tg.softmax_cross_entropy(np.zeros((3, 0)), np.zeros((1, 0), int))
    with pytest.raises(ValueError, match="For class indices use softmax_cross_entropy"):
        tg.binary_cross_entropy_with_logits(np.zeros((3, 4)), np.zeros((1, 4)))


# -- a sigmoid or a softmax that the loss applies again ----------------------------------------------------------------

LOGIT, LOGITS = tg.Tensor([[0.5, -1.0]], requires_grad=True), tg.Tensor(np.eye(3), requires_grad=True)
ONES, WEIGHTS, THREE = np.ones((1, 2)), np.array([[1.0, 2.0]]), np.ones((1, 3))


def softmax_by_hand(Z):
    e = np.exp(Z - np.max(Z, axis=0))
    return e / np.sum(e, axis=0)


TWICE = {
    "a sigmoid": lambda: tg.binary_cross_entropy_with_logits(tg.sigmoid(LOGIT), ONES),
    "of a single number": lambda: tg.binary_cross_entropy_with_logits(tg.sigmoid(LOGIT[0, 0]), np.array(1.0)),
    "weights": lambda: tg.binary_cross_entropy_with_logits(tg.sigmoid(LOGIT), ONES, sample_weight=WEIGHTS),
    "by hand": lambda: tg.binary_cross_entropy_with_logits(1 / (1 + np.exp(-LOGIT)), ONES),
    "by hand, the other way round": lambda: tg.binary_cross_entropy_with_logits(1.0 / (np.exp(-LOGIT) + 1.0), ONES),
    "of several labels": lambda: tg.softmax_cross_entropy(tg.sigmoid(LOGITS), np.eye(3)),
    "a softmax": lambda: tg.softmax_cross_entropy(tg.softmax(LOGITS), np.eye(3)),
    "of class indices": lambda: tg.softmax_cross_entropy(tg.softmax(LOGITS), np.array([[0, 1, 2]])),
    "weights of classes": lambda: tg.softmax_cross_entropy(tg.softmax(LOGITS), np.eye(3), sample_weight=THREE),
    "a softmax by hand": lambda: tg.softmax_cross_entropy(softmax_by_hand(LOGITS), np.eye(3)),
    "the other activation": lambda: tg.binary_cross_entropy_with_logits(tg.softmax(LOGITS), np.eye(3)),
    "second derivatives": lambda: tg.hessian(lambda z: tg.binary_cross_entropy_with_logits(tg.sigmoid(z), ONES))(ONES),
}  # fmt: skip

ONCE = {
    "errors": lambda: tg.mean_squared_error(tg.sigmoid(LOGIT), ONES),
    "probabilities": lambda: tg.binary_cross_entropy(tg.sigmoid(LOGIT), ONES),
    "a teacher's probabilities": lambda: tg.softmax_cross_entropy(LOGITS / 2.0, tg.softmax(LOGITS.detach() / 2.0)),
    "a quotient": lambda: tg.binary_cross_entropy_with_logits(1 / (1 + LOGIT * LOGIT), ONES),
    "a quotient of arrays": lambda: tg.binary_cross_entropy_with_logits(1 / (1 + np.exp(-LOGIT.data)) / LOGIT, ONES),
    "logits of sums": lambda: tg.softmax_cross_entropy(LOGITS / np.sum(np.exp(LOGITS), axis=0), np.eye(3)),
    "a hidden sigmoid": lambda: tg.binary_cross_entropy_with_logits(tg.sigmoid(LOGIT) - 0.5, ONES),
    "said to be meant": lambda: tg.binary_cross_entropy_with_logits(1.0 * tg.sigmoid(LOGIT), ONES),
}  # fmt: skip


@pytest.mark.parametrize("name", TWICE)
def test_probabilities_are_refused_by_a_loss_that_makes_them_of_logits_itself(name):
    for _ in range(2):  # labels that have passed vouch for no logits
        with pytest.raises(
            ValueError, match=r"comes from a (sigmoid|softmax), and the loss is of logits, of which it "
        ):
            TWICE[name]()


@pytest.mark.parametrize("name", ONCE)
def test_an_activation_that_no_loss_applies_again_is_computed_with(name):
    assert np.isfinite(ONCE[name]().item())


@pytest.mark.parametrize("name", [None, "A2"])
def test_who_applies_a_sigmoid_twice_is_told_what_to_write(name):
    A = tg.sigmoid(LOGIT)
    A.name = name
    text = (
        f"binary_cross_entropy_with_logits: {name or 'Z'} comes from a sigmoid, and the loss is of logits, of which it "
        "makes probabilities itself. Leave the sigmoid out (the last layer, say), or take tg.binary_cross_entropy, "
        f"which is of probabilities. If twice is what you mean, write 1.0 * {name or 'Z'}."
    )
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        tg.binary_cross_entropy_with_logits(A, ONES)
    assert tg.binary_cross_entropy(A, ONES).item() > 0


@pytest.mark.parametrize("fallback", [False, True])
def test_a_compiled_step_refuses_a_sigmoid_applied_twice_as_the_loss_does(fallback):
    class Mine(tg.nn.Module):
        def __init__(self):
            self.inner = tg.nn.Linear(2, 1, rng=0)

        def __call__(self, x):
            return tg.sigmoid(self.inner(x))

    model = Mine()
    optimizer = tg.optim.SGD(model.parameters(), lr=1)
    step = tg.compile(model, tg.binary_cross_entropy_with_logits, optimizer, fallback=fallback)
    with pytest.raises(ValueError, match="Z comes from a sigmoid, and the loss is of logits"):
        step(np.eye(2), ONES)
    assert optimizer.steps == 0
