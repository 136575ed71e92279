"""Bad input, generated: every public function, each argument in turn made bad while the others stay good.

The table `CALLS` has a good call of everything public, with a computation of its answer in plain NumPy beside it. The
lists of corruptions say what an argument may be instead: another container, layout, dtype, shape or level with the
same numbers in it, or nonsense. What comes of a call must be one of two things:

1. the right answer: that of the reference for the same numbers in a plain float array (and, for gradients, the engine's
   own for them), or
2. a clear error of ours. Mechanically: a ValueError, TypeError, IndexError or RuntimeError (or a kind of one), raised
   by a ``raise`` statement in a file of the package (the last instruction that ran, as the traceback has it, is
   RAISE_VARARGS: an error that NumPy or Python raised under a line of the package does not count), whose text names
   the function or the argument's role.

Warnings are errors, refused calls must leave the model and the optimizer as they were, and a call that takes more than
`PATIENCE` seconds counts as a hang. Two allowances: integers follow NumPy's own integer arithmetic, as the ops promise
for plain arrays; and NaN and infinities are data like any other to an op, so that NumPy's warnings about them are off.

``python -m tests.bad_input.test_bad_input`` prints the number of calls, by function.
"""

# ruff: noqa: B008  # a default argument is how a lambda in a loop keeps its function
from __future__ import annotations

import array
import dis
import inspect
import re
import signal
import tempfile
import warnings
from contextlib import contextmanager
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_dls as tg

PACKAGE = str(Path(tg.__file__).parent)
PATIENCE = 5
HUGE = 10**400


# -- what an argument may be instead ----------------------------------------------------------------------------------


class Bad(NamedTuple):
    """An argument to try; `clean` holds the same as plain floats, or is REFUSE where there is no answer to it."""

    label: str
    value: Any
    clean: Any


class REFUSE:
    """Stands for the answer that does not exist."""


class RaisesOnArray:
    def __array__(self, dtype=None, copy=None):
        raise ZeroDivisionError("planted")


class OwnArray(np.ndarray):
    pass


JUNK = {
    "None": None, "str": "abc", "str of a number": "1.5", "empty str": "", "bytes": b"12",
    "bytearray": bytearray(b"12"),     "dict": {"a": 1.0}, "set": {1.0, 2.0}, "object": object(),
    "function": lambda x: x, "complex": 1j,
    "type": float,     "module": np, "huge int": HUGE, "negative huge int": -HUGE,
    "huge int in a list": [HUGE], "Ellipsis": ...,
    "NotImplemented": NotImplemented, "slice": slice(2), "ragged": [[1.0, 2.0], [3.0]], "list of None": [None],
    "list of str": ["a", "b"], "list of dict": [{}], "datetime": np.datetime64("2020-01-01"),
    "timedelta": np.timedelta64(3, "s"), "Decimal": Decimal("0.5"), "Fraction": Fraction(1, 2),
    "raises on __array__": RaisesOnArray(), "exception": ValueError("x"), "nan in a list of str": ["nan"],
    "structured scalar": np.zeros((), "f8,i4")[()], "str array": np.array("abc"), "numpy str": np.str_("abc"),
    "numpy bytes": np.bytes_(b"1"), "NA": pd.NA, "NaT": pd.NaT, "Timestamp": pd.Timestamp("2020-01-01"),
}  # fmt: skip


LONG = {"huge int", "2**63"}  # as a number of epochs
EXACT = {  # nonsense that is a number to Python and NumPy: integers of any size, fractions, the bytes of a buffer
    "huge int": HUGE, "negative huge int": -HUGE, "bytearray": np.array([49, 50], np.uint8), "Decimal": np.array(0.5),
    "Fraction": np.array(0.5),
}  # fmt: skip


def arrays_instead(good):
    """Everything that may come in place of an array, from a good one."""
    good = np.asarray(good)
    yield from same_numbers(good)
    yield from other_numbers(good)
    yield from other_shapes(good)
    yield from no_numbers(good)
    for label, value in JUNK.items():
        yield Bad(label, value, EXACT.get(label, REFUSE))


def same_numbers(good):
    exact = good if good.dtype.kind in "iub" else good.astype(float)  # class indices stay integers
    yield Bad("list", good.tolist(), exact)
    yield Bad("tuple", _tuples(good.tolist()), exact)
    yield Bad("Fortran order", np.array(good, order="F"), exact)
    yield Bad("non-contiguous", np.repeat(good[..., None], 2, axis=-1)[..., 0], exact)
    flip = (slice(None, None, -1),) * good.ndim
    yield Bad("negative strides", good[flip].copy()[flip], exact)
    yield Bad("byte-swapped", good.astype(good.dtype.newbyteorder()), exact)
    read_only = good.copy()
    read_only.flags.writeable = False
    yield Bad("read-only", read_only, exact)
    unaligned = np.frombuffer(b"\0" + good.tobytes(), good.dtype, offset=1).reshape(good.shape)
    yield Bad("unaligned", unaligned, exact)
    yield Bad("subclass", good.view(OwnArray), exact)
    yield Bad("memoryview", memoryview(good.copy()), exact)
    for dtype in (np.float16, np.float32, np.longdouble):
        yield Bad(np.dtype(dtype).name, good.astype(dtype), good.astype(dtype).astype(float))
    yield Bad("Tensor", tg.Tensor(good), exact)
    yield Bad("Tensor that requires a gradient", tg.Tensor(good.astype(float), requires_grad=True, name="t"), exact)
    yield Bad("Tensor of a Tensor", tg.Tensor(tg.Tensor(good.astype(float), requires_grad=True)), exact)
    yield Bad("Parameter", tg.nn.Parameter(good.astype(float)), exact)
    if good.ndim == 2:
        yield Bad("DataFrame", pd.DataFrame(good), exact)
        yield Bad("DataFrame with an index", pd.DataFrame(good, index=range(len(good))[::-1]), exact)
        yield Bad("nullable DataFrame", pd.DataFrame(good).astype("Float64"), exact)
        yield Bad("matrix", _matrix(good), REFUSE)
        yield Bad("list of Decimals", [[Decimal(float(x)) for x in row] for row in good.tolist()], REFUSE)
    if good.ndim == 1:
        yield Bad("Series", pd.Series(good), exact)
        yield Bad("Series with an index", pd.Series(good, index=range(len(good))[::-1]), exact)
        yield Bad("nullable Series", pd.Series(good).astype("Float64"), exact)
        yield Bad("Series with NA", pd.Series([None, *good[1:]], dtype="Float64"), np.array([np.nan, *good[1:]]))
        yield Bad("array.array", array.array("d", exact), exact)
    if good.ndim == 0:
        for scalar in (float, np.float64, np.float32):
            yield Bad(f"{scalar.__name__} scalar", scalar(good), np.array(float(scalar(good))))
    yield Bad("masked without a mask", np.ma.array(good), REFUSE)


def _matrix(good):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy's advice against it
        return np.matrix(good)


def _tuples(nested):
    return tuple(map(_tuples, nested)) if isinstance(nested, list) else nested


def other_numbers(good):
    for dtype in (np.int64, np.uint8, bool):
        whole = np.round(good).astype(dtype)
        yield Bad(f"of {np.dtype(dtype)}", whole, whole)
    for label, number in {"NaN": np.nan, "inf": np.inf, "-inf": -np.inf}.items():
        one = good.astype(float)
        one[(0,) * good.ndim] = number
        yield Bad(f"with a {label}", one, one)
        yield Bad(f"all {label}", np.full(good.shape, number), np.full(good.shape, number))
    yield Bad("negated", -good.astype(float), -good.astype(float))
    yield Bad("times a thousand", 1000.0 * good, 1000.0 * good)


def other_shapes(good):
    exact = good.astype(float)
    views = {
        "transposed": exact.T, "flat": exact.ravel(), "3-D": exact[None], "column": exact.reshape(-1, 1),
        "row": exact.reshape(1, -1), "0-d": np.array(0.5), "empty": np.empty(0), "no columns": np.empty((2, 0)),
        "no rows": np.empty((0, 3)), "one by one": np.array([[0.5]]), "doubled": np.concatenate([exact.ravel()] * 2),
        "one column less": exact[..., :-1] if exact.ndim else exact, "one row less": exact[1:] if exact.ndim else exact,
    }  # fmt: skip
    for label, view in views.items():
        yield Bad(label, view, view)
    for label, number in {"float": 0.5, "int": 1, "True": True, "numpy number": np.float64(0.5)}.items():
        yield Bad(label, number, np.array(float(number)))
    for label, numbers in {"empty list": [], "nested empty list": [[]], "empty tuple": (), "range": range(3)}.items():
        yield Bad(label, numbers, np.array(numbers, float))
    yield Bad("huge", np.broadcast_to(exact.ravel()[0], (10**7, 10**7)), REFUSE)  # 800 TB, were it made


