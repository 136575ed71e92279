"""Metrics by name and by function: they are scikit-learn's, or none at all."""

import re
import sys

import numpy as np
import pytest
from sklearn import metrics as sk

import tinygrad_dls as tg
from tests.training.fitting import LOSS
from tinygrad_dls import nn
from tinygrad_dls.training.scores import NAMES

RNG = np.random.default_rng(4)
X = RNG.standard_normal((2, 80))
BINARY = (X[:1] + 0.7 * RNG.standard_normal((1, 80)) > 0.3).astype(int)
CLASSES = BINARY + (X[1:] > 0.5)
ONE_HOT = np.eye(3)[:, CLASSES[0]]
SEVERAL = np.concatenate([BINARY, (X[1:] > 0.2).astype(int)])
NUMBERS = np.concatenate([X[:1] * X[1:], X[:1] + 1])
SOFTMAX, SQUARED = tg.softmax_cross_entropy, tg.mean_squared_error


def trained(rows, loss, Y, metrics, validation=None, model=None):
    model = model or nn.Classifier(nn.Linear(2, rows, rng=0))
    optimizer = tg.optim.SGD(model.parameters(), lr=0.5)
    history = tg.fit(model, X, Y, loss=loss, optimizer=optimizer, epochs=3, metrics=metrics,
                     validation=(X, Y) if validation is None else validation)  # fmt: skip
    return model, history


def last(history):
    return {name: column[-1] for name, column in history.metrics.items()}


def test_of_two_classes():
    model, history = trained(1, LOSS, BINARY, ["accuracy", "precision", "recall", "f1", "auc", "f1_macro"])
    y, p, a = BINARY[0], model.predict(X)[0], model.predict_proba(X)[0]
    assert 0 < p.sum() < 80
    assert last(history) == {
        "accuracy": sk.accuracy_score(y, p), "precision": sk.precision_score(y, p), "recall": sk.recall_score(y, p),
        "f1": sk.f1_score(y, p), "auc": sk.roc_auc_score(y, a), "f1_macro": sk.f1_score(y, p, average="macro"),
    }  # fmt: skip
    assert history.metrics["accuracy"] == history.validation_accuracies
    assert all(len(column) == 3 for column in history.metrics.values())


@pytest.mark.parametrize("Y", [CLASSES, ONE_HOT], ids=["indices", "one-hot"])
def test_of_several_classes(Y):
    names = [
        f"{name}_{average}" for name in ("precision", "recall", "f1") for average in ("macro", "micro", "weighted")
    ]
    model, history = trained(3, SOFTMAX, Y, [*names, "auc_ovr", "auc_ovo", "accuracy"])
    y, p, a = CLASSES[0], model.predict(X)[0], model.predict_proba(X).T
    expected = {name: getattr(sk, f"{name.split('_')[0]}_score")(y, p, average=name.split("_")[1]) for name in names}
    expected |= {f"auc_{kind}": sk.roc_auc_score(y, a, multi_class=kind) for kind in ("ovr", "ovo")}
    expected["accuracy"] = sk.accuracy_score(y, p)
    assert last(history) == pytest.approx(expected, rel=1e-12)  # probabilities are made to sum to 1 exactly


def test_of_several_labels():
    model, history = trained(2, LOSS, SEVERAL, ["f1_macro", "precision_micro", "recall_weighted", "auc_macro"])
    y, p, a = SEVERAL.T, model.predict(X).T, model.predict_proba(X).T
    assert last(history) == {
        "f1_macro": sk.f1_score(y, p, average="macro"), "precision_micro": sk.precision_score(y, p, average="micro"),
        "recall_weighted": sk.recall_score(y, p, average="weighted"),
        "auc_macro": sk.roc_auc_score(y, a, average="macro"),
    }  # fmt: skip


def test_of_numbers():
    model, history = trained(2, SQUARED, NUMBERS, "r2")
    assert history.metrics["r2"][-1] == sk.r2_score(NUMBERS.T, model(X).data.T)
    assert history.validation_accuracies == []
    _, history = trained(2, lambda A, Y: np.mean((A - Y) ** 2), NUMBERS, ["r2"])
    assert len(history.metrics["r2"]) == 3


