"""Who lacks an extra is told the command that installs it from where he is."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tinygrad_dls import extras

ROOT = Path(__file__).parents[1]


def test_in_a_clone_the_command_installs_the_clone(monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    assert extras.install("plot") == "pip install -e '.[plot]'"
    monkeypatch.chdir(tmp_path)
    assert extras.install("plot") == f"pip install -e '{ROOT}[plot]'"


def test_of_what_came_as_a_wheel_the_command_names_the_package(monkeypatch, tmp_path):
    monkeypatch.setattr(extras, "__file__", str(tmp_path / "tinygrad_dls/extras.py"))
    assert extras.install("plot") == "pip install 'tinygrad_dls[plot]'"


CLIENT = "from tinygrad_dls.training.chunks.running import runner; runner(1)"


@pytest.mark.parametrize(
    ("missing", "use", "what", "extra"),
    [
        ("sympy", "import tinygrad_dls.symbolic", "symbols need SymPy", "symbolic"),
        ("sympy", "tg.derive", "derivations need SymPy", "derive"),
        ("matplotlib.pyplot", "tg.History().plot()", "plots need matplotlib", "plot"),
        ("sklearn", "import tinygrad_dls.sklearn", "estimators need scikit-learn 1.6 or later", "sklearn"),
        ("distributed", CLIENT, "client= needs distributed", "dask"),
    ],
)
def test_what_is_missing_is_named_with_the_command(missing, use, what, extra):
    code = f"import sys\nsys.modules[{missing!r}] = None\nimport tinygrad_dls as tg\n"
    code += f"try:\n    {use}\nexcept ImportError as error:\n    print(error)\n"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert run.stdout == f"{what}: pip install -e '.[{extra}]'\n"


FOR_DEVELOPERS = {"docs", "test", "jax", "bench", "mutants", "playground"}


def test_the_page_that_says_how_to_install_lists_every_extra_for_users():
    extras_there = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"].keys()
    listed = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs/index.md").read_text(), flags=re.MULTILINE)
    assert sorted(listed) == sorted(extras_there - FOR_DEVELOPERS)
