"""What a recorded step depends on besides its arrays, and whether any of it has changed since."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from operator import attrgetter
from types import FunctionType, MethodType
from typing import Any

import numpy as np

from tinygrad_dls.nn import Module
from tinygrad_dls.optim import Optimizer

__all__ = ["Guard", "around", "unchanged"]

_NO_HYPERPARAMETER = {"parameters", "lr", "steps", "_state"}
_PACKAGE = __name__.split(".")[0] + "."
_NUMBERS = (int, float, str, np.generic, type(None))


class Guard:
    """A model, a loss and an optimizer as they are now.

    Noted are the attributes of every module (its layers, its parameters, train or eval, and numbers of the user's own),
    which parameters require a gradient, the numbers that the loss and the modules' own code take from around them, and
    the optimizer's hyperparameters but for the learning rate, which is an argument of the step.
    """

    def __init__(self, model: Module, loss: Callable[..., Any], optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        self.attributes = [(vars(module), _copied(vars(module))) for module in model.modules()]
        self.depths = [(p, p._depth) for p in model.parameters()]
        names = [name for name in vars(optimizer) if name not in _NO_HYPERPARAMETER]
        self.hyperparameters: Callable[[Any], Any] = attrgetter(*names) if names else type
        self.numbers = self.hyperparameters(optimizer)
        functions = [loss, *(type(module).__call__ for module in model.modules())]
        self.around = list(dict.fromkeys(x for f in functions for x in around(f)))

    def holds(self) -> bool:
        """Whether all of it is as it was."""
        try:
            for now, before in self.attributes:
                if now != before:
                    return False
        except ValueError:  # arrays, or parameters, that were replaced and are compared entry by entry
            return False
        for p, depth in self.depths:
            if p._depth != depth:
                return False
        if self.around and not unchanged(self.around):
            return False
        return bool(self.hyperparameters(self.optimizer) == self.numbers)


def _copied(attributes: dict[str, Any]) -> dict[str, Any]:
    """The attributes, with lists and dicts of their own: layers may be added to a list."""
    return {name: x.copy() if isinstance(x, (list, dict)) else x for name, x in attributes.items()}


class _Where:
    """A namespace or a cell, compared by identity."""

    __slots__ = ("place",)

    def __init__(self, place: Any) -> None:
        self.place = place

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Where) and other.place is self.place

    def __hash__(self) -> int:
        return id(self.place)


def _look(where: _Where, name: str) -> Any:
    if name:
        return where.place.get(name)
    try:
        return where.place.cell_contents
    except ValueError:
        return None


def around(function: Any) -> Iterator[tuple[_Where, str, Any]]:
    """The numbers that a function of the user's takes from its module, and from a function around it."""
    while isinstance(function, (MethodType, partial)):
        function = function.__func__ if isinstance(function, MethodType) else function.func
    if not isinstance(function, FunctionType) or str(function.__module__).startswith(_PACKAGE):
        return
    for cell in function.__closure__ or ():
        where = _Where(cell)
        if isinstance(value := _look(where, ""), _NUMBERS):
            yield where, "", value
    for name in function.__code__.co_names:
        if isinstance(value := function.__globals__.get(name), _NUMBERS) and value is not None:
            yield _Where(function.__globals__), name, value


def unchanged(numbers: Any) -> bool:
    """Whether numbers that `around` found are what they were."""
    return all(_look(where, name) == value for where, name, value in numbers)
