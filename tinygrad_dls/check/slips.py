"""The slips that people make in a hand-written update, each as the step that it gives instead of the right one.

As in `tinygrad_dls.check.causes`, a slip is one function, and its docstring is what the person reads. Most are the rule
(see `tinygrad_dls.check.update_rule`) with another value in one of its fields.
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

Slip = Callable[[Update], "Taken | Iterable[Taken] | None"]


class Known(NamedTuple):
    """A known slip: what it gives, and what to tell the person."""

    slip: Slip
    explanation: str


slips: dict[str, Known] = {}


def slip(name: str) -> Callable[[Slip], Slip]:
    """Add a slip under the name that the report gives it; its docstring explains it."""

    def register(function: Slip) -> Slip:
        slips[name] = Known(function, " ".join((function.__doc__ or "").split()))
        return function

    return register


def taken_by(known: Known, update: Update) -> list[Taken]:
    """All that a slip may give."""
    result = known.slip(update)
    return [] if result is None else [result] if isinstance(result, Taken) else list(result)


def beside(update: Update, w: Array) -> Taken:
    """Another parameter beside the right moments."""
    return update.right._replace(w=w)


# -- of any rule ------------------------------------------------------------------------------------------------------


@slip("nothing was updated")
def _nothing(u: Update) -> Taken:
    """It is what it was before. If the update changed the array in place, give a copy made before as `before`."""
    return Taken(u.w, u.v, u.s)


@slip("sign")
def _sign(u: Update) -> Taken:
    """The step goes up the slope. It is subtracted: W := W - alpha dW."""
    return beside(u, u.w - u.step)


@slip("the learning rate is missing")
def _no_rate(u: Update) -> Taken:
    """The step is not multiplied by alpha."""
    return u.take(rate=1.0)


@slip("updated twice")
def _twice(u: Update) -> list[Taken]:
    """The step was taken twice, as by a cell that ran twice, or by a line in the loop and one behind it."""
    found = []
    for t in {u.rule.t, u.rule.t + u.rule.corrected}:
        once = u.right
        found.append(replace(u.rule, t=t, moments=None).take(once.w, u.g, once.v, once.s))
    return [*found, beside(u, u.w + 2 * u.step)]


@slip("divided by m again")
def _mean_again(u: Update) -> Taken | None:
    """The gradient is a mean over the m examples already: it must not be divided by m in the update."""
    return None if u.m is None else u.take(g=u.g / u.m)


@slip("the gradient of another parameter")
def _other_gradient(u: Update) -> list[Taken]:
    """Each parameter has its own: W1 goes with dW1, b1 with db1, W2 with dW2."""
    return [u.take(g=other.g) for other in u.others.values() if _spreads(u.w, other.g)]


@slip("v or s of another parameter")
def _other_moments(u: Update) -> list[Taken]:
    """Each parameter has its own moments: W1 goes with those of dW1, b1 with those of db1."""
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


@slip("the value of another parameter")
def _other_value(u: Update) -> list[Taken]:
    """The step starts from another parameter, as in W2 = W1 - alpha dW2."""
    return [u.take(w=other.w) for other in u.others.values() if _spreads(other.w, u.g)]


@slip("the shape of the gradient")
def _spread_gradient(u: Update) -> Taken | None:
    """The gradient has another shape than the parameter, and NumPy spreads it. For db, sum with keepdims=True."""
    return u.take(g=u.raw) if u.raw.shape != u.g.shape and _spreads(u.w, u.raw) else None


@slip("the gradient is not clipped")
def _unclipped(u: Update) -> Taken | None:
    """The optimizer clips the gradients (clip_norm or clip_value), and here they are as they were."""
    return u.take(g=u.unclipped)


@slip("each gradient is clipped by its own norm")
def _clipped_alone(u: Update) -> Taken | None:
    """The norm is that of all the gradients together, so that the direction of the step stays what it is."""
    if u.clip_norm is None:
        return None
    return u.take(g=u.unclipped * (u.clip_norm / max(float(np.linalg.norm(u.unclipped)), u.clip_norm)))


# -- the L2 term ------------------------------------------------------------------------------------------------------


@slip("the weight decay is missing")
def _no_decay(u: Update) -> Taken | None:
    """The optimizer has a weight_decay lambda: its gradient is dW + lambda W."""
    return u.take(decay=0.0) if u.rule.decay else None


@slip("weight decay on b")
def _decay_on_b(u: Update) -> list[Taken]:
    """As in the course, the decay is for the W alone; decay_biases=True says that it is for the b too."""
    decays = {other.rule.decay for other in u.others.values()} - {0.0}
    return [u.take(decay=decay) for decay in decays] if u.is_bias and not u.rule.decay else []


@slip("weight decay beside the gradient")
def _decoupled(u: Update) -> Taken | None:
    """The decay is a part of the gradient and goes through v and s; here, alpha lambda W is subtracted besides."""
    if not u.rule.decay or (u.v is None and u.s is None):
        return None
    plain = u.take(decay=0.0)
    return plain._replace(w=plain.w - u.rule.rate * u.rule.decay * u.w)


# -- v: momentum, and Adam's first moment -----------------------------------------------------------------------------


def has_v(u: Update) -> bool:
    """Whether the rule has a v that a beta other than 0 carries on."""
    return bool(u.rule.beta1)


def has_s(u: Update) -> bool:
    """Whether the rule has an s that a beta other than 0 carries on."""
    return bool(u.rule.beta2)


@slip("(1 - beta) is missing")
def _whole_share(u: Update) -> Taken | None:
    """Here v := beta v + (1 - beta) dW: the two shares add up to 1."""
    return u.take(share1=1.0) if has_v(u) and u.rule.share1 != 1 else None


@slip("(1 - beta) is not in this form of momentum")
def _course_share(u: Update) -> Taken | None:
    """The optimizer's form is v := beta v + dW. That with (1 - beta) dW is the course's, of dampening=beta in `SGD`."""
    return u.take(share1=1 - u.rule.beta1) if u.rule.beta1 and u.rule.share1 == 1 else None


@slip("beta and 1 - beta are swapped")
def _swapped_shares(u: Update) -> Taken | None:
    """What was before gets beta, and what is new 1 - beta: v := beta v + (1 - beta) dW."""
    return u.take(beta1=1 - u.rule.beta1, share1=u.rule.beta1, **_kept(u)) if u.rule.beta1 else None


@slip("beta is missing")
def _undamped(u: Update) -> Taken | None:
    """What was before is multiplied by beta: v := beta v + ..., not v := v + ..."""
    return u.take(beta1=1.0, **_kept(u)) if has_v(u) else None


@slip("v is not carried on")
def _forgotten(u: Update) -> Taken | None:
    """Beta times the v of the step before is a part of the new one: keep it, do not set it to zero in each step."""
    return u.take(v=np.zeros_like(u.w)) if has_v(u) else None


@slip("dW in the place of v")
def _plain_gradient(u: Update) -> Taken | None:
    """The step is taken with the gradient itself, and v is not used."""
    return u.take(plain=True, nesterov=False) if has_v(u) else None


@slip("the moments of before the step")
def _old_moments(u: Update) -> Taken | None:
    """The step uses v and s as they were given: update them first, then the parameter; or they are those of after."""
    return u.take(old=True) if (has_v(u) or has_s(u)) and not u.rule.nesterov else None


@slip("the learning rate within v")
def _rate_within(u: Update) -> Taken | None:
    """It has v := beta v + alpha dW and W := W - v, where the optimizer has alpha in the second of them."""
    if not u.rule.beta1 or u.v is None or u.s is not None or u.rule.nesterov:
        return None
    v = u.rule.beta1 * u.v + u.rule.rate * u.rule.share1 * (u.g + u.rule.decay * u.w)
    return Taken(u.w - v, v, None)


@slip("Nesterov's step")
def _nesterov(u: Update) -> Taken | None:
    """The step is alpha (dW + beta v), which looks one ahead; the optimizer's is alpha v."""
    return u.take(nesterov=True) if has_v(u) and u.s is None and not u.rule.nesterov else None


