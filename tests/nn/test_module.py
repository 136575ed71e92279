"""Layers and models: what they compute, how they are named, saved and loaded, and what they say when shapes differ."""

import copy
import io
import pickle
import re
from collections import ChainMap, UserDict, UserList, deque
from types import MappingProxyType, SimpleNamespace

import numpy as np
import pytest

import tinygrad_dls as tg
from tinygrad_dls import nn


def test_linear_is_w_a_plus_b():
    layer = nn.Linear(3, 2, rng=0)
    layer.b.data = [[1.0], [2.0]]
    A = np.arange(12.0).reshape(3, 4)
    Z = layer(A)
    assert isinstance(Z, tg.Tensor)
    np.testing.assert_array_equal(Z.data, layer.W.data @ A + layer.b.data)
    np.testing.assert_array_equal(layer(A.tolist()).data, Z.data)


def test_models_return_logits_probabilities_and_classes():
    X = np.random.default_rng(0).normal(size=(2, 7))
    for model in (nn.TwoLayerNetwork(2, 4, rng=1, init=tg.init.xavier), nn.LogisticRegression(2)):
        Z = model(X).data
        assert Z.shape == (1, 7)
        A = model.predict_proba(X)
        assert type(A) is np.ndarray
        np.testing.assert_array_equal(A, tg.sigmoid(Z))
        np.testing.assert_array_equal(model.predict(X), (Z > 0).astype(int))


def test_several_classes():
    X = np.random.default_rng(0).normal(size=(2, 7))
    model = nn.TwoLayerNetwork(2, 4, 3, nn.ReLU(), rng=1, init=tg.init.he)
    np.testing.assert_allclose(model.predict_proba(X).sum(axis=0), 1, rtol=1e-15)
    np.testing.assert_array_equal(model.predict(X), np.argmax(model(X).data, axis=0)[None, :])


def test_a_classifier_that_ends_in_its_activation():
    X = np.random.default_rng(0).normal(size=(2, 7))
    linear = nn.Linear(2, 1, rng=1)
    ends_in_sigmoid, ends_in_logits = nn.Classifier(linear, nn.Sigmoid()), nn.Classifier(linear)
    np.testing.assert_array_equal(ends_in_sigmoid.predict_proba(X), ends_in_logits.predict_proba(X))
    three = nn.Linear(2, 3, rng=1)
    np.testing.assert_array_equal(nn.Classifier(three, nn.Softmax()).predict(X), nn.Classifier(three).predict(X))


def test_the_graph_carries_the_courses_names():
    model = nn.TwoLayerNetwork(2, 4, rng=1)
    Z2 = model(np.ones((2, 3)))
    W2, A1, b2 = Z2.inputs
    Z1 = A1.inputs[0]
    assert [t.name for t in (Z2, W2, A1, b2, Z1)] == ["Z2", "W2", "A1", "b2", "Z1"]
    single = nn.LogisticRegression(2)
    assert [single(np.ones((2, 3))).name, *dict(single.named_parameters())] == ["Z", "W", "b"]


def test_a_predefined_numpy_function_is_a_layer():
    model = nn.TwoLayerNetwork(2, 4, activation=np.sin, rng=1)
    np.sum(model(np.ones((2, 3)))).backward()
    assert dict(model.named_parameters())["W1"].grad.shape == (4, 2)


# -- names, state, modes ----------------------------------------------------------------------------------------------


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


# -- what stands in a parameter's place -----------------------------------------------------------------------------


class Held(nn.Module):
    """Parameters and modules, in every kind of place."""

    def __init__(self):
        self.p = nn.Parameter(np.ones((2, 1)))
        self.layer = nn.Linear(2, 2, rng=0)
        self.act = nn.Tanh()
        self.layers = [nn.Linear(2, 2, rng=0), np.tanh, nn.Linear(2, 2, rng=0)]
        self.pair = (nn.Parameter(np.ones((2, 1))), nn.Linear(2, 2, rng=0))
        self.table = {"W": nn.Parameter(np.ones((2, 1))), "deep": [{"b": nn.Parameter(np.ones((2, 1)))}]}
        self.plain = np.ones(3)

    def __call__(self, x):
        return self.p * self.layer(x)


def computed():
    return nn.Parameter(np.ones((2, 1))) * 2


NO_MEMBERS = {
    "array": lambda: np.ones((2, 1)), "number": lambda: 0.0, "NumPy number": lambda: np.float64(1),
    "None": lambda: None,
    "list of numbers": lambda: [1.0, 2.0], "Tensor": lambda: tg.Tensor(np.ones((2, 1))), "text": lambda: "W",
    "leaf that requires a gradient": lambda: tg.Tensor(np.ones((2, 1)), requires_grad=True),
    "computed Tensor": computed,
    "function": lambda: np.tanh, "empty dict": dict,
}  # fmt: skip


