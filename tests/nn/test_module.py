"""Modules: names, states and modes."""

import copy
import io
import pickle
import re

import numpy as np
import pytest

import tinygrad_dls as tg
from tinygrad_dls import nn


class Residual(nn.Module):
    def __init__(self, n, rng):
        self.inner = nn.Sequential(nn.Linear(n, n, rng=rng), nn.Tanh(), nn.Linear(n, n, rng=rng))
        self.gain = nn.Parameter(np.ones((1, 1)))
        self.branches = [nn.Linear(n, n, rng=rng)]
        self.table = {"last": nn.Parameter(np.zeros((1, 1)))}

    def __call__(self, a):
        return a + self.gain * self.inner(a) + self.branches[0](a) + self.table["last"]


def test_names_of_parameters():
    deep = nn.Sequential(
        nn.Sequential(nn.Linear(2, 3, rng=0), nn.Tanh()), nn.Dropout(0.5, rng=0), nn.Linear(3, 1, rng=0)
    )
    assert list(deep.state_dict()) == ["W1", "b1", "W2", "b2"]
    assert [p.name for p in deep.parameters()] == ["W1", "b1", "W2", "b2"]
    assert list(Residual(2, 0).state_dict()) == [
        "inner.W1", "inner.b1", "inner.W2", "inner.b2", "gain", "branches.0.W", "branches.0.b", "table.last",
    ]  # fmt: skip
    blocks = nn.Sequential(nn.Linear(2, 2, rng=0), *[Residual(2, 0) for _ in range(12)])
    names = list(blocks.state_dict())
    assert names[:4] == ["W1", "b1", "2.inner.W1", "2.inner.b1"]
    assert len(names) == len(set(names)) == 2 + 12 * 8


def test_a_shared_parameter_counts_once():
    layer = nn.Linear(2, 2, rng=0)
    model = nn.Sequential(layer, nn.Tanh(), layer)
    assert len(model.parameters()) == 2
    np.sum(model(np.ones((2, 3)))).backward()
    assert layer.W.grad.shape == (2, 2)


class Scaled(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(2, 1, rng=0))
        self._gain = nn.Parameter(np.ones((1, 1)))

    def __call__(self, x):
        return self._gain * super().__call__(x)


def test_a_subclass_of_sequential_keeps_its_own_parameters():
    model = Scaled()
    assert list(model.state_dict()) == ["W", "b", "_gain"]
    np.sum(model(np.ones((2, 3)))).backward()
    assert all(p.grad is not None for p in model.parameters())
    assert "4 parameters" in repr(model)
    with pytest.raises(AttributeError, match="the layers of a Scaled are fixed; make a new one"):
        model.layers = ()


def test_a_subclass_of_sequential_keeps_its_own_parameters_when_nested():
    model = nn.Sequential(Scaled(), nn.Tanh(), nn.Linear(1, 1, rng=0))
    assert list(model.state_dict()) == ["1.W", "1.b", "1._gain", "W2", "b2"]
    np.sum(model(np.ones((2, 3)))).backward()
    assert all(p.grad is not None for p in model.parameters())


def test_a_layer_is_called_after_the_model_it_was_last_put_in():
    layer = nn.Linear(2, 2, rng=0)
    nn.Sequential(nn.Linear(3, 2, rng=0), layer)
    with pytest.raises(ValueError, match=r"layer2 .* A1 is \(3, 4\)"):
        layer(np.ones((3, 4)))
    nn.Sequential(layer)
    with pytest.raises(ValueError, match=r"layer1 .* X is \(3, 4\)"):
        layer(np.ones((3, 4)))


def test_two_parameters_of_one_name_are_refused():
    class Twice(nn.Module):
        def __init__(self):
            self.W1, self.W = nn.Parameter([1.0]), nn.Parameter([2.0])

        def __call__(self, a):
            return a

    with pytest.raises(ValueError, match="two parameters called W11; rename an attribute"):
        nn.Sequential(Twice(), *[nn.Linear(1, 1, rng=0) for _ in range(10)])


@pytest.mark.parametrize("ending", [nn.Sigmoid(), tg.sigmoid, nn.Sequential(nn.Sigmoid())])
def test_a_classifier_sees_its_last_activation_wherever_it_stands(ending):
    X = np.random.default_rng(0).normal(size=(2, 7))
    linear = nn.Linear(2, 1, rng=1)
    expected = nn.Classifier(linear).predict_proba(X)
    np.testing.assert_array_equal(nn.Classifier(linear, ending).predict_proba(X), expected)
    np.testing.assert_array_equal(nn.Classifier(nn.Sequential(linear, ending)).predict_proba(X), expected)


def test_predicting_builds_no_graph_and_returns_each_module_to_its_mode():
    seen = []

    class Spy(nn.Module):
        def __call__(self, a):
            seen.append((a.requires_grad, self.training))
            return a

    frozen, spy = nn.Dropout(0.5, rng=0), Spy()
    frozen.training = False
    model = nn.Classifier(nn.Linear(2, 1, rng=0), frozen, spy)
    model.predict(np.ones((2, 3)))
    assert seen == [(False, False)]
    assert (model.training, frozen.training, spy.training) == (True, False, True)


