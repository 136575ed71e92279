"""DataFrames as tables: with what becomes of their columns chosen here, or as an earlier table's recipe has it.

A model knows the features that it was trained with: which columns, the texts that became rows of zeros and ones, the
means that stood for missing cells. A table's recipe says this in plain numbers and texts, so that it is saved with the
model, and rows that come later become the same features, or are refused by row and column.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from tinygrad_dls.datasets.table import Chosen, Column, FloatArray, Missing, Table, assemble, sorted_texts
from tinygrad_dls.engine.errors import shown
from tinygrad_dls.nn.columns import is_frame_of_pandas, is_nameless

__all__ = ["from_frame"]

_NO_FEATURE = (
    "and no feature. If it holds categories, write one_hot=[{0!r}]; or make numbers of it, or leave it out: "
    "ignore=[{0!r}]."
)
_MADE_OF_NUMBERS = (
    "and held numbers in the recipe's table. Make numbers of it: frame[{0!r}] = pd.to_numeric(frame[{0!r}])."
)
_PARTS = {"target": str, "classes": list, "columns": list, "ignore": list, "texts": dict, "means": dict}


def from_frame(
    frame: Any,
    *,
    target: str | None = None,
    ignore: Sequence[str] = (),
    missing: Missing = "error",
    one_hot: Sequence[str] = (),
    like: Mapping[str, Any] | None = None,
) -> Table:
    """Make a table of a pandas DataFrame, whose rows are the examples.

    Parameters
    ----------
    frame : pandas.DataFrame
        Its columns have names. Its index is no feature.
    target, ignore, missing, one_hot
        As for `read_csv`. What pandas counts as missing is missing.
    like : dict, in place of all of them
        The recipe of an earlier table, ``like=table.recipe``: its columns, found by their names, become its features,
        with its means where cells are missing, and its classes. The target may be left out, as it is when it is to be
        predicted; Y has no rows then, ``(0, m)``. No row is ever dropped.

    Returns
    -------
    Table
        With the examples as columns.

    Raises
    ------
    TypeError
        If it is no DataFrame.
    ValueError
        As for `read_csv`; and if a column holds dates or other objects. With `like`, if columns are missing or unknown,
        if a text or a class is none of those of the recipe, or if a cell is missing that it has no mean for. The error
        gives the row and the column.

    Examples
    --------
    >>> import pandas as pd, tinygrad_dls as tg
    >>> frame = pd.DataFrame({"size": [1.5, None, 2.0], "city": ["Rome", "Oslo", "Rome"], "price": [2, 1, 3]})
    >>> table = tg.datasets.from_frame(frame, target="price", missing="mean", one_hot=["city"])
    >>> table.features
    ('size', 'city=Oslo', 'city=Rome')
    >>> table.X
    array([[1.5 , 1.75, 2.  ],
           [0.  , 1.  , 0.  ],
           [1.  , 0.  , 1.  ]])
    >>> tg.datasets.from_frame(pd.DataFrame({"city": ["Oslo"], "size": [None]}), like=table.recipe).X
    array([[1.75],
           [1.  ],
           [0.  ]])
    """
    if not is_frame_of_pandas(frame):
        raise TypeError(f"from_frame takes a pandas DataFrame, got {shown(frame)}.")
    header = list(frame.columns)
    if not all(isinstance(name, str) for name in header):
        raise ValueError(f"from_frame: the columns need names, got {shown(header)}. Write frame.columns = [...].")
    if like is not None:
        if target is not None or len(ignore) or missing != "error" or len(one_hot):
            raise TypeError("from_frame: like= says what becomes of all columns; leave target= and the others out.")
        return _like(frame, header, _checked(like))
    if target is None:
        raise TypeError("from_frame: target= is missing, the column to predict; or write like=table.recipe.")
    chosen = Chosen(header, target, ignore, one_hot, "from_frame")
    for name in chosen.features:
        if is_nameless(name):
            raise ValueError(
                f"from_frame: column {name!r} has no name, and is no feature then. If it is the row numbers, which "
                f"pandas writes without index=False, leave it out: ignore=[{name!r}]; or else name it."
            )
    policies = chosen.policies(missing)
    features: dict[str, Column | int] = {}
    numbers: list[FloatArray] = []

    def column_of(name: str) -> Column:
        if policies[name] == "error":
            _refuse_missing(frame, name, policies.advice(name))
        is_text = name in chosen.one_hot or (name == target and not _is_numeric(frame[name]))
        return _texts(frame, name) if is_text else _numbers(frame, name)

    for name in chosen.features:
        column = column_of(name)
        features[name] = len(numbers) if column.texts is None else column
        if column.texts is None:
            numbers.append(column.values)
    X = np.array(numbers, float).reshape(len(numbers), len(frame))
    _refuse_empty(frame)
    return assemble(X, features, column_of(target), target, policies, "from_frame")


# -- like an earlier table --------------------------------------------------------------------------------------------


def _checked(like: Any) -> dict[str, Any]:
    """A recipe, if it is one."""
    if isinstance(like, Table):
        raise TypeError("from_frame: like= takes the recipe of a table: like=table.recipe.")
    who = "from_frame: like= takes the recipe of a table, like=table.recipe"
    if not isinstance(like, Mapping) or not all(isinstance(like.get(name), kind) for name, kind in _PARTS.items()):
        raise TypeError(f"{who}; got {shown(like)}.")
    for what, names in _lists(like):
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise TypeError(f"{who}; {what} of this one are {shown(names)}, and no list of texts.")
        if len(set(names)) < len(names) or (not names and what == "the columns"):
            raise ValueError(f"{who}; {what} of this one are {shown(names)}; it is damaged, or not one of a table.")
    for name, mean in like["means"].items():
        if not isinstance(mean, (int, float)) or not math.isfinite(mean):
            raise ValueError(f"{who}; the mean of {name!r} in this one is {shown(mean)}, and no finite number.")
    return dict(like)


def _lists(recipe: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The lists of texts of a recipe, and what they are."""
    own = [(f"the {name}", recipe[name]) for name in ("columns", "classes", "ignore")]
    return own + [(f"the texts of {name!r}", texts) for name, texts in recipe["texts"].items()]


