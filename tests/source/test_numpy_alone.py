"""The printed code of every op, with every kind of argument, runs where there is NumPy alone, and is right there.

A single process runs all of it. It refuses to import anything that is neither NumPy nor Python's own, and gets the
arrays and the expected numbers in a file.
"""

import itertools
import pickle
import subprocess
import sys
from collections import Counter
from types import FunctionType

import numpy as np
import pytest
from scipy import special

import tinygrad_dls as tg
from tests.support.op_cases import CASES as OPS
from tests.support.sources import leaves_of
from tinygrad_dls.engine.errors import RecordingError
from tinygrad_dls.graph.reading import read
from tinygrad_dls.ir.functions import PATTERNS
from tinygrad_dls.nn import losses
from tinygrad_dls.nn.fused import loss_of
from tinygrad_dls.source import _source_of

RNG = np.random.default_rng(3)
DTYPES = (np.float64, np.float32, np.float16)

RUN = """
import pickle, sys

class NumPyAlone:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in {"numpy", *sys.stdlib_module_names}:
            raise ImportError(f"{name} is not NumPy")

sys.meta_path.insert(0, NumPyAlone())
import numpy as np

try:
    import tinygrad_dls
    sys.exit("the hook lets other packages in")
except ImportError:
    pass

def run(case):
    if case["kind"] == "source":
        space = {}
        exec(compile(case["code"], "source", "exec"), space)
        found = space["step"](*case["arguments"], **case["keywords"])
        return found if isinstance(found, tuple) else (found,)
    space = {"np": np, **case["arguments"]}
    exec(case["helpers"], space)
    for name, formula in case["code"].items():
        space[name] = eval(formula, space)
    return [space[name] for name in case["wanted"]]

wrong = {}
with open(sys.argv[1], "rb") as file:
    cases = pickle.load(file)
for name, case in cases.items():
    try:
        with np.errstate(all="ignore"):
            found = run(case)
        for what, x, right in zip(case["wanted"], found, case["right"], strict=True):
            x = np.asarray(x)
            assert x.shape == right.shape, f"{what} is {x.shape}, not {right.shape}"
            assert case["kind"] != "source" or x.dtype == right.dtype, f"{what} is {x.dtype}, not {right.dtype}"
            close = {"rtol": case["close"], "atol": case["close"] * np.abs(right).max(initial=1)}
            assert np.allclose(x, right, **close, equal_nan=True), f"{what} is {x}, not {right}"
    except Exception as error:
        wrong[name] = f"{type(error).__name__}: {error}", case["code"]
with open(sys.argv[2], "wb") as file:
    pickle.dump(wrong, file)
"""

INDICES = {
    "slices": (slice(1, None), slice(None, None, -1)),
    "an integer": 1,
    "integers": (1, -2),
    "an ellipsis": (Ellipsis, 0),
    "a new axis": (None, slice(None), 1),
    "a list": [0, 2, 0],
    "an array": np.array([2, 0, 0]),
    "a long array": np.arange(60) % 3,
    "a long array and a slice": (np.arange(60) % 3, slice(1, 3)),
    "a long array and an array": (np.arange(60) % 3, np.arange(60) % 4),
    "a long array and a new axis": (np.arange(60) % 3, None, slice(None, None, 2)),
    "rows and columns": (np.array([[0], [2]]), np.array([1, 1, 3])),
    "booleans": np.arange(12).reshape(3, 4) % 5 < 2,
    "booleans of rows": np.array([True, False, True]),
    "nothing": slice(0, 0),
    "no places": np.zeros(0, int),
}
NUMBERS = {
    "an int": 2, "a float": 1.5, "a whole float": 2.0, "a negative": -3.0, "a bool": True, "zero": -0.0, "much": 1e20,
    **{f"np.{t.__name__}": t(2) for t in (np.float64, np.float32, np.float16, np.int64, np.int8, np.uint8, np.bool_)},
    "an array without axes": np.array(2.0), "integers": np.array([[1], [2], [3]]),
    "small integers": np.array([1, 2, 0, 3], np.uint8), "booleans": np.array([True, False, True, True]),
    "infinities": np.array([np.inf, 1.0, -np.inf, 2.0]), "float32": np.array([[0.5], [1.5], [2.5]], np.float32),
    "data": np.linspace(1, 2, 12).reshape(3, 4),
}  # fmt: skip


