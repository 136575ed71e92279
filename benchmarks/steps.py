"""A training step of every model, in every peer: the main table; and some of them on one core too."""

from __future__ import annotations

from statistics import median

from benchmarks.problems import COURSE, DTYPES, PROBLEMS, Problem
from benchmarks.results import Results, arguments, load
from benchmarks.turns import PEERS, processors, settings_of, side_by_side

ON_ONE_CORE = [
    Problem(sizes, m, dtype) for sizes, m in [*COURSE, ((2, 4, 1), 100_000), ((32, 64, 1), 100_000)] for dtype in DTYPES
]
PEERS_ON_ONE_CORE = [
    "compiled", "compiled, in C", "C by hand", "NumPy, planned", "JAX jit", "torch.compile", "PyTorch",
]  # fmt: skip


def main() -> None:
    """Measure all problems, or those whose name holds the text after ``--only``."""
    cores = sorted({len(processors()), 1}, reverse=True)
    chosen = arguments(
        __doc__,
        only={"default": "", "help": "problems whose name holds this text; the other rows are kept"},
        seconds={"type": float, "default": 20.0, "help": "about how long the turns at each problem take"},
        cores={"nargs": "*", "type": int, "default": cores, "help": "how many to use, all and 1 by default"},
        peers={"nargs": "*", "choices": list(PEERS), "help": "all by default"},
    )
    effort = {"budget": chosen.seconds, "rounds": (11, 61), "turn": 0.05}
    if chosen.quick:
        effort = {"budget": 2.0, "rounds": (3, 5), "turn": 0.02}
    before = load("steps")["rows"] if chosen.again else []
    fresh = not (chosen.only or chosen.peers) and chosen.cores == cores
    results = Results("steps", quick=chosen.quick, fresh=fresh)
    for n in chosen.cores:
        everything = n == cores[0]
        problems = [x for x in (PROBLEMS if everything else ON_ONE_CORE) if chosen.only in str(x)]
        names = chosen.peers or (PEERS if everything else PEERS_ON_ONE_CORE)
        for problem in problems[: 1 if chosen.quick and not chosen.only else None]:
            row = {"network": problem.network, "m": problem.m, "dtype": problem.dtype, "cores": n}
            peers = side_by_side(problem, names, cores=n, known=settings_of(before, **row), **effort)
            results.add(row, {**row, "sizes": problem.sizes, "peers": peers})
            print(f"\n{problem}, cores: {n}; microseconds on the wall, and of the processor")
            for name, peer in peers.items():
                took = [f"{median(peer[clock]) * 1e6:12,.1f}" for clock in ("seconds", "processor") if clock in peer]
                print(f"  {name:22}{''.join(took)}  {peer.get('settings', peer.get('error'))}", flush=True)


if __name__ == "__main__":
    main()
