"""Copies of Tensors, and of the graphs that they came of: what `copy` does with a Tensor.

A vjp is a function that closes over arrays, and Python does not copy what a function closes over. So the vjps of a
copied graph read the arrays of the original, and these are watched for changes in place. If they close over Tensors,
as those of level 2 do, gradients would flow into the original's graph; so there, the op runs again on the copies.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_dls.engine.errors import called
from tinygrad_dls.engine.inplace import watched_of_copy
from tinygrad_dls.engine.recording import recording
from tinygrad_dls.engine.switches import set_to
from tinygrad_dls.engine.tensor import Origin, Tensor, values

__all__: list[str] = []


def _shallow(t: Tensor) -> Tensor:
    """Make a Tensor of the same array, with the same graph."""
    twin = _copied(t, lambda x: x)
    _take_attributes(twin, t, lambda x: x)
    return twin


def _deep(self: Tensor, memo: dict[int, Any]) -> Any:
    """Make a copy with a graph of its own, down to the leaves; without recursion, as graphs are deep."""
    waiting = [self]
    while waiting:
        t = waiting[-1]
        inside = [x for x in (*t.inputs, t._value, t._grad) if isinstance(x, Tensor) and id(x) not in memo]
        if inside:
            waiting += inside
        elif id(waiting.pop()) not in memo:
            memo[id(t)] = twin = _copied(t, lambda x: copy.deepcopy(x, memo))
            if t.op is not None and t._level > 1:  # the vjps close over Tensors of the original's graph
                twin._origin = _again(t, twin.inputs, twin.options)
            elif t.op is not None:  # the vjps close over the original's arrays
                twin._origin = twin._origin._replace(watched=watched_of_copy(t))
            _take_attributes(twin, t, lambda x: copy.deepcopy(x, memo))
    return memo[id(self)]


def _copied(t: Tensor, each: Callable[[Any], Any]) -> Tensor:
    """Make a Tensor with a copy of each slot, as `each` makes it."""
    twin: Tensor = object.__new__(type(t))
    state: Any = object.__getstate__(t)
    for name, x in state[1].items():  # a pair: the attributes, and the slots
        object.__setattr__(twin, name, each(x))
    return twin


def _take_attributes(twin: Tensor, t: Tensor, each: Callable[[Any], Any]) -> None:
    """Copy what a caller's subclass keeps beside the slots; last, as it may lead back to the Tensor."""
    if attributes := getattr(t, "__dict__", None):
        vars(twin).update(each(attributes))


def _again(t: Tensor, inputs: tuple[Any, ...], options: dict[str, Any]) -> Origin:
    """Run the op of a Tensor of Tensors again, on copies of its inputs; return the origin, whose vjps know the copies.

    Raises
    ------
    RuntimeError
        If the op gives other values now.
    """
    op: Any = t.op
    with set_to(recording, True), np.errstate(all="ignore"):  # NumPy has warned the first time
        twin: Tensor = op(*inputs, **options)
    before, after = values(t), values(twin)
    if before.dtype.kind != "O" and not np.all((after == before) | ((after != after) & (before != before))):  # NaN too
        raise RuntimeError(
            f"deepcopy: {called(t.name)} was computed by {op.__name__}, which gives other values now. Does its rule "
            "draw random numbers, or was an array changed in place? Copy t.detach(), or compute it again of copies."
        )
    return twin._origin


Tensor.__copy__ = _shallow  # type: ignore[attr-defined]  # a Tensor has it from here on
Tensor.__deepcopy__ = _deep  # type: ignore[attr-defined]
