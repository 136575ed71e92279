"""What is called after each epoch: what it sees, and two that everybody writes, to stop early and to save the best."""

from __future__ import annotations

import inspect
import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinygrad_dls.engine.arrays import Array, boolean, positive_integer, rate_of
from tinygrad_dls.engine.errors import shown
from tinygrad_dls.nn.module import Module
from tinygrad_dls.optimizer import Optimizer
from tinygrad_dls.training.history import COST, VALIDATION_COST, History

__all__ = ["Callback", "Checkpoint", "EarlyStopping", "Epoch", "check_callbacks"]

Callback = Callable[["Epoch"], Any]
State = tuple[dict[str, Array], dict[str, Any]]  # of the model and of the optimizer
STOPPING = "early_stopping"  # in the extra of files

_FIELD = re.compile(r"\{[^{}]*\}")


@dataclass(frozen=True)
class Epoch:
    """What a callback sees after an epoch.

    Attributes
    ----------
    epoch : int
        Its number, from 0.
    cost : float
        The cost of the epoch.
    figures : dict of str to float
        All that is known of it, as ``history[-1]`` has it: ``"cost"``, ``"validation_cost"``,
        ``"validation_accuracy"``, and the metrics by name.
    history : History
        Of all epochs so far, this one included.
    model : Module
    optimizer : Optimizer
    rng : generator or None
        Where mini-batches are drawn from.
    callbacks : tuple of functions
        All that are called.
    """

    epoch: int
    cost: float
    figures: dict[str, float]
    history: History
    model: Module
    optimizer: Optimizer
    rng: Any = None
    callbacks: tuple[Callback, ...] = ()


def check_callbacks(callbacks: Any) -> None:
    """Refuse what cannot be called with an `Epoch`."""
    if not isinstance(callbacks, Sequence) or not all(map(callable, callbacks)):
        raise TypeError(f"fit: callbacks must be a list of functions, got {shown(callbacks)}.")
    for callback in callbacks:
        if isinstance(callback, type):
            raise TypeError(f"fit: callbacks: {callback.__name__} is a class. Make one: {callback.__name__}(...).")
        try:
            inspect.signature(callback).bind(None)
        except ValueError:  # a builtin, which does not say what it takes
            continue
        except TypeError as error:
            name = getattr(callback, "__name__", type(callback).__name__)
            raise TypeError(
                f"fit: the callback {name} does not take one argument: {error}. Write `def callback(now)`, with "
                "now.epoch, now.cost, now.figures, now.history, now.model and now.optimizer."
            ) from None
    paths = [os.path.realpath(callback._path) for callback in callbacks if isinstance(callback, Checkpoint)]
    if twice := next((path for path in paths if paths.count(path) > 1), None):
        raise ValueError(
            f"fit: callbacks: two Checkpoints write to {twice!r}, and each would replace what the other has written. "
            "Give each a file of its own."
        )


# -- the best epoch ---------------------------------------------------------------------------------------------------


class _Best:
    """The best value of a figure so far.

    Attributes
    ----------
    value : float
        NaN before the first.
    epoch : int
        Where it was; -1 before the first.
    """

    def __init__(self, caller: str, monitor: Any, mode: Any, min_delta: Any) -> None:
        if not isinstance(monitor, str):
            raise TypeError(f"{caller} looks at a figure by its name, such as 'validation_cost'; got {shown(monitor)}.")
        if mode not in (None, "min", "max"):
            raise ValueError(f"{caller}: mode is 'min' or 'max', got {shown(mode)}.")
        self.caller, self.monitor, self.mode = caller, monitor, mode
        self.min_delta = rate_of(min_delta, f"{caller}: min_delta")
        self.sign = 0.0
        self.value, self.epoch = math.nan, -1

    def begin(self, figures: dict[str, bool | None]) -> None:
        """Start anew, once it is known that there is such a figure, and which of its values are the better ones."""
        if self.monitor not in figures:
            named = "best" if self.caller == "Checkpoint" else "monitor"
            hint = f" Pass validation=(X, Y) to fit, or {named}='cost'." if set(figures) == {COST} else ""
            raise ValueError(
                f"{self.caller} looks at {self.monitor}, which this training does not have; it has "
                f"{', '.join(figures)}.{hint}"
            )
        large = figures[self.monitor] if self.mode is None else self.mode == "max"
        if large is None:
            raise ValueError(
                f"{self.caller} cannot tell whether a large {self.monitor} is good. Say so: mode='max', or mode='min'."
            )
        self.sign = -1.0 if large else 1.0
        self.value, self.epoch = math.nan, -1

    def improves(self, now: Epoch) -> bool:
        """Whether this epoch is the best so far; NaN never is."""
        value = now.figures[self.monitor]
        if math.isnan(value):
            return False
        better = math.isnan(self.value) or self.sign * (self.value - value) > self.min_delta
        if better:
            self.value, self.epoch = value, now.epoch
        return better


