"""Formulas instead of numbers: an array of SymPy expressions, on which the engine's own rules run unchanged.

The one idea: a rule is written with operators, ``np.*`` functions and array methods only, so it does not care whether
an entry is ``0.73`` or ``1/(1 + exp(-z))``. A `Tensor` of a `SymbolicArray` therefore computes formulas, and `backward`
gives the gradient as a formula: the rule itself, not a sample of it. `same` then decides whether it *is* the formula
that the notes derive by hand, for all real numbers at once.

What comes out is exact: floats that a rule writes, such as ``1.0``, become fractions. What a rule does only against
overflow leaves no trace: the sigmoid is coded with ``min(z, 0)`` and ``|z|``, both of its cases are the same function,
and so it becomes ``1/(1 + exp(-z))``. A kink that does matter stays in the formula, as ``Max(0, z)`` and as a case
``z > 0``, unless the assumptions on the symbols decide it; `in_case` decides it afterwards.

Formulas speak of real numbers. They say nothing about rounding.
"""

from __future__ import annotations

import copy as copies
import functools
import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from typing import Any, TypeVar

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from tinygrad_dls.nn import Module, Parameter
from tinygrad_dls.tensor import Tensor, values

try:
    import sympy
except ImportError as error:
    raise ImportError("symbols need SymPy: pip install 'tinygrad_dls[symbolic]'") from error

__all__ = ["SymbolicArray", "in_case", "same", "simplify", "symbols", "with_symbols"]

Expression = Any  # a SymPy expression
Entries = np.ndarray[tuple[int, ...], np.dtype[Any]]  # of dtype object, each a SymPy expression
M = TypeVar("M", bound=Module)


# -- numbers and truths as exact expressions --------------------------------------------------------------------------


def _exact(x: Any) -> Expression:
    """A number as an integer or a fraction, the simplest that rounds to it: 1.0 is 1, and 0.1 is 1/10."""
    if isinstance(x, sympy.Basic):
        return x
    if isinstance(x, SymbolicArray):
        return x.item()
    if isinstance(x, (bool, np.bool_, int, np.integer)):
        return sympy.Integer(int(x))
    if isinstance(x, (float, np.floating)):
        x = float(x)
        if not math.isfinite(x):
            return sympy.sympify(x)
        simple = Fraction(x).limit_denominator(1_000_000)  # what people write has few digits
        return sympy.Rational(simple if float(simple) == x else Fraction(x))
    raise TypeError(f"a SymbolicArray holds SymPy expressions and real numbers, not {type(x).__name__}.")


def _number(x: Expression) -> Expression:
    """A truth as a number: 1 where it holds, else 0."""
    return sympy.Piecewise((1, x), (0, True)) if _is_truth(x) else x


def _truth(x: Expression) -> Expression:
    """An expression as a truth: whether it is not 0."""
    return x if _is_truth(x) else sympy.Ne(x, 0)


def _is_truth(x: Expression) -> bool:
    return isinstance(x, sympy.logic.boolalg.Boolean) and not x.is_Symbol  # to SymPy, symbols are both


def _each(function: Callable[..., Expression], *arrays: Any) -> Entries:
    """Apply a function entry by entry, with broadcasting."""
    result = np.frompyfunc(function, len(arrays), 1)(*arrays)
    return result if isinstance(result, np.ndarray) else _single(result)


def _single(x: Any) -> Entries:
    entries = np.empty((), dtype=object)
    entries[()] = x
    return entries


def _entries(x: Any) -> Entries:
    """The entries of any operand, exact."""
    if isinstance(x, SymbolicArray):
        return x._entries
    if isinstance(x, sympy.Basic):
        return _single(x)
    return _each(_exact, np.asarray(x) if isinstance(x, np.ndarray) else np.array(x, dtype=object))


def _numbers(x: Any) -> Entries:
    """The entries of any operand, with truths as numbers."""
    return _each(_number, _entries(x))


# -- the array --------------------------------------------------------------------------------------------------------


class _Dtype:
    """NumPy's dtype ``object``, with the number 1 in it made an exact one: what `Tensor.backward` starts from."""

    kind = "O"
    dtype = np.dtype(object)

    def type(self, number: Any) -> SymbolicArray:
        return SymbolicArray(number)

    def __eq__(self, other: object) -> bool:
        return other is self or (isinstance(other, np.dtype) and other == self.dtype)

    def __hash__(self) -> int:
        return hash(self.dtype)

    def __repr__(self) -> str:
        return "symbolic"


