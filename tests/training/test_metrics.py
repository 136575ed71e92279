"""Accuracy and the confusion matrix, whatever the labels are."""

import re

import numpy as np
import pytest

import tinygrad_dls as tg
from tests.training.fitting import LOSS, fit, network
from tinygrad_dls import nn

# -- metrics ----------------------------------------------------------------------------------------------------------


def test_accuracy_and_confusion_matrix():
    Y = np.array([[0, 1, 2, 2, 1]])
    predictions = np.array([[0, 2, 2, 2, 1]])
    one_hot = (np.arange(3)[:, None] == Y).astype(float)
    for labels in (Y, one_hot):
        assert tg.accuracy(predictions, labels) == 0.8
        np.testing.assert_array_equal(tg.confusion_matrix(predictions, labels), [[1, 0, 0], [0, 1, 1], [0, 0, 2]])
    assert tg.confusion_matrix(np.zeros((1, 2), int), np.zeros((1, 2))).tolist() == [[2, 0], [0, 0]]


@pytest.mark.parametrize(
    ("predictions", "Y", "text"),
    [
        (np.zeros(5), np.zeros((1, 5)), "predictions are (5,), Y is (1, 5); expected (1, m), and a column for each."),
        (np.zeros((1, 5)), np.zeros((5, 1)), "predictions are (1, 5), Y is (5, 1)"),
        (np.zeros((1, 0)), np.zeros((1, 0)), "there are no examples."),
    ],
)
def test_metrics_refuse_shapes_that_would_broadcast(predictions, Y, text):
    for metric in (tg.accuracy, tg.confusion_matrix):
        with pytest.raises(ValueError, match=re.escape(text)):
            metric(predictions, Y)


def test_confusion_matrix_counts_classes_only():
    assert tg.confusion_matrix([[0, 1]], [[0, 1]]).tolist() == [[1, 0], [0, 1]]
    for predictions in ([[0, -1]], [[0.3, 0.8]]):
        with pytest.raises(ValueError, match="classes must be integers from 0 up"):
            tg.confusion_matrix(predictions, [[0, 1]])
    assert tg.confusion_matrix([[0]], [[1.0], [0.0], [0.0]]).shape == (3, 3)


# -- what the labels are ----------------------------------------------------------------------------------------------


def trained(model, X, Y, loss, epochs=200, **kwargs):
    optimizer = tg.optim.Adam(model.parameters(), lr=0.05)
    return tg.fit(
        model, X, Y, loss=loss, optimizer=optimizer, epochs=epochs, validation=(X, Y), progress=False, **kwargs
    )


def test_soft_labels_count_as_the_likelier_class(flower):
    X, Y = flower
    soft = np.where(Y == 1, 0.95, 0.05)
    columns = np.vstack([1 - soft, soft])
    model = network()
    history = fit(model, X, soft, epochs=200, validation=(X, soft))
    right = np.mean(model.predict(X) == Y)
    assert right > 0.6
    assert history.validation_accuracies[-1] == right
    assert tg.accuracy(model.predict(X), soft) == tg.accuracy(model.predict(X), columns) == right
    np.testing.assert_array_equal(
        tg.confusion_matrix(model.predict(X), columns), tg.confusion_matrix(model.predict(X), Y)
    )
    assert tg.accuracy([[0, 1]], [[0.5, 0.5001]]) == 1  # as predict has it: 1 where A > 0.5


@pytest.mark.parametrize("compile", [False, True])
@pytest.mark.parametrize(
    "loss",
    [
        LOSS,
        lambda Z, Y: LOSS(Z, Y) + 0.0,
        lambda Z, Y: tg.binary_cross_entropy(tg.sigmoid(Z), Y),
        lambda Z, Y: np.mean(np.log(1 + np.exp(Z)) - Y * Z),
    ],
    ids=["with logits", "wrapped", "of a sigmoid", "written out"],
)
def test_several_labels_are_judged_each_for_itself(loss, compile):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2, 300))
    Y = (X > 0).astype(int)
    model = nn.TwoLayerNetwork(2, 8, 2, rng=0, init=tg.init.xavier)
    history = trained(model, X, Y, loss, compile=compile)
    A = tg.sigmoid(model(X).data)
    np.testing.assert_array_equal(model.predict_proba(X), A)
    np.testing.assert_array_equal(model.predict(X), (A > 0.5).astype(int))
    assert history.validation_accuracies[-1] == np.mean((A > 0.5) == Y) == tg.accuracy(model.predict(X), Y)
    assert history.validation_accuracies[-1] > 0.9


def test_a_model_of_several_labels_says_so_itself():
    X = np.random.default_rng(0).normal(size=(2, 50))
    for model in (
        nn.TwoLayerNetwork(2, 3, 4, rng=0, several_labels=True),
        nn.Classifier(nn.Linear(2, 4, rng=0), several_labels=True),
        nn.Classifier(nn.Linear(2, 4, rng=0), nn.Sigmoid(), several_labels=True),
    ):
        A = model.predict_proba(X)
        assert A.sum(axis=0).max() > 1.1  # no softmax
        np.testing.assert_array_equal(model.predict(X), (A > 0.5).astype(int))
    with pytest.raises(TypeError, match="Classifier: several_labels must be True or False, got 2"):
        nn.Classifier(nn.Linear(2, 4, rng=0), several_labels=2)


