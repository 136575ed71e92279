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
