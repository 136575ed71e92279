"""One op and one row make a NumPy function known to all of the package; and what is known stands in the table alone."""

import ast
import re
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

import tinygrad_dls as tg
from tests.support.programs import OURS, random_program
from tinygrad_dls import symbolic
from tinygrad_dls.compiler.draft import Draft
from tinygrad_dls.compiler.intervals import lies_within
from tinygrad_dls.compiler.lowering import lower
from tinygrad_dls.engine import tensor
from tinygrad_dls.ir import functions
from tinygrad_dls.ir.call import Call, toposort
from tinygrad_dls.ir.functions import Kind
from tinygrad_dls.ir.printing import expression
from tinygrad_dls.ir.rules import canonicalize
from tinygrad_dls.ir.tracer import Trace, Tracer

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/how_to_add_an_op.md"


# -- a function more --------------------------------------------------------------------------------------------------


@pytest.fixture
def page():
    """What the code of the page defines; it is forgotten afterwards."""
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    tensor.implementation(np.arctan)  # so that the package's own is there, and can be taken out
    with mock.patch.dict(tensor.implementations), mock.patch.dict(functions._ROWS):
        del tensor.implementations[np.arctan], functions._ROWS[np.arctan]
        names = {"np": np, "tg": tg}
        exec("\n".join(blocks), names)
        yield names


class Network(tg.nn.Module):
    """A hidden layer with a function of the page's, and a sigmoid on top."""

    def __init__(self, function):
        rng = np.random.default_rng(0)
        self.hidden, self.last, self.function = tg.nn.Linear(2, 4, rng=rng), tg.nn.Linear(4, 1, rng=rng), function

    def __call__(self, X):
        return tg.sigmoid(self.last(self.function(self.hidden(X))))


@pytest.fixture
def data():
    X = np.random.default_rng(1).standard_normal((2, 40))
    return X, (X[:1] * X[1:] > 0).astype(float)


def trained(model, X, Y, **settings):
    optimizer = tg.optim.SGD(model.parameters(), lr=1)
    return tg.fit(model, X, Y, loss=tg.binary_cross_entropy, optimizer=optimizer, **settings)


def test_the_op_of_the_page_trains(page, data):
    model = Network(np.arctan)
    before = tg.binary_cross_entropy(model(data[0]), data[1]).item()
    trained(model, *data, epochs=200)
    assert tg.binary_cross_entropy(model(data[0]), data[1]).item() < before / 2


def test_the_rule_of_the_page_is_proved(page):
    z = symbolic.symbols("z", (1, 1))
    Z = tg.Tensor(z, requires_grad=True)
    A = page["arctan"](Z)
    A.backward()
    assert str(A.data.item()) == "atan(z)"
    assert symbolic.same(Z.grad, [[A.data.item().diff(z.item())]])  # by SymPy's own rules
    assert symbolic.same(Z.grad, 1 / (1 + z**2))


def test_the_op_of_the_page_is_differentiated_twice(page):
    x = np.linspace(-2, 2, 9)
    inner = tg.Tensor(x, requires_grad=True)
    outer = tg.Tensor(inner, requires_grad=True)
    np.sum(np.arctan(outer)).backward()
    np.sum(outer.grad).backward()
    np.testing.assert_allclose(inner.grad, -2 * x / (1 + x**2) ** 2, rtol=1e-12)  # a few roundings
    z = symbolic.symbols("z", (1, 1))
    Z = tg.Tensor(tg.Tensor(z, requires_grad=True), requires_grad=True)
    np.arctan(Z).backward()
    Z.grad.backward()
    assert symbolic.same(Z.data.grad, -2 * z / (1 + z**2) ** 2)


def test_the_op_of_the_page_is_drawn_with_its_derivative(page, data):
    Z = tg.Tensor(data[0], requires_grad=True, name="Z")
    picture = tg.draw(np.sum(np.arctan(Z))).source
    assert "arctan(Z)" in picture
    assert "1 / (1 + Z²)" in picture


def test_the_op_of_the_page_is_derived(page, data):
    derivation = tg.derive(Network(np.arctan), *data, loss=tg.binary_cross_entropy)
    assert "np.arctan(hidden_W @ X + hidden_b)" in derivation.text
    assert "last_W.T @ dU3 / (1 + (hidden_W @ X + hidden_b) ** 2)" in derivation.text
    assert r"\arctan(\mathrm{hidden.W} \, X + \mathrm{hidden.b})" in derivation.latex
    assert "mathrm{arctan}" not in derivation.latex


def test_one_entry_of_the_op_of_the_page_is_derived(page, data):
    W = tg.Tensor(np.ones((1, 2)), requires_grad=True, name="W")
    Z = W @ tg.Tensor(data[0], name="X")
    A = np.arctan(Z)
    Z.name, A.name = "Z", "A"
    derivation = tg.derive(tg.mean_squared_error(A, tg.Tensor(data[1], name="Y")))
    assert "a = arctan(z)" in derivation.text
    assert "da/dz = 1/(z**2 + 1)" in derivation.text
    assert r"a = \arctan{(z)}" in derivation.latex


