"""Estimators for scikit-learn: a network that is trained by `tinygrad_dls.fit`, with the manners of its own estimators.

A row is an example there, and a column here: X is transposed at the door, and what is predicted on the way out. What
scikit-learn has, it does: data and names of features are validated by it, examples held back and classes weighed by it.
What is left is a `Sequential`, an optimizer and a loss. Loaded on its own, as ``tinygrad_dls.sklearn``.
"""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_dls.engine.arrays import Array, boolean, positive_integer, rate_of, real_number
from tinygrad_dls.engine.errors import shown
from tinygrad_dls.engine.recording import recording
from tinygrad_dls.engine.tensor import values
from tinygrad_dls.extras import install
from tinygrad_dls.nn import init
from tinygrad_dls.nn.chunks import taking_chunks
from tinygrad_dls.nn.evaluation import evaluated
from tinygrad_dls.nn.labels import check_any_weight, check_weights
from tinygrad_dls.nn.layers import Linear, ReLU, Sigmoid, Tanh
from tinygrad_dls.nn.losses import binary_cross_entropy_with_logits, mean_squared_error, softmax_cross_entropy
from tinygrad_dls.nn.models import Classifier, Sequential
from tinygrad_dls.nn.module import Module
from tinygrad_dls.nn.standardisation import Moments, Standardizer
from tinygrad_dls.optim import SGD, Adam, RMSprop
from tinygrad_dls.training.callbacks import EarlyStopping
from tinygrad_dls.training.loop import fit

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.model_selection import train_test_split
    from sklearn.utils import check_random_state
    from sklearn.utils.class_weight import compute_class_weight
    from sklearn.utils.multiclass import _check_partial_fit_first_call, check_classification_targets
    from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data
except ImportError as error:
    raise ImportError(f"estimators need scikit-learn 1.6 or later: {install('sklearn')}") from error

__all__ = ["TinyClassifier", "TinyRegressor"]

OPTIMIZERS = {"adam": Adam, "rmsprop": RMSprop, "sgd": SGD}
ACTIVATIONS = {"relu": (ReLU, init.he), "sigmoid": (Sigmoid, init.xavier), "tanh": (Tanh, init.xavier)}
FLOATS = [np.float64, np.float32]  # a model has the dtype of the data that it is fitted to

# A step is recorded in some 25 ms for each size of batch, and then saves 50 to 200 microseconds: measured with a hidden
# layer of 100 units. Below this many steps, recording would take longer than it saves.
WORTH_COMPILING = 1000


