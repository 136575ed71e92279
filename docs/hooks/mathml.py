"""A MkDocs hook: formulas become MathML when the site is built, so that pages need no script and no network.

The arithmatex extension finds ``$...$`` and ``$$...$$`` and leaves the LaTeX in elements of its class; here each is
replaced by what latex2mathml makes of it. LaTeX that it does not know is a warning, which a strict build refuses.
"""

from __future__ import annotations

import html as entities
import logging
import re

from latex2mathml.converter import convert

log = logging.getLogger("mkdocs.hooks.mathml")

FORMULA = re.compile(r'<(span|div) class="arithmatex">\s*\\[(\[](.*?)\\[)\]]\s*</\1>', re.DOTALL)
NAME = r"<mi>(?:log|exp|tanh|max|min)</mi>"
BEFORE_A_NAME = re.compile("|".join(rf"(?<={end})(?={NAME})" for end in ("</mi>", "</msub>", "</msup>", r"\)</mo>")))
LEFT_OVER = re.compile(r"\\[A-Za-z]+|<mi>&")


def on_page_content(html, page, **_):
    def formula(match):
        element, latex = match.group(1), entities.unescape(match.group(2)).strip()
        mathml = convert(latex, display="block" if element == "div" else "inline")
        mathml = BEFORE_A_NAME.sub('<mspace width="0.17em"/>', mathml)  # "y log(a)", not "ylog(a)"
        if unknown := LEFT_OVER.search(mathml):
            log.warning("%s: latex2mathml does not know %r in %r", page.file.src_uri, unknown.group(), latex)
        return f'<div class="formula">{mathml}</div>' if element == "div" else mathml

    return FORMULA.sub(formula, html)
