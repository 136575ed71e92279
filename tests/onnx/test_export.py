"""What a file gives in onnxruntime is what the model predicts: of all layers, both models, modules and functions."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

import tinygrad_dls as tg
from tests.support.onnx_files import assert_same, exported, run
from tests.support.programs import OURS, random_program
from tinygrad_dls.engine import ops

ROOT = Path(__file__).parents[2]
RNG = np.random.default_rng(5)
DTYPES = [np.float64, np.float32]


def data(n, m, dtype=float):
    return RNG.normal(size=(n, m)).astype(dtype)


def trained(model, n_x):
    """The model with other parameters and statistics than it started with."""
    for p in model.parameters():
        p.data[...] = RNG.normal(size=p.shape) / 2
    if isinstance(model, tg.nn.Module):
        model(data(n_x, 50, model.parameters()[0].dtype))  # moves running statistics
    return model


def layers(dtype):
    linear = tg.nn.Linear(3, 4, rng=0, dtype=dtype)
    return {
        "Linear": linear,
        "Tanh": tg.nn.Sequential(linear, tg.nn.Tanh()),
        "Sigmoid": tg.nn.Sequential(linear, tg.nn.Sigmoid()),
        "ReLU": tg.nn.Sequential(linear, tg.nn.ReLU()),
        "Softmax": tg.nn.Sequential(linear, tg.nn.Softmax()),
        "BatchNorm": tg.nn.Sequential(linear, tg.nn.BatchNorm(4, dtype=dtype)),
        "Dropout": tg.nn.Sequential(linear, tg.nn.Dropout(0.5, rng=0)),
        "two of them": tg.nn.Sequential(linear, tg.nn.ReLU(), tg.nn.Linear(4, 2, rng=1, dtype=dtype)),
    }


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", layers(float))
def test_every_layer_gives_the_same_for_any_number_of_examples(name, dtype, tmp_path):
    model = trained(layers(dtype)[name], 3)
    tg.onnx.export(model, tmp_path / "layer.onnx", data(3, 5, dtype))
    model.eval()
    for m in (0, 1, 2, 5, 300):
        X = data(3, m, dtype)
        assert_same(run(tmp_path / "layer.onnx", X)["output"], model(X))


ACTIVATIONS = {
    "Tanh": tg.nn.Tanh(), "Sigmoid": tg.nn.Sigmoid(), "ReLU": tg.nn.ReLU(), "np.tanh": np.tanh, "np.sin": np.sin,
    "softplus": tg.softplus, "relu": ops.relu, "leaky": lambda z: np.maximum(z, 0.1 * z),
    "swish": lambda z: z * ops.sigmoid(z),
}  # fmt: skip


def models(dtype):
    dense = {
        "LogisticRegression": tg.nn.LogisticRegression(3, dtype=dtype),
        "several classes": tg.nn.TwoLayerNetwork(3, 4, 5, rng=0, dtype=dtype),
        "several labels": tg.nn.TwoLayerNetwork(3, 4, 2, rng=0, dtype=dtype, several_labels=True),
        "probabilities": tg.nn.Classifier(tg.nn.Linear(3, 1, rng=0, dtype=dtype), tg.nn.Sigmoid()),
        "batch norm and dropout": tg.nn.Classifier(
            tg.nn.Linear(3, 4, rng=0, dtype=dtype), tg.nn.BatchNorm(4, dtype=dtype), tg.nn.ReLU(),
            tg.nn.Dropout(0.5, rng=0), tg.nn.Linear(4, 3, rng=0, dtype=dtype),
        ),
    }  # fmt: skip
    return dense | {
        f"TwoLayerNetwork with {name}": tg.nn.TwoLayerNetwork(3, 4, 1, g, rng=0, dtype=dtype)
        for name, g in ACTIVATIONS.items()
    }


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", models(float))
def test_models_predict_the_same(name, dtype, tmp_path):
    model = trained(models(dtype)[name], 3)
    tg.onnx.export(model, tmp_path / "model.onnx", data(3, 5, dtype))
    for m in (1, 5, 300):
        X = data(3, m, dtype)
        got, A = run(tmp_path / "model.onnx", X), model.predict_proba(X)
        assert_same(got["predict_proba"], A)
        assert got["predict"].dtype == model.predict(X).dtype
        clear = np.abs(A - 0.5).min(axis=0) > 1e-6 if len(A) == 1 or model.several_labels else np.full(m, True)
        np.testing.assert_array_equal(got["predict"][:, clear], model.predict(X)[:, clear])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", range(50))
def test_random_programs_give_the_same(seed, dtype, tmp_path):
    program = random_program(seed)

    def values(inputs):
        return program.run(OURS, [tg.Tensor(x) for x in inputs])[-1]

    inputs = [np.asarray(x, dtype) for x in program.inputs]
    got = exported(lambda *xs: values(xs), tmp_path / "program.onnx", *inputs, dynamic=False)["output"]
    expected = values(inputs)
    # A program of a dozen steps may enlarge roundings: by as much as single precision differs from double.
    rounding = 0 if dtype == np.float64 else np.abs(expected.data - values(program.inputs).data).max()
    assert_same(got, expected, (1e-12 if dtype == np.float64 else 1e-6) + 2 * rounding)


def test_examples_are_rows_if_one_says_so(tmp_path):
    model, X = trained(tg.nn.TwoLayerNetwork(3, 4, 5, rng=0), 3), data(3, 7)
    tg.onnx.export(model, tmp_path / "rows.onnx", X, rows=True)
    got = run(tmp_path / "rows.onnx", X.T)
    assert_same(got["predict_proba"], model.predict_proba(X).T)
    assert_same(got["predict"], model.predict(X).T)


class Residual(tg.nn.Module):
    """A module of a user's own."""

    def __init__(self, n):
        self.inner = tg.nn.TwoLayerNetwork(n, 4, n, rng=0)
        self.scale = tg.nn.Parameter(np.full((n, 1), 0.5))
        self.mean = RNG.normal(size=(n, 1))

    def __call__(self, X):
        A = X - self.mean
        A = A + self.scale * self.inner(np.vstack([A[:1], np.flip(A[1:], axis=0)]))
        return {
            "A": A / np.linalg.norm(A, axis=0, keepdims=True),
            "share": np.mean(A > 0, axis=1),
            "m": A.shape[1] * A[0],
        }


