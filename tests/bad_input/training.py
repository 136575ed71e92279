"""Good calls of training and data."""

from __future__ import annotations

import tempfile
from pathlib import Path

import dask.array as da
import numpy as np
import pandas as pd

import tinygrad_dls as tg
from tests.bad_input.calls import A, O, Place, call, unchanged
from tests.bad_input.corruptions import LONG, arrays_instead, scalars_instead
from tests.bad_input.losses import cross_entropy_with_logits, weights
from tests.bad_input.models import X35, count, drawn, no_functions, number, refuses


def trained(X, Y, epochs=2, batch_size=None, rng=None, **options):
    model = tg.nn.LogisticRegression(3)
    optimizer = tg.optim.SGD(model.parameters(), 0.1)
    with unchanged(model, optimizer):
        tg.fit(model, X, Y, loss=options.pop("loss", tg.binary_cross_entropy_with_logits), optimizer=optimizer,
               epochs=epochs, batch_size=batch_size, rng=rng, **options)  # fmt: skip
    return [p.data for p in model.parameters()]


def rates_of(X, Y, steps=10, **options):
    model = tg.nn.LogisticRegression(3)
    optimizer = tg.optim.SGD(model.parameters(), 0.1)
    with unchanged(model, optimizer):
        return tg.learning_rates(model, X, Y, loss=tg.binary_cross_entropy_with_logits, optimizer=optimizer,
                                 steps=steps, **{"lowest": 0.001, "highest": 0.1} | options).costs  # fmt: skip


Y15 = np.array([[0, 1, 1, 0, 1]])


def trained_by_hand(X, Y, epochs=2, w=None):
    if X.ndim != 2 or X.shape[0] != 3 or not np.isfinite(X).all():
        raise ValueError
    W, b = np.zeros((1, 3)), np.zeros((1, 1))
    for _ in range(count(epochs)):
        cross_entropy_with_logits(W @ X + b, Y)
        dZ = (1 / (1 + np.exp(-(W @ X + b))) - Y) * (1 / X.shape[1] if w is None else w / w.sum())
        W, b = W - 0.1 * dZ @ X.T, b - 0.1 * dZ.sum(axis=1, keepdims=True)
    return [W, b]


def rates_by_hand(X, Y, steps=10):
    trained_by_hand(X, Y)
    if count(steps) < 10:
        raise ValueError
    W, b, costs = np.zeros((1, 3)), np.zeros((1, 1)), []
    for rate in np.geomspace(0.001, 0.1, steps):
        costs.append(cross_entropy_with_logits(W @ X + b, Y))
        dZ = (1 / (1 + np.exp(-(W @ X + b))) - Y) / X.shape[1]
        W, b = W - rate * dZ @ X.T, b - rate * dZ.sum(axis=1, keepdims=True)
    return costs


call("learning_rates", A(X35, role="X"), A(Y15, role="Y"), run=rates_of, reference=rates_by_hand,
     names=("layer1", "fit"))  # fmt: skip
call("learning_rates", Place("steps", 12, lambda good: [bad for bad in scalars_instead(good) if bad.label not in LONG]),
     run=lambda steps: rates_of(X35, Y15, steps), reference=lambda steps: rates_by_hand(X35, Y15, steps))  # fmt: skip
call("learning_rates", O("lowest", 0.001), O("highest", 0.1),
     run=lambda low, high: rates_of(X35, Y15, lowest=low, highest=high),
     reference=lambda low, high: rates_by_hand(X35, Y15) if (number(low), number(high)) == (0.001, 0.1)
         else rates_of(X35, Y15, lowest=float(low), highest=float(high)))  # fmt: skip
call("fit", A(X35, role="X"), A(Y15, role="Y"), run=trained, reference=trained_by_hand, names=("layer1",))
call("fit", A(X35, role="X"), A(Y15, role="Y"), names=("layer1", "validation data"), reference=lambda X, Y: (
     trained_by_hand(X, Y), trained_by_hand(X35, Y15))[1],
     run=lambda X, Y: trained(X35, Y15, validation=(X, Y)))  # fmt: skip
call("fit", Place("epochs", 3, lambda good: [bad for bad in scalars_instead(good) if bad.label not in LONG]),
     run=lambda epochs: trained(X35, Y15, epochs),
     reference=lambda epochs: trained_by_hand(X35, Y15, epochs))  # fmt: skip
