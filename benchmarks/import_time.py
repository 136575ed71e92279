"""What ``import tinygrad_dls`` costs beside ``import numpy``: fresh interpreters, taking turns."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from importlib.util import find_spec
from statistics import median

from benchmarks.results import Results, arguments

MODULES = ["numpy", "tinygrad_dls", "autograd", "mygrad", "jax", "torch"]


def main() -> None:
    """Time every module that is installed; what the interpreter itself takes is subtracted."""
    quick = arguments(__doc__).quick
    modules = [name for name in MODULES if find_spec(name)]
    commands = {"": "pass", **{name: f"import {name}" for name in modules}}
    times: dict[str, list[float]] = {name: [] for name in commands}
    # byte code is written on the first import and used from then on, as after an installation
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    for i in range(-1, 3 if quick else 21):
        for name, code in commands.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True, env=environment)
            if i >= 0:
                times[name].append(round(time.perf_counter() - start, 4))
    results = Results("import_time", quick=quick)
    for name in modules:
        results.add(("module",), {"module": name, "seconds": times[name], "interpreter": times[""]})
        print(f"import {name}: {(median(times[name]) - median(times[''])) * 1e3:.0f} ms")


if __name__ == "__main__":
    main()
