"""Costs: the mean of the losses over the m examples, which are the columns.

Two of them come as a pair: `binary_cross_entropy` of probabilities A is the composed cost of the notes, whose chain
shows ``dA`` and then ``dZ = dA * a(1 - a)``; `binary_cross_entropy_with_logits` of Z is the same cost with the sigmoid
folded in, whose gradient is the result of that chain, ``dZ = (A - Y) / m``, and which loses nothing at any Z.

Labels are checked before they are used: silent broadcasting of a wrong shape is the commonest wrong gradient. Their
shape is checked at every call, their values once per array.

What else is to be known of a loss stands at its op (see `Loss`): what its labels have to be, and, of one that is fused,
the textbook form that it is composed of. `fused_loss` makes one of your own.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import numpy as np

from tinygrad_dls.engine.arrays import HALF, Array, as_array, in_single, single_inside, summed
from tinygrad_dls.engine.autodiff import op
from tinygrad_dls.engine.errors import shown
from tinygrad_dls.engine.ops import below_largest, rounded_into_unit_interval, sigmoid, softmax
from tinygrad_dls.engine.tensor import Rule, Tensor, values
from tinygrad_dls.nn.labels import (
    Check,
    array_of_columns,
    check_columns,
    check_each_time,
    check_finite,
    check_once,
    check_probabilities,
    class_check,
    in_dtype,
    prepare,
    within,
)

__all__ = [
    "binary_cross_entropy", "binary_cross_entropy_with_logits", "fused_loss", "mean_squared_error",
    "softmax_cross_entropy",
]  # fmt: skip


# -- what a loss says of itself ---------------------------------------------------------------------------------------


class Loss(NamedTuple):
    """What is to be known of a loss: its op has it as ``op.loss``.

    Attributes
    ----------
    takes : str
        The letter of what it takes beside Y: ``"A"`` for predictions, ``"Z"`` for the linear part.
    labels : function
        The check of the labels: what is wrong with an array of them, in words; nothing if it passes.
    composed : function or None
        The same cost of the same arguments, as NumPy code of several ops, such as a sigmoid and the cost of its result.
    predicts : str
        What a model whose result it takes predicts: ``"sigmoid"``, a probability of one class, which a sigmoid makes of
        that result; ``"numbers"``, the result itself. Empty: something else.
    """

    takes: str
    labels: Check
    composed: Callable[[Any, Any], Any] | None = None
    predicts: str = ""


def loss_of(op: Any) -> Loss | None:
    """What an op says of itself as a loss; None if it is none."""
    found = getattr(op, "loss", None)
    return found if isinstance(found, Loss) else None


def _is_loss(*said: Any, **named: Any) -> Callable[[Any], Any]:
    """Say of an op that it is a loss."""

    def say(op: Any) -> Any:
        op.loss = Loss(*said, **named)
        return op

    return say


def fused_loss(
    composed: Callable[[Any, Any], Any], *, labels: Check = check_finite, takes: str = "Z"
) -> Callable[[Callable[[Array, Array], Rule]], Callable[[Any, Any], Any]]:
    """Make a loss of a rule, as `tinygrad_dls.op` makes an op, and say what it is composed of.

    A fused loss computes at once what the textbook writes with several ops, for the sake of digits or of speed.
    `tinygrad_dls.derive` shows the textbook's form instead, once algebra has proved that the two are the same, and
    refuses one that is another. Labels are checked as those of the package's own losses: their shape at each call,
    their values once per array; and so they are where a step is compiled.

    Parameters
    ----------
    composed : function
        Of the same two arguments, the cost as the textbook has it: NumPy code, ops, and other losses.
    labels : function, optional
        Of an array of labels: what is wrong with it, in words, or ``""``. By default, that labels are finite;
        `tinygrad_dls.nn.labels` has `check_probabilities` and `check_columns` as well.
    takes : str, default "Z"
        The letter of the first argument in pictures and errors: ``"A"`` of a prediction, ``"Z"`` of a linear part.

    Returns
    -------
    function
        That makes of a rule of two arrays a loss ``(Z, Y)``. The rule gets arrays of one shape, ``(n_y, m)``, and
        of one dtype.

    Raises
    ------
    TypeError
        If `composed` or `labels` is no function, or if the rule does not take two arrays.

    Examples
    --------
    >>> import numpy as np, tinygrad_dls as tg
    >>> def textbook(Z, Y):
    ...     return tg.mean_squared_error(np.tanh(Z), Y)
    >>> @tg.fused_loss(textbook)
    ... def squared_error_of_tanh(z, y):
    ...     a = np.tanh(z)
    ...     m = z.shape[1]
    ...     J = np.sum((a - y) ** 2) / m
    ...     dz = lambda dj: dj * 2 * (a - y) * (1 - a * a) / m
    ...     dy = lambda dj: dj * 2 * (y - a) / m
    ...     return J, (dz, dy)
    >>> Z = tg.Tensor([[0.0, 0.5]], requires_grad=True)
    >>> squared_error_of_tanh(Z, [[0, 1]]).backward()
    >>> Z.grad.round(3)
    array([[ 0.   , -0.423]])
    """
    for name, x in (("composed", composed), ("labels", labels)):
        if not callable(x):
            raise TypeError(f"fused_loss: {name} is a function, got {shown(x)}.")
    if takes not in ("A", "Z"):
        raise ValueError(f"fused_loss: takes is 'A' or 'Z', got {shown(takes)}.")

    def decorate(rule: Callable[[Array, Array], Rule]) -> Callable[[Any, Any], Any]:
        if not callable(rule) or len(inspect.signature(rule).parameters) != 2:
            raise TypeError(
                f"fused_loss: {shown(rule)} is no rule of two arrays. Write @fused_loss(composed) above def loss(z, y)."
            )
        fused = _is_loss(takes, labels, composed)(op()(rule))

        @functools.wraps(rule)
        def loss(Z: Any, Y: Any) -> Any:
            return fused(*prepare(Z, Y, fused.loss))

        return loss

    return decorate


# -- the losses -------------------------------------------------------------------------------------------------------


def binary_cross_entropy(A: Any, Y: Any) -> Any:
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

    Returns
    -------
    Tensor or number
        The cost J, a single entry of A's dtype. With several rows, their losses add up.

    Raises
    ------
    ValueError
        If A or Y leaves [0, 1], is NaN, or has a wrong shape.

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


@_is_loss("A", labels=check_probabilities)
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


def binary_cross_entropy_with_logits(Z: Any, Y: Any) -> Any:
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

    Returns
    -------
    Tensor or number
        The cost J, a single entry of Z's dtype. With several rows, their losses add up.

    Raises
    ------
    ValueError
        If Y leaves [0, 1], is NaN, or has a wrong shape.

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
    return _binary_cross_entropy_with_logits(Z, Y)


@_is_loss(
    "Z", labels=check_probabilities, composed=lambda Z, Y: binary_cross_entropy(sigmoid(Z), Y), predicts="sigmoid"
)
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
    lost = J != J if J.__class__ in _NUMBERS else _is_nan(J)
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


def _is_nan(J: Any) -> bool:
    """Whether a cost is NaN; what is not a number yet, as in a recording, is not."""
    return isinstance(J := values(J), np.floating) and bool(J != J)


def softmax_cross_entropy(Z: Any, Y: Any) -> Any:
    """Softmax and cross-entropy in one: ``J = -1/m sum_i log A[y_i, i]`` with ``A = softmax(Z)`` over the rows.

    Its gradient is ``dZ = (A - Y) / m``, with Y one-hot. Logits may be infinite; those that are infinite alike count as
    equal, as in `tinygrad_dls.softmax`.

    Parameters
    ----------
    Z : Tensor or array, shape (n_y, m)
        Logits, one row per class.
    Y : array, shape (1, m) of integers 0 ... n_y - 1, or (n_y, m)
        Class indices, or one column of class probabilities per example (one-hot, say).

    Returns
    -------
    Tensor or number
        The cost J, a single entry of Z's dtype.

    Raises
    ------
    ValueError
        If Y has a wrong shape, holds no such class, or has columns that do not sum to 1; if Z has a single row.

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
    n_y, m = Z.shape
    if n_y < 2:
        raise ValueError(
            f"softmax_cross_entropy: Z is {Z.shape}, a single class, whose probability is always 1. "
            "For two classes in one row use binary_cross_entropy_with_logits."
        )
    if not isinstance(Y, Tensor):
        Y = as_array(Y, "Y")
    if Y.shape in ((m,), (m, 1)) and Y.shape not in ((1, m), Z.shape):
        raise ValueError(
            f"softmax_cross_entropy: Y is {Y.shape}, Z is {Z.shape}; expected class indices as (1, {m}), or one-hot "
            f"columns as {Z.shape}. Write Y.reshape(1, -1)."
        )
    if Y.shape != (1, m):
        return _softmax_cross_entropy(*prepare(Z, Y, _softmax_cross_entropy.loss))
    y = values(Y)
    if y.dtype.kind not in "iub":
        raise ValueError(
            f"softmax_cross_entropy: Y is (1, {m}) of {y.dtype}; class indices must be integers. Write Y.astype(int)."
        )
    check_once(y, class_check(n_y))
    columns = in_dtype(np.arange(n_y)[:, None] == y, Z.dtype)
    named = _one_hot.get()
    return _softmax_cross_entropy(Z, columns if named is None else named(columns))


