"""Where a plan's functions find what they start from, and where they write what comes out: views of flat arrays."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from tinygrad_dls.compiler.augmenting import side_by_side
from tinygrad_dls.compiler.liveness import is_elementwise
from tinygrad_dls.compiler.lowering import copied, is_number
from tinygrad_dls.compiler.updating import Block, Flat, Layout, Update
from tinygrad_dls.graph.names import Names
from tinygrad_dls.ir.call import Call, getitem, is_call, reachable
from tinygrad_dls.ir.functions import MATRIX, row_of

__all__ = ["USED", "Line", "Places", "over_gradients", "placed", "with_sums"]

USED = {  # in the texts
    "memory", "part", "sums", "m", "learning_rate", "before", "after", "gradients", "step", "columns", "update",
    "function", "total_in_runs", "np", *dir(np),
}  # fmt: skip


@dataclass(frozen=True)
class Line:
    """A line of a function, or of its setup.

    Attributes
    ----------
    text, comment : str
    sided : bool
        Whether a line of the setup makes a view of one of the two sides; the others are the same for both.
    """

    text: str
    comment: str = ""
    sided: bool = False

    @property
    def names(self) -> list[str]:
        """What it gives names to."""
        return self.text.split(" = ")[0].split(", ")


@dataclass
class Places:
    """Names for what is there when a function starts.

    Attributes
    ----------
    arguments : dict of Call to str
        The arguments of the functions that hold data: X, Y, parameters that are not updated.
    counts : dict of Call to str
        The arguments that hold the optimizer's counts of steps.
    arrays : dict of Call to str
        Views of the flat arrays.
    sided : set of Call
        Those of them that lie on one of the two sides: parameters and state.
    setup : list of Line
        What makes the views.
    into : dict of Call to str
        The views that results are to be written into.
    gradients, new, new_counts : list of Call
        These results.
    plain : set of Call
        Calls whose lengths are no number of examples, even if they are multiples of it.
    scratch : set of Call
        Arrays that may be written over when nothing needs them any more.
    notes : dict of str to str
        Comments on results, by name.
    """

    arguments: dict[Call, str] = field(default_factory=dict)
    counts: dict[Call, str] = field(default_factory=dict)
    arrays: dict[Call, str] = field(default_factory=dict)
    sided: set[Call] = field(default_factory=set)
    setup: list[Line] = field(default_factory=list)
    into: dict[Call, str] = field(default_factory=dict)
    gradients: list[Call] = field(default_factory=list)
    new: list[Call] = field(default_factory=list)
    new_counts: list[Call] = field(default_factory=list)
    plain: set[Call] = field(default_factory=set)
    scratch: set[Call] = field(default_factory=set)
    notes: dict[str, str] = field(default_factory=dict)

    def view(self, name: str, text: str) -> str:
        """Add a line to the setup that makes a view of one of the sides, and return the name that it gives."""
        self.setup.append(Line(f"{name} = {text}", sided=True))
        return name

    def write(self, call: Call, name: str, *, strided: bool = False) -> Call:
        """The call, or a copy of its result, that is written into an array; no copy where NumPy can write there."""
        able = is_elementwise(call) or (row_of(call.function).kind is MATRIX and not strided)
        if not able or call in self.into or call in self.arrays or call in self.arguments or is_number(call):
            call = Call(copied, (call,), {}, call.shape, call.dtype)
        self.into[call] = name
        return call


class _Names(Names):
    """Names of what a step starts from, with those of the arrays that go with them."""

    def __init__(self, states: int) -> None:
        self.regions = ["parameters", *(f"state{k}" for k in range(1, states + 1))]
        new = ("", "new_")
        own = [f"{prefix}{region}" for prefix in new for region in self.regions]
        super().__init__(
            {*USED, *own},
            kin=("{}", "d{}", "new_{}", *(f"{prefix}{region}_{{}}" for prefix in new for region in self.regions[1:])),
        )
        self.members: dict[str, str] = {}  # of the parameters, by what they are called in the model

    def of(self, name: str, region: int) -> str:
        """The name of a parameter's array of state, or of the parameter itself."""
        return name if region == 0 else f"{self.regions[region]}_{name}"


