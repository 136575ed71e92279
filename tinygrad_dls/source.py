"""The NumPy code behind a cost: what one would have to type by hand, read off a recorded step."""

from __future__ import annotations

import ast
import inspect
import io
import keyword
import re
import textwrap
import tokenize
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tinygrad_dls.engine.errors import RecordingError, shown
from tinygrad_dls.graph.names import Names
from tinygrad_dls.graph.subject import subject
from tinygrad_dls.ir.agreement import refuse_arrays_that_differ
from tinygrad_dls.ir.call import Call, called, scattered, spelling, toposort
from tinygrad_dls.ir.functions import PATTERNS, clipped_sigmoid, row_of, shared_softmax, sigmoid, softmax
from tinygrad_dls.ir.printing import called_otherwise, expression, is_written_within, remark
from tinygrad_dls.ir.program import Program, program
from tinygrad_dls.optimizer import Optimizer

__all__ = ["NumpySource", "numpy_source"]

WIDTH = 88  # characters in a line
TAKEN = {"np", "float", "bool", *(f.__name__ for f in PATTERNS)}  # what the code uses by these names


class NumpySource(str):
    """Python source; a string that shows itself as code."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)

    def _repr_markdown_(self) -> str:
        return f"```python\n{self}```"


def numpy_source(
    cost: Any,
    *inputs: Any,
    loss: Callable[[Any, Any], Any] | None = None,
    optimizer: Optimizer | None = None,
    name: str = "step",
) -> NumpySource:
    """The straight-line NumPy function of a cost and its gradients, and with an optimizer, of a step of training.

    Its arguments are the arrays: data, parameters, what the optimizer remembers; and ``m``, the number of examples, and
    the learning rate, where they are needed. It returns the cost, and the gradients or the new parameters and state.
    It needs NumPy alone. The numbers are those of autodiff, up to the rounding of the last bits.

    Parameters
    ----------
    cost : Tensor, function or Module
        The cost ``J``, whose graph is read; or the function that computes it from arrays; or a model, with `loss`. Only
        what is passed as a function or a model is run again, and searched for what the code would freeze. In the graph
        of a ``J``, a number such as ``1/m`` has no memory of m: it stays as it was, and a comment in the code says so.
    *inputs : array
        Examples of the arguments of a function; of a model, the examples X and the labels Y.
    loss : function, optional
        A function of the model's output and the labels, such as `tinygrad_dls.binary_cross_entropy_with_logits`.
    optimizer : Optimizer, optional
        Adds its update.
    name : str, default "step"
        The name of the function.

    Returns
    -------
    NumpySource
        A string: print it, save it, execute it.

    Raises
    ------
    TypeError, ValueError
        If the cost is no single number with a graph, or the arguments do not fit together.
    RecordingError
        A TypeError: if the code would hold for these data only. A Python ``if`` on a value, a number made of one, a
        random draw, and an array that is not an argument are named. So is a function that NumPy does not have.

    Examples
    --------
    >>> import tinygrad_dls as tg
    >>> X, Y = tg.datasets.planar_flower()
    >>> model = tg.nn.LogisticRegression(2)
    >>> source = tg.numpy_source(model, X, Y, loss=tg.binary_cross_entropy_with_logits)
    >>> print(source[source.index("    # backward"):])
        # backward
        dZ = (A - Y) / m  # (1, m)
        dW = dZ @ X.T  # (1, 2)
        db = dZ.sum(axis=1, keepdims=True)  # (1, 1)
        return J, dW, db
    <BLANKLINE>
    """
    if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name):
        kind = ValueError if isinstance(name, str) else TypeError
        raise kind(f"name must be the name of a function, such as 'step', got {shown(name)}.")
    if name in TAKEN:
        raise ValueError(f"name={shown(name)} is what the code calls something else; take another one, such as 'step'.")
    given = subject("numpy_source", cost, inputs, loss, optimizer)
    with np.errstate(all="ignore"):  # of the examples made up to record with another number of them, say
        steps = list(program(given))
        first, again = (_SourceBuilder(step, name).source() for step in steps)
    if first != again:
        one, other = ((step.trace, list(step.recorded.values())) for step in steps)
        refuse_arrays_that_differ(one, other)
        raise _frozen(first, again)
    return NumpySource(first)


def _frozen(first: str, again: str) -> RecordingError:
    """The error for a step that is another one with other numbers of examples, or from run to run."""
    lines, others = ([line.strip() for line in text.splitlines()] for text in (first, again))
    differing = [(a, b) for a, b in zip(lines, others, strict=False) if a != b] or [(lines[-1], others[-1])]
    a, b = differing[0]
    return RecordingError(
        f"the code would freeze something: recorded twice, a line is first\n  {a}\nthen\n  {b}\n"
        "Does the step draw random numbers, or count on a fixed number of examples? Pass what changes as an argument."
    )


class _SourceBuilder:
    """The text of a program, line by line."""

    def __init__(self, step: Program, name: str) -> None:
        self.step, self.name = step, name
        self.names: dict[Call, str] = {}
        self.given = Names({*TAKEN, name, "m", "learning_rate"})
        self.written: dict[tuple[str, Call], str] = {}  # of what has a name in the program: that in the code
        self.lines: list[tuple[str, str]] = []  # a line and its comment

    def source(self) -> str:
        step = self.step
        outputs = step.outputs()
        needed = set(toposort([call for _, call in outputs]))
        kept = [buffer.before for buffer in step.buffers]
        self.arguments = [call for call in (*step.data, *step.parameters, *step.state, *kept) if call in needed]
        arguments = list(map(self.argument, self.arguments))
        numbers = [call for call in (step.m, step.rate) if call is not None and call in needed]
        for call in numbers:
            self.names[call] = call.name
        self.nodes = {node.identifier: node for node in step.nodes}
        self.outputs = {call: name for name, call in outputs}
        self.returned = set(outputs)
        self.kept = {name for name, _ in outputs}
        self.uses = _uses(needed)
        _refuse_what_numpy_has_not(needed)
        self.repeated = {
            call
            for call in needed
            if self.uses.get(call, 0) > 1
            and call.function not in (None, np.transpose, np.asarray)
            and call.dtype is not int
        }
        self.section("forward", step.forward, needed)
        self.section("backward", step.backward, needed)
        self.update(needed)
        if step.moved():
            self.lines.append(("# running statistics", ""))
        for name, call in step.moved():
            self.assign(name, call, again=True)
        body = [*self.notes(), *self.text_of_lines()]
        returned = [self.written.get((name, call)) or self.names[call] for name, call in outputs]
        parameters = arguments + ["*"] * bool(numbers) + [call.name for call in numbers]
        helpers = [_source_of(f) for f in self.helpers(needed)]
        signature = _folded(f"def {self.name}({', '.join(parameters)}):")
        code = "\n".join([signature, *body, _returning(returned)])
        imports = ["import numpy as np"] if any("np." in text for text in (*helpers, code)) else []
        return "\n\n\n".join([*imports, *helpers, code]) + "\n"

    def argument(self, call: Call) -> str:
        self.names[call] = name = self.given.free(call.name)
        return name

    # -- lines --------------------------------------------------------------------------------------------------------

    def section(self, title: str, named: list[tuple[str, Call]], needed: set[Call]) -> None:
        wanted = [(name, call) for name, call in named if call in needed and call.function is not None]
        if wanted:
            self.lines.append((f"# {title}", ""))
        first = {call: name for name, call in reversed(wanted)}
        first |= {call: name for call, name in self.outputs.items() if call in first and self.is_nameless(first[call])}
        for name, call in wanted:
            if call not in self.names:
                for inner in toposort(
                    [call], known=self.names.__contains__
                ):  # a gradient that several paths lead to waits for all of them
                    if inner in first and inner not in self.names and not self.is_within(first[inner], inner):
                        self.assign(first[inner], inner)
            elif self.names[call] != name and (name, call) in self.returned:
                self.written[name, call] = own = self.given.free(name)
                self.lines.append((f"{own} = {self.names[call]}", self.shape(call)))

    def is_nameless(self, name: str) -> bool:
        """Whether a name is a number only: that of a value that has none, or of its gradient."""
        return re.fullmatch(r"d?U\d*", name) is not None and name not in self.kept

    def is_within(self, name: str, call: Call) -> bool:
        """Whether a call is written within the formulas that use it."""
        node = self.nodes.get(name) or self.nodes.get(name.removeprefix("d"))
        users = 1 if call.function in (np.transpose, np.asarray) else self.uses.get(call, 0)
        return call not in self.outputs and is_written_within(node, users, call, self.names)

    def update(self, needed: set[Call]) -> None:
        """The update, the optimizer's memory before the parameter; old names for new arrays."""
        updates = [(name, call) for name, call in self.step.update if call in needed]
        states = {call.name for call in self.step.state}
        old = {call.name: self.names[call] for call in (*self.step.parameters, *self.step.state) if call in self.names}
        if updates:
            self.lines.append(("# update", ""))
        numbers = {name: i for i, p in enumerate(self.step.parameters) for name in (p.name, f"d{p.name}")}
        for name, call in sorted(
            updates, key=lambda x: (numbers[x[0][1:] if x[0] in states else x[0]], x[0] not in states)
        ):
            self.assign(old.get(name, name), call, again=True)

    def assign(self, name: str, call: Call, again: bool = False) -> None:
        """A line for a call, after those for what it needs."""
        for inner in self.before(name, call):
            self.assign("t", inner)
        if not again:
            name = self.given.numbered(name) if name == "t" else self.given.free(name)
        if call.function is scattered:
            dz, index, shape = (self.text(x, top=False) for x in call.args)
            self.lines.append((f"{name} = np.zeros({shape}, {self.text(call.dtype)})", self.shape(call)))
            self.lines.append((f"np.add.at({name}, {index}, {dz})", ""))
        else:
            self.lines.append((f"{name} = {self.text(call)}", self.shape(call)))
        self.names[call] = name

    def text(self, x: Any, top: bool = True) -> str:
        return expression(x, self.names, top=top)

    def before(self, name: str, call: Call) -> Iterator[Call]:
        """What needs a line of its own before the call: what is used again, and parts of what would be too long."""
        for inner in self.within(call):
            if inner not in self.names and (inner in self.repeated or inner.function is scattered):
                yield inner
        room = min(WIDTH - 20, WIDTH - len(f"    {name}_1 = {_comment(self.shape(call))}"))
        known: dict[Call, str] = {}
        while True:
            self.texts([*self.within(call), call], known)
            if len(known[call]) <= room:
                return
            parts = (c for c in self.within(call) if c.args and c.function not in (np.transpose, np.asarray))
            short = {c: known[c] for c in parts if 12 < len(known[c]) < WIDTH - 30}
            if not short:
                return
            inner = max(short, key=lambda c: len(short[c]))
            yield inner
            known[inner] = ""  # those that hold it are shorter now

    def texts(self, calls: list[Call], known: dict[Call, str]) -> None:
        """The texts of calls, each after its arguments, into `known`; of a longer one than a line, another such text.

        A sum of a thousand products would be written a thousand times otherwise, for each part of it that gets a line.
        """
        changed = {call for call in known if call in self.names}
        for call in calls:
            inner = [x for x in call.calls() if x in known]
            if call not in known or not changed.isdisjoint(inner):
                changed.add(call)
                too_long = max((len(known[x]) for x in inner if x not in self.names), default=0) > WIDTH
                known[call] = "?" * (WIDTH + 1) if too_long else self.text(call)
        for call in changed & self.names.keys():
            del known[call]

    def within(self, call: Call) -> list[Call]:
        """The calls that are written out in a line for the call, each after its arguments; not what has a line."""
        return toposort(call.calls(), known=lambda x: x in self.names or x.function is None)

    def shape(self, call: Call) -> str:
        sizes = [expression(getattr(n, "call", n), {}) for n in map(self.step.trace.length, call.shape)]
        return f"({', '.join(sizes)}{',' if len(sizes) == 1 else ''})" if sizes else ""

    # -- the function around them -------------------------------------------------------------------------------------

    def notes(self) -> list[str]:
        """What to say of numbers that may be the number of examples, and of arguments that are called otherwise."""
        names = {node.identifier: node.name for node in self.step.nodes if not node.op}
        arguments = [(self.names[x], names.get(x.name, x.name)) for x in self.arguments]
        said = f"{remark(self.step)} {called_otherwise(arguments)}".strip()
        lines = textwrap.wrap(said, WIDTH - 6, break_long_words=False, break_on_hyphens=False)
        return [*(f"    # {line}" for line in lines), ""] if lines else []

    def text_of_lines(self) -> list[str]:
        body: list[str] = []
        for line, comment in self.lines:
            if line.startswith("#") and body:
                body.append("")
            text = f"    {line}{_comment(comment)}"
            body.append(text if len(text) <= WIDTH else _folded(f"    {line}"))
        return body

    def helpers(self, needed: set[Call]) -> list[Callable[..., Any]]:
        used = [f for f in PATTERNS if any(call.function is f for call in needed)]
        careful = {sigmoid: clipped_sigmoid, softmax: shared_softmax}
        return [f for f in used if careful.get(f) not in used]


