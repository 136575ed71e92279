"""Parameters, and the modules that find those within them: by attributes, lists, tuples and dicts."""

from __future__ import annotations

import importlib
import sys
import weakref
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from tinygrad_dls.engine.arrays import Array, as_array, boolean
from tinygrad_dls.engine.errors import article
from tinygrad_dls.engine.identity import ById
from tinygrad_dls.engine.tensor import Tensor
from tinygrad_dls.engine.viewed import Viewed
from tinygrad_dls.nn.containers import ABSENT, Path, at, dotted, leaves, overlooked
from tinygrad_dls.nn.evaluation import evaluation
from tinygrad_dls.nn.state import Stateful

if TYPE_CHECKING:
    from tinygrad_dls.nn.summary import Summary

__all__ = ["Module", "Parameter", "has_parameters", "holder_of", "paths_of", "title_of"]

Row: TypeAlias = "tuple[int, str, Any, list[tuple[str, Parameter]]]"  # depth, place, layer, its own parameters


_ELSEWHERE = {  # what other libraries have as a method of a model
    "fit": "tg.fit(model, X, Y, loss=..., optimizer=..., epochs=...)",
    "compile": "tg.compile(model, loss, optimizer)",
    "forward": "model(X)",
    "backward": "J.backward(), of the cost",
    "zero_grad": "optimizer.zero_grad()",
    "save": "tg.save(path, model)",
}


class Parameter(Tensor):
    """A Tensor that a model learns: it requires a gradient, and a `Module` that holds it lists it.

    Parameters
    ----------
    data : array_like of floats
        The first values; copied, so that training does not reach into the caller's array, and in this computer's order
        of bytes.
    name : str, optional
        By default, the attribute that it is assigned to.

    Raises
    ------
    TypeError
        If `data` are no floats.
    """

    __slots__ = ()

    def __init__(self, data: Array, *, name: str | None = None) -> None:
        data = as_array(data, name)
        if not isinstance(data, Tensor):
            swapped = isinstance(data.dtype, np.dtype) and not data.dtype.isnative
            data = data.astype(data.dtype.newbyteorder("=")) if swapped else data.copy()
        super().__init__(data, requires_grad=True, name=name)
        self._escaped = None  # no caller holds the copy


