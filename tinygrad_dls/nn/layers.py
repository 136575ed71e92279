"""Layers: each is its fields, ``__init__`` and ``__call__``."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_dls.engine import ops
from tinygrad_dls.engine.arrays import as_array, floating, positive_integer
from tinygrad_dls.engine.devices import like
from tinygrad_dls.engine.tensor import Tensor, values
from tinygrad_dls.nn import init as initialisers
from tinygrad_dls.nn.columns import called, not_columns, refuse_frame
from tinygrad_dls.nn.init import Initialiser, generator
from tinygrad_dls.nn.module import Module, Parameter
from tinygrad_dls.nn.regularisation import dropout, keep_probability

__all__ = ["Dropout", "Linear", "ReLU", "Sigmoid", "Softmax", "Tanh"]


class Linear(Module):
    """A layer's linear part, ``Z = W A + b``.

    Parameters
    ----------
    n_in, n_out : int
        Number of inputs and of units: W is ``(n_out, n_in)``, b is ``(n_out, 1)`` and starts at zero.
    rng : int or generator, keyword-only
        Where random initialisers draw from: a seed, or a NumPy generator (``RandomState`` too, for course tables).
    init : function or array, default `tinygrad_dls.init.xavier`
        The first W: an initialiser of a shape and a generator, or the values themselves.
    dtype : dtype, default float64
        The dtype of W and b.

    Raises
    ------
    TypeError, ValueError
        If a size is not a positive integer, `rng` is missing where it is needed, or `init` gives a wrong shape.

    Examples
    --------
    >>> import numpy as np, tinygrad_dls as tg
    >>> layer = tg.nn.Linear(3, 2, rng=0)
    >>> layer(np.ones((3, 5))).shape
    (2, 5)
    """

    input_name = "X"  # what the course calls the input of this layer; Sequential sets it

    def __init__(
        self,
        n_in: int,
        n_out: int,
        *,
        rng: Any = None,
        init: Initialiser | Any = initialisers.xavier,
        dtype: Any = float,
    ) -> None:
        self.n_in, self.n_out = positive_integer(n_in, "Linear: n_in"), positive_integer(n_out, "Linear: n_out")
        dtype = floating(dtype, "Linear: dtype")
        shape = (self.n_out, self.n_in)
        if callable(init):
            init = init(shape, None if rng is None else generator(rng, self._describe()))
        W = as_array(init, "init")
        if W.shape != shape:
            raise ValueError(f"{self._describe()}: init gave W of shape {W.shape}; expected (n_out, n_in) = {shape}.")
        self.W = Parameter(W.astype(dtype))
        self.b = Parameter(like(np.zeros((self.n_out, 1), dtype), values(W)))

    def __call__(self, a: Any) -> Any:
        """``Z = W A + b`` for A of shape (n_in, m); Z is (n_out, m)."""
        try:
            rows, _ = a.shape
        except (AttributeError, TypeError, ValueError):  # a list, or not two axes
            shape = as_array(a, self.input_name).shape
            rows = shape[0] if len(shape) == 2 else None
        if rows != self.n_in:
            raise ValueError(self._shape_error(a, np.shape(a)))
        if a.__class__ is not Tensor and a.__class__ is not np.ndarray:
            refuse_frame(a, self._titled(), self.input_name)
        return ops.affine(self.W, a, self.b)

    def _shape_error(self, a: Any, shape: tuple[int, ...]) -> str:
        name = called(a, self.input_name)
        rows = shape[0] if shape else 1
        refuse_frame(a, self._titled(), name)
        return not_columns(
            self._titled(), name, shape, self.n_in, beside=f"W is {self.W.shape}, ",
            otherwise=f"Did you mean Linear({rows}, {self.n_out}), or is a layer before it of another size?",
        )  # fmt: skip

    def _describe(self) -> str:
        return f"Linear {self.n_in} -> {self.n_out}"


class Tanh(Module):
    """``A = tanh(Z)``."""

    __call__ = staticmethod(ops.tanh)


class Sigmoid(Module):
    """``A = 1 / (1 + e^-Z)``."""

    __call__ = staticmethod(ops.sigmoid)


class ReLU(Module):
    """``A = max(Z, 0)``."""

    __call__ = staticmethod(ops.relu)


class Softmax(Module):
    """Probabilities of the classes, which are the rows: ``A = e^Z / sum e^Z``."""

    __call__ = staticmethod(ops.softmax)


class Dropout(Module):
    """Inverted dropout: in training, keep each entry with probability `keep_prob`, divided by `keep_prob`.

    The masks are those of the course, ``np.random.rand(*A.shape) < keep_prob``, drawn anew each time;
    `tinygrad_dls.dropout` takes one that is given.

    Parameters
    ----------
    keep_prob : float
        In (0, 1], as in the course; 1 keeps everything.
    rng : int or generator, keyword-only
        Where the masks are drawn from.

    Raises
    ------
    TypeError, ValueError
        If `keep_prob` is out of its range, or `rng` is missing.
    """

    def __init__(self, keep_prob: float, *, rng: Any = None) -> None:
        self.keep_prob = keep_probability(keep_prob, "Dropout")
        self.rng = generator(rng, "Dropout")

    def __call__(self, a: Any) -> Any:
        """Drop in training; in evaluation, return A itself."""
        if self.keep_prob == 1 or not self.training:
            return a
        a = as_array(a, "Dropout: A")
        return dropout(a, like(self.rng.random(a.shape) < self.keep_prob, values(a)), self.keep_prob)

    def _describe(self) -> str:
        return f"Dropout {self.keep_prob:g}"
