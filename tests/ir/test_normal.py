"""A call is written down in one form, whichever way it was written, and computes the same to the last bit."""

import ast
import inspect
from pathlib import Path

import numpy as np
import pytest

from tinygrad_dls.engine.errors import RecordingError
from tinygrad_dls.ir import functions, normal
from tinygrad_dls.ir.call import Call, each, key
from tinygrad_dls.ir.shapes import call_of, inferred
from tinygrad_dls.ir.tracer import Trace

RNG = np.random.default_rng(0)
ARRAYS = {
    "x": RNG.normal(size=(2, 3)),
    "w": RNG.normal(size=(3, 4)),
    "v": RNG.normal(size=3),
    "c": RNG.normal(size=(2, 3, 4)),
    "r": RNG.normal(size=(1, 3)),
    "s": np.array(2.5),
    "f": RNG.normal(size=(2, 3)).astype(np.float32),
    "h": (100 * RNG.normal(size=(2, 3))).astype(np.float16),
    "n": np.array([[1, 2, 3], [4, 5, 6]]),
    "i": np.array([[1, 2, 3], [4, 5, 6]], np.int8),
    "u": np.array([[1, 2, 3], [4, 5, 6]], np.uint8),
    "t": np.array([[True, False, True], [False, True, True]]),
}

# Ways to write the same, each line one call of a program; the first one is how programs have it.
SAME = [
    ["np.sum(x, axis=(0, 1))", "np.sum(x)", "x.sum()", "np.sum(x, axis=None)", "np.sum(x, axis=(1, -2))",
     "np.sum(x, None)", "np.sum(x, keepdims=False)", "np.sum(x, dtype=float)", "np.sum(x, None, np.float64)",
     "np.sum(x, keepdims=np._NoValue)"],
    ["np.sum(x, axis=(1,))", "np.sum(x, 1)", "np.sum(x, axis=-1)", "x.sum(axis=1)", "np.sum(x, axis=np.int64(1))",
     "np.sum(x, 1, None, None, False)"],
    ["np.sum(x, axis=(1,), keepdims=True)", "x.sum(axis=-1, keepdims=True)", "np.sum(x, 1, keepdims=1)"],
    ["np.sum(x, axis=(0,), initial=0.5)", "np.sum(x, 0, None, None, False, 0.5)",
     "np.sum(x, 0, initial=0.5, where=True)"],
    ["np.max(x, axis=(0,), initial=0)", "np.max(x, 0, None, False, 0)", "np.max(x, 0, None, False, 0, True)"],
    ["np.sum(i, axis=(0, 1))", "np.sum(i, dtype=int)", "np.sum(i, dtype='int64')"],
    ["np.sum(u, axis=(0, 1))", "np.sum(u, dtype=np.uint64)"],
    ["np.sum(t, axis=(0,))", "np.sum(t, 0, int)"],
    ["np.sum(h, axis=(0,))", "np.sum(h, 0, np.float16)"],
    ["np.prod(f, axis=(0,))", "np.prod(f, 0, np.float32)"],
    ["np.sum(s, axis=())", "np.sum(s)", "np.sum(s, axis=0)", "np.sum(s, axis=-1)"],
    ["np.mean(n, axis=(1,))", "np.mean(n, 1, float)", "n.mean(axis=-1)"],
    ["np.mean(f, axis=(1,))", "np.mean(f, 1, np.float32)"],
    ["np.max(x, axis=(0,))", "np.amax(x, 0)", "x.max(axis=-2)", "np.max(x, axis=(0,), keepdims=False)"],
    ["np.min(x, axis=(0, 1), keepdims=True)", "np.amin(x, None, None, True)"],
    ["np.any(t, axis=(0,))", "t.any(axis=0)"],
    ["np.all(t, axis=(0, 1))", "np.all(t)"],
    ["np.var(x, axis=(1,))", "np.var(x, 1)", "np.var(x, 1, float, None, 0)", "np.var(x, axis=1, correction=0)"],
    ["np.std(x, axis=(1,), ddof=1)", "np.std(x, 1, ddof=1)", "np.std(x, 1, None, None, 1, False)",
     "np.std(x, axis=(-1,), correction=1)"],
    ["np.cumsum(x)", "np.cumsum(x, None)", "np.cumsum(x, dtype=float)"],
    ["np.cumsum(x, axis=1)", "np.cumsum(x, -1)"],
    ["np.transpose(x)", "x.T", "np.transpose(x, None)", "np.transpose(x, (1, 0))", "np.transpose(x, axes=[-1, -2])",
     "np.swapaxes(x, 0, 1)", "np.swapaxes(x, -1, -2)", "np.permute_dims(x)"],
    ["np.transpose(c, axes=(0, 2, 1))", "np.swapaxes(c, 1, 2)", "np.swapaxes(c, -1, -2)",
     "np.transpose(c, [0, -1, 1])"],
    ["np.reshape(x, (6,))", "np.reshape(x, 6)", "x.reshape(6)", "x.reshape((6,))", "np.reshape(x, shape=[6])",
     "np.reshape(x, 6, 'C')", "np.reshape(x, 6, copy=None)"],
    ["np.broadcast_to(r, (2, 3))", "np.broadcast_to(r, [2, 3])", "np.broadcast_to(r, shape=(2, 3), subok=True)"],
    ["np.squeeze(r, axis=(0,))", "np.squeeze(r)", "np.squeeze(r, 0)", "np.squeeze(r, axis=-2)"],
    ["np.expand_dims(x, axis=(0,))", "np.expand_dims(x, 0)", "np.expand_dims(x, -3)"],
    ["np.expand_dims(x, axis=(0, 3))", "np.expand_dims(x, (-1, 0))"],
    ["np.concatenate([x, x], axis=0)", "np.concatenate((x, x))", "np.concatenate([x, x], -2)", "np.concat([x, x])",
     "np.concatenate([x, x], axis=0, casting='same_kind')"],
    ["np.concatenate([x, x], axis=None)", "np.concatenate((x, x), None)"],
    ["np.stack([x, x], axis=2)", "np.stack((x, x), -1)"],
    ["np.zeros_like(x)", "np.zeros_like(f, float)", "np.zeros_like(f, dtype='f8')", "np.zeros_like(c, shape=(2, 3))"],
    ["np.clip(x, 0, 1)", "np.clip(x, a_min=0, a_max=1)", "np.clip(x, min=0, max=1)", "np.clip(x, 0, a_max=1)"],
    ["np.clip(x, 0, None)", "np.clip(x, a_min=0, a_max=None)", "np.clip(x, min=0)"],
    ["np.clip(x, None, 1)", "np.clip(x, a_min=None, a_max=1)", "np.clip(x, max=1)"],
    ["x @ w", "np.matmul(x, w)", "np.dot(x, w)"],
    ["x @ v", "np.dot(x, v)"],
    ["v @ w", "np.dot(v, w)"],
    ["v @ v", "np.dot(v, v)"],
]  # fmt: skip