def cases():
    """The name of each case, and how to compute it of arrays that become Tensors."""
    for name, (f, inputs) in OPS.items():
        for dtype in DTYPES:
            yield f"{name}, {dtype.__name__}", f, [np.asarray(x, dtype) for x in inputs]
        if len(inputs) > 1:
            for i in range(len(inputs)):
                x = inputs[i]
                yield f"{name}, of a constant {i}", _held(f, i, x), [y for j, y in enumerate(inputs) if j != i]
    x = RNG.uniform(0.5, 2, (3, 4))
    for (what, y), dtype in itertools.product(NUMBERS.items(), DTYPES[:2]):
        for op in (tg.add, tg.subtract, tg.multiply, tg.divide, tg.power, tg.maximum, tg.minimum):
            yield f"{op.__name__} with {what}, {dtype.__name__}", _behind(op, y), [x.astype(dtype)]
            yield f"{what} with {op.__name__}, {dtype.__name__}", _before(op, y), [x.astype(dtype)]
    for (what, index), dtype in itertools.product(INDICES.items(), DTYPES[:2]):
        yield f"{what} as an index, {dtype.__name__}", lambda x, index=index: x[index], [x.astype(dtype)]
        yield f"{what} as an index, twice", lambda x, index=index: x[index] * 2 + np.tanh(x)[index], [x]
    for loss, y in {
        tg.binary_cross_entropy_with_logits: np.array([[0, 1, 1, 0]] * 3),
        tg.softmax_cross_entropy: np.array([[0, 2, 1, 0]]),
        tg.mean_squared_error: RNG.standard_normal((3, 4)),
    }.items():
        for kind in (y.dtype, np.float32, bool if loss is tg.binary_cross_entropy_with_logits else float):
            if loss is not tg.softmax_cross_entropy or kind == y.dtype:
                yield f"{loss.__name__} with {np.dtype(kind)}", _behind(loss, y.astype(kind)), [x]

    for name, f in ENTRIES.items():
        for dtype in DTYPES:
            yield f"{name}, {dtype.__name__}", f, [x.astype(dtype)]


ENTRIES = {  # without axes, as the cost itself
    "an entry": lambda x: x[1, 2],
    "an entry of two": lambda x: x[None][0, 1, 2],
    "the entries of a row and a row": lambda x: x[0] @ x[1],
    "a matrix, a row and an entry": lambda x: (x @ x[0])[1],
    "the transpose of an entry": lambda x: x[1, 2].T,
    "an entry in another dtype": lambda x: x[1, 2].astype(np.float32).astype(x.dtype),
    "an entry with axes, squeezed": lambda x: np.squeeze(x[1:2, 2:3]),
    "an entry in a new shape": lambda x: x[:1, :1].reshape(()),
    "a sum of a sum along axes": lambda x: np.sum(np.sum(x, axis=0)[None], axis=(0, 1)),
    "a whole array that is one entry": lambda x: x[1, 2][...],
    "an entry with a new axis, and without": lambda x: x[1, 2][None][0],
    "the largest entry": lambda x: np.max(x),
}


def _held(f, i, x):
    return lambda *others: f(*others[:i], x, *others[i:])


def _behind(op, y):
    return lambda x: op(x, y)


def _before(op, y):
    return lambda x: op(y, x)


def cost(f, inputs):
    """A cost of what an op gives, with names and weights that let no two entries' gradients be alike."""
    tensors = [tg.Tensor(x, requires_grad=True, name=f"W{i}") for i, x in enumerate(inputs, 1)]
    Z = f(*tensors)
    if isinstance(Z, tg.Tensor) and Z.shape == () and all(map(np.ndim, inputs)):
        return Z  # its gradient is the number 1, and no array
    weights = (np.arange(Z.size).reshape(Z.shape) % 7 + 1.0).astype(Z.dtype)
    return np.sum(Z * weights) if Z.size else np.sum(Z)


