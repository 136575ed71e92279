"""Build the playground: one HTML file that opens from disk, and the same page with its files beside it, to be hosted.

    python playground/build.py

Everything that the page holds is fetched by its exact version and verified: npm's packages against the hashes of
`package-lock.json`, PyPI's against those of `requirements.txt`, and the wheels of NumPy, SymPy and mpmath against the
lock file of Pyodide, which comes with its npm package. Nothing of it is committed.
"""

from __future__ import annotations

import base64
import csv
import gzip
import hashlib
import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from string import Template

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
BUILD = ROOT / "build" / "playground"
CACHE = BUILD / "cache"  # of what is fetched
SOURCE = HERE / "src"
MODULES = HERE / "node_modules"
PYODIDE = MODULES / "pyodide"

IN_CARRIER = ("numpy", "sympy", "mpmath")  # by Pyodide's lock file
LATER = ("sympy", "mpmath")  # on first use: most of the page does without them
CORE = ("pyodide.mjs", "pyodide.asm.mjs", "pyodide.asm.wasm", "python_stdlib.zip")

# What a browser lets the page do. It may start what is in it, and read nothing from elsewhere.
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'wasm-unsafe-eval' blob:; worker-src blob:; "
    "style-src 'unsafe-inline'; img-src data: blob:; connect-src $connect; base-uri 'none'; form-action 'none'"
)

LICENCES = [
    ("tinygrad_dls", "MIT", "this project"),
    ("Pyodide", "MPL-2.0", "github.com/pyodide/pyodide"),
    ("CPython and its standard library", "PSF-2.0", "python.org"),
    ("Emscripten's runtime", "MIT", "emscripten.org"),
    ("NumPy", "BSD-3-Clause", "numpy.org"),
    ("SymPy", "BSD-3-Clause", "sympy.org"),
    ("mpmath", "BSD-3-Clause", "mpmath.org"),
    ("graphviz (the Python package)", "MIT", "github.com/xflr6/graphviz"),
    ("latex2mathml", "MIT", "github.com/roniemartinez/latex2mathml"),
    ("Viz.js", "MIT", "github.com/mdaines/viz-js"),
    ("Graphviz (within Viz.js)", "EPL-1.0", "graphviz.org"),
    ("Expat (within Viz.js)", "MIT", "libexpat.github.io"),
    ("uPlot", "MIT", "github.com/leeoniya/uPlot"),
    ("Breast cancer data (Wolberg, Street and Mangasarian)", "CC-BY-4.0", "UCI Machine Learning Repository"),
]


def main() -> None:
    """Fetch, verify, build."""
    CACHE.mkdir(parents=True, exist_ok=True)
    run("npm", "ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund", "--silent", cwd=HERE)
    pip(
        "download",
        "--require-hashes",
        "--only-binary=:all:",
        "--dest",
        CACHE,
        "--requirement",
        HERE / "requirements.txt",
    )
    for old in CACHE.glob("tinygrad_dls-*.whl"):
        old.unlink()
    pip("wheel", "--wheel-dir", CACHE, ROOT)
    files = {**core(), **wheels(), "engine.zip": engine(), **cancer()}
    write(files)


def run(*command: object, cwd: Path = ROOT) -> None:
    """Run a program; what it says is seen only if it fails."""
    done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"playground: {' '.join(map(str, command[:3]))} failed:\n{done.stdout}{done.stderr}")


def pip(*arguments: object) -> None:
    """Run pip, without what packages depend on."""
    run(sys.executable, "-m", "pip", "--disable-pip-version-check", arguments[0], "--no-deps", *arguments[1:])


def core() -> dict[str, bytes]:
    """Pyodide itself."""
    return {name: (PYODIDE / name).read_bytes() for name in CORE}


def wheels() -> dict[str, bytes]:
    """The wheels: those of Pyodide's distribution, and the pure ones."""
    [carrier] = CACHE.glob("open_webui-*.whl")
    found = {}
    with zipfile.ZipFile(carrier) as archive:
        for entry in lock()["packages"].values():
            [path] = [path for path in archive.namelist() if path.endswith(f"/pyodide/{entry['file_name']}")]
            wheel = archive.read(path)
            if hashlib.sha256(wheel).hexdigest() != entry["sha256"]:
                sys.exit(f"playground: {entry['file_name']} is not the file of Pyodide's lock file.")
            found[entry["file_name"]] = wheel
    for name in ("graphviz", "latex2mathml", "tinygrad_dls"):
        [path] = CACHE.glob(f"{name}-*.whl")
        found[path.name] = path.read_bytes()
    return found


