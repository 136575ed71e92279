"""Training in chunks is training on NumPy arrays: the same parameters, history, validation, callbacks and weights."""

import functools
import gc
import tracemalloc
import weakref

import dask
import dask.array as da
import numpy as np
import pytest

import tinygrad_dls as tg
from tests.training.chunks.chunked import (
    LOSS,
    assert_same,
    fit,
    five_layers,
    in_chunks,
    logistic_regression,
    two_layers,
)
from tinygrad_dls import nn
from tinygrad_dls.training.chunks import fitting, running

MODELS = pytest.mark.parametrize("make", [logistic_regression, two_layers, five_layers])
EAGER_AND_COMPILED = pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])


@MODELS
@EAGER_AND_COMPILED
@pytest.mark.parametrize("chunks", [1, 2, 3, 7])
def test_fifty_epochs_in_chunks_are_fifty_epochs_on_numpy_arrays(flower, make, compiled, chunks):
    expected, model = make(), make()
    history = fit(expected, *flower, epochs=50)
    in_parts = fit(model, *in_chunks(*flower, chunks=chunks), epochs=50, compile=compiled)
    np.testing.assert_allclose(in_parts.costs, history.costs, rtol=1e-12)
    assert_same(model, expected)


@pytest.mark.parametrize("optimizer", [
    functools.partial(tg.optim.SGD, momentum=0.9, weight_decay=0.01), tg.optim.Adam,
    functools.partial(tg.optim.RMSprop, clip_norm=0.1),
])  # fmt: skip
def test_the_optimizer_stays_here_whatever_its_state(flower, optimizer):
    expected, model = two_layers(), two_layers()
    fit(expected, *flower, lr=0.01, optimizer=optimizer)
    fit(model, *in_chunks(*flower, chunks=3), lr=0.01, optimizer=optimizer)
    assert_same(model, expected, rtol=1e-9)  # a quotient of moments that are nearly 0 magnifies rounding


@pytest.mark.parametrize(("dtype", "rtol"), [(np.float32, 1e-5), (np.float16, 3e-2)])
def test_single_and_half_precision_stay_what_they_are(flower, dtype, rtol):
    expected, model = two_layers(dtype=dtype), two_layers(dtype=dtype)
    fit(expected, *flower)
    fit(model, *in_chunks(*flower, chunks=3))
    assert_same(model, expected, rtol)


def test_the_result_does_not_depend_on_who_runs_the_tasks(flower):
    results = []
    for scheduler in ("synchronous", "threads"):
        model = two_layers()
        with dask.config.set(scheduler=scheduler):
            fit(model, *in_chunks(*flower, chunks=7))
        results.append(model)
    assert_same(*results, rtol=0)


def test_many_chunks_are_summed_in_groups(flower):
    expected, model = two_layers(), two_layers()
    fit(expected, *flower)
    fit(model, *in_chunks(*flower, chunks=100))
    assert_same(model, expected)
    graph = {}
    key = fitting._summed(graph, list(range(2000)), "sum")
    assert max(len(group) for _, group in graph.values()) == fitting.GROUP
    assert len(graph) == 63 + 2 + 1
    assert graph[key][1] == [("sum", 1, 0), ("sum", 1, 1)]


def test_labels_may_be_a_numpy_array_or_in_other_chunks(flower):
    X, Y = flower
    dX, _ = in_chunks(X, Y, chunks=3)
    results = []
    for labels in (Y, da.from_array(Y, chunks=(1, 70)), tg.Tensor(Y)):
        model = two_layers()
        fit(model, dX, labels)
        results.append(model)
    assert_same(results[0], results[1], rtol=0)
    assert_same(results[0], results[2], rtol=0)


def test_chunks_that_cut_examples_are_brought_together_with_a_word(flower):
    X, Y = flower
    expected, model = two_layers(), two_layers()
    fit(expected, X, Y)
    cut = da.from_array(X, chunks=(1, 100))
    text = r"fit: X is in chunks of \(1, 100\), which cut its columns, .* Write X = X.rechunk\(\{0: -1\}\)"
    with pytest.warns(UserWarning, match=text):
        fit(model, cut, Y)
    assert_same(model, expected)


