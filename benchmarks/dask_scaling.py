"""Training in chunks: time of a step by chunks, workers and examples; bytes that it moves; memory of the workers.

The data lie in a folder of NumPy files, one for each chunk, which the tasks read at each step. A network 20-64-1 is
trained, with BLAS on one thread. The tables of docs/data_larger_than_memory.md are made of the medians.
"""

from __future__ import annotations

import os
import pickle
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import cloudpickle
import dask
import dask.array as da
import numpy as np
from distributed import Client, LocalCluster
from threadpoolctl import threadpool_limits

import tinygrad_dls as tg
from benchmarks.ratios import table
from benchmarks.results import ROOT, Results, arguments, load
from tinygrad_dls.training.chunks import running

PAGE = ROOT / "docs/data_larger_than_memory.md"
FEATURES, HIDDEN = 20, 64
LIMIT = 500_000_000  # bytes that a worker may use where memory is measured; a bare one takes some 150 MB


def write(folder: Path, chunks: int, size: int) -> None:
    """Chunks of examples as files."""
    rng = np.random.default_rng(0)
    for i in range(chunks):
        X = rng.standard_normal((FEATURES, size))
        np.save(folder / f"X{i}.npy", X)
        np.save(folder / f"Y{i}.npy", (X[:1] * X[1:2] > 0).astype(float))


def read(folder: Path, chunks: int, size: int) -> tuple[Any, Any]:
    """The arrays of dask that read these files."""

    def lazy(name: str, rows: int) -> Any:
        def block(block_info: Any) -> Any:
            return np.load(folder / f"{name}{block_info[None]['chunk-location'][1]}.npy")

        return da.map_blocks(block, chunks=((rows,), (size,) * chunks), dtype=float, meta=np.zeros((0, 0)))

    return lazy("X", FEATURES), lazy("Y", 1)


def steps(X: Any, Y: Any, epochs: int, client: Any = None, hidden: int = HIDDEN) -> list[float]:
    """Seconds of each step, without the look and the first one."""
    model = tg.nn.TwoLayerNetwork(FEATURES, hidden, rng=0, init=tg.init.xavier)
    times = []
    tg.fit(
        model, X, Y, loss=tg.binary_cross_entropy_with_logits, optimizer=tg.optim.SGD(model.parameters(), lr=0.5),
        epochs=epochs + 1, callbacks=[lambda _: times.append(time.perf_counter())], client=client, progress=False,
    )  # fmt: skip
    return [after - before for before, after in pairwise(times)]


