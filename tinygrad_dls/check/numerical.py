"""Autodiff against slopes: `gradcheck`, for a function of arrays or of a model.

The slope along a direction u is the gradient's product with u, and can be had from values alone (see
`tinygrad_dls.check.slopes`). For few entries, u is each of them in turn; for many, random signs, so that one slope
holds all entries to account, and halving finds the entry to blame.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinygrad_dls.check.doubts import rounds_more, settled
from tinygrad_dls.check.slopes import ROUNDINGS, Problem, Slope, slope_along
from tinygrad_dls.engine.arrays import Array, positive_integer
from tinygrad_dls.engine.viewed import Viewed
from tinygrad_dls.nn.init import generator

__all__ = ["GradCheck", "GradientError", "Row", "gradcheck"]

Index = tuple[int, ...]

# What sums in rules of few digits may be off, of the largest entry: some hundred of their roundings.
DTYPES = {"float32": 1e-4, "float16": 3e-2}
ALIKE = 1024.0  # how many times larger than others entries may be to move by the same step
MOST_KINKS = 16  # among the entries of one argument; finding each takes a bisection


class GradientError(AssertionError):
    """A gradient that is not the slope of its function; `result` holds the whole table."""

    def __init__(self, text: str, result: GradCheck) -> None:
        super().__init__(text)
        self.result = result

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.result)  # for another process: else a pool of them waits for ever


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
        Entries that cannot be told, right or wrong: they drown in the rounding of the function's values, or lie on a
        plateau on which small steps change nothing, or the function is no smooth curve at any scale.
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
        says = ["WRONG" + (": not finite" if not math.isfinite(self.got) else "") if self.wrong else right]
        kinks = "kink" + ("s" if len(self.kinks) > 1 else "")
        for found, what in (self.kinks, kinks), (self.noisy, "too noisy to tell"), (self.edges, "without a slope"):
            says += [f"{len(found)} {what}, first at {list(found[0])}"] if found else []
        if self.uncompared:
            says.append(f"{self.uncompared} projection{'s' if self.uncompared > 1 else ''} not compared")
        return ", ".join(says)


@dataclass(repr=False)
class GradCheck(Viewed):
    """The result of `gradcheck`; shows as a table.

    Attributes
    ----------
    function : str
        The name of the function.
    rows : list of Row
        What was found for each argument.
    """

    function: str
    rows: list[Row]

    @property
    def complete(self) -> bool:
        """Whether all that was looked at could be told: no kinks, no noise, no edges, every projection compared."""
        return not any(row.kinks or row.noisy or row.edges or row.uncompared for row in self.rows)

    def cells(self) -> list[tuple[str, ...]]:
        """The table as text, its head first."""
        head = ("", "shape", "checked", "method", "ratio", "worst at", "autodiff", "slope", "")
        lines: list[tuple[str, ...]] = [head]
        for row in self.rows:
            where = "a projection" if row.worst is None else str(list(row.worst))
            numbers = [f"{row.ratio:.1e}", where, f"{row.got:.10g}", f"{row.expected:.10g}"]
            if not row.compared and not row.wrong:
                numbers = [""] * 4
            lines.append((row.argument, str(row.shape), row.checked, row.method, *numbers, str(row)))
        return lines

    def __repr__(self) -> str:
        lines = self.cells()
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
    inputs : array, dict or list of arrays, tuple of arguments, or Module
        Where to check: the argument of f, or a tuple of its arguments, of which those of floats are checked, and the
        arrays in dicts and lists each by itself; or a module, of which all parameters are checked that require a
        gradient.
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
        A table with a row per argument.

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

    What cannot be told is called neither wrong nor right: the table lists entries that are "too noisy to tell", as they
    drown in the rounding of the function's values or lie on a plateau, such as that of the cross-entropy of a sigmoid
    that is sure; and those at the edge of its domain. In a test, ``assert gradcheck(f, x).complete`` wants an answer to
    each. Where a function does not change, in no digit, or a millionth of what it does nearby, 0 is right.

    Nothing is called wrong at first sight: a gradient that is not the slope is looked at again. It must be contradicted
    by smooth curves at two scales, or by complex steps at inputs that differ in their last bits.

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
    problem = Problem(f, inputs)
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


# -- one argument -----------------------------------------------------------------------------------------------------


class _Argument:
    """One argument of the problem: its gradient by autodiff, and the slopes along any direction."""

    def __init__(self, problem: Problem, k: int, gradient: Array, own: Array) -> None:
        self.problem, self.k = problem, k
        self.gradient, self.own = gradient, own  # in float64, and in the argument's own dtype
        self.flat = self.gradient.reshape(-1)
        self.entries: dict[int, tuple[float, Slope]] = {}
        self.judged: dict[int, tuple[str, float]] = {}
        # in a projection, each entry moves in proportion to its size, if sizes differ much
        sizes = np.exp2(np.round(np.log2(np.maximum(1.0, np.abs(problem.arrays[k].reshape(-1))))))
        self.sizes = sizes if np.max(sizes, initial=1) > ALIKE * np.min(sizes, initial=np.inf) else np.ones_like(sizes)

    def along(self, u: Array) -> tuple[float, Slope]:
        """What autodiff got along a direction, and the slope."""
        return float(self.flat @ u), slope_along(self.problem, self.k, u.reshape(self.gradient.shape))

    def at(self, i: int) -> tuple[float, Slope]:
        """What autodiff got for one entry, and the slope."""
        if i not in self.entries:
            self.entries[i] = self.along(self.unit(i))
        return self.entries[i]

    def unit(self, i: int) -> Array:
        u = np.zeros(self.flat.size)
        u[i] = 1
        return u

    def judge(self, u: Array, got: float, slope: Slope, size: float = 0.0) -> tuple[str, float]:
        """What autodiff's number along a direction is, with a second look at what seems wrong."""
        verdict, off = slope.judge(got, size)
        if verdict in ("wrong", "noise"):
            verdict = settled(self.problem, self.k, u.reshape(self.gradient.shape), got, slope, size)
        return verdict, off if verdict == "wrong" else min(off, 1.0)

    def judge_at(self, i: int) -> tuple[str, float]:
        """What autodiff's number for one entry is, as `judge` says of a direction."""
        if i not in self.judged:
            self.judged[i] = self.judge(self.unit(i), *self.at(i))
        return self.judged[i]

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


