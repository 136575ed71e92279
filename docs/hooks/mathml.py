"""A MkDocs hook: formulas become MathML when the site is built, so that pages need no script and no network.

The arithmatex extension finds ``$...$`` and ``$$...$$`` and leaves the LaTeX in elements of its class; here each is
replaced by what latex2mathml makes of it. LaTeX that it does not know is a warning, which a strict build refuses; and
so is a dollar sign that is left in the text, as of ``$a $``, which the extension takes for no formula.
"""

from __future__ import annotations

import html as entities
import logging
import re
from xml.etree import ElementTree as ET

from tinygrad_dls.derivations.document import mathml

log = logging.getLogger("mkdocs.hooks.mathml")

FORMULA = re.compile(r'<(span|div) class="arithmatex">\s*\\[(\[](.*?)\\[)\]]\s*</\1>', re.DOTALL)
NO_TEXT = re.compile(r"<(pre|code|math)\b.*?</\1>|<[^>]*>", re.DOTALL)
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

    html = FORMULA.sub(formula, html)
    for left_over in re.findall(r".{0,20}\$.{0,20}", NO_TEXT.sub("", html)):
        log.warning("%s: a dollar sign is part of no formula: %r", page.file.src_uri, entities.unescape(left_over))
    return html


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
