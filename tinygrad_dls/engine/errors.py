"""How errors speak: the op, the roles and the shapes, and the likely cause.

NumPy's "operands could not be broadcast" helps nobody at 1 a.m. Nothing here knows the Tensor.
"""

from __future__ import annotations

import re
import reprlib
from _thread import LockType
from typing import Any

import numpy as np

from tinygrad_dls.engine.devices import called_kind, on_device


class RecordingError(TypeError):
    """A recording of NumPy calls cannot hold this: it would be right for this run only."""


class RecordedElsewhereError(RuntimeError):
    """A thread computes with parameters that stand for a program, as another one records it.

    Parameters
    ----------
    recorded : lock
        Held by the other thread until the parameters are arrays again.
    """

    def __init__(self, recorded: LockType) -> None:
        super().__init__(
            "another thread records a program of this model, as the first call of a compiled step, tg.derive and "
            "tg.numpy_source do, and its parameters stand for that program meanwhile. Let that call end before this "
            "one; or give this thread a copy.deepcopy of the model, made before it. (predict and predict_proba wait.)"
        )
        self.recorded = recorded


def called(name: str | None) -> str:
    """Return what errors call a Tensor."""
    return "this Tensor" if name is None else name


def described(x: Any, position: int) -> str:
    """Describe an argument of an op as errors do: ``W1 is (4, 2)``, and of a number or a text what it is."""
    kind = shown(x) if isinstance(x, (int, float, str, tuple)) else type(x).__name__
    return f"{role(x, position)} is {getattr(x, 'shape', kind)}"


def several_entries(who: str, name: str | None, shape: tuple[int, ...], instead: str) -> ValueError:
    """Make the error for what takes a single number, and was given an array of `shape`."""
    return ValueError(
        f"{who}: {called(name)} has shape {shape}, not a single entry. Reduce it to a cost first (np.mean, np.sum, a "
        f"loss), or {instead}."
    )


def role(x: Any, position: int) -> str:
    """Return the name of an argument, or its place."""
    name = getattr(x, "name", None)  # a pandas.Series may be called by anything
    return name if name and isinstance(name, str) else f"argument {position}"


def flattened(name: str) -> str:
    """Say what to write for images, of more than two axes; ``X.reshape(n_x, -1)`` would mix them up."""
    return f"write {name}.reshape({name}.shape[0], -1).T if the first axis counts the examples"


def transposed(X: Any, Y: Any) -> str:
    """Say what to write where X and Y have an example in each row: as many of these, and another number of columns."""
    rows = len(X.shape) == len(Y.shape) == 2 and X.shape[0] == Y.shape[0]
    return "Examples are columns: write X.T and Y.T." if rows else ""


def shown(x: Any) -> str:
    """Quote what was passed, as errors do: not longer than a line."""
    return reprlib.repr(x)


def article(noun: str) -> str:
    """Return the article of a noun, such as the name of a class."""
    return "an" if noun[:1].lower() in "aeiou" else "a"


def explained(error: Exception, name: str, args: tuple[Any, ...]) -> Exception:
    """Make of NumPy's error one that names the op, the roles and the shapes, and the likely cause."""
    roles = ", ".join(described(x, i) for i, x in enumerate(args, 1))
    reason = _mismatch(args) if "core dimension" in str(error) else _mixed(args)
    if isinstance(error, IndexError) and "must be of integer" in str(error):
        reason = f"{error}. Write index.astype(int): fit gives a model its X in the dtype of the parameters."
    kinds = (
        RecordingError,
        np.exceptions.AxisError,
        ValueError,
        IndexError,
        MemoryError,
        ZeroDivisionError,
        FloatingPointError,
    )
    kind = next((kind for kind in kinds if isinstance(error, kind)), TypeError)  # one that takes a text alone
    if not reason and (cause := _likely(error, args)):
        reason = f"{str(error).strip()}. {cause}"
    return kind(f"{name}: {roles}; {reason or error}")


# what the rules of ops may raise for arguments that do not fit
EXPLAINED = ValueError, TypeError, IndexError, AttributeError, ArithmeticError, MemoryError


