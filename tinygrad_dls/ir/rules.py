"""The algebra of programs: a table of identities, each a pair of programs that compute the same.

`canonicalize` tries them on each call of a program, inputs first. A new rule is one line in the table: a `Pair` of two
lines of NumPy code. `rewrite` says what the letters of its variables stand for. ``tests/ir/test_rewrite.py`` finds
every pair by itself, runs both sides on random arrays of all dtypes, and holds them equal. What is true of real numbers
may be wrong for unsigned integers, as ``|-x|`` is ``|x|`` for floats alone (the condition `floats` says so), or for
large numbers, as ``log(exp(x))`` is x. A new `Identity` needs cases in ``tests/ir/test_rules.py`` too.

The rules hold for all numbers, infinite ones and NaN too, unless a pair says that it is for `finite` ones. They may
differ from the original in the last bits, where a division and a product change places or a product of matrices is
transposed, and nowhere else. A few rules are functions of one call, as they ask more of it than a pair can say: numbers
that are computed now, dtypes that need no conversion, arrays that need not be broadcast, and the factors of a product
in any order.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_dls.ir.call import Call, astype, fits, is_call, key_of_arguments, scalar_value
from tinygrad_dls.ir.functions import clipped_sigmoid, shared_softmax, sigmoid, softmax
from tinygrad_dls.ir.rewrite import Identity, Pair, Rule, named, rewrite
from tinygrad_dls.ir.shapes import call_of

__all__ = ["ALGEBRA", "RULES", "canonicalize", "factors", "floats", "open_interval"]

FACTORS = 24  # of a product, that are looked at: a cross-entropy with a sigmoid, and masks and weights, have ten or so

_FLOATS = tuple(map(np.dtype, ("f2", "f4", "f8")))


# -- conditions of pairs ----------------------------------------------------------------------------------------------


def floats(call: Call) -> bool:
    """Integers wrap around, and booleans have no sign."""
    return call.dtype in _FLOATS


def an_array_of_numbers(call: Call) -> bool:
    """Whether the result has axes, and entries that are no truths."""
    return bool(call.shape) and call.dtype != bool


def matrices(u: Call, v: Call) -> bool:
    """Whether both operands of a product are matrices."""
    return len(u.shape) == len(v.shape) == 2


def negative(c: float) -> bool:
    """Whether a number has a sign to give away."""
    return c < 0


def signed(c: Any) -> bool:
    """Whether a number takes a sign: the 0 of Python's integers has none."""
    return not (type(c) is int and c == 0)


def moderate(call: Call, c: float, d: float) -> bool:
    """Whether a product of two numbers neither overflows nor becomes 0 by itself. Of integers, it may wrap around."""
    return bool(call.dtype.kind == "f" and (not c or not d or 2.0**-100 < abs(c * d) < 2.0**100))


def between_0_and_1(call: Call, c: float, d: float) -> bool:
    """Whether two numbers are the limits that keep a probability strictly between 0 and 1."""
    return bool(key_of_arguments((c, d)) == key_of_arguments(open_interval(call.dtype)))


def open_interval(dtype: Any) -> tuple[Any, Any]:
    """The limits that keep a probability strictly between 0 and 1."""
    return np.finfo(dtype).smallest_normal, 1 - np.finfo(dtype).epsneg


# -- functions of one call --------------------------------------------------------------------------------------------


def _is_plain(x: Any) -> bool:
    """Whether an argument is a number of Python's."""
    return isinstance(x, (int, float)) and not isinstance(x, (bool, np.number))


def evaluate_constants(call: Call) -> Any:
    """What is computed of numbers alone is computed now."""
    if isinstance(call.function, np.ufunc) and call.dtype != bool and any(is_call(x, np.asarray) for x in call.args):
        numbers = [scalar_value(x) for x in call.args]
        if all(n is not None for n in numbers):
            return call_of(np.asarray, call.function(*numbers).item(), dtype=call.dtype)
    if is_call(call, astype) and (n := scalar_value(call.args[0])) is not None and call.dtype in _FLOATS:
        return call_of(np.asarray, n, dtype=call.dtype)
    return None


