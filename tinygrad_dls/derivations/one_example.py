"""The chain rule for one example: ``dL/da``, ``da/dz``, their product, and what algebra makes of it."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import sympy

from tinygrad_dls.derivations.document import Formula, Line, Part, Prose, in_digits
from tinygrad_dls.derivations.entries import Entries, M, number, shorter, symbol
from tinygrad_dls.derivations.latex import Notation, digits
from tinygrad_dls.engine import ops
from tinygrad_dls.engine.tensor import Tensor
from tinygrad_dls.graph.node import Node
from tinygrad_dls.nn import losses
from tinygrad_dls.symbolic.algebra import Expression
from tinygrad_dls.symbolic.arrays import SymbolicArray, same, symbols

__all__ = ["one_example", "ratio", "scalar"]

Numbers = Mapping[Any, Any]
MOST = 12  # arrays that are gone through for one example


def letter(identifier: str, notation: Notation) -> Formula:
    """What an entry is called: ``a2`` for one of A2."""
    return Formula(*notation.small(identifier))


def scalar(x: Expression, notation: Notation) -> Formula:
    """A formula of entries, with small letters."""
    small = {s: letter(str(s), notation) for s in sorted(x.free_symbols - {M}, key=str)}
    small[M] = Formula(notation.count, notation.count_in_code)
    code = _Printer().doprint(x.xreplace({s: sympy.Symbol(f.code) for s, f in small.items()}))
    x = x.replace(lambda e: e.is_Rational and e.q > 1000, lambda e: sympy.Float(e, 12))  # as the program has it
    formula = sympy.latex(x, symbol_names={s: f.latex for s, f in small.items()})
    formula = re.sub(r"\\left\(([^()\\]*?) ?\\right\)", r"(\1)", formula)  # parentheses that need not grow
    return Formula(formula, code)


class _Printer(sympy.printing.str.StrPrinter):  # type: ignore[misc]  # SymPy has no annotations
    """SymPy's text, with cases as Python writes them."""

    def _print_Piecewise(self, x: Expression) -> str:  # noqa: N802  # SymPy's name for it
        *cases, (last, _) = x.args
        return "(" + "".join(f"{self._print(e)} if {self._print(c)} else " for e, c in cases) + f"{self._print(last)})"


def ratio(above: Formula, below: Formula) -> Formula:
    """A derivative, such as ``dL/da2``."""
    return Formula(rf"\frac{{d{above.latex}}}{{d{below.latex}}}", f"d{above.code}/d{below.code}")


_L = Formula("L", "L")  # the loss


def one_example(entries: Entries, path: set[Node], numbers: Numbers) -> Part | None:
    """The part of a derivation that speaks of single entries; None if matrices are all there is."""
    root = entries.root
    if root.op == "softmax_cross_entropy":
        return _softmax()
    if root.op == "binary_cross_entropy_with_logits":
        return _logits(entries, numbers)
    targets = [node for node in reversed(entries.nodes) if node in path and _short(entries, node) is not None]
    targets = [node for node in targets if node is not root and entries.kept(node)]
    if len(targets) > MOST or not any(_short(entries, node).free_symbols - {M} for node in targets):
        return None  # sums and multiples: nothing to derive for a single entry
    loss = entries.loss()
    per_example = loss is not None and not any(_times(M, _short(entries, node)).has(M) for node in targets)
    notation = entries.notation
    top, factor = (_L, M) if per_example else (letter(root.identifier, notation), sympy.S.One)
    lines, written, defined = [], set(), set()
    for node in reversed(targets):
        value = entries.value(node) if node.op else None
        if value is not None and sympy.count_ops(value) <= 12:
            lines.append(_line(letter(node.identifier, notation), [value], numbers, notation))
            written |= value.free_symbols
            defined.add(symbol(node.identifier))
    if per_example and loss is not None:
        lines.append(_line(_L, [loss], numbers, notation, (_loss_of(entries),)))
        written |= loss.free_symbols
    for node in targets:
        lines += _steps(entries, node, top, factor, numbers)
        written |= _times(factor, _short(entries, node)).free_symbols
    intro = (
        "In small letters, what happens to one entry of each array" + per_example * " and to the loss of its example"
    )
    title = "One example" if per_example else "Entry by entry"
    return Part(title, (f"{intro}.", *_in_numbers(written - defined - {M}, numbers, notation)), tuple(lines))


def _in_numbers(letters: set[Expression], numbers: Numbers, notation: Notation) -> Prose:
    """What the letters that have no line of their own stand for in the first example."""
    if not numbers or not letters:
        return ()
    pieces: list[Any] = [" In numbers, the first of them: "]
    for i, s in enumerate(sorted(letters, key=str)):
        small, value = letter(str(s), notation), number(s, numbers)
        pieces += [", "] * bool(i) + [
            Formula(f"{small.latex} = {{{digits(value)}}}", f"{small.code} = {in_digits(value)}")
        ]
    return (*pieces, ".")


