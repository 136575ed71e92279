"""Algebra on single formulas: what decides that two of them, however different they look, are the same function.

The one idea: a formula is a fraction of polynomials. Its letters are the symbols and, as if they were symbols too, the
functions in it: ``log(1 + z)`` is one letter, and so is each of the few exponentials that multiply to all of them. A
fraction has a form in lowest terms, and if that of a difference is 0, so is the difference, whatever the letters stand
for. So a True of `is_zero` is a proof. A relation of letters, such as ``sin(z)**2 + cos(z)**2 = 1``, is not found.

Before that, kinks and cases have to go. `decided` takes them out where signs are known; `settled`, where they make no
difference: what a rule does only against overflow, such as ``min(z, 0)`` in the sigmoid, leaves one function in all of
its cases.

Here are SymPy expressions only, one at a time, and real numbers only; arrays of them are in `symbolic`.
"""

from __future__ import annotations

import functools
import itertools
import math
import numbers
import random
from fractions import Fraction
from typing import Any

import sympy

Expression = Any  # a SymPy expression
_KINKS = (sympy.Max, sympy.Min, sympy.Abs)
_HYPERBOLIC = (sympy.sinh, sympy.cosh, sympy.tanh)
_NOT_FINITE = (sympy.nan, sympy.zoo, sympy.oo, -sympy.oo)
_Relational = sympy.core.relational.Relational


# -- numbers and booleans as exact expressions ------------------------------------------------------------------------


def exact(x: Any) -> Expression:
    """A number as an integer or a fraction, the simplest that rounds to it: 1.0 is 1, and 0.1 is 1/10."""
    if isinstance(x, sympy.Basic):
        return x
    if isinstance(x, numbers.Rational):
        return sympy.Rational(int(x.numerator), int(x.denominator))
    if isinstance(x, numbers.Real):
        x = float(x)
        if not math.isfinite(x):
            return sympy.sympify(x)
        simple = Fraction(x).limit_denominator(1_000_000)  # what people write has few digits
        return sympy.Rational(simple if float(simple) == x else Fraction(x))
    raise TypeError(f"a SymbolicArray holds SymPy expressions and real numbers, not {type(x).__name__}.")


def as_float(x: Expression) -> float:
    """The real number that an expression without symbols is, correct to the last digit or so: computed with 30."""
    try:
        return float(sympy.N(x, 30))
    except TypeError:
        raise TypeError(f"{x} is not a real number.") from None


def as_number(x: Expression) -> Expression:
    """A boolean as a number: 1 where it holds, else 0. A number stays."""
    return sympy.Piecewise((1, x), (0, True)) if _is_truth(x) else x


def as_boolean(x: Expression) -> Expression:
    """A number as a boolean: whether it is not 0. A boolean stays."""
    return x if _is_truth(x) else sympy.Ne(x, 0)


def chosen(condition: Expression, x: Expression, y: Expression) -> Expression:
    """The one number where a condition holds, and the other where it does not."""
    c = as_boolean(condition)  # which holds within the first case, and does not in the other
    x, y = as_number(x), as_number(y)
    return sympy.Piecewise((x.xreplace({c: sympy.true}), c), (y.xreplace({c: sympy.false}), True))


def _is_truth(x: Expression) -> bool:
    return isinstance(x, sympy.logic.boolalg.Boolean) and not x.is_Symbol  # to SymPy, symbols are both


# -- kinks and cases --------------------------------------------------------------------------------------------------


def extreme(kind: Any, x: Expression, y: Expression) -> Expression:
    """``Max(x, y)`` or ``Min(x, y)``, without what cannot be it; SymPy's own way to find that out is slow."""
    candidates = {a for e in (x, y) for a in (e.args if isinstance(e, kind) else (e,))}
    sign = 1 if kind is sympy.Max else -1
    for a in sorted(candidates, key=sympy.default_sort_key):
        if any((sign * (b - a)).is_nonnegative for b in candidates - {a}):
            candidates.remove(a)
    return kind(*candidates, evaluate=False)


