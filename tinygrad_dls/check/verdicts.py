"""Verdicts on a hand-written update, and the known slip that explains a wrong one.

A slip (see `tinygrad_dls.check.slips`) is named only where it gives all the parameters that are wrong, or all the
weights or all the biases among them, or one alone, and in more digits than chance would.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from tinygrad_dls.check.diagnosis import Finding, farthest_apart, of_no_known_cause, with_explanations
from tinygrad_dls.check.slips import slips, taken_by
from tinygrad_dls.check.update_rule import Taken, Update, gradient_of, is_single
from tinygrad_dls.engine.arrays import Array

__all__ = ["TOO_SMALL", "Arrays", "Given", "Verdicts"]

# How far two ways to write a step may be apart: relative to each entry, and to the largest, as terms may cancel.
TOLERANCES = {"float64": (1e-9, 4e-15), "float32": (1e-5, 2e-6), "float16": (1e-2, 1e-2)}
ROUNDINGS = 4.0  # of the parameter itself, before and after
ENOUGH = 7.0  # digits, over all entries, in which a cause has to agree where it differs from the right step
FEW = 2.5  # digits of a step that its parameter's rounding leaves: fewer cannot tell
OF_THE_LENGTH = {"the learning rate is missing", "nothing was updated", "divided by m again"}  # another rate says less
SAYS_LESS = {  # than another that fits too
    "both (1 - beta) are missing": {"(1 - beta) is missing", "(1 - beta2) is missing"},  # of v, or of s
}
TOO_SMALL = "too small to tell"
SAME_ARRAY = "before is after"
IN_PLACE = (
    "They are one array, changed in place, so that the step cannot be seen. Copy what was before: "
    "before = copy.deepcopy(parameters)."
)


Arrays = dict[str, Array]


@dataclass(frozen=True)
class Given:
    """What a person gave, as it was given, by the names of the parameters; and for each its `Update`.

    Attributes
    ----------
    before, gradients, after : dict of str to array
        The parameters before and after the step, and the gradients that it was taken with.
    state, state_after : dict of str to dict of str to array
        Their moments, for each of the letters v and s that the rule has. Of those after the step, what was given.
    updates : dict of str to Update
        Of the parameters that can be judged.
    """

    before: Arrays
    gradients: Arrays
    after: Arrays
    state: dict[str, Arrays]
    state_after: dict[str, Arrays]
    updates: dict[str, Update]


class _Fit(NamedTuple):
    """A cause that fits: its name, its number where it has one, and what to tell the person."""

    name: str
    told: str
    explanation: str


@dataclass(frozen=True)
class _Case:
    """One array that is judged: a moment or a parameter after the step."""

    name: str
    update: Update
    place: int  # of w, v or s in a `Taken`
    start: Array  # what the step is counted from
    got: Array
    tolerances: tuple[float, float]  # of a step, relative to each entry and to the largest
    eps: float  # of the array itself

    @property
    def right(self) -> Array:
        return self.of(self.update.right)

    @functools.cached_property
    def fitting(self) -> dict[str, list[Array]]:
        """What the slips give that is the given array, by the name of the slip."""
        found: dict[str, list[Array]] = {}
        for name, known in slips.items():
            for taken in taken_by(known, self.update):
                if self.close(x := self.of(taken)):
                    found.setdefault(name, []).append(x)
        return found

    def of(self, taken: Taken) -> Array:
        """The array of this case that a step gives; of a moment that it lacks, NaN."""
        x = taken[self.place]
        return np.full(self.got.shape, np.nan) if x is None else x

    def rounding(self, x: Array) -> Array:
        """How far the given array may be from another by its own rounding: what a small step is lost in."""
        return self.eps * ROUNDINGS * (np.abs(self.start) + np.abs(x)) + np.finfo(float).tiny

    @property
    def digits(self) -> float:
        """How many digits of the largest right step the rounding of its parameter leaves."""
        with np.errstate(divide="ignore"):
            return float(np.log10(np.abs(self.right - self.start) / self.rounding(self.right)).max(initial=-np.inf))

    def tolerance(self, x: Array) -> Array:
        """How far the given array may be from an array that it should be."""
        with np.errstate(all="ignore"):
            step = np.abs(x - self.start)
            largest = step[np.isfinite(step)].max(initial=0.0)
            of_entry, of_largest = self.tolerances
            return of_entry * step + of_largest * largest + self.rounding(x)

    def close(self, x: Array) -> bool:
        """Whether the given array is this one."""
        if x.shape != self.got.shape:
            return False
        with np.errstate(all="ignore"):
            near = np.abs(self.got - x) <= self.tolerance(x)
        infinite = ~np.isfinite(x)
        return bool(np.all(near | (infinite & ~np.isfinite(self.got))))

    def evidence(self, x: Array) -> Array:
        """In how many digits the given array agrees with this one, entry by entry, where it differs from the right."""
        right = self.right if self.right.shape == x.shape else np.broadcast_to(self.start, x.shape)
        with np.errstate(all="ignore"):
            digits = np.log10(np.abs(x - right) / self.tolerance(x))
        digits = np.where(np.isfinite(x), digits, 12.0)  # infinities, where they belong
        return np.clip(np.nan_to_num(digits, nan=0.0, neginf=0.0, posinf=12.0), 0.0, 12.0)


class Verdicts:
    """The verdicts: the moments first, then the parameters."""

    def __init__(self, given: Given) -> None:
        self.given = given
        self.explained: dict[str, str] = {}  # what the report has explained already
        self.cases: dict[str, list[_Case]] = {kind: [] for kind in (*given.state, "w")}
        for kind in given.state:
            for name, x in given.state_after.get(kind, {}).items():
                if name in given.updates:
                    self.cases[kind].append(self._moment(kind, name, x))
        for name, u in given.updates.items():
            got, dtype = _in_shape(given.after[name], given.before[name], u.w), given.after[name].dtype
            eps = float(np.finfo(dtype if dtype.kind == "f" else float).eps)
            own = self._with_own_moments(u)
            self.cases["w"].append(_Case(name, own, 0, u.w, got, self._tolerances(name), eps))

    def _moment(self, kind: str, name: str, x: Array) -> _Case:
        u, before = self.given.updates[name], self.given.state[kind][name]
        got, tolerances = _in_shape(x, before, u.w), self._tolerances(name, x)
        # counted from zero: moments are sums of products, and their own size is what their digits hang on
        title, place = f'{kind}["{gradient_of(name)}"]', "wvs".index(kind)
        return _Case(title, u, place, np.zeros_like(u.w), got, tolerances, 0.0)

    def _tolerances(self, name: str, *others: Array) -> tuple[float, float]:
        """Those of the coarsest dtype among the arrays that a step is made of."""
        g = self.given
        arrays = [g.before[name], g.gradients[name], g.after[name], *(g.state[kind][name] for kind in g.state), *others]
        return max(TOLERANCES.get(x.dtype.name, TOLERANCES["float64"]) for x in arrays)

    def _with_own_moments(self, u: Update) -> Update:
        """The update from the person's own new moments, where those were given."""
        own = [self.given.state_after.get(kind, {}).get(u.name) for kind in "vs"]
        if all(x is None for x in own):
            return u
        new = [
            right if x is None or np.size(x) != u.w.size else np.asarray(x, float).reshape(u.w.shape)
            for x, right in zip(own, (u.right.v, u.right.s), strict=True)
        ]
        return replace(u, rule=replace(u.rule, moments=(new[0], new[1])))

    def findings(self) -> list[Finding]:
        """One for each array, in the order of the computation."""
        found: list[Finding] = []
        doubtful: dict[str, list[str]] = {}  # the moments of a parameter that are wrong
        for kind, cases in self.cases.items():
            wrong, verdicts = [], {}
            for case in cases:
                verdicts[case.name] = self._at_first_sight(case, kind, kind == "w" and case.update.name in doubtful)
                if verdicts[case.name][0] == "wrong" and not verdicts[case.name][1]:
                    wrong.append(case)
            causes = _explained(wrong)
            for case in cases:
                verdict, causes_of, note = verdicts[case.name]
                causes_of = causes_of or causes.get(case.name, ())
                if verdict == "follows":
                    note = " and ".join(f"your {name}" for name in doubtful[case.update.name])
                found.append(self._finding(case, verdict, causes_of, note))
                if kind != "w" and verdict == "wrong":
                    doubtful.setdefault(case.update.name, []).append(case.name)
        return found

    def _at_first_sight(self, case: _Case, kind: str, follows: bool) -> tuple[str, tuple[_Fit, ...], str]:
        """The verdict, known causes and a note, from the array alone."""
        name, u, g = case.update.name, case.update, self.given
        earlier, later = (g.before, g.after) if kind == "w" else (g.state[kind], g.state_after[kind])
        if np.any(u.g) and np.shares_memory(earlier[name], later[name]):
            return "wrong", (_Fit(SAME_ARRAY, "", IN_PLACE),), ""
        if not case.close(case.right):
            return "follows" if follows and case.close(u.take().w) else "wrong", (), ""
        if kind != "w":
            return "right", (), ""
        if not np.any(u.take(w=np.zeros_like(u.w), decay=0.0).w) and not u.rule.decay:
            return "right", (), ", as there is nothing to add"
        return TOO_SMALL if case.digits < FEW else "right", (), ""

    def _finding(self, case: _Case, verdict: str, causes: Iterable[_Fit], note: str) -> Finding:
        got, right, start = case.got, case.right, case.start
        with np.errstate(over="ignore", invalid="ignore"):  # of a step that explodes
            norms = [float(np.linalg.norm(x - start)) if x.shape == start.shape else float("nan") for x in (got, right)]
        worst = farthest_apart(got, right)
        if verdict == "right":
            text = f"right{note}"
        elif verdict == "follows":
            text = f"follows: right for {note}"
        elif verdict == TOO_SMALL:
            text = f"{TOO_SMALL}: its step is hardly more than the rounding of {case.name} itself"
        else:
            text = self._wrong(case, tuple(causes))
            if worst is not None and SAME_ARRAY not in {cause.name for cause in causes}:
                text += f"\n|your step| = {norms[0]:.4g}, |right step| = {norms[1]:.4g}"
                text += f"\nfarthest apart at {list(worst)}: {got[worst]:.9g} for {right[worst]:.9g}"
        return Finding(case.name, verdict, tuple(c.name for c in causes), case.name, norms[0], norms[1], worst, text)

    def _wrong(self, case: _Case, causes: tuple[_Fit, ...]) -> str:
        if not causes:
            return of_no_known_cause(case.got, case.right)
        said = "; or ".join(cause.name + cause.told for cause in causes)
        new = [cause for cause in causes if self.explained.get(cause.name) != cause.explanation]
        self.explained |= {cause.name: cause.explanation for cause in new}
        more = "" if new else ", as above"
        return with_explanations(f"WRONG: {said}", case.got, case.right, [cause.explanation for cause in new], more)