def test_the_numpy_code_of_the_op_of_the_page_gives_its_gradients(page, data):
    model = Network(np.arctan)
    source = tg.numpy_source(model, *data, loss=tg.binary_cross_entropy)
    assert "np.arctan(" in source
    names = {}
    exec(source, names)
    J, *gradients = names["step"](*data, *(p.data for p in model.parameters()), m=40)
    cost = tg.binary_cross_entropy(model(data[0]), data[1])
    cost.backward()
    assert pytest.approx(cost.item(), rel=1e-12) == J  # the same sums, in another order perhaps
    for got, p in zip(gradients, model.parameters(), strict=True):
        np.testing.assert_allclose(got, p.grad, rtol=1e-10, atol=1e-15)


def test_the_op_of_the_page_is_compiled(page, data):
    eager, compiled = Network(np.arctan), Network(np.arctan)
    trained(eager, *data, epochs=20)
    trained(compiled, *data, epochs=20, compile=True)
    for p, q in zip(eager.parameters(), compiled.parameters(), strict=True):
        np.testing.assert_allclose(p.data, q.data, rtol=1e-9)  # 20 steps of roundings in another order
    step = tg.compile(compiled, tg.binary_cross_entropy, tg.optim.SGD(compiled.parameters(), lr=1), fallback=False)
    step(*data)
    assert "arctan(" in step.source


def test_bounds_in_the_row_of_the_page_are_those_of_its_results(page):
    z = Trace().input("Z", np.ones((2, 3)))
    assert lies_within((np.arctan(z) / 4 + 0.5).call, 0, 1)
    assert not lies_within((np.arctan(z) / 3 + 0.5).call, 0, 1)
    assert lies_within(np.arctan(np.maximum(np.tanh(z), 0)).call, 0, 1)  # from 0 up to a quarter of pi, as it rises


def test_a_function_that_is_no_ufunc_is_known_by_its_row():
    with mock.patch.dict(tensor.implementations), mock.patch.dict(functions._ROWS):

        @tg.op(np.flip)
        def flip(x: "Array", axis=None):  # noqa: F821  # the annotation of an input
            return np.flip(x, axis), (lambda dz: np.flip(dz, axis),)

        z = symbolic.symbols("z", (2, 1))
        with pytest.raises(TypeError, match=r"np\.flip has no formula on symbols"):
            flip(z, 0)
        functions.add(np.flip, Kind.VIEW, selects=True)
        assert str(flip(z, 0)) == "[[z_{2}],\n [z_{1}]]"
        r = Trace().input("Z", np.ones((2, 3)))
        assert lies_within(flip(tg.Tensor(tg.sigmoid(tg.Tensor(r)).data), 0).data.call, 0, 1)
        rng = np.random.default_rng(0)
        X, Y = rng.standard_normal((2, 9)), np.ones((1, 9))
        eager, compiled = (Network(lambda Z: flip(Z, 0)) for _ in range(2))
        for model, settings in ((eager, {}), (compiled, {"compile": True})):
            trained(model, X, Y, epochs=3, **settings)
        np.testing.assert_allclose(eager.hidden.W.data, compiled.hidden.W.data, rtol=1e-12)  # a few roundings


def test_a_row_that_contradicts_another_is_refused():
    with pytest.raises(ValueError, match=r"^functions\.add\(tanh, \.\.\.\): tanh has another row already, with latex="):
        functions.add(np.tanh, latex="T", bounds=(-1.0, 1.0), monotone=True)
    assert functions.add(np.tanh, latex=r"\tanh", bounds=(-1.0, 1.0), monotone=True) is not None  # the same one


def test_a_row_of_fields_that_there_are_not_is_refused():
    with pytest.raises(TypeError, match=r"^functions\.add\(cbrt, \.\.\.\): a row has no latx=; it has operator, "):
        functions.add(np.cbrt, latx=r"\sqrt[3]{#1}")
    with pytest.raises(TypeError, match=r"the kind is 'view'; expected one of Kind, such as Kind\.VIEW\."):
        functions.add(np.cbrt, "view")
    assert np.cbrt not in {row.function for row in functions.rows()}


# -- the table --------------------------------------------------------------------------------------------------------


def recorded(seed):
    """The calls of a random program of all ops: as its rules make them, simplified, and as they are compiled."""
    program, trace = random_program(seed), Trace()
    tensors = [tg.Tensor(trace.input(f"x{i}", x), requires_grad=True) for i, x in enumerate(program.inputs)]
    with np.errstate(all="ignore"):
        J = program.run(OURS, tensors)[-1]
        J.backward(trace.constant(1.0, float))
    calls = [x.call for x in [J._value, *(x._grad for x in tensors)] if isinstance(x, Tracer)]
    simple = canonicalize(calls)
    ops = {step.op for step in program.steps}
    return ops, {x.function for x in toposort([*calls, *simple, *lower(Draft(simple))[0].outputs])}


