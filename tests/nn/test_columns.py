"""A DataFrame is never read as if it were an array: its columns are found by their names, or it is refused."""

import re

import numpy as np
import pandas as pd
import pytest

import tinygrad_dls as tg
from tests.support.onnx_files import run
from tinygrad_dls import nn

RNG = np.random.default_rng(4)
X = RNG.normal([[5.0], [-30.0], [0.1]], [[2.0], [4.0], [0.1]], (3, 40))
Y = (X[:1] > 5).astype(float)
FRAME = pd.DataFrame(X.T, columns=["age", "debt", "share"])
SHUFFLED = FRAME[["share", "age", "debt"]]
SQUARE = FRAME.iloc[:3]  # its array has the shape of columns, and would be read as such
Y3 = Y[:, :3]
LOGITS = tg.binary_cross_entropy_with_logits


def network(begin=True):
    return nn.Classifier(*([nn.Standardizer.of(FRAME)] if begin else []), nn.Linear(3, 1, rng=0))


def sgd(model):
    return tg.optim.SGD(model.parameters(), lr=0.1)


def fitted(x, **options):
    model = network()
    history = tg.fit(model, x, Y, loss=LOGITS, optimizer=sgd(model), epochs=3, **options)
    return history, model


@pytest.mark.parametrize("compile", [False, True])
def test_fit_finds_the_columns_that_a_model_standardises_by_their_names(compile):
    options = {"compile": compile, "batch_size": 8, "rng": 0}
    history, model = fitted(SHUFFLED, validation=(SHUFFLED, Y), **options)
    same, other = fitted(X, validation=(X, Y), **options)
    assert history.costs == same.costs
    assert history.validation_costs == same.validation_costs
    np.testing.assert_array_equal(model.predict_proba(SHUFFLED), other.predict_proba(X))


def test_a_table_is_taken_too():
    table = tg.datasets.from_frame(SHUFFLED.assign(y=Y[0]), target="y")
    assert fitted(table)[0].costs == fitted(X)[0].costs


def test_compiled_steps_code_derivations_pictures_and_files_find_them_too(tmp_path):
    model, other = network(), network()
    step, same = tg.compile(model, LOGITS, sgd(model)), tg.compile(other, LOGITS, sgd(other))
    for _ in range(3):
        assert step(SHUFFLED, Y) == same(X, Y)
    for read in (tg.numpy_source, tg.derive, tg.draw):
        assert str(read(model, SHUFFLED, Y, loss=LOGITS)) == str(read(model, X, Y, loss=LOGITS))
    tg.onnx.export(model, tmp_path / "model.onnx", SHUFFLED)
    np.testing.assert_allclose(run(tmp_path / "model.onnx", X)["predict_proba"], model.predict_proba(X), rtol=1e-12)


def fit_of(model, x, y, **options):
    return tg.fit(model, x, y, loss=LOGITS, optimizer=sgd(model), epochs=1, **options)


REFUSED = {
    "fit": lambda x: fit_of(network(False), x, Y3),
    "validation": lambda x: fit_of(network(False), X, Y, validation=(x, Y3)),
    "compiled step": lambda x: tg.compile(model := network(False), LOGITS, sgd(model))(x, Y3),
    "compiled function": lambda x: tg.compile(lambda x: x @ x)(x),
    "numpy_source": lambda x: tg.numpy_source(network(False), x, Y3, loss=LOGITS),
    "numpy_source of a function": lambda x: tg.numpy_source(lambda X: LOGITS(network(False)(X), Y3), x),
    "onnx.export": lambda x: tg.onnx.export(network(False), "no.onnx", x),
    "minibatches": lambda x: tg.minibatches(x, Y3, 2, rng=0),
    "train_test_split": lambda x: tg.datasets.train_test_split(x, Y3, rng=0),
    "predict": lambda x: network(False).predict(x),
    "BatchNorm": lambda x: nn.BatchNorm(3)(x),
}


