"""Threads that share the loops of C: the same bits whoever does what, the eager numbers, and nobody left behind."""

import re
import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_dls as tg
from tests.compiler.lines import optimizers, programs
from tests.compiler.steps import (
    DTYPES,
    LAYOUTS,
    LOGITS,
    MANY,
    OPTIMIZERS,
    Layers,
    X,
    Y,
    assert_alike,
    assert_same_training,
    network,
    sgd,
)
from tests.compiler.yardstick import Twin, Yardstick, compiled
from tests.support.interrupting import interrupted_at
from tinygrad_dls.compiler import running, threads
from tinygrad_dls.compiler.native import fusing
from tinygrad_dls.compiler.native.loops import Loop

ALL = (1, 2, 3, 8)


@pytest.fixture(autouse=True, scope="module")
def every_loop_is_shared():
    """Every loop is long enough."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fusing, "SHARED", 1)
        patch.setattr(fusing, "SUM", 0)
        yield


def data_of(sizes, m, dtype):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(sizes[0], m)).astype(dtype)
    return x, (rng.random((1, m)) < 0.5).astype(dtype) if sizes[-1] == 1 else rng.integers(0, sizes[-1], (1, m))


def loss_of(sizes):
    return LOGITS if sizes[-1] == 1 else tg.softmax_cross_entropy


# of small products and large ones, with a call of BLAS between two loops, and with labels that are converted
MODELS = {
    "small products": ((3, 4, 1), 1003),
    "large products": ((20, 30, 1), 1003),
    "labels of integers": ((3, 17, 5), 1000),
    "BLAS between": ((3, 9, 70, 80, 4), 203),
    "fewer tiles than lanes": ((3, 4, 1), 9),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", MODELS)
def test_the_bits_do_not_depend_on_the_number_of_threads(name, dtype):
    sizes, m = MODELS[name]
    x, y = data_of(sizes, m, dtype)
    found = []
    for workers in ALL:
        model = Layers(sizes, np.tanh, dtype)
        step = tg.compile(model, loss_of(sizes), sgd(model, lr=0.1, momentum=0.9), backend="native", threads=workers)
        costs = [step(x, y) for _ in range(5)]
        assert re.search(rf"{workers} threads? (does|share) the 8 lanes of \d loop", step.explain())
        found.append((costs, [p.data.tobytes() for p in model.parameters()]))
    assert found[1:] == found[:1] * 3


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", MODELS)
def test_threads_train_as_the_eager_step_does(name, dtype):
    sizes, m = MODELS[name]
    make = lambda: Layers(sizes, np.tanh, dtype)  # noqa: E731  # used once, in the next line
    options = {"backend": "native", "threads": 2}
    assert_same_training(make, loss_of(sizes), lambda p: sgd(p, lr=0.1), [data_of(sizes, m, dtype)] * 3, **options)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_trains_with_threads(optimizer):
    assert_same_training(network, LOGITS, OPTIMIZERS[optimizer], [(X, Y)] * 5, backend="native", threads=3)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_data_that_have_to_be_copied_are_copied_before_the_threads_read_them(layout):
    x, y = MANY[:, :3000].copy(), (MANY[:1, :3000] > 0).astype(np.int16)
    data = [(LAYOUTS[layout](x), LAYOUTS[layout](y)), (x, y)] * 2
    step = assert_same_training(network, LOGITS, sgd, data, backend="native", threads=3)
    assert len(re.findall(r"= plain\(.*, begin < 0\);", step.source)) >= 2, "and once, not for each lane"


@settings(max_examples=8)
@given(programs(), optimizers(), st.sampled_from(DTYPES), st.integers(1, 1500), st.booleans(), st.integers(0, 9))
def test_a_step_of_a_random_model_is_as_exact_as_the_eager_one(program, optimizer, dtype, m, gradients, seed):
    yardstick = Yardstick(program, optimizer, dtype)
    fast = Twin(program, optimizer, dtype, compiled(backend="native", threads=2, gradients=gradients))
    for i in range(2):
        data = program.data(m, seed + i)
        if not yardstick.step(*data):
            return
        yardstick.assert_as_exact(fast(*data), gradients=gradients, tiles=8)


FUNCTIONS = {
    "entries": lambda x: np.tanh(x) * 2,
    "sums": lambda x: (np.sum(np.exp(-x * x)), np.sum(np.tanh(x), axis=1), np.sum(x * x, axis=0)),
    "one after another": lambda x: np.exp(x - np.max(x, axis=0)) / np.sum(np.exp(x - np.max(x, axis=0)), axis=0),
    "a sum within": lambda x: np.tanh(x - np.sum(x, axis=1, keepdims=True) / 1003),
    "turned": lambda x: np.tanh(x.T) @ x,
    "truths": lambda x: np.where(np.tanh(x) > 0.5, x, -x),
    "NumPy between": lambda x: np.tanh(np.cumsum(np.tanh(x), axis=1)),
    "a column": lambda x: np.tanh(x[:1].T) * 2,
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_gives_the_same_bits_with_any_number_of_threads(name, dtype):
    f, x = FUNCTIONS[name], MANY[:, :1003].astype(dtype)
    found = []
    for workers in ALL:
        fast = tg.compile(f, backend="native", threads=workers)
        results = fast(x)
        results = results if isinstance(results, tuple) else (results,)
        assert "lanes" in fast.explain()
        found.append([y.tobytes() for y in results])
    assert found[1:] == found[:1] * 3
    plain = f(x)
    for y, z in zip(results, plain if isinstance(plain, tuple) else (plain,), strict=True):
        assert np.shape(y) == np.shape(z)
        assert_alike(z, y)


def test_two_functions_in_two_threads_do_not_touch_each_other():
    f = [tg.compile(lambda x, k=k: np.sum(np.tanh(k * x)), backend="native", threads=3) for k in (1, 2)]
    alone = [g(MANY) for g in f]
    found = [[], []]
    workers = [threading.Thread(target=lambda i=i: found[i].extend(f[i](MANY) for _ in range(200))) for i in (0, 1)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert found == [[alone[0]] * 200, [alone[1]] * 200]


# -- how many ---------------------------------------------------------------------------------------------------------


def test_all_processors_are_taken_where_there_is_enough_to_do(monkeypatch):
    monkeypatch.setattr(running, "cores", lambda: 3)
    monkeypatch.setattr(threads, "_controller", None)  # BLAS has nothing to do with it
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    model = network()
    step = tg.compile(model, LOGITS, sgd(model), backend="native")
    step(X, Y)
    assert "3 threads share the 8 lanes of 2 loops." in step.explain()


def test_a_short_loop_is_what_it_was_whatever_threads_are_asked_for(monkeypatch):
    monkeypatch.setattr(fusing, "SHARED", 40_000_000)
    sources = []
    for workers in (None, 8):
        model = network()
        step = tg.compile(model, LOGITS, sgd(model), backend="native", threads=workers)
        step(MANY, (MANY[:1] > 0).astype(float))
        assert "lane" not in step.source
        sources.append(step.source)
    assert sources[0] == sources[1]


def test_what_is_shared_depends_on_how_much_there_is_to_do(monkeypatch):
    monkeypatch.setattr(fusing, "SHARED", 40_000_000)
    said = []
    for m in (10_000, 100_000):
        model = network()
        step = tg.compile(model, LOGITS, sgd(model), backend="native", threads=2)
        step(*data_of((3, 4, 1), m, float))
        said.append([line for line in step.explain().splitlines() if "thread" in line])
    assert said == [
        ["1 thread does it all: no loop has enough to do for more."],
        ["2 threads share the 8 lanes of 1 loop."],
    ]


# -- what goes wrong --------------------------------------------------------------------------------------------------


LARGE = data_of((3, 4, 1), 70_000, float)  # more than an eager step is taken of


@pytest.mark.parametrize(
    ("data", "threads"), [((MANY[:, :2000], np.ones((1, 2000))), 2), (LARGE, None)], ids=["few", "many"]
)
def test_a_lane_that_is_not_added_is_noticed(data, threads, monkeypatch):
    lines = Loop.all_lanes
    monkeypatch.setattr(Loop, "all_lanes", lambda loop: [x.replace("lane = 1; ", "lane = 2; ") for x in lines(loop)])
    model = network()
    before = model.state_dict()
    with pytest.raises(
        RuntimeError, match=r"the compiled step gave .* for the cost: the same is recorded now as before"
    ):
        tg.compile(model, LOGITS, sgd(model), backend="native", threads=threads)(*data)
    assert all((p.data == before[p.name]).all() for p in model.parameters())


@pytest.mark.parametrize("optimizer", ["plain", "adam"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_c_of_many_examples_is_compared_with_numpys_calls_in_tiles(optimizer, dtype):
    data = [tuple(x.astype(dtype) for x in LARGE)] * 5
    step = assert_same_training(lambda: network(dtype), LOGITS, OPTIMIZERS[optimizer], data, backend="native")
    (other,) = step._now.in_tiles.values()
    assert other.plan.native is None
    assert other.bytes < LARGE[0].nbytes, "they need no memory for all examples"
    assert not step._now.turns.known, "nothing was looked into"


def test_ctrl_c_anywhere_leaves_a_whole_step_or_none_and_no_thread_at_work():
    x, y = data_of((3, 4, 1), 1003, float)
    model, twin = network(), network()
    step = tg.compile(model, LOGITS, sgd(model), backend="native", threads=2)
    steady = tg.compile(twin, LOGITS, sgd(twin), backend="native", threads=1)
    step(x, y), steady(x, y)
    k, where, taken = 0, True, 0
    while where:
        before = step.optimizer.steps
        where = interrupted_at(k, ("compiler/threads.py", "compiler/native/program.py"), lambda: step(x, y))
        if step.optimizer.steps > before:
            steady(x, y)
            taken += 1
        assert [p.data.tobytes() for p in model.parameters()] == [p.data.tobytes() for p in twin.parameters()], where
        k += 1
    assert k > 10
    assert taken >= 1
    assert step(x, y) == steady(x, y)


FORKED = """
import os
import numpy as np, tinygrad_dls as tg
from tinygrad_dls.compiler.native import fusing

fusing.SHARED, fusing.SUM = 1, 0
f = tg.compile(lambda x: np.sum(np.tanh(x)), backend="native", threads=2)
x = np.linspace(-1, 2, 3000).reshape(3, 1000)
whole = f(x)
child = os.fork()
if child == 0:
    os.write(1, f"{f(x) == whole} ".encode())
    os._exit(0)
os.waitpid(child, 0)
print(f(x) == whole)
"""


def test_a_process_that_is_forked_has_threads_of_its_own():
    got = subprocess.run([sys.executable, "-W", "ignore", "-c", FORKED], capture_output=True, text=True, timeout=120)
    assert got.stdout.split() == ["True", "True"], got.stderr
