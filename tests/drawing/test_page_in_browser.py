"""What a page does, in a real browser: each test says what to do on a page of its own, and what is to be seen then."""

from unittest import mock

import numpy as np
import pytest

import tinygrad_dls as tg
from examples import from_picture_to_code
from tests.drawing.picture import FACTS, SVG
from tests.support.browser import look
from tinygrad_dls.drawing import rendering
from tinygrad_dls.drawing.page import SCRIPT, STYLE, page, widget

ALONE = page(SVG, FACTS, title="net")
EVIL = "<img src=x onerror='document.title = 1'></script>&amp;__proto__"
ODD = {
    "nodes": {
        **FACTS["nodes"],
        "node-Z1": {"name": EVIL, EVIL: EVIL},
        "node-gone": {"name": "gone"},
        "constructor": {},
    },
    "parameters": {EVIL: ["node-Z1", "gone"], "__proto__": ["node-J"]},
    "modules": {
        "module-net": {"label": "two\nlines", "holds": ["module-layer1", "gone"]},
        "module-layer1": {"label": EVIL, "holds": ["node-Z1"]},
        "module-gone": {"label": "gone", "holds": []},
    },
    "edges": {**FACTS["edges"], "edge-1": ["gone", "__proto__", False], "gone": ["node-X", "node-J", False]},
}
BARE = page(SVG, {"nodes": {}, "parameters": {}, "modules": {}, "edges": {}}, title="net")
TWO = f"""<!doctype html><style>{STYLE}</style><body><h1 tabindex="0">Two</h1>{widget(SVG, FACTS, "one")}
{widget(SVG, FACTS, "two")}<script>{SCRIPT}</script><script>{SCRIPT}</script>"""

HELPERS = """
  const find = (id) => document.getElementById(`graph-${id}`);
  const all = (selector) => [...document.querySelectorAll(selector)];
  const wait = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
  const button = (text) => all("button").find((each) => each.textContent === text);
  const isShown = (element) => element.getClientRects().length > 0;
  const bare = (id) => id.replace(/^[a-z]+-(node|edge|module)-/, "");
  const shown = (kind = ".node") => all(kind).filter(isShown).map((each) => bare(each.id)).sort().join(" ");
  const clear = (kind = ".node") => all(kind).filter((each) => getComputedStyle(each).opacity === "1").map((each) =>
    bare(each.id)).sort().join(" ");
  const lids = () => all(".tg-lid").filter(isShown).map((each) => each.getAttribute("aria-label")).sort();
  const lid = (label) => all(".tg-lid").find((each) => each.getAttribute("aria-label").startsWith(label));
  const view = document.querySelector(".tg-view");
  const card = document.querySelector(".tg-card");
  const camera = () => view.querySelector("svg > g").getAttribute("transform").match(/-?\\d[\\d.e-]*/g).map(Number);
  const center = (element) => {
    const { left, right, top, bottom } = element.getBoundingClientRect();
    return { clientX: (left + right) / 2, clientY: (top + bottom) / 2 };
  };
  const fire = (element, kind, options = {}) => {
    const type = kind.startsWith("pointer") ? PointerEvent : kind.startsWith("key") ? KeyboardEvent
      : kind === "wheel" ? WheelEvent : MouseEvent;
    const event = new type(kind, { bubbles: true, cancelable: true, button: 0, pointerId: 1, ...options });
    element.dispatchEvent(event);
    return event;
  };
  const press = (key, element = document.body) => fire(element, "keydown", { key });
  const click = (element) => {
    for (const kind of ["pointerdown", "pointerup", "click"]) fire(element, kind, center(element));
  };
  const clickAt = (element) => {  // whatever lies on top there
    const { clientX, clientY } = center(element);
    click(document.elementFromPoint(clientX, clientY));
  };
  const drag = (element, dx, dy, options = {}) => {
    const { clientX, clientY } = center(element);
    fire(element, "pointerdown", { clientX, clientY, ...options });
    for (const part of [0.5, 1]) {
      fire(element, "pointermove", { clientX: clientX + part * dx, clientY: clientY + part * dy, ...options });
    }
    fire(element, "pointerup", { clientX: clientX + dx, clientY: clientY + dy, ...options });
    fire(element, "click");
  };
"""
LOOKS = {}


