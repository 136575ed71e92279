"""Against overfitting, as the course has it: the L2 penalty of a cost, and dropout with a mask that is given.

Both are ops of their own, so that graphs, derivations and code show them as one step. `tinygrad_dls.nn.Dropout` is the
layer that draws its masks itself; weight decay (see `tinygrad_dls.optim.SGD`) is L2 where the penalty itself is not
looked at.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import Any, TypeAlias

import numpy as np

from tinygrad_dls.engine.arrays import Array, as_array, boolean, positive_integer, rate_of, real_number, single_inside
from tinygrad_dls.engine.autodiff import op
from tinygrad_dls.engine.errors import shown
from tinygrad_dls.engine.switches import set_to
from tinygrad_dls.engine.tensor import Rule, Tensor, values
from tinygrad_dls.nn.columns import called
from tinygrad_dls.nn.labels import check_once
from tinygrad_dls.nn.module import Module

__all__ = ["SETTINGS", "counted_as", "dropout", "is_weight", "keep_probability", "l2", "setting", "settings_as"]


Setting: TypeAlias = Callable[[str, float], float]

SETTINGS = {"lambd": "λ", "keep_prob": "keep_prob"}  # options of ops that formulas call by a name, and in print
_settings: ContextVar[Setting | None] = ContextVar("tinygrad_dls_settings", default=None)


def settings_as(symbol: Setting) -> AbstractContextManager[None]:
    """Within the block, numbers such as lambda are what `symbol` makes of their name and value."""
    return set_to(_settings, symbol)


def setting(name: str, x: float) -> float:
    """A number that formulas call by its name: what a derivation has in its place, or else the number itself."""
    symbol = _settings.get()
    return x if symbol is None else symbol(name, x)


Count: TypeAlias = Callable[[int], int]

_count: ContextVar[Count | None] = ContextVar("tinygrad_dls_count", default=None)


def counted_as(count: Count) -> AbstractContextManager[None]:
    """Within the block, the m of a penalty is what `count` makes of it: that of all examples, where a part is seen."""
    return set_to(_count, count)


# -- L2 ---------------------------------------------------------------------------------------------------------------


def l2(model: Module | Iterable[Tensor], lambd: float, m: int, *, biases: bool = False) -> Any:
    """The L2 penalty of the course: ``lambda / (2 m)`` times the sum of all ``||W||^2``, to be added to a cost.

    ``J = tg.binary_cross_entropy(A, Y) + tg.l2(model, lambd, m)`` has the gradients ``dW + lambda / m W``. Penalised
    are the weights alone: not biases, which are called ``b``, ``b1``, ... or ``bias``, nor ``gamma`` and ``beta`` of
    batch normalisation.

    Parameters
    ----------
    model : Module, or list of Tensors
        Whose weights are penalised; or the weights themselves, such as ``[W1, W2]``.
    lambd : float
        lambda, >= 0. (``lambda`` means something to Python.)
    m : int
        The number of examples that the cost is the mean over: ``X.shape[1]``, of a mini-batch its own. In the loss of
        `fit` and `compile`, which gets Y, it is ``Y.shape[1]``.
    biases : bool, default False, keyword-only
        Whether the other parameters are penalised too.

    Returns
    -------
    Tensor or number
        The penalty, a single number of the dtype of the weights.

    Raises
    ------
    TypeError, ValueError
        If there is no weight, if a list holds a bias and `biases` does not say that it is meant, or if a number is out
        of its range.

    Examples
    --------
    >>> import numpy as np, tinygrad_dls as tg
    >>> model = tg.nn.Sequential(tg.nn.Linear(2, 1, init=np.array([[3.0, 4.0]])))
    >>> penalty = tg.l2(model, lambd=0.1, m=5)
    >>> penalty.backward()
    >>> penalty.item(), model.parameters()[0].grad
    (0.25, array([[0.06, 0.08]]))
    """
    weights = _penalised(model, boolean(biases, "l2: biases"))
    plain = positive_integer(m, "l2: m")
    count = m if isinstance(m, int) else plain  # in a recording, a symbol
    if (counted := _count.get()) is not None:
        count = counted(plain)
    return _l2(*weights, lambd=setting("lambd", rate_of(lambd, "l2: lambd")), m=count)


def _penalised(model: Any, biases: bool) -> list[Any]:
    if isinstance(model, Module):
        weights = [p for name, p in model.named_parameters() if biases or is_weight(name)]
        if not weights:
            raise ValueError(f"l2: {type(model).__name__} has no weights to penalise.")
        return weights
    if isinstance(model, (Tensor, str)) or not isinstance(model, Iterable) or hasattr(model, "dtype"):
        raise TypeError(f"l2 takes a model, or a list of weights such as [W1, W2], got {shown(model)}.")
    found = [as_array(w, f"l2: weight {i}") for i, w in enumerate(model, 1)]
    if not found:
        raise ValueError("l2 got no weights. Is the iterator used up?")
    for w in found:
        if w.dtype.kind in "iub":
            raise TypeError(f"l2: a weight has dtype {w.dtype}; expected floats.")
        if not biases and isinstance(w, Tensor) and not is_weight(w.name):
            raise ValueError(
                f"l2: {w.name} is no weight, and the penalty of the course leaves it out. Pass the weights alone, or "
                "say biases=True if it is meant."
            )
    return found


@functools.lru_cache(maxsize=4096)
def is_weight(name: str | None) -> bool:
    """Whether L2 and weight decay are for a parameter of this name, as in the course: for all but biases and the like.

    That is neither ``b``, ``b1``, ... or ``bias``, nor ``gamma1`` and ``beta1`` of batch normalisation, each on its own
    or at the end of a longer name such as ``inner.b1``.
    """
    return name is None or re.fullmatch(r"(.*\.)?((b|gamma|beta)\d*|bias)", name) is None


@op()
@single_inside
def _l2(*weights: Array, lambd: float, m: int) -> Rule:
    """The L2 penalty: the squares of all weights, summed, times lambda / (2 m)."""
    total = np.sum(np.square(weights[0]))
    for w in weights[1:]:
        total = total + np.sum(np.square(w))

    def shrink(w: Array) -> Any:
        return lambda dj: dj * lambd / m * w

    return total * lambd / (2 * m), tuple(map(shrink, weights))


# -- dropout ----------------------------------------------------------------------------------------------------------


def dropout(A: Any, mask: Any, keep_prob: float) -> Any:
    """Inverted dropout with a mask that is given, as in the course: ``A * D / keep_prob``.

    Its gradient is ``dA * D / keep_prob``: what is shut down gets none.

    Parameters
    ----------
    A : Tensor or array, shape (n, m)
        Activations.
    mask : array of the shape of A
        The course's D: 1 or True for what is kept, 0 or False for what is shut down, such as
        ``np.random.rand(*A.shape) < keep_prob``.
    keep_prob : float
        The probability by which an entry was kept, in (0, 1].

    Returns
    -------
    Tensor or array, shape (n, m)

    Raises
    ------
    TypeError, ValueError
        If the mask has another shape, or holds other numbers than 0 and 1, or if `keep_prob` is out of its range.

    Examples
    --------
    >>> import numpy as np, tinygrad_dls as tg
    >>> A1 = tg.Tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True, name="A1")
    >>> D1 = np.array([[1, 0], [1, 1]])
    >>> A1_dropped = tg.dropout(A1, D1, keep_prob=0.5)
    >>> A1_dropped.data
    array([[2., 0.],
           [6., 8.]])
    >>> np.sum(A1_dropped).backward()
    >>> A1.grad
    array([[2., 0.],
           [2., 2.]])
    """
    keep_prob = keep_probability(keep_prob, "dropout")
    A, mask = as_array(A, "dropout: A"), as_array(mask, "dropout: mask")
    if mask.shape != A.shape:
        raise ValueError(_shape_error(A, mask))
    if mask.dtype.kind != "b":
        check_once(values(mask), _check_mask)
    return _dropout(A, mask, keep_prob=setting("keep_prob", keep_prob))


def keep_probability(x: Any, who: str) -> float:
    """Check the probability by which dropout keeps an entry; `who` takes it."""
    probability = real_number(x, f"{who}: keep_prob")
    if not 0 < probability <= 1:
        raise ValueError(f"{who}: keep_prob must be in (0, 1], got {x}.")
    return probability


def _shape_error(A: Any, mask: Any) -> str:
    hint = " Was the mask drawn for another layer, or other examples?"
    if len(mask.shape) == 2 and mask.shape[::-1] == tuple(A.shape):
        hint = " Did you pass the mask transposed?"
    shapes = f"{called(A, 'A')} is {tuple(A.shape)}, the mask is {tuple(mask.shape)}"
    return f"dropout: {shapes}; expected one entry for each.{hint}"


def _check_mask(mask: Array) -> str:
    """What is wrong with a mask of dropout."""
    if ((mask == 0) | (mask == 1)).all():
        return ""
    wrong = mask[(mask != 0) & (mask != 1)].flat[0]
    text = f"dropout: the mask holds {wrong:g}; expected 0 and 1, or False and True. "
    if mask.min() >= 0 and mask.max() <= 1:
        return text + "Of random numbers D, write D < keep_prob."
    return text + "Is it divided by keep_prob already? dropout does that."


@op()
def _dropout(a: Array, mask: Array, *, keep_prob: float) -> Rule:
    """Inverted dropout: the entries that the mask keeps, divided by keep_prob."""

    def da(dz: Array) -> Array:
        return dz * mask / keep_prob

    return a * mask / keep_prob, (da, lambda dz: dz * a / keep_prob)