def no_numbers(good):
    texts = good.astype(str)
    nested = good.tolist()
    refused = {
        "array of str": texts, "list of str": texts.tolist(), "array of bytes": good.astype("S"),
        "array of objects": good.astype(object), "array of None": np.full(good.shape, None),
        "array of complex": good + 1j, "array of dates": np.full(good.shape, np.datetime64("2020-01-01")),
        "array of times": np.full(good.shape, np.timedelta64(1, "s")),
        "array of records": np.zeros(good.shape, "f8,i4"),
        "record array": np.zeros(good.shape, "f8,i4").view(np.recarray), "void": np.zeros(good.shape, "V8"),
        "masked": np.ma.array(good, mask=np.ones(good.shape)), "np.ma.masked": np.ma.masked,
        "DataFrame of str": pd.DataFrame([["a", "b"]]), "Series of str": pd.Series(texts.ravel()),
        "categorical": pd.Categorical(["a", "b"]),
        "Series of categories": pd.Series(["a", "b"], dtype="category"),
        "pandas dates": pd.date_range("2020", periods=3),         "pandas index of str": pd.Index(["a", "b"]),
        "generator": (x for x in [nested]), "iterator": iter([nested]), "map": map(float, [1, 2]),
        "dict of lists": {"a": nested}, "dict values": {"a": nested}.values(),
        "list of Tensors that require a gradient": [tg.Tensor(good.astype(float), requires_grad=True)],
        "string dtype": texts.astype(np.dtypes.StringDType()),
    }  # fmt: skip
    for label, value in refused.items():
        yield Bad(label, value, REFUSE)
    listed = [tg.Tensor(good)]
    yield Bad("list of Tensors", listed, np.array([good], float))
    yield Bad("sparse", pd.Series(pd.arrays.SparseArray([1.0, 0.0])), np.array([1.0, 0.0]))


def as_given(values):
    """Junk and the like, where the reference gets the value itself."""
    return [Bad(label, value, _plain(value)) for label, value in values.items()]


def scalars_instead(good):
    yield from as_given(JUNK)
    yield from as_given(
        {
            "zero": 0,
            "negative": -1,
            "float": 0.5,
            "one": 1,
            "whole float": 2.0,
            "True": True,
            "False": False,
            "nan": np.nan,
            "inf": np.inf,
            "-inf": -np.inf,
            "list": [good],
            "tuple": (good,),
            "empty list": [],
            "empty tuple": (),
            "pair": (0, 1),
            "twice": (0, 0),
            "too large": 7,
            "too small": -7,
            "int64": np.int64(1),
            "uint8": np.uint8(1),
            "float32": np.float32(0.5),
            "0-d int": np.array(1),
            "0-d float": np.array(0.5),
            "1-d": np.array([1]),
            "2-d": np.ones((2, 2)),
            "array of str": np.array(["a"]),
            "numpy bool": np.True_,
            "Tensor": tg.Tensor(0.5),
            "Tensor of an int": tg.Tensor(1),
            "Series": pd.Series([1]),
            "2**63": 2**63,
            "Tensor that requires a gradient": tg.Tensor(0.5, requires_grad=True),
            "masked": np.ma.masked,
            "array of objects": np.array([1, None], object),
            "nested": [[0], [1]],
            "generator": (i for i in [1]),
        }
    )


KINDS = {"array": arrays_instead, "option": scalars_instead}


# -- calls that are good ----------------------------------------------------------------------------------------------


class Place(NamedTuple):
    """An argument: the role it is documented under, a good value, and what kinds of bad ones to try."""

    role: str
    good: Any
    instead: Any


class Call(NamedTuple):
    """A call that works: `run` returns arrays, `reference` computes the first of them from plain ones."""

    places: tuple[Place, ...]
    run: Any
    reference: Any
    names: tuple[str, ...] = ()  # what errors may call the function


def A(*shape_or_array, role="x"):  # noqa: N802  # an array, as in the course
    (good,) = shape_or_array
    return Place(role, np.asarray(good), arrays_instead)


def O(role, good):  # noqa: E743, N802
    return Place(role, good, scalars_instead)


RNG = np.random.default_rng(11)
X23 = RNG.uniform(0.1, 0.9, (2, 3))
X32 = RNG.uniform(0.1, 0.9, (3, 2))
X3 = RNG.uniform(0.1, 0.9, 3)
CALLS: dict[str, list[Call]] = {}


def values_of(result):
    """The numbers in whatever a function returned."""
    if isinstance(result, tg.Tensor):
        return [_plain(result)]
    if isinstance(result, tg.nn.Module):
        return [_plain(p) for p in result.parameters()]
    if isinstance(result, (tuple, list)):
        return [x for r in result for x in values_of(r)]
    if result is None:
        return []
    return [np.asarray(result)]


def _plain(x):
    while isinstance(x, tg.Tensor):
        x = x._value
    return x


CONSTANT = object()  # the gradient of a Tensor of a lower level than the result: there is none


def call(name, *places, run, reference, names=()):
    """A good call of a function that gives no gradients."""
    names = (*name.split(".")[-2:], *names)
    CALLS.setdefault(name, []).append(Call(places, lambda *args: values_of(run(*args)), reference, names))


def graph_of(f, wrap):
    """A run of f in which the arguments at the places in `wrap` are Tensors; gives the value and all gradients."""

    def run(*args):
        tensors = {i: tg.Tensor(args[i], requires_grad=True, name=role) for i, role in wrap.items()}
        z = f(*(tensors.get(i, a) for i, a in enumerate(args)))
        assert isinstance(z, tg.Tensor), f"a {type(z).__name__}, not a Tensor, came of a Tensor"
        z.backward(np.ones(z.shape))
        gradients = []
        for t in tensors.values():
            if t._level < z._level:
                gradients.append(CONSTANT)
            else:
                assert (t.grad.shape, t.grad.dtype) == (t.shape, t.dtype), "a gradient unlike its data"
                gradients.append(_plain(t.grad))
        return [_plain(z), *gradients]

    return run


def op_calls(name, *places, reference, f=None, names=(), plain=True):
    """An op with plain arrays, with Tensors in all the array places, and with Tensors in all but one of them."""
    f = f or getattr(tg, name)
    arrays = {i: place.role for i, place in enumerate(places) if place.instead is arrays_instead}
    names = (name.split(".")[-1], *names)
    calls = CALLS.setdefault(name, [])
    if plain:
        calls.append(Call(places, lambda *args: values_of(f(*args)), reference, names))
    names = (*names, "backward")
    calls.append(Call(places, graph_of(f, arrays), reference, names))
    for left in arrays if len(arrays) > 1 else ():
        others = {i: role for i, role in arrays.items() if i != left}
        calls.append(Call(places, graph_of(f, others), reference, names))


for _name in ("negative", "exp", "expm1", "log", "log1p", "sqrt", "square", "sin", "cos", "abs", "tanh"):
    op_calls(_name, A(X23), reference=getattr(np, _name))
op_calls("sigmoid", A(X23), reference=lambda z: 1 / (1 + np.exp(-1.0 * z)))
op_calls("relu", A(X23), reference=lambda z: np.maximum(z, 0))
op_calls("softplus", A(X23), reference=lambda z: np.logaddexp(0, 1.0 * z))


def flag(x):
    if not isinstance(x, (bool, np.bool_)):
        raise TypeError
    return x


def below_the_largest(z, axis=0):
    """Logits that are infinite alike are equal."""
    top = np.max(z, axis=axis, keepdims=True)
    return np.where(np.isinf(top) & (z == top), 0, z - top)


def softmax(z, axis=0):
    z = z if isinstance(z, int) else 1.0 * z  # 1.0 * 10**400 overflows
    e = np.exp(below_the_largest(z, axis))
    return e / e.sum(axis=axis, keepdims=True)


for _axis in (0, None, -1):
    op_calls("softmax", A(X23), O("axis", _axis), reference=softmax)
    op_calls("log_softmax", A(X23), O("axis", _axis), reference=lambda z, axis: np.log(softmax(z, axis)))
    op_calls("logsumexp", A(X23), O("axis", _axis), O("keepdims", False),
             f=lambda z, axis, keepdims: tg.logsumexp(z, axis=axis, keepdims=keepdims),
             reference=lambda z, axis, keepdims:
                 np.logaddexp.reduce(1.0 * z, axis=axis, keepdims=bool(flag(keepdims))),
             )  # fmt: skip
for _name in ("add", "subtract", "multiply", "divide", "power", "maximum", "minimum"):
    op_calls(_name, A(X23), A(X23[::-1], role="y"), reference=getattr(np, _name))
    op_calls(_name, A(X23), A(X3, role="y"), reference=getattr(np, _name))
    op_calls(_name, A(X3), A(0.5, role="y"), reference=getattr(np, _name))
