"""The mistakes that people make in the gradients of an L2 penalty and of dropout.

The cost with a penalty is the course's: ``J + lambda / (2 m) * sum(W^2)``, whose gradient is ``dW + lambda / m * W``.
Dropout is the inverted one: ``A = g(Z) * D / keep_prob`` forward, and the same mask and division backward, for dA.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tinygrad_dls.check.causes import ACTIVATIONS, HANDED_ON, Step, Variant, cause, multiple_of
from tinygrad_dls.check.mistakes.steps import another, neighbour
from tinygrad_dls.engine.arrays import Array

# -- an L2 penalty ----------------------------------------------------------------------------------------------------


@cause("an L2 term", "dW", free=True)
def _l2_term(s: Step) -> Array | None:
    """It is the gradient plus a multiple of W, as of a cost with an L2 penalty. The cost asked about here has none."""
    return _with_a_multiple(s, s.W) if s.beside is None else None


@cause("an L2 term on b", "db", free=True)
def _l2_term_on_b(s: Step) -> list[Array | None]:
    """It is the gradient plus a multiple of b. The cost asked about here has no penalty on b, as in the course."""
    if s.beside is not None:
        return []
    return [s.expected + s.penalty * s.b, _with_a_multiple(s, s.b)] if s.penalty else [_with_a_multiple(s, s.b)]


@cause("another factor of the L2 term", "dW", free=True)
def _another_l2_term(s: Step) -> Variant | None:
    """The penalty lambda / (2 m) * sum(W^2) has the gradient lambda / m * W: look at the 2, the m and the lambda."""
    if s.beside is None or not s.penalty:
        return None
    array = _with_a_multiple(s, s.W)
    if array is None:
        return None
    factor = multiple_of(array - (s.expected - s.beside), s.W) / s.penalty
    known = {
        s.m: "without its 1/m", 2.0: "twice it", 0.5: "half of it", -1.0: "with a minus", s.m / 2: "lambda / 2 * W",
        2 * s.m: "2 lambda * W", -s.m: "with a minus, and without its 1/m", 1 / s.m: "with 1/m twice",
    }  # fmt: skip
    said = [what for f, what in known.items() if np.isclose(factor, f, rtol=1e-6, atol=0)]
    return Variant(array, " or ".join(said) or f"{factor:.6g} times it")


@cause("another array in the L2 term", "dW")
def _another_array_in_the_l2_term(s: Step) -> Iterator[Variant]:
    """The gradient of lambda / (2 m) * sum(W^2) is lambda / m * W: entry by entry W itself, and of this layer."""
    if s.beside is None or not s.penalty:
        return
    through, c = s.expected - s.beside, s.penalty
    forms = {
        "sum(W) for W": c * np.sum(s.W), "sum(W^2) for W": c * np.sum(s.W**2), "W^2 for W": c * s.W**2,
        "W^2 / 2 for W": c / 2 * s.W**2,
        "the penalty itself": c / 2 * np.sum(s.W**2), "sign(W) for W": c * np.sign(s.W),
        "abs(W) for W": c * np.abs(s.W), "the norm of W for W": c * np.linalg.norm(s.W), "dW for W": c * through,
    }  # fmt: skip
    for what, term in forms.items():
        yield Variant(through + term, what)
    for name, W in s.arrays.items():
        if name[0] == "W" and W.shape == s.W.shape and name != f"W{s.layer}":
            yield Variant(through + c * W, f"{name} for W{s.layer}")


@cause("a term of the cost is missing", "dW db")
def _term_missing(s: Step) -> Array | None:
    """The cost has a term in this parameter itself, such as an L2 penalty (of lambda / m * W): add its gradient."""
    return None if s.beside is None else s.expected - s.beside


def _with_a_multiple(s: Step, p: Array) -> Array | None:
    """The gradient plus that multiple of a parameter that explains the given array best."""
    if s.got is None or s.got.shape != p.shape or s.got.size < 3 or not np.any(p):
        return None
    factor = multiple_of(s.got - s.expected, p)
    missing = s.beside is not None and np.allclose(factor * p, -s.beside, rtol=1e-6, atol=0)
    return s.expected + factor * p if (factor > 0 or s.beside is not None) and not missing else None


# -- dropout ----------------------------------------------------------------------------------------------------------


@cause("the mask is not applied backward", "dA")
def _no_mask_backward(s: Step) -> list[Variant]:
    """What was shut off forward has no gradient: dA = dA * D / keep_prob, with the mask of the forward pass."""
    if (raw := _unmasked(s)) is None:
        return []
    return [Variant(raw, "nor is it divided by keep_prob"), Variant(raw / s.keep_prob)]


@cause("it is not divided by keep_prob", "dA")
def _not_divided(s: Step) -> list[Variant]:
    """Forward, A was divided by keep_prob, so that its mean stays; backward, dA is divided by it too."""
    if s.mask is None or s.keep_prob == 1 or (raw := _unmasked(s)) is None:
        return []
    masked, k = raw * s.mask, s.keep_prob
    return [
        Variant(masked), Variant(masked * k, "but multiplied"), Variant(masked / k**2, "but divided twice"),
        Variant(masked / (1 - k), "but by 1 - keep_prob"),
    ]  # fmt: skip


@cause("the mask of another layer", "dA A")
def _mask_of_another_layer(s: Step) -> Iterator[Variant]:
    """Each layer has a mask of its own: D1 for A1 and dA1, D2 for A2 and dA2."""
    free = _free_of_mask(s)
    for n, mask in s.masks.items():
        if free is not None and n != s.layer and free.shape == mask.shape:
            for k in (s.keep_prob, 1.0):
                yield Variant(free * mask / k, f"D{n} for D{s.layer}")


@cause("the mask is turned round", "dA A")
def _other_way_round(s: Step) -> list[Variant]:
    """The mask is 1 where a unit stays, D = rand < keep_prob, and the same forward and backward."""
    free = _free_of_mask(s)
    if s.mask is None or free is None:
        return []
    k = s.keep_prob
    return [
        Variant(free * mask / d, what)
        for what, mask in (("1 - D for D", 1 - s.mask), ("the units in reverse", s.mask[::-1]),
                           ("the examples in reverse", s.mask[:, ::-1]))
        for d in (k, 1.0, 1 - k)
    ]  # fmt: skip


@cause("a mask drawn anew", "dA A dZ", free=True)
def _drawn_anew(s: Step) -> Array | None:
    """It has been masked, but not with the mask that you gave: keep D1 of the forward pass for the backward pass."""
    if s.mask is None or s.got is None or s.got.shape != s.mask.shape:
        return None
    if s.kind == "dZ":
        through = s.if_instead(f"dA{s.layer}", raw / s.keep_prob) if (raw := _unmasked(s)) is not None else None
    else:
        through = _free_of_mask(s)
        through = None if through is None else through / s.keep_prob
    if through is None or through.shape != s.got.shape:
        return None
    kept = s.got != 0
    some = (through != 0) & (s.mask == 0) & kept  # at least one that should be off is on
    return through * kept if np.any(some) and np.sum(kept & (through != 0)) > 2 and np.any(~kept) else None


@cause("the mask is not applied forward", "A")
def _no_mask_forward(s: Step) -> list[Variant]:
    """Dropout shuts units off in the forward pass too: A = A * D / keep_prob goes into the next layer."""
    if s.mask is None or (free := _free_of_mask(s)) is None:
        return []
    return [Variant(free), Variant(free / s.keep_prob, "but it is divided by keep_prob")]


@cause("A is not divided by keep_prob", "A")
def _not_divided_forward(s: Step) -> list[Variant]:
    """Inverted dropout divides by keep_prob, so that the mean of A stays: A = A * D / keep_prob."""
    if s.mask is None or s.keep_prob == 1 or (free := _free_of_mask(s)) is None:
        return []
    k = s.keep_prob
    return [Variant(free * s.mask), Variant(free * s.mask * k, "but multiplied by it")]


@cause("A is masked and divided twice", "dW")
def _masked_twice(s: Step) -> Iterator[Variant]:
    """The A that went into the layer has been multiplied by its mask and divided by keep_prob already."""
    below = neighbour(s, "A", -1)
    mask = s.masks.get(below[1:]) if below != "X" else None
    if mask is not None and s.keep_prob < 1:
        yield from another(s, f"{below} / keep_prob for {below}", A_prev=s.A_prev * mask / s.keep_prob)


def _unmasked(s: Step) -> Array | None:
    """The gradient of what the next layer gets, before the mask."""
    if s.mask is None or s.W_next is None or s.dZ_next is None or s.dZ_next.shape[0] != s.W_next.shape[0]:
        return None
    return s.W_next.T @ s.dZ_next


def _free_of_mask(s: Step) -> Array | None:
    """An A, or its gradient, as it would be without dropout."""
    if s.mask is None:
        return None
    if s.kind in HANDED_ON:
        return _unmasked(s)
    return ACTIVATIONS[s.activation](s.Z) if s.activation in ACTIVATIONS else None
