"""What runs on a GPU: the tests of arrays on a device with CuPy, and a table of steps beside JAX's and PyTorch's.

`make gpu` runs this. Where there is no GPU it says so, and tests nothing.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers import Peer
from benchmarks.problems import Problem
from benchmarks.turns import check_equal, first_steps, seconds_per_step
from tests.support.devices import CUPY, WHY_NOT
from tinygrad_dls.extras import install

ROOT = Path(__file__).parents[1]
FILES = ("test_on_device.py", "test_device_array.py", "test_cupy.py")
TESTS = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "tests").rglob("test_*.py") if path.name in FILES)
SHAPES: list[tuple[tuple[int, ...], int]] = [
    ((2, 4, 1), 400), ((32, 64, 1), 100_000), ((784, 128, 10), 128), ((784, 1_024, 1_024, 10), 8_192),
]  # fmt: skip
PROBLEMS = [Problem(sizes, m, dtype) for sizes, m in SHAPES for dtype in ("float32", "float64")]
REFERENCE = "NumPy, by hand"
PEERS = {  # each in a process of its own; what it is made by, and of what
    REFERENCE: ("by_hand.plain", {}),
    "tinygrad_dls on NumPy": ("engine.eager", {}),
    "tinygrad_dls on CuPy": ("engine.eager", {"library": "cupy"}),
    "JAX jit": ("frameworks.jax_jit", {"platform": "gpu"}),
    "PyTorch": ("frameworks.torch_eager", {"device": "cuda"}),
}
SECONDS = 2.0  # for each turn
TURNS = 3  # of which the fastest counts: noise only adds


def made(name: str, problem: Problem) -> Peer:
    """Build a peer."""
    make, options = PEERS[name]
    module, function = make.split(".")
    return getattr(importlib.import_module(f"benchmarks.{module}"), function)(problem, **options)


def measured(name: str, problem: Problem) -> tuple[float, Any] | str:
    """Seconds per step and the first steps; or why there are none, in a line."""
    try:
        with np.errstate(all="ignore"):
            peer = made(name, problem)
            steps = first_steps(peer)
            return min(seconds_per_step(peer, problem, SECONDS) for _ in range(TURNS)), steps
    except Exception as error:  # such as a library that is missing, or that finds no GPU
        return f"not run: {(str(error).splitlines() or [type(error).__name__])[0]}"


def in_a_process(name: str, problem: Problem) -> tuple[float, Any] | str:
    """The same in a process that ends afterwards: libraries keep the memory of a GPU to themselves."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measured, (name, problem))


def table(card: str) -> None:
    """Print the seconds of a step of each peer, once all have taken the same first steps."""
    print(f"\nOne step of gradient descent, in microseconds; on {card}")
    for problem in PROBLEMS:
        print(f"\n{problem}")
        expected: Any = None
        for name in PEERS:
            found = in_a_process(name, problem)
            if isinstance(found, str):
                print(f"  {name:24}{found}", flush=True)
                continue
            took, steps = found
            expected = steps if name == REFERENCE else expected
            try:
                check_equal(steps, expected, problem)
            except AssertionError as error:  # of one peer: the others are compared all the same
                print(f"  {name:24}other numbers: {' '.join(str(error).split())[:80]}", flush=True)
                continue
            print(f"  {name:24}{took * 1e6:12,.1f}", flush=True)


def main() -> None:
    """Run the tests, then the table; or say that there is nothing to run on."""
    if CUPY is None:
        print(f"No GPU, no test: {WHY_NOT}. On a machine with an NVIDIA card: {install('gpu')}")
        return
    card = CUPY.cuda.runtime.getDeviceProperties(0)["name"].decode()
    print(f"CuPy {CUPY.__version__} on {card}", flush=True)
    tests = [sys.executable, "-m", "pytest", "-n0", "-k", "cupy", *TESTS]
    if failed := subprocess.run(tests, check=False, cwd=ROOT).returncode:
        raise SystemExit(failed)
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # or JAX takes three quarters of the GPU's memory
    os.environ["JAX_DEFAULT_MATMUL_PRECISION"] = "highest"  # or its float32 products may have ten bits
    table(card)


if __name__ == "__main__":
    main()
