"""What a user passes to be drawn, derived, printed, compiled, trained or diagnosed: a cost, a function, or a model.

`draw`, `derive`, `numpy_source`, `compile`, `fit` and `check.diagnose` begin with the same question: what was I given?
`subject` answers it once for all of them. It refuses the same mistake in the same words, with the function's own name
in front and what to write instead, and gives a `Subject`: the cost, or the function of the inputs that computes it,
the model if there is one, and the parameters.

It stands in the graph's room, the lowest that all of them can import and that knows what it speaks of: Tensors and the
names in their graphs, models and optimizers. It knows of those who call it only how they are called (`WAYS`).
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from tinygrad_dls.engine.arrays import Array, as_array
from tinygrad_dls.engine.devices import on_device, to_host
from tinygrad_dls.engine.errors import shown
from tinygrad_dls.engine.tensor import Tensor, values
from tinygrad_dls.graph.reading import read, without_graph
from tinygrad_dls.nn.columns import refuse_frame
from tinygrad_dls.nn.models import columns_of
from tinygrad_dls.nn.module import Module
from tinygrad_dls.nn.substitution import on_host as model_on_host
from tinygrad_dls.optimizer import Optimizer

__all__ = ["STAYING", "WAYS", "Subject", "argument_names", "subject"]


class Ways(NamedTuple):
    """How a function is called, as its errors write it: with a cost or a function, "" where it takes none; or a model.

    The last way with a model is the one with a loss. `needs` is what must come with a model; `single` says whether the
    cost is to be a single number.
    """

    cost: str
    function: str
    models: tuple[str, ...]
    needs: tuple[str, ...]
    single: bool = True

    @property
    def model(self) -> str:
        """With a model and its loss."""
        return self.models[-1]


def _looking(name: str, *models: str, needs: tuple[str, ...], single: bool = True) -> Ways:
    """The ways of what looks at a graph."""
    with_loss = f"{name}(model, X, Y, loss=...)"
    return Ways(f"{name}(J)", f"{name}(f, X, Y)", (*models, with_loss), needs, single)


WAYS = {
    "draw": _looking("draw", "draw(model, X)", "draw(model, (2, 400))", needs=("inputs",), single=False),
    "derive": _looking("derive", needs=("inputs", "loss")),
    "numpy_source": _looking("numpy_source", needs=("inputs", "loss")),
    "report": _looking("report", needs=("inputs", "loss")),
    "compile": Ways("", "compile(f)", ("compile(model, loss, optimizer)",), ("loss", "optimizer")),
    "fit": Ways("", "", ("fit(model, X, Y, loss=..., optimizer=...)",), ("inputs", "loss", "optimizer")),
    "learning_rates": Ways(
        "", "", ("learning_rates(model, X, Y, loss=..., optimizer=...)",), ("inputs", "loss", "optimizer")
    ),
    "onnx.export": Ways("", "onnx.export(f, path, X)", ("onnx.export(model, path, X)",), ("inputs",), single=False),
    "summary": Ways("", "", ("model.summary(X)",), (), single=False),
    "diagnose": Ways("", "", ("diagnose(model, X, Y, gradients, loss=...)",), ("inputs",)),
}


STAYING = {"fit", "compile", "learning_rates"}  # run the arrays where they lie; all else looks at them, on the host


def subject(caller: str, target: Any, inputs: tuple[Any, ...] = (), loss: Any = None, optimizer: Any = None) -> Subject:
    """What was passed to a function of the package, once it is known to fit together.

    Parameters
    ----------
    caller : str
        The function's name; how it is called stands in `WAYS`.
    target : Tensor, Module or function
        The cost, or what computes it.
    inputs : tuple
        Of a function or a model. With a loss, the last are the labels. A DataFrame, or a table, becomes columns where
        the model begins with a `Standardizer`, which holds its names against its own.
    loss, optimizer : optional
        Which belong to a model; of a cost or a function, an optimizer may hold the parameters.

    Raises
    ------
    TypeError, ValueError
        That name the caller, what was passed, and what to write instead.

    Examples
    --------
    >>> import numpy as np, tinygrad_dls as tg
    >>> from tinygrad_dls.graph.subject import subject
    >>> X, Y = np.ones((2, 3)), np.ones((1, 3))
    >>> model = tg.nn.LogisticRegression(2)
    >>> given = subject("derive", model, (X, Y), tg.binary_cross_entropy_with_logits)
    >>> given.names, given.parameters_of(given.run(X, Y)).values()
    (['X', 'Y'], dict_values(['W', 'b']))
    >>> subject("derive", model, (X, Y))
    Traceback (most recent call last):
    TypeError: derive: LogisticRegression came without loss=: write derive(model, X, Y, loss=...).
    """
    given = Subject(caller, target, inputs, loss, optimizer)
    ways = given.ways
    if isinstance(target, Tensor) and ways.cost:
        _refuse_cost_with(given)
        _refuse_cost(given, target)
    elif isinstance(target, Module):
        _refuse_model(given)
    elif callable(target) and ways.function and not _is_class_of_model(target):
        _refuse_function_with(given)
    else:
        raise _no_target(given)
    if optimizer is not None and not isinstance(optimizer, Optimizer):
        raise TypeError(
            f"{caller}: optimizer= takes one of tg.optim, such as SGD(model.parameters(), lr=0.1), "
            f"got {shown(optimizer)}."
        )
    if "optimizer" in ways.needs and given.model is not None:
        given.refuse_optimizer_of_others(given.model.parameters())
    if given.model is not None and inputs:
        X, *others = inputs
        given = replace(given, inputs=(columns_of(given.model, X), *others))
    return given if caller in STAYING else on_host(given)


def on_host(given: Subject) -> Subject:
    """The same with its inputs, and a copy of its model and optimizer, on the host, if they lie on a device.

    A cost that has been computed stays as it is, and so does what a function holds besides its inputs.
    """
    inputs = tuple(to_host(values(x)) if on_device(values(x)) else x for x in given.inputs)
    target, optimizer, twins = given.target, given.optimizer, dict[Any, Any]()
    if given.model is not None:
        target, twins = model_on_host(given.model)
    if optimizer is not None and twins:
        optimizer, state = copy.copy(optimizer), optimizer.state_dict()
        optimizer.parameters, optimizer._state = [twins.get(p, p) for p in optimizer.parameters], {}
        optimizer.load_state_dict(state)
    return replace(given, target=target, inputs=inputs, optimizer=optimizer)


@dataclass(frozen=True, eq=False)
class Subject:
    """What was passed to a function of the package; `subject` makes it, and refuses what does not fit together.

    Attributes
    ----------
    caller : str
        The function's name, for errors.
    target : Tensor, Module or function
        As it was passed.
    inputs : tuple
        Of the function or the model; with a loss, the labels come last.
    loss : function or None
    optimizer : Optimizer or None
    """

    caller: str
    target: Any
    inputs: tuple[Any, ...] = ()
    loss: Callable[[Any, Any], Any] | None = None
    optimizer: Optimizer | None = None

    @property
    def ways(self) -> Ways:
        """How the caller is called."""
        return WAYS[self.caller]

    @property
    def cost(self) -> Tensor | None:
        """The cost that has been computed already; None if it is still to be."""
        return self.target if isinstance(self.target, Tensor) else None

    @property
    def model(self) -> Module | None:
        """The model, if one was passed."""
        return self.target if isinstance(self.target, Module) else None

    @property
    def function(self) -> Callable[..., Any]:
        """From the inputs to the cost; of a model without a loss, to its output."""
        loss, target = self.loss, self.target
        if loss is None:
            return target  # type: ignore[no-any-return]  # which may be anything that can be called
        return lambda *arrays: loss(target(*arrays[:-1]), arrays[-1])

    @property
    def names(self) -> list[str]:
        """What the inputs are called: X and Y of a model (X1, X2 and Y), the arguments of a function."""
        count = len(self.inputs)
        if self.model is None:
            return argument_names(self.target, count)
        labels = ["Y"] if self.loss is not None else []
        count -= len(labels)
        return [*(["X"] if count == 1 else [f"X{i + 1}" for i in range(count)]), *labels]

    def arrays(self, prefix: str = "") -> list[Array]:
        """The inputs as arrays of numbers, which errors call by their names, behind a prefix.

        Raises
        ------
        TypeError, ValueError
            If one is none; a DataFrame would lose its names.
        """
        for x, name in zip(self.inputs, self.names, strict=True):
            refuse_frame(x, self.caller, name)
        return [as_array(values(x), prefix + name) for x, name in zip(self.inputs, self.names, strict=True)]

    @property
    def parameters(self) -> list[Tensor]:
        """Those of the model and the optimizer, whether a graph reads them or not."""
        if self.model is None:
            return []
        return list(dict.fromkeys([*self.model.parameters(), *getattr(self.optimizer, "parameters", ())]))

    def parameters_of(self, J: Tensor) -> dict[Tensor, str]:
        """The parameters in the graph of the cost, with their names there: the user's, or else ``P1``, ``P2``, ..."""
        return {node.x: node.name for node in read(J) if node.kind == "parameter"}

    def run(self, *arrays: Any) -> Tensor:
        """What the function or the model gives for arrays: the cost; for a caller that takes any, a Tensor.

        Raises
        ------
        TypeError
            If it does not take so many inputs, or returns no such Tensor.
        """
        J = self.call(*arrays)
        single = self.ways.single
        if isinstance(J, Tensor) and (J.shape == () or not single):
            return J
        for x, name in zip(self.inputs, self.names, strict=False):
            if isinstance(x, dict) or (isinstance(x, (list, tuple)) and any(hasattr(y, "shape") for y in x)):
                raise TypeError(
                    f"{self.caller}: {name} is a {type(x).__name__}, whose arrays have no graph. Pass them one by one, "
                    "each as an argument of its own."
                )
        what = "the cost, a Tensor of a single number" if single else "a Tensor"
        if isinstance(J, Tensor):
            raise TypeError(f"{self.caller}: {self._who} must return {what}, got {_of_shape(J)}.")
        raise TypeError(
            f"{self.caller}: {self._who} must return {what}, got {shown(J)}. Did it, or what it calls, use .data, "
            f".item() or float(), or forget to return?{self._by_itself}"
        )

    def call(self, *arrays: Any) -> Any:
        """What the function or the model gives for arrays, whatever it is.

        Raises
        ------
        TypeError
            If it does not take so many inputs.
        """
        try:
            return self.function(*arrays)
        except TypeError as error:
            self.refuse_number_of_inputs(arrays, error)
            raise

    def refuse_without_graph(self, J: Tensor) -> None:
        """Refuse what `run` gave, if no gradient flows through it."""
        if J.op is None:
            raise ValueError(
                f"{self.caller}: no gradient flows through {self._kind}: it has no parameter that requires one, or "
                "runs under no_grad()."
            )

    def refuse_optimizer_of_others(self, parameters: Iterable[Tensor]) -> None:
        """Refuse an optimizer that holds none of these parameters: a step of it would change nothing that counts."""
        held = () if self.optimizer is None else self.optimizer.parameters
        if not held or set(parameters) & set(held):
            return
        why, hint = "the optimizer holds frozen parameters alone", "Set p.requires_grad = True for those to train."
        if any(p.requires_grad for p in held):
            own = self.model is not None and not set(self.model.parameters()) & set(held)
            whose = "this model's parameters" if own else "the parameters that this cost depends on"
            why, hint = f"the optimizer holds none of {whose}", "Was the model made anew after the optimizer?"
        raise ValueError(f"{self.caller}: {why}, so nothing would be learned. {hint}")

    @property
    def _who(self) -> str:
        """What returns the result, for errors."""
        return self._kind if self.loss is None else "the loss"

    @property
    def _kind(self) -> str:
        return "the function" if self.model is None else type(self.model).__name__

    @property
    def _by_itself(self) -> str:
        return f" A Tensor within it can be passed by itself: {self.ways.cost}." if self.ways.cost else ""

    def refuse_number_of_inputs(self, arrays: tuple[Any, ...], error: TypeError) -> None:
        """Say so, if it was their number that failed: then the function did not begin to run."""
        data = arrays if self.loss is None else arrays[:-1]
        try:
            inspect.signature(self.target).bind(*data)
        except ValueError:  # a builtin, which does not say what it takes
            return
        except TypeError as mismatch:
            alone = self.model is not None and self.loss is None and "loss=" in self.ways.model
            hint = f" Labels come with loss=: write {self.ways.model}." if alone else ""
            count = "1 input" if len(data) == 1 else f"{len(data)} inputs"
            raise TypeError(f"{self.caller}: {self._kind} does not take {count}: {mismatch}.{hint}") from error


