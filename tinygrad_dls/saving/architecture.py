"""The architecture of a model of our own layers: as a text, and the model that such a text describes.

A text names classes of a fixed list and their arguments; nothing else is made of it. Before a layer is made, the
numbers that it would hold are counted against those that the file has.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_dls.engine import ops
from tinygrad_dls.engine.arrays import Array
from tinygrad_dls.engine.errors import article
from tinygrad_dls.nn import init
from tinygrad_dls.nn.layers import Dropout, Linear, ReLU, Sigmoid, Softmax, Tanh
from tinygrad_dls.nn.models import Classifier, LogisticRegression, Sequential, TwoLayerNetwork
from tinygrad_dls.nn.module import Module
from tinygrad_dls.nn.normalisation import BatchNorm
from tinygrad_dls.nn.standardisation import Standardizer, Unstandardizer
from tinygrad_dls.saving.container import Parts, Reader

__all__ = ["arrays_of", "built", "described", "of_ours", "set_flags"]

_MODELS = (Sequential, Classifier, LogisticRegression, TwoLayerNetwork)
_ARGUMENTS: dict[type[Module], tuple[str, ...]] = {
    Linear: ("n_in", "n_out"), BatchNorm: ("n", "momentum", "epsilon"), Dropout: ("keep_prob",),
    Standardizer: ("n", "features"), Unstandardizer: ("n", "features"),
    Tanh: (), Sigmoid: (), ReLU: (), Softmax: (),
}  # fmt: skip
_BY_NAME: dict[str, type[Module]] = {kind.__name__: kind for kind in (*_MODELS, *_ARGUMENTS)}
_SET_LATER = {"name", "input_name", "training", "several_labels", "_sigmoids"}  # besides the arguments, and described


def described(model: Module, parts: Parts) -> tuple[dict[str, Any] | None, str]:
    """The text of a model; or None, and what a reader would need."""
    try:
        text = _described(model, parts, {})
        twin = built(text, Reader.of(parts), None)
    except _NotOurs as reason:
        return None, str(reason)
    for module, other in zip(model.modules(), twin.modules(), strict=True):
        if own := sorted(vars(module).keys() - vars(other).keys() - _SET_LATER):
            return None, f"its {type(module).__name__} has an attribute of yours, {own[0]!r}"
    states = [{name: (x.shape, x.dtype) for name, x in arrays_of(m).items()} for m in (model, twin)]
    if states[0] != states[1]:
        return None, "its layers share parameters, or have other ones than they were made with"
    return text, ""


def of_ours(module: Module) -> set[str]:
    """The names of a module's attributes that are our own, and saved otherwise."""
    ours = {name for kind, names in _ARGUMENTS.items() if isinstance(module, kind) for name in names}
    return ours | _SET_LATER | {"layers", "_steps"} | set(module._buffer_names)


def arrays_of(model: Module) -> dict[str, Array]:
    """The arrays of `Module.state_dict`, not copied."""
    buffers = model._kept_arrays()
    return {name: p._value for name, p in model.named_parameters()} | buffers


class _NotOurs(Exception):  # noqa: N818  # no error: what a text cannot say
    """What a text cannot say of a model."""


def _described(layer: Any, parts: Parts, known: dict[int, int]) -> dict[str, Any]:
    kind = type(layer)
    if not isinstance(layer, Module):
        return {"function": _name_of(layer)}
    if id(layer) in known:
        return {"again": known[id(layer)]}
    known[id(layer)] = len(known)
    text: dict[str, Any] = {"class": kind.__name__}
    if not layer.training:
        text["training"] = False
    if kind in _ARGUMENTS:
        text |= {name: getattr(layer, name) for name in _ARGUMENTS[kind]}
        text |= {name: x.dtype.name for name, x in (("dtype", _first(layer)),) if x is not None}
        if isinstance(layer, Dropout):
            text["rng"] = parts.generator(layer.rng, "Dropout")
        return text
    if kind not in _MODELS or not isinstance(layer, Sequential):
        raise _NotOurs(f"it holds {article(kind.__name__)} {kind.__name__}, a class of yours")
    if isinstance(layer, Classifier):
        text |= {"several_labels": layer.several_labels, "sigmoids": layer._sigmoids}
    return text | {"layers": [_described(x, parts, known) for x in layer.layers]}