call("fit", O("batch_size", 5), O("rng", 0), run=lambda size, rng: trained(X35, Y15, 1, size, rng),
     reference=lambda size, rng: trained_by_hand(X35, Y15, 1) if size is None
         else trained(X35, Y15, 1, count(size), 0) if drawn(rng, 1) is not None and count(size) < 5
         else trained_by_hand(X35, Y15, 1))  # fmt: skip
call("fit", O("validation", (X35, Y15)), run=lambda v: trained(X35, Y15, validation=v), names=("validation",),
     reference=lambda v: trained_by_hand(X35, Y15) if v is None or trained_by_hand(*v) else refuses())  # fmt: skip
call("fit", O("callbacks", ()), run=lambda c: trained(X35, Y15, callbacks=c),
     reference=lambda c: trained_by_hand(X35, Y15) if len(c) == 0 else refuses())  # fmt: skip
call("fit", Place("loss", tg.binary_cross_entropy_with_logits, lambda f: no_functions(scalars_instead(f))),
     run=lambda loss: trained(X35, Y15, loss=loss),
     reference=lambda loss: trained_by_hand(X35, Y15) if loss is tg.binary_cross_entropy_with_logits
         else refuses())  # fmt: skip


def trained_with_weights(w):
    if w.shape != (1, 5) or not (w >= 0).all() or not 0 < w.sum() < np.inf:
        raise ValueError
    return trained_by_hand(X35, Y15, w=w)


def trained_with_smooth_labels(eps):
    if not 0 <= number(eps) < 1:
        raise ValueError
    return trained_by_hand(X35, (1 - number(eps)) * Y15 + number(eps) / 2)


BY_CLASS = {0: 1.0, 1: 3.0}
call("fit", Place("sample_weight", np.array([[1.0, 2, 0, 0.5, 1]]), weights), reference=trained_with_weights,
     run=lambda w: trained(X35, Y15, sample_weight=w))  # fmt: skip
call("fit", Place("class_weight", BY_CLASS, lambda good: [b for b in scalars_instead(good) if b.value is not None]),
     run=lambda c: trained(X35, Y15, class_weight=c), reference=lambda c: trained_by_hand(
         X35, Y15, w=np.where(Y15 == 1, 3.0, 1.0)) if c is BY_CLASS else refuses())  # fmt: skip
call("fit", O("label_smoothing", 0.25), run=lambda eps: trained(X35, Y15, label_smoothing=eps),
     reference=trained_with_smooth_labels)  # fmt: skip


IN_CHUNKS = da.from_array(X35, chunks=(3, 2))
call("fit", O("client", None), reference=lambda c: trained_by_hand(X35, Y15) if c is None else refuses(),
     run=lambda c: trained(X35, Y15, client=c))  # fmt: skip
call("fit", O("client", None), reference=lambda c: trained_by_hand(X35, Y15) if c is None else refuses(),
     run=lambda c: trained(IN_CHUNKS, Y15, client=c))  # fmt: skip
call("fit", A(Y15, role="Y"), run=lambda Y: trained(IN_CHUNKS, Y), names=("layer1",),
     reference=lambda Y: trained_by_hand(X35, Y))  # fmt: skip
call("fit", Place("sample_weight", np.array([[1.0, 2, 0, 0.5, 1]]), weights), reference=trained_with_weights,
     run=lambda w: trained(IN_CHUNKS, Y15, sample_weight=w))  # fmt: skip
call("fit", O("label_smoothing", 0.25), run=lambda eps: trained(IN_CHUNKS, Y15, label_smoothing=eps),
     reference=trained_with_smooth_labels)  # fmt: skip
call("fit", Place("batch_size", 6, lambda good: [bad for bad in scalars_instead(good) if bad.value is not None]),
     run=lambda size: trained(IN_CHUNKS, Y15, 1, size, 0), reference=lambda size: trained_by_hand(X35, Y15, 1)
         if count(size) >= 5 else refuses())  # fmt: skip


def fit_with(model=None, optimizer=None):
    good = tg.nn.LogisticRegression(3)
    tg.fit(good if model is None else model, X35, Y15, loss=tg.binary_cross_entropy_with_logits, epochs=1,
           optimizer=tg.optim.SGD(good.parameters(), 0.1) if optimizer is None else optimizer)  # fmt: skip


def junk_only(good):
    return [bad for bad in scalars_instead(good) if bad.value is not None and not isinstance(bad.value, str)]


