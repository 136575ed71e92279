"""Data in chunks, and what is trained on them and on NumPy arrays alike."""

import dask.array as da
import numpy as np

import tinygrad_dls as tg
from tinygrad_dls import nn

LOSS = tg.binary_cross_entropy_with_logits


def in_chunks(*arrays, chunks):
    """Arrays in so many chunks of columns, as even as can be."""
    size = -(-arrays[0].shape[1] // chunks)
    return [da.from_array(x, chunks=(-1, size)) for x in arrays]


def logistic_regression(**options):
    return nn.LogisticRegression(2, **options)


def two_layers(**options):
    return nn.TwoLayerNetwork(2, 4, rng=3, init=tg.init.xavier, **options)


def five_layers(**options):
    rng = np.random.default_rng(0)
    layers = []
    for n_in, n_out in ((2, 8), (8, 8), (8, 6), (6, 4)):
        layers += [nn.Linear(n_in, n_out, rng=rng, **options), nn.Tanh()]
    return nn.Classifier(*layers, nn.Linear(4, 1, rng=rng, **options))


def fit(model, X, Y, epochs=5, lr=0.3, loss=LOSS, optimizer=tg.optim.SGD, **options):
    return tg.fit(model, X, Y, loss=loss, optimizer=optimizer(model.parameters(), lr=lr), epochs=epochs, **options)


def assert_same(model, other, rtol=1e-12):
    """Two models have the same parameters, to a tolerance relative to the largest entry of each; and NumPy arrays."""
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        assert type(p.data) is np.ndarray
        assert p.data.dtype == q.data.dtype
        np.testing.assert_allclose(p.data, q.data, rtol=0, atol=rtol * np.abs(q.data).max())
