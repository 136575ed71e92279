"""Python's data model on Tensors: what keeps the graph, what is refused because it would lose it, what is a value.

The table below is held against the special methods of float, int, complex, list and ndarray: each has its row.
"""

# ruff: noqa: UP031, UP032  # other ways to print are what is tested

import _thread
import cmath
import copy
import logging
import math
import operator
import pickle
import subprocess
import sys
import threading
from contextlib import nullcontext

import numpy as np
import pandas as pd
import pytest

import tinygrad_dls as tg
from tests.engine.leaves import vector
from tinygrad_dls import nn

KEEPS, REFUSED, VALUE, NOT = "keeps the graph", "is refused", "is a plain value", "is no operation of Tensors"


def number(requires_grad=True):
    return tg.Tensor(2.5, requires_grad, name="w")


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
    "array": (np.asarray, vector, REFUSED), "dlpack": (np.from_dlpack, vector, REFUSED),
    "dlpack_device": (lambda t: t.__dlpack_device__(), vector, VALUE),
    "setitem": (lambda t: operator.setitem(t, 0, 1.0), vector, REFUSED),
    "delitem": (lambda t: operator.delitem(t, 0), vector, REFUSED),
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
    "array_ufunc", "array_wrap", "class", "class_getitem", "delattr", "doc",
    "getattribute", "getformat", "getnewargs", "getstate", "init", "init_subclass", "new", "setattr", "setformat",
    "setstate", "subclasshook", "buffer", "release_buffer",
}  # fmt: skip


def test_every_special_method_of_pythons_numbers_lists_and_arrays_has_a_row():
    methods = {
        name.strip("_") for kind in (float, int, complex, list, np.ndarray) for name in dir(kind) if name[:2] == "__"
    }
    assert methods - TABLE.keys() - IN_PLACE.keys() - OTHERS == set()


def test_every_special_method_of_a_tensor_has_a_row():
    methods = {name.strip("_") for name in vars(tg.Tensor) if name[:2] == "__" and callable(getattr(tg.Tensor, name))}
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
                word in str(error.value)
                for word in ("Write np.exp for math.exp", "does not differentiate", "np.where", "mask")
            )


# refused with and without a graph, as no rule gives a gradient, or as a Tensor never changes
ALWAYS = {"setitem", "delitem", "floordiv", "mod", "divmod", "and", "or", "xor", "lshift", "rshift", "invert"}


@pytest.mark.parametrize("name", [name for name, (_, _, what) in TABLE.items() if what is not NOT])
def test_without_a_graph(name):
    act, make, _ = TABLE[name]
    t = make(requires_grad=False)
    if name in ALWAYS or (name[0] == "r" and name[1:] in ALWAYS):
        with pytest.raises(TypeError, match=r"does not differentiate|np\.where|mask"):
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


def told(error):
    """All that a traceback shows: NumPy and pandas put their own error over ours."""
    texts = []
    while error is not None:
        texts.append(str(error))
        error = error.__cause__ or error.__context__
    return "\n".join(texts)


FUNCTIONS = [f for module in (math, cmath) for name, f in vars(module).items() if name[0] != "_" and callable(f)]


@pytest.mark.parametrize("f", FUNCTIONS, ids=lambda f: f"{f.__module__}.{f.__name__}")
def test_no_function_of_math_loses_a_graph(f):
    t, outcomes = number() * 1.0, []
    for args in ((t,), (t, t), (t, 1), (t, t, t), ([t],), ([t], [t])):
        try:
            outcomes.append(f(*args).requires_grad)  # math.prod multiplies
        except TypeError as error:
            outcomes.append("Write np.exp for math.exp" in told(error))
    assert any(outcomes)


def written(write):
    out = np.zeros(3)
    write(out)
    return out


def in_a_table(t):
    table = pd.DataFrame({"a": [0.0, 0.0]})
    table.loc[0, "a"] = t
    return table["a"].to_numpy()