def written(kinds):
    """The code of every case as a dict for the other process; and how many were refused."""
    found, refused = {}, Counter()
    helpers = "\n\n".join(_source_of(f) for f in PATTERNS if f.__name__ != "clipped_sigmoid")
    for name, f, inputs in cases():
        with np.errstate(all="ignore"):
            J = cost(f, inputs)
            if not isinstance(J, tg.Tensor) or J.op is None:
                continue
            J.backward()
            nodes = read(J)
            parameters = [node for node in nodes if node.kind == "parameter"]
            data = [node for node in nodes if node.kind == "input" and not node.op]
            leaves, _ = leaves_of(J)
            m = next((n.shape[1] for n in data if len(n.shape) == 2), 1)
            right = [np.asarray(J.data), *(np.asarray(n.x.grad) for n in parameters)]
            rounding = max(np.finfo(x.dtype).eps for x in right)
            common = {
                "right": right,
                "close": 200 * rounding,
                "wanted": ["J", *(f"d{n.identifier}" for n in parameters)],
            }
            for kind in kinds:
                try:
                    if kind == "source":
                        code = tg.numpy_source(J)
                        keywords = {"m": m} if "*, m" in code else {}
                        arguments = [leaves[n.identifier] for n in (*data, *parameters)]
                        found[f"{name}: source"] = {
                            **common,
                            "kind": kind,
                            "code": str(code),
                            "arguments": arguments,
                            "keywords": keywords,
                        }
                    elif "float16" not in name:
                        code = tg.derive(J).formulas
                        arguments = {"m": m, **leaves}
                        found[f"{name}: formulas"] = {
                            **common,
                            "kind": kind,
                            "code": code,
                            "arguments": arguments,
                            "helpers": helpers,
                        }
                except RecordingError as error:
                    refused[str(error)[:60]] += 1
    return found, refused


def run_alone(found, folder):
    """What goes wrong where there is NumPy alone."""
    (folder / "cases").write_bytes(pickle.dumps(found))
    command = [sys.executable, "-I", "-c", RUN, str(folder / "cases"), str(folder / "wrong")]
    run = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert run.returncode == 0, run.stderr
    return pickle.loads((folder / "wrong").read_bytes())


@pytest.mark.parametrize("kind", ["source", "formulas"])
def test_the_code_of_every_op_with_every_kind_of_argument_runs_with_numpy_alone(kind, tmp_path):
    found, refused = written([kind])
    assert not refused
    assert len(found) > 1000
    assert not run_alone(found, tmp_path)


def test_every_op_is_among_these():
    """Those of the table of tests of single ops, the losses, and indexing."""
    ops = {node.op for _, f, inputs in cases() for node in nodes_of(f, inputs)}
    table = {f.__name__ for f in vars(tg.engine.ops).values() if isinstance(getattr(f, "rule", None), FunctionType)}
    assert table - ops == {"scatter"}  # the gradient of indexing
    costs = {f.__name__ for f in vars(losses).values() if loss_of(f)}
    assert costs - ops == {"binary_cross_entropy"}  # of probabilities: in other tests


def nodes_of(f, inputs):
    with np.errstate(all="ignore"):
        J = cost(f, inputs)
    return read(J) if isinstance(J, tg.Tensor) and J.op is not None else []


def test_what_is_wrong_or_needs_more_than_numpy_is_found(tmp_path):
    case = {"kind": "source", "arguments": [], "keywords": {}, "wanted": ["J"], "right": [np.array(1.0)], "close": 0}
    wrong = run_alone(
        {
            name: {**case, "code": f"{first}\ndef step():\n    return {value}"}
            for name, first, value in [
                ("right", "import numpy as np", "np.array(1.0)"),
                ("wrong", "", "1.5"),
                ("of another dtype", "", "1"),
                ("of another shape", "import numpy as np", "np.ones(1)"),
                ("SciPy", "import scipy", "1.0"),
                ("a name", "", "scattered"),
            ]
        },
        tmp_path,
    )
    assert list(wrong) == ["wrong", "of another dtype", "of another shape", "SciPy", "a name"]


# -- what NumPy has elsewhere than at the top, or not at all ----------------------------------------------------------

