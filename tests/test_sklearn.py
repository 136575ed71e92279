"""The estimators do what scikit-learn asks of its own, in its tools, on its data."""

import functools
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import tinygrad_dls as tg
from tests.support.onnx_files import assert_same, run
from tinygrad_dls.compiler.step import CompiledStep
from tinygrad_dls.sklearn import WORTH_COMPILING, TinyClassifier, TinyRegressor

ROOT = Path(__file__).parents[1]


def standardised(load):
    X, y = load(return_X_y=True)
    return StandardScaler().fit_transform(X), y


@pytest.fixture(scope="module")
def iris():
    return standardised(load_iris)


@pytest.fixture(scope="module")
def cancer():
    return standardised(load_breast_cancer)


@pytest.fixture(scope="module")
def diabetes():
    X, y = standardised(load_diabetes)
    return X, (y - y.mean()) / y.std()


def quick(**settings):
    return TinyClassifier(**{"hidden": (8,), "learning_rate": 0.05, "epochs": 60, "random_state": 0} | settings)


def quick_regressor(**settings):
    return TinyRegressor(**{"hidden": (8,), "learning_rate": 0.02, "epochs": 60, "random_state": 0} | settings)


# -- scikit-learn's own checks ----------------------------------------------------------------------------------------


ALL_CHECKS = """
import sys
from sklearn.utils.estimator_checks import check_estimator
import tinygrad_dls.sklearn as estimators
estimator = getattr(estimators, sys.argv[1])(standardize=sys.argv[2] == "standardised")
found = check_estimator(estimator, on_fail=None, on_skip=None)
print(len(found), *[f"{x['check_name']} {x['status']}: {x['exception']}" for x in found if x["status"] != "passed"])
"""


@pytest.mark.parametrize("features", ["standardised", "as they are"])
@pytest.mark.parametrize("name", ["TinyClassifier", "TinyRegressor"])
def test_all_of_scikit_learns_checks_pass_and_none_is_skipped(name, features):
    """Run by themselves: one of them is skipped unless SciPy was told of other arrays when it was imported."""
    environment = os.environ | {"SCIPY_ARRAY_API": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", ALL_CHECKS, name, features]
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert re.fullmatch(r"\d+\n", run.stdout), run.stdout
    assert int(run.stdout) > 50  # 59 and 62 in scikit-learn 1.6, more in later ones


# -- in scikit-learn's tools ------------------------------------------------------------------------------------------


def test_in_a_pipeline_it_is_cross_validated():
    X, y = load_breast_cancer(return_X_y=True)
    scores = cross_val_score(make_pipeline(StandardScaler(), quick()), X, y, cv=3)
    assert scores.min() > 0.9  # the larger class alone is 0.63


def test_a_regressor_is_cross_validated_with_its_targets_standardised():
    X, y = load_diabetes(return_X_y=True)
    model = TransformedTargetRegressor(quick_regressor(hidden=(), epochs=100), transformer=StandardScaler())
    scores = cross_val_score(make_pipeline(StandardScaler(), model), X, y, cv=3)
    assert scores.mean() > 0.4  # R2 of linear regression is 0.48 on these folds


def test_a_grid_is_searched_over_layers_optimizers_and_modules(iris):
    grid = [
        {"hidden": [(), (4,), (4, 3)], "optimizer": ["adam", tg.optim.SGD]},
        {"hidden": [(100,)], "module": [network]},  # a module has its own layers, and hidden is as it was
    ]
    search = GridSearchCV(quick(epochs=30), grid, cv=2, error_score="raise").fit(*iris)
    assert len(search.cv_results_["params"]) == 7
    assert search.best_score_ > 0.9  # a third of the examples each
    assert search.predict(iris[0]).shape == iris[1].shape


def network(n_x, n_y, rng):
    return tg.nn.Sequential(tg.nn.Linear(n_x, 5, rng=rng), tg.nn.Tanh(), tg.nn.Linear(5, n_y, rng=rng))


def test_a_clone_learns_the_same(iris):
    model = quick(class_weight="balanced", optimizer=functools.partial(tg.optim.SGD, momentum=0.9))
    copied = clone(model.fit(*iris))
    assert not hasattr(copied, "model_")
    np.testing.assert_array_equal(copied.fit(*iris).predict_proba(iris[0]), model.predict_proba(iris[0]))


@pytest.mark.parametrize("make", [quick, quick_regressor])
@pytest.mark.parametrize("way", ["pickle", "joblib"])
def test_what_was_trained_is_kept_in_a_file_and_trained_further(make, way, iris, tmp_path):
    model = make(hidden=(4,), activation=np.tanh).partial_fit(
        *iris, **({"classes": [0, 1, 2]} if make is quick else {})
    )
    if way == "pickle":
        loaded = pickle.loads(pickle.dumps(model))
    else:
        joblib.dump(model, tmp_path / "model")
        loaded = joblib.load(tmp_path / "model")
    for one in (model, loaded):
        one.partial_fit(*iris)
    np.testing.assert_array_equal(loaded.predict(iris[0]), model.predict(iris[0]))
    for p, q in zip(model.model_.parameters(), loaded.model_.parameters(), strict=True):
        np.testing.assert_array_equal(p.data, q.data)


def test_it_is_calibrated(cancer):
    X, y = cancer
    model = CalibratedClassifierCV(quick(), cv=2).fit(X, y)
    assert model.score(X, y) > 0.9
    np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1)


