"""What recorded functions read: declared constant, refused with a sentence, or compared in little time."""

import itertools
import queue
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import tinygrad_dls as tg
from tinygrad_dls import nn
from tinygrad_dls.compiler import checking
from tinygrad_dls.compiler import compiled as shared
from tinygrad_dls.engine.errors import RecordingError

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(3, 20)), RNG.integers(0, 2, size=(1, 20))
LOGITS = tg.binary_cross_entropy_with_logits


def compiled(loss=LOGITS, model=None, optimizer=tg.optim.SGD, **options):
    model = model or nn.Sequential(nn.Linear(3, 1, rng=0))
    return tg.compile(model, loss, optimizer(model.parameters(), lr=0.1), **options)


# -- refused by name --------------------------------------------------------------------------------------------------

WORDS = queue.SimpleQueue()
MANY = {f"w{i}": float(i) for i in range(5000)}


class Reading(nn.Module):
    def __init__(self, table):
        self.table, self.layer = table, nn.Linear(3, 1, rng=0)

    def __call__(self, x):
        return self.layer(x) * self.table["w1"]


@pytest.mark.parametrize(
    ("step", "text"),
    [
        (
            lambda: compiled(lambda z, y: LOGITS(z, y) * (WORDS.qsize() + 1)),
            "would freeze what WORDS holds: a SimpleQueue, whose changes cannot be watched. Pass what the code takes "
            "from it as an argument, or keep that as a number or an array in a variable; if it never changes, declare "
            "it with compile(..., constants=[WORDS]).",
        ),
        (
            lambda: compiled(lambda z, y: LOGITS(z, y) * (time.time() > 0)),
            "would freeze what time.time gives, which comes from outside: a clock, a file, the process, a setting. "
            "Call it before, and pass what it gave as an argument, or keep that in a variable; if it never changes, "
            "declare it with compile(..., constants=[time.time]).",
        ),
        (
            lambda: compiled(model=Reading(MANY)),
            "would freeze what Reading.table holds: a dict of 5,000 entries, whose",
        ),
        (
            lambda: compiled(lambda z, y: LOGITS(z, y) * eval("1" + "+1")),
            "reads by globals(), eval or exec, with names that do not stand in its code. Write their names, or pass "
            "them as arguments.",
        ),
    ],
)
def test_what_cannot_be_watched_is_refused_with_what_to_write(step, text):
    with pytest.raises(RecordingError) as error:
        step()(X, Y)
    assert text in str(error.value)


class Counting(nn.Module):
    def __init__(self):
        self.layer, self.calls = nn.Linear(3, 1, rng=0), 0

    def __call__(self, x):
        self.calls += 1
        return self.layer(x) * self.calls


def pieces(x):
    return np.piecewise(x, [x < 0, x >= 0], [lambda t: -t, lambda t: 2 * t])


@pytest.mark.parametrize(
    ("run", "text"),
    [
        (lambda: compiled(model=Counting())(X, Y), "would freeze Counting.calls, which the code changes each time"),
        (
            lambda: tg.compile(pieces)(X),
            "recorded twice, np.piecewise (3, 20) has other arguments the second time. It is given functions that are "
            "made anew each time: write np.where, or define them outside.",
        ),
        (
            lambda: tg.compile(lambda x: x * np.random.rand())(X),
            "recorded twice, np.multiply (3, 20) has other arguments the second time. Does it draw random numbers?",
        ),
        (
            lambda: compiled(lambda z, y: LOGITS(z, y) * (2.0 if isinstance(y, np.ndarray) else 1.0))(X, Y),
            "or asks for isinstance(x, np.ndarray), which is false while it is recorded.",
        ),
    ],
)
def test_why_two_recordings_or_numbers_differ_is_said(run, text):
    with pytest.raises((RecordingError, RuntimeError)) as error:
        run()
    assert text in str(error.value)


def test_what_is_refused_runs_eagerly_with_a_fallback_and_says_so():
    step = compiled(lambda z, y: LOGITS(z, y) * (WORDS.qsize() + 1), fallback=True)
    twice = [step(X, Y), step(X, Y)]
    assert twice[1] < twice[0]
    assert "what WORDS holds" in step.explain()


