"""What can be compiled and what cannot, and what the source of a step says."""

import warnings

import numpy as np
import pytest

import tinygrad_dls as tg
from tests.compiler.steps import LOGITS, OPTIMIZERS, RNG, X, Y, assert_same_training, eager, network, pair, sgd
from tinygrad_dls import nn
from tinygrad_dls.engine.errors import RecordingError

SPELLED = {
    "times True": lambda z, on: z * on,
    "True first": lambda z, on: on * z + False,
    "minus True": lambda z, on: z - on,
    "a power of True": lambda z, on: np.square(z) ** on,
    "the larger of it and True": lambda z, on: np.maximum(z, on) + np.minimum(False, z),
    "compared with True": lambda z, on: (z > on) * z + ((z > 0) == on) * z,
    "booleans and True": lambda z, on: ((z > 0) & on) * z + np.logical_or(z > 1, False) * z,
    "where True": lambda z, on: np.where(on, z, 0) + np.where([[True], [False], [True], [True]], z, 0),
    "a constant array first": lambda z, on: np.minimum(np.full((4, 1), 0.5), z) + np.maximum(np.ones((1, 1)), z),
    "a list first": lambda z, on: np.minimum([[0.5]], z) * np.add([[1.0], [2.0], [3.0], [4.0]], z),
    "zeros first beside a sigmoid": lambda z, on: np.maximum(np.zeros((1, 1)), z) * tg.sigmoid(z) - np.minimum(0, z),
    "a constant matrix": lambda z, on: np.tri(4) @ z + (z.T @ np.eye(4)).T,
    "a constant matrix below": lambda z, on: np.ones((4, 1)) @ (np.ones((1, 4)) @ z),
    "compared with itself": lambda z, on: z * (z == z) * ((z > 0) != (z > 1)),
    "compared with an array": lambda z, on: z * (np.array([[True], [False], [True], [False]]) > z),
}


@pytest.mark.parametrize("m", [1, 5, 50])
@pytest.mark.parametrize("tile", [None, 16])
@pytest.mark.parametrize("name", SPELLED)
def test_constants_of_any_kind_take_part_as_eagerly(name, tile, m):
    class Spelled(nn.Module):
        def __init__(self):
            self.inner, self.outer, self.on = nn.Linear(3, 4, rng=0), nn.Linear(4, 1, rng=1), True

        def __call__(self, x):
            return self.outer(SPELLED[name](self.inner(x), self.on))

    assert_same_training(Spelled, LOGITS, sgd, [(X[:, :m], Y[:, :m])] * 3, tile=tile)


@pytest.mark.parametrize("loss", [LOGITS, lambda z, y: np.sum((z - y) ** 2) / z.shape[1], lambda z, y: np.sum(z - y)])
@pytest.mark.parametrize("optimizer", ["plain", "adam"])
def test_a_batch_without_examples_does_what_the_eager_step_does(loss, optimizer):
    results = []
    with np.errstate(all="ignore"):
        for compiled in (False, True):
            model = network()
            own = OPTIMIZERS[optimizer](model)
            step = tg.compile(model, loss, own) if compiled else eager(model, loss, own)
            costs = []
            for columns in (slice(None), slice(0, 0), slice(0, 0), slice(None)):
                try:
                    costs.append(step(X[:, columns], Y[:, columns]))
                except Exception as error:
                    costs.append(f"{type(error).__name__}: {error}")
            results.append((costs, [p.data for p in model.parameters()], own.steps))
    (one, w, n), (other, v, k) = results
    assert n == k
    for a, b in [*zip(one, other, strict=True), *zip(w, v, strict=True)]:
        np.testing.assert_array_equal(a, b) if isinstance(a, str) else np.testing.assert_allclose(b, a, rtol=1e-10)


class Table(nn.Module):
    def __init__(self):
        self.E, self.v = nn.Parameter(RNG.normal(size=(4, 10))), nn.Parameter(np.ones((1, 4)))

    def __call__(self, x):
        return self.v @ self.E[:, x[0]]


@pytest.mark.parametrize("tile", [None, 4])
def test_an_index_out_of_range_is_the_eager_error_and_changes_nothing(tile):
    model, indices = Table(), np.arange(10)[None]
    step = tg.compile(model, LOGITS, sgd(model), tile=tile)
    step(indices, Y[:, :10])
    before = model.state_dict()
    with pytest.raises(IndexError) as right:
        LOGITS(model(indices + 1), Y[:, :10])
    with pytest.raises(IndexError) as got:
        step(indices + 1, Y[:, :10])
    assert str(got.value) == str(right.value)
    assert step.optimizer.steps == 1
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    step(indices, Y[:, :10])
    with pytest.raises(IndexError, match="index 7 is out of bounds for axis 0 with size 3"):
        tg.compile(lambda a: a[7])(X)