def state(model):
    return {name: id(p) for name, p in model.named_parameters()}


PLACES = {
    "p": "a Parameter",
    "layer": "a Linear 2 -> 2 with parameters",
    "layer.W": "a Parameter",
    "layer.b": "a Parameter",
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", NO_MEMBERS)
def test_nothing_else_takes_the_place_of_a_parameter_or_of_a_module_with_some(place, kind):
    model = Held()
    owner, attribute = (model.layer, place[-1]) if "." in place else (model, place)
    before = state(model)
    with pytest.raises(TypeError, match=rf"\.{attribute} is {PLACES[place]}, and .* in its place would "):
        setattr(owner, attribute, NO_MEMBERS[kind]())
    assert state(model) == before
    assert "data = <array>" in refused(owner, attribute, NO_MEMBERS[kind]()) or place == "layer"


def refused(owner, attribute, value):
    with pytest.raises(TypeError) as error:
        setattr(owner, attribute, value)
    return str(error.value)


CONTAINERS = {
    "layers": (lambda m, x: [m.layers[0], np.tanh, x], r"Held\.layers\.2 is a Linear 2 -> 2 with parameters"),
    "pair": (lambda m, x: (x, m.pair[1]), r"Held\.pair\.0 is a Parameter.*\.pair\[0\]\.data = <array>"),
    "table": (lambda m, x: {**m.table, "W": x}, r"Held\.table\.W is a Parameter.*\.table\['W'\]\.data = <array>"),
    "deep table": (lambda m, x: {**m.table, "deep": [{"b": x}]}, r"Held\.table\.deep\.0\.b is a Parameter"),
}


@pytest.mark.parametrize("place", CONTAINERS)
@pytest.mark.parametrize("kind", ["array", "number", "None", "Tensor", "computed Tensor"])
def test_nor_in_a_list_or_a_dict_that_is_assigned(place, kind):
    model = Held()
    before = state(model)
    made, text = CONTAINERS[place]
    with pytest.raises(TypeError, match=text):
        setattr(model, place.split()[-1], made(model, NO_MEMBERS[kind]()))
    assert state(model) == before


@pytest.mark.parametrize("kind", ["array", "number", "None", "Tensor", "computed Tensor"])
def test_nor_in_a_list_or_a_dict_that_is_changed_behind_the_models_back(kind):
    x = NO_MEMBERS[kind]()
    for change in (
        lambda m: m.layers.__setitem__(0, x), lambda m: m.table.__setitem__("W", x),
        lambda m: m.table["deep"][0].__setitem__("b", x),
    ):  # fmt: skip
        for look in (nn.Module.parameters, nn.Module.state_dict, repr, lambda m: tg.optim.SGD(m.parameters(), 0.1)):
            model = Held()
            change(model)
            with pytest.raises(TypeError, match="in its place would"):
                look(model)


@pytest.mark.parametrize("container", [[], (), [np.ones(2)], None, 0.0, {}])
def test_a_list_of_layers_may_become_shorter_but_nothing_else_than_a_list(container):
    model = Held()
    if isinstance(container, list) and not container:
        model.layers = container
        assert not any(name.startswith("layers") for name in state(model))
    elif container in ((), {}):
        model.layers = container
    else:
        with pytest.raises(TypeError, match=r"Held\.layers\.0 is a Linear"):
            model.layers = container


def test_what_may_be_assigned():
    model = Held()
    other = nn.Parameter(np.zeros((2, 1)))
    model.p = other
    assert model.parameters()[0] is other
    model.layer.b = other  # shared: it counts once
    assert len(model.parameters()) == 11
    model.layer = nn.Sequential(nn.Linear(2, 2, rng=1))
    assert "layer.W" in state(model)
    model.act = np.sin
    model.act = nn.Linear(2, 2, rng=0)
    model.plain = None
    model.layers.append(nn.Linear(2, 2, rng=0))
    assert "layers.3.W" in state(model)
    model.layers = [np.tanh, *model.layers[:1], np.sin]  # moved
    model.layers = model.layers[:2]
    model.layers = nn.Sequential(*model.layers)
    model.table["W"] = nn.Parameter(np.zeros((1, 1)))
    assert model.state_dict()["table.W"] == 0
    del model.act, model.plain, model.layers
    assert not any(name.startswith("layers") for name in state(model))
    model.p.data = np.full((2, 1), 5.0)
    model.p.data -= 1
    assert (other.data == 4).all()


@pytest.mark.parametrize(("owner", "name"), [("layer", "W"), ("layer", "b"), ("", "p"), ("", "pair"), ("", "table")])
def test_a_parameter_is_not_deleted(owner, name):
    model = Held()
    before = state(model)
    with pytest.raises(
        AttributeError, match=r"is a Parameter, which the model would forget\. Freeze it with .requires_grad"
    ):
        delattr(model.layer if owner else model, name)
    assert state(model) == before


SHOWN = [
    (lambda: nn.TwoLayerNetwork(2, 4, rng=0), "W1", "model.layers[0].W"),
    (lambda: nn.TwoLayerNetwork(2, 4, rng=0), "b2", "model.layers[2].b"),
    (lambda: nn.TwoLayerNetwork(2, 4, rng=0), "layers.0.W", "model.layers[0].W"),
    (lambda: nn.LogisticRegression(2), "b", "model.layers[0].b"),
    (lambda: nn.Sequential(nn.Sequential(nn.Linear(2, 2, rng=0)), nn.Linear(2, 1, rng=0)), "W2", "model.layers[1].W"),
    (
        lambda: nn.Sequential(nn.Sequential(nn.Linear(2, 2, rng=0)), nn.Linear(2, 1, rng=0)),
        "b1",
        "model.layers[0].layers[0].b",
    ),
    (Held, "layer.W", "model.layer.W"),
    (Held, "layers.2.b", "model.layers[2].b"),
    (Held, "table.deep.0.b", "model.table['deep'][0]['b']"),
    (lambda: nn.TwoLayerNetwork(2, 4, rng=0), "layer1", "model.layers[0]"),
    (lambda: nn.TwoLayerNetwork(2, 4, rng=0), "layer2", "model.layers[2]"),
]


@pytest.mark.parametrize(("make", "name", "place"), SHOWN)
@pytest.mark.parametrize(
    "value", [1.0, None, np.ones((4, 2)), nn.Parameter(np.ones((4, 2)))], ids=lambda x: type(x).__name__
)
def test_names_that_a_model_shows_but_does_not_own_are_refused(make, name, place, value):
    model = make()
    before = state(model)
    with pytest.raises(AttributeError, match=re.escape(f"but how it calls {place}")):
        setattr(model, name, value)
    with pytest.raises(AttributeError, match=re.escape(f"has no attribute {name!r}; it is how it calls {place}")):
        getattr(model, name)
    assert state(model) == before
    assert not hasattr(model, name)
    if "layer" not in name.split(".")[-1]:
        exec(f"{place}.data = np.zeros_like({place}.data)", {"model": model, "np": np})


def test_augmented_assignment_of_what_a_model_shows_is_refused():
    model = nn.TwoLayerNetwork(2, 4, rng=0)
    with pytest.raises(AttributeError, match=re.escape("model.layers[0].W.data = <array>")):
        model.W1 -= 0.1


def test_parameters_of_a_class_are_refused():
    for members in (
        {"W": nn.Parameter([1.0])},
        {"layers": [nn.Linear(1, 1, rng=0)]},
        {"body": nn.LogisticRegression(1)},
    ):
        with pytest.raises(
            TypeError, match=r"would be one for all objects of the class.*Assign it in __init__: self\."
        ):
            type("Shared", (nn.Module,), members)
    with pytest.raises(TypeError, match=r"Own\.training is every module's mode; set self\.training in __init__"):
        type("Own", (nn.Module,), {"training": False})
    assert type("Fine", (nn.Module,), {"act": nn.Tanh(), "scale": 2.0})().act(0.0) == 0


@pytest.mark.parametrize(
    "kind", [set, frozenset, deque, UserList, lambda x: UserDict(a=x[0]), lambda x: MappingProxyType({"a": x[0]}),
             lambda x: np.array([x[0], None], dtype=object), lambda x: ChainMap({}, {"a": x[0]}),
             lambda x: {"a": x[0]}.values(), lambda x: {"a": x}.items(), lambda x: SimpleNamespace(a=x[0])]
)  # fmt: skip
def test_containers_that_are_not_looked_into_are_refused(kind):
    model = nn.Module()
    with pytest.raises(
        TypeError, match=r"in which the model would not find them\. Put them in a list, a tuple or a dict"
    ):
        model.layers = kind([nn.Linear(1, 1, rng=0)])
    model.layers = kind([1.0])


@pytest.mark.parametrize("kind", [nn.Module, nn.Sequential])
@pytest.mark.parametrize("held", [lambda V: V, lambda V: [1, V], lambda V: {"a": (V,)}])
def test_a_tensor_that_wants_a_gradient_but_is_no_parameter_is_not_forgotten(held, kind):
    class Own(kind):
        def __init__(self, V):
            super().__init__(*[np.tanh] * (kind is nn.Sequential))
            self.V = held(V)

    with pytest.raises(
        TypeError,
        match=r"Own\.V\S* is a Tensor that requires a gradient, but no Parameter: it would not be learned, "
        r"listed or saved\. Write self\.V = tg\.nn\.Parameter\(\.\.\.\), or \.detach\(\) for a constant",
    ):
        Own(tg.Tensor([[1.0]], requires_grad=True))
    counts = [len(Own(V).parameters()) for V in (tg.Tensor([1.0]), nn.Parameter([1.0]) * 2, nn.Parameter([1.0]))]
    assert counts == [0, 0, 1]


def test_a_model_may_keep_an_input_that_wants_a_gradient():
    class Keeps(nn.Module):
        def __init__(self):
            self.layer = nn.Linear(2, 1, rng=0)

        def __call__(self, X):
            self.last = X
            return np.sum(self.layer(X))

    model, X = Keeps(), tg.Tensor(np.ones((2, 3)), requires_grad=True)
    model(X).backward()
    np.testing.assert_array_equal(X.grad, np.broadcast_to(model.layer.W.data.T, (2, 3)))
    tg.check.gradcheck(model, X.data)
    assert len(model.parameters()) == 2


@pytest.mark.parametrize("name", ["parameters", "modules", "train", "state_dict", "named_parameters"])
def test_an_attribute_does_not_hide_a_method_of_every_module(name):
    model = nn.Module()
    for value in ({"W1": nn.Parameter([1.0])}, nn.Tanh(), True):
        with pytest.raises(
            AttributeError, match=rf"Module\.{name} is a method of every module, which an? \w+ would hide"
        ):
            setattr(model, name, value)
    model.predict = 3
    assert model.parameters() == []


def test_the_layers_of_a_sequential_stay():
    model = nn.LogisticRegression(2)
    for change in (lambda: delattr(model, "layers"), lambda: setattr(model, "layers", ())):
        with pytest.raises(AttributeError, match="the layers of a LogisticRegression are fixed; make a new one"):
            change()
    assert len(model.parameters()) == 2


def test_a_cyclic_list_is_refused_with_its_cause():
    cyclic = [1.0]
    cyclic.append({"again": cyclic})
    model = nn.Module()
    with pytest.raises(ValueError, match=r"Module\.notes\.1\.again is a list that contains itself"):
        model.notes = cyclic
    model.notes = []
    model.notes.append(model.notes)
    with pytest.raises(ValueError, match=r"Module\.notes\.0 is a list that contains itself"):
        model.parameters()
    model.notes = [model.notes[0].clear()]
    child = nn.Module()
    child.parents, model.child = [], child
    child.parents.append(model)
    for look in (model.parameters, model.train, lambda: list(model.modules())):
        with pytest.raises(ValueError, match="a Module contains itself; a model is a tree of modules"):
            look()
    twice = [1.0]
    nn.Module().notes = [twice, twice]  # no cycle


def test_a_model_that_keeps_an_activation_is_copied_but_not_pickled():
    class Keeps(nn.Module):
        def __init__(self):
            self.layer = nn.Linear(2, 1, rng=0)

        def __call__(self, x):
            self.seen = {"last": [self.layer(x)]}
            return self.seen["last"][0]

    model = nn.Sequential(nn.Linear(2, 2, rng=0), Keeps())
    np.sum(model(np.ones((2, 3)))).backward()
    twin = copy.deepcopy(model)
    assert twin.layers[1].seen["last"][0].inputs[0] is twin.layers[1].layer.W
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(
            TypeError, match=r"Keeps\.seen\.last\.0 is a Tensor that affine computed.*self\.seen = Z\.data"
        ):
            pickle.dumps(model, protocol)
    model.layers[1].seen = model.layers[1].seen["last"][0].data
    file = io.BytesIO()
    file.write(pickle.dumps(model.state_dict()))


def test_assigning_n_layers_is_linear_in_n(monkeypatch):
    """Counted are the members that are looked at, which is what took n^3."""
    counts = {}
    original = nn.module._paths_of

    def counted(*args):
        counts[n] = counts.get(n, 0) + 1
        return original(*args)

    monkeypatch.setattr(nn.module, "_paths_of", counted)

    class Model(nn.Module):
        def __init__(self, layers):
            self.layers = layers

    for n in (20, 80):
        model = Model([nn.Linear(1, 1, rng=0) for _ in range(n)])
        model.parameters()
        for i in range(n):
            setattr(model, f"extra{i}", nn.Linear(1, 1, rng=0))
    assert counts[80] < 5 * counts[20]


# -- initialisers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("init", "deviation"), [(tg.init.small, 0.01), (tg.init.xavier, 0.1), (tg.init.he, np.sqrt(0.02))]
)
def test_spread_of_initialisers(init, deviation):
    W = nn.Linear(100, 2000, rng=0, init=init).W.data
    assert abs(W.mean()) < 5 * deviation / np.sqrt(W.size)
    assert W.std() == pytest.approx(deviation, rel=0.02)  # 200,000 draws: 0.16 % is one standard error


