"""Passes: from the program as a person would write it to the one that NumPy runs with the fewest and cheapest calls.

Each pass is a function from a list of calls, the outputs, to another list that gives the same numbers up to rounding.
They rest on what a NumPy call costs: a sum along an axis 1 to 3 microseconds, a product with a vector of ones 0.4; a
function of small arrays 0.4, whatever it computes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeGuard

import numpy as np

from tinygrad_dls.arrays import Array
from tinygrad_dls.recording import Call, astype, each, getitem, reachable
from tinygrad_dls.rewriting import clipped_sigmoid, open_interval, sigmoid, simplified, softmax

__all__ = ["factored", "is_number", "joined_layers", "lowered", "side_by_side", "total", "total_in_runs", "with_ones"]

Rule: TypeAlias = Callable[[Call], Any]

FLOATS = (np.dtype("f4"), np.dtype("f8"))
COMPARISONS = (np.greater, np.greater_equal, np.less, np.less_equal, np.equal, np.not_equal)
RUN = 4096  # entries of a long sum that are added up in one go
CHEAP_COPY = 2  # rows of X for each row of Z, up to which a copy of X costs less than adding b and summing dZ do


# -- functions that NumPy has no name for -----------------------------------------------------------------------------


def total(x: Array, y: Array) -> Any:
    """The sum of all products of entries."""
    return x.ravel().dot(y.ravel())


def total_in_runs(x: Array, y: Array) -> Any:
    """The same for many float32 in a row: BLAS adds them up one by one, and each run by itself loses fewer digits."""
    whole = len(x) // RUN * RUN
    runs = np.matmul(x[:whole].reshape(-1, 1, RUN), y[:whole].reshape(-1, RUN, 1))
    return np.add.reduce(runs, None) + x[whole:].dot(y[whole:])


def with_ones(x: Array) -> Array:
    """The rows of x, and a row of ones: what ``[W b]`` is multiplied by."""
    return np.concatenate([x, np.ones((1, x.shape[1]), x.dtype)])


def side_by_side(w: Array, b: Array) -> Array:
    """``[W b]``: the weights, and the bias as one more column."""
    return np.concatenate([w, b], axis=1)


# -- calls ------------------------------------------------------------------------------------------------------------


def like(call: Call, function: Any, *args: Any, **options: Any) -> Call:
    """Another call with a result of the same shape and dtype."""
    return Call(function, args, options, call.shape, call.dtype)


def calls(x: Any, *functions: Any) -> TypeGuard[Call]:
    """Whether x is a call of one of the functions."""
    return isinstance(x, Call) and any(x.function is f for f in functions)


def number(x: Any) -> float | None:
    """The plain number that an argument is; else None."""
    if calls(x, np.asarray):
        x = x.args[0]
    return float(x) if isinstance(x, (int, float, np.number)) and not isinstance(x, (bool, np.bool_)) else None


ARITHMETIC = {np.add: "+", np.subtract: "-", np.multiply: "*", np.divide: "/", np.floor_divide: "//"}


def is_number(x: Any) -> bool:
    """Whether x is a number that depends on the number of examples and the learning rate alone.

    Not by their names: a parameter may be called m, or learning_rate.
    """
    if not isinstance(x, Call):
        return number(x) is not None
    if x.function is None:
        return x.dtype is int or x.dtype is float  # Python's numbers have Python's types: these two symbols alone
    return x.shape == () and (x.function in ARITHMETIC or x.function is np.asarray) and all(map(is_number, x.args))


def _axes(call: Call) -> tuple[int, ...]:
    """The axes that a reduction runs over."""
    x = call.args[0]
    axis = call.options.get("axis", call.args[1] if len(call.args) > 1 else None)
    if axis is None:
        return tuple(range(len(x.shape)))
    return tuple(sorted(i % len(x.shape) for i in (axis if isinstance(axis, tuple) else (axis,))))


# -- rules: one call, in terms of cheaper ones ------------------------------------------------------------------------


def written_out(call: Call) -> Any:
    """Functions of the views in terms of NumPy's, so that the sigmoid and its cross-entropy share ``e^-|z|``."""
    if calls(call, sigmoid):
        z = call.args[0]
        e = like(call, np.exp, like(call, np.negative, like(call, np.abs, z)))
        return like(call, np.divide, like(call, np.exp, like(call, np.minimum, z, 0)), like(call, np.add, e, 1))
    if calls(call, clipped_sigmoid):
        low, high = open_interval(call.dtype)
        return like(call, np.minimum, like(call, np.maximum, like(call, sigmoid, call.args[0]), low), high)
    if calls(call, softmax):
        z = call.args[0]
        one_row = (1, *call.shape[1:])
        largest = Call(np.max, (z,), {"axis": 0, "keepdims": True}, one_row, call.dtype)
        e = like(call, np.exp, like(call, np.subtract, z, largest))
        return like(call, np.divide, e, Call(np.sum, (e,), {"axis": 0, "keepdims": True}, one_row, call.dtype))
    return None


