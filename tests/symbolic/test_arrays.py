"""Arrays of symbols: what they are, and what they cannot do."""

import importlib
import re
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
import sympy

import tinygrad_dls as tg
from tests.symbolic.proving import p2, x0, x2, x23, x32, y, y2
from tinygrad_dls import nn
from tinygrad_dls.extras import install
from tinygrad_dls.symbolic import SymbolicArray, same, symbols, with_symbols

# -- what symbols cannot do, and what they say ------------------------------------------------------------------------


ERRORS = [
    (lambda: np.argmax(x2), TypeError, "np.argmax has no formula on symbols. Put numbers in first, with .evaluate("),
    (lambda: np.spacing(x2), TypeError, "np.spacing has no formula on symbols."),
    (lambda: np.add.reduce(x2), TypeError, "np.add.reduce has no formula on symbols."),
    (lambda: np.exp(x2, out=np.zeros(2)), TypeError, "np.exp has no formula on symbols."),
    (lambda: np.linalg.norm(x2), TypeError, "np.linalg.norm has no formula on symbols."),
    (lambda: bool(x0 > 0), TypeError, "whether x > 0 depends on the symbols. Give them a sign, as in "
     "symbols('z', shape, positive=True), decide it with in_case(formulas, z, +1), or put numbers in with .evaluate("),
    (lambda: float(x0), TypeError, "no number for x: pass one for every symbol, as in .evaluate({z: ...})."),
    (lambda: (x2 * y2).evaluate({x2: 1}), TypeError, "no number for y_{1}, y_{2}: pass"),
    (lambda: np.log(x0).evaluate({x0: -1}), TypeError, "I*pi is not a real number."),
    (lambda: tg.astype(x2, float), TypeError, "no number for x_{1}, x_{2}: pass"),
    (lambda: SymbolicArray(["z"]), TypeError, "a SymbolicArray holds SymPy expressions and real numbers, not str."),
    (lambda: SymbolicArray(1j), TypeError, "a SymbolicArray holds SymPy expressions and real numbers, not complex."),
    (lambda: same(x2, x23), ValueError, "same: the formulas are (2,) and (2, 3); expected one shape."),
    (lambda: tg.binary_cross_entropy(x2[None] + 2, y2), ValueError, "Y is (2,), but A is (1, 2)"),
    (lambda: nn.Linear(2, 1, rng=0)(x32), ValueError, "Did you pass X transposed?"),
    (lambda: tg.binary_cross_entropy(symbols("a", (1, 1), negative=True), y), ValueError, "A has values outside"),
    (lambda: symbols(1), TypeError, "symbols: name must be a text, such as 'W1', got 1."),
    (lambda: symbols("", (2,)), TypeError, "symbols: name must be a text, such as 'W1', got ''."),
    (lambda: with_symbols(3), TypeError, "with_symbols takes a model or a layer, got 3."),
]  # fmt: skip


def test_the_logarithm_of_a_determinant_has_a_sign_beside_it():
    a = symbols("a", (2, 2))
    sign, log = np.linalg.slogdet(a)
    for matrix in ([[2.0, 1.0], [1.0, 3.0]], [[1.0, 3.0], [2.0, 1.0]]):
        expected = np.linalg.slogdet(np.array(matrix))
        assert sign.evaluate({a: np.array(matrix)}) == expected.sign
        np.testing.assert_allclose(log.evaluate({a: np.array(matrix)}), expected.logabsdet, rtol=1e-14)  # roundings


@pytest.mark.parametrize(("fails", "kind", "text"), ERRORS, ids=[text for *_, text in ERRORS])
def test_errors_name_the_function_and_the_way_out(fails, kind, text):
    with pytest.raises(kind, match=re.escape(text)):
        fails()


def test_without_sympy_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "sympy", None)
    monkeypatch.delitem(sys.modules, "tinygrad_dls.symbolic")
    monkeypatch.delitem(sys.modules, "tinygrad_dls.symbolic.arrays")
    with pytest.raises(ImportError, match=f"^{re.escape('symbols need SymPy: ' + install('symbolic'))}$"):
        importlib.import_module("tinygrad_dls.symbolic")


