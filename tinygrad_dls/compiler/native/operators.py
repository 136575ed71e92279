"""What C calls NumPy's functions of entries: an expression of vectors, with the arguments by number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_dls.compiler.lowering import sigmoid_of

__all__ = ["EXTREMES", "OF_MASKS", "OPERATORS", "TRUTHS"]

OPERATORS: dict[Callable[..., Any], str] = {
    np.add: "({0} + {1})",
    np.subtract: "({0} - {1})",
    np.multiply: "({0} * {1})",
    np.divide: "({0} / {1})",
    np.negative: "(-{0})",
    np.positive: "{0}",
    np.square: "({0} * {0})",
    np.reciprocal: "(1 / {0})",
    np.sqrt: "root({0})",
    np.exp: "exp_({0})",
    np.log: "log_({0})",
    np.log1p: "log1p_({0})",
    np.tanh: "tanh_({0})",
    np.abs: "magnitude({0})",
    np.copysign: "with_sign({0}, {1})",
    np.maximum: "largest({0}, {1})",
    np.minimum: "smallest({0}, {1})",
    np.where: "choose({0}, {1}, {2})",
    sigmoid_of: "sigmoid_of({0}, {1})",
}

# What gives truth values: masks, all of whose bits are set where it is true; as numbers, 1 and 0.
TRUTHS: dict[Callable[..., Any], str] = {
    np.greater: "({0} > {1})",
    np.greater_equal: "({0} >= {1})",
    np.less: "({0} < {1})",
    np.less_equal: "({0} <= {1})",
    np.equal: "({0} == {1})",
    np.not_equal: "({0} != {1})",
    np.isnan: "is_nan({0})",
    np.isinf: "(magnitude({0}) == HUGE_)",
    np.isfinite: "(magnitude({0}) < HUGE_)",
}
OF_MASKS: dict[Callable[..., Any], str] = {
    np.logical_and: "({0} & {1})",
    np.logical_or: "({0} | {1})",
    np.logical_not: "(~{0})",
}
EXTREMES: dict[Callable[..., Any], str] = {
    np.sum: "({0} + {1})",
    np.max: "largest({0}, {1})",
    np.min: "smallest({0}, {1})",
}
