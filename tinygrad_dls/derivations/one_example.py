"""The chain rule for one example: ``dL/da``, ``da/dz``, their product, and what algebra makes of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import sympy
from sympy.printing.latex import LatexPrinter

from tinygrad_dls.derivations.document import Formula, Line, Part, Prose, in_digits
from tinygrad_dls.derivations.entries import Entries, M, is_one, number, symbol
from tinygrad_dls.derivations.notation import Notation, digits, typeset
from tinygrad_dls.graph.node import Node
from tinygrad_dls.graph.reading import ACTIVATIONS
from tinygrad_dls.ir.functions import Function, rows
from tinygrad_dls.ir.printing import number_text
from tinygrad_dls.symbolic.algebra import Expression

__all__ = ["Numbers", "bracketed", "cross_entropy_of_softmax", "letter", "line", "one_example", "ratio", "scalar"]

Numbers = Mapping[Any, Any]
MOST = 12  # arrays that are gone through for one example


def letter(identifier: str, notation: Notation) -> Formula:
    """What an entry is called: ``a2`` for one of A2; and the sum of the weights, which is no entry."""
    if identifier.startswith("sum("):
        latex, code = notation.small(identifier[4:-1])
        return Formula(rf"\sum_{{i}} {latex}_{{i}}", f"sum({code})")
    return Formula(*notation.small(identifier))


def scalar(x: Expression, notation: Notation) -> Formula:
    """A formula of entries, with small letters."""
    small = {s: letter(str(s), notation) for s in sorted(x.free_symbols - {M}, key=str)}
    small[M] = Formula(notation.count, notation.count_in_code)
    x = x.replace(_is_long, lambda e: sympy.Float(float(e))).replace(_is_negative_of_difference, _turned)
    code = _Printer().doprint(x.xreplace({s: sympy.Symbol(f.code, real=True) for s, f in small.items()}))
    words = any(r"\mathrm" in f.latex for f in small.values())
    settings = {"symbol_names": {s: f.latex for s, f in small.items()}, "mul_symbol": r" \, " if words else None}
    formula = _LatexPrinter(settings).doprint(x)
    formula = re.sub(r"\\left\(([^()\\]*?) ?\\right\)", r"(\1)", formula)  # parentheses that need not grow
    return Formula(re.sub(r"(^|[{(])- ", r"\1-", formula), code)


def _is_long(x: Expression) -> bool:
    """Whether a fraction is one that nobody writes so: that of a number with a point."""
    return bool(x.is_Rational and x.q > 1 and (x.q > 10**6 or (x.q > 100 and len(number_text(float(x))) < 10)))


def _is_negative_of_difference(x: Expression) -> bool:
    """Whether a product such as ``-(2*x - 1)*y`` is written without its minus as ``(1 - 2*x)*y``."""
    sums = [y for y in x.args if y.is_Add] if x.is_Mul and x.args[0] == -1 else []
    return any(y.as_coeff_Add()[0].is_negative for y in sums[:1])


def _turned(x: Expression) -> Expression:
    first = next(y for y in x.args if y.is_Add)
    return sympy.Mul(-first, *(y for y in x.args[1:] if y is not first))


class _InOrder:
    """What both of SymPy's printers have to be told: that a sum begins with what has no minus in front."""

    def _as_ordered_terms(self, x: Expression, order: Any = None) -> list[Expression]:
        terms = super()._as_ordered_terms(x, order=order)  # type: ignore[misc]
        first = next((term for term in terms if not term.as_coeff_Mul()[0].is_negative), terms[0])
        return [first, *(term for term in terms if term is not first)]


