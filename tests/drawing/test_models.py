"""The picture of a model: its modules, from shapes alone, closed and open."""

import gc
import re

import numpy as np
import pytest

import tinygrad_dls as tg
from tests.drawing.drawn import DIRECTIONS, LOGITS, X, Y, chain, deep, line, network, parts
from tinygrad_dls.drawing import draw as drawing_module
from tinygrad_dls.drawing import rendering
from tinygrad_dls.drawing.boxes import MOST, RUNS
from tinygrad_dls.drawing.draw import draw
from tinygrad_dls.drawing.ranks import QUICK, effort
from tinygrad_dls.graph.reading import read


def test_a_model_with_an_input_is_drawn_with_its_modules():
    source = draw(network(), X, Y, loss=LOGITS).source
    assert 'subgraph "cluster_module-layer1-Linear-2-4"' in source
    assert re.search(r'graph \[class=module .*id="module-TwoLayerNetwork"', source)
    assert "Tanh" not in source  # it would only repeat the op of A1


def test_modules_hold_their_nodes_edges_and_modules():
    modules = draw(network(), X, Y, loss=LOGITS)._picture.facts()["modules"]
    layer = modules["module-layer1-Linear-2-4"]
    assert layer["label"] == "layer1 (Linear 2 -> 4)"
    assert [id for id in layer["holds"] if id.startswith("node")] == ["node-W1", "node-b1", "node-Z1"]
    assert len([id for id in layer["holds"] if id.startswith("edge")]) == 2
    assert "module-layer1-Linear-2-4" in modules["module-TwoLayerNetwork"]["holds"]


def test_the_way_of_a_gradient_leads_from_the_cost_to_the_parameter():
    ways = draw(network(), X, Y, loss=LOGITS)._picture.facts()["parameters"]
    assert [id for id in ways["W2"] if id.startswith("node")] == ["node-W2", "node-Z2", "node-J"]
    assert {"node-W1", "node-Z1", "node-A1", "node-Z2", "node-J"} == {id for id in ways["W1"] if "node" in id}


def test_a_model_is_drawn_from_shapes_alone_without_values():
    source = draw(network(), (2, 400), (1, 400), loss=LOGITS).source
    assert "from shapes alone: no values" in source
    assert "(4, 400)" in line(source, '"node-Z1"')
    assert "mean" not in line(source, '"node-Z1"')
    assert "0.693" not in source


@pytest.mark.parametrize("labels", [(1, 5), (3, 5)])
def test_shapes_of_labels_do_for_classes_as_indices_and_one_hot(labels):
    assert (
        '"node-J"' in draw(tg.nn.TwoLayerNetwork(2, 4, 3, rng=1), (2, 5), labels, loss=tg.softmax_cross_entropy).source
    )


def test_shapes_take_the_dtype_of_the_model():
    assert "float64" not in draw(tg.nn.TwoLayerNetwork(2, 4, rng=1, dtype=np.float32), (2, 5)).source


def test_drawing_a_model_changes_nothing_of_it():
    def make():
        return tg.nn.Sequential(tg.nn.Linear(2, 8, rng=0), tg.nn.Dropout(0.5, rng=3), tg.nn.Linear(8, 1, rng=1))

    drawn, other = make(), make()
    for inputs in ((X,), ((2, 6),)):
        assert "Dropout 0.5" in draw(drawn, *inputs).source
    assert all(p.grad is None for p in drawn.parameters())
    assert drawn.training
    np.testing.assert_array_equal(drawn(X).data, other(X).data)  # the same mask: none was drawn from its generator


def test_a_model_is_drawn_under_no_grad_too():
    with tg.no_grad():
        assert '"node-Z2"' in draw(network(), X).source


def test_depth_closes_modules():
    model = deep()
    inputs = np.ones((3, 6)), Y
    assert '"node-Sequential"' in draw(model, *inputs, loss=LOGITS, depth=0).source
    layers = draw(model, *inputs, loss=LOGITS, depth=1).source
    assert '"node-layer5-Linear-3-1"' in layers
    assert "W5 (1, 3), b5 (1, 1)" in layers
    assert '"node-W5"' not in layers
    assert draw(model, *inputs, loss=LOGITS, depth=2).source == draw(model, *inputs, loss=LOGITS).source
    parts(layers)


def test_a_closed_module_that_is_used_twice_is_one_box():
    class Twice(tg.nn.Module):
        def __init__(self):
            self.layer = tg.nn.Linear(2, 2, rng=0)

        def __call__(self, x):
            return self.layer(np.tanh(self.layer(x)))

    found = parts(draw(Twice(), X, depth=1).source)
    assert len([id for id in found if id.startswith("node-layer")]) == 1
    assert draw(Twice(), X, depth=1)._picture.facts()["parameters"]["layer.W"]


