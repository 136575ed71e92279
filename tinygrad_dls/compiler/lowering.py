"""Lowering: a program in terms of the NumPy calls that cost least.

It rests on what a call costs: a sum along an axis 1 to 3 microseconds, a product with a vector of ones 0.4; a function
of small arrays 0.4, whatever it computes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, TypeGuard

import numpy as np

from tinygrad_dls.engine.arrays import Array
from tinygrad_dls.ir.call import Call, astype, fits, is_call, is_plain_reduction, like, number, reachable, summed_axes
from tinygrad_dls.ir.functions import clipped_sigmoid, row_of, shared_softmax, sigmoid, softmax
from tinygrad_dls.ir.rewrite import exchanged
from tinygrad_dls.ir.rules import open_interval, simplified

__all__ = ["FLOATS", "copied", "is_number", "lowered", "total"]

Rule: TypeAlias = Callable[[Call], Any]

FLOATS = (np.dtype("f4"), np.dtype("f8"))


def is_number(x: Any) -> bool:
    """Whether x is a number that depends on the number of examples and the learning rate alone.

    Not by their names: a parameter may be called m, or learning_rate.
    """
    if not isinstance(x, Call):
        return number(x) is not None
    if x.function is None:
        return x.dtype is int or x.dtype is float  # Python's numbers have Python's types: these two symbols alone
    arithmetic = x.function is np.asarray or row_of(x.function).is_arithmetic
    return x.shape == () and arithmetic and all(map(is_number, x.args))


def total(x: Array, y: Array) -> Any:
    """The sum of all products of entries."""
    return x.ravel().dot(y.ravel())


def copied(x: Any) -> Any:
    """The same numbers in another array."""
    return x.copy()


# -- rules: one call, in terms of cheaper ones ------------------------------------------------------------------------


def written_out(call: Call) -> Any:
    """Functions of programs in terms of NumPy's, so that the sigmoid and its cross-entropy share ``e^-|z|``."""
    if is_call(call, sigmoid):
        z = call.args[0]
        e = like(call, np.exp, like(call, np.negative, like(call, np.abs, z)))
        return like(call, np.divide, like(call, np.exp, like(call, np.minimum, z, 0)), like(call, np.add, e, 1))
    if is_call(call, clipped_sigmoid):
        low, high = open_interval(call.dtype)
        return like(call, np.minimum, like(call, np.maximum, like(call, sigmoid, call.args[0]), low), high)
    if is_call(call, softmax, shared_softmax):
        z = call.args[0]
        one_row = (1, *call.shape[1:])
        largest = Call(np.max, (z,), {"axis": 0, "keepdims": True}, one_row, call.dtype)
        below = like(call, np.subtract, z, largest)
        infinite = like(largest, np.where, Call(np.isinf, (largest,), {}, one_row, np.dtype(bool)), largest, np.nan)
        equal = Call(np.equal, (z, infinite), {}, call.shape, np.dtype(bool))
        e = like(call, np.exp, like(call, np.where, equal, 0, below) if is_call(call, shared_softmax) else below)
        return like(call, np.divide, e, Call(np.sum, (e,), {"axis": 0, "keepdims": True}, one_row, call.dtype))
    return None


def minus_magnitude(call: Call) -> Any:
    """``-|z|`` is z with the sign of -1, in one call."""
    if is_call(call, np.negative) and is_call(call.args[0], np.abs) and call.dtype in FLOATS:
        return like(call, np.copysign, call.args[0].args[0], -1)
    return None


def number_last(call: Call) -> Any:
    """``1 + x`` is ``x + 1``, so that equal calls are seen to be equal."""
    if is_call(call, np.add, np.multiply, np.maximum, np.minimum) and len(call.args) == 2:
        x, y = call.args
        if number(x) is not None and isinstance(y, Call) and number(y) is None:
            return like(call, call.function, y, x)
    return None


def square(call: Call) -> Any:
    """``x ** 2`` by multiplication."""
    if is_call(call, np.power) and number(call.args[1]) == 2 and fits(call.args[0], call):
        return like(call, np.square, call.args[0])
    return None


def clipping(call: Call) -> Any:
    """``np.clip`` goes through several layers of Python; its two halves do not."""
    if is_call(call, np.clip) and len(call.args) == 3 and all(number(x) is not None for x in call.args[1:]):
        x, low, high = call.args
        if x.dtype == call.dtype:
            return like(call, np.minimum, like(call, np.maximum, x, low), high)
    return None


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