@pytest.mark.parametrize("model", [Reading(MANY)])
def test_constants_are_not_compared(model):
    step = compiled(model=model, constants=[MANY])
    cost = step(X, Y)
    assert cost == pytest.approx(LOGITS(Reading(MANY)(X), Y).item(), rel=1e-12)
    assert "NumPy calls" in step.explain()


def test_constants_are_a_list():
    with pytest.raises(TypeError, match=r"constants must be a list of objects, constants=\[...\]; got 3"):
        compiled(constants=3)


def test_constants_of_a_function():
    double = tg.compile(lambda x: x * MANY["w2"], constants=[MANY])
    assert (double(X) == 2 * X).all()


def test_what_no_code_reads_may_change_and_need_not_be_of_any_kind():
    model = nn.Sequential(nn.Linear(3, 1, rng=0))
    model.log, model.words, model.last, model.epoch = WORDS, MANY, X, -1
    step = compiled(model=model)
    step(X, Y)
    program = step._now
    for epoch in range(3):
        model.epoch, model.last = epoch, X.copy()
        step(X, Y)
    assert step._now is program


# -- what an optimizer does besides its update ------------------------------------------------------------------------


class Clipping(tg.optim.SGD):
    def step(self):
        for p in self.parameters:
            p.grad = np.clip(p.grad, -1e-3, 1e-3)
        super().step()


class Accumulating(tg.optim.SGD):
    def zero_grad(self):
        """Keep the gradients."""


class Warming(tg.optim.SGD):
    def _rate(self):
        return min(1.0, self.steps / 10) * super()._rate()


def patched(parameters, lr):
    optimizer = tg.optim.SGD(parameters, lr=lr)
    optimizer.step = lambda: None
    return optimizer


@pytest.mark.parametrize(
    ("optimizer", "name"),
    [
        (Clipping, "Clipping.step"),
        (Accumulating, "Accumulating.zero_grad"),
        (Warming, "Warming._rate"),
        (patched, "SGD.step"),
    ],
)
def test_an_optimizer_with_steps_of_its_own_is_refused(optimizer, name):
    text = f"the program would drop what {name} does: of an optimizer, _update is recorded, and nothing else"
    with pytest.raises(RecordingError, match=text):
        compiled(optimizer=optimizer)(X, Y)
    model = nn.Sequential(nn.Linear(3, 1, rng=0))
    with pytest.raises(RecordingError, match=text):
        tg.numpy_source(model, X, Y, loss=LOGITS, optimizer=optimizer(model.parameters(), lr=0.1))


@pytest.mark.parametrize("optimizer", [Clipping, Accumulating, Warming])
def test_with_a_fallback_its_steps_are_its_own(optimizer):
    costs = []
    for step_of in (lambda *a: compiled(LOGITS, a[0], optimizer, fallback=True), lambda *a: None):
        model = nn.Sequential(nn.Linear(3, 1, rng=0))
        step = step_of(model)
        own = optimizer(model.parameters(), lr=0.1)
        costs.append([step(X, Y) if step else tg.optim.eager_step(model, LOGITS, own, X, Y) for _ in range(4)])
    assert costs[0] == costs[1]


def test_a_method_that_is_replaced_later_is_noticed():
    model = nn.Sequential(nn.Linear(3, 1, rng=0))
    optimizer = tg.optim.SGD(model.parameters(), lr=0.1)
    step = tg.compile(model, LOGITS, optimizer)
    step(X, Y)
    optimizer.step = lambda: None
    with pytest.raises(RecordingError, match=r"would drop what SGD\.step does"):
        step(X, Y)


@pytest.mark.parametrize("name", ["step", "zero_grad", "_rate"])
@pytest.mark.parametrize("when", ["before", "later"])
def test_a_method_of_this_package_that_is_replaced_for_all_optimizers_is_noticed(name, when, monkeypatch):
    step, own = compiled(), getattr(tg.optim.Optimizer, name)
    if when == "later":
        step(X, Y)
    monkeypatch.setattr(tg.optim.Optimizer, name, lambda self: own(self))
    with pytest.raises(RecordingError, match=rf"would drop what SGD\.{name} does"):
        step(X, Y)