def on_page(script, *, html=ALONE):
    """Give the test, as `seen`, what the script returns on a page of its own."""

    def register(test):
        LOOKS[test.__name__] = (html, HELPERS + script)
        return test

    return register


@pytest.fixture(scope="module")
def all_seen():
    return look({name: (html() if callable(html) else html, script) for name, (html, script) in LOOKS.items()})


@pytest.fixture
def seen(all_seen, request):
    result = all_seen[request.node.name]
    assert "value" in result, result["error"]
    return result["value"]


EVERYTHING = "J W1 W2 X Z1 Z2"

# -- zoom and pan -----------------------------------------------------------------------------------------------------


@on_page("""
    const [frame, picture] = [view.getBoundingClientRect(), find("graph0").getBoundingClientRect()];
    return [frame.left <= picture.left, picture.right <= frame.right, frame.top <= picture.top,
      picture.bottom <= frame.bottom, Math.max(picture.width / frame.width, picture.height / frame.height) > 0.8,
      Math.abs(picture.left + picture.right - frame.left - frame.right) < 40];
""")
def test_the_picture_is_fitted_on_load(seen):
    assert all(seen)


@on_page("""
    const before = camera();
    document.querySelector(".tg-figure").style.height = "300px";
    await new Promise(requestAnimationFrame);
    await wait(100);
    const [frame, picture] = [view.getBoundingClientRect(), find("graph0").getBoundingClientRect()];
    return [camera()[2] < before[2], picture.top >= frame.top, picture.bottom <= frame.bottom];
""")
def test_the_picture_is_fitted_anew_when_the_window_changes(seen):
    assert all(seen)


@on_page("""
    const start = camera()[2];
    const by = (action) => {
      const before = camera()[2];
      action();
      return camera()[2] / before;
    };
    return {
      buttons: [by(() => button("+").click()), by(() => button("\u2212").click())],
      keys: [by(() => press("+")), by(() => press("=")), by(() => press("-"))],
      fit: [(press("0"), camera()[2] / start), (press("+"), button("Fit").click(), camera()[2] / start)],
      "ctrl +": by(() => fire(document.body, "keydown", { key: "+", ctrlKey: true })),
    };
""")
def test_buttons_and_keys_zoom(seen):
    assert seen == {
        "buttons": pytest.approx([1.25, 0.8]),
        "keys": pytest.approx([1.25, 1.25, 0.8]),
        "fit": pytest.approx([1, 1]),
        "ctrl +": 1,
    }


@on_page("""
    const before = [camera()[2], center(find("node-Z1"))];
    const event = fire(view, "wheel", { deltaY: -200, ...before[1] });
    const after = [camera()[2], center(find("node-Z1"))];
    fire(view, "wheel", { deltaY: 100, ...before[1] });
    return [event.defaultPrevented, after[0] > before[0], Math.abs(after[1].clientX - before[1].clientX) < 1,
      Math.abs(after[1].clientY - before[1].clientY) < 1, camera()[2] < after[0]];
""")
def test_the_wheel_zooms_and_keeps_what_is_under_the_pointer(seen):
    assert all(seen)


@on_page("""
    for (let i = 0; i < 200; i++) press("-");
    const small = camera()[2];
    for (let i = 0; i < 200; i++) press("+");
    return [small, camera()[2]];
""")
def test_zoom_has_an_end(seen):
    assert seen == [0.02, 20]


@on_page("""
    const [x, y] = camera();
    drag(view, 30, -20);
    return [camera()[0] - x, camera()[1] - y];
""")
def test_dragging_moves_the_picture(seen):
    assert seen == pytest.approx([30, -20])


@on_page("""
    const [x, y] = camera();
    drag(view, 30, -20, { button: 2 });
    return [camera()[0] - x, camera()[1] - y];
""")
def test_the_right_button_does_not_drag(seen):
    assert seen == [0, 0]


@on_page("""
    const scale = camera()[2];
    fire(view, "pointerdown", { pointerId: 1, clientX: 300, clientY: 300 });
    fire(view, "pointerdown", { pointerId: 2, clientX: 400, clientY: 300 });
    fire(view, "pointermove", { pointerId: 2, clientX: 500, clientY: 300 });
    return camera()[2] / scale;
""")
def test_two_fingers_zoom(seen):
    assert seen == pytest.approx(2)


