"""Where a hand-written backprop goes wrong first, and why.

Autodiff says which of the given arrays are right. For a wrong one the step is taken again from the person's own earlier
arrays: if that gives it, the mistake was made before. If not, it was made here, and each known cause is tried (see
`tinygrad_dls.check.causes` and `tinygrad_dls.check.blame`): the one whose array equals the given one is reported, or
several, or none.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tinygrad_dls import nn
from tinygrad_dls.check import course
from tinygrad_dls.check.blame import FACTOR, Verdict
from tinygrad_dls.check.causes import HANDED_ON, OF_PARAMETERS, causes, kind_of
from tinygrad_dls.check.chain import Chain, Dropout
from tinygrad_dls.check.elsewhere import UPDATED, Elsewhere, computed_in_half, recognised
from tinygrad_dls.check.walk import Walk, best_walk
from tinygrad_dls.engine.arrays import Array
from tinygrad_dls.engine.errors import shown
from tinygrad_dls.engine.viewed import Viewed
from tinygrad_dls.graph.subject import subject

__all__ = ["Diagnosis", "Finding", "diagnose", "farthest_apart", "of_no_known_cause", "with_explanations"]

WIDTH = 72  # of explanations in the report, which are indented
ZEROS = "all zeros"  # which float16 gives where terms cancel
MOST = 0.5  # of the entries: if more are wrong in every array, it may be another question


@dataclass(frozen=True)
class Finding:
    """What `diagnose` found about one array.

    Attributes
    ----------
    name : str
        Such as ``"dW1"``.
    verdict : str
        ``"right"``; ``"wrong"``; ``"follows"``: right for the arrays that the person computed before, of which one is
        wrong, or for another question that explains them all; or ``"unsettled"``: terms cancel, and what is left is no
        more than float32 rounds.
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
class Diagnosis(Viewed):
    """The result of `diagnose`; ``print`` it.

    Attributes
    ----------
    title : str
        The model and the number of examples.
    findings : tuple of Finding
        In the order of the computation.
    hint : str
        What else to give, if that would help.
    missing : tuple of str
        The dW and db of the model that were not given.
    odd : dict of str to str
        What was given and is no gradient of this model, and why.
    """

    title: str
    findings: tuple[Finding, ...]
    hint: str = ""
    missing: tuple[str, ...] = ()
    odd: Mapping[str, str] = field(default_factory=dict)

    @property
    def first_wrong(self) -> Finding | None:
        """The first wrong array in the order of the backward pass (after that of the forward pass)."""
        return next((finding for finding in self.findings if finding.verdict == "wrong"), None)

    def __str__(self) -> str:
        missing = _listed(self.missing)
        rows = [(finding.name, finding.text) for finding in self.findings]
        rows += [(name, why) for name, why in self.odd.items()]
        width = max(len(name) for name, _ in rows)
        lines = [self.title]
        for name, text in rows:
            first, *more = text.splitlines()
            lines += [f"  {name:{width}}  {first}", *(f"  {'':{width}}  {line}" for line in more)]
        lines += [f"  {line}" for line in textwrap.wrap(f"not given: {', '.join(self.missing)}", WIDTH) if missing]
        lines.append(self.conclusion)
        return "\n".join([*lines, self.hint] if self.hint else lines)

    @property
    def conclusion(self) -> str:
        """The last line: which array is the first wrong one, or that none is."""
        if self.first_wrong is not None:
            return f"The first wrong one is {self.first_wrong.name}."
        unsettled = [finding.name for finding in self.findings if finding.verdict == "unsettled"]
        if unsettled:
            return f"None of these is wrong, but {_listed(unsettled)} cannot be told from rounding."
        if self.missing:
            return f"These are right; {_listed(self.missing)} {'were' if len(self.missing) > 1 else 'was'} not given."
        return "All of these are right."

    __repr__ = __str__


