"""Threads: eight trainings at once give, bit for bit, what each gives alone; one at a time has a model."""

import gc
import sys
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from unittest import mock

import numpy as np
import pytest

import tinygrad_dls as tg
import tinygrad_dls.nn.evaluation as nn_evaluation
from tinygrad_dls.engine import tensor
from tinygrad_dls.engine.errors import RecordedElsewhereError
from tinygrad_dls.ir.tracer import Tracer
from tinygrad_dls.threads import Training

N = 8
LOGITS = tg.binary_cross_entropy_with_logits


def training(k):
    """One of eight trainings, of another model, loss, dtype and optimizer each; returns all that it computed."""
    rng = np.random.default_rng(k)
    dtype = [np.float64, np.float32][k % 2]
    activation = [tg.nn.Tanh(), tg.nn.Sigmoid(), tg.nn.ReLU(), np.sin][k % 4]
    n_y = 3 if k % 3 == 0 else 1
    X = rng.normal(size=(4 + k, 50)).astype(dtype)
    Y = rng.integers(0, max(2, n_y), size=(1, 50))
    model = tg.nn.TwoLayerNetwork(4 + k, 5, n_y, activation, rng=k, dtype=dtype)
    loss = tg.binary_cross_entropy_with_logits if n_y == 1 else tg.softmax_cross_entropy
    optimizer = (
        tg.optim.Adam(model.parameters(), lr=0.01)
        if k % 2
        else tg.optim.SGD(model.parameters(), lr=tg.optim.cosine_decay(0.1, steps=60), momentum=0.9)
    )
    history = tg.fit(model, X, Y, loss=loss, optimizer=optimizer, epochs=20, batch_size=16, rng=k, validation=(X, Y))
    with tg.no_grad():
        predicted = model(X)
    with tg.detect_anomaly():
        gradients = tg.grad(lambda model: loss(model(X), Y))(model)
    product = tg.hvp(lambda model: loss(model(X), Y))(model, gradients)
    arrays = [*history.costs, *history.validation_costs, predicted.data, *gradients.values(), *product.values()]
    return [np.asarray(x) for x in (*arrays, *model.state_dict().values())]