def test_empty_chunks_are_passed_over(flower):
    X, Y = flower
    expected, model = two_layers(), two_layers()
    fit(expected, X, Y)
    parts = [da.from_array(x, chunks=x.shape) for x in (X[:, :150], X[:, :0], X[:, 150:])]
    fit(model, da.concatenate(parts, axis=1), Y)
    assert_same(model, expected)


def test_integers_and_lazy_preparation_train(flower):
    X, Y = flower
    expected, model = two_layers(), two_layers()
    fit(expected, (X - X.mean(axis=1, keepdims=True)) / X.std(axis=1, keepdims=True), Y)
    dX, dY = in_chunks(X, Y, chunks=4)
    fit(model, (dX - dX.mean(axis=1, keepdims=True)) / dX.std(axis=1, keepdims=True), dY.astype(int))
    assert_same(model, expected)


def test_what_all_chunks_depend_on_is_computed_once(flower):
    X, Y = flower
    reads = []

    def read(x):
        reads.append(x.shape)
        return x

    dX = in_chunks(X, chunks=4)[0].map_blocks(read, meta=X[:0, :0])
    with dask.config.set(scheduler="synchronous"):
        fit(two_layers(), dX - dX.mean(axis=1, keepdims=True), Y, epochs=10)
    assert len(reads) == 4 + 4 * (1 + 10)  # for the means, to look at them, and an epoch each


@EAGER_AND_COMPILED
def test_no_chunk_is_held_when_the_next_one_is_read(flower, compiled):
    X, Y = flower
    read, alive = [], []

    def reading(x):
        alive.append(sum(reference() is not None for reference in read))
        x = x.copy()
        read.append(weakref.ref(x))
        return x

    dX = in_chunks(X, chunks=10)[0].map_blocks(reading, meta=X[:0, :0])
    with dask.config.set(scheduler="synchronous"):
        fit(two_layers(), dX, Y, epochs=3, compile=compiled)
    assert len(read) == 10 * (1 + 3)
    assert max(alive) == 0


@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
def test_a_step_is_the_same_graph_whatever_came_before(flower, scheduler, monkeypatch):
    sizes = []

    def run(self, graph, keys, run=running.Here.run):
        sizes.append(len(graph))
        return run(self, graph, keys)

    monkeypatch.setattr(running.Here, "run", run)
    with dask.config.set(scheduler=scheduler):
        fit(two_layers(), *in_chunks(*flower, chunks=3), epochs=20)
    assert sizes[-20:] == [3 + 3 + 3] * 20  # chunks and where they come from; the model, its state, and the sum


def test_memory_is_flat_over_a_thousand_steps(flower):
    X, Y = (x[:, :40] for x in flower)
    used = []

    def note(now):
        if now.epoch in (200, 999):
            gc.collect()
            used.append(tracemalloc.get_traced_memory()[0])

    tracemalloc.start()
    try:
        with dask.config.set(scheduler="synchronous"):
            fit(two_layers(), *in_chunks(X, Y, chunks=2), epochs=1000, callbacks=[note])
    finally:
        tracemalloc.stop()
    assert used[1] - used[0] < 200_000  # a history of 800 costs, and what Python caches; the data are 960 bytes


# -- mini-batches -----------------------------------------------------------------------------------------------------


def test_a_mini_batch_is_of_whole_chunks_in_an_order_that_rng_draws(flower):
    X, Y = flower
    dX, dY = in_chunks(X, Y, chunks=8)
    model, expected = two_layers(), two_layers()
    history = fit(model, dX, dY, epochs=3, batch_size=100, rng=5)
    optimizer, rng, costs = tg.optim.SGD(expected.parameters(), lr=0.3), np.random.default_rng(5), []
    for _ in range(3):
        order = rng.permutation(8)
        steps = []
        for pair in order.reshape(4, 2):
            columns = np.concatenate([np.arange(50 * i, 50 * i + 50) for i in sorted(pair)])
            steps.append(tg.optim.eager_step(expected, LOSS, optimizer, X[:, columns], Y[:, columns]))
        costs.append(np.mean(steps))
    np.testing.assert_allclose(history.costs, costs, rtol=1e-12)
    assert_same(model, expected)