def strip_constant_dtype(call: Call) -> Any:
    """A number beside an array needs no dtype of its own."""
    if isinstance(call.function, np.ufunc) and any(is_call(x, np.asarray) for x in call.args):
        others = [x for x in call.args if isinstance(x, Call) and not is_call(x, np.asarray)]
        if any(x.dtype == call.dtype or call.dtype == bool for x in others):
            return call_of(call.function, *(x if (n := scalar_value(x)) is None else n for x in call.args))
    return None


def without_broadcast(call: Call) -> Any:
    """An operand need not be broadcast where the other one has the shape of the result; a constant is filled in."""
    if is_call(call, np.broadcast_to, np.reshape, np.expand_dims):
        if (value := scalar_value(call.args[0])) is not None:
            shape = call.shape if is_call(call, np.expand_dims) or -1 in call.args[1] else call.args[1]
            return _filled(shape, value, call.dtype)
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
            args = (other, small) if i else (small, other)
            if _is_plain(other) and is_call(x, np.full):
                if _is_plain(small) and x.dtype == call.dtype and call.dtype in _FLOATS:
                    numbers = [call.dtype.type(y) for y in args]
                    return call_of(np.full, x.args[0], call.function(*numbers).item(), **x.options)
                return None
            if _is_plain(other) and isinstance(small, Call) and small.dtype == call.dtype:  # broadcast afterwards
                return call_of(x.function, call_of(call.function, *args), *x.args[1:], **x.options)
            if isinstance(other, Call) and other.shape == call.shape and (not single or other.dtype == call.dtype):
                return call_of(call.function, *args)
    return None


def change_filled(call: Call) -> Any:
    """An array of one number, turned or with its sign changed, is an array of one number."""
    x = call.args[0] if call.args else None
    if not is_call(x, np.full) or not _is_plain(x.args[1]) or x.dtype != call.dtype or call.dtype not in _FLOATS:
        return None
    if call.function is np.negative:
        return _filled(x.args[0], (-call.dtype.type(x.args[1])).item(), call.dtype)
    if call.function is np.transpose and len(call.args) == 1 and not call.options and len(call.shape) == 2:
        return _filled(x.args[0][::-1], x.args[1], call.dtype)
    return None


def _filled(shape: Any, number: Any, dtype: Any) -> Call:
    """An array of one number; without axes, the number as an array."""
    return call_of(np.asarray, number, dtype=dtype) if shape == () else call_of(np.full, shape, number, dtype=dtype)


def natural_dtype(call: Call, labels: frozenset[str] = frozenset()) -> Any:
    """Integers become float64 by themselves in arithmetic with it, and so they do in ``1.0 - n``.

    Labels that are 0 or 1, inputs of these names, do so afterwards: ``1 - Y`` is exact before.
    """
    if isinstance(call.function, np.ufunc) and call.dtype == np.float64:
        for i, x in enumerate(call.args):
            others = [y for j, y in enumerate(call.args) if j != i and isinstance(y, Call)]
            if any(y.dtype == np.float64 for y in others) and (plain := _of_integers(x, labels)) is not None:
                return call_of(call.function, *call.args[:i], plain, *call.args[i + 1 :])
    return None


