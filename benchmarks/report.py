"""The tables and the plot of docs/benchmarks.md, from the measurements that are kept beside it.

Tables stand between ``<!-- name -->`` and ``<!-- /name -->``; what is written around them stays as it is.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from statistics import median
from typing import Any

import numpy as np

from benchmarks.results import KEPT, ROOT, load

PAGE = ROOT / "docs/benchmarks.md"
PLOT = KEPT / "growth.svg"
TITLES = {
    "compiled": "compiled",
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
PARTS = {  # where a table comes from, if not from the part of its name
    **dict.fromkeys(("machine", "goals", "ratios", "times", "settings"), "steps"),
    **dict.fromkeys(("examples", "layers"), "growth"),
}
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


# -- a step -----------------------------------------------------------------------------------------------------------


def times(row: Row, name: str) -> np.ndarray | None:
    """Seconds per step in every round, or None if the peer did not run."""
    seconds = row["peers"].get(name, {}).get("seconds")
    return None if seconds is None else np.array(seconds)


def ratio(row: Row, name: str) -> float | None:
    """How many times as fast as this peer the compiled step is: the ratio of medians."""
    ours, theirs = times(row, "compiled"), times(row, name)
    return None if ours is None or theirs is None else float(np.median(theirs) / np.median(ours))


def spread(row: Row, name: str) -> tuple[float, float]:
    """The same ratio within single rounds: 5 and 95 % of them lie below these."""
    low, high = np.quantile(times(row, name) / times(row, "compiled"), [0.05, 0.95])
    return float(low), float(high)


def _case(row: Row) -> list[str]:
    return [row["network"], f"{row['m']:,}", row["dtype"]]


def step_times(rows: list[Row]) -> str:
    """Microseconds per step."""

    def cell(row: Row, name: str) -> str:
        seconds = times(row, name)
        return "failed" if seconds is None else spelt(float(np.median(seconds)))

    return table(["network", "m", "dtype", *TITLES.values()], [_case(r) + [cell(r, n) for n in TITLES] for r in rows])


def step_ratios(rows: list[Row]) -> str:
    """How many times as fast as the others the compiled step is, with the spread, and the geometric means."""
    peers = [name for name in TITLES if name != "compiled"]

    def cell(row: Row, name: str) -> str:
        value = ratio(row, name)
        if value is None:
            return "failed"
        low, high = spread(row, name)
        return f"{'**' if value < 1 else ''}{value:.2f}{'**' if value < 1 else ''}<br>{low:.2f} ... {high:.2f}"

    means = ["**geometric mean**", "", ""]
    for name in peers:
        values = [value for row in rows if (value := ratio(row, name)) is not None]
        means.append(f"{geometric(values):.2f}" if values else "failed")
    return table(
        ["network", "m", "dtype", *(TITLES[n] for n in peers)],
        [*(_case(r) + [cell(r, n) for n in peers] for r in rows), means],
    )


def geometric(values: Iterable[float]) -> float:
    """The geometric mean."""
    return math.exp(np.mean(np.log(list(values))))


SMALL = {"2-4-1", "3-4-1"}


def _small(row: Row) -> bool:
    return row["network"] in SMALL


def _any(row: Row) -> bool:  # noqa: ARG001  # stands where other goals pick rows
    return True


def _for_jax(row: Row) -> bool:
    return row["network"] in SMALL | {"32-64-1"} or len(row["sizes"]) == 2


def _tiled(row: Row) -> bool:
    return row["network"] == "32-64-1"


# peer, where in words, where, what is asked of all rows there, and of their geometric mean
GOALS: list[tuple[str, str, Callable[[Row], bool], float | None, float | None]] = [
    ("NumPy, planned", "every row", _any, 0.95, None),
    ("NumPy, plain", "every row", _any, 1.0, 1.4),
    ("PyTorch", "2-4-1 and 3-4-1", _small, 4.0, None),
    ("PyTorch", "every row", _any, 1.0, 2.5),
    ("torch.compile", "geometric mean", _any, None, 2.0),
    ("JAX jit", "2-4-1, 3-4-1, 32-64-1, logistic regression", _for_jax, 1.0, None),
    ("JAX jit", "32-64-1", _tiled, 2.0, None),
    ("JAX jit", "geometric mean", _any, None, 1.0),
    ("JAX jit, not waiting", "geometric mean", _any, None, 1.0),
    ("autograd", "every row", _any, 1.0, None),
    ("autograd", "2-4-1 and 3-4-1", _small, 5.0, None),
    ("MyGrad", "every row", _any, 1.0, None),
    ("MyGrad", "2-4-1 and 3-4-1", _small, 5.0, None),
]


def goals(rows: list[Row], memory: list[Row]) -> str:
    """What was aimed at, what was measured, and which rows miss it."""
    lines = []
    for name, where, holds, each, mean in GOALS:
        values = {i: value for i, row in enumerate(rows) if holds(row) and (value := ratio(row, name)) is not None}
        if not values:
            continue
        asked, measured, misses = [], [], []
        if each is not None:
            worst = min(values, key=values.__getitem__)
            asked.append(f"{each:g}")
            measured.append(f"least {values[worst]:.2f}")
            misses += [
                f"{rows[i]['network']}, m = {rows[i]['m']:,}, {rows[i]['dtype']} ({value:.2f})"
                for i, value in values.items()
                if value < each
            ]
        if mean is not None:
            found = geometric(values.values())
            asked.append(f"{mean:g} in the geometric mean")
            measured.append(f"geometric mean {found:.2f}")
            misses += ["the geometric mean"] * (found < mean)
        lines.append([TITLES[name], where, "; ".join(asked), "; ".join(measured), "<br>".join(misses) or "none"])
    shares = {
        f"{row['network']}, {row['dtype']}": row["peers"]["eager"] / row["peers"]["compiled"]
        for row in memory
        if isinstance(row["peers"]["compiled"], int)
    }
    if shares:
        misses = [f"{case} ({share:.1f})" for case, share in shares.items() if share < 10]
        least = f"least {min(shares.values()):.1f}"
        lines.append(["eager", "peak memory, m = 1,000,000", "10", least, "<br>".join(misses) or "none"])
    return table(["against", "where", "at least, times", "measured", "missed by"], lines)


def settings(rows: list[Row]) -> str:
    """Which settings each peer chose, and in how many rows."""
    lines = []
    for name in TITLES:
        chosen: dict[str, int] = {}
        for row in rows:
            if "settings" in row["peers"].get(name, {}):
                options = {k: v for k, v in row["peers"][name]["settings"].items() if k != "wait"}
                text = ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in options.items()) or "none to choose"
                text = text.replace("XLA FLAGS --xla_cpu_multi_thread_eigen=false", "one thread")
                chosen[text] = chosen.get(text, 0) + 1
        if chosen and set(chosen) != {"none to choose"}:
            by_count = sorted(chosen.items(), key=lambda item: -item[1])
            lines.append([TITLES[name], "; ".join(f"{text} ({count})" for text, count in by_count)])
    return table(["peer", "fastest settings, and in how many rows"], lines)


# -- the other parts --------------------------------------------------------------------------------------------------


def memory_table(rows: list[Row]) -> str:
    """Megabytes at the peak, beside the data."""
    peers = list(rows[0]["peers"])

    def cell(value: Any) -> str:
        return f"{value / 1e6:,.1f}" if isinstance(value, int) else "failed"

    def share(row: Row) -> str:
        ours, eager = row["peers"]["compiled"], row["peers"]["eager"]
        return f"{eager / ours:.1f}" if isinstance(ours, int) else "failed"

    return table(
        ["network", "dtype", "data", *(TITLES[n] for n in peers), "eager / compiled"],
        [
            [r["network"], r["dtype"], f"{r['data'] / 1e6:,.0f}", *(cell(r["peers"][n]) for n in peers), share(r)]
            for r in rows
        ],
    )


def first_call_table(rows: list[Row]) -> str:
    """Milliseconds before the second step."""
    peers = list(rows[0]["peers"])

    def cell(seconds: list) -> str:
        return f"{median(seconds) * 1e3:,.1f}" if isinstance(seconds[0], float) else "failed"

    return table(
        ["network", "m", *(TITLES[n] for n in peers)],
        [[r["network"], f"{r['m']:,}", *(cell(r["peers"][n]) for n in peers)] for r in rows],
    )


def products_table(rows: list[Row]) -> str:
    """Microseconds for the two products of a layer in the best of the processes, and the arithmetic per second."""
    libraries = list(rows[0]["peers"])

    def cell(seconds: Any) -> str:
        return spelt(min(seconds)) if isinstance(seconds, list) else "failed"

    def rate(row: Row) -> str:
        best = min(min(s) for s in row["peers"].values() if isinstance(s, list))
        return f"{row['operations'] / best / 1e9:.0f}"

    return table(
        ["layer", *libraries, "best, GFLOP/s"],
        [[r["case"], *(cell(r["peers"][n]) for n in libraries), rate(r)] for r in rows],
    )


def import_table(rows: list[Row]) -> str:
    """Milliseconds beyond the start of the interpreter, and beside NumPy."""
    took = {row["module"]: median(row["seconds"]) - median(row["interpreter"]) for row in rows}
    return table(
        ["import", "ms", "ratio"], [[n, f"{s * 1e3:.0f}", f"{s / took['numpy']:.2f}"] for n, s in took.items()]
    )


def graph_table(rows: list[Row]) -> str:
    """Microseconds per edge."""
    return table(
        ["graph", "edges", "us per edge"], [[r["graph"], f"{r['edges']:,}", f"{r['microseconds']:.2f}"] for r in rows]
    )


def growth_table(rows: list[Row], axis: str) -> str:
    """Microseconds per step along one axis."""
    rows = [row for row in rows if row["axis"] == axis]
    peers = list(rows[0]["peers"])

    def cell(peer: dict) -> str:
        return spelt(median(peer["seconds"])) if "seconds" in peer else "failed"

    return table(
        [{"examples": "m"}.get(axis, axis), *(TITLES[n] for n in peers)],
        [[f"{r['size']:,}", *(cell(r["peers"][n]) for n in peers)] for r in rows],
    )


def machine_line(facts: dict[str, Any]) -> str:
    """The machine and the versions of the main table, as a sentence."""
    packages = [
        f"{name} {facts[name]}" for name in ("torch", "jax", "autograd", "mygrad", "threadpoolctl") if name in facts
    ]
    return (
        f"Measured on {facts['cores']} cores of {facts['processor']}, with Python {facts['python']}, NumPy "
        f"{facts['numpy']} ({facts['blas']}), {', '.join(packages)}."
    )


# -- the plot ---------------------------------------------------------------------------------------------------------

COLOURS = {  # each has a contrast of at least 3 to white and to the dark theme's background
    "compiled": "#d9480f",
    "eager": "#c2883a",
    "NumPy, planned": "#3b82c4",
    "NumPy, plain": "#6b8fb3",
    "JAX jit": "#8b6fd0",
    "PyTorch": "#3a9a62",
}
MARKERS = {"compiled": "o", "eager": "s", "NumPy, planned": "^", "NumPy, plain": "v", "JAX jit": "D", "PyTorch": "P"}


def draw(rows: list[Row]) -> None:
    """Cost of a step against m and against depth, on a transparent ground, in greys that both themes show."""
    import matplotlib as mpl

    mpl.use("svg")
    import matplotlib.pyplot as plt

    ink = "#808080"
    style = {
        "svg.fonttype": "path", "svg.hashsalt": "benchmarks", "font.size": 10, "text.color": ink, "axes.edgecolor": ink,
        "axes.labelcolor": ink, "xtick.color": ink, "ytick.color": ink, "axes.spines.top": False,
        "axes.spines.right": False, "axes.facecolor": "none",
    }  # fmt: skip
    with mpl.rc_context(style):
        figure, panels = plt.subplots(1, 2, figsize=(10, 4.4), layout="constrained", sharey=False)
        labels = {"examples": "m, examples (2-4-1, float32)", "layers": "layers of 16 units (m = 256, float32)"}
        for ax, (axis, label) in zip(panels, labels.items(), strict=True):
            part = [row for row in rows if row["axis"] == axis]
            for name, colour in COLOURS.items():
                known = [(r["size"], median(r["peers"][name]["seconds"]) * 1e6) for r in part if _ran(r, name)]
                if known:
                    wide = 2.4 if name == "compiled" else 1.4
                    ax.loglog(
                        *zip(*known, strict=True),
                        color=colour,
                        marker=MARKERS[name],
                        ms=4.5,
                        lw=wide,
                        label=TITLES[name],
                    )
            ax.set_xlabel(label)
            for one in (ax.xaxis, ax.yaxis):
                one.set_major_formatter("{x:,.0f}")
            ax.minorticks_off()
            ax.grid(visible=True, color=ink, alpha=0.25, lw=0.6)
        panels[0].set_ylabel("microseconds per step")
        lines, names = panels[0].get_legend_handles_labels()
        figure.legend(lines, names, loc="outside upper center", ncols=6, frameon=False, labelcolor="linecolor")
        figure.savefig(PLOT, transparent=True, metadata={"Date": None})
        plt.close(figure)


def _ran(row: Row, name: str) -> bool:
    return "seconds" in row["peers"].get(name, {})


def written(page: str) -> str:
    """The page with its tables made from what has been measured."""
    steps, growth, memory = (load(part)["rows"] for part in ("steps", "growth", "memory"))
    made: dict[str, Callable[[], str]] = {
        "machine": lambda: machine_line(load("steps")["machine"]),
        "goals": lambda: goals(steps, memory),
        "ratios": lambda: step_ratios(steps),
        "times": lambda: step_times(steps),
        "settings": lambda: settings(steps),
        "examples": lambda: growth_table(growth, "examples"),
        "layers": lambda: growth_table(growth, "layers"),
        "memory": lambda: memory_table(memory),
        "first_call": lambda: first_call_table(load("first_call")["rows"]),
        "products": lambda: products_table(load("products")["rows"]),
        "import_time": lambda: import_table(load("import_time")["rows"]),
        "graph_size": lambda: graph_table(load("graph_size")["rows"]),
    }
    for name, make in made.items():
        place = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        if not place.search(page):
            raise ValueError(f"{PAGE.name} has no place for the table of {name}: <!-- {name} --> ... <!-- /{name} -->")
        content = make() if load(PARTS.get(name, name))["rows"] else "*Not measured yet.*"
        page = place.sub(lambda found, content=content: f"{found[1]}\n{content}\n\n{found[2]}", page)
    return page


def main() -> None:
    """Write what has been measured into the page, and draw the plot."""
    PAGE.write_text(written(PAGE.read_text()))
    draw(load("growth")["rows"])


if __name__ == "__main__":
    main()