class SymbolicArray(NDArrayOperatorsMixin):
    """An array of SymPy expressions that speaks NumPy's protocols; it never changes.

    NumPy functions and operators apply entry by entry and broadcast as usual. Comparisons give a SymbolicArray of
    conditions, which count as 1 or 0 in arithmetic. ``np.asarray`` gives the expressions as an array of objects, and
    ``.item()`` the expression of a single entry.

    Parameters
    ----------
    entries : array_like of SymPy expressions and real numbers
        Numbers become exact: a float, the simplest fraction that rounds to it.

    Raises
    ------
    TypeError
        If an entry is no expression; when a NumPy function has no formula, when a condition that the assumptions
        leave open is asked for its truth, or when a formula with symbols is asked for its number.

    Examples
    --------
    >>> import tinygrad_dls as tg
    >>> from tinygrad_dls.views import symbolic
    >>> z, y = symbolic.symbols("z", (1, 1)), symbolic.symbols("y", (1, 1))
    >>> Z = tg.Tensor(z, requires_grad=True)
    >>> A = tg.sigmoid(Z)
    >>> A.data
    SymbolicArray([[1/(1 + exp(-z))]])
    >>> tg.binary_cross_entropy(A, y).backward()
    >>> a = symbolic.symbols("a", (1, 1))
    >>> A.grad.substitute({A: a})
    SymbolicArray([[(1 - y)/(1 - a) - y/a]])
    >>> symbolic.simplify(Z.grad.substitute({A: a}))
    SymbolicArray([[a - y]])
    """

    __slots__ = ("__weakref__", "_entries")
    __hash__ = object.__hash__  # by identity; == compares entries

    def __init__(self, entries: Any) -> None:
        self._entries = _entries(entries)

    # -- what an array has --------------------------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array, such as ``(n_x, m)``."""
        return self._entries.shape

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self._entries.ndim

    @property
    def size(self) -> int:
        """Number of entries."""
        return self._entries.size

    @property
    def dtype(self) -> Any:
        """A dtype of kind "O", equal to that of NumPy's object arrays."""
        return _DTYPE

    @property
    def T(self) -> SymbolicArray:  # noqa: N802  # NumPy's name
        """The transpose."""
        return SymbolicArray(self._entries.T)

    def copy(self) -> SymbolicArray:
        """The array itself, which never changes."""
        return self

    def reshape(self, *shape: Any) -> SymbolicArray:
        """The same entries in another shape."""
        return SymbolicArray(self._entries.reshape(*shape))

    def astype(self, dtype: Any) -> Any:
        """Itself for the dtype ``object``; else numbers, if there are no symbols."""
        return self if dtype == _DTYPE.dtype else self.evaluate({}).astype(dtype)

    def sum(self, axis: Any = None, *, keepdims: bool = False) -> SymbolicArray:
        """Sum over the axes."""
        return SymbolicArray(np.sum(_numbers(self), axis=axis, keepdims=keepdims))

    def max(self, axis: Any = None, *, keepdims: bool = False) -> SymbolicArray:
        """Largest entry over the axes: a ``Max`` of those that the assumptions leave as candidates."""
        return _reduced(np.maximum, self, axis, keepdims)

    def min(self, axis: Any = None, *, keepdims: bool = False) -> SymbolicArray:
        """Smallest entry over the axes: a ``Min`` of those that the assumptions leave as candidates."""
        return _reduced(np.minimum, self, axis, keepdims)

    def item(self) -> Expression:
        """The expression of a single entry."""
        return self._entries.item()

    def __getitem__(self, index: Any) -> SymbolicArray:
        return SymbolicArray(self._entries[index])

    def __len__(self) -> int:
        return len(self._entries)

    def __bool__(self) -> bool:
        truth = _truth(self.item())
        if truth not in (sympy.true, sympy.false):
            raise TypeError(
                f"whether {truth} depends on the symbols. Give them a sign, as in symbols('z', shape, positive=True), "
                "decide it with in_case(formulas, z, +1), or put numbers in with .evaluate({z: ...})."
            )
        return bool(truth)

    def __float__(self) -> float:
        return float(self.evaluate({}).item())

    def _sympy_(self) -> Expression:
        raise sympy.SympifyError(self)  # so that SymPy's operators leave ``expression * array`` to this class

    def __format__(self, spec: str) -> str:
        return format(float(self), spec) if spec else str(self)

    def __repr__(self) -> str:
        text = np.array2string(self._entries, separator=", ", prefix="SymbolicArray(", formatter={"all": str})
        return f"SymbolicArray({text})"

    def __str__(self) -> str:
        return np.array2string(self._entries, separator=", ", formatter={"all": str})

    # -- putting something in -----------------------------------------------------------------------------------------

    def substitute(self, replacements: Mapping[Any, Any]) -> SymbolicArray:
        """The formulas with arrays put in the place of others, entry by entry.

        Parameters
        ----------
        replacements : mapping of SymbolicArray or Tensor to array_like
            What stands there now (symbols or formulas, which are recognised as they are written; numbers stay) and, of
            a shape that broadcasts to it, what shall stand there.

        Raises
        ------
        ValueError
            If one formula stands in several places that get different replacements.

        Examples
        --------
        >>> from tinygrad_dls.views import symbolic
        >>> w, x = symbolic.symbols("w", (1, 2)), symbolic.symbols("x", (2, 1))
        >>> (w @ x).substitute({w: [[1, 2]]})
        SymbolicArray([[x_{1} + 2*x_{2}]])
        """
        pairs: dict[Expression, Expression] = {}
        for key, replacement in replacements.items():
            old = _entries(values(key))
            new = np.broadcast_to(_entries(values(replacement)), old.shape)
            for x, y in zip(old.flat, new.flat, strict=True):
                if (1 / x).is_Add and y:  # SymPy writes the 1/a of a sigmoid as 1 + exp(-z), and all its powers by that
                    x, y = 1 / x, 1 / y
                if not x.is_Number and pairs.setdefault(x, y) != y:
                    raise ValueError(f"substitute: {x} stands for both {pairs[x]} and {y}.")
        return SymbolicArray(_each(lambda x: x.xreplace(pairs), self._entries))

    def evaluate(self, numbers: Mapping[Any, Any]) -> np.ndarray[Any, Any]:
        """The numbers that the formulas become when all the symbols do.

        Parameters
        ----------
        numbers : mapping of SymbolicArray or Tensor to array_like of numbers
            The symbols' values, of shapes that broadcast to theirs.

        Returns
        -------
        ndarray of float64
            Correct to the last digit or so: computed with 30.

        Raises
        ------
        TypeError
            If a symbol is left without a number, or a formula has no real value there.

        Examples
        --------
        >>> from tinygrad_dls.views import symbolic
        >>> z = symbolic.symbols("z", (1, 2))
        >>> (z * z).evaluate({z: [[1.5, -2]]})
        array([[2.25, 4.  ]])
        """
        entries = _numbers(self.substitute(numbers))
        left = sorted({str(s) for x in entries.flat for s in x.free_symbols})
        if left:
            raise TypeError(f"{', '.join(left)} has no number: pass one for every symbol, as in .evaluate({{z: ...}}).")
        return _each(_float, entries).astype(float)

    # -- NumPy's protocols --------------------------------------------------------------------------------------------

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        if dtype is None or dtype == _DTYPE.dtype:
            return self._entries.copy()
        return self.evaluate({}).astype(dtype)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        """Answer ``np.tanh(s)``, ``ndarray @ s`` and the like, entry by entry (NEP 13)."""
        if any(isinstance(x, Tensor) for x in inputs):
            return NotImplemented
        name = f"np.{ufunc.__name__}" + ("" if method == "__call__" else f".{method}")
        if ufunc is np.add and method == "at" and isinstance(inputs[0], SymbolicArray):
            z, index, dz = inputs  # the rule of indexing, on zeros that are still its own
            np.add.at(z._entries, index, _numbers(dz))
            return None
        if method == "__call__" and not kwargs:
            if ufunc is np.matmul:
                return SymbolicArray(np.matmul(*map(_numbers, inputs)))
            if function := _formula(ufunc):
                logical = ufunc in (np.logical_and, np.logical_or, np.logical_not)
                return SymbolicArray(_each(function, *map(_entries if logical else _numbers, inputs)))
        raise _without_formula(name)

    def __array_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Answer ``np.sum(s, axis=1)``, ``np.concatenate([s, r])`` and the like (NEP 18)."""
        if any(issubclass(t, Tensor) for t in types):
            return NotImplemented
        if func in _REARRANGEMENTS:
            return SymbolicArray(func(_opened(args[0]), *args[1:], **kwargs))
        function = _FUNCTIONS.get(func)
        if function is None:
            raise _without_formula(f"{func.__module__.replace('numpy', 'np')}.{func.__name__}")
        return function(*args, **kwargs)


_DTYPE = _Dtype()


def symbols(name: str, shape: tuple[int, ...] = (), **assumptions: bool) -> SymbolicArray:
    """An array of real symbols, with the course's indices: ``W1_{12}`` is row 1, column 2 of W1.

    Parameters
    ----------
    name : str
        What the symbols are called. Axes of length 1 get no index, so a single entry is just the name.
    shape : tuple of int
        Such as ``(n_h, n_x)``.
    **assumptions : bool
        What SymPy shall know of every entry, such as ``positive=True``.

    Examples
    --------
    >>> from tinygrad_dls.views import symbolic
    >>> symbolic.symbols("W1", (2, 2))
    SymbolicArray([[W1_{11}, W1_{12}],
                   [W1_{21}, W1_{22}]])
    >>> symbolic.symbols("b", (1, 1), positive=True) > 0
    SymbolicArray([[True]])
    """
    entries = np.empty(shape, dtype=object)
    between = "," if max(shape, default=1) > 9 else ""  # 1,12 or 11,2
    for index in np.ndindex(*shape):
        place = between.join(str(i + 1) for i, n in zip(index, shape, strict=True) if n > 1)
        entries[index] = sympy.Symbol(f"{name}_{{{place}}}" if place else name, real=True, **assumptions)
    return SymbolicArray(entries)


def with_symbols(model: M) -> M:
    """A copy of a model whose parameters are symbols of their names: ``W1_{11}, ..., b2``.

    Parameters
    ----------
    model : Module
        Any model or layer; it is left as it is.

    Examples
    --------
    >>> import tinygrad_dls as tg
    >>> from tinygrad_dls.views import symbolic
    >>> model = symbolic.with_symbols(tg.nn.LogisticRegression(2))
    >>> model(symbolic.symbols("X", (2, 1))).data
    SymbolicArray([[W_{1}*X_{1} + W_{2}*X_{2} + b]])
    """
    model = copies.deepcopy(model)
    for name, p in model.named_parameters():
        Parameter.__init__(p, symbols(name, p.shape), name=name)  # in place: a shared parameter stays shared
    return model


# -- NumPy's functions as formulas ------------------------------------------------------------------------------------


def _formula(ufunc: np.ufunc) -> Callable[..., Expression] | None:
    """What a ufunc does with expressions; SymPy's function of the same name, where there is no entry in the table."""
    if ufunc in _UFUNCS:
        return _UFUNCS[ufunc]
    function = getattr(sympy, ufunc.__name__.replace("arc", "a"), None)
    return function if isinstance(function, type) and issubclass(function, sympy.Function) else None


