"""The picture of a graph: what is in its text, what becomes of it without Graphviz, and what is refused."""

import os
import re
import subprocess
import sys
from xml.etree import ElementTree as ET

import dask.array
import graphviz
import numpy as np
import pytest

import tinygrad_dls as tg
from tests.drawing.drawn import DIRECTIONS, LOGITS, X, Y, chain, deep, line, network, parts
from tests.drawing.frames import frames_met
from tests.pictures import ASSETS, PICTURES
from tinygrad_dls.drawing import dot, labels, rendering
from tinygrad_dls.drawing.draw import draw
from tinygrad_dls.drawing.numbers import in_words
from tinygrad_dls.symbolic import symbols

CLASSES = np.array([[0, 2, 1, 0, 1, 2]])


def composed():
    W = tg.Tensor([[0.5, -0.5]], requires_grad=True, name="W")
    b = tg.Tensor([[0.0]], requires_grad=True, name="b")
    A = tg.sigmoid(W @ X + b)
    return -np.mean(Y * np.log(A) + (1 - Y) * np.log(1 - A))


COSTS = {
    "logistic regression, composed": composed,
    "logistic regression, the notes' cost": lambda: tg.binary_cross_entropy(
        tg.nn.Sequential(tg.nn.Linear(2, 1, rng=0), tg.nn.Sigmoid())(X), Y
    ),
    "logistic regression, fused": lambda: LOGITS(tg.nn.LogisticRegression(2)(X), Y),
    "two layers, sigmoid": lambda: LOGITS(network(tg.nn.Sigmoid())(X), Y),
    "two layers, tanh": lambda: LOGITS(network(tg.nn.Tanh())(X), Y),
    "two layers, relu": lambda: LOGITS(network(tg.nn.ReLU())(X), Y),
    "three classes": lambda: tg.softmax_cross_entropy(tg.nn.TwoLayerNetwork(2, 4, 3, rng=1)(X), CLASSES),
    "five layers": lambda: LOGITS(deep()(np.ones((3, 6))), Y),
}


# -- what is in the picture -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("name", COSTS)
def test_graphviz_draws_every_model_of_the_course_in_every_direction(name, direction):
    J = COSTS[name]()
    J.backward()
    picture = draw(J, direction=direction)
    found = parts(picture.source)
    facts = picture._picture.facts()
    assert {"node", "cost"} <= set(found["node-J"])
    for id in facts["nodes"]:
        assert "node" in found[id]
    for id, module in facts["modules"].items():
        assert "cluster" in found[id]
        assert all(held in found for held in module["holds"])
    for way in facts["parameters"].values():
        assert "node-J" in way
        assert all(id in found for id in way)


def test_nodes_have_the_names_of_the_course_and_the_class_of_their_kind():
    source = draw(LOGITS(network()(X), Y)).source
    kinds = dict(re.findall(r'"node-(\w+)" \[.* class=(\w+) .*id="node-\1"', source))
    assert kinds == {
        "X": "input", "Y": "input", "W1": "parameter", "b1": "parameter", "W2": "parameter", "b2": "parameter",
        "Z1": "value", "A1": "value", "Z2": "value", "J": "cost",
    }  # fmt: skip


def test_a_node_shows_formula_shape_and_dtype():
    text = line(draw(LOGITS(network()(X), Y)).source, '"node-Z1"')
    assert "<B>Z1</B> = W1 @ X + b1" in text
    assert "(4, 6) · float64" in text


def test_small_values_are_shown_whole_and_large_ones_as_a_summary():
    w = tg.Tensor([[1.0, 2.5], [3.0, -4.0]], requires_grad=True, name="w")
    v = tg.Tensor(np.arange(100.0), requires_grad=True, name="v")
    facts = draw(np.sum(w) * np.sum(v))._picture.facts()["nodes"]
    assert facts["node-w"]["value"] == "[1, 2.5; 3, -4]"
    assert facts["node-v"]["value"] == "mean 49.5, std 28.9, 0 to 99"


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (np.array(2.0), "2"),
        (np.array([[1, 2]]), "[1, 2]"),
        (np.array([True, False]), "[True, False]"),
        (np.array([np.nan, np.inf]), "[nan, inf]"),
        (np.r_[np.nan, np.ones(9)], "mean 1, std 0, 1 to 1; 1 not finite"),
        (np.full(9, np.nan), "no finite entry"),
        (np.ones((0, 3)), "no entries"),
        (np.full(9, 1e308), "mean inf, std inf, 1e+308 to 1e+308"),
        (np.array([-0.0]), "0"),
        (np.r_[-1.0, np.full(9, -0.0)], "mean -0.1, std 0.3, -1 to 0"),
    ],
)
def test_numbers_in_words(x, words):
    assert in_words(x) == words


