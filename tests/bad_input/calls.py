"""The table `CALLS` of good calls, each with its answer computed in plain NumPy, and how it is filled."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

import tinygrad_dls as tg
from tests.bad_input.corruptions import arrays_instead, as_plain, scalars_instead


class Place(NamedTuple):
    """An argument: the role it is documented under, a good value, and what kinds of bad ones to try."""

    role: str
    good: Any
    instead: Any


class Call(NamedTuple):
    """A call that works: `run` returns arrays, `reference` computes the first of them from plain ones."""

    places: tuple[Place, ...]
    run: Any
    reference: Any
    names: tuple[str, ...] = ()  # what errors may call the function


def A(*shape_or_array, role="x"):  # noqa: N802  # an array, as in the course
    (good,) = shape_or_array
    return Place(role, np.asarray(good), arrays_instead)


def O(role, good):  # noqa: E743, N802
    return Place(role, good, scalars_instead)


RNG = np.random.default_rng(11)
X23 = RNG.uniform(0.1, 0.9, (2, 3))
X32 = RNG.uniform(0.1, 0.9, (3, 2))
X3 = RNG.uniform(0.1, 0.9, 3)
CALLS: dict[str, list[Call]] = {}


def values_of(result):
    """The numbers in whatever a function returned."""
    if isinstance(result, tg.Tensor):
        return [as_plain(result)]
    if isinstance(result, tg.nn.Module):
        return [as_plain(p) for p in result.parameters()]
    if isinstance(result, (tuple, list)):
        return [x for r in result for x in values_of(r)]
    if result is None:
        return []
    return [np.asarray(result)]


CONSTANT = object()  # the gradient of a Tensor of a lower level than the result: there is none


def call(name, *places, run, reference, names=()):
    """A good call of a function that gives no gradients."""
    names = (*name.split(".")[-2:], *names)
    CALLS.setdefault(name, []).append(Call(places, lambda *args: values_of(run(*args)), reference, names))


def graph_of(f, wrap):
    """A run of f in which the arguments at the places in `wrap` are Tensors; gives the value and all gradients."""

    def run(*args):
        tensors = {i: tg.Tensor(args[i], requires_grad=True, name=role) for i, role in wrap.items()}
        z = f(*(tensors.get(i, a) for i, a in enumerate(args)))
        assert isinstance(z, tg.Tensor), f"a {type(z).__name__}, not a Tensor, came of a Tensor"
        z.backward(np.ones(z.shape))
        gradients = []
        for t in tensors.values():
            if t._level < z._level:
                gradients.append(CONSTANT)
            else:
                assert (t.grad.shape, t.grad.dtype) == (t.shape, t.dtype), "a gradient unlike its data"
                gradients.append(as_plain(t.grad))
        return [as_plain(z), *gradients]

    return run


def op_calls(name, *places, reference, f=None, names=(), plain=True):
    """An op with plain arrays, with Tensors in all the array places, and with Tensors in all but one of them."""
    f = f or getattr(tg, name)
    arrays = {i: place.role for i, place in enumerate(places) if place.instead is arrays_instead}
    names = (name.split(".")[-1], *names)
    calls = CALLS.setdefault(name, [])
    if plain:
        calls.append(Call(places, lambda *args: values_of(f(*args)), reference, names))
    names = (*names, "backward")
    calls.append(Call(places, graph_of(f, arrays), reference, names))
    for left in arrays if len(arrays) > 1 else ():
        others = {i: role for i, role in arrays.items() if i != left}
        calls.append(Call(places, graph_of(f, others), reference, names))


class ChangedError(AssertionError):
    """A refused call has changed what it was given."""


@contextmanager
def unchanged(*things):
    """If the block raises, check that the models, optimizers and Tensors are as they were."""
    before = [state_of(x) for x in things]
    try:
        yield
    except Exception as error:  # whatever was raised, it must not have changed anything
        after = [state_of(x) for x in things]
        if not all(
            np.array_equal(a, b, equal_nan=True)
            for x, y in zip(before, after, strict=True)
            for a, b in zip(x, y, strict=True)
        ):
            raise ChangedError(f"changed by a refused call: {error}") from error
        raise


def state_of(x):
    if isinstance(x, tg.nn.Module):
        return [np.array(p.data) for p in x.parameters()]
    if isinstance(x, tg.Tensor):
        return [
            np.array(as_plain(x)),
            np.array(np.nan if x.grad is None else as_plain(x.grad)),
            np.array(x.requires_grad),
        ]
    state = x.state_dict()
    return [np.array(state["steps"]), *(np.array(a) for s in state["state"] for a in s)]
