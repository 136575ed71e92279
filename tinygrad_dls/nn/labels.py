"""The checks of shapes and labels, before a cost uses them.

Silent broadcasting of a wrong shape is the commonest wrong gradient. The shape of labels is checked at every call,
their values once per array.

A recording has no values to check. Who records asks with `noted` to be told of each check instead, and sees to it that
the arrays of later runs pass it.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import Any, TypeAlias

import numpy as np

from tinygrad_dls.engine.arrays import HALF, Array, as_array, below_one, boolean, positive_integer, summed
from tinygrad_dls.engine.devices import like
from tinygrad_dls.engine.switches import set_to
from tinygrad_dls.engine.tensor import values

Check: TypeAlias = Callable[[Array], str]  # what is wrong with an array, in words; nothing if it passes
Note: TypeAlias = Callable[[Array, Check], bool]  # whether a check is taken over by who is told of it

_note: ContextVar[Note | None] = ContextVar("tinygrad_dls_note_of_checks", default=None)


class Bounded:
    """A check that arrays of numbers between two limits pass, whatever they are.

    Attributes
    ----------
    problem : function
        What is wrong with an array, in words.
    within : (float, float)
        The limits.
    each_time : str
        Of a check that is made of each array at each call: the sentence that refuses a program, which does not look.
    """

    def __init__(self, problem: Check, within: tuple[float, float], each_time: str = "") -> None:
        self.problem, self.within, self.each_time = problem, within, each_time

    def __call__(self, y: Array) -> str:
        """What is wrong with an array, in words; nothing if it passes."""
        return self.problem(y)


def within(low: float, high: float, each_time: str = "") -> Callable[[Check], Bounded]:
    """Say of a check that arrays between two limits pass it."""
    return lambda check: Bounded(check, (low, high), each_time)


def noted(note: Note) -> AbstractContextManager[None]:
    """Within the block, tell of each check before it is made; it is not made where `note` returns True."""
    return set_to(_note, note)


def array_of_columns(Z: Any, name: str) -> Any:
    """Z as floats, refused unless the examples are its columns."""
    Z = _floating(Z, name)
    if len(Z.shape) != 2:
        raise ValueError(f"{name} is {Z.shape}; expected (n_y, m), with the examples as columns.")
    if 0 in Z.shape:
        raise ValueError(f"{name} is {Z.shape}: there are no examples to take the mean over.")
    return Z


def prepare(Z: Any, Y: Any, loss: Any) -> tuple[Any, Any]:
    """Z and Y as arrays of one shape and dtype, the values of Y checked once per array, as the loss asks."""
    try:  # every step of a training but the first
        z: Any = Z._value
        known: Any = _passed[id(Y), loss.labels]()
        if known is Y and known.shape == z.shape and known.dtype == z.dtype and known.dtype.kind == "f":
            return Z, Y
    except (KeyError, AttributeError):
        pass
    name = loss.takes
    Z = _floating(Z, name)
    Y = as_array(Y, "Y")
    shape = Z.shape
    if Y.shape != shape or len(shape) not in (0, 2):
        raise ValueError(_shape_error(Y.shape, shape, name))
    if 0 in shape:
        raise ValueError(f"{name} is {shape}: there are no examples to take the mean over.")
    check_once(values(Y), loss.labels)
    return Z, in_dtype(Y, Z.dtype)


def prepare_weights(w: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """The weights of the examples, for what a loss takes, of a shape and dtype: one for each column, in that dtype.

    Their shape is checked at each call, their values once per array. Those of a mini-batch pass with the array that
    they are cut from, but all of them may be zero there: that is seen to at each call.
    """
    w = as_array(w, "sample_weight")
    shape = (1, shape[-1]) if shape else ()
    if w.shape != shape:
        raise ValueError(_shape_of_weights(w.shape, shape))
    with np.errstate(over="ignore", under="ignore"):  # what a weight becomes in this dtype is checked
        # half precision is computed with in single precision, in which a weight of 1e-9 is not 0
        w = in_dtype(w, np.dtype(np.float32) if dtype.char == HALF else dtype)
    check_once(values(w), check_weights)
    if problem := check_each_time(values(w), check_any_weight):
        raise ValueError(problem)
    return w


def _shape_of_weights(w: tuple[int, ...], shape: tuple[int, ...]) -> str:
    text = f"sample_weight is {w}; expected {shape}, a weight for each example. "
    if len(shape) == 2 and w in ((shape[1],), (shape[1], 1)):
        return text + "Write sample_weight.reshape(1, -1): examples are columns."
    if len(w) == 2 and len(shape) == 2 and w[1] == shape[1]:
        return text + "All the entries of a column have one weight."
    return text + "Are the weights of the same examples?"


def check_weights(w: Array) -> str:
    """What is wrong with weights of examples, which are to be finite numbers >= 0."""
    with np.errstate(over="ignore"):  # which is what is looked for
        if w.min() >= 0 and np.isfinite(w.sum()):
            return ""
    if not np.all(np.isfinite(w)):
        return f"sample_weight holds {np.sum(~np.isfinite(w))} NaN or infinities among its {w.size} weights."
    if w.min() < 0:
        return f"sample_weight holds {np.sum(w < 0)} weights below 0 among its {w.size}, down to {w.min():g}."
    return f"sample_weight sums to infinity in {w.dtype}. Divide it by its mean."


def check_any_weight(w: Array) -> str:
    """What is wrong with the sum of the weights, which the mean is divided by: it is zero, or close to it.

    Below the smallest normal number, digits are lost, and 1 divided by it may be infinite.
    """
    total = w.sum()
    if total >= np.finfo(w.dtype if w.dtype.kind == "f" else float).smallest_normal:
        return ""
    if not w.any():
        return "sample_weight is zero for all examples: there is nothing to take the mean over."
    return (
        f"sample_weight sums to {total:.2g}, and {w.dtype} does not divide by so little. Divide it by its mean; if "
        "examples in other batches weigh far more, write 0 for these."
    )


def in_dtype(Y: Any, dtype: Any) -> Any:
    """The labels in the dtype of the logits; as they are for symbols, which take numbers of any."""
    return Y if Y.dtype == dtype or dtype.kind == "O" else Y.astype(dtype)


def _floating(Z: Any, name: str) -> Any:
    """Z as it is, or as floats where it is a list or of integers."""
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


class _Passed(dict[tuple[int, Check], "weakref.ref[Any]"]):
    """References to the arrays that passed, by id and check, in the order in which they did.

    None of them calls Python back, which would swallow a Ctrl-C that falls there: those of arrays that are gone are
    cleared away when there are twice as many as were left the last time.
    """

    enough = 64

    def remember(self, y: Array, check: Check) -> None:
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


def check_once(y: Array, check: Check) -> Array:
    """Check the values of labels, unless this very array has passed before.

    A run of columns, such as a mini-batch, passes with the array that it is cut from. Labels that are changed in place
    afterwards are not checked again.

    Returns
    -------
    array
        What has passed: these labels, or the array that they are cut from.
    """
    whole = cut_from(y)
    if _has_passed(whole, check):
        return whole
    if _has_passed(y, check) or ((note := _note.get()) is not None and note(y, check)):
        return y
    for labels in (whole, y):  # what lies outside the columns in use may be anything
        problem = _problem(labels, check)
        if not problem:
            _passed.remember(labels, check)
            return labels
    raise ValueError(problem)


def check_each_time(x: Array, check: Check) -> str:
    """What is wrong with an array that is another one at each call."""
    note = _note.get()
    return "" if note is not None and note(x, check) else _problem(x, check)


def _problem(x: Array, check: Check) -> str:
    """What a check finds; arrays that have no truth value (symbols) cannot fail it."""
    try:
        return check(x)
    except TypeError:
        if hasattr(type(x), "__array_interface__"):  # of numbers: the check itself is wrong
            raise
        return ""


def _has_passed(y: Array, check: Check) -> bool:
    entry = _passed.get((id(y), check))
    return entry is not None and entry() is y


def cut_from(y: Array) -> Array:
    """The array of which y is a run of whole columns; else y itself."""
    base: Any = getattr(y, "base", None)
    if not hasattr(base, "dtype") or base.ndim != 2 or y.ndim != 2:
        return y
    return base if base.strides == y.strides and base.dtype == y.dtype and len(base) == len(y) else y


@within(0.0, 1.0)
def check_probabilities(y: Array) -> str:
    """What is wrong with labels that are to be 0 and 1, or probabilities between."""
    if y.min() >= 0 and y.max() <= 1:
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


def check_columns(y: Array) -> str:
    """What is wrong with labels whose columns are to be the probabilities of the classes."""
    if problem := _problem(y, check_probabilities):
        return problem
    total = summed(y, 0)
    # 1e-3 lets float16 and rounded probabilities pass; a forgotten or doubled class is off by far more
    if np.all(np.abs(total - 1) <= 1e-3):
        return ""
    wrong = int(np.argmax(np.abs(total - 1)))
    return f"Y's column {wrong} sums to {total[wrong]:g}; class probabilities must sum to 1. Is Y one-hot by rows?"


@within(-np.inf, np.inf)
def check_finite(y: Array) -> str:
    """What is wrong with labels that are to be finite numbers."""
    if np.all(np.isfinite(y)):
        return ""
    return f"Y holds {np.sum(~np.isfinite(y))} NaN or infinities among its {y.size} targets. Drop those examples."


def smooth_labels(Y: Any, eps: float, *, n_classes: int | None = None, several_labels: bool = False) -> Array:
    """Labels that are a little less sure: ``(1 - eps) Y + eps / n`` of n classes.

    The model is then not rewarded for driving its probabilities to 0 and 1 (Szegedy et al., "Rethinking the Inception
    Architecture for Computer Vision", 2016, section 7). A label of 0 or 1 in a single row becomes eps/2 or 1 - eps/2.

    Parameters
    ----------
    Y : array, shape (1, m) or (n_y, m)
        Labels 0 and 1; columns of class probabilities (one-hot, say); class indices, with `n_classes`; or several
        labels for each example, with `several_labels`.
    eps : float in [0, 1)
        How much of each label is shared out.
    n_classes : int, optional
        Of class indices ``(1, m)``: the number of classes, which is that of the rows of the result.
    several_labels : bool, default False
        Whether each row is a label of its own, 0 or 1, as a sigmoid each has it.

    Returns
    -------
    array of float, shape (1, m) or (n, m)

    Raises
    ------
    TypeError, ValueError
        If the labels are not such, or eps leaves [0, 1).

    Examples
    --------
    >>> import numpy as np, tinygrad_dls as tg
    >>> tg.smooth_labels(np.array([[0, 1]]), 0.1)
    array([[0.05, 0.95]])
    >>> tg.smooth_labels(np.array([[2, 0]]), 0.3, n_classes=3)
    array([[0.1, 0.8],
           [0.1, 0.1],
           [0.8, 0.1]])
    """
    eps = below_one(eps, "smooth_labels: eps")
    Y = as_array(values(Y), "smooth_labels: Y")
    if len(Y.shape) != 2 or 0 in Y.shape:
        hint = " Write Y.reshape(1, -1)." if len(Y.shape) == 1 and Y.size else ""
        raise ValueError(f"smooth_labels: Y is {Y.shape}; expected a column for each example.{hint}")
    if n_classes is not None:
        Y = _columns_of(Y, positive_integer(n_classes, "smooth_labels: n_classes"))
    of_classes = Y.shape[0] > 1 and not boolean(several_labels, "smooth_labels: several_labels")
    floating = Y.dtype if Y.dtype.kind == "f" else float
    try:
        np.empty_like(
            Y, dtype=floating
        )  # a view may have more entries than there is room for: not to be read for hours
    except MemoryError as error:
        raise MemoryError(f"smooth_labels: Y is {Y.shape}, and there is no room for as many numbers.") from error
    if problem := (check_columns if of_classes else check_probabilities)(Y):
        if Y.shape[0] == 1 and Y.dtype.kind in "iu" and Y.min() >= 0:
            problem = f"Y holds classes up to {Y.max()}. Say of how many: n_classes={int(Y.max()) + 1}."
        elif of_classes and not check_probabilities(Y):
            problem += " Of several labels for each example, say so: several_labels=True."
        raise ValueError(f"smooth_labels: {problem}")
    smooth: Array = (1 - eps) * Y.astype(floating, copy=False) + eps / (Y.shape[0] if of_classes else 2)
    return smooth


def _columns_of(Y: Array, n_classes: int) -> Array:
    """One-hot columns of class indices."""
    if Y.shape[0] != 1 or Y.dtype.kind not in "iub":
        raise ValueError(
            f"smooth_labels: n_classes= is for class indices, integers (1, m); Y is {Y.shape} of {Y.dtype}."
        )
    if n_classes < 2:
        raise ValueError("smooth_labels: n_classes must be 2 or more.")
    if problem := class_check(n_classes)(Y):
        raise ValueError(f"smooth_labels: {problem.replace('Z has', 'there are').replace(' rows, so', ' classes, so')}")
    return one_hot(Y, n_classes)


def one_hot(Y: Array, n_classes: int) -> Array:
    """A column for each class index: True in its row."""
    columns: Array = like(np.arange(n_classes)[:, None], Y) == Y
    return columns


_class_checks: dict[int, Check] = {}


def class_check(n_y: int) -> Check:
    """The check that class indices are below n_y; the same function object for the same n_y."""

    def check(y: Array) -> str:
        if y.min() >= 0 and y.max() < n_y:
            return ""
        text = f"Y holds classes from {y.min()} to {y.max()}; Z has {n_y} rows, so expected 0 to {n_y - 1}. "
        return text + ("For classes counted from 1, write Y - 1." if y.max() == n_y and y.min() > 0 else "")

    return _class_checks.setdefault(n_y, check)