def decided(x: Expression, known: list[tuple[Expression, int]]) -> Expression:
    """The expression where each z of these has its sign: kinks and conditions in multiples of a z are decided."""

    def order(a: Expression, b: Expression) -> Expression | None:
        """The sign of a - b, if it is a multiple of a z."""
        for z, sign in known:
            if ratio := _ratio(a - b, z):
                return sympy.sign(ratio) * sign
        return None

    def decide(kink: Expression) -> Expression:
        if isinstance(kink, _Relational):
            sign = order(*kink.args)
            return kink if sign is None else kink.func(sign, 0)
        candidates = [kink.args[0], -kink.args[0]] if isinstance(kink, sympy.Abs) else list(kink.args)
        kind, first = (sympy.Min, -1) if isinstance(kink, sympy.Min) else (sympy.Max, 1)
        left = list(candidates)
        for a, b in itertools.permutations(candidates, 2):
            if a in left and b in left and order(a, b) in (0, first):
                left.remove(b)
        return kink if left == candidates else kind(*left)

    return x.replace(lambda e: isinstance(e, (*_KINKS, _Relational)), decide)


def _ratio(x: Expression, z: Expression) -> Expression:
    """The number x / z; 0 if it is none."""
    x, z = sympy.expand(x), sympy.expand(z)
    if z.is_Number:
        return 0
    term, coefficient = next(iter(z.as_coefficients_dict().items()))
    ratio = x.as_coefficients_dict()[term] / coefficient
    return ratio if sympy.expand(x - ratio * z) == 0 else 0


@functools.lru_cache(maxsize=4096)
def settled(x: Expression) -> Expression:
    """The expression without the kinks and cases that make no difference, because it is one function in all of them.

    They come from the rules' care for overflow: the largest logit in softmax, ``min(z, 0)`` and ``|z|`` in the sigmoid,
    and the cases that their derivatives bring. Whatever is chosen there ends up in exponents; only such are tried.
    """
    if x.has(sympy.exp) and x.has(*_KINKS, _Relational):
        kinks = _kinks_in_exponents(x)
        for kink in kinks:
            if len(kink.args) > 1 and sympy.S.Zero not in kink.args:
                x = _without_shift(x, kink)
        signs = {kink.args[0] for kink in kinks if isinstance(kink, sympy.Abs)}
        signs |= {sympy.Add(*kink.args) for kink in kinks if len(kink.args) == 2 and sympy.S.Zero in kink.args}
        conditions = {r.lhs - r.rhs for r in x.atoms(_Relational)}
        signs |= {z for z in conditions if any(_ratio(e.exp, z) for e in x.atoms(sympy.exp))}
        for z in sorted(signs, key=sympy.default_sort_key):
            x = _without_sign(x, z)
        if x.is_Mul and x.has(_Relational):
            factor, _ = x.as_independent(sympy.Piecewise, as_Add=False)
            x = sympy.S.Zero if is_zero(factor) else x
    for piecewise in x.atoms(sympy.Piecewise):
        x = _without_exception(x, piecewise)
    return x


def _kinks_in_exponents(x: Expression) -> list[Expression]:
    """The kinks that are summands of exponents, up to a number as a factor."""
    factors = {term.as_coeff_Mul()[1] for e in x.atoms(sympy.exp) for term in sympy.Add.make_args(e.exp)}
    return sorted((factor for factor in factors if isinstance(factor, _KINKS)), key=sympy.default_sort_key)


def _without_shift(x: Expression, kink: Expression) -> Expression:
    """The expression without a kink of which any value would do, as softmax does not change if all logits shift."""
    anything, nothing = (x.xreplace({kink: value}) for value in (sympy.Dummy(real=True), sympy.S.Zero))
    return nothing if is_zero(anything - nothing) else x


