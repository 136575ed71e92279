"""What is predicted of a dask array is lazy, by models and by estimators, and is what NumPy arrays give."""

import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest

import tinygrad_dls as tg
from tinygrad_dls import nn
from tinygrad_dls.sklearn import TinyClassifier, TinyRegressor

RNG = np.random.default_rng(0)
X = RNG.standard_normal((3, 50))
PARTS = da.from_array(X, chunks=(3, 20))
ROWS = da.from_array(X.T, chunks=(20, 3))
CLASSES = (X[0] > 0).astype(int) + (X[1] > 0)


def models():
    two = nn.Classifier(nn.Linear(3, 1, rng=0))
    three = nn.Classifier(nn.Linear(3, 3, rng=0))
    several = nn.Classifier(nn.Linear(3, 3, rng=0), several_labels=True)
    ending = nn.Classifier(nn.Linear(3, 3, rng=0, dtype=np.float32), nn.Softmax())
    return [
        two,
        three,
        several,
        ending,
        nn.TwoLayerNetwork(3, 4, rng=0),
        nn.Classifier(nn.BatchNorm(3), nn.Dropout(0.5, rng=0)),
    ]


@pytest.mark.parametrize("method", ["predict", "predict_proba"])
@pytest.mark.parametrize("model", models(), ids=range(6))
def test_predictions_of_a_model_are_lazy_and_a_task_for_each_chunk(model, method):
    expected = getattr(model, method)(X)
    lazy = getattr(model, method)(PARTS)
    assert isinstance(lazy, da.Array)
    assert (lazy.shape, lazy.dtype, lazy.chunks[1]) == (expected.shape, expected.dtype, PARTS.chunks[1])
    assert len(lazy.__dask_graph__()) - len(PARTS.__dask_graph__()) == 3
    np.testing.assert_allclose(lazy.compute(), expected, rtol=1e-12 if expected.dtype == float else 1e-5)


def test_predictions_are_of_the_model_as_it_was():
    model = nn.Classifier(nn.Linear(3, 1, rng=0))
    expected, lazy = model.predict_proba(X), model.predict_proba(PARTS)
    model.parameters()[0].data += 1.0
    np.testing.assert_allclose(lazy.compute(), expected, rtol=1e-14)


def test_chunks_that_cut_examples_are_brought_together_with_a_word():
    model = nn.Classifier(nn.Linear(3, 1, rng=0))
    with pytest.warns(UserWarning, match=r"Classifier.predict: X is in chunks of \(1, 20\)"):
        lazy = model.predict(da.from_array(X, chunks=(1, 20)))
    np.testing.assert_array_equal(lazy.compute(), model.predict(X))


def test_accuracy_is_measured_of_lazy_predictions():
    model = nn.Classifier(nn.Linear(3, 1, rng=0))
    Y = (X[:1] > 0).astype(int)
    assert tg.accuracy(model.predict(PARTS), da.from_array(Y, chunks=(1, 20))) == tg.accuracy(model.predict(X), Y)


def test_sizes_that_are_not_known_stay_unknown():
    unknown = PARTS[:, da.from_array(X[0] > 0, chunks=20)]
    model = nn.Classifier(nn.Linear(3, 1, rng=0))
    np.testing.assert_array_equal(model.predict(unknown).compute(), model.predict(X[:, X[0] > 0]))


def fitted(kind):
    if kind == "regressor":
        return TinyRegressor((4,), epochs=3, random_state=0).fit(X.T, X[0] + X[1])
    if kind == "regressor of several":
        return TinyRegressor((4,), epochs=3, random_state=0).fit(X.T, X[:2].T)
    y = CLASSES > 0 if kind == "two classes" else np.array(["a", "b", "c"])[CLASSES]
    return TinyClassifier((4,), epochs=3, random_state=0).fit(X.T, y)


@pytest.mark.parametrize("kind", ["two classes", "three classes", "regressor", "regressor of several"])
def test_predictions_of_an_estimator_are_lazy(kind):
    estimator = fitted(kind)
    for method in ("predict", "predict_proba") if "class" in kind else ("predict",):
        expected, lazy = getattr(estimator, method)(X.T), getattr(estimator, method)(ROWS)
        assert isinstance(lazy, da.Array)
        assert (lazy.shape, lazy.dtype, lazy.chunks[0]) == (expected.shape, expected.dtype, ROWS.chunks[0])
        if expected.dtype.kind == "f":
            np.testing.assert_allclose(lazy.compute(), expected, rtol=1e-12)
        else:
            np.testing.assert_array_equal(lazy.compute(), expected)


