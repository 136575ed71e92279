"""Functions of single numbers, step by step: each op's own derivative, and the chain rule from the result backward.

Where nothing is an array, there are no examples and no shapes to speak of, and the chain rule is all there is.
"""

from __future__ import annotations

from collections.abc import Iterator

import sympy

from tinygrad_dls.derivations.document import Formula, Line, Part, Prose
from tinygrad_dls.derivations.entries import Entries, shorter, symbol
from tinygrad_dls.derivations.one_example import Numbers, bracketed, letter, line, ratio, scalar
from tinygrad_dls.graph.node import Node
from tinygrad_dls.symbolic.algebra import Expression, is_zero

__all__ = ["is_of_numbers", "step_by_step"]

KINKS = (sympy.Heaviside, sympy.sign, sympy.Derivative)  # of which algebra says something else at the kink than the op
MOST = 30  # ops that are gone through one by one
RULES = {
    "multiply": "The product rule: the derivative with respect to a factor is the other factor.",
    "divide": "The quotient rule.",
    "power": "The power rule.",
    "square": "The power rule.",
    "add": "The sum rule.",
    "subtract": "The sum rule.",
    "negative": "The rule of constant factors.",
}


def is_of_numbers(nodes: list[Node]) -> bool:
    """Whether all that is computed are single numbers, and not too many."""
    return len(nodes) <= MOST and all(node.shape == () and node.loss is None for node in nodes)


def step_by_step(entries: Entries, path: set[Node], wanted: list[Node], numbers: Numbers) -> Part | None:
    """The part of a derivation that goes through all ops; None if one of them has no formula."""
    notation, root = entries.notation, entries.root
    values = {node: entries.value(node) for node in entries.nodes if node.op}
    targets = [node for node in reversed(entries.nodes) if node in path and node is not root]
    found = [entries.gradient(node) for node in targets]
    if None in values.values() or any(gradient is None or gradient.short is None for gradient in found):
        return None
    gradients = {root: sympy.S.One} | {node: x.short for node, x in zip(targets, found, strict=True) if x is not None}
    formulas = {symbol(node.identifier): value for node, value in values.items()}
    lines = [line(letter(node.identifier, notation), [x], numbers, notation) for node, x in values.items()]
    for node in targets:
        users = [above for above in dict.fromkeys(entries.users[node]) if above in gradients]
        slopes = {above: _slope(entries, node, above, formulas) for above in users}
        total = sum(gradients[above] * slope for above, slope in slopes.items())
        if not is_zero(_in_full(total - gradients[node], formulas)):
            return None  # the op's rule says otherwise
        lines += _steps(entries, node, gradients, slopes, numbers)
    for node in wanted:
        lines += _in_all(entries, node, gradients[node], formulas, numbers)
    intro = "First the function, op by op; then the chain rule, from the result backward."
    return Part("Step by step", (intro,), tuple(lines))


def _slope(entries: Entries, node: Node, above: Node, formulas: dict[Expression, Expression]) -> Expression:
    """The derivative of what an op computes: in the form that its rule has, if that is told apart from other uses."""
    value, found = formulas[symbol(above.identifier)], entries.gradient(node)
    slope = sympy.diff(value, symbol(node.identifier))
    alone = found is not None and found.local is not None and found.above == (above,) and len(entries.users[node]) == 1
    ruled = found.local if alone else found.product.coeff(symbol(f"d{above.identifier}"))  # type: ignore[union-attr]
    if ruled and above is not entries.root and (slope.has(*KINKS) or is_zero(_in_full(ruled - slope, formulas))):
        return ruled
    return slope if above is entries.root else slope.xreplace({value: symbol(above.identifier)})


def _in_full(x: Expression, formulas: dict[Expression, Expression]) -> Expression:
    """A formula in terms of what the function was given alone."""
    for name, formula in reversed(formulas.items()):
        x = x.xreplace({name: formula})
    return x


def _steps(
    entries: Entries,
    node: Node,
    gradients: dict[Node, Expression],
    slopes: dict[Node, Expression],
    numbers: Numbers,
) -> Iterator[Line]:
    """The derivatives of what is computed from a number, and with the chain rule that of the result."""
    notation, root = entries.notation, entries.root
    top, small = letter(root.identifier, notation), letter(node.identifier, notation)
    laws, products = [], []
    for above, slope in slopes.items():
        if above is root and len(slopes) == 1:
            yield line(ratio(top, small), [slope], numbers, notation, _rule(root))
            return
        if above is root:
            laws.append(scalar(slope, notation))
            products.append(scalar(slope, notation))
            continue
        upper = letter(above.identifier, notation)
        first, second = ratio(top, upper), ratio(upper, small)
        yield line(second, [slope], numbers, notation, _rule(above))
        laws.append(Formula(rf"{first.latex} \, {second.latex}", f"{first.code} * {second.code}"))
        products.append(_product(gradients[above], slope, entries))
    because: Prose = ("The chain rule: their product.",)
    if len(slopes) > 1:
        because = (small, f" is used {len(slopes)} times, and the contributions add up.")
    yield line(ratio(top, small), [_sum(laws), _sum(products), gradients[node]], numbers, notation, because)


def _rule(above: Node) -> Prose:
    """The rule that gives the derivative of what an op computes."""
    return (RULES.get(above.op, f"The derivative of {above.op}."),)


def _product(x: Expression, y: Expression, entries: Entries) -> Formula:
    a, b = scalar(x, entries.notation), scalar(y, entries.notation)
    latex = rf"{bracketed(x, a.latex, True)} \cdot {bracketed(y, b.latex, True)}"
    return Formula(latex, f"{bracketed(x, a.code, False)} * {bracketed(y, b.code, False)}")


def _sum(formulas: list[Formula]) -> Formula:
    return Formula(
        *(" + ".join(x).replace("+ -", "- ") for x in zip(*((x.latex, x.code) for x in formulas), strict=True))
    )


def _in_all(
    entries: Entries, node: Node, gradient: Expression, formulas: dict[Expression, Expression], numbers: Numbers
) -> Iterator[Line]:
    """The derivative in terms of what the function was given, where the steps have it in terms of other numbers."""
    whole = _in_full(gradient, formulas)
    if whole != gradient:
        left = ratio(letter(entries.root.identifier, entries.notation), letter(node.identifier, entries.notation))
        because = ("All in all, with the function's own formula.",)
        yield line(left, [whole, shorter(whole)], numbers, entries.notation, because)