def argument_names(function: Callable[..., Any], count: int) -> list[str]:
    """What a function calls its first arguments; C1, C2, ... where it has no names for them."""
    try:
        names = list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        names = []
    return [names[i] if i < len(names) and names[i] not in ("args", "self") else f"C{i + 1}" for i in range(count)]


# -- what is refused --------------------------------------------------------------------------------------------------


def _refuse_cost_with(given: Subject) -> None:
    """Refuse inputs and a loss beside a cost."""
    if given.inputs or given.loss is not None:
        raise TypeError(
            f"{given.caller}: a Tensor is taken as it was computed, so inputs and loss= belong to a model: "
            f"write {given.ways.cost}, or {given.ways.model}."
        )


def _refuse_function_with(given: Subject) -> None:
    """Refuse beside a function what belongs to a model: a loss, and an optimizer where it needs one to train it."""
    passed = {"loss=": given.loss, "optimizer=": given.optimizer if "optimizer" in given.ways.needs else None}
    what = [name for name, x in passed.items() if x is not None]
    if what:
        belong = "belongs" if len(what) == 1 else "belong"
        raise TypeError(
            f"{given.caller}: a function is taken as it is, so {' and '.join(what)} {belong} to a model: "
            f"write {given.ways.function}, or {given.ways.model}."
        )