def _without_formula(name: str) -> TypeError:
    return TypeError(f"{name} has no formula on symbols. Put numbers in first, with .evaluate({{z: ...}}).")


def _settling(function: Callable[..., Expression]) -> Callable[..., Expression]:
    return lambda *x: _settled(function(*x))


_UFUNCS: dict[np.ufunc, Callable[..., Expression]] = {
    np.add: _settling(lambda x, y: x + y),
    np.subtract: _settling(lambda x, y: x - y),
    np.multiply: _settling(lambda x, y: x * y),
    np.divide: _settling(lambda x, y: x / y),
    np.power: lambda x, y: x**y,
    np.negative: lambda x: -x,
    np.positive: lambda x: x,
    np.expm1: lambda x: sympy.exp(x) - 1,
    np.log1p: lambda x: sympy.log(1 + x),
    np.sqrt: sympy.sqrt,
    np.square: lambda x: x**2,
    np.absolute: sympy.Abs,
    np.maximum: lambda x, y: _extreme(sympy.Max, x, y),
    np.minimum: lambda x, y: _extreme(sympy.Min, x, y),
    np.equal: sympy.Eq,
    np.not_equal: sympy.Ne,
    np.less: sympy.Lt,
    np.less_equal: sympy.Le,
    np.greater: sympy.Gt,
    np.greater_equal: sympy.Ge,
    np.logical_and: lambda x, y: sympy.And(_truth(x), _truth(y)),
    np.logical_or: lambda x, y: sympy.Or(_truth(x), _truth(y)),
    np.logical_not: lambda x: sympy.Not(_truth(x)),
    np.isnan: lambda x: sympy.true if x is sympy.nan else sympy.false,
    np.isfinite: lambda x: sympy.false if x.has(sympy.oo, -sympy.oo, sympy.nan) else sympy.true,
}


