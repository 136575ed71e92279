"""Training with weights of examples and of classes, and with smoothed labels."""

import functools
import re

import dask.array as da
import numpy as np
import pytest
from sklearn.utils import compute_sample_weight

import tinygrad_dls as tg
from tests.training.fitting import LOSS, fit, network
from tinygrad_dls import nn
from tinygrad_dls.optimizer import eager_step

RNG = np.random.default_rng(2)
X = RNG.standard_normal((2, 60))
Y = (X[:1] + X[1:] > 0.8).astype(int)
CLASSES = (X[:1] > 0).astype(int) + (X[1:] > 0.5)
W = RNG.uniform(0, 2, (1, 60))
EAGER_AND_COMPILED = pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])


def model_of(rows, dtype=float):
    return nn.Sequential(nn.Linear(2, rows, rng=0, dtype=dtype))


def trained(model, Y, loss, epochs=4, **options):
    optimizer = tg.optim.SGD(model.parameters(), lr=0.5)
    return tg.fit(model, X, Y, loss=loss, optimizer=optimizer, epochs=epochs, **options)


def by_hand(model, Y, loss, w, epochs=4):
    optimizer = tg.optim.SGD(model.parameters(), lr=0.5)
    return [eager_step(model, functools.partial(loss, sample_weight=w), optimizer, X, Y) for _ in range(epochs)]


CASES = {
    "binary": (1, LOSS, Y),
    "class indices": (3, tg.softmax_cross_entropy, CLASSES),
    "one-hot": (3, tg.softmax_cross_entropy, np.eye(3)[:, CLASSES[0]]),
    "numbers": (2, tg.mean_squared_error, RNG.standard_normal((2, 60))),
    "several labels": (2, LOSS, RNG.integers(0, 2, (2, 60))),
}
EACH = pytest.mark.parametrize(("rows", "loss", "Y"), CASES.values(), ids=CASES)


# -- a weight for each example ----------------------------------------------------------------------------------------


@EACH
@EAGER_AND_COMPILED
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_fit_with_weights_is_the_loop_that_a_person_would_write(rows, loss, Y, compiled, dtype):
    fitted, other = model_of(rows, dtype), model_of(rows, dtype)
    history = trained(fitted, Y, loss, sample_weight=W, compile=compiled)
    rounding = 100 * float(np.finfo(dtype).eps)  # sums in another order
    np.testing.assert_allclose(history.costs, by_hand(other, Y, loss, W), rtol=rounding)
    for p, q in zip(fitted.parameters(), other.parameters(), strict=True):
        np.testing.assert_allclose(p.data, q.data, rtol=rounding, atol=rounding)


@EAGER_AND_COMPILED
def test_weights_go_with_their_examples_in_mini_batches(compiled):
    """Examples of weight 0 are not there, whatever batch they come into; and an epoch's cost is the weighted mean."""
    fitted = model_of(1)
    first = LOSS(fitted(X), Y, sample_weight=W).item()
    history = trained(fitted, Y, LOSS, epochs=1, sample_weight=W, batch_size=60, rng=0, compile=compiled)
    assert history.costs == [pytest.approx(first, rel=1e-12)]
    still = tg.optim.SGD(fitted.parameters(), lr=0.0)
    now = LOSS(fitted(X), Y, sample_weight=W).item()
    history = tg.fit(fitted, X, Y, loss=LOSS, optimizer=still, epochs=2, sample_weight=W, batch_size=7, rng=1,
                     compile=compiled)  # fmt: skip
    assert history.costs == [pytest.approx(now, rel=1e-12)] * 2


@EAGER_AND_COMPILED
def test_a_batch_without_any_weight_is_passed_over(compiled):
    w = np.zeros((1, 60))
    w[0, 3] = 2
    fitted, one = model_of(1), model_of(1)
    trained(fitted, Y, LOSS, epochs=1, sample_weight=w, batch_size=5, rng=0, compile=compiled)
    by_hand(one, Y, LOSS, w, epochs=1)
    for p, q in zip(fitted.parameters(), one.parameters(), strict=True):
        np.testing.assert_allclose(p.data, q.data, rtol=1e-12)


