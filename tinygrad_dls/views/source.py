"""The NumPy code behind a cost: what one would have to type by hand, read off a recorded step."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tinygrad_dls.arrays import shown
from tinygrad_dls.optim import Optimizer
from tinygrad_dls.program import Program, program
from tinygrad_dls.recording import Call, RecordingError, reachable, scattered
from tinygrad_dls.rewriting import PATTERNS, clipped_sigmoid, sigmoid
from tinygrad_dls.views.text import expression

__all__ = ["NumpySource", "numpy_source"]

WIDTH = 88  # characters in a line


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
        The cost ``J``, whose graph is read; or the function that computes it of arrays; or a model, with `loss`. Only
        what is passed as a function or a model is run again, and searched for what the code would freeze.
    *inputs : array
        Examples of the arguments of a function; of a model, the examples X and the labels Y.
    loss : function, optional
        Of the model's output and the labels, such as `tinygrad_dls.binary_cross_entropy_with_logits`.
    optimizer : Optimizer, optional
        Adds its update.
    name : str, default "step"
        Of the function.

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
        random draw, and an array that is not an argument are named.

    Examples
    --------
    >>> import tinygrad_dls as tg
    >>> X, Y = tg.datasets.planar_flower()
    >>> model = tg.nn.LogisticRegression(2)
    >>> source = tg.numpy_source(model, X, Y, loss=tg.binary_cross_entropy_with_logits)
    >>> print(source[source.index("    # backward"):])
        # backward
        dZ = (A - Y) / m                    # (1, m)
        dW = dZ @ X.T                       # (1, 2)
        db = dZ.sum(axis=1, keepdims=True)  # (1, 1)
        return J, dW, db
    <BLANKLINE>
    """
    if not isinstance(name, str) or not name.isidentifier():
        raise TypeError(f"name must be the name of a function, such as 'step', got {shown(name)}.")
    first, again = (_Writer(p, name).source() for p in program(cost, *inputs, loss=loss, optimizer=optimizer))
    if first != again:
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


