"""Lowering: a program in terms of the NumPy calls that cost least.

It rests on what a call costs: a sum along an axis 1 to 3 microseconds, a product with a vector of ones 0.4; a function
of small arrays 0.4, whatever it computes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeGuard

import numpy as np

from tinygrad_dls.compiler.draft import Draft
from tinygrad_dls.engine.arrays import Array
from tinygrad_dls.ir.call import Call, astype, is_call, is_plain_reduction, like, scalar_value, summed_axes
from tinygrad_dls.ir.functions import add, clipped_sigmoid, row_of, shared_softmax, sigmoid, softmax
from tinygrad_dls.ir.rewrite import Identity, Pair, Rule, named, rewrite, rewrite_beside
from tinygrad_dls.ir.rules import floats

__all__ = ["FLOATS", "copied", "copy_of", "is_number", "lower", "sigmoid_of", "total"]

FLOATS = (np.dtype("f4"), np.dtype("f8"))


def is_number(x: Any) -> bool:
    """Whether x is a number that depends on the number of examples and the learning rate alone.

    Not by their names: a parameter may be called m, or learning_rate.
    """
    if isinstance(x, Call) and x.shape:
        return False
    waiting = [x]
    while waiting:
        x = waiting.pop()
        if not isinstance(x, Call):
            if scalar_value(x) is None:
                return False
        elif x.function is None:
            if x.dtype is not int and x.dtype is not float:  # Python's types: these two symbols alone
                return False
        elif x.shape == () and (x.function is np.asarray or row_of(x.function).is_arithmetic):
            waiting += x.args
        else:
            return False
    return True


def total(x: Array, y: Array) -> Any:
    """The sum of all products of entries."""
    return x.ravel().dot(y.ravel())


def copy_of(x: Any) -> Any:
    """Copy the numbers into another array."""
    return x.copy()


def copied(x: Call) -> Call:
    """The call for a copy of a result."""
    return like(x, copy_of, x)


# -- rules: one call, in terms of cheaper ones ------------------------------------------------------------------------


def means_as_sums(length: Callable[[int], Any]) -> Rule:
    """The rule that a mean is a sum divided by the number of entries; `length` knows the number of examples."""

    def mean_as_sum(call: Call) -> Any:
        if not is_call(call, np.mean) or not is_plain_reduction(call) or not _of_floats(call):
            return None
        count: Any = 1
        for i in summed_axes(call):
            n = length(call.args[0].shape[i])
            count = count * n
        return like(call, np.divide, like(call, np.sum, *call.args, **call.options), getattr(count, "call", count))

    return mean_as_sum


def _of_floats(call: Call) -> bool:
    return call.dtype in FLOATS and bool(call.args[0].dtype == call.dtype)


def sums_as_products(call: Call) -> Any:
    """A sum is a product with ones; the sum of products is a product."""
    if not is_call(call, np.sum) or not is_plain_reduction(call) or not _of_floats(call):
        return None
    x, axes = call.args[0], summed_axes(call)
    if len(axes) == len(x.shape) and x.shape:
        summed = _total(x, call.dtype)
        return summed if call.shape == () else like(call, np.reshape, summed, call.shape)
    if len(x.shape) != 2:
        return None
    if axes == (1,):
        return like(call, np.dot, x, _ones((x.shape[1], 1) if len(call.shape) == 2 else (x.shape[1],), call.dtype))
    return like(call, np.dot, _ones((1, x.shape[0]) if len(call.shape) == 2 else (x.shape[0],), call.dtype), x)


def _ones(shape: tuple[int, ...], dtype: Any) -> Call:
    return Call(np.ones, (shape,), {"dtype": dtype}, shape, dtype)


def _total(x: Call, dtype: Any) -> Call:
    if is_call(x, np.multiply):
        y, z = x.args
        if all(isinstance(f, Call) and f.shape == x.shape and f.dtype == dtype for f in (y, z)):
            return Call(total, (y, z), {}, (), dtype)
    if is_call(x, np.square) and x.dtype == dtype:
        return Call(total, (x.args[0], x.args[0]), {}, (), dtype)
    return Call(total, (x, _ones(x.shape, dtype)), {}, (), dtype)


def _compares(x: Any) -> TypeGuard[Call]:
    return isinstance(x, Call) and row_of(x.function).is_comparison


def masks_as_numbers(call: Call) -> Any:
    """Masks that are multiplied are made numbers where they are made: mixed dtypes are converted piece by piece."""
    if is_call(call, astype) and _compares(call.args[0]) and call.dtype in FLOATS and call.shape:
        return like(call, call.args[0].function, *call.args[0].args)
    if is_call(call, np.multiply, np.subtract) and call.dtype in FLOATS and call.shape:
        for i, x in enumerate(call.args):
            other = call.args[1 - i]
            is_mask = _compares(x) and x.dtype == bool and x.shape
            if is_mask and isinstance(other, Call) and other.dtype == call.dtype:
                args = list(call.args)
                args[i] = Call(x.function, x.args, {}, x.shape, call.dtype)
                return like(call, call.function, *args)
    return None


def fast_floats(call: Call) -> bool:
    """Whether the result is of a dtype that is computed with at full speed."""
    return call.dtype in FLOATS


def limits_of_its_dtype(call: Call, c: Any, d: Any) -> bool:
    """Whether both limits are numbers of the result's dtype: ``np.clip`` takes others too, ``np.maximum`` does not."""
    if call.dtype.kind not in "iu":
        return True
    of_dtype = np.iinfo(call.dtype)
    return all(of_dtype.min <= n <= of_dtype.max for n in (c, d))


