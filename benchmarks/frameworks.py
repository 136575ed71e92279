"""The other frameworks, each in its own best formulation; ``pip install 'tinygrad_dls[bench]'`` brings them.

PyTorch's layers take examples as rows, so it gets them as rows, contiguous; JAX is tried with both layouts. Data are in
place, and on the device, before the first step. The costs are those of a numerically careful user: from logits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.peers import Parameters, Peer
from benchmarks.problems import Problem

# -- PyTorch ----------------------------------------------------------------------------------------------------------


def _torch_data(problem: Problem, device: str = "cpu") -> tuple[Any, Any]:
    """X with examples as rows, and labels as PyTorch's losses take them: floats for one class, else class indices."""
    import torch

    X, Y = problem.data
    rows = torch.from_numpy(np.ascontiguousarray(X.T))
    labels = torch.from_numpy(np.ascontiguousarray(Y.T) if problem.binary else Y.argmax(axis=0))
    return rows.to(device), labels.to(device)


def _torch_loss(problem: Problem) -> Callable[[Any, Any], Any]:
    from torch.nn import functional

    return functional.binary_cross_entropy_with_logits if problem.binary else functional.cross_entropy


def _torch_network(parameters: list[Any], X: Any) -> Any:
    import torch

    A = X
    for k in range(0, len(parameters), 2):
        A = torch.nn.functional.linear(torch.tanh(A) if k else A, parameters[k], parameters[k + 1])
    return A


def _torch_parameters(parameters: list[Any]) -> Parameters:
    """In the course's shapes, by the course's names; PyTorch's W has them, its b is flat."""
    arrays = [p.detach().cpu().numpy().copy() for p in parameters]
    return {f"{'Wb'[i % 2]}{i // 2 + 1}": array.reshape(len(array), -1) for i, array in enumerate(arrays)}


def _torch_restart(own: list[Any], parameters: Parameters) -> None:
    import torch

    with torch.no_grad():
        for p, first in zip(own, parameters.values(), strict=True):
            p.copy_(torch.from_numpy(first.reshape(p.shape)))


def torch_eager(problem: Problem, *, threads: int = 1, update: str = "foreach", device: str = "cpu") -> Peer:
    """``nn.Sequential`` and ``optim.SGD`` (over lists of tensors, or fused), or functions and an update by hand."""
    import torch

    torch.set_num_threads(threads)
    X, Y = _torch_data(problem, device)
    loss = _torch_loss(problem)
    rate = problem.learning_rate
    dtype = getattr(torch, problem.dtype)
    layers: list[Any] = []
    for n_in, n_out in zip(problem.sizes, problem.sizes[1:], strict=False):
        layers += [torch.nn.Linear(n_in, n_out, dtype=dtype, device=device), torch.nn.Tanh()]
    model = torch.nn.Sequential(*layers[:-1])
    own = list(model.parameters())
    _torch_restart(own, problem.parameters)

    if update == "by hand":

        def step() -> float:
            J = loss(_torch_network(own, X), Y)
            gradients = torch.autograd.grad(J, own)
            with torch.no_grad():
                torch._foreach_sub_(own, gradients, alpha=rate)
            return J.item()

    else:
        optimizer = torch.optim.SGD(own, lr=rate, **{update: True})

        def step() -> float:
            J = loss(model(X), Y)
            optimizer.zero_grad()
            J.backward()
            optimizer.step()
            return J.item()

    return Peer(step, lambda: _torch_parameters(own), lambda parameters: _torch_restart(own, parameters))


def torch_compile(problem: Problem, *, threads: int = 1, formulation: str = "functional") -> Peer:
    """The step under ``torch.compile``: the usual one, or forward, gradients and update as one functional graph.

    The second has no autograd at run time, and is what `torch.func` is for.
    """
    import torch

    torch.set_num_threads(threads)
    X, Y = _torch_data(problem)
    loss = _torch_loss(problem)
    rate = problem.learning_rate
    own = [
        torch.from_numpy(first.copy() if name[0] == "W" else first.ravel().copy())
        for name, first in problem.parameters.items()
    ]

    def cost(parameters: list[Any], X: Any, Y: Any) -> Any:
        return loss(_torch_network(parameters, X), Y)

    if formulation == "functional":

        @torch.compile(dynamic=False, fullgraph=True)
        def update(parameters: list[Any], X: Any, Y: Any) -> Any:
            gradients, J = torch.func.grad_and_value(cost)(parameters, X, Y)
            for p, g in zip(parameters, gradients, strict=True):
                p.sub_(g, alpha=rate)
            return J

        def step() -> float:
            with torch.no_grad():
                return update(own, X, Y).item()

    else:
        for p in own:
            p.requires_grad_()
        optimizer = torch.optim.SGD(own, lr=rate)
        forward = torch.compile(cost, dynamic=False, fullgraph=True)
        advance = torch.compile(optimizer.step)

        def step() -> float:
            J = forward(own, X, Y)
            optimizer.zero_grad()
            J.backward()
            advance()
            return J.item()

    return Peer(step, lambda: _torch_parameters(own), lambda parameters: _torch_restart(own, parameters))