# Calls that look alike and are not: NumPy computes something else.
OTHER = [
    ("np.mean(h, axis=0)", "np.mean(h, axis=0, dtype=np.float16)"),  # adds up in half precision
    ("np.var(h)", "np.var(h, dtype=np.float16)"),
    ("np.sum(f)", "np.sum(f, dtype=float)"),
    ("np.sum(i)", "np.sum(i, dtype=np.int8)"),
    ("np.sum(x)", "np.sum(x, initial=1)"),
    ("np.sum(x, axis=1)", "np.sum(x, axis=1, where=t)"),
    ("np.var(x)", "np.var(x, ddof=1)"),
    ("np.cumsum(x)", "np.cumsum(x, axis=0)"),
    ("np.reshape(x, 6)", "np.reshape(x, 6, order='F')"),
    ("np.transpose(c)", "np.transpose(c, (1, 0, 2))"),
    ("np.concatenate([x, x])", "np.concatenate([x, x], axis=1)"),
    ("np.concatenate([x, x])", "np.concatenate([x, x], axis=None)"),
    ("np.clip(x, 0, None)", "np.clip(x, None, 0)"),
    ("np.dot(s, x)", "s * x"),
    ("np.dot(c, w.T)", "c @ w.T"),  # of more axes than two, two products
]


def recorded(code):
    trace = Trace()
    arrays = {name: trace.input(name, x) for name, x in ARRAYS.items()}
    made = eval(code, {"np": np, **arrays})
    return made, {arrays[name].call: name for name in arrays}