class _Network(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """What the two estimators share: settings, model, optimizer and training."""

    _container: type[Sequential] = Sequential
    _loss: Callable[..., Any]
    model_: Any
    _made_of: tuple[Any, ...]
    _optimizer: Any
    _optimizer_of: Any
    _parts: Any

    def __init__(
        self, hidden: Any = (100,), activation: Any = "relu", *, optimizer: Any = "adam", learning_rate: Any = 0.001,
        epochs: int = 200, batch_size: int = 200, alpha: float = 0.0001, early_stopping: bool = False,
        validation_fraction: float = 0.1, n_iter_no_change: int = 10, module: Any = None, random_state: Any = None,
        standardize: bool = False, warm_start: bool = False,
    ) -> None:  # fmt: skip
        self.hidden = hidden
        self.activation = activation
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.epochs = epochs
        self.batch_size = batch_size
        self.alpha = alpha
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.module = module
        self.random_state = random_state
        self.standardize = standardize
        self.warm_start = warm_start

    # -- training -----------------------------------------------------------------------------------------------------

    def _continues(self, again: bool) -> bool:
        """Check the settings; whether a model is trained further, which is what `again` asks for."""
        self._check_settings()
        continues = again and hasattr(self, "model_")
        if continues and self._made_of != self._plan():
            raise ValueError(
                f"{type(self).__name__}: hidden, activation, module or standardize were changed, and a model that is "
                "trained on keeps its layers. Fit with warm_start=False, or set them back."
            )
        return continues

    def _continues_with_part(self) -> bool:
        """The same for a part of the data, of which nothing may be asked that needs all of them."""
        continues = self._continues(again=True)
        who = type(self).__name__
        if self.early_stopping:
            raise ValueError(f"{who}: partial_fit holds nothing back; fit does with early_stopping=True.")
        return continues

    def _train(self, X: Array, Y: Array, weights: Array | None, *, continues: bool, partial: bool) -> None:
        """Train on rows X and columns Y: for all epochs, or a single one that carries on where the last one ended."""
        if weights is not None:
            if problem := check_weights(weights) or check_any_weight(weights):  # class_weight has a part in them
                raise ValueError(f"{type(self).__name__}: {problem}")
            used = weights > 0  # the others count for nothing, not even as examples to hold back
            X, Y, weights = X[used], Y[:, used], weights[used]
        if not continues or not hasattr(self, "_rng"):
            self._rng = check_random_state(self.random_state)
        if not continues:
            self._begin(X, Y)
        try:
            data = [np.ascontiguousarray(X.T), Y, *([] if weights is None else [weights[None, :]])]
            held_back = None
            if self.early_stopping and not partial:
                data, held_back = self._split(data)
            self._standardise(data, continues=continues, partial=partial)
            self._prepare_optimizer(data, keep=continues and partial)
            self._run(data, held_back, 1 if partial else int(self.epochs))
        except Exception:  # a model that is NaN, or that nothing has trained, is none
            if not continues:
                del self.model_
            raise

    def _standardise(self, data: list[Array], *, continues: bool, partial: bool) -> None:
        """Learn mean and scale: of what `fit` begins with, where they stay; or of all the parts that there were yet."""
        if not self.standardize or (continues and not (partial and self._parts)):
            return
        seen = Moments.of(data[0], *data[2:])
        seen = self._parts.joined(seen) if continues else seen
        self.model_.layers[0]._learn(seen)
        self._parts = seen if partial else None

    def _begin(self, X: Array, Y: Array) -> None:
        """Make a new model for these data."""
        n_y = len(Y) if Y.dtype.kind == "f" else len(self.classes_)
        model = self._made(X.shape[1], n_y, X.dtype)
        _check_output(model, X[:1].T, Y[:, :1], n_y, self._loss, type(self).__name__)
        self.model_, self._made_of = model, self._plan()
        self.loss_curve_: list[float] = []
        self.validation_loss_curve_: list[float] = []
        self.n_iter_ = 0

    def _plan(self) -> tuple[Any, ...]:
        return tuple(self._sizes()), self.activation, self.module, self.standardize

    def _made(self, n_x: int, n_y: int, dtype: Any) -> Module:
        """The model: of the user's module, or of layers."""
        layers: list[Any] = []
        if self.standardize:
            layers = [Standardizer(n_x, features=tuple(getattr(self, "feature_names_in_", ())), dtype=dtype)]
        if self.module is not None:
            is_made = isinstance(self.module, Module)
            made = copy.deepcopy(self.module) if is_made else self.module(n_x, n_y, self._rng)
            if not isinstance(made, Module) or not made.parameters():
                raise TypeError(
                    f"{type(self).__name__}: module is to make a Module with parameters; got {shown(made)}."
                )
            return self._container(*layers, made)
        known = isinstance(self.activation, str)
        activation, first = ACTIVATIONS[self.activation] if known else (lambda: self.activation, init.xavier)
        for n_out in self._sizes():
            layers += [Linear(n_x, n_out, rng=self._rng, init=first, dtype=dtype), activation()]
            n_x = n_out
        return self._container(*layers, Linear(n_x, n_y, rng=self._rng, dtype=dtype))

    def _prepare_optimizer(self, data: list[Array], *, keep: bool) -> None:
        """A new optimizer, or the one at hand, with the learning rate and the decay of now.

        The penalty is ``alpha / (2 m)`` times the sum of all ``||W||^2``, m examples being a mini-batch; its gradient
        is a weight decay of ``alpha / m``. Examples count by their weights.
        """
        m = data[0].shape[1]
        decay = float(self.alpha) / min(int(self.batch_size), m)
        if len(data) == 3:
            decay /= float(data[2].mean(dtype=float))
        if keep and self._optimizer_of is self.optimizer:
            self._optimizer.lr, self._optimizer.weight_decay = self.learning_rate, decay
            return
        make = OPTIMIZERS[self.optimizer] if isinstance(self.optimizer, str) else self.optimizer
        self._optimizer = make(self.model_.parameters(), lr=self.learning_rate, weight_decay=decay)
        self._optimizer_of = self.optimizer

    def _split(self, data: list[Array]) -> tuple[list[Array], list[Array]]:
        """The examples to train on, and those that are held back."""
        m, fraction = data[0].shape[1], float(self.validation_fraction)
        classes = data[1][0] if hasattr(self, "classes_") else None
        options = {"test_size": fraction, "random_state": self._rng, "stratify": classes}
        try:
            train, held_back = train_test_split(np.arange(m), **options)
        except ValueError as error:
            each = ", some of each class" if classes is not None else ""
            raise ValueError(
                f"{type(self).__name__}: early_stopping holds back validation_fraction={fraction:g} of the {m} "
                f"examples{each}, which cannot be: {error} Take another fraction, more examples, or no early stopping."
            ) from error
        return [x[:, train] for x in data], [x[:, held_back] for x in data]

    def _run(self, data: list[Array], held_back: list[Array] | None, epochs: int) -> None:
        X, Y, *weights = data
        size = min(int(self.batch_size), m := X.shape[1])
        callbacks = [] if held_back is None else [EarlyStopping(int(self.n_iter_no_change))]
        pays = epochs * math.ceil(m / size) > WORTH_COMPILING
        history = fit(
            self.model_, X, Y, loss=self._loss, optimizer=self._optimizer, epochs=epochs, rng=self._rng,
            batch_size=size if size < m else None, sample_weight=weights[0] if weights else None, progress=False,
            validation=None if held_back is None else tuple(held_back), callbacks=callbacks,
            compile={"fallback": True, "gradients": False} if pays else False,
        )  # fmt: skip
        self.loss_curve_ += history.costs
        self.n_iter_ += len(history)
        self.validation_loss_curve_ += history.validation_costs
        if history.interrupted:  # the model keeps its last whole step; a search over settings is to end, too
            raise KeyboardInterrupt

    def _weights(self, sample_weight: Any, X: Array) -> Array | None:
        """A weight for each row, checked; None where there are none."""
        if sample_weight is None:
            return None
        return _check_sample_weight(sample_weight, X, dtype=X.dtype, ensure_non_negative=True)

    # -- settings -----------------------------------------------------------------------------------------------------

    def _sizes(self) -> list[int]:
        """The sizes of the hidden layers; a single number is a single layer."""
        sizes = [self.hidden] if isinstance(self.hidden, (int, np.integer)) else self.hidden
        if not isinstance(sizes, (list, tuple)) and not (isinstance(sizes, np.ndarray) and sizes.ndim == 1):
            who, got = type(self).__name__, shown(self.hidden)
            raise TypeError(f"{who}: hidden is a tuple of sizes, such as (100,); got {got}.")
        return [positive_integer(n, f"{type(self).__name__}: each entry of hidden") for n in sizes]

    def _check_settings(self) -> None:
        who = type(self).__name__
        for name in ("epochs", "batch_size", "n_iter_no_change"):
            positive_integer(getattr(self, name), f"{who}: {name}")
        for name in ("early_stopping", "standardize", "warm_start"):
            boolean(getattr(self, name), f"{who}: {name}")
        rate_of(self.alpha, f"{who}: alpha")
        fraction = real_number(self.validation_fraction, f"{who}: validation_fraction")
        if not 0 < fraction < 1:
            raise ValueError(f"{who}: validation_fraction must be in (0, 1), got {fraction:g}.")
        self._check_choice("activation", ACTIVATIONS, "a function of an array, such as np.tanh")
        self._check_choice("optimizer", OPTIMIZERS, "a class of tinygrad_dls.optim")
        said = self.optimizer.keywords if isinstance(self.optimizer, functools.partial) else {}
        for name, ours in (("lr", "learning_rate"), ("weight_decay", "alpha")):
            if name in said:
                raise ValueError(f"{who}: the optimizer's {name} comes from {ours}: say {ours}= instead.")
        if self.module is not None:
            if isinstance(self.module, type) or not callable(self.module):
                told = "module is a Module, or a function of (n_x, n_y, rng) that makes one"
                raise TypeError(f"{who}: {told}; got {shown(self.module)}.")
            if self._sizes() != [100] or self.activation != "relu":
                told = "a module has its own layers, so hidden and activation have no effect: leave them out"
                raise ValueError(f"{who}: {told}.")

    def _check_choice(self, name: str, known: dict[str, Any], other: str) -> None:
        choice = getattr(self, name)
        if choice not in known if isinstance(choice, str) else not callable(choice):
            told = f"{name} is one of {', '.join(known)}, or {other}; got {shown(choice)}."
            raise (ValueError if isinstance(choice, str) else TypeError)(f"{type(self).__name__}: {told}")

    def _output(self, X: Any, of: Callable[[Any], Any] | None = None) -> Array:
        """What the model makes of rows, as rows."""
        check_is_fitted(self, "model_")
        X = validate_data(self, X, dtype=FLOATS, reset=False)
        columns = X.T.astype(self.model_.parameters()[0].dtype, copy=False)
        return values(evaluated(self.model_ if of is None else of, columns)).T


def _check_output(model: Module, x: Array, y: Array, n_y: int, loss: Callable[..., Any], who: str) -> None:
    """Refuse a model whose output has not a row for each output, or is not what the loss takes."""

    def run() -> None:
        recording.set(True)
        Z = model(x.astype(model.parameters()[0].dtype))
        if (shape := np.shape(values(Z))) != (n_y, 1):
            raise ValueError(f"{who}: module gives {shape} for one example; expected (n_y, m) = ({n_y}, 1).")
        loss(Z, y)

    evaluated(run)


@taking_chunks
class TinyClassifier(ClassifierMixin, _Network):  # type: ignore[misc]
    """A network for two or more classes, with scikit-learn's interface.

    Its cost is the cross-entropy of a sigmoid for two classes, and of a softmax for more. Features should be
    standardised: ``TinyClassifier(standardize=True)``, or ``make_pipeline(StandardScaler(), TinyClassifier())``.

    Parameters
    ----------
    hidden : tuple of int, default (100,)
        The sizes of the hidden layers; ``()`` is logistic regression.
    activation : {"relu", "tanh", "sigmoid"} or function, default "relu"
        Of the hidden layers; a function of an array is one such as ``np.sin``.
    optimizer : {"adam", "rmsprop", "sgd"} or class, default "adam"
        An optimizer of `tinygrad_dls.optim`; with options, ``functools.partial(tg.optim.SGD, momentum=0.9)``.
    learning_rate : float or function, default 0.001
        A number, or a schedule such as `tinygrad_dls.optim.step_decay`.
    epochs : int, default 200
        Passes over the data.
    batch_size : int, default 200
        Examples per step, all of them if they are fewer; they are shuffled anew in every epoch.
    alpha : float, default 0.0001
        Of the L2 penalty ``alpha / (2 m)`` times the sum of all ``||W||^2``, m being the size of a mini-batch. Biases
        have none. ``loss_curve_`` does not contain it.
    early_stopping : bool, default False
        Whether to hold examples back, to end the training when their cost has not become lower for `n_iter_no_change`
        epochs, and to keep the weights of the epoch at which it was lowest.
    validation_fraction : float, default 0.1
        How many of the examples are held back then, in equal parts of the classes.
    n_iter_no_change : int, default 10
        Epochs to wait.
    class_weight : dict, "balanced" or None
        Weights of the classes, by their labels.
    module : Module or function, optional
        A model of your own in place of `hidden` and `activation`: a `tinygrad_dls.nn.Module`, of which a copy is
        trained, or a function of ``(n_x, n_y, rng)`` that makes one. It takes columns, ``(n_x, m)``, and returns
        the linear part Z, ``(n_y, m)``: one row for two classes, or else a row for each.
    random_state : int, RandomState or None
        Where the first weights, the order of the examples and those held back are drawn from.
    standardize : bool, default False
        Whether ``model_`` begins with a `tinygrad_dls.nn.Standardizer` of the examples that it is trained on, which is
        saved and exported with it, and keeps the names of a DataFrame's columns. There, too, an example of weight 2
        counts as two. With `partial_fit`, it is of all the parts so far; what `fit` has made it of, stays.
    warm_start : bool, default False
        Whether `fit` trains the model further that an earlier one has left.

    Attributes
    ----------
    classes_ : array
        The labels, in order.
    model_ : Classifier
        The trained model; with `tinygrad_dls` it can be drawn, saved, and differentiated.
    loss_curve_, validation_loss_curve_ : list of float
        The cost of each epoch, and with early stopping that of the examples held back.
    n_iter_ : int
        The epochs that were run.
    n_features_in_ : int
        The number of features.
    feature_names_in_ : array of str
        Their names, where X was a DataFrame.

    Raises
    ------
    TypeError, ValueError
        In `fit`: if a setting is out of its range or has no effect, or if X and y are not what scikit-learn asks for.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.model_selection import cross_val_score
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from tinygrad_dls.sklearn import TinyClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = make_pipeline(StandardScaler(), TinyClassifier(hidden=(8,), learning_rate=0.05, random_state=0))
    >>> bool(cross_val_score(model, X, y).mean() > 0.9)
    True
    """

    _container = Classifier
    classes_: Any

    def __init__(
        self, hidden: Any = (100,), activation: Any = "relu", *, optimizer: Any = "adam", learning_rate: Any = 0.001,
        epochs: int = 200, batch_size: int = 200, alpha: float = 0.0001, early_stopping: bool = False,
        validation_fraction: float = 0.1, n_iter_no_change: int = 10, class_weight: Any = None, module: Any = None,
        random_state: Any = None, standardize: bool = False, warm_start: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(
            hidden, activation, optimizer=optimizer, learning_rate=learning_rate, epochs=epochs, batch_size=batch_size,
            alpha=alpha, early_stopping=early_stopping, validation_fraction=validation_fraction,
            n_iter_no_change=n_iter_no_change, module=module, random_state=random_state, standardize=standardize,
            warm_start=warm_start,
        )  # fmt: skip
        self.class_weight = class_weight

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> TinyClassifier:
        """Train on rows X and their labels y; `sample_weight` weighs each, >= 0."""
        continues = self._continues(self.warm_start)
        X, y = validate_data(self, X, y, dtype=FLOATS, reset=not continues)
        check_classification_targets(y)
        classes = np.unique(y)
        if continues and not np.array_equal(classes, self.classes_):
            raise ValueError(f"TinyClassifier: a warm start has the classes {self.classes_}; y holds {classes}.")
        self.classes_ = classes
        weights = self._weights(sample_weight, X)
        seen = classes if weights is None else np.unique(y[weights > 0])
        if len(seen) == 1:
            raise ValueError("TinyClassifier: y holds 1 class, and there is nothing to tell apart.")
        self._train_on(X, y, weights, continues=continues, partial=False)
        return self

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> TinyClassifier:
        """Train one epoch further on rows X and labels y; the first call needs `classes`, all there will be."""
        continues = self._continues_with_part()
        if isinstance(self.class_weight, str):
            raise ValueError("TinyClassifier: partial_fit sees a part of y: give class_weight as a dict of numbers.")
        X, y = validate_data(self, X, y, dtype=FLOATS, reset=not continues)
        check_classification_targets(y)
        _check_partial_fit_first_call(self, classes)
        if unknown := sorted(set(y.tolist()) - set(self.classes_.tolist())):
            raise ValueError(f"TinyClassifier: y holds {shown(unknown)}, which is not among classes.")
        if len(self.classes_) == 1:
            raise ValueError("TinyClassifier: classes holds 1 class, and there is nothing to tell apart.")
        self._train_on(X, y, self._weights(sample_weight, X), continues=continues, partial=True)
        return self

    def predict_proba(self, X: Any) -> Array:
        """The probability of each class, in the order of ``classes_``: shape (n_samples, n_classes)."""
        check_is_fitted(self, "model_")
        A = self._output(X, self.model_.predict_proba)
        return np.hstack([1 - A, A]) if len(self.classes_) == 2 else A

    def predict(self, X: Any) -> Array:
        """The likeliest class of each row."""
        probabilities = self.predict_proba(X)
        return self.classes_[np.argmax(probabilities, axis=1)]

    def _train_on(self, X: Array, y: Array, weights: Array | None, *, continues: bool, partial: bool) -> None:
        """Train on labels, as they are numbered."""
        indices: Array = np.searchsorted(self.classes_, y)
        if self.class_weight is not None:
            by_class = compute_class_weight(self.class_weight, classes=self.classes_, y=y).astype(X.dtype)
            weights = by_class[indices] if weights is None else by_class[indices] * weights
            if not (weights >= 0).all():
                raise ValueError(f"TinyClassifier: class_weight must be >= 0, got {shown(self.class_weight)}.")
        Y = indices[None, :]
        self._train(
            X, Y if len(self.classes_) > 2 else Y.astype(X.dtype), weights, continues=continues, partial=partial
        )

    @property
    def _loss(self) -> Callable[..., Any]:  # type: ignore[override]
        return binary_cross_entropy_with_logits if len(self.classes_) == 2 else softmax_cross_entropy


@taking_chunks
class TinyRegressor(RegressorMixin, _Network):  # type: ignore[misc]
    """A network for numbers, one or several for each example, with scikit-learn's interface.

    Its cost is the mean squared error. Features should be standardised, and so should targets that are far from 0:
    ``TransformedTargetRegressor(TinyRegressor(), transformer=StandardScaler())``.

    Parameters
    ----------
    hidden, activation, optimizer, learning_rate, epochs, batch_size, alpha
        As in `TinyClassifier`; without hidden layers, ``hidden=()``, it is linear regression.
    early_stopping, validation_fraction, n_iter_no_change, module, random_state, standardize, warm_start
        As in `TinyClassifier`.

    Attributes
    ----------
    model_, loss_curve_, validation_loss_curve_, n_iter_, n_features_in_, feature_names_in_
        As in `TinyClassifier`.
    """

    _loss = staticmethod(mean_squared_error)
    _shape: tuple[int, ...]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> TinyRegressor:
        """Train on rows X and their targets y, numbers or rows of them; `sample_weight` weighs each, >= 0."""
        return self._fit(X, y, sample_weight, self._continues(self.warm_start), partial=False)

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> TinyRegressor:
        """Train one epoch further on rows X and targets y."""
        return self._fit(X, y, sample_weight, self._continues_with_part(), partial=True)

    def _fit(self, X: Any, y: Any, sample_weight: Any, continues: bool, *, partial: bool) -> TinyRegressor:
        X, y = validate_data(self, X, y, dtype=FLOATS, multi_output=True, y_numeric=True, reset=not continues)
        shape = y.shape[1:]
        if continues and shape != self._shape:
            raise ValueError(f"TinyRegressor: it was trained on targets of shape {self._shape} by row; y has {shape}.")
        self._shape = shape
        Y = np.ascontiguousarray(y.reshape(len(y), -1).T, dtype=X.dtype)
        self._train(X, Y, self._weights(sample_weight, X), continues=continues, partial=partial)
        return self

    def predict(self, X: Any) -> Array:
        """The prediction for each row, in the shape that y had."""
        A = self._output(X)
        return A.reshape(len(A), *self._shape)