def test_minibatches_carry_weights():
    index = np.arange(60.0)[None]
    batches = list(tg.minibatches(index, Y, 25, rng=0, sample_weight=W))
    assert [w.shape for _, _, w in batches] == [(1, 25), (1, 25), (1, 10)]
    for x, _, w in batches:
        np.testing.assert_array_equal(w, W[:, x[0].astype(int)])
    (*_, w) = next(iter(tg.minibatches(np.arange(6)[None], Y[:, :6], 6, rng=0, sample_weight=[[0.5] * 6])))
    np.testing.assert_array_equal(w, np.full((1, 6), 0.5))  # whatever X is of


def test_validation_is_without_weights():
    fitted = model_of(1)
    history = trained(fitted, Y, LOSS, epochs=1, sample_weight=W, validation=(X, Y))
    assert history.validation_costs == [LOSS(fitted(X), Y).item()]


def test_without_weights_nothing_has_changed(flower):
    plain, named = (fit(network(), *flower, epochs=3, **options) for options in ({}, {
        "sample_weight": None, "class_weight": None, "label_smoothing": 0}))  # fmt: skip
    assert plain.costs == named.costs


def test_a_loss_of_ones_own_gets_the_weights():
    model = model_of(1)

    def loss(Z, Y, sample_weight=None):
        return LOSS(Z, Y, sample_weight=sample_weight) + tg.l2(model, 0.1, m=60)

    assert trained(model, Y, loss, sample_weight=W).costs == by_hand(model_of(1), Y, loss_with_l2, W)


def loss_with_l2(Z, Y, sample_weight=None):
    W = Z.inputs[0]
    return LOSS(Z, Y, sample_weight=sample_weight) + tg.l2([W], 0.1, m=60)


def plain_loss(Z, Y):
    return LOSS(Z, Y)


@pytest.mark.parametrize(
    ("loss", "options", "error", "text"),
    [
        (plain_loss, {"sample_weight": W}, TypeError, "fit: the loss plain_loss takes no sample_weight, so weights "
         "would be lost. Write `def plain_loss(Z, Y, *, sample_weight=None)`, and pass it on: "
         "tg.binary_cross_entropy_with_logits(Z, Y, sample_weight=sample_weight)."),
        (lambda Z, Y: LOSS(Z, Y), {"class_weight": "balanced"}, TypeError, "Write `def loss(Z, Y, *, sample_weight"),
        (LOSS, {"sample_weight": W[0]}, ValueError, "fit: sample_weight is (60,); expected (1, 60), a weight for each "
         "example. Write sample_weight.reshape(1, -1): examples are columns."),
        (LOSS, {"sample_weight": -W}, ValueError, "fit: sample_weight holds 60 weights below 0"),
        (LOSS, {"sample_weight": 0 * W}, ValueError, "fit: sample_weight is zero for all examples"),
        (LOSS, {"sample_weight": W * 1e-320}, ValueError, "fit: sample_weight sums to "),
        (LOSS, {"class_weight": "even"}, TypeError, 'fit: class_weight is "balanced" or a dict of weights by class'),
        (LOSS, {"class_weight": [1, 2]}, TypeError, 'fit: class_weight is "balanced" or a dict of weights by class'),
        (LOSS, {"class_weight": {0: 1}}, ValueError, "fit: class_weight has no weight for class 1, of 0, 1. Add it: "
         "{..., 1: 1}."),
        (LOSS, {"class_weight": {0: 1, 1: 1, 2: 1}}, ValueError, "fit: class_weight names class 2, and Y holds 0, 1."),
        (LOSS, {"class_weight": {"a": 1, 1: 1}}, TypeError, "fit: class_weight names classes by their index"),
        (LOSS, {"class_weight": {0: -1, 1: 1}}, ValueError, "class_weight of class 0 must be a finite number >= 0"),
        (LOSS, {"class_weight": {0: "x", 1: 1}}, TypeError, "fit: class_weight of class 0"),
        (LOSS, {"class_weight": {0: 0, 1: 0}}, ValueError, "fit: class_weight is zero for all classes"),
        (LOSS, {"class_weight": {0: 0, 1: 1}, "sample_weight": 1 - Y * W / W}, ValueError,
         "fit: sample_weight and class_weight multiply. sample_weight is zero for all examples"),
        (LOSS, {"label_smoothing": 1}, ValueError, "fit: label_smoothing must be in [0, 1), got 1"),
        (LOSS, {"label_smoothing": "a"}, TypeError, "fit: label_smoothing"),
    ],
)  # fmt: skip
def test_other_weights_are_refused_before_anything_is_trained(loss, options, error, text):
    model = model_of(1)
    before = model.state_dict()
    with pytest.raises(error, match=re.escape(text)):
        trained(model, Y, loss, **options)
    for name, x in model.state_dict().items():
        np.testing.assert_array_equal(x, before[name])