@on_page("""
    view.focus();
    const [x, y] = camera();
    press("ArrowRight", view);
    press("ArrowDown", view);
    return [camera()[0] - x, camera()[1] - y];
""")
def test_arrows_move_the_picture(seen):
    assert seen == pytest.approx([-60, -60])


# -- the card of a node -----------------------------------------------------------------------------------------------


@on_page("""
    const before = isShown(card);
    fire(find("node-Z1"), "pointerenter");
    return [before, isShown(card), card.querySelector("h3").textContent, [...card.querySelectorAll("dl > *")].map(
      (each) => each.textContent)];
""")
def test_a_node_shows_its_card(seen):
    rows = ["formula", "W1 X", "shape", "(4, 400)", "dtype", "float64", "value", "[[1 2]\n [3 4]]", "norm", "2"]
    assert seen == [False, True, "Z1", rows]  # and no row for the gradient, which is empty


@on_page("""
    const inside = all(".node").map((node) => {
      fire(node, "pointerenter");
      const [box, frame, shape] = [card, view, node].map((each) => each.getBoundingClientRect());
      const covers = box.left < shape.right && box.right > shape.left
        && box.top < shape.bottom && box.bottom > shape.top;
      return box.left >= frame.left && box.right <= frame.right && box.top >= frame.top && box.bottom <= frame.bottom
        && !covers;
    });
    return inside;
""")
def test_a_card_is_in_the_window_and_beside_its_node(seen):
    assert seen == [True] * 6


@on_page("""
    fire(find("node-Z1"), "pointerenter");
    fire(find("node-Z1"), "pointerleave");
    await wait(100);
    fire(card, "pointerenter");
    await wait(500);
    const over = isShown(card);
    fire(card, "pointerleave");
    await wait(500);
    return [over, isShown(card)];
""")
def test_the_pointer_can_reach_the_card_before_it_goes(seen):
    assert seen == [True, False]


@on_page("""
    const node = find("node-W2");
    node.focus();
    const focused = [isShown(card), card.querySelector("h3").textContent, node.getAttribute("aria-label"),
      node.getAttribute("aria-describedby") === card.id];
    press("Escape", node);
    return [...focused, isShown(card)];
""")
def test_the_keyboard_reaches_a_card_and_escape_hides_it(seen):
    assert seen == [True, "W2", "W2", True, False]


@on_page("""
    drag(view, 5000, 0);
    const node = find("node-W2");
    node.focus();
    const { left, right } = view.getBoundingClientRect();
    return [left < center(node).clientX && center(node).clientX < right, isShown(card), view.scrollLeft];
""")
def test_focus_brings_a_node_into_view(seen):
    assert seen == [True, True, 0]


@on_page("return [all('svg title').length, all('svg a').filter((link) => link.hasAttribute('xlink:title')).length];")
def test_no_tooltip_of_graphviz_comes_up_over_the_card(seen):
    assert seen == [0, 0]


# -- modules ----------------------------------------------------------------------------------------------------------


@on_page("""
    click(find("module-layer1").querySelector("polygon"));
    return [shown(), shown(".edge"), shown(".cluster"), lids()];
""")
def test_a_click_on_a_module_hides_what_it_holds(seen):
    assert seen == ["J W2 X Z2", "1 3 4 5 6 7 9", "net", ["layer1 (Linear)"]]


@on_page("""
    click(find("module-layer1").querySelector("text"));
    const collapsed = shown();
    click(lid("layer1"));
    return [collapsed, shown(), shown(".edge"), shown(".cluster"), lids()];
""")
def test_a_click_on_the_box_brings_it_back(seen):
    assert seen == ["J W2 X Z2", EVERYTHING, "1 2 3 4 5 6 7 8 9", "layer1 net", []]


