"""Optimizers: their rules to the last bit, exact resumption, and steps that happen whole or not at all."""

import contextlib
import copy
import functools
import pickle
import re
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_dls as tg
from tinygrad_dls import optim
from tinygrad_dls import threads as of_threads


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


def test_dampening_makes_it_the_courses_momentum_with_its_own_learning_rate():
    beta, alpha = 0.9, 0.1
    (p,) = parameters([1.0, -2.0])
    descend(optim.SGD([p], alpha, momentum=beta, dampening=beta), 10)
    w, v = np.array([1.0, -2.0]), np.zeros(2)
    for _ in range(10):
        v = beta * v + (1 - beta) * (2 * w)
        w = w - alpha * v
    np.testing.assert_array_equal(p.data, w)


def test_rmsprop_is_the_rule_of_the_course():
    alpha, beta, epsilon = 0.1, 0.8, 1e-3
    (p,) = parameters([1.0, -2.0])
    descend(optim.RMSprop([p], alpha, beta=beta, epsilon=epsilon), 10)
    w, s = np.array([1.0, -2.0]), np.zeros(2)
    for _ in range(10):
        dw = 2 * w
        s = beta * s + (1 - beta) * dw**2
        w = w - alpha * dw / (np.sqrt(s) + epsilon)
    np.testing.assert_allclose(p.data, w, rtol=1e-14)


def test_rmsprops_learning_rate_is_a_thousandth_by_default_and_its_first_step_is_not_corrected():
    (p,) = parameters([1.0, -50.0])
    descend(optim.RMSprop([p]), 1)
    step = 0.001 / np.sqrt(1 - 0.9)  # alpha dW / sqrt((1 - beta) dW^2)
    np.testing.assert_allclose(p.data, [1 - step, -50 + step], rtol=1e-9)  # epsilon against 0.6


@pytest.mark.parametrize("kind", [optim.Adam, optim.RMSprop])
def test_the_measuring_optimizers_decay_as_if_the_penalty_were_in_the_gradient(kind):
    (p,), (q,) = parameters([1.0, -2.0]), parameters([1.0, -2.0])
    descend(kind([p], 0.1, weight_decay=0.3), 5)
    descend(kind([q], 0.1), 5, gradient=lambda w: 2 * w + 0.3 * w)
    np.testing.assert_array_equal(p.data, q.data)


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
    "the course's momentum": lambda ps: optim.SGD(ps, 0.1, momentum=0.9, dampening=0.9, clip_norm=0.5),
    "Adam": lambda ps: optim.Adam(ps, optim.exponential_decay(0.1, rate=0.9)),
    "Adam with decay": lambda ps: optim.Adam(ps, 0.1, weight_decay=0.1, clip_value=0.5),
    "RMSprop": lambda ps: optim.RMSprop(ps, 0.1, beta=0.8, weight_decay=0.1, clip_norm=0.5),
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


def test_rmsprop_in_half_precision_measures_gradients_whose_squares_vanish_there():
    p = tg.Tensor(np.zeros(2, np.float16), requires_grad=True)
    p.grad = np.array([1e-4, -1e-3], np.float16)
    optimizer = optim.RMSprop([p], 0.1, beta=0.75)
    optimizer.step()
    np.testing.assert_allclose(p.data, [-0.2, 0.2], rtol=2e-3)  # three digits
    assert {s.dtype.name for s in optimizer.state_dict()["state"][0]} == {"float32"}
    assert p.dtype == np.float16