def product(call: Call) -> Any:
    """``np.dot`` starts a product of small matrices in half the time of ``np.matmul``."""
    if not is_call(call, np.matmul) or call.dtype not in FLOATS:
        return None
    plain = all(isinstance(x, Call) and x.dtype == call.dtype and 1 <= len(x.shape) <= 2 for x in call.args)
    return like(call, np.dot, *call.args) if plain else None


def _compares(x: Any) -> TypeGuard[Call]:
    return isinstance(x, Call) and row_of(x.function).is_comparison


def truths_as_numbers(call: Call) -> Any:
    """Truths that are multiplied are made numbers where they are made: mixed dtypes are converted piece by piece."""
    if is_call(call, astype) and _compares(call.args[0]) and call.dtype in FLOATS and call.shape:
        return like(call, call.args[0].function, *call.args[0].args)
    if is_call(call, np.multiply, np.subtract) and call.dtype in FLOATS and call.shape:
        for i, x in enumerate(call.args):
            other = call.args[1 - i]
            truths = _compares(x) and x.dtype == bool and x.shape
            if truths and isinstance(other, Call) and other.dtype == call.dtype:
                args = list(call.args)
                args[i] = Call(x.function, x.args, {}, x.shape, call.dtype)
                return like(call, call.function, *args)
    return None


RULES = (
    written_out, minus_magnitude, number_last, square, clipping, sums_as_products, product, truths_as_numbers,
)  # fmt: skip


def lowered(outputs: Sequence[Call], length: Callable[[int], Any] = lambda n: n) -> list[Call]:
    """The same in terms of cheap NumPy calls; `length` gives the length of an axis as a symbol."""
    return _parts_shared(simplified(outputs, (means_as_sums(length), *RULES)))


# -- what calls have in common ----------------------------------------------------------------------------------------


def _parts_shared(outputs: list[Call]) -> list[Call]:
    """What is almost there already, of what is there."""
    for others in (_sigmoids_by_logarithm, _parts_by_subtraction):
        if replaced := others(reachable(outputs)):
            outputs = simplified(exchanged(outputs, replaced), ())
    return outputs


def _sigmoids_by_logarithm(found: Sequence[Call]) -> dict[Call, Call]:
    """Beside ``l = log(1 + e^-|z|)``, as in the cost, sigmoid(z) is ``exp(min(z, 0) - l)``: no sum and no quotient.

    Its exponent is rounded at the size of z, so that a tiny sigmoid loses as many digits as z has before its point.
    """
    logarithms = {c.args[0]: c for c in found if is_call(c, np.log1p) and c.dtype in FLOATS}
    others = {}
    for call in found:
        if is_call(call, np.divide) and all(isinstance(x, Call) and fits(x, call) for x in call.args):
            above, below = call.args
            if not (is_call(above, np.exp) and is_call(below, np.add) and number(below.args[1]) == 1):
                continue
            n, e = above.args[0], below.args[0]
            if e in logarithms and _is_minimum_of_0(n) and is_call(e, np.exp):
                magnitude = e.args[0]
                if is_call(magnitude, np.copysign) and magnitude.args[0] is n.args[0]:
                    others[call] = like(call, np.exp, like(call, np.subtract, n, logarithms[e]))
    return others


def _parts_by_subtraction(found: Sequence[Call]) -> dict[Call, Call]:
    """Beside ``p = max(z, 0)`` and ``n = min(z, 0)``, ``e^-|z|`` is ``exp(n - p)``, to the last bit, infinite or not.

    A difference of arrays is the cheapest call there is. It may be a zero of the other sign, which is one to exp. (And
    n is not ``z - p``, where z is infinite.)
    """
    positive, negative = (
        {c.args[0]: c for c in found if is_call(c, extreme) and isinstance(c.args[0], Call) and number(c.args[1]) == 0}
        for extreme in (np.maximum, np.minimum)
    )
    others = {}
    for call in found:
        x = call.args[0] if is_call(call, np.exp) else None
        if not is_call(x, np.copysign) or number(x.args[1]) != -1 or not isinstance(z := x.args[0], Call):
            continue
        if z in positive and z in negative and x.dtype == positive[z].dtype == negative[z].dtype:
            others[call] = like(call, np.exp, like(x, np.subtract, negative[z], positive[z]))
    return others


def _is_minimum_of_0(x: Call) -> bool:
    return is_call(x, np.minimum) and number(x.args[1]) == 0
