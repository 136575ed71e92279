"""Whole models as users write them, at random: a compiled step is the eager one, or it is refused.

The models have state of Python's (numbers, flags, masks, lists and dicts of layers), several inputs, statistics of the
batch, attention, embeddings and residuals; the losses have weights and penalties; the optimizers are ours or a user's.
Between the steps, the batch changes, and whatever a user may change.
"""

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import tinygrad_dls as tg
from tests.compiler.steps import eager
from tests.compiler.users_optimizers import AMSGrad, OneParameterMore, RMSprop, Rows
from tinygrad_dls import nn
from tinygrad_dls.engine.errors import RecordingError

LENGTH = 4  # rows of all that goes from layer to layer

# -- layers -----------------------------------------------------------------------------------------------------------


class Layer(nn.Module):
    """A layer with what users keep on one: arrays and numbers that are no parameters."""

    def __init__(self, rng, n=LENGTH):
        self.W = nn.Parameter(rng.normal(size=(LENGTH, n)) * 0.5)
        self.b = nn.Parameter(rng.normal(size=(LENGTH, 1)) * 0.5)
        self.scale, self.use_bias, self.limit = 0.5, True, 0.1
        self.mask = (np.arange(LENGTH)[:, None] != rng.integers(LENGTH)).astype(float)
        self.names = ["tanh", "sin"]
        self.numbers = {"first": 0.5, "second": 0.25}

    def linear(self, x):
        return self.W @ x + self.b * self.use_bias


class Dense(Layer):
    def __call__(self, x):
        return np.tanh(self.linear(x))


class Leaky(Layer):
    def __call__(self, x):
        z = self.linear(x)
        return np.maximum(z, 0) + self.scale * np.minimum(z, 0)


class Where(Layer):
    def __call__(self, x):
        z = self.linear(x)
        return np.where(z > self.limit, z, self.scale * z)


class Residual(Layer):
    def __call__(self, x):
        return x + self.scale * np.tanh(self.linear(x))


class Gated(Layer):
    def __call__(self, x):
        return x * tg.sigmoid(self.linear(x))


class Masked(Layer):
    def __call__(self, x):
        return np.tanh(self.linear(x * self.mask))


class MaskedOut(Layer):
    def __call__(self, x):
        return np.where(self.mask > 0, np.sin(self.linear(x)), self.limit)


class Minimum(Layer):
    def __call__(self, x):
        return np.minimum(np.full((LENGTH, 1), 0.75), np.maximum([[-0.75]], self.linear(x)))


class Constant(Layer):
    def __call__(self, x):
        return np.tri(LENGTH) @ np.tanh(self.linear(x)) * self.scale


class Statistics(Layer):
    def __call__(self, x):
        z = self.W @ x
        mean, var = np.mean(z, axis=1, keepdims=True), np.var(z, axis=1, keepdims=True)
        return (z - mean) / np.sqrt(var + 0.5) * self.b


class Normalised(Layer):
    def __call__(self, x):
        z = self.linear(x)
        return z / np.sqrt(np.mean(z * z, axis=0, keepdims=True) + 0.5)


class Attention(Layer):
    """Each example attends to all."""

    def __call__(self, x):
        q = self.linear(x)
        return q @ tg.softmax(q.T @ x * self.scale, axis=1).T


class Causal(Layer):
    """Each example attends to those before it."""

    def __call__(self, x):
        q = self.linear(x)
        m = x.shape[1]
        scores = np.where(np.tril(np.ones((m, m))) > 0, q.T @ x, -1e9)
        return q @ tg.softmax(scores, axis=1).T


class RowAttention(Layer):
    def __call__(self, x):
        weights = tg.softmax(self.linear(x), axis=0)
        return x * weights + np.sum(x * weights, axis=0, keepdims=True)


class ByName(Layer):
    def __call__(self, x):
        for name in self.names:
            x = getattr(np, name)(self.linear(x))
        return x


class ByDict(Layer):
    def __call__(self, x):
        total = 0
        for name in self.numbers:
            total = total + self.numbers[name] * np.tanh(self.linear(x))
        return total


class ByShape(Layer):
    def __call__(self, x):
        return np.tanh(self.linear(x)) if x.shape[1] > 6 else np.sin(self.linear(x))