def minus_magnitude(call: Call) -> Any:
    """``-|z|`` is z with the sign of -1, in one call."""
    if calls(call, np.negative) and calls(call.args[0], np.abs) and call.dtype in FLOATS:
        return like(call, np.copysign, call.args[0].args[0], -1)
    return None


def number_last(call: Call) -> Any:
    """``1 + x`` is ``x + 1``, so that equal calls are seen to be equal."""
    if calls(call, np.add, np.multiply, np.maximum, np.minimum) and len(call.args) == 2:
        x, y = call.args
        if number(x) is not None and isinstance(y, Call) and number(y) is None:
            return like(call, call.function, y, x)
    return None


def square(call: Call) -> Any:
    """``x ** 2`` by multiplication."""
    return like(call, np.square, call.args[0]) if calls(call, np.power) and number(call.args[1]) == 2 else None


def clipping(call: Call) -> Any:
    """``np.clip`` goes through several layers of Python; its two halves do not."""
    if calls(call, np.clip) and len(call.args) == 3 and all(number(x) is not None for x in call.args[1:]):
        x, low, high = call.args
        if x.dtype == call.dtype:
            return like(call, np.minimum, like(call, np.maximum, x, low), high)
    return None


def means_as_sums(length: Callable[[int], Any]) -> Rule:
    """The rule that a mean is a sum divided by the number of entries; `length` knows the number of examples."""

    def mean_as_sum(call: Call) -> Any:
        if not calls(call, np.mean) or call.dtype not in FLOATS or call.args[0].dtype != call.dtype:
            return None
        count: Any = 1
        for i in _axes(call):
            n = length(call.args[0].shape[i])
            count = count * n
        return like(call, np.divide, like(call, np.sum, *call.args, **call.options), getattr(count, "call", count))

    return mean_as_sum


def sums_as_products(call: Call) -> Any:
    """A sum is a product with ones; the sum of products is a product."""
    if not calls(call, np.sum) or call.dtype not in FLOATS or call.args[0].dtype != call.dtype:
        return None
    x, axes = call.args[0], _axes(call)
    if len(axes) == len(x.shape) and x.shape:
        summed = _total(x, call.dtype)
        return summed if call.shape == () else like(call, np.reshape, summed, call.shape)
    if len(x.shape) != 2:
        return None
    if axes == (1,):
        return like(call, np.dot, x, _ones((x.shape[1], 1) if len(call.shape) == 2 else (x.shape[1],), call.dtype))
    return like(call, np.dot, _ones((1, x.shape[0]) if len(call.shape) == 2 else (x.shape[0],), call.dtype), x)


def _ones(shape: tuple[int, ...], dtype: Any) -> Call:
    return Call(np.ones, (), {}, shape, dtype)


def _total(x: Call, dtype: Any) -> Call:
    if calls(x, np.multiply):
        y, z = x.args
        if all(isinstance(f, Call) and f.shape == x.shape and f.dtype == dtype for f in (y, z)):
            return Call(total, (y, z), {}, (), dtype)
    if calls(x, np.square) and x.dtype == dtype:
        return Call(total, (x.args[0], x.args[0]), {}, (), dtype)
    return Call(total, (x, _ones(x.shape, dtype)), {}, (), dtype)