class EarlyStopping:
    """End the training when a figure has not improved for some epochs.

    Parameters
    ----------
    patience : int
        The number of epochs without an improvement that ends the training.
    monitor : str, default "validation_cost"
        The figure: ``"cost"``, ``"validation_accuracy"``, or a metric's name. The cost of an epoch is from before its
        update: so the best parameters by it are those that the epoch began with, or with mini-batches, whose cost is a
        mean over the epoch, those that it ended with.
    min_delta : float, default 0
        An improvement is a change by more than this.
    mode : "min" or "max", optional
        Whether small values are the better ones. Needed for metrics that are functions of yours.
    restore_best : bool, default True
        Whether the model gets back the parameters of its best epoch, and its running statistics, whenever the training
        ends, also by Ctrl-C; and the optimizer its moments and its number of steps, which schedules go by. So a
        training that goes on does so from that epoch, as if it had ended there; it draws other mini-batches, since
        random generators are where they are. Both are copied at each improvement.
    resume : dict, optional
        The ``extra`` of a file that `tinygrad_dls.Checkpoint` wrote beside an EarlyStopping of the same figure: a
        training that goes on from there knows the best epoch, and how long ago it was, as if it had never stopped.

    Attributes
    ----------
    best : float
        The best value.
    best_epoch : int
        Where it was; below 0 if it was before a training that was resumed, -1 for the last epoch of that.
    stopped : bool
        Whether the training was ended by this.

    Raises
    ------
    TypeError, ValueError
        If an argument is of a wrong kind; when the training begins, if it has no figure called `monitor`, or if
        `resume` is of another model.

    Examples
    --------
    >>> import tinygrad_dls as tg
    >>> X, Y = tg.datasets.planar_flower()
    >>> model = tg.nn.TwoLayerNetwork(2, 4, rng=0)
    >>> stop = tg.EarlyStopping(5)
    >>> history = tg.fit(model, X, Y, loss=tg.binary_cross_entropy_with_logits, epochs=5000, validation=(X, Y),
    ...                  optimizer=tg.optim.SGD(model.parameters(), lr=20), callbacks=[stop])
    >>> len(history) == stop.best_epoch + 6 < 5000
    True
    """

    def __init__(
        self,
        patience: int,
        *,
        monitor: str = VALIDATION_COST,
        min_delta: float = 0,
        mode: str | None = None,
        restore_best: bool = True,
        resume: Mapping[str, Any] | None = None,
    ) -> None:
        self._patience = positive_integer(patience, "EarlyStopping: patience")
        self._restore = boolean(restore_best, "EarlyStopping: restore_best")
        self._best = _Best("EarlyStopping", monitor, mode, min_delta)
        self._state: State | None = None  # of the best epoch
        self._met: State | None = None  # of the epoch's beginning, where the cost is watched
        self._resume = None if resume is None else self._of_file(resume)
        self.stopped = False

    @property
    def best(self) -> float:
        """The best value."""
        return self._best.value

    @property
    def best_epoch(self) -> int:
        """Where it was."""
        return self._best.epoch

    def begin(self, figures: dict[str, bool | None], model: Module, optimizer: Optimizer) -> None:
        """Start anew: `fit` calls it before the first epoch."""
        self._best.begin(figures)
        self._state, self.stopped = None, False
        here = model.state_dict(), optimizer.state_dict()
        self._met = here if self._restore and self._best.monitor == COST else None
        if self._resume is not None:
            known, self._resume = self._resume, None  # a second training starts anew
            if problems := model._differences(known.get("model", here[0])):
                raise ValueError(f"EarlyStopping: resume= is of another model: {'; '.join(problems)}.")
            self._best.value, self._best.epoch = known["best"], -1 - known["epochs_since"]
            if self._restore and not math.isnan(known["best"]):
                self._state = (known["model"], known["optimizer"]) if "model" in known else here

    def __call__(self, now: Epoch) -> bool:
        """Whether it is time to stop."""
        improves = self._best.improves(now)
        if self._restore and (improves or self._met is not None):
            ended = now.model.state_dict(), now.optimizer.state_dict()
            if improves:
                self._state = ended if self._met is None or now.rng is not None else self._met
            self._met = None if self._met is None else ended
        self.stopped = now.epoch - self.best_epoch >= self._patience
        return self.stopped

    def _kept(self, now: Epoch) -> dict[str, Any]:
        """What a file of the epoch keeps of it; the best parameters, unless they are those of the file."""
        known = {"best": self.best, "epochs_since": now.epoch - self.best_epoch, "restores": self._restore}
        if self._state is None or (self._met is None and self.best_epoch == now.epoch):
            return known
        return known | dict(zip(("model", "optimizer"), self._state, strict=True))

    def _of_file(self, extra: Any) -> dict[str, Any]:
        """What the file of a training keeps of an early stopping by the same figure."""
        kept = extra.get(STOPPING) if isinstance(extra, Mapping) else None
        monitor = self._best.monitor
        if not isinstance(kept, Mapping) or not isinstance(kept.get(monitor), Mapping):
            raise ValueError(
                f"EarlyStopping: resume= takes the extra of a file that tg.Checkpoint wrote beside an EarlyStopping of "
                f"{monitor}: model, optimizer, extra = tg.load(path). This one "
                + (f"holds those of {', '.join(kept)}." if isinstance(kept, Mapping) else "holds none.")
            )
        known = dict(kept[monitor])
        if self._restore and not known["restores"]:
            raise ValueError(
                "EarlyStopping: the file does not hold the best parameters, as its training had restore_best=False. "
                "Write that here, too."
            )
        return known

    def end(self, now: Epoch) -> None:
        """Give model and optimizer what they had at the best epoch: `fit` calls it when the training has ended."""
        if self._state is not None:
            of_model, of_optimizer = self._state
            now.model.load_state_dict(of_model)
            now.optimizer.load_state_dict(of_optimizer)
        self._state = self._met = None

    def __repr__(self) -> str:
        return f"EarlyStopping({self._patience}, monitor={self._best.monitor!r})"


