"""A derivation as an object: its lines, and how they look in LaTeX, Markdown, HTML and a terminal."""

from __future__ import annotations

import html
import re
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from string import Template
from typing import Any

import numpy as np

from tinygrad_dls.derivations.lines import CODE, FORMULA, code_in_rows, latex_in_rows, width
from tinygrad_dls.derivations.notation import SHOWN, letter, matrix
from tinygrad_dls.extras import install
from tinygrad_dls.views.style import PALETTE

__all__ = ["Derivation", "Formula", "Line", "Part", "in_digits", "mathml"]


@dataclass(frozen=True)
class Formula:
    """A formula, as LaTeX and as code."""

    latex: str
    code: str


Prose = tuple["str | Formula", ...]


@dataclass(frozen=True)
class Line:
    """One equation, ``left = right = right ...``, why it holds, the shape of what it says, and its number if wanted."""

    left: Formula
    rights: tuple[Formula, ...]
    because: Prose = ()
    shape: tuple[str, ...] | None = None
    value: Any = None


@dataclass(frozen=True)
class Part:
    """A part of a derivation, such as the backward pass."""

    title: str
    introduction: Prose
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Derivation:
    """The equations of a cost and of its gradients, step by step. Shows itself in a notebook; ``print`` it elsewhere.

    Attributes
    ----------
    parts : tuple of Part
        The forward pass; one example, where there are steps for a single one; the backward pass.
    formulas : dict of str to str
        The final formula of each array, by its name, as NumPy code: executed in this order, they give the gradients.
    """

    parts: tuple[Part, ...]
    formulas: dict[str, str] = field(default_factory=dict)

    # -- text ---------------------------------------------------------------------------------------------------------

    @property
    def text(self) -> str:
        """The derivation for a terminal, with its formulas as code."""
        lines: list[str] = []
        for part in self.parts:
            lines += [part.title, "=" * len(part.title)]
            lines += [*_sentences(part.introduction), ""]
            for line in part.lines:
                lines += _text(line)
            lines.append("")
        return "\n".join(lines).rstrip() + "\n"

    def __str__(self) -> str:
        return self.text

    __repr__ = __str__

    # -- LaTeX --------------------------------------------------------------------------------------------------------

    @property
    def markdown(self) -> str:
        """Markdown with formulas between dollar signs, as notebooks and MkDocs show them."""
        blocks = []
        for part in self.parts:
            blocks.append(f"## {part.title}")
            if part.introduction:
                blocks.append(_prose(part.introduction, _dollars, code="`{}`".format))
            for line in part.lines:
                if line.because:
                    blocks.append(_prose(line.because, _dollars, code="`{}`".format))
                blocks.append(f"$$\n{_equation(line)}\n$$")
        return "\n\n".join(blocks) + "\n"

    def _repr_markdown_(self) -> str:
        return self.markdown

    @property
    def latex(self) -> str:
        """A document of its own, for ``pdflatex``."""
        body = []
        for part in self.parts:
            body.append(rf"\section*{{{part.title}}}")
            if part.introduction:
                body += [_prose(part.introduction, _dollars, _tex, _tex_code), ""]  # a paragraph of its own
            for line in part.lines:
                if line.because:
                    body.append(_prose(line.because, _dollars, _tex, _tex_code))
                body.append(f"\\[\n{_equation(line)}\n\\]")
        return "\n".join([_PREAMBLE, *body, r"\end{document}", ""])

    def _repr_latex_(self) -> str:
        rows = [rf"{_equation(line)} \\" for part in self.parts for line in part.lines]
        return "$$\n\\begin{gathered}\n" + "\n".join(rows) + "\n\\end{gathered}\n$$"

    # -- HTML ---------------------------------------------------------------------------------------------------------

    @property
    def html(self) -> str:
        """A page of its own: formulas as MathML, which browsers show without a script or a network.

        Raises
        ------
        ImportError
            Without latex2mathml.
        """
        return _PAGE.substitute(palette=PALETTE, style=_STYLE, body=self.fragment)

    @property
    def fragment(self) -> str:
        """What is between the body tags of `html`, to be put into another page."""
        parts = []
        for part in self.parts:
            parts.append(f"<h2>{html.escape(part.title)}</h2>")
            if part.introduction:
                parts.append(f"<p>{_prose(part.introduction, _mathml, html.escape, _html_code)}</p>")
            for line in part.lines:
                because = f"<p>{_prose(line.because, _mathml, html.escape, _html_code)}</p>" if line.because else ""
                equation = f'<div class="formula">{mathml(_equation(line), "block")}</div>'
                parts.append(f'<div class="step">{because}{equation}</div>')
        return "\n".join(parts)

    def _repr_html_(self) -> str | None:
        """What notebooks prefer to the rest: MathML needs no network, in the HTML that is made of them either."""
        try:
            steps = self.fragment.replace("<h2>", "<h4>").replace("</h2>", "</h4>")
        except ImportError:  # without latex2mathml there is the Markdown
            return None
        return f'<div class="tg-derivation">\n<style>\n{_STYLE}\n</style>\n{steps}\n</div>'


