"""What each NumPy function is in ONNX: op by op in onnxruntime, at the edges, in all dtypes, and what it is not."""

import inspect
import re

import numpy as np
import pytest

import tinygrad_dls as tg
from tests.support import numpy_calls, op_cases
from tests.support.onnx_files import assert_same, exported, run
from tinygrad_dls.onnx import operators, writing

RNG = np.random.default_rng(8)
NOT_IN_ONNX = ("cumprod", "solve", "inv", "det", "slogdet", "cholesky")


def without_operator(name):
    return name.split(" ")[0].rstrip(",") in NOT_IN_ONNX


@pytest.mark.parametrize("name", op_cases.CASES)
def test_every_op_gives_the_same(name, tmp_path):
    function, arrays = op_cases.CASES[name]
    got = exported(function, tmp_path / "op.onnx", *arrays, dynamic=False)["output"]
    assert_same(got, function(*arrays))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", [name for name in numpy_calls.CASES if not without_operator(name)])
def test_numpys_further_functions_give_the_same(name, dtype, tmp_path):
    function, arrays = numpy_calls.CASES[name]
    arrays = [x.astype(dtype) for x in arrays]
    got = exported(lambda *xs: function(np, *xs), tmp_path / "f.onnx", *arrays, dynamic=False)["output"]
    assert_same(got, function(np, *arrays))


@pytest.mark.parametrize("name", [name for name in numpy_calls.CASES if without_operator(name)])
def test_what_has_no_operator_is_refused_by_name(name, tmp_path):
    function, arrays = numpy_calls.CASES[name]
    with pytest.raises(TypeError, match=rf"np\.(linalg\.)?{re.split(r'[ ,]', name)[0]}\b"):
        tg.onnx.export(lambda *xs: function(np, *xs), tmp_path / "f.onnx", *arrays, dynamic=False)
    assert not (tmp_path / "f.onnx").exists()


FOR_ANY_NUMBER = {
    "median": lambda x: np.median(x, axis=0), "median kept": lambda x: np.median(x, axis=0, keepdims=True),
    "median of all": np.median, "sort": lambda x: np.sort(x, axis=0), "sort the examples": lambda x: np.sort(x, axis=1),
    "take_along_axis": lambda x: np.take_along_axis(x, np.argsort(x, axis=0), axis=0),
    "take_along_axis of one": lambda x: np.take_along_axis(x, np.argmax(x, axis=0, keepdims=True), axis=0),
    "take_along_axis of examples": lambda x: np.take_along_axis(x, np.argmax(x, axis=1, keepdims=True), axis=1),
    "average": lambda x: np.average(x, axis=0, weights=[1.0, 2.0, 3.0]), "roll": lambda x: np.roll(x, 1, axis=0),
    "roll the examples": lambda x: np.roll(x, -2, axis=1), "diff": lambda x: np.diff(x, axis=0),
    "cumsum": lambda x: np.cumsum(x, axis=1), "norm": lambda x: np.linalg.norm(x, axis=0),
    "ptp": lambda x: np.ptp(x, axis=0), "std": lambda x: np.std(x, axis=1), "tile": lambda x: np.tile(x, (2, 2)),
    "flip": lambda x: np.flip(x, 1), "einsum": lambda x: np.einsum("ij,ij->j", x, x), "kron": lambda x: np.kron(x, x),
}  # fmt: skip


@pytest.mark.parametrize("name", FOR_ANY_NUMBER)
def test_functions_along_features_and_examples_take_any_number_of_these(name, tmp_path):
    x = RNG.normal(size=(3, 9))
    function = FOR_ANY_NUMBER[name]
    exported(function, tmp_path / "f.onnx", x)
    for m in (9, 4, 30):
        x = RNG.normal(size=(3, m))
        assert_same(run(tmp_path / "f.onnx", x)["output"], function(x))


# -- numbers at the edges ---------------------------------------------------------------------------------------------

EDGES = np.array(
    [0.0, 1e-300, -1e-300, 1e-20, -1e-9, 0.3, -0.75, 1.0, -1.0, 1.5, -30.0, 700.0, -700.0, np.inf, -np.inf]
)
POSITIVE, UNIT, ABOVE = (
    EDGES[EDGES >= 0],
    EDGES[np.abs(EDGES) <= 1],
    np.array([1.0, 1 + 1e-9, 1.5, 30.0, 1e200, np.inf]),
)
EVERYWHERE = (
    np.exp, np.expm1, np.tanh, np.arctan, np.arcsinh, np.exp2, np.abs, np.sign, np.floor, np.ceil, np.rint, np.trunc,
    np.isnan, np.isinf, np.isfinite, np.positive, np.square, np.cosh, np.sinh, tg.sigmoid, tg.softplus,
)  # fmt: skip
DOMAINS = {
    **dict.fromkeys(EVERYWHERE, EDGES),
    **dict.fromkeys((np.sqrt, np.log, np.log1p, np.log2, np.log10), POSITIVE),
    **dict.fromkeys((np.arcsin, np.arccos, np.arctanh), UNIT),
    **dict.fromkeys((np.sin, np.cos, np.tan), EDGES[np.isfinite(EDGES)]),
    np.arccosh: ABOVE,
}


