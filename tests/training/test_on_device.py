"""Training on a device equals training on the host: every layer, loss, optimizer, metric and file of it."""

import copy
import pickle
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import tinygrad_dls as tg
from conftest import PAGES
from tinygrad_dls.engine.devices import on_device

BCE = tg.binary_cross_entropy_with_logits
X, Y = tg.datasets.planar_flower()
X, Y = X[:, ::8].copy(), Y[:, ::8].astype(float)
CLASSES = np.floor((X[:1] - X[:1].min()) / (X[:1].max() - X[:1].min()) * 2.999).astype(int)
ONE_HOT = (np.arange(3)[:, None] == CLASSES).astype(float)
SEVERAL = np.concatenate([Y, (X[:1] > 0).astype(float)])
NUMBERS = np.concatenate([X[:1] * X[1:], X[:1] + 2])
WEIGHTS = np.linspace(0, 2, X.shape[1])[None, :]

OPTIMIZERS = {
    "gradient descent": lambda p: tg.optim.SGD(p, lr=0.3),
    "momentum": lambda p: tg.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01),
    "the course's momentum": lambda p: tg.optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.9, clip_value=0.1),
    "Nesterov": lambda p: tg.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay={"W1": 0.1}),
    "RMSprop": lambda p: tg.optim.RMSprop(p, lr=0.01, clip_norm=0.5),
    "Adam": lambda p: tg.optim.Adam(p, lr=0.01, weight_decay=0.01, decay_biases=True),
    "a schedule": lambda p: tg.optim.Adam(p, lr=tg.optim.cosine_decay(0.01, steps=100)),
}


def networks(move):
    """A network of every layer, the same for each way to move it; with its optimizer's parameters moved before."""
    model = tg.nn.Classifier(
        tg.nn.Standardizer.of(X),
        tg.nn.Linear(2, 5, rng=1),
        tg.nn.BatchNorm(5),
        tg.nn.ReLU(),
        tg.nn.Dropout(0.8, rng=2),
        tg.nn.Linear(5, 4, rng=3),
        tg.nn.Tanh(),
        tg.nn.Linear(4, 1, rng=4),
    )
    model.to(move)
    return model


def same(x):
    return x


def two_layers(n_y=1, **options):
    return lambda: tg.nn.TwoLayerNetwork(2, 4, n_y, rng=0, init=tg.init.xavier, **options)


CASES = {  # the model, the labels, and what fit is told
    "labels": (two_layers(), Y, {"loss": BCE}),
    "labels in batches": (two_layers(), Y, {"loss": BCE, "batch_size": 16, "rng": 0}),
    "logistic regression": (lambda: tg.nn.LogisticRegression(2), Y, {"loss": BCE}),
    "probabilities": (
        lambda: tg.nn.Classifier(tg.nn.Linear(2, 1, rng=0), tg.nn.Sigmoid()), Y, {"loss": tg.binary_cross_entropy}
    ),
    "class indices": (two_layers(3), CLASSES, {"loss": tg.softmax_cross_entropy}),
    "one-hot columns": (two_layers(3), ONE_HOT, {"loss": tg.softmax_cross_entropy}),
    "smoothed labels": (two_layers(3), CLASSES, {"loss": tg.softmax_cross_entropy, "label_smoothing": 0.1}),
    "smoothed binary labels": (two_layers(), Y, {"loss": BCE, "label_smoothing": 0.1}),
    "several labels": (two_layers(2, several_labels=True), SEVERAL, {"loss": BCE}),
    "numbers": (two_layers(2), NUMBERS, {"loss": tg.mean_squared_error}),
    "weights": (two_layers(), Y, {"loss": BCE, "sample_weight": WEIGHTS}),
    "weights in batches": (two_layers(), Y, {"loss": BCE, "sample_weight": WEIGHTS, "batch_size": 16, "rng": 0}),
    "weights by class": (two_layers(3), CLASSES, {"loss": tg.softmax_cross_entropy, "class_weight": "balanced"}),
    "an L2 penalty": (two_layers(), Y, {"loss": "with a penalty"}),
}  # fmt: skip


def fitted(make, labels, move, *, optimizer=OPTIMIZERS["gradient descent"], epochs=5, **options):
    """The model after some epochs, the history, and the optimizer."""
    model = make()
    model.to(move)
    if options["loss"] == "with a penalty":
        options["loss"] = lambda Z, Y: BCE(Z, Y) + tg.l2(model, 0.1, Y.shape[1])
    options |= {name: move(x) for name, x in options.items() if isinstance(x, np.ndarray)}
    used = optimizer(model.parameters())
    history = tg.fit(model, move(X), move(labels), optimizer=used, epochs=epochs, progress=False, **options)
    return model, history, used