def _loss_of(entries: Entries) -> str:
    if entries.rows == 1:
        return "The loss of one example."
    return f"The loss of one entry; that of an example is the sum over its {entries.rows} rows."


def _short(entries: Entries, node: Node) -> Any:
    found = entries.gradient(node)
    return None if found is None else found.short


def _steps(entries: Entries, node: Node, top: Formula, factor: Expression, numbers: Numbers) -> Iterator[Line]:
    """The lines of the chain rule for one array."""
    found = entries.gradient(node)
    assert found is not None
    assert found.whole is not None
    notation = entries.notation
    small = letter(node.identifier, notation)
    whole, short = _times(factor, found.whole), _times(factor, found.short)
    if found.local is None or found.local == 1:
        yield _line(ratio(top, small), [whole, short], numbers, notation, _because_several(found.above))
        return
    (above,) = found.above
    upper = letter(above.identifier, notation)
    yield _line(ratio(upper, small), [found.local], numbers, notation, ("The local derivative.",))
    law = Formula(
        rf"{ratio(top, upper).latex} \, {ratio(upper, small).latex}",
        f"{ratio(top, upper).code} * {ratio(upper, small).code}",
    )
    first = entries.gradient(above)
    assert first is not None
    product = _product(_times(factor, first.short), found.local, whole, notation)
    yield _line(ratio(top, small), [law, product, short], numbers, notation, _CHAIN)


def _times(factor: Expression, x: Expression) -> Expression:
    """A product, summand by summand, so that m and 1/m cancel."""
    return sympy.Add(*(factor * term for term in sympy.Add.make_args(x)))


_CHAIN: Prose = ("The chain rule: their product, simplified.",)


def _because_several(above: tuple[Node, ...]) -> Prose:
    return ("The contributions add up.",) if len(above) > 1 else ()


def _product(first: Expression, second: Expression, whole: Expression, notation: Notation) -> Any:
    """Two factors side by side, each in parentheses if it is a sum; just the product if one is a number."""
    if first.is_Number or second.is_Number:
        return whole
    a, b = scalar(first, notation), scalar(second, notation)
    return Formula(f"{_bracketed(first, a.latex, True)} {_bracketed(second, b.latex, True)}",
                   f"{_bracketed(first, a.code, False)} * {_bracketed(second, b.code, False)}")  # fmt: skip


def _bracketed(x: Expression, text: str, tall: bool) -> str:
    if not (x.is_Add or text.startswith("-")):
        return text
    return rf"\left({text}\right)" if tall else f"({text})"


def _line(left: Formula, rights: list[Any], numbers: Numbers, notation: Notation, because: Prose = ()) -> Line:
    """A line of formulas of entries; equal ones are written once."""
    last = rights[-1]
    written: list[Formula] = []
    for x in rights:
        formula = x if isinstance(x, Formula) else scalar(x, notation)
        if formula not in written:
            written.append(formula)
    value = number(last, numbers) if numbers and not isinstance(last, Formula) else None
    return Line(left, tuple(written), because, None, value)


# -- costs that take logits: the chain that is folded into them -------------------------------------------------------


