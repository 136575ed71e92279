"""Calls of NumPy's further functions, by name: a function of a module, NumPy or JAX's, and of arrays; and these."""

import numpy as np

RNG = np.random.default_rng(3)


def reals(*shape):
    """At least 0.2 from 0, where some have kinks or poles."""
    return RNG.uniform(0.2, 2, shape) * RNG.choice([-1, 1], shape)


def inside(*shape):
    return RNG.uniform(0.1, 0.9, shape) * RNG.choice([-1, 1], shape)


def above(*shape):
    return RNG.uniform(1.1, 3, shape)


def distinct(*shape):
    return RNG.permutation(np.arange(np.prod(shape, dtype=int)) * 0.1 + 0.05).reshape(shape) - 0.4


def regular(*shape):
    """Matrices far from singular ones."""
    return RNG.normal(size=shape) + 3 * np.eye(shape[-1])


X, V = reals(2, 3), reals(3)
W = RNG.uniform(0.5, 2, (2, 3))
ORDER = np.array([[2, 0, 1], [1, 1, 0]])
# name: a function of a module, NumPy or JAX's, and of arrays; and these
CASES = {
    **{name: (lambda np, x, name=name: getattr(np, name)(x), [domain(2, 3)]) for name, domain in {
        "tan": inside, "arcsin": inside, "arccos": inside, "arctan": reals, "sinh": reals, "cosh": reals,
        "arcsinh": reals, "arccosh": above, "arctanh": inside, "exp2": reals, "log2": above, "log10": above,
        "reciprocal": reals, "positive": reals, "fabs": reals, "degrees": reals, "radians": reals, "deg2rad": reals,
        "rad2deg": reals, "sign": reals, "floor": reals, "ceil": reals, "trunc": reals, "rint": reals, "round": reals,
        "ravel": reals, "copy": reals, "nan_to_num": reals, "atleast_1d": reals, "atleast_2d": reals,
        "atleast_3d": reals, "flip": reals, "fliplr": reals, "flipud": reals, "diag": reals, "diagonal": reals,
        "trace": reals, "tril": reals, "triu": reals, "average": reals, "ptp": distinct, "diff": reals,
        "sort": distinct, "median": distinct, "cumprod": reals, "matrix_transpose": reals,
    }.items()},
    **{f"{name} of two": (lambda np, x, y, name=name: getattr(np, name)(x, y), [reals(2, 3), reals(3)]) for name in (
        "arctan2", "hypot", "logaddexp", "logaddexp2", "fmax", "fmin", "outer", "inner", "kron",
    )},
    "float_power": (lambda np, x, y: np.float_power(x, y), [above(2, 3), reals(3)]),
    "round to decimals": (lambda np, x: np.round(x, 1) * x, [X]),
    "vstack": (lambda np, x, v: np.vstack([x, v]), [X, V]),
    "hstack": (lambda np, x, y: np.hstack([x, y]), [X, reals(2, 2)]),
    "hstack of one": (lambda np, x: np.hstack([x]), [X]),
    "hstack of vectors": (lambda np, x, y: np.hstack([x, y]), [V, reals(2)]),
    "dstack": (lambda np, x, y: np.dstack([x, y]), [X, W]),
    "column_stack": (lambda np, x, v: np.column_stack([x, v]), [X, reals(2)]),
    "atleast_3d of a vector": (lambda np, v: np.atleast_3d(v), [V]),
    "atleast_3d of a stack": (lambda np, x: np.atleast_3d(x), [reals(2, 3, 2)]),
    "atleast_3d of a number": (lambda np, v: np.atleast_3d(v), [reals()]),
    "atleast_1d of a number": (lambda np, v: np.atleast_1d(v), [reals()]),
    "matrix_transpose of a stack": (lambda np, x: np.matrix_transpose(x), [reals(2, 3, 4)]),
    "atleast_2d of a number": (lambda np, v: np.atleast_2d(v), [reals()]),
    "atleast_2d of two": (lambda np, v, x: np.atleast_2d(v, x)[0] * 2, [V, X]),
    "moveaxis": (lambda np, x: np.moveaxis(x, 0, -1), [reals(2, 3, 4)]),
    "moveaxis of two": (lambda np, x: np.moveaxis(x, (0, 2), (2, 1)), [reals(2, 3, 4)]),
    "flip of axes": (lambda np, x: np.flip(x, (0, -1)), [reals(2, 3, 2)]),
    "roll": (lambda np, x: np.roll(x, 2), [X]),
    "roll along axes": (lambda np, x: np.roll(x, (1, -4), (0, 1)), [X]),
    "roll along an axis twice": (lambda np, x: np.roll(x, (1, 1), (1, -1)), [X]),
    "roll along one axis by several": (lambda np, x: np.roll(x, (1, 1), axis=1), [X]),
    "roll along axes by one": (lambda np, x: np.roll(x, 1, axis=(0, 1)), [X]),
    "roll along -1": (lambda np, x: np.roll(x, 1, axis=-1), [X]),
    "tile": (lambda np, x: np.tile(x, (2, 1, 3)), [X]),
    "tile a number of times": (lambda np, x: np.tile(x, 2), [X]),
    "repeat": (lambda np, x: np.repeat(x, 2), [X]),
    "repeat along 1": (lambda np, x: np.repeat(x, 3, axis=1), [X]),
    "repeat by counts": (lambda np, x: np.repeat(x, np.array([1, 0, 2]), axis=1), [X]),
    "split": (lambda np, x: np.split(x, 3, axis=1)[1], [X]),
    "split at places": (lambda np, x: np.split(x, [1, 2], axis=-1)[2], [X]),
    "array_split": (lambda np, x: np.array_split(x, 2, axis=1)[0], [X]),
    "array_split into others": (lambda np, x: np.array_split(x, 3, axis=1)[1], [reals(2, 5)]),
    "array_split, the last": (lambda np, x: np.array_split(x, 3)[2], [reals(5, 2)]),
    "split, the last": (lambda np, x: np.split(x, 2)[1], [reals(4, 3)]),
    "hsplit of a vector": (lambda np, v: np.hsplit(v, 3)[1], [V]),
    "hsplit of a stack": (lambda np, x: np.hsplit(x, 2)[1], [reals(3, 2, 2)]),
    "hsplit": (lambda np, x: np.hsplit(x, 3)[0], [X]), "vsplit": (lambda np, x: np.vsplit(x, 2)[1], [X]),
    **{f"pad {mode}": (lambda np, x, mode=mode: np.pad(x, ((1, 0), (2, 1)), mode=mode), [reals(3, 4)])
       for mode in ("constant", "edge", "reflect", "symmetric", "wrap")},
    "pad behind": (lambda np, x: np.pad(x, ((0, 2), (0, 0))), [X]),
    "pad with values of each side": (lambda np, x: np.pad(x, 1, constant_values=((1.0, 2.0), (3.0, 4.0))), [X]),
    "pad along 1": (lambda np, x: np.pad(x, ((0, 0), (1, 2))), [X]),
    "pad with values": (lambda np, x: np.pad(x, 1, constant_values=2.0), [X]),
    "take": (lambda np, x: np.take(x, np.array([0, 5, 0])), [X]),
    "take along 1": (lambda np, x: np.take(x, np.array([[0, 2], [2, 2]]), axis=1), [X]),
    "take_along_axis": (lambda np, x: np.take_along_axis(x, ORDER, axis=1), [X]),
    "take_along_axis, one for all": (lambda np, x: np.take_along_axis(x, np.asarray([[1], [0]])[:1], axis=0), [X]),
    "take_along_axis of all": (lambda np, x: np.take_along_axis(x, np.array([0, 5, 0]), axis=None), [X]),
    "take_along_axis 0": (lambda np, x: np.take_along_axis(x, ORDER % 2, axis=0), [X]),
    "diag of a vector": (lambda np, v: np.diag(v), [V]), "diag above": (lambda np, v: np.diag(v, 2), [V]),
    "diag below": (lambda np, v: np.diag(v, -1), [V]), "diag of a matrix, above": (lambda np, x: np.diag(x, 1), [X]),
    "diagonal beyond the corner": (lambda np, x: np.diagonal(x, 4), [X]),
    "diagonal below": (lambda np, x: np.diagonal(x, -1), [X]),
    "diagonal of a stack, above": (lambda np, x: np.diagonal(x, 1, 1, 2), [reals(2, 3, 4)]),
    "diagonal of a stack": (lambda np, x: np.diagonal(x, -1, 1, 2), [reals(2, 3, 3)]),
    "trace of a stack": (lambda np, x: np.trace(x, 1, 0, 2), [reals(3, 2, 3)]),
    "tril of a stack": (lambda np, x: np.tril(x, 1), [reals(2, 3, 4)]),
    "triu of a stack": (lambda np, x: np.triu(x, 1), [reals(2, 3, 4)]),
    "triu below": (lambda np, x: np.triu(x, -1), [reals(3, 3)]),
    "average with weights": (lambda np, x, w: np.average(x, axis=0, weights=w), [X, W]),
    "average with weights of an axis": (lambda np, x, w: np.average(x, axis=1, weights=w), [X, W[0]]),
    "average with weights of axis 0": (lambda np, x, w: np.average(x, axis=0, weights=w), [X, W[0, :2]]),
    "average with weights of axis -2": (lambda np, x, w: np.average(x, axis=-2, weights=w), [reals(2, 3, 2), W[0]]),
    "ptp along 1": (lambda np, x: np.ptp(x, axis=1), [distinct(2, 3)]),
    "diff twice along 0": (lambda np, x: np.diff(x, n=2, axis=0), [reals(4, 2)]),
    "diff of a stack": (lambda np, x: np.diff(x), [reals(2, 2, 3)]),
    "sort of a stack": (lambda np, x: np.sort(x), [distinct(2, 2, 3)]),
    "sort along 0": (lambda np, x: np.sort(x, axis=0), [distinct(3, 2)]),
    "sort flattened": (lambda np, x: np.sort(x, axis=None), [distinct(3, 2)]),
    "median along 1": (lambda np, x: np.median(x, axis=1), [distinct(2, 4)]),
    "median of three": (lambda np, x: np.median(x), [distinct(3)]),
    "median of a stack along 0": (lambda np, x: np.median(x, axis=0), [distinct(3, 2, 2)]),
    "median kept": (lambda np, x: np.median(x, axis=(0, 2), keepdims=True), [distinct(2, 3, 2)]),
    "cumprod along 1": (lambda np, x: np.cumprod(x, axis=1), [X]),
    "cumprod with a zero": (lambda np, x: np.cumprod(x), [np.array([2.0, 0.0, 3.0, -1.5])]),
    "tensordot": (lambda np, a, b: np.tensordot(a, b), [reals(2, 3, 4), reals(3, 4, 2)]),
    "tensordot over axes": (lambda np, a, b: np.tensordot(a, b, axes=([0, 2], [1, 0])), [reals(2, 3, 4), reals(4, 2)]),
    "tensordot of no axes": (lambda np, a, b: np.tensordot(a, b, axes=0), [V, reals(2)]),
    "inner of matrices": (lambda np, a, b: np.inner(a, b), [reals(2, 3), reals(4, 3)]),
    "inner of stacks": (lambda np, a, b: np.inner(a, b), [reals(2, 2, 3), reals(4, 2, 3)]),
    "inner with a number": (lambda np, a, b: np.inner(a, b), [X, reals()]),
    "vdot": (lambda np, a, b: np.vdot(a, b), [reals(2, 3), reals(2, 3)]),
    "kron of matrices": (lambda np, a, b: np.kron(a, b), [reals(2, 3), reals(2, 2)]),
    **{f"einsum {spelled}": (lambda np, *xs, spelled=spelled: np.einsum(spelled, *xs), [reals(*s) for s in shapes])
       for spelled, shapes in {
        "ij,jk->ik": ((2, 3), (3, 4)), "ij,jk": ((2, 3), (3, 4)), "ii->i": ((3, 3),), "ii": ((3, 3),),
        "ij->ji": ((2, 3),), "ij->": ((2, 3),), "ij->j": ((2, 3),), "bij,bjk->bik": ((2, 2, 3), (2, 3, 2)),
        "...ij,...jk->...ik": ((2, 2, 3), (2, 3, 2)), "i,j,k->kij": ((2,), (3,), (2,)), "ij,ij,ij->i": ((2, 3),) * 3,
        "i,i": ((3,), (3,)), "iij,j->i": ((2, 2, 3), (3,)), "ij,k->i": ((2, 3), (4,)), "...i->...": ((2, 3),),
        "iii->i": ((2, 2, 2),), "jii->j": ((2, 3, 3),), "ijj->i": ((2, 3, 3),), "i,i->i": ((3,), (1,)),
        "ij,jk,kl->il": ((2, 1), (3, 1), (4, 2)), "...i,i->...": ((2, 3), (3,)), "...i,...i": ((2, 3), (2, 3)),
        "j,iij->i": ((3,), (2, 2, 3)),
    }.items()},
    "norm": (lambda np, x: np.linalg.norm(x), [X]), "norm of a vector": (lambda np, v: np.linalg.norm(v), [V]),
    "norm along 0": (lambda np, x: np.linalg.norm(x, axis=0, keepdims=True), [X]),
    "norm of rows": (lambda np, x: np.linalg.norm(x, axis=1), [X]),
    "norm fro": (lambda np, x: np.linalg.norm(x, "fro"), [X]),
    "norm of matrices": (lambda np, x: np.linalg.norm(x, axis=(0, 2)), [reals(2, 3, 2)]),
    **{f"norm {o} of a vector": (lambda np, v, o=o: np.linalg.norm(v, o), [distinct(5)])
       for o in (1, 2, 3, -1, -2.5, np.inf, -np.inf)},
    "norm fro of matrices": (lambda np, x: np.linalg.norm(x, "fro", axis=(2, 0)), [reals(2, 3, 2)]),
    "norm of all": (lambda np, x: np.linalg.norm(x), [reals(2, 3, 2)]),
    "norm 2 of rows by a tuple": (lambda np, x: np.linalg.norm(x, 2, axis=(1,)), [X]),
    "norm 2 of rows": (lambda np, x: np.linalg.norm(x, 2, axis=1, keepdims=True), [X]),
    "solve": (lambda np, a, b: np.linalg.solve(a, b), [regular(3, 3), reals(3, 2)]),
    "solve a vector": (lambda np, a, b: np.linalg.solve(a, b), [regular(3, 3), reals(3)]),
    "solve a stack": (lambda np, a, b: np.linalg.solve(a, b), [regular(2, 3, 3), reals(2, 3, 2)]),
    "inv": (lambda np, a: np.linalg.inv(a), [regular(3, 3)]), "inv of a stack": (
        lambda np, a: np.linalg.inv(a), [regular(2, 2, 2)]),
    "det": (lambda np, a: np.linalg.det(a), [regular(3, 3)]),
    "det of a stack": (lambda np, a: np.linalg.det(a), [regular(2, 3, 3)]),
    "slogdet": (lambda np, a: np.linalg.slogdet(a)[1], [regular(3, 3)]),
    "slogdet, with its sign": (lambda np, a: np.linalg.slogdet(a)[0] * a, [-regular(3, 3)]),
    "cholesky": (lambda np, a: np.linalg.cholesky(a @ a.T), [regular(3, 3)]),
    "cholesky of a stack": (lambda np, a: np.linalg.cholesky(a @ np.swapaxes(a, 1, 2)), [regular(2, 2, 2)]),
    "sum in a dtype": (lambda np, x: np.sum(x, dtype=np.float64), [X]),
    "sum with a start": (lambda np, x: np.sum(x, axis=1, initial=2.0), [X]),
    "sum of the chosen": (lambda np, x: np.sum(x, axis=0, where=X > 0), [X]),
    "mean of the chosen": (lambda np, x: np.mean(x, axis=0, where=W.max() > W, keepdims=True), [X]),
    "prod of the chosen": (lambda np, x: np.prod(x, where=X > 0), [X]),
    "max of the chosen": (lambda np, x: np.max(x, where=X > 0, initial=-9.0), [distinct(2, 3)]),
    "max of axes": (lambda np, x: np.max(x, axis=(0, 1)), [distinct(2, 3)]),
    "min with a start": (lambda np, x: np.min(x, initial=9.0), [distinct(2, 3)]),
}  # fmt: skip
