"""The steps of a backprop in their order, each judged by the arrays that the person had before it.

A given array is right, or it follows from an earlier one that is not, or it is wrong: then `tinygrad_dls.check.blame`
looks for the mistake, and the walk goes on from what the person must have had.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from tinygrad_dls.check.blame import Verdict, blame
from tinygrad_dls.check.causes import HANDED_ON, OF_PARAMETERS, kind_of
from tinygrad_dls.check.chain import Arrays, Chain
from tinygrad_dls.check.consequences import Consequences
from tinygrad_dls.check.nearness import Digits, Nearness
from tinygrad_dls.engine.arrays import Array

__all__ = ["LABELS", "Walk", "best_walk"]

KEPT = {"float16": "three", "float32": "seven"}  # digits
LABELS = "labels of shape (m, 1)"
NO_MASK = {"dA": "the mask is not applied backward", "A": "the mask is not applied forward"}
IF_SCALED = ", if that carries the 1/m; if it does not, 1/m is missing here"
OTHER_SLOPE = ", with slope 1 of ReLU where Z is 0 (autodiff takes 0)"
UP_TO = ", up to an epsilon of "
EPSILONS = (1e-5, 1e-6, 1e-7, 1e-8, 1e-9, 1e-10, 1e-12, 1e-15)  # that people add where they divide
BEFORE_MASK = ", before its mask"


def best_walk(chain: Chain, given: Mapping[str, Array], exact: Arrays, half: bool = False) -> Walk:
    """The walk under the convention for dA and dZ, of the cost or of each example, that leaves the least doubt.

    With `half`, arrays are compared by float16's digits too, whatever they look like.
    """
    digits = Digits(chain, given, half)
    scaled = [name for name in chain.names if name in given and kind_of(name) in HANDED_ON]
    if not scaled or chain.m == 1:
        return Walk(chain, digits, exact, 1.0)
    walks = [Walk(chain, digits, exact, factor) for factor in (1.0, float(chain.m))]

    def key(walk: Walk) -> tuple[float, float, float]:
        first = scaled[0]
        size, own = np.linalg.norm(exact[first]) + 1e-300, np.linalg.norm(chain.reference[first]) + 1e-300
        far = abs(float(np.log(size / (own * walk.convention)))) if np.isfinite(size) else 0.0
        return walk.verdicts[first].doubt, sum(v.doubt for v in walk.verdicts.values()), far

    return min(walks, key=key)


class Walk(Consequences):
    """The steps in their order, as the person took them: what was given, and what follows from it where nothing was.

    Attributes
    ----------
    verdicts : dict of str to Verdict
        On each given array.
    """

    def __init__(self, chain: Chain, digits: Digits, exact: Arrays, convention: float) -> None:
        super().__init__(chain, digits, exact, convention)
        self.scale_known = True
        self.verdicts: dict[str, Verdict] = {}
        for name in chain.names:
            self._take(name)

    def _take(self, name: str) -> None:
        """Judge a step if it was given, and go on from it."""
        expected = self.compute(name, self.out)
        if name not in self.exact:
            self.out[name] = expected
            return
        got, verdict = self.exact[name], self._judge_scaled(name, expected)
        if kind_of(name) in HANDED_ON and not any(kind_of(step) in HANDED_ON for step in self.verdicts):
            self.scale_known = verdict.doubt < 2.5
        elif verdict.verdict == "follows" and kind_of(name) in OF_PARAMETERS and not self.scale_known:
            verdict = verdict._replace(note=IF_SCALED if self.convention == 1 and self.chain.m > 1 else "")
        self.verdicts[name] = verdict
        if verdict.inferred is not None:
            self.doubtful += [step for step in verdict.inferred if step not in self.doubtful]
            self.out = self.steps(name, verdict.where, verdict.inferred)
        # what is right goes on as autodiff's own, if it has fewer digits or lacks its mask; all else as it is, as
        # what a mistake makes of it has its last digits
        as_it_is = verdict.verdict in ("wrong", "follows") or verdict.note == OTHER_SLOPE
        as_it_is = as_it_is or (verdict.note.startswith(UP_TO) and kind_of(name) in HANDED_ON)
        exact = verdict.verdict == "right" and verdict.note == "" and self.digits.given[name].dtype == float
        fits = got.shape == self.chain.reference[name].shape or LABELS in verdict.causes
        usable = (as_it_is or exact) and fits and bool(np.all(np.isfinite(got)))
        self.out[name] = got / verdict.factor if usable else self.chain.reference[name]
        if as_it_is:
            self.doubtful.append(name)

    def _judge_scaled(self, name: str, expected: Array) -> Verdict:
        """The verdict under the convention for dA and dZ; the other one needs a reason."""
        got = self.exact[name]
        if kind_of(name) not in HANDED_ON or self.chain.m == 1:
            return self._judge(name, got, expected)
        verdict = self._judge(name, got / self.convention, expected)._replace(factor=self.convention)
        first = not any(kind_of(step) in HANDED_ON for step in self.verdicts)
        if verdict.doubt < 3 or first:
            return verdict
        other = self.chain.m / self.convention
        twin = self._judge(name, got / other, expected)._replace(factor=other)
        return min(verdict, twin, key=lambda v: v.doubt)

    # -- one array ----------------------------------------------------------------------------------------------------

    def _judge(self, name: str, got: Array, expected: Array) -> Verdict:
        """What is to be said of one array: by its own digits first, then by those of float32."""
        if not np.all(np.isfinite(got)):
            return Verdict("wrong", where=name)
        scales = self.digits.scales(name)
        if not np.any(got):  # zeros are exact, but what float32 cannot tell from 0 comes out as 0 too
            for near in scales:
                if (verdict := self._agreement(name, got, expected, near)) is not None:
                    return verdict
            return blame(self, name, got, expected, scales[0]) or Verdict("wrong", where=name)
        for near in scales:
            verdict = self._agreement(name, got, expected, near) or blame(self, name, got, expected, near)
            if verdict is not None:
                return verdict
        return Verdict("wrong", where=name)

    def _agreement(self, name: str, got: Array, expected: Array, near: Nearness) -> Verdict | None:
        """Right, or right for what came before; None if it is neither."""
        reference = self.chain.reference[name]
        if near.right(got, reference):
            if not near.settled(got, reference):
                return Verdict("unsettled")
            lower = near.rounding is not None and near.rounding.dtype != self.digits.given[name].dtype.name
            if not lower:
                return Verdict("right")
            dtype = near.rounding.dtype if near.rounding else ""
            return Verdict("right", (f"{dtype} rounding",), note=f", to {dtype}'s {KEPT[dtype]} digits")
        slope = self._other_slope_at_zero(name, got, near)
        if slope is not None and near.right(got, slope):
            return Verdict("right", note=OTHER_SLOPE)
        unmasked = self._before_its_mask(name)
        if unmasked is not None and near.right(got, unmasked):
            return self._judge_unmasked(name, unmasked)
        division = self._with_an_epsilon(name, got, near)
        if division is not None:
            return Verdict("right", note=division)
        if self.doubtful:
            own = replace(near, magnitude=self._own_magnitude(name, expected))
            for gated in self.gates(name):
                with self.gated(gated):
                    if own.right(got, self.compute(name, self.out)):
                        return Verdict("follows")
            if own.right(got, self._gated_by_own_z(name)):
                return Verdict("follows")
            # of labels as a column, dZ is (m, m), and np.sum(dZ) a number
            summed = kind_of(name) == "db" and got.shape == reference.shape == (1, 1) != expected.shape
            if own.right(got, np.full((1, 1), np.sum(expected)) if summed else expected):
                return Verdict("follows")
        return None

    def _gated_by_own_z(self, name: str) -> Array:
        """A dZ, if a Z that was not given is the right one: a mistake behind it is no mistake in its gate."""
        _, _, n, *_ = self.chain.place(name)
        return self.compute(
            name, self.out | {f"{kind}{n}": self.chain.reference[f"{kind}{n}"] for kind in "ZA" if n != "0"}
        )

    def _with_an_epsilon(self, name: str, got: Array, near: Nearness) -> str | None:
        """What to say if it is right up to a small number in the divisions of the last dA, against a division by 0."""
        last = f"dA{self.chain.numbers[-1]}"
        if not self.chain.fused or self.doubtful or near.rounding is not None or last not in self.upstream(name):
            return None
        A, Y = self.out[f"A{self.chain.numbers[-1]}"], self.chain.Y
        for epsilon in EPSILONS:
            with np.errstate(all="ignore"):
                of_zero = (1 - Y) / (1 - A + epsilon) if len(Y) == 1 else 0.0
                found = self.if_instead(name, last, (of_zero - Y / (A + epsilon)) / self.chain.m)
            if found is not None and near.right(got, found):
                return f"{UP_TO}{epsilon:g} in its divisions"
        return None

    def _own_magnitude(self, name: str, expected: Array) -> Array:
        """The size of the terms in a step, of the person's own arrays."""
        if expected.shape != self.chain.reference[name].shape:
            return np.abs(expected)
        sizes = {step: np.abs(x) for step, x in (self.chain.reference | self.out).items()}
        sizes |= {f"beside {step}": np.abs(x) for step, x in self.chain.beside.items()}
        return np.maximum(np.maximum(self.chain.magnitude(name, sizes), self.chain.magnitudes[name]), np.abs(expected))

    def _other_slope_at_zero(self, name: str, got: Array, near: Nearness) -> Array | None:
        """The dZ of ReLU with the person's slope, 1 or 0, where Z is 0, or rounds to either side of it."""
        kind, k, n, *_ = self.chain.place(name)
        if kind != "dZ" or self.chain.activations[k] != "ReLU":
            return None
        Z, dA = self.out[f"Z{n}"], self.out[f"dA{n}"]
        edge = np.abs(Z) <= near.of(f"Z{n}", self.chain.magnitudes[f"Z{n}"]).rounds_by()
        if not np.any(edge) or got.shape != Z.shape:
            return None
        return np.asarray(dA * np.where(edge, got * dA > 0, Z > 0))

    def _before_its_mask(self, name: str) -> Array | None:
        """An A or dA of a layer with dropout, before that."""
        kind, _, n, *_ = self.chain.place(name)
        if kind not in NO_MASK or n not in self.chain.dropout.masks:
            return None
        return self.chain.compute(name, self.out, through_dA=False, masked=False)

    def _judge_unmasked(self, name: str, unmasked: Array) -> Verdict:
        """Right, if the mask was applied behind it; the next given array tells. If not, it is missing."""
        names = self.chain.names
        for later in names[names.index(name) + 1 :]:
            if later not in self.exact or not any(name in self.chain.before(step) for step in self.upstream(later)):
                continue
            near, given = self.digits.scales(later)[0], self.usable(later)
            for gated in self.gates(name):
                with self.gated(gated):
                    out = self.out | {name: unmasked}
                    for step in names[names.index(name) + 1 : names.index(later)]:
                        if step not in self.exact:
                            out[step] = self.compute(step, out)
                    missing = self.compute(later, out)
                if near.right(given, missing) and not near.right(given, self.chain.reference[later]):
                    return Verdict("wrong", (NO_MASK[kind_of(name)],), name, notes=("",))
            break
        return Verdict("right", note=BEFORE_MASK)

    def _ancestors_through(self, name: str) -> list[str]:
        """What a step is computed from, through steps that were not given."""
        return [b for step in self.upstream(name) for b in self.chain.before(step)]