class Module(Stateful, Viewed):
    """Something with parameters: a layer, or a model of layers.

    Assign `Parameter` and other `Module` objects (or lists of them) as attributes; they are found in that order.

    Examples
    --------
    >>> import numpy as np, tinygrad_dls as tg
    >>> class Scale(tg.nn.Module):
    ...     def __init__(self):
    ...         self.g = tg.nn.Parameter(np.ones((1, 1)))
    ...     def __call__(self, a):
    ...         return self.g * a
    >>> dict(Scale().named_parameters())
    {'g': Tensor([[1.]], shape=(1, 1), dtype=float64, name='g', requires_grad=True)}
    """

    name: str | None = None
    _buffer_names: tuple[str, ...] = ()  # attributes that are arrays which are saved, and no parameters

    def __init_subclass__(cls, **options: Any) -> None:
        """Refuse parameters of a class: all its objects would share them, and none would list them."""
        super().__init_subclass__(**options)
        for attribute, value in list(vars(cls).items()):
            if attribute == "training" and not isinstance(value, property):
                raise TypeError(f"{cls.__name__}.training is every module's mode; set self.training in __init__.")
            for path, member in _listed(value, f"{cls.__name__}.{attribute}"):
                if isinstance(member, Parameter) or has_parameters(member):
                    raise TypeError(
                        f"{cls.__name__}.{attribute}{dotted(path)} would be one for all objects of the class, and no "
                        f"model would list its parameters. Assign it in __init__: self.{attribute} = ..."
                    )

    @property
    def training(self) -> bool:
        """Whether `Dropout` drops; `train` and `eval` set it. False within ``predict``, and where `fit` validates."""
        return vars(self).get("training", True) and not evaluation.get()

    @training.setter
    def training(self, wanted: bool) -> None:
        vars(self)["training"] = boolean(wanted, f"{type(self).__name__}.training")

    # -- attributes ---------------------------------------------------------------------------------------------------

    def __setattr__(self, attribute: str, value: Any) -> None:
        where = f"{type(self).__name__}.{attribute}"
        members = list(_listed(value, where))
        if callable(getattr(Module, attribute, None)) and (isinstance(value, Module) or not callable(value)):
            raise AttributeError(
                f"{where} is a method of every module, which {article(type(value).__name__)} {type(value).__name__} "
                "would hide. Give the attribute another name."
            )
        if any(self is module for _, member in members if isinstance(member, Module) for module in member.modules()):
            raise ValueError(
                f"{where} would be, or contain, the {type(self).__name__} itself; a model is a tree of modules."
            )
        _refuse_unlisted(where, value)
        if _in_init(sys._getframe(1)):
            _refuse_unlearned(where, attribute, value)
        if attribute in vars(self):
            _refuse_loss(where, _listed(vars(self)[attribute], where), value)
        elif (found := self._shown(attribute)) is not None:
            kind = type(self).__name__
            raise AttributeError(f"{attribute!r} is not an attribute of this {kind} but its name for {found}.")
        names = self._names_below(attribute, members)
        object.__setattr__(self, attribute, value)
        for path, member in members:
            member.name = attribute + dotted(path)
            _holders.set(member, weakref.ref(self))
        for p, name in names.items():
            p.name = name
        self._note(attribute, value, members)

    def __delattr__(self, attribute: str) -> None:
        for path, member in _listed(vars(self).get(attribute)):
            if isinstance(member, Parameter):
                raise AttributeError(
                    f"{type(self).__name__}.{attribute}{dotted(path)} is a Parameter, which the model would forget. "
                    "Freeze it with .requires_grad = False, assign another tg.nn.Parameter, or make a model without it."
                )
        object.__delattr__(self, attribute)

    if not TYPE_CHECKING:  # else type checkers would believe in any attribute

        def __getattr__(self, attribute: str) -> Any:
            text = f"a {type(self).__name__} has no attribute {attribute!r}"
            if not attribute.startswith("_") and (found := self._shown(attribute)) is not None:
                text += f"; it is the model's name for {found}"
            elif attribute in _ELSEWHERE:
                text += f"; write {_ELSEWHERE[attribute]}"
            raise AttributeError(f"{text}.", name=attribute, obj=self)

    def _shown(self, name: str) -> str | None:
        """What the model shows by a name that is no attribute, and what to write; None if it shows nothing so."""
        if not self._shows(name):
            return None
        for path, place, member in self._places():
            if name in (path, member.name):
                if isinstance(member, Parameter):
                    return f"model.{place}: for new values, write model.{place}.data = <array>"
                return f"model.{place}; set its parameters, or make a new model"
        return None

    def _shows(self, name: str) -> bool:
        """Whether a name can be one that the model shows, and that is no attribute."""
        return "." in name

    def _places(self) -> Iterator[tuple[str, str, Parameter | Module]]:
        """All members at any depth, as ``layers.0.W``, as Python reaches them, ``layers[0].W``, and themselves."""
        for attribute, value in self._holders():
            for path, member in _listed(value, attribute):
                name, place = attribute + dotted(path), attribute + "".join(f"[{key!r}]" for key in path)
                yield name, place, member
                if isinstance(member, Module):
                    yield from ((f"{name}.{n}", f"{place}.{p}", inner) for n, p, inner in member._places())

    def _holders(self) -> Iterator[tuple[str, Any]]:
        """The attributes that may hold members."""
        yield from vars(self).items()

    def _names_below(
        self, attribute: str, members: list[tuple[tuple[Any, ...], Parameter | Module]]
    ) -> dict[Parameter, str]:
        """The names that the parameters in a new attribute get; one that an older attribute holds keeps its own."""
        found: dict[Parameter, str] = {}
        taken: set[str] = set()
        others: dict[str, dict[str, Parameter]] = {}
        for path, member in members:
            for name, p in paths_of(attribute + dotted(path), member):
                if p in found:
                    continue
                first = (p.name or "").partition(".")[0]
                if first != attribute and first in vars(self):
                    if first not in others:
                        held = _listed(vars(self)[first], first)
                        others[first] = {n: q for k, x in held for n, q in paths_of(first + dotted(k), x)}
                    if others[first].get(p.name or "") is p:
                        continue
                if name in taken:
                    raise _same_name(self, name)
                taken.add(name)
                found[p] = name
        return found

    def _note(self, attribute: str, value: Any, members: list[tuple[tuple[Any, ...], Parameter | Module]]) -> None:
        """Remember what stands in a list or a dict, which can be changed without this module being told."""
        if isinstance(value, (list, tuple, dict)) and members:
            _noted.setdefault(self, {})[attribute] = members

    def _refuse_replaced(self) -> None:
        """Raise if something that is no parameter has taken the place of one in a list or a dict."""
        for attribute, members in list((_noted.get(self) or {}).items()):
            if attribute in vars(self):
                where = f"{type(self).__name__}.{attribute}"
                value = vars(self)[attribute]
                _refuse_loss(where, members, value)
                self._note(attribute, value, list(_listed(value, where)))

    def __reduce_ex__(self, protocol: Any) -> Any:
        # copies keep activations with the graph behind them; pickles cannot, and the Tensor does not know who holds it
        if sys._getframe(1).f_globals.get("__name__") != "copy":
            for attribute, value in vars(self).items():
                for path, x in leaves(value):
                    if isinstance(x, Tensor) and x.op is not None:
                        where = f"{type(self).__name__}.{attribute}{dotted(path)}"
                        raise TypeError(
                            f"{where} is a Tensor that {x.op.__name__} computed, and its graph does not pickle. Keep "
                            f"its values instead (self.{attribute} = Z.data), `del` the attribute before, or pickle "
                            "model.state_dict()."
                        )
        return super().__reduce_ex__(protocol)

    def __call__(self, *inputs: Any) -> Any:
        """Compute the output from the inputs."""
        raise NotImplementedError(f"{type(self).__name__} does not define __call__.")

    def _members(self) -> Iterator[tuple[str, Parameter | Module]]:
        """The parameters and modules held directly, with the names of their places."""
        for attribute, value in self._holders():
            for path, member in _listed(value, f"{type(self).__name__}.{attribute}"):
                yield attribute + dotted(path), member

    def _paths(self) -> Iterator[tuple[str, Parameter]]:
        for name, member in self._members():
            yield from paths_of(name, member)

    def _buffers(self) -> Iterator[tuple[str, Module, str]]:
        """The arrays that are saved beside the parameters: their paths, the modules and their attributes."""
        yield from ((name, self, name) for name in self._buffer_names)
        for name, member in self._members():
            if isinstance(member, Module):
                yield from ((f"{name}.{path}", module, own) for path, module, own in member._buffers())

    def _name_parameters(self) -> None:
        for name, p in self.named_parameters():
            p.name = name

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """The parameters with their names, in order of definition; a shared one once.

        Raises
        ------
        ValueError
            If two parameters come to have the same name.
        TypeError
            If something that is no parameter has taken the place of one, in a list or a dict.
        """
        for module in self.modules():
            module._refuse_replaced()
        seen: set[Parameter] = set()
        names: set[str] = set()
        for path, p in self._paths():
            if p not in seen:
                if path in names:
                    raise _same_name(self, path)
                seen.add(p)
                names.add(path)
                yield path, p

    def parameters(self) -> list[Parameter]:
        """The parameters, in order of definition."""
        return [p for _, p in self.named_parameters()]

    def modules(self) -> Iterator[Module]:
        """Yield this module and all within it."""
        yield from self._modules(())

    def _modules(self, above: tuple[Module, ...]) -> Iterator[Module]:
        if any(module is self for module in above):
            raise ValueError(f"a {type(self).__name__} contains itself; a model is a tree of modules.")
        yield self
        above = *above, self
        for _, member in self._members():
            if isinstance(member, Module):
                yield from member._modules(above)

    def train(self) -> None:
        """Switch to training: `Dropout` drops, `BatchNorm` normalises by the batch."""
        for module in self.modules():
            module.training = True

    def eval(self) -> None:
        """Switch to evaluation: `Dropout` passes everything, `BatchNorm` takes its running statistics."""
        for module in self.modules():
            module.training = False

    def summary(self, *inputs: Any) -> Summary:
        """A table of the layers: their parameters, and what they give for inputs, with counts and bytes.

        It runs a copy in evaluation mode: nothing of the model changes, nor of its random generators.

        Parameters
        ----------
        *inputs : array
            What the model is called with: X, of shape (n_x, m). Without, there is what the layers' own sizes tell.

        Returns
        -------
        Summary
            ``print`` it; a notebook shows it. The numbers are its attributes.

        Raises
        ------
        TypeError, ValueError
            If the model does not take these inputs.
        """
        made: Summary = importlib.import_module("tinygrad_dls.views.summaries").summary_of(self, inputs)
        return made

    def __repr__(self) -> str:
        lines = []
        for depth, _, layer, own in self._tree():
            facts = ", ".join(f"{p.name or name} {p.shape}" for name, p in own)
            lines.append(("  " * depth + title_of(layer), facts))
        (top, facts), *within = lines
        count = sum(p.size for p in self.parameters())
        width = max((len(line) for line, _ in within), default=0)
        first = f"{top}: {count:,} parameter{'s' if count != 1 else ''}" + (f" ({facts})" if facts else "")
        return "\n".join([first] + [f"{line:{width}}  {facts}".rstrip() for line, facts in within])

    def _describe(self) -> str:
        return type(self).__name__

    def _titled(self) -> str:
        """The name and what it is, as errors say it: ``layer1 (Linear 2 -> 4)``."""
        return f"{self.name} ({self._describe()})" if self.name else self._describe()

    def _parts(self) -> Iterator[tuple[str, Any]]:
        """The parameters, modules and functions that are called, in order, with the names of their places."""
        yield from self._members()

    def _tree(self, path: str = "", depth: int = 0, seen: set[int] | None = None) -> Iterator[Row]:
        """What a repr shows: each layer with its depth, its place and its own parameters; a shared one once."""
        seen = set() if seen is None else seen  # of ids, as a user's class may have no hash
        own, within = [], []
        for name, part in self._parts():
            if isinstance(part, Parameter) and id(part) not in seen:
                seen.add(id(part))
                own.append((name, part))
            elif not isinstance(part, Parameter):
                within.append((f"{path}.{name}".lstrip("."), part))
        yield depth, path, self, own
        for place, layer in within:
            if not isinstance(layer, Module):
                yield depth + 1, place, layer, []
            elif id(layer) not in seen:
                seen.add(id(layer))
                yield from layer._tree(place, depth + 1, seen)


