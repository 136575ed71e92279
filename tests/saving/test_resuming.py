"""A training that is saved and loaded goes on as one that never stopped, to the last bit."""

import copy
import itertools

import numpy as np
import pytest

import tinygrad_dls as tg
from tinygrad_dls import nn, optim

X, Y = tg.datasets.planar_flower(60)
LOGITS = tg.binary_cross_entropy_with_logits


def plain(rng):
    return nn.TwoLayerNetwork(2, 4, rng=rng)


def normalised(rng):
    return nn.Classifier(
        nn.Standardizer.of(X), nn.Linear(2, 6, rng=rng), nn.BatchNorm(6), nn.Tanh(), nn.Linear(6, 1, rng=rng + 1)
    )


def with_everything(rng, dtype=float):
    """Standardised inputs, batch normalisation, and two layers of dropout (which compiles not) with one generator."""
    masks = np.random.default_rng(rng)
    return nn.Classifier(
        nn.Standardizer.of(X, dtype=dtype),
        nn.Linear(2, 6, rng=rng, dtype=dtype),
        nn.BatchNorm(6, dtype=dtype),
        nn.Tanh(),
        nn.Dropout(0.8, rng=masks),
        nn.Sequential(nn.Linear(6, 5, rng=rng + 1, dtype=dtype), np.tanh),
        nn.Dropout(0.9, rng=masks),
        nn.Linear(5, 1, rng=rng + 2, dtype=dtype),
    )


OPTIMIZERS = {
    "gradient descent": lambda p: optim.SGD(p, 0.3),
    "momentum": lambda p: optim.SGD(p, 0.1, momentum=0.9, dampening=0.9),
    "Nesterov": lambda p: optim.SGD(p, 0.1, momentum=0.9, nesterov=True, weight_decay=0.01, clip_norm=1.0),
    "Adam": lambda p: optim.Adam(p, 0.01, betas=(0.8, 0.99), weight_decay={"W1": 0.1}),
    "RMSprop": lambda p: optim.RMSprop(p, 0.01, decay_biases=True, weight_decay=0.01, clip_value=0.5),
}
SCHEDULES = {
    "inverse time": optim.inverse_time_decay(0.1, rate=0.5, every=3),
    "exponential": optim.exponential_decay(0.1, rate=0.97),
    "steps": optim.step_decay(0.1, factor=0.5, every=4),
    "cosine": optim.cosine_decay(0.1, steps=40),
}


def state(model, optimizer, rng):
    """All that the next steps depend on."""
    moments = [x for s in optimizer.state_dict()["state"] for x in s]
    masks = [layer.rng.bit_generator.state for layer in model.modules() if isinstance(layer, nn.Dropout)]
    return [*model.state_dict().values(), *moments], [optimizer.steps, masks, rng.bit_generator.state]


def assert_same(one, other):
    assert len(one[0]) == len(other[0])
    for x, y in zip(one[0], other[0], strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y)
    assert one[1] == other[1]


def train(model, optimizer, rng, epochs, compile=False):
    options = {"loss": LOGITS, "optimizer": optimizer, "batch_size": 16, "rng": rng, "compile": compile}
    return tg.fit(model, X, Y, epochs=epochs, **options).costs


def check_resumed(path, make, optimizer_of, compile=False):
    model, rng = make(0), np.random.default_rng(7)
    optimizer = optimizer_of(model.parameters())
    first = train(model, optimizer, rng, 2, compile)
    tg.save(path, model, optimizer, rng=rng, costs=first)
    straight = train(model, optimizer, rng, 3, compile)
    expected = state(model, optimizer, rng)

    into = make(5)  # of other numbers, and trained already
    other = optimizer_of(into.parameters())
    train(into, other, np.random.default_rng(0), 1)
    for given in ((), (into,), (into, other)):
        saved = tg.load(path, *given)
        assert saved.extra["costs"] == first
        model, optimizer, extra = saved
        assert train(model, optimizer, extra["rng"], 3, compile) == straight
        assert_same(state(model, optimizer, extra["rng"]), expected)


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize(("make", "compile"), [(with_everything, False), (normalised, False), (normalised, True)])
def test_every_optimizer_goes_on(tmp_path, make, compile, kind):
    check_resumed(tmp_path / "model", make, OPTIMIZERS[kind], compile)


@pytest.mark.parametrize("compile", [False, True])
@pytest.mark.parametrize("kind", SCHEDULES)
def test_every_schedule_goes_on(tmp_path, kind, compile):
    check_resumed(tmp_path / "model", plain, lambda p: optim.SGD(p, SCHEDULES[kind], momentum=0.5), compile)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_every_precision_goes_on(tmp_path, dtype):
    check_resumed(tmp_path / "model", lambda rng: with_everything(rng, dtype), OPTIMIZERS["Adam"])