def product(call: Call) -> Any:
    """``np.dot`` starts a product of small matrices in half the time of ``np.matmul``."""
    if not calls(call, np.matmul) or call.dtype not in FLOATS:
        return None
    plain = all(isinstance(x, Call) and x.dtype == call.dtype and 1 <= len(x.shape) <= 2 for x in call.args)
    return like(call, np.dot, *call.args) if plain else None


def truths_as_numbers(call: Call) -> Any:
    """Truths that are multiplied are made numbers where they are made: mixed dtypes are converted piece by piece."""
    if calls(call, astype) and calls(call.args[0], *COMPARISONS) and call.dtype in FLOATS:
        return like(call, call.args[0].function, *call.args[0].args)
    if calls(call, np.multiply, np.subtract) and call.dtype in FLOATS:
        for i, x in enumerate(call.args):
            other = call.args[1 - i]
            truths = calls(x, *COMPARISONS) and x.dtype == bool
            if truths and isinstance(other, Call) and other.dtype == call.dtype:
                args = list(call.args)
                args[i] = Call(x.function, x.args, {}, x.shape, call.dtype)
                return like(call, call.function, *args)
    return None


LOWERING = (
    written_out, minus_magnitude, number_last, square, clipping, sums_as_products, product, truths_as_numbers,
)  # fmt: skip


def lowered(outputs: Sequence[Call], length: Callable[[int], Any]) -> list[Call]:
    """The same in terms of cheap NumPy calls; `length` gives the length of an axis as a symbol."""
    return _parts_by_subtraction(simplified(outputs, (means_as_sums(length), *LOWERING)))


def _parts_by_subtraction(outputs: list[Call]) -> list[Call]:
    """Beside ``p = max(z, 0)``, ``n = min(z, 0)`` is ``z - p`` and ``-|z|`` is ``n - p``, to the last bit.

    A difference of arrays is the cheapest call there is.
    """
    found = [c for c in reachable(outputs) if calls(c, np.maximum, np.minimum, np.copysign)]
    positive = {c.args[0]: c for c in found if calls(c, np.maximum) and number(c.args[1]) == 0}
    negative = {z: like(p, np.subtract, z, p) for z, p in positive.items()}
    others: dict[Call, Call] = {}
    for call in found:
        if (z := call.args[0]) in positive and call.dtype == positive[z].dtype:
            if calls(call, np.minimum) and number(call.args[1]) == 0:
                others[call] = negative[z]
            elif calls(call, np.copysign) and number(call.args[1]) == -1:
                others[call] = like(call, np.subtract, negative[z], positive[z])
    return simplified(exchanged(outputs, others), ()) if others else outputs


# -- numbers last -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Scale:
    """A factor that is a number: of the program, or the number of examples and the learning rate, above and below."""

    number: float = 1.0
    above: tuple[Call, ...] = ()
    below: tuple[Call, ...] = ()

    def __mul__(self, other: _Scale) -> _Scale:
        return _Scale(self.number * other.number, self.above + other.above, self.below + other.below)

    def inverse(self) -> _Scale:
        return _Scale(1 / self.number, self.below, self.above)

    def moderate(self) -> bool:
        """Whether a product with it stays far from overflow and underflow, unless the program itself comes near them.

        It is one number, with the learning rate above or m below at the most: what is of the order of 1/m may be summed
        first, which takes m times the room that the mean does, but not be squared first.
        """
        return 2.0**-40 < abs(self.number) < 2.0**40 and len(self.above) <= 1 and len(self.below) <= 1

    def said(self) -> str:
        """The factor as a comment."""
        symbols = "".join(getattr(x, "name", "") for x in self.above)
        plain = symbols == "m" * len(self.above) and not self.below
        return (
            f"times {self.number:g}{symbols}".replace(" 1m", " m").replace("-1m", "-m") if plain else "but for a factor"
        )

    def as_call(self) -> Any:
        value: Any = self.number
        for factor in self.above:
            value = factor if value == 1 else Call(np.multiply, (value, factor), {}, (), float)
        for factor in self.below:
            value = Call(np.divide, (value, factor), {}, (), float)
        return value


