"""A million training steps of the small network: the memory they take, and the reference cycles they leave."""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Iterator

import numpy as np

import tinygrad_dls as tg
from benchmarks.machine import machine
from benchmarks.problems import Problem

STEPS = 1_000_000


def resident() -> float:
    """Megabytes of memory that the process holds now."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def curve(steps: int, points: int) -> Iterator[tuple[int, float, int, float]]:
    """Train, and look every so often: steps so far, MB held, objects that only the collector can free, cost."""
    problem = Problem((2, 4, 1), 400, "float32")
    X, Y = problem.data
    model = tg.nn.TwoLayerNetwork(2, 4, rng=0, dtype=np.float32)
    model.load_state_dict(problem.parameters)
    optimizer = tg.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    gc.collect()
    gc.disable()  # so that a cycle would stay and be counted
    try:
        for done in range(steps + 1):
            J = tg.binary_cross_entropy_with_logits(model(X), Y)
            if done % (steps // points) == 0:
                yield done, resident(), gc.collect(), J.item()
            optimizer.zero_grad()
            J.backward()
            optimizer.step()
    finally:
        gc.enable()


def main(steps: int = STEPS) -> None:
    print(f"\n{steps:,} steps at 2-4-1, m = 400, float32, with momentum ({', '.join(map(str, machine().values()))})\n")
    print("| steps | MB held | in reference cycles | cost |")
    print("|---|---|---|---|")
    start = time.perf_counter()
    for done, megabytes, cycles, cost in curve(steps, points=10):
        print(f"| {done:,} | {megabytes:.1f} | {cycles} | {cost:.6f} |", flush=True)
    print(f"\n{(time.perf_counter() - start) / steps * 1e6:.0f} us per step")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else STEPS)
