"""The steps of a backprop in their order, each judged by the arrays that the person had before it.

A given array is right, or it follows from an earlier one that is not, or it is wrong. For a wrong one every known cause
is tried in the step itself, and in those before it that were not given. What is to be believed has to fit the array by
its own size, and no other given array may deny it: a slip in dZ1 shows in dW1 and in db1. And what explains several
arrays at once, such as a factor in the last dZ, is said once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from tinygrad_dls.check.causes import HANDED_ON, OF_PARAMETERS, Cause, Step, Variant, causes, kind_of, multiple_of
from tinygrad_dls.check.chain import Arrays, Chain
from tinygrad_dls.check.nearness import FEW_ENTRIES, NARROW, Digits, Nearness
from tinygrad_dls.engine.arrays import Array

__all__ = ["FACTOR", "LABELS", "ROUNDING", "Verdict", "Walk", "best_walk"]

ROUNDING = "float32 rounding"
FACTOR, LABELS = "a constant factor", "labels of shape (m, 1)"
COUNT = "a mean over another count"
ANY_MULTIPLE = {FACTOR, COUNT}  # of a dZ, which may be either of the cost or of each example
FORGOTTEN = "a term of the cost is missing"
OF_THE_COST = {"an L2 term", "an L2 term on b"}  # which is known to have terms in the parameter
MULTIPLES = {FACTOR, COUNT, "1/m is missing", "1/m twice"}  # which may as well be in the dZ that went into all
NO_MASK = {"dA": "the mask is not applied backward", "A": "the mask is not applied forward"}
IF_SCALED = ", if that carries the 1/m; if it does not, 1/m is missing here"
OTHER_SLOPE = ", with slope 1 of ReLU where Z is 0 (autodiff takes 0)"
BEFORE_MASK = ", before its mask"


class Verdict(NamedTuple):
    """What is to be said of one array.

    Attributes
    ----------
    verdict : str
        "right", "follows", "wrong", or "unsettled".
    causes, notes : tuple of str
        The causes that fit, and a word on each.
    where : str
        The step in which they lie.
    inferred : dict of str to array
        What the person must have had in steps that were not given.
    note : str
        What is added to right, or follows.
    factor : float
        By which dA and dZ were divided, to be those of the cost.
    """

    verdict: str
    causes: tuple[str, ...] = ()
    where: str = ""
    inferred: Mapping[str, Array] | None = None
    note: str = ""
    notes: tuple[str, ...] = ()
    factor: float = 1.0

    @property
    def doubt(self) -> float:
        """How little it explains: right, follows, wrong for a known cause, for a mere factor, for none."""
        if self.verdict != "wrong":
            return {"right": 0.0, "unsettled": 0.5, "follows": 1.0}[self.verdict]
        return 3 if not self.causes else 2.5 if set(self.causes) <= ANY_MULTIPLE else 2


class _Fit(NamedTuple):
    """A cause that explains an array, in the step itself or in one before it."""

    title: str
    where: str
    variant: Variant
    gated: bool = False  # whether the gate of a masked A shows in it

    @property
    def rank(self) -> tuple[bool, bool]:
        known = causes.get(self.title)
        return (known.free, known.far_fetched) if known else (False, False)


def best_walk(chain: Chain, given: Mapping[str, Array], exact: Arrays) -> Walk:
    """The walk under the convention for dA and dZ, of the cost or of each example, that leaves the least doubt."""
    digits = Digits(chain, given)
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


class Walk:
    """The steps in their order, as the person took them: what was given, and what follows from it where nothing was.

    Attributes
    ----------
    exact : dict of str to array
        What was given, as float64, in the model's shapes.
    convention : float
        By what the dA and dZ are larger than those of the cost: 1, or m for those of each example's loss.
    verdicts : dict of str to Verdict
        On each given array.
    """

    def __init__(self, chain: Chain, digits: Digits, exact: Arrays, convention: float) -> None:
        self.chain, self.digits, self.exact, self.convention = chain, digits, exact, convention
        self.last_dA = f"dA{chain.numbers[-1]}"
        self.out: Arrays = {}
        self.doubtful: list[str] = []  # arrays that are not autodiff's: wrong ones, and what follows
        self.scale_known = True
        self.verdicts: dict[str, Verdict] = {}
        chain.masked_gates = False
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

    def _usable(self, name: str) -> Array:
        """A given array that has not been judged yet, as of the cost; autodiff's own, if it cannot be used."""
        x, reference = self.exact[name], self.chain.reference[name]
        if x.shape != reference.shape or not np.all(np.isfinite(x)):
            return reference
        return self._of_the_cost(name, x)

    def _of_the_cost(self, name: str, x: Array) -> Array:
        """A given array as a gradient of the cost."""
        return x / (self.convention if kind_of(name) in HANDED_ON else 1.0)

    # -- what follows from what ---------------------------------------------------------------------------------------

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
                out[step] = self._usable(step)
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
            return self._blame(name, got, expected, scales[0]) or Verdict("wrong", where=name)
        for near in scales:
            verdict = self._agreement(name, got, expected, near) or self._blame(name, got, expected, near)
            if verdict is not None:
                return verdict
        return Verdict("wrong", where=name)

    def _agreement(self, name: str, got: Array, expected: Array, near: Nearness) -> Verdict | None:
        """Right, or right for what came before; None if it is neither."""
        reference = self.chain.reference[name]
        if near.right(got, reference):
            if not near.settled(got, reference):
                return Verdict("unsettled")
            lower = near.rounding is not None and self.digits.given[name].dtype.name not in NARROW
            return Verdict("right", (ROUNDING,), note=", to float32's seven digits") if lower else Verdict("right")
        slope = self._other_slope_at_zero(name, got, near)
        if slope is not None and near.right(got, slope):
            return Verdict("right", note=OTHER_SLOPE)
        unmasked = self._before_its_mask(name)
        if unmasked is not None and near.right(got, unmasked):
            return self._judge_unmasked(name, unmasked)
        if self.doubtful:
            own = replace(near, magnitude=self._own_magnitude(name, expected))
            for gated in self._gates(name):
                with self._gated(gated):
                    if own.right(got, self.compute(name, self.out)):
                        return Verdict("follows")
            # of labels as a column, dZ is (m, m), and np.sum(dZ) a number
            summed = name[:2] == "db" and got.shape == reference.shape == (1, 1) != expected.shape
            if own.right(got, np.full((1, 1), np.sum(expected)) if summed else expected):
                return Verdict("follows")
        return None

    def _gates(self, name: str) -> tuple[bool, ...]:
        """Behind dropout, ReLU's gate may come from Z, or from an A that is masked: which shows where dA is not."""
        return (False, True) if self.chain.dropout.masks and name[0] == "d" else (False,)

    @contextmanager
    def _gated(self, masked: bool) -> Iterator[None]:
        before, self.chain.masked_gates = self.chain.masked_gates, masked or self.chain.masked_gates
        try:
            yield
        finally:
            self.chain.masked_gates = before

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
            near, given = self.digits.scales(later)[0], self._usable(later)
            for gated in self._gates(name):
                with self._gated(gated):
                    out = self.out | {name: unmasked}
                    for step in names[names.index(name) + 1 : names.index(later)]:
                        if step not in self.exact:
                            out[step] = self.compute(step, out)
                    missing = self.compute(later, out)
                if near.right(given, missing) and not near.right(given, self.chain.reference[later]):
                    return Verdict("wrong", (NO_MASK[kind_of(name)],), name, notes=("",))
            break
        return Verdict("right", note=BEFORE_MASK)

    # -- causes -------------------------------------------------------------------------------------------------------

    def _blame(self, name: str, got: Array, expected: Array, near: Nearness) -> Verdict | None:
        """The causes that explain a wrong array; None if none does."""
        levels: list[list[_Fit]] = []
        for where in self.upstream(name):
            fits = [f for f in self._fitting(name, where, got, expected, near) if not self._denied(name, f, got)]
            if any(f.title == FORGOTTEN for f in fits):  # all else is right then
                fits = [f for f in fits if f.title == FORGOTTEN]
            simplest = min((f.rank for f in fits), default=None)
            levels.append([f for f in fits if f.rank == simplest])
            if simplest is not None and not simplest[0]:
                break
        found = [fits for fits in levels if fits]
        if not found:
            return None
        group = min(found, key=lambda fits: fits[0].rank[0])  # the first of the nearest, if they are alike
        group = self._said_once(name, group, got, near)
        where = group[0].where
        inferred = None
        if where != name:
            self.chain.masked_gates |= any(f.gated for f in group)
            likely = max(group, key=lambda f: self._followers(name, f)) if len(group) > 1 else group[0]
            others = {step: x for step, x in likely.variant.others.items() if step not in self.exact}
            inferred = others | {where: likely.variant.array}
        return Verdict(
            "wrong", tuple(f.title for f in group), where, inferred, notes=tuple(f.variant.note for f in group)
        )

    def _fitting(self, name: str, where: str, got: Array, expected: Array, near: Nearness) -> list[_Fit]:
        """The causes in one step that give the array."""
        local = expected if where == name else self.out[where]
        beside = self.chain.beside.get(where)
        fits: dict[str, _Fit] = {}
        # a mistake in what comes through dZ leaves the cost's own terms in the parameter as they are
        for part in (0.0,) if beside is None else (0.0, beside):
            apart = bool(np.any(part))
            if apart and where == name and got.shape != local.shape:
                continue
            step = self._step(where, got if where == name else None, local, part)
            for title, known in causes.items():
                if title in fits or kind_of(where) not in known.kinds or (apart and title in OF_THE_COST):
                    continue
                for variant in _variants(known, step):
                    candidate = variant.array
                    if (apart and candidate.shape != local.shape) or not (known.zeros or np.any(candidate)):
                        continue
                    result, gated = self._result(name, where, variant._replace(array=candidate + part), got, near)
                    if result is None or near.right(result, expected) or not _nearer(got, result, expected):
                        continue
                    single = known.free or self.digits.single
                    if single and self.digits.rounded(name).right(result, expected):
                        continue  # a factor of 1.00000002 is none, nor is 1 a slip for 1 - A^2 that rounds to 1
                    said = _noted(title, variant, step.expected)
                    fits[title] = _Fit(title, where, said._replace(array=candidate + part), gated)
                    break
        return list(fits.values())

    def _result(self, name: str, where: str, variant: Variant, got: Array, near: Nearness) -> tuple[Array | None, bool]:
        """What a candidate in one step gives in another, if it is the given array; and through which gate."""
        for gated in self._gates(name) if where != name and where[:2] == "dA" else (False,):
            with self._gated(gated):
                result = self.if_instead(name, where, variant.array, variant.others)
            if result is not None and near.fits(got, result):
                return result, gated
        return None, False

    def _step(self, where: str, got: Array | None, local: Array, part: Array | float) -> Step:
        """What the causes get to see, without the cost's own terms in the parameter if these are set apart."""

        def if_instead(earlier: str, candidate: Array) -> Array:
            result = self.if_instead(where, earlier, candidate)
            return np.asarray(local if result is None else result) - part

        own = None if got is None else got - part
        return self.chain.step(where, self.out, local - part, own, if_instead, self.exact, apart=bool(np.any(part)))

    def _denied(self, name: str, fit: _Fit, got: Array) -> bool:
        """Whether another given array tells that an earlier step was not that; a single number needs its support."""
        if fit.where == name:
            return False
        for other, array in self.exact.items():
            if other == name or fit.where not in self.upstream(other) or not np.all(np.isfinite(array)):
                continue
            array = self._of_the_cost(other, array)
            result = self.if_instead(other, fit.where, fit.variant.array, fit.variant.others)
            reference = self.chain.reference[other]
            scales = self.digits.scales(other)
            right = any(near.right(array, reference) for near in scales)
            if right and (result is None or not any(near.right(result, reference) for near in scales)):
                return True
            few = got.size < FEW_ENTRIES and not right
            if few and (result is None or not any(near.fits(array, result) for near in scales)):
                return True
        return False

    def _said_once(self, name: str, group: list[_Fit], got: Array, near: Nearness) -> list[_Fit]:
        """Of a mere factor in a dW or db, the dZ in which it explains the most other arrays, if there is one."""
        if kind_of(name) not in OF_PARAMETERS or group[0].where != name or not {f.title for f in group} <= MULTIPLES:
            return group
        best, most = group, 0
        beside = self.chain.beside.get(name, np.zeros(()))
        factor = multiple_of(got - beside, self.compute(name, self.out) - beside)
        for where in self.upstream(name)[1:]:
            if kind_of(where) != "dZ":
                continue
            moved = [f._replace(where=where, variant=f.variant._replace(array=factor * self.out[where])) for f in group]
            result = self.if_instead(name, where, moved[0].variant.array)
            if result is None or not near.fits(got, result) or self._denied(name, moved[0], got):
                continue
            followers, strangers = self._followers(name, moved[0])
            of_other_layers = [other for other in followers if other[2:] != name[2:]]
            if strangers and (COUNT in {f.title for f in group} or not of_other_layers):
                continue  # as where each layer divides by its own wrong m
            if len(followers) > most:
                best, most = moved, len(followers)
        return best

    def _followers(self, name: str, fit: _Fit) -> tuple[list[str], list[str]]:
        """Which other given arrays follow if an earlier step was that; and which of other layers do not."""
        followers, strangers = [], []
        for other, array in self.exact.items():
            if other != name and fit.where in self.upstream(other):
                result = self.if_instead(other, fit.where, fit.variant.array, fit.variant.others)
                array = self._of_the_cost(other, array)
                if result is not None and any(near.fits(array, result) for near in self.digits.scales(other)):
                    followers.append(other)
                elif other[2:] != name[2:]:
                    strangers.append(other)
        return followers, strangers


def _nearer(got: Array, result: Array, expected: Array) -> bool:
    """Whether an array is nearer to what a mistake gives than to what is right, by far and not by rounding."""
    if np.any(got) and not np.any(result):
        return False  # zeros are exact
    if got.shape != expected.shape:
        return True
    return bool(np.abs(got - result).max(initial=0) <= 0.1 * np.abs(got - expected).max(initial=0))


def _variants(known: Cause, step: Step) -> Iterator[Variant]:
    """What a mistake gives at a step; nothing at dA0, of which there is no layer, if it asks for one."""
    try:
        yield from known.variants(step)
    except (TypeError, AttributeError, KeyError):
        if step.name != "dA0":
            raise


def _noted(title: str, variant: Variant, expected: Array) -> Variant:
    """With the factor, of a constant one."""
    return variant._replace(note=f"{multiple_of(variant.array, expected):.6g}") if title == FACTOR else variant
