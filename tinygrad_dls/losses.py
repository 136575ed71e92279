"""Costs: the mean of the losses over the m examples, which are the columns.

Two of them come as a pair: `binary_cross_entropy` of probabilities A is the composed cost of the notes, whose chain
shows ``dA`` and then ``dZ = dA * a(1 - a)``; `binary_cross_entropy_with_logits` of Z is the same cost with the sigmoid
folded in, whose gradient is the result of that chain, ``dZ = (A - Y) / m``, and which loses nothing at any Z.

Labels are checked before they are used: silent broadcasting of a wrong shape is the commonest wrong gradient. Their
shape is checked at every call, their values once per array.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_dls.engine.arrays import HALF, Array, as_array, in_single, single_inside, summed
from tinygrad_dls.engine.ops import below_largest, rounded_into_unit_interval
from tinygrad_dls.engine.tensor import Rule, Tensor, op, values

__all__ = ["binary_cross_entropy", "binary_cross_entropy_with_logits", "mean_squared_error", "softmax_cross_entropy"]


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
    A, Y = _prepared(A, Y, "A", _check_probabilities)
    a = values(A)
    if not _holds(lambda: a.min() >= 0 and a.max() <= 1):
        raise ValueError(
            "binary_cross_entropy: A has values outside [0, 1], or NaN. It takes probabilities; "
            "for logits Z use binary_cross_entropy_with_logits(Z, Y)."
        )
    return _binary_cross_entropy(A, Y)


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
    Z, Y = _prepared(Z, Y, "Z", _check_probabilities)
    return _binary_cross_entropy_with_logits(Z, Y)


@op()
def _binary_cross_entropy_with_logits(z: Array, y: Array) -> Rule:
    if z.dtype.char == HALF:  # spelled out, as what follows: small steps are made of such calls
        return in_single(_binary_cross_entropy_with_logits.__wrapped__, z, y)  # type: ignore[attr-defined, no-any-return]
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
    Z = _array_of_columns(Z, "Z")
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
        return _softmax_cross_entropy(*_prepared(Z, Y, "Z", _check_columns))
    y = values(Y)
    if y.dtype.kind not in "iub":
        raise ValueError(
            f"softmax_cross_entropy: Y is (1, {m}) of {y.dtype}; class indices must be integers. Write Y.astype(int)."
        )
    _check_once(y, _class_check(n_y))
    return _softmax_cross_entropy(Z, _in_dtype(np.arange(n_y)[:, None] == y, Z.dtype))


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
    A, Y = _prepared(A, Y, "A", _check_finite)
    return _mean_squared_error(A, Y)


@op()
@single_inside
def _mean_squared_error(a: Array, y: Array) -> Rule:
    m = a.shape[-1] if a.shape else 1
    error = a - y
    return (error * error).sum() / m, (lambda dj: dj * 2 * error / m, lambda dj: -dj * 2 * error / m)


# -- checks of shapes and labels --------------------------------------------------------------------------------------


def _array_of_columns(Z: Any, name: str) -> Any:
    Z = _floating(Z, name)
    if len(Z.shape) != 2:
        raise ValueError(f"{name} is {Z.shape}; expected (n_y, m), with the examples as columns.")
    if 0 in Z.shape:
        raise ValueError(f"{name} is {Z.shape}: there are no examples to take the mean over.")
    return Z


def _prepared(Z: Any, Y: Any, name: str, check: Callable[[Array], str]) -> tuple[Any, Any]:
    """Z and Y as arrays of one shape and dtype, the values of Y checked once per array."""
    try:  # every step of a training but the first
        z: Any = Z._value
        known: Any = _passed[id(Y), check]()
        if known is Y and known.shape == z.shape and known.dtype == z.dtype and known.dtype.kind == "f":
            return Z, Y
    except (KeyError, AttributeError):
        pass
    Z = _floating(Z, name)
    if not isinstance(Y, Tensor):
        Y = as_array(Y, "Y")
    shape = Z.shape
    if Y.shape != shape or len(shape) not in (0, 2):
        raise ValueError(_shape_error(Y.shape, shape, name))
    if 0 in shape:
        raise ValueError(f"{name} is {shape}: there are no examples to take the mean over.")
    _check_once(values(Y), check)
    return Z, _in_dtype(Y, Z.dtype)


def _in_dtype(Y: Any, dtype: Any) -> Any:
    """The labels in the dtype of the logits; as they are for symbols, which take numbers of any."""
    return Y if Y.dtype == dtype or dtype.kind == "O" else Y.astype(dtype)


def _floating(Z: Any, name: str) -> Any:
    """Z as it is, or as floats where it is a list or of integers."""
    if not isinstance(Z, Tensor):
        Z = as_array(Z, name)
    return Z.astype(float) if Z.dtype.kind in "iub" else Z


def _shape_error(y: tuple[int, ...], z: tuple[int, ...], name: str) -> str:
    text = f"Y is {y}, but {name} is {z}; "
    if len(z) != 2:
        return text + f"{name} must be (n_y, m), with the examples as columns. Write {name}.reshape(1, -1)."
    text += f"expected Y to be {z}, one column per example. "
    if y == (z[1],):
        return text + "Write Y.reshape(1, -1): examples are columns."
    if y == (z[1], z[0]):
        return text + f"Did you forget a transpose? Write Y.T: {name} - Y would silently become ({z[1]}, {z[1]})."
    if len(y) == 2 and y[1] == z[1] and z[0] == 1:
        return text + "For one-hot columns, the last layer needs one row per class, and softmax_cross_entropy."
    if y == (1, z[1]):
        return text + "For class indices use softmax_cross_entropy; for two classes, the last layer needs one row."
    return text + "Do X and Y hold the same examples?"


class _Passed(dict[tuple[int, Callable[[Array], str]], "weakref.ref[Any]"]):
    """References to the arrays that passed, by id and check, in the order in which they did.

    None of them calls Python back, which would swallow a Ctrl-C that falls there: those of arrays that are gone are
    cleared away when there are twice as many as were left the last time.
    """

    enough = 64

    def remember(self, y: Array, check: Callable[[Array], str]) -> None:
        """Note that an array has passed; one of a type without weak references is checked every time."""
        try:
            reference = weakref.ref(y)
        except TypeError:
            return
        if len(self) >= self.enough:
            for key, passed in list(self.items()):
                if passed() is None:
                    self.pop(key, None)
            self.enough = max(64, 2 * len(self))
        self[id(y), check] = reference


_passed = _Passed()


def _check_once(y: Array, check: Callable[[Array], str]) -> None:
    """Check the values of labels, unless this very array has passed before.

    A run of columns, such as a mini-batch, passes with the array that it is cut from. Labels that are changed in place
    afterwards are not checked again.
    """
    whole = _cut_from(y)
    if _has_passed(whole, check) or _has_passed(y, check):
        return
    for labels in (whole, y):  # what lies outside the columns in use may be anything
        problem = check(labels)
        if not problem:
            _passed.remember(labels, check)
            return
    raise ValueError(problem)


def _has_passed(y: Array, check: Callable[[Array], str]) -> bool:
    entry = _passed.get((id(y), check))
    return entry is not None and entry() is y


def _cut_from(y: Array) -> Array:
    """The array of which y is a run of whole columns; else y itself."""
    base: Any = getattr(y, "base", None)
    if not hasattr(base, "dtype") or base.ndim != 2 or y.ndim != 2:
        return y
    alike = (base.dtype, base.strides, base.shape[0]) == (y.dtype, y.strides, y.shape[0])
    return base if alike else y


def _holds(condition: Callable[[], Any]) -> bool:
    """Whether a check of values passes; arrays that have no truth value (symbols) cannot fail it."""
    try:
        return bool(condition())
    except TypeError:
        return True


def _check_probabilities(y: Array) -> str:
    if _holds(lambda: y.min() >= 0 and y.max() <= 1):
        return ""
    if np.any(np.isnan(y)):
        return f"Y holds {np.sum(np.isnan(y))} NaN among its {y.size} labels. Drop those examples (columns of X and Y)."
    low, high = y.min(), y.max()
    text = f"Y holds labels from {low:g} to {high:g}; expected 0 and 1 (or probabilities between). "
    if (low, high) == (-1, 1):
        return text + "For labels -1 and 1, write (Y + 1) / 2."
    if (low, high) == (1, 2):
        return text + "For labels 1 and 2, write Y - 1."
    return text + "For several classes use softmax_cross_entropy; for numbers, mean_squared_error."


def _check_columns(y: Array) -> str:
    if problem := _check_probabilities(y):
        return problem
    total = summed(y, 0)
    # 1e-3 lets float16 and rounded probabilities pass; a forgotten or doubled class is off by far more
    if _holds(lambda: np.all(np.abs(total - 1) <= 1e-3)):
        return ""
    wrong = int(np.argmax(np.abs(total - 1)))
    return f"Y's column {wrong} sums to {total[wrong]:g}; class probabilities must sum to 1. Is Y one-hot by rows?"


def _check_finite(y: Array) -> str:
    if _holds(lambda: np.all(np.isfinite(y))):
        return ""
    return f"Y holds {np.sum(~np.isfinite(y))} NaN or infinities among its {y.size} targets. Drop those examples."


_class_checks: dict[int, Callable[[Array], str]] = {}


def _class_check(n_y: int) -> Callable[[Array], str]:
    """The check that class indices are below n_y; the same function object for the same n_y."""

    def check(y: Array) -> str:
        if _holds(lambda: y.min() >= 0 and y.max() < n_y):
            return ""
        text = f"Y holds classes from {y.min()} to {y.max()}; Z has {n_y} rows, so expected 0 to {n_y - 1}. "
        return text + ("For classes counted from 1, write Y - 1." if y.max() == n_y and y.min() > 0 else "")

    return _class_checks.setdefault(n_y, check)
