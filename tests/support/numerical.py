"""Differences of values, which know nothing of gradient rules."""

import numpy as np

import tinygrad_dls as tg

# Central differences of float64 values of order 1: the error is about STEP^2 of truncation and 1e-16 / STEP of
# rounding, 1e-10 each; curvature and size of the test functions leave three digits of room.
STEP = 1e-5
TOLERANCE = 1e-6


def differences(f, arrays, seed):
    """Central differences of sum(seed * f(*arrays)) in every entry of every array."""
    gradients = []
    for k, array in enumerate(arrays):
        gradient = np.zeros(array.shape)
        for index in np.ndindex(array.shape):
            values = []
            for sign in (1, -1):
                moved = [np.array(a, dtype=float) for a in arrays]
                moved[k][index] += sign * STEP
                values.append(np.sum(seed * np.asarray(f(*moved))))
            gradient[index] = (values[0] - values[1]) / (2 * STEP)
        gradients.append(gradient)
    return gradients


def gradients(f, arrays, seed):
    """The same gradients by autodiff."""
    tensors = [tg.Tensor(array, requires_grad=True) for array in arrays]
    f(*tensors).backward(seed)
    return [t.grad if t.grad is not None else np.zeros(t.shape) for t in tensors]


def assert_gradients(f, *arrays, rng=0):
    """Autodiff's gradients of f equal central differences, for a random direction of the output."""
    arrays = [np.asarray(a, dtype=float) for a in arrays]
    seed = np.random.default_rng(rng).normal(size=np.shape(f(*arrays)))
    for got, expected in zip(gradients(f, arrays, seed), differences(f, arrays, seed), strict=True):
        np.testing.assert_allclose(got, expected, rtol=TOLERANCE, atol=TOLERANCE)


def assert_second_derivatives(f, *arrays, rng=0):
    """Derivatives of the gradient, by a Tensor in a Tensor, equal central differences of the gradient."""
    rng = np.random.default_rng(rng)
    arrays = [np.asarray(a, dtype=float) for a in arrays]
    seed = rng.normal(size=np.shape(f(*arrays)))
    directions = [rng.normal(size=a.shape) for a in arrays]

    def slope(*xs):
        return sum(np.sum(d * g) for d, g in zip(directions, gradients(f, xs, seed), strict=True))

    inner = [tg.Tensor(a, requires_grad=True) for a in arrays]
    outer = [tg.Tensor(t, requires_grad=True) for t in inner]
    f(*outer).backward(seed)
    total = sum(tg.sum(tg.multiply(d, t.grad)) for d, t in zip(directions, outer, strict=True) if t.grad is not None)
    expected = differences(slope, arrays, 1.0)
    if isinstance(total, tg.Tensor) and total.requires_grad:
        total.backward()
    for t, e in zip(inner, expected, strict=True):
        got = np.zeros(t.shape) if t.grad is None else t.grad
        np.testing.assert_allclose(got, e, rtol=TOLERANCE, atol=TOLERANCE)


# The complex step: for an analytic f and a step of 1e-30, Im f(x + ih) / h is f'(x) without truncation (h^2 is lost
# in rounding) and without cancellation (nothing is subtracted), so only the rounding of f itself remains.
TINY = 1e-30


def complex_slopes(f, arrays, seed):
    """The gradient of sum(seed * f(*arrays)) with respect to every array, of an f that is analytic around them."""
    gradients = []
    for k, array in enumerate(arrays):
        moved = [a.astype(complex) for a in arrays]
        gradient = np.empty(array.shape)
        for index in np.ndindex(array.shape):
            moved[k][index] += 1j * TINY
            gradient[index] = np.sum(seed * f(*moved)).imag / TINY
            moved[k][index] = array[index]
        gradients.append(gradient)
    return gradients


# Cauchy: the Taylor coefficients of s -> f(x + s u) are the Fourier coefficients of its values on a circle. With
# POINTS points the error is that of the coefficients POINTS further on: (RADIUS / R)^POINTS, for a nearest singularity
# at a distance R. Domains keep it at 4 RADIUS: 4^-32 is 5e-20. Rounding is that of f, divided by RADIUS^2.
RADIUS = 1 / 16
POINTS = 32


def curvature(f, arrays, seed, u, v):
    """The second derivative of sum(seed * f(*arrays)), once along u and once along v, and its rounding error.

    Entries of u and v are in [-1/2, 1/2], so that nothing moves by more than RADIUS.
    """
    circle = RADIUS * np.exp(2j * np.pi * np.arange(POINTS) / POINTS)
    seconds, largest = [], 1.0  # what f computes on its way is of order 1 even where f is not
    for sign in (1, -1):
        direction = [a + sign * b for a, b in zip(u, v, strict=True)]
        terms = [seed * f(*(x + s * d for x, d in zip(arrays, direction, strict=True))) for s in circle]
        values = np.array([np.sum(term) for term in terms])
        seconds.append(2 * np.mean(values / circle**2).real)
        largest = max(largest, *(np.sum(np.abs(term)) for term in terms))
    return (seconds[0] - seconds[1]) / 4, largest * np.finfo(float).eps / RADIUS**2


def nested_curvature(f, arrays, seed, u, v):
    """The same second derivative by a Tensor in a Tensor: the gradient's projection on u, differentiated along v."""
    inner = [tg.Tensor(a, requires_grad=True) for a in arrays]
    outer = [tg.Tensor(t, requires_grad=True) for t in inner]
    f(*outer).backward(seed)
    slope = sum(tg.sum(d * t.grad) for d, t in zip(u, outer, strict=True))
    if not isinstance(slope, tg.Tensor) or not slope.requires_grad:
        return 0.0  # a linear f: its gradient does not depend on the arrays
    slope.backward()
    return sum(np.sum(d * t.grad) for d, t in zip(v, inner, strict=True) if t.grad is not None)