def test_before_backward_the_picture_says_that_there_are_no_gradients():
    J = LOGITS(network()(X), Y)
    before = draw(J)
    assert 'label="no gradients yet: call backward()"' in before.source
    assert before._picture.facts()["nodes"]["node-W1"]["gradient"] == "no gradients yet: call backward()"
    J.backward()
    after = draw(J)
    assert "no gradients yet" not in after.source
    assert "dW1 = " in line(after.source, '"node-W1"')
    assert after._picture.facts()["nodes"]["node-J"]["gradient"] == "1"
    assert "dX" not in after.source


def test_a_parameter_whose_gradient_was_set_to_none_says_so():
    w = tg.Tensor([1.0], requires_grad=True, name="w")
    J = np.sum(w * w)
    J.backward()
    w.grad = None
    assert draw(J)._picture.facts()["nodes"]["node-w"]["gradient"] == "none"


def test_hovering_shows_formula_value_gradient_and_norm():
    w = tg.Tensor([3.0, 4.0], requires_grad=True, name="w")
    J = np.sum(w)
    J.backward()
    [shown] = re.findall(r'tooltip="(w\\n.*?)"\]', draw(J).source)
    assert shown.split(r"\n") == [
        "w", "parameter, (2,) float64", "value: [3, 4]", "gradient: [1, 1]", "norm: ‖w‖ = 5, ‖dw‖ = 1.414",
    ]  # fmt: skip
    svg = rendering.render(draw(J).source, "svg").decode()
    assert "gradient: [1, 1]" in svg
    assert "xlink:title" in svg


def test_edges_carry_the_local_derivative():
    source = draw(LOGITS(network()(X), Y)).source
    assert re.search(r'"node-Z1" -> "node-A1" .*label="\W*1 . A1²\W*"', source)
    assert re.search(r'"node-A1" -> "node-Z2" .*label="\W*W2ᵀ\W*"', source)


def test_the_edge_of_what_broadcasting_repeats_says_that_its_gradient_is_summed():
    W, b, c = (
        tg.Tensor(np.ones(n), requires_grad=True, name=x) for n, x in [((3, 3), "W1"), ((3, 1), "b1"), ((), "c")]
    )
    source = draw(np.sum((W @ np.ones((3, 4)) + b) * c)).source
    assert 'label="\N{NO-BREAK SPACE}sum over examples\N{NO-BREAK SPACE}"' in line(source, '"node-Z1" -> "node-b1"')
    assert "Z1, summed over all entries" in line(source, '"node-U2" -> "node-c"')
    assert "sum" not in line(source, '"node-U1" -> "node-Z1"')


def test_what_is_used_twice_gets_a_part_of_its_gradient_from_each_use():
    W = tg.Tensor(np.ones((2, 2)), requires_grad=True, name="W1")
    J = np.mean(np.square(W @ np.tanh(W @ X)))
    backward = [x for x in draw(J, direction="both").source.splitlines() if "class=backward" in x and "dW1" in x]
    backward = [x for x in backward if "label=" in x.split("tooltip")[0]]  # an edge that is led around is in parts
    assert len(backward) == 2
    assert all("one part of dW1 (2, 2)" in x for x in backward)
    assert "one part" not in draw(np.mean(np.tanh(W @ X)), direction="both").source


def test_matrices_stand_in_brackets():
    W = tg.Tensor(np.array([[1.0, 2], [3, 4]]), requires_grad=True, name="W1")
    box = line(draw(np.sum(W)).source, '"node-W1"')
    assert [re.findall(f'SIDES="{side}"', box) for side in ("LTB", "RTB", "LR")] == [
        ['SIDES="LTB"'],
        ['SIDES="RTB"'],
        [],
    ]