class Checkpoint:
    """Save the training after epochs, by `tinygrad_dls.save`: a kill leaves the old file or the new one.

    ``model, optimizer, extra = tg.load(path)`` reads it, and the training goes on from there to the last bit; with
    mini-batches, pass their generator on: ``rng=extra["rng"]``; and to an `EarlyStopping` what it knew:
    ``resume=extra``. ``extra["figures"]`` is what was known of the epoch. It is called after all other callbacks, so
    that the file has what they change.

    Parameters
    ----------
    path : path
        Such as ``"best.safetensors"``. Where it has ``{epoch}`` in it, each epoch has a file of its own.
    every : int, default 1
        The file is written after every so many epochs, and after the last one.
    best : str, optional
        A figure, such as ``"validation_cost"``: the file is written only where it is the best so far, of the epochs
        that `every` leaves. It holds the model of the epoch's end, and the ``"cost"`` from before its updates.
    mode : "min" or "max", optional
        Whether small values of it are the better ones. Needed for metrics that are functions of yours.
    resume : bool, default False
        With `best`: whether a file that is there is replaced by a better one only, as where a training goes on.

    Raises
    ------
    TypeError, ValueError
        If an argument is of a wrong kind; when the training begins, if it has no figure called `best`.
    FileNotFoundError
        When the training begins: if the file's folder does not exist.

    Examples
    --------
    >>> import pathlib, tempfile, numpy as np, tinygrad_dls as tg
    >>> X, Y = tg.datasets.planar_flower()
    >>> model = tg.nn.LogisticRegression(2)
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "best.safetensors"
    >>> _ = tg.fit(model, X, Y, loss=tg.binary_cross_entropy_with_logits, epochs=20, validation=(X, Y),
    ...            optimizer=tg.optim.SGD(model.parameters(), lr=0.1),
    ...            callbacks=[tg.Checkpoint(path, best="validation_cost")])
    >>> tg.load(path)
    Saved: LogisticRegression; SGD after 20 steps; extra: figures
    >>> np.array_equal(tg.load(path).model.predict(X), model.predict(X))
    True
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        every: int = 1,
        best: str | None = None,
        mode: str | None = None,
        resume: bool = False,
    ) -> None:
        if not isinstance(path, (str, os.PathLike)) or not isinstance(os.fspath(path), str):
            raise TypeError(f"Checkpoint takes the path of a file, such as 'best.safetensors'; got {shown(path)}.")
        self._path = os.fspath(path)
        for field in _FIELD.findall(self._path):
            if field != "{epoch}":
                raise ValueError(
                    f"Checkpoint: {field} in {self._path!r} would be a part of the file's name as it stands: {{epoch}} "
                    "alone becomes the number of the epoch."
                )
        if Path(self._path).suffix in (".npz", ".npy", ".pt", ".pth", ".pkl"):
            raise ValueError(
                f"Checkpoint: {self._path!r} would hold what its name denies: tg.save writes safetensors. Write "
                f"{str(Path(self._path).with_suffix('.safetensors'))!r}."
            )
        self._every = positive_integer(every, "Checkpoint: every")
        self._best = None if best is None else _Best("Checkpoint", best, mode, 0)
        if best is None and mode is not None:
            raise ValueError("Checkpoint: mode= is for the figure that best= names.")
        self._resume = boolean(resume, "Checkpoint: resume")
        if self._resume and (best is None or "{epoch}" in self._path):
            raise ValueError("Checkpoint: resume=True is for one file of the best epoch, best='validation_cost' say.")
        self._written = -1

    def begin(self, figures: dict[str, bool | None], *_of: Any) -> None:
        """Start anew: `fit` calls it before the first epoch."""
        from tinygrad_dls.saving.container import library, read  # on first use, as `tinygrad_dls.save` is

        library()  # said before the training, not after an epoch, if it is missing
        file = Path(self._path)  # and so are these
        if file.is_dir():
            raise ValueError(f"Checkpoint: {self._path!r} is a folder; name a file in it, such as best.safetensors.")
        if "{epoch}" not in str(file.parent) and not file.parent.is_dir():
            raise FileNotFoundError(
                f"Checkpoint: there is no folder {str(file.parent)!r}. Make it first, or write elsewhere."
            )
        self._written = -1
        if self._best is not None:
            self._best.begin(figures)
            if self._resume and file.exists():
                reader = read(file)
                kept = reader.decode(reader.part(reader.text, "extra", dict).get("figures"))
                if not isinstance(kept, Mapping) or self._best.monitor not in kept:
                    raise ValueError(
                        f"Checkpoint: {self._path!r} says nothing of {self._best.monitor}, so nothing can be better "
                        "than it. Move it away, or leave out resume=True."
                    )
                self._best.value = kept[self._best.monitor]

    def __call__(self, now: Epoch) -> None:
        """Write the file, if it is time."""
        if (now.epoch + 1) % self._every == 0:
            self._write(now)

    def end(self, now: Epoch) -> None:
        """Write the last epoch, if it is not written yet: `fit` calls it at the end, but for Ctrl-C and errors."""
        if self._written != now.epoch and (now.epoch + 1) % self._every:
            self._write(now)

    def _write(self, now: Epoch) -> None:
        if self._best is not None and not self._best.improves(now):
            return
        from tinygrad_dls.saving import save

        more = {} if now.rng is None else {"rng": now.rng}
        stopping = [callback for callback in now.callbacks if isinstance(callback, EarlyStopping)]
        if stopping:
            more[STOPPING] = {callback._best.monitor: callback._kept(now) for callback in stopping}
        path = self._path.replace("{epoch}", str(now.epoch))
        save(path, now.model, now.optimizer, figures=now.figures, **more)
        self._written = now.epoch

    def __repr__(self) -> str:
        return f"Checkpoint({self._path!r})"