def test_processes_of_joblib_train_it(iris):
    scores = cross_val_score(quick(epochs=5), *iris, cv=2, n_jobs=2)
    np.testing.assert_array_equal(scores, cross_val_score(quick(epochs=5), *iris, cv=2))


def test_names_of_features_are_kept_and_checked():
    X, y = load_iris(return_X_y=True, as_frame=True)
    model = make_pipeline(StandardScaler(), quick(epochs=5)).set_output(transform="pandas").fit(X, y)
    np.testing.assert_array_equal(model[-1].feature_names_in_, X.columns)
    assert model[-1].n_features_in_ == 4
    with pytest.raises(ValueError, match="feature names"):
        model[-1].predict(X.rename(columns={"petal width (cm)": "width"}))


# -- what it learns ---------------------------------------------------------------------------------------------------


def test_it_is_what_fit_makes_of_columns(iris):
    X, y = iris
    model = quick(hidden=(), alpha=0, epochs=10).fit(X, y)
    same = tg.nn.Classifier(tg.nn.Linear(4, 3, rng=np.random.RandomState(0)))
    optimizer = tg.optim.Adam(same.parameters(), lr=0.05)
    tg.fit(same, X.T, y[None, :], loss=tg.softmax_cross_entropy, optimizer=optimizer, epochs=10, progress=False)
    np.testing.assert_array_equal(model.predict_proba(X), same.predict_proba(X.T).T)
    np.testing.assert_array_equal(model.predict(X), same.predict(X.T)[0])


def test_alpha_is_the_courses_penalty(cancer):
    X, y = cancer
    m = len(y)
    optimizer = tg.optim.SGD
    model = quick(hidden=(), alpha=30, epochs=20, batch_size=m, optimizer=optimizer, learning_rate=0.5).fit(X, y)
    same = tg.nn.Classifier(tg.nn.Linear(30, 1, rng=np.random.RandomState(0)))

    def penalised(Z, Y):
        return tg.binary_cross_entropy_with_logits(Z, Y) + tg.l2(same, 30, m)

    tg.fit(same, X.T, y[None, :].astype(float), loss=penalised, optimizer=optimizer(same.parameters(), lr=0.5),
           epochs=20, progress=False)  # fmt: skip
    # the same sums in another order
    np.testing.assert_allclose(model.model_.parameters()[0].data, same.parameters()[0].data, rtol=1e-9)