@pytest.fixture(autouse=True)
def switching_often():
    """Let threads take turns every 10 microseconds, in the middle of everything."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(usual)


@pytest.fixture(scope="module")
def alone():
    return [training(k) for k in range(N)]


def test_eight_trainings_at_once_equal_each_alone(alone):
    together, failures = [None] * N, []
    start = threading.Barrier(N)

    def run(k):
        try:
            start.wait()
            together[k] = training(k)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(k,)) for k in range(N)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    for one, other in zip(alone, together, strict=True):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)


def test_the_trainings_differ_from_each_other(alone):
    """Else the test above would compare too little."""
    costs = {float(results[0]) for results in alone}
    assert len(costs) == N


def test_eight_backward_passes_through_one_shared_model_without_its_gradients():
    """Transforms work on a copy of the model, so threads may share it."""
    rng = np.random.default_rng(0)
    model = tg.nn.TwoLayerNetwork(3, 4, rng=0)
    batches = [(rng.normal(size=(3, 40)), rng.integers(0, 2, size=(1, 40))) for _ in range(N)]

    def gradients(k):
        X, Y = batches[k]
        return tg.grad(lambda model: tg.binary_cross_entropy_with_logits(model(X), Y))(model)

    expected, got = [gradients(k) for k in range(N)], [[] for _ in range(N)]
    threads = [threading.Thread(target=lambda k=k: got[k].extend(gradients(k) for _ in range(30))) for k in range(N)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for k in range(N):
        assert len(got[k]) == 30
        for g in got[k]:
            for name in expected[k]:
                np.testing.assert_array_equal(g[name], expected[k][name])


# -- one model --------------------------------------------------------------------------------------------------------


class Alone:
    """A learning rate that is asked within each step, and counts who is within one."""

    def __init__(self):
        self.within, self.most = 0, 0

    def __call__(self, step):
        self.within += 1
        self.most = max(self.most, self.within)
        for _ in range(20):  # others may come
            time.sleep(1e-5)
        self.within -= 1
        return 0.1


@pytest.mark.parametrize("shared", [True, False])
def test_however_threads_meet_at_a_model_one_of_them_is_within_a_compiled_step(shared):
    """Others are refused; each thread gets its turn."""
    model, rate = tg.nn.TwoLayerNetwork(2, 3, rng=0), Alone()
    X, Y = tg.datasets.planar_flower(20)
    steps = [
        tg.compile(model, tg.binary_cross_entropy_with_logits, tg.optim.SGD(model.parameters(), lr=rate))
        for _ in range(1 if shared else 3)
    ] * (3 if shared else 1)
    for step in steps:
        step(X, Y)
    taken, refused, start = [0] * 3, [], threading.Barrier(3)

    def run(k):
        start.wait()
        while taken[k] < 15:
            try:
                steps[k](X, Y)
                taken[k] += 1
            except RuntimeError as error:
                refused.append(str(error))

    threads = [threading.Thread(target=run, args=(k,)) for k in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert rate.most == 1
    assert taken == [15] * 3
    assert all("another thread is training this model" in text for text in refused)
    assert refused  # they did meet
    steps[0](X, Y)  # nobody is left in the way


class MetByAStep(Training):
    """A training that goes on just when another thread, which has taken its cell, looks whether it is at work."""

    goes_on, has_looked, meets = threading.Event(), threading.Event(), False

    @property
    def busy(self):
        if self.meets and self.cells[0].training is not self:  # its name was written over
            self.meets = False
            self.goes_on.set()
            self.has_looked.wait(60)
        return self.is_busy

    @busy.setter
    def busy(self, busy):
        self.is_busy = busy


def test_a_step_that_begins_between_the_taking_of_its_cell_and_the_look_goes_on_and_the_other_is_refused():
    parameters = tg.nn.TwoLayerNetwork(2, 3, rng=0).parameters()
    holder, other = MetByAStep(parameters, "a compiled step"), Training(parameters, "fit")
    (cell,) = holder.cells
    has_stepped, may_end, found = threading.Event(), threading.Event(), []

    def own_thread():
        holder.begin()
        holder.busy = False  # the end of its first step
        has_stepped.set()
        holder.goes_on.wait(60)
        holder.busy = True  # the next one
        found.append(cell.training)
        holder.has_looked.set()
        holder.begin()  # waits until the other has put it back
        may_end.wait(60)
        holder.busy = False

    thread = threading.Thread(target=own_thread)
    thread.start()
    has_stepped.wait(60)
    holder.meets = True
    with pytest.raises(RuntimeError, match="fit: another thread is training this model"):
        other.begin()
    may_end.set()
    thread.join()
    assert found == [other]
    assert cell.training is holder
    other.begin()  # now that nobody is at work
    other.end()
    assert cell.training is None


def test_parameters_that_were_trained_are_not_kept_alive():
    X, Y = tg.datasets.planar_flower(20)

    def train(way):
        model = tg.nn.TwoLayerNetwork(2, 3, rng=0)
        optimizer = tg.optim.SGD(model.parameters(), lr=0.1)
        way(model, tg.binary_cross_entropy_with_logits, optimizer)
        return [weakref.ref(p) for p in model.parameters()]

    def compiled(model, loss, optimizer):
        step = tg.compile(model, loss, optimizer)
        step(X, Y), step(X, Y)

    def fitted(model, loss, optimizer):
        tg.fit(model, X, Y, loss=loss, optimizer=optimizer, epochs=2)

    for way in (lambda *args: tg.optim.eager_step(*args, X, Y), compiled, fitted):
        parameters = train(way)
        gc.collect()
        assert [p() for p in parameters] == [None] * 4


# -- while another thread records -------------------------------------------------------------------------------------


class Paused(tg.nn.Module):
    """A model whose recording waits, with tracers in its parameters, until it is told to go on."""

    def __init__(self):
        self.hidden, self.last = tg.nn.Linear(2, 3, rng=0), tg.nn.Linear(3, 1, rng=1)
        self.recorded, self.goes_on = threading.Event(), threading.Event()

    def __call__(self, X):
        A = np.tanh(self.hidden(X))
        if isinstance(tensor.values(A), Tracer):
            self.recorded.set()
            assert self.goes_on.wait(60)
        return self.last(A)


@pytest.fixture
def being_recorded():
    """A classifier that another thread records, paused; and the thread."""
    model = Paused()
    classifier = tg.nn.Classifier(model)
    X, Y = tg.datasets.planar_flower(40)
    step = tg.compile(classifier, LOGITS, tg.optim.SGD(model.parameters(), lr=0.0))
    thread = threading.Thread(target=step, args=(X, Y))
    thread.start()
    assert model.recorded.wait(60)
    yield classifier, thread
    model.goes_on.set()
    thread.join()


@pytest.mark.parametrize("m", [1, 40])  # an array of few entries could be a constant of a program
def test_predictions_wait_for_the_end_of_another_threads_recording(being_recorded, m):
    classifier, thread = being_recorded
    model, X = classifier.layers[0], tg.datasets.planar_flower(40)[0][:, :m]
    found, tried = [], threading.Event()
    waiting = RecordedElsewhereError.__init__

    def noted(self, recorded):
        tried.set()
        waiting(self, recorded)

    with mock.patch.object(RecordedElsewhereError, "__init__", noted):
        other = threading.Thread(target=lambda: found.append(classifier.predict_proba(X)))
        other.start()
        assert tried.wait(60)
    assert not found
    model.goes_on.set()
    other.join()
    thread.join()
    np.testing.assert_array_equal(found[0], classifier.predict_proba(X))


def test_predictions_do_not_wait_for_ever(being_recorded):
    X = np.ones((2, 5))
    with mock.patch.object(nn_evaluation, "PATIENCE", 0.01), pytest.raises(RecordedElsewhereError, match=ELSEWHERE):
        being_recorded[0].predict(X)


ELSEWHERE = "^another thread records a program of this model, as the first call of a compiled step"


@pytest.mark.parametrize(
    "use",
    [
        lambda model: model(np.ones((2, 100))),
        lambda model: np.asarray(model.layers[0].hidden(np.ones((2, 1))).data),
        lambda model: float(model.layers[0].hidden.W.data[0, 0]),
        lambda model: model.layers[0].hidden.W.data.tobytes(),
    ],
)
def test_who_uses_a_model_that_another_thread_records_is_told_so(being_recorded, use):
    with pytest.raises(RecordedElsewhereError, match=ELSEWHERE):
        use(being_recorded[0])


def test_a_model_whose_layers_threads_of_its_own_compute_is_recorded():
    class Threaded(tg.nn.Module):
        def __init__(self):
            self.layers = [tg.nn.Linear(2, 1, rng=k) for k in range(2)]

        def __call__(self, X):
            with ThreadPoolExecutor() as pool:
                return sum(pool.map(lambda layer: layer(X), self.layers))

    X, Y = tg.datasets.planar_flower(40)
    model, other = Threaded(), Threaded()
    step = tg.compile(model, LOGITS, tg.optim.SGD(model.parameters(), lr=0.1), constants=[ThreadPoolExecutor])
    expected = tg.optim.eager_step(other, LOGITS, tg.optim.SGD(other.parameters(), lr=0.1), X, Y)
    assert step(X, Y) == pytest.approx(expected, rel=1e-12)
