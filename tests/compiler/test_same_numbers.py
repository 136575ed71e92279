"""A compiled step is the eager step: the same numbers up to rounding."""

import warnings

import numpy as np
import pytest

import tinygrad_dls as tg
from tests.compiler.steps import LOGITS, OPTIMIZERS, X, Y, assert_alike, assert_same_training, eager, network, sgd
from tinygrad_dls import nn
from tinygrad_dls.engine.errors import RecordingError


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("tile", [None, 16])
def test_every_optimizer_trains_as_the_eager_one(optimizer, dtype, tile):
    data = [(X.astype(dtype), Y.astype(dtype))] * 30
    assert_same_training(lambda: network(dtype), LOGITS, OPTIMIZERS[optimizer], data, tile=tile)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_huge_logits_give_no_warning_and_nothing_infinite(dtype):
    model = nn.Sequential(nn.Linear(1, 1, init=np.array([[1000.0]]), dtype=dtype))
    step = tg.compile(model, LOGITS, sgd(model, lr=0.0))
    x = np.array([[1.0, -1.0, 1.0, -1.0]], dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert step(x, np.array([[1, 0, 0, 1]], dtype)) == 500.0


def test_perfect_predictions_cost_as_little_as_eagerly():
    """No digits are lost where the terms of the cost cancel."""
    model = nn.Sequential(nn.Linear(1, 1, init=np.array([[30.0]])))
    x, y = np.array([[1.0, -1.0]]), np.array([[1.0, 0.0]])
    J = LOGITS(model(x), y).item()
    assert tg.compile(model, LOGITS, sgd(model))(x, y) == pytest.approx(J, rel=1e-14)


@pytest.mark.parametrize("name", ["m", "learning_rate", "rate"])
@pytest.mark.parametrize("tile", [None, 16])
def test_a_parameter_may_be_called_what_the_program_calls_its_own(name, tile):
    class Named(nn.Module):
        def __init__(self):
            self.layer = nn.Linear(3, 1, rng=0)
            setattr(self, name, nn.Parameter(np.array(0.7)))

        def __call__(self, a):
            return self.layer(a) * getattr(self, name)

    assert_same_training(Named, LOGITS, sgd, [(X, Y)] * 3, tile=tile)


def test_a_function_of_an_m_of_its_own():
    f = tg.compile(lambda a, m: a * m)
    assert (f(np.ones(3), np.array(2.0)) == 2).all()
    assert (f(np.ones(3), np.array(5.0)) == 5).all()


def test_a_constant_array_beside_a_product():
    class Raised(nn.Module):
        def __init__(self):
            self.W = nn.Parameter(np.full((1, 3), 0.1))

        def __call__(self, a):
            return self.W @ a + np.ones((1, 1))

    assert_same_training(Raised, LOGITS, sgd, [(X, Y)] * 3)


class Shifted(nn.Module):
    """W X + b with a b of any shape that fits."""

    def __init__(self, shape=(1, 1), rows=1, dtype=float):
        self.W = nn.Parameter(np.linspace(-1, 1, 3 * rows).reshape(rows, 3).astype(dtype))
        self.b = nn.Parameter(np.full(shape, 0.5, dtype))

    def __call__(self, a):
        return self.W @ a + self.b


@pytest.mark.parametrize(("shape", "rows"), [((), 1), ((1, 1), 1), ((1, 1), 2), ((2, 1), 2), ((), 2)])
@pytest.mark.parametrize("tile", [None, 16])
def test_a_gradient_that_is_the_sum_of_ones_is_summed_too(shape, rows, tile):
    """The mean of Z has the same dZ for all entries: nothing is left of it but a number."""
    assert_same_training(lambda: Shifted(shape, rows), lambda z, y: np.mean(z), sgd, [(X, Y)] * 2, tile=tile)


class Penalised(Shifted):
    """Z, and the lengths of W and b beside it, which the loss adds."""

    def __call__(self, a):
        lengths = np.sqrt(np.sum(self.W * self.W)) + np.sqrt(np.sum(self.b * self.b))
        return super().__call__(a) + 0.1 * lengths


@pytest.mark.parametrize("tile", [None, 16])
def test_the_norms_of_two_parameters_are_two(tile):
    """Each update reads the norm of its own parameter, so there is no single update for all."""
    assert_same_training(Penalised, LOGITS, sgd, [(X, Y)] * 3, tile=tile)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_factor_of_a_constant_gradient_is_kept(dtype):
    class Squared(Shifted):
        def __call__(self, a):
            return super().__call__(a) + 0.01 * np.sum(3 * self.W**2)

    assert_same_training(lambda: Squared(dtype=dtype), lambda z, y: np.mean(z), sgd, [(X.astype(dtype), Y)] * 3)


class Product(nn.Module):
    """(W + 0.5 V) X, for parameters that may be called anything."""

    def __init__(self, other):
        self.W = nn.Parameter(np.array([[0.3, -0.2, 0.1]]), name="W")
        self.other = nn.Parameter(np.array([[0.1, 0.2, -0.3]]), name=other)

    def __call__(self, a):
        return (self.W + 0.5 * self.other) @ a


@pytest.mark.parametrize("other", ["dW", "VdW", "new_W", "norm", "2b", "W_row"])
@pytest.mark.parametrize("momentum", [0, 0.9])
def test_parameters_may_be_called_what_the_course_calls_their_gradients(other, momentum):
    assert_same_training(lambda: Product(other), LOGITS, lambda m: sgd(m, momentum=momentum), [(X, Y)] * 4)


class Late(nn.Module):
    """b is used before W, and W is frozen at first."""

    def __init__(self):
        rng = np.random.default_rng(0)
        self.W, self.o = nn.Parameter(rng.normal(size=(4, 3))), nn.Parameter(rng.normal(size=(1, 4)))
        self.b = nn.Parameter(np.zeros((3, 1)))

    def __call__(self, a):
        return self.o @ (self.W @ np.tanh(a + self.b))


@pytest.mark.parametrize("tile", [None, 16])
def test_each_parameter_keeps_its_own_count_of_steps(tile):
    models = Late(), Late()
    slow, fast = (tg.optim.Adam(m.parameters(), lr=0.05) for m in models)
    slow, fast = eager(models[0], LOGITS, slow), tg.compile(models[1], LOGITS, fast, tile=tile)
    for model in models:
        model.W.requires_grad = False
    for i in range(8):
        if i == 3:
            for model in models:
                model.W.requires_grad = True
        assert fast(X, Y) == pytest.approx(slow(X, Y), rel=1e-12)
    for p, q in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert_alike(p.data, q.data, p.name)


@pytest.mark.parametrize("m", [100, 40_000])
def test_data_of_another_dtype_than_the_model_train_too(m):
    """float64 data in a float32 model give sums in float64, which are not tiled."""
    x, y = np.tile(X, m // 50), np.tile(Y, m // 50)
    model, twin = network("float32"), network("float32")
    step = tg.compile(twin, LOGITS, sgd(twin), tile=32)
    J = eager(model, LOGITS, sgd(model))(x, y)
    assert step(x, y) == pytest.approx(J, rel=1e-6)  # a few roundings of float32
    assert "not of the parameters' dtype" in step.explain()


@pytest.mark.parametrize("labels", [int, bool, "float32"])
def test_labels_of_another_dtype_are_tiled(labels):
    fast = assert_same_training(network, LOGITS, sgd, [(X, Y.astype(labels))] * 3, tile=16)
    assert "tiles of 16" in fast.explain()


def test_as_many_entries_in_a_penalty_as_examples():
    """Their sum is a product with as many ones, which no tile makes fewer."""

    class Long(nn.Module):
        def __init__(self):
            self.W = nn.Parameter(np.linspace(-1, 1, 16).reshape(2, 8))

        def __call__(self, a):
            return np.sum(self.W @ a, axis=0, keepdims=True) + 0.1 * np.sum(np.abs(self.W))

    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(8, 32)), (rng.random((1, 32)) < 0.5).astype(float)
    assert_same_training(Long, LOGITS, sgd, [(x, y), (x[:, :16], y[:, :16])] * 2, tile=7)


class Counted(tg.optim.SGD):
    """An optimizer of the user's own, which looks at the number of steps."""

    def _update(self, p, rate):
        return p._value - rate / (1 + self.steps) * p._grad, ()


def test_an_optimizer_that_counts_its_steps_is_refused_or_runs_eagerly():
    model = network()
    with pytest.raises(RecordingError, match=r"would freeze self.steps, which Counted._update reads"):
        tg.compile(model, LOGITS, Counted(model.parameters(), lr=0.1))(X, Y)
    assert_same_training(network, LOGITS, lambda m: Counted(m.parameters(), lr=0.1), [(X, Y)] * 3, fallback=True)


class Kept(tg.optim.SGD):
    """One that remembers half of the gradient after the parameters are there."""

    def _start(self, p):
        return (np.zeros_like(p._value),)

    def _update(self, p, rate):
        return p._value - rate * p._grad, (0.5 * p._grad,)


def test_gradients_that_are_needed_after_the_update_are_not_written_over():
    assert_same_training(network, LOGITS, lambda m: Kept(m.parameters(), lr=0.1), [(X, Y)] * 3)
    model = network()
    step = tg.compile(model, LOGITS, Kept(model.parameters(), lr=0.1))
    step(X, Y)
    assert "gradients = new_parameters" not in step.source
    step = tg.compile(model, LOGITS, sgd(model))
    step(X, Y)
    assert "gradients = new_parameters" in step.source


def test_errors_speak_of_all_the_examples():
    x, y = np.tile(X, 2), np.tile(Y, 2)
    model = network()
    step = tg.compile(model, LOGITS, sgd(model))
    for wrong in (y.T, y[0], y[:, :-1], np.where(np.arange(100) == 90, 2, y)):
        with pytest.raises(ValueError) as expected:
            LOGITS(model(x), wrong)
        with pytest.raises(ValueError) as found:
            step(x, wrong)
        assert str(found.value) == str(expected.value)


def test_labels_may_have_one_axis_if_the_loss_takes_them():
    loss = lambda z, y: np.mean((z[0] - y) ** 2)  # noqa: E731  # used once
    fast = assert_same_training(network, loss, sgd, [(X, Y[0])] * 3)
    assert "cannot be told" not in fast.explain()


MANY = np.random.default_rng(2).normal(size=(3, 10_000))
BY_THE_NUMBER = {
    "weight": lambda z, y: LOGITS(z, y) * min(1.0, 5000 / z.shape[1]),
    "more than 5000": lambda z, y: LOGITS(z, y) * (2 if z.shape[1] > 5000 else 1),
    "less than 5": lambda z, y: LOGITS(z, y) * (2 if z.shape[1] < 5 else 1),
    "the first 5000": lambda z, y: LOGITS(z[:, :5000], y[:, :5000]),
    "the last 4500": lambda z, y: LOGITS(z[:, -4500:], y[:, -4500:]),
    "the 5000th": lambda z, y: LOGITS(z, y) + np.mean(z[:, 5000]) if z.shape[1] > 5000 else LOGITS(z, y),
    "half": lambda z, y: LOGITS(z[:, : (z.shape[1] + 1) // 2], y[:, : (y.shape[1] + 1) // 2]),
    "odd": lambda z, y: LOGITS(z, y) * (1 + z.shape[1] % 2),
}


@pytest.mark.parametrize("loss", BY_THE_NUMBER)
@pytest.mark.parametrize("m", [1, 2, 3, 5, 8, 10_000])
def test_what_python_decides_by_the_number_of_examples_is_decided_for_this_number(loss, m):
    x, y = MANY[:, :m].copy(), (MANY[:1, :m] > 0).astype(float)
    assert_same_training(network, BY_THE_NUMBER[loss], lambda model: sgd(model, lr=0.01), [(x, y)] * 2)


@pytest.mark.parametrize("m", [7, 12, 10_000])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_program_that_is_the_same_for_any_number_of_examples_is_known_as_such(m, dtype):
    x, y = MANY[:, :m].astype(dtype), (MANY[:1, :m] > 0).astype(dtype)
    losses = [
        LOGITS, tg.mean_squared_error, lambda z, y: LOGITS(z - np.mean(z), y), lambda z, y: np.mean((z - y) ** 2),
        lambda z, y: 0.5 / z.shape[1] * np.sum(np.where(y > 0, z, -z)), lambda z, y: LOGITS(z[:, ::-1], y[:, ::-1]),
        lambda z, y: tg.binary_cross_entropy(tg.sigmoid(z), y), lambda z, y: LOGITS(z, y) * z.size,
        lambda z, y: tg.softmax_cross_entropy(np.concatenate([z, -z, z * z]), y.astype(int)),
    ]  # fmt: skip
    for loss in losses:
        model = network(dtype)
        step = tg.compile(model, loss, sgd(model, lr=0.01), threads=1)
        step(x, y)
        assert "cannot be told" not in step.explain()


def test_adam_squares_the_mean_gradient_not_the_sum():
    """In float32, the square of the sum of these gradients is infinite, and that of their mean is not."""

    class Line(nn.Module):
        def __init__(self):
            self.W = nn.Parameter(np.ones((1, 1), "f4"))

        def __call__(self, a):
            return self.W @ a

    x, y = np.full((1, 100_000), 1e7, "f4"), np.full((1, 100_000), 1e9, "f4")
    adam = lambda model: tg.optim.Adam(model.parameters(), lr=1.0)  # noqa: E731  # used once, in the next lines
    for tile in (None, 1000):
        assert_same_training(Line, tg.mean_squared_error, adam, [(x, y)] * 3, tile=tile)


def test_long_sums_of_float32_lose_no_more_digits_than_eagerly():
    """One dot product of 10^6 equal numbers would be off by 1e-4."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(3, 1_000_000)), (rng.random((1, 1_000_000)) < 0.5).astype(float)
    losses = [
        lambda z, y: LOGITS(z - 0.5 * np.mean(z), y),  # the mean is needed first: no tiles
        lambda z, y: np.mean((z - y) ** 2) + np.mean(z) ** 2 + np.mean(np.sum(z * z, axis=1) / z.shape[1]),
        lambda z, y: tg.mean_squared_error(z - np.mean(z, axis=1, keepdims=True), y),
    ]
    for loss in losses:
        found = []
        for dtype, compiled in ((float, False), ("f4", False), ("f4", True)):
            model = network(dtype)
            optimizer = sgd(model, lr=0.0)
            step = tg.compile(model, loss, optimizer, gradients=True) if compiled else eager(model, loss, optimizer)
            cost = step(x.astype(dtype), y.astype(dtype))
            found.append([cost, *(p.grad.astype(float) for p in model.parameters())])
        exact, plain, planned = found
        for a, b, c in zip(exact, plain, planned, strict=True):
            scale = np.abs(a).max()
            # as good as eagerly, or 1e-5: products of matrices are summed by BLAS, in both
            assert np.abs(c - a).max() <= max(2 * np.abs(b - a).max(), 1e-5 * scale)
        assert "Not tiled" in step.explain()