def test_a_sigmoid_for_each_class_gives_classes_and_its_own_probabilities():
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 3, (1, 90))
    X = np.array([[3, 0, -3], [0, 3, -3]])[:, classes[0]] + rng.normal(size=(2, 90))
    one_hot = (np.arange(3)[:, None] == classes).astype(float)
    model = nn.TwoLayerNetwork(2, 8, 3, rng=0, init=tg.init.xavier)
    history = trained(model, X, one_hot, LOSS)
    np.testing.assert_array_equal(model.predict_proba(X), tg.sigmoid(model(X).data))
    assert model.predict(X).shape == (1, 90)
    assert history.validation_accuracies[-1] == tg.accuracy(model.predict(X), classes) > 0.9


@pytest.mark.parametrize(
    ("loss", "Y"),
    [
        (tg.mean_squared_error, np.array([[1.5, 20.0, -3.0, 7.25]])),
        (tg.mean_squared_error, np.array([[3, 7, 21, 40]])),
        (tg.mean_squared_error, np.array([[0.0, 1.0, 1.0, 0.0]])),
        (lambda Z, Y: np.mean((Z - Y) ** 2), np.array([[0.1, 0.9, 0.4, 0.3]])),
        (lambda Z, Y: np.mean(np.abs(Y - Z)), np.array([[3.0, 7.0, 21.0, 40.0]])),
        (lambda Z, Y: np.mean(np.log(1 + np.exp(Z)) * Y), np.array([[3.0, 7.0, 21.0, 40.0]])),
    ],
)
def test_there_is_no_accuracy_of_numeric_targets(loss, Y):
    X = np.arange(8.0).reshape(2, 4) / 8

    class Regression(nn.Sequential):
        def predict(self, X):
            return self(X).data

    for model in (nn.TwoLayerNetwork(2, 4, rng=0), Regression(nn.Linear(2, 1, rng=0))):
        history = trained(model, X, Y, loss, epochs=2)
        assert len(history.validation_costs) == 2
        assert history.validation_accuracies == []
        assert "accuracy" not in repr(history)


def test_a_sigmoid_that_is_trained_by_squares_has_an_accuracy(flower):
    X, Y = flower
    model = nn.Classifier(nn.Linear(2, 1, rng=0), nn.Sigmoid())
    history = trained(model, X, Y, tg.mean_squared_error, epochs=3)
    assert history.validation_accuracies[-1] == tg.accuracy(model.predict(X), Y)


@pytest.mark.parametrize(
    ("predictions", "Y", "text"),
    [
        ([[0.3, 0.8]], [[0, 1]], "predictions hold 0.3, which is no class. Pass model.predict(X), or A > 0.5"),
        ([[0, 1]], [[3.7, 1.0]], "Y holds 3.7, which is no class: there is no accuracy of numeric targets."),
        ([[0, 1]], [[-0.5, 1.0]], "Y holds -0.5, which is no class"),
        ([[0, 2]], [[0.1, 0.9]], "Y holds soft labels of the classes 0 and 1, predictions hold 2."),
        ([[0, 1, 1]], [[-1, 1, -1]], "Y: labels -1 and 1, held against labels 0 and 1. Write (Y + 1) / 2."),
        ([[1.0, -1.0]], [[1, 0]], "predictions: labels -1 and 1, held against labels 0 and 1. Write (predictions + 1)"),
        ([[0, 1]], [[1, 1], [1, 0]], "a column of Y has several labels, or none"),
        ([[0, 1]], [[0, 1], [0, 0]], "let the model have several_labels=True."),
        ([[1, 0], [0, 1]], [[1, 1], [0, 0]], "have a single 1 in each column. Of one-hot classes pass np.argmax"),
        ([[0.2, 0.1], [0.8, 0.9]], [[1, 1], [1, 0]], "predictions hold 0.2, which is no class."),
        ([[2, 0], [0, 1]], [[1, 1], [1, 0]], "several labels for an example must be 0 or 1 each"),
    ],
)
def test_accuracy_refuses_what_has_no_classes(predictions, Y, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        tg.accuracy(predictions, Y)


def test_accuracy_takes_classes_of_any_numbers():
    assert tg.accuracy([[-1, 1, 1]], [[-1, 1, -1]]) == pytest.approx(2 / 3)
    assert tg.accuracy([[1, 1]], [[-1, 1]]) == 0.5
    assert tg.accuracy([[-1, 0, 1]], [[-1, 0, 0]]) == pytest.approx(2 / 3)
    assert tg.accuracy([[0, 3]], [[-1, 3]]) == 0.5


def test_accuracy_of_several_labels_is_the_fraction_of_labels():
    assert tg.accuracy([[1, 0], [1, 1]], [[1, 1], [1, 1]]) == 0.75
