"""How a step grows: with the number of examples, and with the number of layers."""

from __future__ import annotations

from statistics import median

from benchmarks.problems import Problem
from benchmarks.results import Results, arguments, load
from benchmarks.turns import settings_of, side_by_side

PEERS = ["compiled", "compiled, in C", "C by hand", "eager", "NumPy, plain", "NumPy, planned", "JAX jit", "PyTorch"]
GENERAL = ["compiled", "compiled, in C", "eager", "JAX jit", "PyTorch"]  # by hand, there is no network of any depth
EXAMPLES = [10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000]
DEPTHS = [1, 2, 5, 10, 20, 50, 100]


def main() -> None:
    """The 2-4-1 network from 10 examples to a million, and 1 to 100 layers of 16 units on 256 examples; float32."""
    chosen = arguments(
        __doc__, seconds={"type": float, "default": 5.0, "help": "about how long the turns at each size take"}
    )
    quick = chosen.quick
    effort = {"budget": chosen.seconds, "rounds": (9, 31), "turn": 0.03}
    if quick:
        effort = {"budget": 1.0, "rounds": (3, 3), "turn": 0.01}
    before = load("growth")["rows"] if chosen.again else []
    problems = [
        ("examples", m, Problem((2, 4, 1), m, "float32"), PEERS) for m in (EXAMPLES[2:6:3] if quick else EXAMPLES)
    ]
    problems += [
        ("layers", depth, Problem((16,) * depth + (1,), 256, "float32"), GENERAL)
        for depth in (DEPTHS[1:4:2] if quick else DEPTHS)
    ]
    results = Results("growth", quick=quick)
    for axis, size, problem, names in problems:
        peers = side_by_side(problem, names, known=settings_of(before, axis=axis, size=size), **effort)
        results.add(("axis", "size"), {"axis": axis, "size": size, "peers": peers})
        took = (f"{name} {median(peer.get('seconds', [float('nan')])) * 1e6:,.1f}" for name, peer in peers.items())
        print(f"{size:,} {axis}, us: {', '.join(took)}", flush=True)


if __name__ == "__main__":
    main()
