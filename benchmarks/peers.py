"""What is measured: a training step, and how to look at and set back the parameters that it trains."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

Parameters = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Peer:
    """One training step: forward, cost, backward, update. It returns the cost from before the update."""

    step: Callable[[], float]
    parameters: Callable[[], Parameters]  # in the shapes of the course, as they are now
    restart: Callable[[Parameters], None]  # set the parameters to copies of these
    finish: Callable[[], object] = lambda: None  # wait until the steps so far are done
