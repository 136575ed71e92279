"""Sigmoid, tanh and ReLU compared (section 1.1.3 of the notes).

Values, derivatives by autodiff, the same network trained with each, and how much gradient reaches the first of many
layers. The notes prefer tanh to sigmoid and ReLU to both; here is where the numbers show it, and where they do not.

Run: ``python -m examples.activation_functions [output_folder]``
"""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_dls as tg
from examples import plots

ACTIVATIONS = {"sigmoid": tg.sigmoid, "tanh": tg.tanh, "ReLU": tg.relu}


def derivative(g: Any, z: np.ndarray) -> np.ndarray:
    """``g'(z)`` at each entry: the entries do not mix, so the gradient of their sum holds them all."""
    Z = tg.Tensor(z, requires_grad=True)
    tg.sum(g(Z)).backward()
    return Z.grad


def train(g: Any, X: np.ndarray, Y: np.ndarray, *, hidden: int, seed: int) -> tuple[list[float], float]:
    """Costs and accuracy of 2000 epochs of the course's network with the activation g."""
    model = tg.nn.TwoLayerNetwork(2, hidden, activation=g, rng=np.random.RandomState(seed))
    history = tg.fit(
        model,
        X,
        Y,
        loss=tg.binary_cross_entropy_with_logits,
        optimizer=tg.optim.SGD(model.parameters(), lr=1.2),
        epochs=2000,
    )
    return history.costs, tg.accuracy(model.predict(X), Y)


def gradient_through_layers(g: Any, X: np.ndarray, Y: np.ndarray, depth: int = 10) -> float:
    """Divide the size of dW at the first of `depth` hidden layers by that at the last, before any training."""
    init = tg.init.he if g is tg.relu else tg.init.xavier  # each starts as is best for it
    rng = np.random.default_rng(0)
    sizes = [2] + [20] * depth
    hidden = [tg.nn.Linear(n_in, n_out, rng=rng, init=init) for n_in, n_out in pairwise(sizes)]
    output = tg.nn.Linear(20, 1, rng=rng)
    A = X
    for layer in hidden:
        A = g(layer(A))
    tg.binary_cross_entropy_with_logits(output(A), Y).backward()
    first, last = (np.sqrt(np.mean(layer.W.grad**2)) for layer in (hidden[0], hidden[-1]))
    return float(first / last)


def main(output: Path | None = None) -> dict[str, Any]:
    X, Y = tg.datasets.planar_flower()
    results: dict[str, Any] = {}

    # Far from 0 the derivatives of sigmoid and tanh vanish, that of tanh sooner; ReLU's is 1, but 0 for all z <= 0.
    points = np.array([-10.0, -2.0, 0.0, 2.0, 10.0])
    results["values"] = {name: g(points) for name, g in ACTIVATIONS.items()}
    results["derivatives"] = {name: derivative(g, points) for name, g in ACTIVATIONS.items()}
    for what, table in (("Value", results["values"]), ("Derivative", results["derivatives"])):
        print(f"{what} at z =".ljust(20) + "".join(f"{z:12g}" for z in points))
        for name, row in table.items():
            print(f"  {name:18}" + "".join(f"{v:12.3g}" for v in row))

    # The course's network with each activation, from the same first weights.
    seeds = range(2, 7)
    curves = {}
    results["training"] = {}
    print(f"Trained on the flower, 2000 epochs: median of seeds {seeds[0]} to {seeds[-1]}")
    print("  hidden units              cost    accuracy")
    for hidden in (4, 20):
        for name, g in ACTIVATIONS.items():
            runs = [train(g, X, Y, hidden=hidden, seed=seed) for seed in seeds]
            cost, accuracy = (float(np.median(column)) for column in ([c[-1] for c, _ in runs], [a for _, a in runs]))
            results["training"][name, hidden] = {"cost": cost, "accuracy": accuracy}
            curves[name, hidden] = runs[0][0]
            print(f"  {hidden:4}    {name:10}{cost:12.4f}{accuracy:12.2%}")
    print("  Tanh is ahead of sigmoid, as the notes say. ReLU, which they put first, is last on this small task:")
    print("  with one hidden layer no gradient has far to go, so its advantage has no part to play.")

    # Where ReLU shows its strength: each layer multiplies the gradient by g'(z), at most 1/4 for the sigmoid.
    results["depth"] = {name: gradient_through_layers(g, X, Y) for name, g in ACTIVATIONS.items()}
    print("Ten hidden layers: size of dW at the first over that at the last, before training")
    for name, ratio in results["depth"].items():
        print(f"  {name:18}{ratio:12.2g}")

    if output is not None:
        z = np.linspace(-6, 6, 601)
        figure, axes = plots.new_figure(9.6, 4.0, ncols=2)
        for ax, title, function in (
            (axes[0], "Activation a = g(z)", lambda g: g(z)),
            (axes[1], "Its derivative, by autodiff", lambda g: derivative(g, z)),
        ):
            plots.draw_curves(ax, {name: (z, function(g)) for name, g in ACTIVATIONS.items()})
            ax.set(title=title, xlabel="z")
        axes[0].set(ylim=(-1.2, 3.2), ylabel="a")
        axes[1].set(ylabel="da/dz")
        plots.save(figure, output, "activation_functions.png")

        figure, axes = plots.new_figure(9.6, 4.0, ncols=2, sharey=True)
        for ax, hidden in zip(axes, (4, 20), strict=True):
            plots.draw_curves(ax, {name: curves[name, hidden] for name in ACTIVATIONS})
            ax.set(title=f"{hidden} hidden units, seed {seeds[0]}", xlabel="epoch", ylim=(0, 0.8))
        axes[0].set(ylabel="cost J")
        plots.save(figure, output, "activation_functions_cost.png")
    return results


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
