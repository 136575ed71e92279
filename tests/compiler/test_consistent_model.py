"""Whatever comes of a step, an error or Ctrl-C, the model is before it or after it."""

import sys

import numpy as np
import pytest

import tinygrad_dls as tg
from tests.compiler.steps import (
    LOGITS,
    X,
    Y,
    assert_equal_models,
    assert_same_gradients,
    eager,
    message,
    network,
    pair,
    sgd,
)
from tests.support.interrupting import interrupted_at
from tinygrad_dls import nn
from tinygrad_dls.engine.errors import RecordingError


class Counting(nn.Module):
    def __init__(self):
        self.layer, self.calls = nn.Linear(3, 1, rng=0), 0

    def __call__(self, a):
        self.calls += 1
        return self.layer(a)


class Remembering(Counting):
    def __call__(self, a):
        self.last = self.layer(a)
        return self.last


class Listing(Counting):
    def __init__(self):
        super().__init__()
        self.seen = []

    def __call__(self, a):
        self.seen.append(a.shape[1])
        return self.layer(a)


class Averaging(Counting):
    def __init__(self):
        super().__init__()
        self.mean = np.zeros((3, 1))

    def __call__(self, a):
        self.mean = 0.9 * self.mean + 0.1 * np.mean(a, axis=1, keepdims=True)
        return self.layer(a)


class Clipping(Counting):
    def __call__(self, a):
        self.layer.W.data = np.clip(self.layer.W.data, -0.01, 0.01)
        return self.layer(a)


FORWARD_CHANGES = {
    Counting: "Counting.calls", Remembering: "Remembering.last", Listing: "Listing.seen", Averaging: "Averaging.mean",
    Clipping: "layer.W",
}  # fmt: skip


@pytest.mark.parametrize(("kind", "name"), FORWARD_CHANGES.items(), ids=lambda x: getattr(x, "__name__", ""))
def test_what_a_forward_pass_changes_is_refused_by_name_and_put_back(kind, name):
    model, before = kind(), kind()
    with pytest.raises(RecordingError, match=f"would freeze {name}, which the code changes"):
        tg.compile(model, LOGITS, sgd(model))(X, Y)
    assert vars(model).keys() == vars(before).keys()
    assert model.calls == 0
    assert (model.layer.W.data == before.layer.W.data).all()
    assert not isinstance(getattr(model, "mean", None), tg.ir.tracer.Tracer)
    assert getattr(model, "seen", []) == []
    a, b = kind(), kind()
    slow, fast = eager(a, LOGITS, sgd(a)), tg.compile(b, LOGITS, sgd(b), fallback=True)
    for _ in range(3):
        assert fast(X, Y) == slow(X, Y)  # to the last bit
    assert a.calls == b.calls
    assert getattr(a, "seen", []) == getattr(b, "seen", [])
    assert np.array_equal(getattr(a, "mean", 0), getattr(b, "mean", 0))


def test_dropout_that_runs_eagerly_draws_what_it_would_have_drawn():
    costs = []
    for compiled in (False, True):
        model = nn.Sequential(nn.Linear(3, 40, rng=0), nn.Dropout(0.5, rng=0), nn.Linear(40, 1, rng=1))
        optimizer = sgd(model)
        step = tg.compile(model, LOGITS, optimizer, fallback=True) if compiled else eager(model, LOGITS, optimizer)
        costs.append([step(X, Y) for _ in range(4)])
    assert costs[0] == costs[1]


METHODS = {
    ".clip": lambda z, y: LOGITS(z, y.clip(0.1, 0.9)),
    ".ravel": lambda z, y: LOGITS(z, y.ravel().reshape(1, -1)),
    ".argmax": lambda z, y: LOGITS(z, y) + 0 * y.argmax(),
    ".std": lambda z, y: LOGITS(z, y) * y.std(),
    ".dot": lambda z, y: LOGITS(z, y) + 0 * y.dot(y.T)[0, 0],
    ".round": lambda z, y: LOGITS(z, y.round()),
    ".nbytes": lambda z, y: LOGITS(z, y) + 0 * y.nbytes,
    "would lose what is written into Y": lambda z, y: (y.__setitem__((0, 0), y[0, 0]), LOGITS(z, y))[1],
}


