"""The extras: what a feature needs beside NumPy, and the command that installs it where the user stands.

A clone has its ``pyproject.toml`` beside the package, and is installed from its folder; what came as a wheel, by name.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["install"]


def install(extra: str) -> str:
    """The command that installs an extra: ``pip install -e '.[plot]'`` in a clone."""
    clone = Path(__file__).resolve().parents[1]
    if not (clone / "pyproject.toml").is_file():
        return f"pip install 'tinygrad_dls[{extra}]'"
    return f"pip install -e '{'.' if Path.cwd() == clone else clone}[{extra}]'"