@on_page("""
    const before = find("module-layer1").querySelector("polygon").getBoundingClientRect();
    const { left, bottom } = before;
    const empty = document.elementFromPoint(left + 5, bottom - 5).closest(".cluster");
    if (empty !== find("module-layer1")) throw new Error("the outline is not filled, but all of it is to be clicked");
    clickAt(find("module-layer1").querySelector("text"));
    const box = lid("layer1").querySelector("rect");
    const after = box.getBoundingClientRect();
    const places = [[0.1, 0.1], [0.5, 0.5], [0.9, 0.9], [0.02, 0.6]];
    const onTop = places.map(([x, y]) => document.elementFromPoint(
      after.left + x * after.width, after.top + y * after.height).closest(".tg-lid") === lid("layer1"));
    const style = getComputedStyle(box);
    const text = lid("layer1").querySelector("text").getBoundingClientRect();
    return {
      smaller: after.height / camera()[2] < 40,
      onTop, opaque: [style.opacity, style.fillOpacity, /^rgb\\(/.test(style.fill)],
      label: [lid("layer1").textContent, text.left >= after.left && text.right <= after.right],
    };
""")
def test_the_box_is_opaque_on_top_and_as_large_as_its_label(seen):
    assert seen == {
        "smaller": True,
        "onTop": [True] * 4,
        "opaque": ["1", "1", True],
        "label": ["\u25b8 layer1 (Linear)", True],
    }


# -- the layout of what is left ---------------------------------------------------------------------------------------

PLACES = """
    const sidesOf = (element) => {
      const { left, right, top, bottom } = element.getBoundingClientRect();
      return { left, right, top, bottom };
    };
    const boxes = () => [...all(".node"), ...all(".tg-lid")].filter(isShown);
    const overlaps = () => boxes().flatMap((one, i) => boxes().slice(i + 1).filter((other) => {
      const [a, b] = [sidesOf(one), sidesOf(other)];
      return a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1;
    })).length;
    // The lines that end neither at a box nor, as the parts of one do, at the end of another.
    const loose = () => {
      const lines = all(".edge").filter(isShown).map((edge) => {
        const path = edge.querySelector("path");
        const matrix = path.getScreenCTM();
        const length = path.getTotalLength();
        const ends = [0, length].map((at) => path.getPointAtLength(at).matrixTransform(matrix));
        return { edge, ends };
      });
      const reach = 14 * camera()[2];
      return lines.filter(({ edge, ends }) => ends.some(({ x, y }) => {
        const near = boxes().some((box) => {
          const { left, right, top, bottom } = sidesOf(box);
          return left - reach < x && x < right + reach && top - reach < y && y < bottom + reach;
        });
        return !near && !lines.some((line) => line.edge !== edge && line.ends.some((end) =>
          Math.hypot(end.x - x, end.y - y) < reach));
      })).map(({ edge }) => edge.id);
    };
    const height = () => {
      const found = boxes().map(sidesOf);
      return (Math.max(...found.map(({ bottom }) => bottom)) - Math.min(...found.map(({ top }) => top))) / camera()[2];
    };
"""


def drawn(direction="both", layers=3):
    """A network of blocks that pass their input on, as a page."""

    class Block(tg.nn.Module):
        def __init__(self, n, rng):
            self.a, self.b = tg.nn.Linear(n, n, rng=rng), tg.nn.Linear(n, n, rng=rng)

        def __call__(self, x):
            return x + self.b(np.tanh(self.a(x)))

    model = tg.nn.Sequential(*(Block(3, i) for i in range(layers)), tg.nn.Linear(3, 1, rng=9))
    picture = tg.draw(model, (3, 6), (1, 6), loss=tg.binary_cross_entropy_with_logits, direction=direction)
    return f"""<!doctype html><style>{STYLE}</style><body class="tg-page"><main>{picture.widget()}</main>
<script>{SCRIPT}</script>"""


MOVES = (
    PLACES
    + """
    const found = [[height(), overlaps(), loose()]];
    for (const title of ["a (Linear 3 -> 3)", "layer2", "layer1", "layer3", "layer4", "Sequential"]) {
      click(all(".cluster").find((each) => each.getAttribute("aria-label").startsWith(title)));
      found.push([height(), overlaps(), loose()]);
    }
    button("Expand all").click();
    found.push([height(), overlaps(), loose()]);
    return found;
"""
)


@on_page(MOVES, html=drawn)
def test_what_is_left_moves_together_without_overlaps_or_loose_ends(seen):
    assert [(overlaps, loose) for _, overlaps, loose in seen] == [(0, [])] * len(seen)
    heights = [height for height, _, _ in seen]
    assert heights[:-1] == sorted(heights[:-1], reverse=True)
    assert heights[-1] == pytest.approx(heights[0], abs=1)  # opened again, it is Graphviz's picture
    assert heights[-2] < heights[0] / 4


