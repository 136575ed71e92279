"""Augmented weights: ``[W b]`` times A with a row of ones is one product for Z, and one for dW and db."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from tinygrad_dls.compiler.draft import Draft
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


def augment(draft: Draft) -> tuple[Draft, str]:
    """Put the bias b beside the weights W, where A has a row of ones below: one product for Z, and one for dW and db.

    The draft's `partners` are by weights the biases that are to stand beside them.
    """
    m = draft.examples
    found = toposort(draft.outputs)
    own, given = set(draft.parameters), set(draft.data)
    dw: dict[Any, list[Call]] = {}  # products dZ A^T, by A
    db: dict[Any, list[Call]] = {}  # sums of dZ, by dZ
    for call in (c for c in found if is_call(c, np.dot)):
        if is_transpose(call.args[1]):
            dw.setdefault(call.args[1].args[0], []).append(call)
        elif is_call(call.args[1], np.ones):
            db.setdefault(call.args[0], []).append(call)
    replaced: dict[Call, Call] = {}
    partners: dict[Call, Call] = {}
    taken: set[Call] = set()
    for z in found:
        layer = _layer(z, own)
        if layer is None or not taken.isdisjoint(layer[1:]):
            continue
        a, w, b = layer
        n, k = w.shape
        if not _may_have_ones(a, z, given, m) or (m and (k + 1) % m == 0):  # it would look like a number of examples
            continue
        of_w = [x for x in dw.get(a, ()) if x.shape == w.shape]
        both = [(x, y) for x in of_w for y in db.get(x.args[0], ()) if y.shape == b.shape]
        if len(both) != 1:
            continue
        partners[w] = b
        taken |= {w, b}
        ((weights, biases),) = both
        above = Call(append_ones, (a,), {}, (k + 1, a.shape[1]), a.dtype, f"{a.name}_with_1" if a.name else "")
        wb = Call(append_bias, (w, b), {}, (n, k + 1), w.dtype, f"{w.name}{b.name}")
        replaced[z] = like(z, np.dot, wb, above)
        dwb = Call(np.dot, (weights.args[0], transpose(above)), {}, wb.shape, w.dtype, f"d{wb.name}")
        replaced[weights] = Call(getitem, (dwb, (slice(None), slice(None, k))), {}, w.shape, w.dtype)
        replaced[biases] = Call(getitem, (dwb, (slice(None), slice(k, None))), {}, b.shape, b.dtype)
    return replace(draft, outputs=substitute(draft.outputs, replaced), partners=partners), _told(partners)


def _told(partners: dict[Call, Call]) -> str:
    """Which layers have augmented weights, in words."""
    if not partners:
        return ""
    names = ", ".join(f"{w.name}{b.name}" for w, b in partners.items())
    return (
        f"W and b side by side, times A with a row of ones, in {len(partners)} layer{'s' if len(partners) > 1 else ''} "
        f"({names}): one product for Z, one for dW and db."
    )


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