@pytest.mark.parametrize(("dtype", "rtol", "atol"), [("float64", 1e-12, 1e-300), ("float32", 1e-6, 1e-37)])
@pytest.mark.parametrize("function", DOMAINS, ids=lambda f: f.__name__)
def test_at_the_edges_as_near_as_roundings(function, dtype, rtol, atol, tmp_path):
    """Relative to each number, but for those that are below the normal ones: no digits of small ones are lost."""
    with np.errstate(all="ignore"):
        x = DOMAINS[function].astype(dtype)
        expected = np.asarray(getattr(function(x), "data", function(x)))
    got = exported(function, tmp_path / "f.onnx", x, dynamic=False)["output"]
    assert got.dtype == expected.dtype
    np.testing.assert_allclose(got, expected, rtol=rtol, atol=atol)


PAIRS = np.array([[x, y] for x in (0.0, 1e-200, -2.0, 3.0, 1e200) for y in (0.0, 0.5, -4.0, -1e200)]).T


@pytest.mark.parametrize(
    "function", [np.arctan2, np.hypot, np.logaddexp, np.maximum, np.minimum], ids=lambda f: f.__name__
)
def test_of_two_at_the_edges(function, tmp_path):
    x, y = PAIRS
    got = exported(function, tmp_path / "f.onnx", x, y, dynamic=False)["output"]
    np.testing.assert_allclose(got, function(x, y), rtol=1e-12)


@pytest.mark.parametrize("function", [np.fmax, np.fmin, np.maximum, np.minimum], ids=lambda f: f.__name__)
def test_of_two_of_which_one_is_nan(function, tmp_path):
    x, y = np.array([[np.nan, 1.0, np.nan, 2.0], [1.0, np.nan, np.nan, 3.0]])
    got = exported(lambda x, y: function(tg.Tensor(x), y), tmp_path / "f.onnx", x, y, dynamic=False)["output"]
    np.testing.assert_array_equal(got, function(x, y))
    got = exported(function, tmp_path / "f.onnx", x, y, dynamic=False)["output"]
    np.testing.assert_array_equal(got, function(x, y))


# -- dtypes -----------------------------------------------------------------------------------------------------------

NUMBERS = {
    dtype: np.array([[1, 2, 5], [3, -4, 7]]).astype(dtype) for dtype in ("float64", "float32", "int64", "int32")
} | {"bool": np.array([[True, False, True], [False, False, True]])}
BINARY = (
    np.add,
    np.multiply,
    np.maximum,
    np.minimum,
    np.greater,
    np.less_equal,
    np.equal,
    np.not_equal,
    np.logical_and,
)


@pytest.mark.parametrize("other", [*NUMBERS, "a number", "a float"])
@pytest.mark.parametrize("dtype", NUMBERS)
@pytest.mark.parametrize("function", BINARY, ids=lambda f: f.__name__)
def test_dtypes_are_numpys(function, dtype, other, tmp_path):
    x = NUMBERS[dtype]
    if other in NUMBERS:
        y = NUMBERS[other][::-1]
        got, expected = exported(function, tmp_path / "f.onnx", x, y, dynamic=False)["output"], function(x, y)
    else:
        y = 2 if other == "a number" else 1.5
        got, expected = (
            exported(lambda x: function(x, y), tmp_path / "f.onnx", x, dynamic=False)["output"],
            function(x, y),
        )
    assert_same(got, expected)


