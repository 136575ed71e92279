"""Which known mistake explains a wrong array.

Every cause is tried in the step itself, and in those before it that were not given; so a mistake in dZ1 is found from
dW1 alone. What is to be believed has to fit the array by its own size, better by far than what is right, and no other
given array may deny it. What explains several arrays at once is said in the step where it does.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from tinygrad_dls.check.causes import OF_PARAMETERS, Cause, Step, Variant, causes, kind_of, multiple_of
from tinygrad_dls.check.consequences import Consequences
from tinygrad_dls.check.nearness import FEW_ENTRIES, Nearness
from tinygrad_dls.engine.arrays import Array

__all__ = ["FACTOR", "Verdict", "blame"]

FACTOR, COUNT = "a constant factor", "a mean over another count"
ANY_MULTIPLE = {FACTOR, COUNT}  # of a dZ, which may be either of the cost or of each example
FORGOTTEN = "a term of the cost is missing"
OF_THE_COST = {"an L2 term", "an L2 term on b"}  # which is known to have terms in the parameter
MISSING, TWICE, SIGN, FLIPPED = "1/m is missing", "1/m twice", "sign", "Y - A for A - Y"
MULTIPLES = {FACTOR, COUNT, MISSING, TWICE}  # which may as well be in the dZ that went into all
# Where A is the same for every example, most mistakes leave a mere factor. These are the ones to think of then.
PROPORTIONAL = MULTIPLES | {SIGN, FLIPPED, "dA where dZ belongs", "the derivative of the sigmoid on top of A - Y"}
# What is made beside a forgotten 1/m or a wrong sign, and is known by more than a factor.
BESIDE_A_FACTOR = {
    "a transpose is missing", "keepdims=True is missing", "axis=0 for axis=1", "an array of another layer",
    "dA where dZ belongs", "Z where A belongs in the product", "a gradient under another name",
    "one example for all", "an example is missing",
}  # fmt: skip
MANY = 100.0  # times as far as the closest cause is too far


class Verdict(NamedTuple):
    """What is to be said of one array.

    Attributes
    ----------
    verdict : str
        "right", "follows", "wrong", or "unsettled".
    causes, notes : tuple of str
        The causes that fit, and a word on each.
    together : bool
        Whether it takes all of them, not one or the other.
    ambiguous : bool
        Whether it is a mere factor, as of many a mistake where A is the same for every example.
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
    together: bool = False
    ambiguous: bool = False

    @property
    def doubt(self) -> float:
        """How little it explains: right, follows, wrong for a known cause, for a mere factor, for none."""
        if self.verdict != "wrong":
            return {"right": 0.0, "unsettled": 0.5, "follows": 1.0}[self.verdict]
        if self.ambiguous:
            return 2.5
        return 3 if not self.causes else 2.5 if set(self.causes) <= ANY_MULTIPLE else 2


class _Fit(NamedTuple):
    """A cause that explains an array, in the step itself or in one before it."""

    title: str
    where: str
    variant: Variant
    gated: bool = False  # whether the gate of a masked A shows in it
    gap: float = 0.0  # how far it is from the given array, relative to the largest entry
    proportional: bool = False  # to what is right, as a mistake is only at some parameters

    @property
    def rank(self) -> tuple[bool, bool]:
        known = causes.get(self.title)
        return (known.free, known.far_fetched) if known else (False, False)


def blame(walk: Consequences, name: str, got: Array, expected: Array, near: Nearness) -> Verdict | None:
    """The causes that explain a wrong array; None if none does."""
    levels: list[list[_Fit]] = []
    ambiguous = False
    for where in walk.upstream(name):
        fits = [f for f in _fitting(walk, name, where, got, expected, near) if not _denied(walk, name, f, got)]
        if any(f.title == FORGOTTEN for f in fits):  # all else is right then
            fits = [f for f in fits if f.title == FORGOTTEN]
        ambiguous |= any(f.proportional for f in fits)
        fits = _closest([f for f in fits if not f.proportional], near)
        simplest = min((f.rank for f in fits), default=None)
        levels.append([f for f in fits if f.rank == simplest])
        if simplest is not None and not simplest[0]:
            break
    found = [fits for fits in levels if fits]
    if not found:
        return _two_at_once(walk, name, got, expected, near)
    group = min(found, key=lambda fits: fits[0].rank[0])  # the first of the nearest, if they are alike
    if ambiguous and group[0].rank[0]:
        return Verdict("wrong", where=name, ambiguous=True)
    group = _said_once(walk, name, group, got, near)
    where = group[0].where
    inferred = None
    if where != name:
        walk.chain.masked_gates |= any(f.gated for f in group)
        likely = max(group, key=lambda f: _followers(walk, name, f)) if len(group) > 1 else group[0]
        others = {step: x for step, x in likely.variant.others.items() if step not in walk.exact}
        inferred = others | {where: likely.variant.array}
    return Verdict("wrong", tuple(f.title for f in group), where, inferred, notes=tuple(f.variant.note for f in group))


