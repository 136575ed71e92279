"""C for the pieces of a routine: a function for each run of loops, in which a column passes through all of a loop.

No name of a user's is in the text: arrays are numbered.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_dls.compiler.instructions import Buffer, Instruction, Place, Routine, perform
from tinygrad_dls.compiler.lowering import is_number, total
from tinygrad_dls.compiler.native.fusing import Fused, Operand, Piece, extent, reads
from tinygrad_dls.compiler.native.operators import EXTREMES, OF_MASKS, OPERATORS, TRUTHS
from tinygrad_dls.compiler.scheduling import sum_in_pairs, total_in_runs
from tinygrad_dls.ir.call import Call, scalar_value

__all__ = ["Function"]

RUN = 4096  # columns after which sums are added to those of all runs, in double precision
UNROLLED = 160  # operations of a column up to which all of them are written one after the other


def places(routine: Routine) -> dict[Buffer, tuple[Buffer, int, tuple[int, ...]]]:
    """Where buffers are that stay: the owner of the memory, and the first entry and the strides, in entries."""
    seen = (y for x in routine.steps for y in (*reads(x), x.out) if y.stays)
    owners = {x.owner for x in (*routine.slots, *(y.out for y in routine.setup), *seen)}
    arrays: dict[str, Any] = {x.name: np.empty(x.shape, x.dtype) for x in owners}
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
    result : Buffer or None
        The number that it returns.
    """

    def __init__(self, name: str, fused: Fused, pieces: Sequence[Piece], where: Any, result: Buffer | None) -> None:
        self.fused, self.where, self.result = fused, where, result
        self.name = self.__name__ = name
        self.owners: list[Buffer] = []
        self.arrays: list[Buffer] = []
        self.numbers: list[Any] = []
        self.dtype = fused.dtype
        self.suffix = "f" if self.dtype == np.float32 else ""
        self.known: dict[Buffer, str] = {}  # numbers of this function
        self.count = 0
        body = [line for piece in pieces for line in (self.loop(piece) if piece.columns else self.of_numbers(piece))]
        returned = self.number_of(result) if result is not None else "0"
        self.text = "\n".join(self.signature() + [f"    {line}" for line in body] + [f"    return {returned};", "}"])

    def signature(self) -> list[str]:
        """The first lines of the function."""
        arguments = ["void **p", *(f"Array *a{i}" for i in range(len(self.arrays)))]
        arguments += [f"double n{i}" for i in range(len(self.numbers))]
        lines = [f"double {self.name}({', '.join(arguments)}) {{"]
        for i, x in enumerate(self.owners):
            lines.append(f"    {self.ctype(x)} *p{i} = p[{i}];")
        for i, x in enumerate(self.arrays):
            rows, columns = extent(x)
            space = len(self.owners) + i
            if x in self.fused.made:
                lines.append(f"    F *x{i} = (F *)a{i}->data; long x{i}_r = {columns};")
            else:
                lines.append(
                    f"    long x{i}_r; const F *x{i} = plain(a{i}, '{np.dtype(x.dtype).char}', {rows}, {columns}, "
                    f"p[{space}], &x{i}_r);"
                )
        return lines

    def ctype(self, x: Buffer) -> str:
        return "unsigned char" if x.dtype == bool else "F"

    def new(self, stem: str) -> str:
        self.count += 1
        return f"{stem}{self.count}"

    # -- memory and numbers -------------------------------------------------------------------------------------------

    def memory(self, x: Buffer) -> tuple[str, Any, Any]:
        """The text of the first entry's address, and the strides of rows and columns."""
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
            if x in self.known:
                return self.known[x]
            if x in self.fused.numbers:
                return self.literal(self.fused.numbers[x])
            if x in self.where:
                return f"{self.memory(x)[0]}[0]"
        if x.function is None:
            if x.dtype is int and x.number is None and x.name == "m":
                pass
            if x not in self.numbers:
                self.numbers.append(x)
            return f"(F)n{self.numbers.index(x)}"
        raise AssertionError(x)

    def exactly(self, x: Any) -> str:
        """A number of the symbols, in double precision, as Python computes it."""
        if not isinstance(x, Call):
            return f"((double){float(scalar_value(x)).hex()})"
        if x.function is None or isinstance(x, Buffer):
            if x not in self.numbers:
                self.numbers.append(x)
            return f"n{self.numbers.index(x)}"
        if x.function is np.asarray:
            return self.exactly(x.args[0])
        return OPERATORS[x.function].format(*map(self.exactly, x.args))

    def of_numbers(self, piece: Piece) -> list[str]:
        lines = []
        for x in piece.instructions:
            name = self.new("s")
            if isinstance(x.call, Call) and not isinstance(x.call, Buffer) and is_number(x.call):
                text = f"(F){self.exactly(x.call)}"
            else:
                args = [x.call] if isinstance(x.call, Buffer) else x.call.args
                given = [f"all({self.number_of(y)})" for y in args]
                text = given[0] if isinstance(x.call, Buffer) else OPERATORS[x.call.function].format(*given)
                text = f"({text})[0]"
            lines.append(f"F {name} = {text};")
            lines += self.keep_number(x.out, name)
        return lines

    def keep_number(self, out: Buffer, name: str) -> list[str]:
        self.known[out] = name
        if out in self.fused.stored and out is not self.result:
            return [f"{self.memory(out)[0]}[0] = {name};"]
        return []

    # -- loops --------------------------------------------------------------------------------------------------------

    def loop(self, piece: Piece) -> list[str]:
        """A loop over columns."""
        return Loop(self, piece).lines()


