"""Arrays that live on a device, such as CuPy's on a GPU: what tells them apart, and how numbers go there and back.

Rules compute with NumPy's protocols, and so on a device as on the host. But the kinds that live on a device do not mix
with NumPy's arrays, and turn into none by themselves, as each transfer makes the program wait. So what a rule, a layer
or the training makes on the host, such as a mask, is taken to the device by name (`like`); and what is made on the
host, such as pictures, checks and files, takes numbers back by name (`to_host`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["beside", "called_kind", "like", "on_device", "to_host"]


def on_device(x: Any) -> bool:
    """Whether an array lies on a device: it has CuPy's ``get`` then, which gives NumPy's array of its numbers.

    A subclass of NumPy's arrays may have a method of that name, too, but its memory is the host's.
    """
    kind = type(x)
    is_array = hasattr(kind, "get") and hasattr(kind, "__array_function__")
    return is_array and not hasattr(kind, "__array_interface__")


def like(made: Any, x: Any) -> Any:
    """An array or a number that was made on the host, for use with x: on its device, by NEP 35, or else as it is."""
    return np.asarray(made, like=x) if on_device(x) else made


def to_host(x: Any) -> np.ndarray[Any, Any]:
    """NumPy's array of the numbers of any kind."""
    return np.asarray(x.get() if on_device(x) else x)


def beside(x: Any, y: Any) -> Any:
    """An array where another lies: on its device or on the host, whichever of them x comes from."""
    if on_device(x) == on_device(y):
        return x
    return to_host(x) if on_device(x) else like(x, y)


def called_kind(x: Any) -> str:
    """What errors call a kind of arrays: ``cupy ndarray``."""
    return f"{type(x).__module__.partition('.')[0]} {type(x).__name__}"
