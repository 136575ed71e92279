"""The losses with a weight for each example: the cost is the weighted mean, ``J = sum(w losses) / sum(w)``.

So ``w / sum(w)`` stands where ``1 / m`` does without weights, and the gradient of the fused ones is literally
``w (A - Y) / sum(w)``. An example of weight 0 counts as if it were not there, whatever its loss. With equal weights,
the cost is the plain mean.

Each is an op of three arrays; `tinygrad_dls.nn.losses` checks these, and calls it where there are weights.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_dls.engine.arrays import Array, single_inside
from tinygrad_dls.engine.autodiff import op
from tinygrad_dls.engine.ops import below_largest, rounded_into_unit_interval, sigmoid, softmax
from tinygrad_dls.engine.tensor import Rule, values
from tinygrad_dls.nn.fused import is_loss, is_nan
from tinygrad_dls.nn.labels import check_columns, check_finite, check_probabilities

__all__ = [
    "weighted_binary_cross_entropy", "weighted_binary_cross_entropy_with_logits", "weighted_mean_squared_error",
    "weighted_softmax_cross_entropy",
]  # fmt: skip


def _weighted_mean(losses: Array, w: Array) -> tuple[Array, Array, Callable[[Array], Array]]:
    """The cost, the sum of the weights, and the product for the weights: ``dw = (losses - J) / sum(w)``."""
    total = w.sum()
    J = (w * losses).sum() / total

    def dw(dj: Array) -> Array:
        of_examples = losses.sum(axis=0, keepdims=True) if losses.shape else losses
        return dj * (of_examples - J) / total

    return J, total, dw


def _counted(losses: Array, w: Array) -> Array:
    """The losses, without those of examples of weight 0, which may be infinite: 0 * inf is no number."""
    return np.where(values(w) == 0, 0, losses)


@is_loss("A", labels=check_probabilities, weighted=True)
@op()
def weighted_binary_cross_entropy(a: Array, y: Array, w: Array) -> Rule:
    """Binary cross-entropy of probabilities, with a weight for each example."""
    return _of_inner_probabilities(rounded_into_unit_interval(a), y, w)


@single_inside
def _of_inner_probabilities(a: Array, y: Array, w: Array) -> Rule:
    losses = -(y * np.log(a) + (1 - y) * np.log(1 - a))
    J, total, dw = _weighted_mean(losses, w)
    return J, (
        lambda dj: dj * w * ((1 - y) / (1 - a) - y / a) / total,
        lambda dj: dj * w * (np.log(1 - a) - np.log(a)) / total,
        dw,
    )


@is_loss(
    "Z",
    labels=check_probabilities,
    composed=lambda Z, Y, w: weighted_binary_cross_entropy(sigmoid(Z), Y, w),
    predicts="sigmoid",
    weighted=True,
)
@op()
@single_inside
def weighted_binary_cross_entropy_with_logits(z: Array, y: Array, w: Array) -> Rule:
    """Sigmoid and binary cross-entropy in one, with a weight for each example."""
    positive = np.maximum(z, 0.0)
    negative = z - positive  # so |z| = positive - negative, and no exponent below is above 0
    e = np.exp(negative - positive)
    losses = positive - y * z + np.log1p(e)
    J, total, dw = _weighted_mean(losses, w)
    if is_nan(J):  # an infinite logit costs 0 where the label is its side's, else infinity
        negative = np.minimum(z, 0.0)
        e = np.exp(negative - positive)
        away = (z > 0) - y
        losses = np.where(values(away) == 0, 0, z) * away + np.log1p(e)
        J, total, dw = _weighted_mean(_counted(losses, w), w)

    def dz(dj: Array) -> Array:
        a = np.exp(negative) / (1.0 + e)  # sigmoid(z), as in tinygrad_dls.engine.ops
        return w * (a - y) * (dj / total)

    return J, (dz, lambda dj: -dj * w * z / total, dw)


def _textbook_softmax_cross_entropy(Z: Any, Y: Any, w: Any) -> Any:
    return -np.sum(w * Y * np.log(softmax(Z, 0))) / np.sum(w)


@is_loss("Z", labels=check_columns, composed=_textbook_softmax_cross_entropy, weighted=True)
@op()
@single_inside
def weighted_softmax_cross_entropy(z: Array, y: Array, w: Array) -> Rule:
    """Softmax and cross-entropy in one, with a weight for each example."""
    with np.errstate(invalid="ignore"):  # infinite logits are seen to below
        s = z - z.max(axis=0, keepdims=True)
    losses, e, sums = _losses_below_largest(s, y)
    J, total, dw = _weighted_mean(losses, w)
    if is_nan(J):  # inf - inf
        s, _ = below_largest(z, 0)
        losses, e, sums = _losses_below_largest(s, y)
        J, total, dw = _weighted_mean(_counted(losses, w), w)
    return J, (lambda dj: dj * w * (e / sums - y) / total, lambda dj: dj * w * (np.log(sums) - s) / total, dw)


def _losses_below_largest(s: Array, y: Array) -> tuple[Array, Array, Array]:
    """The losses by logits of which the largest is 0; and their powers of e, with the sums of these."""
    e = np.exp(s)
    sums = e.sum(axis=0, keepdims=True)
    chosen = y * np.where(values(y) == 0, 0, s)  # a class ruled out by a logit of -inf costs nothing, not 0 * -inf
    return np.log(sums) - chosen.sum(axis=0, keepdims=True), e, sums


@is_loss("A", labels=check_finite, predicts="numbers", weighted=True)
@op()
@single_inside
def weighted_mean_squared_error(a: Array, y: Array, w: Array) -> Rule:
    """Squared errors, with a weight for each example."""
    error = a - y
    J, total, dw = _weighted_mean(error * error, w)
    if is_nan(J):  # a square may be infinite
        J, total, dw = _weighted_mean(_counted(error * error, w), w)
    return J, (lambda dj: dj * 2 * w * error / total, lambda dj: -dj * 2 * w * error / total, dw)
