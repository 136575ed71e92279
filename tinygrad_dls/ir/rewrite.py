"""Rewriting: what a rule is, and the one way through a program that tries rules on each call.

An algebraic identity is a pair of programs, both written as NumPy code: ``Pair(lambda x: x * 1, lambda x: x)``. Where
the first stands in a program, the second takes its place. Both sides are traced by the array that records programs, so
shapes and dtypes are inferred and never written by hand; and both are plain NumPy code, so a test runs them on random
arrays and holds them equal.

What may stand for a variable of a pair is told by its letter:

========= ==========================================================================
``x, y``   a result or an input, of the dtype that the whole has
``u, v``   a result or an input of any dtype, but no number that is known
``c, d``   a number that is known: what both sides compute of such is computed now
``m``      a single number that the program computes, such as the number of examples
``a, b``   any argument: an array, a number, a shape, axes
========= ==========================================================================

A pair applies only where its second side has the shape and the dtype of the first, and where its conditions hold.

>>> trace = Trace()
>>> x = trace.input("x", np.ones((2, 3)))
>>> rewrite([np.tanh(x.T.T).call], [Pair(lambda x: x.T.T, lambda x: x)])
[_ = tanh(x)]
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from tinygrad_dls.ir.call import (
    Call,
    each,
    key,
    key_of_arguments,
    program_input,
    scalar_value,
    substitute,
    toposort,
    with_arguments,
)
from tinygrad_dls.ir.shapes import inferred, normalized
from tinygrad_dls.ir.tracer import Trace, Tracer

__all__ = ["Identity", "Pair", "Rule", "named", "names_of", "rewrite", "rewrite_beside", "traced"]

ANY: Any = (None, None)  # the shape and the dtype of a variable

Rule: TypeAlias = "Callable[[Call], Any] | Identity"


# -- a rule -----------------------------------------------------------------------------------------------------------


class Pair:
    """Two programs that compute the same.

    Parameters
    ----------
    before, after : function
        NumPy code of variables; see the module for what their names say. The second may do without some.
    *when : function
        Conditions, which must all be true. Their arguments are called ``call``, for the call that is to be replaced, or
        as a variable of `before`, for what stands for it there.
    beside : dict of str to function, optional
        Programs of the variables whose results must be there already, for the pair to be worth it; by the names that
        `after` takes the results by. Such pairs are for `rewrite_beside`.
    finite : bool, optional
        Whether the two are the same for finite numbers only.
    """

    def __init__(
        self,
        before: Callable[..., Any],
        after: Callable[..., Any],
        *when: Callable[..., bool],
        beside: Mapping[str, Callable[..., Any]] | None = None,
        finite: bool = False,
    ) -> None:
        self.before, self.after, self.when, self.beside, self.finite = before, after, when, beside or {}, finite

    @cached_property
    def pattern(self) -> Call:
        """The first program, in which the inputs are variables."""
        return _pattern(self.before)

    @cached_property
    def patterns_beside(self) -> dict[str, Call]:
        """The programs whose results must be there."""
        return {name: _pattern(program) for name, program in self.beside.items()}

    def may_be_for(self, kinds: Sequence[Any]) -> bool:
        """Whether the pair may be for a call of its function, by the `kinds_of` the call."""
        return all(map(_may_be, self.pattern.args, kinds[1:]))

    def __call__(self, call: Call, there: Sequence[Call] = ()) -> Call | None:
        """What may take the place of a call, if the pair is for it; beside the calls that are there."""
        found: dict[str, Any] = {"call": call}
        if not _is_match(self.pattern, call, found) or not all(_of(test, found) for test in self.when):
            return None
        for name, pattern in self.patterns_beside.items():
            found[name] = next((x for x in reversed(there) if _is_match(pattern, x, found)), None)
            if found[name] is None:
                return None
        trace = _PairTrace()
        new: Call = _of(self.after, {name: trace.array(x) for name, x in found.items()}).call
        if new.shape != call.shape or new.dtype != call.dtype:
            return None
        if type(new.dtype) is not type(call.dtype) and all(new is not x for x in found.values()):
            new.dtype = call.dtype  # float64 rather than Python's float, which equals it
        return new


def names_of(function: Callable[..., Any]) -> tuple[str, ...]:
    """What a function calls its arguments."""
    return function.__code__.co_varnames[: function.__code__.co_argcount]


def _of(function: Callable[..., Any], found: Mapping[str, Any]) -> Any:
    """What a function gives of what it names."""
    return function(*[found[name] for name in names_of(function)])


def _pattern(program: Callable[..., Any]) -> Call:
    trace = _PatternTracer()
    call: Call = program(*(trace.array(program_input(name, *ANY)) for name in names_of(program))).call
    return call


class Identity:
    """Pairs that say the same, by a name: the first one that is for a call is taken."""

    def __init__(self, name: str, says: str, *pairs: Pair) -> None:
        self.__name__, self.__doc__, self.pairs = name, says, pairs

    def __repr__(self) -> str:
        return f"<{self.__name__}: {self.__doc__}>"


def named(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function, such as the sigmoid, that a pair holds as one call: not what it computes, and in no normal form."""

    def one_call(x: Any, *others: Any) -> Any:
        if not isinstance(x, Tracer):
            return function(x, *others)
        if not isinstance(x._trace, _PairTrace):
            return x._trace.record(function, (x, *others), {})
        return x._trace.call(function, each(_call_of, (x, *others)), {})

    return one_call


