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

__all__ = ["Home", "aligned"]


def aligned(size: int, dtype: Any) -> Array:
    """An empty array that starts where a line of the processor's cache does."""
    dtype = np.dtype(dtype)
    raw = np.empty(size * dtype.itemsize + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size * dtype.itemsize].view(dtype)


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
        self.sides = [self._side(), self._side()]
        self.now = 0
        self.state: list[Any] = [None] * len(self.names)  # what the optimizer was given last
        self.version = 0
        self._pair()
        self.held = max(getrefcount(w) for _, _, w in self.triples[0])  # by nobody but us; counted as `unseen` counts

    def serves(self, layout: Layout, parameters: Sequence[Tensor], kinds: Sequence[bool]) -> bool:
        """Whether these parameters live here already, laid out like this."""
        same = len(parameters) == len(self.parameters) and all(map(is_, parameters, self.parameters))
        return same and layout == self.layout and tuple(kinds) == self.kinds

    def _side(self) -> _Side:
        return _Side(self.layout, self.names)

    def _pair(self) -> None:
        """For each side, the parameters with their views of this one, and of the other."""
        a, b = self.sides
        self.version += 1
        self.triples = [
            list(zip(self.parameters, a.views, b.views, strict=True)),
            list(zip(self.parameters, b.views, a.views, strict=True)),
        ]

    def ready(self, optimizer: Optimizer) -> None:
        """See to it that the values are here, and that nobody sees the memory of the next ones."""
        held = self.held
        for p, here, there in self.triples[self.now]:
            if p._value is not here or getrefcount(there) > held:
                self._settle(optimizer)
                break
        other = self.sides[1 - self.now]
        if getrefcount(other.shown) > other.references:
            self._renew()
        if self.kinds:
            state = optimizer._state
            for p, known in zip(self.parameters, self.state, strict=True):
                if state.get(p) is not known:
                    self._gather(optimizer)
                    break

    def _settle(self, optimizer: Optimizer) -> None:
        if any(p._value is not here for p, here, _ in self.triples[self.now]):
            self._gather(optimizer)
        held = self.held
        for _, _, there in self.triples[self.now]:
            if getrefcount(there) > held:
                self._renew()
                break

    def _renew(self) -> None:
        """New memory for the next values."""
        self.sides[1 - self.now] = self._side()
        self._pair()

    def _gather(self, optimizer: Optimizer) -> None:
        """Copy in what was replaced from outside: parameters, and the state of the optimizer."""
        side = self._side()
        known = [optimizer._state.get(p) for p in self.parameters]
        for p, view, own, state in zip(self.parameters, side.views, side.state, known, strict=True):
            view[...] = p._value
            arrays = state or optimizer._start(p)
            for new, x in zip(own, [x for x, kind in zip(arrays, self.kinds, strict=True) if kind], strict=True):
                new[...] = x
        self.sides[self.now] = side
        self._pair()
        self.state = known
        for p, view in zip(self.parameters, side.views, strict=True):
            p._value = view

    def counts(self, optimizer: Optimizer) -> list[Any]:
        """The numbers in the state of the optimizer, by parameter."""
        states = (known or optimizer._start(p) for p, known in zip(self.parameters, self.state, strict=True))
        return [x for state in states for x, kind in zip(state, self.kinds, strict=True) if not kind]

    def install(self, optimizer: Optimizer, steps: int, counts: Sequence[Any], gradients: Sequence[Any]) -> None:
        """Give the parameters and the optimizer what a step has computed; may be done again if it was interrupted."""
        for p, _, there in self.triples[self.now]:
            p._value = there
            p._grad = None
        if self.kinds:
            remaining = iter(counts)
            new = []
            for p, arrays in zip(self.parameters, self.sides[1 - self.now].state, strict=True):
                own = iter(arrays)
                optimizer._state[p] = state = tuple(next(own if kind else remaining) for kind in self.kinds)
                new.append(state)
            self.state = new
        for p, gradient in zip(self.parameters, gradients, strict=False):
            p._grad = gradient
        optimizer.steps = steps
