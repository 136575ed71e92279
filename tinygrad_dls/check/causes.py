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

HANDED_ON, OF_PARAMETERS = ("dA", "dZ"), ("dW", "db")  # gradients, by their kind; the first with the 1/m or without
HUGE = 1e150  # the square of more is infinite: such numbers are compared with nothing

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {"tanh": np.tanh, "sigmoid": ops.sigmoid, "ReLU": ops.relu}


def derivative(activation: str, Z: Array, A: Array) -> Array:
    """An activation's derivative as its rule writes it, in Z and A, whatever arrays these are."""
    slope, z, a = _recorded_derivative(activation)
    (found,) = evaluate([slope], {z: Z, a: A})
    return np.asarray(found, float)


def kind_of(name: str) -> str:
    """``dW`` of ``dW1``."""
    return name.rstrip("0123456789")


def multiple_of(x: Array, y: Array) -> float:
    """The multiple of y that is nearest to x; 0 if their shapes differ, or if y is zero."""
    return float(np.sum(x * y) / np.sum(y**2)) if x.shape == y.shape and np.any(y) else 0.0


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
    given : mapping of str to array
        What the person gave, as it was given: dA and dZ with the 1/m or without.
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
    given: Mapping[str, Array] = field(default_factory=dict)
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
        """What the mistake gives at a step, in each of its forms: in the right shape where no array was given."""
        with np.errstate(all="ignore"):  # at places where a wrong formula has no value
            made: Any = self.mistake(step)
            several = isinstance(made, (list, tuple, Iterator)) and not isinstance(made, Variant)
            for form in made if several else [made]:
                if form is None:
                    continue
                variant = form if isinstance(form, Variant) else Variant(form)
                array = np.asarray(variant.array, dtype=float)
                # of a step that was not given, what can go on: in its shape, or in that of a column of labels
                fits = step.got is not None or array.shape in (step.expected.shape, (step.m, step.m))
                if fits and _tells(step, array):
                    yield variant._replace(array=array)


def _tells(step: Step, array: Array) -> bool:
    """Whether it is numbers to go by, and not, for every example of a layer, the same one, as at weights of zero."""
    largest = np.abs(array).max(initial=0)
    alike = step.kind in HANDED_ON and array.size > 2 and np.ptp(array) <= 1e-12 * largest and largest > 0
    return bool(largest < HUGE and not alike)  # nor of NaN


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

    Raises
    ------
    TypeError, ValueError
        If the name is no text, if `kinds` are no steps, or if the function has no docstring.

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
