"""The site in a real browser, opened from disk."""

import pytest

from tests.support.site import PHONE, built, look, pages

SEARCH = """(async () => {
  const wait = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
  const input = document.querySelector(".md-search__input");
  input.focus();
  input.value = "dropout";
  input.dispatchEvent(new Event("input", { bubbles: true }));
  input.dispatchEvent(new KeyboardEvent("keyup", { bubbles: true }));
  for (let i = 0; i < 100 && !document.querySelector(".md-search-result__item"); i++) await wait(100);
  return [...document.querySelectorAll(".md-search-result__link")].map((link) => link.getAttribute("href"));
})()"""
WIDTH = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
SHADE = """[document.body, document.querySelector(".md-content img")].map((element) => getComputedStyle(element))
  .map(({ backgroundColor, filter }) => [backgroundColor, filter])"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    return built(tmp_path_factory.mktemp("site"))


def test_no_page_is_wider_than_a_phone_says_anything_on_the_console_or_asks_a_network(site):
    seen, console = look(site, pages(site), WIDTH, size=PHONE)
    assert console == []
    assert len(seen) > 40
    for page, entry in seen.items():
        wide, screen = entry["value"]
        assert wide <= screen <= PHONE[0], page
        assert [address for address in entry["asked"] if not address.startswith("file:")] == [], page


def test_a_page_that_is_wider_or_writes_to_the_console_or_asks_a_network_is_noticed(tmp_path):
    (tmp_path / "bad.html").write_text(
        "<!doctype html><body><div style='width: 500px'>wide</div><script>console.error('an error of ours')</script>"
        "<img src='http://example.invalid/a.png' alt=''>"
    )
    seen, console = look(tmp_path, ["bad.html"], WIDTH, size=PHONE)
    wide, screen = seen["bad.html"]["value"]
    assert wide > screen
    assert any("an error of ours" in line for line in console)
    assert "http://example.invalid/a.png" in seen["bad.html"]["asked"]


@pytest.mark.parametrize("hosted", [False, True])
def test_search_finds_pages_from_disk_and_hosted(site, hosted):
    seen, console = look(site, ["index.html", "api/ops.html"], SEARCH, hosted=hosted)
    assert console == []
    for page, entry in seen.items():
        found = entry["value"]
        assert any("regularisation.html" in link for link in found), (page, found)
        assert any("losses.html" in link for link in found), (page, found)


def test_pictures_follow_the_dark_page(site):
    light, dark = (
        look(site, ["index.html"], SHADE, scheme=scheme)[0]["index.html"]["value"] for scheme in ("default", "slate")
    )
    (light_page, _), (_, light_picture) = light
    (dark_page, _), (_, dark_picture) = dark
    assert light_page != dark_page
    assert light_picture == "none"
    assert dark_picture == "invert(0.9) hue-rotate(180deg)"
