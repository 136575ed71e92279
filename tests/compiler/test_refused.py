"""What a compiled step refuses: in the words of the eager step, or by name."""

import numpy as np
import pytest

import tinygrad_dls as tg
from tests.compiler.steps import LOGITS, Branching, X, Y, assert_same_training, eager, message, network, pair, sgd
from tinygrad_dls import nn
from tinygrad_dls.engine.errors import RecordingError


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (X, Y + 1), (X, np.full_like(Y, np.nan)), (X, Y[0]), (X, Y.T), (X[:2], Y), (X.T, Y), (X, Y[:, :-1]),
        (X[:, :20], Y[:, :20] * 2), (X, "labels"),
    ],
)  # fmt: skip
def test_bad_data_are_refused_in_the_words_of_the_eager_step(x, y):
    _, b, *_, slow, fast = pair()
    fast(X, Y)
    state = b.state_dict()
    assert message(fast, x, y) == message(slow, x, y)
    assert all((b.state_dict()[name] == state[name]).all() for name in state)
    assert fast(X, Y) == pytest.approx(LOGITS(network()(X), Y).item(), abs=1)


def test_labels_are_checked_again_when_they_are_another_array():
    *_, fast = pair()
    for _ in range(3):
        fast(X, Y)
    with pytest.raises(ValueError, match="Y holds labels from 0 to 2"):
        fast(X, 2 * Y)


def test_each_mini_batch_is_checked_unless_all_that_it_is_cut_from_has_passed():
    *_, fast = pair()
    good, bad = np.tile(Y, 2), np.tile(Y, 2)
    bad[:, 45] = 7.0
    batches = [slice(i, i + 10) for i in range(0, 40, 10)]
    for labels in (good, bad, good, bad):
        for batch in batches:
            fast(X[:, batch], labels[:, batch])
        with pytest.raises(ValueError, match="Y holds labels from 0 to 7"):
            fast(X[:, :10], bad[:, 40:50])
    rows = np.vstack([good, good + 7])  # of an array with another row, all is looked at again
    fast(X[:, :10], rows[:1, :10])
    with pytest.raises(ValueError, match="Y holds labels from 7 to 8"):
        fast(X[:, :10], rows[1:, :10])


def test_class_indices_are_checked():
    model = nn.Sequential(nn.Linear(3, 4, rng=0))
    step = tg.compile(model, tg.softmax_cross_entropy, sgd(model))
    classes = np.arange(50)[None] % 4
    step(X, classes)
    with pytest.raises(ValueError, match="Y holds classes from 1 to 4"):
        step(X, classes + 1)


@pytest.mark.parametrize(
    "loss",
    [
        lambda z, y: LOGITS(z, 1 - y), lambda z, y: LOGITS(z, y[:1]), lambda z, y: LOGITS(z, (y + 1) / 2),
        lambda z, y: LOGITS(z[:, ::2], y[:, ::2]), lambda z, y: LOGITS(z, y) + LOGITS(z, 1 - y),
    ],
)  # fmt: skip
@pytest.mark.parametrize("m", [1, 3, 50])
def test_labels_that_the_loss_computes_of_y_are_checked_as_eagerly(loss, m):
    a, b = network(), network()
    slow, fast = eager(a, loss, sgd(a)), tg.compile(b, loss, sgd(b))
    x, y = X[:, :m].copy(), Y[:, :m].copy()
    fast(x, y), slow(x, y)
    for wrong in (y * 0 + 3, y * 0 - 2, np.full_like(y, np.nan)):
        assert message(fast, x, wrong) == message(slow, x, wrong)
    assert fast(x, y) == pytest.approx(slow(x, y), rel=1e-12)


def test_labels_that_come_from_the_model_are_refused_unless_they_are_probabilities():
    model = network()
    step = tg.compile(model, lambda z, y: LOGITS(z, tg.sigmoid(z).detach()), sgd(model))
    assert step(X, Y) == pytest.approx(LOGITS(network()(X), tg.sigmoid(network()(X)).data).item(), rel=1e-12)
    with pytest.raises(RecordingError, match=r"labels that are computed from more than Y.*pass them as Y"):
        tg.compile(model, lambda z, y: LOGITS(z, 0.01 * z.detach() + 0.5), sgd(model))(X, Y)


PROBABILITIES = {
    "sigmoid": tg.sigmoid,
    "written out": lambda z: 1 / (1 + np.exp(-z)),
    "tanh": lambda z: (1 + np.tanh(z)) / 2,
    "softmax": lambda z: tg.softmax(np.concatenate([z, -z]))[:1],
    "clipped": lambda z: np.clip(0.2 * z + 0.5, 0.01, 0.99),
    "squared": lambda z: 1 / (1 + z**2),
}


