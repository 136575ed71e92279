"""The code: what would I have to type by hand? A step of training as a NumPy function, which trains the flower alone.

Prints the step of the network with one hidden layer, with its update; executes that text, with nothing but NumPy, 5,000
times; and compares the costs with those of `tg.fit`. Saves the steps of both models as files.

Run: ``python -m examples.numpy_code [output_folder]``
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_dls as tg

EPOCHS = 5000


def models() -> dict[str, tuple[tg.nn.Module, float]]:
    """Make both models of the notes, each with its learning rate."""
    return {
        "logistic_regression": (tg.nn.LogisticRegression(2), 0.1),
        "two_layer_network": (tg.nn.TwoLayerNetwork(2, 4, rng=np.random.RandomState(2)), 1.2),
    }


def function(source: str) -> Any:
    """Execute the text of a step in a namespace of its own, and return the function."""
    namespace: dict[str, Any] = {}
    exec(source, namespace)
    return namespace["step"]


def main(output: Path | None = None) -> dict[str, Any]:
    X, Y = tg.datasets.planar_flower()
    results: dict[str, Any] = {}
    for name, (model, rate) in models().items():
        optimizer = tg.optim.SGD(model.parameters(), lr=rate)
        loss = tg.binary_cross_entropy_with_logits
        source = tg.numpy_source(model, X, Y, loss=loss, optimizer=optimizer)
        if name == "two_layer_network":
            print(source)

        step, costs = function(source), []
        arrays = [p.data.copy() for p in model.parameters()]
        for _ in range(EPOCHS):
            J, *arrays = step(X, Y, *arrays, m=Y.shape[1], learning_rate=rate)
            costs.append(float(J))

        history = tg.fit(model, X, Y, loss=loss, optimizer=optimizer, epochs=EPOCHS)
        difference = float(np.max(np.abs(np.array(costs) / history.costs[:EPOCHS] - 1)))
        results[name] = {"source": source, "costs": costs, "difference": difference}
        print(f"{name.replace('_', ' ')}, {EPOCHS} steps of that text on the flower")
        print(f"  cost                                      {costs[0]:.6f} -> {costs[-1]:.6f}")
        print(f"  largest relative difference from tg.fit   {difference:.1e}")
        if output is not None:
            output.mkdir(parents=True, exist_ok=True)
            path = output / f"{name}_step.py"
            path.write_text(source, encoding="utf-8")
            print(f"wrote {path}")
    return results


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
