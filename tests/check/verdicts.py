"""How often a verdict of diagnose is false: ``python -m tests.check.verdicts`` counts, the tests look at a share of it.

Random arrays stand in the place of each gradient, at ten models and two states, where no cause may be named. Right
gradients, of twenty models at every state, cost, convention and dtype, with a penalty and with dropout, may not be
called wrong. And arrays that are off by a little may not be called right.
"""

import itertools
import sys
from collections import Counter

import numpy as np

from tests.check.backprops import Case, cache, gradients
from tinygrad_dls.check import diagnose

NETS = [  # sizes, hidden activations, loss
    ((3, 1), (), "binary"), ((12, 1), (), "binary"), ((3, 1), (), "squares"), ((4, 3), (), "softmax"),
    ((2, 4, 1), ("tanh",), "binary"), ((4, 5, 1), ("relu",), "binary"), ((3, 4, 1), ("sigmoid",), "binary"),
    ((2, 1, 1), ("tanh",), "binary"), ((1, 3, 1), ("relu",), "binary"), ((3, 3, 1), ("tanh",), "binary"),
    ((2, 4, 3), ("tanh",), "softmax"), ((5, 6, 4), ("relu",), "softmax"), ((3, 4, 2), ("tanh",), "squares"),
    ((2, 6, 1), ("relu",), "squares"), ((3, 3, 3, 1), ("relu", "tanh"), "binary"),
    ((6, 5, 4, 1), ("relu", "relu"), "binary"), ((5, 6, 4, 3), ("relu", "sigmoid"), "softmax"),
    ((3, 4, 4, 2), ("tanh", "tanh"), "squares"), ((6, 5, 4, 3, 1), ("relu",) * 3, "binary"),
    ((4, 4, 4, 4, 3), ("tanh",) * 3, "softmax"),
]  # fmt: skip
TEN = [NETS[k] for k in (0, 2, 3, 4, 5, 7, 11, 12, 14, 18)]


def random_arrays(draws, seed=0):
    """Diagnoses with a random array in one place; which place, and what was given beside it."""
    rng = np.random.default_rng(seed)
    for k, (net, state) in enumerate(itertools.product(TEN, ("first", "trained"))):
        case = Case(*net, m=50, seed=k, state=state)
        model, X, Y, _, kw = case.build()
        right = gradients(case.backprop(model, X, Y, {}))
        for name, draw in itertools.product(right, range(draws)):
            own = max(np.linalg.norm(right[name]) / right[name].size ** 0.5, 1e-6)
            size = (0.1, 1.0, own)[draw % 3]
            x = size * rng.standard_normal(right[name].shape)
            x = x.astype(np.float32) if draw % 5 == 4 else x
            given = {name: x} if draw % 2 else right | {name: x}
            yield name, diagnose(model, X, Y, given, **kw)


def right_gradients(share=1.0, seed=0):
    """Diagnoses of right gradients, with the cache and without."""
    rng = np.random.default_rng(seed)
    states, dtypes = ("first", "trained", "zeros", "large", "small"), (np.float64, np.float32)
    for net, state, m, course, dtype, lambd, keep_prob in itertools.product(
        NETS, states, (2, 50, 300), (True, False), dtypes, (0.0, 0.7), (1.0, 0.8)
    ):
        if (keep_prob < 1 and len(net[0]) == 2) or rng.random() >= share:
            continue
        seed = int(rng.integers(1_000))
        case = Case(*net, m, seed, state, lambd, keep_prob, course, dtype)
        model, X, Y, masks, kw = case.build()
        with np.errstate(all="ignore"):  # of probabilities of 0 and 1
            s = case.backprop(model, X, Y, masks)
            yield case, diagnose(model, X, Y, gradients(s), cache=cache(s), **kw)
            parameters = {name: x for name, x in gradients(s).items() if name[:2] in ("dW", "db")}
            yield case, diagnose(model, X, Y, parameters, **kw)


def off_by(factors, seed=0):
    """Diagnoses with one array off by a factor, alone and among the right ones, at models in every state."""
    for k, (net, state) in enumerate(itertools.product(TEN, ("first", "trained", "small"))):
        case = Case(*net, m=100, seed=k + seed, state=state)
        model, X, Y, _, kw = case.build()
        right = gradients(case.backprop(model, X, Y, {}))
        for name, factor in itertools.product(right, factors):
            if np.linalg.norm(right[name]) < 1e-9:  # nothing but rounding
                continue
            for given in ({name: factor * right[name]}, right | {name: factor * right[name]}):
                yield name, diagnose(model, X, Y, given, **kw)


def named(name, result):
    """The causes that a diagnosis names."""
    return [(f.name, title) for f in result.findings if f.verdict == "wrong" for title in f.causes]


def finding(name, result):
    return next(f for f in result.findings if f.name == name)


def main(draws, share):
    counts = Counter()
    for name, result in random_arrays(draws):
        counts["random arrays"] += 1
        counts["random arrays with a cause"] += bool(named(name, result))
        counts["random arrays not called wrong"] += finding(name, result).verdict != "wrong"
        counts["right arrays beside them called wrong"] += any(
            f.verdict == "wrong" for f in result.findings if f.name != name
        )
    for case, result in right_gradients(share):
        counts["right arrays"] += len(result.findings)
        for f in result.findings:
            counts["right arrays called wrong"] += f.verdict in ("wrong", "follows")
            counts["right arrays of which float32 does not tell"] += f.verdict == "unsettled"
            if f.verdict in ("wrong", "follows"):
                print(case, f.name, f.text)
    for name, result in off_by((1.06, 0.94, 1.01, 0.99)):
        counts["arrays off by 1 or 6 %"] += 1
        counts["arrays off by 1 or 6 % called right"] += finding(name, result).verdict == "right"
    for what, count in counts.items():
        print(f"{count:7,} {what}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 30, float(sys.argv[2]) if len(sys.argv) > 2 else 1.0)
