"""Mistakes in the activation's derivative, ``dZ = dA * g'(Z)``: where it is taken, of which function, how written."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import numpy as np

from tinygrad_dls.check.causes import ACTIVATIONS, Step, Variant, cause, derivative
from tinygrad_dls.check.mistakes.steps import (
    dz_is_known,
    either_scale,
    neighbour,
    of_either_scale,
    slope,
    times,
    units,
    with_another,
)
from tinygrad_dls.engine.arrays import Array

LEAKS = (0.01, 0.001, 0.05, 0.1, 0.2, 0.3)


def _leaky(slope: float) -> Callable[[Array], Array]:
    return lambda Z: np.where(Z > 0, 1, slope)


# What is written for the derivative, in A; in Z for ReLU.
SLIPS: dict[str, dict[str, Callable[[Array], Array]]] = {
    "tanh": {
        "A": lambda A: A,
        "1 - A": lambda A: 1 - A,
        "1 + A": lambda A: 1 + A,
        "1 + A^2": lambda A: 1 + A**2,
        "-A^2": lambda A: -(A**2),
        "A^2": lambda A: A**2,
        "(1 - A)^2": lambda A: (1 - A) ** 2,
        "(1 + A)^2": lambda A: (1 + A) ** 2,
        "1 - 2 A": lambda A: 1 - 2 * A,
        "2 A": lambda A: 2 * A,
        "2 - 2 A": lambda A: 2 - 2 * A,
        "-2 A": lambda A: -2 * A,
        "1 - A^3": lambda A: 1 - A**3,
        "1 - 2^A": lambda A: 1 - 2.0**A,
        "1 - sqrt(A)": lambda A: 1 - np.sqrt(np.maximum(A, 0)),
        "1 - |A|": lambda A: 1 - np.abs(A),
        "1 / (1 - A^2)": lambda A: 1 / (1 - A**2),
        "1 / (1 + A^2)": lambda A: 1 / (1 + A**2),
        "sqrt(1 - A^2)": lambda A: np.sqrt(1 - A**2),
        "1 - A^2 / 2": lambda A: 1 - A**2 / 2,
        "1 - 2 A^2": lambda A: 1 - 2 * A**2,
        "-2 A (1 - A^2)": lambda A: -2 * A * (1 - A**2),
    },
    "sigmoid": {
        "A": lambda A: A,
        "1 - A": lambda A: 1 - A,
        "A (1 + A)": lambda A: A * (1 + A),
        "A - 1": lambda A: A - 1,
        "-A": lambda A: -A,
        "A^2": lambda A: A**2,
        "(1 - A)^2": lambda A: (1 - A) ** 2,
        "A^2 (1 - A)": lambda A: A**2 * (1 - A),
        "A (1 - A)^2": lambda A: A * (1 - A) ** 2,
        "A (1 - A^2)": lambda A: A * (1 - A**2),
        "1 - 2 A": lambda A: 1 - 2 * A,
        "A (1 - 2 A)": lambda A: A * (1 - 2 * A),
        "A (1 - A) (1 - 2 A)": lambda A: A * (1 - A) * (1 - 2 * A),
        "A + (1 - A)^2": lambda A: A + (1 - A) ** 2,
        "1 / (A (1 - A))": lambda A: 1 / (A * (1 - A)),
        "sqrt(A (1 - A))": lambda A: np.sqrt(A * (1 - A)),
    },
    "ReLU": {
        "Z < 0": lambda Z: Z < 0,
        "sign(Z)": np.sign,
        "|Z|": np.abs,
        **{f"{leak} for 0, as of a leaky ReLU": _leaky(leak) for leak in LEAKS},
    },
}
# The same, where a bracket of `dA * g'` is missing or misplaced.
BRACKETS: dict[str, dict[str, Callable[[Array, Array], Array]]] = {
    "tanh": {
        "dA * 1 - A^2": lambda dA, A: dA - A**2,
        "1 - A^2 * dA": lambda dA, A: 1 - A**2 * dA,
        "1 - (dA * A)^2": lambda dA, A: 1 - (dA * A) ** 2,
        "(1 - dA * A)^2": lambda dA, A: (1 - dA * A) ** 2,
        "(dA * (1 - A))^2": lambda dA, A: (dA * (1 - A)) ** 2,
        "(dA * (1 - A^2))^2": lambda dA, A: (dA * (1 - A**2)) ** 2,
        "dA + (1 - A^2)": lambda dA, A: dA + (1 - A**2),
        "dA - (1 - A^2)": lambda dA, A: dA - (1 - A**2),
    },
    "sigmoid": {
        "dA * A * 1 - A": lambda dA, A: dA * A - A,
        "dA * A - 1": lambda dA, A: dA * A - 1,
        "dA * A - A^2": lambda dA, A: dA * A - A**2,
        "A * (1 - A * dA)": lambda dA, A: A * (1 - A * dA),
        "A * (1 - dA)": lambda dA, A: A * (1 - dA),
        "(dA - A) * (1 - A)": lambda dA, A: (dA - A) * (1 - A),
        "dA - A * (1 - A)": lambda dA, A: dA - A * (1 - A),
        "dA + A * (1 - A)": lambda dA, A: dA + A * (1 - A),
    },
}
REMINDER = {"tanh": "1 - A^2", "sigmoid": "A (1 - A)"}


@cause("Z where A belongs in the derivative", "dZ")
def _derivative_of_z(s: Step) -> Array | None:
    """The derivatives 1 - A^2 of tanh and A (1 - A) of the sigmoid are written in A: 1 - Z^2 or Z (1 - Z) is wrong."""
    return s.dA * derivative(s.activation, s.Z, s.Z) if s.activation in REMINDER else None


@cause("A where Z belongs in the derivative", "dZ")
def _derivative_at_a(s: Step) -> Array | None:
    """A function g'(Z) that applies the activation itself must be given Z. Given A, it applies it twice."""
    if s.activation not in REMINDER:
        return None
    A = units(s)
    return s.dA * derivative(s.activation, A, ACTIVATIONS[s.activation](A))