def _without_sign(x: Expression, z: Expression) -> Expression:
    """The expression without the kinks and cases in z, if it is one function where z > 0, where z < 0 and at 0."""
    above, below = (decided(x, [(z, sign)]) for sign in (1, -1))
    if above == x or not is_zero(above - below):
        return x
    if x.has(_Relational):  # else it is continuous, and needs no look at 0
        gap = above - decided(x, [(z, 0)])
        if not is_zero(gap.xreplace({e: sympy.S.One for e in gap.atoms(sympy.exp) if _ratio(e.exp, z)})):
            return x
    return min(above, below, key=lambda case: (case.count(sympy.exp), sympy.count_ops(case)))


def _without_exception(x: Expression, piecewise: Expression) -> Expression:
    """The expression without a case ``u = v`` that makes no exception, as in ``y * (0 if y = 0 else s)``."""
    (exception, condition), (usual, _) = piecewise.args[0], piecewise.args[-1]
    if len(piecewise.args) != 2 or not isinstance(condition, sympy.Eq):
        return x
    difference = condition.lhs - condition.rhs
    for symbol in difference.free_symbols:
        slope = difference.diff(symbol)
        if slope.is_Number:
            there = {symbol: sympy.expand(symbol - difference / slope)}
            usually = x.xreplace({piecewise: usual})
            if is_zero((usually - x.xreplace({piecewise: exception})).subs(there)):
                return usually
            break
    return x


# -- one form for equal formulas --------------------------------------------------------------------------------------


def is_zero(x: Expression) -> bool:
    """Whether algebra proves that the expression is 0 for all values of its symbols; False says that it does not."""
    if x.is_Number:
        return bool(x == 0)
    if x.has(*_NOT_FINITE) or _is_not_zero_somewhere(x):
        return False
    if not _in_lowest_terms(_Fractions(x).fraction(x)):
        return True
    return x.has(*_HYPERBOLIC) and is_zero(x.rewrite(_HYPERBOLIC, sympy.exp))


def _is_not_zero_somewhere(x: Expression) -> bool:
    """Whether a number already shows it; most that are not 0 are found out here, and quickly."""
    values = {}
    for i, symbol in enumerate(sorted(x.free_symbols, key=str), 1):
        value = sympy.Float((37 * i) % 101 / 101)  # scattered over 0 to 1, where labels and probabilities lie
        values[symbol] = -value if symbol.is_negative else value
    result = x.xreplace(values)  # in floats, with 1e-15 of rounding or so
    return bool(result.is_Float) and abs(result) > 1e-6


def differs(x: Expression) -> bool | None:
    """Whether the expression is not 0 at some point: at random fractions where it is real. None: at none it is."""
    if x.has(*_NOT_FINITE):
        return True
    draws = random.Random(0)
    found = None
    for low, high in [(0, 101), (-101, 101), (-303, 303)] * 8:  # of 101: many functions are real near 0 alone
        value = _value(x, {s: _draw(s, draws, low, high) for s in sorted(x.free_symbols, key=str)})
        if value is not None:
            found = abs(value) > 1e-40
        if found:
            return True
    return found


def _draw(symbol: Expression, draws: random.Random, low: int, high: int) -> Expression:
    """A random fraction that is what the symbol is assumed to be; nan if that is too special."""
    for divisor in [101] * 9 + [1] * 9:
        number = sympy.Rational(draws.randint(low, high), divisor)
        for n in (number, -number, sympy.S.Zero):
            if all(getattr(n, f"is_{name}") == condition for name, condition in symbol.assumptions0.items()):
                return n
    return sympy.nan


