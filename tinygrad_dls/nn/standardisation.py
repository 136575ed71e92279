"""Standardised inputs as a layer: what the training examples say of each feature is kept, and saved, with the model.

Its mean and scale are no parameters, as nothing learns them: they are arrays of the module, as batch normalisation's
running statistics are, but no step moves them. Where features have names, because a table or a DataFrame gave them,
they are kept too, and whatever comes with names later is held against them.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple, Self, TypeVar

import numpy as np

from tinygrad_dls.engine.arrays import Array, as_array, floating, positive_integer
from tinygrad_dls.engine.errors import flattened, shown
from tinygrad_dls.engine.tensor import Tensor, values
from tinygrad_dls.nn.chunks import blocks_of_columns, is_chunked
from tinygrad_dls.nn.columns import called, is_nameless, named, not_columns
from tinygrad_dls.nn.module import Module
from tinygrad_dls.nn.normalisation import kept

__all__ = ["Moments", "Standardizer"]

S = TypeVar("S", bound="Standardizer")


class Standardizer(Module):
    """Standardise each feature: ``X_norm = (X - mean) / scale``, with the statistics of the training examples.

    Make it of these, as the first layer of a model: ``Sequential(Standardizer.of(X_train), Linear(...), ...)``. It is
    then saved with the model, and what the model predicts takes features as they come.

    Parameters
    ----------
    n : int
        Number of features: mean and scale are ``(n, 1)``, and start at 0 and 1.
    features : sequence of str, keyword-only
        Their names, if they have any.
    dtype : dtype, default float64
        The dtype of mean and scale. Inputs of another floating dtype keep theirs.

    Attributes
    ----------
    mean, scale : array, shape (n, 1)
        They are part of `Module.state_dict`, and no parameters.
    features : tuple of str

    Raises
    ------
    TypeError, ValueError
        If names are not n different texts; when called, if the shape is wrong, or if a table or a DataFrame has other
        features.

    Examples
    --------
    >>> import numpy as np, tinygrad_dls as tg
    >>> X = np.array([[1.0, 3.0], [10.0, 30.0], [5.0, 5.0]])
    >>> standardizer = tg.nn.Standardizer.of(X)
    >>> standardizer(X).data
    array([[-1.,  1.],
           [-1.,  1.],
           [ 0.,  0.]])
    >>> standardizer.inverse()(standardizer(X)).data
    array([[ 1.,  3.],
           [10., 30.],
           [ 5.,  5.]])
    """

    _buffer_names = ("mean", "scale")
    mean: Array
    scale: Array

    def __init__(self, n: int, *, features: Sequence[str] = (), dtype: Any = float) -> None:
        self.n = positive_integer(n, f"{type(self).__name__}: n")
        self.features = self._names(features)
        dtype = floating(dtype, f"{type(self).__name__}: dtype")
        self.mean, self.scale = np.zeros((self.n, 1), dtype), np.ones((self.n, 1), dtype)

    @classmethod
    def of(cls, X: Any, *, features: Sequence[str] = (), dtype: Any = None) -> Self:
        """A layer with the means and standard deviations of examples; a feature that never varies has scale 1.

        Parameters
        ----------
        X : array of shape (n, m), Table or DataFrame
            The examples to learn from: columns, or a DataFrame's rows. With a table or a DataFrame come names. A dask
            array is gone through once, chunk by chunk.
        features : sequence of str, keyword-only
            The names of an array's rows.
        dtype : dtype, default that of X, keyword-only
            The dtype of mean and scale; float64, if X holds integers. Give a float32 model's.

        Returns
        -------
        Standardizer

        Raises
        ------
        TypeError, ValueError
            If X is no table of finite numbers, or if `dtype` cannot tell the values of a feature apart.
        """
        who = f"{cls.__name__}.of"
        chunks = blocks_of_columns(X, who) if is_chunked(X) else None
        found, x = ((), X) if chunks else named(X, who)
        for name in filter(is_nameless, found):
            raise ValueError(
                f"{who}: column {name!r} has no name, and is no feature then. If it is the row numbers, which pandas "
                f"writes without index=False, leave it out: frame.drop(columns=[{name!r}]); or else name it."
            )
        if found and features:
            raise TypeError(f"{who}: {type(X).__name__} has names of its own; leave features= out.")
        x = as_array(values(x), f"{who}: X")
        if len(x.shape) != 2 or not x.size:
            hint = f": {flattened('X')}" if len(x.shape) > 2 else ""
            raise ValueError(f"{who}: X is {tuple(x.shape)}; expected (n_x, m), with the examples as columns{hint}.")
        dtype = (x.dtype if x.dtype.kind == "f" else float) if dtype is None else dtype
        layer = cls(x.shape[0], features=found or features, dtype=dtype)
        parts = [layer._moments(block, who) for block in chunks or [x]]
        if not parts:
            raise ValueError(f"{who}: X has no examples.")
        moments = functools.reduce(Moments.joined, parts)
        layer._learn(moments)
        if not np.can_cast(x.dtype, layer.mean.dtype):
            alike = moments.deviation < np.abs(moments.mean) * np.finfo(layer.mean.dtype).eps
            layer._refuse_lost(alike & (moments.deviation > 0), moments)
        return layer

    def _moments(self, x: Array, who: str) -> Moments:
        """Those of some of the examples, if they are finite."""
        wrong = np.flatnonzero(~np.isfinite(x).all(axis=1))
        if wrong.size:
            called = repr(self.features[int(wrong[0])]) if self.features else f"row {wrong[0]} of X"
            raise ValueError(
                f"{who}: {called} holds NaN or infinities, and has no mean. Drop or fill these cells first: "
                "read_csv and from_frame take missing=."
            )
        return Moments.of(x)

    def _refuse_lost(self, lost: Array, moments: Moments) -> None:
        """Refuse features that the dtype of mean and scale has no numbers for."""
        for i in map(int, np.flatnonzero(lost)):
            wider = "" if self.mean.dtype == np.float64 else ", or take float64"
            raise ValueError(
                f"Standardizer: {repr(self.features[i]) if self.features else f'feature {i}'} has mean "
                f"{moments.mean[i, 0]:.3g} and standard deviation {moments.deviation[i, 0]:.3g}, and {self.mean.dtype} "
                f"cannot hold such values, or cannot tell them apart. Give them other units or another origin{wider}."
            )

    def _learn(self, moments: Moments) -> None:
        """Set mean and scale to those of examples; a feature that never varies has scale 1."""
        dtype = self.mean.dtype
        deviation = np.where(moments.deviation == 0, 1, moments.deviation)
        with np.errstate(over="ignore"):
            self.mean, self.scale = moments.mean.astype(dtype), deviation.astype(dtype)
        self._refuse_lost(~np.isfinite(self.mean) | ~np.isfinite(self.scale) | (self.scale == 0), moments)

    def inverse(self) -> Unstandardizer:
        """The layer that takes this one back, ``A * scale + mean``: at the end of a model whose targets have units."""
        return self._as(Unstandardizer)

    def _as(self, kind: type[S]) -> S:
        """A layer of another kind with copies of mean and scale."""
        layer = kind(self.n, features=self.features, dtype=self.mean.dtype)
        layer.mean, layer.scale = self.mean.copy(), self.scale.copy()
        return layer

    def __call__(self, X: Any) -> Any:
        """``(X - mean) / scale``."""
        X, mean, scale = self._operands(X)
        X_norm: Tensor = (X - mean) / scale
        X_norm.name = f"{called(X, 'X')}_norm"
        return X_norm

    def _operands(self, X: Any) -> tuple[Any, Any, Any]:
        """The input, and mean and scale in its dtype."""
        names, x = named(X, type(self).__name__)
        x = self._in_order(names, x) if names else as_array(x, "X")
        if len(x.shape) != 2 or x.shape[0] != self.n:
            raise ValueError(not_columns(self._titled(), called(x, "X"), x.shape, self.n))
        mean, scale = (Tensor(kept(self, name, name), name=name) for name in self._buffer_names)
        for statistic in (mean, scale):
            if statistic.shape != (self.n, 1):
                raise ValueError(f"{self._titled()}: {statistic.name} is {statistic.shape}; expected ({self.n}, 1).")
        if x.dtype.kind == "f" and x.dtype != mean.dtype:
            mean, scale = mean.astype(x.dtype), scale.astype(x.dtype)
        return x, mean, scale

    def _in_order(self, names: tuple[str, ...], x: Array) -> Array:
        """Rows that have names, in the order of the features."""
        if not self.features:
            raise ValueError(
                f"{self._titled()} was made without names, and cannot tell whether these are its features: "
                f"{', '.join(names)}. Make it of the same: {type(self).__name__}.of(X)."
            )
        problems = [f"{name!r} is missing" for name in self.features if name not in names]
        problems += [f"{name!r} is none of them" for name in names if name not in self.features]
        if problems:
            raise ValueError(
                f"{self._titled()} was made of the features {', '.join(self.features)}: {'; '.join(problems)}."
            )
        return x[[names.index(name) for name in self.features]].astype(self.mean.dtype)

    def _names(self, features: Any) -> tuple[str, ...]:
        who = type(self).__name__
        if isinstance(features, str) or not isinstance(features, Sequence):
            raise TypeError(f"{who}: features must be a list of names, got {shown(features)}.")
        names = tuple(features)
        if not all(isinstance(name, str) for name in names):
            raise TypeError(f"{who}: features must be a list of names, got {shown(features)}.")
        if names and (len(names) != self.n or len(set(names)) != self.n):
            raise ValueError(f"{who}: features must be {self.n} different names, got {shown(features)}.")
        return names

    def _describe(self) -> str:
        return f"{type(self).__name__} {self.n}"


class Unstandardizer(Standardizer):
    """What takes a `Standardizer` back: ``A * scale + mean``. `Standardizer.inverse` makes it."""

    def inverse(self) -> Any:
        """The layer that this one takes back."""
        return self._as(Standardizer)

    def __call__(self, X: Any) -> Any:
        """``A * scale + mean``."""
        X, mean, scale = self._operands(X)
        return X * scale + mean


class Moments(NamedTuple):
    """What examples say of each feature, in double precision, as ``(n, 1)``; two of them are joined to that of all.

    Attributes
    ----------
    weight : float
        How many examples they are, or what these weigh together.
    mean, deviation : array, shape (n, 1)
        The deviation is exactly 0 where all examples are equal.
    """

    weight: float
    mean: Array
    deviation: Array

    @classmethod
    def of(cls, x: Array, weights: Array | None = None) -> Moments:
        """Those of columns, ``(n, m)``; with weights ``(1, m)``, above 0, a column of weight 2 counts as two."""
        x = x.astype(np.float64)
        w = np.ones_like(x[:1]) if weights is None else weights.astype(np.float64)
        shares = w / w.max()  # whose sum does not vanish
        shares = shares / shares.sum()
        varies = x.max(axis=1, keepdims=True) != x.min(axis=1, keepdims=True)  # rounded means leave some of 0.1 - 0.1
        first = x[:, :1]
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows is refused by who learns of it
            mean = first + ((x - first) * shares).sum(axis=1, keepdims=True)  # exact where all are equal
            distance = np.abs(x - mean)
            largest = np.where(varies, distance.max(axis=1, keepdims=True), 1)
            root = np.sqrt(np.sum(shares * (distance / largest) ** 2, axis=1, keepdims=True))  # no square vanishes
        return cls(float(w.sum()), mean, np.where(varies, largest * root, 0.0))

    def joined(self, other: Moments) -> Moments:
        """Those of these examples and of others (Chan, Golub and LeVeque, 1979)."""
        weight = self.weight + other.weight
        a, b = self.weight / weight, other.weight / weight
        apart = other.mean - self.mean
        within = np.hypot(np.sqrt(a) * self.deviation, np.sqrt(b) * other.deviation)
        return Moments(weight, self.mean + b * apart, np.hypot(within, np.sqrt(a * b) * apart))