@cause("the derivative of another activation", "dZ", far_fetched=True)
def _other_derivative(s: Step) -> list[Array]:
    """The derivative must be that of the layer's own activation: 1 - A^2 tanh, A (1 - A) sigmoid, Z > 0 ReLU."""
    if s.activation == "softmax":
        return []
    candidates = []
    for name, g in ACTIVATIONS.items():
        if name != s.activation:
            candidates += [s.dA * derivative(name, s.Z, x) for x in (units(s), g(s.Z), s.Z)]
    candidates.append(s.dA * np.where(s.Z > 0, 1, np.exp(np.minimum(s.Z, 0))))  # of ELU
    if s.activation != "ReLU":  # of which a leaky one is a slip
        candidates += [s.dA * np.where(s.Z > 0, 1, leak) for leak in LEAKS]
    return candidates


@cause("a slip in the derivative", "dZ")
def _slip_in_the_derivative(s: Step) -> Iterator[Variant]:
    """The derivative is 1 - A^2 for tanh, A (1 - A) for the sigmoid, and 1 where Z > 0, else 0, for ReLU."""
    x = s.Z if s.activation == "ReLU" else units(s)
    for what, slip in SLIPS.get(s.activation, {}).items():
        if s.last and s.cross_entropy and what in ("A^2 (1 - A)", "A (1 - A)^2"):
            continue  # of A - Y, it is an extra factor
        yield Variant(s.dA * slip(x), what)
    A = units(s)
    mixed = {
        "tanh": {"Z": s.Z, "1 - Z": 1 - s.Z, "1 - A Z": 1 - A * s.Z},
        "sigmoid": {"A (1 - Z)": A * (1 - s.Z), "Z (1 - A)": s.Z * (1 - A)},
    }
    for what, x in mixed.get(s.activation, {}).items():
        yield Variant(s.dA * x, what)


def _at(formula: Callable[[Array, Array], Array], A: Array, dA: Array) -> Array:
    return formula(dA, A)


@cause("a bracket is missing", "dZ")
def _misplaced_bracket(s: Step) -> Iterator[Variant]:
    """The whole derivative is a factor, so it stands in brackets: dA * (1 - A**2) for tanh, dA * (A * (1 - A))."""
    for what, formula in BRACKETS.get(s.activation, {}).items():
        yield from of_either_scale(s, functools.partial(_at, formula, units(s)), s.dA, what)


@cause("ReLU's gate from the wrong array", "dZ")
def _wrong_gate(s: Step) -> Iterator[Variant]:
    """A unit of ReLU passes the gradient on where its own Z > 0 (or A > 0, but not A >= 0, which is always so)."""
    if s.activation != "ReLU":
        return
    yield Variant(s.dA * (s.dA > 0), "dA > 0 for Z > 0")
    yield Variant(s.dA * (s.dA < 0), "dA < 0 for Z > 0")
    yield Variant(s.dA * (s.dA > 0) * (s.Z > 0), "dA > 0 as well as Z > 0")


@cause("a value where ReLU's gate belongs", "dZ")
def _value_for_gate(s: Step) -> Iterator[Variant]:
    """The derivative of ReLU is the truth of Z > 0, 1 or 0: np.int64(A > 0), not A itself nor int(A)."""
    if s.activation == "ReLU":
        for what, x in {"A": s.A, "int(A)": np.trunc(s.A), "Z": s.Z, "int(Z)": np.trunc(s.Z)}.items():
            yield Variant(s.dA * x, f"{what} for Z > 0")
        yield from either_scale(s, s.Z * (s.dA > 0), "Z where dA > 0, for dA where Z > 0")
        yield from of_either_scale(s, lambda dA: np.where(s.Z > 0, dA, s.Z), s.dA, "Z for 0")
        yield from of_either_scale(s, lambda dA: np.where(s.Z > 0, dA, 1), s.dA, "1 for 0")
        yield from of_either_scale(s, lambda dA: np.where(s.Z > 0, 1, dA), s.dA, "1 where Z > 0, else dA")


