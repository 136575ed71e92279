"""Optimizers: the update that follows the gradient.

An optimizer is one pure function of a parameter, from its array, gradient and state to the new ones. `step` computes
all the updates before it installs any, and replaces the arrays instead of writing into them: a graph still in use
keeps the values it was computed from, and an interrupted step leaves the model as it was.

The learning rate is a number, or a function from the number of steps taken (0, 1, ...) to a number.
"""

from __future__ import annotations

import functools
import math
import re
from _thread import get_ident
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from tinygrad_dls.engine.arrays import HALF, Array, as_array, boolean, rate_of, real_number
from tinygrad_dls.engine.errors import shown
from tinygrad_dls.engine.tensor import Tensor, values
from tinygrad_dls.threads import Cell, Mark, Parameters, cells_of, is_running, two_threads

if TYPE_CHECKING:
    from tinygrad_dls.schedules import cosine_decay, exponential_decay, inverse_time_decay, step_decay

__all__ = ["SGD", "Adam", "cosine_decay", "exponential_decay", "inverse_time_decay", "step_decay"]

Schedule: TypeAlias = Callable[[int], float]
State: TypeAlias = tuple[Array, ...]  # of one parameter: none, its velocity, or its two moments and its count of steps

OF_THREADS = ("_cell", "_mark")  # attributes of an optimizer that are no hyperparameters, and are not pickled