def _of_integers(x: Any, labels: frozenset[str]) -> Any:
    """The number without its conversion to floats, if it is one of integers, or 1 minus one."""
    if is_call(x, astype) and x.args[0].dtype.kind in "iub":
        return x.args[0]
    if is_call(x, np.subtract) and scalar_value(x.args[0]) == 1 and is_call(x.args[1], astype):
        n = x.args[1].args[0]
        if n.dtype.kind in "iub":
            is_label = n.function is None and n.name in labels  # of others, 1 - n may be beyond their dtype
            return call_of(np.subtract, 1 if is_label and n.dtype.kind != "b" else 1.0, n)
    return None


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
            product = call_of(np.subtract, a, y)
            product = product if sign > 0 else call_of(np.negative, product)
            rest, below = [*own_above, *rest], [*own_below, *below]
            for function, beside in [(np.multiply, x) for x in rest] + [(np.divide, x) for x in below]:
                product = call_of(function, product, beside)
            return product if fits(product, call) else None
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
        a = next((x for x in other_below if is_call(x, clipped_sigmoid)), None)
        one_minus_a = next((x for x in below if _is_one_minus(x, a)), None)
        if sign != -other_sign or a is None or one_minus_a is None:
            continue
        for one_minus_y in above:
            y = one_minus_y.args[1] if is_call(one_minus_y, np.subtract) else None
            if y is None or not _is_one_minus(one_minus_y, y) or y not in other_above:
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
    return Counter(map(key_of_arguments, xs)) == Counter(map(key_of_arguments, ys))


def _is_one_minus(x: Any, a: Any) -> bool:
    return is_call(x, np.subtract) and scalar_value(x.args[0]) == 1 and x.args[1] is a


# -- the table --------------------------------------------------------------------------------------------------------