def _refuse_what_numpy_has_not(calls: set[Call]) -> None:
    """Refuse functions that the code could not import from NumPy."""
    functions = {call.function for call in calls} | {x for call in calls for x in _functions_in(call)}
    for function in functions - {None, *PATTERNS}:
        if function is not None and not spelling(function) and row_of(function).python is None:
            raise RecordingError(
                f"the code needs NumPy alone, which does not have {called(function)}. Write it with np.* functions."
            )


def _functions_in(call: Call) -> list[Callable[..., Any]]:
    """The functions among the arguments of a call, as of `np.apply_along_axis`."""
    arguments = (*call.args, *call.options.values())
    return [x for x in arguments if callable(x) and not isinstance(x, type)]


def _uses(calls: set[Call]) -> dict[Call, int]:
    uses: dict[Call, int] = {}
    for call in calls:
        for x in call.calls():
            uses[x] = uses.get(x, 0) + 1
    return uses


def _comment(shape: str) -> str:
    return f"  # {shape}" if shape else ""


def _returning(outputs: list[str]) -> str:
    line = f"    return {', '.join(outputs)}"
    return line if len(line) <= WIDTH else _folded(f"    return ({', '.join(outputs)})")


def _folded(line: str) -> str:
    """A line that is too long, broken behind commas in brackets."""
    if len(line) <= WIDTH:
        return line
    parts, start, depth = [], 0, 0
    for token in tokenize.generate_tokens(io.StringIO(line).readline):
        if token.type == tokenize.OP:
            depth += (token.string in "([{") - (token.string in ")]}")
            if token.string == "," and depth:
                parts.append(line[start : token.end[1]])
                start = token.end[1]
    lines = [""]
    for part in [*parts, line[start:]]:
        if lines[-1] and len(lines[-1] + part) > WIDTH:
            lines.append(f"{' ' * 8}{part.lstrip()}")
        else:
            lines[-1] += part
    return "\n".join(lines)


def _source_of(function: Callable[..., Any]) -> str:
    """The text of a function that programs may use, without the annotations."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    definition = tree.body[0]
    assert isinstance(definition, ast.FunctionDef)
    definition.returns = None
    definition.args.args[0].annotation = None
    definition.name = definition.name.rpartition("_")[2]  # as the code calls it
    if function is clipped_sigmoid:  # the sigmoid within stands in its place
        plain = ast.parse(inspect.getsource(sigmoid)).body[0]
        assert isinstance(plain, ast.FunctionDef)
        assert isinstance(plain.body[-1], ast.Return)
        assert isinstance(definition.body[1], ast.Assign)
        assert plain.body[-1].value is not None
        definition.body[1].value = plain.body[-1].value
    body = [ast.unparse(line) for line in definition.body[1:]]
    doc = inspect.getdoc(function) or ""
    lines = [f'"""{doc.replace("``", "")}"""', *body]
    return f"def {definition.name}({definition.args.args[0].arg}):\n" + textwrap.indent("\n".join(lines), "    ")
