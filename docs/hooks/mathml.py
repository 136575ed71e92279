"""A MkDocs hook: formulas become MathML when the site is built, so that pages need no script and no network.

The arithmatex extension finds ``$...$`` and ``$$...$$`` and leaves the LaTeX in elements of its class; here each is
replaced by what latex2mathml makes of it. LaTeX that it does not know is a warning, which a strict build refuses.
"""

from __future__ import annotations

import html as entities
import logging
import re

from tinygrad_dls.views.derivation import mathml

log = logging.getLogger("mkdocs.hooks.mathml")

FORMULA = re.compile(r'<(span|div) class="arithmatex">\s*\\[(\[](.*?)\\[)\]]\s*</\1>', re.DOTALL)
LEFT_OVER = re.compile(r"\\[A-Za-z]+|<mi>&")


def on_page_content(html, page, **_):
    def formula(match):
        element, latex = match.group(1), entities.unescape(match.group(2)).strip()
        converted = mathml(latex, display="block" if element == "div" else "inline")
        if unknown := LEFT_OVER.search(converted):
            log.warning("%s: latex2mathml does not know %r in %r", page.file.src_uri, unknown.group(), latex)
        return f'<div class="formula">{converted}</div>' if element == "div" else converted

    return FORMULA.sub(formula, html)
