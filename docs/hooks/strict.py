"""A MkDocs hook: what MkDocs checks in the text of the pages is checked in the built pages too, whoever wrote it.

So a link or a picture in HTML, in a docstring or in a template is held to the same: it leads to a file that is there,
and to an anchor that is there. What is wrong is a warning, which a strict build refuses. No page loads anything from a
network, and no column of a table goes without a heading, which a screen reader would read out.
"""

from __future__ import annotations

import logging
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

said = []  # MkDocs's own warnings, of which none is said twice
log = logging.getLogger("mkdocs.hooks.strict")

LOADED = {("img", "src"), ("script", "src"), ("link", "href"), ("iframe", "src"), ("source", "src"), ("video", "src")}


class Page(HTMLParser):
    """The anchors of a page, and what it links to and loads, as (tag, address)."""

    def __init__(self, text):
        super().__init__()
        self.anchors, self.twice, self.loads, self.links = set(), set(), set(), set()
        self.has_nameless_column = "<th></th>" in text
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name == "id":
                (self.twice if value in self.anchors else self.anchors).add(value)
            elif (tag, name) in LOADED and value:
                self.loads.add(value)
            elif (tag, name) == ("a", "href") and value:
                self.links.add(value)

    handle_startendtag = handle_starttag


class Listener(logging.Handler):
    def emit(self, record):
        said.append(record.getMessage())


LISTENER = Listener(logging.WARNING)


def on_config(config):
    said.clear()
    logging.getLogger("mkdocs").addHandler(LISTENER)
    return config


def on_post_build(config):
    folder = Path(config.site_dir).resolve()
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in sorted(folder.rglob("*.html"))}
    pages.pop(folder / "404.html", None)  # a server shows it under any address, so its links start at the root
    for path, page in pages.items():
        for problem in sorted(problems(path, page, pages)):
            log.warning("%s: %s", path.relative_to(folder).as_posix(), problem)


def problems(path, page, pages):
    """What is wrong with the links of a page, in words."""
    yield from (f"the id {anchor!r} is there twice" for anchor in page.twice)
    if page.has_nameless_column:
        yield "a column of a table has no heading"
    for address in page.loads | page.links:
        if any(f"link {address!r}" in warning for warning in said):
            continue
        to = urlsplit(address)
        if to.scheme or to.netloc:
            if address in page.loads and to.scheme != "data":
                yield f"{address!r} is loaded from a network"
            continue
        target = (path.parent / unquote(to.path)).resolve() if to.path else path
        if not target.is_file():
            yield f"{address!r} leads to no file"
        elif to.fragment and target in pages and unquote(to.fragment) not in pages[target].anchors | {"__top"}:
            yield f"{address!r} leads to no anchor"
