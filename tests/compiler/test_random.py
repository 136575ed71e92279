"""Random models, losses, optimizers and data: a compiled step computes what the eager one does, up to rounding.

In C too: by the tests of `test_native.py`, and here in what happens over many steps and between two of them.

How much rounding is allowed, each computation says itself. It is run once more with digits to spare, which is the truth
here, and a few times with each operand of each op disturbed by about one rounding, at random: what that changes is the
error that another order of the same operations may have. `Yardstick` says what a compiled step may then be off by.
"""

import copy

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import tinygrad_dls as tg
from tests.compiler.lines import Line, Program, executed, optimizers, programs, rate_of
from tests.compiler.steps import eager
from tests.compiler.yardstick import Twin, Yardstick, can_be_compared, compiled, off_by, references, tiles
from tests.support.programs import OURS, random_program
from tinygrad_dls import nn

# -- steps ------------------------------------------------------------------------------------------------------------


DTYPES = st.sampled_from(["float32", "float64"])
BACKENDS = st.sampled_from(["numpy", "native"])
EXAMPLES_OF_DATA = st.one_of(st.integers(1, 12), st.integers(1, 300))  # few may be as many as some layer has units
OFTEN = settings().max_examples  # of the profile


@settings(max_examples=OFTEN)
@given(st.data(), programs(), optimizers(), DTYPES, EXAMPLES_OF_DATA, st.integers(0, 9))
def test_a_step_of_a_random_model_is_as_exact_as_the_eager_one(data, program, optimizer, dtype, m, seed):
    tile, gradients = data.draw(tiles(m)), data.draw(st.booleans())
    options = {"tile": tile, "threads": data.draw(st.sampled_from([1, 2, 3, 5]))}
    yardstick = Yardstick(program, optimizer, dtype)
    fast = Twin(program, optimizer, dtype, compiled(gradients=gradients, **options))
    for i, size in enumerate([m, m, (m + 1) // 2]):
        yardstick.take(fast)  # so that differences do not grow from step to step
        X, Y = program.data(size, seed + i)
        if not yardstick.step(X, Y):
            assume(i > 0)
            return
        yardstick.assert_as_exact(fast(X, Y), gradients, tiles=size / (tile or size))


@settings(max_examples=max(10, OFTEN // 3))
@given(st.data(), programs(), optimizers(), EXAMPLES_OF_DATA, st.integers(0, 9))
def test_many_steps_of_a_random_model_are_the_eager_ones(data, program, optimizer, m, seed):
    """The disturbed runs go their own ways too, and show how fast differences grow."""
    yardstick = Yardstick(program, optimizer, "float64")
    tile = data.draw(tiles(m))
    fast = Twin(program, optimizer, "float64", compiled(tile=tile, backend=data.draw(BACKENDS)))
    for i in range(10):
        X, Y = program.data(m, seed + i % 3)
        if not yardstick.step(X, Y):
            assume(i > 0)
            return
        yardstick.assert_as_exact(fast(X, Y), gradients=False, tiles=m / (tile or m))


@settings(max_examples=max(10, OFTEN // 4))
@given(st.data(), programs(tiles=True), optimizers(), DTYPES, st.integers(2, 300), st.integers(0, 9))
def test_the_number_of_threads_changes_no_bit(data, program, optimizer, dtype, m, seed):
    tile = data.draw(st.integers(1, m - 1))
    X, Y = program.data(m, seed)
    yardstick = Yardstick(program, optimizer, dtype)
    steps = [Twin(program, optimizer, dtype, compiled(gradients=True, tile=tile, threads=n)) for n in (1, 2, 3, 5)]
    for _ in range(2):
        assume(yardstick.step(X, Y))  # moderate numbers
        one, *others = [{name: (x.dtype, x.tobytes()) for name, x in step(X, Y).items()} for step in steps]
        assert all(other == one for other in others)


# -- the yardstick itself ---------------------------------------------------------------------------------------------


LAYER = Line("v0", "np.tanh({0} @ {1} + {2})", ("W0", "X", "w1"))
OUTPUT = Line("v1", "{0} @ {1}", ("W2", "v0"))
COST = [
    Line("J", "tg.binary_cross_entropy_with_logits({0}, Y)", ("v1",)),
    Line("J", "{1} + 0.01 * np.sum({0} ** 2)", ("W0", "J")),
]
NETWORK = Program(
    [LAYER, OUTPUT],
    COST,
    ["v1"],
    {
        "W0": np.linspace(-1, 1, 12).reshape(4, 3).astype("f4").astype(float),
        "w1": np.full((4, 1), 0.25),
        "W2": np.array([[0.5, -1.0, 0.75, 0.125]]),
    },
    3,
    ("bits", 1),
)


@pytest.mark.parametrize(("dtype", "error"), [("float64", 1e-13), ("float32", 1e-4)])
@pytest.mark.parametrize("optimizer", [(tg.optim.SGD, {"lr": 0.1, "momentum": 0.9}), (tg.optim.Adam, {"lr": 0.1})])
def test_a_planted_error_is_caught(dtype, error, optimizer):
    """Of some 500 roundings of the largest entry, in any one array."""
    yardstick = Yardstick(NETWORK, optimizer, dtype)
    fast = Twin(NETWORK, optimizer, dtype, compiled(gradients=True))
    assert yardstick.step(*NETWORK.data(200, 0))
    right = fast(*NETWORK.data(200, 0))
    yardstick.assert_as_exact(right)
    for name, x in right.items():
        for sign in (1, -1):
            wrong = (x + sign * max(error * np.abs(x).max(), x.dtype.kind != "f")).astype(x.dtype)
            with pytest.raises(AssertionError, match=f"{name} is off by"):
                yardstick.assert_as_exact({**right, name: wrong})
    for name in right:
        with pytest.raises(AssertionError):
            yardstick.assert_as_exact({other: x for other, x in right.items() if other != name})


def test_what_a_rounding_may_decide_is_not_compared():
    kinked = Program(
        [Line("v0", "{0} @ {1}", ("w0", "X")), Line("v1", "tg.relu({0} - 1)", ("v0",), ("{0} - 1",))],
        [Line("J", "np.mean(({0} - Y) ** 2)", ("v1",))], ["v1"], {"w0": np.array([[0.5]])}, 1, ("numbers", 1),
    )  # fmt: skip
    for x, comparable in ((2.0, False), (2.0 + 1e-15, False), (2.0 + 1e-13, True)):
        yardstick = Yardstick(kinked, (tg.optim.SGD, {"lr": 0.1}), "float64")
        assert yardstick.step(np.array([[x]]), np.array([[0.0]])) == comparable


def test_an_update_that_leaves_little_of_a_parameter_may_be_rounded_as_what_was_there():
    """The first step of RMSprop is as large whatever the gradient: disturbances do not show how it is rounded."""
    penalty = Line("J", "{1} + 0.005 * np.sum(np.square({0}))", ("w1", "J"))
    values = {**NETWORK.values, "w1": np.full((4, 1), np.float32(0.12097196)).astype(float)}
    program = Program([Line("v1", "{0} @ {1}", ("W0", "X"))], [COST[0], penalty], ["v1"], values, 3, ("bits", 4))
    optimizer = (tg.optim.RMSprop, {"lr": 0.1, "beta": 0.5})
    yardstick = Yardstick(program, optimizer, "float64")
    fast = Twin(program, optimizer, "float64", compiled())
    assert yardstick.step(*program.data(1, 0))
    result = fast(*program.data(1, 0))
    assert np.abs(result["w1"]).max() < 0.2 * 0.12
    yardstick.assert_as_exact(result, gradients=False)


# -- what happens between two steps -----------------------------------------------------------------------------------


@st.composite
def events(draw, kind, sizes, count):
    """A step, or something that users do between two of them; most are followed by a step."""
    k, seed = draw(st.integers(0, count - 1)), draw(st.integers(0, 3))
    step = ("step", draw(st.sampled_from(sizes)), seed, draw(st.sampled_from(["", "", "run", "f4", "columns"])))
    options = {"lr": st.sampled_from([0.1, 0.02, 0.0, "schedule"])}
    if kind is tg.optim.Adam:
        options["betas"] = st.sampled_from([(0.9, 0.999), (0.5, 0.9), (0.0, 0.99), (0.9, 0.0)])
        options["epsilon"] = st.sampled_from([1e-8, 1e-3])
    else:
        options["momentum"] = st.sampled_from([0.0, 0.9, 0.5])
        options["nesterov"] = st.booleans()
        options["weight_decay"] = st.sampled_from([0.0, 0.1])
    name = draw(st.sampled_from(sorted(options)))
    event = draw(
        st.sampled_from(
            [
                step, ("set", name, draw(options[name])), ("freeze", k), ("thaw", k), ("replace", k, seed),
                ("in place", k), ("entry", k), ("save",), ("load",), ("load", "state"), ("eager", sizes[0], seed),
                ("hold",), ("copy",), ("data", k),
            ]
        )
    )  # fmt: skip
    return [event] if event is step or draw(st.integers(0, 3)) == 3 else [event, step]


class Subject(Twin):
    """A twin that the events happen to. What it has handed out must not change under its holder."""

    held = ()

    def happen(self, program, what, *arguments):
        parameters = self.model.parameters()
        p = parameters[arguments[0]] if arguments and what in self.OF_ONE else None
        if what == "set":
            name, value = arguments
            setattr(self.optimizer, name, rate_of(value) if name == "lr" else value)
        elif what in ("freeze", "thaw"):
            p.requires_grad = what == "thaw"
        elif what == "replace":
            rng = np.random.default_rng(arguments[1])
            p.data = rng.uniform(-1, 1, p.shape).astype("f4").astype(self.dtype)
        elif what in ("in place", "entry"):
            if what == "entry":
                p.data.flat[0] = 0.25
            else:
                p.data[...] *= 0.5
            self.held = [pair for pair in self.held if not np.shares_memory(pair[0], p.data)]  # it is the holder's
        elif what == "data":
            p.data = p.data
        elif what == "save":
            self.saved = self.model.state_dict(), self.optimizer.state_dict()
        elif what == "load" and hasattr(self, "saved"):
            if not arguments:
                self.model.load_state_dict(self.saved[0])
            self.optimizer.load_state_dict(self.saved[1])
        elif what == "eager":
            X, Y = program.data(*arguments)
            eager(self.model, self.loss, self.optimizer)(*(np.asarray(x, self.dtype) for x in (X, Y)))
        elif what == "hold":
            self.held = [*self.held, *((q.data, q.data.copy()) for q in parameters)]
        elif what == "copy":
            self.model, self.optimizer = copy.deepcopy((self.model, self.optimizer))
            self.prepare()

    OF_ONE = "freeze", "thaw", "replace", "in place", "entry", "data"

    def assert_nothing_held_has_changed(self):
        for array, then in self.held:
            assert (array == then).all()


def in_form(form, X, Y):
    if form == "f4":
        return X.astype("f4"), Y
    if form == "columns":
        return np.asfortranarray(X), Y
    if form == "run":  # a mini-batch out of something larger
        return (np.concatenate([x, x, x], axis=1)[:, x.shape[1] : 2 * x.shape[1]] for x in (X, Y))
    return X, Y


def outcome(act, *arguments):
    """What an act returns, and the error that it ends in."""
    try:
        return act(*arguments), None
    except (RuntimeError, ValueError) as error:
        return None, error


@settings(max_examples=max(10, OFTEN // 4))
@given(st.data(), programs(lines=4), optimizers(), st.lists(st.integers(1, 40), min_size=1, max_size=2))
def test_whatever_happens_between_steps_a_compiled_model_stays_the_eager_one(data, program, optimizer, sizes):
    yardstick = Yardstick(program, optimizer, "float64", Subject)
    tile = data.draw(st.sampled_from([None, 5]))
    fast = Subject(program, optimizer, "float64", compiled(tile=tile, backend=data.draw(BACKENDS)))
    one = events(optimizer[0], sizes, len(program.values))
    for event in [e for some in data.draw(st.lists(one, min_size=5, max_size=15)) for e in some]:
        if event[0] == "step":
            X, Y = in_form(event[3], *program.data(*event[1:3]))
            comparable, error = outcome(yardstick.step, X, Y)
            if error is None and not comparable:
                return
            results, other = outcome(fast, X, Y)
            assert (type(other), str(other)) == (type(error), str(error))
            if error is None:
                yardstick.assert_as_exact(results, gradients=False, tiles=X.shape[1] / (tile or 40))
        else:
            with np.errstate(all="ignore"):
                *_, error = [outcome(twin.happen, program, *event)[1] for twin in yardstick.twins]
            _, other = outcome(fast.happen, program, *event)
            assert (type(other), str(other)) == (type(error), str(error))
        fast.assert_nothing_held_has_changed()


HYPERPARAMETERS = [
    (tg.optim.Adam, {}, "betas", [(0.5, 0.9), (0.0, 0.99), (0.9, 0.0), (0.9, 0.999)]),
    (tg.optim.Adam, {}, "epsilon", [1e-3, 1.0, 1e-8]),
    (tg.optim.SGD, {"momentum": 0.9}, "nesterov", [True, False, True]),
    (tg.optim.SGD, {"momentum": 0.9, "nesterov": True}, "momentum", [0.5, 0.0, 0.9]),
    (tg.optim.SGD, {"momentum": 0.9}, "weight_decay", [0.1, 0.0, 0.5]),
    (tg.optim.SGD, {}, "weight_decay", [0.1, 0.0, 0.5]),
    (tg.optim.SGD, {}, "nesterov", [True, False]),
    (tg.optim.SGD, {"momentum": 0.9}, "dampening", [0.9, 0.0, 0.5]),
    (tg.optim.SGD, {}, "clip_norm", [0.01, None, 0.02]),
    (tg.optim.Adam, {}, "clip_value", [0.001, None, 0.002]),
    (tg.optim.Adam, {}, "weight_decay", [0.1, 0.0, 0.5]),
    (tg.optim.RMSprop, {}, "beta", [0.5, 0.0, 0.9]),
    (tg.optim.RMSprop, {}, "epsilon", [1e-3, 1.0, 1e-8]),
    (tg.optim.RMSprop, {}, "decay_biases", [True, False]),
]


@pytest.mark.parametrize(("kind", "options", "name", "values"), HYPERPARAMETERS)
@pytest.mark.parametrize("how", [{}, {"tile": 16}, {"backend": "native"}], ids=["whole", "tiles", "C"])
def test_a_hyperparameter_changed_between_two_steps_is_that_of_the_next(kind, options, name, values, how):
    optimizer = kind, {"lr": 0.1, **options}
    yardstick = Yardstick(NETWORK, optimizer, "float64")
    fast = Twin(NETWORK, optimizer, "float64", compiled(**how))
    for value in [options.get(name), *values]:
        for twin in (*yardstick.twins, fast):
            if value is not None:
                setattr(twin.optimizer, name, value)
        for seed in (0, 1):
            assert yardstick.step(*NETWORK.data(50, seed))
            yardstick.assert_as_exact(fast(*NETWORK.data(50, seed)), gradients=False)


# -- functions of arrays ----------------------------------------------------------------------------------------------


def leaves(x):
    """The arrays of a nested result."""
    if isinstance(x, dict):
        return [leaf for value in x.values() for leaf in leaves(value)]
    return [leaf for value in x for leaf in leaves(value)] if isinstance(x, (list, tuple)) else [x]


@settings(max_examples=max(10, OFTEN // 2))
@given(programs(), DTYPES, EXAMPLES_OF_DATA, st.integers(0, 9))
def test_a_random_function_of_arrays_is_itself(program, dtype, m, seed):
    wides = references(dtype)
    f = executed(program.function())["f"]
    fast = tg.compile(f)
    others = [executed(program.function(Line.reference), **wide.names)["f"] for wide in wides]
    kept = []
    for i, size in enumerate([m, m, m + 1]):
        arrays = [program.data(size, seed + i)[0], *(value * 0.75**i for value in program.values.values())]
        arrays = [x.astype(dtype) for x in arrays]
        with np.errstate(all="ignore"):
            truth, *disturbed = [
                leaves(g(*(x.astype(wide.dtype) for x in arrays))) for g, wide in zip(others, wides, strict=True)
            ]
        assume(can_be_compared(wides))
        for wide in wides:
            wide.forget()
        before = [x.copy() for x in arrays]
        plain, result = f(*arrays), fast(*arrays)
        assert all((x == y).all() for x, y in zip(arrays, before, strict=True))
        assert result.keys() == plain.keys()
        assert [type(x) for x in result["others"]] == [type(x) for x in plain["others"]]
        for j, (x, y) in enumerate(zip(leaves(result), leaves(plain), strict=True)):
            assert (np.shape(x), x.dtype) == (np.shape(y), y.dtype)
            assert off_by(x, truth[j], [other[j] for other in disturbed], np.asarray(y), dtype) <= 1, j
            kept.append((x, np.copy(x)))
        assert all((x == then).all() for x, then in kept)


# -- compositions of all ops, without an axis of examples -------------------------------------------------------------


class Composition(nn.Module):
    """A random program of our ops, whose inputs are the parameters."""

    def __init__(self, program):
        self.program = program
        self.P = [nn.Parameter(x) for x in program.inputs]

    def __call__(self, X):
        return self.program.run(OURS, self.P)[-1]


@pytest.mark.parametrize("block", range(4))
def test_random_compositions_of_ops_are_compiled(block):
    """No composition is refused; buffers that are used again, views of them, and writing over arguments show here."""
    for seed in range(40 * block, 40 * (block + 1)):
        a, b = (Composition(random_program(seed)) for _ in range(2))
        oa, ob = (tg.optim.SGD(m.parameters(), lr=1e-3, momentum=0.5 * (seed % 2)) for m in (a, b))
        loss = lambda z, y: z * np.mean(y)  # noqa: E731  # the data enter too
        slow, fast = eager(a, loss, oa), tg.compile(b, loss, ob, gradients=True)
        x = y = np.ones((1, 9))
        for _ in range(2):
            J, cost = slow(x, y), fast(x, y)
            # the operands are of order 1, at most a few hundred roundings apart
            assert cost == pytest.approx(J, rel=1e-10, abs=1e-10), seed
            for p, q in zip(a.parameters(), b.parameters(), strict=True):
                for one, other in ((p.data, q.data), (p.grad, q.grad)):
                    if one is not None:
                        scale = 1e-9 * max(1.0, np.abs(one).max())
                        np.testing.assert_allclose(other, one, rtol=1e-9, atol=scale, err_msg=f"{seed} {p.name}")
