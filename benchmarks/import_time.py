"""What ``import tinygrad_dls`` costs beside ``import numpy``: fresh interpreters, taking turns."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import numpy as np

ROUNDS = 41


def main() -> None:
    commands = {"nothing": "pass", "numpy": "import numpy", "tinygrad_dls": "import tinygrad_dls"}
    times: dict[str, list[float]] = {name: [] for name in commands}
    # byte code is written on the first import and used from then on, as after an installation
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    for i in range(-1, ROUNDS):
        for name, code in commands.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True, env=environment)
            if i >= 0:
                times[name].append(time.perf_counter() - start)
    start_up, numpy, ours = (float(np.median(times[name])) for name in commands)
    print(f"\nImport time, medians of {ROUNDS} fresh interpreters taking turns, interpreter start-up subtracted\n")
    print("| import | ms | ratio |")
    print("|---|---|---|")
    print(f"| numpy | {(numpy - start_up) * 1e3:.0f} | 1 |")
    print(f"| tinygrad_dls | {(ours - start_up) * 1e3:.0f} | {(ours - start_up) / (numpy - start_up):.2f} |")


if __name__ == "__main__":
    main()