def diagnose(
    model: nn.Sequential,
    X: Any,
    Y: Any,
    gradients: Mapping[str, Any],
    *,
    cache: Any = None,
    loss: Callable[[Any, Any], Any] | None = None,
    lambd: float = 0.0,
    masks: Mapping[str, Any] | None = None,
    keep_prob: float = 1.0,
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
        Some or all of ``dA2, dZ2, dW2, db2, dA1, dZ1, dW1, db1, ..., dA0``; of a single layer, ``dA, dZ, dW, db``. The
        dA and dZ may be those of the cost, or, as in the course's programs, of the loss of each example, without the
        1/m (``dZ2 = A2 - Y``); which of the two is found out, and said. What is no gradient of this model is listed.
    cache : mapping of str to array, or the course's list or tuple, optional
        Some or all of ``Z1, A1, Z2, A2, ...`` from the person's own forward pass: they are checked first. W and b in it
        are compared with the model's.
    loss : function, optional
        The cost of the model's output and the labels. By default the cross-entropy: of two classes for one output row,
        else of several. With a model that ends in a `Linear`, A of the last layer means its sigmoid or softmax. It may
        have terms in the model's own parameters, such as an L2 penalty: then dW is right with their gradient, and the
        dA and dZ are what comes through the model's output alone.
    lambd : float
        Of an L2 penalty on the weights beside the loss, ``lambd / (2 m) * sum(W^2)``, whose gradient is ``lambd / m *
        W``.
    masks : mapping of str to array, optional
        ``D1, D2, ...``, the zeros and ones of dropout, by which the person multiplied A1, A2, ...; a cache may hold
        them too. Then A1 is right if it is masked and divided by keep_prob, and so is dA1.
    keep_prob : float
        Of dropout.

    Returns
    -------
    Diagnosis
        One finding for each array that was given, in the order of the computation.

    Raises
    ------
    TypeError
        If the model is no Sequential of Linear layers and activations, or if no array is numeric.
    ValueError
        If none of the names is known, or nothing is given; if the masks do not fit; if the model drops out at random.

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
    layers = sum(isinstance(part, nn.Linear) for part in model.modules()) if isinstance(model, nn.Module) else 1
    given = course.read(max(layers, 1), gradients, cache)
    dropout = _dropout(given, masks, keep_prob)
    chain = Chain(subject("diagnose", model, (X, Y), loss), dropout, _strength(lambd))
    exact = given.settle(chain)
    if "dA0" not in exact:  # which is as large as X
        chain.names.remove("dA0")
    with np.errstate(over="ignore", invalid="ignore"):  # of gradients that explode
        walk = best_walk(chain, given.arrays, exact)
        findings = [_finding(walk, name, verdict) for name, verdict in walk.verdicts.items()]
        off = [f.name for f in findings if f.verdict in ("wrong", "follows")]
        if not {title for f in findings for title in f.causes} - {ZEROS} and computed_in_half(walk, off):
            walk = best_walk(chain, given.arrays, exact, half=True)
            findings = [_finding(walk, name, verdict) for name, verdict in walk.verdicts.items()]
    hints = []
    if others := given.other_parameters(chain):
        hints.append(
            f"Your {_listed(others)} {'are' if len(others) > 1 else 'is'} not the model's: "
            "model.load_state_dict(parameters) takes them over."
        )
    findings, more = _questioned(walk, findings)
    missing = tuple(name for name in chain.gradients if kind_of(name) in OF_PARAMETERS and name not in walk.verdicts)
    title = f"{type(model).__name__}, {chain.m} example{'s' if chain.m != 1 else ''}"
    return Diagnosis(title, tuple(findings), "\n".join(hints + more), missing, given.odd)


def _dropout(given: course.Given, masks: Mapping[str, Any] | None, keep_prob: float) -> Dropout:
    """The masks, from masks= and from the cache."""
    if masks is not None:
        if not isinstance(masks, Mapping):
            raise TypeError(f'diagnose: masks: expected a dict such as {{"D1": D1}}, got {shown(masks)}.')
        own = course.read(given.layers, masks, None)
        if own.odd or own.arrays:
            raise ValueError(f"diagnose: masks: expected D1, D2, ..., got {', '.join(map(str, masks))}.")
        given.masks |= own.masks
    if not _is_number(keep_prob) or not 0 < keep_prob <= 1:
        raise ValueError(f"diagnose: keep_prob must be above 0 and at most 1, got {shown(keep_prob)}.")
    for n, mask in given.masks.items():
        if not np.all((mask == 0) | (mask == 1)):
            raise ValueError(f"diagnose: D{n} holds other numbers than 0 and 1. Give the mask before it is divided.")
    return Dropout({n: mask.astype(float) for n, mask in given.masks.items()}, float(keep_prob))


def _strength(lambd: float) -> float:
    if not _is_number(lambd) or not 0 <= lambd < np.inf:
        raise ValueError(f"diagnose: lambd must be a finite number >= 0, got {shown(lambd)}.")
    return float(lambd)


def _is_number(x: Any) -> bool:
    return isinstance(x, (int, float, np.integer, np.floating)) and not isinstance(x, bool)


# -- the report -------------------------------------------------------------------------------------------------------


def _finding(walk: Walk, name: str, verdict: Verdict) -> Finding:
    """The verdict in words and numbers."""
    got, expected = walk.exact[name], walk.chain.reference[name] * verdict.factor
    norms = float(np.linalg.norm(got)), float(np.linalg.norm(expected))
    of_each = ", of each example's loss (without 1/m)" if verdict.factor != 1 else ""
    worst = farthest_apart(got, expected)
    far = "" if worst is None else f"\nfarthest apart at {list(worst)}: {got[worst]:.7g} for {expected[worst]:.7g}"
    size = f"\n|yours| = {norms[0]:.4g}, |autodiff| = {norms[1]:.4g}{far}"
    if verdict.verdict == "right":
        given = walk.digits.given[name].shape
        shape = f", as {given or 'a number'} for {expected.shape}" if given != expected.shape else ""
        text = f"right{verdict.note}{of_each}{shape}"
    elif verdict.verdict == "follows":
        text = f"follows: right for {walk.sources(name)}{verdict.note}{of_each}"
    elif verdict.verdict == "unsettled":
        text = f"unsettled: its terms cancel, and float32 rounds by as much as is left{of_each}{size}"
    else:
        text = _blame(name, verdict, got, expected) + size
    return Finding(name, verdict.verdict, verdict.causes, verdict.where, *norms, worst, text)


def _blame(name: str, verdict: Verdict, got: Any, expected: Any) -> str:
    """What is said of a wrong array."""
    if not verdict.causes:
        return of_no_known_cause(got, expected)
    said = []
    for title, note in zip(verdict.causes, verdict.notes, strict=True):
        place = f", in the {verdict.where} that went into it" if verdict.where != name and title == FACTOR else ""
        said.append(f"{title}{place}, {note}" if title == FACTOR else f"{title} ({note})" if note else title)
    place = f", in the {verdict.where} that went into it" if verdict.where != name else ""
    both = "; and " if verdict.together else "; or "
    text = "WRONG: " + both.join(said) + (place if verdict.causes != (FACTOR,) else "")
    return with_explanations(text, got, expected, [causes[title].explanation for title in verdict.causes])


def farthest_apart(got: Array, expected: Array) -> tuple[int, ...] | None:
    """The index at which two arrays differ most; None if their shapes differ."""
    if got.shape != expected.shape or not got.size:
        return None
    gap = np.abs(got - expected)
    return tuple(int(i) for i in np.unravel_index(np.argmax(np.where(np.isnan(gap), np.inf, gap)), gap.shape))


def of_no_known_cause(got: Array, expected: Array) -> str:
    """What is said of a wrong array that nothing explains."""
    what = "no cause that is known here fits" if np.all(np.isfinite(got)) else "it holds NaN or infinities"
    return f"WRONG: {what}" + (f"; {shapes}" if (shapes := _shapes(got, expected)) else "")


def with_explanations(text: str, got: Array, expected: Array, explanations: Sequence[str], more: str = "") -> str:
    """What is said of a wrong array, with its shape if that is wrong too, and what to tell the person below it."""
    shapes = f" ({shapes})" if (shapes := _shapes(got, expected)) else ""
    return "\n".join([text + shapes + more, *(textwrap.fill(explanation, WIDTH) for explanation in explanations)])


def _shapes(got: Array, expected: Array) -> str:
    return f"shape {got.shape}, expected {expected.shape}" if got.shape != expected.shape else ""


def _questioned(walk: Walk, findings: list[Finding]) -> tuple[list[Finding], list[str]]:
    """The findings, and what to tell beside them, if no cause was found: perhaps it was another question."""
    wrong = [f for f in findings if f.verdict == "wrong"]
    unexplained = [f for f in wrong if not f.causes]
    if not unexplained:
        return findings, _which_of(wrong)
    hints = []
    off = [f for f in findings if f.verdict in ("wrong", "follows")]
    if {title for f in wrong for title in f.causes} <= {UPDATED} and any(kind_of(f.name) in OF_PARAMETERS for f in off):
        where = recognised(walk.chain, walk.exact)
        if where is not None:
            return _right_elsewhere(findings, where), []
        if _all_else(walk, findings) and not any(f.causes for f in wrong):
            hints.append(
                "Nothing that is known here fits, as if these gradients were computed with other parameters or data "
                "than the model's and this X and Y, or by another forward pass: cache= tells."
            )
    if walk.chain.alike:
        hints.append(
            "With these parameters every example has the same output, so that many mistakes give the same numbers: "
            "diagnose again after some steps of training."
        )
    if not any(kind_of(f.name) in HANDED_ON for f in findings):
        n = walk.chain.numbers[-1]
        hints.append(f"Give dZ{n} and the other dZ and dA too: they tell which of these only follow.")
    return findings, hints


def _all_else(walk: Walk, findings: list[Finding]) -> bool:
    """Whether no dW is right (or no db, without any), and most entries of each are off."""
    of_parameters = [f for f in findings if f.name[:2] == "dW"] or [f for f in findings if f.name[:2] == "db"]
    if any(f.verdict in ("right", "unsettled") and f.got_norm > 0 for f in of_parameters):
        return False
    for f in of_parameters:
        got, expected = walk.exact[f.name], walk.chain.reference[f.name]
        if got.shape == expected.shape and np.mean(np.abs(got - expected) > 1e-6 * np.abs(expected)) <= MOST:
            return False
    return True


def _which_of(wrong: list[Finding]) -> list[str]:
    """Which array would tell, where several causes fit."""
    for f in wrong:
        if len(f.causes) > 1 and f.where != f.name:
            role = "cache= with" if f.where[0] != "d" else ""
            return [" ".join(f"Give {role} {f.where} too: it may tell which of these it is.".split())]
    return []


def _right_elsewhere(findings: list[Finding], elsewhere: Elsewhere) -> list[Finding]:
    """The findings for gradients that are right for another question."""
    first = True
    out = []
    for f in findings:
        if f.verdict == "wrong" and first:
            lines = [f"WRONG: {elsewhere.title}", textwrap.fill(elsewhere.text, WIDTH), *f.text.splitlines()[-2:]]
            f, first = replace(f, causes=(elsewhere.title,), text="\n".join(lines)), False
        elif f.verdict == "wrong":
            f = replace(f, verdict="follows", text=f"follows: {elsewhere.rest}")
        out.append(f)
    return out


def _listed(names: tuple[str, ...] | list[str]) -> str:
    """A, B and C."""
    *most, last = names or ("",)
    return f"{', '.join(most)} and {last}" if most else last