ALGEBRA = (
    Identity(
        "times_one",
        "``1 * x``, ``x / 1``, ``x + 0`` and the like are x.",
        Pair(lambda x: x * 1, lambda x: x),
        Pair(lambda x: 1 * x, lambda x: x),
        Pair(lambda x: x / 1, lambda x: x),
        Pair(lambda x: x + 0, lambda x: x),
        Pair(lambda x: 0 + x, lambda x: x),
        Pair(lambda x: x - 0, lambda x: x),
    ),
    Identity(
        "negated_number",
        "Signs: ``x * -1`` is ``-x``, ``-(x - y)`` is ``y - x``, ``x - (-y)`` is ``x + y``, and so on.",
        Pair(lambda x: x * -1, lambda x: -x),
        Pair(lambda x: -1 * x, lambda x: -x),
        Pair(lambda x: np.negative(-x), lambda x: x),
        Pair(lambda x, y: -(x - y), lambda x, y: y - x, floats),
        Pair(lambda a, y: a + -y, lambda a, y: a - y),
        Pair(lambda a, y: a - -y, lambda a, y: a + y),
    ),
    Identity(
        "quotient_last",
        "Quotients last: ``x * (1 / m)`` is ``x / m``, and ``-(x / m)`` is ``-x / m``.",
        Pair(lambda c, d, m: c * (d / m), lambda c, d, m: c * d / m),
        Pair(lambda c, d, m: (d / m) * c, lambda c, d, m: c * d / m),
        Pair(lambda x, c, m: x * (c / m), lambda x, c, m: x * c / m),
        Pair(lambda x, c, m: (c / m) * x, lambda x, c, m: x * c / m),
        Pair(lambda c, m: -(c / m), lambda c, m: -c / m),
        Pair(lambda x, a: -(x / a), lambda x, a: -x / a),
    ),
    Identity(
        "fold_constants",
        "Numbers are multiplied now, those in a row of factors too; of ``-(2 * x)``, the number gets the sign.",
        Pair(lambda a, c: -(c * a), lambda a, c: -c * a, floats, signed),
        Pair(lambda a, c: -(a * c), lambda a, c: a * -c, floats, signed),
        Pair(lambda x, c: -x * c, lambda x, c: x * -c, floats, negative),
        Pair(lambda x, c: c * -x, lambda x, c: x * -c, floats, negative),
        Pair(lambda x, c, d: (x * c) * d, lambda x, c, d: x * (d * c), moderate),
        Pair(lambda x, c, d: d * (x * c), lambda x, c, d: x * (d * c), moderate),
    ),
    Identity(
        "squared",
        "``x * x`` is ``x ** 2``, and so is ``np.square(x)``; ``x ** 1`` is x.",
        Pair(lambda x: x**1, lambda x: x),
        Pair(lambda x: x * x, lambda x: x**2, an_array_of_numbers),
        Pair(lambda x: np.square(x), lambda x: x**2),
    ),
    Identity(
        "one_part",
        "``min(x, 0) - max(x, 0)`` is ``-|x|``, to the last bit; in an exponent, ``x - max(x, 0)`` is ``min(x, 0)``. "
        "Of an infinite x it is none: there, the cost of the notes is computed again by the engine, or is the limit.",
        Pair(lambda x: np.exp(x - np.maximum(x, 0)), lambda x: np.exp(np.minimum(x, 0)), finite=True),
        Pair(
            lambda x: np.exp(x - np.maximum(x, 0) - np.maximum(x, 0)),
            lambda x: np.exp(np.minimum(x, 0) - np.maximum(x, 0)),
            finite=True,
        ),
        Pair(lambda x: np.minimum(x, 0) - np.maximum(x, 0), lambda x: -np.abs(x)),
    ),
    without_broadcast,
    change_filled,
    Identity(
        "same_shape",
        "Reshaping to the shape that is there already.",
        Pair(lambda x, a: np.reshape(x, a), lambda x: x),
        Pair(lambda x, a: np.squeeze(x, axis=a), lambda x: x),
    ),
    Identity(
        "sum_without_axes",
        "Summing with ``keepdims=True``, and then taking those axes away, is summing without it.",
        Pair(
            lambda u, a, b: np.reshape(np.sum(u, axis=a, keepdims=True), b),
            lambda u, a: np.sum(u, axis=a),
        ),
        Pair(
            lambda u, a, b: np.squeeze(np.sum(u, axis=a, keepdims=True), axis=b),
            lambda u, a: np.sum(u, axis=a),
        ),
    ),
    Identity("twice_transposed", "The transpose of the transpose.", Pair(lambda x: x.T.T, lambda x: x)),
    Identity(
        "transposed_product",
        "``(A @ B.T).T`` is ``B @ A.T``, and ``(A.T @ B).T`` is ``B.T @ A``.",
        Pair(lambda u, v: (u.T @ v.T).T, lambda u, v: v @ u, matrices),
        Pair(lambda u, v: (u @ v.T).T, lambda u, v: v @ u.T, matrices),
        Pair(lambda u, v: (u.T @ v).T, lambda u, v: v.T @ u, matrices),
    ),
    natural_dtype,
    Identity(
        "known_function",
        "A formula that has a name, such as that of the sigmoid, is a call of it.",
        Pair(lambda x: sigmoid(x), named(sigmoid), floats),
        Pair(
            lambda x, c, d: np.clip(named(sigmoid)(x), c, d),
            lambda x: named(clipped_sigmoid)(x),
            between_0_and_1,
        ),
        Pair(lambda x: softmax(x), named(softmax), floats),
        Pair(lambda x: shared_softmax(x), named(shared_softmax), floats),
    ),
    Identity(
        "clipped_once",
        "What lies between two limits is not changed by them.",
        Pair(lambda x, a, b: np.clip(np.clip(x, a, b), a, b), lambda x, a, b: np.clip(x, a, b)),
        Pair(
            lambda x, c, d: np.clip(named(clipped_sigmoid)(x), c, d),
            lambda x: named(clipped_sigmoid)(x),
            between_0_and_1,
        ),
    ),
    fused_cross_entropy,
)

RULES: tuple[Rule, ...] = (evaluate_constants, strip_constant_dtype, *ALGEBRA)


def canonicalize(outputs: Sequence[Call], labels: frozenset[str] = frozenset()) -> list[Call]:
    """Rewrite the outputs by all rules of this module; inputs of these names are labels that are 0 or 1."""
    if not labels:
        return rewrite(outputs, RULES)
    of_labels = functools.partial(natural_dtype, labels=labels)
    return rewrite(outputs, [of_labels if rule is natural_dtype else rule for rule in RULES])
