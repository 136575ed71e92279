"""The chain rule over the graph: what backward computes, in which levels."""

import contextlib
import gc
import weakref

import dask.array as da
import numpy as np
import pytest

import tinygrad_dls as tg
from tests.engine.leaves import leaf

# -- backward ---------------------------------------------------------------------------------------------------------


def test_a_value_used_in_several_places_sums_its_gradients():
    x = leaf(3.0)
    y = x * x
    (y * x + y).backward()  # x^3 + x^2
    assert x.grad == 3 * 9 + 2 * 3


def test_leaves_accumulate_and_two_calls_double_exactly():
    x, w = leaf(np.random.default_rng(0).normal(size=(3, 4))), leaf(np.full((2, 3), 0.1))
    J = np.mean(np.tanh(w @ x) ** 2)
    J.backward()
    once = x.grad, w.grad
    J.backward()
    np.testing.assert_array_equal(x.grad, 2 * once[0])
    np.testing.assert_array_equal(w.grad, 2 * once[1])


def test_computed_tensors_keep_the_gradient_of_the_last_call():
    x = leaf(2.0)
    z = x * 3
    J = z * z
    J.backward()
    J.backward()
    assert z.grad == 12
    assert x.grad == 72


def test_a_chain_of_100_000_nodes_runs_backward_and_is_freed():
    x = leaf(1.0)
    z = x
    for _ in range(100_000):
        z = z + 1e-5
    z.backward()
    assert x.grad == 1
    assert z.data == pytest.approx(2)


def test_sixty_doublings_are_sixty_steps_not_two_to_the_sixty():
    x = leaf(1.0)
    z = x
    for _ in range(60):
        z = z + z
    z.backward()
    assert x.grad == 2.0**60


def count_calls(n, fan):
    """Number of vector-Jacobian products that run in a chain of n nodes, each used `fan` times by the next."""
    calls = 0

    @tg.op()
    def merge(*xs):
        def vjp(dz):
            nonlocal calls
            calls += 1
            return dz

        return xs[0], (vjp,) * len(xs)

    z = leaf(1.0)
    for _ in range(n):
        z = merge(*[z] * fan)
    z.backward(0.0)
    return calls


@pytest.mark.parametrize(("n", "fan"), [(1, 1), (10, 3), (1_000, 2), (50, 40)])
def test_backward_runs_each_edge_once(n, fan):
    assert count_calls(n, fan) == n * fan


def test_the_gradient_of_data_is_never_computed():
    asked = []

    @tg.op()
    def product(w, x):
        return w * x, (lambda dz: dz * x, lambda dz: asked.append("dX"))

    product(leaf(np.ones(3)), tg.Tensor(np.ones(3))).backward(np.ones(3))
    product(leaf(np.ones(3)), np.ones(3)).backward(np.ones(3))
    assert asked == []


def test_a_leaf_owns_its_gradient():
    """Scaling one gradient in place scales neither another parameter's, nor the caller's seed."""
    x, y = leaf(np.ones((2, 3))), leaf(np.ones((2, 3)))
    seed = np.ones((2, 3))
    (x + y).backward(seed)
    x.grad *= 10
    assert (y.grad == 1).all()
    assert (seed == 1).all()
    z = leaf(np.ones((2, 3)))
    np.sum(z.T.reshape(6)).backward()
    z.grad *= 10  # broadcast_to would have given a read-only view
    assert (z.grad == 10).all()
    lone = leaf(np.ones(3))
    lone.backward(seed[0])
    lone.grad *= 10
    assert (seed == 1).all()


def test_a_rule_that_fails_leaves_the_gradients_as_they_were():
    @tg.op()
    def broken(x):
        def vjp(dz):
            raise ZeroDivisionError("planted")

        return x, (vjp,)

    x, y = leaf(1.0), leaf(2.0)
    with pytest.raises(ZeroDivisionError):
        (x * y + broken(y)).backward()
    assert x.grad is None
    assert y.grad is None


def test_seed():
    x = leaf(np.array([1.0, 2.0]))
    (x * x).backward([1, 10])
    np.testing.assert_array_equal(x.grad, [2.0, 40.0])
    one = leaf(np.ones((1, 1), np.float32))
    (one * 3).backward()
    assert one.grad == 3
    assert one.grad.dtype == np.float32


def test_a_leaf_can_be_the_cost_and_accumulates_too():
    x = leaf(3.0)
    x.backward()
    x.backward()
    assert x.grad == 2


def test_a_gradient_has_the_dtype_of_its_leaf():
    @tg.op()
    def counted(x):
        return x * 1.0, (lambda dz: x > 0,)

    x = leaf(np.ones(2, np.float32))
    np.sum(x * np.ones(2)).backward()
    assert x.grad.dtype == np.float32
    np.sum(counted(x)).backward()
    assert x.grad.dtype == np.float32
    np.testing.assert_array_equal(x.grad, [2, 2])


def test_freezing_a_leaf_stops_its_gradient():
    w, b = leaf(2.0), leaf(3.0)
    w.requires_grad = False
    (w * b).backward()
    assert w.grad is None
    assert b.grad == 2


