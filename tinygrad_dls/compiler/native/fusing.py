"""Fusing: which instructions of a routine become one loop over columns, and which stay calls of NumPy.

The one idea: a loop goes through the columns of matrices, whatever these stand for; the examples are columns. An
instruction is told by the shapes of what it takes and gives: it works on the columns, each for itself; it sums over
them; it is about numbers; or it is one that only NumPy knows. It joins the first loop of as many columns in which all
is there that it needs: what that loop computes column by column is, but not its sums. As all results have memory of
their own, nothing else has to be kept apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from tinygrad_dls.compiler.instructions import Buffer, Instruction, Place, Routine
from tinygrad_dls.compiler.lowering import copy_of, is_number, sigmoid_of, total
from tinygrad_dls.compiler.native.operators import EXTREMES, OF_MASKS, OPERATORS, TRUTHS
from tinygrad_dls.compiler.scheduling import sum_in_pairs, total_in_runs
from tinygrad_dls.compiler.threads import LANES
from tinygrad_dls.ir.call import Call, getitem, scalar_value, summed_axes

__all__ = ["Form", "Fused", "Operand", "Piece", "buffers_of", "extent", "first_or_new", "reads"]

T = TypeVar("T")

LARGEST = 64 * 72  # entries of weights up to which a product is a loop: above, BLAS is faster; rows of a loop
CONVERTED = ("b", "i", "u")  # kinds of dtypes of data that loops convert

# Bytes that a loop computes, from which on threads share it: with less to do, they wait for each other. So many take a
# server processor 0.2 ms, or two of them 0.15 ms; starting the second one takes 0.04 ms.
SHARED = 40_000_000
UNLOCKED = SHARED // 20  # some 10 us, from which on to let other threads run costs next to nothing
SUM = 3_000  # what each sum costs a lane, however few its columns are: it starts at zero, and is added to other lanes
READ, DEAR = 3, 10  # times what a product takes: an entry that comes from memory; one of these functions
LONG = {np.exp, np.log, np.log1p, np.tanh, np.divide, np.sqrt, sigmoid_of}


@dataclass(frozen=True, slots=True)
class Form:
    """How an instruction is computed.

    Attributes
    ----------
    kind : str
        ``"entries"``, or a ``"line"`` of them; ``"product"`` of weights and columns; ``"down"`` each column;
        ``"across"``, a sum over the columns of products of rows; ``"number"``, of numbers alone.
    rows, columns : int
        Of the loop; no columns for numbers.
    """

    kind: str
    rows: int = 1
    columns: int = 0


@dataclass(eq=False, slots=True)
class Piece:
    """Instructions that run together: a loop over so many columns; numbers, if these are 0; or, if -1, calls of NumPy.

    The entries of columns alone, (n, 1), are gone through as a line. A loop that has much to do is a function of its
    own, which threads share; other threads of Python run beside one that has something to do.
    """

    columns: int
    line: bool = False
    shared: bool = False
    is_long: bool = False
    instructions: list[Instruction] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Operand:
    """Rows of what an instruction has made, as a view sees them.

    Attributes
    ----------
    base : Buffer
        What was made, or is given.
    first : int
        The first row.
    ones : bool
        Whether a row of ones follows below.
    transposed : bool
    """

    base: Buffer
    first: int = 0
    ones: bool = False
    transposed: bool = False


def extent(x: Any) -> tuple[int, int]:
    """Rows and columns of an array with two axes at the most."""
    return (1, 1) if not x.shape else (1, x.shape[0]) if len(x.shape) == 1 else (x.shape[0], x.shape[1])


class Fused:
    """The pieces of a routine, in order.

    Attributes
    ----------
    pieces : list of Piece
    made : dict of Buffer to Piece
        What instructions make, and where.
    forms : dict of Buffer to Form
        How, by what they make.
    stored : set of Buffer
        What loops have to leave in memory: other pieces read it, or it is a result.
    """

    def __init__(self, routine: Routine, dtype: Any, m: int | None = None) -> None:
        self.routine, self.dtype, self.m = routine, np.dtype(dtype), m
        self.pieces: list[Piece] = []
        self.made: dict[Buffer, Piece] = {}
        self.views: dict[Buffer, Call] = {
            x.out: x.call for x in (*routine.setup, *routine.steps) if not x.into and x.out.of is not None
        }
        self.constants = {x.out: x.call for x in routine.setup if x.out.of is None}
        self.results = {x.out for x in routine.steps if x.into or x.out.of is None}
        self.numbers = dict(_numbers(routine))
        self.returned = {x for x in routine.returned if isinstance(x, Buffer)}
        self.into: dict[Buffer, list[Buffer]] = {}  # by the owner of the memory, what was written there
        self.below: dict[Buffer, Buffer] = {}  # arrays with a row of ones, and their other rows
        self.copied: set[Buffer] = set()  # data that are copied only to have a row of ones below
        for x in routine.steps:
            if x.into and x.out.of is not None and self._ends_with_ones(x.out.of, x.out):
                self.below[x.out.of] = x.out
        for x in routine.steps:
            source, whole = x.call, x.out.owner
            given = isinstance(source, Buffer) and source.place is Place.GIVEN and source.dtype == self.dtype
            if isinstance(source, Buffer) and given and self.below.get(whole) is x.out and not self._numpy_reads(whole):
                self.below[whole] = source
                self.copied.add(x.out)
        self.forms = {x.out: form for x in routine.steps if (form := self.form(x)) is not None}
        needed = set(self._needed_views())
        for x in routine.steps:
            if x.out not in self.copied and (x.out in self.results or x.out in needed):
                self._place(x)
        for piece in self.loops:
            work = self._work(piece)
            sums = sum(x.out.size for x in piece.instructions if self.forms[x.out].kind == "across")
            piece.shared, piece.is_long = work >= SHARED + LANES * sums * SUM, work >= UNLOCKED
        self.stored = set(self._stored())

    def _ends_with_ones(self, whole: Buffer, rows: Buffer) -> bool:
        made = self.constants.get(whole)
        cut = len(rows.shape) == 2 and rows.shape[0] == whole.shape[0] - 1
        return whole.memory is Place.OWN and made is not None and made.function is np.ones and cut

    def _numpy_reads(self, whole: Buffer) -> bool:
        """Whether an instruction that only NumPy knows reads an array, or it is given back."""
        of = (x for x in self.routine.steps if any(y.owner is whole for y in reads(x)))
        return whole in self.returned or any(self.form(x) is None for x in of)

    def _needed_views(self) -> Iterator[Buffer]:
        """The views that have to be made: NumPy reads them, or C cannot look through them."""
        waiting = [*self.returned, *buffers_of(self.routine.cost)]
        for x in self.routine.steps:
            if x.out in self.results:
                numpy = x.out not in self.forms
                waiting += [y for y in reads(x) if numpy or self.operand(y) is None]
        while waiting:
            view = waiting.pop()
            if view in self.views:
                yield view
                waiting += [y for y in self.views[view].args if isinstance(y, Buffer)]

    # -- what instructions are ----------------------------------------------------------------------------------------

    def operand(self, x: Buffer) -> Operand | None:
        """What a buffer shows of what was made; None if it is another sort of view."""
        if x in self.below:
            return Operand(self.below[x], ones=True)
        if x in self.results or x not in self.views:
            return Operand(x)
        call = self.views.get(x)
        if call is None or not isinstance(call, Call) or not call.args or not isinstance(call.args[0], Buffer):
            return None
        inner, f = self.operand(call.args[0]), call.function
        if inner is None or inner.transposed:
            return None
        if f is np.transpose and not call.options and len(x.shape) == 2:
            return Operand(inner.base, inner.first, inner.ones, True)
        if f is np.reshape and extent(x) == extent(call.args[0]):
            return inner
        if f is getitem and not inner.ones and len(x.shape) == 2:
            index = call.args[1] if isinstance(call.args[1], tuple) else (call.args[1],)
            rows = index[0] if index else None
            if isinstance(rows, slice) and rows.step in (None, 1) and all(i == slice(None) for i in index[1:]):
                return Operand(inner.base, inner.first + rows.indices(call.args[0].shape[0])[0])
        return None

    def form(self, x: Instruction) -> Form | None:
        """How an instruction is computed by a loop; None if only NumPy can, or where rows have no room in a tile."""
        if any(y.size == 0 or not y.dtype.isnative for y in reads(x)):
            return None
        found = self._form(x)
        return None if found is not None and found.rows > LARGEST else found

    def _form(self, x: Instruction) -> Form | None:
        call, out = x.call, x.out
        if out.dtype != self.dtype and not (
            out.dtype == bool and isinstance(call, Call) and call.function in _OF_TRUTH
        ):
            return None
        if len(out.shape) > 2 or out.size == 0 or (out.dtype == bool and not out.shape):
            return None
        if isinstance(call, Buffer) or call.function is copy_of:
            return self._copy(call if isinstance(call, Buffer) else call.args[0], out)
        if is_number(call):
            return Form("number") if not out.shape else None
        f, buffers = call.function, [y for y in call.args if isinstance(y, Buffer)]
        if any(len(y.shape) > 2 or not (y.dtype == self.dtype or y.dtype.kind in CONVERTED) for y in buffers):
            return None
        ending = [i for i, y in enumerate(buffers) if (found := self.operand(y)) is not None and found.ones]
        if ending and not (f in (np.dot, np.matmul) and ending == [1]):
            return None  # a row of ones is only what weights are multiplied by
        if f in OPERATORS or f in TRUTHS or f in OF_MASKS:
            return self._entries(call, out)
        if any(y.dtype != self.dtype for y in buffers):
            return None
        if f in (np.dot, np.matmul) and len(buffers) == 2:
            return self._product(buffers[0], buffers[1], out)
        if f in (total, sum_in_pairs, total_in_runs):
            rows, columns = extent(buffers[0])
            return Form("across", rows, columns) if columns > 1 else None
        if f in EXTREMES and call.options.keys() <= {"axis", "keepdims"}:
            return self._reduction(call, buffers[0], out)
        return None

    def _copy(self, x: Any, out: Buffer) -> Form | None:
        if not isinstance(x, Buffer) or x.dtype != self.dtype or x.shape != out.shape or not out.shape:
            return None
        if (found := self.operand(x)) is not None and found.ones:
            return None
        return None if out in self.returned and x not in self.results else _over(out)

    def _entries(self, call: Call, out: Buffer) -> Form | None:
        f = call.function
        if call.options or (f is np.where and not (isinstance(call.args[0], Buffer) and call.args[0].dtype == bool)):
            return None
        kinds: list[Any] = []
        for i, y in enumerate(call.args):
            mask = f in OF_MASKS or (f is np.where and i == 0)
            if isinstance(y, Buffer):
                given = y.place is Place.GIVEN
                if (y.dtype == bool) != mask and not (given and not mask):
                    return None
                if y.dtype.kind in CONVERTED and not (given or mask):
                    return None
                kinds += [] if mask else [y.dtype]
            elif mask or (scalar_value(y) is None and not is_number(y)):
                return None
            else:
                kinds.append(y.dtype if isinstance(y, np.generic) else float if isinstance(y, Call) else type(y))
        known = [kind(0) if isinstance(kind, type) else kind for kind in kinds]  # of Python's numbers, an example
        if known and np.result_type(*known) != self.dtype:
            return None
        if not out.shape:
            return None if out in self.returned or f is np.where or f in _OF_TRUTH else Form("number")
        return _over(out)

    def _product(self, a: Buffer, b: Buffer, out: Buffer) -> Form | None:
        if not (a.shape and b.shape):
            return None
        if b in self.numbers and self.numbers[b] == 1:  # the sums of rows
            return Form("across", *extent(a)) if len(a.shape) == 2 and b.size == a.shape[1] else None
        if a in self.numbers and self.numbers[a] == 1 and len(b.shape) == 2:  # of columns
            return Form("down", 1, b.shape[1])
        if len(a.shape) == len(b.shape) == 1:
            return Form("across", 1, a.shape[0])
        if len(b.shape) != 2:
            return None
        of_b, of_a = self.operand(b), self.operand(a)
        if of_b is not None and of_b.transposed:
            able = len(a.shape) == 2 and out.size <= LARGEST and not (of_a is not None and of_a.transposed)
            return Form("across", a.shape[0], b.shape[0]) if able and b.shape[0] > 1 else None
        rows, inner = extent(a)
        return Form("product", rows, b.shape[1]) if rows * inner <= LARGEST and b.shape[1] > 1 else None

    def _reduction(self, call: Call, x: Buffer, out: Buffer) -> Form | None:
        axes = summed_axes(call)
        if len(axes) == len(x.shape) and call.function is np.sum:
            return Form("across", *extent(x)) if extent(x)[1] > 1 and out not in self.returned else None
        if len(x.shape) == 2 and axes == (0,):
            return Form("down", 1, x.shape[1])
        return Form("across", *extent(x)) if len(x.shape) == 2 and axes == (1,) and call.function is np.sum else None

    # -- where they go ------------------------------------------------------------------------------------------------

    def _place(self, x: Instruction) -> None:
        form = self.forms.get(x.out)
        columns, line = (-1, False) if form is None else (form.columns, form.kind == "line")
        earliest = 0
        for y in reads(x):
            found = self.operand(y)
            kind = form.kind if form is not None else ""
            turned = found is not None and found.transposed and not (kind == "across" and y is x.call.args[1])
            whole = turned or (kind == "product" and y is x.call.args[0])
            earliest = max(earliest, self._from(y, -2 if whole else columns, line))

        def alike(piece: Piece) -> bool:
            return (piece.columns, piece.line) == (columns, line)

        piece = first_or_new(self.pieces, earliest, alike, lambda: Piece(columns, line))
        piece.instructions.append(x)
        self.made[x.out] = piece
        self.into.setdefault(x.out.owner, []).append(x.out)

    def _from(self, x: Buffer, columns: int, line: bool) -> int:
        """The first piece in which a buffer may be read by an instruction of a loop over so many columns."""
        found = self.operand(x)
        if found is not None and found.base in self.made:
            i = self.pieces.index(self.made[found.base])
            return i if self._within(found.base, x, columns, line) else i + 1
        written = [self.pieces.index(self.made[y]) for y in self.into.get(x.owner, ())]
        return max(written) + (columns != -1 or self.pieces[max(written)].columns >= 0) if written else 0

    def _within(self, base: Buffer, x: Buffer, columns: int, line: bool) -> bool:
        """Whether what a piece makes may be read by the same piece."""
        piece, form = self.made[base], self.forms.get(base)
        if (piece.columns, piece.line) != (columns, line):
            return False
        if form is None or columns == 0:
            return True
        found = self.operand(x)
        assert found is not None
        if form.kind == "across" or not x.shape:
            return False
        if line:
            return not found.first and extent(x) == extent(base)
        rows, across = extent(x)
        return (found.transposed or across == columns) and (columns == 1 or max(rows, across) > 1)

    def _stored(self) -> Iterator[Buffer]:
        groups = self.groups()
        of = {piece: i for i, group in enumerate(groups) for piece in group}
        for piece in self.pieces:
            for x in piece.instructions:
                if piece.columns >= 0 and x.out.place not in (Place.SLOT, Place.OWN, Place.NEW):
                    yield x.out
                for y in reads(x):
                    found = self.operand(y)
                    base = found.base if found is not None else None
                    if base in self.made:
                        number = self.forms.get(base) and not base.shape
                        if self.made[base] is not piece and not (number and of[self.made[base]] == of[piece]):
                            yield base
                    else:
                        yield from self.into.get(y.owner, ())
        for y in (*self.returned, *buffers_of(self.routine.cost)):
            yield from self.into.get(y.owner, ())

    def _work(self, piece: Piece) -> int:
        """Bytes that a loop computes."""
        read = {y: self.operand(y) for x in piece.instructions for y in reads(x)}
        given = {y.owner: y.size for y, found in read.items() if self.made.get(found.base if found else y) is not piece}
        entries = READ * sum(size // piece.columns for size in given.values())
        for x in piece.instructions:
            form, f = self.forms[x.out], x.call.function
            if form.kind in ("product", "across"):  # with each of the weights; of each of the sums
                entries += max(form.rows, x.call.args[0].size if form.kind == "product" else x.out.size)
            else:
                entries += form.rows * (DEAR if f in LONG else 1)
        return int(entries * piece.columns * self.dtype.itemsize)

    def groups(self) -> list[list[Piece]]:
        """The pieces, those that are one function of C together."""
        found: list[list[Piece]] = []
        for piece in self.pieces:
            alone = piece.shared or (found and found[-1][0].shared)
            if found and not alone and (found[-1][0].columns < 0) == (piece.columns < 0):
                found[-1].append(piece)
            else:
                found.append([piece])
        return found

    @property
    def loops(self) -> list[Piece]:
        """The pieces that go through columns."""
        return [piece for piece in self.pieces if piece.columns > 0]


_OF_TRUTH = {*TRUTHS, *OF_MASKS}


def first_or_new(found: list[T], start: int, fits: Callable[[T], bool], new: Callable[[], T]) -> T:
    """The first from a place on that fits; or a new one, at the end."""
    for x in found[start:]:
        if fits(x):
            return x
    found.append(new())
    return found[-1]


def reads(x: Instruction) -> list[Buffer]:
    """The buffers that an instruction reads."""
    return buffers_of(x.call)


def buffers_of(x: Any) -> list[Buffer]:
    """The buffers in a call, itself perhaps."""
    if isinstance(x, Buffer):
        return [x]
    return [z for y in x.calls() for z in buffers_of(y)] if isinstance(x, Call) else []


def _over(out: Buffer) -> Form:
    rows, columns = extent(out)
    return Form("line", 1, rows) if columns == 1 else Form("entries", rows, columns)


def _numbers(routine: Routine) -> Iterator[tuple[Buffer, float]]:
    """The constant arrays that consist of one number."""
    for x in routine.setup:
        if x.out.memory is Place.CONSTANT and x.out.of is None:
            if x.call.function is np.ones:
                yield x.out, 1.0
            elif x.call.function is np.full and scalar_value(x.call.args[1]) is not None:
                yield x.out, float(scalar_value(x.call.args[1]))
