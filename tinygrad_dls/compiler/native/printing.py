"""C for the pieces of a routine: a function for each run of loops, in which a column passes through all of a loop.

No name of a user's is in the text: arrays are numbered.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_dls.compiler.instructions import Buffer, Routine, perform
from tinygrad_dls.compiler.lowering import is_number
from tinygrad_dls.compiler.native.calling import entry
from tinygrad_dls.compiler.native.fusing import Fused, Piece, buffers_of, extent, reads
from tinygrad_dls.compiler.native.loops import Loop, times
from tinygrad_dls.compiler.native.operators import OPERATORS
from tinygrad_dls.compiler.native.outlining import Outlines
from tinygrad_dls.compiler.threads import LANES
from tinygrad_dls.ir.call import Call, scalar_value

__all__ = ["Function"]


def places(routine: Routine, m: int | None) -> dict[Buffer, tuple[Buffer, int, tuple[int, ...]]]:
    """Where buffers are that stay: the owner of the memory, and the first entry and the strides, in entries."""
    seen = (y for x in routine.steps for y in (*reads(x), x.out) if y.stays)
    owners = {x.owner for x in (*routine.slots, *(y.out for y in routine.setup), *seen)}
    arrays: dict[str, Any] = {"m": m, **{x.name: np.empty(x.shape, x.dtype) for x in owners}}
    known = {x.out for x in routine.setup if x.out.of is not None} | owners
    perform([x for x in routine.setup if x.out.of is not None], arrays)
    found = {}
    for x in known:
        array, base = arrays[x.name], arrays[x.owner.name]
        size = base.itemsize
        start = array.__array_interface__["data"][0] - base.__array_interface__["data"][0]
        found[x] = x.owner, start // size, tuple(n // size for n in array.strides)
    return found


class Function:
    """A function of C for pieces that follow one another.

    Attributes
    ----------
    text : str
    owners, arrays, numbers : list of Buffer
        What it is given: the memory that stays, arrays that are passed at each step, and numbers.
    shared : bool
        Whether it is one loop that threads share. It is told then which parts of its work to do, from `begin` up to
        `finish`: part -1 copies data of another dtype or order; the lanes follow; the last part adds up all lanes.
    sums : int
        Numbers in which all lanes add up.
    result : Call or None
        The number that it returns: one that it computes, or its product or quotient with another.
    """

    def __init__(self, name: str, fused: Fused, pieces: Sequence[Piece], where: Any, result: Call | None) -> None:
        self.fused, self.where, self.result = fused, where, result
        self.name = self.__name__ = name
        self.owners: list[Buffer] = []
        self.arrays: list[Buffer] = []
        self.numbers: list[Any] = []
        self.shared = pieces[0].shared
        self.sums = 0
        self.outlines = Outlines(name)
        self.known: dict[Call, str] = {}  # numbers of this function
        self.count = 0
        self.own = {x.out for piece in pieces for x in piece.instructions}
        body = [line for piece in pieces for line in (self.loop(piece) if piece.columns else self.of_numbers(piece))]
        returned = self.exactly(result) if result is not None else "0"
        own = [*self.signature(), *(f"    {line}" for line in body), f"    return {returned};", "}"]
        self.text = "\n".join([*self.outlines.texts(), *own])
        if not self.shared:
            unlocked = any(piece.is_long for piece in pieces)
            self.text += "\n" + entry(name, len(self.arrays), len(self.numbers), unlocked=unlocked)

    def signature(self) -> list[str]:
        """The first lines of the function."""
        arguments = ["void **p", *(f"Array *a{i}" for i in range(len(self.arrays)))]
        arguments += [f"double n{i}" for i in range(len(self.numbers))]
        arguments += ["int begin", "int finish"] if self.shared else []
        lines = [f"double {self.name}({', '.join(arguments)}) {{"]
        for i, x in enumerate(self.owners):
            lines.append(f"    {self.ctype(x)} *p{i} = p[{i}];")
        for i, x in enumerate(self.arrays):
            rows, columns = extent(x)
            space = len(self.owners) + i
            if x in self.own:
                lines.append(f"    F *x{i} = (F *)a{i}->data; Size x{i}_r = {columns};")
            else:
                lines.append(
                    f"    Size x{i}_r; const F *x{i} = plain(a{i}, '{np.dtype(x.dtype).char}', {rows}, {columns}, "
                    f"p[{space}], &x{i}_r, {'begin < 0' if self.shared else '1'});"
                )
        if self.shared:
            lines.append(f"    double *t = p[{len(self.owners) + len(self.arrays)}];")
        return lines

    def ctype(self, x: Buffer) -> str:
        """The type of entries."""
        return "unsigned char" if x.dtype == bool else "F"

    def new(self, stem: str) -> str:
        """A name that nothing has."""
        self.count += 1
        return f"{stem}{self.count}"

    # -- memory and numbers -------------------------------------------------------------------------------------------

    def memory(self, x: Buffer, *, written: bool = False) -> tuple[str, Any, Any]:
        """The text of the first entry's address, and the strides of rows and columns."""
        found = self.fused.operand(x)
        if not written and found is not None and not found.base.shape and found.base not in self.where:
            return f"(&(F){{{self.number_of(found.base)}}})", 0, 0  # a number has no address of its own
        if found is not None and found.base is not x and (found.ones or x not in self.where):
            at, r, c = self.memory(found.base)
            at = f"({at} + {times(found.first, r)})" if found.first else at
            return (at, c, r) if found.transposed else (at, r, c)
        if x in self.where:
            owner, start, strides = self.where[x]
            if owner not in self.owners:
                self.owners.append(owner)
            at = f"p{self.owners.index(owner)}"
            strides = (0,) * (2 - len(strides)) + strides
            return (f"({at} + {start})" if start else at), strides[0], strides[1]
        if x not in self.arrays:
            self.arrays.append(x)
        i = self.arrays.index(x)
        return f"x{i}", f"x{i}_r", 1

    def literal(self, value: float) -> str:
        """A number, exactly."""
        if np.isnan(value):
            return '(F)__builtin_nan("")'
        if np.isinf(value):
            return "HUGE_" if value > 0 else "(-HUGE_)"
        return f"(F){float(value).hex()}" if value >= 0 else f"((F){float(value).hex()})"

    def number_of(self, x: Any) -> str:
        """A number: of the program, given, or computed before."""
        if not isinstance(x, Call):
            return self.literal(float(x))
        if isinstance(x, Buffer):
            found = self.fused.operand(x)
            if found is not None and found.base in self.known:
                return self.known[found.base]
            if x in self.fused.numbers:
                return self.literal(self.fused.numbers[x])
            if x in self.where or (found is not None and found.base.shape):
                return f"{self.memory(x)[0]}[0]"
            if found is not None and found.base is not x:
                return self.number_of(found.base)
        return f"(F){self.exactly(x)}"

    def exactly(self, x: Any) -> str:
        """A number of the symbols, in double precision, as Python computes it."""
        if not isinstance(x, Call):
            return f"((double){float(scalar_value(x)).hex()})"
        if x in self.known:
            return f"(double){self.known[x]}"
        if x.function is None and not isinstance(x, Buffer) and x.dtype is int and self.fused.m is not None:
            return f"{self.fused.m}.0"
        if x.function is None:
            if x not in self.numbers:
                self.numbers.append(x)
            return f"n{self.numbers.index(x)}"
        if x.function is np.asarray:
            return self.exactly(x.args[0])
        return OPERATORS[x.function].format(*map(self.exactly, x.args))

    def of_numbers(self, piece: Piece) -> list[str]:
        """What is computed of numbers alone."""
        lines = []
        for x in piece.instructions:
            name = self.new("s")
            f = x.call.function
            if is_number(x.call) and not isinstance(x.call, Buffer):
                text = f"(F){self.exactly(x.call)}"
            elif f is None:
                text = self.number_of(x.call)
            else:
                text = f"({OPERATORS[f].format(*[f'all({self.number_of(y)})' for y in x.call.args])})[0]"
            lines.append(f"F {name} = {text};")
            lines += self.keep_number(x.out, name)
        return lines

    def keep_number(self, out: Buffer, name: str) -> list[str]:
        """Remember a number, and lines that store it, if others read it in memory."""
        self.known[out] = name
        if out in self.fused.stored and out not in buffers_of(self.result):
            return [f"{self.memory(out, written=True)[0]}[0] = {name};"]
        return []

    # -- loops --------------------------------------------------------------------------------------------------------

    def loop(self, piece: Piece) -> list[str]:
        """A loop over columns."""
        loop = Loop(self, piece)
        lines = loop.lines()
        self.sums = LANES * loop.totals
        return lines
