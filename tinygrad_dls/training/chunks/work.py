"""What runs where the chunks are: the cost and the gradients of one chunk, by our own engine or by a compiled step.

A model is no thread's own, so each task works on a copy; the copies are kept, and what differs from step to step, the
parameters above all, is sent with it. Nothing here knows of schedulers.
"""

from __future__ import annotations

import io
import pickle
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import FunctionType
from typing import Any, NamedTuple

import cloudpickle
import numpy as np

from tinygrad_dls.engine.arrays import HALF, Array, as_array
from tinygrad_dls.engine.autodiff import op
from tinygrad_dls.engine.tensor import implementations, values
from tinygrad_dls.nn.evaluation import evaluated
from tinygrad_dls.nn.layers import Dropout
from tinygrad_dls.nn.module import Module, Parameter
from tinygrad_dls.nn.regularisation import counted_as
from tinygrad_dls.optim import SGD
from tinygrad_dls.training.steps import Steps, steps_of, with_weights
from tinygrad_dls.training.weights import class_of_each

__all__ = [
    "Block", "Copy", "Part", "State", "Work", "alone", "counted", "drops", "dumped", "measure", "state_of", "step",
    "total",
]  # fmt: skip


class Block(NamedTuple):
    """The arrays of a chunk, as the loss takes them."""

    X: Array
    Y: Array
    w: Array | None


@dataclass(frozen=True)
class State:
    """What of a model changes from step to step; no tuple, which dask would look into.

    Attributes
    ----------
    values : list of array
        Of its parameters, in their order.
    trained : list of bool
        Whether each requires a gradient.
    kept : list of array
        Running statistics.
    """

    values: list[Array]
    trained: list[bool]
    kept: list[Array]


class Part(NamedTuple):
    """A part of the cost, of its gradients, and what modules keep, if the part moves it."""

    cost: float
    gradients: list[Array | None]
    kept: list[Array] | None


def state_of(model: Module) -> State:
    """The state of a model as it is."""
    parameters = model.parameters()
    return State(
        [p._value for p in parameters],
        [p.requires_grad for p in parameters],
        list(model._kept_arrays().values()),
    )


def drops(model: Module) -> list[Dropout]:
    """The layers of a model that draw masks."""
    return [layer for layer in model.modules() if isinstance(layer, Dropout) and layer.keep_prob < 1]


# -- a model that travels ---------------------------------------------------------------------------------------------


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle has no types
    """Leaves out what travels with each step: parameters, running statistics, and generators of masks."""

    def __init__(self, file: Any, model: Module) -> None:
        super().__init__(file)
        left_out = [*model.parameters(), *model._kept_arrays().values()]
        self._places = {id(x): i for i, x in enumerate(left_out)}
        self._generators = {id(layer.rng) for layer in drops(model)}

    def persistent_id(self, x: Any) -> Any:
        if id(x) in self._places:
            i = self._places[id(x)]
            return "parameter" if isinstance(x, Parameter) else "kept", i, x.shape, str(x.dtype), _name_of(x)
        return ("generator",) if id(x) in self._generators else None

    def reducer_override(self, x: Any) -> Any:
        """Ops of the user's own, which are no functions of an importable module, as their rules."""
        rule = getattr(x, "rule", None) if isinstance(x, FunctionType) else None
        if rule is None or _is_importable(x):
            return super().reducer_override(x)
        functions = [f for f, made in implementations.items() if made is x]
        return _op_again, (rule, functions, {name: vars(x)[name] for name in vars(x).keys() - {"rule", "__wrapped__"}})


def _is_importable(function: Any) -> bool:
    """Whether a function is found by its name in a module, which each process can import."""
    name = function.__module__
    return name != "__main__" and getattr(sys.modules.get(name), function.__qualname__, None) is function


def _op_again(rule: Any, functions: list[Any], attributes: dict[str, Any]) -> Any:
    """An op of a rule, which NumPy functions mean where they have no other meaning yet."""
    made = op(*[f for f in functions if f not in implementations])(rule)
    vars(made).update(attributes)
    return made


