"""What happened in training, epoch by epoch."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from tinygrad_dls.engine.errors import shown
from tinygrad_dls.engine.viewed import Viewed
from tinygrad_dls.extras import install
from tinygrad_dls.files import write_whole

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from numpy.typing import DTypeLike

__all__ = ["History"]

COST, VALIDATION_COST, VALIDATION_ACCURACY = "cost", "validation_cost", "validation_accuracy"

Row = dict[str, float]


class History(Viewed):
    """What happened in training, one entry per epoch.

    NumPy sees the costs: ``np.min(history)``, ``plt.plot(history)``. ``history[-1]`` is what is known of the last
    epoch, a dict; ``for row in history`` goes through all, and ``history["validation_cost"]`` is one figure of all.

    Attributes
    ----------
    costs : list of float
        The cost of each epoch, before its updates (with mini-batches: the mean over the examples, as met).
    validation_costs, validation_accuracies : list of float
        The cost and accuracy of that model on the validation data after the epoch; empty without validation data. There
        are no accuracies where there are no classes: for a model without ``predict``, for numeric targets, and for a
        squared error.
    metrics : dict of str to list of float
        What else was measured on the validation data, by name.
    interrupted : bool
        Whether Ctrl-C ended the training early.
    """

    def __init__(self) -> None:
        self.costs: list[float] = []
        self.validation_costs: list[float] = []
        self.validation_accuracies: list[float] = []
        self.metrics: dict[str, list[float]] = {}
        self.interrupted = False

    @property
    def columns(self) -> dict[str, list[float]]:
        """All figures by name, each with one entry per epoch; NaN where Ctrl-C came before the validation."""
        columns = {
            COST: self.costs,
            VALIDATION_COST: self.validation_costs,
            VALIDATION_ACCURACY: self.validation_accuracies,
            **self.metrics,
        }
        m = len(self)
        missing = {name: m - len(column) for name, column in columns.items()}
        return {name: column + missing[name] * [np.nan] for name, column in columns.items() if column or name == COST}

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        return np.array(self.costs, dtype=dtype)

    def __len__(self) -> int:
        return len(self.costs)

    @overload
    def __getitem__(self, key: int) -> Row: ...

    @overload
    def __getitem__(self, key: slice) -> list[Row]: ...

    @overload
    def __getitem__(self, key: str) -> list[float]: ...

    def __getitem__(self, key: int | slice | str) -> Row | list[Row] | list[float]:
        columns = self.columns
        if isinstance(key, str):
            if key not in columns:
                raise KeyError(f"the history has no {key}; it has {', '.join(columns)}.")
            return list(columns[key])
        epochs = range(len(self))
        if isinstance(key, slice):
            return [_row(columns, epoch) for epoch in epochs[key]]
        try:
            return _row(columns, epochs[key])
        except TypeError:
            raise TypeError(
                f"history[...] takes an epoch, a slice, or the name of a figure; got {shown(key)}."
            ) from None
        except IndexError:
            raise IndexError(f"the history has {len(self)} epochs, and none of number {key}.") from None

    def __iter__(self) -> Iterator[Row]:
        columns = self.columns
        return (_row(columns, epoch) for epoch in range(len(self)))

    def __contains__(self, key: object) -> bool:
        """Whether there is a figure of this name, or a row."""
        return key in self.columns if isinstance(key, str) else any(key == row for row in self)

    def __repr__(self) -> str:
        if not self.costs:
            return "History: no epochs" + (", interrupted" if self.interrupted else "")
        text = f"History: {len(self)} epochs, cost {self.costs[0]:.6f} -> {self.costs[-1]:.6f}"
        if self.validation_costs:
            text += f", validation cost {self.validation_costs[-1]:.6f}"
        if self.validation_accuracies:
            text += f", validation accuracy {self.validation_accuracies[-1]:.2%}"
        for name, column in self.metrics.items():
            if column:
                text += f", {name} {column[-1]:.4f}"
        return text + (", interrupted" if self.interrupted else "")

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write the figures as a table, a row for each epoch; numbers to their last digit.

        The file is written whole or not at all.

        Raises
        ------
        PermissionError
            If the file is read-only.
        """
        if not isinstance(path, (str, os.PathLike)):
            raise TypeError(f"to_csv takes the path of a file, such as 'history.csv'; got {shown(path)}.")
        columns = self.columns
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(["epoch", *columns])
        table.writerows([epoch, *map(float, row)] for epoch, row in enumerate(zip(*columns.values(), strict=True)))
        write_whole(Path(path), text.getvalue().encode())

    def to_frame(self) -> pd.DataFrame:
        """The figures as a DataFrame of pandas, a column for each, by epoch.

        Raises
        ------
        ImportError
            If pandas is missing; the error gives the command that installs it.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError(f"to_frame needs pandas: {install('pandas')}") from error
        return pd.DataFrame(self.columns, index=pd.RangeIndex(len(self), name="epoch"))

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the cost curves with matplotlib.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; by default, new axes.

        Returns
        -------
        matplotlib.axes.Axes

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


def _row(columns: dict[str, list[float]], epoch: int) -> Row:
    return {"epoch": epoch} | {name: column[epoch] for name, column in columns.items()}


def _pyplot() -> Any:
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(f"plots need matplotlib: {install('plot')}") from error
    return plt
