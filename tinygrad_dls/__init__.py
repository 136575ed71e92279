"""tinygrad_dls: reverse-mode autodiff on NumPy, in the notation of the Deep Learning Specialization.

Examples are columns: ``X`` is ``(n_x, m)``, ``W`` is ``(n, n_prev)``, ``b`` is ``(n, 1)``, ``Z = W A + b``.

>>> import tinygrad_dls as tg
>>> X, Y = tg.datasets.planar_flower()
>>> model = tg.nn.LogisticRegression(2)
>>> J = tg.binary_cross_entropy_with_logits(model(X), Y)
>>> J.backward()
>>> model.parameters()[0].grad.shape
(1, 2)
"""

import importlib
from typing import TYPE_CHECKING, Any

from tinygrad_dls import nn, optim
from tinygrad_dls.engine.autodiff import op
from tinygrad_dls.engine.ops import (
    abs,
    add,
    astype,
    broadcast_to,
    clip,
    concatenate,
    cos,
    cumsum,
    divide,
    dot,
    exp,
    expand_dims,
    expm1,
    getitem,
    log,
    log1p,
    log_softmax,
    logsumexp,
    matmul,
    max,
    maximum,
    mean,
    min,
    minimum,
    multiply,
    negative,
    power,
    prod,
    relu,
    reshape,
    sigmoid,
    sin,
    softmax,
    softplus,
    sqrt,
    square,
    squeeze,
    stack,
    std,
    subtract,
    sum,
    swapaxes,
    tanh,
    transpose,
    var,
    where,
)
from tinygrad_dls.engine.recording import no_grad
from tinygrad_dls.engine.tensor import Tensor
from tinygrad_dls.nn import init
from tinygrad_dls.nn.fused import fused_loss
from tinygrad_dls.nn.labels import smooth_labels
from tinygrad_dls.nn.losses import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    mean_squared_error,
    softmax_cross_entropy,
)
from tinygrad_dls.nn.normalisation import batch_norm
from tinygrad_dls.nn.regularisation import dropout, l2
from tinygrad_dls.transforms import grad, hessian, hvp, jacobian, value_and_grad

if TYPE_CHECKING:
    from tinygrad_dls import check, datasets, onnx
    from tinygrad_dls.check.anomaly import AnomalyError, detect_anomaly
    from tinygrad_dls.compiler import compile
    from tinygrad_dls.derivations.derive import derive
    from tinygrad_dls.drawing.draw import draw
    from tinygrad_dls.reports.report import report
    from tinygrad_dls.saving import load, save
    from tinygrad_dls.source import numpy_source
    from tinygrad_dls.training.batches import minibatches
    from tinygrad_dls.training.callbacks import Checkpoint, EarlyStopping
    from tinygrad_dls.training.history import History
    from tinygrad_dls.training.loop import fit
    from tinygrad_dls.training.metrics import accuracy, confusion_matrix
    from tinygrad_dls.training.rates import LearningRates, learning_rates

__version__ = "0.1.0"

__all__ = [
    "AnomalyError", "Checkpoint", "EarlyStopping", "History", "LearningRates", "Tensor", "abs", "accuracy", "add",
    "astype",
    "batch_norm", "binary_cross_entropy", "binary_cross_entropy_with_logits", "broadcast_to", "check", "clip",
    "compile", "concatenate", "confusion_matrix", "cos", "cumsum", "datasets", "derive", "detect_anomaly", "divide",
    "dot", "draw", "dropout", "exp", "expand_dims", "expm1", "fit", "fused_loss", "getitem", "grad", "hessian", "hvp",
    "init", "jacobian", "l2", "learning_rates", "load", "log", "log1p", "log_softmax", "logsumexp", "matmul",
    "max", "maximum", "mean",
    "mean_squared_error", "min", "minibatches", "minimum", "multiply", "negative", "nn", "no_grad", "numpy_source",
    "onnx", "op", "optim", "power", "prod", "relu", "report", "reshape", "save", "sigmoid", "sin", "smooth_labels",
    "softmax",
    "softmax_cross_entropy", "softplus", "sqrt", "square", "squeeze", "stack", "std", "subtract", "sum", "swapaxes",
    "tanh", "transpose", "value_and_grad", "var", "where",
]  # fmt: skip


_ON_FIRST_USE = {  # a loop of one's own does not need them
    "AnomalyError": "tinygrad_dls.check.anomaly",
    "Checkpoint": "tinygrad_dls.training.callbacks",
    "EarlyStopping": "tinygrad_dls.training.callbacks",
    "History": "tinygrad_dls.training.history",
    "accuracy": "tinygrad_dls.training.metrics",
    "check": "tinygrad_dls.check",
    "compile": "tinygrad_dls.compiler",
    "confusion_matrix": "tinygrad_dls.training.metrics",
    "datasets": "tinygrad_dls.datasets",
    "detect_anomaly": "tinygrad_dls.check.anomaly",
    "derive": "tinygrad_dls.derivations.derive",
    "draw": "tinygrad_dls.drawing.draw",
    "fit": "tinygrad_dls.training.loop",
    "LearningRates": "tinygrad_dls.training.rates",
    "learning_rates": "tinygrad_dls.training.rates",
    "load": "tinygrad_dls.saving",
    "minibatches": "tinygrad_dls.training.batches",
    "numpy_source": "tinygrad_dls.source",
    "onnx": "tinygrad_dls.onnx",
    "report": "tinygrad_dls.reports.report",
    "save": "tinygrad_dls.saving",
}


def __getattr__(name: str) -> Any:
    if name not in _ON_FIRST_USE:
        # With the name and the module, Python suggests a name that is alike.
        message = f"module 'tinygrad_dls' has no attribute {name!r}"
        raise AttributeError(message, name=name, obj=importlib.import_module(__name__))
    module = importlib.import_module(_ON_FIRST_USE[name])
    return getattr(module, name, module)


def __dir__() -> list[str]:
    return sorted({*globals(), *_ON_FIRST_USE})