def title_of(layer: Any) -> str:
    """What errors call a layer: a module, or a function such as ``np.tanh``."""
    return layer._titled() if isinstance(layer, Module) else getattr(layer, "__name__", type(layer).__name__)


_holders: ById[weakref.ref[Module]] = ById()


def holder_of(member: Any) -> Module | None:
    """The module that a parameter or a module was last assigned to, if it is still there."""
    holder = _holders.get(member)
    return None if holder is None else holder()


def paths_of(name: str, member: Parameter | Module) -> Iterator[tuple[str, Parameter]]:
    """The parameters of a member, each with the path to it."""
    if isinstance(member, Parameter):
        yield name, member
    else:
        yield from ((f"{name}.{path}", p) for path, p in member._paths())


def _same_name(module: Module, name: str) -> ValueError:
    return ValueError(f"{type(module).__name__} has two parameters called {name}; rename an attribute.")


# -- what an attribute holds ------------------------------------------------------------------------------------------

_noted: ById[dict[str, list[tuple[Path, Parameter | Module]]]] = ById()


def _listed(value: Any, where: str = "") -> Iterator[tuple[Path, Parameter | Module]]:
    if isinstance(value, (Parameter, Module)):  # most often
        yield (), value
    elif isinstance(value, (list, tuple, dict)):
        yield from ((path, x) for path, x in leaves(value, where) if isinstance(x, (Parameter, Module)))


