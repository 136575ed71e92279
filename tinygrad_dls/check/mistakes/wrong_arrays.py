"""Mistakes in which a right formula is given a wrong array: of another layer, of another kind, under another name."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tinygrad_dls.check.causes import ACTIVATIONS, HANDED_ON, Step, Variant, cause, derivative, kind_of, multiple_of
from tinygrad_dls.check.mistakes.steps import (
    another,
    dz_is_known,
    either_scale,
    neighbour,
    other_layers,
    slope,
    with_another,
    with_any,
)


def _names(s: Step) -> dict[str, str]:
    """What the roles in this step's formula are called in the person's program."""
    return {
        "W": f"W{s.layer}", "b": f"b{s.layer}", "A_prev": neighbour(s, "A", -1), "dZ": f"dZ{s.layer}",
        "dA": f"dA{s.layer}", "W_next": neighbour(s, "W", 1), "dZ_next": neighbour(s, "dZ", 1),
    }  # fmt: skip


@cause("an array of another layer", "Z dA dZ dW db")
def _another_layer(s: Step) -> Iterator[Variant]:
    """The arrays of a step belong to one layer: dW1 = dZ1 X.T, dW2 = dZ2 A1.T, dZ1 = W2.T dZ2 * g'(Z1)."""
    called = _names(s)
    if s.kind != "Z":
        whole = other_layers(s, s.kind)
        for name, x in whole.items():
            if name in s.given and not _swapped_with(s, name):
                yield Variant(x, f"{name} for {s.name}")
    roles = {
        "Z": {"W": "W", "A_prev": "A", "b": "b"},
        "dA": {"W_next": "W", "dZ_next": "dZ"},
        "dZ": {"dA": "dA"},
        "dW": {"dZ": "dZ", "A_prev": "A"},
        "db": {"dZ": "dZ"},
    }[s.kind]
    if s.last and s.kind == "dA":
        return
    for role, kind in roles.items():
        own = called[role]
        arrays = other_layers(s, kind)
        if kind == "W" and role == "W_next":
            arrays = {name: x for name, x in s.arrays.items() if kind_of(name) == "W"}
        if kind == "A" and s.kind == "dW":
            arrays[f"A{s.layer}"] = s.A
        arrays.pop(own, None)
        if role == "dZ":
            arrays = {name: x for name, x in arrays.items() if not _swapped_with(s, s.kind + name[2:])}
        yield from with_any(s, role, own, arrays)
    if s.kind == "dZ" and slope(s) is not None:
        for n, activation in s.activations.items():
            if n == s.layer or activation not in ACTIVATIONS:
                continue
            for g in dict.fromkeys((s.activation, activation)):
                other = derivative(g, s.arrays[f"Z{n}"], s.arrays[f"A{n}"])
                yield from another(s, f"the derivative at Z{n} for Z{s.layer}", slope=other)


@cause("the cache of another layer", "dW")
def _another_cache(s: Step) -> Iterator[Variant]:
    """Layer l of the backward pass uses what layer l of the forward pass has put by: caches[l] of layer l + 1."""
    for n, activation in s.activations.items():
        if n != s.layer and activation == s.activation and activation in ACTIVATIONS:
            by = list(s.activations).index(n) - list(s.activations).index(s.layer)
            A_prev = s.arrays.get(neighbour(s, "A", by - 1))
            try:
                dZ = s.dA * derivative(activation, s.arrays[f"Z{n}"], s.arrays[f"A{n}"])
            except ValueError:
                continue
            yield from another(s, f"of layer {n} for {s.layer}", dZ=dZ, A_prev=A_prev)


@cause("Z where A belongs in the product", "dW")
def _z_for_a(s: Step) -> Iterator[Variant]:
    """The gradient dW is dZ times what came into the layer, which is A of the layer below, not its Z."""
    instead = {name: x for name, x in s.arrays.items() if kind_of(name) == "Z"}
    yield from with_any(s, "A_prev", neighbour(s, "A", -1), instead)


