"""The same task with four libraries, from a table to production: how many lines it takes, and that each of them runs.

The programs stand in ``benchmarks/table``: one of each library trains on ``penguins.csv``, saves and exports, and
another, in a process of its own, predicts. docs/from_a_table_to_production.md shows them with their lines counted by
`counted`; `python -m benchmarks.from_a_table` runs those whose packages are installed, and keeps what they print.
"""

from __future__ import annotations

import ast
import io
import os
import re
import subprocess
import sys
import tempfile
import tokenize
from importlib import metadata, resources
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from sklearn.model_selection import train_test_split

from benchmarks.ratios import table
from benchmarks.results import ROOT, Results, arguments, load

PAGE = ROOT / "docs/from_a_table_to_production.md"
PROGRAMS = Path(__file__).parent / "table"
LIBRARIES = {  # what it is called, and the packages that its programs need beside pandas
    "tinygrad_dls": ("tinygrad_dls", ("sklearn", "onnx", "safetensors")),
    "scikit_learn": ("scikit-learn", ("sklearn", "skl2onnx")),
    "keras": ("Keras", ("sklearn", "keras", "torch", "onnxscript")),
    "pytorch": ("PyTorch", ("sklearn", "torch", "onnxscript")),
}
VERSIONS = {
    "tinygrad_dls": (), "scikit_learn": ("scikit-learn", "skl2onnx"), "keras": ("keras", "torch"),
    "pytorch": ("torch",),
}  # fmt: skip
PREDICTED = (
    "import sys; sys.path.insert(0, sys.argv[1]); import pandas; from {} import predict; "
    "print(*predict(pandas.read_csv('new.csv')), sep='\\n')"
)


class Count(NamedTuple):
    """How long a program is.

    Attributes
    ----------
    lines : int
        Statements: a simple one, or the head of a compound one; of imports and docstrings, none.
    imports : int
        Statements that import.
    words : int
        Names, numbers and texts in `lines`.
    """

    lines: int
    imports: int
    words: int


def counted(source: str) -> Count:
    """Count a program by the rule that the page states."""
    tree = ast.parse(source)
    imports = [x for x in tree.body if isinstance(x, (ast.Import, ast.ImportFrom))]
    tree.body = [x for x in tree.body if x not in imports and not _is_text(x)]
    statements = [x for x in ast.walk(tree) if isinstance(x, ast.stmt) and not _is_text(x)]
    tokens = tokenize.generate_tokens(io.StringIO(ast.unparse(tree)).readline)
    words = sum(token.type in (tokenize.NAME, tokenize.NUMBER, tokenize.STRING) for token in tokens)
    return Count(len(statements), len(imports), words)


def _is_text(x: ast.AST) -> bool:
    """Whether a statement is a docstring, or another text that does nothing."""
    return isinstance(x, ast.Expr) and isinstance(x.value, ast.Constant) and isinstance(x.value.value, str)


def sources(library: str) -> tuple[str, str]:
    """The two programs of a library: the one that trains, and the one that predicts."""
    train, predict = ((PROGRAMS / f"{part}_{library}.py").read_text() for part in ("train", "predict"))
    return train, predict


def runs(library: str) -> bool:
    """Whether the packages that it needs are installed."""
    return all(find_spec(package) is not None for package in LIBRARIES[library][1])


def prepare(folder: Path) -> list[str]:
    """Write the table that the programs train on, and new rows, which they have not seen; the species of these."""
    frame = pd.read_csv(str(resources.files("palmerpenguins") / "data/penguins.csv"))
    frame.to_csv(folder / "penguins.csv", index=False)
    _, new = train_test_split(frame, test_size=0.25, random_state=0)  # as each program does
    new.drop(columns="species").to_csv(folder / "new.csv", index=False)
    return list(new["species"])


def run(library: str, folder: Path) -> tuple[dict[str, float], list[str]]:
    """Train in one process and predict in another; what was printed, and the predictions of the new rows."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "KERAS_BACKEND": "torch", "OMP_NUM_THREADS": "1"}
    options: dict[str, Any] = {"cwd": folder, "env": environment, "capture_output": True, "text": True, "check": True}
    train = subprocess.run([sys.executable, str(PROGRAMS / f"train_{library}.py")], **options).stdout
    printed = {name: float(x) for name, x in re.findall(r"^(accuracy|cross-validated) ([\d.]+)$", train, re.MULTILINE)}
    code = PREDICTED.format(f"predict_{library}")
    predicted = subprocess.run([sys.executable, "-c", code, str(PROGRAMS)], **options).stdout
    return printed, predicted.split()


# -- the page ---------------------------------------------------------------------------------------------------------


def table_of(kept: dict[str, Any]) -> str:
    """How many lines each takes, and what it came to."""
    found = {row["library"]: row for row in kept["rows"]}
    lines = []
    for library, (name, _) in LIBRARIES.items():
        count, row = counted("\n".join(sources(library))), found[library]
        figures = f"{row['accuracy']:.1%}", f"{row['cross-validated']:.1%}"
        lines.append([name, count.lines, count.lines + count.imports, count.words, *figures, row["versions"]])
    head = ["library", "lines", "with imports", "words", "accuracy", "cross-validated", "run with"]
    return table(head, lines)


def part(name: str) -> str:
    """What stands in the page at a place of that name."""
    if name == "lines":
        return table_of(load("from_a_table"))
    train, predict = (without_docstring(source) for source in sources(name))
    return f"```py\n# train.py\n{train}```\n\n```py\n# predict.py\n{predict}```"


def without_docstring(source: str) -> str:
    """A program without its docstring."""
    return re.sub(r'\A""".*?"""\n+', "", source, flags=re.DOTALL)


def written(page: str) -> str:
    """The page with its table and its programs as they are."""
    place = re.compile(r"(<!-- program: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
    return place.sub(lambda found: f"{found[1]}\n{part(found[2])}\n\n{found[3]}", page)


def main() -> None:
    """Run all that are installed, and write the page."""
    quick = arguments(__doc__).quick
    results = Results("from_a_table", quick=quick, fresh=False)
    for library in filter(runs, LIBRARIES):
        with tempfile.TemporaryDirectory() as folder:
            species = prepare(Path(folder))
            printed, predicted = run(library, Path(folder))
        accuracy = sum(map(str.__eq__, predicted, species)) / len(species)
        assert abs(accuracy - printed["accuracy"]) < 1e-6, (library, accuracy, printed)  # some print float32
        versions = ", ".join(f"{name} {metadata.version(name)}" for name in VERSIONS[library])
        results.add(("library",), {"library": library, "versions": versions or "this version", **printed})
        print(library, printed)
    if not quick:
        PAGE.write_text(written(PAGE.read_text()))


if __name__ == "__main__":
    main()
