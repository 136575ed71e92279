"""What `Module.summary` returns: a model as a table. Text here; `tinygrad_dls.views.summaries` fills it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tinygrad_dls.engine.viewed import Viewed

__all__ = ["HEAD", "Layer", "Output", "Summary", "counted"]

HEAD = ("layer", "kind", "parameters", "count", "gives", "bytes")
RIGHT = {3, 5}  # columns of numbers


@dataclass(frozen=True)
class Output:
    """An array that goes into a model, or comes out of a layer.

    Attributes
    ----------
    name : str
        Such as ``"A1"``; empty of what has none.
    shape : tuple of int or str
        ``"m"`` stands for the number of examples, which are the columns.
    bytes : int
        Of its numbers; 0 where the layer passes on what it was given, and where nothing ran.
    """

    name: str
    shape: tuple[int | str, ...]
    bytes: int = 0

    def __str__(self) -> str:
        shape = f"({', '.join(map(str, self.shape))}{',' if len(self.shape) == 1 else ''})"
        return f"{self.name} {shape}".lstrip()


@dataclass(frozen=True)
class Layer:
    """A layer, a model within the model, or a function such as ``np.tanh``.

    Attributes
    ----------
    depth : int
        How many modules it lies in.
    name : str
        Such as ``"layer1"``, or the attribute that holds it; empty of what has none.
    kind : str
        Such as ``"Linear 2 -> 4"``.
    parameters : tuple of str
        Its own, with their shapes, such as ``"W1 (4, 2)"``; those that are frozen say so.
    count : int
        How many numbers these hold.
    outputs : tuple of Output
        What it gave, each time that it ran; without inputs, what its own size tells.
    note : str
        Why there is no output, if it has none.
    """

    depth: int
    name: str
    kind: str
    parameters: tuple[str, ...]
    count: int
    outputs: tuple[Output, ...] = ()
    note: str = ""

    @property
    def bytes(self) -> int:
        """Bytes of what it gave."""
        return sum(output.bytes for output in self.outputs)

    @property
    def cells(self) -> tuple[str, ...]:
        """Its row of the table."""
        gives = ", ".join(dict.fromkeys(map(str, self.outputs))) or self.note
        numbers = (f"{n:,}" if n else "" for n in (self.count, self.bytes))
        return self.name, self.kind, ", ".join(self.parameters), next(numbers), gives, next(numbers)


@dataclass(frozen=True, repr=False)
class Summary(Viewed):
    """A model as a table of its layers; `Module.summary` makes it, and ``print`` shows it.

    Attributes
    ----------
    kind : str
        The model's class, with its name if it lies in another model.
    inputs, outputs : tuple of Output
        What went in and what came out; empty if nothing ran.
    layers : tuple of Layer
        In the order in which the model holds them. The model itself is the first, where it has parameters of its own.
    m : int or None
        The number of examples.
    count, frozen : int
        How many numbers the parameters hold, a shared one once; how many of these are not trained.
    bytes : int
        Of the parameters.
    kept : tuple of str
        The arrays that are saved beside them, such as ``"running_mean1"``.
    kept_bytes : int
    activation_bytes : int
        Of all that the layers gave; an array that is passed on counts once.
    dtypes : tuple of str
        Of the parameters.
    """

    kind: str
    inputs: tuple[Output, ...]
    outputs: tuple[Output, ...]
    layers: tuple[Layer, ...]
    m: int | None
    count: int
    frozen: int
    bytes: int
    kept: tuple[str, ...]
    kept_bytes: int
    activation_bytes: int
    dtypes: tuple[str, ...]

    @property
    def title(self) -> str:
        """The first line: what the model makes of what."""
        if not self.inputs:
            return self.kind
        way = f"{self.kind}: {', '.join(map(str, self.inputs))} -> {', '.join(map(str, self.outputs)) or 'no array'}"
        return way if self.m is None else f"{way}, m = {self.m:,}"

    @property
    def totals(self) -> tuple[str, ...]:
        """The last lines: how many parameters, and what memory all of it takes."""
        return tuple(self._totals())

    def _totals(self) -> Iterator[str]:
        text = counted(self.count, "parameter") + (f" ({self.frozen:,} frozen)" if self.frozen else "")
        yield text + (f", {counted(self.bytes, 'byte')} of {' and '.join(self.dtypes)}" if self.count else "")
        if self.kept:
            names = ", ".join(self.kept[:4]) + (", ..." if len(self.kept) > 4 else "")
            yield f"{counted(len(self.kept), 'array')} beside them ({names}), {counted(self.kept_bytes, 'byte')}"
        if self.inputs:
            yield f"{counted(self.activation_bytes, 'byte')} of activations, as the layers give them"

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """The table as text, its head first, without columns that have nothing in them."""
        table = [HEAD, *(layer.cells for layer in self.layers)]
        used = [i for i in range(len(HEAD)) if i == 1 or any(row[i] for row in table[1:])]
        return [tuple(row[i] for i in used) for row in table]

    def __repr__(self) -> str:
        if not self.layers:
            return "\n".join([self.title, *self.totals])
        rows, depths = self.rows, [0, *(layer.depth for layer in self.layers)]
        at = rows[0].index("kind")
        rows = [(*row[:at], "  " * depth + row[at], *row[at + 1 :]) for row, depth in zip(rows, depths, strict=True)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        right = [HEAD.index(title) in RIGHT for title in rows[0]]
        lines = []
        for row in rows:
            cells = (x.rjust(w) if end else x.ljust(w) for x, w, end in zip(row, widths, right, strict=True))
            lines.append("  ".join(cells).rstrip())
        return "\n".join([self.title, *lines, *self.totals])


def counted(n: int, noun: str) -> str:
    """A count with its noun: ``1 byte``, ``2 bytes``."""
    return f"{n:,} {noun}{'s' * (n != 1)}"
