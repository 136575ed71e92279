"""Building: from a text in C to a library that is loaded, by the system's compiler or by the one of the wheel ziglang.

What was built is kept in the user's cache folder, under a hash of the text, the compiler and the processor. Nothing in
there is trusted: a file is used only if it and its folder are the user's own, nobody else may write to them, and it is
what its name says, a hash of its bytes among that. Anything else is built anew. A library gets its name by a rename
when it is complete, so processes that build the same at once do not see each other's halves.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import importlib.util
import os
import platform
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from tinygrad_dls.engine.arrays import Array
from tinygrad_dls.extras import install

__all__ = ["NoCompiler", "compiler", "library"]

# Products whose only use is a sum are rounded once; no other rule of arithmetic is given up.
FLAGS = ("-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", "-shared", "-fPIC", "-w")
NAMES = ("cc", "gcc", "clang")  # on the path
KEPT = 1000  # libraries in the folder: of more, those go that were built first
SECONDS = 120


class NoCompiler(RuntimeError):  # noqa: N818  # it says what there is not
    """There is no compiler of C, or it does not do what it is asked for.

    Attributes
    ----------
    reason : str
        Why, in words.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"backend='native': {reason}")
        self.reason = reason

    def __reduce__(self) -> tuple[type[NoCompiler], tuple[str]]:
        return type(self), (self.reason,)  # from a worker to another process


def compiler() -> tuple[str, ...]:
    """The command of the compiler.

    Raises
    ------
    NoCompiler
        If there is none.
    """
    if sys.implementation.name != "cpython":
        raise NoCompiler("it reads arrays as CPython keeps them, and this is another Python. Use backend='numpy'.")
    for name in NAMES:
        if found := shutil.which(name):
            return (found, "-march=native")
    if importlib.util.find_spec("ziglang") is not None:
        return (sys.executable, "-m", "ziglang", "cc", "-march=native", "-fno-sanitize=undefined")
    raise NoCompiler(
        f"there is no compiler of C: neither {', '.join(NAMES[:-1])} nor {NAMES[-1]} is on the path. Install one, such "
        f"as by apt install gcc or xcode-select --install, or the wheel that carries one: {install('native')}. With "
        "backend='auto', NumPy is used as long as there is none."
    )


def library(text: str) -> ctypes.CDLL:
    """The library of a text, built now or taken from the cache.

    Raises
    ------
    NoCompiler
        If it cannot be built, or does not work here.
    """
    command = compiler()
    key = _key(text, command)
    folder = _folder()
    for path in _known(folder, key):
        try:
            return _checked(ctypes.CDLL(str(path)))
        except OSError:  # it is as it was built, and of no use here
            path.unlink(missing_ok=True)
    path = _built(text, command, folder, key)
    try:
        return _checked(ctypes.CDLL(str(path)))
    except OSError as error:
        path.unlink(missing_ok=True)
        raise NoCompiler(f"what {_said(command)} built cannot be loaded: {error}.") from None


