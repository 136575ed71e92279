"""`save` and `load`: all that the next step of a training depends on, in one file, exact to the last bit.

What is read is held against the model and the optimizer that it is read into, as a whole, before anything is changed:
what differs is listed, and nothing is taken over without a word.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tinygrad_dls.engine.arrays import Array
from tinygrad_dls.engine.errors import article, shown
from tinygrad_dls.nn.module import Module
from tinygrad_dls.optimizer import Optimizer
from tinygrad_dls.saving import states
from tinygrad_dls.saving.architecture import arrays_of, built, described
from tinygrad_dls.saving.attributes import attributes, other_attributes, set_attributes
from tinygrad_dls.saving.container import Parts, Reader, corrupt, read, write

__all__ = ["Saved", "load", "save"]


def save(path: str | os.PathLike[str], model: Module, optimizer: Optimizer | None = None, **extra: Any) -> None:
    """Write all that training depends on into one file, in the safetensors format; `load` goes on from there.

    These are the parameters, running statistics and standardised inputs' statistics; which parameters are frozen; the
    numbers, texts and arrays, and lists, tuples and dicts of them, that modules of yours keep as attributes; the
    optimizer with its hyperparameters, schedule, steps and moments; the random generators of `Dropout`, and of any
    module that keeps one as an attribute; and what you add. Save between epochs: of one that is under way, the order of
    its examples is not kept.

    The file is written whole or not at all: whenever the program is killed, there is the old one or the new one.

    Parameters
    ----------
    path : path
        Such as ``"model.safetensors"``. A file that is there is replaced.
    model : Module
        If it is made of this package's layers, its architecture is saved too.
    optimizer : Optimizer, optional
        Over the model's parameters.
    **extra
        More to keep, by name: numbers, texts, arrays, random generators, and lists, tuples and dicts of them. With
        mini-batches, the generator that they draw from: ``rng=rng``.

    Raises
    ------
    TypeError, ValueError
        If something cannot be saved; nothing is written then.
    PermissionError
        If the file is read-only.
    ImportError
        If safetensors is not installed.

    Examples
    --------
    >>> import pathlib, tempfile, tinygrad_dls as tg
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "model.safetensors"
    >>> model = tg.nn.TwoLayerNetwork(2, 4, rng=0)
    >>> tg.save(path, model, classes=["no", "yes"])
    >>> tg.load(path)
    Saved: TwoLayerNetwork; extra: classes
    """
    path = _path(path, "save")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"save: there is no folder {str(path.parent)!r}. Make it first, or write elsewhere.")
    if path.is_dir():
        raise IsADirectoryError(f"save: {str(path)!r} is a folder; name a file in it, such as model.safetensors.")
    if not isinstance(model, Module):
        raise TypeError(f"save takes a path and a model (a tg.nn.Module), got {shown(model)}.")
    if optimizer is not None and not isinstance(optimizer, Optimizer):
        raise TypeError(f"save: the third argument is an optimizer, got {shown(optimizer)}. Name it: rng={'...'}.")
    parts = Parts()
    for name, x in arrays_of(model).items():
        parts.array(f"model.{name}", x)
    architecture, needs = described(model, parts)
    text = {
        "model": {
            "class": type(model).__name__,
            "architecture": architecture,
            "needs": needs,
            "frozen": states.frozen(model),
            "settings": states.settings(model),
            "attributes": attributes(model, parts),
            "generators": {place: parts.generator(rng, place) for place, rng in states.generators(model).items()},
        },
        "optimizer": None if optimizer is None else states.of_optimizer(optimizer, model, parts),
        "extra": {name: parts.encode(x, f"extra.{name}") for name, x in extra.items()},
    }
    write(path, text, parts)


class Saved:
    """What a file of `save` holds: ``model, optimizer, extra = tg.load(path)``.

    Attributes
    ----------
    model : Module
    optimizer : Optimizer or None
        None, if none was saved. If it cannot be made of the file alone, asking for it is an error that says why.
    extra : dict
        What was saved by name.
    """

    def __init__(self, model: Module, optimizer: Optimizer | ValueError | None, extra: dict[str, Any]) -> None:
        self.model, self.extra = model, extra
        self._optimizer = optimizer

    @property
    def optimizer(self) -> Optimizer | None:
        """The optimizer, over the model's parameters."""
        if isinstance(self._optimizer, ValueError):
            raise self._optimizer
        return self._optimizer

    def __iter__(self) -> Iterator[Any]:
        return iter((self.model, self.optimizer, self.extra))

    def __repr__(self) -> str:
        facts = [type(self.model).__name__]
        if isinstance(self._optimizer, Optimizer):
            steps = self._optimizer.steps
            facts.append(f"{type(self._optimizer).__name__} after {steps} step{'s' * (steps != 1)}")
        return f"Saved: {'; '.join(facts + [f'extra: {name}' for name in [', '.join(self.extra)] if name])}"


