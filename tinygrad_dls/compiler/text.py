"""The text of a routine: its instructions as Python."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_dls.compiler.buffers import USED
from tinygrad_dls.compiler.instructions import Buffer, Instruction, Routine, span, takes_out
from tinygrad_dls.compiler.lowering import copy_of, is_number, total
from tinygrad_dls.graph.names import Names
from tinygrad_dls.ir.call import Call, scattered, spelling
from tinygrad_dls.ir.functions import ATOM, LOOSEST, Function, row_of
from tinygrad_dls.ir.printing import Printer, PythonPrinter, Written

__all__ = ["Text", "source"]

LONGEST = 64  # characters of a line that comments of other lines stand behind


class Text:
    """The function of a routine as Python.

    Attributes
    ----------
    function : str
        What is done at each step.
    constants : dict
        By name, what the text cannot hold: NumPy's functions, and arrays.
    """

    def __init__(self, routine: Routine) -> None:
        self.printer = _InstructionPrinter(routine)
        self.function = _function(routine, self.printer)
        self.constants = self.printer.constants


def source(routines: Sequence[Routine]) -> str:
    """The text of routines, one after the other: the setup, as one would write it, and the function."""
    texts = []
    for routine in routines:
        text = Text(routine)
        texts.append("\n".join([*map(text.printer.line, routine.setup), "", "", text.function, ""]))
    return "\n\n".join(texts)


def _function(routine: Routine, printer: _InstructionPrinter) -> str:
    lines = [(printer.line(x), _comment(x)) for x in routine.steps]
    column = max((len(text) for text, comment in lines if comment and len(text) < LONGEST), default=0)
    body = [f"{text:{column}}  # {comment}" if comment else text for text, comment in lines]
    returned = [] if routine.cost is None else [printer.cost(routine.cost)]
    returned += map(printer.within, routine.returned)
    if returned:
        alone = "," if routine.cost is None and len(returned) == 1 else ""
        body.append(f"return {', '.join(returned)}{alone}")
    arguments = ", ".join(x.name for x in routine.arguments)
    return "\n    ".join([f"def {routine.name}({arguments}):", *(body or ["pass"])])


def _comment(x: Instruction) -> str:
    """The shape of a result, and by what it differs from what its name says."""
    return ", ".join([text for text in (str(x.out.shape) if x.out.shape else "", x.note) if text])


class _InstructionPrinter(PythonPrinter):
    """Writes instructions: functions are called by short names that the text is given, and write into arrays."""

    def __init__(self, routine: Routine) -> None:
        super().__init__({})
        buffers = (*routine.arguments, *(x.out for x in (*routine.setup, *routine.steps)))
        self.allocated = Names({*USED, *(x.name for x in (*buffers, *routine.slots))})
        self.constants: dict[str, Any] = {}
        self.known: dict[Any, str] = {}  # names of functions that NumPy has none for

    def within(self, x: Any, binding: int = LOOSEST) -> str:
        """The text of an operand, most of which are buffers."""
        return x.name if isinstance(x, Buffer) else super().within(x, binding)

    def line(self, x: Instruction) -> str:
        """An instruction as a line of Python."""
        call, out = x.call, x.out.name
        if not x.into:
            return f"{out} = {self.within(call)}"
        if not takes_out(call):
            return f"{out}[...] = {self.within(call)}"
        row = row_of(call.function)
        if row.reduce is not None:
            options = {**call.options, "out": Written(out)}
            return f"{self.function_name(row.reduce)}.reduce({self.arguments(call.args, options)})"
        args = [self.within(y) for y in call.args]
        if call.function is np.dot:
            return f"{args[0]}.dot({args[1]}, {out})"
        return f"{self.function_name(call.function)}({', '.join([*args, f'out={out}' if row.out_by_keyword else out])})"

    def cost(self, x: Call) -> str:
        """The cost as a number of Python's, which divides it."""
        inner, *others = x.args if x.function in (np.divide, np.multiply) and not is_number(x) else (x,)
        number = Written(f"float({self.within(inner)})")
        return self.operator(Call(x.function, (number, *others)), row_of(x.function)).text if others else number.text

    def call(self, x: Call, row: Function) -> Written:
        """Numbers with operators, as Python computes them; all else with functions."""
        if not is_number(x):
            return self.function(x, row)
        x = Call(x.function, tuple([y.item() if isinstance(y, np.generic) else y for y in x.args]))
        return self.operator(x, row) if row.operator else self.text(x.args[0])  # of an array without axes, its number

    def function(self, x: Call, row: Function) -> Written:
        """A function, or a method of arrays."""
        if x.function is span:
            array, start, shape = x.args
            return Written(f"{self.within(array)}[{start}:{start + math.prod(shape)}].reshape({shape})")
        if x.function is copy_of:
            return Written(f"{self.within(x.args[0], ATOM)}.copy()")
        if x.function is total:
            rows = [self.within(y) if len(y.shape) == 1 else f"{self.within(y)}.ravel()" for y in x.args]
            return Written(f"{rows[0]}.dot({rows[1]})")
        if x.function is np.dot and all(isinstance(y, Call) and y.shape for y in x.args):
            return Written(f"{self.within(x.args[0])}.dot({self.within(x.args[1])})")
        if x.function is scattered:  # in the dtype of its result
            return Printer.function(self, x, row)
        return super().function(x, row)

    def function_name(self, function: Any) -> str:
        """The name under which the text calls a function: NumPy's own, without its module where that is a ufunc."""
        spelled = spelling(function)
        if spelled and not isinstance(function, np.ufunc):
            return spelled
        name = spelled.removeprefix("np.")
        if not name.isidentifier():  # none of NumPy's own names, which are kept for its functions
            name = self.known[function] = self.known.get(function) or self.allocated.free(
                getattr(function, "__name__", "")
            )
        self.constants[name] = function
        return name

    def number(self, x: Any) -> Written:
        """A number as it is; one of NumPy's has a dtype that counts."""
        if isinstance(x, np.generic):
            return Written(f"np.{x.dtype.name}({super().number(x).text})")
        text = super().number(x)
        return Written(repr(x), text.binding) if isinstance(x, float) and np.isfinite(x) else text

    def array(self, x: np.ndarray[Any, Any]) -> Written:
        """A constant array, by a name."""
        name = self.allocated.free("array")
        self.constants[name] = x
        return Written(name)