for _name in ("matmul", "dot"):
    op_calls(_name, A(X23, role="a"), A(X32, role="b"), reference=getattr(np, _name), names=("matmul", "multiply"))
    op_calls(_name, A(X23, role="a"), A(X3, role="b"), reference=getattr(np, _name), names=("matmul", "multiply"))
op_calls("where", A(X23), A(X23[::-1], role="y"), f=lambda x, y: tg.where(np.array([True, False, True]), x, y),
         reference=lambda x, y: np.where(np.array([True, False, True]), x, y))  # fmt: skip
CALLS["where"].append(Call((A([[True, False, True]], role="condition"),),
                           lambda c: values_of(tg.where(c, tg.Tensor(X23), 0.0)),
                           lambda c: np.where(c, X23, 0.0), ("where",)))  # fmt: skip
op_calls("clip", A(X23), O("min", 0.2), O("max", 0.5), reference=np.clip)

for _name in ("sum", "mean", "max", "min", "prod"):
    op_calls(_name, A(X23), O("axis", 0), O("keepdims", True),
             f=lambda x, axis, keepdims, f=getattr(tg, _name): f(x, axis=axis, keepdims=keepdims),
             reference=lambda x, axis, keepdims, f=getattr(np, _name): f(x, axis=axis, keepdims=keepdims))  # fmt: skip
    op_calls(_name, A(X23), O("axis", None), reference=getattr(np, _name))
for _name in ("var", "std"):
    op_calls(_name, A(X23), O("axis", 1), O("ddof", 1), O("keepdims", False),
             f=lambda x, axis, ddof, keepdims, f=getattr(tg, _name): f(x, axis, ddof=ddof, keepdims=keepdims),
             reference=lambda x, axis, ddof, keepdims, f=getattr(np, _name):
                 f(x, axis, ddof=ddof, keepdims=keepdims))  # fmt: skip
op_calls("cumsum", A(X23), O("axis", 1), reference=np.cumsum)
op_calls("cumsum", A(X23), O("axis", None), reference=np.cumsum)
op_calls("reshape", A(X23), O("shape", (3, 2)), reference=np.reshape)
op_calls("transpose", A(X23), O("axes", (1, 0)), reference=np.transpose)
op_calls("swapaxes", A(X23), O("axis1", 0), O("axis2", 1), reference=np.swapaxes)
op_calls("expand_dims", A(X23), O("axis", 1), reference=np.expand_dims)
op_calls("squeeze", A(X23[None]), O("axis", 0), reference=np.squeeze)
op_calls("broadcast_to", A(X23), O("shape", (4, 2, 3)), reference=np.broadcast_to)
op_calls("astype", A(X23), O("dtype", np.float32), reference=lambda x, dtype: x.astype(dtype))
op_calls("getitem", A(X23), O("index", 1), reference=lambda x, index: x[index])
op_calls("getitem", A(X23), O("index", (slice(None), [0, 2])), reference=lambda x, index: x[index])
for _name in ("concatenate", "stack"):
    op_calls(_name, A(X23), A(X23[::-1]), O("axis", 0), f=lambda x, y, axis, f=getattr(tg, _name): f([x, y], axis),
             reference=lambda x, y, axis, f=getattr(np, _name): f([x, y], axis),
             names=("reshape", "expand_dims", "concatenate"))  # fmt: skip
    CALLS[_name].append(Call((O("arrays", [X23, X23]),), lambda xs, f=getattr(tg, _name): values_of(f(xs)),
                             getattr(np, _name), (_name, "expand_dims", "concatenate")))  # fmt: skip

OPERATORS = {
    "add": lambda x, y: x + y, "sub": lambda x, y: x - y, "mul": lambda x, y: x * y, "truediv": lambda x, y: x / y,
    "pow": lambda x, y: x**y,
}  # fmt: skip
_OP = {"add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide", "pow": "power"}
for _name, _f in OPERATORS.items():
    for _direction, _g in {"": _f, "r": lambda x, y, f=_f: f(y, x)}.items():
        op_calls(f"Tensor.__{_direction}{_name}__", A(X23), A(X3, role="y"), f=_g, reference=_g, names=(_OP[_name],),
                 plain=False)  # fmt: skip
op_calls("Tensor.__matmul__", A(X23), A(X32, role="y"), f=lambda x, y: x @ y, reference=np.matmul, names=("matmul",),
         plain=False)  # fmt: skip
op_calls("Tensor.__rmatmul__", A(X23), A(X32, role="y"), f=lambda x, y: x @ y, reference=np.matmul, names=("matmul",),
         plain=False)  # fmt: skip
for _name, _f in {"eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater,
                  "ge": np.greater_equal}.items():  # fmt: skip
    call(f"Tensor.__{_name}__", A(X23, role="argument 2"), reference=lambda y, f=_f: f(X23[::-1], y),
         run=lambda y, name=_name: getattr(tg.Tensor(X23[::-1]), f"__{name}__")(y),
         names=(_f.__name__, "comparison"))  # fmt: skip
for _name, _places, _f in [
    ("sum", [O("axis", 0)], np.sum), ("mean", [O("axis", 0)], np.mean), ("max", [O("axis", 0)], np.max),
    ("min", [O("axis", 0)], np.min), ("prod", [O("axis", 0)], np.prod), ("var", [O("axis", 0)], np.var),
    ("std", [O("axis", 0)], np.std), ("cumsum", [O("axis", 0)], np.cumsum), ("squeeze", [O("axis", None)], np.squeeze),
    ("clip", [O("min", 0.2), O("max", 0.5)], np.clip), ("reshape", [O("shape", (3, 2))], np.reshape),
    ("reshape", [O("n", 3), O("m", 2)], lambda x, n, m: np.reshape(x, (n, m))),
    ("transpose", [O("axes", (1, 0))], np.transpose),
    ("transpose", [O("i", 1), O("j", 0)], lambda x, *ij: x.transpose(*ij)),
    ("swapaxes", [O("axis1", 0), O("axis2", 1)], np.swapaxes),
    ("astype", [O("dtype", float)], lambda x, d: x.astype(d)),
    ("__getitem__", [O("index", (0, 1))], lambda x, index: x[index]),
]:  # fmt: skip
    op_calls(f"Tensor.{_name}", A(X23), *_places, f=lambda x, *o, name=_name: getattr(x, name)(*o), reference=_f,
             plain=False, names=("getitem",))  # fmt: skip


class ChangedError(AssertionError):
    """A refused call has changed what it was given."""


@contextmanager
def unchanged(*things):
    """If the block raises, check that the models, optimizers and Tensors are as they were."""
    before = [state_of(x) for x in things]
    try:
        yield
    except Exception as error:  # whatever was raised, it must not have changed anything
        after = [state_of(x) for x in things]
        if not all(
            np.array_equal(a, b, equal_nan=True)
            for x, y in zip(before, after, strict=True)
            for a, b in zip(x, y, strict=True)
        ):
            raise ChangedError(f"changed by a refused call: {error}") from error
        raise


def state_of(x):
    if isinstance(x, tg.nn.Module):
        return [np.array(p.data) for p in x.parameters()]
    if isinstance(x, tg.Tensor):
        return [np.array(_plain(x)), np.array(np.nan if x.grad is None else _plain(x.grad)), np.array(x.requires_grad)]
    state = x.state_dict()
    return [np.array(state["steps"]), *(np.array(a) for s in state["state"] for a in s)]


# -- the Tensor itself


def make_tensor(data, requires_grad, name):
    t = tg.Tensor(data, requires_grad, name=name)
    return [_plain(t), t.requires_grad]


call("Tensor", A(X23, role="data"), O("requires_grad", True), O("name", "w"), run=make_tensor,
     reference=lambda data, wanted, name: [data, flag(wanted)], names=("this Tensor", "w"))  # fmt: skip


def assign(attribute):
    def run(new):
        t = tg.Tensor(X32, requires_grad=True, name="t")
        with unchanged(t):
            setattr(t, attribute, new)
        return [_plain(getattr(t, attribute)), *([] if attribute != "data" else [_plain(t * 2)])]

    return run


def same_shape(x, like=X32):
    if x.shape != like.shape:
        raise ValueError
    return x


call("Tensor.data", A(X32, role="data"), run=assign("data"), reference=lambda x: [same_shape(x), 2 * x], names=("t",))
call("Tensor.grad", Place("grad", X32, lambda x: [b for b in arrays_instead(x) if b.value is not None]),
     run=assign("grad"), names=("t",),     reference=same_shape)  # fmt: skip
call("Tensor.requires_grad", O("requires_grad", True), run=assign("requires_grad"), reference=flag, names=("t",))


def seeded(seed):
    t = tg.Tensor(X32, requires_grad=True, name="t")
    with unchanged(t):
        (t * 3.0).backward(seed)
    return t.grad