class Loop:
    """A loop whose column is written out: all entries are variables."""

    def __init__(self, function: Function, piece: Piece) -> None:
        self.f, self.piece, self.fused = function, piece, function.fused
        self.before: list[str] = []  # what is loaded once
        self.sums: dict[str, str] = {}  # by accumulator, where its total goes
        self.after: list[str] = []
        self.loaded: dict[str, str] = {}

    def lines(self) -> list[str]:
        full, rest = self.body(False), self.body(True)
        columns, run = self.piece.columns, min(RUN, self.piece.columns)
        sums = list(self.sums)
        lines = [f"{{  // {columns} columns", *[f"    {line}" for line in self.before]]
        if sums:
            lines.append("    double " + ", ".join(f"t{x} = 0" for x in sums) + ";")
        lines.append(f"    for (long from = 0; from < {columns}; from += {run}) {{")
        lines.append(f"        long j = from, to = from + {run} < {columns} ? from + {run} : {columns};")
        if sums:
            lines.append("        V " + ", ".join(f"{x} = {{}}" for x in sums) + ";")
        lines.append("        for (; j + L <= to; j += L) {")
        lines += [f"            {line}" for line in full]
        lines.append("        }")
        lines.append("        if (j < to) {")
        lines.append("            int n = (int)(to - j);")
        lines += [f"            {line}" for line in rest]
        lines.append("        }")
        lines += [f"        t{x} += total({x});" for x in sums]
        lines.append("    }")
        outside = []
        for x, out in self.sums.items():
            if out.endswith("="):
                lines.append(f"    {out} t{x};")
            else:
                outside.append(f"F {out};")
                lines.append(f"    {out} = t{x};")
        lines.append("}")
        return [*outside, *lines, *self.after]

    def body(self, rest: bool) -> list[str]:
        self.rest, self.out = rest, []
        self.value: dict[tuple[Buffer, int], str] = {}
        self.loads: dict[str, str] = {}
        self.sums, self.after = {}, []
        self.variables = 0
        for x in self.piece.instructions:
            getattr(self, self.fused.forms[x.out].kind)(x)
        return self.out

    def emit(self, text: str, kind: str = "V") -> str:
        self.variables += 1
        name = f"v{self.variables}"
        self.out.append(f"{kind} {name} = {text};")
        return name

    def once(self, text: str) -> str:
        """A number that is loaded before the loop."""
        if text not in self.loaded:
            self.loaded[text] = f"w{len(self.loaded)}"
            self.before.append(f"const F {self.loaded[text]} = {text};")
        return self.loaded[text]

    def entry(self, x: Any, row: int, rows: int = 0) -> str:
        """The vector that is one row of an operand, in this column."""
        if not isinstance(x, Buffer):
            return f"all({self.f.number_of(x)})"
        if x in self.f.known or x in self.fused.numbers or not x.shape:
            return f"all({self.f.number_of(x)})"
        height, width = extent(x)
        if self.piece.line:
            height, width = width, height
        row = 0 if height == 1 else row
        found = self.fused.operand(x)
        if found is not None and found.base in self.fused.made and self.fused.made[found.base] is self.piece:
            return self.own(found, row)
        if found is not None and found.ones and row == height - 1:
            return "all(1)"
        at, r, c = self.f.memory(x)
        if self.piece.line:
            r, c = c, r
        if width == 1:
            return f"all({self.once(f'{at}[{row} * {r}]')})"
        where = f"{at} + {row} * {r} + j * {c}"
        if where not in self.loads:
            if c != 1:
                text = f"spread({where}, {c}, {'n' if self.rest else 'L'})"
            else:
                text = f"part({where}, n)" if self.rest else f"load({where})"
            self.loads[where] = self.emit(text)
        return self.loads[where]

    def own(self, x: Operand, row: int) -> str:
        """A row of what this loop has computed."""
        rows = extent(x.base)[1 if self.piece.line else 0]
        row += x.first
        return "all(1)" if x.ones and row == rows else self.value[x.base, row]

    def result(self, x: Instruction, row: int, text: str) -> None:
        mask = x.out.dtype == bool
        self.value[x.out, row] = name = self.emit(text, "I" if mask else "V")
        if x.out in self.fused.stored or x.out.place is Place.NEW:
            at, r, c = self.f.memory(x.out)
            if self.piece.line:
                r, c = c, r
            where = f"{at} + {row} * {r} + j * {c}"
            if c != 1:
                self.out.append(f"scatter({where}, {c}, {name}, {'n' if self.rest else 'L'});")
            else:
                self.out.append(f"store_part({where}, {name}, n);" if self.rest else f"store({where}, {name});")

    def line(self, x: Instruction) -> None:
        self.entries(x)

    def entries(self, x: Instruction) -> None:
        form = self.fused.forms[x.out]
        for row in range(form.rows):
            if isinstance(x.call, Buffer) or x.call.function not in _ALL:
                inner = x.call if isinstance(x.call, Buffer) else x.call.args[0]
                self.result(x, row, self.entry(inner, row))
                continue
            args = [self.entry(y, row) for y in x.call.args]
            text = _ALL[x.call.function].format(*args)
            if x.call.function in TRUTHS and x.out.dtype != bool:
                text = f"one_if{text}"
            self.result(x, row, text)

    def product(self, x: Instruction) -> None:
        a, b = x.call.args
        rows, inner = extent(a)
        at, r, c = self.f.memory(a)
        for row in range(rows):
            terms = []
            for k in range(inner):
                w, v = self.once(f"{at}[{row} * {r} + {k} * {c}]"), self.entry(b, k)
                terms.append(f"all({w})" if v == "all(1)" else f"{w} * {v}")
            self.result(x, row, _summed(terms))

    def down(self, x: Instruction) -> None:
        of = x.call.args[0] if x.call.function in EXTREMES else x.call.args[1]
        rows = [self.entry(of, k) for k in range(extent(of)[0])]
        if x.call.function in (np.max, np.min):
            text = rows[0]
            for other in rows[1:]:
                text = EXTREMES[x.call.function].format(text, other)
        else:
            text = _summed(rows)
        self.result(x, 0, text)

    def across(self, x: Instruction) -> None:
        f, args, out = x.call.function, x.call.args, x.out
        first = args[0]
        second = None
        if f in (np.dot, np.matmul, total, total_in_runs):
            second = None if self.fused.numbers.get(args[1]) == 1 else args[1]
        rows = extent(first)[0]
        if f in (np.dot, np.matmul) and second is not None and len(second.shape) == 2:
            found = self.fused.operand(second)
            pairs = [(r, k) for r in range(rows) for k in range(second.shape[1])]
            base = self.fused.views[second].args[0]  # of the transpose
            for r, k in pairs:
                v = self.entry(base, k)
                self.add(f"{self.entry(first, r)} * {v}" if v != "all(1)" else self.entry(first, r), out, r, k)
            assert found is not None
        elif f in (total, total_in_runs, np.dot, np.matmul) and second is not None:
            self.add(_summed([f"{self.entry(first, r)} * {self.entry(second, r)}" for r in range(rows)]), out, 0, 0)
        elif out.size == 1:
            self.add(_summed([self.entry(first, r) for r in range(rows)]), out, 0, 0)
        else:
            for r in range(rows):
                self.add(self.entry(first, r), out, *((r, 0) if len(out.shape) == 2 else (0, r)))

    def add(self, text: str, out: Buffer, r: int, k: int) -> None:
        name = f"c{len(self.sums)}"
        self.out.append(f"{name} += first({text}, n);" if self.rest else f"{name} += {text};")
        if out.size == 1 and not out.shape:
            number = self.f.known.get(out) or self.f.new("s")
            self.sums[name] = number
            self.after += self.f.keep_number(out, number)
        else:
            at, across, down = self.f.memory(out)
            self.sums[name] = f"{at}[{r * across + k * down}] ="


_ALL = OPERATORS | TRUTHS | OF_MASKS


def _summed(terms: list[str]) -> str:
    """A sum in few steps that wait for each other."""
    chains = min(4, max(1, len(terms) // 4))
    parts = [terms[i::chains] for i in range(chains)]
    texts = []
    for part in parts:
        text = part[-1]
        for term in reversed(part[:-1]):
            text = f"({term} + {text})"
        texts.append(text)
    while len(texts) > 1:
        texts = [f"({' + '.join(texts[i : i + 2])})" for i in range(0, len(texts), 2)]
    return texts[0]
