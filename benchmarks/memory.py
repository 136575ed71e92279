"""Peak memory of a training step beyond the data, in fresh processes: what the system saw, not what NumPy counted."""

from __future__ import annotations

import dataclasses
import gc
import json
import sys
from pathlib import Path

import numpy as np

from benchmarks.fresh import in_fresh_process, problem_of, text_of
from benchmarks.problems import DTYPES, Problem
from benchmarks.results import Results, arguments
from benchmarks.turns import PEERS as ENTRIES
from benchmarks.turns import made

PEERS = ["compiled", "compiled, in C", "eager", "NumPy, planned", "NumPy, plain", "JAX jit", "PyTorch"]
SHAPES = [(2, 4, 1), (32, 64, 1), (100, 1)]
EXAMPLES = 1_000_000


def _status(entry: str) -> int:
    """Bytes by /proc/self/status: ``VmRSS``, held now, or ``VmHWM``, the most since the start or `_reset`."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(entry + ":"))


def _reset() -> None:
    Path("/proc/self/clear_refs").write_text("5")


@np.errstate(all="ignore")  # the hand-written sigmoid overflows, as the course's does
def peak(name: str, problem: Problem) -> int:
    """Bytes that a peer holds at most in three steps, beside X and Y.

    Buffers that it makes beforehand count. A small problem comes first, so that libraries are loaded and compiled. What
    a framework copies into a layout of its own takes the place of the data that it was copied from.
    """
    options = ENTRIES[name].options[0]
    small = made(name, dataclasses.replace(problem, m=50), options)
    for _ in range(3):
        small.step()
    gc.collect()
    problem.data  # noqa: B018  # made here, before the peak is read
    before = _status("VmRSS")
    peer = made(name, problem, options)
    vars(problem).pop("data")
    gc.collect()
    _reset()
    for _ in range(3):
        peer.step()
    peer.finish()
    return _status("VmHWM") - before


def main() -> None:
    """Measure every peer at a million examples, or the one that the command line names."""
    if len(sys.argv) == 3:
        print(json.dumps(peak(sys.argv[1], problem_of(sys.argv[2]))))
        return
    quick = arguments(__doc__).quick
    results = Results("memory", quick=quick)
    for sizes in SHAPES[: 1 if quick else None]:
        for dtype in DTYPES:
            problem = Problem(sizes, EXAMPLES, dtype)
            peers = {name: in_fresh_process("benchmarks.memory", name, text_of(problem)) for name in PEERS}
            row = {
                "network": problem.network,
                "m": problem.m,
                "dtype": dtype,
                "data": sum(a.nbytes for a in problem.data),
            }
            results.add(("network", "m", "dtype"), {**row, "peers": peers})
            held = (f"{name} {b / 1e6:,.1f}" if isinstance(b, int) else f"{name}: {b}" for name, b in peers.items())
            print(f"{problem}, MB: {', '.join(held)}", flush=True)


if __name__ == "__main__":
    main()
