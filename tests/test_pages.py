"""What the pages of the documentation show is what is made now, and every place in them is one that is tested."""

import re

import pytest

from tests.pages import DOCS, SHOWN, split


@pytest.mark.parametrize(("page", "name"), SHOWN)
def test_what_a_page_shows_is_what_is_made_now(page, name):
    _, inside, _ = split(page, name)
    assert inside == SHOWN[page, name](), "python -m tests.pages writes it anew"


def test_every_place_in_the_pages_is_held_up_to_date():
    places = {(p.name, name) for p in DOCS.glob("*.md") for name in re.findall(r"<!-- shown: (.*?) -->", p.read_text())}
    assert places == set(SHOWN)
