"""Layers and models: what they compute, and what they say when shapes differ."""

import re

import numpy as np
import pytest

import tinygrad_dls as tg
from tinygrad_dls import nn


def test_linear_is_w_a_plus_b():
    layer = nn.Linear(3, 2, rng=0)
    layer.b.data = [[1.0], [2.0]]
    A = np.arange(12.0).reshape(3, 4)
    Z = layer(A)
    assert isinstance(Z, tg.Tensor)
    np.testing.assert_array_equal(Z.data, layer.W.data @ A + layer.b.data)
    np.testing.assert_array_equal(layer(A.tolist()).data, Z.data)


def test_models_return_logits_probabilities_and_classes():
    X = np.random.default_rng(0).normal(size=(2, 7))
    for model in (nn.TwoLayerNetwork(2, 4, rng=1, init=tg.init.xavier), nn.LogisticRegression(2)):
        Z = model(X).data
        assert Z.shape == (1, 7)
        A = model.predict_proba(X)
        assert type(A) is np.ndarray
        np.testing.assert_array_equal(A, tg.sigmoid(Z))
        np.testing.assert_array_equal(model.predict(X), (Z > 0).astype(int))


def test_several_classes():
    X = np.random.default_rng(0).normal(size=(2, 7))
    model = nn.TwoLayerNetwork(2, 4, 3, nn.ReLU(), rng=1, init=tg.init.he)
    np.testing.assert_allclose(model.predict_proba(X).sum(axis=0), 1, rtol=1e-15)
    np.testing.assert_array_equal(model.predict(X), np.argmax(model(X).data, axis=0)[None, :])


def test_a_classifier_that_ends_in_its_activation():
    X = np.random.default_rng(0).normal(size=(2, 7))
    linear = nn.Linear(2, 1, rng=1)
    ends_in_sigmoid, ends_in_logits = nn.Classifier(linear, nn.Sigmoid()), nn.Classifier(linear)
    np.testing.assert_array_equal(ends_in_sigmoid.predict_proba(X), ends_in_logits.predict_proba(X))
    three = nn.Linear(2, 3, rng=1)
    np.testing.assert_array_equal(nn.Classifier(three, nn.Softmax()).predict(X), nn.Classifier(three).predict(X))


def test_the_graph_carries_the_courses_names():
    model = nn.TwoLayerNetwork(2, 4, rng=1)
    Z2 = model(np.ones((2, 3)))
    W2, A1, b2 = Z2.inputs
    Z1 = A1.inputs[0]
    assert [t.name for t in (Z2, W2, A1, b2, Z1)] == ["Z2", "W2", "A1", "b2", "Z1"]
    single = nn.LogisticRegression(2)
    assert [single(np.ones((2, 3))).name, *dict(single.named_parameters())] == ["Z", "W", "b"]


def test_a_predefined_numpy_function_is_a_layer():
    model = nn.TwoLayerNetwork(2, 4, activation=np.sin, rng=1)
    np.sum(model(np.ones((2, 3)))).backward()
    assert dict(model.named_parameters())["W1"].grad.shape == (4, 2)


# -- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: nn.TwoLayerNetwork(2, 4, rng=0)(np.ones((400, 2))),
         "layer1 (Linear 2 -> 4): W is (4, 2), X is (400, 2); expected X to be (2, m). Did you pass X transposed?"),
        (lambda: nn.Sequential(nn.Linear(2, 5, rng=0), nn.Tanh(), nn.Linear(4, 1, rng=0))(np.ones((2, 400))),
         "layer2 (Linear 4 -> 1): W is (1, 4), A1 is (5, 400); expected A1 to be (4, m). "
         "Did you mean Linear(5, 1), or is a layer before it of another size?"),
        (lambda: nn.LogisticRegression(3)(np.ones(3)),
         "layer1 (Linear 3 -> 1): W is (1, 3), X is (3,); expected X to be (3, m). "
         "Examples are columns: write X.reshape(3, -1) if each has 3 values."),
        (lambda: nn.LogisticRegression(12)(np.zeros((4, 2, 2, 3))),
         "X is (4, 2, 2, 3); expected X to be (12, m). "
         "Examples are columns: write X.reshape(X.shape[0], -1).T if the first axis counts the examples."),
        (lambda: nn.LogisticRegression(4).predict(np.zeros((5, 2, 2))), "write X.reshape(X.shape[0], -1).T if"),
        (lambda: nn.Linear(0, 1, rng=0), "Linear: n_in must be a positive integer, got 0."),
        (lambda: nn.Linear(1, 2.0, rng=0), "Linear: n_out must be a positive integer, got 2.0."),
        (lambda: nn.Linear(3, 2), "init.xavier draws random numbers: pass a seed, rng=0, or a generator"),
        (lambda: nn.TwoLayerNetwork(3, 2), "init.small draws random numbers: pass a seed, rng=0"),
        (lambda: nn.Linear(3, 2, init=np.ones((3, 2))),
         "Linear 3 -> 2: init gave W of shape (3, 2); expected (n_out, n_in) = (2, 3)."),
        (lambda: nn.Dropout(0, rng=0), "Dropout: keep_prob must be in (0, 1], got 0."),
        (lambda: nn.Sequential(), "Sequential needs at least one layer."),
        (lambda: nn.Sequential(nn.Tanh), "Write Tanh()."),
        (lambda: nn.Sequential(3), "Sequential takes layers, got 3."),
        (lambda: nn.Sequential([np.tanh]), "Sequential takes layers, got [<ufunc 'tanh'>]. Write Sequential(*layers)."),
        (lambda: nn.Module()(1), "Module does not define __call__."),
    ],
)  # fmt: skip
def test_errors_name_the_layer_and_the_likely_mistake(call, text):
    with pytest.raises((ValueError, TypeError, NotImplementedError), match=re.escape(text)):
        call()


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int64, bool])
@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_integers_are_predicted_from_as_fit_trains_with_them(dtype, kind):
    """What goes round at 256, or is an `or`, would be other numbers than those of the training."""
    seen = []

    def shifted(X):
        seen.append(X)
        return X + X - 100

    X = np.random.default_rng(0).integers(0, 2 if dtype is bool else 127, (3, 8)).astype(dtype)
    model = nn.Classifier(shifted, nn.Linear(3, 1, rng=0, dtype=kind))
    tg.fit(model, X, X[:1] > 0, loss=tg.binary_cross_entropy_with_logits, epochs=1, progress=False,
           optimizer=tg.optim.SGD(model.parameters(), 0.0))  # fmt: skip
    trained_with = seen[-1]
    A = model.predict_proba(X)
    np.testing.assert_array_equal(seen[-1], trained_with, strict=True)
    assert A.dtype == kind
    np.testing.assert_array_equal(A, model.predict_proba(X.astype(kind)))
    np.testing.assert_array_equal(model.predict(X), A > 0.5)
