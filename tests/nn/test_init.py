"""Initialisers."""

import pickle

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


# -- the streams of the course ----------------------------------------------------------------------------------------


def streams(seed):
    """The stream of the course as it may be passed: a RandomState, and np.random itself after np.random.seed."""
    yield np.random.RandomState(seed)
    np.random.seed(seed)
    yield np.random


def flower_of(rng):
    return np.concatenate(tg.datasets.planar_flower(20, rng=rng))


def batches_of(rng):
    X = np.arange(20.0).reshape(2, 10)
    return np.hstack([np.vstack(batch) for batch in tg.minibatches(X, X[:1] > 4, 4, rng=rng)])


def fitted(rng):
    X, Y = tg.datasets.planar_flower(20)
    model = tg.nn.LogisticRegression(2)
    loss, optimizer = tg.binary_cross_entropy_with_logits, tg.optim.SGD(model.parameters(), 0.5)
    return tg.fit(model, X, Y, loss=loss, optimizer=optimizer, epochs=2, batch_size=8, rng=rng).costs


TAKERS = {
    "small": lambda rng: tg.init.small((4, 2), rng),
    "he": lambda rng: tg.init.he((4, 2), rng),
    "xavier": lambda rng: tg.init.xavier((4, 2), rng),
    "Linear": lambda rng: tg.nn.Linear(2, 4, rng=rng).W.data,
    "TwoLayerNetwork": lambda rng: np.concatenate([w.ravel() for w in network_of(rng).state_dict().values()]),
    "Dropout": lambda rng: tg.nn.Dropout(0.5, rng=rng)(np.ones((4, 5))),
    "minibatches": batches_of,
    "fit": fitted,
    "planar_flower": flower_of,
}


def network_of(rng):
    return tg.nn.TwoLayerNetwork(2, 4, rng=rng)


@pytest.mark.parametrize("name", TAKERS)
def test_all_that_draws_takes_the_legacy_streams(name):
    of_state, of_module = (np.asarray(TAKERS[name](rng)) for rng in streams(3))
    np.testing.assert_array_equal(of_module, of_state)
    assert not np.array_equal(TAKERS[name](np.random.default_rng(3)), of_state)


def test_the_courses_initialisations_are_drawn_with_its_seed():
    """As initialize_parameters and initialize_parameters_he draw them: W1 first, then W2."""
    np.random.seed(2)
    W1, W2 = np.random.randn(4, 2) * 0.01, np.random.randn(1, 4) * 0.01
    W3 = np.random.randn(3, 4) * np.sqrt(2 / 4)
    for rng in streams(2):
        state = network_of(rng).state_dict()
        np.testing.assert_array_equal(state["W1"], W1)
        np.testing.assert_array_equal(state["W2"], W2)
        np.testing.assert_array_equal(tg.init.he((3, 4), rng), W3)


def test_the_courses_mini_batches_are_drawn_with_its_seed():
    """As random_mini_batches cuts them: shuffled, in whole batches, and the rest."""
    X = np.arange(30.0).reshape(2, 15)
    Y = X[:1] > 7
    np.random.seed(0)
    permutation = list(np.random.permutation(15))
    shuffled_X, shuffled_Y = X[:, permutation], Y[:, permutation]
    expected = [(shuffled_X[:, k : k + 4], shuffled_Y[:, k : k + 4]) for k in range(0, 15, 4)]
    for rng in streams(0):
        for (x, y), (u, v) in zip(tg.minibatches(X, Y, 4, rng=rng), expected, strict=True):
            np.testing.assert_array_equal(x, u)
            np.testing.assert_array_equal(y, v)


def test_a_layer_that_draws_from_np_random_pickles():
    np.random.seed(3)
    layer = tg.nn.Dropout(0.5, rng=np.random)
    twin = pickle.loads(pickle.dumps(layer))
    np.testing.assert_array_equal(twin(np.ones((4, 5))), layer(np.ones((4, 5))))
