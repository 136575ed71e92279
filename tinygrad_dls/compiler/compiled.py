"""What compiled steps and compiled functions share: one way to record, to compare with the eager run, and to explain.

Both remember programs by the types of their data, together with the captured state that these are right for. Both
record with that state watched, and put back what the recording has changed; both compare themselves with the eager run
now and then, and tell rounding from a change; both run eagerly, with a fallback, what cannot be recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, TypeVar

from tinygrad_dls.compiler.checking import Results, beyond_rounding, stale, unexplained, wrong
from tinygrad_dls.compiler.guards import Dependencies
from tinygrad_dls.compiler.recording import fail_as_eagerly, fallback_reason
from tinygrad_dls.compiler.remembering import Remembered

__all__ = ["Compiled"]

R = TypeVar("R")
P = TypeVar("P")


class Compiled:
    """Something recorded, with its programs.

    A program is any object with `source`, `explain`, `turns` and `left`, the calls until it is compared with the eager
    run.

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

    def __init__(self, fallback: bool, constants: Sequence[Any]) -> None:
        self._fallback, self._constants = fallback, constants
        self._known = Remembered(f"a compiled {self.noun}")
        self._now: Any = None

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
            except BaseException:
                state.restore()
                raise
            state.refuse_changes()
            return state, finish(state, recorded), ""
        except Exception as error:  # whatever cannot be recorded or planned may still run eagerly
            if not self._fallback:
                self._fail(error, eagerly)
            return state, None, fallback_reason(error)

    def _fail(self, error: Exception, eagerly: Callable[[], Any]) -> NoReturn:
        """Raise the error of the eager run, where it has one; else say that this cannot be compiled."""
        fail_as_eagerly(error, eagerly, f"the {self.noun}")

    def _judge(
        self,
        program: Any,
        found: Mapping[str, float],
        compared: tuple[Results, Results],
        changed: Callable[[], str | None],
        spread: Callable[[], Mapping[str, float]],
    ) -> None:
        """Raise, unless the differences from the eager run are of rounding; then, look into larger ones only.

        Parameters
        ----------
        program
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
            program.turns.accept(found, expected)
        program.turns.again()
        program.left = program.turns.left

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
