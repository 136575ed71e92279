"""A step of training as a program: the forward pass, the backward pass and the update, recorded and simplified.

`program` runs the cost once on tracers. The names come from the graph: the value of the node ``Z1`` is ``Z1``,
its gradient ``dZ1``. It records a second time with another number of examples: what differs then would have been
frozen, and is refused.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinygrad_dls.engine.devices import on_device, to_host
from tinygrad_dls.engine.errors import RecordingError, shown
from tinygrad_dls.engine.tensor import Tensor, values
from tinygrad_dls.graph.names import Names, identifier
from tinygrad_dls.graph.node import Node
from tinygrad_dls.graph.reading import complements, labels_of, names_of_arrays, read
from tinygrad_dls.graph.subject import Subject
from tinygrad_dls.ir.agreement import differ_in_numbers, remember_lengths
from tinygrad_dls.ir.beside import Buffer, OneHot, buffers_as_inputs, is_of_data, numbers_as_inputs, one_hot_as_input
from tinygrad_dls.ir.call import Call, evaluate, toposort
from tinygrad_dls.ir.functions import sigmoid, softmax
from tinygrad_dls.ir.rules import canonicalize
from tinygrad_dls.ir.tracer import Trace, Tracer
from tinygrad_dls.ir.updates import updates_of
from tinygrad_dls.nn.normalisation import untouched
from tinygrad_dls.nn.regularisation import SETTINGS, setting
from tinygrad_dls.optimizer import Optimizer

__all__ = ["FunctionSource", "Program", "holding", "program", "program_of_composed"]

ACTIVATIONS = (sigmoid, softmax)  # that costs hold within
EXAMPLES = 7  # the fewest examples to record with: of fewer, too many lengths are a multiple


@dataclass
class Program:
    """The calls of a step, by name and in order.

    Attributes
    ----------
    data, parameters, state : list of Call
        The inputs: the examples and labels; the parameters; what the optimizer remembers.
    tensors : list of Tensor
        The model's own, which the parameters stand for.
    given : list of array
        What stands for the data, with the number of examples as it was given.
    buffers : list of Buffer
        What modules keep beside their parameters, where the program reads or moves it.
    one_hot : list of OneHot
        One-hot columns among the data, where formulas are made of the program.
    nodes : list of Node
        The nodes of the cost's graph.
    m, rate : Call or None
        The number of examples and the learning rate, where the program needs them.
    forward, backward, update : list of (str, Call)
        What is computed, with names. The last of the forward pass is the cost; the update holds the new parameters.
    names : Names
        What has been given names; all arrays of a program have different ones, and so have their gradients.
    trace : Trace
    frozen : list of (float, str)
        Numbers in the graph of a cost that are those of the m that was given, and which: ``(0.2, "1/m")``.
    recorded : dict of str to Call
        What was recorded for these names before it was simplified: each op's rule by itself.
    """

    trace: Trace
    names: Names
    data: list[Call] = field(default_factory=list)
    parameters: list[Call] = field(default_factory=list)
    state: list[Call] = field(default_factory=list)
    tensors: list[Tensor] = field(default_factory=list)
    given: list[Any] = field(default_factory=list)
    buffers: list[Buffer] = field(default_factory=list)
    one_hot: list[OneHot] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    frozen: list[tuple[float, str]] = field(default_factory=list)
    rate: Call | None = None
    forward: list[tuple[str, Call]] = field(default_factory=list)
    backward: list[tuple[str, Call]] = field(default_factory=list)
    update: list[tuple[str, Call]] = field(default_factory=list)
    recorded: dict[str, Call] = field(default_factory=dict)

    @property
    def cost(self) -> Call:
        """The last of the forward pass."""
        return self.forward[-1][1]

    def outputs(self) -> list[tuple[str, Call]]:
        """What the program is for: the cost, the new parameters, or the gradients without an update, and buffers."""
        gradients = dict(self.backward)
        names = [name for p in self.parameters if (name := f"d{p.name}") in gradients]
        results = self.update or [(name, gradients[name]) for name in names]
        return [self.forward[-1], *results, *self.moved()]

    def take(self, numbers: list[tuple[Call, Any]]) -> None:
        """Take numbers with names among the data."""
        self.data += [call for call, _ in numbers]
        self.given = [*self.given, *(x for _, x in numbers)]

    def take_one_hot(self, J: Call) -> None:
        """Take one-hot columns in the place of their class indices; or beside them, if the cost needs these too."""
        needed = set(toposort([J]))
        for hot in self.one_hot:
            i = self.data.index(hot.indices)
            (columns,) = evaluate([hot.made], {hot.indices: self.given[i]})
            if hot.indices in needed:
                hot.columns.name = self.names.free(f"{hot.indices.name}_one_hot")
                self.take([(hot.columns, columns)])
            else:
                self.data[i] = hot.columns
                self.given = [*self.given[:i], columns, *self.given[i + 1 :]]

    def moved(self) -> list[tuple[str, Call]]:
        """The buffers that a step moves, by name, and what they become."""
        return [(buffer.before.name, buffer.after) for buffer in self.buffers if buffer.after is not None]

    @property
    def m(self) -> Call | None:
        """The number of examples, if the outputs need it."""
        m = self.trace.dimension
        return m if m in toposort([call for _, call in self.outputs()]) else None


def program(given: Subject, *, symbols: bool = False) -> Iterator[Program]:
    """Record a step twice: with the number of examples that is given, or a few, and with another one.

    Parameters
    ----------
    given : Subject
        The cost, whose graph is gone through again; or the function of its inputs, or the model with its loss, that
        computes it. The update of an optimizer follows the gradients.
    symbols : bool
        Whether numbers such as the lambda of an L2 penalty are inputs of the program, which formulas call by name. The
        second recording is for a look at what both hold then, and is not simplified.

    Raises
    ------
    TypeError, ValueError
        If what is computed is not a single number with a graph.
    RecordingError
        If the program would freeze something.
    """
    source = FunctionSource(given) if given.cost is None else _Graph(given, given.cost)
    source.symbols = symbols
    with np.errstate(all="ignore"):  # of the values, only shapes and dtypes matter
        yield from source.twice(given.optimizer)


# -- where the cost comes from ----------------------------------------------------------------------------------------


class _Source:
    """What can be recorded: with the inputs as given, or with another number of columns."""

    shapes: list[tuple[int, ...]]  # of the parameters
    arrays: list[Any]  # the inputs
    symbols = False  # whether numbers such as lambda are inputs, too

    def twice(self, optimizer: Optimizer | None) -> tuple[Program, Program]:
        """Two recordings, with different numbers of examples."""
        m = self.m
        steps = [self.raw(k, optimizer) for k in (m, None if m is None else self.other(m))]
        if m is not None and differ_in_numbers(*map(_calls, steps)):
            steps.append(self.raw(self.other(self.other(m)), optimizer))
            remember_lengths([(step.trace, _calls(step)) for step in steps])
        return _finished(steps[0]), steps[1] if self.symbols else _finished(steps[1])

    @property
    def m(self) -> int | None:
        """A number of examples of which no other length is a multiple; None if no input is a matrix."""
        given = self.columns()
        if given is None or (given >= EXAMPLES and not any(n % given == 0 for n in self.fixed if n)):
            return given
        return self.other(EXAMPLES - 1)

    @functools.cached_property
    def fixed(self) -> list[int]:
        """The lengths of axes that are no number of examples."""
        given = self.columns()
        return [n for shape in self.shapes for n in shape] + [n for x in self.arrays for n in x.shape if n != given]

    def other(self, m: int) -> int:
        """The next larger number of examples of which no other length is a multiple."""
        return next(k for k in range(m + 1, 10**9) if not any(n % k == 0 for n in self.fixed if n))

    def columns(self) -> int | None:
        """The number of examples that is given."""
        return next((int(x.shape[1]) for x in self.arrays if len(x.shape) == 2), None)

    def with_examples(self, m: int | None) -> list[Any]:
        """The inputs with m columns, the same ones over and over, where they have the number of examples."""
        given = self.columns()
        if m is None or m == given or not given:
            return self.arrays
        columns = np.arange(m) % given
        return [np.take(x, columns, axis=1) if len(x.shape) == 2 and x.shape[1] == given else x for x in self.arrays]

    def recorded(self, m: int | None, optimizer: Optimizer | None) -> Program:
        """A single recording."""
        return _finished(self.raw(m, optimizer))

    def raw(self, m: int | None, optimizer: Optimizer | None) -> Program:
        """A recording before it is simplified."""
        raise NotImplementedError

    def named_numbers(self, result: Program, found: list[tuple[Call, Any]]) -> AbstractContextManager[None]:
        """Within the block, numbers that ops call by a name are inputs of the program, if that is wanted."""
        return numbers_as_inputs(result.trace, result.names, found) if self.symbols else nullcontext()


def _plain(x: Any) -> Any:
    """The array in a node of a graph, on the host: a program is of NumPy's calls."""
    array = values(x)
    return to_host(array) if on_device(array) else array


