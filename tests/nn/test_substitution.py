"""Copies of a model: what they share with it, and what they have for themselves."""

import threading

import numpy as np

import tinygrad_dls as tg
from tinygrad_dls import nn
from tinygrad_dls.nn.substitution import twin_of


class Keeping(nn.Module):
    def __init__(self):
        self.first, self.second = nn.Dropout(0.5, rng=np.random.default_rng(0)), nn.Linear(2, 2, rng=0)
        self.third = nn.Dropout(0.5, rng=self.first.rng)
        self.seen, self.lock, self.gate = [], threading.Lock(), self.second
        self.constant = tg.Tensor([1.0])

    def __call__(self, x):
        self.seen.append(x)
        return self.third(self.first(self.second(x))) * self.constant


def test_a_twin_shares_parameters_and_tensors_and_has_the_rest_for_itself():
    model = Keeping()
    twin = twin_of(model)
    assert twin.parameters() == model.parameters()
    assert all(p is q for p, q in zip(twin.parameters(), model.parameters(), strict=True))
    assert twin.constant is model.constant
    twin.seen.append(1)
    assert model.seen == []
    assert twin.lock is model.lock  # which cannot be copied


def test_what_is_one_thing_in_a_model_is_one_in_its_twin():
    twin = twin_of(Keeping())
    assert twin.first.rng is twin.third.rng
    assert twin.gate is twin.second


def test_a_twin_draws_what_the_model_would_have_drawn():
    model, X = Keeping(), np.ones((2, 5))
    first, second = (twin_of(model)(X).data for _ in range(2))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(model(X).data, first)


def test_drawing_leaves_what_a_module_keeps_as_it_is():
    model = Keeping()
    tg.draw(model, np.ones((2, 5)))
    assert model.seen == []
