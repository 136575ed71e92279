"""The training loop, and what it does when something goes wrong."""

import re

import numpy as np
import pytest

import tinygrad_dls as tg
from tests.support.interrupting import interrupted_at
from tests.training.fitting import LOSS, fit, network
from tinygrad_dls import nn
from tinygrad_dls.threads import cells_of


def test_fit_is_the_loop_a_person_would_write(flower):
    X, Y = flower
    fitted, by_hand = network(), network()
    history = fit(fitted, X, Y, epochs=20)
    optimizer = tg.optim.SGD(by_hand.parameters(), lr=1.2)
    costs = []
    for _ in range(20):
        J = LOSS(by_hand(X), Y)
        optimizer.zero_grad()
        J.backward()
        optimizer.step()
        costs.append(J.item())
    assert history.costs == costs
    for name, value in by_hand.state_dict().items():
        np.testing.assert_array_equal(fitted.state_dict()[name], value)


def test_minibatches_are_a_partition_and_repeatable(flower):
    X, Y = flower
    X = np.concatenate([X, np.arange(400.0)[None, :]])
    batches = list(tg.minibatches(X, Y, 64, rng=0))
    assert [b.shape[1] for b, _ in batches] == [64] * 6 + [16]
    order = np.concatenate([b[2] for b, _ in batches]).astype(int)
    assert sorted(order) == list(range(400))
    assert list(order) != list(range(400))
    for x, y in batches:
        np.testing.assert_array_equal(y, Y[:, x[2].astype(int)])
    again = np.concatenate([b[2] for b, _ in tg.minibatches(X, Y, 64, rng=0)])
    np.testing.assert_array_equal(again, order)


def test_training_in_minibatches_is_repeatable_and_learns(flower):
    runs = [fit(network(), *flower, epochs=30, lr=0.5, batch_size=64, rng=7) for _ in range(2)]
    assert runs[0].costs == runs[1].costs
    assert runs[0].costs[-1] < 0.75 * runs[0].costs[0]
    assert runs[0].costs != fit(network(), *flower, epochs=30, lr=0.5, batch_size=64, rng=8).costs


def test_a_batch_of_all_columns_is_the_full_batch_to_rounding(flower):
    full = fit(network(), *flower, epochs=5)
    batch = fit(network(), *flower, epochs=5, batch_size=400, rng=0)
    np.testing.assert_allclose(full.costs, batch.costs, rtol=1e-12)  # the order of the sum differs


def test_every_epoch_shuffles_anew_and_costs_are_weighted_by_batch():
    X, Y = np.arange(10.0)[None, :], np.arange(10.0)[None, :] % 2
    batches, costs = [], []
    model = nn.Sequential(nn.Linear(1, 1, rng=0))

    def loss(Z, Y):
        J = LOSS(Z, Y)
        batches.append(tuple(Y[0]))
        costs.append(J.item() * Y.shape[1] / 10)
        return J

    optimizer = tg.optim.SGD(model.parameters(), lr=0.01)
    history = tg.fit(model, X, Y, loss=loss, optimizer=optimizer, epochs=6, batch_size=7, rng=0)
    assert len(set(batches[::2])) > 1
    assert {len(b) for b in batches[1::2]} == {3}
    np.testing.assert_allclose(history.costs, [a + b for a, b in zip(costs[::2], costs[1::2], strict=True)], rtol=1e-15)


def test_dropout_drops_in_every_epoch_whatever_the_mode_before(flower):
    X, Y = flower
    seen = []

    class Spy(nn.Module):
        def __call__(self, a):
            seen.append(self.training)
            return a

    model = nn.Classifier(nn.Linear(2, 1, rng=0), Spy())
    model.eval()
    fit(model, X, Y, epochs=3, validation=(X, Y))
    assert seen == [False] + [True, False, False] * 3  # the validation data are tried before the first step


def test_ctrl_c_in_the_middle_of_a_step_keeps_the_last_whole_one(flower):
    steps = 0

    class Fragile(nn.Module):
        def __call__(self, a):
            nonlocal steps
            steps += 1
            return fragile(a) if steps == 4 else a

    @tg.op()
    def fragile(a):
        def vjp(da):
            raise KeyboardInterrupt

        return a, (vjp,)

    plain = nn.Sequential(nn.Linear(2, 3, rng=0), nn.Tanh(), nn.Linear(3, 1, rng=1))
    model = nn.Sequential(nn.Linear(2, 3, rng=0), nn.Tanh(), nn.Linear(3, 1, rng=1), Fragile())
    history = fit(model, *flower, epochs=10)
    assert (history.interrupted, len(history)) == (True, 3)
    fit(plain, *flower, epochs=3)
    for a, b in zip(model.parameters(), plain.parameters(), strict=True):
        np.testing.assert_array_equal(a.data, b.data)


