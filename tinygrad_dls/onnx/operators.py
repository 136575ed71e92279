"""What each NumPy function is in ONNX: one row of one table for each.

A row is the name of an operator that goes entry by entry, as NumPy's function does; or what NumPy functions compose it
of, where ONNX has no operator, or onnxruntime none for float64; or how it is written, for what has axes, shapes or
indices. What has no row here, and is composed of others by the engine's rules, needs none: it is recorded as those.

A function of one's own gets its row by `add`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_dls.ir.call import Call, astype, called, getitem, like
from tinygrad_dls.ir.functions import clipped_sigmoid, row_of, shared_softmax, sigmoid, softmax
from tinygrad_dls.ir.rewrite import named
from tinygrad_dls.onnx.indexing import write_index
from tinygrad_dls.onnx.writing import Operator, Value, Writer

__all__ = ["add", "operator_of"]


_ROWS: dict[Any, Operator] = {}


def add(
    function: Callable[..., Any],
    name: str = "",
    *,
    composed: Callable[..., Any] | None = None,
    write: Callable[[Any, Any], Any] | None = None,
    arguments: int | None = None,
    keywords: tuple[str, ...] = (),
) -> None:
    """Say what a function is in ONNX.

    Parameters
    ----------
    function : callable
        As it stands in programs, such as ``np.cbrt``.
    name : str, optional
        An operator of ONNX that goes entry by entry.
    composed : callable, optional, keyword-only
        The same of the same arguments, in NumPy functions that ONNX has; beside a name, for float64 alone.
    write, arguments, keywords : optional, keyword-only
        See `tinygrad_dls.onnx.writing.Operator`.

    Raises
    ------
    TypeError
        If nothing says what the function is: no name, no `composed` and no `write`.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_dls.onnx import operators
    >>> operators.add(np.cbrt, composed=lambda x: np.sign(x) * np.abs(x) ** (1 / 3))
    """
    if not (name or composed or write):
        raise TypeError(
            f"onnx.add: what is {called(function)} in ONNX? Give the name of an operator, such as onnx.add(np.arctan, "
            "'Atan'), or composed=, a function of other NumPy functions."
        )
    _ROWS[function] = Operator(function, name, composed, write, arguments, keywords)


def operator_of(function: Callable[..., Any] | None) -> Operator | None:
    """The row of a function; None without one."""
    return _ROWS.get(function)


# -- entry by entry: what has an operator -----------------------------------------------------------------------------

for _function, _name in {
    np.add: "Add", np.subtract: "Sub", np.multiply: "Mul", np.divide: "Div", np.power: "Pow", np.negative: "Neg",
    np.maximum: "Max", np.minimum: "Min", np.abs: "Abs", np.sign: "Sign", np.sqrt: "Sqrt", np.exp: "Exp",
    np.log: "Log", np.sin: "Sin", np.tanh: "Tanh", np.floor: "Floor", np.ceil: "Ceil", np.rint: "Round",
    np.greater: "Greater", np.greater_equal: "GreaterOrEqual", np.less: "Less", np.less_equal: "LessOrEqual",
    np.equal: "Equal", np.float_power: "Pow", np.isnan: "IsNaN", np.isinf: "IsInf",
}.items():  # fmt: skip
    add(_function, _name)


# -- entry by entry: what is composed ---------------------------------------------------------------------------------


def _expm1(x: Any) -> Any:
    return np.tanh(x / 2) * (np.exp(x) + 1)


def _log1p(x: Any) -> Any:
    """W. Kahan's: the rounding of ``1 + x`` is made up for by that of the divisor."""
    u = 1 + x
    near = np.logical_and(np.abs(x) < 0.5, u != 1)
    return np.where(u == 1, x, np.log(u) * np.where(near, x / np.where(near, u - 1, 1), 1))


def _arctan(x: Any) -> Any:
    """The operator's, which is for float32 alone, and a step of Newton's method: its error to the third power."""
    inside = np.abs(x) <= 1
    y = np.where(inside, x, 1 / np.where(inside, 1, x))
    near = np.arctan(y.astype(np.float32)).astype(np.float64)
    sine, cosine = np.sin(near), np.cos(near)
    angle = near + (y * cosine - sine) / (cosine + y * sine)
    return np.where(inside, angle, np.sign(x) * (np.pi / 2) - angle)


