"""Functions beside NumPy's that programs may use, and that formulas are known by."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["clipped_sigmoid", "shared_softmax", "sigmoid", "softmax"]


def sigmoid(Z: Any) -> Any:
    """``1 / (1 + e^-Z)``, without overflow."""
    return np.exp(np.minimum(Z, 0)) / (1 + np.exp(-np.abs(Z)))


def clipped_sigmoid(Z: Any) -> Any:
    """``1 / (1 + e^-Z)``, without overflow, and kept strictly between 0 and 1."""
    A = sigmoid(Z)
    return np.clip(A, np.finfo(A.dtype).smallest_normal, 1 - np.finfo(A.dtype).epsneg)


def softmax(Z: Any) -> Any:
    """Probabilities of the classes, which are the rows, without overflow."""
    E = np.exp(Z - np.max(Z, axis=0, keepdims=True))
    return E / np.sum(E, axis=0, keepdims=True)


def shared_softmax(Z: Any) -> Any:
    """Probabilities of the classes, which are the rows, of infinite logits too."""
    top = np.max(Z, axis=0, keepdims=True)
    infinite = np.where(np.isinf(top), top, np.nan)
    E = np.exp(np.where(Z == infinite, 0, Z - top))  # noqa: SIM300  # Z is no constant
    return E / np.sum(E, axis=0, keepdims=True)


PATTERNS = (sigmoid, clipped_sigmoid, softmax, shared_softmax)
