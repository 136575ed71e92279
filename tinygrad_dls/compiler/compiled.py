"""What compiled steps and compiled functions share: one way to record, to compare with the eager run, and to explain.

Both remember programs by the types of their data, together with the captured state that these are right for. Both
record with that state watched, and put back what the recording has changed; both compare themselves with the eager run
now and then, and tell rounding from a change; both run eagerly, with a fallback, what cannot be recorded.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NoReturn, TypeVar

import numpy as np

from tinygrad_dls.compiler.checking import Results, Turns, beyond_rounding, stale, unexplained, wrong
from tinygrad_dls.compiler.guards import Dependencies
from tinygrad_dls.compiler.native.building import NoCompiler
from tinygrad_dls.compiler.recording import DifferingError
from tinygrad_dls.compiler.running import Runner
from tinygrad_dls.compiler.text import source
from tinygrad_dls.engine.errors import RecordingError
from tinygrad_dls.engine.tensor import Tensor
from tinygrad_dls.engine.viewed import Viewed
from tinygrad_dls.nn.normalisation import untouched

__all__ = ["Compiled", "Ready"]

R = TypeVar("R")
P = TypeVar("P")

SHAPES = 1024  # kinds of data whose programs are remembered
BYTES = 2**28  # of arrays that all of these hold, besides those of the last one
STATES = 32  # programs for one kind of data, of different states of what they read


class Remembered:
    """Programs with what they read, which were right for the data of a kind when they were recorded.

    Kept are those that were used last. What is forgotten is recorded anew when it is needed again, which takes a
    thousand times as long as a step of a small model. So that is said.

    Parameters
    ----------
    what : str
        What was compiled, for warnings.
    """

    def __init__(self, what: str) -> None:
        self.what = what
        self._programs: dict[Hashable, list[tuple[Dependencies, Any, int]]] = {}
        self._bytes = 0
        self._forgotten: set[Hashable] = set()

    def __len__(self) -> int:
        return sum(map(len, self._programs.values()))

    def find(self, kind: Hashable) -> Any:
        """The program for data of a kind, if there is one and what it reads is as it was; else None."""
        for captured, program, _ in self._programs.get(kind, ()):
            if captured.holds():
                self._programs[kind] = self._programs.pop(kind)  # the last one that was used
                return program
        return None

    def add(self, kind: Hashable, captured: Dependencies, program: Any, size: int = 0) -> None:
        """Remember a program that holds so many bytes of arrays, and forget others if there are too many.

        Warns
        -----
        RuntimeWarning
            If one of this kind had to be forgotten before: steps are slow then.
        """
        programs = self._programs.pop(kind, [])
        if kind in self._forgotten:
            self._warn(
                f"the data come in more shapes than are remembered ({SHAPES:,} at most, or {BYTES >> 20} MB), so "
                "programs are recorded again and again. Use a few sizes of batches, or eager steps."
            )
        if len(programs) >= STATES:
            names = ", ".join(programs[-1][0].changes()) or "what the code reads"
            self._warn(
                f"{names} changes again and again, and each time the program is recorded anew. Pass what changes as an "
                "argument, or use eager steps."
            )
            self._bytes -= programs.pop(0)[2]
        self._programs[kind] = [*programs, (captured, program, size)]
        self._bytes += size
        while len(self._programs) > SHAPES or (self._bytes > BYTES and len(self._programs) > 1):
            oldest = next(iter(self._programs))
            self._bytes -= sum(size for *_, size in self._programs.pop(oldest))
            self._forgotten.add(oldest)

    def clear(self) -> None:
        """Forget all of them."""
        self._programs.clear()
        self._bytes = 0

    def _warn(self, text: str) -> None:
        self._forgotten.clear()  # say it now and then, not at each step
        warnings.warn(f"{self.what}: {text}", RuntimeWarning, stacklevel=5)


class Ready:
    """What there is for data of one kind: what runs a plan, or the reason why there is none.

    Attributes
    ----------
    types : sequence or None
        Of the data that it is for, as its owner compares them; None if it is not found by these.
    guard : Dependencies
        What it depends on besides.
    runner : Runner or None
    reason : str
        For the fallback.
    turns : Turns or None
        When it is compared with the eager run.
    left : int
        Calls until then.
    """

    def __init__(self, reason: str = "") -> None:
        self.types: Sequence[Any] | None = None
        self.guard: Dependencies
        self.runner: Runner | None = None
        self.reason = reason
        self.turns: Turns | None = None
        self.left = 0

    def take_turns(self, dtype: Any) -> None:
        """Compare it with the eager run from now on; results are of this dtype."""
        self.turns = Turns(dtype)
        self.left = self.turns.left

    @property
    def source(self) -> str:
        """The program that runs."""
        if self.runner is None:
            return ""
        plan = self.runner.plan
        text = source(plan.routines())
        return text if plan.native is None else f"{text}\n\n{plan.native.text}"

    @property
    def bytes(self) -> int:
        """Bytes of the arrays that it writes into."""
        return 0 if self.runner is None else self.runner.bytes

    def explain(self) -> str:
        """What was recorded, fused, reused and tiled, or why it was not."""
        return f"Runs eagerly: {self.reason}" if self.runner is None else self.runner.explain()


class Compiled(Viewed):
    """Something recorded, with what is ready to run it.

    Attributes
    ----------
    noun : str
        ``"step"`` or ``"function"``, for errors.
    how_to_call, how_to_pickle, instead : str
        What errors advise: to have something recorded, to pickle it, and to do without it.
    """

    noun: str
    how_to_call: str
    how_to_pickle: str
    instead: str

    def __init__(self, *, fallback: bool, threads: int | None, constants: Sequence[Any], backend: str) -> None:
        self._fallback, self._threads, self._constants, self._backend = fallback, threads, constants, backend
        self._known = Remembered(f"a compiled {self.noun}")
        self._now: Any = None  # the one that ran last

    def _learned(
        self,
        captured: Callable[[], Dependencies],
        record: Callable[[], R],
        finish: Callable[[Dependencies, R], P],
        eagerly: Callable[[], Any],
    ) -> tuple[Dependencies, P | None, str]:
        """Record, and see to it that nothing was changed by that.

        Parameters
        ----------
        captured, record : function
            What gives the state that is watched; and what was recorded.
        finish : function
            Of both, makes the program.
        eagerly : function
            Does the same without a program, for its errors.

        Returns
        -------
        tuple
            The captured state, the program, and the reason for the fallback if there is none.
        """
        state = Dependencies(())  # of what cannot be watched: it runs eagerly, whatever changes
        try:
            state = captured()
            try:
                recorded = record()
            except DifferingError:
                state.refuse_changes()  # which is why, if there are any
                raise
            except BaseException:
                state.restore()
                raise
            state.refuse_changes()
            return state, finish(state, recorded), ""
        except Exception as error:  # whatever cannot be recorded or planned may still run eagerly
            if not self._fallback:
                self._fail(error, eagerly)
            reason = str(error) if isinstance(error, RecordingError) else f"{type(error).__name__}: {error}"
            return state, None, reason

    def _fail(self, error: Exception, eagerly: Callable[[], Any]) -> NoReturn:
        """Raise the error of the eager run, where it has one; else say that this cannot be compiled."""
        if isinstance(error, (RecordingError, NoCompiler, Warning, FloatingPointError, MemoryError)):
            raise error
        with np.errstate(all="ignore"), untouched():
            J = eagerly()
        if isinstance(J, Tensor) and not J.requires_grad:
            raise error
        raise RecordingError(
            f"the {self.noun} runs eagerly and cannot be compiled: {type(error).__name__}: {error}\n"
            "Write what it does in other words, or leave it eager with fallback=True."
        ) from error

    def _judge(
        self,
        ready: Ready,
        found: Mapping[str, float],
        compared: tuple[Results, Results],
        changed: Callable[[], str | None],
        spread: Callable[[], Mapping[str, float]],
    ) -> None:
        """Raise, unless the differences from the eager run are of rounding; then, look into larger ones only.

        Parameters
        ----------
        ready : Ready
            What has run.
        found : dict of str to float
            The differences, by the name of the result.
        compared : (dict, dict)
            The results, and those of the eager run.
        changed : function
            In words, in what a recording of now differs from the program; None if it does not.
        spread : function
            By how much rounding changes each result.
        """
        got, expected = compared
        turns = ready.turns
        assert turns is not None
        if found:
            difference = changed()
            if difference is not None:
                name, cause = next(iter(found), ""), stale(difference)
            else:
                name, cause = next(iter(beyond_rounding(found, expected, spread())), ""), unexplained(self.instead)
            if name:
                self._known.clear()
                self._now = None
                raise wrong(f"the compiled {self.noun}", name, got.get(name), expected.get(name), cause)
            turns.accept(found, expected)
        turns.again()
        ready.left = turns.left

    # -- what it says of itself ---------------------------------------------------------------------------------------

    @property
    def source(self) -> str:
        """The program that runs, for data as in the last call."""
        return str(self._last().source)

    def explain(self) -> str:
        """What was recorded, fused, reused and tiled, for data as in the last call; and why something was not."""
        return str(self._last().explain())

    def _last(self) -> Any:
        if self._now is None:
            raise RuntimeError(
                f"the {self.noun} has not run yet, so nothing is recorded; call {self.how_to_call} before."
            )
        return self._now

    def __reduce__(self) -> Any:
        raise TypeError(f"a compiled {self.noun} is neither pickled nor copied{self.how_to_pickle}")
