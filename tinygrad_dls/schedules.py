"""Schedules: learning rates that are functions of the step, with settings that stay.

They compare, print and pickle by their settings. `tinygrad_dls.optim` shows them, and loads them on first use: what
makes the classes takes as long as the rest of that module.
"""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass, fields

from tinygrad_dls.engine.arrays import positive_integer, rate_of

__all__ = ["cosine_decay", "exponential_decay", "inverse_time_decay", "step_decay"]


@dataclass(frozen=True)
class _Schedule:
    def __post_init__(self) -> None:
        """Check the settings: rates, and numbers of steps, which are the integers."""
        for field in fields(self):
            check = positive_integer if field.type == "int" else rate_of
            name = f"{type(self).__name__}: {field.name}"
            object.__setattr__(self, field.name, check(getattr(self, field.name), name))  # frozen once it is made


@dataclass(frozen=True)
class inverse_time_decay(_Schedule):  # noqa: N801  # called like a function, and a function of the step
    """``lr / (1 + rate * (step // every))``: the course's learning-rate decay, which there counts epochs, here steps.

    With mini-batches an epoch is ``every=len(batches)`` steps; the course's decay at an interval of k epochs is
    ``every=k * len(batches)``.

    Parameters
    ----------
    lr : float
        The learning rate at the start, >= 0.
    rate : float, keyword-only
        How fast it falls, >= 0.
    every : int, default 1, keyword-only
        The number of steps that count as one.

    Raises
    ------
    TypeError, ValueError
        If a number is out of its range.
    """

    lr: float
    _: KW_ONLY
    rate: float
    every: int = 1

    def __call__(self, step: int) -> float:
        """The learning rate at a step."""
        return self.lr / (1 + self.rate * (step // self.every))


@dataclass(frozen=True)
class exponential_decay(_Schedule):  # noqa: N801  # as above
    """``lr * rate ** step``, with a rate just below 1.

    Parameters
    ----------
    lr : float
        The learning rate at the start, >= 0.
    rate : float, keyword-only
        The factor of each step, >= 0.

    Raises
    ------
    TypeError, ValueError
        If a number is out of its range.
    """

    lr: float
    _: KW_ONLY
    rate: float

    def __call__(self, step: int) -> float:
        """The learning rate at a step."""
        return self.lr * self.rate**step


@dataclass(frozen=True)
class step_decay(_Schedule):  # noqa: N801  # as above
    """``lr * factor ** (step // every)``: a staircase.

    Parameters
    ----------
    lr : float
        The learning rate at the start, >= 0.
    factor : float, keyword-only
        The factor of each stair, >= 0.
    every : int, keyword-only
        The number of steps on a stair.

    Raises
    ------
    TypeError, ValueError
        If a number is out of its range.
    """

    lr: float
    _: KW_ONLY
    factor: float
    every: int

    def __call__(self, step: int) -> float:
        """The learning rate at a step."""
        return self.lr * self.factor ** (step // self.every)


@dataclass(frozen=True)
class cosine_decay(_Schedule):  # noqa: N801  # as above
    """Half a cosine wave from lr at step 0 down to 0 at `steps`: ``lr (1 + cos(pi step / steps)) / 2``, and then 0.

    Parameters
    ----------
    lr : float
        The learning rate at the start, >= 0.
    steps : int, keyword-only
        The number of steps on the way down.

    Raises
    ------
    TypeError, ValueError
        If a number is out of its range.
    """

    lr: float
    _: KW_ONLY
    steps: int

    def __call__(self, step: int) -> float:
        """The learning rate at a step."""
        return self.lr * (1 + math.cos(math.pi * min(step / self.steps, 1))) / 2
