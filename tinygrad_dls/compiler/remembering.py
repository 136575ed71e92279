"""The programs of a compiled step or function, by the shapes and dtypes of its data: those that were used last.

What is forgotten is recorded anew when it is needed again, which takes a thousand times as long as a step of a small
model. So that is said.
"""

from __future__ import annotations

import warnings
from collections.abc import Hashable
from typing import Any

from tinygrad_dls.compiler.guards import Dependencies

__all__ = ["Remembered"]

SHAPES = 1024  # kinds of data whose programs are remembered
BYTES = 2**28  # of arrays that all of these hold, besides those of the last one
STATES = 32  # programs for one kind of data, of different states of what they read


class Remembered:
    """Programs with what they read, which were right for the data of a kind when they were recorded.

    Parameters
    ----------
    what : str
        What was compiled, for warnings.
    """

    def __init__(self, what: str) -> None:
        self.what = what
        self._programs: dict[Hashable, list[tuple[Dependencies, Any, int]]] = {}
        self._bytes = 0
        self._forgotten: set[Hashable] = set()

    def __len__(self) -> int:
        return sum(map(len, self._programs.values()))

    def find(self, kind: Hashable) -> Any:
        """The program for data of a kind, if there is one and what it reads is as it was; else None."""
        for captured, program, _ in self._programs.get(kind, ()):
            if captured.holds():
                self._programs[kind] = self._programs.pop(kind)  # the last one that was used
                return program
        return None

    def add(self, kind: Hashable, captured: Dependencies, program: Any, size: int = 0) -> None:
        """Remember a program that holds so many bytes of arrays, and forget others if there are too many.

        Warns
        -----
        RuntimeWarning
            If one of this kind had to be forgotten before: steps are slow then.
        """
        programs = self._programs.pop(kind, [])
        if kind in self._forgotten:
            self._warn(
                f"the data come in more shapes than are remembered ({SHAPES:,} at most, or {BYTES >> 20} MB), so "
                "programs are recorded again and again. Use a few sizes of batches, or eager steps."
            )
        if len(programs) >= STATES:
            names = ", ".join(programs[-1][0].changes()) or "what the code reads"
            self._warn(
                f"{names} changes again and again, and each time the program is recorded anew. Pass what changes as an "
                "argument, or use eager steps."
            )
            self._bytes -= programs.pop(0)[2]
        self._programs[kind] = [*programs, (captured, program, size)]
        self._bytes += size
        while len(self._programs) > SHAPES or (self._bytes > BYTES and len(self._programs) > 1):
            oldest = next(iter(self._programs))
            self._bytes -= sum(size for *_, size in self._programs.pop(oldest))
            self._forgotten.add(oldest)

    def clear(self) -> None:
        """Forget all of them."""
        self._programs.clear()
        self._bytes = 0

    def _warn(self, text: str) -> None:
        self._forgotten.clear()  # say it now and then, not at each step
        warnings.warn(f"{self.what}: {text}", RuntimeWarning, stacklevel=5)
