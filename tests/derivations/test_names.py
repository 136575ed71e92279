"""Names as formulas in LaTeX: any is one, and no two are alike."""

import re
import unicodedata
from functools import partial

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import tinygrad_dls as tg
from tests.support.any_names import GREEK, TEXTS, Model, X, Y
from tinygrad_dls.derivations import notation as latex
from tinygrad_dls.graph.names import FUNCTIONS, KIN, Names
from tinygrad_dls.ir.functions import PATTERNS

MACROS = {  # that LaTeX has without packages
    "alpha", "beta", "gamma", "delta", "epsilon", "varepsilon", "zeta", "eta", "theta", "vartheta", "iota", "kappa",
    "lambda", "mu", "nu", "xi", "pi", "varpi", "rho", "varrho", "sigma", "varsigma", "tau", "upsilon", "phi", "varphi",
    "chi", "psi", "omega", "Gamma", "Delta", "Theta", "Lambda", "Xi", "Pi", "Sigma", "Upsilon", "Phi", "Psi", "Omega",
    "mathrm", "backslash", "wedge", "sim", "ldots", "partial",
}  # fmt: skip


@pytest.mark.parametrize("c", [*GREEK, "\N{MICRO SIGN}", *map(chr, (0x3D1, 0x3D5, 0x3D6, 0x3F0, 0x3F1, 0x3F5))])
def test_a_greek_letter_has_a_name_that_latex_knows(c):
    text = latex.name(c)
    assert set(re.findall(r"\\([A-Za-z]+)", text)) <= MACROS
    assert text.isascii()


def test_the_greek_letters_of_the_course_have_theirs():
    expected = {
        "SMALL LETTER LAMDA": r"\lambda ", "CAPITAL LETTER LAMDA": r"\Lambda ", "SMALL LETTER ALPHA": r"\alpha ",
        "SMALL LETTER OMICRON": "o", "CAPITAL LETTER ALPHA": "A", "SMALL LETTER FINAL SIGMA": r"\varsigma ",
        "PHI SYMBOL": r"\varphi ", "CAPITAL LETTER SIGMA": r"\Sigma ",
    }  # fmt: skip
    assert {letter: latex.name(unicodedata.lookup(f"GREEK {letter}")) for letter in expected} == expected
    assert latex.name("λ1") == r"\lambda _{1}"
    assert latex.name("σ²") == r"\sigma ^{2}"


@given(st.text())
@example("a_b%c#d&e$f{g}h\\i^j~k")
def test_any_name_is_a_formula_that_latex_can_read(name):
    text = latex.name(name)
    assert text.isascii()
    assert set(re.findall(r"\\([A-Za-z]+)", text)) <= MACROS
    assert not re.search(r"(?<!\\)[%#&$~]", text)
    depth = 0
    for brace in re.findall(r"(?<!\\)[{}]", text):
        depth += 1 if brace == "{" else -1
        assert depth >= 0
    assert depth == 0


@given(st.lists(TEXTS, unique=True, max_size=6))
def test_no_two_arrays_are_written_alike(names):
    allocated = Names(kin=KIN)
    arrays = {allocated.free(name): name for name in names}
    notation = latex.Notation(arrays, "X")
    written = [notation(x) for name in arrays for x in (name, f"d{name}")]
    letters = [notation.small(name) for name in arrays]
    assert len(set(written)) == len(written)
    assert len({x for x, _ in letters}) == len({x for _, x in letters}) == len(letters)


def test_what_any_optimizer_remembers_is_told_from_parameters_that_are_called_so():
    class Remembering(tg.optim.Optimizer):
        """Gradient descent that keeps five arrays for nothing."""

        def _start(self, p):
            return tuple(np.zeros_like(p.data) for _ in range(5))

        def _update(self, p, rate):
            return p._value - rate * p._grad, tuple(
                s + p._grad * i for i, s in enumerate(self._state.get(p) or self._start(p))
            )

    names = ["W", "VdW", "UdW", "RdW", "QdW"]
    costs = []
    for compiled in (False, True):
        model, loss = Model(names), tg.binary_cross_entropy_with_logits
        optimizer = Remembering(model.parameters(), lr=0.5)
        run = tg.compile(model, loss, optimizer) if compiled else partial(tg.optim.eager_step, model, loss, optimizer)
        costs.append([run(X, Y) for _ in range(3)])
    np.testing.assert_allclose(*costs, rtol=1e-12)


def test_the_names_that_programs_call_are_taken():
    assert {"np", *(f.__name__ for f in PATTERNS)} == FUNCTIONS
