"""What cannot be trained in chunks is refused by name, before the model is touched, with what to write instead."""

import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest

import tinygrad_dls as tg
from tests.support.device_array import to_device, to_host
from tests.training.chunks.chunked import LOSS, fit, in_chunks, logistic_regression, two_layers
from tinygrad_dls import nn

RNG = np.random.default_rng(0)
X = RNG.standard_normal((2, 60))
Y = (X[:1] > 0.2).astype(int)
X_PARTS, Y_PARTS = in_chunks(X, Y, chunks=3)
MASKED = X_PARTS.map_blocks(np.ma.masked_array, meta=np.ma.masked_array(X[:0, :0]))
FRAME = dd.from_pandas(pd.DataFrame(X.T, columns=["a", "b"]), npartitions=3)
GLOBAL = two_layers()  # which a loss below reads


def refused(error, text, data=(X_PARTS, Y_PARTS), model=None, **options):
    model = two_layers() if model is None else model
    before = model.state_dict()
    with pytest.raises(error, match=text):
        fit(model, *data, **options)
    for name, x in model.state_dict().items():
        np.testing.assert_array_equal(x, before[name])


def test_a_frame_is_told_how_it_becomes_columns():
    refused(TypeError, r"X is a dask DataFrame in the training data, .* X = ddf\[columns\].to_dask_array",
            (FRAME, Y_PARTS))  # fmt: skip


def test_a_size_that_is_not_known_is_told_how_it_becomes_known():
    text = (
        r"X is \(2, nan\) in the training data: .* X = X.compute_chunk_sizes\(\), or ddf.to_dask_array\(lengths=True\)"
    )
    refused(ValueError, text, (FRAME.to_dask_array().T, Y_PARTS))


@pytest.mark.parametrize(("data", "text"), [
    ((X, Y_PARTS), "fit: X is no dask array in the training data, and Y is one. Write X = dask.array.from_array"),
    ((X_PARTS.T, Y_PARTS), r"fit: Y is \(1, 60\), X is \(60, 2\) in the training data; expected a column for"),
    ((X_PARTS, Y_PARTS[0]), r"fit: Y is \(60,\), .* Write Y.reshape\(1, -1\)"),
    ((X_PARTS.reshape(1, 2, 60), Y_PARTS), r"fit: X is \(1, 2, 60\) in the training data"),
    ((X_PARTS.astype(complex), Y_PARTS), "complex"),
    ((X_PARTS, pd.DataFrame(Y)), r"fit: Y is a DataFrame, .* Write frame.to_numpy\(\).T"),
    ((X_PARTS, to_device(Y)), r"Y lies on a device \(tests DeviceArray\) in the training data, .* Write Y = Y.get\(\)"),
    ((MASKED, Y_PARTS), "the chunks of X are no NumPy arrays in the training data, but numpy MaskedArray"),
])  # fmt: skip
def test_arrays_that_do_not_fit(data, text):
    refused((TypeError, ValueError), text, data)


@pytest.mark.parametrize(("move", "text"), [
    (to_device, r"W1 of the model lies on a device \(tests DeviceArray\); .* Write model.to\(tests.asnumpy\) before"),
    (da.asarray, r"W1 of the model is a dask array; .* Write model.to\(np.asarray\) before"),
])  # fmt: skip
def test_a_model_whose_arrays_lie_elsewhere_is_told_to_come_here(move, text):
    model = two_layers()
    model.to(move)
    with pytest.raises(TypeError, match=text):
        fit(model, X_PARTS, Y_PARTS)
    model.to(to_host)
    expected = two_layers()
    assert fit(model, X_PARTS, Y_PARTS).costs == fit(expected, X_PARTS, Y_PARTS).costs


def test_numbers_that_are_infinite_are_counted_over_all_chunks():
    bad = X.copy()
    bad[0, [1, 30, 59]] = np.nan, np.inf, -np.inf
    refused(
        ValueError,
        "fit: X holds 3 NaN or infinities among its 120 entries in the training data",
        in_chunks(bad, Y, chunks=3),
    )


@pytest.mark.parametrize(("wrong", "text"), [(2.0, "labels from 0 to 2"), (np.nan, "NaN")])
@pytest.mark.parametrize("place", [3, 57])
def test_wrong_labels_are_refused_in_whichever_chunk_they_are(place, wrong, text):
    bad = Y.astype(float)
    bad[0, place] = wrong
    refused(ValueError, text, in_chunks(X, bad, chunks=3))


def test_a_chunk_that_is_not_what_dask_takes_it_for():
    wrong = X_PARTS.map_blocks(lambda x: x[:, 1:], chunks=X_PARTS.chunks, meta=X[:0, :0])
    refused(ValueError, r"a chunk of X is \(2, 19\), and dask takes it for \(2, 20\).* X.compute_chunk_sizes\(\)",
            (wrong, Y_PARTS))  # fmt: skip


def test_data_that_cannot_be_read_say_so():
    def read(x):
        raise OSError("no such file: part-7")

    lost = X_PARTS.map_blocks(read, meta=X[:0, :0])
    refused(RuntimeError, "a step failed for good, after 0 whole steps: OSError: no such file: part-7", (lost, Y_PARTS))
    with pytest.raises(RuntimeError) as error:
        fit(two_layers(), lost, Y_PARTS)
    assert len(error.value.history) == 0


