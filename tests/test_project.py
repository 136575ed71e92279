"""What the project promises of itself."""

import inspect
import itertools
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

import tinygrad_dls as tg
from tests.architecture import ASSETS, PACKAGE, PICTURES, imported, name_of

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
        ("compile", "compiler"),
        ("detect_anomaly", "check.anomaly"),
        ("derive", "derivations.derive"),
        ("draw", "drawing.draw"),
        ("load", "saving"),
        ("numpy_source", "source"),
        ("onnx", "onnx"),
        ("report", "reports.report"),
        ("save", "saving"),
    ],
)
def test_what_training_does_not_need_is_loaded_on_first_use(name, module):
    code = (
        f"import sys, tinygrad_dls as tg; loaded = ['tinygrad_dls.{module}' in sys.modules];"
        f"assert {name!r} in dir(tg); tg.{name}; print(loaded + ['tinygrad_dls.{module}' in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert run.stdout.strip() == "[False, True]"


def test_what_to_write_instead_is_loaded_for_the_first_error():
    code = (
        "import sys, numpy as np, tinygrad_dls as tg\n"
        "name = 'tinygrad_dls.engine.instead'\n"
        "loaded = [name in sys.modules]\n"
        "try: np.cov(tg.Tensor([1.0]))\n"
        "except TypeError as error: print(loaded, name in sys.modules, 'Write X_c @ X_c.T' in str(error))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert run.stdout.strip() == "[False] True True"


@pytest.mark.parametrize(("module", "name"), [(tg, "chekc"), (tg.optim, "adam")])
def test_a_misspelt_name_is_an_error_for_which_python_knows_where_to_look_for_one_that_is_alike(module, name):
    with pytest.raises(AttributeError, match=f"module '{module.__name__}' has no attribute '{name}'") as caught:
        getattr(module, name)
    assert (caught.value.name, caught.value.obj) == (name, module)


ORDER = [
    "engine.devices", "engine.instead", "engine.errors", "engine.arrays", "engine.identity", "engine.switches",
    "engine.recording", "engine.inplace", "engine.stubs", "engine.viewed", "engine.tensor", "engine.operands",
    "engine.autodiff", "engine.copies", "engine.ops", "engine.more_ops", "engine.composed", "engine.along_axes",
    "engine.matrices", "engine.linalg", "engine",
    "nn.init", "nn.columns", "nn.chunks", "nn.labels", "nn.fused", "nn.weighted", "nn.losses", "nn.evaluation",
    "nn.containers", "nn.summary", "nn.state", "nn.module", "nn.substitution",
    "nn.regularisation", "nn.normalisation", "nn.standardisation", "nn.layers", "nn.models", "nn",
    "threads", "extras", "schedules", "optimizer", "optim",
    "graph.names", "graph.call_site", "graph.node", "graph.frames", "graph.reading", "graph.subject", "graph",
    "ir.call", "ir.normal", "ir.composed", "ir.spellings", "ir.functions", "ir.shapes", "ir.size", "ir.tracer",
    "ir.agreement", "ir.rewrite", "ir.rules", "ir.beside", "ir.updates", "ir.program", "ir.printing", "ir",
    "compiler.instructions", "compiler.draft", "compiler.lowering", "compiler.scaling", "compiler.augmenting",
    "compiler.liveness", "compiler.updating", "compiler.buffers", "compiler.tiling", "compiler.scheduling",
    "compiler.text", "compiler.plan", "compiler.store", "compiler.threads",
    "compiler.native.vectors", "compiler.native.operators", "compiler.native.calling", "compiler.native.fusing",
    "compiler.native.grouping", "compiler.native.outlining", "compiler.native.loops", "compiler.native.printing",
    "compiler.native.building", "compiler.native.program", "compiler.native", "compiler.running", "compiler.reading",
    "compiler.watching", "compiler.captured", "compiler.guards", "compiler.checking", "compiler.intervals",
    "compiler.recording", "compiler.compiled", "compiler.function", "compiler.step", "compiler",
    "datasets.flower", "datasets.table", "datasets.frames", "datasets.at_once", "datasets.reader", "datasets.splits",
    "datasets",
    "files",
    "saving.generators", "saving.container", "saving.architecture", "saving.states", "saving.attributes",
    "saving.resuming", "saving",
    "trees", "transforms",
    "training.examples", "training.history", "training.metrics", "training.batches", "training.weights",
    "training.trial", "training.callbacks", "training.scores", "training.validation", "training.steps",
    "training.chunks.arrays", "training.chunks.source", "training.chunks.work", "training.chunks.look",
    "training.chunks.splitting", "training.chunks.running", "training.chunks.validation", "training.chunks.fitting",
    "training.chunks", "training.loop", "training.rates", "training",
    "check.anomaly", "check.slopes", "check.doubts", "check.numerical", "check.causes",
    "check.mistakes.steps", "check.mistakes.scale", "check.mistakes.sums", "check.mistakes.derivatives",
    "check.mistakes.wrong_arrays", "check.mistakes.output", "check.mistakes.forward", "check.mistakes",
    "check.regularised", "check.chain", "check.nearness", "check.course", "check.consequences",
    "check.blame", "check.walk", "check.elsewhere", "check.diagnosis",
    "check.update_rule", "check.slips", "check.verdicts", "check.updates", "check",
    "symbolic.algebra", "symbolic.arrays", "symbolic.equality", "symbolic",
    "source", "onnx.writing", "onnx.indexing", "onnx.operators", "onnx.recording", "onnx",
    "views.style", "views.markup", "views.summaries", "views.models", "views.tensors", "views.histories", "views.rates",
    "views.checks", "views.compiled", "views",
    "drawing.formulas", "drawing.rendering", "drawing.page", "drawing.numbers", "drawing.ranks", "drawing.boxes",
    "drawing.picture", "drawing.labels", "drawing.dot", "drawing.rows", "drawing.layout", "drawing.svg",
    "drawing.subject", "drawing.draw", "drawing",
    "derivations.explanations", "derivations.notation", "derivations.latex", "derivations.lines",
    "derivations.document", "derivations.entries", "derivations.one_example", "derivations.one_number",
    "derivations.taken_apart", "derivations.arguments", "derivations.derive", "derivations",
    "reports.report", "reports", "sklearn",
]  # fmt: skip


def test_imports_point_one_way():
    """A module imports from what stands before it in this list, in which every room stands in one piece.

    So no two rooms import each other, nor do two modules; and the engine, which is first, imports nothing of the rest.
    """
    sources = {name_of(path): path.read_text() for path in PACKAGE.rglob("*.py")}
    del sources["__init__"]
    assert sources.keys() == set(ORDER)
    rooms = [room for room, _ in itertools.groupby(ORDER, key=lambda name: name.split(".")[0])]
    assert rooms[0] == "engine"
    assert len(rooms) == len(set(rooms))
    for name, source in sources.items():
        for module in imported(source, ORDER) - {name}:
            assert ORDER.index(module) < ORDER.index(name), f"{name} imports {module}"


LONG = {"engine.ops": "one rule after the other, each complete in itself; a reader looks for a single one"}
LONGEST = 500


def test_a_module_holds_one_idea_in_500_lines_at_most():
    lines = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in PACKAGE.rglob("*.py")}
    assert {name for name, n in lines.items() if n > LONGEST} == LONG.keys()


@pytest.mark.parametrize("name", PICTURES)
def test_the_pictures_of_the_architecture_are_up_to_date(name):
    code = f"from tests.architecture import PICTURES; print(PICTURES[{name!r}](), end='')"  # nothing is cached there
    now = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert (ASSETS / f"{name}.dot").read_text(encoding="utf-8") == now, "python -m tests.architecture makes it anew"


@pytest.mark.parametrize("name", sorted(tg.__all__))
def test_everything_public_is_documented(name):
    doc = inspect.getdoc(getattr(tg, name))
    assert doc
    assert len(doc.split()) > 4


def test_a_newcomer_adds_an_op_with_one_function():
    @tg.op(np.cbrt)
    def cbrt(z):
        a = np.cbrt(z)
        return a, (lambda da: da / (3 * a * a),)

    try:
        x = tg.Tensor(np.array([[0.5], [1.0]]), requires_grad=True)
        np.sum(np.cbrt(x) * np.ones((2, 3))).backward()
        np.testing.assert_allclose(x.grad, np.cbrt(x.data) ** -2)
    finally:
        tg.engine.tensor.implementations.pop(np.cbrt)


@pytest.mark.parametrize("path", sorted(p.relative_to(ROOT).as_posix() for p in ROOT.glob("tests/**/*.py")))
def test_no_test_is_skipped_silently(path):
    marks = r"pytest\.(skip|mark\.skip|mark\.xfail|importorskip)"
    assert path.endswith("test_project.py") or not re.search(marks, (ROOT / path).read_text())


NAMING = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/**/*.md", "Makefile", "*.toml", "tests/*.toml", "tests/**/*.py", "benchmarks/*.py")
    for path in ROOT.glob(pattern)
)


@pytest.mark.parametrize("path", NAMING)
def test_every_test_file_that_is_named_exists(path):
    """As a path, with a test in it, or as a module that is run."""
    text = (ROOT / path).read_text(encoding="utf-8")
    named = set(re.findall(r"\btests/[\w/]+\.(?:py|toml|json)\b", text))
    named |= {f"{name.replace('.', '/')}.py" for name in re.findall(r"python -m (tests\.[\w.]*\w)", text)}
    if path.endswith(".md"):
        named |= {f"tests/{name}" for name in re.findall(r"`(?:tests/)?((?:\w+/)*test_\w+\.py)", text)}
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []
    for name, test in re.findall(r"\b(tests/[\w/]+\.py)::(\w+)", text):
        assert f"def {test}(" in (ROOT / name).read_text(encoding="utf-8"), f"{name} has no {test}"


def test_the_tests_mirror_the_rooms():
    """A folder of tests is a room or a module of the package; what has no room is listed."""
    folders = {path.parent.relative_to(ROOT / "tests").parts[:1] for path in ROOT.glob("tests/*/**/*.py")}
    rooms = {name.split(".")[0] for name in ORDER}
    assert {name for (name,) in folders} - rooms == {"bad_input", "playground", "support"}


def test_what_several_tests_use_stands_in_no_test_file():
    found = {
        path.name: re.findall(r"from tests\.[\w.]*\btest_\w+ import", path.read_text())
        for path in ROOT.glob("tests/**/*.py")
    }
    assert {name for name, imports in found.items() if imports} == set()


