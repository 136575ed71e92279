"""`make docs` refuses a page with a broken link, or with a formula that a browser would not show as it is meant."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GOOD = r"""# A page

[A link](#a-page) and $\alpha < \frac{1}{m} \sigma'(z)$, and

$$
A^{[1]} = \begin{cases} \{a\} & \text{if } z > 0 \\ 0 & \text{otherwise} \end{cases}, \qquad \sum_i^n \hat{y}
$$
"""


def arguments():
    """Those that `make docs` gives to mkdocs; without the program and the folder that it writes to."""
    (command,) = re.findall(r"^\t.*/mkdocs (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    words = shlex.split(command)
    return words[: words.index("--site-dir")]


def build(folder, text):
    """A site of one page, by the project's settings and hooks."""
    shutil.copytree(ROOT / "docs/hooks", folder / "docs/hooks", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "docs/assets", folder / "docs/assets")
    settings = re.sub(r"^nav:\n(  - .*\n)+", "", (ROOT / "mkdocs.yml").read_text(), flags=re.MULTILINE)
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