def without_graphviz():
    with mock.patch.object(rendering, "_way", side_effect=rendering.GraphvizNotFoundError):
        return drawn()


@on_page(MOVES, html=without_graphviz)
def test_the_picture_that_was_drawn_without_graphviz_is_alive_too(seen):
    test_what_is_left_moves_together_without_overlaps_or_loose_ends(seen)


@on_page(
    PLACES
    + """
    click(all(".cluster").find((each) => each.getAttribute("aria-label").startsWith("layer2")));
    const arrows = all(".edge").filter(isShown).filter((edge) => edge.querySelector("polygon")).length;
    const into = all(".edge.forward").filter(isShown).map((edge) => edge.id.split("-").slice(1).join("-"));
    const texts = all(".edge.forward text").filter(isShown).map((text) => text.textContent.trim());
    const known = ["2.a.W\u1d40", "1 - U2\u00b2"].map((text) => texts.includes(text));
    return [arrows > 0, new Set(into).size === into.length, ...known];
""",
    html=lambda: drawn("forward"),
)
def test_an_edge_into_a_closed_module_has_its_arrow_and_no_derivative_of_what_is_hidden(seen):
    assert seen == [True, True, False, True]


def recurrent():
    class Recurrent(tg.nn.Module):
        def __init__(self):
            self.cell, self.out = tg.nn.Linear(2, 2, rng=0), tg.nn.Linear(2, 1, rng=1)

        def __call__(self, X):
            h = X[0]
            for x in X[1:]:
                h = np.tanh(self.cell(h) + x)
            return self.out(h)

    picture = tg.draw(Recurrent(), (5, 2, 3), (1, 3), loss=tg.binary_cross_entropy_with_logits)
    return f"""<!doctype html><style>{STYLE}</style><body class="tg-page"><main>{picture.widget()}</main>
<script>{SCRIPT}</script>"""


@on_page(
    PLACES
    + """
    click(all(".cluster").find((each) => each.getAttribute("aria-label").startsWith("cell")));
    const box = sidesOf(lid("cell"));
    const reach = 10 * camera()[2];
    const heads = all(".edge polygon").filter(isShown).map((head) => sidesOf(head)).filter((head) =>
      head.right > box.left - reach && head.left < box.right + reach && head.bottom > box.top - reach
        && head.top < box.bottom + reach);
    const covered = heads.filter((head) => head.left >= box.left && head.right <= box.right && head.top >= box.top
      && head.bottom <= box.bottom);
    return [overlaps(), loose(), heads.length >= 1, covered.length];
""",
    html=recurrent,
)
def test_a_module_that_many_things_go_into_is_reached_by_their_arrows(seen):
    assert seen == [0, [], True, 0]


def sixty_layers():
    layers = [layer for i in range(59) for layer in (tg.nn.Linear(3, 3, rng=i), tg.nn.ReLU())]
    model = tg.nn.Sequential(*layers, tg.nn.Linear(3, 1, rng=9))
    picture = tg.draw(model, (3, 6), (1, 6), loss=tg.binary_cross_entropy_with_logits)
    return f"""<!doctype html><style>{STYLE}</style><body class="tg-page"><main>{picture.widget()}</main>
<script>{SCRIPT}</script>"""


@on_page(
    """
    const text = find("node-Z1").querySelector("text").getBoundingClientRect();
    const [frame, first] = [view, find("node-X")].map((each) => each.getBoundingClientRect());
    const opened = [text.height, frame.top <= first.top, first.bottom <= frame.bottom, frame.left <= first.left];
    button("Fit").click();
    const last = find("node-J").getBoundingClientRect();
    return [...opened, last.bottom <= frame.bottom, camera()[2] < 0.1];
""",
    html=sixty_layers,
)
def test_sixty_layers_open_at_a_size_that_can_be_read_and_fit_shows_all(seen):
    height, *others = seen
    assert height > 9  # pixels
    assert others == [True] * 5


