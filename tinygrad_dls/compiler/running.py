"""What a plan needs to run: memory, and its functions with the names of the arrays that they use."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from types import CodeType, FunctionType
from typing import Any

import numpy as np

from tinygrad_dls.compiler.code import Code
from tinygrad_dls.compiler.plan import Plan
from tinygrad_dls.compiler.store import ParameterStore, aligned, part
from tinygrad_dls.compiler.threads import LANES, one_blas_thread, shared
from tinygrad_dls.engine.arrays import Array

__all__ = ["Runner"]


class Runner:
    """Runs a plan on the parameters of a store.

    Attributes
    ----------
    run : list of functions
        For each buffer of the store, as the one in front, what computes a step from the data, the learning rate and the
        counts.
    version : object
        The version of the two buffers that the functions were made for.
    """

    def __init__(self, plan: Plan, threads: int) -> None:
        self.plan = plan
        self.version: object = None
        self.run: list[Callable[..., Any]] = []
        self.workers = min(threads, self._lanes()) if plan.tiles else 1
        self.compiled = {id(code): _compiled(code) for code in plan.codes()}
        self.common: dict[tuple[int, int], dict[str, Any]] = {}  # by function and worker: the names of both buffers
        dtype = plan.layout.dtype
        self.total = aligned(plan.sums or plan.layout.size, dtype)
        self.scratch = [aligned(plan.sums, dtype) for _ in range(self.workers)] if plan.tiles else []
        for own in self.scratch:
            own.fill(0)  # the update computes some gradients by itself; what is in their places is added up too
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

    def explain(self) -> str:
        """What the passes have done, and what memory it takes."""
        codes, lines = self.plan.codes(), list(self.plan.lines)
        if self.plan.tiles:
            lines.append(f"{self.workers} thread{'s share' if self.workers > 1 else ' does'} the tiles.")
        lines.append(
            f"{self.bytes:,} bytes of arrays, made once: {sum(len(c.liveness.in_place) for c in codes)} results are "
            f"written over an argument, {sum(c.liveness.reused for c in codes)} into memory that was used before."
        )
        return "\n".join(lines)

    def bind(self, store: ParameterStore) -> None:
        """Make the functions for the memory of a store."""
        a, b = ([region.flat for region in buffer] for buffer in store.pair.buffers)
        self.run = [self._step(a, b), self._step(b, a)]
        self.version = store.pair.version

    def _step(self, before: list[Array], after: list[Array]) -> Callable[..., Any]:
        plan, total, buffers = self.plan, self.total, {"before": before, "after": after}
        if plan.whole is not None:
            return self._function(plan.whole, 0, buffers, gradients=total)
        assert self.lanes is not None
        assert plan.update is not None
        size, lanes = plan.layout.size, self.lanes
        update = self._function(plan.update, 0, buffers, gradients=total[:size], sums=total)
        columns = [
            {
                width: self._function(code, worker, buffers, gradients=own[:size], sums=own)
                for width, code in plan.tiles.items()
            }
            for worker, own in enumerate(self.scratch)
        ]
        tiles, count = self._tiles(), len(lanes)
        groups = [tiles[i * len(tiles) // count : (i + 1) * len(tiles) // count] for i in range(count)]
        split, scratch, workers = plan.split, self.scratch, self.workers

        def step(*arguments: Any) -> Any:
            arrays = arguments[: len(split)]

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

    def _function(
        self, code: Code, worker: int, buffers: dict[str, list[Array]], **arrays: Array
    ) -> Callable[..., Any]:
        """The function of a text, whose names stand for these arrays and for memory of the worker's own.

        What does not lie in one of the flat arrays is the same for both buffers, so that it stays in the cache.
        """
        key = id(code), worker
        common, own, body = self.compiled[id(code)]
        if key not in self.common:
            memory = [aligned(n, dtype) for dtype, n in code.liveness.slots]
            names = {"np": np, "part": part, "m": self.plan.m, "memory": memory, **code.constants, **arrays}
            exec(common, names)
            self.common[key] = names
        names = {**self.common[key], **buffers}
        exec(own, names)
        # Python remembers in the code of a function where its global names were found: for each buffer its own copy.
        return FunctionType(body.replace(), names)


def _compiled(code: Code) -> tuple[CodeType, CodeType, CodeType]:
    """The lines of the setup that both buffers share, the others, and the function, compiled by Python."""
    parts = [[line.text for line in code.setup if line.per_buffer is per_buffer] for per_buffer in (False, True)]
    texts = ["\n".join(parts[0]), "\n".join(parts[1]), code.function()]
    common, own, module = (builtins.compile(text, "<compiled step>", "exec") for text in texts)
    return common, own, next(x for x in module.co_consts if isinstance(x, CodeType))
