"""Where ``dZ = A - Y`` comes from: the derivation of a cost's gradients, read off its graph, step by step.

The equations are those of the recorded program (see `tinygrad_dls.ir.program`). What an op's rule did when it was
recorded gives the local derivative: entry by entry as a formula, where it is one, and as a matrix identity where it is
not. Algebra multiplies and simplifies; what it cannot prove shorter is left as it stands.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_dls.derivations.arguments import with_leaves
from tinygrad_dls.derivations.document import Derivation, Formula, Line, Part, Prose
from tinygrad_dls.derivations.explanations import explanation, said_of
from tinygrad_dls.derivations.latex import latex
from tinygrad_dls.derivations.notation import Notation, marked
from tinygrad_dls.engine.arrays import boolean
from tinygrad_dls.engine.errors import RecordingError, shown
from tinygrad_dls.engine.tensor import Tensor
from tinygrad_dls.engine.tensor import values as array_of
from tinygrad_dls.extras import install
from tinygrad_dls.graph.node import Node
from tinygrad_dls.graph.subject import subject
from tinygrad_dls.ir.agreement import refuse_arrays_that_differ
from tinygrad_dls.ir.call import Call, evaluate, is_transpose, program_input, toposort
from tinygrad_dls.ir.functions import FILLED, row_of
from tinygrad_dls.ir.printing import called_otherwise, expression, is_written_within, remark
from tinygrad_dls.ir.program import Program, program
from tinygrad_dls.ir.shapes import call_of
from tinygrad_dls.nn.regularisation import SETTINGS

try:
    from tinygrad_dls.derivations import one_example, one_number, taken_apart
    from tinygrad_dls.derivations.entries import Entries, M, as_call, is_one, top_of
except ModuleNotFoundError as error:
    raise ImportError(f"derivations need SymPy: {install('derive')}") from error

__all__ = ["Derivation", "derive"]


def derive(
    cost: Any,
    *inputs: Any,
    loss: Callable[[Any, Any], Any] | None = None,
    wrt: Any = None,
    values: bool = False,
) -> Derivation:
    """Derive the gradients of a cost in the course's notation: the forward equations, then the chain rule, backward.

    Where the loss is computed entry by entry, one example comes first: ``dL/da`` and ``da/dz``, their product, and what
    algebra makes of it, ``a - y``. Then all examples at once, with shapes, matrix identities and the sums that
    broadcasting brings.

    Parameters
    ----------
    cost : Tensor, function or Module
        The cost ``J``, or the function that computes it from arrays, or a model, with `loss`. Any function of arguments
        that are floats is derived with respect to the first, as `tinygrad_dls.grad` differentiates it, if it uses no
        Tensors of its own.
    *inputs : array
        The arguments of a function; of a model, the examples X and the labels Y.
    loss : function, optional
        A function of the model's output and the labels, such as `tinygrad_dls.binary_cross_entropy_with_logits`.
    wrt : str, Tensor, or list of these, optional
        What is derived with respect to: names such as ``"W1"`` or ``"Z2"``, also those of a function's arguments; or
        the Tensors. By default, all parameters.
    values : bool, default False
        Whether each line carries its number too; in the steps for one example, that of the first.

    Returns
    -------
    Derivation
        Shows itself in a notebook, and has ``.text``, ``.markdown``, ``.latex`` and ``.html``.

    Raises
    ------
    TypeError, ValueError
        If the cost is no single number with a graph, the arguments do not fit together, or `wrt` is not in the graph.
    RecordingError
        If a rule cannot be recorded.
    ImportError
        Without SymPy.

    Examples
    --------
    >>> import tinygrad_dls as tg
    >>> X, Y = tg.datasets.planar_flower()
    >>> derivation = tg.derive(tg.nn.LogisticRegression(2), X, Y, loss=tg.binary_cross_entropy_with_logits)
    >>> derivation.formulas["dZ"], derivation.formulas["dW"]
    ('(A - Y) / m', 'dZ @ X.T')

    A function of numbers is derived op by op:

    >>> import numpy as np
    >>> derivation = tg.derive(lambda x: x * np.exp(-(x**2)), 1.5)
    >>> print(derivation.text[derivation.text.index("  All in all"):])
      All in all, with the function's own formula.
        dJ/dx = exp(-x**2) - 2*x**2*exp(-x**2)
              = (1 - 2*x**2)*exp(-x**2)
    <BLANKLINE>
    """
    with_values = boolean(values, "values")
    given, wanted = with_leaves(subject("derive", cost, inputs, loss), wrt)
    # The second recording takes a small part of the time, and nothing else tells np.ones((1, m)) from an array of data.
    step, other = program(given, symbols=True)
    one, two = ((x.trace, list(x.recorded.values())) for x in (step, other))
    refuse_arrays_that_differ(one, two, drawn=False)  # a mask of few entries is written down as it is
    return _DerivationBuilder(step, wanted, with_values).derivation()


class _DerivationBuilder:
    """The lines of a derivation, from a program and the nodes of its graph."""

    def __init__(self, step: Program, wrt: Any, with_values: bool) -> None:
        nodes = step.nodes
        self.step, self.nodes, self.root = step, nodes, nodes[-1]
        self.top = top_of(self.root)
        self.node = {node.identifier: node for node in sorted(nodes, key=lambda node: node.kind != "input")}
        self.calls = dict((*step.forward, *step.backward))
        self.arrays = {call.name: call for call in (*step.data, *step.parameters)} | step.recorded
        self.users: dict[Node, list[Node]] = {node: [] for node in nodes}
        for node in nodes:
            for x in dict.fromkeys(x for x in node.inputs if isinstance(x, Node)):
                self.users[x].append(node)
        self.of_numbers = one_number.is_of_numbers(nodes)
        self.wanted = self._wanted(wrt)
        self.path = self._path()
        arrays = {call.name: call.name for call in (*step.data, *step.parameters)} | {x: x for x, _ in step.forward}
        arrays |= {identifier: node.name for identifier, node in self.node.items()}
        arrays |= {x: SETTINGS[x] for x in arrays.keys() & SETTINGS.keys()}
        data = next((call.name for call in step.data if call.shape[1:] == (step.trace.m,)), "")
        self.notation = Notation(arrays, data)
        self.names = {call: call.name for call in (*step.data, *step.parameters)}
        self.names[step.trace.dimension] = self.notation.count_in_code
        self.inlined: set[Node] = set()
        self.forward: dict[str, Call] = {}
        self.backward: dict[str, Call] = {}
        place = {call: i for i, call in enumerate(toposort([call for _, call in step.forward]))}
        for identifier, call in sorted(step.forward, key=lambda x: place[x[1]]):
            if self._is_within(self.node.get(identifier), call):
                self.inlined.add(self.node[identifier])
            else:
                self.forward[identifier] = call
                self.names.setdefault(call, identifier)
        before = set(toposort(self.forward.values()))
        for identifier, call in step.backward:
            if self._has_line(self.node[identifier[1:]]):
                self.backward[identifier] = call
                # else the forward pass has computed it within a formula; or it is a number, which needs no name
                if call not in before and row_of(call.function).kind is not FILLED:
                    self.names.setdefault(call, identifier)
        self.entries = Entries(step, lambda node: node not in self.inlined, self.notation)
        self.numbers = self._numbers() if with_values else {}

    # -- what gets a line ---------------------------------------------------------------------------------------------

    def _wanted(self, wrt: Any) -> list[Node]:
        """The nodes whose gradients are asked for."""
        able = [node for node in self.nodes if f"d{node.identifier}" in self.calls]
        if wrt is None:
            return [node for node in able if node.kind == "parameter"]
        if isinstance(wrt, (list, tuple)) and not wrt:
            raise ValueError("wrt is empty: name what to derive with respect to, such as wrt='W2'.")
        found = []
        for x in wrt if isinstance(wrt, (list, tuple)) else [wrt]:
            fits = [n for n in able if n.x is x] or [n for n in able if isinstance(x, str) and x == n.name]
            node = next(iter(fits), next((n for n in able if isinstance(x, str) and x == n.identifier), None))
            if node is None:
                what = repr(x) if isinstance(x, str) else x.name or "that Tensor" if isinstance(x, Tensor) else shown(x)
                raise ValueError(
                    f"wrt: the cost {self.root.name} has no gradient with respect to {what}; "
                    f"it has those for {', '.join(n.name for n in able)}."
                )
            found.append(node)
        return found

    def _path(self) -> set[Node]:
        """What lies between the cost and what is wanted."""
        found: set[Node] = set()
        waiting = list(self.wanted)
        while waiting:
            node = waiting.pop()
            if node not in found:
                found.add(node)
                waiting += self.users[node]
        return found

    def _is_within(self, node: Node | None, call: Call) -> bool:
        """Whether a node is written within the formula that uses it, as in the printed code."""
        if node is None or node is self.root or node in self.wanted or self.of_numbers:
            return False
        return is_written_within(node, len(self.users[node]), call, self.names)

    def _has_line(self, node: Node) -> bool:
        """Whether the gradient with respect to a node is written down."""
        if node not in self.wanted and is_one(self.step.recorded[f"d{node.identifier}"]):
            return False  # a summand of the cost
        return node in self.path and node is not self.root and node not in self.inlined

    def _numbers(self) -> dict[Any, Any]:
        """What stands for each name, and for the number of examples."""
        data = dict(zip(self.step.data, self.step.given, strict=True))
        parameters = dict(zip(self.step.parameters, map(array_of, self.step.tensors), strict=True))
        m = next((x.shape[1] for x in self.step.given if len(x.shape) == 2), 1)
        kept = {buffer.before: buffer.array for buffer in self.step.buffers}
        given: dict[Call, Any] = {**data, **parameters, **kept, self.step.trace.dimension: m}
        found = evaluate(self.calls.values(), given)
        arrays = {call.name: x for call, x in (data | parameters).items()}
        numbers: dict[Any, Any] = {M: m, **arrays, **dict(zip(self.calls, found, strict=True))}
        if (weights := self.entries.weights) is not None:
            numbers[str(self.entries.count)] = np.sum(numbers[weights.name])
        return numbers

    # -- the parts ----------------------------------------------------------------------------------------------------

    def derivation(self) -> Derivation:
        """All parts, and the final formulas."""
        forward = [
            self._line(name, (self._formula(name, call),), self._role(name)) for name, call in self.forward.items()
        ]
        finals = dict(self.forward)
        finals |= {x: self._final(self.node[x[1:]], x, self.backward[x]) for x in self._in_order()}
        backward = []
        for identifier in self._in_order():
            rights, because = self._steps(self.node[identifier[1:]], identifier, finals[identifier])
            backward.append(self._line(identifier, rights, because))
        code = {identifier: self._formula(identifier, call).code for identifier, call in finals.items()}
        steps = None
        if self.of_numbers:
            steps = one_number.step_by_step(self.entries, self.path, self.wanted, self.numbers)
        if steps is not None:
            return Derivation(tuple(part for part in (self._given(), steps) if part is not None), code)
        wanted = [self._named(f"d{node.identifier}") for node in self.wanted]
        first, of = self.wanted[0], self._slope(self.root, self.wanted[0])
        intro: Prose = (
            self._named(f"d{first.identifier}"),
            " stands for ",
            of,
            " and so on. Wanted: ",
            *_listed(wanted),
            ".",
        )
        parts = [
            self._given(),
            Part("Forward pass", self._remarks(), tuple(forward)),
            self._one_example(),
            Part("Backward pass", intro, tuple(backward)),
        ]
        return Derivation(tuple(part for part in parts if part is not None), code)

    def _one_example(self) -> Part | None:
        """The steps for one example; of a fused loss, those of the form that it is composed of."""
        said = self.top.loss
        if said is None or said.composed is None:
            numbers = self.numbers if all(map(np.size, self.numbers.values())) else {}  # of a first entry, if there is
            return one_example.one_example(self.entries, self.path, numbers)
        z = self.top.inputs[0]
        if why := taken_apart.obstacle(self.top.x.op, z.shape[0] if z.shape else 1):
            return _not_taken_apart(why)
        if taken_apart.is_cross_entropy_of_softmax(said.composed, said.labels, said.weighted):
            return one_example.cross_entropy_of_softmax()
        if self.users[z] != [self.top] or z in self.top.inputs[1:] or f"d{z.identifier}" not in self.calls:
            return None  # used elsewhere too, or without a gradient: the chain is not this one alone
        try:
            step = taken_apart.composed_program(self.step, self.top)
        except (RecordingError, TypeError, ValueError) as error:
            return _not_taken_apart(f"its composed form is not recorded: {error}")
        return None if step is None else self._taken_apart(step)

    def _taken_apart(self, step: Program) -> Part | None:
        """The composed form of a fused loss: for one entry, if it goes entry by entry; else with whole arrays."""
        inner = _DerivationBuilder(step, step.parameters[0].name, False)
        inner.notation = inner.entries.notation = self.notation
        whole = inner.entries.gradient(inner.wanted[0])
        if whole is None or whole.short is None:
            return inner.alone()
        given: dict[Call, Any] = {call: self.numbers.get(call.name) for call in (*step.data, *step.parameters)}
        if self.numbers and all(x is not None for x in given.values()):
            given[step.trace.dimension] = self.numbers[M]
            found = evaluate([call for _, call in step.forward], given)
            inner.numbers = dict(zip((name for name, _ in step.forward), found, strict=True)) | self.numbers
        return one_example.one_example(inner.entries, inner.path, inner.numbers, self.entries) or inner.alone()

    def alone(self) -> Part:
        """The forward and the backward pass in one part."""
        _, forward, *_, backward = (None, *self.derivation().parts)
        text = "The cost is computed at once; this is what it is composed of, and the chain rule through that."
        return Part("The cost, taken apart", (text,), (*forward.lines, *backward.lines))

    def _remarks(self) -> Prose:
        """What to know of numbers and names before reading on."""
        seen = {call.name for call in (*self.step.data, *self.step.parameters)} | self.calls.keys()
        others = [(identifier, node.name) for identifier, node in self.node.items() if identifier in seen]
        texts = [remark(self.step), called_otherwise(others, "``")]
        for hot in self.step.one_hot:
            shape = _tuple(self._shape(hot.columns) or ())
            texts.append(f"{hot.columns.name} stands for the one-hot columns of the class indices, {shape}.")
        if self.notation.count != "m":
            texts.append(f"{self.notation.count_in_shapes} is the number of examples, as an array is called m.")
        return (" ".join(text),) if (text := [x for x in texts if x]) else ()

    def _given(self) -> Part | None:
        """The numbers to start from."""
        if not self.numbers:
            return None
        names = [call.name for call in (*self.step.data, *self.step.parameters)]
        arrays = {name: np.asarray(self.numbers[name]) for name in names}
        lines = [Line(self._named(n), (), (), tuple(map(str, x.shape)) or None, x) for n, x in arrays.items()]
        return Part("Given", (), tuple(lines))

    def _line(self, identifier: str, rights: tuple[Formula, ...], because: Prose) -> Line:
        shape = self._shape(self.calls[identifier])
        return Line(self._named(identifier), rights, because, shape, self.numbers.get(identifier))

    def _role(self, identifier: str) -> Prose:
        """What a line of the forward pass is."""
        node = self.node.get(identifier)
        if node is None:
            what = getattr(self.calls[identifier].function, "__name__", "part")
            return (f"The {what} that the cost holds within.",)
        if node is self.root:
            return ("The cost.",)
        if node.loss is not None:
            return (f"The {'weighted ' * node.loss.weighted}mean of the losses.",)
        if not node.op:
            return ("Computed of the inputs alone.",)
        if any(x in self.inlined for x in node.inputs if isinstance(x, Node)):
            return ()
        what = re.split(r"[,:`(]", said_of(node))[0].strip().rstrip(".")
        return (f"{what}.",) if what else ()

    # -- backward -----------------------------------------------------------------------------------------------------

    def _in_order(self) -> list[str]:
        """The gradients, each after those that it follows from."""
        place = {call: i for i, call in enumerate(toposort(self.backward.values()))}
        return sorted(self.backward, key=lambda identifier: place[self.backward[identifier]])

    def _final(self, node: Node, identifier: str, call: Call) -> Call:
        """The program's formula; or that of the entries, where algebra found a shorter one.

        The program's stands if it is the result of fusion already, and mentions no other gradient.
        """
        found = self.entries.gradient(node)
        others = {c for n, c in self.step.backward if n != identifier}
        follows = self.names.get(call) != identifier or any(c in others for c in toposort([call]) if c is not call)
        if found is None or found.whole is None or not follows or (found.above and found.short == found.whole):
            return call
        return as_call(found.short, self._arrays(), call.shape, self.step.trace.m) or call

    def _arrays(self) -> dict[str, tuple[tuple[int, ...], Any]]:
        calls = {call.name: call for call in (*self.step.data, *self.step.parameters)} | self.calls
        return {name: (call.shape, call.dtype) for name, call in calls.items()}

    def _steps(self, node: Node, identifier: str, call: Call) -> tuple[tuple[Formula, ...], Prose]:
        """The equal forms of a gradient, and why they hold."""
        final, users = self._formula(identifier, call), self.users[node]
        found = self.entries.gradient(node)
        if found is not None and found.local not in (None, 1) and found.above[0].loss is None:
            (above,) = found.above
            slope, gradient = self._slope(above, node), self._named(f"d{above.identifier}")
            rights = [Formula(rf"{gradient.latex} \odot {slope.latex}", f"{gradient.code} * ({slope.code})")]
            local = as_call(found.local, self._arrays(), call.shape, self.step.trace.m)
            if local is not None:
                product = _in_a_row(program_input(f"d{above.identifier}", call.shape, call.dtype), local)
                names = {self.step.trace.dimension: self.notation.count_in_code}
                rights.append(self._written(product, names))
            rights = [x for x in rights if x != final]
            a = one_example.ratio(*(one_example.letter(x.identifier, self.notation) for x in (above, node)))
            value = one_example.scalar(found.local, self.notation)
            because = Formula(f"{a.latex} = {value.latex}", f"{a.code} = {value.code}")
            return (*rights, final), ("Entry by entry, with the local derivative ", because, ".")
        if len(users) > 1:
            return (final,), (
                self._named(node.identifier),
                f" is used {len(users)} times, and the contributions add up.",
            )
        return (final,), self._identity(node, users[0], identifier, call)

    def _identity(self, node: Node, user: Node, identifier: str, call: Call) -> Prose:
        """Why a gradient is a sum, a matrix product, or the derivative of the cost."""
        repeated = self._repeated(node, user, identifier)
        if repeated:
            return repeated
        if (indices := self._indices(identifier, call)) is not None:
            below = self._named(self._below(user))
            return (
                below,
                " is linear in ",
                self._named(node.identifier),
                ", and the chain rule adds up: ",
                indices,
                ".",
            )
        if user.loss is not None:
            is_mask = any(c.function is np.equal for c in toposort([call]))
            return ("The derivative of the cost" + (", in which True counts as 1" if is_mask else "") + ".",)
        why = "" if user in self.inlined else explanation(user)
        return (why or "The chain rule.",)

    def _below(self, user: Node) -> str:
        """The array with a name that a node leads to."""
        while user in self.inlined:
            user = self.users[user][0]
        return user.identifier

    def _repeated(self, node: Node, user: Node, identifier: str) -> Prose:
        """The explanation of a sum over the axes along which broadcasting repeated an array."""
        recorded = self.step.recorded[identifier]
        while recorded.function in (np.reshape, np.squeeze):
            recorded = recorded.args[0]
        if recorded.function is not np.sum or node.shape == user.shape or user.op in ("sum", "mean"):
            return ()
        larger = self._shape(self.step.recorded[user.identifier]) or ()
        column = (
            len(node.shape) == 2
            and node.shape[1] == 1
            and larger == (str(node.shape[0]), self.notation.count_in_shapes)
        )
        user_is = (", ", self._named(user.identifier), f" is {_tuple(larger)}") if user not in self.inlined else ()
        times = f"each number for all {self.notation.count_in_shapes} examples" if column else "its numbers many times"
        own = self._shape(self.arrays[node.identifier]) or ()
        return (
            "Broadcasting: ", self._named(node.identifier), f" is {_tuple(own)}", *user_is,
            f", which uses {times}. Every use moves the cost, so the uses add up.",
        )  # fmt: skip

    def _indices(self, identifier: str, call: Call) -> Formula | None:
        """A matrix product entry by entry, as a sum over the index that the two factors share."""
        if call.function is not np.matmul or any(len(x.shape) != 2 for x in call.args):
            return None
        shared = "i" if call.args[0].shape[1] == self.step.trace.m else "k"
        row, column = [x for x in "jkl" if x != shared][:2] if call.shape[1] != self.step.trace.m else ("j", "i")
        factors = []
        for x, indices in zip(call.args, (row + shared, shared + column), strict=True):
            if is_transpose(x):
                x, indices = x.args[0], indices[::-1]
            if not isinstance(x, Call) or x not in self.names:  # a constant matrix has no name
                return None
            factors.append((self.names[x], indices))
        left = self._indexed(identifier, row + column)
        written = " ".join(self._indexed(*x) for x in factors)
        code = " * ".join(f"{n}[{i[0]}, {i[1]}]" for n, i in factors)
        return Formula(rf"{left} = \sum_{{{shared}}} {written}", f"{identifier}[{row}, {column}] = sum_{shared} {code}")

    # -- pieces -------------------------------------------------------------------------------------------------------

    def _formula(self, identifier: str, call: Call) -> Formula:
        other = self.names.get(call)
        if other is not None and other != identifier:
            return self._named(other)
        return self._written(call, self.names)

    def _written(self, call: Call, names: dict[Call, str]) -> Formula:
        return Formula(latex(call, names, self.notation, self.step.trace.m), expression(call, names))

    def _named(self, identifier: str) -> Formula:
        """The name of an array."""
        return Formula(self.notation(identifier), identifier)

    def _slope(self, above: Node, below: Node) -> Formula:
        a, b = self._named(above.identifier), self._named(below.identifier)
        return Formula(rf"\frac{{\partial {a.latex}}}{{\partial {b.latex}}}", f"∂{a.code}/∂{b.code}")

    def _indexed(self, identifier: str, indices: str) -> str:
        return marked(self.notation(identifier), f"_{{{indices}}}")

    def _shape(self, call: Call) -> tuple[str, ...] | None:
        return tuple(self.notation.count_in_shapes if n == self.step.trace.m else str(n) for n in call.shape) or None


def _not_taken_apart(why: str) -> Part:
    return Part("One example", (f"The loss is not taken apart: {why}",), ())


def _in_a_row(gradient: Call, local: Any) -> Call:
    """The product of a gradient and a local derivative, with its factors in a row."""
    if isinstance(local, Call) and local.function is np.multiply:
        return _in_a_row(_in_a_row(gradient, local.args[0]), local.args[1])
    return call_of(np.multiply, gradient, local)


def _tuple(shape: tuple[str, ...]) -> str:
    return f"({', '.join(shape)}{',' if len(shape) == 1 else ''})"


def _listed(formulas: list[Formula]) -> Prose:
    pieces: list[Any] = []
    for i, x in enumerate(formulas):
        pieces += [] if not i else [" and " if i == len(formulas) - 1 else ", "]
        pieces.append(x)
    return tuple(pieces)