def _scale(x: Any) -> _Scale | None:
    """A number as a factor; None for anything else."""
    if (n := number(x)) is not None:
        return _Scale(n) if n and np.isfinite(n) else None
    if not (isinstance(x, Call) and is_number(x)):
        return None
    if calls(x, np.multiply, np.divide):
        y, z = map(_scale, x.args)
        if y is not None and z is not None:
            return y * (z if x.function is np.multiply else z.inverse())
    return _Scale(above=(x,))


def factored(outputs: Sequence[Call], notes: dict[str, str] | None = None) -> list[Call]:
    """Numbers are multiplied last: behind products and sums, where the arrays are smallest.

    So the ``1/m`` of the cost moves from dZ, through all of the backward pass, which is linear, to the gradients; and
    where the update is linear in these too, it becomes one number with the learning rate.

    Parameters
    ----------
    outputs : sequence of Call
    notes : dict, optional
        Filled with what the results, by name, are now multiples of themselves by: ``{"dZ2": "times m"}``.
    """
    parts: dict[Call, tuple[Call, _Scale]] = {}
    whole: dict[Call, Call] = {}

    def core(x: Any) -> tuple[Any, _Scale]:
        return parts[x] if isinstance(x, Call) else (x, _Scale())

    def full(x: Any) -> Any:
        if not isinstance(x, Call):
            return slice(full(x.start), full(x.stop), full(x.step)) if isinstance(x, slice) else x
        if x not in whole:
            inner, scale = parts[x]
            whole[x] = inner if scale == _Scale() else _times(inner, scale)
        return whole[x]

    for call in reachable(outputs):
        parts[call] = _split(call, core) or (_rebuilt(call, full), _Scale())
        inner, scale = parts[call]
        inner.name = inner.name or call.name
        if notes is not None and call.name and inner.name == call.name and inner.function and scale != _Scale():
            notes[call.name] = scale.inverse().said()
    return simplified([full(call) for call in outputs], ())


def _times(x: Call, scale: _Scale) -> Call:
    if scale == _Scale(-1.0):
        return like(x, np.negative, x)
    return like(x, np.multiply, x, scale.as_call())


def _rebuilt(call: Call, full: Callable[[Any], Any]) -> Call:
    if call.function is None:
        return call
    return Call(call.function, each(full, call.args), each(full, call.options), call.shape, call.dtype)


def _split(call: Call, core: Callable[[Any], tuple[Any, _Scale]]) -> tuple[Call, _Scale] | None:
    """The call without numbers as factors, and their product."""
    if call.dtype not in FLOATS or call.shape == ():
        return None
    if calls(call, np.negative) and call.args[0].dtype == call.dtype:
        x, s = core(call.args[0])
        return x, s * _Scale(-1.0)
    if calls(call, np.multiply, np.divide):
        x, y = call.args
        if (f := _scale(y)) is not None and isinstance(x, Call) and _same(x, call):
            x, s = core(x)
            s = s * (f if call.function is np.multiply else f.inverse())
            return (x, s) if s.moderate() else None
        if calls(call, np.multiply) and (f := _scale(x)) is not None and isinstance(y, Call) and _same(y, call):
            y, s = core(y)
            return (y, s * f) if (s * f).moderate() else None
    linear = calls(call, np.multiply, np.dot, np.matmul)
    if linear and all(isinstance(x, Call) and x.dtype == call.dtype for x in call.args):
        (x, s), (y, t) = map(core, call.args)
        if s == t == _Scale() or not (s * t).moderate():
            return None
        return like(call, call.function, x, y), s * t
    if calls(call, np.transpose) and len(call.args) == 1 and not call.options:
        x, s = core(call.args[0])
        return like(call, np.transpose, x), s
    return None


def _same(x: Call, call: Call) -> bool:
    return x.shape == call.shape and x.dtype == call.dtype


# -- [W b] times [A; 1] -----------------------------------------------------------------------------------------------


