"""diagnose_update: a right step is called right, a planted slip is named and no other, random numbers have no cause."""

from types import SimpleNamespace

import numpy as np
import pytest

import tinygrad_dls as tg
from tinygrad_dls.check import diagnose_update
from tinygrad_dls.check.slips import slips

ALPHA, BETA1, BETA2, EPSILON, DECAY, M = 0.02, 0.8, 0.95, 1e-3, 0.3, 7

OPTIMIZERS = {
    "SGD": lambda p, **k: tg.optim.SGD(p, ALPHA, **k),
    "momentum": lambda p, **k: tg.optim.SGD(p, ALPHA, momentum=BETA1, **k),
    "course": lambda p, **k: tg.optim.SGD(p, ALPHA, momentum=BETA1, dampening=BETA1, **k),
    "Nesterov": lambda p, **k: tg.optim.SGD(p, ALPHA, momentum=BETA1, nesterov=True, **k),
    "RMSprop": lambda p, **k: tg.optim.RMSprop(p, ALPHA, beta=BETA2, epsilon=EPSILON, **k),
    "Adam": lambda p, **k: tg.optim.Adam(p, ALPHA, betas=(BETA1, BETA2), epsilon=EPSILON, **k),
}
MOMENTS = {"SGD": "", "momentum": "v", "course": "v", "Nesterov": "v", "RMSprop": "s", "Adam": "vs"}


def moments_by_hand(kind, k):
    """The new v and s of a parameter, as a person writes them."""
    g = k.g + k.decay * k.w
    V = {"momentum": BETA1 * k.v + g, "Nesterov": BETA1 * k.v + g}.get(kind, BETA1 * k.v + (1 - BETA1) * g)
    return V, BETA2 * k.s + (1 - BETA2) * g**2


def by_hand(kind, k, V, S):
    """The new parameter, from its new moments."""
    g = k.g + k.decay * k.w
    if kind == "SGD":
        return k.w - ALPHA * g
    if kind in ("momentum", "course"):
        return k.w - ALPHA * V
    if kind == "Nesterov":
        return k.w - ALPHA * (g + BETA1 * V)
    if kind == "RMSprop":
        return k.w - ALPHA * g / (np.sqrt(S) + EPSILON)
    return k.w - ALPHA * V / (1 - BETA1**k.t) / (np.sqrt(S / (1 - BETA2**k.t)) + EPSILON)


class Problem:
    """A network, a gradient, and the moments of some steps before; a parameter's own are ``self["W1"].w`` and so on."""

    def __init__(self, kind, *, t=4, decay=0.0, seed=0, dtype=float, scale=1.0, shape=(3, 4, 1)):
        rng = np.random.default_rng(seed)
        self.kind, self.t = kind, t
        self.model = tg.nn.TwoLayerNetwork(*shape, rng=seed, init=tg.init.xavier, dtype=dtype)
        options = {"weight_decay": decay} if decay else {}
        self.optimizer = OPTIMIZERS[kind](self.model.parameters(), **options)
        self.places = {}
        for name, p in self.model.named_parameters():
            p.data = rng.normal(size=p.shape).astype(dtype)
            g, v = (scale * rng.normal(size=(2, *p.shape))).astype(dtype)
            s = (scale**2 * rng.uniform(0.1, 2, size=p.shape)).astype(dtype)
            k = SimpleNamespace(name=name, w=p.data.copy(), g=g, t=t, decay=decay if name[0] == "W" else 0.0)
            k.v, k.s = (v, s) if t > 1 else (np.zeros_like(g), np.zeros_like(g))
            k.V, k.S = moments_by_hand(kind, k)
            k.right = by_hand(kind, k, k.V, k.S)
            self.places[name] = k
        for k, other in zip(self.places.values(), [*[*self.places.values()][1:], self["W1"]], strict=True):
            k.next = other

    def __getitem__(self, name):
        return self.places[name]

    def dict_of(self, attribute, prefix=""):
        return {f"{prefix}{name}": getattr(k, attribute).copy() for name, k in self.places.items()}

    @property
    def state(self):
        return {kind: self.dict_of(kind, "d") for kind in MOMENTS[self.kind]} | {"t": self.t}

    def ask(self, after, **options):
        options = {"state": self.state} | options
        gradients = options.pop("gradients", self.dict_of("g", "d"))
        return diagnose_update(self.model, self.dict_of("w"), gradients, after, self.optimizer, **options)


def verdicts(result):
    return {finding.name: finding.verdict for finding in result.findings}


def causes(result):
    return {finding.name: finding.causes for finding in result.findings if finding.verdict == "wrong"}