def test_data_as_tensors_lists_and_integers(flower):
    X, Y = flower
    expected = fit(network(), X, Y).costs
    assert fit(network(), tg.Tensor(X), tg.Tensor(Y)).costs == expected
    assert fit(network(), X.tolist(), Y.tolist()).costs == expected
    assert fit(network(), X, Y.astype(bool)).costs == expected
    assert fit(network(), X, Y, batch_size=10_000, rng=0).costs == pytest.approx(expected, rel=1e-12)


def test_validation_is_measured_after_each_epoch_without_dropout_and_without_learning(flower):
    X, Y = flower
    model = nn.Classifier(nn.Linear(2, 30, rng=0), nn.Tanh(), nn.Dropout(0.5, rng=0), nn.Linear(30, 1, rng=0))
    history = fit(model, X[:, ::2], Y[:, ::2], epochs=4, lr=0.1, validation=(X[:, 1::2], Y[:, 1::2]))
    assert len(history.validation_costs) == len(history.validation_accuracies) == 4
    model.eval()
    assert history.validation_costs[-1] == LOSS(model(X[:, 1::2]), Y[:, 1::2]).item()
    assert history.validation_accuracies[-1] == tg.accuracy(model.predict(X[:, 1::2]), Y[:, 1::2])


def test_a_float32_model_trains_in_float32_on_float64_data(flower):
    model = network(np.float32)
    fit(model, *flower)
    assert {p.dtype for p in model.parameters()} == {np.dtype(np.float32)}
    assert {p.grad.dtype for p in model.parameters()} == {np.dtype(np.float32)}


def test_classes_by_index_train_a_softmax_network():
    rng = np.random.default_rng(0)
    Y = rng.integers(0, 3, (1, 90))
    X = np.array([[3, 0, -3], [0, 3, -3]])[:, Y[0]] + rng.normal(size=(2, 90))
    model = nn.TwoLayerNetwork(2, 8, 3, rng=0, init=tg.init.xavier)
    optimizer = tg.optim.Adam(model.parameters(), 0.05)
    one_hot = (np.arange(3)[:, None] == Y).astype(float)
    history = tg.fit(
        model, X, Y, loss=tg.softmax_cross_entropy, optimizer=optimizer, epochs=100, validation=(X, one_hot)
    )
    assert history.validation_accuracies[-1] > 0.95


def test_callbacks_see_each_epoch_and_can_end_the_training(flower):
    seen = []

    def watch(now):
        seen.append((now.epoch, now.cost))
        return np.bool_(now.epoch == 3)

    history = fit(network(), *flower, epochs=10, callbacks=[watch, lambda _: None])
    assert [epoch for epoch, _ in seen] == [0, 1, 2, 3]
    assert history.costs == [cost for _, cost in seen]


def test_ctrl_c_leaves_a_usable_model_and_history(flower):
    def interrupt(now):
        if now.epoch == 4:
            raise KeyboardInterrupt

    model, other = network(), network()
    history = fit(model, *flower, epochs=1000, callbacks=[interrupt])
    assert history.interrupted
    assert len(history) == 5
    fit(other, *flower, epochs=5)
    np.testing.assert_array_equal(model.predict_proba(flower[0]), other.predict_proba(flower[0]))
    assert repr(history).endswith(", interrupted")


def test_a_cost_that_explodes_stops_with_the_likely_cause_and_keeps_the_history(flower):
    X, Y = flower
    model = nn.Sequential(nn.Linear(2, 1, rng=0))
    optimizer = tg.optim.SGD(model.parameters(), lr=1e200)
    with (
        pytest.raises(
            FloatingPointError, match=r"the cost is (nan|inf) at epoch \d.*learning rate.*1e\+200.*`with tg.det"
        ) as e,
    ):
        tg.fit(model, X, Y, loss=tg.mean_squared_error, optimizer=optimizer, epochs=10)
    assert 1 <= len(e.value.history) < 10


