"""A plan in two languages: functions of C for what is fused, and NumPy's calls for what is left, as they are."""

from __future__ import annotations

import ctypes
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import numpy as np

from tinygrad_dls.compiler.instructions import Buffer, Instruction, Place, Routine, buffer
from tinygrad_dls.compiler.native.building import NoCompiler, compiler, library
from tinygrad_dls.compiler.native.calling import PYTHON, Memory, builtin, introduce
from tinygrad_dls.compiler.native.fusing import Fused, buffers_of, reads
from tinygrad_dls.compiler.native.grouping import PRODUCTS
from tinygrad_dls.compiler.native.printing import Function, places
from tinygrad_dls.compiler.native.vectors import header
from tinygrad_dls.compiler.plan import Plan
from tinygrad_dls.compiler.store import aligned
from tinygrad_dls.compiler.threads import LANES, shared
from tinygrad_dls.engine.arrays import Array
from tinygrad_dls.ir.call import Call, called

__all__ = ["BACKENDS", "Native", "planned"]

BACKENDS = ("numpy", "native", "auto")


class _NotFused(Exception):  # noqa: N818  # it is no error
    """Why NumPy alone does it better, or as well."""


@dataclass
class Native:
    """What C does for a plan.

    Attributes
    ----------
    text : str
    functions : dict of str to Function
        By the names that the plan's Python calls them by.
    dtype : dtype
    loaded : library
        What was built of the text.
    """

    text: str
    functions: dict[str, Function]
    dtype: Any
    loaded: ctypes.CDLL

    @property
    def shared(self) -> int:
        """How many functions have lanes that threads share."""
        return sum(f.shared for f in self.functions.values())

    def told(self, threads: int, asked: int | None) -> list[str]:
        """Which threads do it, in words; nothing where none were asked for, and there is nothing for them."""
        if not self.shared:
            return ["1 thread does it all: no loop has enough to do for more."] if (asked or 1) > 1 else []
        loops = f"{self.shared} loop{'s' if self.shared > 1 else ''}"
        return [f"{threads} thread{'s share' if threads > 1 else ' does'} the {LANES} lanes of {loops}."]

    def memory(self) -> dict[str, list[Array]]:
        """Memory for each function: spaces for data of another dtype, or order; and for the sums of its lanes."""
        return {
            name: [np.empty(x.size, self.dtype) for x in f.arrays] + ([aligned(f.sums, float)] if f.shared else [])
            for name, f in self.functions.items()
        }

    def bound(
        self, names: Mapping[str, Any], spaces: Mapping[str, list[Array]], threads: int
    ) -> dict[str, Callable[..., float]]:
        """The functions as Python calls them, for the arrays with these names; threads share what has much to do."""
        found: dict[str, Any] = {}
        for name, f in self.functions.items():
            own = [_in_order(x, names[x.name]) for x in f.owners]
            memory = Memory.of([*own, *spaces[name]])
            found[name] = _in_lanes(self.loaded, f, memory, threads) if f.shared else builtin(self.loaded, name, memory)
        return found

    def alone(self, routine: Routine) -> str:
        """The name of the function that is all that a routine does, if there is one."""
        if routine.returned or len(routine.steps) != 1 or len(self.functions) != 1:
            return ""
        ((name, f),) = self.functions.items()
        takes_all = [x.name for x in (*f.arrays, *f.numbers)] == [x.name for x in routine.arguments]
        return name if takes_all and f.result is not None else ""


def _in_lanes(loaded: ctypes.CDLL, f: Function, memory: Memory, threads: int) -> Callable[..., float]:
    """A function of C, whose lanes threads share.

    C runs beside Python. It reads of the arrays' objects where their entries lie, which stays as it is as long as we
    hold them, and it changes no count of references.
    """
    function = getattr(loaded, f.name)
    types = [*[ctypes.py_object] * len(f.arrays), *[ctypes.c_double] * len(f.numbers), ctypes.c_int, ctypes.c_int]
    function.argtypes, function.restype = [ctypes.c_void_p, *types], ctypes.c_double
    call = partial(function, memory.ctypes.data_as(ctypes.c_void_p))  # which holds the memory

    def alone(*arguments: Any) -> Any:
        return call(*arguments, -1, LANES + 1)

    def together(*arguments: Any) -> Any:
        call(*arguments, -1, 0)
        shared(range(LANES), lambda _, lane: call(*arguments, lane, lane + 1), threads)
        return call(*arguments, LANES, LANES + 1)

    return alone if threads == 1 else together


def planned(make: Callable[[bool], Plan], backend: str) -> Plan:
    """The plan that runs with a backend; where C does nothing for it, or cannot, it says why.

    Parameters
    ----------
    make : function
        Makes the plan, for C or not.
    backend : str
        One of `BACKENDS`.
    """
    if backend == "numpy":
        return make(False)
    try:
        compiler()
        return _translated(make(True), lambda: make(False))
    except _NotFused as error:
        reason = str(error)
    except NoCompiler as error:
        if backend == "native":
            raise
        reason = error.reason
    plan = make(False)
    plan.lines.append(f"NumPy's calls, and no C: {reason}")
    return plan


