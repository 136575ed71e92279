"""What follows from what in a backprop: a step from a person's own arrays, or as if one had come out otherwise.

The person's arrays are taken where they were given; what was not given is computed from those before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

import numpy as np

from tinygrad_dls.check.causes import HANDED_ON, kind_of
from tinygrad_dls.check.chain import Arrays, Chain
from tinygrad_dls.check.nearness import Digits
from tinygrad_dls.engine.arrays import Array

__all__ = ["Consequences"]


class Consequences:
    """The steps of a backprop as far as they are known, and what follows from them.

    Attributes
    ----------
    chain : Chain
        The network's steps.
    digits : Digits
        To how many digits its arrays are compared.
    exact : dict of str to array
        What was given, as float64, in the model's shapes.
    convention : float
        By what the dA and dZ are larger than those of the cost: 1, or m for those of each example's loss.
    out : dict of str to array
        The steps up to now: as they were given, or as they follow.
    doubtful : list of str
        Steps of these that are not autodiff's: wrong ones, and what follows.
    """

    def __init__(self, chain: Chain, digits: Digits, exact: Arrays, convention: float) -> None:
        self.chain, self.digits, self.exact, self.convention = chain, digits, exact, convention
        self.out: Arrays = {}
        self.doubtful: list[str] = []
        self.last_dA = f"dA{chain.numbers[-1]}"
        chain.masked_gates = False

    def compute(self, name: str, out: Arrays) -> Array:
        """A step from those before it; from autodiff's own, where the shapes of these do not allow it."""
        try:
            return self.chain.compute(name, out, through_dA=self.last_dA in self.doubtful)
        except ValueError:
            return self.chain.reference[name]

    def steps(self, name: str, where: str, instead: Mapping[str, Array]) -> Arrays:
        """The steps before `name`, if some, of which `where` is the first, had come out otherwise."""
        names, through_dA = self.chain.names, self.last_dA in (*instead, *self.doubtful)
        out = self.out | dict(instead)
        for step in names[names.index(where) + 1 : names.index(name)]:
            if step in self.exact and step not in out:
                out[step] = self.usable(step)
            elif step not in self.exact and step not in instead:
                out[step] = self.chain.compute(step, out, through_dA)
        return out

    def if_instead(
        self, name: str, where: str, candidate: Array, others: Mapping[str, Array] = MappingProxyType({})
    ) -> Array | None:
        """The step `name`, if the step `where` had come out as a candidate; None if the shapes do not allow it."""
        if name == where:
            return candidate
        if where in self.exact:
            return self.compute(name, self.out)
        instead = {step: x for step, x in others.items() if step not in self.exact} | {where: candidate}
        through_dA = self.last_dA in (*instead, *self.doubtful)
        try:
            return self.chain.compute(name, self.steps(name, where, instead), through_dA)
        except ValueError:
            return None

    def upstream(self, name: str) -> list[str]:
        """The step itself, and those before it, as far back as they were not given; the nearest first."""
        steps, waiting = [name], self.chain.before(name)
        while waiting:
            step = waiting.pop(0)
            if step not in self.exact and step not in steps:
                steps.append(step)
                waiting += self.chain.before(step)
        return steps

    def sources(self, name: str) -> str:
        """The nearest arrays that a step depends on and that are not autodiff's."""

        def ancestors(step: str) -> set[str]:
            return {a for b in self.chain.before(step) for a in (b, *ancestors(b))}

        doubtful = ancestors(name) & set(self.doubtful)
        nearest = [
            step for step in self.chain.names if step in doubtful and not any(step in ancestors(d) for d in doubtful)
        ]
        own = [f"your {step}" if step in self.exact else f"the same mistake in {step}" for step in nearest]
        return " and ".join(own)

    def usable(self, name: str) -> Array:
        """A given array that has not been judged yet, as of the cost; autodiff's own, if it cannot be used."""
        x, reference = self.exact[name], self.chain.reference[name]
        if x.shape != reference.shape or not np.all(np.isfinite(x)):
            return reference
        return self.of_the_cost(name, x)

    def of_the_cost(self, name: str, x: Array) -> Array:
        """A given array as a gradient of the cost."""
        return x / (self.convention if kind_of(name) in HANDED_ON else 1.0)

    def gates(self, name: str) -> tuple[bool, ...]:
        """Behind dropout, ReLU's gate may come from Z, or from an A that is masked: which shows where dA is not."""
        return (False, True) if self.chain.dropout.masks and name[0] == "d" else (False,)

    @contextmanager
    def gated(self, masked: bool) -> Iterator[None]:
        """Within it, the gates are those of a masked A, if asked for."""
        before, self.chain.masked_gates = self.chain.masked_gates, masked or self.chain.masked_gates
        try:
            yield
        finally:
            self.chain.masked_gates = before
