"""The training loop: forward, cost, backward, update, repeated until the epochs are over."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_dls.engine.arrays import Array, as_array, boolean, positive_integer
from tinygrad_dls.engine.errors import flattened, shown
from tinygrad_dls.engine.recording import recording
from tinygrad_dls.engine.tensor import Tensor, values
from tinygrad_dls.nn.evaluation import evaluated
from tinygrad_dls.nn.init import generator
from tinygrad_dls.nn.losses import loss_of
from tinygrad_dls.nn.models import Classifier
from tinygrad_dls.nn.module import Module
from tinygrad_dls.optimizer import Optimizer, eager_step
from tinygrad_dls.threads import Training
from tinygrad_dls.training.batches import minibatches
from tinygrad_dls.training.history import History
from tinygrad_dls.training.metrics import accuracy, are_whole, is_of_classes, is_one_class_each

if TYPE_CHECKING:
    from tinygrad_dls.graph.subject import Subject

__all__ = ["fit"]

Callback = Callable[[int, float, Module], Any]


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
    compile: bool | Mapping[str, Any] = False,
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
        A function of the model's output and Y, such as `tinygrad_dls.binary_cross_entropy_with_logits`.
    optimizer : Optimizer
        Over ``model.parameters()``.
    epochs : int
        Passes over the data.
    batch_size : int, optional
        Columns per step; all of them by default. The columns are shuffled anew in every epoch.
    rng : int or generator, keyword-only
        Where the shuffling draws from; needed with `batch_size`.
    validation : (X, Y), optional
        Held-out data, evaluated after every epoch, without a graph, without dropout, and with running statistics.
    progress : bool, default True
        Show tqdm's bar, in a terminal, on runs of more than a second.
    callbacks : sequence of functions
        Called after each epoch as ``callback(epoch, cost, model)``; a true answer ends the training.
    compile : bool or dict, default False
        Whether the step is recorded and replayed as planned NumPy calls, see `tinygrad_dls.compile`: the same training
        up to rounding, in less time. A dict gives options of it: ``compile={"constants": [words]}``.

    Returns
    -------
    History

    Raises
    ------
    TypeError, ValueError
        If the data do not fit each other, or the optimizer holds none of the model's parameters.
    RuntimeError
        If another thread is training the model.
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
    from tinygrad_dls.graph.subject import subject  # the import of the package, which is short, need not load it

    given = subject("fit", model, (X, Y), loss, optimizer)
    if not isinstance(callbacks, Sequence) or not all(map(callable, callbacks)):
        raise TypeError(f"fit: callbacks must be a list of functions, got {shown(callbacks)}.")
    parameters = model.parameters()
    positive_integer(epochs, "fit: epochs")
    dtype = parameters[0].dtype
    X, Y = _examples(X, Y, dtype, "X and Y")
    if validation is not None:
        if not isinstance(validation, (tuple, list)) or len(validation) != 2:
            raise TypeError("fit: validation must be a pair, validation=(X, Y).")
        validation = _examples(*validation, dtype, "the validation data")
    if batch_size is not None:
        positive_integer(batch_size, "fit: batch_size")
        rng = _without_warnings(generator, rng, "fit with a batch_size")  # NumPy switches them off while it seeds

    training = Training({*parameters, *optimizer.parameters}, "fit")
    try:
        try:
            training.begin()
            judged = _tried(model, loss, X, Y, validation)
            take_step: Callable[[Array, Array], float] = partial(eager_step, model, loss, optimizer)
            if isinstance(compile, Mapping) or boolean(compile, "fit: compile"):
                options = {"gradients": True} | (dict(compile) if isinstance(compile, Mapping) else {})
                from tinygrad_dls.compiler import compile as compiled  # only training that is compiled needs it

                take_step = compiled(model, loss, optimizer, **options)
            batches = ((X, Y),) if batch_size is None else minibatches(X, Y, batch_size, rng=rng)
            model.train()
            return _run(given, epochs, take_step, batches, validation, judged, progress, callbacks)
        finally:
            training.end()
    finally:
        training.end()  # again: Ctrl-C may have come just there


def _run(
    given: Subject,
    epochs: int,
    take_step: Callable[[Array, Array], float],
    batches: Any,
    validation: tuple[Array, Array] | None,
    judged: bool,
    progress: bool,
    callbacks: Sequence[Callback],
) -> History:
    """The epochs."""
    history, first = History(), None
    bar = _progress_bar(epochs, progress)
    try:
        for epoch in range(epochs):
            # a cost that explodes is an error below, not a warning
            costs, counts = _without_warnings(_epoch, take_step, batches)
            first = costs[0] if first is None else first
            m = sum(counts)
            cost = 0.0
            for J, n in zip(costs, counts, strict=True):
                cost += J * (n / m)
            history.costs.append(cost)
            if not math.isfinite(cost):
                raise _diverged(cost, epoch, first, given.optimizer, history)
            if validation is not None:
                _validate(given, *validation, judged, history)
            if bar is not None:
                bar.set_postfix_str(f"cost {cost:.6f}", refresh=False)
                bar.update()
            answers = [callback(epoch, cost, given.target) for callback in callbacks]
            if any(answers):
                break
    except KeyboardInterrupt:
        history.interrupted = True
    finally:
        if bar is not None:
            bar.close()
    return history


def _epoch(take_step: Callable[[Array, Array], float], batches: Any) -> tuple[list[float], list[int]]:
    """The costs of an epoch's steps, and the numbers of their examples."""
    costs, counts = [], []
    for X, Y in batches:
        costs.append(take_step(X, Y))
        counts.append(X.shape[1])
    return costs, counts