# -- right steps ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("t", [1, 2, 50])
@pytest.mark.parametrize("decay", [0.0, DECAY])
def test_a_right_step_is_right(kind, t, decay):
    problem = Problem(kind, t=t, decay=decay)
    result = problem.ask(problem.dict_of("right"))
    assert verdicts(result) == dict.fromkeys(["W1", "b1", "W2", "b2"], "right")
    assert str(result).endswith("All of these are right.")
    with_moments = problem.ask(
        problem.dict_of("right"), state_after={kind: problem.dict_of(kind.upper(), "d") for kind in MOMENTS[kind]}
    )
    assert set(verdicts(with_moments).values()) == {"right"}
    assert len(with_moments.findings) == 4 * (1 + len(MOMENTS[kind]))


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_no_right_step_is_called_wrong(kind):
    """Of all sizes, in float64 and in float32, at the first step and later ones: 250 draws for each rule."""
    rng = np.random.default_rng(1)
    judged = 0
    for seed in range(250):
        dtype = (float, np.float32)[seed % 2]
        problem = Problem(
            kind, t=int(rng.integers(1, 30)), decay=(0.0, DECAY)[seed % 3 == 0], seed=seed, dtype=dtype,
            scale=10.0 ** rng.uniform(-9, 4), shape=(*rng.integers(1, 6, size=2), 1),
        )  # fmt: skip
        found = verdicts(problem.ask(problem.dict_of("right")))
        assert set(found.values()) <= {"right", "too small to tell"}, (seed, found)
        judged += sum(verdict == "right" for verdict in found.values())
    assert judged > 600  # of 1,000


def test_the_optimizer_itself_takes_right_steps_and_is_not_changed():
    X, Y = tg.datasets.planar_flower()
    for kind, make in OPTIMIZERS.items():
        model = tg.nn.TwoLayerNetwork(2, 4, rng=1)
        optimizer = make(model.parameters(), weight_decay=0.01)
        for _ in range(3):
            tg.binary_cross_entropy_with_logits(model(X), Y).backward()
            before, state = model.state_dict(), optimizer.state_dict()
            gradients = {f"d{name}": p.grad for name, p in model.named_parameters()}
            optimizer.step()
            saved, parameters = optimizer.state_dict(), model.state_dict()
            result = diagnose_update(model, before, gradients, model.state_dict(), optimizer, state=state)
            assert set(verdicts(result).values()) == {"right"}, kind
            assert repr(saved) == repr(optimizer.state_dict())
            assert repr(parameters) == repr(model.state_dict())
            assert all(p.grad is gradients[f"d{name}"] for name, p in model.named_parameters())
            optimizer.zero_grad()


def test_without_a_state_the_optimizers_own_is_taken():
    problem = Problem("Adam", t=1)
    assert set(verdicts(problem.ask(problem.dict_of("right"), state=None)).values()) == {"right"}
    problem.optimizer.load_state_dict(
        {"optimizer": "Adam", "steps": 3, "state": [(k.v, k.s, np.array(3)) for k in Problem("Adam").places.values()]}
    )
    later = Problem("Adam")
    assert set(verdicts(problem.ask(later.dict_of("right"), state=None)).values()) == {"right"}


def test_a_learning_rate_that_is_a_schedule_is_that_of_the_step():
    problem = Problem("SGD")
    problem.optimizer.lr = tg.optim.exponential_decay(1.0, rate=0.5)
    after = {name: k.w - 0.125 * k.g for name, k in problem.places.items()}  # the fourth step is step 3 from 0
    result = problem.ask(after)
    assert set(verdicts(result).values()) == {"right"}
    assert str(result).startswith("TwoLayerNetwork, step 4 of SGD, learning rate 0.125\n")


# -- every slip, planted ----------------------------------------------------------------------------------------------


def adam(k, V, S, first=None, second=None):
    """Adam's step from new moments, with other corrections if they are said."""
    first = 1 - BETA1**k.t if first is None else first
    second = 1 - BETA2**k.t if second is None else second
    with np.errstate(invalid="ignore"):  # of a negative S
        return k.w - ALPHA * V / first / (np.sqrt(S / second) + EPSILON)


def two_steps(k):
    V = BETA1 * k.V + (1 - BETA1) * k.g
    S = BETA2 * k.S + (1 - BETA2) * k.g**2
    return k.right - ALPHA * V / (1 - BETA1 ** (k.t + 1)) / (np.sqrt(S / (1 - BETA2 ** (k.t + 1))) + EPSILON)


