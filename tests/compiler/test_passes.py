"""The passes of a compiled step, each by itself: the same numbers before and after, and memory that is free."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_dls as tg
from tests.support.programs import EPS, calls_saved, text
from tinygrad_dls import nn
from tinygrad_dls.compiler.augmenting import append_bias, augment
from tinygrad_dls.compiler.draft import Draft, Update, run_passes
from tinygrad_dls.compiler.liveness import assign_slots
from tinygrad_dls.compiler.lowering import RULES, is_number, lower
from tinygrad_dls.compiler.plan import draft_of, plan
from tinygrad_dls.compiler.recording import record
from tinygrad_dls.compiler.scaling import delay_scaling
from tinygrad_dls.compiler.updating import flat_update
from tinygrad_dls.ir.call import Call, evaluate, toposort
from tinygrad_dls.ir.tracer import Trace

PROGRAMS = range(settings.default.max_examples)  # 100 ordinarily, 3,000 in the deep profile
LOGITS = tg.binary_cross_entropy_with_logits
RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 50))
Y = (RNG.random((1, 50)) < 0.5).astype(float)


# -- calls ------------------------------------------------------------------------------------------------------------


def outputs_after(*passes):
    """The passes as a function from outputs to outputs."""
    return lambda outputs: run_passes(Draft(outputs), passes).outputs


lowered = outputs_after(lower)


@pytest.mark.parametrize("change", [lowered, outputs_after(delay_scaling), outputs_after(lower, delay_scaling)])
def test_no_pass_changes_a_result_of_a_random_program_beyond_rounding(change):
    for seed in PROGRAMS:
        try:
            calls_saved(seed, change)
        except Exception as error:
            error.add_note(f"random program {seed}")
            raise


def rounded_down(call):
    """tanh(x) is tanh(x) less a tenth of a billionth: wrong, by more than rounding."""
    if call.function is np.tanh and isinstance(call.args[0], Call) and call.args[0].function is not np.multiply:
        inner = Call(np.multiply, (call.args[0], 1 - 1e-10), {}, call.shape, call.dtype)
        return Call(np.tanh, (inner,), {}, call.shape, call.dtype)
    return None


def test_a_pass_with_a_wrong_rule_is_noticed(monkeypatch):
    monkeypatch.setattr("tinygrad_dls.compiler.lowering.RULES", (*RULES, rounded_down))
    noticed = 0
    for seed in range(60):
        try:
            calls_saved(seed, lowered)
        except AssertionError:
            noticed += 1
    assert noticed > 3  # of the few that hold a tanh


INPUTS = {
    "x": np.linspace(-3, 3, 6).reshape(2, 3),
    "y": np.linspace(0.1, 1, 6).reshape(2, 3),
    "w": np.linspace(-1, 1, 9).reshape(3, 3),
    "f": np.linspace(-3, 3, 6, dtype=np.float32).reshape(2, 3),
    "big": np.array([[-1000.0, -40.0, 0.0], [1e-3, 40.0, 1000.0]]),
}
LOG = "np.log1p(np.exp(-np.abs({0})))"
SIGMOID = "np.exp(np.minimum({0}, 0)) / (1 + np.exp(-np.abs({0})))"
LOWERED = {
    "np.sum(x)": "total(x, ones((2, 3), dtype=dtype('float64')))",
    "np.sum(x * y)": "total(x, y)",
    "np.sum(x ** 2)": "total(x, x)",
    "np.sum(x, axis=1)": "dot(x, ones((3,), dtype=dtype('float64')))",
    "np.sum(x, axis=1, keepdims=True)": "dot(x, ones((3, 1), dtype=dtype('float64')))",
    "np.sum(x, axis=0)": "dot(ones((2,), dtype=dtype('float64')), x)",
    "np.mean(x, axis=0)": "divide(dot(ones((2,), dtype=dtype('float64')), x), 2)",
    "np.sum(x > 0)": "sum(greater(x, 0), axis=(0, 1))",
    "x @ w": "dot(x, w)",
    "f @ w": "matmul(f, w)",
    "np.clip(x, -1, 1)": "minimum(maximum(x, -1), 1)",
    "1 + x": "add(x, 1)",
    "-np.abs(x)": "copysign(x, -1)",
    "x ** 2": "square(x)",
    "(x > 0) * y": "multiply(greater(x, 0), y)",
    "np.maximum(x, 0) + np.minimum(x, 0)": "add(maximum(x, 0), minimum(x, 0))",
    "np.maximum(x, 0) + np.minimum(x, 0) + np.exp(-np.abs(x))": (
        "add(add(maximum(x, 0), minimum(x, 0)), exp(subtract(minimum(x, 0), maximum(x, 0))))"
    ),
    "np.minimum(x, 0) - np.abs(x)": "subtract(minimum(x, 0), absolute(x))",
    "np.maximum(x, 0) - np.abs(x)": "subtract(maximum(x, 0), absolute(x))",
    f"{LOG} + {SIGMOID}".format("x"): (
        "add(log1p(exp(copysign(x, -1))), exp(subtract(minimum(x, 0), log1p(exp(copysign(x, -1))))))"
    ),
    f"{LOG.format('y')} + {SIGMOID.format('x')}": (
        "add(log1p(exp(copysign(y, -1))), divide(exp(minimum(x, 0)), add(exp(copysign(x, -1)), 1)))"
    ),
}


def recorded_call(code):
    trace = Trace()
    return eval(code, {"np": np, **{name: trace.input(name, x) for name, x in INPUTS.items()}}).call


def value_of(call):
    return evaluate([call], {x: INPUTS[x.name] for x in toposort([call]) if x.function is None})[0]


@pytest.mark.parametrize("code", LOWERED)
def test_what_costs_much_becomes_what_costs_little(code):
    call = recorded_call(code)
    (new,) = lowered([call])
    assert text(new) == LOWERED[code]
    np.testing.assert_allclose(value_of(new), value_of(call), rtol=8 * EPS, atol=8 * EPS)  # a few roundings
    assert (new.shape, new.dtype) == (call.shape, call.dtype)


def test_the_sigmoid_from_its_logarithm_is_exact_at_any_logit():
    call = recorded_call(f"{SIGMOID} + 0 * {LOG}".format("big"))
    (new,) = lowered([call])
    assert "divide" not in text(new)
    # the exponent is rounded at the size of z, 1000 at the most
    np.testing.assert_allclose(value_of(new), value_of(call), rtol=1000 * EPS)


FACTORED = {
    "(x / 50) @ w": "multiply(matmul(x, w), 0.02)",
    "np.tanh(x * 2) @ w": "matmul(tanh(multiply(x, 2.0)), w)",
    "-(x * 2)": "multiply(x, -2.0)",
    "(x / 50).T": "multiply(transpose(x), 0.02)",
    "(x * 1e30) @ (w * 1e30)": "matmul(multiply(x, 1e+30), multiply(w, 1e+30))",
    "(x / 50) * (y / 50)": "multiply(multiply(x, y), 0.0004)",
}


@pytest.mark.parametrize("code", FACTORED)
def test_numbers_are_multiplied_last_unless_that_could_overflow(code):
    call = recorded_call(code)
    (new,) = outputs_after(delay_scaling)([call])
    np.testing.assert_allclose(value_of(new), value_of(call), rtol=8 * EPS, atol=8 * EPS)
    assert text(new) == FACTORED[code]


# -- a step -----------------------------------------------------------------------------------------------------------


def a_step(model, loss=LOGITS, optimizer=None, x=X, y=Y):
    optimizer = optimizer or tg.optim.SGD(model.parameters(), lr=0.5)
    return record(model, loss, optimizer, x, y)[0]


def values_of_a_step(step, outputs, x=X, y=Y):
    inputs = dict(zip(step.data, (x, y), strict=True))
    inputs |= {call: p.data for call, p in zip(step.parameters, step.tensors, strict=True)}
    inputs |= {call: np.full(call.shape, 0.3, call.dtype) for call in step.state}
    symbols = [c for c in toposort(outputs) if is_number(c) and c.function is None]
    inputs |= {c: 0.5 if c.dtype is float else x.shape[1] for c in symbols}
    return evaluate(outputs, inputs)


OPTIMIZERS = {
    "plain": lambda m: tg.optim.SGD(m.parameters(), lr=0.5),
    "nesterov": lambda m: tg.optim.SGD(m.parameters(), lr=0.5, momentum=0.9, nesterov=True, weight_decay=0.1),
    "adam": lambda m: tg.optim.Adam(m.parameters(), lr=0.5),
    "rmsprop": lambda m: tg.optim.RMSprop(m.parameters(), lr=0.5, clip_norm=0.1),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("loss", [LOGITS, lambda z, y: tg.binary_cross_entropy(tg.sigmoid(z), y)])
def test_each_pass_keeps_the_numbers_of_a_step(optimizer, loss):
    model = nn.TwoLayerNetwork(3, 4, rng=0)
    step = a_step(model, loss, OPTIMIZERS[optimizer](model))
    draft = draft_of(step)
    before = values_of_a_step(step, draft.outputs)
    for change in (lower, delay_scaling, augment):
        draft, told = change(draft)
        assert told.endswith(".")
        for one, other in zip(before, values_of_a_step(step, draft.outputs), strict=True):
            # sums of 50 terms of order 1 in another order
            np.testing.assert_allclose(other, one, rtol=0, atol=100 * EPS * max(1, np.abs(one).max()))


class Twice(nn.Module):
    """The first layer is used twice, so that its dW is a sum of two products."""

    def __init__(self):
        self.first, self.last = nn.Linear(3, 3, rng=0), nn.Linear(3, 1, rng=1)

    def __call__(self, x):
        return self.last(np.tanh(self.first(np.tanh(self.first(x)))))


@pytest.mark.parametrize("model", [nn.TwoLayerNetwork(3, 4, rng=0), Twice()])
def test_both_layers_are_joined_each_at_one_place(model):
    step = a_step(model)
    draft = run_passes(draft_of(step), (lower, delay_scaling))
    new, told = augment(draft)
    assert len(new.partners) == 2
    assert "in 2 layers" in told
    assert sum(call.function is append_bias for call in toposort(new.outputs)) == 2
    for one, other in zip(values_of_a_step(step, draft.outputs), values_of_a_step(step, new.outputs), strict=True):
        np.testing.assert_allclose(other, one, rtol=0, atol=100 * EPS)  # sums of 50 terms of order 1


def an_update(name, shape, new):
    p, g = (Call(None, (), {}, shape, np.dtype(float), n) for n in (name, "d" + name))
    gradient = Call(np.dot, (g, g), {}, shape, np.dtype(float))
    return Update(p, new(p, gradient), (), ())


def less(p, step):
    return Call(np.subtract, (p, step), {}, p.shape, p.dtype)


def times(x, y, like):
    return Call(np.multiply, (x, y), {}, like.shape, like.dtype)


def norm(p):
    return Call(np.sum, (p,), {}, (), p.dtype)


ONE_UPDATE = {
    "the same": ([lambda p, g: less(p, times(g, 0.5, p))] * 2, True),
    "decay": ([lambda p, g: less(p, times(less(g, times(p, 0.1, p)), 0.5, p))] * 2, True),
    "other numbers": ([lambda p, g, c=c: less(p, times(g, c, p)) for c in (0.5, 0.6)], False),
    "a norm": ([lambda p, g: less(p, times(g, norm(p), p))] * 2, False),
}


@pytest.mark.parametrize("name", ONE_UPDATE)
def test_updates_are_joined_where_they_are_the_same_entry_by_entry(name):
    """The norm of all parameters at once would be another number than that of each."""
    functions, able = ONE_UPDATE[name]
    updates = [an_update(n, s, f) for n, s, f in zip("Wb", [(4, 4), (3, 3)], functions, strict=True)]
    flat = flat_update(updates, 25)
    assert (flat is not None) is able
    if flat is not None:
        assert [call.shape for call in flat.new] == [(25,)]


def test_updates_with_an_array_of_constants_are_flat_behind_it():
    """A flat array has other places than the constants: what they are multiplied with counts as the gradient."""
    mask = np.array([[1.0, 2.0], [3.0, 4.0]])
    masked = [an_update(n, (2, 2), lambda p, g: less(p, times(g, mask, p))) for n in "VW"]
    flat = flat_update(masked, 8)
    assert {call.function for call in flat.calls} == {None, np.subtract}
    assert [call.args[1] is mask for call in flat.gradients.values()] == [True, True]
    assert flat_update([an_update(n, (2, 2), lambda p, g: less(times(p, mask, p), g)) for n in "VW"], 8) is None


def test_equal_updates_are_told_in_no_time_however_often_they_use_their_parts():
    """Squared forty times over, written as products of itself: a tree of a million million calls, and forty calls."""

    def new(p, g):
        for _ in range(40):
            g = times(g, g, p)
        return less(p, g)

    flat = flat_update([an_update("V", (2, 2), new), an_update("W", (3, 1), new)], 7)
    assert len(flat.calls) == 43


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_adam_is_one_update_in_both_dtypes(dtype):
    """In float32, the correction is computed in float64 and rounded once: a number, which is the same for all."""
    model = nn.TwoLayerNetwork(3, 4, rng=0, dtype=dtype)
    x, y = X.astype(dtype), Y.astype(dtype)
    assert plan(a_step(model, optimizer=OPTIMIZERS["adam"](model), x=x, y=y), 50).is_flat


TILED = {
    "a mean of losses": (LOGITS, ""),
    "a norm of weights": (lambda z, y: LOGITS(z, y) + 0.1 * np.mean(z**2), ""),
    "a batch's mean": (lambda z, y: LOGITS(z - np.mean(z), y), "needs a sum over all examples"),
    "the largest": (lambda z, y: np.max(z * y), "is no sum over them"),
    "the reverse": (lambda z, y: LOGITS(z[:, ::-1], y), "does not work on each example by itself"),
    "a running sum": (lambda z, y: np.mean(np.cumsum(z * y, axis=1)), "does not work on each example by itself"),
    "pairs": (lambda z, y: np.mean((z.T @ z) * (y.T @ y)), "more than once"),
}


def not_tiled(plan):
    return any(line.startswith("Not tiled: ") for line in plan.lines)


@pytest.mark.parametrize("name", TILED)
def test_what_goes_through_tiles_and_why_something_does_not(name):
    loss, reason = TILED[name]
    step = a_step(nn.TwoLayerNetwork(3, 4, rng=0), loss)
    found = plan(step, 50, tile=16)
    assert any(reason in line for line in found.lines)
    assert not_tiled(found) is bool(reason)


@pytest.mark.parametrize(
    ("m", "tiled", "shared"), [(10_000, False, False), (50_000, True, False), (500_000, True, True)]
)
def test_many_examples_are_tiled_and_very_many_shared_by_threads(m, tiled, shared):
    """Arrays of one entry seen many times: only their shapes matter."""
    x, y = np.broadcast_to(0.5, (3, m)), np.broadcast_to(1.0, (1, m))
    found = plan(a_step(nn.TwoLayerNetwork(3, 4, rng=0), x=x, y=y), m)
    assert (bool(found.tiles), found.is_shared) == (tiled, shared)


def test_as_many_units_as_examples_are_not_taken_for_examples():
    """64 units, 64 examples: which axis is which cannot be told from lengths."""
    model = nn.TwoLayerNetwork(3, 64, rng=0)
    x, y = np.tile(X, 2)[:, :64], np.tile(Y, 2)[:, :64]
    found = plan(a_step(model, x=x, y=y), 64, tile=16)
    assert any("cannot be told which axes hold the examples" in line for line in found.lines)


# -- memory -----------------------------------------------------------------------------------------------------------


@st.composite
def straight_programs(draw):
    """Calls in order, of entries and of whole rows, views among them; and which of them are wanted in the end."""
    shapes = [(3,), (5,), (3, 4)]
    dtypes = [np.dtype("f4"), np.dtype("f8")]
    known = [
        Call(None, (), {}, shape, dtype, f"x{i}")
        for i, (shape, dtype) in enumerate(zip(shapes, dtypes * 2, strict=False))
    ]
    order = []
    for _ in range(draw(st.integers(1, 25))):
        x = draw(st.sampled_from(known))
        y = draw(st.sampled_from([z for z in known if z.shape == x.shape and z.dtype == x.dtype]))
        function = draw(st.sampled_from([np.add, np.multiply, np.tanh, np.dot, np.transpose]))
        shape = draw(st.sampled_from(shapes)) if function is np.dot else x.shape
        args = (x,) if function in (np.tanh, np.transpose) else (x, y)
        order.append(Call(function, args, {}, shape, x.dtype, f"t{len(order)}"))
        known.append(order[-1])
    return order, draw(st.lists(st.sampled_from(order), max_size=3)) + order[-1:], known[:3]


def owner(call):
    while call.function is np.transpose:
        call = call.args[0]
    return call


def check_liveness(order, wanted, given, liveness):
    """Go through the program and see that everything that is read still lies where it was written."""
    memory = {("given", x): x for x in given}
    places = {x: ("given", x) for x in given}
    for call in order:
        for x in call.calls():
            assert memory[places[owner(x)]] is owner(x), f"{call} reads {x}, which is gone"
        if call.function is np.transpose:
            continue
        if call in liveness.in_place:
            places[call] = places[liveness.in_place[call]]
        else:
            places[call] = ("slot", liveness.slot[call])
            dtype, size = liveness.slots[liveness.slot[call]]
            assert dtype == call.dtype
            assert size >= np.prod(call.shape)
        memory[places[call]] = call
    for x in wanted:
        assert memory[places[owner(x)]] is owner(x), f"{x} is wanted, and gone"


def liveness_of(order, wanted, scratch):
    arrays = {call for call in order if call.function is not np.transpose}
    return assign_slots(
        order, wanted, arrays=arrays, scratch=scratch, owner=owner, size=lambda call: int(np.prod(call.shape))
    )


@given(straight_programs(), st.booleans())
def test_nothing_is_written_over_before_its_last_use(program, with_scratch):
    order, wanted, given_ = program
    scratch = set(given_) if with_scratch else set()
    liveness = liveness_of(order, wanted, scratch)
    check_liveness(order, wanted, given_, liveness)
    assert not {liveness.in_place[call] for call in liveness.in_place} & set(given_) - scratch


def test_memory_is_used_again():
    x = Call(None, (), {}, (5,), np.dtype(float), "x")
    chain = [Call(np.dot, (x, x), {}, (5,), x.dtype)]
    for _ in range(9):
        chain.append(Call(np.dot, (chain[-1], x), {}, (5,), x.dtype))
    liveness = liveness_of(chain, chain[-1:], set())
    assert len(liveness.slots) == 2
    assert liveness.reused == 8


def test_memory_that_is_used_too_early_is_noticed():
    x = Call(None, (), {}, (5,), np.dtype(float), "x")
    a = Call(np.dot, (x, x), {}, (5,), x.dtype, "a")
    b = Call(np.dot, (a, x), {}, (5,), x.dtype, "b")
    c = Call(np.add, (a, b), {}, (5,), x.dtype, "c")
    liveness = liveness_of([a, b, c], [c], set())
    check_liveness([a, b, c], [c], [x], liveness)
    liveness.slot[b] = liveness.slot[a]
    with pytest.raises(AssertionError, match="reads a"):
        check_liveness([a, b, c], [c], [x], liveness)