def joined_layers(
    outputs: Sequence[Call], parameters: Iterable[Call], data: Iterable[Call], m: int | None
) -> tuple[list[Call], list[tuple[Call, Call]]]:
    """Where W and b stand side by side, and A has a row of ones below: one product for Z, and one for dW and db.

    Parameters
    ----------
    outputs : sequence of Call
    parameters, data : Call
        The inputs of the program.
    m : int or None
        The number of examples that it was recorded with.

    Returns
    -------
    outputs : list of Call
    pairs : list of (Call, Call)
        The weights and biases that are to stand side by side.
    """
    found = reachable(outputs)
    own, given = set(parameters), set(data)
    replaced: dict[Call, Call] = {}
    pairs: list[tuple[Call, Call]] = []
    for z in found:
        layer = _layer(z, own)
        if layer is None or any(p in pair for p in layer[1:] for pair in pairs):
            continue
        a, w, b = layer
        if not _may_have_ones(a, z, given, m):
            continue
        dw = [c for c in found if calls(c, np.dot) and c.shape == w.shape and _is_transpose(c.args[1], a)]
        db = [c for c in found if calls(c, np.dot) and c.shape == b.shape and _is_ones(c.args[1])]
        both = [(x, y) for x in dw for y in db if x.args[0] is y.args[0]]
        if len(both) != 1:
            continue
        n, k = w.shape
        if m and (k + 1) % m == 0:  # it would look like a number of examples
            continue
        pairs.append((w, b))
        above = Call(with_ones, (a,), {}, (k + 1, a.shape[1]), a.dtype, f"{a.name}_with_1" if a.name else "")
        wb = Call(side_by_side, (w, b), {}, (n, k + 1), w.dtype, f"{w.name}{b.name}")
        replaced[z] = like(z, np.dot, wb, above)
        replaced[z].name = z.name
        dwb = Call(np.dot, (both[0][0].args[0], _transposed(above)), {}, wb.shape, w.dtype, f"d{wb.name}")
        replaced[both[0][0]] = Call(getitem, (dwb, (slice(None), slice(None, k))), {}, w.shape, w.dtype)
        replaced[both[0][1]] = Call(getitem, (dwb, (slice(None), slice(k, None))), {}, b.shape, b.dtype)
    return (exchanged(outputs, replaced) if replaced else list(outputs)), pairs


def _layer(z: Call, own: set[Call]) -> tuple[Call, Call, Call] | None:
    """The A, W and b of ``W A + b``, all of one dtype."""
    if calls(z, np.add) and calls(z.args[0], np.dot) and isinstance(z.args[1], Call) and z.args[1] in own:
        (w, a), b = z.args[0].args, z.args[1]
        fits = (
            w in own
            and w is not b
            and w.shape[:1] == b.shape[:1] == z.shape[:1]
            and b.shape[1:] == (1,)
            and len(a.shape) == 2
        )
        if fits and w.dtype == a.dtype == b.dtype == z.dtype:
            return a, w, b
    return None


def _may_have_ones(a: Call, z: Call, given: set[Call], m: int | None) -> bool:
    """Whether a row of ones below A is cheaper than adding b: A is computed, or X has few rows."""
    if a in given:
        return a.shape[0] <= CHEAP_COPY * z.shape[0] and (m is None or a.shape[1] == m)
    return isinstance(a.function, np.ufunc)


def _is_transpose(x: Any, a: Call) -> bool:
    return calls(x, np.transpose) and x.args[0] is a and len(x.args) == 1 and not x.options


def _is_ones(x: Any) -> bool:
    return calls(x, np.ones)


def _transposed(x: Call) -> Call:
    return Call(np.transpose, (x,), {}, x.shape[::-1], x.dtype)


def exchanged(outputs: Sequence[Call], others: dict[Call, Call]) -> list[Call]:
    """The outputs with other calls in the place of some."""
    new: dict[Call, Call] = {}

    def own(x: Any) -> Any:
        if isinstance(x, slice):
            return slice(own(x.start), own(x.stop), own(x.step))
        return new[x] if isinstance(x, Call) else x

    stack = [(call, False) for call in outputs]
    while stack:
        call, ready = stack.pop()
        other = others.get(call, call)
        if call in new:
            continue
        if not ready:
            stack.append((call, True))
            stack.extend((x, False) for x in other.calls())
        elif other.function is None:
            new[call] = other
        else:
            args, options = each(own, other.args), each(own, other.options)
            new[call] = Call(other.function, args, options, other.shape, other.dtype, other.name)
    return [new[call] for call in outputs]