@pytest.mark.parametrize(("name", "loss"), METHODS.items(), ids=METHODS)
def test_a_method_that_is_not_recorded_is_named_or_runs_eagerly(name, loss):
    model = network()
    with pytest.raises(RecordingError, match=f"{name} of Y" if name[0] == "." else name):
        tg.compile(model, loss, sgd(model))(X, Y.copy())
    a, b = network(), network()
    slow, fast = eager(a, loss, sgd(a)), tg.compile(b, loss, sgd(b), fallback=True)
    for columns in (slice(None), slice(20), slice(None)):
        x, y = X[:, columns], Y[:, columns].copy()
        assert fast(x, y) == slow(x, y)
    assert fast.explain().startswith("Runs eagerly: ")
    assert len(fast._known) == 2


def test_what_cannot_be_planned_runs_eagerly_and_bad_data_are_not_remembered(monkeypatch):
    a, b = network(), network()
    slow, fast = eager(a, LOGITS, sgd(a)), tg.compile(b, LOGITS, sgd(b), fallback=True)
    assert message(fast, X, 2 * Y) == message(slow, X, 2 * Y)
    assert fast(X, Y) == pytest.approx(slow(X, Y), rel=1e-12)
    assert "NumPy calls" in fast.explain()

    def plan(*args, **options):
        raise IndexError("no such thing")

    monkeypatch.setattr("tinygrad_dls.compiler.step.plan", plan)
    assert fast(X[:, :9], Y[:, :9]) == pytest.approx(slow(X[:, :9], Y[:, :9]), rel=1e-12)
    assert fast.explain() == "Runs eagerly: IndexError: no such thing"


def test_a_module_that_counts_its_calls_is_recorded_once_where_it_runs_eagerly(monkeypatch):
    from tinygrad_dls.compiler import step as module

    model, recordings = Counting(), []
    record = module.record
    monkeypatch.setattr(module, "record", lambda *args: (recordings.append(1), record(*args))[1])
    step = tg.compile(model, LOGITS, sgd(model), fallback=True)
    for _ in range(4):
        step(X, Y)
    assert (model.calls, len(recordings)) == (4, 1)


def test_no_grad_is_refused_as_by_the_eager_step():
    a, b, *_, slow, fast = pair()
    for _ in range(2):
        with tg.no_grad():
            errors = []
            for step in (slow, fast):
                with pytest.raises(RuntimeError) as caught:
                    step(X, Y)
                errors.append(str(caught.value))
        assert errors[0] == errors[1]
        assert fast(X, Y) == pytest.approx(slow(X, Y), rel=1e-12)
        assert_equal_models(a, b)


def test_gradients_of_the_optimizer_that_no_step_computes_are_forgotten():
    def make():
        model, other = network(), nn.Parameter(np.ones(2))
        other.grad = np.ones(2)
        frozen = model.parameters()[1]
        frozen.grad, frozen.requires_grad = np.ones(frozen.shape), False
        return model, other, frozen, tg.optim.SGD([*model.parameters(), other], lr=0.1)

    found = []
    for compiled in (False, True):
        model, other, frozen, optimizer = make()
        (tg.compile if compiled else eager)(model, LOGITS, optimizer)(X, Y)
        found.append((other.data.tolist(), other.grad, frozen.grad))
    assert found[0] == found[1] == ([1.0, 1.0], None, None)


@pytest.mark.parametrize("name", ["model", "loss", "optimizer"])
def test_a_step_is_of_one_model_loss_and_optimizer(name):
    *_, fast = pair()
    with pytest.raises(AttributeError, match=name):
        setattr(fast, name, getattr(fast, name))


def test_a_function_that_changes_what_is_around_it_is_refused():
    calls = 0

    def f(a):
        nonlocal calls
        calls += 1
        return a + 1

    with pytest.raises(RecordingError, match="would freeze calls, which the code changes"):
        tg.compile(f)(X)
    assert calls == 0
    scale = np.ones((3, 1))
    g = tg.compile(lambda a: a * scale)
    np.testing.assert_array_equal(g(X), X)
    scale *= 2
    np.testing.assert_array_equal(g(X), 2 * X)


