"""Pictures without Graphviz: what is in them, and that nothing in them lies upon anything else."""

import re
from itertools import combinations
from xml.etree import ElementTree as ET

import numpy as np
import pytest

import tinygrad_dls as tg
from tests.drawing.drawn import DIRECTIONS, LOGITS, X, Y, chain, deep, network, parts
from tests.drawing.frames import frames_met
from tests.pictures import ASSETS, PICTURES, without_graphviz
from tinygrad_dls.drawing import rows
from tinygrad_dls.drawing.draw import draw
from tinygrad_dls.drawing.layout import laid_out
from tinygrad_dls.drawing.svg import picture_of

NAMESPACE = "{http://www.w3.org/2000/svg}"


class Skipping(tg.nn.Module):
    """Layers of which one is used twice, with edges that pass others."""

    def __init__(self):
        self.one, self.two, self.last = (tg.nn.Linear(3, n, rng=n) for n in (3, 3, 1))

    def __call__(self, X):
        A = np.tanh(self.one(X))
        B = np.tanh(self.two(A)) + A
        return self.last(np.tanh(self.two(B)) + A)


class Random(tg.nn.Module):
    """A network in which any layer may use what any before it gave, and layers may be within layers."""

    def __init__(self, rng, depth=0):
        self.rng = rng
        self.inner = [Random(rng, depth + 1) if depth < 2 else tg.nn.Linear(2, 2, rng=rng) for _ in range(2)]

    def __call__(self, X):
        values = [X]
        for _ in range(5):
            one, other = (values[i] for i in self.rng.integers(len(values), size=2))
            kind = self.rng.integers(4)
            values.append(self.inner[kind](one) if kind < 2 else one * other if kind == 2 else np.tanh(one) - other)
        return values[-1] + values[-2]


def skipping(direction, rankdir="TB"):
    model = Skipping()
    J = LOGITS(model(np.ones((3, 6))), Y) + tg.l2(model, 0.1, 6)
    J.backward()
    return draw(J, direction=direction, rankdir=rankdir)


def random(seed):
    W = tg.Tensor(np.ones((2, 3)), requires_grad=True, name="W")
    return draw(np.sum(Random(np.random.default_rng(seed))(W)), limit=300)


GRAPHS = {
    **PICTURES,
    **{f"skips, {direction}": lambda direction=direction: skipping(direction) for direction in DIRECTIONS},
    **{f"skips, {d}, from left to right": lambda d=d: skipping(d, rankdir="LR") for d in DIRECTIONS},
    "closed": lambda: draw(network(), X, Y, loss=LOGITS, depth=0),
    "deep": lambda: draw(deep(12), np.ones((3, 6)), Y, loss=LOGITS, direction="both"),
    "chain": lambda: draw(chain(30)),
    "a leaf alone": lambda: draw(tg.Tensor(np.ones((2, 2)), requires_grad=True, name="w") * 1),
    **{f"random {seed}": lambda seed=seed: random(seed) for seed in range(6)},
}


def svg_of(drawing):
    return picture_of(drawing._title, drawing._picture, drawing._labels, drawing._rankdir)


def overlap(one, other):
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def holds(frame, box):
    return all(
        np.array(box) * [1, 1, -1, -1] >= np.array(frame) * [1, 1, -1, -1] - 1e-6
    )  # of sums of a thousand points


def layout_of(drawing, monkeypatch):
    """Where all is, and how large the texts of edges are; across and along."""
    seen = {}

    def spied(picture, sizes, texts, titles, margins, sideways):
        seen["layout"], seen["texts"] = laid_out(picture, sizes, texts, titles, margins, sideways), texts
        return seen["layout"]

    monkeypatch.setattr("tinygrad_dls.drawing.svg.laid_out", spied)
    svg_of(drawing)
    return seen["layout"], seen["texts"]


@pytest.mark.parametrize("name", GRAPHS)
def test_nothing_lies_upon_anything_else(name, monkeypatch):
    drawing = GRAPHS[name]()
    layout, sizes = layout_of(drawing, monkeypatch)
    for (one, here), (other, there) in combinations(layout.boxes.items(), 2):
        assert not overlap(here, there), (one.id, other.id)
    texts = {}
    for edge, (x, y) in layout.texts.items():
        half = np.array(sizes[edge]) / 2
        if edge.lines:
            texts[edge] = (x - half[0], y - half[1], x + half[0], y + half[1])
    for edge, here in texts.items():
        assert not any(overlap(here, box) for box in layout.boxes.values()), edge.id
    for (one, here), (other, there) in combinations(texts.items(), 2):
        assert not overlap(here, there), (one.id, other.id)


@pytest.mark.parametrize("name", GRAPHS)
def test_frames_hold_what_is_in_their_modules_and_nothing_else(name, monkeypatch):
    drawing = GRAPHS[name]()
    layout, _ = layout_of(drawing, monkeypatch)
    width, length = layout.size
    assert set(layout.boxes) == set(drawing._picture.boxes)
    assert set(layout.frames) == set(drawing._picture.modules)
    for box, sides in layout.boxes.items():
        assert holds((0, 0, width, length), sides), box.id
        for path, frame in layout.frames.items():
            inside = box.modules[: len(path)] == path
            assert holds(frame, sides) if inside else not overlap(frame, sides), (box.id, path)
    for (one, here), (other, there) in combinations(layout.frames.items(), 2):
        if one == other[: len(one)]:
            assert holds(here, there), (one, other)
        elif other != one[: len(other)]:
            assert not overlap(here, there), (one, other)


