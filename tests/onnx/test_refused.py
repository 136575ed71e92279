"""What cannot be exported is refused by name, with the line of the user's code and what to write instead."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tinygrad_dls as tg

ROOT = Path(__file__).parents[2]
X = np.random.default_rng(2).normal(size=(2, 9))
MODEL = tg.nn.LogisticRegression(2)
RNG = np.random.default_rng(0)


class Forgetful(tg.nn.Module):
    def __call__(self, X):
        return None


CALLS = {
    "a number": (lambda path: tg.onnx.export(3, path, X), TypeError, r"onnx\.export: expected a function, .* got 3\."),
    "a class": (
        lambda path: tg.onnx.export(tg.nn.LogisticRegression, path, X),
        TypeError,
        r"got the class LogisticRegression\. Make one first",
    ),
    "a Tensor": (lambda path: tg.onnx.export(MODEL(X), path, X), TypeError, r"A Tensor has been computed: pass what"),
    "no example": (
        lambda path: tg.onnx.export(MODEL, path),
        TypeError,
        r"LogisticRegression came without inputs: write onnx\.export\(model, path, X\)",
    ),
    "two examples": (
        lambda path: tg.onnx.export(MODEL, path, X, X),
        TypeError,
        r"onnx\.export: LogisticRegression does not take 2 inputs: too many positional arguments\.$",
    ),
    "a wrong shape": (
        lambda path: tg.onnx.export(tg.nn.LogisticRegression(3), path, X),
        ValueError,
        r"W is \(1, 3\), X is \(2, 9\); expected X to be \(3, m\)",
    ),
    "text as examples": (lambda path: tg.onnx.export(MODEL, path, "X"), TypeError, r"onnx\.export: X "),
    "complex examples": (lambda path: tg.onnx.export(MODEL, path, X + 1j), TypeError, r"onnx\.export: X .*complex"),
    "half precision": (
        lambda path: tg.onnx.export(lambda X: X * 2, path, X.astype(np.float16)),
        TypeError,
        r"the input X is float16; runtimes compute with float32, float64, int32, int64 and bool\. Convert it first",
    ),
    "half precision within": (
        lambda path: tg.onnx.export(lambda X: X.astype(np.float16).astype(float), path, X),
        TypeError,
        r"what np\.astype gives is float16",
    ),
    "rows of a vector": (
        lambda path: tg.onnx.export(lambda x: x, path, X[0], rows=True),
        ValueError,
        r"rows=True takes examples that are the columns of a matrix",
    ),
    "rows of fixed shapes": (
        lambda path: tg.onnx.export(MODEL, path, X, rows=True, dynamic=False),
        ValueError,
        r"rows=True says where the examples are, so it takes dynamic=True",
    ),
    "rows that are no bool": (
        lambda path: tg.onnx.export(MODEL, path, X, rows=1),
        TypeError,
        r"onnx\.export: rows must",
    ),
    "dynamic that is no bool": (
        lambda path: tg.onnx.export(MODEL, path, X, dynamic="yes"),
        TypeError,
        r"onnx\.export: dynamic must",
    ),
    "nothing returned": (
        lambda path: tg.onnx.export(Forgetful(), path, X),
        TypeError,
        r"Forgetful must return an array, or a dict, a list or a tuple of arrays, got None",
    ),
    "an output that is no input's": (
        lambda path: tg.onnx.export(lambda X: {"a": X, "b": np.ones(3)}, path, X),
        TypeError,
        r"b does not depend on the inputs",
    ),
    "an output called as an input": (
        lambda path: tg.onnx.export(lambda X: {"X": X * 2}, path, X),
        ValueError,
        r"the output X is called as an input or a parameter is; give it another name",
    ),
    "no operator": (
        lambda path: tg.onnx.export(lambda X: np.linalg.slogdet(X @ X.T).logabsdet, path, X),
        TypeError,
        r"ONNX has nothing for np\.linalg\.slogdet \(line \d+ of",
    ),
    "no operator of matrices": (
        lambda path: tg.onnx.export(lambda X: np.linalg.inv(X @ X.T), path, X),
        TypeError,
        r"ONNX has nothing for np\.linalg\.inv \(line \d+ of test_refused\.py: .*\)\. Write it with other",
    ),
    "no operator with a keyword": (
        lambda path: tg.onnx.export(lambda X: np.any(X > 0, axis=0, where=X > 1), path, X),
        TypeError,
        r"np\.any with where=",
    ),
    "a dot of three axes": (
        lambda path: tg.onnx.export(lambda X: np.dot(np.ones((2, 2, 2)), X), path, X),
        TypeError,
        r"np\.dot of more than two axes",
    ),
    "bits of integers": (
        lambda path: tg.onnx.export(lambda X: X.astype(int) & 1, path, X),
        TypeError,
        r"np\.bitwise_and of integers",
    ),
    "a decision": (
        lambda path: tg.onnx.export(lambda X: X if X.sum() > 0 else -X, path, X),
        TypeError,
        r"would freeze a Python decision .*line \d+ of test_refused\.py",
    ),
    "a number of the data": (
        lambda path: tg.onnx.export(lambda X: X * float(X.mean()), path, X),
        TypeError,
        r"would freeze the number",
    ),
    "a mask": (lambda path: tg.onnx.export(lambda X: X[X > 0], path, X), TypeError, r"indexing by a mask"),
    "a random mask": (
        lambda path: tg.onnx.export(lambda X: X * (RNG.random(X.shape) < 0.5), path, X),
        TypeError,
        r"would freeze an array \(2, m\) that is an argument of np\.multiply \(line .*a random draw",
    ),
    "a random mask of a few": (
        lambda path: tg.onnx.export(lambda X: X * RNG.random((2, 1)), path, X),
        TypeError,
        r"would freeze an array \(2, 1\).*a random draw",
    ),
    "a random number": (
        lambda path: tg.onnx.export(lambda X: X * RNG.random(), path, X),
        TypeError,
        r"would freeze something",
    ),
    "a number of examples": (
        lambda path: tg.onnx.export(lambda X: X.reshape(3, 6), path, X),
        TypeError,
        r"works with 9 examples, as given, and fails with 10: (.|\n)*write dynamic=False",
    ),
    "a number of examples that fits others": (
        lambda path: tg.onnx.export(lambda X: np.tile(X, len(X[0])), path, X),
        TypeError,
        r"would freeze something.*counts? on a fixed number of examples",
    ),
    "an array of examples from elsewhere": (
        lambda path: tg.onnx.export(lambda Z: Z + X, path, X),
        TypeError,
        r"works with 9 examples, as given, and fails with 10",
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_it_is_refused_by_name_and_writes_nothing(name, tmp_path):
    call, kind, text = CALLS[name]
    with pytest.raises(kind, match=text):
        call(tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_many_examples_are_recorded_as_few_and_counted_as_given(tmp_path):
    many = np.ones((2, 1000))
    with pytest.raises(TypeError, match=r"works with 1000 examples, as given, and fails with 64"):
        tg.onnx.export(lambda X: X + many, tmp_path / "model.onnx", many)


def test_a_path_that_cannot_be_written_is_refused_before_the_model_runs(tmp_path):
    def never(X):
        raise AssertionError

    for path, kind, text in (
        (X, TypeError, r'onnx\.export: path is the file to write, such as "model\.onnx"'),
        ("", TypeError, r"onnx\.export: path is the file to write"),
        (tmp_path, ValueError, r"is a folder; name a file in it"),
        (tmp_path / "none" / "model.onnx", FileNotFoundError, r"onnx\.export: there is no folder"),
    ):
        with pytest.raises(kind, match=text):
            tg.onnx.export(never, path, X)


def test_a_file_that_would_be_too_large_for_its_format_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(tg.onnx, "LARGEST", 100)
    with pytest.raises(ValueError, match=r"onnx\.export: the file would be of \d+ bytes; a file in ONNX holds 2 GB at"):
        tg.onnx.export(MODEL, tmp_path / "model.onnx", X)
    assert list(tmp_path.iterdir()) == []


def test_dropout_and_batch_norm_are_in_evaluation_mode_even_if_the_model_trains(tmp_path):
    """So they draw nothing, and are not refused."""
    model = tg.nn.Sequential(tg.nn.Linear(2, 3, rng=0), tg.nn.BatchNorm(3), tg.nn.Dropout(0.5, rng=0))
    assert all(layer.training for layer in model.modules())
    tg.onnx.export(model, tmp_path / "model.onnx", X[:, :1])
    assert (tmp_path / "model.onnx").exists()


def test_without_the_package_the_error_says_how_to_install_it():
    code = "import sys\nsys.modules['onnx'] = None\nimport tinygrad_dls as tg\n"
    code += "try:\n    tg.onnx\nexcept ImportError as error:\n    print(error)\n"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert run.stdout == "export to ONNX needs the package onnx: pip install -e '.[onnx]'\n"
