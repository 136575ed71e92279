"""The training loop: forward, cost, backward, update, repeated until the epochs are over."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_dls.arrays import Array, as_array, positive_integer, shown, truth
from tinygrad_dls.init import generator
from tinygrad_dls.nn import Module, evaluating
from tinygrad_dls.optim import Optimizer, eager_step
from tinygrad_dls.tensor import values

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import DTypeLike

__all__ = ["History", "accuracy", "confusion_matrix", "fit", "minibatches"]

Callback = Callable[[int, float, Module], Any]


class History:
    """What happened in training, one entry per epoch.

    Attributes
    ----------
    costs : list of float
        The cost of each epoch, before its updates (with mini-batches: the mean over the examples, as met).
    validation_costs, validation_accuracies : list of float
        The same model on the validation data after the epoch; empty without validation data.
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
            return "History: no epochs" + ", interrupted" * self.interrupted
        text = f"History: {len(self)} epochs, cost {self.costs[0]:.6f} -> {self.costs[-1]:.6f}"
        if self.validation_costs:
            text += f", validation cost {self.validation_costs[-1]:.6f}"
        if self.validation_accuracies:
            text += f", validation accuracy {self.validation_accuracies[-1]:.2%}"
        return text + ", interrupted" * self.interrupted

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
        raise ImportError("plots need matplotlib: pip install 'tinygrad_dls[plot]'") from error
    return plt


def fit(
    model: Module,
    X: Array,
    Y: Array,
    *,
    loss: Callable[[Any, Any], Any],
    optimizer: Optimizer,
    epochs: int,
    batch_size: int | None = None,
    rng: Any = None,
    validation: tuple[Array, Array] | None = None,
    progress: bool = True,
    callbacks: Sequence[Callback] = (),
    compile: bool = False,
) -> History:
    """Train a model: for each epoch, ``J = loss(model(X), Y)``, ``J.backward()``, ``optimizer.step()``.

    Ctrl-C ends the training; the model keeps its last whole step, and the history what it has.

    Parameters
    ----------
    model : Module
        Called with X, or with a mini-batch of its columns, in the dtype of its parameters. Left in training mode.
    X : array, shape (n_x, m)
        The examples, as columns.
    Y : array, shape (n_y, m)
        Their labels or targets, as the loss takes them.
    loss : function
        Of the model's output and Y, such as `tinygrad_dls.binary_cross_entropy_with_logits`.
    optimizer : Optimizer
        Over ``model.parameters()``.
    epochs : int
        Passes over the data.
    batch_size : int, optional
        Columns per step; all of them by default. The columns are shuffled anew in every epoch.
    rng : int or generator, keyword-only
        Where the shuffling draws from; needed with `batch_size`.
    validation : (X, Y), optional
        Held-out data, evaluated after every epoch.
    progress : bool, default True
        Show tqdm's bar, in a terminal, on runs of more than a second.
    callbacks : sequence of functions
        Called after each epoch as ``callback(epoch, cost, model)``; a true answer ends the training.
    compile : bool, default False
        Whether the step is recorded and replayed as planned NumPy calls, see `tinygrad_dls.compile`: the same training
        up to rounding, in less time.

    Returns
    -------
    History

    Raises
    ------
    TypeError, ValueError
        If the data do not fit each other, or the optimizer holds none of the model's parameters.
    FloatingPointError
        If the cost becomes NaN or infinite; its ``history`` attribute holds the history so far.
    RecordingError
        With `compile`: if the step cannot be recorded.

    Examples
    --------
    >>> import numpy as np, tinygrad_dls as tg
    >>> X, Y = tg.datasets.planar_flower()
    >>> model = tg.nn.TwoLayerNetwork(2, 4, rng=0)
    >>> tg.fit(model, X, Y, loss=tg.binary_cross_entropy_with_logits,
    ...        optimizer=tg.optim.SGD(model.parameters(), lr=1.2), epochs=2)
    History: 2 epochs, cost 0.693144 -> 0.693128
    """
    if not isinstance(model, Module) or not isinstance(optimizer, Optimizer):
        raise TypeError(f"fit takes a model and an optimizer, got {shown(model)} and optimizer={shown(optimizer)}.")
    if not callable(loss) or not isinstance(callbacks, Sequence) or not all(map(callable, callbacks)):
        raise TypeError(
            f"fit: loss must be a function, callbacks a list of functions; got {shown(loss)}, {shown(callbacks)}."
        )
    parameters = model.parameters()
    if not set(parameters) & set(optimizer.parameters):
        raise ValueError(
            "fit: the optimizer holds none of this model's parameters, so nothing would be learned. "
            "Was the model made anew after the optimizer?"
        )
    positive_integer(epochs, "fit: epochs")
    dtype = parameters[0].dtype
    X, Y = _examples(X, Y, dtype, "X and Y")
    if validation is not None:
        if not isinstance(validation, (tuple, list)) or len(validation) != 2:
            raise TypeError("fit: validation must be a pair, validation=(X, Y).")
        validation = _examples(*validation, dtype, "the validation data")
        with evaluating(model):
            loss(model(validation[0]), validation[1])  # so that wrong labels are refused before the model is changed
    if batch_size is not None:
        positive_integer(batch_size, "fit: batch_size")
        rng = generator(rng, "fit with a batch_size")

    take_step: Callable[[Array, Array], float] = partial(eager_step, model, loss, optimizer)
    if truth(compile, "fit: compile"):
        from tinygrad_dls.compiling import compile as compiled  # only training that is compiled needs it

        take_step = compiled(model, loss, optimizer, gradients=True)
    history, first = History(), None
    m = X.shape[1]
    model.train()
    bar = _progress_bar(epochs, progress)
    try:
        for epoch in range(epochs):
            batches = ((X, Y),) if batch_size is None else minibatches(X, Y, batch_size, rng=rng)
            cost = 0.0
            with np.errstate(all="ignore"):  # a cost that explodes is an error below, not a warning
                for X_batch, Y_batch in batches:
                    J = take_step(X_batch, Y_batch)
                    first = J if first is None else first
                    cost += J * (X_batch.shape[1] / m)
            history.costs.append(cost)
            if not math.isfinite(cost):
                raise _diverged(cost, epoch, first, optimizer, history)
            if validation is not None:
                _validate(model, loss, *validation, history)
            if bar is not None:
                bar.set_postfix_str(f"cost {cost:.6f}", refresh=False)
                bar.update()
            answers = [callback(epoch, cost, model) for callback in callbacks]
            if any(answers):
                break
    except KeyboardInterrupt:
        history.interrupted = True
    finally:
        if bar is not None:
            bar.close()
    return history