def test_the_last_batch_may_be_smaller_and_counts_less(flower):
    X, Y = (x[:, :130] for x in flower)
    dX, dY = (da.from_array(x, chunks=(-1, 40)) for x in (X, Y))  # 40, 40, 40, 10
    history = fit(two_layers(), dX, dY, epochs=1, lr=0, batch_size=80, rng=0)
    assert history.costs[0] == pytest.approx(fit(two_layers(), X, Y, epochs=1, lr=0).costs[0], rel=1e-12)


def test_a_batch_of_more_than_all_columns_is_the_full_batch(flower):
    full, batch = two_layers(), two_layers()
    data = in_chunks(*flower, chunks=3)
    fit(full, *data)
    fit(batch, *data, batch_size=1000, rng=0)
    assert_same(batch, full, rtol=0)


def test_a_batch_that_cuts_chunks_is_refused(flower):
    text = r"batch_size is 120, and the chunks have 50 columns; .* Write batch_size=100, or X = X.rechunk\(\{1: 120\}\)"
    with pytest.raises(ValueError, match=text):
        fit(two_layers(), *in_chunks(*flower, chunks=8), batch_size=120, rng=0)
    with pytest.raises(TypeError, match="rng"):
        fit(two_layers(), *in_chunks(*flower, chunks=8), batch_size=100)


# -- weights and labels -----------------------------------------------------------------------------------------------

RNG = np.random.default_rng(2)
X3 = RNG.standard_normal((2, 60))
CLASSES = (X3[:1] > 0).astype(int) + (X3[1:] > 0.5)
W = RNG.uniform(0, 2, (1, 60)) * (np.arange(60) >= 20)  # the first third counts nothing
KINDS = {
    "binary": (1, LOSS, (CLASSES > 0).astype(float)),
    "class indices": (3, tg.softmax_cross_entropy, CLASSES),
    "one-hot": (3, tg.softmax_cross_entropy, np.eye(3)[:, CLASSES[0]]),
    "numbers": (2, tg.mean_squared_error, RNG.standard_normal((2, 60))),
    "several labels": (2, LOSS, RNG.integers(0, 2, (2, 60))),
}
EACH = pytest.mark.parametrize(("rows", "loss", "Y"), KINDS.values(), ids=KINDS)


def both(rows, loss, Y, chunked=(), **options):
    """Histories and models of training on NumPy arrays and in chunks."""
    found = []
    for parts in (None, 3):
        model = nn.Classifier(nn.Linear(2, rows, rng=0))
        data = (X3, Y) if parts is None else in_chunks(X3, Y, chunks=parts)
        own = {name: in_chunks(options[name], chunks=parts)[0] for name in chunked} if parts else {}
        found.append((fit(model, *data, loss=loss, **options | own), model))
    (expected, by_numpy), (history, model) = found
    np.testing.assert_allclose(history.costs, expected.costs, rtol=1e-12)
    assert_same(model, by_numpy)
    assert (model.several_labels, model._sigmoids) == (by_numpy.several_labels, by_numpy._sigmoids)
    return history, expected


@EACH
@EAGER_AND_COMPILED
def test_every_kind_of_labels_trains(rows, loss, Y, compiled):
    both(rows, loss, Y, compile=compiled)


@EACH
@EAGER_AND_COMPILED
@pytest.mark.parametrize("chunked", [(), ("sample_weight",)], ids=["numpy", "dask"])
def test_weights_of_examples_are_those_of_all_chunks_together(rows, loss, Y, compiled, chunked):
    both(rows, loss, Y, chunked, sample_weight=W, compile=compiled)


