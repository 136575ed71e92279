"""From DOT text to a picture: the one place that runs Graphviz.

Graphviz comes in two ways. Either there is its program ``dot`` on the PATH, which the package `graphviz` runs, or there
are its libraries in the wheels of pygraphviz, which carry no ``dot``, but lay out and draw as well as it does. Both run
in a process of their own: there a crash, or a layout that never ends, is an error, and not the end of the program that
wanted a picture. What comes back is the whole picture or an error in dot's own words, never an empty file.

The same text gives the same bytes, in every process, with the same Graphviz and the same fonts.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from importlib.util import find_spec

from graphviz.backend.dot_command import command
from graphviz.backend.execute import CalledProcessError, ExecutableNotFound, run_check

from tinygrad_dls.extras import install

__all__ = ["FORMATS", "GraphvizError", "GraphvizNotFoundError", "GraphvizTimeoutError", "render"]

FORMATS = ("svg", "png", "pdf")

# What the libraries of pygraphviz need to do what `dot -T<format>` does. It imports what this process would import.
_DRAW = """
import sys
format, splines, *sys.path[:] = sys.argv[1:]
try:
    from pygraphviz import AGraph
    graph = AGraph(string=sys.stdin.buffer.read().decode())
    if splines:
        graph.graph_attr["splines"] = splines
    picture = graph.draw(format=format, prog="dot")
except Exception as error:
    sys.exit(f"{type(error).__name__}: {error}")
sys.stdout.buffer.write(picture)
"""

_TEXT_IS_THERE = "The DOT text itself is there in .source: it can be saved as a .dot file, and drawn elsewhere."


class GraphvizError(RuntimeError):
    """Graphviz did not draw the graph."""


class GraphvizTimeoutError(GraphvizError):
    """Graphviz did not finish in time."""


class GraphvizNotFoundError(GraphvizError):
    """There is no Graphviz on this computer."""


def render(source: str, format: str, *, seconds: float = 60) -> bytes:
    """Draw a graph with Graphviz's ``dot``.

    Parameters
    ----------
    source : str
        The graph in the DOT language.
    format : str
        ``"svg"``, ``"png"`` or ``"pdf"``.
    seconds : float
        How long it may take.

    Returns
    -------
    bytes
        What belongs into a file of that format.

    Raises
    ------
    ValueError
        If the format is another one.
    GraphvizNotFoundError
        Without ``dot`` on the PATH and without pygraphviz, saying how to get either.
    GraphvizTimeoutError
        When it takes too long.
    GraphvizError
        When Graphviz fails, with its own message, or when it draws nothing.
    """
    if format not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, got {format!r}")
    picture, said = _drawn(source, format, "", seconds)
    if _lost_a_curve(said):
        picture, said = _drawn(source, format, "line", seconds)
    # The libraries report what is wrong with a label, and then go on without it; the program exits with 1.
    if _errors(said):
        raise _failed(0, said)
    if not picture:
        raise GraphvizError(f"Graphviz drew nothing, and reported no error.\n{_indented(said)}\n{_TEXT_IS_THERE}")
    return _undated(picture) if format == "pdf" else picture


def _errors(said: bytes) -> list[bytes]:
    return re.findall(b"^Error:.*", said, re.MULTILINE)


def _lost_a_curve(said: bytes) -> bool:
    """Whether it failed to lead a curve around the nodes, as by rounding, and left the edge out; a line it can draw."""
    return bool(_errors(said)) and all(b"routesplines" in line or b"lost " in line for line in _errors(said))


def _drawn(source: str, format: str, splines: str, seconds: float) -> tuple[bytes, bytes]:
    """The picture, and what Graphviz said; with edges of another kind, if one is named."""
    program, run = _way(format, splines)
    try:
        # a lone surrogate in a name is no reason for no picture
        done = run_check(run, input=source.encode(errors="replace"), capture_output=True, quiet=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        raise GraphvizTimeoutError(
            f"Graphviz did not finish within {seconds:g} s. Give it more time, or a smaller graph. {_TEXT_IS_THERE}"
        ) from None
    except CalledProcessError as error:
        if not splines and _lost_a_curve(error.stderr):
            return b"", error.stderr
        raise _failed(error.returncode, error.stderr) from None
    except (OSError, ExecutableNotFound) as error:
        raise GraphvizError(f"Graphviz ({program}) could not be started: {error}. {_TEXT_IS_THERE}") from error
    return done.stdout, done.stderr


def _failed(status: int, said: bytes) -> GraphvizError:
    return GraphvizError(f"Graphviz failed (exit status {status}).\n{_indented(said)}\n{_TEXT_IS_THERE}")


def _way(format: str, splines: str) -> tuple[str, list[str]]:
    """Which program draws, and the command: ``dot``, or else a Python with the libraries of pygraphviz."""
    if dot := shutil.which("dot"):
        return dot, [*(str(part) for part in command("dot", format)), *([f"-Gsplines={splines}"] if splines else [])]
    if find_spec("pygraphviz"):
        return sys.executable, [sys.executable, "-c", _DRAW, format, splines, *sys.path]
    raise GraphvizNotFoundError(
        "there is no Graphviz to draw with: no program `dot` on the PATH, and no pygraphviz. Get one of them:\n"
        f"  with pip:       {install('draw')}\n"
        "  for the system: apt install graphviz (Linux), brew install graphviz (macOS), "
        "choco install graphviz (Windows)\n"
        "  without it:     save the picture as .svg or .html\n"
        f"{_TEXT_IS_THERE}"
    )


def _indented(said: bytes) -> str:
    text = said.decode(errors="replace").strip()
    return "\n".join(f"  {line}" for line in (text or "It said nothing.").splitlines())


def _undated(pdf: bytes) -> bytes:
    """Without the time at which it was drawn, in as many bytes: a PDF holds the positions of its parts."""
    return re.sub(rb"/CreationDate \(D:[^)]*\)", lambda date: b" " * len(date[0]), pdf)
