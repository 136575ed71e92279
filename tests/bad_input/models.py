"""Good calls of layers, models and initialisers."""

from __future__ import annotations

import numpy as np

import tinygrad_dls as tg
from tests.bad_input.calls import (
    CALLS,
    RNG,
    X3,
    X23,
    A,
    Call,
    O,
    Place,
    call,
    graph_of,
    op_calls,
    unchanged,
    values_of,
)
from tests.bad_input.corruptions import arrays_instead, as_plain, scalars_instead
from tests.bad_input.ops import flag, softmax
from tests.bad_input.tensors import same_shape

# -- layers and models ------------------------------------------------------------------------------------------------


def count(n):
    if isinstance(n, (bool, np.bool_)) or not isinstance(n, (int, np.integer)) or not 0 < n < 2**31:
        raise ValueError
    return int(n)


def number(x):
    array = np.asarray(as_plain(x))
    if array.dtype.kind not in "fiu" or array.shape != () or isinstance(x, np.ma.MaskedArray):
        raise TypeError
    return float(array)


def drawn(rng, shape):
    if rng is None or isinstance(rng, (bool, np.bool_)):
        raise TypeError
    rng = rng if isinstance(rng, (np.random.Generator, np.random.RandomState)) else np.random.default_rng(rng)
    return rng.standard_normal(shape)


def real_dtype(dtype):
    if dtype is None or np.dtype(dtype).kind != "f":
        raise TypeError
    return np.dtype(dtype)


def linear(n_in, n_out, rng, dtype):
    W = drawn(rng, (count(n_out), count(n_in))) / np.sqrt(n_in)
    return [W.astype(real_dtype(dtype)), np.zeros((n_out, 1), dtype)]


call("nn.Linear", O("n_in", 3), O("n_out", 2), O("rng", 0), O("dtype", float),
     run=lambda n, k, rng, dtype: tg.nn.Linear(n, k, rng=rng, dtype=dtype), reference=linear,
     names=("init.xavier",))  # fmt: skip
call("nn.Linear", Place("init", X23, lambda good: no_functions(arrays_instead(good))),
     run=lambda init: tg.nn.Linear(3, 2, init=init),
     reference=lambda init: [same_shape(init, X23), np.zeros((2, 1))])  # fmt: skip
call("nn.Linear", A(X23, role="init"), run=lambda init: tg.nn.Linear(3, 2, init=lambda shape, rng: init),
     reference=lambda init: [same_shape(init, X23), np.zeros((2, 1))])  # fmt: skip
call("nn.LogisticRegression", O("n_x", 3), O("dtype", float), names=("Linear", "n_in"),
     run=lambda n, dtype: tg.nn.LogisticRegression(n, dtype=dtype),
     reference=lambda n, dtype: [np.zeros((1, count(n)), real_dtype(dtype)), np.zeros((1, 1), dtype)])  # fmt: skip


def no_functions(bads):
    """Without functions of the user's, whose errors are theirs."""
    return [bad for bad in bads if not callable(bad.value)]


def two_layers(n_x, n_h, n_y, rng, dtype):
    rng = rng if isinstance(rng, (np.random.Generator, np.random.RandomState)) else np.random.default_rng(rng)
    dtype = real_dtype(dtype)
    W1, W2 = (0.01 * drawn(rng, (count(n), count(k))) for n, k in [(n_h, n_x), (n_y, n_h)])
    return [x.astype(dtype) for x in (W1, np.zeros((n_h, 1)), W2, np.zeros((n_y, 1)))]


call("nn.TwoLayerNetwork", O("n_x", 3), O("n_h", 4), O("n_y", 1), O("rng", 0), O("dtype", float),
     run=lambda n, h, k, rng, dtype: tg.nn.TwoLayerNetwork(n, h, k, rng=rng, dtype=dtype), reference=two_layers,
     names=("Linear", "init.small"))  # fmt: skip


def refuses(*_):
    raise TypeError


