"""Peers side by side: each in a process of its own, all in one run, taking short turns.

Libraries with thread pools of their own disturb each other within one process, so every peer gets a process, and only
one process works at a time. Where a peer has settings to choose from (threads, layouts, optimizers), its process races
them first and keeps the fastest. Before anything is timed, all peers must arrive at the same costs and parameters.

Two clocks run: the one on the wall, and the processor's, which counts the threads of a peer together, and nothing that
other processes did meanwhile.
"""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import numpy as np

from benchmarks.by_hand import has_c
from benchmarks.peers import Peer
from benchmarks.problems import Problem

Options = dict[str, Any]


def combined(**choices: Sequence[Any]) -> list[Options]:
    """Every combination of some settings."""
    return [dict(zip(choices, values, strict=True)) for values in product(*choices.values())]


@dataclass(frozen=True)
class Entry:
    """Where a peer is made, and what it may choose from."""

    make: str
    options: list[Options] = field(default_factory=lambda: [{}])  # tried within its process
    environments: list[dict[str, str]] = field(default_factory=lambda: [{}])  # one process each
    fits: Callable[[Problem], bool] = lambda _: True  # whether there is such a peer for a problem


BLAS = combined(blas_threads=[2, 1])
XLA = [{}, {"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false"}]
PEERS = {
    "compiled": Entry("engine.compiled"),
    "compiled, in C": Entry("engine.compiled", [{"backend": "native"}]),
    "C by hand": Entry("by_hand.in_c", fits=has_c),
    "eager": Entry("engine.eager", BLAS),
    "NumPy, planned": Entry("by_hand.planned", BLAS),
    "NumPy, plain": Entry("by_hand.plain", BLAS),
    "JAX jit": Entry("frameworks.jax_jit", combined(examples=["columns", "rows"]), XLA),
    "JAX jit, not waiting": Entry("frameworks.jax_jit", combined(examples=["columns", "rows"], wait=[False]), XLA),
    "torch.compile": Entry("frameworks.torch_compile", combined(formulation=["functional", "module"], threads=[2, 1])),
    "PyTorch": Entry("frameworks.torch_eager", combined(update=["by hand", "foreach", "fused"], threads=[2, 1])),
    "autograd": Entry("frameworks.autograd", BLAS),
    "MyGrad": Entry("frameworks.mygrad", BLAS),
}
REFERENCE = "NumPy, plain"
CHECKED_STEPS = 3
RACE = 4  # turns by which settings are chosen: the best of them, as noise only adds
QUIET = 0.1  # of a processor for other processes: where more is lost, a turn is repeated
CLOCK = 0.02  # seconds by which the system's count of processor time may be off
PATIENCE = 60.0  # seconds spent on repeated turns, at most, for a problem
PAUSE = 0.03  # seconds after a turn, in which the threads of its libraries go to sleep


def made(name: str, problem: Problem, options: Options) -> Peer:
    """Build a peer; ``blas_threads`` limits NumPy's BLAS in this process."""
    options = dict(options)
    if threads := options.pop("blas_threads", None):
        from threadpoolctl import threadpool_limits

        threadpool_limits(threads, user_api="blas")
    module, function = PEERS[name].make.split(".")
    return getattr(importlib.import_module(f"benchmarks.{module}"), function)(problem, **options)


def first_steps(peer: Peer) -> tuple[list[float], dict[str, np.ndarray]]:
    """The first costs, and the parameters after them."""
    costs = [float(peer.step()) for _ in range(CHECKED_STEPS)]
    return costs, {name: np.array(value) for name, value in peer.parameters().items()}


def check_equal(found: tuple[list[float], dict], expected: tuple[list[float], dict], problem: Problem) -> None:
    """Raise if two peers differ by more than rounding, in the costs or in what the steps changed.

    float32 loses up to three of its seven digits in sums over 1,000,000 examples, and nearly as many of a change that
    is small beside the parameter.
    """
    digits = 1e-3 if problem.dtype == "float32" else 1e-8
    np.testing.assert_allclose(found[0], expected[0], rtol=digits / 10)
    assert found[1].keys() == expected[1].keys()
    for name, first in problem.parameters.items():
        move = np.abs(expected[1][name] - first).max()
        bound = digits * (move + problem.learning_rate / 100)
        np.testing.assert_allclose(found[1][name], expected[1][name], rtol=0, atol=bound, err_msg=name)