def _in_shape(x: Array, before: Array, w: Array) -> Array:
    """An array after the step in the parameter's shape, from the shape that was given before, or the course's."""
    x = np.asarray(x, float)
    return x.reshape(w.shape) if x.size == w.size and (x.shape == before.shape or is_single(x.shape, w.shape)) else x


# -- the causes -------------------------------------------------------------------------------------------------------


def _explained(wrong: list[_Case]) -> dict[str, tuple[_Fit, ...]]:
    """For each array that is wrong the causes that give it: of all, of the weights or biases, or of one alone."""
    weights, biases = ([case for case in wrong if case.update.is_bias is kind] for kind in (False, True))
    found: dict[str, tuple[_Fit, ...]] = {}
    for group in (wrong, weights, biases, *([case] for case in wrong)):
        left = [case for case in group if case.name not in found]
        if left and left == group and (causes := _causes_of(group)):
            found |= {case.name: causes for case in group}
    if len(found) < len(wrong):  # a single number is not believed while another array says that all is different
        numbers = {case.name for case in wrong if case.got.size == 1}
        found = {name: causes for name, causes in found.items() if name not in numbers}
    return found


def _causes_of(group: list[_Case]) -> tuple[_Fit, ...]:
    """The causes that give all the arrays of a group, in more digits than chance would."""
    found = []
    for name, known in slips.items():
        if not all(name in case.fitting for case in group):
            continue
        digits = sum(max(float(case.evidence(x).sum()) for x in case.fitting[name]) for case in group)
        unchanged = name == "nothing was updated" and all(np.array_equal(c.got, c.fitting[name][0]) for c in group)
        if digits >= ENOUGH or unchanged:
            found.append(_Fit(name, "", known.explanation))
    named = {fit.name for fit in found}
    found = [fit for fit in found if not SAYS_LESS.get(fit.name, set()) & named]
    if not found:
        return tuple(fit for along, told in FITS if (fit := _fitted(group, along, told)) is not None)
    # a step of another length may have another learning rate for its reason, if that is one that a person would write
    another = None if named & OF_THE_LENGTH else _fitted(group, _rate, _round_rate)
    return tuple(found) if another is None else (*found, another)


