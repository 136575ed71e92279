"""Optimizers of users' own, with any state."""

import numpy as np

import tinygrad_dls as tg


def like(p):
    return np.zeros_like(p._value)


class Own(tg.optim.SGD):
    """An optimizer as users write one: what a parameter starts from, and the rule."""

    def __init__(self, parameters, lr=0.05):
        super().__init__(parameters, lr)

    def state_of(self, p):
        return self._state.get(p) or self._start(p)


class SignSGD(Own):
    def _start(self, p):
        return ()

    def _update(self, p, rate):
        return p._value - rate * np.sign(p._grad), ()


class Adagrad(Own):
    def _start(self, p):
        return (like(p),)

    def _update(self, p, rate):
        (s,) = self.state_of(p)
        s = s + p._grad**2
        return p._value - rate * p._grad / (np.sqrt(s) + 1e-6), (s,)


class RMSprop(Own):
    def _start(self, p):
        return like(p), like(p)

    def _update(self, p, rate):
        v, u = self.state_of(p)
        v = 0.9 * v + 0.1 * p._grad**2
        u = 0.9 * u + p._grad / (np.sqrt(v) + 1e-4)
        return p._value - rate * u, (v, u)


class Adadelta(Own):
    def _start(self, p):
        return [like(p), like(p) + 1e-3]

    def _update(self, p, rate):
        v, d = self.state_of(p)
        v = 0.9 * v + 0.1 * p._grad**2
        step = np.sqrt(d + 1e-3) / np.sqrt(v + 1e-3) * p._grad
        return p._value - rate * step, [v, 0.9 * d + 0.1 * step**2]


class ThreeArrays(Own):
    def _start(self, p):
        return like(p), like(p), like(p)

    def _update(self, p, rate):
        a, b, c = self.state_of(p)
        a, b, c = 0.5 * a + p._grad, 0.5 * b + a, 0.5 * c + b
        return p._value - rate * c, (a, b, c)


class AMSGrad(Own):
    """Four parts, of which the count comes first."""

    def _start(self, p):
        return np.zeros((), int), like(p), like(p), like(p)

    def _update(self, p, rate):
        t, m, v, top = self.state_of(p)
        t = t + 1
        m, v = 0.9 * m + 0.1 * p._grad, 0.99 * v + 0.01 * p._grad**2
        top = np.maximum(top, v)
        return p._value - rate * m / (1 - 0.9**t) / (np.sqrt(top) + 1e-4), (t, m, v, top)


class Averaged(Own):
    """A copy of the parameter that follows it."""

    def _start(self, p):
        return (p._value.copy(),)

    def _update(self, p, rate):
        (mean,) = self.state_of(p)
        w = p._value - rate * p._grad
        return w, (0.9 * mean + 0.1 * w,)


class TwoCounts(Own):
    def _start(self, p):
        return np.zeros((), int), np.ones(()), like(p)

    def _update(self, p, rate):
        t, scale, v = self.state_of(p)
        v = 0.9 * v + p._grad
        return p._value - rate * scale * v, (t + 1, 0.9 * scale, v)


class Rows(Own):
    """Adafactor's idea: a number for each row and for each column."""

    def _start(self, p):
        return np.zeros((p.shape[0], 1)), np.zeros((1, p.shape[1]))

    def _update(self, p, rate):
        r, c = self.state_of(p)
        g = p._grad**2
        r, c = 0.9 * r + 0.1 * g.mean(axis=1, keepdims=True), 0.9 * c + 0.1 * g.mean(axis=0, keepdims=True)
        return p._value - rate * p._grad / np.sqrt(r * c / (np.mean(r) + 1e-6) + 1e-6), (r, c)


class Norm(Own):
    """A number that depends on the gradient of each parameter."""

    def _start(self, p):
        return (np.zeros(()),)

    def _update(self, p, rate):
        (n,) = self.state_of(p)
        n = 0.9 * n + 0.1 * np.sum(p._grad**2)
        return p._value - rate * p._grad / (np.sqrt(n) + 1e-3), (n,)


class OneParameterMore(Own):
    """Matrices have state, biases have none."""

    def _start(self, p):
        return (like(p),) if p.shape[1] > 1 else ()

    def _update(self, p, rate):
        if p.shape[1] == 1:
            return p._value - rate * p._grad, ()
        (v,) = self.state_of(p)
        v = 0.9 * v + p._grad
        return p._value - rate * v, (v,)


class Single(Own):
    """State in another precision."""

    def _start(self, p):
        return (np.zeros(p.shape, np.float32), np.zeros(p.shape, bool))

    def _update(self, p, rate):
        v, up = self.state_of(p)
        v = (0.9 * v + p._grad).astype(np.float32)
        return p._value - rate * v.astype(p.dtype), (v, (p._grad > 0) & ~up)


class Matrix(Own):
    """A matrix for each parameter, as second-order methods keep."""

    def _start(self, p):
        return (np.eye(p.shape[0]), like(p))

    def _update(self, p, rate):
        h, v = self.state_of(p)
        h = 0.9 * h + 0.1 * (p._grad @ p._grad.T)
        v = 0.5 * v + h @ p._grad
        return p._value - rate * v, (h, v)


class Integers(Own):
    """A Python number for a count."""

    def _start(self, p):
        return 0, like(p)

    def _update(self, p, rate):
        t, v = self.state_of(p)
        v = 0.9 * v + 0.1 * p._grad
        return p._value - rate * v / (1 - 0.9 ** (t + 1)), (t + 1, v)


class Solves(Own):
    def _start(self, p):
        return ()

    def _update(self, p, rate):
        return p._value - rate * np.linalg.pinv(p._grad.T @ p._grad + np.eye(p.shape[1]))[:1] * p._grad, ()
