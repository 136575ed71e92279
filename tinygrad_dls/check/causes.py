"""The mistakes that people make in a hand-written backprop, each as the array that it gives instead of the gradient.

`tinygrad_dls.check.diagnose` compares these with what it was given. A cause is one function of a `Step`, and its
docstring is what the person reads: a teacher who knows another mistake adds it with `cause`. Those that are known from
the start stand in `tinygrad_dls.check.mistakes`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from tinygrad_dls.engine import ops
from tinygrad_dls.engine.arrays import Array
from tinygrad_dls.engine.errors import shown
from tinygrad_dls.engine.tensor import Tensor
from tinygrad_dls.ir.call import Call, evaluate
from tinygrad_dls.ir.tracer import Trace

__all__ = ["Step", "Variant", "cause", "causes"]

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {"tanh": np.tanh, "sigmoid": ops.sigmoid, "ReLU": ops.relu}


def derivative(activation: str, Z: Array, A: Array) -> Array:
    """An activation's derivative as its rule writes it, in Z and A, whatever arrays these are."""
    slope, z, a = _recorded_derivative(activation)
    (found,) = evaluate([slope], {z: Z, a: A})
    return np.asarray(found, float)


@functools.cache
def _recorded_derivative(activation: str) -> tuple[Call, Call, Call]:
    trace = Trace()
    z = trace.input("Z", np.ones(()))
    Z = Tensor(z, requires_grad=True)
    A: Any = ACTIVATIONS[activation](Z)
    A.backward(trace.constant(1.0, np.dtype(float)))
    assert Z.grad is not None
    return Z.grad.call, z.call, A.data.call


@dataclass(frozen=True)
class Step:
    """One step of a backward pass, ``dZ1`` say, as a cause sees it: arrays of float64, examples as columns.

    Gradients are those of the cost, with its 1/m. Arrays of earlier steps are the person's own, where they were given.

    Attributes
    ----------
    name : str
        Such as ``"dW1"``; or, of the forward pass, ``"A1"``.
    kind : str
        The name without its number: ``"dW"``.
    last : bool
        Whether it is of the output layer.
    m : int
        Number of examples.
    expected : array
        What the step should give, from the arrays before it.
    got : array or None
        What the person gave; None where only what follows from it was given.
    activation : str
        ``"tanh"``, ``"sigmoid"``, ``"ReLU"``, or another name.
    Y, W, b, Z, A, A_prev, dA, dZ : array
        Labels, and this layer's arrays; A_prev is X in the first layer.
    Z_prev, W_next, dA_next, dZ_next, dW_next : array or None
        Those of the layer before and of the one behind, where there is one.
    if_instead : callable
        ``if_instead("dA1", array)``: this step's result, if an earlier step had given that array.
    beside : array or None
        The gradient of the terms that the cost has in this layer's W or b themselves, such as an L2 penalty; it is a
        part of `expected`.
    arrays : mapping of str to array
        Everything by its name: ``X``, ``Y``, ``W1``, ``b1``, ``Z1``, ``A1``, ..., ``dZ2``, ``dW1``; of a single layer
        without numbers. Of the steps before this one, the person's own arrays, and what follows from them; of later
        ones, autodiff's.
    numbers : tuple of str
        The layers' numbers as they stand in names: ``("1", "2")``, or ``("",)``.
    right : mapping of str to array
        Autodiff's own arrays of all the steps.
    activations : mapping of str to str
        The activation of each layer, by the layer's number.
    cross_entropy : bool
        Whether the cost is the cross-entropy of the model's output, so that the last dZ is ``(A - Y) / m``.
    penalty : float
        lambda / m, if the cost has the penalty lambda / (2 m) * sum(W^2) on the weights; else 0.
    mask, keep_prob : array or None, float
        With dropout on this layer's A, its zeros and ones. Then ``A`` is what the next layer gets, ``g(Z) * mask /
        keep_prob``, and `dA` is the gradient of ``g(Z)``: it has been masked and divided too.
    masks : mapping of str to array
        Those of all layers, by the layer's number.
    """

    name: str
    kind: str
    last: bool
    m: int
    expected: Array
    got: Array | None
    activation: str
    Y: Array
    W: Array
    b: Array
    Z: Array
    A: Array
    A_prev: Array
    dA: Array
    dZ: Array
    Z_prev: Array
    W_next: Array
    dA_next: Array
    dZ_next: Array
    dW_next: Array
    if_instead: Callable[[str, Array], Array]
    beside: Array | None = None
    arrays: Mapping[str, Array] = field(default_factory=dict)
    numbers: tuple[str, ...] = ("",)
    right: Mapping[str, Array] = field(default_factory=dict)
    activations: Mapping[str, str] = field(default_factory=dict)
    cross_entropy: bool = False
    penalty: float = 0.0
    mask: Array | None = None
    keep_prob: float = 1.0
    masks: Mapping[str, Array] = field(default_factory=dict)

    @property
    def layer(self) -> str:
        """The layer's number as it stands in names: ``"1"``, or nothing if there is a single layer."""
        return self.name[len(self.kind) :]


