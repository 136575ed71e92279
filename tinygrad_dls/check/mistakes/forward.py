"""Mistakes in the forward pass, ``Z = W A_prev + b`` and ``A = g(Z)``, in one layer or in all the hidden ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from tinygrad_dls.check.causes import ACTIVATIONS, Step, Variant, cause, derivative
from tinygrad_dls.check.mistakes.derivatives import LEAKS
from tinygrad_dls.engine.arrays import Array


def _linear(W: Array, A: Array, b: Array) -> Array:
    return W @ A + b


def _right(activation: str, Z: Array) -> Array:
    return ACTIVATIONS[activation](Z)


def _leaky(slope: float) -> Callable[[Array], Array]:
    return lambda Z: np.where(Z > 0, Z, slope * Z)


def _whatever_the_activation(g: Callable[[Array], Array]) -> Callable[[str, Array], Array]:
    return lambda _, Z: g(Z)


def _everywhere(
    s: Step, A_of: Callable[[str, Array], Array] = _right, Z_of: Callable[..., Array] = _linear
) -> Iterator[Variant]:
    """The mistake in every hidden layer, seen from the first of them."""
    hidden = list(s.activations.items())[:-1]
    if len(hidden) > 1 and s.layer == hidden[0][0] and all(activation in ACTIVATIONS for _, activation in hidden):
        steps = _every_layer(s, A_of, Z_of)
        yield Variant(steps.pop(s.name), "in every hidden layer", steps)


def _every_layer(s: Step, A_of: Callable[[str, Array], Array], Z_of: Callable[..., Array]) -> dict[str, Array]:
    """The forward pass up to the last Z, with another A in every hidden layer, or another Z in every layer."""
    found: dict[str, Array] = {}
    A = s.arrays["X"]
    for n, activation in s.activations.items():
        Z = found[f"Z{n}"] = Z_of(s.arrays[f"W{n}"], A, s.arrays[f"b{n}"])
        if n != list(s.activations)[-1]:
            A = found[f"A{n}"] = np.asarray(A_of(activation, Z))
    return found


@cause("b is missing", "Z dZ")
def _no_bias(s: Step) -> Iterator[Variant | Array]:
    """The linear part is Z = W A_prev + b."""
    if s.kind == "Z":
        yield s.W @ s.A_prev
        yield from _everywhere(s, Z_of=lambda W, A, _: W @ A)
    elif s.activation in ACTIVATIONS and not (s.last and s.cross_entropy):
        Z = s.Z - s.b
        yield Variant(s.dA * derivative(s.activation, Z, ACTIVATIONS[s.activation](Z)), "in the derivative")


@cause("a slip in Z", "Z")
def _slip_in_z(s: Step) -> Iterator[Variant]:
    """The linear part is Z = W A_prev + b."""
    yield Variant(s.W @ s.A_prev - s.b, "- b for + b")
    yield from _everywhere(s, Z_of=lambda W, A, b: W @ A - b)
    yield Variant(s.W @ s.A_prev + 2 * s.b, "b twice")
    if len(s.b) == s.m > 1:
        yield Variant(s.W @ s.A_prev + s.b.T, "b is (n,), not (n, 1), and goes along the examples")
    yield from _everywhere(s, Z_of=lambda W, A, b: W @ A + 2 * b)
    if len(s.b) > 1 and np.abs(s.b.sum()) > 1e-9 * np.abs(s.b).sum():  # those of a softmax add up to 0
        yield Variant(s.W @ s.A_prev + s.b.sum(), "the sum of b for b")


@cause("another activation", "A dZ")
def _other_activation(s: Step) -> Iterator[Variant | Array]:
    """The activation must be the layer's own."""
    if s.kind == "dZ":
        if s.last and s.cross_entropy and np.any(s.Z):
            yield Variant((np.tanh(s.Z) - s.Y) / s.m, "tanh")  # of small weights, nearly Z
        return
    functions: dict[str, Callable[[Array], Array]] = {
        **ACTIVATIONS,
        **({"softmax": _softmax} if len(s.Z) > 1 else {}),
        **{f"leaky ReLU of slope {x}": _leaky(x) for x in LEAKS},
        "ELU": lambda Z: np.where(Z > 0, Z, np.expm1(np.minimum(Z, 0))),
        "softplus": lambda Z: np.logaddexp(0, Z),
        "Z times its sigmoid": lambda Z: Z * ACTIVATIONS["sigmoid"](Z),
    }
    own = _function(s)
    for name, g in functions.items():
        if name != s.activation:
            yield Variant(g(s.Z), name)
            yield from _everywhere(s, A_of=_whatever_the_activation(g))
            if s.last and s.cross_entropy and own is not None and np.any(g(s.Z)):
                yield Variant(own(g(s.Z)), f"{name}, and then the {s.activation}")
    if s.last and len(s.Z) == 1:  # over the only class, or over the examples
        yield Variant(np.ones_like(s.Z), "softmax")
        yield Variant(_softmax(s.Z, 1, 1), "softmax along the examples")


