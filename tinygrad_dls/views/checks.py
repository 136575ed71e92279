"""The views of a gradient check and of a diagnosis: a table with verdicts, and findings with their causes."""

from __future__ import annotations

import re

from tinygrad_dls.check.diagnosis import Diagnosis, Finding
from tinygrad_dls.check.numerical import GradCheck
from tinygrad_dls.views import markup
from tinygrad_dls.views.markup import Markup, element

__all__ = ["view"]

RIGHT = {4, 6, 7}  # columns of numbers in the table of a gradient check
WRONG = "WRONG"  # what the text of a wrong array begins with


def view(x: GradCheck | Diagnosis) -> str:
    """A gradient check as a table; a diagnosis as its findings, in the order of the computation."""
    return _table(x) if isinstance(x, GradCheck) else _findings(x)


def _table(check: GradCheck) -> str:
    head, *rows = check.cells()
    said = "Every gradient is the slope." if check.complete and not any(row.wrong for row in check.rows) else ""
    if wrong := [row.argument for row in check.rows if row.wrong]:
        said = f"Wrong: {', '.join(wrong)}."
    elif not said:
        said = "What could be compared is right; the rest could not be told."
    body = markup.table(head, rows, right=RIGHT, marked=WRONG), markup.lines([said])
    return markup.view(f"Gradient check of {check.function}", *body)


def _findings(diagnosis: Diagnosis) -> str:
    body = [_finding(finding) for finding in diagnosis.findings]
    body += [element("div", element("b", name), why, class_="tg-finding") for name, why in diagnosis.odd.items()]
    said = [diagnosis.conclusion, *diagnosis.hint.splitlines()]
    if diagnosis.missing:
        said.insert(0, f"Not given: {', '.join(diagnosis.missing)}")
    return markup.view(diagnosis.title, *body, markup.lines(said))


def _finding(finding: Finding) -> Markup:
    verdict, *more = _unwrapped(finding.text).splitlines()
    name = element("b", finding.name)
    class_ = "tg-finding tg-marked" if finding.verdict == "wrong" else "tg-finding"
    return element("div", name, element("span", verdict, class_="tg-verdict"), markup.lines(more), class_=class_)


def _unwrapped(text: str) -> str:
    """A finding's text with an explanation in one line, which a page breaks as it needs; not those of numbers."""
    first, _, more = text.partition("\n")
    return f"{first}\n" + re.sub(r"\n(?!\||farthest apart)", " ", more)
