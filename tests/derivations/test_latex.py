"""Derivations compile as documents; `conftest.py` leaves this out, with a word, where there is no LaTeX."""

import subprocess

import pytest

import tinygrad_dls as tg
from tests.support.any_names import GREEK, Model, gradients
from tests.support.derivations import derivations
from tests.support.latex import PDFLATEX
from tests.support.programs import random_program
from tests.support.sources import cost_of
from tests.support.usual_models import WRITTEN
from tinygrad_dls.derivations.document import Derivation, Formula, Line, Part


def test_the_document_compiles(tmp_path):
    documents = [derivation.latex for _, derivation in derivations()]
    documents += [tg.derive(cost_of(random_program(seed), None)).latex for seed in range(12)]
    body = [text.partition(r"\begin{document}")[2].partition(r"\end{document}")[0] for text in documents]
    whole = documents[0].partition(r"\begin{document}")[0] + r"\begin{document}" + "\n".join(body) + r"\end{document}"
    compile_(whole, tmp_path)


def test_the_document_of_any_names_compiles(tmp_path):
    names = [*GREEK, "x²", "1/m", "a_b%c#d&e$f{g}h\\i^j~k", "日本", "🙂", "a'b''c", "µ", "W" * 20_000, "\n", '"<|>@!*']
    for i in range(0, len(names), 8):
        J, _ = gradients(Model(names[i : i + 8]))
        compile_(tg.derive(J, values=True).latex, tmp_path)


def compile_(document, folder):
    assert PDFLATEX is not None
    (folder / "derivation.tex").write_text(document, encoding="utf-8")
    run = subprocess.run(
        [PDFLATEX, "-interaction=nonstopmode", "-halt-on-error", "derivation.tex"],
        cwd=folder, capture_output=True, text=True, errors="replace", timeout=120,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout[-2000:]
    assert (folder / "derivation.pdf").stat().st_size > 10_000
    return run.stdout


@pytest.mark.parametrize("name", WRITTEN)
def test_no_formula_of_a_usual_model_runs_over_the_margin(name, tmp_path):
    assert "Overfull" not in compile_(WRITTEN[name].latex, tmp_path)


def test_a_document_that_is_wrong_does_not_compile(tmp_path):
    line = Line(Formula(r"\undefined", "?"), (Formula("x^{2}^{3}", "?"),))
    with pytest.raises(AssertionError, match="Undefined control sequence"):
        compile_(Derivation((Part("Wrong", (), (line,)),)).latex, tmp_path)