def _arctan2(y: Any, x: Any) -> Any:
    """The angle of the smaller side over the larger, turned to where the point lies."""
    a, b = np.abs(y), np.abs(x)
    low, high = np.minimum(a, b), np.maximum(a, b)
    angle = np.arctan(low / np.where(high == 0, 1, high))
    angle = np.where(a > b, np.pi / 2 - angle, angle)
    angle = np.where(x < 0, np.pi - angle, angle)
    return np.where(y < 0, -angle, angle)


LARGE = 1e8  # whose square does not notice a 1


def _arcsinh(x: Any) -> Any:
    a = np.abs(x)
    near = np.where(a > LARGE, 0, a)
    small = np.log1p(near + near * (near / (1 + np.sqrt(near * near + 1))))
    return np.sign(x) * np.where(a > LARGE, np.log(a) + np.log(2).item(), small)


def _arccosh(x: Any) -> Any:
    t = np.where(x > LARGE, 0, x - 1)
    return np.where(x > LARGE, np.log(x) + np.log(2).item(), np.log1p(t + np.sqrt(t * (t + 2))))


def _arctanh(x: Any) -> Any:
    a = np.abs(x)
    return np.sign(x) * np.log1p(2 * a / (1 - a)) / 2


def _hypot(x: Any, y: Any) -> Any:
    low, high = np.minimum(np.abs(x), np.abs(y)), np.maximum(np.abs(x), np.abs(y))
    return high * np.sqrt(1 + np.square(low / np.where(high == 0, 1, high)))


def _logaddexp(x: Any, y: Any) -> Any:
    apart = np.where(x == y, 0, x - y)  # of infinities too, which have no difference
    return np.maximum(x, y) + np.log1p(np.exp(-np.abs(apart)))


def _isfinite(x: Any) -> Any:
    return np.logical_not(np.logical_or(np.isnan(x), np.isinf(x)))


def _clipped_sigmoid(Z: Any) -> Any:
    info = np.finfo(Z.dtype)
    return np.clip(named(sigmoid)(Z), info.smallest_normal, 1 - info.epsneg)


_COMPOSED: dict[Any, Callable[..., Any] | None] = {
    np.positive: lambda x: x + 0,
    np.square: lambda x: x * x,
    np.reciprocal: lambda x: 1 / x,
    np.expm1: _expm1,
    np.log1p: _log1p,
    np.exp2: lambda x: np.power(2.0, x),
    np.log2: lambda x: np.log(x) / np.log(2).item(),
    np.log10: lambda x: np.log(x) / np.log(10).item(),
    np.arctan2: _arctan2,
    np.hypot: _hypot,
    np.logaddexp: _logaddexp,
    np.trunc: lambda x: np.sign(x) * np.floor(np.abs(x)),
    np.not_equal: lambda x, y: np.logical_not(np.equal(x, y)),
    np.isfinite: _isfinite,
    np.clip: row_of(np.clip).composed,
    np.std: lambda x, *args, **options: np.sqrt(np.var(x, *args, **options)),
    clipped_sigmoid: _clipped_sigmoid,
    shared_softmax: shared_softmax,
}
for _function, _composed in _COMPOSED.items():
    add(_function, composed=_composed)

_FOR_FLOAT32: tuple[tuple[Any, str, Callable[..., Any]], ...] = (
    (np.cos, "Cos", lambda x: 1 - 2 * np.square(np.sin(x / 2))),  # which onnxruntime 1.23 does not have for float64
    (np.tan, "Tan", lambda x: np.sin(x) / np.cos(x)),
    (np.arcsin, "Asin", lambda x: np.arctan(x / np.sqrt((1 - x) * (1 + x)))),
    (np.arccos, "Acos", lambda x: 2 * np.arctan(np.sqrt((1 - x) / (1 + x)))),
    (np.arctan, "Atan", _arctan),
    (np.sinh, "Sinh", lambda x: np.tanh(x) * np.cosh(x)),
    (np.cosh, "Cosh", lambda x: (np.exp(x) + np.exp(-x)) / 2),
    (np.arcsinh, "Asinh", _arcsinh),
    (np.arccosh, "Acosh", _arccosh),
    (np.arctanh, "Atanh", _arctanh),
)
for _function, _name, _composed in _FOR_FLOAT32:
    add(_function, _name, composed=_composed)


# -- truths -----------------------------------------------------------------------------------------------------------


