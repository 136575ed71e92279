"""Derivations as a mathematician writes them: of models that users write, in text, Markdown, LaTeX and HTML."""

import re

import numpy as np
import pytest

import tinygrad_dls as tg
from tests.support.sources import X, Y
from tests.support.usual_models import MODELS, RNG, W1, WRITTEN, l2, named, output
from tinygrad_dls.derivations.document import mathml
from tinygrad_dls.derivations.lines import CODE, FORMULA, code_in_rows, latex_in_rows, width


def formula(derivation, name):
    """The last formula of an array in LaTeX."""
    lines = [line for part in derivation.parts for line in part.lines if line.left.code == name]
    return lines[-1].rights[-1].latex


# -- what is expected of a formula ------------------------------------------------------------------------------------


EXPECTED = {
    "layer_norm": {
        "mu": r"\frac{1}{4} \sum_{j} Z^{[1]}_{j}",
        "sigma2": r"\frac{1}{4} \sum_{j} (Z^{[1]} - \mu)_{j}^{2}",
        "z_norm": r"\frac{Z^{[1]} - \mu}{\sqrt{\sigma^{2} + 10^{-8}}}",
        "dz_norm": r"(W^{[2]T} \, dZ^{[2]}) \odot (1 - \tanh(\gamma \odot z_{\mathrm{norm}} + \beta)^{2}) \odot \gamma",
        "dZ1": r"\frac{dz_{\mathrm{norm}}}{\sqrt{\sigma^{2} + 10^{-8}}} + "
        r"\frac{1}{2} d\sigma^{2} \odot (Z^{[1]} - \mu) + \frac{1}{4} d\mu",
    },
    "batch_norm": {
        "mu": r"\frac{1}{m} \sum_{i=1}^{m} Z^{[1](i)}",
        "dsigma2": r"-\frac{\sum_{i=1}^{m} \left(\frac{dz_{\mathrm{norm}} \odot (Z^{[1]} - \mu)}"
        r"{\sigma^{2} + 10^{-8}}\right)^{(i)}}{2 \sqrt{\sigma^{2} + 10^{-8}}}",
    },
    "residual": {"dA1": r"dU_{4} + W_{r}^{T} \, (dU_{4} \odot (1 - \tanh(W_{r} \, A^{[1]})^{2}))"},
    "hinge": {
        "dZ2": r"-\left(\frac{1}{m} [\,1 - (2 Y - 1) \odot Z^{[2]} > 0\,] + "
        r"\frac{1}{2 m} [\,1 - (2 Y - 1) \odot Z^{[2]} = 0\,]\right) \odot (2 Y - 1)"
    },
    "mse": {"J": r"\frac{1}{2 m} \sum_{i=1}^{m} ((Z^{[2]} - Y)^{2})^{(i)}", "dZ2": r"\frac{1}{m} (Z^{[2]} - Y)"},
    "softmax": {"dZ3": r"\frac{1}{m} (A^{[3]} - Y)"},
    "swish": {
        "dZ1": r"\frac{W^{[2]T} \, dZ^{[2]}}{1 + e^{-Z^{[1]}}} + "
        r"\frac{(W^{[2]T} \, dZ^{[2]}) \odot Z^{[1]} \odot e^{-Z^{[1]}}}{(1 + e^{-Z^{[1]}})^{2}}"
    },
    "l2": {
        "J": r"U_{3} + \frac{0.35}{m} \left(\sum_{j, k} (W^{[1]}_{jk})^{2} + \sum_{k} (W^{[2]}_{k})^{2}\right)",
        "dW2": r"dZ^{[2]} \, A^{[1]T} + \frac{0.7}{m} W^{[2]}",
    },
}


@pytest.mark.parametrize(("name", "array"), [(name, array) for name in EXPECTED for array in EXPECTED[name]])
def test_a_formula_is_written_as_a_mathematician_writes_it(name, array):
    assert formula(WRITTEN[name], array) == EXPECTED[name][array]


