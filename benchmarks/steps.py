"""A training step of every model, in every peer: the main table."""

from __future__ import annotations

from statistics import median

from benchmarks.problems import PROBLEMS, Problem
from benchmarks.results import Results, arguments, load
from benchmarks.turns import PEERS, side_by_side

KEY = "network", "m", "dtype"


def main() -> None:
    """Measure all problems, or those whose name holds the text after ``--only``."""
    chosen = arguments(
        __doc__,
        only={"default": "", "help": "problems whose name holds this text; the other rows are kept"},
        again={"action": "store_true", "help": "keep the settings that the last run chose for the peers"},
        seconds={"type": float, "default": 45.0, "help": "about how long the turns at each problem take"},
        peers={"nargs": "*", "choices": list(PEERS), "default": list(PEERS)},
    )
    problems = [problem for problem in PROBLEMS if chosen.only in str(problem)]
    effort = {"budget": chosen.seconds, "rounds": (11, 61), "turn": 0.05}
    if chosen.quick:
        problems = [Problem((2, 4, 1), 400, "float32")] if not chosen.only else problems
        effort = {"budget": 2.0, "rounds": (3, 5), "turn": 0.02}
    before = load("steps", quick=chosen.quick)["rows"] if chosen.again else []
    results = Results("steps", quick=chosen.quick, fresh=not (chosen.only or chosen.again))
    for problem in problems:
        row = {"network": problem.network, "sizes": problem.sizes, "m": problem.m, "dtype": problem.dtype}
        last = next((old["peers"] for old in before if all(old[k] == row[k] for k in KEY)), {})
        known = {name: peer["settings"] for name, peer in last.items() if "settings" in peer}
        peers = side_by_side(problem, chosen.peers, known=known, **effort)
        results.add(KEY, {**row, "peers": peers})
        print(f"\n{problem}")
        for name, peer in peers.items():
            took = peer["error"] if "error" in peer else f"{median(peer['seconds']) * 1e6:12,.1f} us {peer['settings']}"
            print(f"  {name:22}{took}", flush=True)


if __name__ == "__main__":
    main()