def _value(x: Expression, point: dict[Expression, Expression]) -> Expression | None:
    """The value at a point, with 50 digits; None if a part of the expression is not a real number there."""

    def number(e: Expression) -> Expression:
        return sympy.N(e.xreplace(point), 50)

    def case(piecewise: Expression) -> Expression:
        # an undecided condition equals neither truth value, and raises if it is asked for its own
        return next((e for e, condition in piecewise.args if condition.xreplace(point) == sympy.true), sympy.nan)

    x = x.replace(lambda e: isinstance(e, sympy.Piecewise), case)
    positive = [e.args[0] for e in x.atoms(sympy.log, sympy.Pow) if not (e.is_Pow and e.exp.is_Integer)]
    if any(not number(e).is_positive for e in positive):
        return None
    value = number(x)
    return value if value.is_Float or value.is_Integer else None


def _in_lowest_terms(fraction: Expression) -> Any:
    """A fraction of polynomials, as SymPy computes with it fast: an element of the field of all fractions."""
    letters = [atom for atom in fraction.atoms() if not atom.is_Rational]  # pi among them
    field, *_ = sympy.polys.fields.field(sorted(letters, key=str) or [sympy.Dummy()], sympy.QQ)

    @functools.cache
    def element(x: Expression) -> Any:
        if x.is_Add:
            numerators: dict[Any, Any] = {}  # by denominator: bringing all summands over one would be dear
            for summand in map(element, x.args):
                numerators[summand.denom] = numerators.get(summand.denom, 0) + summand.numer
            return sum((field(n) / field(d) for d, n in numerators.items()), field.zero)
        if x.is_Mul:
            return math.prod(map(element, x.args), start=field.one)
        if x.is_Pow and x.exp.is_Integer:
            return element(x.base) ** int(x.exp)
        return field.from_expr(x)

    return element(fraction)


@functools.lru_cache(maxsize=4096)
def canonical(x: Expression) -> Expression:
    """The expression as a fraction in lowest terms, of polynomials in the symbols and in the functions of them."""
    if x.has(*_HYPERBOLIC) and is_zero(x):
        return sympy.S.Zero
    fractions = _Fractions(x)
    return sympy.cancel(fractions.fraction(x)).xreplace(fractions.meaning)


class _Fractions:
    """An expression as a fraction of polynomials in generators: symbols, and what stands for the functions of them.

    Parts of the expression that it was made for become fractions of the same generators.
    """

    def __init__(self, x: Expression) -> None:
        self.generators: dict[Any, Expression] = {}
        self.meaning: dict[Expression, Expression] = {}
        self.fraction = functools.cache(self._fraction)
        self.basis = _basis([_terms(e)[0] for e in sorted(_outer_exponents(x), key=sympy.default_sort_key)])

    def _generator(self, key: Any, meaning: Expression) -> Expression:
        if key not in self.generators:
            self.generators[key] = dummy = sympy.Dummy(real=True)
            self.meaning[dummy] = meaning
        return self.generators[key]

    def _fraction(self, x: Expression) -> Expression:
        if x.is_Add or x.is_Mul:
            return x.func(*map(self.fraction, x.args))
        if x.is_Pow and x.exp.is_Integer:
            return self.fraction(x.base) ** x.exp
        if (exponent := _exponent(x)) is not None:
            return self._product(exponent)
        if x.is_Pow:  # a root
            root = canonical(x.base) ** sympy.Rational(1, x.exp.q)
            return self._generator(root, root) ** x.exp.p
        if isinstance(x, sympy.log):
            return self._logarithm(x.args[0])
        if x.is_Atom:
            return x
        inside = _inside(x)
        return self._generator(inside, inside)

    def _product(self, exponent: Expression) -> Expression:
        """The power of e with this exponent, as a product of powers of the basis, and of what stands in logarithms."""
        terms, logs = _terms(exponent)
        left = sympy.Add(*(coefficient * term for term, coefficient in terms.items()))
        product = sympy.S.One
        for pivot, unit, part in self.basis:
            power = terms.get(pivot, 0) / unit
            if power.is_Integer:
                product *= self._generator(("exp", part), sympy.exp(part)) ** power
                left -= power * part
        if left:  # an exponent that was hidden when the basis was found
            product *= self._generator(("exp", left), sympy.exp(left))
        for log, coefficient in logs.items():
            product *= self.fraction(log.args[0] ** coefficient)
        return product

    def _logarithm(self, x: Expression) -> Expression:
        """The sum of the logarithms of the factors; of their absolute values, since only x itself must be positive."""
        numerator, denominator = map(sympy.factor_list, sympy.fraction(sympy.cancel(self.fraction(x))))
        number = numerator[0] / denominator[0]
        powers = dict(numerator[1]) | {factor: -power for factor, power in denominator[1]}
        primes = sympy.factorrat(abs(number)).items()
        total = sympy.Add(*(power * self._generator(("log", p), sympy.log(p)) for p, power in primes))
        for factor, power in powers.items():
            meaning = factor.xreplace(self.meaning)
            if isinstance(meaning, sympy.exp):
                total += power * self.fraction(meaning.exp)
                continue
            size = sympy.sign(number) * meaning if len(powers) == 1 and power % 2 else sympy.Abs(meaning)
            total += power * self._generator(("log", sympy.expand(meaning**2)), sympy.log(size))
        return total


