"""What looks at a model takes its numbers to the host, by name: the same pictures, formulas, code and files.

Nothing of the model itself is moved, and a compiled step, which runs instead of looking, is refused elsewhere.
"""

import importlib

import numpy as np
import pytest

import tinygrad_dls as tg
from tinygrad_dls.engine.devices import on_device

BCE = tg.binary_cross_entropy_with_logits
X, Y = tg.datasets.planar_flower()


def model_of(move):
    model = tg.nn.Classifier(
        tg.nn.Standardizer.of(X), tg.nn.Linear(2, 3, rng=1), tg.nn.BatchNorm(3), tg.nn.Tanh(), tg.nn.Linear(3, 1, rng=2)
    )
    BCE(model(X), Y).backward()
    model.to(move)
    return model


def two_layers(move):
    model = tg.nn.TwoLayerNetwork(2, 3, rng=0, init=tg.init.xavier)
    model.to(move)
    return model


def cost(move, make=two_layers):
    J = BCE(make(move)(move(X)), move(Y))
    J.backward()
    return J


def written(export, path):
    export(path)
    return path.read_bytes()


LOOKS = {  # of a way to move arrays, and a path; the text that comes of it
    "draw a model": lambda move, path: tg.draw(model_of(move), move(X)).source,
    "draw a model and its loss": lambda move, path: tg.draw(two_layers(move), move(X), move(Y), loss=BCE).source,
    "draw a cost": lambda move, path: tg.draw(cost(move)).source,
    "draw how gradients flow": lambda move, path: tg.draw(cost(move), direction="backward").source,
    "derive of a model": lambda move, path: tg.derive(two_layers(move), move(X), move(Y), loss=BCE).latex,
    "derive of a cost": lambda move, path: tg.derive(cost(move)).latex,
    "derive of a function": lambda move, path: (
        tg.derive(lambda w, x: np.sum(np.tanh(w @ x)), move(X[:, :2].T.copy()), move(X)).latex
    ),
    "code of a model": lambda move, path: str(tg.numpy_source(two_layers(move), move(X), move(Y), loss=BCE)),
    "code of a step": lambda move, path: step_source(move),
    "code of a cost": lambda move, path: str(tg.numpy_source(cost(move))),
    "code of a model with statistics": lambda move, path: str(
        tg.numpy_source(model_of(move), move(X), move(Y), loss=BCE)
    ),
    "summary": lambda move, path: str(model_of(move).summary(move(X))),
    "summary in a notebook": lambda move, path: model_of(move).summary(move(X))._repr_html_(),
    "model in a notebook": lambda move, path: model_of(move)._repr_html_(),
    "report": lambda move, path: tg.report(two_layers(move), move(X), move(Y), loss=BCE, values=True).html,
    "ONNX": lambda move, path: written(lambda p: tg.onnx.export(model_of(move), p, move(X)), path),
}


def step_source(move):
    model = two_layers(move)
    optimizer = tg.optim.Adam(model.parameters())
    tg.optim.eager_step(model, BCE, optimizer, move(X), move(Y))
    return str(tg.numpy_source(model, move(X), move(Y), loss=BCE, optimizer=optimizer))


@pytest.mark.parametrize("name", LOOKS)
def test_looking_takes_numbers_to_the_host(device, name, tmp_path):
    found, expected = (LOOKS[name](move, tmp_path / "f") for move in (device.array, np.array))
    assert found == expected


def test_looking_leaves_the_model_where_it_is(device):
    model = model_of(device.array)
    arrays, gradients = [p._value for p in model.parameters()], [p._grad for p in model.parameters()]
    state = model.state_dict()
    tg.draw(model, device.array(X))
    tg.numpy_source(model, device.array(X), device.array(Y), loss=BCE)
    assert all(p._value is x for p, x in zip(model.parameters(), arrays, strict=True))
    assert all(p._grad is x for p, x in zip(model.parameters(), gradients, strict=True))
    for key, x in model.state_dict().items():
        assert on_device(x)
        np.testing.assert_array_equal(device.host(x), device.host(state[key]))


def test_a_function_that_holds_arrays_on_a_device_is_refused_by_name(device):
    w = tg.Tensor(device.array(np.ones((1, 2))), requires_grad=True, name="w")
    with pytest.raises(TypeError, match=r"w lies on a device .*Move one of them by name"):
        tg.draw(lambda X: w @ X, device.array(X))


def test_all_who_look_are_known(device):
    """Whoever begins with a subject either stays where the arrays lie, or is among those that look above."""
    subject = importlib.import_module("tinygrad_dls.graph.subject")
    looked = {"draw", "derive", "numpy_source", "report", "summary", "onnx.export", "diagnose"}
    assert subject.WAYS.keys() - subject.STAYING == looked
