"""Logistic regression and its likelihood (section 1.1.1 of the notes).

Shows the logit link and its inverse, that the cost is the negative log-likelihood per example, the chain rule from dA
to dZ = A - Y as autodiff computes it, and what a straight line can (not) do on the flower.

Run: ``python -m examples.logistic_regression [output_folder]``
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_dls as tg
from examples import plots
from examples.hand_derived import largest_difference


def main(output: Path | None = None) -> dict[str, Any]:
    X, Y = tg.datasets.planar_flower()
    m = Y.shape[1]
    results: dict[str, Any] = {}

    # The link takes a probability to the whole line, the inverse link takes z back to a probability.
    z = np.linspace(-6, 6, 25)
    a = tg.sigmoid(z)
    results["link_difference"] = largest_difference(np.log(a / (1 - a)), z)
    print("Link: log(a / (1 - a)) undoes a = sigmoid(z)")
    print(f"  largest relative difference        {results['link_difference']:.1e}")

    # The model of the notes, layer by layer, at some parameters other than zero.
    model = tg.nn.Sequential(tg.nn.Linear(2, 1, rng=0), tg.nn.Sigmoid())
    linear, sigmoid = model.layers
    Z = linear(X)
    A = sigmoid(Z)
    J = tg.binary_cross_entropy(A, Y)

    # The likelihood is the product of the probabilities that the model gives to what was observed.
    likelihood = np.prod(np.where(Y == 1, A.data, 1 - A.data))
    negative_log_likelihood = -np.sum(Y * np.log(A.data) + (1 - Y) * np.log(1 - A.data))
    results["likelihood_difference"] = abs(-np.log(likelihood) / (m * J.item()) - 1)
    results["cost_difference"] = abs(negative_log_likelihood / (m * J.item()) - 1)
    print("Likelihood: the cost is the negative log-likelihood over m")
    print(f"  likelihood L, a product of {m}     {likelihood:.4e}  (why one takes its logarithm)")
    print(f"  -log L                             {-np.log(likelihood):.10f}")
    print(f"  -sum(Y log A + (1-Y) log(1-A))     {negative_log_likelihood:.10f}")
    print(f"  m J                                {m * J.item():.10f}")

    # The chain rule, read off the Tensors after backward: dA is A.grad, dZ is Z.grad. Since J is a mean over the
    # examples, every one of them carries 1/m.
    J.backward()
    a = A.data
    chain = {
        "dA": (A.grad, ((1 - Y) / (1 - a) - Y / a) / m),
        "dZ": (Z.grad, (a - Y) / m),
        "dW": (linear.W.grad, (a - Y) @ X.T / m),
        "db": (linear.b.grad, np.sum(a - Y, axis=1, keepdims=True) / m),
    }
    formulas = ["((1-Y)/(1-A) - Y/A) / m", "dA A(1-A) = (A - Y) / m", "dZ X^T", "row sums of dZ"]
    results["chain"] = {name: largest_difference(*pair) for name, pair in chain.items()}
    print("Chain rule: autodiff against the formulas, largest relative difference")
    for (name, difference), formula in zip(results["chain"].items(), formulas, strict=True):
        print(f"  {name} = {formula:<29} {difference:.1e}")

    # The fused cost takes Z instead of A: one step from J to dZ, and the same gradients.
    Z_fused = linear(X)
    J_fused = tg.binary_cross_entropy_with_logits(Z_fused, Y)
    J_fused.backward()
    results["fused_difference"] = max(abs(J_fused.item() / J.item() - 1), largest_difference(Z_fused.grad, Z.grad))
    print("Fused cost, binary_cross_entropy_with_logits(Z, Y): the same J and dZ")
    print(f"  largest relative difference        {results['fused_difference']:.1e}")

    # Trained from zero. The cost has a single minimum, so any learning rate that is small enough ends there.
    model = tg.nn.LogisticRegression(2)
    history = tg.fit(
        model,
        X,
        Y,
        loss=tg.binary_cross_entropy_with_logits,
        optimizer=tg.optim.SGD(model.parameters(), lr=0.1),
        epochs=1000,
    )
    results["cost"] = history.costs[-1]
    results["accuracy"] = tg.accuracy(model.predict(X), Y)
    print("Trained on the flower")
    print(f"  cost                               {history.costs[0]:.6f} -> {results['cost']:.6f}")
    print(f"  accuracy                           {results['accuracy']:.2%}  (no straight line parts the petals)")

    if output is not None:
        title = f"Logistic regression on the flower: {results['accuracy']:.2%} correct"
        plots.save(plots.decision_boundary(model, X, Y, title), output, "logistic_regression_boundary.png")
    return results


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