@slip("not Nesterov's step")
def _not_nesterov(u: Update) -> Taken | None:
    """The optimizer looks one ahead, with the step alpha (dW + beta v)."""
    return u.take(nesterov=False) if u.rule.nesterov else None


@slip("a bias correction that the rule does not have")
def _needless_correction(u: Update) -> Taken | None:
    """Adam divides by 1 - beta^t; momentum and RMSprop, as they are here, do not."""
    beta1, beta2, t = u.rule.beta1, u.rule.beta2, u.rule.t
    if u.rule.corrected or not (beta1 or beta2) or u.rule.nesterov:
        return None
    return u.take(corrections=(1 - (beta1 or 0.0) ** t, 1 - (beta2 or 0.0) ** t))


# -- s: RMSprop, and Adam's second moment -----------------------------------------------------------------------------


@slip("(1 - beta2) is missing")
def _whole_share_of_s(u: Update) -> Taken | None:
    """Here s := beta2 s + (1 - beta2) dW^2: the two shares add up to 1."""
    return u.take(share2=1.0) if has_s(u) else None


@slip("both (1 - beta) are missing")
def _whole_shares(u: Update) -> Taken | None:
    """The two shares add up to 1, in v := beta1 v + (1 - beta1) dW and in s := beta2 s + (1 - beta2) dW^2."""
    return u.take(share1=1.0, share2=1.0) if has_v(u) and has_s(u) else None


