"""What a table has to name: the processor, and the versions."""

from __future__ import annotations

import functools
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

PACKAGES = "numpy", "scikit-learn", "threadpoolctl", "torch", "jax", "jaxlib", "autograd", "mygrad"


def machine() -> dict[str, Any]:
    """Facts about this machine and its software, as far as they are known."""
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "python": platform.python_version(),
        "blas": f"{blas['name']} {blas['version']}",
        "compiler": _compiler(),
        **{name: version for name in PACKAGES if (version := _version(name))},
    }


@functools.cache
def _compiler() -> str:
    """The compiler of C that a step is given to, as it calls itself; nothing if there is none."""
    from tinygrad_dls.compiler.native.building import NoCompiler, compiler

    try:
        command = [x for x in compiler() if not x.startswith("-march")]
    except NoCompiler:
        return ""
    said = subprocess.run([*command, "--version"], capture_output=True, text=True, check=False).stdout
    return said.splitlines()[0].strip() if said else ""


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
