"""The dictionaries, lists and tuples of the course's programs, taken as they are: gradients, caches, masks, parameters.

Names may be ``dW1``, ``dw1``, ``dw``, ``dAL`` or ``AL``; a cache may be a dict, a list of ``((A_prev, W, b), Z)``, or a
tuple ``(Z1, A1, W1, b1, Z2, ...)``, with or without masks. What cannot be taken is told, and stops nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinygrad_dls.check.causes import kind_of
from tinygrad_dls.check.chain import Arrays, Chain
from tinygrad_dls.engine.arrays import Array, as_array
from tinygrad_dls.engine.devices import to_host
from tinygrad_dls.engine.errors import shown
from tinygrad_dls.engine.tensor import values

__all__ = ["Given", "read"]

NAME = re.compile(r"(d?)([WwBbZzAaD])_?(\d+|[Ll]?)")
NO_GRADIENT = "not a gradient of this model"


@dataclass
class Given:
    """What a person gave, sorted.

    Attributes
    ----------
    layers : int
        How many Linear layers the model has.
    arrays : dict of str to array
        Steps, by the names that the model has for them.
    labels : dict of str to str
        How the person called them.
    masks : dict of str to array
        Of dropout, by the layers' numbers.
    parameters : dict of str to array
        W and b.
    odd : dict of str to str
        What is none of these, and why.
    errors : list of Exception
        What there is to raise for them, if nothing else was given.
    """

    layers: int
    arrays: Arrays = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    masks: Arrays = field(default_factory=dict)
    parameters: Arrays = field(default_factory=dict)
    odd: dict[str, str] = field(default_factory=dict)
    errors: list[Exception] = field(default_factory=list)

    def number(self, n: str) -> str | None:
        """A layer's number as it stands in the model's names; None if there is no such layer."""
        n = str(self.layers) if n in ("L", "l") else n
        if self.layers == 1:
            return "" if n in ("", "1") else None
        return n if n.isdigit() and 1 <= int(n) <= self.layers else None

    def take(self, label: Any, x: Any, role: str) -> None:
        """Sort one array in; or a dict or a cache of them."""
        found = NAME.fullmatch(label) if isinstance(label, str) else None
        if isinstance(x, Mapping) and not found:
            self.take_all(x, role)
            return
        if isinstance(x, (list, tuple)) and not found and not _is_numbers(x):
            self.take_cache(x, str(label))
            return
        name = self._name(label, found)
        if name is None:
            self._refuse(label, role, "")
            return
        if x is None:
            self.odd[str(label)] = "None"
            return
        try:
            array = to_host(as_array(values(x), str(label)))
        except (TypeError, ValueError) as error:
            self.odd[str(label)] = "no array of numbers"
            self.errors.append(error)
            return
        if name[0] in "Wb":
            self.parameters.setdefault(name, array)
            if role == "gradients":
                self._refuse(label, role, f"d{name}")
        elif name[0] == "D":
            self.masks.setdefault(name[1:], array)
        elif name in self.arrays:
            if role == "gradients" or not np.array_equal(self.arrays[name], array):
                raise ValueError(f"diagnose: {name} was given twice, once as {label}.")
        else:
            self.arrays[name], self.labels[name] = array, str(label)

    def _name(self, label: Any, found: re.Match[str] | None) -> str | None:
        """The model's name for an array, ``dW1`` for ``dw1``; None if it has none such."""
        if label in ("dX", "dx"):
            return "dA0"
        if found is None:
            return None
        d, kind, n = found.groups()
        kind = "b" if kind in "Bb" else kind.upper()
        if d and kind == "A" and n == "0":
            return "dA0"
        number = self.number(n)
        return None if number is None or (d and kind == "D") else f"{d}{kind}{number}"

    def take_all(self, arrays: Mapping[Any, Any], role: str) -> None:
        """All of a dict."""
        for label, x in arrays.items():
            self.take(label, x, role)

    def take_cache(self, cache: Iterable[Any], label: str) -> None:
        """A cache of the course's: a list, with an entry for each layer, or a flat tuple."""
        entries = list(cache)
        if self.layers == 1 and len(entries) == 2 and _is_layer(entries):
            entries = [entries]
        if len(entries) == self.layers and all(_is_layer(e) for e in entries):
            for k, ((A_prev, W, b), Z) in enumerate(entries, start=1):
                Z = Z[0] if isinstance(Z, tuple) and len(Z) == 1 else Z
                for name, x in ((f"W{k}", W), (f"b{k}", b), (f"Z{k}", Z)):
                    self.take(name, x, "cache")
                if k > 1:
                    self.take(f"A{k - 1}", A_prev, "cache")
            return
        if len(entries) == self.layers and all(isinstance(e, Mapping) for e in entries):
            for k, entry in enumerate(entries, start=1):
                self.take_all({f"{name}{k}" if str(name).isalpha() else name: x for name, x in entry.items()}, "cache")
            return
        for hidden, last in (("ZAWb", "ZAWb"), ("ZDAWb", "ZAWb"), ("ZA", "ZA"), ("ZDA", "ZA")):
            kinds = [f"{kind}{k}" for k in range(1, self.layers) for kind in hidden]
            kinds += [f"{kind}{self.layers}" for kind in last]
            if len(entries) == len(kinds) and not any(isinstance(e, (list, tuple, Mapping)) for e in entries):
                for name, x in zip(kinds, entries, strict=True):
                    self.take(name, x, "cache")
                return
        self.odd[label] = f"{shown(cache)}, which is none of the course's caches for {self.layers} layers"

    def _refuse(self, label: Any, role: str, meant: str) -> None:
        self.odd[str(label)] = NO_GRADIENT if role == "gradients" else "not a part of this model's cache"
        self.errors.append(_UnknownError(label, role, meant))

    def settle(self, chain: Chain) -> Arrays:
        """The arrays as float64 in the model's shapes; without any, an error that says why."""
        for error in self.errors if not self.arrays else ():
            raise error.error(chain) if isinstance(error, _UnknownError) else error
        if not self.arrays:
            raise ValueError(f"diagnose: no arrays were given; expected some of {', '.join(chain.gradients)}.")
        self._shift(chain)
        return {name: _in_shape(chain, name, x.astype(float)) for name, x in self.arrays.items()}

    def _shift(self, chain: Chain) -> None:
        """An older notebook calls dA2 what is the gradient of A1: known by the shapes."""
        names = {f"dA{n}": f"dA{below}" for n, below in zip(chain.numbers, ["0", *chain.numbers], strict=False)}
        given = [name for name in names if name in self.arrays]
        if "dA0" in self.arrays or not given or chain.numbers == [""]:
            return
        theirs = [self.arrays[name].shape for name in given]
        here = [chain.reference[name].shape for name in given]
        below = [chain.reference[names[name]].shape for name in given]
        if theirs == here or theirs != below:
            return
        for name in given:
            self.arrays[names[name]], self.labels[names[name]] = self.arrays.pop(name), self.labels.pop(name)

    def other_parameters(self, chain: Chain) -> list[str]:
        """Those that the person gave, and that are not the model's."""
        return [
            name for name, x in self.parameters.items() if not _same(_in_shape(chain, name, x), chain.reference[name])
        ]