class Optimizer:
    """What SGD and Adam share: the parameters, the learning rate, the step, and exact resumption."""

    _cell = Cell()  # of all parameters, if there is one
    _mark: Mark = (0, Parameters())  # what this optimizer leaves in it

    def __init__(self, parameters: Iterable[Tensor], lr: float | Schedule) -> None:
        who = type(self).__name__
        no_list = isinstance(parameters, (Tensor, str)) or getattr(parameters, "shape", None) == ()
        if no_list or not isinstance(parameters, Iterable):
            raise TypeError(f"{who} takes the parameters of a model: {who}(model.parameters(), lr=...).")
        self.parameters = list(parameters)
        if not self.parameters:
            raise ValueError(f"{who} got no parameters. Is the iterator used up, or has the model none?")
        for p in self.parameters:
            if not isinstance(p, Tensor) or p.op is not None:
                raise TypeError(f"{who} takes parameters (leaf Tensors), got {p!r}.")
        if len(set(self.parameters)) < len(self.parameters):
            raise ValueError(f"{who} got the same parameter twice; it would be updated twice.")
        self.lr = lr
        self.steps = 0
        self._state: dict[Tensor, State] = {}
        self._rate()

    def zero_grad(self) -> None:
        """Forget the gradients, which `Tensor.backward` would add to.

        Raises
        ------
        RuntimeError
            If another thread is training these parameters.
        """
        if self._cell.zeroed is not self._mark or self._mark[0] != get_ident():  # steps are small
            self._begin("zero_grad")
        for p in self.parameters:
            p._grad = None

    def _begin(self, method: str) -> None:
        """Refuse another thread than the one that is at work, or that zeroed the gradients; else leave a mark."""
        thread = get_ident()
        cells = cells_of(self.parameters)
        for cell in cells:
            training, zeroed = cell.training, cell.zeroed
            if training is not None and training.busy and training.thread != thread:
                self._refuse(method, training.thread, training.parameters)
            if method == "step" and zeroed is not None and zeroed[0] != thread:
                self._refuse(method, *zeroed)
        self._mark = mark = thread, Parameters(self.parameters)
        for cell in cells:
            cell.zeroed = mark
        self._cell = cells[0] if len(cells) == 1 else Cell()

    def _refuse(self, method: str, thread: int, parameters: Parameters) -> None:
        if is_running(thread) and parameters.meet(self.parameters):
            raise two_threads(f"{type(self).__name__}.{method}")

    def __getstate__(self) -> dict[str, Any]:
        return {name: x for name, x in vars(self).items() if name not in OF_THREADS}

    def step(self) -> None:
        """Update every parameter that has a gradient, all or none.

        Raises
        ------
        RuntimeError
            If no parameter has a gradient, or if another thread is training these parameters.
        TypeError, ValueError
            If the learning rate is not a finite number >= 0.
        """
        if self._cell.zeroed is not self._mark or self._mark[0] != get_ident():
            self._begin("step")
        rate, state = self._rate(), self._state
        updates = [(p, p._value, self._update(p, rate)) for p in self.parameters if p._grad is not None]
        if not updates:
            raise RuntimeError(
                f"{type(self).__name__}.step: no parameter has a gradient. Call J.backward() before, "
                "and zero_grad() before that; or are these another model's parameters?"
            )
        before = state.copy()
        try:
            for p, _, (w, s) in updates:
                p._value = np.asarray(w) if isinstance(w, np.generic) else w  # what has no axes, too
                if s or before:
                    state[p] = s
            self.steps += 1
        except BaseException:  # Ctrl-C between two parameters: put all of them back
            for p, w, _ in updates:
                p._value = w
            state.clear()
            state.update(before)
            raise

    def _start(self, p: Tensor) -> State:
        """The state of a parameter before its first step."""
        raise NotImplementedError

    def _update(self, p: Tensor, rate: float) -> tuple[Array, State]:
        """The new array of a parameter that has a gradient, and its new state."""
        raise NotImplementedError

    def _rate(self) -> float:
        rate = self.lr
        if type(rate) is float and 0 <= rate < math.inf:
            return rate
        rate = rate(self.steps) if callable(rate) else rate
        try:
            rate = real_number(rate, "the learning rate")
        except TypeError:
            raise TypeError(
                f"the learning rate must be a number or a function of the step, got {shown(rate)}."
            ) from None
        if not 0 <= rate < math.inf:
            raise ValueError(f"the learning rate must be a finite number >= 0, got {rate} at step {self.steps}.")
        return rate

    def state_dict(self) -> dict[str, Any]:
        """All that the next steps depend on besides the parameters and the hyperparameters: copies."""
        state = [tuple(map(np.copy, self._state.get(p, ()))) for p in self.parameters]
        return {"optimizer": type(self).__name__, "steps": self.steps, "state": state}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the work where `state_dict` left it; the steps that follow are the same to the last bit.

        Raises
        ------
        ValueError
            If it is of another optimizer, or of other parameters; nothing is changed then.
        """
        if not isinstance(state_dict, dict) or set(state_dict) != {"optimizer", "steps", "state"}:
            raise ValueError("this is not the state of an optimizer: expected what its state_dict() returned.")
        if state_dict["optimizer"] != type(self).__name__:
            raise ValueError(f"this is the state of {state_dict['optimizer']}, not of {type(self).__name__}.")
        state, steps = state_dict["state"], real_number(state_dict["steps"], "the state's number of steps")
        if steps < 0 or not steps.is_integer():
            raise ValueError(f"the state's number of steps must be a whole number >= 0, got {steps}.")
        if not isinstance(state, (list, tuple)) or not all(isinstance(s, (list, tuple)) for s in state):
            raise ValueError(f"the state of the parameters must be a list of tuples of arrays, got {shown(state)}.")
        state = [tuple(as_array(values(x), "an array of the state").copy() for x in s) for s in state]
        if len(state) != len(self.parameters):
            raise ValueError(f"this is the state of {len(state)} parameters, not of {len(self.parameters)}.")
        for p, s in zip(self.parameters, state, strict=True):
            got, expected = ([(x.shape, str(x.dtype)) for x in arrays] for arrays in (s, self._start(p)))
            if got and got != expected:
                raise ValueError(f"the state of {p.name or 'a parameter'} is {got}; expected {expected}.")
        self.steps = int(steps)
        self._state = {p: s for p, s in zip(self.parameters, state, strict=True) if s}


# What a step calls besides `_update`; a program of the step does what these do, and not what users put in their place.
NOT_RECORDED = {name: vars(Optimizer)[name] for name in ("step", "zero_grad", "_rate")}


def eager_step(
    model: Callable[[Array], Any], loss: Callable[[Any, Array], Any], optimizer: Optimizer, X: Array, Y: Array
) -> float:
    """The step of every training: cost, gradients, update. It returns the cost from before the update."""
    J = loss(model(X), Y)
    if not isinstance(J, Tensor):
        raise TypeError(
            f"the loss returned a {type(J).__name__}, not a Tensor, and there is no graph to learn from. Did it, or "
            "the model, use .data, .item() or float(), or forget to return?"
        )
    optimizer.zero_grad()
    J.backward()
    optimizer.step()
    cost: float = J.item()
    return cost


@functools.lru_cache(maxsize=4096)
def is_bias(name: str | None) -> bool:
    """Whether a parameter of this name is a bias, in the notation of the course: ``b1``, or ``inner.b1``."""
    return name is not None and re.fullmatch(r"(.*\.)?(b\d*|bias)", name) is not None


class SGD(Optimizer):
    """Gradient descent, the rule of the notes: ``W := W - alpha dW``.

    With momentum ``mu`` it follows a running sum of the gradients, ``V := mu V + dW`` and ``W := W - alpha V``;
    Nesterov's looks one step ahead, ``W := W - alpha (dW + mu V)``. (The course writes ``V := beta V + (1 - beta) dW``;
    the two agree with ``alpha = (1 - beta) alpha_course``.)

    Weight decay adds ``lambda W`` to ``dW``: the gradient of the course's L2 penalty, whose ``lambd / m`` is lambda
    here. As in the course it is for the weights, and leaves the biases alone: parameters called ``b``, ``b1``, ``b2``,
    ... or ``bias``, on their own or at the end of a longer name such as ``inner.b1``.

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
    weight_decay : float, default 0
        lambda, >= 0, of the weights.
    decay_biases : bool, default False
        Whether it is for the biases too.

    Raises
    ------
    TypeError, ValueError
        If there are no parameters, or a number is out of its range.

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
        weight_decay: float = 0,
        decay_biases: bool = False,
    ) -> None:
        super().__init__(parameters, lr)
        self.momentum = real_number(momentum, "momentum")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum must be in [0, 1), got {momentum}.")
        self.nesterov = boolean(nesterov, "nesterov")
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov=True needs a momentum > 0, such as momentum=0.9.")
        self.weight_decay = rate_of(weight_decay, "weight_decay")
        self.decay_biases = boolean(decay_biases, "decay_biases")

    def _start(self, p: Tensor) -> State:
        return (np.zeros_like(p._value),) if self.momentum else ()

    def _update(self, p: Tensor, rate: float) -> tuple[Array, State]:
        w, dw = p._value, p._grad
        if self.weight_decay and (self.decay_biases or not is_bias(p.name)):
            dw = dw + self.weight_decay * w
        if not self.momentum:
            return w - rate * dw, ()
        (v,) = self._state.get(p) or self._start(p)
        v = self.momentum * v + dw
        return w - rate * (dw + self.momentum * v if self.nesterov else v), (v,)


