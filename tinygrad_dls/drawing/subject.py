"""From what a person wants to see, a cost or what computes it, to the nodes of its graph.

A model is run once for it, as a copy, so that neither it nor a later run of it is changed; a function is called once.
In the place of data, a shape will do.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np

from tinygrad_dls.graph.node import Node
from tinygrad_dls.graph.reading import read, trace
from tinygrad_dls.graph.subject import Subject
from tinygrad_dls.nn.substitution import twin_of

__all__ = ["is_shape", "nodes_of"]


def nodes_of(given: Subject) -> list[Node]:
    """The nodes of the graph behind a cost, or of a run of what computes it."""
    if given.cost is not None:
        return read(given.cost)
    return _run(given if given.model is None else replace(given, target=twin_of(given.model)))


def is_shape(x: Any) -> bool:
    """Whether an input is a shape to make data of, such as ``(2, 400)``."""
    return isinstance(x, tuple) and all(isinstance(n, (int, np.integer)) and not isinstance(n, bool) for n in x)


def _run(given: Subject) -> list[Node]:
    """The nodes of a run."""
    data = [_made_up(x, given, i) if is_shape(x) else x for i, x in enumerate(given.inputs)]
    with trace() as made_in, np.errstate(all="ignore" if any(map(is_shape, given.inputs)) else "warn"):
        output = given.run(*data)
    given.refuse_without_graph(output)
    nodes = read(output, made_in)
    for node in nodes:  # an array that a module made, such as the mask of dropout, stands with what it is used for
        for x in node.inputs:
            if isinstance(x, Node) and re.fullmatch(r"[CD]\d*", x.name) and not any(x.x is array for array in data):
                x.modules = x.modules or node.modules
    return nodes


def _made_up(shape: tuple[int, ...], given: Subject, i: int) -> np.ndarray[Any, Any]:
    """What stands in the place of data: zeros; of Y, labels that every loss takes."""
    if not shape or min(shape) < 1:
        raise ValueError(
            f"draw: input {i + 1} is the tuple {shape}, which is no shape such as (n_x, m) = (2, 400). "
            "Pass numbers as an array."
        )
    if given.names[i] == "Y":
        return _labels(shape)
    dtype = next((p.dtype for p in given.parameters if p.dtype.kind == "f"), np.dtype(float))
    return np.zeros(shape, dtype)


def _labels(shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """All examples of the first class, whether as its index or one-hot."""
    Y = np.zeros(shape, int)
    if len(shape) == 2 and shape[0] > 1:
        Y[0] = 1
    return Y
