"""What a plan needs to run: memory, and its functions with the names of the arrays that they use."""

from __future__ import annotations

import builtins
import re
from collections.abc import Callable
from types import CodeType, FunctionType
from typing import Any

import numpy as np

from tinygrad_dls.arrays import Array
from tinygrad_dls.compiling.memory import Home, aligned
from tinygrad_dls.compiling.planning import Plan
from tinygrad_dls.compiling.threads import LANES, one_blas_thread, shared
from tinygrad_dls.compiling.writing import Code

__all__ = ["Runner", "part"]


def part(memory: Array, shape: tuple[int, ...]) -> Array:
    """The first entries of a piece of memory, as an array of this shape."""
    size = 1
    for n in shape:
        size *= n
    return memory[:size].reshape(shape)


class Runner:
    """Runs a plan on the parameters of a home.

    Attributes
    ----------
    run : list of functions
        For each side of the home, what computes a step from the data, the learning rate and the counts.
    version : object
        Of the pair of sides that the functions were made for.
    """

    def __init__(self, plan: Plan, threads: int) -> None:
        self.plan = plan
        self.version: object = None
        self.run: list[Callable[..., Any]] = []
        self.workers = min(threads, self._lanes()) if plan.tiles else 1
        self.texts = {id(code): _texts(code) for code in plan.codes()}
        self.common: dict[tuple[int, int], dict[str, Any]] = {}  # by function and worker: the names of both sides
        dtype = plan.layout.dtype
        self.total = aligned(plan.sums or plan.layout.size, dtype)
        self.scratch = [aligned(plan.sums, dtype) for _ in range(self.workers)] if plan.tiles else []
        self.lanes = np.empty((self._lanes(), plan.sums), dtype) if plan.tiles else None

    def _lanes(self) -> int:
        return min(LANES, len(self._tiles()))

    def _tiles(self) -> list[tuple[int, int]]:
        m, width = self.plan.m or 0, self.plan.width
        return [(start, min(start + width, m)) for start in range(0, m, width)]

    @property
    def bytes(self) -> int:
        """Bytes of the arrays that it writes into, besides the parameters."""
        plan = self.plan
        tiles = self.workers * sum(code.bytes for code in plan.tiles.values())
        others = sum(code.bytes for code in (plan.whole, plan.update) if code is not None)
        sums = (self.workers + self._lanes()) * plan.sums * np.dtype(plan.layout.dtype).itemsize if plan.tiles else 0
        return tiles + others + sums

    def bind(self, home: Home) -> None:
        """Make the functions for the memory of a home."""
        a, b = (side.flat for side in home.pair.sides)
        self.run = [self._step(a, b), self._step(b, a)]
        self.version = home.pair.version

    def _step(self, before: Array, after: Array) -> Callable[..., Any]:
        plan, total, sides = self.plan, self.total, {"before": before, "after": after}
        if plan.whole is not None:
            return self._function(plan.whole, 0, sides, gradients=total)
        assert self.lanes is not None
        assert plan.update is not None
        size, lanes = plan.layout.size, self.lanes
        update = self._function(plan.update, 0, sides, gradients=total[:size], sums=total)
        columns = [
            {
                width: self._function(code, worker, sides, gradients=own[:size], sums=own)
                for width, code in plan.tiles.items()
            }
            for worker, own in enumerate(self.scratch)
        ]
        tiles, count = self._tiles(), len(lanes)
        groups = [tiles[i * len(tiles) // count : (i + 1) * len(tiles) // count] for i in range(count)]
        split, data, scratch, workers = plan.split, len(plan.data), self.scratch, self.workers

        def step(*arguments: Any) -> Any:
            arrays = arguments[:data]

            def lane(worker: int, i: int) -> None:
                first, own, sums = True, lanes[i], scratch[worker]
                for start, stop in groups[i]:
                    columns[worker][stop - start](
                        *[x[..., start:stop] if cut else x for x, cut in zip(arrays, split, strict=True)]
                    )
                    if first:
                        own[...] = sums
                        first = False
                    else:
                        np.add(own, sums, own)

            one = one_blas_thread()
            try:
                one.begin()
                shared(range(count), lane, workers)
                one.end()
            except BaseException:
                one.end()
                raise
            np.add.reduce(lanes, 0, None, total)
            return update(*arguments)

        return step

    def _function(self, code: Code, worker: int, sides: dict[str, Array], **arrays: Array) -> Callable[..., Any]:
        """The function of a text, whose names stand for these arrays and for memory of the worker's own.

        What does not lie in one of the flat arrays is the same for both sides, so that it stays in the cache.
        """
        key = id(code), worker
        common, own, body = self.texts[id(code)]
        if key not in self.common:
            memory = [aligned(n, dtype) for dtype, n in code.slots]
            names = {"np": np, "part": part, "m": self.plan.m, "memory": memory, **code.constants, **arrays}
            exec(common, names)
            self.common[key] = names
        names = {**self.common[key], **sides}
        exec(own, names)
        # Python remembers in the code of a function where its global names were found: for each side its own copy.
        return FunctionType(body.replace(), names)


def _texts(code: Code) -> tuple[CodeType, CodeType, CodeType]:
    """The lines of the setup that both sides share, the others, and the function, compiled by Python."""
    sides = {"before", "after"}
    common, own = [], []
    for line in code.setup:
        names, _, value = line.partition(" = ")
        if sides & set(re.findall(r"\w+", value)):
            sides.update(names.split(", "))
            own.append(line)
        else:
            common.append(line)
    texts = "\n".join(common), "\n".join(own), code.function.text()
    first, second, module = (builtins.compile(text, "<compiled step>", "exec") for text in texts)
    return first, second, next(x for x in module.co_consts if isinstance(x, CodeType))
