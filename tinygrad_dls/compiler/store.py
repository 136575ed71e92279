"""The parameter store of a compiled step: a front buffer with the values, and a back buffer for the next ones.

A buffer has a flat array for the parameters, and one for each array of the optimizer's state. A step reads the front
buffer and writes the back buffer; then the two change roles, and parameters and state are new views of what was
written: arrays are replaced, as the eager optimizers replace them, and a step that is interrupted has changed nothing.

Memory is written over only if no one can see it. Every array that is handed out is a view, and keeps alive what NumPy
calls its base. So do all views of it, and views of these: rows, transposes, a memoryview, the buffer of another
library. That base is an array that lends its memory and is itself handed out to nobody. So whoever sees the memory
holds it; besides our own views, nobody else does. If there is anyone, there is new memory.

A view itself is handed out again with its memory if nobody else has seen it, as to make one takes as long as a few
calls of Python's. When a parameter gives it back, it is looked whether anybody holds it, or a weak reference to it: it
is theirs then, and there is a new one.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import is_
from sys import getrefcount
from typing import Any
from weakref import getweakrefcount

import numpy as np

from tinygrad_dls.compiler.draft import Layout
from tinygrad_dls.engine.arrays import Array
from tinygrad_dls.engine.devices import called_kind, on_device
from tinygrad_dls.engine.errors import RecordingError
from tinygrad_dls.engine.tensor import Tensor
from tinygrad_dls.optimizer import Optimizer

__all__ = ["ParameterStore", "aligned"]

WORTH_A_COPY = 4096  # bytes that an array which somebody keeps may keep with it, besides four times its own
SMALL, LARGE = (
    2**14,
    2**20,
)  # bytes of an array that is always copied, and of what it would keep: a bias of a large model


def aligned(size: int, dtype: Any) -> Array:
    """An empty array that starts where a line of the processor's cache does."""
    dtype = np.dtype(dtype)
    raw = np.empty(size * dtype.itemsize + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size * dtype.itemsize].view(dtype)


class _Lender:
    """What the memory belongs to, as far as NumPy knows: the base of a view is the last array before something else."""

    def __init__(self, array: Array) -> None:
        self.array, self.__array_interface__ = array, array.__array_interface__


class _Region:
    """A flat array of all parameters, or of one array of state for each; and what knows whether anybody sees it.

    Attributes
    ----------
    flat : array
        For the functions of plans.
    shown : array
        The memory of `flat` once more. It is the base of all that is handed out, and nobody holds it otherwise.
    patterns : list of array
        What the views that are handed out look like, in the order of the parameters: ``x[...]`` is a new one.
    views : list of array
        Those that are handed out.
    """

    __slots__ = ("flat", "patterns", "shown", "unseen", "views")

    def __init__(self, layout: Layout, names: Sequence[str]) -> None:
        self.flat = aligned(layout.size, layout.dtype)
        self.shown = np.asarray(_Lender(self.flat))
        views = layout.views(self.shown)
        self.patterns = [views[name] for name in names]
        self.views = [x[...] for x in self.patterns]
        del views
        self.unseen = getrefcount(self.shown)  # our views', and no more; counted in the same words wherever it is


_Buffer = tuple[_Region, ...]  # the parameters, and each array of state


class _DoubleBuffer:
    """Both buffers; and for each, the parameters with the views that they get, and those that they give back.

    `version` is another object for each pair, for those who need not keep its memory alive.
    """

    __slots__ = ("buffers", "rows", "version")

    def __init__(self, parameters: Sequence[Tensor], *buffers: _Buffer) -> None:
        self.buffers, self.version = buffers, object()
        a, b = (buffer[0].views for buffer in buffers)
        self.rows = [list(zip(parameters, a, b, strict=True)), list(zip(parameters, b, a, strict=True))]

    def renew(self, index: int, old: Array) -> None:
        """Take a new view, where the parameters of this buffer are to give back one that is somebody else's."""
        i = next(i for i, (_, _, x) in enumerate(self.rows[index]) if x is old)
        region = self.buffers[1 - index][0]
        p, view, _ = self.rows[index][i]
        region.views[i] = new = region.patterns[i][...]
        self.rows[index][i], self.rows[1 - index][i] = (p, view, new), (p, new, view)


