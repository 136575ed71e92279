"""Gradient checking of a backprop with planted bugs (the second course, week 1).

The course's network with three layers, whose backprop has two mistakes in it: the check says by one number that
something is wrong. Asked array by array it says where, and `tg.check.diagnose` says what. Then other bugs, and how to
choose epsilon.

Run: ``python -m examples.gradient_checking [output_folder]``
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_dls as tg
from examples import l_layer, plots

SIZES = (4, 5, 3, 1)
Arrays = dict[str, np.ndarray]


def course_case() -> tuple[np.ndarray, np.ndarray, Arrays]:
    """The course's X, Y and parameters, drawn in its order."""
    random = np.random.RandomState(1)
    X, Y = random.randn(4, 3), np.array([[1, 1, 0]])
    parameters = {}
    for layer, (n, n_prev) in enumerate(zip(SIZES[1:], SIZES, strict=False), 1):
        parameters[f"W{layer}"] = random.randn(n, n_prev)
        parameters[f"b{layer}"] = random.randn(n, 1)
    return X, Y, parameters


# -- by hand ----------------------------------------------------------------------------------------------------------


def forward(p: Arrays, X: np.ndarray) -> Arrays:
    Z1 = p["W1"] @ X + p["b1"]
    A1 = np.maximum(Z1, 0)
    Z2 = p["W2"] @ A1 + p["b2"]
    A2 = np.maximum(Z2, 0)
    A3 = 1 / (1 + np.exp(-(p["W3"] @ A2 + p["b3"])))
    return {"Z1": Z1, "A1": A1, "Z2": Z2, "A2": A2, "A3": A3}


def cost(p: Arrays, X: np.ndarray, Y: np.ndarray) -> float:
    A3 = forward(p, X)["A3"]
    return float(np.mean(-Y * np.log(A3) - (1 - Y) * np.log(1 - A3)))


def backward(p: Arrays, X: np.ndarray, Y: np.ndarray, relu_slope: Callable[[Any], Any] = lambda Z: Z > 0) -> Arrays:
    """The gradients, right if `relu_slope` is the derivative of ReLU."""
    c, m = forward(p, X), X.shape[1]
    dZ3 = c["A3"] - Y
    dZ2 = p["W3"].T @ dZ3 * relu_slope(c["Z2"])
    dZ1 = p["W2"].T @ dZ2 * relu_slope(c["Z1"])
    gradients = {}
    for layer, dZ, A_prev in ((1, dZ1, X), (2, dZ2, c["A1"]), (3, dZ3, c["A2"])):
        gradients[f"dW{layer}"] = dZ @ A_prev.T / m
        gradients[f"db{layer}"] = np.sum(dZ, axis=1, keepdims=True) / m
    return gradients


def with_bugs(**factors: float) -> Callable[..., Arrays]:
    """The backprop with some of its gradients multiplied by a number."""
    return lambda *args: {name: g * factors.get(name, 1) for name, g in backward(*args).items()}


BUGS: dict[str, Callable[..., Arrays]] = {
    "none": backward,
    "dW2 * 2, db1 * 4 (the course's)": with_bugs(dW2=2, db1=4),
    "1/m is missing in dW1": with_bugs(dW1=3),
    "the sign of db2": with_bugs(db2=-1),
    "Z < 0 in the slope of ReLU": lambda *args: backward(*args, relu_slope=lambda Z: Z < 0),
    "no slope of ReLU": lambda *args: backward(*args, relu_slope=np.ones_like),
}


# -- the check --------------------------------------------------------------------------------------------------------


def slopes(p: Arrays, X: np.ndarray, Y: np.ndarray, epsilon: float, sides: tuple[int, int] = (1, -1)) -> Arrays:
    """The gradients from values of the cost alone: ``(J(theta + epsilon) - J(theta - epsilon)) / (2 epsilon)``."""
    found = {}
    for name, array in p.items():
        found[f"d{name}"] = np.zeros(array.shape)
        for index in np.ndindex(array.shape):
            J = []
            for side in sides:
                moved = array.copy()
                moved[index] += side * epsilon
                J.append(cost(p | {name: moved}, X, Y))
            found[f"d{name}"][index] = (J[0] - J[1]) / ((sides[0] - sides[1]) * epsilon)
    return found


def difference(gradients: Arrays, approximate: Arrays) -> float:
    """The course's ``|grad - gradapprox| / (|grad| + |gradapprox|)``, over all the arrays that are given."""
    grad, approx = (np.concatenate([arrays[name].ravel() for name in gradients]) for arrays in (gradients, approximate))
    return float(np.linalg.norm(grad - approx) / (np.linalg.norm(grad) + np.linalg.norm(approx)))


def main(output: Path | None = None) -> dict[str, Any]:
    X, Y, parameters = course_case()
    model = l_layer.network(SIZES, init=tg.init.zeros)
    model.load_state_dict(parameters)
    approximate = slopes(parameters, X, Y, epsilon=1e-7)

    results: dict[str, Any] = {"differences": {}, "first wrong": {}, "causes": {}}
    print(f"{'bug':34}{'difference':>13}   first wrong array, and its cause, by tg.check.diagnose")
    for bug, backprop in BUGS.items():
        gradients = backprop(parameters, X, Y)
        first = tg.check.diagnose(model, X, Y, gradients).first_wrong
        results["differences"][bug] = difference(gradients, approximate)
        results["first wrong"][bug] = None if first is None else first.name
        results["causes"][bug] = () if first is None else first.causes
        said = "all right" if first is None else f"{first.name}: {'; or '.join(first.causes) or 'none that is known'}"
        print(f"{bug:34}{results['differences'][bug]:13.3e}   {said}")

    gradients = BUGS["dW2 * 2, db1 * 4 (the course's)"](parameters, X, Y)
    results["by array"] = {name: difference({name: g}, approximate) for name, g in gradients.items()}
    print("The course's bugs, array by array")
    for name, number in results["by array"].items():
        print(f"  {name:32}{number:13.3e}{'   <- wrong' if number > 1e-4 else ''}")
    print("And in the words of diagnose")
    print("\n".join(f"  {line}" for line in str(tg.check.diagnose(model, X, Y, gradients)).splitlines()))

    # How large a step? A long one sees the curvature, a short one the rounding of the cost.
    steps = np.logspace(-12, -1, 23)
    right = backward(parameters, X, Y)
    kinds = {"two sides": (1, -1), "one side": (1, 0)}
    results["by epsilon"] = {
        kind: [difference(right, slopes(parameters, X, Y, epsilon, sides)) for epsilon in steps]
        for kind, sides in kinds.items()
    }
    best = {kind: steps[np.argmin(numbers)] for kind, numbers in results["by epsilon"].items()}
    print("The best epsilon, for the right gradients: " + ", ".join(f"{e:.0e} ({kind})" for kind, e in best.items()))
    if output is not None:
        figure, ax = plots.new_figure()
        curves = {f"right, slopes from {kind}": (steps, y) for kind, y in results["by epsilon"].items()}
        buggy = [difference(gradients, slopes(parameters, X, Y, epsilon)) for epsilon in steps]
        plots.draw_curves(ax, curves | {"the course's two bugs": (steps, buggy)})
        ax.set(xscale="log", yscale="log", title="Gradient checking: how large a step?")
        ax.set(xlabel="epsilon", ylabel="|grad - approx| / (|grad| + |approx|)")
        plots.save(figure, output, "gradient_checking.png")
    return results


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