call("fit", Place("model", ..., junk_only), run=lambda m: fit_with(model=None if m is ... else m),
     reference=lambda m: [] if m is ... else refuses())  # fmt: skip
call("fit", Place("optimizer", ..., junk_only), run=lambda o: fit_with(optimizer=None if o is ... else o),
     reference=lambda o: [] if o is ... else refuses())  # fmt: skip


def shuffled(X, Y, size, rng):
    if X.ndim != 2 or Y.ndim != 2 or X.shape[1] != Y.shape[1] or rng is None or isinstance(rng, (bool, np.bool_)):
        raise ValueError
    rng = rng if isinstance(rng, (np.random.Generator, np.random.RandomState)) else np.random.default_rng(rng)
    order = rng.permutation(X.shape[1])
    X, Y = X[:, order], Y[:, order]
    size = count(size)
    return [part for i in range(0, X.shape[1], size) for part in (X[:, i : i + size], Y[:, i : i + size])]


def with_weights(w):
    if w.shape != (1, 5) or not (w >= 0).all() or not 0 < w.sum() < np.inf:
        raise ValueError
    return w[:, np.random.default_rng(0).permutation(5)]


call("minibatches", Place("sample_weight", np.array([[1.0, 2, 0, 0.5, 1]]), weights), reference=with_weights,
     run=lambda w: next(iter(tg.minibatches(X35, Y15, 5, rng=0, sample_weight=w)))[2])  # fmt: skip
call("minibatches", A(X35, role="X"), A(Y15, role="Y"), O("batch_size", 2), O("rng", 0), reference=shuffled,
     run=lambda X, Y, size, rng: list(tg.minibatches(X, Y, size, rng=rng)))  # fmt: skip


def classes_of(predictions, Y):
    if predictions.ndim != 2 or Y.ndim != 2 or len(predictions) != 1 or predictions.shape[1] != Y.shape[1]:
        raise ValueError
    if not Y.size or np.isnan(predictions).any() or np.isnan(Y).any():
        raise ValueError
    return predictions[0], Y[0] if len(Y) == 1 else np.argmax(Y, axis=0)


def confusion(predictions, Y):
    p, y = classes_of(predictions, Y)
    both = np.concatenate([p, y])
    if (both != np.round(both)).any() or both.min() < 0 or both.max() > 10_000:
        raise ValueError
    n = max(2, len(Y), int(both.max()) + 1)
    return np.bincount((y * n + p).astype(int), minlength=n * n).reshape(n, n)


P15 = np.array([[0, 1, 0, 2, 1]])
ONE_HOT = np.eye(3, dtype=int)[:, [0, 1, 0, 2, 2]]
for _y in (np.array([[0, 1, 1, 2, 1]]), ONE_HOT):
    call("accuracy", A(P15, role="predictions"), A(_y, role="Y"), run=tg.accuracy,
         reference=lambda p, y: np.mean(np.equal(*classes_of(p, y))))  # fmt: skip
    call("confusion_matrix", A(P15, role="predictions"), A(_y, role="Y"), run=tg.confusion_matrix,
         reference=confusion)  # fmt: skip
call("datasets.planar_flower", O("m", 4), O("rng", 0), run=lambda m, rng: tg.datasets.planar_flower(m, rng=rng)[1],
     reference=lambda m, rng: np.repeat([0, 1], count(m) // 2)[None] if m % 2 == 0 and (
         rng is None or drawn(rng, 1) is not None) else refuses())  # fmt: skip


def read(target="kind", ignore=("id",), path=None, **options):
    with tempfile.TemporaryDirectory() as folder:
        good = Path(folder) / "data.csv"
        good.write_text("id,a,kind\n1,0.5,yes\n2,0.25,no\n")
        X, Y, *_ = tg.datasets.read_csv(good if path is None else path, target=target, ignore=ignore, **options)
        return [X.tolist(), Y.tolist()]


call("datasets.read_csv", O("target", "kind"), O("ignore", ("id",)), run=read, names=("data.csv",),
     reference=lambda target, ignore: [[[0.5, 0.25]], [[1, 0]]] if target == "kind" and list(ignore) == ["id"]
         else [[[1, 2], [0.5, 0.25]], [[1, 0]]] if target == "kind" and not len(ignore) else refuses())  # fmt: skip


def empty(x):
    return isinstance(x, (tuple, list, dict)) and not x


