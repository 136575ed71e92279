"""Training: `fit`, what is called after each epoch, the history, mini-batches, and how good predictions are."""

from tinygrad_dls.training.batches import minibatches
from tinygrad_dls.training.callbacks import Checkpoint, EarlyStopping, Epoch
from tinygrad_dls.training.history import History
from tinygrad_dls.training.loop import fit
from tinygrad_dls.training.metrics import accuracy, confusion_matrix

__all__ = ["Checkpoint", "EarlyStopping", "Epoch", "History", "accuracy", "confusion_matrix", "fit", "minibatches"]
