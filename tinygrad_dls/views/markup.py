"""What views are made of: elements of HTML, in which all text is escaped, and tables, facts and code made of these."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from tinygrad_dls.views.style import VIEW

__all__ = ["Markup", "code", "element", "facts", "lines", "table", "view"]


class Markup(str):
    """A text that is HTML already; any other text is escaped where it is put into an element."""

    __slots__ = ()


def element(name: str, *content: str, **attributes: str) -> Markup:
    """An element with what it holds. ``class_`` is its class; attributes that are empty are left out."""
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_escaped(value)}"' for key, value in attributes.items() if value
    )
    return Markup(f"<{name}{given}>{''.join(map(_markup, content))}</{name}>")


def _markup(text: str) -> str:
    return text if isinstance(text, Markup) else _escaped(text)


def _escaped(text: str) -> str:
    """Text for HTML; what no page may hold, such as half of a pair of surrogates, is replaced."""
    kept = "".join(x if x >= " " or x in "\n\t" else "\ufffd" for x in str(text))
    return html.escape(kept.encode("utf-8", "replace").decode("utf-8"))


def view(title: str, *body: str) -> str:
    """A whole view: its style, its title and what is below it."""
    style = Markup(f"<style>{VIEW}</style>")
    return element("div", style, element("div", title, class_="tg-title"), *body, class_="tg-box")


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, right: Iterable[int] = (), marked: str = "") -> Markup:
    """A table; columns of numbers are aligned to the right.

    Parameters
    ----------
    head : sequence of str
        The titles of the columns.
    rows : iterable of sequences of str
        A row that has a single cell takes the width of all.
    right : iterable of int
        The columns of numbers.
    marked : str
        What the last cell of a row begins with that stands out.
    """
    numbers = set(right)

    def cells(tag: str, row: Sequence[str]) -> Iterable[Markup]:
        if len(row) == 1 < len(head):
            yield element(tag, *row, colspan=str(len(head)), class_="tg-gap")
            return
        for i, text in enumerate(row):
            yield element(tag, text, class_="tg-number" if i in numbers else "")

    titles = element("thead", element("tr", *cells("th", head)))
    body = element("tbody", *(
        element("tr", *cells("td", row), class_="tg-marked" if marked and row[-1].startswith(marked) else "")
        for row in rows
    ))  # fmt: skip
    return element("div", element("table", titles, body, class_="tg-table"), class_="tg-wide")


def facts(pairs: Iterable[tuple[str, str]]) -> Markup:
    """What there is to say, each with what it is about; empty ones are left out."""
    found = (element("div", element("dt", name), element("dd", text)) for name, text in pairs if text)
    return element("dl", *found, class_="tg-facts-list")


def lines(texts: Iterable[str], class_: str = "tg-note") -> Markup:
    """Sentences, a line for each."""
    return Markup("".join(element("div", text, class_=class_) for text in texts))


def code(text: str, *, summary: str = "") -> Markup:
    """Code, or numbers in columns; folded, if it has a summary."""
    block = element("pre", text, class_="tg-code")
    return element("details", element("summary", summary), block, class_="tg-fold") if summary else block
