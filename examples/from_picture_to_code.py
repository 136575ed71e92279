"""Picture, derivation and code of both models of the notes, on one page that a browser opens from disk.

`tg.report` makes it. Everything is in the file: the pictures with their script, the formulas as MathML, the code. It
loads nothing. Without an output folder this only says how much there is of each.

Run: ``python -m examples.from_picture_to_code [output_folder]``
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import tinygrad_dls as tg
from examples import by_pencil
from tinygrad_dls.reports.report import Report, together

MODELS = {
    "logistic": (
        "Logistic regression",
        by_pencil.logistic_regression,
        "A linear part, a sigmoid, and the mean negative log-likelihood of the labels, for four examples in columns.",
    ),
    "network": (
        "The network with one hidden layer",
        by_pencil.two_layer_network,
        "Two hidden units with tanh, and one output, whose sigmoid is computed within the cost: so nothing overflows.",
    ),
}


def pages() -> Report:
    """Make the report of both models."""
    reports = []
    for ident, (title, make, text) in MODELS.items():
        _, J = make()
        J.backward()
        reports.append(tg.report(J, values=True, title=title, text=text, ident=ident))
    return together(*reports)


def page() -> str:
    """Write the whole page."""
    return pages().html


def main(output: Path | None = None) -> dict[str, Any]:
    report = pages()
    text = report.html
    for ident, (title, *_) in MODELS.items():
        steps = text.split(f'id="{ident}-derivation"')[1].split("</section>")[0].count('class="step"')
        print(f"{title}: one picture, {steps} steps of derivation, the code of one step of training")
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        print(f"wrote {report.save(output / 'from_picture_to_code.html')}: open it in a browser")
    return {"page": text}


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