def _extreme(kind: Any, x: Expression, y: Expression) -> Expression:
    """``Max(x, y)`` or ``Min(x, y)``, without what cannot be it; SymPy's own way to find that out is slow."""
    candidates = {a for e in (x, y) for a in (e.args if isinstance(e, kind) else (e,))}
    sign = 1 if kind is sympy.Max else -1
    for a in sorted(candidates, key=sympy.default_sort_key):
        if any((sign * (b - a)).is_nonnegative for b in candidates - {a}):
            candidates.remove(a)
    return kind(*candidates, evaluate=False)


def _reduced(ufunc: np.ufunc, x: Any, axis: Any, keepdims: bool) -> SymbolicArray:
    reduce = np.frompyfunc(_UFUNCS[ufunc], 2, 1, identity=None).reduce  # None: in any order, over several axes
    return SymbolicArray(reduce(_numbers(x), axis=axis, keepdims=keepdims))


def _mean(x: Any, axis: Any = None, *, keepdims: bool = False) -> SymbolicArray:
    total = SymbolicArray(x).sum(axis, keepdims=keepdims)
    return total / (np.size(x) // total.size)  # type: ignore[no-any-return]


def _var(x: Any, axis: Any = None, *, ddof: int = 0, keepdims: bool = False) -> SymbolicArray:
    total = np.square(x - _mean(x, axis, keepdims=True)).sum(axis, keepdims=keepdims)
    return total / (np.size(x) // total.size - ddof)  # type: ignore[no-any-return]


def _std(x: Any, axis: Any = None, *, ddof: int = 0, keepdims: bool = False) -> Any:
    return np.sqrt(_var(x, axis, ddof=ddof, keepdims=keepdims))


def _where(condition: Any, x: Any, y: Any) -> SymbolicArray:
    def chosen(c: Expression, a: Expression, b: Expression) -> Expression:
        c = _truth(c)  # which holds within the first case, and does not in the other
        return sympy.Piecewise((a.xreplace({c: sympy.true}), c), (b.xreplace({c: sympy.false}), True))

    return SymbolicArray(_each(chosen, _entries(condition), _numbers(x), _numbers(y)))


def _clip(x: Any, a_min: Any = None, a_max: Any = None, *, min: Any = None, max: Any = None) -> Any:
    low, high = a_min if min is None else min, a_max if max is None else max
    x = x if low is None else np.maximum(x, low)
    return x if high is None else np.minimum(x, high)


def _filled(number: int) -> Callable[..., SymbolicArray]:
    return lambda x, *, shape=None: SymbolicArray(np.full(np.shape(x) if shape is None else shape, number))


def _opened(x: Any) -> Any:
    """The entries of an array, or of each array in a list."""
    return list(map(_numbers, x)) if isinstance(x, (list, tuple)) else _numbers(x)


_REARRANGEMENTS = {
    np.reshape, np.transpose, np.swapaxes, np.expand_dims, np.squeeze, np.broadcast_to, np.concatenate, np.stack,
    np.prod, np.cumsum,
}  # fmt: skip
_FUNCTIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    np.shape: lambda x: x.shape,
    np.ndim: lambda x: x.ndim,
    np.size: lambda x: x.size,
    np.sum: lambda x, axis=None, *, keepdims=False: x.sum(axis, keepdims=keepdims),
    np.max: lambda x, axis=None, *, keepdims=False: x.max(axis, keepdims=keepdims),
    np.min: lambda x, axis=None, *, keepdims=False: x.min(axis, keepdims=keepdims),
    np.mean: _mean,
    np.var: _var,
    np.std: _std,
    np.dot: lambda x, y: np.matmul(x, y) if np.ndim(x) and np.ndim(y) else x * y,
    np.where: _where,
    np.clip: _clip,
    np.ones_like: _filled(1),
    np.zeros_like: _filled(0),
    np.astype: lambda x, dtype: x.astype(dtype),
    np.all: lambda x: SymbolicArray(sympy.And(*map(_truth, _entries(x).flat))),
    np.any: lambda x: SymbolicArray(sympy.Or(*map(_truth, _entries(x).flat))),
}


def _float(x: Expression) -> float:
    try:
        return float(sympy.N(x, 30))
    except TypeError:
        raise TypeError(f"{x} is not a real number.") from None


# -- cases ------------------------------------------------------------------------------------------------------------

_KINKS = (sympy.Max, sympy.Min, sympy.Abs)
_Relational = sympy.core.relational.Relational


def in_case(formulas: Any, Z: Any, signs: Any) -> SymbolicArray:
    """The formulas where the entries of Z have these signs: kinks in Z are decided.

    Parameters
    ----------
    formulas : SymbolicArray
    Z : SymbolicArray
        Symbols or formulas, such as the linear part before a ReLU.
    signs : array_like of -1, 0 and 1, of a shape that broadcasts to that of Z

    Examples
    --------
    >>> import tinygrad_dls as tg
    >>> from tinygrad_dls.views import symbolic
    >>> z = symbolic.symbols("z", (1, 2))
    >>> a = tg.relu(z)
    >>> a
    SymbolicArray([[Max(0, z_{1}), Max(0, z_{2})]])
    >>> symbolic.in_case(a, z, [[1, -1]])
    SymbolicArray([[z_{1}, 0]])
    """
    Z = _entries(values(Z))
    known = list(zip(Z.flat, map(int, np.broadcast_to(signs, Z.shape).flat), strict=True))
    return SymbolicArray(_each(lambda x: _in_case(x, known), _entries(values(formulas))))


def _in_case(x: Expression, known: list[tuple[Expression, int]]) -> Expression:
    """The expression where each z of these has its sign."""

    def order(a: Expression, b: Expression) -> Expression | None:
        """The sign of a - b, if it is a multiple of a z."""
        for z, sign in known:
            if ratio := _ratio(a - b, z):
                return sympy.sign(ratio) * sign
        return None

    def decided(kink: Expression) -> Expression:
        if isinstance(kink, _Relational):
            sign = order(*kink.args)
            return kink if sign is None else kink.func(sign, 0)
        candidates = list(_compared(kink))
        for a, b in itertools.permutations(candidates, 2):
            if a in candidates and b in candidates and order(a, b) in (0, -1 if isinstance(kink, sympy.Min) else 1):
                candidates.remove(b)
        if len(candidates) == 1:
            return candidates[0]
        return kink if len(candidates) == len(_compared(kink)) else kink.func(*candidates)

    return x.replace(lambda e: isinstance(e, (*_KINKS, _Relational)), decided)


def _compared(kink: Expression) -> tuple[Expression, ...]:
    """The candidates of which a kink takes one."""
    return (kink.args[0], -kink.args[0]) if isinstance(kink, sympy.Abs) else kink.args


def _ratio(x: Expression, z: Expression) -> Expression:
    """The number x / z; 0 if it is none."""
    x, z = sympy.expand(x), sympy.expand(z)
    if z.is_Number:
        return 0
    term, coefficient = next(iter(z.as_coefficients_dict().items()))
    ratio = x.as_coefficients_dict()[term] / coefficient
    return ratio if sympy.expand(x - ratio * z) == 0 else 0


@functools.lru_cache(maxsize=4096)
def _settled(x: Expression) -> Expression:
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
            x = sympy.S.Zero if _is_zero(factor) else x
    for piecewise in x.atoms(sympy.Piecewise):
        x = _without_exception(x, piecewise)
    return x


def _kinks_in_exponents(x: Expression) -> list[Expression]:
    summands = [term for e in x.atoms(sympy.exp) for term in sympy.Add.make_args(e.exp)]
    kinks = {factor for term in summands for _, factor in [term.as_coeff_Mul()] if isinstance(factor, _KINKS)}
    return sorted(kinks, key=sympy.default_sort_key)


def _without_shift(x: Expression, kink: Expression) -> Expression:
    """The expression without a kink of which any value would do, as softmax does not change if all logits shift."""
    anything, nothing = (x.xreplace({kink: value}) for value in (sympy.Dummy(real=True), sympy.S.Zero))
    return nothing if _is_zero(anything - nothing) else x


def _without_sign(x: Expression, z: Expression) -> Expression:
    """The expression without the kinks and cases in z, if it is one function where z > 0, where z < 0 and at 0."""
    above, below = (_in_case(x, [(z, sign)]) for sign in (1, -1))
    if above == x or not _is_zero(above - below):
        return x
    if x.has(_Relational):  # else it is continuous, and needs no look at 0
        gap = above - _in_case(x, [(z, 0)])
        if not _is_zero(gap.xreplace({e: sympy.S.One for e in gap.atoms(sympy.exp) if _ratio(e.exp, z)})):
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
            if _is_zero((usually - x.xreplace({piecewise: exception})).subs(there)):
                return usually
            break
    return x


# -- one form for equal formulas --------------------------------------------------------------------------------------


def same(a: Any, b: Any) -> bool:
    """Whether two arrays of formulas are equal: whether each difference is 0 for all values of the symbols.

    A True is a proof, by algebra: see `simplify`. A False says that no proof was found. Kinks and other functions are
    equal if their arguments are; `in_case` decides kinks first.

    Parameters
    ----------
    a, b : SymbolicArray, Tensor of one, or array_like
        Arrays of one shape.

    Raises
    ------
    ValueError
        If their shapes differ: no broadcasting here.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_dls.views import symbolic
    >>> z = symbolic.symbols("z", (1, 1))
    >>> symbolic.same(1 / (1 + np.exp(-z)), np.exp(z) / (1 + np.exp(z)))
    True
    """
    a, b = _numbers(values(a)), _numbers(values(b))
    if a.shape != b.shape:
        raise ValueError(f"same: the formulas are {a.shape} and {b.shape}; expected one shape.")
    return all(_is_zero(x - y) for x, y in zip(a.flat, b.flat, strict=True))


def simplify(formulas: Any) -> SymbolicArray:
    """Formulas as fractions in lowest terms, of polynomials in the symbols and in the functions of them.

    Exponentials are taken apart into as few as multiply to all of them, so that ``exp(-z)`` is ``1/exp(z)``; logarithms
    into those of the factors, which is right where they are defined. Two formulas that are equal as fractions come out
    as one, and a 0 comes out as 0.

    Parameters
    ----------
    formulas : SymbolicArray or Tensor of one

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_dls.views import symbolic
    >>> z, y = symbolic.symbols("z", (1, 1)), symbolic.symbols("y", (1, 1))
    >>> a = 1 / (1 + np.exp(-z))
    >>> symbolic.simplify((-y / a + (1 - y) / (1 - a)) * a * (1 - a) - (a - y))
    SymbolicArray([[0]])
    """
    return SymbolicArray(_each(_canonical, _numbers(values(formulas))))


def _is_zero(x: Expression) -> bool:
    if x.is_Number:
        return bool(x == 0)
    if x.has(sympy.nan, sympy.zoo, sympy.oo, -sympy.oo) or _is_not_zero_somewhere(x):
        return False
    return not _in_lowest_terms(_Fractions(x).fraction(x))


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


def _is_not_zero_somewhere(x: Expression) -> bool:
    """Whether a number already shows it; most that are not 0 are found out here, and quickly."""
    numbers = {}
    for i, symbol in enumerate(sorted(x.free_symbols, key=str), 1):
        number = sympy.Float((37 * i) % 101 / 101)  # scattered over 0 to 1, where labels and probabilities lie
        numbers[symbol] = -number if symbol.is_negative else number
    value = x.xreplace(numbers)  # in floats, with 1e-15 of rounding or so
    return bool(value.is_Float) and abs(value) > 1e-6


@functools.lru_cache(maxsize=4096)
def _canonical(x: Expression) -> Expression:
    fractions = _Fractions(x)
    return sympy.cancel(fractions.fraction(x)).xreplace(fractions.meaning)


class _Fractions:
    """Expressions as fractions of polynomials in generators: symbols, and what stands for the functions of them."""

    def __init__(self, x: Expression) -> None:
        self.generators: dict[Any, Expression] = {}
        self.meaning: dict[Expression, Expression] = {}
        self.fraction = functools.cache(self._fraction)
        self._exponentials(x)

    def _generator(self, key: Any, meaning: Expression) -> Expression:
        if key not in self.generators:
            self.generators[key] = dummy = sympy.Dummy(real=True)
            self.meaning[dummy] = meaning
        return self.generators[key]

    def _exponentials(self, x: Expression) -> None:
        """Find a basis: the fewest exponentials of which all are products of whole powers."""
        exponents = [self._terms(e) for e in sorted(_outer_exponents(x), key=sympy.default_sort_key)]
        self.columns = sorted({term for e in exponents for term in e}, key=sympy.default_sort_key)
        rows = sympy.Matrix([[e.get(term, 0) for term in self.columns] for e in exponents])
        basis, pivots = rows.rref() if exponents else (rows, ())
        self.pivots: tuple[int, ...] = pivots
        self.basis: list[tuple[Expression, Expression]] = []  # for each pivot, the unit of its powers, and the exponent
        for i, pivot in enumerate(self.pivots):
            powers = [r for r in rows[:, pivot] if r]
            unit = sympy.Rational(1, math.lcm(*(int(r.q) for r in powers))) * sympy.sign(powers[0])
            exponent = sympy.Add(*(unit * r * term for r, term in zip(basis[i, :], self.columns, strict=True)))
            self.basis.append((unit, exponent))

    @staticmethod
    def _terms(exponent: Expression) -> dict[Expression, Expression]:
        return {k: v for k, v in _multiplied_out(_inside(exponent)).as_coefficients_dict().items() if not _is_log(k)}

    def _fraction(self, x: Expression) -> Expression:
        """The expression, of those that this was made for, as a fraction."""
        if x.is_Add or x.is_Mul:
            return x.func(*map(self.fraction, x.args))
        if x.is_Pow and x.exp.is_Integer:
            return self.fraction(x.base) ** x.exp
        if (exponent := _exponent(x)) is not None:
            return self._product(exponent)
        if x.is_Pow:  # a root
            root = _canonical(x.base) ** sympy.Rational(1, x.exp.q)
            return self._generator(root, root) ** x.exp.p
        if isinstance(x, sympy.log):
            return self._logarithm(x.args[0])
        if x.is_Atom:
            return x
        inside = _inside(x)
        return self._generator(inside, inside)

    def _product(self, exponent: Expression) -> Expression:
        """The power of e with this exponent, as a product of powers of the basis, and of what stands in logarithms."""
        terms = self._terms(exponent)
        left = sympy.Add(*(coefficient * term for term, coefficient in terms.items()))
        product = sympy.S.One
        for pivot, (unit, part) in zip(self.pivots, self.basis, strict=True):
            power = terms.get(self.columns[pivot], 0) / unit
            if sympy.sympify(power).is_Integer:
                product *= self._generator(("exp", part), sympy.exp(part)) ** power
                left = sympy.expand_mul(left - power * part)
        if left:  # an exponent that was hidden when the basis was found
            product *= self._generator(("exp", left), sympy.exp(left))
        for term, coefficient in _multiplied_out(_inside(exponent)).as_coefficients_dict().items():
            if _is_log(term):
                product *= self.fraction(term.args[0] ** coefficient)
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


def _multiplied_out(x: Expression) -> Expression:
    return sympy.expand_mul(x, deep=False)


def _is_log(term: Expression) -> bool:
    return isinstance(term, sympy.log)


def _inside(x: Expression) -> Expression:
    """The expression with the arguments of its functions in the one form."""
    if x.is_Atom:
        return x
    one_form = _inside if x.is_Add or x.is_Mul or x.is_Pow else _canonical
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
        logs = [t for t in _multiplied_out(exponent).as_coefficients_dict() if _is_log(t)]
        return {exponent}.union(*(_outer_exponents(t) for t in logs))
    if x.is_Add or x.is_Mul or isinstance(x, sympy.log) or (x.is_Pow and x.exp.is_Integer):
        return set().union(*map(_outer_exponents, x.args))
    return set()
