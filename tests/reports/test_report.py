"""A page about the user's own model: what is on it, what is left alone, and what becomes of what cannot be derived."""

import re
import subprocess
import sys

import numpy as np
import pytest

import tinygrad_dls as tg
from tinygrad_dls.drawing import rendering
from tinygrad_dls.extras import install
from tinygrad_dls.reports.report import Report, together

LOGITS = tg.binary_cross_entropy_with_logits
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(2, 6)), np.array([[0, 1, 1, 0, 1, 0]])


class Mine(tg.nn.Module):
    """A model of the user's, with a skip."""

    def __init__(self):
        self.enc = tg.nn.Linear(2, 2, rng=0)
        self.out = tg.nn.Linear(2, 1, rng=1)

    def __call__(self, x):
        return self.out(np.tanh(self.enc(x)) + x)


def section(text, name):
    return text.split(f'id="model-{name}"')[1].split("</section>\n<section class")[0]


def test_the_page_of_a_users_model_has_its_picture_derivation_and_code():
    report = tg.report(Mine(), X, Y, loss=LOGITS)
    assert report.problems == {}
    text = report.html
    assert "<h2>Mine</h2>" in text
    assert text.count("<svg") == 1
    assert '"label": "enc (Linear 2 -> 2)"' in section(text, "picture")
    assert section(text, "derivation").count('class="step"') > 8
    assert "<math" in section(text, "derivation")
    assert "def step(X, Y" in section(text, "code")
    assert "np.tanh" in section(text, "code")


def test_the_picture_has_the_gradients_and_the_model_keeps_its_own():
    model = Mine()
    model.enc.W.grad = np.full((2, 2), 7.0)
    before = {name: p.data.copy() for name, p in model.named_parameters()}
    text = tg.report(model, X, Y, loss=LOGITS).html
    assert "no gradients yet" not in text
    assert "mean 7" not in text
    np.testing.assert_array_equal(model.enc.W.grad, np.full((2, 2), 7.0))
    assert model.out.W.grad is None
    for name, p in model.named_parameters():
        np.testing.assert_array_equal(p.data, before[name])


def test_a_function_and_a_cost_have_their_page_too():
    model = Mine()

    def cost(X, Y):
        return LOGITS(model(X), Y)

    assert "<h2>cost</h2>" in tg.report(cost, X, Y).html
    assert all(p.grad is None for p in model.parameters())
    J = cost(X, Y)
    J.backward()
    gradient = model.out.W.grad.copy()
    report = tg.report(J, title="Mine & yours", text="a < b")
    assert "<h2>Mine &amp; yours</h2>\n<p>a &lt; b</p>" in report.html
    np.testing.assert_array_equal(model.out.W.grad, gradient)


def test_with_values_the_page_begins_with_what_is_given():
    model = tg.nn.LogisticRegression(2)
    assert "model-given" not in tg.report(model, X, Y, loss=LOGITS).html
    text = tg.report(model, X, Y, loss=LOGITS, values=True).html
    assert "<mi>Y</mi>" in section(text, "given")
    assert "with the numbers of these examples" in section(text, "derivation")


def test_what_cannot_be_printed_is_said_in_its_place_and_the_rest_is_there():
    model = tg.nn.Sequential(tg.nn.Linear(2, 3, rng=0), tg.nn.Dropout(0.5, rng=1), tg.nn.Linear(3, 1, rng=2))
    report = tg.report(model, X, Y, loss=LOGITS)
    assert report.problems.keys() == {"code"}
    assert "a random draw, such as a dropout mask" in report.problems["code"]
    text = report.html
    assert "There is no code of this model: the recording would freeze" in section(text, "code")
    assert text.count("<svg") == 1
    assert section(text, "derivation").count('class="step"') > 8
    assert "\nNo code: the recording would freeze" in repr(report)
    assert repr(report).startswith("Report of Sequential: picture and derivation.")


def test_a_model_that_neither_can_be_derived_nor_printed_has_its_picture():
    class Deciding(tg.nn.Module):
        def __init__(self):
            self.layer = tg.nn.Linear(2, 1, rng=0)

        def __call__(self, x):
            z = self.layer(x)
            return z if z.data[0, 0] > 0 else -z

    report = tg.report(Deciding(), X, Y, loss=LOGITS)
    assert report.problems.keys() == {"derivation", "code"}
    assert all("Python decision" in reason for reason in report.problems.values())
    assert report.html.count('class="missing"') == 2
    assert "<svg" in report.html