class Adam(Optimizer):
    """Adam, as in Kingma and Ba (2015), algorithm 1, with both moments corrected for their start at zero.

    ``m := beta1 m + (1 - beta1) dW``, ``v := beta2 v + (1 - beta2) dW^2``, and at step t
    ``W := W - alpha m/(1 - beta1^t) / (sqrt(v/(1 - beta2^t)) + epsilon)``.

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
    ) -> None:
        super().__init__(parameters, lr)
        if not isinstance(betas, (tuple, list)) or len(betas) != 2:
            raise ValueError(f"betas must be two numbers in [0, 1), got {shown(betas)}.")
        self.betas = real_number(betas[0], "the first of betas"), real_number(betas[1], "the second of betas")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas must be two numbers in [0, 1), got {betas}.")
        self.epsilon = real_number(epsilon, "epsilon")
        if not 0 < self.epsilon < math.inf:
            raise ValueError(f"epsilon must be a finite number > 0, got {epsilon}.")

    def _start(self, p: Tensor) -> State:
        w = p._value
        zeros = np.zeros_like(w, dtype=np.float32 if w.dtype.char == HALF else None)
        return zeros, zeros.copy(), np.zeros((), int)

    def _update(self, p: Tensor, rate: float) -> tuple[Array, State]:
        w, dw = p._value, p._grad
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


# -- schedules --------------------------------------------------------------------------------------------------------


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'tinygrad_dls.optim' has no attribute {name!r}")
    from tinygrad_dls import schedules  # on first use

    return getattr(schedules, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
