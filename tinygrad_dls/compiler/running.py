"""What a plan needs to run: memory, and its functions with the names of the arrays that they use."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from types import CodeType, FunctionType
from typing import Any

import numpy as np

from tinygrad_dls.compiler.instructions import Place, Routine, perform
from tinygrad_dls.compiler.plan import Plan
from tinygrad_dls.compiler.store import ParameterStore, aligned
from tinygrad_dls.compiler.text import Text
from tinygrad_dls.compiler.threads import LANES, available, cores, one_blas_thread, shared
from tinygrad_dls.engine.arrays import Array

__all__ = ["Runner", "back_restored"]


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

    def __init__(self, plan: Plan, threads: int | None) -> None:
        self.plan, self.asked = plan, threads
        self.version: object = None
        self.run: list[Callable[..., Any]] = []
        self.workers = self._workers()
        self.compiled = {id(routine): _compiled(routine) for routine in plan.routines()}
        self.common: dict[tuple[int, int], dict[str, Any]] = {}  # by function and worker: the names of both buffers
        dtype = plan.layout.dtype
        self.total = aligned(plan.sums or plan.layout.size, dtype)
        self.scratch = [aligned(plan.sums, dtype) for _ in range(self.workers)] if plan.tiles else []
        for own in self.scratch:
            own.fill(0)  # the update computes some gradients by itself; what is in their places is added up too
        self.lanes = np.empty((self._lanes(), plan.sums), dtype) if plan.tiles else None
        self.spaces = plan.native.memory() if plan.native is not None else {}

    def _workers(self) -> int:
        """The threads that work on a step: those that were asked for, or all where they have enough to do."""
        plan = self.plan
        if plan.native is not None:
            return min(self.asked or cores(), LANES) if plan.native.shared else 1
        return min(self.asked or (available() if plan.is_shared else 1), self._lanes()) if plan.tiles else 1

    def _lanes(self) -> int:
        return min(LANES, len(self._tiles()))

    def _tiles(self) -> list[tuple[int, int]]:
        m, width = self.plan.m or 0, self.plan.width
        return [(start, min(start + width, m)) for start in range(0, m, width)]

    @property
    def bytes(self) -> int:
        """Bytes of the arrays that it writes into, besides the parameters."""
        plan = self.plan
        tiles = self.workers * sum(routine.bytes for routine in plan.tiles.values())
        others = sum(routine.bytes for routine in (plan.whole, plan.update) if routine is not None)
        own = [self.total, *self.scratch, *([] if self.lanes is None else [self.lanes]), *chain(*self.spaces.values())]
        return tiles + others + sum(int(x.nbytes) for x in own)

    def explain(self) -> str:
        """What the passes have done, and what memory it takes."""
        routines, lines = self.plan.routines(), list(self.plan.lines)
        if self.plan.tiles:
            lines.append(f"{self.workers} thread{'s share' if self.workers > 1 else ' does'} the tiles.")
        elif self.plan.native is not None:
            lines += self.plan.native.told(self.workers, self.asked)
        lines.append(
            f"{self.bytes:,} bytes of arrays, made once: {sum(x.in_place for x in routines)} results are "
            f"written over an argument, {sum(x.reused for x in routines)} into memory that was used before."
        )
        return "\n".join(lines)

    def bind(self, store: ParameterStore) -> None:
        """Make the functions for the memory of a store."""
        a, b = ([region.flat for region in buffer] for buffer in store.pair.buffers)
        self.run = [self._step(a, b), self._step(b, a)]
        self.version = store.pair.version

    def bind_alone(self) -> None:
        """Make the function of a plan without parameters."""
        assert self.plan.whole is not None
        self.run = [self._function(self.plan.whole, 0, {})]

    def _step(self, before: list[Array], after: list[Array]) -> Callable[..., Any]:
        plan, total, regions = self.plan, self.total, self.plan.layout.regions
        buffers = dict(zip(regions, before, strict=True)) | {f"new_{r}": x for r, x in zip(regions, after, strict=True)}
        if plan.whole is not None:
            return self._function(plan.whole, 0, buffers, gradients=total)
        return self._in_tiles(buffers)

    def _in_tiles(self, buffers: dict[str, Array]) -> Callable[..., Any]:
        """A step whose tiles threads share, lane by lane, and which then adds up the lanes and updates."""
        plan, total = self.plan, self.total
        assert self.lanes is not None
        assert plan.update is not None
        size, lanes = plan.layout.size, self.lanes
        update = self._function(plan.update, 0, buffers, gradients=total[:size], sums=total)
        columns = [
            {
                width: self._function(routine, worker, buffers, gradients=own[:size], sums=own)
                for width, routine in plan.tiles.items()
            }
            for worker, own in enumerate(self.scratch)
        ]
        tiles, count = self._tiles(), len(lanes)
        groups = [tiles[i * len(tiles) // count : (i + 1) * len(tiles) // count] for i in range(count)]
        split, scratch, workers = plan.split, self.scratch, self.workers

        def step(*arguments: Any) -> Any:
            arrays = arguments[: len(split)]

            def lane(worker: int, i: int) -> None:
                own, sums = lanes[i], scratch[worker]
                for k, (start, stop) in enumerate(groups[i]):
                    columns[worker][stop - start](
                        *[x[..., start:stop] if cut else x for x, cut in zip(arrays, split, strict=True)]
                    )
                    if k:
                        np.add(own, sums, own)
                    else:
                        own[...] = sums

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
        self, routine: Routine, worker: int, buffers: dict[str, Array], **arrays: Array
    ) -> Callable[..., Any]:
        """The function of a routine, whose names stand for these arrays and for memory of the worker's own.

        What does not lie in one of the flat arrays is the same for both buffers, so that it stays in the cache.
        """
        key = id(routine), worker
        if key not in self.common:
            memory = {slot.name: aligned(slot.size, slot.dtype) for slot in routine.slots}
            self.common[key] = names = {"m": self.plan.m, **memory, **arrays}
            perform((x for x in routine.setup if x.out.place is not Place.DOUBLE), names)
        constants, body = self.compiled[id(routine)]
        names = {**self.common[key], **buffers}
        perform((x for x in routine.setup if x.out.place is Place.DOUBLE), names)
        native = self.plan.native
        functions: dict[str, Callable[..., float]] = {}
        if native is not None:
            functions = native.bound(names, self.spaces, self.workers)
            if alone := native.alone(routine):
                return functions[alone]
        # Python remembers in the code of a function where its global names were found: for each buffer its own copy.
        return FunctionType(body.replace(), {**names, **constants, **functions})


@contextmanager
def back_restored(store: ParameterStore) -> Iterator[None]:
    """Let another plan write into the back buffer, and put back what was there."""
    back = [region.flat for region in store.pair.buffers[1 - store.front]]
    before = [x.copy() for x in back]
    try:
        yield
    finally:
        for x, y in zip(back, before, strict=True):
            x[...] = y


def _compiled(routine: Routine) -> tuple[dict[str, Any], CodeType]:
    """What the function of a routine needs by name, and its code."""
    text = Text(routine)
    module = builtins.compile(text.function, "<compiled step>", "exec")
    return {"np": np, **text.constants}, next(x for x in module.co_consts if isinstance(x, CodeType))
