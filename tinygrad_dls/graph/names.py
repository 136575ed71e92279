"""Names for all that the package writes: the one place where what a user calls an array becomes a name in a text.

The one idea: `Names` gives a name only if it is free *together with all that is derived from it*: with ``W`` go
its gradient ``dW`` and the optimizer's ``VdW``, with a region of a compiled step ``new_W``. So no two things share a
name, whatever they are called: ``enc.W`` beside ``enc_W``, the micro sign beside mu (one letter to Python), a
parameter ``dW`` beside the gradient of ``W``, or one called like something that the text itself uses.

A name that may stay as the user wrote it stays so. Any other becomes an identifier (`identifier`), and gets a number
behind it where that one is taken: ``enc_W_2``. What a reader sees besides code, in pictures and formulas, stays what
the user wrote; `shortened` keeps it to a line.
"""

from __future__ import annotations

import builtins
import keyword
import unicodedata
from collections.abc import Callable, Collection, Iterable, Sequence

__all__ = ["KIN", "RESERVED", "STATES", "Names", "identifier", "shortened"]

LONGEST = 60  # characters of an identifier, and of a name in a picture: as many as one still reads
RESERVED = frozenset({*keyword.kwlist, *keyword.softkwlist, *dir(builtins), "__builtins__"})  # what Python means by it
STATES = "VSURQPHGKLMNOEFIJTXYZABCDW"  # letters for what an optimizer remembers: the course's V and S, and others
KIN = ("{}", "d{}", "td{}", *(f"{letter}d{{}}" for letter in STATES))  # an array of a program, its gradient, and these
UNNAMED = "x"  # of what has no letter that an identifier may have
FUNCTIONS = frozenset({"np", "clipped_sigmoid", "shared_softmax", "sigmoid", "softmax"})  # what programs call


def identifier(name: str) -> str:
    """The name as Python allows it, and as Python reads it: letters that Python takes for one are one.

    Several names may have the same identifier: see `Names`.

    Examples
    --------
    >>> from tinygrad_dls.graph.names import identifier
    >>> [identifier(name) for name in ("W1", "enc.W", "x²", "1/m", "🙂")]
    ['W1', 'enc_W', 'x2', '_1_m', 'x']
    """
    normal = unicodedata.normalize("NFKC", name)
    text = "".join(c if f"_{c}".isidentifier() else "_" for c in normal)[:LONGEST]
    if not text.strip("_"):
        return UNNAMED
    text = text if text.isidentifier() else f"_{text}"
    # a letter may be one by itself, and another one with its neighbours: those few names keep their plain letters
    stable = unicodedata.normalize("NFKC", text) == text and text.isidentifier()
    return text if stable else identifier(text.encode("ascii", "replace").decode())


def shortened(name: str) -> str:
    """A name that fits into a line: the beginning and the end of a longer one."""
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 11]}…{name[-10:]}"


class Names:
    """Gives each thing a name that nothing else has, nor anything that is derived from it.

    Parameters
    ----------
    taken : iterable of str
        What means something already in the text that the names are for.
    kin : sequence of str
        What comes with each name, as texts with ``{}`` where the name stands, such as ``"d{}"``.
    spelled : function, optional
        What is allowed as a name; by default, identifiers.
    between : str
        What stands between a name and its number.
    reserved : collection of str
        What is never given; by default, the words that mean something to Python.

    Examples
    --------
    >>> from tinygrad_dls.graph.names import Names
    >>> names = Names(taken={"m"}, kin=("{}", "d{}"))
    >>> [names.free(name) for name in ("W", "W", "dW", "enc.W", "enc_W", "m", "lambda", "µ", "μ")]
    ['W', 'W_2', 'dW_3', 'enc_W', 'enc_W_2', 'm_2', 'lambda_2', 'μ', 'μ_2']
    """

    def __init__(
        self,
        taken: Iterable[str] = (),
        *,
        kin: Sequence[str] = ("{}",),
        spelled: Callable[[str], str] = identifier,
        between: str = "_",
        reserved: Collection[str] = RESERVED,
    ) -> None:
        self._taken = set(taken)
        self._kin, self._spelled, self._between, self._reserved = tuple(kin), spelled, between, reserved
        self._counts: dict[str, int] = {}  # by what names begin with: the last number that was given

    def __contains__(self, name: str) -> bool:
        return name in self._taken or name in self._reserved

    def take(self, *names: str) -> None:
        """Take names, with their kin, for things that have them already."""
        self._taken.update(kin.format(name) for name in names for kin in self._kin)

    def is_free(self, name: str) -> bool:
        """Whether nothing has the name, nor any of its kin."""
        return not any(kin.format(name) in self for kin in self._kin)

    def free(self, wanted: str) -> str:
        """The name that is wanted, or one like it: taken from now on, with its kin."""
        stem = self._spelled(wanted)
        return self._given(stem) if self.is_free(stem) else self._numbered(f"{stem}{self._between}", 2)

    def numbered(self, stem: str, first: int = 1) -> str:
        """The next name of a row, such as ``t1``, ``t2``, ...: taken from now on, with its kin."""
        return self._numbered(self._spelled(stem), first)

    def _numbered(self, stem: str, first: int) -> str:
        number = self._counts.get(stem, first - 1) + 1
        while not self.is_free(f"{stem}{number}"):
            number += 1
        self._counts[stem] = number
        return self._given(f"{stem}{number}")

    def _given(self, name: str) -> str:
        self.take(name)
        return name