def key_of(code):
    made, names = recorded(code)
    return key(made.call, lambda call: names.get(call) or key_of_inner(call, names))


def key_of_inner(call, names):
    return key(call, lambda inner: names.get(inner) or key_of_inner(inner, names))


@pytest.mark.parametrize("forms", SAME, ids=lambda forms: forms[0])
def test_what_numpy_takes_for_the_same_is_written_down_as_the_same(forms):
    first, *_ = {key_of(code) for code in forms}
    assert {key_of(code) for code in forms} == {first}


@pytest.mark.parametrize("forms", SAME, ids=lambda forms: forms[0])
def test_programs_have_it_as_the_first_of_them_says(forms):
    call = recorded(forms[0])[0].call
    tree = ast.parse(forms[0], mode="eval").body
    if "_like" in forms[0]:
        assert (call.function, call.args, call.options) == (np.full, ((2, 3), 0.0), {"dtype": np.dtype(float)})
    elif isinstance(tree, ast.Call):
        options = {keyword.arg: eval(ast.unparse(keyword.value), {"np": np}) for keyword in tree.keywords}
        assert call.options == options
        assert len(call.args) == len(tree.args)
        assert call.function is eval(ast.unparse(tree.func), {"np": np})
    else:
        assert (call.function, call.options) == (np.matmul, {})


@pytest.mark.parametrize("code", [code for forms in SAME for code in forms] + [code for pair in OTHER for code in pair])
def test_the_normal_form_computes_the_same_to_the_last_bit(code):
    made, names = recorded(code)
    expected = eval(code, {"np": np, **ARRAYS})
    call = made.call

    def value(x):
        if not isinstance(x, Call):
            return x
        options = {name: value(y) for name, y in x.options.items()}
        return ARRAYS[names[x]] if x in names else x.function(*each(value, x.args), **options)

    np.testing.assert_array_equal(value(call), expected, strict=True)
    assert (call.shape, call.dtype) == (expected.shape, expected.dtype)
    assert inferred(call.function, call.args, call.options) == (expected.shape, expected.dtype)


@pytest.mark.parametrize(("one", "other"), OTHER)
def test_what_numpy_computes_otherwise_is_written_down_as_another_call(one, other):
    assert key_of(one) != key_of(other)


@pytest.mark.parametrize("forms", SAME, ids=lambda forms: forms[0])
def test_a_call_that_is_made_is_as_one_that_is_written_down(forms):
    for code in forms:
        tree = ast.parse(code, mode="eval").body
        if isinstance(tree, ast.Call) and ast.unparse(tree.func).startswith("np.") and "_like" not in code:
            made, names = recorded(code)
            inputs = {name: call for call, name in names.items()}
            args = [eval(ast.unparse(x), {"np": np, **inputs}) for x in tree.args]
            options = {x.arg: eval(ast.unparse(x.value), {"np": np, **inputs}) for x in tree.keywords}
            function = eval(ast.unparse(tree.func), {"np": np})
            assert key(call_of(function, *args, **options), names.get) == key(made.call, names.get), code


@pytest.mark.parametrize(
    "code",
    ["np.sum(x, 0, out=v)", "np.sum(x, 0, None, v)", "np.cumsum(x, 0, out=y)", "np.clip(x, 0, 1, y)",
     "np.concatenate([x, x], out=w)", "np.dot(x, w[:3], out=np.zeros((2, 3)))"],
)  # fmt: skip
def test_what_writes_into_an_array_is_refused(code):
    arrays = {"v": np.zeros(3), "w": np.zeros((4, 3)), "y": np.zeros((2, 3))}
    with pytest.raises(RecordingError, match=r"np\.\w+ with out= is not recorded.* Use the array that it gives\.$"):
        eval(code, {"np": np, "x": recorded("x")[0], **arrays})


# -- np.dot and np.matmul ---------------------------------------------------------------------------------------------

DTYPES = ["f8", "f4", "f2", "i8", "i1", "u1", "?"]
SIZES = [(1, 1, 1), (1, 3, 1), (1, 40, 5), (2, 2, 64), (3, 1, 5), (4, 2, 400), (17, 40, 1), (17, 200, 64)]