@pytest.mark.parametrize("class_weight", ["balanced", {0: 1, 1: 5, 2: 0.5}])
@pytest.mark.parametrize("kind", ["class indices", "one-hot"])
@pytest.mark.parametrize("sample_weight", [None, W], ids=["alone", "with weights of examples"])
def test_weights_of_classes_count_the_classes_of_all_chunks(kind, class_weight, sample_weight):
    both(*KINDS[kind], class_weight=class_weight, sample_weight=sample_weight)


@pytest.mark.parametrize("kind", ["binary", "class indices", "one-hot", "several labels"])
def test_labels_are_smoothed_where_the_chunks_are(kind):
    both(*KINDS[kind], label_smoothing=0.2)


@pytest.mark.parametrize(("weights", "text"), [
    (np.ones((1, 59)), r"sample_weight is \(1, 59\); expected \(1, 60\)"),
    (-np.ones((1, 60)), "in a chunk, sample_weight holds 20 weights below 0 among its 20"),
    (np.zeros((1, 60)), "sample_weight is zero for all examples"),
    (np.full((1, 60), 5e-324), "sample_weight sums to 3e-322, and float64 does not divide by so little"),
])  # fmt: skip
def test_weights_are_checked(weights, text):
    with pytest.raises(ValueError, match=f"fit: {text}"):
        fit(logistic_regression(), *in_chunks(X3, KINDS["binary"][2], chunks=3), sample_weight=weights)


def test_weights_of_classes_are_checked_for_all_chunks():
    dX, dY = in_chunks(X3, CLASSES, chunks=3)
    with pytest.raises(ValueError, match="class_weight has no weight for class 2, of 0, 1, 2"):
        fit(nn.Classifier(nn.Linear(2, 3, rng=0)), dX, dY, loss=tg.softmax_cross_entropy, class_weight={0: 1, 1: 1})


def test_a_loss_that_takes_no_weights_is_refused(flower):
    def plain(Z, Y):
        return LOSS(Z, Y)

    with pytest.raises(TypeError, match="the loss plain takes no sample_weight"):
        fit(logistic_regression(), *in_chunks(*flower, chunks=3), loss=plain, class_weight="balanced")


# -- validation, metrics, callbacks -----------------------------------------------------------------------------------


@EACH
@pytest.mark.parametrize("chunked", [False, True], ids=["numpy", "dask"])
def test_validation_has_the_figures_that_it_has_for_numpy_arrays(rows, loss, Y, chunked):
    held = X3[:, ::2], Y[:, ::2]
    expected, by_numpy = nn.Classifier(nn.Linear(2, rows, rng=0)), nn.Classifier(nn.Linear(2, rows, rng=0))
    names = {"numbers": ["r2"], "several labels": ["f1_macro", "auc_macro"]}
    kind = next(name for name, case in KINDS.items() if case[2] is Y)
    metrics = names.get(kind, ["f1", "auc"] if rows == 1 else ["f1_macro", "auc_ovr"])
    history = fit(expected, X3, Y, loss=loss, validation=held, metrics=metrics)
    in_parts = fit(by_numpy, *in_chunks(X3, Y, chunks=3), loss=loss, metrics=metrics,
                   validation=tuple(in_chunks(*held, chunks=2)) if chunked else held)  # fmt: skip
    assert in_parts.columns.keys() == history.columns.keys()
    for name, column in history.columns.items():
        np.testing.assert_allclose(in_parts[name], column, rtol=1e-12, err_msg=name)


def test_validation_data_here_may_have_weights(flower):
    held = (*flower, np.linspace(0, 1, 400)[None])
    expected = fit(two_layers(), *flower, validation=held)
    history = fit(two_layers(), *in_chunks(*flower, chunks=3), validation=held)
    np.testing.assert_allclose(history.validation_costs, expected.validation_costs, rtol=1e-12)


def test_validation_passes_over_its_data_once_an_epoch(flower):
    X, Y = flower
    reads = []

    def read(x):
        reads.append(x.shape[1])
        return x

    held = in_chunks(X, chunks=2)[0].map_blocks(read, meta=X[:0, :0]), Y
    with dask.config.set(scheduler="synchronous"):
        fit(two_layers(), *in_chunks(X, Y, chunks=2), epochs=6, validation=held, metrics=["f1", "auc"])
    before = 2 * 5  # the look, the labels, and each figure as it is asked for first
    assert len(reads) <= before + 2 * 6


