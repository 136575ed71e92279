"""Good calls of optimizers and schedules."""

# ruff: noqa: B008  # a default argument is how a lambda in a loop keeps its function
from __future__ import annotations

import numpy as np

import tinygrad_dls as tg
from tests.bad_input.calls import X3, A, O, Place, call, unchanged
from tests.bad_input.corruptions import scalars_instead
from tests.bad_input.models import count, no_functions, number, refuses
from tests.bad_input.ops import flag
from tests.bad_input.tensors import same_shape


def stepped(make):
    def run(*options):
        w = tg.Tensor(X3, requires_grad=True, name="w")
        optimizer = make([w], *options)
        for _ in range(2):
            optimizer.zero_grad()
            tg.sum(w * w).backward()
            with unchanged(optimizer, w):
                optimizer.step()
        return [w.data]

    return run


def fraction(x):
    if not 0 <= number(x) < 1:
        raise ValueError
    return number(x)


def finite(x):
    if not 0 <= number(x) < np.inf:
        raise ValueError
    return number(x)


def descended(lr, momentum, nesterov, weight_decay):
    lr, momentum, nesterov, decay = finite(lr), fraction(momentum), flag(nesterov), finite(weight_decay)
    if nesterov and not momentum:
        raise ValueError
    w, v = X3, 0.0
    for _ in range(2):
        dw = 2 * w + decay * w
        v = momentum * v + dw
        w = w - lr * (dw + momentum * v if nesterov else v)
    return w


LR = Place("lr", 0.1, lambda good: no_functions(scalars_instead(good)))
call("optim.SGD", LR, O("momentum", 0.5), O("nesterov", True), O("weight_decay", 0.1), reference=descended,
     names=("learning rate",), run=stepped(lambda ps, lr, momentum, nesterov, decay: tg.optim.SGD(
         ps, lr, momentum=momentum, nesterov=nesterov, weight_decay=decay)))  # fmt: skip


def clipped(dw, norm=None, value=None):
    """The gradient, of a norm or of entries that are limited, by None not."""
    for limit in (norm, value):
        if limit is not None and not (0 < number(limit) < np.inf):
            raise ValueError
    if norm is not None:
        return dw * min(1.0, number(norm) / np.sqrt(np.sum(dw * dw)))
    return dw if value is None else np.clip(dw, -number(value), number(value))


def damped(momentum, dampening, decay_biases):
    momentum, dampening, _ = fraction(momentum), fraction(dampening), flag(decay_biases)
    if dampening and not momentum:
        raise ValueError
    w, v = X3, 0.0
    for _ in range(2):
        v = momentum * v + (1 - dampening) * 2 * w
        w = w - 0.1 * v
    return w


call("optim.SGD", O("momentum", 0.5), O("dampening", 0.25), O("decay_biases", True), reference=damped,
     run=stepped(lambda ps, momentum, dampening, decay_biases: tg.optim.SGD(
         ps, 0.1, momentum=momentum, dampening=dampening, decay_biases=decay_biases)))  # fmt: skip


def decayed_by_name(decay):
    if not isinstance(decay, dict):
        return descended(0.1, 0, False, decay)
    if decay.keys() != {"w"}:
        raise ValueError
    return descended(0.1, 0, False, decay["w"])


call("optim.SGD", O("weight_decay", {"w": 0.1}), reference=decayed_by_name,
     run=stepped(lambda ps, decay: tg.optim.SGD(ps, 0.1, weight_decay=decay)))  # fmt: skip


def descended_with(**limits):
    w = X3
    for _ in range(2):
        w = w - 0.1 * clipped(2 * w, **limits)
    return w


for _role in ("norm", "value"):
    call("optim.SGD", O(f"clip_{_role}", 0.5), reference=lambda x, role=_role: descended_with(**{role: x}),
         run=stepped(lambda ps, x, role=_role: tg.optim.SGD(ps, 0.1, **{f"clip_{role}": x})))  # fmt: skip


def rmsprop(lr, beta, epsilon, decay):
    lr, beta, epsilon, decay = finite(lr), fraction(beta), finite(epsilon), finite(decay)
    if not epsilon:
        raise ValueError
    w, s = X3, 0.0
    for _ in range(2):
        dw = 2 * w + decay * w
        s = beta * s + (1 - beta) * dw * dw
        w = w - lr * dw / (np.sqrt(s) + epsilon)
    return w


call("optim.RMSprop", LR, O("beta", 0.9), O("epsilon", 1e-8), O("weight_decay", 0.1), reference=rmsprop,
     names=("learning rate",), run=stepped(lambda ps, lr, beta, epsilon, decay: tg.optim.RMSprop(
         ps, lr, beta=beta, epsilon=epsilon, weight_decay=decay)))  # fmt: skip


