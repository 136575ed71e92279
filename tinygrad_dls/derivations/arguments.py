"""Functions of plain arguments: what is derived with respect to them, as `tinygrad_dls.grad` differentiates.

A cost that depends on Tensors is derived with respect to those. A function that uses none is derived with respect to
its first argument, or to those that ``wrt=`` names; and so is any argument that is a Tensor with a gradient.
"""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np

from tinygrad_dls.engine.arrays import as_array
from tinygrad_dls.engine.tensor import Tensor, values
from tinygrad_dls.graph.subject import Subject, subject

__all__ = ["with_leaves"]


def with_leaves(given: Subject, wrt: Any) -> tuple[Subject, Any]:
    """What was passed, with a leaf of the graph for each argument that is derived with respect to.

    Parameters
    ----------
    given : Subject
    wrt : str, Tensor, list of these, or None
        As it was passed.

    Returns
    -------
    Subject, object
        The function of the other arguments; and what is wanted, with the leaves in the place of the arguments.

    Raises
    ------
    TypeError
        If such an argument does not hold floats.
    """
    if given.cost is not None or given.model is not None or not given.inputs:
        return given, wrt
    asked = wrt if isinstance(wrt, (list, tuple)) else [wrt]
    names = given.names
    chosen = [i for i, x in enumerate(given.inputs) if _is_asked_for(x, names[i], asked)]
    if not chosen and not _has_parameters(given):
        chosen = [0]
    leaves = {i: _leaf(given.inputs[i], names[i]) for i in chosen}
    if not leaves:
        return given, wrt

    def wanted(x: Any) -> Any:
        found = [i for i in leaves if x is given.inputs[i] or (isinstance(x, str) and x == names[i])]
        return leaves[found[0]] if found else x

    new = [wanted(x) for x in asked]
    return _of_others(given, names, leaves), (new if isinstance(wrt, (list, tuple)) else new[0])


def _is_asked_for(x: Any, name: str, asked: Any) -> bool:
    if isinstance(x, Tensor) and x.requires_grad:
        return True
    return any(x is y or (isinstance(y, str) and y == name) for y in asked if y is not None)


def _has_parameters(given: Subject) -> bool:
    """Whether the function, called with arrays, gives a cost with a graph; or something that is no number at all."""
    try:
        J = given.function(*given.arrays())
    except TypeError:  # of which `Subject.run` says more
        return True
    return J.op is not None if isinstance(J, Tensor) else not isinstance(J, (int, float, np.number, np.ndarray))


def _leaf(x: Any, name: str) -> Tensor:
    """A Tensor that stands for an argument: the user's own, if it is a leaf that has a name."""
    if isinstance(x, Tensor) and x.requires_grad and x.op is None and x.name:
        return x
    value = as_array(values(x), name)
    if value.dtype.kind != "f":
        example = f": write {name}={float(value)!r}" if value.shape == () and value.dtype.kind in "iu" else ""
        raise TypeError(f"derive: {name} holds {value.dtype}, and only floats have a gradient{example}.")
    return Tensor(value.copy(), requires_grad=True, name=getattr(x, "name", None) or name)


def _of_others(given: Subject, names: list[str], leaves: dict[int, Tensor]) -> Subject:
    """The function of the arguments that are no leaves; the cost itself, if a leaf has columns that are examples."""
    others = [i for i in range(len(names)) if i not in leaves]

    def merged(*arrays: Any) -> Any:
        arguments = {**leaves, **dict(zip(others, arrays, strict=True))}
        return given.function(*[arguments[i] for i in range(len(names))])

    rest = [given.inputs[i] for i in others]
    matrices = [np.shape(values(x)) for x in rest if np.ndim(values(x)) == 2]
    if any(leaf.ndim == 2 and leaf.shape[1] in {n for _, n in matrices if n > 1} for leaf in leaves.values()):
        tensors = [Tensor(as_array(values(x), names[i]), name=names[i]) for i, x in zip(others, rest, strict=True)]
        return subject(given.caller, merged(*tensors))
    kind = inspect.Parameter.POSITIONAL_ONLY
    merged.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # what `argument_names` asks for
        [inspect.Parameter(names[i], kind) for i in others]
    )
    return subject(given.caller, merged, tuple(rest))
