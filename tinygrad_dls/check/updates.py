"""Whether a hand-written update is right: what a person gives, beside the optimizer's own step, taken with copies."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tinygrad_dls import nn, optim
from tinygrad_dls.check.diagnosis import Diagnosis, Finding
from tinygrad_dls.check.update_rule import Rule, Taken, Update, gradient_of, is_single
from tinygrad_dls.check.verdicts import TOO_SMALL, Arrays, Given, Verdicts
from tinygrad_dls.engine.arrays import Array, as_array, positive_integer
from tinygrad_dls.engine.devices import to_host
from tinygrad_dls.engine.errors import shown
from tinygrad_dls.engine.tensor import values
from tinygrad_dls.nn.regularisation import is_weight
from tinygrad_dls.optimizer import Optimizer

__all__ = ["UpdateDiagnosis", "diagnose_update"]


@dataclass(frozen=True, repr=False)
class UpdateDiagnosis(Diagnosis):
    """The result of `diagnose_update`: a `Diagnosis` of moments and parameters; ``print`` it.

    A finding's norms are those of the step, after less before, yours and the optimizer's. Its verdict may be
    ``"too small to tell"``: the step is hardly more than the rounding of its parameter.
    """

    @property
    def conclusion(self) -> str:
        """The last line: which array is the first wrong one, or that none is."""
        small = [finding.name for finding in self.findings if finding.verdict == TOO_SMALL]
        if self.first_wrong is None and small:
            return f"None of these is wrong, but of {', '.join(small)} nothing can be said."
        return super().conclusion


def diagnose_update(
    model: nn.Module,
    before: Mapping[str, Any],
    gradients: Mapping[str, Any],
    after: Mapping[str, Any],
    optimizer: Optimizer,
    *,
    state: Mapping[str, Any] | None = None,
    state_after: Mapping[str, Any] | None = None,
    m: int | None = None,
) -> UpdateDiagnosis:
    """Find the first mistake in a step of an optimizer that a person wrote by hand, and its likely cause.

    Parameters
    ----------
    model : Module
        Whose parameters they are: for their names and shapes. It is not changed.
    before, after : mapping of str to array
        The parameters before and after the step: ``W1, b1, W2, ...``, all or some.
    gradients : mapping of str to array
        ``dW1, db1, dW2, ...``, which the step was taken with; ``dA1``, ``dZ1`` and the like among them are passed over.
    optimizer : SGD, RMSprop or Adam
        Over the model's parameters, with the settings that the step should have had. It is not changed.
    state : mapping, optional
        The moments before the step, as the course's programs have them: ``{"v": v, "s": s, "t": 2}``, with ``v`` and
        ``s`` dicts of ``dW1, db1, ...``, and t the number of this step, of which the first is 1. Of momentum and
        RMSprop, v or s alone will do. Or what ``optimizer.state_dict()`` returned. By default the optimizer's own: of a
        new one, zeros, and the first step.
    state_after : mapping, optional
        The moments after the step, ``{"v": v, "s": s}``: they are checked first.
    m : int, optional
        The number of examples, to tell whether the gradient was divided by it once more.

    Returns
    -------
    UpdateDiagnosis
        One finding for each moment and each parameter that can be judged.

    Raises
    ------
    TypeError
        If the optimizer is none of the three, or if an array is not numeric.
    ValueError
        If nothing is given that can be judged, if arrays do not fit the model, or if a moment or t is missing.

    Examples
    --------
    >>> import numpy as np, tinygrad_dls as tg
    >>> model = tg.nn.LogisticRegression(2)
    >>> before, grads = model.state_dict(), {"dW": np.array([[0.5, -0.25]]), "db": np.array([[0.125]])}
    >>> after = {"W": before["W"] - 0.1 * grads["dW"], "b": before["b"] + 0.1 * grads["db"]}
    >>> print(tg.check.diagnose_update(model, before, grads, after, tg.optim.SGD(model.parameters(), lr=0.1)))
    LogisticRegression, step 1 of SGD, learning rate 0.1
      W  right
      b  WRONG: sign
         The step goes up the slope. It is subtracted: W := W - alpha dW.
         |your step| = 0.0125, |right step| = 0.0125
         farthest apart at [0, 0]: 0.0125 for -0.0125
    The first wrong one is b.
    """
    reading = _Reading(model, before, gradients, after, optimizer, state, state_after, m)
    findings = Verdicts(reading.given()).findings()
    title = f"{type(model).__name__}, step {reading.t} of {type(optimizer).__name__}, learning rate {reading.rate:.6g}"
    return UpdateDiagnosis(title, tuple(findings), reading.hint(findings))


# -- what was given ---------------------------------------------------------------------------------------------------


class _Reading:
    """The arrays under the model's names, and for each parameter its `Update`."""

    def __init__(
        self,
        model: Any,
        before: Any,
        gradients: Any,
        after: Any,
        optimizer: Any,
        state: Any,
        state_after: Any,
        m: Any,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise TypeError(f"diagnose_update: model must be a Module, got {shown(model)}.")
        if type(optimizer) not in (optim.SGD, optim.RMSprop, optim.Adam):
            raise TypeError(f"diagnose_update: optimizer must be an SGD, RMSprop or Adam, got {shown(optimizer)}.")
        self.places = {id(p): i for i, p in enumerate(optimizer.parameters)}
        self.parameters = {name: p for name, p in model.named_parameters() if id(p) in self.places}
        if not self.parameters:
            raise ValueError("diagnose_update: the optimizer holds none of the model's parameters.")
        self.optimizer, self.m = optimizer, None if m is None else positive_integer(m, "diagnose_update: m")
        self.kept = set(model.state_dict())  # such as running means, which are no optimizer's
        self.passed_over: list[str] = []
        self.before = self._named(before, "before")
        self.after = self._named(after, "after")
        self.gradients = self._named(gradients, "gradients", "d")
        self.names = [n for n in self.parameters if n in self.before and n in self.after and n in self.gradients]
        if not self.names:
            first = next(iter(self.parameters))
            raise ValueError(
                f"diagnose_update: nothing can be judged. Give at least {first} in before and in after, and "
                f"{gradient_of(first)} in gradients."
            )
        self.moments = [kind for kind in "vs" if kind in _moments_of(optimizer)]
        self.state, self.t = self._state(state)
        self.own_state = bool(self.moments) and state is None
        self.state_after = {} if state_after is None else self._moments(state_after, "state_after")
        self.updates = self._updates()
        self.rate = next(iter(self.updates.values())).rule.rate

    def _named(self, arrays: Any, role: str, prefix: str = "") -> Arrays:
        """The arrays that are the model's, under its names."""
        if not isinstance(arrays, Mapping):
            example = gradient_of(next(iter(self.parameters))) if prefix else next(iter(self.parameters))
            raise TypeError(
                f'diagnose_update: {role} must be a dict such as {{"{example}": ...}}, got {shown(arrays)}.'
            )
        known = {(gradient_of(name) if prefix else name): name for name in self.parameters}
        found: Arrays = {}
        for key, x in arrays.items():
            name = known.get(self._key(str(key), known))
            if name is None:
                if key not in self.kept and not (prefix and str(key)[:2] in ("dA", "dZ", "da", "dz")):
                    self.passed_over.append(f"{key} of {role}")
                continue
            if name in found:
                raise ValueError(f"diagnose_update: {role}: {key} was given twice.")
            found[name] = to_host(as_array(values(x), f"{role}: {key}"))
        return found

    def _key(self, key: str, known: Mapping[str, str]) -> str:
        """A name as the model has it: ``w`` of week 2 is W, and W1 of a model with one layer is W."""
        candidates = (key, key.replace("w", "W"), key.replace("w", "W").removesuffix("1"))
        return next((name for name in candidates if name in known), key)

    # -- the moments ------------------------------------------------------------------------------------------------

    def _state(self, state: Any) -> tuple[dict[str, Arrays], int]:
        """The moments before the step, by kind and name; and its number."""
        if state is None or (isinstance(state, Mapping) and "optimizer" in state):
            own = copy.deepcopy(self.optimizer)
            if state is not None:
                own.load_state_dict(dict(state))
            places = _moments_of(own)
            found: dict[str, Arrays] = {kind: {} for kind in self.moments}
            for name, p in self.parameters.items():
                q = own.parameters[self.places[id(p)]]
                kept = own._state.get(q) or own._start(q)
                for kind in self.moments:
                    found[kind][name] = to_host(kept[places.index(kind)])
            return found, own.steps + 1
        found = self._moments(state, "state")
        for kind in self.moments:
            lacking = [name for name in self.names if name not in found.get(kind, {})]
            if lacking:
                raise ValueError(f"diagnose_update: state: {kind} lacks {', '.join(map(gradient_of, lacking))}.")
        t = state.get("t")
        if t is None and (isinstance(self.optimizer, optim.Adam) or callable(self.optimizer.lr)):
            raise ValueError('diagnose_update: state needs "t", the number of this step, of which the first is 1.')
        if isinstance(t, (int, np.integer)) and t == 0:
            raise ValueError(
                "diagnose_update: state: t is 0; the first step has t = 1, so count it up before the update. "
                "(With t = 0, 1 - beta^t is 0, and Adam divides by it.)"
            )
        return found, self.optimizer.steps + 1 if t is None else positive_integer(t, "diagnose_update: state: t")

    def _moments(self, state: Any, role: str) -> dict[str, Arrays]:
        if not isinstance(state, Mapping):
            raise TypeError(
                f'diagnose_update: {role} must be a dict such as {{"v": v, "s": s, "t": 1}}, got {shown(state)}.'
            )
        alone = len(self.moments) == 1 and not set(state) & {"v", "s"}
        kinds = {self.moments[0]: {k: x for k, x in state.items() if k != "t"}} if alone else state
        unknown = [str(kind) for kind in kinds if kind not in (*self.moments, "t")]
        if unknown:
            expected = ", ".join([*self.moments, "t"])
            raise ValueError(
                f"diagnose_update: {role}: {', '.join(unknown)} is none of {expected}, which "
                f"{type(self.optimizer).__name__} has, by the course's names: v is the mean of the gradients, s that "
                "of their squares."
            )
        return {kind: self._of_gradients(kinds[kind], f"{role}: {kind}") for kind in self.moments if kind in kinds}

    def _of_gradients(self, arrays: Any, role: str) -> Arrays:
        if isinstance(arrays, Mapping) and not any(str(key).startswith("d") for key in arrays):
            return self._named(arrays, role)
        return self._named(arrays, role, "d")

    # -- the steps ----------------------------------------------------------------------------------------------------

    def _updates(self) -> dict[str, Update]:
        updates = self._by_optimizer()
        others = {name: {n: u for n, u in updates.items() if n != name} for name in updates}
        return {name: replace(u, others=others[name]) for name, u in updates.items()}

    def _by_optimizer(self) -> dict[str, Update]:
        """What the optimizer itself makes of all this: a copy of it, with copies of the parameters in float64."""
        own = copy.deepcopy(self.optimizer)
        if own.clip_norm is not None and len(self.gradients) < len(own.parameters):
            raise ValueError("diagnose_update: the optimizer clips the norm of all the gradients: give them all.")
        own._state, own.steps = {}, self.t - 1
        rate, letters = own._rate(), _moments_of(own)
        arrays = {name: self._exact(self.gradients, name) for name in self.gradients}
        clipped = dict(zip(arrays, own._clipped(list(arrays.values())), strict=True))
        decays, kept = {}, {}
        for p in own.parameters:
            p._grad = None
        for name, g in arrays.items():
            p = own.parameters[self.places[id(self.parameters[name])]]
            p._value, p._grad = np.ones(1), g
            decays[name] = float(own._decayed(p, np.zeros(1))[0])
            p._value = self._exact(self.before, name) if name in self.before else np.zeros_like(g)
            if name in self.names:
                kept[name] = {kind: self._exact(self.state[kind], name) for kind in self.moments}
                own._state[p] = tuple((kept[name] | {"t": np.array(self.t - 1)})[kind] for kind in letters)
        own.step()
        updates = {}
        for name in self.names:
            p = own.parameters[self.places[id(self.parameters[name])]]
            new = dict(zip(letters, own._state.get(p, ()), strict=True))
            updates[name] = Update(
                name=name, is_bias=not is_weight(name),
                rule=replace(_rule_of(self.optimizer, rate, self.t), decay=decays[name]),
                w=self._exact(self.before, name), g=clipped[name], v=kept[name].get("v"), s=kept[name].get("s"),
                right=Taken(p._value, new.get("v"), new.get("s")), raw=np.asarray(self.gradients[name], float),
                unclipped=arrays[name], clip_norm=own.clip_norm, m=self.m,
            )  # fmt: skip
        return updates

    def _exact(self, arrays: Arrays, name: str) -> Array:
        """An array in float64 and in the parameter's shape, from that, the course's, or b without its second axis."""
        x, shape = np.asarray(arrays[name], float), self.parameters[name].shape
        if x.shape != shape and not is_single(x.shape, shape) and (*x.shape, 1) != shape:
            raise ValueError(f"diagnose_update: {name}: {x.shape} was given, expected {shape}.")
        if not np.all(np.isfinite(x)):
            raise ValueError(
                f"diagnose_update: {name} or its gradient or moment holds NaN or infinities before the step."
            )
        return x.reshape(shape)

    def given(self) -> Given:
        """What was given, for the verdicts."""
        return Given(self.before, self.gradients, self.after, self.state, self.state_after, self.updates)

    def hint(self, findings: list[Finding]) -> str:
        """What was not judged, and what else to give."""
        lines = []
        if self.own_state and any(f.verdict == "wrong" and not f.causes for f in findings):
            if self.t == 1:
                lines.append("The moments were taken to be zero, as in the first step; for a later one, give state=.")
            else:
                lines.append(f"The moments are the optimizer's own, after {self.t - 1} steps; for others, give state=.")
        if self.t == 1 and self.moments and any(len(f.causes) > 1 for f in findings):
            lines.append("In the first step several mistakes look alike; a later one, with state=, tells them apart.")
        if lacking := [name for name in self.parameters if name not in self.names]:
            lines.append(f"Not judged, as before, after or the gradient was not given: {', '.join(lacking)}.")
        if self.passed_over:
            lines.append(f"Passed over, as the optimizer has no such parameters: {', '.join(self.passed_over)}.")
        return "\n".join(lines)


def _moments_of(optimizer: Optimizer) -> str:
    """The state of a parameter by the course's letters, in the optimizer's order."""
    if isinstance(optimizer, optim.Adam):
        return "vst"
    if isinstance(optimizer, optim.RMSprop):
        return "s"
    return "v" if isinstance(optimizer, optim.SGD) and optimizer.momentum else ""


def _rule_of(optimizer: Any, rate: float, t: int) -> Rule:
    """The optimizer's settings; the decay, which is each parameter's own, is left out."""
    if isinstance(optimizer, optim.Adam):
        beta1, beta2 = optimizer.betas
        return Rule(rate, t, beta1, 1 - beta1, beta2, 1 - beta2, corrected=True, epsilon=optimizer.epsilon)
    if isinstance(optimizer, optim.RMSprop):
        return Rule(rate, t, beta2=optimizer.beta, share2=1 - optimizer.beta, epsilon=optimizer.epsilon)
    if not optimizer.momentum:
        return Rule(rate, t)
    return Rule(rate, t, optimizer.momentum, 1 - optimizer.dampening, nesterov=optimizer.nesterov)