_one_hot: ContextVar[Callable[[Array], Array] | None] = ContextVar("tinygrad_dls_one_hot", default=None)


@contextmanager
def one_hot_as(named: Callable[[Array], Array]) -> Iterator[None]:
    """Within the block, the one-hot columns that are made of class indices are what `named` gives for them."""
    token = _one_hot.set(named)
    try:
        yield
    finally:
        _one_hot.reset(token)


def _textbook_softmax_cross_entropy(Z: Any, Y: Any) -> Any:
    return -np.sum(Y * np.log(softmax(Z, 0))) / Z.shape[1]


@_is_loss("Z", labels=check_columns, composed=_textbook_softmax_cross_entropy)
@op()
@single_inside
def _softmax_cross_entropy(z: Array, y: Array) -> Rule:
    m = z.shape[-1]
    with np.errstate(invalid="ignore"):  # infinite logits are seen to below
        s = z - z.max(axis=0, keepdims=True)
    J, e, total = _cost_below_largest(s, y)
    if _is_nan(J):  # inf - inf
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


def mean_squared_error(A: Any, Y: Any) -> Any:
    """``J = 1/m sum((A - Y)^2)``: squared errors, summed over the outputs, mean over the examples.

    Its gradient is ``dA = 2 (A - Y) / m``.

    Parameters
    ----------
    A : Tensor or array, shape (n_y, m)
        Predictions.
    Y : Tensor or array, shape (n_y, m)
        Targets, any finite numbers.

    Returns
    -------
    Tensor or number
        The cost J, a single entry of A's dtype.

    Raises
    ------
    ValueError
        If Y has a wrong shape, or is not finite.
    """
    A, Y = prepare(A, Y, _mean_squared_error.loss)
    return _mean_squared_error(A, Y)


@_is_loss("A", labels=check_finite, predicts="numbers")
@op()
@single_inside
def _mean_squared_error(a: Array, y: Array) -> Rule:
    m = a.shape[-1] if a.shape else 1
    error = a - y
    return (error * error).sum() / m, (lambda dj: dj * 2 * error / m, lambda dj: -dj * 2 * error / m)