# -- pieces -----------------------------------------------------------------------------------------------------------


def _prose(
    pieces: Prose,
    formula: Callable[[Formula], str],
    plain: Callable[[str], str] = str,
    code: Callable[[str], str] = str,
) -> str:
    """Prose with its formulas; and with what docstrings have between double backquotes, as code."""

    def written(text: str) -> str:
        spans = re.split("``(.*?)``", text)
        return "".join(code(span) if i % 2 else plain(span) for i, span in enumerate(spans))

    return "".join(formula(x) if isinstance(x, Formula) else written(x) for x in pieces)


def _plain(x: Formula) -> str:
    return x.code


def _dollars(x: Formula) -> str:
    return f"${x.latex}$"


def _tex(text: str) -> str:
    special = {"\\": r"\textbackslash{}", "^": r"\^{}", "~": r"\~{}"}
    text = re.sub(r"[\\^~_&%#${}]", lambda x: special.get(x[0], f"\\{x[0]}"), text)
    return re.sub(r"[^\x00-\x7f]", lambda x: rf"\ensuremath{{{letter(x[0])}}}", text)


def _tex_code(text: str) -> str:
    return rf"\texttt{{{_tex(text)}}}"


def _html_code(text: str) -> str:
    return f"<code>{html.escape(text)}</code>"