# -- by class ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["binary", "class indices", "one-hot"])
def test_weights_of_classes_are_those_of_their_examples(name):
    rows, loss, labels = CASES[name]
    indices = labels[0].astype(int) if labels.shape[0] == 1 else labels.argmax(axis=0)
    weights = {0: 1, 1: 5, 2: 0.5}
    weights = {c: weights[c] for c in np.unique(indices)}
    w = np.array([weights[c] for c in indices])[None]
    assert trained(model_of(rows), labels, loss, class_weight=weights).costs == by_hand(model_of(rows), labels, loss, w)


@pytest.mark.parametrize("name", ["binary", "class indices", "one-hot"])
def test_balanced_weights_are_those_of_scikit_learn(name):
    rows, loss, labels = CASES[name]
    indices = labels[0].astype(int) if labels.shape[0] == 1 else labels.argmax(axis=0)
    w = compute_sample_weight("balanced", indices)[None]
    got = trained(model_of(rows), labels, loss, class_weight="balanced").costs
    np.testing.assert_allclose(got, by_hand(model_of(rows), labels, loss, w), rtol=1e-14)


def test_weights_of_classes_and_of_examples_multiply():
    both = trained(model_of(1), Y, LOSS, class_weight={0: 1, 1: 3}, sample_weight=W).costs
    assert both == by_hand(model_of(1), Y, LOSS, W * np.where(Y == 1, 3, 1))


