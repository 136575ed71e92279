"""What is known of each NumPy function that a program may hold: one row of one table for each.

A program is NumPy calls. How a call is printed, in Python and in LaTeX, what it does to the axis of the examples,
between which numbers its result lies, what it comes to entry by entry: whoever goes through a program asks the row of
the call's function, by `row_of`. So a function is added in one place, by `add`, and all of them know it.

A function without a row may still be in a program: it is printed as ``np.name(...)``, and nothing is taken for granted;
of a ufunc, that it goes entry by entry. Beside NumPy's, there are functions that formulas are known by.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from tinygrad_dls.ir import composed, normal, spellings
from tinygrad_dls.ir.call import SLOGDET, astype, getitem, log_abs_det, scattered, sign_of_det

__all__ = [
    "PATTERNS", "Binding", "Function", "Kind", "add", "clipped_sigmoid", "row_of", "rows", "shared_softmax", "sigmoid",
    "softmax",
]  # fmt: skip


class Kind(enum.Enum):
    """What a function does with the entries of its arguments.

    Attributes
    ----------
    ENTRYWISE
        Each entry of the result is computed from the entries in its place; arguments are broadcast.
    REDUCTION
        Entries along axes become one: ``np.sum``, with ``axis`` and ``keepdims``.
    RUNNING
        Entries along an axis are taken one after another: ``np.cumsum``.
    COLUMNWISE
        Each column of the result is computed from the column in its place: the softmax.
    MATRIX
        Rows times columns.
    VIEW
        The same entries in other places, in the memory of the first argument.
    PART
        Some of the entries, or each in a place of its own: indexing, and its opposite.
    JOINED
        The entries of several arrays in one.
    FILLED
        A new array of one number.
    SHAPE
        What is asked of shapes and dtypes, whatever the entries are: ``np.ndim``.
    FREE
        The shape of the result depends on the entries, so that no program may hold it: ``np.unique``.
    OTHER
        Nothing is known.
    """

    ENTRYWISE = enum.auto()
    REDUCTION = enum.auto()
    RUNNING = enum.auto()
    COLUMNWISE = enum.auto()
    MATRIX = enum.auto()
    VIEW = enum.auto()
    PART = enum.auto()
    JOINED = enum.auto()
    FILLED = enum.auto()
    SHAPE = enum.auto()
    FREE = enum.auto()
    OTHER = enum.auto()


class Binding(enum.IntEnum):
    """How tightly an operator binds, as in Python; between these, other notations have levels of their own."""

    COMPARISON = 0
    SUM = 10
    PRODUCT = 20
    SIGN = 30
    POWER = 40
    ATOM = 50


ENTRYWISE, REDUCTION, RUNNING, COLUMNWISE, MATRIX, VIEW, PART, JOINED, FILLED, SHAPE, FREE, OTHER = Kind
COMPARISON, SUM, PRODUCT, SIGN, POWER, ATOM = Binding
LOOSEST = COMPARISON  # what a place asks for that takes everything without parentheses


@dataclass(frozen=True)
class Function:
    r"""What is known of a function.

    Attributes
    ----------
    function : callable
        As it stands in programs.
    kind : Kind
        What it does with entries; it decides what happens to the axis of the examples, too.
    operator : str
        As Python writes it, ``"+"``; empty if it has none.
    binding : Binding
        How tightly its operator binds.
    chained : bool
        Whether ``x + (y + z)`` is written without parentheses.
    method : str
        The method of arrays that does the same, if programs are written with it: ``"sum"``.
    python : callable, optional
        How Python writes it, if otherwise than ``np.name(...)``: a function of the printer, which is a
        `tinygrad_dls.ir.printing.PythonPrinter`, and of the call, that gives the text; or None: as usual.
    latex : str or callable
        Its name in a formula, ``r"\tanh"``; or the formula, with ``#1`` and ``#2`` for the arguments. Of an operator,
        its sign in a formula, if that is another one. Empty: letter by letter. Or a function as for `python`, of the
        `tinygrad_dls.derivations.latex.LatexPrinter`.
    bounds : tuple of two floats
        Between which numbers the result lies, whatever the arguments are.
    monotone : bool
        Whether it rises all along, or falls, in each argument while the others stand still: then its extremes over
        intervals lie at their ends.
    selects : bool
        Whether every entry of the result is one of the first argument's, in another dtype perhaps.
    formula : str or callable
        What an entry comes to: the name of SymPy's function; or a function of the module `symbolic.algebra` and of the
        entries of the arguments. Empty: SymPy's function of the same name, if it has one.
    truths : bool
        Whether its formula takes conditions as they are; else they count as 1 and 0.
    composed : callable, optional
        The same of the same arguments, in functions that have formulas: what has none of its own.
    parts : tuple of callables
        Of a function that gives several arrays: those that give one of them each, which programs hold instead.
    reduce : ufunc, optional
        Of a reduction: whose ``reduce`` does the same, into an array that is there.
    additive : bool
        Whether of all the examples it gives the sum of what it gives of some of them, and of the others.
    linear : bool
        Whether a factor of the argument, such as a minus, may stand in front instead.
    fill : int, optional
        The argument that every entry of the result is, if that is a number.
    spreads : bool
        Of a view: whether one entry may become many of them, or get new axes. Of a single number, it is that number.
    out_by_keyword : bool
        Whether the array to write into is to be named, ``out=``.
    normal : callable, optional
        Of the function and all it may be called with: the same as programs have it, see `normal`.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_dls.ir.functions import row_of
    >>> row_of(np.tanh).kind, row_of(np.tanh).latex, row_of(np.tanh).bounds
    (<Kind.ENTRYWISE: 1>, '\\tanh', (-1.0, 1.0))
    """

    function: Callable[..., Any]
    kind: Kind = ENTRYWISE
    operator: str = ""
    binding: Binding = ATOM
    chained: bool = False
    method: str = ""
    python: Callable[[Any, Any], Any] | None = None
    latex: str | Callable[[Any, Any], Any] = ""
    bounds: tuple[float, float] = (-np.inf, np.inf)
    monotone: bool = False
    selects: bool = False
    formula: str | Callable[..., Any] = ""
    truths: bool = False
    composed: Callable[..., Any] | None = None
    parts: tuple[Callable[..., Any], ...] = ()
    reduce: np.ufunc | None = None
    additive: bool = False
    linear: bool = False
    fill: int | None = None
    spreads: bool = False
    out_by_keyword: bool = False
    normal: Callable[..., normal.Normal] | None = None

    @property
    def is_entrywise(self) -> bool:
        """Whether each entry of the result is computed from the entries in its place."""
        return self.kind is ENTRYWISE

    @property
    def is_comparison(self) -> bool:
        """Whether its operator compares."""
        return self.binding is COMPARISON

    @property
    def is_arithmetic(self) -> bool:
        """Whether it is a sum, a difference, a product or a quotient of entries."""
        return self.is_entrywise and self.binding in (SUM, PRODUCT)

    @property
    def is_new(self) -> bool:
        """Whether the result has memory of its own for certain."""
        return self.kind not in (VIEW, OTHER)


_ROWS: dict[Any, Function] = {}
_NORMAL = {REDUCTION: normal.reduced, RUNNING: normal.running}  # of functions whose rows do not say


def add(function: Callable[..., Any], kind: Kind = ENTRYWISE, **known: Any) -> Function:
    r"""Give a function its row.

    Parameters
    ----------
    function : callable
        Such as ``np.arctan``.
    kind : Kind
        What it does with the entries of its arguments.
    **known
        The other fields of `Function`, by name.

    Returns
    -------
    Function
        The row.

    Raises
    ------
    TypeError
        If there is no such field, or a kind is no `Kind`.
    ValueError
        If the function has another row already.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_dls.ir import functions
    >>> functions.add(np.cbrt, latex=r"\sqrt[3]{#1}", monotone=True, formula="cbrt").kind
    <Kind.ENTRYWISE: 1>
    """
    name = getattr(function, "__name__", function)
    if not isinstance(kind, Kind):
        raise TypeError(f"functions.add({name}, ...): the kind is {kind!r}; expected one of Kind, such as Kind.VIEW.")
    names = [field.name for field in fields(Function)][2:]
    if unknown := sorted(known.keys() - names):
        raise TypeError(f"functions.add({name}, ...): a row has no {unknown[0]}=; it has {', '.join(names)}.")
    row = Function(function, kind, **({"normal": _NORMAL[kind]} if kind in _NORMAL else {}) | known)
    there = _ROWS.setdefault(function, row)
    if there != row:
        differing = next(x for x in ("kind", *names) if getattr(there, x) != getattr(row, x))
        raise ValueError(
            f"functions.add({name}, ...): {name} has another row already, with "
            f"{differing}={getattr(there, differing)!r}. A function has one row: change that one, in "
            "tinygrad_dls/ir/functions.py or where it was added."
        )
    return row


def row_of(function: Callable[..., Any] | None) -> Function:
    """The row of a function; without one, what can be told from the function itself."""
    row = _ROWS.get(function)
    return row if row is not None else _without_row(function)


def rows() -> Iterator[Function]:
    """All rows."""
    return iter(tuple(_ROWS.values()))


@functools.cache
def _without_row(function: Any) -> Function:
    entrywise = isinstance(function, np.ufunc) and function.signature is None and function.nout == 1
    return Function(function, ENTRYWISE if entrywise else OTHER)


# -- functions beside NumPy's that formulas are known by --------------------------------------------------------------


def sigmoid(Z: Any) -> Any:
    """``1 / (1 + e^-Z)``, without overflow."""
    return np.exp(np.minimum(Z, 0)) / (1 + np.exp(-np.abs(Z)))


def clipped_sigmoid(Z: Any) -> Any:
    """``1 / (1 + e^-Z)``, without overflow, and kept strictly between 0 and 1."""
    A = sigmoid(Z)
    return np.clip(A, np.finfo(A.dtype).smallest_normal, 1 - np.finfo(A.dtype).epsneg)


def softmax(Z: Any) -> Any:
    """Probabilities of the classes, which are the rows, without overflow."""
    E = np.exp(Z - np.max(Z, axis=0, keepdims=True))
    return E / np.sum(E, axis=0, keepdims=True)


def shared_softmax(Z: Any) -> Any:
    """Probabilities of the classes, which are the rows, of infinite logits too."""
    top = np.max(Z, axis=0, keepdims=True)
    infinite = np.where(np.isinf(top), top, np.nan)
    E = np.exp(np.where(Z == infinite, 0, Z - top))  # noqa: SIM300  # Z is no constant
    return E / np.sum(E, axis=0, keepdims=True)


PATTERNS = (sigmoid, clipped_sigmoid, softmax, shared_softmax)


# -- the table --------------------------------------------------------------------------------------------------------


def _several(kind: Kind, *functions: Callable[..., Any]) -> None:
    """Rows of functions that nothing else is known of."""
    for function in functions:
        add(function, kind)


_UNIT, _POSITIVE = (0.0, 1.0), (0.0, np.inf)

# Operators. A quotient rises and falls between the poles, which `interval` knows.
add(np.add, operator="+", binding=SUM, chained=True, monotone=True, formula=lambda a, x, y: a.settled(x + y))
add(np.subtract, operator="-", binding=SUM, monotone=True, formula=lambda a, x, y: a.settled(x - y))
add(np.multiply, operator="*", binding=PRODUCT, latex=r"\odot", monotone=True, formula=lambda a, x, y: a.settled(x * y))
add(
    np.divide,
    operator="/",
    binding=PRODUCT,
    monotone=True,
    formula=lambda a, x, y: a.settled(x / y),
)
add(np.floor_divide, operator="//", binding=PRODUCT, latex=r"\left\lfloor\frac{#1}{#2}\right\rfloor")
add(np.negative, operator="-", binding=SIGN, monotone=True, formula=lambda _, x: -x)
add(np.power, operator="**", binding=POWER, latex=lambda p, x: p.power(*x.args), formula=lambda _, x, y: x**y)
add(np.greater, operator=">", binding=COMPARISON, bounds=_UNIT, formula="Gt")
add(np.greater_equal, operator=">=", binding=COMPARISON, bounds=_UNIT, latex=r"\ge", formula="Ge")
add(np.less, operator="<", binding=COMPARISON, bounds=_UNIT, formula="Lt")
add(np.less_equal, operator="<=", binding=COMPARISON, bounds=_UNIT, latex=r"\le", formula="Le")
add(np.equal, operator="==", binding=COMPARISON, bounds=_UNIT, latex=spellings.latex_equal, formula="Eq")
add(np.not_equal, operator="!=", binding=COMPARISON, bounds=_UNIT, latex=r"\ne", formula="Ne")

# Entry by entry.
add(np.abs, latex=r"\left|#1\right|", bounds=_POSITIVE, formula="Abs")
add(np.positive, monotone=True, formula=lambda _, x: x)
add(np.sign, bounds=(-1.0, 1.0), monotone=True)
add(np.copysign)
add(np.square, latex=lambda p, x: p.power(x.args[0], 2), bounds=_POSITIVE, formula=lambda _, x: x**2)
add(np.sqrt, latex=r"\sqrt{#1}", bounds=_POSITIVE, monotone=True, formula="sqrt")
add(np.exp, latex="e^{#1}", bounds=_POSITIVE, monotone=True)
add(np.expm1, bounds=(-1.0, np.inf), monotone=True, formula=lambda a, x: a.sympy.exp(x) - 1)
add(np.log, latex=r"\log", monotone=True)
add(np.log1p, latex=r"\log(1 + #1)", monotone=True, formula=lambda a, x: a.sympy.log(1 + x))
add(np.sin, latex=r"\sin", bounds=(-1.0, 1.0))
add(np.cos, latex=r"\cos", bounds=(-1.0, 1.0))
add(np.tanh, latex=r"\tanh", bounds=(-1.0, 1.0), monotone=True)
add(np.tan, latex=r"\tan")
add(np.arcsin, latex=r"\arcsin", bounds=(-np.pi / 2, np.pi / 2), monotone=True, formula="asin")
add(np.arccos, latex=r"\arccos", bounds=(0.0, np.pi), monotone=True, formula="acos")
add(np.arctan, latex=r"\arctan", bounds=(-np.pi / 2, np.pi / 2), monotone=True, formula="atan")
add(np.arctan2, latex=r"\operatorname{atan2}", bounds=(-np.pi, np.pi), formula="atan2")
add(np.sinh, latex=r"\sinh", monotone=True)
add(np.cosh, latex=r"\cosh", bounds=(1.0, np.inf))
add(np.arcsinh, latex=r"\operatorname{arsinh}", monotone=True, formula="asinh")
add(np.arccosh, latex=r"\operatorname{arcosh}", bounds=_POSITIVE, monotone=True, formula="acosh")
add(np.arctanh, latex=r"\operatorname{artanh}", monotone=True, formula="atanh")
add(np.exp2, latex="2^{#1}", bounds=_POSITIVE, monotone=True, formula=lambda _, x: 2**x)
add(np.log2, latex=r"\log_2", monotone=True, formula=lambda a, x: a.sympy.log(x) / a.sympy.log(2))
add(np.log10, latex=r"\log_{10}", monotone=True, formula=lambda a, x: a.sympy.log(x) / a.sympy.log(10))
add(np.logaddexp, monotone=True, formula=lambda a, x, y: a.sympy.log(a.sympy.exp(x) + a.sympy.exp(y)))
add(np.hypot, latex=r"\sqrt{#1^2 + #2^2}", bounds=_POSITIVE, formula=lambda a, x, y: a.sympy.sqrt(x**2 + y**2))
add(np.reciprocal, latex=r"\frac{1}{#1}", formula=lambda _, x: 1 / x)
add(np.floor, latex=r"\lfloor #1 \rfloor", monotone=True)
add(np.ceil, latex=r"\lceil #1 \rceil", monotone=True, formula="ceiling")
add(np.trunc, monotone=True)
add(np.rint, monotone=True)
add(np.round, monotone=True, normal=normal.rounded)
add(np.maximum, latex=r"\max", monotone=True, out_by_keyword=True, formula=lambda a, x, y: a.extreme(a.sympy.Max, x, y))
add(np.minimum, latex=r"\min", monotone=True, out_by_keyword=True, formula=lambda a, x, y: a.extreme(a.sympy.Min, x, y))
add(np.clip, monotone=True, composed=composed.clip, normal=normal.clipped)
add(
    np.where,
    latex=r"{\begin{cases} #2 & #1 \\ #3 & \text{else} \end{cases}}",
    truths=True,
    formula=lambda a, c, x, y: a.chosen(c, x, y),
)
add(np.logical_and, bounds=_UNIT, truths=True, formula=lambda a, x, y: a.sympy.And(a.as_boolean(x), a.as_boolean(y)))
add(np.logical_or, bounds=_UNIT, truths=True, formula=lambda a, x, y: a.sympy.Or(a.as_boolean(x), a.as_boolean(y)))
add(np.logical_not, bounds=_UNIT, truths=True, formula=lambda a, x: a.sympy.Not(a.as_boolean(x)))
add(np.isnan, bounds=_UNIT, formula=lambda a, x: a.sympy.sympify(x is a.sympy.nan))
add(np.isinf, bounds=_UNIT)
add(np.isfinite, bounds=_UNIT, formula=lambda a, x: a.sympy.sympify(not x.has(a.sympy.oo, -a.sympy.oo, a.sympy.nan)))
add(
    astype,
    selects=True,
    latex=lambda p, x: p.text(x.args[0]),
    python=lambda p, x: f"{p.owner(x.args[0])}.astype({p.within(x.args[1])})",
)
add(np.astype, method="astype", selects=True)
add(sigmoid, latex=r"\sigma", bounds=_UNIT)
add(clipped_sigmoid, latex=r"\sigma", bounds=_UNIT)

# Along axes.
add(np.sum, REDUCTION, method="sum", latex=r"\sum", reduce=np.add, additive=True, linear=True, normal=normal.summed)
add(np.prod, REDUCTION, latex=r"\prod", reduce=np.multiply, normal=normal.summed)
add(np.max, REDUCTION, method="max", latex=r"\max", reduce=np.maximum, selects=True)
add(np.min, REDUCTION, method="min", latex=r"\min", reduce=np.minimum, selects=True)
add(np.amax, REDUCTION, normal=normal.largest)
add(np.amin, REDUCTION, normal=normal.smallest)
add(
    np.mean,
    REDUCTION,
    method="mean",
    latex=lambda p, x: p.total(x, r"\sum", mean=True),
    linear=True,
    composed=composed.mean,
    normal=normal.averaged,
)
add(np.all, REDUCTION, method="all", bounds=_UNIT)
add(np.any, REDUCTION, method="any", bounds=_UNIT)
add(np.var, REDUCTION, latex=r"\mathrm{var}", bounds=_POSITIVE, composed=composed.var, normal=normal.varying)
add(np.std, REDUCTION, latex=r"\mathrm{std}", bounds=_POSITIVE, composed=composed.std, normal=normal.varying)
add(np.cumsum, RUNNING)
add(np.cumprod, RUNNING)
add(softmax, COLUMNWISE, bounds=_UNIT)
add(shared_softmax, COLUMNWISE, bounds=_UNIT)
add(np.matmul, MATRIX, operator="@", binding=PRODUCT, latex=r"\,")
add(np.dot, MATRIX, additive=True, composed=composed.dot, normal=normal.product)

# The same entries elsewhere.
add(np.reshape, VIEW, python=spellings.python_reshape, selects=True, spreads=True, normal=normal.reshaped)
add(np.expand_dims, VIEW, selects=True, spreads=True, normal=normal.expanded)
add(np.broadcast_to, VIEW, python=spellings.python_filled, selects=True, spreads=True, fill=0, normal=normal.spread)
add(np.squeeze, VIEW, selects=True, normal=normal.squeezed)
add(
    np.transpose,
    VIEW,
    python=spellings.python_transpose,
    latex=spellings.latex_transpose,
    selects=True,
    normal=normal.transposed,
)
add(np.swapaxes, VIEW, selects=True, normal=normal.swapped)
add(
    getitem,
    PART,
    selects=True,
    latex=lambda p, x: p.code(x),
    python=lambda p, x: f"{p.owner(x.args[0])}[{p.index(x.args[1])}]",
)
add(scattered, PART, python=spellings.python_scattered)
add(np.concatenate, JOINED, normal=normal.joined)
add(np.stack, JOINED, normal=normal.stacked)

# Of matrices.
add(np.linalg.det, OTHER, latex=r"\det", composed=composed.det)
add(np.linalg.inv, OTHER, composed=composed.inv)
add(np.linalg.solve, OTHER, composed=composed.solve)
add(np.linalg.slogdet, OTHER, parts=SLOGDET, composed=composed.slogdet)
add(
    sign_of_det,
    OTHER,
    bounds=(-1.0, 1.0),
    python=lambda p, x: f"np.linalg.slogdet({p.within(x.args[0])})[0]",
    latex=r"\operatorname{sgn} \det(#1)",
)
add(
    log_abs_det,
    OTHER,
    python=lambda p, x: f"np.linalg.slogdet({p.within(x.args[0])})[1]",
    latex=lambda p, x: rf"\log \left|\det {p.parentheses(p.within(x.args[0]))}\right|",
)

# New arrays.
add(np.asarray, FILLED, fill=0, python=lambda p, x: p.text(x.args[0]))  # of a number, as programs have it
add(np.full, FILLED, fill=1, python=spellings.python_filled, normal=normal.filled)
add(np.ones, FILLED)
add(np.zeros_like, FILLED)
add(np.ones_like, FILLED)

# What is asked of shapes; and what gives arrays of other shapes for other entries.
_several(SHAPE, np.shape, np.ndim, np.size, np.iscomplexobj, np.isrealobj, np.can_cast)
_several(
    FREE, np.unique, np.nonzero, np.flatnonzero, np.argwhere, np.compress, np.extract, np.trim_zeros, np.union1d,
    np.intersect1d, np.setdiff1d, np.setxor1d, np.bincount, np.histogram,
)  # fmt: skip