def test_both_directions_show_the_flow_of_gradients_beside_the_values():
    source = draw(LOGITS(network()(X), Y), direction="both").source
    assert re.search(r'"node-Z2" -> "node-J" .*class=forward', source)
    assert re.search(r'"node-Z2" -> "node-J" .*dZ2 \(1, 6\).* class=backward .*dir=back.*style=dashed', source)


def test_backward_alone_shows_gradients_and_leaves_out_what_has_none():
    J = LOGITS(network()(X), Y)
    J.backward()
    source = draw(J, direction="backward").source
    assert "class=forward" not in source
    assert '"node-X"' not in source
    assert "<B>dZ1</B>" in source


def test_colour_is_not_the_only_difference_between_kinds():
    shapes = {tuple((k, v) for k, v in style.items() if "color" not in k) for style in dot.STYLES.values()}
    assert len(shapes) == len(dot.STYLES)


def _contrast(a, b):
    def luminance(color):
        c = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        return np.where(c <= 0.03928, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722] + 0.05

    a, b = luminance(a), luminance(b)
    return max(a, b) / min(a, b)


def test_every_colour_is_legible_on_a_light_and_on_a_dark_page():
    strokes = [style["color"] for style in dot.STYLES.values()]
    for color in [*strokes, dot.TONE, dot.FLOW]:
        assert _contrast(color, "#FFFFFF") >= 3, color  # WCAG's bound for graphics
        assert _contrast(color, "#1E1E1E") >= 3, color
    for style in dot.STYLES.values():
        for text in (labels.DARK, labels.QUIET, labels.GRADIENT):
            assert _contrast(text, style["fillcolor"]) >= 4.5, (text, style)  # and for text


def centres(source):
    """Where the boxes stand in the SVG, by their ids; and how wide it is."""
    tree = ET.fromstring(rendering.render(source, "svg"))
    found = {}
    for group in tree.iter("{http://www.w3.org/2000/svg}g"):
        if "node" in group.get("class", "").split():
            outline = next(e for e in group.iter() if e.get("points") or e.get("d") or e.get("rx"))
            numbers = re.findall(r"-?[\d.]+", outline.get("points") or outline.get("d") or "")
            corners = np.array(numbers, float).reshape(-1, 2) if numbers else [[outline.get("cx"), outline.get("cy")]]
            corners = np.array(corners, float)
            found[group.get("id").removeprefix("node-")] = (corners.min(axis=0) + corners.max(axis=0)) / 2
    return found, float(tree.get("viewBox").split()[2])


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("of", ["cost", "model"])
def test_what_a_deep_network_computes_is_a_column_with_its_parameters_beside(of, direction):
    x = np.ones((3, 6))
    if of == "cost":
        J = LOGITS(deep(10)(x), Y)
        J.backward()
        source = draw(J, direction=direction).source
    else:
        source = draw(deep(10), x, Y, loss=LOGITS, direction=direction).source
    at, width = centres(source)
    column = [f"{letter}{i}" for i in range(1, 11) for letter in "ZA"][:-1]
    across, down = np.array([at[name] for name in [*column, "J"]]).T
    assert np.all(np.diff(down) > 0)
    assert np.ptp(across) < width / 10  # wide boxes in a row push it a little
    for i in range(1, 11):
        (left, w), (middle, z), (right, b) = at[f"W{i}"], at[f"Z{i}"], at[f"b{i}"]
        assert left < middle < right
        assert w == pytest.approx(z, abs=1)  # Graphviz writes hundredths of a point
        assert b == pytest.approx(z, abs=1)


def test_between_closed_modules_values_and_gradients_run_beside_each_other():
    source = draw(deep(), np.ones((3, 6)), Y, loss=LOGITS, depth=1, direction="both").source
    svg = rendering.render(source, "svg").decode()
    starts = {}
    for way, d in re.findall(r'class="edge (\w+)">.*?<path [^>]*?d="M([-\d.]+)', svg, re.DOTALL):
        starts.setdefault(way, []).append(float(d))
    values, gradients = starts["forward"][1:-1], starts["backward"]  # without X and Y
    assert len(values) == len(gradients) == 9
    assert np.all(np.subtract(gradients, values) > 5)  # points: an arrow's head is 5 wide