def _examples(X: Array, Y: Array, dtype: np.dtype[Any], which: str) -> tuple[Array, Array]:
    """X and Y as arrays of the model's dtype, with an equal number of columns; class indices stay integers."""
    X, Y = as_array(values(X), "fit: X"), as_array(values(Y), "fit: Y")
    if len(X.shape) != 2 or X.shape[1] == 0:
        raise ValueError(f"fit: X is {X.shape} in {which}; expected (n_x, m), with the examples as columns.")
    if len(Y.shape) != 2 or Y.shape[1] != X.shape[1]:
        hint = "Write Y.reshape(1, -1)." if Y.shape in ((X.shape[1],), (X.shape[1], 1)) else "One is transposed?"
        raise ValueError(f"fit: Y is {Y.shape}, X is {X.shape} in {which}; expected a column for each example. {hint}")
    with np.errstate(over="ignore"):  # what is infinite in the model's dtype is named below
        X, Y = X.astype(dtype, copy=False), Y.astype(dtype, copy=False) if Y.dtype.kind == "f" else Y
    if X.dtype.kind == "f" and not np.isfinite(X).all():
        wrong = np.sum(~np.isfinite(X))
        raise ValueError(f"fit: X holds {wrong} NaN or infinities among its {X.size} entries in {which}.")
    return X, Y


def _validate(model: Module, loss: Callable[[Any, Any], Any], X: Array, Y: Array, history: History) -> None:
    with evaluating(model):
        history.validation_costs.append(float(loss(model(X), Y)))
    predict = getattr(model, "predict", None)
    if predict is not None:
        history.validation_accuracies.append(accuracy(predict(X), Y))


def _diverged(cost: float, epoch: int, first: Any, optimizer: Optimizer, history: History) -> FloatingPointError:
    if math.isfinite(first):
        rate = f"{optimizer._rate():g}"
        cause = f". Most often the learning rate is too large ({rate} now), or X is not standardised."
    else:
        cause = ", before any update: the forward pass itself gives it, or Y holds it."
    error = FloatingPointError(
        f"fit: the cost is {cost} at epoch {epoch}{cause} Run it in `with tg.detect_anomaly():` to see the op."
    )
    error.history = history  # type: ignore[attr-defined]  # so that nothing is lost
    return error