call("Tensor.backward", A(X32, role="seed"), run=seeded, reference=lambda seed: 3 * same_shape(seed))

# -- losses


def columns(z, y):
    if z.shape != y.shape or z.ndim not in (0, 2) or z.size == 0:
        raise ValueError
    return z.shape[-1] if z.shape else 1


def probabilities(y):
    if not ((y >= 0) & (y <= 1)).all():
        raise ValueError


def cross_entropy(a, y):
    m, a, y = columns(a, y), 1.0 * a, 1.0 * y
    probabilities(a), probabilities(y)
    a = np.clip(a, np.finfo(float).tiny, 1 - 2.0**-53)
    return -np.sum(y * np.log(a) + (1 - y) * np.log(1 - a)) / m


def cross_entropy_with_logits(z, y):
    m, z, y = columns(z, y), 1.0 * z, 1.0 * y
    probabilities(y)
    away = np.where(z > 0, 1 - y, y)  # what the label is away from that of the logit's side
    return np.sum(np.where(away == 0, 0 * np.isnan(z), away * np.abs(z)) + np.log1p(np.exp(-np.abs(z)))) / m


def class_cross_entropy(z, y):
    if z.ndim != 2 or z.shape[0] < 2 or z.shape[1] == 0:
        raise ValueError
    if y.shape == (1, z.shape[1]):
        if (y != np.round(y)).any() or y.min() < 0 or y.max() >= len(z):
            raise ValueError
        y = (np.arange(len(z))[:, None] == y).astype(float)
    columns(z, y)
    probabilities(y)
    if (np.abs(y.sum(axis=0) - 1) > 1e-3).any():
        raise ValueError
    s = below_the_largest(1.0 * z)
    terms = np.where(y == 0, 0, y * (np.log(np.exp(s).sum(axis=0)) - s))
    return terms.sum() / z.shape[1]


def squared_error(a, y):
    m = columns(a, y)
    if not np.isfinite(y).all():
        raise ValueError
    return np.sum((1.0 * a - 1.0 * y) ** 2) / m


LABELS = np.array([[0, 1, 1], [1, 0, 1]])
for _name, _first, _y, _reference in [
    ("binary_cross_entropy", "A", LABELS, cross_entropy),
    ("binary_cross_entropy_with_logits", "Z", LABELS, cross_entropy_with_logits),
    ("softmax_cross_entropy", "Z", np.array([[0, 1, 1]]), class_cross_entropy),
    ("softmax_cross_entropy", "Z", np.array([[0.5, 0.25, 1], [0.5, 0.75, 0]]), class_cross_entropy),
    ("mean_squared_error", "A", X23[::-1], squared_error),
]:
    _f = getattr(tg, _name)
    _places = (A(X23, role=_first), A(_y, role="Y"))
    CALLS.setdefault(_name, []).append(Call(_places, lambda z, y, f=_f: values_of(f(z, y)), _reference, (_name,)))
    CALLS[_name].append(Call(_places, graph_of(_f, {0: _first}), _reference, (_name, "backward")))
    if _name == "mean_squared_error":
        CALLS[_name].append(Call(_places, graph_of(_f, {0: _first, 1: "Y"}), _reference, (_name, "backward")))

# -- layers and models


def count(n):
    if isinstance(n, (bool, np.bool_)) or not isinstance(n, (int, np.integer)) or not 0 < n < 2**31:
        raise ValueError
    return int(n)


def number(x):
    array = np.asarray(_plain(x))
    if array.dtype.kind not in "fiu" or array.shape != () or isinstance(x, np.ma.MaskedArray):
        raise TypeError
    return float(array)


def drawn(rng, shape):
    if rng is None or isinstance(rng, (bool, np.bool_)):
        raise TypeError
    rng = rng if isinstance(rng, (np.random.Generator, np.random.RandomState)) else np.random.default_rng(rng)
    return rng.standard_normal(shape)


def real_dtype(dtype):
    if dtype is None or np.dtype(dtype).kind != "f":
        raise TypeError
    return np.dtype(dtype)


def linear(n_in, n_out, rng, dtype):
    W = drawn(rng, (count(n_out), count(n_in))) / np.sqrt(n_in)
    return [W.astype(real_dtype(dtype)), np.zeros((n_out, 1), dtype)]


call("nn.Linear", O("n_in", 3), O("n_out", 2), O("rng", 0), O("dtype", float),
     run=lambda n, k, rng, dtype: tg.nn.Linear(n, k, rng=rng, dtype=dtype), reference=linear,
     names=("init.xavier",))  # fmt: skip
call("nn.Linear", Place("init", X23, lambda good: no_functions(arrays_instead(good))),
     run=lambda init: tg.nn.Linear(3, 2, init=init),
     reference=lambda init: [same_shape(init, X23), np.zeros((2, 1))])  # fmt: skip
call("nn.Linear", A(X23, role="init"), run=lambda init: tg.nn.Linear(3, 2, init=lambda shape, rng: init),
     reference=lambda init: [same_shape(init, X23), np.zeros((2, 1))])  # fmt: skip
call("nn.LogisticRegression", O("n_x", 3), O("dtype", float), names=("Linear", "n_in"),
     run=lambda n, dtype: tg.nn.LogisticRegression(n, dtype=dtype),
     reference=lambda n, dtype: [np.zeros((1, count(n)), real_dtype(dtype)), np.zeros((1, 1), dtype)])  # fmt: skip


def no_functions(bads):
    """Without functions of the user's, whose errors are theirs."""
    return [bad for bad in bads if not callable(bad.value)]


def two_layers(n_x, n_h, n_y, rng, dtype):
    rng = rng if isinstance(rng, (np.random.Generator, np.random.RandomState)) else np.random.default_rng(rng)
    dtype = real_dtype(dtype)
    W1, W2 = (0.01 * drawn(rng, (count(n), count(k))) for n, k in [(n_h, n_x), (n_y, n_h)])
    return [x.astype(dtype) for x in (W1, np.zeros((n_h, 1)), W2, np.zeros((n_y, 1)))]


call("nn.TwoLayerNetwork", O("n_x", 3), O("n_h", 4), O("n_y", 1), O("rng", 0), O("dtype", float),
     run=lambda n, h, k, rng, dtype: tg.nn.TwoLayerNetwork(n, h, k, rng=rng, dtype=dtype), reference=two_layers,
     names=("Linear", "init.small"))  # fmt: skip


def refuses(*_):
    raise TypeError


call("nn.TwoLayerNetwork", O("activation", np.tanh), run=lambda f: tg.nn.TwoLayerNetwork(2, 2, 1, f, rng=0)(X23),
     reference=lambda f: two_by_hand(X23, 2, 2, 1, np.tanh if f is None else f) if f is None or (callable(f)
         and not isinstance(f, type)) else refuses())  # fmt: skip


def two_by_hand(X, n_x=3, n_h=4, n_y=2, g=np.tanh):
    model = tg.nn.TwoLayerNetwork(n_x, n_h, n_y, rng=0)
    W1, b1, W2, b2 = (p.data for p in model.parameters())
    if X.ndim != 2:
        raise ValueError
    return W2 @ g(W1 @ X + b1) + b2


def classes_by_hand(X):
    return np.argmax(two_by_hand(X), axis=0)[None, :]


def gradients_of_model(X):
    model = tg.nn.TwoLayerNetwork(3, 4, 2, rng=0)
    with unchanged(model):
        Z = model(X)
        Z.backward(np.ones(Z.shape))
    return [_plain(Z), *(p.grad for p in model.parameters())]


X35 = RNG.normal(size=(3, 5))
call("nn.TwoLayerNetwork.__call__", A(X35, role="X"), run=gradients_of_model, reference=two_by_hand,
     names=("layer1", "affine", "backward"))  # fmt: skip
call("nn.Classifier.predict_proba", A(X35, role="X"), names=("layer1", "affine"),
     reference=lambda X: softmax(two_by_hand(X)),
     run=lambda X: tg.nn.TwoLayerNetwork(3, 4, 2, rng=0).predict_proba(X))  # fmt: skip
call("nn.Classifier.predict", A(X35, role="X"), reference=classes_by_hand, names=("layer1", "affine"),
     run=lambda X: tg.nn.TwoLayerNetwork(3, 4, 2, rng=0).predict(X))  # fmt: skip
for _name, _f in {"Tanh": np.tanh, "ReLU": lambda z: np.maximum(z, 0), "Sigmoid": lambda z: 1 / (1 + np.exp(-1.0 * z)),
                  "Softmax": softmax}.items():  # fmt: skip
    _layer = getattr(tg.nn, _name)()
    op_calls(f"nn.{_name}", A(X23), f=_layer, reference=_f, names=(_name.lower(),))
call("nn.Linear.__call__", A(X35, role="X"), run=lambda X: tg.nn.Linear(3, 2, init=X23)(X), names=("Linear", "affine"),
     reference=lambda X: X23 @ (X if X.ndim == 2 else refuses()))  # fmt: skip