OF_INTEGERS = {
    "divide": lambda x: x / 2, "floor_divide": lambda x: x // 3, "remainder": lambda x: x % 3, "power": lambda x: x**2,
    "negative": lambda x: -x, "subtract": lambda x: 1 - x, "sum": lambda x: x.sum(axis=0), "mean": lambda x: np.mean(x),
    "max": lambda x: np.max(x, axis=1), "prod": lambda x: np.prod(x, axis=1), "cumsum": lambda x: np.cumsum(x, axis=1),
    "argmax": lambda x: np.argmax(x, axis=1), "argmin": lambda x: np.argmin(x), "sort": lambda x: np.sort(x, axis=0),
    "argsort": lambda x: np.argsort(x, axis=1), "count_nonzero": lambda x: np.count_nonzero(x > 2, axis=0),
    "where": lambda x: np.where(x > 2, x, 0.5), "astype": lambda x: x.astype(np.float32), "exp": np.exp,
    "abs": np.abs, "round": lambda x: np.round(x * 0.25, 1), "var": lambda x: np.var(x, axis=1, ddof=1),
    "std": lambda x: np.std(x), "any": lambda x: np.any(x > 4, axis=0), "all": lambda x: np.all(x > 0, axis=1),
    "matmul": lambda x: x @ x.T, "logical_not": np.logical_not, "truths": lambda x: (x > 1) & ~(x > 4) | (x == 7),
    "where of truths": lambda x: np.where(x > 2, x > 4, x < 0), "full": lambda x: x + np.full_like(x, 3),
    "sum in float32": lambda x: np.sum(x, dtype=np.float32), "stack": lambda x: np.stack([x, x + 0.5], axis=-1),
    "argmax kept": lambda x: np.argmax(x, axis=0, keepdims=True), "isfinite": lambda x: np.isfinite(x / 2),
}  # fmt: skip


@pytest.mark.parametrize("dtype", ["float64", "float32", "int64", "int32"])
@pytest.mark.parametrize("name", OF_INTEGERS)
def test_functions_of_integers_and_of_floats(name, dtype, tmp_path):
    x = NUMBERS[dtype]
    assert_same(exported(OF_INTEGERS[name], tmp_path / "f.onnx", x, dynamic=False)["output"], OF_INTEGERS[name](x))


# -- indexing ---------------------------------------------------------------------------------------------------------

ROWS, COLUMNS = np.array([[0, -1], [2, 1]]), np.array([1, -2])
MASK = np.array([True, False, True])
INDICES = (
    0, -1, slice(1, None), slice(None, None, -1), slice(-2, None, 2), slice(5, 0, -2), (1, 2), (slice(None), -1), ...,
    (..., 0), None, (None, ..., None), (slice(0, 0),), ROWS, MASK, (slice(None), COLUMNS), (ROWS, COLUMNS),
    (0, slice(None), COLUMNS), (COLUMNS, slice(None), 0), (COLUMNS, None, COLUMNS), (slice(None), COLUMNS, COLUMNS),
    (None, ROWS, slice(1, 3), COLUMNS, None), (slice(None), slice(1), None, COLUMNS), (MASK, 1), (..., COLUMNS, None),
)  # fmt: skip


@pytest.mark.parametrize("index", INDICES, ids=str)
def test_indexing_is_numpys(index, tmp_path):
    x = RNG.normal(size=(3, 4, 5))
    assert_same(exported(lambda x: x[index], tmp_path / "f.onnx", x, dynamic=False)["output"], x[index])


def test_columns_are_taken_by_computed_places(tmp_path):
    def sorted_by_the_first_row(X):
        return X[:, np.argsort(X[0])][:, : X.shape[1] // 2]

    X = RNG.normal(size=(2, 9))
    tg.onnx.export(sorted_by_the_first_row, tmp_path / "f.onnx", X)
    for m in (1, 4, 30):
        X = RNG.normal(size=(2, m))
        assert_same(run(tmp_path / "f.onnx", X)["output"], sorted_by_the_first_row(X))


# -- a function of one's own ------------------------------------------------------------------------------------------


def test_a_function_of_ones_own_is_exported_once_it_has_a_row(tmp_path, monkeypatch):
    X = np.abs(RNG.normal(size=(2, 3)))
    with pytest.raises(TypeError, match=r"ONNX has nothing for np.spacing .*tinygrad_dls.onnx.add"):
        tg.onnx.export(np.spacing, tmp_path / "f.onnx", X)
    monkeypatch.setattr(operators, "_ROWS", dict(operators._ROWS))
    tg.onnx.add(np.spacing, composed=lambda x: x * 2.0**-52)
    got = exported(np.spacing, tmp_path / "f.onnx", X)["output"]
    assert_same(got, X * 2.0**-52)


def test_rows_name_functions_that_take_what_their_operators_take():
    assert inspect.signature(tg.onnx.add).parameters.keys() == writing.Operator.__dataclass_fields__.keys()


def test_a_row_that_says_nothing_of_a_function_is_refused():
    text = "onnx.add: what is np.cbrt in ONNX? Give the name of an operator, such as onnx.add(np.arctan, 'Atan'), or"
    with pytest.raises(TypeError, match=re.escape(text)):
        tg.onnx.add(np.cbrt)
    assert operators.operator_of(np.cbrt) is None
