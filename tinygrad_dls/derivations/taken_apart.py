"""A fused loss, taken apart into the form that it is declared to be composed of (see `tinygrad_dls.fused_loss`).

Nothing is shown before algebra has proved that the two have one cost and one gradient. Then the composed form is
recorded, with the names of the derivation around it, and the rest is as of any cost that is written out.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np

from tinygrad_dls.engine import ops
from tinygrad_dls.engine.arrays import Array
from tinygrad_dls.engine.errors import shown
from tinygrad_dls.engine.tensor import Tensor
from tinygrad_dls.graph.node import Node
from tinygrad_dls.graph.reading import ACTIVATIONS
from tinygrad_dls.ir.program import Program, program_of_composed
from tinygrad_dls.nn.fused import Loss, loss_of
from tinygrad_dls.symbolic.arrays import SymbolicArray, symbols
from tinygrad_dls.symbolic.equality import same

__all__ = ["composed_program", "is_cross_entropy_of_softmax", "obstacle"]

CLASSES = 3  # rows of the largest cost that is compared: of more, the formulas say nothing else


@functools.lru_cache(maxsize=64)
def obstacle(op: Any, rows: int) -> str:
    """Why it is not known whether a loss is what it is declared to be composed of; nothing if it is.

    Raises
    ------
    ValueError
        If it is not.
    """
    said = loss_of(op)
    assert said is not None
    what = f"whether {op.__name__} is {_called(said)}, as it says, cannot be told"
    for m in (1, 2):
        try:
            fused, composed = (_by_symbols(f, said, min(rows, CLASSES), m) for f in (op, said.composed))
            equal = [same(x, y) for x, y in zip(fused, composed, strict=True)]
        except (TypeError, ValueError, AttributeError, IndexError) as error:  # no formula, or none that is decided
            return f"{what}: {error}"
        if not all(equal):
            raise ValueError(_difference(op, said, rows, fused, composed, equal))
    return ""


def _by_symbols(loss: Any, said: Loss, rows: int, m: int) -> tuple[Any, Any]:
    """The cost and its gradient, as formulas."""
    Z = Tensor(symbols(said.takes.lower(), (rows, m)), requires_grad=True)
    J = loss(Z, _labels(said, rows, m), *_weights(said, m))
    if not isinstance(J, Tensor) or J.shape != ():
        raise ValueError(f"it gives no cost, a Tensor of a single number, but {shown(J)}.")
    J.backward()
    return J.data, Z.grad


def _labels(said: Loss, rows: int, m: int) -> SymbolicArray:
    """Labels of any values that the loss takes: such that sum to 1, where it refuses others."""
    y = symbols("y", (rows, m))
    if rows > 1 and _must_sum_to_one(said, rows):
        y = y.substitute({y[rows - 1 :]: 1 - y[: rows - 1].sum(axis=0, keepdims=True)})
    return y


def _weights(said: Loss, m: int) -> list[SymbolicArray]:
    """The weights of m examples, of a loss that takes such."""
    return [symbols("w", (1, m), positive=True)] if said.weighted else []


def _must_sum_to_one(said: Loss, rows: int) -> bool:
    column = np.full((rows, 1), 1 / rows)
    return not said.labels(column) and bool(said.labels(column / 2))


def _called(said: Loss) -> str:
    name = str(getattr(said.composed, "__name__", "<lambda>")).lstrip("_")
    return "its composed form" if name == "<lambda>" else f"its composed form {name}"


def _difference(op: Any, said: Loss, rows: int, fused: Any, composed: Any, equal: list[bool]) -> str:
    """That the two are not the same, and in what."""
    i = equal.index(False)
    what = ("cost", f"gradient d{said.takes}")[i]
    one, other = (str(x[i]) for x in (fused, composed))
    how = f": {one} by its rule, {other} by the form" if len(one) + len(other) < 400 else ""
    hint = ""
    if rows > 1 and not _must_sum_to_one(said, rows):
        hint = " If labels are the probabilities of classes, say so: labels=tg.nn.labels.check_columns."
    return f"{op.__name__} is not {_called(said)}: they differ in the {what}{how}. Correct one of the two.{hint}"


def composed_program(step: Program, root: Node) -> Program | None:
    """The composed form of a cost of a program, recorded; None where its arguments are no arrays.

    Raises
    ------
    RecordingError, TypeError, ValueError
        If it cannot be recorded.
    """
    arguments = [x for x in root.inputs if isinstance(x, Node)]
    if len(arguments) != len(root.inputs):
        return None
    Z = arguments[0]
    held = {name for name, _ in step.forward} - {node.identifier for node in step.nodes}
    name = "A" + Z.identifier[1:] if Z.identifier.startswith("Z") else "A"
    name = name if name in held else step.names.free(name)

    def composed(z: Any, *others: Any) -> Any:
        assert root.loss is not None
        assert root.loss.composed is not None
        J = root.loss.composed(z, *others)
        for x in _over(J, z):
            if x.name is None and getattr(x.op, "__name__", "") in ACTIVATIONS:
                x.name = name  # as it is called where the cost holds it within
        return J

    others = [node.identifier for node in step.nodes if node not in (*arguments, root)]
    with np.errstate(all="ignore"):
        return program_of_composed(composed, arguments, step, others)


def _over(J: Any, z: Tensor) -> Iterator[Tensor]:
    """The Tensors on the way to a cost that are computed from this one at once."""
    waiting, seen = [J], set()
    while waiting:
        x = waiting.pop()
        if isinstance(x, Tensor) and x not in seen:
            seen.add(x)
            waiting += x.inputs
            if any(y is z for y in x.inputs):
                yield x


@functools.lru_cache(maxsize=64)
def is_cross_entropy_of_softmax(composed: Any, labels: Any, weighted: bool = False) -> bool:
    """Whether a form is a softmax and the cross-entropy of its result, each step of it, for three classes."""
    said = Loss("Z", labels, composed, weighted=weighted)
    z, y = symbols("z", (CLASSES, 1)), _labels(said, CLASSES, 1)
    Z = Tensor(z, requires_grad=True)
    J = composed(Z, y, *_weights(said, 1))
    A = next((x for x in _over(J, Z) if x.op is ops.softmax), None)
    if A is None:
        return False
    J.backward()
    a = A.data
    steps = [(J.data, -np.sum(y * np.log(a))), (A.grad, -y / a), (Z.grad, a - y)]
    steps += [
        (_through_softmax(z, unit), a[k : k + 1] * (unit - a)) for k, unit in enumerate(np.eye(CLASSES)[:, :, None])
    ]
    try:
        return all(same(x, right) for x, right in steps)
    except ValueError:  # undecided
        return False


def _through_softmax(z: Any, da: Array) -> Any:
    Z = Tensor(z, requires_grad=True)
    ops.softmax(Z, 0).backward(SymbolicArray(da))
    return Z.grad