@pytest.mark.parametrize("batch_size", [None, 100])
def test_a_cost_that_is_nan_before_any_update_is_not_laid_to_the_learning_rate(flower, batch_size):
    X, Y = flower
    model = nn.Sequential(nn.Linear(2, 1, rng=0), np.log)
    optimizer = tg.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(FloatingPointError) as e:
        tg.fit(model, X, Y, loss=tg.mean_squared_error, optimizer=optimizer, epochs=1, batch_size=batch_size, rng=0)
    assert str(e.value) == (
        "fit: the cost is nan at epoch 0, before any update: the forward pass itself gives it, or Y holds it. "
        "Run it in `with tg.detect_anomaly():` to see the op."
    )


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"X": np.ones((400, 2))}, "fit: Y is (1, 400), X is (400, 2) in the training data; expected a column for each "
         "example. Is one transposed?"),
        ({"X": np.ones((400, 2)), "Y": np.ones((400, 1))}, "expected a column for each example. Examples are columns: "
         "write X.T and Y.T."),
        ({"Y": np.ones(400)}, "fit: Y is (400,), X is (2, 400) in the training data; expected a column for each "
         "example. Write Y.reshape(1, -1)."),
        ({"Y": np.ones((400, 1))}, "Write Y.reshape(1, -1)."),
        ({"X": np.ones(400)}, "fit: X is (400,) in the training data; expected (n_x, m), with the examples as columns"),
        ({"X": np.ones((2, 0)), "Y": np.ones((1, 0))}, "fit: X is (2, 0) in the training data: there are no examples"),
        ({"X": np.ones((400, 8, 8, 3))}, "as columns: write X.reshape(X.shape[0], -1).T if the first axis counts the"),
        ({"X": np.full((2, 400), "a")}, "X has dtype <U1, and is not numeric."),
        ({"validation": (np.ones((2, 3)), np.ones((1, 4)))}, "fit: Y is (1, 4), X is (2, 3) in the validation data"),
        ({"validation": (np.ones((2, 3)),)}, "fit: validation must be a pair, validation=(X, Y)."),
        ({"epochs": 0}, "fit: epochs must be a positive integer, got 0."),
        ({"epochs": 2.5}, "fit: epochs must be a positive integer, got 2.5."),
        ({"batch_size": 0, "rng": 0}, "fit: batch_size must be a positive integer, got 0."),
        ({"batch_size": 10}, "fit with a batch_size draws random numbers: pass a seed, rng=0"),
    ],
)  # fmt: skip
def test_errors(flower, change, text):
    arguments = {"X": flower[0], "Y": flower[1], **change}
    with pytest.raises((ValueError, TypeError), match=re.escape(text)):
        fit(network(), **arguments)


def test_an_optimizer_of_another_model_is_refused(flower):
    optimizer = tg.optim.SGD(network().parameters(), lr=1)
    with pytest.raises(ValueError, match=r"holds none of this model's parameters.*made anew after the optimizer"):
        tg.fit(network(), *flower, loss=LOSS, optimizer=optimizer, epochs=1)


