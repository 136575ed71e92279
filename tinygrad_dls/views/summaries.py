"""A model as a table: what `Module.summary` says, and what a notebook shows of a model.

The inputs run through a copy of the model (`tinygrad_dls.nn.substitution.twin_of`) whose modules note what they give.
Without inputs, only what is known without running a user's code is said: our own layers tell it by their sizes.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from types import new_class
from typing import Any

import numpy as np

from tinygrad_dls.engine import ops
from tinygrad_dls.engine.arrays import as_array
from tinygrad_dls.engine.tensor import Tensor, values
from tinygrad_dls.graph.subject import subject
from tinygrad_dls.nn.columns import named
from tinygrad_dls.nn.evaluation import evaluated
from tinygrad_dls.nn.layers import Dropout, Linear
from tinygrad_dls.nn.models import Sequential
from tinygrad_dls.nn.module import Module, Parameter, title_of
from tinygrad_dls.nn.normalisation import BatchNorm
from tinygrad_dls.nn.standardisation import Standardizer, Unstandardizer
from tinygrad_dls.nn.substitution import twin_of
from tinygrad_dls.nn.summary import Layer, Output, Summary

__all__ = ["known_of", "summary_of"]

Events = list[tuple[str, Any]]  # the places of layers with what they gave, in the order in which they were done

NOT_CALLED = "not called"


def summary_of(model: Module, inputs: tuple[Any, ...]) -> Summary:
    """The table of a model, with what its layers give for inputs; without inputs, with what their sizes tell."""
    given = subject("summary", model, inputs)
    if not inputs:
        return known_of(model)
    twin = twin_of(model)
    events: Events = []
    with _global_draws():
        names = _noting(twin, events)
        try:
            result = evaluated(twin, *inputs)
        except TypeError as error:
            given.refuse_number_of_inputs(inputs, error)
            raise
    by_name = any(isinstance(layer, Standardizer) for layer in model.modules())  # which takes a DataFrame's columns
    arrays = [_array(named(x, "summary")[1] if by_name else x) for x in inputs]
    m = next((x.shape[1] for x in arrays if x is not None and len(x.shape) == 2), None)
    went_in = tuple(Output(_called(x) or name, () if array is None else _shape(array, m))
                    for x, array, name in zip(inputs, arrays, given.names, strict=True))  # fmt: skip
    seen, gave = {id(values(x)) for x in inputs}, dict[str, list[Output]]()
    for place, x in events:
        name = names.get(place, "") if place not in gave else ""
        gave.setdefault(place, []).extend(_outputs(x, m, seen, name))
    layers = tuple(
        replace(layer, outputs=tuple(gave.get(place, ())), note="" if place in gave else NOT_CALLED)
        for place, layer in _layers(model)
    )
    came_out = tuple(_outputs(result, m, set()))
    return _summary(model, went_in, came_out, m, layers)


def known_of(model: Module) -> Summary:
    """The table of a model as far as it is known without running it."""
    known = dict(_known(model, "", None))
    layers = tuple(
        layer if (output := known.get(place)) is None else replace(layer, outputs=(output,))
        for place, layer in _layers(model)
    )
    return _summary(model, (), (), None, layers)


def _summary(
    model: Module, inputs: tuple[Output, ...], outputs: tuple[Output, ...], m: int | None, layers: tuple[Layer, ...]
) -> Summary:
    parameters = model.parameters()
    kept = model._kept_arrays()
    shown = layers
    if len(layers) > 1 and not layers[0].parameters:  # the title says it all
        shown = tuple(replace(layer, depth=layer.depth - 1) for layer in layers[1:])
    return Summary(
        kind=model._titled() if len(layers) > 1 else type(model).__name__,
        inputs=inputs,
        outputs=outputs,
        layers=shown,
        m=m,
        count=sum(p.size for p in parameters),
        frozen=sum(p.size for p in parameters if not p.requires_grad),
        bytes=sum(map(_bytes, parameters)),
        kept=tuple(kept),
        kept_bytes=sum(map(_bytes, kept.values())),
        activation_bytes=sum(layer.bytes for layer in layers),
        dtypes=tuple(dict.fromkeys(str(p.dtype) for p in parameters)),
    )


def _layers(model: Module) -> Iterator[tuple[str, Layer]]:
    """The rows of the table, without outputs, by their places."""
    for depth, place, layer, own in model._tree():
        parameters = tuple(f"{p.name or name} {p.shape}{'' if p.requires_grad else ' frozen'}" for name, p in own)
        is_module = isinstance(layer, Module)
        name = layer.name or "" if is_module else ""
        kind = layer._describe() if is_module else title_of(layer)
        yield place, Layer(depth, name, kind, parameters, sum(p.size for _, p in own))


# -- a run ------------------------------------------------------------------------------------------------------------


@contextmanager
def _global_draws() -> Iterator[None]:
    """Put back the generators that belong to nobody, from which a user's module may draw."""
    legacy, python = np.random.get_state(), random.getstate()  # noqa: NPY002  # it is there, and used
    try:
        yield
    finally:
        np.random.set_state(legacy)  # noqa: NPY002
        random.setstate(python)