def test_beyond_the_limit_modules_are_closed_and_the_picture_says_so():
    source = draw(deep(50), (3, 6), limit=120).source
    assert "boxes are more than limit=120: drawn with depth=1" in source
    assert "from shapes alone" in source


def without_repeats(length):
    """A chain of ops in which no part comes three times in a row."""
    ops = (np.tanh, np.sin, np.cos, np.exp)
    z = tg.Tensor(np.ones((2, 2)), requires_grad=True, name="w")
    for i in range(length):
        z = ops[(i + bin(i).count("1")) % 4 if i % 3 else bin(i).count("1") % 4](z) * 0.5
        z = z if i.bit_count() % 2 else -z
    return z


@pytest.mark.parametrize("limit", [1, 2, 7, 100])
def test_a_graph_without_modules_is_summarised_by_runs_of_ops(limit):
    picture = draw(without_repeats(1000), limit=limit)
    assert len(picture._picture.boxes) <= min(limit, RUNS)
    assert f"boxes are more than limit={limit}: summarised by runs of ops" in picture.source
    parts(picture.source)


def test_a_chain_of_ops_of_one_kind_is_folded_with_a_count():
    picture = draw(chain(3000))
    assert "3,001 boxes are more than limit=1,000: U1, 3000 times, folded into one" in picture.source
    assert "2999 more like U1" in picture.source
    assert set(parts(picture.source)) >= {"node-w", "node-U1", "node-2999-more-like-U1"}


def recurrent(steps, m=3):
    """A chain of steps that share their weights, written out by hand."""
    rng = np.random.default_rng(0)
    Wx, Wh, b, Wy = (
        tg.Tensor(rng.normal(size=shape), requires_grad=True, name=name)
        for name, shape in (("Wx", (4, 2)), ("Wh", (4, 4)), ("b", (4, 1)), ("Wy", (1, 4)))
    )
    h = np.zeros((4, m))
    for _ in range(steps):
        h = np.tanh(Wx @ rng.normal(size=(2, m)) + Wh @ h + b)
    return LOGITS(Wy @ h, np.ones((1, m)))


class Skips(tg.nn.Module):
    """Each layer takes what all before it gave."""

    def __init__(self, layers):
        self.layers = [tg.nn.Linear(3 * (i + 1), 3, rng=i) for i in range(layers)]

    def __call__(self, x):
        xs = [x]
        for layer in self.layers:
            xs.append(np.tanh(layer(np.concatenate(xs, axis=0) if len(xs) > 1 else x)))
        return xs[-1]


def tangled(length):
    rng = np.random.default_rng(0)
    zs = [tg.Tensor(np.full((2, 2), 0.5), requires_grad=True, name="w")] * 2
    for _ in range(length):
        zs.append(np.tanh(zs[rng.integers(max(0, len(zs) - 12), len(zs))] + zs[-1]))
    return zs[-1]


LARGE = {
    "a thousand nodes": lambda way: draw(deep(240), (3, 6), direction=way),
    "a chain": lambda way: draw(chain(990), direction=way),
    "a tangle": lambda way: draw(tangled(330), direction=way),
    "40 steps that share their weights": lambda way: draw(recurrent(40), direction=way),
    "skips between 12 layers": lambda way: draw(Skips(12), (3, 6), direction=way),
    "skips between 40 layers": lambda way: draw(Skips(40), (3, 6), direction=way),
}


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("name", LARGE)
def test_graphviz_gets_no_more_than_it_lays_out_in_seconds(name, direction):
    picture = LARGE[name](direction)
    boxes = picture._picture.boxes
    nodes = picture._picture.nodes
    assert len(boxes) <= MOST
    assert effort(nodes, boxes, direction) <= QUICK
    parts(picture.source)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_steps_that_share_their_weights_are_drawn_once_with_a_count(direction):
    picture = draw(recurrent(40), direction=direction)
    assert "39 more like" in picture.source
    assert "40 times, folded into one; limit=248 draws all" in picture.source
    assert {"node-Wx", "node-Wh", "node-b"} <= set(parts(picture.source))
    folded = next(box for box in picture._picture.boxes if "39 more like" in box.title)
    assert len([node for node in folded.nodes if node.op]) == 39 * 5
    assert len(picture._picture.boxes) < 20


def test_a_limit_of_the_users_is_taken_at_its_word():
    assert len(draw(recurrent(40), limit=248)._picture.boxes) == 248
    assert "folded" not in draw(recurrent(40), limit=248).source