def _mismatch(args: tuple[Any, ...]) -> str:
    """Say what is wrong with the shapes of a matrix product."""
    a, b = (tuple(getattr(x, "shape", ())) for x in args[:2])
    if len(a) != 2 or len(b) != 2:
        return ""
    left, right = role(args[0], 1), role(args[1], 2)
    if a[1] == b[1]:
        likely = f" Did you pass {right} transposed?"
    elif a[0] == b[0]:
        likely = f" Did you mean the transpose of {left}?"
    else:
        likely = f" The product of {right} and {left}, in this order, fits." if a[0] == b[1] else ""
    return f"expected {right} to be ({a[1]}, m).{likely}"


UNFIT = "core dimension", "could not be broadcast together with shapes", "is out of bounds for array of dimension"


def _likely(error: Exception, args: tuple[Any, ...]) -> str:
    """Say what is likely where arrays do not fit entry by entry, or an axis is none, or a vector is multiplied."""
    if not isinstance(error, ValueError) or not any(words in str(error) for words in UNFIT):
        return ""
    shapes = [np.shape(x) if isinstance(x, list) else tuple(getattr(x, "shape", ())) for x in args[:2]]
    if isinstance(error, np.exceptions.AxisError):
        return "Axes count from 0: axis=0 goes down the rows, axis=1 along the examples." if len(shapes[0]) == 2 else ""
    if len(shapes) < 2:
        return ""
    (a, b), right = shapes, role(args[1], 2)
    if "core dimension" in str(error):
        return f"Expected {right} to be ({a[1]}, m): examples are columns." if len(a) == 2 else ""
    for matrix, vector, position in ((a, b, 2), (b, a, 1)):
        if len(matrix) == 2 and vector == matrix[:1]:
            name = role(args[position - 1], position)
            return (
                f"A vector goes along the examples, and {name} has an entry for each row: make it a column, "
                f"({matrix[0]}, 1), with .reshape(-1, 1), or with keepdims=True where it was summed."
            )
    if len(a) != 2 or len(b) != 2:
        return ""
    if a == b[::-1]:
        return f"Did you pass {right} transposed?"
    return "Do both hold the same examples? These are the columns." if a[0] == b[0] else ""


def _mixed(args: tuple[Any, ...]) -> str:
    """Say that an argument lies on a device, and another is NumPy's, if that is so."""
    there, here = None, ""
    for i, x in enumerate(args, 1):
        array = x
        while hasattr(array, "_value"):  # a Tensor, of any level
            array = array._value
        if on_device(array):
            there = there or (role(x, i), array)
        elif called_kind(array) == "numpy ndarray":
            here = here or role(x, i)
    if there is None or not here:
        return ""
    name, array = there
    library = type(array).__module__.partition(".")[0]
    return (
        f"{name} lies on a device ({called_kind(array)}), and {here} is NumPy's. Move one of them by name: "
        f"{library}.asarray(x) takes an array to the device, x.get() back, and model.to({library}.asarray) a model."
    )


def spelled(function: Any) -> str:
    """A NumPy function as it is written."""
    return f"{function.__module__.replace('numpy', 'np')}.{function.__name__}"


def unknown_keyword(error: TypeError) -> str | None:
    """The keyword that a Python function did not know, if that is what the error says."""
    found = re.search(r"got an unexpected keyword argument '(\w+)'", str(error))
    return None if found is None else found[1]


def not_differentiated(function: str) -> TypeError:
    """Make the error for a NumPy function that is no op, with what to write for it."""
    from tinygrad_dls.engine.instead import INSTEAD  # a program that works never reads it

    start = f"tinygrad_dls does not differentiate {function}."
    if function.startswith("np.fft."):
        start += " It computes with complex numbers, and costs are real."
    if instead := INSTEAD.get(function):
        return TypeError(f"{start} Write {instead}; or apply it to tensor.data if no gradient shall flow.")
    return TypeError(
        f"{start} Apply it to tensor.data if no gradient shall flow, "
        "compose it of other ops, or add it with one function: see 'How to add an op' in the docs."
    )
