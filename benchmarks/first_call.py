"""What comes before the second step, in fresh processes: the model, recording, planning or compiling, one step.

What keeps on disk what it has compiled starts without that, and then once more with it.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from statistics import median

from benchmarks.fresh import in_fresh_process, problem_of, text_of
from benchmarks.problems import Problem
from benchmarks.results import Results, arguments
from benchmarks.turns import PEERS as ENTRIES
from benchmarks.turns import made

PEERS = ["compiled", "compiled, in C", "eager", "JAX jit", "PyTorch", "torch.compile"]
AGAIN = {name: f"{name}, from its cache" for name in ("compiled, in C", "torch.compile")}
PROBLEMS = [
    Problem((2, 4, 1), 400, "float32"),
    Problem((784, 128, 10), 128, "float32"),
    Problem((32, 64, 1), 100_000, "float32"),
    Problem((16,) * 100 + (1,), 256, "float32"),
]
ROUNDS = 5


def first_call(name: str, problem: Problem) -> float:
    """Seconds from the data to the first cost, the library being imported and warm from another, smaller model."""
    problem.data, problem.parameters  # noqa: B018  # made here, before the clock runs
    options = ENTRIES[name].options[0]
    made(name, Problem((3, 1), 5, problem.dtype), options).step()
    start = time.perf_counter()
    peer = made(name, problem, options)
    peer.step()
    peer.finish()
    return time.perf_counter() - start


def main() -> None:
    """Measure every peer, or the one that the command line names."""
    if len(sys.argv) == 3:
        print(json.dumps(first_call(sys.argv[1], problem_of(sys.argv[2]))))
        return
    quick = arguments(__doc__).quick
    results = Results("first_call", quick=quick)
    for problem in PROBLEMS[: 1 if quick else None]:
        peers: dict[str, list] = {key: [] for name in PEERS for key in (name, AGAIN.get(name)) if key}
        for i in range(1 if quick else ROUNDS):
            for name in PEERS:
                if name == "torch.compile" and i > 1:
                    continue  # takes long, and there is no doubt about it
                with tempfile.TemporaryDirectory() as folder:
                    caches = {"XDG_CACHE_HOME": folder, "TORCHINDUCTOR_CACHE_DIR": f"{folder}/torch"}
                    for key in (name, AGAIN.get(name)):
                        if key:
                            took = in_fresh_process("benchmarks.first_call", name, text_of(problem), **caches)
                            peers[key].append(took)
        layers = len(problem.sizes) - 1
        row = {"network": problem.network if layers < 10 else f"{layers} layers of 16", "m": problem.m}
        results.add(("network", "m"), {**row, "dtype": problem.dtype, "peers": peers})
        texts = (
            f"{name} {median(s) * 1e3:,.1f}" if isinstance(s[0], float) else f"{name}: {s}" for name, s in peers.items()
        )
        print(f"{row['network']}, m = {problem.m:,}, ms: {'; '.join(texts)}", flush=True)


if __name__ == "__main__":
    main()
