"""Layers, and the two models of the notes composed from them.

A layer is its fields, ``__init__`` and ``__call__``. `Sequential` numbers its layers as the course does: the k-th layer
with parameters owns ``W1, b1, W2, b2, ...``, its output is ``Z1, Z2, ...`` and the activation's ``A1, A2, ...``. These
are the names in errors, in pictures and in `Module.state_dict`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import MethodType
from typing import Any, TypeAlias, TypeGuard, TypeVar

import numpy as np

from tinygrad_dls import init as initialisers
from tinygrad_dls import ops
from tinygrad_dls.arrays import Array, as_array, floating, positive_integer, real_number, shown
from tinygrad_dls.init import Initialiser, generator
from tinygrad_dls.tensor import Tensor, no_grad, values

__all__ = [
    "Classifier", "Dropout", "Linear", "LogisticRegression", "Module", "Parameter", "ReLU", "Sequential", "Sigmoid",
    "Softmax", "Tanh", "TwoLayerNetwork",
]  # fmt: skip

Layer: TypeAlias = "Module"
M = TypeVar("M", bound="Module")


class Parameter(Tensor):
    """A Tensor that a model learns: it requires a gradient, and a `Module` that holds it lists it.

    Parameters
    ----------
    data : array_like of floats
        The first values; copied, so that training does not reach into the caller's array.
    name : str, optional
        By default, the attribute that it is assigned to.
    """

    __slots__ = ()

    def __init__(self, data: Array, *, name: str | None = None) -> None:
        data = as_array(data, name)
        super().__init__(data if isinstance(data, Tensor) else data.copy(), requires_grad=True, name=name)
        self._lent = None  # no caller holds the copy


class Module:
    """Something with parameters: a layer, or a model of layers.

    Assign `Parameter` and other `Module` objects (or lists of them) as attributes; they are found in that order.

    Examples
    --------
    >>> import numpy as np, tinygrad_dls as tg
    >>> class Scale(tg.nn.Module):
    ...     def __init__(self):
    ...         self.g = tg.nn.Parameter(np.ones((1, 1)))
    ...     def __call__(self, a):
    ...         return self.g * a
    >>> dict(Scale().named_parameters())
    {'g': Tensor([[1.]], shape=(1, 1), dtype=float64, name='g', requires_grad=True)}
    """

    training: bool = True
    name: str | None = None

    def __setattr__(self, attribute: str, value: Any) -> None:
        if self in _modules_in(value):
            raise ValueError(
                f"{type(self).__name__}.{attribute} would be, or contain, the {type(self).__name__} itself; "
                "a model is a tree of modules."
            )
        object.__setattr__(self, attribute, value)
        for suffix, member in _listed(value):
            member.name = attribute + suffix
            self._name_parameters()

    def __call__(self, *inputs: Any) -> Any:
        """Compute the output from the inputs."""
        raise NotImplementedError(f"{type(self).__name__} does not define __call__.")

    def _members(self) -> Iterator[tuple[str, Parameter | Module]]:
        """The parameters and modules held directly, with the names of their places."""
        for attribute, value in vars(self).items():
            for suffix, member in _listed(value):
                yield attribute + suffix, member

    def _paths(self) -> Iterator[tuple[str, Parameter]]:
        for name, member in self._members():
            yield from _paths_of(name, member)

    def _name_parameters(self) -> None:
        for name, p in self.named_parameters():
            p.name = name

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """The parameters with their names, in order of definition; a shared one once.

        Raises
        ------
        ValueError
            If two parameters come to have the same name.
        """
        seen: dict[Parameter, str] = {}
        for path, p in self._paths():
            if p not in seen:
                if path in seen.values():
                    raise ValueError(f"{type(self).__name__} has two parameters called {path}; rename an attribute.")
                seen[p] = path
                yield path, p

    def parameters(self) -> list[Parameter]:
        """The parameters, in order of definition."""
        return [p for _, p in self.named_parameters()]

    def modules(self) -> Iterator[Module]:
        """Yield this module and all within it."""
        yield self
        for _, member in self._members():
            if isinstance(member, Module):
                yield from member.modules()

    def state_dict(self) -> dict[str, Array]:
        """Copies of the parameters' arrays by name: ``{"W1": ..., "b1": ...}``."""
        return {name: p._value.copy() for name, p in self.named_parameters()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Set the parameters to copies of the arrays in `state_dict`.

        Raises
        ------
        TypeError
            If it is no mapping, or an entry is no array of numbers.
        ValueError
            If a name, shape or dtype differs. The error lists all the differences; nothing is changed then.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"this is not the state of a model, a dict of arrays by name: {shown(state_dict)}.")
        own = dict(self.named_parameters())
        new = {name: as_array(values(data), name) for name, data in state_dict.items()}
        problems = [f"{name} is missing" for name in own if name not in new]
        problems += [f"{name} is not a parameter of this model" for name in new if name not in own]
        for name in own.keys() & new.keys():
            p, data = own[name], new[name]
            if p.shape != data.shape:
                problems.append(f"{name} is {data.shape}; expected {p.shape}")
            if p.dtype != data.dtype:
                problems.append(f"{name} is {data.dtype}; expected {p.dtype}")
        if problems:
            raise ValueError(f"this state does not fit {type(self).__name__}: " + "; ".join(sorted(problems)) + ".")
        for name, data in new.items():
            own[name].data = data.copy()

    def train(self) -> None:
        """Switch to training: `Dropout` drops."""
        for module in self.modules():
            module.training = True

    def eval(self) -> None:
        """Switch to evaluation: `Dropout` passes everything."""
        for module in self.modules():
            module.training = False

    def __repr__(self) -> str:
        (top, facts), *within = self._tree("", set())
        count = sum(p.size for p in self.parameters())
        width = max((len(line) for line, _ in within), default=0)
        lines = [f"{top}: {count:,} parameter{'s' * (count != 1)}" + f" ({facts})" * bool(facts)]
        return "\n".join(lines + [f"{line:{width}}  {facts}".rstrip() for line, facts in within])

    def _describe(self) -> str:
        return type(self).__name__

    def _titled(self) -> str:
        """The name and what it is, as errors say it: ``layer1 (Linear 2 -> 4)``."""
        return f"{self.name} ({self._describe()})" if self.name else self._describe()

    def _tree(self, indent: str, seen: set[Parameter | Module]) -> Iterator[tuple[str, str]]:
        """Lines of the repr: the module, its own parameters beside it, and the modules within, indented; each once."""
        own, within = [], []
        for name, member in self._members():
            if member in seen:
                continue
            if isinstance(member, Parameter):
                seen.add(member)
                own.append(f"{member.name or name} {member.shape}")
            else:
                within.append(member)
        called = self._titled()
        yield indent + called, ", ".join(own)
        for member in within:
            if member not in seen:
                seen.add(member)
                yield from member._tree(indent + "  ", seen)


