"""A program's arrays entry by entry: one number of each as a SymPy expression.

Where an array is computed entry by entry, as ``dA * A * (1 - A)`` is and ``W.T @ dZ`` is not, one formula says it all.
It is read off what the rules did when they were recorded, and algebra takes it from there: multiplied, simplified, and
turned back into NumPy calls.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy

from tinygrad_dls.derivations.notation import Notation
from tinygrad_dls.engine.errors import RecordingError
from tinygrad_dls.graph.node import Node
from tinygrad_dls.ir.call import Call, astype
from tinygrad_dls.ir.functions import FILLED, VIEW, row_of
from tinygrad_dls.ir.program import Program
from tinygrad_dls.ir.rules import canonicalize, open_interval
from tinygrad_dls.ir.tracer import Trace, Tracer
from tinygrad_dls.symbolic.algebra import Expression, as_number, canonical, is_zero
from tinygrad_dls.symbolic.arrays import SymbolicArray

__all__ = ["Entries", "Gradient", "M", "as_call", "is_one", "number", "shorter", "symbol", "top_of"]

LONGEST = 40  # operations of the longest formula that is simplified: SymPy takes its time
MOST = (
    300  # parts of the longest formula at all: each use of an array repeats its formula, so they may double at each op
)
DEEPEST = 50  # nodes without a name that are written within each other
M = sympy.Symbol("m", positive=True)  # the number of examples


def _weights_of(step: Program, top: Node) -> Call | None:
    """The weights of the examples, where they are an input that a loss takes."""
    if top.loss is None or not top.loss.weighted or not isinstance(w := top.inputs[2], Node):
        return None
    return next((call for call in step.data if call.name == w.identifier), None)


def top_of(root: Node) -> Node:
    """The summand of a cost that the examples enter: without a penalty, which is of the parameters alone."""
    while root.op == "add":
        summands = [x for x in root.inputs if isinstance(x, Node) and _has_examples(x)]
        if len(summands) != 1 or not summands[0].op or summands[0].shape != ():
            break
        (root,) = summands
    return root


def _has_examples(node: Node) -> bool:
    """Whether a node is computed from data, which are matrices, and not from parameters and numbers alone."""
    waiting, seen = [node], set()
    while waiting:
        x = waiting.pop()
        if x.kind == "input" and len(x.shape) == 2:
            return True
        if x not in seen:
            seen.add(x)
            waiting += [y for y in x.inputs if isinstance(y, Node)]
    return False


def is_one(call: Call) -> bool:
    """Whether a gradient is that of a summand of the cost: the 1 that the backward pass starts from."""
    return call.function is np.asarray and call.args == (1.0,)


class NoEntriesError(Exception):
    """An array is not computed entry by entry."""


def symbol(identifier: str) -> Expression:
    """An entry of the array of this name."""
    return sympy.Symbol(identifier, real=True)


# -- from calls to formulas -------------------------------------------------------------------------------------------


def _entry(call: Any, known: Callable[[Call], Expression | None]) -> Expression:
    """The formula of an entry of a call's result; `known` has those that are not to be taken apart."""
    if not isinstance(call, Call):
        return _constant(call)
    found = known(call)
    if found is not None:
        return found
    function, args, row = call.function, call.args, row_of(call.function)
    if row.kind is FILLED and row.fill is not None:
        return _constant(args[row.fill])
    if function is astype or _repeats(call):
        return as_number(_entry(args[0], known))
    if function is np.clip and args[1:] == open_interval(call.dtype):
        return _entry(args[0], known)  # less than a rounding away
    if function is None or not row.is_entrywise or call.options:
        raise NoEntriesError
    try:
        result = function(*(x if x is None else SymbolicArray(_entry(x, known)) for x in args))
    except TypeError:  # no formula for the function
        raise NoEntriesError from None
    expression: Expression = result.item()
    return expression


def _constant(x: Any) -> Expression:
    if isinstance(x, (int, float, np.number)) and np.isfinite(x):
        return SymbolicArray(x).item()
    raise NoEntriesError


def _repeats(call: Call) -> bool:
    """Whether a call only repeats entries, as broadcasting does by itself."""
    row = row_of(call.function)
    if not (row.kind is VIEW and row.spreads and isinstance(call.args[0], Call)):
        return False
    x = call.args[0]
    alone = all(n == 1 for n in x.shape)
    return alone or (row.fill is not None and len(x.shape) == len(call.shape))


# -- gradients --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Gradient:
    """The gradient of the cost with respect to one entry of an array.

    Attributes
    ----------
    above : tuple of Node
        The arrays with names from whose gradients it follows.
    product : expression
        In terms of those, as symbols such as ``dA2``.
    local : expression or None
        The local derivative, ``product`` without the gradient, if it follows from a single one.
    whole, short : expression or None
        All the way from the cost, multiplied and then, if it is a product, simplified; None where matrices are
        multiplied on the way, and of what would fill pages.
    """

    above: tuple[Node, ...]
    product: Expression
    local: Expression | None
    whole: Expression | None
    short: Expression | None


