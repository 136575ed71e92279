"""The update of all parameters at once: one flat array for parameters and state, and one for the gradients."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinygrad_dls.compiler.liveness import is_elementwise
from tinygrad_dls.compiler.lowering import is_number
from tinygrad_dls.engine.arrays import Array
from tinygrad_dls.ir.call import Call, each, key

__all__ = ["Block", "Flat", "Layout", "Update", "flat_update", "lay_out"]


@dataclass(frozen=True)
class Update:
    """What the optimizer does to one parameter.

    Attributes
    ----------
    parameter, new : Call
        The parameter, and what takes its place.
    arrays, counts : tuple of (Call, Call)
        The parts of its state, and what takes their places: arrays like the parameter; and numbers, or other arrays.
    """

    parameter: Call
    new: Call
    arrays: tuple[tuple[Call, Call], ...]
    counts: tuple[tuple[Call, Call], ...]


@dataclass(frozen=True)
class Block:
    """The place of one parameter, or of a W with its b in the last column, in a flat array."""

    members: tuple[str, ...]
    shape: tuple[int, ...]
    start: int  # in entries

    @property
    def name(self) -> str:
        """``W1``, or ``W1b1``."""
        return "".join(self.members)

    @property
    def stop(self) -> int:
        """Where the next one starts."""
        return self.start + int(np.prod(self.shape, dtype=int))

    def parts(self) -> Iterator[tuple[str, str]]:
        """Each member, and what follows the block's name to say it, as Python writes it."""
        yield from zip(self.members, [""] if len(self.members) == 1 else ["[:, :-1]", "[:, -1:]"], strict=True)


@dataclass(frozen=True)
class Layout:
    """The places of all parameters in a flat array; those of each array of state are the same in one of its own."""

    blocks: tuple[Block, ...]
    dtype: Any
    states: int  # arrays of state, of the shape of its parameter, that each parameter has

    @property
    def size(self) -> int:
        """Entries of the parameters."""
        return self.blocks[-1].stop

    @property
    def names(self) -> list[str]:
        """The parameters, in the order of their places."""
        return [name for block in self.blocks for name in block.members]

    def views(self, flat: Array) -> dict[str, Array]:
        """The parts of a flat array by parameter."""
        found: dict[str, Array] = {}
        for block in self.blocks:
            whole = flat[block.start : block.stop].reshape(block.shape)
            parts = [whole] if len(block.members) == 1 else [whole[:, :-1], whole[:, -1:]]
            found.update(zip(block.members, parts, strict=True))
        return found


def lay_out(updates: Sequence[Update], partners: Mapping[Call, Call]) -> Layout:
    """The places of the parameters that are updated, those of a pair side by side."""
    blocks: list[Block] = []
    start = 0
    for w in (update.parameter for update in updates):
        if w in partners.values():
            continue
        b = partners.get(w)
        block = Block((w.name,), w.shape, start)
        if b is not None:
            block = Block((w.name, b.name), (w.shape[0], w.shape[1] + 1), start)
        blocks.append(block)
        start = block.stop
    return Layout(tuple(blocks), updates[0].parameter.dtype, len(updates[0].arrays))


# -- one update for all -----------------------------------------------------------------------------------------------


@dataclass
class Flat:
    """The update of a flat array.

    Attributes
    ----------
    parameters, gradient, state : Call
        What it starts from: arrays that hold those of all parameters one after another.
    new : list of Call
        The new parameters, and the new arrays of state.
    counts : tuple of (Call, Call)
        States that are numbers, and their new values.
    gradients : dict of str to Call
        By parameter, the call that its part of the gradient comes from.
    calls : set of Call
        All that works on the flat arrays; the lengths are no numbers of examples.
    """

    parameters: Call
    gradient: Call
    state: list[Call]
    gradients: dict[str, Call]
    new: list[Call] = field(default_factory=list)
    counts: list[tuple[Call, Call]] = field(default_factory=list)
    calls: set[Call] = field(default_factory=set)


def flat_update(updates: Sequence[Update], size: int) -> Flat | None:
    """The one update of all parameters, if they share a function into which their arrays enter entry by entry."""
    known = [_template(u) for u in updates]
    gradients = {u.parameter.name: t[1] for u, t in zip(updates, known, strict=True) if t is not None}
    if len(gradients) < len(updates) or len({t[0] for t in known if t is not None}) > 1:
        return None
    if any(gradients[u.parameter.name].shape != u.parameter.shape for u in updates):
        return None
    if any(s.shape for u in updates for s, _ in u.counts):
        return None
    first = updates[0]
    like_parameters = [first.parameter, gradients[first.parameter.name], *(s for s, _ in first.arrays)]
    p, g, *state = inputs = [Call(None, (), {}, (size,), first.parameter.dtype) for _ in like_parameters]
    made: dict[Call, Call] = dict(zip(like_parameters, inputs, strict=True))

    def flat(x: Any) -> Any:
        if not isinstance(x, Call):
            return x
        if x not in made:
            if x.function is None:
                return x
            shape = (size,) if x.shape == first.parameter.shape and x.shape else x.shape
            made[x] = Call(x.function, each(flat, x.args), each(flat, x.options), shape, x.dtype)
        return made[x]

    new = [flat(call) for call in (first.new, *(s for _, s in first.arrays))]
    counts = [(s, flat(n)) for s, n in first.counts]
    return Flat(p, g, state, gradients, new, counts, set(made.values()))


def _template(update: Update) -> tuple[Any, Call] | None:
    """The update without names, and the one array in it that is not the optimizer's: the gradient."""
    state = (*update.arrays, *update.counts)
    own = {update.parameter: "P", **{s: f"S{k}" for k, (s, _) in enumerate(state)}}
    gradients: dict[Call, str] = {}

    def form(x: Call) -> Any:
        if x in own or (is_number(x) and x.function is None):
            return own.get(x, x.name)
        if is_elementwise(x) or is_number(x):
            return key(x, form, shape=())
        return gradients.setdefault(x, f"G{len(gradients)}")

    found = form(update.new), tuple(form(new) for _, new in state)
    if len(gradients) != 1 or update.parameter.shape == ():  # a norm of the parameter, say, is no gradient
        return None
    return found, next(iter(gradients))
