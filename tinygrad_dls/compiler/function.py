"""A compiled function of arrays: the calls of one run, simplified, with their results in planned memory."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from tinygrad_dls.compiler.buffers import USED
from tinygrad_dls.compiler.checking import Results, rounded, rounding
from tinygrad_dls.compiler.compiled import Compiled, Ready
from tinygrad_dls.compiler.guards import Dependencies
from tinygrad_dls.compiler.native.program import planned
from tinygrad_dls.compiler.plan import plan_function
from tinygrad_dls.compiler.recording import (
    checks_of_arguments,
    checks_of_recordings,
    differs,
    first_difference,
    lines_of,
)
from tinygrad_dls.compiler.running import Runner
from tinygrad_dls.engine.arrays import Array, as_array
from tinygrad_dls.engine.devices import called_kind, on_device
from tinygrad_dls.engine.errors import RecordingError
from tinygrad_dls.engine.recording import recording
from tinygrad_dls.engine.tensor import Tensor, values
from tinygrad_dls.graph.names import Names
from tinygrad_dls.graph.reading import read
from tinygrad_dls.graph.subject import argument_names
from tinygrad_dls.ir.call import Call
from tinygrad_dls.ir.rules import canonicalize
from tinygrad_dls.ir.tracer import Trace, Tracer
from tinygrad_dls.nn.columns import refuse_frame
from tinygrad_dls.nn.labels import Check, check_once

__all__ = ["CompiledFunction"]

_OF_A_FRAME = "Pass frame.to_numpy(float).T, or its columns, each as an argument of its own."


class CompiledFunction(Compiled):
    """A recorded function of arrays, made by `tinygrad_dls.compile`.

    Attributes
    ----------
    source : str
        The program that runs, for arguments as in the last call.
    """

    noun, how_to_call = "function", "it"
    how_to_pickle = ". Pickle its .function, and compile again: tg.compile(f)."
    instead = "Call the function itself, and report it."

    def __init__(self, function: Callable[..., Any], **of_both: Any) -> None:
        super().__init__(**of_both)
        self.function = function
        self._lock = threading.RLock()

    def __call__(self, *arguments: Array) -> Any:
        """What the function gives for these arrays: new arrays each time."""
        with self._lock:
            arrays: Sequence[Array] = arguments
            types = [(x.shape, x.dtype) for x in arguments if type(x) is np.ndarray]
            now = self._now
            if (  # as in a compiled step, what follows is spelled out
                now is None
                or len(types) != len(arguments)
                or types != now.types
                or not (now.guard.unchanged() or now.guard.holds())
            ):
                arrays = self._arrays(arguments)
                self._now = now = self._found(arrays)
            try:
                result = self._run(now, arrays)
            except Exception as error:
                self._fail(error, lambda: self.function(*arrays))
            if _is_nan(result) and now.runner is not None and not any(map(_is_nan, arrays)):
                return self.function(*arrays)  # of infinite logits perhaps: the engine knows limits
            now.left -= 1
            if not now.left:
                self._compare(now, arrays, result)
            return result

    def _arrays(self, arguments: Sequence[Any]) -> list[Array]:
        """The arguments as arrays."""
        names = [f"argument {i + 1}" for i in range(len(arguments))]
        for x, name in zip(arguments, names, strict=True):
            if type(x) is not np.ndarray:
                refuse_frame(x, "a compiled function", name, _OF_A_FRAME)
                if isinstance(x, Tensor) and x.requires_grad and recording.get():
                    raise TypeError(
                        f"a compiled function gives plain arrays, so the gradient for its {name} would be lost. "
                        "Pass .data of the Tensor; or compile the gradient: tg.compile(tg.grad(f))."
                    )
        return [as_array(values(x), name) for x, name in zip(arguments, names, strict=True)]

    def _found(self, arrays: list[Array]) -> Ready:
        """What there is for these arrays, and for what the function reads as it is; made if there is none."""
        kind = tuple((x.shape, x.dtype, on_device(x)) for x in arrays)
        found: Ready | None = self._known.find(kind)
        if found is None:
            captured, ready, reason = self._learned(
                lambda: Dependencies([self.function], constants=self._constants),
                lambda: self._recorded(arrays),
                lambda captured, ready: self._made_ready(captured, ready, arrays),
                lambda: self.function(*arrays),
            )
            found = ready or Ready(reason)
            found.guard = captured
            if all(type(x) is np.ndarray for x in arrays):
                found.types = [(x.shape, x.dtype) for x in arrays]
            self._known.add(kind, captured, found, found.bytes)
        return found

    def _compare(self, found: Any, arrays: Sequence[Array], result: Any) -> None:
        """Raise if the function itself gives other numbers."""

        def results(given: Sequence[Array]) -> Results:
            with np.errstate(all="ignore"):
                return dict(_arrays(self.function(*given)))

        got, expected = dict(_arrays(result)), results(arrays)
        differences = (
            found.turns.differing(got, expected, {})
            if got.keys() == expected.keys()
            else dict.fromkeys([*got, *expected], np.inf)
        )

        def changed() -> str | None:
            try:
                return None if lines_of(found.outputs, None) == lines_of(self._recorded(arrays).outputs, None) else ""
            except RecordingError:
                return ""

        def of_rounded(rng: np.random.Generator) -> Results:
            given = [rounded(x, rng) for x in arrays]
            try:
                return results(given)
            except Exception:  # rounded up, a label of 1 is none: nothing is learned of rounding
                return {}

        self._judge(found, differences, (got, expected), changed, lambda: rounding(of_rounded, expected))

    def _run(self, ready: Any, arrays: Sequence[Array]) -> Any:
        """What the program gives, or the function itself."""
        if ready.runner is None:
            return self.function(*arrays)
        for i, check in ready.checks:
            check_once(arrays[i], check)
        return _filled(ready.form, iter(ready.runner.run[0](*arrays)))

    def _made_ready(self, captured: Dependencies, ready: _Ready, arrays: list[Array]) -> _Ready:
        """The plan for what was recorded; with a fallback, run once for nothing, as some fail only then."""
        found = planned(lambda native: plan_function(ready.outputs, ready.arguments, native=native), self._backend)
        ready.runner = Runner(found, self._threads)
        ready.runner.bind_alone()
        captured.hasten()
        ready.take_turns(np.result_type(float if not ready.outputs else ready.outputs[0].dtype))
        if self._fallback:
            with np.errstate(all="ignore"):
                self._run(ready, arrays)
        return ready

    def _recorded(self, arrays: Sequence[Array]) -> _Ready:
        if any(type(x) is not np.ndarray and not isinstance(x, np.generic) for x in arrays):
            kinds = ", ".join(called_kind(x) for x in arrays)
            raise RecordingError(f"compiled functions take NumPy arrays, got {kinds}. Call the function itself.")
        names = argument_names(self.function, len(arrays))
        runs = []
        for _ in range(2):
            trace = Trace()
            inputs = [trace.input(name, np.asarray(x)) for name, x in zip(names, arrays, strict=True)]
            with checks_of_recordings() as asked:
                result = self.function(*inputs)
            outputs: list[Call] = []
            form = _form(result, outputs)
            given = [x.call for x in inputs]
            runs.append((form, canonicalize(outputs), given))
            checks = checks_of_arguments(asked, given)
        (form, outputs, given), (_, again, _) = runs
        if (differing := first_difference(lines_of(outputs, None), lines_of(again, None))) is not None:
            raise differs("function", *differing)
        free = Names(USED)
        return _Ready(form, outputs, {call: free.free(name) for call, name in zip(given, names, strict=True)}, checks)

    def __repr__(self) -> str:
        return f"CompiledFunction({getattr(self.function, '__name__', type(self.function).__name__)})"


def _is_nan(result: Any) -> bool:
    """Whether a NaN is among the results: then, and only then, a sum of squares is one."""
    if isinstance(result, np.ndarray):
        flat = result.ravel()
        return result.dtype.kind == "f" and math.isnan(flat.dot(flat))
    if isinstance(result, (tuple, list)):
        return any(map(_is_nan, result))
    if isinstance(result, dict):
        return any(map(_is_nan, result.values()))
    return isinstance(result, (float, np.floating)) and math.isnan(result)


class _Ready(Ready):
    """What was recorded for arguments of some shapes and dtypes, and what runs it."""

    def __init__(
        self, form: Any, outputs: list[Call], arguments: dict[Call, str], checks: list[tuple[int, Check]]
    ) -> None:
        super().__init__()
        self.form, self.outputs, self.arguments, self.checks = form, outputs, arguments, checks


def _arrays(x: Any, name: str = "its result") -> Iterator[tuple[str, Any]]:
    """The arrays in the tuples, lists and dicts of a result, with what errors call them."""
    if isinstance(x, (tuple, list, dict)):
        for key, y in x.items() if isinstance(x, dict) else enumerate(x):
            yield from _arrays(y, f"{name}[{key!r}]")
    else:
        yield name, np.asarray(values(x))


_HOLE = object()


def _form(result: Any, outputs: list[Call]) -> Any:
    """The tuples, lists and dicts of a result, with holes for arrays, which are collected."""
    if isinstance(result, Tensor):
        if result.op is not None:
            leaves = [node.name for node in read(result) if node.kind == "parameter"]
            raise RecordingError(
                f"the function depends on {', '.join(leaves)}, which would be frozen. Pass all arrays as arguments; "
                "for a step of training, compile(model, loss, optimizer)."
            )
        result = result._value
    if isinstance(result, Tracer):
        outputs.append(result.call)
        return _HOLE
    if type(result) in (tuple, list) or (isinstance(result, tuple) and hasattr(result, "_fields")):
        return _like(result, (_form(x, outputs) for x in result))
    if type(result) is dict:
        return {key: _form(x, outputs) for key, x in result.items()}
    if isinstance(result, (tuple, list, dict)):
        raise RecordingError(
            f"the function gave a {type(result).__name__}, and a program gives plain tuples, named tuples, lists and "
            "dicts. Return one of these."
        )
    raise RecordingError(
        f"the function gave {type(result).__name__}, which does not depend on its arguments. Return arrays that are "
        "computed from them, and compute the rest outside."
    )


def _filled(form: Any, results: Any) -> Any:
    if form is _HOLE:
        return next(results)
    if isinstance(form, dict):
        return {key: _filled(x, results) for key, x in form.items()}
    return _like(form, (_filled(x, results) for x in form))


def _like(x: Any, items: Iterator[Any]) -> Any:
    """A list, a tuple or a named tuple with these items."""
    return x._make(items) if hasattr(x, "_make") else type(x)(items)
