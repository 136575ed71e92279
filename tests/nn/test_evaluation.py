"""Predicting: no modes are changed, and threads do not see each other's."""

import sys
import threading

import numpy as np

import tinygrad_dls as tg
from tinygrad_dls import nn


def with_dropout():
    return nn.Classifier(nn.Linear(2, 8, rng=0), nn.Tanh(), nn.Dropout(0.5, rng=1), nn.Linear(8, 1, rng=2))


def test_threads_predict_with_one_model_and_see_no_modes_of_each_other(monkeypatch):
    X = np.random.default_rng(0).normal(size=(2, 50))
    model = with_dropout()
    right, wrong = model.predict_proba(X), []
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)

    def work():
        wrong.append(sum(not np.array_equal(model.predict_proba(X), right) for _ in range(200)))

    try:
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            assert all(module.training for module in model.modules())
            assert not np.array_equal(model(X).data, right)  # this thread trains, and drops
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(usual)
    assert wrong == [0] * 4


def test_predicting_changes_nothing_of_a_model_or_its_generators():
    model = with_dropout()
    model.layers[2].eval()
    before, drawn = [dict(vars(m)) for m in model.modules()], model.layers[2].rng.bit_generator.state
    model.predict(np.ones((2, 3)))
    assert [dict(vars(m)) for m in model.modules()] == before
    assert model.layers[2].rng.bit_generator.state == drawn


def test_modules_of_users_are_in_evaluation_mode_too_while_something_is_predicted(flower):
    class Half(nn.Module):
        def __call__(self, a):
            return a * (0.5 if self.training else 1.0)

    X, _ = flower
    linear = nn.Linear(2, 1, rng=0)
    model = nn.Classifier(linear, Half())
    np.testing.assert_array_equal(model.predict_proba(X), nn.Classifier(linear).predict_proba(X))
    assert model.layers[1].training
    with tg.no_grad():
        np.testing.assert_array_equal(model(X).data, 0.5 * linear(X).data)


def test_a_compiled_function_that_was_recorded_while_predicting_is_recorded_anew_in_training():
    class Half(nn.Module):
        def __call__(self, a):
            return a * (0.5 if self.training else 1.0)

    half = Half()
    compiled = tg.compile(lambda a: half(a))
    model = nn.Classifier(lambda a: tg.Tensor(compiled(a)), nn.Sigmoid())
    X = np.array([[2.0, 4.0]])
    for _ in range(2):
        np.testing.assert_array_equal(model.predict_proba(X), tg.sigmoid(X))
        np.testing.assert_array_equal(compiled(X), X / 2)
