"""`make docs` refuses a page with a broken link, an unknown anchor, a bad formula or a missing picture; and the API."""

import inspect
import os
import pkgutil
import re
import shutil
import subprocess
import sys

import pytest

import tinygrad_dls as tg
from tests.support.site import ROOT, arguments, built

GOOD = r"""# A page

[A link](#a-page) and $\alpha < \frac{1}{m} \sigma'(z)$, and

$$
A^{[1]} = \begin{cases} \{a\} & \text{if } z > 0 \\ 0 & \text{otherwise} \end{cases}, \qquad \sum_i^n \hat{y}
$$
"""


def build(folder, text):
    """A site of one page, by the project's settings and hooks."""
    shutil.copytree(ROOT / "docs/hooks", folder / "docs/hooks", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "docs/assets", folder / "docs/assets")
    settings = re.sub(r"^nav:\n(  .*\n)+", "", (ROOT / "mkdocs.yml").read_text(), flags=re.MULTILINE)
    (folder / "mkdocs.yml").write_text(settings.replace("  - tinygrad_dls\n", f"  - {ROOT / 'tinygrad_dls'}\n"))
    (folder / "docs/index.md").write_text(text)
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "mkdocs", *arguments(), "--site-dir", str(folder / "site")]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_a_page_whose_links_and_formulas_are_right_is_built_without_a_warning(tmp_path):
    run = build(tmp_path, GOOD)
    assert run.returncode == 0, run.stderr
    assert "WARNING" not in run.stderr
    assert (tmp_path / "site/index.html").read_text().count("<math ") == 2


@pytest.mark.parametrize(
    ("mistake", "warning"),
    [
        ("[no page](nowhere.md)", "contains a link 'nowhere.md', but the target is not found"),
        ("[no heading](#nowhere)", "contains a link '#nowhere', but there is no such anchor"),
        ("![no picture](assets/nowhere.svg)", "contains a link 'assets/nowhere.svg', but the target"),
        ("[absolute](/index.md)", "contains an absolute link '/index.md'"),
    ],
)
def test_a_broken_link_stops_the_build(tmp_path, mistake, warning):
    run = build(tmp_path, f"{GOOD}\n{mistake}\n")
    assert run.returncode != 0
    assert run.stderr.count("WARNING") == 1
    assert warning in run.stderr


ENTRY = "::: tinygrad_dls.nn.losses.mean_squared_error\n    options:\n      heading_level: 2"


BROKEN = {
    '<a href="nowhere.html">no page</a>': "'nowhere.html' leads to no file",
    '<a href="#nowhere">no heading</a>': "'#nowhere' leads to no anchor",
    '<a href="assets/">a folder</a>': "'assets/' leads to no file",
    '<img src="assets/nowhere.png" alt="no picture">': "'assets/nowhere.png' leads to no file",
    '<img src="https://example.org/a.png" alt="far">': "'https://example.org/a.png' is loaded from a network",
    '<p id="twice"></p><p id="twice"></p>': "the id 'twice' is there twice",
    "| | a |\n|---|---|\n| b | c |": "a column of a table has no heading",
    "[no entry][tinygrad_dls.nowhere]": "Could not find cross-reference target 'tinygrad_dls.nowhere'",
}


def test_what_is_broken_in_html_or_in_the_api_stops_the_build_too(tmp_path):
    run = build(tmp_path, "\n\n".join([GOOD, *BROKEN]))
    assert run.returncode != 0
    assert run.stderr.count("WARNING") == len(BROKEN)
    for warning in BROKEN.values():
        assert warning in run.stderr