# -- in a peer's process ----------------------------------------------------------------------------------------------


class Turn(NamedTuple):
    """What a step took in a turn."""

    seconds: float  # on the wall
    processor: float  # seconds of all threads
    others: float  # how much of a processor went to other processes meanwhile


def _turn(peer: Peer, problem: Problem, seconds: float) -> Turn:
    """Take steps for about as many seconds, from the first parameters on, after a few steps that do not count.

    The same steps are taken in every turn; and a training that ran on for hours would meet other numbers.
    """
    began, busy, own = time.perf_counter(), _busy(), time.process_time()
    peer.restart(problem.parameters)
    once, warm = 0.0, time.perf_counter()
    while once == 0.0 or time.perf_counter() - warm < seconds / 4:
        start = time.perf_counter()
        peer.step()
        peer.finish()
        once = time.perf_counter() - start
    steps = max(1, int(seconds / once))
    step = peer.step
    start, spent = time.perf_counter(), time.process_time()
    for _ in range(steps):
        step()
    peer.finish()
    end, after = time.perf_counter(), time.process_time()
    others = max(0.0, _busy() - busy - (after - own) - CLOCK) / (end - began)
    return Turn((end - start) / steps, (after - spent) / steps, others)


def seconds_per_step(peer: Peer, problem: Problem, seconds: float) -> float:
    """Seconds per step, over about as many seconds, in this process."""
    return _turn(peer, problem, seconds).seconds


