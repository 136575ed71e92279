"""Where a hand-written backprop goes wrong first, and why.

Autodiff says which of the given arrays are right. For a wrong one the step is taken again from the person's own earlier
arrays: if that gives it, the mistake was made before. If not, it was made here, and each known cause is tried (see
`tinygrad_dls.check.causes`): the one whose array equals the given one is reported, or several, or none.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from tinygrad_dls import nn
from tinygrad_dls.check.causes import causes
from tinygrad_dls.check.chain import Arrays, Chain
from tinygrad_dls.engine.arrays import Array, as_array
from tinygrad_dls.engine.errors import shown
from tinygrad_dls.engine.tensor import values
from tinygrad_dls.graph.subject import subject

__all__ = ["Diagnosis", "Finding", "diagnose"]

# Relative to the magnitudes of the terms in a step. Two ways to write it differ by some roundings; a wrong one by far
# more. What was computed in float32 is compared to its digits.
TOLERANCE, SINGLE, HALF = 1e-9, 1e-5, 1e-2
OWN = 100.0  # times these, relative to the largest entry of what a cause gives
ROUNDING = "float32 rounding"
ZEROS, FACTOR = "all zeros", "a constant factor"
OF_THE_COST = {"an L2 term", "an L2 term on b"}  # which is known to have terms in the parameter
FORGOTTEN = "a term of the cost is missing"
IF_SCALED = ", if that carries the 1/m; if it does not, 1/m is missing here"
OTHER_SLOPE = ", with slope 1 of ReLU where Z is 0 (autodiff takes 0)"
WIDTH = 72  # of explanations in the report, which are indented


@dataclass(frozen=True)
class Finding:
    """What `diagnose` found about one array.

    Attributes
    ----------
    name : str
        Such as ``"dW1"``.
    verdict : str
        ``"right"``; ``"wrong"``; or ``"follows"``: right for the arrays that the person computed before, of which one
        is wrong.
    causes : tuple of str
        The known causes that give exactly this array: none if no known one fits. Of a right array, ``"float32
        rounding"`` if it is right to float32's seven digits only.
    where : str
        The step in which the cause lies: the array's own, or an earlier one that was not given.
    got_norm, expected_norm : float
        Euclidean norms of the given array and of autodiff's.
    worst : tuple of int or None
        The index where the two are farthest apart; None if their shapes differ.
    text : str
        What the report says.
    """

    name: str
    verdict: str
    causes: tuple[str, ...]
    where: str
    got_norm: float
    expected_norm: float
    worst: tuple[int, ...] | None
    text: str


@dataclass(frozen=True, repr=False)
class Diagnosis:
    """The result of `diagnose`; ``print`` it.

    Attributes
    ----------
    title : str
        The model and the number of examples.
    findings : tuple of Finding
        In the order of the computation.
    hint : str
        What else to give, if that would help.
    """

    title: str
    findings: tuple[Finding, ...]
    hint: str = ""

    @property
    def first_wrong(self) -> Finding | None:
        """The first wrong array in the order of the backward pass (after that of the forward pass)."""
        return next((finding for finding in self.findings if finding.verdict == "wrong"), None)

    def __str__(self) -> str:
        width = max(len(finding.name) for finding in self.findings)
        lines = [self.title]
        for finding in self.findings:
            first, *more = finding.text.splitlines()
            lines += [f"  {finding.name:{width}}  {first}", *(f"  {'':{width}}  {line}" for line in more)]
        lines.append(self._conclusion())
        return "\n".join([*lines, self.hint] if self.hint else lines)

    def _conclusion(self) -> str:
        wrong = self.first_wrong
        return "All of these are right." if wrong is None else f"The first wrong one is {wrong.name}."

    __repr__ = __str__  # what a notebook shows


def diagnose(
    model: nn.Sequential,
    X: Any,
    Y: Any,
    gradients: Mapping[str, Any],
    *,
    cache: Mapping[str, Any] | None = None,
    loss: Callable[[Any, Any], Any] | None = None,
) -> Diagnosis:
    """Find the first mistake in gradients that a person computed by hand, and its likely cause.

    Parameters
    ----------
    model : Sequential
        `Linear` layers and activations, such as `LogisticRegression` or `TwoLayerNetwork`, with the parameters at which
        the gradients were computed. It is not changed.
    X : array, shape (n_x, m)
        The examples, as columns.
    Y : array, shape (n_y, m), or (1, m) of class indices
        Labels, as the loss takes them.
    gradients : mapping of str to array
        Some or all of ``dA2, dZ2, dW2, db2, dA1, dZ1, dW1, db1, ...``; of a single layer, ``dA, dZ, dW, db``. The dA
        and dZ may be those of the cost, or, as in the course's programs, of the loss of each example, without the 1/m
        (``dZ2 = A2 - Y``); which of the two is found out, and said.
    cache : mapping of str to array, optional
        Some or all of ``Z1, A1, Z2, A2, ...`` from the person's own forward pass: they are checked first.
    loss : function, optional
        The cost of the model's output and the labels. By default the cross-entropy: of two classes for one output row,
        else of several. With a model that ends in a `Linear`, A of the last layer means its sigmoid or softmax. It may
        have terms in the model's own parameters, such as an L2 penalty: then dW is right with their gradient, and the
        dA and dZ are what comes through the model's output alone.

    Returns
    -------
    Diagnosis
        One finding for each array that was given, in the order of the computation.

    Raises
    ------
    TypeError
        If the model is no Sequential of Linear layers and activations, or if an array is not numeric.
    ValueError
        If a name is unknown, nothing is given, or the model drops out at random.

    Examples
    --------
    >>> import numpy as np, tinygrad_dls as tg
    >>> X, Y = tg.datasets.planar_flower()
    >>> model = tg.nn.LogisticRegression(2)
    >>> A = model.predict_proba(X)
    >>> dZ = A - Y
    >>> print(tg.check.diagnose(model, X, Y, {"dZ": dZ, "dW": dZ @ X.T, "db": np.mean(dZ, axis=1, keepdims=True)}))
    LogisticRegression, 400 examples
      dZ  right, of each example's loss (without 1/m)
      dW  WRONG: 1/m is missing
          J is a mean over the m examples: divide by m once, in the first dZ, or
          else in dW and db.
          |yours| = 79.31, |autodiff| = 0.1983
          farthest apart at [0, 1]: 78.79088 for 0.1969772
      db  right
    The first wrong one is dW.
    """
    chain = Chain(subject("diagnose", model, (X, Y), loss))
    given = _named(chain, gradients, chain.gradients, "gradients")
    given |= _named(chain, {} if cache is None else cache, chain.forward, "cache")
    if not given:
        raise ValueError(f"diagnose: no arrays were given; expected some of {', '.join(chain.gradients)}.")
    walk = _Walk(chain, given)
    findings = [finding for name in chain.names if (finding := walk.take(name)) is not None]
    wrong = [finding for finding in findings if finding.verdict == "wrong"]
    if any(f.name[:2] in ("dW", "db") for f in wrong) and not any(f.causes for f in wrong):
        alpha = chain.already_updated(walk.exact)
        if alpha is not None:
            findings[findings.index(wrong[0])] = _updated_before(wrong[0], alpha)
    hint = ""
    unexplained = any(not f.causes for f in findings if f.verdict == "wrong")
    if unexplained and not any(f.name[:2] in ("dA", "dZ") for f in findings):
        n = chain.numbers[-1]
        hint = f"Give dZ{n} and the other dZ and dA too: they tell which of these only follow."
    return Diagnosis(f"{type(model).__name__}, {chain.m} examples", tuple(findings), hint)


def _named(chain: Chain, arrays: Mapping[str, Any], known: list[str], role: str) -> Arrays:
    """The given arrays under the names that the model has for them."""
    if not isinstance(arrays, Mapping):
        raise TypeError(f'diagnose: {role}: expected a dict such as {{"{known[-2]}": ...}}, got {shown(arrays)}.')
    given: Arrays = {}
    for name, x in arrays.items():
        course = str(name).replace("w", "W").replace("z", "Z").replace("a", "A")
        if course not in known and len(chain.layers) == 1:
            course = course.removesuffix("1")
        if course not in known:
            hint = f" Did you mean d{name}?" if f"d{course}" in known else ""
            raise ValueError(f"diagnose: {name} is none of this model's {role}: {', '.join(known)}.{hint}")
        if course in given:
            raise ValueError(f"diagnose: {course} was given twice, once as {name}.")
        given[course] = as_array(values(x), str(name))
    return given


# -- the walk along the steps -----------------------------------------------------------------------------------------


class _Verdict(NamedTuple):
    verdict: str
    causes: tuple[str, ...] = ()
    where: str = ""
    inferred: Array | None = None  # what the person must have had there, if it was not given
    note: str = ""

    @property
    def doubt(self) -> float:
        """How little it explains: right, follows, wrong for a known cause, for a mere factor, for none."""
        if self.verdict != "wrong":
            return 0 if self.verdict == "right" else 1
        return 3 if not self.causes else 2.5 if self.causes == (FACTOR,) else 2


class _Walk:
    """The steps in their order, as the person took them: what was given, and what follows from it where nothing was."""

    def __init__(self, chain: Chain, given: Arrays) -> None:
        self.chain, self.given = chain, given
        self.exact = {name: self._in_shape(name, x.astype(float)) for name, x in given.items()}
        self.out: Arrays = {}
        self.doubtful: list[str] = []  # arrays that are not autodiff's: wrong ones, and what follows
        # dA and dZ may lack the 1/m, as those of each example's loss; which, the first that can be explained tells
        self.factor: float | None = None
        self.unscaled: Arrays = {}  # dA and dZ that nothing explained, as they were given, before that was known

    def _in_shape(self, name: str, x: Array) -> Array:
        """The array in the model's shape where the course has another for a single unit: w as a column, b a number."""
        shape = self.chain.reference[name].shape
        single = name == "dW" and shape[0] == 1 and x.shape in ((shape[1], 1), (shape[1],))
        return x.reshape(shape) if single or (name[:2] == "db" and x.shape == () and shape == (1, 1)) else x

    def take(self, name: str) -> Finding | None:
        """Judge a step if it was given, and go on from it."""
        chain = self.chain
        expected = self.compute(name, self.out)
        if name not in self.given:
            self.out[name] = expected
            return None
        got, factors = self.exact[name], [1.0]
        if name[:2] in ("dA", "dZ") and chain.m > 1:
            factors = [1.0, chain.m] if self.factor in (None, 1.0) else [chain.m, 1.0]
        verdict, factor = self.judge_scaled(name, got, expected, factors)
        if len(factors) > 1 and self.factor is None:
            if verdict.doubt < 3:
                self.factor = factor
            else:  # shown beside autodiff's own on the nearer scale
                size, own = np.linalg.norm(got), np.linalg.norm(chain.reference[name]) + 1e-300
                factor = min(factors, key=lambda f: abs(np.log((size + 1e-300) / (own * f))))
                self.unscaled[name] = got
        finding = self.finding(name, got, factor, verdict)
        if verdict.inferred is not None:
            self.doubtful.append(verdict.where)
            self.out = self.steps(name, verdict.where, verdict.inferred)
        # a right array goes on as autodiff's own; another one as it is, if it can
        as_it_is = verdict.verdict != "right" or verdict.note == OTHER_SLOPE
        if as_it_is and got.shape == chain.reference[name].shape and np.all(np.isfinite(got)):
            self.out[name] = got / factor
        else:
            self.out[name] = chain.reference[name]
        if as_it_is:
            self.doubtful.append(name)
        return finding

    def judge_scaled(self, name: str, got: Array, expected: Array, factors: list[float]) -> tuple[_Verdict, float]:
        """The verdict under the convention that leaves the least doubt, and that convention's factor."""
        if self.unscaled and self.factor is None and len(factors) == 1:  # dW or db of a dZ of unknown scale
            for factor in (self.chain.m, 1.0):
                out = self.out | {step: x / factor for step, x in self.unscaled.items()}
                verdict = self.judge(name, got, self.compute(name, out))
                if verdict.verdict == "follows":
                    self.factor, self.out = (factor, out) if factor != 1 else (None, self.out)
                    return verdict._replace(note=IF_SCALED if factor == 1 else ""), 1.0
        judged: list[tuple[_Verdict, float]] = []
        for factor in factors:
            judged.append((self.judge(name, got / factor, expected), factor))
            if self.factor is not None and judged[0][0].doubt < 3:
                break  # the other convention needs a reason
        return min(judged, key=lambda v: v[0].doubt)

    def compute(self, name: str, out: Arrays) -> Array:
        last = f"dA{self.chain.numbers[-1]}"
        return self.chain.compute(name, out, through_dA=last in self.doubtful)

    def steps(self, name: str, where: str, candidate: Array) -> Arrays:
        """The steps before `name`, if the step `where`, which was not given, had come out as a candidate."""
        names = self.chain.names
        out = self.out | {where: candidate}
        for step in names[names.index(where) + 1 : names.index(name)]:
            if step not in self.given:
                out[step] = self.compute(step, out)
        return out

    def if_instead(self, name: str, where: str, candidate: Array) -> Array | None:
        """The step `name`, if the step `where` had come out as a candidate; None if the shapes do not allow it."""
        if name == where:
            return candidate
        if where in self.given:
            return self.compute(name, self.out)
        try:
            return self.compute(name, self.steps(name, where, candidate))
        except ValueError:
            return None

    def upstream(self, name: str) -> list[str]:
        """The step itself, and those before it, as far back as they were not given; the nearest first."""
        steps, waiting = [name], self.chain.before(name)
        while waiting:
            step = waiting.pop(0)
            if step not in self.given and step not in steps:
                steps.append(step)
                waiting += self.chain.before(step)
        return steps

    # -- one array ----------------------------------------------------------------------------------------------------

    def judge(self, name: str, got: Array, expected: Array) -> _Verdict:
        """What is to be said of one array: by its own digits first, then by those of float32."""
        if not np.all(np.isfinite(got)):
            return _Verdict("wrong", where=name)
        digits = {"float16": HALF, "float32": SINGLE}
        parts = [self.given[name], self.chain.beside.get(name, 0.0)]
        own = max(digits.get(np.asarray(part).dtype.name, TOLERANCE) for part in parts)
        for tolerance in sorted({own, max(own, SINGLE)}):
            verdict = self._judge(name, got, expected, tolerance, rounded=tolerance > own)
            if verdict.doubt < 3:
                return verdict
        return _Verdict("wrong", where=name)

    def _judge(self, name: str, got: Array, expected: Array, tolerance: float, rounded: bool) -> _Verdict:
        reference, magnitude = self.chain.reference[name], self.chain.magnitudes[name]
        largest = np.abs(reference).max(initial=1e-300)

        def gaps(a: Array, b: Array) -> tuple[Array, Array]:
            size = magnitude if b.shape == magnitude.shape else np.max(magnitude, initial=0.0)
            return np.abs(a - b), size * max(1.0, np.abs(b).max(initial=0.0) / largest)

        def close(a: Array, b: Array) -> bool:
            if a.shape != b.shape:
                return False
            gap, size = gaps(a, b)
            return bool(np.all(gap <= tolerance * size))

        def equal(a: Array, b: Array) -> bool:
            """Close; and to float32's digits only if it looks like float32 throughout, not wrong in a few entries."""
            if not close(a, b) or not rounded or np.array_equal(a, a.astype(np.float32)):
                return close(a, b)
            gap, size = gaps(a, b)
            return bool(np.mean(gap > 1e-12 * size) >= 0.5)

        def fits(a: Array, b: Array) -> bool:
            """Equal, and by the array's own size too: among large terms that cancel, many a cause would do."""
            return equal(a, b) and bool(np.abs(a - b).max(initial=0) <= OWN * tolerance * np.abs(b).max(initial=0))

        if equal(got, reference):
            return _Verdict("right", (ROUNDING,), note=", to float32's seven digits") if rounded else _Verdict("right")
        if self._other_slope_at_zero(name, got, equal):
            return _Verdict("right", note=OTHER_SLOPE)
        if self.doubtful and equal(got, expected):
            return _Verdict("follows")
        if got.size and not np.any(got):
            return _Verdict("wrong", (ZEROS,), name) if ZEROS in causes and np.any(expected) else _Verdict("wrong")
        for where in self.upstream(name):
            local = expected if where == name else self.out[where]
            given = got if where == name else None
            fitting: dict[str, Array] = {}
            beside = self.chain.beside.get(where)
            # a mistake in what comes through dZ leaves the cost's own terms in the parameter as they are
            for part in (0.0,) if beside is None else (0.0, beside):
                apart = np.any(part)
                if apart and given is not None and given.shape != local.shape:
                    continue
                step = self.chain.step(
                    where, self.out, local - part, None if given is None else given - part,
                    lambda earlier, candidate, part=part: self.if_instead(name, earlier, candidate) - part,
                )  # fmt: skip
                if apart:
                    step = replace(step, beside=None)
                for title, known in causes.items():
                    if (
                        title in fitting
                        or self.chain.kind(where) not in known.kinds
                        or (apart and title in OF_THE_COST)
                    ):
                        continue
                    for candidate in _several(known.mistake(step)):
                        if apart and candidate.shape != local.shape:
                            continue
                        result = self.if_instead(name, where, candidate + part)
                        if result is not None and fits(got, result) and not close(result, expected):
                            fitting[title] = candidate + part
                            break
            if FORGOTTEN in fitting:  # all else is right then
                fitting = {FORGOTTEN: fitting[FORGOTTEN]}
            if fitting:
                alone = next(iter(fitting.values())) if where != name and len(fitting) == 1 else None
                return _Verdict("wrong", tuple(fitting), where, alone)
        return _Verdict("wrong", where=name)

    def _other_slope_at_zero(self, name: str, got: Array, equal: Callable[[Array, Array], bool]) -> bool:
        """Whether it is a right dZ of ReLU, with the slope 1 at 0 where autodiff takes 0."""
        kind, k, n, *_ = self.chain.place(name)
        if kind != "dZ" or self.chain.activations[k] != "ReLU" or not np.any(self.out[f"Z{n}"] == 0):
            return False
        return equal(got, self.out[f"dA{n}"] * (self.out[f"Z{n}"] >= 0))

    def sources(self, name: str) -> str:
        """The nearest arrays that a step depends on and that are not autodiff's."""

        def ancestors(step: str) -> set[str]:
            return {a for b in self.chain.before(step) for a in (b, *ancestors(b))}

        doubtful = ancestors(name) & set(self.doubtful)
        nearest = [
            step for step in self.chain.names if step in doubtful and not any(step in ancestors(d) for d in doubtful)
        ]
        own = [f"your {step}" if step in self.given else f"the same mistake in {step}" for step in nearest]
        return " and ".join(own)

    def finding(self, name: str, got: Array, factor: float, verdict: _Verdict) -> Finding:
        """The verdict in words and numbers."""
        expected = self.chain.reference[name] * factor
        of_each = ", of each example's loss (without 1/m)" if factor != 1 else ""
        norms = float(np.linalg.norm(got)), float(np.linalg.norm(expected))
        worst, far = None, ""
        if got.shape == expected.shape and got.size:
            gap = np.abs(got - expected)
            worst = tuple(int(i) for i in np.unravel_index(np.argmax(np.where(np.isnan(gap), np.inf, gap)), gap.shape))
            far = f"\nfarthest apart at {list(worst)}: {got[worst]:.7g} for {expected[worst]:.7g}"
        if verdict.verdict == "right":
            given = self.given[name].shape
            text = (
                "right"
                + verdict.note
                + of_each
                + (f", as {given or 'a number'} for {expected.shape}" if given != expected.shape else "")
            )
        elif verdict.verdict == "follows":
            text = f"follows: right for {self.sources(name)}{verdict.note}{of_each}"
        else:
            shapes = f"shape {got.shape}, expected {expected.shape}" if got.shape != expected.shape else ""
            if verdict.causes:
                place = f", in the {verdict.where} that went into it" if verdict.where != name else ""
                if FACTOR in verdict.causes and got.shape == expected.shape:
                    place += f", {np.sum(got * expected) / np.sum(expected**2):.6g}"
                text = "WRONG: " + "; or ".join(verdict.causes) + place + (f" ({shapes})" if shapes else "")
                text += "".join("\n" + textwrap.fill(causes[title].explanation, WIDTH) for title in verdict.causes)
            else:
                what = "no cause that is known here fits" if np.all(np.isfinite(got)) else "it holds NaN or infinities"
                text = f"WRONG: {what}" + (f"; {shapes}" if shapes else "")
            text += f"\n|yours| = {norms[0]:.4g}, |autodiff| = {norms[1]:.4g}{far}"
        return Finding(name, verdict.verdict, verdict.causes, verdict.where, *norms, worst, text)


def _several(candidates: Any) -> list[Array]:
    if candidates is None:
        return []
    return [np.asarray(c, dtype=float) for c in (candidates if isinstance(candidates, (list, tuple)) else [candidates])]


def _updated_before(finding: Finding, alpha: float) -> Finding:
    """The finding for gradients that were right before the model was updated with them."""
    title = "an update applied before the gradient"
    text = (
        f"These are right for the parameters before an update with them, at a learning rate of about {alpha:.3g}. "
        "Compute the gradients, diagnose them, then update."
    )
    lines = [f"WRONG: {title}", textwrap.fill(text, WIDTH), *finding.text.splitlines()[-2:]]
    return replace(finding, causes=(title,), text="\n".join(lines))
