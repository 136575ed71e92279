"""A routine in two languages: functions of C for what is fused, and Python for what is left, which calls them."""

from __future__ import annotations

import builtins
import ctypes
from dataclasses import replace
from types import CodeType
from typing import Any

import numpy as np

from tinygrad_dls.compiler.instructions import Buffer, Instruction, Place, Routine, buffer
from tinygrad_dls.compiler.native.building import library
from tinygrad_dls.compiler.native.fusing import Fused, _buffers, fuse, reads
from tinygrad_dls.compiler.native.printing import Function, places
from tinygrad_dls.compiler.native.vectors import header
from tinygrad_dls.compiler.text import Text
from tinygrad_dls.ir.call import Call

__all__ = ["NativeRoutine"]


class NativeRoutine:
    def __init__(self, routine: Routine, dtype: Any) -> None:
        self.fused = fused = fuse(routine, dtype)
        where = places(routine)
        cost = next(iter(_buffers(routine.cost)), None)
        self.functions: list[Function] = []
        steps: list[Instruction] = []
        for group in fused.groups():
            if group[0].columns < 0:
                steps += [x for piece in group for x in piece.instructions]
                continue
            own = {x.out for piece in group for x in piece.instructions}
            result = cost if cost in own else None
            name = f"native{len(self.functions) + 1}"
            function = Function(name, fused, group, where, result)
            self.functions.append(function)
            for x in function.arrays:
                if x in own:
                    steps.append(Instruction(Call(np.empty, (x.shape, x.dtype), {}, x.shape, x.dtype), x))
            steps.append(Instruction(_called(function), result or buffer(f"{name}_", (), float)))
        used = {y.owner for x in steps for y in (*reads(x), x.out)} | {x for f in self.functions for x in f.owners}
        used |= {x.owner for y in (*routine.returned, routine.cost) for x in _buffers(y)}
        self.routine = replace(
            routine,
            setup=[x for x in routine.setup if x.out.owner in used],
            slots=[x for x in routine.slots if x in used],
            steps=steps,
        )
        self.text = header(dtype) + "\n" + "\n\n".join(f.text for f in self.functions) + "\n"
        self.python = Text(self.routine)
        module = builtins.compile(self.python.function, "<compiled step>", "exec")
        self.code = next(x for x in module.co_consts if isinstance(x, CodeType))
        self.constants = {"np": np, **self.python.constants}
        self.library = library(self.text)
        for name, f in self.python.constants.items():
            if not isinstance(f, Function):
                continue
            c = getattr(self.library, f.name)
            c.argtypes = [ctypes.c_void_p, *[ctypes.py_object] * len(f.arrays), *[ctypes.c_double] * len(f.numbers)]
            c.restype = ctypes.c_double
            self.constants[name] = c

    def bound(self, names: dict[str, Any]) -> dict[str, Any]:
        """What the functions are given besides: their memory."""
        found: dict[str, Any] = {}
        for f in self.functions:
            spaces = [np.empty(x.size, self.fused.dtype) for x in f.arrays]
            arrays = [*(names[x.name] for x in f.owners), *spaces]
            table = (ctypes.c_void_p * len(arrays))(*(x.ctypes.data for x in arrays))
            found[f"{f.name}_memory"] = ctypes.c_void_p(ctypes.addressof(table))
            found[f"{f.name}_arrays"] = [table, arrays]
        return found


def _called(f: Function) -> Call:
    given = [buffer(f"{f.name}_memory", (), float), *f.arrays, *f.numbers]
    return Call(f, tuple(given), {}, (), float)
