"""On processes: the same numbers, whatever dies; and what is said when there is nobody left to ask."""

import gc
import os
import signal
import threading
import time

import dask
import dask.array as da
import numpy as np
import pytest

import tinygrad_dls as tg
from tests.training.chunks.chunked import assert_same, fit, in_chunks, two_layers
from tests.training.chunks.clusters import cluster, dies_once, pids
from tinygrad_dls import nn
from tinygrad_dls.training.chunks import fitting, running


@pytest.fixture(scope="module")
def client():
    with cluster() as client:
        yield client


@pytest.fixture(scope="module")
def data():
    return tg.datasets.planar_flower()


def counted(client):
    """The tasks that the scheduler knows, and the promises that the client holds."""
    return client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)), len(client.futures)


def settled(client, wanted):
    """Wait until the scheduler has forgotten what was let go of."""
    for _ in range(200):
        if counted(client) == wanted:
            break
        time.sleep(0.05)
    return counted(client)


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_processes_train_to_the_last_bit_as_threads_do(client, data, compiled):
    here, there = two_layers(), two_layers()
    held = tuple(in_chunks(*data, chunks=2))
    options = {"validation": held, "metrics": ["f1"], "compile": compiled}
    expected = fit(here, *in_chunks(*data, chunks=3), **options)
    history = fit(there, *in_chunks(*data, chunks=3), client=client, **options)
    assert history.columns == expected.columns
    assert_same(there, here, rtol=0)


def test_persisted_arrays_are_taken_from_where_they_lie(client, data):
    here, there = two_layers(), two_layers()
    fit(here, *in_chunks(*data, chunks=3))
    X, Y = (client.persist(x) for x in in_chunks(*data, chunks=3))
    fit(there, X * 1, Y, client=client)
    assert_same(there, here, rtol=0)


def test_persisted_arrays_are_not_read_without_their_client(client, data):
    X, Y = in_chunks(*data, chunks=3)
    for arrays, name in (((client.persist(X), Y), "X"), ((X, client.persist(Y)), "Y")):
        with pytest.raises(TypeError, match=f"fit: {name} lies with the workers of a client, .* Pass client="):
            fit(two_layers(), *arrays)


def test_a_memory_mapped_file_is_warned_of_as_it_is_sent_with_each_chunk(client, data, tmp_path, recwarn):
    np.save(tmp_path / "X.npy", np.tile(data[0], 100))
    mapped = da.from_array(np.load(tmp_path / "X.npy", mmap_mode="r"), chunks=(-1, 10_000))
    Y = np.tile(data[1], 100)
    fit(two_layers(), mapped, Y, epochs=1)  # on threads, nothing is sent
    assert not [w for w in recwarn if "memory-mapped" in str(w.message)]
    with pytest.warns(UserWarning, match="fit: X is of a memory-mapped file, .* with each chunk, 3 MB. Let the"):
        fit(two_layers(), mapped, Y, epochs=1, client=client)


def test_nothing_is_left_and_nothing_grows(client, data):
    before = settled(client, (0, 0))
    seen = []

    def note(now):
        seen.append(counted(client)[1])

    fit(two_layers(), *in_chunks(*data, chunks=3), epochs=8, client=client, callbacks=[note])
    # where the chunks come from, the model, and maybe the last step, which is let go of in the background
    assert max(seen) <= before[1] + 3 + 1 + 1
    assert settled(client, before) == before


# -- who dies ---------------------------------------------------------------------------------------------------------


def reading(die, X):
    return X.map_blocks(lambda x: (die(), x)[1], meta=np.zeros((0, 0)))


def dying(die, where):
    """A layer that passes everything on, and calls `die` in the forward or the backward pass."""

    @tg.op()
    def passing(a):
        if where == "forward":
            die()
        return a, (lambda da: (die() if where == "backward" else None, da)[1],)

    class Layer(nn.Module):
        def __call__(self, a):
            return passing(a)

    return Layer()


def network(*layers):
    return nn.Classifier(nn.Linear(2, 4, rng=3), nn.Tanh(), *layers, nn.Linear(4, 1, rng=4))


@pytest.mark.parametrize("phase", ["look", "read", "forward", "backward", "sum", "between steps", "validation"])
def test_a_worker_that_is_killed_changes_nothing(client, data, tmp_path, phase, monkeypatch):
    start = threading.Event()
    trigger = tmp_path / "now"  # not before the second epoch, but for the look
    once = dies_once(str(tmp_path / "dead"))

    def die(path=str(trigger)):
        if os.path.exists(path):
            once()

    if phase == "look":
        trigger.touch()
    X, Y = in_chunks(*data, chunks=3)
    layers = [dying(die, phase)] if phase in ("forward", "backward") else []
    if phase == "sum":
        total = fitting.total
        monkeypatch.setattr(fitting, "total", lambda parts: (die(), total(parts))[1])

    def arm(now):
        if now.epoch == 1:
            trigger.touch()
            start.set()
            if phase == "between steps":
                os.kill(pids(client)[0], signal.SIGKILL)

    held = (reading(die, X), Y) if phase == "validation" else data
    expected, model = network(), network(*layers)
    history = fit(expected, *data, validation=data)
    found = fit(model, reading(die, X) if phase in ("look", "read") else X, Y, client=client, validation=held,
                callbacks=[arm])  # fmt: skip
    assert phase == "between steps" or (tmp_path / "dead").exists()
    np.testing.assert_allclose(found.costs, history.costs, rtol=1e-12)
    np.testing.assert_allclose(found.validation_costs, history.validation_costs, rtol=1e-12)
    assert_same(model, expected)


