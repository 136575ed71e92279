"""Instructions as data: what a routine of a plan does, call by call, and to which buffers; no text is in it.

A buffer has a shape, a dtype and a place, and may be a view of another one. An instruction is a call whose arguments
are buffers, numbers and constants, with the buffer that it makes or writes into. `scheduling` decides on both; a
printer, such as that of `text`, writes them down in a language.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinygrad_dls.engine.arrays import Array
from tinygrad_dls.ir.call import Call, each, evaluate, getitem, is_plain_reduction, toposort
from tinygrad_dls.ir.functions import row_of

__all__ = ["Buffer", "Instruction", "Place", "Routine", "buffer", "perform", "span", "takes_out", "view_of"]


class Place(enum.Enum):
    """Where the memory of a buffer is.

    Attributes
    ----------
    GIVEN
        It is passed at each step: data, and counts.
    DOUBLE
        A flat array of which there are two, in front and back: parameters and state.
    FLAT
        Another flat array: gradients and sums.
    SLOT
        Working memory, which other buffers lie in before and after.
    OWN
        Memory of its own, which is made once.
    CONSTANT
        The same, with what never changes.
    NEW
        It is made at each step.
    """

    GIVEN = enum.auto()
    DOUBLE = enum.auto()
    FLAT = enum.auto()
    SLOT = enum.auto()
    OWN = enum.auto()
    CONSTANT = enum.auto()
    NEW = enum.auto()


@dataclass(eq=False, slots=True)
class Buffer(Call):
    """An array, or a number, that instructions read and write: an input of each of them.

    Attributes
    ----------
    memory : Place
        Where it lies, if it is no view.
    of : Buffer or None
        What it is a view of.
    contiguous : bool
        Whether its entries are known to lie one after another, row by row.
    """

    memory: Place = Place.NEW
    of: Buffer | None = None
    contiguous: bool = True

    @property
    def owner(self) -> Buffer:
        """What has the memory."""
        found = self
        while found.of is not None:
            found = found.of
        return found

    @property
    def place(self) -> Place:
        """Where the memory is."""
        return self.owner.memory

    @property
    def stays(self) -> bool:
        """Whether it lies in the same memory at each step, so that views of it are made once."""
        return self.place not in (Place.GIVEN, Place.NEW)

    @property
    def size(self) -> int:
        """The number of entries."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """Bytes of the entries."""
        return self.size * int(np.dtype(self.dtype).itemsize)


@dataclass(frozen=True, slots=True)
class Instruction:
    """A call, and the buffer for its result.

    Attributes
    ----------
    call : Call
        Of buffers, numbers of the symbols m and learning_rate, and constants; or such a number, or a buffer, itself.
    out : Buffer
    into : bool
        Whether the result is written into `out`, which is there; otherwise, `out` is what the call gives.
    note : str
        What a reader is told.
    """

    call: Call
    out: Buffer
    into: bool = False
    note: str = ""


@dataclass
class Routine:
    """A function of a plan: its instructions, and the memory that it needs.

    Attributes
    ----------
    name : str
    arguments : list of Buffer
    setup : list of Instruction
        What makes buffers that stay, run once; for those of the place `DOUBLE`, for front and back.
    steps : list of Instruction
        What is done at each step.
    cost : Call or None
        What comes back first, as a number of Python's: a buffer, or its product or quotient with a number.
    returned : list
        What else comes back: buffers and numbers.
    slots : list of Buffer
        The arrays of working memory.
    in_place, reused : int
        How many results are written over an argument, and how many into memory that was used before.
    """

    name: str
    arguments: list[Buffer]
    setup: list[Instruction] = field(default_factory=list)
    steps: list[Instruction] = field(default_factory=list)
    cost: Any = None
    returned: list[Any] = field(default_factory=list)
    slots: list[Buffer] = field(default_factory=list)
    in_place: int = 0
    reused: int = 0

    @property
    def bytes(self) -> int:
        """Bytes of the arrays that are there besides the flat ones."""
        own = [x.out.bytes for x in self.setup if x.out.of is None]
        return sum(own) + sum(slot.bytes for slot in self.slots)

    @property
    def constants(self) -> int:
        """How many constant arrays are made once."""
        return sum(x.out.memory is Place.CONSTANT and x.out.size > 1 for x in self.setup)


def span(array: Array, start: int, shape: tuple[int, ...]) -> Array:
    """A run of entries of a flat array, as an array of this shape."""
    return array[start : start + math.prod(shape)].reshape(shape)


def buffer(name: str, shape: tuple[int, ...], dtype: Any, memory: Place = Place.NEW, **other: Any) -> Buffer:
    """A buffer; `other` are its attributes `of` and `contiguous`."""
    return Buffer(None, shape=shape, dtype=dtype, name=name, memory=memory, **other)


def view_of(call: Call, name: str) -> Buffer:
    """The buffer of a view: a call whose first argument is the buffer that it is of."""
    of = call.args[0]
    return buffer(name, call.shape, call.dtype, of=of, contiguous=of.contiguous and _keeps_rows(call))


def _keeps_rows(call: Call) -> bool:
    """Whether the entries of a view lie one after another, if those of what it is of do."""
    if call.function is not getitem:
        return call.function in (span, np.reshape)
    first, *others = call.args[1] if isinstance(call.args[1], tuple) else (call.args[1],)
    return isinstance(first, slice) and first.step in (None, 1) and all(i == slice(None) for i in others)


def takes_out(call: Call) -> bool:
    """Whether NumPy can write the result of a call into a given array."""
    f = call.function
    if f is None or call.shape == ():
        return False
    if f is np.dot:
        return all(isinstance(x, Call) and x.shape for x in call.args)
    if row_of(f).reduce is not None:
        return is_plain_reduction(call) and bool(call.args[0].dtype == call.dtype and call.dtype != bool)
    return isinstance(f, np.ufunc) and f.nout == 1


def perform(setup: Iterable[Instruction], names: dict[str, Any]) -> None:
    """Make the buffers of a setup, given those that are there, by name."""

    def value(x: Any) -> Any:
        if isinstance(x, Buffer):
            return names[x.name]
        if isinstance(x, Call):  # a number that hangs on the number of examples; one of Python's, which has no dtype
            return np.asarray(*evaluate([x], {y: names[y.name] for y in toposort([x]) if y.function is None})).item()
        return each(value, x) if isinstance(x, (tuple, list, slice)) else x

    for x in setup:
        call = x.call
        if call.function is None:
            names[x.out.name] = value(call)
        else:
            args = [names[y.name] if isinstance(y, Buffer) else value(y) for y in call.args]
            names[x.out.name] = call.function(*args, **{key: value(y) for key, y in call.options.items()})
