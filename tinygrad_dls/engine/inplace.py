"""Changes in place: arrays that a caller could write into between the forward pass and `backward`.

Rules keep the arrays that they were given, and a change in place would spoil their gradients in silence. A Tensor's
array is safe as long as no caller can reach it: optimizers replace arrays. Once `Tensor.data` hands it out, or where a
caller's own array is an operand, a fingerprint is kept, and compared before the vjps run.
"""

from __future__ import annotations

import functools
import math
from types import FunctionType
from typing import Any, TypeAlias

import numpy as np

from tinygrad_dls.engine.arrays import Array
from tinygrad_dls.engine.errors import called, role

EXACT = 2**15  # bytes: up to here, to compare all of them costs no more than about 1 % of a training step
STRIDE = 61  # one entry in 61 of a larger array is compared, if the array is the caller's own
WORDS = 509  # sums that stand for a larger array from `Tensor.data`; a prime, so that few columns share the same sums

# Arrays that a caller could change; for each, whether all of it is compared, and its fingerprint.
Watched: TypeAlias = tuple[tuple[Array, bool, bytes], ...]


class Escaped:
    """An array that escaped, which means that a caller holds it now; and its fingerprint at that moment."""

    __slots__ = ("array", "before", "whole")

    def __init__(self, array: Array, whole: bool) -> None:
        self.array, self.whole, self.before = array, whole, fingerprint(array, whole)


def note_escape(array: Array, whole: bool = False) -> Escaped | None:
    """Note that a caller holds the array; None for what cannot be changed."""
    return Escaped(array, whole) if changeable(array) else None


def note_whole_escape(array: Array, before: Escaped | None) -> Escaped | None:
    """Note that `Tensor.data` hands the array out; from now on all of it is compared."""
    return before if before is not None and before.array is array and before.whole else note_escape(array, whole=True)


def is_watched(x: Any, array: Any) -> bool:
    """Whether a caller could change the array that an operand x was made into: not that of a list or a number."""
    return not isinstance(x, (list, tuple, np.generic)) and changeable(array)


def changeable(array: Any) -> bool:
    """Whether an array is NumPy's and could be written into: itself, what it is a view of, or another's buffer."""
    if not isinstance(array, np.ndarray):
        return False
    while isinstance(array, np.ndarray):
        if array.flags.writeable:
            return True
        array = array.base
    return array is not None and not isinstance(array, bytes)


def memory(array: Array) -> Any:
    """Return the array that owns the memory, or the first NumPy array that views it."""
    while isinstance(base := getattr(array, "base", None), np.ndarray):
        array = base
    return array


def watched(exposed: Any) -> Watched:
    """Take the fingerprints of the arrays in a linked list, to compare them before the backward pass."""
    found: Watched = ()
    while exposed is not None:
        array, exposed = exposed
        whole = False
        if array.__class__ is Escaped:
            array, whole = array.array, array.whole
        found += ((array, whole, fingerprint(array, whole)),)
    return found


def watched_of_copy(node: Any) -> Watched:
    """Take the fingerprints for a copy of a node, whose vjps still read the arrays of the original."""
    arrays = [node._value, *(getattr(x, "_value", x) for x in node.inputs)]
    known = [array for array, _, _ in node._origin.watched]
    new = [x for x in arrays if changeable(x) and not any(x is array for array in known)]
    return (*node._origin.watched, *((x, True, fingerprint(x, whole=True)) for x in new))


# -- the comparison, before a node's vjps run -------------------------------------------------------------------------


def refuse_changed(node: Any) -> None:
    """Raise if an array that the node was given was changed since, and its gradients may depend on the old values."""
    for array, whole, before in node._origin.watched:
        if fingerprint(array, whole) != before and may_need(node, array):
            raise changed_in_place(node, array)


def refuse_changed_since_escape(node: Any, x: Any) -> None:
    """Raise if the array of x, a node or one of its inputs, escaped after the node was made and was changed since."""
    known = x._escaped
    if any(array is known.array for array, _, _ in node._origin.watched):
        return  # compared with what it was when the node was made
    if fingerprint(known.array, known.whole) != known.before and may_need(node, known.array, of=x):
        raise changed_in_place(node, x)


