"""Optimizers: their rules to the last bit, exact resumption, and steps that happen whole or not at all."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_dls as tg
from tinygrad_dls import optim


def parameters(*values):
    return [tg.Tensor(np.array(v, dtype=float), requires_grad=True, name=f"W{i}") for i, v in enumerate(values, 1)]


def descend(optimizer, steps, gradient=lambda w: 2 * w):
    for _ in range(steps):
        for p in optimizer.parameters:
            p.grad = gradient(p.data)
        optimizer.step()


@given(st.integers(0, 2**32 - 1), st.floats(1e-4, 10))
def test_sgd_is_the_rule_of_the_notes_to_the_last_bit(seed, alpha):
    rng = np.random.default_rng(seed)
    W, dW = rng.normal(size=(2, 3, 4))
    (p,) = parameters(W)
    p.grad = dW
    optim.SGD([p], lr=alpha).step()
    np.testing.assert_array_equal(p.data, W - alpha * dW)


def test_momentum_nesterov_and_weight_decay():
    mu, lam, lr = 0.9, 0.1, 0.01
    for nesterov in (False, True):
        (p,) = parameters([1.0, -2.0])
        w, v = p.data, np.zeros(2)
        descend(optim.SGD([p], lr, momentum=mu, nesterov=nesterov, weight_decay=lam), 5)
        for _ in range(5):
            g = 2 * w + lam * w
            v = mu * v + g
            w = w - lr * (g + mu * v if nesterov else v)
        np.testing.assert_allclose(p.data, w, rtol=1e-15)


def test_momentum_equals_the_courses_with_its_learning_rate():
    beta, alpha = 0.9, 0.1
    (p,) = parameters([1.0, -2.0])
    descend(optim.SGD([p], (1 - beta) * alpha, momentum=beta), 10)
    w, v = np.array([1.0, -2.0]), np.zeros(2)
    for _ in range(10):
        v = beta * v + (1 - beta) * 2 * w
        w = w - alpha * v
    np.testing.assert_allclose(p.data, w, rtol=1e-14)


def test_adam_is_algorithm_1_of_the_paper():
    lr, b1, b2, eps = 0.1, 0.9, 0.999, 1e-8
    (p,) = parameters([1.0, -2.0])
    descend(optim.Adam([p], lr), 20)
    theta, m, v = np.array([1.0, -2.0]), 0, 0
    for t in range(1, 21):
        g = 2 * theta
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        m_hat, v_hat = m / (1 - b1**t), v / (1 - b2**t)
        theta = theta - lr * m_hat / (np.sqrt(v_hat) + eps)
    np.testing.assert_allclose(p.data, theta, rtol=1e-14)


def test_adams_first_step_is_the_learning_rate_in_every_direction():
    """Bias correction both ways: m/v of one gradient is its sign."""
    (p,) = parameters([1.0, -2.0, 1e-3])
    p.grad = np.array([1e-3, -50.0, 1.0])
    optim.Adam([p], 0.1).step()
    np.testing.assert_allclose(p.data, np.array([0.9, -1.9, 1e-3 - 0.1]), rtol=1e-4)  # epsilon against 1e-3


OPTIMIZERS = {
    "SGD": lambda ps: optim.SGD(ps, 0.1),
    "momentum": lambda ps: optim.SGD(ps, 0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "Adam": lambda ps: optim.Adam(ps, optim.exponential_decay(0.1, rate=0.9)),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_resumption_is_exact(name):
    straight = parameters([1.0, -2.0], [[3.0]])
    optimizer = OPTIMIZERS[name](straight)
    descend(optimizer, 3)
    resumed = [tg.Tensor(p.data.copy(), requires_grad=True) for p in straight]
    other = OPTIMIZERS[name](resumed)
    saved = optimizer.state_dict()
    descend(optimizer, 4)
    other.load_state_dict(saved)
    descend(other, 4)
    assert other.steps == optimizer.steps == 7
    for a, b in zip(straight, resumed, strict=True):
        np.testing.assert_array_equal(a.data, b.data)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_float32_stays_float32(name):
    p = tg.Tensor(np.ones(3, np.float32), requires_grad=True)
    optimizer = OPTIMIZERS[name]([p])
    optimizer.lr = lambda step: np.float64(0.1)
    descend(optimizer, 3)
    assert p.dtype == np.float32


def test_a_saved_state_is_a_copy():
    ps = parameters([1.0])
    optimizer = optim.SGD(ps, 0.1, momentum=0.9)
    descend(optimizer, 1)
    saved = optimizer.state_dict()
    saved["state"][0][0][:] = 100
    before = ps[0].data
    descend(optimizer, 1, gradient=np.zeros_like)
    assert abs(ps[0].data - before) < 1


def test_momentum_does_not_live_in_the_gradient():
    runs = []
    for clear in (False, True):
        (p,) = parameters([1.0])
        optimizer = optim.SGD([p], 0.1, momentum=0.9)
        p.grad = np.array([1.0])
        optimizer.step()
        if clear:
            p.grad[:] = 0
        p.grad = np.array([0.0])
        optimizer.step()
        runs.append(p.data)
    assert runs[0] == runs[1]


def test_adam_corrects_a_parameter_from_its_own_first_gradient():
    a, b = parameters([1.0], [1.0])
    optimizer = optim.Adam([a, b], 0.1)
    for _ in range(5):
        a.grad = np.array([1.0])
        optimizer.step()
    b.grad = np.array([1.0])
    optimizer.step()
    assert b.data == pytest.approx(0.9, rel=1e-7)


def test_the_learning_rate_is_live_and_counts_steps():
    seen = []
    (p,) = parameters([1.0])
    optimizer = optim.SGD([p], lambda step: seen.append(step) or 0.5)
    descend(optimizer, 3, gradient=np.ones_like)
    assert seen[1:] == [0, 1, 2]  # the first call is the check at construction
    assert p.data == 1 - 3 * 0.5
    optimizer.lr = 0.0
    descend(optimizer, 1)
    assert p.data == 1 - 3 * 0.5


@pytest.mark.parametrize(
    ("schedule", "values"),
    [
        (optim.inverse_time_decay(1.0, rate=1.0), {0: 1, 1: 0.5, 3: 0.25}),
        (optim.exponential_decay(1.0, rate=0.5), {0: 1, 1: 0.5, 3: 0.125}),
        (optim.step_decay(1.0, factor=0.1, every=10), {0: 1, 9: 1, 10: 0.1, 20: 0.01}),
        (optim.cosine_decay(1.0, steps=10), {0: 1, 5: 0.5, 10: 0, 20: 0}),
    ],
)
def test_schedules(schedule, values):
    for step, value in values.items():
        assert schedule(step) == pytest.approx(value, abs=1e-15)


def test_zero_grad_forgets_every_gradient():
    a, b = parameters([1.0], [1.0])
    a.grad = b.grad = np.array([1.0])
    optim.SGD([a, b], 0.5).zero_grad()
    assert a.grad is b.grad is None


def test_rates_and_decays_may_be_zero():
    (p,) = parameters([1.0])
    descend(optim.SGD([p], 0), 1)
    assert p.data == 1
    p.grad = np.array([3.0])
    optim.Adam([p], 0.5, betas=(0, 0)).step()
    assert p.data == pytest.approx(0.5)  # the step is that of the sign of the gradient


def test_adams_learning_rate_is_a_thousandth_by_default():
    (p,) = parameters([1.0])
    descend(optim.Adam([p]), 1)
    assert p.data == pytest.approx(1 - 0.001)


def test_a_state_from_before_the_first_step_can_be_loaded():
    a, b = parameters([1.0], [1.0])
    optimizer = OPTIMIZERS["Adam"]([b])
    optimizer.load_state_dict(OPTIMIZERS["Adam"]([a]).state_dict())
    descend(optimizer, 1)
    assert optimizer.steps == 1


def test_a_graph_in_use_does_not_see_the_update():
    """Stepping between forward and backward changes no gradient: updates replace arrays."""
    (w,) = parameters([2.0])
    z = w * w
    w.grad = np.array([1.0])
    optim.SGD([w], 0.5).step()
    w.grad = None
    z.backward([1.0])
    assert w.grad == 4


def test_parameters_without_a_gradient_stay():
    a, b = parameters([1.0], [1.0])
    a.grad = np.array([1.0])
    optim.SGD([a, b], 0.5).step()
    assert (a.data, b.data) == (0.5, 1)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_step_happens_whole_or_not_at_all(name):
    """Ctrl-C between two parameters, simulated by a parameter that raises when it is set."""

    class Interrupted(tg.Tensor):
        __slots__ = ("armed",)

        @property
        def _value(self):
            return tg.Tensor._value.__get__(self)

        @_value.setter
        def _value(self, value):
            if getattr(self, "armed", False):
                self.armed = False
                raise KeyboardInterrupt
            tg.Tensor._value.__set__(self, value)

    (a,) = parameters([1.0])
    b = Interrupted(np.array([1.0]), requires_grad=True)
    optimizer = OPTIMIZERS[name]([a, b])
    descend(optimizer, 2)
    before = a.data, b.data, optimizer.state_dict()
    b.armed = True
    with pytest.raises(KeyboardInterrupt):
        descend(optimizer, 1)
    assert (a.data, b.data) == before[:2]
    assert str(optimizer.state_dict()) == str(before[2])
    descend(optimizer, 1)


W = tg.Tensor([1.0], requires_grad=True, name="W1")


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: optim.SGD([], 0.1), "SGD got no parameters. Is the iterator used up"),
        (lambda: optim.SGD(tg.nn.LogisticRegression(2), 0.1), "SGD(model.parameters(), lr=...)"),
        (lambda: optim.SGD(tg.Tensor([1.0], requires_grad=True), 0.1), "SGD(model.parameters(), lr=...)"),
        (lambda: optim.SGD(np.array(1.0), 0.1), "SGD(model.parameters(), lr=...)"),
        (lambda: optim.SGD("W1", 0.1), "SGD(model.parameters(), lr=...)"),
        (lambda: optim.SGD([np.ones(2)], 0.1), "SGD takes parameters (leaf Tensors), got array"),
        (lambda: optim.SGD([W * 2], 0.1), "SGD takes parameters (leaf Tensors), got Tensor"),
        (lambda: optim.SGD([W, W], 0.1), "the same parameter twice"),
        (lambda: optim.SGD([W], -1), "the learning rate must be a finite number >= 0, got -1.0 at step 0."),
        (lambda: optim.SGD([W], float("nan")), "got nan"),
        (lambda: optim.SGD([W], -0.5), "the learning rate must be a finite number >= 0, got -0.5 at step 0."),
        (lambda: optim.SGD([W], float("inf")), "got inf at step 0."),
        (lambda: optim.SGD([W], lambda step: float("inf")), "got inf at step 0."),
        (lambda: optim.SGD([W], None), "the learning rate must be a number or a function of the step, got None."),
        (lambda: optim.SGD([W], "fast"), "the learning rate must be a number or a function of the step, got 'fast'."),
        (lambda: optim.SGD([W], 0.1, momentum=1), "momentum must be in [0, 1), got 1."),
        (lambda: optim.SGD([W], 0.1, momentum=-0.5), "momentum must be in [0, 1), got -0.5."),
        (lambda: optim.SGD([W], 0.1, nesterov=True), "nesterov=True needs a momentum > 0"),
        (lambda: optim.SGD([W], 0.1, weight_decay=-1), "weight_decay must be a finite number >= 0, got -1."),
        (lambda: optim.SGD([W], 0.1, weight_decay=np.inf), "weight_decay must be a finite number >= 0, got inf."),
        (lambda: optim.Adam([W], betas=(-0.5, 0.9)), "betas must be two numbers in [0, 1), got (-0.5, 0.9)."),
        (lambda: optim.Adam([W], betas=(0.9,)), "betas must be two numbers in [0, 1), got (0.9,)."),
        (lambda: optim.Adam([W], betas=(0.9, 0.9, 0.9)), "betas must be two numbers in [0, 1), got (0.9, 0.9, 0.9)."),
        (lambda: optim.Adam([W], epsilon=np.inf), "epsilon must be a finite number > 0, got inf."),
        (lambda: optim.SGD([W], 1).load_state_dict({"optimizer": "SGD", "steps": -1, "state": [()]}),
         "the state's number of steps must be a whole number >= 0, got -1"),
        (lambda: optim.SGD([W], 1).load_state_dict({"optimizer": "SGD", "steps": 0.5, "state": [()]}),
         "the state's number of steps must be a whole number >= 0, got 0.5"),
        (lambda: optim.SGD([W], 1).load_state_dict({"optimizer": "SGD", "steps": 1, "state": 5}),
         "the state of the parameters must be a list of tuples of arrays, got 5."),
        (lambda: optim.SGD([W], 1).load_state_dict({"optimizer": "SGD", "steps": 1, "state": [5]}),
         "the state of the parameters must be a list of tuples of arrays, got [5]."),
        (lambda: optim.SGD([W], 1).load_state_dict(None), "this is not the state of an optimizer"),
        (lambda: optim.Adam([W], betas=(0.9, 1)), "betas must be two numbers in [0, 1), got (0.9, 1)."),
        (lambda: optim.Adam([W], epsilon=0), "epsilon must be a finite number > 0, got 0."),
        (lambda: optim.SGD([W], 1).load_state_dict({"state": []}), "this is not the state of an optimizer"),
        (lambda: optim.Adam([W]).load_state_dict({"optimizer": "Adam", "steps": 1, "state": [[np.ones(1)]]}),
         "the state of W1 is [((1,), 'float64')]; expected [((1,), 'float64'), ((1,), 'float64'), ((), 'int64')]."),
        (lambda: optim.Adam([W]).step(), "Adam.step: no parameter has a gradient. Call J.backward() before, and"),
        (lambda: optim.Adam([W]).load_state_dict(optim.SGD([W], 1).state_dict()), "the state of SGD, not of Adam"),
        (lambda: optim.SGD([W], 1).load_state_dict({"optimizer": "SGD", "steps": 0, "state": []}), "0 parameters, not"),
        (lambda: optim.SGD([W], 1).load_state_dict({"optimizer": "SGD", "steps": 0, "state": [[np.ones(2)]]}),
         "the state of W1 is [((2,), 'float64')]; expected []."),
    ],
)  # fmt: skip
def test_errors(call, text):
    with pytest.raises((ValueError, TypeError, RuntimeError), match=re.escape(text)):
        call()