def _closest(fits: list[_Fit], near: Nearness) -> list[_Fit]:
    """Of several causes those that fit to the last digits, if some do: tanh(Z) is nearly Z, of small weights."""
    if near.rounding is not None or len(fits) < 2:
        return fits
    return [f for f in fits if f.gap <= max(MANY * min(g.gap for g in fits), near.last_digits())]


def _two_at_once(walk: Consequences, name: str, got: Array, expected: Array, near: Nearness) -> Verdict | None:
    """A mistake in the step itself, on top of a 1/m or a sign that is wrong."""
    if kind_of(name) not in OF_PARAMETERS or got.size < FEW_ENTRIES:
        return None
    for factor, title in ((walk.chain.m, MISSING), (1 / walk.chain.m, TWICE), (-1.0, SIGN)):
        if factor == 1 or near.right(got / factor, expected):
            continue
        fits = _fitting(walk, name, name, got / factor, expected, near, BESIDE_A_FACTOR)
        if len(fits) == 1 and not any(fits[0].rank):
            notes = (fits[0].variant.note, "")
            return Verdict("wrong", (fits[0].title, title), name, notes=notes, together=True)
    return None


def _fitting(
    walk: Consequences,
    name: str,
    where: str,
    got: Array,
    expected: Array,
    near: Nearness,
    titles: Collection[str] = causes,
) -> list[_Fit]:
    """The causes in one step that give the array."""
    local = expected if where == name else walk.out[where]
    beside = walk.chain.beside.get(where)
    fits: dict[str, _Fit] = {}
    # a mistake in what comes through dZ leaves the cost's own terms in the parameter as they are
    for part in (0.0,) if beside is None else (0.0, beside):
        apart = bool(np.any(part))
        if apart and where == name and got.shape != local.shape:
            continue
        step = _step(walk, where, got if where == name else None, local, part)
        for title, known in causes.items():
            if title in fits or title not in titles or kind_of(where) not in known.kinds:
                continue
            if apart and title in OF_THE_COST:
                continue
            for variant in _variants(known, step):
                candidate = variant.array
                if (apart and candidate.shape != local.shape) or not (known.zeros or np.any(candidate)):
                    continue
                result, gated = _result(walk, name, where, variant._replace(array=candidate + part), got, near)
                if result is None or near.right(result, expected) or not _nearer(got, result, expected):
                    continue
                single = known.free or walk.digits.single
                if single and walk.digits.rounded(name).right(result, expected):
                    continue  # a factor of 1.00000002 is none, nor is 1 a slip for 1 - A^2 that rounds to 1
                said = _noted(title, variant, step.expected)
                gap = float(np.abs(got - result).max(initial=0) / (np.abs(result).max(initial=0) or 1.0))
                by_chance = walk.chain.alike and title not in PROPORTIONAL
                by_chance = by_chance and _are_proportional(candidate, step.expected)
                fits[title] = _Fit(title, where, said._replace(array=candidate + part), gated, gap, by_chance)
                break
    return list(fits.values())


def _result(
    walk: Consequences, name: str, where: str, variant: Variant, got: Array, near: Nearness
) -> tuple[Array | None, bool]:
    """What a candidate in one step gives in another, if it is the given array; and through which gate."""
    for gated in walk.gates(name) if where != name and kind_of(where) == "dA" else (False,):
        with walk.gated(gated):
            result = walk.if_instead(name, where, variant.array, variant.others)
        if result is not None and near.fits(got, result):
            return result, gated
    return None, False


def _step(walk: Consequences, where: str, got: Array | None, local: Array, part: Array | float) -> Step:
    """What the causes get to see, without the cost's own terms in the parameter if these are set apart."""

    def if_instead(earlier: str, candidate: Array) -> Array:
        result = walk.if_instead(where, earlier, candidate)
        return np.asarray(local if result is None else result) - part

    own = None if got is None else got - part
    return walk.chain.step(where, walk.out, local - part, own, if_instead, walk.exact, apart=bool(np.any(part)))


