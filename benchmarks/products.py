"""The matrix products that dominate large layers: what NumPy's BLAS takes for them, by kernel, and other libraries."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np

from benchmarks.fresh import in_fresh_process
from benchmarks.problems import DTYPES
from benchmarks.results import Results, arguments

# n_out, n_in, m of the layers; each takes three products: W X, dZ X.T and, but for the first layer, W.T dZ
LAYERS = {
    "784-128, m = 256": (128, 784, 256),
    "12288-7, m = 209": (7, 12_288, 209),
    "32-64, m = 100,000": (64, 32, 100_000),
}
KERNELS = ["", "Haswell", "Zen", "SkylakeX", "Cooperlake"]
LIBRARIES = [f"NumPy {kernel}".strip() for kernel in KERNELS] + ["PyTorch", "JAX"]
TURNS = 25


def _products(library: str, n: int, k: int, m: int, dtype: str) -> Callable[[], Any]:
    """W X and dZ X.T, as a step computes them."""
    W, X, dZ = (np.ones(shape, dtype) for shape in ((n, k), (k, m), (n, m)))
    if library == "PyTorch":
        import torch

        W, X, dZ = map(torch.from_numpy, (W, X.T.copy(), dZ.T.copy()))
        WT, dZT = W.T, dZ.T
        Z, dW = torch.empty((m, n), dtype=X.dtype), torch.empty((n, k), dtype=X.dtype)
        return lambda: (torch.mm(X, WT, out=Z), torch.mm(dZT, X, out=dW))
    if library == "JAX":
        import jax

        jax.config.update("jax_enable_x64", dtype == "float64")
        both = jax.jit(lambda W, X, dZ: (W @ X, dZ @ X.T))
        W, X, dZ = map(jax.device_put, (W, X, dZ))
        return lambda: jax.block_until_ready(both(W, X, dZ))
    Z, dW, XT = np.empty((n, m), dtype), np.empty((n, k), dtype), X.T
    return lambda: (np.dot(W, X, Z), np.dot(dZ, XT, dW))


def measure(library: str) -> dict[str, float]:
    """Seconds for the two products of each layer and dtype: the medians of some turns in this process."""
    took = {}
    for name, shape in LAYERS.items():
        for dtype in DTYPES:
            call = _products(library, *shape, dtype)
            call(), call()
            times = []
            for _ in range(TURNS):
                start = time.perf_counter()
                call()
                times.append(time.perf_counter() - start)
            took[f"{name}, {dtype}"] = median(times)
    return took


def main() -> None:
    """Measure every library in turns of fresh processes, or the one that the command line names."""
    if len(sys.argv) == 2 and not sys.argv[1].startswith("--"):
        print(json.dumps(measure(sys.argv[1])))
        return
    quick = arguments(__doc__).quick
    rounds: dict[str, list[dict[str, float]]] = {library: [] for library in LIBRARIES}
    for _ in range(1 if quick else 5):
        for library in LIBRARIES:
            kernel = library.partition(" ")[2]
            environment = {"OPENBLAS_CORETYPE": kernel} if kernel else {}
            rounds[library].append(in_fresh_process("benchmarks.products", library, **environment))
    results = Results("products", quick=quick)
    for case in rounds["NumPy"][0]:
        n, k, m = LAYERS[case.rpartition(", ")[0]]
        peers = {
            library: [each[case] for each in measured] if "error" not in measured[0] else measured[0]
            for library, measured in rounds.items()
        }
        results.add(("case",), {"case": case, "operations": 4 * n * k * m, "peers": peers})
        took = (
            f"{name} {median(s) * 1e6:,.0f}" if isinstance(s, list) else f"{name}: {s}" for name, s in peers.items()
        )
        print(f"{case}, us: {', '.join(took)}", flush=True)


if __name__ == "__main__":
    main()