@pytest.mark.parametrize("compiled", [False, True])
def test_adam_in_half_precision_takes_the_steps_of_single_precision(compiled):
    X, Y = tg.datasets.planar_flower()
    X = np.vstack([X, 1e-4 * X[:1]])  # the third feature's gradients have squares that float16 does not know
    trained = []
    for dtype in (np.float16, np.float32):
        model = tg.nn.LogisticRegression(3, dtype=dtype)
        optimizer = tg.optim.Adam(model.parameters(), lr=0.01)
        loss = tg.binary_cross_entropy_with_logits
        tg.fit(model, X, Y, loss=loss, optimizer=optimizer, epochs=20, compile=compiled)
        assert model.parameters()[0].dtype == dtype
        assert {s.dtype.name for s in optimizer.state_dict()["state"][0]} == {"float32", "int64"}
        trained.append(model.state_dict()["W"])
    # 20 steps of 0.01; the gradient has three digits, and each sum with numbers below 0.25 is rounded to 2^-14
    np.testing.assert_allclose(*trained, atol=20 * (2.0**-14 + 0.01 * 2.0**-10))


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
        (optim.inverse_time_decay(1.0, rate=1.0, every=10), {0: 1, 9: 1, 10: 0.5, 39: 0.25}),
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
        (lambda: optim.SGD([W], 0.1, momentum=0.9, dampening=1), "dampening must be in [0, 1), got 1."),
        (lambda: optim.SGD([W], 0.1, dampening=0.9),
         "dampening needs a momentum > 0: the course's is momentum=0.9, dampening=0.9."),
        (lambda: optim.SGD([W], 0.1, momentum=0.9, dampening=0.9, nesterov=True),
         "Nesterov's momentum has no dampening: leave one of the two out."),
        (lambda: optim.RMSprop([W], beta=1), "beta must be in [0, 1), got 1."),
        (lambda: optim.RMSprop([W], epsilon=0), "epsilon must be a finite number > 0, got 0."),
        (lambda: optim.RMSprop([W]).step(), "RMSprop.step: no parameter has a gradient."),
        (lambda: optim.SGD([W], 0.1, clip_norm=0), "clip_norm must be a finite number > 0, or None, got 0."),
        (lambda: optim.SGD([W], 0.1, clip_norm=np.inf), "clip_norm must be a finite number > 0, or None, got inf."),
        (lambda: optim.SGD([W], 0.1, clip_norm=1).step(), "SGD.step: no parameter has a gradient."),
        (lambda: optim.Adam([W], clip_value=-1), "clip_value must be a finite number > 0, or None, got -1."),
        (lambda: optim.Adam([W], clip_value=True), "clip_value must be a number, got True."),
        (lambda: optim.RMSprop([W], clip_value=1, clip_norm=1),
         "clip_norm and clip_value are two ways to clip gradients: leave one of them out."),
        (lambda: optim.SGD([W], 0.1, weight_decay={"W2": 0.1}),
         "weight_decay: no parameter is called 'W2'; the parameters are W1."),
        (lambda: optim.SGD(parameters(1.0) + parameters(2.0), 0.1, weight_decay={"W1": 0.1}),
         "weight_decay: several parameters are called 'W1'; the parameters are W1."),
        (lambda: optim.SGD([tg.Tensor(1.0, requires_grad=True)], 0.1, weight_decay={"W": 0.1}),
         "weight_decay: no parameter is called 'W'; the parameters are without names."),
        (lambda: optim.SGD([W], 0.1, weight_decay={"W1": -1}),
         "weight_decay of W1 must be a finite number >= 0, got -1."),
        (lambda: optim.SGD([W], 0.1, weight_decay={"W1": 1}, decay_biases=True),
         "decay_biases=True has no effect where weight_decay is a dict: name the biases in it."),
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


# -- pickles ----------------------------------------------------------------------------------------------------------


SCHEDULES = [
    (lambda lr: optim.inverse_time_decay(lr, rate=0.01), "inverse_time_decay(lr=0.5, rate=0.01, every=1)"),
    (lambda lr: optim.inverse_time_decay(lr, rate=1, every=9), "inverse_time_decay(lr=0.5, rate=1.0, every=9)"),
    (lambda lr: optim.exponential_decay(lr, rate=0.9), "exponential_decay(lr=0.5, rate=0.9)"),
    (lambda lr: optim.step_decay(lr, factor=0.5, every=10), "step_decay(lr=0.5, factor=0.5, every=10)"),
    (lambda lr: optim.cosine_decay(lr, steps=10), "cosine_decay(lr=0.5, steps=10)"),
]