def with_ends(drawing):
    """The SVG with titles as Graphviz writes them: of a box its id, of an edge those of both ends."""
    picture = drawing._picture
    tree = ET.fromstring(svg_of(drawing))
    ends = {edge.id: f"{edge.tail.id}->{edge.head.id}" for edge in picture.edges}
    for group in tree.iter(f"{NAMESPACE}g"):
        title = group.find(f"{NAMESPACE}title")
        title.text = ends.get(group.get("id"), group.get("id"))
    return ET.tostring(tree, encoding="unicode")


@pytest.mark.parametrize("name", GRAPHS)
def test_edges_meet_only_the_frames_that_they_leave_or_enter(name):
    crossings, covered = frames_met(with_ends(GRAPHS[name]()))
    assert crossings == {}
    assert covered == []


@pytest.mark.parametrize("name", GRAPHS)
def test_edges_run_through_no_box(name, monkeypatch):
    layout, _ = layout_of(GRAPHS[name](), monkeypatch)
    for edge, points in layout.lines.items():
        for box, sides in layout.boxes.items():
            if box is not edge.tail and box is not edge.head:
                assert not any(sides[0] < x < sides[2] and sides[1] < y < sides[3] for x, y in points), (
                    edge.id,
                    box.id,
                )


@pytest.mark.parametrize("name", [*PICTURES, "skips, both", "closed"])
def test_the_parts_have_the_ids_and_classes_that_graphviz_gives_them(name):
    drawing = GRAPHS[name]()
    of_graphviz = parts(drawing.source)
    mine = {e.get("id"): e.get("class", "").split() for e in ET.fromstring(svg_of(drawing)).iter() if e.get("id")}
    around = {id for id in of_graphviz if id.endswith(("-out", "-in"))}  # an edge around a frame has three parts there
    links = {id for id in of_graphviz if id.startswith("a_")}
    assert {id: of_graphviz[id] for id in of_graphviz.keys() - around - links} == mine


def test_the_boxes_say_what_graphviz_is_told_to_write():
    drawing = GRAPHS["from_picture_to_code"]()
    words = "".join(ET.fromstring(svg_of(drawing)).itertext())
    for text in ("Z = W @ X + b", "affine · (1, 4) · float64", "dJ = 1", "A (1 - A)"):
        assert text in words


def test_names_and_values_are_text_and_never_markup():
    w = tg.Tensor([[1.0]], requires_grad=True, name='<img src="x">&\x00')
    text = svg_of(draw(w * w))
    assert "<img" not in text
    assert "&lt;img src=&quot;x&quot;&gt;&amp;\ufffd" in text
    ET.fromstring(text)


def test_the_picture_in_the_documentation_is_up_to_date():
    shown = (ASSETS / "without_graphviz.svg").read_text(encoding="utf-8")
    assert shown == without_graphviz(), "python -m tests.pictures makes it anew"


def test_the_same_graph_gives_the_same_picture_with_the_numbers_of_its_time():
    w = tg.Tensor(np.ones((2, 2)), requires_grad=True, name="w")
    drawing = draw(np.sum(w * w))
    first = svg_of(drawing)
    assert first == svg_of(draw(np.sum(w * w)))
    w.data[:] = 7
    assert svg_of(drawing) == first


def test_nothing_is_fetched():
    text = svg_of(GRAPHS["two_layer_network"]())
    assert re.findall(r"https?://[^\s\"]+", text) == ["http://www.w3.org/2000/svg"]  # the name of SVG itself
    assert not re.search(r"href=|@import|url\(|<script", text)


def test_the_chain_of_values_is_straight(monkeypatch):
    drawing = GRAPHS["deep"]()
    layout, _ = layout_of(drawing, monkeypatch)
    middles = [(s[0] + s[2]) / 2 for box, s in layout.boxes.items() if box.kind == "value"]
    assert np.ptp(middles) < 30  # of a picture that is 900 wide
    wide = [s[2] - s[0] for box, s in layout.boxes.items() if box.kind == "value"]
    assert min(wide) > 2 * np.ptp(middles)


@pytest.mark.parametrize("name", GRAPHS)
def test_every_arrow_has_a_head_that_ends_on_the_box_where_the_edge_arrives(name):
    drawing = GRAPHS[name]()
    groups = {e.get("id"): e for e in ET.fromstring(svg_of(drawing)).iter(f"{NAMESPACE}g")}

    def numbers(text):
        return np.array(re.findall(r"-?[\d.]+", text), float).reshape(-1, 2)

    for edge in drawing._picture.edges:
        corners = numbers(groups[edge.id].find(f"{NAMESPACE}polygon").get("points"))
        end = groups[(edge.tail if edge.backward else edge.head).id]
        ellipse = end.find(f"{NAMESPACE}ellipse")
        if ellipse is not None:
            x, y, *radii = (float(ellipse.get(name)) for name in ("cx", "cy", "rx", "ry"))
            distance = np.hypot(*((corners[0] - (x, y)) / radii))
            assert distance == pytest.approx(1, abs=1e-3), edge.id  # hundredths of a point are written
        else:
            outline = next(e for e in end.iter() if e.get("points") or e.get("d"))
            points = numbers(outline.get("points") or outline.get("d"))
            gaps = np.minimum(np.abs(corners[0] - points.min(axis=0)), np.abs(corners[0] - points.max(axis=0)))
            assert gaps.min() < 0.02, edge.id
        assert np.hypot(*(corners[1] - corners[0])) > 7, edge.id


def test_very_many_blocks_are_gone_through_less_often():
    few, many = ([[rows.Block(1, 1, 1)] * count] for count in (100, 20_000))
    assert rows._sweeps(few) == rows.SWEEPS
    assert rows._sweeps(many) == 2
    assert rows._sweeps([]) == rows.SWEEPS