def test_a_leaf_with_several_uses_stands_beside_none_of_them():
    w = tg.Tensor([2.0], requires_grad=True, name="w")
    assert "rank=same" not in draw(np.sum(w * np.tanh(w * w))).source


def test_a_frozen_parameter_is_called_so():
    model = network()
    model.parameters()[0].requires_grad = False
    assert "frozen · (4, 2)" in line(draw(model, X).source, '"node-W1"')


def test_names_of_any_kind_are_drawn_as_they_are():
    name = 'a"b\\n <i>&amp;</i> ü\n\x00{|}'
    w = tg.Tensor([1.0], requires_grad=True, name=name)
    drawing_of_it = draw(np.sum(w * w))
    svg = ET.fromstring(rendering.render(drawing_of_it.source, "svg"))
    titles = [e.get("{http://www.w3.org/1999/xlink}title", "") for e in svg.iter()]
    assert any(title.startswith('a"b\\n <i>&amp;</i> ü\n\ufffd{|}\nparameter') for title in titles)
    assert "<i>&amp;</i> ü" in "".join(e.text or "" for e in svg.iter())


def test_the_picture_of_formulas_and_of_lazy_arrays_is_drawn():
    z = tg.Tensor(symbols("z", (1, 2)), requires_grad=True, name="z")
    assert "z_{1}" in draw(np.sum(z * z)).source
    w = tg.Tensor(dask.array.ones((2, 2)), requires_grad=True, name="w")
    assert "not computed yet" in draw(np.sum(w * w)).source


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_in_the_documentation_is_what_is_drawn_now(name):
    source = PICTURES[name]().source
    assert (ASSETS / f"{name}.dot").read_text(encoding="utf-8") == source, "python -m tests.pictures makes it anew"
    shown, now = (
        [e.text or dict(e.attrib).get("id") for e in ET.fromstring(svg).iter() if e.tag.endswith(("text", "g"))]
        for svg in ((ASSETS / f"{name}.svg").read_bytes(), rendering.render(source, "svg"))
    )
    assert shown == now  # all that Graphviz and the fonts of a computer do not change


def test_a_picture_for_a_slide_goes_from_left_to_right():
    J = COSTS["two layers, tanh"]()
    at, _ = centres(draw(J, rankdir="LR").source)
    across, down = np.array([at[name] for name in ("X", "Z1", "A1", "Z2", "J")]).T
    assert np.all(np.diff(across) > 0)
    assert np.ptp(down) < np.ptp(across) / 10
    assert at["b1"][1] < at["Z1"][1] < at["W1"][1]
    for direction in DIRECTIONS:
        assert "node-J" in parts(draw(J, rankdir="LR", direction=direction).source)


def test_notes_can_be_switched_off():
    J = COSTS["two layers, tanh"]()
    assert "call backward()" in draw(J).source.splitlines()[1]
    assert "label" not in draw(J, notes=False).source.splitlines()[1].replace("labelloc", "")


def test_a_single_number_has_no_shape():
    x = tg.Tensor(2.0, requires_grad=True, name="x")
    y = x * x
    y.name = "y"
    J = y * 3.0
    J.backward()
    for direction in DIRECTIONS:
        for picture in (draw(J, direction=direction), draw(J, direction=direction, limit=1)):
            assert "()" not in picture.source.replace("backward()", "")
    assert "\N{NO-BREAK SPACE}dy\N{NO-BREAK SPACE}" in draw(J, direction="both").source
    assert draw(J)._picture.facts()["nodes"]["node-y"]["shape"] == "a single number"


def test_the_graph_can_be_had_as_an_object_of_the_package_graphviz():
    picture = draw(composed())
    graph = picture.graphviz
    assert isinstance(graph, graphviz.Digraph)
    assert graph.source == picture.source
    graph.attr(rankdir="LR")
    graph.node("mine", "mine")
    assert graph.source != picture.source == picture.graphviz.source