call("nn.Dropout", O("keep_prob", 0.5), O("rng", 0), run=lambda p, rng: values_of(tg.nn.Dropout(p, rng=rng)(X35)),
     reference=lambda p, rng: dropped(p, rng, X35))  # fmt: skip
call("nn.Dropout.__call__", A(X35, role="a"), run=lambda a: values_of(tg.nn.Dropout(0.5, rng=0)(a)),
     reference=lambda a: dropped(0.5, 0, a), names=("Dropout", "multiply"))  # fmt: skip


def dropped(keep_prob, rng, a):
    keep_prob = number(keep_prob)
    if rng is None or isinstance(rng, (bool, np.bool_)) or not 0 < keep_prob <= 1:
        raise TypeError
    if keep_prob == 1:
        return a
    rng = rng if isinstance(rng, (np.random.Generator, np.random.RandomState)) else np.random.default_rng(rng)
    return a * (rng.random(a.shape) < keep_prob) / keep_prob


def in_mode(training):
    layer = tg.nn.Dropout(0.5, rng=0)
    with unchanged(layer):
        layer.training = training
    return np.asarray(layer.training)


call("nn.Dropout.training", O("training", True), run=in_mode, reference=lambda x: np.asarray(flag(x)))
for _name in ("Sequential", "Classifier"):
    call(f"nn.{_name}", O("layer", np.tanh), run=lambda f, name=_name: values_of(getattr(tg.nn, name)(f)(X23)),
         reference=lambda f: f(X23) if callable(f) and not isinstance(f, type) else refuses())  # fmt: skip
call("nn.Parameter", A(X23, role="data"), O("name", "w"), run=lambda data, name: tg.nn.Parameter(data, name=name),
     reference=lambda data, name: data, names=("this Tensor", "w"))  # fmt: skip


def loaded(state):
    model = tg.nn.LogisticRegression(3)
    with unchanged(model):
        model.load_state_dict(state)
    return model


def fits(W, b):
    return [same_shape(W, np.ones((1, 3))), same_shape(b, np.ones((1, 1)))]


call("nn.Module.load_state_dict", A(X3[None], role="W"), A([[0.5]], role="b"), reference=fits, names=("state",),
     run=lambda W, b: loaded({"W": W, "b": b}))  # fmt: skip
call("nn.Module.load_state_dict", O("state_dict", {"W": X3[None], "b": np.array([[0.5]])}), run=loaded,
     reference=lambda s: fits(s["W"], s["b"]), names=("state",))  # fmt: skip

# -- initialisers


def shape_of_two(shape):
    if not isinstance(shape, (tuple, list)) or len(shape) != 2:
        raise ValueError
    return tuple(map(count, shape))


for _name, _scale in {"small": lambda n: 0.01, "xavier": lambda n: n**-0.5, "he": lambda n: (2 / n) ** 0.5}.items():
    call(f"init.{_name}", O("shape", (2, 3)), O("rng", 0), run=getattr(tg.init, _name), names=(f"init.{_name}",),
         reference=lambda shape, rng, scale=_scale: drawn(rng, shape_of_two(shape)) * scale(shape[1]))  # fmt: skip
call("init.zeros", O("shape", (2, 3)), run=tg.init.zeros, reference=lambda shape: np.zeros(shape_of_two(shape)),
     names=("init.zeros",))  # fmt: skip

# -- optimizers


def stepped(make):
    def run(*options):
        w = tg.Tensor(X3, requires_grad=True, name="w")
        optimizer = make([w], *options)
        for _ in range(2):
            optimizer.zero_grad()
            tg.sum(w * w).backward()
            with unchanged(optimizer, w):
                optimizer.step()
        return [w.data]

    return run


def fraction(x):
    if not 0 <= number(x) < 1:
        raise ValueError
    return number(x)


def finite(x):
    if not 0 <= number(x) < np.inf:
        raise ValueError
    return number(x)


def descended(lr, momentum, nesterov, weight_decay):
    lr, momentum, nesterov, decay = finite(lr), fraction(momentum), flag(nesterov), finite(weight_decay)
    if nesterov and not momentum:
        raise ValueError
    w, v = X3, 0.0
    for _ in range(2):
        dw = 2 * w + decay * w
        v = momentum * v + dw
        w = w - lr * (dw + momentum * v if nesterov else v)
    return w


LR = Place("lr", 0.1, lambda good: no_functions(scalars_instead(good)))
call("optim.SGD", LR, O("momentum", 0.5), O("nesterov", True), O("weight_decay", 0.1), reference=descended,
     names=("learning rate",), run=stepped(lambda ps, lr, momentum, nesterov, decay: tg.optim.SGD(
         ps, lr, momentum=momentum, nesterov=nesterov, weight_decay=decay)))  # fmt: skip


def adam(lr, beta1, beta2, epsilon):
    lr, beta1, beta2, epsilon = finite(lr), fraction(beta1), fraction(beta2), finite(epsilon)
    if not epsilon:
        raise ValueError
    w, m, v = X3, 0.0, 0.0
    for t in (1, 2):
        m, v = beta1 * m + (1 - beta1) * 2 * w, beta2 * v + (1 - beta2) * 4 * w * w
        w = w - lr * m / (1 - beta1**t) / (np.sqrt(v / (1 - beta2**t)) + epsilon)
    return w


call("optim.Adam", LR, O("betas", 0.9), O("betas", 0.999), O("epsilon", 1e-8), reference=adam,
     names=("learning rate",), run=stepped(lambda ps, lr, beta1, beta2, epsilon: tg.optim.Adam(
         ps, lr, betas=(beta1, beta2), epsilon=epsilon)))  # fmt: skip
call("optim.Adam", O("betas", (0.9, 0.999)), reference=lambda betas: adam(0.1, *betas, 1e-8),
     run=stepped(lambda ps, betas: tg.optim.Adam(ps, 0.1, betas=betas)))  # fmt: skip


call("optim.SGD", O("lr", lambda step: 0.1), names=("learning rate",), run=stepped(tg.optim.SGD),
     reference=lambda lr: X3 * (1 - 2 * finite(lr(0) if callable(lr) else lr)) * (
         1 - 2 * finite(lr(1) if callable(lr) else lr)))  # fmt: skip
call("optim.SGD", O("lr", 0.1), names=("learning rate",), run=stepped(lambda ps, lr: tg.optim.SGD(ps, lambda step: lr)),
     reference=lambda lr: descended(lr, 0, False, 0))  # fmt: skip
for _name in ("SGD", "Adam"):
    call(f"optim.{_name}", O("parameters", [tg.Tensor(X3, requires_grad=True)]),
         run=lambda ps, f=getattr(tg.optim, _name): [len(f(ps, 0.1).parameters)],
         reference=lambda ps: [1] if isinstance(ps, (list, tuple)) and isinstance(ps[0], tg.Tensor)
             and ps[0].requires_grad else refuses())  # fmt: skip


def resumed(**changes):
    def run(*new):
        w = tg.Tensor(X3, requires_grad=True, name="w")
        optimizer = tg.optim.SGD([w], 0.1, momentum=0.5)
        state = optimizer.state_dict() | dict(zip(changes, new, strict=False))
        with unchanged(optimizer, w):
            optimizer.load_state_dict(state if changes else new[0])
        tg.sum(w * w).backward()
        optimizer.step()
        return [w.data, optimizer.steps]

    return run


def state_fits(v):
    return same_shape(v, X3)


call("optim.SGD.load_state_dict", O("state_dict", {"optimizer": "SGD", "steps": 1, "state": [(X3,)]}), run=resumed(),
     reference=lambda s: [X3 - 0.1 * (0.5 * s["state"][0][0] + 2 * X3), 1 + s["steps"]], names=("state",))  # fmt: skip
call("optim.SGD.load_state_dict", O("steps", 1), run=resumed(steps=1), names=("state",),
     reference=lambda n: [X3 - 0.1 * 2 * X3, 1 + number(n)] if number(n) >= 0 and number(n) % 1 == 0
         else refuses())  # fmt: skip
call("optim.SGD.load_state_dict", O("state", [(X3,)]), run=resumed(state=1), names=("state",),
     reference=lambda s: [X3 - 0.1 * (0.5 * s[0][0] + 2 * X3), 1])  # fmt: skip
call("optim.SGD.load_state_dict", A(X3, role="state"), run=lambda v: resumed(state=1)([(v,)]), names=("state",),
     reference=lambda v: [X3 - 0.1 * (0.5 * same_shape(v, X3) + 2 * X3), 1])  # fmt: skip
