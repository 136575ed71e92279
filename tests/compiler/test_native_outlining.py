"""Many layers in C: each is the eager one, and adds calls to the text, but no loops, and little memory."""

import re

import numpy as np
import pytest

import tinygrad_dls as tg
from tests.compiler.steps import DTYPES, LOGITS, Layers, assert_same_training, sgd
from tinygrad_dls import nn
from tinygrad_dls.compiler.native import fusing
from tinygrad_dls.compiler.native.outlining import SEVERAL, Block, Outlines


def data_of(m, dtype):
    rng = np.random.default_rng(0)
    return rng.normal(size=(5, m)).astype(dtype), (rng.random((1, m)) < 0.5).astype(dtype)


def source_of(depth, units, m=100):
    """The text of a network with so many hidden layers."""
    model = Layers((5, *(units,) * depth, 1), np.tanh, "float64")
    step = tg.compile(model, LOGITS, sgd(model), backend="native")
    step(*data_of(m, "float64"))
    return step.source[step.source.index("introduce") :]  # what is behind the definitions


# small products, written out; and large ones, with kernels. Rows that end within a vector, and runs over several tiles
NETWORKS = {"small": (4, 100), "with a rest": (4, 1003), "large": (16, 100), "large, with a rest": (16, 1003)}


@pytest.mark.parametrize("function", [np.tanh, nn.ReLU()], ids=["tanh", "ReLU"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NETWORKS)
def test_many_layers_train_as_eager_ones(name, dtype, function):
    units, m = NETWORKS[name]
    make = lambda: Layers((5, *(units,) * 9, 1), function, dtype)  # noqa: E731  # used once, in the next line
    step = assert_same_training(make, LOGITS, lambda p: sgd(p, lr=0.1), [data_of(m, dtype)] * 3, backend="native")
    assert "noinline)) void c0_0(" in step.source


@pytest.mark.parametrize("units", [4, 16])
def test_more_layers_add_calls_and_no_loops(units):
    few, many = source_of(8, units), source_of(16, units)
    assert many.count("for (") == few.count("for (")
    assert len(many) - len(few) < 8 * 1000, "some calls for each layer"


def test_what_nothing_reads_any_more_leaves_its_place_to_others():
    rows = [int(n) // 64 for n in re.findall(r"F v\d+\[(\d+)\]", source_of(20, 16))]
    assert rows.count(16) <= 20 + 4, "A of each layer, and Z, dA and dZ of those at work"


def test_each_parameter_has_a_gradient_of_its_own_layer():
    """As eager: a call that is given the memory of another layer would train too."""
    model = Layers((5, 4, 4, 4, 4, 4, 1), np.tanh, "float64")
    step = tg.compile(model, LOGITS, sgd(model, lr=0), backend="native", gradients=True)
    x, y = data_of(100, "float64")
    step(x, y)
    found = [p.grad.copy() for p in model.parameters()]
    LOGITS(model(x), y).backward()
    for got, p in zip(found, model.parameters(), strict=True):
        np.testing.assert_allclose(got, p.grad / 2, rtol=1e-9, atol=1e-15)  # the second pass adds to the first


# -- lanes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("m", "shared"), [(100, False), (3_000, True)])
def test_many_sums_over_few_examples_are_no_lanes(monkeypatch, m, shared):
    """Each lane would begin all sums with zeros, and they would be added up: more work than is shared."""
    monkeypatch.setattr(fusing, "SHARED", 1)
    loop = source_of(6, 16, m).split(f"// {m} columns")[1].split("columns, ")[0]  # without that of the update
    assert ("int lane" in loop) is shared


# -- blocks -----------------------------------------------------------------------------------------------------------


def block(ctype, text, end=";"):
    made = Block()
    made.lines = [f"f({made.mark(ctype, text)}, {made.mark('F *', 'to')}, {made.mark(ctype, text)}){end}"]
    return made


def test_lines_that_come_several_times_are_a_function():
    outlines = Outlines("c")
    lines = outlines.lines([block("F *", f"v{i}") for i in range(SEVERAL)], "Size n")
    assert lines == [f"c_0(n, v{i}, to);" for i in range(SEVERAL)]
    assert outlines.texts() == [
        "static __attribute__((noinline)) void c_0(Size n, F *q0, F *q1) {",
        "    f(q0, q1, q0);",
        "}",
    ]


def test_lines_that_come_seldom_stay_where_they_are():
    outlines = Outlines("c")
    blocks = [block("F *", f"v{i}") for i in range(SEVERAL - 1)]
    assert outlines.lines(blocks) == [f"f(v{i}, to, v{i});" for i in range(SEVERAL - 1)]
    assert outlines.texts() == []


def test_what_differs_in_a_type_or_in_a_line_is_another_function():
    outlines = Outlines("c")
    kinds = [("F *", ";"), ("double *", ";"), ("F *", "; // again")]
    lines = outlines.lines([block(ctype, "x", end) for ctype, end in kinds for _ in range(SEVERAL)])
    assert lines == [f"c_{i}(x, to);" for i in range(3) for _ in range(SEVERAL)]
    assert len(outlines.texts()) == 9
