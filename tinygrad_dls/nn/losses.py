"""Costs: the mean of the losses over the m examples, which are the columns.

Two of them come as a pair: `binary_cross_entropy` of probabilities A is the composed cost of the notes, whose chain
shows ``dA`` and then ``dZ = dA * a(1 - a)``; `binary_cross_entropy_with_logits` of Z is the same cost with the sigmoid
folded in, whose gradient is the result of that chain, ``dZ = (A - Y) / m``, and which loses nothing at any Z.

Labels are checked before they are used: silent broadcasting of a wrong shape is the commonest wrong gradient. Their
shape is checked at every call, their values once per array.

Each takes ``sample_weight=``, a weight for each example; then the cost is the weighted mean. Those are ops of their own
(see `tinygrad_dls.nn.weighted`), so that a cost without weights is computed as if there were none.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import Any

import numpy as np

from tinygrad_dls.engine.arrays import HALF, Array, as_array, in_single, single_inside, summed
from tinygrad_dls.engine.autodiff import op
from tinygrad_dls.engine.ops import below_largest, rounded_into_unit_interval, sigmoid, softmax
from tinygrad_dls.engine.switches import set_to
from tinygrad_dls.engine.tensor import Rule, Tensor, values
from tinygrad_dls.nn import weighted
from tinygrad_dls.nn.fused import MAKING, is_loss, is_nan, refuse_twice
from tinygrad_dls.nn.labels import (
    array_of_columns,
    check_columns,
    check_each_time,
    check_finite,
    check_once,
    check_probabilities,
    class_check,
    in_dtype,
    one_hot,
    prepare,
    prepare_weights,
    within,
)

__all__ = [
    "binary_cross_entropy", "binary_cross_entropy_with_logits", "mean_squared_error", "softmax_cross_entropy",
]  # fmt: skip


def binary_cross_entropy(A: Any, Y: Any, *, sample_weight: Any = None) -> Any:
    """The negative log-likelihood of the notes: ``J = -1/m sum(Y log A + (1 - Y) log(1 - A))``.

    Its gradient is ``dA = ((1 - Y)/(1 - A) - Y/A) / m``. Where A has been rounded to 0 or 1, the nearest number
    strictly between is used, so nothing is infinite; but the loss of an example saturates there, near 37 in float64.
    `binary_cross_entropy_with_logits` does not.

    Parameters
    ----------
    A : Tensor or array, shape (n_y, m)
        Probabilities that the label is 1, in [0, 1]: the output of a sigmoid.
    Y : array, shape (n_y, m)
        Labels in [0, 1].
    sample_weight : array, shape (1, m), optional
        Weights of the examples, >= 0: the cost is the weighted mean, ``sum(w losses) / sum(w)``, and its gradient has
        ``w / sum(w)`` in place of ``1 / m``.

    Returns
    -------
    Tensor or number
        The cost J, a single entry of A's dtype. With several rows, their losses add up.

    Raises
    ------
    ValueError
        If A or Y leaves [0, 1], is NaN, or has a wrong shape; if weights have one, are negative, or all zero.

    Examples
    --------
    >>> import numpy as np, tinygrad_dls as tg
    >>> A = tg.Tensor([[0.8, 0.4]], requires_grad=True)
    >>> J = tg.binary_cross_entropy(A, np.array([[1, 0]]))
    >>> J.backward()
    >>> A.grad.round(4)
    array([[-0.625 ,  0.8333]])
    """
    A, Y = prepare(A, Y, _binary_cross_entropy.loss)
    if problem := check_each_time(values(A), _check_predictions):
        raise ValueError(f"binary_cross_entropy: {problem}")
    if sample_weight is not None:
        return weighted.weighted_binary_cross_entropy(A, Y, prepare_weights(sample_weight, A.shape, A.dtype))
    return _binary_cross_entropy(A, Y)


@within(
    0.0,
    1.0,
    each_time="binary_cross_entropy refuses probabilities A outside [0, 1] at each step; a program does not look at A, "
    "and nothing in it keeps A there. Let the model end with a sigmoid, or give the logits to "
    "binary_cross_entropy_with_logits.",
)
def _check_predictions(a: Array) -> str:
    if a.min() >= 0 and a.max() <= 1:
        return ""
    return (
        "A has values outside [0, 1], or NaN. It takes probabilities; "
        "for logits Z use binary_cross_entropy_with_logits(Z, Y)."
    )


@is_loss("A", labels=check_probabilities)
@op()
def _binary_cross_entropy(a: Array, y: Array) -> Rule:
    return _of_inner_probabilities(rounded_into_unit_interval(a), y)  # between 0 and 1 of its own precision


@single_inside
def _of_inner_probabilities(a: Array, y: Array) -> Rule:
    m = a.shape[-1] if a.shape else 1
    losses = -(y * np.log(a) + (1 - y) * np.log(1 - a))
    return losses.sum() / m, (
        lambda dj: dj * ((1 - y) / (1 - a) - y / a) / m,
        lambda dj: dj * (np.log(1 - a) - np.log(a)) / m,
    )


def binary_cross_entropy_with_logits(Z: Any, Y: Any, *, sample_weight: Any = None) -> Any:
    """Sigmoid and cross-entropy in one: ``J = 1/m sum(max(Z, 0) - Y Z + log(1 + e^-|Z|))``.

    With ``A = sigmoid(Z)`` it equals `binary_cross_entropy` of A, and its gradient is ``dZ = (A - Y) / m``: the
    ``a - y`` of the notes, with the mean. It neither overflows nor saturates. An infinite logit costs 0 where the label
    is its side's, else infinity.

    Parameters
    ----------
    Z : Tensor or array, shape (n_y, m)
        Logits, the linear part of the last layer.
    Y : array, shape (n_y, m)
        Labels in [0, 1].
    sample_weight : array, shape (1, m), optional
        Weights of the examples, >= 0: the cost is the weighted mean, ``sum(w losses) / sum(w)``, and its gradient has
        ``w / sum(w)`` in place of ``1 / m``.

    Returns
    -------
    Tensor or number
        The cost J, a single entry of Z's dtype. With several rows, their losses add up.

    Raises
    ------
    ValueError
        If Y leaves [0, 1], is NaN, or has a wrong shape; if weights have one, are negative, or all zero; if Z comes
        from a sigmoid or a softmax.

    Examples
    --------
    >>> import numpy as np, tinygrad_dls as tg
    >>> Z = tg.Tensor([[1000.0, -1000.0]], requires_grad=True)
    >>> J = tg.binary_cross_entropy_with_logits(Z, np.array([[1, 1]]))
    >>> J.backward()
    >>> J.item(), Z.grad
    (500.0, array([[ 0. , -0.5]]))
    """
    Z, Y = prepare(Z, Y, _binary_cross_entropy_with_logits.loss)
    if Z.__class__ is Tensor and Z._origin.op in MAKING:
        refuse_twice(Z, _binary_cross_entropy_with_logits)
    if sample_weight is not None:
        return weighted.weighted_binary_cross_entropy_with_logits(
            Z, Y, prepare_weights(sample_weight, Z.shape, Z.dtype)
        )
    return _binary_cross_entropy_with_logits(Z, Y)


@is_loss("Z", labels=check_probabilities, composed=lambda Z, Y: binary_cross_entropy(sigmoid(Z), Y), predicts="sigmoid")
@op()
def _binary_cross_entropy_with_logits(z: Array, y: Array) -> Rule:
    if z.dtype.char == HALF:  # spelled out, as what follows: small steps are made of such calls
        return in_single(_binary_cross_entropy_with_logits.rule, z, y)  # type: ignore[no-any-return]
    m = z.shape[-1] if z.shape else 1
    positive = np.maximum(z, 0.0)
    negative = z - positive  # so |z| = positive - negative, and no exponent below is above 0
    e = np.exp(negative - positive)
    losses = positive - y * z + np.log1p(e)
    J = summed(losses) / m
    lost = J != J if J.__class__ in _NUMBERS else is_nan(J)
    if lost:  # inf - inf, or 0 * inf: an infinite logit costs 0 where the label is its side's, else infinity
        negative = np.minimum(z, 0.0)
        e = np.exp(negative - positive)
        away = (z > 0) - y
        J = (np.where(away == 0, 0, z) * away + np.log1p(e)).sum() / m

    def dz(dj: Array) -> Array:
        a = np.exp(negative) / (1.0 + e)  # sigmoid(z), as in tinygrad_dls.engine.ops
        return (a - y) * (dj / m)

    return J, (dz, lambda dj: -dj * z / m)


_NUMBERS = {np.float32, np.float64}


def softmax_cross_entropy(Z: Any, Y: Any, *, sample_weight: Any = None) -> Any:
    """Softmax and cross-entropy in one: ``J = -1/m sum_i log A[y_i, i]`` with ``A = softmax(Z)`` over the rows.

    Its gradient is ``dZ = (A - Y) / m``, with Y one-hot. Logits may be infinite; those that are infinite alike count as
    equal, as in `tinygrad_dls.softmax`.

    Parameters
    ----------
    Z : Tensor or array, shape (n_y, m)
        Logits, one row per class.
    Y : array, shape (1, m) of integers 0 ... n_y - 1, or (n_y, m)
        Class indices, or one column of class probabilities per example (one-hot, say).
    sample_weight : array, shape (1, m), optional
        Weights of the examples, >= 0: the cost is the weighted mean, ``sum(w losses) / sum(w)``, and its gradient has
        ``w / sum(w)`` in place of ``1 / m``.

    Returns
    -------
    Tensor or number
        The cost J, a single entry of Z's dtype.

    Raises
    ------
    ValueError
        If Y has a wrong shape, holds no such class, or has columns that do not sum to 1; if Z has a single row, or
        comes from a sigmoid or a softmax; if weights have a wrong shape, are negative, or all zero.

    Examples
    --------
    >>> import numpy as np, tinygrad_dls as tg
    >>> Z = tg.Tensor(np.zeros((3, 2)), requires_grad=True)
    >>> J = tg.softmax_cross_entropy(Z, np.array([[0, 2]]))
    >>> J.backward()
    >>> Z.grad.round(3)
    array([[-0.333,  0.167],
           [ 0.167,  0.167],
           [ 0.167, -0.333]])
    """
    Z = array_of_columns(Z, "Z")
    if Z.__class__ is Tensor and Z._origin.op in MAKING:
        refuse_twice(Z, _softmax_cross_entropy)
    n_y, m = Z.shape
    if n_y < 2:
        raise ValueError(
            f"softmax_cross_entropy: Z is {Z.shape}, a single class, whose probability is always 1. "
            "For two classes in one row use binary_cross_entropy_with_logits."
        )
    Y = as_array(Y, "Y")
    if Y.shape in ((m,), (m, 1)) and Y.shape not in ((1, m), Z.shape):
        raise ValueError(
            f"softmax_cross_entropy: Y is {Y.shape}, Z is {Z.shape}; expected class indices as (1, {m}), or one-hot "
            f"columns as {Z.shape}. Write Y.reshape(1, -1)."
        )
    if Y.shape != (1, m):
        return _of_columns(*prepare(Z, Y, _softmax_cross_entropy.loss), sample_weight)
    y = values(Y)
    if y.dtype.kind not in "iub":
        raise ValueError(
            f"softmax_cross_entropy: Y is (1, {m}) of {y.dtype}; class indices must be integers. Write Y.astype(int)."
        )
    check_once(y, class_check(n_y))
    columns = in_dtype(one_hot(y, n_y), Z.dtype)
    named = _one_hot.get()
    return _of_columns(Z, columns if named is None else named(columns), sample_weight)


def _of_columns(Z: Any, Y: Any, sample_weight: Any) -> Any:
    if sample_weight is not None:
        return weighted.weighted_softmax_cross_entropy(Z, Y, prepare_weights(sample_weight, Z.shape, Z.dtype))
    return _softmax_cross_entropy(Z, Y)


_one_hot: ContextVar[Callable[[Array], Array] | None] = ContextVar("tinygrad_dls_one_hot", default=None)


def one_hot_as(named: Callable[[Array], Array]) -> AbstractContextManager[None]:
    """Within the block, the one-hot columns that are made of class indices are what `named` gives for them."""
    return set_to(_one_hot, named)


def _textbook_softmax_cross_entropy(Z: Any, Y: Any) -> Any:
    return -np.sum(Y * np.log(softmax(Z, 0))) / Z.shape[1]


@is_loss("Z", labels=check_columns, composed=_textbook_softmax_cross_entropy)
@op()
@single_inside
def _softmax_cross_entropy(z: Array, y: Array) -> Rule:
    m = z.shape[-1]
    with np.errstate(invalid="ignore"):  # infinite logits are seen to below
        s = z - z.max(axis=0, keepdims=True)
    J, e, total = _cost_below_largest(s, y)
    if is_nan(J):  # inf - inf
        s, _ = below_largest(z, 0)
        J, e, total = _cost_below_largest(s, y)
    return J, (lambda dj: dj * (e / total - y) / m, lambda dj: dj * (np.log(total) - s) / m)


def _cost_below_largest(s: Array, y: Array) -> tuple[Array, Array, Array]:
    """The cost by logits of which the largest is 0; and their powers of e, with the sum of these."""
    e = np.exp(s)
    total = e.sum(axis=0, keepdims=True)
    chosen = y * np.where(values(y) == 0, 0, s)  # a class ruled out by a logit of -inf costs nothing, not 0 * -inf
    losses = np.log(total) - chosen.sum(axis=0, keepdims=True)
    return losses.sum() / s.shape[-1], e, total


def mean_squared_error(A: Any, Y: Any, *, sample_weight: Any = None) -> Any:
    """``J = 1/m sum((A - Y)^2)``: squared errors, summed over the outputs, mean over the examples.

    Its gradient is ``dA = 2 (A - Y) / m``.

    Parameters
    ----------
    A : Tensor or array, shape (n_y, m)
        Predictions.
    Y : Tensor or array, shape (n_y, m)
        Targets, any finite numbers.
    sample_weight : array, shape (1, m), optional
        Weights of the examples, >= 0: the cost is the weighted mean, ``sum(w losses) / sum(w)``, and its gradient has
        ``w / sum(w)`` in place of ``1 / m``.

    Returns
    -------
    Tensor or number
        The cost J, a single entry of A's dtype.

    Raises
    ------
    ValueError
        If Y has a wrong shape, or is not finite; if weights have a wrong shape, are negative, or all zero.
    """
    A, Y = prepare(A, Y, _mean_squared_error.loss)
    if sample_weight is not None:
        return weighted.weighted_mean_squared_error(A, Y, prepare_weights(sample_weight, A.shape, A.dtype))
    return _mean_squared_error(A, Y)


@is_loss("A", labels=check_finite, predicts="numbers")
@op()
@single_inside
def _mean_squared_error(a: Array, y: Array) -> Rule:
    m = a.shape[-1] if a.shape else 1
    error = a - y
    return (error * error).sum() / m, (lambda dj: dj * 2 * error / m, lambda dj: -dj * 2 * error / m)