def test_a_module_of_ones_own_returns_several_outputs_by_name(tmp_path):
    model = Residual(3)
    tg.onnx.export(model, tmp_path / "own.onnx", data(3, 4))
    for m in (1, 9, 100):
        X = data(3, m)
        got, expected = run(tmp_path / "own.onnx", X), model(X)
        assert got.keys() == expected.keys()
        for name, x in expected.items():
            assert_same(got[name], x)


def test_a_function_of_several_arrays_with_a_large_constant(tmp_path):
    W = RNG.normal(size=(30, 2))

    def f(X, V):
        return np.tanh(W @ X) / X.shape[1], X.reshape(1, -1)[:, : V.shape[1]] * V

    tg.onnx.export(f, tmp_path / "f.onnx", data(2, 5), data(3, 5))
    X, V = data(2, 8), data(3, 8)
    got = run(tmp_path / "f.onnx", X, V)
    assert list(got) == ["output1", "output2"]
    for x, y in zip(got.values(), f(X, V), strict=True):
        assert_same(x, y)


def test_the_standardizer_of_a_table_is_exported_with_the_model(tmp_path):
    model, X = tg.nn.LogisticRegression(3), data(3, 20)
    mu, sigma = X.mean(axis=1, keepdims=True), X.std(axis=1, keepdims=True)
    got = exported(lambda X: model.predict_proba((X - mu) / sigma), tmp_path / "both.onnx", X)
    assert_same(got["output"], model.predict_proba((X - mu) / sigma))


def test_the_file_names_what_the_course_names(tmp_path):
    model = models(float)["batch norm and dropout"]
    tg.onnx.export(model, tmp_path / "model.onnx", data(3, 5))
    file = onnx.load(tmp_path / "model.onnx")
    held = {x.name: onnx.numpy_helper.to_array(x) for x in file.graph.initializer}
    for name, p in model.state_dict().items():
        np.testing.assert_array_equal(held[name], p)
    assert {"Z1", "Z_tilde1", "A1", "Z2"} <= {name for node in file.graph.node for name in node.output}
    shapes = {x.name: [d.dim_param or d.dim_value for d in x.type.tensor_type.shape.dim] for x in file.graph.input}
    assert shapes == {"X": [3, "m"]}
    shapes = {x.name: [d.dim_param or d.dim_value for d in x.type.tensor_type.shape.dim] for x in file.graph.output}
    assert shapes == {"predict_proba": [3, "m"], "predict": [1, "m"]}


def test_opset_and_ir_version_are_old_enough_for_runtimes_of_2021(tmp_path):
    tg.onnx.export(tg.nn.LogisticRegression(2), tmp_path / "model.onnx", data(2, 5))
    file = onnx.load(tmp_path / "model.onnx")
    assert ([(x.domain, x.version) for x in file.opset_import], file.ir_version) == ([("", 14)], 7)
    onnx.checker.check_model(file, full_check=True)
    names = [node.name for node in file.graph.node]
    assert all(names)
    assert len(set(names)) == len(names)  # older runtimes fuse nodes without names into one that is there twice


def test_exporting_changes_nothing_of_the_model(tmp_path):
    model = models(float)["batch norm and dropout"]
    state = {name: x.copy() for name, x in model.state_dict().items()}
    draws = next(layer for layer in model.modules() if isinstance(layer, tg.nn.Dropout)).rng.bit_generator.state
    tg.onnx.export(model, tmp_path / "model.onnx", data(3, 5))
    assert all(layer.training for layer in model.modules())
    assert next(layer for layer in model.modules() if isinstance(layer, tg.nn.Dropout)).rng.bit_generator.state == draws
    for name, x in model.state_dict().items():
        np.testing.assert_array_equal(x, state[name])
    assert all(isinstance(p.data, np.ndarray) for p in model.parameters())


def test_the_same_model_gives_the_same_file_byte_for_byte(tmp_path):
    for name in ("one", "other"):
        tg.onnx.export(tg.nn.TwoLayerNetwork(3, 4, rng=0), tmp_path / name, data(3, 5))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


def test_a_file_that_is_there_stays_if_the_export_fails(tmp_path):
    path = tmp_path / "model.onnx"
    tg.onnx.export(tg.nn.LogisticRegression(2), path, data(2, 5))
    before = path.read_bytes()
    with pytest.raises(TypeError, match=r"np.linalg.det"):
        tg.onnx.export(lambda X: np.linalg.det(X @ X.T), path, data(2, 5))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_the_package_onnx_is_not_loaded_before_it_is_needed():
    code = "import sys, tinygrad_dls as tg; tg.onnx; print('onnx' in sys.modules, 'onnxruntime' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert run.stdout.split() == ["True", "False"]
    code = "import sys, tinygrad_dls as tg; print('onnx' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert run.stdout.split() == ["False"]