@pytest.mark.parametrize("compile", [False, True])
@pytest.mark.parametrize("lost", [lambda J: J.item(), lambda J: J.data, lambda J: None])
def test_a_loss_that_loses_the_graph_is_refused(flower, lost, compile):
    def loss(Z, Y):
        return lost(tg.binary_cross_entropy_with_logits(Z, Y))

    model = network()
    optimizer = tg.optim.SGD(model.parameters(), lr=1.0)
    eager = r"the loss returned an? \w+, not a Tensor, and there is no .* \.data, \.item\(\) or float\(\), or forget"
    with pytest.raises(TypeError, match="must return the cost, a Tensor of a single number" if compile else eager):
        tg.fit(model, *flower, loss=loss, optimizer=optimizer, epochs=1, compile=compile)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((np.ones((2, 5)), np.ones((1, 6)), 2), "minibatches: X is (2, 5), Y is (1, 6); expected a column for each"),
        ((np.ones((2, 5)), np.ones(5), 2), "minibatches: X is (2, 5), Y is (5,)"),
        (
            (np.ones((5, 8, 8)), np.ones((1, 5)), 2),
            "in both: write X.reshape(X.shape[0], -1).T if the first axis counts",
        ),
        ((np.ones((2, 5)), np.ones((1, 5)), -1), "minibatches: batch_size must be a positive integer, got -1."),
    ],
)
def test_minibatches_refuse_what_would_be_cut_silently(arguments, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        next(tg.minibatches(*arguments, rng=0))


# From 3.13 on Python traces how a generator is closed, too, where it drops an error and only tells of it.
@pytest.mark.filterwarnings(
    "ignore:Exception ignored (in. <|while closing )generator:pytest.PytestUnraisableExceptionWarning"
)
@pytest.mark.parametrize("compile", [False, True])
def test_wherever_ctrl_c_comes_in_fit_the_modes_and_the_warnings_of_numpy_are_as_before(compile):
    X, Y = tg.datasets.planar_flower(20)
    before = np.geterr()
    places = set()
    parts = ["loop", "batches", "history", "metrics"]
    names = [f"training/{part}" for part in parts]
    names += ["nn/module", "nn/evaluation", "nn/substitution", "nn/layers", "nn/models", "optim", "threads"]
    files = (*(f"tinygrad_dls/{name}.py" for name in names), "_ufunc_config.py")
    for k in range(0, 10**6, 41 if compile else 7):
        model = nn.Classifier(nn.Linear(2, 3, rng=0), nn.Tanh(), nn.Linear(3, 1, rng=2))
        optimizer = tg.optim.Adam(model.parameters())

        def act(model=model, optimizer=optimizer):
            tg.fit(model, X, Y, loss=LOSS, optimizer=optimizer, epochs=2, validation=(X, Y), batch_size=10, rng=0,
                   compile=compile)  # fmt: skip

        where = interrupted_at(k, files, act)
        assert np.geterr() == before, where
        assert all(module.training for module in model.modules()), where
        with tg.no_grad():
            assert not model(X).requires_grad
        assert model(X).requires_grad, where
        assert not any(cell.training is not None for cell in cells_of(optimizer.parameters)), where
        places.add(where)
        if where is None:
            break
    assert None in places  # it came to the end
    assert len(places) > 30


def test_minibatches_serve_every_epoch_and_shuffle_anew(flower):
    X, Y = flower
    X = np.arange(400.0)[None, :]
    batches = tg.minibatches(X, Y, 150, rng=0)
    epochs = [[tuple(x[0]) for x, _ in batches] for _ in range(3)]
    assert [[len(batch) for batch in epoch] for epoch in epochs] == [[150, 150, 100]] * 3
    orders = [sum(epoch, ()) for epoch in epochs]
    assert len(set(orders)) == 3
    assert {tuple(sorted(order)) for order in orders} == {tuple(range(400))}
    assert len(batches) == 3
    assert repr(batches) == "minibatches: 3 of up to 150 of 400 examples"
    assert next(iter(batches))[0].shape == (1, 150)
    assert len(list(zip(batches, batches, strict=True))) == 3  # two epochs side by side
    with pytest.raises(TypeError, match=r"next\(iter\(batches\)\) for one batch"):
        next(batches)


@pytest.mark.parametrize(
    ("layers", "loss", "labels", "text"),
    [
        ([tg.nn.Sigmoid()], tg.binary_cross_entropy_with_logits, [[0, 1, 1]], "A comes from a sigmoid, and the loss is "
         "of logits, of which it makes probabilities itself. Leave the sigmoid out (the last layer, say), or take "
         "tg.binary_cross_entropy, which is of probabilities."),
        ([tg.nn.Sequential(tg.sigmoid)], tg.binary_cross_entropy_with_logits, [[0, 1, 1]], "comes from a sigmoid"),
        ([tg.nn.BatchNorm(1), tg.nn.Sigmoid()], tg.binary_cross_entropy_with_logits, [[0, 1, 1]], "from a sigmoid"),
        ([tg.nn.Softmax()], tg.softmax_cross_entropy, [[0, 1, 1]], "A comes from a softmax, and the loss is of logits, "
         "of which it makes probabilities itself. Leave the softmax out (the last layer, say)."),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", [tg.nn.Sequential, tg.nn.Classifier])
def test_a_sigmoid_that_would_be_applied_twice_is_refused(kind, layers, loss, labels, text):
    model = kind(tg.nn.Linear(2, 2 if loss is tg.softmax_cross_entropy else 1, rng=0), *layers)
    before = model.state_dict()
    with pytest.raises(ValueError, match=re.escape(text)):
        tg.fit(
            model, np.eye(2, 3), np.array(labels), loss=loss, optimizer=tg.optim.SGD(model.parameters(), 1), epochs=1
        )
    assert all((model.state_dict()[name] == w).all() for name, w in before.items())


def test_a_sigmoid_before_a_loss_of_probabilities_or_of_errors_is_trained():
    for loss in (tg.binary_cross_entropy, tg.mean_squared_error):
        model = tg.nn.Sequential(tg.nn.Linear(2, 1, rng=0), tg.nn.Sigmoid())
        optimizer = tg.optim.SGD(model.parameters(), lr=1)
        history = tg.fit(model, np.eye(2), np.array([[0, 1]]), loss=loss, optimizer=optimizer, epochs=9)
        assert history.costs[-1] < history.costs[0]