class Variant(NamedTuple):
    """One of several arrays that a mistake may give, with a word on it, which the report adds to the cause's name.

    By the same mistake, as when it was made in every layer, `others` come out otherwise too: arrays by steps' names.
    """

    array: Array
    note: str = ""
    others: Mapping[str, Array] = MappingProxyType({})


Mistake = Callable[[Step], "Array | Variant | Iterable[Array | Variant | None] | None"]


class Cause(NamedTuple):
    """A known mistake: where it can be made, what it gives, what to tell the person, and how far it is believed."""

    kinds: frozenset[str]
    mistake: Mistake
    explanation: str
    free: bool = False
    zeros: bool = False
    far_fetched: bool = False

    def variants(self, step: Step) -> Iterator[Variant]:
        """What the mistake gives at a step, in each of its forms."""
        made = self.mistake(step)
        several = isinstance(made, (list, tuple, Iterator)) and not isinstance(made, Variant)
        forms: Any = made if several else [made]
        for form in forms:
            if form is not None:
                variant = form if isinstance(form, Variant) else Variant(form)
                yield variant._replace(array=np.asarray(variant.array, dtype=float))


causes: dict[str, Cause] = {}


def cause(
    name: str, kinds: str, *, free: bool = False, zeros: bool = False, far_fetched: bool = False
) -> Callable[[Mistake], Mistake]:
    """Add a cause that `tinygrad_dls.check.diagnose` shall know.

    Parameters
    ----------
    name : str
        What to call it in the report; an earlier cause of this name is replaced.
    kinds : str
        The steps in which the mistake can be made: some of ``dA dZ dW db`` and, of the forward pass, ``Z A``.
    free : bool
        Whether a number in it is found from what the person gave (from `Step.got`), such as a factor. It is named only
        where no cause without one fits.
    zeros : bool
        Whether the mistake is one that gives zeros. Of the others, an array of zeros proves nothing: they are not named
        for it.
    far_fetched : bool
        Whether it is named only where no simpler cause fits, as the derivative of an activation that no layer has.

    Returns
    -------
    callable
        A decorator for a function that takes a `Step` and returns the array that the mistake gives; or several; or
        None where it cannot be made, or gives the same as a simpler one. Each may be a ``Variant(array, note)``, such
        as ``Variant(dA * (1 + A * A), "1 + A^2 for 1 - A^2")``. Its docstring explains the mistake and how to mend it.

    Examples
    --------
    >>> import numpy as np, tinygrad_dls as tg
    >>> @tg.check.cause("median for mean", "db")
    ... def median(step):
    ...     "The gradient of a mean is a sum over all the examples."
    ...     return np.median(step.dZ, axis=1, keepdims=True)
    >>> "median for mean" in tg.check.causes
    True
    >>> del tg.check.causes["median for mean"]
    """
    wanted = frozenset(kinds.split() if isinstance(kinds, str) else ())
    if not isinstance(name, str):
        raise TypeError(f"cause: name must be a string, got {shown(name)}.")
    if not wanted or not wanted <= {"dA", "dZ", "dW", "db", "Z", "A"}:
        raise ValueError(f"cause: kinds must be some of 'dA dZ dW db Z A', got {shown(kinds)}.")

    def register(mistake: Mistake) -> Mistake:
        explanation = " ".join((mistake.__doc__ or "").split())
        if not explanation:
            raise ValueError(f"cause: {name!r} needs a docstring; it is what the person who made the mistake reads.")
        causes[name] = Cause(wanted, mistake, explanation, free, zeros, far_fetched)
        return mistake

    return register