def test_callbacks_see_what_they_see_and_stop_what_they_stop(flower):
    seen, stops = [], []
    for data in (flower, in_chunks(*flower, chunks=3)):
        model, stop = two_layers(), tg.EarlyStopping(3, monitor="validation_cost")
        costs = []
        history = fit(
            model,
            *data,
            epochs=400,
            lr=20,
            validation=flower,
            callbacks=[lambda now, c=costs: c.append(now.cost), stop],
        )
        assert len(history) == len(costs)
        seen.append((model, len(history)))
        stops.append((stop.stopped, stop.best_epoch))
    assert stops[0] == stops[1]
    assert seen[0][1] == seen[1][1] < 400


def test_what_a_callback_changes_is_trained_with(flower):
    def change(now):
        if now.epoch == 2:
            now.model.layers[0].W.requires_grad = False
        if now.epoch == 3:
            now.model.scale.factor = 0.5

    class Scale(nn.Module):
        def __init__(self):
            self.factor = 1.0

        def __call__(self, a):
            return a * self.factor

    found = []
    for data in (flower, in_chunks(*flower, chunks=3)):
        scale = Scale()
        model = nn.Classifier(nn.Linear(2, 3, rng=0), scale, nn.Tanh(), nn.Linear(3, 1, rng=1))
        object.__setattr__(model, "scale", scale)
        fit(model, *data, epochs=6, callbacks=[change])
        found.append(model)
    assert_same(found[1], found[0])


def test_frozen_parameters_stay_as_they_are(flower):
    found = []
    for data in (flower, in_chunks(*flower, chunks=3)):
        model = two_layers()
        model.parameters()[0].requires_grad = False
        fit(model, *data)
        found.append(model)
    assert_same(found[1], found[0])
    np.testing.assert_array_equal(found[1].parameters()[0].data, two_layers().parameters()[0].data)


def test_an_exploding_cost_ends_as_it_does_for_numpy_arrays(flower):
    with pytest.raises(FloatingPointError, match=r"the cost is .* at epoch") as error:
        fit(nn.Sequential(nn.Linear(2, 1, rng=0)), *in_chunks(*flower, chunks=3), loss=tg.mean_squared_error, lr=1e200)
    assert len(error.value.history) > 0


def test_ops_and_losses_of_ones_own_go_along(flower):
    @tg.op()
    def cube(a):
        return a**3, (lambda da: 3 * da * a * a,)

    @tg.op(np.i0)
    def bessel(a):
        return np.i0(a), (lambda da: da * a / 2,)  # near 0

    @tg.fused_loss(lambda Z, Y: tg.mean_squared_error(np.tanh(Z), Y))
    def squared_error_of_tanh(z, y):
        a = np.tanh(z)
        m = z.shape[1]
        return np.sum((a - y) ** 2) / m, (
            lambda dj: dj * 2 * (a - y) * (1 - a * a) / m,
            lambda dj: dj * 2 * (y - a) / m,
        )

    found = []
    for data in (flower, in_chunks(*flower, chunks=3)):
        model = nn.Classifier(nn.Linear(2, 3, rng=0), cube, nn.Linear(3, 3, rng=1), np.i0, nn.Linear(3, 1, rng=2))
        fit(model, *data, loss=squared_error_of_tanh, lr=0.001)
        found.append(model)
    tg.engine.tensor.implementations.pop(np.i0)
    assert_same(found[1], found[0])


# -- dropout, batch normalisation, penalties --------------------------------------------------------------------------


def with_dropout(rng=7):
    return nn.Classifier(nn.Linear(2, 16, rng=0), nn.Tanh(), nn.Dropout(0.5, rng=rng), nn.Linear(16, 1, rng=1))


