"""What a recording takes in beside its arrays: numbers that formulas call by a name, and what modules keep.

A number such as the lambda of an L2 penalty is a number in a program, and one-hot columns are a comparison of class
indices; where formulas are made of it, both are inputs. An array that a module keeps beside its parameters, such as a
running mean, is an input too, and a result where a training step moves it: a recording moves nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_dls.engine.tensor import Tensor
from tinygrad_dls.graph.names import Names
from tinygrad_dls.ir.call import Call, toposort
from tinygrad_dls.ir.size import symbolic
from tinygrad_dls.ir.tracer import Trace, Tracer
from tinygrad_dls.nn.losses import one_hot_as
from tinygrad_dls.nn.normalisation import followed
from tinygrad_dls.nn.regularisation import settings_as

__all__ = ["Buffer", "OneHot", "buffers_as_inputs", "is_of_data", "numbers_as_inputs", "one_hot_as_input"]


@dataclass
class Buffer:
    """An array that a module keeps and a step moves, such as a running mean.

    Attributes
    ----------
    module, attribute
        Where it is kept.
    before : Call
        An input of the program.
    after : Call or None
        What it becomes; None of one that is only read.
    """

    module: Any
    attribute: str
    before: Call
    after: Call | None = None

    @property
    def array(self) -> Any:
        """What it is now."""
        return getattr(self.module, self.attribute)


def numbers_as_inputs(trace: Trace, names: Names, found: list[tuple[Call, Any]]) -> AbstractContextManager[None]:
    """Within the block, numbers that ops call by a name are inputs, noted in `found` with their values."""
    known: dict[tuple[str, float], Any] = {}

    def symbol(name: str, x: float) -> Any:
        if (name, x) not in known:
            call = trace.input(names.free(name), x).call
            call.dtype, call.number = float, x  # a number of Python's, as the learning rate is
            found.append((call, np.asarray(x)))
            known[name, x] = symbolic(x, call)
        return known[name, x]

    return settings_as(symbol)


@dataclass
class OneHot:
    """One-hot columns that are an input of a program.

    Attributes
    ----------
    columns : Call
        The input.
    made : Call
        What they are made by, of the class indices.
    indices : Call
        These, the input that they take the place of.
    """

    columns: Call
    made: Call
    indices: Call


def one_hot_as_input(trace: Trace, found: list[OneHot]) -> AbstractContextManager[None]:
    """Within the block, one-hot columns that a loss makes of labels Y are an input called Y themselves."""

    def named(columns: Any) -> Any:
        inputs = (
            [call for call in toposort([columns.call]) if call.function is None] if isinstance(columns, Tracer) else []
        )
        if len(inputs) != 1:
            return columns
        known = next((x for x in found if x.indices is inputs[0] and x.columns.shape == columns.call.shape), None)
        array = trace.input(inputs[0].name, columns.value)
        if known is not None:
            array.call = known.columns
        else:
            found.append(OneHot(array.call, columns.call, inputs[0]))
        return array

    return one_hot_as(named)


@contextmanager
def buffers_as_inputs(trace: Trace, names: Names, found: list[Buffer]) -> Iterator[None]:
    """Within the block, what modules keep is an input, noted in `found` with what it becomes."""
    known: dict[tuple[int, str], tuple[Buffer, Tracer]] = {}

    def following(module: Any, attribute: str, name: str, moved: Callable[[Any], Any] | None) -> Any:
        key = id(module), attribute
        if key not in known:
            array = trace.input(names.free(name), getattr(module, attribute))
            found.append(Buffer(module, attribute, array.call))
            known[key] = found[-1], array
        buffer, array = known[key]
        if moved is not None:
            array = moved(array)
            buffer.after = array.call
            known[key] = buffer, array
        return array

    with followed(following):
        yield


def is_of_data(x: Any, data: list[Call]) -> bool:
    """Whether a constant of the graph has a name, and is computed of the data, as standardised inputs are."""
    if not isinstance(x, Tensor) or not x.name or not isinstance(x._value, Tracer):
        return False
    call = x._value.call
    return call.function is not None and not set(data).isdisjoint(toposort([call]))