def test_no_reference_cycle_outlives_a_step():
    gc.collect()
    gc.disable()
    try:
        x = leaf(np.ones((2, 3)))
        J = np.sum(tg.softmax(np.tanh(x @ np.ones((3, 4)))) ** 2)
        J.backward()
        alive = weakref.ref(J)
        del J
        assert alive() is None
        del x
        assert gc.collect() == 0
    finally:
        gc.enable()


# -- levels: a Tensor in a Tensor -------------------------------------------------------------------------------------


def test_hessian_of_logistic_regression():
    """A Tensor in a Tensor gives ``X diag(a(1-a)) X^T / m``."""
    rng = np.random.default_rng(0)
    n_x, m = 4, 50
    X, Y = rng.normal(size=(n_x, m)), (rng.random((1, m)) < 0.5).astype(float)
    w = rng.normal(size=(1, n_x))
    a = tg.sigmoid(w @ X)
    expected = (X * (a * (1 - a))) @ X.T / m
    for composed in (False, True):
        inner = leaf(w)
        outer = leaf(inner)
        Z = outer @ X
        loss = tg.binary_cross_entropy(tg.sigmoid(Z), Y) if composed else tg.binary_cross_entropy_with_logits(Z, Y)
        loss.backward()
        dw = outer.grad
        rows = []
        for i in range(n_x):
            inner.grad = None
            dw[0, i].backward()
            rows.append(inner.grad[0])
        # 1e-15: entries of order 0.1, sums of 50 terms
        np.testing.assert_allclose(np.array(rows), expected, rtol=0, atol=1e-15)


def test_three_levels_give_the_third_derivative():
    x1 = leaf(2.0)
    x2 = leaf(x1)
    x3 = leaf(x2)
    (x3**4).backward()
    x3.grad.backward()
    x2.grad.backward()
    assert x1.grad == 24 * 2


def test_a_lower_level_is_a_constant_to_the_higher():
    low, high = leaf(3.0), leaf(leaf(2.0))
    z = low * high
    z.backward()
    assert low.grad is None
    assert high.grad.item() == 3
    assert (high * low).data.requires_grad


def test_the_tensor_inside_can_be_replaced_by_one_of_another_level():
    t = leaf(1.0)
    t.data = leaf(2.0)
    (t * t).backward()
    assert isinstance(t.grad, tg.Tensor)
    assert t.grad.item() == 4
    other = leaf(leaf(5.0))
    t.grad = None
    (t * other).backward()
    assert (t.grad.item(), other.grad.item()) == (5, 2)


@pytest.mark.parametrize("recording", [True, False])
def test_the_update_of_a_leaf_is_no_tensor_in_the_place_of_its_array(recording):
    w = leaf([1.0, 2.0])
    np.sum(w * w).backward()
    with contextlib.nullcontext() if recording else tg.no_grad():
        step = w - 0.1 * w.grad
    for new in (step, tg.Tensor([1.0, 2.0])):
        with pytest.raises(TypeError, match=r"one level more, .*: t\.data = t\.data - \.\.\., or take \.data of"):
            w.data = new
    w.data = step.data
    np.testing.assert_allclose(w.data, [0.8, 1.6], rtol=1e-15)  # one rounding
    v = leaf([1.0, 2.0])
    w.data = v * 2  # a level of its own, which leads elsewhere
    np.sum(w * w).backward()
    np.sum(w.grad).backward()
    np.testing.assert_array_equal(v.grad, [4.0, 4.0])


def test_limits_of_a_lower_level_are_constants():
    x = leaf(leaf(2.0))
    tg.clip(x, tg.Tensor(0.0), tg.Tensor(3.0)).backward()
    assert x.grad.item() == 1


def test_dask_arrays_train_logistic_regression():
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(3, 40)), (rng.random((1, 40)) < 0.5).astype(float)

    def train(X, Y, composed):
        w, b = leaf(np.zeros((1, 3))), leaf(np.zeros((1, 1)))
        for _ in range(5):
            w.grad = b.grad = None
            Z = w @ X + b
            if composed:
                J = tg.binary_cross_entropy(tg.sigmoid(Z), Y)
            else:
                J = tg.binary_cross_entropy_with_logits(Z, Y)
            J.backward()
            for p in (w, b):
                p.data = p.data - 0.5 * np.asarray(p.grad)
        return w.data, b.data, J.data

    for composed in (False, True):
        in_chunks = train(da.from_array(X, chunks=(3, 10)), da.from_array(Y, chunks=(1, 10)), composed)
        in_memory = train(X, Y, composed)
        assert isinstance(in_chunks[2], da.Array)
        for got, expected in zip(in_chunks, in_memory, strict=True):
            np.testing.assert_allclose(np.asarray(got), expected, rtol=1e-14)  # chunks sum in another order


def test_a_tensor_of_a_dask_array_meets_dask_arrays():
    x = da.ones((2, 3), chunks=2)
    t = leaf(x)
    z = x * t + np.sum(t, axis=1, keepdims=True)
    assert isinstance(z.data, da.Array)
    np.sum(z).backward()
    np.testing.assert_array_equal(np.asarray(t.grad), np.full((2, 3), 4.0))
