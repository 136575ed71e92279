"""Gradients are arrays of the kind that the values are: blocks of blocks, and Tensors of Tensors in Tensors."""

import dask.array as da
import numpy as np
import pytest

import tinygrad_dls as tg
from tests.support.op_cases import CASES

LABELS = np.array([[1.0, 0.0, 1.0]])
ONE_HOT = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]])
LOSSES = {
    "binary_cross_entropy": lambda a: tg.binary_cross_entropy(a, LABELS),
    "binary_cross_entropy_with_logits": lambda z: tg.binary_cross_entropy_with_logits(z, LABELS),
    "mean_squared_error": lambda a: tg.mean_squared_error(a, LABELS),
    "softmax_cross_entropy": lambda z: tg.softmax_cross_entropy(z, ONE_HOT),
    "softmax_cross_entropy of classes": lambda z: tg.softmax_cross_entropy(z, np.array([[0, 1, 1]])),
}
EVERY = CASES | {
    name: (f, [np.array([[0.2, 0.9, 0.4], [0.7, 0.1, 0.5]])[: 2 if "softmax" in name else 1]])
    for name, f in LOSSES.items()
}
# Without a Tensor too: uneven reshapes, masks, and several arrays as an index.
NOT_IN_BLOCKS = {"reshape", "concatenate flattened", "arrays", "mask"}
ENDS = {
    "sum": np.sum,
    "mean": np.mean,
    "an entry": lambda z: z[(0,) * z.ndim],
    "itself": lambda z: z,
}


def gradients(make, name, end, seed=None):
    f, arrays = EVERY[name]
    leaves = [tg.Tensor(make(x), requires_grad=True) for x in arrays]
    with np.errstate(all="ignore"):  # powers of negative numbers
        z = ENDS[end](f(*leaves))
        z.backward(np.full(z.shape, 2.0) if z.size != 1 else seed)
    return [x.grad for x in leaves]


def blocks(x):
    return da.from_array(np.asarray(x), chunks=2)


def inside(x):
    return tg.Tensor(x, requires_grad=True)


@pytest.mark.parametrize("name", sorted(NOT_IN_BLOCKS))
def test_what_dask_does_not_compute_at_all(name):
    f, arrays = EVERY[name]
    with pytest.raises((TypeError, NotImplementedError)):
        list(range(f(*map(blocks, arrays)).shape[0]))  # of a mask, the count is not known before it is computed


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("name", [name for name in EVERY if name not in NOT_IN_BLOCKS])
def test_the_gradients_of_every_op_and_loss_are_blocks_where_the_leaves_are(name, end):
    for dx, expected in zip(gradients(blocks, name, end), gradients(np.asarray, name, end), strict=True):
        assert isinstance(dx, da.Array)
        np.testing.assert_allclose(dx.compute(), expected, rtol=1e-12, atol=1e-14)  # blocks sum in another order


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("name", EVERY)
def test_the_gradients_of_every_op_and_loss_are_tensors_where_the_leaves_hold_tensors(name, end):
    for dx, expected in zip(gradients(inside, name, end), gradients(np.asarray, name, end), strict=True):
        assert isinstance(dx, tg.Tensor)
        assert dx._level == 1
        np.testing.assert_allclose(dx.data, expected, rtol=1e-14)  # of the same rules


@pytest.mark.parametrize("make", [blocks, inside])
def test_a_seed_of_numbers_becomes_one_of_the_values_kind(make):
    (dx,) = gradients(make, "exp of a number", "sum", seed=3.0)
    assert type(dx) is type(make(np.ones(1)))
    np.testing.assert_array_equal(
        np.asarray(dx if make is blocks else dx.data), 3.0 * np.exp(EVERY["exp of a number"][1][0])
    )


@pytest.mark.parametrize("make", [blocks, inside])
def test_a_sum_hands_on_a_seed_of_the_values_kind(make):
    x = tg.Tensor(make(np.ones((2, 3))), requires_grad=True)
    np.sum(x).backward(3.0)
    assert type(x.grad) is type(make(np.ones(1)))
    np.testing.assert_array_equal(np.asarray(x.grad if make is blocks else x.grad.data), np.full((2, 3), 3.0))


@pytest.mark.parametrize("index", [np.array([0, 2, 0, 0]), (slice(None, None, -2), 1), np.s_[..., None], -1])
def test_what_cannot_be_written_into_adds_up_entries_that_are_taken_several_times(index):
    w = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    x, t = (tg.Tensor(a, requires_grad=True) for a in (blocks(w), w.copy()))
    for leaf in (x, t):
        np.sum(leaf[index] ** 2).backward()
    np.testing.assert_array_equal(x.grad.compute(), t.grad)


# -- what is called on blocks directly, without `fit` -----------------------------------------------------------------

