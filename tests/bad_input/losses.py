"""Good calls of the losses."""

from __future__ import annotations

import numpy as np

import tinygrad_dls as tg
from tests.bad_input.calls import CALLS, X23, A, Call, Place, call, graph_of, values_of
from tests.bad_input.corruptions import arrays_instead, scalars_instead
from tests.bad_input.models import count, number, refuses
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


def weighted(reference):
    """The weighted mean of the losses of single examples, without those of weight 0."""

    def cost(z, y, w):
        reference(z, y)  # which refuses
        if w.shape != ((1, z.shape[-1]) if z.ndim else ()) or not (w >= 0).all() or not 0 < w.sum() < np.inf:
            raise ValueError
        if not z.ndim:
            return reference(z, y)
        counted = [i for i in range(z.shape[1]) if w[0, i] > 0]
        losses = [reference(z[:, i : i + 1], y[:, i : i + 1]) for i in counted]
        return np.average(losses, weights=w[0, counted])

    return cost


def weights(good):
    """What may come in place of weights; None is no bad value, but none at all."""
    return [bad for bad in arrays_instead(good) if bad.value is not None]


LABELS = np.array([[0, 1, 1], [1, 0, 1]])
WEIGHTS = np.array([[0.5, 2, 1]])
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
    _places = (*_places, Place("sample_weight", WEIGHTS, weights))
    _g = lambda z, y, w, f=_f: f(z, y, sample_weight=w)  # noqa: E731
    CALLS[_name].append(Call(_places, lambda z, y, w, g=_g: values_of(g(z, y, w)), weighted(_reference), (_name,)))
    CALLS[_name].append(
        Call(_places, graph_of(_g, {0: _first, 2: "sample_weight"}), weighted(_reference), (_name, "backward"))
    )
    if _name == "mean_squared_error":
        CALLS[_name].append(Call(_places[:2], graph_of(_f, {0: _first, 1: "Y"}), _reference, (_name, "backward")))


def smoothed(y, eps, n_classes=None):
    eps = number(eps)
    if not 0 <= eps < 1 or y.ndim != 2 or not y.size:
        raise ValueError
    if n_classes is not None:
        if y.shape[0] != 1 or y.dtype.kind not in "iub" or y.min() < 0 or y.max() >= count(n_classes) or n_classes < 2:
            raise ValueError
        y = np.eye(count(n_classes))[:, y[0].astype(int)]
    probabilities(y)
    if len(y) > 1 and (np.abs(y.sum(axis=0) - 1) > 1e-3).any():
        raise ValueError
    return (1 - eps) * y + eps / max(2, len(y))


def apart(y):
    if y.ndim != 2 or not y.size:
        raise ValueError
    probabilities(y)
    return 0.75 * y + 0.125


for _y in (LABELS[:1], np.array([[0.5, 0.25, 1], [0.5, 0.75, 0]])):
    call(
        "smooth_labels", A(_y, role="Y"), Place("eps", 0.25, scalars_instead), run=tg.smooth_labels, reference=smoothed
    )
call("smooth_labels", A(LABELS[:1], role="Y"), Place("n_classes", 3, lambda n: [
     bad for bad in scalars_instead(n) if bad.value is not None]), reference=lambda y, n: smoothed(y, 0.25, n),
     run=lambda y, n: tg.smooth_labels(y, 0.25, n_classes=n))  # fmt: skip
call("smooth_labels", A(LABELS, role="Y"), Place("several_labels", True, scalars_instead),
     run=lambda y, s: tg.smooth_labels(y, 0.25, several_labels=s),
     reference=lambda y, several: apart(y) if isinstance(several, (bool, np.bool_)) and several else smoothed(
         y, 0.25 if isinstance(several, (bool, np.bool_)) else refuses()))  # fmt: skip