@pytest.mark.parametrize("name", REFUSED)
def test_where_names_would_be_lost_a_frame_is_refused_even_if_its_shape_would_do(name):
    with pytest.raises(TypeError, match=r"is a DataFrame, whose rows are examples, and the names of its columns would"):
        REFUSED[name](SQUARE)


def test_the_error_says_what_to_write():
    text = (
        "fit: X is a DataFrame, whose rows are examples, and the names of its columns would be lost. Let the model "
        "be a tg.nn.Sequential or tg.nn.Classifier whose first layer is tg.nn.Standardizer.of(frame), which keeps and "
        "checks them; or write frame.to_numpy(float).T."
    )
    with pytest.raises(TypeError, match=re.escape(text)):
        fit_of(network(False), SQUARE, Y3)
    with pytest.raises(TypeError, match=re.escape("layer1 (Linear 3 -> 1): X is a DataFrame")):
        network(False)(FRAME)  # whose shape would be wrong, too


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("train_test_split", "Make a table of it, and split that: train_test_split(tg.datasets.from_frame(frame, targ"),
        ("compiled function", "Pass frame.to_numpy(float).T, or its columns, each as an argument of its own."),
    ],
)
def test_where_there_is_no_model_the_error_speaks_of_none(name, advice):
    with pytest.raises(TypeError, match=re.escape(f"names of its columns would be lost. {advice}")):
        REFUSED[name](SQUARE)


SERIES = pd.Series([1.0, 0.0, 1.0])


@pytest.mark.parametrize(
    ("call", "who", "name"),
    [
        (lambda y: fit_of(network(False), X, y), "fit", "Y"),
        (lambda y: fit_of(network(False), X, Y, validation=(X, y)), "fit", "Y"),
        (lambda y: fit_of(network(False), X, Y, sample_weight=y), "fit", "sample_weight"),
        (lambda y: tg.minibatches(X, y, 2, rng=0), "minibatches", "Y"),
        (lambda y: tg.datasets.train_test_split(X, y, rng=0), "train_test_split", "Y"),
        (lambda y: tg.accuracy(Y, y), "accuracy", "Y"),
        (lambda y: tg.confusion_matrix(Y, y), "confusion_matrix", "Y"),
    ],
)
def test_a_series_is_no_row_and_the_error_says_how_to_make_one(call, who, name):
    text = (
        f"{who}: {name} is a Series, (3,); expected (1, m): examples are columns. Write "
        f"{name}.to_numpy().reshape(1, -1)."
    )
    with pytest.raises(ValueError, match=re.escape(text)):
        call(SERIES)
    assert SERIES.to_numpy().reshape(1, -1).shape == (1, 3)


@pytest.mark.parametrize("call", [fit_of, lambda model, x, y: tg.compile(model, LOGITS, sgd(model))(x, y)])
def test_labels_of_a_frame_are_refused(call):
    with pytest.raises(TypeError, match=re.escape("Y is a DataFrame, whose rows are examples; Y has them as columns.")):
        call(network(False), X[:, :1], pd.DataFrame({"y": [1.0]}))


def test_row_numbers_that_pandas_wrote_are_not_standardised():
    text = "Standardizer.of: column 'Unnamed: 0' has no name, and is no feature then. If it is the row numbers, which"
    with pytest.raises(ValueError, match=re.escape(text)):
        nn.Standardizer.of(FRAME.assign(**{"Unnamed: 0": range(len(FRAME))}))


def test_other_columns_than_the_models_are_named():
    with pytest.raises(ValueError, match="features age, debt, share: 'share' is missing; 'income' is none of them"):
        fitted(FRAME.rename(columns={"share": "income"}))
    model = nn.Classifier(nn.Standardizer.of(X), nn.Linear(3, 1, rng=0))
    with pytest.raises(ValueError, match="was made without names, and cannot tell whether these are its features"):
        fit_of(model, FRAME, Y)
