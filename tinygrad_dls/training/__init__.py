"""Training: `fit`, the history that it keeps, mini-batches, and how good predictions are."""

from tinygrad_dls.training.batches import minibatches
from tinygrad_dls.training.history import History
from tinygrad_dls.training.loop import fit
from tinygrad_dls.training.metrics import accuracy, confusion_matrix

__all__ = ["History", "accuracy", "confusion_matrix", "fit", "minibatches"]
