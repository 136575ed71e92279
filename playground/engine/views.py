"""What there is to see of a training: the decision, the network, histograms, its code and its derivation."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

import tinygrad_dls as tg
from playground.engine.session import Session

__all__ = ["axes_of", "code", "decision", "derivation", "histograms", "network", "points", "without_dropout"]

Array = np.ndarray[Any, np.dtype[Any]]

MARGIN = 0.08  # of the picture, around the examples
MOST_POINTS = 1200  # that are drawn
BINS = 21


def axes_of(session: Session) -> tuple[int, int]:
    """Which two inputs the picture of the decision varies."""
    data = session.data
    if session.settings.is_planar:
        return 0, 1
    first, second = session.settings.axes or (data.features[0], data.features[min(1, len(data.features) - 1)])
    return data.names.index(first), data.names.index(second)


def _ranges(session: Session) -> list[tuple[float, float]]:
    """What the picture spans, along each axis."""
    both = np.concatenate([session.data.inputs, session.data.inputs_held], axis=1)
    ranges = []
    for axis in axes_of(session):
        low, high = float(both[axis].min()), float(both[axis].max())
        margin = MARGIN * (high - low) or 1.0
        ranges.append((low - margin, high + margin))
    return ranges


def points(session: Session) -> dict[str, Any]:
    """The examples, as the picture shows them; of very many, the first."""
    data = session.data
    i, j = axes_of(session)

    def part(inputs: Array, Y: Array) -> dict[str, Any]:
        labels = Y[0] if Y.shape[0] == 1 else np.argmax(Y, axis=0)
        return {
            "x": inputs[i, :MOST_POINTS].tolist(),
            "y": inputs[j, :MOST_POINTS].tolist(),
            "label": np.asarray(labels, float)[:MOST_POINTS].round(4).tolist(),
        }

    return {
        "ranges": _ranges(session),
        "axes": [data.names[i], data.names[j]],
        "others": 0 if session.settings.is_planar else len(data.features) - len({i, j}),
        "train": part(data.inputs, data.Y),
        "held": part(data.inputs_held, data.Y_held),
    }


def decision(session: Session, n: int) -> Array:
    """What the network says on a grid of n by n, the top row first; all other inputs are as they are on average.

    Returns
    -------
    array, shape (n_y, n * n)
        Probabilities, a row for each class if there are more than two; of a number, standard deviations.
    """
    (left, right), (bottom, top) = _ranges(session)
    i, j = axes_of(session)
    grid = np.repeat(session.data.inputs.mean(axis=1, keepdims=True), n * n, axis=1)
    grid[i] = np.tile(np.linspace(left, right, n), n)
    grid[j] = np.repeat(np.linspace(top, bottom, n), n)
    out: Array = session.output(session.data.seen(grid))
    return out


def without_dropout(session: Session) -> tg.nn.Sequential:
    """The network without its random masks, on the same parameters: what pictures, code and derivations are of."""
    if not session.settings.dropout:
        return session.model
    model = copy.copy(session.model)
    layers = [layer for layer in session.model.layers if not isinstance(layer, tg.nn.Dropout)]
    return type(model)(*layers)


def network(session: Session, rankdir: str, limit: int | None = None) -> str:
    """The picture of the network in the DOT language, with its weights and gradients of now."""
    model = without_dropout(session)
    parameters = model.parameters()
    before = [p.grad for p in parameters]
    try:
        with np.errstate(all="ignore"):
            for p in parameters:
                p.grad = None
            J = session.loss(model(session.data.X), session.data.Y)
            J.backward()
            return tg.draw(J, direction="both", rankdir=rankdir, limit=limit).source
    finally:
        for p, gradient in zip(parameters, before, strict=True):
            p.grad = gradient


def histograms(session: Session) -> list[dict[str, Any]]:
    """How the entries of each weight matrix and of its gradient are spread."""
    found = []
    for name, p in session.model.named_parameters():
        if name.startswith("b"):
            continue
        for label, x in ((name, p.data), (f"d{name}", p.grad)):
            if x is None or not np.all(np.isfinite(x)):
                continue
            counts, edges = np.histogram(x, BINS)
            found.append(
                {"name": label, "counts": counts.tolist(), "low": float(edges[0]), "high": float(edges[-1]),
                 "mean": float(x.mean()), "std": float(x.std())}
            )  # fmt: skip
    return found


def code(session: Session, *, update: bool) -> str:
    """The NumPy code of a step of this very network, with the optimizer's update or without."""
    optimizer = session.optimizer if update else None
    source = tg.numpy_source(
        without_dropout(session), session.data.X, session.data.Y, loss=session.loss, optimizer=optimizer
    )
    return "".join(f"# {line}\n" for line in _notes(session)) + ("\n\n" if _notes(session) else "") + source


def _notes(session: Session) -> list[str]:
    """What the code does not say of itself."""
    lines = []
    if not session.settings.is_planar:
        lines.append("X is standardised: each feature less its mean, divided by its standard deviation.")
    if session.settings.is_planar and session.data.features != ("x1", "x2"):
        lines.append(f"The rows of X are {', '.join(session.data.features)}.")
    if not session.data.classes:
        lines.append("So is Y, and the cost is in standard deviations squared.")
    if len(session.data.classes) > 2:
        lines.append("Y holds one-hot columns.")
    if session.settings.dropout:
        lines.append("Dropout is left out: its masks are drawn anew at each step.")
    return lines


def derivation(session: Session) -> str:
    """The derivation of its gradients, as HTML with MathML."""
    return tg.derive(without_dropout(session), session.data.X, session.data.Y, loss=session.loss).fragment