# title: (rule, the parameter after the step). The titles end in spaces where a slip is planted in several rules.
PLANTED = {
    "nothing was updated": ("SGD", lambda k: k.w.copy()),
    "nothing was updated ": ("Adam", lambda k: k.w.copy()),
    "sign": ("SGD", lambda k: k.w + ALPHA * k.g),
    "sign ": ("course", lambda k: k.w + ALPHA * k.V),
    "sign  ": ("Adam", lambda k: k.w + ALPHA * k.V / (1 - BETA1**k.t) / (np.sqrt(k.S / (1 - BETA2**k.t)) + EPSILON)),
    "the parameter is missing": ("SGD", lambda k: -ALPHA * k.g),
    "the parameter is missing ": ("Adam", lambda k: k.right - k.w),
    "the difference is turned round": ("SGD", lambda k: ALPHA * k.g - k.w),
    "the learning rate is missing": ("SGD", lambda k: k.w - k.g),
    "the learning rate is missing ": ("RMSprop", lambda k: k.w - k.g / (np.sqrt(k.S) + EPSILON)),
    "another learning rate": ("SGD", lambda k: k.w - 0.031 * k.g),
    "another learning rate ": ("Adam", lambda k: k.w + 1.55 * (k.right - k.w)),
    "updated twice": ("momentum", lambda k: k.right - ALPHA * (BETA1 * k.V + k.g)),
    "updated twice ": ("Adam", two_steps),
    "divided by m again": ("course", lambda k: k.w - ALPHA * (BETA1 * k.v + (1 - BETA1) * k.g / M)),
    "divided by m again ": ("RMSprop", lambda k: k.w - ALPHA * (k.g / M) / (
        np.sqrt(BETA2 * k.s + (1 - BETA2) * (k.g / M) ** 2) + EPSILON)),
    "another share of the gradient": ("momentum", lambda k: k.w - ALPHA * (BETA1 * k.v + 1.3 * k.g)),
    "the weight decay is missing": ("Adam+", lambda k: adam(
        k, BETA1 * k.v + (1 - BETA1) * k.g, BETA2 * k.s + (1 - BETA2) * k.g**2)),
    "the weight decay is missing ": ("SGD+", lambda k: k.w - ALPHA * k.g),
    "weight decay on b": ("SGD+", lambda k: k.w - ALPHA * (k.g + DECAY * k.w)),
    "weight decay on b ": ("Adam+", lambda k: adam(
        k, BETA1 * k.v + (1 - BETA1) * (k.g + DECAY * k.w), BETA2 * k.s + (1 - BETA2) * (k.g + DECAY * k.w) ** 2)),
    "weight decay beside the gradient": ("Adam+", lambda k: adam(
        k, BETA1 * k.v + (1 - BETA1) * k.g, BETA2 * k.s + (1 - BETA2) * k.g**2) - ALPHA * k.decay * k.w),
    "a weight decay": ("SGD", lambda k: k.w - ALPHA * (k.g + 0.1 * k.w)),
    "a weight decay ": ("Adam", lambda k: k.right - ALPHA * 0.1 * k.w),
    "(1 - beta) is missing": ("course", lambda k: k.w - ALPHA * (BETA1 * k.v + k.g)),
    "(1 - beta) is missing ": ("Adam", lambda k: adam(k, BETA1 * k.v + k.g, k.S)),
    "(1 - beta) is not in this form of momentum": (
        "momentum", lambda k: k.w - ALPHA * (BETA1 * k.v + (1 - BETA1) * k.g)),
    "beta and 1 - beta are swapped": ("course", lambda k: k.w - ALPHA * ((1 - BETA1) * k.v + BETA1 * k.g)),
    "beta and 1 - beta are swapped ": ("Adam", lambda k: adam(k, (1 - BETA1) * k.v + BETA1 * k.g, k.S)),
    "beta is missing": ("momentum", lambda k: k.w - ALPHA * (k.v + k.g)),
    "v is not carried on": ("course", lambda k: k.w - ALPHA * (1 - BETA1) * k.g),
    "v is not carried on ": ("Adam", lambda k: adam(k, (1 - BETA1) * k.g, k.S)),
    "dW in the place of v": ("course", lambda k: k.w - ALPHA * k.g),
    "dW in the place of v ": ("Adam", lambda k: k.w - ALPHA * k.g / (np.sqrt(k.S / (1 - BETA2**k.t)) + EPSILON)),
    "the moments of before the step": ("course", lambda k: k.w - ALPHA * k.v),
    "the moments of before the step ": ("Adam", lambda k: adam(k, k.v, k.s)),
    "the learning rate within v": ("momentum", lambda k: k.w - (BETA1 * k.v + ALPHA * k.g)),
    "Nesterov's step": ("momentum", lambda k: k.w - ALPHA * (k.g + BETA1 * k.V)),
    "not Nesterov's step": ("Nesterov", lambda k: k.w - ALPHA * k.V),
    "a bias correction that the rule does not have": ("course", lambda k: k.w - ALPHA * k.V / (1 - BETA1**k.t)),
    "a bias correction that the rule does not have ": (
        "RMSprop", lambda k: k.w - ALPHA * k.g / (np.sqrt(k.S / (1 - BETA2**k.t)) + EPSILON)),
    "(1 - beta2) is missing": ("RMSprop", lambda k: k.w - ALPHA * k.g / (np.sqrt(BETA2 * k.s + k.g**2) + EPSILON)),
    "(1 - beta2) is missing ": ("Adam", lambda k: adam(k, k.V, BETA2 * k.s + k.g**2)),
    "both (1 - beta) are missing": ("Adam", lambda k: adam(k, BETA1 * k.v + k.g, BETA2 * k.s + k.g**2)),
    "beta2 and 1 - beta2 are swapped": ("Adam", lambda k: adam(k, k.V, (1 - BETA2) * k.s + BETA2 * k.g**2)),
    "s is not carried on": ("RMSprop", lambda k: k.w - ALPHA * k.g / (np.sqrt((1 - BETA2) * k.g**2) + EPSILON)),
    "the square is missing": ("Adam", lambda k: adam(k, k.V, np.abs(BETA2 * k.s + (1 - BETA2) * np.abs(k.g)))),
    "v squared for dW squared": ("Adam", lambda k: adam(k, k.V, BETA2 * k.s + (1 - BETA2) * k.V**2)),
    "v and s are one array": ("Adam", lambda k: adam(k, k.V, BETA2 * k.V + (1 - BETA2) * k.g**2)),
    "the square root is missing": ("RMSprop", lambda k: k.w - ALPHA * k.g / (k.S + EPSILON)),
    "the square root is missing ": (
        "Adam", lambda k: k.w - ALPHA * k.V / (1 - BETA1**k.t) / (k.S / (1 - BETA2**k.t) + EPSILON)),
    "epsilon inside the square root": (
        "Adam", lambda k: k.w - ALPHA * k.V / (1 - BETA1**k.t) / np.sqrt(k.S / (1 - BETA2**k.t) + EPSILON)),
    "epsilon inside the square root ": ("RMSprop", lambda k: k.w - ALPHA * k.g / np.sqrt(k.S + EPSILON)),
    "epsilon is missing": (
        "Adam", lambda k: k.w - ALPHA * k.V / (1 - BETA1**k.t) / np.sqrt(k.S / (1 - BETA2**k.t))),
    "another epsilon": ("RMSprop", lambda k: k.w - ALPHA * k.g / (np.sqrt(k.S) + 1e-7)),
    "no s": ("RMSprop", lambda k: k.w - ALPHA * k.g),
    "no s ": ("Adam", lambda k: k.w - ALPHA * k.V / (1 - BETA1**k.t)),
    "no bias correction": ("Adam", lambda k: adam(k, k.V, k.S, 1, 1)),
    "no bias correction of v": ("Adam", lambda k: adam(k, k.V, k.S, first=1)),
    "no bias correction of s": ("Adam", lambda k: adam(k, k.V, k.S, second=1)),
    "t is one too small": ("Adam", lambda k: adam(k, k.V, k.S, 1 - BETA1 ** (k.t - 1), 1 - BETA2 ** (k.t - 1))),
    "t is one too large": ("Adam", lambda k: adam(k, k.V, k.S, 1 - BETA1 ** (k.t + 1), 1 - BETA2 ** (k.t + 1))),
    "t stays at 1": ("Adam", lambda k: adam(k, k.V, k.S, 1 - BETA1, 1 - BETA2)),
    "the bias correction has the other beta": (
        "Adam", lambda k: adam(k, k.V, k.S, 1 - BETA1**k.t, 1 - BETA1**k.t)),
    "multiplied by the bias correction": (
        "Adam", lambda k: adam(k, k.V, k.S, 1 / (1 - BETA1**k.t), 1 / (1 - BETA2**k.t))),
    "beta1 and beta2 are swapped": ("Adam", lambda k: adam(
        k, BETA2 * k.v + (1 - BETA2) * k.g, BETA1 * k.s + (1 - BETA1) * k.g**2, 1 - BETA2**k.t, 1 - BETA1**k.t)),
    "epsilon before the bias correction": ("Adam", lambda k: k.w - ALPHA * np.sqrt(1 - BETA2**k.t)
        / (1 - BETA1**k.t) * k.V / (np.sqrt(k.S) + EPSILON)),
}  # fmt: skip
# Of one parameter, the others being right: (rule, parameter, what it becomes).
PLANTED_IN_ONE = {
    "the gradient of another parameter": ("SGD", "b1", lambda k: k.w - ALPHA * k.next.next.next.g),
    "the gradient of another parameter ": ("course", "b1", lambda k: k.w - ALPHA * (
        BETA1 * k.v + (1 - BETA1) * k.next.next.next.g)),
    "v or s of another parameter": ("course", "b1", lambda k: k.w - ALPHA * k.next.next.next.V),
    "v or s of another parameter ": ("Adam", "W2", lambda k: adam(
        k, BETA1 * k.next.v + (1 - BETA1) * k.g, k.S)),
    "v or s of another parameter  ": ("RMSprop", "W2", lambda k: k.w - ALPHA * k.g / (np.sqrt(k.next.S) + EPSILON)),
    "the value of another parameter": ("SGD", "b2", lambda k: k.next.next.w[:1, :1] - ALPHA * k.g),
}  # fmt: skip