def _name_of(x: Any) -> str | None:
    return x.name if isinstance(x, Parameter) else None


class _Unpickler(pickle.Unpickler):
    """Puts empty ones in the place of what was left out."""

    def __init__(self, file: Any) -> None:
        super().__init__(file)
        self._made: dict[int, Any] = {}

    def persistent_load(self, found: Any) -> Any:
        kind, *rest = found
        if kind == "generator":
            return np.random.default_rng(0)
        i, shape, dtype, name = rest
        if i not in self._made:
            x = np.zeros(shape, dtype)
            self._made[i] = Parameter(x, name=name) if kind == "parameter" else x
        return self._made[i]


def dumped(model: Module, *others: Any) -> bytes:
    """A model and what goes with it, as bytes; what all of them know is one thing in the copy, too."""
    return alone(model, (model, *others))


def alone(model: Module, x: Any) -> bytes:
    """Something that may know a model, as bytes, without what of the model travels with each step."""
    file = io.BytesIO()
    _Pickler(file, model).dump(x)
    return file.getvalue()


@dataclass
class Work:
    """A model, a loss, and how they are trained: the same for all chunks, and sent once.

    Attributes
    ----------
    pickled : bytes
        Of the model, the loss, and options of `tinygrad_dls.compile`.
    dtype : dtype
        That of the parameters.
    compiled : bool
    smooth : function or None
        What smooths labels.
    by_class : (array, array) or None
        Classes, and their weights.
    follows : bool
        Whether a penalty in the loss is over the number of examples that the loss sees.
    """

    pickled: bytes
    dtype: np.dtype[Any]
    compiled: bool = False
    smooth: Callable[[Array], Array] | None = None
    by_class: tuple[Array, Array] | None = None
    follows: bool = False
    _idle: list[Copy] = field(default_factory=list, init=False, repr=False, compare=False)  # of this one alone

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_idle": []}

    @contextmanager
    def copy(self, state: State) -> Iterator[Copy]:
        """A copy of the model for this thread alone, in a state; it is kept for the next one."""
        try:
            copy = self._idle.pop()
        except IndexError:
            copy = Copy(self)
        copy.take(state)
        yield copy
        self._idle.append(copy)  # not after an error, which may have left anything

    def block(self, arrays: Sequence[Array]) -> Block:
        """The arrays of a chunk as they are trained with: weights by classes, smoothed labels."""
        X, Y, weights = self.plain(arrays)
        if self.by_class is not None:
            classes, of_class = self.by_class
            own = of_class[np.searchsorted(classes, class_of_each(Y))][None, :].astype(self.dtype)
            weights = own if weights is None else weights * own
        return Block(X, Y if self.smooth is None else self.smooth(Y), weights)

    def plain(self, arrays: Sequence[Array]) -> Block:
        """The arrays of a chunk in the dtype of the model; class indices stay integers."""
        X, Y, *w = [as_array(x, f"fit: a chunk of {name}") for x, name in zip(arrays, ("X", "Y", "weights"))]  # noqa: B905
        with np.errstate(all="ignore"):
            X = X.astype(self.dtype, copy=False)
            Y = Y.astype(self.dtype, copy=False) if Y.dtype.kind == "f" else Y
        return Block(X, Y, w[0].astype(self.dtype, copy=False) if w else None)