def _sentences(pieces: Prose, indent: str = "") -> list[str]:
    """Prose in a terminal, in rows that are no longer than those of formulas."""
    return textwrap.wrap(
        _prose(pieces, _plain),
        CODE,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _text(line: Line) -> Iterator[str]:
    yield from _sentences(line.because, "  ")
    shape = f"   ({', '.join(line.shape)}{',' if len(line.shape) == 1 else ''})" if line.shape else ""
    for i, right in enumerate(line.rights):
        left = line.left.code if i == 0 else " " * len(line.left.code)
        first, *others = code_in_rows(right.code, len(left) + len(shape) + 7)
        rows = [f"    {left} = {first}", *(f"    {' ' * len(left)}       {row}" for row in others)]
        yield from rows[:-1]
        yield f"{rows[-1]}{shape if i == len(line.rights) - 1 else ''}"
    if line.value is not None:
        indent = " " * (len(line.left.code) + 7)
        left = " " * len(line.left.code) if line.rights else line.left.code
        yield f"    {left} = " + _number_text(line.value).replace("\n", "\n" + indent)
    yield ""


def _equation(line: Line) -> str:
    """An equation in LaTeX; in several rows, if it is too wide for one."""
    rows = _rows(line)
    if len(rows) == 1:
        return rows[0]
    aligned = [rows[0].replace(" = ", " &= ", 1)]
    aligned += [f"&{row}" if row.startswith("=") else rf"&\quad {row}" for row in rows[1:]]
    return "\\begin{aligned}\n" + " \\\\\n".join(aligned) + "\n\\end{aligned}"


def _rows(line: Line) -> list[str]:
    """The rows of an equation: one, if there is room; else each equal form has its own, or several."""
    rights = [x.latex for x in line.rights]
    if line.value is not None:
        rights.append(f"{{{matrix(line.value)}}}")  # in braces, brackets keep their height, a minus its place
    shape = ""
    if line.shape:
        lengths = [re.sub(r"_(\w+)", r"_{\1}", n) for n in line.shape]  # of m_X
        shape = rf" \qquad ({', '.join(lengths)}{',' if len(lengths) == 1 else ''})"
    whole = " = ".join([line.left.latex, *rights])
    if width(whole + shape) <= FORMULA:
        return [whole + shape]
    left = width(line.left.latex) + 2
    rows = [row for x in rights for row in _begun(latex_in_rows(x, left))]
    return [f"{line.left.latex} {rows[0]}", *rows[1:-1], rows[-1] + shape] if len(rows) > 1 else [whole + shape]


def _begun(rows: list[str]) -> list[str]:
    return [f"= {rows[0]}", *rows[1:]]


def _number_text(x: Any) -> str:
    if np.ndim(x) == 0:
        return in_digits(x)
    with np.printoptions(threshold=SHOWN**2, edgeitems=2, linewidth=100, infstr="∞", nanstr="NaN"):
        return np.array2string(np.asarray(x), precision=4, suppress_small=False)


def in_digits(x: Any) -> str:
    """A number in a line of text."""
    return f"{np.asarray(x).item():.4g}".replace("inf", "∞").replace("nan", "NaN")


def _mathml(x: Formula) -> str:
    return mathml(x.latex, "inline")


# What browsers make of the MathML of latex2mathml, put right: pairs of what stands there, and what is written instead.
_MENDED = (
    # Chromium knows no `columnalign`: rows stand under one another at their "=".
    (r'<mtd columnalign="right"', '<mtd style="text-align: right; padding-left: 0; padding-right: 0"'),
    (r'<mtd columnalign="left"><mi />', '<mtd style="text-align: left; padding-left: 0"><mi />'),
    (r'<mtd columnalign="left"', '<mtd style="text-align: left"'),
    # A minus behind another operator is a sign, and no difference.
    (r"(?<=&#x(?:0003D|00028|0002C|02254|02190|022C5);</mo>)<mo>&#x02212;", '<mo form="prefix">&#x02212;'),
    (r"<mo>(max|min|diag)</mo>(?=<mo[^>]*>&#x00028;)", r"<mi>\1</mi>"),  # "max(z, 0)", not "max (z, 0)"
    (r"<mo>&#x02299;", '<mo lspace="0.22em" rspace="0.22em">&#x02299;'),  # as wide as a plus has it
    # "y log(a)", not "ylog(a)"
    (r"((?:</mi>|</msub>|</msup>|&#x00029;</mo>))(?=<mi>(?:log|exp|tanh|max|min)</mi>)", r'\1<mspace width="0.17em"/>'),
)


def mathml(latex: str, display: str) -> str:
    """A formula in MathML; `display` is "inline" or "block".

    Raises
    ------
    ImportError
        Without latex2mathml.
    """
    try:
        from latex2mathml.converter import convert
    except ImportError as error:
        raise ImportError(f"formulas in HTML need latex2mathml: {install('derive')}") from error
    latex = latex.replace("{aligned}", "{split}")  # the same rows, and the environment for them that is known there
    converted = convert(latex, display=display)
    for pattern, instead in _MENDED:
        converted = re.sub(pattern, instead, converted)
    return converted


_PREAMBLE = r"""\documentclass{article}
\usepackage[utf8]{inputenc}
\usepackage{amsmath}
\usepackage[margin=2.5cm]{geometry}
\allowdisplaybreaks
\setlength{\parindent}{0pt}
\begin{document}"""

_STYLE = """.tg-derivation .step { margin: 1rem 0; padding: 0.1rem 1rem; border-left: 3px solid #4477aa; }
.tg-derivation .step p { margin: 0.4rem 0; }
.tg-derivation .formula { overflow: auto hidden; padding: 0.2rem 0; font-size: 1.15rem; }
.tg-derivation .formula math { width: max-content; }"""

_PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Derivation</title>
<style>
$palette:root { color-scheme: light dark; }
body { font: 1rem/1.5 var(--tg-sans); color: var(--tg-ink); background: var(--tg-paper); }
body { max-width: 50rem; margin: 2rem auto; padding: 0 1rem; }
$style
</style>
</head>
<body class="walk tg-derivation">
$body
</body>
</html>
""")
