"""What an attribute holds: the entries of lists, tuples and dicts, at any depth, and the places at which they stand."""

from __future__ import annotations

from collections import ChainMap, UserDict, UserList, deque
from collections.abc import ItemsView, Iterable, Iterator, ValuesView
from types import MappingProxyType, SimpleNamespace
from typing import Any, TypeAlias

import numpy as np

__all__ = ["ABSENT", "Path", "at", "dotted", "leaves", "overlooked"]

Path: TypeAlias = tuple[Any, ...]  # of the keys that lead into lists, tuples and dicts

ABSENT = object()


def leaves(value: Any, where: str = "", path: Path = (), within: tuple[int, ...] = ()) -> Iterator[tuple[Path, Any]]:
    """What an attribute holds, and what lists, tuples and dicts in it hold."""
    if not isinstance(value, (list, tuple, dict)):
        yield path, value
        return
    if id(value) in within:
        raise ValueError(f"{where}{dotted(path)} is a {type(value).__name__} that contains itself.")
    within = *within, id(value)
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        yield from leaves(item, where, (*path, key), within)


def dotted(path: Path) -> str:
    """The keys of a path as names have them: ``.branches.0``."""
    return "".join(f".{key}" for key in path)


def at(value: Any, path: Path) -> Any:
    """What stands at a place in lists, tuples and dicts; ABSENT where these are shorter now."""
    for key in path:
        if not isinstance(value, (list, tuple, dict)):
            return value
        try:
            value = value[key]
        except (LookupError, TypeError):
            return ABSENT
    return value


def overlooked(value: Any) -> Iterable[Any]:
    """The entries of a container that `leaves` does not look into: an unordered one, say."""
    if isinstance(value, (set, frozenset, deque, UserList)):
        return value
    if isinstance(value, (UserDict, MappingProxyType, ChainMap)):
        return value.values()
    if isinstance(value, (ValuesView, ItemsView)):
        return (x for _, x in leaves(list(value)))
    if isinstance(value, SimpleNamespace):
        return vars(value).values()
    if type(value) is np.ndarray and value.dtype == object:
        return value.flat
    return ()