def traced(function: Callable[..., Any], *args: Any, **options: Any) -> Call:
    """The program of NumPy code of these arguments, some of them calls, with shapes and dtypes inferred."""
    trace = _PairTrace()
    call: Call = function(*each(trace.array, args), **each(trace.array, options)).call
    return call


class _PairTrace(Trace):
    """Writes down what may take the place of a call, and computes its shapes and dtypes only."""

    def array(self, x: Any) -> Any:
        return Tracer(self, x, None) if isinstance(x, Call) else x

    def record(self, function: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        return self.call(*normalized(function, each(_call_of, args), each(_call_of, options) if options else {}))

    def call(self, function: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> Tracer:
        """Write down a call as it is."""
        return Tracer(self, Call(function, args, options, *self.inferred(function, args, options)), None)

    def inferred(self, *call: Any) -> tuple[Any, Any]:
        """The shape and the dtype of what is called, with arguments and options."""
        return inferred(*call)


class _PatternTracer(_PairTrace):
    """Writes down what a pair is for, which has any shape and any dtype."""

    def inferred(self, *_: Any) -> tuple[Any, Any]:
        return ANY  # type: ignore[no-any-return]


def _call_of(x: Any) -> Any:
    return x.call if isinstance(x, Tracer) else x


# -- matching ---------------------------------------------------------------------------------------------------------

_NUMBER = "a number"


def kinds_of(call: Call) -> tuple[Any, ...]:
    """The function of a call, and of its arguments: what tells most pairs that they are not for it."""
    kinds: list[Any] = [call.function]
    for x in call.args:
        if isinstance(x, Call):
            kinds.append(x.function)
        else:
            kinds.append(None if scalar_value(x) is None else _NUMBER)
    return tuple(kinds)


def _may_be(pattern: Any, kind: Any) -> bool:
    """Whether an argument of this kind may be what a pattern says."""
    if not isinstance(pattern, Call):
        return scalar_value(pattern) is None or kind in (_NUMBER, np.asarray)
    if pattern.function is not None:
        return pattern.function is kind
    if pattern.name in "cd":
        return kind in (_NUMBER, np.asarray)
    return pattern.name in "ab" or kind is not _NUMBER


def _is_match(pattern: Any, x: Any, found: dict[str, Any]) -> bool:
    """Whether x is what a pattern says, with the same for a variable wherever it stands; these are found."""
    if isinstance(pattern, Call):
        if pattern.function is None:
            return _is_found(pattern.name, x, found)
        if not isinstance(x, Call) or x.function is not pattern.function:
            return False
        return (
            len(pattern.args) == len(x.args)
            and pattern.options.keys() == x.options.keys()
            and all(_is_match(p, y, found) for p, y in zip(pattern.args, x.args, strict=True))
            and all(_is_match(p, x.options[name], found) for name, p in pattern.options.items())
        )
    if isinstance(pattern, (tuple, list)):
        alike = type(x) is type(pattern) and len(x) == len(pattern)
        return alike and all(_is_match(p, y, found) for p, y in zip(pattern, x, strict=True))
    if (n := scalar_value(pattern)) is not None:
        other = scalar_value(x)
        return other is not None and bool(other == n or (other != other and n != n))  # or both are NaN
    return type(pattern) is type(x) and bool(pattern == x)


def _is_found(name: str, x: Any, found: dict[str, Any]) -> bool:
    """Whether x can stand for a variable."""
    if name in "cd":
        x = scalar_value(x)
    if name in found:
        return found[name] is x or key_of_arguments(found[name]) == key_of_arguments(x)
    found[name] = x
    if name in "cd":
        return x is not None
    if name in "ab":
        return True
    if not isinstance(x, Call):
        return False
    if name in "xy":
        return bool(x.dtype == found["call"].dtype)
    return scalar_value(x) is None and (name != "m" or x.shape == ())


# -- through a program ------------------------------------------------------------------------------------------------


def rewrite(outputs: Sequence[Call], rules: Sequence[Rule]) -> list[Call]:
    """The calls that compute the same outputs as these, with fewer and simpler calls.

    Inputs first, equal calls become one, and the rules are tried on each, in their order. What nothing needs is left
    behind (dead code).

    Parameters
    ----------
    outputs : sequence of Call
    rules : sequence of Identity or function
        A function takes a call to one that gives the same, or to None.

    Returns
    -------
    list of Call
        One for each output. A name moves to the call that takes its place, unless that has one already.
    """
    new: dict[Call, Call] = {}
    known: dict[Any, Call] = {}  # by what it computes: the simplest call for it
    settled: set[Call] = set()
    rules_for = _rules_by_kinds(rules)

    def settle(call: Call) -> Call:
        """The simplest call for one whose arguments are simple already."""
        k = key(call)
        if k not in known:
            known[k] = call  # for rules that come back to it
            found = next((found for rule in rules_for(call) if (found := rule(call)) is not None), call)
            known[k] = call if found is call else built(found)
            settled.add(known[k])
        return known[k]

    def built(call: Call) -> Call:
        """The simplest call for one that a rule has made, of parts that may be new too."""
        return call if call in settled or call.function is None else settle(with_arguments(call, built))

    for call in toposort(outputs):
        new[call] = call if call.function is None else settle(with_arguments(call, new.__getitem__))
        new[call].name = new[call].name or call.name
    return [new[call] for call in outputs]


def rewrite_beside(outputs: Sequence[Call], pairs: Sequence[Pair]) -> list[Call]:
    """The same by pairs that are worth it beside what a program computes anyway, one after the other."""
    for pair in pairs:
        there = toposort(outputs)
        if replaced := {call: new for call in there if (new := pair(call, there)) is not None}:
            outputs = rewrite(substitute(outputs, replaced), ())
    return list(outputs)


def _rules_by_kinds(rules: Sequence[Rule]) -> Callable[[Call], list[Callable[[Call], Any]]]:
    """The functions and pairs, in order, that may be for a call, each looked for once."""
    tried = [x for rule in rules for x in (rule.pairs if isinstance(rule, Identity) else (rule,))]
    by_function: dict[Any, list[Callable[[Call], Any]]] = {}
    by_kinds: dict[Any, list[Callable[[Call], Any]]] = {}

    def rules_for(call: Call) -> list[Callable[[Call], Any]]:
        kinds = kinds_of(call)
        found = by_kinds.get(kinds)
        if found is None:
            f = call.function
            if f not in by_function:
                by_function[f] = [x for x in tried if not isinstance(x, Pair) or x.pattern.function is f]
            found = [x for x in by_function[f] if not isinstance(x, Pair) or x.may_be_for(kinds)]
            by_kinds[kinds] = found
        return found

    return rules_for