def test_a_name_in_code_leads_to_its_entry_once_under_each_heading(tmp_path):
    first = "See `tg.mean_squared_error(A, Y)`, `tg.mean_squared_error`, `tg.nn`, `tg.no_such`."
    page = f"{GOOD}\n{first}\n\n## `tg.exp`\n\n"
    run = build(tmp_path, f"{page}`tinygrad_dls.nn.losses.mean_squared_error` again.\n\n<!-- summary -->\n\n{ENTRY}\n")
    assert run.returncode == 0, run.stderr
    html = (tmp_path / "site/index.html").read_text()
    entry = "#tinygrad_dls.nn.losses.mean_squared_error"
    linked = re.findall(rf'<a class="autorefs[^>]*href="{entry}"><code>(.*?)</code>', html)
    assert linked == ["tg.mean_squared_error(A, Y)", "tinygrad_dls.nn.losses.mean_squared_error"]
    assert "<code>tg.nn</code>, <code>tg.no_such</code>" in html
    assert f'<td><a href="{entry}"><code>mean_squared_error</code></a></td>' in html


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    return built(tmp_path_factory.mktemp("site"))


def entries(site):
    texts = [page.read_text() for page in (site / "api").glob("*.html")]
    return {anchor for text in texts for anchor in re.findall(r' id="(tiny[\w.]+)"', text)}


def test_the_api_has_an_entry_for_everything_public(site):
    there = entries(site)
    rooms = {name: getattr(tg, name) for name in tg.__all__ if inspect.ismodule(getattr(tg, name))}
    public = {f"tg.{name}": getattr(tg, name) for name in tg.__all__ if name not in rooms}
    public |= {f"tg.{room}.{name}": getattr(module, name) for room, module in rooms.items() for name in module.__all__}
    missing = [
        name
        for name, thing in public.items()
        if callable(thing) and not any(is_entry_of(entry, thing) for entry in there)
    ]
    assert missing == []


def is_entry_of(entry, thing):
    return entry.rpartition(".")[2] == thing.__name__ and pkgutil.resolve_name(entry) is thing


def test_a_page_for_each_module_lists_what_is_on_it(site):
    for page in sorted((site / "api").glob("*.html")):
        if page.name != "index.html":
            text = page.read_text()
            listed = re.findall(r'<td><a href="#(tiny[\w.]+)"><code>', text)
            entries = re.findall(r'<h[23] id="(tiny[\w.]+)" class="doc doc-heading"', text)
            assert listed, page.name
            assert set(listed) <= set(entries)
            within = {entry for entry in entries if entry.rpartition(".")[0] in listed}  # attributes and methods
            assert set(entries) - within == set(listed), page.name


def test_types_of_parameters_are_shown_as_docstrings_have_them(site):
    texts = [page.read_text() for page in (site / "api").glob("*.html")]
    assert any("<code>array, shape (n_x, m)</code>" in text for text in texts)
    assert not any("keyword - only" in text for text in texts)


def test_every_page_leads_to_the_one_before_and_the_one_after_it(site):
    home, tutorial = (site / "index.html").read_text(), (site / "tutorial.html").read_text()
    assert 'href="tutorial.html" class="md-footer__link md-footer__link--next"' in home
    assert 'href="index.html" class="md-footer__link md-footer__link--prev"' in tutorial


MISTAKES = {
    r"\leftarow a": r"\leftarow is unknown",
    r"\text{\foo}": r"\foo is unknown",
    r"a & b": "an & or < stands by itself",
    r"\frac{1}": "an argument is missing",
    r"\frac{1}{2": "a brace has no partner",
    r"a}": "a brace has no partner",
    r"x^": "MissingSuperScriptOrSubscriptError",
    r"\left( a": "ExtraLeftOrMissingRightError",
    r"\begin{cases} a \end{case}": "MissingEndError",
}


def test_a_bad_formula_stops_the_build_and_is_named(tmp_path):
    run = build(tmp_path, GOOD + "".join(f"\nA formula, ${latex}$.\n" for latex in MISTAKES))
    assert run.returncode != 0
    assert run.stderr.count("WARNING") == len(MISTAKES)
    for latex, problem in MISTAKES.items():
        assert f"index.md: latex2mathml does not read {latex!r}: {problem}" in run.stderr


def test_a_formula_that_is_none_stops_the_build_and_is_named(tmp_path):
    run = build(tmp_path, GOOD + "\nThe mask $D^{[1]} = $ is drawn; `$HOME` is no formula.\n")
    assert run.returncode != 0
    assert run.stderr.count("WARNING") == 1
    assert "index.md: a dollar sign is part of no formula: 'The mask $D^{[1]} = $ is drawn;" in run.stderr
