"""What happened in training, epoch by epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_dls.extras import install

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import DTypeLike

__all__ = ["History"]


class History:
    """What happened in training, one entry per epoch.

    Attributes
    ----------
    costs : list of float
        The cost of each epoch, before its updates (with mini-batches: the mean over the examples, as met).
    validation_costs, validation_accuracies : list of float
        The cost and accuracy of that model on the validation data after the epoch; empty without validation data. There
        are no accuracies where there are no classes: for a model without ``predict``, for numeric targets, and for a
        squared error.
    interrupted : bool
        Whether Ctrl-C ended the training early.

    NumPy sees the costs: ``np.min(history)``, ``plt.plot(history)``.
    """

    def __init__(self) -> None:
        self.costs: list[float] = []
        self.validation_costs: list[float] = []
        self.validation_accuracies: list[float] = []
        self.interrupted = False

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        return np.array(self.costs, dtype=dtype)

    def __len__(self) -> int:
        return len(self.costs)

    def __repr__(self) -> str:
        if not self.costs:
            return "History: no epochs" + (", interrupted" if self.interrupted else "")
        text = f"History: {len(self)} epochs, cost {self.costs[0]:.6f} -> {self.costs[-1]:.6f}"
        if self.validation_costs:
            text += f", validation cost {self.validation_costs[-1]:.6f}"
        if self.validation_accuracies:
            text += f", validation accuracy {self.validation_accuracies[-1]:.2%}"
        return text + (", interrupted" if self.interrupted else "")

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the cost curves with matplotlib; returns the axes.

        Raises
        ------
        ImportError
            If matplotlib is missing; the error gives the command that installs it.
        """
        if ax is None:
            ax = _pyplot().subplots(layout="constrained")[1]
        ax.plot(self.costs, label="training")
        if self.validation_costs:
            ax.plot(self.validation_costs, label="validation")
            ax.legend()
        ax.set_xlabel("epoch")
        ax.set_ylabel("cost J")
        return ax


def _pyplot() -> Any:
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(f"plots need matplotlib: {install('plot')}") from error
    return plt
