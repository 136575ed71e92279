"""Picture, derivation and code of a model on one page, which a browser opens from disk.

The page is made of the three readers of a graph: `tinygrad_dls.drawing.draw`, `tinygrad_dls.derivations.derive` and
`tinygrad_dls.source`. Where one of them refuses, as code does a random mask, the page has the others, and the reason in
its place. All of it is in the file: the picture with its script, formulas as MathML, the code.
"""

from __future__ import annotations

import html
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from tinygrad_dls.drawing.draw import draw_with_gradients
from tinygrad_dls.drawing.page import SCRIPT, STYLE
from tinygrad_dls.engine.arrays import boolean
from tinygrad_dls.engine.errors import shown
from tinygrad_dls.files import write_whole
from tinygrad_dls.graph.subject import Subject, subject
from tinygrad_dls.source import numpy_source

__all__ = ["Report", "report", "together"]

FRONT = "From the picture to the code"
GIVEN = "Examples are columns. The parameters are those of the moment at which this page was made."
PICTURE = (
    "From the input down to the cost; dashed, the gradients on their way back, times the local derivative beside the "
    "arrow. Point at a box, or tap it, for all its numbers; choose a parameter to see the path of its gradient; click "
    "on the frame of a module to close it."
)
DERIVATION = "Read off the same graph."
WITH_NUMBERS = "Read off the same graph, with the numbers of these examples, rounded to four digits."
CODE = (
    "One pass forward and back, with NumPy alone. The lines under <code>backward</code> are those at which the "
    "derivation arrives."
)


def report(
    target: Any,
    *inputs: Any,
    loss: Callable[[Any, Any], Any] | None = None,
    values: bool = False,
    title: str | None = None,
    text: str = "",
    ident: str = "model",
) -> Report:
    """Picture, derivation and code of your model on one page.

    The model and its gradients stay as they are. What cannot be derived or printed, such as a mask that `Dropout`
    draws, is no reason for no page: it has the rest, and says why something is missing.

    Parameters
    ----------
    target : Module, function or Tensor
        A model, with X, Y and `loss`; or a function of `inputs` that computes the cost; or the cost, whose gradients
        the picture has if `backward` has run.
    *inputs : array
        The examples X and the labels Y; the arguments of a function.
    loss : function, optional
        A function of the model's output and the labels, such as `tinygrad_dls.binary_cross_entropy_with_logits`.
    values : bool, default False
        Whether the derivation has the numbers of each line too: for a few examples, to follow with a pencil.
    title : str, optional
        The heading; by default, the name of the model's class.
    text : str
        A sentence below it.
    ident : str, default "model"
        Begins all ids of this model's part of the page: a letter, and then letters, digits, ``-`` and ``_``.

    Returns
    -------
    Report
        ``.save("report.html")`` writes the page; a notebook shows it.

    Raises
    ------
    TypeError, ValueError
        If the arguments do not fit together, or the model does not take these inputs.

    Examples
    --------
    >>> import tinygrad_dls as tg
    >>> X, Y = tg.datasets.planar_flower()
    >>> model = tg.nn.TwoLayerNetwork(2, 4, rng=0)
    >>> tg.report(model, X, Y, loss=tg.binary_cross_entropy_with_logits)
    Report of TwoLayerNetwork: picture, derivation and code. Write .save("report.html") for a page.
    """
    given = subject("report", target, inputs, loss)
    with_values = boolean(values, "report: values")
    for name, x in (("title", title), ("text", text), ("ident", ident)):
        if not isinstance(x, str) and not (x is None and name == "title"):
            raise TypeError(f"report: {name} must be text, got {shown(x)}.")
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", ident):
        raise ValueError(f"report: ident must be a letter and then letters, digits, - and _, got {shown(ident)}.")
    picture = draw_with_gradients(given)
    problems: dict[str, str] = {}

    def part(name: str, make: Callable[[], str]) -> str:
        try:
            return make()
        except Exception as error:  # whatever is wrong with one part, the others are of use
            problems[name] = _reason(error)
            return f'<p class="missing">There is no {name} of this model: {html.escape(problems[name])}</p>'

    derivation = part("derivation", lambda: _derivation(given, with_values))
    numbers, steps = derivation.split(CUT) if CUT in derivation else ("", derivation)
    pieces = {
        "Given": (GIVEN, f'<div class="given">\n{numbers}\n</div>' if numbers else ""),
        "Picture": (PICTURE, part("picture", lambda: picture.widget(f"{ident}-graph"))),
        "Derivation": (WITH_NUMBERS if numbers else DERIVATION, steps),
        "Code": (CODE, part("code", lambda: _code(numpy_source(target, *inputs, loss=loss)))),
    }
    parts = {name: (text, body) for name, (text, body) in pieces.items() if body}
    return Report(FRONT, (Section(ident, title or _title(given), text, parts, problems),))


def together(*reports: Report, title: str = FRONT) -> Report:
    """Several models on one page, each in a part of its own.

    Raises
    ------
    ValueError
        If two of them have the same ident.
    """
    sections = tuple(section for one in reports for section in one.sections)
    idents = [section.ident for section in sections]
    if len(set(idents)) < len(idents):
        raise ValueError(
            f"together: each report on a page needs an ident of its own, as in report(..., ident='one'); got {idents}."
        )
    return Report(title, sections)


