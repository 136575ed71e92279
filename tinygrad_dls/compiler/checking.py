"""What is compiled compares itself with the eager run: at its first call, and then now and then.

Guards watch what a recorded function reads, as far as that can be told from its code. Whatever escapes them shows in
the numbers. So a compiled step computes the cost, the gradients and the update eagerly too, on the same data, at its
calls 1, 2, 4, ..., 1024, and at every 1024th from there on: a small part of its time, up to a tenth where a step takes
a few microseconds. Numbers that differ by more than a few roundings are looked into: what is recorded again now is
another program if something has changed that nobody watched. If it is the same program, its rounding is measured, by
parameters that differ in their last digits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, TypeAlias

import numpy as np

from tinygrad_dls.engine.arrays import Array
from tinygrad_dls.engine.tensor import Tensor, values
from tinygrad_dls.graph.reading import leaves
from tinygrad_dls.ir.call import Call, evaluate
from tinygrad_dls.nn.normalisation import untouched
from tinygrad_dls.optimizer import Optimizer

__all__ = [
    "COST", "UPDATE", "Results", "Turns", "beyond_rounding", "distance", "eager_results", "fewer_columns",
    "of_program", "rounded", "rounded_anew", "rounding", "stale", "unexplained", "wrong",
]  # fmt: skip

PERIOD = 1024  # calls from one comparison to the next, in the end
COLUMNS = 1024  # examples that a tiled step is compared on: the eager step would need memory for all of them
LARGE = (
    1e-3  # of what is recorded alike, a relative difference that is no rounding, if parameters rounded anew show none
)
ROUNDINGS = 100  # times the spread of results whose parameters are rounded anew

Results: TypeAlias = dict[str, Any]  # the cost, and what is computed for each parameter, by name
COST, UPDATE = "the cost", "the update of "


class Turns:
    """Counts calls, and says when it is time to compare, and what is worth to be looked into.

    Attributes
    ----------
    left : int
        Calls until then; who calls counts them down.
    """

    def __init__(self, dtype: Any) -> None:
        self.left = self.period = 1
        self.eps = float(np.finfo(dtype if np.dtype(dtype).kind == "f" else float).eps)
        # a few hundred roundings of float64, some fifty of float32: sums of many numbers differ by as much
        self.tolerance = self.eps**0.75
        self.known: dict[str, float] = {}  # larger ones of single results, in which more is rounding

    def again(self) -> None:
        """Start to count for the next comparison: after as many calls as there were so far."""
        self.left = self.period
        self.period = min(2 * self.period, PERIOD)

    def differing(self, got: Results, expected: Results, sizes: Mapping[str, float]) -> dict[str, float]:
        """The differences of results that differ by more than a few roundings, by name, the cost first.

        The cost is compared by its own size; all else by the largest entry of it all, as a small gradient may be the
        difference of large numbers; and `sizes` are those of numbers that results are differences of.
        """
        scale = _scales(expected)
        found = {}
        for name, x in expected.items():
            apart = distance(got[name], x)
            if apart > self.known.get(name, self.tolerance) * scale[name] + 4 * self.eps * sizes.get(name, 0.0):
                found[name] = apart
        return found

    def accept(self, differences: Mapping[str, float], expected: Results) -> None:
        """Take these differences for rounding from now on."""
        scale = _scales(expected)
        self.known |= {name: 10 * apart / (scale[name] or 1.0) for name, apart in differences.items()}


def beyond_rounding(differences: Mapping[str, float], expected: Results, spread: Mapping[str, float]) -> list[str]:
    """The names of results that no rounding explains: what is not finite in one only, and a cost that is another.

    All digits of a gradient that is the difference of large sums may be rounding, and Adam takes it for a whole step:
    which of those are wrong cannot be told here.
    """
    scale = _scales(expected)
    one = float(np.finfo(np.float32).eps) * ROUNDINGS
    return [
        name
        for name, apart in differences.items()
        if apart == np.inf
        or (not name.startswith(UPDATE) and apart > LARGE * scale[name] + ROUNDINGS * spread[name] + one)
    ]


def distance(x: Any, y: Any) -> float:
    """The largest difference of two arrays' entries; infinite if they differ in what is not finite."""
    x, y = np.asarray(x), np.asarray(y)
    if x.shape != y.shape:
        return np.inf
    if x.dtype.kind not in "fiubc" or y.dtype.kind not in "fiubc":
        return 0.0 if np.array_equal(x, y) else np.inf
    with np.errstate(all="ignore"):
        apart = np.abs(np.subtract(x, y, dtype=np.result_type(x.dtype, y.dtype, float)))
        far = float(np.maximum.reduce(apart, axis=None, initial=0.0))
        if math.isfinite(far):
            return far
        apart = np.where((x == y) | (np.isnan(x) & np.isnan(y)), 0, apart)
        return float(np.max(np.where(np.isnan(apart), np.inf, apart)))


