"""Building: from a text in C to functions that Python calls."""
from __future__ import annotations
import ctypes, hashlib, os, subprocess, tempfile
from pathlib import Path

FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", "-shared", "-fPIC", "-w")

def library(text: str) -> ctypes.CDLL:
    name = hashlib.sha256(text.encode()).hexdigest()
    folder = Path("/tmp/nat/cache"); folder.mkdir(exist_ok=True)
    path = folder / f"{name}.so"
    if not path.exists():
        (folder / f"{name}.c").write_text(text)
        subprocess.run(["cc", *FLAGS, "-o", str(path), str(folder / f"{name}.c")], check=True)
    return ctypes.CDLL(str(path))