def load(path: str | os.PathLike[str], model: Module | None = None, optimizer: Optimizer | None = None) -> Saved:
    """Read a file of `save`; training goes on from it as if it had never stopped, to the last bit.

    Without a model, one is made, if it was of our own layers: ``tg.load(path).model.predict(X)``. A model and an
    optimizer that are given are set to what they were; what they were made with has to be the same. An optimizer that
    is not given is made, if it is one of ours.

    Nothing that a file says is run: it holds numbers and texts.

    Parameters
    ----------
    path : path
        The file.
    model : Module, optional
        A model like the one that was saved. It is needed for classes and functions of yours.
    optimizer : Optimizer, optional
        Over its parameters.

    Returns
    -------
    Saved
        Of ``model``, ``optimizer`` and ``extra``, as attributes or in this order.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is of another model or optimizer: all differences are listed, and nothing is changed. If it is cut
        off or damaged, or `save` has not written it.
    ImportError
        If safetensors is not installed.

    Examples
    --------
    >>> import pathlib, tempfile, tinygrad_dls as tg
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "model.safetensors"
    >>> tg.save(path, tg.nn.TwoLayerNetwork(2, 4, rng=0))
    >>> tg.load(path, tg.nn.TwoLayerNetwork(2, 5, rng=0))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    ValueError: load: ... does not fit: W1 is (4, 2); expected (5, 2); W2 is (1, 4); expected (1, 5); b1 is ...
    """
    path = _path(path, "load")
    if model is not None and not isinstance(model, Module):
        raise TypeError(f"load takes a path and a model (a tg.nn.Module), got {shown(model)}.")
    if optimizer is not None and (model is None or not isinstance(optimizer, Optimizer)):
        raise TypeError("load: an optimizer is over a model's parameters: write tg.load(path, model, optimizer).")
    reader = read(path)
    try:
        saved = _Contents(reader)
        if (made := model) is None and saved.architecture is not None:
            made = built(saved.architecture, reader, sum(x.size for x in saved.arrays.values()))
        problems = [] if made is None else saved.differences(made, reader, optimizer)
        if model is None and made is not None and saved.attributes:
            problems.append("its layers have attributes that ours have not")
    except Exception as error:  # of what a damaged or hostile text brings about
        raise corrupt(path, error) from error
    if made is None:
        raise ValueError(
            f"load: {str(path)!r} holds {article(saved.kind)} {saved.kind}, which the file alone does not make: "
            f"{saved.needs}. Make one as it was made when it was saved, and write tg.load(path, model)."
        )
    if problems and model is None:
        raise corrupt(path, ValueError("; ".join(problems)))
    if problems:
        advice = "Make the model as it was made when it was saved"
        if optimizer is not None:
            advice += ", and the optimizer; or leave that out: load makes one of ours as it was, for you to change"
        raise ValueError(f"load: {str(path)!r} does not fit: {'; '.join(problems)}. {advice}.")
    made.load_state_dict(saved.arrays)
    states.set_settings(made, saved.settings)
    set_attributes(made, saved.attributes, reader)
    own = states.generators(made)
    for place, number in saved.generators.items():
        states.set_generator(own[place], reader, number)
    if model is None:
        states.freeze(made, saved.frozen)
    found: Optimizer | ValueError | None = optimizer
    if optimizer is not None:
        states.set_optimizer(optimizer, saved.optimizer, reader)
    elif saved.optimizer is not None:
        found = states.made_optimizer(saved.optimizer, saved.frozen, made, reader)
    shared = {number: own[place] for place, number in saved.generators.items()}
    reader.generators = [shared.get(i, rng) for i, rng in enumerate(reader.generators)]
    return Saved(made, found, {name: reader.decode(x) for name, x in saved.extra.items()})


class _Contents:
    """What a file says, by its parts."""

    def __init__(self, reader: Reader) -> None:
        part, text = reader.part, reader.text
        model = part(text, "model", dict)
        self.kind = part(model, "class", str)
        self.architecture = part(model, "architecture", (dict, type(None)))
        self.needs = part(model, "needs", str)
        self.frozen: list[Any] = part(model, "frozen", list)
        self.settings: dict[str, Any] = part(model, "settings", dict)
        self.attributes: dict[str, dict[str, Any]] = part(model, "attributes", dict)
        self.generators: dict[str, Any] = part(model, "generators", dict)
        self.optimizer: dict[str, Any] | None = part(text, "optimizer", (dict, type(None)))
        self.extra: dict[str, Any] = part(text, "extra", dict)
        self.arrays: dict[str, Array] = reader.below("model.")
        for number in self.generators.values():
            reader.generator(number)
        for x in self.extra.values():
            reader.decode(x)
        if self.optimizer is not None:
            states.state_of_optimizer(self.optimizer, reader)
            for x in part(self.optimizer, "hyperparameters", dict).values():
                reader.decode(x)

    def differences(self, model: Module, reader: Reader, optimizer: Optimizer | None) -> list[str]:
        """In what a model and an optimizer differ from what was saved."""
        problems = model._differences(self.arrays)
        here, _ = described(model, Parts())
        if here is not None and self.architecture is not None:
            problems += states.unlike(self.architecture, here)
        problems += states.other_settings(self.settings, model)
        problems += other_attributes(self.attributes, model, reader)
        problems += states.other_generators(self.generators, model, reader)
        if optimizer is not None:
            problems += states.other_optimizer(self.optimizer, self.frozen, optimizer, model, reader)
        return problems


def _path(path: Any, who: str) -> Path:
    try:
        return Path(os.fsdecode(path))
    except TypeError:
        raise TypeError(f"{who} takes a path first, such as 'model.safetensors', got {shown(path)}.") from None