def _like(frame: Any, header: list[str], recipe: dict[str, Any]) -> Table:
    """The features that a recipe tells, of other rows."""
    target, columns, means = recipe["target"], recipe["columns"], recipe["means"]
    problems = [f"{name!r} is missing" for name in columns if name not in header]
    problems += [f"{name!r} is named twice" for name in sorted({x for x in header if header.count(x) > 1})]
    problems += [f"{x!r} is none of them" for x in header if x not in (*columns, *recipe["ignore"], target)]
    if problems:
        raise ValueError(f"from_frame: the features of this recipe are {', '.join(columns)}: {'; '.join(problems)}.")
    _refuse_empty(frame)
    rows: list[Any] = []
    names: list[str] = []
    missing: dict[str, int] = {}
    for name in columns:
        if name in recipe["texts"]:
            texts = recipe["texts"][name]
            rows += [*(np.arange(len(texts))[:, None] == _numbered(frame, name, texts)).astype(float)]
            names += [f"{name}={text}" for text in texts]
            continue
        if name not in means:
            _refuse_missing(
                frame, name, f"The recipe has no mean for it: it was made without missing={{{name!r}: 'mean'}}."
            )
        row = _numbers(frame, name, _MADE_OF_NUMBERS).values
        if absent := int(np.count_nonzero(np.isnan(row))):
            missing[name] = absent
            row = np.where(np.isnan(row), means[name], row)
        rows.append(row)
        names.append(name)
    Y: Any = np.empty((0, len(frame)))
    if target in header:
        _refuse_missing(frame, target, "Leave the column out to predict it, or leave out the row.")
        classes = recipe["classes"]
        row = _numbered(frame, target, classes) if classes else _numbers(frame, target, _MADE_OF_NUMBERS).values
        Y = row[None, :]
    return Table(np.array(rows), Y, tuple(names), target, tuple(recipe["classes"]), MappingProxyType(missing), recipe)


def _numbered(frame: Any, name: str, texts: list[str]) -> Any:
    """The numbers of the texts of a column, in a list of them."""
    _refuse_missing(frame, name, "A text has no mean. Fill it with one of the recipe's, or leave out the row.")
    found = _texts(frame, name)
    own = found.texts or ()
    places = np.array([texts.index(text) if text in texts else -1 for text in own], np.int64)[found.values]
    if (places < 0).any():
        i = int((places < 0).argmax())
        raise ValueError(
            f"{_at(frame, i, name)}: {own[found.values[i]]!r} is none of the texts that the recipe knows: "
            f"{', '.join(texts)}."
        )
    return places


# -- columns ----------------------------------------------------------------------------------------------------------


def _at(frame: Any, i: int, name: str) -> str:
    return f"from_frame: row {frame.index[i]!r}, column {name!r}"


def _refuse_empty(frame: Any) -> None:
    if not len(frame):
        raise ValueError("from_frame: the frame has no rows.")


def _absent(frame: Any, name: str) -> Any:
    return frame[name].isna().to_numpy(dtype=bool)


def _refuse_missing(frame: Any, name: str, advice: str) -> None:
    absent = _absent(frame, name)
    if absent.any():
        raise ValueError(f"{_at(frame, int(absent.argmax()), name)}: the cell is missing. {advice}")


def _texts(frame: Any, name: str) -> Column:
    """A column of text; what is missing has the number -1."""
    cells, absent = frame[name].to_numpy(dtype=object), _absent(frame, name)
    wrong = next((i for i, x in enumerate(cells) if not absent[i] and not isinstance(x, (str, int, bool))), None)
    if wrong is not None:
        raise ValueError(
            f"{_at(frame, wrong, name)}: {shown(cells[wrong])} is no text. Write frame[{name!r}].astype(str)."
        )
    known: dict[str, int] = {}
    numbers = [-1 if gone else known.setdefault(str(x), len(known)) for x, gone in zip(cells, absent, strict=True)]
    return sorted_texts(numbers, list(known))


def _numbers(frame: Any, name: str, advice: str = _NO_FEATURE) -> Column:
    """A column of finite numbers; what is missing is NaN."""
    series = frame[name]
    if not _is_numeric(series) and not _absent(frame, name).all():
        raise ValueError(f"from_frame: column {name!r} is of {series.dtype}, {advice.format(name)}")
    x = series.to_numpy(dtype=float, na_value=np.nan)
    if np.isinf(x).any():
        i = int(np.isinf(x).argmax())
        raise ValueError(f"{_at(frame, i, name)}: {x[i]} is not a finite number.")
    return Column(x)


def _is_numeric(series: Any) -> bool:
    return getattr(series.dtype, "kind", "O") in "fiub"