def test_skip_edges_and_their_labels_keep_clear_of_frames():
    class Block(tg.nn.Module):
        def __init__(self, n, rng):
            self.a, self.b = tg.nn.Linear(n, n, rng=rng), tg.nn.Linear(n, n, rng=rng)

        def __call__(self, x):
            return x + self.b(np.tanh(self.a(x)))

    class DownAndUp(tg.nn.Module):
        def __init__(self):
            self.down, self.up = ([tg.nn.Linear(3, 3, rng=i) for i in range(3)] for _ in range(2))

        def __call__(self, x):
            kept = []
            for layer in self.down:
                x = np.tanh(layer(x))
                kept.append(x)
            for layer, skipped in zip(self.up, reversed(kept), strict=True):
                x = np.tanh(layer(x) + skipped)
            return x

    residual = tg.nn.Sequential(*(Block(3, i) for i in range(3)), tg.nn.Linear(3, 1, rng=3))
    for model in (residual, DownAndUp()):
        for direction in DIRECTIONS:
            picture = draw(model, np.ones((3, 6)), direction=direction)
            crossings, covered = frames_met(rendering.render(picture.source, "svg"))
            assert crossings == {}, direction  # beyond the one that leads in or out
            assert covered == [], direction


# -- the object -------------------------------------------------------------------------------------------------------


STABLE = """
import numpy as np, tinygrad_dls as tg
from tinygrad_dls.drawing.draw import draw
model = tg.nn.TwoLayerNetwork(2, 4, rng=1)
X, Y = np.arange(12.0).reshape(2, 6), np.array([[0, 1, 1, 0, 1, 0]])
J = tg.binary_cross_entropy_with_logits(model(X), Y)
J.backward()
for direction in "forward", "backward", "both":
    print(draw(J, direction=direction).source)
    print(draw(model, X, Y, loss=tg.binary_cross_entropy_with_logits, direction=direction).source)
    print(sorted(draw(model, (2, 6), depth=1)._picture.facts().items()))
"""


def test_the_text_is_the_same_in_every_process():
    texts = {
        subprocess.run(
            [sys.executable, "-c", STABLE],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "2")
    }
    [text] = texts
    assert text.count(b"digraph") == 6


@pytest.mark.parametrize(
    ("ending", "start"),
    [("svg", b"<?xml"), ("png", b"\x89PNG"), ("pdf", b"%PDF"), ("dot", b"digraph"), ("html", b"<!"), ("SVG", b"<?xml")],
)
def test_save_writes_the_format_of_the_ending_and_returns_the_path(tmp_path, ending, start):
    J = LOGITS(network()(X), Y)
    path = draw(J).save(str(tmp_path / f"graph.{ending}"))
    assert path == tmp_path / f"graph.{ending}"
    assert path.read_bytes()[: len(start)].lower() == start.lower()
    assert list(tmp_path.iterdir()) == [path]


def test_a_saved_file_has_the_rights_of_any_other(tmp_path):
    path = draw(composed()).save(tmp_path / "graph.dot")
    (tmp_path / "other").touch()
    assert path.stat().st_mode == (tmp_path / "other").stat().st_mode


