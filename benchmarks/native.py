"""A step in C: as compiled, beside C by hand and beside the plan of NumPy's calls, and JAX where it is installed.

All take turns in one process, on one thread, and processor time counts, so that others on the machine disturb as little
as they can. Measured are the whole step, as a user calls it, and the program alone, without what Python does around it.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import tinygrad_dls as tg
from benchmarks.engine import parameters_of, trained
from benchmarks.problems import Problem
from benchmarks.results import Results, arguments
from benchmarks.turns import PAUSE
from tinygrad_dls.compiler.native.building import library
from tinygrad_dls.compiler.native.vectors import header

COURSE = [((2, 4, 1), 400), ((3, 4, 1), 1000), ((30, 1), 569)]
LARGE = [((2, 4, 1), 100_000), ((32, 64, 1), 100_000)]
SIZES = [((2, 4, 1), m) for m in (10, 100, 1000, 10_000, 1_000_000)]
OTHERS = [
    ((32, 64, 1), 1000),
    ((20, 10, 5), 2000),
    ((12288, 7, 1), 209),
    ((784, 256, 10), 1000),
    ((784, 256, 10), 10_000),
]
SHAPES = [*COURSE, *LARGE, *SIZES, *OTHERS]
BY_HAND = Path(__file__).with_name("by_hand.c")
CHECKED = 3  # steps after which all must have arrived at the same


@dataclass
class Peer:
    """What takes turns: a step, its program alone, and what the parameters are after it."""

    step: Callable[[], float]
    alone: Callable[[], Any]
    parameters: Callable[[], dict[str, np.ndarray]]


def compiled(problem: Problem, backend: str) -> Peer:
    """A compiled step of this package."""
    X, Y = problem.data
    model, loss, optimizer = trained(problem)
    step = tg.compile(model, loss, optimizer, backend=backend, threads=1)

    def alone() -> Any:
        return step._now.runner.run[step._now.store.front](X, Y, problem.learning_rate)

    return Peer(lambda: step(X, Y), alone, lambda: parameters_of(model))


class _Parameters(ctypes.Structure):
    _fields_ = [(name, ctypes.c_void_p) for name in ("W1", "b1", "W2", "b2")]


def by_hand(problem: Problem) -> Peer | None:
    """C by hand, for one output and at most one hidden layer."""
    *hidden, n_y = problem.sizes[1:]
    if n_y != 1 or len(hidden) > 1 or (hidden and hidden[0] % 4):
        return None
    sizes = f"#define NX {problem.sizes[0]}\n#define NH {hidden[0] if hidden else 0}\n#define M {problem.m}\n"
    step = library(f"{header(problem.dtype)}\n{sizes}{BY_HAND.read_text()}").step
    step.argtypes, step.restype = [ctypes.c_void_p] * 3 + [ctypes.c_double], ctypes.c_double
    X, Y = (np.ascontiguousarray(x) for x in problem.data)
    own = {name: x.copy() for name, x in problem.parameters.items()}
    named = own if hidden else {"W2": own["W1"], "b2": own["b1"]}
    table = _Parameters(**{name: x.ctypes.data for name, x in named.items()})
    given = ctypes.addressof(table), X.ctypes.data, Y.ctypes.data, problem.learning_rate

    def run() -> float:
        return float(step(*given))

    run.held = own, table, X, Y  # type: ignore[attr-defined]  # what C has the addresses of stays alive
    return Peer(run, run, lambda: own)


def jax(problem: Problem) -> Peer:
    """JAX's jit, as in the table of frameworks, on one thread too."""
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
    from benchmarks.frameworks import jax_jit

    peer = jax_jit(problem, examples="columns")
    return Peer(peer.step, peer.step, peer.parameters)


def peers_of(problem: Problem) -> dict[str, Peer]:
    """All that take turns at a problem."""
    found: dict[str, Peer | None] = {
        "native": compiled(problem, "native"),
        "NumPy": compiled(problem, "numpy"),
        "C by hand": by_hand(problem),
    }
    if find_spec("jax") is not None:
        found["JAX jit"] = jax(problem)
    return {name: peer for name, peer in found.items() if peer is not None}


def check(problem: Problem, peers: dict[str, Peer]) -> None:
    """All have arrived at the same costs and parameters, up to rounding."""
    eps = float(np.finfo(problem.dtype).eps)
    costs = {name: [float(peer.step()) for _ in range(CHECKED)] for name, peer in peers.items()}
    reference = {name: np.asarray(x) for name, x in peers["NumPy"].parameters().items()}
    for name, peer in peers.items():
        np.testing.assert_allclose(costs[name], costs["NumPy"], rtol=1000 * eps, err_msg=f"{problem}: {name}")
        for key, x in peer.parameters().items():
            scale = float(np.abs(reference[key]).max())
            off = np.abs(np.asarray(x).reshape(reference[key].shape) - reference[key]).max()
            assert off <= 2000 * eps * max(scale, 0.01), f"{problem}: {name} has another {key}, by {off}"


def measured(peers: dict[str, Peer], budget: float, rounds: int) -> dict[str, dict[str, list[float]]]:
    """Seconds of processor time for a step of each, in turns."""
    took: dict[str, dict[str, list[float]]] = {name: {"step": [], "alone": []} for name in peers}
    longest = max(_seconds(peer.step, 1) for peer in peers.values())
    for peer in peers.values():  # a compiled step compares itself with the eager one most often at first
        _seconds(peer.step, max(6, min(1500, int(0.1 / max(longest, 1e-7)))))
    repeats = max(1, int(budget / rounds / len(peers) / 2 / max(longest, 1e-7)))
    for _ in range(rounds):
        for name, peer in peers.items():
            _seconds(peer.step, -(-repeats // 4))  # as the caches are another's still
            took[name]["step"].append(_seconds(peer.step, repeats))
            took[name]["alone"].append(_seconds(peer.alone, repeats))
            time.sleep(PAUSE)  # until threads of its own, whose time counts too, have gone to sleep
    return took


def _seconds(run: Callable[[], Any], repeats: int) -> float:
    start = time.process_time()
    for _ in range(repeats):
        run()
    return (time.process_time() - start) / repeats


def main() -> None:
    """Measure all shapes in both dtypes."""
    chosen = arguments(
        __doc__,
        seconds={"type": float, "default": 6.0, "help": "about how long the turns at each problem take"},
        only={"default": "", "help": "problems whose name holds this text; the other rows are kept"},
    )
    problems = [Problem(sizes, m, dtype) for sizes, m in SHAPES for dtype in ("float32", "float64")]
    problems = [problem for problem in problems if chosen.only in str(problem)]
    if chosen.quick:
        problems = problems[:1]
    results = Results("native", quick=chosen.quick, fresh=not chosen.only)
    for problem in problems:
        peers = peers_of(problem)
        check(problem, peers)
        took = measured(peers, 0.5 if chosen.quick else chosen.seconds, 3 if chosen.quick else 15)
        row = {"network": problem.network, "m": problem.m, "dtype": problem.dtype, "seconds": took}
        results.add(("network", "m", "dtype"), row)
        texts = [f"{name} {median(x['step']) * 1e6:,.1f} ({median(x['alone']) * 1e6:,.1f})" for name, x in took.items()]
        print(f"{problem!s:32} us: {'   '.join(texts)}", flush=True)


if __name__ == "__main__":
    main()
