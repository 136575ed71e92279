"""Delayed scaling: numbers are multiplied last, behind products and sums, where the arrays are smallest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tinygrad_dls.compiler.draft import Draft
from tinygrad_dls.compiler.lowering import FLOATS, is_number
from tinygrad_dls.ir.call import Call, each, fits, is_call, is_transpose, like, scalar_value, toposort
from tinygrad_dls.ir.rewrite import rewrite

__all__ = ["delay_scaling"]


@dataclass(frozen=True)
class _Scale:
    """A factor that is a number: of the program, or the number of examples and the learning rate, above and below."""

    number: float = 1.0
    above: tuple[Call, ...] = ()
    below: tuple[Call, ...] = ()

    def __mul__(self, other: _Scale) -> _Scale:
        return _Scale(self.number * other.number, self.above + other.above, self.below + other.below)

    def inverse(self) -> _Scale:
        return _Scale(1 / self.number, self.below, self.above)

    def moderate(self) -> bool:
        """Whether a product with it stays far from overflow and underflow, unless the program itself comes near them.

        It is one number, with the learning rate above or m below at the most: what is of the order of 1/m may be summed
        first, which takes m times the room that the mean does, but not be squared first.
        """
        return 2.0**-40 < abs(self.number) < 2.0**40 and len(self.above) <= 1 and len(self.below) <= 1

    def said(self) -> str:
        """The factor as a comment."""
        symbols = "".join(getattr(x, "name", "") for x in self.above)
        plain = symbols == "m" * len(self.above) and not self.below
        return (
            f"times {self.number:g}{symbols}".replace(" 1m", " m").replace("-1m", "-m") if plain else "but for a factor"
        )

    def as_call(self) -> Any:
        value: Any = self.number
        for factor in self.above:
            value = factor if value == 1 else Call(np.multiply, (value, factor), {}, (), float)
        for factor in self.below:
            value = Call(np.divide, (value, factor), {}, (), float)
        return value


ONE = _Scale()


def _scale(x: Any) -> _Scale | None:
    """A number as a factor; None for anything else."""
    if (n := scalar_value(x)) is not None:
        return _Scale(float(n)) if n and np.isfinite(n) else None
    if not (isinstance(x, Call) and is_number(x)):
        return None
    if is_call(x, np.multiply, np.divide):
        y, z = map(_scale, x.args)
        if y is not None and z is not None:
            return y * (z if x.function is np.multiply else z.inverse())
    return _Scale(above=(x,))


def delay_scaling(draft: Draft) -> tuple[Draft, str]:
    """Multiply numbers last, behind products and sums, where the arrays are smallest.

    So the ``1/m`` of the cost moves from dZ, through all of the backward pass, which is linear, to the gradients; and
    where the update is linear in these too, it becomes one number with the learning rate. Notes say what the results
    are now multiples of themselves by: ``{"dZ2": "times m"}``.
    """
    parts: dict[Call, tuple[Call, _Scale]] = {}
    whole: dict[Call, Call] = {}
    notes: dict[str, str] = {}

    def core(x: Any) -> tuple[Any, _Scale]:
        return parts[x] if isinstance(x, Call) else (x, ONE)

    def full(x: Any) -> Any:
        if not isinstance(x, Call):
            return x
        if x not in whole:
            inner, scale = parts[x]
            whole[x] = inner if scale == ONE else _times(inner, scale)
        return whole[x]

    for call in toposort(draft.outputs):
        parts[call] = _split(call, core) or (_rebuilt(call, full), ONE)
        inner, scale = parts[call]
        inner.name = inner.name or call.name
        if call.name and inner.name == call.name and inner.function and scale != ONE:
            notes[call.name] = scale.inverse().said()
    outputs = rewrite([full(call) for call in draft.outputs], ())
    return replace(draft, outputs=outputs, notes=draft.notes | notes), _told(notes)


def _told(notes: dict[str, str]) -> str:
    """What waits for its factor, in words."""
    if not notes:
        return ""
    (name, note), *others = notes.items()
    more = f", and so {'is' if len(others) == 1 else 'are'} {len(others)} more" if others else ""
    return f"Numbers are multiplied last: until then, {name} is {note}{more}."


def _times(x: Call, scale: _Scale) -> Call:
    if scale == _Scale(-1.0):
        return like(x, np.negative, x)
    return like(x, np.multiply, x, scale.as_call())


def _rebuilt(call: Call, full: Callable[[Any], Any]) -> Call:
    if call.function is None:
        return call
    return Call(call.function, each(full, call.args), each(full, call.options), call.shape, call.dtype)


def _split(call: Call, core: Callable[[Any], tuple[Any, _Scale]]) -> tuple[Call, _Scale] | None:
    """The call without numbers as factors, and their product."""
    if call.dtype not in FLOATS or call.shape == ():
        return None
    if is_call(call, np.negative) and call.args[0].dtype == call.dtype:
        x, s = core(call.args[0])
        return x, s * _Scale(-1.0)
    if is_call(call, np.multiply, np.divide):
        x, y = call.args
        if (f := _scale(y)) is not None and fits(x, call):
            x, s = core(x)
            s = s * (f if call.function is np.multiply else f.inverse())
            return (x, s) if s.moderate() else None
        if is_call(call, np.multiply) and (f := _scale(x)) is not None and fits(y, call):
            y, s = core(y)
            return (y, s * f) if (s * f).moderate() else None
    linear = is_call(call, np.multiply, np.dot, np.matmul)
    if linear and all(isinstance(x, Call) and x.dtype == call.dtype for x in call.args):
        (x, s), (y, t) = map(core, call.args)
        if s == t == ONE or not (s * t).moderate():
            return None
        return like(call, call.function, x, y), s * t
    if is_transpose(call):
        x, s = core(call.args[0])
        return like(call, np.transpose, x), s
    return None
