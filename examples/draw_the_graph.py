"""The picture: what did I build? The graph of both models of the notes, and of a deep network with its modules closed.

Prints what the pictures say, the formula of each value and the local derivative of each edge, and saves them: as SVG,
and as pages to zoom, to fold modules up and to follow a gradient in.

Run: ``python -m examples.draw_the_graph [output_folder]``
"""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import tinygrad_dls as tg
from examples import by_pencil
from tinygrad_dls.drawing.formulas import formula, local
from tinygrad_dls.graph.node import Node
from tinygrad_dls.graph.reading import read


def pictures() -> dict[str, Any]:
    """Draw the models by pencil with values and gradients, and the network of the flower from shapes alone."""
    drawn = {}
    for model in (by_pencil.logistic_regression, by_pencil.two_layer_network):
        _, J = model()
        J.backward()
        drawn[f"{model.__name__}_graph"] = tg.draw(J, direction="both")
    sizes = (2, 16, 16, 16, 16, 1)
    layers: list[tg.nn.Module] = []
    for n_prev, n in pairwise(sizes):
        layers += [tg.nn.Linear(n_prev, n, rng=0), tg.nn.Tanh()]
    deep = tg.nn.Sequential(*layers[:-1])  # the last activation is in the cost
    drawn["five_layers_graph"] = tg.draw(deep, (2, 400), (1, 400), loss=tg.binary_cross_entropy_with_logits)
    drawn["five_layers_closed_graph"] = tg.draw(
        deep, (2, 400), (1, 400), loss=tg.binary_cross_entropy_with_logits, depth=0
    )
    return drawn


def main(output: Path | None = None) -> dict[str, Any]:
    results: dict[str, Any] = {"edges": {}}
    for model in (by_pencil.logistic_regression, by_pencil.two_layer_network):
        print(f"What the picture of the {model.__name__.replace('_', ' ')} says")
        for node in read(model()[1]):
            if node.op:
                print(f"  {node.name} = {formula(node)}")
            for i, x in enumerate(node.inputs):
                if isinstance(x, Node) and x.kind != "input":
                    results["edges"][x.name, node.name] = local(node, i)
                    print(f"      on the way back to {x.name:2}: times {local(node, i)}")

    results["pictures"] = pictures()
    for name, picture in results["pictures"].items():
        size = repr(picture).partition(". Write")[0]
        print(f"{name}: {size}")
        if output is not None:
            output.mkdir(parents=True, exist_ok=True)
            for ending in ("html", "svg"):
                print(f"wrote {picture.save(output / f'{name}.{ending}')}")
    return results


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
