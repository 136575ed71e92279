"""The picture of a model: its modules, from shapes alone, closed and open."""

import time

import numpy as np
import pytest

import tinygrad_dls as tg
from tests.drawing.drawn import DIRECTIONS, LOGITS, X, Y, chain, deep, line, network, parts
from tinygrad_dls.drawing.draw import draw
from tinygrad_dls.drawing.picture import RUNS


def test_a_model_with_an_input_is_drawn_with_its_modules():
    source = draw(network(), X, Y, loss=LOGITS).source
    assert 'subgraph "cluster_module-layer1-Linear-2-4"' in source
    assert 'graph [id="module-TwoLayerNetwork", class="module"' in source
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


@pytest.mark.parametrize("limit", [1, 2, 7, 100])
def test_a_graph_without_modules_is_summarised_by_runs_of_ops(limit):
    picture = draw(chain(3000), limit=limit)
    assert len(picture._picture.boxes) <= min(limit, RUNS)
    assert f"3,001 boxes are more than limit={limit}: summarised by runs of ops" in picture.source
    parts(picture.source)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_thousand_nodes_are_drawn_in_seconds(direction):
    start = time.process_time()
    parts(draw(deep(240), (3, 6), direction=direction).source)
    parts(draw(chain(990), direction=direction).source)
    assert time.process_time() - start < 30


def test_a_tangled_graph_is_drawn_in_seconds():
    rng = np.random.default_rng(0)
    zs = [tg.Tensor(np.full((2, 2), 0.5), requires_grad=True, name="w")] * 2
    for _ in range(330):
        zs.append(np.tanh(zs[rng.integers(max(0, len(zs) - 12), len(zs))] + zs[-1]))
    start = time.process_time()
    parts(draw(zs[-1]).source)
    assert time.process_time() - start < 30
