"""Good calls of the estimators, by their settings. Of X, y and weights, scikit-learn's own checks try what is bad."""

from __future__ import annotations

import numpy as np

from tests.bad_input.calls import RNG, Place, call
from tests.bad_input.corruptions import LONG, scalars_instead
from tests.bad_input.models import count, no_functions, number
from tests.bad_input.ops import flag
from tinygrad_dls.sklearn import TinyClassifier, TinyRegressor

ROWS = RNG.uniform(-1, 1, (12, 3))
Y12 = np.arange(12) % 2


def fitted(estimator, name, value):
    settings = {"hidden": (3,), "epochs": 2, "random_state": 0, "early_stopping": name in EARLY} | {name: value}
    return estimator(**settings).fit(ROWS, Y12).predict(ROWS)


def size(x):
    return [count(n) for n in x] if type(x) in (list, tuple, np.ndarray) and np.ndim(x) else count(x)


def without_functions(good):
    return no_functions(scalars_instead(good))


def rate(x):
    if not 0 <= number(x) < np.inf:
        raise ValueError
    return number(x)


def fraction(x):
    if not 0 < number(x) < 1:
        raise ValueError
    return number(x)


EARLY = "n_iter_no_change", "validation_fraction"
SETTINGS = {
    "hidden": (3, size),
    "batch_size": (5, count),
    "n_iter_no_change": (2, count),
    "alpha": (0.1, rate),
    "learning_rate": (0.1, rate),
    "validation_fraction": (0.4, fraction),
    "early_stopping": (False, flag),
    "standardize": (False, flag),
    "warm_start": (False, flag),
}

for estimator in (TinyClassifier, TinyRegressor):
    called = f"sklearn.{estimator.__name__}"
    for name, (good, checked) in SETTINGS.items():
        instead = scalars_instead if name != "learning_rate" else without_functions  # a schedule is one
        call(called, Place(name, good, instead), names=("learning rate",),
             run=lambda x, e=estimator, n=name: fitted(e, n, x),
             reference=lambda x, e=estimator, n=name, c=checked: fitted(e, n, c(x)))  # fmt: skip
    call(called, Place("epochs", 3, lambda good: [bad for bad in scalars_instead(good) if bad.label not in LONG]),
         run=lambda x, e=estimator: fitted(e, "epochs", x),
         reference=lambda x, e=estimator: fitted(e, "epochs", count(x)))  # fmt: skip
