"""The playground's training: `fit` in small pieces, with the same numbers."""

import numpy as np
import pytest

import tinygrad_dls as tg
from playground.engine.data import examples
from playground.engine.session import Session
from playground.engine.settings import Settings


def session(**given):
    settings = Settings.of(given)
    return Session(settings, examples(settings))


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"hidden": []},
        {"data": "moons", "batch_size": 64, "l2": 0.1, "optimizer": "momentum", "lr": 0.1},
        {"data": "xor", "hidden": [8, 4], "activation": "relu", "init": "he", "optimizer": "adam", "lr": 0.01},
        {"data": "circles", "activation": "sigmoid", "init": "xavier", "optimizer": "rmsprop", "lr": 0.01},
        {"data": "spirals", "dropout": 0.2, "held_out": 0},
    ],
)
def test_the_costs_are_those_of_fit_to_the_last_bit(given):
    here, there = session(**given), session(**given)
    here.advance(1e9, 12)
    data, settings = there.data, there.settings
    history = tg.fit(
        there.model,
        data.X,
        data.Y,
        loss=there.loss,
        optimizer=there.optimizer,
        epochs=12,
        batch_size=settings.batch_size or None,
        rng=settings.seed,
        validation=(data.X_held, data.Y_held) if settings.held_out else None,
        compile={"fallback": settings.dropout > 0},
    )
    assert here.costs == history.costs
    assert here.held_costs == history.validation_costs


def test_the_flower_is_the_courses_and_is_learned():
    trained = session(held_out=0)
    X, Y = tg.datasets.planar_flower()
    np.testing.assert_array_equal(trained.data.X, X)
    np.testing.assert_array_equal(trained.data.Y, Y)
    trained.advance(1e9, 5000)
    assert trained.accuracy() > 0.9


@pytest.mark.parametrize("given", [{"dropout": 0.3, "batch_size": 50}, {"data": "moons", "batch_size": 30}])
def test_rewound_it_starts_alike(given):
    trained = session(**given)
    trained.advance(1e9, 3)
    before = list(trained.costs)
    trained.rewind()
    assert (trained.epoch, trained.steps) == (0, 0)
    trained.advance(1e9, 3)
    assert trained.costs == before


def test_a_step_is_one_batch():
    trained = session(batch_size=100)  # of 320
    for steps, epoch, within in ((1, 0, 1), (2, 0, 2), (3, 0, 3), (4, 1, 0), (5, 1, 1)):
        trained.step()
        assert (trained.steps, trained.epoch, trained.within) == (steps, epoch, within)


def test_it_goes_no_further_than_asked():
    trained = session()
    trained.advance(1e9, 7)
    assert trained.epoch == 7
    trained.advance(1e9, 7)
    assert trained.epoch == 7


def test_it_stops_after_a_step_when_the_time_is_over():
    trained = session()
    trained.advance(0)
    assert trained.steps == 1


def test_features_are_functions_of_the_coordinates():
    data = session(features=["x1 x2", "sin x1", "x2^2"], held_out=0).data
    x1, x2 = data.inputs
    np.testing.assert_array_equal(data.X, [x1 * x2, np.sin(x1), x2**2])


@pytest.mark.parametrize("name", ["circles", "moons", "xor", "spirals"])
def test_planar_sets_have_two_classes_that_a_network_tells_apart(name):
    trained = session(data=name, hidden=[8, 8], init="xavier", optimizer="adam", lr=0.03, noise=0.1)
    assert set(np.unique(trained.data.Y)) == {0, 1}
    trained.advance(1e9, 1500)
    assert trained.accuracy(held=True) > 0.9
