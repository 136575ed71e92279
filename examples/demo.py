"""All examples in turn, with their pictures: ``python -m examples.demo demo_output``."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from examples import (
    activation_functions,
    breast_cancer,
    derive_the_gradients,
    digits,
    draw_the_graph,
    from_picture_to_code,
    gradient_checking,
    gradient_descent,
    initialisation,
    logistic_regression,
    loop_and_vectorized,
    newton,
    numpy_code,
    optimizers,
    regularisation,
    two_layer_network,
)

EXAMPLES = (
    logistic_regression,
    two_layer_network,
    breast_cancer,
    loop_and_vectorized,
    activation_functions,
    gradient_descent,
    digits,
    initialisation,
    regularisation,
    optimizers,
    gradient_checking,
    newton,
    draw_the_graph,
    derive_the_gradients,
    numpy_code,
    from_picture_to_code,
)


def main(output: Path | None = None) -> dict[str, Any]:
    start = time.perf_counter()
    results = {}
    for example in EXAMPLES:
        name = example.__name__.split(".")[-1]
        title = example.__doc__.splitlines()[0]
        print(f"\n{title}\n{'=' * len(title)}")
        results[name] = example.main(output)
    print(f"\nAll examples ran in {time.perf_counter() - start:.0f} seconds.")
    if output is not None:
        print(f"Files in {output}:")
        for path in sorted(output.iterdir()):
            print(f"  {path.name:40}{path.stat().st_size / 1024:8.0f} KiB")
    return results


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