def _paths_of(name: str, member: Parameter | Module) -> Iterator[tuple[str, Parameter]]:
    if isinstance(member, Parameter):
        yield name, member
    else:
        yield from ((f"{name}.{path}", p) for path, p in member._paths())


def _modules_in(value: Any) -> Iterator[Module]:
    for _, member in _listed(value):
        if isinstance(member, Module):
            yield from member.modules()


def _listed(value: Any) -> Iterator[tuple[str, Parameter | Module]]:
    if isinstance(value, (Parameter, Module)):
        yield "", value
    elif isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            yield from ((f".{i}{suffix}", member) for suffix, member in _listed(item))
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from ((f".{key}{suffix}", member) for suffix, member in _listed(item))


def with_parameters(module: M, exchanged: Mapping[Parameter, Any]) -> M:
    """A copy of a module, with other things (Parameters, Tensors, arrays) in the place of some of its parameters.

    Copied are the modules, the lists, tuples and dicts that hold them, and their methods where these are attributes.
    All else is shared: random generators draw on, and what cannot be copied, such as a lock, need not be. What is one
    parameter, or one module, in several places remains one.
    """
    copies: dict[int, Any] = {id(p): x for p, x in exchanged.items()}

    def copied(x: Any) -> Any:
        if id(x) in copies:
            return copies[id(x)]
        if isinstance(x, Module):
            copies[id(x)] = twin = copy.copy(x)
            vars(twin).update(copied(vars(x)))
            return twin
        if isinstance(x, (list, dict)):
            items = x.items() if isinstance(x, dict) else enumerate(x)
            new = {key: twin for key, item in items if (twin := copied(item)) is not item}
            if not new:
                return x
            x = copy.copy(x)
            for key, twin in new.items():
                x[key] = twin
            return x
        if isinstance(x, tuple):
            before = list(x)
            after = copied(before)
            return x if after is before else tuple.__new__(type(x), after)  # a namedtuple too
        if isinstance(x, MethodType) and isinstance(x.__self__, Module):
            return MethodType(x.__func__, copied(x.__self__))
        if isinstance(x, partial):
            parts = x.func, x.args, x.keywords
            function, args, keywords = twins = copied(parts)
            return x if twins is parts else partial(function, *args, **keywords)
        return x

    return copied(module)  # type: ignore[no-any-return]


