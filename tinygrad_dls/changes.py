"""Changes in place: arrays that a caller could write into between the forward pass and `backward`.

Rules keep the arrays that they were given, and a change in place would spoil their gradients in silence. A Tensor's
array is safe as long as no caller can reach it: optimizers replace arrays. Once `Tensor.data` hands it out, or where a
caller's own array is an operand, a fingerprint is kept, and compared before the products run.
"""

from __future__ import annotations

import functools
import math
from typing import Any, TypeAlias

from tinygrad_dls.arrays import Array, called, role

EXACT = 8192  # bytes: up to here, comparing all of them costs no more than comparing a sample

Watched: TypeAlias = tuple[tuple[Array, Array, bytes], ...]  # arrays that a caller could change, samples, their bytes


class Lent:
    """An array in a caller's hands, and its fingerprint when it got there."""

    __slots__ = ("array", "before")

    def __init__(self, array: Array) -> None:
        self.array, self.before = array, fingerprint(array)


def lent(array: Array) -> Lent | None:
    """Note that a caller holds the array; None for what cannot be changed."""
    return Lent(array) if getattr(getattr(array, "flags", None), "writeable", False) else None


def watched(reachable: Any) -> Watched:
    """What to compare before the backward pass: each array of a linked list, or a sample of it, and its bytes now."""
    found: Watched = ()
    while reachable is not None:
        array, reachable = reachable
        sample = array if array.nbytes <= EXACT else sampled(array)
        found += ((array, sample, sample.tobytes()),)
    return found


def refuse_changed(node: Any, x: Any) -> None:
    """Raise if the array of x, a node or one of its inputs, was changed since it was lent, after the node was made."""
    lent = x._lent
    compared = any(array is lent.array for array, _, _ in node._origin[4])  # with what it was when the node was made
    if not compared and fingerprint(lent.array) != lent.before:
        raise changed_in_place(node, x)


def changed_in_place(node: Any, changed: Any) -> RuntimeError:
    """The error for the result or an argument of a node, a Tensor or its array, that was changed after it was used."""
    places = [node, *node.inputs]
    position = next(i for i, x in enumerate(places) if x is changed or getattr(x, "_value", None) is changed)
    what = role(places[position], position) if position else called(node.name)
    place = f"argument {position} of {node.op.__name__}" if position else f"the result of {node.op.__name__}"
    gave = f", which gave {node.name}" if position and node.name else ""
    return RuntimeError(
        f"backward: {what} ({place}{gave}) was changed in place after the forward pass, and its gradients depend on "
        "the old values. Compute the cost again after the change, or change a copy."
    )


def memory(array: Array) -> Any:
    """The array that owns the memory."""
    base = getattr(array, "base", None)
    return array if base is None else base


def fingerprint(array: Array) -> bytes:
    """Bytes that tell whether an array was changed in place: all of a small one, those of a sample of a large one."""
    return (array if array.nbytes <= EXACT else sampled(array)).tobytes()  # type: ignore[no-any-return]


def sampled(array: Array) -> Array:
    """A view of about 256 entries, spread over the array.

    A new batch in the same buffer, or any other change of the whole, shows in it; that of a few entries may not.
    """
    if array.flags.forc:
        return array.ravel(order="K")[:: array.size // 256 | 1]  # an odd step meets every row and column in turn
    return array[_spread(array.shape)]


@functools.lru_cache(maxsize=1024)
def _spread(shape: tuple[int, ...]) -> tuple[slice, ...]:
    """Slices that take about 256 entries: of the longest axis as few as that allows, then of the next."""
    step, slices = max(1, math.prod(shape) // 256), [slice(None)] * len(shape)
    for axis in sorted(range(len(shape)), key=shape.__getitem__, reverse=True):
        slices[axis] = slice(None, None, min(step, shape[axis]))
        step = max(1, step // shape[axis])
    return tuple(slices)
