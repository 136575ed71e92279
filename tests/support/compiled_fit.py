"""A plugin for pytest, ``-p tests.support.compiled_fit``: every training by `fit` runs compiled, its steps counted.

The environment's COMPILED_FIT_BACKEND is the backend.
"""

import os

import tinygrad_dls as tg
from tinygrad_dls.compiler.step import CompiledStep

taken = 0


def pytest_configure():
    tg.fit.__kwdefaults__["compile"] = {"backend": os.environ.get("COMPILED_FIT_BACKEND", "numpy")}
    step = CompiledStep.__call__

    def counted(self, X, Y):
        global taken
        taken += 1
        return step(self, X, Y)

    CompiledStep.__call__ = counted


def pytest_terminal_summary(terminalreporter):
    terminalreporter.write_line(f"{taken} compiled steps")