def test_functions_are_called_with_predictions_and_labels():
    def errors(predictions, Y):
        assert predictions.shape == Y.shape == (1, 80)
        return np.sum(predictions != Y)

    model, history = trained(1, LOSS, BINARY, [errors, "f1"])
    assert list(history.metrics) == ["errors", "f1"]
    assert history.metrics["errors"][-1] == (model.predict(X) != BINARY).sum()
    model, history = trained(2, SQUARED, NUMBERS, {"worst": lambda A, Y: np.max(np.abs(A - Y)), "of variance": "r2"})
    assert history.metrics["worst"][-1] == np.abs(model(X).data - NUMBERS).max()
    assert list(history.metrics) == ["worst", "of variance"]
    assert repr(history).endswith(f", of variance {history.metrics['of variance'][-1]:.4f}")
    _, history = trained(1, LOSS, BINARY, tg.accuracy)
    assert history.metrics["accuracy"] == history.validation_accuracies


def test_metrics_are_of_the_model_without_dropout_in_validation():
    model = nn.Classifier(nn.Linear(2, 8, rng=0), nn.Tanh(), nn.Dropout(keep_prob=0.5, rng=0), nn.Linear(8, 1, rng=1))
    model, history = trained(1, LOSS, BINARY, "auc", model=model)
    assert history.metrics["auc"][-1] == sk.roc_auc_score(BINARY[0], model.predict_proba(X)[0])


class Bare(nn.Module):
    """A model without `predict`."""

    def __init__(self):
        self.layer = nn.Linear(2, 1, rng=0)

    def __call__(self, X):
        return self.layer(X)


SOFT = np.clip(BINARY, 0.1, 0.9)
MANY = "fit: metrics: "
REFUSED = [
    (1, LOSS, SOFT, "f1", "f1: the labels of the validation data are soft, or numbers; it is for classes."),
    (1, LOSS, SOFT, "auc", "auc: the labels of the validation data are soft"),
    (3, SOFTMAX, 0.7 * ONE_HOT + 0.1, "f1_macro", "f1_macro: the labels of the validation data are soft"),
    (3, SOFTMAX, 0.7 * ONE_HOT + 0.1, "auc_ovr", "auc_ovr: the labels of the validation data are soft"),
    (3, SOFTMAX, CLASSES, "f1", "f1: there are more than two classes. Say how to average: 'f1_macro'."),
    (3, SOFTMAX, CLASSES, "auc", "auc: the model gives 3 rows of probabilities. Take 'auc_ovr' or 'auc_ovo'."),
    (3, SOFTMAX, CLASSES, "auc_macro", "auc_macro: the model gives 3 rows of probabilities. Take 'auc_ovr' or"),
    (2, LOSS, SEVERAL, "f1", "f1: there are several labels for each example. Say how to average: 'f1_macro'."),
    (2, LOSS, SEVERAL, "auc", "auc: the model gives 2 rows of probabilities. Take 'auc_macro'."),
    (1, LOSS, BINARY, "auc_ovr", "auc_ovr: the model gives 1 rows of probabilities. Take 'auc'."),
    (
        1,
        LOSS,
        BINARY,
        "r2",
        "r2: it is for targets that are numbers, with a loss of errors such as tg.mean_sq",
    ),
    (3, SOFTMAX, CLASSES, "r2", "r2: it is for targets that are numbers"),
    (2, SQUARED, NUMBERS, "f1_macro", "f1_macro: it is for classes, and the model is trained for numbers. Take 'r2'"),
    (2, SQUARED, NUMBERS, "accuracy", "accuracy: it is for classes, and the model is trained for numbers."),
    (1, SQUARED, BINARY, "precision", "precision: it is for classes, and the model is trained for numbers."),
    (1, SQUARED, BINARY, "auc", "auc: it is for classes, and the model is trained for numbers."),
    (1, LOSS, BINARY, "f2", "there is none called f2; there are accuracy, precision, "),
    (1, LOSS, BINARY, [lambda predictions, Y: 1.0], "a function without a name. Name it: metrics={'name': function}."),
    (1, LOSS, BINARY, ["f1", "f1"], "there are two called f1."),
    (1, LOSS, BINARY, {"cost": "f1"}, "cost is what the history calls something else"),
]


