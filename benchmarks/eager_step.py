"""What the engine costs: a full eager training step against the same step in hand-written NumPy."""

from __future__ import annotations

import numpy as np

from benchmarks.peers import by_hand, eager, machine, problem, seconds

SHAPES = [(2, 4, 400), (3, 4, 1_000), (32, 64, 1_000), (32, 64, 100_000)]


@np.errstate(all="ignore")  # by hand, the cost is infinite once a prediction rounds to 1
def main() -> None:
    print(f"\nEager step / hand-written NumPy step, medians of 15 to 201 rounds taken in turns ({machine()})\n")
    print("| network | m | dtype | by hand, us | engine, us | ratio | 5 to 95 % of rounds |")
    print("|---|---|---|---|---|---|---|")
    for n_x, n_h, m in SHAPES:
        for dtype in (np.float64, np.float32):
            data = problem(n_x, n_h, m, dtype)
            peers = by_hand(*data), eager(*data)
            # the same work, checked before it is timed: three steps, to rounding
            for _ in range(3):
                np.testing.assert_allclose(peers[0](), peers[1](), rtol=1e-12 if dtype is np.float64 else 1e-5)
            hand, engine = seconds(peers)
            ratio = np.median(engine) / np.median(hand)
            low, high = np.quantile(engine / hand, [0.05, 0.95])
            print(
                f"| {n_x}-{n_h}-1 | {m:,} | {dtype.__name__} | {np.median(hand) * 1e6:,.1f} | "
                f"{np.median(engine) * 1e6:,.1f} | {ratio:.2f} | {low:.2f} ... {high:.2f} |"
            )


if __name__ == "__main__":
    main()
