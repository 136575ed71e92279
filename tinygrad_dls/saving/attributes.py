"""What modules of yours keep as attributes: numbers, texts and arrays, which a file holds beside the parameters.

What a module was made with has to be the same where a file is loaded into it. What training or data have told it since,
it is told again: arrays, and what a new module does not have yet. Which of the two a number is, nobody can tell; so one
that differs is named, and nothing is replaced without a word.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import numpy as np

from tinygrad_dls.engine.errors import shown
from tinygrad_dls.engine.tensor import Tensor
from tinygrad_dls.nn.containers import leaves
from tinygrad_dls.nn.module import Module
from tinygrad_dls.saving.architecture import of_ours
from tinygrad_dls.saving.container import Parts, Reader
from tinygrad_dls.saving.states import equal, placed

__all__ = ["attributes", "other_attributes", "set_attributes"]


def attributes(model: Module, parts: Parts) -> dict[str, dict[str, Any]]:
    """The attributes of modules that a file can hold, but for those that are saved otherwise."""
    found: dict[str, dict[str, Any]] = {}
    for path, module in placed(model):
        texts = {}
        for name, x in _own(module):
            where = f"attributes.{_place(path, name)}"
            try:
                Parts().encode(x, where)  # on trial: an object of yours, a set or a function is none of these
            except (TypeError, ValueError):
                continue
            texts[name] = parts.encode(x, where)
        if texts:
            found[path] = texts
    return found


def _own(module: Module) -> Iterator[tuple[str, Any]]:
    """Attributes without Tensors, modules and random generators, which are saved by themselves."""
    otherwise = (Tensor, Module, np.random.Generator, np.random.RandomState, type(np))
    for name, x in vars(module).items():
        if name not in of_ours(module) and not any(isinstance(y, otherwise) for _, y in leaves(x)):
            yield name, x


def other_attributes(saved: dict[str, Any], model: Module, reader: Reader) -> list[str]:
    """In what the attributes of a model differ from those of a file."""
    there_are, problems = dict(placed(model)), []
    for path, texts in saved.items():
        if path not in there_are:
            problems.append(f"it has no {path}")
            continue
        module = there_are[path]
        for name in texts:
            there, here = reader.decode(texts[name]), getattr(module, name, None)
            if not _may_be_set(module, name):
                problems.append(f"{_place(path, name)} is no attribute that a file may set")
            elif not (here is None or _both_arrays(there, here) or equal(there, _plain(here))):
                problems.append(
                    f"{_place(path, name)} is {shown(there)}; here it is {shown(here)} (if training has changed it, "
                    f"assign it before: model.{_place(path, name)} = {shown(there)})"
                )
    return problems


def set_attributes(model: Module, saved: dict[str, Any], reader: Reader) -> None:
    """Tell modules the arrays that those of the file had, and what they do not have yet."""
    there_are = dict(placed(model))
    for path, texts in saved.items():
        for name, text in texts.items():
            there, here = reader.decode(text), getattr(there_are[path], name, None)
            if (here is None and there is not None) or _both_arrays(there, here):
                setattr(there_are[path], name, there)


def _both_arrays(x: Any, y: Any) -> bool:
    return isinstance(x, np.ndarray) and isinstance(y, np.ndarray)


def _plain(x: Any) -> Any:
    """What would be read of it."""
    parts = Parts()
    try:
        text = parts.encode(x, "here")
    except (TypeError, ValueError):
        return x
    return Reader.of(parts).decode(text)


def _may_be_set(module: Module, name: str) -> bool:
    """Whether a name is that of data: not of a method, a property or what is saved otherwise."""
    written = inspect.getattr_static(type(module), name, None)
    is_code = callable(written) or hasattr(type(written), "__get__")
    return name.isidentifier() and not name.startswith("__") and not is_code and name not in of_ours(module)


def _place(path: str, name: str) -> str:
    return f"{path}.{name}".lstrip(".")
