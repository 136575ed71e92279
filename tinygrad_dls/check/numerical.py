"""Autodiff against slopes: differences of the function's values, which know nothing of gradient rules.

The slope of ``phi(t) = J(theta + t u)`` at 0 is the gradient's product with the direction u. For few entries, u is each
of them in turn; for many, random signs, so that one slope holds all entries to account. The slope itself comes from a
step into the complex plane, exact to rounding where the function is analytic and runs on complex numbers, or else from
central differences, extrapolated to step 0, with an estimate of their error.
"""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from tinygrad_dls.arrays import Array, as_array, positive_integer
from tinygrad_dls.init import generator
from tinygrad_dls.nn import Module, Parameter
from tinygrad_dls.tensor import Tensor, no_grad, values
from tinygrad_dls.transforms import argument_names, check_level, function_name, gradients, runner

__all__ = ["GradCheck", "GradientError", "gradcheck"]

Index = tuple[int, ...]

# Relative to the largest entry of a gradient. Extrapolated differences of float64 are good to 1e-9 or so, less near
# poles; their estimated error comes on top. A complex step and float64 rules differ by roundings; sums in float32
# rules, by some hundred of theirs.
TOLERANCES = {"central differences": 1e-6, "complex step": 1e-9, "float32": 1e-4, "float16": 3e-2}
MOST_KINKS = 16  # among the entries of one projection; finding each takes a bisection


class GradientError(AssertionError):
    """A gradient that is not the slope of its function; `result` holds the whole table."""

    def __init__(self, text: str, result: GradCheck) -> None:
        super().__init__(text)
        self.result = result


@dataclass
class Row:
    """What was found for one argument.

    Attributes
    ----------
    argument : str
        The name of the argument or parameter.
    shape : tuple of int
        Its shape.
    checked : str
        How many entries, or random projections of all of them, were checked.
    method : str
        ``"complex step"`` or ``"central differences"``.
    ratio : float
        The course's measure over all that was checked, ``|grad - approx| / (|grad| + |approx|)`` in Euclidean norms.
    worst : tuple of int or None
        The index of the entry that is farthest off; None if only projections were taken.
    got, expected : float
        The gradient by autodiff there, and by the slope.
    kinks : list of tuple of int
        Entries at which the slopes from the left and from the right differ, so that there is nothing to compare with.
    compared : int
        How many entries and projections are no kinks.
    wrong : bool
        Whether `got` is farther from `expected` than tolerance and the slope's own error allow.
    """

    argument: str
    shape: Index
    checked: str
    method: str
    ratio: float = 0.0
    worst: Index | None = None
    got: float = 0.0
    expected: float = 0.0
    kinks: list[Index] = field(default_factory=list)
    compared: int = 0
    wrong: bool = False


@dataclass
class GradCheck:
    """The result of `gradcheck`; prints as a table."""

    function: str
    rows: list[Row]

    def __str__(self) -> str:
        head = ("", "shape", "checked", "method", "ratio", "worst at", "autodiff", "slope", "")
        lines: list[tuple[str, ...]] = [head]
        for row in self.rows:
            verdict = "WRONG" if row.wrong else "ok"
            where = "a projection" if row.worst is None else str(list(row.worst))
            numbers = [f"{row.ratio:.1e}", where, f"{row.got:.10g}", f"{row.expected:.10g}"]
            if row.kinks:
                verdict += f", {len(row.kinks)} kink{'s' * (len(row.kinks) > 1)}, first at {list(row.kinks[0])}"
            if not row.compared:
                verdict, numbers = verdict.replace("ok", "nothing to compare"), [""] * 4
            lines.append((row.argument, str(row.shape), row.checked, row.method, *numbers, verdict))
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join("  ".join(f"{c:{w}}" for c, w in zip(line, widths, strict=True)).rstrip() for line in lines)


