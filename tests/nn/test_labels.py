"""Checks of labels: once per array, never of another one, and what a passed array vouches for."""

import re

import numpy as np
import pytest

import tinygrad_dls as tg
from tests.compiler.steps import network, sgd
from tinygrad_dls.engine.errors import RecordingError
from tinygrad_dls.nn import labels, losses

LOGITS = tg.binary_cross_entropy_with_logits


def test_labels_that_have_passed_must_still_fit_a_tensor():
    for m in (1, 2):
        Y = np.ones((1, m))
        LOGITS(tg.Tensor(np.zeros((1, m))), Y)
        for shape in ((1, 3 - m), (2, m), (1, 5)):
            with pytest.raises(ValueError, match=re.escape(f"Y is (1, {m}), but Z is {shape}")):
                LOGITS(tg.Tensor(np.zeros(shape)), Y)


@pytest.mark.parametrize(("dtype", "a", "y"), [(np.uint8, [[10, 20]], [[30, 20]]), (bool, [[1, 0]], [[0, 0]])])
def test_tensors_of_integers_count_as_floats_every_time(dtype, a, y):
    A, Y = tg.Tensor(np.array(a, dtype)), np.array(y, dtype)
    expected = (A.data[0, 0] - 1.0 * Y[0, 0]) ** 2 / 2  # in uint8, 10 - 30 is 236
    assert [tg.mean_squared_error(A, Y).item() for _ in range(2)] == [expected] * 2


def test_a_cost_of_tensors_has_their_dtype_whatever_the_labels_every_time():
    Z, Y = tg.Tensor(np.zeros((1, 2), np.float32)), np.array([[0.0, 1.0]])
    assert [LOGITS(Z, Y).dtype for _ in range(2)] == [np.float32] * 2


def test_labels_are_checked_once_also_where_their_dtype_is_another_or_others_are_nan(monkeypatch):
    checked = []
    fused = losses._binary_cross_entropy_with_logits
    counted = fused.loss._replace(labels=lambda y: checked.append(y.shape) or labels.check_probabilities(y))
    monkeypatch.setattr(fused, "loss", counted)
    Y, beside = np.array([[0, 1]]), np.array([[0.0, 1.0, np.nan]])[:, :2]
    for _ in range(3):
        LOGITS(np.zeros((1, 2)), Y)
        LOGITS(np.zeros((1, 2)), beside)
    assert checked == [(1, 2), (1, 3), (1, 2)]  # of the last, first all that they are cut from


def test_what_is_made_of_other_numbers_in_the_same_memory_has_not_passed():
    integers = np.full((1, 2), 0x7FF0_0000_0000_0000)  # read as floats, infinity
    tg.mean_squared_error(np.zeros((1, 2)), integers)
    with pytest.raises(ValueError, match="Y holds 2 NaN or infinities"):
        tg.mean_squared_error(np.zeros((1, 2)), integers.view(float))


def test_a_transpose_has_not_passed_in_whatever_order_it_lies():
    columns = np.asfortranarray([[1.0, 1.0, 0.5], [0.0, 0.0, 0.5], [0.0, 0.0, 0.0]])
    tg.softmax_cross_entropy(np.zeros((3, 3)), columns)
    with pytest.raises(ValueError, match=r"column 0 sums to 2\.5"):
        tg.softmax_cross_entropy(np.zeros((3, 3)), columns.T)


def test_traces_of_arrays_that_are_gone_are_cleared_away_and_no_others():
    passed = labels._Passed()
    alive = [np.ones((1, 1)) for _ in range(100)]
    for y in alive:
        passed.remember(y, labels.check_finite)
    in_their_places = []
    for _ in range(1000):
        y = np.ones((1, 1))
        passed.remember(y, labels.check_finite)
        del y
        in_their_places.append(np.ones((1, 1)))  # so that the next one has another address
    assert len(passed) < 250  # twice what was left
    assert all(passed[id(y), labels.check_finite]() is y for y in alive)


def test_an_array_without_weak_references_is_checked_every_time():
    class Slotted:
        __slots__ = ()

    passed = labels._Passed()
    passed.remember(Slotted(), labels.check_finite)
    assert not passed


# -- in compiled steps: between which numbers labels are known to be that come from the model --------------------------

X = np.random.default_rng(0).normal(size=(3, 20))
Y = (X[:1] > 0).astype(float)


@pytest.mark.parametrize("made", [tg.sigmoid, lambda z: np.clip(z, 0, 1), lambda z: 0.5 + 0.5 * np.tanh(z)])
def test_labels_from_the_model_compile_where_they_can_only_be_probabilities(made):
    model = network()
    expected = LOGITS(model(X), made(model(X)).data).item()
    step = tg.compile(model, lambda z, y: LOGITS(z, made(z).detach()), sgd(model, lr=0.1))
    assert step(X, Y) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("made", [lambda p: np.clip(p, 0, 1.1), lambda p: np.clip(p, -0.1, 1), lambda p: p])
