"""What is measured on the validation data after each epoch: the cost, the accuracy, and metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_dls.engine.arrays import Array, as_array
from tinygrad_dls.engine.tensor import values
from tinygrad_dls.nn.evaluation import evaluated
from tinygrad_dls.nn.models import Classifier
from tinygrad_dls.training.history import VALIDATION_ACCURACY, VALIDATION_COST, History
from tinygrad_dls.training.metrics import accuracy, are_whole, is_of_classes
from tinygrad_dls.training.scores import Scores
from tinygrad_dls.training.trial import Trial

if TYPE_CHECKING:
    from tinygrad_dls.graph.subject import Subject

__all__ = ["Validation"]


class Validation:
    """The validation data of a training, and what is measured of them.

    Metrics are measured once before the training, so that one that has no number here is refused before the model is
    changed.
    """

    def __init__(self, given: Subject, X: Array, Y: Array, weights: Array | None, trial: Trial, scores: Scores) -> None:
        self._given, self._X, self._Y, self._trial, self._scores = given, X, Y, trial, scores
        self._weighted = {} if weights is None else {"sample_weight": weights}
        if scores:
            self._scored()

    def figures(self) -> dict[str, bool | None]:
        """What will be known after each epoch, and whether large values of it are the better ones."""
        figures: dict[str, bool | None] = {VALIDATION_COST: False}
        if self._trial.judged and self._accuracy() is not None:
            figures[VALIDATION_ACCURACY] = True
        return figures | self._scores.larger_is_better

    def measure(self, history: History) -> None:
        """Note the figures of the model as it is."""
        history.validation_costs.append(evaluated(self._cost))
        accuracies, found = history.validation_accuracies, self._accuracy() if self._trial.judged else None
        if found is not None:
            missed = len(history) - 1 - len(accuracies)  # epochs in which the model predicted no classes
            accuracies += [*missed * [np.nan], found]
        for name, value in self._scored().items():
            history.metrics.setdefault(name, []).append(value)

    def _cost(self) -> float:
        loss = self._given.loss
        assert loss is not None
        return float(values(loss(self._given.target(self._X), self._Y, **self._weighted)))

    def _model(self) -> Any:
        """What predicts, and gives numbers."""
        return self._given.target

    def _scored(self) -> dict[str, float]:
        return self._scores.measured(self._model(), self._X, self._Y, self._trial.numbers)

    def _accuracy(self) -> float | None:
        """The accuracy; None, if there are no classes in what the model predicts."""
        predict = getattr(self._model(), "predict", None)
        if predict is None:
            return None
        predictions = as_array(values(predict(self._X)), "predictions")
        of_classes = are_whole(predictions) and is_of_classes(self._given.target, 1, self._Y)
        if not isinstance(self._given.model, Classifier) and not of_classes:
            return None
        return accuracy(predictions, self._Y)