def hold(device, model, expected):
    state, right = model.state_dict(), expected.state_dict()
    assert state.keys() == right.keys()
    for name, x in state.items():
        device.is_close(x, right[name])


@pytest.mark.parametrize("name", CASES)
def test_fit_on_a_device_is_fit_on_the_host(device, name):
    make, labels, options = CASES[name]
    model, history, _ = fitted(make, labels, device.array, **options)
    expected, right, _ = fitted(make, labels, np.array, **options)
    np.testing.assert_allclose(history.costs, right.costs, rtol=device.rtol)
    hold(device, model, expected)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_steps_on_a_device_as_on_the_host(device, name):
    model, _, optimizer = fitted(two_layers(), Y, device.array, optimizer=OPTIMIZERS[name], loss=BCE)
    expected, _, right = fitted(two_layers(), Y, np.array, optimizer=OPTIMIZERS[name], loss=BCE)
    hold(device, model, expected)
    for arrays, numbers in zip(optimizer.state_dict()["state"], right.state_dict()["state"], strict=True):
        for x, y in zip(arrays, numbers, strict=True):
            if np.shape(y):
                device.is_close(x, y)
            else:
                assert x == y  # the count of steps, which is a number on the host


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_smaller_dtypes_stay_what_they_are(device, dtype):
    make = two_layers(dtype=dtype)
    model, _, _ = fitted(make, Y, device.array, loss=BCE, optimizer=OPTIMIZERS["Adam"])
    expected, _, _ = fitted(make, Y, np.array, loss=BCE, optimizer=OPTIMIZERS["Adam"])
    near = device._replace(rtol=0 if not device.rtol else 1e3 * float(np.finfo(dtype).eps))
    hold(near, model, expected)


def test_a_network_of_every_layer_trains_validates_and_predicts(device):
    found = []
    for move in (device.array, np.array):
        model = networks(move)
        optimizer = tg.optim.Adam(model.parameters(), lr=0.05)
        history = tg.fit(
            model, move(X), move(Y), loss=BCE, optimizer=optimizer, epochs=6, batch_size=10, rng=5, progress=False,
            validation=(move(X[:, ::2]), move(Y[:, ::2])), metrics=["f1", "auc", "accuracy"],
        )  # fmt: skip
        found.append((model, history, model.predict_proba(move(X)), model.predict(move(X))))
    (model, history, A, predictions), (expected, right, A_right, predictions_right) = found
    hold(device, model, expected)
    for name, column in right.columns.items():
        np.testing.assert_allclose(history[name], column, rtol=device.rtol)
    device.is_close(A, A_right)
    device.is_close(predictions, predictions_right)
    assert tg.accuracy(predictions, device.array(Y)) == tg.accuracy(predictions_right, Y)
    matrix = tg.confusion_matrix(predictions, device.array(Y))
    np.testing.assert_array_equal(matrix, tg.confusion_matrix(predictions_right, Y))
    assert type(matrix) is np.ndarray


@pytest.mark.parametrize(
    ("name", "metrics"),
    [
        ("labels", ["accuracy", "precision", "recall", "f1", "auc"]),
        ("class indices", ["accuracy", "f1_macro", "auc_ovr"]),
        ("one-hot columns", ["f1_micro", "auc_ovo"]),
        ("several labels", ["f1_weighted", "auc_macro"]),
        ("numbers", ["r2"]),
    ],
)
def test_metrics_are_measured_on_the_host(device, name, metrics):
    make, labels, options = CASES[name]
    options = options | {"metrics": metrics}
    histories = [
        fitted(make, labels, move, validation=(move(X), move(labels)), **options)[1]
        for move in (device.array, np.array)
    ]
    assert histories[0].columns.keys() == histories[1].columns.keys()
    for column, right in zip(histories[0].columns.values(), histories[1].columns.values(), strict=True):
        np.testing.assert_allclose(column, right, rtol=device.rtol)


def test_a_metric_of_the_user_gets_arrays_on_the_device(device):
    seen = []

    def share(predictions, Y):
        seen.append((type(predictions), type(Y)))
        return (predictions == Y).mean()

    _, history, _ = fitted(two_layers(), Y, device.array, validation=(device.array(X), device.array(Y)),
                           metrics=[share], loss=BCE)  # fmt: skip
    assert set(seen) == {(device.kind, device.kind)}
    assert history.metrics["share"] == history.validation_accuracies


