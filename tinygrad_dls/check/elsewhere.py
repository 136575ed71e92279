"""Gradients that are right for another question: other parameters, other examples, labels in another shape.

Where no mistake explains what a person gave, it may be right at parameters that the model does not have, before or
after an update, or for some of the examples. One such candidate has to explain all the arrays; if none does, that is
said, and no cause is named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from tinygrad_dls.check.causes import Step, Variant, cause
from tinygrad_dls.check.chain import Arrays, Chain
from tinygrad_dls.check.walk import Walk
from tinygrad_dls.engine.arrays import Array
from tinygrad_dls.engine.tensor import values

__all__ = ["Elsewhere", "recognised"]

EXPLAINED = 0.3  # of a gap is left at most, if rounding is the reason: another way to write a step rounds otherwise
NEAR = 1e-6  # relative to the largest entry of each array
# Learning rates that people take; from the nearest of them, another one is sought.
RATES = np.log([x * 10.0**k for k in range(-4, 1) for x in (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7.5, 9)] + [10.0])


class Elsewhere(NamedTuple):
    """Another question to which all the given gradients are right: what to call it, what to say, and of the rest."""

    title: str
    text: str
    rest: str


@cause("labels of shape (m, 1)", "dA dZ")
def _labels_as_a_column(s: Step) -> Variant | None:
    """The labels were a column, (m, 1), and A - Y was then (m, m), each output with each label: Y must be (1, m)."""
    if not s.last or not s.cross_entropy or len(s.Y) > 1 or s.m == 1:
        return None
    A, Y = s.A, s.Y.T
    if s.kind == "dZ":
        return Variant((A - Y) / s.m)
    with np.errstate(all="ignore"):
        dA = (-(Y / A) + (1 - Y) / (1 - A)) / s.m
    return Variant(dA) if np.all(np.isfinite(dA)) else None


def recognised(chain: Chain, exact: Arrays) -> Elsewhere | None:
    """The one other question to which all the given dW and db are right, if there is one."""
    parameters = {f"d{kind}{n}" for n in chain.numbers for kind in "Wb"}
    given = {name: x for name, x in exact.items() if name in parameters}
    if not given or any(not np.all(np.isfinite(x)) for x in given.values()) or not any(map(np.any, given.values())):
        return None
    if sum(x.size for x in given.values()) < 3:
        return None
    return _some_examples(chain, given) or _around_an_update(chain, given)


# -- other examples ---------------------------------------------------------------------------------------------------


def _some_examples(chain: Chain, given: Arrays) -> Elsewhere | None:
    """A mini-batch of successive examples: each size from its multiples on, as loops over batches take them."""
    if any(x.shape != chain.reference[name].shape for name, x in given.items()) or chain.beside:
        return None
    smallest = min(given, key=lambda name: given[name].size)
    sums, sought = _running_sums(chain, smallest), given[smallest][..., None]
    for size in range(1, chain.m):
        starts = np.arange(0, chain.m, size)
        ends = np.minimum(starts + size, chain.m)
        gaps = np.abs((sums[..., ends] - sums[..., starts]) / (ends - starts) - sought).max(axis=(0, 1))
        for k in np.flatnonzero(gaps <= NEAR * np.abs(sought).max()):
            start, end = int(starts[k]), int(ends[k])
            if all(_near(x, _of_examples(chain, name, start, end)) for name, x in given.items()):
                return Elsewhere(
                    "some of the examples only",
                    f"These are right for the examples {start} to {end - 1} alone, a mini-batch of {end - start}. Give "
                    "diagnose the X and the Y that the gradients were computed with.",
                    "right for these examples",
                )
    return None


def _running_sums(chain: Chain, name: str) -> Array:
    """Of each entry of a dW or db, the sums over the first examples, for the loss of each."""
    kind, k, n, below, _ = chain.place(name)
    terms = chain.reference[f"dZ{n}"][:, None, :] * chain.m
    if kind == "dW":
        terms = terms * (chain.reference[f"A{below}"] if k else chain.X)[None]
    return np.concatenate([np.zeros((*terms.shape[:2], 1)), np.cumsum(terms, axis=2)], axis=2)


def _of_examples(chain: Chain, name: str, start: int, end: int) -> Array:
    kind, k, n, below, _ = chain.place(name)
    dZ = chain.reference[f"dZ{n}"][:, start:end] * (chain.m / (end - start))
    if kind == "db":
        return np.asarray(dZ.sum(axis=1, keepdims=True))
    return np.asarray(dZ @ (chain.reference[f"A{below}"] if k else chain.X)[:, start:end].T)


# -- another dtype ----------------------------------------------------------------------------------------------------


def computed_in_half(walk: Walk, names: list[str]) -> bool:
    """Whether one of these arrays is off by the rounding of a forward pass in float16, so that its digits count."""
    there, right = _by_half(walk.chain) if names else {}, walk.chain.reference
    for name in names:
        got = walk.exact[name] / walk.verdicts[name].factor
        if got.shape == right[name].shape:
            gaps = [float(np.linalg.norm(got - x[name])) for x in (there, right)]
            if gaps[0] <= (EXPLAINED if got.size > 2 else 0.01) * gaps[1]:  # one or two may be met by chance
                return True
    return False


def _by_half(chain: Chain) -> Arrays:
    """The steps from a forward pass in float16, and labels of integers."""
    out: Arrays = {}
    X = A = chain.X.astype(np.float16)
    for n, layer, function, activation in zip(
        chain.numbers, chain.layers, chain.functions, chain.activations, strict=True
    ):
        W, b = (p._value.astype(np.float16) for p in (layer.W, layer.b))
        Z = W @ A + b
        A = 1 / (1 + np.exp(-Z)) if activation == "sigmoid" else values(function(Z))
        A = chain.dropout.applied(n, A).astype(np.float16)
        out |= {f"Z{n}": Z.astype(float), f"A{n}": A.astype(float)}
    full, chain.X = chain.X, X.astype(float)
    try:
        for name in chain.gradients:
            out[name] = chain.compute(name, out, through_dA=False)
    finally:
        chain.X = full
    return out


# -- other parameters -------------------------------------------------------------------------------------------------

UPDATED = "an update applied before the gradient"


def _around_an_update(chain: Chain, given: Arrays) -> Elsewhere | None:
    """The model has been updated with these very gradients; or not by the step after which they were computed."""
    if chain.beside:
        return None  # of a cost with terms in the parameters, these would have to be the other ones too
    parameters = _parameters(chain)
    complete = all(f"d{x}" in given and given[f"d{x}"].shape == p.shape for x, p in parameters.items())
    undone = {x: given[f"d{x}"] for x in parameters} if complete else None
    if undone is not None and (alpha := _rate(chain, given, undone)) is not None:
        text = (
            f"These are right for the parameters before an update with them, at a learning rate of about {alpha:.3g}. "
            "Compute the gradients, diagnose them, then update."
        )
    elif (alpha := _rate(chain, given, {name: -chain.reference[f"d{name}"] for name in parameters})) is not None:
        text = (
            "These are right for the parameters after a step of gradient descent from the model's, at a learning rate "
            f"of about {alpha:.3g}. Give diagnose the parameters at which the gradients were computed."
        )
    else:
        return None
    return Elsewhere(UPDATED, text, "right for these parameters")


def _parameters(chain: Chain) -> dict[str, Array]:
    return {name: chain.reference[name] for n in chain.numbers for name in (f"W{n}", f"b{n}")}


def _rate(chain: Chain, given: Arrays, steps: Arrays) -> float | None:
    """The learning rate at which the given gradients are right for the parameters moved along some steps."""
    if any(np.shape(x) != chain.reference[name].shape for name, x in given.items()):
        return None
    with _moving(chain) as move, np.errstate(all="ignore"):  # as above

        def gaps(alpha: float) -> dict[str, float]:
            """How far, relatively, the gradients there are from the given ones."""
            try:
                there = move(alpha, steps)
            except ValueError:  # a step of huge gradients leads to where the cost is refused
                return dict.fromkeys(given, np.inf)
            return {
                name: float(np.abs(there[name] - x).max() / np.abs(x).max(initial=1e-300)) for name, x in given.items()
            }

        def gap(alpha: float) -> float:
            """Of most of the dW: at a kink of ReLU some jump, and a db may cancel."""
            found = gaps(alpha)
            return float(np.median([x for name, x in found.items() if name[:2] == "dW"] or list(found.values())))

        coarse = [gap(np.exp(x)) for x in RATES]
        best = int(np.argmin(coarse))
        if not coarse[best] <= 0.5:  # next to the right one, a tenth of it away, they are much smaller
            return None
        alpha: float | None = float(np.exp(RATES[best]))
        if coarse[best] > NEAR:
            alpha = _smallest(gap, RATES[max(best - 1, 0)], RATES[min(best + 1, len(RATES) - 1)])
        if alpha is None or not max(gaps(alpha).values()) < min(NEAR, 1e-3 * gap(0.0)):
            return None
        return alpha if gap(1.1 * alpha) > 0.01 * gap(0.0) else None  # where all is saturated, any rate would do


def _smallest(gap: Callable[[float], float], low: float, high: float) -> float | None:
    """The rate of the smallest gap between two logarithms of rates, by golden sections; None if it stays large."""
    golden = (5**0.5 - 1) / 2
    a, b = high - golden * (high - low), low + golden * (high - low)
    at_a, at_b = gap(np.exp(a)), gap(np.exp(b))
    for k in range(60):  # each leaves 0.62 of the interval, 60 of them 1e-12
        if at_a < at_b:
            high, b, at_b = b, a, at_a
            a = high - golden * (high - low)
            at_a = gap(np.exp(a))
        else:
            low, a, at_a = a, b, at_b
            b = low + golden * (high - low)
            at_b = gap(np.exp(b))
        if k == 15 and min(at_a, at_b) > 0.01:
            return None
        if min(at_a, at_b) < 1e-3 * NEAR:
            break
    return float(np.exp(a if at_a < at_b else b))


@contextmanager
def _moving(chain: Chain) -> Iterator[Callable[[float, Arrays], Arrays]]:
    """A function that gives the chain's arrays at other parameters; afterwards, they are the model's again."""
    layers = list(zip(chain.numbers, chain.layers, strict=True))
    parameters = {f"{kind}{n}": getattr(layer, kind) for n, layer in layers for kind in ("W", "b")}
    now = {name: p.data for name, p in parameters.items()}

    def move(alpha: float, steps: Arrays) -> Arrays:
        for name, p in parameters.items():
            moved = now[name] + alpha * steps[name]
            p.data = np.where(np.abs(moved) <= NEAR * np.abs(alpha * steps[name]), 0.0, moved)  # as b was at first
        return chain.by_autodiff()

    try:
        yield move
    finally:
        for name, p in parameters.items():
            p.data = now[name]


def _near(a: Array, b: Array) -> bool:
    return bool(np.abs(a - b).max(initial=0) <= NEAR * np.abs(b).max(initial=0))