def test_labels_may_be_words_and_probabilities_stand_in_their_order(cancer):
    X, y = cancer
    words = np.array(["malignant", "benign"])[y]
    model = quick().fit(X, words)
    assert list(model.classes_) == ["benign", "malignant"]
    probabilities = model.predict_proba(X)
    assert probabilities.shape == (len(y), 2)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    np.testing.assert_array_equal(model.predict(X) == "malignant", probabilities[:, 1] > 0.5)
    assert model.score(X, words) > 0.95


def test_float32_stays_float32(iris):
    X, y = iris
    model = quick(epochs=3).fit(X.astype(np.float32), y)
    assert {p.dtype for p in model.model_.parameters()} == {np.dtype(np.float32)}
    assert model.predict_proba(X.astype(np.float32)).dtype == np.float32


def test_several_targets_are_predicted_at_once(diabetes):
    X, y = diabetes
    both = np.column_stack([y, -y])
    model = quick_regressor().fit(X, both)
    assert model.predict(X).shape == both.shape
    assert model.score(X, both) > 0.4
    assert quick_regressor(epochs=2).fit(X, y[:, None]).predict(X).shape == (len(y), 1)


def test_weights_of_classes_go_by_their_labels(cancer):
    X, y = cancer
    words = np.array(["malignant", "benign"])[y]
    weighted = quick(class_weight={"malignant": 3, "benign": 1}).fit(X, words)
    same = quick().fit(X, words, sample_weight=np.where(words == "malignant", 3, 1))
    np.testing.assert_array_equal(weighted.predict_proba(X), same.predict_proba(X))
    assert weighted.predict_proba(X)[:, 1].sum() > quick().fit(X, words).predict_proba(X)[:, 1].sum()


def test_an_example_of_weight_0_is_as_good_as_absent(iris):
    X, y = iris
    weights = np.arange(len(y)) % 3
    with_zeros = quick(batch_size=16, epochs=5, early_stopping=True).fit(X, y, sample_weight=weights)
    without = quick(batch_size=16, epochs=5, early_stopping=True)
    without.fit(X[weights > 0], y[weights > 0], sample_weight=weights[weights > 0])
    np.testing.assert_array_equal(with_zeros.predict_proba(X), without.predict_proba(X))


def test_early_stopping_ends_in_time_and_keeps_the_best_weights(cancer):
    X, y = cancer
    model = quick(hidden=(50,), early_stopping=True, n_iter_no_change=4, epochs=300, alpha=0).fit(X, y)
    costs = model.validation_loss_curve_
    assert model.n_iter_ == len(costs) == len(model.loss_curve_) < 300
    assert np.argmin(costs) == len(costs) - 5
    best = quick(hidden=(50,), early_stopping=True, n_iter_no_change=4, epochs=int(np.argmin(costs)) + 1, alpha=0)
    np.testing.assert_array_equal(best.fit(X, y).predict_proba(X), model.predict_proba(X))


def test_standardised_within_the_model_it_learns_what_it_does_of_standardised_features(cancer):
    X, y = load_breast_cancer(return_X_y=True)
    inside = quick(standardize=True).fit(X, y)
    np.testing.assert_allclose(inside.predict_proba(X), quick().fit(*cancer).predict_proba(cancer[0]), atol=1e-9)
    assert isinstance(inside.model_.layers[0], tg.nn.Standardizer)
    again = quick(standardize=True, module=network, hidden=(100,)).fit(X, y)
    assert again.score(X, y) > 0.95
    regressor = quick_regressor(standardize=True).fit(X, X[:, 0] / X[:, 0].std())
    assert regressor.score(X, X[:, 0] / X[:, 0].std()) > 0.9


def statistics(model):
    layer = model.model_.layers[0]
    return np.stack([layer.mean[:, 0], layer.scale[:, 0]])