BLEMISHES = {
    "a number beside a fraction of numbers": r"\d \\frac\{\d+\}\{\d+\}",
    "a fraction in the numerator of a fraction of arrays": r"\\frac\{\\frac\{\(",
    "two signs": r"[+-] -|- -|\+ \+",
    "a word beside a letter": r"\\mathrm\{\w+\} \\?[a-z]+\b(?<!\\odot)",
    "a Greek name letter by letter": r"\\mathrm\{d?(mu|gamma|beta|sigma)",
    "a sum that begins with a minus, and goes on with a plus": r"\(-[a-z](\^\{[^{}]*\})? \+",
    "a power of ten times 1": r"(?<!\d)1 \\cdot 10",
    "digits that roundings have left": r"\d\.\d{12}",
    "calls": r"Eq\(|reshape|broadcast|\\mathrm\{full\}|where",
    "an empty list": r",\s*,",
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("blemish", BLEMISHES)
def test_no_formula_has_a_blemish(name, blemish):
    found = re.search(BLEMISHES[blemish], WRITTEN[name].markdown)
    assert found is None, found[0]


@pytest.mark.parametrize("name", MODELS)
def test_the_code_has_no_blemish(name):
    text = WRITTEN[name].text
    for pattern in (r"Eq\(|Max\(|np\.reshape|broadcast_to", r"e-0\d", r"- -|\+ -(?!\()", r",\s+,", r"\(-\w+ \+ \w+\)"):
        assert re.search(pattern, text) is None, pattern
    assert text.count("The cost.") == 1
    assert "(4, 400)" not in text  # lengths with m in one place, and its number in another


def test_classes_that_are_compared_with_labels_are_one_hot_columns():
    weights = tg.Tensor(RNG.standard_normal((3, 2)), requires_grad=True, name="W")
    labels = np.arange(X.shape[1])[None] % 3
    derivation = tg.derive(lambda X, Y: np.mean((weights @ X - (np.arange(3)[:, None] == Y)) ** 2), X, labels)
    assert r"W \, X - \mathrm{onehot}(Y)" in derivation.markdown


def test_the_cost_and_its_parts_are_told_apart():
    assert "The mean of the losses.\n    U3 = " in WRITTEN["l2"].text


def test_what_an_op_says_in_formulas_alone_is_no_sentence():
    """The layer says ``dw = ...``, ``da = ...``, ``db = dz`` summed over examples: a list, and not of these arrays."""
    layer = tg.nn.Linear(4, 1, rng=np.random.default_rng(0))
    derivation = tg.derive(lambda X, Y: tg.mean_squared_error(layer(np.tanh(X[:1] * np.ones((4, 1))) * 2 + 1), Y), X, Y)
    assert "summed over examples" not in derivation.text + derivation.html
    assert "The chain rule.\n    dW = dZ @ " in derivation.text


def test_a_gradient_that_two_summands_share_belongs_to_each_alone():
    """The penalty does not depend on Z2, although its gradient is 1 as well as that of the loss."""
    J = l2(X, Y)
    text = tg.derive(J).text
    assert "du9/dz2" not in text
    assert "dU9 * (∂U9/∂Z2)" not in text
    assert "dL/dz2 = dL/da2 * da2/dz2" in text
    assert "dZ2 = (A2 - Y) / m" in text


def test_the_number_of_examples_is_a_letter_in_every_shape():
    def shares(X, Y):
        E = np.exp(output(X))
        return np.mean((E / named(np.sum(E + 1, axis=0, keepdims=True), "S") - Y) ** 2)

    two = tg.Tensor(RNG.standard_normal((2, 4)), requires_grad=True, name="V")
    text = tg.derive(lambda X, Y: np.mean(np.exp(two @ np.tanh(W1 @ X)) / named(np.exp(output(X)), "S") - Y), X, Y).text
    assert "Broadcasting: S is (1, m)" in text
    assert "400" not in text + tg.derive(shares, X, Y).text


# -- names and numbers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("called", "written"),
    [
        ("mu", r"\mu"), ("lambd", r"\lambda"), ("lambda_", r"\lambda"), ("sigma2", r"\sigma_{2}"),
        ("sigma²", r"\sigma^{2}"), ("Gamma", r"\Gamma"), ("z_norm", r"z_{\mathrm{norm}}"), ("W_xh", r"W_{\mathrm{xh}}"),
        ("theta_1", r"\theta_{1}"), ("delta", r"\delta"), ("d_k", r"d_{k}"), ("var", r"\mathrm{var}"),
        ("hidden_W", r"\mathrm{hidden\_W}"), ("learning_rate", r"\mathrm{learning\_rate}"),
        ("eta_min", r"\eta_{\mathrm{min}}"), ("beta1", r"\beta_{1}"),
    ],
)  # fmt: skip
def test_a_name_is_written_with_greek_letters_and_words_below(called, written):
    x = tg.Tensor(np.ones((2, 3)), requires_grad=True, name=called)
    markdown = tg.derive(np.sum(x)).markdown.replace(" _", "_")
    sums = [f"J = \\sum_{{j, k}} {name}_{{jk}}" for name in (written, f"{{{written}}}")]
    assert any(formula in markdown for formula in sums)


def test_words_side_by_side_are_kept_apart():
    rate, decay = (tg.Tensor(2.0, requires_grad=True, name=name) for name in ("rate", "decay"))
    markdown = tg.derive(rate * decay * 3).markdown
    assert r"\mathrm{decay} \, \mathrm{rate}" in markdown