# -- the causes with a number in them ---------------------------------------------------------------------------------


Along = Callable[[Update], "tuple[Array, Array] | None"]  # what a step would be without, and what a number of it adds
Told = Callable[[Update, float], "_Fit | None"]


def _fitted(group: list[_Case], along: Along, told: Told) -> _Fit | None:
    """The number that explains the arrays of a group best, if it explains them all."""
    if any(case.place for case in group):
        return None
    pairs = [along(case.update) for case in group]
    if any(pair is None or pair[1].shape != case.got.shape for pair, case in zip(pairs, group, strict=True)):
        return None
    over, under = 0.0, 0.0
    for case, pair in zip(group, pairs, strict=True):
        assert pair is not None
        start, slope = pair
        weight = 1 / case.tolerance(case.right) ** 2
        with np.errstate(all="ignore"):
            over += float(np.sum(weight * slope * (case.got - start)))
            under += float(np.sum(weight * slope * slope))
    if not under > 0 or not np.isfinite(over / under):
        return None
    number, digits = over / under, []
    for case, pair in zip(group, pairs, strict=True):
        assert pair is not None
        x = pair[0] + number * pair[1]
        if not case.close(x):
            return None
        digits += case.evidence(x).ravel().tolist()
    # one entry is spent on the number itself
    return told(group[0].update, number) if sum(digits) - max(digits) >= ENOUGH else None