class _Tally:
    """What was found entry by entry, and along projections, for one row."""

    def __init__(self, argument: _Argument, row: Row) -> None:
        self.argument, self.row = argument, row
        self.unclear = {"kink": row.kinks, "noise": row.noisy, "edge": row.edges}
        self.compared: list[tuple[float, float]] = []
        self.farthest = -1.0

    def note(self, verdict: str, off: float, got: float, slope: Slope, index: Index | None) -> None:
        """Note what a number of autodiff's is: of an entry, or of a projection, which has no index."""
        row = self.row
        if verdict not in self.unclear:
            self.compared.append((got, slope.value))
            if off > self.farthest:
                self.farthest, row.worst, row.got, row.expected = off, index, got, slope.value
        elif index is not None:
            self.unclear[verdict].append(index)
        else:
            row.uncompared += 1

    def entry(self, i: int) -> None:
        """Check an entry by itself."""
        self.note(*self.argument.judge_at(i), *self.argument.at(i), self.argument.index(i))

    def projection(self, u: Array, size: float) -> None:
        """Check a projection, without the entries at kinks; if it is wrong, tell which entry is to blame."""
        argument, kinks = self.argument, self.row.kinks
        for index in kinks:
            u.reshape(argument.gradient.shape)[index] = 0
        while True:
            got, slope = argument.along(u)
            verdict, off = argument.judge(u, got, slope, size)
            if verdict not in ("kink", "wrong") or len(kinks) >= MOST_KINKS:
                break
            i = argument.culprit(u)
            blamed, _ = argument.judge_at(i)
            if blamed == "wrong":  # told instead of its sum
                self.entry(i)
                return
            if blamed != "kink":
                break
            self.entry(i)
            u[i] = 0
        self.note(verdict, off, got, slope, None)

    def finish(self) -> Row:
        """The row, with the ratio over all that was compared."""
        if self.compared:
            a, b = np.ldexp(self.compared, -np.frexp(np.max(np.abs(self.compared)))[1]).T  # their squares may overflow
            total = np.linalg.norm(a) + np.linalg.norm(b)
            self.row.ratio = float(np.linalg.norm(a - b) / total) if total else 0.0
        self.row.compared, self.row.wrong = len(self.compared), bool(self.farthest > 1)
        return self.row


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
        signs = [argument.sizes * rng.choice([-1.0, 1.0], size=flat.size) for _ in range(projections)]
        count = f"{projections} projections, {len(chosen)} of {flat.size:,} entries"
    exact = all(argument.at(i)[1].exact for i in chosen)
    tally = _Tally(argument, Row(name, shape, count, "complex step" if exact else "central differences"))
    for i in chosen:
        tally.entry(i)
    parts = np.abs(flat * argument.sizes)
    largest_part = float(np.max(parts, initial=0)) or 1.0
    size = largest_part * float(np.linalg.norm(parts / largest_part))  # of a projection; the squares may overflow
    for u in signs:
        tally.projection(u, size)
    row = tally.finish()
    _hold_to_float64(row, argument)
    return row


def _hold_to_float64(row: Row, argument: _Argument) -> None:
    """Compare the gradient in the argument's own dtype with that in float64, on which the slopes have decided."""
    dtype, own = argument.problem.originals[argument.k].dtype, argument.own
    if row.wrong or dtype.name not in DTYPES or not own.size:
        return
    gaps = np.abs(own - argument.gradient)
    digits = np.finfo(dtype)
    # a product of two factors below the root of the smallest number is lost
    rounding = max(ROUNDINGS * float(digits.eps) * argument.problem.magnitude, float(digits.smallest_normal) ** 0.5)
    far = gaps > DTYPES[dtype.name] * np.max(np.abs(argument.gradient)) + rounding
    if not np.any(far):
        return
    worst = argument.index(int(np.argmax(gaps)))
    if rounds_more(argument.problem, argument.k, worst, float((own - argument.gradient)[worst])):
        row.noisy += [index for i in np.flatnonzero(far) if (index := argument.index(int(i))) not in row.noisy]
        return
    row.wrong, row.method, row.worst = True, "autodiff in float64", worst
    row.got, row.expected = float(own[worst]), float(argument.gradient[worst])
