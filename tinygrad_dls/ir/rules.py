"""Programs made shorter: rules, each a small function from one NumPy call to a simpler one that gives the same.

`simplified` tries them on each call of a program, inputs first. The rules are algebra that holds for all numbers; they
may differ from the original in the last bits, where a division and a product change places or a product of matrices is
transposed, and nowhere else.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_dls.ir.call import (
    Call,
    astype,
    fits,
    is_call,
    is_plain_reduction,
    is_transpose,
    like,
    number,
    summed_axes,
    transposed,
)
from tinygrad_dls.ir.functions import PATTERNS, clipped_sigmoid, sigmoid
from tinygrad_dls.ir.rewrite import Rule, _argument_key, rewrite
from tinygrad_dls.ir.tracer import Recorder

__all__ = ["factors", "open_interval", "simplified"]

FACTORS = 24  # of a product, that are looked at: a cross-entropy with a sigmoid, and masks and weights, have ten or so


# -- algebra ----------------------------------------------------------------------------------------------------------


def _is_plain(x: Any) -> bool:
    """Whether an argument is a number of Python's."""
    return isinstance(x, (int, float)) and not isinstance(x, (bool, np.number))


def times_one(call: Call) -> Any:
    """``1 * x``, ``x / 1``, ``x + 0`` and the like are x."""
    if is_call(call, np.multiply, np.divide, np.add, np.subtract):
        x, y = call.args
        neutral = 1 if is_call(call, np.multiply, np.divide) else 0
        if number(y) == neutral and fits(x, call):
            return x
        if number(x) == neutral and is_call(call, np.multiply, np.add) and fits(y, call):
            return y
    return None


def plain_constant(call: Call) -> Any:
    """A number beside an array needs no dtype of its own."""
    if isinstance(call.function, np.ufunc) and any(is_call(x, np.asarray) for x in call.args):
        others = [x for x in call.args if isinstance(x, Call) and not is_call(x, np.asarray)]
        if any(x.dtype == call.dtype or call.dtype == bool for x in others):
            return like(call, call.function, *(x if (n := number(x)) is None else n for x in call.args))
    return None


def quotient_last(call: Call) -> Any:
    """``x * (1 / n)`` is ``x / n``, ``x * (c / n)`` is ``c * x / n``, and ``-(x / n)`` is ``-x / n``."""
    if is_call(call, np.multiply):
        for x, y in (call.args, call.args[::-1]):
            if _is_plain(x) and is_call(y, np.divide) and _is_plain(y.args[0]) and call.shape == ():
                return like(call, np.divide, x * y.args[0], y.args[1])
            if is_call(y, np.divide) and y.shape == () and number(y.args[0]) is not None and fits(x, call):
                return like(call, np.divide, like(call, np.multiply, x, number(y.args[0])), y.args[1])
    if is_call(call, np.negative) and is_call(call.args[0], np.divide):
        x, y = call.args[0].args
        if call.shape == () and _is_plain(x):
            return like(call, np.divide, -x, y)
        if isinstance(x, Call) and x.dtype == call.dtype:  # truths have no sign
            return like(call, np.divide, Call(np.negative, (x,), {}, x.shape, x.dtype), y)
    return None


def folded(call: Call) -> Any:
    """Numbers are multiplied now, those in a row of factors too; of ``-(2 * x)``, the number gets the sign."""
    if is_call(call, np.negative) and is_call(call.args[0], np.multiply) and call.dtype in _FLOATS:
        product = call.args[0]
        if any(map(_is_plain, product.args)) and product.dtype == call.dtype:
            return like(call, np.multiply, *(-x if _is_plain(x) else x for x in product.args))
    if not is_call(call, np.multiply):
        return None
    x, y = call.args
    if number(x) is not None and isinstance(y, Call) and number(y) is None:
        x, y = y, x  # the number last, for now
    outer = number(y)
    if outer is not None and outer < 0 and is_call(x, np.negative) and fits(x.args[0], call) and call.dtype in _FLOATS:
        return like(call, np.multiply, x.args[0], -outer)
    if outer is not None and is_call(x, np.multiply) and (inner := number(x.args[1])) is not None:
        if not fits(x.args[0], call) or call.dtype.kind != "f":  # of integers, a product may wrap around
            return None
        if outer and inner and not 2.0**-100 < abs(outer * inner) < 2.0**100:  # it may overflow, or be 0, by itself
            return None
        return like(call, np.multiply, x.args[0], outer * inner)
    return None