class Copy:
    """A copy of a model and its loss, on which one thread works.

    Attributes
    ----------
    model, loss
    parameters : list of Parameter
    """

    def __init__(self, work: Work) -> None:
        self.model, self.loss, options = _Unpickler(io.BytesIO(work.pickled)).load()
        self.model.train()
        self.parameters: list[Parameter] = self.model.parameters()
        self._compiled = work.compiled
        self._compile: bool | Mapping[str, Any] = options if work.compiled else False
        self._drops = drops(self.model)
        self._optimizer = SGD(self.parameters, lr=1.0)  # of whose steps the gradients are of interest
        self._steps: dict[Any, Steps] = {}

    def take(self, state: State) -> None:
        """Be in a state."""
        for p, value, trained in zip(self.parameters, state.values, state.trained, strict=True):
            p._value, p._grad = value, None
            if p.requires_grad != trained:
                p.requires_grad = trained
        self.model._keep_arrays(state.kept)

    def seed(self, seeds: Sequence[int], number: int) -> None:
        """Draw the masks of a chunk from now on."""
        for layer, seed in zip(self._drops, seeds, strict=True):
            layer.rng = np.random.default_rng([seed, number])

    def step(self, block: Block) -> tuple[float, list[Array | None]]:
        """The cost, and its gradients."""
        kind = block.Y.dtype, block.w is None
        if kind not in self._steps:  # which may hold a compiled step, with its programs
            steps = steps_of(self.model, self.loss, self._optimizer, (block.X, block.Y), block.w, self._compile)
            self._steps[kind] = replace(steps, arrays=())  # a chunk is held by nobody
        X, Y, w = block
        cost = self._steps[kind].take(*with_weights(X, Y, w, self._compiled))
        return cost, [p._grad for p in self.parameters]

    def kept(self) -> list[Array]:
        """What modules keep now."""
        return list(self.model._kept_arrays().values())


# -- the tasks --------------------------------------------------------------------------------------------------------


def counted(follows: bool, part: int, whole: int) -> Any:
    """Within it, penalties over the examples of a part are over those of the whole."""
    return counted_as(lambda m: whole if follows and m == part else m)


def step(work: Work, state: State, source: Any, number: int, share: float, whole: int, seeds: tuple[int, ...]) -> Part:
    """The part of a chunk in the cost and the gradients of a step.

    Parameters
    ----------
    work, state, source
        The model, as it is now, and the chunk.
    number : int
        The chunk's number, by which its masks of dropout are drawn.
    share : float
        How much of the step the chunk is: of its examples, or of their weights.
    whole : int
        The examples of the step.
    seeds : tuple of int
        One for each layer with dropout.
    """
    block = work.block(source.load())
    n = block.X.shape[1]
    with work.copy(state) as copy, np.errstate(all="ignore"), counted(work.follows, n, whole):
        copy.seed(seeds, number)
        cost, gradients = copy.step(block)
        kept = copy.kept()
    moved = any(new is not old for new, old in zip(kept, state.kept, strict=True))
    return Part(cost * share, [None if dw is None else _shared(dw, share) for dw in gradients], kept if moved else None)


def _shared(dw: Array, share: float) -> Array:
    dw = dw.astype(np.float32) if dw.dtype.char == HALF else dw
    return dw if share == 1 else dw * share


def total(parts: Sequence[Part]) -> Part:
    """The sum of parts, in their order."""
    cost = 0.0
    sums: list[Array | None] = [None] * len(parts[0].gradients)
    for part in parts:
        cost += part.cost
        for i, dw in enumerate(part.gradients):
            if dw is not None:
                sums[i] = dw if sums[i] is None else sums[i] + dw
    return Part(cost, sums, parts[0].kept if len(parts) == 1 else None)


def measure(work: Work, state: State, source: Any, whole: int, asked: tuple[str, ...]) -> dict[str, Any]:
    """What a model makes of a chunk in evaluation: its ``"cost"``, and what its methods of these names give."""
    block = work.plain(source.load())
    found: dict[str, Any] = {}
    with work.copy(state) as copy, np.errstate(all="ignore"), counted(work.follows, block.X.shape[1], whole):
        for name in asked:
            if name == "cost":
                found[name] = evaluated(lambda: float(values(copy.loss(copy.model(block.X), block.Y))))
            elif name == "Y":
                found[name] = block.Y
            else:
                found[name] = as_array(values(evaluated(getattr(copy.model, name), block.X)), name)
    return found