def planted(title, **options):
    if title in PLANTED_IN_ONE:
        kind, only, wrong = PLANTED_IN_ONE[title]
    else:
        (kind, wrong), only = PLANTED[title], ""
    if title == "the value of another parameter":
        problem = Problem(kind, shape=(1, 1, 1), **options)
    elif "another parameter" in title:
        problem = Problem(kind, shape=(1, 4, 1), **options)  # W1 is as large as b1
    else:
        problem = Problem(kind.rstrip("+"), decay=DECAY if kind[-1] == "+" else 0.0, **options)
    if title.startswith("weight decay on b"):
        only = "b"
    elif title.startswith(("the weight decay", "weight decay beside")):
        only = "W"
    after = {name: wrong(k) if name.startswith(only) else k.right for name, k in problem.places.items()}
    return problem, after, only


def fitting(title, **options):
    problem, after, only = planted(title)
    result = problem.ask(after, **options)
    assert {name for name, verdict in verdicts(result).items() if verdict == "wrong"} == {
        name for name in problem.places if name.startswith(only)
    }
    return causes(result)


@pytest.mark.parametrize("title", [*PLANTED, *PLANTED_IN_ONE])
def test_a_planted_slip_is_named_and_no_other(title):
    options = {"m": M} if title.startswith("divided") else {}
    assert set(fitting(title, **options).values()) == {(title.strip(),)}


