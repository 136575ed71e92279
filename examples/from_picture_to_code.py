"""Picture, derivation and code of both models of the notes, on one page that a browser opens from disk.

Everything is in the file: the pictures with their script, the formulas as MathML, the code. It loads nothing. Without
an output folder this only says how much there is of each.

Run: ``python -m examples.from_picture_to_code [output_folder]``
"""

from __future__ import annotations

import html
import re
import sys
from dataclasses import replace
from pathlib import Path
from string import Template
from typing import Any

import tinygrad_dls as tg
from examples import by_pencil
from tinygrad_dls.derivations.document import Derivation
from tinygrad_dls.drawing.page import SCRIPT, STYLE

MODELS = {
    "logistic": (
        "Logistic regression",
        by_pencil.logistic_regression,
        "A linear part, a sigmoid, and the mean negative log-likelihood of the labels.",
    ),
    "network": (
        "The network with one hidden layer",
        by_pencil.two_layer_network,
        "Two hidden units with tanh, and one output, whose sigmoid is computed within the cost: so nothing overflows.",
    ),
}


def template(name: str) -> Template:
    """Read a piece of HTML that lies beside this file."""
    return Template(Path(__file__).with_name(name).read_text(encoding="utf-8"))


def _body(derivation: Derivation) -> str:
    """The derivation within a page that has headings above its own."""
    text = derivation.fragment.replace("<h2></h2>", "")
    return text.replace("<h2>", "<h4>").replace("</h2>", "</h4>")


def code(source: str) -> str:
    """Format code for a page, with its comments set apart."""
    text = re.sub(r"(#.*)", r'<span class="comment">\1</span>', html.escape(source.rstrip(), quote=False))
    return f'<pre tabindex="0"><code>{text}</code></pre>'


def section(ident: str) -> str:
    """The part of the page about one model."""
    title, make, what = MODELS[ident]
    _, J = make()
    derivation, source = tg.derive(J, values=True), tg.numpy_source(J)
    J.backward()
    given, *parts = derivation.parts
    return template("from_picture_to_code_model.html").substitute(
        ident=ident,
        title=html.escape(title),
        what=html.escape(what),
        given=_body(Derivation((replace(given, title=""),))),
        picture=tg.draw(J, direction="both").widget(f"{ident}-graph"),
        derivation=_body(Derivation(tuple(parts))),
        code=code(source),
    )


def page() -> str:
    """Write the whole page."""
    contents = "".join(
        f'<li><a href="#{ident}">{title}</a><ul>'
        + "".join(
            f'<li><a href="#{ident}-{part.lower()}">{part}</a></li>'
            for part in ("Given", "Picture", "Derivation", "Code")
        )
        + "</ul></li>"
        for ident, (title, *_) in MODELS.items()
    )
    return template("from_picture_to_code.html").substitute(
        style=STYLE, contents=contents, sections="\n".join(map(section, MODELS)), script=SCRIPT
    )


def main(output: Path | None = None) -> dict[str, Any]:
    text = page()
    results = {"page": text}
    for ident, (title, *_) in MODELS.items():
        steps = text.split(f'id="{ident}-derivation"')[1].split("</section>")[0].count('class="step"')
        print(f"{title}: one picture, {steps} steps of derivation, the code of one step of training")
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        path = output / "from_picture_to_code.html"
        path.write_text(text, encoding="utf-8")
        print(f"wrote {path}: open it in a browser")
    return results


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
