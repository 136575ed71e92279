"""The tables of a training step: what each peer takes, how many times as fast ours is, and what was aimed at.

A row is a problem on so many cores, with the seconds per step of every peer in every round, by two clocks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from benchmarks.problems import COURSE, Problem

COMPILED, IN_C = "compiled", "compiled, in C"
TITLES = {
    COMPILED: "compiled",
    IN_C: "compiled, in C",
    "C by hand": "C by hand",
    "eager": "eager",
    "NumPy, planned": "NumPy, planned buffers",
    "NumPy, plain": "NumPy, plain",
    "JAX jit": "JAX jit",
    "JAX jit, not waiting": "JAX jit, not waiting",
    "torch.compile": "torch.compile",
    "PyTorch": "PyTorch",
    "autograd": "autograd",
    "MyGrad": "MyGrad",
}
CLOCKS = "seconds", "processor"
COURSE_ROWS = {(Problem(sizes, m, "float64").network, m) for sizes, m in COURSE}
ON_CORES = [IN_C, COMPILED, "C by hand", "NumPy, planned", "JAX jit", "torch.compile", "PyTorch"]
NOT_YET = "*Not measured yet.*"
Row = dict[str, Any]


def table(head: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """A table in Markdown."""
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def spelt(seconds: float) -> str:
    """Microseconds with three digits or none after the point: 18.3, 2,130."""
    us = seconds * 1e6
    return f"{us:,.1f}" if us < 100 else f"{us:,.0f}"


# -- times and ratios ------------------------------------------------------------------------------------------------


def times(row: Row, name: str, clock: str = "seconds") -> np.ndarray | None:
    """Seconds per step in every round, or None if the peer did not run; by the clock on the wall or the processor's."""
    seconds = row["peers"].get(name, {}).get(clock)
    return None if seconds is None else np.array(seconds)


def ratio(row: Row, name: str, ours: str = COMPILED, clock: str = "seconds") -> float | None:
    """How many times as fast as this peer our step is: the ratio of medians."""
    own, theirs = times(row, ours, clock), times(row, name, clock)
    return None if own is None or theirs is None else float(np.median(theirs) / np.median(own))


def spread(row: Row, name: str, ours: str) -> tuple[float, float]:
    """The same ratio within single rounds: 5 and 95 % of them lie below these."""
    low, high = np.quantile(times(row, name) / times(row, ours), [0.05, 0.95])
    return float(low), float(high)


def geometric(values: Iterable[float]) -> float:
    """The geometric mean."""
    return math.exp(np.mean(np.log(list(values))))


def mean_ratio(rows: list[Row], name: str, ours: str, clock: str = "seconds") -> str:
    """The geometric mean of the ratios, where both ran."""
    values = [value for row in rows if (value := ratio(row, name, ours, clock)) is not None]
    return f"{geometric(values):.2f}" if values else ""


def _case(row: Row) -> list[str]:
    return [row["network"], f"{row['m']:,}", row["dtype"]]


def _listed(values: Iterable[tuple[Row, float]]) -> list[str]:
    """Rows, each with its figure: the dtypes of one network stand in one line."""
    lines: dict[str, list[str]] = {}
    for row, value in values:
        lines.setdefault(f"{row['network']}, m = {row['m']:,}", []).append(f"{value:.2f} in {row['dtype']}")
    return [f"{case}: {', '.join(figures)}" for case, figures in lines.items()]


def _missing(row: Row, name: str) -> str:
    """What stands where a peer has no time: there is none for the problem, or it failed."""
    return "failed" if name in row["peers"] else ""


def step_times(rows: list[Row]) -> str:
    """Microseconds per step."""

    def cell(row: Row, name: str) -> str:
        seconds = times(row, name)
        return _missing(row, name) if seconds is None else spelt(float(np.median(seconds)))

    return table(["network", "m", "dtype", *TITLES.values()], [_case(r) + [cell(r, n) for n in TITLES] for r in rows])