class Entries:
    """The formulas of a program's arrays and gradients.

    Parameters
    ----------
    step : Program
    kept : function
        Whether a node's array has a name, or is written within the formula that uses it.
    notation : Notation
        How the arrays are written.
    """

    def __init__(self, step: Program, kept: Callable[[Node], bool], notation: Notation) -> None:
        nodes, self.notation = step.nodes, notation
        self.step, self.nodes, self.root, self.kept = step, nodes, nodes[-1], kept
        self.top = top_of(self.root)
        self.weights = _weights_of(step, self.top)
        self.count = M if self.weights is None else sympy.Symbol(f"sum({self.weights.name})", positive=True)
        # what the gradient of the cost is multiplied with, to have that of an example's loss
        self.per_example = M if self.weights is None else self.count / symbol(self.weights.name)
        self.values: dict[Call, Node] = {}
        self.gradients: dict[Call, list[Node]] = {}  # by the gradient: those who share it, as the summands of a sum do
        for node in nodes:
            if node.op:
                self.values.setdefault(step.recorded[node.identifier], node)
        for node in reversed(nodes):
            if (call := step.recorded.get(f"d{node.identifier}")) is not None:
                self.gradients.setdefault(call, []).append(node)
        self.users: dict[Node, list[Node]] = {node: [] for node in nodes}
        for node in nodes:
            for x in node.inputs:
                if isinstance(x, Node):
                    self.users[x].append(node)
        self.gradient = functools.cache(self._gradient)

    def value(self, node: Node) -> Expression | None:
        """An array's entry in terms of the arrays that it is computed from; None if that is not one formula."""
        try:
            return self._expression(self.step.recorded[node.identifier], self.step.recorded[node.identifier])
        except NoEntriesError:
            return None

    def loss(self) -> Expression | None:
        """The loss L of one example, if the cost is the mean of such over the examples, or their weighted mean.

        It is that of one entry if there are several rows, whose losses add up; `rows` says how many.
        """
        total = sympy.Dummy()
        found: list[Expression] = []
        self.rows = 1

        def summed(call: Call) -> Expression | None:
            if call.function not in (np.sum, np.mean) or not isinstance(call.args[0], Call) or np.prod(call.shape) != 1:
                return None
            if call.function is np.mean and call.args[0].shape != (1, self.step.trace.m):
                raise NoEntriesError
            found.append(self._expression(call.args[0]))
            self.rows = call.args[0].shape[0] if len(call.args[0].shape) == 2 else 1
            return total / M if call.function is np.mean else total

        try:
            call = self.step.recorded[self.top.identifier]
            cost = self._expression(call, call, summed)
        except NoEntriesError:
            return None
        factor = sympy.cancel(cost * self.count / total) if len(found) == 1 else total
        if factor.has(total, M, self.count):
            return None
        loss: Expression = factor * found[0]
        if self.weights is None:
            return loss
        loss = loss / symbol(self.weights.name)
        return None if self.is_of_mean(loss) else loss

    def is_of_mean(self, x: Expression) -> bool:
        """Whether a formula speaks of the number of examples, or of their weights."""
        return bool(x.has(M, self.count) or (self.weights is not None and x.has(symbol(self.weights.name))))

    def _gradient(self, node: Node) -> Gradient | None:
        """How the gradient of an entry follows from others; None if it is not computed entry by entry."""
        call = self.step.recorded.get(f"d{node.identifier}")
        if call is None:
            return None
        try:
            product = self._expression(call, call if self.gradients[call][0] is node else None, node=node)
        except NoEntriesError:
            return None
        by_symbol = {symbol(f"d{u.identifier}"): u for shared in self.gradients.values() for u in reversed(shared)}
        letters = [s for s in by_symbol if s in product.free_symbols]
        above = tuple(by_symbol[s] for s in letters)
        local = product.xreplace({letters[0]: sympy.S.One}) if len(letters) == 1 else None  # products are linear
        found = [self.gradient(u) for u in above]
        if any(g is None or g.whole is None for g in found):
            return Gradient(above, product, local, None, None)
        whole = product.xreplace({s: g.short for s, g in zip(letters, found, strict=True) if g is not None})
        if next(itertools.islice(sympy.preorder_traversal(whole), MOST, None), None) is not None:
            return Gradient(above, product, local, None, None)
        return Gradient(above, product, local, whole, shorter(whole) if above else whole)

    def _gradient_above(self, call: Call, node: Node | None) -> Node | None:
        """The array whose gradient a call is; of several, one that is computed from the node."""
        shared = self.gradients.get(call, [])
        if len(shared) < 2 or node is None:
            return next(iter(shared), None)
        return next((x for x in shared if x in self._above(node)), None)

    @functools.cache  # noqa: B019  # as long as the entries themselves, which are of one derivation
    def _above(self, node: Node) -> set[Node]:
        """What is computed from an array, directly or not."""
        found: set[Node] = set()
        waiting = [node]
        while waiting:
            new = [x for x in self.users[waiting.pop()] if x not in found]
            found.update(new)
            waiting += new
        return found

    def _expression(
        self,
        call: Call,
        top: Call | None = None,
        special: Callable[[Call], Expression | None] = lambda _: None,
        node: Node | None = None,
    ) -> Expression:
        """The formula of a call in terms of the arrays with names, although the call at the top may have one.

        Of a gradient, `node` says with respect to what: then the other gradients are of what is computed from that.
        """
        depth = 0

        def known(x: Call) -> Expression | None:
            nonlocal depth
            if x is self.step.trace.dimension:
                return M
            if x.function is None:
                return symbol(x.name)
            if self.weights is not None and x.function is np.sum and x.args[0] is self.weights and x.shape == ():
                return self.count
            value, gradient = self.values.get(x), self._gradient_above(x, node)
            if value is not None and x is not top and self.kept(value):
                return symbol(value.identifier)
            hidden = gradient is self.root or is_one(x)
            if gradient is not None and x is not top and not hidden and self.kept(gradient):
                return symbol(f"d{gradient.identifier}")
            depth += value is not None or gradient is not None
            if depth > DEEPEST:
                raise NoEntriesError
            return special(x)

        return _entry(call, known)