# -- what is no mean of examples --------------------------------------------------------------------------------------


def summed(Z, Y):
    return np.sum((Z - Y) ** 2)


def by_the_largest(Z, Y):
    return np.max((Z - Y) ** 2)


def with_its_own_penalty(model):
    return lambda Z, Y: LOSS(Z, Y) + sum(np.sum(p * p) for p in model.parameters()) / Y.shape[1]


@pytest.mark.parametrize("make", [logistic_regression, two_layers])  # the first starts at zero, where penalties vanish
def test_a_loss_that_is_no_mean_is_refused(make):
    model = make()
    for loss in (summed, by_the_largest, with_its_own_penalty(model)):
        refused(ValueError, r"is not the mean of the costs of chunks, .* tg.l2\(model, lambd, Y.shape\[1\]\)",
                model=model, loss=loss)  # fmt: skip


def balanced_by_the_batch(Z, Y):
    return np.mean(np.logaddexp(0, (1 - 2 * Y) * Z) / np.where(Y, Y.mean() + 0.01, 1.01 - Y.mean()))


def test_a_loss_that_is_no_mean_is_refused_where_chunks_are_sorted_by_their_labels():
    order = np.argsort(Y[0])
    parts = in_chunks(X[:, order], Y[:, order], chunks=12)
    assert int(parts[1].blocks[0, :4].sum()) == 0
    refused(ValueError, "is not the mean of the costs of chunks", parts, loss=balanced_by_the_batch)


@pytest.mark.parametrize("counting", [[3, 58, 59], [3, 19, 39]])  # one of those that are looked at, or no two
def test_a_weighted_loss_that_is_no_mean_is_refused_where_few_examples_count(counting):
    def weighted_sum(Z, Y, sample_weight):
        return np.sum(sample_weight * (Z - Y) ** 2)

    weights = np.zeros((1, 60))
    weights[0, counting] = 1
    refused(ValueError, "is not the mean of the costs of chunks", in_chunks(X, Y, chunks=3), loss=weighted_sum,
            sample_weight=weights)  # fmt: skip


def test_means_of_ones_own_train():
    def hinge(Z, Y):
        return np.mean(np.maximum(0, 1 - (2 * Y - 1) * Z))

    def penalised(model):
        return lambda Z, Y: LOSS(Z, Y) + 0.1 * sum(np.sum(p * p) for p in model.parameters())

    for make in (lambda _: hinge, penalised):
        found = []
        for data in ((X, Y), (X_PARTS, Y_PARTS)):
            model = two_layers()
            found.append(fit(model, *data, loss=make(model)).costs)
        np.testing.assert_allclose(found[1], found[0], rtol=1e-12)


class Centred(nn.Module):
    """Looks at other columns."""

    def __call__(self, a):
        return a - np.mean(a, axis=1, keepdims=True)


class Noisy(nn.Module):
    """Draws random numbers of its own."""

    def __init__(self, always):
        self.rng, self.always = np.random.default_rng(0), always

    def __call__(self, a):
        return a + self.rng.random() if self.training or self.always else a


def test_a_layer_that_looks_at_other_columns_is_refused():
    refused(ValueError, "no layer may look at other columns",
            model=nn.Classifier(nn.Linear(2, 3, rng=0), Centred(), nn.Linear(3, 1, rng=1)))  # fmt: skip


@pytest.mark.parametrize("always", [False, True])
def test_random_numbers_of_ones_own_are_refused(always):
    model = nn.Classifier(nn.Linear(2, 3, rng=0), Noisy(always), nn.Linear(3, 1, rng=1))
    refused(ValueError, "draw random numbers", model=model)


def of_a_global(Z, Y):
    return LOSS(Z, Y) + tg.l2(GLOBAL, 0.1, 60)


class Annealed:
    """A loss, or a layer, that counts its calls."""

    def __init__(self):
        self.calls = 0

    def __call__(self, Z, *Y):
        self.calls += 1
        factor = 1 if self.calls < 100 else 0.5
        return LOSS(Z, *Y) * factor if Y else Z * factor


class AnnealedLayer(Annealed, nn.Module):
    pass


class Remembering(nn.Module):
    def __init__(self):
        self.ones = {}

    def __call__(self, X):
        self.last = X
        return X * self.ones.setdefault(X.shape[1], np.ones((1, X.shape[1])))


def test_what_changes_at_each_call_is_warned_of_as_copies_are_called():
    with pytest.warns(UserWarning, match="fit: something that the loss holds changes at each call.* is lost, and what"):
        fit(two_layers(), X_PARTS, Y_PARTS, loss=Annealed())
    layer = AnnealedLayer()
    with pytest.warns(UserWarning, match="calls of AnnealedLayer changes at each call.* callbacks= note or change"):
        fit(nn.Classifier(nn.Linear(2, 1, rng=0), layer), X_PARTS, Y_PARTS)


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_what_is_kept_to_be_computed_once_is_not_warned_of(compiled, recwarn):
    model = nn.Classifier(nn.Linear(2, 3, rng=0), nn.Dropout(1, rng=0), nn.Tanh(), nn.Linear(3, 1, rng=1))
    fit(model, X_PARTS, Y_PARTS, loss=lambda Z, Y: LOSS(Z, Y), compile=compiled)
    if not compiled:
        fit(nn.Classifier(Remembering(), nn.Linear(2, 1, rng=0)), X_PARTS, Y_PARTS)
    assert not [w for w in recwarn if "at each call" in str(w.message)]


