"""Memory of a compiled step: what anybody holds keeps its values, whatever it is, and costs what it costs eagerly."""

import gc
import pickle
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_dls as tg
from tests.compiler.steps import LOGITS, X, Y, assert_alike, assert_same_gradients, eager, sgd
from tinygrad_dls import nn

OPTIMIZERS = {
    "plain": lambda m: sgd(m),
    "momentum": lambda m: sgd(m, lr=0.1, momentum=0.9),
    "adam": lambda m: tg.optim.Adam(m.parameters(), lr=0.01),
}

# Ways to see the memory of an array: each gives an object, and a function from it to the bytes that it shows.
WAYS = {
    "itself": lambda a: a,
    "a row": lambda a: a[0],
    "a row of the transpose": lambda a: a.T[0],
    "the transpose": lambda a: a.T,
    "a slice": lambda a: a[:, ::2],
    "an entry as an array": lambda a: a[:1, :1],
    "reshaped": lambda a: a.reshape(-1),
    "np.asarray": np.asarray,
    "view": lambda a: a.view(),
    "of another type": lambda a: a.view(np.recarray),
    "a view of the transpose": lambda a: a.T.view(),
    "broadcast": lambda a: np.broadcast_to(a, (2, *a.shape)),
    "windows": lambda a: np.lib.stride_tricks.sliding_window_view(a, 1, axis=0),
    "strides": lambda a: np.lib.stride_tricks.as_strided(a),
    "diagonal": lambda a: np.diagonal(a),
    "swapped": lambda a: np.swapaxes(a, 0, -1)[None],
    "memoryview": memoryview,
    "a slice of a memoryview": lambda a: memoryview(a)[:1],
    "of a memoryview": lambda a: np.asarray(memoryview(a)),
    "DLPack": np.from_dlpack,
    "an iterator": np.nditer,
    "flat": lambda a: a.flat,
    "in a list": lambda a: [a[0:]],
    "in a closure": lambda a: lambda: a,
    "what it is a view of": lambda a: a if a.base is None else a.base,
    "a detached Tensor": lambda a: tg.Tensor(a),
    "a graph": lambda a: np.sum(tg.Tensor(a, requires_grad=True).T),
    "out of band": lambda a: pickle.PickleBuffer(np.ascontiguousarray(a)),
}


def shown(x):
    """The bytes that a holder sees, whatever he holds."""
    if callable(x):
        return shown(x())
    if isinstance(x, list):
        return shown(x[0])
    if isinstance(x, tg.Tensor):
        return shown(x.inputs[0]) if x.op else x._value.tobytes()
    if isinstance(x, np.nditer):
        return shown(x.operands[0])
    if isinstance(x, np.flatiter):
        return np.array(x).tobytes()
    return bytes(x) if isinstance(x, pickle.PickleBuffer) else x.tobytes()


def arrays_of(model, optimizer):
    """All that a step hands out."""
    state = [x for p in model.parameters() for x in optimizer._state.get(p, ()) if np.ndim(x)]
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    return [*(p._value for p in model.parameters()), *(p.data for p in model.parameters()), *state, *grads]


actions = st.lists(
    st.tuples(
        st.sampled_from(["hold"] * 6 + ["drop", "step", "step", "step", "replace", "change", "graph", "weak", "batch"]),
        st.integers(0, 40),
        st.sampled_from(sorted(WAYS)),
    ),
    min_size=4,
    max_size=24,
)


@given(st.sampled_from(sorted(OPTIMIZERS)), st.booleans(), st.sampled_from([1, 40]), actions)
def test_whatever_anybody_holds_keeps_its_values_and_the_training_is_the_eager_one(name, gradients, wide, todo):
    a, b = (nn.TwoLayerNetwork(3, 2 + wide, rng=0) for _ in range(2))
    oa, ob = OPTIMIZERS[name](a), OPTIMIZERS[name](b)
    slow, fast = eager(a, LOGITS, oa), tg.compile(b, LOGITS, ob, gradients=gradients)
    held, graphs, weak, columns = [], [], [], slice(None)

    def step():
        J, cost = slow(X[:, columns], Y[:, columns]), fast(X[:, columns], Y[:, columns])
        assert cost == pytest.approx(J, rel=1e-10)
        for p, q in zip(a.parameters(), b.parameters(), strict=True):
            assert_alike(p._value, q._value, p.name)
        for x, before in held:
            assert shown(x) == before
        for x, before in weak:
            assert x() is None or shown(x()) == before

    step()
    for action, k, way in todo:
        given_out = arrays_of(b, ob)
        array = given_out[k % len(given_out)]
        del given_out
        if action == "hold":
            x = WAYS[way](array)
            held.append((x, shown(x)))
            del x
        elif action == "weak":
            weak.append((weakref.ref(array), shown(array)))
        elif action == "drop" and held:
            del held[k % len(held)]
        elif action == "graph":
            graphs.append((LOGITS(a(X), Y), LOGITS(b(X), Y)))
        elif action in ("replace", "change"):
            p, q = (model.parameters()[k % 4] for model in (a, b))
            for w in (p, q):
                new = w.data * 0.75
                if action == "replace":
                    w.data = new
                elif not held and not graphs and not weak:  # else it is the user who changes what is held
                    w.data[...] = new
                else:
                    w.data = new
        elif action == "batch":
            columns = slice(k % 20, None)
        del array
        step()
    for J, K in graphs:
        assert_same_gradients(a, J, b, K)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_each_way_to_see_each_array(name, way):
    model = nn.TwoLayerNetwork(3, 4, rng=0)
    optimizer = OPTIMIZERS[name](model)
    step = tg.compile(model, LOGITS, optimizer, gradients=True)
    held = []
    for _ in range(5):
        step(X, Y)
        held += [(x := WAYS[way](array), shown(x)) for array in arrays_of(model, optimizer)]
    for x, before in held:
        assert shown(x) == before


