"""The notebooks of the examples run from the first cell to the last, and show what their texts say."""

import base64
import re
from xml.etree import ElementTree as ET

import pytest

from tests.notebooks import NOTEBOOKS, as_page, executed

NAMESPACES = {
    "http://www.w3.org/2000/svg",
    "http://www.w3.org/1999/xlink",
    "http://www.w3.org/1998/Math/MathML",
}  # names, which no browser fetches


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Runs a notebook once, in an empty folder."""
    done = {}

    def run(name, with_graphviz=False):
        if (name, with_graphviz) not in done:
            done[name, with_graphviz] = executed(name, tmp_path_factory.mktemp(name), with_graphviz=with_graphviz)
        return done[name, with_graphviz]

    return run


def outputs(notebook, kind):
    """What the cells gave of a kind, such as "text/html"; "text/plain" is what was printed too."""
    found = []
    for output in (output for cell in notebook.cells for output in cell.get("outputs", [])):
        assert output.output_type != "error", output
        assert output.get("name") != "stderr", output.text
        if kind in output.get("data", {}) and not (kind == "text/plain" and "image/png" in output.data):
            found.append(output.data[kind])
        elif output.output_type == "stream" and kind == "text/plain":
            found.append(output.text)
    return found


def text_of(notebook):
    return "\n".join(outputs(notebook, "text/plain"))


def assert_pictures(notebook, count):
    """So many pictures, which have no id in common; on the page made of it they are whole."""
    pictures = outputs(notebook, "image/svg+xml")
    assert len(pictures) == count
    ids = [element.get("id") for text in pictures for element in ET.fromstring(text).iter() if element.get("id")]
    assert len(set(ids)) == len(ids) > 10 * count
    on_page = re.findall(r'<img [^>]*src="data:image/svg\+xml;base64,([^"]*)"', as_page(notebook))
    assert [base64.b64decode(text).decode() for text in on_page] == pictures


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_nothing_in_what_is_shown_is_fetched_from_elsewhere(run, name):
    for kind in ("text/html", "image/svg+xml"):
        for output in outputs(run(name), kind):
            assert set(re.findall(r"(?:https?:)?//[^\s\"'<>]+", output)) <= NAMESPACES
            assert not re.search(r"<script|<link|@import|url\(", output)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_begins_with_its_title_and_says_what_comes_before_it_does_it(name):
    source = NOTEBOOKS[name].read_text(encoding="utf-8")
    assert source.count("# %% [markdown]\n# # ") == 1
    title = re.search(r"# %% \[markdown\]\n# # (.*)", source)[1]
    assert re.sub(r"\W+", "_", title.lower()).strip("_") == name
    assert "$" not in re.sub(
        r"# %%\n.*?(?=# %% \[markdown\])", "", source, flags=re.DOTALL
    )  # a script would have to typeset it


def test_a_first_network(run):
    notebook = run("a_first_network")
    assert_pictures(notebook, 1)
    assert len(outputs(notebook, "image/png")) == 4
    assert "17 parameters" in text_of(notebook)
    scores = [float(x) for x in re.findall(r"hidden units: ([\d.]+)% are right", text_of(notebook))]
    assert len(scores) == 5
    assert max(scores[:2]) < 70 < 85 < min(scores[2:])


def test_is_my_backprop_right(run):
    notebook = run("is_my_backprop_right")
    first, finding, after, check, update = outputs(notebook, "text/plain")
    before, then = map(float, re.findall(r"\d\.\d+", first))
    assert before > 2 * then  # the mistakes do not show yet, as the text says
    assert "dZ1  WRONG: the derivative of another activation" in finding
    assert "dW1  follows: right for your dZ1" in finding
    assert "db1  WRONG: axis=1 is missing" in finding
    assert "All of these are right." in after
    assert check.rstrip().endswith("ok")
    assert "W1  WRONG: sign" in update


@pytest.mark.parametrize("with_graphviz", [False, True])
def test_see_the_graph(run, with_graphviz):
    notebook = run("see_the_graph", with_graphviz)
    assert_pictures(notebook, 5)
    derivations = outputs(notebook, "text/html")
    assert len(derivations) == 2
    assert all(text.count("<math") > 3 for text in derivations)
    assert "dZ = (A - Y) / m" in text_of(notebook)
    page = as_page(notebook)
    assert page.count("<math") == sum(text.count("<math") for text in derivations)  # not the Markdown, for a script


def test_from_a_table_to_production(run):
    printed = text_of(run("from_a_table_to_production"))
    assert "(6, 800) ('city=Lima', 'city=Oslo', 'city=Rome', 'months', 'income', 'fee')" in printed
    counts = re.search(r"Of (\d+) .* finds (\d+);\s+of (\d+) .* suspects (\d+)", printed)
    leave, found, stay, suspected = map(int, counts.groups())
    assert found / leave > 0.7 > 0.4 > suspected / stay
    assert re.search(r"Saved: Classifier; .*True", printed)
    newcomer, faithful = (int(re.search(rf"{who}: (\d+)%", printed)[1]) for who in ("newcomer", "faithful customer"))
    assert newcomer > 80 > 20 > faithful
    assert float(re.search(r"on average ([\d.]+)", printed)[1]) > 0.75
    assert float(re.search(r"largest difference: (\S+)", printed)[1]) < 1e-12
