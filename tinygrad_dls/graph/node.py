"""A place in the graph: an input, a parameter, a constant array, or what an op computed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tinygrad_dls.nn.fused import Loss, loss_of

__all__ = ["Node"]

Path = tuple[str, ...]  # the modules that made a node, the outermost first


@dataclass(eq=False, repr=False)
class Node:
    """A place in the graph: an input, a parameter, a constant array, or what an op computed.

    Attributes
    ----------
    name : str
        In the course's notation, such as ``"W1"``; no two nodes share one.
    kind : str
        ``"parameter"`` (a leaf that requires a gradient), ``"input"`` (an array or a Tensor that does not), ``"value"``
        (computed), or ``"cost"`` (the root, if it is a single number).
    x : Tensor or array
        What stands there.
    op : str
        The name of the op that computed it, empty for a leaf.
    inputs : tuple
        The op's inputs: nodes, and numbers as they are.
    extra : tuple, options : dict
        The op's further arguments, such as an axis, by position and by keyword.
    modules : tuple of str
        The modules that made it, the outermost first, as errors call them: ``("layer1 (Linear 2 -> 4)",)``.
    identifier : str
        The name as code has it. What stands for one and the same input of a recording has the identifier of that.
    """

    name: str
    kind: str
    x: Any
    op: str = ""
    inputs: tuple[Any, ...] = ()
    extra: tuple[Any, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    modules: Path = ()
    identifier: str = ""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of what stands there."""
        return tuple(self.x.shape)

    @property
    def loss(self) -> Loss | None:
        """What the op says of itself, if it is a loss."""
        return loss_of(self.x.op) if self.op else None

    def __repr__(self) -> str:
        inputs = ", ".join(x.name if isinstance(x, Node) else repr(x) for x in self.inputs)
        return f"{self.name} = {self.op}({inputs})" if self.op else f"{self.name}: {self.kind}"
