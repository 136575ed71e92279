"""Networks, and how they are trained."""

import tinygrad_dls as tg
from tinygrad_dls import nn

LOSS = tg.binary_cross_entropy_with_logits


def network(dtype=float):
    return nn.TwoLayerNetwork(2, 4, rng=3, init=tg.init.xavier, dtype=dtype)


def fit(model, X, Y, epochs=5, lr=1.2, **kwargs):
    optimizer = tg.optim.SGD(model.parameters(), lr=lr)
    return tg.fit(model, X, Y, loss=LOSS, optimizer=optimizer, epochs=epochs, **kwargs)
