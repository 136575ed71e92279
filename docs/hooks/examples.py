"""A MkDocs hook: a page for each example that the gallery shows, with its picture and its whole text.

Nothing of them is written twice: the title and the words are those of the file in ``examples/``.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[2]
PICTURES = "assets/gallery"


def on_files(files, config):
    gallery = files.get_file_from_path("gallery.md")
    for name in re.findall(r"\(examples/(\w+)\.md\)", gallery.content_string) if gallery else ():
        picture = files.get_file_from_path(f"{PICTURES}/{name}.png")
        text = page(name, (ROOT / "examples" / f"{name}.py").read_text(encoding="utf-8"), picture)
        if files.get_file_from_path(f"examples/{name}.md") is None:
            files.append(File.generated(config, f"examples/{name}.md", content=text))
    return files


def page(name, source, picture):
    """A page in Markdown."""
    title, _, words = ast.get_docstring(ast.parse(source)).partition("\n")
    words = re.sub(r"\n*^Run: .*\Z", "", words, flags=re.MULTILINE | re.DOTALL).strip()
    behind_guides = "---\nsearch:\n  boost: 0.5\n---"
    parts = [behind_guides, f"# {title.rstrip('.')}", words.replace("``", "`")]
    if picture:
        parts.append(f"![What the example draws](../{picture.src_uri})")
    parts += [
        f"```bash\npython -m examples.{name} demo_output\n```",
        f"## `examples/{name}.py` {{ data-search-exclude }}",
        f"```python\n{source}```",
        "[All examples](../gallery.md)",
    ]
    return "\n\n".join(filter(None, parts)) + "\n"
