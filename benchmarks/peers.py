"""The same training step of the two-layer network, by hand and by the engine, and how both are timed."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Sequence

import numpy as np

import tinygrad_dls as tg

LEARNING_RATE = 0.1


def problem(n_x: int, n_h: int, m: int, dtype: type) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Data and first parameters, from a fixed seed."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_x, m)).astype(dtype)
    Y = (X[:1] + 0.5 * rng.normal(size=(1, m)) > 0).astype(dtype)
    parameters = {
        "W1": rng.normal(size=(n_h, n_x)) / np.sqrt(n_x),
        "b1": np.zeros((n_h, 1)),
        "W2": rng.normal(size=(1, n_h)) / np.sqrt(n_h),
        "b2": np.zeros((1, 1)),
    }
    return X, Y, {name: value.astype(dtype) for name, value in parameters.items()}


def by_hand(X: np.ndarray, Y: np.ndarray, parameters: dict[str, np.ndarray]) -> Callable[[], float]:
    """Return the step as a student of the course writes it: vectorized, cost included, update included."""
    W1, b1, W2, b2 = parameters.values()
    m = X.shape[1]

    def step() -> float:
        nonlocal W1, b1, W2, b2
        Z1 = np.dot(W1, X) + b1
        A1 = np.tanh(Z1)
        Z2 = np.dot(W2, A1) + b2
        A2 = 1 / (1 + np.exp(-Z2))
        J = -np.sum(Y * np.log(A2) + (1 - Y) * np.log(1 - A2)) / m
        dZ2 = (A2 - Y) / m
        dW2 = np.dot(dZ2, A1.T)
        db2 = np.sum(dZ2, axis=1, keepdims=True)
        dZ1 = np.dot(W2.T, dZ2) * (1 - A1**2)
        dW1 = np.dot(dZ1, X.T)
        db1 = np.sum(dZ1, axis=1, keepdims=True)
        W1 = W1 - LEARNING_RATE * dW1
        b1 = b1 - LEARNING_RATE * db1
        W2 = W2 - LEARNING_RATE * dW2
        b2 = b2 - LEARNING_RATE * db2
        return float(J)

    return step


def eager(X: np.ndarray, Y: np.ndarray, parameters: dict[str, np.ndarray]) -> Callable[[], float]:
    """Return the step from layer objects: forward, cost, backward, update."""
    n_h, n_x = parameters["W1"].shape
    model = tg.nn.TwoLayerNetwork(n_x, n_h, rng=0, dtype=X.dtype)
    model.load_state_dict(parameters)
    optimizer = tg.optim.SGD(model.parameters(), lr=LEARNING_RATE)

    def step() -> float:
        J = tg.binary_cross_entropy_with_logits(model(X), Y)
        optimizer.zero_grad()
        J.backward()
        optimizer.step()
        return float(J)

    return step


def seconds(peers: Sequence[Callable[[], float]], *, budget: float = 8.0) -> np.ndarray:
    """Seconds per call, shape (len(peers), rounds): the peers take short turns, so that noise hits all alike."""
    once = []
    for peer in peers:
        peer()
        start = time.perf_counter()
        peer()
        once.append(time.perf_counter() - start)
    rounds = int(np.clip(budget / sum(once), 15, 201))
    calls = max(1, int(budget / rounds / sum(once)))
    times = np.empty((len(peers), rounds))
    for i in range(rounds):
        for k, peer in enumerate(peers):
            start = time.perf_counter()
            for _ in range(calls):
                peer()
            times[k, i] = (time.perf_counter() - start) / calls
    return times


def machine() -> str:
    """What a table has to name: processor, Python, NumPy."""
    return f"{platform.processor() or platform.machine()}, Python {platform.python_version()}, NumPy {np.__version__}"
