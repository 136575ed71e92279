"""The course's tables and the examples hold when every training is compiled."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("backend", ["numpy", "native"])
def test_course_tables_and_examples_are_reproduced_by_compiled_training(backend):
    """The same tests, to the same digits, in a process in which `fit` compiles."""
    run = subprocess.run(
        [
            sys.executable, "-m", "pytest", "-q", "-p", "tests.support.compiled_fit", "-p", "no:cacheprovider",
            "tests/test_course_tables.py", "tests/test_examples.py",
            "-k",  # those that train
            "not page and not derivation and not picture and not graph and not printed and not demo and not thumbnail",
        ],
        cwd=ROOT, capture_output=True, text=True, check=False, env=os.environ | {"COMPILED_FIT_BACKEND": backend},
    )  # fmt: skip
    assert run.returncode == 0, run.stdout[-3000:]
    assert int(re.search(r"(\d+) passed", run.stdout).group(1)) > 60
    assert int(re.search(r"(\d+) compiled steps", run.stdout).group(1)) > 10_000