def adam(lr, beta1, beta2, epsilon, decay=0.0):
    lr, beta1, beta2, epsilon = finite(lr), fraction(beta1), fraction(beta2), finite(epsilon)
    decay = finite(decay)
    if not epsilon:
        raise ValueError
    w, m, v = X3, 0.0, 0.0
    for t in (1, 2):
        dw = 2 * w + decay * w
        m, v = beta1 * m + (1 - beta1) * dw, beta2 * v + (1 - beta2) * dw * dw
        w = w - lr * m / (1 - beta1**t) / (np.sqrt(v / (1 - beta2**t)) + epsilon)
    return w


call("optim.Adam", O("weight_decay", 0.1), reference=lambda decay: adam(0.1, 0.9, 0.999, 1e-8, decay),
     run=stepped(lambda ps, decay: tg.optim.Adam(ps, 0.1, weight_decay=decay)))  # fmt: skip


call("optim.Adam", LR, O("betas", 0.9), O("betas", 0.999), O("epsilon", 1e-8), reference=adam,
     names=("learning rate",), run=stepped(lambda ps, lr, beta1, beta2, epsilon: tg.optim.Adam(
         ps, lr, betas=(beta1, beta2), epsilon=epsilon)))  # fmt: skip
call("optim.Adam", O("betas", (0.9, 0.999)), reference=lambda betas: adam(0.1, *betas, 1e-8),
     run=stepped(lambda ps, betas: tg.optim.Adam(ps, 0.1, betas=betas)))  # fmt: skip


call("optim.SGD", O("lr", lambda step: 0.1), names=("learning rate",), run=stepped(tg.optim.SGD),
     reference=lambda lr: X3 * (1 - 2 * finite(lr(0) if callable(lr) else lr)) * (
         1 - 2 * finite(lr(1) if callable(lr) else lr)))  # fmt: skip
call("optim.SGD", O("lr", 0.1), names=("learning rate",), run=stepped(lambda ps, lr: tg.optim.SGD(ps, lambda step: lr)),
     reference=lambda lr: descended(lr, 0, False, 0))  # fmt: skip
for _name in ("SGD", "RMSprop", "Adam"):
    call(f"optim.{_name}", O("parameters", [tg.Tensor(X3, requires_grad=True)]),
         run=lambda ps, f=getattr(tg.optim, _name): [len(f(ps, 0.1).parameters)],
         reference=lambda ps: [1] if isinstance(ps, (list, tuple)) and isinstance(ps[0], tg.Tensor)
             and ps[0].requires_grad else refuses())  # fmt: skip


def resumed(**changes):
    def run(*new):
        w = tg.Tensor(X3, requires_grad=True, name="w")
        optimizer = tg.optim.SGD([w], 0.1, momentum=0.5)
        state = optimizer.state_dict() | dict(zip(changes, new, strict=False))
        with unchanged(optimizer, w):
            optimizer.load_state_dict(state if changes else new[0])
        tg.sum(w * w).backward()
        optimizer.step()
        return [w.data, optimizer.steps]

    return run


def state_fits(v):
    return same_shape(v, X3)


call("optim.SGD.load_state_dict", O("state_dict", {"optimizer": "SGD", "steps": 1, "state": [(X3,)]}), run=resumed(),
     reference=lambda s: [X3 - 0.1 * (0.5 * s["state"][0][0] + 2 * X3), 1 + s["steps"]], names=("state",))  # fmt: skip
call("optim.SGD.load_state_dict", O("steps", 1), run=resumed(steps=1), names=("state",),
     reference=lambda n: [X3 - 0.1 * 2 * X3, 1 + number(n)] if number(n) >= 0 and number(n) % 1 == 0
         else refuses())  # fmt: skip
call("optim.SGD.load_state_dict", O("state", [(X3,)]), run=resumed(state=1), names=("state",),
     reference=lambda s: [X3 - 0.1 * (0.5 * s[0][0] + 2 * X3), 1])  # fmt: skip
call("optim.SGD.load_state_dict", A(X3, role="state"), run=lambda v: resumed(state=1)([(v,)]), names=("state",),
     reference=lambda v: [X3 - 0.1 * (0.5 * same_shape(v, X3) + 2 * X3), 1])  # fmt: skip
for _name, _options, _f in [
    ("inverse_time_decay", {"rate": 0.5, "every": 2},
     lambda lr, rate, every: number(lr) / (1 + number(rate) * (3 // count(every)))),
    ("exponential_decay", {"rate": 0.5}, lambda lr, rate: number(lr) * number(rate) ** 3),
    ("step_decay", {"factor": 0.5, "every": 2}, lambda lr, f, every: number(lr) * number(f) ** (3 // count(every))),
    ("cosine_decay", {"steps": 9},
     lambda lr, steps: number(lr) * (1 + np.cos(np.pi * min(3 / count(steps), 1))) / 2),
]:  # fmt: skip
    call(f"optim.{_name}", O("lr", 0.1), *(O(role, good) for role, good in _options.items()), reference=_f,
         run=lambda lr, *options, f=getattr(tg.optim, _name), roles=tuple(_options):
             f(lr, **dict(zip(roles, options, strict=True)))(3))  # fmt: skip