call("nn.TwoLayerNetwork", O("activation", np.tanh), run=lambda f: tg.nn.TwoLayerNetwork(2, 2, 1, f, rng=0)(X23),
     reference=lambda f: two_by_hand(X23, 2, 2, 1, np.tanh if f is None else f) if f is None or (callable(f)
         and not isinstance(f, type)) else refuses())  # fmt: skip


def two_by_hand(X, n_x=3, n_h=4, n_y=2, g=np.tanh):
    model = tg.nn.TwoLayerNetwork(n_x, n_h, n_y, rng=0)
    W1, b1, W2, b2 = (p.data for p in model.parameters())
    if X.ndim != 2:
        raise ValueError
    return W2 @ g(W1 @ X + b1) + b2


def classes_by_hand(X):
    return np.argmax(two_by_hand(X), axis=0)[None, :]


def gradients_of_model(X):
    model = tg.nn.TwoLayerNetwork(3, 4, 2, rng=0)
    with unchanged(model):
        Z = model(X)
        Z.backward(np.ones(Z.shape))
    return [as_plain(Z), *(p.grad for p in model.parameters())]


X35 = RNG.normal(size=(3, 5))
call("nn.TwoLayerNetwork.summary", A(X35, role="X"), names=("layer1", "affine"),
     run=lambda X: [(s := tg.nn.TwoLayerNetwork(3, 4, 2, rng=0).summary(X)).m, s.count, s.outputs[0].shape[0]],
     reference=lambda X: [two_by_hand(X).shape[1], 26, 2])  # fmt: skip
call("nn.TwoLayerNetwork.__call__", A(X35, role="X"), run=gradients_of_model, reference=two_by_hand,
     names=("layer1", "affine", "backward"))  # fmt: skip
call("nn.Classifier.predict_proba", A(X35, role="X"), names=("layer1", "affine"),
     reference=lambda X: softmax(two_by_hand(X)),
     run=lambda X: tg.nn.TwoLayerNetwork(3, 4, 2, rng=0).predict_proba(X))  # fmt: skip
call("nn.Classifier.predict", A(X35, role="X"), reference=classes_by_hand, names=("layer1", "affine"),
     run=lambda X: tg.nn.TwoLayerNetwork(3, 4, 2, rng=0).predict(X))  # fmt: skip
for _name, _f in {"Tanh": np.tanh, "ReLU": lambda z: np.maximum(z, 0), "Sigmoid": lambda z: 1 / (1 + np.exp(-1.0 * z)),
                  "Softmax": softmax}.items():  # fmt: skip
    _layer = getattr(tg.nn, _name)()
    op_calls(f"nn.{_name}", A(X23), f=_layer, reference=_f, names=(_name.lower(),))
call("nn.Linear.__call__", A(X35, role="X"), run=lambda X: tg.nn.Linear(3, 2, init=X23)(X), names=("Linear", "affine"),
     reference=lambda X: X23 @ (X if X.ndim == 2 else refuses()))  # fmt: skip
call("nn.Dropout", O("keep_prob", 0.5), O("rng", 0), run=lambda p, rng: values_of(tg.nn.Dropout(p, rng=rng)(X35)),
     reference=lambda p, rng: dropped(p, rng, X35))  # fmt: skip
call("nn.Dropout.__call__", A(X35, role="a"), run=lambda a: values_of(tg.nn.Dropout(0.5, rng=0)(a)),
     reference=lambda a: dropped(0.5, 0, a), names=("Dropout", "dropout"))  # fmt: skip
MASK = np.array([[0, 1, 1], [1, 0, 1]])


def masked(a, mask, keep_prob=0.5):
    if a.shape != mask.shape or not ((mask == 0) | (mask == 1)).all() or not 0 < number(keep_prob) <= 1:
        raise ValueError
    return a * mask / number(keep_prob)


