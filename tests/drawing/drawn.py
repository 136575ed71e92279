"""What is drawn, and how its text is read."""

from xml.etree import ElementTree as ET

import numpy as np

import tinygrad_dls as tg
from tinygrad_dls.drawing import rendering

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(2, 6)), np.array([[0, 1, 1, 0, 1, 0]])
LOGITS = tg.binary_cross_entropy_with_logits
DIRECTIONS = ["forward", "backward", "both"]


def network(activation=None):
    return tg.nn.TwoLayerNetwork(2, 4, activation=activation, rng=1)


def deep(layers=5, n=3):
    steps = [step for i in range(layers - 1) for step in (tg.nn.Linear(n, n, rng=i), tg.nn.ReLU())]
    return tg.nn.Sequential(*steps, tg.nn.Linear(n, 1, rng=9))


def chain(length):
    z = tg.Tensor(np.ones((2, 2)), requires_grad=True, name="w")
    for _ in range(length):
        z = np.tanh(z)
    return z


def parts(source):
    """Ids and classes of the SVG, as a page finds them."""
    tree = ET.fromstring(rendering.render(source, "svg"))
    return {e.get("id"): e.get("class", "").split() for e in tree.iter() if e.get("id")}


def line(source, start):
    [found] = [text for text in source.splitlines() if text.strip().startswith(f"{start} [")]
    return found