def gradcheck(
    f: Callable[..., Any], inputs: Any, *, rng: Any = 0, entries: int = 64, projections: int = 8
) -> GradCheck:
    """Hold the gradients of a function against the slopes of its values.

    Parameters
    ----------
    f : callable
        A function of Tensors or of a module. A result of several entries is reduced by random weights, so that all of
        them are checked at once.
    inputs : array, tuple of arrays, or Module
        Where to check: the argument of f, or a tuple of its arguments, of which those of floats are checked; or a
        module, of which all parameters are checked that require a gradient.
    rng : int or generator, default 0
        Where random directions and weights are drawn from.
    entries : int, default 64
        Up to this size, every entry of an argument is checked by itself. Of a larger one, random projections are, which
        involve every entry, and 16 entries: the eight of the largest gradient and eight at random.
    projections : int, default 8
        How many.

    Returns
    -------
    GradCheck
        A table with a row per argument; ``print`` it.

    Raises
    ------
    GradientError
        If a gradient is wrong: with the function, the argument, the index, what autodiff got and what was expected.
    ValueError
        If f is not finite there, or gives another value when called again (dropout?), so that it has no slope.
    TypeError
        If no input is of floats, or if the result of f does not depend on them.

    Notes
    -----
    Where the slopes from the left and from the right differ, as those of ReLU at 0, there is no gradient to compare
    with: the entry is reported as a kink, and is neither right nor wrong. Move the inputs a little to check it.

    Slopes are taken in float64, whatever the dtype; gradients of float32 are held to float32's digits. The ratio is
    that of the course's gradient checking (Improving Deep Neural Networks, week 1), where below 1e-7 is good.

    Examples
    --------
    >>> import numpy as np, tinygrad_dls as tg
    >>> print(tg.check.gradcheck(np.tanh, np.array([0.5, -1.0])))  # doctest: +ELLIPSIS, +NORMALIZE_WHITESPACE
       shape  checked        method        ratio    worst at  autodiff        slope
    x  (2,)   all 2 entries  complex step  ...e-1...  [...]  ...  ok
    """
    draws = generator(rng, "gradcheck")
    entries, projections = positive_integer(entries, "entries"), positive_integer(projections, "projections")
    problem = _Problem(f, inputs)
    value = problem.value(problem.arrays)
    if not np.array_equal(value, problem.value(problem.arrays), equal_nan=True):
        raise ValueError(
            f"gradcheck: {problem.name} gives another value each time it is called, so it has no slope. Does it draw "
            "random numbers? Switch dropout off with model.eval(), or fix its rng within the function."
        )
    if not np.all(np.isfinite(value)):
        raise ValueError(f"gradcheck: {problem.name} is not finite at these inputs, so it has no slope there.")
    weights = np.ones(()) if value.size == 1 else draws.normal(size=value.shape)
    problem.noise = _noise(problem, weights, draws)
    arguments = [_Argument(problem, k, g, weights) for k, g in enumerate(problem.gradients(weights))]
    rows = [_row(argument, draws, entries, projections) for argument in arguments]
    result = GradCheck(problem.name, rows)
    for row in rows:
        if row.wrong:
            place = "in a random projection" if row.worst is None else f"at {list(row.worst)}"
            raise GradientError(
                f"gradcheck: the gradient of {problem.name} with respect to {row.argument} is wrong {place}: "
                f"got {row.got:.10g}, expected {row.expected:.10g} by {row.method}.\n{result}",
                result,
            )
    return result


class _Problem:
    """A function of arrays or of a module as a function of a list of arrays, and its gradients by autodiff."""

    def __init__(self, f: Callable[..., Any], inputs: Any) -> None:
        if not callable(f):
            raise TypeError(f"gradcheck: expected a function, got {f!r}. Write gradcheck(f, x), not gradcheck(f(x)).")
        self.f, self.inputs, self.name = f, inputs, function_name(f)
        if isinstance(inputs, Module):
            self.parameters = {name: p for name, p in inputs.named_parameters() if p.requires_grad}
            self.names = list(self.parameters)
            originals = [values(p) for p in self.parameters.values()]
        else:
            several, names = inputs if isinstance(inputs, tuple) else (inputs,), argument_names(f)
            names += [f"argument {i}" for i in range(len(names) + 1, len(several) + 1)]
            self.args = [
                x if isinstance(x, Module) else as_array(values(x), f"gradcheck: {name}")
                for x, name in zip(several, names, strict=False)
            ]
            _refuse_wrong_number(f, self.args, self.name)
            self.places = [i for i, x in enumerate(self.args) if not isinstance(x, Module) and x.dtype.kind == "f"]
            self.names = [names[i] for i in self.places]
            originals = [self.args[i] for i in self.places]
        if not originals:
            raise TypeError("gradcheck: no input is of floats, so there is nothing to differentiate. Write 1.0 for 1.")
        self.noise = 0.0
        self.dtypes = [x.dtype for x in originals]
        self.arrays = [np.array(x, dtype=np.result_type(x, np.float64)) for x in originals]

    def __call__(self, arrays: list[Any]) -> Any:
        """Call f with these arrays (or Tensors) in place of its own."""
        if isinstance(self.inputs, Module):
            exchanged = {id(p): x for p, x in zip(self.parameters.values(), arrays, strict=True)}
            return self.f(copy.deepcopy(self.inputs, exchanged))
        args = list(self.args)
        for i, x in zip(self.places, arrays, strict=True):
            args[i] = x
        return self.f(*args)

    def value(self, arrays: list[Array]) -> Any:
        """The values of f, in float64 where it lets them be."""
        with no_grad():
            kind = Parameter if isinstance(self.inputs, Module) else Tensor
            return np.asarray(values(self([kind(x) for x in arrays])))

    def complex_value(self, arrays: list[Array]) -> Any:
        """The values of f on complex arrays, which are no Tensors."""
        with no_grad():
            return np.asarray(values(self(arrays)))

    def gradients(self, weights: Array) -> list[Array]:
        """Autodiff's gradients of the weighted sum of f's entries, in the inputs' own dtypes."""
        module = isinstance(self.inputs, Module)
        run = runner("gradcheck", self.f, 0 if module else tuple(self.places))
        y, level, leaves = run((self.inputs,) if module else tuple(self.args), {})
        check_level("gradcheck", self.f, y, level)
        found = gradients(y, leaves, weights.astype(y.dtype).reshape(y.shape))
        return list(found.values() if module else found)


