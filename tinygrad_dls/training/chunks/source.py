"""How the arrays of a chunk are got: by tasks of dask's that run where, and when, the chunk is used.

So a chunk is read anew at each step, and is held by nobody in between: there may be far more data than memory. What all
chunks depend on, such as the means of the features, is computed once. Arrays that are persisted already are taken from
where they lie.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import dask
import numpy as np
from dask.optimization import cull

from tinygrad_dls.engine.arrays import Array
from tinygrad_dls.training.chunks.arrays import Chunked

__all__ = ["Blocks", "Source", "refuse_persisted", "sources_of", "warn_of_mapped"]

Graph = dict[Any, Any]


class Source:
    """A chunk as the tasks that make it.

    Attributes
    ----------
    graph : dict
        These tasks, and no others.
    keys : list
        What of their results are X, Y and the weights.
    """

    def __init__(self, graph: Graph, keys: list[Any]) -> None:
        self.graph, self.keys = graph, keys

    def load(self) -> tuple[Array, ...]:
        """The arrays, in this thread."""
        return tuple(dask.get(self.graph, self.keys))


class Blocks:
    """A chunk that lies in memory."""

    def __init__(self, *blocks: Array) -> None:
        self.blocks = blocks

    def load(self) -> tuple[Array, ...]:
        """The arrays."""
        return self.blocks


def sources_of(data: Chunked, run: Callable[[Graph, list[Any]], Sequence[Any]]) -> tuple[Graph, dict[int, Any]]:
    """A graph whose tasks give the sources of chunks, and the keys of these in it, by the chunk's number.

    Parameters
    ----------
    data : Chunked
    run : function
        Of a graph and keys, computes what all chunks depend on.
    """
    keys = {i: [(x.name, 0, i) for x in data.arrays] for i in data.numbers}
    graph: Graph = {}
    for x in data.arrays:
        graph.update(x.__dask_graph__())
    if _persisted(graph):
        made = {f"blocks-{i}-{keys[i][0][0]}": (Blocks, *keys[i]) for i in keys}
        return graph | made, dict(zip(keys, made, strict=True))
    optimized = dask.optimize(*data.arrays)
    graph = {}
    for x in optimized:
        graph.update(x.__dask_graph__())
    parts: dict[int, tuple[Graph, Any]] = {i: cull(graph, keys[i]) for i in keys}
    common = _common(parts)
    if common:
        shared, _ = cull(graph, common)
        known = dict(zip(common, run(shared, common), strict=True))
        parts = {i: cull(part | {key: known[key] for key in common if key in part}, keys[i])
                 for i, (part, _) in parts.items()}  # fmt: skip
    sources: Graph = {f"source-{i}-{keys[i][0][0]}": Source(dict(part), keys[i]) for i, (part, _) in parts.items()}
    return sources, dict(zip(keys, sources, strict=True))


def refuse_persisted(data: Chunked) -> None:
    """Refuse arrays that lie with the workers of a client, where dask's own scheduler computes, which has no client."""
    for x, name in zip(data.arrays, ("X", "Y", "sample_weight"), strict=False):
        if _persisted(x.__dask_graph__()):
            raise TypeError(
                f"fit: {name} lies with the workers of a client, as it is persisted there, in {data.which}, and nobody "
                "else can read it. Pass client=, which is the client that persisted it."
            )


def warn_of_mapped(data: Chunked) -> None:
    """Warn of memory-mapped files where chunks are sent to workers: all numbers of the file go along with each."""
    for x, name in zip(data.arrays, ("X", "Y", "sample_weight"), strict=False):
        mapped = [found for task in x.__dask_graph__().values() if isinstance(found := _held(task), np.memmap)]
        if mapped:
            size = len(data.numbers) * sum(found.nbytes for found in mapped) / 1e6
            warnings.warn(
                f"fit: {name} is of a memory-mapped file, all of whose numbers are sent to the workers with each "
                f"chunk, {size:,.0f} MB. Let the workers open the file: da.map_blocks of a function that calls np.load("
                "path, mmap_mode='r').",
                UserWarning,
                stacklevel=6,
            )


def _held(task: Any) -> Any:
    """What a task of a graph is, if it is no call but a value."""
    return getattr(task, "value", task)


def _persisted(graph: Any) -> bool:
    """Whether a task is the promise of a result, as arrays that are persisted hold them."""
    return any(hasattr(type(task), "add_done_callback") for task in graph.values())


def _common(parts: dict[int, tuple[Graph, Any]]) -> list[Any]:
    """The keys of what all chunks depend on and that takes work, such as a mean: the last ones of these.

    A chunk is not among them where the mean is made of it: of the tasks that are not common, those of one chunk use it.
    """
    if len(parts) < 2:
        return []
    counts = Counter(key for part, _ in parts.values() for key in part)
    common = {key for key, n in counts.items() if n == len(parts)}
    used: Counter[Any] = Counter()
    for part, needs in parts.values():
        used.update(
            {need for key in part if key not in common for need in needs[key] if need in common and needs[need]}
        )
    return sorted((key for key, n in used.items() if n > 1), key=str)
