"""Where a model or a loss may read a number from, each with a way to change that number behind the reader's back.

`KINDS` maps a name to a function that makes a fresh pair ``(scale, change)``: ``scale(x)`` is x times a factor that is
read from an object of this kind, and ``change()`` makes it another one. A recorded program that has seen ``scale`` once
must either notice the change or have refused to be recorded: a number from before the change is wrong, in silence.

The factor is 2 before and 3 after, unless the kind itself says otherwise (the time, random draws).
"""

KINDS = {}
LIVE = set()  # kinds of plain Python, as in most programs: their changes are seen, and they are never refused
MOVING = set()  # kinds in which reading alone changes what is read next
_undo = []


def kind(name, live=False, moving=False):
    """Add a kind."""

    def add(make):
        assert name not in KINDS, name
        KINDS[name] = make
        if live:
            LIVE.add(name)
        if moving:
            MOVING.add(name)
        return make

    return add


def put_back():
    """Undo what the kinds have done to the process, and close what they opened."""
    while _undo:
        _undo.pop()()


def later(undo):
    """Have `put_back` call this."""
    _undo.append(undo)


class Plain:
    """An object with a number."""

    def __init__(self, k=2.0):
        self.k = k


def setter(o, name="k"):
    return lambda: setattr(o, name, 3.0)
