"""A compiled function of arrays is the function."""

import collections
import fractions
import re
from array import array

import numpy as np
import pytest

import tinygrad_dls as tg
from tests.compiler.steps import RNG, X, assert_alike
from tinygrad_dls import nn
from tinygrad_dls.engine.errors import RecordingError


def test_a_function_of_arrays_is_compiled():
    def f(W, x):
        return np.tanh(W @ x), tg.softmax(W @ x) * 2 + 1

    compiled = tg.compile(f)
    W = RNG.normal(size=(2, 3))
    for x in (X, X[:, :7], X):
        for one, other in zip(f(W, x), compiled(W, x), strict=True):
            assert_alike(one, other)
    assert "def function(" in compiled.source
    assert "NumPy calls" in compiled.explain()


A = np.array([[-1.0, 2.0, 3.0], [0.5, -0.25, 4.0]])
N = np.array([[100, 3, 0], [7, 8, 9]], np.int8)
F = np.array([1 / 3, 0.1], np.float32)
FUNCTIONS = {
    "sum where": (lambda a: np.sum(a, where=a > 0), A),
    "mean where": (lambda a: np.mean(a, where=a > 0), A),
    "sum initial": (lambda a: np.sum(a, initial=5.0), A),
    "max initial": (lambda a: np.max(a, axis=0, initial=0.7), A),
    "axis by position": (lambda a: a / np.max(np.abs(a), 0), A),
    "integers by position": (lambda a: np.sum(a, 0), N),
    "no axis": (lambda a: np.sum(a, axis=()), A),
    "reshape in Fortran's order": (lambda a: np.reshape(a, (3, 2), order="F") + 1, A),
    "ones like integers": (lambda n: np.ones_like(n) - n, N),
    "ones of another dtype": (lambda n: np.ones_like(n, dtype=float) - 2 * n, N),
    "squares of small integers": (lambda n: n**2.0, N),
    "their mean": (lambda n: np.mean(n**2.0), N),
    "sum as floats": (lambda n: np.sum(n, dtype=float), N),
    "a boolean without axes": (lambda a: (a[0, 1] > 0).astype(float) - (a[0, 0] < 0).astype(float), A),
    "NumPy's float64 beside float32": (lambda x: x * np.float64(0.1), F),
    "and compared": (lambda x: (x > np.float64(0.1)) * 1.0, F),
    "np.dot with a sum": (lambda a: np.dot(np.sum(a), a), A),
    "indices from data": (lambda n: n[n[0] % 2], N),
    "names that differ by what the text adds": (lambda m, m_: m - m_, A, 2 * A),
    "a name that the text uses": (lambda scattered, getitem: scattered[0] + np.tanh(getitem), A, A),
}


def test_an_argument_whose_graph_would_be_lost_is_refused():
    square, w = tg.compile(lambda x: np.sum(x * x)), tg.nn.Parameter(A, name="W")
    for call in (lambda: square(w), lambda: tg.grad(square)(A)):
        with pytest.raises(TypeError, match=r"the gradient for its argument 1 would be lost\. Pass \.data of the T"):
            call()
    with tg.no_grad():
        assert square(w) == square(w.data) == square(tg.Tensor(A)) == np.sum(A * A)
    np.testing.assert_array_equal(tg.compile(tg.grad(lambda x: np.sum(x * x)))(A), 2 * A)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_of_numpy_with_their_options(name):
    f, *arrays = FUNCTIONS[name]
    compiled = tg.compile(f)
    for factor in (1, -1):
        given_ = [factor * x for x in arrays]
        expected, found = f(*given_), compiled(*given_)
        assert np.asarray(found).dtype == np.asarray(expected).dtype
        np.testing.assert_allclose(found, expected, rtol=1e-15, atol=1e-15)  # a few roundings of float64


