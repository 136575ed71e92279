"""A network with L layers that reads handwritten digits (the first course, week 4).

The course tells cats from other pictures, whose file is in no package. These are scikit-learn's 1,797 digits of 8 by 8
pixels, in ten classes: a network with two layers and one with four, and what they take each other's digits for.

Run: ``python -m examples.digits [output_folder]`` (needs scikit-learn, for the data)
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_dls as tg
from examples import l_layer, plots

NETWORKS = {"two layers": (64, 20, 10), "four layers": (64, 40, 30, 20, 10)}
ALPHA = 0.1
EPOCHS = 1500


def train(sizes: tuple[int, ...], X: np.ndarray, Y: np.ndarray) -> tuple[tg.nn.Classifier, list[float]]:
    model = l_layer.network(sizes, rng=np.random.RandomState(1))
    history = tg.fit(
        model,
        X,
        Y,
        loss=tg.softmax_cross_entropy,
        optimizer=tg.optim.SGD(model.parameters(), lr=ALPHA),
        epochs=EPOCHS,
        compile=True,
    )
    return model, history.costs


def main(output: Path | None = None) -> dict[str, Any]:
    pixels, Y = l_layer.scikit_learns("load_digits", return_X_y=True)
    X = pixels / 16  # from 0 to 1; each column is a picture, row by row
    X_train, X_test, Y_train, Y_test = tg.datasets.train_test_split(X, Y, test=597, rng=1, stratify=True)
    m, m_test = X_train.shape[1], X_test.shape[1]
    print(f"{X.shape[1]} pictures of {X.shape[0]} pixels: training on {m}, holding out {m_test}")

    results: dict[str, Any] = {}
    curves, mistakes = {}, {}
    for name, sizes in NETWORKS.items():
        model, curves[name] = train(sizes, X_train, Y_train)
        predicted = model.predict(X_test)
        wrong = np.flatnonzero(predicted[0] != Y_test[0])
        mistakes[name] = [(X_test[:, i], int(predicted[0, i]), int(Y_test[0, i])) for i in wrong]
        results[name] = {
            "costs": curves[name],
            "accuracy": tg.accuracy(model.predict(X_train), Y_train),
            "held_out": tg.accuracy(predicted, Y_test),
            "confusion": tg.confusion_matrix(predicted, Y_test),
            "mistakes": len(wrong),
        }
        print(f"{name}: {' -> '.join(map(str, sizes))}, {sum(p.size for p in model.parameters()):,} parameters")
        for epoch in (*range(0, EPOCHS, 300), EPOCHS - 1):
            print(f"  cost after iteration {epoch:4}: {curves[name][epoch]:.6f}")
        print(f"  training accuracy {results[name]['accuracy']:.2%}, held out {results[name]['held_out']:.2%}")
    print("The deeper network learns its training set better and sooner. On digits that it has not seen it is hardly")
    print("better: so few and so small pictures need no depth.")

    if output is not None:
        figure = plots.cost_curves(curves, f"Digits, learning rate {ALPHA}")
        plots.save(figure, output, "digits_cost.png")
        shown = mistakes["four layers"][:15]
        pictures = [(picture.reshape(8, 8), f"said {said}, is {true}") for picture, said, true in shown]
        title = f"What the four layers took for something else: {len(shown)} of {len(mistakes['four layers'])}"
        plots.save(plots.picture_grid(pictures, title), output, "digits_mistakes.png")
    return results


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
