"""Compiled steps: a step of training, recorded once and replayed as planned NumPy calls."""

from tinygrad_dls.compiling.api import compile

__all__ = ["compile"]