@on_page(
    """
    const covered = [];
    for (const scale of [1, 1.6, 2.5, 4]) {
      button("Fit").click();
      fire(view, "wheel", { deltaY: -Math.log(scale / camera()[2]) / 0.0015, ...center(view) });
      for (const node of all(".node")) {
        const [a, frame] = [node, view].map((each) => each.getBoundingClientRect());
        if (a.left < frame.left || a.right > frame.right || a.top < frame.top || a.bottom > frame.bottom) continue;
        fire(node, "pointerenter");
        const b = card.getBoundingClientRect();
        if (b.left < a.right && b.right > a.left && b.top < a.bottom && b.bottom > a.top) covered.push(node.id);
      }
    }
    return covered;
"""
)
def test_a_card_never_covers_the_node_that_it_explains(seen):
    assert seen == []


@on_page("""
    const steps = [];
    const note = () => steps.push([shown(), lids().join()]);
    click(find("module-layer1")); note();
    click(find("module-net")); note();
    click(lid("net")); note();
    click(lid("layer1")); note();
    click(find("module-net")); note();
    click(lid("net")); note();
    return steps;
""")
def test_a_module_in_a_module_stays_as_it_was(seen):
    assert seen == [
        ["J W2 X Z2", "layer1 (Linear)"],
        ["J X", "net (Sequential)"],
        ["J W2 X Z2", "layer1 (Linear)"],
        [EVERYTHING, ""],
        ["J X", "net (Sequential)"],
        [EVERYTHING, ""],
    ]


@on_page("""
    const steps = [];
    for (let i = 0; i < 3; i++) {
      button("Collapse all").click();
      steps.push([shown(), shown(".edge"), lids().join()]);
      button("Expand all").click();
      steps.push([shown(), lids().join()]);
    }
    return steps;
""")
def test_all_modules_collapse_and_expand(seen):
    assert seen == [["J X", "1 5 6", "net (Sequential)"], [EVERYTHING, ""]] * 3


@on_page("""
    const box = find("module-layer1");
    box.focus();
    press("Enter", box);
    const here = () => [shown(), document.activeElement === lid("layer1"), document.activeElement === box,
      document.activeElement.getAttribute("aria-expanded")];
    const first = here();
    const event = press(" ", document.activeElement);
    return [first, event.defaultPrevented, here()];
""")
def test_the_keyboard_collapses_and_expands_and_keeps_its_place(seen):
    assert seen == [["J W2 X Z2", True, False, "false"], True, [EVERYTHING, False, True, "true"]]


@on_page("""
    drag(find("module-layer1").querySelector("polygon"), 40, 0);
    const after = shown();
    find("module-layer1").dispatchEvent(new MouseEvent("click", { bubbles: true }));  // as a screen reader clicks
    return [after, shown()];
""")
def test_the_end_of_a_drag_is_no_click(seen):
    assert seen == [EVERYTHING, "J W2 X Z2"]


# -- the path of a gradient -------------------------------------------------------------------------------------------


@on_page("""
    const names = all(".tg-side button").map((each) => each.textContent);
    button("W2").click();
    const status = document.querySelector(".tg-status").textContent;
    return [names, clear(), clear(".edge"), clear(".cluster"), button("W2").getAttribute("aria-pressed"), status];
""")
def test_a_parameter_lights_the_path_of_its_gradient(seen):
    path = ["J W2 Z2", "6 9", "net"]
    assert seen == [["W1", "W2"], *path, "true", "Path of the gradient to W2. Esc clears it."]


@on_page("""
    const steps = [];
    button("W2").click();
    button("W1").click();
    steps.push(clear(), button("W2").getAttribute("aria-pressed"));
    button("W1").click();
    steps.push(clear(), document.querySelector(".tg-status").textContent);
    button("W1").click();
    press("Escape");
    steps.push(clear(), button("W1").getAttribute("aria-pressed"));
    press("Escape");
    steps.push(clear());
    return steps;
""")
def test_another_parameter_the_same_one_and_escape_end_it(seen):
    assert seen == ["J W1 Z1 Z2", "false", EVERYTHING, "", EVERYTHING, "false", EVERYTHING]


