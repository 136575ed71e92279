"""Slopes of a function, from its values alone, which know nothing of gradient rules.

The slope of ``phi(t) = J(theta + t u)`` at 0 comes from a step into the complex plane, exact to rounding where the
function is analytic and runs on complex numbers, or else from central differences, extrapolated to step 0. What settles
every doubt is an honest estimate of their error: it counts the rounding, the curvature, and any jump between the slopes
from the left and from the right. Where that calls a gradient wrong, `tinygrad_dls.check.doubts` has the last word.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from tinygrad_dls.engine.arrays import Array, as_array
from tinygrad_dls.engine.devices import to_host
from tinygrad_dls.engine.recording import no_grad
from tinygrad_dls.engine.tensor import Tensor, values
from tinygrad_dls.nn.module import Module, Parameter
from tinygrad_dls.nn.substitution import on_host, with_parameters
from tinygrad_dls.transforms import argument_names, check_level, function_name, gradients, runner
from tinygrad_dls.trees import is_tree, leaves, named_leaves, spelled, with_leaves

EPS = float(np.finfo(float).eps)
SMALLEST = float(np.finfo(float).smallest_subnormal)
# Of the entry itself, and on top of ten times the slope's error, of which we know the order. Extrapolated differences
# are good to 1e-8, where we stop refining them; a complex step differs from float64 rules by roundings.
TOLERANCES = {"central differences": 1e-6, "complex step": 1e-9}
ROUNDINGS = 64  # that a sum in a rule may be off, of the largest entry: where terms cancel, none remembers their size
COMPLEX_STEP = 1e-40  # its square, relative to 1, is far below the roundings
ENOUGH = 1e-3  # with fewer digits, it is not told
VANISHING = 2e-6  # of what slopes are like: such a one may be zero
FIRST = 1e-3  # of the real steps, relative to the inputs, or to 1 where they are smaller
RATIO = 4  # of these steps: so small that a kink at any distance shows in the change or in the jump


class Problem:
    """A function of arrays or of a module as a function of a list of arrays, and its gradients by autodiff."""

    def __init__(self, f: Callable[..., Any], inputs: Any) -> None:
        if not callable(f):
            raise TypeError(f"gradcheck: expected a function, got {f!r}. Write gradcheck(f, x), not gradcheck(f(x)).")
        inputs = on_host(inputs)[0] if isinstance(inputs, Module) else inputs
        self.f, self.inputs, self.name = f, inputs, function_name(f)
        if isinstance(inputs, Module):
            named = {name: p for name, p in inputs.named_parameters() if p.requires_grad}
            self.names, self.parameters = list(named), list(named.values())
            self.originals = [values(p) for p in self.parameters]
        else:
            several, names = inputs if isinstance(inputs, tuple) else (inputs,), argument_names(f)
            names += [f"argument {i}" for i in range(len(names) + 1, len(several) + 1)]
            _refuse_models(several)
            _refuse_wrong_number(f, several, self.name)
            found = [
                (spelled(name, keys), x)
                for name, tree in zip(names, several, strict=False)
                for keys, x in named_leaves(tree)
            ]
            names = [name for name, _ in found]
            self.args = [to_host(as_array(values(x), f"gradcheck: {name}")) for name, x in found]
            if any(map(is_tree, several)):
                self.f = lambda *arrays: f(*with_leaves(list(several), arrays))
            self.places = [i for i, x in enumerate(self.args) if x.dtype.kind == "f"]
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
        digits = np.finfo(value.dtype)
        self.eps, self.smallest = float(digits.eps), float(digits.smallest_subnormal)
        self.rounding = 4 * self.eps * self.magnitude + max(filter(math.isfinite, bends))

    @cached_property
    def nearby(self) -> list[tuple[list[Array], list[Array]]]:
        """Inputs that differ in their last bits, and autodiff's gradients there: how far rounding reaches."""
        draws, places = np.random.default_rng(0), []
        for _ in range(3):
            arrays = [x + 4 * EPS * x * draws.uniform(-1, 1, size=x.shape) for x in self.arrays]
            places.append((arrays, self.gradients(arrays)))
        return places

    def number(self, arrays: list[Array]) -> float:
        """The weighted sum of f's entries."""
        return float(np.sum(self.weights * self.value(arrays)))

    def moved(self, k: int, step: Array) -> list[Array]:
        """All the arrays, argument k moved by a step."""
        return [x + step if i == k else x for i, x in enumerate(self.arrays)]

    def complex_slope(self, k: int, u: Array, step: float = COMPLEX_STEP, arrays: list[Array] | None = None) -> float:
        """The slope along u in argument k by a step into the complex plane; NaN if f does not run there."""
        if not self.complex[k]:
            return math.nan
        moved = [x + 1j * step * u if i == k else x for i, x in enumerate(arrays or self.arrays)]
        try:
            with no_grad():
                y = np.asarray(values(self.f(*self.arguments(moved, wrap=False))))
                return float(np.imag(np.sum(self.weights * y)) / step)
        except Exception:  # whatever f does not do with complex numbers
            self.complex[k] = False
            return math.nan

    def gradients(self, arrays: list[Array]) -> list[Array]:
        """Autodiff's gradients of that sum, in float64."""
        module = isinstance(self.inputs, Module)
        run = runner("gradcheck", self.f, 0 if module else tuple(self.places))
        y, level, leaves = run(tuple(self.arguments(arrays, wrap=module)), {})
        check_level("gradcheck", self.f, y, level)
        found = gradients(y, leaves, self.weights.astype(y.dtype).reshape(y.shape))
        return [np.asarray(values(g), dtype=float) for g in (found.values() if module else found)]


