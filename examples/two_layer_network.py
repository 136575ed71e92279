"""The network with one hidden layer on the planar flower (section 1.1.2 of the notes): the main job.

Trains it as the course does and prints the course's table of costs, and holds the gradients of autodiff against those
that the notes derive by hand (`examples.hand_derived`), one by one.

Run: ``python -m examples.two_layer_network [output_folder]``
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_dls as tg
from examples import hand_derived, plots
from examples.hand_derived import largest_difference
from tinygrad_dls.training import Epoch


def gradients_by_autodiff(model: tg.nn.TwoLayerNetwork, X: np.ndarray, Y: np.ndarray) -> dict[str, np.ndarray]:
    """Compute every gradient of the backward pass, by the names of the course."""
    layer1, g, layer2 = model.layers
    Z1 = layer1(X)
    A1 = g(Z1)
    Z2 = layer2(A1)
    J = tg.binary_cross_entropy_with_logits(Z2, Y)  # the sigmoid of the output layer is part of it
    for p in model.parameters():
        p.grad = None  # else backward adds to the gradients of the last training step
    J.backward()
    return {
        "dZ2": Z2.grad,
        "dW2": layer2.W.grad,
        "db2": layer2.b.grad,
        "dA1": A1.grad,
        "dZ1": Z1.grad,
        "dW1": layer1.W.grad,
        "db1": layer1.b.grad,
    }


def compare_gradients(model: tg.nn.TwoLayerNetwork, X: np.ndarray, Y: np.ndarray) -> dict[str, float]:
    """Find the largest difference of each gradient from the hand-derived one, relative to its largest entry."""
    autodiff = gradients_by_autodiff(model, X, Y)
    _, by_hand = hand_derived.two_layer_network(X, Y, model.state_dict())
    return {name: largest_difference(autodiff[name], by_hand[name]) for name in by_hand}


def main(output: Path | None = None) -> dict[str, Any]:
    X, Y = tg.datasets.planar_flower()
    # Course seeds: RandomState(2) draws W1 (4, 2) and W2 (1, 4), each times 0.01; the biases start at 0.
    model = tg.nn.TwoLayerNetwork(2, 4, rng=np.random.RandomState(2))
    print(model)
    differences = {"first": compare_gradients(model, X, Y)}

    table: dict[int, float] = {}

    def print_cost(now: Epoch) -> None:
        if (epoch := now.epoch) % 1000 == 0:
            table[epoch] = cost = now.cost
            # In float64 the last bit of a sum is enough to send training another way from here on.
            note = "   chaotic here: the last bit decides, and published runs differ" if epoch >= 8000 else ""
            print(f"Cost after iteration {epoch}: {cost:.6f}{note}")

    history = tg.fit(
        model,
        X,
        Y,
        loss=tg.binary_cross_entropy_with_logits,
        optimizer=tg.optim.SGD(model.parameters(), lr=1.2),
        epochs=10_000,
        callbacks=[print_cost],
    )
    accuracy = tg.accuracy(model.predict(X), Y)
    print(f"Accuracy: {accuracy:.2%}")

    differences["trained"] = compare_gradients(model, X, Y)
    print("Autodiff against the hand-derived gradients, largest relative difference")
    print("       first parameters  trained ones")
    for name in differences["first"]:
        print(f"  {name:5}{differences['first'][name]:16.1e}{differences['trained'][name]:14.1e}")

    if output is not None:
        title = f"Two-layer network, 4 hidden units: {accuracy:.2%} correct"
        plots.save(plots.decision_boundary(model, X, Y, title), output, "two_layer_network_boundary.png")
        figure = plots.cost_curves({"training": history.costs}, "Two-layer network on the flower, learning rate 1.2")
        plots.save(figure, output, "two_layer_network_cost.png")
    return {"costs": table, "accuracy": accuracy, "differences": differences}


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