def computed(call: Call) -> Any:
    """What is computed of numbers alone is computed now."""
    if isinstance(call.function, np.ufunc) and call.shape == () and call.args and call.dtype != bool:
        numbers = [number(x) for x in call.args]
        if all(n is not None for n in numbers) and any(is_call(x, np.asarray) for x in call.args):
            return Call(np.asarray, (call.function(*numbers).item(),), {}, (), call.dtype)
    if is_call(call, astype) and call.shape == () and (n := number(call.args[0])) is not None and call.dtype in _FLOATS:
        return Call(np.asarray, (n,), {}, (), call.dtype)
    return None


def negated_number(call: Call) -> Any:
    """``x * -1`` is ``-x``; ``-(-x)`` is x; ``-(x - y)`` is ``y - x``; ``x - (-y)`` is ``x + y``, and so on."""
    if is_call(call, np.multiply):
        for x, y in (call.args, call.args[::-1]):
            if number(y) == -1 and fits(x, call):
                return like(call, np.negative, x)
    if is_call(call, np.negative) and is_call(call.args[0], np.negative):
        return call.args[0].args[0]
    if is_call(call, np.negative) and is_call(call.args[0], np.subtract):
        x, y = call.args[0].args
        if fits(x, call) and isinstance(y, Call) and y.dtype == call.dtype and call.dtype in _FLOATS:
            return like(call, np.subtract, y, x)
    if is_call(call, np.add, np.subtract) and is_call(call.args[1], np.negative) and call.args[1].dtype == call.dtype:
        return like(call, np.subtract if is_call(call, np.add) else np.add, call.args[0], call.args[1].args[0])
    return None


def matrix_product(call: Call) -> Any:
    """``np.dot`` of matrices is ``@``."""
    if is_call(call, np.dot) and all(isinstance(x, Call) and len(x.shape) == 2 for x in call.args):
        return like(call, np.matmul, *call.args)
    return None


def squared(call: Call) -> Any:
    """``x * x`` is ``x ** 2``, and so is ``np.square(x)``; ``x ** 1`` is x."""
    if is_call(call, np.power) and number(call.args[1]) == 1 and fits(call.args[0], call):
        return call.args[0]
    if is_call(call, np.multiply) and call.args[0] is call.args[1] and call.shape and call.dtype != bool:
        return like(call, np.power, call.args[0], 2)
    return like(call, np.power, call.args[0], 2) if is_call(call, np.square) else None


def one_part(call: Call) -> Any:
    """``min(x, 0) - max(x, 0)`` is ``-|x|``, to the last bit; in an exponent, ``x - max(x, 0)`` is ``min(x, 0)``.

    Of an infinite x it is no minimum; there, the cost of the notes is computed again by the engine, or is the limit.
    """
    if is_call(call, np.exp) and is_call(call.args[0], np.subtract):
        x, p = call.args[0].args
        if _is_part_above(p, x):
            return like(call, np.exp, like(call.args[0], np.minimum, x, 0))
        if is_call(x, np.subtract) and x.args[1] is p and _is_part_above(p, x.args[0]):
            return like(call, np.exp, like(call.args[0], np.subtract, like(x, np.minimum, x.args[0], 0), p))
        return None
    if is_call(call, np.subtract) and is_call(call.args[1], np.maximum) and number(call.args[1].args[1]) == 0:
        x, p = call.args
        if is_call(x, np.minimum) and x.args[0] is p.args[0] and number(x.args[1]) == 0:
            return like(call, np.negative, like(call, np.abs, x.args[0]))
    return None


def _is_part_above(p: Any, x: Any) -> bool:
    """Whether p is ``max(x, 0)``."""
    return is_call(p, np.maximum) and p.args[0] is x and number(p.args[1]) == 0


