"""Functions and points at which gradients are hard to check: plateaus, kinks, tiny and huge numbers, cancelling terms.

`FUNCTIONS` maps names to functions of an array of any shape; their gradients by autodiff are right. `tampered` makes a
wrong one of each.
"""

import numpy as np

import tinygrad_dls as tg


@tg.op()
def real(x):
    """The same, but not for complex numbers, so that differences are all there is."""
    if np.iscomplexobj(x):
        raise TypeError
    return x * 1, (lambda dz: dz,)


@tg.op()
def halves(x):
    """Rounded to halves, with the gradient 0 that this has nearly everywhere."""
    return np.round(2 * x) / 2, (lambda dz: dz * 0,)


SMOOTH = {
    "x": lambda x: x,
    "x^2": lambda x: x**2,
    "x^3": lambda x: x**3,
    "x^5": lambda x: x**5,
    "x x x x": lambda x: x * x * x * x,
    "x^3 y^2 of the first two": lambda x: x[0] ** 3 * x[1] ** 2,
    "the product of all": lambda x: x[0] * x[1] * x[2],
    "1e100 x^3": lambda x: 1e100 * x**3,
    "1e-100 x": lambda x: 1e-100 * x,
    "1e-300 x": lambda x: 1e-300 * x,
    "1 / x": lambda x: 1 / x,
    "x / (1 + x^2)": lambda x: x / (1 + x**2),
    "sqrt(x^2 + 1)": lambda x: np.sqrt(x**2 + 1),
    "sqrt(x)": lambda x: np.sqrt(np.abs(x)),
    "exp": np.exp,
    "exp(-x^2)": lambda x: np.exp(-(x**2)),
    "expm1": np.expm1,
    "log(x)": lambda x: np.log(np.abs(x)),
    "log(1 + x^2)": lambda x: np.log1p(x**2),
    "tanh": np.tanh,
    "sigmoid": tg.sigmoid,
    "softplus": tg.softplus,
    "logsumexp": tg.logsumexp,
    "sin": np.sin,
    "softmax": tg.softmax,
    "log softmax": lambda x: -tg.log_softmax(x, axis=0)[0],
    "0 x": lambda x: 0 * x,
    "x - x": lambda x: x - x,
    "std": lambda x: np.std(x),
    "norm": lambda x: np.sqrt(np.sum(x**2)),
    "sum of squares of differences": lambda x: np.sum((x[1:] - x[:-1]) ** 2),
}
PLATEAUS = {
    "-log(1 - sigmoid)": lambda x: -np.log(1 - tg.sigmoid(x)),
    "-log(1 - 1/(1 + e^-x))": lambda x: -np.log(1 - 1 / (1 + np.exp(-x))),
    "cross-entropy of the sigmoid": lambda x: tg.binary_cross_entropy(tg.sigmoid(x[None]), np.zeros((1, 3))),
    "cross-entropy of logits": lambda x: tg.binary_cross_entropy_with_logits(x[None], np.zeros((1, 3))),
    "log(1 - tanh)": lambda x: np.log(1 - np.tanh(x)),
    "-log of a softmax": lambda x: -np.log(tg.softmax(x, axis=0)[0]),
    "(x + 1e10) - 1e10": lambda x: (x + 1e10) - 1e10,
    "(x + 1e17) - 1e17": lambda x: (x + 1e17) - 1e17,
    "x + 1e6": lambda x: x + 1e6,
    "x^2 + 1e16": lambda x: np.sum(x**2) + 1e16,
    "x + 1e30": lambda x: np.sum(x) + 1e30,
    "1e9 (1 + 1e-9 x)": lambda x: 1e9 * (1 + 1e-9 * x),
    "1 - cos": lambda x: 1 - np.cos(x),
    "sqrt(1 + x^2) - x": lambda x: np.sqrt(1 + x**2) - x,
    "x^2 of float32": lambda x: x.astype(np.float32) ** 2,
    "tanh of float32": lambda x: np.tanh(x.astype(np.float32)),
    "huge and small terms": lambda x: 1e12 * x[0] ** 2 + x[1] + 1e-12 * x[2],
    "e^x / (1 + e^x)": lambda x: np.exp(x) / (1 + np.exp(x)),
}
KINKS = {
    "abs": np.abs,
    "relu": tg.relu,
    "relu(x - 1e-9)": lambda x: tg.relu(x - 1e-9),
    "x abs(x)": lambda x: x * np.abs(x),
    "x^2 abs(x)": lambda x: x**2 * np.abs(x),
    "relu^3": lambda x: tg.relu(x) ** 3,
    "max(x, 1) + min(x, -1)": lambda x: np.maximum(x, 1) + np.minimum(x, -1),
    "clip": lambda x: np.clip(x, -1, 1),
    "max": lambda x: np.max(x),
    "leaky relu": lambda x: np.maximum(x, 0.01 * x),
    "1000 + relu": lambda x: 1000 + tg.relu(x),
    "relu(relu(x) - 1)": lambda x: tg.relu(tg.relu(x) - 1),
    "halves": halves,
    "x halves(x)": lambda x: x * halves(np.clip(x, -1e6, 1e6)),
    "where": lambda x: np.where(x > 0, x**2, 0 * x),
}
FUNCTIONS = SMOOTH | PLATEAUS | KINKS
FUNCTIONS |= {f"{name}, real": lambda x, f=f: f(real(x)) for name, f in (SMOOTH | PLATEAUS).items()}


MISTAKES = {
    "1 % too large": lambda dz: dz * 1.01,
    "minus": lambda dz: -dz,
    "one term dropped": lambda dz: dz * (np.arange(dz.size) > 0).reshape(dz.shape),
    "0.1 % too small": lambda dz: dz * 0.999,
    "zero": lambda dz: dz * 0,
}


def is_complex(x):
    return isinstance(x, np.ndarray) and x.dtype.kind == "c"


def tampered(f, mistake):
    """The function with a gradient that is wrong by a mistake."""

    @tg.op()
    def passed(x):
        return x * 1, (mistake,)

    return lambda x: f(x if is_complex(x) else passed(x))


def points(r):
    """Arrays of three entries: of all magnitudes, signs, at zero, at kinks and near them, mixed, subnormal."""
    for k in (-310, -300, -160, -40, -12, -6, -3, 0, 1, 2, 6, 12, 40, 160, 300):
        yield f"1e{k}", r.uniform(1, 9, size=3) * 10.0**k * r.choice([-1, 1], size=3)
    for x in (0.0, 16.0, 20.0, 30.0, 36.0, 40.0, 100.0, -16.0, 1e-9, 1.0):
        yield f"{x:g}", np.array([x, x, x])
    yield "mixed", np.array([1e-12, 1.0, 1e12])
    yield "mixed, tiny", np.array([1e-300, 1e-3, -1e3])
    yield "near a kink", np.array([1e-5, -1e-8, 1e-11])
    yield "near 1", 1 + np.array([1e-5, -1e-8, 1e-11])