def test_arrays_that_somebody_holds_keep_their_values():
    model = network()
    step = tg.compile(model, LOGITS, sgd(model))
    held = []
    for i in range(8):
        step(X, Y)
        W, b = model.parameters()[:2]
        if i % 3 == 0:
            whole, part = W.data, b.data[1:]
            held += [(whole, whole.copy()), (part, part.copy())]
            part_of_last = model.parameters()[3]._value[0]  # a view that `data` knows nothing of
            held.append((part_of_last, part_of_last.copy()))
    for data, value in held:
        np.testing.assert_array_equal(data, value)


def test_a_graph_made_before_a_step_keeps_the_values_that_it_was_computed_from():
    a, b, *_, slow, fast = pair()
    for _ in range(2):
        slow(X, Y), fast(X, Y)
    J, K = LOGITS(a(X), Y), LOGITS(b(X), Y)
    for _ in range(3):
        slow(X, Y), fast(X, Y)
    assert_same_gradients(a, J, b, K)


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("tile", [None, 8])
@pytest.mark.parametrize("momentum", [0, 0.9])
def test_an_interrupted_step_leaves_the_model_before_or_after_it(error, tile, momentum):
    """A trace function raises at the k-th line that runs within the step, for every k."""
    twin = network()
    optimizer = sgd(twin, momentum=momentum)
    whole = tg.compile(twin, LOGITS, optimizer, tile=tile, threads=1)
    states = []
    for _ in range(3):
        whole(X, Y)
        states.append((twin.state_dict(), optimizer.state_dict()))

    outcomes = set()
    for k in range(0, 400, 7):
        model = network()
        optimizer = sgd(model, momentum=momentum)
        step = tg.compile(model, LOGITS, optimizer, tile=tile, threads=1)
        step(X, Y)
        remaining = k

        def trace(frame, event, arg):
            nonlocal remaining
            file = frame.f_code.co_filename
            if file != "<compiled step>" and not file.endswith(("compiler/step.py", "compiler/store.py")):
                return None  # in contextlib and locks, a trace function can raise where Ctrl-C cannot
            if event == "line":
                remaining -= 1
                if remaining == -1:
                    raise error
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            step(X, Y)
            interrupted = False
        except error:
            interrupted = True
        finally:
            sys.settrace(before)
        now = model.state_dict(), optimizer.state_dict()["state"], optimizer.steps
        matching = [
            i
            for i, (values, state) in enumerate(states)
            if all((values[name] == now[0][name]).all() for name in values)
            and all(
                (s == t).all() for a, b in zip(state["state"], now[1], strict=True) for s, t in zip(a, b, strict=True)
            )
            and state["steps"] == now[2]
        ]
        assert len(matching) == 1, k
        outcomes.add((interrupted, matching[0]))
        if not interrupted:
            break
        step(X, Y)  # and it goes on from there
        assert optimizer.steps == matching[0] + 2
        assert all((model.state_dict()[name] == states[matching[0] + 1][0][name]).all() for name in states[0][0])
    assert (True, 0) in outcomes
    assert (False, 1) in outcomes


def test_a_step_that_is_interrupted_while_it_takes_new_memory_goes_on_as_the_eager_one():
    """Somebody holds the old arrays, one was replaced; at every line on the way, Ctrl-C leaves nothing half done."""
    k, where = 0, True
    while where:
        a, b, oa, ob, slow, fast = pair(momentum=0.9)
        for _ in range(2):
            slow(X, Y), fast(X, Y)
        held = [p.data for p in b.parameters()]
        slow(X, Y), fast(X, Y)
        for model in (a, b):
            W = model.parameters()[0]
            W.data = W.data * 0.5
        where = interrupted_at(
            k, ("compiler/store.py", "compiler/step.py", "compiler/running.py"), lambda fast=fast: fast(X, Y)
        )
        if ob.steps > oa.steps:
            slow(X, Y)
        for columns in (slice(None), slice(None), slice(20), slice(None)):
            assert_equal_models(a, b)
            x, y = X[:, columns], Y[:, columns]
            assert fast(x, y) == pytest.approx(slow(x, y), rel=1e-12), where
        assert len(held) == 4
        k += 1
    assert k > 100
