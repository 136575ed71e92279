"""The page of the playground, built and opened in a browser: from disk, and hosted."""

import contextlib
import json
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import expect, sync_playwright

from playground.engine import bridge
from tests.support.browser import BROWSER, OPTIONS, served

BUILT = Path(__file__).parents[2] / "build" / "playground"
PAGE = (BUILT / "index.html").as_uri()
HOSTED = BUILT / "hosted"
CSV = "length,width,kind\n" + "".join(
    f"{i % 7 + i % 3},{i % 5 - i % 3},{('oak', 'elm', 'ash')[i % 3]}\n" for i in range(60)
)
ASK = "([name, options]) => playground.call(name, options)"
SECONDS = 60  # that a slow machine gets


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        options = [option for option in OPTIONS if option != "--headless"]
        browser = playwright.chromium.launch(executable_path=BROWSER, args=options)
        yield browser
        browser.close()


class Opened:
    """A page that has loaded, what it asked for, and what it complained of."""

    def __init__(self, browser, address, **options):
        self.page = browser.new_page(**options)
        self.page.set_default_timeout(1000 * SECONDS)
        self.requests, self.complaints = [], []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on(
            "console", lambda said: self.complaints.append(said.text) if said.type in ("error", "warning") else None
        )
        self.page.goto(address)
        self.page.wait_for_selector("html[data-ready]")

    def ask(self, function, **options):
        return self.page.evaluate(ASK, [function, options])

    def choose(self, **settings):
        """Other settings, by an address."""
        words = {name: x if isinstance(x, str) else json.dumps(x) for name, x in settings.items()}
        address = self.page.url.split("#")[0]
        query = "&".join(f"{name}={x}" for name, x in words.items())
        self.page.goto(f"{address}#{query}")
        self.page.wait_for_function(
            "async (wanted) => { const s = (await playground.call('about')).settings;"
            " return Object.keys(wanted).every((name) => JSON.stringify(s[name]) === JSON.stringify(wanted[name])) }",
            arg=settings,
        )

    def train(self, until):
        """Press play, and wait for the epoch."""
        self.page.fill("#until", str(until))
        self.page.click("#play")
        expect(self.page.locator("#epoch")).to_have_text(f"{until:,}", timeout=1000 * SECONDS)
        expect(self.page.locator("#play")).to_have_text("Play")


@pytest.fixture(scope="module")
def opened(browser):
    return Opened(browser, PAGE)


def native(name, **options):
    return json.loads(bridge.call(name, json.dumps(options)))


# -- it loads, and nothing leaves it -----------------------------------------------------------------------------------


def test_from_disk_it_asks_no_network(opened):
    assert [url for url in opened.requests if not url.startswith(("file:", "blob:", "data:"))] == []
    assert opened.complaints == []


def test_hosted_it_asks_for_the_files_beside_it_alone(browser):
    with served(HOSTED) as address:
        hosted = Opened(browser, f"{address}/index.html")
        hosted.train(20)
        assert hosted.complaints == []
        assert not any("sympy" in url for url in hosted.requests)
        hosted.page.click("#tab-derivation")
        hosted.page.wait_for_selector("#derivation math")
        assert any("sympy" in url for url in hosted.requests)
        assert [url for url in hosted.requests if not url.startswith((f"{address}/", "blob:", "data:"))] == []
        hosted.page.close()


def test_hosted_a_file_that_is_another_one_is_not_run(browser):
    with served(HOSTED, {"engine.zip": __file__}) as address:
        page = browser.new_page()
        page.goto(f"{address}/index.html")
        expect(page.locator("#problem")).to_contain_text("The page could not start: ")
        page.close()


def test_the_page_may_send_nothing(opened):
    sent = "fetch('https://example.invalid/').then(() => 'sent', (error) => error.name)"
    assert opened.page.evaluate(sent) == "TypeError"
    assert "example.invalid" in opened.complaints.pop()
    while opened.complaints:
        assert "example.invalid" in opened.complaints.pop()


