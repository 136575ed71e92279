"""Peak memory of a training step, beside the data: the engine against hand-written NumPy."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import numpy as np

from benchmarks.peers import by_hand, eager, problem


def peak(step: Callable[[], float]) -> float:
    """Largest number of bytes that NumPy and Python held at once in the third of three steps."""
    step()
    step()
    tracemalloc.start()
    step()
    _, largest = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return largest


def main() -> None:
    print("\nPeak memory of a step, without the data, traced by tracemalloc\n")
    print("| network | m | dtype | by hand, MB | engine, MB | ratio |")
    print("|---|---|---|---|---|---|")
    for n_x, n_h, m in [(32, 64, 100_000), (2, 4, 1_000_000)]:
        for dtype in (np.float64, np.float32):
            data = problem(n_x, n_h, m, dtype)
            with np.errstate(all="ignore"):  # the hand-written sigmoid overflows, as the course's does
                hand, engine = peak(by_hand(*data)), peak(eager(*data))
            row = f"| {n_x}-{n_h}-1 | {m:,} | {dtype.__name__}"
            print(f"{row} | {hand / 1e6:.0f} | {engine / 1e6:.0f} | {engine / hand:.2f} |")


if __name__ == "__main__":
    main()