def test_a_failing_save_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "graph.dot"
    path.write_text("old")

    def failing(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(OSError, match="no space left"):
        draw(composed()).save(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_drawing_keeps_the_numbers_of_its_time(tmp_path):
    w = tg.Tensor(np.ones((2, 2)), requires_grad=True, name="w")
    picture = draw(np.sum(w * w))
    first = picture.save(tmp_path / "graph.html").read_text(encoding="utf-8")
    w.data[:] = 7
    assert picture.save(tmp_path / "graph.html").read_text(encoding="utf-8") == first


def test_a_notebook_shows_the_svg():
    shown = draw(composed())._repr_mimebundle_(include=None, exclude=None)
    assert "<svg" in shown["image/svg+xml"]
    assert shown["text/plain"].startswith("Drawing of J: 16 boxes")


def test_without_graphviz_what_needs_it_is_an_error_that_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(rendering, "find_spec", lambda _: None)
    picture = draw(composed())
    for ending in ("png", "pdf"):
        with pytest.raises(rendering.GraphvizNotFoundError, match=r"(?s)pip install.*apt install graphviz"):
            picture.save(tmp_path / f"graph.{ending}")
    assert list(tmp_path.iterdir()) == []
    assert picture.save(tmp_path / "graph.dot").read_text(encoding="utf-8") == picture.source
    assert picture.save(tmp_path / "graph.svg").read_text(encoding="utf-8").startswith("<svg ")
    assert "<svg " in picture.save(tmp_path / "graph.html").read_text(encoding="utf-8")


def test_without_graphviz_a_notebook_has_its_picture(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(rendering, "find_spec", lambda _: None)
    picture = draw(composed())
    shown = picture._repr_mimebundle_()
    assert shown["image/svg+xml"].startswith("<svg ")
    assert shown["text/plain"] == repr(picture)


@pytest.mark.parametrize("with_graphviz", [True, False])
def test_pictures_in_one_notebook_have_no_id_in_common(monkeypatch, with_graphviz):
    if not with_graphviz:
        monkeypatch.setenv("PATH", "")
        monkeypatch.setattr(rendering, "find_spec", lambda _: None)
    one, other = (
        {e.get("id") for e in ET.fromstring(draw(J)._repr_mimebundle_()["image/svg+xml"]).iter() if e.get("id")}
        for J in (composed(), chain(3))
    )
    assert len(one) > len(other) > 5
    assert not one & other


# -- what is refused --------------------------------------------------------------------------------------------------


MODEL = network()
GOOD = composed()


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: draw(None), TypeError, r"draw: expected a cost, draw\(J\); or a function, .* or a model, .* got None"),
        (lambda: draw("J"), TypeError, "got 'J'"),
        (lambda: draw(X), TypeError, r"got an array of shape \(2, 6\). Only a Tensor remembers"),
        (lambda: draw(tg.nn.Linear, X), TypeError, r"got the class Linear. Make one first, as in Linear\(...\)"),
        (
            lambda: draw(lambda x: x, X),
            TypeError,
            r"must return a Tensor, got array.* passed by itself: draw\(J\)",
        ),
        (lambda: draw(tg.Tensor([1.0], name="w")), ValueError, "w has no graph: no op computed it"),
        (lambda: draw(tg.Tensor([1.0], requires_grad=True)), ValueError, "this Tensor has no graph"),
        (lambda: draw(GOOD, X), TypeError, r"a Tensor is taken as it was computed.* draw\(model, X, Y, loss=...\)"),
        (lambda: draw(GOOD, loss=LOGITS), TypeError, "inputs and loss= belong to a model"),
        (lambda: draw(MODEL, loss=LOGITS), TypeError, "with loss=, the labels come last"),
        (lambda: draw(MODEL), TypeError, r"TwoLayerNetwork came without inputs: write .* draw\(model, \(2, 400\)\)"),
        (lambda: draw(MODEL, X.T), ValueError, r"layer1 .* X is \(6, 2\); expected X to be \(2, m\)"),
        (lambda: draw(MODEL, (3, 400)), ValueError, r"X is \(3, 400\); expected X to be \(2, m\)"),
        (lambda: draw(MODEL, (2, 0)), ValueError, r"input 1 is the tuple \(2, 0\), which is no shape"),
        (lambda: draw(MODEL, (2, -4)), ValueError, "which is no shape"),
        (lambda: draw(MODEL, ()), ValueError, "which is no shape"),
        (lambda: draw(MODEL, X, (1, 0), loss=LOGITS), ValueError, "input 2 is the tuple"),
        (lambda: draw(MODEL, X, Y), TypeError, "TwoLayerNetwork does not take 2 inputs.* Labels come with loss="),
        (lambda: draw(MODEL, X, loss=LOGITS), TypeError, "with loss=, the labels come last"),
        (lambda: draw(MODEL, X, Y, loss="mse"), TypeError, "loss= takes a function, such as .* got 'mse'"),
        (lambda: draw(MODEL, X, Y, loss=lambda *_: 1.0), TypeError, "the loss must return a Tensor, got 1.0"),
        (lambda: draw(tg.nn.Tanh(), X), TypeError, "Tanh must return a Tensor, got array"),
        (lambda: draw(MODEL, None), TypeError, "X"),
        (lambda: draw(GOOD, direction="sideways"), ValueError, "forward.*backward.*both.*got 'sideways'"),
        (lambda: draw(GOOD, direction=["both"]), ValueError, "direction must be"),
        (lambda: draw(GOOD, direction=X), ValueError, "direction must be"),
        (lambda: draw(GOOD, depth=-1), ValueError, "depth must be the number of levels of modules .* got -1"),
        (lambda: draw(GOOD, depth=1.5), ValueError, "depth must be .* got 1.5"),
        (lambda: draw(GOOD, depth=True), ValueError, "depth must be .* got True"),
        (lambda: draw(GOOD, limit=0), ValueError, "limit must be a positive integer, got 0"),
        (lambda: draw(GOOD, limit="all"), ValueError, "limit must be a positive integer, got 'all'"),
        (lambda: draw(GOOD, rankdir="left"), ValueError, 'rankdir must be "TB", .* or "LR", .*; got \'left\''),
        (lambda: draw(GOOD, rankdir=1), ValueError, "rankdir must be .*; got 1"),
        (lambda: draw(GOOD, notes="no"), TypeError, "draw: notes must be True or False, got 'no'"),
        (lambda: draw(GOOD).save("graph.gif"), ValueError, r"must end in \.svg, \.png, \.pdf, \.html or \.dot"),
        (lambda: draw(GOOD).save("graph"), ValueError, "must end in"),
        (lambda: draw(GOOD).save(None), TypeError, "save takes the path of a file"),
        (lambda: draw(GOOD).save(b"graph.svg"), TypeError, "save takes the path of a file"),
        (lambda: draw(GOOD).save("no/such/folder/graph.dot"), FileNotFoundError, "there is no folder 'no/such/folder'"),
    ],
)
def test_bad_input_gets_a_clear_error(call, error, text):
    with pytest.raises(error, match=f"(?s){text}"):
        call()