@contextmanager
def workers(n: int, **options: Any) -> Iterator[Client]:
    """A cluster of so many processes with one thread each."""
    with (
        LocalCluster(n_workers=n, threads_per_worker=1, dashboard_address=":0", **options) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def in_files(chunks: int, size: int, measure: Callable[[Any, Any], Any]) -> Any:
    """What is measured of data in files."""
    with tempfile.TemporaryDirectory() as name:
        write(Path(name), chunks, size)
        return measure(*read(Path(name), chunks, size))


def milliseconds(times: list[float]) -> float:
    return round(1000 * median(times), 2)


# -- what is measured -------------------------------------------------------------------------------------------------


def by_chunks(quick: bool, epochs: int) -> Iterator[dict[str, Any]]:
    """The same examples in more and more chunks, on two threads and on two processes."""
    m = 40_000 if quick else 128_000
    with workers(2) as client:
        for chunks in (2, 8) if quick else (1, 2, 4, 8, 16, 32, 64):

            def both(X: Any, Y: Any) -> tuple[float, float]:
                with dask.config.set(num_workers=2, scheduler="threads"):
                    here = milliseconds(steps(X, Y, epochs))
                return here, milliseconds(steps(X, Y, epochs, client))

            threads, processes = in_files(chunks, m // chunks, both)
            yield {"m": m, "chunks": chunks, "workers": 2, "threads": threads, "processes": processes}


def by_workers(quick: bool, epochs: int) -> Iterator[dict[str, Any]]:
    """The same chunks on one and on two workers."""
    size = 5_000 if quick else 20_000
    for n in (1, 2):
        with workers(n) as client:
            times = in_files(8, size, lambda X, Y, client=client: steps(X, Y, epochs, client))
        yield {"m": 8 * size, "chunks": 8, "workers": n, "processes": milliseconds(times)}


def by_examples(quick: bool, epochs: int) -> Iterator[dict[str, Any]]:
    """More and more chunks of one size; and what a step sends and gets back."""
    size = 5_000 if quick else 10_000
    with workers(2) as client:
        for chunks in (2, 4) if quick else (2, 4, 8, 16, 32):
            out, back = in_files(chunks, size, moved)
            times = in_files(chunks, size, lambda X, Y: steps(X, Y, epochs, client))
            yield {
                "m": chunks * size, "chunks": chunks, "workers": 2, "processes": milliseconds(times), "out": out,
                "back": back,
            }  # fmt: skip


def moved(X: Any, Y: Any) -> tuple[int, int]:
    """Bytes of a step's tasks as they are sent, without what the workers have already, and of its result."""
    sizes = []
    run = running.Here.run

    def noted(self: Any, graph: Any, keys: Any) -> Any:
        found = run(self, graph, keys)
        if str(keys[0]).find("sum-") >= 0:
            held = [key for key in graph if isinstance(key, str) and key.startswith(("source-", "model-"))]
            sent = {key: task for key, task in running._sealed(graph).items() if key not in held}
            sizes.append((len(cloudpickle.dumps(sent)), len(pickle.dumps(found, 5))))
        return found

    with patch.object(running.Here, "run", noted), dask.config.set(scheduler="synchronous"):
        steps(X, Y, 1)
    return sizes[-1]


def by_epochs(quick: bool, _: int) -> Iterator[dict[str, Any]]:
    """The seconds of a whole training, of more and more epochs."""
    size = 5_000 if quick else 10_000
    for epochs in (2, 4) if quick else (5, 10, 20, 40, 80):

        def whole(X: Any, Y: Any, epochs: int = epochs) -> float:
            with dask.config.set(num_workers=2, scheduler="threads"):
                return sum(steps(X, Y, epochs))

        yield {"m": 4 * size, "chunks": 4, "epochs": epochs, "seconds": round(in_files(4, size, whole), 3)}


def by_memory(quick: bool, _: int) -> Iterator[dict[str, Any]]:
    """Data of four times what a worker may use: the most that each has used."""
    chunks, size = (8, 20_000) if quick else (100, 125_000)  # of 20 MB
    with workers(2, memory_limit=LIMIT) as client:
        bare = max(client.run(most_memory).values())
        restarts = sum(w.process.pid for w in client.cluster.workers.values())
        times = in_files(chunks, size, lambda X, Y: steps(X, Y, 2, client, hidden=4))
        yield {
            "m": chunks * size, "chunks": chunks, "workers": 2, "limit": LIMIT,
            "data": chunks * size * (FEATURES + 1) * 8, "bare": bare, "most": max(client.run(most_memory).values()),
            "restarted": sum(w.process.pid for w in client.cluster.workers.values()) != restarts,
            "processes": milliseconds(times),
        }  # fmt: skip


def most_memory() -> int:
    """Bytes that a process has held at most, since it runs its own program."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


PARTS = {"chunks": by_chunks, "workers": by_workers, "examples": by_examples, "epochs": by_epochs, "memory": by_memory}

# -- what is shown ----------------------------------------------------------------------------------------------------


def tables(rows: list[dict[str, Any]]) -> dict[str, str]:
    """The tables by name."""
    of = {name: [row for row in rows if row["part"] == name] for name in PARTS}
    return {
        "chunks": table(
            ["examples", "chunks", "2 threads, ms a step", "2 processes, ms a step"],
            [[f"{r['m']:,}", r["chunks"], f"{r['threads']:.1f}", f"{r['processes']:.1f}"] for r in of["chunks"]],
        ),
        "workers": table(
            ["workers", "examples", "chunks", "ms a step"],
            [[r["workers"], f"{r['m']:,}", r["chunks"], f"{r['processes']:.1f}"] for r in of["workers"]],
        ),
        "examples": table(
            ["examples", "chunks", "ms a step", "bytes sent", "bytes got back"],
            [[f"{r['m']:,}", r["chunks"], f"{r['processes']:.1f}", f"{r['out']:,}", f"{r['back']:,}"]
             for r in of["examples"]],
        ),
        "epochs": table(
            ["epochs", "seconds", "ms an epoch"],
            [[r["epochs"], f"{r['seconds']:.2f}", f"{1000 * r['seconds'] / r['epochs']:.1f}"] for r in of["epochs"]],
        ),
        "memory": table(
            ["data", "limit of a worker", "a bare worker", "the most that one held"],
            [[f"{r[k] / 1e6:,.0f} MB" for k in ("data", "limit", "bare", "most")] for r in of["memory"]],
        ),
    }  # fmt: skip


def written(page: str) -> str:
    """The page with its tables made from what has been measured."""
    kept = load("dask_scaling")
    facts = kept["machine"]
    shown = tables(kept["rows"])
    shown["dask machine"] = (
        f"On {facts['cores']} cores of {facts['processor']}, that other processes were using, with Python "
        f"{facts['python']} and NumPy {facts['numpy']}."
    )
    for name, text in shown.items():
        place = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        page = place.sub(lambda found, text=text: f"{found[1]}\n{text}\n\n{found[2]}", page)
    return page


def main() -> None:
    """Measure, and write the tables."""
    asked = arguments(__doc__, only={"choices": PARTS, "help": "measure this part alone, and keep the others"})
    quick = asked.quick
    results = Results("dask_scaling", quick=quick, fresh=asked.only is None)
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    with threadpool_limits(1):
        for part, measure in PARTS.items() if asked.only is None else [(asked.only, PARTS[asked.only])]:
            for row in measure(quick, 3 if quick else 8):
                results.add(
                    ("part", "m", "chunks", "workers", "epochs"), {"workers": 0, "epochs": 0, "part": part} | row
                )
                print(part, row, flush=True)
    if not quick:
        PAGE.write_text(written(PAGE.read_text()))


if __name__ == "__main__":
    main()
