"""What a derivation says, and its formulas run."""

import numpy as np

import tinygrad_dls as tg
from tests.support.sources import MODELS, leaves_of
from tinygrad_dls.ir import functions

X, Y = tg.datasets.planar_flower()
RNG = np.random.default_rng(0)


def labels_of(name):
    return RNG.integers(0, 3, Y.shape) if name == "three classes" else Y


def executed(derivation, J):
    """The numbers that the final formulas give, in their order."""
    leaves, data = leaves_of(J)
    m = next((leaves[name].shape[1] for name in data if leaves[name].ndim == 2), None)
    found = {"np": np, "m": m, **leaves}
    found |= {f.__name__: f for f in (functions.sigmoid, functions.softmax)}
    for name, formula in derivation.formulas.items():
        found[name] = eval(formula, found)
    return found


def derivations():
    for name, (model, loss) in MODELS.items():
        yield name, tg.derive(model, X, labels_of(name), loss=loss, values=name in ("tanh", "three classes"))
