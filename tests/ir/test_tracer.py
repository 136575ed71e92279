"""An array that writes down what is done to it computes as NumPy does, and refuses what no program could repeat."""

import operator

import numpy as np
import pytest

import tinygrad_dls as tg
from tinygrad_dls.engine.errors import RecordingError
from tinygrad_dls.ir.agreement import differ_in_numbers, remember_lengths
from tinygrad_dls.ir.call import Call, evaluate, getitem, scattered, toposort
from tinygrad_dls.ir.size import Dimension
from tinygrad_dls.ir.tracer import Trace, Tracer

X = np.array([[1.0, -2, 3], [4, 5, -6]])
M = 7


def recorded(x=X, name="X", m=None):
    return Trace(m).input(name, x)


COMPUTED = {
    "an operator": (lambda x: 2 - x * x, np.subtract),
    "a product of matrices": (lambda x: x @ x.T, np.matmul),
    "an array on the left": (lambda x: np.ones((1, 2)) @ x, np.matmul),
    "a function": (lambda x: np.tanh(x), np.tanh),
    "a function of a list": (lambda x: np.concatenate([x, x], axis=1), np.concatenate),
    "a comparison": (lambda x: x > 0, np.greater),
    "a method": (lambda x: x.sum(axis=1, keepdims=True), np.sum),
    "a mean": (lambda x: x.mean(axis=0), np.mean),
    "extremes": (lambda x: x.max() - x.min(), np.subtract),
    "booleans": (lambda x: (x > 0).any(axis=0), np.any),
    "all of them": (lambda x: (x > 0).all(), np.all),
    "a shape": (lambda x: x.reshape(3, 2), np.reshape),
    "a shape in a tuple": (lambda x: x.reshape((3, -1)), np.reshape),
    "an index": (lambda x: x[:, ::-1], getitem),
    "a dtype": (lambda x: x.astype(np.float32).astype(float), None),
    "the function of a dtype": (lambda x: np.astype(x, np.float32), None),
    "zeros": (lambda x: np.zeros_like(x) + 1, np.add),
    "ones of a shape": (lambda x: np.ones_like(x, shape=(2,)), np.full),
}


@pytest.mark.parametrize("case", COMPUTED)
def test_it_computes_as_numpy_does_and_writes_down_the_call(case):
    compute, function = COMPUTED[case]
    found = compute(recorded())
    assert isinstance(found, Tracer)
    np.testing.assert_array_equal(found.value, compute(X), strict=True)
    assert (found.shape, found.dtype, found.ndim) == (compute(X).shape, compute(X).dtype, compute(X).ndim)
    assert function is None or found.call.function is function


def test_calls_come_after_their_arguments():
    x = recorded()
    y = np.exp(x) + np.exp(x) * x
    calls = toposort([y.call])
    assert calls[0] is x.call
    assert calls[-1] is y.call
    assert all(calls.index(inner) < calls.index(call) for call in calls for inner in call.calls())


def test_the_gradient_of_indexing_is_one_call():
    dz = recorded(np.array([1.0, 2, 4]))
    z = np.zeros_like(dz, shape=(2, 3))
    np.add.at(z, (slice(None), 1), dz[:2])
    assert z.call.function is scattered
    np.testing.assert_array_equal(z.value, [[0, 1, 0], [0, 2, 0]])


def test_a_python_number_does_not_widen_float32():
    trace = Trace()
    rate = trace.input("learning_rate", 0.1)
    assert (trace.input("W", np.ones(2, np.float32)) * rate).dtype == np.float32


def test_the_same_dtype_and_a_copy_are_no_calls():
    x = recorded()
    assert x.astype(float) is x
    assert x.copy() is x


def test_a_constant_is_kept_as_it_was():
    index = np.array([0, 1, 0])
    z = recorded()[index]
    index[:] = 1
    np.testing.assert_array_equal(z.call.args[1], [0, 1, 0])


def test_a_tensor_of_recording_arrays_keeps_the_calls_to_itself():
    z = recorded() * tg.Tensor(recorded(name="W"), requires_grad=True)
    assert isinstance(z, tg.Tensor)


# -- the number of examples -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("compute", "kind"),
    [
        (lambda m: m, Dimension),
        (lambda m: 2 * m, Dimension),
        (lambda m: m * 3, Dimension),
        (lambda m: m + 1, Dimension),
        (lambda m: 1 + m, Dimension),
        (lambda m: m - 1, Dimension),
        (lambda m: 1 - m, Dimension),
        (lambda m: m // 2, Dimension),
        (lambda m: 1 / m, float),
        (lambda m: m / 2, float),
        (lambda m: -(1 / m), float),
        (lambda m: 3 * (2 / m), float),
        (lambda m: 1 - 1 / m, float),
        (lambda m: -m, Dimension),
    ],
)
def test_numbers_of_the_number_of_examples_remember_it(compute, kind):
    m = recorded(np.ones((2, M)), m=M).shape[1]
    number = compute(m)
    assert number == compute(M)
    assert isinstance(number, kind)
    assert [call.name for call in toposort([number.call]) if call.function is None] == ["m"]


