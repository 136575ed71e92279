"""Trees: arrays in dicts, lists and tuples, and in such within them, as the course keeps its parameters.

``{"W1": ..., "b1": ..., "W2": ..., "b2": ...}`` is a tree of four leaves. A list of numbers is none: NumPy takes it for
one array. So it is with lists of such lists; but whatever holds an array, a Tensor or a dict is a tree.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tinygrad_dls.engine.errors import shown
from tinygrad_dls.engine.tensor import Tensor

__all__ = ["is_tree", "leaves", "leaves_like", "mapped", "named_leaves", "spelled", "with_leaves"]

Keys = tuple[Any, ...]


def is_tree(x: Any) -> bool:
    """Whether x is a dict, a namedtuple, or a list or tuple that is more than a list of numbers.

    Examples
    --------
    >>> import numpy as np
    >>> is_tree({"b": 0.0}), is_tree([np.ones(2), 0.0]), is_tree([[1.0], [2.0]])
    (True, True, False)
    """
    if isinstance(x, dict) or hasattr(type(x), "_fields"):  # a namedtuple
        return True
    return isinstance(x, (list, tuple)) and any(map(_is_of_a_tree, x))


def _is_of_a_tree(item: Any) -> bool:
    if isinstance(item, (list, tuple)):
        return is_tree(item)
    is_array = hasattr(type(item), "__array_function__")  # which one on a device has, and no __dict__
    return is_array or isinstance(item, (Tensor, dict)) or hasattr(item, "__dict__")


def _items(tree: Any) -> Iterable[tuple[Any, Any]]:
    return tree.items() if isinstance(tree, dict) else enumerate(tree)


def leaves(tree: Any) -> Iterator[Any]:
    """All the leaves of a tree, in order; or x itself if it is none."""
    return (leaf for _, leaf in named_leaves(tree))


def named_leaves(tree: Any, keys: Keys = ()) -> Iterator[tuple[Keys, Any]]:
    """All the leaves of a tree, in order, each with the keys and numbers that lead to it.

    Raises
    ------
    ValueError
        If a list or a dict holds itself.

    Examples
    --------
    >>> list(named_leaves({"W1": 1.0, "layers": ({"b": 2.0},)}))
    [(('W1',), 1.0), (('layers', 0, 'b'), 2.0)]
    """
    if not is_tree(tree):
        yield keys, tree
        return
    waiting: list[tuple[Keys, Any, tuple[int, ...]]] = [(keys, tree, (id(tree),))]
    while waiting:  # depth first, in order
        keys, x, above = waiting.pop()
        if len(above) > 1 and not is_tree(x):
            yield keys, x
            continue
        if id(x) in above[:-1]:
            raise ValueError(f"a {type(x).__name__} holds itself: {shown(x)}.")
        waiting += [((*keys, key), item, (*above, id(item))) for key, item in _items(x)][::-1]


def spelled(name: str, keys: Keys) -> str:
    """What Python calls a leaf of a tree of this name.

    Examples
    --------
    >>> spelled("p", ("layers", 0, "b"))
    "p['layers'][0]['b']"
    """
    return name + "".join(f"[{key!r}]" for key in keys)


def mapped(function: Callable[[Any], Any], tree: Any) -> Any:
    """Apply a function to each leaf, or to x itself if it is no tree; what comes out has the same structure."""
    return with_leaves(tree, map(function, leaves(tree)))


def leaves_like(tree: Any, other: Any, name: str) -> list[tuple[str, Any]]:
    """The leaves of another tree in the order of this one, and what Python calls them.

    Raises
    ------
    ValueError
        If the other one has another structure.
    """
    if not is_tree(tree):
        return [(name, other)]
    keys = [key for key, _ in _items(tree)]
    kind = dict if isinstance(tree, dict) else (list, tuple)
    if not isinstance(other, kind) or len(other) != len(tree) or (kind is dict and set(other) != set(keys)):
        got = _described(other) if isinstance(other, (dict, list, tuple)) else shown(other)
        raise ValueError(f"{name} is {got}; expected {_described(tree)}")
    return [pair for key, item in _items(tree) for pair in leaves_like(item, other[key], spelled(name, (key,)))]


def _described(tree: Any) -> str:
    held = f"with {', '.join(map(repr, tree))}" if isinstance(tree, dict) else f"of {len(tree)}"
    return f"a {type(tree).__name__} {held if len(tree) else 'of nothing'}"


def with_leaves(tree: Any, new: Iterable[Any]) -> Any:
    """Make a tree of the same structure with other leaves, in order: dicts, lists and tuples of the same classes."""
    return _with_leaves(tree, iter(new))


def _with_leaves(tree: Any, new: Iterator[Any]) -> Any:
    if not is_tree(tree):
        return next(new)
    items = [_with_leaves(item, new) for _, item in _items(tree)]
    if isinstance(tree, tuple):
        return tuple.__new__(type(tree), items)  # a namedtuple too
    made = copy.copy(tree)  # of a subclass, such as an OrderedDict, with what else it holds
    if isinstance(tree, dict):
        made.update(zip(tree, items, strict=True))
    else:
        made[:] = items
    return made
