"""Where numbers go wrong: the first op that makes a NaN or an infinity, and the line of your code that called it.

Every op that is recorded for a backward pass is shown to an observer (see `tinygrad_dls.engine.autodiff`). Here the
observer looks at its value, and puts a look at every gradient into its vjps: at what they make, and at the sum that
they are given where several vjps led to it. So a graph of the block is looked at wherever `backward` runs, and one
that was recorded outside it is not, but for what `backward` in the block leaves in the leaves.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

import numpy as np

from tinygrad_dls.engine.arrays import Array, unbroadcast
from tinygrad_dls.engine.devices import to_host
from tinygrad_dls.engine.errors import role
from tinygrad_dls.engine.recording import recording
from tinygrad_dls.engine.switches import Switch, left, set_to
from tinygrad_dls.engine.tensor import Tensor, values
from tinygrad_dls.graph import call_site

__all__ = ["AnomalyError", "detect_anomaly"]


class AnomalyError(ArithmeticError):
    """A NaN or an infinity, found by `detect_anomaly`."""


class detect_anomaly(Switch):  # noqa: N801  # used as a function
    """Raise at the first NaN or infinity that an op makes, in the forward or in the backward pass.

    Looks at every value that is recorded, so it costs a pass over each. Under `no_grad` nothing is recorded, and
    nothing is looked at. Put the forward and the backward pass into the block: where only the backward pass goes wrong,
    it is still the forward pass that says which op and which line. NumPy's warnings of the same are silenced.
    It decorates too; of a generator or a coroutine, it looks at what their own code computes.

    Raises
    ------
    AnomalyError
        Naming the op, the layer, the input, and the line of the forward code, outside this package, that called it.

    Examples
    --------
    >>> import numpy as np, tinygrad_dls as tg
    >>> x = tg.Tensor([0.0, 4.0], requires_grad=True, name="x")
    >>> with tg.detect_anomaly():
    ...     J = np.sum(np.sqrt(x))
    ...     J.backward()
    Traceback (most recent call last):
    tinygrad_dls.check.anomaly.AnomalyError: the backward pass of sqrt made an infinity (1 of 2 entries, first at ...
      its forward pass: <doctest tinygrad_dls.check.anomaly.detect_anomaly[2]>:2: J = np.sum(np.sqrt(x))
      x (2,): finite, from 0 to 4, and 0 there
      the gradient that came in: finite
    """

    __slots__ = ()

    def __enter__(self) -> None:
        block = _looked_at()
        block.__enter__()
        _blocks.set((*_blocks.get(), block))

    def __exit__(self, *error: Any) -> None:
        left("detect_anomaly", _blocks).__exit__(*error)


# The blocks to leave, the innermost last; each thread and each task has its own.
_blocks: ContextVar[tuple[AbstractContextManager[None], ...]] = ContextVar("tinygrad_dls_anomalies", default=())


@contextmanager
def _looked_at() -> Iterator[None]:
    if not recording.get():
        yield
        return
    # The error says more than NumPy's warning of the same.
    with set_to(recording, partial(_watch, {}, {})), np.errstate(all="ignore"):
        yield


def _watch(arrived: dict[Tensor, int], sums: dict[Tensor, tuple[Any, Any]], node: Tensor) -> None:
    """Look at what an op computed, and make its vjps look at theirs, and at what they are given.

    In a backward pass, `arrived` counts the gradients that came to a node until its own turn; `sums` holds the gradient
    that a leaf had before, and the sum of those that came.
    """
    origin = node._origin
    if origin.op is None:  # a leaf, whose gradient is complete
        before, came = sums.pop(node, (None, 0))
        if (where := _first(node.grad)) is not None:
            raise AnomalyError(_leaf_text(node, where, before, came))
        return
    place = _Place(origin.op.__name__, node)
    where = _first(node._value)
    if where is not None:
        raise AnomalyError(_forward_text(node, where, place))

    def looking(i: int, vjp: Any) -> Any:
        x = origin.inputs[i]

        def look(dz: Array) -> Array:
            count = arrived.pop(node, 0)  # at the first of the node's vjps; the sum is the same for the others
            if count > 1 and (where := _first(dz)) is not None:
                raise AnomalyError(_sum_text(node, count, dz, where, place))
            dx = vjp(dz)
            if getattr(dx, "shape", x.shape) != x.shape:
                dx = unbroadcast(dx, x.shape, origin.op)  # as backward would, but that sum may overflow
            where = _first(dx)
            if where is not None:
                raise AnomalyError(_backward_text(node, i, dz, dx, where, place))
            if x.op is not None:
                arrived[x] = arrived.get(x, 0) + 1
            elif hasattr(dx, "shape"):
                before, came = sums.get(x, (x.grad, 0))
                sums[x] = before, came + values(dx)
            return dx

        return look if vjp is not None else None

    node._origin = origin._replace(vjps=tuple(looking(i, vjp) for i, vjp in enumerate(origin.vjps)))


# -- what is wrong ----------------------------------------------------------------------------------------------------


def _first(x: Any) -> tuple[int, ...] | None:
    """The index of the first NaN or infinity."""
    x = values(x)
    try:
        bad = ~np.isfinite(x)
    except TypeError:  # symbols
        return None
    return tuple(int(i) for i in np.argwhere(bad)[0]) if np.any(bad) else None


def _kind(x: Any, where: tuple[int, ...]) -> str:
    """What was made, how often, and where: ``a NaN (1 of 6 entries, first at [0, 2])``."""
    x = values(x)
    bad = int(np.sum(~np.isfinite(x)))
    what = "a NaN" if np.isnan(x[where]) else "an infinity"
    return f"{what} ({bad} of {np.size(x)} entries, first at {list(where)})" if where else what


def _repeats(node: Tensor, name: str | None) -> bool:
    return any(isinstance(x, Tensor) and x.name == name for x in node.inputs) if name else False


def _role(node: Tensor, position: int, place: _Place) -> str:
    """The name of an input, or its place; its place too if the output has that name."""
    name = role(node.inputs[position - 1], position)
    if name not in (node.name, place.output):
        return name
    return f"the input of {place.op}" if len(node.inputs) == 1 else f"argument {position} of {place.op}"


def _inputs(node: Tensor, place: _Place, like: Any, where: tuple[int, ...]) -> list[str]:
    """One line for each input of an op: its role and shape, its range or what is not finite in it, its entry there."""
    lines = []
    for position, x in enumerate(node.inputs, 1):
        array = values(x)
        if not hasattr(array, "dtype") or array.dtype.kind not in "fiub" or not array.size:
            continue
        bad = _first(array)
        text = f"holds {_kind(array, bad)}" if bad is not None else f"finite, from {array.min():g} to {array.max():g}"
        if array.shape == np.shape(values(like)):
            text += f", and {array[where]:g} there"
        lines.append(f"  {_role(node, position, place)} {array.shape}: {text}")
    return lines


def _forward_text(node: Tensor, where: tuple[int, ...], place: _Place) -> str:
    given = [_role(node, i, place) for i, x in enumerate(node.inputs, 1) if _first(x) is not None]
    source = f", which was in {' and '.join(given)} before" if given else ""
    text = f"{place.op} {'gave' if given else 'made'} {_kind(node._value, where)}{source}."
    return "\n".join([text, *place.lines(), *_inputs(node, place, node._value, where)])


def _backward_text(node: Tensor, i: int, dz: Array, dx: Array, where: tuple[int, ...], place: _Place) -> str:
    x = node.inputs[i]
    what = _role(node, i + 1, place)
    of = f"d{what}" if x.name == what else f"the gradient of {what}"
    text = f"the backward pass of {place.op} made {_kind(dx, where)} in {of}."
    came_in = _first(dz)
    came = "finite" if came_in is None else f"it holds {_kind(dz, came_in)}"
    z = f", d{node.name}" if node.name and not _repeats(node, node.name) else ""
    came = f"  the gradient that came in{z}: {came}"
    return "\n".join([text, *place.lines("its forward pass: "), *_inputs(node, place, dx, where), came])


def _sum_text(node: Tensor, count: int, dz: Array, where: tuple[int, ...], place: _Place) -> str:
    of, z = f"d{node.name}", node.name
    if not z or _repeats(node, z):
        of, z = f"the gradient of the output of {place.op}", "it"
    text = f"{of} became {_kind(dz, where)} as the sum of the gradients from {count} uses, each of them finite."
    return "\n".join([text, *place.lines(f"{z} was computed here: ")])


def _leaf_text(leaf: Tensor, where: tuple[int, ...], before: Any, came: Any) -> str:
    """`before` is the gradient from earlier calls, `came` the sum of the gradients that were looked at."""
    of = f"{leaf.name}.grad" if leaf.name else f"the gradient of a leaf {leaf.shape}"
    total = to_host(values(came)).astype(leaf.dtype) + (0 if before is None else to_host(values(before)))
    if _first(before) is not None or _first(total) is None:
        return (
            f"{of} became {_kind(leaf.grad, where)}; the forward pass, or an earlier backward, did not run in this "
            "block of detect_anomaly(): run it inside to see the op."
        )
    return (
        f"{of} became {_kind(leaf.grad, where)} as a sum, of several uses or several calls of backward, or as "
        f"{leaf.dtype}; each gradient was finite. Set it to None between calls, or scale the cost."
    )


# -- where it is ------------------------------------------------------------------------------------------------------


class _Place:
    """Where an op was called: the line of the user's code, and the layer if there is one."""

    __slots__ = ("layer", "line", "op", "output")

    def __init__(self, op: str, node: Tensor) -> None:
        file, number, text, layer, output = call_site.find_call_site()
        self.op, self.output = op, output
        self.line = f"{file}:{number}: {text}".rstrip(": ") if file else ""
        self.layer = f"{layer}, whose output is {output}" if output and not _repeats(node, output) else layer

    def lines(self, before: str = "") -> list[str]:
        return [f"  {before}{self.line}"] * bool(self.line) + [f"  in {self.layer}"] * bool(self.layer)
