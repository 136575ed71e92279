"""What the project promises of itself."""

import inspect
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tinygrad_dls as tg

ROOT = Path(__file__).parents[1]


def test_import_takes_numpy_alone():
    code = "import sys, numpy; before = set(sys.modules); import tinygrad_dls; print(*set(sys.modules) - before)"
    new = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout.split()
    foreign = {name.split(".")[0] for name in new} - {"tinygrad_dls"} - sys.stdlib_module_names
    assert foreign == set()


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("check", "check"),
        ("compile", "compiling"),
        ("derive", "views.derive"),
        ("draw", "views.drawing"),
        ("numpy_source", "views.source"),
    ],
)
def test_what_training_does_not_need_is_loaded_on_first_use(name, module):
    code = (
        f"import sys, tinygrad_dls as tg; loaded = ['tinygrad_dls.{module}' in sys.modules];"
        f"assert {name!r} in dir(tg); tg.{name}; print(loaded + ['tinygrad_dls.{module}' in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert run.stdout.strip() == "[False, True]"


def test_a_misspelt_name_is_an_error():
    with pytest.raises(AttributeError, match="module 'tinygrad_dls' has no attribute 'chekc'"):
        tg.chekc  # noqa: B018


LAYERS = [
    ["arrays", "switches", "identity", "names", "files"], ["changes"], ["tensor", "init"], ["ops"], ["losses", "nn"],
    ["optim", "frames"],
    ["calls", "recording", "rewriting"], ["graph", "program"],
    ["compiling.lowering", "compiling.factoring", "compiling.joining", "compiling.storage", "compiling.updating",
     "compiling.tiling", "compiling.placing", "compiling.writing", "compiling.planning", "compiling.memory",
     "compiling.threads", "compiling.running", "compiling.reading", "compiling.guards", "compiling.remembering",
     "compiling.checking", "compiling.ranges", "compiling.recorded",
     "compiling.function", "compiling.step"],
    ["training", "datasets"], ["transforms", "anomaly"],
    ["check.slopes", "check.doubts", "check.numerical", "check.causes", "check.chain", "check.diagnosis"],
    ["views.algebra", "views.symbolic", "views.text", "views.latex"],
    ["views.source", "views.formulas", "views.rendering", "views.page",
     "views.numbers", "views.picture", "views.dot", "views.target", "views.drawing"],
    ["views.derivation", "views.entries", "views.chain", "views.derive"],
]  # fmt: skip


def test_imports_point_one_way():
    """A module imports from the layers below it, and from its own to the left."""
    order = [name for layer in LAYERS for name in layer]
    package = ROOT / "tinygrad_dls"
    sources = {
        ".".join(path.relative_to(package).with_suffix("").parts): path.read_text()
        for path in package.rglob("*.py")
        if path.stem != "__init__"
    }
    assert sources.keys() == set(order)
    for name, source in sources.items():
        imported = set(re.findall(r"from tinygrad_dls\.([\w.]+) import|from tinygrad_dls import (\w+)", source))
        for module in ({a or b for a, b in imported} & set(order)) - {name}:  # an example may import its own
            assert order.index(module) < order.index(name), f"{name} imports {module}"


@pytest.mark.parametrize("name", sorted(tg.__all__))
def test_everything_public_is_documented(name):
    doc = inspect.getdoc(getattr(tg, name))
    assert doc
    assert len(doc.split()) > 4


def test_a_newcomer_adds_an_op_with_one_function():
    @tg.op(np.arctan)
    def arctan(z):
        return np.arctan(z), (lambda da: da / (1 + z * z),)

    try:
        x = tg.Tensor(np.array([[0.5], [1.0]]), requires_grad=True)
        np.sum(np.arctan(x) * np.ones((2, 3))).backward()
        np.testing.assert_allclose(x.grad, 3 / (1 + x.data**2))
    finally:
        tg.tensor._implementations.pop(np.arctan)


@pytest.mark.parametrize("path", sorted(p.relative_to(ROOT).as_posix() for p in ROOT.glob("tests/**/*.py")))
def test_no_test_is_skipped_silently(path):
    marks = r"pytest\.(skip|mark\.skip|mark\.xfail|importorskip)"
    assert path.endswith("test_project.py") or not re.search(marks, (ROOT / path).read_text())