@pytest.mark.parametrize(
    ("rows", "loss", "labels", "text"),
    [
        (1, LOSS, Y * 0.9, "fit: class_weight is for classes 0, 1, 2, ..., and Y holds 0 to 0.9"),
        (1, tg.mean_squared_error, X[:1], "weigh each example: sample_weight=."),
        (2, LOSS, np.ones((2, 60)), "fit: class_weight is for one class for each example, and Y's"),
        (2, tg.softmax_cross_entropy, np.full((2, 60), 0.5), "For several labels and for soft ones, weigh each"),
    ],
)  # fmt: skip
def test_there_are_no_weights_of_classes_where_there_are_no_classes(rows, loss, labels, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        trained(model_of(rows), labels, loss, class_weight="balanced")


def test_a_class_that_no_example_has_may_be_named_where_labels_have_a_row_for_it():
    labels = np.eye(3)[:, Y[0]]
    got = trained(model_of(3), labels, tg.softmax_cross_entropy, class_weight={0: 1, 1: 2, 2: 9}).costs
    assert got == trained(model_of(3), labels, tg.softmax_cross_entropy, class_weight={0: 1, 1: 2}).costs


# -- of the validation data ------------------------------------------------------------------------------------------


@EACH
@EAGER_AND_COMPILED
def test_with_weights_the_validation_cost_is_the_weighted_mean_and_the_metrics_are_not(rows, loss, Y, compiled):
    def share(predictions, Y):
        return 0.25

    options = {"metrics": {"share": share}} if rows != 2 or loss is LOSS else {}
    model = nn.Classifier(*model_of(rows).layers) if options else model_of(rows)
    history = trained(model, Y, loss, validation=(X, Y, W), compile=compiled, **options)
    weighted = loss(model(X), Y, sample_weight=W).item()
    assert history.validation_costs[-1] == weighted != loss(model(X), Y).item()
    model = nn.Classifier(*model_of(rows).layers) if options else model_of(rows)
    without = trained(model, Y, loss, validation=(X, Y), compile=compiled, **options)
    assert without.costs == history.costs
    assert without.validation_accuracies == history.validation_accuracies
    assert without.metrics == history.metrics


@pytest.mark.parametrize(
    ("weights", "text"),
    [
        (W[0], "fit: validation: sample_weight is (60,); expected (1, 60)"),
        (-W, "fit: validation: sample_weight"),
        (0 * W, "fit: validation: sample_weight"),
    ],
)
def test_other_weights_of_the_validation_data_are_refused(weights, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        trained(model_of(1), Y, LOSS, validation=(X, Y, weights))


def test_a_loss_without_weights_is_refused_where_the_validation_data_have_some():
    with pytest.raises(TypeError, match="fit: the loss own_loss takes no sample_weight, so weights would be lost"):
        trained(model_of(1), Y, own_loss, validation=(X, Y, W))


# -- smoothed labels --------------------------------------------------------------------------------------------------


@EAGER_AND_COMPILED
@pytest.mark.parametrize(
    ("rows", "loss", "labels", "smooth"),
    [
        (1, LOSS, Y, tg.smooth_labels(Y, 0.2)),
        (2, LOSS, CASES["several labels"][2], tg.smooth_labels(CASES["several labels"][2], 0.2, several_labels=True)),
        (3, tg.softmax_cross_entropy, CLASSES, tg.smooth_labels(CLASSES, 0.2, n_classes=3)),
        (4, tg.softmax_cross_entropy, CLASSES, tg.smooth_labels(CLASSES, 0.2, n_classes=4)),
        (3, tg.softmax_cross_entropy, np.eye(3)[:, CLASSES[0]], tg.smooth_labels(CLASSES, 0.2, n_classes=3)),
    ],
    ids=["binary", "several labels", "class indices", "a class that no example has", "one-hot"],
)
def test_smoothed_labels_are_what_is_trained_with(rows, loss, labels, smooth, compiled):
    got = trained(model_of(rows), labels, loss, label_smoothing=0.2, compile=compiled).costs
    np.testing.assert_allclose(got, trained(model_of(rows), smooth, loss).costs, rtol=1e-12)


def test_smoothed_labels_are_not_those_of_the_validation_nor_of_the_classes():
    model = model_of(1)
    history = trained(model, Y, LOSS, epochs=1, label_smoothing=0.2, class_weight="balanced", validation=(X, Y))
    assert history.validation_costs == [LOSS(model(X), Y).item()]
    w = 60 / (2 * np.where(Y == 1, Y.sum(), 60 - Y.sum()))
    assert history.costs == by_hand(model_of(1), tg.smooth_labels(Y, 0.2), LOSS, w, epochs=1)


def own_loss(Z, Y):
    return np.mean((Z - Y) ** 2)


@pytest.mark.parametrize(
    ("loss", "text"),
    [
        (tg.mean_squared_error, "fit: label_smoothing is for labels that are probabilities, and the loss is of"),
        (own_loss, "and the loss does not say that its labels are probabilities. Leave it out; or smooth them "
         "yourself: Y = tg.smooth_labels(Y, eps)."),
    ],
)  # fmt: skip
def test_labels_of_other_losses_are_not_smoothed(loss, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        trained(model_of(1), Y, loss, label_smoothing=0.1)


# -- half precision ---------------------------------------------------------------------------------------------------

MANY = 70_000  # whose number is infinite in half precision
OPTIONS = {
    "sample_weight": {"sample_weight": np.ones((1, MANY))}, "balanced": {"class_weight": "balanced"},
    "by class": {"class_weight": {0: 1, 1: 5}},
    "both": {"sample_weight": np.full((1, MANY), 2.0), "class_weight": {0: 1, 1: 5}},
}  # fmt: skip


@pytest.mark.parametrize("compile", [False, True])
@pytest.mark.parametrize("in_chunks", [False, True])
@pytest.mark.parametrize("name", OPTIONS)
def test_weights_of_many_examples_add_up_in_half_precision(name, in_chunks, compile):
    X = np.random.default_rng(0).normal(size=(2, MANY))
    Y, found = (X[:1] > 0.5) * 1, []
    for dtype in (np.float16, float):
        model = tg.nn.LogisticRegression(2, dtype=dtype)
        optimizer = tg.optim.SGD(model.parameters(), lr=0.5)
        data = [da.from_array(x, chunks=(-1, MANY)) if in_chunks else x for x in (X, Y)]
        loss = tg.binary_cross_entropy_with_logits
        found.append(tg.fit(model, *data, loss=loss, optimizer=optimizer, epochs=3, compile=compile, **OPTIONS[name]))
    np.testing.assert_allclose(found[0].costs, found[1].costs, rtol=1e-2)  # of a cost with three digits