def _built(text: str, command: tuple[str, ...], folder: Path, key: str) -> Path:
    """Build a library, and give it its name."""
    with tempfile.TemporaryDirectory(dir=folder, prefix="building-") as place:
        source, made = Path(place, "step.c"), Path(place, "step.so")
        source.write_text(text, encoding="ascii")
        try:
            run = subprocess.run(
                [*command, *FLAGS, "-o", str(made), str(source)],
                capture_output=True, text=True, timeout=SECONDS, check=False, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        except (OSError, subprocess.SubprocessError) as error:
            raise NoCompiler(f"{_said(command)} failed: {error}.") from None
        if run.returncode or not made.is_file():
            said = run.stderr.strip().splitlines() or [f"status {run.returncode}"]
            why = next((line for line in said if "error" in line.lower()), said[0])
            raise NoCompiler(f"{_said(command)} failed: {why}")
        made.chmod(0o700)
        path = folder / f"{key}-{_hash(made.read_bytes())}.so"
        made.replace(path)
    _forget_oldest(folder)
    return path


def _said(command: tuple[str, ...]) -> str:
    return "the compiler of ziglang" if "ziglang" in command else f"the compiler {command[0]}"


# -- the cache --------------------------------------------------------------------------------------------------------


def _hash(*parts: str | bytes) -> str:
    """A hash of texts and bytes, told apart by their lengths."""
    found = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        found.update(f"{len(data)}:".encode() + data)
    return found.hexdigest()[:40]


def _key(text: str, command: tuple[str, ...]) -> str:
    """What a library depends on: the text, the compiler with its options, and the processor."""
    return _hash(text, *command, *FLAGS, _compiler_version(command), _processor())


@functools.cache
def _compiler_version(command: tuple[str, ...]) -> str:
    """What tells one compiler from another: its file, as that stands there now."""
    path = command[0]
    if "ziglang" in command:
        path = importlib.util.find_spec("ziglang").origin or path  # type: ignore[union-attr]
    file = Path(path).resolve()
    state = file.stat()
    return f"{file} {state.st_size} {state.st_mtime_ns}"


@functools.cache
def _processor() -> str:
    """The processor and what it can do: a library is built for this one."""
    known = [platform.machine(), platform.processor(), sys.platform]
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf8").splitlines()
        known += sorted({x for x in lines if x.startswith(("model name", "flags", "Features", "CPU part"))})
    except OSError:
        if sys.platform == "darwin":
            asked = ["sysctl", "-n", "machdep.cpu.brand_string"]
            known.append(subprocess.run(asked, capture_output=True, text=True, check=False).stdout)
    return "\n".join(known)


def _folder() -> Path:
    """The folder of the cache; one for this process alone, if that is not the user's own."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(given) if os.path.isabs(given) else Path.home() / ".cache"
    folder = base / "tinygrad_dls"
    try:
        base.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        if stat.S_ISDIR(folder.lstat().st_mode) and _is_own(folder) and os.access(folder, os.W_OK):
            return folder
    except OSError:
        pass
    return _own_folder()


@functools.cache
def _own_folder() -> Path:
    """A folder for this process, which goes with it."""
    place = tempfile.TemporaryDirectory(prefix="tinygrad_dls-")
    _kept.append(place)
    return Path(place.name)


_kept: list[tempfile.TemporaryDirectory[str]] = []  # removed when the process ends


def _is_own(path: Path) -> bool:
    """Whether a file or folder is the user's own, and nobody else may write to it."""
    state = path.lstat()
    own = not hasattr(os, "geteuid") or state.st_uid == os.geteuid()
    return own and not state.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _known(folder: Path, key: str) -> list[Path]:
    """The libraries of a key that are what their names say; others are removed."""
    found = []
    for path in folder.glob(f"{key}-*.so"):
        try:
            own = stat.S_ISREG(path.lstat().st_mode) and _is_own(path)
            if own and path.name == f"{key}-{_hash(path.read_bytes())}.so":
                found.append(path)
            else:
                path.unlink()
        except OSError:  # another process has removed it
            continue
    return found


def _forget_oldest(folder: Path) -> None:
    paths = list(folder.glob("*.so"))
    if len(paths) > KEPT:
        for path in sorted(paths, key=lambda x: x.stat().st_mtime if x.exists() else 0.0)[: len(paths) - KEPT]:
            path.unlink(missing_ok=True)


# -- arrays as C sees them --------------------------------------------------------------------------------------------


def _checked(found: ctypes.CDLL) -> ctypes.CDLL:
    """A library that sees arrays as they are."""
    if not _checked_before:
        probe = np.zeros((3, 5, 7))[:, 1:4, ::2]
        seen = (ctypes.c_longlong * 5)()
        found.look.argtypes = [ctypes.py_object, ctypes.c_void_p]
        found.look.restype = None
        found.look(probe, ctypes.addressof(seen))
        if list(seen) != _as_it_is(probe):
            raise NoCompiler(
                "it reads arrays where NumPy 2 keeps them, and this NumPy, or this Python, keeps them elsewhere. Use "
                "backend='numpy'."
            )
        _checked_before.append(True)
    return found


_checked_before: list[bool] = []


def _as_it_is(x: Array) -> list[int]:
    return [x.ctypes.data, x.ndim, x.shape[1], *x.strides[1:]]