@pytest.mark.parametrize(("make", "text"), SCHEDULES)
def test_schedules_pickle_compare_and_print(make, text):
    schedule = make(0.5)
    assert repr(schedule) == text
    assert schedule == make(0.5) != make(0.25)
    assert hash(schedule) == hash(make(0.5))
    for twin in (pickle.loads(pickle.dumps(schedule)), copy.deepcopy(schedule)):
        assert twin == schedule
        assert [twin(step) for step in range(30)] == [schedule(step) for step in range(30)]
    with pytest.raises(AttributeError):
        schedule.lr = 1.0


@pytest.mark.parametrize(("make", "_"), SCHEDULES)
@pytest.mark.parametrize("kind", [optim.Adam, lambda ps, lr: optim.SGD(ps, lr, momentum=0.9)])
@pytest.mark.parametrize("twin_of", [lambda x: pickle.loads(pickle.dumps(x)), copy.deepcopy])
def test_model_and_optimizer_go_on_exactly_after_a_pickle(make, _, kind, twin_of):
    X, Y = tg.datasets.planar_flower()
    model = tg.nn.TwoLayerNetwork(2, 4, rng=0)
    optimizer = kind(model.parameters(), make(0.1))

    def train(model, optimizer):
        for _ in range(3):
            J = tg.binary_cross_entropy_with_logits(model(X), Y)
            optimizer.zero_grad()
            J.backward()
            optimizer.step()
        return model.state_dict()

    train(model, optimizer)
    other, its_optimizer = twin_of((model, optimizer))
    assert all(map(lambda p, q: p is q, other.parameters(), its_optimizer.parameters))
    for a, b in zip(train(model, optimizer).values(), train(other, its_optimizer).values(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("act", [pickle.dumps, copy.deepcopy])
def test_compiled_steps_and_functions_say_what_to_pickle(act):
    model = tg.nn.LogisticRegression(2)
    step = tg.compile(model, tg.binary_cross_entropy_with_logits, optim.SGD(model.parameters(), 0.1))
    with pytest.raises(
        TypeError, match=r"Pickle \(step.model, step.optimizer\) together, and compile again: tg.compile"
    ):
        act(step)
    with pytest.raises(TypeError, match=r"Pickle its .function, and compile again: tg.compile\(f\)"):
        act(tg.compile(np.tanh))


def test_an_optimizer_of_ones_own_has_no_options_but_those_that_it_hands_on():
    own = optim.Optimizer([W], 0.1)
    assert (own.weight_decay, own.decay_biases, own.clip_norm, own.clip_value) == (0, False, None, None)


# -- weight decay -----------------------------------------------------------------------------------------------------


def decayed(model, kind=optim.SGD, **options):
    """Which parameters weight decay changes, where the gradients are zero."""
    before = model.state_dict()
    for p in model.parameters():
        p.data = np.ones(p.shape)
        p.grad = np.zeros(p.shape)
    kind(model.parameters(), lr=1.0, weight_decay=0.5, **options).step()
    after = model.state_dict()
    model.load_state_dict(before)
    assert all((w == w.flat[0]).all() for w in after.values())
    assert kind is not optim.SGD or all(np.isin(w, (0.5, 1)).all() for w in after.values())
    return [name for name, w in after.items() if (w != 1).all()]


class Own(tg.nn.Module):
    def __init__(self):
        self.inner = tg.nn.TwoLayerNetwork(2, 3, rng=0)
        self.blocks = [tg.nn.Linear(2, 2, rng=0)]
        self.bias, self.gain, self.bee = (tg.nn.Parameter(np.ones((1, 1))) for _ in range(3))


KINDS = pytest.mark.parametrize("kind", [optim.SGD, optim.RMSprop, optim.Adam])


@KINDS
def test_weight_decay_is_for_weights_and_leaves_biases_alone(kind):
    assert decayed(tg.nn.LogisticRegression(1), kind) == ["W"]
    assert decayed(tg.nn.TwoLayerNetwork(2, 4, rng=0), kind) == ["W1", "W2"]
    assert decayed(Own(), kind) == ["inner.W1", "inner.W2", "blocks.0.W", "gain", "bee"]


def test_weight_decay_is_for_those_alone_that_a_dict_names():
    model = tg.nn.TwoLayerNetwork(2, 4, rng=0)
    for p in model.parameters():
        p.data, p.grad = np.ones(p.shape), np.zeros(p.shape)
    optim.SGD(model.parameters(), 1.0, weight_decay={"W1": 0.5, "b2": 0.25}).step()
    assert {p.name: p.data.flat[0] for p in model.parameters()} == {"W1": 0.5, "b1": 1, "W2": 1, "b2": 0.75}


def test_a_decay_by_names_that_a_model_has_changed_since_is_refused():
    layer = tg.nn.Linear(2, 2, rng=0)
    optimizer = optim.SGD(layer.parameters(), 1.0, weight_decay={"W": 0.5})
    model = tg.nn.Sequential(layer, tg.nn.Linear(2, 1, rng=0))
    np.sum(model(np.ones((2, 3)))).backward()
    before = layer.W.data
    with pytest.raises(ValueError, match=r"weight_decay: no parameter is called 'W'; the parameters are W1, b1\."):
        optimizer.step()
    assert layer.W.data is before


def test_weight_decay_leaves_gamma_and_beta_alone():
    gamma, beta, W = (tg.Tensor([1.0], requires_grad=True, name=name) for name in ("gamma1", "beta1", "W1"))
    optimizer = optim.SGD([gamma, beta, W], 1.0, weight_decay=0.5)
    descend(optimizer, 1, gradient=np.zeros_like)
    assert (gamma.data, beta.data, W.data) == (1, 1, 0.5)


@KINDS
def test_weight_decay_may_be_for_biases_too(kind):
    for model in (tg.nn.TwoLayerNetwork(2, 4, rng=0), Own()):
        assert decayed(model, kind, decay_biases=True) == list(model.state_dict())


def test_decay_biases_is_true_or_false():
    with pytest.raises(TypeError, match="decay_biases must be True or False, got 'no'"):
        optim.SGD(tg.nn.LogisticRegression(1).parameters(), 0.1, decay_biases="no")


def test_weight_decay_is_the_gradient_of_the_courses_l2_penalty():
    X, Y = tg.datasets.planar_flower()
    model, twin = (tg.nn.TwoLayerNetwork(2, 4, rng=0, init=tg.init.xavier) for _ in range(2))
    lambd, m = 0.7, X.shape[1]
    penalised = tg.binary_cross_entropy_with_logits(model(X), Y) + lambd / (2 * m) * sum(
        np.sum(p**2) for p in model.parameters() if p.name.startswith("W")
    )
    penalised.backward()
    optim.SGD(model.parameters(), 0.5).step()
    tg.binary_cross_entropy_with_logits(twin(X), Y).backward()
    optim.SGD(twin.parameters(), 0.5, weight_decay=lambd / m).step()
    for a, b in zip(model.parameters(), twin.parameters(), strict=True):
        np.testing.assert_allclose(a.data, b.data, rtol=1e-13, atol=1e-16)  # the order of the sum differs


@pytest.mark.parametrize("decay_biases", [False, True])
def test_compiled_steps_and_numpy_source_decay_the_same_parameters(decay_biases):
    X, Y = tg.datasets.planar_flower()
    options = {"momentum": 0.9, "weight_decay": 0.3, "decay_biases": decay_biases}
    model, twin = (tg.nn.TwoLayerNetwork(2, 4, rng=0, init=tg.init.xavier) for _ in range(2))
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        p.data, q.data = p.data + 1, q.data + 1  # biases too
    tg.fit(model, X, Y, loss=tg.binary_cross_entropy_with_logits, epochs=5, progress=False,
           optimizer=optim.SGD(model.parameters(), 0.1, **options))  # fmt: skip
    tg.fit(twin, X, Y, loss=tg.binary_cross_entropy_with_logits, epochs=5, progress=False, compile=True,
           optimizer=optim.SGD(twin.parameters(), 0.1, **options))  # fmt: skip
    for a, b in zip(model.parameters(), twin.parameters(), strict=True):
        np.testing.assert_allclose(a.data, b.data, rtol=1e-11)  # rounded elsewhere, five times
    source = tg.numpy_source(
        model, X, Y, loss=tg.binary_cross_entropy_with_logits, optimizer=optim.SGD(model.parameters(), 0.1, **options)
    )
    assert ("0.3 * b1" in source) == decay_biases
    assert "0.3 * W1" in source


def test_a_compiled_step_sees_a_decay_that_is_changed_in_place():
    X, Y = tg.datasets.planar_flower()
    states = []
    for compiled in (False, True):
        model = tg.nn.LogisticRegression(2)
        optimizer = optim.SGD(model.parameters(), 0.5, weight_decay={"W": 0.1})
        loss = tg.binary_cross_entropy_with_logits
        eager = functools.partial(optim.eager_step, model, loss, optimizer)
        step = tg.compile(model, loss, optimizer) if compiled else eager
        for decay in (0.1, 0.5, 0.0):
            optimizer.weight_decay["W"] = decay
            step(X, Y)
        states.append(model.state_dict()["W"])
    np.testing.assert_allclose(*states, rtol=1e-12)


# -- clipped gradients ------------------------------------------------------------------------------------------------


def test_gradients_of_a_larger_norm_are_scaled_to_it_all_alike_and_others_stay():
    a, b = parameters([0.0, 0.0], [[0.0]])
    a.grad, b.grad = np.array([3.0, 0.0]), np.array([[4.0]])  # of norm 5, together
    optim.SGD([a, b], 1.0, clip_norm=2.5).step()
    np.testing.assert_allclose(a.data, [-1.5, 0], rtol=1e-15)
    np.testing.assert_allclose(b.data, [[-2]], rtol=1e-15)
    for limit in (5, 7.0):
        a.data, b.data = np.zeros(2), np.zeros((1, 1))
        optim.SGD([a, b], 1.0, clip_norm=limit).step()
        np.testing.assert_array_equal(a.data, [-3, 0])
        np.testing.assert_array_equal(b.data, [[-4]])


def test_entries_beyond_a_value_are_set_to_it():
    (a,) = parameters([0.0, 0.0, 0.0])
    a.grad = np.array([3.0, -0.5, -7.0])
    optim.SGD([a], 1.0, clip_value=1).step()
    np.testing.assert_array_equal(a.data, [-1, 0.5, 1])


@pytest.mark.parametrize("limits", [{"clip_norm": 1.0}, {"clip_value": 1.0}])
def test_p_grad_stays_as_backward_left_it_and_zeros_stay_zeros(limits):
    a, b, c = parameters([0.0], [0.0], [1.0])
    a.grad, b.grad = before = np.array([30.0]), np.array([0.0])
    optim.SGD([a, b, c], 1.0, **limits).step()
    assert (a.grad, b.grad) == before
    assert c.grad is None
    assert (a.data, b.data, c.data) == (-1, 0, 1)


def test_weight_decay_comes_after_clipping():
    (a,) = parameters([1.0])
    a.grad = np.array([30.0])
    optim.SGD([a], 1.0, clip_value=0.25, weight_decay=0.5).step()
    assert a.data == 1 - 0.25 - 0.5


def test_a_step_that_fails_gives_the_gradients_back():
    class Fails(optim.SGD):
        def _update(self, p, rate):
            raise ZeroDivisionError

    (a,) = parameters([1.0])
    a.grad = grad = np.array([30.0])
    with pytest.raises(ZeroDivisionError):
        Fails([a], 1.0, clip_norm=1.0).step()
    assert a.grad is grad


def test_a_norm_in_half_precision_does_not_overflow():
    p = tg.Tensor(np.zeros(2, np.float16), requires_grad=True)
    p.grad = np.array([300, 400], np.float16)  # whose squares are infinite there
    optim.SGD([p], 1.0, clip_norm=1).step()
    np.testing.assert_allclose(p.data, [-0.6, -0.8], rtol=1e-3)
    assert p.dtype == np.float16


def test_a_norm_of_long_doubles_keeps_their_digits():
    p = tg.Tensor(np.zeros(2, np.longdouble), requires_grad=True)
    p.grad = np.array([3, 4], np.longdouble) / 7
    optim.SGD([p], 1.0, clip_norm=5 / 14).step()
    np.testing.assert_allclose(p.data, -np.array([3, 4], np.longdouble) / 14, rtol=1e-15)


@pytest.mark.parametrize(("kind", "step"), [(optim.Adam, 1), (optim.RMSprop, 1 / np.sqrt(np.longdouble(0.1)))])
def test_moments_of_long_doubles_keep_their_digits(kind, step):
    p = tg.Tensor(np.zeros(2, np.longdouble), requires_grad=True)
    p.grad = np.array([3, -4], np.longdouble) / 7
    optimizer = kind([p], 0.5, epsilon=1e-30)
    optimizer.step()  # the first step is the sign of the gradient, over sqrt(1 - beta) where that is not corrected
    assert {x.dtype for x in optimizer.state_dict()["state"][0] if x.ndim} == {np.dtype(np.longdouble)}
    np.testing.assert_allclose(p.data, np.array([-0.5, 0.5]) * step, rtol=1e-15)  # 1 - 0.9 is rounded to float64
    optimizer.load_state_dict(optimizer.state_dict())  # which compares the dtypes with those of a start
    assert optimizer.steps == 1


@pytest.mark.parametrize("limits", [{"clip_norm": 0.05}, {"clip_value": 0.01}, {"clip_norm": 1e6}])
@pytest.mark.parametrize("kind", [optim.SGD, optim.Adam, optim.RMSprop])
def test_compiled_steps_and_numpy_source_clip_as_eager_steps_do(kind, limits):
    X, Y = tg.datasets.planar_flower()
    loss, costs = tg.binary_cross_entropy_with_logits, []
    for compiled in (False, True):
        model = tg.nn.TwoLayerNetwork(2, 4, rng=0, init=tg.init.xavier)
        optimizer = kind(model.parameters(), 0.1, **limits)
        history = tg.fit(model, X, Y, loss=loss, optimizer=optimizer, epochs=20, compile=compiled)
        costs.append(history.costs)
    np.testing.assert_allclose(*costs, rtol=1e-11)
    source = tg.numpy_source(model, X, Y, loss=loss, optimizer=optimizer)
    assert ("np.clip(dW1, -0.01, 0.01)" if "clip_value" in limits else "np.sum(dW1**2) + np.sum(db1**2)") in source


# -- one thread at a time ---------------------------------------------------------------------------------------------


REFUSED = (
    r"another thread is training this model, and a parameter has one gradient\. Let one end before the other begins"
)


def in_another_thread(act):
    """What comes of something in another thread: None, or its error."""
    found = []

    def run():
        try:
            act()
            found.append(None)
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return found[0]


def fitting(model, act, optimizer=None):
    """Train a model, and do something meanwhile."""
    X, Y = tg.datasets.planar_flower()
    optimizer = optimizer or optim.SGD(model.parameters(), 0.1)
    return tg.fit(model, X, Y, loss=tg.binary_cross_entropy_with_logits, epochs=1, progress=False,
                  optimizer=optimizer, callbacks=[lambda _: act()])  # fmt: skip


@pytest.mark.parametrize("part", [slice(None), slice(1)])
def test_a_model_that_another_thread_trains_is_refused(part):
    model = tg.nn.TwoLayerNetwork(2, 4, rng=0)
    errors = []

    def meanwhile():
        errors.append(in_another_thread(lambda: fitting(model, lambda: None)))
        other = optim.SGD(model.parameters()[part], 0.1)
        errors.append(in_another_thread(other.zero_grad))
        errors.append(in_another_thread(other.step))

    fitting(model, meanwhile)
    for error, who in zip(errors, ("fit", r"SGD\.zero_grad", r"SGD\.step"), strict=True):
        assert isinstance(error, RuntimeError)
        assert re.match(f"{who}: {REFUSED}", str(error))
    assert in_another_thread(lambda: fitting(model, lambda: None)) is None  # afterwards, it may


def test_an_optimizer_that_is_at_work_refuses_another_thread():
    model = tg.nn.TwoLayerNetwork(2, 4, rng=0)
    optimizer = optim.SGD(model.parameters(), 0.1)
    errors = []

    def meanwhile():
        errors.extend(map(in_another_thread, (optimizer.step, optimizer.zero_grad)))

    fitting(model, meanwhile, optimizer)
    for error, who in zip(errors, ("step", "zero_grad"), strict=True):
        assert isinstance(error, RuntimeError)
        assert re.match(rf"SGD\.{who}: {REFUSED}", str(error))


def test_another_model_and_the_same_thread_may_train_meanwhile():
    model, other = (tg.nn.TwoLayerNetwork(2, 4, rng=0) for _ in range(2))
    errors = []
    fitting(model, lambda: errors.append(in_another_thread(lambda: fitting(other, lambda: None))))
    fitting(model, lambda: fitting(model, lambda: None) and None)  # a history is no answer of a callback
    fitting(model, lambda: errors.append(in_another_thread(lambda: fitting(copy.deepcopy(model), lambda: None))))
    assert errors == [None, None]


def test_a_fit_that_fails_or_is_interrupted_lets_others_train():
    for error in (ZeroDivisionError, KeyboardInterrupt):
        model = tg.nn.LogisticRegression(2)

        def fail(error=error):
            raise error

        with contextlib.suppress(ZeroDivisionError):
            fitting(model, fail)
        assert in_another_thread(lambda model=model: fitting(model, lambda: None)) is None


@contextlib.contextmanager
def zeroed_by_another_thread(optimizer):
    """Within the block, there is another thread, which has zeroed the gradients of an optimizer."""
    zeroed, go_on = threading.Event(), threading.Event()

    def zero_and_stay():
        try:
            optimizer.zero_grad()
        finally:
            zeroed.set()
        go_on.wait()

    thread = threading.Thread(target=zero_and_stay)
    thread.start()
    zeroed.wait()
    try:
        yield
    finally:
        go_on.set()
        thread.join()


def test_a_step_whose_gradients_another_thread_has_zeroed_is_refused_until_they_are_zeroed_anew():
    model = tg.nn.LogisticRegression(2)
    one, other = (optim.SGD(model.parameters(), 0.1) for _ in range(2))

    def gradients():
        one.zero_grad()
        np.sum(model(np.ones((2, 3)))).backward()

    gradients()
    with zeroed_by_another_thread(other):
        with pytest.raises(RuntimeError, match=rf"SGD\.step: {REFUSED}"):
            one.step()
        gradients()
        one.step()
    gradients()
    one.step()
    assert one.steps == 2


def test_a_step_is_refused_where_another_thread_has_zeroed_a_part_of_its_gradients():
    model = tg.nn.TwoLayerNetwork(2, 4, rng=0)
    first, second = (optim.SGD(model.parameters()[part], 0.1) for part in (slice(2), slice(2, 4)))
    for optimizer in (first, second):  # whose parameters are known apart from then on
        optimizer.zero_grad()
    for part in (first, second):
        both = optim.SGD(model.parameters(), 0.1)
        both.zero_grad()
        np.sum(model(np.ones((2, 3)))).backward()
        with zeroed_by_another_thread(part), pytest.raises(RuntimeError, match=rf"SGD\.step: {REFUSED}"):
            both.step()


def test_threads_may_take_turns_and_a_thread_that_has_ended_is_in_nobodys_way():
    model = tg.nn.LogisticRegression(2)
    optimizer = optim.SGD(model.parameters(), 0.1)
    turn, errors = threading.Lock(), []

    def train():
        for _ in range(50):
            with turn:
                optimizer.zero_grad()
                np.sum(model(np.ones((2, 3)))).backward()
                optimizer.step()

    threads = [threading.Thread(target=lambda: errors.append(in_another_thread(train))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == [None] * 3
    assert in_another_thread(optimizer.zero_grad) is None
    np.sum(model(np.ones((2, 3)))).backward()
    optimizer.step()
    assert optimizer.steps == 151


def test_parts_of_a_model_that_do_not_meet_may_be_trained_at_once():
    model = tg.nn.TwoLayerNetwork(2, 4, rng=0)
    optim.SGD(model.parameters(), 0.1)  # of all, so that they were together once
    first, second = (of_threads.Training(model.parameters()[part], "fit") for part in (slice(2), slice(2, 4)))
    first.begin()
    try:
        assert in_another_thread(second.begin) is None
        assert in_another_thread(of_threads.Training(model.parameters(), "fit").begin) is not None
    finally:
        first.end()
    first.end()  # may be done again