@pytest.mark.parametrize("title", [*PLANTED, *PLANTED_IN_ONE])
@pytest.mark.parametrize("dtype", [float, np.float32])
def test_another_slip_is_never_named_alone(title, dtype):
    """In other states, dtypes and sizes, where slips may look alike: the planted one is among those that are named."""
    found = 0
    for seed in range(1, 4):
        problem, after, _ = planted(title, seed=seed, dtype=dtype, scale=10.0 ** (seed - 2))
        named = causes(problem.ask(after, m=M if title.startswith("divided") else None))
        assert all(title.strip() in causes for causes in named.values() if causes), (seed, named)
        found += any(named.values())
    assert found or dtype is np.float32


# In the first step v and s are zero, so these are right there; and these are other slips in the first or second step.
RIGHT_AT_FIRST = {
    "beta is missing", "v is not carried on", "v is not carried on ", "dW in the place of v ", "s is not carried on",
    "the learning rate within v", "t stays at 1", "beta1 and beta2 are swapped", "v or s of another parameter ",
}  # fmt: skip
SAME = {
    ("another share of the gradient", 1): "another learning rate",
    ("t is one too small", 1): "t = 0 in the bias correction",
    ("t stays at 1", 2): "t is one too small",
}


@pytest.mark.filterwarnings("ignore:(divide|invalid)")
@pytest.mark.parametrize("title", [*PLANTED, *PLANTED_IN_ONE])
@pytest.mark.parametrize("t", [1, 2])
def test_in_the_first_two_steps_a_planted_slip_is_among_those_named(title, t):
    problem, after, _ = planted(title, t=t)
    named = causes(problem.ask(after, m=M if title.startswith("divided") else None))
    assert bool(named) != (t == 1 and title in RIGHT_AT_FIRST)
    assert all(SAME.get((title, t), title.strip()) in causes for causes in named.values())


def test_every_slip_is_planted():
    fitted = {"another learning rate", "another share of the gradient", "a weight decay"}
    elsewhere = {"t = 0 in the bias correction", "the shape of the gradient", "the corrected moments are carried on"}
    elsewhere |= {"the gradient is not clipped", "each gradient is clipped by its own norm"}
    planted_ones = {title.strip() for title in [*PLANTED, *PLANTED_IN_ONE]}
    assert planted_ones == set(slips) - elsewhere | fitted


def test_a_later_step_without_its_state_is_asked_for_it():
    problem = Problem("course")
    result = problem.ask(problem.dict_of("right"), state=None)
    assert set(causes(result).values()) == {()}
    assert str(result).endswith(
        "The moments were taken to be zero, as in the first step; for a later one, give state=."
    )
    assert "give state=" not in str(problem.ask(problem.dict_of("w")))
    problem.optimizer.steps = 3
    later = problem.ask(problem.dict_of("right"), state=None)
    assert str(later).endswith("The moments are the optimizer's own, after 3 steps; for others, give state=.")


def test_in_the_first_step_all_slips_that_look_alike_are_named():
    problem = Problem("Adam", t=1)
    result = problem.ask({name: adam(k, k.V, k.S, first=1) for name, k in problem.places.items()})
    [found] = set(causes(result).values())
    assert found == ("no bias correction of v", "another learning rate")  # 0.2 of it
    assert str(result).endswith("a later one, with state=, tells them apart.")


def test_t_that_starts_at_0_is_named():
    problem = Problem("Adam", t=1)
    with np.errstate(all="ignore"):
        after = {name: adam(k, k.V, k.S, 1 - BETA1**0, 1 - BETA2**0) for name, k in problem.places.items()}
    result = problem.ask(after)
    assert set(causes(result).values()) == {("t = 0 in the bias correction",)}
    with pytest.raises(ValueError, match=r"state: t is 0; the first step has t = 1, so count it up before the update"):
        problem.ask(after, state=problem.state | {"t": 0})


def test_a_gradient_that_spreads_is_named():
    problem = Problem("SGD")
    gradients = problem.dict_of("g", "d")
    gradients["db1"] = gradients["db1"][:, 0]  # the sum lacked keepdims=True
    after = problem.dict_of("right") | {"b1": problem["b1"].w - ALPHA * gradients["db1"]}
    [finding] = [f for f in problem.ask(after, gradients=gradients).findings if f.verdict == "wrong"]
    assert (finding.name, finding.causes) == ("b1", ("the shape of the gradient",))
    assert "(shape (4, 4), expected (4, 1))" in finding.text
    right = problem.ask(problem.dict_of("right"), gradients=gradients)
    assert right.first_wrong is None


@pytest.mark.parametrize("options", [{"clip_norm": 0.5}, {"clip_value": 0.4}])
def test_gradients_are_clipped_where_the_optimizer_does(options):
    problem = Problem("SGD")
    problem.optimizer = tg.optim.SGD(problem.model.parameters(), ALPHA, **options)
    gradients = problem.dict_of("g")
    norm = np.sqrt(sum(np.sum(g**2) for g in gradients.values()))
    clip = {"clip_norm": lambda g: g * 0.5 / norm, "clip_value": lambda g: np.clip(g, -0.4, 0.4)}[next(iter(options))]
    after = {name: k.w - ALPHA * clip(k.g) for name, k in problem.places.items()}
    assert set(verdicts(problem.ask(after)).values()) == {"right"}
    assert set(causes(problem.ask(problem.dict_of("right"))).values()) == {("the gradient is not clipped",)}
    if "clip_norm" in options:
        alone = {name: k.w - ALPHA * k.g * 0.5 / np.linalg.norm(k.g) for name, k in problem.places.items()}
        named = causes(problem.ask(alone))
        assert set(named.values()) == {("each gradient is clipped by its own norm",)}
        with pytest.raises(ValueError, match="clips the norm of all the gradients: give them all"):
            problem.ask(after, gradients={"dW1": gradients["W1"]})