def incremental(estimator, blocks, **options):
    for block in blocks:
        estimator.partial_fit(*block, **options)
    return estimator


@pytest.mark.parametrize("lazy_labels", [False, True])
def test_partial_fit_goes_through_the_chunks_of_rows(lazy_labels):
    cuts = [slice(0, 20), slice(20, 40), slice(40, 50)]
    y = da.from_array(CLASSES, chunks=13) if lazy_labels else CLASSES
    w = np.linspace(0.5, 2, 50)
    expected, found = (TinyClassifier((4,), random_state=0) for _ in range(2))
    for _ in range(3):
        for cut in cuts:
            expected.partial_fit(X.T[cut], CLASSES[cut], classes=[0, 1, 2], sample_weight=w[cut])
        assert found.partial_fit(ROWS, y, classes=[0, 1, 2], sample_weight=w) is found
    assert found.loss_curve_ == expected.loss_curve_
    np.testing.assert_array_equal(found.predict_proba(X.T), expected.predict_proba(X.T))


def test_partial_fit_of_numbers_holds_one_chunk_at_a_time():
    seen = []

    def read(x):
        seen.append(len(x))
        return x

    targets = da.from_array(X[:2].T, chunks=(20, 2))
    regressor = TinyRegressor((4,), random_state=0)
    with dask.config.set(scheduler="synchronous"):
        regressor.partial_fit(ROWS.map_blocks(read, meta=X[:0, :0]), targets)
    assert seen == [20, 20, 10]
    assert regressor.n_iter_ == 3
    unknown = ROWS[da.from_array(X[0] > 0, chunks=20)]
    regressor.partial_fit(unknown, targets[da.from_array(X[0] > 0, chunks=20)])
    assert regressor.n_iter_ == 6


@pytest.mark.parametrize(("x", "y", "text"), [
    (ROWS, CLASSES[:49], "TinyClassifier.partial_fit: y has 49 rows, and X 50"),
    (ROWS[da.from_array(X[0] > 0, chunks=20)], CLASSES, r"write X = X.compute_chunk_sizes\(\)"),
])  # fmt: skip
def test_rows_that_do_not_fit_are_refused(x, y, text):
    with pytest.raises(ValueError, match=text):
        TinyClassifier().partial_fit(x, y, classes=[0, 1, 2])


FRAME = dd.from_pandas(pd.DataFrame(X.T), npartitions=3)
UNKNOWN = da.from_array(X[0] > 0, chunks=20)


@pytest.mark.parametrize(("x", "text"), [
    (FRAME, r"X is a dask DataFrame, and no array. .* X = ddf\[columns\].to_dask_array\(lengths=True\)\.T"),
    (dask.delayed(X), "X is a dask DelayedLeaf, and no array"),
    (PARTS[0], r"X is \(50,\); expected \(n_x, m\), with the examples as columns"),
    (PARTS[None], r"X is \(1, 3, 50\); expected \(n_x, m\)"),
    (ROWS[UNKNOWN], r"X is \(nan, 3\), and dask does not know yet how many features .* X.compute_chunk_sizes\(\)"),
])  # fmt: skip
def test_what_is_no_array_of_examples_is_not_predicted(x, text):
    with pytest.raises((TypeError, ValueError), match=f"Classifier.predict: {text}"):
        nn.Classifier(nn.Linear(3, 1, rng=0)).predict(x)


@pytest.mark.parametrize(("x", "y", "text"), [
    (FRAME, CLASSES, r"X is a dask DataFrame, and no array. .* X = ddf\[columns\].to_dask_array\(lengths=True\)\.$"),
    (ROWS, dd.from_pandas(pd.Series(CLASSES), npartitions=3), "y is a dask Series, and no array"),
    (ROWS[:, 0], CLASSES, r"X is \(50,\); expected \(m, n_x\), with the examples as rows"),
])  # fmt: skip
def test_what_is_no_array_of_rows_is_not_trained_on(x, y, text):
    with pytest.raises((TypeError, ValueError), match=f"TinyClassifier.partial_fit: {text}"):
        TinyClassifier().partial_fit(x, y, classes=[0, 1, 2])
    if x is not ROWS:
        with pytest.raises((TypeError, ValueError), match=f"TinyClassifier.predict: {text}"):
            TinyClassifier((4,), epochs=1).fit(X.T, CLASSES).predict(x)
