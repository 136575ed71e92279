"""A learning rate to begin with, found by trying: Smith's range test.

The rate grows geometrically, from one that moves nothing to one that ruins everything, by one step of training each.
Where the cost falls, the rate is right; a good one is well below the rate at which the cost is lowest, because that is
where it is about to explode (Smith 2015, "Cyclical learning rates for training neural networks", section 3.3).
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tinygrad_dls.engine.arrays import Array, positive_integer, positive_number
from tinygrad_dls.engine.tensor import Tensor
from tinygrad_dls.engine.viewed import Viewed
from tinygrad_dls.graph.subject import subject
from tinygrad_dls.nn.init import generator
from tinygrad_dls.nn.models import columns_of
from tinygrad_dls.nn.module import Module
from tinygrad_dls.optimizer import Optimizer
from tinygrad_dls.training.batches import minibatches
from tinygrad_dls.training.loop import fit

__all__ = ["LearningRates", "learning_rates"]

FEWEST = 10  # rates: fewer say nothing of where the cost falls
EXPLODED = 4  # times the cost at the beginning ends the test, as Smith's curves end
BELOW = 10  # so far below the rate of the lowest cost is one to begin with
AROUND = 2  # neighbours on each side that a cost is averaged with: those of mini-batches jump


class LearningRates(Viewed):
    """What a range test has found.

    Attributes
    ----------
    lrs, costs : list of float
        The learning rates that were tried, in order, and the cost that each began with.
    suggestion : float
        A tenth of the rate at which the cost was lowest.
    """

    def __init__(self, lrs: list[float], costs: list[float]) -> None:
        self.lrs, self.costs = lrs, costs
        smooth = [float(np.mean(costs[max(0, i - AROUND) : i + AROUND + 1])) for i in range(len(costs))]
        self.suggestion = lrs[int(np.argmin(smooth))] / BELOW

    def __repr__(self) -> str:
        return (
            f"LearningRates: {len(self.lrs)} from {self.lrs[0]:.2g} to {self.lrs[-1]:.2g}, cost {self.costs[0]:.6f}, "
            f"lowest {min(self.costs):.6f}; begin with {self.suggestion:.2g}"
        )


def learning_rates(
    model: Module,
    X: Array,
    Y: Array,
    *,
    loss: Callable[[Any, Any], Any],
    optimizer: Optimizer,
    lowest: float = 1e-6,
    highest: float = 10,
    steps: int = 100,
    batch_size: int | None = None,
    rng: Any = None,
    sample_weight: Any = None,
) -> LearningRates:
    """Try learning rates from low to high, by a step of training each, to find one to begin with.

    Copies of the model and the optimizer are trained: they, and random generators, stay as they are. The test ends
    where the cost explodes.

    Parameters
    ----------
    model, X, Y, loss, optimizer, batch_size, rng, sample_weight
        As for `fit`. With `batch_size`, each step has the next mini-batch. The optimizer's own rate has no effect.
    lowest, highest : float
        The first and the last rate; between them, each is by the same factor higher than the one before.
    steps : int, default 100
        How many rates are tried, 10 at least.

    Returns
    -------
    LearningRates

    Raises
    ------
    TypeError, ValueError
        As of `fit`; if there are fewer than 10 steps, or the rates do not grow; if the model cannot be copied; and if
        the loss reads parameters of the model by itself, which those of the copy are not.
    FloatingPointError
        If the cost is not finite before the cost of 10 rates is known.

    Examples
    --------
    >>> import tinygrad_dls as tg
    >>> X, Y = tg.datasets.planar_flower()
    >>> model = tg.nn.TwoLayerNetwork(2, 4, rng=0)
    >>> optimizer = tg.optim.Adam(model.parameters(), lr=0.001)
    >>> found = tg.learning_rates(model, X, Y, loss=tg.binary_cross_entropy_with_logits, optimizer=optimizer)
    >>> 0.001 < found.suggestion < 1
    True
    >>> optimizer.lr = found.suggestion
    """
    who = "learning_rates"
    subject(who, model, (X, Y), loss, optimizer)
    low, high = positive_number(lowest, f"{who}: lowest"), positive_number(highest, f"{who}: highest")
    if low >= high:
        raise ValueError(f"{who}: lowest must be below highest; they are {low:g} and {high:g}.")
    if positive_integer(steps, f"{who}: steps") < FEWEST:
        raise ValueError(f"{who}: {steps} steps say nothing of where the cost falls. Take {FEWEST} at least.")
    try:
        twin, its_optimizer = copy.deepcopy((model, optimizer))
    except Exception as error:  # whatever a user's object makes of it
        raise TypeError(f"{who} trains a copy, and the model or the optimizer cannot be copied: {error}") from error
    batches = _batches(columns_of(model, X), Y, sample_weight, batch_size, rng, who)
    before: dict[Tensor, Any] = {p: p._grad for p in model.parameters()}
    costs: list[float] = []
    rates = np.geomspace(low, high, steps).tolist()
    for rate, batch in zip(rates, batches, strict=False):
        its_optimizer.lr = rate
        cost = _cost_of_a_step(twin, batch, loss, its_optimizer)
        _refuse_own_parameters(who, before)
        if not math.isfinite(cost) or (costs and cost - costs[0] > (EXPLODED - 1) * abs(costs[0])):
            break
        costs.append(cost)
    if len(costs) < FEWEST:
        raise FloatingPointError(
            f"{who}: the cost exploded at the rate {rates[len(costs)]:.2g}, after {len(costs)} of them. Take a smaller "
            f"lowest, now {low:g}; or is X not standardised?"
        )
    return LearningRates(rates[: len(costs)], costs)


def _batches(X: Any, Y: Any, sample_weight: Any, batch_size: int | None, rng: Any, who: str) -> Iterator[Any]:
    """What the steps are taken with, without an end: all the examples, or mini-batches, drawn by a copy of rng."""
    if batch_size is None:
        return itertools.repeat((X, Y) if sample_weight is None else (X, Y, sample_weight))
    rng = copy.deepcopy(generator(rng, who))
    drawn = minibatches(X, Y, batch_size, rng=rng, sample_weight=sample_weight)
    every = itertools.chain.from_iterable(itertools.repeat(drawn))
    return (batch for batch in every if len(batch) == 2 or batch[2].any())  # as `fit` passes them over


def _cost_of_a_step(model: Module, batch: Any, loss: Callable[[Any, Any], Any], optimizer: Optimizer) -> float:
    """The cost before a step, which is taken; NaN if it is not finite."""
    X, Y, *w = batch
    try:
        history = fit(
            model, X, Y, loss=loss, optimizer=optimizer, epochs=1, progress=False, sample_weight=w[0] if w else None
        )
    except FloatingPointError:
        return math.nan
    if history.interrupted:
        raise KeyboardInterrupt
    return history.costs[0]


def _refuse_own_parameters(who: str, before: dict[Tensor, Any]) -> None:
    """Refuse a loss that gave gradients to the model itself; it gets back those that it had."""
    if all(p._grad is grad for p, grad in before.items()):
        return
    for p, grad in before.items():
        p._grad = grad
    raise ValueError(
        f"{who} trains a copy, and the loss reads parameters of the model itself. Write an L2 penalty as the "
        "optimizer's weight_decay=; or leave the term out here."
    )
