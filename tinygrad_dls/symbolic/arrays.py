"""Formulas instead of numbers: an array of SymPy expressions, on which the engine's own rules run unchanged.

The one idea: a rule is written with operators, ``np.*`` functions and array methods only, so it does not care whether
an entry is ``0.73`` or ``1/(1 + exp(-z))``. A `Tensor` of a `SymbolicArray` therefore computes formulas, and `backward`
gives the gradient as a formula: the rule itself, not a sample of it. `same` in `tinygrad_dls.symbolic.equality`
then decides whether it *is* the formula that the notes derive by hand, for all real numbers at once.

What comes out is exact: floats that a rule writes, such as ``1.0``, become fractions. What a rule does only against
overflow leaves no trace: the sigmoid is coded with ``min(z, 0)`` and ``|z|``, both of its cases are the same function,
and so it becomes ``1/(1 + exp(-z))``. A kink that does matter stays in the formula, as ``Max(0, z)`` and as a case
``z > 0``, unless the assumptions on the symbols decide it; `in_case` decides it afterwards.

Formulas speak of real numbers. They say nothing about rounding.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from tinygrad_dls.extras import install

try:
    import sympy
except ImportError as error:
    raise ImportError(f"symbols need SymPy: {install('symbolic')}") from error

from tinygrad_dls.engine.errors import shown
from tinygrad_dls.engine.tensor import Tensor, values
from tinygrad_dls.ir.call import called
from tinygrad_dls.ir.functions import JOINED, MATRIX, REDUCTION, RUNNING, SHAPE, VIEW, row_of
from tinygrad_dls.nn.module import Module, Parameter
from tinygrad_dls.nn.substitution import with_parameters
from tinygrad_dls.symbolic import algebra
from tinygrad_dls.symbolic.algebra import Expression, as_boolean, as_float, as_number, exact

__all__ = ["SymbolicArray", "each", "entries_of", "numbers_of", "symbols", "with_symbols"]

Entries = np.ndarray[tuple[int, ...], np.dtype[Any]]  # of dtype object, each a SymPy expression
M = TypeVar("M", bound=Module)


# -- entries ----------------------------------------------------------------------------------------------------------


def each(function: Callable[..., Expression], *arrays: Any) -> Entries:
    """Apply a function entry by entry, with broadcasting."""
    return np.asarray(np.frompyfunc(function, len(arrays), 1)(*arrays), dtype=object)


def entries_of(x: Any) -> Entries:
    """The entries of any operand, exact."""
    if isinstance(x, SymbolicArray):
        return x._entries
    single = (SymbolicArray, np.generic)
    return each(lambda e: exact(e.item() if isinstance(e, single) else e), np.asarray(x, dtype=object))


def numbers_of(x: Any) -> Entries:
    """The entries of any operand, with booleans as numbers."""
    return each(as_number, entries_of(x))


# -- the array --------------------------------------------------------------------------------------------------------


class _Dtype:
    """NumPy's dtype ``object``, with the number 1 in it made an exact one: what `Tensor.backward` starts from."""

    kind = char = "O"
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
    >>> from tinygrad_dls import symbolic
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
        self._entries = entries_of(entries)

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
        """The entries in another shape."""
        return SymbolicArray(self._entries.reshape(*shape))

    def astype(self, dtype: Any) -> Any:
        """Itself for the dtype ``object``; else numbers, if there are no symbols."""
        return self if dtype == _DTYPE.dtype else self.evaluate({}).astype(dtype)

    def sum(self, axis: Any = None, *, keepdims: bool = False) -> SymbolicArray:
        """Sum over the axes."""
        return SymbolicArray(np.sum(numbers_of(self), axis=axis, keepdims=keepdims))

    def max(self, axis: Any = None, *, keepdims: bool = False) -> SymbolicArray:
        """Largest entry over the axes: a ``Max`` of those that the assumptions leave as candidates."""
        return _reduced(np.maximum, self, axis, keepdims)

    def min(self, axis: Any = None, *, keepdims: bool = False) -> SymbolicArray:
        """Smallest entry over the axes: a ``Min`` of those that the assumptions leave as candidates."""
        return _reduced(np.minimum, self, axis, keepdims)

    def all(self) -> SymbolicArray:
        """Whether all entries are true, as a condition."""
        return SymbolicArray(sympy.And(*map(as_boolean, self._entries.flat)))

    def any(self) -> SymbolicArray:
        """Whether any entry is true, as a condition."""
        return SymbolicArray(sympy.Or(*map(as_boolean, self._entries.flat)))

    def item(self) -> Expression:
        """The expression of a single entry."""
        return self._entries.item()

    def __getitem__(self, index: Any) -> SymbolicArray:
        return SymbolicArray(self._entries[index])

    def __len__(self) -> int:
        return len(self._entries)

    def __bool__(self) -> bool:
        condition = as_boolean(self.item())
        if condition not in (sympy.true, sympy.false):
            raise TypeError(
                f"whether {condition} depends on the symbols. Give them a sign, as in symbols('z', shape, "
                "positive=True), "
                "decide it with in_case(formulas, z, +1), or put numbers in with .evaluate({z: ...})."
            )
        return bool(condition)

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
        >>> from tinygrad_dls import symbolic
        >>> w, x = symbolic.symbols("w", (1, 2)), symbolic.symbols("x", (2, 1))
        >>> (w @ x).substitute({w: [[1, 2]]})
        SymbolicArray([[x_{1} + 2*x_{2}]])
        """
        pairs: dict[Expression, Expression] = {}
        for key, replacement in replacements.items():
            old = entries_of(values(key))
            new = np.broadcast_to(entries_of(values(replacement)), old.shape)
            for x, y in zip(old.flat, new.flat, strict=True):
                if (1 / x).is_Add and y:  # SymPy writes the 1/a of a sigmoid as 1 + exp(-z), and all its powers by that
                    x, y = 1 / x, 1 / y
                if not x.is_Number and pairs.setdefault(x, y) != y:
                    raise ValueError(f"substitute: {x} stands for both {pairs[x]} and {y}.")
        return SymbolicArray(each(lambda x: x.xreplace(pairs), self._entries))

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
        >>> from tinygrad_dls import symbolic
        >>> z = symbolic.symbols("z", (1, 2))
        >>> (z * z).evaluate({z: [[1.5, -2]]})
        array([[2.25, 4.  ]])
        """
        entries = numbers_of(self.substitute(numbers))
        left = sorted({str(s) for x in entries.flat for s in x.free_symbols})
        if left:
            raise TypeError(f"no number for {', '.join(left)}: pass one for every symbol, as in .evaluate({{z: ...}}).")
        return each(as_float, entries).astype(float)

    # -- NumPy's protocols --------------------------------------------------------------------------------------------

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        if dtype is None or dtype == _DTYPE.dtype:
            return self._entries.copy()
        return self.evaluate({}).astype(dtype)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        """Answer ``np.tanh(s)``, ``ndarray @ s`` and the like, entry by entry (NEP 13)."""
        if any(isinstance(x, Tensor) for x in inputs):
            return NotImplemented
        name = called(ufunc) + ("" if method == "__call__" else f".{method}")
        if ufunc is np.add and method == "at" and isinstance(inputs[0], SymbolicArray):
            z, index, dz = inputs  # the rule of indexing, on zeros that are still its own
            np.add.at(z._entries, index, numbers_of(dz))
            return None
        if method == "__call__" and not kwargs:
            if row_of(ufunc).kind is MATRIX:
                return SymbolicArray(ufunc(*map(numbers_of, inputs)))
            if (result := _entrywise(ufunc, inputs)) is not None:
                return result
        raise _without_formula(name)

    def __array_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Answer ``np.sum(s, axis=1)``, ``np.concatenate([s, r])`` and the like (NEP 18)."""
        if any(issubclass(t, Tensor) for t in types):
            return NotImplemented
        row = row_of(func)
        if row.composed is not None:
            return row.composed(*args, **kwargs)
        if row.method and (method := getattr(SymbolicArray, row.method, None)) is not None:
            return method(SymbolicArray(args[0]), *args[1:], **kwargs)
        if row.kind is SHAPE and (asked := getattr(args[0], func.__name__, None)) is not None:
            return asked
        if func is np.zeros_like or func is np.ones_like:
            shape = kwargs.get("shape")
            return SymbolicArray(np.full(np.shape(args[0]) if shape is None else shape, int(func is np.ones_like)))
        if row.kind in _ON_ENTRIES:
            return SymbolicArray(func(_opened(args[0]), *args[1:], **kwargs))
        if not kwargs and (result := _entrywise(func, args)) is not None:
            return result
        raise _without_formula(called(func))


_ON_ENTRIES = (VIEW, JOINED, RUNNING, REDUCTION)  # what NumPy does with entries of any kind


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

    Returns
    -------
    SymbolicArray

    Raises
    ------
    TypeError
        If the name is no text, or empty.

    Examples
    --------
    >>> from tinygrad_dls import symbolic
    >>> symbolic.symbols("W1", (2, 2))
    SymbolicArray([[W1_{11}, W1_{12}],
                   [W1_{21}, W1_{22}]])
    >>> symbolic.symbols("b", (1, 1), positive=True) > 0
    SymbolicArray([[True]])
    """
    if not name or not isinstance(name, str):
        raise TypeError(f"symbols: name must be a text, such as 'W1', got {shown(name)}.")
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

    Returns
    -------
    Module

    Raises
    ------
    TypeError
        If it is no Module.

    Examples
    --------
    >>> import tinygrad_dls as tg
    >>> from tinygrad_dls import symbolic
    >>> model = symbolic.with_symbols(tg.nn.LogisticRegression(2))
    >>> model(symbolic.symbols("X", (2, 1))).data
    SymbolicArray([[W_{1}*X_{1} + W_{2}*X_{2} + b]])
    """
    if not isinstance(model, Module):
        raise TypeError(f"with_symbols takes a model or a layer, got {shown(model)}.")
    return with_parameters(
        model, {p: Parameter(symbols(name, p.shape), name=name) for name, p in model.named_parameters()}
    )


# -- NumPy's functions as formulas ------------------------------------------------------------------------------------


def _formula(function: Callable[..., Any]) -> Callable[..., Expression] | None:
    """What a function does with the entries of its arguments; SymPy's of the same name, where its row says nothing."""
    formula = row_of(function).formula
    if callable(formula):
        return functools.partial(formula, algebra)
    name = formula or getattr(function, "__name__", "").replace("arc", "a")
    found = getattr(sympy, name, None)
    of_numbers = isinstance(found, type) and issubclass(found, sympy.Function)
    return found if formula or of_numbers else None


def _entrywise(function: Callable[..., Any], arguments: Iterable[Any]) -> SymbolicArray | None:
    """The formulas of a function's result; None if the function has none."""
    if not row_of(function).is_entrywise or (formula := _formula(function)) is None:
        return None
    return SymbolicArray(each(formula, *map(entries_of if row_of(function).truths else numbers_of, arguments)))


def _without_formula(name: str) -> TypeError:
    return TypeError(f"{name} has no formula on symbols. Put numbers in first, with .evaluate({{z: ...}}).")


def _reduced(ufunc: np.ufunc, x: Any, axis: Any, keepdims: bool) -> SymbolicArray:
    formula = _formula(ufunc)
    assert formula is not None
    reduce = np.frompyfunc(formula, 2, 1, identity=None).reduce  # None: in any order, over several axes
    return SymbolicArray(reduce(numbers_of(x), axis=axis, keepdims=keepdims))


def _opened(x: Any) -> Any:
    """The entries of an array, or of each array in a list."""
    return list(map(numbers_of, x)) if isinstance(x, (list, tuple)) else numbers_of(x)