def _refuse_models(several: tuple[Any, ...]) -> None:
    if any(isinstance(x, Module) for x in leaves(several)):
        raise TypeError(
            "gradcheck: a model among other inputs would not be checked; pass the model alone, "
            "gradcheck(lambda model: ..., model), and let the function hold the data."
        )


def _refuse_wrong_number(f: Callable[..., Any], args: tuple[Any, ...], name: str) -> None:
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


# -- one slope --------------------------------------------------------------------------------------------------------


class Slope(NamedTuple):
    """The derivative along a direction, its estimated error, and how it was found."""

    value: float
    error: float
    kink: bool = False  # the slopes from the left and from the right differ
    exact: bool = False  # by a complex step
    flat: float = 0.0  # a step within which the function does not change, to the last bit; 0 if there is none
    moves: bool = False  # in larger ones it does: behind a kink, or between values that round
    hidden: bool = False  # there is one, but a complex step sees a slope: it may be lost in rounding
    blur: float = 0.0  # of an exact slope: what differences do not see of it
    natural: float = 0.0  # what slopes of this function are like, from its size and from its changes

    def judge(self, got: float, size: float) -> tuple[str, float]:
        """Say what autodiff's number seems to be, and how many times farther off than allowed.

        "right", "wrong", or what prevents an answer: a "kink", an "edge", or "noise". The size of a projection is that
        of the gradient, as its terms may cancel.
        """
        if not math.isfinite(self.value):
            return "edge", 0.0
        if self.kink:
            return "kink", 0.0
        size = max(size, abs(got), abs(self.value))
        off = abs(got - self.value) / (self.tolerance * size + 10 * self.error + np.finfo(float).tiny)
        if off > 1:
            return "wrong", off
        # with such an error, a gradient that is a little wrong would pass too, or one that is lost
        lost = 10 * self.error > ENOUGH * size and not ((self.flat or self.exact) and got == self.value)
        lost |= self.exact and got == 0 and self.blur > VANISHING * self.natural > 0
        return ("noise" if self.hidden or lost or (self.flat and self.moves) else "right"), off

    @property
    def tolerance(self) -> float:
        """How many of the entry's own digits are held to account."""
        return TOLERANCES["complex step" if self.exact else "central differences"]

    @property
    def tells(self) -> bool:
        """Whether it tells more than an order of magnitude."""
        return self.error <= 1e-3 * abs(self.value)

    def vanishes(self, got: float) -> bool:
        """Whether both are zero to the digits of what a slope of this function is like."""
        error = 10 * self.error + self.blur
        return max(abs(got), abs(self.value)) <= ROUNDINGS * EPS * self.natural + error <= VANISHING * self.natural


class Ray(NamedTuple):
    """The weighted sum of f along a direction u in argument k, as a function of the step."""

    problem: Problem
    k: int
    u: Array

    def __call__(self, step: float) -> float:
        """The value at a step from the inputs."""
        return self.problem.number(self.problem.moved(self.k, step * self.u))

    @property
    def inputs(self) -> Array:
        """The sizes of those inputs that move, per unit of the step."""
        moves = self.u != 0
        sizes: Array = np.abs(self.problem.arrays[self.k][moves] / self.u[moves])
        return sizes

    @property
    def size(self) -> float:
        """The largest of these sizes, or 1 if they are smaller."""
        return max(1.0, float(np.max(self.inputs, initial=0)))

    @property
    def first(self) -> float:
        """The largest step that is tried; smaller where many inputs move at once."""
        relative = max(FIRST, self.problem.eps**0.25)  # larger if it rounds to few digits
        return float(relative * self.size / np.count_nonzero(self.u) ** 0.25)

    @property
    def last(self) -> float:
        """The smallest: below the smallest input, which may lie near the edge of the domain."""
        inputs = self.inputs
        return FIRST * min(1e-9 * self.size, float(np.min(inputs[inputs > 0], initial=1)))