@on_page("""
    const isLit = (label) => lid(label).classList.contains("tg-lit");
    click(find("module-layer1"));
    button("W1").click();
    const first = [shown(), clear(".edge"), isLit("layer1"), getComputedStyle(lid("layer1")).opacity];
    button("W2").click();
    const box = getComputedStyle(lid("layer1").querySelector("rect"));
    const second = [isLit("layer1"), getComputedStyle(lid("layer1")).opacity, box.opacity, box.fillOpacity];
    click(lid("layer1"));
    return [first, second, clear(), shown()];
""")
def test_a_path_goes_through_a_collapsed_module(seen):
    first, second, lit, there = seen
    assert first == ["J W2 X Z2", "6 7 8", True, "1"]  # 8 is lit, and hidden
    assert second == [False, "1", "1", "1"]  # not on the path, but not seen through either
    assert (lit, there) == ("J W2 Z2", EVERYTHING)


# -- the page ---------------------------------------------------------------------------------------------------------

CONTRAST = """
    const channels = (color) => {
      const context = document.createElement("canvas").getContext("2d");
      context.fillStyle = color;
      context.fillRect(0, 0, 1, 1);
      return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3).map((c) => c / 255);
    };
    const light = (color) => channels(color).map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
      .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    const behind = (element) => {
      const color = getComputedStyle(element).backgroundColor;
      return color === "rgba(0, 0, 0, 0)" ? behind(element.parentElement) : color;
    };
    const contrast = (element) => {
      const [a, b] = [light(getComputedStyle(element).color), light(behind(element))].sort((a, b) => b - a);
      return (a + 0.05) / (b + 0.05);
    };
"""


@on_page(
    CONTRAST
    + """
    fire(find("node-Z1"), "pointerenter");
    all(".tg-side button")[0].click();
    fire(find("node-Z1"), "pointerenter");
    const least = () => Math.min(...all("button, h1, h2, h3, dt, dd, .tg-status").filter(isShown).map(contrast));
    const picture = view.querySelector("svg");
    const state = () => [getComputedStyle(document.body).backgroundColor, getComputedStyle(picture).filter];
    const steps = [[state(), least()]];
    for (let i = 0; i < 2; i++) {
      document.querySelector(".tg-theme").click();
      steps.push([state(), least()]);
    }
    return steps;
"""
)
def test_light_and_dark_are_a_click_apart_and_both_are_readable(seen):
    (first, _), (second, _), (third, _) = seen
    assert first == third == ["rgb(255, 255, 255)", "invert(0) hue-rotate(0deg)"]
    assert second == ["rgb(26, 26, 26)", "invert(0.9) hue-rotate(180deg)"]
    assert min(least for _, least in seen) >= 4.5  # WCAG 2.2, level AA


@on_page("""
    const controls = [...all("button"), ...all("[role=button]"), ...all(".node"), view];
    return [controls.filter((each) => !(each.getAttribute("aria-label") || each.textContent.trim())).length,
      controls.filter((each) => each.tabIndex !== 0).length];
""")
def test_every_control_has_a_name_and_is_reached_by_the_keyboard(seen):
    assert seen == [0, 0]


@on_page("return performance.getEntriesByType('resource').map((entry) => entry.name);")
def test_the_browser_loads_nothing_else(seen):
    assert seen == []


@on_page(
    """
    fire(find("node-Z1"), "pointerenter");
    const first = [card.querySelector("h3").textContent, card.querySelector("dt").textContent];
    all(".tg-side button")[0].click();
    const second = clear();
    all(".tg-side button")[1].click();
    button("Collapse all").click();
    const lines = [...lid("two").querySelectorAll("text")].map((each) => each.textContent);
    return [...first, all("button").map((each) => each.textContent).slice(-2), second, clear(".node"), lids(), lines,
      document.title, document.images.length];
""",
    html=page(SVG, ODD, title="net"),
)
def test_texts_and_ids_may_be_anything(seen):
    names, title = [EVIL, "__proto__"], "net"
    assert seen == [EVIL, EVIL, names, "Z1", "J", ["two\nlines"], ["\u25b8 two", "lines"], title, 0]


@on_page(
    "return [all('button').filter(isShown).length, isShown(document.querySelector('.tg-side')), shown()];", html=BARE
)
def test_without_modules_and_parameters_there_are_no_controls_for_them(seen):
    assert seen == [4, False, EVERYTHING]  # +, -, Fit, and the theme


