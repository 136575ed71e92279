"""The derivation: where does dZ = A - Y come from? Both models of the notes, from the cost back to each parameter.

Prints logistic regression with the numbers of four examples, to be followed with a pencil, and holds the final formulas
of each derivation against `backward`. Saves the derivations as pages, as Markdown and as LaTeX.

Run: ``python -m examples.derive_the_gradients [output_folder]``
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_dls as tg
from examples import by_pencil
from examples.hand_derived import largest_difference


def evaluated(derivation: Any, model: tg.nn.Module) -> dict[str, np.ndarray]:
    """Compute the derivation's formulas, which are NumPy code, one after the other."""
    X, Y = by_pencil.X, by_pencil.Y
    arrays: dict[str, Any] = {"np": np, "sigmoid": tg.sigmoid, "X": X, "Y": Y, "m": Y.shape[1]}
    arrays |= model.state_dict()
    for name, code in derivation.formulas.items():
        arrays[name] = eval(code, arrays)
    return arrays


def main(output: Path | None = None) -> dict[str, Any]:
    results: dict[str, Any] = {"differences": {}}
    for make in (by_pencil.logistic_regression, by_pencil.two_layer_network):
        name = make.__name__
        model, J = make()
        derivation = tg.derive(J, values=True)
        results[name] = derivation
        if make is by_pencil.logistic_regression:
            print(derivation.text)

        J.backward()
        arrays = evaluated(derivation, model)
        print(f"The final formulas of the {name.replace('_', ' ')}, computed, against backward")
        for parameter, tensor in model.named_parameters():
            difference = largest_difference(arrays[f"d{parameter}"], tensor.grad)
            results["differences"][name, parameter] = difference
            formula = f"d{parameter} = {derivation.formulas[f'd{parameter}']}"
            print(f"  {formula:44} largest relative difference {difference:.1e}")

        if output is not None:
            output.mkdir(parents=True, exist_ok=True)
            for ending, text in (("html", derivation.html), ("md", derivation.markdown), ("tex", derivation.latex)):
                path = output / f"{name}_derivation.{ending}"
                path.write_text(text, encoding="utf-8")
                print(f"wrote {path}")
    return results


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
