"""The range test of learning rates: what it tries, what it suggests, and that it leaves everything as it was."""

import copy
import re
import threading

import numpy as np
import pytest

import tinygrad_dls as tg
from tests.training.fitting import LOSS, fit, network
from tests.views.markup import rows_of


def found_of(model, X, Y, optimizer=None, **options):
    optimizer = optimizer or tg.optim.SGD(model.parameters(), lr=0.1)
    return tg.learning_rates(model, X, Y, **{"loss": LOSS, "optimizer": optimizer} | options)


def test_rates_grow_by_one_factor_and_each_cost_is_that_before_its_step(flower):
    found = found_of(network(), *flower, lowest=0.01, highest=1, steps=11)
    np.testing.assert_allclose(np.divide(found.lrs[1:], found.lrs[:-1]), 10**0.2)
    model = network()
    optimizer = tg.optim.SGD(model.parameters(), lr=1)
    expected = []
    for optimizer.lr in found.lrs:
        expected += tg.fit(model, *flower, loss=LOSS, optimizer=optimizer, epochs=1).costs
    assert found.costs == expected


def test_the_suggestion_trains_and_is_a_tenth_of_where_the_cost_was_lowest(flower):
    found = found_of(network(), *flower, lowest=1e-3, highest=1e3)
    best = found.lrs[int(np.argmin(found.costs))]
    assert best / 30 < found.suggestion < best  # the costs are averaged with their neighbours' first
    costs = fit(network(), *flower, epochs=100, lr=found.suggestion).costs
    assert costs[-1] < 0.7 * costs[0]


def test_it_ends_where_the_cost_explodes(flower):
    found = found_of(network(), *flower, lowest=1e-3, highest=1e6)
    assert len(found.lrs) == len(found.costs) < 100
    assert max(found.costs) <= 4 * found.costs[0]


@pytest.mark.parametrize("batches", [{}, {"batch_size": 64}])
def test_model_optimizer_and_generators_stay_as_they_were(flower, batches):
    rng = np.random.default_rng(0)
    layers = tg.nn.Linear(2, 4, rng=0), tg.nn.BatchNorm(4), tg.nn.Tanh(), tg.nn.Dropout(0.8, rng=rng)
    model = tg.nn.Classifier(*layers, tg.nn.Linear(4, 1, rng=1))
    optimizer = tg.optim.Adam(model.parameters(), lr=tg.optim.cosine_decay(0.05, steps=60))
    fit_on = {"loss": LOSS, "optimizer": optimizer}
    tg.fit(model, *flower, epochs=2, **fit_on)
    model.eval()
    before = copy.deepcopy((model.state_dict(), optimizer.state_dict(), rng.bit_generator.state))
    gradients, lr = [p.grad for p in model.parameters()], optimizer.lr
    found_of(model, *flower, optimizer, rng=rng if batches else None, **batches)
    after = model.state_dict(), optimizer.state_dict(), rng.bit_generator.state
    np.testing.assert_equal(after, before)
    assert not model.training
    assert optimizer.lr is lr
    for p, gradient in zip(model.parameters(), gradients, strict=True):
        np.testing.assert_array_equal(p.grad, gradient)


def test_weights_of_examples_count(flower):
    X, Y = flower
    weights = 1.0 * (np.arange(X.shape[1]) % 2 == 0)[None, :]
    weighted = found_of(network(), X, Y, sample_weight=weights)
    assert weighted.costs == pytest.approx(found_of(network(), X[:, ::2], Y[:, ::2]).costs, rel=1e-9)  # rounding
    again = found_of(network(), X, Y, sample_weight=weights, batch_size=1, rng=0, steps=20)
    assert len(again.costs) == 20  # batches of weight 0 are passed over


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        (
            {"lowest": 1, "highest": 0.1},
            ValueError,
            "learning_rates: lowest must be below highest; they are 1 and 0.1",
        ),
        ({"lowest": 0}, ValueError, "learning_rates: lowest must be a finite number > 0"),
        ({"steps": 9}, ValueError, "learning_rates: 9 steps say nothing of where the cost falls. Take 10 at least."),
        ({"batch_size": 64}, TypeError, "learning_rates draws random numbers: pass a seed, rng=0"),
        ({"lowest": 1e5, "highest": 1e9}, FloatingPointError, "learning_rates: the cost exploded at the rate"),
    ],
)
def test_other_tests_are_refused(flower, options, error, text):
    with pytest.raises(error, match=re.escape(text)):
        found_of(network(), *flower, **options)


def test_a_loss_that_reads_the_model_itself_is_refused_and_leaves_no_gradients(flower):
    model = network()

    def penalised(Z, Y):
        return LOSS(Z, Y) + tg.l2(model, 0.1, Y.shape[1])

    with pytest.raises(ValueError, match=re.escape("trains a copy, and the loss reads parameters of the model itself")):
        found_of(model, *flower, loss=penalised)
    assert all(p.grad is None for p in model.parameters())


def test_what_cannot_be_copied_is_refused(flower):
    model = network()
    model.lock = threading.Lock()
    with pytest.raises(
        TypeError, match="learning_rates trains a copy, and the model or the optimizer cannot be copied"
    ):
        found_of(model, *flower)


def test_it_shows_itself_as_text_and_as_a_table(flower):
    found = found_of(network(), *flower, lowest=1e-3, highest=10, steps=60)
    text = f"LearningRates: {len(found.lrs)} from 0.001 to {found.lrs[-1]:.2g}, cost {found.costs[0]:.6f}, lowest "
    assert repr(found).startswith(text)
    assert repr(found).endswith(f"begin with {found.suggestion:.2g}")
    rows = rows_of(found._repr_html_())
    assert 10 < len(rows) <= 22
    assert sum("the lowest cost" in row for row in rows) == 1
