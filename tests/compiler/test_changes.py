"""Whatever changes between two steps, in a model, an optimizer or around them, is seen."""

import functools
import types

import numpy as np
import pytest

import tinygrad_dls as tg
from tests.compiler.steps import LOGITS, X, Y, assert_alike, assert_equal_models, eager, network, pair, sgd
from tinygrad_dls import nn


def change_in_place(model, optimizer):
    model.parameters()[0].data[0] *= 0.5


def replace(model, optimizer):
    W = model.parameters()[0]
    W.data = W.data * 0.5


def load(model, optimizer):
    model.load_state_dict({name: value * 0.5 for name, value in model.state_dict().items()})


def step_eagerly(model, optimizer):
    eager(model, LOGITS, optimizer)(X, Y)


def reset_optimizer(model, optimizer):
    state = optimizer.state_dict()
    optimizer.load_state_dict(
        {**state, "state": [tuple((x * 0.5).astype(x.dtype) for x in s) for s in state["state"]], "steps": 3}
    )


def freeze(model, optimizer):
    model.parameters()[0].requires_grad = False


def thaw(model, optimizer):
    freeze(model, optimizer)
    eager(model, LOGITS, optimizer)(X, Y)
    model.parameters()[0].requires_grad = True


def replace_frozen(model, optimizer):
    freeze(model, optimizer)
    replace(model, optimizer)


def replace_parameter(model, optimizer):
    layer = next(m for m in model.modules() if isinstance(m, nn.Linear))
    layer.b = nn.Parameter(layer.b.data + 0.25)


def slower(model, optimizer):
    optimizer.lr = 0.05


def scheduled(model, optimizer):
    optimizer.lr = lambda step: 0.5 / (1 + step)


def more_momentum(model, optimizer):
    optimizer.momentum = 0.5


def more_decay(model, optimizer):
    optimizer.weight_decay = 0.3


def another_class(model, optimizer):
    layer = next(m for m in model.modules() if isinstance(m, nn.Tanh))
    layer.__class__ = nn.ReLU


CHANGES = [
    another_class, change_in_place, replace, load, step_eagerly, reset_optimizer, freeze, thaw, replace_frozen,
    replace_parameter, slower, scheduled, more_momentum, more_decay,
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda f: f.__name__)
@pytest.mark.parametrize("momentum", [0, 0.9])
def test_a_change_between_two_steps_is_seen(change, momentum):
    if change is more_momentum and not momentum:
        momentum = 0.8
    a, b, oa, ob, slow, fast = pair(momentum=momentum, lr=0.1)
    for _ in range(3):
        slow(X, Y), fast(X, Y)
    change(a, oa)
    change(b, ob)
    for _ in range(3):
        assert fast(X, Y) == pytest.approx(slow(X, Y), rel=1e-12)
        assert_equal_models(a, b)


@pytest.mark.parametrize("change", [replace, load, step_eagerly, reset_optimizer, freeze, thaw, slower])
def test_adam_sees_a_change_between_two_steps(change):
    """After `thaw`, its parameters have taken different numbers of steps, and are corrected differently."""
    a, b = network(), network()
    oa, ob = (tg.optim.Adam(m.parameters(), lr=0.01) for m in (a, b))
    slow, fast = eager(a, LOGITS, oa), tg.compile(b, LOGITS, ob)
    for _ in range(3):
        slow(X, Y), fast(X, Y)
    change(a, oa)
    change(b, ob)
    for _ in range(5):
        assert fast(X, Y) == pytest.approx(slow(X, Y), rel=1e-11)  # Adam divides by what may be small
    for p, q in zip(a.parameters(), b.parameters(), strict=True):
        np.testing.assert_allclose(q.data, p.data, rtol=1e-9)
    for s, t in zip(oa.state_dict()["state"], ob.state_dict()["state"], strict=True):
        assert [int(x) for x in s[2:]] == [int(x) for x in t[2:]]


@pytest.mark.parametrize("tile", [None, 8])
def test_memory_maps_lists_and_columns_in_another_order_are_data_too(tile, tmp_path):
    np.save(tmp_path / "X.npy", X)
    model = network()
    step = tg.compile(model, LOGITS, sgd(model, lr=0.0), tile=tile)
    J = LOGITS(model(X), Y).item()
    for x in (X, np.load(tmp_path / "X.npy", mmap_mode="r"), np.asfortranarray(X), X.tolist(), tg.Tensor(X), X[:, ::1]):
        assert step(x, Y) == pytest.approx(J, rel=1e-13)
    assert step(X, Y.astype(int)) == pytest.approx(J, rel=1e-13)


@pytest.mark.parametrize("momenta", [(0.9, 0, 0, 0.9), (0, 0.5, 0, 0.9, 0)])
@pytest.mark.parametrize("tile", [None, 16])
def test_a_momentum_of_0_forgets_the_velocity_as_the_eager_step_does(momenta, tile):
    a, b, oa, ob, slow, _ = pair(momentum=momenta[0], lr=0.1)
    fast = tg.compile(b, LOGITS, ob, tile=tile)
    for momentum in momenta:
        oa.momentum = ob.momentum = momentum
        for _ in range(2):
            assert fast(X, Y) == pytest.approx(slow(X, Y), rel=1e-12)
            assert_equal_models(a, b)
        for s, t in zip(oa.state_dict()["state"], ob.state_dict()["state"], strict=True):
            assert len(s) == len(t)


