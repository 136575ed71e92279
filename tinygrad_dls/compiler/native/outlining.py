"""Outlining: lines of C that come several times, for other memory each time, become a function.

So the text of many layers, and the time to compile it, hardly grows with their number, and their machine code stays in
the processor's cache.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Block", "Outlines"]

SEVERAL = 3  # times, from which on lines become a function: below, calls would cost more than they save


@dataclass(eq=False, slots=True)
class Block:
    """Lines of C, and what they are given: marks stand in the lines for names of the text around them.

    Attributes
    ----------
    given : dict of (str, str) to str
        The marks, by the C types and the texts that they stand for.
    lines : list of str
    """

    given: dict[tuple[str, str], str] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)

    def mark(self, ctype: str, text: str) -> str:
        """What stands in the lines for a text."""
        return self.given.setdefault((ctype, text), f"@{len(self.given)}@")

    def key(self) -> tuple[tuple[str, ...], ...]:
        """What two blocks have in common that are the same function."""
        return tuple(ctype for ctype, _ in self.given), tuple(self.lines)

    def named(self, names: Sequence[str]) -> list[str]:
        """The lines, with names in the places of the marks."""
        return [re.sub("@([0-9]+)@", lambda mark: names[int(mark[1])], line) for line in self.lines]


class Outlines:
    """The functions that blocks have become.

    Parameters
    ----------
    stem : str
        What their names begin with.
    """

    def __init__(self, stem: str) -> None:
        self.stem = stem
        self.functions: dict[Any, tuple[str, list[str]]] = {}  # names and texts

    def lines(self, blocks: Sequence[Block], *around: str) -> list[str]:
        """The lines of blocks, one after another: calls, where a block comes several times.

        Parameters
        ----------
        blocks : sequence of Block
        *around : str
            Declarations of variables around the blocks, which they use by name.
        """
        times = Counter(block.key() for block in blocks)
        lines = []
        for block in blocks:
            types, texts = [ctype for ctype, _ in block.given], [text for _, text in block.given]
            if times[block.key()] < SEVERAL:
                lines += block.named(texts)
                continue
            name = self._function(block, [*around, *(f"{ctype}q{i}" for i, ctype in enumerate(types))])
            lines.append(f"{name}({', '.join([*(x.split()[-1] for x in around), *texts])});")
        return lines

    def _function(self, block: Block, parameters: Sequence[str]) -> str:
        """The name of a block's function."""
        if block.key() not in self.functions:
            name = f"{self.stem}_{len(self.functions)}"
            own = [f"    {line}" for line in block.named([f"q{i}" for i in range(len(block.given))])]
            head = f"static __attribute__((noinline)) void {name}({', '.join(parameters)}) {{"
            self.functions[block.key()] = name, [head, *own, "}"]
        return self.functions[block.key()][0]

    def texts(self) -> list[str]:
        """The lines of all functions."""
        return [line for _, lines in self.functions.values() for line in lines]
