"""What a browser shows of a notebook that was made a page, without a network."""

import re

import pytest

from tests.notebooks import as_page, executed
from tests.support.browser import look


@pytest.fixture(scope="module")
def notebook(tmp_path_factory):
    return executed("see_the_graph", tmp_path_factory.mktemp("see_the_graph"))


SEEN = """
  const pictures = [...document.querySelectorAll('.jp-RenderedSVG img')];
  await Promise.all(pictures.map((picture) => picture.decode()));
  const formulas = [...document.querySelectorAll('.tg-derivation .formula math')];
  return {
    pictures: pictures.map((picture) => [picture.naturalWidth, picture.parentElement.clientWidth]),
    scrolls: pictures.every((picture) => getComputedStyle(picture.parentElement).overflowX === "auto"),
    formulas: formulas.map((formula) => formula.getBoundingClientRect().height),
  };
"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_browser_shows_pictures_and_formulas_of_the_page(notebook, theme):
    page = re.sub(r"<script[^>]*\bsrc=.*?</script>", "", as_page(notebook, theme))  # nbconvert's own, of a network
    seen = look({"page": (page, SEEN)})["page"]["value"]
    assert len(seen["pictures"]) == 5
    assert sum(300 < width <= room for width, room in seen["pictures"]) == 4
    assert seen["scrolls"]  # that from left to right is wider than the page
    assert len(seen["formulas"]) > 10
    assert min(seen["formulas"]) > 10  # pixels: a line of text