def test_frozen_from_the_start():
    a, b, *_, slow, fast = pair()
    for model in (a, b):
        for p in model.parameters()[:2]:
            p.requires_grad = False
    before = b.parameters()[0].data.copy()
    for _ in range(3):
        slow(X, Y), fast(X, Y)
    assert_equal_models(a, b)
    assert (b.parameters()[0].data == before).all()


def test_numbers_around_the_loss_are_live():
    model = network()
    strength = 0.0

    def loss(z, y):
        return LOGITS(z, y) + strength * sum(np.sum(p**2) for p in model.parameters())

    step = tg.compile(model, loss, sgd(model, lr=0.0))
    plain = step(X, Y)
    strength = 2.0
    squares = sum(np.sum(p.data**2) for p in model.parameters())
    assert step(X, Y) == pytest.approx(plain + 2 * squares, rel=1e-12)


def test_numbers_of_a_module_are_live():
    class Scaled(nn.Module):
        def __init__(self):
            self.layer, self.factor = nn.Linear(3, 1, rng=0), 1.0

        def __call__(self, a):
            return self.factor * self.layer(a)

    model = Scaled()
    step = tg.compile(model, LOGITS, sgd(model, lr=0.0))
    for factor in (1.0, 3.0, 1.0):
        model.factor = factor
        assert step(X, Y) == pytest.approx(LOGITS(model(X), Y).item(), rel=1e-12)
    assert len(step._known) == 2  # the first one is remembered


def without_graph(gate):
    with tg.no_grad():
        return gate * 1.0


@pytest.mark.parametrize("read", [lambda g: g.data, lambda g: g.detach(), without_graph], ids=["data", "detach", "no"])
@pytest.mark.parametrize("tile", [None, 16])
def test_parameters_that_are_read_without_a_gradient_are_live(read, tile):
    class Gated(nn.Module):
        def __init__(self):
            self.layer, self.gate = nn.Linear(3, 1, rng=0), nn.Parameter(np.ones((1, 1)))

        def __call__(self, a):
            return self.layer(a) * read(self.gate)

    model = Gated()
    step = tg.compile(model, LOGITS, sgd(model, lr=0.0), tile=tile)
    for value in (1.0, 3.0):
        model.gate.data = np.full((1, 1), value)
        assert step(X, Y) == pytest.approx(LOGITS(model(X), Y).item(), rel=1e-12)
    model.gate.data[...] = 0.5
    assert step(X, Y) == pytest.approx(LOGITS(model(X), Y).item(), rel=1e-12)


class Knobs(nn.Module):
    """A module that takes numbers from everywhere, and a loss as an object's method that does."""

    from_class = 1.0

    def __init__(self):
        self.layer = nn.Linear(3, 1, rng=0)
        self.array = np.ones((1, 1))
        self.column = np.ones((3, 1))
        self.nested = {"a": {"k": [1.0]}}
        self.space = types.SimpleNamespace(k=1.0)
        self.constant = tg.Tensor(np.ones((1, 1)))
        self.after = nn.Sequential(lambda z: z * KNOBS["lambda"])

    def __call__(self, x):
        return self.after(self.forward(x * self.column) * self.constant)

    def forward(self, x):
        z = self.layer(x) * self.array * self.nested["a"]["k"][0] * self.space.k * self.from_class
        return helped(z)


class Costs:
    from_class = 1.0

    def __init__(self):
        self.k, self.list = 1.0, [1.0]

    def __call__(self, z, y):
        return self.cost(z, y)

    def cost(self, z, y, factor=1.0):
        return LOGITS(z, y) * self.k * self.list[0] * self.from_class * factor


KNOBS = {"lambda": 1.0, "helper": 1.0}
WEIGHT = np.ones((1, 1))


def helped(z):
    return z * KNOBS["helper"] * WEIGHT


TURNS = {
    "an array": lambda m, c: m.array.fill(2.0),
    "a column": lambda m, c: m.column.fill(2.0),
    "an array replaced": lambda m, c: setattr(m, "array", np.full((1, 1), 2.0)),
    "nested containers": lambda m, c: m.nested["a"]["k"].__setitem__(0, 2.0),
    "a namespace": lambda m, c: setattr(m.space, "k", 2.0),
    "a constant Tensor": lambda m, c: m.constant.data.fill(2.0),
    "a class": lambda m, c: setattr(Knobs, "from_class", 2.0),
    "a class, hidden by the module": lambda m, c: setattr(m, "from_class", 2.0),
    "a layer that is a lambda": lambda m, c: KNOBS.update({"lambda": 2.0}),
    "a helper": lambda m, c: KNOBS.update(helper=2.0),
    "a global array": lambda m, c: WEIGHT.fill(2.0),
    "the loss": lambda m, c: setattr(c, "k", 2.0),
    "a list of the loss": lambda m, c: c.list.__setitem__(0, 2.0),
    "the class of the loss": lambda m, c: setattr(Costs, "from_class", 2.0),
    "the loss, hiding its class": lambda m, c: setattr(c, "from_class", 2.0),
    "a default": lambda m, c: setattr(Costs.cost, "__defaults__", (2.0,)),
}