def _of_truths(name: str) -> Callable[[Writer, Call], Value]:
    """Entry by entry, of arguments that count as true or false."""
    return lambda w, call: w.node(name, *(w.value(x, bool) for x in call.args), dtype=bool)


def _bitwise(name: str) -> Callable[[Writer, Call], Value]:
    """The same of arguments that are truths; integers' bits have no operator."""

    def write(w: Writer, call: Call) -> Value:
        if call.dtype != bool:
            raise w.refused(call, "of integers")
        return _of_truths(name)(w, call)

    return write


def _where(w: Writer, call: Call) -> Value:
    condition, x, y = call.args
    taken = w.value(condition, bool)
    x, y = w.value(x, call.dtype), w.value(y, call.dtype)
    if call.dtype != bool:
        return w.node("Where", taken, x, y, dtype=call.dtype)
    others = w.node("And", w.node("Not", taken, dtype=bool), y, dtype=bool)  # onnxruntime has no Where of truths
    return w.node("Or", w.node("And", taken, x, dtype=bool), others, dtype=bool)


for _function, _name in {
    np.logical_and: "And", np.logical_or: "Or", np.logical_not: "Not", np.logical_xor: "Xor",
}.items():  # fmt: skip
    add(_function, write=_of_truths(_name))
for _function, _name in {
    np.bitwise_and: "And", np.bitwise_or: "Or", np.bitwise_not: "Not", np.bitwise_xor: "Xor",
}.items():  # fmt: skip
    add(_function, write=_bitwise(_name))
add(np.where, write=_where)


# -- along axes -------------------------------------------------------------------------------------------------------


def _refuse_options(w: Writer, call: Call, *known: str) -> None:
    """Refuse options that would be lost."""
    if others := [f"{name}=" for name, x in call.options.items() if name not in known and x not in (None, np._NoValue)]:
        raise w.refused(call, f"with {', '.join(others)}")


def _reduced(w: Writer, name: str, x: Value, axes: tuple[int, ...], keepdims: bool, dtype: Any) -> Value:
    if not axes:
        return x
    if name == "ReduceSum":
        return w.node(name, x, w.integers(axes), dtype=dtype, keepdims=int(keepdims))
    return w.node(name, x, dtype=dtype, axes=list(axes), keepdims=int(keepdims))


def _reduction(name: str, within: Any = None) -> Callable[[Writer, Call], Value]:
    """A reduction, which computes in a dtype, or in that of the result."""

    def write(w: Writer, call: Call) -> Value:
        _refuse_options(w, call, "axis", "keepdims", "dtype")
        dtype = np.dtype(within or (np.int32 if call.dtype == bool else call.dtype))
        x = w.cast(w.value(call.args[0], bool if within else None), dtype)
        keepdims = call.options.get("keepdims", False)
        return w.cast(_reduced(w, name, x, call.options["axis"], keepdims, dtype), call.dtype)

    return write


def _var(w: Writer, call: Call) -> Value:
    _refuse_options(w, call, "axis", "keepdims", "ddof")
    axes, keepdims, ddof = call.options["axis"], call.options.get("keepdims", False), call.options.get("ddof", 0)
    x = w.value(call.args[0], call.dtype)
    deviation = w.node("Sub", x, _reduced(w, "ReduceMean", x, axes, True, x.dtype), dtype=x.dtype)
    square = w.node("Mul", deviation, deviation, dtype=x.dtype)
    if not ddof:
        return _reduced(w, "ReduceMean", square, axes, keepdims, x.dtype)
    lengths = w.node("Gather", w.node("Shape", x, dtype=np.int64), w.integers(axes), dtype=np.int64, axis=0)
    n = w.cast(_reduced(w, "ReduceProd", lengths, (0,), False, np.int64), x.dtype)
    total = _reduced(w, "ReduceSum", square, axes, keepdims, x.dtype)
    return w.node("Div", total, w.node("Sub", n, w.constant(ddof, x.dtype), dtype=x.dtype), dtype=x.dtype)


def _extreme_place(name: str) -> Callable[[Writer, Call], Value]:
    def write(w: Writer, call: Call) -> Value:
        _refuse_options(w, call, "axis", "keepdims")
        x, axis = _flat_without_axis(w, call)
        x = w.cast(x, np.int32) if x.dtype == bool else x
        keepdims = int(bool(call.options.get("keepdims")))
        if keepdims and call.options.get("axis", *call.args[1:2] or (None,)) is None:
            raise w.refused(call, "with keepdims= and no axis=")
        return w.cast(w.node(name, x, dtype=np.int64, axis=axis, keepdims=keepdims), call.dtype)

    return write