def test_dw_for_db_spreads_too():
    problem = Problem("SGD")
    after = problem.dict_of("right") | {"b1": problem["b1"].w - ALPHA * problem["W1"].g}
    result = problem.ask(after)
    assert causes(result) == {"b1": ("the gradient of another parameter",)}
    assert "WRONG: the gradient of another parameter (shape (4, 3), expected (4, 1))" in str(result)


@pytest.mark.parametrize("title", ["sign", "updated twice ", "no bias correction of s", "(1 - beta) is missing"])
@pytest.mark.parametrize("only", ["W", "b", "W2", "b1"])
def test_a_slip_in_some_lines_only_is_named_there(title, only):
    kind, wrong = PLANTED[title]
    problem = Problem(kind)
    after = {name: wrong(k) if name.startswith(only) else k.right for name, k in problem.places.items()}
    result = problem.ask(after)
    assert causes(result) == {name: (title.strip(),) for name in after if name.startswith(only)}


def test_different_slips_in_different_lines_are_told_apart():
    problem = Problem("course")
    wrong = {"W1": "sign ", "b1": "dW in the place of v", "W2": "(1 - beta) is missing"}
    wrong |= {"b1": "the moments of before the step"}
    after = {name: PLANTED[wrong[name]][1](k) if name in wrong else k.right for name, k in problem.places.items()}
    assert causes(problem.ask(after)) == {name: (title.strip(),) for name, title in wrong.items()}


# -- moments ----------------------------------------------------------------------------------------------------------


def test_a_wrong_moment_is_found_before_what_follows_from_it():
    problem = Problem("Adam")
    v = {f"d{name}": BETA1 * k.v + k.g for name, k in problem.places.items()}
    after = {name: adam(k, v[f"d{name}"], k.S) for name, k in problem.places.items()}
    result = problem.ask(after, state_after={"v": v, "s": problem.dict_of("S", "d")})
    assert result.first_wrong.name == 'v["dW1"]'
    assert set(causes(result).values()) == {("(1 - beta) is missing",)}
    assert [f.verdict for f in result.findings] == ["wrong"] * 4 + ["right"] * 4 + ["follows"] * 4
    assert '  W1        follows: right for your v["dW1"]' in str(result)
    assert '  s["dW1"]  right\n' in str(result)


def test_a_mistake_behind_a_wrong_moment_is_a_mistake_of_its_own():
    problem = Problem("Adam")
    s = {f"d{name}": BETA2 * k.s + k.g**2 for name, k in problem.places.items()}
    after = {name: adam(k, k.V, s[f"d{name}"], first=1) for name, k in problem.places.items()}
    result = problem.ask(after, state_after={"v": problem.dict_of("V", "d"), "s": s})
    named = causes(result)
    assert {named[f's["d{name}"]'] for name in after} == {("(1 - beta2) is missing",)}
    assert {named[name] for name in after} == {("no bias correction of v",)}


def test_corrected_moments_that_are_carried_on_are_named():
    problem = Problem("Adam")
    v = {f"d{name}": k.V / (1 - BETA1**k.t) for name, k in problem.places.items()}
    s = {f"d{name}": k.S / (1 - BETA2**k.t) for name, k in problem.places.items()}
    result = problem.ask(problem.dict_of("right"), state_after={"v": v, "s": s})
    assert set(causes(result).values()) == {("the corrected moments are carried on",)}
    assert [f.verdict for f in result.findings][8:] == ["right"] * 4


@pytest.mark.parametrize(("kind", "moment"), [("course", "v"), ("RMSprop", "s")])
def test_a_rule_with_one_moment_takes_it_alone(kind, moment):
    problem = Problem(kind)
    state = problem.dict_of(moment, "d")
    after = {"state_after": problem.dict_of(moment.upper(), "d")}
    assert set(verdicts(problem.ask(problem.dict_of("right"), state=state, **after)).values()) == {"right"}


# -- what cannot be told ----------------------------------------------------------------------------------------------


def test_arrays_that_were_changed_in_place_are_named():
    problem = Problem("SGD")
    before = problem.dict_of("w")
    after = before
    for name in after:
        after[name] -= ALPHA * problem[name].g
    result = diagnose_update(problem.model, before, problem.dict_of("g", "d"), after, problem.optimizer)
    assert set(causes(result).values()) == {("before is after",)}
    assert "before = copy.deepcopy(parameters)" in str(result)
    views = {name: w[:] for name, w in before.items()}
    result = diagnose_update(problem.model, before, problem.dict_of("g", "d"), views, problem.optimizer)
    assert set(causes(result).values()) == {("before is after",)}