def test_a_folder_called_like_a_picture_is_not_written_to(tmp_path):
    (tmp_path / "graph.svg").mkdir()
    with pytest.raises(ValueError, match="is a folder; name a file in it"):
        draw(GOOD).save(tmp_path / "graph.svg")


@pytest.mark.parametrize("letter", ["W", "&", "\\", '"', "<", "\N{CJK UNIFIED IDEOGRAPH-65E5}", "\n", "\N{ROBOT FACE}"])
def test_a_name_of_any_length_is_short_in_the_picture_and_whole_in_the_tooltip(letter):
    name = letter * 20_000
    w = tg.Tensor([[1.0, 2.0]], requires_grad=True, name=name)
    J = np.sum(np.tanh(w))
    J.backward()
    J.name = name[1:]
    for direction in ("forward", "backward", "both"):
        document = ET.fromstring(rendering.render(tg.draw(J, direction=direction).source, "svg"))
        shown = ["".join(e.itertext()) for e in document.iter("{http://www.w3.org/2000/svg}text")]
        titles = [e.get("{http://www.w3.org/1999/xlink}title", "") for e in document.iter()]
        assert max(map(len, shown)) < 150
        if letter not in "\n\\":  # as a line's end they are written otherwise
            assert any(name in title for title in titles)


def test_the_courses_cost_with_a_penalty_on_a_dict_of_parameters_is_drawn(tmp_path):
    """In some versions of Graphviz, an edge of this picture cannot be bent."""
    rng = np.random.default_rng(0)
    shapes = {"W1": (4, 2), "b1": (4, 1), "W2": (1, 4), "b2": (1, 1)}
    p = {name: tg.Tensor(rng.normal(size=shape), requires_grad=True, name=name) for name, shape in shapes.items()}
    points, labels = rng.normal(size=(2, 50)), np.zeros((1, 50), int)
    A2 = tg.sigmoid(np.dot(p["W2"], np.tanh(np.dot(p["W1"], points) + p["b1"])) + p["b2"])
    logprobs = np.multiply(np.log(A2), labels) + np.multiply(np.log(1 - A2), 1 - labels)
    penalty = 0.7 / 100 * (np.sum(np.square(p["W1"])) + np.sum(np.square(p["W2"])))
    J = np.squeeze(-np.sum(logprobs) / 50) + penalty
    J.backward()
    draw(J).save(tmp_path / "J.png")
    assert (tmp_path / "J.png").read_bytes().startswith(b"\x89PNG")
