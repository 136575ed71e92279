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
