"""What all optimizers share: the step, which happens whole or not at all, and exact resumption.

An optimizer is one pure function of a parameter, from its array, gradient and state to the new ones. `step` computes
all the updates before it installs any, and replaces the arrays instead of writing into them: a graph still in use
keeps the values it was computed from, and an interrupted step leaves the model as it was. The rules themselves stand in
`tinygrad_dls.optim`.
"""

from __future__ import annotations

import functools
import math
from _thread import get_ident
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias

import numpy as np

from tinygrad_dls.engine.arrays import HALF, Array, as_array, boolean, rate_of, real_number
from tinygrad_dls.engine.devices import beside, on_device
from tinygrad_dls.engine.errors import shown
from tinygrad_dls.engine.tensor import Tensor, values
from tinygrad_dls.nn.regularisation import is_weight
from tinygrad_dls.threads import Cell, Mark, Parameters, cells_of, is_running, two_threads

__all__ = ["NOT_RECORDED", "OF_THREADS", "Optimizer", "Schedule", "State", "eager_step"]

Schedule: TypeAlias = Callable[[int], float]
State: TypeAlias = tuple[Array, ...]  # of one parameter: none, its velocity, or its two moments and its count of steps

OF_THREADS = ("_cell", "_mark")  # attributes of an optimizer that are no hyperparameters, and are not pickled


class Optimizer:
    """What SGD, RMSprop and Adam share: parameters, learning rate, weight decay, the step, and exact resumption."""

    weight_decay: float | Mapping[str, float]
    decay_biases: bool
    clip_norm: float | None
    clip_value: float | None
    letters = ""  # of the parts of its state, where they are others than those of their number

    _cell = Cell()  # of all parameters, if there is one
    _mark: Mark = (0, Parameters())  # what this optimizer leaves in it

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float | Schedule,
        *,
        weight_decay: float | Mapping[str, float] = 0,
        decay_biases: bool = False,
        clip_norm: float | None = None,
        clip_value: float | None = None,
    ) -> None:
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
        self.weight_decay = self._decay_of(weight_decay)
        self.decay_biases = boolean(decay_biases, "decay_biases")
        if self.decay_biases and isinstance(self.weight_decay, dict):
            raise ValueError("decay_biases=True has no effect where weight_decay is a dict: name the biases in it.")
        self.clip_norm, self.clip_value = _limit(clip_norm, "clip_norm"), _limit(clip_value, "clip_value")
        if self.clip_norm is not None and self.clip_value is not None:
            raise ValueError("clip_norm and clip_value are two ways to clip gradients: leave one of them out.")

    def _decay_of(self, decay: Any) -> Any:
        """A number for all weights, or a dict of numbers for the parameters that it names."""
        if not isinstance(decay, Mapping):
            return rate_of(decay, "weight_decay")
        names = [p.name for p in self.parameters]
        for name in decay:
            if names.count(name) != 1:
                there = ", ".join(str(n) for n in dict.fromkeys(names) if n) or "without names"
                what = "no parameter is" if name not in names else "several parameters are"
                raise ValueError(f"weight_decay: {what} called {shown(name)}; the parameters are {there}.")
        return {name: rate_of(rate, f"weight_decay of {name}") for name, rate in decay.items()}

    def _decayed(self, p: Tensor, dw: Array) -> Array:
        """The gradient with that of the penalty, ``dW + lambda W``, for what the weight decay is for."""
        decay: Any = self.weight_decay
        if isinstance(decay, Mapping):
            decay = self._decay_of(decay).get(p.name, 0)  # checked again: a model may have renamed its parameters
        elif not self.decay_biases and not is_weight(p.name):
            return dw
        return dw + decay * p._value if decay else dw

    @contextmanager
    def _clipping(self, parameters: Iterable[Tensor]) -> Iterator[None]:
        """Within the block, these parameters have the gradients that the rule is to see; then their own again."""
        if self.clip_norm is None and self.clip_value is None:
            yield
            return
        before = [(p, p._grad) for p in parameters if p._grad is not None]
        try:
            for (p, _), dw in zip(before, self._clipped([dw for _, dw in before]), strict=True):
                p._grad = dw
            yield
        finally:
            for p, dw in before:
                p._grad = dw

    def _clipped(self, gradients: list[Array]) -> list[Array]:
        """The gradients, each entry within the limit; or all of them scaled to the norm that they may have."""
        if self.clip_value is not None:
            return [np.clip(dw, -self.clip_value, self.clip_value) for dw in gradients]
        if self.clip_norm is None or not gradients:
            return gradients
        wide = [dw.astype(np.float32) if dw.dtype.char == HALF else dw for dw in gradients]
        squares = [np.sum(dw * dw) for dw in wide]
        norm = np.sqrt(functools.reduce(np.add, squares))
        scale = self.clip_norm / np.maximum(norm, self.clip_norm)
        scaled = [dw * scale for dw in wide]
        return [x if x.dtype == dw.dtype else x.astype(dw.dtype) for x, dw in zip(scaled, gradients, strict=True)]

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
        try:
            updates = self._updates(rate)
        except TypeError as error:
            self._refuse_moments_elsewhere(error)
            raise
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

    def _updates(self, rate: float) -> list[tuple[Tensor, Array, tuple[Array, State]]]:
        """Of each parameter with a gradient: its array, and its new array and state."""
        if self.clip_norm is None and self.clip_value is None:
            return [(p, p._value, self._update(p, rate)) for p in self.parameters if p._grad is not None]
        with self._clipping(self.parameters):
            return [(p, p._value, self._update(p, rate)) for p in self.parameters if p._grad is not None]

    def _refuse_moments_elsewhere(self, error: TypeError) -> None:
        """Raise if a parameter has been moved since the last step, and its moments have not."""
        for p, s in self._state.items():
            if any(on_device(x) != on_device(y) for x, y in zip(s, self._start(p), strict=True)):
                who = type(self).__name__
                raise TypeError(
                    f"{who}.step: {p.name or 'a parameter'} has been moved, and what {who} remembers of it has not. "
                    "Let it follow: optimizer.load_state_dict(optimizer.state_dict())."
                ) from error

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

        Moments come to lie where their parameters do: on a device, if `Module.to` has moved them there.

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
        state = [tuple(map(beside, s, self._start(p))) for p, s in zip(self.parameters, state, strict=True)]
        self.steps = int(steps)
        self._state = {p: s for p, s in zip(self.parameters, state, strict=True) if s}


def _limit(x: Any, name: str) -> float | None:
    """What gradients are clipped to; None, if they are not."""
    if x is None:
        return None
    limit = real_number(x, name)
    if not 0 < limit < math.inf:
        raise ValueError(f"{name} must be a finite number > 0, or None, got {x}.")
    return limit


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
