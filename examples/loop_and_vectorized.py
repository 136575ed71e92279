"""Logistic regression three times: with a loop, vectorized, and by autodiff (the sketch at the end of the notes).

The sketch has the headings and stops after the first gradient. Here it is whole: a loop over the examples, the same in
matrix products, and the update, repeated until the cost no longer falls. Labels are ``(1, m)``, weights ``(1, nx)``.

Run: ``python -m examples.loop_and_vectorized [output_folder]`` (it draws nothing)
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_dls as tg
from examples.hand_derived import largest_difference, sigmoid
from tinygrad_dls.training import Epoch

ALPHA = 2.0
TOLERANCE = 1e-12  # converged: a step lowers the cost by less than this

Step = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], tuple[float, np.ndarray, np.ndarray]]


def loop_step(x: np.ndarray, y: np.ndarray, w: np.ndarray, b: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Compute the cost and its gradients, one example and one feature at a time."""
    nx, m = x.shape
    cost, dw, db = 0.0, np.zeros((1, nx)), np.zeros((1, 1))
    for i in range(m):
        z = b[0, 0]
        for p in range(nx):
            z += w[0, p] * x[p, i]
        a = 1 / (1 + math.exp(-z)) if z >= 0 else math.exp(z) / (1 + math.exp(z))  # no exponent above 0
        cost -= math.log(a) if y[0, i] == 1 else math.log(1 - a)
        dz = a - y[0, i]
        for p in range(nx):
            dw[0, p] += x[p, i] * dz
        db[0, 0] += dz
    return cost / m, dw / m, db / m


def vectorized_step(x: np.ndarray, y: np.ndarray, w: np.ndarray, b: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Compute the same with all examples at once."""
    m = x.shape[1]
    z = np.dot(w, x) + b
    a = sigmoid(z)
    cost = -np.sum(y * np.log(a) + (1 - y) * np.log(1 - a)) / m
    dz = a - y
    dw = np.dot(dz, x.T) / m
    db = np.sum(dz, axis=1, keepdims=True) / m
    return float(cost), dw, db


def descend(step: Step, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[float]]:
    """Descend from zero until the cost has converged."""
    w, b = np.zeros((1, x.shape[0])), np.zeros((1, 1))
    costs: list[float] = []
    while len(costs) < 2 or costs[-2] - costs[-1] >= TOLERANCE:
        cost, dw, db = step(x, y, w, b)
        w, b = w - ALPHA * dw, b - ALPHA * db
        costs.append(cost)
    return w, b, costs


def descend_by_autodiff(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[float]]:
    """Do the same with the gradients computed by autodiff."""
    model = tg.nn.LogisticRegression(x.shape[0])
    costs: list[float] = []

    def converged(now: Epoch) -> bool:
        costs.append(now.cost)
        return len(costs) >= 2 and costs[-2] - costs[-1] < TOLERANCE

    tg.fit(
        model,
        x,
        y,
        loss=tg.binary_cross_entropy_with_logits,
        optimizer=tg.optim.SGD(model.parameters(), lr=ALPHA),
        epochs=100_000,
        callbacks=[converged],
    )
    w, b = (p.data for p in model.parameters())
    return w, b, costs


def main(output: Path | None = None) -> dict[str, Any]:  # noqa: ARG001  # every example is called alike
    # The data of the sketch: uniform features, and labels by the toss of a coin, so there is nothing to learn but how
    # often the coin showed 1. It is the agreement that counts.
    m, nx = 1000, 3
    rng = np.random.default_rng(0)
    x = rng.random((nx, m))
    y = rng.integers(2, size=(1, m))

    fits, seconds = {}, {}
    for name, descent in {
        "loop": lambda: descend(loop_step, x, y),
        "vectorized": lambda: descend(vectorized_step, x, y),
        "autodiff": lambda: descend_by_autodiff(x, y),
    }.items():
        start = time.perf_counter()
        fits[name] = descent()
        seconds[name] = time.perf_counter() - start

    print(f"{'':12}{'w1':>12}{'w2':>12}{'w3':>12}{'b':>12}{'cost':>12}{'steps':>8}")
    for name, (w, b, costs) in fits.items():
        print(f"{name:12}" + "".join(f"{v:12.8f}" for v in (*w[0], b[0, 0], costs[-1])) + f"{len(costs):8}")

    reference = fits["vectorized"]
    differences = {
        name: max(largest_difference(fits[name][k], reference[k]) for k in (0, 1)) for name in ("loop", "autodiff")
    }
    steps = {name: len(costs) for name, (_, _, costs) in fits.items()}
    ratio = seconds["loop"] / steps["loop"] / (seconds["vectorized"] / steps["vectorized"])
    print("Largest relative difference of w and b from the vectorized ones")
    for name, difference in differences.items():
        print(f"  {name:12}{difference:.1e}")
    print(f"A step of the loop takes {ratio:.0f} times as long as a vectorized one.")
    return {
        "differences": differences,
        "costs": {name: costs[-1] for name, (_, _, costs) in fits.items()},
        "steps": steps,
        "gradient": max(float(np.abs(d).max()) for d in vectorized_step(x, y, reference[0], reference[1])[1:]),
        "time_ratio": ratio,
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
