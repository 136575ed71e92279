"""Random programs, grown step by step, whatever they are written in.

A program is evaluated while it is written, so that the next step knows what it works on: values stay moderate, and a
step that no values are fit for leaves nothing behind. A grammar says how a step is written and which steps there are:
`tests.support.programs` writes calls of our ops, `tests.compiler.lines` lines of Python.
"""

import copy

import numpy as np

LARGEST = 4.0  # what is larger is scaled down


class UnfitError(Exception):
    """A step that no values at hand are fit for."""


class Generator:
    """The values by their names, in the order in which they were written, and the names that nothing has used yet.

    A grammar gives `choice`, `chance` (of so many per cent), and of a value `sample`: an array of its shape and size.
    """

    PREFER_UNUSED = 70  # per cent

    def __init__(self):
        self.values, self.unused = {}, []

    def pick(self, fit=lambda x: True):
        """The name of a value that is fit, rather one that nothing has used yet."""
        fits = [name for name in self.values if fit(self.sample(name))]
        loose = [name for name in fits if name in self.unused]
        if not fits:
            raise UnfitError
        return self.choice(loose if loose and self.chance(self.PREFER_UNUSED) else fits)

    def keep(self, name, value, used=()):
        """Add a value, which nothing has used."""
        self.values[name] = value
        self.unused = [other for other in self.unused if other not in used] + [name]
        return name

    def tried(self, step):
        """What a step writes; None if it finds nothing that is fit for it, and then nothing has changed."""
        before = {name: copy.copy(x) for name, x in vars(self).items() if isinstance(x, (list, dict))}
        try:
            return step()
        except UnfitError:
            vars(self).update(before)
            return None


def factor(x):
    """What scales a value down, if it is too large; None if it is not."""
    largest = np.abs(x).max(initial=0)
    if not largest < 1000:
        raise UnfitError
    return np.floor(1000 * LARGEST / largest).item() / 1000 if largest > LARGEST else None


def together(*shapes):
    """The shape that these broadcast to; None if they do not."""
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        return None