def test_what_graphviz_does_not_finish_is_drawn_simpler_and_says_so(monkeypatch):
    asked = []

    def slow(source, format, *, seconds):
        asked.append(source)
        if len(asked) < 3:
            raise rendering.GraphvizTimeoutError("not in time")
        return rendering.render(source, format)

    monkeypatch.setattr(drawing_module, "render", slow)
    picture = draw(recurrent(40), limit=248)
    svg = picture._repr_mimebundle_()["image/svg+xml"]
    assert "248 boxes took Graphviz more than 30 s: summarised by runs of ops" in svg
    assert asked[0] == picture.source
    assert "248 boxes took Graphviz more than 30 s: " in asked[1]
    assert "folded into one" in asked[1]


def test_a_picture_that_even_simplified_does_not_finish_is_an_error(monkeypatch):
    def never(source, format, *, seconds):
        raise rendering.GraphvizTimeoutError("not in time")

    monkeypatch.setattr(drawing_module, "render", never)
    with pytest.raises(rendering.GraphvizTimeoutError):
        draw(network(), X).widget()


def test_repeats_within_a_module_are_folded_in_its_frame():
    class Steps(tg.nn.Module):
        def __init__(self):
            self.cell = tg.nn.Linear(3, 3, rng=0)

        def __call__(self, x):
            for _ in range(60):
                x = np.tanh(self.cell(x) + x)
            return x

    picture = draw(Steps(), (3, 6))
    [fold] = [box for box in picture._picture.boxes if "59 more like" in box.title]
    assert fold.modules == ("Steps",)


def test_what_flows_between_two_closed_boxes_is_one_edge_with_a_count():
    class Parts(tg.nn.Module):
        def __init__(self, layer):
            self.layer = layer

        def __call__(self, x):
            return [self.layer(x) * float(i) for i in range(2, 7)]

    class Sum(tg.nn.Module):
        def __call__(self, zs):
            return sum(np.tanh(z) for z in zs)

    class Both(tg.nn.Module):
        def __init__(self):
            self.parts, self.sum = Parts(tg.nn.Linear(2, 2, rng=0)), Sum()

        def __call__(self, x):
            return self.sum(self.parts(x))

    picture = draw(Both(), (2, 6), depth=1)
    [edge] = [edge for edge in picture._picture.edges if edge.tail.title and edge.head.title]
    assert edge.lines == ("5 values",)


class Block(tg.nn.Module):
    def __init__(self, n, rng):
        self.a, self.b = tg.nn.Linear(n, n, rng=rng), tg.nn.Linear(n, n, rng=rng)

    def __call__(self, x):
        return np.tanh(self.b(np.tanh(self.a(x))))


class Net(tg.nn.Module):
    def __init__(self):
        self.blocks = [Block(2, 0), Block(2, 1)]
        self.last = tg.nn.Linear(2, 1, rng=2)

    def __call__(self, x):
        for block in self.blocks:
            x = block(x)
        return self.last(x)


def test_modules_of_the_users_have_their_frames_when_a_cost_is_drawn():
    model = Net()
    modules = draw(LOGITS(model(X), Y))._picture.facts()["modules"]
    assert [module["label"] for module in modules.values()] == [
        "Net", "blocks.0 (Block)", "a (Linear 2 -> 2)", "b (Linear 2 -> 2)",
        "blocks.1 (Block)", "a (Linear 2 -> 2) #2", "b (Linear 2 -> 2) #2", "last (Linear 2 -> 1)",
    ]  # fmt: skip
    assert [module["label"] for module in draw(model, X, Y, loss=LOGITS)._picture.facts()["modules"].values()] == [
        module["label"] for module in modules.values()
    ]
    within = {node.name: node.modules for node in read(LOGITS(model(X), Y)) if node.op}
    assert within["U1"] == ("Net", "blocks.0 (Block)", "a (Linear 2 -> 2)")
    assert within["U2"] == ("Net", "blocks.0 (Block)")  # the tanh between its layers
    assert within["U4"] == ("Net",)  # the tanh at its end, or before the next one: that cannot be told
    assert within["J"] == ()


def test_a_module_that_is_gone_leaves_no_frame_and_no_error():
    model = Net()
    J = LOGITS(model(X), Y)
    del model
    gc.collect()
    assert "node-J" in parts(draw(J).source)


def test_models_of_the_package_are_known_by_the_names_of_the_course():
    modules = draw(LOGITS(network()(X), Y))._picture.facts()["modules"]
    assert [module["label"] for module in modules.values()] == ["layer1", "layer2"]