def test_masks_of_dropout_are_drawn_for_each_chunk_and_step_whoever_runs_it(flower):
    found = []
    for scheduler in ("synchronous", "threads"):
        model = with_dropout()
        with dask.config.set(scheduler=scheduler):
            fit(model, *in_chunks(*flower, chunks=7))
        found.append(model)
    assert_same(*found, rtol=0)
    other = with_dropout(rng=8)
    fit(other, *in_chunks(*flower, chunks=7))
    assert not np.array_equal(other.parameters()[0].data, found[0].parameters()[0].data)


def test_training_goes_on_from_where_the_generator_is(flower):
    data = in_chunks(*flower, chunks=3)
    whole, halves = with_dropout(), with_dropout()
    fit(whole, *data, epochs=6)
    fit(halves, *data, epochs=3)
    fit(halves, *data, epochs=3)
    assert_same(halves, whole, rtol=0)


def with_batch_norm():
    return nn.Classifier(nn.Linear(2, 4, rng=0), nn.BatchNorm(4), nn.Tanh(), nn.Linear(4, 1, rng=1))


def test_batch_normalisation_is_refused_where_a_step_is_of_several_chunks(flower):
    model = with_batch_norm()
    before = model.state_dict()
    text = r"layer1 \(BatchNorm 4\) takes mean and variance over all examples of a step, .* batch_size=134, rng=0"
    with pytest.raises(ValueError, match=text):
        fit(model, *in_chunks(*flower, chunks=3))
    for name, x in model.state_dict().items():
        np.testing.assert_array_equal(x, before[name])


@EAGER_AND_COMPILED
def test_batch_normalisation_trains_where_each_step_is_of_one_chunk(flower, compiled):
    X, Y = flower
    model, expected = with_batch_norm(), with_batch_norm()
    fit(model, *in_chunks(X, Y, chunks=4), epochs=3, batch_size=100, rng=5, compile=compiled)
    optimizer, rng = tg.optim.SGD(expected.parameters(), lr=0.3), np.random.default_rng(5)
    for _ in range(3):
        for i in rng.permutation(4):
            columns = slice(100 * i, 100 * i + 100)
            tg.optim.eager_step(expected, LOSS, optimizer, X[:, columns], Y[:, columns])
    for name, x in expected.state_dict().items():
        np.testing.assert_allclose(model.state_dict()[name], x, rtol=1e-9, atol=1e-12, err_msg=name)  # b1 is rounding


def test_a_standardizer_goes_along(flower):
    found = []
    for data in (flower, in_chunks(*flower, chunks=3)):
        model = nn.Sequential(nn.Standardizer.of(flower[0]), nn.Linear(2, 1, rng=0))
        fit(model, *data)
        found.append(model)
    assert_same(found[1], found[0], rtol=1e-10)  # b is nearly 0


@pytest.mark.parametrize("biases", [False, True])
def test_an_l2_penalty_in_the_loss_is_added_once(flower, biases):
    found = []
    for data in (flower, in_chunks(*flower, chunks=7)):
        model = two_layers()
        history = fit(model, *data, loss=lambda Z, Y, m=model: LOSS(Z, Y) + tg.l2(m, 30.0, Y.shape[1], biases=biases))
        found.append((history.costs, model))
    np.testing.assert_allclose(found[1][0], found[0][0], rtol=1e-12)
    assert_same(found[1][1], found[0][1])


def test_a_penalty_over_a_number_that_is_said_is_added_once_too(flower):
    found = []
    for data in (flower, in_chunks(*flower, chunks=4)):  # of 100 columns, the number that is said
        model = two_layers()
        fit(model, *data, loss=lambda Z, Y, m=model: LOSS(Z, Y) + tg.l2(m, 30.0, 100), compile=len(found) == 1)
        found.append(model)
    assert_same(found[1], found[0])


def test_a_penalty_that_follows_the_examples_is_refused_where_steps_are_compiled(flower):
    model = logistic_regression()
    with pytest.raises(
        ValueError, match=r"with compile=, an L2 penalty .* once for each chunk.*weight_decay=lambd / m"
    ):
        fit(
            model,
            *in_chunks(*flower, chunks=4),
            compile=True,
            loss=lambda Z, Y: LOSS(Z, Y) + tg.l2(model, 1, Y.shape[1]),
        )