X = np.random.default_rng(0).standard_normal((3, 12))
Y = (X[:1] > 0).astype(float)
WEIGHTS = np.linspace(0.5, 2, 12)[None]
NUMBERED = (X[:1] > 0).astype(int) + (X[1:2] > 0)
WEIGHTED = {
    "binary_cross_entropy": (1, lambda z, y, w: tg.binary_cross_entropy(tg.sigmoid(z), y, sample_weight=w), Y),
    "binary_cross_entropy_with_logits": (1, lambda *zyw: _weighted(tg.binary_cross_entropy_with_logits, *zyw), Y),
    "mean_squared_error": (1, lambda *zyw: _weighted(tg.mean_squared_error, *zyw), Y),
    "softmax_cross_entropy": (3, lambda *zyw: _weighted(tg.softmax_cross_entropy, *zyw), NUMBERED),
}
MODULES = {
    "linear": lambda: tg.nn.Linear(3, 1, rng=0),
    "logistic regression": lambda: tg.nn.LogisticRegression(3),
    "two layers": lambda: tg.nn.TwoLayerNetwork(3, 4, rng=0),
    "relu and sigmoid": lambda: tg.nn.Sequential(
        tg.nn.Linear(3, 4, rng=0), tg.nn.ReLU(), tg.nn.Linear(4, 1, rng=1), tg.nn.Sigmoid()
    ),
    "softmax": lambda: tg.nn.Sequential(tg.nn.Linear(3, 3, rng=0), tg.nn.Softmax()),
    "batch normalisation": lambda: tg.nn.Sequential(tg.nn.Linear(3, 4, rng=0), tg.nn.BatchNorm(4)),
    "standardised": lambda: tg.nn.Sequential(tg.nn.Standardizer.of(X), tg.nn.Linear(3, 1, rng=0)),
}


def _weighted(loss, z, y, w):
    return loss(z, y, sample_weight=w)


def columns(x):
    """In chunks of columns, as data are."""
    return da.from_array(np.asarray(x), chunks=(-1, 5))


@pytest.mark.parametrize("name", WEIGHTED)
@pytest.mark.parametrize("loss_of", ["weighted", "plain"])
def test_losses_of_blocks_give_blocks(name, loss_of):
    rows, loss, labels = WEIGHTED[name]
    found = []
    for make in (np.asarray, columns):
        z = tg.Tensor(make(X[:rows]), requires_grad=True)
        J = loss(z, make(labels), make(WEIGHTS if loss_of == "weighted" else np.ones((1, 12))))
        J.backward()
        found.append((J.data, z.grad))
    assert all(isinstance(x, da.Array) for x in found[1])
    for got, expected in zip(found[1], found[0], strict=True):
        np.testing.assert_allclose(got.compute(), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", MODULES)
def test_modules_of_blocks_give_blocks_and_lazy_gradients(name):
    found = []
    for make in (np.asarray, columns):
        module = MODULES[name]()
        x = tg.Tensor(make(X), requires_grad=True)
        A = module(x)
        np.mean(A * A).backward()
        found.append([A.data, x.grad, *(p.grad for p in module.parameters())])
    assert all(isinstance(x, da.Array) for x in found[1])
    for got, expected in zip(found[1], found[0], strict=True):
        np.testing.assert_allclose(got.compute(), expected, rtol=1e-11, atol=1e-14)


def made_of(x):
    """The arrays in a result."""
    if isinstance(x, dict):
        x = list(x.values())
    return [y for part in x for y in made_of(part)] if isinstance(x, (tuple, list)) else [x]


TRANSFORMS = {
    "grad": lambda f: tg.grad(f)(W),
    "value_and_grad": lambda f: tg.value_and_grad(f)(W),
    "grad of grad": lambda f: tg.grad(lambda w: np.sum(tg.grad(f)(w) ** 2))(W),
    "jacobian": lambda f: tg.jacobian(f)(W),
    "hessian": lambda f: tg.hessian(f)(W),
    "hvp": lambda f: tg.hvp(f)(W, np.arange(3.0)[None]),
}
W = np.ones((1, 3))


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms_of_blocks_give_blocks(name):
    def of(X, Y):
        return TRANSFORMS[name](lambda w: tg.binary_cross_entropy_with_logits(w @ X, Y))

    for got, expected in zip(made_of(of(columns(X), columns(Y))), made_of(of(X, Y)), strict=True):
        assert isinstance(got, da.Array)
        np.testing.assert_allclose(got.compute(), expected, rtol=1e-12, atol=1e-14)


def test_the_gradients_of_a_model_on_blocks_are_blocks():
    def of(X, Y):
        return tg.grad(lambda model: tg.binary_cross_entropy_with_logits(model(X), Y))(tg.nn.LogisticRegression(3))

    for got, expected in zip(made_of(of(columns(X), columns(Y))), made_of(of(X, Y)), strict=True):
        assert isinstance(got, da.Array)
        np.testing.assert_allclose(got.compute(), expected, rtol=1e-12)