def step_ratios(rows: list[Row], ours: str, peers: Iterable[str]) -> str:
    """How many times as fast as the others our step is, with the spread, and the geometric means."""
    peers, rows = list(peers), [row for row in rows if times(row, ours) is not None]
    if not rows:
        return NOT_YET

    def cell(row: Row, name: str) -> str:
        value = ratio(row, name, ours)
        if value is None:
            return _missing(row, name)
        low, high = spread(row, name, ours)
        return f"{'**' if value < 1 else ''}{value:.2f}{'**' if value < 1 else ''}<br>{low:.2f} ... {high:.2f}"

    def means(title: str, part: list[Row]) -> list[list[str]]:
        return [[title, "", "", *(mean_ratio(part, n, ours) for n in peers)]] if part else []

    return table(
        ["network", "m", "dtype", *(TITLES[n] for n in peers)],
        [
            *(_case(r) + [cell(r, n) for n in peers] for r in rows),
            *means("**geometric mean**", rows),
            *means("**of the course's shapes**", [row for row in rows if _of_the_course(row)]),
        ],
    )


def cores_table(rows: list[Row]) -> str:
    """What was measured on one core, there and on all: microseconds by both clocks, and the geometric means."""
    cases = [_case(row) for row in rows if row["cores"] == 1]
    rows = [row for case in cases for row in rows if _case(row) == case and times(row, IN_C) is not None]
    if not rows:
        return NOT_YET

    def cell(row: Row, name: str) -> str:
        both = [seconds for clock in CLOCKS if (seconds := times(row, name, clock)) is not None]
        return "<br>".join(spelt(float(np.median(seconds))) for seconds in both) or _missing(row, name)

    def mean(part: list[Row], name: str) -> str:
        return "<br>".join(mean_ratio(part, name, IN_C, clock) for clock in CLOCKS)

    by_cores = {n: [row for row in rows if row["cores"] == n] for n in sorted({row["cores"] for row in rows})}
    return table(
        ["network", "m", "dtype", "cores", *(TITLES[n] for n in ON_CORES)],
        [
            *([*_case(row), row["cores"], *(cell(row, n) for n in ON_CORES)] for row in rows),
            *(["**times as long as in C**", "", "", n, *(mean(part, name) for name in ON_CORES)]
              for n, part in by_cores.items()),
        ],
    )  # fmt: skip


# -- what was aimed at, and what is lost ------------------------------------------------------------------------------


def _of_the_course(row: Row) -> bool:
    return (row["network"], row["m"]) in COURSE_ROWS


def _small(row: Row) -> bool:
    return _of_the_course(row) and len(row["sizes"]) > 2


def _any(row: Row) -> bool:  # noqa: ARG001  # stands where other goals pick rows
    return True


def _for_jax(row: Row) -> bool:
    return _small(row) or row["network"] == "32-64-1" or len(row["sizes"]) == 2


def _tiled(row: Row) -> bool:
    return row["network"] == "32-64-1"


class Goal(NamedTuple):
    """How many times as fast as a peer our step is to be: in each row of some, and in their geometric mean."""

    peer: str
    where: str
    holds: Callable[[Row], bool]
    each: float | None = None
    mean: float | None = None
    ours: str = COMPILED
    on_one_core: bool = False  # by the processor's clock


GOALS = [
    Goal("NumPy, planned", "every row", _any, each=0.95),
    Goal("NumPy, plain", "every row", _any, each=1.0, mean=1.4),
    Goal("PyTorch", "2-4-1 and 3-4-1 of the course", _small, each=4.0),
    Goal("PyTorch", "every row", _any, each=1.0, mean=2.5),
    Goal("torch.compile", "geometric mean", _any, mean=2.0),
    Goal("JAX jit", "2-4-1 and 3-4-1 of the course, 32-64-1, logistic regression", _for_jax, each=1.0),
    Goal("JAX jit", "32-64-1", _tiled, each=2.0),
    Goal("JAX jit", "geometric mean", _any, mean=1.0),
    Goal("JAX jit, not waiting", "geometric mean", _any, mean=1.0),
    Goal("autograd", "every row", _any, each=1.0),
    Goal("autograd", "2-4-1 and 3-4-1 of the course", _small, each=5.0),
    Goal("MyGrad", "every row", _any, each=1.0),
    Goal("MyGrad", "2-4-1 and 3-4-1 of the course", _small, each=5.0),
    Goal(COMPILED, "the course's shapes", _of_the_course, each=2.5, ours=IN_C),
    Goal(COMPILED, "every row", _any, each=1.0, ours=IN_C),
    Goal("JAX jit", "the course's shapes", _of_the_course, each=4.0, ours=IN_C),
    Goal("JAX jit", "geometric mean", _any, mean=2.0, ours=IN_C),
    Goal("PyTorch", "the course's shapes", _of_the_course, each=10.0, ours=IN_C),
    Goal("torch.compile", "the course's shapes", _of_the_course, each=10.0, ours=IN_C),
    Goal("C by hand", "one core, the processor's time", _any, each=0.67, ours=IN_C, on_one_core=True),
]