def _without_warnings(function: Callable[..., Any], *args: Any) -> Any:
    """Call a function without NumPy's warnings; then they are as they were, wherever Ctrl-C comes."""
    before = np.geterr()
    try:
        try:
            np.seterr(all="ignore")
            return function(*args)
        finally:
            np.seterr(**before)
    finally:
        np.seterr(**before)  # again: Ctrl-C may have come just there


# -- what the model is trained for ------------------------------------------------------------------------------------


def _tried(
    model: Module, loss: Callable[[Any, Any], Any], X: Array, Y: Array, validation: tuple[Array, Array] | None
) -> bool:
    """Whether there are classes to measure the accuracy of; and tell a `Classifier` what its rows are.

    The cost is computed once, so that wrong labels are refused before the model is changed. What the logits go into
    says what they are: a sigmoid each, a softmax, or a difference from numbers.
    """
    if not isinstance(model, Classifier):
        return validation is None or _trial(model, loss, *validation)[0] != "numbers"
    if validation is None and Y.shape[0] == 1:
        return False
    use, rows = _trial(model, loss, *((X, Y) if validation is None else validation))
    ending = model._ending()
    if use == "numbers" and not ending:
        return False
    if rows > 1 and ending != "softmax":
        apart = use == "sigmoid" and not ending
        if apart and not model._sigmoids:
            model._sigmoids = True
        several = Y.shape[0] > 1 and not is_one_class_each(Y)
        if several and (apart or ending or np.isin(Y, (0, 1)).all()) and not model.several_labels:
            model.several_labels = True
    return validation is not None and is_of_classes(model, rows, validation[1])


def _trial(model: Module, loss: Callable[[Any, Any], Any], X: Array, Y: Array) -> tuple[str, int]:
    """What the cost makes of the model's output, "sigmoid", "numbers", or "" for all else; and its number of rows."""

    def run() -> tuple[str, int]:
        recording.set(True)
        Z = model(X)
        return _use(Z, loss(Z, Y), Y), np.shape(values(Z))[0] if np.ndim(values(Z)) else 1

    return evaluated(run)


def _use(Z: Any, J: Any, Y: Array) -> str:
    waiting, seen = [J], set()
    while waiting:
        node = waiting.pop()
        if not isinstance(node, Tensor) or node in seen or node.op is None:
            continue
        seen.add(node)
        name, inputs, own = node.op.__name__, node.inputs, loss_of(node.op)
        predicts = own.predicts if own is not None else name
        if inputs and inputs[0] is Z and predicts == "sigmoid":
            return "sigmoid"
        if any(x is Z for x in inputs) and (
            predicts == "numbers" or (name == "subtract" and any(values(x) is Y for x in inputs))
        ):
            return "numbers"
        if node is not Z:
            waiting += inputs
    return ""


def _examples(X: Array, Y: Array, dtype: np.dtype[Any], which: str) -> tuple[Array, Array]:
    """X and Y as arrays of the model's dtype, with an equal number of columns; class indices stay integers."""
    X, Y = as_array(values(X), "fit: X"), as_array(values(Y), "fit: Y")
    if len(X.shape) != 2 or X.shape[1] == 0:
        hint = f": {flattened('X')}" if len(X.shape) > 2 else ""
        raise ValueError(f"fit: X is {X.shape} in {which}; expected (n_x, m), with the examples as columns{hint}.")
    if len(Y.shape) != 2 or Y.shape[1] != X.shape[1]:
        hint = "Write Y.reshape(1, -1)." if Y.shape in ((X.shape[1],), (X.shape[1], 1)) else "One is transposed?"
        raise ValueError(f"fit: Y is {Y.shape}, X is {X.shape} in {which}; expected a column for each example. {hint}")
    # what is infinite in the model's dtype is named below
    X, Y = _without_warnings(
        lambda: (X.astype(dtype, copy=False), Y.astype(dtype, copy=False) if Y.dtype.kind == "f" else Y)
    )
    if X.dtype.kind == "f" and not np.isfinite(X).all():
        wrong = np.sum(~np.isfinite(X))
        raise ValueError(f"fit: X holds {wrong} NaN or infinities among its {X.size} entries in {which}.")
    return X, Y


def _validate(given: Subject, X: Array, Y: Array, judged: bool, history: History) -> None:
    history.validation_costs.append(evaluated(lambda: float(values(given.function(X, Y)))))
    predict = getattr(given.model, "predict", None)
    if judged and predict is not None:
        predictions = as_array(values(predict(X)), "predictions")
        if isinstance(given.model, Classifier) or (are_whole(predictions) and is_of_classes(given.target, 1, Y)):
            history.validation_accuracies.append(accuracy(predictions, Y))


def _diverged(cost: float, epoch: int, first: Any, optimizer: Any, history: History) -> FloatingPointError:
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