def vectors_or_matrices(x: Call, y: Call) -> bool:
    """Whether both operands of a product have one or two axes."""
    return 1 <= len(x.shape) <= 2 and 1 <= len(y.shape) <= 2


RULES: tuple[Rule, ...] = (
    Identity(
        "written_out",
        "Functions of programs in terms of NumPy's, so that the sigmoid and its cross-entropy share ``e^-|z|``.",
        Pair(named(sigmoid), lambda x: sigmoid(x), floats),
        Pair(named(clipped_sigmoid), lambda x: clipped_sigmoid(x), floats),
        Pair(named(softmax), lambda x: softmax(x), floats),
        Pair(named(shared_softmax), lambda x: shared_softmax(x), floats),
    ),
    Identity(
        "minus_magnitude",
        "``-|x|`` is x with the sign of -1, in one call.",
        Pair(lambda x: -np.abs(x), lambda x: np.copysign(x, -1), fast_floats),
    ),
    Identity(
        "number_last",
        "``1 + x`` is ``x + 1``, so that equal calls are seen to be equal.",
        Pair(lambda c, u: c + u, lambda c, u: u + c),
        Pair(lambda c, u: c * u, lambda c, u: u * c),
        Pair(lambda c, u: np.maximum(c, u), lambda c, u: np.maximum(u, c)),
        Pair(lambda c, u: np.minimum(c, u), lambda c, u: np.minimum(u, c)),
    ),
    Identity("square", "``x ** 2`` by multiplication.", Pair(lambda x: x**2, lambda x: np.square(x))),
    Identity(
        "clipping",
        "``np.clip`` goes through several layers of Python; its two halves do not.",
        Pair(lambda x, c, d: np.clip(x, c, d), lambda x, c, d: np.minimum(np.maximum(x, c), d), limits_of_its_dtype),
    ),
    sums_as_products,
    Identity(
        "product",
        "``np.dot`` starts a product of small matrices in half the time of ``np.matmul``.",
        Pair(lambda x, y: x @ y, lambda x, y: named(np.dot)(x, y), fast_floats, vectors_or_matrices),
    ),
    masks_as_numbers,
)

BESIDE = (
    # Beside log(1 + e^-|x|), as in the cost, the sigmoid needs no sum and no quotient. The exponent is rounded at the
    # size of x, so that a tiny sigmoid loses as many digits as x has before its point.
    Pair(
        lambda x: np.exp(np.minimum(x, 0)) / (np.exp(np.copysign(x, -1)) + 1),
        lambda logarithm, below: np.exp(below - logarithm),
        fast_floats,
        beside={"logarithm": lambda x: np.log1p(np.exp(np.copysign(x, -1))), "below": lambda x: np.minimum(x, 0)},
    ),
    # Beside the two parts of x, e^-|x| is that of their difference, to the last bit, infinite or not: the cheapest call
    # there is. It may be a zero of the other sign, which is one to exp. (And min(x, 0) is not x - max(x, 0), where x is
    # infinite.)
    Pair(
        lambda x: np.exp(np.copysign(x, -1)),
        lambda above, below: np.exp(below - above),
        beside={"above": lambda x: np.maximum(x, 0), "below": lambda x: np.minimum(x, 0)},
    ),
)


def sigmoid_of(x: Any, e: Any) -> Any:
    """The sigmoid of x, given ``e = exp(-|x|)``."""
    return np.where(x < 0, e, 1) / (1 + e)


add(sigmoid_of, bounds=(0.0, 1.0))

# In C, a quotient costs less than a second exponential, and is exact however far x is from zero.
QUOTIENT = Pair(
    lambda x: np.exp(np.minimum(x, 0)) / (np.exp(np.copysign(x, -1)) + 1),
    lambda x: named(sigmoid_of)(x, np.exp(np.copysign(x, -1))),
    fast_floats,
)


def lower(draft: Draft) -> tuple[Draft, str]:
    """Write a program in terms of cheap NumPy calls."""
    rules = (means_as_sums(draft.length), *RULES)
    if draft.native:
        sigmoids = Identity("quotient", "The sigmoid from what its cross-entropy needs anyway.", QUOTIENT)
        new = replace(draft, outputs=rewrite(rewrite(draft.outputs, rules), (sigmoids,)))
        return new, f"Lowered to {new.calls} calls, for C."
    new = replace(draft, outputs=rewrite_beside(rewrite(draft.outputs, rules), BESIDE))
    return new, f"Lowered to {new.calls} calls, each of what NumPy does fast."
