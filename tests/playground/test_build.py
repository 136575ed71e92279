"""How the page is built: what is fetched is verified, and what stands in the page cannot end its scripts."""

import gzip
import hashlib
import json
import re
import zipfile
from pathlib import Path

import pytest

from playground import build

ROOT = Path(__file__).parents[2]
WHEEL = b"the wheel of Pyodide"


@pytest.fixture
def carrier(tmp_path, monkeypatch):
    """A package that carries a wheel, of which a function says the bytes."""
    entry = {"file_name": "numpy-9-cp399.whl", "sha256": hashlib.sha256(WHEEL).hexdigest()}
    monkeypatch.setattr(build, "CACHE", tmp_path)
    monkeypatch.setattr(build, "lock", lambda: {"packages": {"numpy": entry}})
    for name in ("graphviz", "latex2mathml", "tinygrad_dls"):
        (tmp_path / f"{name}-1-py3-none-any.whl").write_bytes(b"pure")

    def carry(data):
        with zipfile.ZipFile(tmp_path / "open_webui-9-py3-none-any.whl", "w") as archive:
            archive.writestr("anywhere/pyodide/numpy-9-cp399.whl", data)
            archive.writestr("anywhere/else.py", "what is not asked for")

    return carry


def test_the_wheels_of_the_lock_file_are_taken_and_nothing_else(carrier):
    carrier(WHEEL)
    found = build.wheels()
    assert found["numpy-9-cp399.whl"] == WHEEL
    assert len(found) == 4


def test_a_wheel_that_is_another_one_ends_the_build(carrier):
    carrier(WHEEL + b"!")
    with pytest.raises(SystemExit, match=r"numpy-9-cp399\.whl is not the file of Pyodide's lock file"):
        build.wheels()


def test_all_that_is_fetched_has_a_hash():
    pins = re.findall(r"^[\w-]+==\S+.*$", (ROOT / "playground/requirements.txt").read_text(), re.MULTILINE)
    assert len(pins) == 3
    assert all(re.search(r" --hash=sha256:[0-9a-f]{64}$", pin) for pin in pins)
    lock = json.loads((ROOT / "playground/package-lock.json").read_text())
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert {"node_modules/pyodide", "node_modules/@viz-js/viz", "node_modules/uplot"} <= packages.keys()
    assert [name for name, entry in packages.items() if "integrity" not in entry] == []


def test_versions_are_exact():
    package = json.loads((ROOT / "playground/package.json").read_text())
    versions = [*package["dependencies"].values(), *package["devDependencies"].values()]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in versions)


def test_only_what_gets_smaller_is_compressed():
    data, is_gzip = build.packed(b"a" * 10_000)
    assert is_gzip
    assert gzip.decompress(data) == b"a" * 10_000
    noise = hashlib.shake_256(b"").digest(10_000)
    assert build.packed(noise) == (noise, False)


def test_the_engine_is_all_of_its_python(tmp_path):
    (tmp_path / "engine.zip").write_bytes(build.engine())
    with zipfile.ZipFile(tmp_path / "engine.zip") as archive:
        names = set(archive.namelist())
    assert names == {f"playground/engine/{path.name}" for path in (ROOT / "playground/engine").glob("*.py")}