def test_without_graphviz_the_page_is_whole(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(rendering, "find_spec", lambda _: None)
    report = tg.report(Mine(), X, Y, loss=LOGITS)
    assert report.problems == {}
    assert report.html.count("<svg ") == 1


WITHOUT_SYMPY = """
import sys
sys.modules["sympy"] = None
import numpy as np, tinygrad_dls as tg
report = tg.report(tg.nn.LogisticRegression(2), np.ones((2, 3)), np.ones((1, 3)),
                   loss=tg.binary_cross_entropy_with_logits)
print(report.problems, report.html.count("<svg"))
"""


def test_without_sympy_there_is_no_derivation_and_the_page_says_how_to_get_it():
    run = subprocess.run([sys.executable, "-c", WITHOUT_SYMPY], capture_output=True, text=True, check=True)
    problems = {"derivation": f"derivations need SymPy: {install('derive')}"}
    assert run.stdout.strip() == f"{problems} 1"


def test_an_error_that_was_not_written_for_the_reader_is_told_with_its_kind(monkeypatch):
    def broken(*_, **__):
        raise KeyError("node-J")

    monkeypatch.setattr("tinygrad_dls.reports.report.numpy_source", broken)
    assert tg.report(Mine(), X, Y, loss=LOGITS).problems["code"] == "KeyError: 'node-J'"


def test_the_page_is_whole_and_loads_nothing(tmp_path):
    path = tg.report(Mine(), X, Y, loss=LOGITS).save(tmp_path / "report.html")
    text = path.read_text(encoding="utf-8")
    names = re.findall(r'\sid="([^"]+)"', text)
    assert len(names) == len(set(names))
    links = {link.removeprefix("#") for link in re.findall(r'<a\b[^>]*?\shref="([^"]*)"', text)}
    assert {"model", "model-picture", "model-derivation", "model-code"} <= links <= set(names)
    assert not re.search(r"\ssrc=|@import|url\((?!#)|\bfetch\(|<iframe|<object", text)


def test_several_models_share_a_page():
    reports = [tg.report(Mine(), X, Y, loss=LOGITS, ident=ident, title=ident) for ident in ("one", "two")]
    both = together(*reports, title="Both")
    assert isinstance(both, Report)
    assert "<h1>Both</h1>" in both.html
    names = re.findall(r'\sid="([^"]+)"', both.html)
    assert len(names) == len(set(names))
    assert repr(both).startswith("Report of one and two: picture, derivation and code.")
    with pytest.raises(ValueError, match="an ident of its own"):
        together(reports[0], reports[0])


def test_a_notebook_shows_the_page_in_a_frame():
    shown = tg.report(Mine(), X, Y, loss=LOGITS)._repr_html_()
    assert shown.startswith('<iframe srcdoc="&lt;!doctype html&gt;')
    assert "<svg" not in shown


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: tg.report(Mine(), X, Y), TypeError, r"report: Mine came without loss=: write report\(model, X, Y"),
        (lambda: tg.report(Mine(), X.T, Y, loss=LOGITS), ValueError, r"X is \(6, 2\)"),
        (lambda: tg.report(Mine(), X, Y, loss=LOGITS, values=1), TypeError, "report: values must be True or False"),
        (lambda: tg.report(Mine(), X, Y, loss=LOGITS, title=1), TypeError, "report: title must be text, got 1"),
        (lambda: tg.report(Mine(), X, Y, loss=LOGITS, text=None), TypeError, "report: text must be text, got None"),
        (lambda: tg.report(Mine(), X, Y, loss=LOGITS, ident="a b"), ValueError, "report: ident must be a letter"),
        (lambda: tg.report(Mine(), X, Y, loss=LOGITS).save("report.pdf"), ValueError, "must end in .html"),
        (lambda: tg.report(Mine(), X, Y, loss=LOGITS).save(1), TypeError, "save takes the path of a file"),
        (lambda: tg.report(Mine(), X, Y, loss=LOGITS).save("no/such/a.html"), FileNotFoundError, "no folder"),
    ],
)
def test_bad_input_gets_a_clear_error(call, error, text):
    with pytest.raises(error, match=text):
        call()