call("dropout", A(X23, role="A"), A(MASK, role="mask"), O("keep_prob", 0.5), run=tg.dropout, reference=masked)
CALLS["dropout"].append(
    Call(
        (A(X23, role="A"), A(MASK, role="mask")),
        graph_of(lambda a, mask: tg.dropout(a, mask, 0.5), {0: "A"}),
        masked,
        ("dropout", "backward"),
    )
)


def penalty(w, lambd, m, biases=False):
    flag(biases)
    return finite(lambd) / (2 * count(m)) * np.sum(w * w)


def finite(x):
    if not 0 <= number(x) < np.inf:
        raise ValueError
    return number(x)


def floats(w):
    if w.dtype.kind != "f":
        raise TypeError
    return w


call("l2", O("lambd", 0.7), O("m", 5), O("biases", False), reference=lambda *options: penalty(X23, *options),
     run=lambda lambd, m, biases: tg.l2([X23], lambd, m, biases=biases))  # fmt: skip
call("l2", A(X23, role="weight"), reference=lambda w: penalty(floats(w), 0.7, 5), run=lambda w: tg.l2([w], 0.7, 5))


def normalised(Z, gamma, beta, epsilon=1e-5):
    n, m = Z.shape
    if not 0 < number(epsilon) < np.inf or gamma.shape != (n, 1) or beta.shape != (n, 1) or m < 2:
        raise ValueError
    Z = 1.0 * Z
    deviation = Z - Z.mean(axis=1, keepdims=True)
    return gamma * deviation / np.sqrt(Z.var(axis=1, keepdims=True) + number(epsilon)) + beta


GAMMA, BETA = X23[:, :1], X23[:, 1:2]
op_calls("batch_norm", A(X23, role="Z"), A(GAMMA, role="gamma"), A(BETA, role="beta"), reference=normalised,
         names=("subtract", "multiply", "add", "mean", "var"))  # fmt: skip
call("batch_norm", O("epsilon", 1e-5), run=lambda epsilon: tg.batch_norm(X23, GAMMA, BETA, epsilon=epsilon),
     reference=lambda epsilon: normalised(X23, GAMMA, BETA, epsilon))  # fmt: skip


def batch_norm_layer(n, momentum, epsilon, dtype):
    if not 0 <= number(momentum) < 1 or not 0 < number(epsilon) < np.inf:
        raise ValueError
    return [np.ones((count(n), 1), real_dtype(dtype)), np.zeros((n, 1), dtype)]


call("nn.BatchNorm", O("n", 2), O("momentum", 0.9), O("epsilon", 1e-5), O("dtype", float), reference=batch_norm_layer,
     run=lambda n, momentum, epsilon, dtype: tg.nn.BatchNorm(
         n, momentum=momentum, epsilon=epsilon, dtype=dtype))  # fmt: skip
call("nn.BatchNorm.__call__", A(X23, role="Z"), run=lambda Z: values_of(tg.nn.BatchNorm(2)(Z)),
     names=("BatchNorm", "subtract", "mean", "var"),
     reference=lambda Z: normalised(Z if len(Z) == 2 else refuses(), np.ones((2, 1)), np.zeros((2, 1))))  # fmt: skip


def standardizer(n, features, dtype):
    n, dtype = count(n), real_dtype(dtype)
    if not isinstance(features, (list, tuple)) or not all(isinstance(x, str) for x in features):
        raise TypeError
    if len(features) not in (0, n):
        raise ValueError
    return [np.ones((n, 1), dtype)]


call("nn.Standardizer", O("n", 2), O("features", ["a", "b"]), O("dtype", float), reference=standardizer,
     run=lambda n, features, dtype: tg.nn.Standardizer(n, features=features, dtype=dtype).scale)  # fmt: skip


def standardised(X):
    if X.ndim != 2 or not X.size or not np.isfinite(X).all():
        raise ValueError
    same, std = X.max(axis=1) == X.min(axis=1), X.std(axis=1)
    return [X.mean(axis=1)[:, None], np.where(same, 1, std)[:, None]]