BUILT = {
    "np.array([t, t])": lambda t: np.array([t, t]), "np.array([[t, 0]])": lambda t: np.array([[t, 0.0]]),
    "np.array([t], float)": lambda t: np.array([t, t], float), "np.asarray((t, t))": lambda t: np.asarray((t, t)),
    "np.fromiter": lambda t: np.fromiter([t, t], float), "np.sum([t])": lambda t: np.sum([t, t]),
    "np.mean([t])": lambda t: np.mean([t, t]), "np.max([t])": lambda t: np.max([t, t]),
    "np.exp([t])": lambda t: np.exp([t, t]), "np.dot([t], x)": lambda t: np.dot([t], [1.0]),
    "np.diag([t])": lambda t: np.diag([t, t]), "np.isclose([t], x)": lambda t: np.isclose([t], [0.5]),
    "np.concatenate([[t], [t]])": lambda t: np.concatenate([[t], [t]]),
    "array * [t]": lambda t: np.ones(2) * [t, t], "array @ [t]": lambda t: np.ones(2) @ [t, t],
    "array % [t]": lambda t: np.ones(2) % [t, t], "np.r_": lambda t: np.r_[t, t], "np.c_": lambda t: np.c_[t, t],
    "np.vectorize": lambda t: np.vectorize(lambda i: t)(np.arange(2)),
    "np.piecewise": lambda t: np.piecewise(np.zeros(2), [np.array([True, False])], [t, 0.0]),
    "np.apply_along_axis": lambda t: np.apply_along_axis(lambda row: t, 0, np.zeros((2, 2))),
    "out[i] = t": lambda t: written(lambda out: operator.setitem(out, 0, t)),
    "out[i] += t": lambda t: written(lambda out: operator.setitem(out, 0, out[0] + t)),
    "out[:] = t": lambda t: written(lambda out: operator.setitem(out, slice(None), t)),
    "out[:] = [t]": lambda t: written(lambda out: operator.setitem(out, slice(None), [t, t, t])),
    "out[...] = t": lambda t: written(lambda out: operator.setitem(out, ..., t)),
    "out[mask] = t": lambda t: written(lambda out: operator.setitem(out, out == 0, t)),
    "out[[0, 1]] = t": lambda t: written(lambda out: operator.setitem(out, [0, 1], t)),
    "out.fill(t)": lambda t: written(lambda out: out.fill(t)), "table.loc[0, 'a'] = t": in_a_table,
    "a masked out[i] = t": lambda t: operator.setitem(np.ma.zeros(1), 0, t),
    **{f"out[i] = t in {dtype}": lambda t, dtype=dtype: operator.setitem(np.zeros(1, dtype), 0, t)
       for dtype in ("f2", "f4", ">f8", "g", "i8", "u1", "c16")},
}  # fmt: skip
GRAPHS = {
    "a leaf": number, "a computed one": lambda: number() * 1.0, "a constant of a leaf": lambda: tg.Tensor(number()),
    "detached, of a leaf": lambda: tg.Tensor(number(), requires_grad=True).detach(),
}  # fmt: skip


@pytest.mark.parametrize("make", GRAPHS.values(), ids=GRAPHS)
@pytest.mark.parametrize("name", BUILT)
def test_no_array_is_built_of_graphs(name, make):
    with pytest.raises((TypeError, ValueError)) as error:
        BUILT[name](make())
    assert "np.stack([t, u]) for an array of Tensors" in told(error.value)


@pytest.mark.parametrize("name", BUILT)
def test_an_array_built_of_tensors_without_graphs_holds_their_values(name):
    np.testing.assert_array_equal(BUILT[name](number(requires_grad=False)), BUILT[name](2.5))


def test_an_array_of_objects_keeps_the_graphs_in_it():
    out, t = np.empty(2, object), number()
    out[0], out[1] = t, t * 2
    np.sum(out).backward()
    assert t.grad == 3


def per_cent(t):
    text = "cost %.2f"
    text %= t
    return text


@pytest.mark.parametrize(
    "write",
    [
        lambda t: "cost %.2f" % t, lambda t: "%s %.2f" % ("cost", t), lambda t: "cost %(J).2f" % {"J": t}, per_cent,
        lambda t: (b"cost %.2f" % t).decode(), lambda t: "cost {:.2f}".format(t), lambda t: f"cost {t:.2f}",
        lambda t: logging.LogRecord("name", logging.INFO, "path", 1, "cost %.2f", (t,), None).getMessage(),
    ],
)  # fmt: skip
def test_a_cost_is_printed_in_any_of_pythons_ways(write):
    for t in (number(), number() * 1.0, number(requires_grad=False)):
        assert write(t) == "cost 2.50"


def test_the_courses_own_line_prints_a_cost():
    line = "Cost after iteration %i: %f"
    assert line % (tg.Tensor(7), number() * 1.0) == "Cost after iteration 7: 2.500000"
    with pytest.raises(TypeError, match="a Python number would lose the graph"):
        line % (7, float(number()))