def _refuse_loss(where: str, members: Iterable[tuple[Path, Parameter | Module]], value: Any) -> None:
    """Raise if something that is no parameter would take the place of one, or of a module that has some.

    Lists may lose members and get others: what stands in the place of one is not an array, or nothing.
    """
    kept: set[int] | None = None
    for path, member in members:
        there = at(value, path)
        if there is ABSENT or isinstance(there, Parameter if isinstance(member, Parameter) else Module):
            continue
        if isinstance(member, Module) and (not has_parameters(member) or (path and callable(there))):
            continue
        kept = {id(x) for _, x in _listed(value, where)} if kept is None else kept
        if id(member) not in kept:
            raise _lost(where, path, member, there)


def _lost(where: str, path: Path, member: Parameter | Module, there: Any) -> TypeError:
    place = where.partition(".")[2] + "".join(f"[{key!r}]" for key in path)
    where += dotted(path)
    what = "None" if there is None else f"{article(type(there).__name__)} {type(there).__name__}"
    if isinstance(member, Parameter):
        return TypeError(
            f"{where} is a Parameter, and {what} in its place would not be learned, listed or saved. For new values "
            f"write .{place}.data = <array>, for another parameter assign a tg.nn.Parameter."
        )
    return TypeError(
        f"{where} is a {member._describe()} with parameters, and {what} in its place would drop them. Assign another "
        "module, or `del` the attribute before."
    )


def _refuse_unlisted(where: str, value: Any) -> None:
    """Raise for parameters in a container that is not looked into: an unordered one, say."""
    if any(isinstance(x, (Parameter, Module)) for x in overlooked(value)):
        kind = type(value).__name__
        raise TypeError(
            f"{where} is {article(kind)} {kind} of modules or parameters, in which the model would not find them. "
            "Put them in a list, a tuple or a dict."
        )


def _in_init(frame: FrameType | None) -> bool:
    """Whether an attribute is assigned in ``__init__``; elsewhere, a model may keep an input that wants a gradient."""
    while frame is not None and frame.f_code.co_name == "__setattr__":
        frame = frame.f_back
    return frame is not None and frame.f_code.co_name == "__init__"


def _refuse_unlearned(where: str, attribute: str, value: Any) -> None:
    """Raise for a leaf that asks for a gradient, and would get one, but is not among the parameters."""
    for path, x in leaves(value, where):
        if isinstance(x, Tensor) and x._depth == 1 and not isinstance(x, Parameter):
            raise TypeError(
                f"{where}{dotted(path)} is a Tensor that requires a gradient, but no Parameter: it would not be "
                f"learned, listed or saved. Write self.{attribute} = tg.nn.Parameter(...), or .detach() for a constant."
            )


def has_parameters(layer: Any) -> bool:
    """Whether a layer is a module that holds parameters, at any depth."""
    return isinstance(layer, Module) and any(True for _ in layer._paths())
