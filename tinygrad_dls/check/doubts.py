"""A second look at a gradient that seems wrong, as rounding might explain it.

Nobody knows how a function rounds inside: ``-log(1 - sigmoid(z))`` loses all but a few digits where z is large, and
then has plateaus on which tiny steps change nothing. So nothing is called wrong that was not seen twice, at scales at
which the values lie on a smooth curve, or by complex steps that stay what they are when inputs change in their last
bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from tinygrad_dls.check.slopes import EPS, FIRST, ROUNDINGS, TOLERANCES, Problem, Ray, Slope
from tinygrad_dls.engine.arrays import Array

# Where a curve is sampled, in units of the scale: irregular, so that no staircase looks like a line, and on both sides.
POINTS = np.array([0.0, 1.0, -0.96, 0.81, -0.86, 0.64, -0.58, 0.43, -0.49, 0.27, -0.22, 0.11, -0.15])
POWERS = POINTS[:, None] ** np.arange(6)
FIT = np.linalg.pinv(POWERS)
SPARE = len(POINTS) - POWERS.shape[1]  # points more than coefficients: they tell the noise
SPREAD = float(np.linalg.norm(FIT[1]))  # of the slope, for noise of size 1
SMOOTH = 0.02  # at most, of the height, may points lie off a curve
SCALES, FROM = 8.0, 512.0  # from larger steps than those that estimate the slope, as noise matters less there
FAR = 16.0  # in such strides, a function that stands still is searched for a change
FARTHEST = 1e30


def settled(problem: Problem, k: int, u: Array, got: float, slope: Slope, size: float = 0.0) -> str:
    """The verdict on a gradient that seems wrong or lost in noise, by a closer look: "wrong", "noise" or "right".

    Parameters
    ----------
    problem, k, u
        The function, the argument, and the direction in it.
    got : float
        What autodiff got along the direction.
    slope : Slope
        What it should be.
    size : float
        The size of the gradient, for a projection.
    """
    gap, size = abs(got - slope.value), max(size, abs(got), abs(slope.value))
    with np.errstate(all="ignore"):
        spread = 10 * max(abs(float(np.sum(gradients[k] * u)) - got) for _, gradients in problem.nearby)
        if slope.flat and got == 0 and not slope.hidden:
            return "noise" if _begins_with_a_jump(Ray(problem, k, u), slope.flat) else "right"
        if not slope.hidden and abs(got) <= spread and slope.vanishes(got):
            return "right"
        if slope.exact:
            steps = [problem.complex_slope(k, u, arrays=arrays) for arrays, _ in problem.nearby]
            spread += 10 * max(abs(s - slope.value) for s in steps)
        spread += ROUNDINGS * EPS * problem.magnitude  # of terms that cancel in a rule
        if not gap > slope.tolerance * size + 10 * slope.error + spread:  # NaN is noise
            return "noise"
        if _moves_in_steps(Ray(problem, k, u), got, gap):
            return "noise"
        if slope.exact and not slope.blur:
            fine = gap < TOLERANCES["central differences"] * size  # finer than differences can tell
            return "noise" if fine and _comes_and_goes(problem, k, u, got - slope.value) else "wrong"
        ray = Ray(problem, k, u)
        if slope.flat:
            return "noise" if _begins_with_a_jump(ray, slope.flat) else "wrong"
        return "wrong" if _contradicted(ray, got, size, spread) else "noise"


def _comes_and_goes(problem: Problem, k: int, u: Array, gap: float) -> bool:
    """Whether the gap between autodiff and complex steps is another one nearby, as of rounding and not of a mistake."""
    draws = np.random.default_rng(0)
    for _ in range(8):
        arrays = [x * (1 + FIRST * draws.uniform(-1, 1, size=x.shape)) for x in problem.arrays]
        got = float(np.sum(problem.gradients(arrays)[k] * u))
        if not (got - problem.complex_slope(k, u, arrays=arrays)) * np.sign(gap) > 0.5 * abs(gap):
            return True
    return False


def _moves_in_steps(ray: Ray, got: float, gap: float) -> bool:
    """Whether autodiff's number moves in steps as large as the gap, and they are roundings of what it is elsewhere.

    ``A - Y`` does, where A is 1 but for its last digits. A gradient that jumps since the function has a kink, or since
    its rule is a wrong one, jumps by what is no rounding of anything.
    """

    def at(step: float) -> float:
        try:
            found = ray.problem.gradients(ray.problem.moved(ray.k, step * ray.u))[ray.k]
        except Exception:  # whatever f does out of its domain
            return math.nan
        return float(np.sum(found * ray.u))

    steps = [ray.size * FAR**n for n in range(-7, 4)]
    numbers = {s: at(s) for step in steps for s in (step, -step)}
    largest = max((abs(x) for x in numbers.values() if math.isfinite(x)), default=0.0)

    def is_got(side: int, step: float) -> bool:
        return at(side * step) == got

    for side in (1, -1):
        changes = [step for step in steps if numbers[side * step] != got]
        if not changes or not 0 < 0.3 * gap < 1e-12 * largest:
            continue
        edge = _edge(0.0, changes[0], partial(is_got, side))
        if 0.3 * gap < abs(at(side * edge) - got) < 1e-12 * largest:
            return True
    return False


def _begins_with_a_jump(ray: Ray, flat: float) -> bool:
    """Whether a function that stands still up to a step jumps where it first changes, as between values that round.

    The ReLU of a negative number stands still too, but begins to grow without a jump, or never.
    """

    def change(step: float) -> float:
        changes = [abs(y - ray.problem.middle) for y in (ray(step), ray(-step))]
        return max(math.inf if math.isnan(change) else change for change in changes)

    low = high = flat
    while change(high) == 0:
        low, high = high, FAR * high
        if high > FARTHEST * ray.size:
            return False
    edge = _edge(low, high, lambda step: change(step) == 0)
    return change(edge) > max(4 * ray.problem.rounding, 1e-6 * change(1.001 * edge))


def _edge(low: float, high: float, alike: Callable[[float], bool]) -> float:
    """The smallest step at which all is not alike any more, by halving, to the last bit."""
    while (middle := (low + high) / 2) not in (low, high):
        low, high = (middle, high) if alike(middle) else (low, middle)
    return high


def _contradicted(ray: Ray, got: float, size: float, spread: float) -> bool:
    """Whether curves at two scales have another slope than what was got, and none has that."""
    ends = [max(abs(ray(s * h) - ray.problem.middle) for s in (1, -1)) for h in (ray.last, SCALES * ray.last)]
    if ends[0] > max(0.5 * ends[1], ROUNDINGS * ray.problem.eps * ray.problem.magnitude):
        return False  # it jumps here
    against: list[float] = []
    supports = [math.inf]
    inputs = EPS * float(np.max(ray.inputs, initial=0))
    near = float(np.min(ray.inputs[ray.inputs > 0], initial=np.inf))
    scale = FROM * ray.first
    while (scale := scale / SCALES) > ray.last:
        y = np.array([ray(scale * t) if t else ray.problem.middle for t in POINTS.tolist()])
        y -= y[0]
        height = float(np.max(np.abs(y)))
        if height == 0 and against and got == 0:
            return False  # as of what is rounded
        if not 0 < height < math.inf:
            continue
        coefficients = FIT @ y
        residuals = (y - POWERS @ coefficients) / height  # their squares may overflow
        known = max(ray.problem.rounding, ray.problem.eps * height, height * inputs / scale)
        noise = max(height * float(np.linalg.norm(residuals)) / SPARE**0.5, known)
        if noise > max(SMOOTH * height, 4 * known):
            continue  # no smooth curve, and no noise that we know of
        slope, error = coefficients[1] / scale, 10 * SPREAD * noise / scale
        gap, allowed = abs(slope - got), 1e-6 * size + error + spread
        if near * gap <= known and scale * abs(got) > 1e3 * height:
            continue  # so near to a pole, or to the edge of the domain, that it does not show
        if gap > allowed:
            against.append(gap)
        else:
            supports.append(allowed)
    return len(against) > 1 and min(supports) > 0.3 * min(against)


def rounds_more(problem: Problem, k: int, index: tuple[int, ...], gap: float) -> bool:
    """Whether a gradient in the inputs' own dtype is off by rounding, from its gap to that in float64 at an entry.

    It is, if the function's values in this dtype are farther from those in float64 than its digits explain, or if the
    gap comes and goes nearby.
    """
    draws = np.random.default_rng(0)
    eps = max(float(np.finfo(x.dtype).eps) for x in problem.originals)
    with np.errstate(all="ignore"):
        for _ in range(8):
            own = [(x * (1 + FIRST * draws.uniform(-1, 1, size=x.shape))).astype(x.dtype) for x in problem.originals]
            doubles = [x.astype(float) for x in own]
            off = abs(problem.number(own) - problem.number(doubles))
            gaps = [problem.gradients(arrays)[k][index] for arrays in (own, doubles)]
            if not off <= 32 * eps * problem.magnitude or not 0.5 * abs(gap) < (gaps[0] - gaps[1]) * np.sign(gap):
                return True
    return False