class ParameterStore:
    """The two buffers, and which of them is in front: it holds the values.

    Parameters
    ----------
    layout : Layout
    parameters : sequence of Tensor
    names : sequence of str
        What the layout calls them.
    kinds : sequence of tuple of int
        The region of a buffer that holds each part of each parameter's state, 1 or more; or 0 for a number or an array
        of another kind, which does not live here.
    """

    def __init__(
        self, layout: Layout, parameters: Sequence[Tensor], names: Sequence[str], kinds: Sequence[tuple[int, ...]]
    ) -> None:
        self.layout, self.parameters, self.names, self.kinds = layout, list(parameters), list(names), list(kinds)
        self.has_state = any(self.kinds)
        self.elsewhere = [(i, j) for i, kinds in enumerate(self.kinds) for j, k in enumerate(kinds) if not k]
        self.one_kind = all(kinds == self.kinds[0] for kinds in self.kinds)
        self.front = 0
        self.here: list[Any] = [None] * len(self.names)  # what the parameters were given last
        self.state: list[Any] = [None] * len(self.names)  # and the optimizer
        self.is_whole = False  # whether that has all the parts: not before the first step
        self.apart: dict[tuple[int, int], None] = {}  # by region and parameter: what is handed out as a copy
        self.pair = _DoubleBuffer(self.parameters, self._buffer(), self._buffer())
        for _, _, old in self.pair.rows[0]:  # counted in the same words as in `install`
            self.alone = getrefcount(old) + 1  # of a view that its parameter holds, and nobody else but us
        region = self.pair.buffers[0][0]
        if region.flat.nbytes > LARGE:  # at once, as copies cost nothing beside the rest of the step
            self.apart = {(0, i): None for i, x in enumerate(region.patterns) if x.nbytes <= SMALL}

    def serves(self, layout: Layout, parameters: Sequence[Tensor], kinds: Sequence[tuple[int, ...]]) -> bool:
        """Whether these parameters live here already, laid out like this."""
        same = len(parameters) == len(self.parameters) and all(map(is_, parameters, self.parameters))
        return same and layout == self.layout and list(kinds) == self.kinds

    def _buffer(self) -> _Buffer:
        return tuple(self._region() for _ in range(1 + self.layout.states))

    def _region(self) -> _Region:
        return _Region(self.layout, self.names)

    def _take(self, index: int, buffer: _Buffer) -> None:
        """Put new memory in the place of a buffer, by one assignment: Ctrl-C comes before it or after it."""
        buffers = list(self.pair.buffers)
        buffers[index] = buffer
        self.pair = _DoubleBuffer(self.parameters, *buffers)

    def ready(self, optimizer: Optimizer) -> None:
        """See to it that the values are here, and that nobody sees the memory of the next ones."""
        for region in self.pair.buffers[1 - self.front]:
            if getrefcount(region.shown) > region.unseen:
                self._replace_seen()
                break
        here, i = self.here, 0
        for p in self.parameters:  # without zip or enumerate: a third less time, at each step
            if p._value is not here[i]:
                self._gather(optimizer)
                break
            i += 1  # noqa: SIM113
        if self.has_state or self.apart:
            self._make_more_ready(optimizer)

    def _make_more_ready(self, optimizer: Optimizer) -> None:
        """See to it that the state is here, and what was handed out as copies."""
        if self.has_state:
            state = optimizer._state
            for p, known in zip(self.parameters, self.state):  # noqa: B905  # of one length, and often gone through
                if state.get(p) is not known:
                    self._gather(optimizer)
                    break
        if self.apart:
            self._collect()

    def _replace_seen(self) -> None:
        """Take new memory where somebody sees the old; small parts of what was kept are handed out as copies then."""
        index = 1 - self.front
        buffer = list(self.pair.buffers[index])
        apart = dict(self.apart)
        for k, region in enumerate(buffer):
            if getrefcount(region.shown) > region.unseen:
                small = (i for i, x in enumerate(region.patterns) if 4 * x.nbytes + WORTH_A_COPY < region.flat.nbytes)
                apart |= {(k, i): None for i in small}
                buffer[k] = self._region()
        self._take(index, tuple(buffer))
        self.apart = apart

    def _gather(self, optimizer: Optimizer) -> None:
        """Copy in what was replaced from outside: parameters, and the state of the optimizer."""
        buffer = self._buffer()
        known = [optimizer._state.get(p) for p in self.parameters]
        here = buffer[0].views
        for i, (p, view, state) in enumerate(zip(self.parameters, here, known, strict=True)):
            view[...] = _numpys(p._value, p)
            for k, x in zip(self.kinds[i], self._whole(optimizer, i, state), strict=True):
                if k:
                    buffer[k].patterns[i][...] = _numpys(x, p)
        # from here on, until the parameters are given their views, all is gathered again
        self._take(self.front, buffer)
        self.state, self.is_whole, self.here = known, False, here
        for p, view in zip(self.parameters, here, strict=True):
            p._value = view

    def _collect(self) -> None:
        """Copy in what was handed out as copies: it may have been changed in place."""
        for k, i in self.apart:
            x = self.here[i]
            if k:
                state = self.state[i]
                if not state or len(state) != len(self.kinds[i]):
                    continue  # before the first step, all of it is gathered
                x = state[self.kinds[i].index(k)]
            self.pair.buffers[self.front][k].patterns[i][...] = x

    def _whole(self, optimizer: Optimizer, i: int, state: Any) -> Any:
        """The state of a parameter, or that before its first step if there is none, or one of another momentum."""
        known = state and len(state) == len(self.kinds[i])
        return state if known else optimizer._start(self.parameters[i])

    def counts(self, optimizer: Optimizer) -> list[Any]:
        """What is in the state of the optimizer and does not live here, by parameter: numbers, for the most part."""
        state = self.state
        if not self.is_whole:
            state = [self._whole(optimizer, i, known) for i, known in enumerate(state)]
        return [state[i][j] for i, j in self.elsewhere]

    def install(
        self, index: int, optimizer: Optimizer, steps: int, counts: Sequence[Any], gradients: Sequence[Any]
    ) -> None:
        """Give the parameters and the optimizer what a step has written to a buffer.

        It may be done again if it was interrupted.
        """
        pair = self.pair
        here = pair.buffers[index][0].views
        alone = self.alone + (self.here is not pair.buffers[1 - index][0].views)  # a list with copies holds it, too
        for p, w, old in pair.rows[index]:
            if getrefcount(old) > alone or getweakrefcount(old):
                pair.renew(index, old)
            p._value = w
            p._grad = None
        if self.apart:
            here = here.copy()
        if self.has_state or self.apart or optimizer._state:
            self._install_more(index, optimizer, counts, here)
        if gradients:
            for p, gradient in zip(self.parameters, gradients, strict=True):
                p._grad = gradient
        optimizer.steps = steps
        self.front, self.here = index, here

    def _install_more(self, index: int, optimizer: Optimizer, counts: Sequence[Any], here: list[Any]) -> None:
        """The copies among the parameters, which take their places in the list too, and the state."""
        if self.apart:
            self._copy_some(0, here)
            for p, w in zip(self.parameters, here, strict=True):
                p._value = w
        if self.has_state:
            self.state = new = self._new_state(self.pair.buffers[index][1:], counts)
            self.is_whole = True
            optimizer._state.update(zip(self.parameters, new, strict=True))
        elif optimizer._state:  # of a momentum that is 0 now: forgotten, as by the eager step
            optimizer._state.update(dict.fromkeys(self.parameters, ()))

    def _new_state(self, regions: Sequence[_Region], counts: Sequence[Any]) -> list[tuple[Any, ...]]:
        """The parts of the state, by parameter."""
        arrays: list[list[Any]] = [[], *([x[...] for x in region.patterns] for region in regions)]
        if self.apart:
            for k, column in enumerate(arrays[1:], 1):
                self._copy_some(k, column)
        remaining = iter(counts)
        if not self.one_kind:
            return [tuple(arrays[k][i] if k else next(remaining) for k in kinds) for i, kinds in enumerate(self.kinds)]
        kinds = self.kinds[0]
        n = kinds.count(0)
        first = iter(range(n))
        return list(zip(*[arrays[k] if k else counts[next(first) :: n] for k in kinds], strict=True))

    def _copy_some(self, k: int, arrays: list[Any]) -> None:
        """Copies in the place of what is small and was kept by somebody."""
        for i in (i for of, i in self.apart if of == k):
            arrays[i] = arrays[i].copy()


def _numpys(x: Array, p: Tensor) -> Array:
    """The array of a parameter, or of its state, unless it has been moved to a device since the step was compiled."""
    if on_device(x):
        raise RecordingError(
            f"{p.name or 'a parameter'}, or what the optimizer remembers of it, lies on a device ({called_kind(x)}), "
            "and a compiled step computes with NumPy's arrays. Bring them back: model.to(cupy.asnumpy), and then "
            "optimizer.load_state_dict(optimizer.state_dict())."
        )
    return x
