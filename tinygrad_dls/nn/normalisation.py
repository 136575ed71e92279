"""Batch normalisation: each unit's linear part is brought to mean 0 and variance 1 over the batch, then to its own.

In training the statistics are those of the batch, and gradients flow through them. For evaluation the layer keeps
running ones, which are no parameters: they are arrays of the module, saved with its state, that each training pass
moves a bit towards the batch. Who runs a model without training it, or records it, says with `followed` what becomes of
these moves.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import Any, TypeAlias

import numpy as np

from tinygrad_dls.engine.arrays import HALF, Array, as_array, below_one, floating, positive_integer, positive_number
from tinygrad_dls.engine.switches import set_to
from tinygrad_dls.engine.tensor import Tensor, values
from tinygrad_dls.nn.columns import called, not_columns, refuse_frame
from tinygrad_dls.nn.module import Module, Parameter

__all__ = ["BatchNorm", "Following", "batch_norm", "followed", "kept", "untouched"]

# Told of a module, of an array that it keeps (the attribute, and what it is called), and how that moves: None, if it is
# only read. It returns the array, or what stands for it in a recording.
Following: TypeAlias = Callable[[Module, str, str, Callable[[Array], Array] | None], Any]

_following: ContextVar[Following | None] = ContextVar("tinygrad_dls_following", default=None)


def followed(following: Following) -> AbstractContextManager[None]:
    """Within the block, running statistics are read and moved as `following` says, and else stay as they are."""
    return set_to(_following, following)


def kept(module: Module, attribute: str, called: str) -> Any:
    """An array that a module keeps, or what stands for it in a recording, where it is `called` so."""
    following = _following.get()
    return getattr(module, attribute) if following is None else following(module, attribute, called, None)


def untouched() -> AbstractContextManager[None]:
    """Within the block, running statistics stay as they are: a model is looked at, not trained."""
    return followed(lambda module, attribute, *_: getattr(module, attribute))


def batch_norm(Z: Any, gamma: Any, beta: Any, *, epsilon: float = 1e-5) -> Any:
    """Batch normalisation of a layer's linear part, as in the course, over the examples, which are the columns.

    ``mu`` and ``var`` are the mean and the variance of each row, ``Z_norm = (Z - mu) / sqrt(var + epsilon)``, and the
    result is ``Z_tilde = gamma * Z_norm + beta``. (Ioffe and Szegedy, 2015, algorithm 1.)

    Parameters
    ----------
    Z : Tensor or array, shape (n, m)
        With m > 1.
    gamma, beta : Tensor or array, shape (n, 1)
        The standard deviation and the mean that each row gets.
    epsilon : float, default 1e-5, keyword-only
        Keeps the division finite.

    Returns
    -------
    Tensor or array, shape (n, m)

    Raises
    ------
    ValueError
        If a shape is wrong, if there is a single example, or if epsilon is no finite number > 0.

    Examples
    --------
    >>> import numpy as np, tinygrad_dls as tg
    >>> Z = np.array([[1.0, 3.0], [10.0, 30.0]])
    >>> tg.batch_norm(Z, np.ones((2, 1)), np.zeros((2, 1))).round(3)
    array([[-1.,  1.],
           [-1.,  1.]])
    """
    epsilon = positive_number(epsilon, "batch_norm: epsilon")
    named = {"Z": Z, "gamma": gamma, "beta": beta}
    Z, gamma, beta = (as_array(x, f"batch_norm: {name}") for name, x in named.items())
    if len(Z.shape) != 2:
        raise ValueError(f"batch_norm: Z is {tuple(Z.shape)}; expected (n, m), with the examples as columns.")
    for x, name in ((gamma, "gamma"), (beta, "beta")):
        if tuple(x.shape) != (Z.shape[0], 1):
            raise ValueError(
                f"batch_norm: Z is {tuple(Z.shape)}, {name} is {tuple(x.shape)}; expected ({Z.shape[0]}, 1)."
            )
    _refuse_single(Z, "batch_norm")
    return _normalised(Z, *_statistics(Z, gamma), gamma, beta, epsilon)


class BatchNorm(Module):
    """Batch normalisation as a layer, between the linear part and the activation: ``gamma * Z_norm + beta``.

    In training, ``Z_norm = (Z - mu) / sqrt(var + epsilon)`` with the mean and the variance of each unit over the batch.
    In evaluation, as in `Classifier.predict`, with running ones: each training pass takes
    ``running := momentum * running + (1 - momentum) * batch``, the course's exponentially weighted average, from mean 0
    and variance 1 on. The variance is that of the batch, divided by m.

    Within a `Sequential`, the layer behind the l-th linear part has its number: gamma1 and beta1 stand with W1 and b1,
    and its output is ``Z_tilde1``. (A bias b1 before it has no effect, as mu takes it away: its gradient is 0.)

    Parameters
    ----------
    n : int
        Number of units: gamma and beta are ``(n, 1)``, and start at 1 and 0.
    momentum : float, default 0.9
        The weight of the running statistics in their average, in [0, 1).
    epsilon : float, default 1e-5
        Keeps the division finite.
    dtype : dtype, default float64
        The dtype of gamma, beta and the running statistics. The largest number of float16, 65,504, is the variance of
        numbers of size 256: for larger ones, take float32 here, in a model of float16 too.

    Attributes
    ----------
    running_mean, running_var : array, shape (n, 1)
        For evaluation. They are part of `Module.state_dict`, and no parameters.

    Raises
    ------
    TypeError, ValueError
        If a number is out of its range; when called, if the shape is wrong, or if there is a single example in
        training.

    FloatingPointError
        In training, if a running statistic is beyond the largest number of float16.

    Examples
    --------
    >>> import numpy as np, tinygrad_dls as tg
    >>> layer = tg.nn.BatchNorm(2)
    >>> layer(np.array([[1.0, 3.0], [10.0, 30.0]])).data.round(3)
    array([[-1.,  1.],
           [-1.,  1.]])
    >>> layer.running_mean.round(3)
    array([[0.2],
           [2. ]])
    """

    _buffer_names = ("running_mean", "running_var")
    running_mean: Array
    running_var: Array

    def __init__(self, n: int, *, momentum: float = 0.9, epsilon: float = 1e-5, dtype: Any = float) -> None:
        self.n = positive_integer(n, "BatchNorm: n")
        self.momentum = below_one(momentum, "BatchNorm: momentum")
        self.epsilon = positive_number(epsilon, "BatchNorm: epsilon")
        dtype = floating(dtype, "BatchNorm: dtype")
        self.gamma = Parameter(np.ones((self.n, 1), dtype))
        self.beta = Parameter(np.zeros((self.n, 1), dtype))
        self.running_mean = np.zeros((self.n, 1), dtype)
        self.running_var = np.ones((self.n, 1), dtype)

    def __call__(self, Z: Any) -> Any:
        """Normalise by the batch in training, by the running statistics in evaluation."""
        refuse_frame(Z, self._titled(), "Z")
        Z = as_array(Z, "Z")
        if len(Z.shape) != 2 or Z.shape[0] != self.n:
            why = "Is the layer before it of another size?"
            raise ValueError(not_columns(self._titled(), called(Z, "Z"), Z.shape, self.n, otherwise=why))
        if not self.training:
            mean, var = (self._read(name) for name in self._buffer_names)
            return _normalised(Z, mean, var, self.gamma, self.beta, self.epsilon)
        _refuse_single(Z, self._titled())
        mean, var = _statistics(Z, self.gamma)
        self._move("running_mean", values(mean))
        self._move("running_var", values(var))
        return _normalised(Z, mean, var, self.gamma, self.beta, self.epsilon)

    def _read(self, name: str) -> Any:
        """A running statistic."""
        x = getattr(self, name)
        if np.shape(x) != (self.n, 1):
            raise ValueError(f"{self._titled()}: {name} is {np.shape(x)}; expected ({self.n}, 1).")
        shown = f"{name}{_number_of(self.gamma)}"
        return Tensor(kept(self, name, shown), name=shown)

    def _move(self, name: str, batch: Array) -> None:
        """Move a running statistic towards that of a batch, if that is of numbers."""
        momentum, following = self.momentum, _following.get()

        def moved(running: Array) -> Array:
            return (momentum * running + (1 - momentum) * batch).astype(running.dtype)

        if following is not None:
            following(self, name, f"{name}{_number_of(self.gamma)}", moved)
        elif batch.dtype.kind == "f":
            new = moved(self._read(name)._value)
            if new.dtype.char == HALF and np.isinf(new).any() and not np.isinf(batch).any():
                raise FloatingPointError(
                    f"{self._titled()}: {name} is beyond 65,504, the largest number of float16, so nothing would be "
                    "left in evaluation. Standardise X, or let the layer keep float32: BatchNorm(n, dtype=np.float32)."
                )
            object.__setattr__(self, name, new)

    def _describe(self) -> str:
        return f"BatchNorm {self.n}"


def _refuse_single(Z: Any, who: str) -> None:
    if Z.shape[1] < 2:
        raise ValueError(
            f"{who}: a batch of {Z.shape[1]} example{'s' * (Z.shape[1] != 1)} has no variance to be normalised by; "
            "training takes 2 or more. Take a batch_size that leaves no single example, or evaluate: model.eval(), and "
            "predict, use the running statistics."
        )


def _statistics(Z: Any, gamma: Any) -> tuple[Any, Any]:
    """The mean and the variance of each row, with the number of the layer in their names; of float16, in float32."""
    Z = Z.astype(np.float32) if Z.dtype.char == HALF else Z
    mean, var = np.mean(Z, axis=1, keepdims=True), np.var(Z, axis=1, keepdims=True)
    return _named(mean, "mu", gamma), _named(var, "var", gamma)


def _normalised(Z: Any, mean: Any, var: Any, gamma: Any, beta: Any, epsilon: float) -> Any:
    sigma = np.sqrt(var + epsilon)
    if isinstance(sigma, Tensor) and sigma.op is None:  # of running statistics: a constant of the graph
        _named(sigma, "running_sigma", gamma)
    Z_norm = _named((Z - mean) / sigma, "Z_norm", gamma)
    Z_tilde = gamma * Z_norm + beta
    return _named(Z_tilde.astype(Z.dtype) if Z.dtype.char == HALF else Z_tilde, "Z_tilde", gamma)


def _named(x: Any, stem: str, gamma: Any) -> Any:
    """What a layer computes, with a name and the layer's number if it is a Tensor."""
    if isinstance(x, Tensor):
        x.name = f"{stem}{_number_of(gamma)}"
    return x


def _number_of(gamma: Any) -> str:
    """The 1 of ``gamma1``, or of ``inner.gamma1``; nothing without a number."""
    name = gamma.name if isinstance(gamma, Tensor) else None
    return (name or "").rpartition(".")[2].removeprefix("gamma") if name else ""