def _largest(x: Any) -> float:
    """The largest finite entry."""
    x = np.asarray(x)
    if x.dtype.kind not in "fiubc":
        return 0.0
    x = np.abs(x)
    largest = float(np.maximum.reduce(x, axis=None, initial=0))
    return largest if math.isfinite(largest) else float(np.max(x, initial=0.0, where=np.isfinite(x)))


def _scales(results: Results) -> dict[str, float]:
    sizes = {name: _largest(x) for name, x in results.items()}
    others = max((size for name, size in sizes.items() if name != COST), default=0.0)
    return {name: size if name == COST else others for name, size in sizes.items()}


# -- a step -----------------------------------------------------------------------------------------------------------


def eager_results(
    cost: Callable[[], Tensor], parameters: Mapping[str, Tensor], optimizer: Optimizer | None = None, rate: float = 0.0
) -> Results:
    """What an eager step computes, without leaving anything behind: the cost, and changes of the parameters.

    Parameters
    ----------
    cost : function
        Computes the cost.
    parameters : dict of str to Tensor
        Those to look at, by name.
    optimizer : Optimizer, optional
        With it and the learning rate, the results are new arrays less the old ones; without, the gradients.
    rate : float
    """
    with np.errstate(all="ignore"):
        with untouched():
            J = cost()
        before = [(p, p._grad) for p in {*leaves(J), *parameters.values()}]
        try:
            for p, _ in before:
                p._grad = None
            J.backward()
            results: Results = {COST: J.item()}
            with nullcontext() if optimizer is None else optimizer._clipping(parameters.values()):
                for name, p in parameters.items():
                    if p._grad is None:
                        continue
                    if optimizer is None:
                        results[f"{UPDATE}{name}"] = values(p._grad)
                    else:
                        results[f"{UPDATE}{name}"] = values(optimizer._update(p, rate)[0]) - values(p)
            return results
        finally:
            for p, grad in before:
                p._grad = grad


def of_program(cost: Call, gradients: Mapping[str, Call], inputs: Mapping[Call, Any], m: Call, columns: int) -> Results:
    """What a recorded program computes for these inputs: the cost, and gradients by parameter, as `eager_results`."""
    with np.errstate(all="ignore"):
        results = evaluate([cost, *gradients.values()], {**inputs, m: columns})
    return dict(zip([COST, *(f"{UPDATE}{name}" for name in gradients)], results, strict=True))


def fewer_columns(x: Array) -> Array:
    """The first examples of many, as an array of its own: labels may have been checked as parts of a larger one."""
    return x[..., :COLUMNS].copy()


def rounding(again: Callable[[np.random.Generator], Results], expected: Results) -> dict[str, float]:
    """Measure by how much each result changes if what it is computed of changes in its last digit.

    Parameters
    ----------
    again : function
        Takes a generator; what is computed of arrays that are `rounded` by it.
    expected : dict of str to array
        The results without.
    """
    rng = np.random.default_rng(0)
    spread = dict.fromkeys(expected, 0.0)
    for _ in range(3):
        for name, x in again(rng).items():
            spread[name] = max(spread[name], distance(x, expected[name]))
    return spread


@contextmanager
def rounded_anew(parameters: Sequence[Tensor], rng: np.random.Generator) -> Iterator[None]:
    """Within the block, parameters differ in their last digits."""
    before = [(p, p._value) for p in parameters]
    try:
        for p, w in before:
            p._value = rounded(w, rng)
        yield
    finally:
        for p, w in before:
            p._value = w


def rounded(x: Array, rng: np.random.Generator) -> Array:
    """The array with entries that differ in the last digit."""
    return x * (1 + np.finfo(x.dtype).eps * rng.choice([-1, 1], x.shape)).astype(x.dtype) if x.dtype.kind == "f" else x


# -- what is said -----------------------------------------------------------------------------------------------------


def wrong(what: str, name: str, got: Any, expected: Any, cause: str) -> RuntimeError:
    """The error for a compiled step or function whose numbers are others than the eager ones."""
    numbers = f"{_shown(got)} instead of {_shown(expected)}" if np.size(got) == 1 else "another array than eagerly"
    return RuntimeError(f"{what} gave {numbers} for {name}: {cause}")


def _shown(x: Any) -> str:
    return f"{np.asarray(x).item():.9g}"


def stale(changed: str) -> str:
    """The likely cause, and what to do, where what is recorded now is another program."""
    return (
        "something that the code reads has changed since it was recorded, in a way that cannot be watched. "
        f"{changed} This call has changed nothing, and the next one records anew. Pass what changes as an argument, or "
        "keep it as a number or an array in a variable or an attribute that the code names."
    )


def unexplained(option: str) -> str:
    """The likely cause where the same is recorded again."""
    return (
        "the same is recorded now as before, so this is most likely a mistake of tg.compile, or code that gives other "
        "numbers each time that it runs, or asks for isinstance(x, np.ndarray), which is false while it is recorded. "
        f"This call has changed nothing. {option}"
    )
