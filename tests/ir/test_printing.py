"""The printer of calls: one walk and one rule of parentheses, and numbers as a person writes them."""

import fractions

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_dls.ir.call import Call
from tinygrad_dls.ir.functions import row_of
from tinygrad_dls.ir.printing import Printer, PythonPrinter, Written, expression, number_text
from tinygrad_dls.ir.tracer import Trace

RNG = np.random.default_rng(3)


def traced(function, *shapes):
    """The call of a function of arrays, and the names of these."""
    trace = Trace(None)
    arrays = [trace.input(name, np.ones(shape)) for name, shape in zip("xyzw", shapes, strict=False)]
    return function(*arrays).call, {x.call: x.call.name for x in arrays}


WRITTEN = {
    "x + (y + z)": (lambda x, y, z: x + (y + z), "x + y + z"),
    "x - (y - z)": (lambda x, y, z: x - (y - z), "x - (y - z)"),
    "x * (y + z)": (lambda x, y, z: x * (y + z), "x * (y + z)"),
    "x / (y * z)": (lambda x, y, z: x / (y * z), "x / (y * z)"),
    "(x - y) ** 2": (lambda x, y, z: (x - y) ** 2, "(x - y) ** 2"),
    "x**2 ** y": (lambda x, y, z: (x**y) ** z, "(x**y) ** z"),
    "powers of powers": (lambda x, y, z: x ** (y**z), "x**y**z"),
    "- (x + y)": (lambda x, y, z: -(x + y), "-(x + y)"),
    "minus of a power": (lambda x, y, z: -(x**y), "-(x**y)"),
    "- - x": (lambda x, y, z: np.negative(-x), "-(-x)"),
    "x + -y": (lambda x, y, z: x + -y, "x - y"),
    "x - -y * z": (lambda x, y, z: x - -y * z, "x + y * z"),
    "x - -(y + z)": (lambda x, y, z: x - -(y + z), "x + (y + z)"),
    "x + -(y - z)": (lambda x, y, z: x + -(y - z), "x - (y - z)"),
    "entry-wise before a matrix product": (lambda x, y, z: (x * y) @ z, "(x * y) @ z"),
    "a matrix product before an entry-wise one": (lambda x, y, z: x @ y * z, "x @ y * z"),
    "matrix products": (lambda x, y, z: x @ (y @ z), "x @ (y @ z)"),
    "a comparison": (lambda x, y, z: (x > y) * z, "(x > y) * z"),
    "comparisons": (lambda x, y, z: (x > y) == (y > z), "(x > y) == (y > z)"),
    "transposed": (lambda x, y, z: (x + y).T @ z, "(x + y).T @ z"),
    "indexed": (lambda x, y, z: (x + y)[0:2, ::-1], "(x + y)[0:2, ::-1]"),
    "small numbers": (lambda x, y, z: x / np.sqrt(y + 1e-8), "x / np.sqrt(y + 1e-8)"),
    "a method": (lambda x, y, z: x.sum(axis=1, keepdims=True), "x.sum(axis=1, keepdims=True)"),
    "joined without axes": (lambda x, y, z: np.concatenate([x, y], axis=None), "np.concatenate([x, y], axis=None)"),
    "sorted without axes": (lambda x, y, z: np.sort(x, axis=None), "np.sort(x, axis=None)"),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_parentheses_stand_where_they_are_needed_and_the_text_gives_the_same_numbers(name):
    function, expected = WRITTEN[name]
    arrays = [RNG.uniform(0.5, 1.5, (2, 2)) for _ in "xyz"]
    call, names = traced(function, (2, 2), (2, 2), (2, 2))
    text = expression(call, names)
    assert text == expected
    result = eval(text, {"np": np}, dict(zip("xyz", arrays, strict=True)))
    np.testing.assert_array_equal(result, function(*arrays))


OF_INTEGERS = {
    "1.5 + -n8": (lambda n8, u8, n32, b: 1.5 + -n8, "1.5 + -n8"),
    "n32 + -n8": (lambda n8, u8, n32, b: n32 + -n8, "n32 + -n8"),
    "u8 - (-n32)": (lambda n8, u8, n32, b: n32 - -u8, "n32 - -u8"),
    "n8 + (n8 + n32)": (lambda n8, u8, n32, b: n8 + (n8 + n32), "n8 + (n8 + n32)"),
    "0.5 + (u8 + 1)": (lambda n8, u8, n32, b: 0.5 + (u8 + 1), "0.5 + (u8 + 1)"),
    "of one dtype, which goes round": (lambda n8, u8, n32, b: n8 + (n8 + -n8), "n8 + n8 - n8"),
    "and numbers": (lambda n8, u8, n32, b: 3 + (u8 - 2), "3 + u8 - 2"),
    "truths": (lambda n8, u8, n32, b: u8 + (n32 - b), "u8 + (n32 - b)"),
}


@pytest.mark.parametrize("name", OF_INTEGERS)
def test_integers_at_the_ends_of_their_dtypes_are_computed_with_in_the_order_of_the_program(name):
    function, expected = OF_INTEGERS[name]
    dtypes = {"n8": np.int8, "u8": np.uint8, "n32": np.int32}
    arrays = {name: np.array([np.iinfo(dtype).min, np.iinfo(dtype).max], dtype) for name, dtype in dtypes.items()}
    arrays["b"] = np.array([True, False])
    trace = Trace(None)
    call = function(*(trace.input(name, x) for name, x in arrays.items())).call
    text = expression(call, {})
    assert text == expected
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(eval(text, {"np": np}, arrays), function(*arrays.values()), strict=True)


def full(number, dtype, shape):
    """The calls for an array of one number, as programs have them."""
    one = Call(np.full, ((1, 1), number), {"dtype": np.dtype(dtype)}, (1, 1), np.dtype(dtype))
    return Call(np.broadcast_to, (one, shape), {}, shape, np.dtype(dtype))


@pytest.mark.parametrize(
    ("number", "dtype", "text"),
    [
        (1.0, float, "np.ones((2, 3))"), (0.5, float, "np.full((2, 3), 0.5)"), (2, float, "np.full((2, 3), 2, float)"),
        (1, np.float32, "np.ones((2, 3), np.float32)"), (0.5, np.float32, "np.full((2, 3), 0.5, np.float32)"),
    ],
)  # fmt: skip
def test_an_array_of_one_number_is_made_in_one_call(number, dtype, text):
    assert expression(full(number, dtype, (2, 3)), {}) == text
    result = eval(text, {"np": np})
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, np.full((2, 3), number))