def test_a_weight_of_two_counts_as_two_examples_in_what_it_standardises_by():
    X, y = load_breast_cancer(return_X_y=True)
    twice = quick(standardize=True, epochs=1).fit(np.vstack([X, X[y == 1]]), np.append(y, y[y == 1]))
    weighted = quick(standardize=True, epochs=1).fit(X, y, sample_weight=1.0 + y)
    by_class = quick(standardize=True, epochs=1, class_weight={0: 1, 1: 2}).fit(X, y)
    for model in (weighted, by_class):
        np.testing.assert_allclose(statistics(model), statistics(twice), rtol=1e-11)  # of sums of 900
    assert (np.abs(statistics(weighted) / statistics(quick(standardize=True, epochs=1).fit(X, y)) - 1) > 1e-3).any()


@pytest.mark.parametrize("kind", [quick, quick_regressor])
def test_in_parts_it_standardises_by_all_of_them_so_far(kind, iris):
    X, y = iris
    X = X * [1, 1e3, 1e-3, 0] + [5, 1e4, 5e-3, 0.1]  # the last one never varies
    w = np.random.default_rng(0).integers(0, 3, len(y)).astype(float)
    for weights in (None, w):
        model, order = kind(standardize=True), np.random.default_rng(1).permutation(len(y))
        options = {} if kind is quick_regressor else {"classes": [0, 1, 2]}
        for part in (order[:20], order[20:21], order[21:]):
            if weights is None or weights[part].any():
                model.partial_fit(X[part], y[part], sample_weight=None if weights is None else w[part], **options)
        whole = kind(standardize=True, epochs=1).fit(X, y, sample_weight=weights)
        np.testing.assert_allclose(statistics(model), statistics(whole), rtol=1e-12)
        assert model.model_.layers[0].scale[3] == 1
    before = statistics(whole)
    np.testing.assert_array_equal(statistics(whole.partial_fit(X[:9] + 1, y[:9])), before)


def test_in_parts_it_learns_features_of_any_size(cancer):
    X, y = load_breast_cancer(return_X_y=True)
    model = quick(standardize=True)
    for _ in range(20):
        for part in np.array_split(np.arange(len(y)), 4):
            model.partial_fit(X[part], y[part], classes=[0, 1])
    assert model.score(X, y) > 0.95  # the larger class alone is 0.63
    model.set_params(warm_start=True, epochs=1)
    before = statistics(model)
    np.testing.assert_array_equal(statistics(model.fit(X + 1, y)), before)


def test_the_examples_held_back_are_not_what_it_standardises_by():
    X, y = load_breast_cancer(return_X_y=True)
    layer = quick(standardize=True, early_stopping=True, epochs=1).fit(X, y).model_.layers[0]
    other = quick(standardize=True, epochs=1).fit(X, y).model_.layers[0]
    np.testing.assert_allclose(other.mean[:, 0], X.mean(axis=0), rtol=1e-12)
    assert np.all(layer.mean != other.mean)


def test_the_model_of_a_frame_knows_its_columns_by_name():
    X, y = load_iris(return_X_y=True, as_frame=True)
    model = quick(standardize=True, epochs=5).fit(X, y)
    np.testing.assert_array_equal(model.model_.predict(X[X.columns[::-1]])[0], model.predict(X))
    with pytest.raises(ValueError, match="'width' is none of them"):
        model.model_.predict(X.rename(columns={"petal width (cm)": "width"}))


def test_a_warm_start_keeps_the_statistics_and_so_do_parts_after_a_fit(iris):
    X, y = iris
    model = quick(standardize=True, warm_start=True, epochs=3).fit(X, y)
    before = model.model_.layers[0].mean
    model.fit(X + 1, y).partial_fit(X, y)
    assert model.model_.layers[0].mean is before
    with pytest.raises(ValueError, match="hidden, activation, module or standardize were changed"):
        model.set_params(standardize=False).fit(X, y)