class Without(Layer):
    """A part without a graph."""

    def __call__(self, x):
        with tg.no_grad():
            h = self.linear(x)
        return np.tanh(self.W @ x) + self.scale * h


class Detached(Layer):
    def __call__(self, x):
        return np.tanh(self.W.detach() * self.W @ x) + self.b.detach()


class Gathered(Layer):
    def __call__(self, x):
        z = self.linear(x)
        return np.concatenate([z[[2, 0]], z[::-1][:1], np.tanh(z[-1:])])


class Summed(Layer):
    def __call__(self, x):
        z = self.linear(x)
        return z - np.sum(z, axis=0, keepdims=True) / 7 + np.max(x, axis=0) * True


class Counting(Layer):
    """Changes itself: refused."""

    def __call__(self, x):
        self.scale = self.scale * 0.5
        return x + self.scale * self.linear(x)


class Deciding(Layer):
    """Python decides on a value: refused."""

    def __call__(self, x):
        z = self.linear(x)
        return np.tanh(z) if float(np.sum(self.W.data)) > 0 else np.sin(z)


class Drawing(Layer):
    """Random numbers: refused."""

    def __init__(self, rng):
        super().__init__(rng)
        self.rng = np.random.default_rng(0)

    def __call__(self, x):
        return np.tanh(self.linear(x)) * (self.rng.random((LENGTH, 1)) < 0.5)


LAYERS = [
    Dense, Leaky, Where, Residual, Gated, Masked, MaskedOut, Minimum, Constant, Statistics, Normalised, Attention,
    Causal, RowAttention, ByName, ByDict, ByShape, Without, Detached, Gathered, Summed,
]  # fmt: skip
REFUSED = [Counting, Deciding, Drawing]


class All(Layer):
    def __call__(self, X):
        return np.tanh(self.linear(X[:LENGTH]))


class Halves(nn.Module):
    """Two inputs, each with weights of its own."""

    def __init__(self, rng):
        self.one, self.other = Layer(rng, 2), Layer(rng, LENGTH - 2)

    def __call__(self, X):
        return self.one.linear(X[:2]) * np.tanh(self.other.linear(X[2:LENGTH]))


class Embedded(nn.Module):
    """A column of a table for each example, by an index that is a row of the data."""

    def __init__(self, rng):
        self.table, self.rest = nn.Parameter(rng.normal(size=(LENGTH, 6))), Layer(rng)

    def __call__(self, X):
        return self.table[:, X[LENGTH].astype(int)] + self.rest.linear(X[:LENGTH])


class Model(nn.Module):
    def __init__(self, first, layers, shared):
        rng = np.random.default_rng(0)
        self.first = first(rng)
        self.layers = [layer(rng) for layer in layers]
        if shared and len(self.layers) > 1:  # weights that are used twice
            self.layers[-1].W = self.layers[0].W
        self.last = nn.Parameter(rng.normal(size=(1, LENGTH)))

    def __call__(self, X):
        x = self.first(X)
        for layer in self.layers:
            x = layer(x)
        return self.last @ x


# -- losses and optimizers; Y has the labels, and a weight for each example -------------------------------------------


def plain(model):
    return lambda Z, Y: tg.binary_cross_entropy_with_logits(Z, Y[:1])


def weighted(model):
    weights = np.array([[0.5], [2.0]])

    def loss(Z, Y):
        losses = tg.softplus(Z) - Y[:1] * Z
        return np.sum(losses * (Y[1:] * weights[1] + weights[0])) / Z.shape[1]

    return loss


def squares(model):
    return lambda Z, Y: np.mean((Z - Y[:1]) ** 2 * Y[1:])


def absolute(model):
    return lambda Z, Y: np.mean(np.where(np.abs(Z - Y[:1]) < 0.5, (Z - Y[:1]) ** 2, np.abs(Z - Y[:1]) - 0.25))


def penalised(model):
    def loss(Z, Y):
        weights = [p for p in model.parameters() if p.shape != (LENGTH, 1)]
        return tg.binary_cross_entropy_with_logits(Z, Y[:1]) + 0.01 * sum(np.sum(W * W) for W in weights)

    return loss


