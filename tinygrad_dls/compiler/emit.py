"""From a program to the text of a function that runs it: a line for each call, into memory that is planned.

Views of memory that stays where it is are made once, not at every step; so is what depends on nothing. What NumPy
cannot write into a given array, it makes anew.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from tinygrad_dls.compiler.augmenting import append_bias, append_ones
from tinygrad_dls.compiler.buffers import USED, BufferAssignment, Line, unscaled_cost
from tinygrad_dls.compiler.code import RUN, Code, total_in_runs
from tinygrad_dls.compiler.liveness import assign_slots, is_elementwise
from tinygrad_dls.compiler.lowering import FLOATS, copy_of, is_number, total
from tinygrad_dls.graph.names import Names
from tinygrad_dls.ir.call import (
    Call,
    astype,
    getitem,
    is_call,
    is_plain_reduction,
    is_transpose,
    scalar_value,
    spelling,
    summed_axes,
    toposort,
)
from tinygrad_dls.ir.functions import VIEW, row_of

__all__ = ["Emitter"]

LONG = 4 * RUN
FEW = 4096  # entries of an array up to which its memory does not matter


class Emitter:
    """Writes a function of a plan.

    Parameters
    ----------
    buffers : BufferAssignment
        What is there when the function starts, and where results are to be written.
    recorded, width : int or None
        The number of examples that the program was recorded with, and that which the function is for.
    strided : set of Call
        Arguments that are given as a run of columns of a larger array.
    notes : dict of str to str
        Comments on results, by name.
    """

    def __init__(
        self,
        buffers: BufferAssignment,
        recorded: int | None = None,
        width: int | None = None,
        strided: Collection[Call] = (),
        notes: Mapping[str, str] | None = None,
    ) -> None:
        self.given = {**buffers.arguments, **buffers.counts, **buffers.arrays}
        self.fixed = set(buffers.arrays)  # what does not move, so that views of it are made once
        self.buffers, self.output_buffers, self.per_buffer = buffers, buffers.output_buffers, set(buffers.per_buffer)
        self.recorded, self.width, self.strided, self.notes = recorded, width, strided, notes or {}
        self.setup = list(buffers.setup)
        self.names: dict[Call, str] = dict(self.given)
        self.allocated = Names({*USED, *self.given.values(), *(name for line in self.setup for name in line.names)})
        self.known: dict[Any, str] = {}  # arrays that the setup makes, by what is in them
        self.wholes: dict[Call, str] = {}  # the arrays that end with a row of ones below a result
        self.constants: set[Call] = set()

    def code(
        self,
        name: str,
        arguments: Sequence[str],
        wanted: Sequence[Call],
        returned: Sequence[Call] = (),
        cost: Call | None = None,
    ) -> Code:
        """The function that computes what is wanted, and returns some of it; first the cost, as Python's number."""
        self.made = Code(name, list(dict.fromkeys(arguments)), setup=self.setup)
        order = toposort(wanted, known=lambda call: call in self.given or is_number(call))
        self.augmented = {x.args[0] for x in order if x.function is append_ones}
        for call in order:  # arguments before what depends on them
            if self.is_constant(call):
                self.constants.add(call)
        own = {*self.output_buffers, *self.augmented, *self.constants}
        self.liveness = self.made.liveness = assign_slots(
            order,
            wanted,
            arrays={call for call in order if self.takes_array(call) and call not in own},
            scratch=self.buffers.scratch,
            owner=self.owner,
            size=lambda call: math.prod(self.lengths(call)),
        )
        for call in order:
            self.line(call)
        self.made.returned = ", ".join([*([] if cost is None else [self.cost(cost)]), *map(self.any, returned)])
        return self.made

    # -- kinds of calls -----------------------------------------------------------------------------------------------

    def owner(self, call: Call) -> Call:
        """What owns the memory of a view."""
        while self.is_view(call):
            call = call.args[0]
        return call

    def is_view(self, call: Call) -> bool:
        """Whether the result shares the memory of the first argument."""
        f = call.function
        if f is None or call in self.given or not call.args or not isinstance(call.args[0], Call):
            return False
        x = call.args[0]
        if is_number(x):
            return False
        if f is np.reshape:
            shared = x.function is not None and not self.is_view(x) and x.function not in (append_ones, append_bias)
            return shared and not call.options.get("order")
        if f is getitem:
            index = call.args[1]
            single = call.shape == () and index is not Ellipsis and not (isinstance(index, tuple) and Ellipsis in index)
            return _basic(index) and not single
        if f is append_ones:
            return x not in self.given and x not in self.constants
        return row_of(f).kind is VIEW

    def is_constant(self, call: Call) -> bool:
        """Whether a result depends on nothing, if it is known of the arguments."""
        if self.is_view(call):
            return self.owner(call) in self.constants
        if call.function in (append_ones, copy_of):  # a copy is for somebody who may write into it
            return False
        return all(x in self.constants or (is_number(x) and not _changes(x)) for x in call.calls())

    def takes_array(self, call: Call) -> bool:
        """Whether NumPy can write the result into a given array."""
        f = call.function
        if call.shape == () or self.is_view(call):
            return False
        if f is np.dot:
            return all(isinstance(x, Call) and x.shape for x in call.args)
        if row_of(f).reduce is not None:
            return is_plain_reduction(call) and bool(call.args[0].dtype == call.dtype and call.dtype != bool)
        return f is astype or (isinstance(f, np.ufunc) and f.nout == 1)

    # -- lines --------------------------------------------------------------------------------------------------------

    def line(self, call: Call) -> None:
        """Write the line for a call, in the function or in its setup."""
        if call in self.constants and not self.is_view(call):
            if call.function is not np.ones or call in self.output_buffers:  # which are made for those who ask for them
                self.hoist_constant(call)
        elif self.is_view(call):
            self.view(call)
        elif call.function is append_ones:
            self.with_row_of_ones(call)
        elif self.takes_array(call):
            self.written(call, self.target(call))
        else:
            self.assigned(call)
        if call in self.output_buffers and self.names[call] != self.output_buffers[call]:  # a view, or a constant
            self.write(f"{self.output_buffers[call]}[...] = {self.names[call]}")

    def name(self, call: Call) -> str:
        """The name of a result."""
        if call not in self.names:
            self.hoist_constant(call)
        return self.names[call]

    def hoist_constant(self, call: Call) -> None:
        """Hoist a call that depends on nothing: it is computed when the plan is made."""
        text = f"{self.called(call.function)}({self.arguments(call)})"
        if call.function is np.ones:
            text = f"np.ones({self.shape(call)}, {self.dtype(call.dtype)})"
        elif row_of(call.function).kind is VIEW and is_number(call.args[0]):
            text = f"np.full({self.shape(call)}, {self.number(call.args[0])}, {self.dtype(call.dtype)})"
        stem = call.name or ("ones" if call.function is np.ones else "c")
        self.names[call] = self.hoist(text, stem, math.prod(self.lengths(call)), call.dtype)
        self.fixed.add(call)

    def hoist(self, text: str, stem: str, size: int, dtype: Any) -> str:
        """Hoist an array of constants, or a number, into the setup, and return its name."""
        if text not in self.known:
            self.known[text] = self.free(stem)
            self.setup.append(Line(f"{self.known[text]} = {text}"))
            self.made.own += size * np.dtype(dtype).itemsize
            self.made.hoisted += size > 1
        return self.known[text]

    def view(self, call: Call) -> None:
        """A view: hoisted if the memory that it is of stays where it is."""
        x = call.args[0]
        inner = self.name(x)
        if call.function is append_ones:
            self.names[call] = self.wholes[x]
            self.fixed.add(call)
            return
        if is_transpose(call):
            text = f"{inner}.T"
        elif call.function is getitem:
            text = f"{inner}[{self.index(call.args[1])}]"
        else:
            text = f"{self.called(call.function)}({self.arguments(call)})"
        self.names[call] = name = self.free(f"{inner}_T" if text == f"{inner}.T" else call.name or "view")
        owner = self.owner(call)
        if owner in self.fixed:
            self.fixed.add(call)
            self.setup.append(Line(f"{name} = {text}", per_buffer=owner in self.per_buffer))
        else:
            self.write(f"{name} = {text}")

    def with_row_of_ones(self, call: Call) -> None:
        """An input with a row of ones below, by copying it."""
        name = self.names[call] = self.free(call.name or "t")
        rows = self.free(f"{name}_rows")
        self.fixed.add(call)
        self.filled_with_ones(name, self.lengths(call), call.dtype)
        self.setup.append(Line(f"{rows} = {name}[:-1]"))
        self.write(f"{rows}[...] = {self.names[call.args[0]]}", "a copy, with a row of ones below")

    def filled_with_ones(self, name: str, shape: tuple[int, ...], dtype: Any) -> None:
        """An array of which all rows but the last are written over."""
        self.made.own += math.prod(shape) * np.dtype(dtype).itemsize
        self.setup.append(Line(f"{name} = np.ones({shape}, {self.dtype(dtype)})"))

    def target(self, call: Call) -> str:
        """The array that a result is written into."""
        self.fixed.add(call)
        if call in self.output_buffers:
            name = self.output_buffers[call]
            self.per_buffer.add(call)  # as it may be
        else:
            name = self.free(call.name or "t")
            if call in self.augmented:
                whole, (rows, *others) = self.free(f"{name}_and_1"), self.lengths(call)
                self.wholes[call] = whole
                self.filled_with_ones(whole, (rows + 1, *others), call.dtype)
                text = f"{whole}[:-1]"
            elif call in self.liveness.in_place:
                old = self.liveness.in_place[call]
                text = self.names[old]
                if old in self.per_buffer:
                    self.per_buffer.add(call)
            else:
                text = f"part(memory[{self.liveness.slot[call]}], {self.shape(call)})"
            self.setup.append(Line(f"{name} = {text}", per_buffer=call in self.per_buffer))
        self.names[call] = name
        return name

    def written(self, call: Call, out: str) -> None:
        """The line of a call that writes into an array."""
        f, row, comment = call.function, row_of(call.function), self.comment(call)
        kept = ", keepdims=True" if len(call.shape) == 2 else ""
        if f is np.dot and is_call(call.args[1], np.ones) and self.is_long(call.args[1]):
            text = f"{self.called(np.add)}.reduce({self.any(call.args[0])}, 1, out={out}{kept})"
        elif f is np.dot and any(self.owner(x) in self.strided for x in call.args):  # np.dot would copy it
            text = f"{self.called(np.matmul)}({', '.join(map(self.any, call.args))}, {out})"
        elif f is np.dot:
            text = f"{self.any(call.args[0])}.dot({self.any(call.args[1])}, {out})"
        elif row.reduce is not None:
            axes = summed_axes(call)
            axis = axes[0] if len(axes) == 1 else axes
            kept = ", keepdims=True" if call.options.get("keepdims") else ""
            text = f"{self.called(row.reduce)}.reduce({self.any(call.args[0])}, {axis}, out={out}{kept})"
        elif f is astype:
            text = f"{out}[...] = {self.any(call.args[0])}"
        else:
            args = [self.operand(x, call) for x in call.args]
            text = f"{self.called(f)}({', '.join([*args, f'out={out}' if row.out_by_keyword else out])})"
        self.write(text, comment)

    def assigned(self, call: Call) -> None:
        """The line of a call that makes a new array, or a number."""
        f = call.function
        if f is total:
            text = self.total(*call.args)
        elif f is np.dot and call.shape == () and all(isinstance(x, Call) and x.shape for x in call.args):
            text = f"{self.any(call.args[0])}.dot({self.any(call.args[1])})"
        elif f is copy_of:
            text = self.any(call.args[0]) + (".copy()" if call not in self.output_buffers else "")
        else:
            fresh = isinstance(f, np.ufunc) or row_of(f).is_new  # others may give a view of memory that is used again
            text = f"{self.called(f)}({self.arguments(call)})" + (".copy()" if not fresh else "")
        self.names[call] = self.output_buffers.get(call) or self.free(call.name or ("t" if call.shape else "s"))
        self.write(f"{self.names[call]}{'[...]' if call in self.output_buffers else ''} = {text}", self.comment(call))

    def total(self, x: Call, y: Call) -> str:
        """The sum of products of entries, or of the entries of x if y are ones."""
        if not self.is_long(x):
            return f"{self.row(x)}.dot({self.row(y)})"
        if is_call(y, np.ones):
            return f"{self.called(np.add)}.reduce({self.row(x)})"
        self.made.constants["total_in_runs"] = total_in_runs
        return f"total_in_runs({self.row(x)}, {self.row(y)})"

    def row(self, x: Call) -> str:
        """The entries of an array in a row."""
        if is_call(x, np.ones):
            size = math.prod(self.lengths(x))
            return self.hoist(f"np.ones(({size},), {self.dtype(x.dtype)})", "ones", size, x.dtype)
        name = self.name(x)
        if x in self.fixed and x not in self.given and not self.is_view(x):
            if ("row", name) not in self.known:
                self.known["row", name] = self.free(f"{name}_row")
                self.setup.append(
                    Line(f"{self.known['row', name]} = {name}.reshape(-1)", per_buffer=x in self.per_buffer)
                )
            return self.known["row", name]
        return f"{name}.ravel()"

    def is_long(self, x: Call) -> bool:
        """Whether BLAS would lose digits in the sum of so many entries: NumPy adds in pairs, and is as fast there."""
        return bool(x.dtype == np.float32 and math.prod(self.lengths(x)) > LONG)

    def write(self, text: str, comment: str = "") -> None:
        """Append a line."""
        self.made.lines.append(Line(text, comment))

    def comment(self, call: Call) -> str:
        """The shape of a result, and by what it differs from what its name says."""
        return ", ".join(x for x in (self.shape(call) * bool(call.shape), self.notes.get(call.name, "")) if x)

    # -- arguments ----------------------------------------------------------------------------------------------------

    def operand(self, x: Any, call: Call) -> str:
        """An argument of a function of entries: numbers become arrays of the dtype, which NumPy takes faster."""
        if isinstance(x, Call) and not is_number(x):
            return self.single(x, call)
        if not isinstance(x, Call) and scalar_value(x) is None:  # an array, a list, or Python's True
            return self.any(x)
        dtypes = {y.dtype for y in call.args if isinstance(y, Call) and not is_number(y)}
        dtype = dtypes.pop() if len(dtypes) == 1 else None
        same = dtype in FLOATS and (call.dtype == dtype or row_of(call.function).is_comparison)
        if isinstance(x, np.generic) and x.dtype != dtype:  # which counts as one of its dtype, unlike Python's numbers
            return f"np.{x.dtype.name}({self.number(x)})"
        if not same or call.function is np.power:
            return self.number(x)
        if scalar_value(x) is None:
            return self.live(x, dtype)
        value = float(scalar_value(x))
        if row_of(call.function).out_by_keyword and math.prod(self.lengths(call)) <= FEW:  # there, an array is faster
            text = f"np.full({self.shape(call)}, {self.number(value)}, {self.dtype(dtype)})"
            size = math.prod(self.lengths(call))
            return self.hoist(text, "zeros" if value == 0 else "filled", size, dtype)
        stem = "number_" + f"{value:g}".replace("-", "minus_").replace("+", "")
        return self.hoist(self.array(self.number(value), dtype), stem, 1, dtype)

    def single(self, x: Call, call: Call) -> str:
        """An array; one with a single entry as a number that NumPy knows the place of, which it takes in half the time.

        Beside another that has the shape of the result, it need not have axes.
        """
        name = self.name(x)
        if x not in self.fixed or not x.shape or math.prod(self.lengths(x)) != 1 or not is_elementwise(call):
            return name
        if not any(isinstance(y, Call) and y is not x and self.lengths(y) == self.lengths(call) for y in call.args):
            return name
        if ("single", name) not in self.known:
            self.known["single", name] = self.free(f"{name}_single")
            text = f"{self.known['single', name]} = {name}.reshape(())"
            self.setup.append(Line(text, per_buffer=self.owner(x) in self.per_buffer))
        return self.known["single", name]

    def live(self, x: Call, dtype: Any) -> str:
        """An array of a number that depends on the learning rate; or on the number of examples, which is fixed."""
        text = self.number(x)
        if not _changes(x):
            return self.hoist(self.array(text, dtype), "number", 1, dtype)
        if (text, dtype) not in self.known:
            name = self.known[text, dtype] = self.free("rate")
            self.setup.append(Line(f"{name} = {self.array('0.0', dtype)}"))
            self.write(f"{name}[...] = {text}")
        return self.known[text, dtype]

    def array(self, text: str, dtype: Any) -> str:
        """A number as an array without axes."""
        return f"np.array({text}, {self.dtype(dtype)})"

    def number(self, x: Any, nested: bool = False) -> str:
        """A number as Python computes it."""
        if isinstance(x, Call):
            if x.function is None:
                return x.name
            if x.function is np.asarray:
                return self.number(x.args[0])
            if row_of(x.function).is_arithmetic:
                y, z = (self.number(part, nested=True) for part in x.args)
                text = f"{y} {row_of(x.function).operator} {z}"
                return f"({text})" if nested else text
            return self.name(x)
        if isinstance(x, np.generic):
            x = x.item()
        if isinstance(x, float) and not math.isfinite(x):
            return "np.nan" if x != x else "np.inf" if x > 0 else "-np.inf"
        return repr(x)

    def cost(self, cost: Call) -> str:
        """The cost as a number of Python's, which divides it."""
        inner = unscaled_cost(cost)
        text = f"float({self.any(inner)})"
        if inner is cost:
            return text
        return f"{text} {'/' if cost.function is np.divide else '*'} {self.number(cost.args[1], nested=True)}"

    def arguments(self, call: Call) -> str:
        """The arguments of a call that stands as it was recorded."""
        if call.function in (np.reshape, np.broadcast_to) and not call.options.get("order"):
            return f"{self.any(call.args[0])}, {self.shape(call)}"
        if call.function is np.full:
            return f"{self.shape(call)}, {self.any(call.args[1])}, {self.dtype(call.dtype)}"
        options = [f"{key}={self.any(x)}" for key, x in call.options.items()]
        return ", ".join([*map(self.any, call.args), *options])

    def any(self, x: Any) -> str:
        """Anything that may be an argument."""
        if isinstance(x, Call):
            return self.number(x) if is_number(x) else self.name(x)
        if isinstance(x, tuple):
            return f"({', '.join(map(self.any, x))}{',' if len(x) == 1 else ''})"
        if isinstance(x, list):
            return f"[{', '.join(map(self.any, x))}]"
        if isinstance(x, slice):
            return f"slice({self.any(x.start)}, {self.any(x.stop)}, {self.any(x.step)})"
        if isinstance(x, (np.dtype, type)):
            return self.dtype(x)
        if isinstance(x, np.ndarray):
            name = self.free("array")
            self.made.constants[name] = x
            return name
        if isinstance(x, (int, float, np.number)) and not isinstance(x, bool):
            return self.number(x)
        return "..." if x is Ellipsis else repr(x)

    def index(self, x: Any) -> str:
        """What stands between the brackets."""
        if isinstance(x, tuple):
            return ", ".join(map(self.index, x)) or "()"
        if isinstance(x, slice):
            start, stop, step = ("" if i is None else self.any(i) for i in (x.start, x.stop, x.step))
            return f"{start}:{stop}" + (f":{step}" if step else "")
        return self.any(x)

    def called(self, function: Any) -> str:
        """The name under which the text calls a function."""
        spelled = spelling(function)
        if spelled and not isinstance(function, np.ufunc):
            return spelled
        name = spelled.removeprefix("np.")
        if not name.isidentifier():  # none of NumPy's own names, which are kept for its functions
            name = self.known[function] = self.known.get(function) or self.free(getattr(function, "__name__", ""))
        self.made.constants[name] = function
        return name

    # -- shapes and names ---------------------------------------------------------------------------------------------

    def lengths(self, call: Call) -> tuple[int, ...]:
        """The shape of a result for the examples that the functions are for."""
        m, w = self.recorded, self.width
        if not m or w is None or call in self.buffers.plain:
            return call.shape
        return tuple(n // m * w if n and n % m == 0 else n for n in call.shape)

    def shape(self, call: Call) -> str:
        """The shape of a result for these examples, as text."""
        return str(self.lengths(call))

    def dtype(self, dtype: Any) -> str:
        """A dtype as text."""
        return "bool" if np.dtype(dtype).kind == "b" else f"np.{np.dtype(dtype).name}"

    def free(self, stem: str) -> str:
        """A name that nothing has."""
        return self.allocated.numbered(stem) if stem in _NUMBERED else self.allocated.free(stem)


_NUMBERED = ("t", "s", "c", "view", "ones", "zeros", "number")


def _changes(x: Call) -> bool:
    """Whether a number may be another one at the next step: the learning rate is a float, and m an int."""
    return x.dtype is float if x.function is None else any(map(_changes, x.calls()))


def _basic(index: Any) -> bool:
    """Whether indexing gives a view, or a number."""
    index = index if isinstance(index, tuple) else (index,)
    plain = (int, np.integer, slice, type(None), type(Ellipsis))
    return all(isinstance(i, plain) and not isinstance(i, bool) for i in index)