def test_every_function_that_a_rule_calls_has_a_row():
    found = [recorded(seed) for seed in range(200)]
    ops, called = (set().union(*(x[i] for x in found)) for i in range(2))
    rows = {row.function for row in functions.rows()}
    compilers_own = {f for f in called if f is not None and f.__module__.startswith("tinygrad_dls.compiler.")}
    assert ops >= OURS.keys()
    assert {f.__name__ for f in compilers_own} == {"total"}
    assert called - compilers_own - {None} <= rows


@pytest.mark.parametrize("row", list(functions.rows()), ids=lambda row: row.function.__name__)
def test_a_row_is_right(row):
    """What a row says of bounds, of rising and of its ufunc is what the function does."""
    if isinstance(row.function, np.ufunc):
        assert row.kind is (Kind.MATRIX if row.function.signature else Kind.ENTRYWISE)
    if row.operator:
        x = [Call(None, (), {}, (2, 2), np.dtype(float), name) for name in "xy"]
        text = expression(Call(row.function, tuple(x[: row.function.nin]), {}, (2, 2), np.dtype(float)), {})
        values = np.array([[1.5, 2.0], [0.5, 3.0]]), np.array([[1.0, 2.0], [3.0, 0.5]])
        assert row.operator in text
        got = eval(text, dict(zip("xy", values, strict=True)))
        np.testing.assert_array_equal(got, row.function(*values[: row.function.nin]))
    if isinstance(row.function, np.ufunc) and row.function.nin == 1 and row.kind is Kind.ENTRYWISE:
        points = np.linspace(-20, 20, 1001)
        with np.errstate(all="ignore"):
            results = row.function(points, dtype=bool if row.function is np.logical_not else None)
        results = results[~np.isnan(results)].astype(float)
        assert row.bounds[0] <= results.min()
        assert results.max() <= row.bounds[1]
        steps = np.diff(results)
        assert not row.monotone or (steps >= 0).all() or (steps <= 0).all()
    if row.reduce is not None:
        x = np.array([[1.5, 2.0], [0.5, 3.0]])
        np.testing.assert_array_equal(row.reduce.reduce(x, 1), row.function(x, axis=1))
    if row.kind is Kind.REDUCTION and row.method:
        x = np.array([[1.5, 2.0], [0.5, 3.0]])
        np.testing.assert_array_equal(getattr(x, row.method)(axis=1), row.function(x, axis=1))


def test_the_method_of_a_recording_array_is_numpys_function():
    trace = Trace()
    x = trace.input("X", np.ones((2, 3)))
    for row in functions.rows():
        if row.kind is Kind.REDUCTION and row.method:
            assert getattr(x, row.method)(axis=1).call.function is row.function


ALLOWED = {
    "engine/ops.py": "the rules",
    "engine/more_ops.py": "more rules",
    "engine/composed.py": "what NumPy's functions are composed of",
    "engine/along_axes.py": "which reductions take which keywords",
    "engine/tensor.py": "the functions that write into an array, which a Tensor refuses",
    "nn/losses.py": "the rules of the losses",
    "nn/weighted.py": "the rules of the losses with weights",
    "ir/functions.py": "the table",
    "ir/rules.py": "identities: algebra speaks of the functions that it is about",
    "ir/size.py": "the operators of a length, which make calls",
    "ir/tracer.py": "array methods that are calls, and the functions that lengths as symbols are asked by",
    "compiler/lowering.py": "identities: calls in terms of cheaper ones",
    "compiler/scaling.py": "identities: where a factor may go",
    "compiler/scheduling.py": "instructions that the compiler makes by itself: ones, dots, numbers as arrays",
    "compiler/native/operators.py": "the table of what they are in C, by the vectors that stand in this room",
    "compiler/native/fusing.py": "the products, ones and views that a loop over columns may take in",
    "derivations/derive.py": "how a cost and a broadcast array were recorded, which it explains",
    "symbolic/arrays.py": "the reductions of formulas, and zeros and ones that are formulas",
    "onnx/operators.py": "the table of what they are in ONNX, which needs the writer and so cannot stand below it",
}
MOST = 4


def named(source):
    """The NumPy functions that a module holds as objects, and does not merely call."""
    tree = ast.parse(source)
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    found = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Load)
        and isinstance(node.value, ast.Name)
        and node.value.id == "np"
        and id(node) not in called
    }
    return {x for x in found if callable(f := getattr(np, x, None)) and not isinstance(f, type)}


def test_what_is_known_of_functions_stands_in_the_table_alone():
    package = ROOT / "tinygrad_dls"
    many = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if len(named(path.read_text(encoding="utf-8"))) > MOST
    }
    assert many - ALLOWED.keys() == set(), "put what they know into ir/functions.py; or say above why they name so many"
    assert ALLOWED.keys() - many - {"nn/losses.py", "nn/weighted.py"} == set(), "these need no exception any longer"


def test_the_search_for_names_sees_tables_and_not_calls():
    assert named("T = {np.tanh: 1}\nif f in (np.log, np.exp): pass\ny = np.sin(x) + np.pi\nz: np.ndarray") == {
        "tanh", "log", "exp",
    }  # fmt: skip
