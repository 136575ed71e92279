"""Validation data in chunks: the cost is summed where they are, and what metrics are measured of is brought here."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_dls.engine.arrays import Array
from tinygrad_dls.training.history import History
from tinygrad_dls.training.scores import Scores
from tinygrad_dls.training.trial import Trial
from tinygrad_dls.training.validation import Validation

if TYPE_CHECKING:
    from tinygrad_dls.graph.subject import Subject

__all__ = ["ChunkedValidation"]

Measure = Callable[[tuple[str, ...]], dict[str, Any]]
OURS = ("predict", "predict_proba")


class ChunkedValidation(Validation):
    """What is measured of validation data in chunks.

    Predictions come from the chunks, once an epoch for all that asks for them.

    Parameters
    ----------
    measure : function
        Of names, gives the ``"cost"``, the labels ``"Y"``, and what methods of the model give, of all the data.
    """

    def __init__(self, given: Subject, measure: Measure, X: Any, trial: Trial, scores: Scores) -> None:
        self._measure = measure
        self._asked: set[str] = set()
        self._found: dict[str, Any] = {}
        self._far = type(type(given.target).__name__, (_Far,), {})  # called as the model is, in errors
        Y = measure(("Y",))["Y"] if scores or trial.judged else None
        super().__init__(given, X, Y, None, trial, scores)

    def figures(self) -> dict[str, bool | None]:
        """What will be known after each epoch."""
        self._found = {}
        return super().figures()

    def measure(self, history: History) -> None:
        """Note the figures of the model as it is."""
        self._found = {}
        super().measure(history)

    def _cost(self) -> float:
        cost: float = self._of("cost")
        return cost

    def _model(self) -> Any:
        return self._far(self._given.target, self._of)

    def _of(self, name: str) -> Any:
        if name not in self._found:
            self._asked.add(name)
            self._found |= self._measure(tuple(sorted(self._asked)))
        return self._found[name]


class _Far:
    """A model that predicts where the chunks are, whatever X it is given here."""

    def __init__(self, model: Any, of: Callable[[str], Array]) -> None:
        self._own, self._of = model, of

    def __call__(self, _: Any) -> Array:
        return self._of("__call__")

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._own, name)
        return (lambda _: self._of(name)) if name in OURS else found


def side_by_side(results: list[dict[str, Any]], shares: list[float]) -> dict[str, Any]:
    """What was measured of chunks, as of all the data: costs are the mean by shares, arrays stand side by side."""
    together: dict[str, Any] = {}
    for name in results[0]:
        parts = [result[name] for result in results]
        if name == "cost":
            together[name] = sum(J * share for J, share in zip(parts, shares, strict=True))
        else:
            together[name] = np.concatenate(parts, axis=1)
    return together