ELSEWHERE = {
    "np.linalg.norm": lambda x: x / np.linalg.norm(x, axis=0, keepdims=True),
    "np.fft.irfft": lambda x: np.fft.irfft(np.fft.rfft(x, axis=0), n=3, axis=0),
    "np.linalg.det": lambda x: x * np.linalg.det(x[:, :3]),
    "np.apply_along_axis(np.cumsum, 0, X)": lambda x: np.apply_along_axis(np.cumsum, 0, x),
    "np.pad(X, ((1, 0), (0, 0)), mode='edge')": lambda x: np.pad(x, ((1, 0), (0, 0)), mode="edge"),
    "dtype=np.float32": lambda x: x * np.sum(x, axis=0, keepdims=True, dtype=np.float32),
    "np.round": lambda x: np.round(x, 2),
    "np.vecdot": lambda x: x * np.vecdot(x.T, x.T),
    "np.lib.stride_tricks.sliding_window_view": lambda x: np.lib.stride_tricks.sliding_window_view(x, 2, axis=0)[
        ..., 0
    ],
}


@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_function_is_called_where_numpy_has_it(name, tmp_path):
    x, f = RNG.standard_normal((3, 8)), ELSEWHERE[name]
    W = tg.Tensor(RNG.standard_normal((1, len(f(x)))), requires_grad=True, name="W")
    source = tg.numpy_source(lambda X: np.sum(np.tanh(W @ f(X))), x)
    assert (name if "=" in name or "(" in name else f"{name}(") in source
    J = np.sum(np.tanh(W @ f(x)))
    J.backward()
    right = [np.asarray(J.data), W.grad]
    case = {
        "kind": "source",
        "code": str(source),
        "arguments": [x, W.data],
        "keywords": {"m": 8} if "*, m" in source else {},
    }
    assert not run_alone({name: {**case, "wanted": ["J", "dW"], "right": right, "close": 1e-12}}, tmp_path)


@tg.op()
def gelu(z):
    """Gaussian error linear unit: z times the probability that a normal number is smaller."""
    p = (1 + special.erf(z / np.sqrt(2))) / 2
    return z * p, (lambda dz: dz * (p + z * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)),)


def test_a_function_that_numpy_has_not_is_refused_by_name():
    W = tg.Tensor(np.ones((1, 3)), requires_grad=True, name="W")
    with pytest.raises(
        RecordingError, match=r"needs NumPy alone, which does not have scipy.special.erf. Write it with"
    ):
        tg.numpy_source(lambda X: np.sum(gelu(W @ X)), np.ones((3, 8)))


def test_a_derivation_calls_it_by_its_full_name():
    W = tg.Tensor(np.ones((1, 3)), requires_grad=True, name="W")
    assert "scipy.special.erf(" in tg.derive(lambda X: np.sum(gelu(W @ X)), np.ones((3, 8))).text


def test_a_function_that_gives_objects_of_pythons_is_refused():
    odd = np.frompyfunc(lambda x: x, 1, 1)
    W = tg.Tensor(np.ones((1, 3)), requires_grad=True, name="W")

    @tg.op()
    def through(z):
        return odd(z).astype(float), (lambda dz: dz * odd(z).astype(float),)

    def cost(X):
        return np.sum(through(W @ X))

    with pytest.raises(RecordingError, match=r"would lose what <lambda> \(vectorized\) gives"):
        tg.numpy_source(cost, np.ones((3, 8)))
    with pytest.raises(RecordingError, match=r"would lose what <lambda> \(vectorized\) gives"):
        tg.derive(cost, np.ones((3, 8)))


def test_an_argument_that_has_no_text_is_refused():
    W = tg.Tensor(np.ones((1, 3)), requires_grad=True, name="W")
    with pytest.raises(RecordingError, match=r"does not have .*<lambda>"):
        tg.numpy_source(lambda X: np.sum(W @ np.apply_along_axis(lambda x: x + 1, 0, X)), np.ones((3, 8)))
    when = np.array(["2020-01-01"], "M8[D]")
    with pytest.raises(RecordingError, match=r"cannot hold array.*2020.* Use numbers, strings and arrays"):
        tg.numpy_source(lambda X: np.sum(W @ np.where(np.isin(X, when), X, 0)), np.ones((3, 8)))