# -- in files ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("load", [load_breast_cancer, load_iris])
def test_it_is_exported_with_its_standardizer(load, dtype, tmp_path):
    X, y = load(return_X_y=True)
    X = X.astype(dtype)
    model = quick(standardize=True, epochs=20).fit(X, y)
    tg.onnx.export(model.model_, tmp_path / "model.onnx", X.T, rows=True)
    found, A = run(tmp_path / "model.onnx", X), model.predict_proba(X)
    assert_same(found["predict_proba"], A[:, 1:] if A.shape[1] == 2 else A)
    clear = np.sort(A, axis=1)[:, -1] - np.sort(A, axis=1)[:, -2] > 1e-5
    np.testing.assert_array_equal(model.classes_[found["predict"][clear, 0]], model.predict(X)[clear])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_regressor_is_exported_with_its_standardizer(diabetes, dtype, tmp_path):
    X, y = diabetes[0].astype(dtype), diabetes[1].astype(dtype)
    model = quick_regressor(standardize=True, epochs=20).fit(X, y)
    tg.onnx.export(model.model_, tmp_path / "model.onnx", X.T, rows=True)
    assert_same(run(tmp_path / "model.onnx", X)["output"][:, 0], model.predict(X))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_what_came_from_a_file_is_exported_as_what_went_in(dtype, tmp_path):
    X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    X = X.astype(dtype)
    model = quick(standardize=True, epochs=20).fit(X, y)
    tg.save(tmp_path / "model.safetensors", model.model_)
    loaded = tg.load(tmp_path / "model.safetensors").model
    assert loaded.layers[0].features == tuple(X.columns)
    tg.onnx.export(loaded, tmp_path / "model.onnx", X.to_numpy().T)
    A = model.predict_proba(X)[:, 1:].T
    np.testing.assert_array_equal(loaded.predict_proba(X), A)
    assert_same(run(tmp_path / "model.onnx", X.to_numpy().T)["predict_proba"], A)


def test_early_stopping_of_a_regressor_with_weights(diabetes):
    X, y = diabetes
    model = quick_regressor(early_stopping=True, validation_fraction=0.3, n_iter_no_change=2, epochs=300)
    model.fit(X, y, sample_weight=np.linspace(1, 2, len(y)))
    assert len(model.validation_loss_curve_) == model.n_iter_ < 300


def test_a_warm_start_trains_the_model_further(iris):
    model = quick(warm_start=True, epochs=10).fit(*iris)
    first, held = model.loss_curve_[0], model.model_
    model.fit(*iris)
    assert model.model_ is held
    assert (model.n_iter_, len(model.loss_curve_)) == (20, 20)
    assert model.loss_curve_[10] < first / 2
    fresh = quick(epochs=10).fit(*iris).fit(*iris)
    assert fresh.n_iter_ == 10


def test_parts_are_epochs(cancer):
    X, y = cancer
    whole = quick(epochs=3, batch_size=len(y)).fit(X, y)
    parts = quick(batch_size=len(y))
    for _ in range(3):
        parts.partial_fit(X, y, classes=[0, 1])
    np.testing.assert_array_equal(parts.predict_proba(X), whole.predict_proba(X))
    assert (parts.n_iter_, parts.loss_curve_) == (3, whole.loss_curve_)


def test_a_part_may_lack_a_class(iris):
    X, y = iris
    model = quick(class_weight={0: 1, 1: 2, 2: 1}).partial_fit(X[:100], y[:100], classes=[0, 1, 2])
    assert model.partial_fit(X[100:], y[100:]).predict_proba(X).shape == (150, 3)


def test_a_setting_that_changes_between_parts_counts(iris):
    model = quick().partial_fit(*iris, classes=[0, 1, 2])
    before = model.model_.state_dict()
    model.set_params(learning_rate=0.0).partial_fit(*iris)
    for name, w in model.model_.state_dict().items():
        np.testing.assert_array_equal(w, before[name])
    model.set_params(optimizer="sgd").partial_fit(*iris)
    assert type(model._optimizer) is tg.optim.SGD