class _Printer(_InOrder, sympy.printing.str.StrPrinter):  # type: ignore[misc]  # SymPy has no annotations
    """SymPy's text, with cases and comparisons as Python writes them."""

    def _print_Piecewise(self, x: Expression) -> str:  # noqa: N802  # SymPy's name for it
        *cases, (last, _) = x.args
        return "(" + "".join(f"{self._print(e)} if {self._print(c)} else " for e, c in cases) + f"{self._print(last)})"

    def _print_Max(self, x: Expression) -> str:  # noqa: N802  # SymPy's name for it
        return f"max({self.stringify(x.args, ', ')})"

    def _print_Min(self, x: Expression) -> str:  # noqa: N802  # SymPy's name for it
        return f"min({self.stringify(x.args, ', ')})"

    def _print_Relational(self, x: Expression) -> str:  # noqa: N802  # SymPy's name for it
        return f"{self._print(x.lhs)} {x.rel_op} {self._print(x.rhs)}"

    def _print_Float(self, x: Expression) -> str:  # noqa: N802  # SymPy's name for it
        return number_text(float(x))

    def _print_Function(self, x: Expression) -> str:  # noqa: N802  # SymPy's name for it
        name = next((row.function.__name__ for row in _rows_of(x)), x.func.__name__)
        return f"{name}({self.stringify(x.args, ', ')})"


class _LatexPrinter(_InOrder, LatexPrinter):  # type: ignore[misc]  # SymPy has no annotations
    """SymPy's formulas, with functions by the names that their rows give them."""

    def _print_Float(self, x: Expression) -> str:  # noqa: N802  # SymPy's name for it
        return typeset(number_text(float(x)))

    def _print_Piecewise(self, x: Expression) -> str:  # noqa: N802  # SymPy's name for it
        if _is_indicator(x):
            return rf"[\,{self._print(x.args[0].cond)}\,]"
        written: str = super()._print_Piecewise(x)
        return written

    def _needs_mul_brackets(self, x: Expression, first: bool = False, last: bool = False) -> bool:
        return not _is_indicator(x) and bool(super()._needs_mul_brackets(x, first, last))

    def _print_Function(self, x: Expression, exp: str | None = None) -> str:  # noqa: N802  # SymPy's name for it
        for row in _rows_of(x):
            if isinstance(row.latex, str) and row.latex and "#" not in row.latex:
                power = f"^{{{exp}}}" if exp else ""
                return rf"{row.latex}{power}{{\left({', '.join(map(self._print, x.args))} \right)}}"
        written: str = super()._print_Function(x, exp)
        return written


def _is_indicator(x: Expression) -> bool:
    """Whether a formula is 1 where a condition holds, and 0 elsewhere."""
    return x.is_Piecewise and [case.expr for case in x.args] == [1, 0] and x.args[1].cond == True  # noqa: E712  # SymPy's


def _rows_of(x: Expression) -> list[Function]:
    """The rows that name a function of SymPy's as theirs."""
    return [row for row in rows() if row.is_entrywise and row.formula == x.func.__name__]


def ratio(above: Formula, below: Formula) -> Formula:
    """A derivative, such as ``dL/da2``."""
    return Formula(rf"\frac{{d{above.latex}}}{{d{below.latex}}}", f"d{above.code}/d{below.code}")


_L = Formula("L", "L")  # the loss


