"""The steps of a network as formulas of named arrays: a mistake is another array in the place of one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from tinygrad_dls.check.causes import ACTIVATIONS, OF_PARAMETERS, Step, Variant, derivative, kind_of
from tinygrad_dls.engine.arrays import Array

FORMULAS: dict[str, tuple[tuple[str, ...], Callable[..., Array]]] = {
    "Z": (("W", "A_prev", "b"), lambda W, A_prev, b: W @ A_prev + b),
    "dA": (("W_next", "dZ_next"), lambda W, dZ: W.T @ dZ),
    "dZ": (("dA", "slope"), lambda dA, slope: dA * slope),
    "dW": (("dZ", "A_prev"), lambda dZ, A_prev: dZ @ A_prev.T),
    "db": (("dZ",), lambda dZ: dZ.sum(axis=1, keepdims=True)),
}


def slope(s: Step) -> Array | None:
    """The derivative of the layer's activation; None if it is none of those that act on each entry by itself."""
    return derivative(s.activation, s.Z, units(s)) if s.activation in ACTIVATIONS else None


def units(s: Step) -> Array:
    """The activation's output, before a mask shuts some of it off."""
    return s.A if s.mask is None or s.activation not in ACTIVATIONS else ACTIVATIONS[s.activation](s.Z)


def masked(s: Step, dA: Array) -> Array:
    """A hidden dA, as dropout leaves it."""
    return dA if s.mask is None or dA.shape != s.mask.shape else dA * s.mask / s.keep_prob


def with_another(s: Step, **instead: Array | None) -> Array | None:
    """The step's result with other arrays in the place of some; None if one of them is missing or does not fit."""
    roles, formula = FORMULAS[s.kind]
    factors = [
        instead[role] if role in instead else slope(s) if role == "slope" else getattr(s, role) for role in roles
    ]
    if any(factor is None for factor in factors) or not _fits(s, factors):
        return None
    try:
        found = formula(*factors)
    except ValueError:
        return None
    return masked(s, found) if s.kind == "dA" else found


def _fits(s: Step, factors: list[Array]) -> bool:
    """Whether a product has a shape that is of interest: a matrix of all the pairs of features takes long."""
    if s.kind == "dW" and np.ndim(factors[0]) == np.ndim(factors[1]) == 2:
        shape = (len(factors[0]), len(factors[1]))
        return bool(shape == (s.expected if s.got is None else s.got).shape)
    return True


def another(s: Step, what: str, **instead: Array | None) -> Iterator[Variant]:
    """The same with a word on it, if there is such a result."""
    found = with_another(s, **instead)
    if found is not None:
        yield Variant(found, what)


def with_any(s: Step, role: str, instead: str, arrays: dict[str, Array]) -> Iterator[Variant]:
    """The step's results with each of these in the place of one; `instead` is what that one is called."""
    for name, x in arrays.items():
        yield from another(s, f"{name} for {instead}", **{role: x})


def either_scale(s: Step, x: Array | None, what: str = "") -> Iterator[Variant]:
    """What does not come from the cost may be divided by m later on, or not."""
    if x is not None:
        yield Variant(x, what)
        if s.m > 1:
            yield Variant(x / s.m, what)


def of_either_scale(s: Step, formula: Callable[[Array], Array], x: Array, what: str) -> Iterator[Variant]:
    """A formula that is not proportional to x differs between an x with the 1/m and one without it."""
    yield Variant(formula(x), what)
    if s.m > 1:
        yield Variant(formula(s.m * x) / s.m, what)


def dz_is_known(s: Step) -> bool:
    """Whether dZ or what else follows from it was given, so that the mistake lies behind it."""
    if f"dZ{s.layer}" in s.given:
        return True
    if s.kind not in OF_PARAMETERS:
        return False
    twin = ("db" if s.kind == "dW" else "dW") + s.layer
    follows = s.dZ.sum(axis=1, keepdims=True) if s.kind == "dW" else s.dZ @ s.A_prev.T
    given = s.given.get(twin)
    return given is not None and given.shape == follows.shape and np.allclose(given, follows, rtol=1e-6, atol=0)


def other_layers(s: Step, kinds: str) -> dict[str, Array]:
    """The arrays of these kinds, of all layers but this one, that there are at this step; ``"X"`` is the first A."""
    wanted = kinds.split()
    own = {f"{kind}{s.layer}" for kind in wanted}
    found = {name: x for name, x in s.arrays.items() if kind_of(name) in wanted and name not in own}
    return {"X": s.arrays["X"], **found} if "A" in wanted else found


def neighbour(s: Step, kind: str, by: int) -> str:
    """The name of an array of a layer above (1) or below (-1) this one, as far as there is one."""
    numbers = list(s.activations)
    k = by + (numbers.index(s.layer) if s.layer in numbers else -1)  # dA0 is of X
    if k < 0:
        return "X" if kind == "A" else ""
    return f"{kind}{numbers[k]}" if k < len(numbers) else ""


def times(x: Array, y: Array) -> Array | None:
    """The product entry by entry; None if the shapes do not fit."""
    try:
        return x * y
    except ValueError:
        return None


def columns(x: Array, *at: int) -> Array:
    """Some examples alone."""
    return x[:, list(at)]