def _logits(entries: Entries, numbers: Numbers) -> Part | None:
    """Cross-entropy of a sigmoid, taken apart into the two; only if algebra proves that it is the same."""
    Z, Y = entries.root.inputs
    if not (isinstance(Z, Node) and isinstance(Y, Node)):
        return None
    folded, loss = _short(entries, Z), entries.loss()
    if folded is None or loss is None:
        return None
    notation, step = entries.notation, entries.step
    held = {name for name, _ in step.forward} - {node.identifier for node in entries.nodes}
    a_name = "A" + Z.identifier[1:] if Z.identifier.startswith("Z") else "A"
    a_name = a_name if a_name in held else step.names.free(a_name)
    z, y, a = (SymbolicArray(symbol(x)) for x in (Z.identifier, Y.identifier, a_name))
    da_dz: Any
    dL_da: Any
    sigmoid, (da_dz,) = ops.sigmoid.rule(z)
    composed, (dL_da, _) = losses._binary_cross_entropy.rule(a, y)
    first, local = dL_da(1).item(), da_dz(1).substitute({sigmoid: a}).item()
    product = first * local
    short = shorter(product)
    in_z = {a.item(): sigmoid.item()}
    if not same(SymbolicArray(short.xreplace(in_z)), SymbolicArray(folded * M)):
        return None
    same_loss = _proved(composed.item().xreplace(in_z), loss)
    small_z, small_a = letter(Z.identifier, notation), letter(a_name, notation)
    if numbers:
        numbers = {a_name: 1 / (1 + np.exp(-np.asarray(numbers[Z.identifier]))), **numbers}
    because: Prose = (_loss_of(entries),)
    if same_loss:
        because = (f"{_loss_of(entries)} The cost computes it of ", small_z, ", as ", scalar(loss, notation),
                   " in a form that does not overflow: the same.")  # fmt: skip
    first_ratio, second_ratio = ratio(_L, small_a), ratio(small_a, small_z)
    law = Formula(rf"{first_ratio.latex} \, {second_ratio.latex}", f"{first_ratio.code} * {second_ratio.code}")
    product_of = _product(first, local, product, notation)
    lines = (
        _line(small_a, [sigmoid.item()], numbers, notation, ("The sigmoid.",)),
        _line(_L, [composed.item()], numbers, notation, because),
        _line(first_ratio, [first], numbers, notation),
        _line(second_ratio, [local], numbers, notation, ("The local derivative.",)),
        _line(ratio(_L, small_z), [law, product_of, short], numbers, notation, _CHAIN),
    )
    intro = "The cost holds the sigmoid within; taken apart, for one entry of each array and the loss of its example."
    return Part("One example", (intro, *_in_numbers({z.item(), y.item()}, numbers, notation)), lines)


def _proved(x: Expression, y: Expression) -> bool:
    try:
        return same(SymbolicArray(x), SymbolicArray(y))
    except ValueError:  # undecided
        return False


def _softmax() -> Part | None:
    """Cross-entropy of a softmax, by indices; only if algebra proves each step, for three classes."""
    if not _softmax_is_proved():
        return None
    sum_law = r"\sum_{k} \frac{\partial L}{\partial a_k} \, \frac{\partial a_k}{\partial z_j}"
    steps: list[tuple[str, tuple[str, str], list[tuple[str, str]]]] = [
        (
            "Softmax: the probability of class k.",
            ("a_k", "a[k]"),
            [(r"\frac{e^{z_k}}{\sum_{j} e^{z_j}}", "exp(z[k]) / sum_j exp(z[j])")],
        ),
        (
            "The loss of one example. If its label y is one-hot, a single term is left.",
            ("L", "L"),
            [(r"-\sum_{k} y_k \log(a_k)", "-sum_k y[k] * log(a[k])")],
        ),
        ("", (r"\frac{\partial L}{\partial a_k}", "dL/da[k]"), [(r"-\frac{y_k}{a_k}", "-y[k] / a[k]")]),
        (
            "A probability depends on its own logit, and through the sum on all others.",
            (r"\frac{\partial a_k}{\partial z_j}", "da[k]/dz[j]"),
            [(r"a_k \left([\,k = j\,] - a_j\right)", "a[k] * ((k == j) - a[j])")],
        ),
        (
            "The chain rule adds up what goes through each probability; the labels of an example sum to 1.",
            (r"\frac{\partial L}{\partial z_j}", "dL/dz[j]"),
            [
                (sum_law, "sum_k dL/da[k] * da[k]/dz[j]"),
                (r"-y_j + a_j \sum_{k} y_k", "-y[j] + a[j] * sum_k y[k]"),
                ("a_j - y_j", "a[j] - y[j]"),
            ],
        ),
    ]
    lines = [
        Line(Formula(*left), tuple(Formula(*x) for x in rights), (because,) if because else ())
        for because, left, rights in steps
    ]
    intro = "The cost holds the softmax within; taken apart, for one example, which is one column:"
    return Part("One example", (intro,), tuple(lines))


@functools.cache
def _softmax_is_proved() -> bool:
    """Whether the rules, run on symbols, give each of those steps."""
    z, y = symbols("z", (3, 1)), symbols("y", (3, 1))
    y = y.substitute({y[2:]: 1 - y[:1] - y[1:2]})  # the labels of an example sum to 1
    composed, folded = (Tensor(z, requires_grad=True) for _ in range(2))
    A = ops.softmax(composed, 0)
    (-np.sum(y * np.log(A))).backward()
    losses.softmax_cross_entropy(folded, y).backward()
    a = A.data
    vjp: Any
    _, (vjp,) = ops.softmax.rule(z, 0)
    units = np.eye(3)[:, :, None]
    jacobian = all(same(vjp(SymbolicArray(unit)), a[k : k + 1] * (unit - a)) for k, unit in enumerate(units))
    return jacobian and same(A.grad, -y / a) and same(composed.grad, a - y) and same(folded.grad, a - y)
