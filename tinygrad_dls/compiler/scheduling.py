"""Scheduling: from a program to the instructions that compute it, call by call, in memory that is planned.

Views of memory that stays where it is are made once, not at every step; so is what depends on nothing. What NumPy
cannot write into a given array, it makes anew.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from tinygrad_dls.compiler.augmenting import append_bias, append_ones
from tinygrad_dls.compiler.buffers import USED, unscaled_cost
from tinygrad_dls.compiler.draft import BufferAssignment
from tinygrad_dls.compiler.instructions import Buffer, Instruction, Place, Routine, buffer, span, takes_out, view_of
from tinygrad_dls.compiler.liveness import Liveness, assign_slots
from tinygrad_dls.compiler.lowering import FLOATS, copied, copy_of, is_number, total
from tinygrad_dls.engine.arrays import Array
from tinygrad_dls.graph.names import Names
from tinygrad_dls.ir.call import (
    Call,
    astype,
    each,
    getitem,
    is_call,
    is_transpose,
    key_of_arguments,
    scalar_value,
    summed_axes,
    toposort,
)
from tinygrad_dls.ir.functions import VIEW, row_of

__all__ = ["Scheduler", "sum_in_pairs", "total_in_runs"]

RUN = 4096  # entries of a long sum that are added up in one go
LONG = 4 * RUN
FEW = 4096  # entries of an array up to which its memory does not matter


class Scheduler:
    """Decides on the instructions of a routine.

    Parameters
    ----------
    assigned : BufferAssignment
        What is there when the routine starts, and where results are to be written.
    recorded, width : int or None
        The number of examples that the program was recorded with, and that which the routine is for.
    cut : set of Call
        Arguments that are given as a run of columns of a larger array.
    notes : dict of str to str
        What is to be said of results, by name.
    again : bool
        Whether memory is used again for later results.
    """

    def __init__(
        self,
        assigned: BufferAssignment,
        recorded: int | None = None,
        width: int | None = None,
        cut: Collection[Call] = (),
        notes: Mapping[str, str] | None = None,
        again: bool = True,
    ) -> None:
        self.assigned, self.outputs, self.notes = assigned, assigned.output_buffers, notes or {}
        self.recorded, self.width, self.again = recorded, width, again
        self.data = {
            call: buffer(name, self.lengths(call), call.dtype, Place.GIVEN, contiguous=call not in cut)
            for call, name in assigned.arguments.items()
        }
        self.buffers: dict[Call, Buffer] = {**self.data, **assigned.counts, **assigned.arrays}
        self.given = set(self.buffers)
        named = (*self.buffers.values(), *(x.out for x in assigned.setup))
        self.names = Names({*USED, *(x.name for x in named)})
        self.known: dict[Any, Buffer] = {}  # what is made once, by what is in it
        self.wholes: dict[Call, Buffer] = {}  # the arrays that end with a row of ones below a result
        self.constants: set[Call] = set()

    def routine(
        self,
        name: str,
        wanted: Sequence[Call],
        returned: Sequence[Call] = (),
        cost: Call | None = None,
        arguments: Sequence[Buffer] = (),
    ) -> Routine:
        """The routine that computes what is wanted, and returns some of it, the cost first.

        Its arguments are those that hold data, and further ones.
        """
        self.made = Routine(name, list(dict.fromkeys([*self.data.values(), *arguments])), [*self.assigned.setup])
        order = toposort(wanted, known=lambda call: call in self.given or is_number(call))
        self.augmented = {x.args[0] for x in order if x.function is append_ones}
        for call in order:  # arguments before what depends on them
            if self.is_constant(call):
                self.constants.add(call)
        self.liveness = self.assign_slots(order, wanted)
        for call in order:
            self.schedule(call)
        self.made.cost = None if cost is None else self.cost(cost)
        self.made.returned = [self.argument(x) for x in returned]
        self.made.in_place, self.made.reused = len(self.liveness.in_place), self.liveness.reused
        return self.made

    def assign_slots(self, order: Sequence[Call], wanted: Sequence[Call]) -> Liveness:
        """Find memory for the results that have no place of their own."""
        own = {*self.outputs, *self.augmented, *self.constants}
        found = assign_slots(
            order,
            wanted,
            arrays={call for call in order if self.is_written(call) and call not in own},
            scratch=self.assigned.scratch,
            owner=self.owner,
            size=lambda call: math.prod(self.lengths(call)),
            again=self.again,
        )
        self.made.slots = [
            buffer(self.names.numbered("memory", 0), (size,), dtype, Place.SLOT) for dtype, size in found.slots
        ]
        return found

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

    def is_written(self, call: Call) -> bool:
        """Whether NumPy can write the result into a given array, be it by a copy."""
        return bool(call.shape) and not self.is_view(call) and (takes_out(call) or call.function is astype)

    # -- instructions -------------------------------------------------------------------------------------------------

    def schedule(self, call: Call) -> None:
        """Add the instructions for a call."""
        out = self.outputs.get(call)
        if call in self.constants and not self.is_view(call):
            if call.function is np.ones and out is None:
                return  # it is made for those who ask for it
            self.buffers[call] = self.hoisted(call)
        elif self.is_view(call):
            self.buffers[call] = self.view(call)
        elif call.function is append_ones:
            self.buffers[call] = self.with_row_of_ones(call)
        elif self.is_written(call):
            self.buffers[call] = self.target(call)
            self.do(self.writing(call), self.buffers[call], into=True, note=self.notes.get(call.name, ""))
        else:
            self.buffers[call] = out or self.new(
                call.name or ("t" if call.shape else "s"), self.lengths(call), call.dtype
            )
            self.do(self.making(call), self.buffers[call], into=out is not None, note=self.notes.get(call.name, ""))
        if out is not None and self.buffers[call] is not out:  # a view, or a constant
            self.do(self.buffers[call], out, into=True)

    def do(self, call: Call, out: Buffer, *, into: bool = False, note: str = "") -> Buffer:
        """Add an instruction: once, where it only makes what stays; else at each step."""
        where = self.made.setup if out.stays and not into else self.made.steps
        where.append(Instruction(call, out, into, note))
        return out

    def new(self, name: str, shape: tuple[int, ...], dtype: Any, memory: Place = Place.NEW) -> Buffer:
        """A buffer that is no view."""
        return buffer(self.free(name), shape, dtype, memory)

    def see(self, name: str, call: Call) -> Buffer:
        """A view: a call whose first argument is the buffer that it is of."""
        return self.do(call, view_of(call, self.free(name)))

    def buffer(self, call: Call) -> Buffer:
        """The buffer of a result; ones are made when they are asked for."""
        if call not in self.buffers:
            self.buffers[call] = self.hoisted(call)
        return self.buffers[call]

    def hoisted(self, call: Call) -> Buffer:
        """A call that depends on nothing, hoisted: it is computed when the plan is made."""
        function, args, options = call.function, self.arguments(call), each(self.argument, call.options)
        shape = self.lengths(call)
        if function is np.ones:
            args, options = (shape, call.dtype), {}
        elif row_of(function).kind is VIEW and is_number(call.args[0]):
            function, args, options = np.full, (shape, call.args[0], call.dtype), {}
        stem = call.name or ("ones" if function is np.ones else "c")
        return self.constant(stem, Call(function, args, options, shape, call.dtype))

    def constant(self, name: str, call: Call) -> Buffer:
        """A constant array, or a number as an array; the same one for all who want the same."""
        kind = call.function, _value(call.args), _value(call.options)
        if kind not in self.known:
            self.known[kind] = self.do(call, self.new(name, call.shape, call.dtype, Place.CONSTANT))
        return self.known[kind]

    def view(self, call: Call) -> Buffer:
        """A view, made once if the memory that it is of stays where it is."""
        x = call.args[0]
        inner = self.buffer(x)
        if call.function is append_ones:
            return self.wholes[x]
        shape, name = self.lengths(call), call.name or "view"
        if is_transpose(call):
            return self.see(f"{inner.name}_T", Call(np.transpose, (inner,), {}, shape, call.dtype))
        options = each(self.argument, call.options)
        return self.see(name, Call(call.function, self.arguments(call), options, shape, call.dtype))

    def with_row_of_ones(self, call: Call) -> Buffer:
        """An input with a row of ones below, by copying it."""
        whole = self.ones(call.name or "t", self.lengths(call), call.dtype)
        rows = self.see(f"{whole.name}_rows", _without_last_row(whole))
        self.do(self.buffer(call.args[0]), rows, into=True, note="a copy, with a row of ones below")
        return whole

    def ones(self, name: str, shape: tuple[int, ...], dtype: Any) -> Buffer:
        """An array of which all rows but the last are written over."""
        return self.do(Call(np.ones, (shape, dtype), {}, shape, dtype), self.new(name, shape, dtype, Place.OWN))

    def target(self, call: Call) -> Buffer:
        """The array that a result is written into."""
        if call in self.outputs:
            return self.outputs[call]
        name, shape = self.free(call.name or "t"), self.lengths(call)
        if call in self.liveness.in_place:
            old = self.buffers[self.liveness.in_place[call]]
            return self.do(old, buffer(name, old.shape, old.dtype, of=old, contiguous=old.contiguous))
        if call in self.augmented:
            whole = self.wholes[call] = self.ones(f"{name}_and_1", (shape[0] + 1, *shape[1:]), call.dtype)
            made = _without_last_row(whole)
        else:
            slot = self.made.slots[self.liveness.slot[call]]
            made = Call(span, (slot, 0, shape), {}, shape, call.dtype)
        return self.do(made, view_of(made, name))

    def writing(self, call: Call) -> Call:
        """The call that writes a result into a given array; of a conversion, what is copied."""
        f, shape = call.function, self.lengths(call)
        if f is astype:
            return self.buffer(call.args[0])
        if f is np.dot and is_call(call.args[1], np.ones) and self.is_long(call.args[1]):
            return self.reduction(np.sum, (1,), len(shape) == 2, call)
        if f is np.dot:
            args = tuple([self.buffer(x) for x in call.args])
            f = f if all(x.owner.contiguous for x in args) else np.matmul  # np.dot would copy it
            return Call(f, args, {}, shape, call.dtype)
        if row_of(f).reduce is not None:
            return self.reduction(f, summed_axes(call), bool(call.options.get("keepdims")), call)
        return Call(f, tuple([self.operand(x, call) for x in call.args]), {}, shape, call.dtype)

    def reduction(self, function: Any, axes: tuple[int, ...], keep: bool, call: Call) -> Call:
        """The call that reduces the first argument of another one."""
        options: dict[str, Any] = {"axis": axes, "keepdims": True} if keep else {"axis": axes}
        return Call(function, (self.buffer(call.args[0]),), options, self.lengths(call), call.dtype)

    def making(self, call: Call) -> Call:
        """The call that makes a result anew, or a number."""
        f = call.function
        if f is copy_of and call in self.outputs:
            return self.buffer(call.args[0])
        if f is total:
            return self.total(call, *call.args)
        made = Call(f, self.arguments(call), each(self.argument, call.options), self.lengths(call), call.dtype)
        if isinstance(f, np.ufunc) or row_of(f).is_new or f is copy_of or call in self.outputs:
            return made
        seen = self.do(made, self.new("view", made.shape, made.dtype))  # perhaps of memory that is used again
        return copied(seen)

    def total(self, call: Call, x: Call, y: Call) -> Call:
        """The sum of products of entries, or of the entries of x if y are ones."""
        ones = is_call(y, np.ones)
        if not self.is_long(x):
            of = self.ones_in_a_row(y) if ones else self.buffer(y)
            return Call(total, (self.buffer(x), of), {}, (), call.dtype)
        if ones:
            return Call(sum_in_pairs, (self.buffer(x),), {}, (), call.dtype)
        return Call(total_in_runs, (self.buffer(x), self.buffer(y)), {}, (), call.dtype)

    def ones_in_a_row(self, y: Call) -> Buffer:
        """As many ones as an array has entries."""
        shape = (math.prod(self.lengths(y)),)
        return self.constant("ones", Call(np.ones, (shape, y.dtype), {}, shape, y.dtype))

    def is_long(self, x: Call) -> bool:
        """Whether BLAS would lose digits in the sum of so many entries: NumPy adds in pairs, and is as fast there."""
        return bool(x.dtype == np.float32 and math.prod(self.lengths(x)) > LONG)

    def cost(self, cost: Call) -> Call:
        """The cost, which Python divides."""
        inner = unscaled_cost(cost)
        found = inner if is_number(inner) else self.buffer(inner)
        return found if inner is cost else Call(cost.function, (found, cost.args[1]), {}, (), float)

    # -- arguments ----------------------------------------------------------------------------------------------------

    def operand(self, x: Any, call: Call) -> Any:
        """An argument of a function of entries: numbers become arrays of the dtype, which NumPy takes faster."""
        if (isinstance(x, Call) and not is_number(x)) or (not isinstance(x, Call) and scalar_value(x) is None):
            return self.argument(x)
        dtypes = {y.dtype for y in call.args if isinstance(y, Call) and not is_number(y)}
        dtype = dtypes.pop() if len(dtypes) == 1 else None
        same = dtype in FLOATS and (call.dtype == dtype or row_of(call.function).is_comparison)
        if isinstance(x, np.generic) and x.dtype != dtype:  # which counts as one of its dtype, unlike Python's numbers
            return x
        if not same or call.function is np.power:
            return x.item() if isinstance(x, np.generic) else x
        if scalar_value(x) is None:
            return self.number(x, dtype)
        value = float(scalar_value(x))
        shape = self.lengths(call) if row_of(call.function).out_by_keyword else ()
        if not 1 < math.prod(shape) <= FEW:  # maximum and minimum are faster of two arrays
            stem = "number_" + f"{value:g}".replace("-", "minus_").replace("+", "")
            return self.constant(stem, _full((), value, dtype))
        return self.constant("zeros" if value == 0 else "filled", _full(shape, value, dtype))

    def number(self, x: Call, dtype: Any) -> Buffer:
        """An array of a number that depends on the learning rate; or on the number of examples, which is fixed."""
        if not _changes(x):
            return self.constant("number", _full((), x, dtype))
        kind = _value(x), dtype
        if kind not in self.known:
            rate = self.do(_full((), 0.0, dtype), self.new("rate", (), dtype, Place.OWN))
            self.known[kind] = self.do(x, rate, into=True)
        return self.known[kind]

    def arguments(self, call: Call) -> tuple[Any, ...]:
        """The arguments of a call that stands as it was recorded; lengths are those of these examples."""
        if call.function in (np.reshape, np.broadcast_to) and not call.options.get("order"):
            return self.argument(call.args[0]), self.lengths(call)
        if call.function is np.full:
            return self.lengths(call), self.argument(call.args[1])
        return tuple([self.argument(x) for x in call.args])

    def argument(self, x: Any) -> Any:
        """Anything that may be an argument, with buffers in the place of calls but those of numbers."""
        if isinstance(x, Call):
            return x if is_number(x) else self.buffer(x)
        return each(self.argument, x) if isinstance(x, (tuple, list, slice)) else x

    # -- shapes and names ---------------------------------------------------------------------------------------------

    def lengths(self, call: Call) -> tuple[int, ...]:
        """The shape of a result for the examples that the routine is for."""
        m, w = self.recorded, self.width
        if not m or w is None or call in self.assigned.plain:
            return call.shape
        return tuple(n // m * w if n and n % m == 0 else n for n in call.shape)

    def free(self, stem: str) -> str:
        """A name that nothing has."""
        return self.names.numbered(stem) if stem in _NUMBERED else self.names.free(stem)


_NUMBERED = ("t", "s", "c", "view", "ones", "zeros", "number")


def _without_last_row(x: Buffer) -> Call:
    """The call for a view of all rows but the last."""
    return Call(getitem, (x, slice(None, -1)), {}, (x.shape[0] - 1, *x.shape[1:]), x.dtype)


def _full(shape: tuple[int, ...], value: Any, dtype: Any) -> Call:
    """The call for an array of one number."""
    return Call(np.full, (shape, value, dtype), {}, shape, dtype)


def _value(x: Any) -> Any:
    """Something hashable that is equal for arguments, numbers of the two symbols among them, that are the same."""

    def standing(call: Call) -> Any:
        return call if call.function is None else (call.function, _value(call.args))

    return key_of_arguments(x, standing)


def _changes(x: Call) -> bool:
    """Whether a number may be another one at the next step: the learning rate is a float, and m an int."""
    return x.dtype is float if x.function is None else any(map(_changes, x.calls()))


def _basic(index: Any) -> bool:
    """Whether indexing gives a view, or a number."""
    index = index if isinstance(index, tuple) else (index,)
    plain = (int, np.integer, slice, type(None), type(Ellipsis))
    return all(isinstance(i, plain) and not isinstance(i, bool) for i in index)


# -- sums of many float32 ---------------------------------------------------------------------------------------------


def sum_in_pairs(x: Array) -> Any:
    """The sum of many entries, as NumPy adds them up."""
    return np.add.reduce(x.ravel())


def total_in_runs(x: Array, y: Array) -> Any:
    """The sum of products of many float32: BLAS adds them one by one, and each run by itself loses fewer digits."""
    x, y = x.ravel(), y.ravel()
    whole = len(x) // RUN * RUN
    runs = np.matmul(x[:whole].reshape(-1, 1, RUN), y[:whole].reshape(-1, RUN, 1))
    return np.add.reduce(runs, None) + x[whole:].dot(y[whole:])