@pytest.mark.parametrize(("rows", "loss", "Y", "name", "text"), REFUSED)
def test_what_a_metric_is_not_for_is_refused_before_anything_is_trained(rows, loss, Y, name, text):
    model = nn.Classifier(nn.Linear(2, rows, rng=0))
    before = model.state_dict()
    with pytest.raises(ValueError, match=re.escape(MANY + text)):
        trained(rows, loss, Y, name, model=model)
    assert all(np.array_equal(x, before[key]) for key, x in model.state_dict().items())


@pytest.mark.parametrize(
    ("metrics", "text"),
    [
        (3, "fit: metrics are names, functions of (predictions, Y), or a dict of them by name: metrics=['f1', 'auc']"),
        ({3: "f1"}, "fit: metrics: a name is a text, got 3."),
        ({"own": 3}, "fit: metrics: own is a name or a function of (predictions, Y), got 3."),
        (sk.recall_score, "fit: metrics: recall_score of scikit-learn takes rows, and the labels first. Take one by "
         "name, such as 'f1'; or write metrics={'recall_score': lambda predictions, Y: recall_score(Y[0], "
         "predictions[0])}."),
        ({"own": lambda predictions, Y: "good"}, "fit: metrics: own: its value must be a number, got"),
    ],
)  # fmt: skip
def test_what_is_no_metric_is_refused(metrics, text):
    with pytest.raises(TypeError, match=re.escape(text)):
        trained(1, LOSS, BINARY, metrics)


def test_an_area_without_examples_of_each_class_is_refused():
    with pytest.raises(ValueError, match="the labels of the validation data are not both of 0 and 1"):
        trained(1, LOSS, BINARY, "auc", validation=(X, np.zeros((1, 80))))
    with pytest.raises(ValueError, match="a class has no example in the validation data"):
        trained(3, SOFTMAX, CLASSES, "auc_ovo", validation=(X, np.minimum(CLASSES, 1)))
    with pytest.raises(ValueError, match="a label is the same for all examples of the validation data"):
        trained(2, LOSS, SEVERAL, "auc_macro", validation=(X, SEVERAL * [[1], [0]]))


def test_metrics_need_validation_data_and_a_model_that_predicts():
    model = nn.Classifier(nn.Linear(2, 1, rng=0))
    with pytest.raises(ValueError, match=re.escape("and there are none. Pass validation=(X, Y).")):
        tg.fit(model, X, BINARY, loss=LOSS, optimizer=tg.optim.SGD(model.parameters(), lr=1), epochs=1, metrics="f1")
    with pytest.raises(
        ValueError, match=re.escape("fit: metrics: f1: Bare has no predict(X). Give it one, or let it be")
    ):
        trained(1, LOSS, BINARY, "f1", model=Bare())
    _, history = trained(1, SQUARED, BINARY.astype(float), "r2", model=Bare())
    assert len(history.metrics["r2"]) == 3


def test_a_metric_without_scikit_learn_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ImportError, match=r"the metric f1 needs scikit-learn: pip install -e '.+\[sklearn\]'"):
        trained(1, LOSS, BINARY, "f1")
    _, history = trained(1, LOSS, BINARY, "accuracy")
    assert len(history.metrics["accuracy"]) == 3


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_documented(name):
    kind = name.split("_")[0]
    assert f'``"{kind}' in tg.fit.__doc__


class Hesitant(Bare):
    """A model whose predictions are no classes in its second epoch."""

    asked = 0

    def predict(self, X):
        self.asked += 1
        return 0.5 * np.ones((1, 80)) if self.asked == 2 else np.ones((1, 80))


def test_an_accuracy_stands_by_its_epoch_where_there_is_none_of_another():
    _, history = trained(1, LOSS, BINARY, (), model=Hesitant())
    assert [np.isnan(x) for x in history["validation_accuracy"]] == [False, True, False]