# -- JAX --------------------------------------------------------------------------------------------------------------


def jax_jit(problem: Problem, *, examples: str = "columns", wait: bool = True, platform: str = "") -> Peer:
    """One jitted function of one flat, donated array of parameters, which is faster than a list of them.

    JAX returns before a result is there. With `wait`, a step ends when its cost is known, as the other peers' steps do;
    without, steps queue up, and only the last one is waited for. A `platform` that it is not on is an error.
    """
    import jax
    import jax.numpy as jnp

    if platform not in ("", found := jax.devices()[0].platform):
        raise RuntimeError(f"JAX runs on the {found} here")

    jax.config.update("jax_enable_x64", problem.dtype == "float64")
    by_rows = examples == "rows"
    rate = problem.learning_rate
    X, Y = jax.block_until_ready(
        [jax.device_put(np.ascontiguousarray(array.T) if by_rows else array) for array in problem.data]
    )
    classes = 1 if by_rows else 0
    shapes = {name: first.shape for name, first in problem.parameters.items()}
    ends = np.cumsum([first.size for first in problem.parameters.values()])[:-1]

    def split(P: Any) -> list[Any]:
        return [part.reshape(shape) for part, shape in zip(jnp.split(P, ends), shapes.values(), strict=True)]

    def cost(P: Any, X: Any, Y: Any) -> Any:
        parameters = split(P)
        A = X
        for k in range(0, len(parameters), 2):
            W, b = parameters[k : k + 2]
            A = jnp.tanh(A) if k else A
            A = A @ W.T + b.T if by_rows else W @ A + b
        if problem.binary:
            losses = jnp.maximum(A, 0) - Y * A + jnp.log1p(jnp.exp(-jnp.abs(A)))
        else:
            losses = jax.nn.logsumexp(A, axis=classes) - jnp.sum(Y * A, axis=classes)
        return jnp.sum(losses) / problem.m

    @jax.jit(donate_argnums=0)
    def update(P: Any, X: Any, Y: Any) -> Any:
        J, G = jax.value_and_grad(cost)(P, X, Y)
        return P - rate * G, J

    own: Any = None

    def restart(parameters: Parameters) -> None:
        nonlocal own
        own = jax.device_put(np.concatenate([first.ravel() for first in parameters.values()]))

    restart(problem.parameters)

    def step() -> float:
        nonlocal own
        own, J = update(own, X, Y)
        return J.block_until_ready() if wait else J  # the step's other results are ready with the cost

    def parameters() -> Parameters:
        return dict(zip(shapes, map(np.array, split(own)), strict=True))

    return Peer(step, parameters, restart, finish=lambda: own.block_until_ready())


# -- autograd and MyGrad ----------------------------------------------------------------------------------------------


def autograd(problem: Problem) -> Peer:
    """Its NumPy for the forward pass, `value_and_grad` for the rest."""
    import autograd.numpy as anp
    from autograd import value_and_grad

    X, Y = problem.data
    rate, m = problem.learning_rate, problem.m
    own = list(problem.parameters.values())

    def cost(parameters: list[np.ndarray]) -> Any:
        A = X
        for k in range(0, len(parameters), 2):
            A = anp.dot(parameters[k], anp.tanh(A) if k else A) + parameters[k + 1]
        if problem.binary:
            return anp.sum(anp.logaddexp(0, A) - Y * A) / m
        A = A - anp.max(A, axis=0, keepdims=True)
        return anp.sum(anp.log(anp.sum(anp.exp(A), axis=0)) - anp.sum(Y * A, axis=0)) / m

    both = value_and_grad(cost)

    def step() -> float:
        J, gradients = both(own)
        own[:] = [p - rate * g for p, g in zip(own, gradients, strict=True)]
        return float(J)

    def restart(parameters: Parameters) -> None:
        own[:] = parameters.values()

    return Peer(step, lambda: dict(zip(problem.parameters, own, strict=True)), restart)


def mygrad(problem: Problem) -> Peer:
    """Its tensors, its own losses, and the update in place on their data; memory guarding is off, as it advises."""
    import mygrad as mg
    from mygrad.nnet.losses import softmax_crossentropy

    mg.turn_memory_guarding_off()
    X, Y = problem.data
    rate, m = problem.learning_rate, problem.m
    classes = Y.argmax(axis=0)
    own = [mg.tensor(first) for first in problem.parameters.values()]

    def step() -> float:
        A = X
        for k in range(0, len(own), 2):
            A = mg.matmul(own[k], mg.tanh(A) if k else A) + own[k + 1]
        if problem.binary:
            J = mg.sum(mg.logaddexp(0, A) - Y * A) / m
        else:
            J = softmax_crossentropy(A.T, classes)
        J.backward()
        for p in own:
            p.data -= rate * p.grad
        return J.item()

    def restart(parameters: Parameters) -> None:
        for p, first in zip(own, parameters.values(), strict=True):
            p.data[...] = first

    return Peer(step, lambda: {name: p.data.copy() for name, p in zip(problem.parameters, own, strict=True)}, restart)
