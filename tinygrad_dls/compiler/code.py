"""A function of a plan, written: its text, the lines that set it up, and the memory that it needs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinygrad_dls.compiler.buffers import Line
from tinygrad_dls.compiler.liveness import Liveness
from tinygrad_dls.engine.arrays import Array

__all__ = ["RUN", "Code", "total_in_runs"]

RUN = 4096  # entries of a long sum that are added up in one go


@dataclass
class Code:
    """A function of a plan: its text, and the memory that it needs.

    Attributes
    ----------
    name, arguments, lines, returned
        The function.
    setup : list of Line
        What names the arrays, run once for each worker.
    liveness : Liveness
        Working memory.
    constants : dict
        By name, what the text cannot hold: NumPy's functions, and arrays.
    own : int
        Bytes of arrays that are kept apart, as they hold ones.
    hoisted : int
        How many constant arrays the setup makes.
    """

    name: str
    arguments: list[str]
    lines: list[Line] = field(default_factory=list)
    returned: str = ""
    setup: list[Line] = field(default_factory=list)
    liveness: Liveness = field(default_factory=Liveness)
    constants: dict[str, Any] = field(default_factory=dict)
    own: int = 0
    hoisted: int = 0

    @property
    def calls(self) -> int:
        """How many NumPy calls the function makes."""
        return len(self.lines)

    @property
    def bytes(self) -> int:
        """Bytes of the arrays that the function writes into."""
        return self.own + sum(n * int(np.dtype(dtype).itemsize) for dtype, n in self.liveness.slots)

    def function(self) -> str:
        """The function as Python."""
        column = max((len(line.text) for line in self.lines if line.comment and len(line.text) < 64), default=0)
        body = [f"{x.text:{column}}  # {x.comment}" if x.comment else x.text for x in self.lines]
        body += [f"return {self.returned}"] if self.returned else []
        return "\n    ".join([f"def {self.name}({', '.join(self.arguments)}):", *(body or ["pass"])])

    def text(self) -> str:
        """All of it as Python."""
        return "\n".join([*(line.text for line in self.setup), "", "", self.function(), ""])


def total_in_runs(x: Array, y: Array) -> Any:
    """The sum of products of many float32: BLAS adds them one by one, and each run by itself loses fewer digits."""
    whole = len(x) // RUN * RUN
    runs = np.matmul(x[:whole].reshape(-1, 1, RUN), y[:whole].reshape(-1, RUN, 1))
    return np.add.reduce(runs, None) + x[whole:].dot(y[whole:])
