"""Layers one after the other, and the two models of the notes composed from them.

`Sequential` numbers its layers as the course does: the k-th layer with parameters owns ``W1, b1, W2, b2, ...``, its
output is ``Z1, Z2, ...`` and the activation's ``A1, A2, ...``. These are the names in errors, in pictures and in
`Module.state_dict`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeGuard

import numpy as np

from tinygrad_dls.engine import ops
from tinygrad_dls.engine.arrays import Array, boolean
from tinygrad_dls.engine.tensor import Tensor, values
from tinygrad_dls.nn import init as initialisers
from tinygrad_dls.nn.chunks import lazily
from tinygrad_dls.nn.columns import is_frame, named
from tinygrad_dls.nn.containers import Path
from tinygrad_dls.nn.evaluation import evaluated
from tinygrad_dls.nn.init import Initialiser, generator
from tinygrad_dls.nn.layers import Linear, Sigmoid, Softmax, Tanh
from tinygrad_dls.nn.module import Module, Parameter, has_parameters, paths_of
from tinygrad_dls.nn.normalisation import BatchNorm
from tinygrad_dls.nn.standardisation import Standardizer

__all__ = ["Classifier", "LogisticRegression", "Sequential", "TwoLayerNetwork", "columns_of"]


class Sequential(Module):
    """Layers one after the other.

    Parameters
    ----------
    *layers : callable
        `Module` objects, or functions such as ``np.tanh``.

    Raises
    ------
    TypeError, ValueError
        If there is no layer, or if something is not callable.

    Examples
    --------
    The notes' own chain ends in a sigmoid, and takes the composed cost:

    >>> import numpy as np, tinygrad_dls as tg
    >>> model = tg.nn.Sequential(tg.nn.Linear(2, 1, init=tg.init.zeros), tg.nn.Sigmoid())
    >>> A = model(np.ones((2, 3)))
    >>> tg.binary_cross_entropy(A, np.ones((1, 3))).item()
    0.6931471805599453
    """

    layers: tuple[Callable[[Any], Any], ...] = ()
    _steps: list[tuple[Callable[[Any], Any], str | None]]

    def __init__(self, *layers: Callable[[Any], Any]) -> None:
        if not layers:
            raise ValueError(f"{type(self).__name__} needs at least one layer.")
        for layer in list[Any](layers):
            if not callable(layer) or isinstance(layer, type):
                hint = f" Write {layer.__name__}()." if isinstance(layer, type) else ""
                if isinstance(layer, (list, tuple)):
                    hint = f" Write {type(self).__name__}(*layers)."
                raise TypeError(f"{type(self).__name__} takes layers, got {layer!r}.{hint}")
        object.__setattr__(self, "layers", layers)
        numbers = [number for _, number in self._numbered()]
        self._number(iter(self._numbered()), max(numbers, default=0))
        arrays = [name for name, _, _ in self._buffers()]
        if doubled := next((name for name in arrays if arrays.count(name) > 1), None):
            raise ValueError(
                f"{type(self).__name__}: two layers keep an array called {doubled}. A Standardizer stands before the "
                "first layer with parameters, and its inverse behind the last: one at a place."
            )

    def __setattr__(self, attribute: str, value: Any) -> None:
        if attribute == "layers":
            raise self._fixed()
        super().__setattr__(attribute, value)

    def __delattr__(self, attribute: str) -> None:
        if attribute == "layers":
            raise self._fixed()
        super().__delattr__(attribute)

    def _fixed(self) -> AttributeError:
        return AttributeError(f"the layers of a {type(self).__name__} are fixed; make a new one.")

    def _holders(self) -> Iterator[tuple[str, Any]]:
        yield "layers", self.layers
        yield from ((name, value) for name, value in vars(self).items() if name not in ("layers", "_steps"))

    def _parts(self) -> Iterator[tuple[str, Any]]:
        yield from ((f"layers.{i}", layer) for i, layer in enumerate(self.layers))
        yield from self._others()

    def _others(self) -> Iterator[tuple[str, Parameter | Module]]:
        """What a subclass holds beside the layers."""
        return (member for member in self._members() if not member[0].startswith("layers."))

    def _shows(self, name: str) -> bool:
        names = {p.name for p in self.parameters()} | {layer.name for layer in self.modules()}
        return "." in name or name in names

    def _names_below(self, attribute: str, members: list[tuple[Path, Parameter | Module]]) -> dict[Parameter, str]:
        names = super()._names_below(attribute, members)
        layers = {p for layer in self._flat() if isinstance(layer, Module) for _, p in layer._paths()} if names else ()
        return {p: name for p, name in names.items() if p not in layers}

    def _ending(self) -> str:
        """What makes probabilities of the logits within the model: "sigmoid", "softmax", or "" for nothing."""
        *_, last = self._flat()
        if isinstance(last, Sigmoid) or last is ops.sigmoid:
            return "sigmoid"
        return "softmax" if isinstance(last, Softmax) or last is ops.softmax else ""

    def _flat(self) -> Iterator[Any]:
        """The layers, those of plain nested Sequentials in their place."""
        for layer in self.layers:
            if _is_plain(layer):
                yield from layer._flat()
            else:
                yield layer

    def _all_numbered(self) -> Iterator[tuple[Any, int, bool]]:
        """The layers, each with its number, and whether it has parameters.

        Those without have the number of the one before, and 0 at the start; so has batch normalisation, the first time.
        """
        number, is_normalised = 0, True
        for layer in self._flat():
            if own := has_parameters(layer):
                shares = isinstance(layer, BatchNorm) and not is_normalised
                number += not shares
                is_normalised = isinstance(layer, BatchNorm)
            yield layer, number, own

    def _numbered(self) -> list[tuple[Any, int]]:
        """The layers with parameters, and their numbers."""
        return [(layer, number) for layer, number, own in self._all_numbered() if own]

    def _number(self, numbered: Iterator[tuple[Any, int]], total: int, number: int = 0) -> int:
        """Name the layers and their outputs after their number; a single layer goes without."""
        steps: list[tuple[Any, str | None]] = []  # each layer, and the name of what comes out of it
        first = "X"
        for layer in self.layers:
            output = None
            if _is_plain(layer):
                number = layer._number(numbered, total, number)
            else:
                if isinstance(layer, Module) and has_parameters(layer):
                    _, number = next(numbered)
                    layer.name = f"layer{number}"
                    if isinstance(layer, Linear):
                        layer.input_name = f"A{number - 1}" if number > 1 else first
                elif isinstance(layer, Standardizer):
                    first = "X_norm"
                if number:
                    letter = "Z" if isinstance(layer, Linear) else "Z_tilde" if isinstance(layer, BatchNorm) else "A"
                    output = letter + (str(number) if total > 1 else "")
            steps.append((layer, output))
        object.__setattr__(self, "_steps", steps)
        self._name_parameters()
        return number

    def _paths(self) -> Iterator[tuple[str, Parameter]]:
        for layer, number in self._with_numbers():
            yield from ((_numbered_path(layer, path, number), p) for path, p in layer._paths())
        for name, member in self._others():
            yield from paths_of(name, member)

    def _buffers(self) -> Iterator[tuple[str, Module, str]]:
        for layer, number in self._with_numbers():
            for path, module, own in layer._buffers():
                yield _numbered_path(layer, path, number), module, own
        for layer, number, has in self._all_numbered():
            for path, module, own in layer._buffers() if isinstance(layer, Module) and not has else ():
                yield f"{number}.{path}" if "." in path else f"{path}{number}", module, own
        for name, member in self._others():
            if isinstance(member, Module):
                yield from ((f"{name}.{path}", module, own) for path, module, own in member._buffers())

    def _with_numbers(self) -> list[tuple[Any, int]]:
        """The layers with parameters and their numbers; 0 for a single number, which is not written."""
        numbered = self._numbered()
        several = any(number > 1 for _, number in numbered)
        return [(layer, number if several else 0) for layer, number in numbered]

    def __call__(self, x: Any) -> Any:
        """Apply the layers in order, and name what comes out of each."""
        for layer, output in self._steps:
            x = layer(x)
            if output is not None and isinstance(x, Tensor):
                x.name = output
        return x


def _numbered_path(layer: Any, path: str, number: int) -> str:
    """``W1`` for the W of the first layer; ``1.inner.W`` for what lies deeper."""
    if not number:
        return path
    nested = "." in path or isinstance(layer, Sequential)
    return f"{number}.{path}" if nested else f"{path}{number}"


def columns_of(model: Module, X: Any) -> Any:
    """The rows of a DataFrame or a table as columns, in the order of the features that a model begins with.

    Without a `Standardizer` at the beginning of a `Sequential`, and for all else, X is as it was.

    Raises
    ------
    ValueError
        If it has other features, or the standardizer has no names.
    """
    if not isinstance(model, Sequential) or not (is_frame(X) or hasattr(X, "features")):
        return X
    first = next(iter(model._flat()))
    if not isinstance(first, Standardizer):
        return X
    names, rows = named(X, first._titled())
    return first._in_order(names, rows) if names else X


def _is_plain(layer: Any) -> TypeGuard[Sequential]:
    """Whether a layer is a Sequential of layers alone, which can stand for themselves."""
    return isinstance(layer, Sequential) and not any(True for _ in layer._others())


class Classifier(Sequential):
    """A `Sequential` whose output is the logit Z (or, with a last `Sigmoid` or `Softmax`, the probability A).

    One output row stands for two classes, several for one class each: an example is of one of them. With
    ``several_labels``, each row is a label of its own, which an example has or has not.

    Parameters
    ----------
    *layers : callable
        The layers, as `Sequential` takes them.
    several_labels : bool, default False, keyword-only
        Whether the rows are labels of their own. `fit` sets it when it trains several rows with
        `tinygrad_dls.binary_cross_entropy_with_logits`, on labels Y that are not one class for each example.
    """

    several_labels: bool = False
    _sigmoids: bool = False  # whether several rows are trained as sigmoids, each for itself; `fit` sees it

    def __init__(self, *layers: Callable[[Any], Any], several_labels: bool = False) -> None:
        super().__init__(*layers)
        if boolean(several_labels, f"{type(self).__name__}: several_labels"):
            self.several_labels = True

    @lazily()
    def predict_proba(self, X: Any) -> Array:
        """The probabilities ``A`` of the notes.

        For logits it is the sigmoid, for one row and for several labels; or else the softmax over the rows.

        Parameters
        ----------
        X : array, shape (n_x, m)
            Integers and booleans are taken in the dtype of the parameters, as `tinygrad_dls.fit` takes them: pixels in
            uint8, whose ``X - 128`` would not fall below 0, are the same numbers there as in training.

        Returns
        -------
        array, shape (n_y, m)
            A plain array, computed without a graph and in evaluation mode, which no other thread and no module sees. Of
            a dask array, a lazy one, by the parameters as they are now.
        """
        return values(evaluated(self._probabilities, X))

    def _probabilities(self, X: Any) -> Any:
        if hasattr(type(X), "__array_function__") and X.dtype.kind in "iub" and (parameters := self.parameters()):
            X = X.astype(parameters[0].dtype)
        Z = self(X)
        if self._ending():
            return Z
        apart = Z.shape[0] == 1 or self.several_labels or self._sigmoids
        return ops.sigmoid(Z) if apart else ops.softmax(Z, axis=0)

    @lazily()
    def predict(self, X: Any) -> Array:
        """The class of each example: 1 where ``A > 0.5`` for one output, the row of the largest A for several.

        Parameters
        ----------
        X : array, shape (n_x, m)

        Returns
        -------
        array of int, shape (1, m)
            For several labels ``A > 0.5`` of each, of shape (n_y, m). Of a dask array, a lazy one.
        """
        A = self.predict_proba(X)
        each = A.shape[0] == 1 or self.several_labels
        return (A > 0.5).astype(int) if each else np.argmax(A, axis=0)[None, :]


class LogisticRegression(Classifier):
    """Logistic regression, ``A = sigmoid(W X + b)``: one `Linear` layer that starts at zero; ``model(X)`` is Z.

    Parameters
    ----------
    n_x : int
        Number of features: W is ``(1, n_x)``, b is ``(1, 1)``.
    dtype : dtype, default float64
        The dtype of W and b.

    Examples
    --------
    >>> import tinygrad_dls as tg
    >>> tg.nn.LogisticRegression(30)
    LogisticRegression: 31 parameters
      layer1 (Linear 30 -> 1)  W (1, 30), b (1, 1)
    """

    def __init__(self, n_x: int, *, dtype: Any = float) -> None:
        super().__init__(Linear(n_x, 1, init=initialisers.zeros, dtype=dtype))


class TwoLayerNetwork(Classifier):
    """The network with one hidden layer, ``Z2 = W2 g(W1 X + b1) + b2``; ``model(X)`` is Z2.

    Parameters
    ----------
    n_x, n_h, n_y : int
        Number of features, of hidden units, and of outputs (1 for two classes).
    activation : Module or function, default Tanh()
        g: a layer, such as ``tg.nn.ReLU()``, or a function, such as ``np.sin``.
    rng : int or generator, keyword-only
        Where random initialisers draw from, W1 first.
    init : function, default `tinygrad_dls.init.small`
        The first W1 and W2; b1 and b2 start at zero.
    dtype : dtype, default float64
        The dtype of the parameters.
    several_labels : bool, default False, keyword-only
        What the rows are, as `Classifier` takes it.

    Raises
    ------
    TypeError, ValueError
        If a size is not a positive integer, or `rng` is missing where it is needed.

    Examples
    --------
    >>> import tinygrad_dls as tg
    >>> tg.nn.TwoLayerNetwork(2, 4, rng=1)
    TwoLayerNetwork: 17 parameters
      layer1 (Linear 2 -> 4)  W1 (4, 2), b1 (4, 1)
      Tanh
      layer2 (Linear 4 -> 1)  W2 (1, 4), b2 (1, 1)
    """

    def __init__(
        self,
        n_x: int,
        n_h: int,
        n_y: int = 1,
        activation: Callable[[Any], Any] | None = None,
        *,
        rng: Any = None,
        init: Initialiser = initialisers.small,
        dtype: Any = float,
        several_labels: bool = False,
    ) -> None:
        rng = None if rng is None else generator(rng, "TwoLayerNetwork")  # one stream for both layers
        super().__init__(
            Linear(n_x, n_h, rng=rng, init=init, dtype=dtype),
            Tanh() if activation is None else activation,
            Linear(n_h, n_y, rng=rng, init=init, dtype=dtype),
            several_labels=several_labels,
        )
