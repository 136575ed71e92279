"""The graph behind a Tensor as a list of nodes with the course's names: what pictures, derivations and code read.

The engine's graph is data: a Tensor knows its op, its inputs and its name. `read` puts it in order, inputs first, and
gives a name to what has none, by the part it plays: the first argument of a cost is the prediction, the second ``Y``;
what a layer's linear part multiplies is ``X``; an activation of ``Z1`` is ``A1``. To code, each node has an identifier
too, which no other node has. `trace` also notes which module made which node.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from tinygrad_dls.engine.operands import number_of_inputs
from tinygrad_dls.engine.recording import recording
from tinygrad_dls.engine.switches import set_to
from tinygrad_dls.engine.tensor import Tensor, values
from tinygrad_dls.graph.call_site import running_layers
from tinygrad_dls.graph.frames import place_by_holders
from tinygrad_dls.graph.names import FUNCTIONS, KIN, Names, identifier
from tinygrad_dls.graph.node import Node, Path
from tinygrad_dls.nn.labels import check_probabilities
from tinygrad_dls.nn.module import Parameter, title_of

__all__ = ["complements", "labels_of", "leaves", "names_of_arrays", "read", "trace", "without_graph"]

ACTIVATIONS = {"sigmoid", "tanh", "relu", "softmax", "softplus"}


def read(root: Tensor, made_in: dict[Tensor, Path] | None = None, names: Names | None = None) -> list[Node]:
    """The nodes of the graph that ends in a Tensor, each after its inputs; the last one is the root.

    Parameters
    ----------
    root : Tensor
        Usually the cost J.
    made_in : dict, optional
        The modules that made each Tensor, as `trace` finds them. Without it, the modules that hold the parameters tell
        the layers, or the numbers in the names of the course.
    names : Names, optional
        Where the identifiers come from; the inputs of a recording have theirs already.

    Raises
    ------
    TypeError
        If `root` is no Tensor.
    ValueError
        If it has no graph.
    """
    if not isinstance(root, Tensor):
        raise TypeError(f"expected a Tensor, such as the cost J, got {type(root).__name__}.")
    if root.op is None:
        raise ValueError(without_graph(root))
    nodes: dict[int, Node] = {}
    for x in _in_order(root):
        nodes[id(x)] = _node(x, nodes)
    in_order = _leaves_late(list(nodes.values()))
    if root.shape == ():
        in_order[-1].kind = "cost"
    _name(in_order)
    _identify(in_order, names_of_arrays() if names is None else names)
    by_name = made_in is None and not place_by_holders(in_order)
    for node in in_order:
        if by_name:
            node.modules = _layer_by_name(node)
        elif made_in is None:
            continue
        elif node.x in made_in if isinstance(node.x, Tensor) else False:
            node.modules = made_in[node.x]
    if made_in is not None:
        _place_parameters(in_order)
    return in_order


def without_graph(x: Tensor) -> str:
    """What errors say of a Tensor that there is nothing to see behind."""
    return (
        f"{x.name or 'this Tensor'} has no graph: no op computed it from a Tensor that requires a gradient. Pass what "
        "was computed from it, such as the cost J; was that under no_grad(), or from .data?"
    )


def _in_order(root: Tensor) -> Iterator[Any]:
    """Tensors and arrays, each once and after its inputs; without recursion, as graphs are deep."""
    seen: set[int] = set()
    stack: list[tuple[Any, bool]] = [(root, False)]
    while stack:
        x, done = stack.pop()
        if done:
            yield x
        elif id(x) not in seen:
            seen.add(id(x))
            stack.append((x, True))
            if isinstance(x, Tensor):
                stack.extend((y, False) for y in reversed(_arrays(x)) if id(y) not in seen and hasattr(y, "dtype"))


def leaves(root: Tensor) -> list[Tensor]:
    """The Tensors that the graph starts from."""
    return [x for x in _in_order(root) if isinstance(x, Tensor) and x.op is None]


def _leaves_late(nodes: list[Node]) -> list[Node]:
    """Leaves just before the first node that uses them: X, W1, b1, Z1, A1, W2, ... as one writes it down."""
    order: dict[Node, None] = {}
    for node in nodes:
        if node.op:
            data_first = sorted((x for x in node.inputs if isinstance(x, Node) and not x.op), key=_is_parameter)
            order.update(dict.fromkeys(data_first))
            order[node] = None
    return list(order)


def _arrays(x: Tensor) -> tuple[Any, ...]:
    """The inputs of the op that computed a Tensor, without such arguments as an axis."""
    return x.inputs[: _number_of_inputs(x)]


def _number_of_inputs(x: Tensor) -> int:
    if x.op is None:
        return 0
    annotated = number_of_inputs(x.op.rule)
    return len(x.inputs) if not annotated else int(min(annotated, len(x.inputs)))


def _node(x: Any, nodes: dict[int, Node]) -> Node:
    if not isinstance(x, Tensor):
        return Node(getattr(getattr(x, "call", None), "name", ""), "input", x)  # what is recorded may have a name
    if x.op is None:
        return Node(x.name or "", "parameter" if x.requires_grad else "input", x)
    inputs = tuple(nodes.get(id(y), y) for y in _arrays(x))
    extra = x.inputs[len(inputs) :]
    return Node(x.name or "", "value", x, x.op.__name__, inputs, extra, x.options)


# -- names ------------------------------------------------------------------------------------------------------------


def _name(nodes: list[Node]) -> None:
    """Name what has no name, and number what shares one."""
    for node in nodes:
        _name_inputs(node)
        if not node.name and node.op:
            node.name = _name_of_value(node)
    if nodes[-1].kind == "cost" and not nodes[-1].x.name:
        nodes[-1].name = "J"
    letters = {"input": "C", "parameter": "P", "value": "U", "cost": "U"}
    names = Names(spelled=str, reserved=())
    own = [node for node in nodes if getattr(node.x, "name", None)]  # what the user calls so stays so
    parameters = [node for node in own if node.kind == "parameter"]  # before what is detached of them
    kept = {name: node for node in reversed([*parameters, *own, *nodes]) if (name := node.name)}
    names.take(*kept)
    for node in nodes:
        if not node.name:
            node.name = names.numbered(letters[node.kind])
        elif kept[node.name] is not node:
            node.name = names.free(node.name)


def names_of_arrays() -> Names:
    """What the arrays of a graph, or of a program, get their identifiers from."""
    return Names(FUNCTIONS, kin=KIN)


def _identify(nodes: list[Node], names: Names) -> None:
    """Give each node an identifier: those first whose name is one already, and of these, what is given."""
    others = []
    for node in nodes:
        recorded = getattr(values(node.x), "input_name", None)
        if not node.op and recorded is not None:
            node.identifier = recorded
        else:
            others.append(node)
    for node in sorted(others, key=lambda node: (identifier(node.name) != node.name, bool(node.op))):
        node.identifier = names.free(node.name)


def _name_inputs(node: Node) -> None:
    """The leaves that an op takes, by the part they play in it."""
    inputs = [x if isinstance(x, Node) else None for x in node.inputs]
    if node.loss is not None and len(inputs) == 2 + node.loss.weighted:
        for x, name in zip(inputs, (node.loss.takes, "Y", "w"), strict=False):
            _call(x, name)
    elif node.op in ("multiply", "matmul") and len(inputs) == 2 and any(map(_is_logarithm, inputs)):
        x = inputs[0] if _is_logarithm(inputs[1]) else inputs[1]
        if x is not None and x.kind == "input":  # Y * np.log(A), in a cost that is written out
            _call(x, "Y")
    elif node.op == "affine" or (node.op == "matmul" and _is_parameter(_untransposed(inputs[0]))):
        if inputs[1] is not None and inputs[1].kind == "input":
            _call(inputs[1], "X")
    elif node.op in ("multiply", "dropout") and inputs[0] and re.fullmatch(r"A\d*", inputs[0].name):
        _call(inputs[1], "D" + inputs[0].name[1:])  # the mask of dropout, as the course calls it
    elif node.op in ACTIVATIONS and inputs[0] and (number := _number_of_weights(inputs[0])) is not None:
        _call(inputs[0], "Z" + number)  # a linear part without b


def _call(node: Node | None, name: str) -> None:
    if node is not None and not node.name and node.kind in ("input", "value"):
        node.name = name


def _is_parameter(node: Node | None) -> bool:
    return node is not None and node.kind == "parameter"


def _untransposed(x: Any) -> Node | None:
    """What a transpose, as in ``w.T @ X``, is of; any other node itself."""
    x = x.inputs[0] if isinstance(x, Node) and x.op == "transpose" else x
    return x if isinstance(x, Node) else None


def _is_logarithm(x: Node | None) -> bool:
    """Whether a node is ``np.log(A)``, or its transpose."""
    x = _untransposed(x)
    a = x.inputs[0] if x is not None and x.op == "log" else None
    return isinstance(a, Node) and bool(a.op) and re.fullmatch(r"A\d*", a.name) is not None


def _name_of_value(node: Node) -> str:
    """``Z1`` for a linear part with ``W1``, ``A1`` for an activation of ``Z1``; empty for anything else."""
    first = node.inputs[0] if node.inputs and isinstance(node.inputs[0], Node) else None
    if first is not None and node.op in ACTIVATIONS and re.fullmatch(r"Z(_tilde)?\d*", first.name):
        return "A" + first.name[1:].removeprefix("_tilde")
    number = None
    if node.op in ("affine", "add") and first is not None:
        number = _number_of_weights(first) if first.op else _number_in("[Ww]", first)
    return "" if number is None else "Z" + number


def _number_of_weights(node: Node) -> str | None:
    """The ``1`` of the ``W1`` in ``W1 @ X`` or ``W1.T @ X``, empty of a ``w``; None for any other node."""
    return _number_in("[Ww]", _untransposed(node.inputs[0])) if node.op == "matmul" else None


def _number_in(letter: str, node: Node | None) -> str | None:
    found = node and re.fullmatch(rf"{letter}(\d*)", node.name)
    return found.group(1) if found else None


def complements(nodes: list[Node]) -> dict[Node, Node]:
    """The inputs that are ``1 - Y``, computed before the graph began, each with its ``Y``.

    They stand as in a cross-entropy, ``(1 - Y) * np.log(1 - A)``, and have those numbers to the last one.
    """
    labels = [node for node in nodes if node.kind == "input" and node.name == "Y"]
    found: dict[Node, Node] = {}
    for node in nodes:
        inputs = [x for x in node.inputs if isinstance(x, Node)]
        if node.op in ("multiply", "matmul") and len(inputs) == 2:
            for x, other in (inputs, inputs[::-1]):
                if x.kind == "input" and not getattr(x.x, "name", None) and _is_logarithm_of_complement(other):
                    for y in labels:
                        if y is not x and _is_complement(values(x.x), values(y.x)):
                            found[x] = y
    return found


def labels_of(nodes: list[Node]) -> frozenset[str]:
    """What the inputs are called that losses have looked through, as they are to be 0 and 1, or between."""
    losses = [node for node in nodes if node.loss is not None and node.loss.labels is check_probabilities]
    return frozenset(x.identifier for node in losses for x in node.inputs[1:2] if isinstance(x, Node))


def _is_logarithm_of_complement(x: Node) -> bool:
    """Whether a node is ``np.log(1 - A)``, or its transpose."""
    logarithm = _untransposed(x)
    difference = logarithm.inputs[0] if logarithm is not None and logarithm.op == "log" else None
    if not isinstance(difference, Node) or difference.op != "subtract" or isinstance(difference.inputs[0], Node):
        return False
    a = difference.inputs[1]
    return difference.inputs[0] == 1 and isinstance(a, Node) and re.fullmatch(r"A\d*", a.name) is not None


def _is_complement(x: Any, y: Any) -> bool:
    if not (isinstance(x, np.ndarray) and isinstance(y, np.ndarray)) or x.shape != y.shape:
        return False
    other = 1 - y
    return x.dtype == other.dtype and np.array_equal(x, other)


# -- modules ----------------------------------------------------------------------------------------------------------


@contextmanager
def trace() -> Iterator[dict[Tensor, Path]]:
    """Note for every Tensor that is computed within the block which modules made it.

    Yields
    ------
    dict
        Filled as the ops run; to be passed to `read`.
    """
    made_in: dict[Tensor, Path] = {}
    titles: dict[int, str] = {}
    outer = recording.get()

    def note(node: Tensor) -> None:
        if node.op is not None:
            made_in[node] = tuple(_title(layer, titles) for layer in reversed(list(running_layers())))
        if outer is not True and outer:
            outer(node)

    with set_to(recording, note):
        yield made_in


def _title(layer: Any, titles: dict[int, str]) -> str:
    """What errors call a layer; the second of that title gets a number."""
    if id(layer) not in titles:
        title = title_of(layer)
        alike = sum(other.split(" #")[0] == title for other in titles.values())
        titles[id(layer)] = f"{title} #{alike + 1}" if alike else title
    return titles[id(layer)]


def _place_parameters(nodes: list[Node]) -> None:
    """Parameters stand in the module that first uses them."""
    for node in nodes:
        for x in node.inputs:
            if isinstance(x, Node) and isinstance(x.x, Parameter) and not x.modules:
                x.modules = node.modules


def _layer_by_name(node: Node) -> Path:
    """The layer that a name such as ``W1`` or ``A1`` speaks of."""
    numbered = re.fullmatch(r"(?:[WbZA]|Z_norm|Z_tilde|gamma|beta|mu|var)(\d+)(_\d+)?", node.name)
    return (f"layer{numbered.group(1)}",) if numbered and int(numbered.group(1)) else ()
