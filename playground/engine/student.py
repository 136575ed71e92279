"""A backward pass that somebody typed: it is run on copies of the arrays, and `tg.check.diagnose` says what is wrong.

The code finds X, Y, m, the parameters and the values of the forward pass under the course's names, and leaves its
gradients under theirs. A loop without an end is ended after some seconds.
"""

from __future__ import annotations

import contextlib
import io
import re
import sys
import time
import traceback
from types import FrameType
from typing import Any

import numpy as np

import tinygrad_dls as tg
from playground.engine.session import Session
from playground.engine.views import code, without_dropout

__all__ = ["answer", "check", "given", "template"]

NAME = "<your code>"
SECONDS = 10
GRADIENTS = re.compile(r"d(A|Z|W|b)\d*")


class TooLongError(Exception):
    """The code does not come to an end."""


def given(session: Session) -> dict[str, Any]:
    """What the code finds: copies, so that the network cannot be changed by it."""
    model = without_dropout(session)
    found: dict[str, Any] = {"np": np, "X": session.data.X.copy(), "Y": session.data.Y.copy()}
    found |= {name: p.data.copy() for name, p in model.named_parameters()}
    with tg.no_grad(), np.errstate(all="ignore"):
        A: Any = session.data.X
        number, several = 0, len(session.settings.hidden) > 0
        for layer in model.layers:
            A = layer(A)
            number += isinstance(layer, tg.nn.Linear)
            letter = "Z" if isinstance(layer, tg.nn.Linear) else "A"
            found[f"{letter}{number if several else ''}"] = np.array(A.data)
        if session.data.classes:
            found[f"A{number if several else ''}"] = np.array(session.output(session.data.X))
    return found | {"m": session.data.X.shape[1], "lambd": session.settings.l2}


def check(session: Session, text: str) -> dict[str, str]:
    """Run the code and diagnose its gradients.

    Returns
    -------
    dict
        ``"report"``, what was found; or ``"error"``, why the code did not run to its end; and ``"printed"``.
    """
    namespace = given(session)
    forward = {name: x.copy() for name, x in namespace.items() if re.fullmatch(r"[AZ]\d*", name)}
    printed = io.StringIO()
    try:
        compiled = compile(text, NAME, "exec")
        with contextlib.redirect_stdout(printed), np.errstate(all="ignore"), _deadline():
            exec(compiled, namespace)
    except BaseException as error:  # whatever the code raises, SystemExit too, is said to who wrote it
        return {"error": _said(error), "printed": printed.getvalue()}
    gradients = {name: x for name, x in namespace.items() if GRADIENTS.fullmatch(name)}
    if not gradients:
        return {
            "error": f"The code leaves no gradient. It should set {', '.join(_names(session))}, or some of these.",
            "printed": printed.getvalue(),
        }
    own = {name: namespace[name] for name in forward if not np.array_equal(namespace[name], forward[name])}
    try:
        report = tg.check.diagnose(
            without_dropout(session), session.data.X, session.data.Y, gradients,
            cache=own or None, loss=session.plain_loss, lambd=session.settings.l2,
        )  # fmt: skip
    except (TypeError, ValueError) as error:
        return {"error": str(error), "printed": printed.getvalue()}
    first = report.first_wrong
    return {"report": str(report), "wrong": first.name if first else "", "printed": printed.getvalue()}


def template(session: Session) -> str:
    """What the text field holds at first: the names and shapes, and the first line."""
    lines = [
        "# Write the backward pass of the network on this page, and check it.",
        "# These arrays are there, of the training examples and of the weights of now:",
    ]
    for name, x in given(session).items():
        if isinstance(x, np.ndarray):
            lines.append(f"#   {name:3} {x.shape}")
    lines.append(
        f"#   m = {session.data.X.shape[1]}" + (f", lambd = {session.settings.l2:g}" * bool(session.settings.l2))
    )
    lines.append(f"# Set {', '.join(_names(session))}, in this order, or as many as you like.")
    last = _names(session)[0]
    first = f"{last} = ({last.replace('dZ', 'A')} - Y) / m"
    if not session.data.classes:
        first = f"{last} = 2 * ({last.replace('dZ', 'Z')} - Y) / m"
    return "\n".join([*lines, "", first, ""])


def answer(session: Session) -> str:
    """The lines of the real backward pass: those of the code of this network, without the function around them."""
    source = code(session, update=False)
    body = source[source.index("    # forward") : source.rindex("    return ")]
    helpers = source[source.index("import numpy as np") : source.index("def step(")]
    return helpers.strip() + "\n\n" + "\n".join(line[4:] for line in body.splitlines()).strip() + "\n"


def _names(session: Session) -> list[str]:
    """The gradients from the last layer to the first."""
    n = len(session.settings.hidden) + 1
    if n == 1:
        return ["dZ", "dW", "db"]
    names = []
    for layer in range(n, 0, -1):
        names += [f"dA{layer}"] * (layer < n) + [f"dZ{layer}", f"dW{layer}", f"db{layer}"]
    return names


@contextlib.contextmanager
def _deadline() -> Any:
    """Raise in the code of this text, between two of its instructions, when its time is over."""
    until = time.monotonic() + SECONDS

    def trace(frame: FrameType, _event: str, _argument: Any) -> Any:
        if frame.f_code.co_filename != NAME:
            return None
        frame.f_trace_opcodes = True  # a loop in a single line has no other events
        if time.monotonic() > until:
            raise TooLongError(f"the code was not at its end after {SECONDS} s; is there a loop without one?")
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


def _said(error: BaseException) -> str:
    """An error in the typed code: its line, its kind, its words."""
    kind = type(error).__name__
    if isinstance(error, TooLongError):
        return str(error).capitalize()
    if isinstance(error, SyntaxError) and error.filename == NAME:
        return f"Line {error.lineno}: {kind}: {error.msg}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == NAME]
    return (f"Line {lines[-1]}: " if lines else "") + f"{kind}: {error}"
