"""Optimizers compared: gradient descent, momentum and Adam, in mini-batches (the second course, week 2).

The course's network on its two moons, with its data, first weights, mini-batches and learning rate, so that the costs
can be held against its notebook. At this rate gradient descent is far from done after 10,000 epochs, momentum changes
next to nothing, and Adam is there after 1,000.

Run: ``python -m examples.optimizers [output_folder]`` (needs scikit-learn, for the data)
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_dls as tg
from examples import l_layer, plots

SIZES = (2, 5, 2, 1)
ALPHA = 0.0007
EPOCHS = 10_000
# The course's momentum weighs the new gradient with 1 - beta: dampening=0.9. Without it, steps are ten times as long.
OPTIMIZERS: dict[str, Callable[[Any], tg.optim.Optimizer]] = {
    "gradient descent": lambda p: tg.optim.SGD(p, ALPHA),
    "momentum": lambda p: tg.optim.SGD(p, ALPHA, momentum=0.9, dampening=0.9),
    "Adam": lambda p: tg.optim.Adam(p, ALPHA),
}


def course_batches(X: np.ndarray, Y: np.ndarray, seed: int, size: int = 64) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The course's random mini-batches, of 64 examples and what is left. Each epoch has a seed of its own."""
    order = np.random.RandomState(seed).permutation(X.shape[1])
    X, Y = X[:, order], Y[:, order]
    for start in range(0, X.shape[1], size):
        yield X[:, start : start + size], Y[:, start : start + size]


def train(model: tg.nn.Module, X: np.ndarray, Y: np.ndarray, optimizer: tg.optim.Optimizer) -> list[float]:
    """Train in the course's mini-batches; return the cost of each epoch, a mean over all its examples."""
    step = tg.compile(model, tg.binary_cross_entropy_with_logits, optimizer)
    costs = []
    for epoch in range(EPOCHS):
        costs.append(0.0)
        for X_batch, Y_batch in course_batches(X, Y, seed=11 + epoch):
            costs[-1] += step(X_batch, Y_batch) * X_batch.shape[1] / X.shape[1]
    return costs


def main(output: Path | None = None) -> dict[str, Any]:
    X, Y = l_layer.scikit_learns("make_moons", n_samples=300, noise=0.2, random_state=3)
    models, results = {}, {}
    for name, make in OPTIMIZERS.items():
        model = l_layer.network(SIZES, rng=np.random.RandomState(3))
        costs = train(model, X, Y, make(model.parameters()))
        models[name], results[name] = model, {"costs": costs, "accuracy": tg.accuracy(model.predict(X), Y)}

    # The same again without mini-batches: one step in each epoch, on all examples, so five times fewer steps.
    model = l_layer.network(SIZES, rng=np.random.RandomState(3))
    history = tg.fit(
        model,
        X,
        Y,
        loss=tg.binary_cross_entropy_with_logits,
        optimizer=tg.optim.SGD(model.parameters(), ALPHA),
        epochs=EPOCHS,
        compile=True,
    )
    results["whole batches"] = {"costs": history.costs, "accuracy": tg.accuracy(model.predict(X), Y)}

    print(f"{'cost after epoch':18}" + "".join(f"{name:>18}" for name in results))
    for epoch in range(0, EPOCHS, 1000):
        print(f"  {epoch:<16}" + "".join(f"{result['costs'][epoch]:18.6f}" for result in results.values()))
    print(f"{'accuracy':18}" + "".join(f"{result['accuracy']:18.2%}" for result in results.values()))
    print("Momentum follows the mean of the last ten or so gradients. At so small a rate these are nearly one and the")
    print("same, so little changes. Adam measures its steps by the size of the gradients, which are small here.")

    if output is not None:
        titled = {f"{name}: {results[name]['accuracy']:.1%} correct": model for name, model in models.items()}
        plots.save(plots.boundaries(titled, X, Y), output, "optimizers_boundary.png")
        curves = {name: result["costs"] for name, result in results.items()}
        figure = plots.cost_curves(curves, f"Optimizers on the moons, learning rate {ALPHA}")
        plots.save(figure, output, "optimizers_cost.png")
    return results


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