def _denied(walk: Consequences, name: str, fit: _Fit, got: Array) -> bool:
    """Whether another given array tells that an earlier step was not that; a single number needs its support."""
    if fit.where == name:
        return False
    for other, array in walk.exact.items():
        if other == name or fit.where not in walk.upstream(other) or not np.all(np.isfinite(array)):
            continue
        array = walk.of_the_cost(other, array)
        result = walk.if_instead(other, fit.where, fit.variant.array, fit.variant.others)
        reference = walk.chain.reference[other]
        scales = walk.digits.scales(other)
        right = any(near.right(array, reference) for near in scales)
        if right and (result is None or not any(near.right(result, reference) for near in scales)):
            return True
        few = got.size < FEW_ENTRIES and not right
        if few and (result is None or not any(near.fits(array, result) for near in scales)):
            return True
    return False


def _said_once(walk: Consequences, name: str, group: list[_Fit], got: Array, near: Nearness) -> list[_Fit]:
    """Of a mistake in a dW or db, the step above in which it explains the most other arrays, if there is one."""
    titles = {f.title for f in group}
    if kind_of(name) not in OF_PARAMETERS or group[0].where != name:
        return group
    if not titles <= MULTIPLES:
        return _seen_above(walk, name, group, titles | ({FLIPPED} if SIGN in titles else set()), got, near)
    best, most = group, 0
    beside = walk.chain.beside.get(name, np.zeros(()))
    factor = multiple_of(got - beside, walk.compute(name, walk.out) - beside)
    for where in walk.upstream(name)[1:]:
        if kind_of(where) != "dZ":
            continue
        moved = [f._replace(where=where, variant=f.variant._replace(array=factor * walk.out[where])) for f in group]
        result = walk.if_instead(name, where, moved[0].variant.array)
        if result is None or not near.fits(got, result) or _denied(walk, name, moved[0], got):
            continue
        followers, strangers = _followers(walk, name, moved[0])
        of_other_layers = [other for other in followers if other[2:] != name[2:]]
        if strangers and (COUNT in {f.title for f in group} or not of_other_layers):
            continue  # as where each layer divides by its own wrong m
        if len(followers) > most:
            best, most = moved, len(followers)
    return best


def _seen_above(
    walk: Consequences, name: str, group: list[_Fit], titles: set[str], got: Array, near: Nearness
) -> list[_Fit]:
    """The same mistake in a step above that was not given, if other arrays follow from it there."""
    best, most = group, 0
    expected = walk.compute(name, walk.out)
    for where in walk.upstream(name)[1:]:
        told = [
            f._replace(where=where, variant=Variant(f.variant.others[where], f.variant.note))
            for f in group
            if where in f.variant.others
        ]
        fits = told or _fitting(walk, name, where, got, expected, near, titles)
        fits = [f for f in fits if not _denied(walk, name, f, got)]
        explained = [other for f in fits for other in _followers(walk, name, f)[0]]
        if SIGN in titles and not any(other[2:] != name[2:] for other in explained):
            continue
        if len(explained) > most:
            best, most = fits, len(explained)
    return best


def _followers(walk: Consequences, name: str, fit: _Fit) -> tuple[list[str], list[str]]:
    """Which other given arrays follow if an earlier step was that; and which of other layers do not."""
    followers, strangers = [], []
    for other, array in walk.exact.items():
        if other != name and fit.where in walk.upstream(other):
            result = walk.if_instead(other, fit.where, fit.variant.array, fit.variant.others)
            array = walk.of_the_cost(other, array)
            if result is not None and any(near.fits(array, result) for near in walk.digits.scales(other)):
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


def _are_proportional(x: Array, y: Array) -> bool:
    """Whether one array is a multiple of another, and not the same."""
    if x.shape != y.shape or x.size < FEW_ENTRIES or not np.any(x) or not np.any(y):
        return False
    factor = multiple_of(x, y)
    return bool(factor != 1 and np.abs(x - factor * y).max() <= 1e-12 * np.abs(x).max())


def _noted(title: str, variant: Variant, expected: Array) -> Variant:
    """With the factor, of a constant one."""
    return variant._replace(note=f"{multiple_of(variant.array, expected):.6g}") if title == FACTOR else variant