def test_a_task_that_always_kills_its_worker_ends_with_the_last_whole_step(data, tmp_path):
    trigger = tmp_path / "now"

    def die(path=str(trigger)):
        if os.path.exists(path):
            os.kill(os.getpid(), signal.SIGKILL)

    model, expected = network(dying(die, "forward")), network()
    fit(expected, *in_chunks(*data, chunks=3), epochs=2)
    with cluster(config={"distributed.scheduler.allowed-failures": 0}) as client:
        text = r"failed for good, after 2 whole steps: the same task was there when several workers died"
        with pytest.raises(RuntimeError, match=text) as error:
            fit(model, *in_chunks(*data, chunks=3), client=client,
                callbacks=[lambda now: trigger.touch() if now.epoch == 1 else None])  # fmt: skip
    assert len(error.value.history) == 2
    assert_same(model, expected, rtol=0)


def test_a_scheduler_that_is_gone_is_said_to_be(data):
    model, expected = two_layers(), two_layers()
    fit(expected, *in_chunks(*data, chunks=3), epochs=2)
    gone = pytest.raises(RuntimeError, match="after 2 whole steps: the scheduler is gone, or the client was closed")
    with cluster(1, processes=False) as client, gone as error:
        fit(model, *in_chunks(*data, chunks=3), client=client,
            callbacks=[lambda now: client.cluster.close() if now.epoch == 1 else None])  # fmt: skip
    assert len(error.value.history) == 2
    assert_same(model, expected, rtol=0)


@pytest.fixture
def without_garbage_collection():
    """Python drops a Ctrl-C that meets a callback of its garbage collector, such as hypothesis and JAX have there."""
    gc.disable()
    yield
    gc.enable()


def test_ctrl_c_ends_with_the_last_whole_step_and_calls_the_tasks_off(client, data, without_garbage_collection):
    before = settled(client, (0, 0))
    model, expected = two_layers(), two_layers()

    def interrupt(now):
        if now.epoch == 1:
            threading.Timer(0.02, signal.raise_signal, [signal.SIGINT]).start()

    history = fit(model, *in_chunks(*data, chunks=3), client=client, epochs=1_000, callbacks=[interrupt])
    fit(expected, *in_chunks(*data, chunks=3), epochs=len(history))
    assert history.interrupted
    assert len(history) >= 2
    assert_same(model, expected, rtol=0)
    assert settled(client, before) == before


def test_a_worker_without_the_package_is_told_what_to_install(data):
    model = two_layers()
    with cluster(1, preload="import sys; sys.modules['tinygrad_dls'] = None") as client:
        text = r"a worker lacks tinygrad_dls. Install it there, in the version that is here: pip install"
        with pytest.raises(RuntimeError, match=text):
            fit(model, *in_chunks(*data, chunks=3), client=client)
    assert_same(model, two_layers(), rtol=0)


def test_a_cluster_without_workers_is_waited_for_with_a_word(data, monkeypatch):
    monkeypatch.setattr(running, "PATIENCE", 0.2)
    model, expected = two_layers(), two_layers()
    fit(expected, *in_chunks(*data, chunks=3))
    with cluster(0, processes=False) as client:
        later = threading.Timer(1.0, client.cluster.scale, [1])
        later.start()
        with pytest.warns(RuntimeWarning, match="the cluster has no workers, and the next step waits for one"):
            fit(model, *in_chunks(*data, chunks=3), client=client)
        later.join()
    assert_same(model, expected, rtol=0)


def test_a_default_client_runs_the_tasks_as_dask_has_it(data):
    held = []
    with cluster(1, processes=False) as client, client.as_current():
        fit(
            two_layers(), *in_chunks(*data, chunks=3), epochs=1, callbacks=[lambda now: held.append(counted(client)[1])]
        )
    assert held[0] >= 3 + 1


def test_a_client_is_nobody_elses_meanwhile_or_later(client, data):
    seen = []

    def look():
        while not stop.is_set():
            seen.append(dask.config.get("scheduler", None))
            time.sleep(0.001)

    stop = threading.Event()
    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        fit(two_layers(), *in_chunks(*data, chunks=3), client=client)
    finally:
        stop.set()
        watcher.join()
    assert set(seen) == {None}  # dask's settings are the process's: other threads would compute elsewhere


def test_a_client_that_is_awaited_is_refused(client, data, monkeypatch):
    monkeypatch.setattr(type(client), "asynchronous", True)
    with pytest.raises(TypeError, match="the client is asynchronous, and fit waits for each step"):
        fit(two_layers(), *in_chunks(*data, chunks=3), client=client)
