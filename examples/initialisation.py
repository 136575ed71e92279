"""First weights compared: zeros, large random numbers, He's (the second course, week 1).

The course's network on its two circles, with its data, seeds and learning rate, so that the costs can be held against
its notebook: zeros learn nothing, large weights start at a huge cost and end in odd borders, He's learn the circle.

Run: ``python -m examples.initialisation [output_folder]`` (needs scikit-learn, for the data)
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_dls as tg
from examples import l_layer, plots

SIZES = (2, 10, 5, 1)
EPOCHS = 15_000


def ten_times_normal(shape: tuple[int, int], rng: Any) -> np.ndarray:
    """Weights that are too large: of the course's ``np.random.randn(...) * 10``."""
    return rng.standard_normal(shape) * 10


INITIALISERS = {"zeros": tg.init.zeros, "large random": ten_times_normal, "He": tg.init.he}


def units_are_alike(model: tg.nn.Module) -> bool:
    """Whether all units of the first hidden layer have the same weights, so that they are one unit several times."""
    W1 = model.state_dict()["W1"]
    return bool(np.ptp(W1, axis=0).max() == 0)


def main(output: Path | None = None) -> dict[str, Any]:
    X, Y = l_layer.scikit_learns("make_circles", n_samples=300, noise=0.05, random_state=1)
    X_test, Y_test = l_layer.scikit_learns("make_circles", n_samples=100, noise=0.05, random_state=2)
    models, costs, results = {}, {}, {}
    for name, init in INITIALISERS.items():
        model = l_layer.network(SIZES, rng=np.random.RandomState(3), init=init)
        history = tg.fit(
            model,
            X,
            Y,
            loss=tg.binary_cross_entropy_with_logits,
            optimizer=tg.optim.SGD(model.parameters(), lr=0.01),
            epochs=EPOCHS,
            compile=True,  # the same training in a fraction of the time
        )
        models[name], costs[name] = model, history.costs
        results[name] = {
            "costs": dict(enumerate(history.costs[::1000])),
            "accuracy": tg.accuracy(model.predict(X), Y),
            "test": tg.accuracy(model.predict(X_test), Y_test),
            "alike": units_are_alike(model),
        }

    print(f"{'cost after iteration':22}" + "".join(f"{name:>16}" for name in INITIALISERS))
    for row in range(EPOCHS // 1000):
        print(f"  {1000 * row:<20}" + "".join(f"{results[name]['costs'][row]:16.6f}" for name in INITIALISERS))
    for title, key in (("training accuracy", "accuracy"), ("test accuracy", "test")):
        print(f"{title:22}" + "".join(f"{results[name][key]:16.2%}" for name in INITIALISERS))
    print("Zeros: all units of a layer get equal gradients, so they stay alike, and with ReLU they even stay at zero.")
    print(
        "Large: many first predictions are wrong with certainty, and what is learned from there is far from a circle."
    )
    print("  (The course prints inf at first, as its cost takes the logarithm of a probability that is rounded to 0.)")
    print("He: the variance of the activations stays the same from layer to layer, and every layer learns.")

    if output is not None:
        titled = {f"{name}: {results[name]['test']:.0%} on the test set": model for name, model in models.items()}
        plots.save(plots.boundaries(titled, X, Y), output, "initialisation_boundary.png")
        figure, ax = plots.new_figure()
        every = np.arange(0, EPOCHS, 250)  # at first, the costs of the large weights jump up and down
        plots.draw_curves(ax, {name: (every, np.array(costs[name])[every]) for name in costs})
        first = costs["large random"][0]
        ax.set(ylim=(0, 1), xlabel="epoch", ylabel="cost J")
        ax.set(title=f"Initialisations on the circles (large random: from {first:,.0f})")
        plots.save(figure, output, "initialisation_cost.png")
    return results


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