def _refuse_wrong_number(f: Callable[..., Any], args: list[Any], name: str) -> None:
    try:
        signature = inspect.signature(f)
    except (TypeError, ValueError):  # a builtin
        return
    try:
        signature.bind(*args)
    except TypeError as error:
        raise TypeError(
            f"gradcheck: {name} cannot take these inputs: {error}. A tuple holds one argument each; for a single array "
            "write a list or an array."
        ) from None


# -- one argument -----------------------------------------------------------------------------------------------------


class _Argument:
    """One argument of the problem: its gradient by autodiff, and the slopes along any direction."""

    def __init__(self, problem: _Problem, k: int, gradient: Array, weights: Array) -> None:
        self.problem, self.k, self.weights = problem, k, weights
        self.gradient = np.asarray(values(gradient), dtype=float)
        self.flat = self.gradient.reshape(-1)
        self.entries: dict[int, tuple[float, _Slope]] = {}

    def along(self, u: Array) -> tuple[float, _Slope]:
        """What autodiff got along a direction, and the slope."""
        return float(self.flat @ u), _slope(self.problem, self.k, u.reshape(self.gradient.shape), self.weights)

    def at(self, i: int) -> tuple[float, _Slope]:
        """The same for one entry."""
        if i not in self.entries:
            u = np.zeros(self.flat.size)
            u[i] = 1
            self.entries[i] = self.along(u)
        return self.entries[i]

    def index(self, i: int) -> Index:
        return tuple(int(n) for n in np.unravel_index(i, self.gradient.shape))

    def culprit(self, u: Array) -> int:
        """The entry to blame for a wrong projection, by halving."""
        support = np.flatnonzero(u)
        while len(support) > 1:
            halves = support[: len(support) // 2], support[len(support) // 2 :]
            gaps = []
            for half in halves:
                part = np.zeros_like(u)
                part[half] = u[half]
                got, slope = self.along(part)
                gaps.append(abs(got - slope.value))
            support = halves[int(gaps[1] > gaps[0])]
        return int(support[0])


def _row(argument: _Argument, rng: Any, entries: int, projections: int) -> Row:
    """Check a gradient entry by entry, or, if it is large, by projections and a sample of its entries."""
    flat, name = argument.flat, argument.problem.names[argument.k]
    shape = argument.gradient.shape
    if not np.all(np.isfinite(flat)):
        i = int(np.argmin(np.isfinite(flat)))
        return Row(name, shape, "all entries", "", math.nan, argument.index(i), flat[i], math.nan, wrong=True)
    if flat.size <= entries:
        chosen, signs = list(range(flat.size)), []
        count = f"all {flat.size} entries" if flat.size > 1 else "its entry"
    else:
        largest = np.argsort(-np.abs(flat), kind="stable")[:8]
        chosen = list(dict.fromkeys([*largest.tolist(), *(rng.random(8) * flat.size).astype(int).tolist()]))
        signs = [rng.choice([-1.0, 1.0], size=flat.size) for _ in range(projections)]
        count = f"{projections} projections, {len(chosen)} of {flat.size:,} entries"
    single = {i: argument.at(i) for i in chosen}
    summed = [(u, *argument.along(u)) for u in signs]

    exact = all(slope.exact for _, slope in single.values()) and all(slope.exact for *_, slope in summed)
    row = Row(name, shape, count, "complex step" if exact else "central differences")
    tolerance = max(TOLERANCES[row.method], TOLERANCES.get(str(argument.problem.dtypes[argument.k]), 0))
    scale = max([abs(x) for got, slope in single.values() for x in (got, slope.value)], default=0.0)
    compared: list[tuple[float, float]] = []
    farthest = -1.0

    def off(got: float, slope: _Slope, size: float) -> float:
        """How many times farther off than allowed; at most 1 is right."""
        return abs(got - slope.value) / (tolerance * size + 10 * slope.error + np.finfo(float).tiny)

    def compare(got: float, slope: _Slope, size: float, index: Index | None) -> None:
        nonlocal farthest
        compared.append((got, slope.value))
        if off(got, slope, size) > farthest:
            farthest = off(got, slope, size)
            row.worst, row.got, row.expected = index, got, slope.value

    for i, (got, slope) in single.items():
        if slope.kink:
            row.kinks.append(argument.index(i))
        else:
            compare(got, slope, scale, argument.index(i))
    size = max(scale, float(np.linalg.norm(flat)))
    for u, got, slope in summed:
        while off(got, slope, size) > 1 and len(row.kinks) < MOST_KINKS:
            i = argument.culprit(u)
            if not argument.at(i)[1].kink:
                compare(*argument.at(i), scale, argument.index(i))
                break
            row.kinks.append(argument.index(i))
            u[i] = 0
            got, slope = argument.along(u)
        # an entry to blame is told before its sum; if there are too many kinks, the sum tells nothing
        if off(got, slope, size) <= 1 or (farthest <= 1 and len(row.kinks) < MOST_KINKS):
            compare(got, slope, size, None)
    if compared:
        a, b = np.array(compared).T
        total = np.linalg.norm(a) + np.linalg.norm(b)
        row.ratio = float(np.linalg.norm(a - b) / total) if total else 0.0
    row.compared, row.wrong = len(compared), farthest > 1
    return row


# -- one slope --------------------------------------------------------------------------------------------------------


def _noise(problem: _Problem, weights: Array, rng: Any) -> float:
    """How much the weighted sum of f changes when its inputs change in their last bits: what no slope can see through.

    More than a rounding of the sum itself, where f cancels large terms.
    """
    sums = [np.sum(weights * problem.value(problem.arrays))]
    for _ in range(4):
        jittered = [x * (1 + 64 * np.finfo(float).eps * rng.uniform(-1, 1, size=x.shape)) for x in problem.arrays]
        sums.append(np.sum(weights * problem.value(jittered)))
    return float(np.ptp(sums)) if np.all(np.isfinite(sums)) else 0.0


class _Slope(NamedTuple):
    """The derivative along a direction, its estimated error, and how it was found."""

    value: float
    error: float
    kink: bool = False  # the slopes from the left and from the right differ
    exact: bool = False  # by a complex step


def _slope(problem: _Problem, k: int, u: Array, weights: Array) -> _Slope:
    """The slope of the weighted sum of f along u, in argument k."""

    def phi(t: complex, value: Callable[[list[Array]], Any] = problem.value) -> Any:
        moved = list(problem.arrays)
        moved[k] = moved[k] + t * u
        return np.sum(weights * value(moved))

    with np.errstate(all="ignore"):
        slope = _central(phi, problem.noise, size=max(1.0, float(np.abs(problem.arrays[k][u != 0]).max(initial=0))))
        try:
            step = 1e-40  # its square is below the smallest number, so nothing of second order remains
            exact = float(np.imag(phi(1j * step, problem.complex_value)) / step)
        except Exception:  # whatever f does not do with complex numbers
            return slope
    # a function that takes |z| or compares is not analytic: then the two disagree, and the differences are right
    agree = abs(exact - slope.value) <= 1e-5 * abs(exact) + 10 * slope.error
    return slope._replace(value=exact, error=0.0, exact=True) if agree and not slope.kink else slope


def _central(phi: Callable[[float], Any], noise: float, size: float) -> _Slope:
    """Central differences at two steps, extrapolated; with ever smaller steps until their error is small."""
    middle = float(phi(0.0))
    best = _Slope(math.nan, math.inf)
    jumps: list[tuple[float, float, float]] = []
    for step in size * 10.0 ** -np.arange(3, 9):
        plus, minus, half_plus, half_minus = (float(phi(t)) for t in (step, -step, step / 2, -step / 2))
        rounding = (4 * np.finfo(float).eps * max(abs(plus), abs(minus), abs(middle)) + noise) / step
        wide, narrow = (plus - minus) / (2 * step), (half_plus - half_minus) / step
        right, left = (half_plus - middle) / (step / 2), (middle - half_minus) / (step / 2)
        jumps.append((abs((plus - middle) / step - (middle - minus) / step), abs(right - left), rounding))
        error = abs(wide - narrow) / 3 + rounding
        if error < best.error:
            best = _Slope((4 * narrow - wide) / 3, error)
        if error <= 1e-9 * abs(best.value) + 2 * rounding:
            break
    # a jump between left and right that does not shrink with the step is one of the function
    far, near, rounding = jumps[-1]
    kink = near > 0.9 * far and near > 20 * rounding + 1e-6 * abs(best.value)
    return best._replace(kink=kink)