# -- it trains ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        {"data": "flower"},
        {"data": "moons", "hidden": [8, 4], "activation": "relu", "init": "he", "batch_size": 50, "l2": 0.1},
        {"data": "cancer", "optimizer": "adam", "lr": 0.01, "init": "xavier"},
        {
            "data": "xor",
            "dropout": 0.2,
            "optimizer": "momentum",
            "lr": 0.3,
            "init": "xavier",
            "features": ["x1", "x2", "x1 x2"],
        },
    ],
    ids=lambda settings: settings["data"],
)
def test_the_costs_are_the_native_ones_to_1e_12(opened, settings):
    opened.choose(**settings)
    opened.train(100)
    state = opened.ask("state", since=0)
    text = opened.ask("stored", name="cancer.csv")["text"] if settings["data"] == "cancer" else None
    native("start", settings=settings, text=text)
    there = native("advance", milliseconds=1e9, most=100)
    np.testing.assert_allclose(state["costs"], there["costs"], rtol=1e-12)
    np.testing.assert_allclose(state["held"], there["held"], rtol=1e-12)
    assert opened.ask("figures") == pytest.approx(native("figures"), rel=1e-12)


def test_paused_it_stands_still_and_goes_on(opened):
    page = opened.page
    opened.choose(data="flower", hidden=[4])
    page.fill("#until", "1000000")
    page.click("#play")
    page.wait_for_function("() => Number(document.getElementById('epoch').textContent.replace(',', '')) > 50")
    page.click("#play")
    expect(page.locator("#status")).to_contain_text("Paused at epoch")
    epoch = opened.ask("state")["epoch"]
    page.wait_for_timeout(300)
    assert opened.ask("state")["epoch"] == epoch > 50
    assert page.inner_text("#epoch") == f"{epoch:,}"
    page.click("#play")
    page.wait_for_function(
        "(epoch) => Number(document.getElementById('epoch').textContent.replace(',', '')) > epoch", arg=epoch
    )
    page.click("#play")
    expect(page.locator("#play")).to_have_text("Play")


def test_a_step_and_back_to_the_same_start(opened):
    opened.choose(data="circles", hidden=[3])
    page = opened.page
    page.click("#step")
    expect(page.locator("#epoch")).to_have_text("1")
    first = opened.ask("state")["costs"]
    page.click("#rewind")
    expect(page.locator("#epoch")).to_have_text("0")
    page.click("#step")
    expect(page.locator("#epoch")).to_have_text("1")
    assert opened.ask("state")["costs"] == first


def test_a_step_of_a_mini_batch_is_told(opened):
    opened.choose(data="flower", batch_size=100)
    opened.page.click("#step")
    expect(opened.page.locator("#epoch")).to_have_text("0 +1")
    expect(opened.page.locator("#status")).to_have_text("Step 1 of epoch 1")


FRAMES = """new Promise((done) => {
  let n = 0;
  (function frame() { ++n < 5 ? requestAnimationFrame(frame) : done(n); })();
})"""


def test_while_it_trains_the_page_answers(opened):
    """Frames are drawn while Python is at work, and what is typed into the form starts another network."""
    opened.choose(data="spirals", hidden=[16, 16])
    page = opened.page
    page.fill("#until", "100000")
    page.click("#play")
    assert page.evaluate(FRAMES) == 5
    page.select_option("#activation", "relu")
    page.wait_for_function("async () => (await playground.call('about')).settings.activation === 'relu'")
    expect(page.locator("#play")).to_have_text("Pause")  # it goes on playing
    page.click("#play")
    expect(page.locator("#play")).to_have_text("Play")


# -- a file of one's own -----------------------------------------------------------------------------------------------

DROP = """(text) => {
  const data = new DataTransfer();
  data.items.add(new File([text], "mine.csv", { type: "text/csv" }));
  document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
}"""


def test_a_csv_that_is_dropped_is_learned(opened):
    opened.page.evaluate(DROP, CSV)
    expect(opened.page.locator("#file-name")).to_contain_text("mine.csv: 60 rows.")
    expect(opened.page.locator("#key")).to_contain_text("ash")
    opened.train(300)
    assert opened.ask("figures")["train"] > 0.6
    assert [x.input_value() for x in opened.page.locator("#columns select").all()] == ["feature", "feature", "target"]


def test_another_column_can_be_predicted(opened):
    opened.page.evaluate(DROP, CSV)
    expect(opened.page.locator("#columns select")).to_have_count(3)
    opened.page.locator("#columns select").first.select_option("target")
    opened.page.wait_for_function("async () => (await playground.call('about')).target === 'length'")
    assert opened.ask("about")["features"] == ["width", "kind=ash", "kind=elm", "kind=oak"]