def clipped_once(call: Call) -> Any:
    """What lies between two limits is not changed by them."""
    if is_call(call, np.clip) and len(call.args) == 3:
        inner, limits = call.args[0], call.args[1:]
        if is_call(inner, np.clip) and _argument_key(inner.args[1:]) == _argument_key(limits):
            return inner
        if is_call(inner, clipped_sigmoid) and _argument_key(limits) == _argument_key(open_interval(call.dtype)):
            return inner
    return None


def open_interval(dtype: Any) -> tuple[Any, Any]:
    """The limits that keep a probability strictly between 0 and 1."""
    return np.finfo(dtype).smallest_normal, 1 - np.finfo(dtype).epsneg


def without_broadcast(call: Call) -> Any:
    """An operand need not be broadcast where the other one has the shape of the result; a constant is filled in."""
    if is_call(call, np.broadcast_to, np.reshape, np.expand_dims):
        x = call.args[0]
        while is_call(x, np.reshape, np.expand_dims):
            x = x.args[0]
        if (value := number(x)) is not None:
            shape = call.shape if is_call(call, np.expand_dims) or len(call.args) < 2 else call.args[1]
            shape = call.shape if -1 in (shape if isinstance(shape, tuple) else (shape,)) else shape
            return like(call, np.full, shape, value, dtype=np.dtype(call.dtype))
        if not is_call(call, np.broadcast_to):
            return None
        return call.args[0] if fits(call.args[0], call) else None
    if isinstance(call.function, np.ufunc) and call.function is not np.matmul and len(call.args) == 2:
        for i in (0, 1):
            x, other = call.args[i], call.args[1 - i]
            single = is_call(x, np.reshape, np.expand_dims) and x.args[0].shape == ()
            if not (single or is_call(x, np.broadcast_to, np.full)):
                continue
            small = x.args[1] if is_call(x, np.full) else x.args[0]
            if is_call(x, np.full) and x.dtype != getattr(other, "dtype", x.dtype):
                small = x
            args = (small, other) if i == 0 else (other, small)
            if _is_plain(other) and is_call(x, np.full):
                if _is_plain(small) and x.dtype == call.dtype and call.dtype in _FLOATS:
                    numbers = [call.dtype.type(y) for y in args]
                    return like(call, np.full, x.args[0], call.function(*numbers).item(), **x.options)
                continue
            if _is_plain(other) and isinstance(small, Call) and small.dtype == call.dtype:  # broadcast afterwards
                inner = Call(call.function, args, {}, small.shape, call.dtype)
                return like(call, x.function, inner, *x.args[1:], **x.options)
            if isinstance(other, Call) and other.shape == call.shape and (not single or other.dtype == call.dtype):
                return like(call, call.function, *args)
    return None


def same_shape(call: Call) -> Any:
    """Reshaping to the shape that is there already."""
    return call.args[0] if is_call(call, np.reshape, np.squeeze) and fits(call.args[0], call) else None


def sum_without_axes(call: Call) -> Any:
    """Summing with ``keepdims=True``, and then taking those axes away, is summing without it."""
    summed = call.args[0] if is_call(call, np.reshape, np.squeeze) else None
    if not is_call(summed, np.sum) or not is_plain_reduction(summed) or not summed.options.get("keepdims"):
        return None
    x, axes = summed.args[0], summed_axes(summed)
    if call.shape != tuple(n for i, n in enumerate(x.shape) if i not in axes):
        return None
    return like(call, np.sum, x, axis=None if call.shape == () else summed.options.get("axis"), keepdims=False)


def twice_transposed(call: Call) -> Any:
    """The transpose of the transpose."""
    return call.args[0].args[0] if is_transpose(call) and is_transpose(call.args[0]) else None


def transposed_product(call: Call) -> Any:
    """``(A @ B.T).T`` is ``B @ A.T``, and ``(A.T @ B).T`` is ``B.T @ A``."""
    product = call.args[0] if is_transpose(call) else None
    if product is None or not is_call(product, np.matmul) or not any(map(is_transpose, product.args)):
        return None
    if all(isinstance(x, Call) and len(x.shape) == 2 for x in product.args):
        return like(call, np.matmul, *map(transposed, product.args[::-1]))
    return None


