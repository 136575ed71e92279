"""Every op in single cases, a name for each: the op, and the arrays that it is given."""

import inspect

import numpy as np

import tinygrad_dls as tg
from tinygrad_dls.engine import ops

RNG = np.random.default_rng(7)


def public_ops():
    """The names of the public ops and losses; `fused_loss` makes such, and is none."""
    homes = {"tinygrad_dls.engine.ops", "tinygrad_dls.nn.losses"}
    return {name for name in tg.__all__ if inspect.getmodule(getattr(tg, name)).__name__ in homes} - {"fused_loss"}


def away_from_zero(*shape):
    """Entries of both signs, at least 0.3 from the kink at 0 and from the poles of 1/x."""
    return RNG.uniform(0.3, 2, shape) * RNG.choice([-1, 1], shape)


def positive(*shape):
    return RNG.uniform(0.3, 2, shape)


def distinct(*shape):
    """Entries at least 0.1 apart, so that no difference step changes who is the largest."""
    return RNG.permutation(np.arange(np.prod(shape)) * 0.1 + 0.05).reshape(shape) - 0.4


# name: (function of arrays, inputs)
UNARY = {
    "negative": away_from_zero, "exp": away_from_zero, "expm1": away_from_zero, "log": positive, "log1p": positive,
    "sqrt": positive, "square": away_from_zero, "sin": away_from_zero, "cos": away_from_zero, "abs": away_from_zero,
    "tanh": away_from_zero,
}  # fmt: skip
BINARY = {
    "add": (away_from_zero, away_from_zero),
    "subtract": (away_from_zero, away_from_zero),
    "multiply": (away_from_zero, away_from_zero),
    "divide": (away_from_zero, away_from_zero),
    "power": (positive, away_from_zero),
    "maximum": (distinct, away_from_zero),
    "minimum": (distinct, away_from_zero),
}
REDUCTIONS = ["sum", "mean", "max", "min", "prod", "var", "std"]
AXES = [None, 0, 1, -1, (0, 2), (-1, 0), (0, 1, 2)]
CASES = {
    "power by an integer": (lambda x: x**3, [away_from_zero(2, 3)]),
    "power by zeros": (tg.power, [positive(3), np.zeros(3)]),
    "number to a power": (lambda x: 2.0**x, [away_from_zero(2, 3)]),
    "where": (lambda x, y: tg.where(np.array([[True, False, True]]), x, y), [away_from_zero(2, 3), away_from_zero(3)]),
    "clip": (lambda x: tg.clip(x, -0.5, 0.7), [np.array([-2.0, -0.4, 0.1, 0.6, 2.0])]),
    "clip above only": (lambda x: tg.clip(x, max=0.7), [np.array([-2.0, 0.6, 2.0])]),
    "affine": (ops.affine, [away_from_zero(3, 2), away_from_zero(2, 4), away_from_zero(3, 1)]),
    "dot of matrices": (np.dot, [away_from_zero(3, 2), away_from_zero(2, 4)]),
    "dot with a number": (np.dot, [away_from_zero(3, 2), away_from_zero()]),
    "cumsum": (tg.cumsum, [away_from_zero(2, 3)]),
    "cumsum along 0": (lambda x: tg.cumsum(x, 0), [away_from_zero(2, 3)]),
    "cumsum along -1": (lambda x: tg.cumsum(x, axis=-1), [away_from_zero(2, 3)]),
    "reshape": (lambda x: tg.reshape(x, (3, -1)), [away_from_zero(2, 3)]),
    "transpose": (tg.transpose, [away_from_zero(2, 3)]),
    "transpose with axes": (lambda x: tg.transpose(x, (1, 2, 0)), [away_from_zero(2, 3, 4)]),
    "transpose with negative axes": (lambda x: tg.transpose(x, (0, -1)), [away_from_zero(2, 2)]),
    "transpose with mixed axes": (lambda x: tg.transpose(x, (-1, 0, 1)), [away_from_zero(2, 3, 4)]),
    "swapaxes": (lambda x: tg.swapaxes(x, 0, -1), [away_from_zero(2, 3, 4)]),
    "expand_dims": (lambda x: tg.expand_dims(x, (0, 2)), [away_from_zero(2, 3)]),
    "squeeze": (lambda x: tg.squeeze(x, axis=1), [away_from_zero(2, 1, 3, 1)]),
    "broadcast_to": (lambda x: tg.broadcast_to(x, (4, 2, 3)), [away_from_zero(2, 1)]),
    "astype": (lambda x: tg.astype(x, np.float64), [away_from_zero(2, 3)]),
    "concatenate": (lambda x, y: tg.concatenate([x, y], axis=1), [away_from_zero(2, 3), away_from_zero(2, 2)]),
    "concatenate along -2": (lambda x, y: tg.concatenate([x, y], -2), [away_from_zero(1, 3), away_from_zero(2, 3)]),
    "concatenate flattened": (lambda x, y: tg.concatenate([x, y], None), [away_from_zero(2, 3), away_from_zero(4)]),
    "stack": (lambda x, y: tg.stack([x, y], axis=1), [away_from_zero(2, 3), away_from_zero(2, 3)]),
    "slice": (lambda x: x[1:, ::-2], [away_from_zero(3, 4)]),
    "integer": (lambda x: x[1], [away_from_zero(3, 4)]),
    "integers": (lambda x: x[1, -1], [away_from_zero(3, 4)]),
    "new axis and ellipsis": (lambda x: x[..., None, 0], [away_from_zero(3, 4)]),
    "array with repeats": (lambda x: x[np.array([0, 2, 0, 0])], [away_from_zero(3, 2)]),
    "arrays": (lambda x: x[np.array([0, 2, 0]), np.array([1, 1, 1])], [away_from_zero(3, 2)]),
    "mask": (lambda x: x[np.array([[True, False], [False, True], [True, True]])], [away_from_zero(3, 2)]),
    "softmax": (tg.softmax, [away_from_zero(3, 4)]),
    "softmax along -1": (lambda z: tg.softmax(z, axis=-1), [away_from_zero(3, 4)]),
    "log_softmax": (tg.log_softmax, [away_from_zero(3, 4)]),
    "log_softmax of all": (lambda z: tg.log_softmax(z, axis=None), [away_from_zero(3, 4)]),
    "logsumexp": (tg.logsumexp, [away_from_zero(3, 4)]),
    "logsumexp along 1": (lambda z: tg.logsumexp(z, axis=1), [away_from_zero(3, 4)]),
    "logsumexp kept": (lambda z: tg.logsumexp(z, axis=(0, 1), keepdims=True), [away_from_zero(3, 4)]),
    "prod with a zero": (tg.prod, [np.array([2.0, 0.0, 3.0, -1.5])]),
    "prod with two zeros": (lambda x: tg.prod(x, axis=1), [np.array([[2.0, 0.0, 0.0], [0.0, 3.0, 4.0]])]),
    "prod of many": (lambda x: tg.prod(x, axis=1), [away_from_zero(2, 7)]),
    "var with ddof": (lambda x: tg.var(x, axis=1, ddof=1), [away_from_zero(2, 4)]),
    "std with ddof": (lambda x: tg.std(x, axis=0, ddof=1, keepdims=True), [away_from_zero(3, 2)]),
    "used twice": (lambda x: x * x + x, [away_from_zero(2, 3)]),
}  # fmt: skip
CASES |= {name: (getattr(tg, name), [domain(2, 3)]) for name, domain in UNARY.items()}
CASES |= {name: (getattr(tg, name), [away_from_zero(2, 3)]) for name in ("sigmoid", "relu", "softplus")}
CASES |= {f"{name} of a number": (getattr(tg, name), [domain()]) for name, domain in UNARY.items()}
CASES |= {
    f"{name} over {axis}{' kept' if keepdims else ''}": (
        lambda x, name=name, axis=axis, keepdims=keepdims: getattr(tg, name)(x, axis=axis, keepdims=keepdims),
        [distinct(2, 3, 2)],
    )
    for name in REDUCTIONS
    for axis in AXES
    for keepdims in (False, True)
}
MATMUL_SHAPES = [
    ((2, 3), (3, 4)), ((3,), (3,)), ((3,), (3, 2)), ((2, 3), (3,)), ((5, 2, 3), (3, 4)), ((2, 3), (5, 3, 4)),
    ((5, 1, 2, 3), (4, 3, 2)), ((5, 2, 3), (3,)), ((3,), (5, 3, 2)), ((1, 1), (1, 1)),
]  # fmt: skip
CASES |= {f"matmul {a} {b}": (tg.matmul, [away_from_zero(*a), away_from_zero(*b)]) for a, b in MATMUL_SHAPES}
CASES |= {
    f"{name} {a} {b}": (getattr(tg, name), [domains[0](*a), domains[1](*b)])
    for name, domains in BINARY.items()
    for a, b in [((2, 3), (2, 3)), ((2, 3), (2, 1)), ((3,), (2, 1)), ((), (2, 2)), ((4, 1, 2), (3, 1))]
}
