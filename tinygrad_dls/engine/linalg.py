"""Linear algebra: `np.einsum`, norms, and what is solved, inverted and factored.

The rules are for matrices, and for stacks of them: axes before the last two are batches, as in NumPy. Sources: Giles
(2008), *Collected matrix derivative results for forward and reverse mode algorithmic differentiation*; for the Cholesky
factor, Murray (2016), *Differentiation of the Cholesky decomposition*, section 3.
"""

from __future__ import annotations

from string import ascii_lowercase, ascii_uppercase
from typing import Any

import numpy as np

from tinygrad_dls.engine.arrays import Array, as_array, single_inside
from tinygrad_dls.engine.autodiff import op
from tinygrad_dls.engine.composed import diagonal
from tinygrad_dls.engine.errors import shown
from tinygrad_dls.engine.matrices import SlogdetResult, cofactors
from tinygrad_dls.engine.ops import abs, max, min, power, sum
from tinygrad_dls.engine.tensor import Rule, implements, values

__all__ = ["cholesky", "det", "einsum", "inv", "norm", "slogdet", "solve"]


def _t(a: Array) -> Array:
    """The transposes of the matrices."""
    return np.swapaxes(a, -1, -2)


def _spread(z: Array) -> Array:
    """A number for each of the matrices, with axes for its rows and columns."""
    return np.expand_dims(z, (-2, -1))


# -- sums of products -------------------------------------------------------------------------------------------------


@implements(np.einsum)
def einsum(subscripts: str, *operands: Any, **options: Any) -> Any:
    """Einstein's sums: products of the operands, summed over the letters that the result does not have."""
    if unknown := sorted(options.keys() - {"optimize"}):
        raise TypeError(f"np.einsum: the keyword {unknown[0]} is not supported on a Tensor.")
    if not isinstance(subscripts, str):
        raise TypeError(f"np.einsum: on Tensors, the subscripts are text such as 'ij,jk->ik', got {shown(subscripts)}.")
    operands = tuple(as_array(x, "np.einsum: an operand") for x in operands)
    inputs, output = _letters(subscripts, [x.ndim for x in operands])
    for i, letters in enumerate(inputs):
        while len(set(inputs[i])) < len(inputs[i]):  # ii: of the entries on the diagonal only
            letters = inputs[i]
            twice = next(letter for letter in letters if letters.count(letter) > 1)
            first, second = [k for k, letter in enumerate(letters) if letter == twice][:2]
            if operands[i].shape[first] != operands[i].shape[second]:
                raise ValueError(
                    f"np.einsum: {twice!r} is {operands[i].shape[first]} and {operands[i].shape[second]} long."
                )
            operands = (*operands[:i], diagonal(operands[i], 0, first, second), *operands[i + 1 :])
            rest = "".join(letter for k, letter in enumerate(letters) if k not in (first, second))
            inputs[i] = rest + twice
    return _einsum(*operands, spelled=f"{','.join(inputs)}->{output}")


def _letters(subscripts: str, ndims: list[int]) -> tuple[list[str], str]:
    """The letters of the operands and of the result, with letters for the dots and for a result that is not said."""
    left, arrow, right = subscripts.replace(" ", "").partition("->")
    inputs = left.split(",")
    if len(inputs) != len(ndims):
        raise ValueError(f"np.einsum: {subscripts!r} is for {len(inputs)} operands; there are {len(ndims)}.")
    free = [letter for letter in ascii_uppercase + ascii_lowercase if letter not in subscripts]
    dots = [
        ndim - len(text.replace("...", "")) if "..." in text else 0 for text, ndim in zip(inputs, ndims, strict=True)
    ]
    most = "".join(free[: sorted(dots)[-1]])
    spelled = [text.replace("...", most[len(most) - n :]) for text, n in zip(inputs, dots, strict=True)]
    if not arrow:
        together = "".join(spelled)
        right = "..." * bool(most) + "".join(
            sorted(x for x in set(together) if together.count(x) == 1 and x not in most)
        )
    return spelled, right.replace("...", most)


@op()
def _einsum(*operands: Array, spelled: str) -> Rule:
    """The gradient of each is an Einstein sum of ``dz`` and the others; ones stand for axes that only it is long in."""
    left, _, output = spelled.partition("->")
    inputs = left.split(",")
    z = np.einsum(spelled, *operands)

    def of(k: int) -> Any:
        def dx(dz: Array) -> Array:
            terms = [(output, dz), *((inputs[i], x) for i, x in enumerate(operands) if i != k)]
            there = {pair for letters, x in terms for pair in zip(letters, np.shape(x), strict=True)}
            own = zip(inputs[k], np.shape(operands[k]), strict=True)
            if alone := dict(pair for pair in own if pair not in there):
                terms.append(("".join(alone), np.ones_like(values(dz), shape=tuple(alone.values()))))
            spelled = ",".join(letters for letters, _ in terms)
            return np.einsum(f"{spelled}->{inputs[k]}", *(x for _, x in terms))  # the engine un-broadcasts

        return dx

    return z, tuple(map(of, range(len(operands))))


