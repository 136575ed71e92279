"""Python's data model on Tensors: what keeps the graph, what is refused because it would lose it, what is a value.

The table below is held against the special methods of float, int, complex, list and ndarray: each has its row.
"""

import asyncio
import builtins
import copy
import math
import operator
import pickle
import sys
import threading
from contextlib import nullcontext

import numpy as np
import pytest

import tinygrad_dls as tg
from tinygrad_dls import nn

KEEPS, REFUSED, VALUE, NOT = "keeps the graph", "is refused", "is a plain value", "is no operation of Tensors"


def number(requires_grad=True):
    return tg.Tensor(2.5, requires_grad, name="w")


def vector(requires_grad=True):
    return tg.Tensor([1.0, 2.0], requires_grad, name="w")


def whole(requires_grad=True):
    """A whole number, for what takes no other; Tensors of integers have no gradient."""
    return tg.Tensor(2.0, True, name="w") if requires_grad else tg.Tensor(2, name="w")


# by special method: what makes Python call it, of which Tensor, and what becomes of the graph
TABLE = {
    "abs": (abs, number, KEEPS), "neg": (operator.neg, number, KEEPS), "pos": (operator.pos, number, KEEPS),
    "add": (lambda t: t + 1, number, KEEPS), "radd": (lambda t: 1 + t, number, KEEPS),
    "sub": (lambda t: t - 1, number, KEEPS), "rsub": (lambda t: 1 - t, number, KEEPS),
    "mul": (lambda t: t * 2, number, KEEPS), "rmul": (lambda t: 2 * t, number, KEEPS),
    "truediv": (lambda t: t / 2, number, KEEPS), "rtruediv": (lambda t: 2 / t, number, KEEPS),
    "pow": (lambda t: t**2, number, KEEPS), "rpow": (lambda t: 2**t, number, KEEPS),
    "matmul": (lambda t: t @ np.ones(2), vector, KEEPS), "rmatmul": (lambda t: np.ones(2) @ t, vector, KEEPS),
    "floordiv": (lambda t: t // 2, number, REFUSED), "rfloordiv": (lambda t: 2 // t, number, REFUSED),
    "mod": (lambda t: t % 2, number, REFUSED), "rmod": (lambda t: 2 % t, number, REFUSED),
    "divmod": (lambda t: divmod(t, 2), number, REFUSED), "rdivmod": (lambda t: divmod(2, t), number, REFUSED),
    "and": (lambda t: t & 1, number, REFUSED), "rand": (lambda t: 1 & t, number, REFUSED),
    "or": (lambda t: t | 1, number, REFUSED), "ror": (lambda t: 1 | t, number, REFUSED),
    "xor": (lambda t: t ^ 1, number, REFUSED), "rxor": (lambda t: 1 ^ t, number, REFUSED),
    "lshift": (lambda t: t << 1, number, REFUSED), "rlshift": (lambda t: 1 << t, number, REFUSED),
    "rshift": (lambda t: t >> 1, number, REFUSED), "rrshift": (lambda t: 1 >> t, number, REFUSED),
    "invert": (operator.invert, number, REFUSED),
    "float": (float, number, REFUSED), "int": (int, number, REFUSED), "complex": (complex, number, REFUSED),
    "index": (operator.index, whole, REFUSED), "round": (round, number, REFUSED),
    "trunc": (math.trunc, number, REFUSED),
    "floor": (math.floor, number, REFUSED), "ceil": (math.ceil, number, REFUSED), "bytes": (bytes, vector, REFUSED),
    "array": (np.asarray, vector, REFUSED),
    "setitem": (lambda t: operator.setitem(t, 0, 1.0), vector, REFUSED),
    "getitem": (lambda t: t[0], vector, KEEPS), "iter": (lambda t: next(iter(t)), vector, KEEPS),
    "reversed": (lambda t: next(reversed(t)), vector, KEEPS), "copy": (copy.copy, number, KEEPS),
    "deepcopy": (copy.deepcopy, number, KEEPS),
    "bool": (bool, number, VALUE), "len": (len, vector, VALUE), "contains": (lambda t: 2.0 in t, vector, VALUE),
    "eq": (lambda t: t == 1, number, VALUE), "ne": (lambda t: t != 1, number, VALUE),
    "lt": (lambda t: t < 1, number, VALUE),
    "le": (lambda t: t <= 1, number, VALUE), "gt": (lambda t: t > 1, number, VALUE),
    "ge": (lambda t: t >= 1, number, VALUE),
    "hash": (hash, number, VALUE), "repr": (repr, number, VALUE), "str": (str, number, VALUE),
    "format": (lambda t: format(t, ".2f"), number, VALUE), "sizeof": (lambda t: t.__sizeof__(), number, VALUE),
    "dir": (dir, number, VALUE), "reduce": (pickle.dumps, number, VALUE), "reduce_ex": (pickle.dumps, number, VALUE),
    "buffer": (memoryview, vector, NOT),
}  # fmt: skip
IN_PLACE = {
    "iadd": operator.iadd, "isub": operator.isub, "imul": operator.imul, "itruediv": operator.itruediv,
    "ipow": operator.ipow, "imatmul": operator.imatmul, "ifloordiv": operator.ifloordiv, "imod": operator.imod,
    "iand": operator.iand, "ior": operator.ior, "ixor": operator.ixor, "ilshift": operator.ilshift,
    "irshift": operator.irshift,
}  # fmt: skip
# Of NumPy's arrays: what these have for pickling and for other libraries. Of lists: their own constructor.
OTHERS = {
    "array_finalize", "array_function", "array_interface", "array_namespace", "array_priority", "array_struct",
    "array_ufunc", "array_wrap", "class", "class_getitem", "delattr", "delitem", "dlpack", "dlpack_device", "doc",
    "getattribute", "getformat", "getnewargs", "getstate", "init", "init_subclass", "new", "setattr", "setformat",
    "setstate", "subclasshook", "buffer", "release_buffer",
}  # fmt: skip


def test_every_special_method_of_pythons_numbers_lists_and_arrays_has_a_row():
    methods = {
        name.strip("_") for kind in (float, int, complex, list, np.ndarray) for name in dir(kind) if name[:2] == "__"
    }
    assert methods - TABLE.keys() - IN_PLACE.keys() - OTHERS == set()


@pytest.mark.parametrize("name", TABLE)
def test_with_a_graph(name):
    act, make, what = TABLE[name]
    t = make()
    if what is KEEPS:
        np.sum(act(t)).backward()
        assert t.grad is not None or name in ("copy", "deepcopy")
    elif what is VALUE:
        assert not getattr(act(t), "requires_grad", False)
    else:
        with pytest.raises(TypeError) as error:
            act(t)
        if what is REFUSED:
            assert any(
                word in str(error.value) for word in ("Write np.exp for math.exp", "does not differentiate", "np.where")
            )


# refused with and without a graph, as no rule gives a gradient, or as a Tensor never changes
ALWAYS = {"setitem", "floordiv", "mod", "divmod", "and", "or", "xor", "lshift", "rshift", "invert"}


@pytest.mark.parametrize("name", [name for name, (_, _, what) in TABLE.items() if what is not NOT])
def test_without_a_graph(name):
    act, make, _ = TABLE[name]
    t = make(requires_grad=False)
    if name in ALWAYS or (name[0] == "r" and name[1:] in ALWAYS):
        with pytest.raises(TypeError, match=r"does not differentiate|np\.where"):
            act(t)
    else:
        assert not getattr(act(t), "requires_grad", False)


@pytest.mark.parametrize(
    ("act", "value"),
    [
        (float, 2.5),
        (int, 2),
        (complex, 2.5 + 0j),
        (round, 2),
        (math.floor, 2),
        (math.ceil, 3),
        (math.exp, math.exp(2.5)),
    ],
)
def test_a_tensor_without_a_graph_is_a_number_to_python(act, value):
    assert act(number(requires_grad=False)) == value


def test_a_tensor_of_an_integer_counts():
    assert list(range(whole(requires_grad=False))) == [0, 1]


# -- numbers and arrays that would lose the graph ---------------------------------------------------------------------

LOSES = {
    "math.exp": lambda t: math.exp(t[0]),
    "float of a computed one": lambda t: float(np.sum(t)),
    "np.float64": lambda t: np.float64(t[0]),
    "np.array of two": lambda t: np.array([t[0], t[1]]),
    "np.full": lambda t: np.full(3, t[0]),
    "np.fromiter": lambda t: np.fromiter(t, float),
    "an entry": lambda t: operator.setitem(np.zeros(2), 0, t[0]),
    "an entry is added to": lambda t: exec("out[0] += t[0]", {"out": np.zeros(2), "t": t}),
    "all entries": lambda t: operator.setitem(np.zeros(2), slice(None), t),
    "per cent": lambda t: "%f" % t[0],  # noqa: UP031
    "a Tensor in a Tensor": lambda t: float(tg.Tensor(t[0])),
}


@pytest.mark.parametrize("name", LOSES)
def test_what_would_lose_the_graph_says_what_to_write(name):
    with pytest.raises((TypeError, ValueError)) as error:
        LOSES[name](vector())
    causes = [error.value]
    while causes[-1].__cause__ is not None or causes[-1].__context__ is not None:
        causes.append(causes[-1].__cause__ or causes[-1].__context__)
    assert any("np.stack([t, u]) for an array of Tensors" in str(cause) for cause in causes)


def test_the_error_names_the_tensor_and_what_to_write():
    with pytest.raises(TypeError) as error:
        math.exp(number())
    assert str(error.value) == (
        "w requires a gradient, and a Python number would lose the graph. Write np.exp for math.exp and so on, "
        "X @ t for X.dot(t), and np.stack([t, u]) for an array of Tensors. If no gradient shall flow, say so with "
        ".data (or .detach()), or .item() for a number."
    )


def test_in_a_transform_too():
    with pytest.raises(TypeError, match=r"x requires a gradient, and a Python number would lose the graph"):
        tg.grad(lambda x: x * math.exp(x))(1.0)
    with pytest.raises(TypeError, match="would lose the graph"):
        tg.grad(tg.grad(lambda x: x * math.exp(x)))(1.0)


# -- in place ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recording", [True, False])
@pytest.mark.parametrize("name", IN_PLACE)
def test_a_leaf_is_not_changed_by_a_new_tensor(name, recording):
    p = tg.Tensor([[1.0]], requires_grad=True, name="W1")
    text = r"`W1 .*= \.\.\.` would make a new Tensor, and leave W1 as it is: a leaf that"
    with nullcontext() if recording else tg.no_grad(), pytest.raises(TypeError, match=text):
        IN_PLACE[name](p, np.ones((1, 1)))
    assert p.data == 1


def test_the_error_of_a_change_in_place_names_what_to_write():
    p = nn.Parameter([1.0], name="W1")
    with pytest.raises(TypeError) as error:
        p -= 0.1
    assert str(error.value) == (
        "`W1 -= ...` would make a new Tensor, and leave W1 as it is: a leaf that requires a gradient. Write "
        "W1.data -= ..., or let an optimizer take the step; or give a new Tensor another name, new = W1 - ..."
    )
    p.data -= 0.5
    assert p.data == 0.5


def test_a_computed_tensor_and_one_without_a_gradient_are_bound_anew():
    w, constant = vector(), vector(requires_grad=False)
    J = np.sum(w)
    J += np.sum(w * w)
    constant *= 2
    J.backward()
    assert w.grad.tolist() == [3, 5]
    assert constant.data.tolist() == [2, 4]


def test_in_a_function_that_is_differentiated_arguments_are_the_users_variables():
    def f(x):
        x *= x
        x += 1
        return np.sum(x)

    assert tg.grad(f)(np.array([1.0, 2.0])).tolist() == [2, 4]
    assert tg.grad(tg.grad(f))(3.0) == 2
    assert tg.hessian(f)(np.array([1.0])).tolist() == [[2]]


# -- no_grad ----------------------------------------------------------------------------------------------------------


def recorded():
    return vector(), (vector() * 2).requires_grad


def test_one_no_grad_may_be_used_again_nested_and_by_threads():
    off, seen = tg.no_grad(), []
    for _ in range(2):
        with off:
            with off:
                seen.append(recorded()[1])
            seen.append(recorded()[1])
    seen.append(recorded()[1])
    with off:
        thread = threading.Thread(target=lambda: seen.append(recorded()[1]))
        thread.start()
        thread.join()
    assert seen == [False] * 4 + [True, True]


def test_an_error_sets_it_back():
    with pytest.raises(ZeroDivisionError), tg.no_grad():
        1 / 0  # noqa: B018
    assert recorded()[1]


@tg.no_grad()
def generated():
    got = yield recorded()[1]
    try:
        yield got, recorded()[1]
    except KeyError:
        yield "thrown", recorded()[1]
    return recorded()[1]


def test_of_a_generator_it_is_off_while_the_generator_runs_only():
    steps = generated()
    assert next(steps) is False
    assert recorded()[1]
    assert steps.send("sent") == ("sent", False)
    assert steps.throw(KeyError()) == ("thrown", False)
    assert recorded()[1]
    with pytest.raises(StopIteration) as end:
        next(steps)
    assert end.value.value is False
    closed = generated()
    next(closed)
    closed.close()
    assert recorded()[1]


def test_of_a_coroutine_it_is_off_while_the_coroutine_runs_only():
    seen = []

    @tg.no_grad()
    async def off():
        seen.append(("off", recorded()[1]))
        await asyncio.sleep(0)
        seen.append(("off", recorded()[1]))
        return "done"

    async def on():
        seen.append(("on", recorded()[1]))
        await asyncio.sleep(0)
        seen.append(("on", recorded()[1]))

    async def both():
        return await asyncio.gather(off(), on(), off())

    assert asyncio.run(both()) == ["done", None, "done"]
    assert set(seen) == {("off", False), ("on", True)}


def test_what_it_cannot_decorate_is_refused():
    with pytest.raises(TypeError, match=r"Write @tg\.no_grad\(\), with parentheses"):
        tg.no_grad(recorded)

    async def stream():
        yield 1

    for thing in (stream, nn.Linear, 3):
        with pytest.raises(TypeError, match=r"no_grad cannot decorate .* Write `with tg\.no_grad\(\):` within"):
            tg.no_grad()(thing)


# -- copies -----------------------------------------------------------------------------------------------------------


def test_leaves_are_pickled_and_computed_tensors_are_not():
    w = nn.Parameter([1.0, 2.0], name="W")
    twin = pickle.loads(pickle.dumps(w))
    assert (type(twin), twin.name, twin.requires_grad, twin.data.tolist()) == (nn.Parameter, "W", True, [1, 2])
    z = w * 2
    z.name = "Z"
    with pytest.raises(TypeError) as error:
        pickle.dumps(z)
    assert str(error.value) == (
        "Z was computed by multiply, and a graph cannot be pickled, as it holds functions. Take .detach() or .data of "
        "it; if a model keeps it in an attribute, delete that before, or save model.state_dict()."
    )
    assert pickle.loads(pickle.dumps(z.detach())).data.tolist() == [2, 4]


def test_a_deep_copy_of_a_graph_is_a_graph_of_copies():
    w = vector()
    J, u = copy.deepcopy((np.sum(w * w), w))
    J.backward()
    assert (u.grad.tolist(), w.grad) == ([2, 4], None)


def test_a_copy_of_a_computed_tensor_leads_to_the_same_leaves():
    w = vector()
    copy.copy(np.sum(w * w)).backward()
    assert w.grad.tolist() == [2, 4]


def test_builtins_that_add_up_keep_the_graph():
    w = vector()
    builtins.sum(w).backward()
    assert w.grad.tolist() == [1, 1]


def test_a_deep_graph_is_copied_without_recursion():
    w = z = tg.Tensor(1.0, requires_grad=True)
    for _ in range(3 * sys.getrecursionlimit()):
        z = z + 1.0
    twin = copy.deepcopy(z)
    twin.backward()
    assert w.grad is None
    assert twin.item() == z.item()


@pytest.mark.parametrize("change", ["W.data[0] = 9.0", "W.data *= 2.0"])
def test_a_change_in_place_of_the_original_does_not_escape_the_copys_graph(change):
    W, X = tg.Tensor(np.ones((2, 2)), True, name="W"), vector()
    twin = copy.deepcopy(np.sum(W @ X))
    exec(change, {"W": W})
    with pytest.raises(RuntimeError, match="an array of matmul, shared with the Tensor that this one was copied from"):
        twin.backward()


def test_a_change_in_place_of_the_copy_is_none_of_the_copied_graph():
    W, X = tg.Tensor(np.ones((2, 2)), True), vector()
    W_twin, J = copy.deepcopy((W, np.sum(W @ X)))
    W_twin.data *= 2.0
    J.backward()
    np.testing.assert_array_equal(W_twin.grad, [[1, 2], [1, 2]])


# -- NumPy's methods and functions ------------------------------------------------------------------------------------


@pytest.mark.parametrize("x", [2.0, 9.0])
@pytest.mark.parametrize("entries", [2.0, [1.0, 2.0], [[1.0, 2.0], [3.0, 4.0]], np.zeros((0, 2))])
def test_a_value_is_looked_for_among_all_entries_as_in_numpy(entries, x):
    assert (x in tg.Tensor(entries, True)) == (x in np.array(entries))


def test_the_limits_of_an_arrays_method_clip_get_gradients():
    low, high = tg.Tensor(0.0, True), tg.Tensor(1.0, True)
    np.sum(np.array([-1.0, 0.5, 2.0, 3.0]).clip(low, high)).backward()
    assert (low.grad, high.grad) == (1, 2)


@pytest.mark.parametrize(
    "write",
    [
        lambda out, t: np.copyto(out, t), lambda out, t: np.put(out, 0, t), lambda out, t: np.place(out, out == 0, t),
        lambda out, t: np.putmask(out, out == 0, t), lambda out, t: np.full(2, t, float),
        lambda out, t: np.full_like(out, t), lambda out, t: np.put_along_axis(out, np.array([0]), t, 0),
    ],
)  # fmt: skip
def test_functions_that_write_into_an_array_say_what_to_write(write):
    out = np.zeros(2)
    with pytest.raises(
        TypeError,
        match=r"it writes in place, where a Tensor would lose its graph.* np\.stack.* np\.where.* np\.broadcast_to",
    ):
        write(out, number())
    assert not out.any()


# -- switches that decorate -------------------------------------------------------------------------------------------


def test_a_generator_or_a_coroutine_that_a_function_returns_has_no_graph_either():
    @tg.no_grad()
    def lazily():
        return (recorded()[1] for _ in range(2))

    @tg.no_grad()
    def later():
        async def run():
            return recorded()[1]

        return run()

    async def awaited():
        return await later()

    assert list(lazily()) == [False, False]
    assert asyncio.run(awaited()) is False


def test_an_abandoned_generator_cleans_up_without_a_graph():
    seen = []

    @tg.no_grad()
    def steps():
        try:
            yield
        finally:
            seen.append(recorded()[1])

    abandoned = steps()
    next(abandoned)
    abandoned.close()
    assert seen == [False]


@pytest.mark.parametrize("wrapper", [staticmethod, classmethod, property])
def test_decorators_of_classes_stand_above(wrapper):
    for switch in (tg.no_grad, tg.detect_anomaly):
        with pytest.raises(TypeError, match=rf"{switch.__name__} cannot decorate .*; @staticmethod and the like stand"):
            switch()(wrapper(recorded))


def test_detect_anomaly_looks_at_what_a_decorated_generator_computes_and_at_nothing_else():
    @tg.detect_anomaly()
    def steps():
        yield
        np.log(tg.Tensor(0.0, True))
        yield

    running = steps()
    next(running)
    with np.errstate(divide="ignore"):
        np.log(tg.Tensor(0.0, True))  # while it waits
    with pytest.raises(tg.AnomalyError, match="log"):
        next(running)


def test_one_detect_anomaly_may_be_used_again_and_nested():
    looking = tg.detect_anomaly()
    for _ in range(2):
        with pytest.raises(tg.AnomalyError), looking, looking:
            np.log(tg.Tensor(0.0, True))
    with np.errstate(divide="ignore"):
        np.log(tg.Tensor(0.0, True))
    with pytest.raises(TypeError, match=r"Write @tg\.detect_anomaly\(\), with parentheses"):
        tg.detect_anomaly(recorded)
