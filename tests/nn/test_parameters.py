"""What stands in a parameter's place: what a module takes, and what it refuses."""

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
    with pytest.raises(AttributeError, match=re.escape(f"but its name for {place}")):
        setattr(model, name, value)
    with pytest.raises(
        AttributeError, match=re.escape(f"has no attribute {name!r}; it is the model's name for {place}")
    ):
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
    original = nn.module.paths_of

    def counted(*args):
        counts[n] = counts.get(n, 0) + 1
        return original(*args)

    monkeypatch.setattr(nn.module, "paths_of", counted)

    class Model(nn.Module):
        def __init__(self, layers):
            self.layers = layers

    for n in (20, 80):
        model = Model([nn.Linear(1, 1, rng=0) for _ in range(n)])
        model.parameters()
        for i in range(n):
            setattr(model, f"extra{i}", nn.Linear(1, 1, rng=0))
    assert counts[80] < 5 * counts[20]


class OfAnArray(nn.Module):
    """A parameter of an array as it came, such as from a file."""

    def __init__(self, dtype):
        self.W = nn.Parameter(np.full((1, 2), 0.5, dtype))

    def __call__(self, x):
        return self.W @ x


@pytest.mark.parametrize("dtype", [">f8", ">f4", "<f8", "<f4"])
@pytest.mark.parametrize("make", [lambda dtype: nn.TwoLayerNetwork(2, 3, rng=0, dtype=dtype), OfAnArray])
def test_parameters_are_in_this_computers_order_of_bytes_whatever_that_of_the_data(make, dtype, tmp_path):
    dtype, (X, Y) = np.dtype(dtype), tg.datasets.planar_flower()
    X, found = X.astype(dtype), []
    for compiled in (False, True):
        model = make(dtype)
        optimizer = tg.optim.Adam(model.parameters(), lr=0.1)
        loss = tg.binary_cross_entropy_with_logits
        found += tg.fit(model, X, Y, loss=loss, optimizer=optimizer, epochs=3, compile=compiled).costs
        assert {p.dtype for p in model.parameters()} == {dtype.newbyteorder("=")}
        tg.save(tmp_path / "m.safetensors", model, optimizer)
        tg.load(tmp_path / "m.safetensors", make(dtype))
    np.testing.assert_allclose(found[:3], found[3:], rtol=1e-5 if dtype.itemsize == 4 else 1e-12)


@pytest.mark.parametrize(
    ("attribute", "instead"),
    [
        ("fit", "; write tg.fit(model, X, Y, loss=..., optimizer=..., epochs=...)."),
        ("forward", "; write model(X)."),
        ("zero_grad", "; write optimizer.zero_grad()."),
        ("layer", "."),
    ],
)
def test_what_other_libraries_have_as_a_method_is_named_where_it_is_here(attribute, instead):
    with pytest.raises(
        AttributeError, match=f"^{re.escape(f'a LogisticRegression has no attribute {attribute!r}{instead}')}$"
    ):
        getattr(nn.LogisticRegression(2), attribute)
    assert not hasattr(nn.LogisticRegression(2), attribute)
