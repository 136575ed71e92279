"""Steps and functions in C: the numbers of the eager ones, functions as exact as they say, and a wary cache."""

import gc
import pickle
import re
import subprocess
import sys
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mpmath
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import tinygrad_dls as tg
from tests.compiler.lines import Line, executed, optimizers, programs
from tests.compiler.steps import (
    DTYPES,
    LAYOUTS,
    LOGITS,
    MANY,
    OPTIMIZERS,
    Layers,
    X,
    Y,
    assert_same_training,
    network,
    sgd,
)
from tests.compiler.yardstick import Twin, Yardstick, can_be_compared, compiled, off_by, references
from tinygrad_dls import nn
from tinygrad_dls.compiler.native import building, vectors
from tinygrad_dls.compiler.native.building import NoCompiler
from tinygrad_dls.engine.errors import RecordingError

# -- the functions ----------------------------------------------------------------------------------------------------

FUNCTIONS = {
    "exp": (np.exp, np.exp),
    "log": (np.log, np.log),
    "log1p": (np.log1p, np.log1p),
    "tanh": (np.tanh, np.tanh),
    "sigmoid": (tg.sigmoid, lambda z: np.where(z < 0, np.exp(z), 1) / (1 + np.exp(-np.abs(z)))),
    "softplus": (tg.softplus, lambda z: np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z)))),
}
SPECIAL = [
    0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 1000.0, -1000.0, 5e-324, -5e-324, 1e-45, 1e-310, 1e-40, 709.78,
    709.79, -745.1, -745.2, -708.5, 88.72, 88.73, -103.9, -104.0, -87.4, 1.7e308, 3.4e38, -1 + 1e-16, 2.0**53, 2.0**54,
    19.1, 9.1,
]  # fmt: skip


def numbers(dtype):
    """Bit patterns from all over, and numbers of moderate size."""
    rng = np.random.default_rng(0)
    if dtype == "float32":  # 997 is prime to the number of patterns
        spread = np.arange(0, 2**32, 997, dtype=np.uint32).view("f4")
    else:
        spread = rng.integers(0, 2**64, 2**19, dtype=np.uint64).view("f8")
    moderate = rng.normal(size=2**19) * 10.0 ** rng.uniform(-18, 3, 2**19)
    with np.errstate(over="ignore"):
        return np.concatenate(
            [spread, moderate.astype(dtype), np.linspace(-40, 40, 2**19, dtype=dtype), np.array(SPECIAL, dtype)]
        )


@pytest.mark.parametrize("char", "fd")
def test_the_coefficients_interpolate_at_chebyshevs_points(char):
    half, s = mpmath.log(2) / 2 * mpmath.mpf("1.01"), (mpmath.sqrt(2) - 1) / (mpmath.sqrt(2) + 1)
    parts = {
        "EXP": (-half, half, lambda r: (mpmath.expm1(r) - r) / r**2),
        "LOG": (
            0,
            (s * mpmath.mpf("1.01")) ** 2,
            lambda z: (2 * mpmath.atanh(mpmath.sqrt(z)) / mpmath.sqrt(z) - 2) / z,
        ),
    }
    with mpmath.workdps(60):
        for name, (low, high, function) in parts.items():
            given = getattr(vectors, name)[char]
            n = len(given)
            angles = [mpmath.pi * (2 * k + 1) / (2 * n) for k in range(n)]
            points = [(low + high) / 2 + (high - low) / 2 * mpmath.cos(a) for a in angles]
            powers = mpmath.matrix([[x**j for j in range(n)] for x in points])
            found = mpmath.lu_solve(powers, mpmath.matrix([function(x) for x in points]))
            np.testing.assert_allclose(given, [float(x) for x in found], rtol=1e-7 if char == "f" else 1e-14)