@pytest.mark.parametrize("class_weight", [None, "balanced"])
@pytest.mark.parametrize("load", [load_breast_cancer, load_iris])
def test_many_steps_are_compiled_and_come_to_the_same(class_weight, load, monkeypatch):
    settings = {"batch_size": 16, "epochs": 120, "class_weight": class_weight, "learning_rate": 0.001}
    X, y = standardised(load)
    assert 120 * len(y) / 16 > WORTH_COMPILING
    call, steps = CompiledStep.__call__, []

    def noted(self, X, Y):
        steps.append(self)
        return call(self, X, Y)

    monkeypatch.setattr(CompiledStep, "__call__", noted)
    compiled = quick(**settings).fit(X, y)
    assert len(steps) == 120 * np.ceil(len(y) / 16)
    assert not steps[-1].explain().startswith("Runs eagerly")
    steps.clear()
    monkeypatch.setattr("tinygrad_dls.sklearn.WORTH_COMPILING", np.inf)
    eager = quick(**settings).fit(X, y)
    assert not steps
    # a compiled step is the eager one up to rounding, which a thousand steps of Adam make larger
    np.testing.assert_allclose(compiled.loss_curve_, eager.loss_curve_, rtol=1e-6)


# -- a module of one's own --------------------------------------------------------------------------------------------


class Mine(tg.nn.Module):
    def __init__(self, n_x, n_y):
        self.W = tg.nn.Parameter(np.zeros((n_y, n_x)))
        self.b = tg.nn.Parameter(np.zeros((n_y, 1)))

    def __call__(self, X):
        return self.W @ X + self.b


def test_a_module_is_copied_and_a_function_makes_one(iris):
    X, y = iris
    mine = Mine(4, 3)
    model = TinyClassifier(module=mine, learning_rate=0.1, epochs=50, random_state=0).fit(X, y)
    assert model.score(X, y) > 0.9
    assert not mine.W.data.any()
    made = TinyClassifier(module=lambda n_x, n_y, _: Mine(n_x, n_y), learning_rate=0.1, epochs=50, random_state=0)
    np.testing.assert_array_equal(made.fit(X, y).predict_proba(X), model.predict_proba(X))


def test_a_module_with_dropout_and_batch_normalisation_is_evaluated_without_them(iris):
    X, y = iris

    def module(n_x, n_y, rng):
        hidden = tg.nn.Linear(n_x, 8, rng=rng), tg.nn.BatchNorm(8), tg.nn.ReLU(), tg.nn.Dropout(0.8, rng=rng)
        return tg.nn.Sequential(*hidden, tg.nn.Linear(8, n_y, rng=rng))

    model = TinyClassifier(module=module, learning_rate=0.05, random_state=0).fit(X, y)
    np.testing.assert_array_equal(model.predict_proba(X), model.predict_proba(X))
    assert model.score(X, y) > 0.9


def test_a_classifier_as_module_gives_a_softmax_whatever_its_labels_are(iris):
    module = tg.nn.TwoLayerNetwork(4, 5, 3, rng=0, several_labels=True)
    model = TinyClassifier(module=module, epochs=5, random_state=0).fit(*iris)
    np.testing.assert_allclose(model.predict_proba(iris[0]).sum(axis=1), 1)


def test_a_regressors_module(diabetes):
    X, y = diabetes
    assert TinyRegressor(module=Mine(10, 1), learning_rate=0.05, random_state=0).fit(X, y).score(X, y) > 0.4


# -- what is refused --------------------------------------------------------------------------------------------------


def ends_in(layer):
    return lambda n_x, n_y, rng: tg.nn.Sequential(tg.nn.Linear(n_x, n_y, rng=rng), layer)