# -- layers -----------------------------------------------------------------------------------------------------------


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
        Of W and b.

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
        self.b = Parameter(np.zeros((self.n_out, 1), dtype))

    def __call__(self, a: Any) -> Any:
        """``Z = W A + b`` for A of shape (n_in, m); Z is (n_out, m)."""
        try:
            rows, _ = a.shape
        except (AttributeError, TypeError, ValueError):  # a list, or not two axes
            shape = as_array(a, self.input_name).shape
            rows = shape[0] if len(shape) == 2 else None
        if rows != self.n_in:
            raise ValueError(self._shape_error(a, np.shape(a)))
        return ops.affine(self.W, a, self.b)

    def _shape_error(self, a: Any, shape: tuple[int, ...]) -> str:
        called = a.name if isinstance(a, Tensor) and a.name else self.input_name
        who = self._titled()
        text = f"{who}: W is {self.W.shape}, {called} is {shape}; expected {called} to be ({self.n_in}, m). "
        if len(shape) != 2:
            return (
                text + f"Examples are columns: write {called}.reshape({self.n_in}, -1) if each has {self.n_in} values."
            )
        if shape[1] == self.n_in:
            return text + f"Did you pass {called} transposed?"
        return text + f"Did you mean Linear({shape[0]}, {self.n_out}), or is a layer before it of another size?"

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
    """Inverted dropout: in training, keep each entry with probability `keep_prob`, scaled by ``1 / keep_prob``.

    Parameters
    ----------
    keep_prob : float
        In (0, 1], as in the course; 1 keeps everything.
    rng : int or generator, keyword-only
        Where the masks are drawn from.
    """

    def __init__(self, keep_prob: float, *, rng: Any = None) -> None:
        self.keep_prob = real_number(keep_prob, "Dropout: keep_prob")
        if not 0 < self.keep_prob <= 1:
            raise ValueError(f"Dropout: keep_prob must be in (0, 1], got {keep_prob}.")
        self.rng = generator(rng, "Dropout")

    def __call__(self, a: Any) -> Any:
        """Drop in training; in evaluation, return A itself."""
        if not self.training or self.keep_prob == 1:
            return a
        if not isinstance(a, Tensor):
            a = as_array(a, "Dropout: A")
        scale = (self.rng.random(a.shape) < self.keep_prob) / self.keep_prob
        return a * (scale if a.dtype.kind in "iub" else scale.astype(a.dtype))

    def _describe(self) -> str:
        return f"Dropout {self.keep_prob:g}"


# -- models -----------------------------------------------------------------------------------------------------------