# -- the mean over the examples ---------------------------------------------------------------------------------------


@cause("1/m is missing", "dA dZ dW db")
def _missing_mean(s: Step) -> Array:
    """J is a mean over the m examples: divide by m once, in the first dZ, or else in dW and db."""
    return s.expected * s.m


@cause("1/m twice", "dA dZ dW db")
def _doubled_mean(s: Step) -> Array:
    """If dZ carries the 1/m already, dW and db must not divide by m again (as np.mean does)."""
    return s.expected / s.m


@cause("a constant factor", "dA dZ dW db", free=True)
def _factor(s: Step) -> Array | None:
    """Every entry is the same multiple of the gradient, as of another cost or of a mean over another count."""
    if s.got is None or s.got.shape != s.expected.shape or s.got.size < 3 or not np.any(s.expected):
        return None
    factor = np.sum(s.got * s.expected) / np.sum(s.expected**2)
    known = (-1, s.m, -s.m, 1 / s.m, -1 / s.m)  # these have causes of their own
    return None if np.any(np.isclose(factor, known, rtol=1e-6)) else factor * s.expected


# -- signs ------------------------------------------------------------------------------------------------------------


@cause("sign", "dA dZ dW db")
def _sign(s: Step) -> Array | None:
    """It is minus the gradient. Updates subtract the gradient, so the gradient itself must not be negated."""
    return None if s.kind == "dZ" and s.last else -s.expected


@cause("Y - A for A - Y", "dZ")
def _flipped_error(s: Step) -> Array | None:
    """The gradient is A - Y, prediction minus label."""
    return -s.expected if s.last else None


@cause("all zeros", "dA dZ dW db", zeros=True)
def _zeros(s: Step) -> Array:
    """Every entry is 0, as of an array that np.zeros made and nothing filled."""
    return np.zeros_like(s.expected)


# -- shapes and sums --------------------------------------------------------------------------------------------------


@cause("a transpose is missing", "dA dZ dW db")
def _transpose(s: Step) -> list[Array]:
    """The transposes go with the shapes: dW = dZ A_prev.T is (n, n_prev), dA_prev = W.T dZ is (n_prev, m)."""
    candidates = [s.expected.T]
    if s.kind == "dW" and s.m == s.A_prev.shape[0]:
        candidates.append(s.dZ @ s.A_prev)
    if s.kind == "dA" and not s.last and s.W_next.shape[0] == s.W_next.shape[1]:
        candidates.append(s.W_next @ s.dZ_next)
    return candidates


@cause("keepdims=True is missing", "db")
def _keepdims(s: Step) -> Array:
    """The numbers are right, the shape is (n,): it would broadcast along the wrong axis. Sum with keepdims=True."""
    return s.expected[:, 0]


@cause("axis=0 for axis=1", "db")
def _wrong_axis(s: Step) -> list[Array]:
    """It is the sum over the units. Examples are columns, so the sum over them is np.sum(dZ, axis=1, keepdims=True)."""
    return [s.dZ.sum(axis=0, keepdims=True), s.dZ.sum(axis=0), s.dZ.sum(axis=0)[:, None]]


@cause("axis=1 is missing, so the whole array is summed", "db")
def _whole_sum(s: Step) -> list[Array] | None:
    """Each unit has its own b, and the sum of its own row: np.sum(dZ, axis=1, keepdims=True)."""
    n, total = s.expected.size, s.dZ.sum()
    sums = (total, total / n, total / n / s.m)  # by np.sum, and by np.mean of dZ without and with its 1/m
    return [np.full(shape, x) for x in sums for shape in ((), (1, 1), s.expected.shape)] if n > 1 else None


@cause("the sum over the examples is missing", "db")
def _no_sum(s: Step) -> Array:
    """Every example uses b, so its gradient is the sum of dZ over them: np.sum(dZ, axis=1, keepdims=True)."""
    return s.dZ


# -- the wrong array --------------------------------------------------------------------------------------------------