def test_a_bad_csv_is_refused_in_the_readers_own_words(opened):
    bad = CSV.replace("\n3,", "\nthree,", 1)
    opened.page.evaluate(DROP, bad)
    problem = opened.page.locator("#problem")
    expect(problem).to_contain_text("mine.csv, line")
    proposal = native("columns", text=bad)["proposed"]
    said = native("start", settings=proposal, text=bad, file="mine.csv")["error"]
    assert problem.inner_text().startswith(said)
    expect(problem).to_contain_text("Here, that is the list of columns")
    expect(opened.page.locator("#play")).to_be_disabled()  # of these settings there is no network
    opened.page.evaluate(DROP, CSV)
    expect(problem).to_be_hidden()


def test_what_is_no_utf_8_is_refused(opened):
    opened.page.set_input_files(
        "#file", {"name": "old.csv", "mimeType": "text/csv", "buffer": "größe,y\n1,2\n".encode("cp1252")}
    )
    expect(opened.page.locator("#problem")).to_have_text(
        'old.csv is not UTF-8. Save it as "CSV UTF-8", and drop it again.'
    )


# -- code, derivation, diagnosis ---------------------------------------------------------------------------------------


def test_the_code_runs_and_gives_the_cost_of_the_page(opened):
    opened.choose(data="flower", hidden=[4], l2=0.1)
    opened.page.click("#tab-code")
    opened.page.wait_for_function("() => document.getElementById('code').textContent.includes('def step')")
    source = opened.page.inner_text("#code")
    namespace = {}
    exec(source, namespace)
    native("start", settings={"l2": 0.1})
    session = bridge._now()
    arrays = {name: p.data for name, p in session.model.named_parameters()}
    J, *_ = namespace["step"](session.data.X, session.data.Y, **arrays, m=session.data.X.shape[1])
    opened.page.click("#step")
    expect(opened.page.locator("#epoch")).to_have_text("1")
    np.testing.assert_allclose(opened.ask("state")["costs"], [J], rtol=1e-12)


def test_the_code_can_be_downloaded(opened):
    opened.choose(data="moons")
    opened.page.click("#tab-code")
    opened.page.wait_for_function("() => document.getElementById('code').textContent.includes('def step')")
    with opened.page.expect_download() as download:
        opened.page.click("#download")
    assert download.value.suggested_filename == "step.py"
    assert "def step(X, Y, W1, b1, W2, b2, *, m):" in Path(download.value.path()).read_text()


def test_a_planted_mistake_is_diagnosed(opened):
    page = opened.page
    opened.choose(data="flower", hidden=[4])
    opened.train(50)
    page.click("#tab-check")
    page.click("#answer")
    page.wait_for_function("() => document.getElementById('student').value.includes('dW2 = dZ2 @ A1.T')")
    page.fill("#student", page.input_value("#student").replace("dW2 = dZ2 @ A1.T", "dW2 = dZ2 @ A1.T / m"))
    page.click("#run")
    expect(page.locator("#report")).to_contain_text("WRONG: 1/m twice")
    expect(page.locator("#report")).to_contain_text("The first wrong one is dW2.")
    page.fill("#student", page.input_value("#student").replace("A1.T / m", "A1.T"))
    page.click("#run")
    expect(page.locator("#report")).to_contain_text("All of these are right.")


def test_a_loop_without_an_end_can_be_stopped(opened):
    page = opened.page
    page.click("#tab-check")
    page.fill("#student", "while True: pass")
    page.click("#run")
    page.click("#stop")
    expect(page.locator("#report")).to_have_text("It was stopped.")
    expect(page.locator("#loading")).to_be_hidden(timeout=1000 * SECONDS)
    opened.train(30)
    page.click("#template")
    page.wait_for_function("() => document.getElementById('student').value.startsWith('# Write')")


def test_the_network_is_drawn_with_its_gradients(opened):
    opened.page.click("#tab-network")
    opened.page.wait_for_function("() => /dW1/.test(document.querySelector('#network svg')?.textContent)")


def test_the_derivation_is_there(opened):
    opened.page.click("#tab-derivation")
    opened.page.wait_for_selector("#derivation math")
    opened.page.click("#tab-network")


# -- links -------------------------------------------------------------------------------------------------------------


