"""What a model and an optimizer are beside their arrays: as texts, and in what they differ from such texts."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np

from tinygrad_dls import optim
from tinygrad_dls.engine.tensor import Tensor
from tinygrad_dls.nn.containers import dotted, leaves
from tinygrad_dls.nn.init import generator
from tinygrad_dls.nn.models import Classifier
from tinygrad_dls.nn.module import Module
from tinygrad_dls.nn.standardisation import Standardizer
from tinygrad_dls.optimizer import OF_THREADS, Optimizer
from tinygrad_dls.saving.architecture import set_flags
from tinygrad_dls.saving.container import Parts, Reader, said
from tinygrad_dls.saving.generators import kind_of, set_state

__all__ = [
    "equal", "freeze", "frozen", "generators", "made_optimizer", "of_optimizer", "other_generators", "other_optimizer",
    "other_settings", "placed", "set_generator", "set_optimizer", "set_settings", "settings", "state_of_optimizer",
    "unlike",
]  # fmt: skip

_OPTIMIZERS = {kind.__name__: kind for kind in (optim.SGD, optim.Adam, optim.RMSprop)}
_NO_HYPERPARAMETERS = {"parameters", "steps", "_state", *OF_THREADS}


# -- the model --------------------------------------------------------------------------------------------------------


def placed(model: Module) -> Iterator[tuple[str, Module]]:
    """The modules and where they stand, ``layers.0``."""
    yield "", model
    yield from ((path, member) for path, _, member in model._places() if isinstance(member, Module))


def frozen(model: Module) -> list[str]:
    """The names of the parameters that do not learn."""
    return [name for name, p in model.named_parameters() if not p.requires_grad]


def freeze(model: Module, names: list[Any]) -> None:
    """Freeze the parameters of these names."""
    for name, p in model.named_parameters():
        if name in names:
            p.requires_grad = False


def settings(model: Module) -> dict[str, dict[str, Any]]:
    """What training or data have told modules: what rows of logits are, and the names of features."""
    found: dict[str, dict[str, Any]] = {}
    for path, module in placed(model):
        if isinstance(module, Classifier):
            found[path] = {"several_labels": module.several_labels, "sigmoids": module._sigmoids}
        elif isinstance(module, Standardizer):
            found[path] = {"features": list(module.features)}
    return found


def other_settings(saved: dict[str, Any], model: Module) -> list[str]:
    """In what these differ; what a new model has not been told yet is no difference."""
    own, modules = settings(model), dict(placed(model))
    problems = [f"{path or 'the model'} is of another kind" for path in saved.keys() ^ own.keys()]
    for path in saved.keys() & own.keys():
        there, here, module, where = saved[path], own[path], modules[path], path or "the model"
        if there.keys() != here.keys():
            problems.append(f"{where} is of another kind")
        elif isinstance(module, Standardizer):
            names = module._names(there["features"])
            if names and module.features and names != module.features:
                named = ", ".join(names), ", ".join(module.features)
                problems.append("the features of {} are {}; here they are {}".format(where, *named))
        else:
            set_flags(copy.copy(module), there)  # on trial
            if here["several_labels"] and not there["several_labels"]:
                problems.append(f"{where} has several_labels; that of the file has not")
    return sorted(problems)


def set_settings(model: Module, saved: dict[str, Any]) -> None:
    """Tell the modules what those of the file were told."""
    for path, module in placed(model):
        if isinstance(module, Classifier):
            set_flags(module, saved[path])
        elif isinstance(module, Standardizer) and saved[path]["features"]:
            module.features = tuple(saved[path]["features"])


def generators(model: Module) -> dict[str, Any]:
    """The random generators that modules keep as attributes, by their places."""
    found = {}
    for path, module in placed(model):
        for attribute, value in vars(module).items():
            for keys, x in leaves(value):
                if isinstance(x, (np.random.Generator, np.random.RandomState)) or x is np.random:
                    found[f"{path}.{attribute}{dotted(keys)}".lstrip(".")] = generator(x, "save")
    return found


def other_generators(saved: dict[str, Any], model: Module, reader: Reader) -> list[str]:
    """In what the generators differ: their places, their kinds, and who shares one."""
    own = generators(model)
    problems = [f"{place} is no random generator here" for place in saved.keys() - own.keys()]
    problems += [f"{place} is a random generator, and none in the file" for place in own.keys() - saved.keys()]
    sharing: dict[Any, set[Any]] = {}
    for place in saved.keys() & own.keys():
        number, rng = saved[place], own[place]
        there, here = reader.states[number]["kind"], kind_of(rng)
        if there != here:
            problems.append(f"{place} is {there}; here it is {here}")
        sharing.setdefault(("file", number), set()).add(id(rng))
        sharing.setdefault(("here", id(rng)), set()).add(number)
    if any(len(x) > 1 for x in sharing.values()):
        problems.append("layers that share a random generator do not share one in the file, or the other way round")
    return sorted(problems)


def set_generator(rng: Any, reader: Reader, number: int) -> None:
    """Let a generator go on where that of the file was."""
    set_state(rng, reader.states[number])


def unlike(there: Any, here: Any, where: str = "the model") -> list[str]:
    """In what two architectures differ, beside the sizes of arrays."""
    if (a := _kind(there)) != (b := _kind(here)):
        return [f"{where} is {a}; here it is {b}"]
    problems = [
        f"{name} of {where} is {there[name]}; here it is {here.get(name)}"
        for name in ("keep_prob", "momentum", "epsilon")
        if name in there and there[name] != here.get(name)
    ]
    inner, own = there.get("layers", []), here.get("layers", [])
    if len(inner) != len(own):
        return [*problems, f"{where} has {len(inner)} layers; here it has {len(own)}"]
    for i, pair in enumerate(zip(inner, own, strict=True)):
        problems += unlike(*pair, f"layers.{i}" if where == "the model" else f"{where}.layers.{i}")
    return problems


def _kind(text: dict[str, Any]) -> str:
    if "again" in text:
        return "a layer again"
    return str(text.get("class") or text.get("function"))


# -- the optimizer ----------------------------------------------------------------------------------------------------


def of_optimizer(optimizer: Optimizer, model: Module, parts: Parts) -> dict[str, Any]:
    """The text of an optimizer; its state goes to the arrays, as ``optimizer.W1.0``."""
    names: dict[Tensor, str] = {p: name for name, p in model.named_parameters()}
    for p in optimizer.parameters:
        if p not in names:
            raise ValueError(
                f"save: the optimizer updates {p.name or 'a Tensor'}, which is no parameter of this model. Save the "
                "model whose parameters it was made with: for several, a Module that holds them."
            )
    state = optimizer.state_dict()
    counts = {}
    for p, arrays in zip(optimizer.parameters, state["state"], strict=True):
        counts[names[p]] = len(arrays)
        for i, x in enumerate(arrays):
            parts.array(f"optimizer.{names[p]}.{i}", x)
    return {
        "class": type(optimizer).__name__,
        "steps": state["steps"],
        "parameters": counts,
        "hyperparameters": _hyperparameters(optimizer, parts),
    }


def _hyperparameters(optimizer: Optimizer, parts: Parts) -> dict[str, Any]:
    return {
        name: parts.encode(x, f"optimizer.{name}", functions=True)
        for name, x in vars(optimizer).items()
        if name not in _NO_HYPERPARAMETERS
    }


def state_of_optimizer(saved: Any, reader: Reader) -> dict[str, Any]:
    """What `Optimizer.load_state_dict` takes."""
    state = []
    for name, count in reader.part(saved, "parameters", dict).items():
        if type(count) is not int or not 0 <= count < 100:
            raise ValueError("it lacks a state of its optimizer")
        state.append(tuple(reader.array(f"optimizer.{name}.{i}") for i in range(count)))
    return {
        "optimizer": reader.part(saved, "class", str),
        "steps": reader.part(saved, "steps", int),
        "state": state,
    }


def other_optimizer(saved: Any, still: list[Any], optimizer: Optimizer, model: Module, reader: Reader) -> list[str]:
    """In what an optimizer differs from what was saved."""
    kind = type(optimizer).__name__
    if saved is None:
        return ["it holds no optimizer; tg.save(path, model, optimizer) saves one"]
    if saved["class"] != kind:
        return [f"its optimizer is {saved['class']}; here it is {kind}"]
    names: dict[Tensor, str] = {p: name for name, p in model.named_parameters()}
    own = [names.get(p) or f"another model's {p.name}" for p in optimizer.parameters]
    there = list(saved["parameters"])
    if own != there:
        return [f"its optimizer updates {', '.join(there)}; here it updates {', '.join(own)}"]
    problems = _other_hyperparameters(saved["hyperparameters"], optimizer, reader)
    problems += _other_frozen(still, model)
    twin = copy.copy(optimizer)  # takes the state on trial
    try:
        twin.load_state_dict(state_of_optimizer(saved, reader))
    except (TypeError, ValueError) as error:
        problems.append(said(error))
    return problems


def _other_hyperparameters(saved: dict[str, Any], optimizer: Optimizer, reader: Reader) -> list[str]:
    parts, problems = Parts(), []
    own = _hyperparameters(optimizer, parts)
    here_is = Reader.of(parts)
    for name in sorted(saved.keys() | own.keys()):
        if name not in own or name not in saved:
            problems.append(f"the optimizer has {name} {'in the file' if name in saved else 'here'} alone")
            continue
        there, here = reader.decode(saved[name]), here_is.decode(own[name])
        if not equal(there, here):
            problems.append(f"{name} of the optimizer is {_spelled(there)}; here it is {_spelled(here)}")
    return problems


def equal(x: Any, y: Any) -> bool:
    """Whether two values that a file may hold are the same."""
    if isinstance(x, np.ndarray) or isinstance(y, np.ndarray):
        return bool(np.array_equal(x, y)) and getattr(x, "dtype", None) == getattr(y, "dtype", None)
    if isinstance(x, (np.random.Generator, np.random.RandomState)):
        return isinstance(y, (np.random.Generator, np.random.RandomState)) and kind_of(x) == kind_of(y)
    if type(x) is type(y) and isinstance(x, (list, tuple)):
        return len(x) == len(y) and all(map(equal, x, y))
    if isinstance(x, dict) and isinstance(y, dict):
        return x.keys() == y.keys() and all(equal(x[key], y[key]) for key in x)
    return bool(x == y)


def _spelled(x: Any) -> str:
    return f"the function {x['function']}" if _is_function(x) else repr(x)


def _is_function(x: Any) -> bool:
    return isinstance(x, dict) and x.keys() == {"function"}


def _other_frozen(still: list[Any], model: Module) -> list[str]:
    own = set(frozen(model))
    return [
        f"{name} is {'frozen' if name in still else 'not frozen'}; here it is {'not ' * (name in still)}frozen"
        for name, _ in model.named_parameters()
        if (name in still) != (name in own)
    ]


def set_optimizer(optimizer: Optimizer, saved: Any, reader: Reader) -> None:
    """Let an optimizer go on where that of the file was."""
    optimizer.load_state_dict(state_of_optimizer(saved, reader))
    for name, x in saved["hyperparameters"].items():
        if isinstance(x, dict) and "generator" in x:  # of a class of yours that draws
            set_generator(getattr(optimizer, name), reader, x["generator"])


def made_optimizer(saved: Any, still: list[Any], model: Module, reader: Reader) -> Optimizer | ValueError:
    """The optimizer that was saved, over the parameters of a model; or why that cannot be."""
    kind = saved["class"]
    hyperparameters = {name: reader.decode(x) for name, x in saved["hyperparameters"].items()}
    of_yours = [name for name, x in hyperparameters.items() if _is_function(x)]
    parameters = dict(model.named_parameters())
    problems = _other_frozen(still, model)
    if kind not in _OPTIMIZERS:
        problems.append(f"{kind} is a class of yours")
    problems += [f"its {name} is the function {hyperparameters[name]['function']}, of yours" for name in of_yours]
    if not problems:
        try:
            optimizer = _OPTIMIZERS[kind](
                [parameters[name] for name in saved["parameters"]],
                **hyperparameters,
            )
            optimizer.load_state_dict(state_of_optimizer(saved, reader))
        except (TypeError, ValueError, KeyError) as error:
            problems.append(said(error))
        else:
            return optimizer
    return ValueError(
        f"load: the file alone does not make the {kind} that was saved: {'; '.join(problems)}. Make it as it was made, "
        "and write tg.load(path, model, optimizer)."
    )