Terms = dict[Expression, Expression]  # the summands of an exponent: the coefficient of each


def _basis(exponents: list[Terms]) -> list[tuple[Expression, Expression, Expression]]:
    """The fewest exponents of which all these are sums of whole multiples.

    Each comes as the term that no other one has, its coefficient there, and the exponent.
    """
    columns = sorted({term for e in exponents for term in e}, key=sympy.default_sort_key)
    rows = sympy.Matrix([[e.get(term, 0) for term in columns] for e in exponents])
    reduced, pivots = rows.rref()
    basis = []
    for i, pivot in enumerate(pivots):
        powers = [r for r in rows[:, pivot] if r]
        unit = sympy.Rational(1, math.lcm(*(int(r.q) for r in powers))) * sympy.sign(powers[0])
        exponent = sympy.Add(*(unit * r * term for r, term in zip(reduced[i, :], columns, strict=True)))
        basis.append((columns[pivot], unit, exponent))
    return basis


def _terms(exponent: Expression) -> tuple[Terms, Terms]:
    """The summands of an exponent that are no logarithms, and those that are."""
    terms = sympy.expand_mul(_inside(exponent), deep=False).as_coefficients_dict()
    logs = {term: coefficient for term, coefficient in terms.items() if isinstance(term, sympy.log)}
    return {term: coefficient for term, coefficient in terms.items() if term not in logs}, logs


def _inside(x: Expression) -> Expression:
    """The expression with the arguments of its functions in the one form."""
    if x.is_Atom:
        return x
    one_form = _inside if x.is_Add or x.is_Mul or x.is_Pow else canonical
    args = tuple(a if _is_truth(a) or isinstance(a, sympy.Tuple) else one_form(a) for a in x.args)
    return x if args == x.args else x.func(*args)


def _exponent(x: Expression) -> Expression | None:
    """The exponent of e, if x is a power of it: also ``x^y = e^(y log x)``, unless y is a number."""
    if isinstance(x, sympy.exp):
        return x.exp
    if x is sympy.E:
        return sympy.S.One
    if x.is_Pow and not x.exp.is_Rational:
        return x.exp * sympy.log(x.base)
    return None


def _outer_exponents(x: Expression) -> set[Expression]:
    """The exponents in x that are not within another function; those within a logarithm count."""
    if (exponent := _exponent(x)) is not None:
        _, logs = _terms(exponent)
        return {exponent}.union(*map(_outer_exponents, logs))
    if x.is_Add or x.is_Mul or isinstance(x, sympy.log) or (x.is_Pow and x.exp.is_Integer):
        return set().union(*map(_outer_exponents, x.args))
    return set()
