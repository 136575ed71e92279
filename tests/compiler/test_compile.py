"""A compiled step is the eager step: the same numbers up to rounding, and as safe."""

import collections
import fractions
import functools
import linecache
import re
import subprocess
import sys
import threading
import types
import warnings
from array import array

import numpy as np
import pytest

import tinygrad_dls as tg
from tinygrad_dls import nn
from tinygrad_dls.compiler import threads
from tinygrad_dls.engine.errors import RecordingError

LOGITS = tg.binary_cross_entropy_with_logits
RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 50))
Y = (RNG.random((1, 50)) < 0.5).astype(float)

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


# -- the same numbers -------------------------------------------------------------------------------------------------

OPTIMIZERS = {
    "plain": lambda m: sgd(m),
    "momentum": lambda m: sgd(m, lr=0.1, momentum=0.9),
    "nesterov": lambda m: sgd(m, lr=0.1, momentum=0.9, nesterov=True),
    "decay": lambda m: sgd(m, weight_decay=0.1),
    "adam": lambda m: tg.optim.Adam(m.parameters(), lr=0.01),
    "schedule": lambda m: sgd(m, lr=tg.optim.inverse_time_decay(0.5, rate=0.1)),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("tile", [None, 16])
def test_every_optimizer_trains_as_the_eager_one(optimizer, dtype, tile):
    data = [(X.astype(dtype), Y.astype(dtype))] * 30
    assert_same_training(lambda: network(dtype), LOGITS, OPTIMIZERS[optimizer], data, tile=tile)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_huge_logits_give_no_warning_and_nothing_infinite(dtype):
    model = nn.Sequential(nn.Linear(1, 1, init=np.array([[1000.0]]), dtype=dtype))
    step = tg.compile(model, LOGITS, sgd(model, lr=0.0))
    x = np.array([[1.0, -1.0, 1.0, -1.0]], dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert step(x, np.array([[1, 0, 0, 1]], dtype)) == 500.0


def test_perfect_predictions_cost_as_little_as_eagerly():
    """No digits are lost where the terms of the cost cancel."""
    model = nn.Sequential(nn.Linear(1, 1, init=np.array([[30.0]])))
    x, y = np.array([[1.0, -1.0]]), np.array([[1.0, 0.0]])
    J = LOGITS(model(x), y).item()
    assert tg.compile(model, LOGITS, sgd(model))(x, y) == pytest.approx(J, rel=1e-14)


@pytest.mark.parametrize("name", ["m", "learning_rate", "rate"])
@pytest.mark.parametrize("tile", [None, 16])
def test_a_parameter_may_be_called_what_the_program_calls_its_own(name, tile):
    class Named(nn.Module):
        def __init__(self):
            self.layer = nn.Linear(3, 1, rng=0)
            setattr(self, name, nn.Parameter(np.array(0.7)))

        def __call__(self, a):
            return self.layer(a) * getattr(self, name)

    assert_same_training(Named, LOGITS, sgd, [(X, Y)] * 3, tile=tile)


def test_a_function_of_an_m_of_its_own():
    f = tg.compile(lambda a, m: a * m)
    assert (f(np.ones(3), np.array(2.0)) == 2).all()
    assert (f(np.ones(3), np.array(5.0)) == 5).all()


def test_a_constant_array_beside_a_product():
    class Raised(nn.Module):
        def __init__(self):
            self.W = nn.Parameter(np.full((1, 3), 0.1))

        def __call__(self, a):
            return self.W @ a + np.ones((1, 1))

    assert_same_training(Raised, LOGITS, sgd, [(X, Y)] * 3)


class Shifted(nn.Module):
    """W X + b with a b of any shape that fits."""

    def __init__(self, shape=(1, 1), rows=1, dtype=float):
        self.W = nn.Parameter(np.linspace(-1, 1, 3 * rows).reshape(rows, 3).astype(dtype))
        self.b = nn.Parameter(np.full(shape, 0.5, dtype))

    def __call__(self, a):
        return self.W @ a + self.b


@pytest.mark.parametrize(("shape", "rows"), [((), 1), ((1, 1), 1), ((1, 1), 2), ((2, 1), 2), ((), 2)])
@pytest.mark.parametrize("tile", [None, 16])
def test_a_gradient_that_is_the_sum_of_ones_is_summed_too(shape, rows, tile):
    """The mean of Z has the same dZ for all entries: nothing is left of it but a number."""
    assert_same_training(lambda: Shifted(shape, rows), lambda z, y: np.mean(z), sgd, [(X, Y)] * 2, tile=tile)


class Penalised(Shifted):
    """Z, and the lengths of W and b beside it, which the loss adds."""

    def __call__(self, a):
        lengths = np.sqrt(np.sum(self.W * self.W)) + np.sqrt(np.sum(self.b * self.b))
        return super().__call__(a) + 0.1 * lengths


@pytest.mark.parametrize("tile", [None, 16])
def test_the_norms_of_two_parameters_are_two(tile):
    """Each update reads the norm of its own parameter, so there is no single update for all."""
    assert_same_training(Penalised, LOGITS, sgd, [(X, Y)] * 3, tile=tile)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_factor_of_a_constant_gradient_is_kept(dtype):
    class Squared(Shifted):
        def __call__(self, a):
            return super().__call__(a) + 0.01 * np.sum(3 * self.W**2)

    assert_same_training(lambda: Squared(dtype=dtype), lambda z, y: np.mean(z), sgd, [(X.astype(dtype), Y)] * 3)


class Product(nn.Module):
    """(W + 0.5 V) X, for parameters that may be called anything."""

    def __init__(self, other):
        self.W = nn.Parameter(np.array([[0.3, -0.2, 0.1]]), name="W")
        self.other = nn.Parameter(np.array([[0.1, 0.2, -0.3]]), name=other)

    def __call__(self, a):
        return (self.W + 0.5 * self.other) @ a


@pytest.mark.parametrize("other", ["dW", "VdW", "new_W", "norm", "2b", "W_row"])
@pytest.mark.parametrize("momentum", [0, 0.9])
def test_parameters_may_be_called_what_the_course_calls_their_gradients(other, momentum):
    assert_same_training(lambda: Product(other), LOGITS, lambda m: sgd(m, momentum=momentum), [(X, Y)] * 4)


class Late(nn.Module):
    """b is used before W, and W is frozen at first."""

    def __init__(self):
        rng = np.random.default_rng(0)
        self.W, self.o = nn.Parameter(rng.normal(size=(4, 3))), nn.Parameter(rng.normal(size=(1, 4)))
        self.b = nn.Parameter(np.zeros((3, 1)))

    def __call__(self, a):
        return self.o @ (self.W @ np.tanh(a + self.b))


@pytest.mark.parametrize("tile", [None, 16])
def test_each_parameter_keeps_its_own_count_of_steps(tile):
    models = Late(), Late()
    slow, fast = (tg.optim.Adam(m.parameters(), lr=0.05) for m in models)
    slow, fast = eager(models[0], LOGITS, slow), tg.compile(models[1], LOGITS, fast, tile=tile)
    for model in models:
        model.W.requires_grad = False
    for i in range(8):
        if i == 3:
            for model in models:
                model.W.requires_grad = True
        assert fast(X, Y) == pytest.approx(slow(X, Y), rel=1e-12)
    for p, q in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert_alike(p.data, q.data, p.name)


@pytest.mark.parametrize("m", [100, 40_000])
def test_data_of_another_dtype_than_the_model_train_too(m):
    """float64 data in a float32 model give sums in float64, which are not tiled."""
    x, y = np.tile(X, m // 50), np.tile(Y, m // 50)
    model, twin = network("float32"), network("float32")
    step = tg.compile(twin, LOGITS, sgd(twin), tile=32)
    J = eager(model, LOGITS, sgd(model))(x, y)
    assert step(x, y) == pytest.approx(J, rel=1e-6)  # a few roundings of float32
    assert "not of the parameters' dtype" in step.explain()


@pytest.mark.parametrize("labels", [int, bool, "float32"])
def test_labels_of_another_dtype_are_tiled(labels):
    fast = assert_same_training(network, LOGITS, sgd, [(X, Y.astype(labels))] * 3, tile=16)
    assert "tiles of 16" in fast.explain()


def test_as_many_entries_in_a_penalty_as_examples():
    """Their sum is a product with as many ones, which no tile makes fewer."""

    class Long(nn.Module):
        def __init__(self):
            self.W = nn.Parameter(np.linspace(-1, 1, 16).reshape(2, 8))

        def __call__(self, a):
            return np.sum(self.W @ a, axis=0, keepdims=True) + 0.1 * np.sum(np.abs(self.W))

    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(8, 32)), (rng.random((1, 32)) < 0.5).astype(float)
    assert_same_training(Long, LOGITS, sgd, [(x, y), (x[:, :16], y[:, :16])] * 2, tile=7)


class Counted(tg.optim.SGD):
    """An optimizer of the user's own, which looks at the number of steps."""

    def _update(self, p, rate):
        return p._value - rate / (1 + self.steps) * p._grad, ()


def test_an_optimizer_that_counts_its_steps_is_refused_or_runs_eagerly():
    model = network()
    with pytest.raises(RecordingError, match=r"would freeze self.steps, which Counted._update reads"):
        tg.compile(model, LOGITS, Counted(model.parameters(), lr=0.1))(X, Y)
    assert_same_training(network, LOGITS, lambda m: Counted(m.parameters(), lr=0.1), [(X, Y)] * 3, fallback=True)


class Kept(tg.optim.SGD):
    """One that remembers half of the gradient after the parameters are there."""

    def _start(self, p):
        return (np.zeros_like(p._value),)

    def _update(self, p, rate):
        return p._value - rate * p._grad, (0.5 * p._grad,)


def test_gradients_that_are_needed_after_the_update_are_not_written_over():
    assert_same_training(network, LOGITS, lambda m: Kept(m.parameters(), lr=0.1), [(X, Y)] * 3)
    model = network()
    step = tg.compile(model, LOGITS, Kept(model.parameters(), lr=0.1))
    step(X, Y)
    assert "gradients = new_parameters" not in step.source
    step = tg.compile(model, LOGITS, sgd(model))
    step(X, Y)
    assert "gradients = new_parameters" in step.source


def test_errors_speak_of_all_the_examples():
    x, y = np.tile(X, 2), np.tile(Y, 2)
    model = network()
    step = tg.compile(model, LOGITS, sgd(model))
    for wrong in (y.T, y[0], y[:, :-1], np.where(np.arange(100) == 90, 2, y)):
        with pytest.raises(ValueError) as expected:
            LOGITS(model(x), wrong)
        with pytest.raises(ValueError) as found:
            step(x, wrong)
        assert str(found.value) == str(expected.value)


def test_labels_may_have_one_axis_if_the_loss_takes_them():
    loss = lambda z, y: np.mean((z[0] - y) ** 2)  # noqa: E731  # used once
    fast = assert_same_training(network, loss, sgd, [(X, Y[0])] * 3)
    assert "cannot be told" not in fast.explain()


MANY = np.random.default_rng(2).normal(size=(3, 10_000))
BY_THE_NUMBER = {
    "weight": lambda z, y: LOGITS(z, y) * min(1.0, 5000 / z.shape[1]),
    "more than 5000": lambda z, y: LOGITS(z, y) * (2 if z.shape[1] > 5000 else 1),
    "less than 5": lambda z, y: LOGITS(z, y) * (2 if z.shape[1] < 5 else 1),
    "the first 5000": lambda z, y: LOGITS(z[:, :5000], y[:, :5000]),
    "the last 4500": lambda z, y: LOGITS(z[:, -4500:], y[:, -4500:]),
    "the 5000th": lambda z, y: LOGITS(z, y) + np.mean(z[:, 5000]) if z.shape[1] > 5000 else LOGITS(z, y),
    "half": lambda z, y: LOGITS(z[:, : (z.shape[1] + 1) // 2], y[:, : (y.shape[1] + 1) // 2]),
    "odd": lambda z, y: LOGITS(z, y) * (1 + z.shape[1] % 2),
}


@pytest.mark.parametrize("loss", BY_THE_NUMBER)
@pytest.mark.parametrize("m", [1, 2, 3, 5, 8, 10_000])
def test_what_python_decides_by_the_number_of_examples_is_decided_for_this_number(loss, m):
    x, y = MANY[:, :m].copy(), (MANY[:1, :m] > 0).astype(float)
    assert_same_training(network, BY_THE_NUMBER[loss], lambda model: sgd(model, lr=0.01), [(x, y)] * 2)


@pytest.mark.parametrize("m", [7, 12, 10_000])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_program_that_is_the_same_for_any_number_of_examples_is_known_as_such(m, dtype):
    x, y = MANY[:, :m].astype(dtype), (MANY[:1, :m] > 0).astype(dtype)
    losses = [
        LOGITS, tg.mean_squared_error, lambda z, y: LOGITS(z - np.mean(z), y), lambda z, y: np.mean((z - y) ** 2),
        lambda z, y: 0.5 / z.shape[1] * np.sum(np.where(y > 0, z, -z)), lambda z, y: LOGITS(z[:, ::-1], y[:, ::-1]),
        lambda z, y: tg.binary_cross_entropy(tg.sigmoid(z), y), lambda z, y: LOGITS(z, y) * z.size,
        lambda z, y: tg.softmax_cross_entropy(np.concatenate([z, -z, z * z]), y.astype(int)),
    ]  # fmt: skip
    for loss in losses:
        model = network(dtype)
        step = tg.compile(model, loss, sgd(model, lr=0.01), threads=1)
        step(x, y)
        assert "cannot be told" not in step.explain()


def test_adam_squares_the_mean_gradient_not_the_sum():
    """In float32, the square of the sum of these gradients is infinite, and that of their mean is not."""

    class Line(nn.Module):
        def __init__(self):
            self.W = nn.Parameter(np.ones((1, 1), "f4"))

        def __call__(self, a):
            return self.W @ a

    x, y = np.full((1, 100_000), 1e7, "f4"), np.full((1, 100_000), 1e9, "f4")
    adam = lambda model: tg.optim.Adam(model.parameters(), lr=1.0)  # noqa: E731  # used once, in the next lines
    for tile in (None, 1000):
        assert_same_training(Line, tg.mean_squared_error, adam, [(x, y)] * 3, tile=tile)


def test_long_sums_of_float32_lose_no_more_digits_than_eagerly():
    """One dot product of 10^6 equal numbers would be off by 1e-4."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(3, 1_000_000)), (rng.random((1, 1_000_000)) < 0.5).astype(float)
    losses = [
        lambda z, y: LOGITS(z - 0.5 * np.mean(z), y),  # the mean is needed first: no tiles
        lambda z, y: np.mean((z - y) ** 2) + np.mean(z) ** 2 + np.mean(np.sum(z * z, axis=1) / z.shape[1]),
        lambda z, y: tg.mean_squared_error(z - np.mean(z, axis=1, keepdims=True), y),
    ]
    for loss in losses:
        found = []
        for dtype, compiled in ((float, False), ("f4", False), ("f4", True)):
            model = network(dtype)
            optimizer = sgd(model, lr=0.0)
            step = tg.compile(model, loss, optimizer, gradients=True) if compiled else eager(model, loss, optimizer)
            cost = step(x.astype(dtype), y.astype(dtype))
            found.append([cost, *(p.grad.astype(float) for p in model.parameters())])
        exact, plain, planned = found
        for a, b, c in zip(exact, plain, planned, strict=True):
            scale = np.abs(a).max()
            # as good as eagerly, or 1e-5: products of matrices are summed by BLAS, in both
            assert np.abs(c - a).max() <= max(2 * np.abs(b - a).max(), 1e-5 * scale)
        assert "Not tiled" in step.explain()


# -- threads and tiles ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tile", [7, 10, 64])
def test_results_do_not_depend_on_the_number_of_threads(tile):
    x, y = np.random.default_rng(1).normal(size=(3, 1000)), (np.arange(1000)[None] % 3 == 0).astype(float)
    found = []
    for workers in (1, 2, 3, 8):
        model = network()
        step = tg.compile(model, LOGITS, sgd(model), tile=tile, threads=workers)
        found.append(([step(x, y) for _ in range(5)], model.state_dict()))
    for costs, state in found[1:]:
        assert costs == found[0][0]
        assert all((state[name] == found[0][1][name]).all() for name in state)


def test_a_million_examples_take_little_memory():
    x, y = np.zeros((3, 200_000)), np.zeros((1, 200_000))
    model = network()
    step = tg.compile(model, LOGITS, sgd(model), threads=2)
    step(x, y)
    assert step._now.runner.bytes < 8 * 2**20  # eagerly, twenty arrays of up to 6 MB
    assert "tiles" in step.explain()


def test_why_a_step_is_not_tiled_is_said():
    model = network()
    step = tg.compile(model, lambda z, y: LOGITS(z - np.mean(z), y), sgd(model), tile=8)
    step(X, Y)
    assert "needs a sum over all examples before it goes on with each of them" in step.explain()


def test_blas_has_its_threads_back_after_several_steps_at_once():
    before = [pool["num_threads"] for pool in threads._blas().info()]
    with threads.one_blas_thread(), threads.one_blas_thread():
        assert {pool["num_threads"] for pool in threads._blas().info()} == {1}
    assert [pool["num_threads"] for pool in threads._blas().info()] == before


def test_blas_has_its_threads_back_wherever_ctrl_c_comes():
    before = [pool["num_threads"] for pool in threads._blas().info()]
    model = network()
    step = tg.compile(model, LOGITS, sgd(model), tile=25, threads=2)
    step(X, Y)
    k, where = 0, True
    while where:
        where = interrupted_at(k, ("compiler/threads.py", "compiler/running.py"), lambda: step(X, Y))
        assert [pool["num_threads"] for pool in threads._blas().info()] == before, where
        assert not threads._holders, where
        k += 1
    assert k > 30


FORKED = """
import os, threading
import numpy as np, tinygrad_dls as tg
from tinygrad_dls.compiler import threads

libraries = threads._blas().lib_controllers
for library in libraries:
    library.set_num_threads(2)

def forked():
    child = os.fork()
    if child == 0:
        X, Y = np.ones((3, 64)), np.ones((1, 64))
        model = tg.nn.TwoLayerNetwork(3, 4, rng=0)
        before = [library.get_num_threads() for library in libraries]
        step = tg.compile(model, tg.binary_cross_entropy_with_logits, tg.optim.SGD(model.parameters(), lr=1.0), tile=8,
            threads=2)
        step(X, Y)
        after = [library.get_num_threads() for library in libraries]
        os.write(1, f"{before} {after} {len(threads._holders)} ".encode())
        os._exit(0)
    os.waitpid(child, 0)

def hold(holding, ending, locked):
    if locked:
        threads._guard.acquire()
    else:
        threads.one_blas_thread().begin()
    holding.set()
    ending.wait()

for locked in (False, True):
    holding, ending = threading.Event(), threading.Event()
    thread = threading.Thread(target=hold, args=(holding, ending, locked))
    thread.start()
    holding.wait()
    forked()
    ending.set()
    thread.join()
"""


def test_a_process_that_is_forked_while_another_thread_steps_has_all_its_threads():
    got = subprocess.run([sys.executable, "-W", "ignore", "-c", FORKED], capture_output=True, text=True, timeout=120)
    twos = r"\[2(, 2)*\]"  # of as many libraries as that process has, which may be fewer than here
    assert re.fullmatch(f"({twos} {twos} 0 ){{2}}", got.stdout), got.stderr


def test_what_the_thread_that_forks_holds_it_goes_on_to_hold():
    before = [library.get_num_threads() for library in threads._blas().lib_controllers]
    with threads.one_blas_thread():
        threads._after_fork()  # as in the child
        assert {library.get_num_threads() for library in threads._blas().lib_controllers} == {1}
    assert [library.get_num_threads() for library in threads._blas().lib_controllers] == before


def test_without_threadpoolctl_there_is_one_thread(monkeypatch):
    monkeypatch.setattr(threads, "_controller", None)
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    assert threads.available() == 1
    model = network()
    step = tg.compile(model, LOGITS, sgd(model), tile=8)
    assert step(X, Y) == pytest.approx(LOGITS(network()(X), Y).item(), rel=1e-12)


def test_compiled_steps_of_two_models_in_two_threads_do_not_touch_each_other():
    x, y = np.random.default_rng(1).normal(size=(3, 600)), (np.arange(600)[None] % 3 == 0).astype(float)

    def train(seed, tile, out):
        model = network(seed=seed)
        step = tg.compile(model, LOGITS, sgd(model), tile=tile, threads=2)
        out[seed] = [step(x, y) for _ in range(100)]

    alone, together = {}, {}
    for seed, tile in enumerate((None, 50)):
        train(seed, tile, alone)
    workers = [threading.Thread(target=train, args=(s, tile, together)) for s, tile in enumerate((None, 50))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert together == alone


class Waiting:
    """A learning rate that another thread waits for, and that waits for it."""

    def __init__(self):
        self.asked, self.going_on = threading.Event(), threading.Event()
        self.waits = False

    def __call__(self, step):
        if self.waits:
            self.asked.set()
            self.going_on.wait(60)
        return 0.5


def while_it_steps(step, rate, others):
    """The errors of what this thread does while another one is within a step."""
    rate.waits = True
    worker = threading.Thread(target=step, args=(X, Y))
    worker.start()
    rate.asked.wait(60)
    errors = []
    for other in others:
        try:
            errors.append(other())
        except RuntimeError as error:
            errors.append(str(error))
    rate.waits = False
    rate.going_on.set()
    worker.join()
    return errors


WORDS = "another thread is training this model, and a parameter has one gradient. Let one end before"


def test_another_thread_that_trains_the_same_model_is_refused_in_the_words_of_the_eager_step():
    rate, model, other = Waiting(), network(), network()
    optimizer = sgd(model, lr=rate)
    step = tg.compile(model, LOGITS, optimizer)
    again, elsewhere = tg.compile(model, LOGITS, sgd(model)), tg.compile(other, LOGITS, sgd(other))
    step(X, Y), again(X, Y), elsewhere(X, Y)
    twin, before = network(), model.state_dict()
    errors = while_it_steps(
        step,
        rate,
        [
            lambda: step(X, Y),
            lambda: again(X, Y),
            lambda: tg.optim.eager_step(model, LOGITS, optimizer, X, Y),
            lambda: tg.fit(model, X, Y, loss=LOGITS, optimizer=sgd(model), epochs=1, compile=True),
            lambda: elsewhere(X, Y),  # another model is nobody's business
        ],
    )
    assert isinstance(errors.pop(), float)
    assert [WORDS in error for error in errors] == [True] * 4
    assert {error.partition(": ")[0] for error in errors} == {"a compiled step", "SGD.zero_grad", "fit"}
    twin.load_state_dict(before)
    eager(twin, LOGITS, sgd(twin))(X, Y)
    assert_equal_models(twin, model)  # what the thread's own step does is done, and nothing else
    step(X, Y), again(X, Y), tg.optim.eager_step(model, LOGITS, optimizer, X, Y)


def test_an_eager_step_in_which_another_thread_takes_a_compiled_one_is_refused():
    model = network()
    step, optimizer = tg.compile(model, LOGITS, sgd(model)), sgd(model)
    step(X, Y)
    optimizer.zero_grad()
    LOGITS(model(X), Y).backward()
    going_on, done = threading.Event(), threading.Event()

    def train():
        step(X, Y)
        done.set()
        going_on.wait(60)

    worker = threading.Thread(target=train)
    worker.start()
    done.wait(60)
    with pytest.raises(RuntimeError, match=WORDS):
        optimizer.step()
    going_on.set()
    worker.join()


def test_threads_may_take_turns():
    model = network()
    step = tg.compile(model, LOGITS, sgd(model))
    step(X, Y)
    lock = threading.Lock()

    def train():
        for _ in range(200):
            with lock:
                step(X, Y)

    workers = [threading.Thread(target=train) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    twin = network()
    slow = eager(twin, LOGITS, sgd(twin))
    for _ in range(601):
        slow(X, Y)
    for p, q in zip(twin.parameters(), model.parameters(), strict=True):
        np.testing.assert_allclose(q.data, p.data, rtol=1e-9)  # 601 steps, some of 1e-13 apart
    assert step.optimizer.steps == 601


# -- a consistent model -----------------------------------------------------------------------------------------------


def pair(**options):
    """A model trained eagerly, and its twin compiled."""
    a, b = network(), network()
    oa, ob = sgd(a, **options), sgd(b, **options)
    return a, b, oa, ob, eager(a, LOGITS, oa), tg.compile(b, LOGITS, ob)


def assert_equal_models(a, b):
    for p, q in zip(a.parameters(), b.parameters(), strict=True):
        assert_alike(p.data, q.data, p.name)


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


CHANGES = [
    change_in_place, replace, load, step_eagerly, reset_optimizer, freeze, thaw, replace_frozen, replace_parameter,
    slower, scheduled, more_momentum, more_decay,
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
    assert not isinstance(getattr(model, "mean", None), tg.ir.tracer.RecordingArray)
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
    record = module.recorded
    monkeypatch.setattr(module, "recorded", lambda *args: (recordings.append(1), record(*args))[1])
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
    for model, cost in ((a, J), (b, K)):
        for p in model.parameters():
            p.grad = None
        cost.backward()
    for p, q in zip(a.parameters(), b.parameters(), strict=True):
        assert_alike(p.grad, q.grad)


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
            if file != "<compiled step>" and not file.endswith(("compiler/step.py", "compiler/memory.py")):
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


def interrupted_at(k, files, act):
    """Do something, with a trace function that raises at the k-th line within these files; where it did."""
    remaining, where = k, None

    def trace(frame, event, arg):
        nonlocal remaining, where
        if not frame.f_code.co_filename.endswith(files) or frame.f_code.co_name.startswith("<"):
            return None
        line = linecache.getline(frame.f_code.co_filename, frame.f_lineno)
        if event == "line" and not line.strip().startswith("with "):  # there, Ctrl-C cannot come before a lock is free
            remaining -= 1
            if remaining == -1:
                where = frame.f_code.co_filename, frame.f_lineno
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        act()
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(before)
    return where


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
            k, ("compiler/memory.py", "compiler/step.py", "compiler/running.py"), lambda fast=fast: fast(X, Y)
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


# -- what is refused --------------------------------------------------------------------------------------------------


def message(f, *args):
    with pytest.raises((TypeError, ValueError)) as caught:
        f(*args)
    return type(caught.value), str(caught.value)


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


@pytest.mark.parametrize("activation", [lambda z: z, np.exp, lambda z: 2 * np.tanh(z), lambda z: 1 / (2 + z)])
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


class Branching(nn.Module):
    def __init__(self):
        self.layer = nn.Linear(3, 1, rng=0)

    def __call__(self, a):
        z = self.layer(a)
        return z if np.sum(z.data if isinstance(z, tg.Tensor) else z) > 0 else -z


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
        (lambda m: tg.compile(m, LOGITS, sgd(m)).explain(), "has not run yet"),
        (lambda m: tg.compile(np.sin).source, "has not run yet"),
    ],
)
def test_errors(make, text):
    with pytest.raises((TypeError, ValueError, RuntimeError), match=text):
        make(network())


# -- functions of arrays ----------------------------------------------------------------------------------------------


def test_a_function_of_arrays_is_compiled():
    def f(W, x):
        return np.tanh(W @ x), tg.softmax(W @ x) * 2 + 1

    compiled = tg.compile(f)
    W = RNG.normal(size=(2, 3))
    for x in (X, X[:, :7], X):
        for one, other in zip(f(W, x), compiled(W, x), strict=True):
            assert_alike(one, other)
    assert "def function(" in compiled.source
    assert "NumPy calls" in compiled.explain()


A = np.array([[-1.0, 2.0, 3.0], [0.5, -0.25, 4.0]])
N = np.array([[100, 3, 0], [7, 8, 9]], np.int8)
F = np.array([1 / 3, 0.1], np.float32)
FUNCTIONS = {
    "sum where": (lambda a: np.sum(a, where=a > 0), A),
    "mean where": (lambda a: np.mean(a, where=a > 0), A),
    "sum initial": (lambda a: np.sum(a, initial=5.0), A),
    "max initial": (lambda a: np.max(a, axis=0, initial=0.7), A),
    "axis by position": (lambda a: a / np.max(np.abs(a), 0), A),
    "integers by position": (lambda a: np.sum(a, 0), N),
    "no axis": (lambda a: np.sum(a, axis=()), A),
    "reshape in Fortran's order": (lambda a: np.reshape(a, (3, 2), order="F") + 1, A),
    "ones like integers": (lambda n: np.ones_like(n) - n, N),
    "ones of another dtype": (lambda n: np.ones_like(n, dtype=float) - 2 * n, N),
    "squares of small integers": (lambda n: n**2.0, N),
    "their mean": (lambda n: np.mean(n**2.0), N),
    "sum as floats": (lambda n: np.sum(n, dtype=float), N),
    "a truth without axes": (lambda a: (a[0, 1] > 0).astype(float) - (a[0, 0] < 0).astype(float), A),
    "NumPy's float64 beside float32": (lambda x: x * np.float64(0.1), F),
    "and compared": (lambda x: (x > np.float64(0.1)) * 1.0, F),
    "np.dot with a sum": (lambda a: np.dot(np.sum(a), a), A),
    "indices from data": (lambda n: n[n[0] % 2], N),
    "names that differ by what the text adds": (lambda m, m_: m - m_, A, 2 * A),
    "a name that the text uses": (lambda scattered, getitem: scattered[0] + np.tanh(getitem), A, A),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_of_numpy_with_their_options(name):
    f, *arrays = FUNCTIONS[name]
    compiled = tg.compile(f)
    for factor in (1, -1):
        given_ = [factor * x for x in arrays]
        expected, found = f(*given_), compiled(*given_)
        assert np.asarray(found).dtype == np.asarray(expected).dtype
        np.testing.assert_allclose(found, expected, rtol=1e-15, atol=1e-15)  # a few roundings of float64


REFUSED = {
    "allclose": lambda a: a if np.allclose(a, A) else -a,
    "array_equal": lambda a: a if np.array_equal(a, A) else -a,
    "split": lambda a: np.split(a, 2)[0],
    "divmod": lambda a: np.divmod(a, 2)[0],
    "unique": lambda a: a * np.unique(a).size,
    "nonzero": lambda a: a[np.nonzero(a > 0)],
    "where": lambda a: np.sum(a[np.where(a > 0)]),
    "indexing by truths": lambda a: a[a > 0] * 2,
    "add.at": lambda a: (lambda z: (np.add.at(z, 0, a[0]), z)[1])(np.ones_like(a)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_hangs_on_values_is_refused_by_name_or_runs_eagerly(name):
    with pytest.raises(RecordingError, match=name) as error:
        tg.compile(REFUSED[name])(A)
    assert "test_compile.py" in str(error.value)
    fallback = tg.compile(REFUSED[name], fallback=True)
    np.testing.assert_array_equal(fallback(A), REFUSED[name](A))
    assert fallback.explain().startswith("Runs eagerly: ")


def test_a_function_gives_new_arrays_each_time_in_the_form_of_its_result():
    f = tg.compile(lambda a, b: {"sum": a + b, "list": [a, (a - b,)]})
    first = f(np.ones(3), np.full(3, 2.0))
    f(np.zeros(3), np.zeros(3))
    np.testing.assert_array_equal(first["sum"], np.full(3, 3.0))
    np.testing.assert_array_equal(first["list"][0], np.ones(3))
    np.testing.assert_array_equal(first["list"][1][0], np.full(3, -1.0))


Pair = collections.namedtuple("Pair", "sum, rest")


def test_a_function_may_give_named_tuples_and_no_containers_of_its_own():
    result = tg.compile(lambda a: Pair(a + a, [Pair(a, -a)]))(np.ones(2))
    assert (type(result), type(result.rest[0])) == (Pair, Pair)
    assert (result.rest[0].rest == -1).all()
    for kind in (collections.OrderedDict, collections.Counter):
        with pytest.raises(RecordingError, match=f"gave a {kind.__name__}, .* lists and dicts. Return one of these"):
            tg.compile(lambda a, kind=kind: kind({"sum": a + a}))(np.ones(2))


def test_complex_and_other_results_are_compared_as_they_are():
    f = tg.compile(lambda a: (np.fft.fft(np.tanh(a)) * (1 + 2j) / 3, np.where(a > 1, "large", "small")))
    for k in range(9):
        z, words = f(X[0] + k)
        np.testing.assert_allclose(z, np.fft.fft(np.tanh(X[0] + k)) * (1 + 2j) / 3, rtol=1e-12)
        np.testing.assert_array_equal(words, np.where(X[0] + k > 1, "large", "small"))


class Doubling:
    """Something that NumPy takes for an array."""

    def __init__(self):
        self.entries = np.full(3, 2.0)

    def __array__(self, dtype=None, copy=None):
        return self.entries.copy()


class Own(Doubling):
    def __array_ufunc__(self, ufunc, method, *inputs):
        return ufunc(*[7.0 if x is self else x for x in inputs])


class Weighted(np.ndarray):
    def __array_ufunc__(self, ufunc, method, *inputs):
        return ufunc(*[x.view(np.ndarray) * 7 if x is self else x for x in inputs])


TAKEN = {
    "a deque": collections.deque([1.0, 2.0, 3.0]), "a range": range(3), "an array.array": array("d", [1, 2, 3]),
    "a memoryview": memoryview(np.arange(3.0)), "what has __array__": Doubling(), "a subclass of arrays": np.rec.array(
        np.arange(3.0)), "an integer of any size": 10**30,
}  # fmt: skip
LOST = {
    "a MaskedArray": np.ma.array([1.0, 2.0, 3.0], mask=[0, 1, 0]), "a matrix": np.ones((3, 1)).view(np.matrix),
    "a Own": Own(), "a Weighted": np.ones(3).view(Weighted),
    "np.multiply": np.array([1, 2, 3], object),
    "a Fraction": fractions.Fraction(1, 3),
}  # fmt: skip


@pytest.mark.parametrize("name", TAKEN)
def test_what_numpy_takes_for_an_array_is_one_in_a_program_too(name):
    y = TAKEN[name]
    for f in (lambda x: np.multiply(x, y), lambda x: np.where(x > 1, x, y)):
        np.testing.assert_array_equal(tg.compile(f)(np.array([1.0, 2.0, 3.0])), f(np.array([1.0, 2.0, 3.0])))


@pytest.mark.parametrize("name", LOST)
def test_what_does_something_of_its_own_beside_arrays_is_refused_by_name(name):
    y = LOST[name]
    with pytest.raises(
        RecordingError, match=rf"would lose what {re.escape(name)} (does|gives).* Write .*float"
    ) as error:
        tg.compile(lambda x: np.multiply(x, y), constants=[y])(np.ones(3))
    assert "SyntaxError" not in str(error.value)


def test_what_has_an_array_is_watched():
    y = Doubling()
    f = tg.compile(lambda x: x * np.add(x, y))
    assert (f(np.ones(3)) == 3).all()
    f(np.ones(3))
    y.entries = np.full(3, 4.0)
    assert (f(np.ones(3)) == 5).all()


def test_a_function_that_would_be_frozen_is_refused_or_runs_eagerly():
    rng = np.random.default_rng(0)
    with pytest.raises(RecordingError, match="random numbers"):
        tg.compile(lambda a: a + rng.normal(size=3))(np.ones(3))
    with pytest.raises(RecordingError, match="depends on W, b"):
        tg.compile(nn.Linear(3, 1, rng=0).__call__)(X)
    f = tg.compile(lambda a: a if a[0] > 0 else -a, fallback=True)
    assert (f(np.array([-1.0])) == 1).all()
    assert "Runs eagerly" in f.explain()


# -- what it says -----------------------------------------------------------------------------------------------------


# -- what can be compiled, and what cannot ----------------------------------------------------------------------------

SPELLED = {
    "times True": lambda z, on: z * on,
    "True first": lambda z, on: on * z + False,
    "minus True": lambda z, on: z - on,
    "a power of True": lambda z, on: np.square(z) ** on,
    "the larger of it and True": lambda z, on: np.maximum(z, on) + np.minimum(False, z),
    "compared with True": lambda z, on: (z > on) * z + ((z > 0) == on) * z,
    "truths and True": lambda z, on: ((z > 0) & on) * z + np.logical_or(z > 1, False) * z,
    "where True": lambda z, on: np.where(on, z, 0) + np.where([[True], [False], [True], [True]], z, 0),
    "a constant array first": lambda z, on: np.minimum(np.full((4, 1), 0.5), z) + np.maximum(np.ones((1, 1)), z),
    "a list first": lambda z, on: np.minimum([[0.5]], z) * np.add([[1.0], [2.0], [3.0], [4.0]], z),
    "zeros first beside a sigmoid": lambda z, on: np.maximum(np.zeros((1, 1)), z) * tg.sigmoid(z) - np.minimum(0, z),
    "a constant matrix": lambda z, on: np.tri(4) @ z + (z.T @ np.eye(4)).T,
    "a constant matrix below": lambda z, on: np.ones((4, 1)) @ (np.ones((1, 4)) @ z),
    "compared with itself": lambda z, on: z * (z == z) * ((z > 0) != (z > 1)),
    "compared with an array": lambda z, on: z * (np.array([[True], [False], [True], [False]]) > z),
}


@pytest.mark.parametrize("m", [1, 5, 50])
@pytest.mark.parametrize("tile", [None, 16])
@pytest.mark.parametrize("name", SPELLED)
def test_constants_of_any_kind_take_part_as_eagerly(name, tile, m):
    class Spelled(nn.Module):
        def __init__(self):
            self.inner, self.outer, self.on = nn.Linear(3, 4, rng=0), nn.Linear(4, 1, rng=1), True

        def __call__(self, x):
            return self.outer(SPELLED[name](self.inner(x), self.on))

    assert_same_training(Spelled, LOGITS, sgd, [(X[:, :m], Y[:, :m])] * 3, tile=tile)


@pytest.mark.parametrize("loss", [LOGITS, lambda z, y: np.sum((z - y) ** 2) / z.shape[1], lambda z, y: np.sum(z - y)])
@pytest.mark.parametrize("optimizer", ["plain", "adam"])
def test_a_batch_without_examples_does_what_the_eager_step_does(loss, optimizer):
    results = []
    with np.errstate(all="ignore"):
        for compiled in (False, True):
            model = network()
            own = OPTIMIZERS[optimizer](model)
            step = tg.compile(model, loss, own) if compiled else eager(model, loss, own)
            costs = []
            for columns in (slice(None), slice(0, 0), slice(0, 0), slice(None)):
                try:
                    costs.append(step(X[:, columns], Y[:, columns]))
                except Exception as error:
                    costs.append(f"{type(error).__name__}: {error}")
            results.append((costs, [p.data for p in model.parameters()], own.steps))
    (one, w, n), (other, v, k) = results
    assert n == k
    for a, b in [*zip(one, other, strict=True), *zip(w, v, strict=True)]:
        np.testing.assert_array_equal(a, b) if isinstance(a, str) else np.testing.assert_allclose(b, a, rtol=1e-10)


class Table(nn.Module):
    def __init__(self):
        self.E, self.v = nn.Parameter(RNG.normal(size=(4, 10))), nn.Parameter(np.ones((1, 4)))

    def __call__(self, x):
        return self.v @ self.E[:, x[0]]


@pytest.mark.parametrize("tile", [None, 4])
def test_an_index_out_of_range_is_the_eager_error_and_changes_nothing(tile):
    model, indices = Table(), np.arange(10)[None]
    step = tg.compile(model, LOGITS, sgd(model), tile=tile)
    step(indices, Y[:, :10])
    before = model.state_dict()
    with pytest.raises(IndexError) as right:
        LOGITS(model(indices + 1), Y[:, :10])
    with pytest.raises(IndexError) as got:
        step(indices + 1, Y[:, :10])
    assert str(got.value) == str(right.value)
    assert step.optimizer.steps == 1
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    step(indices, Y[:, :10])
    with pytest.raises(IndexError, match="index 7 is out of bounds for axis 0 with size 3"):
        tg.compile(lambda a: a[7])(X)


@pytest.mark.parametrize("options", [{}, {"gradients": True}, {"tile": 16}])
def test_a_parameter_that_is_detached_beside_itself_keeps_its_gradient(options):
    class Detached(nn.Module):
        def __init__(self):
            self.V, self.W = nn.Parameter(np.ones((1, 3))), nn.Parameter(np.ones((2, 2)))

        def __call__(self, x):
            return self.V @ x

    costs = []
    for compiled in (False, True):
        model = Detached()

        def loss(z, y, model=model):
            return LOGITS(z, y) + 0.1 * np.sum(model.W.data * model.W) + 0.1 * np.sum(model.V.detach() * model.V)

        step = tg.compile(model, loss, sgd(model), **options) if compiled else eager(model, loss, sgd(model))
        costs.append([step(X, Y) for _ in range(4)])
    np.testing.assert_allclose(*costs, rtol=1e-12)


def test_what_the_compiler_does_not_know_is_said_in_a_sentence():
    class Exotic(nn.Module):
        def __init__(self):
            self.inner = nn.Linear(3, 1, rng=0)

        def __call__(self, x):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return self.inner(x) * (1 - (x[:1] == "a"))

    model = Exotic()
    with pytest.raises(
        RecordingError, match=r"(?s)^the step runs eagerly and cannot be compiled: .*\nWrite what it does"
    ):
        tg.compile(model, LOGITS, sgd(model))(X, Y)
    step = tg.compile(model, LOGITS, sgd(model), fallback=True)
    assert step(X, Y) == pytest.approx(LOGITS(Exotic()(X), Y).item(), rel=1e-12)
    with pytest.raises(RecordingError, match=r"(?s)^the function runs eagerly and cannot be compiled: "):
        tg.compile(lambda a: (a == "a") * a)(X)


@pytest.mark.parametrize("result", [3, None, "a", 1.5, np.ones(2)])
def test_an_output_that_does_not_depend_on_the_arguments_is_refused(result):
    with pytest.raises(RecordingError, match="Return arrays that are computed from them, and compute the rest outside"):
        tg.compile(lambda a: (np.tanh(a), result))(X)


def test_the_source_is_the_program_with_the_names_of_the_course():
    *_, fast = pair()
    fast(X, Y)
    for line in ("W1b1.dot(X_with_1, Z1)", "tanh(Z1, A1)", "subtract(parameters, ", "return float("):
        assert line in fast.source
    compile(fast.source, "source", "exec")


def test_what_waits_for_its_division_by_m_is_marked():
    *_, fast = pair()
    fast(X, Y)
    marked = {line.split(")")[0].split(", ")[-1] for line in fast.source.splitlines() if line.endswith(", times m")}
    assert marked == {"dZ2", "dA1", "dZ1", "dW1b1", "dW2b2"}


def test_the_update_is_two_calls_and_nothing_is_summed_by_axis():
    *_, fast = pair()
    fast(X, Y)
    assert "NumPy calls were recorded" in fast.explain()
    lines = fast.source.splitlines()
    assert sum("parameters" in line and "(" in line and line.startswith("    ") for line in lines) == 1
    assert ".sum(" not in fast.source
    assert "add.reduce" not in fast.source


# -- fit --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [None, 16])
def test_fit_compiled_is_fit(batch_size):
    found = []
    for compiled in (False, True):
        model = network()
        seen = []
        history = tg.fit(
            model, X, Y, loss=LOGITS, optimizer=sgd(model), epochs=5, batch_size=batch_size,
            rng=None if batch_size is None else 0, validation=(X, Y), compile=compiled,
            callbacks=[lambda epoch, cost, m, seen=seen: seen.append((cost, m.parameters()[0].grad.copy()))],
        )  # fmt: skip
        found.append((history, seen, model.state_dict()))
    (a, seen, state), (b, again, other) = found
    np.testing.assert_allclose(b.costs, a.costs, rtol=1e-12)
    np.testing.assert_allclose(b.validation_costs, a.validation_costs, rtol=1e-12)
    for (J, dW), (cost, dV) in zip(seen, again, strict=True):
        assert cost == pytest.approx(J, rel=1e-12)
        assert_alike(dW, dV)
    assert all(np.allclose(state[name], other[name], rtol=1e-12) for name in state)


def test_fit_refuses_to_compile_what_cannot_be_recorded():
    model = Branching()
    with pytest.raises(RecordingError, match="a Python decision"):
        tg.fit(model, X, Y, loss=LOGITS, optimizer=sgd(model), epochs=1, compile=True)
    with pytest.raises(TypeError, match="fit: compile must be True or False"):
        tg.fit(model, X, Y, loss=LOGITS, optimizer=sgd(model), epochs=1, compile="yes")