def test_a_thread_of_c_code_gets_no_number_of_a_graph():
    """No frame of Python's stands behind the call."""
    told_of, failed, hook = [], threading.Event(), sys.unraisablehook
    sys.unraisablehook = lambda unraisable: (told_of.append(str(unraisable.exc_value)), failed.set())
    try:
        _thread.start_new_thread(float, (number(),))
        assert failed.wait(60)
    finally:
        sys.unraisablehook = hook
    assert "would lose the graph" in told_of[0]


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


def rebinding(x):
    x += 1.0
    x *= x
    return np.sum(x)


def test_every_transform_lets_its_function_give_its_argument_another_value():
    x = np.array([1.0, 2.0])
    J, dx = tg.value_and_grad(rebinding)(x)
    assert (J, dx.tolist()) == (13, [4, 6])
    assert tg.jacobian(rebinding)(x).tolist() == [4, 6]
    assert tg.hvp(rebinding)(x, np.ones(2)).tolist() == [2, 2]
    assert not any(row.wrong for row in tg.check.gradcheck(rebinding, x).rows)
    assert tg.grad(lambda x: rebinding(copy.copy(x)) + np.sum(x))(x).tolist() == [1, 1]  # a copy is another leaf
    assert tg.grad(rebinding)(tg.Tensor(x, requires_grad=True)).data.tolist() == [4, 6]
    assert x.tolist() == [1, 2]


def change_in_place(model):
    for p in model.parameters():
        p -= 0.1


def test_a_parameter_is_not_given_another_value_in_a_transform_nor_while_a_step_is_recorded():
    model = nn.Linear(2, 1, rng=0)
    before = model.state_dict()

    def cost(model):
        change_in_place(model)
        return np.sum(model(np.ones((2, 1))))

    def loss(A, Y):
        change_in_place(model)
        return tg.mean_squared_error(A, Y)

    step = tg.compile(model, loss, tg.optim.SGD(model.parameters(), lr=0.1))
    for run in (lambda: tg.grad(cost)(model), lambda: step(np.ones((2, 3)), np.ones((1, 3)))):
        with pytest.raises(TypeError, match=r"`W -= \.\.\.` would make a new Tensor.*Write W\.data -= \.\.\."):
            run()
    assert all((value == before[name]).all() for name, value in model.state_dict().items())


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


# -- arrays of other libraries ----------------------------------------------------------------------------------------


def test_a_constant_shares_its_memory_with_other_libraries():
    t = vector().detach()
    shared = np.from_dlpack(t)
    np.testing.assert_array_equal(shared, t.data)
    assert np.shares_memory(shared, t.data)
    assert t.__dlpack_device__() == shared.__dlpack_device__()


class OfAnotherLibrary:
    """An array that NumPy would convert without a word, and what it remembers would be gone."""

    shape, ndim = (2,), 1

    def __array__(self, dtype=None, copy=None):
        return np.ones(2)

    def __dlpack__(self, **options):
        return np.ones(2).__dlpack__(**options)

    def __dlpack_device__(self):
        return np.ones(2).__dlpack_device__()


@pytest.mark.parametrize(
    "use",
    [
        tg.Tensor, tg.nn.Parameter, lambda x: vector() * x, lambda x: np.add(vector(), x), tg.sigmoid, tg.softmax,
        lambda x: tg.grad(np.sum)(x), lambda x: tg.mean_squared_error(vector().reshape(1, -1), x),
        lambda x: vector().backward(x), lambda x: tg.check.gradcheck(np.sum, x),
    ],
)  # fmt: skip
def test_an_array_of_another_library_is_refused_with_what_to_write(use):
    with pytest.raises(TypeError, match=r"an array of another library \(tests OfAnother.*np\.asarray\(x\), or x\."):
        use(OfAnotherLibrary())


def test_a_number_is_in_a_tensor_that_holds_it():
    t = tg.Tensor([1.0, 3.0])
    assert 3.0 in t
    assert 2.0 not in t
    assert 0.0 not in t
    assert 4.0 not in t


def test_no_entries_are_no_number():
    with pytest.raises(ValueError, match=r"^item: "):
        tg.Tensor(np.zeros((0, 3))).item()


@pytest.mark.parametrize(
    ("call", "result"), [("np.hypot(t, 4 * t / 3)", 5.0), ("np.linalg.norm(np.stack([t, t]))", 3 * 2**0.5)]
)
def test_a_function_that_is_loaded_on_first_use_is_found_in_a_fresh_process(call, result):
    code = f"import numpy as np, tinygrad_dls as tg; t = tg.Tensor(3.0, requires_grad=True); print({call}.item())"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert float(run.stdout) == pytest.approx(result), run.stderr