class Sequential(Module):
    """Layers one after the other.

    Parameters
    ----------
    *layers : callable
        `Module` objects, or functions such as ``np.tanh``.

    Examples
    --------
    The notes' own chain ends in a sigmoid, and takes the composed cost:

    >>> import numpy as np, tinygrad_dls as tg
    >>> model = tg.nn.Sequential(tg.nn.Linear(2, 1, init=tg.init.zeros), tg.nn.Sigmoid())
    >>> A = model(np.ones((2, 3)))
    >>> float(tg.binary_cross_entropy(A, np.ones((1, 3))).item())
    0.6931471805599453
    """

    layers: tuple[Callable[[Any], Any], ...] = ()
    _steps: list[tuple[Callable[[Any], Any], str | None]]

    def __init__(self, *layers: Callable[[Any], Any]) -> None:
        if not layers:
            raise ValueError(f"{type(self).__name__} needs at least one layer.")
        for layer in layers:
            if not callable(layer) or isinstance(layer, type):
                hint = f" Write {layer.__name__}()." if isinstance(layer, type) else ""
                raise TypeError(f"{type(self).__name__} takes layers, got {layer!r}.{hint}")
        object.__setattr__(self, "layers", layers)
        self._number(0, sum(1 for layer in self._flat() if _has_parameters(layer)))

    def __setattr__(self, attribute: str, value: Any) -> None:
        if attribute == "layers":
            raise AttributeError(f"the layers of a {type(self).__name__} are fixed; make a new one.")
        super().__setattr__(attribute, value)

    def _members(self) -> Iterator[tuple[str, Parameter | Module]]:
        yield from ((f"layers.{i}", layer) for i, layer in enumerate(self.layers) if isinstance(layer, Module))
        yield from self._others()

    def _others(self) -> Iterator[tuple[str, Parameter | Module]]:
        """What a subclass holds beside the layers."""
        return (member for member in super()._members() if not member[0].startswith(("layers.", "_steps.")))

    def _flat(self) -> Iterator[Any]:
        """The layers, those of plain nested Sequentials in their place."""
        for layer in self.layers:
            if _is_plain(layer):
                yield from layer._flat()
            else:
                yield layer

    def _number(self, number: int, total: int) -> int:
        """Name the layers and their outputs after their number; a single layer goes without."""
        steps: list[tuple[Any, str | None]] = []  # each layer, and the name of what comes out of it
        for layer in self.layers:
            output = None
            if _is_plain(layer):
                number = layer._number(number, total)
            else:
                if isinstance(layer, Module) and _has_parameters(layer):
                    number += 1
                    layer.name = f"layer{number}"
                    if isinstance(layer, Linear):
                        layer.input_name = f"A{number - 1}" if number > 1 else "X"
                if number:
                    output = ("Z" if isinstance(layer, Linear) else "A") + (str(number) if total > 1 else "")
            steps.append((layer, output))
        object.__setattr__(self, "_steps", steps)
        self._name_parameters()
        return number

    def _paths(self) -> Iterator[tuple[str, Parameter]]:
        layers = [layer for layer in self._flat() if _has_parameters(layer)]
        for number, layer in enumerate(layers, 1):
            for path, p in layer._paths():
                if len(layers) == 1:
                    yield path, p
                else:
                    nested = "." in path or isinstance(layer, Sequential)
                    yield (f"{number}.{path}" if nested else f"{path}{number}"), p
        for name, member in self._others():
            yield from _paths_of(name, member)

    def __call__(self, x: Any) -> Any:
        """Apply the layers in order, and name what comes out of each."""
        for layer, output in self._steps:
            x = layer(x)
            if output is not None and isinstance(x, Tensor):
                x.name = output
        return x


def _is_plain(layer: Any) -> TypeGuard[Sequential]:
    """Whether a layer is a Sequential of layers alone, which can stand for themselves."""
    return isinstance(layer, Sequential) and not any(True for _ in layer._others())


def _has_parameters(layer: Any) -> bool:
    return isinstance(layer, Module) and any(True for _ in layer._paths())


@contextmanager
def evaluating(model: Module) -> Iterator[None]:
    """Without a graph and without dropout, for a while; each module then returns to the mode that it was in."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training


class Classifier(Sequential):
    """A `Sequential` whose output is the logit Z (or, with a last `Sigmoid` or `Softmax`, the probability A).

    One output row stands for two classes, several for one class each.
    """

    def predict_proba(self, X: Any) -> Array:
        """The probabilities ``A`` of the notes.

        Parameters
        ----------
        X : array, shape (n_x, m)

        Returns
        -------
        array, shape (n_y, m)
            A plain array, computed without a graph and in evaluation mode.
        """
        *_, last = self._flat()
        with evaluating(self):
            Z = self(X)
            if not isinstance(last, (Sigmoid, Softmax)) and last not in (ops.sigmoid, ops.softmax):
                Z = ops.sigmoid(Z) if Z.shape[0] == 1 else ops.softmax(Z, axis=0)
        return values(Z)

    def predict(self, X: Any) -> Array:
        """The class of each example: 1 where ``A > 0.5`` for one output, the row of the largest A for several.

        Parameters
        ----------
        X : array, shape (n_x, m)

        Returns
        -------
        array of int, shape (1, m)
        """
        A = self.predict_proba(X)
        return (A > 0.5).astype(int) if A.shape[0] == 1 else np.argmax(A, axis=0)[None, :]


class LogisticRegression(Classifier):
    """Logistic regression, ``A = sigmoid(W X + b)``: one `Linear` layer that starts at zero; ``model(X)`` is Z.

    Parameters
    ----------
    n_x : int
        Number of features: W is ``(1, n_x)``, b is ``(1, 1)``.
    dtype : dtype, default float64
        Of W and b.

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
        Of the parameters.

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
    ) -> None:
        rng = None if rng is None else generator(rng, "TwoLayerNetwork")  # one stream for both layers
        super().__init__(
            Linear(n_x, n_h, rng=rng, init=init, dtype=dtype),
            Tanh() if activation is None else activation,
            Linear(n_h, n_y, rng=rng, init=init, dtype=dtype),
        )