class _Noting(Module):
    """Notes what a module gives; stands before the module's own class."""

    def __init_subclass__(cls, **options: Any) -> None:
        """Tell nobody: a user's class may keep a list of those that are derived from it."""

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        return self._gave(super().__call__(*inputs, **options))

    @staticmethod
    def _gave(result: Any) -> Any:
        """Note what the module gave, at its place, and return it."""
        raise NotImplementedError  # `_noting` says where


def _noting(twin: Module, events: Events) -> dict[str, str]:
    """Let all modules of a copy, and the functions among their layers, note what they give.

    Returns the names that a `Sequential` gives to what comes out of its layers, by their places: an array that
    `Dropout` passes on has two of them.
    """
    called: dict[str, str] = {}

    def note(place: str) -> Callable[[Any], Any]:
        def kept(result: Any) -> Any:
            events.append((place, result))
            return result

        return kept

    for _, place, layer, _ in list(twin._tree()):
        if not isinstance(layer, Module):
            continue
        if isinstance(layer, Sequential):
            steps = [
                (_noted(step, note(f"{place}.layers.{i}".lstrip("."))), name)
                for i, (step, name) in enumerate(layer._steps)
            ]
            called |= {f"{place}.layers.{i}".lstrip("."): name for i, (_, name) in enumerate(steps) if name}
            object.__setattr__(layer, "_steps", steps)
            object.__setattr__(layer, "layers", tuple(step for step, _ in steps))  # which a subclass may call itself
        kind = type(layer)
        names = {"_gave": staticmethod(note(place)), "__module__": kind.__module__, "__qualname__": kind.__qualname__}
        object.__setattr__(layer, "__class__", new_class(kind.__name__, (_Noting, kind), {}, partial(_fill, names)))
    return called


def _fill(names: dict[str, Any], namespace: dict[str, Any]) -> None:
    namespace.update(names)


def _noted(layer: Any, note: Callable[[Any], Any]) -> Any:
    """A function that notes what it gives; a module does that itself."""
    if isinstance(layer, Module):
        return layer

    def noted(*inputs: Any, **options: Any) -> Any:
        return note(layer(*inputs, **options))

    noted.__name__ = title_of(layer)
    return noted


def _outputs(x: Any, m: int | None, seen: set[int], name: str = "") -> Iterator[Output]:
    """The arrays in what a layer gave; those that were seen before take no memory."""
    if isinstance(x, (tuple, list, dict)):
        for item in x.values() if isinstance(x, dict) else x:
            yield from _outputs(item, m, seen)
    elif (array := _array(x)) is not None:
        yield Output(name or _called(x), _shape(array, m), 0 if id(values(x)) in seen else _bytes(array))
        seen.add(id(values(x)))


def _array(x: Any) -> Any:
    """An input or an output as an array, for its shape and dtype; None of what is none."""
    try:
        return as_array(values(x))
    except (TypeError, ValueError):
        return None


def _called(x: Any) -> str:
    return (x.name or "") if isinstance(x, Tensor) else ""


def _shape(x: Any, m: int | None) -> tuple[int | str, ...]:
    """A shape in the course's words: the columns of a matrix are the examples."""
    shape: tuple[int | str, ...] = tuple(x.shape)
    return (shape[0], "m") if len(shape) == 2 and m is not None and shape[1] == m else shape


def _bytes(x: Any) -> int:
    return int(x.size) * int(np.dtype(x.dtype).itemsize)


# -- without a run ----------------------------------------------------------------------------------------------------

_SIZES = (  # of what a layer gives, by what runs when it is called, which a user's class may say anew
    (Linear.__call__, "n_out"), (BatchNorm.__call__, "n"), (Standardizer.__call__, "n"), (Unstandardizer.__call__, "n"),
)  # fmt: skip
_ALIKE = (ops.sigmoid, ops.relu, ops.tanh, ops.softmax, Dropout.__call__)  # give the shape of what they get


def _known(layer: Any, place: str, rows: Any) -> Iterator[tuple[str, Output | None]]:
    """What layers give, from the number of rows that they get, as far as their sizes tell; the whole comes last."""
    called = type(layer).__call__ if isinstance(layer, Module) else layer
    own = ""
    if called is Sequential.__call__:
        for i, (step, name) in enumerate(layer._steps):
            here = f"{place}.layers.{i}".lstrip(".")
            for at, output in _known(step, here, rows):
                yield at, output and replace(output, name=output.name or (name if at == here else None) or "")
            rows, own = (None, "") if output is None else (output.shape[0], output.name or name or "")
    elif size := next((name for f, name in _SIZES if f is called), ""):
        rows = getattr(layer, size)
    elif not any(called is f for f in _ALIKE) and not _is_entrywise(called):
        rows = None
        for name, part in layer._parts() if isinstance(layer, Module) else ():
            yield from () if isinstance(part, Parameter) else _known(part, f"{place}.{name}".lstrip("."), None)
    yield place, None if rows is None else Output(own, (rows, "m"))


def _is_entrywise(function: Any) -> bool:
    return isinstance(function, np.ufunc) and function.nin == function.nout == 1