call("nn.Standardizer.of", A(X23, role="X"), reference=standardised, names=("Standardizer",),
     run=lambda X: (lambda layer: (layer.mean, layer.scale))(tg.nn.Standardizer.of(X)))  # fmt: skip
call("nn.Standardizer.__call__", A(X23, role="X"), names=("Standardizer", "subtract", "divide"),
     run=lambda X: values_of(STANDARDIZER(X)),
     reference=lambda X: (X - X23.mean(axis=1, keepdims=True)) / X23.std(axis=1, keepdims=True)
     if X.shape == X23.shape or (X.ndim == 2 and len(X) == 2) else refuses())  # fmt: skip
STANDARDIZER = tg.nn.Standardizer.of(X23)


def dropped(keep_prob, rng, a):
    keep_prob = number(keep_prob)
    if rng is None or isinstance(rng, (bool, np.bool_)) or not 0 < keep_prob <= 1:
        raise TypeError
    if keep_prob == 1:
        return a
    rng = rng if isinstance(rng, (np.random.Generator, np.random.RandomState)) else np.random.default_rng(rng)
    return a * (rng.random(a.shape) < keep_prob) / keep_prob


def in_mode(training):
    layer = tg.nn.Dropout(0.5, rng=0)
    with unchanged(layer):
        layer.training = training
    return np.asarray(layer.training)


call("nn.Dropout.training", O("training", True), run=in_mode, reference=lambda x: np.asarray(flag(x)))
for _name in ("Sequential", "Classifier"):
    call(f"nn.{_name}", O("layer", np.tanh), run=lambda f, name=_name: values_of(getattr(tg.nn, name)(f)(X23)),
         reference=lambda f: f(X23) if callable(f) and not isinstance(f, type) else refuses())  # fmt: skip
call("nn.Parameter", A(X23, role="data"), O("name", "w"), run=lambda data, name: tg.nn.Parameter(data, name=name),
     reference=lambda data, name: data, names=("this Tensor", "w"))  # fmt: skip


def loaded(state):
    model = tg.nn.LogisticRegression(3)
    with unchanged(model):
        model.load_state_dict(state)
    return model


def fits(W, b):
    return [same_shape(W, np.ones((1, 3))), same_shape(b, np.ones((1, 1)))]


call("nn.Module.load_state_dict", A(X3[None], role="W"), A([[0.5]], role="b"), reference=fits, names=("state",),
     run=lambda W, b: loaded({"W": W, "b": b}))  # fmt: skip
call("nn.Module.load_state_dict", O("state_dict", {"W": X3[None], "b": np.array([[0.5]])}), run=loaded,
     reference=lambda s: fits(s["W"], s["b"]), names=("state",))  # fmt: skip


def moved(move):
    model = tg.nn.LogisticRegression(3)
    with unchanged(model):
        model.to(move)
    return model


call("nn.Module.to", Place("move", np.asfortranarray, lambda good: no_functions(scalars_instead(good))), run=moved,
     reference=lambda f: np.zeros((1, 3)) if f is np.asfortranarray else refuses(),
     names=("to takes a function",))  # fmt: skip


# -- initialisers -----------------------------------------------------------------------------------------------------


def shape_of_two(shape):
    if not isinstance(shape, (tuple, list)) or len(shape) != 2:
        raise ValueError
    return tuple(map(count, shape))


for _name, _scale in {"small": lambda n: 0.01, "xavier": lambda n: n**-0.5, "he": lambda n: (2 / n) ** 0.5}.items():
    call(f"init.{_name}", O("shape", (2, 3)), O("rng", 0), run=getattr(tg.init, _name), names=(f"init.{_name}",),
         reference=lambda shape, rng, scale=_scale: drawn(rng, shape_of_two(shape)) * scale(shape[1]))  # fmt: skip
call("init.zeros", O("shape", (2, 3)), run=tg.init.zeros, reference=lambda shape: np.zeros(shape_of_two(shape)),
     names=("init.zeros",))  # fmt: skip