def line_of(goal: Goal, rows: list[Row]) -> list[str] | None:
    """What was asked for, what was measured, and which rows miss it; None without measurements."""
    clock = CLOCKS[goal.on_one_core]
    values = {
        i: value
        for i, row in enumerate(rows)
        if goal.holds(row) and (value := ratio(row, goal.peer, goal.ours, clock)) is not None
    }
    if not values:
        return None
    asked, measured, misses = [], [], []
    if goal.each is not None:
        asked.append(f"{goal.each:g}")
        measured.append(f"least {min(values.values()):.2f}")
        misses += _listed((rows[i], value) for i, value in values.items() if value < goal.each)
    if goal.mean is not None:
        found = geometric(values.values())
        asked.append(f"{goal.mean:g} in the geometric mean")
        measured.append(f"geometric mean {found:.2f}")
        misses += ["the geometric mean"] * (found < goal.mean)
    line = [TITLES[goal.ours], TITLES[goal.peer], goal.where, "; ".join(asked), "; ".join(measured)]
    return [*line, "<br>".join(misses) or "none"]


def goals(rows: list[Row], one_core: list[Row], memory: list[Row]) -> str:
    """What was aimed at, what was measured, and which rows miss it."""
    lines = [line for goal in GOALS if (line := line_of(goal, one_core if goal.on_one_core else rows)) is not None]
    shares = {
        f"{row['network']}, {row['dtype']}": row["peers"]["eager"] / row["peers"]["compiled"]
        for row in memory
        if isinstance(row["peers"]["compiled"], int)
    }
    if shares:
        misses = [f"{case} ({share:.1f})" for case, share in shares.items() if share < 10]
        least = f"least {min(shares.values()):.1f}"
        lines.append(["compiled", "eager", "peak memory, m = 1,000,000", "10", least, "<br>".join(misses) or "none"])
    return table(["step", "against", "where", "at least, times", "measured", "missed by"], lines)


def losses(rows: list[Row]) -> str:
    """Where each back end takes longer than a peer."""
    lines = []
    for ours in (COMPILED, IN_C):
        for name in TITLES:
            ratios = ((row, value) for row in rows if (value := ratio(row, name, ours)) is not None)
            slower = _listed((row, value) for row, value in ratios if value < 1)
            if slower and name not in (ours, "C by hand"):
                lines.append([TITLES[ours], TITLES[name], "<br>".join(slower)])
    return table(["step", "slower than", "where, and how many times as fast it is"], lines)


def settings(rows: list[Row]) -> str:
    """Which settings each peer chose, and in how many rows."""
    lines = []
    for name in TITLES:
        chosen: dict[str, int] = {}
        for row in rows:
            if "settings" in row["peers"].get(name, {}):
                options = {k: v for k, v in row["peers"][name]["settings"].items() if k not in ("wait", "backend")}
                text = ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in options.items()) or "none to choose"
                text = text.replace("XLA FLAGS --xla_cpu_multi_thread_eigen=false", "one thread")
                chosen[text] = chosen.get(text, 0) + 1
        if chosen and set(chosen) != {"none to choose"}:
            by_count = sorted(chosen.items(), key=lambda item: -item[1])
            lines.append([TITLES[name], "; ".join(f"{text} ({count})" for text, count in by_count)])
    return table(["peer", "fastest settings, and in how many rows"], lines)
