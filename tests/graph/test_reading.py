"""The names of a graph: those of the course, by the part that a thing plays, in each way the course writes it."""

import numpy as np
import pytest

import tinygrad_dls as tg
from tinygrad_dls.graph.reading import complements, read

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((2, 5)), RNG.integers(0, 2, (1, 5)).astype(float)


def parameter(name, shape):
    return tg.Tensor(RNG.standard_normal(shape), requires_grad=True, name=name)


w, b, B = parameter("w", (2, 1)), parameter("b", ()), parameter("b", (1, 1))
W1, b1 = parameter("W1", (2, 3)), parameter("b1", (3, 1))


def cross_entropy(A):
    return -(1 / 5) * np.sum(Y * np.log(A) + (1 - Y) * np.log(1 - A))


def mean_of_logarithms(A):
    return -np.mean(np.log(A) * Y)


def dot_of_logarithms(A):
    return -np.squeeze(np.dot(Y, np.log(A).T))


LINEAR = {
    "w.T @ X + b": (lambda: w.T @ X + b, "Z", "A", "X"),
    "w.T @ X + b, of a matrix b": (lambda: w.T @ X + B, "Z", "A", "X"),
    "np.dot(w.T, X) + b": (lambda: np.dot(w.T, X) + b, "Z", "A", "X"),
    "W1.T @ X + b1": (lambda: W1.T @ X + b1, "Z1", "A1", "X"),
    "w.T @ X": (lambda: w.T @ X, "Z", "A", "X"),
}


@pytest.mark.parametrize("cost", [cross_entropy, mean_of_logarithms, dot_of_logarithms], ids=lambda f: f.__name__)
@pytest.mark.parametrize("linear", LINEAR)
def test_the_notation_of_the_course_gets_its_names(linear, cost):
    make, z, a, x = LINEAR[linear]
    if linear == "W1.T @ X + b1" and cost is dot_of_logarithms:
        cost = cross_entropy  # Y has a single row
    nodes = {node.name: node for node in read(cost(tg.sigmoid(make())))}
    assert nodes[a].inputs == (nodes[z],)
    assert nodes[x].x is X
    assert nodes["Y"].x is Y
    assert list(nodes)[-1] == "J"


def test_what_is_multiplied_with_another_logarithm_is_no_label():
    names = [node.name for node in read(np.sum(Y * np.log(w.T @ X + 9)))]
    assert "Y" not in names


def test_a_product_with_a_computed_value_is_no_linear_part_of_a_parameter():
    names = [node.name for node in read(np.sum(np.tanh(w * 2).T @ X))]
    assert not {"X", "Z"} & set(names)


def test_an_input_that_is_one_minus_the_labels_is_recognised_in_a_cross_entropy():
    nodes = {node.name: node for node in read(cross_entropy(tg.sigmoid(w.T @ X + b)))}
    assert complements(list(nodes.values())) == {nodes["C1"]: nodes["Y"]}


@pytest.mark.parametrize(
    "other",
    [
        lambda A: Y * np.log(A) + (0.9 - Y) * np.log(1 - A),  # other numbers
        lambda A: Y * np.log(A) + (1 - Y) * np.log(2 - A),  # no 1 - A
        lambda A: Y * np.log(A) + (1 - Y) * (1 - A),  # no logarithm
        lambda A: Y * np.log(A) + (1 - Y[0]) * np.log(1 - A),  # another shape
        lambda A: Y * np.log(A) + tg.Tensor(1 - Y, name="weights") * np.log(1 - A),  # with a name of its own
    ],
)
def test_no_other_input_is(other):
    assert not complements(read(np.sum(other(tg.sigmoid(w.T @ X + b)))))