def test_a_compiled_step_goes_on_in_the_same_process(tmp_path):
    """The file is loaded into the model and the optimizer that a step has been compiled for."""
    model = normalised(0)
    optimizer = OPTIMIZERS["Adam"](model.parameters())
    step = tg.compile(model, LOGITS, optimizer)
    before = [step(X, Y) for _ in range(3)]
    tg.save(tmp_path / "model", model, optimizer)
    after = [step(X, Y) for _ in range(4)]
    tg.load(tmp_path / "model", model, optimizer)
    assert [step(X, Y) for _ in range(4)] == after
    assert before != after[:3]


GENERATORS = {
    "PCG64": lambda: np.random.default_rng(3),
    **{
        name: lambda name=name: np.random.Generator(getattr(np.random, name)(3))
        for name in ("PCG64DXSM", "MT19937", "Philox", "SFC64")
    },
    "RandomState": lambda: np.random.RandomState(3),
}


@pytest.mark.parametrize("kind", GENERATORS)
def test_every_generator_goes_on(tmp_path, kind):
    def draws(rng):
        return [rng.standard_normal(3).tolist(), rng.permutation(9).tolist(), rng.random(3, **single).tolist()]

    rng = GENERATORS[kind]()
    single = {} if kind == "RandomState" else {"dtype": np.float32}  # of which a generator keeps a half
    rng.standard_normal(3)
    rng.random(3, **single)
    tg.save(tmp_path / "model", plain(0), rng=rng, again=[rng])
    extra = tg.load(tmp_path / "model").extra
    assert extra["rng"] is extra["again"][0]
    assert draws(extra["rng"]) == draws(rng)


def test_the_courses_stream_of_numpy_goes_on(tmp_path):
    before = np.random.get_state()
    try:
        np.random.seed(3)
        model = nn.Sequential(nn.Linear(2, 1, init=tg.init.zeros), nn.Dropout(0.5, rng=np.random))
        tg.save(tmp_path / "model", model, rng=np.random)
        expected = np.random.rand(3)
        tg.load(tmp_path / "model", model)
        np.testing.assert_array_equal(np.random.rand(3), expected)
        other = tg.load(tmp_path / "model")
        assert other.extra["rng"] is other.model.layers[1].rng
        np.testing.assert_array_equal(other.extra["rng"].rand(3), expected)
    finally:
        np.random.set_state(before)


def test_a_generator_that_layers_and_batches_share_is_one_again(tmp_path):
    rng = np.random.default_rng(0)
    model = nn.Sequential(nn.Dropout(0.5, rng=rng), nn.Linear(2, 1, rng=rng), nn.Dropout(0.5, rng=rng))
    tg.save(tmp_path / "model", model, rng=rng)
    for saved in (tg.load(tmp_path / "model"), tg.load(tmp_path / "model", copy.deepcopy(model))):
        assert saved.model.layers[0].rng is saved.model.layers[2].rng is saved.extra["rng"]


def test_a_parameter_without_a_gradient_yet_has_no_moments_yet(tmp_path):
    model = plain(0)
    optimizer = optim.Adam(model.parameters())
    W1 = model.layers[0].W
    np.sum(W1**2).backward()
    optimizer.step()
    tg.save(tmp_path / "model", model, optimizer)
    found = tg.load(tmp_path / "model").optimizer
    assert [len(s) for s in found.state_dict()["state"]] == [3, 0, 0, 0]


def test_frozen_parameters_stay_frozen(tmp_path):
    model = plain(0)
    model.layers[0].W.requires_grad = False
    tg.save(tmp_path / "model", model, optim.SGD(model.layers[2].parameters(), 0.1))
    saved = tg.load(tmp_path / "model")
    assert [p.requires_grad for p in saved.model.parameters()] == [False, True, True, True]
    assert [p.name for p in saved.optimizer.parameters] == ["W2", "b2"]


class Noisy(optim.Optimizer):
    """An optimizer of a user's, which draws."""

    def __init__(self, parameters, lr, *, rng):
        super().__init__(parameters, lr)
        self.rng = np.random.default_rng(rng)
        self.sizes = np.ones(2)

    def _start(self, p):
        return (np.zeros_like(p.data),)

    def _update(self, p, rate):
        (v,) = self._state.get(p) or self._start(p)
        v = v + p.grad
        return p.data - rate * (v + self.rng.random(p.shape)), (v,)


