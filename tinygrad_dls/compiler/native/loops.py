"""The text of one loop in C: its tiles, and in these, row by row, what is done with a vector of columns."""

from __future__ import annotations

from itertools import takewhile
from typing import Any

import numpy as np

from tinygrad_dls.compiler.instructions import Buffer, Instruction
from tinygrad_dls.compiler.native.fusing import Operand, Piece, extent
from tinygrad_dls.compiler.native.grouping import WRITTEN, Group, Grouping
from tinygrad_dls.compiler.native.operators import EXTREMES, OF_MASKS, OPERATORS, TRUTHS
from tinygrad_dls.compiler.native.outlining import Block
from tinygrad_dls.compiler.threads import LANES
from tinygrad_dls.ir.call import Call

__all__ = ["Loop", "times"]

RUN = 4096  # columns after which sums are added to those of all runs, in double precision
LONG_RUN = 16384  # the same, where there are many sums


class Loop:
    """The text of a loop, tile by tile.

    Parameters
    ----------
    function : Function
        That of C, of `printing`, which knows where memory is.
    piece : Piece
    """

    def __init__(self, function: Any, piece: Piece) -> None:
        self.f, self.piece, self.fused = function, piece, function.fused
        self.grouping = Grouping(self.fused, piece)
        self.size, self.of = self.grouping.tile, self.grouping.of
        self.local, self.shape = self.grouping.local, self.grouping.shape
        self.names = {x: f"v{place}" for x, place in self.grouping.places.items()}
        self.sums: dict[Buffer, str] = {}  # the arrays in which sums are added up
        self.outside: list[str] = []
        self.after: list[str] = []
        # of the group that is written:
        self.group, self.block, self.rest, self.variables = Group(0), Block(), False, 0
        self.before: list[str] = []
        self.out: list[str] = []
        self.loaded: dict[str, str] = {}  # numbers, by their texts
        self.added: dict[str, str] = {}  # sums, and where they are kept
        self.value: dict[Buffer, str] = {}
        self.loads: dict[str, str] = {}

    def lines(self) -> list[str]:
        """The loop, and what is declared before it."""
        columns, tile, shared = self.piece.columns, self.size, self.piece.shared
        start, end = ("start", "end") if shared else (0, columns)
        blocks = [self.rows(group) if not group.kernel else self.large(group) for group in self.grouping.groups]
        inner = self.f.outlines.lines(blocks, "Size from", "Size n")
        run = max(1, (LONG_RUN if any(group.kernel for group in self.grouping.groups) else RUN) // tile) * tile
        lines = [f"{{  // {columns} columns, {tile} at a time"]
        for place, height in enumerate(self.grouping.heights):
            lines.append(f"    {_place(height * tile // 8)}F v{place}[{height * tile}] ALIGNED;")
        counts = [(name, self.count(x)) for x, name in self.sums.items()]
        if shared:
            lines += self.lane()
        for name, n in counts:
            where = self.total(name) if shared else f"{_place(n // 8)}double t{name}[{n}] ALIGNED"
            lines.append(f"    {where}; memset(t{name}, 0, {n} * sizeof(double));")
        counts = [(name, self.count(x)) for x, name in self.sums.items() if self.as_vectors(x)]
        lines += [f"    {_place(n)}V {name}[{n}];" for name, n in counts]
        if counts:
            lines.append(f"    for (Size run = {start}; run < {end}; run += {run}) {{")
            lines.append(f"    Size stop = run + {run} < {end} ? run + {run} : {end};")
            lines += [f"    memset({name}, 0, sizeof {name});" for name, _ in counts]
            lines.append(f"    for (Size from = run; from < stop; from += {tile}) {{")
            lines.append(f"        Size n = stop - from < {tile} ? stop - from : {tile};")
        else:
            lines.append(f"    for (Size from = {start}; from < {end}; from += {tile}) {{")
            lines.append(f"        Size n = {end} - from < {tile} ? {end} - from : {tile};")
        lines += [f"        {line}" for line in inner]
        lines.append("    }")
        if counts:
            lines += [f"    add_totals(t{name}, {name}, {n});" for name, n in counts]
            lines.append("    }")
        if shared:
            lines += self.all_lanes()
        kept = [self.keep(x, name) for x, name in self.sums.items()]
        lines += [f"    {line}" for line in self.f.outlines.lines(kept)]
        lines.append("}")
        return [*self.outside, *lines, *self.after]

    # -- lanes, which threads share -----------------------------------------------------------------------------------

    @property
    def totals(self) -> int:
        """Numbers in which a lane adds up, in whole lines of the cache."""
        return -(-sum(map(self.count, self.sums)) // 8) * 8

    def total(self, name: str) -> str:
        """The declaration of the place of a sum among those of a lane."""
        before = takewhile(lambda x: self.sums[x] != name, self.sums)
        return f"double *t{name} = t + lane * {self.totals} + {sum(map(self.count, before))}"

    def lane(self) -> list[str]:
        """The first lines of the loop over the lanes: each has as many tiles as the others, as far as that goes."""
        tiles = -(-self.piece.columns // self.size)
        return [
            f"    for (int lane = begin < 0 ? 0 : begin; lane < finish && lane < {LANES}; lane++) {{",
            f"    Size start = lane * (Size){tiles} / {LANES} * {self.size};",
            f"    Size end = (lane + 1) * (Size){tiles} / {LANES} * {self.size};",
            f"    end = end < {self.piece.columns} ? end : {self.piece.columns};",
        ]

    def all_lanes(self) -> list[str]:
        """The lines that end the loop over the lanes, and add them up in order when all are done."""
        lines = ["    }", f"    if (finish <= {LANES}) return 0;"]
        if self.sums:
            lines.append(f"    for (int lane = 1; lane < {LANES}; lane++)")
            n = sum(map(self.count, self.sums))
            lines.append(f"        for (int i = 0; i < {n}; i++) t[i] += t[lane * {self.totals} + i];")
        lines.append("    enum { lane = 0 };")
        return lines + [f"    {self.total(name)};" for name in self.sums.values()]

    # -- sums ---------------------------------------------------------------------------------------------------------

    def as_vectors(self, x: Buffer) -> bool:
        """Whether sums are vectors until a run of columns ends; large ones of doubles are added up at each tile."""
        return not self.of[x].kernel or self.fused.dtype == np.float32

    def count(self, x: Buffer) -> int:
        """How many sums there are."""
        return max(1, x.size)

    def keep(self, x: Buffer, name: str) -> Block:
        """Lines that put sums where they belong."""
        self.block = Block()
        if not x.shape:
            number = self.f.new("s")
            self.outside.append(f"F {number};")
            self.after += self.f.keep_number(x, number)
            self.block.lines = [f"{number} = (F)t{name}[0];"]
            return self.block
        at, r, c = self.memory(x, written=True)
        rows, columns = extent(x)
        t = self.block.mark("const double *", f"t{name}")
        self.block.lines = [
            f"for (Size r = 0; r < {rows}; r++)",
            f"    for (Size c = 0; c < {columns}; c++) {at}[r * {r} + c * {c}] = (F){t}[r * {columns} + c];",
        ]
        return self.block

    # -- groups -------------------------------------------------------------------------------------------------------

    def memory(self, x: Buffer, *, written: bool = False) -> tuple[str, Any, Any]:
        """The first entry's address, and the strides of rows and columns, as the lines of a group name them."""
        at, *strides = self.f.memory(x)
        r, c = (self.block.mark("Size ", n) if isinstance(n, str) else n for n in strides)
        return self.block.mark(f"{'' if written else 'const '}{self.f.ctype(x)} *", at), r, c

    def kept(self, x: Buffer) -> str:
        """The place in the tile of what other groups need."""
        return self.block.mark("F *", self.names[x])

    def number(self, x: Any) -> str:
        """A number, as the lines of a group name it."""
        text = self.f.number_of(x)
        return text if not isinstance(x, Call) or x in self.fused.numbers else self.block.mark("F ", text)

    def rows(self, group: Group) -> Block:
        """A group in which all is written out for a row and a vector of columns."""
        self.group, self.block, self.before, self.loaded, self.added = group, Block(), [], {}, {}
        full = self.body(False)
        rest = self.body(True) if self.piece.columns % 16 else []
        lines = [f"for (Size r = 0; r < {group.rows}; r++) {{" if group.rows > 1 else "{"]
        if group.rows == 1:
            lines.append("    enum { r = 0 };")
        lines += [f"    {line}" for line in self.before]
        lines += [f"    V {name} = {place};" for name, place in self.added.items()]
        lines.append("    Size j = 0;")
        lines.append("    for (; j + L <= n; j += L) {")
        lines += [f"        {line}" for line in full]
        lines.append("    }")
        if rest:
            lines.append("    if (j < n) {")
            lines.append("        int k = (int)(n - j);")
            lines += [f"        {line}" for line in rest]
            lines.append("    }")
        lines += [f"    {place} = {name};" for name, place in self.added.items()]
        self.block.lines = [*lines, "}"]
        return self.block

    def body(self, rest: bool) -> list[str]:
        """What is done with a vector of columns: a whole one, or the rest that is left of a row."""
        self.rest, self.out, self.variables = rest, [], 0
        self.value, self.loads, self.added = {}, {}, {}
        for x in self.group.instructions:
            getattr(self, self.fused.forms[x.out].kind)(x)
        return self.out

    def emit(self, text: str, kind: str = "V") -> str:
        """Give what a text computes a name."""
        self.variables += 1
        self.out.append(f"{kind} u{self.variables} = {text};")
        return f"u{self.variables}"

    def once(self, text: str) -> str:
        """A number that is loaded before the columns of a row."""
        if text not in self.loaded:
            self.loaded[text] = f"w{len(self.loaded)}"
            self.before.append(f"const F {self.loaded[text]} = {text};")
        return self.loaded[text]

    def entry(self, x: Any, row: str | int = "r") -> str:
        """The vector of an operand's row, in these columns."""
        operand = self.fused.operand(x) if isinstance(x, Buffer) else None
        if operand is not None and not operand.base.shape:
            x = operand.base
        if not isinstance(x, Buffer) or x in self.fused.numbers or not x.shape:
            return f"all({self.number(x)})"
        height, width = self.shape(x)
        if height == 1:
            row = 0
        found = self.local(x)
        if found is not None:
            if found.ones and row == height - 1:
                return "all(1)"
            if self.of[found.base] is self.group:
                return self.value[found.base]
            where = f"{self.kept(found.base)} + {_index(row, found.first)} * {self.size} + j"
            return self.loaded_vector(where, f"load({where})", found.base.dtype == bool)
        if operand is not None and operand.ones and row == height - 1:
            return "all(1)"
        at, r, c = self.memory(x)
        r, c = (c, r) if self.piece.line else (r, c)
        k = "k" if self.rest else "L"
        if x.dtype == bool and x in self.f.where:
            step = 0 if width == 1 else c
            where = f"{at} + {times(row, r)} + (from + j) * {step}"
            return self.loaded_vector(where, f"mask_from({where}, {step}, {k})", True)
        if width == 1:
            number = f"{at}[{times(row, r)}]"
            return f"all({number if row == 'i' else self.once(number)})"  # i is known within its loop only
        where = f"{at} + {times(row, r)} + (from + j) * {c}"
        if c != 1:
            return self.loaded_vector(where, f"spread({where}, {c}, {k})")
        return self.loaded_vector(where, f"part({where}, k)" if self.rest else f"load({where})")

    def mask(self, x: Any) -> str:
        """The same of truth values, as a mask: data come as the numbers 0 and 1."""
        text = self.entry(x)
        return text if self.local(x) is not None or x in self.f.where else f"({text} != 0)"

    def loaded_vector(self, where: str, text: str, mask: bool = False) -> str:
        """A vector, or a mask, from memory: each is loaded once."""
        if where not in self.loads:
            self.loads[where] = self.emit(
                f"(I){text}" if mask and text.startswith("load") else text, "I" if mask else "V"
            )
        return self.loads[where]

    def result(self, x: Instruction, text: str) -> None:
        """Give a result a name, and keep it where others need it."""
        mask = x.out.dtype == bool
        self.value[x.out] = name = self.emit(text, "I" if mask else "V")
        if x.out in self.names:
            self.out.append(f"store({self.kept(x.out)} + r * {self.size} + j, {f'(V){name}' if mask else name});")
        self.out += self.leave(x.out, name)

    def leave(self, x: Buffer, name: str) -> list[str]:
        """Lines that store what others read in memory."""
        if x not in self.fused.stored:
            return []
        at, r, c = self.memory(x, written=True)
        r, c = (c, r) if self.piece.line else (r, c)
        where = f"{at} + r * {r} + (from + j) * {c}"
        if x.dtype == bool:
            return [f"mask_to({where}, {c}, {name}, {'k' if self.rest else 'L'});"]
        if c != 1:
            return [f"scatter({where}, {c}, {name}, {'k' if self.rest else 'L'});"]
        return [f"store_part({where}, {name}, k);" if self.rest else f"store({where}, {name});"]

    def line(self, x: Instruction) -> None:
        """Entries of single columns."""
        self.entries(x)

    def entries(self, x: Instruction) -> None:
        """A function of entries, or a copy."""
        f = x.call.function
        if f is None or f not in _ALL:
            self.result(x, self.entry(x.call if f is None else x.call.args[0]))
            return
        masks = len(x.call.args) if f in OF_MASKS else f is np.where
        given = [self.mask(y) if i < masks else self.entry(y) for i, y in enumerate(x.call.args)]
        text = _ALL[f].format(*given)
        self.result(x, f"one_if{text}" if f in TRUTHS and x.out.dtype != bool else text)

    def weights(self, a: Buffer) -> tuple[str, Any, Any]:
        """Where the weights of a product are, by rows."""
        at, r, c = self.memory(a)
        return (at, 0, c) if len(a.shape) == 1 else (at, r, c)

    def product(self, x: Instruction) -> None:
        """A row of a small product."""
        a, b = x.call.args
        at, r, c = self.weights(a)
        terms = []
        for k in range(extent(a)[1]):
            w, v = self.once(f"{at}[r * {r} + {times(k, c)}]"), self.entry(b, k)
            terms.append(f"all({w})" if v == "all(1)" else f"{w} * {v}")
        self.result(x, _summed(terms))

    def down(self, x: Instruction) -> None:
        """The sum, or an extreme, of each column."""
        of = x.call.args[0] if x.call.function in EXTREMES else x.call.args[1]
        f = x.call.function if x.call.function in EXTREMES else np.sum
        height = self.shape(of)[0]
        if height <= 4 * WRITTEN:
            text = self.entry(of, 0)
            for k in range(1, height):
                text = EXTREMES[f].format(text, self.entry(of, k))
        else:
            text = self.emit(self.entry(of, 0))
            self.loads.clear()
            self.out.append(f"for (Size i = 1; i < {height}; i++) {{")
            inside = self.entry(of, "i")
            self.loads.clear()
            self.out.append(f"{text} = {EXTREMES[f].format(text, inside)}; }}")
        self.result(x, text)

    def across(self, x: Instruction) -> None:
        """A sum over the columns, of one row or of products with others."""
        first, second, each = self.grouping.factors(x)
        name = self.sums.setdefault(x.out, f"c{len(self.sums)}")
        mine = self.entry(first)
        if second is None:
            self.add(name, mine, "0" if x.out.size == 1 else "r")
        elif each:
            inner = self.shape(second)[0]
            for k in range(inner):
                v = self.entry(second, k)
                self.add(name, mine if v == "all(1)" else f"{mine} * {v}", f"r * {inner} + {k}")
        else:
            self.add(name, f"{mine} * {self.entry(second)}", "0")

    def add(self, name: str, text: str, place: str) -> None:
        """Add a vector to the sum in a place."""
        variable = f"a{len(self.added)}"
        self.added[variable] = f"{self.block.mark('V *', name)}[{place}]"
        self.out.append(f"{variable} += first({text}, k);" if self.rest else f"{variable} += {text};")

    # -- what is large ------------------------------------------------------------------------------------------------

    def operand(self, x: Buffer, zeros: bool = False) -> tuple[str, Any, int, bool, list[str]]:
        """The rows of an operand in this tile: address, step, their number, whether ones follow; and lines before."""
        found = self.local(x) or self.fused.operand(x) or Operand(x)
        rows = self.shape(x)[0] - found.ones
        if self.local(x) is not None:
            at = f"{self.kept(found.base)} + {found.first} * {self.size}"
            return at, self.size, rows, found.ones, [f"clear({at}, {rows}, {self.size}, n);"] if zeros else []
        at, r, c = self.memory(x)
        self.variables += 1
        name = f"b{self.variables}"
        given = f"{at} + from * {c}, {r}, {c}, {rows}, n, {self.size}, {name}_space, &{name}_r"
        lines = [
            f"static __thread F {name}_space[{rows * self.size}] ALIGNED;",
            f"Size {name}_r; const F *{name} = padded({given});",
        ]
        return name, f"{name}_r", rows, found.ones, lines

    def large(self, group: Group) -> Block:
        """The call of a kernel."""
        (x,) = group.instructions
        self.block, self.variables = Block(), 0
        lines = self.large_product(x) if group.kernel == "product" else self.large_sums(x)
        self.block.lines = ["{", *[f"    {line}" for line in lines], "}"]
        return self.block

    def large_product(self, x: Instruction) -> list[str]:
        """A product that a kernel computes."""
        a, b = x.call.args
        at, r, c = self.weights(a)
        of, step, inner, ones, lines = self.operand(b)
        bias = f"{at} + {times(inner, c)}" if ones else "0"
        rows, name = extent(a)[0], self.kept(x.out)
        lines.append(f"product({name}, {self.size}, {at}, {r}, {c}, {bias}, {of}, {step}, {rows}, {inner}, n);")
        if x.out in self.fused.stored:
            to, r, _ = self.memory(x.out, written=True)
            row = f"memcpy({to} + r * {r} + from, {name} + r * {self.size}, n * sizeof(F));"
            lines.append(f"for (Size r = 0; r < {rows}; r++) {row}")
        return lines

    def large_sums(self, x: Instruction) -> list[str]:
        """Sums of products that a kernel computes."""
        first, second, _ = self.grouping.factors(x)
        name = self.sums.setdefault(x.out, f"c{len(self.sums)}")
        a, a_step, rows, _, lines = self.operand(first, zeros=True)
        b, b_step, inner, ones, more = self.operand(second, zeros=True)
        lines = lines + more
        width = inner + ones
        to = self.block.mark("V *", name) if self.as_vectors(x.out) else self.block.mark("double *", f"t{name}")
        lines.append(f"sums({to}, {width}, {a}, {a_step}, {b}, {b_step}, {rows}, {inner}, {int(ones)}, n);")
        return lines


_ALL = OPERATORS | TRUTHS | OF_MASKS


def _place(vectors: int) -> str:
    """How an array of so many vectors is declared: a large one does not lie on the stack."""
    return "static __thread " if vectors > 64 else ""


def _index(row: str | int, first: int) -> str:
    return f"({row} + {first})" if first else str(row)


def times(row: Any, stride: Any) -> Any:
    """An offset: the product of numbers is taken here, as C would take it in 32 bits."""
    return row * stride if isinstance(row, int) and isinstance(stride, int) else f"{row} * {stride}"


def _summed(terms: list[str]) -> str:
    """A sum in which the last term comes first, as the others are added to it by one operation each."""
    text = terms[-1]
    for term in reversed(terms[:-1]):
        text = f"({term} + {text})"
    return text
