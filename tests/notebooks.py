"""The notebooks of the examples, run; `python -m tests.notebooks FOLDER` writes them as pages, to be looked at."""

import os
import sys
from pathlib import Path
from unittest import mock

import jupytext
import nbformat
from nbclient import NotebookClient
from nbconvert import HTMLExporter

ROOT = Path(__file__).parents[1]
NOTEBOOKS = {path.stem: path for path in sorted((ROOT / "examples" / "notebooks").glob("*.py"))}

WITHOUT_GRAPHVIZ = """
import os, sys
os.environ["PATH"] = ""
sys.modules["pygraphviz"] = None
"""


def executed(name, folder, *, with_graphviz=False):
    """The notebook after all its cells have run, in that folder, by this Python."""
    notebook = jupytext.read(NOTEBOOKS[name])
    if not with_graphviz:
        notebook.cells.insert(0, nbformat.v4.new_code_cell(WITHOUT_GRAPHVIZ))
    places = {"PYTHONPATH": str(ROOT), "JUPYTER_RUNTIME_DIR": f"{folder}/runtime", "IPYTHONDIR": f"{folder}/ipython"}
    client = NotebookClient(
        notebook,
        timeout=120,
        kernel_name="python3",
        resources={"metadata": {"path": folder}},
        coalesce_streams=True,  # what one cell prints is one text, however slow the computer is
    )
    with mock.patch.dict(os.environ, places):  # the kernel writes nowhere else
        client.execute()
    if not with_graphviz:
        del notebook.cells[0]
    return notebook


def as_page(notebook, theme="light"):
    """The notebook as nbconvert makes a page of it."""
    return HTMLExporter(template_name="lab", theme=theme).from_notebook_node(notebook)[0]


if __name__ == "__main__":
    where = Path(sys.argv[1])
    for name in NOTEBOOKS:
        notebook = executed(name, where)
        for theme in ("light", "dark"):
            (where / f"{name}_{theme}.html").write_text(as_page(notebook, theme), encoding="utf-8")