def natural_dtype(call: Call) -> Any:
    """Integers become float64 by themselves in arithmetic with it; ``1 - n`` does afterwards, as it is exact before."""
    if isinstance(call.function, np.ufunc) and call.dtype == np.float64:
        for i, x in enumerate(call.args):
            others = [y for j, y in enumerate(call.args) if j != i and isinstance(y, Call)]
            if any(y.dtype == np.float64 for y in others) and (plain := _of_integers(x)) is not None:
                return like(call, call.function, *call.args[:i], plain, *call.args[i + 1 :])
    return None


def _of_integers(x: Any) -> Any:
    """The same number without its conversion to floats, if it is one of integers, or 1 minus one."""
    if is_call(x, astype) and x.args[0].dtype.kind in "iub":
        return x.args[0]
    if is_call(x, np.subtract) and number(x.args[0]) == 1 and is_call(x.args[1], astype):
        n = x.args[1].args[0]
        if n.dtype.kind == "i" and n.dtype.itemsize >= 4:
            return Call(np.subtract, (1, n), {}, x.shape, n.dtype)
    return None


# -- patterns ---------------------------------------------------------------------------------------------------------


def known_function(call: Call) -> Any:
    """A formula that has a name, such as that of the sigmoid, becomes a call of it."""
    for function in PATTERNS:
        if call.dtype in _FLOATS and call.function is not None:
            pattern, argument = _pattern(function, np.dtype(call.dtype))
            found: list[Call] = []
            if _matches(pattern, call, argument, found) and fits(found[0], call):
                return like(call, function, found[0])
    return None


_FLOATS = tuple(map(np.dtype, ("f2", "f4", "f8")))


@functools.cache
def _pattern(function: Callable[[Any], Any], dtype: Any) -> tuple[Call, Call]:
    """The formula of a function, simplified as programs are, and its argument."""
    z = Recorder().input("Z", np.zeros((2, 3), dtype))
    rules = RULES[: RULES.index(known_function)]
    if function is clipped_sigmoid:  # in which the sigmoid is called by its name already
        low, high = open_interval(dtype)
        inner = Call(sigmoid, (z.call,), {}, z.call.shape, dtype)
        return Call(np.clip, (inner, low, high), {}, z.call.shape, dtype), z.call
    return simplified([function(z).call], rules)[0], z.call


def _matches(pattern: Any, x: Any, argument: Call, found: list[Call]) -> bool:
    """Whether x is what a pattern says, with one and the same call wherever the pattern has its argument."""
    if pattern is argument:
        found.append(x)
        return isinstance(x, Call) and found[0] is x
    if isinstance(pattern, Call):
        return (
            isinstance(x, Call)
            and x.function is pattern.function
            and _matches(pattern.args, x.args, argument, found)
            and _matches(tuple(pattern.options.items()), tuple(x.options.items()), argument, found)
        )
    if isinstance(pattern, tuple):
        alike = isinstance(x, tuple) and len(x) == len(pattern)
        return alike and all(_matches(p, y, argument, found) for p, y in zip(pattern, x, strict=True))
    return not isinstance(x, (Call, np.ndarray)) and bool(pattern == x or (pattern != pattern and x != x))  # or NaN


def fused_cross_entropy(call: Call) -> Any:
    """``((1 - y)/(1 - a) - y/a) * a * (1 - a)``, the cost's and the sigmoid's gradients in a row, is ``a - y``.

    With any further factors. Only where a is a sigmoid, which lies strictly between 0 and 1: there it holds exactly.
    """
    if not is_call(call, np.multiply):
        return None
    above, below = factors(call)
    if not any(is_call(x, clipped_sigmoid) for x in above):
        return None
    for chain in above:
        parts = _cross_entropy(chain)
        if parts is None:
            continue
        a, y, sign, own_above, own_below = parts
        rest = list(above)
        rest.remove(chain)
        if a in rest and (beside := next((x for x in rest if _is_one_minus(x, a)), None)) is not None:
            rest.remove(a)
            rest.remove(beside)
            product: Any = Call(np.subtract, (a, y), {}, chain.shape, call.dtype)
            product = product if sign > 0 else Call(np.negative, (product,), {}, chain.shape, call.dtype)
            rest, below = [*own_above, *rest], [*own_below, *below]
            for function, beside in [(np.multiply, x) for x in rest] + [(np.divide, x) for x in below]:
                shape = np.broadcast_shapes(product.shape, getattr(beside, "shape", ()))
                product = Call(function, (product, beside), {}, shape, call.dtype)
            return product
    return None


