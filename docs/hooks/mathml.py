"""A MkDocs hook: formulas become MathML when the site is built, so that pages need no script and no network.

The arithmatex extension finds ``$...$`` and ``$$...$$`` and leaves the LaTeX in elements of its class; here each is
replaced by what latex2mathml makes of it. LaTeX that it does not know is a warning, which a strict build refuses.
"""

from __future__ import annotations

import html as entities
import logging
import re
from xml.etree import ElementTree as ET

from tinygrad_dls.derivations.document import mathml

log = logging.getLogger("mkdocs.hooks.mathml")

FORMULA = re.compile(r'<(span|div) class="arithmatex">\s*\\[(\[](.*?)\\[)\]]\s*</\1>', re.DOTALL)
CHILDREN = {"mfrac": 2, "mroot": 2, "msub": 2, "msup": 2, "munder": 2, "mover": 2, "msubsup": 3, "munderover": 3}


def on_page_content(html, page, **_):
    def formula(match):
        element, latex = match.group(1), entities.unescape(match.group(2)).strip()
        try:
            converted = mathml(latex, display="block" if element == "div" else "inline")
            problem = fault(latex, converted)
        except Exception as error:  # latex2mathml's errors have no class in common
            converted, problem = "", type(error).__name__
        if problem:
            log.warning("%s: latex2mathml does not read %r: %s", page.file.src_uri, latex, problem)
        return f'<div class="formula">{converted}</div>' if element == "div" else converted

    return FORMULA.sub(formula, html)


def fault(latex, converted):
    """What is wrong with a formula, if anything: latex2mathml leaves unknown commands as text, and drops braces."""
    braces = re.sub(r"\\.", "", latex)
    if braces.count("{") != braces.count("}"):
        return "a brace has no partner"
    try:
        elements = list(ET.fromstring(converted).iter())
    except ET.ParseError:
        return "an & or < stands by itself"
    for element in elements:
        if left_over := re.search(r"\\[A-Za-z]+", element.text or ""):
            return f"{left_over.group()} is unknown"
        if len(element) != CHILDREN.get(element.tag.rpartition("}")[2], len(element)):
            return "an argument is missing"
    return None