def test_labels_from_the_model_are_refused_where_they_may_leave_the_unit_interval(made):
    model = network()
    with pytest.raises(RecordingError, match="labels that are computed from more than Y"):
        tg.compile(model, lambda z, y: LOGITS(z, made(0.01 * z + 0.5).detach()), sgd(model))(X, Y)


@pytest.mark.parametrize("made", [np.tanh, lambda z: 1e9 * np.tanh(z)])
def test_targets_from_the_model_compile_where_they_can_only_be_finite(made):
    model = network()
    expected = tg.mean_squared_error(model(X), made(model(X)).data).item()
    step = tg.compile(model, lambda z, y: tg.mean_squared_error(z, made(z).detach()), sgd(model, lr=1e-20))
    assert step(X, Y) == pytest.approx(expected, rel=1e-14)


# -- weights, and smooth labels ---------------------------------------------------------------------------------------


def test_weights_of_a_wrong_shape_are_told_only_the_hint_that_is_true():
    hint = "All the entries of a column have one weight."
    A, targets = np.ones((2, 3)), np.zeros((2, 3))
    for shape, hinted in (((2, 3), True), ((2, 5), False), ((1, 3, 2), False), ((3, 3, 1), False)):
        with pytest.raises(ValueError, match=re.escape(f"sample_weight is {shape}; expected (1, 3)")) as error:
            tg.mean_squared_error(A, targets, sample_weight=np.ones(shape))
        assert (hint in str(error.value)) is hinted
    with pytest.raises(ValueError, match=re.escape("sample_weight is (1, 2); expected (), a weight for each example")):
        tg.mean_squared_error(np.array(1.0), 2.0, sample_weight=np.ones((1, 2)))


def test_weights_a_little_below_zero_are_counted_and_none_else():
    with pytest.raises(ValueError, match=re.escape("holds 1 weights below 0 among its 3, down to -0.5.")):
        tg.mean_squared_error(np.ones((1, 3)), np.zeros((1, 3)), sample_weight=[[-0.5, 0, 0.5]])


@pytest.mark.parametrize("least", [0, 0.5])
def test_weights_whose_sum_overflows_are_not_said_to_be_below_zero(least):
    with pytest.raises(
        ValueError, match=re.escape("sample_weight sums to infinity in float64. Divide it by its mean.")
    ):
        tg.mean_squared_error(np.ones((1, 3)), np.zeros((1, 3)), sample_weight=[[least, 1.7e308, 1.7e308]])


def test_the_smallest_normal_number_is_a_weight_and_half_of_it_is_none():
    A, targets, tiny = np.array([[2.0, 7.0]]), np.zeros((1, 2)), np.finfo(float).smallest_normal
    assert tg.mean_squared_error(A, targets, sample_weight=[[tiny, 0]]) == 4
    with pytest.raises(ValueError, match="sample_weight"):
        tg.mean_squared_error(A, targets, sample_weight=[[tiny / 2, 0]])


def test_weights_of_long_doubles_keep_their_digits():
    w = np.array([[1, 2]], np.longdouble) / 3
    J = tg.mean_squared_error(np.array([[1, 2]], np.longdouble), np.zeros((1, 2)), sample_weight=w)
    assert J.dtype == np.longdouble
    assert abs(J - 3) < 1e-18


def test_smooth_labels_of_two_classes_and_of_none():
    np.testing.assert_array_equal(tg.smooth_labels([[0, 1]], 0.5, n_classes=2), [[0.75, 0.25], [0.25, 0.75]])
    with pytest.raises(ValueError, match=re.escape("n_classes must be 2 or more.")):
        tg.smooth_labels([[0, 0]], 0.5, n_classes=1)
    for shape in ((), (1, 0), (0, 3), (1, 2, 3)):
        with pytest.raises(ValueError, match=re.escape(f"smooth_labels: Y is {shape}; expected a column")) as error:
            tg.smooth_labels(np.ones(shape), 0.1)
        assert "reshape" not in str(error.value)


def test_labels_of_minus_one_are_no_classes():
    with pytest.raises(ValueError, match=re.escape("For labels -1 and 1, write (Y + 1) / 2.")):
        tg.smooth_labels([[-1, 1]], 0.1)


def test_several_labels_are_suggested_only_where_each_is_a_probability():
    with pytest.raises(ValueError, match="several_labels=True"):
        tg.smooth_labels([[1, 0], [1, 1]], 0.1)
    with pytest.raises(ValueError, match="labels from 0 to 2") as error:
        tg.smooth_labels([[2, 0], [1, 1]], 0.1)
    assert "several_labels" not in str(error.value)


def test_smooth_labels_that_there_is_no_room_for_are_refused_at_once():
    with pytest.raises(MemoryError, match=re.escape("smooth_labels: Y is (1, 1000000000000000), and there is no room")):
        tg.smooth_labels(np.broadcast_to(np.float64(1), (1, 10**15)), 0.1)