def test_importing_the_package_imports_neither_sympy_nor_the_views():
    rooms = ("sympy", *(f"tinygrad_dls.{room}" for room in ("symbolic", "source", "drawing", "derivations")))
    code = f"import sys, tinygrad_dls; print([m for m in sys.modules if m.startswith({rooms})])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


# -- the array --------------------------------------------------------------------------------------------------------


def test_floats_become_the_simplest_fraction_that_rounds_to_them():
    floats = SymbolicArray([1.0, -0.5, 0.1, 1 / 3, np.float32(0.25), np.pi])
    assert str(floats) == "[1, -1/2, 1/10, 1/3, 1/4, 884279719003555/281474976710656]"
    np.testing.assert_array_equal(floats.evaluate({}), [1, -0.5, 0.1, 1 / 3, 0.25, np.pi])  # to the last bit
    assert str(SymbolicArray(2.0) * x0 ** np.int64(2) + True) == "2*x**2 + 1"
    assert str(SymbolicArray([Fraction(2, 3), np.True_, np.int8(4), x0])) == "[2/3, 1, 4, x]"


def test_symbols_have_the_indices_of_the_course():
    assert str(symbols("W1", (2, 2))) == "[[W1_{11}, W1_{12}],\n [W1_{21}, W1_{22}]]"
    assert str(symbols("b2", (1, 1)).item()) == "b2"
    assert str(symbols("Y", (1, 2))) == "[[Y_{1}, Y_{2}]]"
    assert str(symbols("X", (12, 2))[-1]) == "[X_{12,1}, X_{12,2}]"  # not X_{121}
    assert sympy.latex(symbols("W1", (2, 2))[0, 1].item()) == "W1_{12}"


def test_a_model_of_symbols_leaves_the_model_alone_and_keeps_shared_parameters_shared():
    model = nn.TwoLayerNetwork(2, 2, rng=0)
    model.layers[2].b = model.layers[2].W
    with_names = with_symbols(model)
    assert [str(p.data[0, 0].item()) for p in with_names.parameters()] == ["W1_{11}", "b1_{1}", "W2_{1}"]
    assert with_names.layers[2].W is with_names.layers[2].b
    assert model.parameters()[0].dtype == float


def test_tensors_come_first_where_symbols_meet_them():
    for meet in (lambda t: x2 * t, lambda t: np.multiply(x2, t), lambda t: np.concatenate([x2, t]), lambda t: x2 @ t):
        assert isinstance(meet(tg.Tensor(y2)), tg.Tensor)


def test_numbers_and_symbols_meet_exactly():
    X = np.array([[0.5, 1.0], [2.0, 0.0]])
    assert str(X @ symbols("w", (2, 1))) == "[[w_{1}/2 + w_{2}],\n [2*w_{1}]]"
    assert str(sympy.Symbol("k") * x2) == "[k*x_{1}, k*x_{2}]"
    assert str(0.25 - x2) == "[1/4 - x_{1}, 1/4 - x_{2}]"


def test_conditions_count_as_1_and_0_and_assumptions_decide_them():
    p, n = symbols("p", positive=True), symbols("n", negative=True)
    assert str((p > n) * x0) == "x"
    assert str(np.maximum(p, n)) == str(np.abs(p)) == "p"
    assert str(np.where(x0 > 0, x0, 0)) == "Piecewise((x, x > 0), (0, True))"
    assert bool(np.all(p2 > 0))
    assert not bool(np.any(p2 < 0))
    assert bool(np.logical_and(p > 0, np.logical_not(n > 0)))
    assert str(np.isnan(x0) * 1 + np.isfinite(x0) * 2) == "2"


def test_what_is_substituted_is_what_stands_there():
    A = tg.sigmoid(x2)
    a = symbols("a", (2,))
    assert str((A**2 * (1 - A) + np.exp(x2) / A).substitute({A: a})) == str(a**2 * (1 - a) + np.exp(x2) / a)
    assert str(np.maximum(x2, 0).substitute({SymbolicArray([0, 1]): a, x2: 1})) == "[1, 1]"  # numbers stay
    with pytest.raises(ValueError, match=r"^substitute: x stands for both a_\{1\} and a_\{2\}\.$"):
        x0.substitute({np.stack([x0, x0]): a})
