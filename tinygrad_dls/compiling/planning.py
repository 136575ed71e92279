"""A plan: how one step of training runs, for data of one shape; made of a recorded program by the passes, in order."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinygrad_dls.arrays import RecordingError
from tinygrad_dls.compiling import tiling
from tinygrad_dls.compiling.lowering import calls, factored, is_number, joined_layers, lowered, side_by_side
from tinygrad_dls.compiling.updating import Layout, Update, flat_update, layout
from tinygrad_dls.compiling.writing import Code, Writer, copied, safe
from tinygrad_dls.program import Program
from tinygrad_dls.recording import Call, getitem, reachable

__all__ = ["Plan", "plan"]


@dataclass
class Plan:
    """What runs a step for data of one shape.

    Attributes
    ----------
    m : int or None
        The number of examples.
    layout : Layout
        Of the flat arrays.
    data : list of str
        The arguments of the functions that hold data: X, Y, parameters that are not updated.
    split : list of bool
        Which of them hold examples.
    counts : list of str
        The states of the optimizer that are numbers.
    is_flat : bool
        Whether one update serves all parameters.
    whole : Code or None
        The function of a step that is done at once.
    tiles : dict of int to Code
        By their width, the functions for the columns of a tile; empty without tiles.
    update : Code or None
        What follows the tiles.
    width : int
        The columns of a tile; the last one may be narrower.
    sums : int
        Entries that are summed over the tiles; the gradients come first.
    why_whole : str
        Why there are no tiles.
    recorded : int
        The calls that were recorded.
    joined : list of str
        The layers whose W and b stand side by side.
    """

    m: int | None
    layout: Layout
    data: list[str]
    split: list[bool]
    counts: list[str]
    is_flat: bool
    whole: Code | None = None
    tiles: dict[int, Code] = field(default_factory=dict)
    update: Code | None = None
    width: int = 0
    sums: int = 0
    why_whole: str = ""
    recorded: int = 0
    joined: list[str] = field(default_factory=list)

    def text(self) -> str:
        """All the functions as Python."""
        return "\n\n".join(code.text() for code in self.codes())

    def codes(self) -> list[Code]:
        """All the functions."""
        return [code for code in (self.whole, *self.tiles.values(), self.update) if code is not None]


def plan(step: Program, m: int | None, *, alike: bool = True, gradients: bool = False, tile: int | None = None) -> Plan:
    """Plan a recorded step for m examples.

    Parameters
    ----------
    step : Program
        With an update.
    m : int or None
        The number of examples.
    alike : bool
        Whether the states that are numbers, such as Adam's counts of steps, are the same for all parameters.
    gradients : bool
        Whether the functions return new arrays of the gradients too.
    tile : int, optional
        The columns of a tile, instead of what fits into the cache.
    """
    return _Planner(step, m, alike, gradients).plan(tile)


class _Planner:
    """The passes over a program, and the functions that are written of what they leave."""

    def __init__(self, step: Program, m: int | None, alike: bool, gradients: bool) -> None:
        self.step, self.m, self.examples = step, m, step.recorder.m
        updated = {name for name, _ in step.update}
        kept = [f"d{p.name}" for p in step.parameters if p.name in updated and gradients]
        named = [*step.outputs(), *((name, dict(step.backward)[name]) for name in kept)]
        names = [name for name, _ in named]
        outputs = [call for _, call in named]
        self.recorded = sum(call.function is not None for call in reachable(outputs))

        outputs = lowered(outputs, step.recorder.length)
        self.notes: dict[str, str] = {}
        outputs = factored(outputs, self.notes)
        learned = [p for p in step.parameters if p.name in updated]
        outputs, self.pairs = joined_layers(outputs, learned, step.data, self.examples)
        for w, b in self.pairs:
            if f"d{w.name}" in self.notes:
                self.notes[f"d{w.name}{b.name}"] = self.notes[f"d{w.name}"]

        self.cost = outputs[0]
        by_name = dict(zip(names, outputs, strict=True))
        self.updates = _updates(step, by_name)
        dtypes = sorted({str(u.parameter.dtype) for u in self.updates})
        if len(dtypes) > 1:
            raise RecordingError(f"the parameters are of several dtypes, {' and '.join(dtypes)}; a plan needs one.")
        self.layout = layout(self.updates, self.pairs)
        members = [f"d{member}" for block in self.layout.blocks for member in block.members]
        found = [by_name[name] for name in members if name in kept]
        self.kept = [Call(copied, (c,), {}, c.shape, c.dtype) for c in found]
        self.flat = flat_update(self.updates, self.layout.size)
        if self.flat is not None and self.flat.counts and not alike:
            self.flat = None
        self.plain = self.flat.calls if self.flat is not None else set()
        owned = {u.parameter for u in self.updates}
        self.data = [*step.data, *(p for p in step.parameters if p not in owned)]
        self._name_what_is_there()
        self._place_what_comes_out()
        self.kinds = tiling.kinds([self._cost(), *self.gradients, *self.new, *self.kept], self.examples)
        if any(self.kinds.axis.get(c, -1) != -1 for c in self.data):
            self.kinds.obstacle = self.kinds.obstacle or "the examples are not the columns of all data"

    def plan(self, tile: int | None) -> Plan:
        """The plan, with tiles or without."""
        result = Plan(
            self.m,
            self.layout,
            [c.name for c in self.data],
            [c in self.kinds.axis for c in self.data],
            self.counts,
            self.flat is not None,
            why_whole=self.kinds.obstacle,
            recorded=self.recorded,
            joined=[f"{w.name}{b.name}" for w, b in self.pairs],
        )
        if not result.why_whole and self.m is not None:
            self._place_sums()
            bytes_per_example = self._tile(64).bytes // 64 + self._bytes_of_data()
            result.width = tile or tiling.width(self.m, bytes_per_example)
            if tile is None and not tiling.worthwhile(self.m, result.width, bytes_per_example):
                result.why_whole = f"{self.m} examples fit into the cache, or are too few for tiles that do"
            elif result.width >= self.m:
                result.why_whole = "one tile would hold all examples"
        if result.why_whole or self.m is None:
            result.whole, result.width = self._whole(), 0
            return result
        for width in sorted({result.width, self.m % result.width} - {0}, reverse=True):
            result.tiles[width] = self._tile(width)
        result.update, result.sums = self._update(), self.sums
        return result

    # -- the functions ------------------------------------------------------------------------------------------------

    def _whole(self) -> Code:
        """One function for all of the step."""
        writer = Writer(self.examples, self.m, self.given, self.fixed, self.into, self.plain)
        writer.notes = self.notes
        writer.start(self.views)
        writer.scratch = self._scratch()
        wanted = [self._cost(), *self.gradients, *self.new, *self.new_counts]
        writer.function("step", [*self._names_of_data(), "learning_rate", *self.counts], wanted + self.kept)
        self._return(writer)
        return writer.code

    def _tile(self, width: int) -> Code:
        """The function that computes what the columns of a tile contribute to the sums over the examples."""
        writer = Writer(self.examples, width, self.given, self.fixed, self.places, self.plain)
        writer.notes = self.notes
        writer.strided = {c for c in self.data if c in self.kinds.axis}
        writer.start(self.views + self.views_of_sums)
        writer.function("columns", self._names_of_data(), self.kinds.sums)
        return writer.code

    def _update(self) -> Code:
        """The function that follows when the sums are there."""
        into = {call: name for call, name in self.into.items() if call not in self.places}
        fixed = self.fixed | {call for call in self.places if call.shape}
        writer = Writer(self.examples, self.m, {**self.given, **self.places}, fixed, into, self.plain)
        writer.notes = self.notes
        writer.start(self.views + self.views_of_sums)
        writer.scratch = self._scratch()
        wanted = [self._cost(), *self.gradients, *self.new, *self.new_counts]
        writer.function("update", [*self._names_of_data(), "learning_rate", *self.counts], wanted + self.kept)
        self._return(writer)
        return writer.code

    def _scratch(self) -> set[Call]:
        """The flat gradients, which nothing needs after the update unless they are to be kept."""
        return {self.flat.inputs["dP"]} if self.flat is not None and not self.kept else set()

    def _return(self, writer: Writer) -> None:
        """The last line: the cost, in Python's numbers, and the new counts."""
        inner = self._cost()
        text = f"float({writer.any(inner)})"
        if inner is not self.cost:
            text += f" {'/' if self.cost.function is np.divide else '*'} {writer.number(self.cost.args[1])}"
        returned = ", ".join([text, *map(writer.any, [*self.new_counts, *self.kept])])
        writer.f.lines.append((f"return {returned}", ""))

    def _cost(self) -> Call:
        """What NumPy computes of the cost: the division by m is left to Python."""
        x = self.cost
        divided = calls(x, np.divide, np.multiply) and is_number(x.args[1])
        return x.args[0] if divided and isinstance(x.args[0], Call) else x

    def _names_of_data(self) -> list[str]:
        return [self.given[c] for c in self.data]

    def _bytes_of_data(self) -> int:
        held = [c for c in self.data if c in self.kinds.axis]
        return sum(math.prod(c.shape) // (self.examples or 1) * np.dtype(c.dtype).itemsize for c in held)

    # -- where things are ---------------------------------------------------------------------------------------------

    def _name_what_is_there(self) -> None:
        """The names of what a function starts from, and the lines that make views of the flat arrays."""
        size, states = self.layout.size, self.layout.states
        self.regions = ["parameters", *(f"state{k}" for k in range(1, states + 1))]
        self.used: set[str] = {"parameters", "gradients", "before", "after", "sums", "learning_rate"}
        self.used |= {f"{new}state{k}" for new in ("", "new_") for k in range(1, states + 1)} | {"new_parameters"}
        self.blocks = {b.name: self._unique(b.name) for b in self.layout.blocks}
        self.given: dict[Call, str] = {c: self._unique(c.name) for c in self.data}
        self.fixed: set[Call] = set()
        self.views = []
        for k, region in enumerate(self.regions):
            span = f"{k * size}:{(k + 1) * size}"
            self.views.append(f"{region}, new_{region} = before[{span}], after[{span}]")
        arrays = {u.parameter.name: [u.parameter, *(s for s, _ in u.state if _is_array(s, u))] for u in self.updates}
        together = {c.args[0].name: c for c in reachable(self._roots()) if c.function is side_by_side}
        for k in range(1 + states):
            for block in self.layout.blocks:
                whole = self._block(block.name, k)
                self._view(whole, self.regions[k], block)
                for member in block.members:
                    call = arrays[member][k]
                    name = whole if len(block.members) == 1 else self._unique(call.name)
                    self.given[call] = name
                    self.fixed.add(call)
                    if name != whole:
                        self.views.append(f"{name} = {whole}{block.index(member)}")
                if k == 0 and block.members[0] in together:
                    self.given[together[block.members[0]]] = whole
                    self.fixed.add(together[block.members[0]])
        if self.flat is not None:
            for name, call in self.flat.inputs.items():
                self.given[call] = {"P": "parameters", "dP": "gradients", "VdP": "state1", "SdP": "state2"}[name]
                self.fixed.add(call)
        counts = [s for u in self.updates for s, _ in u.state if not _is_array(s, u)]
        for s in counts:
            self.given[s] = (
                self.given[counts[0]] if self.flat is not None and s is not counts[0] else self._unique(s.name)
            )
        self.counts = list(dict.fromkeys(self.given[s] for s in counts))

    def _roots(self) -> list[Call]:
        return [self.cost, *(c for u in self.updates for c in (u.new, *(new for _, new in u.state)))]

    def _unique(self, name: str) -> str:
        """A name that means nothing else, with those of the arrays that go with it."""
        name = safe(name)
        kin = ("", "d", "new_", *(f"{new}{region}_" for new in ("", "new_") for region in self.regions[1:]))
        while any(f"{prefix}{name}" in self.used for prefix in kin):
            name += "_"
        self.used |= {f"{prefix}{name}" for prefix in kin}
        return name

    def _block(self, name: str, region: int = 0) -> str:
        return self.blocks[name] if region == 0 else f"{self.regions[region]}_{self.blocks[name]}"

    def _view(self, name: str, region: str, block: Any) -> None:
        self.views.append(f"{name} = {region}[{block.start}:{block.stop}].reshape({block.shape})")

    def _place_what_comes_out(self) -> None:
        """Which calls are written into which arrays: the gradients, and what is new."""
        self.into: dict[Call, str] = {}
        self.gradients: list[Call] = []
        self.new: list[Call] = []
        self.new_counts = [new for u in self.updates for s, new in u.state if not _is_array(s, u)]
        if self.flat is None:
            for k, region in enumerate(self.regions):
                for block in self.layout.blocks:
                    self._view(f"new_{self._block(block.name, k)}", f"new_{region}", block)
            for u in self.updates:
                block = next(b for b in self.layout.blocks if u.parameter.name in b.members)
                for k, call in enumerate([u.new, *(new for s, new in u.state if _is_array(s, u))]):
                    place = f"new_{self._block(block.name, k)}{block.index(u.parameter.name)}"
                    self.new.append(self._written(call, place, strided=True))
            return
        self.new_counts = [new for _, new in self.flat.counts]
        for block in self.layout.blocks:
            self._view(f"d{self.blocks[block.name]}", "gradients", block)
            found = [self.flat.gradients[member] for member in block.members]
            both = {g.args[0] for g in found if calls(g, getitem)}
            if len(found) == 2 and len(both) == 1 and all(calls(g, getitem) for g in found):
                self.gradients.append(self._written(both.pop(), f"d{self.blocks[block.name]}"))
            else:
                for member, g in zip(block.members, found, strict=True):
                    self.gradients.append(self._written(g, f"d{self.blocks[block.name]}{block.index(member)}"))
        for region, call in zip(self.regions, self.flat.new, strict=True):
            self.new.append(self._written(call, f"new_{region}"))

    def _written(self, call: Call, place: str, strided: bool = False) -> Call:
        """The call, or a copy of its result, that is written into a place."""
        can = isinstance(call.function, np.ufunc) or (calls(call, np.dot) and not strided)
        if place.endswith("]") and not strided:
            can = isinstance(call.function, np.ufunc) and call.function.signature is None
        if not can or call in self.into or call in self.given or is_number(call):
            call = Call(copied, (call,), {}, call.shape, call.dtype)
        self.into[call] = place
        return call

    def _place_sums(self) -> None:
        """Where a tile adds up: the gradients that are sums over the examples, and further sums behind them."""
        self.places: dict[Call, str] = {}
        self.views_of_sums: list[str] = []
        self.sums = self.layout.size
        for call in self.kinds.sums:
            if call in self.into:
                self.places[call] = self.into[call]
                continue
            size = math.prod(call.shape)
            if call.shape == ():
                self.places[call] = f"sums[{self.sums}]"
            else:
                name = f"sum{len(self.places) + 1}"
                span = f"{self.sums}:{self.sums + size}"
                self.views_of_sums.append(f"{name} = sums[{span}].reshape({call.shape})")
                self.places[call] = name
            self.sums += size


def _is_array(state: Call, update: Update) -> bool:
    return bool(state.dtype == update.parameter.dtype)


def _updates(step: Program, new: dict[str, Call]) -> list[Update]:
    """The parameters that are updated, with their state."""
    found = []
    updated = {name for name, _ in step.update}
    for p in step.parameters:
        if p.name in updated:
            own = [s for s in step.state if s.name[1:] == f"d{p.name}"]
            found.append(Update(p, new[p.name], tuple((s, new[s.name]) for s in own)))
    return found