def threefold(p, rate):
    return p.data - 3 * rate * p.grad, ()


class OwnRate(tg.optim.SGD):
    def _update(self, p, rate):
        return p.data - self.lr * p.grad, ()


class BySize(tg.optim.SGD):
    scales = {"W": 1.0}  # noqa: RUF012

    def _update(self, p, rate):
        return super()._update(p, rate * self.scales.get(p.name, 1.0))


CHANGES = {
    "an update of its own": (tg.optim.SGD, lambda o, patch: patch.setattr(o, "_update", threefold, raising=False)),
    "the update of its class": (
        tg.optim.SGD,
        lambda o, patch: patch.setattr(tg.optim.SGD, "_update", lambda self, p, rate: threefold(p, rate)),
    ),
    "the rate that an update reads itself": (OwnRate, lambda o, patch: setattr(o, "lr", 0.5)),
    "the names of parameters": (BySize, lambda o, patch: setattr(o.parameters[0], "name", "V")),
    "what is kept by names": (BySize, lambda o, patch: patch.setitem(BySize.scales, "W", 3.0)),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_an_update_depends_on_may_change_between_two_steps(name):
    kind, change = CHANGES[name]
    costs = []
    for is_compiled in (False, True):
        model = nn.Sequential(nn.Linear(3, 1, rng=0))
        optimizer = kind(model.parameters(), lr=0.1)
        step = tg.compile(model, LOGITS, optimizer)
        with pytest.MonkeyPatch.context() as patch:
            costs.append([])
            for i in range(6):
                if i == 2:  # the third call is not compared with the eager one
                    change(optimizer, patch)
                costs[-1].append(step(X, Y) if is_compiled else tg.optim.eager_step(model, LOGITS, optimizer, X, Y))
    assert costs[1] == pytest.approx(costs[0], rel=1e-12)


def own_attributes(step):
    """Give the optimizer another dict of attributes, with another momentum."""
    step.optimizer.__dict__ = {**vars(step.optimizer), "momentum": 0.5}


SEEN = {
    "a number": lambda step: setattr(step.optimizer, "momentum", 0.5),
    "a number that is gone": lambda step: delattr(step.optimizer, "momentum"),
    "the dict of the attributes": own_attributes,
    "a method of its own": lambda step: setattr(step.optimizer, "step", print),
    "another class": lambda step: setattr(step.optimizer, "__class__", BySize),
    "whether a gradient is required": lambda step: setattr(step.model.parameters()[0], "requires_grad", False),
    "a bias, for one of the same number": lambda step: setattr(step.model.layers[0], "b", nn.Parameter([[0.0]])),
    "an attribute of a layer": lambda step: setattr(step.model.layers[0], "n_in", 4),
    "the list of parameters": lambda step: step.optimizer.parameters.pop(),
    "another list of the same parameters": lambda step: setattr(
        step.optimizer, "parameters", list(step.optimizer.parameters)
    ),
}


@pytest.mark.parametrize("what", SEEN)
def test_a_change_is_seen_at_a_glance_and_at_length(what):
    step = compiled()
    step(X, Y)
    state = step._now.guard
    assert state.unchanged()
    SEEN[what](step)
    assert not state.unchanged()
    assert not state.holds()


def test_a_glance_is_enough_again_after_a_change_that_does_not_count():
    step = compiled()
    step(X, Y)
    state = step._now.guard
    step.model.layers[0].note = "of the user's"
    assert not state.unchanged()  # a new attribute may hide another one
    step(X, Y)
    state = step._now.guard
    step.model.layers[0].note = "another one"
    assert not state.unchanged()
    step(X, Y)
    assert step._now.guard is state
    assert state.unchanged()


def test_a_number_that_is_assigned_again_is_the_same_at_a_glance():
    step = compiled()
    step(X, Y)
    step.optimizer.momentum = float("0")
    step.optimizer.weight_decay = 0
    assert step._now.guard.unchanged()


@pytest.mark.parametrize("kind", [tg.optim.SGD, OwnRate])
@pytest.mark.parametrize("read", [lambda o: o.lr, lambda o: 1 + o.steps])
def test_a_loss_may_look_at_the_optimizer(kind, read):
    costs = []
    for is_compiled in (False, True):
        model = nn.Sequential(nn.Linear(3, 1, rng=0))
        optimizer = kind(model.parameters(), lr=0.1)
        loss = scaled_by(read, optimizer)
        step = tg.compile(model, loss, optimizer)
        costs.append([])
        for i in range(6):
            optimizer.lr = 0.1 if i < 2 else 0.4
            costs[-1].append(step(X, Y) if is_compiled else tg.optim.eager_step(model, loss, optimizer, X, Y))
    assert costs[1] == pytest.approx(costs[0], rel=1e-12)


def scaled_by(read, optimizer):
    return lambda z, y: LOGITS(z, y) * read(optimizer)


# -- no false alarms --------------------------------------------------------------------------------------------------


def load_scale():
    """The user's own, in spite of its name."""
    return 0.5


class Keeping(nn.Module):
    """It keeps what nobody can watch, and no code reads."""

    def __init__(self, kept):
        self.linear, self.kept = nn.Linear(3, 1, rng=0), kept

    def __call__(self, x):
        return self.linear(x)


def parameters(model):
    return model.parameters()


def named(model):
    return [p for name, p in model.named_parameters() if name.endswith("W")]


def of_modules(model):
    return [m.W for m in model.modules() if isinstance(m, nn.Linear)]


@pytest.mark.parametrize("walk", [parameters, named, of_modules])
@pytest.mark.parametrize(
    "kept", [Path("results"), MANY, list(range(5000)), WORDS, iter([1])], ids=lambda x: type(x).__name__
)
def test_a_penalty_of_all_weights_does_not_read_what_else_a_model_keeps(walk, kept):
    model = Keeping(kept)
    step = compiled(lambda z, y: LOGITS(z, y) + sum(np.sum(p**2) for p in walk(model)), model)
    cost = step(X, Y)
    assert cost == pytest.approx(LOGITS(Keeping(kept)(X), Y).item() + penalty(Keeping(kept), walk), rel=1e-12)
    model.other = Keeping(None)  # not one of the optimizer's, and in the penalty
    cost = LOGITS(model(X), Y).item() + penalty(model, walk)
    assert step(X, Y) == pytest.approx(cost, rel=1e-12)


def penalty(model, walk):
    return sum(np.sum(p.data**2) for p in walk(model))


@dataclass
class Settings:
    scale: float = 0.5
    folder: Path = Path("results")


def test_settings_may_hold_what_no_code_reads():
    """In spite of the methods that ``dataclass`` writes, which read all fields."""
    settings = Settings()
    step = compiled(lambda z, y: LOGITS(z, y) * settings.scale)
    before = step(X, Y)
    settings.scale = 0.25
    assert step(X, Y) < 0.6 * before


class Innocent(nn.Module):
    """It reads itself by names, keeps NumPy as an attribute, and has methods called as NumPy's that read files."""

    def __init__(self):
        self.linear, self.xp, self.scale = nn.Linear(3, 1, rng=0), np, 0.5

    def __getattr__(self, name):
        raise AttributeError(name)

    def __call__(self, x):
        for name in ("linear",):
            x = getattr(self, name)(x) * vars(self)["scale"] * load_scale()
        return self.xp.tanh(x) * (2.0 if self.linear.W.name == "linear.W" else 1.0)


def test_a_model_that_is_read_by_names_is_recorded_once():
    model = Innocent()
    step = compiled(model=model)
    step(X, Y)
    program = step._now
    for _ in range(9):
        step(X, Y)
    assert step._now is program
    model.scale = 0.25
    cost = LOGITS(model(X), Y).item()
    assert step(X, Y) == pytest.approx(cost, rel=1e-12)
    assert step._now is not program


# -- recorded again and again -----------------------------------------------------------------------------------------


def test_more_shapes_than_are_remembered_are_said(monkeypatch):
    monkeypatch.setattr(shared, "SHAPES", 4)
    step = compiled()
    data = [(RNG.normal(size=(3, m)), np.ones((1, m))) for m in range(10, 15)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for batch in data:
            step(*batch)
    with pytest.warns(
        RuntimeWarning, match=r"a compiled step: the data come in more shapes than are remembered \(4 at"
    ):
        step(*data[0])


def test_hundreds_of_shapes_are_recorded_once_each():
    f = tg.compile(lambda x: np.tanh(x) * 2)
    data = [np.ones(n) for n in range(1, 100)]
    programs = []
    for _ in range(2):
        for x in data:
            f(x)
            programs.append(f._now)
    assert programs[: len(data)] == programs[len(data) :]


def test_what_changes_at_each_step_is_named():
    class Counted(nn.Module):
        def __init__(self):
            self.layer, self.k = nn.Linear(3, 1, rng=0), 0

        def __call__(self, x):
            return self.layer(x) * (1 + self.k)

    model = Counted()
    step = compiled(model=model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for model.k in range(shared.STATES):
            step(X, Y)
    model.k = -1
    with pytest.warns(RuntimeWarning, match=r"a compiled step: Counted\.k changes again and again, and each time"):
        step(X, Y)


# -- compared with the eager step -------------------------------------------------------------------------------------

MODELS = {
    "logistic regression": lambda dtype: nn.LogisticRegression(3, dtype=dtype),
    "tanh": lambda dtype: nn.TwoLayerNetwork(3, 4, rng=0, dtype=dtype),
    "relu": lambda dtype: nn.TwoLayerNetwork(3, 32, 1, nn.ReLU(), rng=0, dtype=dtype),
}
OPTIMIZERS = {
    "SGD": lambda p: tg.optim.SGD(p, lr=0.5),
    "momentum": lambda p: tg.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=1e-3),
    "Adam": lambda p: tg.optim.Adam(p, lr=0.01),
    "tiny steps": lambda p: tg.optim.SGD(p, lr=1e-12),
    "huge steps": lambda p: tg.optim.SGD(p, lr=5.0),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("model", MODELS)
def test_rounding_is_never_taken_for_a_change(monkeypatch, model, optimizer, dtype):
    monkeypatch.setattr(checking, "PERIOD", 1)  # compared at each step
    net = MODELS[model](dtype)
    step = tg.compile(net, LOGITS, OPTIMIZERS[optimizer](net.parameters()))
    costs = [step(X.astype(dtype), Y) for _ in range(100)]
    assert np.isfinite(costs).all()


@pytest.mark.parametrize("tile", [None, 7])
def test_a_value_that_nobody_watches_is_noticed_and_nothing_is_changed(tile):
    hidden = itertools.count()  # not read by the recording: its state is behind a C function
    box = {"scale": 1.0}
    read = type("Hidden", (), {"__float__": lambda self: box["scale"]})
    known = [read()]
    step = compiled(lambda z, y: LOGITS(z, y) * float(known[0]), constants=[known], tile=tile)
    step(X, Y), step(X, Y)
    box["scale"] = 3.0
    step(X, Y)
    before = {name: w.copy() for name, w in step.model.state_dict().items()}
    with pytest.raises(
        RuntimeError, match=r"instead of .* for the cost: something that the code reads has changed since"
    ):
        step(X, Y)
    assert next(hidden) == 0
    assert all((before[name] == w).all() for name, w in step.model.state_dict().items())
    assert step.optimizer.steps == 3
    assert step(X, Y) == pytest.approx(3 * LOGITS(nn_output(step, before), Y).item(), rel=1e-12)


def nn_output(step, state):
    twin = nn.Sequential(nn.Linear(3, 1, rng=0))
    twin.load_state_dict(state)
    return twin(X)


def test_comparisons_get_rarer_and_stop_at_a_period():
    turns, calls = checking.Turns(float), []
    left = turns.left
    for call in range(1, 5000):
        left -= 1
        if not left:
            calls.append(call)
            turns.again()
            left = turns.left
    assert calls[:12] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048]
    assert calls[12:] == [3072, 4096]


@pytest.mark.parametrize(
    ("got", "expected", "found"),
    [
        (1.0, 1.0, []),
        (1.0 + 1e-13, 1.0, []),
        (1.0 + 1e-9, 1.0, ["the cost"]),
        (np.inf, np.inf, []),
        (np.nan, np.nan, []),
        (np.nan, 1.0, ["the cost"]),
        (np.inf, -np.inf, ["the cost"]),
        (1e-20, 0.0, ["the cost"]),
    ],
)
def test_costs_are_compared_by_their_own_size(got, expected, found):
    assert list(checking.Turns(float).differing({"the cost": got}, {"the cost": expected}, {})) == found


def test_fit_takes_the_options_of_compile():
    model = Reading(MANY)
    optimizer = tg.optim.SGD(model.parameters(), lr=0.1)
    history = tg.fit(model, X, Y, loss=LOGITS, optimizer=optimizer, epochs=3, compile={"constants": [MANY]})
    assert len(history) == 3
    with pytest.raises(RecordingError, match=r"would freeze what Reading\.table holds"):
        tg.fit(model, X, Y, loss=LOGITS, optimizer=optimizer, epochs=3, compile=True)
    with pytest.raises(TypeError, match=r"compile\(\) got an unexpected keyword argument 'constant'"):
        tg.fit(model, X, Y, loss=LOGITS, optimizer=optimizer, epochs=3, compile={"constant": [MANY]})


# -- zeros of both signs ----------------------------------------------------------------------------------------------


class Zero(tg.nn.Module):
    def __init__(self, k):
        self.k, self.list, self.dict, self.pair = k, [k], {"k": k}, (k, 1.0)


def _variable():
    k = 0.0

    def put(new):
        nonlocal k
        k = new

    return (lambda x: np.copysign(x, k)), put


def _held(read, put):
    """A way to read a zero of a module, and one to put another there."""

    def made():
        module = Zero(0.0)
        return (lambda x: np.copysign(x, read(module))), (lambda k: put(module, k))

    return made


def _container(holder, read, put):
    return lambda: ((lambda x: np.copysign(x, read(holder))), (lambda k: put(holder, k)))


ZEROS = {
    "a variable": _variable,
    "an attribute": _held(lambda m: m.k, lambda m, k: setattr(m, "k", k)),
    "a list of a module": _held(lambda m: m.list[0], lambda m, k: m.list.__setitem__(0, k)),
    "a dict of a module": _held(lambda m: m.dict["k"], lambda m, k: m.dict.update(k=k)),
    "a tuple of a module": _held(lambda m: m.pair[0], lambda m, k: setattr(m, "pair", (k, 1.0))),
    "a list": _container([0.0], lambda x: x[0], lambda x, k: x.__setitem__(0, k)),
    "a number of NumPy's": _container([0.0], lambda x: x[0], lambda x, k: x.__setitem__(0, np.float32(k))),
    "a list in a list": _container([[0.0]], lambda x: x[0][0], lambda x, k: x[0].__setitem__(0, k)),
    "another list in a list": _container([[0.0]], lambda x: x[0][0], lambda x, k: x.__setitem__(0, [k])),
    "an object": _container(SimpleNamespace(k=0.0), lambda x: x.k, lambda x, k: setattr(x, "k", k)),
    "an array": _container(np.zeros(1), lambda x: x, lambda x, k: x.fill(k)),
}


@pytest.mark.parametrize("name", ZEROS)
def test_a_zero_that_changes_its_sign_is_another_number(name):
    f, put = ZEROS[name]()
    x = np.ones((1, 3))
    for before in (0.0, -0.0):
        put(before)
        compiled = tg.compile(f)
        for _ in range(3):  # the call after the next comparison with the eager run
            np.testing.assert_array_equal(compiled(x), f(x))
        put(-before)
        np.testing.assert_array_equal(compiled(x), f(x))
        np.testing.assert_array_equal(compiled(x), np.copysign(x, -before))