@cause("the derivative twice", "dZ")
def _twice(s: Step) -> Array | None:
    """The derivative of the activation is a factor of dZ once."""
    g = slope(s)
    return None if g is None or (s.last and s.cross_entropy) else s.dA * g * g


@cause("the derivative of the sigmoid on top of A - Y", "dZ")
def _derivative_twice(s: Step) -> Iterator[Array | Variant]:
    """A - Y contains the derivative of the sigmoid or softmax already, which cancels against dA. Do not repeat it."""
    if s.last and s.cross_entropy:
        yield s.expected * s.A * (1 - s.A)
        yield Variant(s.expected * (1 - s.A**2), "that of tanh")


@cause("only the diagonal of the softmax's derivative", "dZ")
def _diagonal(s: Step) -> Array | None:
    """Each output of a softmax depends on every Z of its example, so dZ is not dA * A (1 - A). It comes to A - Y."""
    return s.dA * s.A * (1 - s.A) if s.activation == "softmax" else None


@cause("dA is missing", "dZ")
def _no_da(s: Step) -> Iterator[Variant]:
    """The derivative of the activation alone is no gradient: dZ = dA * g'(Z)."""
    yield from either_scale(s, s.A * (1 - s.A) if s.activation == "softmax" else slope(s))


@cause("dA where dZ belongs", "dA dZ dW db")
def _da_for_dz(s: Step) -> Array | None:
    """The derivative of the activation is missing: dZ = dA * g'(Z) comes before dW, db and the layer below."""
    if s.kind == "dW":
        return s.dA @ s.A_prev.T
    if s.kind == "db":
        return s.dA.sum(axis=1, keepdims=True)
    if s.kind == "dA":
        return None if s.last else s.W_next.T @ s.dA_next
    return s.dA


@cause("an extra factor", "dZ dW db dA", far_fetched=True)
def _extra_factor(s: Step) -> Iterator[Variant]:
    """One factor too many: dZ is dA * g'(Z), dW is dZ A_prev.T, dA is W.T dZ, and db the sum of dZ."""
    here = {"A": s.A, "Z": s.Z, "1 - A": 1 - s.A, "X": s.arrays["X"], "dA": s.dA}
    activation = "" if s.kind == "dA" else s.activation
    if activation == "ReLU":  # which multiplies by 1 or 0, so that A for it is the same as A on top of it
        del here["A"], here["Z"], here["1 - A"]
    elif activation == "sigmoid" and not (s.last and s.cross_entropy):
        del here["A"], here["1 - A"]  # these are slips in A (1 - A)
    if s.kind == "dZ":
        products = {name: times(s.expected, x) for name, x in here.items()}
        products["dA * m"] = s.m * s.expected * s.dA
    elif s.kind == "dA":
        products = {name: times(s.expected, x) for name, x in here.items() if name in ("A", "Z", "1 - A")}
        if s.dZ_next is not None:
            products |= {what: with_another(s, dZ_next=s.dZ_next * x) for what, x in _beside_dz(s).items()}
    else:
        on_dz = here | {"A": s.A, "Z": s.Z} if dz_is_known(s) else {}
        products = {name: with_another(s, dZ=times(s.dZ, x)) for name, x in on_dz.items()}
        of_parameter = {"W": s.W} if s.kind == "dW" else {"b": s.b}
        products |= {name: s.expected * x for name, x in of_parameter.items()}
        if s.kind == "dW":
            products["A_prev"] = s.dZ @ (s.A_prev**2).T
            if len(s.dZ) == 1:  # of which the course has the transpose
                products["the whole of A_prev"] = (s.expected.T * s.A_prev).T
        elif len(s.dZ) == 1:  # of which the course sums up everything
            of_all = {name: times(s.dZ, x) for name, x in on_dz.items()}
            products |= {name: x.sum(keepdims=True) for name, x in of_all.items() if x is not None and len(x) > 1}
    for name, x in products.items():
        if x is not None:
            yield Variant(x, name)


def _beside_dz(s: Step) -> dict[str, Array]:
    """What may have been multiplied by dZ of the layer above."""
    n = neighbour(s, "Z", 1)[1:]
    A, Z, g = s.arrays[f"A{n}"], s.arrays[f"Z{n}"], s.activations[n]
    found = {f"A{n}": A, f"Z{n}": Z}
    for activation in dict.fromkeys((g, s.activation)):
        if activation in ACTIVATIONS and (activation != "ReLU" or g != "ReLU"):
            found[f"the derivative of {activation} at Z{n}"] = derivative(activation, Z, A)
    return found