def test_moments_that_were_changed_in_place_are_named():
    problem = Problem("course")
    state = problem.state
    result = problem.ask(problem.dict_of("right"), state=state, state_after={"v": state["v"]})
    assert causes(result)['v["dW1"]'] == ("before is after",)


def test_a_step_that_is_lost_in_rounding_is_too_small_to_tell():
    problem = Problem("SGD", scale=1e-17)
    for after in (problem.dict_of("right"), problem.dict_of("w")):
        result = problem.ask(after)
        assert set(verdicts(result).values()) == {"too small to tell"}
        assert str(result).endswith("None of these is wrong, but of W1, b1, W2, b2 nothing can be said.")
        assert result.first_wrong is None
    assert "W1  too small to tell: its step is" in str(result)


def test_where_the_gradient_is_zero_there_is_nothing_to_add():
    problem = Problem("SGD", scale=0.0)
    result = problem.ask(problem.dict_of("w"))
    assert set(verdicts(result).values()) == {"right"}
    assert "right, as there is nothing to add" in str(result)


def test_float32_is_compared_to_its_digits():
    for kind in OPTIMIZERS:
        problem = Problem(kind, dtype=np.float32)
        exact = {name: by_hand(kind, k, *moments_by_hand(kind, k)) for name, k in problem.places.items()}
        assert set(verdicts(problem.ask(exact)).values()) == {"right"}
        wrong = {name: 2 * k.w - k.right for name, k in problem.places.items()}
        assert set(causes(problem.ask(wrong)).values()) == {("sign",)}


def test_a_single_number_is_not_believed_against_the_other_arrays():
    """What b2 alone would be called, W1 denies: nothing that is known explains both."""
    problem = Problem("SGD")
    rng = np.random.default_rng(9)
    after = {name: rng.normal(size=k.w.shape) for name, k in problem.places.items()}
    after["b2"] = problem["b2"].w + ALPHA * problem["b2"].g
    assert set(causes(problem.ask(after)).values()) == {()}
    alone = problem.dict_of("right") | {"b2": after["b2"]}
    assert causes(problem.ask(alone)) == {"b2": ("sign",)}


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_random_numbers_have_no_cause(kind):
    """400 draws for each rule: of all parameters or of one, as far from the old ones as a step, or anywhere."""
    rng = np.random.default_rng(2)
    for seed in range(400):
        dtype = (float, np.float32)[seed % 2]
        problem = Problem(
            kind, t=int(rng.integers(1, 6)), decay=(0.0, DECAY)[seed % 3 == 0], seed=seed, dtype=dtype,
            shape=(*rng.integers(1, 5, size=2), 1), scale=10.0 ** rng.uniform(-2, 1),
        )  # fmt: skip
        after, names = problem.dict_of("right"), list(problem.places)
        for name in names if seed % 4 else [names[rng.integers(4)]]:
            k = problem[name]
            size = 1.0 if seed % 5 == 0 else np.abs(k.right - k.w).mean()
            after[name] = (k.w + size * rng.normal(size=k.w.shape)).astype(dtype)
        result = problem.ask(after, m=(None, M)[seed % 2])
        assert set(causes(result).values()) == {()}, seed
        assert "no cause that is known here fits" in str(result)


@pytest.mark.parametrize("kind", ["momentum", "RMSprop", "Adam"])
def test_random_moments_have_no_cause(kind):
    rng = np.random.default_rng(3)
    for seed in range(100):
        problem = Problem(kind, seed=seed)
        after = {
            moment: {f"d{name}": rng.uniform(size=k.w.shape) for name, k in problem.places.items()}
            for moment in MOMENTS[kind]
        }
        result = problem.ask(problem.dict_of("right"), state_after=after)
        assert set(causes(result).values()) == {()}, seed


# -- dictionaries as they are -----------------------------------------------------------------------------------------


def test_the_dictionaries_of_week_two_are_taken():
    model = tg.nn.LogisticRegression(3)
    rng = np.random.default_rng(0)
    w, dw, b, db = rng.normal(size=(3, 1)), rng.normal(size=(3, 1)), 0.5, 0.25
    optimizer = tg.optim.SGD(model.parameters(), lr=0.1)
    before, after = {"w": w, "b": b}, {"w": w - 0.1 * dw, "b": b - 0.1 * db}
    result = diagnose_update(model, before, {"dw": dw, "db": db}, after, optimizer)
    assert verdicts(result) == {"W": "right", "b": "right"}
    result = diagnose_update(model, before, {"dw": dw, "db": db}, after | {"b": b + 0.1 * db}, optimizer)
    assert causes(result) == {"b": ("sign",)}


def test_biases_without_a_second_axis_are_taken_if_they_are_so_throughout():
    problem = Problem("SGD")
    before, gradients = problem.dict_of("w"), problem.dict_of("g", "d")
    after = problem.dict_of("right")
    for arrays, key in ((before, "b1"), (gradients, "db1"), (after, "b1")):
        arrays[key] = arrays[key][:, 0]
    result = diagnose_update(problem.model, before, gradients, after, problem.optimizer)
    assert set(verdicts(result).values()) == {"right"}
    result = problem.ask(after)
    assert result.first_wrong.text.startswith("WRONG: no cause that is known here fits; shape (4,), expected (4, 1)")