@on_page(
    """
    const [one, two] = all(".tg-figure");
    const inside = (figure) => [...figure.querySelectorAll(".node")].filter(isShown).length;
    const scale = (figure) => figure.querySelector("svg > g").getAttribute("transform").split("scale")[1];
    const before = [scale(one), scale(two)];
    two.querySelector("[data-do=collapse]").click();
    const closed = scale(two);
    press("+");
    const still = scale(one) === before[0] && scale(two) === closed && closed !== before[1];
    const wheel = fire(one.querySelector(".tg-view"), "wheel", { deltaY: -100 }).defaultPrevented;
    one.querySelector(".tg-view").focus();
    press("+", one.querySelector(".tg-view"));
    const focused = fire(one.querySelector(".tg-view"), "wheel", { deltaY: -100 }).defaultPrevented;
    return [inside(one), inside(two), still, wheel, focused, scale(one) !== before[0], scale(two) === closed,
      one.querySelectorAll(".tg-side button").length];
""",
    html=TWO,
)
def test_two_figures_on_a_page_do_not_meddle(seen):
    assert seen == [6, 2, True, False, True, True, True, 2]


TOUCH = """
    const touch = () => getComputedStyle(view).touchAction;
    const before = touch();
    view.focus();
    return [before, touch()];
"""


@on_page(TOUCH)
def test_a_finger_moves_the_picture_that_is_a_page_of_its_own(seen):
    assert seen == ["none", "none"]


@on_page(TOUCH, html=TWO)
def test_a_finger_scrolls_past_a_picture_among_other_things_until_it_is_chosen(seen):
    assert seen == ["pan-y", "none"]


# -- the page of the demo, with both models ---------------------------------------------------------------------------


@on_page(
    """
    const [one, two] = all(".tg-figure");
    const buttons = [...two.querySelectorAll(".tg-side button")];
    buttons.find((each) => each.textContent === "W1").click();
    const lit = [...two.querySelectorAll(".node.tg-lit")].map((each) => each.id.split("-").at(-1)).sort().join(" ");
    return [all(".tg-figure[data-ready]").length, lit, one.querySelectorAll(".tg-lit").length,
      performance.getEntriesByType("resource").length];
""",
    html=from_picture_to_code.page,
)
def test_both_pictures_of_the_demo_are_alive_and_nothing_is_loaded(seen):
    assert seen == [2, "A1 J W1 Z1 Z2", 0, 0]


@on_page(
    """
    const found = [];
    for (const width of [340, 700, 1100, 1600]) {
      frameElement.style.width = `${width}px`;
      await wait(50);
      const page = document.documentElement;
      const within = all(".formula, pre, .tg-figure, p, h1, h2, h3, h4, nav").filter((each) =>
        each.getBoundingClientRect().right > width + 0.5).length;
      found.push([page.clientWidth, page.scrollWidth, within]);
    }
    return found;
""",
    html=from_picture_to_code.page,
)
def test_the_page_of_the_demo_fits_a_phone_and_a_wide_screen(seen):
    assert [(scroll - client, wider) for client, scroll, wider in seen] == [(0, 0)] * 4


@on_page(
    """
    const channels = (color) => color.match(/[\\d.]+/g).map(Number);
    const linear = (c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    const light = (color) => {
      const [r, g, b] = channels(color).map((c) => linear(c / 255));
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = (element) => {
      for (let e = element; e; e = e.parentElement) {
        const color = getComputedStyle(e).backgroundColor;
        if (channels(color)[3] !== 0) return color;
      }
    };
    const contrast = (element) => {
      const [a, b] = [light(getComputedStyle(element).color), light(behind(element))].sort((x, y) => y - x);
      return (a + 0.05) / (b + 0.05);
    };
    const worst = {};
    for (const theme of ["light", "dark"]) {
      document.documentElement.dataset.theme = theme;
      const texts = all("p, h1, h2, h3, h4, a, math, code, .comment, button").filter((each) =>
        isShown(each) && !each.closest("svg"));
      worst[theme] = [light(behind(document.body)) > 0.5, texts.length > 150, Math.min(...texts.map(contrast))];
    }
    return worst;
""",
    html=from_picture_to_code.page,
)
def test_texts_on_the_page_of_the_demo_stand_out_in_light_and_dark(seen):
    assert seen["light"][:2] == [True, True]
    assert seen["dark"][:2] == [False, True]
    assert min(seen["light"][2], seen["dark"][2]) >= 4.5  # what WCAG asks of text