def ulps(found, truth):
    """By how many units in the last place numbers are off; infinite, where one is not finite and they differ."""
    with np.errstate(all="ignore"):
        rounded = truth.astype(found.dtype)
        off = np.abs(found.astype(truth.dtype) - truth) / np.abs(np.spacing(rounded)).astype(truth.dtype)
        same = (found == rounded) | (np.isnan(found) & np.isnan(rounded))
        return np.where(np.isfinite(rounded) & np.isfinite(found), off, np.where(same, 0, np.inf))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_within_two_units_in_the_last_place(name, dtype):
    function, exact = FUNCTIONS[name]
    x = numbers(dtype)
    f = tg.compile(function, backend="native")
    with np.errstate(all="ignore"):
        truth = exact(x.astype(np.longdouble if dtype == "float64" else float))
        if name == "sigmoid":  # which is kept strictly between 0 and 1
            info = np.finfo(dtype)
            truth = np.clip(truth, info.smallest_normal, 1 - truth.dtype.type(info.epsneg))
        found = f(x)
        assert "are C" in f.explain()
        off = ulps(found, truth)
    assert off.max() <= 2, (x[off.argmax()], off.max())
    assert np.isnan(found[np.isnan(x)]).all()


# -- steps ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_optimizer_trains_as_the_eager_one(optimizer, dtype):
    data = [(X.astype(dtype), Y.astype(dtype))] * 10
    step = assert_same_training(lambda: network(dtype), LOGITS, OPTIMIZERS[optimizer], data, backend="native")
    assert "are C" in step.explain()


@pytest.mark.parametrize("m", [1, 2, 7, 8, 17, 64, 65, 1000, 9999])
@pytest.mark.parametrize("dtype", DTYPES)
def test_any_number_of_examples(m, dtype):
    x, y = MANY[:, :m].astype(dtype), (MANY[:1, :m] > 0).astype(dtype)
    assert_same_training(lambda: network(dtype), LOGITS, lambda m: sgd(m, lr=0.05), [(x, y)] * 2, backend="native")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_data_may_lie_in_memory_as_they_like(layout):
    x, y = MANY[:, :300].copy(), (MANY[:1, :300] > 0).astype(float)
    data = [(LAYOUTS[layout](x), LAYOUTS[layout](y)), (x, y)] * 2
    assert_same_training(network, LOGITS, sgd, data, backend="native")


@pytest.mark.parametrize("kind", ["int64", "int8", "uint16", "bool", "float32"])
def test_labels_of_another_dtype(kind):
    step = assert_same_training(network, LOGITS, sgd, [(X, Y.astype(kind))] * 2, backend="native")
    assert "are C" in step.explain()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("function", [np.tanh, tg.relu, tg.sigmoid, tg.softplus])
@pytest.mark.parametrize("sizes", [(3, 1), (3, 17, 5), (30, 20, 9, 1), (3, 9, 70, 80, 4)])
def test_networks_with_small_and_large_products(sizes, function, dtype):
    rng = np.random.default_rng(0)
    m = 203
    x = rng.normal(size=(sizes[0], m)).astype(dtype)
    y = (rng.random((1, m)) < 0.5).astype(dtype) if sizes[-1] == 1 else rng.integers(0, sizes[-1], (1, m))
    loss = LOGITS if sizes[-1] == 1 else tg.softmax_cross_entropy
    make = lambda: Layers(sizes, function, dtype)  # noqa: E731  # used once, in the next line
    step = assert_same_training(make, loss, lambda p: sgd(p, lr=0.1), [(x, y)] * 3, backend="native")
    assert "are C" in step.explain()
    assert ("of BLAS" in step.explain()) == (80 in sizes)


def test_what_c_is_not_printed_for_stays_numpy_and_is_named():
    class Cumulated(nn.Module):
        def __init__(self):
            self.W = nn.Parameter(np.full((4, 3), 0.1))

        def __call__(self, a):
            return np.sum(np.cumsum(np.tanh(self.W @ a), axis=0), axis=0, keepdims=True)

    step = assert_same_training(Cumulated, LOGITS, sgd, [(X, Y)] * 3, backend="native")
    assert "np.cumsum" in step.explain().splitlines()[-2]
    alone = tg.compile(lambda a: np.linalg.det(a), backend="native")
    assert alone(np.eye(3) * 2) == pytest.approx(8)
    assert "NumPy's calls, and no C: it is printed for none of these calls: np.linalg.det" in alone.explain()


