"""None"""

import re
from importlib.resources import files
from types import MappingProxyType

import pytest

from tests.drawing.picture import FACTS, SVG
from tinygrad_dls.drawing import page as pages
from tinygrad_dls.drawing.page import SCRIPT, STYLE, page, widget

NOTHING = {"nodes": {}, "parameters": {}, "modules": {}, "edges": {}}


def test_a_page_is_one_html_file_with_everything_in_it():
    text = page(SVG, FACTS, title="net")
    assert text.startswith("<!doctype html>\n")
    assert text.rstrip().endswith("</html>")
    assert STYLE in text
    assert SCRIPT in text


def test_a_page_asks_the_network_for_nothing():
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", page(SVG, FACTS, title="net"))
    assert not re.search(r"https?:|//[a-z]|@import|\bimport\b|\bfetch\b|XMLHttpRequest", text)
    assert set(re.findall(r'(?:src|href)="([^"]*)"', text)) == {"data:,"}


def test_the_prologue_of_the_svg_stays_out():
    text = page(SVG, FACTS, title="net")
    assert "<?xml" not in text
    assert "DOCTYPE svg" not in text
    assert text.count("<svg") == text.count("</svg>") == 1


def test_no_text_is_read_as_html():
    evil = "</script></title><script>alert(1)</script><!--"
    card = {"name": evil, "value": evil}
    facts = {
        "nodes": {"node-X": card},
        "parameters": {evil: [evil]},
        "modules": {evil: {"label": evil, "holds": []}},
        "edges": {evil: [evil, evil, False]},
    }
    text = page(SVG, facts, title=evil)
    assert evil not in text
    assert "<script>alert" not in text
    assert text.count("<script") == text.count("</script>") == 2
    assert "&lt;/script&gt;&lt;/title&gt;" in text


def test_a_dollar_is_a_dollar():
    assert "$svg $$ ${title}" in page(SVG, NOTHING, title="$svg $$ ${title}")


def test_all_ids_of_a_widget_begin_with_its_own():
    ids = re.findall(r'\sid="([^"]*)"', widget(SVG, FACTS, "one"))
    assert {"one", "one-card", "one-graph0", "one-node-Z1", "one-edge-3", "one-module-net"} <= set(ids)
    assert all(re.match("one(-|$)", each) for each in ids)
    assert len(ids) == len(set(ids))


def test_two_widgets_share_no_id():
    one, two = (set(re.findall(r'\sid="([^"]*)"', widget(SVG, FACTS, ident))) for ident in ("one", "two"))
    assert not one & two


def test_references_follow_the_ids():
    svg = '<svg><linearGradient id="a"/><path fill="url(#a)"/><use href="#a"/><use xlink:href="#a"/></svg>'
    text = widget(svg, NOTHING, "one")
    assert re.findall(r"#[a-z-]+", text) == ["#one-a", "#one-a", "#one-a"]


def test_only_attributes_are_changed():
    text = widget('<svg><text class="t" id="a"> id=&quot;b&quot; id="c"</text></svg>', NOTHING, "one")
    assert '<text class="t" id="one-a"> id=&quot;b&quot; id="c"</text>' in text


def test_facts_may_be_any_mapping():
    facts = MappingProxyType({"nodes": MappingProxyType({}), "parameters": {}, "modules": {}, "edges": {}})
    assert widget(SVG, facts, "one") == widget(SVG, NOTHING, "one")


@pytest.mark.parametrize("ident", ["", "1", "a b", 'a"', "é", "a\n"])
def test_an_ident_is_a_plain_word(ident):
    with pytest.raises(ValueError, match="ident must be a letter and then letters, digits, - and _"):
        widget(SVG, FACTS, ident)


def test_no_picture_is_an_error():
    with pytest.raises(ValueError, match=r"no <svg> in what should be a picture: it begins with 'digraph \{"):
        page("digraph { a -> b }", FACTS, title="net")


def test_facts_that_lack_a_part_are_an_error():
    with pytest.raises(ValueError, match="facts lack edges, modules, parameters"):
        page(SVG, {"nodes": {}}, title="net")


@pytest.mark.parametrize("name", ["page.html", "page.css", "page.js", "layout.js", "widget.html"])
def test_the_files_are_part_of_the_package(name):
    assert files(pages.__package__).joinpath(name).is_file()


def test_every_class_of_the_style_is_in_the_page_or_the_script():
    used = page(SVG, FACTS, title="net").replace(STYLE, "")
    for name in set(re.findall(r"\.(tg-[a-z]+)", STYLE)):
        assert name in used, name