def test_a_state_of_tensors_loads_whole():
    model = nn.LogisticRegression(2)
    model.load_state_dict({"W": np.ones((1, 2)), "b": tg.Tensor([[3.0]])})
    assert model.state_dict()["b"] == 3


def test_a_parameter_copies_its_first_values():
    values = np.ones(2)
    p = nn.Parameter(values)
    p.data[:] = 5
    assert (values == 1).all()


def test_an_initialiser_without_randomness_needs_no_rng():
    assert (nn.Linear(3, 2, init=lambda shape, rng: np.ones(shape)).W.data == 1).all()


def test_state_round_trip_through_a_file():
    X = np.random.default_rng(0).normal(size=(2, 7))
    model, other = (nn.TwoLayerNetwork(2, 4, rng=seed) for seed in (1, 2))
    file = io.BytesIO()
    np.savez(file, **model.state_dict())
    file.seek(0)
    other.load_state_dict(np.load(file))
    np.testing.assert_array_equal(model(X).data, other(X).data)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(twin(X).data, model(X).data)
        assert list(twin.state_dict()) == list(model.state_dict())


def test_state_is_a_copy_both_ways():
    model = nn.LogisticRegression(2)
    state = model.state_dict()
    state["W"][:] = 7
    assert (model.parameters()[0].data == 0).all()
    model.load_state_dict(state)
    state["W"][:] = 9
    assert (model.parameters()[0].data == 7).all()


def test_a_state_that_does_not_fit_lists_every_difference_and_changes_nothing():
    model = nn.TwoLayerNetwork(2, 4, rng=1)
    before = model.state_dict()
    state = {"W1": np.ones((2, 4)), "b1": np.ones((4, 1), np.float32), "W2": np.ones((1, 4)), "w3": np.ones(1)}
    with pytest.raises(ValueError, match=re.escape(
        "this state does not fit TwoLayerNetwork: W1 is (2, 4); expected (4, 2); b1 is float32; expected float64; "
        "b2 is missing; w3 is not a parameter of this model."
    )):  # fmt: skip
        model.load_state_dict(state)
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_train_and_eval_reach_every_layer():
    model = nn.Sequential(nn.Linear(2, 2, rng=0), nn.Sequential(nn.Dropout(0.5, rng=0)))
    model.eval()
    assert not any(module.training for module in model.modules())
    model.train()
    assert all(module.training for module in model.modules())


def test_dropout_keeps_the_mean_and_scales_the_gradient():
    layer = nn.Dropout(0.8, rng=0)
    a = tg.Tensor(np.ones((100, 1000), np.float32), requires_grad=True)
    dropped = layer(a)
    assert dropped.dtype == np.float32
    assert set(np.unique(dropped.data)) == {np.float32(0), np.float32(1.25)}
    assert dropped.data.mean() == pytest.approx(1, abs=5 * 0.5 / np.sqrt(1e5))  # 5 standard errors
    dropped.backward(np.ones(a.shape, np.float32))
    np.testing.assert_array_equal(a.grad, dropped.data)
    layer.eval()
    assert layer(a) is a
    assert nn.Dropout(1, rng=0)(a) is a


def test_predict_does_not_drop_and_keeps_the_mode():
    model = nn.Classifier(nn.Linear(2, 50, rng=0), nn.Dropout(0.5, rng=0), nn.Linear(50, 1, rng=0))
    X = np.ones((2, 3))
    np.testing.assert_array_equal(model.predict_proba(X), model.predict_proba(X))
    assert model.training
    model.eval()
    model.predict(X)
    assert not model.training


def test_repr_shows_the_tree():
    assert repr(Residual(2, 0)) == (
        "Residual: 20 parameters (gain (1, 1), table.last (1, 1))\n"
        "  inner (Sequential)\n"
        "    layer1 (Linear 2 -> 2)    inner.W1 (2, 2), inner.b1 (2, 1)\n"
        "    Tanh\n"
        "    layer2 (Linear 2 -> 2)    inner.W2 (2, 2), inner.b2 (2, 1)\n"
        "  branches.0 (Linear 2 -> 2)  branches.0.W (2, 2), branches.0.b (2, 1)"
    )
    assert repr(nn.Linear(1, 1, rng=0)) == "Linear 1 -> 1: 2 parameters (W (1, 1), b (1, 1))"
    assert repr(nn.Dropout(0.5, rng=0)) == "Dropout 0.5: 0 parameters"


def test_a_model_lists_a_layer_once_that_it_reaches_twice():
    class Two(nn.Module):
        def __init__(self):
            self.body = nn.Sequential(nn.Linear(2, 2, rng=0), nn.Tanh(), nn.Linear(2, 1, rng=0))
            self.head = self.body.layers[-1]

    assert repr(Two()).count("Linear 2 -> 1") == 1
    assert repr(Two()).startswith("Two: 9 parameters")


def test_a_model_that_would_contain_itself_is_refused():
    a, b = nn.Module(), nn.Module()
    a.child = b
    for value in (a, [a], {"x": [a]}):
        with pytest.raises(ValueError, match=r"Module\.parent would be, or contain, the Module itself"):
            b.parent = value
    assert list(b.modules()) == [b]
