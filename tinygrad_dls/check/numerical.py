"""Autodiff against slopes: differences of the function's values, which know nothing of gradient rules.

The slope of ``phi(t) = J(theta + t u)`` at 0 is the gradient's product with the direction u. For few entries, u is each
of them in turn; for many, random signs, so that one slope holds all entries to account. The slope itself comes from a
step into the complex plane, exact to rounding where the function is analytic and runs on complex numbers, or else from
central differences, extrapolated to step 0. What settles every doubt is an honest estimate of their error: it counts
the rounding, the curvature, and any jump between the slopes from the left and from the right.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from tinygrad_dls.arrays import Array, as_array, positive_integer
from tinygrad_dls.init import generator
from tinygrad_dls.nn import Module, Parameter, with_parameters
from tinygrad_dls.tensor import Tensor, no_grad, values
from tinygrad_dls.transforms import argument_names, check_level, function_name, gradients, runner

__all__ = ["GradCheck", "GradientError", "Row", "gradcheck"]

Index = tuple[int, ...]

EPS = float(np.finfo(float).eps)
# Of the entry itself, and on top of ten times the slope's error, of which we know the order. Extrapolated differences
# are good to 1e-8, where we stop refining them; a complex step differs from float64 rules by roundings.
TOLERANCES = {"central differences": 1e-6, "complex step": 1e-9}
# What sums in rules of few digits may be off, of the largest entry: some hundred of their roundings.
DTYPES = {"float32": 1e-4, "float16": 3e-2}
ROUNDINGS = 64  # that a sum in a rule may be off, of the largest entry: where terms cancel, none remembers their size
MOST_KINKS = 16  # among the entries of one argument; finding each takes a bisection


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
    noisy : list of tuple of int
        Entries so small that they drown in the rounding of the function's values.
    edges : list of tuple of int
        Entries without a slope: next to them, the function is not finite.
    uncompared : int
        How many projections could not be compared, for any of these reasons.
    compared : int
        How many entries and projections were.
    wrong : bool
        Whether `got` is farther from `expected` than tolerance and the slope's own error allow, or is not finite.
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
    noisy: list[Index] = field(default_factory=list)
    edges: list[Index] = field(default_factory=list)
    uncompared: int = 0
    compared: int = 0
    wrong: bool = False

    def __str__(self) -> str:
        """Say how it went: the last column of the table."""
        right = "ok" if self.compared else "nothing to compare"
        says = ["WRONG" + ": not finite" * (not math.isfinite(self.got)) if self.wrong else right]
        kinks = "kink" + "s" * (len(self.kinks) > 1)
        for found, what in (self.kinks, kinks), (self.noisy, "too noisy to tell"), (self.edges, "without a slope"):
            says += [f"{len(found)} {what}, first at {list(found[0])}"] if found else []
        if self.uncompared:
            says.append(f"{self.uncompared} projection{'s' * (self.uncompared > 1)} not compared")
        return ", ".join(says)


@dataclass
class GradCheck:
    """The result of `gradcheck`; prints as a table."""

    function: str
    rows: list[Row]

    def __str__(self) -> str:
        head = ("", "shape", "checked", "method", "ratio", "worst at", "autodiff", "slope", "")
        lines: list[tuple[str, ...]] = [head]
        for row in self.rows:
            where = "a projection" if row.worst is None else str(list(row.worst))
            numbers = [f"{row.ratio:.1e}", where, f"{row.got:.10g}", f"{row.expected:.10g}"]
            if not row.compared and not row.wrong:
                numbers = [""] * 4
            lines.append((row.argument, str(row.shape), row.checked, row.method, *numbers, str(row)))
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
        If a gradient is wrong: with the function, the argument, the index, what autodiff got and what was expected;
        or if it is not finite.
    ValueError
        If f is not finite there, or gives another value when called again (dropout?), so that it has no slope.
    TypeError
        If no input is of floats, or if the result of f does not depend on them.

    Notes
    -----
    Where the slopes from the left and from the right differ, as those of ReLU at 0, there is no gradient to compare
    with: the entry is reported as a kink, and is neither right nor wrong. Move the inputs a little to check it.

    What cannot be told is not called right either: the table lists entries that drown in the rounding of the
    function's values, and those at the edge of its domain.

    The rules are checked in float64, entry by entry, whatever the dtype; the gradient in a smaller dtype is then held
    to that in float64, to the dtype's digits of its largest entry. The ratio is that of the course's gradient checking
    (Improving Deep Neural Networks, week 1), where below 1e-7 is good.

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
    problem.weigh(value, draws)
    own = problem.gradients(problem.originals)
    doubles = problem.gradients(problem.arrays) if any(x.dtype != np.float64 for x in problem.originals) else own
    rows = [
        _row(_Argument(problem, k, *pair), draws, entries, projections)
        for k, pair in enumerate(zip(doubles, own, strict=True))
    ]
    result = GradCheck(problem.name, rows)
    for row in rows:
        if row.wrong:
            place = "in a random projection" if row.worst is None else f"at {list(row.worst)}"
            text = f"wrong {place}: got {row.got:.10g}, expected {row.expected:.10g} by {row.method}"
            if not math.isfinite(row.got):
                text = f"not finite {place}: got {row.got}"
            text = f"gradcheck: the gradient of {problem.name} with respect to {row.argument} is {text}."
            raise GradientError(f"{text}\n{result}", result)
    return result


class _Problem:
    """A function of arrays or of a module as a function of a list of arrays, and its gradients by autodiff."""

    def __init__(self, f: Callable[..., Any], inputs: Any) -> None:
        if not callable(f):
            raise TypeError(f"gradcheck: expected a function, got {f!r}. Write gradcheck(f, x), not gradcheck(f(x)).")
        self.f, self.inputs, self.name = f, inputs, function_name(f)
        if isinstance(inputs, Module):
            named = {name: p for name, p in inputs.named_parameters() if p.requires_grad}
            self.names, self.parameters = list(named), list(named.values())
            self.originals = [values(p) for p in self.parameters]
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
            self.originals = [self.args[i] for i in self.places]
        if not self.originals:
            raise TypeError("gradcheck: no input is of floats, so there is nothing to differentiate. Write 1.0 for 1.")
        self.complex = [True] * len(self.originals)  # until f refuses such an argument
        self.arrays = [np.array(x, dtype=np.result_type(x, np.float64)) for x in self.originals]

    def arguments(self, arrays: list[Any], wrap: bool = True) -> list[Any]:
        """The arguments of f with these arrays, as Tensors, in place of its own."""
        kind = Parameter if isinstance(self.inputs, Module) else Tensor
        if wrap:
            leaves = [object.__new__(kind) for _ in arrays]
            for leaf, x in zip(leaves, arrays, strict=True):  # a Parameter would copy its array
                Tensor.__init__(leaf, x, requires_grad=kind is Parameter)
            arrays = leaves
        if isinstance(self.inputs, Module):
            return [with_parameters(self.inputs, dict(zip(self.parameters, arrays, strict=True)))]
        args = list(self.args)
        for i, x in zip(self.places, arrays, strict=True):
            args[i] = x
        return args

    def value(self, arrays: list[Array]) -> Any:
        """The values of f, in float64 where it lets them be."""
        with no_grad():
            return np.asarray(values(self.f(*self.arguments(arrays))))

    def weigh(self, value: Array, rng: Any) -> None:
        """Choose the weights that reduce f to a number, and see how exact that number is."""
        self.weights = np.ones(()) if value.size == 1 else rng.normal(size=value.shape)
        self.middle = self.number(self.arrays)
        self.magnitude = float(np.sum(np.abs(self.weights * value)))
        # how it bends when the inputs change in their last bits: more than a rounding where f cancels large terms
        bends = [0.0]
        for _ in range(3):
            jitters = [64 * EPS * x * rng.uniform(-1, 1, size=x.shape) for x in self.arrays]
            sides = [self.number([x + s * j for x, j in zip(self.arrays, jitters, strict=True)]) for s in (1, -1)]
            bends.append(abs(sides[0] - 2 * self.middle + sides[1]))
        self.rounding = 4 * float(np.finfo(value.dtype).eps) * self.magnitude + max(filter(math.isfinite, bends))

    def number(self, arrays: list[Array]) -> float:
        """The weighted sum of f's entries."""
        return float(np.sum(self.weights * self.value(arrays)))

    def moved(self, k: int, step: Array) -> list[Array]:
        return [x + step if i == k else x for i, x in enumerate(self.arrays)]

    def complex_slope(self, k: int, u: Array, step: float = 1e-40) -> float:
        """The slope along u in argument k by a step into the complex plane; NaN if f does not run there.

        The square of the step is below the smallest number, so nothing of second order remains.
        """
        if not self.complex[k]:
            return math.nan
        try:
            with no_grad():
                y = np.asarray(values(self.f(*self.arguments(self.moved(k, 1j * step * u), wrap=False))))
                return float(np.imag(np.sum(self.weights * y)) / step)
        except Exception:  # whatever f does not do with complex numbers
            self.complex[k] = False
            return math.nan

    def gradients(self, arrays: list[Array]) -> list[Array]:
        """Autodiff's gradients of that sum."""
        module = isinstance(self.inputs, Module)
        run = runner("gradcheck", self.f, 0 if module else tuple(self.places))
        y, level, leaves = run(tuple(self.arguments(arrays, wrap=module)), {})
        check_level("gradcheck", self.f, y, level)
        found = gradients(y, leaves, self.weights.astype(y.dtype).reshape(y.shape))
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

    def __init__(self, problem: _Problem, k: int, gradient: Array, own: Array) -> None:
        self.problem, self.k = problem, k
        self.gradient = np.asarray(values(gradient), dtype=float)
        self.own = np.asarray(values(own), dtype=float)  # that in the argument's own dtype
        self.flat = self.gradient.reshape(-1)
        self.entries: dict[int, tuple[float, _Slope]] = {}

    def along(self, u: Array) -> tuple[float, _Slope]:
        """What autodiff got along a direction, and the slope."""
        return float(self.flat @ u), _slope(self.problem, self.k, u.reshape(self.gradient.shape))

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
        """The entry to blame for a wrong projection, or at a kink, by halving."""
        support = np.flatnonzero(u)
        while len(support) > 1:
            halves = support[: len(support) // 2], support[len(support) // 2 :]
            gaps = []
            for half in halves:
                part = np.zeros_like(u)
                part[half] = u[half]
                got, slope = self.along(part)
                gaps.append(abs(got - slope.value) + slope.error)
            support = halves[int(gaps[1] > gaps[0])]
        return int(support[0])


def _row(argument: _Argument, rng: Any, entries: int, projections: int) -> Row:
    """Check a gradient entry by entry, or, if it is large, by projections and a sample of its entries."""
    flat, name, shape = argument.flat, argument.problem.names[argument.k], argument.gradient.shape
    both = argument.own.reshape(-1) + flat
    if not np.all(np.isfinite(both)):
        i = int(np.argmin(np.isfinite(both)))
        return Row(name, shape, "all entries", "", math.nan, argument.index(i), float(both[i]), math.nan, wrong=True)
    if flat.size <= entries:
        chosen, signs = list(range(flat.size)), []
        count = f"all {flat.size} entries" if flat.size != 1 else "its entry"
    else:
        largest = np.argsort(-np.abs(flat), kind="stable")[:8]
        chosen = list(dict.fromkeys([*largest.tolist(), *(rng.random(8) * flat.size).astype(int).tolist()]))
        signs = [rng.choice([-1.0, 1.0], size=flat.size) for _ in range(projections)]
        count = f"{projections} projections, {len(chosen)} of {flat.size:,} entries"
    exact = all(argument.at(i)[1].exact for i in chosen)
    row = Row(name, shape, count, "complex step" if exact else "central differences")
    unclear = {"kink": row.kinks, "noise": row.noisy, "edge": row.edges}
    scale = float(np.max(np.abs(flat), initial=0))
    size = scale * float(np.linalg.norm(flat / (scale or 1)))  # of a projection; the squares may overflow
    compared: list[tuple[float, float]] = []
    farthest = -1.0

    def tell(got: float, slope: _Slope, index: Index | None) -> None:
        nonlocal farthest
        verdict, off = slope.judge(got, scale) if index is not None else slope.judge(got, size, size)
        if verdict not in unclear:
            compared.append((got, slope.value))
            if off > farthest:
                farthest, row.worst, row.got, row.expected = off, index, got, slope.value
        elif index is not None:
            unclear[verdict].append(index)
        else:
            row.uncompared += 1

    for i in chosen:
        tell(*argument.at(i), argument.index(i))
    for u in signs:
        for index in row.kinks:
            u.reshape(shape)[index] = 0
        (got, slope), where = argument.along(u), None
        while slope.judge(got, size, size)[0] in ("kink", "wrong") and len(row.kinks) < MOST_KINKS:
            i = argument.culprit(u)
            blamed = argument.at(i)
            verdict, _ = blamed[1].judge(blamed[0], scale)
            if verdict == "wrong":  # told instead of its sum
                (got, slope), where = blamed, argument.index(i)
            if verdict != "kink":
                break
            tell(*blamed, argument.index(i))
            u[i] = 0
            got, slope = argument.along(u)
        tell(got, slope, where)
    if compared:
        a, b = np.ldexp(compared, -np.frexp(np.max(np.abs(compared)))[1]).T  # their squares may overflow
        total = np.linalg.norm(a) + np.linalg.norm(b)
        row.ratio = float(np.linalg.norm(a - b) / total) if total else 0.0
    row.compared, row.wrong = len(compared), farthest > 1
    _hold_to_float64(row, argument)
    return row


def _hold_to_float64(row: Row, argument: _Argument) -> None:
    """Compare the gradient in the argument's own dtype with that in float64, on which the slopes have decided."""
    dtype, own = argument.problem.originals[argument.k].dtype, argument.own
    if row.wrong or dtype.name not in DTYPES or not own.size:
        return
    gaps = np.abs(own - argument.gradient)
    worst = argument.index(int(np.argmax(gaps)))
    rounding = ROUNDINGS * float(np.finfo(dtype).eps) * argument.problem.magnitude
    if gaps[worst] > DTYPES[dtype.name] * np.max(np.abs(argument.gradient)) + rounding:
        row.wrong, row.method, row.worst = True, "autodiff in float64", worst
        row.got, row.expected = float(own[worst]), float(argument.gradient[worst])


# -- one slope --------------------------------------------------------------------------------------------------------


class _Slope(NamedTuple):
    """The derivative along a direction, its estimated error, and how it was found."""

    value: float
    error: float
    rounding: float = 0.0  # what autodiff may be off, as it rounds like the function
    kink: bool = False  # the slopes from the left and from the right differ
    exact: bool = False  # by a complex step

    def judge(self, got: float, scale: float, size: float = 0.0) -> tuple[str, float]:
        """Say what autodiff's number is, beside entries of this scale, and how many times farther off than allowed.

        "right", "wrong", or what prevents an answer: a "kink", an "edge", or "noise". The size of a projection is that
        of the gradient, as its terms may cancel.
        """
        if not math.isfinite(self.value):
            return "edge", 0.0
        if self.kink:
            return "kink", 0.0
        size = max(size, abs(got), abs(self.value))
        own = 10 * self.rounding + ROUNDINGS * EPS * scale
        tolerance = TOLERANCES["complex step" if self.exact else "central differences"]
        off = abs(got - self.value) / (tolerance * size + 10 * self.error + own + np.finfo(float).tiny)
        # within such an error a gradient that is lost would pass too, unless it is zero by autodiff's own account
        if off <= 1 and 10 * self.error >= size and abs(got) > own:
            return "noise", off
        return ("right" if off <= 1 else "wrong"), off


def _slope(problem: _Problem, k: int, u: Array) -> _Slope:
    """The slope of the weighted sum of f along u, in argument k."""
    moved = np.abs(problem.arrays[k][u != 0])
    size = max(1.0, float(np.max(moved, initial=0)))
    # a projection moves all at once, so its steps begin smaller; they end below the smallest entry, which may lie near
    # the edge of the domain
    first, last = (
        1e-3 * size / float(np.linalg.norm(u)) ** 0.5,
        1e-3 * min(1e-9 * size, np.min(moved[moved > 0], initial=1)),
    )
    with np.errstate(all="ignore"):
        exact = problem.complex_slope(k, u)
        if math.isfinite(exact):
            # here the differences only need to tell whether f is analytic, as a function of |z| or of z > 0 is not
            slope = _central(problem, k, u, first, last, enough=1e-5)
            error = problem.rounding / size
            if not math.isfinite(slope.value):  # at the edge of the domain; another step for an estimate
                slope = _Slope(exact, error + abs(exact - problem.complex_slope(k, u, 1e-39)), exact=True)
            elif abs(exact - slope.value) <= 1e-5 * abs(exact) + 10 * slope.error and not slope.kink:
                slope = _Slope(exact, error, exact=True)
        if not math.isfinite(exact) or not slope.exact:
            slope = _central(problem, k, u, first, last, enough=1e-8)
    return slope._replace(rounding=problem.rounding / size)


def _central(problem: _Problem, k: int, u: Array, first: float, last: float, enough: float) -> _Slope:
    """Central differences, each extrapolated from the one before, at ever smaller steps until their error is small.

    The error has three parts. Of a smooth function, the difference is off by a multiple of step^2, and the change by
    extrapolation is more than what remains. The jump between the differences to the right and to the left is a multiple
    of step, so nothing of it remains at step 0; but a kink within the step is a jump that stays, and half of it may be
    in the difference. Last, the values round, and more so the smaller the step.
    """
    ratio = 4  # of the steps: so small that a kink at any distance shows in the change or in the jump
    best, best_jump, persistent = _Slope(math.nan, math.inf), 0.0, False
    before = (math.nan,) * 3
    step = first
    while step > last:
        plus, minus = problem.number(problem.moved(k, step * u)), problem.number(problem.moved(k, -step * u))
        central, bend = (plus - minus) / (2 * step), (plus - 2 * problem.middle + minus) / step
        rounding = max(problem.rounding, 4 * EPS * max(abs(plus), abs(minus))) / step
        change, jump = (central - before[0]) / (ratio**2 - 1), abs(ratio * bend - before[1]) / (ratio - 1)
        # by noise, two jumps agree seldom, and rarely so far above it
        persistent |= abs(jump - before[2]) < 0.1 * jump and jump > 20 * rounding
        error = abs(change) + jump / 2 + rounding
        if error < best.error:
            best, best_jump = _Slope(central + change, error), jump
        if error <= enough * abs(best.value) + 2 * rounding or rounding > best.error:
            break
        before, step = (central, bend, jump), step / ratio
    kink = persistent and best_jump >= best.error and best.error > TOLERANCES["central differences"] * abs(best.value)
    return best._replace(kink=kink)
