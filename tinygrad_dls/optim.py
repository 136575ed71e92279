"""Optimizers: the update that follows the gradient, a rule for each.

A rule takes a parameter's array, gradient and state to the new ones; what they share, such as the step, stands in
`tinygrad_dls.optimizer`. The learning rate is a number, or a function from the number of steps taken (0, 1, ...) to a
number.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_dls.engine.arrays import HALF, Array, below_one, boolean, positive_number, real_number
from tinygrad_dls.engine.errors import shown
from tinygrad_dls.engine.tensor import Tensor
from tinygrad_dls.nn.regularisation import is_weight
from tinygrad_dls.optimizer import Optimizer, Schedule, State
from tinygrad_dls.optimizer import eager_step as eager_step  # so that tg.optim has it

if TYPE_CHECKING:
    from tinygrad_dls.schedules import cosine_decay, exponential_decay, inverse_time_decay, step_decay

__all__ = [
    "SGD", "Adam", "RMSprop", "cosine_decay", "exponential_decay", "inverse_time_decay", "step_decay",
]  # fmt: skip


class SGD(Optimizer):
    """Gradient descent, the rule of the notes: ``W := W - alpha dW``.

    With momentum ``mu`` it follows a running sum of the gradients, ``V := mu V + dW`` and ``W := W - alpha V``;
    Nesterov's looks one step ahead, ``W := W - alpha (dW + mu V)``. With dampening ``tau`` the new gradient counts
    less, ``V := mu V + (1 - tau) dW``, from ``V = 0`` on: the course's momentum, ``V := beta V + (1 - beta) dW``, is
    ``SGD(..., momentum=beta, dampening=beta)``.

    Weight decay adds ``lambda W`` to ``dW``: the gradient of the course's L2 penalty (see `tinygrad_dls.l2`), whose
    ``lambd / m`` is lambda here. As in the course it is for the weights, and leaves the biases alone: parameters called
    ``b``, ``b1``, ``b2``, ... or ``bias``, on their own or at the end of a longer name such as ``inner.b1``. It leaves
    ``gamma`` and ``beta`` of batch normalisation alone, too.

    Parameters
    ----------
    parameters : iterable of Parameter
        ``model.parameters()``.
    lr : float or function
        The learning rate alpha, or a function of the step.
    momentum : float, default 0
        mu, in [0, 1).
    nesterov : bool, default False
        Nesterov's momentum; needs momentum > 0.
    dampening : float, default 0
        tau, in [0, 1); needs momentum > 0, and not Nesterov's.
    weight_decay : float or dict, default 0
        lambda, >= 0, of the weights; or by the names of parameters, ``{"W1": 0.1}``, of those alone.
    decay_biases : bool, default False
        Whether a number is for the biases too, and for gamma and beta.
    clip_norm : float, optional
        The largest norm that the gradients of all parameters may have together: those of a larger one are scaled to it,
        and keep their direction.
    clip_value : float, optional
        The largest absolute value of an entry: those beyond are set to it. ``p.grad`` stays as it is, clipped or not,
        and weight decay comes after clipping.

    Raises
    ------
    TypeError, ValueError
        If there are no parameters, if a number is out of its range, or if options do not fit together.

    Examples
    --------
    >>> import numpy as np, tinygrad_dls as tg
    >>> w = tg.Tensor([1.0, 2.0], requires_grad=True)
    >>> optimizer = tg.optim.SGD([w], lr=0.25)
    >>> np.sum(w ** 2).backward()
    >>> optimizer.step()
    >>> w.data
    array([0.5, 1. ])
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float | Schedule,
        *,
        momentum: float = 0,
        nesterov: bool = False,
        dampening: float = 0,
        weight_decay: float | Mapping[str, float] = 0,
        decay_biases: bool = False,
        clip_norm: float | None = None,
        clip_value: float | None = None,
    ) -> None:
        super().__init__(
            parameters,
            lr,
            weight_decay=weight_decay,
            decay_biases=decay_biases,
            clip_norm=clip_norm,
            clip_value=clip_value,
        )
        self.momentum = below_one(momentum, "momentum")
        self.nesterov = boolean(nesterov, "nesterov")
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov=True needs a momentum > 0, such as momentum=0.9.")
        self.dampening = below_one(dampening, "dampening")
        if self.dampening and not self.momentum:
            raise ValueError("dampening needs a momentum > 0: the course's is momentum=0.9, dampening=0.9.")
        if self.dampening and self.nesterov:
            raise ValueError("Nesterov's momentum has no dampening: leave one of the two out.")

    def _start(self, p: Tensor) -> State:
        return (np.zeros_like(p._value),) if self.momentum else ()

    def _update(self, p: Tensor, rate: float) -> tuple[Array, State]:
        w, dw = p._value, p._grad
        if decay := self.weight_decay:
            if decay.__class__ is not float:
                dw = self._decayed(p, dw)
            elif self.decay_biases or is_weight(p.name):  # as `_decayed`, spelled out: steps are small
                dw = dw + decay * w
        if not self.momentum:
            return w - rate * dw, ()
        (v,) = self._state.get(p) or self._start(p)
        v = self.momentum * v + ((1 - self.dampening) * dw if self.dampening else dw)
        return w - rate * (dw + self.momentum * v if self.nesterov else v), (v,)


