"""Writing a file as a whole: at any moment, even after a kill, there is the old file or the new one."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from pathlib import Path
from types import ModuleType

__all__ = ["write_whole"]

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


def write_whole(path: Path, content: bytes) -> None:
    """Put bytes into a file, all of them or none.

    A symbolic link is followed, and stays. A file that is there keeps its permissions and its owner. What is no file,
    such as a pipe, is written into. What is written meanwhile is called ``.NAME.part``, beside the file; the next call
    clears away what a kill has left of it. Other hard links to the file keep the old content.

    Raises
    ------
    PermissionError
        If the file is read-only.
    """
    target = Path(os.path.realpath(path))
    before = target.stat() if target.exists() else None
    if before is not None and not stat.S_ISREG(before.st_mode):
        target.write_bytes(content)
        return
    if before is not None and not (before.st_mode & 0o222 and os.access(target, os.W_OK)):
        raise PermissionError(
            f"save: {str(path)!r} is read-only. Make it writable (chmod u+w), or write to another file."
        )
    beside, part = _opened(target, 0o666 if before is None else stat.S_IMODE(before.st_mode))
    try:
        with os.fdopen(part, "wb") as new:
            new.write(content)
            if before is not None and hasattr(os, "fchmod"):
                with contextlib.suppress(PermissionError):  # only root may give a file to its owner
                    os.fchown(part, before.st_uid, before.st_gid)
                os.fchmod(part, stat.S_IMODE(before.st_mode))
            new.flush()
            os.fsync(part)  # before it takes its place: after a power cut too, that place has a whole file
            if fcntl is not None:  # within the lock: nobody takes it for one that was left behind
                os.replace(beside, target)
        if fcntl is None:
            os.replace(beside, target)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def _opened(target: Path, mode: int) -> tuple[Path, int]:
    """A new file beside another one, open and locked: of a fixed name, or of any if somebody writes that one now."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    beside = target.with_name(f".{os.fsdecode(os.fsencode(target.name)[:200])}.part")
    while fcntl is not None:
        try:
            part = os.open(beside, flags, mode)
            is_new = True
        except FileExistsError:
            try:
                part = os.open(beside, os.O_WRONLY)
            except FileNotFoundError:  # it has just become the file
                continue
            is_new = False
        try:
            fcntl.flock(part, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # somebody writes it now, or this file system has no locks
            os.close(part)
            break
        except BaseException:
            os.close(part)
            raise
        if _is(beside, part):
            if is_new:
                return beside, part
            beside.unlink(missing_ok=True)  # left behind: nobody holds it
        os.close(part)
    beside = target.with_name(f".{secrets.token_hex(8)}.part")
    return beside, os.open(beside, flags, mode)


def _is(path: Path, descriptor: int) -> bool:
    """Whether a path leads to an open file."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