@cause("Z where A belongs in the derivative", "dZ")
def _derivative_of_z(s: Step) -> Array | None:
    """The derivatives 1 - A^2 of tanh and A (1 - A) of the sigmoid are written in A: 1 - Z^2 or Z (1 - Z) is wrong."""
    return s.dA * derivative(s.activation, s.Z, s.Z) if s.activation in ("tanh", "sigmoid") else None


@cause("the derivative of another activation", "dZ")
def _other_derivative(s: Step) -> list[Array]:
    """The derivative must be that of the layer's own activation: 1 - A^2 tanh, A (1 - A) sigmoid, Z > 0 ReLU."""
    if s.activation == "softmax":
        return []
    candidates = []
    for name, g in ACTIVATIONS.items():
        if name != s.activation:
            candidates += [s.dA * derivative(name, s.Z, x) for x in (s.A, g(s.Z), s.Z)]
    return candidates


@cause("a slip in the derivative", "dZ")
def _slip_in_the_derivative(s: Step) -> list[Array]:
    """The derivative is 1 - A^2 for tanh, A (1 - A) for the sigmoid, and 1 where Z > 0, else 0, for ReLU."""
    A = s.A
    slips = {
        "tanh": [1 - A, 1 + A, 1 + A * A, -A * A],
        "sigmoid": [A, 1 - A, A * (1 + A), A - 1],
        "ReLU": [s.Z < 0, s.dA > 0],
    }
    return [s.dA * slip for slip in slips.get(s.activation, [])]


@cause("the derivative of the sigmoid on top of A - Y", "dZ")
def _derivative_twice(s: Step) -> Array | None:
    """A - Y contains the sigmoid's derivative already, which cancels against dA. Do not multiply by it again."""
    return s.expected * s.A * (1 - s.A) if s.last and s.activation == "sigmoid" else None


@cause("dA where dZ belongs", "dA dZ dW db")
def _da_for_dz(s: Step) -> Array | None:
    """The derivative of the activation is missing: dZ = dA * g'(Z) comes before dW, db and the layer below."""
    if s.kind == "dW":
        return s.dA @ s.A_prev.T
    if s.kind == "db":
        return s.dA.sum(axis=1, keepdims=True)
    if s.kind == "dA":
        return None if s.last else s.W_next.T @ s.dA_next
    return s.dA


@cause("Z where A belongs in the product", "dW")
def _z_for_a(s: Step) -> Array | None:
    """The gradient dW is dZ times what came into the layer, which is A of the layer below, not its Z."""
    return None if s.Z_prev is None else s.dZ @ s.Z_prev.T


# -- the wrong time, the wrong cost -----------------------------------------------------------------------------------


@cause("an update applied before the gradient", "dA dZ dW db", free=True)
def _updated_too_early(s: Step) -> Array | None:
    """The layer above had been updated already when its W was used here. Compute all gradients, then update."""
    if (
        s.got is None
        or s.W_next is None
        or s.dZ_next is None
        or s.dW_next is None
        or s.got.shape != s.expected.shape
        or s.got.size < 3
    ):
        return None
    right = s.W_next.T @ s.dZ_next
    slope = s.if_instead(f"dA{s.layer}", right - s.dW_next.T @ s.dZ_next) - s.expected  # for a learning rate of 1
    aligned = np.sum(slope * s.expected) ** 2 / (np.sum(slope**2) * np.sum(s.expected**2) + np.finfo(float).tiny)
    if not np.any(slope) or aligned > 1 - 1e-9:  # a mere factor could be anything
        return None
    alpha = np.sum((s.got - s.expected) * slope) / np.sum(slope**2)
    return s.expected + alpha * slope if alpha > 0 else None


# -- the forward pass -------------------------------------------------------------------------------------------------


@cause("b is missing", "Z")
def _no_bias(s: Step) -> Array:
    """The linear part is Z = W A_prev + b."""
    return s.W @ s.A_prev


@cause("another activation", "A")
def _other_activation(s: Step) -> list[Array]:
    """The activation must be the layer's own."""
    return [g(s.Z) for name, g in ACTIVATIONS.items() if name != s.activation]


@cause("the activation is missing", "A")
def _no_activation(s: Step) -> Array:
    """A = g(Z), and this is Z itself."""
    return s.Z
