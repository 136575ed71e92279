"""Initialisers."""

import numpy as np
import pytest

import tinygrad_dls as tg
from tinygrad_dls import nn


@pytest.mark.parametrize(
    ("init", "deviation"), [(tg.init.small, 0.01), (tg.init.xavier, 0.1), (tg.init.he, np.sqrt(0.02))]
)
def test_spread_of_initialisers(init, deviation):
    W = nn.Linear(100, 2000, rng=0, init=init).W.data
    assert abs(W.mean()) < 5 * deviation / np.sqrt(W.size)
    assert W.std() == pytest.approx(deviation, rel=0.02)  # 200,000 draws: 0.16 % is one standard error


def test_an_initialiser_of_the_users():
    values = np.arange(6.0).reshape(2, 3)
    layer = nn.Linear(3, 2, init=values)
    np.testing.assert_array_equal(layer.W.data, values)
    layer.W.data[:] = 0
    assert values.max() == 5  # copied
    assert (nn.Linear(3, 2, init=lambda shape, rng: np.full(shape, 2.0), rng=0).W.data == 2).all()
    assert nn.Linear(3, 2, init=[[1, 2, 3], [4, 5, 6]]).W.dtype == float


def test_randomness_comes_from_rng_alone():
    np.random.seed(0)
    state = np.random.get_state()[1].copy()
    a, b = (nn.TwoLayerNetwork(2, 4, rng=5).state_dict() for _ in range(2))
    c = nn.TwoLayerNetwork(2, 4, rng=np.random.default_rng(5)).state_dict()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name])
        np.testing.assert_array_equal(a[name], c[name])
    np.testing.assert_array_equal(np.random.get_state()[1], state)


def test_float32_models():
    model = nn.TwoLayerNetwork(2, 4, rng=0, dtype=np.float32)
    assert {p.dtype for p in model.parameters()} == {np.dtype(np.float32)}
    assert model(np.ones((2, 3), np.float32)).dtype == np.float32
