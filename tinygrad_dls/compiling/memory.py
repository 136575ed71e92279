"""Where the parameters of a compiled step live: two flat arrays, one with the values, one for the next ones.

A step reads one and writes the other, and then the parameters are given views of the other: arrays are replaced, as the
eager optimizers replace them, and a step that is interrupted has changed nothing. The memory of the values before is
written over by the step after the next only if nobody but us can see it; otherwise there is new memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import is_
from sys import getrefcount
from typing import Any

import numpy as np

from tinygrad_dls.arrays import Array
from tinygrad_dls.compiling.updating import Layout
from tinygrad_dls.optim import Optimizer
from tinygrad_dls.tensor import Tensor

__all__ = ["Home", "aligned", "part"]


def aligned(size: int, dtype: Any) -> Array:
    """An empty array that starts where a line of the processor's cache does."""
    dtype = np.dtype(dtype)
    raw = np.empty(size * dtype.itemsize + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size * dtype.itemsize].view(dtype)


def part(memory: Array, shape: tuple[int, ...]) -> Array:
    """The first entries of a piece of memory, as an array of this shape."""
    size = 1
    for n in shape:
        size *= n
    return memory[:size].reshape(shape)


class _Side:
    """One of the two flat arrays, and the views of it that parameters and optimizer are given."""

    def __init__(self, layout: Layout, names: Sequence[str]) -> None:
        self.flat = aligned((1 + layout.states) * layout.size, layout.dtype)
        # Views of what others are given have a base of their own: its references tell whether anybody holds a part.
        self.shown = np.frombuffer(self.flat, layout.dtype)
        regions = [layout.views(self.shown, k) for k in range(1 + layout.states)]
        self.views = [regions[0][name] for name in names]
        self.state = [tuple(region[name] for region in regions[1:]) for name in names]
        del regions
        self.references = getrefcount(self.shown)


class _Pair:
    """Both sides; and for each, the parameters with their views of this one, and of the other.

    `version` is another object for each pair, for those who must not hold the pair itself: its references are counted.
    """

    __slots__ = ("sides", "triples", "version")

    def __init__(self, a: _Side, b: _Side, *triples: list[tuple[Tensor, Array, Array]]) -> None:
        self.sides, self.triples, self.version = (a, b), triples, object()


class Home:
    """The two sides, and which of them holds the values.

    Parameters
    ----------
    layout : Layout
    parameters : sequence of Tensor
    names : sequence of str
        What the layout calls them.
    kinds : sequence of bool
        Of the arrays of state that a parameter has: whether it is one of the parameter's dtype, or a number.
    """

    def __init__(
        self, layout: Layout, parameters: Sequence[Tensor], names: Sequence[str], kinds: Sequence[bool]
    ) -> None:
        self.layout, self.parameters, self.names, self.kinds = layout, list(parameters), list(names), tuple(kinds)
        self.now = 0
        self.state: list[Any] = [None] * len(self.names)  # what the optimizer was given last
        self.pair = self._pair([self._side(), self._side()])
        self.held = max(getrefcount(w) for _, _, w in self.pair.triples[0])  # by nobody but us; counted as in `ready`

    def serves(self, layout: Layout, parameters: Sequence[Tensor], kinds: Sequence[bool]) -> bool:
        """Whether these parameters live here already, laid out like this."""
        same = len(parameters) == len(self.parameters) and all(map(is_, parameters, self.parameters))
        return same and layout == self.layout and tuple(kinds) == self.kinds

    def _side(self) -> _Side:
        return _Side(self.layout, self.names)

    def _pair(self, sides: Sequence[_Side]) -> _Pair:
        a, b = sides
        return _Pair(
            a,
            b,
            list(zip(self.parameters, a.views, b.views, strict=True)),
            list(zip(self.parameters, b.views, a.views, strict=True)),
        )

    def _take(self, place: int, side: _Side) -> None:
        """Put new memory in the place of a side, by one assignment: Ctrl-C comes before it or after it."""
        sides = list(self.pair.sides)
        sides[place] = side
        self.pair = self._pair(sides)

    def ready(self, optimizer: Optimizer) -> None:
        """See to it that the values are here, and that nobody sees the memory of the next ones."""
        pair: Any = self.pair
        now, held = self.now, self.held
        other = pair.sides[1 - now]
        settled = getrefcount(other.shown) <= other.references
        if settled:
            for p, here, there in pair.triples[now]:
                if p._value is not here or getrefcount(there) > held:
                    settled = False
                    break
        if not settled:
            pair = other = here = there = None  # references, which are counted
            self._settle(optimizer)
        state = optimizer._state
        if self.kinds:
            for p, known in zip(self.parameters, self.state, strict=True):
                if state.get(p) is not known:
                    self._gather(optimizer)
                    break

    def _settle(self, optimizer: Optimizer) -> None:
        now, held = self.now, self.held
        other = self.pair.sides[1 - now]
        seen = getrefcount(other.shown) > other.references
        for _, _, there in self.pair.triples[now]:
            seen = seen or getrefcount(there) > held
        if seen:
            self._take(1 - now, self._side())
        if any(p._value is not here for p, here, _ in self.pair.triples[now]):
            self._gather(optimizer)

    def _gather(self, optimizer: Optimizer) -> None:
        """Copy in what was replaced from outside: parameters, and the state of the optimizer."""
        side = self._side()
        known = [optimizer._state.get(p) for p in self.parameters]
        for p, view, own, state in zip(self.parameters, side.views, side.state, known, strict=True):
            view[...] = p._value
            arrays = zip(self._whole(optimizer, p, state), self.kinds, strict=True)
            for new, x in zip(own, [x for x, kind in arrays if kind], strict=True):
                new[...] = x
        self._take(self.now, side)  # from here on, until the parameters are given their views, all is gathered again
        self.state = known
        for p, view in zip(self.parameters, side.views, strict=True):
            p._value = view

    def _whole(self, optimizer: Optimizer, p: Tensor, state: Any) -> Any:
        """The state of a parameter, or that before its first step if there is none, or one of another momentum."""
        return state if state and len(state) == len(self.kinds) else optimizer._start(p)

    def counts(self, optimizer: Optimizer) -> list[Any]:
        """The numbers in the state of the optimizer, by parameter."""
        states = (self._whole(optimizer, p, known) for p, known in zip(self.parameters, self.state, strict=True))
        return [x for state in states for x, kind in zip(state, self.kinds, strict=True) if not kind]

    def install(self, optimizer: Optimizer, steps: int, counts: Sequence[Any], gradients: Sequence[Any]) -> None:
        """Give the parameters and the optimizer what a step has computed; may be done again if it was interrupted."""
        for p, _, there in self.pair.triples[self.now]:
            p._value = there
            p._grad = None
        if self.kinds:
            remaining = iter(counts)
            new = []
            for p, arrays in zip(self.parameters, self.pair.sides[1 - self.now].state, strict=True):
                own = iter(arrays)
                optimizer._state[p] = state = tuple(next(own if kind else remaining) for kind in self.kinds)
                new.append(state)
            self.state = new
        elif optimizer._state:  # of a momentum that is 0 now: forgotten, as by the eager step
            for p in self.parameters:
                optimizer._state[p] = ()
        if gradients:
            for p, gradient in zip(self.parameters, gradients, strict=True):
                p._grad = gradient
        optimizer.steps = steps