# -- algebra, and back to calls ---------------------------------------------------------------------------------------


def shorter(x: Expression) -> Expression:
    """The formula simplified, where algebra finds a shorter one and proves it equal; else as it is."""
    if sympy.count_ops(x) > LONGEST or x.has(sympy.Piecewise, sympy.Max, sympy.Min, sympy.Abs):
        return x
    lowest = canonical(x)
    best = min((x, lowest, sympy.factor(lowest)), key=sympy.count_ops)
    return best if sympy.count_ops(best) < sympy.count_ops(x) and is_zero(best - x) else x


def as_call(
    x: Expression, arrays: Mapping[str, tuple[tuple[int, ...], Any]], shape: tuple[int, ...], m: int | None
) -> Call | None:
    """The NumPy calls that compute an array by its entries' formula; None if that gives another shape, or cannot be.

    Parameters
    ----------
    x : expression
    arrays : mapping of str to (shape, dtype)
        What the symbols of these names stand for; ``m`` needs none.
    shape : tuple of int
        What the result has to have.
    m : int, optional
        The number of examples.
    """
    if x.has(sympy.Piecewise, sympy.Max, sympy.Min):
        return None
    trace = Trace(m)
    count = sympy.Dummy("m", positive=True) if "m" in {str(s) for s in x.free_symbols - {M}} else M
    x = x.xreplace({M: count})  # as an array may be called m
    letters = sorted(x.free_symbols, key=str)
    try:
        operands = [
            trace.length(m) if m and s is count else _as_real(trace.input(str(s), np.ones(*arrays[str(s)])))
            for s in letters
        ]
        with np.errstate(all="ignore"):
            result = sympy.lambdify(letters, x, modules="numpy")(*operands)
    except (RecordingError, TypeError, ValueError, KeyError, NameError):
        return None
    if not isinstance(result, Tracer) or result.call.shape != shape:
        return None
    return canonicalize([result.call])[0]


def _as_real(x: Tracer) -> Any:
    """An array of which algebra may take the negative, as of real numbers: no unsigned integers, nor small ones."""
    return x.astype(float) if x.dtype.kind in "ub" or (x.dtype.kind == "i" and x.dtype.itemsize < 4) else x


def number(x: Expression, numbers: Mapping[Any, Any]) -> float:
    """The value of a formula for the first entry of each array, as NumPy has it: infinite or NaN where it has none."""
    letters = sorted(x.free_symbols, key=str)
    entries = [float(np.asarray(numbers[s if s is M else str(s)]).flat[0]) for s in letters]
    value = sympy.N(x.xreplace({s: sympy.Float(v, 17) for s, v in zip(letters, entries, strict=True)}))
    if value.is_Float or value.is_Integer:
        return float(value)
    dummies = [sympy.Dummy() for _ in letters]
    compute = sympy.lambdify(dummies, x.xreplace(dict(zip(letters, dummies, strict=True))), modules="numpy")
    try:
        with np.errstate(all="ignore"):
            return float(compute(*map(np.float64, entries)))
    except (TypeError, ValueError, NameError, ZeroDivisionError):  # a function that NumPy has not
        return float("nan")
