"""Mistakes in the operation between right arrays: a transpose, an axis, another sort of product, a loop's bounds."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tinygrad_dls.check.causes import HANDED_ON, Step, Variant, cause
from tinygrad_dls.check.mistakes.steps import another, columns, either_scale, masked, slope, times, units
from tinygrad_dls.engine.arrays import Array


@cause("a transpose is missing", "Z dA dZ dW db")
def _transpose(s: Step) -> Iterator[Array]:
    """The transposes go with the shapes: dW = dZ A_prev.T is (n, n_prev), dA_prev = W.T dZ is (n_prev, m)."""
    if s.kind == "Z":
        if s.W.shape[0] == s.W.shape[1]:
            yield s.W.T @ s.A_prev + s.b
        if s.A_prev.shape[0] == s.m:
            yield s.W @ s.A_prev.T + s.b
        return
    yield s.expected.T
    if s.kind == "dW" and s.m == s.A_prev.shape[0]:
        yield s.dZ @ s.A_prev
    if s.kind == "dA" and not s.last and s.W_next.shape[0] == s.W_next.shape[1]:
        yield masked(s, s.W_next @ s.dZ_next)


@cause("keepdims=True is missing", "db")
def _keepdims(s: Step) -> Array:
    """The numbers are right, the shape is (n,): it would broadcast along the wrong axis. Sum with keepdims=True."""
    return s.expected[:, 0]


@cause("axis=0 for axis=1", "db")
def _wrong_axis(s: Step) -> list[Array]:
    """It is the sum over the units. Examples are columns, so the sum over them is np.sum(dZ, axis=1, keepdims=True)."""
    sums = s.dZ.sum(axis=0, keepdims=True)
    if np.all(np.abs(sums) <= 1e-12 * np.abs(s.dZ).sum(axis=0)):  # as of a softmax: this is rounding
        return []
    return [sums, sums[0], sums.T, s.m * sums, s.m * sums[0]]


@cause("axis=1 is missing, so the whole array is summed", "db")
def _whole_sum(s: Step) -> list[Array] | None:
    """Each unit has its own b, and the sum of its own row: np.sum(dZ, axis=1, keepdims=True)."""
    n, total = s.expected.size, s.dZ.sum()
    if np.abs(total) <= 1e-12 * np.abs(s.dZ).sum():  # as of a softmax, whose dZ add up to 0: this is rounding
        return None
    # by np.sum, and by np.mean of dZ without and with its 1/m; by np.sum without the 1/m
    sums = (total, total / n, total / n / s.m, total * s.m)
    return [np.full(shape, x) for x in sums for shape in ((), (1, 1), s.expected.shape)] if n > 1 else None


@cause("the sum over the examples is missing", "db")
def _no_sum(s: Step) -> Iterator[Variant]:
    """Every example uses b, so its gradient is the sum of dZ over them: np.sum(dZ, axis=1, keepdims=True)."""
    yield from either_scale(s, s.dZ * s.m)


@cause("db from dW", "db")
def _db_from_dw(s: Step) -> Iterator[Array]:
    """The gradient of b is a sum of dZ over the examples. The array dW has been summed over them already."""
    dW = s.arrays[f"dW{s.layer}"]
    for scale in (1, s.m, 1 / s.m):
        yield dW.sum(axis=1, keepdims=True) * scale
        yield dW.mean(axis=1, keepdims=True) * scale
        if dW.shape[0] > 1:
            yield dW.sum() * scale


@cause("an entry-wise product for a matrix product", "dW dA Z")
def _entry_wise(s: Step) -> Iterator[Array]:
    """The product in Z, dW and dA is np.dot (or @), which sums; * and np.multiply do not."""
    if s.kind == "Z":
        if len(s.W) == 1:
            yield s.W.T * s.A_prev + s.b
        return
    pairs = [(s.dZ, s.A_prev)] if s.kind == "dW" else [] if s.last else [(s.W_next.T, s.dZ_next), (s.W_next, s.dZ_next)]
    for one, other in pairs:
        product = times(one, other)
        if product is None:
            continue
        yield masked(s, product) if s.kind == "dA" else product
        if s.kind == "dW":
            yield product.T
            yield product.sum()
            if len(s.dZ) > 1:  # of one unit, the sum along the examples is right but for its shape
                yield product.sum(axis=1, keepdims=True)


@cause("the product of the sums for the sum of the products", "dW")
def _product_of_sums(s: Step) -> Iterator[Array]:
    """Each example's dZ goes with its own A_prev: sum their products, as dZ A_prev.T does, not each of the two."""
    product = s.dZ.sum(axis=1, keepdims=True) * s.A_prev.sum(axis=1)
    yield from (product, product / s.m, product * s.m)