def _translated(plan: Plan, other: Callable[[], Plan]) -> Plan:
    """A plan with what can be fused as C."""
    assert plan.whole is not None
    routine = plan.whole
    fused = Fused(routine, _dtype(routine), plan.m)
    left = [x for piece in fused.pieces if piece.columns < 0 for x in piece.instructions]
    if not fused.loops:
        names = ", ".join(_names(left)) or "there are none"
        raise _NotFused(f"it is printed for none of these calls: {names}.")
    if any(x.call.function in PRODUCTS for x in left if isinstance(x.call, Call)) and other().tiles:
        raise _NotFused("large products take most of the time, and go through tiles of examples with NumPy.")
    taken = {y.name for y in (*routine.arguments, *(x.out for x in (*routine.setup, *routine.steps)))}
    cost, sums = None, buffers_of(routine.cost)
    where, functions, steps = places(routine, plan.m), {}, []
    for group in fused.groups():
        if group[0].columns < 0:
            steps += [x for piece in group for x in piece.instructions]
            continue
        own = {x.out for piece in group for x in piece.instructions}
        read = {y for x in routine.steps if x.out not in own for y in reads(x)}
        ends = bool(sums) and own.issuperset(sums) and read.isdisjoint(sums)
        name = _free("c", taken)
        f = functions[name] = Function(name, fused, group, where, routine.cost if ends else None)
        steps += [Instruction(_empty(x), x) for x in f.arrays if x in own]
        result = buffer(_free("J", taken) if ends else f"{name}_", (), float)
        steps.append(Instruction(_called(f), result))
        cost = result if ends else cost
    plan.whole = _needed(replace(routine, cost=cost or routine.cost), steps, functions)
    texts = [header(fused.dtype), PYTHON, *(f.text for f in functions.values())]
    text = "\n\n".join(texts)
    plan.native = Native(text, functions, fused.dtype, library(text))
    introduce(plan.native.loaded)
    plan.lines += _told(fused, left, functions)
    return plan


def _free(stem: str, taken: set[str]) -> str:
    """A name with a number that nothing else has."""
    name = next(f"{stem}{i}" for i in range(len(taken) + 1) if f"{stem}{i}" not in taken)
    taken.add(name)
    return name


def _in_order(x: Buffer, array: Any) -> Any:
    """The array of a buffer; of a constant, with its entries one after another."""
    return np.ascontiguousarray(array) if x.place is Place.CONSTANT else array


def _dtype(routine: Routine) -> Any:
    """The dtype of the loops: that of most results."""
    found = Counter(x.out.dtype for x in routine.steps if x.out.shape and x.out.dtype in (np.float32, np.float64))
    return max(found, key=lambda dtype: found[dtype], default=np.dtype(float))


def _empty(x: Buffer) -> Call:
    return Call(np.empty, (x.shape, np.dtype(x.dtype)), {}, x.shape, x.dtype)


def _called(f: Function) -> Call:
    """The call of a function of C, as an instruction has it."""
    return Call(cast(Any, f), (*f.arrays, *f.numbers), {}, (), float)


def _needed(routine: Routine, steps: list[Instruction], functions: Mapping[str, Function]) -> Routine:
    """A routine with other steps, and without the memory that these do not use."""
    used = {y.owner for x in steps for y in (*reads(x), x.out)} | {x for f in functions.values() for x in f.owners}
    used |= {x.owner for y in (*routine.returned, routine.cost) for x in buffers_of(y)}
    for x in reversed(routine.setup):
        if x.out.owner in used:
            used |= {y.owner for y in reads(x)}
    setup = [x for x in routine.setup if x.out.owner in used]
    return replace(routine, setup=setup, slots=[x for x in routine.slots if x in used], steps=steps)


def _names(instructions: list[Instruction]) -> Iterator[str]:
    """The functions that instructions call, each once."""
    return iter(dict.fromkeys(called(x.call.function) for x in instructions if x.call.function is not None))


def _told(fused: Fused, left: list[Instruction], functions: Mapping[str, Function]) -> list[str]:
    """What was fused, and what was not, in words."""
    columns = [f"{piece.columns:,}" for piece in fused.loops]
    calls = sum(len(piece.instructions) for piece in fused.pieces if piece.columns >= 0)
    loops = f"{len(columns)} loop{'s' if len(columns) > 1 else ''} over {', '.join(columns)} columns"
    within = f"in {len(functions)} function{'s' if len(functions) > 1 else ''}"
    lines = [f"{calls} calls are C, in {loops}: each column passes through all of a loop, {within}."]
    products = [x for x in left if isinstance(x.call, Call) and x.call.function in PRODUCTS]
    others = list(_names([x for x in left if x not in products]))
    if products:
        shapes = ", ".join(" @ ".join(str(y.shape) for y in x.call.args) for x in products)
        lines.append(f"{len(products)} product{'s' if len(products) > 1 else ''} of BLAS: {shapes}.")
    if others:
        n = len(left) - len(products)
        said = "1 call is" if n == 1 else f"{n} calls are"
        lines.append(f"{said} NumPy's, which no C is printed for: {', '.join(others)}.")
    return lines
