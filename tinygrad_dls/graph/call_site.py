"""Where a call comes from: the layers whose code is running, and the line of the user's code that called the library.

An error that names an op is of little help in a network of ten layers that are all alike. The frames on the stack know
more: which layer runs, which one of a `Sequential`, and which line outside this package and NumPy is to be looked at.
"""

from __future__ import annotations

import linecache
import os
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any, NamedTuple

import numpy as np

from tinygrad_dls.nn.models import Sequential
from tinygrad_dls.nn.module import Module, title_of

__all__ = ["CallSite", "find_call_site", "running_layers"]

_LIBRARIES = tuple(os.path.dirname(os.path.abspath(x or "")) + os.sep for x in (os.path.dirname(__file__), np.__file__))


class CallSite(NamedTuple):
    """Where an op was called; what is not known is empty."""

    file: str  # of the user's code
    line: int  # of the line in it
    text: str  # of the line
    layer: str  # as errors call it
    output: str  # the name that a Sequential gives to what comes out of the layer


def find_call_site() -> CallSite:
    """The innermost line outside the libraries, and the innermost layer, which may be a module of the user's."""
    here = sys._getframe(1)
    layer, output = next((found for frame in _outwards(here) for found in _layers(frame)), (None, ""))
    called = "" if layer is None else title_of(layer)
    frame = next((frame for frame in _outwards(here) if not _is_library(frame)), None)
    if frame is None:
        return CallSite("", 0, "", called, output)
    file, line = frame.f_code.co_filename, frame.f_lineno
    return CallSite(file, line, linecache.getline(file, line, frame.f_globals).strip(), called, output)


def running_layers() -> Iterator[Any]:
    """The layers whose call is under way, the innermost first; of a Sequential, also the layer that it is at."""
    within: Any = None
    for frame in _outwards(sys._getframe(1)):
        if frame.f_code.co_name == "__call__":
            for layer, _ in _layers(frame):
                if layer is not within:  # of a call, and of the Sequential that makes it
                    within = layer
                    yield layer


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _layers(frame: FrameType) -> Iterator[tuple[Any, str]]:
    """What a frame runs, with the name of its output: the layer that a Sequential is at, and the module of a method."""
    local = frame.f_locals
    if not isinstance(local.get("self"), Module):
        return
    if frame.f_code is Sequential.__call__.__code__ and "layer" in local:
        yield local["layer"], local["output"] or ""
    yield local["self"], ""


def _is_library(frame: FrameType) -> bool:
    return os.path.abspath(frame.f_code.co_filename).startswith(_LIBRARIES)