def test_memory_that_is_taken_for_free_too_early_is_noticed(monkeypatch):
    """Else the tests above would show nothing."""
    monkeypatch.setattr("tinygrad_dls.compiler.store.getrefcount", lambda x: 0)
    for way in WAYS:
        with pytest.raises(AssertionError):
            test_each_way_to_see_each_array("plain", way)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_memory_is_used_again_as_long_as_nobody_sees_it(name):
    model = nn.TwoLayerNetwork(3, 4, rng=0)
    step = tg.compile(model, LOGITS, OPTIMIZERS[name](model))
    for _ in range(3):
        step(X, Y)
    version = step._now.store.pair.version
    for _ in range(10):
        step(X, Y)
    assert step._now.store.pair.version is version
    row = model.parameters()[0].data[0]
    step(X, Y), step(X, Y)
    assert step._now.store.pair.version is not version
    assert row.shape == (3,)


def bytes_kept(x):
    """The memory that an array keeps alive."""
    seen = x
    while getattr(x, "base", None) is not None:
        seen = x = x.base
    return getattr(seen, "array", seen).nbytes


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_bias_that_is_kept_of_each_step_keeps_nothing_else_from_the_second_one_on(name):
    model = nn.TwoLayerNetwork(50, 50, rng=0)
    step = tg.compile(model, LOGITS, OPTIMIZERS[name](model))
    data = np.ones((50, 8)), np.ones((1, 8))
    kept = []
    for _ in range(12):
        step(*data)
        kept.append(model.parameters()[3].data)
    assert sum(map(bytes_kept, kept[4:])) == 8 * 8
    assert len({float(x) for x in map(np.squeeze, kept)}) == 12


def test_a_bias_of_a_large_model_never_keeps_anything_else():
    model = nn.TwoLayerNetwork(400, 400, rng=0)
    step = tg.compile(model, LOGITS, sgd(model))
    kept = []
    for _ in range(4):
        step(np.ones((400, 8)), np.ones((1, 8)))
        kept += [p.data for p in model.parameters()[1:]]
    assert sum(map(bytes_kept, kept)) == 4 * 8 * (400 + 400 + 1)


def test_what_is_given_as_a_copy_can_be_changed_in_place_as_any_parameter():
    pairs = []
    for compiled in (False, True):
        model = nn.TwoLayerNetwork(50, 50, rng=0)
        optimizer = OPTIMIZERS["momentum"](model)
        step = tg.compile(model, LOGITS, optimizer) if compiled else eager(model, LOGITS, optimizer)
        kept = []
        for _ in range(8):
            step(np.ones((50, 8)), np.ones((1, 8)))
            kept.append(model.parameters()[3].data.copy())
            model.parameters()[3].data[...] += 0.25
            optimizer._state[model.parameters()[3]][0][...] *= 0.5
        pairs.append(kept)
    np.testing.assert_allclose(*pairs, rtol=1e-12)


def test_parameters_that_are_kept_do_not_keep_the_state_of_adam():
    model = nn.TwoLayerNetwork(50, 50, rng=0)
    step = tg.compile(model, LOGITS, OPTIMIZERS["adam"](model))
    step(np.ones((50, 8)), np.ones((1, 8)))
    entries = sum(p.size for p in model.parameters())
    assert bytes_kept(model.parameters()[0].data) < 8 * entries + 64


def test_a_parameter_that_nobody_holds_is_gone_as_after_an_eager_step():
    """A cache that holds it by a weak reference must not find other values in it."""
    model = nn.TwoLayerNetwork(3, 4, rng=0)
    step = tg.compile(model, LOGITS, sgd(model))
    step(X, Y)
    seen = [weakref.ref(p._value) for p in model.parameters()]
    step(X, Y)
    gc.collect()
    assert [r() for r in seen] == [None] * 4


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_arrays_that_nobody_holds_are_handed_out_again(name, apart):
    model = nn.TwoLayerNetwork(50, 50, rng=0)
    step = tg.compile(model, LOGITS, OPTIMIZERS[name](model))
    kept = []
    for _ in range(12):
        step(np.ones((50, 8)), np.ones((1, 8)))
        kept += [model.parameters()[3].data] if apart else []
    assert bool(step._now.store.apart) == apart
    seen = []
    for _ in range(4):
        step(np.ones((50, 8)), np.ones((1, 8)))
        seen.append(id(model.parameters()[0]._value))
    assert seen[:2] == seen[2:]
    assert seen[0] != seen[1]


