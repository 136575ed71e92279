"""The pictures in the documentation: `python -m tests.pictures` makes them anew, and a test holds them up to date.

The DOT text lies beside each SVG. It is what is compared: the SVG has also the widths of this computer's letters in it.
"""

from pathlib import Path

import tinygrad_dls as tg
from examples import by_pencil
from tinygrad_dls.drawing.svg import picture_of

ASSETS = Path(__file__).parents[1] / "docs" / "assets"


def logistic_regression():
    X, Y = tg.datasets.planar_flower()
    model = tg.nn.Sequential(tg.nn.Linear(2, 1, rng=0), tg.nn.Sigmoid())
    J = tg.binary_cross_entropy(model(X), Y)
    J.backward()
    return tg.draw(J, direction="both")


def two_layer_network():
    network = tg.nn.TwoLayerNetwork(2, 4, rng=0)
    return tg.draw(network, (2, 400), (1, 400), loss=tg.binary_cross_entropy_with_logits)


def network_with_gradients():
    _, J = by_pencil.two_layer_network()
    J.backward()
    return tg.draw(J, direction="both")


def from_picture_to_code():
    _, J = by_pencil.logistic_regression()
    J.backward()
    return tg.draw(J, direction="both")


PICTURES = {
    make.__name__: make
    for make in (logistic_regression, two_layer_network, network_with_gradients, from_picture_to_code)
}


def without_graphviz():
    """A picture that is drawn without it: the same on every computer, as it knows nothing of the fonts there."""
    picture = from_picture_to_code()
    return picture_of(picture._title, picture._picture, picture._labels, "TB")


if __name__ == "__main__":
    (ASSETS / "without_graphviz.svg").write_text(without_graphviz(), encoding="utf-8")
    for name, make in PICTURES.items():
        for ending in ("dot", "svg"):
            print(make().save(ASSETS / f"{name}.{ending}"))
