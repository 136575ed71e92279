"""The states of NumPy's random generators, as numbers: what a file keeps of them, and only what they can be.

A state that a file gives is held against what its kind of generator can have: NumPy takes a position on trust, and
would read beyond the end of an array for a wrong one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["kind_of", "new_generator", "set_state", "state_of"]

_HALVES = {"has_uint32": 2, "uinteger": 2**32}
# of each part the number that it stays below; of arrays, how many there are of these
_STATES: dict[str, dict[str, Any]] = {
    "PCG64": {"state": {"state": 2**128, "inc": 2**128}, **_HALVES},
    "PCG64DXSM": {"state": {"state": 2**128, "inc": 2**128}, **_HALVES},
    "MT19937": {"state": {"key": (624, 2**32), "pos": 625}},
    "Philox": {
        "state": {"counter": (4, 2**64), "key": (2, 2**64)},
        "buffer": (4, 2**64),
        "buffer_pos": 5,
        **_HALVES,
    },
    "SFC64": {"state": {"state": (4, 2**64)}, **_HALVES},
}
_GAUSS = {"has_gauss": 2}  # of a RandomState, with the number that it kept


def kind_of(rng: Any) -> str:
    """What a generator is: ``"Generator(PCG64)"``; of a bit generator that is not NumPy's, a TypeError."""
    bits = rng._bit_generator if isinstance(rng, np.random.RandomState) else rng.bit_generator
    name = type(bits).__name__
    is_old = isinstance(rng, np.random.RandomState)
    if type(bits) is not getattr(np.random, name, None) or name not in (["MT19937"] if is_old else _STATES):
        raise TypeError(f"draws from {name}, whose state is not known. Use np.random.default_rng(seed).")
    return f"{type(rng).__name__}({name})"


def state_of(rng: Any) -> dict[str, Any]:
    """The state of a generator, in lists and numbers."""
    kind = kind_of(rng)
    if isinstance(rng, np.random.RandomState):
        state = rng.get_state(legacy=False)
        spec: dict[str, Any] = _STATES["MT19937"] | _GAUSS
        return {"kind": kind, "gauss": float(state["gauss"])} | _plain(state, spec)
    state = rng.bit_generator.state
    return {"kind": kind} | _plain(state, _STATES[state["bit_generator"]])


def new_generator(state: Any) -> Any:
    """A generator that goes on from a state.

    Raises
    ------
    ValueError
        If it is none.
    """
    kind, name = _kind(state)
    bits = getattr(np.random, name)(0)
    rng = np.random.RandomState(bits) if kind.startswith("RandomState") else np.random.Generator(bits)
    set_state(rng, state)
    return rng


def set_state(rng: Any, state: Any) -> None:
    """Let a generator of the same kind go on from a state."""
    _, name = _kind(state)
    numbers = {"bit_generator": name} | _typed(state, _STATES[name])
    if not isinstance(rng, np.random.RandomState):
        rng.bit_generator.state = numbers
        return
    gauss = state.get("gauss")
    if type(gauss) is not float:
        raise ValueError("the state of a random generator lacks a number")
    rng.set_state(numbers | _typed(state, _GAUSS) | {"gauss": gauss})


def _kind(state: Any) -> tuple[str, str]:
    kind = state.get("kind") if isinstance(state, dict) else None
    known = {f"Generator({name})": name for name in _STATES} | {"RandomState(MT19937)": "MT19937"}
    if not isinstance(kind, str) or kind not in known:
        raise ValueError("the state of a random generator is of no kind that is known")
    return kind, known[kind]


def _plain(state: Any, spec: dict[str, Any]) -> dict[str, Any]:
    plain = {}
    for name, bound in spec.items():
        x = state[name]
        plain[name] = (
            _plain(x, bound) if isinstance(bound, dict) else x.tolist() if isinstance(bound, tuple) else int(x)
        )
    return plain


def _typed(state: Any, spec: dict[str, Any]) -> dict[str, Any]:
    """The state as NumPy takes it, each number checked."""
    found: dict[str, Any] = {}
    for name, bound in spec.items():
        x = state.get(name) if isinstance(state, dict) else None
        if isinstance(bound, dict):
            found[name] = _typed(x, bound)
            continue
        count, below = bound if isinstance(bound, tuple) else (None, bound)
        numbers = [x] if count is None else x if isinstance(x, list) and len(x) == count else [None]
        if not all(type(n) is int and 0 <= n < below for n in numbers):
            raise ValueError(f"the state of a random generator has a wrong {name}")
        found[name] = x if count is None else np.array(x, np.uint32 if below == 2**32 else np.uint64)
    return found