def placed(
    updates: Sequence[Update], layout: Layout, flat: Flat | None, data: Iterable[Call], roots: Iterable[Call]
) -> Places:
    """Give places to all that a step starts from, and to what it computes: parameters, state and gradients."""
    places, names = Places(), _Names(layout.states)
    blocks = {block: names.free(block.name) for block in layout.blocks}
    places.arguments = {call: names.free(call.name) for call in data}
    for k, region in enumerate(names.regions):
        places.view(f"{region}, new_{region}", f"before[{k}], after[{k}]")
    own = {u.parameter.name: [u.parameter, *(s for s, _ in u.arrays)] for u in updates}
    together = {c.args[0].name: c for c in reachable(roots) if c.function is side_by_side}
    for k, region in enumerate(names.regions):
        for block, name in blocks.items():
            whole = places.view(names.of(name, k), _span(region, block))
            for member, part in block.parts():
                call = own[member][k]
                name = places.view(names.free(call.name), whole + part) if part else whole
                places.arrays[call] = name
                names.members.setdefault(member, name)
            if k == 0 and block.members[0] in together:
                places.arrays[together[block.members[0]]] = whole
    _place_counts(places, names, updates, flat)
    if flat is None:
        _place_updates(places, names, updates, blocks)
    else:
        places.arrays |= dict(zip([flat.parameters, *flat.state], names.regions, strict=True))
        _place_flat_update(places, names, flat, blocks)
    places.sided = set(places.arrays)
    if flat is not None:
        places.arrays[flat.gradient] = "gradients"
        places.plain = flat.calls
        places.scratch = {flat.gradient}
    return places


def _span(array: str, block: Block) -> str:
    return f"{array}[{block.start}:{block.stop}].reshape({block.shape})"


def _place_counts(places: Places, names: _Names, updates: Sequence[Update], flat: Flat | None) -> None:
    counts = [(s, new) for u in updates for s, new in u.counts]
    if flat is not None:  # one number for all
        of_all = [names.free(s.name) for s, _ in flat.counts]
        places.counts = {s: name for u in updates for (s, _), name in zip(u.counts, of_all, strict=True)}
        places.new_counts = [new for _, new in flat.counts]
    else:
        places.counts = {s: names.free(s.name) for s, _ in counts}
        places.new_counts = [new for _, new in counts]


def _place_flat_update(places: Places, names: _Names, flat: Flat, blocks: dict[Block, str]) -> None:
    """Gradients side by side, from which one update follows."""
    for block, name in blocks.items():
        whole = places.view(f"d{name}", _span("gradients", block))
        found = [flat.gradients[member] for member in block.members]
        both = {g.args[0] for g in found if is_call(g, getitem)}
        if len(found) == 2 and len(both) == 1 and all(is_call(g, getitem) for g in found):
            places.gradients.append(places.write(both.pop(), whole))
            continue
        for (member, part), g in zip(block.parts(), found, strict=True):
            name = places.view(f"d{names.members[member]}", whole + part) if part else whole
            places.gradients.append(places.write(g, name, strided=bool(part)))
    for region, call in zip(names.regions, flat.new, strict=True):
        places.new.append(places.write(call, f"new_{region}"))


def _place_updates(places: Places, names: _Names, updates: Sequence[Update], blocks: dict[Block, str]) -> None:
    """Each parameter's update by itself."""
    new = {u.parameter.name: [u.new, *(s for _, s in u.arrays)] for u in updates}
    for k, region in enumerate(names.regions):
        for block, name in blocks.items():
            whole = places.view(f"new_{names.of(name, k)}", _span(f"new_{region}", block))
            for member, part in block.parts():
                free = f"new_{names.of(names.members[member], k)}"
                name = places.view(free, whole + part) if part else whole
                places.new.append(places.write(new[member][k], name, strided=bool(part)))


def over_gradients(places: Places, flat: Flat) -> Places:
    """The same, but the gradients lie where the new parameters will: less memory to go through, if they are many.

    Only if all else comes before the new parameters, which are written over it entry by entry.
    """
    before = set(reachable([flat.new[0]]))
    if not all(call in before for call in flat.calls) or not all(map(is_elementwise, flat.new)):
        return places
    regions = 1 + len(flat.state)
    line = Line("gradients = new_parameters", sided=True)
    setup = [*places.setup[:regions], line, *places.setup[regions:]]
    return replace(places, setup=setup, sided={*places.sided, flat.gradient})


def with_sums(places: Places, sums: Sequence[Call], size: int) -> tuple[Places, Places, int]:
    """Where a tile adds up: the gradients that are sums over the examples, and further sums behind them.

    Returns
    -------
    columns, update : Places
        For the function of a tile, which writes them, and for that of the update, which reads them.
    size : int
        Entries of all the sums.
    """
    into: dict[Call, str] = {}
    setup: list[Line] = []
    given = (*places.arguments.values(), *places.counts.values(), *(n for line in places.setup for n in line.names))
    names = Names({*USED, *given})
    for call in sums:
        if call in places.into:
            into[call] = places.into[call]
            continue
        name = names.numbered("sum")
        entries = math.prod(call.shape)
        setup.append(Line(f"{name} = sums[{size}:{size + entries}].reshape({call.shape})"))
        into[call] = name
        size += entries
    setup = [*places.setup, *setup]
    rest = {call: name for call, name in places.into.items() if call not in into}
    columns = replace(places, counts={}, into=into, setup=setup)
    update = replace(places, arrays={**places.arrays, **into}, sided={*places.sided, *into}, into=rest, setup=setup)
    return columns, update, size