def test_other_gradients_are_passed_over_and_what_is_unknown_is_said():
    problem = Problem("SGD")
    gradients = problem.dict_of("g", "d") | {"dA1": 1.0, "dZ2": 1.0, "loss": 3.0}
    after = problem.dict_of("right") | {"W3": 1.0}
    del after["b2"]
    result = problem.ask(after, gradients=gradients)
    assert [f.name for f in result.findings] == ["W1", "b1", "W2"]
    assert "Not judged, as before, after or the gradient was not given: b2." in str(result)
    assert "Passed over, as the optimizer has no such parameters: W3 of after, loss of gradients." in str(result)
    assert "dA1" not in str(result)


def test_modules_within_modules_and_what_a_model_keeps_beside_parameters():
    class Scaled(tg.nn.Module):
        def __init__(self):
            self.inner = tg.nn.Classifier(tg.nn.Linear(2, 3, rng=0), tg.nn.BatchNorm(3), tg.nn.Linear(3, 1, rng=1))
            self.W = tg.nn.Parameter(np.ones((1, 1)))

    model, rng = Scaled(), np.random.default_rng(0)
    before = model.state_dict()
    assert "inner.running_mean1" in before
    names = {name: name.replace("inner.", "inner.d") if "." in name else f"d{name}" for name in before}
    gradients = {names[name]: rng.normal(size=p.shape) for name, p in model.named_parameters()}
    after = before | {name: before[name] - 0.1 * gradients[names[name]] for name, _ in model.named_parameters()}
    result = diagnose_update(model, before, gradients, after, tg.optim.SGD(model.parameters(), 0.1))
    assert set(verdicts(result).values()) == {"right"}
    assert len(result.findings) == 7
    assert result.hint == ""


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        (lambda p: {"model": 3}, TypeError, "model must be a Module, got 3"),
        (lambda p: {"optimizer": "Adam"}, TypeError, "optimizer must be an SGD, RMSprop or Adam, got 'Adam'"),
        (lambda p: {"optimizer": tg.optim.SGD([tg.Tensor(1.0, requires_grad=True)], 1)}, ValueError,
         "the optimizer holds none of the model's parameters"),
        (lambda p: {"before": [1]}, TypeError, r'before must be a dict such as \{"W1": ...\}, got \[1\]'),
        (lambda p: {"gradients": 3}, TypeError, r'gradients must be a dict such as \{"dW1": ...\}, got 3'),
        (lambda p: {"gradients": {}}, ValueError, "nothing can be judged. Give at least W1 in before and in after"),
        (lambda p: {"before": {"W1": np.ones((2, 2))}}, ValueError, r"W1: \(2, 2\) was given, expected \(4, 3\)"),
        (lambda p: {"gradients": p.dict_of("g", "d") | {"dW1": np.full((4, 3), np.nan)}}, ValueError,
         "W1 or its gradient or moment holds NaN or infinities before the step"),
        (lambda p: {"after": {"W1": "much"}}, TypeError, "after: W1 has dtype <U4, and is not numeric"),
        (lambda p: {"state": {"v": {}, "s": {}, "t": 1}}, ValueError, "state: v lacks dW1, db1, dW2, db2"),
        (lambda p: {"state": {"v": p.state["v"], "s": p.state["s"]}}, ValueError, 'state needs "t", the number of'),
        (lambda p: {"state": {"m": p.state["v"], "v": p.state["s"]}}, ValueError, "m is none of v, s, t, which Adam"),
        (lambda p: {"state": 3}, TypeError, "state must be a dict such as"),
        (lambda p: {"state": p.state | {"t": 1.5}}, ValueError, "state: t must be a positive integer, got 1.5"),
        (lambda p: {"m": 0}, ValueError, "m must be a positive integer, got 0"),
        (lambda p: {"before": p.dict_of("w") | {"w1": 1.0}}, ValueError, "before: w1 was given twice"),
    ],
)  # fmt: skip
def test_what_cannot_be_judged_is_refused(change, error, text):
    problem = Problem("Adam")
    arguments = {
        "model": problem.model, "before": problem.dict_of("w"), "gradients": problem.dict_of("g", "d"),
        "after": problem.dict_of("right"), "optimizer": problem.optimizer, "state": problem.state,
    }  # fmt: skip
    with pytest.raises(error, match=f"diagnose_update: .*{text}|{text}"):
        diagnose_update(**(arguments | change(problem)))


def test_a_b_that_numpy_spread_over_a_square_is_known_by_its_gradient_of_one_axis():
    problem = Problem("SGD", shape=(3, 4, 1))
    after = {name: k.right for name, k in problem.places.items()}
    k = problem.places["b1"]
    for spread in (k.g[:, 0], k.g.T):
        result = problem.ask(after | {"b1": k.w - ALPHA * spread})
        assert causes(result) == {"b1": ("the shape of the gradient",)}


def test_a_step_that_explodes_is_wrong_and_warns_of_nothing():
    problem = Problem("SGD")
    after = {name: k.right for name, k in problem.places.items()}
    first = next(iter(after))
    assert verdicts(problem.ask(after | {first: 1e300 + after[first]}))[first] == "wrong"