def factors(x: Any) -> tuple[list[Any], list[Any]]:
    """What a product of quotients has above and below the line: of a long product, the last factors, and the rest."""
    _, above, below = _product(x, signed=False)
    return above, below


def _product(x: Any, *, signed: bool) -> tuple[int, list[Any], list[Any]]:
    """The sign of a product of quotients, and what it has above and below the line.

    What multiplies a product by itself, over and over, has more factors than there are atoms: `FACTORS` are enough.
    """
    sign, parts, opened = 1, [(x, True)], True
    while opened and len(parts) < FACTORS:
        opened, before, parts = False, parts, []
        for y, is_above in before:
            inner: list[tuple[Any, bool]] = []
            if is_call(y, np.multiply):
                inner = [(z, is_above) for z in y.args]
            elif is_call(y, np.divide) and is_above:
                inner = [(y.args[0], True), (y.args[1], False)]
            elif signed and is_above and is_call(y, np.negative):
                sign, inner = -sign, [(y.args[0], True)]
            elif signed and is_above and _is_plain(y) and y < 0:
                sign, y = -sign, -y
            parts += inner or [(y, is_above)]
            opened = opened or bool(inner)
    return sign, [y for y, is_above in parts if is_above], [y for y, is_above in parts if not is_above]


def _cross_entropy(x: Any) -> tuple[Call, Call, int, list[Any], list[Any]] | None:
    """The a and y of ``(1 - y)/(1 - a) - y/a``, where a is a sigmoid; and the sign and the factors of both terms."""
    if not is_call(x, np.add, np.subtract):
        return None
    terms = [_product(term, signed=True) for term in x.args]
    if is_call(x, np.subtract):
        terms[1] = (-terms[1][0], *terms[1][1:])
    for (sign, above, below), (other_sign, other_above, other_below) in (terms, terms[::-1]):
        for one_minus_y in above:
            y = one_minus_y.args[1] if is_call(one_minus_y, np.subtract) else None
            if sign != -other_sign or y is None or not _is_one_minus(one_minus_y, y) or y not in other_above:
                continue
            a = next((x for x in other_below if is_call(x, clipped_sigmoid)), None)
            one_minus_a = next((x for x in below if a is not None and _is_one_minus(x, a)), None)
            if a is None or one_minus_a is None:
                continue
            common = _without(above, one_minus_y), _without(below, one_minus_a)
            if all(map(_alike, common, (_without(other_above, y), _without(other_below, a)))):
                return a, y, sign, *common
    return None


def _without(xs: list[Any], x: Any) -> list[Any]:
    """The others, once."""
    place = next(i for i, y in enumerate(xs) if y is x)
    return xs[:place] + xs[place + 1 :]


def _alike(xs: list[Any], ys: list[Any]) -> bool:
    """Whether two products have the same factors."""
    keys = [sorted(repr(id(x) if isinstance(x, Call) else _argument_key(x)) for x in zs) for zs in (xs, ys)]
    return keys[0] == keys[1]


def _is_one_minus(x: Any, a: Any) -> bool:
    return is_call(x, np.subtract) and number(x.args[0]) == 1 and x.args[1] is a


RULES: tuple[Rule, ...] = (
    computed,
    plain_constant,
    times_one,
    negated_number,
    quotient_last,
    folded,
    matrix_product,
    squared,
    one_part,
    without_broadcast,
    same_shape,
    sum_without_axes,
    twice_transposed,
    transposed_product,
    natural_dtype,
    known_function,
    clipped_once,
    fused_cross_entropy,
)


def simplified(outputs: Sequence[Call], rules: Sequence[Rule] | None = None) -> list[Call]:
    """The calls that compute the same outputs, by some rules or, by default, by all of this module."""
    return rewrite(outputs, RULES if rules is None else rules)
