"""How the backward pass grows with the graph: microseconds per edge, from small graphs to large ones."""

from __future__ import annotations

import time

import numpy as np

import tinygrad_dls as tg
from benchmarks.results import Results, arguments


def chain(n: int) -> tuple[tg.Tensor, int]:
    """A chain of n additions of a constant: n edges."""
    z = tg.Tensor(1.0, requires_grad=True)
    for _ in range(n):
        z = z + 1.0
    return z, n


def doublings(n: int) -> tuple[tg.Tensor, int]:
    """Repeat ``z = z + z`` n times: 2n edges, 2^n paths."""
    z = tg.Tensor(1.0, requires_grad=True)
    for _ in range(n):
        z = z + z
    return z, 2 * n


def wide(n: int) -> tuple[tg.Tensor, int]:
    """One Tensor used by n others, all summed by one op: 2n edges."""
    x = tg.Tensor(np.ones(1), requires_grad=True)
    return tg.concatenate([x * float(i) for i in range(n)]).sum(), 2 * n + 1


def main() -> None:
    """Measure three kinds of graph at three sizes each."""
    quick = arguments(__doc__).quick
    results = Results("graph_size", quick=quick)
    for make, sizes in (
        (chain, (100, 1_000, 10_000, 100_000)),
        (doublings, (30, 60, 600)),
        (wide, (100, 1_000, 10_000)),
    ):
        for n in sizes[: 2 if quick else None]:
            cost, edges = make(n)
            times = []
            for _ in range(5):
                start = time.perf_counter()
                cost.backward()
                times.append(time.perf_counter() - start)
            each = min(times) / edges * 1e6
            results.add(("graph", "edges"), {"graph": make.__name__, "edges": edges, "microseconds": round(each, 3)})
            print(f"{make.__name__}, {edges:,} edges: {each:.2f} us per edge")


if __name__ == "__main__":
    main()