@cause("X in another scale", "Z dW")
def _scaled(s: Step) -> Iterator[Variant]:
    """Scale X once, before all, and use the same X forward, in Z1 = W1 X + b1, and backward, in dW1 = dZ1 X.T."""
    X = s.arrays["X"]
    only_its_gate = s.kind == "Z" and s.got is None and s.activation == "ReLU"  # may show, which many an X has
    if s.layer != s.numbers[0] or s.m < 2 or only_its_gate:
        return
    mean, spread = X.mean(axis=1, keepdims=True), X.std(axis=1, keepdims=True)
    norms = np.linalg.norm(X, axis=1, keepdims=True)
    one, lengths = np.ones_like(mean), np.linalg.norm(X, axis=0, keepdims=True)
    forms = {  # what is subtracted from each feature, and what it is divided by; and what each example is divided by
        "X / 255 for X": (0.0, 255 * one, 1.0), "255 X for X": (0.0, one / 255, 1.0),
        "X less its mean for X": (mean, one, 1.0), "(X - mean) / std for X": (mean, spread, 1.0),
        "(X - mean) / variance for X": (mean, spread**2, 1.0), "X / std for X": (0.0, spread, 1.0),
        "X over its maximum for X": (0.0, X.max() * one, 1.0),
        "X over the norm of each feature for X": (0.0, norms, 1.0),
        "X over the norm of each example for X": (0.0, one, lengths),
    }  # fmt: skip
    for what, (start, by, of_example) in forms.items():  # as products with X itself, which may be large
        if s.kind == "Z":
            W = s.W / by.T
            yield Variant((W @ X - W @ (start * one)) / of_example + s.b, what)
        else:
            dZ = s.dZ / of_example
            yield Variant((dZ @ X.T - dZ.sum(axis=1, keepdims=True) * (start * one).T) / by.T, what)


@cause("X in another scale and place", "dW", free=True)
def _scaled_and_moved(s: Step) -> Variant | None:
    """It is right for another X, of which each feature is multiplied, and moved: X before or behind a normalisation."""
    got, ones = s.got, s.dZ.sum(axis=1, keepdims=True)
    if s.layer != s.numbers[0] or got is None or got.shape != s.expected.shape or s.beside is not None:
        return None
    units, features = got.shape
    if units > 2 and (units - 2) * features > 2:
        bases, said = [np.hstack([s.expected[:, [j]], ones]) for j in range(features)], "of each feature"
        found = [np.linalg.lstsq(base, got[:, j], rcond=None)[0] for j, base in enumerate(bases)]
        array = np.stack([base @ x for base, x in zip(bases, found, strict=True)], axis=1)
    elif got.size > 4:
        base, said = np.stack([s.expected.ravel(), np.broadcast_to(ones, got.shape).ravel()], axis=1), "of all features"
        found = [np.linalg.lstsq(base, got.ravel(), rcond=None)[0]]
        array = (base @ found[0]).reshape(got.shape)
    else:
        return None
    scales, moves = np.array(found).T
    moved = np.abs(moves) > 1e-6 * np.abs(scales)
    size = np.abs(scales).max()
    if np.abs(scales).min() <= 1e-6 * size or not (np.any(moved) or np.ptp(scales) > 1e-6 * size):
        return None  # a feature without a gradient, or a mere factor
    numbers = ", ".join(f"{a:.4g} X + {c:.4g}" for a, c in list(zip(scales, moved * moves, strict=True))[:3])
    return Variant(array, f"{said}: {numbers}{', ...' if len(found) > 3 else ''}")


@cause("a gradient where A belongs", "dW")
def _gradient_for_forward(s: Step) -> Iterator[Variant]:
    """The gradient dW is dZ times what came into the layer in the forward pass, which is A of the layer below."""
    for scale in (1, s.m):
        below = neighbour(s, "A", -1)
        instead = {f"{kind}{below[1:]}": s.arrays.get(f"{kind}{below[1:]}") for kind in HANDED_ON}
        scaled = {name: scale * x for name, x in instead.items() if x is not None}
        yield from with_any(s, "A_prev", below, scaled)


@cause("A or Z where a gradient belongs", "dA dZ dW db")
def _forward_for_gradient(s: Step) -> Iterator[Variant]:
    """The backward pass hands gradients on: dA is W.T dZ, dZ is dA * g'(Z), dW is dZ A_prev.T."""
    role = {"dA": "dZ_next", "dZ": "dA", "dW": "dZ", "db": "dZ"}[s.kind]
    if s.last and s.kind == "dA":
        return
    layer = neighbour(s, "Z", 1)[1:] if s.kind == "dA" else s.layer
    for name, x in ((f"A{layer}", s.arrays[f"A{layer}"]), (f"Z{layer}", s.arrays[f"Z{layer}"]), ("Y", s.Y)):
        if np.ptp(x) == 0 and not dz_is_known(s):  # as at weights of zero
            continue
        what = f"{name} for {_names(s)[role]}"
        yield from either_scale(s, with_another(s, **{role: x}), what)
        if s.kind == "dZ" and not (s.last and s.cross_entropy and name[0] == "A"):  # there, rather Y is missing
            yield from either_scale(s, x, f"{name} for dZ{s.layer}")