def slope_along(problem: Problem, k: int, u: Array) -> Slope:
    """The slope of the weighted sum of f along u, in argument k."""
    ray = Ray(problem, k, u)
    if not math.isfinite(ray.size):
        return Slope(math.nan, math.inf)  # there is no step from infinity
    with np.errstate(all="ignore"):
        exact = problem.complex_slope(k, u)
        if not math.isfinite(exact):
            return _central(ray, enough=1e-8)
        # here the differences only need to tell whether f is analytic, as a function of |z| or of z > 0 is not
        slope = _central(ray, enough=1e-5)
        error = ROUNDINGS * SMALLEST / COMPLEX_STEP
        if not 10 * slope.error <= 1e-3 * abs(exact):  # as of z^3 at 0
            error += 2 * abs(exact - problem.complex_slope(k, u, COMPLEX_STEP / 16))
        if not math.isfinite(slope.value):  # at the edge of the domain
            return slope if exact == 0 else Slope(exact, error + problem.rounding / ray.size, exact=True)
        if slope.flat and abs(exact) > error:
            return slope._replace(hidden=True)
        lost = slope.tells and slope.error < error  # below the smallest number
        if slope.kink or lost or abs(exact - slope.value) > 1e-5 * abs(exact) + 10 * slope.error + error:
            return _central(ray, enough=1e-8)
        blur = 10 * slope.error * (10 * slope.error > 0.5 * abs(exact))
        return Slope(exact, error, exact=True, blur=blur, natural=slope.natural)


def _central(ray: Ray, enough: float) -> Slope:
    """Central differences, each extrapolated from the one before, at ever smaller steps until their error is small.

    The error has three parts. Of a smooth function, the difference is off by a multiple of step^2, and the change by
    extrapolation is more than what remains. The jump between the differences to the right and to the left is a multiple
    of step, so nothing of it remains at step 0; but a kink within the step is a jump that stays, and half of it may be
    in the difference. Last, the values round, and more so the smaller the step; by how much shows at the latest where
    the function stands still, though it has moved in a larger step.
    """
    problem, middle = ray.problem, ray.problem.middle
    best, best_step, best_jump = Slope(math.nan, math.inf), 1.0, 0.0
    before, persistent, sloped, largest, moved = (math.nan,) * 3, False, False, 0.0, 0.0
    inputs, flat = EPS * float(np.max(ray.inputs, initial=0)), 0.0  # the steps round too
    step, last = ray.first, ray.last
    near = 0.1 * float(np.min(ray.inputs, initial=1))
    while step > last:
        plus, minus = ray(step), ray(-step)
        central, bend = (plus - minus) / (2 * step), (plus - 2 * middle + minus) / step
        off = float(np.maximum(abs(plus - middle), abs(minus - middle)))  # NaN if one of them is
        largest = max(largest, off if math.isfinite(off) else 0.0)
        flat = step * (off == 0)
        if flat and sloped:  # a plateau, or the last bits; where there is no slope but a kink, it may well be flat
            if not math.isfinite(best.value):
                best, best_step = Slope(*before[:1], 0.0), RATIO * step
            best = best._replace(error=max(best.error, moved / best_step))
            break
        moved = off if math.isfinite(off) else 0.0
        sloped |= abs(central) > 2 * abs(bend)
        rounding = max(problem.rounding, 4 * problem.eps * max(abs(plus), abs(minus)), problem.smallest) / step
        rounding += abs(central) * inputs / step
        change, jump = (central - before[0]) / (RATIO**2 - 1), abs(RATIO * bend - before[1]) / (RATIO - 1)
        # by noise, two jumps agree seldom, and rarely so far above it
        persistent |= abs(jump - before[2]) < 0.1 * jump and jump > 20 * rounding
        error = abs(change) + jump / 2 + rounding
        new = Slope(0.0 if flat else central + change, error, flat=flat)
        if (new.tells, -error) > (best.tells, -best.error):
            best, best_step, best_jump = new, step, jump
        if error <= enough * abs(best.value) + 2 * rounding or rounding > best.error:
            if best.tells or flat or not near > last:
                break
            if step > near:  # a pole, or the edge of the domain, is that near
                step, before = near, (math.nan,) * 3
                continue
        before, step = (central, bend, jump), step / RATIO
    kink = persistent and best_jump >= best.error and best.error > TOLERANCES["central differences"] * abs(best.value)
    natural = max(problem.magnitude / ray.size, largest / ray.first)
    return best._replace(kink=kink, natural=natural, moves=largest > 0)