class _Writer:
    """The text of a program, line by line."""

    def __init__(self, step: Program, name: str) -> None:
        self.step, self.name = step, name
        self.names: dict[Call, str] = {}
        self.taken: set[str] = {"np", name, *(f.__name__ for f in PATTERNS)}
        self.lines: list[tuple[str, str]] = []  # a line and its comment

    def source(self) -> str:
        step = self.step
        outputs = step.outputs()
        needed = set(reachable([call for _, call in outputs]))
        arguments = [self.argument(call) for call in (*step.data, *step.parameters, *step.state) if call in needed]
        numbers = [call for call in (step.m, step.rate) if call is not None and call in needed]
        for call in numbers:
            self.names[call] = call.name
            self.taken.add(call.name)
        uses = _uses(needed)
        self.repeated = {
            call
            for call in needed
            if uses.get(call, 0) > 1 and call.function not in (None, np.transpose, np.asarray) and call.dtype is not int
        }
        self.section("forward", step.forward, needed)
        self.section("backward", step.backward, needed)
        self.update(needed)
        body = self.text_of_lines()
        returned = ", ".join(self.returned(name, call) for name, call in outputs)
        parameters = arguments + ["*"] * bool(numbers) + [call.name for call in numbers]
        helpers = [_source_of(f) for f in self.helpers(needed)]
        signature = _signature(self.name, parameters)
        code = "\n".join([signature, *body, _returning(returned)])
        return "\n\n\n".join(["import numpy as np", *helpers, code]) + "\n"

    def argument(self, call: Call) -> str:
        self.names[call] = call.name
        self.taken.add(call.name)
        return call.name

    # -- lines --------------------------------------------------------------------------------------------------------

    def section(self, title: str, named: list[tuple[str, Call]], needed: set[Call]) -> None:
        wanted = [(name, call) for name, call in named if call in needed and call.function is not None]
        if wanted:
            self.lines.append((f"# {title}", ""))
        for name, call in wanted:
            if call not in self.names:
                self.assign(name, call)
            elif self.names[call] != name and (name, call) in self.step.outputs():
                self.lines.append((f"{name} = {self.names[call]}", self.shape(call)))
                self.taken.add(name)

    def update(self, needed: set[Call]) -> None:
        """The update, the optimizer's memory before the parameter; old names for new arrays."""
        updates = [(name, call) for name, call in self.step.update if call in needed]
        states = {call.name: call for call in self.step.state}
        if updates:
            self.lines.append(("# update", ""))
        for name, call in sorted(updates, key=lambda update: (_of(update[0], self.step), update[0] not in states)):
            self.assign(name, call, again=True)

    def assign(self, name: str, call: Call, again: bool = False) -> None:
        """A line for a call, after those for what it needs."""
        for inner in self.before(call):
            self.assign(self.free("t"), inner)
        if not again:
            name = name if name not in self.taken else self.free(f"{name}_")
        if call.function is scattered:
            dz, index, shape = (expression(x, self.names) for x in call.args)
            self.lines.append((f"{name} = np.zeros({shape}, {expression(call.dtype, {})})", self.shape(call)))
            self.lines.append((f"np.add.at({name}, {index}, {dz})", ""))
        else:
            text = expression(call, self.names)
            self.lines.append((f"{name} = {text}", self.shape(call)))
        self.names[call] = name
        self.taken.add(name)

    def before(self, call: Call) -> Iterator[Call]:
        """What needs a line of its own before the call: what is used again, and parts of what would be too long."""
        for inner in reachable([call])[:-1]:
            if inner in self.names or inner.function is None:
                continue
            if inner in self.repeated or inner.function is scattered:
                yield inner
        while len(expression(call, self.names)) > WIDTH - 20:
            parts = [c for c in reachable([call])[:-1] if c not in self.names and c.function is not None and c.args]
            texts = {c: expression(c, self.names) for c in parts if c.function not in (np.transpose, np.asarray)}
            short = {c: text for c, text in texts.items() if len(text) < WIDTH - 30 and len(text) > 12}
            if not short:
                return
            yield max(short, key=lambda c: len(short[c]))

    def free(self, stem: str) -> str:
        return next(name for i in range(1, 10**6) if (name := f"{stem}{i}") not in self.taken)

    def shape(self, call: Call) -> str:
        sizes = [expression(getattr(n, "call", n), {}) for n in map(self.step.recorder.length, call.shape)]
        return f"({', '.join(sizes)}{',' * (len(sizes) == 1)})" if sizes else ""

    # -- the function around them -------------------------------------------------------------------------------------

    def text_of_lines(self) -> list[str]:
        """The lines, their comments in a column."""
        width = max([len(line) for line, comment in self.lines if comment and len(line) < WIDTH - 24], default=0)
        body: list[str] = []
        for line, comment in self.lines:
            if line.startswith("#") and body:
                body.append("")
            body.append(f"    {line:{width}}  # {comment}" if comment else f"    {line}")
        return body

    def returned(self, name: str, call: Call) -> str:
        return name if name in self.taken else self.names.get(call, name)

    def helpers(self, needed: set[Call]) -> list[Callable[..., Any]]:
        used = [f for f in PATTERNS if any(call.function is f for call in needed)]
        return [f for f in used if not (f is sigmoid and clipped_sigmoid in used)]


def _of(name: str, step: Program) -> int:
    """The number of the parameter that an update is of."""
    return next(i for i, p in enumerate(step.parameters) if name == p.name or name[1:] == f"d{p.name}")


def _uses(calls: set[Call]) -> dict[Call, int]:
    uses: dict[Call, int] = {}
    for call in calls:
        for x in call.calls():
            uses[x] = uses.get(x, 0) + 1
    return uses


def _signature(name: str, parameters: list[str]) -> str:
    """The first line of a function, broken where it is too long."""
    line = f"def {name}({', '.join(parameters)}):"
    if len(line) <= WIDTH:
        return line
    inside = f"    {', '.join(parameters)}"
    if len(inside) <= WIDTH:
        return f"def {name}(\n{inside}\n):"
    return f"def {name}(\n" + "".join(f"    {p},\n" for p in parameters) + "):"


def _returning(outputs: str) -> str:
    line = f"    return {outputs}"
    if len(line) <= WIDTH:
        return line
    inside = f"        {outputs}"
    if len(inside) <= WIDTH:
        return f"    return (\n{inside}\n    )"
    return "    return (\n" + "".join(f"        {name},\n" for name in outputs.split(", ")) + "    )"


def _source_of(function: Callable[..., Any]) -> str:
    """The text of a function that programs may use, without the annotations."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    definition = tree.body[0]
    assert isinstance(definition, ast.FunctionDef)
    definition.returns = None
    definition.args.args[0].annotation = None
    definition.name = "sigmoid" if function is clipped_sigmoid else definition.name
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
