"""What an op computes, and its local derivatives, as short formulas: the rules themselves, run on tracers.

There is no table of derivatives here. The rule of a node's op runs once on arrays that record what is done to them, and
each of its vector-Jacobian products on a recorded ``dz``. What stands beside ``dz`` in the result is the local
derivative: of ``dA1 * (1 - A1**2)`` it is ``1 - A1²``, of ``W2.T @ dZ2`` it is ``W2ᵀ``.
"""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np

from tinygrad_dls.engine.devices import to_host
from tinygrad_dls.engine.errors import RecordingError
from tinygrad_dls.engine.tensor import values
from tinygrad_dls.graph.names import shortened
from tinygrad_dls.graph.node import Node
from tinygrad_dls.ir.call import Call, is_call, toposort
from tinygrad_dls.ir.functions import MATRIX, row_of
from tinygrad_dls.ir.printing import expression
from tinygrad_dls.ir.rewrite import rewrite
from tinygrad_dls.ir.rules import RULES, factors, open_interval
from tinygrad_dls.ir.shapes import call_of
from tinygrad_dls.ir.tracer import Trace, Tracer

__all__ = ["formula", "local", "summed"]

LONGEST = 60  # characters of a local derivative; a longer one says less than none

_known: weakref.WeakKeyDictionary[Node, tuple[str, list[str], list[str]]] = weakref.WeakKeyDictionary()


def formula(node: Node) -> str:
    """What the op of a node computes, as NumPy code of its inputs' names: ``W1 @ X + b1``. A long one by its name."""
    return _formulas(node)[0]


def local(node: Node, position: int) -> str:
    """The local derivative of the op of a node by its input of that number, counted from 0.

    Empty where the gradient is more than a product of ``dz`` with something, as that of softmax is.
    """
    derivatives = _formulas(node)[1]
    return derivatives[position] if position < len(derivatives) else ""


def summed(node: Node, position: int) -> str:
    """Over what the gradient of an input is summed, because broadcasting repeated it: ``"examples"``, ``"axis 0"``.

    Empty where it is not.
    """
    sums = _formulas(node)[2]
    return sums[position] if position < len(sums) else ""


def unclipped(call: Call) -> Any:
    """A probability that is kept between 0 and 1 by less than a rounding is, to a reader, that probability."""
    is_clip = call.function is np.clip and len(call.args) == 3
    return call.args[0] if is_clip and call.args[1:] == open_interval(call.dtype) else None


RULES_HERE = (unclipped, *RULES)


def _formulas(node: Node) -> tuple[str, list[str], list[str]]:
    if node not in _known:
        try:
            with np.errstate(all="ignore"):
                _known[node] = _recorded(node)
        except (RecordingError, TypeError, ValueError):  # formulas, lazy arrays: what is not NumPy's is not recorded
            _known[node] = _call(node), [], []
    return _known[node]


def _recorded(node: Node) -> tuple[str, list[str], list[str]]:
    columns = node.inputs[0].shape[-1:] if node.loss is not None and isinstance(node.inputs[0], Node) else ()
    trace = Trace(columns[0] if columns and columns[0] > 1 else None)
    names: dict[Call, str] = {trace.dimension: "m"}

    def recorded(x: Any) -> Any:
        if not isinstance(x, Node):
            return x
        plain = to_host(values(x.x))
        if plain.dtype.kind not in "fiub":
            raise TypeError(f"{x.name} holds formulas, not numbers.")
        array = trace.input(shortened(x.name), plain)
        names[array.call] = array.call.name
        return array

    arrays = {x: recorded(x) for x in node.inputs if isinstance(x, Node)}
    inputs = [arrays[x] if isinstance(x, Node) else x for x in node.inputs]
    value, vjps = node.x.op.rule(*inputs, *node.extra, **node.options)
    value.call.name = shortened(node.name)
    own = dict(names)
    derivatives, sums = [], []
    dz = trace.input("dz", np.ones(node.shape, value.dtype))
    for vjp, x in zip(vjps, inputs, strict=False):
        gradient = vjp(dz) if vjp is not None else None
        (call,) = rewrite([gradient.call], RULES_HERE) if isinstance(gradient, Tracer) else (None,)
        derivatives.append("" if call is None else _beside(dz.call, call, {**own, dz.call: "dz"}, value.call.name))
        sums.append("" if call is None else _axes_in_words(call.shape, np.shape(values(x))))
    (made,) = rewrite([value.call], RULES_HERE)
    text = expression(made, names)
    return text if len(text) <= LONGEST else _call(node), derivatives, sums


def _axes_in_words(broadcast: tuple[int, ...], shape: tuple[int, ...]) -> str:
    """The axes along which a shape was repeated."""
    extra = len(broadcast) - len(shape)
    axes = [i for i, n in enumerate(broadcast) if i < extra or shape[i - extra] != n]
    if not axes:
        return ""
    if axes == [1] and len(broadcast) == 2:
        return "examples"
    if len(axes) == len(broadcast):
        return "all entries"
    return f"ax{'i' if len(axes) == 1 else 'e'}s {', '.join(map(str, axes))}"


def _call(node: Node) -> str:
    names = [shortened(x.name if isinstance(x, Node) else str(x)) for x in node.inputs]
    return f"{node.op}({', '.join(names)})"


def _beside(dz: Call, x: Call, names: dict[Call, str], value: str) -> str:
    """What stands beside dz in a product; empty if it is none."""
    called = {c: c.name for c in _within(x) if c.name == value} | names
    if x is dz:
        return "1"
    if row_of(x.function).spreads:  # a sum's gradient, which all summands get
        return _beside(dz, x.args[0], names, value)
    if is_call(x, np.negative):
        inner = _beside(dz, x.args[0], names, value)
        return "" if not inner else f"-{inner}" if " " not in inner else f"-({inner})"
    if row_of(x.function).kind is MATRIX and dz in x.args:
        (other,) = (c for c in x.args if c is not dz)
        return _short(expression(other, called, top=False))
    above, below = factors(x)
    negative = False
    if minus := next((c for c in above if c is not dz and is_call(c, np.negative)), None):
        above[above.index(minus)], negative = minus.args[0], True
    if above.count(dz) != 1 or any(dz in _within(c) for c in (*above, *below) if c is not dz):
        return ""
    above.remove(dz)
    product: Any = 1
    for factor in above:
        product = factor if product == 1 else call_of(np.multiply, product, factor)
    if negative:
        product = -product if product == 1 else call_of(np.negative, product)
    for factor in below:
        product = call_of(np.divide, product, factor)
    return _short(expression(product, called, top=False))


def _within(x: Any) -> list[Call]:
    return toposort([x]) if isinstance(x, Call) else []


def _short(text: str) -> str:
    """The formula as one writes it: ``1 - A1²`` for ``1 - A1**2``, ``W2ᵀ`` for ``W2.T``."""
    for code, written in ((" ** 2", "²"), ("**2", "²"), (".T", "ᵀ"), ("np.", ""), (" * ", " ")):
        text = text.replace(code, written)
    return text if len(text) <= LONGEST else ""
