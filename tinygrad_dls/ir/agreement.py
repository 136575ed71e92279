"""What recordings of one and the same computation tell: numbers that hang on m, and arrays that differ."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_dls.ir.call import Call, each, toposort
from tinygrad_dls.ir.size import call_behind, symbolic
from tinygrad_dls.ir.tracer import Trace

__all__ = ["differ_in_numbers", "refuse_arrays_that_differ", "remember_lengths"]

ROUNDINGS = 4 * np.finfo(float).eps  # of a number that is computed from m in a few steps


def remember_lengths(recordings: Sequence[tuple[Trace, Sequence[Call]]]) -> None:
    """Find the numbers that were computed from the number of examples m and forgot it, such as ``0.5 / m``.

    What differs between recordings with several m, and is ``p / m``, ``p * m``, ``p / m + q``, ``p * m + q`` or
    ``p / (m + q)`` in all of them, is written so. Anything else stays as it is.

    Parameters
    ----------
    recordings : sequence of (Trace, sequence of Call)
        Three or more of the same computation with different m: what it is recorded with, and its outputs.
    """
    traces = [trace for trace, _ in recordings]
    for alike in _aligned([outputs for _, outputs in recordings]):
        for i, numbers in enumerate(zip(*(call.args for call in alike), strict=True)):
            if _differ(numbers, alike):
                formula = _formula_in_m([float(x) for x in numbers], [trace.m or 0 for trace in traces])
                if formula is not None:
                    for call, trace in zip(alike, traces, strict=True):
                        m = symbolic(float(trace.m or 0), trace.dimension)
                        call.args = (*call.args[:i], call_behind(formula(m)), *call.args[i + 1 :])


def differ_in_numbers(*recordings: Sequence[Call]) -> bool:
    """Whether recordings of the same computation, by their outputs, hold different numbers."""
    return any(
        _differ(numbers, alike)
        for alike in _aligned(recordings)
        for numbers in zip(*(call.args for call in alike), strict=True)
    )


def _aligned(recordings: Sequence[Sequence[Call]]) -> list[tuple[Call, ...]]:
    """The calls of several recordings side by side; none if they are not the same computation."""
    calls = [toposort(outputs) for outputs in recordings]
    if len({len(found) for found in calls}) != 1:
        return []
    aligned = list(zip(*calls, strict=True))
    return aligned if all(len({(c.function, len(c.args)) for c in alike}) == 1 for alike in aligned) else []


def _differ(arguments: tuple[Any, ...], alike: tuple[Call, ...]) -> bool:
    """Whether corresponding arguments of calls are numbers, and not all the same."""
    numbers = [x for x, call in zip(arguments, alike, strict=True) if _is_number(x, call)]
    return len(numbers) == len(alike) and len(set(map(float, numbers))) > 1


def _is_number(x: Any, call: Call) -> bool:
    """Whether an argument of a call is a number that a Python float can stand for."""
    if not isinstance(call.function, np.ufunc) or not isinstance(call.dtype, np.dtype) or call.dtype.kind != "f":
        return False
    if isinstance(x, np.generic):  # it does as long as another has the dtype of the result
        return x.dtype == float and any(y.dtype == call.dtype for y in call.args if isinstance(y, Call))
    return isinstance(x, (int, float)) and not isinstance(x, bool)


def _formula_in_m(numbers: list[float], ms: list[int]) -> Callable[[Any], Any] | None:
    """The formula that gives these numbers for these m, if there is a simple one."""
    (x, y, *_), (m, n, *_) = numbers, ms
    if 0 in numbers or 0 in ms or len(set(numbers)) < len(numbers):
        return None
    slope, bend, shift = (y - x) / (n - m), (y - x) / (1 / n - 1 / m), (n * y - m * x) / (x - y)

    def times(p: float, q: float, m: Any) -> Any:
        return _plus(p * m if p != 1 else m, q)

    def over(p: float, q: float, m: Any) -> Any:
        return _plus(p / m, q)

    def over_shifted(p: float, q: float, m: Any) -> Any:
        return p / _plus(m, q)

    families: list[tuple[Callable[..., Any], float, float]] = [
        (over, x * m, 0),
        (times, x / m, 0),
        (times, slope, x - slope * m),
        (over, bend, x - bend / m),
        (over_shifted, x * (m + shift), shift),
    ]
    for compute, *exact in families:
        for digits in range(6, 18):  # 0.35 rather than 0.35000000000000003
            p, q = (float(f"{number:.{digits}g}") for number in exact)
            if -q not in ms and np.allclose([compute(p, q, k) for k in ms], numbers, rtol=ROUNDINGS, atol=0):
                return functools.partial(compute, p, q)
    return None


def _plus(x: Any, q: float) -> Any:
    return x if q == 0 else x + q if q > 0 else x - -q


def _arrays(call: Call) -> list[Any]:
    """The constant arrays among the arguments of a call, also those in lists."""
    found: list[Any] = []
    each(lambda x: found.append(x) if isinstance(x, np.ndarray) else None, (call.args, call.options))
    return found


def refuse_arrays_that_differ(
    first: tuple[Trace, Sequence[Call]], second: tuple[Trace, Sequence[Call]], *, drawn: bool = True
) -> None:
    """Refuse arrays that are made on the way, and are others each time or for other numbers of examples.

    Parameters
    ----------
    first, second : (Trace, sequence of Call)
        Two recordings of the same computation: what they are recorded with, and their outputs.
    drawn : bool, default True
        Whether a dropout mask and the like are refused too, and not only one number for all examples.

    Raises
    ------
    RecordingError
        With the place of the first such array.
    """
    for call, again in _aligned([first[1], second[1]]):
        for x, y in zip(_arrays(call), _arrays(again), strict=False):  # of as many, or the calls would differ
            same = np.array_equal(x, y, equal_nan=x.dtype.kind == "f")
            if not same and (drawn or first[0].is_one_for_all_examples(x)):
                assert call.function is not None
                raise first[0].freezing(x, call.function, first[0].call_sites.get(id(x), ""))