def _first(layer: Module) -> Any:
    """An array of a layer, if it has one."""
    return next(iter(arrays_of(layer).values()), None)


def _name_of(function: Any) -> str:
    name = getattr(function, "__name__", "")
    if isinstance(name, str) and _function(f"numpy.{name}") is function:
        return f"numpy.{name}"
    if isinstance(name, str) and _function(f"tinygrad_dls.{name}") is function:
        return f"tinygrad_dls.{name}"
    raise _NotOurs(f"its layer {name or type(function).__name__} is a function of yours")


def _function(name: Any) -> Any:
    """A function of an array: a ufunc of NumPy's or an op of ours; None, if the name is of none."""
    if not isinstance(name, str):
        return None
    package, _, own = name.partition(".")
    if package == "numpy":
        f = getattr(np, own, None)
        return f if isinstance(f, np.ufunc) and f.nin == f.nout == 1 else None
    f = getattr(ops, own, None) if package == "tinygrad_dls" else None
    return f if hasattr(f, "rule") and f.__module__ == ops.__name__ else None


def built(text: Any, reader: Reader, count: int | None) -> Module:
    """The model that a text describes, whose arrays hold `count` numbers together, if that is given.

    Raises
    ------
    ValueError, TypeError
        If the text describes none.
    """
    if count is not None and _count(text, reader, 0) != count:
        raise ValueError("its layers have other sizes than its arrays")
    layer = _built(text, reader, [])  # of the layers made so far; None of one that is being made
    if not isinstance(layer, Module):
        raise ValueError("its model is none")
    return layer


def _count(text: Any, reader: Reader, depth: int) -> int:
    """How many numbers the arrays of a model hold; a check before any of them is made."""
    if depth > 50:
        raise ValueError("its layers are nested too deeply")
    if not isinstance(text, dict) or "class" not in text:
        return 0
    if "layers" in text:
        return sum(_count(x, reader, depth + 1) for x in reader.part(text, "layers", list))
    if text["class"] == "Linear":
        return int((reader.part(text, "n_in", int) + 1) * reader.part(text, "n_out", int))
    each = {"BatchNorm": 4, "Standardizer": 2, "Unstandardizer": 2}.get(reader.part(text, "class", str), 0)
    return each and each * int(reader.part(text, "n", int))


def _built(text: Any, reader: Reader, known: list[Module | None]) -> Any:
    if isinstance(text, dict) and "again" in text:
        number = reader.part(text, "again", int)
        if not 0 <= number < len(known) or known[number] is None:
            raise ValueError("it names a layer that it does not have")
        return known[number]
    if isinstance(text, dict) and "function" in text:
        if (function := _function(text["function"])) is None:
            raise ValueError("it names a function that is no layer")
        return function
    kind = _BY_NAME.get(reader.part(text, "class", str))
    if kind is None:
        raise ValueError("it names a class that is no layer")
    number = len(known)
    known.append(None)
    layer: Module
    if issubclass(kind, Sequential):
        inner = [_built(x, reader, known) for x in reader.part(text, "layers", list)]
        layer = model = kind.__new__(kind)
        Sequential.__init__(model, *inner)  # of the models with sizes of their own, too
        if isinstance(model, Classifier):
            set_flags(model, text)
    else:
        arguments = {name: text.get(name) for name in _ARGUMENTS[kind]}
        if kind is Dropout:
            arguments["rng"] = reader.generator(text.get("rng"))
        if kind is Linear:
            arguments["init"] = init.zeros
        if "dtype" in text:
            arguments["dtype"] = text["dtype"]
        layer = kind(**arguments)
    if text.get("training") is False:
        layer.training = False
    known[number] = layer
    return layer


def set_flags(model: Any, text: Any) -> None:
    """Tell a `Classifier` what its rows are."""
    flags = text["several_labels"], text["sigmoids"]
    if not all(type(flag) is bool for flag in flags):
        raise ValueError("its 'several_labels' is not what it should be")
    for name, flag in zip(("several_labels", "_sigmoids"), flags, strict=True):
        if flag != getattr(model, name):
            setattr(model, name, flag)