@cause("a slip in the activation", "A")
def _slip_in_the_activation(s: Step) -> Iterator[Variant]:
    """The sigmoid is 1 / (1 + exp(-Z)), tanh (exp(Z) - exp(-Z)) / (exp(Z) + exp(-Z)), and ReLU max(0, Z)."""
    e, f = np.exp(-s.Z), np.exp(s.Z)
    formulas = {
        "sigmoid": {"exp(-2 Z) for exp(-Z)": 1 / (1 + e * e),
                    "2 for 1 in 1 + exp(-Z)": 1 / (2 + e), "2^-Z for exp(-Z)": 1 / (1 + 2.0**-s.Z),
                    "1/1 + exp(-Z)": 1 + e, "1/(1 - exp(-Z))": 1 / (1 - e), "1/exp(-Z)": f, "1/1 + exp(Z)": 1 + f,
                    "exp(-Z)": e, "1 - exp(-Z)": 1 - e, "exp(Z)/(1 - exp(Z))": f / (1 - f)},
        "tanh": {"the inverse": (f + e) / (f - e), "no division": f - e, "2 for exp(Z) + exp(-Z)": (f - e) / 2,
                 "the sigmoid's formula of 2 Z": 1 / (1 + e * e), "2 sigmoid(Z) - 1": 2 / (1 + e) - 1},
        "softmax": {"Z over its sum": s.Z / s.Z.sum(axis=0, keepdims=True),
                    "over the mean of exp(Z), not its sum": _softmax(s.Z) * len(s.Z),
                    "2^Z for exp(Z)": _softmax(s.Z * np.log(2)), "log(A)": np.log(_softmax(s.Z))},
    }  # fmt: skip
    if np.ptp(np.sign(s.Z)) == 2:  # else it is the sigmoid, or its sign
        formulas["sigmoid"]["1/(1 + exp(-|Z|))"] = 1 / (1 + np.exp(-np.abs(s.Z)))
    for what, A in formulas.get(s.activation, {}).items():
        yield Variant(A, what)
    of_relu: dict[str, Callable[[Array], Array]] = {
        "min(0, Z)": lambda Z: np.minimum(0, Z), "|Z|": np.abs, "max(1, Z)": lambda Z: np.maximum(1, Z),
        "max(0, -Z)": lambda Z: np.maximum(0, -Z), "max(0, Z)^2": lambda Z: np.maximum(0, Z) ** 2,
    }  # fmt: skip
    for what, g in of_relu.items() if s.activation == "ReLU" else ():
        yield Variant(g(s.Z), what)
        for everywhere in _everywhere(s, A_of=_whatever_the_activation(g)):
            yield everywhere._replace(note=f"{what}, {everywhere.note}")


@cause("the activation is missing", "Z A dZ")
def _no_activation(s: Step) -> Iterator[Variant | Array]:
    """A = g(Z), and this is of Z itself."""
    if s.kind != "Z" and not np.any(s.Z):
        return  # zeros prove nothing
    if s.kind == "A":
        yield s.Z
        yield from _everywhere(s, A_of=lambda _, Z: Z)
    elif s.kind == "Z":
        if s.Z_prev is not None:
            yield s.W @ s.Z_prev + s.b
    elif s.last and s.cross_entropy:
        yield (s.Z - s.Y) / s.m


@cause("the activation twice", "A")
def _activation_twice(s: Step) -> Array | None:
    """A = g(Z), once: a cost or a prediction that applies g itself is to be given Z."""
    g = _function(s)
    return None if g is None else g(g(s.Z))


@cause("a sign in the exponent", "A")
def _sign_in_exponent(s: Step) -> Array | None:
    """The sigmoid is 1 / (1 + exp(-Z)), and the softmax exp(Z) over its sum."""
    g = _function(s) if s.activation in ("sigmoid", "softmax", "tanh") else None
    return None if g is None else g(-s.Z)


@cause("softmax over the wrong axis", "A dZ")
def _softmax_axis(s: Step) -> Iterator[Variant]:
    """The classes are rows, so the maximum and the sum of a softmax go down each column: axis=0, keepdims=True."""
    if s.activation != "softmax":
        return
    Z = s.Z
    outputs: dict[str, Array] = {}
    for name, axis in (("axis=1", 1), ("no axis", None)):
        outputs[f"{name} in the maximum and the sum"] = _softmax(Z, axis, axis)
        outputs[f"{name} in the sum"] = _softmax(Z, 0, axis)
        outputs[f"{name} in the sum, without a maximum"] = np.exp(Z) / np.exp(Z).sum(axis=axis, keepdims=True)
    outputs["axis=1 in the sum, after the softmax"] = _softmax(Z) / _softmax(Z).sum(axis=1, keepdims=True)
    outputs["the sum of Z"] = np.exp(Z) / Z.sum(axis=0, keepdims=True)
    outputs |= {"no sum": np.exp(Z), "no sum, after the maximum": np.exp(Z - Z.max(axis=0, keepdims=True))}
    yield from _as_output(s, outputs)


def _as_output(s: Step, outputs: dict[str, Array]) -> Iterator[Variant]:
    for what, A in outputs.items():
        if s.kind == "A":
            yield Variant(A, what)
        elif s.last and s.cross_entropy:
            yield Variant((A - s.Y) / s.m, what)


def _function(s: Step) -> Callable[[Array], Array] | None:
    """The layer's activation, if it has a name."""
    return _softmax if s.activation == "softmax" else ACTIVATIONS.get(s.activation)


def _softmax(Z: Array, axis: int | None = 0, of_sum: int | None = 0) -> Array:
    e = np.exp(Z - Z.max(axis=axis, keepdims=True))
    return e / e.sum(axis=of_sum, keepdims=True)
