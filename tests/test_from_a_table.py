"""The page 'From a table to production': its programs run, each in two processes, and its lines are counted."""

import re

import numpy as np
import onnxruntime
import pandas as pd
import pytest

import tinygrad_dls as tg
from benchmarks.from_a_table import LIBRARIES, PAGE, counted, prepare, run, runs, sources, written
from tinygrad_dls.datasets import from_frame

INSTALLED = [library for library in LIBRARIES if runs(library)]


@pytest.fixture(scope="module", params=INSTALLED)
def result(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    species = prepare(folder)
    return request.param, folder, species, *run(request.param, folder)


def test_ours_and_scikit_learns_are_run_here():
    assert {"tinygrad_dls", "scikit_learn"} <= set(INSTALLED)


def test_what_another_process_predicts_is_as_good_as_the_program_that_trained_said(result):
    _, _, species, printed, predicted = result
    assert printed.keys() == {"accuracy", "cross-validated"}
    assert min(printed.values()) > 0.9  # the largest class alone is 0.44
    assert np.mean(np.array(predicted) == species) == pytest.approx(printed["accuracy"], abs=1e-6)  # some say float32


def test_the_file_of_onnx_takes_any_number_of_examples(result):
    library, folder, *_ = result
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"))
    first = session.get_inputs()[0]
    assert not isinstance(first.shape[0], int)
    if library == "tinygrad_dls":
        saved = tg.load(folder / "model.safetensors")
        X = from_frame(pd.read_csv(folder / "new.csv"), like=saved.extra["recipe"]).X
        for m in (1, 7, X.shape[1]):
            A, _ = session.run(None, {first.name: np.ascontiguousarray(X[:, :m].T)})
            np.testing.assert_allclose(A, saved.model.predict_proba(X[:, :m]).T, rtol=1e-12, atol=1e-12)


def test_ours_takes_twelve_lines_and_no_other_fewer():
    lines = {library: counted("\n".join(sources(library))).lines for library in LIBRARIES}
    assert lines["tinygrad_dls"] <= 12
    assert min(lines, key=lines.get) == "tinygrad_dls"


def test_statements_are_counted_and_imports_apart():
    program = (
        '"""Text."""\n\nimport os\nfrom a import (\n    b,\n)\n\n# a comment\n'
        'x = f(\n    1,\n)\nif x:\n    y = "long"; z = 2\n'
    )
    assert counted(program) == (4, 2, 9)
    assert counted('def f(x):\n    """Text."""\n    return x\n').lines == 2
    assert counted("") == (0, 0, 0)


def test_all_train_with_the_same_settings():
    for library in LIBRARIES:
        program = sources(library)[0]
        assert re.search(r"\b32\b", program), "the size of batches"
        assert re.search(r"0\.01\b", program), "the learning rate"
        assert re.search(r"\b16\b", program), "the hidden layer"
        assert "test_size=0.25, random_state=0" in program


def test_the_page_shows_the_programs_and_what_was_measured():
    page = PAGE.read_text()
    assert written(page) == page
    for name, _ in LIBRARIES.values():
        assert f"| {name} |" in page
