"""Copies and pickles of Tensors, with their graphs."""

import builtins
import copy
import pickle
import sys

import numpy as np
import pytest

import tinygrad_dls as tg
from tests.engine.leaves import vector
from tinygrad_dls import nn


def test_leaves_are_pickled_and_computed_tensors_are_not():
    w = nn.Parameter([1.0, 2.0], name="W")
    twin = pickle.loads(pickle.dumps(w))
    assert (type(twin), twin.name, twin.requires_grad, twin.data.tolist()) == (nn.Parameter, "W", True, [1, 2])
    z = w * 2
    z.name = "Z"
    with pytest.raises(TypeError) as error:
        pickle.dumps(z)
    assert str(error.value) == (
        "Z was computed by multiply, and a graph cannot be pickled, as it holds functions. Take .detach() or .data of "
        "it; if a model keeps it in an attribute, delete that before, or save model.state_dict()."
    )
    assert pickle.loads(pickle.dumps(z.detach())).data.tolist() == [2, 4]


def test_a_deep_copy_of_a_graph_is_a_graph_of_copies():
    w = vector()
    J, u = copy.deepcopy((np.sum(w * w), w))
    J.backward()
    assert (u.grad.tolist(), w.grad) == ([2, 4], None)


def test_a_copy_of_a_computed_tensor_leads_to_the_same_leaves():
    w = vector()
    copy.copy(np.sum(w * w)).backward()
    assert w.grad.tolist() == [2, 4]


def test_builtins_that_add_up_keep_the_graph():
    w = vector()
    builtins.sum(w).backward()
    assert w.grad.tolist() == [1, 1]


def test_a_deep_graph_is_copied_without_recursion():
    w = z = tg.Tensor(1.0, requires_grad=True)
    for _ in range(3 * sys.getrecursionlimit()):
        z = z + 1.0
    twin = copy.deepcopy(z)
    twin.backward()
    assert w.grad is None
    assert twin.item() == z.item()


@pytest.mark.parametrize("change", ["W.data[0] = 9.0", "W.data *= 2.0"])
def test_a_change_in_place_of_the_original_does_not_escape_the_copys_graph(change):
    W, X = tg.Tensor(np.ones((2, 2)), True, name="W"), vector()
    twin = copy.deepcopy(np.sum(W @ X))
    exec(change, {"W": W})
    with pytest.raises(RuntimeError, match="an array of matmul, shared with the Tensor that this one was copied from"):
        twin.backward()


@tg.op()
def weighted(x, a):
    """A weighted exponential, whose rule reads the weights, and its own value."""
    z = np.exp(x) * a
    return z, (lambda dz: dz * z, lambda dz: dz * z / a)


@pytest.mark.parametrize("size", [3, 10_000])
@pytest.mark.parametrize("changed", ["value", "weights"])
def test_of_a_copied_graph_every_array_that_the_vjps_read_is_watched(size, changed):
    x, a = tg.Tensor(np.zeros(size), requires_grad=True), np.ones(size)
    z = weighted(x, a)
    twin = copy.deepcopy(z)
    twin.backward(np.ones(size))
    np.testing.assert_array_equal(twin.inputs[0].grad, np.ones(size))
    (z.data if changed == "value" else a)[0] = 5
    with pytest.raises(RuntimeError, match=r"of weighted, shared with the Tensor|argument 2 of weighted"):
        twin.backward(np.ones(size))


def test_a_change_in_place_of_the_copy_is_none_of_the_copied_graph():
    W, X = tg.Tensor(np.ones((2, 2)), True), vector()
    W_twin, J = copy.deepcopy((W, np.sum(W @ X)))
    W_twin.data *= 2.0
    J.backward()
    np.testing.assert_array_equal(W_twin.grad, [[1, 2], [1, 2]])


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda t: pickle.loads(pickle.dumps(t))])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_a_copy_of_a_leaf_is_exact(copied, dtype):
    data = np.random.default_rng(0).normal(size=(2, 3)).astype(dtype)
    for t in (tg.Tensor(data, True, name="w"), nn.Parameter(data, name="w"), tg.Tensor(data, name="w")):
        if t.requires_grad:
            np.sum(t * t).backward()
        twin = copied(t)
        assert (type(twin), twin.name, twin.requires_grad, twin.op) == (type(t), t.name, t.requires_grad, None)
        assert (twin.data is t.data) == (copied is copy.copy)
        np.testing.assert_array_equal(twin.data, t.data, strict=True)
        if t.requires_grad:
            np.testing.assert_array_equal(twin.grad, t.grad, strict=True)


class Noted(nn.Parameter):
    """One of the caller's, which has attributes."""


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda t: pickle.loads(pickle.dumps(t))])
def test_a_copy_of_a_callers_own_kind_keeps_its_attributes(copied):
    p = Noted([1.0])
    p.note, p.itself = ["decays"], p
    twin = copied(p)
    assert twin.note == ["decays"]
    assert (twin.note is p.note) == (copied is copy.copy)
    assert twin.itself is (p if copied is copy.copy else twin)


def test_a_copy_of_a_tensor_in_a_tensor_has_both_graphs_of_its_own():
    inner = tg.Tensor(2.0, requires_grad=True)
    outer = tg.Tensor(inner * inner, requires_grad=True)
    twin = copy.deepcopy(outer * outer)
    twin.backward()
    own = twin.inputs[0]
    own.grad.backward()  # 2 outer = 2 inner^2
    assert own.grad.item() == 8
    assert own.data.inputs[0].grad == 8
    assert (inner.grad, outer.grad) == (None, None)


@pytest.mark.parametrize("step", [1, -1])
def test_a_copy_of_a_tensor_in_a_tensor_that_would_be_another_is_refused(step):
    count = [0]

    @tg.op()
    def noisy(x):
        count[0] += step
        return x + count[0], (lambda dz: dz,)

    outer = tg.Tensor(tg.Tensor(2.0, requires_grad=True), requires_grad=True)
    with pytest.raises(RuntimeError, match=r"deepcopy: this Tensor was computed by noisy, which.* Copy t\.detach\(\)"):
        copy.deepcopy(noisy(outer))
    with np.errstate(all="ignore"):
        z = np.log(outer - 3)
    assert np.isnan(copy.deepcopy(z).item())  # and NaN is no other value
