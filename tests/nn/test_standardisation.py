"""Standardised inputs: the statistics of the training examples, their names, and that they stay with the model."""

import copy
import pickle
from decimal import Decimal

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from sklearn.preprocessing import StandardScaler

import tinygrad_dls as tg
from tinygrad_dls import nn
from tinygrad_dls.nn.standardisation import Moments

RNG = np.random.default_rng(0)
X = RNG.normal([[5.0], [-300.0]], [[2.0], [40.0]], (2, 60))
Y = (X[:1] > 5).astype(float)
LOGITS = tg.binary_cross_entropy_with_logits
FRAME = pd.DataFrame({"age": [30.0, 40.0, 50.0], "income": [1, 2, 6], "price": [3.0, 4.0, 5.0]})
FEATURES = FRAME[["age", "income"]]


def network(x=X):
    return nn.Classifier(nn.Standardizer.of(x), nn.Linear(2, 4, rng=0), nn.Tanh(), nn.Linear(4, 1, rng=1))


def test_each_feature_has_mean_0_and_standard_deviation_1_as_in_scikit_learn():
    layer = nn.Standardizer.of(X)
    np.testing.assert_allclose(layer(X).data, StandardScaler().fit_transform(X.T).T, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(layer.mean[:, 0], X.mean(axis=1), rtol=1e-14)
    np.testing.assert_allclose(layer.scale[:, 0], X.std(axis=1), rtol=1e-14)


@pytest.mark.parametrize("entry", [0.1, 0.0, -1e300, 5e-324])
def test_a_feature_that_never_varies_has_scale_1_and_becomes_0(entry):
    layer = nn.Standardizer.of(np.full((1, 7), entry))
    assert layer.scale == 1
    assert not layer(np.full((1, 7), entry)).data.any()


@pytest.mark.parametrize("size", [1e-200, 1e200])
def test_squares_of_small_and_large_features_neither_vanish_nor_overflow(size):
    np.testing.assert_allclose(nn.Standardizer.of(X * size).scale, nn.Standardizer.of(X).scale * size, rtol=1e-12)


@pytest.mark.parametrize("size", [1e-200, 1.0, 1e200])
def test_moments_of_parts_are_joined_to_those_of_all(size):
    w = RNG.integers(1, 4, (1, 60))
    for weights in (None, w):
        parts = [
            Moments.of(X[:, cut] * size, None if weights is None else weights[:, cut])
            for cut in (slice(0, 1), slice(1, 20), slice(20, None))
        ]
        got = parts[0].joined(parts[1]).joined(parts[2])
        x = X if weights is None else np.repeat(X, w[0], axis=1)
        assert got.weight == x.shape[1]
        np.testing.assert_allclose(got.mean[:, 0], x.mean(axis=1) * size, rtol=1e-13)
        np.testing.assert_allclose(got.deviation[:, 0], x.std(axis=1) * size, rtol=1e-13)


def test_moments_of_what_never_varies_are_exact_whatever_the_weights():
    constant = np.full((1, 7), 0.1)
    got = Moments.of(constant, RNG.uniform(1e-320, 1, (1, 7))).joined(Moments.of(constant))
    assert (got.mean, got.deviation) == (0.1, 0)
    with_tiny = Moments.of(np.array([[1.0, 3.0]]), np.array([[5e-324, 5e-324]]))
    assert (with_tiny.mean, with_tiny.deviation) == (2, 1)


def test_the_inverse_gives_the_features_back():
    layer = nn.Standardizer.of(X)
    np.testing.assert_allclose(layer.inverse()(layer(X)).data, X, rtol=1e-14)
    twin = layer.inverse().inverse()
    assert type(twin) is nn.Standardizer
    np.testing.assert_array_equal(twin(X).data, layer(X).data)


def test_a_model_with_it_computes_what_one_without_it_does_of_standardised_inputs():
    with_it, without = network(), nn.Classifier(*network().layers[1:])
    X_norm = nn.Standardizer.of(X)(X).data
    np.testing.assert_array_equal(with_it(X).data, without(X_norm).data)
    for model, x in ((with_it, X), (without, X_norm)):
        LOGITS(model(x), Y).backward()
    for p, q in zip(with_it.parameters(), without.parameters(), strict=True):
        np.testing.assert_array_equal(p.grad, q.grad)


def test_gradients_flow_through_it_and_its_inverse():
    layer = nn.Standardizer.of(X)
    np.testing.assert_allclose(tg.grad(lambda x: np.sum(layer(x)))(X), np.broadcast_to(1 / layer.scale, X.shape))
    np.testing.assert_allclose(tg.grad(lambda x: np.sum(layer.inverse()(x)))(X), np.broadcast_to(layer.scale, X.shape))


def test_it_has_no_parameters_and_its_arrays_are_saved():
    model = network()
    assert [p.name for p in model.parameters()] == ["W1", "b1", "W2", "b2"]
    assert list(model.state_dict()) == ["W1", "b1", "W2", "b2", "mean0", "scale0"]
    other = nn.Classifier(nn.Standardizer(2), *network(X * 2 + 1).layers[1:])
    other.load_state_dict(model.state_dict())
    for twin in (other, pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        np.testing.assert_array_equal(twin.predict_proba(X), model.predict_proba(X))


def test_inputs_and_targets_of_a_regression_are_standardised_within_the_model():
    model = nn.Sequential(nn.Standardizer.of(X), nn.Linear(2, 1, rng=0), nn.Standardizer.of(Y).inverse())
    assert list(model.state_dict()) == ["W", "b", "mean0", "scale0", "mean1", "scale1"]
    nested = nn.Sequential(nn.Sequential(*model.layers[:2]), model.layers[2])
    assert list(nested.state_dict()) == list(model.state_dict())
    np.testing.assert_array_equal(nested(X).data, model(X).data)


def test_two_at_one_place_are_refused():
    with pytest.raises(ValueError, match="Sequential: two layers keep an array called mean0"):
        nn.Sequential(nn.Standardizer(2), nn.Standardizer(2), nn.Linear(2, 1, rng=0))


@pytest.mark.parametrize("threads", [1, 2])
def test_a_compiled_model_trains_alike_and_sees_new_statistics(threads):
    eager, compiled = network(), network()
    histories = [
        tg.fit(model, X, Y, loss=LOGITS, optimizer=tg.optim.Adam(model.parameters(), 0.05), epochs=20, compile=options)
        for model, options in ((eager, False), (compiled, {"threads": threads}))
    ]
    np.testing.assert_allclose(*map(np.array, histories), rtol=1e-12)
    for model in (eager, compiled):
        np.testing.assert_array_equal(model.layers[0].mean, nn.Standardizer.of(X).mean)
    step = tg.compile(compiled, LOGITS, tg.optim.SGD(compiled.parameters(), 0.1))
    step(X, Y)
    compiled.layers[0].mean = compiled.layers[0].mean + 1
    expected = LOGITS(compiled(X), Y).item()
    assert step(X, Y) == pytest.approx(expected, rel=1e-12)


def test_pictures_derivations_and_code_call_it_by_its_name():
    model = network()
    code = tg.numpy_source(model, X, Y, loss=LOGITS)
    assert "X_norm = (X - mean) / scale" in code
    assert "X_norm = (X - mean) / scale" in str(tg.derive(model, X, Y, loss=LOGITS))
    assert "node-X_norm" in tg.draw(model, X, Y, loss=LOGITS).source
    namespace = {}
    exec(code, namespace)
    layer = model.layers[0]
    state = {name: array for name, array in model.state_dict().items() if name[0] in "Wb"}
    J, *_ = namespace["step"](X, Y, **state, mean=layer.mean, scale=layer.scale, m=X.shape[1])
    assert pytest.approx(LOGITS(model(X), Y).item(), rel=1e-13) == J


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_inputs_keep_their_floating_dtype(dtype):
    x = X.astype(dtype)
    for layer in (nn.Standardizer.of(X), nn.Standardizer.of(x), nn.Standardizer.of(X, dtype=np.float32)):
        assert layer(x).dtype == layer(tg.Tensor(x)).dtype == layer.inverse()(x).dtype == dtype
    assert nn.Standardizer.of(x).mean.dtype == dtype
    assert nn.Standardizer.of(np.arange(6).reshape(2, 3)).mean.dtype == float


# -- names ------------------------------------------------------------------------------------------------------------


def test_a_table_and_a_frame_give_names():
    table = tg.datasets.from_frame(FRAME, target="price")
    for layer in (nn.Standardizer.of(table), nn.Standardizer.of(FEATURES)):
        assert layer.features == ("age", "income")
        np.testing.assert_array_equal(layer(table).data, layer(table.X).data)
        np.testing.assert_array_equal(layer(FEATURES).data, layer(table.X).data)


def test_columns_of_a_frame_are_found_by_their_names():
    layer = nn.Standardizer.of(FEATURES)
    np.testing.assert_array_equal(layer(FEATURES[["income", "age"]]).data, layer(FEATURES).data)
    model = nn.Classifier(layer, nn.Linear(2, 1, rng=0))
    assert model.predict(FEATURES).shape == (1, 3)


def test_other_features_are_refused_with_their_names():
    layer = nn.Standardizer.of(FEATURES)
    with pytest.raises(ValueError, match=r"made of the features age, income: 'income' is missing; 'price' is none of"):
        layer(FRAME[["age", "price"]])
    with pytest.raises(ValueError, match=r"'price' is none of them"):
        layer(FRAME)
    with pytest.raises(ValueError, match=r"was made without names, .* its features: age, income\. Make it of the same"):
        nn.Standardizer.of(FEATURES.to_numpy().T)(FEATURES)


REFUSED = {
    "transposed frame": (lambda: nn.Standardizer.of(FEATURES.T), "columns are features, and need names .* transpose"),
    "text": (lambda: nn.Standardizer.of(FEATURES.assign(age="old")), "column 'age' is of .*, and no feature.*one_hot="),
    "missing cells": (lambda: nn.Standardizer.of(FEATURES.assign(age=[1, None, 2])), "'age' has 1 cells that are miss"),
    "names twice": (lambda: nn.Standardizer.of(FEATURES, features=["a", "b"]), "DataFrame has names of its own"),
    "NaN": (lambda: nn.Standardizer.of([[1.0, 2.0], [1.0, np.nan]]), "row 1 of X holds NaN or infinities"),
    "named NaN": (lambda: nn.Standardizer.of([[np.inf, 2.0]], features=["age"]), "'age' holds NaN or infinities"),
    "a vector": (lambda: nn.Standardizer.of([1.0, 2.0]), r"X is \(2,\); expected \(n_x, m\)"),
    "no examples": (lambda: nn.Standardizer.of(np.ones((2, 0))), r"X is \(2, 0\); expected \(n_x, m\)"),
    "pictures": (lambda: nn.Standardizer.of(np.ones((2, 3, 4))), r"X is \(2, 3, 4\); .* X\.reshape"),
    "transposed": (lambda: nn.Standardizer(2)(X.T), r"Standardizer 2: X is \(60, 2\); .* transposed\?"),
    "other rows": (lambda: nn.Standardizer(2)(X[:1]), r"Standardizer 2: X is \(1, 60\); expected \(2, m\)"),
    "a text as names": (lambda: nn.Standardizer(2, features="ab"), "features must be a list of names, got 'ab'"),
    "names that are none": (lambda: nn.Standardizer(2, features=[1, 2]), "features must be a list of names"),
    "too few names": (lambda: nn.Standardizer(2, features=["a"]), "features must be 2 different names"),
    "a name twice": (lambda: nn.Standardizer(2, features=["a", "a"]), "features must be 2 different names"),
    "no size": (lambda: nn.Standardizer(0), "Standardizer: n must be a positive integer"),
    "integers": (lambda: nn.Standardizer(2, dtype=int), "Standardizer: dtype must be a floating dtype"),
}


OTHERS = {
    "times": pd.date_range("2020-01-01", periods=3),
    "durations": pd.to_timedelta([1, 2, 3]),
    "texts": ["1", "2", "3"],
    "a text": [1, "2", 3],
    "complex": [1j, 2, 3],
}


@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.parametrize("use", [nn.Standardizer.of, nn.Standardizer.of(FEATURES), nn.Classifier(
    nn.Standardizer.of(FEATURES), nn.Linear(2, 1, rng=0)).predict])  # fmt: skip
def test_a_column_of_a_frame_that_holds_no_numbers_is_not_read_as_numbers(kind, use):
    with pytest.raises(ValueError, match=r"column 'age' is of .*, and no feature\. tg\.datasets\..* pd\.to_n"):
        use(FEATURES.assign(age=OTHERS[kind]))


@pytest.mark.parametrize("cells", [[30, 40, 50], [30.0, 40, 50], pd.Categorical([30, 40, 50]), [*map(Decimal, "345")]])
def test_numbers_in_a_column_of_any_kind_are_numbers(cells):
    expected = [int(x) for x in cells]
    np.testing.assert_array_equal(
        nn.Standardizer.of(FEATURES.assign(age=pd.Series(list(cells), dtype=object))).mean[0], np.mean(expected)
    )
    np.testing.assert_array_equal(nn.Standardizer.of(FEATURES.assign(age=cells)).mean[0], np.mean(expected))


@pytest.mark.parametrize(
    ("row", "dtype"),
    [
        ([1e308, -1e308], np.float64),  # the difference is infinite
        ([1e300, 2e300], np.float32),
        ([1e-50, 2e-50], np.float32),  # the scale would be 0
        ([1.7e12, 1.7e12 + 1000], np.float32),  # milliseconds since 1970: all are one number
        ([1_700_000_000_000, 1_700_000_001_000], np.float32),
        ([70_000, 200_000], np.float16),
        ([2009, 2009.2], np.float16),
    ],
)
def test_what_the_dtype_cannot_hold_or_tell_apart_is_refused(row, dtype):
    wider = "" if dtype is np.float64 else ", or take float64"
    with pytest.raises(ValueError, match=rf"^Standardizer: 'b' has mean .*Give them other .*{wider}\.$"):
        nn.Standardizer.of(np.array([[0, 1], row]), features=["a", "b"], dtype=dtype)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_what_varies_by_its_last_digit_has_the_scale_of_that_in_its_own_dtype(dtype):
    one, next_one = dtype(0.3), np.nextafter(dtype(0.3), dtype(1))
    for others in (1, 99):
        layer = nn.Standardizer.of(np.array([[next_one] + [one] * others]))
        assert 0 < layer.scale[0, 0] <= next_one - one


@pytest.mark.parametrize("chunks", [(2, 20), (1, 60), (2, (7, 0, 53)), (2, 1)])
@pytest.mark.filterwarnings("ignore:Standardizer.of. X is in chunks of:UserWarning")
def test_a_dask_array_is_gone_through_chunk_by_chunk(chunks):
    layer, whole = nn.Standardizer.of(da.from_array(X, chunks=chunks), features=["a", "b"]), nn.Standardizer.of(X)
    assert type(layer.mean) is type(layer.scale) is np.ndarray
    np.testing.assert_allclose(layer.mean, whole.mean, rtol=1e-13)  # the order of summation differs
    np.testing.assert_allclose(layer.scale, whole.scale, rtol=1e-13)
    assert layer.features == ("a", "b")


def test_chunks_of_a_size_that_dask_does_not_know_are_enough():
    parts = da.from_array(X, chunks=(2, 20))
    some = nn.Standardizer.of(parts[:, parts[0] > 5])
    np.testing.assert_allclose(some.mean, nn.Standardizer.of(X[:, X[0] > 5]).mean, rtol=1e-13)
    with pytest.raises(ValueError, match=r"^Standardizer\.of: X has no examples\.$"):
        nn.Standardizer.of(parts[:, parts[0] > 1e9])
    with pytest.raises(ValueError, match="row 1 of X holds NaN"):
        nn.Standardizer.of(da.where(parts < parts.min() + 1, np.nan, parts))
    frame = dd.from_pandas(FEATURES, npartitions=1)
    with pytest.raises(TypeError, match=r"X is a dask DataFrame, and no array.*to_dask_array\(lengths=True\)\.T"):
        nn.Standardizer.of(frame)


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_table_of_features_is_refused(case):
    make, message = REFUSED[case]
    with pytest.raises((TypeError, ValueError), match=message):
        make()


def test_statistics_of_another_shape_are_refused_when_they_are_used():
    layer = nn.Standardizer.of(X)
    layer.scale = np.ones(2)
    with pytest.raises(ValueError, match=r"Standardizer 2: scale is \(2,\); expected \(2, 1\)"):
        layer(X)
