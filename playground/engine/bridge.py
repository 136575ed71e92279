"""What the page calls: a function by its name, with JSON in and JSON out. There is one session at a time.

An error is an answer too, ``{"error": "..."}``, in the words of the package; only what the playground itself does wrong
is raised, and seen in the browser's console.
"""

from __future__ import annotations

import base64
import json
import math
import platform
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_dls as tg
from playground.engine import data, student, views
from playground.engine.session import Session
from playground.engine.settings import CHOICES, MOST_LAYERS, MOST_UNITS, PLANAR_FEATURES, Settings

__all__ = ["call"]

GRID = 64  # points of the decision, along each side

_session: Session | None = None
_folder = Path(tempfile.mkdtemp(prefix="playground"))


def call(name: str, arguments: str = "{}") -> str:
    """Call one of the functions below by its name.

    Parameters
    ----------
    name : str
    arguments : str
        Its keywords, as JSON.
    """
    try:
        answer = CALLS[name](**json.loads(arguments))
    except (TypeError, ValueError, ArithmeticError, ImportError, RuntimeError, OSError) as error:
        answer = {"error": str(error), "kind": type(error).__name__}
    return json.dumps(answer, default=_plain)


def _plain(x: Any) -> Any:
    return x.tolist() if isinstance(x, (np.generic, np.ndarray)) else str(x)


def _now() -> Session:
    if _session is None:
        raise RuntimeError("There is no network yet.")
    return _session


def choices() -> dict[str, Any]:
    """What can be chosen, and the defaults."""
    return {
        "choices": CHOICES,
        "features": PLANAR_FEATURES,
        "layers": MOST_LAYERS,
        "units": MOST_UNITS,
        "defaults": Settings().as_json(),
        "version": tg.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def stored(name: str) -> dict[str, str]:
    """The text of a file that the page holds, which lies where Python runs."""
    return {"text": Path(Path(name).name).read_text(encoding="utf-8")}


def columns(text: str) -> dict[str, Any]:
    """What a CSV holds, and a proposal how to read it."""
    return data.columns_of(text) | {"proposed": data.proposed(text)}


def start(settings: dict[str, Any], text: str | None = None, file: str = "data.csv") -> dict[str, Any]:
    """A new network on these examples; the old one stays if something is wrong with them."""
    global _session
    checked = Settings.of(settings)
    path = None
    if text is not None and not checked.is_planar:
        path = _folder / Path(file).name
        path.write_text(text, encoding="utf-8", newline="")
    try:
        _session = Session(checked, data.examples(checked, path))
    except ValueError as error:
        raise ValueError(str(error).replace(f"{_folder}/", "")) from error  # the name, as the reader of it knows it
    return about()


def about() -> dict[str, Any]:
    """What stays as it is while the network is trained."""
    session = _now()
    return {
        "settings": session.settings.as_json(),
        "names": session.data.names,
        "features": session.data.features,
        "classes": session.data.classes,
        "target": session.data.target,
        "examples": session.data.X.shape[1],
        "held": session.data.X_held.shape[1],
        "parameters": sum(p.size for p in session.model.parameters()),
        "layers": repr(session.model),
        "points": views.points(session),
    }


def rewind() -> dict[str, Any]:
    """Back to the start."""
    _now().rewind()
    return state()


def step() -> dict[str, Any]:
    """One update."""
    session = _now()
    before = session.epoch
    session.step()
    return state(before)


def advance(milliseconds: float, most: int | None = None) -> dict[str, Any]:
    """Train for so long, and no further than to the epoch `most`."""
    session = _now()
    before = session.epoch
    session.advance(milliseconds, most)
    return state(before)


def state(since: int = 0) -> dict[str, Any]:
    """How far the training has come, with the costs of the epochs from `since` on."""
    session = _now()
    return {
        "epoch": session.epoch,
        "steps": session.steps,
        "within": session.within,
        "costs": [_finite(J) for J in session.costs[since:]],
        "held": [_finite(J) for J in session.held_costs[since:]],
        "since": since,
        "stopped": session.stopped,
    }


def figures() -> dict[str, Any]:
    """How good the network is."""
    session = _now()
    return {"train": session.accuracy(), "held": session.accuracy(held=True)}


def decision() -> dict[str, Any]:
    """The picture of the decision: of each point the class, and how sure it is; of a number, how large."""
    session = _now()
    out = views.decision(session, GRID)
    if not np.all(np.isfinite(out)):
        return {"n": GRID, "classes": "", "sure": ""}
    many = len(session.data.classes) > 2
    if many:
        classes, sure = np.argmax(out, axis=0), out.max(axis=0)
    else:
        classes = np.zeros(GRID * GRID, int)
        sure = out[0] if session.data.classes else np.clip((out[0] + 2) / 4, 0, 1)  # two standard deviations each way
    return {"n": GRID, "classes": _bytes(classes), "sure": _bytes(np.round(sure * 255))}


def network(rankdir: str = "TB") -> dict[str, str]:
    """The picture of the network, in the DOT language."""
    return {"dot": views.network(_now(), rankdir)}


def histograms() -> list[dict[str, Any]]:
    """Weights and their gradients."""
    return views.histograms(_now())


def code(update: bool = False) -> dict[str, str]:
    """The NumPy code of this network."""
    return {"code": views.code(_now(), update=update)}


def derivation() -> dict[str, str]:
    """The derivation of its gradients."""
    return {"html": views.derivation(_now())}


def template() -> dict[str, str]:
    """What the text field for a backward pass holds at first."""
    return {"code": student.template(_now())}


def answer() -> dict[str, str]:
    """A right backward pass."""
    return {"code": student.answer(_now())}


def check(text: str) -> dict[str, str]:
    """Run and diagnose a backward pass."""
    return student.check(_now(), text)


def _finite(x: float) -> float | None:
    """For JSON, which has no infinity."""
    return x if math.isfinite(x) else None


def _bytes(x: Any) -> str:
    return base64.b64encode(np.asarray(x, np.uint8).tobytes()).decode("ascii")


CALLS: dict[str, Callable[..., Any]] = {
    f.__name__: f
    for f in (
        about, advance, answer, check, choices, code, columns, decision, derivation, figures, histograms, network,
        rewind, start, state, step, stored, template,
    )
}  # fmt: skip