REFUSED = {
    "hidden of 0": ({"hidden": (0,)}, ValueError, "hidden must be a positive integer, got 0"),
    "hidden of a float": ({"hidden": 2.5}, TypeError, "hidden is a tuple of sizes, such as (100,); got 2.5"),
    "epochs": ({"epochs": 0}, ValueError, "epochs must be a positive integer, got 0"),
    "batch_size": ({"batch_size": "auto"}, ValueError, "batch_size must be a positive integer, got 'auto'"),
    "patience": ({"n_iter_no_change": -1}, ValueError, "n_iter_no_change must be a positive integer, got -1"),
    "a switch": ({"early_stopping": "no"}, TypeError, "early_stopping must be True or False, got 'no'"),
    "alpha": ({"alpha": -1}, ValueError, "alpha must be a finite number >= 0, got -1"),
    "fraction": ({"validation_fraction": 1}, ValueError, "validation_fraction must be in (0, 1), got 1"),
    "activation": ({"activation": "logistic"}, ValueError, "activation is one of relu, sigmoid, tanh, or a function"),
    "optimizer": ({"optimizer": "lbfgs"}, ValueError, "optimizer is one of adam, rmsprop, sgd, or a class"),
    "no optimizer": ({"optimizer": 3}, TypeError, "optimizer is one of adam, rmsprop, sgd, or a class"),
    "learning_rate": ({"learning_rate": "auto"}, TypeError, "the learning rate must be a number or a function"),
    "two rates": (
        {"optimizer": functools.partial(tg.optim.SGD, lr=1)}, ValueError,
        "the optimizer's lr comes from learning_rate: say learning_rate= instead",
    ),
    "two penalties": (
        {"optimizer": functools.partial(tg.optim.SGD, weight_decay=1)}, ValueError,
        "the optimizer's weight_decay comes from alpha: say alpha= instead",
    ),
    "a class of module": ({"module": Mine}, TypeError, "module is a Module, or a function of (n_x, n_y, rng)"),
    "a function of no module": ({"module": lambda *_: 3}, TypeError, "make a Module with parameters; got 3"),
    "no parameters": ({"module": tg.nn.Tanh()}, TypeError, "module is to make a Module with parameters; got Tanh"),
    "hidden beside a module": ({"module": Mine(4, 3), "hidden": (3,)}, ValueError, "hidden and activation have no"),
    "too few rows": ({"module": Mine(4, 1)}, ValueError, "module gives (1, 1) for one example; expected (n_y, m) = (3"),
    "probabilities": ({"module": ends_in(tg.nn.Softmax())}, ValueError, "A comes from a softmax, and the loss is of"),
    "no such class": ({"class_weight": {0: 1, 7: 2}}, ValueError, "not in class_weight"),
    "negative class": ({"class_weight": {0: -1, 1: 1, 2: 1}}, ValueError, "class_weight must be >= 0"),
    "no class": ({"class_weight": {0: 0, 1: 0, 2: 0}}, ValueError, "is zero for all examples"),
}  # fmt: skip


@pytest.mark.parametrize(("settings", "kind", "text"), REFUSED.values(), ids=REFUSED.keys())
def test_a_setting_that_cannot_be_is_refused_when_it_is_fitted(settings, kind, text, iris):
    with pytest.raises(kind, match=re.escape(text)):
        TinyClassifier(**settings).fit(*iris)


def test_too_few_examples_to_hold_back_are_refused_in_the_words_of_the_settings(iris):
    X, y = iris
    text = (
        r"early_stopping holds back validation_fraction=0\.01 of the 150 examples, some of each class, which cannot be"
    )
    with pytest.raises(ValueError, match=text):
        TinyClassifier(early_stopping=True, validation_fraction=0.01).fit(X, y)
    with pytest.raises(ValueError, match=r"least populated class.* Take another fraction, more examples, or no early"):
        TinyClassifier(early_stopping=True).fit(X[:60], np.arange(60) == 0)


def test_a_sigmoid_at_the_end_of_a_module_is_refused(cancer):
    with pytest.raises(ValueError, match=r"A comes from a sigmoid, and the loss is of logits.* Leave the sigmoid out"):
        TinyClassifier(module=ends_in(tg.nn.Sigmoid())).fit(*cancer)


def test_a_sigmoid_at_the_end_of_a_module_whose_cost_is_of_errors_is_trained(cancer):
    model = TinyRegressor(module=ends_in(tg.nn.Sigmoid()), epochs=20, random_state=0).fit(*cancer)
    assert model.loss_curve_[-1] < model.loss_curve_[0]
    assert 0 < model.predict(cancer[0]).min() < model.predict(cancer[0]).max() < 1