@dataclass(frozen=True)
class Section:
    """A model's part of a page: each of its parts as HTML, with a sentence before it; and why one is missing."""

    ident: str
    title: str
    text: str
    parts: dict[str, tuple[str, str]]
    problems: dict[str, str]


@dataclass(frozen=True, repr=False)
class Report:
    """A page about one model, or several; `report` makes it.

    Attributes
    ----------
    title : str
    sections : tuple of Section
        One for each model.
    """

    title: str
    sections: tuple[Section, ...]

    @property
    def html(self) -> str:
        """The page."""
        contents = "".join(map(_entry, self.sections))
        return _template("report.html").substitute(
            title=html.escape(self.title),
            style=STYLE + _file("report.css"),
            contents=contents,
            sections="\n".join(map(_section, self.sections)),
            script=SCRIPT,
        )

    @property
    def problems(self) -> dict[str, str]:
        """Why a part is missing, such as ``{"derivation": "..."}``; empty if nothing is."""
        return {name: text for section in self.sections for name, text in section.problems.items()}

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the page to a file that ends in ``.html``. A file of that name is replaced once the page is whole.

        Raises
        ------
        TypeError, ValueError
            If it is no path, or has another ending.
        FileNotFoundError
            If its folder does not exist.
        """
        if not isinstance(path, (str, os.PathLike)) or not isinstance(os.fspath(path), str):
            raise TypeError(f'save takes the path of a file, such as "report.html", got {shown(path)}.')
        file = Path(path)
        if file.suffix.lower() != ".html":
            raise ValueError(f"save: {shown(str(path))} must end in .html: a report is a page.")
        if not file.parent.is_dir():
            raise FileNotFoundError(
                f"save: there is no folder {str(file.parent)!r}. Make it first, or write elsewhere."
            )
        write_whole(file, self.html.encode("utf-8"))
        return file

    def _repr_html_(self) -> str:
        """What a notebook shows: the page in a frame of its own."""
        return f'<iframe srcdoc="{html.escape(self.html)}" style="width: 100%; height: 85vh; border: 0"></iframe>'

    def __repr__(self) -> str:
        names = " and ".join(section.title for section in self.sections)
        there = [x for x in ("picture", "derivation", "code") if x not in self.problems]
        listed = " and ".join(filter(None, [", ".join(there[:-1]), *there[-1:]])) or "nothing but reasons"
        missing = "".join(f"\nNo {name}: {reason}" for name, reason in self.problems.items())
        return f'Report of {names}: {listed}. Write .save("report.html") for a page.{missing}'


# -- pieces -----------------------------------------------------------------------------------------------------------

CUT = "<!-- given -->"  # between the given numbers and the steps


def _file(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _template(name: str) -> Template:
    return Template(_file(name))


def _title(given: Subject) -> str:
    if given.cost is not None:
        return given.cost.name or "J"
    return getattr(given.target, "__name__", type(given.target).__name__)


def _reason(error: Exception) -> str:
    """The words of an error, with its kind where it was not written for the reader."""
    text = str(error).strip()
    meant = isinstance(error, (TypeError, ValueError, ImportError, NotImplementedError, RuntimeError))
    return text if meant and text else f"{type(error).__name__}: {text}".rstrip(": ")


def _derivation(given: Subject, values: bool) -> str:
    """The derivation within a page that has headings above its own; the given numbers before it, if there are any."""
    from tinygrad_dls.derivations.derive import derive  # needs SymPy, which may be missing
    from tinygrad_dls.derivations.document import Derivation

    parts = derive(given.target, *given.inputs, loss=given.loss, values=values).parts
    numbers = [replace(part, title="") for part in parts if part.title == "Given"]
    steps = Derivation(tuple(part for part in parts if part.title != "Given")).fragment
    text = steps.replace("<h2>", "<h4>").replace("</h2>", "</h4>")
    return "".join(Derivation((part,)).fragment.replace("<h2></h2>", "") + CUT for part in numbers) + text


def _code(source: str) -> str:
    """Code for a page, with its comments set apart."""
    text = re.sub(r"(#.*)", r'<span class="comment">\1</span>', html.escape(source.rstrip(), quote=False))
    return f'<pre tabindex="0"><code>{text}</code></pre>'


def _section(section: Section) -> str:
    parts = (
        f'<section class="part" id="{section.ident}-{name.lower()}">\n<h3>{name}</h3>\n'
        + ("" if name.lower() in section.problems else f"<p>{text}</p>\n")
        + f"{body}\n</section>"
        for name, (text, body) in section.parts.items()
    )
    text = f"<p>{html.escape(section.text)}</p>" if section.text else ""
    return _template("section.html").substitute(
        ident=section.ident, title=html.escape(section.title), text=text, parts="\n".join(parts)
    )


def _entry(section: Section) -> str:
    """A model in the contents of the page."""

    def links() -> Iterator[str]:
        for name in section.parts:
            yield f'<li><a href="#{section.ident}-{name.lower()}">{name}</a></li>'

    return f'<li><a href="#{section.ident}">{html.escape(section.title)}</a><ul>{"".join(links())}</ul></li>'
