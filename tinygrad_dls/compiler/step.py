"""`compile`: a training step that is recorded once, and then replayed as planned NumPy calls."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from threading import get_ident
from typing import Any

import numpy as np
from numpy import ndarray

from tinygrad_dls.compiler.checking import (
    COST,
    UPDATE,
    Results,
    eager_results,
    fewer_columns,
    of_program,
    rounded_anew,
    rounding,
)
from tinygrad_dls.compiler.compiled import Compiled, Ready
from tinygrad_dls.compiler.guards import Dependencies
from tinygrad_dls.compiler.native.program import planned
from tinygrad_dls.compiler.plan import plan
from tinygrad_dls.compiler.recording import Guard, difference_of, record, refuse_counts
from tinygrad_dls.compiler.running import Runner, back_restored
from tinygrad_dls.compiler.store import ParameterStore
from tinygrad_dls.engine.arrays import Array, as_array
from tinygrad_dls.engine.devices import called_kind
from tinygrad_dls.engine.errors import RecordingError
from tinygrad_dls.engine.recording import recording
from tinygrad_dls.engine.tensor import values
from tinygrad_dls.ir.beside import Buffer
from tinygrad_dls.ir.program import Program
from tinygrad_dls.nn import labels
from tinygrad_dls.nn.columns import refuse_frame
from tinygrad_dls.nn.models import columns_of
from tinygrad_dls.nn.module import Module
from tinygrad_dls.optimizer import Optimizer, eager_step
from tinygrad_dls.threads import Training

__all__ = ["CompiledStep"]

MANY = 2**16  # examples from which on no eager step is taken beside one in C, but one of NumPy's calls in tiles
LITTLE = 2**24  # bytes that these calls may need: without tiles, it is memory for all examples
STORES = 32  # layouts of parameters whose memory is kept: which of them are frozen, and the like


class _Ready(Ready):
    """What there is for data of one shape and dtype."""

    def __init__(self, X: Array, Y: Array, guard: Dependencies, reason: str = "") -> None:
        super().__init__(reason)
        self.types = self.X_shape, self.X_dtype, self.Y_shape, self.Y_dtype = X.shape, X.dtype, Y.shape, Y.dtype
        self.guard = guard
        self.program: Program | None = None
        self.checks: list[Any] = []  # of the labels
        self.others: dict[bool, Runner] = {}  # by whether the counts of the optimizer's state are alike
        self.in_tiles: dict[Runner, Runner | None] = {}  # what C is compared with, if the examples are many
        self.store: Any = None
        self.kept: list[Buffer] = []  # what modules keep, such as a running mean
        self.moved: list[Buffer] = []  # of these, what a step moves
        self.given: list[Any] = []  # parameters that are not updated
        self.rest: list[Any] = []  # parameters of the optimizer that are not updated

    def keep(self, arrays: Sequence[Array]) -> None:
        """Give modules what they keep, as a step has moved it."""
        for buffer, array in zip(self.moved, arrays, strict=True):
            object.__setattr__(buffer.module, buffer.attribute, array)


def _plain(x: Array) -> Array:
    """An array of a kind that NumPy derives from its own, such as a memory map, as one of these."""
    return np.asarray(x) if isinstance(x, np.ndarray) else x


def _nothing() -> None:
    """A reference to nothing."""


def _reference(x: Any) -> Callable[[], Any]:
    """A weak reference, where the type of x has such."""
    try:
        return weakref.ref(x)
    except TypeError:
        return _nothing


class CompiledStep(Compiled):
    """A recorded step of training: ``step(X, Y)`` updates the model, and returns the cost from before.

    Made by `tinygrad_dls.compile`.

    Attributes
    ----------
    model, loss, optimizer
        What it was made of. For others, compile another step.
    source : str
        The program that runs, for the data of the last call.
    """

    noun, how_to_call = "step", "step(X, Y)"
    how_to_pickle = (
        ": it is bound to the arrays of its parameters. Pickle (step.model, step.optimizer) together, and compile "
        "again: tg.compile(model, loss, optimizer)."
    )
    instead = "Take eager steps, and report it with the model and the loss."

    def __init__(
        self,
        model: Module,
        loss: Callable[[Any, Any], Any],
        optimizer: Optimizer,
        *,
        gradients: bool,
        tile: int | None,
        **of_both: Any,
    ) -> None:
        super().__init__(**of_both)
        self._model, self._loss, self._optimizer = model, loss, optimizer
        self._keep, self._tile = gradients, tile
        self._trainings: dict[int, Training] = {}  # by thread: its work on the parameters
        self._stores: list[ParameterStore] = []
        self._now: _Ready | None
        self._passed: Callable[[], Any] = _nothing  # the labels that were checked last
        self._whole: Callable[[], Any] = _nothing  # the array that they are cut from, if all of it has passed
        self._rate: Any = object()  # the learning rate that was checked last, if it is a number

    def __call__(self, X: Array, Y: Array) -> float:
        """Compute the cost and its gradients, and update the parameters; return the cost from before the update.

        Raises
        ------
        RuntimeError
            If another thread is training the model.
        """
        training = self._trainings.get(get_ident()) or self._new_training()
        try:
            try:
                training.busy = True  # as `Training.begin`, spelled out: in this order, and then a look at each cell
                for cell in training.cells:
                    if cell.training is not training:
                        training.begin()
                    cell.zeroed = training.zeroed
                if recording.get() is False:  # under no_grad, with the error of the eager step
                    return eager_step(self._model, self._loss, self._optimizer, X, Y)
                now, optimizer = self._now, self._optimizer
                if (  # spelled out, as is what follows: models are small, and each call of Python's counts
                    now is None
                    or type(X) is not ndarray  # whatever it says of itself: C reads it
                    or type(Y) is not ndarray
                    or X.dtype is not now.X_dtype
                    or Y.dtype is not now.Y_dtype
                    or X.shape != now.X_shape
                    or Y.shape != now.Y_shape
                    or not (now.guard.unchanged() or now.guard.holds())
                ):
                    X, Y = self._arrays(X, Y)
                    now = self._found(X, Y)
                if self._passed() is not Y:
                    self._check(now, Y)
                runner, store = now.runner, now.store
                if runner is None:
                    J = eager_step(self._model, self._loss, optimizer, X, Y)
                    self._remember(now)  # not before: with bad data, the eager step fails too
                    now.guard.accept()  # as the step itself has left it
                    return J
                rate = optimizer.lr
                if rate is not self._rate:
                    rate = self._checked_rate()
                store.ready(optimizer)
                cost: float
                counts: Sequence[Any] = ()
                gradients: Sequence[Array] = ()
                moved: Sequence[Array] = ()
                try:
                    if runner.plan.is_plain:
                        if runner.version is not store.pair.version:
                            runner.bind(store)
                        cost = runner.run[store.front](X, Y, rate)
                    else:
                        cost, counts, gradients, moved = self._with_more(now, X, Y, rate)
                except Exception as error:
                    self._fail(error, lambda: self._loss(self._model(X), Y))
                if cost != cost:  # NaN, of an infinite logit perhaps: nothing is installed yet, the engine knows limits
                    return self._limit(X, Y)
                now.left -= 1
                if not now.left:
                    self._compare(now, X, Y, rate, cost)
                back, steps = 1 - store.front, optimizer.steps + 1
                try:
                    store.install(back, optimizer, steps, counts, gradients)
                    if moved:
                        now.keep(moved)
                except BaseException:  # Ctrl-C between two parameters: finish what was begun
                    store.install(back, optimizer, steps, counts, gradients)
                    now.keep(moved)
                    raise
                for p in now.rest:
                    p._grad = None
                return cost
            finally:
                training.busy = False
        except BaseException:  # Ctrl-C may come just there
            training.busy = False
            raise

    def _arrays(self, X: Any, Y: Any) -> list[Array]:
        """X and Y as arrays; of a DataFrame, the columns that the model knows by name."""
        X = columns_of(self._model, X)
        for x, name in ((X, "X"), (Y, "Y")):
            refuse_frame(x, "a compiled step", name)
        return [_plain(as_array(values(x), name)) for x, name in ((X, "X"), (Y, "Y"))]

    def _limit(self, X: Array, Y: Array) -> float:
        """The eager step, where the compiled one gives no number; gradients are left as by the compiled one."""
        cost = eager_step(self._model, self._loss, self._optimizer, X, Y)
        if not self._keep:
            self._optimizer.zero_grad()
        return cost

    def _checked_rate(self) -> float:
        """The learning rate, or an error; a float is the same until another one is assigned."""
        rate = self._optimizer._rate()
        if type(rate) is float and rate is self._optimizer.lr:
            self._rate = rate
        return rate

    def _new_training(self) -> Training:
        """What keeps other threads from training these parameters, for this thread; `__call__` spells it out."""
        training = Training({*self._model.parameters(), *self._optimizer.parameters}, "a compiled step")
        try:
            training.begin()
        finally:
            training.end()
        self._trainings[get_ident()] = training
        return training

    def _with_more(self, now: _Ready, X: Array, Y: Array, rate: float, runner: Any = None) -> tuple[Any, Any, Any, Any]:
        """The cost, the optimizer's new counts, the gradients, and what modules keep, where there are any."""
        counts = now.store.counts(self._optimizer)
        kept = [buffer.array for buffer in now.kept] if now.kept else ()
        runner = runner or self._for_counts(now, counts)
        if runner.version is not now.store.pair.version:
            runner.bind(now.store)
        n = runner.plan.counts
        result = runner.run[now.store.front](X, Y, *[p._value for p in now.given], *kept, rate, *counts[:n])
        cost, *others = result if isinstance(result, tuple) else (result,)
        end = len(others) - len(now.moved)
        moved = others[end:] if now.moved else ()
        if n and runner.plan.is_flat:  # one number stands for all
            return cost, others[:n] * len(now.store.parameters), others[n:end], moved
        return cost, others[:n], others[n:end], moved

    # -- compared with the eager step ---------------------------------------------------------------------------------

    def _compare(self, now: _Ready, X: Array, Y: Array, rate: float, cost: float) -> None:
        """Raise if the eager step gives other numbers; nothing is installed yet."""
        assert now.turns is not None
        assert now.runner is not None
        assert now.program is not None
        program = now.program
        ran = now.runner.plan
        many = ran.native is not None and X.shape[-1] > MANY
        of_all = self._in_tiles(now, X, Y, rate, cost) if many else None
        if ran.whole is not None and not many:
            got, results, sizes = self._updates(now, X, Y, rate, cost)
        else:
            X, Y = fewer_columns(X), fewer_columns(Y)
            got, results = self._gradients(now, X, Y)
            sizes = {}
        expected = results()

        def changed() -> str | None:
            try:
                again, _ = record(self._model, self._loss, self._optimizer, X, Y)
            except RecordingError as error:
                return str(error)
            return difference_of(program, again)

        def rounded(rng: np.random.Generator) -> Results:
            with rounded_anew(program.tensors, rng):
                return results()

        def spread() -> Mapping[str, float]:
            return rounding(rounded, expected)

        if of_all is not None:  # two roundings of one program: they are looked into where one of them can be wrong
            apart = now.turns.differing(*of_all)
            if found := {name: x for name, x in apart.items() if name == COST or x == np.inf}:
                self._judge(now, found, of_all[:2], changed, spread)
        self._judge(now, now.turns.differing(got, expected, sizes), (got, expected), changed, spread)

    def _in_tiles(self, now: _Ready, X: Array, Y: Array, rate: float, cost: float) -> Any:
        """What C has computed of many examples, what NumPy's calls compute of them, and the sizes of the parameters."""
        assert now.program is not None
        runner = self._for_counts(now, now.store.counts(self._optimizer))
        if runner not in now.in_tiles:
            alike = runner is now.others.get(True)
            found = Runner(plan(now.program, runner.plan.m, alike=alike, gradients=self._keep), 1)
            alike = found.plan.layout == runner.plan.layout
            now.in_tiles[runner] = found if alike and found.bytes <= LITTLE else None
        if now.in_tiles[runner] is None:
            return None
        got, _, sizes = self._updates(now, X, Y, rate, cost)
        with back_restored(now.store), np.errstate(all="ignore"):
            cost, *_ = self._with_more(now, X, Y, rate, now.in_tiles[runner])
            return got, self._updates(now, X, Y, rate, cost)[0], sizes

    def _updates(
        self, now: _Ready, X: Array, Y: Array, rate: float, cost: float
    ) -> tuple[Results, Callable[[], Results], dict[str, float]]:
        """What the step has computed; what computes the same eagerly; and the sizes of the parameters."""
        store, optimizer = now.store, self._optimizer
        results: Results = {COST: cost}
        sizes = {}
        for name, p, new in zip(
            store.names, store.parameters, store.pair.buffers[1 - store.front][0].patterns, strict=True
        ):
            results[f"{UPDATE}{name}"] = new - p._value
            sizes[f"{UPDATE}{name}"] = float(np.maximum.reduce(np.abs(p._value), axis=None, initial=0))
        parameters = dict(zip(store.names, store.parameters, strict=True))
        return results, lambda: eager_results(lambda: self._loss(self._model(X), Y), parameters, optimizer, rate), sizes

    def _gradients(self, now: _Ready, X: Array, Y: Array) -> tuple[Results, Callable[[], Results]]:
        """What the program of the step gives for these data, and what computes the same eagerly."""
        program = now.program
        assert program is not None
        parameters = {c.name: p for c, p in zip(program.parameters, program.tensors, strict=True)}
        gradients = {name[1:]: call for name, call in program.backward if name[1:] in parameters}
        parameters = {name: parameters[name] for name in gradients}
        inputs = dict(zip(program.data, (X, Y), strict=True))
        inputs |= {c: p._value for c, p in zip(program.parameters, program.tensors, strict=True)}
        inputs |= {buffer.before: buffer.array for buffer in program.buffers}
        got = of_program(program.cost, gradients, inputs, program.trace.dimension, X.shape[-1])
        return got, lambda: eager_results(lambda: self._loss(self._model(X), Y), parameters)

    # -- what is known ------------------------------------------------------------------------------------------------

    def _found(self, X: Array, Y: Array) -> _Ready:
        """The plans for these data, and for the model and the optimizer as they are; made if there are none."""
        self._passed = self._whole = _nothing
        found: _Ready | None = self._known.find((X.shape, X.dtype, Y.shape, Y.dtype))
        if found is not None and type(X) is type(Y) is np.ndarray:
            self._now = found
            self._keep_trainings_of(found.guard)
            return found
        if not (X.size and Y.size):  # a plan moves quotients to where an empty sum is divided by zero
            return _Ready(X, Y, Dependencies(()), "there are no examples, or no features.")
        self._now = None
        guard, ready, reason = self._learned(
            self._captured,
            lambda: self._recorded(X, Y),
            lambda guard, found: self._made_ready(_Ready(X, Y, guard), found, X, Y),
            lambda: self._loss(self._model(X), Y),
        )
        if ready is None:
            return _Ready(X, Y, guard, reason)
        self._remember(ready)
        return ready

    def _captured(self) -> Guard:
        guard = Guard(self._model, self._loss, self._optimizer, self._constants)
        self._keep_trainings_of(guard)
        return guard

    def _recorded(self, X: Array, Y: Array) -> tuple[Program, list[Any]]:
        """The program, and the checks of labels."""
        if type(X) is not np.ndarray or type(Y) is not np.ndarray:
            raise RecordingError(
                f"compiled steps take NumPy arrays, got {called_kind(X)} and {called_kind(Y)}. Take eager steps of "
                "these: optim.eager_step(model, loss, optimizer, X, Y), fit without compile=; or bring X and Y to the "
                "host, and the model: model.to(cupy.asnumpy)."
            )
        refuse_counts(self._optimizer)
        return record(self._model, self._loss, self._optimizer, X, Y)

    def _made_ready(self, ready: _Ready, found: tuple[Program, list[Any]], X: Array, Y: Array) -> _Ready:
        """The plans for a program."""
        ready.program, ready.checks = program, _ = found
        ready.kept = program.buffers
        ready.moved = [buffer for buffer in program.buffers if buffer.after is not None]
        ready.guard.forget(program.tensors)
        ready.guard.hasten()
        self._plan(ready)
        assert ready.runner is not None
        ready.take_turns(ready.runner.plan.layout.dtype)
        if self._fallback:
            self._try(ready, X, Y)
        return ready

    def _keep_trainings_of(self, guard: Dependencies) -> None:
        """Forget the threads' work on other parameters than there are now."""
        parameters = {*(guard.model if isinstance(guard, Guard) else ()), *self._optimizer.parameters}
        self._trainings = {
            t: training for t, training in self._trainings.items() if set(training.parameters) == parameters
        }

    def _try(self, ready: _Ready, X: Array, Y: Array) -> None:
        """Run a plan once for nothing: what fails only when it runs. It writes into memory that nobody sees.

        A schedule is not asked for the rate, as it may count how often it is asked.
        """
        ready.store.ready(self._optimizer)
        with np.errstate(all="ignore"):
            self._with_more(ready, X, Y, 0.0)

    def _remember(self, ready: _Ready) -> None:
        if self._now is not ready:
            self._known.add(ready.types, ready.guard, ready, ready.bytes)
            self._now = ready

    def _plan(self, ready: _Ready, alike: bool = True) -> None:
        step = ready.program
        assert step is not None
        m = next((shape[1] for shape in (ready.X_shape, ready.Y_shape) if len(shape) == 2), None)
        options: dict[str, Any] = {"alike": alike, "gradients": self._keep, "tile": self._tile}
        found = planned(lambda native: plan(step, m, native=native, **options), self._backend)
        if found.native is not None and self._tile:
            found.lines.append("The tile that was asked for is of NumPy's calls: C takes its own.")
        ready.runner = Runner(found, self._threads)
        ready.others[alike] = ready.runner
        tensors = {call.name: p for call, p in zip(step.parameters, step.tensors, strict=True)}
        names = found.layout.names
        ready.given = [p for name, p in tensors.items() if name not in names]
        parameters = [tensors[name] for name in names]
        for store in [ready.store, *self._stores]:
            if store is not None and store.serves(found.layout, parameters, found.kinds):
                ready.store = store
                break
        else:
            ready.store = ParameterStore(found.layout, parameters, names, found.kinds)
            self._stores = [*self._stores[-STORES:], ready.store]
        updated = set(parameters)
        ready.rest = [p for p in self._optimizer.parameters if p not in updated]

    def _for_counts(self, ready: _Ready, counts: list[Any]) -> Runner:
        """The plan for Adam's counts of steps: of one number for all parameters, or of one for each."""
        runner = ready.others[True]
        if not runner.plan.is_flat or counts == counts[: runner.plan.counts] * len(ready.store.parameters):
            return runner
        if False not in ready.others:
            self._plan(ready, alike=False)
        return ready.others[False]

    def _check(self, ready: _Ready, Y: Array) -> None:
        """Refuse labels that the eager loss would refuse; remember those that pass, and what they are cut from."""
        whole = labels.cut_from(Y)
        if self._whole() is not whole:
            passed = [labels.check_once(Y, check) for check in ready.checks]
            self._whole = _reference(whole if all(x is whole for x in passed) else None)
        self._passed = _reference(Y)

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

    def __repr__(self) -> str:
        loss = getattr(self._loss, "__name__", type(self._loss).__name__)
        return f"CompiledStep({type(self._model).__name__}, {loss}, {type(self._optimizer).__name__})"
