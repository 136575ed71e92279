"""`compile`: a training step that is recorded once, and then replayed as planned NumPy calls."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy import ndarray

from tinygrad_dls import losses
from tinygrad_dls.arrays import Array, RecordingError, as_array
from tinygrad_dls.compiling.guards import Guard, refuse_counts
from tinygrad_dls.compiling.memory import Home
from tinygrad_dls.compiling.planning import plan
from tinygrad_dls.compiling.recorded import REMEMBERED, obstacle, recorded
from tinygrad_dls.compiling.running import Runner
from tinygrad_dls.compiling.threads import available
from tinygrad_dls.nn import Module
from tinygrad_dls.optim import Optimizer, eager_step
from tinygrad_dls.program import Program
from tinygrad_dls.tensor import _recording, values

__all__ = ["CompiledStep"]


class _Ready:
    """What there is for data of one shape and dtype: plans, or the reason why there is none."""

    def __init__(self, X: Array, Y: Array, guard: Guard) -> None:
        self.types = self.X_shape, self.X_dtype, self.Y_shape, self.Y_dtype = X.shape, X.dtype, Y.shape, Y.dtype
        self.guard = guard
        self.program: Program | None = None
        self.checks: list[Any] = []  # of the labels
        self.runner: Runner | None = None
        self.others: dict[bool, Runner] = {}  # by whether the counts of the optimizer's state are alike
        self.home: Any = None
        self.given: list[Any] = []  # parameters that are not updated
        self.rest: list[Any] = []  # parameters of the optimizer that are not updated
        self.obstacle = ""

    def serves(self, X: Array, Y: Array) -> bool:
        """Whether it is for data like these, and the model and the optimizer are what they were."""
        return (X.shape, X.dtype, Y.shape, Y.dtype) == self.types and self.guard.holds()


def _plain(x: Array) -> Array:
    """An array of a kind that NumPy derives from its own, such as a memory map, as one of these."""
    return np.asarray(x) if isinstance(x, np.ndarray) else x


class CompiledStep:
    """A recorded step of training: ``step(X, Y)`` updates the model, and returns the cost from before.

    Made by `tinygrad_dls.compile`.

    Attributes
    ----------
    model, loss, optimizer
        What it was made of. For others, compile another step.
    source : str
        The program that runs, for the data of the last call.
    """

    def __init__(
        self,
        model: Module,
        loss: Callable[[Any, Any], Any],
        optimizer: Optimizer,
        *,
        gradients: bool = False,
        fallback: bool = False,
        threads: int | None = None,
        tile: int | None = None,
    ) -> None:
        self._model, self._loss, self._optimizer = model, loss, optimizer
        self._keep, self._fallback, self._tile = gradients, fallback, tile
        self._threads = threads
        self._lock = threading.RLock()
        self._known: list[_Ready] = []
        self._homes: list[Home] = []
        self._now: _Ready | None = None
        self._passed: Callable[[], Any] = lambda: None  # the labels that were checked last

    def __call__(self, X: Array, Y: Array) -> float:
        """Compute the cost and its gradients, and update the parameters; return the cost from before the update."""
        with self._lock:
            if _recording.get() is False:  # under no_grad, with the error of the eager step
                return eager_step(self._model, self._loss, self._optimizer, X, Y)
            now, optimizer = self._now, self._optimizer
            if (  # spelled out, as is what follows: models are small, and each call of Python's counts
                now is None
                or X.__class__ is not ndarray
                or Y.__class__ is not ndarray
                or X.dtype is not now.X_dtype
                or Y.dtype is not now.Y_dtype
                or X.shape != now.X_shape
                or Y.shape != now.Y_shape
                or not now.guard.holds()
            ):
                X, Y = (_plain(as_array(values(x), name)) for x, name in ((X, "X"), (Y, "Y")))
                now = self._found(X, Y)
            if self._passed() is not Y:
                self._check(now, Y)
            runner, home = now.runner, now.home
            if runner is None:
                J = eager_step(self._model, self._loss, optimizer, X, Y)
                self._remember(now)  # not before: with bad data, the eager step fails too
                now.guard.accept()  # as the step itself has left it
                return J
            rate = optimizer._rate()
            home.ready(optimizer)
            cost: float
            counts: Sequence[Any] = ()
            gradients: Sequence[Array] = ()
            if runner.plan.is_plain:
                if runner.version is not home.pair.version:
                    runner.bind(home)
                cost = runner.run[home.now](X, Y, rate)
            else:
                cost, counts, gradients = self._with_more(now, X, Y, rate)
            if cost != cost:  # NaN, of an infinite logit perhaps: nothing is installed yet, and the engine knows limits
                return eager_step(self._model, self._loss, optimizer, X, Y)
            steps = optimizer.steps + 1
            try:
                home.install(optimizer, steps, counts, gradients)
            except BaseException:  # Ctrl-C between two parameters: finish what was begun
                home.install(optimizer, steps, counts, gradients)
                raise
            home.now = 1 - home.now
            for p in now.rest:
                p._grad = None
            return cost

    def _with_more(self, now: _Ready, X: Array, Y: Array, rate: float) -> tuple[float, list[Any], list[Array]]:
        """The cost, the optimizer's new counts and the gradients, where there are any."""
        counts = now.home.counts(self._optimizer)
        runner = self._for_counts(now, counts)
        if runner.version is not now.home.pair.version:
            runner.bind(now.home)
        n = runner.plan.counts
        result = runner.run[now.home.now](X, Y, *[p._value for p in now.given], rate, *counts[:n])
        cost, *others = result if isinstance(result, tuple) else (result,)
        if n and runner.plan.is_flat:  # one number stands for all
            return cost, others[:n] * len(now.home.parameters), others[n:]
        return cost, others[:n], others[n:]

    # -- what is known ------------------------------------------------------------------------------------------------

    def _found(self, X: Array, Y: Array) -> _Ready:
        """The plans for these data, and for the model and the optimizer as they are; made if there are none."""
        self._passed = lambda: None
        for ready in self._known:
            if ready.serves(X, Y):
                self._now = ready
                return ready
        guard = Guard(self._model, self._loss, self._optimizer)
        ready = _Ready(X, Y, guard)
        self._now = None
        try:
            try:
                if type(X) is not np.ndarray or type(Y) is not np.ndarray:
                    kinds = type(X).__name__, type(Y).__name__
                    raise RecordingError(f"compiled steps take NumPy arrays, got {', '.join(kinds)}.")
                refuse_counts(self._optimizer)
                ready.program, ready.checks = recorded(self._model, self._loss, self._optimizer, X, Y)
            except BaseException:
                guard.restore()
                raise
            guard.refuse_changes()
            guard.forget(ready.program.tensors)
            self._plan(ready)
            if self._fallback:
                self._try(ready, X, Y)
        except Exception as error:  # whatever cannot be recorded or planned may still run eagerly
            if not self._fallback:
                raise
            ready = _Ready(X, Y, guard)
            ready.obstacle = obstacle(error)
            return ready
        self._remember(ready)
        return ready

    def _try(self, ready: _Ready, X: Array, Y: Array) -> None:
        """Run a plan once for nothing: what fails only when it runs. It writes into memory that nobody sees."""
        ready.home.ready(self._optimizer)
        self._with_more(ready, X, Y, self._optimizer._rate())

    def _remember(self, ready: _Ready) -> None:
        if self._now is not ready:
            self._known = [*(x for x in self._known[-REMEMBERED:] if x is not ready), ready]
            self._now = ready

    def _plan(self, ready: _Ready, alike: bool = True) -> None:
        step = ready.program
        assert step is not None
        m = next((shape[1] for shape in (ready.X_shape, ready.Y_shape) if len(shape) == 2), None)
        planned = plan(step, m, alike=alike, gradients=self._keep, tile=self._tile)
        ready.runner = Runner(planned, self._threads or (available() if planned.is_shared else 1))
        ready.others[alike] = ready.runner
        tensors = {call.name: p for call, p in zip(step.parameters, step.tensors, strict=True)}
        names = planned.layout.names
        ready.given = [p for name, p in tensors.items() if name not in names]
        parameters = [tensors[name] for name in names]
        kinds = [x.dtype == planned.layout.dtype for x in self._optimizer._start(parameters[0])]
        for home in [ready.home, *self._homes]:
            if home is not None and home.serves(planned.layout, parameters, kinds):
                ready.home = home
                break
        else:
            ready.home = Home(planned.layout, parameters, names, kinds)
            self._homes = [*self._homes[-REMEMBERED:], ready.home]
        updated = set(parameters)
        ready.rest = [p for p in self._optimizer.parameters if p not in updated]

    def _for_counts(self, ready: _Ready, counts: list[Any]) -> Runner:
        """The plan for Adam's counts of steps: of one number for all parameters, or of one for each."""
        alike = all(int(x) == int(counts[0]) for x in counts)
        if alike not in ready.others:
            self._plan(ready, alike)
        return ready.others[alike]

    def _check(self, ready: _Ready, Y: Array) -> None:
        """Refuse labels that the eager loss would refuse; labels that have passed are remembered."""
        for check in ready.checks:
            losses._check_once(Y, check)
        try:
            self._passed = weakref.ref(Y)
        except TypeError:
            self._passed = lambda: None

    # -- what it says of itself ---------------------------------------------------------------------------------------

    @property
    def model(self) -> Module:
        """The model that is trained."""
        return self._model

    @property
    def loss(self) -> Callable[[Any, Any], Any]:
        """The function of the model's output and the labels that is minimised."""
        return self._loss

    @property
    def optimizer(self) -> Optimizer:
        """What updates the parameters."""
        return self._optimizer

    @property
    def source(self) -> str:
        """The program that runs, for the data of the last call."""
        runner = self._last().runner
        return "" if runner is None else runner.plan.text()

    def explain(self) -> str:
        """What was recorded, fused, reused and tiled, for the data of the last call; and why something was not."""
        ready = self._last()
        return f"Runs eagerly: {ready.obstacle}" if ready.runner is None else ready.runner.explained()

    def _last(self) -> _Ready:
        if self._now is None:
            raise RuntimeError("the step has not run yet, so nothing is recorded; call step(X, Y) before.")
        return self._now

    def __repr__(self) -> str:
        loss = getattr(self._loss, "__name__", type(self._loss).__name__)
        return f"CompiledStep({type(self._model).__name__}, {loss}, {type(self._optimizer).__name__})"