def _flat_without_axis(w: Writer, call: Call, default: Any = None) -> tuple[Value, int]:
    """The argument and the axis that a function goes along: without one, that of the flattened array."""
    x = w.value(call.args[0])
    axis = call.options.get("axis", call.args[1] if len(call.args) > 1 else default)
    rank = len(call.args[0].shape)
    return (_flat(w, x), 0) if axis is None or not rank else (x, axis % rank)


def _flat(w: Writer, x: Value) -> Value:
    return w.node("Reshape", x, w.integers([-1]), dtype=x.dtype)


def _cumsum(w: Writer, call: Call) -> Value:
    _refuse_options(w, call, "axis")
    x, axis = _flat_without_axis(w, call)
    return w.node("CumSum", w.cast(x, call.dtype), w.constant(axis, np.int64), dtype=call.dtype)


def _in_order(which: int) -> Callable[[Writer, Call], Value]:
    """Sorting: the entries, or their places before it."""

    def write(w: Writer, call: Call) -> Value:
        _refuse_options(w, call, "axis", "kind")
        x, axis = _flat_without_axis(w, call, default=-1)
        n = w.node("Gather", w.node("Shape", x, dtype=np.int64), w.integers([axis]), dtype=np.int64, axis=0)
        return w.several("TopK", x, n, dtypes=(x.dtype, np.dtype(np.int64)), axis=axis, largest=0, sorted=1)[which]

    return write