def composed(model):
    def loss(Z, Y):
        A, Y = tg.sigmoid(Z), Y[:1]
        return -np.mean(Y * np.log(A) + (1 - Y) * np.log(1 - A))

    return loss


LOSSES = [plain, weighted, squares, absolute, penalised, composed]
OPTIMIZERS = [
    lambda p: tg.optim.SGD(p, lr=0.05),
    lambda p: tg.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.01),
    lambda p: tg.optim.Adam(p, lr=tg.optim.inverse_time_decay(0.01, rate=0.5)),
    lambda p: RMSprop(p, lr=0.005),
    lambda p: AMSGrad(p, lr=0.005),
    lambda p: Rows(p, lr=0.005),
    lambda p: OneParameterMore(p, lr=0.02),
]


def batch(m, dtype):
    rng = np.random.default_rng(m)
    X = np.concatenate([rng.normal(size=(LENGTH, m)), rng.integers(0, 6, (1, m))])
    Y = np.concatenate([rng.random((1, m)) < 0.5, rng.random((1, m)) < 0.7])
    return np.asfortranarray(X) if m % 2 else X, Y.astype(dtype)


# -- what happens between the steps -----------------------------------------------------------------------------------


def change(model, optimizer, what, k):
    """Do to a model what a user might; the same to its twin."""
    layer = model.layers[k % len(model.layers)]
    p = model.parameters()[k % len(model.parameters())]
    if what == "number":
        layer.scale += 0.25
    elif what == "flag":
        layer.use_bias = not layer.use_bias
    elif what == "mask":
        layer.mask[k % LENGTH] = 1 - layer.mask[k % LENGTH]
    elif what == "list":
        layer.names.reverse()
    elif what == "dict":
        layer.numbers["second"] = 0.75
    elif what == "layers":
        model.layers.reverse()
    elif what == "freeze":
        p.requires_grad = not p.requires_grad
    elif what == "replace":
        p.data = p.data * 0.75
    elif what == "in place":
        p.data[...] *= 0.75
    elif what == "rate" and not callable(optimizer.lr):
        optimizer.lr = optimizer.lr * 0.5


CHANGES = ["nothing"] * 3 + [
    "number", "flag", "mask", "list", "dict", "layers", "freeze", "replace", "in place", "rate", "hold",
]  # fmt: skip
SIZES = [1, 2, 3, 5, 7, 8, 20, 50, 65]


@st.composite
def trainings(draw, layers=LAYERS, changes=CHANGES):
    return {
        "first": draw(st.sampled_from([All, Halves, Embedded])),
        "layers": draw(st.lists(st.sampled_from(layers), min_size=1, max_size=3)),
        "shared": draw(st.booleans()),
        "loss": draw(st.sampled_from(LOSSES)),
        "optimizer": draw(st.sampled_from(OPTIMIZERS)),
        "options": draw(
            st.sampled_from([{}, {"gradients": True}, {"tile": 4}, {"tile": 4, "gradients": True}, {"fallback": True}])
        ),
        "dtype": draw(st.sampled_from([float, int, np.float32])),
        "sizes": draw(st.lists(st.sampled_from(SIZES), min_size=1, max_size=2)),
        "changes": draw(st.lists(st.tuples(st.sampled_from(changes), st.integers(0, 20)), min_size=2, max_size=4)),
    }


def outcome(step, X, Y):
    try:
        return step(X, Y)
    except RecordingError as error:
        return error
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def assert_close(got, right, what):
    """Equal but for rounding, which few steps of models this small take nowhere near the tolerance."""
    np.testing.assert_allclose(got, right, rtol=1e-6, atol=1e-8, err_msg=what)