def test_early_stopping_puts_back_what_was_best_on_the_device(device):
    found = []
    for move in (device.array, np.array):
        model = two_layers()()
        model.to(move)
        callback = tg.EarlyStopping(patience=2)
        tg.fit(
            model, move(X), move(Y), loss=BCE, optimizer=tg.optim.SGD(model.parameters(), lr=20.0), epochs=20,
            validation=(move(X[:, :9]), move(Y[:, :9])), callbacks=[callback], progress=False,
        )  # fmt: skip
        found.append(model)
    hold(device, *found)


def test_the_page_about_devices_runs_on_one(device, monkeypatch):
    """As it would where CuPy finds a GPU, which the strict class stands for."""
    runtime = SimpleNamespace(getDevice=lambda: 0)
    cupy = SimpleNamespace(asarray=device.array, asnumpy=device.host, cuda=SimpleNamespace(runtime=runtime))
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    examples = list(PAGES.parse(Path(__file__).parents[2] / "docs" / "device_arrays.md").examples())
    for example in examples:
        example.evaluate()
    assert type(examples[0].namespace["dX"]) is device.kind


# -- moving -----------------------------------------------------------------------------------------------------------


def test_a_model_moves_there_and_back_with_its_gradients_and_running_statistics(device):
    model = networks(same)
    before = model.state_dict()
    BCE(model(X), Y).backward()
    state, gradients = model.state_dict(), [p.grad for p in model.parameters()]
    assert any((before[name] != state[name]).any() for name in state)
    model.to(device.array)
    for x, right in zip(model.state_dict().values(), state.values(), strict=True):
        device.is_close(x, right)
    for p, right in zip(model.parameters(), gradients, strict=True):
        device.is_close(p.grad, right)
    model.to(device.host)
    for x, right in zip(model.state_dict().values(), state.values(), strict=True):
        np.testing.assert_array_equal(x, right)


@pytest.mark.parametrize(
    ("move", "error", "text"),
    [
        ("cuda", TypeError, "to takes a function from array to array, such as cupy.asarray, got 'cuda'."),
        (lambda x: x.astype(np.float32), ValueError, "W1 is float32; expected float64"),
        (lambda x: x.T, ValueError, r"W1 is \(2, 4\); expected \(4, 2\)"),
        (lambda x: None, TypeError, "to: W1"),
    ],
)
def test_what_moves_no_arrays_is_refused_and_nothing_is_moved(move, error, text):
    model = two_layers()()
    before = [p._value for p in model.parameters()]
    with pytest.raises(error, match=text):
        model.to(move)
    assert all(p._value is x for p, x in zip(model.parameters(), before, strict=True))


def test_a_state_is_loaded_to_where_the_model_lies(device):
    model, twin = two_layers()(), tg.nn.TwoLayerNetwork(2, 4, rng=9)
    model.to(device.array)
    model.load_state_dict(twin.state_dict())
    hold(device, model, twin)
    twin.load_state_dict(model.state_dict())
    assert not any(on_device(x) for x in twin.state_dict().values())


@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if name != "gradient descent"])
def test_moments_stay_where_they_are_until_they_are_told(device, name):
    models = []
    for move in (device.array, same):
        model, _, optimizer = fitted(two_layers(), Y, same, optimizer=OPTIMIZERS[name], loss=BCE)
        model.to(move)
        if move is not same:
            step = partial(tg.optim.eager_step, model, BCE, optimizer, move(X), move(Y))
            before, steps = model.state_dict(), optimizer.steps
            with pytest.raises(TypeError, match=r"W1 has been moved, and what .* remembers of it has not\. Let it"):
                step()
            assert optimizer.steps == steps
            assert all((model.state_dict()[key] == x).all() for key, x in before.items())
        optimizer.load_state_dict(optimizer.state_dict())
        tg.optim.eager_step(model, BCE, optimizer, move(X), move(Y))
        models.append(model)
    hold(device, *models)


def test_files_and_pickles_and_copies_keep_a_model_whole(device, tmp_path):
    path = tmp_path / "model.safetensors"
    model, _, optimizer = fitted(two_layers(), Y, device.array, optimizer=OPTIMIZERS["Adam"], loss=BCE)
    tg.save(path, model, optimizer, means=device.array(np.ones(2)))
    saved = tg.load(path)  # what the file alone makes lies on the host
    hold(device, model, saved.model)
    np.testing.assert_array_equal(saved.extra["means"], np.ones(2))
    assert not any(on_device(x) for x in saved.model.state_dict().values())
    twin = two_layers()()
    twin.to(device.array)
    again = OPTIMIZERS["Adam"](twin.parameters())
    tg.load(path, twin, again)  # a model that is given stays where it lies, and so does its optimizer
    for other, its in (
        (twin, again),
        copy.deepcopy((model, optimizer)),
        pickle.loads(pickle.dumps((model, optimizer))),
    ):
        tg.optim.eager_step(other, BCE, its, device.array(X), device.array(Y))
    tg.optim.eager_step(model, BCE, optimizer, device.array(X), device.array(Y))
    tg.optim.eager_step(saved.model, BCE, saved.optimizer, X, Y)
    hold(device, model, saved.model)
    hold(device, twin, saved.model)