for _option, _good in (("sep", ","), ("decimal", "."), ("missing", "error"), ("one_hot", ())):
    call("datasets.read_csv", Place(_option, _good, junk_only), names=("data.csv",),
         run=lambda v, option=_option: read(**{option: v}),
         reference=lambda v, option=_option, good=_good: read() if v is good or (
             option in ("one_hot", "missing") and empty(v)) else refuses())  # fmt: skip
call("datasets.read_csv", Place("path", None, junk_only), run=lambda p: read(path=p),
     reference=lambda p: read() if p is None else refuses())  # fmt: skip


def framed(frame=None, **options):
    frame = pd.DataFrame({"a": [0.5, 0.25], "kind": ["yes", "no"]}) if frame is None else frame
    X, Y, *_ = tg.datasets.from_frame(frame, **{"target": "kind"} | options)
    return [X.tolist(), Y.tolist()]


call("datasets.from_frame", Place("frame", None, junk_only), run=lambda frame: framed(frame), names=("DataFrame",),
     reference=lambda frame: framed() if frame is None else refuses())  # fmt: skip
for _option, _good in (("target", "kind"), ("ignore", ()), ("missing", "error"), ("one_hot", ())):
    call("datasets.from_frame", Place(_option, _good, junk_only), names=("from_frame",),
         run=lambda v, option=_option: framed(**{option: v}),
         reference=lambda v, option=_option, good=_good: framed() if v is good or (
             option != "target" and empty(v)) else refuses())  # fmt: skip


RECIPE = tg.datasets.from_frame(pd.DataFrame({"a": [0.5, 0.25], "kind": ["yes", "no"]}), target="kind").recipe
call("datasets.from_frame", Place("like", RECIPE, junk_only), names=("from_frame",),
     run=lambda v: framed(target=None, like=v), reference=lambda v: framed() if v is RECIPE else refuses())  # fmt: skip


def one_hot(y, n=None):
    indices = y.dtype.kind in "iu" and y.size and y.shape in ((y.size,), (1, y.size))
    if not indices or y.min() < 0 or y.max() > 10_000 or (n is not None and y.max() >= count(n)):
        raise ValueError
    return np.eye(int(y.max()) + 1 if n is None else n)[:, y.reshape(-1)]


call("datasets.one_hot", Place("Y", P15, lambda y: [bad for bad in arrays_instead(y) if bad.label != "range"]),
     run=tg.datasets.one_hot, reference=one_hot)  # fmt: skip  # a range holds class indices, if not for its reference
call("datasets.one_hot", Place("n_classes", 3, junk_only), run=lambda n: tg.datasets.one_hot(P15, n),
     reference=lambda n: one_hot(P15, n))  # fmt: skip
TEN = np.arange(10.0)[None]


def split(X=TEN, Y=TEN % 2, **options):
    return sum(part.shape[1] for part in tg.datasets.train_test_split(X, Y, **{"test": 4, "rng": 0} | options))


def tested_with(test):
    """The number of examples, of ten, to test with."""
    whole = np.asarray(test).dtype.kind in "iu"
    n = int(test) if whole else round(10 * float(test))
    return 20 if np.shape(test) == () and 0 < n < 10 and whole == (test >= 1) else refuses()


for _role in "XY":
    call("datasets.train_test_split", A(TEN, role=_role), run=lambda x, role=_role: split(**{role: x}),
         reference=lambda x: 20 if x.ndim == 2 and x.shape[1] == 10 else refuses())  # fmt: skip
call("datasets.train_test_split", O("test", 4), run=lambda test: split(test=test), reference=tested_with)
call("datasets.train_test_split", O("rng", 0), run=lambda rng: split(rng=rng),
     reference=lambda rng: 20 if drawn(rng, 1) is not None else refuses())  # fmt: skip
call("datasets.train_test_split", O("stratify", False), run=lambda v: split(stratify=v),
     reference=lambda v: 20 if isinstance(v, (bool, np.bool_)) else refuses())  # fmt: skip


def smoothed(y, eps):
    if y.ndim != 2 or y.shape[0] != 1 or not y.size or not np.isin(y, (0, 1)).all() or not 0 <= eps < 1:
        raise ValueError
    return (1 - eps) * y + eps / 2


call("smooth_labels", O("eps", 0.25), run=lambda eps: tg.smooth_labels([[0, 1]], eps),
     reference=lambda eps: smoothed(np.array([[0, 1]]), float(eps)) if np.shape(eps) == () else refuses())  # fmt: skip
