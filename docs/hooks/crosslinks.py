"""A MkDocs hook: where a page names something public in code, such as ``tg.fit``, its first mention leads to the API.

"First" is under each heading of the second level. Headings, links and listings stay as they are. It also writes the
summary of a page of the API: at ``<!-- summary -->`` stands a table of all that is documented on it, a sentence each.
And it writes the types of parameters as the docstrings have them, ``array, shape (1, m)``, which griffe takes for
Python, and empty lines for the ``<BLANKLINE>`` of doctest. The source beside an entry is left out of the search.
"""

from __future__ import annotations

import html as entities
import inspect
import pkgutil
import re

from mkdocs.exceptions import PluginError

LEFT_ALONE = r"<(?P<tag>a|autoref|pre|h[1-6])\b.*?</(?P=tag)>"
NAMED = r"<code>(?P<path>(?:tg|tinygrad_dls)(?:\.\w+)+)(?P<rest>\([^<]*)?</code>"
TOKEN = re.compile(f"{LEFT_ALONE}|{NAMED}", re.DOTALL)
ENTRY = re.compile(r'<h(?P<level>[23]) id="(?P<path>tinygrad_dls\.[\w.]+)" class="doc doc-heading"')
TYPE = re.compile(r"\(<code>\((.*?)\)</code>")
SOURCE = '<details class="mkdocstrings-source"'
SUMMARY = "<!-- summary -->"


def on_page_content(html, **_):
    if SUMMARY in html:
        html = html.replace(SUMMARY, summary(entries(html)))
    html = TYPE.sub(as_written, html).replace("&lt;BLANKLINE&gt;", "")
    html = html.replace(SOURCE, f"{SOURCE} data-search-exclude")
    seen = set()

    def link(match):
        if match["tag"]:
            if match["tag"] == "h2":
                seen.clear()
            return match[0]
        identifier = canonical(match["path"])
        if identifier is None or identifier in seen:
            return match[0]
        seen.add(identifier)
        return f'<autoref identifier="{identifier}" optional>{match[0]}</autoref>'

    return TOKEN.sub(link, html)


def found(path):
    """What ``tg.optim.SGD`` names, or None."""
    try:
        return pkgutil.resolve_name(re.sub(r"^tg\b", "tinygrad_dls", path))
    except (AttributeError, ImportError):
        return None


def canonical(path):
    """Under which name the API has it; None for a module, or for what is not there."""
    thing = found(path)
    thing = getattr(thing, "fget", thing)  # a property is documented as its function
    if inspect.ismodule(thing) or not hasattr(thing, "__qualname__"):
        return None
    return f"{thing.__module__}.{thing.__qualname__}"


def as_written(match):
    text = match[1].replace(" - only", "-only").replace("shape(", "shape (")
    return f"(<code>{text}</code>"


def entries(html):
    """What is documented on a page; what is further in, such as methods, is not."""
    found = [(int(entry["level"]), entry["path"]) for entry in ENTRY.finditer(html)]
    top = min((level for level, _ in found), default=0)
    return [path for level, path in found if level == top]


def summary(paths):
    """A table of what these paths name; every one has a docstring, whose first sentence says what it is."""
    rows = []
    for path in paths:
        thing = found(path)
        if thing is None:
            raise PluginError(f"{path} is in the API, and cannot be imported: pip install -e '.[docs]'")
        text = inspect.getdoc(thing)
        if not text:
            raise PluginError(f"{path} is in the API, and has no docstring")
        sentence = first_sentence(text)
        name = path.rpartition(".")[2]
        rows.append(f'<tr><td><a href="#{path}"><code>{name}</code></a></td><td>{sentence}</td></tr>')
    head = "<thead><tr><th>name</th><th>what it is</th></tr></thead>"
    return f"<table>{head}<tbody>{''.join(rows)}</tbody></table>"


def first_sentence(text):
    paragraph = " ".join(text.split("\n\n")[0].split())
    sentence = re.match(r".*?[.:](?= [A-Z`]|$)|.*", paragraph)[0].rstrip(":.") + "."
    return re.sub(r"``(.+?)``|`(.+?)`", code, entities.escape(sentence, quote=False))


def code(match):
    return f"<code>{(match[1] or match[2]).removeprefix('tinygrad_dls.')}</code>"