def test_a_link_holds_the_whole_state(opened, browser):
    page = opened.page
    page.evaluate(DROP, CSV)
    expect(page.locator("#key")).to_contain_text("ash")
    page.fill("#lr", "0.4")
    page.press("#lr", "Tab")
    page.wait_for_function("async () => (await playground.call('about')).settings.lr === 0.4")
    opened.train(40)
    page.click("#tab-check")
    page.wait_for_function("() => document.getElementById('student').value.includes('(3, 48)')")  # of this network
    page.fill("#student", "dZ2 = A2  # mine")
    page.click("#link")
    expect(page.locator("#link-dialog")).to_be_visible()
    address = page.input_value("#link-text")
    page.keyboard.press("Escape")
    other = Opened(browser, address)
    expect(other.page.locator("#epoch")).to_have_text("40", timeout=1000 * SECONDS)
    assert other.ask("about") == opened.ask("about")
    assert other.ask("state") == opened.ask("state")
    assert other.page.input_value("#student") == "dZ2 = A2  # mine"
    other.page.close()
    page.click("#template")


@pytest.mark.parametrize(
    ("hash", "said"), [("#lr=-1", "lr is a number from 1e-06 to 100, not -1."), ("#csv=!", "This link is damaged")]
)
def test_a_damaged_link_is_said(opened, hash, said):
    opened.page.goto(opened.page.url.split("#")[0] + hash)
    expect(opened.page.locator("#problem")).to_contain_text(said)
    opened.choose(data="flower")
    expect(opened.page.locator("#problem")).to_be_hidden()


# -- for everybody -----------------------------------------------------------------------------------------------------


def test_on_a_phone_nothing_is_wider_than_the_screen(opened):
    page = opened.page
    page.set_viewport_size({"width": 390, "height": 844})
    try:
        for name in ("network", "histograms", "code", "derivation", "check"):
            page.click(f"#tab-{name}")
            page.wait_for_timeout(200)
            assert page.evaluate("document.documentElement.scrollWidth") == 390
    finally:
        page.set_viewport_size({"width": 1280, "height": 720})
        page.click("#tab-network")


AXE = Path(__file__).parents[2] / "playground" / "node_modules" / "axe-core" / "axe.min.js"
VIOLATIONS = """() => axe.run(document, { resultTypes: ["violations"] }).then(({ violations }) =>
  violations.flatMap(({ id, nodes }) => nodes.map((node) => `${id}: ${node.html} ${node.failureSummary}`)))"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_barrier(opened, scheme):
    page = opened.page
    page.emulate_media(color_scheme=scheme)
    page.add_script_tag(content=AXE.read_text())
    page.evaluate("() => document.body.append(Object.assign(new Image(), { id: 'planted' }))")
    assert "image-alt" in str(page.evaluate(VIOLATIONS))  # it finds what is there
    page.evaluate("() => document.getElementById('planted').remove()")
    try:
        for name in ("network", "histograms", "code", "derivation", "check"):
            page.click(f"#tab-{name}")
            page.wait_for_timeout(300)
            assert page.evaluate(VIOLATIONS) == []
        page.click("#about")
        assert page.evaluate(VIOLATIONS) == []
        page.keyboard.press("Escape")
    finally:
        page.emulate_media(color_scheme="light")
        page.click("#tab-network")


def test_every_control_has_a_name(opened):
    nameless = """[...document.querySelectorAll("button, input, select, textarea")]
      .filter((x) => !(x.labels?.length || x.ariaLabel || x.textContent.trim() && x.tagName === "BUTTON"))
      .map((x) => x.outerHTML)"""
    assert opened.page.evaluate(nameless) == []


def test_it_is_used_by_keyboard(opened):
    page = opened.page
    opened.choose(data="flower")
    page.focus("#step")
    page.keyboard.press("Enter")
    expect(page.locator("#epoch")).to_have_text("1")
    page.focus("#tab-network")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#panel-histograms")).to_be_visible()
    assert page.evaluate("document.activeElement.id") == "tab-histograms"
    page.keyboard.press("Home")
    expect(page.locator("#panel-network")).to_be_visible()


def test_it_is_light_and_dark(opened):
    page = opened.page
    ground = "getComputedStyle(document.body).backgroundColor"
    page.emulate_media(color_scheme="light")
    light = page.evaluate(ground)
    page.emulate_media(color_scheme="dark")
    dark = page.evaluate(ground)
    assert light != dark
    page.click("#theme")
    assert page.evaluate(ground) == light
    page.click("#theme")
    page.emulate_media(color_scheme="light")


def test_nothing_was_complained_of(opened):
    """After all of this, the last one: the console is empty."""
    with contextlib.suppress(TimeoutError):
        opened.page.wait_for_timeout(300)
    assert opened.complaints == []