@pytest.mark.parametrize("each", [True, False])
def test_an_array_that_a_caller_has_locked_does_not_come_back_with_its_memory(each):
    model = nn.TwoLayerNetwork(3, 4, rng=0)
    step = tg.compile(model, LOGITS, sgd(model))
    for i in range(8):
        step(X, Y)
        if each or not i:
            for p in model.parameters():
                assert p.data.flags.writeable
                p.data.flags.writeable = False
    step(X, Y)
    assert all(p.data.flags.writeable for p in model.parameters())


def test_a_step_that_is_interrupted_between_two_parameters_gives_back_what_is_held():
    """The first of them holds what came before, the second what comes now; a second install takes care of both."""
    model = nn.TwoLayerNetwork(3, 4, rng=0)
    optimizer = sgd(model)
    step = tg.compile(model, LOGITS, optimizer)
    step(X, Y), step(X, Y)
    store, held = step._now.store, [p.data for p in model.parameters()]
    before = [x.copy() for x in held]
    rows, index = store.pair.rows, 1 - store.front
    first, rest = rows[index][:2], rows[index][2:]
    rows[index] = first  # as far as it came
    store.install(index, optimizer, optimizer.steps, (), ())
    store.front, store.pair.rows[index] = 1 - index, store.pair.rows[index] + rest
    store.install(index, optimizer, optimizer.steps, (), ())
    for _ in range(4):
        step(X, Y)
    for x, y in zip(held, before, strict=True):
        np.testing.assert_array_equal(x, y)


# -- what compiled functions give -------------------------------------------------------------------------------------

OUTPUTS = {
    "zeros": lambda x: (np.tanh(x), np.zeros_like(x)),
    "ones times a number": lambda x: 2 * np.ones_like(x),
    "a shape": lambda x: np.full_like(x, x.shape[1]),
    "a broadcast constant": lambda x: np.broadcast_to(np.ones_like(x), (2, *x.shape)),
    "a view of a constant": lambda x: np.ones_like(x).T,
    "a part of a constant": lambda x: (np.zeros_like(x), np.zeros_like(x)[0]),
    "a sum of constants": lambda x: np.sum(np.ones_like(x), axis=0),
    "a constant twice": lambda x: (np.zeros_like(x), np.zeros_like(x)),
    "the argument": lambda x: x,
    "the argument and its parts": lambda x: [x, x.T, x[0], x[:, 1:], x.reshape(-1)],
    "a broadcast argument": lambda x: np.broadcast_to(x, (2, *x.shape)),
    "a result and its parts": lambda x: (lambda y: {"y": y, "parts": [y.T, y[0], y[::-1], y.reshape(-1)]})(np.tanh(x)),
    "a result twice": lambda x: (lambda y: (y, y))(np.tanh(x)),
    "a result that is gone on with": lambda x: (lambda y: (y, np.exp(y), -np.exp(y)))(np.tanh(x)),
    "an entry": lambda x: (x[0, 0], x[:1, :1], x[0]),
    "booleans": lambda x: (x > 0, np.zeros_like(x) > 0),
    "the same dtype": lambda x: (x.astype(float), x.copy()),
    "empty": lambda x: (x[:0], np.sum(x[:0], axis=0)),
}


def arrays_in(x):
    if isinstance(x, dict):
        x = list(x.values())
    if isinstance(x, (list, tuple)):
        return [y for part in x for y in arrays_in(part)]
    return [x]


@pytest.mark.parametrize("name", OUTPUTS)
def test_outputs_are_new_arrays_that_may_be_written_into(name):
    f = OUTPUTS[name]
    compiled, x = tg.compile(f), X[:2, :4].copy()
    seen = []
    for _ in range(3):
        right, got = arrays_in(f(x.copy())), arrays_in(compiled(x))
        np.testing.assert_array_equal(x, X[:2, :4])
        for one, other in zip(right, got, strict=True):
            assert (type(one), one.dtype) == (type(other), other.dtype)
            np.testing.assert_allclose(other, one, rtol=1e-14)
        new = [y for y in got if isinstance(y, np.ndarray)]
        for i, y in enumerate(new):
            assert not any(np.may_share_memory(y, z) for z in [x, *seen, *new[:i]])
            y[...] = 77
        seen += new


def test_a_constant_gradient_is_a_new_array_at_each_step():
    class Sum(nn.Module):
        def __init__(self):
            self.b = nn.Parameter(np.zeros((2, 1)))

        def __call__(self, x):
            return self.b + 0 * x[:2]

    model = Sum()
    step = tg.compile(model, lambda z, y: np.sum(model.b) + 0 * np.sum(z), sgd(model), gradients=True)
    for _ in range(3):
        step(X, Y)
        np.testing.assert_array_equal(model.b.grad, np.ones((2, 1)))
        model.b.grad[...] = 5
