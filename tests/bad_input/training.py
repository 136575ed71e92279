"""Good calls of training and data."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

import tinygrad_dls as tg
from tests.bad_input.calls import A, O, Place, call, unchanged
from tests.bad_input.corruptions import LONG, scalars_instead
from tests.bad_input.losses import cross_entropy_with_logits
from tests.bad_input.models import X35, count, drawn, no_functions, refuses


def trained(X, Y, epochs=2, batch_size=None, rng=None, **options):
    model = tg.nn.LogisticRegression(3)
    optimizer = tg.optim.SGD(model.parameters(), 0.1)
    with unchanged(model, optimizer):
        tg.fit(model, X, Y, loss=options.pop("loss", tg.binary_cross_entropy_with_logits), optimizer=optimizer,
               epochs=epochs, batch_size=batch_size, rng=rng, **options)  # fmt: skip
    return [p.data for p in model.parameters()]


Y15 = np.array([[0, 1, 1, 0, 1]])


def trained_by_hand(X, Y, epochs=2):
    if X.ndim != 2 or X.shape[0] != 3 or not np.isfinite(X).all():
        raise ValueError
    W, b = np.zeros((1, 3)), np.zeros((1, 1))
    for _ in range(count(epochs)):
        cross_entropy_with_logits(W @ X + b, Y)
        dZ = (1 / (1 + np.exp(-(W @ X + b))) - Y) / X.shape[1]
        W, b = W - 0.1 * dZ @ X.T, b - 0.1 * dZ.sum(axis=1, keepdims=True)
    return [W, b]


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


def read(target="kind", ignore=("id",), path=None):
    with tempfile.TemporaryDirectory() as folder:
        good = Path(folder) / "data.csv"
        good.write_text("id,a,kind\n1,0.5,yes\n2,0.25,no\n")
        X, Y, *_ = tg.datasets.read_csv(good if path is None else path, target=target, ignore=ignore)
        return [X.tolist(), Y.tolist()]


call("datasets.read_csv", O("target", "kind"), O("ignore", ("id",)), run=read, names=("data.csv",),
     reference=lambda target, ignore: [[[0.5, 0.25]], [[1, 0]]] if target == "kind" and list(ignore) == ["id"]
         else [[[1, 2], [0.5, 0.25]], [[1, 0]]] if target == "kind" and not len(ignore) else refuses())  # fmt: skip
call("datasets.read_csv", Place("path", None, junk_only), run=lambda p: read(path=p),
     reference=lambda p: read() if p is None else refuses())  # fmt: skip