def compare(training):
    """Train a model eagerly and its twin compiled, and compare; returns how many steps were compiled."""
    (a, oa, la), (b, ob, lb) = made = [twin(training) for _ in range(2)]
    slow, fast = eager(a, la, oa), tg.compile(b, lb, ob, **training["options"])
    held = []
    compiled = 0
    for i, (what, k) in enumerate([("nothing", 0), *training["changes"]]):
        for model, optimizer, _ in made:
            change(model, optimizer, what, k)
        if what == "hold":
            held += [(x := p._value.T[:1], x.copy()) for p in b.parameters()]
        X, Y = batch(training["sizes"][i % len(training["sizes"])], training["dtype"])
        for _ in range(2):
            right, got = outcome(slow, X, Y), outcome(fast, X, Y)
            if isinstance(got, RecordingError):
                assert "fallback" not in training["options"], got
                assert len(str(got)) > 40
                return compiled
            if isinstance(right, str):
                assert got == right
                return compiled
            assert not isinstance(got, str), got
            assert_close(got, right, f"cost of step {i}")
            for p, q in zip(a.parameters(), b.parameters(), strict=True):
                assert_close(q._value, p._value, f"{p.name} after step {i}")
                if "gradients" in training["options"] and p._grad is not None:
                    assert_close(q._grad, p._grad, f"d{p.name} of step {i}")
                for s, t in zip(oa._state.get(p, ()), ob._state.get(q, ()), strict=True):
                    assert_close(t, s, f"state of {p.name} after step {i}")
            for x, before in held:
                np.testing.assert_array_equal(x, before)
            compiled += not fast.explain().startswith("Runs eagerly")
    return compiled


def twin(training):
    model = Model(training["first"], training["layers"], training["shared"])
    return model, training["optimizer"](model.parameters()), training["loss"](model)


PER_EXAMPLE = settings(  # a tenth of a second each, for two models with two recordings
    max_examples=(settings.default.max_examples + 1) // 2,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@PER_EXAMPLE
@given(trainings())
def test_a_compiled_step_of_a_random_model_is_the_eager_one_or_refused(training):
    compare(training)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("first", [All, Halves, Embedded])
def test_each_layer_is_compiled_for_some_batch(layer, first):
    """Else the test above would compare too little."""
    training = {
        "first": first, "layers": [layer, Dense], "shared": False, "loss": weighted, "optimizer": OPTIMIZERS[0],
        "options": {}, "dtype": float, "sizes": [5], "changes": [("number", 0), ("mask", 1)],
    }  # fmt: skip
    assert compare(training) == 6


@pytest.mark.parametrize("layer", REFUSED)
def test_layers_that_no_program_can_repeat_are_refused_or_run_eagerly(layer):
    training = {
        "first": All, "layers": [Dense, layer], "shared": False, "loss": plain, "optimizer": OPTIMIZERS[0],
        "options": {}, "dtype": float, "sizes": [8], "changes": [("nothing", 0)],
    }  # fmt: skip
    assert compare(training) == 0
    assert compare({**training, "options": {"fallback": True}}) == 0


def found_by_the_fuzzer(changes):
    """Whether the random models show that something is wrong, without a word on which is the smallest."""

    @settings(parent=PER_EXAMPLE, phases=[Phase.generate], max_examples=100, derandomize=True, database=None)
    @given(trainings(changes=changes))
    def look(training):
        compare(training)

    try:
        look()
    except AssertionError:
        return True
    return False


def a_wrong_rule(monkeypatch):
    from tinygrad_dls.compiler import lowering
    from tinygrad_dls.ir.call import is_call, like

    def half_the_sine(call):
        return like(call, np.tanh, call.args[0]) if is_call(call, np.sin) else None

    monkeypatch.setattr(lowering, "RULES", (*lowering.RULES, half_the_sine))


def memory_that_is_taken_too_early(monkeypatch):
    monkeypatch.setattr("tinygrad_dls.compiler.store.getrefcount", lambda x: 0)


def a_state_that_is_lost(monkeypatch):
    from tinygrad_dls.compiler import store

    monkeypatch.setattr(store.ParameterStore, "_gather", forgetting(store.ParameterStore._gather))


def forgetting(gather):
    def changed(store, optimizer):
        gather(store, optimizer)
        for region in store.pair.buffers[store.front][1:]:
            region.flat[...] = 0

    return changed


PLANTED = [(a_wrong_rule, CHANGES), (a_state_that_is_lost, CHANGES), (memory_that_is_taken_too_early, ["hold"])]


@pytest.mark.parametrize(("plant", "changes"), PLANTED)
def test_a_planted_error_is_found(plant, changes, monkeypatch):
    plant(monkeypatch)
    assert found_by_the_fuzzer(changes)