@pytest.mark.parametrize(
    ("dtype", "number", "text"),
    [
        (float, float, "0.5 * x"),
        (np.float32, np.float32, "0.5 * x"),
        (np.float32, float, "np.full((2, 3), 0.5) * x"),  # which makes the product one of float64
    ],
)
def test_an_array_of_one_number_beside_another_is_that_number_if_the_dtype_allows_it(dtype, number, text):
    x = Call(None, (), {}, (2, 3), np.dtype(dtype), "x")
    result = np.result_type(dtype, number)
    product = Call(np.multiply, (full(0.5, number, (2, 3)), x), {}, (2, 3), result)
    assert expression(product, {}) == text
    assert eval(text, {"np": np, "x": np.ones((2, 3), dtype)}).dtype == result


def test_what_has_a_name_is_written_by_it():
    call, names = traced(lambda x, y: np.tanh(x + y), (2,), (2,))
    inner = call.args[0]
    assert expression(call, names) == "np.tanh(x + y)"
    assert expression(call, names | {inner: "Z"}) == "np.tanh(Z)"
    assert expression(inner, names | {inner: "Z"}) == "x + y"
    assert expression(inner, names | {inner: "Z"}, top=False) == "Z"


class Spoken(Printer):
    """A printer that says what it reads."""

    def symbol(self, row):
        return {"+": "plus", "*": "times", "**": " to the "}.get(row.operator, row.operator)

    def function_name(self, function):
        return f"the {function.__name__} of "

    def parentheses(self, text):
        return f"[{text}]"


def test_a_printer_overrides_only_what_it_writes_otherwise():
    call, names = traced(lambda x, y: np.tanh(x * (x + y)) ** 2, (2,), (2,))
    assert Spoken(names).text(call) == Written("the tanh of (x times [x plus y])  to the  2", row_of(np.power).binding)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (1e-8, "1e-8"), (0.7 / 400, "0.00175"), (0.7 / 800, "0.000875"), (0.1 + 0.2, "0.3"), (1 - 0.9, "0.1"),
        (2.0, "2"), (-0.0, "-0.0"), (1e16, "1e16"), (1.5e300, "1.5e300"), (5e-324, "5e-324"), (7, "7"), (True + 1, "2"),
        (1 / 3, "0.3333333333333333"), (np.float32(0.1), "0.1"), (np.float16(0.1), "0.1"), (np.int8(-3), "-3"),
        (np.inf, "inf"), (-np.inf, "-inf"), (np.nan, "nan"), (123456.5, "123456.5"),
    ],
)  # fmt: skip
def test_a_number_is_written_as_a_person_does(number, text):
    assert number_text(number) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_an_exact_number_is_the_same_and_another_is_a_few_roundings_off(x):
    assert float(number_text(x, exact=True)) == x
    error = abs(fractions.Fraction(float(number_text(x))) - fractions.Fraction(x))
    assert error <= abs(fractions.Fraction(x)) * fractions.Fraction(5, 10**15)  # which has 15 digits


def test_the_printer_of_code_keeps_all_digits_unless_it_is_told_otherwise():
    x = Call(None, (), {}, (2,), np.dtype(float), "x")
    product = Call(np.multiply, (0.7 / 400, x), {}, (2,), np.dtype(float))
    assert PythonPrinter({}).text(product).text == "0.0017499999999999998 * x"
    assert expression(product, {}) == "0.00175 * x"