@cause("dW for W", "dA")
def _gradient_for_parameter(s: Step) -> Iterator[Variant]:
    """The gradient goes back through the weights themselves: dA1 is W2.T dZ2, not dW2.T dZ2."""
    if s.W_next is not None:
        instead = {name: x for name, x in s.arrays.items() if kind_of(name) == "dW"}
        for name, x in instead.items():
            for scale in (1, s.m):  # a dW without the 1/m
                yield from another(s, f"{name} for {neighbour(s, 'W', 1)}", W_next=scale * x)


@cause("W is missing", "dA")
def _no_weights(s: Step) -> Iterator[Variant]:
    """The gradient dZ of the layer above comes through its weights: dA1 is W2.T dZ2."""
    if s.dZ_next is not None and s.dZ_next.shape[0] in (1, s.expected.shape[0]):
        yield Variant(np.broadcast_to(s.dZ_next, s.expected.shape))
        yield Variant(s.dZ_next)


@cause("a gradient under another name", "dA dZ dW db")
def _swapped(s: Step) -> Iterator[Variant]:
    """It is right, but of another array: look at the keys of the dictionary, or at the order of what is returned."""
    if s.got is None:
        return
    kinds = {"dW": ("dW", "db"), "db": ("db", "dW")}.get(s.kind, (s.kind,))  # what a step returns, in another order
    for name, x in s.right.items():
        if name == s.name or kind_of(name) not in kinds:
            continue
        if name not in s.given or _swapped_with(s, name) or kind_of(name) != s.kind:
            yield Variant(x, f"{name} as {s.name}")


def _swapped_with(s: Step, name: str) -> bool:
    """Whether what was given under another name is not that array."""
    if name not in s.given or name not in s.right:
        return False
    given, right = s.given[name], s.right[name]
    return given.shape != right.shape or not any(np.allclose(given, k * right, rtol=1e-6, atol=0) for k in (1, s.m))


@cause("a parameter for its gradient", "dW db")
def _parameter(s: Step) -> Iterator[Variant]:
    """Keep the gradient apart from the parameter, and from the parameter after the update."""
    p, name = (s.W, f"W{s.layer}") if s.kind == "dW" else (s.b, f"b{s.layer}")
    if s.got is None or not np.any(p) or s.got.shape != p.shape:
        return
    yield Variant(p, f"{name} itself")
    if s.got.size < 3:
        return
    alpha = multiple_of(p - s.got, s.expected)
    if alpha > 0:
        yield Variant(p - alpha * s.expected, f"{name} after an update at a learning rate of {alpha:.3g}")


@cause("changed in place", "Z A dA dW")
def _in_place(s: Step) -> Iterator[Variant]:
    """What is written into an array (x[...] = 0, x *= y) changes it for whoever uses it too. Work on a copy."""
    if s.kind == "dA":
        g = slope(s)
        if g is not None and not (s.last and s.cross_entropy):
            yield Variant(s.expected * g, f"dA{s.layer} became dZ{s.layer}")
    elif s.kind == "dW":
        yield Variant(s.dZ @ (s.A_prev > 0).T, f"{neighbour(s, 'A', -1)} became 0 and 1")
    else:
        if s.activation == "ReLU":
            if s.kind == "Z":
                yield Variant(np.maximum(s.expected, 0), f"Z{s.layer} became A{s.layer}")
            yield Variant(s.expected > 0, f"{s.name} became 0 and 1")


@cause("an update applied before the gradient", "dA dZ dW db", free=True)
def _updated_too_early(s: Step) -> Variant | None:
    """The layer above had been updated already when its W was used here. Compute all gradients, then update."""
    if (
        s.got is None
        or s.W_next is None
        or s.dZ_next is None
        or s.dW_next is None
        or s.got.shape != s.expected.shape
        or s.got.size < 3
    ):
        return None
    right = s.W_next.T @ s.dZ_next
    slope = s.if_instead(f"dA{s.layer}", right - s.dW_next.T @ s.dZ_next) - s.expected  # for a learning rate of 1
    aligned = np.sum(slope * s.expected) ** 2 / (np.sum(slope**2) * np.sum(s.expected**2) + np.finfo(float).tiny)
    if not np.any(slope) or aligned > 1 - 1e-9:  # a mere factor could be anything
        return None
    alpha = multiple_of(s.got - s.expected, slope)
    if not alpha:
        return None
    return Variant(s.expected + alpha * slope, others={f"dA{s.layer}": right - alpha * s.dW_next.T @ s.dZ_next})
