"""Layers, and the two models of the notes composed from them.

A layer is its fields, ``__init__`` and ``__call__``. `Sequential` numbers its layers as the course does: the k-th layer
with parameters owns ``W1, b1, W2, b2, ...``, its output is ``Z1, Z2, ...`` and the activation's ``A1, A2, ...``. These
are the names in errors, in pictures and in `Module.state_dict`.
"""

from tinygrad_dls.nn.layers import Dropout, Linear, ReLU, Sigmoid, Softmax, Tanh
from tinygrad_dls.nn.models import Classifier, LogisticRegression, Sequential, TwoLayerNetwork
from tinygrad_dls.nn.module import Module, Parameter
from tinygrad_dls.nn.normalisation import BatchNorm
from tinygrad_dls.nn.standardisation import Standardizer

__all__ = [
    "BatchNorm", "Classifier", "Dropout", "Linear", "LogisticRegression", "Module", "Parameter", "ReLU", "Sequential",
    "Sigmoid", "Softmax", "Standardizer", "Tanh", "TwoLayerNetwork",
]  # fmt: skip
