"""The view of a Tensor: what it is, what made it, its numbers, and its gradient."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tinygrad_dls.engine.devices import on_device, to_host
from tinygrad_dls.engine.errors import shown
from tinygrad_dls.engine.tensor import Tensor
from tinygrad_dls.views import markup

__all__ = ["view"]

WHOLE = 60  # entries that are shown all
ENDS = 3  # of a longer axis, at its beginning and its end
INPUTS = 4


def view(x: Tensor) -> str:
    """A Tensor without its graph: nothing is computed for it, and no array is handed out."""
    title = f"{type(x).__name__} {x.name}" if x.name else type(x).__name__
    blocks = [markup.facts(_facts(x)), markup.code(_numbers(x._value))]
    if x._grad is not None:
        blocks += markup.lines(["gradient"]), markup.code(_numbers(x._grad))
    return markup.view(title, *blocks)


def _facts(x: Tensor) -> Iterator[tuple[str, str]]:
    yield "shape", str(x.shape)
    yield "dtype", str(x.dtype)
    if type(x._value) is not np.ndarray and not isinstance(x._value, np.generic):
        yield "holds", _kind(type(x._value))
    if x.op is not None:
        names = ", ".join(map(_input, x.inputs[:INPUTS])) + (", ..." if len(x.inputs) > INPUTS else "")
        yield "made by", f"{x.op.__name__} of {names}"
    yield "gradient", _of_gradient(x)


def _input(x: Any) -> str:
    """What an op was given: its name, or else what it is."""
    if isinstance(x, Tensor):
        return x.name or f"a Tensor {x.shape}"
    shape = getattr(x, "shape", ())
    return f"an array {shape}" if shape else shown(x)


def _kind(of: type) -> str:
    """What kind of array it is, with the package that it comes from, if that is another one."""
    package = of.__module__.partition(".")[0]
    return of.__name__ if package == __package__.partition(".")[0] else f"{package} {of.__name__}"


def _of_gradient(x: Tensor) -> str:
    if x._grad is not None:
        return f"computed, {x._grad.shape}"
    return "wanted, not computed yet" if x.requires_grad else "none: a constant"


def _numbers(x: Any) -> str:
    """The entries of an array, the first and the last of a large one; an array of another kind says itself."""
    x = to_host(x) if on_device(x) else x
    if isinstance(x, Tensor) or not hasattr(x, "__array_interface__"):
        return str(x)
    return np.array2string(np.asarray(x), separator=", ", threshold=WHOLE, edgeitems=ENDS, max_line_width=90)