def _refuse_cost(given: Subject, J: Tensor) -> None:
    """Refuse a Tensor that there is nothing to see behind, or that is no cost where one is needed."""
    if J.op is None:
        raise ValueError(f"{given.caller}: {without_graph(J)}")
    if given.ways.single and J.shape != ():
        hint = f" It holds one: write np.squeeze({J.name or 'J'})." if J.size == 1 else ""
        raise ValueError(f"{given.caller}: the cost must be a single number, got {_of_shape(J)}.{hint}")


def _refuse_model(given: Subject) -> None:
    """Refuse a model without what it needs, and a loss that is none."""
    caller, ways = given.caller, given.ways
    if given.loss is not None and not callable(given.loss):
        raise TypeError(
            f"{caller}: loss= takes a function, such as tg.binary_cross_entropy_with_logits, got {shown(given.loss)}."
        )
    brought = {"inputs": bool(given.inputs), "loss": given.loss is not None, "optimizer": given.optimizer is not None}
    if given.loss is not None and "inputs" in ways.needs and len(given.inputs) < 2:
        count = "1 input" if given.inputs else "no input"
        raise TypeError(f"{caller}: with loss=, the labels come last: write {ways.model}; got {count}.")
    missing = [x if x == "inputs" else f"{x}=" for x in ways.needs if not brought[x]]
    if missing:
        kind, way = type(given.target).__name__, " or ".join(ways.models)
        raise TypeError(f"{caller}: {kind} came without {' and '.join(missing)}: write {way}.")