class _UnknownError(Exception):
    """A name that nothing has, to be told with the names that there are."""

    def __init__(self, label: Any, role: str, meant: str) -> None:
        super().__init__(label)
        self.label, self.role, self.meant = label, role, meant

    def error(self, chain: Chain) -> ValueError:
        known = chain.gradients if self.role == "gradients" else chain.forward
        hint = f" Did you mean {self.meant}?" if self.meant in known else ""
        return ValueError(f"diagnose: {self.label} is none of this model's {self.role}: {', '.join(known)}.{hint}")


def read(layers: int, gradients: Any, cache: Any) -> Given:
    """What a person gave, sorted; the names and shapes are the model's after `Given.settle`."""
    given = Given(layers)
    if not isinstance(gradients, Mapping):
        raise TypeError(f'diagnose: gradients: expected a dict such as {{"dW1": ...}}, got {shown(gradients)}.')
    given.take_all(gradients, "gradients")
    if isinstance(cache, Mapping):
        given.take_all(cache, "cache")
    elif isinstance(cache, (list, tuple)):
        given.take_cache(cache, "cache")
    elif cache is not None:
        raise TypeError(
            f'diagnose: cache: expected a dict such as {{"A1": ...}}, a list or a tuple, got {shown(cache)}.'
        )
    return given


def _is_layer(x: Any) -> bool:
    """A linear cache (A_prev, W, b), and Z."""
    return isinstance(x, (list, tuple)) and len(x) == 2 and isinstance(x[0], (list, tuple)) and len(x[0]) == 3


def _is_numbers(x: Any) -> bool:
    """Nested lists of numbers, as they stand for an array."""
    return all(_is_numbers(e) if isinstance(e, (list, tuple)) else isinstance(e, (int, float, np.generic)) for e in x)


def _in_shape(chain: Chain, name: str, x: Array) -> Array:
    """The array in the model's shape where the course has another for a single unit: w as a column, b a number."""
    shape = chain.reference[name].shape
    kind = kind_of(name).removeprefix("d")
    if kind == "W" and shape[0] == 1 and chain.numbers == [""]:
        if x.shape in ((shape[1], 1), (shape[1],)):
            return x.reshape(shape)
        if x.shape == (shape[1], chain.m) and shape[1] > 1:
            return x.T  # of labels as a column: X @ dZ.T with a dZ of (m, m)
    return x.reshape(shape) if kind == "b" and x.shape == () and shape == (1, 1) else x


def _same(a: Array, b: Array) -> bool:
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=1e-6, atol=0))