def test_an_initialiser_of_the_users():
    values = np.arange(6.0).reshape(2, 3)
    layer = nn.Linear(3, 2, init=values)
    np.testing.assert_array_equal(layer.W.data, values)
    layer.W.data[:] = 0
    assert values.max() == 5  # copied
    assert (nn.Linear(3, 2, init=lambda shape, rng: np.full(shape, 2.0), rng=0).W.data == 2).all()
    assert nn.Linear(3, 2, init=[[1, 2, 3], [4, 5, 6]]).W.dtype == float


def test_randomness_comes_from_rng_alone():
    np.random.seed(0)
    state = np.random.get_state()[1].copy()
    a, b = (nn.TwoLayerNetwork(2, 4, rng=5).state_dict() for _ in range(2))
    c = nn.TwoLayerNetwork(2, 4, rng=np.random.default_rng(5)).state_dict()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name])
        np.testing.assert_array_equal(a[name], c[name])
    np.testing.assert_array_equal(np.random.get_state()[1], state)


def test_float32_models():
    model = nn.TwoLayerNetwork(2, 4, rng=0, dtype=np.float32)
    assert {p.dtype for p in model.parameters()} == {np.dtype(np.float32)}
    assert model(np.ones((2, 3), np.float32)).dtype == np.float32