@pytest.mark.parametrize("options", [{}, {"gradients": True}, {"tile": 16}])
def test_a_parameter_that_is_detached_beside_itself_keeps_its_gradient(options):
    class Detached(nn.Module):
        def __init__(self):
            self.V, self.W = nn.Parameter(np.ones((1, 3))), nn.Parameter(np.ones((2, 2)))

        def __call__(self, x):
            return self.V @ x

    costs = []
    for compiled in (False, True):
        model = Detached()

        def loss(z, y, model=model):
            return LOGITS(z, y) + 0.1 * np.sum(model.W.data * model.W) + 0.1 * np.sum(model.V.detach() * model.V)

        step = tg.compile(model, loss, sgd(model), **options) if compiled else eager(model, loss, sgd(model))
        costs.append([step(X, Y) for _ in range(4)])
    np.testing.assert_allclose(*costs, rtol=1e-12)


def test_what_the_compiler_does_not_know_is_said_in_a_sentence():
    class Exotic(nn.Module):
        def __init__(self):
            self.inner = nn.Linear(3, 1, rng=0)

        def __call__(self, x):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return self.inner(x) * (1 - (x[:1] == "a"))

    model = Exotic()
    with pytest.raises(
        RecordingError, match=r"(?s)^the step runs eagerly and cannot be compiled: .*\nWrite what it does"
    ):
        tg.compile(model, LOGITS, sgd(model))(X, Y)
    step = tg.compile(model, LOGITS, sgd(model), fallback=True)
    assert step(X, Y) == pytest.approx(LOGITS(Exotic()(X), Y).item(), rel=1e-12)
    with pytest.raises(RecordingError, match=r"(?s)^the function runs eagerly and cannot be compiled: "):
        tg.compile(lambda a: (a == "a") * a)(X)


@pytest.mark.parametrize("result", [3, None, "a", 1.5, np.ones(2)])
def test_an_output_that_does_not_depend_on_the_arguments_is_refused(result):
    with pytest.raises(RecordingError, match="Return arrays that are computed from them, and compute the rest outside"):
        tg.compile(lambda a: (np.tanh(a), result))(X)


def test_the_source_is_the_program_with_the_names_of_the_course():
    *_, fast = pair()
    fast(X, Y)
    for line in ("W1b1.dot(X_with_1, Z1)", "tanh(Z1, A1)", "subtract(parameters, ", "return float("):
        assert line in fast.source
    compile(fast.source, "source", "exec")


def test_what_waits_for_its_division_by_m_is_marked():
    *_, fast = pair()
    fast(X, Y)
    marked = {line.split(")")[0].split(", ")[-1] for line in fast.source.splitlines() if line.endswith(", times m")}
    assert marked == {"dZ2", "dA1", "dZ1", "dW1b1", "dW2b2"}


def test_the_update_is_two_calls_and_nothing_is_summed_by_axis():
    *_, fast = pair()
    fast(X, Y)
    assert "NumPy calls were recorded" in fast.explain()
    lines = fast.source.splitlines()
    assert sum("parameters" in line and "(" in line and line.startswith("    ") for line in lines) == 1
    assert ".sum(" not in fast.source
    assert "add.reduce" not in fast.source


def test_a_penalty_on_a_thousand_parameters_compiles():
    """The cost is a sum of a thousand numbers, each in the sum of those before."""

    class Many(nn.Module):
        def __init__(self):
            self.weights = [nn.Parameter(np.full((1, 1), 0.01)) for _ in range(1000)]

        def __call__(self, x):
            return x[:1] * self.weights[0]

    models = Many(), Many()
    steps = []
    for make, model in zip((eager, tg.compile), models, strict=True):

        def loss(z, y, model=model):
            return LOGITS(z, y) + 0.1 * sum(np.sum(w**2) for w in model.weights)

        steps.append(make(model, loss, sgd(model)))
    for _ in range(2):
        assert steps[0](X, Y) == pytest.approx(steps[1](X, Y), rel=1e-12)  # a sum of a thousand numbers
