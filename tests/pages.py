"""Derivations and code in the documentation: `python -m tests.pages` writes them anew, a test holds them up to date.

They stand in the pages between two comments, the first of which names them. What is Python, the tests of the pages run.
"""

from pathlib import Path

import tinygrad_dls as tg
from examples import by_pencil
from tinygrad_dls.derivations.document import Derivation

DOCS = Path(__file__).parents[1] / "docs"
FUSED = tg.binary_cross_entropy_with_logits


def part(title):
    """A part of the derivation with numbers, without its title: the page has headings of its own."""
    _, J = by_pencil.logistic_regression()
    (wanted,) = (x for x in tg.derive(J, values=True).parts if x.title == title)
    return Derivation((wanted,)).markdown.removeprefix(f"## {title}").strip()


def derivation_of_the_network():
    derivation = tg.derive(tg.nn.TwoLayerNetwork(2, 4, rng=0), *tg.datasets.planar_flower(), loss=FUSED)
    return derivation.markdown.replace("## ", "### ").strip()


def code(source):
    return f"```python\n{source}```"


def code_of_the_network():
    return tg.numpy_source(tg.nn.TwoLayerNetwork(2, 4, rng=0), *tg.datasets.planar_flower(), loss=FUSED)


def update():
    model, _ = by_pencil.logistic_regression()
    optimizer = tg.optim.SGD(model.parameters(), lr=0.1)
    return tg.numpy_source(model, by_pencil.X, by_pencil.Y, loss=tg.binary_cross_entropy, optimizer=optimizer)


def update_of_the_network():
    network = tg.nn.TwoLayerNetwork(2, 4, rng=3)
    optimizer = tg.optim.SGD(network.parameters(), lr=1.2)
    return tg.numpy_source(network, *tg.datasets.planar_flower(), loss=FUSED, optimizer=optimizer, name="network_step")


SHOWN = {
    ("from_picture_to_code.md", "forward"): lambda: part("Forward pass"),
    ("from_picture_to_code.md", "one example"): lambda: part("One example"),
    ("from_picture_to_code.md", "backward"): lambda: part("Backward pass"),
    ("from_picture_to_code.md", "code"): lambda: code(tg.numpy_source(by_pencil.logistic_regression()[1])),
    ("from_picture_to_code.md", "update"): lambda: code(update()),
    ("from_picture_to_code.md", "network"): lambda: code(update_of_the_network()),
    ("see_the_graph.md", "derivation"): derivation_of_the_network,
    ("see_the_graph.md", "code"): lambda: code(code_of_the_network()),
}


def split(page, name):
    """What stands before, in and after the place of that name in a page."""
    before, opening, rest = (DOCS / page).read_text(encoding="utf-8").partition(f"<!-- shown: {name} -->\n\n")
    inside, closing, after = rest.partition("\n\n<!-- end -->")
    assert opening, f"{page} has no place for {name}"
    assert closing, f"{page}: {name} has no end"
    return before + opening, inside, closing + after


if __name__ == "__main__":
    for (page, name), make in SHOWN.items():
        before, _, after = split(page, name)
        (DOCS / page).write_text(before + make() + after, encoding="utf-8")
        print(f"{page}: {name}")