def test_a_loss_that_reads_a_model_which_is_a_global_of_a_module_is_refused():
    refused(ValueError, "a copy of the model and the loss, .* has other gradients than they have themselves",
            model=GLOBAL, loss=of_a_global)  # fmt: skip


def test_parameters_that_the_model_does_not_have_are_refused():
    model, other = two_layers(), nn.Parameter(np.ones((1, 1)), name="scale")
    with pytest.raises(ValueError, match="the optimizer holds scale, which is none of the model's parameters"):
        tg.fit(model, X_PARTS, Y_PARTS, loss=lambda Z, Y: LOSS(Z * other, Y), epochs=1,
               optimizer=tg.optim.SGD([*model.parameters(), other], 0.1))  # fmt: skip


def test_what_does_not_pickle_is_refused():
    model = two_layers()
    refused(TypeError, "the model and the loss are copied to where the chunks are, and do not pickle", model=model,
            loss=lambda Z, Y, generator=(i for i in range(3)): LOSS(Z, Y))  # fmt: skip


def test_switches_that_tasks_do_not_see_are_refused():
    with tg.detect_anomaly():
        refused(RuntimeError, "detect_anomaly and no_grad do not reach. Train on one chunk in memory")


def test_a_compiled_step_that_cannot_be_recorded_says_so():
    model = nn.Classifier(nn.Linear(2, 3, rng=0), nn.Dropout(0.5, rng=0), nn.Linear(3, 1, rng=1))
    refused(TypeError, "the recording would freeze an array .* a random draw", model=model, compile=True)


# -- who runs it, and what belongs to dask ----------------------------------------------------------------------------


def test_a_client_is_one_of_distributed_and_for_dask_arrays():
    refused(TypeError, "client= takes a distributed.Client, got 'tcp://somewhere'", client="tcp://somewhere")
    refused(TypeError, "client= is for dask arrays, and X is none", (X, Y), client="tcp://somewhere")


@pytest.mark.parametrize(("options", "text"), [
    ({"validation": (X_PARTS, Y_PARTS)}, "the validation data are of dask, and X is a NumPy array: write .compute()"),
    ({"sample_weight": da.ones((1, 60))}, "sample_weight is of dask, and X is a NumPy array"),
])  # fmt: skip
def test_dask_arrays_beside_numpy_arrays_are_refused(options, text):
    refused(TypeError, text, (X, Y), **options)


def test_weights_of_validation_data_in_chunks_are_refused():
    weights = da.ones((1, 60), chunks=(1, 20))
    refused(TypeError, r"validation data of dask are a pair, validation=\(X, Y\), without weights",
            validation=(X_PARTS, Y_PARTS, weights))  # fmt: skip


def test_a_metric_that_a_model_cannot_have_names_the_model():
    refused(ValueError, "metrics: f1: Sequential has no predict", model=nn.Sequential(nn.Linear(2, 1, rng=0)),
            validation=(X_PARTS, Y_PARTS), metrics=["f1"])  # fmt: skip


def test_a_task_that_fails_later_leaves_the_last_whole_step_and_the_history():
    calls = []

    def read(x):
        calls.append(1)
        if len(calls) > 3 * (1 + 4) + 1:
            raise OSError("the disk is gone")
        return x

    with dask.config.set(scheduler="synchronous"):
        model, expected = two_layers(), two_layers()
        with pytest.raises(
            RuntimeError, match="failed for good, after 4 whole steps: OSError: the disk is gone"
        ) as error:
            fit(model, X_PARTS.map_blocks(read, meta=X[:0, :0]), Y_PARTS, epochs=10)
        history = fit(expected, X_PARTS, Y_PARTS, epochs=4)
    assert error.value.history.costs == history.costs
    for p, q in zip(model.parameters(), expected.parameters(), strict=True):
        np.testing.assert_array_equal(p.data, q.data)


def test_ctrl_c_in_a_task_ends_with_the_last_whole_step():
    calls = []

    def read(x):
        calls.append(1)
        if len(calls) > 3 * (1 + 2) + 1:
            raise KeyboardInterrupt
        return x

    with dask.config.set(scheduler="synchronous"):
        model, expected = two_layers(), two_layers()
        history = fit(model, X_PARTS.map_blocks(read, meta=X[:0, :0]), Y_PARTS, epochs=10)
        fit(expected, X_PARTS, Y_PARTS, epochs=2)
    assert (history.interrupted, len(history)) == (True, 2)
    for p, q in zip(model.parameters(), expected.parameters(), strict=True):
        np.testing.assert_array_equal(p.data, q.data)
