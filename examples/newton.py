"""Second derivatives: Newton's method, and the standard errors of a logistic regression.

Autodiff gives the Hessian of the cost. Newton's method finds the minimum with it in a few steps, and the inverse of the
Hessian says how far the coefficients can be trusted. Coefficients and errors are held against those of statsmodels.

Run: ``python -m examples.newton [output_folder]`` (needs scikit-learn, for the data; statsmodels for the comparison)
"""

from __future__ import annotations

import sys
import tempfile
import textwrap
from collections.abc import Callable
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np

import tinygrad_dls as tg
from examples import plots
from examples.breast_cancer import OVERLAPPING, TARGET, standardised, write_csv
from examples.hand_derived import largest_difference

QUANTILE = NormalDist().inv_cdf(0.975)  # 1.96: 95 % of a normal distribution are within so many standard deviations


def read_table() -> tg.datasets.Table:
    with tempfile.TemporaryDirectory() as folder:
        write_csv(Path(folder) / "breast_cancer.csv")
        return tg.datasets.read_csv(Path(folder) / "breast_cancer.csv", target=TARGET)


def with_ones(X: np.ndarray) -> np.ndarray:
    """Append a row of ones: its coefficient is b, so that all parameters are in one array w."""
    return np.vstack([X, np.ones((1, X.shape[1]))])


def logistic_cost(X: np.ndarray, Y: np.ndarray) -> Callable[[Any], Any]:
    """Make the cost as a function of w, which has one entry per row of X."""
    return lambda w: tg.binary_cross_entropy_with_logits(w.reshape(1, -1) @ X, Y)


def newton(X: np.ndarray, Y: np.ndarray, max_steps: int = 50) -> tuple[np.ndarray, np.ndarray, list[dict[str, float]]]:
    """Fit a logistic regression by ``w := w - H^-1 dw``, from zero.

    Returns the coefficients, the Hessian there, and what was seen on the way, before the first step to after the last.

    Raises ValueError where there is no unique minimum: if the classes are separable, so that the cost falls towards 0
    for ever, or if the Hessian is singular; and if the steps do not settle.
    """
    cost = logistic_cost(X, Y)
    slope, curvature = tg.value_and_grad(cost), tg.hessian(cost)
    w, path, settled = np.zeros(X.shape[0]), [], False
    for step in range(max_steps + 1):
        J, dw = slope(w)
        H = curvature(w)
        path.append({"cost": float(J), "gradient": float(np.linalg.norm(dw))})
        if settled:
            return w, H, path
        if np.all(np.where(Y == 1, 1, -1) * (w @ X) > 0):
            raise ValueError(
                f"newton: at step {step} every example is on its own side, so the classes are separable. Then the "
                "likelihood has no maximum: larger w always fit better, and there are no coefficients to report. "
                "Use fewer features or a penalty."
            )
        if np.linalg.matrix_rank(H, hermitian=True) < len(w):
            raise ValueError(
                f"newton: the Hessian is singular at step {step}, so no unique minimum exists. Is a feature "
                "constant or a combination of others, or do the classes only touch each other?"
            )
        change = np.linalg.solve(H, dw)
        w = w - change
        # The error after a step is about the square of the error before it: 1e-8 leaves nothing but rounding.
        settled = bool(np.linalg.norm(change) <= 1e-8 * np.linalg.norm(w))
    raise ValueError(
        f"newton: the steps have not settled; max_steps is {max_steps}. Standardise X, or take shorter steps."
    )


def gradient_descent(X: np.ndarray, Y: np.ndarray, alpha: float, tolerance: float) -> list[float]:
    """Descend with a constant learning rate; return the norm of the gradient before each step, until it is small."""
    slope = tg.grad(logistic_cost(X, Y))
    w, norms = np.zeros(X.shape[0]), []
    while not norms or norms[-1] > tolerance:
        dw = slope(w)
        norms.append(float(np.linalg.norm(dw)))
        w = w - alpha * dw
    return norms


def statsmodels_fit(X: np.ndarray, Y: np.ndarray) -> dict[str, np.ndarray] | None:
    """Do the same with statsmodels, which has the examples as rows; None if it is not installed."""
    try:
        from statsmodels.api import Logit
    except ImportError:
        return None
    # Its own Newton's method. Its default tolerance, 1e-8, leaves only rounding as well; "bfgs" would stop far earlier.
    fit = Logit(Y[0], X.T).fit(method="newton", tol=1e-12, disp=0)
    low, high = fit.conf_int().T
    return {"coefficient": fit.params, "error": fit.bse, "z": fit.tvalues, "low": low, "high": high}