@pytest.mark.parametrize("activation", PROBABILITIES)
def test_the_cross_entropy_of_what_can_only_be_probabilities_is_compiled(activation):
    loss = lambda z, y: tg.binary_cross_entropy(PROBABILITIES[activation](z), y)  # noqa: E731  # used once, in the next lines
    assert_same_training(network, loss, lambda m: sgd(m, lr=0.01), [(X, Y)] * 3)


@pytest.mark.parametrize(
    "activation",
    [
        lambda z: z, np.exp, lambda z: 2 * np.tanh(z), lambda z: 1 / (2 + z),
        lambda z: np.clip(z, -1, 1), lambda z: np.clip(z, 0, 1.5),
    ],
)  # fmt: skip
def test_the_cross_entropy_of_what_may_leave_the_unit_interval_is_refused(activation):
    model = nn.Sequential(nn.Linear(3, 1, init=np.full((1, 3), 1e-3)))
    loss = lambda z, y: tg.binary_cross_entropy(activation(z * 0.1) * 0.5 + 0.4, y)  # noqa: E731  # used once, in the next lines
    with pytest.raises(RecordingError, match=r"probabilities A outside \[0, 1\].*binary_cross_entropy_with_logits"):
        tg.compile(model, loss, sgd(model))(X, Y)


def test_a_wrong_learning_rate_is_refused_before_anything_changes():
    _, b, _, ob, _, fast = pair()
    fast(X, Y)
    state = b.state_dict()
    ob.lr = -1.0
    with pytest.raises(ValueError, match="learning rate must be a finite number"):
        fast(X, Y)
    assert all((b.state_dict()[name] == state[name]).all() for name in state)


def test_a_decision_on_a_value_is_refused_by_name_or_runs_eagerly():
    model = Branching()
    with pytest.raises(RecordingError, match="would freeze a Python decision"):
        tg.compile(model, LOGITS, sgd(model))(X, Y)
    a, b = Branching(), Branching()
    slow, fast = eager(a, LOGITS, sgd(a)), tg.compile(b, LOGITS, sgd(b), fallback=True)
    for _ in range(3):
        assert fast(X, Y) == slow(X, Y)  # to the last bit
    assert fast.explain().startswith("Runs eagerly: ")
    assert "a Python decision" in fast.explain()


@pytest.mark.parametrize("units", [3, 40])
def test_dropout_is_refused_and_can_be_switched_off(units):
    """A mask of few entries could be mistaken for a constant; two recordings differ."""
    model = nn.Sequential(nn.Linear(3, units, rng=0), nn.Dropout(0.5, rng=0), nn.Linear(units, 1, rng=1))
    step = tg.compile(model, LOGITS, sgd(model))
    with pytest.raises(RecordingError, match="random"):
        step(X[:, :8], Y[:, :8])
    model.eval()
    assert step(X, Y) > 0


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda m: tg.compile(m), r"came without loss= and optimizer=: write compile\(model, loss, optimizer\)"),
        (lambda m: tg.compile(m, LOGITS, 0.1), "compile: optimizer= takes one of tg.optim, .* got 0.1"),
        (lambda m: tg.compile(m, LOGITS, sgd(network())), "the optimizer holds none of this model's parameters"),
        (lambda m: tg.compile(m, LOGITS, sgd(m), threads=0), "compile: threads must be a positive integer, got 0"),
        (lambda m: tg.compile(m, LOGITS, sgd(m), tile=1.5), "compile: tile must be a positive integer, got 1.5"),
        (lambda m: tg.compile(m, LOGITS, sgd(m), gradients="W1"), "compile: gradients must be True or False"),
        (lambda m: tg.compile(m, LOGITS, sgd(m), fallback=1), "compile: fallback must be True or False"),
        (lambda m: tg.compile(3), r"compile: expected a function, compile\(f\); or a model, .*; got 3"),
        (
            lambda m: tg.compile(np.sin, LOGITS),
            r"loss= belongs to a model: write compile\(f\), or compile\(model, ",
        ),
        (lambda m: tg.compile(np.sin, tile=3), "options of a step go with a model, not with a function"),
        (
            lambda m: tg.compile(np.sin, threads=2),
            r"write compile\(f\). Only threads= is of a function too, in C: compile",
        ),
        (lambda m: tg.compile(np.sin, threads=0, backend="auto"), "compile: threads must be a positive integer, got 0"),
        (lambda m: tg.compile(m, LOGITS, sgd(m)).explain(), "has not run yet"),
        (lambda m: tg.compile(np.sin).source, "has not run yet"),
    ],
)
def test_errors(make, text):
    with pytest.raises((TypeError, ValueError, RuntimeError), match=text):
        make(network())
