"""Training in chunks while workers are killed at random: fifty runs, each to the last bit what it is without deaths."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import dask.array as da
import numpy as np
from distributed import Client, LocalCluster

import tinygrad_dls as tg

RUNS, EPOCHS, CHUNKS = 50, 30, 7


def trained(client: Any = None, begun: Any = None) -> list[Any]:
    """The parameters and the costs of a training."""
    X, Y = (da.from_array(x, chunks=(-1, -(-x.shape[1] // CHUNKS))) for x in tg.datasets.planar_flower())
    model = tg.nn.TwoLayerNetwork(2, 4, rng=0, init=tg.init.xavier)
    history = tg.fit(
        model, X, Y, loss=tg.binary_cross_entropy_with_logits, optimizer=tg.optim.SGD(model.parameters(), lr=0.5),
        epochs=EPOCHS, client=client, callbacks=[lambda _: begun.set()] if begun else [], progress=False,
    )  # fmt: skip
    return [np.array(history.costs), *[p.data for p in model.parameters()]]


def kill(cluster: Any, begun: threading.Event, over: threading.Event, rng: random.Random) -> list[float]:
    """Kill a worker, and another one after a while, until the training is over; when that was."""
    deaths: list[float] = []
    begun.wait()
    while True:
        # one that dies before it has said that it is there is given up by its nanny
        there = [
            nanny.process for nanny in cluster.workers.values() if nanny.worker_address in cluster.scheduler.workers
        ]
        if there and (process := rng.choice(there)) is not None and process.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
                deaths.append(time.perf_counter())
        if over.wait(rng.uniform(0.2, 3)):
            return deaths
        cluster.scale(2)  # a nanny may have given up one that died while it began


def main(runs: int) -> None:
    """Train so many times, and compare."""
    expected, rng, total, lost = trained(), random.Random(0), 0, 0
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs=logging.CRITICAL
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
        ThreadPoolExecutor(1) as beside,
    ):
        for run in range(runs):
            begun, over = threading.Event(), threading.Event()
            killer = beside.submit(kill, cluster, begun, over, rng)
            try:
                found = trained(client, begun)
                same = all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
            except RuntimeError as error:
                same = False
                print(error)
            finally:
                begun.set()
                over.set()
            deaths = killer.result()
            total, lost = total + len(deaths), lost + (not same)
            print(f"run {run + 1}: {len(deaths)} killed, {'the same' if same else 'ANOTHER RESULT'}", flush=True)
    print(f"{runs} runs, {total} workers killed, {lost} lost")
    sys.exit(lost > 0)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else RUNS)