def _busy() -> float:
    """Seconds of processor time that this machine has spent in all, or lost to its neighbours, as far as it says."""
    try:
        with open("/proc/stat") as file:
            user, nice, system, _, _, *interrupts = map(int, file.readline().split()[1:9])
    except (OSError, ValueError):
        return 0.0
    return (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK")


@np.errstate(all="ignore")  # by hand, what is exact elsewhere may overflow
def _serve(connection: Connection, name: str, problem: Problem) -> None:
    """Answer the requests of `Worker` until there is none."""
    peer: Any = None
    try:
        problem.data  # noqa: B018  # made here, and kept by the problem
        connection.send("ready")
        while (request := connection.recv()) is not None:
            if request[0] == "turn":
                connection.send(_turn(peer, problem, request[1]))
                continue
            _, seconds, choices = request
            took, results = [], []
            for options in choices:
                peer = None  # the one before may be large
                peer = made(name, problem, options)
                results.append(first_steps(peer))
                took.append(min(_turn(peer, problem, seconds).seconds for _ in range(RACE)))
            fastest = int(np.argmin(took))
            if choices[fastest] != choices[-1]:
                peer = None
                peer = made(name, problem, choices[fastest])
                _turn(peer, problem, 0)
            connection.send((took[fastest], choices[fastest], results))
    except EOFError:
        return
    except Exception:  # whatever a peer raises, the process that waits for it has to hear
        connection.send(traceback.format_exc())


# -- in the process that asks -----------------------------------------------------------------------------------------


def settings_of(rows: Iterable[Mapping[str, Any]], **key: Any) -> dict[str, Options]:
    """The settings that the peers have in the row of this key, as `side_by_side` takes them."""
    found = next((row["peers"] for row in rows if all(row.get(k) == value for k, value in key.items())), {})
    return {name: peer["settings"] for name, peer in found.items() if "settings" in peer}


class PeerFailedError(Exception):
    """A peer's process reported an error."""


def processors() -> list[int]:
    """The processors that this process may use."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


@contextlib.contextmanager
def surroundings(environment: dict[str, str], cores: int) -> Iterator[None]:
    """What a process that is started within the block inherits: variables, and the cores that it may use."""
    before, allowed = os.environ.copy(), processors()
    os.environ.update(environment)
    if cores < len(allowed):
        os.sched_setaffinity(0, allowed[:cores])
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        if cores < len(allowed):
            os.sched_setaffinity(0, allowed)


class Worker:
    """A peer in its own process, on so many cores."""

    def __init__(self, name: str, problem: Problem, environment: dict[str, str], cores: int) -> None:
        self.name, self.problem, self.environment = name, problem, environment
        context = multiprocessing.get_context("spawn")
        self._connection, there = context.Pipe()
        self._process = context.Process(target=_serve, args=(there, name, problem), daemon=True)
        with surroundings(environment, cores):
            self._process.start()
        there.close()
        if self._answer() != "ready":
            raise AssertionError("a peer's process must first say that it is ready")

    def _answer(self) -> Any:
        try:
            answer = self._connection.recv()
        except EOFError:
            raise PeerFailedError(f"the process of {self.name} ended") from None
        if isinstance(answer, str) and answer.startswith("Traceback"):
            raise PeerFailedError(answer)
        return answer

    def choose(self, seconds: float, options: list[Options]) -> float:
        """Build the peer with the fastest of these options; returns about how long a step takes."""
        self._connection.send(("choose", seconds, options))
        self.estimate, self.options, self.results = self._answer()
        return self.estimate

    def turn(self, seconds: float) -> Turn:
        """What a step takes in a turn of about as many seconds."""
        self._connection.send(("turn", seconds))
        return self._answer()

    def end(self) -> None:
        """Let the process go."""
        with contextlib.suppress(OSError):
            self._connection.send(None)
        self._process.join(5)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _fastest(name: str, problem: Problem, seconds: float, cores: int, known: Options | None) -> Worker:
    """The peer's worker in the environment, and with the options, that suit it best, or that are known to."""
    best: Worker | None = None
    environments, options = PEERS[name].environments, PEERS[name].options
    options = [one for one in options if max(one.get("threads", 1), one.get("blas_threads", 1)) <= cores]
    if known is not None:
        variables = {key for environment in environments for key in environment}
        environments = [{key: value for key, value in known.items() if key in variables}]
        options = [{key: value for key, value in known.items() if key not in variables}]
    for environment in environments:
        worker = Worker(name, problem, environment, cores)
        try:
            worker.choose(seconds, options)
        except BaseException:
            worker.end()
            raise
        if best is None or worker.estimate < best.estimate:
            best, worker = worker, best
        if worker is not None:
            worker.end()
    assert best is not None
    return best


def side_by_side(
    problem: Problem,
    names: Iterable[str],
    *,
    budget: float,
    rounds: tuple[int, int],
    turn: float,
    cores: int | None = None,
    known: Mapping[str, Options] | None = None,
) -> dict[str, Any]:
    """Time the peers in turns, for about `budget` seconds and within `rounds`; each turn lasts `turn` or one step.

    They may use so many `cores`, all by default. Settings that are `known` are taken, and the others are found by a
    race. Those among the peers take part that exist for the problem.

    Returns for each peer its settings and the seconds per step in every round, by both clocks, or the error that it
    raised.
    """
    names = [name for name in names if PEERS[name].fits(problem)]
    cores = cores or len(processors())
    workers: list[Worker] = []
    found: dict[str, Any] = {}
    try:
        for name in names:
            try:
                workers.append(_fastest(name, problem, turn, cores, (known or {}).get(name)))
            except PeerFailedError as error:
                found[name] = {"error": str(error).strip().splitlines()[-1]}
        expected = next((w for w in workers if w.name == REFERENCE), workers[0]).results[0]
        for worker in workers:
            for result in worker.results:
                try:
                    check_equal(result, expected, problem)
                except AssertionError as error:
                    raise AssertionError(f"{worker.name} differs at {problem}: {error}") from None
        once = sum(1.3 * max(turn, 2 * w.estimate) + PAUSE for w in workers)
        number = int(np.clip(budget / once, *rounds))
        turns: dict[str, list[Turn]] = {worker.name: [] for worker in workers}
        patience = PATIENCE
        for i in range(number):
            first = i % len(workers)
            for worker in workers[first:] + workers[:first]:
                time.sleep(PAUSE)
                taken = worker.turn(turn)
                while taken.others > QUIET and patience > 0:
                    start = time.perf_counter()
                    time.sleep(0.1)
                    taken = min(taken, worker.turn(turn), key=lambda one: one.others)  # not by how fast it was
                    patience -= time.perf_counter() - start
                turns[worker.name].append(taken)
        for worker in workers:
            taken_by = turns[worker.name]
            found[worker.name] = {
                "settings": {**worker.options, **worker.environment},
                "seconds": [float(f"{one.seconds:.4g}") for one in taken_by],
                "processor": [float(f"{one.processor:.4g}") for one in taken_by],
                "disturbed": sum(one.others > QUIET for one in taken_by),
            }
    finally:
        for worker in workers:
            worker.end()
    return {name: found[name] for name in names}