def test_lengths_that_are_multiples_of_the_number_of_examples_remember_it():
    x = recorded(np.ones((4, M)), m=M)
    rows, columns = x.shape
    assert type(rows) is int
    assert isinstance(columns, Dimension)
    assert isinstance(x.size, Dimension)
    assert x.size == 4 * M
    assert isinstance(np.shape(x)[1], Dimension)
    assert type(recorded(np.ones((4, M))).shape[1]) is int


def test_the_number_of_examples_stands_as_a_symbol_in_the_calls():
    x = recorded(np.ones((2, M)), m=M)
    mean = x.sum(axis=1) / x.shape[1]
    assert isinstance(mean.call.args[1], Call)
    assert mean.call.args[1].name == "m"
    np.testing.assert_array_equal(mean.value, [1, 1])


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("freeze", "text"),
    [
        (bool, r"a Python decision \(if, while, and, or\) on Z"),
        (lambda z: z > 0 and 1, "a Python decision .* on the result of np.greater"),
        (float, "the number that Python makes of Z"),
        (int, "the number that Python makes of Z"),
        (complex, "the number that Python makes of Z"),
        (operator.index, "the number that Python makes of Z"),
        (lambda z: z.item(), "the number that Python makes of Z"),
        (lambda z: z.tolist(), "the number that Python makes of Z"),
        (np.asarray, r"a plain array \(np.asarray, or a function that is not NumPy's\) of Z"),
    ],
)
def test_what_would_freeze_a_value_is_refused_by_its_name_and_line(freeze, text):
    z = recorded(np.array(1.0), "Z")
    with pytest.raises(RecordingError, match=rf"would freeze {text} \(line \d+ of test_tracer.py: .*Write np.where"):
        freeze(z)


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.float64])
def test_what_indexes_a_plain_array_is_told_how_to(dtype):
    E, index = np.arange(8.0).reshape(4, 2), np.array([3, 1], dtype)
    np.testing.assert_array_equal(E.T @ (np.arange(len(E))[:, None] == index), E[index.astype(int)].T)
    with pytest.raises(RecordingError) as error:
        E[recorded(index, "i")]
    told = "If it is an index of an array E, make E a parameter of the model, or an argument; or write E.T @ (np.ar"
    assert (told in str(error.value)) == (dtype is not np.float64)


def test_a_large_array_from_elsewhere_is_refused():
    x = recorded(np.ones((2, 50)))
    mask = np.ones((2, 50))
    with pytest.raises(
        RecordingError, match=r"freeze an array \(2, 50\) that is an argument of np.multiply .*x \* mask"
    ):
        x * mask
    assert (recorded() * np.ones((2, 3))).shape == (2, 3)  # a small one is a constant


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda x: np.add.reduce(x), r"^np.add.reduce is not recorded .*Write it with operators"),
        (
            lambda x: np.exp(x, out=np.ones((2, 3))),
            r"^np.exp with out= is not recorded .*Write it with operators",
        ),
    ],
)
def test_what_no_program_has_is_refused(call, text):
    with pytest.raises(RecordingError, match=text):
        call(recorded())


def test_a_recording_error_is_a_type_error():
    assert issubclass(RecordingError, TypeError)


# -- numbers that have forgotten the number of examples ---------------------------------------------------------------

FORGOTTEN = {
    "1.0 / m": lambda m: 1.0 / m,
    "0.35 / m": lambda m: 0.7 / (2 * m),
    "-0.5 * m": lambda m: -0.5 * m,
    "m": float,
    "-m + 1": lambda m: 1.0 - m,
    "-1 / m + 1": lambda m: 1.0 - 1.0 / m,
    "2 / (m - 1)": lambda m: 2.0 / (m - 1),
    "0.1 / m": lambda m: np.float64(0.1) / m,
}


def scaled(scale, ms=(7, 8, 9)):
    traces = [Trace(m) for m in ms]
    arrays = [trace.input("x", np.ones((2, m))) for trace, m in zip(traces, ms, strict=True)]
    outputs = [[(x * scale(x.shape[1])).call] for x in arrays]
    differ = differ_in_numbers(*outputs)
    remember_lengths(list(zip(traces, outputs, strict=True)))
    for trace, (call,), m in zip(traces, outputs, ms, strict=True):
        (value,) = evaluate([call], {trace.dimension: m, call.args[0]: np.ones((2, m))})
        np.testing.assert_allclose(value, np.full((2, m), scale(m)), rtol=1e-15)  # a rounding or two
    return differ, outputs


@pytest.mark.parametrize("case", FORGOTTEN)
def test_a_number_that_was_computed_from_the_number_of_examples_is_found_again(case):
    differ, outputs = scaled(FORGOTTEN[case])
    assert differ
    assert not differ_in_numbers(*outputs)
    ((call,), *_) = outputs
    assert "m" in [inner.name for inner in toposort([call])]


@pytest.mark.parametrize("case", [lambda m: 2.0**m, lambda m: float(np.random.default_rng(m).random())])
def test_other_numbers_that_differ_are_left_alone(case):
    differ, outputs = scaled(case)
    assert differ
    assert differ_in_numbers(*outputs)