def lock() -> dict:
    """Pyodide's lock file, with the packages that the page uses alone."""
    whole = json.loads((PYODIDE / "pyodide-lock.json").read_text(encoding="utf-8"))
    return {**whole, "packages": {name: whole["packages"][name] for name in IN_CARRIER}}


def engine() -> bytes:
    """The playground's own Python."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted((HERE / "engine").glob("*.py")):
            archive.writestr(zipfile.ZipInfo(f"playground/engine/{path.name}"), path.read_bytes(), zipfile.ZIP_DEFLATED)
    return out.getvalue()


def cancer() -> dict[str, bytes]:
    """The breast cancer data as scikit-learn has them; none without it."""
    try:
        from sklearn.datasets import load_breast_cancer
    except ImportError:
        print("playground: without scikit-learn, the page lacks the breast cancer data.")
        return {}
    table = load_breast_cancer()
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*table.feature_names, "diagnosis"])
    for row, label in zip(table.data.tolist(), table.target, strict=True):
        writer.writerow([*row, table.target_names[label]])
    return {"cancer.csv": out.getvalue().encode()}


def bundle(entry: str) -> str:
    """A script with all that it imports, as one text that may stand within a page."""
    run(
        MODULES / ".bin" / "esbuild", SOURCE / entry, "--bundle", "--minify", "--format=iife", "--target=es2022",
        "--legal-comments=inline", "--charset=utf8", f"--outfile={CACHE / entry}", cwd=HERE,
    )  # fmt: skip
    return (CACHE / entry).read_text(encoding="utf-8").replace("</script", r"<\/script")


def packed(data: bytes) -> tuple[bytes, bool]:
    """Compressed, if that pays: wheels are already."""
    smaller = gzip.compress(data, 9, mtime=0)
    return (smaller, True) if len(smaller) < 0.95 * len(data) else (data, False)


def write(files: dict[str, bytes]) -> None:
    """Both pages."""
    entries, contents = {}, {}
    for name, data in files.items():
        contents[name], is_gzip = packed(data)
        digest = base64.b64encode(hashlib.sha256(contents[name]).digest()).decode()
        later = any(name.startswith(f"{package}-") for package in LATER)
        entries[name] = {
            "gzip": is_gzip, "size": len(contents[name]), "integrity": f"sha256-{digest}", "later": later
        }  # fmt: skip
    manifest = {"files": entries, "lock": lock()}
    texts = {
        "style": (MODULES / "uplot" / "dist" / "uPlot.min.css").read_text() + (SOURCE / "style.css").read_text(),
        "script": bundle("main.js"),
        "worker": bundle("worker.js"),
        "graph": bundle("graph-worker.js"),
        "licences": "".join(f"<tr><td>{a}</td><td>{b}</td><td>{c}</td></tr>" for a, b, c in LICENCES),
    }
    page = Template((SOURCE / "index.html").read_text(encoding="utf-8"))

    def written(path: Path, connect: str, embedded: str, base: str) -> None:
        text = page.substitute(
            texts, policy=Template(POLICY).substitute(connect=connect), embedded=embedded,
            manifest=json.dumps({**manifest, "base": base}).replace("<", r"\u003c"),
        )  # fmt: skip
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(f"playground: {path.relative_to(ROOT)}, {path.stat().st_size / 1e6:.1f} MB")

    blocks = (
        f'<script type="text/plain" data-file="{name}">{base64.b64encode(data).decode()}</script>'
        for name, data in contents.items()
    )
    written(BUILD / "index.html", "blob:", "\n".join(blocks), "")
    hosted = BUILD / "hosted"
    for old in hosted.glob("files/*"):
        old.unlink()
    written(hosted / "index.html", "'self' blob:", "", "files/")
    (hosted / "files").mkdir(exist_ok=True)
    for name, data in contents.items():
        (hosted / "files" / name).write_bytes(data)


if __name__ == "__main__":
    main()
