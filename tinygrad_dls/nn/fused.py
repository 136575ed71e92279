"""What a loss says of itself, and losses of one's own.

A fused loss computes at once what the textbook writes with several ops. What its labels have to be, and the textbook
form that it is composed of, stand at its op (see `Loss`): derivations, pictures and compiled steps read them there.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextvars import copy_context
from typing import Any, NamedTuple

import numpy as np

from tinygrad_dls.engine import ops
from tinygrad_dls.engine.arrays import Array
from tinygrad_dls.engine.autodiff import op
from tinygrad_dls.engine.devices import on_device
from tinygrad_dls.engine.errors import shown
from tinygrad_dls.engine.recording import recording
from tinygrad_dls.engine.tensor import Rule, Tensor, values
from tinygrad_dls.nn.labels import Check, check_finite, prepare

__all__ = ["MAKING", "Loss", "fused_loss", "is_loss", "is_nan", "loss_of", "nodes", "refuse_twice"]


class Loss(NamedTuple):
    """What is to be known of a loss: its op has it as ``op.loss``.

    Attributes
    ----------
    takes : str
        The letter of what it takes beside Y: ``"A"`` for predictions, ``"Z"`` for the linear part.
    labels : function
        The check of the labels: what is wrong with an array of them, in words; nothing if it passes.
    composed : function or None
        The same cost of the same arguments, as NumPy code of several ops, such as a sigmoid and the cost of its result.
    predicts : str
        What a model whose result it takes predicts: ``"sigmoid"``, a probability of one class, which a sigmoid makes of
        that result; ``"numbers"``, the result itself. Empty: something else.
    weighted : bool
        Whether it takes a weight for each example as its third argument.
    """

    takes: str
    labels: Check
    composed: Callable[..., Any] | None = None
    predicts: str = ""
    weighted: bool = False


def loss_of(op: Any) -> Loss | None:
    """What an op says of itself as a loss; None if it is none."""
    found = getattr(op, "loss", None)
    return found if isinstance(found, Loss) else None


def is_loss(*said: Any, **named: Any) -> Callable[[Any], Any]:
    """Say of an op that it is a loss."""

    def say(op: Any) -> Any:
        op.loss = Loss(*said, **named)
        return op

    return say


def fused_loss(
    composed: Callable[[Any, Any], Any], *, labels: Check = check_finite, takes: str = "Z"
) -> Callable[[Callable[[Array, Array], Rule]], Callable[[Any, Any], Any]]:
    """Make a loss of a rule, as `tinygrad_dls.op` makes an op, and say what it is composed of.

    A fused loss computes at once what the textbook writes with several ops, for the sake of digits or of speed.
    `tinygrad_dls.derive` shows the textbook's form instead, once algebra has proved that the two are the same, and
    refuses one that is another. Labels are checked as those of the package's own losses: their shape at each call,
    their values once per array; and so they are where a step is compiled.

    Parameters
    ----------
    composed : function
        Of the same two arguments, the cost as the textbook has it: NumPy code, ops, and other losses.
    labels : function, optional
        Of an array of labels: what is wrong with it, in words, or ``""``. By default, that labels are finite;
        `tinygrad_dls.nn.labels` has `check_probabilities` and `check_columns` as well.
    takes : str, default "Z"
        The letter of the first argument in pictures and errors: ``"A"`` of a prediction, ``"Z"`` of a linear part.

    Returns
    -------
    function
        That makes of a rule of two arrays a loss ``(Z, Y)``. The rule gets arrays of one shape, ``(n_y, m)``, and
        of one dtype.

    Raises
    ------
    TypeError
        If `composed` or `labels` is no function, or if the rule does not take two arrays.

    Examples
    --------
    >>> import numpy as np, tinygrad_dls as tg
    >>> def textbook(Z, Y):
    ...     return tg.mean_squared_error(np.tanh(Z), Y)
    >>> @tg.fused_loss(textbook)
    ... def squared_error_of_tanh(z, y):
    ...     a = np.tanh(z)
    ...     m = z.shape[1]
    ...     J = np.sum((a - y) ** 2) / m
    ...     dz = lambda dj: dj * 2 * (a - y) * (1 - a * a) / m
    ...     dy = lambda dj: dj * 2 * (y - a) / m
    ...     return J, (dz, dy)
    >>> Z = tg.Tensor([[0.0, 0.5]], requires_grad=True)
    >>> squared_error_of_tanh(Z, [[0, 1]]).backward()
    >>> Z.grad.round(3)
    array([[ 0.   , -0.423]])
    """
    for name, x in (("composed", composed), ("labels", labels)):
        if not callable(x):
            raise TypeError(f"fused_loss: {name} must be a function, got {shown(x)}.")
    if takes not in ("A", "Z"):
        raise ValueError(f"fused_loss: takes must be 'A' or 'Z', got {shown(takes)}.")

    def decorate(rule: Callable[[Array, Array], Rule]) -> Callable[[Any, Any], Any]:
        if not callable(rule) or len(inspect.signature(rule).parameters) != 2:
            raise TypeError(
                f"fused_loss: {shown(rule)} is no rule of two arrays. Write @fused_loss(composed) above def loss(z, y)."
            )
        fused = is_loss(takes, labels, composed)(op()(rule))

        @functools.wraps(rule)
        def loss(Z: Any, Y: Any) -> Any:
            Z, Y = prepare(Z, Y, fused.loss)
            if Z.__class__ is Tensor and Z._origin.op in MAKING:
                refuse_twice(Z, fused)
            return fused(Z, Y)

        return loss

    return decorate


# -- a sigmoid or a softmax applied twice -----------------------------------------------------------------------------


# What may have made probabilities: a quotient may be one of the two, written out. Each step of a training asks.
MAKING = {ops.sigmoid, ops.softmax, ops.divide}


def refuse_twice(Z: Tensor, op: Any) -> None:
    """Refuse what a sigmoid or a softmax made, where the loss applies one itself: its slopes would nearly vanish.

    Who calls it has seen that Z is a Tensor, and that its op is one of `MAKING`.

    Raises
    ------
    ValueError
        With what to write. What takes no part in a graph does not tell where it comes from, and passes.
    """
    if (made := _activation(Z)) and _applies_one(op.loss, len(Z) if Z.ndim else 0):
        name = Z.name or op.loss.takes
        instead = ", or take tg.binary_cross_entropy, which is of probabilities" if made == "sigmoid" else ""
        raise ValueError(
            f"{op.__name__}: {name} comes from a {made}, and the loss is of logits, of which "
            f"it makes probabilities itself. Leave the {made} out (the last layer, say){instead}. If twice is what you "
            f"mean, write 1.0 * {name}."
        )


def _activation(a: Tensor) -> str:
    """The activation that a Tensor comes from, "sigmoid" or "softmax", by its op or written out; "" of all else."""
    if a.op is not ops.divide:
        return getattr(a.op, "__name__", "") if a.op in MAKING else ""
    above, below = a.inputs
    if not isinstance(below, Tensor):
        return ""
    if below.op is ops.sum:
        return "softmax" if below.inputs[0] is above and above.op is ops.exp else ""
    terms = below.inputs if below.op is ops.add else ()
    is_sigmoid = _is_one(above) and any(map(_is_one, terms)) and any(getattr(x, "op", 0) is ops.exp for x in terms)
    return "sigmoid" if is_sigmoid else ""


def _is_one(x: Any) -> bool:
    return isinstance(x, (int, float)) and x == 1


@functools.lru_cache(maxsize=64)
def _applies_one(loss: Loss, rows: int) -> bool:
    """Whether a loss applies a sigmoid or a softmax to what it takes, as its textbook form shows."""
    composed = loss.composed
    if loss.takes != "Z" or composed is None:
        return False
    y, w = (np.eye(rows, 1), np.ones((1, 1))) if rows else (np.ones(()), np.ones(()))

    def run() -> bool:
        recording.set(True)
        Z = Tensor(np.zeros(y.shape), requires_grad=True)
        J = composed(Z, y, w) if loss.weighted else composed(Z, y)
        return any(
            _activation(node)
            or ((own := loss_of(node.op)) is not None and node.inputs[0] is Z and _applies_one(own, rows))
            for node in nodes(J, Z)
        )

    try:
        with np.errstate(all="ignore"):
            return copy_context().run(run)
    except Exception:  # a form that fails for one example is nothing that a step of training should fail for
        return False


def nodes(J: Any, Z: Any) -> Iterator[Any]:
    """The Tensors that a cost is computed from by ops, the cost first, down to the model's output Z."""
    waiting, seen = [J], set()
    while waiting:
        node = waiting.pop()
        if not isinstance(node, Tensor) or node in seen or node.op is None:
            continue
        seen.add(node)
        yield node
        if node is not Z:
            waiting += node.inputs


def is_nan(J: Any) -> bool:
    """Whether a cost is NaN; what is not a number yet, as in a recording, is not."""
    return (isinstance(J := values(J), np.floating) or on_device(J)) and bool(J != J)
