"""Gradient descent: the update rule, the learning rate, momentum and Adam (section 1.1.4 of the notes).

Run: ``python -m examples.gradient_descent [output_folder]``
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_dls as tg
from examples import plots

ALPHA = 1.2
SEED = 2


def network() -> tg.nn.TwoLayerNetwork:
    """Make the course's network for the flower, always with the same first parameters."""
    return tg.nn.TwoLayerNetwork(2, 4, rng=np.random.RandomState(SEED))


def by_hand(X: np.ndarray, Y: np.ndarray, steps: int) -> dict[str, np.ndarray]:
    """Descend with the rule of the notes written out; autodiff gives the gradients."""
    model = network()
    layer1, _, layer2 = model.layers
    for _ in range(steps):
        J = tg.binary_cross_entropy_with_logits(model(X), Y)
        for p in model.parameters():
            p.grad = None
        J.backward()
        layer1.W.data = layer1.W.data - ALPHA * layer1.W.grad  # W1 := W1 - alpha dW1
        layer1.b.data = layer1.b.data - ALPHA * layer1.b.grad
        layer2.W.data = layer2.W.data - ALPHA * layer2.W.grad
        layer2.b.data = layer2.b.data - ALPHA * layer2.b.grad
    return model.state_dict()


def by_optimizer(X: np.ndarray, Y: np.ndarray, steps: int) -> dict[str, np.ndarray]:
    """Do the same with `tg.optim.SGD`."""
    model = network()
    optimizer = tg.optim.SGD(model.parameters(), lr=ALPHA)
    for _ in range(steps):
        J = tg.binary_cross_entropy_with_logits(model(X), Y)
        optimizer.zero_grad()
        J.backward()
        optimizer.step()
    return model.state_dict()


def costs_of(X: np.ndarray, Y: np.ndarray, optimizer: Callable[[Any], tg.optim.Optimizer]) -> list[float]:
    """Train for 2000 epochs with an optimizer, made by a function of the parameters, and return the costs."""
    model = network()
    history = tg.fit(
        model,
        X,
        Y,
        loss=tg.binary_cross_entropy_with_logits,
        optimizer=optimizer(model.parameters()),
        epochs=2000,
    )
    return history.costs


def main(output: Path | None = None) -> dict[str, Any]:
    X, Y = tg.datasets.planar_flower()

    steps = 1000
    ours, theirs = by_hand(X, Y, steps), by_optimizer(X, Y, steps)
    identical = all(np.array_equal(ours[name], theirs[name]) for name in ours)
    print(f"W := W - alpha dW by hand and with tg.optim.SGD, after {steps} steps: ", end="")
    print("equal to the last bit" if identical else "different")

    # Too small a step learns next to nothing in 2000 epochs; too large a one jumps over the valley, again and again.
    rates = {"too small": 0.01, "good": ALPHA, "too large": 20.0}
    by_rate = {
        f"alpha = {rate:g} ({verdict})": costs_of(X, Y, lambda p, rate=rate: tg.optim.SGD(p, lr=rate))
        for verdict, rate in rates.items()
    }
    # What else can be done with the same gradients. Momentum 0.9 adds up ten gradients in the long run.
    by_rule = {
        "SGD, alpha = 1.2": by_rate[f"alpha = {ALPHA:g} (good)"],
        "SGD, alpha = 1.2, momentum 0.9": costs_of(X, Y, lambda p: tg.optim.SGD(p, lr=ALPHA, momentum=0.9)),
        "Adam, alpha = 0.03": costs_of(X, Y, lambda p: tg.optim.Adam(p, lr=0.03)),
    }
    for heading, curves in (("Learning rate", by_rate), ("Update rule", by_rule)):
        print(f"{heading + ': cost at epoch':34}" + "".join(f"{epoch:>10}" for epoch in (0, 100, 1000, 1999)))
        for name, costs in curves.items():
            print(f"  {name:32}" + "".join(f"{costs[epoch]:10.4f}" for epoch in (0, 100, 1000, 1999)))

    if output is not None:
        figure, axes = plots.new_figure(10.0, 4.2, ncols=2)
        shown = 300  # enough to see the jumps one by one
        plots.draw_curves(axes[0], {name: costs[:shown] for name, costs in by_rate.items()})
        axes[0].set(title=f"Learning rates, the first {shown} epochs", xlabel="epoch", ylabel="cost J (logarithmic)")
        axes[0].set_yscale("log")
        ticks = (0.3, 0.5, 0.7, 1, 2, 3, 5)
        axes[0].set_yticks(ticks, labels=map(str, ticks))
        axes[0].set_yticks([], minor=True)
        plots.draw_curves(axes[1], by_rule)
        axes[1].set(title="Momentum and Adam", xlabel="epoch", ylabel="cost J", ylim=(0, 0.8))
        plots.save(figure, output, "gradient_descent_cost.png")
    return {
        "identical": identical,
        "largest_step_difference": max(float(np.abs(ours[name] - theirs[name]).max()) for name in ours),
        "by_rate": dict(zip(rates, by_rate.values(), strict=True)),
        "by_rule": by_rule,
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
