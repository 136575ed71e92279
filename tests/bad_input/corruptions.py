"""What an argument may be instead: the same numbers in another form, or nonsense."""

from __future__ import annotations

import array
import warnings
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

import tinygrad_dls as tg

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
    return [Bad(label, value, as_plain(value)) for label, value in values.items()]


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


def as_plain(x):
    while isinstance(x, tg.Tensor):
        x = x._value
    return x