class Adam(Optimizer):
    """Adam, as in Kingma and Ba (2015), algorithm 1, with both moments corrected for their start at zero.

    ``m := beta1 m + (1 - beta1) dW``, ``v := beta2 v + (1 - beta2) dW^2``, and at step t
    ``W := W - alpha m/(1 - beta1^t) / (sqrt(v/(1 - beta2^t)) + epsilon)``.

    Weight decay adds ``lambda W`` to ``dW`` first, as in `SGD`: the gradient of an L2 penalty, which passes through the
    moments. (AdamW's, which shrinks W beside them, is another rule.)

    Parameters
    ----------
    parameters : iterable of Parameter
        ``model.parameters()``.
    lr : float or function, default 0.001
        The learning rate alpha, or a function of the step.
    betas : (float, float), default (0.9, 0.999)
        The decay of the two moments, each in [0, 1).
    epsilon : float, default 1e-8
        Keeps the division finite. (It is 0 in float16: the moments of such parameters are float32.)
    weight_decay, decay_biases, clip_norm, clip_value
        As in `SGD`.

    Raises
    ------
    TypeError, ValueError
        If there are no parameters, or a number is out of its range.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float | Schedule = 0.001,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-8,
        weight_decay: float | Mapping[str, float] = 0,
        decay_biases: bool = False,
        clip_norm: float | None = None,
        clip_value: float | None = None,
    ) -> None:
        super().__init__(
            parameters,
            lr,
            weight_decay=weight_decay,
            decay_biases=decay_biases,
            clip_norm=clip_norm,
            clip_value=clip_value,
        )
        if not isinstance(betas, (tuple, list)) or len(betas) != 2:
            raise ValueError(f"betas must be two numbers in [0, 1), got {shown(betas)}.")
        self.betas = real_number(betas[0], "the first of betas"), real_number(betas[1], "the second of betas")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas must be two numbers in [0, 1), got {betas}.")
        self.epsilon = positive_number(epsilon, "epsilon")

    def _start(self, p: Tensor) -> State:
        zeros = _zeros_of_moment(p)
        return zeros, zeros.copy(), np.zeros((), int)

    def _update(self, p: Tensor, rate: float) -> tuple[Array, State]:
        w, dw = p._value, p._grad
        if self.weight_decay:
            dw = self._decayed(p, dw)
        is_half = w.dtype.char == HALF  # in which squares vanish below 2e-4, and epsilon is 0
        dw = dw.astype(np.float32) if is_half else dw
        beta1, beta2 = self.betas
        m, v, t = self._state.get(p) or self._start(p)
        t = t + 1  # of this parameter: one that gets its first gradient late is corrected from then on
        m = beta1 * m + (1 - beta1) * dw
        v = beta2 * v + (1 - beta2) * dw * dw
        # t is an array: the powers are float64, and of float32 moments they are rounded once, after the subtraction
        m_hat, v_hat = (x / (1 - beta**t).astype(x.dtype) for x, beta in ((m, beta1), (v, beta2)))
        step = rate * m_hat / (np.sqrt(v_hat) + self.epsilon)
        return w - (step.astype(w.dtype) if is_half else step), (m, v, t)


class RMSprop(Optimizer):
    """RMSprop, as in the course: each entry's step is measured by the root of the mean square of its gradients.

    ``S := beta S + (1 - beta) dW^2`` and ``W := W - alpha dW / (sqrt(S) + epsilon)``, entry by entry, from ``S = 0`` on
    and without a correction for that start. (The rule is Hinton's, from his lectures, with the same beta and alpha.)

    Parameters
    ----------
    parameters : iterable of Parameter
        ``model.parameters()``.
    lr : float or function, default 0.001
        The learning rate alpha, or a function of the step.
    beta : float, default 0.9
        The decay of the mean square, in [0, 1).
    epsilon : float, default 1e-8
        Keeps the division finite. (It is 0 in float16: the mean squares of such parameters are float32.)
    weight_decay, decay_biases, clip_norm, clip_value
        As in `SGD`.

    Raises
    ------
    TypeError, ValueError
        If there are no parameters, or a number is out of its range.

    Examples
    --------
    >>> import numpy as np, tinygrad_dls as tg
    >>> w = tg.Tensor([1.0, 200.0], requires_grad=True)
    >>> optimizer = tg.optim.RMSprop([w], lr=0.1, beta=0.75)
    >>> np.sum(w ** 2).backward()
    >>> optimizer.step()  # sqrt((1 - beta) dW^2) is half of |dW|
    >>> w.data
    array([  0.8, 199.8])
    """

    letters = "S"

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float | Schedule = 0.001,
        *,
        beta: float = 0.9,
        epsilon: float = 1e-8,
        weight_decay: float | Mapping[str, float] = 0,
        decay_biases: bool = False,
        clip_norm: float | None = None,
        clip_value: float | None = None,
    ) -> None:
        super().__init__(
            parameters,
            lr,
            weight_decay=weight_decay,
            decay_biases=decay_biases,
            clip_norm=clip_norm,
            clip_value=clip_value,
        )
        self.beta = below_one(beta, "beta")
        self.epsilon = positive_number(epsilon, "epsilon")

    def _start(self, p: Tensor) -> State:
        return (_zeros_of_moment(p),)

    def _update(self, p: Tensor, rate: float) -> tuple[Array, State]:
        w, dw = p._value, p._grad
        if self.weight_decay:
            dw = self._decayed(p, dw)
        is_half = w.dtype.char == HALF
        dw = dw.astype(np.float32) if is_half else dw
        (s,) = self._state.get(p) or self._start(p)
        s = self.beta * s + (1 - self.beta) * dw * dw
        step = rate * dw / (np.sqrt(s) + self.epsilon)
        return w - (step.astype(w.dtype) if is_half else step), (s,)


def _zeros_of_moment(p: Tensor) -> Array:
    """A moment before the first step; of half precision, in which squares vanish, one of single precision."""
    w = p._value
    return np.zeros_like(w, dtype=np.float32 if w.dtype.char == HALF else None)


# -- schedules --------------------------------------------------------------------------------------------------------


def __getattr__(name: str) -> Any:
    if name not in __all__:
        # With the name and the module, Python suggests a name that is alike.
        message = f"module 'tinygrad_dls.optim' has no attribute {name!r}"
        raise AttributeError(message, name=name, obj=sys.modules[__name__])
    from tinygrad_dls import schedules  # on first use

    return getattr(schedules, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