def one_example(entries: Entries, path: set[Node], numbers: Numbers, fused: Entries | None = None) -> Part | None:
    """The part of a derivation that speaks of single entries; None if matrices are all there is.

    `fused` has those of the cost that holds these ones within: of a fused loss that is taken apart.
    """
    root = entries.root
    targets = [node for node in reversed(entries.nodes) if node in path and _short(entries, node) is not None]
    summands = {node for node in targets if is_one(entries.step.recorded[f"d{node.identifier}"])}
    targets = [node for node in targets if node is not root and node not in summands and entries.kept(node)]
    if len(targets) > MOST or not any(_short(entries, node).free_symbols - {M} for node in targets):
        return None  # sums and multiples: nothing to derive for a single entry
    loss = entries.loss()
    per_example = loss is not None and not any(
        entries.is_of_mean(_times(entries.per_example, _short(entries, node))) for node in targets
    )
    notation = entries.notation
    top, factor = (_L, entries.per_example) if per_example else (letter(root.identifier, notation), sympy.S.One)
    lines, written, defined = [], set(), set()
    for node in reversed(targets):
        value = entries.value(node) if node.op else None
        if value is not None and sympy.count_ops(value) <= 12:
            because = () if fused is None else _of_held(node)
            lines.append(line(letter(node.identifier, notation), [value], numbers, notation, because))
            written |= value.free_symbols
            defined.add(symbol(node.identifier))
    if per_example and loss is not None:
        because = (_loss_of(entries),) if fused is None else _loss_of_both(entries, fused, loss)
        lines.append(line(_L, [loss], numbers, notation, because))
        written |= loss.free_symbols
    for node in targets:
        lines += _steps(entries, node, top, factor, numbers)
        written |= _times(factor, _short(entries, node)).free_symbols
    intro = (
        "In small letters, what happens to one entry of each array"
        + (" and to the loss of its example" if per_example else "")
        if fused is None
        else _held(entries, path) + "one entry of each array" + (" and the loss of its example" if per_example else "")
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
    weights = entries.weights
    before = "" if weights is None else f", before its weight {weights.name}"
    if entries.rows == 1:
        return f"The loss of one example{before}."
    return f"The loss of one entry; that of an example is the sum over its {entries.rows} rows{before}."


def _of_held(node: Node) -> Prose:
    return (f"The {node.op}.",) if node.op in ACTIVATIONS else ()


def _held(entries: Entries, path: set[Node]) -> str:
    """What a fused loss holds within."""
    held = [f"the {node.op}" for node in entries.nodes if node in path and node.op in ACTIVATIONS]
    return f"The cost holds {' and '.join(held) or 'several ops'} within; taken apart, for "


def _loss_of_both(entries: Entries, fused: Entries, loss: Expression) -> Prose:
    """Whether the fused loss has another formula for the loss of an example, and that it is the same."""
    (Z, *_), own, notation = fused.top.inputs, fused.loss(), entries.notation
    for node in reversed(entries.nodes[:-1]):
        value = entries.value(node) if node.op else None
        loss = loss if value is None else loss.xreplace({symbol(node.identifier): value})
    if own is None or own == loss:
        return (_loss_of(entries),)
    return (
        f"{_loss_of(entries)} The cost computes it from ", letter(Z.identifier, notation), ", as ",
        scalar(own, notation), ", in a form that does not overflow; the two are equal.",
    )  # fmt: skip


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
        yield line(ratio(top, small), [whole, short], numbers, notation, _because_several(found.above))
        return
    (above,) = found.above
    upper = letter(above.identifier, notation)
    yield line(ratio(upper, small), [found.local], numbers, notation, ("The local derivative.",))
    law = Formula(
        rf"{ratio(top, upper).latex} \, {ratio(upper, small).latex}",
        f"{ratio(top, upper).code} * {ratio(upper, small).code}",
    )
    first = entries.gradient(above)
    assert first is not None
    product = _product(_times(factor, first.short), found.local, whole, notation)
    yield line(ratio(top, small), [law, product, short], numbers, notation, _CHAIN)


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
    return Formula(f"{bracketed(first, a.latex, True)} {bracketed(second, b.latex, True)}",
                   f"{bracketed(first, a.code, False)} * {bracketed(second, b.code, False)}")  # fmt: skip


def bracketed(x: Expression, text: str, tall: bool) -> str:
    """A factor: in parentheses, which grow if they are tall, if it is a sum or has a minus in front."""
    if not (x.is_Add or text.startswith("-")):
        return text
    return rf"\left({text}\right)" if tall else f"({text})"


def line(left: Formula, rights: list[Any], numbers: Numbers, notation: Notation, because: Prose = ()) -> Line:
    """A line of formulas of entries; equal ones are written once."""
    last = rights[-1]
    written: list[Formula] = []
    for x in rights:
        formula = x if isinstance(x, Formula) else scalar(x, notation)
        if formula not in written:
            written.append(formula)
    value = number(last, numbers) if numbers and not isinstance(last, Formula) else None
    return Line(left, tuple(written), because, None, value)


# -- a softmax and its cross-entropy ----------------------------------------------------------------------------------


def cross_entropy_of_softmax() -> Part:
    """The chain by indices, where `tinygrad_dls.derivations.taken_apart` has proved each step of it."""
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
