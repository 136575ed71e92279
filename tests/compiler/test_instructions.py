"""Instructions as data: all that a routine does, without its text, which is all that another printer would need."""

import numpy as np
import pytest

import tinygrad_dls as tg
from tests.compiler.steps import LOGITS, OPTIMIZERS
from tinygrad_dls import nn
from tinygrad_dls.compiler.instructions import Buffer, Instruction, Place, buffer, perform
from tinygrad_dls.compiler.lowering import is_number
from tinygrad_dls.compiler.text import Text, source
from tinygrad_dls.ir.call import Call, each, evaluate, toposort

RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 50))
Y = RNG.integers(0, 3, (1, 50))


class Machine:
    """Runs instructions one by one with NumPy, in memory of its own; it knows of no text."""

    def __init__(self, routine, given, m, rate):
        self.given, self.numbers = given, {"m": m, "learning_rate": rate}
        self.memory = {slot: np.empty(slot.shape, slot.dtype) for slot in routine.slots}
        for x in routine.setup:
            self.do(x)

    def value(self, x):
        if isinstance(x, Buffer):
            return self.memory[x] if x in self.memory else self.given[x.name]
        if isinstance(x, Call):
            numbers = {y: self.numbers[y.name] for y in toposort([x]) if y.function is None}
            return np.asarray(*evaluate([x], numbers)).item()  # as Python computes it: a number without a dtype
        return x

    def result(self, call):
        if call.function is None or is_number(call):
            return self.value(call)
        return call.function(*each(self.value, call.args), **each(self.value, call.options))

    def do(self, x):
        if x.into:
            self.value(x.out)[...] = self.result(x.call)
        else:
            self.memory[x.out] = self.result(x.call)

    def run(self, routine):
        for x in routine.steps:
            self.do(x)
        returned = [self.value(x) for x in routine.returned]
        if routine.cost is None:
            return returned
        inner, *scale = [routine.cost] if isinstance(routine.cost, Buffer) else routine.cost.args
        cost = float(self.value(inner))
        return [routine.cost.function(cost, *map(self.value, scale)) if scale else cost, *returned]


def network(dtype):
    return nn.Sequential(nn.Linear(3, 4, rng=0, dtype=dtype), nn.Tanh(), nn.Linear(4, 3, rng=1, dtype=dtype))


MODELS = {
    "softmax": (network, tg.softmax_cross_entropy),
    "logistic": (lambda dtype: nn.Linear(3, 1, rng=0, dtype=dtype), lambda z, y: LOGITS(z, np.minimum(y, 1) * 1.0)),
}


def started(name, optimizer, dtype, **options):
    """A compiled step that has run once, what it started from, and its first cost."""
    make, loss = MODELS[name]
    model = make(dtype)
    before = {p: p.data.copy() for p in model.parameters()}
    step = tg.compile(model, loss, OPTIMIZERS[optimizer](model), **options)
    before["rate"] = step.optimizer._rate()
    return step, before, step(X.astype(dtype), Y)


def flat_arrays(step, before):
    """The flat arrays that a first step finds, by name, and the arguments."""
    plan, store = step._now.runner.plan, step._now.store
    arrays = {name: np.zeros(plan.layout.size, plan.layout.dtype) for name in plan.layout.regions}
    arrays |= {f"new_{name}": np.full_like(x, np.nan) for name, x in arrays.items()}
    arrays |= {"gradients": np.full_like(arrays["parameters"], np.nan)}
    for name, view in plan.layout.views(arrays["parameters"]).items():
        view[...] = before[store.parameters[store.names.index(name)]]
    last = (plan.whole or plan.update).arguments
    counts = {x.name: np.zeros((), int) for x in last[3:]}  # behind X, Y and the learning rate
    return arrays | counts | {"X": X.astype(plan.layout.dtype), "Y": Y}


CASES = [(name, optimizer, dtype) for name in MODELS for optimizer in OPTIMIZERS for dtype in ("float64", "float32")]


@pytest.mark.parametrize(("name", "optimizer", "dtype"), CASES)
def test_instructions_alone_give_what_the_text_gives_to_the_last_bit(name, optimizer, dtype):
    step, before, J = started(name, optimizer, dtype)
    plan, store = step._now.runner.plan, step._now.store
    given = flat_arrays(step, before)
    cost, *_ = Machine(plan.whole, given, 50, before["rate"]).run(plan.whole)
    assert cost == J
    for name, new in plan.layout.views(given["new_parameters"]).items():
        np.testing.assert_array_equal(new, store.parameters[store.names.index(name)].data)