def test_data_of_the_host_are_refused_for_a_model_on_the_device(device):
    model = two_layers()()
    model.to(device.array)
    optimizer = tg.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(
        TypeError, match=r"affine: W1 is \(4, 2\), .*; W1 lies on a device .*, and argument 2 is NumPy's"
    ):
        tg.fit(model, X, Y, loss=BCE, optimizer=optimizer, epochs=1)
    with pytest.raises(TypeError, match="lies on a device"):
        tg.fit(model, device.array(X), Y, loss=BCE, optimizer=optimizer, epochs=1)


# -- compiled ---------------------------------------------------------------------------------------------------------


def test_compiled_steps_are_refused_and_a_fallback_takes_eager_ones(device):
    model, expected = two_layers()(), two_layers()()
    model.to(device.array)
    x, y = device.array(X), device.array(Y)
    step = tg.compile(model, BCE, tg.optim.SGD(model.parameters(), lr=0.1))
    with pytest.raises(
        TypeError, match=f"compiled steps take NumPy arrays, got .* {device.kind.__name__}.*Take eager steps"
    ):
        step(x, y)
    step = tg.compile(model, BCE, tg.optim.SGD(model.parameters(), lr=0.1), fallback=True)
    right = tg.optim.SGD(expected.parameters(), lr=0.1)
    for _ in range(3):
        assert step(x, y) == pytest.approx(tg.optim.eager_step(expected, BCE, right, X, Y), rel=device.rtol)
    assert step.explain().startswith("Runs eagerly: compiled steps take NumPy arrays")
    hold(device, model, expected)
    with pytest.raises(TypeError, match="compiled steps take NumPy arrays"):
        tg.fit(model, x, y, loss=BCE, optimizer=tg.optim.SGD(model.parameters(), lr=0.1), epochs=1, compile=True)


@pytest.mark.parametrize("name", ["gradient descent", "momentum", "Adam"])
def test_a_step_that_was_compiled_on_the_host_runs_there_alone(device, name):
    model, expected = two_layers()(), two_layers()()
    optimizer, right = OPTIMIZERS[name](model.parameters()), OPTIMIZERS[name](expected.parameters())
    step = tg.compile(model, BCE, optimizer)
    step(X, Y)
    model.to(device.array)
    with pytest.raises(TypeError, match="compiled steps take NumPy arrays, got"):
        step(device.array(X), device.array(Y))
    with pytest.raises(TypeError, match="W1, or what the optimizer remembers of it, lies on a device"):
        step(X, Y)
    model.to(device.host)
    optimizer.load_state_dict(optimizer.state_dict())
    step(X, Y)
    for _ in range(2):
        tg.optim.eager_step(expected, BCE, right, X, Y)
    for x, y in zip(model.state_dict().values(), expected.state_dict().values(), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-10)  # a compiled step rounds otherwise


def test_compiled_functions_are_refused_and_a_fallback_calls_the_function(device):
    x = device.array(X)
    f = tg.compile(lambda x: np.sum(np.tanh(x), axis=1))
    f(X)
    with pytest.raises(TypeError, match=r"compiled functions take NumPy arrays, got .*Call the function itself"):
        f(x)
    device.is_close(tg.compile(lambda x: np.sum(np.tanh(x), axis=1), fallback=True)(x), np.sum(np.tanh(X), axis=1))


@pytest.mark.parametrize("batch_size", [None, 16])
def test_learning_rates_are_tried_where_the_arrays_lie(device, batch_size):
    def found(move):
        model = two_layers()()
        model.to(move)
        optimizer = tg.optim.Adam(model.parameters())
        rates = tg.learning_rates(
            model, move(X), move(Y), loss=BCE, optimizer=optimizer, steps=20, batch_size=batch_size, rng=0
        )
        return rates.lrs, rates.costs

    for there, here in zip(found(device.array), found(same), strict=True):
        np.testing.assert_allclose(there, here, rtol=device.rtol)
