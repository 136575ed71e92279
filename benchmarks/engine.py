"""The engine's own steps: eager, as the tutorial writes it, and compiled by ``tg.compile``."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial

import tinygrad_dls as tg
from benchmarks.peers import Parameters, Peer
from benchmarks.problems import Problem
from tinygrad_dls.engine.devices import to_host


def trained(problem: Problem) -> tuple[tg.nn.Module, Callable, tg.optim.Optimizer]:
    """The model at its first parameters, its loss, and plain gradient descent."""
    layers: list[Callable] = []
    for n_in, n_out in zip(problem.sizes, problem.sizes[1:], strict=False):
        layers += [tg.nn.Linear(n_in, n_out, init=tg.init.zeros, dtype=problem.dtype), tg.nn.Tanh()]
    model = tg.nn.Sequential(*layers[:-1])
    _restart(model, problem.parameters)
    loss = tg.binary_cross_entropy_with_logits if problem.binary else tg.softmax_cross_entropy
    return model, loss, tg.optim.SGD(model.parameters(), lr=problem.learning_rate)


def parameters_of(model: tg.nn.Module) -> Parameters:
    state = {name: to_host(x) for name, x in model.state_dict().items()}
    return state if "W1" in state else {name + "1": value for name, value in state.items()}


def _restart(model: tg.nn.Module, parameters: Parameters) -> None:
    model.load_state_dict(dict(zip(model.state_dict(), parameters.values(), strict=True)))


def eager(problem: Problem, *, library: str = "numpy") -> Peer:
    """Record a graph, walk it back, update; with the arrays of a library, where they lie."""
    move = importlib.import_module(library).asarray
    X, Y = map(move, problem.data)
    model, loss, optimizer = trained(problem)
    model.to(move)

    def step() -> float:
        J = loss(model(X), Y)
        optimizer.zero_grad()
        J.backward()
        optimizer.step()
        return J.item()

    return Peer(step, lambda: parameters_of(model), lambda parameters: _restart(model, parameters))


def compiled(problem: Problem, *, backend: str = "numpy") -> Peer:
    """The same step, compiled: to NumPy's calls, or to C."""
    X, Y = problem.data
    model, loss, optimizer = trained(problem)
    step = tg.compile(model, loss, optimizer, backend=backend)
    return Peer(partial(step, X, Y), lambda: parameters_of(model), lambda parameters: _restart(model, parameters))
