"""The slips that people make in a hand-written update, each as the step that it gives instead of the right one.

One table of them, each with what the person reads. Most are the rule (see `tinygrad_dls.check.update_rule`) with
another value in one of its fields.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from tinygrad_dls.check.update_rule import Taken, Update
from tinygrad_dls.engine.arrays import Array

__all__ = ["Known", "slips", "taken_by"]

OTHER_EPSILONS = (1e-5, 1e-6, 1e-7, 1e-8)  # that books and libraries have


class Known(NamedTuple):
    """A known slip: what to tell the person, and what it gives; None or nothing where it cannot be made."""

    explanation: str
    slip: Callable[[Update], Taken | Iterable[Taken] | None]


def taken_by(known: Known, update: Update) -> list[Taken]:
    """All that a slip may give."""
    result = known.slip(update)
    return [] if result is None else [result] if isinstance(result, Taken) else list(result)


def _beside(update: Update, w: Array) -> Taken:
    """Another parameter beside the right moments."""
    return update.right._replace(w=w)


def _has_v(u: Update) -> bool:
    """Whether the rule has a v that a beta other than 0 carries on."""
    return bool(u.rule.beta1)


def _has_s(u: Update) -> bool:
    """Whether the rule has an s that a beta other than 0 carries on."""
    return bool(u.rule.beta2)


def _right(u: Update) -> tuple[float, float]:
    return u.rule.both_corrections(u.rule.t)


def _as_at(u: Update, t: int) -> Taken | None:
    """With the corrections of another step."""
    return u.take(corrections=u.rule.both_corrections(t)) if u.rule.corrected else None


def _kept(u: Update) -> dict[str, Any]:
    """The corrections as they are, whatever becomes of the betas."""
    return {"corrections": _right(u)}


def _spreads(w: Array, g: Array) -> bool:
    """Whether NumPy subtracts one from the other without an error."""
    try:
        np.broadcast_shapes(w.shape, g.shape)
    except ValueError:
        return False
    return True


# -- slips of several lines -------------------------------------------------------------------------------------------


def _twice(u: Update) -> list[Taken]:
    found = []
    for t in {u.rule.t, u.rule.t + u.rule.corrected}:
        once = u.right
        found.append(replace(u.rule, t=t, moments=None).take(once.w, u.g, once.v, once.s))
    return [*found, _beside(u, u.w + 2 * u.step)]


def _other_moments(u: Update) -> list[Taken]:
    found = []
    for other in u.others.values():
        if not _spreads(u.w, other.g):
            continue
        if u.v is not None and u.s is not None:
            found += [u.take(v=other.v), u.take(s=other.s), u.take(v=other.v, s=other.s)]
            found += [u.take(moments=(other.right.v, u.right.s)), u.take(moments=(u.right.v, other.right.s))]
        elif u.v is not None:
            found.append(u.take(v=other.v))
        elif u.s is not None:
            found += [u.take(s=other.s), u.take(moments=(None, other.right.s))]
        if u.v is not None or u.s is not None:
            found.append(u.take(moments=(other.right.v, other.right.s)))
    return found


def _spread_gradient(u: Update) -> list[Taken]:
    if u.raw.shape != u.g.shape:
        return [u.take(g=u.raw)] if _spreads(u.w, u.raw) else []
    spreads = u.is_bias and u.g.ndim == 2 and u.g.shape[0] > 1 == u.g.shape[1] and u.v is None and u.s is None
    return [u.take(g=u.g[:, 0]), u.take(g=u.g.T)] if spreads else []


def _clipped_alone(u: Update) -> Taken | None:
    if u.clip_norm is None:
        return None
    return u.take(g=u.unclipped * (u.clip_norm / max(float(np.linalg.norm(u.unclipped)), u.clip_norm)))


def _decay_on_b(u: Update) -> list[Taken]:
    decays = {other.rule.decay for other in u.others.values()} - {0.0}
    return [u.take(decay=decay) for decay in decays] if u.is_bias and not u.rule.decay else []


def _decoupled(u: Update) -> Taken | None:
    if not u.rule.decay or (u.v is None and u.s is None):
        return None
    plain = u.take(decay=0.0)
    return plain._replace(w=plain.w - u.rule.rate * u.rule.decay * u.w)


def _rate_within(u: Update) -> Taken | None:
    if not u.rule.beta1 or u.v is None or u.s is not None or u.rule.nesterov:
        return None
    v = u.rule.beta1 * u.v + u.rule.rate * u.rule.share1 * (u.g + u.rule.decay * u.w)
    return Taken(u.w - v, v, None)


def _needless_correction(u: Update) -> Taken | None:
    beta1, beta2, t = u.rule.beta1, u.rule.beta2, u.rule.t
    if u.rule.corrected or not (beta1 or beta2) or u.rule.nesterov:
        return None
    return u.take(corrections=(1 - (beta1 or 0.0) ** t, 1 - (beta2 or 0.0) ** t))


def _one_array(u: Update) -> Taken | None:
    if not (_has_v(u) and _has_s(u)):
        return None
    taken = u.take(s=u.right.v)
    return taken._replace(v=taken.s)


def _other_epsilon(u: Update) -> list[Taken]:
    others = [epsilon for epsilon in OTHER_EPSILONS if epsilon != u.rule.epsilon]
    return [u.take(epsilon=epsilon) for epsilon in others] if u.s is not None else []


def _other_correction(u: Update) -> list[Taken]:
    if not u.rule.corrected:
        return []
    first, second = _right(u)
    return [u.take(corrections=pair) for pair in ((second, first), (first, first), (second, second))]


def _multiplied(u: Update) -> Taken | None:
    first, second = _right(u)
    return u.take(corrections=(1 / first, 1 / second)) if u.rule.corrected else None


def _swapped_betas(u: Update) -> Taken | None:
    rule = u.rule
    if not rule.beta1 or not rule.beta2:
        return None
    return u.take(beta1=rule.beta2, beta2=rule.beta1, share1=1 - rule.beta2, share2=1 - rule.beta1)


def _corrected_kept(u: Update) -> Taken | None:
    if not u.rule.corrected or u.right.v is None or u.right.s is None:
        return None
    first, second = _right(u)
    return u.right._replace(v=u.right.v / first, s=u.right.s / second)


# -- all of them -------------------------------------------------------------------------------------------------------

slips: dict[str, Known] = {
    # of any rule
    "nothing was updated": Known(
        "It is what it was before. If the update changed the array in place, give a copy made before as `before`.",
        lambda u: Taken(u.w, u.v, u.s),
    ),
    "sign": Known(
        "The step goes up the slope. It is subtracted: W := W - alpha dW.",
        lambda u: _beside(u, u.w - u.step),
    ),
    "the parameter is missing": Known(
        "The parameter became the step alone, -alpha dW, which is to be added to it: W := W - alpha dW.",
        lambda u: _beside(u, u.step),
    ),
    "the difference is turned round": Known(
        "It is W - alpha dW, and not alpha dW - W.",
        lambda u: _beside(u, -u.right.w) if np.any(u.w) else None,  # at zero, it is a wrong sign
    ),
    "the learning rate is missing": Known(
        "The step is not multiplied by alpha.",
        lambda u: u.take(rate=1.0),
    ),
    "updated twice": Known(
        "The step was taken twice, as by a cell that ran twice, or by a line in the loop and one behind it.",
        _twice,
    ),
    "divided by m again": Known(
        "The gradient is a mean over the m examples already: it must not be divided by m in the update.",
        lambda u: None if u.m is None else u.take(g=u.g / u.m),
    ),
    "the gradient of another parameter": Known(
        "Each parameter has its own: W1 goes with dW1, b1 with db1, W2 with dW2.",
        lambda u: [u.take(g=other.g) for other in u.others.values() if _spreads(u.w, other.g)],
    ),
    "v or s of another parameter": Known(
        "Each parameter has its own moments: W1 goes with those of dW1, b1 with those of db1.",
        _other_moments,
    ),
    "the value of another parameter": Known(
        "The step starts from another parameter, as in W2 = W1 - alpha dW2.",
        lambda u: [u.take(w=other.w) for other in u.others.values() if np.any(other.w) and _spreads(other.w, u.g)],
    ),
    "the shape of the gradient": Known(
        "The gradient has another shape than the parameter, and NumPy spreads it. For db, sum with keepdims=True.",
        _spread_gradient,
    ),
    "the gradient is not clipped": Known(
        "The optimizer clips the gradients (clip_norm or clip_value), and here they are as they were.",
        lambda u: u.take(g=u.unclipped),
    ),
    "each gradient is clipped by its own norm": Known(
        "The norm is that of all the gradients together, so that the direction of the step stays what it is.",
        _clipped_alone,
    ),
    # the L2 term
    "the weight decay is missing": Known(
        "The optimizer has a weight_decay lambda: its gradient is dW + lambda W.",
        lambda u: u.take(decay=0.0) if u.rule.decay else None,
    ),
    "weight decay on b": Known(
        "As in the course, the decay is for the W alone; decay_biases=True says that it is for the b too.",
        _decay_on_b,
    ),
    "weight decay beside the gradient": Known(
        "The decay is a part of the gradient and goes through v and s; here, alpha lambda W is subtracted besides.",
        _decoupled,
    ),
    # v: momentum, and Adam's first moment
    "(1 - beta) is missing": Known(
        "Here v := beta v + (1 - beta) dW: the two shares add up to 1.",
        lambda u: u.take(share1=1.0) if _has_v(u) and u.rule.share1 != 1 else None,
    ),
    "(1 - beta) is not in this form of momentum": Known(
        "The optimizer's form is v := beta v + dW. "
        "That with (1 - beta) dW is the course's, of dampening=beta in `SGD`.",
        lambda u: u.take(share1=1 - u.rule.beta1) if u.rule.beta1 and u.rule.share1 == 1 else None,
    ),
    "beta and 1 - beta are swapped": Known(
        "What was before gets beta, and what is new 1 - beta: v := beta v + (1 - beta) dW.",
        lambda u: u.take(beta1=1 - u.rule.beta1, share1=u.rule.beta1, **_kept(u)) if u.rule.beta1 else None,
    ),
    "beta is missing": Known(
        "What was before is multiplied by beta: v := beta v + ..., not v := v + ...",
        lambda u: u.take(beta1=1.0, **_kept(u)) if _has_v(u) else None,
    ),
    "v is not carried on": Known(
        "Beta times the v of the step before is a part of the new one: keep it, do not set it to zero in each step.",
        lambda u: u.take(v=np.zeros_like(u.w)) if _has_v(u) else None,
    ),
    "dW in the place of v": Known(
        "The step is taken with the gradient itself, and v is not used.",
        lambda u: u.take(plain=True, nesterov=False) if _has_v(u) else None,
    ),
    "the moments of before the step": Known(
        "The step uses v and s as they were given: update them first, then the parameter; or they are those of after.",
        lambda u: u.take(old=True) if (_has_v(u) or _has_s(u)) and not u.rule.nesterov else None,
    ),
    "the learning rate within v": Known(
        "It has v := beta v + alpha dW and W := W - v, where the optimizer has alpha in the second of them.",
        _rate_within,
    ),
    "Nesterov's step": Known(
        "The step is alpha (dW + beta v), which looks one ahead; the optimizer's is alpha v.",
        lambda u: u.take(nesterov=True) if _has_v(u) and u.s is None and not u.rule.nesterov else None,
    ),
    "not Nesterov's step": Known(
        "The optimizer looks one ahead, with the step alpha (dW + beta v).",
        lambda u: u.take(nesterov=False) if u.rule.nesterov else None,
    ),
    "a bias correction that the rule does not have": Known(
        "Adam divides by 1 - beta^t; momentum and RMSprop, as they are here, do not.",
        _needless_correction,
    ),
    # s: RMSprop, and Adam's second moment
    "(1 - beta2) is missing": Known(
        "Here s := beta2 s + (1 - beta2) dW^2: the two shares add up to 1.",
        lambda u: u.take(share2=1.0) if _has_s(u) else None,
    ),
    "both (1 - beta) are missing": Known(
        "The two shares add up to 1, in v := beta1 v + (1 - beta1) dW and in s := beta2 s + (1 - beta2) dW^2.",
        lambda u: u.take(share1=1.0, share2=1.0) if _has_v(u) and _has_s(u) else None,
    ),
    "beta2 and 1 - beta2 are swapped": Known(
        "What was before gets beta2, and what is new 1 - beta2: s := beta2 s + (1 - beta2) dW^2.",
        lambda u: u.take(beta2=1 - u.rule.beta2, share2=u.rule.beta2, **_kept(u)) if u.rule.beta2 else None,
    ),
    "s is not carried on": Known(
        "Beta2 times the s of the step before is a part of the new one: keep it, do not set it to zero in each step.",
        lambda u: u.take(s=np.zeros_like(u.w)) if _has_s(u) else None,
    ),
    "the square is missing": Known(
        "The second moment is that of the squares: s := beta2 s + (1 - beta2) dW^2.",
        lambda u: [u.take(squared=lambda g, _: g), u.take(squared=lambda g, _: np.abs(g))] if _has_s(u) else [],
    ),
    "v squared for dW squared": Known(
        "The second moment is of the gradient dW, not of its mean v.",
        lambda u: u.take(squared=lambda _, v: v * v) if _has_v(u) and _has_s(u) else None,
    ),
    "v and s are one array": Known(
        "As of v = s = {}: s goes on from the new v. Make two dicts, each with zeros of its own.",
        _one_array,
    ),
    "the square root is missing": Known(
        "The step is divided by sqrt(s) + epsilon.",
        lambda u: u.take(root=False) if u.s is not None else None,
    ),
    "epsilon inside the square root": Known(
        "It is sqrt(s) + epsilon, and not sqrt(s + epsilon): a difference where gradients are small.",
        lambda u: u.take(epsilon_at="inside") if u.s is not None else None,
    ),
    "epsilon is missing": Known(
        "It is sqrt(s) + epsilon, which keeps the division finite where the gradient is 0.",
        lambda u: u.take(epsilon=0.0) if u.s is not None else None,
    ),
    "another epsilon": Known(
        "It is that of another book or library, such as 1e-7 of Keras.",
        _other_epsilon,
    ),
    "no s": Known(
        "The step is not divided by sqrt(s) + epsilon, as if it was that of momentum.",
        lambda u: u.take(s=None, moments=None) if u.s is not None else None,
    ),
    # Adam's corrections
    "no bias correction": Known(
        "Adam divides v by 1 - beta1^t and s by 1 - beta2^t, as both start at zero.",
        lambda u: u.take(corrections=(1.0, 1.0)) if u.rule.corrected else None,
    ),
    "no bias correction of v": Known(
        "Adam divides v by 1 - beta1^t, too.",
        lambda u: u.take(corrections=(1.0, _right(u)[1])) if u.rule.corrected else None,
    ),
    "no bias correction of s": Known(
        "Adam divides s by 1 - beta2^t, too.",
        lambda u: u.take(corrections=(_right(u)[0], 1.0)) if u.rule.corrected else None,
    ),
    "t = 0 in the bias correction": Known(
        "The first step has t = 1: with t = 0 it divides by 1 - beta^0 = 0, which gives NaN. Count t up before it.",
        lambda u: u.take(corrections=(0.0, 0.0)) if u.rule.corrected and u.rule.t == 1 else None,
    ),
    "t is one too small": Known(
        "The first step has t = 1, the second t = 2. Count t up before the update.",
        lambda u: _as_at(u, u.rule.t - 1) if u.rule.t > 1 else None,
    ),
    "t is one too large": Known(
        "The first step has t = 1, the second t = 2: t grows once for each step.",
        lambda u: _as_at(u, u.rule.t + 1),
    ),
    "t stays at 1": Known(
        "The corrections are those of the first step: t grows by 1 with each step.",
        lambda u: _as_at(u, 1) if u.rule.t > 2 else None,
    ),
    "the bias correction has the other beta": Known(
        "It is 1 - beta1^t for v and 1 - beta2^t for s.",
        _other_correction,
    ),
    "multiplied by the bias correction": Known(
        "It divides: v / (1 - beta1^t), s / (1 - beta2^t). The moments are too small at first, and are made larger.",
        _multiplied,
    ),
    "beta1 and beta2 are swapped": Known(
        "The betas are 0.9 of v and 0.999 of s, unless they are said to be others.",
        _swapped_betas,
    ),
    "epsilon before the bias correction": Known(
        "It is sqrt(s / (1 - beta2^t)) + epsilon. "
        "With sqrt(s) + epsilon corrected as a whole, epsilon is a larger one.",
        lambda u: u.take(epsilon_at="uncorrected") if u.rule.corrected else None,
    ),
    "the corrected moments are carried on": Known(
        "The corrected v and s are for this step only; v and s themselves go on uncorrected.",
        _corrected_kept,
    ),
}
