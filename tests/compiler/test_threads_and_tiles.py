"""Threads and tiles change no result, and nobody finds a half-taken step."""

import re
import subprocess
import sys
import threading
import tracemalloc

import numpy as np
import pytest

import tinygrad_dls as tg
from tests.compiler.steps import LOGITS, X, Y, assert_equal_models, eager, network, sgd
from tests.support.interrupting import interrupted_at
from tinygrad_dls.compiler import threads
from tinygrad_dls.compiler.running import Runner


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
from tinygrad_dls.compiler.running import Runner

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


@pytest.mark.parametrize("backend", ["numpy", "native"])
@pytest.mark.parametrize("options", [{}, {"tile": 300, "threads": 2}, {"threads": 2}])
def test_the_bytes_that_are_told_are_those_that_are_held(backend, options):
    x, y = np.random.default_rng(1).normal(size=(3, 40_000)), np.ones((1, 40_000))
    model = network()
    step = tg.compile(model, LOGITS, sgd(model), backend=backend, **options)
    step(x, y)
    runner = step._now.runner
    tracemalloc.start()
    try:
        twin = Runner(runner.plan, runner.asked)
        twin.bind(step._now.store)
        held = tracemalloc.take_snapshot().filter_traces([tracemalloc.DomainFilter(True, np.lib.tracemalloc_domain)])
    finally:
        tracemalloc.stop()
    arrays = sum(trace.size for trace in held.traces)
    number = len(held.traces)
    assert twin.bytes == runner.bytes
    assert abs(arrays - runner.bytes) <= 128 * number  # arrays begin at multiples of 64, and addresses take 8 bytes
    assert runner.bytes > 1000 * 128  # so that arrays would be missed
