"""Networks, data, the step as anyone would write it, and what it means that two trainings are the same."""

import itertools

import numpy as np
import pytest

import tinygrad_dls as tg
from tinygrad_dls import nn

LOGITS = tg.binary_cross_entropy_with_logits
RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 50))
Y = (RNG.random((1, 50)) < 0.5).astype(float)
MANY = np.random.default_rng(2).normal(size=(3, 10_000))
DTYPES = ["float64", "float32"]

# Sums of a few hundred products in another order: some hundred roundings at the most. They grow over the steps of a
# training by what the step multiplies differences with, which is near 1 at the rates used here.
TOLERANCE = {"float64": 1e-12, "float32": 2e-4}


def network(dtype=float, seed=0):
    return nn.TwoLayerNetwork(3, 4, rng=seed, dtype=dtype)


def sgd(model, **options):
    return tg.optim.SGD(model.parameters(), **{"lr": 0.5, **options})


def eager(model, loss, optimizer):
    """The loop's step, as anyone would write it."""

    def step(X, Y):
        J = loss(model(X), Y)
        optimizer.zero_grad()
        J.backward()
        optimizer.step()
        return J.item()

    return step


def assert_alike(one, other, what=""):
    """Equal up to rounding, relative to the largest entry."""
    one, other = np.asarray(one), np.asarray(other)
    assert one.dtype == other.dtype, what
    scale = max(1.0, np.abs(one).max(initial=0))
    np.testing.assert_allclose(other, one, rtol=0, atol=TOLERANCE.get(str(one.dtype), 0) * scale, err_msg=what)


def assert_same_training(make, loss, optimizer, data, **options):
    """Train a model eagerly and its twin compiled, and compare costs, parameters, gradients and state at each step."""
    a, b = make(), make()
    oa, ob = optimizer(a), optimizer(b)
    slow, fast = eager(a, loss, oa), tg.compile(b, loss, ob, gradients=True, **options)
    for i, (x, y) in enumerate(data):
        J, cost = slow(x, y), fast(x, y)
        assert type(cost) is float
        assert cost == pytest.approx(J, rel=10 * TOLERANCE[str(a.parameters()[0].dtype)], abs=1e-12), i
        for p, q in zip(a.parameters(), b.parameters(), strict=True):
            assert_alike(p.data, q._value, f"{p.name} after step {i}")
            if p.grad is None:
                assert q.grad is None
            else:
                assert_alike(p.grad, q.grad, f"d{p.name} of step {i}")
    before, after = oa.state_dict(), ob.state_dict()
    assert before["steps"] == after["steps"]
    for s, t in zip(before["state"], after["state"], strict=True):
        assert len(s) == len(t)
        for u, v in zip(s, t, strict=True):
            assert_alike(u, v, "state")
    return fast


OPTIMIZERS = {
    "plain": lambda m: sgd(m),
    "momentum": lambda m: sgd(m, lr=0.1, momentum=0.9),
    "nesterov": lambda m: sgd(m, lr=0.1, momentum=0.9, nesterov=True),
    "decay": lambda m: sgd(m, weight_decay=0.1),
    "course": lambda m: sgd(m, lr=0.1, momentum=0.9, dampening=0.9),
    "decay by name": lambda m: sgd(m, weight_decay={m.parameters()[0].name: 0.1}),
    "clip_norm": lambda m: sgd(m, momentum=0.9, clip_norm=0.05),
    "clip_value": lambda m: tg.optim.Adam(m.parameters(), lr=0.01, clip_value=0.01),
    "rmsprop": lambda m: tg.optim.RMSprop(m.parameters(), lr=0.01),
    "adam": lambda m: tg.optim.Adam(m.parameters(), lr=0.01),
    "schedule": lambda m: sgd(m, lr=tg.optim.inverse_time_decay(0.5, rate=0.1)),
}


def pair(**options):
    """A model trained eagerly, and its twin compiled."""
    a, b = network(), network()
    oa, ob = sgd(a, **options), sgd(b, **options)
    return a, b, oa, ob, eager(a, LOGITS, oa), tg.compile(b, LOGITS, ob)


def assert_equal_models(a, b):
    for p, q in zip(a.parameters(), b.parameters(), strict=True):
        assert_alike(p.data, q.data, p.name)


def assert_same_gradients(a, J, b, K):
    """The graphs of two costs, each of its own model, give the same gradients."""
    for model, cost in ((a, J), (b, K)):
        for p in model.parameters():
            p.grad = None
        cost.backward()
    for p, q in zip(a.parameters(), b.parameters(), strict=True):
        assert_alike(p.grad, q.grad)


def message(f, *args):
    with pytest.raises((TypeError, ValueError)) as caught:
        f(*args)
    return type(caught.value), str(caught.value)


LAYOUTS = {
    "columns of something larger": lambda x: np.concatenate([x, x, x], axis=1)[:, x.shape[1] : 2 * x.shape[1]],
    "Fortran's order": np.asfortranarray,
    "every second column": lambda x: np.repeat(x, 2, axis=1)[:, ::2],
    "backwards": lambda x: x[:, ::-1].copy()[:, ::-1],
    "read-only": lambda x: np.broadcast_to(x, x.shape),
    "not aligned": lambda x: np.frombuffer(b"." + x.tobytes(), x.dtype, offset=1).reshape(x.shape),
}


class Layers(nn.Module):
    def __init__(self, sizes, function, dtype):
        self.layers = [nn.Linear(a, b, rng=i, dtype=dtype) for i, (a, b) in enumerate(itertools.pairwise(sizes))]
        self.function = function

    def __call__(self, a):
        for layer in self.layers[:-1]:
            a = self.function(layer(a))
        return self.layers[-1](a)


class Branching(nn.Module):
    def __init__(self):
        self.layer = nn.Linear(3, 1, rng=0)

    def __call__(self, a):
        z = self.layer(a)
        return z if np.sum(z.data if isinstance(z, tg.Tensor) else z) > 0 else -z
