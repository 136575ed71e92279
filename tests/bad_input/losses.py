"""Good calls of the losses."""

from __future__ import annotations

import numpy as np

import tinygrad_dls as tg
from tests.bad_input.calls import CALLS, X23, A, Call, graph_of, values_of
from tests.bad_input.ops import below_the_largest


def columns(z, y):
    if z.shape != y.shape or z.ndim not in (0, 2) or z.size == 0:
        raise ValueError
    return z.shape[-1] if z.shape else 1


def probabilities(y):
    if not ((y >= 0) & (y <= 1)).all():
        raise ValueError


def cross_entropy(a, y):
    m, a, y = columns(a, y), 1.0 * a, 1.0 * y
    probabilities(a), probabilities(y)
    a = np.clip(a, np.finfo(float).tiny, 1 - 2.0**-53)
    return -np.sum(y * np.log(a) + (1 - y) * np.log(1 - a)) / m


def cross_entropy_with_logits(z, y):
    m, z, y = columns(z, y), 1.0 * z, 1.0 * y
    probabilities(y)
    away = np.where(z > 0, 1 - y, y)  # what the label is away from that of the logit's side
    return np.sum(np.where(away == 0, 0 * np.isnan(z), away * np.abs(z)) + np.log1p(np.exp(-np.abs(z)))) / m


def class_cross_entropy(z, y):
    if z.ndim != 2 or z.shape[0] < 2 or z.shape[1] == 0:
        raise ValueError
    if y.shape == (1, z.shape[1]):
        if (y != np.round(y)).any() or y.min() < 0 or y.max() >= len(z):
            raise ValueError
        y = (np.arange(len(z))[:, None] == y).astype(float)
    columns(z, y)
    probabilities(y)
    if (np.abs(y.sum(axis=0) - 1) > 1e-3).any():
        raise ValueError
    s = below_the_largest(1.0 * z)
    terms = np.where(y == 0, 0, y * (np.log(np.exp(s).sum(axis=0)) - s))
    return terms.sum() / z.shape[1]


def squared_error(a, y):
    m = columns(a, y)
    if not np.isfinite(y).all():
        raise ValueError
    return np.sum((1.0 * a - 1.0 * y) ** 2) / m


LABELS = np.array([[0, 1, 1], [1, 0, 1]])
for _name, _first, _y, _reference in [
    ("binary_cross_entropy", "A", LABELS, cross_entropy),
    ("binary_cross_entropy_with_logits", "Z", LABELS, cross_entropy_with_logits),
    ("softmax_cross_entropy", "Z", np.array([[0, 1, 1]]), class_cross_entropy),
    ("softmax_cross_entropy", "Z", np.array([[0.5, 0.25, 1], [0.5, 0.75, 0]]), class_cross_entropy),
    ("mean_squared_error", "A", X23[::-1], squared_error),
]:
    _f = getattr(tg, _name)
    _places = (A(X23, role=_first), A(_y, role="Y"))
    CALLS.setdefault(_name, []).append(Call(_places, lambda z, y, f=_f: values_of(f(z, y)), _reference, (_name,)))
    CALLS[_name].append(Call(_places, graph_of(_f, {0: _first}), _reference, (_name, "backward")))
    if _name == "mean_squared_error":
        CALLS[_name].append(Call(_places, graph_of(_f, {0: _first, 1: "Y"}), _reference, (_name, "backward")))