@slip("beta2 and 1 - beta2 are swapped")
def _swapped_shares_of_s(u: Update) -> Taken | None:
    """What was before gets beta2, and what is new 1 - beta2: s := beta2 s + (1 - beta2) dW^2."""
    return u.take(beta2=1 - u.rule.beta2, share2=u.rule.beta2, **_kept(u)) if u.rule.beta2 else None


@slip("s is not carried on")
def _forgotten_s(u: Update) -> Taken | None:
    """Beta2 times the s of the step before is a part of the new one: keep it, do not set it to zero in each step."""
    return u.take(s=np.zeros_like(u.w)) if has_s(u) else None


@slip("the square is missing")
def _unsquared(u: Update) -> list[Taken]:
    """The second moment is that of the squares: s := beta2 s + (1 - beta2) dW^2."""
    return [u.take(squared=lambda g, _: g), u.take(squared=lambda g, _: np.abs(g))] if has_s(u) else []


@slip("v squared for dW squared")
def _square_of_v(u: Update) -> Taken | None:
    """The second moment is of the gradient dW, not of its mean v."""
    return u.take(squared=lambda _, v: v * v) if has_v(u) and has_s(u) else None


@slip("v and s are one array")
def _one_array(u: Update) -> Taken | None:
    """As of v = s = {}: s goes on from the new v. Make two dicts, each with zeros of its own."""
    if not (has_v(u) and has_s(u)):
        return None
    taken = u.take(s=u.right.v)
    return taken._replace(v=taken.s)


@slip("the square root is missing")
def _no_root(u: Update) -> Taken | None:
    """The step is divided by sqrt(s) + epsilon."""
    return u.take(root=False) if u.s is not None else None


@slip("epsilon inside the square root")
def _epsilon_inside(u: Update) -> Taken | None:
    """It is sqrt(s) + epsilon, and not sqrt(s + epsilon): a difference where gradients are small."""
    return u.take(epsilon_at="inside") if u.s is not None else None


@slip("epsilon is missing")
def _no_epsilon(u: Update) -> Taken | None:
    """It is sqrt(s) + epsilon, which keeps the division finite where the gradient is 0."""
    return u.take(epsilon=0.0) if u.s is not None else None


@slip("another epsilon")
def _other_epsilon(u: Update) -> list[Taken]:
    """It is that of another book or library, such as 1e-7 of Keras."""
    others = [epsilon for epsilon in OTHER_EPSILONS if epsilon != u.rule.epsilon]
    return [u.take(epsilon=epsilon) for epsilon in others] if u.s is not None else []