# -- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: nn.TwoLayerNetwork(2, 4, rng=0)(np.ones((400, 2))),
         "layer1 (Linear 2 -> 4): W is (4, 2), X is (400, 2); expected X to be (2, m). Did you pass X transposed?"),
        (lambda: nn.Sequential(nn.Linear(2, 5, rng=0), nn.Tanh(), nn.Linear(4, 1, rng=0))(np.ones((2, 400))),
         "layer2 (Linear 4 -> 1): W is (1, 4), A1 is (5, 400); expected A1 to be (4, m). "
         "Did you mean Linear(5, 1), or is a layer before it of another size?"),
        (lambda: nn.LogisticRegression(3)(np.ones(3)),
         "layer1 (Linear 3 -> 1): W is (1, 3), X is (3,); expected X to be (3, m). "
         "Examples are columns: write X.reshape(3, -1) if each has 3 values."),
        (lambda: nn.LogisticRegression(12)(np.zeros((4, 2, 2, 3))),
         "X is (4, 2, 2, 3); expected X to be (12, m). "
         "Examples are columns: write X.reshape(X.shape[0], -1).T if the first axis counts the examples."),
        (lambda: nn.LogisticRegression(4).predict(np.zeros((5, 2, 2))), "write X.reshape(X.shape[0], -1).T if"),
        (lambda: nn.Linear(0, 1, rng=0), "Linear: n_in must be a positive integer, got 0."),
        (lambda: nn.Linear(1, 2.0, rng=0), "Linear: n_out must be a positive integer, got 2.0."),
        (lambda: nn.Linear(3, 2), "init.xavier draws random numbers: pass a seed, rng=0, or a generator"),
        (lambda: nn.TwoLayerNetwork(3, 2), "init.small draws random numbers: pass a seed, rng=0"),
        (lambda: nn.Linear(3, 2, init=np.ones((3, 2))),
         "Linear 3 -> 2: init gave W of shape (3, 2); expected (n_out, n_in) = (2, 3)."),
        (lambda: nn.Dropout(0, rng=0), "Dropout: keep_prob must be in (0, 1], got 0."),
        (lambda: nn.Sequential(), "Sequential needs at least one layer."),
        (lambda: nn.Sequential(nn.Tanh), "Write Tanh()."),
        (lambda: nn.Sequential(3), "Sequential takes layers, got 3."),
        (lambda: nn.Module()(1), "Module does not define __call__."),
    ],
)  # fmt: skip
def test_errors_name_the_layer_and_the_likely_mistake(call, text):
    with pytest.raises((ValueError, TypeError, NotImplementedError), match=re.escape(text)):
        call()