@pytest.mark.parametrize("turn", TURNS.values(), ids=TURNS)
@pytest.mark.parametrize("kind", ["object", "method", "partial"])
def test_numbers_and_arrays_that_the_code_takes_from_around_it_are_live(turn, kind, monkeypatch):
    monkeypatch.setattr(Knobs, "from_class", 1.0)
    monkeypatch.setattr(Costs, "from_class", 1.0)
    monkeypatch.setattr(Costs.cost, "__defaults__", (1.0,))
    monkeypatch.setitem(KNOBS, "lambda", 1.0)
    monkeypatch.setitem(KNOBS, "helper", 1.0)
    try:
        model, costs = Knobs(), Costs()
        loss = {"object": costs, "method": costs.cost, "partial": functools.partial(costs.cost)}[kind]
        step = tg.compile(model, loss, sgd(model, lr=0.0))
        before = [step(X, Y) for _ in range(2)]
        assert len(step._known) == 1
        turn(model, costs)
        J = loss(model(X), Y).item()
        assert step(X, Y) == pytest.approx(J, rel=1e-12)
        assert before[0] == before[1] != pytest.approx(J, rel=1e-3)
    finally:
        WEIGHT.fill(1.0)


def test_a_parameter_from_elsewhere_that_is_read_without_a_gradient_is_live():
    teacher = nn.Linear(3, 1, rng=5)
    model = nn.Sequential(nn.Linear(3, 1, rng=0))
    step = tg.compile(model, lambda z, y: LOGITS(z, y) * np.sum(teacher.W.data), sgd(model, lr=0.0))
    for _ in range(3):
        assert step(X, Y) == pytest.approx(LOGITS(model(X), Y).item() * teacher.W.data.sum(), rel=1e-12)
        teacher.W.data = teacher.W.data * 0.5 + 1


def test_a_parameter_of_the_loss_may_be_frozen_and_thawed():
    found = []
    for compiled in (False, True):
        model, scale = network(), nn.Parameter(np.ones((1, 1)), name="scale")
        optimizer = tg.optim.SGD([*model.parameters(), scale], lr=0.1)
        loss = lambda z, y, scale=scale: LOGITS(z * scale, y)  # noqa: E731  # used once, in the next lines
        step = (tg.compile if compiled else eager)(model, loss, optimizer)
        for wanted in (True, False, True):
            scale.requires_grad = wanted
            found += [(step(X, Y), scale.data[0, 0]) for _ in range(3)]
    np.testing.assert_allclose(found[9:], found[:9], rtol=1e-12)


def test_the_data_of_a_weight_can_be_changed_in_place_entry_by_entry():
    a, b, *_, slow, fast = pair()
    for _ in range(3):
        for model in (a, b):
            W = model.parameters()[0]
            W.data.flat[1] = 0.5
            W.data[2] *= 2
        assert fast(X, Y) == pytest.approx(slow(X, Y), rel=1e-12)
        assert_equal_models(a, b)


@pytest.mark.parametrize("change", ["append", "shorten", "replace"])
def test_the_optimizer_may_be_given_other_parameters(change):
    a, b = network(), network()
    oa, ob = (tg.optim.SGD(m.parameters()[:3], lr=0.1) for m in (a, b))
    slow, fast = eager(a, LOGITS, oa), tg.compile(b, LOGITS, ob)
    slow(X, Y), fast(X, Y)
    for model, optimizer in ((a, oa), (b, ob)):
        if change == "append":
            optimizer.parameters.append(model.parameters()[3])
        elif change == "shorten":
            del optimizer.parameters[0]
        else:
            optimizer.parameters = model.parameters()[2:]
    for _ in range(3):
        assert fast(X, Y) == pytest.approx(slow(X, Y), rel=1e-12)
        for p, q in zip(a.parameters(), b.parameters(), strict=True):
            assert_alike(p.data, q.data)


@pytest.mark.parametrize("optimizer", [tg.optim.SGD, tg.optim.Adam])
@pytest.mark.parametrize("backend", ["numpy", "auto"])
def test_a_parameter_without_entries_is_one(optimizer, backend):
    class Wide(nn.Module):
        def __init__(self):
            self.none, self.layer = nn.Parameter(np.zeros((0, 3))), nn.Linear(len(X), 1, rng=0)

        def __call__(self, x):
            return self.layer(x) + np.sum(self.none)

    a, b = Wide(), Wide()
    slow = eager(a, LOGITS, optimizer(a.parameters(), lr=0.1))
    fast = tg.compile(b, LOGITS, optimizer(b.parameters(), lr=0.1), backend=backend)
    for _ in range(3):
        assert fast(X, Y) == pytest.approx(slow(X, Y), rel=1e-12)
