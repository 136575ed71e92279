"""A recorded program that has read a number from anywhere sees it change, or has refused to be recorded."""

import numpy as np
import pytest

import tinygrad_dls as tg
from tests.compiler.stale_values import KINDS, LIVE, MOVING, put_back
from tinygrad_dls import nn
from tinygrad_dls.engine.errors import RecordingError

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(3, 8)), RNG.integers(0, 2, size=(1, 8))
LOGITS = tg.binary_cross_entropy_with_logits


@pytest.fixture(autouse=True)
def _world():
    """Whatever a kind does to the process is undone."""
    yield
    put_back()


def model(*layers):
    return nn.Sequential(nn.Linear(3, 1, rng=0), *layers)


def stepping(net, loss, **options):
    """The eager cost, and the same by a compiled step that learns nothing."""
    step = tg.compile(net, loss, tg.optim.SGD(net.parameters(), lr=0.0), **options)
    return (lambda: loss(net(X), Y).item()), (lambda: step(X, Y))


def in_the_loss(scale, **options):
    return stepping(model(), lambda z, y: np.sum(scale(LOGITS(z, y))), **options)


def in_the_model(scale, **options):
    return stepping(model(lambda z: scale(z)), LOGITS, **options)


def in_a_function(scale, **options):
    compiled = tg.compile(lambda x: np.tanh(scale(x)), **options)
    return (lambda: np.tanh(scale(X))[0, 0]), (lambda: compiled(X)[0, 0])


# Kinds that nobody watches: the state of what threads wait for, of loggers and caches, of classes and other packages.
BEYOND = {
    "__getattribute__ of a user's class", "the __call__ of this package's layers, replaced",
    "isinstance of a class that is registered later", "pandas' options",
    "the level of a logger", "the number of threads", "the state of a generator, read",
    "the statistics of a functools.lru_cache", "threading.Event", "threading.Lock", "threading.current_thread",
    "whether a logger is enabled",
}  # fmt: skip
WATCHED = [name for name in KINDS if name not in BEYOND]
DOORS = {"loss": in_the_loss, "model": in_the_model, "function": in_a_function}
CLOCKS = {"time.monotonic", "datetime.datetime.now"}  # before they change, a slow machine may be late


def results(door, name, compiled, **options):
    """What two calls give, and a third one behind a change."""
    scale, change = KINDS[name]()
    run = door(scale, **options)[compiled]
    before = [run(), run()]
    change()
    return [*([] if name in CLOCKS else before), run()]


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_does_change_the_cost(name):
    *_, before, after = results(in_the_loss, name, compiled=False) if name not in CLOCKS else (0, 1)
    assert before != pytest.approx(after, rel=1e-6)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", WATCHED)
def test_a_number_from_before_a_change_is_never_used(name, door):
    eager = results(DOORS[door], name, compiled=False)
    put_back()
    try:
        found = results(DOORS[door], name, compiled=True)
    except RecordingError:
        assert name not in LIVE  # what is plain Python is not refused
    else:
        assert found == pytest.approx(eager, rel=1e-12)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", sorted(BEYOND))
def test_a_change_that_nobody_watches_is_noticed_soon(name, door):
    """By the comparison with the eager run: at the fourth call, as the change comes behind the second."""
    scale, change = KINDS[name]()
    run = DOORS[door](scale)[1]
    run(), run()
    change()
    run()
    with pytest.raises(RuntimeError, match="has changed since it was recorded, in a way that cannot be watched"):
        run()
    run()  # recorded anew


@pytest.mark.parametrize("name", [name for name in WATCHED if name not in MOVING])
def test_with_a_fallback_each_kind_runs_and_is_right(name):
    eager = results(in_the_loss, name, compiled=False)
    put_back()
    assert results(in_the_loss, name, compiled=True, fallback=True) == pytest.approx(eager, rel=1e-12)
