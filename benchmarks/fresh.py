"""Measurements that need a fresh process each time: a module is run with arguments, and prints one line of JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from benchmarks.problems import Problem


def in_fresh_process(module: str, *arguments: Any, **environment: str) -> Any:
    """The last line that ``python -m module`` prints, as JSON; its error, if it fails, as ``{"error": ...}``."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    run = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | environment)
    if run.returncode:
        return {"error": run.stderr.strip().splitlines()[-1]}
    return json.loads(run.stdout.splitlines()[-1])


def problem_of(text: str) -> Problem:
    """The problem that `text_of` wrote."""
    sizes, m, dtype = text.split(",")
    return Problem(tuple(map(int, sizes.split("-"))), int(m), dtype)


def text_of(problem: Problem) -> str:
    """A problem as one argument of a command: ``2-4-1,400,float32``."""
    return f"{'-'.join(map(str, problem.sizes))},{problem.m},{problem.dtype}"