def _rate(u: Update) -> tuple[Array, Array]:
    return u.w, u.take().w - u.w


def _another_rate(u: Update, number: float) -> _Fit | None:
    if number <= 0:
        return None
    told = f", {u.rule.rate * number:.6g} for {u.rule.rate:.6g}"
    return _Fit("another learning rate", told, "The step is right but for its length.")


def _round_rate(u: Update, number: float) -> _Fit | None:
    rate = u.rule.rate * number
    return _another_rate(u, number) if abs(float(f"{rate:.1e}") - rate) < 1e-7 * rate else None


def _mean_again(u: Update, number: float) -> _Fit | None:
    if u.m is not None or not number > 0 or not _is_whole(1 / number) or u.rule.beta2 is not None or u.rule.decay:
        return None
    if u.v is not None and np.any(u.v):  # a part of the step that would not be divided
        return None
    return _Fit("divided by m again", f", if m is {round(1 / number)}", slips["divided by m again"].explanation)


def _share(u: Update) -> tuple[Array, Array] | None:
    if u.rule.beta2 is not None or u.v is None or not np.any(u.v) or u.rule.moments:
        return None
    without = u.take(g=np.zeros_like(u.g)).w
    return without, u.take().w - without


def _another_share(u: Update, number: float) -> _Fit | None:
    if not number > 0:
        return None
    if u.m is None and _is_whole(1 / number):
        k = round(1 / number)
        return _Fit("divided by m again", f", if m is {k}", slips["divided by m again"].explanation)
    return _Fit(
        "another share of the gradient", f", {number:.6g} of the right one", "Look at what dW is multiplied by."
    )


def _decay(u: Update) -> tuple[Array, Array]:
    return u.take().w, -u.rule.rate * u.w


def _another_decay(u: Update, number: float) -> _Fit | None:
    if not u.rule.decay and number > 0:
        explanation = "A multiple of W is subtracted besides, as of weight decay. The optimizer here has none for it."
        return _Fit("a weight decay", f" of {number:.6g}", explanation)
    return None


FITS: tuple[tuple[Along, Told], ...] = (
    (_rate, _another_rate), (_rate, _mean_again), (_share, _another_share), (_decay, _another_decay)
)  # fmt: skip


def _is_whole(x: float) -> bool:
    return 1.5 < x < 1e9 and abs(x - round(x)) < 1e-7 * x
