"""The layout of parameters and state in flat arrays, and the update of all of them at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tinygrad_dls.compiler.draft import Block, Draft, Flat, Layout, Update
from tinygrad_dls.compiler.liveness import is_elementwise
from tinygrad_dls.compiler.lowering import copied, is_number
from tinygrad_dls.engine.errors import RecordingError
from tinygrad_dls.ir.call import Call, fits, key, toposort, with_arguments
from tinygrad_dls.ir.functions import row_of

__all__ = ["flat_update", "lay_out"]


def lay_out(draft: Draft) -> tuple[Draft, str]:
    """Give each parameter a place in a flat array, a bias beside its weights, and find one update for all of them.

    Raises
    ------
    RecordingError
        If the parameters are of several dtypes.
    """
    dtypes = sorted({str(p.dtype) for p in draft.parameters})
    if len(dtypes) > 1:
        raise RecordingError(
            f"the parameters are of several dtypes, {' and '.join(dtypes)}; a compiled step needs one. "
            "Make all layers with the same dtype=, or take eager steps (compile(..., fallback=True) does)."
        )
    new = dict(zip([*draft.parameters, *draft.state], draft.outputs[1:], strict=False))
    states = [[s for s in draft.state if s.name[1:] == f"d{p.name}"] for p in draft.parameters]
    kept_flat = _like_parameters(draft.parameters, states)
    updates = {p: _update(p, own, kept_flat, new) for p, own in zip(draft.parameters, states, strict=True)}
    blocks: list[Block] = []
    for w in draft.parameters:
        if w not in draft.partners.values():
            blocks.append(_block(w, draft.partners.get(w), blocks[-1].stop if blocks else 0))
    by_name = {p.name: update for p, update in updates.items()}
    layout = Layout(tuple(blocks), draft.parameters[0].dtype, len(kept_flat))
    in_order = [by_name[name] for name in layout.names]
    flat = flat_update(in_order, layout.size)
    flat = flat if draft.alike or not (flat and flat.counts) else None
    notes = {
        f"d{w.name}{b.name}": draft.notes[f"d{w.name}"]
        for w, b in draft.partners.items()
        if f"d{w.name}" in draft.notes
    }
    told = f"{layout.size:,} parameters in one flat array"
    if layout.states:
        told += f", {layout.size * (1 + layout.states):,} entries with the optimizer's state"
    told += ": one update for all of them." if flat else "; the updates differ, so there is one for each."
    return replace(draft, layout=layout, updates=in_order, flat=flat, notes={**draft.notes, **notes}), told


def _block(w: Call, b: Call | None, start: int) -> Block:
    """The place of a parameter, or of weights with their biases beside them."""
    if b is None:
        return Block((w.name,), w.shape, start)
    return Block((w.name, b.name), (w.shape[0], w.shape[1] + 1), start)


def _like_parameters(parameters: Sequence[Call], states: Sequence[Sequence[Call]]) -> list[int]:
    """The parts of the state, by number, that are arrays like the parameter, for all parameters."""
    return [
        k
        for k in range(min(map(len, states), default=0))
        if all(fits(own[k], p) for p, own in zip(parameters, states, strict=True))
    ]


def _update(p: Call, own: Sequence[Call], kept_flat: Sequence[int], new: dict[Call, Call]) -> Update:
    """What becomes of a parameter and its state."""
    arrays = tuple((own[k], new[own[k]]) for k in kept_flat)
    others = (s for k, s in enumerate(own) if k not in kept_flat)
    kinds = tuple(kept_flat.index(k) + 1 if k in kept_flat else 0 for k in range(len(own)))
    return Update(p, new[p], arrays, tuple((s, _of_its_own(new[s])) for s in others), kinds)


def _of_its_own(new: Call) -> Call:
    """A part of the state that is given back: numbers are new each time, and arrays are copied out of our memory."""
    return copied(new) if new.shape else new


# -- one update for all -----------------------------------------------------------------------------------------------


def flat_update(updates: Sequence[Update], size: int) -> Flat | None:
    """The one update of all parameters, if they share a function into which their arrays enter entry by entry."""
    numbers: dict[Any, int] = {}
    known = [_template(u, numbers) for u in updates]
    if len({template for template, _ in known}) > 1 or any(len(found) != 1 for _, found in known):
        return None
    gradients = {u.parameter.name: gradient for u, (_, (gradient,)) in zip(updates, known, strict=True)}
    if not all(u.parameter.shape and fits(gradients[u.parameter.name], u.parameter) for u in updates):
        return None  # a norm of the parameter, say, is no gradient
    if any(s.shape for u in updates for s, _ in u.counts):
        return None
    first = updates[0]
    like_parameters = [first.parameter, gradients[first.parameter.name], *(s for s, _ in first.arrays)]
    p, g, *state = inputs = [Call(None, (), {}, (size,), first.parameter.dtype) for _ in like_parameters]
    made: dict[Call, Call] = dict(zip(like_parameters, inputs, strict=True))
    new = [first.new, *(new for _, new in first.arrays)]
    counts = [new for _, new in first.counts]
    for x in toposort([*new, *counts], known=lambda x: x in made or x.function is None):
        made[x] = with_arguments(x, lambda y: made.get(y, y))
        made[x].shape = (size,) if x.shape == first.parameter.shape else x.shape
    own = [(s, made.get(x, x)) for (s, _), x in zip(first.counts, counts, strict=True)]
    return Flat(p, g, state, gradients, [made.get(x, x) for x in new], own, set(made.values()))


def _template(update: Update, numbers: dict[Any, int]) -> tuple[tuple[Any, ...], list[Call]]:
    """The update without names, and the arrays in it that are not the optimizer's: the gradient, if there is only one.

    Calls that do the same to the same have one of the `numbers`, so that long updates are compared in no time.
    """
    state = (*update.arrays, *update.counts)
    standing: dict[Call, Any] = {update.parameter: "P", **{s: f"S{k}" for k, (s, _) in enumerate(state)}}
    gradients: list[Call] = []

    def stand(x: Call) -> Any:
        if x not in standing:
            if x.function is None and is_number(x):
                standing[x] = x.name
            else:
                standing[x] = f"G{len(gradients)}"
                gradients.append(x)
        return standing[x]

    outputs = [update.new, *(new for _, new in state)]
    for x in toposort(outputs, known=lambda x: x in standing or not _goes_by_entry(x)):
        standing[x] = numbers.setdefault(key(x, stand, shape=()), len(numbers))
    return tuple(map(stand, outputs)), gradients


def _goes_by_entry(x: Call) -> bool:
    """Whether a call is a number, or does the same to each entry, wherever it is."""
    if x.function is None or is_number(x):
        return x.function is not None
    of_numbers = x.shape == () and row_of(x.function).is_entrywise  # such as a count in another dtype
    return of_numbers or (is_elementwise(x) and not any(isinstance(y, np.ndarray) and y.shape for y in x.args))