def laid_out(x):
    """The array in row-major and in column-major order, and as the transpose of one: the entries side by side."""
    return [np.ascontiguousarray(x), np.asfortranarray(x), np.ascontiguousarray(x.T).T]


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_dot_of_vectors_and_matrices_has_the_bits_of_a_matrix_product(dtype):
    for n, k, m in SIZES:
        a, b = ((10 * RNG.normal(size=shape)) for shape in ((n, k), (k, m)))
        a, b = (np.abs(x).astype(dtype) for x in (a, b))
        with np.errstate(all="ignore"):  # small integers wrap around
            for x in [*laid_out(a), a[0]]:
                for y in [*laid_out(b), b[:, 0].copy()]:
                    np.testing.assert_array_equal(np.dot(x, y), np.matmul(x, y), strict=True)


def test_where_the_entries_are_apart_the_two_differ_in_the_last_bits_at_most():
    for n, k, m in SIZES:
        a, b = RNG.normal(size=(2 * n, k)), RNG.normal(size=(k, 2 * m))
        x, y = a[::2], b[:, ::2]
        bound = 2 * k * np.finfo(float).eps * (np.abs(x) @ np.abs(y))  # of sums of k products, in any order
        assert (np.abs(np.dot(x, y) - np.matmul(x, y)) <= bound).all()


# -- the table --------------------------------------------------------------------------------------------------------


def test_every_function_that_can_be_written_in_several_ways_has_a_normal_form():
    """A function with options has one, unless its arguments stand by position alone."""
    by_position = {np.where, np.asarray, np.ones, np.zeros_like, np.ones_like, np.astype}  # or the tracer's own
    for row in functions.rows():
        if isinstance(row.function, np.ufunc) or row.function in by_position or row.kind in (
            functions.SHAPE, functions.FREE, functions.PART,
        ):  # fmt: skip
            continue
        try:
            parameters = inspect.signature(row.function).parameters.values()
        except ValueError:
            continue
        if any(p.default is not p.empty for p in parameters):
            assert row.normal is not None, row.function.__name__


def test_every_reduction_of_a_user_has_its_axes_by_name():
    try:
        row = functions.add(np.nansum, functions.REDUCTION)
        assert row.normal is normal.reduced
        x = Trace().input("X", ARRAYS["x"])
        assert np.nansum(x, -1).call.options == {"axis": (1,)}
    finally:
        functions._ROWS.pop(np.nansum)


# -- nodes are never typed by hand ------------------------------------------------------------------------------------

PACKAGE = Path(__file__).parents[2] / "tinygrad_dls"
TYPED = {  # modules that say themselves which shape and dtype a call has, with the reason
    "ir/call.py": "the node's own module: inputs, which nothing is computed of, and the same call of other arguments",
    "ir/tracer.py": "what a call gave when it was written down",
    "ir/shapes.py": "what inference gives",
    "ir/rewrite.py": "what inference gives, or anything at all: the calls of the two sides of a pair",
    "ir/printing.py": "a call for the eyes of the printer, with numbers as text among its arguments",
}


def typed(source):
    """Whether a module makes calls and says what comes of them."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    made = [c for c in calls if getattr(c.func, "id", getattr(c.func, "attr", "")) == "Call"]
    return any(
        len(c.args) > 3
        or any(isinstance(x, ast.Starred) for x in c.args)
        or any(k.arg in ("shape", "dtype", None) for k in c.keywords)
        for c in made
    )


def test_shapes_and_dtypes_are_inferred_and_never_typed():
    found = {
        name
        for path in PACKAGE.rglob("*.py")
        if not (name := path.relative_to(PACKAGE).as_posix()).startswith("compiler/")  # see below
        and typed(path.read_text(encoding="utf-8"))
    }
    assert found - TYPED.keys() == set(), "make calls with tinygrad_dls.ir.shapes.call_of; or say above why not"
    assert TYPED.keys() - found == set(), "these need no exception any longer"


@pytest.mark.parametrize(
    ("source", "is_typed"),
    [
        ("Call(np.sum, (x,), {}, (), x.dtype)", True),
        ("call.Call(np.sum, (x,), {}, *like)", True),
        ("Call(np.sum, (x,), shape=())", True),
        ("call_of(np.sum, x)", False),
        ("program_input('x', (2, 3), float)", False),
    ],
)
def test_the_search_sees_a_typed_shape(source, is_typed):
    assert typed(source) is is_typed