@cause("one example for all", "dW db")
def _one_example(s: Step) -> Iterator[Variant]:
    """The sum goes over all the examples: no index of one is left over, and a loop adds with +=."""
    alike = s.kind == "db" and np.ptp(np.abs(s.dZ)) <= 1e-12 * np.abs(s.dZ).max()  # as at weights of zero
    if alike or s.m < 3:
        return
    for which, at in (("the first", 0), ("the last", -1)):
        for scale in (1, s.m):
            one = {"dZ": scale * columns(s.dZ, at)} | ({"A_prev": columns(s.A_prev, at)} if s.kind == "dW" else {})
            yield from another(s, which, **one)


@cause("an example is missing", "dA dZ dW db")
def _one_missing(s: Step) -> Iterator[Variant]:
    """A loop over all the examples is range(m), which is 0 to m - 1."""
    for which, at in (("the first", 0), ("the last", -1)):
        if s.kind in HANDED_ON:
            rest = s.expected.copy()
            rest[:, at] = 0
            yield Variant(rest, which)
        elif s.m > 2:
            keep = np.delete(np.arange(s.m), at)
            others = {"dZ": columns(s.dZ, *keep)} | ({"A_prev": columns(s.A_prev, *keep)} if s.kind == "dW" else {})
            yield from another(s, which, **others)


@cause("a loop that fills a part", "Z A dA dZ dW db", free=True)
def _filled_in_part(s: Step) -> Variant | None:
    """What is there is right, and the rest is still 0: range(n) is 0 to n - 1, and range(n - 1) or range(1, n) less."""
    if s.got is None or s.got.shape != s.expected.shape or not np.any(s.got):
        return None
    array, said = s.expected.copy(), []
    for axis, what in ((0, "row"), (1, "column")):
        filled = np.flatnonzero(np.any(s.got, axis=1 - axis))
        first, last, n = int(filled[0]), int(filled[-1]), s.got.shape[axis]
        left = [*range(first), *range(last + 1, n)]
        if np.any(np.take(s.expected, left, axis=axis)):
            if first > 0:
                said.append(f"from {what} {first} on")
            if last < n - 1:
                said.append(f"up to {what} {last} of 0 to {n - 1}")
            array[(slice(None),) * axis + (left,)] = 0
    return Variant(array, ", ".join(said)) if said and np.count_nonzero(s.got) > 2 else None


@cause("a matrix product for an entry-wise one", "dZ")
def _matrix_product(s: Step) -> Iterator[Array]:
    """The activation acts on each entry by itself, so its derivative is multiplied entry by entry, with * and **."""
    dA, A = s.dA, units(s)
    # dA (A.T A) is computed as (dA A.T) A, without an array of (m, m)
    if s.activation == "tanh":
        yield dA.sum(axis=1, keepdims=True) - (dA @ A.T) @ A
        yield (1 - A @ A.T) @ dA
    elif s.activation == "sigmoid":
        yield (dA @ A.T) @ (1 - A)
        yield (A @ (1 - A).T) @ dA
    g = slope(s)
    if g is not None and np.ptp(g) > 0:
        yield dA @ g.T
        yield g @ dA.T
        if s.got is not None and s.got.shape == (s.m, s.m):
            yield dA.T @ g
            yield g.T @ dA