@pytest.mark.parametrize("optimizer", ["plain", "adam"])
def test_tiles_are_instructions_too(optimizer):
    step, before, J = started("softmax", optimizer, "float64", tile=32, threads=1)
    plan, store = step._now.runner.plan, step._now.store
    given, size = flat_arrays(step, before), plan.layout.size
    rate, sums = before["rate"], []
    for start in (0, 32):
        own = np.zeros(plan.sums)
        tile = {"X": X[:, start : start + 32], "Y": Y[:, start : start + 32], "sums": own, "gradients": own[:size]}
        columns = plan.tiles[tile["X"].shape[1]]
        assert all(not x.contiguous for x in columns.arguments)
        Machine(columns, given | tile, 50, rate).run(columns)
        sums.append(own)
    total = sums[0] + sums[1]
    given |= {"sums": total, "gradients": total[:size]}
    cost, *_ = Machine(plan.update, given, 50, rate).run(plan.update)
    assert cost == pytest.approx(J, rel=1e-14)  # two halves, each summed up in another order
    for name, new in plan.layout.views(given["new_parameters"]).items():
        np.testing.assert_allclose(new, store.parameters[store.names.index(name)].data, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(("name", "optimizer", "dtype"), CASES)
def test_a_buffer_is_what_it_says(name, optimizer, dtype):
    """Its shape, its dtype, the memory that it is a view of, and that its entries lie one after another."""
    step, before, _ = started(name, optimizer, dtype)
    plan, given = step._now.runner.plan, flat_arrays(step, before)
    machine = Machine(plan.whole, given, 50, before["rate"])
    machine.run(plan.whole)
    for of, x in machine.memory.items():
        assert (np.shape(x), x.dtype) == (of.shape, of.dtype), of
        assert not of.contiguous or np.asarray(x).flags.c_contiguous, of
        if of.of is not None:
            assert np.shares_memory(x, machine.value(of.owner)), of


def check_memory(routine):
    """Go through the instructions and see that whatever is read is what was written there last."""
    inside = {}  # by memory that is used again: the buffer that was written last
    for x in routine.steps:
        read = {y for y in toposort([x.call], known=lambda y: not isinstance(y, Call)) if isinstance(y, Buffer)}
        for y in read:
            if y.place is Place.SLOT:
                last = inside[y.owner]
                same = y is last or any(z is last for z in views_between(y))
                assert same, f"{x.out} reads {y}, which was written over by {last}"
        if x.into and x.out.place is Place.SLOT:
            inside[x.out.owner] = x.out


def views_between(buffer):
    while buffer.of is not None:
        buffer = buffer.of
        yield buffer


@pytest.mark.parametrize(("name", "optimizer", "dtype"), CASES)
def test_no_instruction_reads_what_was_written_over(name, optimizer, dtype):
    step, *_ = started(name, optimizer, dtype)
    check_memory(step._now.runner.plan.whole)


def test_an_instruction_that_reads_what_was_written_over_is_noticed():
    step, *_ = started("softmax", "plain", "float64")
    routine = step._now.runner.plan.whole
    i = next(i for i, x in enumerate(routine.steps) if x.into and x.out.place is Place.SLOT)
    routine.steps.append(Instruction(routine.steps[i].out, routine.steps[-1].out, True))
    with pytest.raises(AssertionError, match="which was written over by"):
        check_memory(routine)


def test_a_number_that_hangs_on_m_has_no_dtype_in_the_setup():
    """One of NumPy's would make float64 of float32, and no product could be written into its place."""
    single, m = np.dtype("f4"), Call(None, (), {}, (), int, "m")
    x, out = buffer("x", (2,), single, Place.CONSTANT), buffer("c", (2,), single, Place.CONSTANT)
    call = Call(np.multiply, (x, Call(np.divide, (0.1, m), {}, (), float)), {}, (2,), single)
    names = {"x": np.ones(2, single), "m": 50}
    perform([Instruction(call, out)], names)
    assert names["c"].dtype == single
    assert names["c"].tolist() == [np.float32(0.1 / 50)] * 2


def test_the_text_is_a_function_of_the_instructions():
    step, *_ = started("softmax", "plain", "float64")
    routine = step._now.runner.plan.whole
    assert source([routine]) == step.source
    dropped = next(x for x in routine.steps if x.call.function is np.tanh)
    routine.steps.remove(dropped)
    assert "tanh(" not in source([routine])


@pytest.mark.parametrize(("name", "optimizer", "dtype"), CASES)
def test_the_source_runs_by_itself_and_gives_the_same(name, optimizer, dtype):
    """The setup, which is performed and not compiled, is what the source says."""
    step, before, J = started(name, optimizer, dtype)
    routine, given = step._now.runner.plan.whole, flat_arrays(step, before)
    names = {**Text(routine).constants, "np": np, "m": 50, **given}
    names |= {slot.name: np.empty(slot.shape, slot.dtype) for slot in routine.slots}
    exec(compile(step.source, "<source>", "exec"), names)
    given["learning_rate"] = before["rate"]
    result = names["step"](*[given[x.name] for x in routine.arguments])
    assert (result[0] if isinstance(result, tuple) else result) == J
    for new, p in zip(step._now.store.pair.buffers[step._now.store.front], [given["new_parameters"]], strict=False):
        np.testing.assert_array_equal(p, new.flat)
