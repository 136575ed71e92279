"""What an eager step of the 2-4-1 network spends its time on, part by part, beside NumPy written by hand.

Nothing is estimated by a profiler. The step is taken apart into paths that can be run alone: the rules of the ops on
plain arrays, which are the engine's NumPy calls and nothing else; the same ops on Tensors; the model and the loss; the
backward pass; the update. A part is the difference of two paths. They take turns in one process, and the processor's
time counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np

import tinygrad_dls as tg
from benchmarks.by_hand import plain, planned
from benchmarks.engine import trained
from benchmarks.problems import DTYPES, Problem
from benchmarks.results import Results, arguments

SIZES, M = (2, 4, 1), 400
ROUNDS, TURN = 150, 0.01
STEP, PLAIN, PLANNED = "the step", "NumPy, plain", "NumPy, planned"

# What a part is: paths that are added up, and paths that are taken away. Together they are the step.
PARTS: dict[str, tuple[list[str], list[str]]] = {
    "NumPy's calls: forward": (["rules: forward"], []),
    "NumPy's calls: backward": (["rules: backward"], ["rules: forward"]),
    "NumPy's calls: update": (["rules: update"], ["rules: backward"]),
    "ops around them: operands, and the graph": (["ops: forward"], ["rules: forward"]),
    "layers: calls, and checks of shapes": (["model"], ["ops, watched: forward"]),
    "loss: checks of labels": (["cost"], ["model"]),
    "watching X and Y for changes in place": (["ops, watched: backward"], ["ops: backward"]),
    "`zero_grad`": (["zero_grad"], []),
    "`backward`: the walk": (["ops: backward", "rules: forward"], ["ops: forward", "rules: backward", "zero_grad"]),
    "`optimizer.step`, and `J.item`": (
        [STEP, "ops, watched: forward", "rules: backward"],
        ["cost", "ops, watched: backward", "rules: update"],
    ),
}


def spent(took: dict[str, list[float]]) -> dict[str, float]:
    """The seconds of each part: the medians of paths, added up and taken away."""
    of = {path: median(seconds) for path, seconds in took.items()}
    return {part: sum(of[p] for p in plus) - sum(of[p] for p in minus) for part, (plus, minus) in PARTS.items()}


def paths(problem: Problem) -> dict[str, Callable[[], Any]]:
    """What can be run alone: the step, and what it is made of."""
    X, Y = problem.data
    model, loss, optimizer = trained(problem)
    W1, b1, W2, b2 = model.parameters()
    J = loss(model(X), Y)
    Z2 = J.inputs[0]
    A1 = Z2.inputs[1]
    cost_of, tanh, affine = J.op, A1.op, Z2.op  # the loss behind its checks of labels
    one, rate = X.dtype.type(1), problem.learning_rate
    w1, c1, w2, c2 = problem.parameters.values()
    with tg.no_grad():  # of results, no caller holds the arrays, and nothing is watched
        constant_X, constant_Y = (tg.multiply(tg.Tensor(x), one) for x in (X, Y))

    def forward_of_rules() -> tuple[Any, ...]:
        z1, of_z1 = affine.rule(w1, X, c1)
        a1, of_a1 = tanh.rule(z1)
        z2, of_z2 = affine.rule(w2, a1, c2)
        return *cost_of.rule(z2, Y), of_z2, of_a1, of_z1

    def backward_of_rules() -> list[np.ndarray]:
        _, of_j, of_z2, of_a1, of_z1 = forward_of_rules()
        dz2 = of_j[0](one)
        dw2, da1, db2 = (vjp(dz2) for vjp in of_z2)
        dz1 = of_a1[0](da1)
        dw1, db1 = of_z1[0](dz1), of_z1[2](dz1)
        return [dw1, np.add.reduce(db1, axis=1, keepdims=True), dw2, np.add.reduce(db2, axis=1, keepdims=True)]

    def update_of_rules() -> list[np.ndarray]:
        return [w - rate * dw for w, dw in zip((w1, c1, w2, c2), backward_of_rules(), strict=True)]

    def ops(x: Any, y: Any) -> Any:
        return cost_of(affine(W2, tanh(affine(W1, x, b1)), b2), y)

    def backward(J: Any) -> None:
        optimizer.zero_grad()
        J.backward()

    def step() -> float:
        J = loss(model(X), Y)
        backward(J)
        optimizer.step()
        return J.item()

    return {
        PLAIN: plain(problem).step,
        PLANNED: planned(problem).step,
        "rules: forward": forward_of_rules,
        "rules: backward": backward_of_rules,
        "rules: update": update_of_rules,
        "ops: forward": lambda: ops(constant_X, constant_Y),
        "ops: backward": lambda: backward(ops(constant_X, constant_Y)),
        "ops, watched: forward": lambda: ops(X, Y),
        "ops, watched: backward": lambda: backward(ops(X, Y)),
        "model": lambda: cost_of(model(X), Y),
        "cost": lambda: loss(model(X), Y),
        "zero_grad": optimizer.zero_grad,
        STEP: step,
    }


@np.errstate(all="ignore")  # by hand, what is exact elsewhere may overflow
def measured(problem: Problem, rounds: int, turn: float) -> dict[str, list[float]]:
    """Seconds of processor time for each path, in turns of about as many seconds."""
    runs = paths(problem)
    repeats = {}
    for name, run in runs.items():
        _seconds(run, 20)
        repeats[name] = max(1, int(turn / max(_seconds(run, 20), 1e-7)))
    took: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            took[name].append(float(f"{_seconds(run, repeats[name]):.4g}"))
    return took


def _seconds(run: Callable[[], Any], repeats: int) -> float:
    start = time.process_time()
    for _ in range(repeats):
        run()
    return (time.process_time() - start) / repeats


def main() -> None:
    """Measure both dtypes."""
    quick = arguments(__doc__).quick
    results = Results("eager_parts", quick=quick)
    for dtype in DTYPES:
        took = measured(Problem(SIZES, M, dtype), 5 if quick else ROUNDS, TURN)
        results.add(("dtype",), {"dtype": dtype, "paths": took})
        print(f"\n{dtype}, microseconds")
        rows = {**spent(took), **{path: median(took[path]) for path in (STEP, PLAIN, PLANNED)}}
        for part, seconds in rows.items():
            print(f"  {part:45}{seconds * 1e6:8.2f}", flush=True)


if __name__ == "__main__":
    main()