def test_an_optimizer_of_yours_and_a_rate_of_yours_go_on(tmp_path):
    def decay(step):
        return 0.1 / (1 + step)

    def make(rng):
        model = plain(rng)
        return model, Noisy(model.parameters(), decay, rng=rng)

    model, optimizer = make(0)
    rng = np.random.default_rng(0)
    train(model, optimizer, rng, 2)
    tg.save(tmp_path / "model", model, optimizer, rng=rng)
    straight = train(model, optimizer, rng, 2)
    model, optimizer = make(9)
    saved = tg.load(tmp_path / "model", model, optimizer)
    assert saved.optimizer is optimizer
    assert train(model, optimizer, saved.extra["rng"], 2) == straight
    saved = tg.load(tmp_path / "model")
    assert saved.model.predict(X).shape == (1, 60)
    with pytest.raises(ValueError, match=r"Noisy is a class of yours; its lr is the function .*decay, of yours\. Make"):
        saved.optimizer  # noqa: B018


EXTRAS = [
    None, True, 3, -(2**70), 0.1, float("inf"), "text \U0001f33b", [1, [2.5, None]], (1, (2,)), {"a": {"b": [1]}}, [],
    (), {}, np.arange(6).reshape(2, 3).T, np.array(1.5), np.zeros((0, 3), np.float32), np.array([True, False]),
    SCHEDULES["cosine"], [np.ones(2), {"x": np.ones((1, 1), np.float16)}],
]  # fmt: skip


@pytest.mark.parametrize("x", EXTRAS, ids=repr)
def test_what_is_saved_by_name_comes_back_as_it_was(tmp_path, x):
    tg.save(tmp_path / "model", plain(0), x=x)
    found = tg.load(tmp_path / "model").extra["x"]
    assert type(found) is type(x)
    assert repr(found) == repr(x)
    if isinstance(x, np.ndarray):
        assert found.dtype == x.dtype
        np.testing.assert_array_equal(found, x)


def test_numbers_of_numpy_come_back_as_pythons(tmp_path):
    tg.save(tmp_path / "model", plain(0), a=np.float64(0.1), b=np.int32(3), c=np.bool_(True))
    assert repr(tg.load(tmp_path / "model").extra) == repr({"a": 0.1, "b": 3, "c": True})


def test_arrays_whose_names_would_be_one_stay_apart(tmp_path):
    x = {"a.0": np.zeros(1), "a": [np.ones(1)]}
    tg.save(tmp_path / "model", plain(0), x=x)
    assert repr(tg.load(tmp_path / "model").extra["x"]) == repr(x)


def test_other_readers_of_the_format_find_the_arrays_by_name(tmp_path):
    from safetensors.numpy import load_file

    model = plain(0)
    optimizer = optim.SGD(model.parameters(), 0.1, momentum=0.9)
    train(model, optimizer, np.random.default_rng(0), 1)
    tg.save(tmp_path / "model", model, optimizer)
    arrays = load_file(tmp_path / "model")
    names = ["W1", "b1", "W2", "b2"]
    assert sorted(arrays) == sorted([f"model.{n}" for n in names] + [f"optimizer.{n}.0" for n in names])
    np.testing.assert_array_equal(arrays["model.W1"], model.layers[0].W.data)


def test_the_same_state_gives_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        model = with_everything(0)
        tg.save(tmp_path / name, model, optim.Adam(model.parameters()), rng=np.random.default_rng(0))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_saving_changes_nothing_and_says_nothing(tmp_path):
    model, rng = with_everything(0), np.random.default_rng(0)
    optimizer = optim.Adam(model.parameters())
    before = state(model, optimizer, rng)
    assert tg.save(tmp_path / "model", model, optimizer, rng=rng) is None  # so that a callback may end in it
    assert_same(state(model, optimizer, rng), before)


@pytest.mark.parametrize(("network", "compile"), [(with_everything, False), (normalised, True)])
def test_it_is_saved_after_each_epoch_by_a_callback(tmp_path, network, compile):
    def make():
        model = network(0)
        return model, OPTIMIZERS["momentum"](model.parameters()), np.random.default_rng(1)

    def fit(model, optimizer, rng, epochs, callbacks=()):
        options = {"loss": LOGITS, "optimizer": optimizer, "batch_size": 16, "rng": rng, "compile": compile}
        return tg.fit(model, X, Y, epochs=epochs, callbacks=callbacks, **options).costs

    straight = fit(*make(), 4)
    numbers = itertools.count()
    model, optimizer, rng = make()
    save = lambda *_: tg.save(tmp_path / str(next(numbers)), model, optimizer, rng=rng)  # noqa: E731
    assert fit(model, optimizer, rng, 4, [save]) == straight
    for epoch in range(3):
        model, optimizer, extra = tg.load(tmp_path / str(epoch))
        assert fit(model, optimizer, extra["rng"], 3 - epoch) == straight[epoch + 1 :]
