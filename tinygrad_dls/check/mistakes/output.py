"""Mistakes at the end of the network: the loss, its derivative dA, and ``dZ = A - Y``, which is both in one."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tinygrad_dls.check.causes import Step, Variant, cause, multiple_of
from tinygrad_dls.check.mistakes.steps import either_scale, slope
from tinygrad_dls.engine.arrays import Array


def _errors(s: Step, outputs: dict[str, Array], labels: dict[str, Array]) -> Iterator[Variant]:
    """The last dZ with something else for A, or for Y."""
    if s.kind == "dZ" and s.last and s.cross_entropy:
        for what, A in outputs.items():
            yield Variant((A - s.Y) / s.m, f"{what} for A")
        for what, Y in labels.items():
            yield Variant((s.A - Y) / s.m, what)


@cause("A is rounded", "A dZ", zeros=True)
def _rounded(s: Step) -> Iterator[Variant]:
    """The cost and its gradients need the probabilities. Only predictions are rounded to 0 and 1, after training."""
    if not (s.last and s.cross_entropy and np.any(s.Z)):  # where Z is 0, so is what other activations give
        return
    A = s.A if s.kind == "dZ" else s.expected
    outputs = {"np.round(A)": np.round(A), "A > 0.5": A > 0.5}
    if len(A) > 1:
        outputs["the argmax"] = np.arange(len(A))[:, None] == A.argmax(axis=0)
        outputs["the number of the argmax"] = A.argmax(axis=0)[None] + np.zeros_like(A)
    if s.kind == "A":
        outputs["int(A), which is 0"] = np.trunc(A)
        for what, x in outputs.items():
            yield Variant(x, what)
    else:
        yield from _errors(s, outputs, {})


@cause("Y is missing", "dZ")
def _no_labels(s: Step) -> Iterator[Variant]:
    """The last dZ compares the prediction with the label: it is A - Y."""
    yield from _errors(s, {}, {"": np.zeros_like(s.Y)})


@cause("A is missing", "dZ")
def _no_output(s: Step) -> Iterator[Variant]:
    """The last dZ compares the prediction with the label: it is A - Y, and this is -Y, as of an A of zeros."""
    shown = np.any(s.Z) or f"A{s.layer}" in s.given  # where Z is 0, so is what other activations give
    if s.last and s.cross_entropy and shown:
        yield Variant(-s.Y / s.m)


@cause("other labels", "dZ", far_fetched=True)
def _other_labels(s: Step) -> Iterator[Variant]:
    """It is A - Y with labels that are not those given here."""
    if len(s.Y) == 1:
        yield from _errors(s, {}, {"1 - Y for Y": 1 - s.Y, "2 Y - 1 for Y": 2 * s.Y - 1})
    else:
        shifted = {"one class up": np.roll(s.Y, 1, axis=0), "one class down": np.roll(s.Y, -1, axis=0)}
        shifted |= {
            "1 - Y for Y": 1 - s.Y,
            "the classes in reverse": s.Y[::-1],
            "the class for its column": s.Y.argmax(axis=0)[None],
        }
        if len(s.Y) == s.m:
            shifted["Y.T for Y"] = s.Y.T
        yield from _errors(s, {}, shifted)
    yield from _labels_of_other_examples(s)
    yield from _smoothed(s)


def _smoothed(s: Step) -> Iterator[Variant]:
    """What dZ says of labels that were smoothed: (1 - e) Y + e / K for Y."""
    if (
        s.kind != "dZ"
        or not (s.last and s.cross_entropy)
        or s.got is None
        or s.got.shape != s.Y.shape
        or np.ptp(s.A) == 0
    ):
        return
    change = s.Y - 1 / max(len(s.Y), 2)
    share = multiple_of(s.m * (s.got - s.expected), change)
    if 0 < share < 1:
        yield Variant(s.expected + share * change / s.m, f"smoothed by {share:.4g}")


def _labels_of_other_examples(s: Step) -> Iterator[Variant]:
    """What dZ says of the labels that it was computed with, if these are labels: as of a Y that was shuffled alone."""
    if s.kind != "dZ" or not (s.last and s.cross_entropy) or s.got is None or s.got.shape != s.Y.shape or s.m < 3:
        return
    found = s.A - s.m * s.got
    labels = np.round(found)
    if not np.all(np.abs(found - labels) < 1e-6) or not np.all((labels == 0) | (labels == 1)):
        return
    if np.array_equal(labels.sum(axis=0), s.Y.sum(axis=0)) or len(s.Y) == 1:
        others = int(np.sum(np.any(labels != s.Y, axis=0)))
        if others > 0 and labels.min() < labels.max():
            yield Variant((s.A - labels) / s.m, f"of {others} of the {s.m} examples")


@cause("a slip in A - Y", "dZ")
def _slip_in_the_error(s: Step) -> Iterator[Variant]:
    """The last dZ is A - Y, with the 1/m for both of them."""
    if not s.last:
        return
    A, Y = s.A, s.Y
    if not s.cross_entropy:  # of a squared error, in one of its scales
        for factor in (1, 2, 0.5):
            slips = {"(A - Y)^2": (A - Y) ** 2, "|A - Y|": np.abs(A - Y), "A + Y": A + Y, "2 A - Y": A - Y / 2}
            for what, x in slips.items():
                yield Variant(factor * x / s.m, what)
        return
    slips = {
        "A + Y": A + Y, "(A - Y)^2": (A - Y) ** 2, "|A - Y|": np.abs(A - Y), "A Y": A * Y, "A / m - Y": A / s.m - Y,
        "(A - Y)^2 / 2": (A - Y) ** 2 / 2, "log(A) - Y": np.log(A) - Y,
        "A^2 - Y": A**2 - Y, "A - 1": A - 1, "1 - A": 1 - A,
    }  # fmt: skip
    if s.activation == "sigmoid":
        loss = -Y * np.log(A) - (1 - Y) * np.log(1 - A)
        slips |= {"the loss itself": loss, "minus the loss itself": -loss}
    elif s.activation == "softmax":
        slips["A (1 - Y)"] = A * (1 - Y)
    for what, x in slips.items():
        yield from either_scale(s, x, what)


@cause("a slip in the derivative of the loss", "dA dZ")
def _slip_in_the_loss(s: Step) -> Iterator[Variant]:
    """The loss -(Y log A + (1 - Y) log(1 - A)) has dA = -Y / A + (1 - Y) / (1 - A); of several classes, dA = -Y / A."""
    if not (s.last and s.cross_entropy) or (s.kind == "dA" and s.got is None):
        return  # where dA was not given, dZ tells as much
    # a softmax's derivative is no factor, so that its dA is rather taken for dZ
    g = slope(s) if s.kind == "dZ" and s.activation == "sigmoid" else 1.0
    for what, dA in _slips_of_the_loss(s.A, s.Y, s.activation).items():
        if s.kind == "dA" or what not in SAME_AS_ANOTHER_A:
            yield from either_scale(s, dA * g, what)


# times A (1 - A), this is 1 - A - Y and its negative: as of a sign in the exponent of the sigmoid
SAME_AS_ANOTHER_A = ("-Y/(1 - A) + (1 - Y)/A", "Y/(1 - A) - (1 - Y)/A")


def _slips_of_the_loss(A: Array, Y: Array, activation: str) -> dict[str, Array]:
    of_one, of_zero = Y / A, (1 - Y) / (1 - A)
    if activation == "softmax":
        return {
            "-1 / A": -1 / A, "-Y log(A), the loss itself": -Y * np.log(A), "that of two classes": -of_one + of_zero,
            "-log(A)": -np.log(A), "-A / Y": -A * Y,
        }  # fmt: skip
    return {
        "-Y/A - (1 - Y)/(1 - A)": -of_one - of_zero,
        "Y/A + (1 - Y)/(1 - A)": of_one + of_zero,
        "-Y/A alone": -of_one,
        "(1 - Y)/(1 - A) alone": of_zero,
        "Y/A alone": of_one,
        "-(1 - Y)/(1 - A) alone": -of_zero,
        "-Y/(1 - A) + (1 - Y)/A": -Y / (1 - A) + (1 - Y) / A,
        "Y/(1 - A) - (1 - Y)/A": Y / (1 - A) - (1 - Y) / A,
        "-Y/A + (1 - Y)/1 - A": -of_one + (1 - Y) - A,
        "-Y/A + 1 - Y/(1 - A)": -of_one + 1 - Y / (1 - A),
        "-Y/A + 1 - Y/1 - A": -of_one + 1 - Y - A,
        "-(Y/A) + (1 - Y)/A": -of_one + (1 - Y) / A,
        "-Y/A + Y/(1 - A)": -of_one + Y / (1 - A),
        "-Y/A + 1/(1 - A)": -of_one + 1 / (1 - A),
        "-1/A + 1/(1 - A)": -1 / A + 1 / (1 - A),
        "-(Y A) + (1 - Y) (1 - A)": -Y * A + (1 - Y) * (1 - A),
        "the loss itself": -Y * np.log(A) - (1 - Y) * np.log(1 - A),
        "minus the loss itself": Y * np.log(A) + (1 - Y) * np.log(1 - A),
        "-A/Y": -A,
    }


@cause("dZ where dA belongs", "dA")
def _dz_for_da(s: Step) -> Iterator[Array | Variant]:
    """A - Y is the last dZ, dA times the activation's derivative. The last dA is the loss's derivative alone."""
    if s.last and s.cross_entropy:
        yield (s.A - s.Y) / s.m
        yield Variant((s.Y - s.A) / s.m, "and Y - A for A - Y")


HALF = "half the squared error's, A - Y"  # which entry by entry has causes of its own


@cause("the gradient of another cost", "dA dZ")
def _another_cost(s: Step) -> Iterator[Variant]:
    """Every cost has its own dA: the squared error 2 (A - Y), the cross-entropy -Y / A + (1 - Y) / (1 - A)."""
    error = s.A - s.Y if s.last else None
    if error is None:
        return
    if not s.cross_entropy:
        yield from either_scale(s, np.sign(error) if s.kind == "dZ" else None, "the absolute error's, sign(A - Y)")
        return
    costs = {"the squared error's, 2 (A - Y)": 2 * error, HALF: error, "the absolute error's": np.sign(error)}
    for what, dA in costs.items():
        if s.kind == "dA" and what != HALF:
            yield Variant(dA / s.m, what)
        if s.kind == "dZ" and what != HALF:
            yield Variant(dA * s.A * (1 - s.A) / s.m, f"{what}, times A (1 - A)")
        if s.kind == "dZ" and s.activation == "softmax":
            through = s.A * (dA - np.sum(dA * s.A, axis=0, keepdims=True))
            yield Variant(through / s.m, f"{what}, through the softmax")
