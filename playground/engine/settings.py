"""What can be chosen in the playground: the names, the bounds, and the defaults, once.

A link holds these settings, and links are typed and changed by hand: whatever is out of bounds is refused with a
sentence that names it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

__all__ = ["CHOICES", "MOST_LAYERS", "MOST_UNITS", "PLANAR_FEATURES", "Settings", "SettingsError"]

PLANAR_FEATURES = ("x1", "x2", "x1^2", "x2^2", "x1 x2", "sin x1", "sin x2")
PLANAR = ("flower", "circles", "moons", "xor", "spirals")
CHOICES: dict[str, tuple[str, ...]] = {
    "data": (*PLANAR, "cancer", "csv"),
    "activation": ("tanh", "relu", "sigmoid"),
    "init": ("small", "xavier", "he", "zeros"),
    "optimizer": ("sgd", "momentum", "rmsprop", "adam"),
    "task": ("auto", "classes", "number"),
    "missing": ("error", "drop", "mean"),
    "sep": (",", ";", "\t"),
    "decimal": (".", ","),
}
MOST_LAYERS, MOST_UNITS = 5, 32  # more are slow to draw, and no longer seen at a glance
BOUNDS: dict[str, tuple[float, float]] = {
    "m": (20, 5000),
    "noise": (0, 1),
    "held_out": (0, 0.8),
    "lr": (1e-6, 100),
    "l2": (0, 100),
    "dropout": (0, 0.9),
    "batch_size": (0, 100_000),
    "seed": (0, 2**32 - 1),
}
WHOLE = ("m", "batch_size", "seed")


class SettingsError(ValueError):
    """A setting that there is not."""


@dataclass(frozen=True)
class Settings:
    """A set-up, whole: two of the same settings, and of the same CSV, train alike to the last bit.

    Attributes
    ----------
    data : str
        The data set; ``"csv"`` is a file of the reader's own.
    m, noise
        Number of examples and noise of the planar data sets. (The flower has its own noise.)
    held_out : float
        The part of the examples that is for validation alone.
    features : tuple of str
        Of the planar sets, which functions of x1 and x2 the network sees; of a table, which columns. Of a table, none
        stands for all.
    hidden : tuple of int
        Units of the hidden layers, none for logistic regression.
    activation, init, optimizer : str
    lr, l2, dropout : float
        Learning rate; the lambda of the L2 penalty; the probability by which dropout silences a unit.
    batch_size : int
        Examples in a step; 0 stands for all of them.
    seed : int
        Of the split, the first weights, the order of mini-batches, dropout, and the planar sets but the flower.
    target, one_hot, ignore, missing, sep, decimal
        How a CSV is read, as `tinygrad_dls.datasets.read_csv` takes them.
    task : str
        Whether the target of a CSV is of classes or a number; ``"auto"`` takes texts, and ten or fewer whole numbers,
        for classes.
    axes : tuple of str
        Which two columns of a table the picture of the decision shows; the first two, if it is empty.
    """

    data: str = "flower"
    m: int = 400
    noise: float = 0.15
    held_out: float = 0.2
    features: tuple[str, ...] = ()
    hidden: tuple[int, ...] = (4,)
    activation: str = "tanh"
    init: str = "small"
    optimizer: str = "sgd"
    lr: float = 1.2
    l2: float = 0.0
    dropout: float = 0.0
    batch_size: int = 0
    seed: int = 3
    target: str = ""
    one_hot: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    missing: str = "error"
    sep: str = ","
    decimal: str = "."
    task: str = "auto"
    axes: tuple[str, ...] = ()

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """Settings from JSON, each checked; what is not given is as by default.

        Raises
        ------
        SettingsError
            If there is no such setting, or a value is out of its bounds.
        """
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(given) - known):
            raise SettingsError(f"There is no setting {unknown[0]!r}.")
        values: dict[str, Any] = {name: tuple(x) if isinstance(x, list) else x for name, x in given.items()}
        settings = cls(**values)
        settings._check()
        return settings

    def as_json(self) -> dict[str, Any]:
        """What `of` takes."""
        return {name: list(x) if isinstance(x, tuple) else x for name, x in asdict(self).items()}

    @property
    def is_planar(self) -> bool:
        """Whether the examples are points of a plane that are made, and no table."""
        return self.data in PLANAR

    def _check(self) -> None:
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise SettingsError(f"{name} is one of {', '.join(map(repr, choices))}, not {getattr(self, name)!r}.")
        for name, (low, high) in BOUNDS.items():
            x = getattr(self, name)
            kinds = int if name in WHOLE else (int, float)
            if isinstance(x, bool) or not isinstance(x, kinds) or not math.isfinite(x) or not low <= x <= high:
                what = "a whole number" if name in WHOLE else "a number"
                raise SettingsError(f"{name} is {what} from {low:g} to {high:g}, not {x!r}.")
        if self.m % 2:
            raise SettingsError(f"m is even, as half of the examples are of each class, not {self.m}.")
        for name in ("features", "one_hot", "ignore", "axes"):
            x = getattr(self, name)
            if not isinstance(x, tuple) or not all(isinstance(entry, str) for entry in x):
                raise SettingsError(f"{name} is a list of names, not {x!r}.")
        if not isinstance(self.target, str):
            raise SettingsError(f"target is the name of a column, not {self.target!r}.")
        self._check_network()

    def _check_network(self) -> None:
        units = self.hidden
        if not isinstance(units, tuple) or len(units) > MOST_LAYERS:
            raise SettingsError(f"hidden is a list of {MOST_LAYERS} layers at most, not {units!r}.")
        for n in units:
            if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= MOST_UNITS:
                raise SettingsError(f"A hidden layer has 1 to {MOST_UNITS} units, not {n!r}.")
        if self.is_planar and (wrong := [name for name in self.features if name not in PLANAR_FEATURES]):
            raise SettingsError(f"There is no feature {wrong[0]!r}; there are {', '.join(PLANAR_FEATURES)}.")
        if len(set(self.features)) < len(self.features):
            raise SettingsError("A feature is named twice.")
        if len(self.axes) not in (0, 2):
            raise SettingsError(f"axes are two columns, not {len(self.axes)}.")
