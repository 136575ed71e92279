"""The training loop: forward, cost, backward, update, repeated until the epochs are over."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_dls.engine.arrays import Array, as_array, positive_integer
from tinygrad_dls.engine.errors import shown
from tinygrad_dls.engine.tensor import values
from tinygrad_dls.nn.chunks import is_chunked
from tinygrad_dls.nn.columns import refuse_frame, refuse_series
from tinygrad_dls.nn.init import generator
from tinygrad_dls.nn.models import columns_of
from tinygrad_dls.nn.module import Module
from tinygrad_dls.optimizer import Optimizer
from tinygrad_dls.threads import Training
from tinygrad_dls.training.batches import minibatches
from tinygrad_dls.training.callbacks import Callback, Checkpoint, EarlyStopping, Epoch, check_callbacks
from tinygrad_dls.training.examples import check_columns_of, refuse_infinite
from tinygrad_dls.training.history import COST, History
from tinygrad_dls.training.scores import Scores
from tinygrad_dls.training.steps import Prepared, StepError, steps_of
from tinygrad_dls.training.trial import smoothing, tried
from tinygrad_dls.training.validation import Validation
from tinygrad_dls.training.weights import check_takes_weights, weights_of, weights_of_examples

if TYPE_CHECKING:
    from tinygrad_dls.graph.subject import Subject

__all__ = ["fit"]


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
    sample_weight: Any = None,
    class_weight: str | Mapping[int, float] | None = None,
    label_smoothing: float = 0,
    validation: tuple[Array, ...] | None = None,
    metrics: Any = (),
    progress: bool = True,
    callbacks: Sequence[Callback] = (),
    compile: bool | Mapping[str, Any] = False,
    client: Any = None,
) -> History:
    """Train a model: for each epoch, ``J = loss(model(X), Y)``, ``J.backward()``, ``optimizer.step()``.

    Ctrl-C ends the training; the model keeps its last whole step, and the history what it has.

    Parameters
    ----------
    model : Module
        Called with X, or with a mini-batch of its columns, in the dtype of its parameters. Left in training mode.
    X : array, shape (n_x, m)
        The examples, as columns. A DataFrame, whose rows are examples, is taken where the model begins with a
        `tinygrad_dls.nn.Standardizer`, which finds its columns by their names; elsewhere it is refused.
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
    sample_weight : array, shape (1, m), optional
        Weights of the examples, >= 0. The loss gets those of its columns as ``sample_weight=``, and the cost is the
        weighted mean. A mini-batch whose weights are all zero is passed over.
    class_weight : dict or "balanced", optional
        Weights by class, ``{0: 1, 1: 5}``, for labels that are one class for each example: indices, 0 and 1, or one-hot
        columns. ``"balanced"`` is ``m / (k n_c)`` of k classes, as scikit-learn has it: each class counts alike. Beside
        `sample_weight`, the two multiply.
    label_smoothing : float in [0, 1), default 0
        The labels are trained with as `tinygrad_dls.smooth_labels` makes them.
    validation : (X, Y) or (X, Y, sample_weight), optional
        Held-out data, evaluated after every epoch, without a graph, without dropout, with running statistics, and
        without smoothed labels. With weights, the validation cost is the weighted mean; in the accuracy and in metrics
        all examples count alike.
    metrics : names, functions, or a dict of them by name
        What else to measure on the validation data after each epoch: ``"accuracy"``; for two classes ``"precision"``,
        ``"recall"``, ``"f1"``, and ``"auc"``; for more, or for several labels, ``"f1_macro"``, ``"f1_micro"``,
        ``"f1_weighted"`` and the like, ``"auc_ovr"``, ``"auc_ovo"``, and ``"auc_macro"`` of several labels; for numbers
        ``"r2"``. These are scikit-learn's. A function is called with what the model predicts (for numbers: with its
        output) and Y, as `tinygrad_dls.accuracy` is.
    progress : bool, default True
        Show tqdm's bar, in a terminal or a notebook, on runs of more than a second.
    callbacks : sequence of functions
        Called after each epoch with one argument, which has the attributes ``epoch``, ``cost``, ``figures`` (a dict,
        with the validation's), ``history``, ``model`` and ``optimizer``; the answer True ends the training. See
        `tinygrad_dls.EarlyStopping` and `tinygrad_dls.Checkpoint`, which comes last, wherever it stands.
    compile : bool or dict, default False
        Whether the step is recorded and replayed as planned NumPy calls, see `tinygrad_dls.compile`: the same training
        up to rounding, in less time. A dict gives options of it: ``compile={"constants": [words]}``.
    client : distributed.Client, optional
        Of dask arrays: whose workers compute; by default the scheduler that dask itself takes.

    Returns
    -------
    History
        The figures of each epoch.

    Raises
    ------
    TypeError, ValueError
        If the data do not fit each other, or the optimizer holds none of the model's parameters.
    RuntimeError
        If another thread is training the model.
    ImportError
        If a metric needs scikit-learn, and it is missing.
    StepError
        A RuntimeError, of dask arrays: if a task fails for good, or the workers are gone. The model keeps its last
        whole step, and its ``history`` attribute the history so far.
    FloatingPointError
        If the cost becomes NaN or infinite; its ``history`` attribute holds the history so far.
    RecordingError
        With `compile`: if the step cannot be recorded.

    Notes
    -----
    X may be a dask array, in chunks of columns, and Y and weights in the same chunks or NumPy arrays: then there may be
    more data than memory. A step is one task for each chunk, and the sum of their gradients; parameters and optimizer
    stay here. A mini-batch is of whole chunks, whose order is shuffled, and masks of dropout are drawn for each chunk.

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
    check_callbacks(callbacks)
    scores = Scores(metrics)
    parameters = model.parameters()
    positive_integer(epochs, "fit: epochs")
    dtype = parameters[0].dtype
    X, Y = given.inputs
    chunked = is_chunked(X) or is_chunked(Y)
    held_back, w_held = validation, None  # in chunks too, it may be of dask
    if not chunked:
        _refuse_chunks(validation, sample_weight, client)
        X, Y = _examples(X, Y, dtype, "the training data")
    if not chunked or not _are_chunked(validation):
        held_back, w_held = _held_back(model, validation, dtype)
    if scores and held_back is None:
        raise ValueError("fit: metrics are measured on validation data, and there are none. Pass validation=(X, Y).")
    weights = None if chunked else weights_of(sample_weight, class_weight, Y, dtype)
    if weights is not None or w_held is not None:
        check_takes_weights(loss)
    if batch_size is not None:
        positive_integer(batch_size, "fit: batch_size")
        rng = _without_warnings(generator, rng, "fit with a batch_size")  # NumPy switches them off while it seeds

    training = Training({*parameters, *optimizer.parameters}, "fit")
    prepared: Prepared | None = None
    try:
        try:
            training.begin()
            if chunked:
                from tinygrad_dls.training.chunks import prepare  # it takes dask

                prepared = prepare(
                    given, X, Y, batch_size=batch_size, rng=rng, sample_weight=sample_weight, class_weight=class_weight,
                    label_smoothing=label_smoothing, validation=held_back, validation_weight=w_held, scores=scores,
                    compile=compile, client=client, changing=bool(callbacks),
                )  # fmt: skip
            else:
                trial = tried(model, loss, X, Y, held_back)
                held_out = None
                if held_back is not None:
                    held_out = Validation(given, held_back[0], held_back[1], w_held, trial, scores)
                smooth = smoothing(label_smoothing, model, loss, X, Y)
                Y = Y if smooth is None else smooth(Y)
                steps = steps_of(model, loss, optimizer, (X, Y), weights, compile)
                prepared = Prepared(steps, _batches(steps.arrays, batch_size, rng), held_out)
            _begin(callbacks, prepared.validation, model, optimizer)
            model.train()
            return _run(given, epochs, prepared, None if batch_size is None else rng, progress, callbacks)
        finally:
            training.end()
            if prepared is not None:
                prepared.close()
    finally:
        training.end()  # again: Ctrl-C may have come just there


def _batches(arrays: tuple[Array, ...], batch_size: int | None, rng: Any) -> Any:
    """What an epoch goes through: mini-batches, or all examples at once."""
    if batch_size is None:
        return (arrays,)
    X, Y, *w = arrays
    return minibatches(X, Y, batch_size, rng=rng, sample_weight=w[0] if w else None)


def _run(
    given: Subject,
    epochs: int,
    prepared: Prepared,
    rng: Any,  # of mini-batches
    progress: bool,
    callbacks: Sequence[Callback],
) -> History:
    """The epochs."""
    history, first = History(), None
    validation = prepared.validation
    now: Epoch | None = None
    whole = False
    in_order = sorted(callbacks, key=lambda callback: isinstance(callback, Checkpoint))  # files have what others change
    bar = _progress_bar(epochs, progress)
    try:
        for epoch in range(epochs):
            # a cost that explodes is an error below, not a warning
            cost, of_first_step = _without_warnings(_epoch, prepared)
            first = of_first_step if first is None else first
            history.costs.append(cost)
            if not math.isfinite(cost):
                raise _diverged(cost, epoch, first, given.optimizer, history)
            if validation is not None:
                _without_warnings(validation.measure, history)
            if bar is not None:
                bar.set_postfix_str(f"cost {cost:.6f}", refresh=False)
                bar.update()
            if callbacks:
                assert given.model is not None
                assert given.optimizer is not None
                now = Epoch(epoch, cost, history[-1], history, given.model, given.optimizer, rng, tuple(callbacks))
                answers = [_answer(callback, now) for callback in in_order]
                if any(answers):
                    break
        whole = True
    except KeyboardInterrupt:
        history.interrupted = True
    except StepError as error:
        error.history = history
        raise
    finally:
        if bar is not None:
            bar.close()
        if now is not None:
            _end(callbacks, now, whole)
    return history


def _answer(callback: Callback, now: Epoch) -> bool:
    """Whether a callback ends the training. A number does not say: ``file.write`` returns one."""
    answer = callback(now)
    flag = False if answer is None else values(answer)
    if not isinstance(flag, bool) and (np.ndim(flag) or getattr(flag, "dtype", None) != "bool"):
        name = getattr(callback, "__name__", type(callback).__name__)
        raise TypeError(
            f"fit: the callback {name} returned {shown(answer)}. Return True to end the training, and nothing or "
            "False to go on."
        )
    return bool(flag)


def _begin(callbacks: Sequence[Callback], validation: Validation | None, model: Module, optimizer: Optimizer) -> None:
    """Tell callbacks that ask for it what will be known after each epoch."""
    asking = [callback.begin for callback in callbacks if hasattr(callback, "begin")]
    if asking:
        figures = {COST: False} | (validation.figures() if validation is not None else {})
        for begin in asking:
            begin(figures, model, optimizer)


def _end(callbacks: Sequence[Callback], now: Epoch, whole: bool) -> None:
    """Tell callbacks that the training has ended: those last that change the model, and those alone after a failure."""
    for changes in (False, True):
        for callback in callbacks:
            if isinstance(callback, EarlyStopping) is changes and hasattr(callback, "end") and (whole or changes):
                callback.end(now)


def _epoch(prepared: Prepared) -> tuple[float, float]:
    """The cost of an epoch, the mean over what its steps count; and that of its first step."""
    costs, sizes = [], []
    for batch in prepared.batches:
        size = prepared.steps.size(*batch)
        if size:  # there is nothing to learn from examples of weight 0
            costs.append(prepared.steps.take(*batch))
            sizes.append(size)
    m, cost = sum(sizes), 0.0
    for J, n in zip(costs, sizes, strict=True):
        cost += J * (n / m)
    return cost, costs[0]


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


# -- the data ----------------------------------------------------------------------------------------------------------


def _examples(X: Array, Y: Array, dtype: np.dtype[Any], which: str) -> tuple[Array, Array]:
    """X and Y as arrays of the model's dtype, with an equal number of columns; class indices stay integers."""
    for x, name in ((X, "X"), (Y, "Y")):
        refuse_frame(x, "fit", name)
        refuse_series(x, "fit", name)
    X, Y = as_array(values(X), "fit: X"), as_array(values(Y), "fit: Y")
    check_columns_of(X, Y, which)
    # what is infinite in the model's dtype is named below
    X, Y = _without_warnings(
        lambda: (X.astype(dtype, copy=False), Y.astype(dtype, copy=False) if Y.dtype.kind == "f" else Y)
    )
    if X.dtype.kind == "f" and not np.isfinite(X).all():
        refuse_infinite(np.sum(~np.isfinite(X)), X.size, which)
    return X, Y


def _held_back(model: Module, validation: Any, dtype: np.dtype[Any]) -> tuple[tuple[Array, Array] | None, Array | None]:
    """The validation data, and their weights if they have some."""
    if validation is None:
        return None, None
    if not isinstance(validation, (tuple, list)) or len(validation) not in (2, 3):
        raise TypeError(
            "fit: validation must be a pair, validation=(X, Y). With weights, it is validation=(X, Y, sample_weight)."
        )
    X, Y, *weights = validation
    X, Y = _examples(columns_of(model, X), Y, dtype, "the validation data")
    w = weights_of_examples(weights[0], X.shape[1], dtype, "fit: validation") if weights else None
    return (X, Y), w


def _refuse_chunks(validation: Any, sample_weight: Any, client: Any) -> None:
    """Refuse what belongs to X and Y in chunks, where these are not."""
    if client is not None:
        raise TypeError(
            "fit: client= is for dask arrays, and X is none. Leave it out; or write X = dask.array.from_array(X, "
            "chunks=(-1, 10_000))."
        )
    if is_chunked(sample_weight) or _are_chunked(validation):
        what = "sample_weight is" if is_chunked(sample_weight) else "the validation data are"
        raise TypeError(f"fit: {what} of dask, and X is a NumPy array: write .compute(), which brings it here.")


def _are_chunked(validation: Any) -> bool:
    return isinstance(validation, (tuple, list)) and any(map(is_chunked, validation))


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
    if not progress or not (sys.stderr.isatty() or _in_notebook()):
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a notebook has no widgets: the bar is text there
        from tqdm.auto import tqdm

    return tqdm(total=epochs, unit="epoch", delay=1, leave=False)


def _in_notebook() -> bool:
    """Whether the cells of a notebook are run."""
    ipython = sys.modules.get("IPython")
    return "ipykernel" in sys.modules and ipython is not None and ipython.get_ipython() is not None
