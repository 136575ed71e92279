"""Slopes of a function, from its values alone, which know nothing of gradient rules.

The slope of ``phi(t) = J(theta + t u)`` at 0 comes from a step into the complex plane, exact to rounding where the
function is analytic and runs on complex numbers, or else from central differences, extrapolated to step 0. What settles
every doubt is an honest estimate of their error: it counts the rounding, the curvature, and any jump between the slopes
from the left and from the right.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tinygrad_dls.arrays import Array, as_array
from tinygrad_dls.nn import Module, Parameter, with_parameters
from tinygrad_dls.tensor import Tensor, no_grad, values
from tinygrad_dls.transforms import argument_names, check_level, function_name, gradients, runner

EPS = float(np.finfo(float).eps)
# Of the entry itself, and on top of ten times the slope's error, of which we know the order. Extrapolated differences
# are good to 1e-8, where we stop refining them; a complex step differs from float64 rules by roundings.
TOLERANCES = {"central differences": 1e-6, "complex step": 1e-9}
ROUNDINGS = 64  # that a sum in a rule may be off, of the largest entry: where terms cancel, none remembers their size


class Problem:
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
            _refuse_models_in_collections(inputs, several)
            self.args = [as_array(values(x), f"gradcheck: {name}") for x, name in zip(several, names, strict=False)]
            _refuse_wrong_number(f, self.args, self.name)
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
        self.rounding = 4 * float(np.finfo(value.dtype).eps) * self.magnitude + max(filter(math.isfinite, bends))

    def number(self, arrays: list[Array]) -> float:
        """The weighted sum of f's entries."""
        return float(np.sum(self.weights * self.value(arrays)))

    def moved(self, k: int, step: Array) -> list[Array]:
        """All the arrays, argument k moved by a step."""
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


def _refuse_models_in_collections(inputs: Any, several: tuple[Any, ...]) -> None:
    advice = "pass the model alone, gradcheck(lambda model: ..., model), and let the function hold the data."
    if any(isinstance(x, Module) for x in [*several, *(inputs if isinstance(inputs, list) else ())]):
        raise TypeError(f"gradcheck: a model among other inputs would not be checked; {advice}")
    if isinstance(inputs, list) and any(isinstance(x, Tensor) and x.requires_grad for x in inputs):
        raise TypeError(f"gradcheck: got a list of Tensors that require gradients; of a model's parameters, {advice}")


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


# -- one slope --------------------------------------------------------------------------------------------------------


class Slope(NamedTuple):
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


def slope_along(problem: Problem, k: int, u: Array) -> Slope:
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
                slope = Slope(exact, error + abs(exact - problem.complex_slope(k, u, 1e-39)), exact=True)
            elif abs(exact - slope.value) <= 1e-5 * abs(exact) + 10 * slope.error and not slope.kink:
                slope = Slope(exact, error, exact=True)
        if not math.isfinite(exact) or not slope.exact:
            slope = _central(problem, k, u, first, last, enough=1e-8)
    return slope._replace(rounding=problem.rounding / size)


def _central(problem: Problem, k: int, u: Array, first: float, last: float, enough: float) -> Slope:
    """Central differences, each extrapolated from the one before, at ever smaller steps until their error is small.

    The error has three parts. Of a smooth function, the difference is off by a multiple of step^2, and the change by
    extrapolation is more than what remains. The jump between the differences to the right and to the left is a multiple
    of step, so nothing of it remains at step 0; but a kink within the step is a jump that stays, and half of it may be
    in the difference. Last, the values round, and more so the smaller the step.
    """
    ratio = 4  # of the steps: so small that a kink at any distance shows in the change or in the jump
    best, best_jump, persistent = Slope(math.nan, math.inf), 0.0, False
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
            best, best_jump = Slope(central + change, error), jump
        if error <= enough * abs(best.value) + 2 * rounding or rounding > best.error:
            break
        before, step = (central, bend, jump), step / ratio
    kink = persistent and best_jump >= best.error and best.error > TOLERANCES["central differences"] * abs(best.value)
    return best._replace(kink=kink)
