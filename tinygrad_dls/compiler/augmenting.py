"""Augmented weights: ``[W b]`` times A with a row of ones is one product for Z, and one for dW and db."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tinygrad_dls.engine.arrays import Array
from tinygrad_dls.ir.call import Call, getitem, is_call, is_transpose, like, substitute, toposort, transpose

__all__ = ["append_bias", "append_ones", "augment"]

CHEAP_COPY = 2  # rows of X for each row of Z, up to which a copy of X costs less than adding b and summing dZ do


def append_ones(x: Array) -> Array:
    """The rows of x, and a row of ones: what ``[W b]`` is multiplied by."""
    return np.concatenate([x, np.ones((1, x.shape[1]), x.dtype)])


def append_bias(w: Array, b: Array) -> Array:
    """``[W b]``: the weights, and the bias as one more column."""
    return np.concatenate([w, b], axis=1)


def augment(
    outputs: Sequence[Call], parameters: Iterable[Call], data: Iterable[Call], m: int | None
) -> tuple[list[Call], dict[Call, Call]]:
    """Put the bias b beside the weights W, where A has a row of ones below: one product for Z, and one for dW and db.

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
    partners : dict of Call to Call
        By weights, the biases that are to stand beside them.
    """
    found = toposort(outputs)
    products = [c for c in found if is_call(c, np.dot)]
    own, given = set(parameters), set(data)
    replaced: dict[Call, Call] = {}
    partners: dict[Call, Call] = {}
    for z in found:
        layer = _layer(z, own)
        if layer is None or {*layer[1:]} & {*partners, *partners.values()}:
            continue
        a, w, b = layer
        n, k = w.shape
        if not _may_have_ones(a, z, given, m) or (m and (k + 1) % m == 0):  # it would look like a number of examples
            continue
        dw = [c for c in products if c.shape == w.shape and _is_transpose_of(a, c.args[1])]
        db = [c for c in products if c.shape == b.shape and is_call(c.args[1], np.ones)]
        both = [(x, y) for x in dw for y in db if x.args[0] is y.args[0]]
        if len(both) != 1:
            continue
        partners[w] = b
        ((weights, biases),) = both
        above = Call(append_ones, (a,), {}, (k + 1, a.shape[1]), a.dtype, f"{a.name}_with_1" if a.name else "")
        wb = Call(append_bias, (w, b), {}, (n, k + 1), w.dtype, f"{w.name}{b.name}")
        replaced[z] = like(z, np.dot, wb, above)
        dwb = Call(np.dot, (weights.args[0], transpose(above)), {}, wb.shape, w.dtype, f"d{wb.name}")
        replaced[weights] = Call(getitem, (dwb, (slice(None), slice(None, k))), {}, w.shape, w.dtype)
        replaced[biases] = Call(getitem, (dwb, (slice(None), slice(k, None))), {}, b.shape, b.dtype)
    return substitute(outputs, replaced), partners


def _layer(z: Call, own: set[Call]) -> tuple[Call, Call, Call] | None:
    """The A, W and b of ``W A + b``, all of one dtype."""
    if is_call(z, np.add) and is_call(z.args[0], np.dot) and isinstance(z.args[1], Call) and z.args[1] in own:
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


def _is_transpose_of(a: Call, x: Any) -> bool:
    return is_transpose(x) and x.args[0] is a
