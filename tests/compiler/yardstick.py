"""How far off a step may be: what its own operations, disturbed by a rounding each, may differ by."""

import numpy as np
from hypothesis import strategies as st

import tinygrad_dls as tg
from tests.compiler.lines import Line, executed, plain, rate_of
from tests.compiler.steps import eager

WIDER = {"float32": np.dtype(float), "float64": np.dtype(np.longdouble)}
RUNS = 3  # disturbed ones
# An operand is disturbed by at most one eps, by half of that on average, and the worst of three runs stands for all. In
# 2,400 random steps, the largest error of their 20,000 arrays was half of what 16 allows.
DISTURBANCES = 16


class Wide:
    """What the lines of a reference call: operands are disturbed at random, and the kinks looked at."""

    def __init__(self, dtype, disturbance, seed):
        self.dtype, self.disturbance, self.rng = dtype, disturbance, np.random.default_rng(seed)
        self.names = {"rounded": self.rounded, "kink": self.kink}
        self.forget()

    def forget(self):
        self.kinks, self.largest = [], 0.0

    def rounded(self, x):
        self.largest = max(self.largest, np.abs(plain(x)).max())
        if not self.disturbance:
            return x
        return x * (1 + self.disturbance * self.rng.uniform(-1, 1, x.shape)).astype(self.dtype)

    def kink(self, x):
        self.kinks.append(np.array(plain(x)))


def references(dtype):
    """One that gives the truth, and the disturbed ones."""
    eps = np.finfo(dtype).eps
    return [Wide(WIDER[dtype], eps if seed else 0.0, seed) for seed in range(RUNS + 1)]


def can_be_compared(wides):
    """Whether numbers stay moderate, and no kink is so near that a rounding might cross it.

    The results may be off by 16 disturbances; what lies twice as far from a kink is on the same side in all of them.
    """
    truth, *disturbed = wides
    if not truth.largest < 1e3:
        return False
    for i, kink in enumerate(truth.kinks):
        moved = [np.abs(wide.kinks[i] - kink).max(initial=0) for wide in disturbed]
        if not np.abs(kink).min(initial=np.inf) > 2 * DISTURBANCES * max(moved):
            return False
    return True


def off_by(x, truth, disturbed, eager, dtype, tiles=1, before=0.0):
    """The largest error, as a share of what it may be.

    That is four times the error of the eager computation, 16 times what the disturbances change, and a few roundings of
    the result: one for each tile, half of eps, as these are added up one after the other. An update is rounded before
    it is taken from what was there, whose largest entry is `before`; where little is left, that is the larger of the
    two.
    """
    kind = np.finfo(dtype)
    changed = max(np.abs(other - truth).max(initial=0) for other in disturbed)
    allowed = 4 * np.abs(eager - truth).max(initial=0) + DISTURBANCES * changed
    allowed += (4 + tiles / 2) * kind.eps * max(np.abs(truth).max(initial=0), before) + 100 * kind.tiny
    return float(np.abs(x - truth).max(initial=0) / allowed)


class Twin:
    """A model with its loss, optimizer and step; all that a step may change can be read and set."""

    def __init__(self, program, optimizer, dtype, step=eager, wide=None):
        self.dtype = np.dtype(dtype)
        source = program.source(Line.reference if wide else Line.plain)
        names = executed(source, **(wide.names if wide else {}))
        self.model = names["Model"](program.values, self.dtype)
        self.make_loss, self.make_step = names["make_loss"], step
        kind, options = optimizer
        self.optimizer = kind(self.model.parameters(), **{**options, "lr": rate_of(options["lr"])})
        self.prepare()

    def prepare(self):
        self.loss = self.make_loss(self.model)
        self.step = self.make_step(self.model, self.loss, self.optimizer)

    def __call__(self, X, Y):
        """A step with data in this twin's precision: the cost, and all that the step leaves behind, by name."""
        X, Y = (np.asarray(x, self.dtype) if x.dtype == float else x for x in (X, Y))
        before = X.copy(), Y.copy()
        J = self.step(X, Y)
        assert all((x == then).all() for x, then in zip((X, Y), before, strict=True))
        gradients = {f"d{p.name}": p.grad for p in self.model.parameters() if p.grad is not None}
        return {"J": np.asarray(J), **self.arrays(), **gradients}

    def arrays(self):
        state = self.optimizer.state_dict()
        found = {**self.model.state_dict(), "steps": np.asarray(state["steps"])}
        for p, arrays in zip(self.optimizer.parameters, state["state"], strict=True):
            found |= {f"state {i} of {p.name}": x for i, x in enumerate(arrays)}
            if len(arrays) == 3:  # Adam's: the second moment is a square, and so would be what it may be off by
                found[f"state 1 of {p.name}"] = np.sqrt(arrays[1])
        return found

    def take(self, other):
        """Stand where another twin stands."""
        for p, value in zip(self.model.parameters(), other.model.state_dict().values(), strict=True):
            p.data = value.astype(self.dtype)
        state = other.optimizer.state_dict()
        floats = [tuple(x.astype(self.dtype) if x.dtype.kind == "f" else x for x in s) for s in state["state"]]
        self.optimizer.load_state_dict({**state, "state": floats})


class Yardstick:
    """The eager step, the truth and the disturbed runs, to compare a compiled step with."""

    def __init__(self, program, optimizer, dtype, twin=Twin):
        self.wides = references(dtype)
        self.eager = twin(program, optimizer, dtype)
        self.references = [twin(program, optimizer, wide.dtype, wide=wide) for wide in self.wides]
        self.twins = [*self.references, self.eager]

    def take(self, other):
        for twin in self.twins:
            twin.take(other)

    def step(self, X, Y):
        """Take the step; whether what others make of it can be compared."""
        try:
            with np.errstate(all="ignore"):  # that the numbers are moderate is looked at now
                self.truth, *self.disturbed = [twin(X, Y) for twin in self.references]
            comparable = can_be_compared(self.wides)
        finally:
            for wide in self.wides:
                wide.forget()
        if comparable:
            self.before = {name: np.abs(x).max(initial=0) for name, x in self.eager.arrays().items()}
            self.plain = self.eager(X, Y)
        return comparable

    def assert_as_exact(self, results, gradients=True, tiles=1):
        expected = {name for name in self.plain if gradients or not name.startswith("d")}
        assert results.keys() == expected
        for name, x in results.items():
            eager = self.plain[name]
            assert x.shape == eager.shape, name
            assert x.dtype == eager.dtype or name == "J", name
            disturbed = [other[name] for other in self.disturbed]
            before = self.before.get(name, 0.0)
            share = off_by(x, self.truth[name], disturbed, eager, self.eager.dtype, tiles, before)
            assert share <= 1, f"{name} is off by {share:.3g} times what it may be"


def compiled(**options):
    return lambda model, loss, optimizer: tg.compile(model, loss, optimizer, **options)


@st.composite
def tiles(draw, m):
    return draw(st.sampled_from([None, 1, 7, 64, max(1, m - 1), m, m + 1]))