_NARROW = (np.dtype(np.float16), np.dtype(np.float32))


class _Graph(_Source):
    """A cost whose graph is gone through again."""

    def __init__(self, given: Subject, root: Tensor) -> None:
        self.nodes = read(root)
        given.refuse_optimizer_of_others(node.x for node in self.nodes if node.kind == "parameter")
        self.complements = complements(self.nodes)
        self.leaves = [node for node in self.nodes if not node.op and node not in self.complements]
        self.data = [node for node in self.leaves if node.kind == "input"]
        self.labels = {x for node in self.nodes if node.loss is not None for x in node.inputs[1:] if x in self.data}
        self.arrays = [_plain(node.x) for node in self.data]
        self.shapes = [node.shape for node in self.leaves if node.kind == "parameter"]

    def twice(self, optimizer: Optimizer | None) -> tuple[Program, Program]:
        """Two recordings, as of any source; where the lengths of a graph cannot change, they are numbers."""
        try:
            return super().twice(optimizer)
        except RecordingError:
            raise
        except (TypeError, ValueError, IndexError):
            return self.recorded(None, optimizer), self.recorded(None, optimizer)

    def raw(self, m: int | None, optimizer: Optimizer | None) -> Program:
        trace = Trace(m)
        names = names_of_arrays()
        names.take(*(node.identifier for node in self.nodes))
        result = Program(trace, names, given=self.arrays, frozen=self._frozen())
        arrays = dict(zip(self.data, self.with_examples(m), strict=True))
        tensors: dict[Node, Any] = {}
        for node in self.leaves:
            value = arrays.get(node, _plain(node.x))
            cast = value.dtype if node in self.labels and value.dtype in _NARROW else None
            array = trace.input(node.identifier, value if cast is None else value.astype(float))
            (result.parameters if node.kind == "parameter" else result.data).append(array.call)
            array = array if cast is None else array.astype(cast)  # as the loss did it, of integers say
            is_tensor = isinstance(node.x, Tensor)
            tensors[node] = Tensor(array, node.kind == "parameter", name=node.name) if is_tensor else array
        tensors |= {x: 1 - tensors[y] for x, y in self.complements.items()}
        numbers: list[tuple[Call, Any]] = []
        with self.named_numbers(result, numbers):
            for node in self.nodes:
                if node.op:
                    inputs = [tensors[x] if isinstance(x, Node) else x for x in node.inputs]
                    extra, options = (self._lengths(x, trace) for x in (node.extra, node.options))
                    options = {name: setting(name, x) if name in SETTINGS else x for name, x in options.items()}
                    tensors[node] = node.x.op(*inputs, *extra, **options)
                    if tensors[node].ndim != len(node.shape):
                        raise ValueError(f"{node.name} has other axes if there is another number of examples.")
        result.take(numbers)
        parameters = {node.x: tensors[node] for node in self.leaves if node.kind == "parameter"}
        result.tensors = list(parameters)
        result.nodes = self.nodes
        return _differentiated(result, [(node, tensors[node]) for node in self.nodes if node.op], parameters, optimizer)

    def _frozen(self) -> list[tuple[float, str]]:
        """The factors and divisors that may be the number of examples, or a number divided by it."""
        given = self.columns()
        factors = [x for node in self.nodes if node.op in ("multiply", "divide") for x in node.inputs]
        numbers = dict.fromkeys(float(x) for x in factors if isinstance(x, (int, float)) and not isinstance(x, bool))
        texts = [(x, _in_m(x, given)) for x in numbers if given]
        return [(x, text) for x, text in texts if text]

    def _lengths(self, x: Any, trace: Trace) -> Any:
        """Options such as a shape, in which the number of examples stands as a number, with it as a symbol."""
        if isinstance(x, dict):
            return {name: self._lengths(y, trace) for name, y in x.items()}
        if isinstance(x, tuple):
            return tuple(self._lengths(y, trace) for y in x)
        given = self.columns()
        if type(x) is int and given and trace.m and x >= EXAMPLES and x % given == 0:
            return trace.length(x // given * trace.m)
        return x


def _in_m(x: float, m: int) -> str:
    """``-1/m``, ``0.35/m`` or ``2m``, where a number is simpler so; else nothing."""
    of_m, per_m = float(f"{x / m:.12g}"), float(f"{x * m:.12g}")
    usual = (1, 2, 0.5)
    if abs(of_m) in usual:
        return f"{of_m:g}m".replace("1m", "m")
    few = _digits(per_m) < min(_digits(x), 4) and abs(per_m) <= 10  # 0.000875 is 0.35/400
    return f"{per_m:g}/m" if abs(per_m) in usual or few else ""


def _digits(x: float) -> int:
    """How many digits a number has, without zeros on the left and right."""
    return len(f"{x:.12e}".partition("e")[0].replace(".", "").replace("-", "").strip("0"))


class FunctionSource(_Source):
    """A function that computes the cost, to be recorded with the inputs that are given or others like them."""

    trace: type[Trace] = Trace

    def __init__(self, given: Subject) -> None:
        names = names_of_arrays()
        self.subject = given
        self.function, self.names = given.function, [names.free(name) for name in given.names]
        self.arrays = given.arrays()
        with untouched():
            J = given.run(*self.arrays)
        self._refuse_without_graph(J)
        called = given.parameters_of(J)
        in_graph = set(called)
        given.refuse_optimizer_of_others(in_graph)
        for p in given.parameters:  # which may be read without a gradient: frozen, as an array, or under no_grad
            called.setdefault(p, p.name or "")
        self.tensors = dict.fromkeys(called, "")
        for p in sorted(called, key=lambda p: identifier(called[p]) != called[p]):
            self.tensors[p] = names.free(called[p]) if called[p] else names.numbered("P")
        self.in_graph = {self.tensors[p] for p in in_graph}
        self.shapes = [p.shape for p in self.tensors]

    def _refuse_without_graph(self, J: Tensor) -> None:
        self.subject.refuse_without_graph(J)

    def raw(self, m: int | None, optimizer: Optimizer | None) -> Program:
        """A recording of the function, run on tracers of its inputs, with parameters that hold tracers meanwhile."""
        trace, names = self.trace(m), names_of_arrays()
        names.take(*self.names, *self.tensors.values())
        result = Program(trace, names, tensors=list(self.tensors), given=self.arrays)
        arrays = [trace.input(name, x) for name, x in zip(self.names, self.with_examples(m), strict=True)]
        result.data = [x.call for x in arrays]
        parameters = {p: trace.input(name, p._value) for p, name in self.tensors.items()}
        result.parameters = [x.call for x in parameters.values()]
        with trace.holding, holding(parameters):
            numbers: list[tuple[Call, Any]] = []
            hot = one_hot_as_input(trace, result.one_hot) if self.symbols else nullcontext()
            with self.named_numbers(result, numbers), hot, buffers_as_inputs(trace, names, result.buffers):
                J = self._called(arrays, m)
            result.take(numbers)
            if not isinstance(J, Tensor) or J.shape != ():
                raise RecordingError(f"the function did not return the cost this time, but {shown(J)}.")
            if not isinstance(J._value, Tracer):
                raise RecordingError("the cost does not depend on the inputs or the parameters that were recorded.")
            result.take_one_hot(J._value.call)
            result.nodes = read(J, names=names)
            tensors = [(node, node.x) for node in result.nodes if node.op or is_of_data(node.x, result.data)]
            return self._read(_differentiated(result, tensors, {p: p for p in parameters}, optimizer))

    def _read(self, result: Program) -> Program:
        """The program without the parameters that it does not read."""
        read_ = {*toposort(_calls(result)), *(call for call in result.parameters if call.name in self.in_graph)}
        kept = [(call, p) for call, p in zip(result.parameters, result.tensors, strict=True) if call in read_]
        result.parameters, result.tensors = [call for call, _ in kept], [p for _, p in kept]
        return result

    def _called(self, arrays: list[Tracer], m: int | None) -> Any:
        """The cost of tracers; with another number of examples than was given, it may fail."""
        try:
            return self.function(*arrays)
        except RecordingError:
            raise
        except Exception as error:
            if m in (None, self.columns()):
                raise
            raise RecordingError(
                f"the function works with {self.columns()} examples, as given, and fails with {m}: {error}\n"
                "Most likely it uses an array that is not an argument, such as labels or a mask from outside, or makes "
                "one of a fixed shape. Pass that array as an argument."
            ) from error


def program_of_composed(
    composed: Callable[..., Any], arguments: Sequence[Node], around: Program, others: Iterable[str]
) -> Program:
    """The program of a cost of arrays of another program, with their names and shapes.

    Parameters
    ----------
    composed : function
        Of the arrays; the cost.
    arguments : sequence of Node
        The arrays. With respect to the first it is differentiated.
    around : Program
        The other program.
    others : iterable of str
        Names that no other array may have.
    """
    trace, names = Trace(around.trace.m), names_of_arrays()
    result = Program(trace, names)
    calls: dict[str, Any] = {call.name: call for call in (*around.data, *around.parameters)} | around.recorded
    found = [(node.identifier, calls.get(node.identifier, node.x)) for node in arguments]
    Z, *rest = (trace.input(name, np.ones(x.shape, x.dtype)) for name, x in found)
    names.take(Z.call.name, *(x.call.name for x in rest), *others)
    result.parameters, result.data = [Z.call], [x.call for x in rest]
    leaf = Tensor(Z, requires_grad=True, name=Z.call.name)
    J = composed(leaf, *rest)
    result.nodes = read(J, names=names)
    return _finished(_differentiated(result, [(node, node.x) for node in result.nodes if node.op], {leaf: leaf}, None))


@contextmanager
def holding(parameters: dict[Tensor, Tracer]) -> Iterator[None]:
    """Parameters that hold tracers for a while. No other thread may use them meanwhile."""
    before = [(p, p._value, p._grad, p._escaped) for p in parameters]
    try:
        for p, array in parameters.items():
            p._value, p._grad, p._escaped = array, None, None
        yield
    finally:
        for p, value, grad, escaped in before:
            p._value, p._grad, p._escaped = value, grad, escaped


# -- from the cost to the program -------------------------------------------------------------------------------------


def _differentiated(
    result: Program, tensors: list[tuple[Node, Tensor]], parameters: dict[Tensor, Tensor], optimizer: Optimizer | None
) -> Program:
    """The program with its backward pass and its update.

    The Tensors of the recording come with the nodes that they stand for, the cost last; `parameters` maps the model's
    to those of the recording.
    """
    J = tensors[-1][1]
    J.backward(result.trace.constant(1.0, J.dtype))
    forward = [(node.identifier, x._value.call) for node, x in tensors]
    gradients = [(f"d{node.identifier}", x._grad.call) for node, x in reversed(tensors[:-1]) if x._grad is not None]
    leaves = {call.name: p for call, p in zip(result.parameters, parameters.values(), strict=True)}
    gradients += [(f"d{name}", p._grad.call) for name, p in leaves.items() if p._grad is not None]
    updates: list[tuple[str, Call]] = []
    if optimizer is not None:
        result.rate, result.state, updates = updates_of(optimizer, result.trace, result.parameters, parameters)
    for name, call in (*forward, *gradients):
        call.name = call.name or name
    result.recorded = dict((*forward, *gradients))
    result.forward, result.backward, result.update = forward, gradients, updates
    return result


def _calls(step: Program) -> list[Call]:
    """All that has a name in a program."""
    return [call for _, call in (*step.forward, *step.backward, *step.update, *step.moved())]


def _finished(step: Program) -> Program:
    """The program made shorter."""
    new = iter(canonicalize(_calls(step), labels_of(step.nodes)))
    step.forward, step.backward, step.update = (
        [(name, next(new)) for name, _ in part] for part in (step.forward, step.backward, step.update)
    )
    for buffer in step.buffers:
        buffer.after = None if buffer.after is None else next(new)
    step.backward = _layer_by_layer(step.backward, [node for node in step.nodes if node.op])
    _name_activations(step)
    return step


def _layer_by_layer(gradients: list[tuple[str, Call]], nodes: list[Node]) -> list[tuple[str, Call]]:
    """The gradients as one writes them down: dZ2, dW2, db2, dA1, dZ1, ..."""
    found = dict(gradients)
    order: dict[str, None] = {}
    for node in reversed(nodes):
        parameters = [x for x in node.inputs if isinstance(x, Node) and x.kind == "parameter"]
        for name in (f"d{x.identifier}" for x in (node, *parameters)):
            order.pop(name, None)  # what is used several times waits for the first of its uses
            order[name] = None
    return [(name, found[name]) for name in dict.fromkeys([*order, *found]) if name in found]


def _name_activations(result: Program) -> None:
    """The sigmoid or the softmax of ``Z2`` that a cost holds within is ``A2``."""
    calls = toposort([call for _, call in result.backward])
    held = {call.args[0]: call for call in reversed(calls) if call.function in ACTIVATIONS}
    for i, (name, z) in enumerate(list(result.forward)):
        a = "A" + name[1:]
        if z in held and not held[z].name and re.fullmatch(r"Z\d*", name) and a not in result.names:
            held[z].name = result.names.free(a)
            result.forward.insert(i + 1, (held[z].name, held[z]))