def may_need(node: Any, array: Array, of: Any = None) -> bool:
    """Whether gradients of the node may depend on the array: not those of ``x + y``; yes, wherever that is unknown.

    A vjp that depends on it closes over it. Or the value of the node is a view of it, which later nodes were given.
    """
    pairs = zip(node.inputs, node._origin.vjps, strict=False)
    if any(_leads_to(array, vjp) for x, vjp in pairs if vjp and getattr(x, "_depth", 0)):
        return True
    return of is not node and _leads_to(array, node._value)


def _leads_to(array: Array, x: Any) -> bool:
    """Whether x, which a vjp closes over, may hold the array. Only rules of our own are known to hide nothing."""
    if isinstance(x, np.ndarray):
        return np.may_share_memory(x, array)
    if isinstance(x, FunctionType) and str(x.__module__).startswith(_PACKAGE):
        held = [cell.cell_contents for cell in x.__closure__ or ()]
        return any(_leads_to(array, y) for y in (*held, *(x.__defaults__ or ())))
    if isinstance(x, tuple):
        return any(_leads_to(array, y) for y in x)
    return not (x is None or isinstance(x, (bool, int, float, np.generic, np.dtype)))


_PACKAGE = __name__.split(".")[0] + "."


def changed_in_place(node: Any, changed: Any) -> RuntimeError:
    """Make the error for what was changed after its use: the result or an argument of a node, a Tensor or its array."""
    places = [node, *node.inputs]
    position = next((i for i, x in enumerate(places) if _is(x, changed)), None)
    op = node.op.__name__
    if position is None:
        what = f"an array of {op}, shared with the Tensor that this one was copied from,"
    elif position:
        name, gave = role(places[position], position), f", which gave {node.name}" if node.name else ""
        place = f"argument {position} of {op}{gave}"
        what = place + ("," if gave else "") if name == f"argument {position}" else f"{name} ({place})"
    else:
        what = f"{called(node.name)} (the result of {op})"
    return RuntimeError(
        f"backward: {what} was changed in place after the forward pass, and its gradients may depend "
        "on the old values. Compute the cost again after the change, or change a copy."
    )


def _is(x: Any, changed: Any) -> bool:
    """Whether an argument is the Tensor or the array that was changed, or the array was made of its memory."""
    if x is changed or hasattr(x, "_value"):
        return x is changed or x._value is changed
    return not isinstance(x, (list, tuple)) and np.may_share_memory(np.asarray(x), changed)


# -- fingerprints -----------------------------------------------------------------------------------------------------


def fingerprint(array: Array, whole: bool) -> bytes:
    """Take the bytes that tell whether an array was changed: all of a small one, a sample or sums of a large one."""
    if array.nbytes <= EXACT:
        return array.tobytes()  # type: ignore[no-any-return]
    if whole and not array.dtype.hasobject:
        whole_of = array if array.flags.forc else array.copy()  # a part of another, such as W beside b
        return _sums(whole_of if whole_of.flags.c_contiguous else whole_of.T)
    if not array.flags.forc:
        return array[_places(array.shape)].tobytes()  # type: ignore[no-any-return]
    return array.ravel(order="K")[:: _step(array.size)].tobytes()  # type: ignore[no-any-return]


def _sums(array: Array) -> bytes:
    """Read the memory of an array as rows of 509 integers of 8 bytes, and add up the rows; append what is left over.

    Integers wrap around and lose nothing, so a change of one entry is always seen. Two could cancel only within the
    same sum: if two columns of the array change places whose distance is a multiple of 509 such integers, say.
    """
    rows, rest = divmod(array.nbytes, 8 * WORDS)
    sums: bytes = np.add.reduce(np.ndarray((rows, WORDS), np.uint64, array), axis=0).tobytes()
    left: bytes = array.reshape(-1)[array.size - -(-rest // array.itemsize) :].tobytes()
    return sums + left


@functools.lru_cache(maxsize=1024)
def _step(size: int) -> int:
    """How far apart the sample's entries are: it shares no factor with any axis, so each row has them elsewhere.

    So each row and column of 61 entries or more has one in the sample; of the shorter ones, of n entries, n in 61 have.
    """
    return next(step for step in range(STRIDE, size) if math.gcd(step, size) == 1)


@functools.lru_cache(maxsize=16)
def _places(shape: tuple[int, ...]) -> tuple[Any, ...]:
    """Return the indices of the sample of an array that is a part of another."""
    size = math.prod(shape)
    return np.unravel_index(np.arange(0, size, _step(size)), shape)