@pytest.mark.parametrize(("number", "latex", "code"), [(1e-8, "10^{-8}", "1e-8"), (0.7 / 400, "0.00175", "0.00175")])
def test_numbers_are_the_same_in_formulas_of_arrays_and_of_entries(number, latex, code):
    derivation = tg.derive(np.sum(np.tanh(W1 + number)))
    assert f"W^{{[1]}} + {latex}" in derivation.markdown
    assert f"W1 + {code}" in derivation.text
    assert re.search(rf"w1 \+ {code}|{code} \+ w1", derivation.text)
    assert re.search(rf"w\^\{{\[1\]\}} \+ {re.escape(latex)}", derivation.markdown)


# -- lines that are too long ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_no_line_is_wider_than_the_page(name):
    equations = [line for line in WRITTEN[name].text.splitlines() if line.startswith("    ")]
    assert max(map(len, equations)) <= CODE + 20  # and its shape
    rows = [row for line in WRITTEN[name].markdown.split("\n") if "=" in line and "$" not in line for row in [line]]
    assert max(map(width, rows)) <= FORMULA + 10


@pytest.mark.parametrize("name", MODELS)
def test_the_page_shows_every_row(name):
    html = WRITTEN[name].html
    assert html.count("<math") == html.count("</math>") >= sum(len(part.lines) for part in WRITTEN[name].parts)
    assert "<mi>&</mi>" not in html


def test_code_is_broken_behind_commas_and_before_signs_and_reads_the_same():
    code = "np.sum(" + " + ".join(f"x{i} * y{i}" for i in range(20)) + ", axis=0, keepdims=True)"
    rows = code_in_rows(code)
    assert len(rows) == 3
    assert max(map(len, rows)) <= CODE
    assert " ".join(rows) == code


def test_a_formula_is_broken_before_signs_outside_of_fractions_and_reads_the_same():
    formula = " + ".join(rf"\frac{{a_{{{i}}} + b}}{{c}} \odot d" for i in range(20))
    rows = latex_in_rows(formula)
    assert max(map(width, rows)) <= FORMULA
    assert " ".join(rows) == formula
    assert all(row.count("{") == row.count("}") for row in rows)


def test_parentheses_that_grow_are_given_a_height_where_a_row_ends_within_them():
    terms = " + ".join([r"\frac{a}{b} \odot c"] * 30)
    formula = rf"x \left({terms}\right)"
    rows = latex_in_rows(formula)
    assert len(rows) > 2
    assert not any(r"\left(" in row for row in rows)
    assert rows[0].startswith(r"x \Big(")
    assert rows[-1].endswith(r"\Big)")


def test_what_cannot_be_broken_stays_whole():
    assert code_in_rows("x" * 300) == ["x" * 300]
    assert latex_in_rows("x" * 300) == ["x" * 300]


@pytest.mark.parametrize(
    ("latex", "written"),
    [
        ("L = -y", '<mo>&#x0003D;</mo><mo form="prefix">&#x02212;</mo><mi>y</mi>'),
        ("(-a)", '&#x00028;</mo><mo form="prefix">&#x02212;</mo><mi>a</mi>'),
        ("(a) - b", "&#x00029;</mo><mo>&#x02212;</mo><mi>b</mi>"),
        (r"\max(z, 0)", "<mi>max</mi><mo"),
        (r"y \log(a)", '<mi>y</mi><mspace width="0.17em"/><mi>log</mi>'),
        (r"a \odot b", '<mo lspace="0.22em" rspace="0.22em">&#x02299;</mo>'),
    ],
)
def test_signs_names_and_products_keep_the_space_in_mathml_that_latex_gives_them(latex, written):
    assert written in mathml(latex, "inline")


def test_rows_of_an_aligned_formula_meet_at_their_equals_signs_without_columnalign_which_chromium_ignores():
    rows = mathml("\\begin{aligned} a &= b \\\\ &= c \\end{aligned}", "block")
    assert "columnalign" not in rows
    assert rows.count('<mtd style="text-align: left; padding-left: 0"><mi /><mo>&#x0003D;</mo>') == 2
    assert rows.count('<mtd style="text-align: right; padding-left: 0; padding-right: 0"') == 2


def test_rows_of_an_aligned_formula_are_rows_of_a_table_in_mathml():
    rows = mathml("\\begin{aligned}\na &= b \\\\\n&= {\\begin{bmatrix} 1 & 2 \\end{bmatrix}}\n\\end{aligned}", "block")
    assert rows.count("<mtr>") == 3  # two rows, and that of the matrix
    assert "&<" not in rows


def test_sentences_in_a_terminal_are_no_longer_than_formulas():
    text = tg.derive(tg.nn.TwoLayerNetwork(2, 4, rng=0), X, Y, loss=tg.binary_cross_entropy_with_logits).text
    sentences = [line for line in text.splitlines() if not line.startswith("    ")]
    assert max(map(len, sentences)) <= CODE
    assert "which uses each number for all m examples. Every use\n  moves the cost, so the uses add up.\n    db" in text
