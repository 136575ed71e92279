"""The rules of gradient descent, momentum, RMSprop and Adam, with everything in them that can be got wrong as a field.

So most mistakes in an update are the rule with another value in one of its fields (see `tinygrad_dls.check.slips`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from tinygrad_dls.engine.arrays import Array

__all__ = ["Rule", "Taken", "Update", "gradient_of", "is_single"]


class Taken(NamedTuple):
    """What a step gives: the new parameter, and the new moments where the rule has them."""

    w: Array
    v: Array | None
    s: Array | None


@dataclass(frozen=True)
class Rule:
    """The update of one parameter: ``W := W - rate * v / (sqrt(s) + epsilon)``, with or without v and s.

    Attributes
    ----------
    rate : float
        The learning rate alpha at this step.
    t : int
        The number of the step, from 1.
    beta1, beta2 : float or None
        The decay of v, the mean of the gradients, and of s, that of their squares; None where there is none.
    share1, share2 : float
        What the gradient and its square are multiplied by when they enter v and s: 1 - beta, or 1.
    corrected : bool
        Whether v and s are corrected for their start at zero.
    nesterov : bool
        Whether the step looks one ahead.
    epsilon : float
        Keeps the division finite.
    decay : float
        The multiple of W that is added to dW.
    """

    rate: float
    t: int = 1
    beta1: float | None = None
    share1: float = 1.0
    beta2: float | None = None
    share2: float = 1.0
    corrected: bool = False
    nesterov: bool = False
    epsilon: float = 0.0
    decay: float = 0.0

    # what only slips change
    corrections: tuple[float, float] | None = None  # what v and s are divided by
    epsilon_at: str = "outside"  # the square root; or "inside", or "uncorrected"
    root: bool = True
    squared: Callable[[Array, Array | None], Array] = field(default=lambda g, _: g * g)
    old: bool = False  # the step is taken with v and s as they were before
    plain: bool = False  # and with dW in the place of v
    moments: tuple[Array | None, Array | None] | None = None  # new v and s that stand already

    def take(self, w: Array, g: Array, v: Array | None, s: Array | None) -> Taken:
        """One step from a parameter, its gradient, and its moments before."""
        with np.errstate(all="ignore"):  # 0/0 is a mistake that is looked for
            g = g + self.decay * w if self.decay else g
            new_v = None if self.beta1 is None or v is None else self.beta1 * v + self.share1 * g
            new_s = None if self.beta2 is None or s is None else self.beta2 * s + self.share2 * self.squared(g, new_v)
            at_v, at_s = (v, s) if self.old else self.moments or (new_v, new_s)
            first, second = self.corrections or self.both_corrections(self.t)
            step = g if at_v is None or self.plain else at_v / first
            if self.nesterov and at_v is not None and self.beta1 is not None:
                step = g + self.beta1 * at_v
            if at_s is not None:
                step = step / self._denominator(at_s, second)
            return Taken(w - self.rate * step, new_v, new_s)

    def both_corrections(self, t: float) -> tuple[float, float]:
        """What v and s are divided by at step t."""
        if not self.corrected or self.beta1 is None or self.beta2 is None:
            return 1.0, 1.0
        return float(np.float64(1) - self.beta1**t), float(np.float64(1) - self.beta2**t)

    def _denominator(self, s: Array, correction: float) -> Array:
        root = np.sqrt if self.root else np.asarray
        if self.epsilon_at == "inside":
            return np.asarray(root(s / correction + self.epsilon))
        if self.epsilon_at == "uncorrected":  # sqrt(s) + epsilon, corrected as a whole
            return np.asarray((root(s) + self.epsilon) / np.sqrt(correction))
        return np.asarray(root(s / correction) + self.epsilon)


@dataclass(frozen=True)
class Update:
    """One parameter's update as a slip sees it, in float64.

    Attributes
    ----------
    name : str
        Such as ``"W1"``.
    is_bias : bool
        Whether it is a b.
    rule : Rule
        What the optimizer does to it.
    w, g : array
        The parameter before the step, and its gradient.
    v, s : array or None
        Its moments before the step, where the rule has them.
    right : Taken
        What the step should give.
    raw, unclipped : array
        The gradient in the shape in which it was given; and before the optimizer clipped it.
    clip_norm : float or None
        What the norm of all gradients together is clipped to, if it is.
    m : int or None
        The number of examples, if that was said.
    others : mapping of str to Update
        Those of the other parameters, by name; theirs are empty.
    """

    name: str
    is_bias: bool
    rule: Rule
    w: Array
    g: Array
    v: Array | None
    s: Array | None
    right: Taken
    raw: Array
    unclipped: Array
    clip_norm: float | None = None
    m: int | None = None
    others: Mapping[str, Update] = field(default_factory=dict)

    def take(self, **changes: Any) -> Taken:
        """The step with other fields of the rule, or with another ``w``, ``g``, ``v`` or ``s``."""
        arrays = {name: changes.pop(name, getattr(self, name)) for name in ("w", "g", "v", "s")}
        return replace(self.rule, **changes).take(**arrays)

    @property
    def step(self) -> Array:
        """What is added to the parameter."""
        return self.right.w - self.w


def gradient_of(name: str) -> str:
    """``dW1`` of W1, and ``inner.dW1`` of inner.W1."""
    head, dot, last = name.rpartition(".")
    return f"{head}{dot}d{last}"


def is_single(shape: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    """Whether a shape is that of the course's week 2 for a single unit: w as a column, b as a number."""
    return (shape == () and set(expected) <= {1}) or (
        expected[:1] == (1,) and len(expected) == 2 and shape in ((expected[1], 1), (expected[1],))
    )