def main(output: Path | None = None) -> dict[str, Any]:
    results: dict[str, Any] = {}
    table = read_table()
    rows = [table.features.index(name) for name in OVERLAPPING]
    X = with_ones(standardised(table.X[rows], like=table.X[rows]))
    Y, m = table.Y, table.Y.shape[1]

    w, H, path = newton(X, Y)
    steps = len(path) - 1
    print(f"Logistic regression by Newton's method: {len(rows)} features, {m} examples, {steps} steps")
    print(f"  {'step':>4}{'cost J':>16}{'|dw|':>12}{'|dw| / |dw before|^2':>24}")
    for step, seen in enumerate(path):
        line = f"  {step:4}{seen['cost']:16.12f}{seen['gradient']:12.1e}"
        if step and step < steps:  # the last one is rounding
            line += f"{seen['gradient'] / path[step - 1]['gradient'] ** 2:24.1f}"
        print(line)
    print("  The last column tends to a constant: each step squares the gradient, that is, doubles its digits.")
    results["costs"], results["gradients"] = ([seen[key] for seen in path] for key in ("cost", "gradient"))

    # Gradient descent knows one number about the curvature, the learning rate. Since a (1 - a) <= 1/4, no curvature of
    # the cost is above the largest eigenvalue of X X^T / 4m; one over it is a rate at which every step goes down.
    alpha = 1 / np.linalg.eigvalsh(X @ X.T / (4 * m)).max()
    descent = gradient_descent(X, Y, alpha, tolerance=1e-12)
    results["descent_steps"] = len(descent) - 1
    print(f"  Gradient descent with alpha = {alpha:.2f} takes {len(descent) - 1} steps to |dw| < 1e-12")

    # The Hessian by hand: dZ = (a - y) / m has the derivative a (1 - a) / m.
    a = tg.sigmoid(w @ X)
    results["hessian_difference"] = largest_difference(H, X @ np.diag(a * (1 - a)) @ X.T / m)
    print("Hessian: tg.hessian against X diag(a (1 - a)) X^T / m")
    print(f"  largest relative difference        {results['hessian_difference']:.1e}")

    # m J is the negative log-likelihood, so m H is the observed information, and its inverse the covariance of w.
    error = np.sqrt(np.diag(np.linalg.inv(m * H)))
    z, low, high = w / error, w - QUANTILE * error, w + QUANTILE * error
    names = (*OVERLAPPING, "b")
    ours = {"coefficient": w, "error": error, "z": z, "low": low, "high": high}
    print(f"Coefficients, per standard deviation of the feature; label 1 is {table.classes[1]}")
    print(f"  {'':18}{'coefficient':>12}{'std. error':>12}{'z':>9}{'95 % interval':>22}")
    for name, *row in zip(names, *ours.values(), strict=True):
        print(f"  {name:18}{row[0]:12.6f}{row[1]:12.6f}{row[2]:9.3f}{row[3]:12.4f}{row[4]:10.4f}")
    results["ours"], results["statsmodels"] = ours, statsmodels_fit(X, Y)
    if results["statsmodels"] is None:
        print("Against statsmodels: not installed; for the comparison, pip install statsmodels")
    else:
        results["differences"] = {
            name: float(np.abs(ours[name] / theirs - 1).max()) for name, theirs in results["statsmodels"].items()
        }
        print("Against statsmodels, largest relative difference")
        for name in ("coefficient", "error"):
            print(f"  {name:35}{results['differences'][name]:.1e}")

    # With all 30 features a plane parts the classes. The steps never settle, and newton says so.
    print(f"All {len(table.features)} features")
    try:
        newton(with_ones(standardised(table.X, like=table.X)), Y)
    except ValueError as problem:
        results["separable"] = str(problem)
        print(textwrap.fill(str(problem), 100, initial_indent="  ", subsequent_indent="  "))

    if output is not None:
        figure, (left, right) = plots.new_figure(10.0, 4.2, ncols=2)
        plots.draw_curves(left, {"Newton's method": results["gradients"], "gradient descent": descent})
        left.plot(range(steps + 1), results["gradients"], "o", color=plots.BLUE, markersize=5)
        left.set_yscale("log")
        left.set_xscale("symlog", linthresh=1)
        left.set_xlim(-0.1, 2 * len(descent))
        ticks = (0, 1, 10, 100, 1000)
        left.set_xticks(ticks, labels=map(str, ticks))
        left.legend(frameon=False, loc="lower left")
        left.set(title="Convergence", xlabel="step (logarithmic from 1)", ylabel="norm of the gradient")
        plots.draw_intervals(right, names, w, QUANTILE * error)
        right.set(title="Coefficients with 95 % intervals", xlabel="per standard deviation of the feature")
        plots.save(figure, output, "newton.png")
    return results


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