MUTANTS = tomllib.loads((ROOT / "tests/mutants.toml").read_text(encoding="utf-8"))


def test_mutants_are_made_of_all_of_the_engine_and_of_the_rules():
    mutated = {entry["path"] for entry in MUTANTS["modules"].values()}
    engine = {path.relative_to(ROOT).as_posix() for path in PACKAGE.glob("engine/*.py")}
    others = {"nn/losses.py", "nn/labels.py", "optim.py", "optimizer.py", "ir/rules.py", "ir/rewrite.py"}
    no_code = {f"tinygrad_dls/engine/{name}.py" for name in ("__init__", "stubs", "instead")}  # names, types, texts
    assert mutated == engine - no_code | {f"tinygrad_dls/{name}" for name in others}


@pytest.mark.parametrize("name", MUTANTS["modules"])
def test_the_tests_of_a_mutated_module_are_there_and_what_is_explained_stands_in_it(name):
    module = MUTANTS["modules"][name]
    first, then = ([x for x in module[when] if not x.startswith("-k")] for when in ("first", "then"))
    assert first, "without a file, pytest runs every test, which takes longer than a mutant may"
    assert then, "without a file, pytest runs every test, which takes longer than a mutant may"
    for path in (*first, *then):
        file, _, test = path.partition("::")
        assert f"def {test}" in (ROOT / file).read_text(encoding="utf-8")
    lines = {line.strip() for line in (ROOT / module["path"]).read_text(encoding="utf-8").splitlines()}
    explained = [entry for entry in MUTANTS["explained"] if entry["where"].split(".")[0] == name]
    assert [entry["line"] for entry in explained if entry["line"] not in lines] == []
