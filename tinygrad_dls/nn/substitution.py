"""Copies of a model, with other things in the place of its parameters: what transforms, pictures and tables work on."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import partial
from types import MethodType
from typing import Any, TypeVar

from tinygrad_dls.engine.devices import on_device, to_host
from tinygrad_dls.engine.tensor import Tensor, values
from tinygrad_dls.nn.containers import leaves
from tinygrad_dls.nn.module import Module, Parameter

__all__ = ["on_host", "twin_of", "with_parameters"]

M = TypeVar("M", bound="Module")


def with_parameters(module: M, exchanged: Mapping[Parameter, Any]) -> M:
    """A copy of a module, with other things (Parameters, Tensors, arrays) in the place of some of its parameters.

    Copied are the modules, the lists, tuples and dicts that hold them, and their methods where these are attributes.
    All else is shared: random generators draw on, and what cannot be copied, such as a lock, need not be. What is one
    parameter, or one module, in several places remains one.
    """
    copies: dict[int, Any] = {id(p): x for p, x in exchanged.items()}

    def copied(x: Any) -> Any:
        if id(x) in copies:
            return copies[id(x)]
        if isinstance(x, Module):
            copies[id(x)] = twin = copy.copy(x)
            vars(twin).update(copied(vars(x)))
            return twin
        if isinstance(x, (list, dict)):
            items = x.items() if isinstance(x, dict) else enumerate(x)
            new = {key: twin for key, item in items if (twin := copied(item)) is not item}
            if not new:
                return x
            x = copy.copy(x)
            for key, twin in new.items():
                x[key] = twin
            return x
        if isinstance(x, tuple):
            before = list(x)
            after = copied(before)
            return x if after is before else tuple.__new__(type(x), after)  # a namedtuple too
        if isinstance(x, MethodType) and isinstance(x.__self__, Module):
            return MethodType(x.__func__, copied(x.__self__))
        if isinstance(x, partial):
            parts = x.func, x.args, x.keywords
            function, args, keywords = twins = copied(parts)
            return x if twins is parts else partial(function, *args, **keywords)
        return x

    return copied(module)  # type: ignore[no-any-return]


def twin_of(module: M) -> M:
    """A copy to be run without a trace: it shares the parameters, and has all else for itself.

    So it draws the same random numbers without taking them from the model. Shared are Tensors too, and what cannot be
    copied, such as a lock.
    """
    twin = with_parameters(module, {})
    pairs = list(zip(module.modules(), twin.modules(), strict=True))
    memo: dict[int, Any] = {id(original): copied for original, copied in pairs}
    for original, _ in pairs:
        for attribute, value in vars(original).items():
            memo |= {id(x): x for _, x in leaves(value, attribute) if isinstance(x, Tensor)}
    for original, copied in pairs:
        for attribute, value in vars(original).items():
            try:
                vars(copied)[attribute] = copy.deepcopy(value, memo)
            except Exception:  # whatever a user's object makes of it
                continue
    return twin


def on_host(module: M) -> tuple[M, dict[Parameter, Parameter]]:
    """A copy of a module on the host, and its parameters by the module's own; itself, if it does not lie on a device.

    What looks at numbers, such as a picture or a check, takes them there by name.
    """
    parameters = dict.fromkeys(p for _, p in module.named_parameters())
    if not any(map(on_device, [*map(values, parameters), *module._kept_arrays().values()])):
        return module, {}
    twins = {p: copy.copy(p) for p in parameters}
    for p, twin in twins.items():
        twin._value, twin._grad, twin._escaped = to_host(values(p)), None, None
    moved = with_parameters(module, twins)
    moved._keep_arrays(map(to_host, moved._kept_arrays().values()))
    return moved, twins
