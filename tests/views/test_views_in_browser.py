"""Views in a real browser, within pages that have the rules of notebooks and their themes."""

import numpy as np
import pytest

import tinygrad_dls as tg
from tests.support.browser import look

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(2, 6)), np.array([[0, 1, 1, 0, 1, 0]])
MODEL = tg.nn.TwoLayerNetwork(2, 4, rng=0)

# what notebooks say of tables, lists and code in an output
NOTEBOOK = """
.jp-RenderedHTMLCommon table { border-collapse: separate; border: 3px solid red; table-layout: fixed; font-size: 30px; }
.jp-RenderedHTMLCommon td, .jp-RenderedHTMLCommon th, .jp-RenderedHTMLCommon tr {
  text-align: center; padding: 2em; border: 3px solid red; max-width: 3em; white-space: normal; }
.jp-RenderedHTMLCommon tbody tr:nth-child(odd) { background: rgb(255, 0, 0); }
.jp-RenderedHTMLCommon pre { background: rgb(255, 0, 0); }
.jp-RenderedHTMLCommon dt { float: left; width: 30%; font-weight: bold; }
.jp-RenderedHTMLCommon dd { margin-left: 35%; }
"""
THEMES = {
    "jupyter light": ('data-jp-theme-light="true"', "light"),
    "jupyter dark": ('data-jp-theme-light="false"', "dark"),
    "code light": ('class="vscode-light"', "light"),
    "code dark": ('class="vscode-dark"', "dark"),
    "code high contrast": ('class="vscode-high-contrast"', "dark"),
    "code high contrast light": ('class="vscode-high-contrast vscode-high-contrast-light"', "light"),
    "documentation": ('data-md-color-scheme="slate"', "dark"),
}
SEEN = """
  const rgb = (color) => {
    const canvas = document.createElement("canvas").getContext("2d");
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const luminance = (color) => {
    const linear = (x) => x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4;
    const [r, g, b] = rgb(color).map((x) => linear(x / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const paper = (element) => {
    const color = getComputedStyle(element).backgroundColor;
    return color === "rgba(0, 0, 0, 0)" ? paper(element.parentElement) : color;
  };
  const contrast = (element) => {
    const one = luminance(getComputedStyle(element).color), other = luminance(paper(element));
    return (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
  };
  const texts = [...document.querySelectorAll(".tg-box *:not(style)")].filter((x) => !x.closest("svg") &&
    [...x.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim()));
  const cell = getComputedStyle(document.querySelector(".tg-box td")), own = document.querySelector("#own td");
  return {
    scheme: getComputedStyle(document.querySelector(".tg-box")).colorScheme,
    texts: texts.length,
    contrast: Math.min(...texts.map(contrast)),
    cell: [cell.textAlign, cell.borderTopWidth, cell.fontSize],
    striped: [...document.querySelectorAll(".tg-box tr")].some((x) => paper(x).startsWith("rgb(255, 0, 0")),
    code: [...document.querySelectorAll(".tg-box pre")].some((x) => paper(x).startsWith("rgb(255, 0, 0")),
    term: getComputedStyle(document.querySelector(".tg-box dt")).float,
    own: [getComputedStyle(own).textAlign, getComputedStyle(own).fontSize, getComputedStyle(document.body).fontSize,
          getComputedStyle(document.documentElement).colorScheme],
    wide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  };
"""


def wrong():
    @tg.op()
    def wrong_square(x):
        return np.square(x), (lambda dz: dz * 3 * x,)

    with pytest.raises(tg.check.GradientError) as error:
        tg.check.gradcheck(wrong_square, np.array([1.0, 2.0]))
    return error.value.result


def views():
    model = tg.nn.TwoLayerNetwork(2, 4, rng=0)
    loss = tg.binary_cross_entropy_with_logits
    optimizer = tg.optim.SGD(model.parameters(), lr=0.5)
    step = tg.compile(model, loss, optimizer)
    step(X, Y)
    history = tg.fit(model, X, Y, loss=loss, optimizer=optimizer, epochs=20, validation=(X, Y))
    diagnosis = tg.check.diagnose(model, X, Y, {"dW2": np.ones((1, 4)), "db2": np.ones((1, 1))})
    shown = [model.summary(X), model.parameters()[0], history, wrong(), diagnosis, step]
    return "".join(x._repr_html_() for x in shown)


@pytest.fixture(scope="module")
def seen():
    outputs = views()
    own = '<table id="own"><tr><td>of the notebook</td></tr></table>'
    return look({
        name: (f'<!doctype html><html><style>{NOTEBOOK} body {{ font-size: 17px; }}</style><body {theme}>'
               f'<div class="jp-RenderedHTMLCommon">{own}{outputs}</div></body></html>', SEEN)
        for name, (theme, _) in THEMES.items()
    })  # fmt: skip


@pytest.mark.parametrize("name", THEMES)
def test_a_view_follows_the_theme_and_can_be_read(seen, name):
    found = seen[name]["value"]
    assert found["scheme"] == THEMES[name][1]
    assert found["texts"] > 60
    assert found["contrast"] >= 4.5  # of WCAG 2.2, level AA


@pytest.mark.parametrize("name", THEMES)
def test_a_notebooks_rules_do_not_reach_a_view(seen, name):
    found = seen[name]["value"]
    assert found["cell"] == ["left", "0px", "14px"]
    assert (found["striped"], found["code"], found["term"]) == (False, False, "none")
    assert found["wide"] <= 0


@pytest.mark.parametrize("name", THEMES)
def test_a_views_rules_do_not_reach_a_notebook(seen, name):
    assert seen[name]["value"]["own"] == ["center", "30px", "17px", "normal"]