def test_large_products_in_tiles_are_left_to_numpy():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(100, 5000)), (rng.random((1, 5000)) < 0.5).astype(float)
    model = Layers((100, 60, 1), np.tanh, float)
    step = tg.compile(model, LOGITS, sgd(model), backend="native")
    step(x, y)
    assert "NumPy's calls, and no C: large products take most of the time" in step.explain()
    assert "tiles of" in step.explain()


SOME = settings(max_examples=max(10, settings().max_examples // 3))  # of the profile: 2 x 1,000 in `make deep`


@SOME
@given(programs(), optimizers(), st.sampled_from(DTYPES), st.integers(1, 200), st.booleans(), st.integers(0, 9))
def test_a_step_of_a_random_model_is_as_exact_as_the_eager_one(program, optimizer, dtype, m, gradients, seed):
    yardstick = Yardstick(program, optimizer, dtype)
    fast = Twin(program, optimizer, dtype, compiled(backend="native", gradients=gradients))
    for i in range(2):
        data = program.data(m, seed + i)
        if not yardstick.step(*data):
            assume(i > 0)
            return
        yardstick.assert_as_exact(fast(*data), gradients=gradients, tiles=1 + m / 4096)


@SOME
@given(programs(), st.sampled_from(DTYPES), st.integers(1, 200), st.integers(0, 9))
def test_a_random_function_of_arrays_is_itself(program, dtype, m, seed):
    wides = references(dtype)
    f = executed(program.function())["f"]
    others = [executed(program.function(Line.contracted), **wide.names)["f"] for wide in wides]
    arrays = [x.astype(dtype) for x in (program.data(m, seed)[0], *program.values.values())]

    def leaves(x):
        if isinstance(x, dict):
            return [leaf for value in x.values() for leaf in leaves(value)]
        return [leaf for value in x for leaf in leaves(value)] if isinstance(x, (list, tuple)) else [x]

    with np.errstate(all="ignore"):
        wide = [leaves(g(*(x.astype(w.dtype) for x in arrays))) for g, w in zip(others, wides, strict=True)]
    assume(can_be_compared(wides))
    truth, *disturbed = wide
    plain, found = leaves(f(*arrays)), leaves(tg.compile(f, backend="native")(*arrays))
    for j, (x, y) in enumerate(zip(found, plain, strict=True)):
        assert (np.shape(x), x.dtype) == (np.shape(y), y.dtype)
        assert off_by(x, truth[j], [other[j] for other in disturbed], np.asarray(y), dtype) <= 1


def test_long_sums_of_float32_lose_no_more_digits_than_eagerly():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(3, 500_000)), (rng.random((1, 500_000)) < 0.5).astype(float)
    found = []
    for dtype in (float, "f4"):
        model = network(dtype)
        step = tg.compile(model, LOGITS, sgd(model, lr=0.0), gradients=True, backend="native")
        cost = step(x.astype(dtype), y.astype(dtype))
        found.append([np.array(cost), *(p.grad.astype(float) for p in model.parameters())])
    for exact, single in zip(*found, strict=True):
        assert np.abs(exact - single).max() <= 4 * np.finfo("f4").eps * max(np.abs(exact).max(), 0.01)


def test_the_same_step_gives_the_same_bits():
    results = []
    for _ in range(2):
        model = network("f4")
        step = tg.compile(model, LOGITS, sgd(model), backend="native")
        costs = [step(MANY.astype("f4"), (MANY[:1] > 0).astype("f4")) for _ in range(3)]
        results.append((costs, [p.data.tobytes() for p in model.parameters()]))
    assert results[0] == results[1]


def as_eagerly(f, *arrays):
    """What a function in C gives, as exact as the function itself."""
    found = tg.compile(f, backend="native")
    for _ in range(2):
        np.testing.assert_allclose(found(*arrays), f(*arrays), rtol=1e-13, atol=1e-13, strict=True)
    return found


EMPTY_SUMS = {
    "rows": (lambda x: np.sum(x * 2, axis=1), (3, 0)),
    "columns": (lambda x: np.sum(x * 2, axis=0), (0, 5)),
    "all": (lambda x: np.sum(x * 2) + 1, (0, 5)),
    "a product": (lambda x: np.tanh(x @ x.T) + 1, (3, 0)),
    "a product without rows": (lambda x: np.tanh(x.T @ x) + 1, (0, 5)),
}


@pytest.mark.parametrize("sums", EMPTY_SUMS)
def test_sums_of_nothing_are_zero(sums):
    f, shape = EMPTY_SUMS[sums]
    as_eagerly(f, np.ones(shape))


@pytest.mark.parametrize("kind", [">i4", ">i8", ">u2", ">f8"])
def test_numbers_in_the_other_order_of_bytes_are_read_as_they_are(kind):
    as_eagerly(lambda x, y: np.tanh(x) * y, MANY[:, :100], np.arange(300).reshape(3, 100).astype(kind))


def test_more_rows_than_the_stack_has_room_for_are_left_to_numpy():
    x = np.random.default_rng(0).normal(size=(1_200_000, 2))
    f = as_eagerly(lambda x: np.sum(np.tanh(x), axis=1), x)
    assert "no C" in f.explain()
    as_eagerly(lambda x: np.tanh(x) - np.mean(x, axis=0), x)


JOINED = {
    "hstack": lambda x: np.hstack([np.tanh(x), x * x]), "by itself": lambda x: np.concatenate([x, x, x], axis=1),
    "a column ahead": lambda x: np.concatenate([np.tanh(x)[:, :1], x * 2], axis=1),
    "rolled": lambda x: np.roll(np.tanh(x), 1, axis=1) * x, "tiled": lambda x: np.tanh(np.tile(x, 2)),
    "padded": lambda x: np.pad(np.tanh(x), ((0, 0), (2, 1))),
}  # fmt: skip


@pytest.mark.parametrize("name", JOINED)
def test_what_stands_beside_the_examples_is_as_eagerly(name):
    as_eagerly(JOINED[name], MANY[:, :100])

    def loss(z, y):
        return np.mean(JOINED[name](z) ** 2)

    assert_same_training(network, loss, sgd, [(X, Y)] * 3, backend="native")


CUT = {
    "the first": lambda x: np.where(x > np.tanh(x)[:1], x, np.tanh(x)[:1] * 0.5),
    "the second": lambda x: np.where(x > np.tanh(x)[1:2], x, np.tanh(x)[1:2] * 0.5),
    "the first, made for it": lambda x: np.tanh(x * x) - np.exp(np.abs(x))[:1] * x,
    "the first beside its own": lambda x: np.tanh(x) - np.tanh(x)[:1],
}


@pytest.mark.parametrize("row", CUT)
def test_a_row_that_is_cut_out_goes_with_all_others(row):
    assert "are C" in as_eagerly(CUT[row], MANY[:, :100]).explain()


def test_arrays_that_do_not_lie_on_the_stack_are_aligned():
    rng = np.random.default_rng(0)
    model = Layers((43, 59, 61, 4), np.tanh, float)
    step = tg.compile(model, tg.softmax_cross_entropy, sgd(model), backend="native")
    step(rng.normal(size=(43, 33)), rng.integers(0, 4, (1, 33)))
    numbers = re.findall(r"static __thread (?:F|double) \w+\[\d+\](?: ALIGNED)?", step.source)
    assert any("double" in text for text in numbers)
    assert all(text.endswith("ALIGNED") for text in numbers), "the compiler takes them to be, by their sizes"


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_largest_entry_of_a_high_column(dtype):
    x = np.random.default_rng(0).normal(size=(70, 1)).astype(dtype)
    as_eagerly(lambda x: np.maximum(np.max(x, axis=0), 0.1) + np.min(x, axis=0), x)


def test_offsets_are_counted_in_64_bits():
    def f(x, w):
        a = np.tanh(x)  # an own array, of which another loop takes row by row
        b = np.tanh((w * np.sum(a)) @ a)
        return b, np.cumsum(b, axis=0)[1:3] * 2, np.sum(b, axis=0), np.tanh(b @ b.T) @ b

    fast = tg.compile(f, backend="native")
    fast(MANY[:, :1003], np.ones((40, 3)))
    text = fast.source
    text = text[text.index("double c0(") :]
    assert "Size j" in text
    assert not re.search(r"\b(long|short|unsigned)\b", text)
    assert set(re.findall(r"\bint (\w+) = ", text)) <= {"i", "k"}  # over few sums, and in a vector
    assert not re.search(r"\d \* 1003|1003 \* \d", text), "a product of numbers has 32 bits in C"


def test_a_thread_with_a_small_stack_is_enough():
    code = (
        "import threading, numpy as np, tinygrad_dls as tg;"
        "f = tg.compile(lambda a: [np.tanh(k * a) @ a.T for k in range(1, 17)], backend='native');"
        "a = np.ones((64, 203)); f(a); threading.stack_size(128 * 1024);"
        "t = threading.Thread(target=lambda: print(len(f(a)))); t.start(); t.join()"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout.strip()) == (0, "16"), run.stderr


def test_fit_takes_the_backend():
    history = [
        tg.fit(model, X, Y, loss=LOGITS, optimizer=sgd(model), epochs=5, compile=options)
        for options in (False, {"backend": "native"}, {"backend": "auto"})
        for model in [network()]
    ]
    for other in history[1:]:
        np.testing.assert_allclose(other.costs, history[0].costs, rtol=1e-13)


# -- what it says -----------------------------------------------------------------------------------------------------


def test_explain_and_source_tell_what_is_c():
    model = network()
    step = tg.compile(model, LOGITS, sgd(model), backend="native")
    step(X, Y)
    line = r"\d+ calls are C, in 2 loops over 50, 21 columns: each column passes through all of a loop, in 1 function."
    assert re.search(line, step.explain())
    assert "tanh_(" in step.source
    assert "J0 = c0(X, Y, learning_rate)" in step.source
    step = tg.compile(model, LOGITS, sgd(model), backend="native", tile=7, threads=2)
    step(X, Y)
    assert "The tile that was asked for is of NumPy's calls" in step.explain()
    assert "1 thread does it all: no loop has enough to do for more" in step.explain()


def functions_of(compiled):
    """The functions of C that its program calls, or that are its program."""
    run, builtin = compiled._now.runner.run[0], type(len)
    if type(run) is builtin:
        return [run]
    return [f for f in run.__globals__.values() if type(f) is builtin and f.__module__ is None]


def test_python_calls_c_as_it_calls_its_own_functions():
    """Not by ctypes, which takes twenty times as long as the call of a built-in function."""
    f = tg.compile(lambda a, b: np.tanh(a) * b, backend="native")
    f(X, X)
    (c,) = functions_of(f)
    assert c.__name__ == "c0"


def test_the_memory_of_a_function_lives_as_long_as_it():
    f = tg.compile(lambda a: np.tanh(a) * 2, backend="native")
    columns = np.asfortranarray(X)  # which C copies into memory of its own
    expected = f(columns)
    run = f._now.runner.run[0]
    (c,) = functions_of(f)
    seen = weakref.ref(c.__self__)
    del f
    gc.collect()
    np.testing.assert_array_equal(run(columns)[0], expected)
    del run, c
    gc.collect()
    assert seen() is None


class Lazy:
    """A proxy that says of itself that it is what it stands for, as lazily loaded arrays do."""

    __class__ = property(lambda self: type(self.x))

    def __init__(self, x):
        self.x = x

    def __getattr__(self, name):
        return getattr(self.x, name)

    def __array__(self, dtype=None, copy=None):
        return self.x


def test_what_only_says_that_it_is_an_array_is_made_one():
    a, b = network(), network()
    step = tg.compile(a, LOGITS, sgd(a), backend="native")
    twin = tg.compile(b, LOGITS, sgd(b), backend="native")
    f = tg.compile(lambda x: np.tanh(x) + 1, backend="native")
    for _ in range(3):
        assert step(X, Y) == twin(Lazy(X), Lazy(Y))
        np.testing.assert_array_equal(f(X), f(Lazy(X)))


def test_what_is_no_number_is_an_error_where_c_takes_one():
    model = network()
    step = tg.compile(model, LOGITS, sgd(model), backend="native")
    step(X, Y)
    (c,) = functions_of(step)
    with pytest.raises(TypeError, match="must be real number, not str"):
        c(X, Y, "0.1")
    assert c(X, Y, -1) == c(X, Y, np.float32(-1))  # a number that C's interface gives for an error too


@pytest.mark.parametrize(("m", "long"), [(50, False), (50_000, True)])
def test_other_threads_run_while_a_loop_has_much_to_do(m, long):
    f = tg.compile(lambda a: np.tanh(a) + 1, backend="native")
    f(np.ones((3, m)))
    assert ("python.unlock()" in f.source) == long


def test_nothing_that_a_user_names_reaches_the_compiler():
    class Named(nn.Module):
        def __init__(self):
            self.quux = nn.Parameter(np.full((1, 3), 0.1), name="system")

        def __call__(self, gnarl):
            return self.quux @ gnarl

    model = Named()
    step = tg.compile(model, LOGITS, sgd(model), backend="native")
    step(X, Y)
    text = step.source[step.source.index("#include") :]
    assert not re.search("quux|system|gnarl|Named|gradients|parameters", text)


# -- without a compiler, and with one that fails ----------------------------------------------------------------------


@pytest.fixture
def no_compiler(monkeypatch):
    monkeypatch.setattr(building.shutil, "which", lambda name: None)
    monkeypatch.setattr(building.importlib.util, "find_spec", lambda name: None)


@pytest.mark.usefixtures("no_compiler")
def test_without_a_compiler_native_is_an_error_and_auto_is_numpy():
    model = network()
    with pytest.raises(
        NoCompiler,
        match=r"no compiler of C: neither cc, gcc nor clang is on the path.*tinygrad_dls\[native\]|native\]'",
    ):
        tg.compile(model, LOGITS, sgd(model), backend="native")
    step = tg.compile(model, LOGITS, sgd(model), backend="auto")
    step(X, Y)
    assert "NumPy's calls, and no C: there is no compiler of C" in step.explain()
    assert "#include" not in step.source


def test_the_wheel_of_zig_is_a_compiler_too(monkeypatch):
    monkeypatch.setattr(building.shutil, "which", lambda name: None)
    monkeypatch.setattr(building.importlib.util, "find_spec", lambda name: name == "ziglang" or None)
    assert building.compiler()[:4] == (sys.executable, "-m", "ziglang", "cc")


def script(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_a_compiler_that_fails_is_named_and_auto_does_without(monkeypatch, tmp_path):
    broken = script(tmp_path / "cc", "echo 'step.c:1:2: error: no such thing' >&2; exit 1")
    monkeypatch.setattr(building.shutil, "which", lambda name: str(broken))
    model = network()
    with pytest.raises(NoCompiler, match=r"the compiler .*cc failed: step.c:1:2: error: no such thing"):
        tg.compile(model, LOGITS, sgd(model), backend="native")(X, Y)
    step = tg.compile(model, LOGITS, sgd(model), backend="auto")
    step(X, Y)
    assert "no such thing" in step.explain()
    with_fallback = tg.compile(model, LOGITS, sgd(model), backend="native", fallback=True)
    with_fallback(X, Y)
    assert "Runs eagerly: NoCompiler" in with_fallback.explain()


def test_its_error_comes_from_another_process_as_it_is():
    again = pickle.loads(pickle.dumps(NoCompiler("there is none")))
    assert (str(again), again.reason) == ("backend='native': there is none", "there is none")


def test_an_unknown_backend_is_refused():
    model = network()
    with pytest.raises(ValueError, match="backend is 'c'; expected one of 'numpy', 'native', 'auto'"):
        tg.compile(model, LOGITS, sgd(model), backend="c")


# -- the cache --------------------------------------------------------------------------------------------------------

TEXT = "{}\nint answer(void) {{ return {}; }}\n"


@pytest.fixture
def folder(monkeypatch, tmp_path):
    """An empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "tinygrad_dls"


def answer(value, dtype="float64"):
    return building.library(TEXT.format(vectors.header(dtype), value)).answer()


@pytest.fixture
def builds(monkeypatch):
    """How often a compiler runs."""
    building._processor()  # which Python asks another program for, the first time
    runs = []
    run = subprocess.run
    monkeypatch.setattr(building.subprocess, "run", lambda *args, **options: runs.append(args) or run(*args, **options))
    return runs


def test_what_was_built_is_not_built_again(folder, builds):
    assert [answer(42), answer(42), answer(43)] == [42, 42, 43]
    assert len(builds) == 2
    assert len(list(folder.iterdir())) == 2
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("harm", ["cut", "changed", "empty", "writable by others", "a link"])
def test_a_file_that_is_not_what_it_was_is_built_anew(folder, builds, harm, tmp_path):
    answer(1000)
    (path,) = folder.iterdir()
    good = path.read_bytes()
    if harm == "writable by others":
        path.chmod(0o722)
    else:
        path.unlink()  # it is mapped into this process
        bad = {"cut": good[: len(good) // 2], "changed": good[:-1] + b"?", "empty": b"", "a link": good}[harm]
        target = tmp_path / "elsewhere" if harm == "a link" else path
        target.write_bytes(bad)
        if harm == "a link":
            path.symlink_to(target)
    assert answer(1000) == 1000
    assert len(builds) == 2
    (path,) = folder.iterdir()
    assert path.is_file()
    assert not path.is_symlink()
    assert path.stat().st_mode & 0o022 == 0


def test_a_library_of_another_processor_or_compiler_is_not_taken(folder, builds, monkeypatch):
    answer(7)
    monkeypatch.setattr(building, "_processor", lambda: "another one")
    answer(7)
    monkeypatch.setattr(building, "_compiler_version", lambda command: "another one")
    answer(7)
    assert len(builds) == 3


def test_a_folder_that_others_may_write_to_is_not_used(folder, builds):
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    assert answer(5) == 5
    assert list(folder.iterdir()) == []
    assert len(builds) == 1


def test_a_relative_folder_is_not_taken(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", "here")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    answer(6)
    assert not Path("here").exists()
    assert (tmp_path / ".cache/tinygrad_dls").is_dir()


def test_processes_that_build_the_same_at_once_do_not_disturb_each_other(folder):
    code = (
        "import numpy as np, tinygrad_dls as tg;"
        "f = tg.compile(lambda a: np.tanh(a) + 1, backend='native');"
        "print(float(f(np.zeros(9))[3]))"
    )
    with ThreadPoolExecutor(4) as pool:
        runs = list(
            pool.map(
                lambda _: subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False),
                range(4),
            )
        )
    assert [(run.stdout.strip(), run.stderr) for run in runs] == [("1.0", "")] * 4
    assert len({path.name.split("-")[0] for path in folder.iterdir()}) == 1
    assert not list(folder.glob("building-*"))


def test_the_cache_forgets_what_was_built_first(folder, monkeypatch):
    monkeypatch.setattr(building, "KEPT", 2)
    for value in range(4):
        answer(value)
    assert len(list(folder.iterdir())) == 2


def test_arrays_that_lie_elsewhere_are_noticed(monkeypatch):
    monkeypatch.setattr(building, "_checked_before", [])
    monkeypatch.setattr(building, "_as_it_is", lambda probe: [0, 3, 3, 8, 8])
    with pytest.raises(NoCompiler, match="reads arrays where NumPy 2 keeps them"):
        answer(9)


def test_an_error_of_the_recording_stays_one():
    with pytest.raises(RecordingError, match=r"would freeze the shape that np\.unique gives"):
        tg.compile(lambda a: np.unique(a), backend="native")(np.ones(3))