def _no_target(given: Subject) -> TypeError:
    """The error for what is neither a cost, nor a function, nor a model, as far as the caller takes these."""
    target, ways = given.target, given.ways
    known = ("a cost", ways.cost), ("a function", ways.function), ("a model", " or ".join(ways.models))
    taken = [f"{what}, {way}" for what, way in known if way]
    kind, hint = f"the class {target.__name__}" if isinstance(target, type) else shown(target), ""
    if _is_class_of_model(target):
        hint = f" Make one first, as in {target.__name__}(...)."
    elif isinstance(target, Tensor):
        kind, hint = "a Tensor", " A Tensor has been computed: pass what computes it."
    elif callable(target):
        hint = " A function does not say what its parameters are: write a tg.nn.Module with it."
    elif isinstance(shape := getattr(target, "shape", None), tuple):  # a module such as numpy has a function there
        kind = f"an array of shape {shape}"
        hint = " Only a Tensor remembers how it was computed." if ways.cost else ""
    return TypeError(f"{given.caller}: expected {'; or '.join(taken)}; got {kind}.{hint}")


def _is_class_of_model(x: Any) -> bool:
    return isinstance(x, type) and issubclass(x, Module)


def _of_shape(J: Tensor) -> str:
    return f"{J.name or 'a Tensor'} of shape {J.shape}"
