"""Further ops: inverse and hyperbolic functions, logarithms of other bases, running products, rounding.

They are loaded when one of NumPy's functions here is first called on a Tensor. Steps, such as ``np.floor`` and
``np.sign``, have the derivative 0 wherever they have one, and 0 it is at the jumps as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_dls.engine.arrays import Array
from tinygrad_dls.engine.autodiff import op
from tinygrad_dls.engine.devices import like
from tinygrad_dls.engine.ops import abs, divide, maximum, minimum, multiply, power, where
from tinygrad_dls.engine.tensor import Op, Rule, implements, values

__all__ = [
    "arccos",
    "arccosh",
    "arcsin",
    "arcsinh",
    "arctan",
    "arctan2",
    "arctanh",
    "cosh",
    "cumprod",
    "exp2",
    "hypot",
    "log2",
    "log10",
    "logaddexp",
    "positive",
    "reciprocal",
    "sinh",
    "tan",
]  # fmt: skip

_LOG_2, _LOG_10 = math.log(2), math.log(10)

# -- angles -----------------------------------------------------------------------------------------------------------


@op(np.tan)
def tan(x: Array) -> Rule:
    """Tangent: ``dz/dx = 1 + z^2``."""
    z = np.tan(x)
    return z, (lambda dz: dz * (1 + z * z),)


@op(np.arcsin)
def arcsin(x: Array) -> Rule:
    """Inverse sine: ``dz/dx = 1 / sqrt(1 - x^2)``, infinite at 1 and -1."""
    return np.arcsin(x), (lambda dz: dz / np.sqrt((1 - x) * (1 + x)),)


@op(np.arccos)
def arccos(x: Array) -> Rule:
    """Inverse cosine: ``dz/dx = -1 / sqrt(1 - x^2)``, infinite at 1 and -1."""
    return np.arccos(x), (lambda dz: -dz / np.sqrt((1 - x) * (1 + x)),)


@op(np.arctan)
def arctan(x: Array) -> Rule:
    """Inverse tangent: ``dz/dx = 1 / (1 + x^2)``."""
    return np.arctan(x), (lambda dz: dz / (1 + x * x),)


@op(np.arctan2)
def arctan2(y: Array, x: Array) -> Rule:
    """The angle of the point (x, y): ``dz/dy = x / r^2``, ``dz/dx = -y / r^2``; 0 where r is."""

    def share(dz: Array, a: Array) -> Array:
        r = np.hypot(x, y)
        r = np.where(values(r) == 0, 1, r)
        return dz / r * (a / r)

    return np.arctan2(y, x), (lambda dz: share(dz, x), lambda dz: -share(dz, y))


@op(np.hypot)
def hypot(x: Array, y: Array) -> Rule:
    """The length of (x, y), ``z = sqrt(x^2 + y^2)``, without overflow: ``dz/dx = x / z``, and 0 where z is."""
    z = np.hypot(x, y)

    def share(dz: Array, a: Array) -> Array:
        return dz * (a / np.where(values(z) == 0, 1, z))

    return z, (lambda dz: share(dz, x), lambda dz: share(dz, y))


# -- hyperbolic functions ---------------------------------------------------------------------------------------------


@op(np.sinh)
def sinh(x: Array) -> Rule:
    """Hyperbolic sine: ``dz/dx = cosh x``."""
    return np.sinh(x), (lambda dz: dz * np.cosh(x),)


@op(np.cosh)
def cosh(x: Array) -> Rule:
    """Hyperbolic cosine: ``dz/dx = sinh x``."""
    return np.cosh(x), (lambda dz: dz * np.sinh(x),)


@op(np.arcsinh)
def arcsinh(x: Array) -> Rule:
    """Inverse hyperbolic sine: ``dz/dx = 1 / sqrt(1 + x^2)``."""
    return np.arcsinh(x), (lambda dz: dz / np.hypot(x, 1.0),)


@op(np.arccosh)
def arccosh(x: Array) -> Rule:
    """Inverse hyperbolic cosine: ``dz/dx = 1 / sqrt(x^2 - 1)``, infinite at 1."""
    return np.arccosh(x), (lambda dz: dz / np.sqrt(x - 1) / np.sqrt(x + 1),)


@op(np.arctanh)
def arctanh(x: Array) -> Rule:
    """Inverse hyperbolic tangent: ``dz/dx = 1 / (1 - x^2)``, infinite at 1 and -1."""
    return np.arctanh(x), (lambda dz: dz / ((1 - x) * (1 + x)),)


# -- powers and logarithms --------------------------------------------------------------------------------------------


@op(np.exp2)
def exp2(x: Array) -> Rule:
    """``z = 2^x``: ``dz/dx = z log 2``."""
    z = np.exp2(x)
    return z, (lambda dz: dz * z * _LOG_2,)


@op(np.log2)
def log2(x: Array) -> Rule:
    """Logarithm to base 2: ``dz/dx = 1 / (x log 2)``."""
    return np.log2(x), (lambda dz: dz / x / _LOG_2,)


@op(np.log10)
def log10(x: Array) -> Rule:
    """Logarithm to base 10: ``dz/dx = 1 / (x log 10)``."""
    return np.log10(x), (lambda dz: dz / x / _LOG_10,)


@op(np.logaddexp)
def logaddexp(x: Array, y: Array) -> Rule:
    """``z = log(e^x + e^y)``, without overflow: ``dz/dx = sigmoid(x - y)``, a half where both are infinite alike."""

    def share(dz: Array, a: Array, b: Array) -> Array:
        alike = values(a) == values(b)  # inf - inf is NaN
        d = np.where(alike, 0, a) - np.where(alike, 0, b)
        return dz * np.exp(np.minimum(d, 0)) / (1 + np.exp(-np.abs(d)))

    return np.logaddexp(x, y), (lambda dz: share(dz, x, y), lambda dz: share(dz, y, x))


@op(np.reciprocal)
def reciprocal(x: Array) -> Rule:
    """``z = 1 / x``: ``dz/dx = -z^2``."""
    z = np.reciprocal(x)
    return z, (lambda dz: -dz * z * z,)


@op(np.positive)
def positive(x: Array) -> Rule:
    """``z = +x``, a copy: ``dz/dx = 1``."""
    return np.positive(x), (lambda dz: dz,)


# -- running products -----------------------------------------------------------------------------------------------


@op(np.cumprod)
def cumprod(x: Array, axis: int | None = None) -> Rule:
    """Running product, ``z_i = z_{i-1} x_i``: ``g_i = dz_i + g_{i+1} x_{i+1}`` from the end, ``dx_i = g_i z_{i-1}``.

    Zeros are no special case. Without an axis, of the flattened array, as in NumPy.
    """
    z = np.cumprod(x, axis=axis)

    def dx(dz: Array) -> Array:
        k = 0 if axis is None else axis % x.ndim
        a = x.reshape(-1) if axis is None else x
        g, parts = None, []
        for i in range(a.shape[k] - 1, -1, -1):
            here, behind = ((slice(None),) * k + (slice(j, j + 1),) for j in (i, i + 1))
            g = dz[here] if g is None else dz[here] + g * a[behind]
            parts.append(g * z[(slice(None),) * k + (slice(i - 1, i),)] if i else g)
        return np.concatenate(parts[::-1], axis=k).reshape(x.shape) if parts else x

    return z, (dx,)


# -- steps: the gradient is 0 -----------------------------------------------------------------------------------------

STEPS = (np.sign, np.floor, np.ceil, np.trunc, np.rint)


def _nothing(dz: Array) -> Array:
    return np.where(like(False, values(dz)), dz, 0)


def _step(function: Callable[..., Any]) -> Op[...]:
    def step(x: Array) -> Rule:
        return function(x), (_nothing,)  # not dz * 0, which is NaN where dz is infinite

    step.__name__ = function.__name__
    step.__doc__ = f"``np.{function.__name__}``: ``dz/dx = 0``, at the jumps as well."
    return op(function)(step)


for _function in STEPS:
    _step(_function)


@implements(np.round, np.around)
def round(x: Any, decimals: int = 0) -> Any:
    """To so many decimals: ``dz/dx = 0``."""
    return _round(x, decimals=decimals)


@op()
def _round(x: Array, *, decimals: int) -> Rule:
    return np.round(x, decimals), (_nothing,)


@implements(np.fmax)
def fmax(x: Any, y: Any) -> Any:
    """The larger of x and y, or the one that is a number where the other is NaN."""
    return _numbers_first(maximum, x, y)


@implements(np.fmin)
def fmin(x: Any, y: Any) -> Any:
    """The smaller of x and y, or the one that is a number where the other is NaN."""
    return _numbers_first(minimum, x, y)


def _numbers_first(extreme: Any, x: Any, y: Any) -> Any:
    return where(np.isnan(values(x)), y, where(np.isnan(values(y)), x, extreme(x, y)))


# -- other names, and other units -------------------------------------------------------------------------------------

implements(np.fabs)(abs)
implements(np.float_power)(power)
implements(np.degrees, np.rad2deg)(lambda x: multiply(x, 180 / math.pi))
implements(np.radians, np.deg2rad)(lambda x: multiply(x, math.pi / 180))
implements(np.logaddexp2)(lambda x, y: divide(logaddexp(multiply(x, _LOG_2), multiply(y, _LOG_2)), _LOG_2))
