"""The modules around the nodes of a cost that has been computed already, when nobody noted which module ran.

A parameter knows the module that holds it, and that module the one that holds it (`tinygrad_dls.nn.module.holder_of`).
What an op computes of a parameter stands in the parameter's module. So does what lies between two such ops: it is
computed from the module's values, and they go on with it. What a module does at its very end, such as adding its input,
cannot be told from what comes after it; a model that is passed with its input shows that too.
"""

from __future__ import annotations

from collections.abc import Iterable

from tinygrad_dls.graph.node import Node, Path
from tinygrad_dls.nn.module import Module, holder_of, title_of

__all__ = ["place_by_holders"]


def place_by_holders(nodes: list[Node]) -> bool:
    """Give each node the modules around it; whether there is a module of the user's, which alone is worth it.

    The models of this package name their parameters as the course does, and are known by these names.
    """
    chains = {node: _holders(node.x) for node in nodes if not node.op}
    if not any(not type(module).__module__.startswith("tinygrad_dls.") for x in chains.values() for module in x):
        return False
    titles = _titles(chains.values())
    paths = {node: tuple(titles[id(module)] for module in chain) for node, chain in chains.items() if chain}
    own: dict[Path, set[Node]] = {}
    for node in nodes:
        found = [paths[x] for x in node.inputs if isinstance(x, Node) and x in paths]
        if found:
            node.modules = _shared(found)
            for end in range(1, len(node.modules) + 1):
                own.setdefault(node.modules[:end], set()).add(node)
    for node, path in paths.items():
        node.modules = path
    for path, inside in sorted(own.items(), key=lambda item: len(item[0])):
        for node in _between(nodes, inside):
            if path[: len(node.modules)] == node.modules:
                node.modules = path
    return True


def _holders(x: object) -> list[Module]:
    """The modules that hold a parameter, the outermost first."""
    found: list[Module] = []
    holder = holder_of(x)
    while holder is not None and not any(holder is module for module in found):
        found.insert(0, holder)
        holder = holder_of(holder)
    return found


def _titles(chains: Iterable[list[Module]]) -> dict[int, str]:
    """What errors call each module; the second of that title gets a number."""
    titles: dict[int, str] = {}
    for chain in chains:
        for module in chain:
            if id(module) not in titles:
                title = title_of(module)
                alike = sum(other.split(" #")[0] == title for other in titles.values())
                titles[id(module)] = f"{title} #{alike + 1}" if alike else title
    return titles


def _shared(paths: list[Path]) -> Path:
    first, *others = paths
    end = next((i for i in range(len(first)) if any(path[: i + 1] != first[: i + 1] for path in others)), len(first))
    return first[:end]


def _between(nodes: list[Node], inside: set[Node]) -> list[Node]:
    """What is computed from some of these values, and leads to others of them."""
    after, before = set(inside), set(inside)
    for node in nodes:
        if any(x in after for x in node.inputs if isinstance(x, Node)):
            after.add(node)
    for node in reversed(nodes):
        if node in before:
            before.update(x for x in node.inputs if isinstance(x, Node) and x.op)
    return [node for node in nodes if node.op and node in after and node in before]