for _name, _options, _f in [
    ("inverse_time_decay", {"rate": 0.5}, lambda lr, rate: number(lr) / (1 + number(rate) * 3)),
    ("exponential_decay", {"rate": 0.5}, lambda lr, rate: number(lr) * number(rate) ** 3),
    ("step_decay", {"factor": 0.5, "every": 2}, lambda lr, f, every: number(lr) * number(f) ** (3 // count(every))),
    ("cosine_decay", {"steps": 9},
     lambda lr, steps: number(lr) * (1 + np.cos(np.pi * min(3 / count(steps), 1))) / 2),
]:  # fmt: skip
    call(f"optim.{_name}", O("lr", 0.1), *(O(role, good) for role, good in _options.items()), reference=_f,
         run=lambda lr, *options, f=getattr(tg.optim, _name), roles=tuple(_options):
             f(lr, **dict(zip(roles, options, strict=True)))(3))  # fmt: skip

# -- training and data


def trained(X, Y, epochs=2, batch_size=None, rng=None, **options):
    model = tg.nn.LogisticRegression(3)
    optimizer = tg.optim.SGD(model.parameters(), 0.1)
    with unchanged(model, optimizer):
        tg.fit(model, X, Y, loss=options.pop("loss", tg.binary_cross_entropy_with_logits), optimizer=optimizer,
               epochs=epochs, batch_size=batch_size, rng=rng, **options)  # fmt: skip
    return [p.data for p in model.parameters()]


Y15 = np.array([[0, 1, 1, 0, 1]])


def trained_by_hand(X, Y, epochs=2):
    if X.ndim != 2 or X.shape[0] != 3 or not np.isfinite(X).all():
        raise ValueError
    W, b = np.zeros((1, 3)), np.zeros((1, 1))
    for _ in range(count(epochs)):
        cross_entropy_with_logits(W @ X + b, Y)
        dZ = (1 / (1 + np.exp(-(W @ X + b))) - Y) / X.shape[1]
        W, b = W - 0.1 * dZ @ X.T, b - 0.1 * dZ.sum(axis=1, keepdims=True)
    return [W, b]


call("fit", A(X35, role="X"), A(Y15, role="Y"), run=trained, reference=trained_by_hand, names=("layer1",))
call("fit", A(X35, role="X"), A(Y15, role="Y"), names=("layer1", "validation data"), reference=lambda X, Y: (
     trained_by_hand(X, Y), trained_by_hand(X35, Y15))[1],
     run=lambda X, Y: trained(X35, Y15, validation=(X, Y)))  # fmt: skip
call("fit", Place("epochs", 3, lambda good: [bad for bad in scalars_instead(good) if bad.label not in LONG]),
     run=lambda epochs: trained(X35, Y15, epochs),
     reference=lambda epochs: trained_by_hand(X35, Y15, epochs))  # fmt: skip
call("fit", O("batch_size", 5), O("rng", 0), run=lambda size, rng: trained(X35, Y15, 1, size, rng),
     reference=lambda size, rng: trained_by_hand(X35, Y15, 1) if size is None
         else trained(X35, Y15, 1, count(size), 0) if drawn(rng, 1) is not None and count(size) < 5
         else trained_by_hand(X35, Y15, 1))  # fmt: skip
call("fit", O("validation", (X35, Y15)), run=lambda v: trained(X35, Y15, validation=v), names=("validation",),
     reference=lambda v: trained_by_hand(X35, Y15) if v is None or trained_by_hand(*v) else refuses())  # fmt: skip
call("fit", O("callbacks", ()), run=lambda c: trained(X35, Y15, callbacks=c),
     reference=lambda c: trained_by_hand(X35, Y15) if len(c) == 0 else refuses())  # fmt: skip
call("fit", Place("loss", tg.binary_cross_entropy_with_logits, lambda f: no_functions(scalars_instead(f))),
     run=lambda loss: trained(X35, Y15, loss=loss),
     reference=lambda loss: trained_by_hand(X35, Y15) if loss is tg.binary_cross_entropy_with_logits
         else refuses())  # fmt: skip


def fit_with(model=None, optimizer=None):
    good = tg.nn.LogisticRegression(3)
    tg.fit(good if model is None else model, X35, Y15, loss=tg.binary_cross_entropy_with_logits, epochs=1,
           optimizer=tg.optim.SGD(good.parameters(), 0.1) if optimizer is None else optimizer)  # fmt: skip


def junk_only(good):
    return [bad for bad in scalars_instead(good) if bad.value is not None and not isinstance(bad.value, str)]


call("fit", Place("model", ..., junk_only), run=lambda m: fit_with(model=None if m is ... else m),
     reference=lambda m: [] if m is ... else refuses())  # fmt: skip
call("fit", Place("optimizer", ..., junk_only), run=lambda o: fit_with(optimizer=None if o is ... else o),
     reference=lambda o: [] if o is ... else refuses())  # fmt: skip


def shuffled(X, Y, size, rng):
    if X.ndim != 2 or Y.ndim != 2 or X.shape[1] != Y.shape[1] or rng is None or isinstance(rng, (bool, np.bool_)):
        raise ValueError
    rng = rng if isinstance(rng, (np.random.Generator, np.random.RandomState)) else np.random.default_rng(rng)
    order = rng.permutation(X.shape[1])
    X, Y = X[:, order], Y[:, order]
    size = count(size)
    return [part for i in range(0, X.shape[1], size) for part in (X[:, i : i + size], Y[:, i : i + size])]


call("minibatches", A(X35, role="X"), A(Y15, role="Y"), O("batch_size", 2), O("rng", 0), reference=shuffled,
     run=lambda X, Y, size, rng: list(tg.minibatches(X, Y, size, rng=rng)))  # fmt: skip


def classes_of(predictions, Y):
    if predictions.ndim != 2 or Y.ndim != 2 or len(predictions) != 1 or predictions.shape[1] != Y.shape[1]:
        raise ValueError
    if not Y.size or np.isnan(predictions).any() or np.isnan(Y).any():
        raise ValueError
    return predictions[0], Y[0] if len(Y) == 1 else np.argmax(Y, axis=0)


def confusion(predictions, Y):
    p, y = classes_of(predictions, Y)
    both = np.concatenate([p, y])
    if (both != np.round(both)).any() or both.min() < 0 or both.max() > 10_000:
        raise ValueError
    n = max(2, len(Y), int(both.max()) + 1)
    return np.bincount((y * n + p).astype(int), minlength=n * n).reshape(n, n)


P15 = np.array([[0, 1, 0, 2, 1]])
ONE_HOT = np.eye(3, dtype=int)[:, [0, 1, 0, 2, 2]]
for _y in (np.array([[0, 1, 1, 2, 1]]), ONE_HOT):
    call("accuracy", A(P15, role="predictions"), A(_y, role="Y"), run=tg.accuracy,
         reference=lambda p, y: np.mean(np.equal(*classes_of(p, y))))  # fmt: skip
    call("confusion_matrix", A(P15, role="predictions"), A(_y, role="Y"), run=tg.confusion_matrix,
         reference=confusion)  # fmt: skip
call("datasets.planar_flower", O("m", 4), O("rng", 0), run=lambda m, rng: tg.datasets.planar_flower(m, rng=rng)[1],
     reference=lambda m, rng: np.repeat([0, 1], count(m) // 2)[None] if m % 2 == 0 and (
         rng is None or drawn(rng, 1) is not None) else refuses())  # fmt: skip


def read(target="kind", ignore=("id",), path=None):
    with tempfile.TemporaryDirectory() as folder:
        good = Path(folder) / "data.csv"
        good.write_text("id,a,kind\n1,0.5,yes\n2,0.25,no\n")
        X, Y, *_ = tg.datasets.read_csv(good if path is None else path, target=target, ignore=ignore)
        return [X.tolist(), Y.tolist()]


call("datasets.read_csv", O("target", "kind"), O("ignore", ("id",)), run=read, names=("data.csv",),
     reference=lambda target, ignore: [[[0.5, 0.25]], [[1, 0]]] if target == "kind" and list(ignore) == ["id"]
         else [[[1, 2], [0.5, 0.25]], [[1, 0]]] if target == "kind" and not len(ignore) else refuses())  # fmt: skip
call("datasets.read_csv", Place("path", None, junk_only), run=lambda p: read(path=p),
     reference=lambda p: read() if p is None else refuses())  # fmt: skip

# -- transforms


def cubes(x):
    return np.sum(x**3)


def axis_zero(n):
    """The argument to differentiate with respect to, of a function of one."""
    if isinstance(n, bool) or not isinstance(n, (int, tuple)) or n not in (0, -1, (0,), (-1,)):
        raise TypeError
    return n


for _name, _f, _reference in [
    ("grad", cubes, lambda x: 3.0 * x**2), ("value_and_grad", cubes, lambda x: [np.sum(1.0 * x**3), 3.0 * x**2]),
    ("jacobian", lambda x: x**2, lambda x: (np.eye(x.size) * (2.0 * x).ravel()).reshape(x.shape * 2)),
    ("hessian", cubes, lambda x: (np.eye(x.size) * (6.0 * x).ravel()).reshape(x.shape * 2)),
]:  # fmt: skip
    call(_name, A(X23), run=lambda x, t=getattr(tg, _name), f=_f: t(f)(x), reference=_reference)
    call(_name, O("argnums", 0), run=lambda n, t=getattr(tg, _name), f=_f: t(f, n)(X3),
         reference=lambda n, r=_reference: (axis_zero(n), r(X3))[1])  # fmt: skip
    call(_name, Place("f", cubes, lambda f: no_functions(scalars_instead(f))),
         reference=lambda f: f is cubes or refuses(),
         run=lambda f, t=getattr(tg, _name): t(f) is not None, names=("expected a function",))  # fmt: skip
call("hvp", A(X23), A(X23[::-1], role="v"), run=lambda x, v: tg.hvp(cubes)(x, v),
     reference=lambda x, v: 6.0 * x * same_shape(v, x))  # fmt: skip

# -- checks


def checked(f=cubes, x=X23, **options):
    """How many entries are right; projections count as one each."""
    (row,) = tg.check.gradcheck(f, x, **options).rows
    assert not row.wrong
    return row.compared


def smooth(x):
    """The number of entries, of floats that are small enough for a difference of cubes to have digits."""
    return x.size if x.dtype.kind == "f" and np.isfinite(x**3).all() else refuses()


call("check.gradcheck", A(X23, role="inputs"), run=lambda x: checked(x=x), names=("input", "inputs", "argument 1"),
     reference=smooth)  # fmt: skip
call("check.gradcheck", Place("f", cubes, lambda f: no_functions(scalars_instead(f))), run=lambda f: checked(f),
     reference=lambda f: 6 if f is cubes else refuses(), names=("expected a function",))  # fmt: skip
call("check.gradcheck", O("rng", 0), run=lambda rng: checked(rng=rng),
     reference=lambda rng: np.random.default_rng(rng) and drawn(rng, 1) is not None and 6)  # fmt: skip
for _option in ("entries", "projections"):
    call("check.gradcheck", O(_option, 2), run=lambda n, option=_option: checked(**{option: n}) > 0,
         reference=lambda n: count(n) > 0)  # fmt: skip

DIAGNOSED = tg.nn.LogisticRegression(2)
DIAGNOSED.layers[0].W.data = np.array([[0.5, -1.0]])
LABELS3 = np.array([[0.0, 1.0, 1.0]])


def slope_by_hand(X, Y):
    if X.shape != (2, np.shape(Y)[-1]) or Y.shape != (1, X.shape[1]) or not np.isfinite(X).all() or not X.size:
        raise ValueError
    A = 1 / (1 + np.exp(-np.array([[0.5, -1.0]]) @ X))
    probabilities(Y)
    return (A - Y) @ X.T / X.shape[1]


DW = slope_by_hand(X23, LABELS3)


def no_answers(good):
    """Junk without a dict, which holds arrays by name (and "a" means A), and without functions of the user's."""
    return [bad for bad in no_functions(junk_only(good)) if not isinstance(bad.value, dict)]


def diagnosed(X=X23, Y=LABELS3, dW=DW, **options):
    result = tg.check.diagnose(DIAGNOSED, X, Y, {"dW": dW}, **options)
    return [result.findings[-1].expected_norm, float(result.findings[-1].verdict == "right")]


def right(dW):
    """Whether an array is the gradient, to the digits that the coarsest dtype leaves; the course's w is a column."""
    fits = dW.shape in (DW.shape, DW.T.shape, (DW.size,)) and np.allclose(dW.reshape(DW.shape), DW, rtol=1e-2)
    return [np.linalg.norm(DW), float(fits)]


call("check.diagnose", A(X23, role="X"), run=lambda X: diagnosed(X)[0],
     reference=lambda X: np.linalg.norm(slope_by_hand(X, LABELS3)))  # fmt: skip
call("check.diagnose", A(LABELS3, role="Y"), run=lambda Y: diagnosed(Y=Y)[0],
     reference=lambda Y: np.linalg.norm(slope_by_hand(X23, Y)))  # fmt: skip
call("check.diagnose", A(DW, role="dW"), run=lambda dW: diagnosed(dW=dW), reference=right)
call("check.diagnose", A(np.array([[0.5, -1.0]]) @ X23, role="Z"), reference=lambda Z: right(DW),
     run=lambda Z: diagnosed(cache={"Z": Z}))  # fmt: skip
for _option in ("gradients", "cache", "loss", "model"):
    call("check.diagnose", Place(_option, None, no_answers), reference=lambda v: 1 if v is None else refuses(),
         run=lambda v, option=_option: 1 if v is None else tg.check.diagnose(
             **{"model": DIAGNOSED, "X": X23, "Y": LABELS3, "gradients": {"dW": DW}} | {option: v}),
         names=("expected",))  # fmt: skip
for _option, _good in (("name", "a mistake"), ("kinds", "dW")):
    call("check.cause", Place(_option, _good, junk_only), reference=lambda v, good=_good: v == good or refuses(),
         run=lambda v, option=_option: bool(tg.check.cause(**{"name": "a", "kinds": "dW"} | {option: v})))  # fmt: skip

# -- the harness ------------------------------------------------------------------------------------------------------


class Hang(BaseException):
    pass


@contextmanager
def impatient():
    def ring(*_):
        raise Hang

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


OURS = (ValueError, TypeError, IndexError, RuntimeError, ArithmeticError, MemoryError)


def fault(error, names):
    """What keeps an error from being a clear one of ours; empty if nothing does."""
    trace = error.__traceback__
    while trace.tb_next is not None:
        trace = trace.tb_next
    code = trace.tb_frame.f_code
    text = f"{type(error).__name__}: {error}"
    if not isinstance(error, OURS):
        return f"an error of another kind, {text}"
    if not code.co_filename.startswith(PACKAGE):
        return f"raised in {code.co_filename}, {text}"
    if dis.opname[code.co_code[trace.tb_lasti]] != "RAISE_VARARGS":
        return f"not raised but suffered in {Path(code.co_filename).name}:{trace.tb_lineno}, {text}"
    if not any(re.search(rf"(?<![\w]){re.escape(name)}(?![\w])", str(error)) for name in names):
        return f"names none of {names}: {text}"
    return ""


def expected(call, args):
    """The reference's first value, or REFUSE."""
    if any(a is REFUSE for a in args):
        return REFUSE
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the reference, which is plain NumPy
            return values_of(call.reference(*args))
    except Exception:  # whatever NumPy makes of it
        return REFUSE


def outcome(call, args, clean, huge=False):
    """'refused' or 'answered'; or, with a colon in it, what was wrong."""
    try:
        with np.errstate(all="ignore"), impatient():
            got = call.run(*args)
    except Hang:
        return "wrong: hangs"
    except BaseException as error:
        if isinstance(error, MemoryError) and huge:
            return "refused"
        return "wrong: " + problem if (problem := fault(error, call.names)) else "refused"
    want = expected(call, clean)
    if want is REFUSE:
        return f"wrong: answered {_short(got)}, where there is no answer"
    try:
        with np.errstate(all="ignore"):
            want = [*want, *call.run(*clean)[len(want) :]]  # the gradients
    except Exception:  # of any kind: the clean call must not fail
        return f"wrong: answered {_short(got)}, but not for the same in plain floats"
    coarse = max(np.finfo(a.dtype).eps for a in (*map(_plain, args), np.ones(1)) if _kind(a) == "f")
    if len(got) != len(want) or not all(alike(g, w, coarse) for g, w in zip(got, want, strict=True)):
        return f"wrong: answered {_short(got)}, where {_short(want)} is right"
    return "answered"


def _short(values):
    return repr(values)[:300]


def _kind(x):
    dtype = getattr(x, "dtype", None)
    return dtype.kind if isinstance(dtype, np.dtype) else ""


def alike(got, want, coarse):
    """Equal shapes and numbers, to the digits of the coarsest dtype."""
    if got is CONSTANT:
        return True
    got, want = np.asarray(_plain(got)), np.asarray(_plain(want))
    if got.dtype == want.dtype == object:  # exact integers
        return all(isinstance(x, (int, float)) for x in got.flat) and np.array_equal(got, want)
    if got.shape != want.shape or got.dtype.kind not in "fiub":
        return False
    coarse = max(coarse, *(np.finfo(a.dtype).eps for a in (got, want, np.ones(1)) if a.dtype.kind == "f"))
    with np.errstate(all="ignore"):
        got, want = got.astype(np.longdouble), want.astype(np.longdouble)
        scale = np.max(np.abs(want[np.isfinite(want)]), initial=1)
        return np.allclose(got, want, rtol=100 * float(coarse), atol=100 * float(coarse * scale), equal_nan=True)


# Where a huge array is no mistake: NumPy takes views of it at once, or reads it for hours.
TAKE_HUGE = {
    "tensor", "grad", "value_and_grad", "jacobian", "hessian", "hvp",
    "sum", "mean", "max", "min", "prod", "var", "std", "softmax", "log_softmax", "logsumexp", "reshape", "transpose",
    "swapaxes", "expand_dims", "squeeze", "broadcast_to", "getitem",
}  # fmt: skip


def tried(name):
    """Every corruption of every place of the calls of a function, and what came of it."""
    for number, call in enumerate(CALLS[name]):
        clean = [p.good for p in call.places]
        roles = tuple(p.role for p in call.places)
        for k, place in enumerate(call.places):
            named = call._replace(names=(*call.names, *roles))
            for bad in place.instead(place.good):
                if (name, place.role, bad.label) == ("Tensor.__pow__", "x", "matrix"):
                    continue  # np.matrix has a power of its own, and asks nobody
                if bad.label == "huge" and name.split(".")[-1].strip("_").lower() in TAKE_HUGE:
                    continue
                args = [bad.value if i == k else p.good for i, p in enumerate(call.places)]
                plain = [bad.clean if i == k else c for i, c in enumerate(clean)]
                result = outcome(named, args, plain, huge=bad.label == "huge")
                yield f"{name} #{number}, {place.role} = {bad.label}", result


@pytest.mark.parametrize("name", CALLS)
def test_good_calls_are_answered(name):
    for call in CALLS[name]:
        good = [p.good for p in call.places]
        assert outcome(call, good, good) == "answered"


@pytest.mark.parametrize("name", CALLS)
def test_bad_input_is_answered_rightly_or_refused_clearly(name):
    wrong = [f"{where}: {result}" for where, result in tried(name) if ":" in result]
    assert not wrong, "\n".join(wrong)


@given(st.data())
def test_several_bad_arguments_at_once(data):
    name = data.draw(st.sampled_from(sorted(CALLS.keys() - ALONE)))
    call = CALLS[name][data.draw(st.integers(0, len(CALLS[name]) - 1))]
    bads = [kinds[data.draw(st.integers(0, len(kinds) - 1))] for kinds in map(kinds_of, call.places)]
    args = [bad.value for bad in bads]
    named = call._replace(names=(*call.names, *(place.role for place in call.places)))
    assert ":" not in (result := outcome(named, args, [bad.clean for bad in bads])), (name, bads, result)


# Slow with classes in the thousands or a million epochs; and those that errors call by whatever name is passed.
ALONE = {"confusion_matrix", "fit", "Tensor", "nn.Parameter"}


def kinds_of(place):
    """The corruptions of a place, without the largest, those used up, and those of more levels; and none."""
    unfit = {
        "Tensor",
        "Tensor that requires a gradient",
        "Tensor of a Tensor",
        "Parameter",
        "huge",
        "huge int",
        "negative huge int",
        "generator",
        "iterator",
        "map",
        "dict values",
    }
    return [bad for bad in place.instead(place.good) if bad.label not in unfit] + [Bad("good", place.good, place.good)]


# Public, and not in the table: what takes nothing, or nothing but names, modes and other people's functions.
WITHOUT_ARRAYS = {
    "AnomalyError", "detect_anomaly", "History", "History.plot", "no_grad", "op", "nn.Module", "datasets.Table",
    "Tensor.__format__", "Tensor.__setitem__", "Tensor.__floordiv__", "Tensor.__rfloordiv__",
    "Tensor.__mod__", "Tensor.__rmod__",
    "check.Diagnosis", "check.Finding", "check.GradCheck", "check.GradientError", "check.Row",
    "check.Step", "check.causes",
    "compile",  # its steps take what a model and its loss take, with the same errors; tested beside it
    "derive", "draw", "numpy_source",  # readers of a graph, whose bad input has tests beside theirs
}  # fmt: skip


def public():
    """The dotted names of all public functions and classes, and of the methods and properties that take something."""
    for name in tg.__all__:
        thing = getattr(tg, name)
        if inspect.ismodule(thing):
            for inner in thing.__all__:
                yield from with_methods(f"{name}.{inner}", getattr(thing, inner))
        else:
            yield from with_methods(name, thing)


def with_methods(name, thing):
    yield name
    ours = thing.__mro__ if inspect.isclass(thing) and name not in ("datasets.Table", "nn.Parameter") else ()
    for base in (base for base in ours if base.__module__.startswith("tinygrad_dls")):
        for attribute, member in vars(base).items():
            operator = attribute in OPERATOR_NAMES or attribute == "__call__"
            if isinstance(member, property):
                takes = member.fset is not None
            else:
                takes = inspect.isfunction(member) and len(inspect.signature(member).parameters) > 1
            if takes and (operator or not attribute.startswith("_")):
                yield f"{name}.{attribute}"


OPERATOR_NAMES = {
    f"__{side}{name}__"
    for side in ("", "r")
    for name in ("add", "sub", "mul", "truediv", "pow", "matmul", "mod", "floordiv")
} | {f"__{name}__" for name in ("eq", "ne", "lt", "le", "gt", "ge", "getitem", "setitem", "format")}  # fmt: skip


def test_everything_public_is_in_the_table():
    def entries(name):
        """The name, and the same method of the classes that it is inherited from or by."""
        owner, _, method = name.rpartition(".")
        return {
            name,
            *(f"{other.rpartition('.')[0]}.{method}" for other in CALLS if other.endswith(f".{method}") and owner),
        }

    missing = {name for name in public() if not entries(name) & CALLS.keys()} - WITHOUT_ARRAYS
    assert not missing, missing


def test_the_sweep_is_not_smaller_than_the_docs_say(record_property):
    number = sum(len(list(place.instead(place.good))) for calls in CALLS.values() for c in calls for place in c.places)
    record_property("calls", number)
    assert number > 70_000


@pytest.mark.parametrize(
    ("f", "text"),
    [
        (lambda: tg.Tensor([1.0], "W1"), "this Tensor: requires_grad must be True or False, got 'W1'."),
        (lambda: tg.nn.Linear(2, 1, rng="0"),
         "Linear 2 -> 1: rng must be a seed, an integer >= 0, or a generator, got '0'."),
        (lambda: tg.nn.Linear(2, 1, rng=0, dtype=int),
         "Linear: dtype must be a floating dtype, such as float or np.float32"),
        (lambda: tg.init.he((2,), 0), "init.he: shape must be (n_out, n_in), got (2,)."),
        (lambda: tg.nn.Dropout("0.5", rng=0), "Dropout: keep_prob must be a number, got '0.5'."),
        (lambda: tg.nn.LogisticRegression(2).load_state_dict([1]),
         "the state of a model, a dict of arrays by name: [1]."),
        (lambda: tg.optim.SGD([tg.Tensor(1.0)], 0.1, nesterov="no"), "nesterov must be True or False, got 'no'."),
        (lambda: tg.optim.Adam([tg.Tensor(1.0)], betas=0.9), "betas must be two numbers in [0, 1), got 0.9."),
        (lambda: tg.optim.step_decay(0.1, factor=0.5, every=0), "step_decay: every must be a positive integer, got 0."),
        (lambda: tg.optim.cosine_decay(-1, steps=2), "cosine_decay: lr must be a finite number >= 0, got -1."),
        (lambda: trained(np.full((3, 5), np.nan), Y15),
         "fit: X holds 15 NaN or infinities among its 15 entries in X and Y."),
        (lambda: tg.mean(np.ones((0, 2)), axis=0), "mean: argument 1 is (0, 2); 0 entries are too few"),
        (lambda: tg.var(np.ones((1, 2)), axis=0, ddof=1),
         "var: argument 1 is (1, 2); 1 entries are too few for ddof=1"),
        (lambda: tg.grad(cubes, (0, -1))(X3), "grad: argnums=(0, -1) names an argument twice."),
        (lambda: tg.grad(cubes, None), "grad: argnums must be an int or a tuple of ints, got None."),
        (lambda: tg.stack(3), "stack takes a list of arrays, got 3."),
        (lambda: tg.astype(np.ones(2), str),
         "astype: argument 1 is (2,), argument 2 is type; the result has dtype <U32"),
        (lambda: tg.datasets.read_csv(1, target="y"), "read_csv: path must be a str or a path, got 1."),
        (lambda: tg.confusion_matrix([[0, 10**6]], [[0, 1]]),
         "classes up to 1000000; number them from 0 without gaps."),
    ],
)  # fmt: skip
def test_what_the_errors_say(f, text):
    with pytest.raises((ValueError, TypeError), match=re.escape(text)):
        f()


if __name__ == "__main__":
    total = 0
    for name in CALLS:
        results = [result for _, result in tried(name)]
        total += len(results)
        print(f"{name:50} {len(results):6,}")
    print(f"{'calls':50} {total:6,}")