def test_one_class_cannot_be_learned(iris):
    X, y = iris
    for fails in (
        lambda: quick().fit(X[:50], y[:50]),
        lambda: quick().fit(X, y, sample_weight=y == 0),
        lambda: quick().partial_fit(X[:50], y[:50], classes=[0]),
    ):
        with pytest.raises(ValueError, match="1 class, and there is nothing to tell apart"):
            fails()


def test_what_cannot_be_trained_further_is_refused(iris):
    X, y = iris
    model = quick(warm_start=True, epochs=2).fit(X, y)
    with pytest.raises(ValueError, match=re.escape("a warm start has the classes [0 1 2]; y holds [0 1]")):
        model.fit(X[:100], y[:100])
    with pytest.raises(ValueError, match="hidden, activation, module or standardize were changed"):
        model.set_params(hidden=(3,)).fit(X, y)
    with pytest.raises(ValueError, match=re.escape("y holds [7], which is not among classes")):
        quick().partial_fit(X, np.full(len(y), 7), classes=[0, 1, 2])
    regressor = quick_regressor(epochs=1, warm_start=True).fit(X, y)
    with pytest.raises(ValueError, match=re.escape("it was trained on targets of shape () by row; y has (2,)")):
        regressor.fit(X, np.column_stack([y, y]))


@pytest.mark.parametrize("model", [quick(early_stopping=True), quick_regressor(early_stopping=True)])
def test_parts_hold_nothing_back(model, iris):
    with pytest.raises(ValueError, match="partial_fit holds nothing back; fit does with early_stopping=True"):
        model.partial_fit(*iris)


def test_balanced_weights_need_all_labels(iris):
    with pytest.raises(ValueError, match="partial_fit sees a part of y: give class_weight as a dict"):
        quick(class_weight="balanced").partial_fit(*iris, classes=[0, 1, 2])


def test_a_cost_that_explodes_is_an_error_and_leaves_no_model(diabetes):
    model = quick_regressor(optimizer="sgd", learning_rate=1e6)
    with pytest.raises(FloatingPointError, match="Most often the learning rate is too large"):
        model.fit(*diabetes)
    with pytest.raises(NotFittedError):
        model.predict(diabetes[0])


@pytest.mark.parametrize(
    "settings",
    [{"learning_rate": -1}, {"learning_rate": "fast"}, {"early_stopping": True, "validation_fraction": 0.999},
     {"standardize": True}],
)  # fmt: skip
def test_an_error_in_fit_leaves_no_model_that_nothing_has_trained(iris, settings):
    X, y = iris
    model = quick(**settings)
    with pytest.raises((TypeError, ValueError)), np.errstate(all="ignore"):
        model.fit(np.where(np.arange(len(X))[:, None] % 2, 1e308, -1e308) if "standardize" in settings else X, y)
    with pytest.raises(NotFittedError):
        model.predict(X)


def test_ctrl_c_ends_a_search_and_leaves_the_last_whole_step(iris, monkeypatch):
    model, steps = quick(epochs=50), []
    step = tg.optim.Adam.step

    def interrupted(self):
        step(self)
        steps.append(1)
        if len(steps) == 7:
            raise KeyboardInterrupt

    monkeypatch.setattr(tg.optim.Adam, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.fit(*iris)
    assert model.n_iter_ == len(model.loss_curve_) == 6
    assert model.predict(iris[0]).shape == iris[1].shape


def test_who_predicts_before_fitting_is_told():
    for model in (TinyClassifier(), TinyRegressor()):
        with pytest.raises(NotFittedError):
            model.predict(np.ones((1, 2)))


def test_digits_are_read():
    X, y = load_digits(return_X_y=True)
    model = TinyClassifier(hidden=(32,), epochs=20, learning_rate=0.01, random_state=0).fit(X[:1500] / 16, y[:1500])
    assert model.score(X[1500:] / 16, y[1500:]) > 0.85