# -- norms ------------------------------------------------------------------------------------------------------------


@implements(np.linalg.norm)
def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    """A norm of vectors: of the entries along an axis, or of all. Of matrices, Frobenius' norm."""
    x = as_array(x, "np.linalg.norm")
    axes = x.ndim if axis is None else np.size(axis)
    usual = {1: 2, 2: "fro"}.get(axes)  # of vectors, and of matrices: the root of the sum of squares
    if ord is None or ord == usual:
        return _norm(x, axis=axis, keepdims=keepdims)
    if usual is None:
        raise ValueError(f"np.linalg.norm: ord={ord!r} is of vectors or matrices, and not of {axes} axes.")
    if usual == "fro":
        raise TypeError(
            f"np.linalg.norm: ord={ord!r} of matrices is not differentiated; ord='fro' is, and vectors' are."
        )
    if isinstance(ord, str):
        raise ValueError(f"np.linalg.norm: ord={ord!r} is of matrices, and not of vectors.")
    if extreme := {np.inf: max, -np.inf: min}.get(ord):
        return extreme(abs(x), axis, keepdims=keepdims)
    if ord == 1:
        return sum(abs(x), axis, keepdims=keepdims)
    if ord == 0:
        raise TypeError("np.linalg.norm: ord=0 counts entries, and has no gradient. Apply it to tensor.data.")
    return power(sum(power(abs(x), ord), axis, keepdims=keepdims), 1 / ord)


@op()
@single_inside
def _norm(x: Array, *, axis: Any, keepdims: bool) -> Rule:
    """The root of the sum of squares: ``dz/dx = x / z``, and 0 where z is."""
    z = np.linalg.norm(x, axis=axis, keepdims=keepdims)

    def dx(dz: Array) -> Array:
        kept = np.linalg.norm(x, axis=axis, keepdims=True)
        if axis is None and not keepdims:
            dz = dz.reshape((1,) * x.ndim)
        elif not keepdims:
            dz = np.expand_dims(dz, axis)
        return dz * (x / np.where(values(kept) == 0, 1, kept))

    return z, (dx,)


# -- solved, inverted, factored ---------------------------------------------------------------------------------------


@op(np.linalg.solve)
def solve(a: Array, b: Array) -> Rule:
    """``x`` with ``a x = b``: ``db`` solves ``a^T db = dx``, and ``da = -db x^T``.

    As in NumPy, b is a vector if it has one axis, and else a matrix, of which each column is solved for.
    """
    x = np.linalg.solve(a, b)

    def db(dx: Array) -> Array:
        return np.linalg.solve(_t(a), dx)

    def da(dx: Array) -> Array:
        d = db(dx)
        return -(d[..., :, None] * x[..., None, :]) if b.ndim == 1 else -(d @ _t(x))

    return x, (da, db)


@op(np.linalg.inv)
def inv(a: Array) -> Rule:
    """The inverse ``z``: ``da = -z^T dz z^T``."""
    z = np.linalg.inv(a)
    return z, (lambda dz: -(_t(z) @ dz @ _t(z)),)


@op(np.linalg.det)
def det(a: Array) -> Rule:
    """The determinant: ``da = dz z a^{-T}``, which are the cofactors; at a singular matrix, these one by one."""
    z = np.linalg.det(a)

    def da(dz: Array) -> Array:
        try:
            inverse = np.linalg.inv(a)
        except ValueError:  # NumPy's LinAlgError is one
            return _spread(dz) * cofactors(a)
        return _spread(dz * z) * _t(inverse)

    return z, (da,)


@implements(np.linalg.slogdet)
def slogdet(a: Any) -> SlogdetResult:
    """The sign of the determinant, which has no gradient, and its logarithm: ``da = dz a^{-T}``."""
    return SlogdetResult(np.linalg.slogdet(values(a))[0], _logabsdet(a))


@op()
def _logabsdet(a: Array) -> Rule:
    def da(dz: Array) -> Array:
        try:
            return _spread(dz) * _t(np.linalg.inv(a))
        except ValueError as error:
            raise ValueError(
                f"np.linalg.slogdet: a is {a.shape}, and singular: its logarithm is -inf, which has no gradient."
            ) from error

    return np.linalg.slogdet(a)[1], (da,)


@op(np.linalg.cholesky)
def cholesky(a: Array) -> Rule:
    """The lower factor ``L`` with ``a = L L^T``: ``da = L^{-T} phi(L^T dL) L^{-1}``, made symmetric.

    phi keeps what is below the diagonal, and half of what is on it. NumPy reads the lower triangle alone, so the
    gradient of an entry below the diagonal is that of both, and that above is 0.
    """
    L = np.linalg.cholesky(a)

    def da(dL: Array) -> Array:
        back = np.linalg.solve(_t(L), _lower(_t(L) @ dL))
        s = _t(np.linalg.solve(_t(L), _t(back)))
        return _lower(s + _t(s))

    return L, (da,)


def _lower(a: Array) -> Array:
    """What is below the diagonal, and half of what is on it."""
    return (np.tril(a) + np.tril(a, -1)) / 2
