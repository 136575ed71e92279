"""The update of all parameters at once: one flat array for parameters and state, and one for the gradients."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_dls.arrays import Array
from tinygrad_dls.recording import Call, each

__all__ = ["Block", "Layout", "Update", "flat_update"]


@dataclass(frozen=True)
class Update:
    """What the optimizer does to one parameter.

    Attributes
    ----------
    parameter, new : Call
        The parameter, and what takes its place.
    state : tuple of (Call, Call)
        Each part of the state, and what takes its place.
    """

    parameter: Call
    new: Call
    state: tuple[tuple[Call, Call], ...]


@dataclass(frozen=True)
class Block:
    """The place of one parameter, or of a W with its b in the last column, in a flat array."""

    name: str
    members: tuple[str, ...]
    shape: tuple[int, ...]
    start: int  # in entries

    @property
    def stop(self) -> int:
        """Where the next one starts."""
        return self.start + int(np.prod(self.shape, dtype=int))

    def index(self, member: str) -> str:
        """What follows the block's name to say the member, as Python writes it."""
        if len(self.members) == 1:
            return ""
        return "[:, :-1]" if member == self.members[0] else "[:, -1:]"

    def part(self, whole: Array, member: str) -> Array:
        """The member's part of the block's array."""
        if len(self.members) == 1:
            return whole
        return whole[:, :-1] if member == self.members[0] else whole[:, -1:]


@dataclass(frozen=True)
class Layout:
    """The places of all parameters in a flat array; the state follows, in as many copies of this as it has arrays."""

    blocks: tuple[Block, ...]
    dtype: Any
    states: int  # arrays of state, of the shape of its parameter, that each parameter has

    @property
    def size(self) -> int:
        """Entries of the parameters."""
        return self.blocks[-1].stop

    def views(self, flat: Array, region: int = 0) -> dict[str, Array]:
        """The parts of a flat array by parameter; of the parameters themselves, or of the k-th array of state."""
        found = {}
        for block in self.blocks:
            start = region * self.size
            whole = flat[start + block.start : start + block.stop].reshape(block.shape)
            found.update({member: block.part(whole, member) for member in block.members})
        return found


def layout(updates: Sequence[Update], pairs: Iterable[tuple[Call, Call]]) -> Layout:
    """The places of the parameters that are updated, those of a pair side by side."""
    partner = dict(pairs)
    second = set(partner.values())
    blocks: list[Block] = []
    start = 0
    for update in updates:
        w = update.parameter
        if w in second:
            continue
        members: tuple[str, ...] = (w.name,)
        shape = w.shape
        if w in partner:
            members, shape = (w.name, partner[w].name), (w.shape[0], w.shape[1] + 1)
        blocks.append(Block("".join(members), members, shape, start))
        start = blocks[-1].stop
    arrays = sum(s.dtype == updates[0].parameter.dtype for s, _ in updates[0].state)
    return Layout(tuple(blocks), updates[0].parameter.dtype, arrays)


# -- one update for all -----------------------------------------------------------------------------------------------


@dataclass
class Flat:
    """The update of a flat array, and which calls it takes for the gradients."""

    gradients: dict[str, Call]  # by parameter
    inputs: dict[str, Call]  # P, V, S; dP
    new: list[Call]  # of the parameters, and of each array of state
    counts: list[tuple[Call, Call]]  # states that are numbers, and their new values
    calls: set[Call]  # all of these, whose length is no number of examples


def flat_update(updates: Sequence[Update], size: int) -> Flat | None:
    """The same function of all parameters, if there is one: their arrays enter entry by entry."""
    known = [_template(u) for u in updates]
    if any(t is None or t[0] != known[0][0] for t in known if known[0] is not None) or known[0] is None:
        return None
    first = updates[0]
    gradients = {u.parameter.name: t[1] for u, t in zip(updates, known, strict=True) if t is not None}
    if any(g.shape != u.parameter.shape for u, g in zip(updates, gradients.values(), strict=True)):
        return None
    dtype = first.parameter.dtype
    inputs: dict[Call, Call] = {first.parameter: Call(None, (), {}, (size,), dtype, "P")}
    inputs[gradients[first.parameter.name]] = Call(None, (), {}, (size,), dtype, "dP")
    arrays = [(s, new) for s, new in first.state if s.dtype == dtype]
    for k, (s, _) in enumerate(arrays):
        inputs[s] = Call(None, (), {}, (size,), dtype, "VS"[k] + "dP")
    made: dict[Call, Call] = {}

    def flat(x: Any) -> Any:
        if not isinstance(x, Call) or x.function is None:
            return inputs.get(x, x) if isinstance(x, Call) else x
        if x in inputs:
            return inputs[x]
        if x not in made:
            shape = (size,) if x.shape == first.parameter.shape and x.shape else x.shape
            made[x] = Call(x.function, each(flat, x.args), each(flat, x.options), shape, x.dtype)
        return made[x]

    new = [flat(first.new), *(flat(s) for _, s in arrays)]
    counts = [(s, flat(n)) for s, n in first.state if s.dtype != dtype]
    return Flat(gradients, {c.name: c for c in inputs.values()}, new, counts, {*inputs.values(), *made.values()})


def _template(update: Update) -> tuple[Any, Call] | None:
    """The update as a text without names, and the one array in it that is not the optimizer's: the gradient."""
    own = {update.parameter: "P", **{s: f"S{k}" for k, (s, _) in enumerate(update.state)}}
    gradients: list[Call] = []

    def text(x: Any) -> Any:
        if not isinstance(x, Call):
            return type(x).__name__, repr(x)
        if x in own:
            return own[x]
        if x.function is None:
            return x.name if x.shape == () else gradient(x)
        if isinstance(x.function, np.ufunc) or x.shape == ():
            return x.function.__name__, str(x.dtype), tuple(map(text, x.args))
        return gradient(x)

    def gradient(x: Call) -> str:
        if x not in gradients:
            gradients.append(x)
        return f"G{gradients.index(x)}"

    found = text(update.new), tuple(text(new) for _, new in update.state)
    scalar = update.parameter.shape == ()
    return None if len(gradients) != 1 or scalar else (found, gradients[0])