def _progress_bar(epochs: int, progress: bool) -> Any:
    if not progress or not sys.stderr.isatty():
        return None
    from tqdm import tqdm

    return tqdm(total=epochs, unit="epoch", delay=1, leave=False)


def minibatches(X: Array, Y: Array, batch_size: int, *, rng: Any) -> Iterator[tuple[Array, Array]]:
    """Shuffle the examples once, and yield them in batches of columns; the last may be smaller.

    Parameters
    ----------
    X : array, shape (n_x, m)
    Y : array, shape (n_y, m)
    batch_size : int
    rng : int or generator, keyword-only

    Yields
    ------
    (array, array)
        Shapes (n_x, batch_size) and (n_y, batch_size).
    """
    positive_integer(batch_size, "minibatches: batch_size")
    X, Y = as_array(values(X), "minibatches: X"), as_array(values(Y), "minibatches: Y")
    if len(X.shape) != 2 or len(Y.shape) != 2 or X.shape[1] != Y.shape[1]:
        raise ValueError(f"minibatches: X is {X.shape}, Y is {Y.shape}; expected a column for each example in both.")
    m = X.shape[1]
    order = generator(rng, "minibatches").permutation(m)
    X, Y = np.take(X, order, axis=1), np.take(Y, order, axis=1)
    for start in range(0, m, batch_size):
        yield X[:, start : start + batch_size], Y[:, start : start + batch_size]


def accuracy(predictions: Array, Y: Array) -> float:
    """The fraction of examples whose predicted class is the label.

    Parameters
    ----------
    predictions : array of classes, shape (1, m)
    Y : array, shape (1, m) of classes, or (n_y, m) one-hot

    Raises
    ------
    ValueError
        If the shapes do not fit.
    """
    predictions, classes = _classes(predictions, Y)
    return float((predictions == classes).mean())


def confusion_matrix(predictions: Array, Y: Array) -> np.ndarray[Any, Any]:
    """Counts of examples by true class (row) and predicted class (column).

    Parameters
    ----------
    predictions : array of classes, shape (1, m)
    Y : array, shape (1, m) of classes, or (n_y, m) one-hot

    Returns
    -------
    array of int, shape (n_classes, n_classes)

    Examples
    --------
    >>> import numpy as np, tinygrad_dls as tg
    >>> tg.confusion_matrix(np.array([[0, 1, 1, 1]]), np.array([[0, 0, 1, 1]]))
    array([[1, 1],
           [0, 2]])
    """
    predictions, classes = _classes(predictions, Y)
    both = np.concatenate([predictions, classes])
    if not np.isfinite(both).all() or both.min() < 0 or (both != both.astype(int)).any():
        low, high = both.min(), both.max()
        raise ValueError(f"confusion_matrix: classes must be integers from 0 up, got values from {low:g} to {high:g}.")
    n = max(2, np.shape(Y)[0], int(both.max()) + 1)
    if n > 10_000:  # a matrix of nearly a gigabyte
        raise ValueError(f"confusion_matrix: classes up to {n - 1}; number them from 0 without gaps.")
    matrix = np.zeros((n, n), dtype=int)
    np.add.at(matrix, (classes.astype(int), predictions.astype(int)), 1)
    return matrix


def _classes(predictions: Array, Y: Array) -> tuple[Array, Array]:
    predictions, Y = as_array(values(predictions), "predictions"), as_array(values(Y), "Y")
    if predictions.ndim != 2 or Y.ndim != 2 or predictions.shape[0] != 1 or predictions.shape[1] != Y.shape[1]:
        raise ValueError(
            f"predictions are {predictions.shape}, Y is {Y.shape}; expected (1, m), and a column for each."
        )
    if 0 in (*predictions.shape, *Y.shape):
        raise ValueError(f"predictions are {predictions.shape}, Y is {Y.shape}: there are no examples.")
    if np.isnan(predictions).any() or np.isnan(Y).any():
        raise ValueError("predictions or Y hold NaN, which is no class.")
    return predictions[0], Y[0] if Y.shape[0] == 1 else np.argmax(Y, axis=0)
