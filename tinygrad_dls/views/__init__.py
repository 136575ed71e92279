"""Views: what a notebook shows of models, Tensors, histories, checks and compiled steps, as HTML.

`html_of` finds the module that has the view of an object by the names of its classes, and loads that alone: nothing of
this room is loaded before a notebook asks. What all views are made of stands in `tinygrad_dls.views.markup`, and how
they look, as the pages do, in one stylesheet (`tinygrad_dls.views.style`).
"""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["html_of"]

_VIEWS = {
    "Tensor": "tensors",
    "Module": "models", "Summary": "models",
    "History": "histories", "LearningRates": "rates",
    "GradCheck": "checks", "Diagnosis": "checks",
    "Compiled": "compiled",
}  # fmt: skip


def html_of(x: Any) -> str:
    """The view of an object, by its class or those that it is derived from."""
    for kind in type(x).__mro__:
        if kind.__module__.startswith("tinygrad_dls.") and kind.__name__ in _VIEWS:
            return str(importlib.import_module(f"tinygrad_dls.views.{_VIEWS[kind.__name__]}").view(x))
    raise TypeError(f"there is no view of {type(x).__name__}.")