@slip("no s")
def _no_second(u: Update) -> Taken | None:
    """The step is not divided by sqrt(s) + epsilon, as if it was that of momentum."""
    return u.take(s=None, moments=None) if u.s is not None else None


# -- Adam's corrections -----------------------------------------------------------------------------------------------


@slip("no bias correction")
def _uncorrected(u: Update) -> Taken | None:
    """Adam divides v by 1 - beta1^t and s by 1 - beta2^t, as both start at zero."""
    return u.take(corrections=(1.0, 1.0)) if u.rule.corrected else None


@slip("no bias correction of v")
def _uncorrected_v(u: Update) -> Taken | None:
    """Adam divides v by 1 - beta1^t, too."""
    return u.take(corrections=(1.0, _right(u)[1])) if u.rule.corrected else None


@slip("no bias correction of s")
def _uncorrected_s(u: Update) -> Taken | None:
    """Adam divides s by 1 - beta2^t, too."""
    return u.take(corrections=(_right(u)[0], 1.0)) if u.rule.corrected else None


@slip("t = 0 in the bias correction")
def _t_from_zero(u: Update) -> Taken | None:
    """The first step has t = 1: with t = 0 it divides by 1 - beta^0 = 0, which gives NaN. Count t up before it."""
    return u.take(corrections=(0.0, 0.0)) if u.rule.corrected and u.rule.t == 1 else None


@slip("t is one too small")
def _t_too_small(u: Update) -> Taken | None:
    """The first step has t = 1, the second t = 2. Count t up before the update."""
    return u.take(corrections=u.rule.both_corrections(u.rule.t - 1)) if u.rule.corrected and u.rule.t > 1 else None


@slip("t is one too large")
def _t_too_large(u: Update) -> Taken | None:
    """The first step has t = 1, the second t = 2: t grows once for each step."""
    return u.take(corrections=u.rule.both_corrections(u.rule.t + 1)) if u.rule.corrected else None


@slip("t stays at 1")
def _t_stays(u: Update) -> Taken | None:
    """The corrections are those of the first step: t grows by 1 with each step."""
    return u.take(corrections=u.rule.both_corrections(1)) if u.rule.corrected and u.rule.t > 2 else None


@slip("the bias correction has the other beta")
def _other_correction(u: Update) -> list[Taken]:
    """It is 1 - beta1^t for v and 1 - beta2^t for s."""
    if not u.rule.corrected:
        return []
    first, second = _right(u)
    return [u.take(corrections=pair) for pair in ((second, first), (first, first), (second, second))]


@slip("multiplied by the bias correction")
def _multiplied(u: Update) -> Taken | None:
    """It divides: v / (1 - beta1^t), s / (1 - beta2^t). The moments are too small at first, and are made larger."""
    first, second = _right(u)
    return u.take(corrections=(1 / first, 1 / second)) if u.rule.corrected else None


@slip("beta1 and beta2 are swapped")
def _swapped_betas(u: Update) -> Taken | None:
    """The betas are 0.9 of v and 0.999 of s, unless they are said to be others."""
    rule = u.rule
    if not rule.beta1 or not rule.beta2:
        return None
    return u.take(beta1=rule.beta2, beta2=rule.beta1, share1=1 - rule.beta2, share2=1 - rule.beta1)


@slip("epsilon before the bias correction")
def _epsilon_uncorrected(u: Update) -> Taken | None:
    """It is sqrt(s / (1 - beta2^t)) + epsilon. With sqrt(s) + epsilon corrected as a whole, epsilon is a larger one."""
    return u.take(epsilon_at="uncorrected") if u.rule.corrected else None


@slip("the corrected moments are carried on")
def _corrected_kept(u: Update) -> Taken | None:
    """The corrected v and s are for this step only; v and s themselves go on uncorrected."""
    if not u.rule.corrected or u.right.v is None or u.right.s is None:
        return None
    first, second = _right(u)
    return u.right._replace(v=u.right.v / first, s=u.right.s / second)


def _right(u: Update) -> tuple[float, float]:
    return u.rule.both_corrections(u.rule.t)


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