def _count_nonzero(x: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    return np.sum(np.not_equal(x, 0), axis=axis, keepdims=keepdims)


_REDUCTIONS: dict[Any, str] = {
    np.sum: "ReduceSum", np.prod: "ReduceProd", np.max: "ReduceMax", np.min: "ReduceMin", np.mean: "ReduceMean",
}  # fmt: skip
for _function, _name in _REDUCTIONS.items():
    add(_function, write=_reduction(_name), arguments=2, keywords=("axis", "keepdims", "dtype"))
add(np.any, write=_reduction("ReduceMax", np.int32))
add(np.all, write=_reduction("ReduceMin", np.int32))
add(np.count_nonzero, composed=_count_nonzero)
add(np.var, write=_var)
add(np.argmax, write=_extreme_place("ArgMax"))
add(np.argmin, write=_extreme_place("ArgMin"))
add(np.cumsum, write=_cumsum)
add(np.sort, write=_in_order(0))
add(np.argsort, write=_in_order(1))
add(sigmoid, composed=lambda z: sigmoid(z))  # the operator is rough in the tails, of which costs take logarithms
add(softmax, write=lambda w, call: w.node("Softmax", w.value(call.args[0], call.dtype), dtype=call.dtype, axis=0))


def _norm(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    return np.sqrt(np.sum(np.square(x), axis=axis, keepdims=keepdims))


def _matmul(w: Writer, call: Call) -> Value:
    """A product; of matrices of float64 as Gemm, as onnxruntime 1.23 fails at MatMul beside a transpose there."""
    _refuse_options(w, call)
    of_matrices = call.dtype == np.float64 and all(len(x.shape) == 2 for x in call.args)
    name = "Gemm" if of_matrices else "MatMul"
    return w.node(name, *(w.value(x, call.dtype) for x in call.args), dtype=call.dtype)


def _dot(w: Writer, call: Call) -> Value:
    ranks = [np.ndim(x) if not hasattr(x, "shape") else len(x.shape) for x in call.args]
    if max(ranks) > 2:
        raise w.refused(call, "of more than two axes")
    name = "MatMul" if min(ranks) else "Mul"
    return w.node(name, *(w.value(x, call.dtype) for x in call.args), dtype=call.dtype)


def _einsum(w: Writer, call: Call) -> Value:
    _refuse_options(w, call, "optimize")
    spelled, *operands = call.args
    return w.node("Einsum", *(w.value(x, call.dtype) for x in operands), dtype=call.dtype, equation=spelled)


add(np.linalg.norm, composed=_norm, arguments=1, keywords=("axis", "keepdims"))
add(np.matmul, write=_matmul)
add(np.dot, write=_dot)
add(np.einsum, write=_einsum)


# -- the same entries elsewhere ---------------------------------------------------------------------------------------


def _reshape(w: Writer, call: Call) -> Value:
    _refuse_options(w, call)
    x, shape = call.args
    x = w.value(x)
    return w.node("Reshape", x, w.lengths(shape), dtype=x.dtype, allowzero=1)


def _broadcast_to(w: Writer, call: Call) -> Value:
    x, shape = call.args
    x = w.value(x)
    return w.node("Expand", x, w.lengths(shape), dtype=x.dtype)


def _squeeze(w: Writer, call: Call) -> Value:
    x, axes = w.value(call.args[0]), call.options["axis"]
    return w.node("Squeeze", x, w.integers(axes), dtype=x.dtype) if axes else x


def _transpose(w: Writer, call: Call) -> Value:
    reverse = range(len(call.shape))[::-1]
    return w.transposed(w.value(call.args[0]), call.options.get("axes", reverse))


def _concatenate(w: Writer, call: Call) -> Value:
    _refuse_options(w, call, "axis")
    axis, parts = call.options["axis"], [w.value(x, call.dtype) for x in call.args[0]]
    if axis is None:
        axis, parts = 0, [_flat(w, x) for x in parts]
    return w.node("Concat", *parts, dtype=call.dtype, axis=axis)


def _stack(w: Writer, call: Call) -> Value:
    _refuse_options(w, call, "axis")
    axis = call.options["axis"]
    parts = [w.unsqueezed(w.value(x, call.dtype), [axis]) for x in call.args[0]]
    return w.node("Concat", *parts, dtype=call.dtype, axis=axis)


def _full(w: Writer, call: Call) -> Value:
    shape, number = call.args
    return w.node("Expand", w.value(number, call.dtype), w.lengths(shape), dtype=call.dtype)


def _full_like(w: Writer, call: Call) -> Value:
    _refuse_options(w, call, "dtype")
    shape = w.node("Shape", w.value(call.args[0]), dtype=np.int64)
    return w.node("Expand", w.value(call.args[1], call.dtype), shape, dtype=call.dtype)


def _ones(w: Writer, call: Call) -> Value:
    shape = call.args[0] if call.args else call.options["shape"]
    return w.node("Expand", w.constant(1, call.dtype), w.lengths(shape), dtype=call.dtype)


add(np.reshape, write=_reshape)
add(np.broadcast_to, write=_broadcast_to)
add(np.expand_dims, write=lambda w, call: w.unsqueezed(w.value(call.args[0]), call.options["axis"]))
add(np.squeeze, write=_squeeze)
add(np.transpose, write=_transpose)
add(np.concatenate, write=_concatenate)
add(np.stack, write=_stack)
add(getitem, write=write_index)
add(np.full, write=_full)
add(np.full_like, write=_full_like)
add(np.ones, write=_ones)
add(np.asarray, write=lambda w, call: w.value(call.args[0], call.dtype))
add(astype, write=lambda w, call: w.value(call.args[0], call.dtype))


# -- numbers ----------------------------------------------------------------------------------------------------------


def _floor_divide(w: Writer, call: Call) -> Value:
    if np.dtype(call.dtype).kind == "f":
        return w.composed(call, lambda x, y: np.floor(x / y))
    remainder = w.written(like(call, np.remainder, *call.args))  # the quotient of ONNX is cut off, and this one is not
    whole = w.node("Sub", w.value(call.args[0], call.dtype), remainder, dtype=call.dtype)
    return w.node("Div", whole, w.value(call.args[1], call.dtype), dtype=call.dtype)


def _remainder(w: Writer, call: Call) -> Value:
    if np.dtype(call.dtype).kind == "f":
        return w.composed(call, lambda x, y: x - y * np.floor(x / y))
    return w.node("Mod", *(w.value(x, call.dtype) for x in call.args), dtype=call.dtype)


def _round(w: Writer, call: Call) -> Value:
    decimals = call.options.get("decimals", 0)
    if np.dtype(call.dtype).kind != "f":
        raise w.refused(call, "of integers")
    if decimals == 0:
        return w.composed(like(call, np.rint, call.args[0]), np.rint)
    unit = 10.0 ** abs(decimals)
    by, back = (np.multiply, np.divide) if decimals > 0 else (np.divide, np.multiply)
    return w.composed(like(call, np.round, call.args[0]), lambda x: back(np.rint(by(x, unit)), unit))


add(np.floor_divide, write=_floor_divide)
add(np.remainder, write=_remainder)
add(np.round, write=_round)
