"""Threads: eight trainings at once give, bit for bit, what each gives alone."""

import sys
import threading

import numpy as np
import pytest

import tinygrad_dls as tg

N = 8


def training(k):
    """One of eight trainings, of another model, loss, dtype and optimizer each; returns all that it computed."""
    rng = np.random.default_rng(k)
    dtype = [np.float64, np.float32][k % 2]
    activation = [tg.nn.Tanh(), tg.nn.Sigmoid(), tg.nn.ReLU(), np.sin][k % 4]
    n_y = 3 if k % 3 == 0 else 1
    X = rng.normal(size=(4 + k, 50)).astype(dtype)
    Y = rng.integers(0, max(2, n_y), size=(1, 50))
    model = tg.nn.TwoLayerNetwork(4 + k, 5, n_y, activation, rng=k, dtype=dtype)
    loss = tg.binary_cross_entropy_with_logits if n_y == 1 else tg.softmax_cross_entropy
    optimizer = (
        tg.optim.Adam(model.parameters(), lr=0.01)
        if k % 2
        else tg.optim.SGD(model.parameters(), lr=tg.optim.cosine_decay(0.1, steps=60), momentum=0.9)
    )
    history = tg.fit(model, X, Y, loss=loss, optimizer=optimizer, epochs=20, batch_size=16, rng=k, validation=(X, Y))
    with tg.no_grad():
        predicted = model(X)
    with tg.detect_anomaly():
        gradients = tg.grad(lambda model: loss(model(X), Y))(model)
    product = tg.hvp(lambda model: loss(model(X), Y))(model, gradients)
    arrays = [*history.costs, *history.validation_costs, predicted.data, *gradients.values(), *product.values()]
    return [np.asarray(x) for x in (*arrays, *model.state_dict().values())]


@pytest.fixture(autouse=True)
def switching_often():
    """Let threads take turns every 10 microseconds, in the middle of everything."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(usual)


@pytest.fixture(scope="module")
def alone():
    return [training(k) for k in range(N)]


def test_eight_trainings_at_once_equal_each_alone(alone):
    together, failures = [None] * N, []
    start = threading.Barrier(N)

    def run(k):
        try:
            start.wait()
            together[k] = training(k)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(k,)) for k in range(N)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    for one, other in zip(alone, together, strict=True):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)


def test_the_trainings_differ_from_each_other(alone):
    """Else the test above would compare too little."""
    costs = {float(results[0]) for results in alone}
    assert len(costs) == N


def test_eight_backward_passes_through_one_shared_model_without_its_gradients():
    """Transforms work on a copy of the model, so threads may share it."""
    rng = np.random.default_rng(0)
    model = tg.nn.TwoLayerNetwork(3, 4, rng=0)
    batches = [(rng.normal(size=(3, 40)), rng.integers(0, 2, size=(1, 40))) for _ in range(N)]

    def gradients(k):
        X, Y = batches[k]
        return tg.grad(lambda model: tg.binary_cross_entropy_with_logits(model(X), Y))(model)

    expected, got = [gradients(k) for k in range(N)], [[] for _ in range(N)]
    threads = [threading.Thread(target=lambda k=k: got[k].extend(gradients(k) for _ in range(30))) for k in range(N)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for k in range(N):
        assert len(got[k]) == 30
        for g in got[k]:
            for name in expected[k]:
                np.testing.assert_array_equal(g[name], expected[k][name])