REFUSED = {
    "allclose": lambda a: a if np.allclose(a, A) else -a,
    "array_equal": lambda a: a if np.array_equal(a, A) else -a,
    "split": lambda a: np.split(a, 2)[0],
    "divmod": lambda a: np.divmod(a, 2)[0],
    "unique": lambda a: a * np.unique(a).size,
    "nonzero": lambda a: a[np.nonzero(a > 0)],
    "where": lambda a: np.sum(a[np.where(a > 0)]),
    "indexing by booleans": lambda a: a[a > 0] * 2,
    "add.at": lambda a: (lambda z: (np.add.at(z, 0, a[0]), z)[1])(np.ones_like(a)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_hangs_on_values_is_refused_by_name_or_runs_eagerly(name):
    with pytest.raises(RecordingError, match=name) as error:
        tg.compile(REFUSED[name])(A)
    assert "test_function.py" in str(error.value)
    fallback = tg.compile(REFUSED[name], fallback=True)
    np.testing.assert_array_equal(fallback(A), REFUSED[name](A))
    assert fallback.explain().startswith("Runs eagerly: ")


def test_a_function_gives_new_arrays_each_time_in_the_form_of_its_result():
    f = tg.compile(lambda a, b: {"sum": a + b, "list": [a, (a - b,)]})
    first = f(np.ones(3), np.full(3, 2.0))
    f(np.zeros(3), np.zeros(3))
    np.testing.assert_array_equal(first["sum"], np.full(3, 3.0))
    np.testing.assert_array_equal(first["list"][0], np.ones(3))
    np.testing.assert_array_equal(first["list"][1][0], np.full(3, -1.0))


Pair = collections.namedtuple("Pair", "sum, rest")


def test_a_function_may_give_named_tuples_and_no_containers_of_its_own():
    result = tg.compile(lambda a: Pair(a + a, [Pair(a, -a)]))(np.ones(2))
    assert (type(result), type(result.rest[0])) == (Pair, Pair)
    assert (result.rest[0].rest == -1).all()
    for kind in (collections.OrderedDict, collections.Counter):
        with pytest.raises(RecordingError, match=f"gave a {kind.__name__}, .* lists and dicts. Return one of these"):
            tg.compile(lambda a, kind=kind: kind({"sum": a + a}))(np.ones(2))


def test_complex_and_other_results_are_compared_as_they_are():
    f = tg.compile(lambda a: (np.fft.fft(np.tanh(a)) * (1 + 2j) / 3, np.where(a > 1, "large", "small")))
    for k in range(9):
        z, words = f(X[0] + k)
        np.testing.assert_allclose(z, np.fft.fft(np.tanh(X[0] + k)) * (1 + 2j) / 3, rtol=1e-12)
        np.testing.assert_array_equal(words, np.where(X[0] + k > 1, "large", "small"))


class Doubling:
    """Something that NumPy takes for an array."""

    def __init__(self):
        self.entries = np.full(3, 2.0)

    def __array__(self, dtype=None, copy=None):
        return self.entries.copy()


class Own(Doubling):
    def __array_ufunc__(self, ufunc, method, *inputs):
        return ufunc(*[7.0 if x is self else x for x in inputs])


class Weighted(np.ndarray):
    def __array_ufunc__(self, ufunc, method, *inputs):
        return ufunc(*[x.view(np.ndarray) * 7 if x is self else x for x in inputs])


TAKEN = {
    "a deque": collections.deque([1.0, 2.0, 3.0]), "a range": range(3), "an array.array": array("d", [1, 2, 3]),
    "a memoryview": memoryview(np.arange(3.0)), "what has __array__": Doubling(), "a subclass of arrays": np.rec.array(
        np.arange(3.0)), "an integer of any size": 10**30,
}  # fmt: skip
LOST = {
    "a MaskedArray": np.ma.array([1.0, 2.0, 3.0], mask=[0, 1, 0]), "a matrix": np.ones((3, 1)).view(np.matrix),
    "a Own": Own(), "a Weighted": np.ones(3).view(Weighted),
    "np.multiply": np.array([1, 2, 3], object),
    "a Fraction": fractions.Fraction(1, 3),
}  # fmt: skip


@pytest.mark.parametrize("name", TAKEN)
def test_what_numpy_takes_for_an_array_is_one_in_a_program_too(name):
    y = TAKEN[name]
    for f in (lambda x: np.multiply(x, y), lambda x: np.where(x > 1, x, y)):
        np.testing.assert_array_equal(tg.compile(f)(np.array([1.0, 2.0, 3.0])), f(np.array([1.0, 2.0, 3.0])))


@pytest.mark.parametrize("name", LOST)
def test_what_does_something_of_its_own_beside_arrays_is_refused_by_name(name):
    y = LOST[name]
    with pytest.raises(
        RecordingError, match=rf"would lose what {re.escape(name)} (does|gives).* Write .*float"
    ) as error:
        tg.compile(lambda x: np.multiply(x, y), constants=[y])(np.ones(3))
    assert "SyntaxError" not in str(error.value)


def test_what_has_an_array_is_watched():
    y = Doubling()
    f = tg.compile(lambda x: x * np.add(x, y))
    assert (f(np.ones(3)) == 3).all()
    f(np.ones(3))
    y.entries = np.full(3, 4.0)
    assert (f(np.ones(3)) == 5).all()


def test_a_function_that_would_be_frozen_is_refused_or_runs_eagerly():
    rng = np.random.default_rng(0)
    with pytest.raises(RecordingError, match="random numbers"):
        tg.compile(lambda a: a + rng.normal(size=3))(np.ones(3))
    with pytest.raises(RecordingError, match="depends on W, b"):
        tg.compile(nn.Linear(3, 1, rng=0).__call__)(X)
    f = tg.compile(lambda a: a if a[0] > 0 else -a, fallback=True)
    assert (f(np.array([-1.0])) == 1).all()
    assert "Runs eagerly" in f.explain()


@pytest.mark.parametrize("function", [np.sinc, np.mean, np.linalg.norm, np.tanh, np.sort])
def test_a_function_of_numpys_is_compiled_as_it_is(function):
    x = np.array([[3.0, 1.0], [2.0, 5.0]])
    np.testing.assert_allclose(tg.compile(function)(x), function(x), rtol=1e-15)
