"""From what a person wants to see, a Tensor or a model with an input, to the nodes of its graph.

A model is run once for it, as a copy, so that neither it nor a later run of it is changed. What cannot be drawn is
refused here, with the likely mistake.
"""

from __future__ import annotations

import copy
import inspect
import re
from typing import Any

import numpy as np

from tinygrad_dls.engine.errors import shown
from tinygrad_dls.engine.tensor import Tensor
from tinygrad_dls.graph.node import Node
from tinygrad_dls.graph.reading import read, trace
from tinygrad_dls.ir.program import refuse_what_does_not_fit
from tinygrad_dls.nn.module import Module
from tinygrad_dls.nn.substitution import with_parameters

__all__ = ["is_shape", "nodes_of"]


def nodes_of(target: Any, inputs: tuple[Any, ...], loss: Any) -> list[Node]:
    """The nodes of the graph behind a Tensor, or of a run of a model."""
    refuse_what_does_not_fit(target, inputs, loss, "draw")
    if isinstance(target, Tensor):
        return _read(target)
    if isinstance(target, Module):
        return _run(target, inputs, loss)
    raise _no_target(target)


def _read(target: Tensor) -> list[Node]:
    """The nodes behind a Tensor."""
    if target.op is None:
        raise ValueError(
            f"draw: {target.name or 'this Tensor'} has no graph: no op computed it from a Tensor that requires a "
            "gradient. Draw what was computed from it, such as the cost J; was that under no_grad(), or from .data?"
        )
    return read(target)


def _no_target(target: Any) -> TypeError:
    kind = f"the class {target.__name__}" if isinstance(target, type) else shown(target)
    hint = ""
    if isinstance(target, type) and issubclass(target, Module):
        hint = f" Make one first, as in {target.__name__}(...)."
    elif callable(target):
        hint = " Call the function, and draw what it returns."
    elif hasattr(target, "shape"):
        kind = f"an array of shape {tuple(target.shape)}"
        hint = " Only a Tensor remembers how it was computed."
    return TypeError(
        "draw: expected a Tensor, such as the cost J, or a model with its input, as in draw(model, X); "
        f"got {kind}.{hint}"
    )


def is_shape(x: Any) -> bool:
    """Whether an input of a model is a shape to make data of, such as ``(2, 400)``."""
    return isinstance(x, tuple) and all(isinstance(n, (int, np.integer)) and not isinstance(n, bool) for n in x)


def _run(model: Module, inputs: tuple[Any, ...], loss: Any) -> list[Node]:
    """The nodes of a run of a model, which leaves the model as it was."""
    kind = type(model).__name__
    if not inputs:
        raise TypeError(
            f"draw: a model is drawn with an input, or with its shape: draw(model, X) or draw(model, (2, 400)). "
            f"Got {kind} alone."
        )
    twin = _twin(model)
    given = [_made_up(x, model, position) if is_shape(x) else x for position, x in enumerate(inputs, 1)]
    if loss is not None and is_shape(inputs[-1]):
        given[-1] = _labels(inputs[-1])
    data = given[:-1] if loss is not None else given
    try:
        inspect.signature(twin.__call__).bind(*data)
    except TypeError as error:
        hint = " To draw the cost too, pass loss= as well: draw(model, X, Y, loss=...)." if loss is None else ""
        raise TypeError(f"draw: {kind} does not take {len(data)} inputs: {error}.{hint}") from error
    with trace() as made_in, np.errstate(all="ignore" if any(map(is_shape, inputs)) else "warn"):
        output = twin(*data)
        if loss is not None:
            output = loss(output, given[-1])
    if not isinstance(output, Tensor):
        what = "the loss" if loss is not None else kind
        raise TypeError(
            f"draw: {what} returned {shown(output)}, not a Tensor. A picture ends in one: "
            "call the model yourself, and draw the Tensor that you mean."
        )
    if output.op is None:
        raise ValueError(
            f"draw: no gradient flows through {kind}: it has no parameter that requires one, or runs under no_grad()."
        )
    nodes = read(output, made_in)
    for node in nodes:  # an array that a module made, such as the mask of dropout, stands with what it is used for
        for x in node.inputs:
            if isinstance(x, Node) and re.fullmatch(r"[CD]\d*", x.name) and not any(x.x is array for array in given):
                x.modules = x.modules or node.modules
    return nodes


def _twin(model: Module) -> Module:
    """A copy that shares the parameters, and draws the same random numbers without taking them from the model."""
    twin = with_parameters(model, {})
    memo: dict[int, Any] = {}
    for module in twin.modules():
        for attribute, x in vars(module).items():
            if isinstance(x, (np.random.Generator, np.random.RandomState)):
                object.__setattr__(module, attribute, copy.deepcopy(x, memo))
    return twin


def _made_up(shape: tuple[int, ...], model: Module, position: int) -> np.ndarray[Any, Any]:
    """Zeros in the place of data."""
    if not shape or min(shape) < 1:
        raise ValueError(
            f"draw: input {position} is the tuple {shape}, which is no shape such as (n_x, m) = (2, 400). "
            "Pass numbers as an array."
        )
    dtype = next((p.dtype for p in model.parameters() if p.dtype.kind == "f"), np.dtype(float))
    return np.zeros(shape, dtype)


def _labels(shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """Labels that every loss takes: all examples of the first class, whether as its index or one-hot."""
    Y = np.zeros(shape, int)
    if len(shape) == 2 and shape[0] > 1:
        Y[0] = 1
    return Y
