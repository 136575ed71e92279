"""The tables and the plot of docs/benchmarks.md, from the measurements that are kept beside it.

Tables stand between ``<!-- name -->`` and ``<!-- /name -->``; what is written around them stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from statistics import median
from typing import Any

from benchmarks.eager_parts import PARTS as EAGER_PARTS
from benchmarks.eager_parts import PLAIN, PLANNED, STEP, spent
from benchmarks.ratios import (
    COMPILED,
    IN_C,
    NOT_YET,
    TITLES,
    Row,
    cores_table,
    goals,
    losses,
    settings,
    spelt,
    step_ratios,
    step_times,
    table,
)  # fmt: skip
from benchmarks.results import KEPT, ROOT, load

PAGE = ROOT / "docs/benchmarks.md"
PLOT = KEPT / "growth.svg"
PARTS = {  # where a table comes from, if not from the part of its name
    **dict.fromkeys(("machine", "goals", "losses", "ratios", "ratios_in_c", "times", "cores", "settings"), "steps"),
    **dict.fromkeys(("examples", "layers"), "growth"),
}

# -- the parts besides the step ---------------------------------------------------------------------------------------


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
        ["network", "m", *(TITLES.get(n, n) for n in peers)],
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


def eager_table(rows: list[Row]) -> str:
    """Microseconds of each part, and how many times as long as by hand all of them take."""
    of = {row["dtype"]: spent(row["paths"]) for row in rows}
    whole = {row["dtype"]: {path: median(row["paths"][path]) for path in (STEP, PLAIN, PLANNED)} for row in rows}
    lines = [[part, *(f"{of[dtype][part] * 1e6:.1f}" for dtype in of)] for part in EAGER_PARTS]
    lines += [[f"**{path}**", *(f"{whole[d][path] * 1e6:.1f}" for d in of)] for path in next(iter(whole.values()))]
    times = [f"{took[STEP] / took[PLAIN]:.2f}" for took in whole.values()]
    return table(["microseconds", *of], [*lines, [f"{STEP}, times as long as {PLAIN}", *times]])


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
        f"{facts['numpy']} ({facts['blas']}), {', '.join(packages)}"
        f"{', and ' + facts['compiler'] if facts.get('compiler') else ''}."
    )


# -- the plot ---------------------------------------------------------------------------------------------------------

COLOURS = {  # each has a contrast of at least 3 to white and to the dark theme's background
    "compiled": "#d9480f",
    "compiled, in C": "#d6336c",
    "C by hand": "#c76b98",
    "eager": "#c2883a",
    "NumPy, planned": "#3b82c4",
    "NumPy, plain": "#6b8fb3",
    "JAX jit": "#8b6fd0",
    "PyTorch": "#3a9a62",
}
MARKERS = dict(zip(COLOURS, "oX*s^vDP", strict=True))


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
        figure, panels = plt.subplots(1, 2, figsize=(10, 4.7), layout="constrained", sharey=False)
        labels = {"examples": "m, examples (2-4-1, float32)", "layers": "layers of 16 units (m = 256, float32)"}
        for ax, (axis, label) in zip(panels, labels.items(), strict=True):
            part = [row for row in rows if row["axis"] == axis]
            for name, colour in COLOURS.items():
                known = [(r["size"], median(r["peers"][name]["seconds"]) * 1e6) for r in part if _ran(r, name)]
                if known:
                    wide = 2.4 if name in (COMPILED, IN_C) else 1.4
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
        figure.legend(lines, names, loc="outside upper center", ncols=4, frameon=False, labelcolor="linecolor")
        figure.savefig(PLOT, transparent=True, metadata={"Date": None})
        plt.close(figure)


def _ran(row: Row, name: str) -> bool:
    return "seconds" in row["peers"].get(name, {})


def written(page: str) -> str:
    """The page with its tables made from what has been measured."""
    every, growth, memory = (load(part)["rows"] for part in ("steps", "growth", "memory"))
    cores = max((row["cores"] for row in every), default=1)
    steps, one_core = ([row for row in every if row["cores"] == n] for n in (cores, 1))
    others = [name for name in TITLES if name not in (COMPILED, IN_C, "C by hand")]
    in_c = [COMPILED, "C by hand", *(n for n in others if n not in ("NumPy, plain", "autograd", "MyGrad"))]
    made: dict[str, Callable[[], str]] = {
        "machine": lambda: machine_line(load("steps")["machine"]),
        "goals": lambda: goals(steps, one_core, memory),
        "losses": lambda: losses(steps),
        "ratios": lambda: step_ratios(steps, COMPILED, others),
        "ratios_in_c": lambda: step_ratios(steps, IN_C, in_c),
        "cores": lambda: cores_table(every),
        "times": lambda: step_times(steps),
        "settings": lambda: settings(steps),
        "examples": lambda: growth_table(growth, "examples"),
        "layers": lambda: growth_table(growth, "layers"),
        "memory": lambda: memory_table(memory),
        "first_call": lambda: first_call_table(load("first_call")["rows"]),
        "products": lambda: products_table(load("products")["rows"]),
        "import_time": lambda: import_table(load("import_time")["rows"]),
        "graph_size": lambda: graph_table(load("graph_size")["rows"]),
        "eager_parts": lambda: eager_table(load("eager_parts")["rows"]),
    }
    for name, make in made.items():
        place = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        if not place.search(page):
            raise ValueError(f"{PAGE.name} has no place for the table of {name}: <!-- {name} --> ... <!-- /{name} -->")
        content = make() if load(PARTS.get(name, name))["rows"] else NOT_YET
        page = place.sub(lambda found, content=content: f"{found[1]}\n{content}\n\n{found[2]}", page)
    return page


def main() -> None:
    """Write what has been measured into the page, and draw the plot."""
    PAGE.write_text(written(PAGE.read_text()))
    draw(load("growth")["rows"])


if __name__ == "__main__":
    main()
