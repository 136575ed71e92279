"""A training in small pieces: the same as `tinygrad_dls.fit`, but it can be left and taken up again after any step.

A page asks for so many milliseconds of training, shows what came out, and asks again; so it can stop between any two
steps. The numbers are those of `fit` with the same settings.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import tinygrad_dls as tg
from playground.engine.data import Data
from playground.engine.settings import Settings

__all__ = ["Session"]

ACTIVATIONS = {"tanh": tg.nn.Tanh, "relu": tg.nn.ReLU, "sigmoid": tg.nn.Sigmoid}
INITS = {"small": tg.init.small, "xavier": tg.init.xavier, "he": tg.init.he, "zeros": tg.init.zeros}
OPTIMIZERS: dict[str, Callable[..., Any]] = {
    "sgd": tg.optim.SGD,
    "momentum": lambda parameters, lr: tg.optim.SGD(parameters, lr, momentum=0.9, dampening=0.9),  # the course's
    "rmsprop": tg.optim.RMSprop,
    "adam": tg.optim.Adam,
}


class Session:
    """A network, its examples, and how far its training has come.

    Parameters
    ----------
    settings : Settings
    data : Data

    Attributes
    ----------
    model : Classifier
    costs, held_costs : list of float
        By epoch; the second of the examples that were held out, empty if there are none.
    steps : int
        How many were taken.
    stopped : str
        Why the training cannot go on; empty while it can.
    """

    def __init__(self, settings: Settings, data: Data) -> None:
        self.settings, self.data = settings, data
        self.rewind()

    def rewind(self) -> None:
        """Back to the start: the same weights, and the same order of mini-batches."""
        rng = np.random.default_rng(self.settings.seed)
        self.model = _model(self.settings, self.data, rng)
        self.optimizer = OPTIMIZERS[self.settings.optimizer](self.model.parameters(), self.settings.lr)
        self.costs: list[float] = []
        self.held_costs: list[float] = []
        self.steps, self.stopped = 0, ""
        # what draws random masks cannot be recorded
        self._step = tg.compile(
            self.model, self.loss, self.optimizer, gradients=True, fallback=self.settings.dropout > 0
        )
        self._batches = self._of_epochs()
        self._within: list[tuple[float, int]] = []  # of the epoch that has begun: costs, and the examples of each

    @property
    def epoch(self) -> int:
        """How many epochs are over."""
        return len(self.costs)

    @property
    def within(self) -> int:
        """How many steps of the next epoch have been taken."""
        return len(self._within)

    def plain_loss(self, Z: Any, Y: Any) -> Any:
        """The loss without a penalty."""
        if not self.data.classes:
            return tg.mean_squared_error(Z, Y)
        many = len(self.data.classes) > 2
        return tg.softmax_cross_entropy(Z, Y) if many else tg.binary_cross_entropy_with_logits(Z, Y)

    def loss(self, Z: Any, Y: Any) -> Any:
        """What is minimised."""
        J = self.plain_loss(Z, Y)
        return J + tg.l2(self.model, self.settings.l2, Y.shape[1]) if self.settings.l2 else J

    def step(self) -> None:
        """One update: of a mini-batch, or of all examples."""
        if self.stopped:
            return
        X, Y = next(self._batches)
        with np.errstate(all="ignore"):  # a cost that explodes is said below
            J = self._step(X, Y)
        self.steps += 1
        self._within.append((J, X.shape[1]))
        if not math.isfinite(J):
            self.stopped = (
                f"The cost is {J} at epoch {self.epoch}. Most often the learning rate is too large: "
                f"it is {self.settings.lr:g}."
            )
        elif sum(n for _, n in self._within) == self.data.X.shape[1]:
            self._end_epoch()

    def advance(self, milliseconds: float, most: int | None = None) -> None:
        """Train for so long, and no further than to the epoch `most`; at least one step."""
        until = time.perf_counter() + milliseconds / 1000
        while not self.stopped and (most is None or self.epoch < most):
            self.step()
            if time.perf_counter() >= until:
                break

    def accuracy(self, held: bool = False) -> float | None:
        """The accuracy; for a number, R^2. None without examples."""
        X, Y = (self.data.X_held, self.data.Y_held) if held else (self.data.X, self.data.Y)
        if not X.shape[1]:
            return None
        if not self.data.classes:
            spread = float(np.sum((Y - Y.mean()) ** 2))
            return 1 - float(np.sum((self.output(X) - Y) ** 2)) / spread if spread else None
        labels = Y if len(self.data.classes) == 2 else np.argmax(Y, axis=0)[None]
        assert isinstance(self.model, tg.nn.Classifier)
        return tg.accuracy(self.model.predict(X), labels)

    def output(self, X: Any) -> Any:
        """What the network says of examples: probabilities, or the number, in standard deviations."""
        if isinstance(self.model, tg.nn.Classifier):
            return self.model.predict_proba(X)
        return self.evaluated(lambda: self.model(X).data)

    def evaluated(self, function: Callable[[], Any]) -> Any:
        """What a function gives while the network is in evaluation, without a graph."""
        self.model.eval()
        try:
            with tg.no_grad(), np.errstate(all="ignore"):
                return function()
        finally:
            self.model.train()

    def _of_epochs(self) -> Iterator[tuple[Any, Any]]:
        """The batches of one epoch after the other."""
        X, Y = self.data.X, self.data.Y
        size = self.settings.batch_size
        batches: Any = [(X, Y)]
        if 0 < size < X.shape[1]:
            batches = tg.minibatches(X, Y, size, rng=self.settings.seed)
        while True:
            yield from batches

    def _end_epoch(self) -> None:
        """The cost of an epoch is the mean over its examples, each at its step, as `fit` has it."""
        m = sum(n for _, n in self._within)
        cost = 0.0
        for J, n in self._within:
            cost += J * (n / m)
        self.costs.append(cost)
        self._within = []
        if self.data.X_held.shape[1]:
            held = self.evaluated(lambda: self.loss(self.model(self.data.X_held), self.data.Y_held))
            self.held_costs.append(float(held))


def _model(settings: Settings, data: Data, rng: Any) -> tg.nn.Sequential:
    """The network; its layers draw their first weights from one stream, the first layer first."""
    n_y = len(data.classes) if len(data.classes) > 2 else 1
    layers: list[Any] = []
    n = data.X.shape[0]
    for units in settings.hidden:
        layers += [tg.nn.Linear(n, units, rng=rng, init=INITS[settings.init]), ACTIVATIONS[settings.activation]()]
        if settings.dropout:
            layers.append(tg.nn.Dropout(1 - settings.dropout, rng=rng))
        n = units
    layers.append(tg.nn.Linear(n, n_y, rng=rng, init=INITS[settings.init]))
    return (tg.nn.Classifier if data.classes else tg.nn.Sequential)(*layers)
