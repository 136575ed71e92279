"""A table of examples: numbers and texts by column become one array of features, and one of targets.

However a table comes, from a file or from a DataFrame, here is what becomes of cells that are missing and of columns of
text, once.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from tinygrad_dls.engine.arrays import as_array, positive_integer
from tinygrad_dls.engine.errors import shown
from tinygrad_dls.engine.tensor import values

__all__ = ["Chosen", "Column", "Missing", "Policies", "Table", "assemble", "from_frame", "one_hot", "sorted_texts"]

FloatArray = np.ndarray[Any, np.dtype[np.float64]]
IntArray = np.ndarray[Any, np.dtype[np.int64]]
Missing = str | Mapping[str, str]

POLICIES = ("error", "drop", "mean")
MOST_CATEGORIES = 1000


class Table(NamedTuple):
    """A table of examples.

    Attributes
    ----------
    X : array of float64, shape (n_x, m)
        The features, one row each.
    Y : array, shape (1, m)
        The target: float64 numbers, or int64 class indices where the file has text.
    features : tuple of str
        The names of X's rows; ``city=Rome`` is 1 where the column city says Rome, and else 0.
    target : str
        The name of Y.
    classes : tuple of str
        The text of each class index, in alphabetical order; empty for a numeric target.
    missing : mapping of str to int
        How many cells were missing, by column, before rows were dropped or means put in their place.
    """

    X: FloatArray
    Y: FloatArray | IntArray
    features: tuple[str, ...]
    target: str
    classes: tuple[str, ...] = ()
    missing: Mapping[str, int] = MappingProxyType({})


class Column(NamedTuple):
    """A column: numbers, of which NaN are missing; or numbers of texts, of which -1 are missing, and the texts."""

    values: Any
    texts: tuple[str, ...] | None = None

    @property
    def missing(self) -> Any:
        """Where cells are missing."""
        return np.isnan(self.values) if self.texts is None else self.values < 0


class Policies:
    """What becomes of missing cells, by column.

    Parameters
    ----------
    missing : str or mapping of str to str
        As a caller gave it.
    without_mean : collection of str
        The target, which is what is to be learned, and columns of text.
    """

    def __init__(self, missing: Missing, without_mean: Collection[str]) -> None:
        self.by_column = dict(missing) if isinstance(missing, Mapping) else {}
        self.default = "error" if isinstance(missing, Mapping) else missing
        self.without_mean = without_mean
        for policy in (self.default, *self.by_column.values()):
            if policy not in POLICIES:
                raise ValueError(f"missing is one of {POLICIES}, or a dict of these by column, got {shown(policy)}.")

    def __getitem__(self, name: str) -> str:
        policy = self.by_column.get(name, self.default)
        return "error" if policy == "mean" and name in self.without_mean else policy

    @property
    def are_strict(self) -> bool:
        """Whether no cell may be missing."""
        return {self.default, *self.by_column.values()} == {"error"}

    def advice(self, name: str) -> str:
        """What to write where a cell of a column is missing."""
        mean = "" if name in self.without_mean else f", or {{{name!r}: 'mean'}} for the mean of the others"
        return f"To leave out its row, write missing={{{name!r}: 'drop'}}{mean}."


def assemble(
    X: FloatArray, features: Mapping[str, Column | int], y: Column, target: str, policies: Policies, source: str
) -> Table:
    """Make a table of its columns.

    Parameters
    ----------
    X : array, shape (n, m)
        The columns of numbers.
    features : mapping of str to Column or int
        By their names, in order: a column of text, or the row of X. Without text, these are all rows, in order.
    y : Column
    target : str
        The name of y.
    policies : Policies
        What becomes of missing cells; where they say ``"error"``, none is missing.
    source : str
        What errors call the table.
    """
    where = {name: np.isnan(X[c]) if isinstance(c, int) else c.missing for name, c in features.items()}
    where[target] = y.missing
    missing = {name: int(np.count_nonzero(cells)) for name, cells in where.items() if cells.any()}
    kept = ~np.any(
        [where[name] for name in missing if policies[name] == "drop"] or [np.zeros(X.shape[1], bool)], axis=0
    )
    if not kept.any():
        raise ValueError(f"{source}: no row is left; a cell is missing in each ({_counted(missing)}).")
    if not kept.all():
        X, y = X[:, kept], y._replace(values=y.values[kept])
    for name in missing:
        column = features.get(name)
        if policies[name] == "mean" and isinstance(column, int):
            row = X[column]
            present = row[~np.isnan(row)]
            if not present.size:
                raise ValueError(f"{source}: column {name!r} has no number to take the mean of; ignore=[{name!r}].")
            row[np.isnan(row)] = present.mean()
    rows, names = [], []
    for name, column in features.items():
        if isinstance(column, int):
            rows.append(X[column])
            names.append(name)
        else:
            indicators, categories = _indicators(name, column, kept, source)
            rows += [*indicators]
            names += [f"{name}={category}" for category in categories]
    if any(isinstance(column, Column) for column in features.values()):
        X = np.array(rows, float)
    return Table(X, y.values[None, :], tuple(names), target, y.texts or (), MappingProxyType(missing))


def _counted(missing: Mapping[str, int]) -> str:
    return ", ".join(f"{name!r}: {count}" for name, count in missing.items())


def _indicators(name: str, column: Column, kept: Any, source: str) -> tuple[FloatArray, Sequence[str]]:
    """A row of zeros and ones for each text of a column."""
    numbers, texts = column.values[kept], column.texts or ()
    present = sorted(set(numbers.tolist()))
    if len(present) > MOST_CATEGORIES:
        raise ValueError(
            f"{source}: column {name!r} has {len(present)} texts, which would be as many features. Is it a name or a "
            f"number of the row? Leave it out: ignore=[{name!r}]."
        )
    return (np.array(present)[:, None] == numbers).astype(float), [texts[i] for i in present]


def sorted_texts(numbers: Any, texts: Sequence[str]) -> Column:
    """A column of texts in alphabetical order, without the spaces around them; numbers below 0 are missing."""
    stripped = [text.strip() for text in texts]
    names, indices = np.unique(stripped, return_inverse=True) if stripped else (np.array([], str), np.array([], int))
    numbers = np.asarray(numbers, np.int64)
    return Column(np.where(numbers < 0, -1, indices.astype(np.int64)[numbers]), tuple(map(str, names)))


def one_hot(Y: Any, n_classes: int | None = None) -> FloatArray:
    """One-hot columns of class indices: 1 in the row of the class, 0 elsewhere.

    Parameters
    ----------
    Y : array of integers, shape (1, m) or (m,)
        The class indices, 0 ... n_classes - 1.
    n_classes : int, optional
        The number of classes; by default, the largest index and one more.

    Returns
    -------
    array of float64, shape (n_classes, m)

    Raises
    ------
    TypeError, ValueError
        If Y has another shape, holds other numbers than class indices, or has no examples.

    Examples
    --------
    >>> import tinygrad_dls as tg
    >>> tg.datasets.one_hot([[0, 2]])
    array([[1., 0.],
           [0., 0.],
           [0., 1.]])
    """
    y = as_array(values(Y), "one_hot: Y")
    if y.ndim not in (1, 2) or (y.ndim == 2 and y.shape[0] != 1) or not y.size:
        raise ValueError(f"one_hot: Y is {y.shape}; expected class indices, (1, m).")
    if y.dtype.kind not in "iu":
        raise TypeError(f"one_hot: Y is of {y.dtype}; class indices are integers. Write Y.astype(int).")
    n = int(y.max()) + 1 if n_classes is None else positive_integer(n_classes, "one_hot: n_classes")
    if y.min() < 0 or y.max() >= n:
        wrong = y.min() if y.min() < 0 else y.max()
        raise ValueError(f"one_hot: Y holds {wrong}; class indices of {n} classes are 0 ... {n - 1}.")
    columns: FloatArray = (np.arange(n)[:, None] == y.reshape(1, -1)).astype(float)
    return columns


class Chosen:
    """Which columns are features, which hold categories, and which is the target.

    Raises
    ------
    TypeError, ValueError
        If a column is missing, named twice or nameless, or if no feature is left.
    """

    def __init__(
        self, header: Sequence[str], target: str, ignore: Sequence[str], one_hot: Sequence[str], source: str
    ) -> None:
        if not isinstance(target, str):
            raise TypeError(f"{source}: target must be the name of a column, got {shown(target)}.")
        for option, names in (("ignore", ignore), ("one_hot", one_hot)):
            if isinstance(names, str):
                raise TypeError(f"{option} takes a list of columns: {option}=[{names!r}].")
            if not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
                raise TypeError(f"{source}: {option} takes a list of columns, got {shown(names)}.")
        self.header, self.target, self.one_hot, self.source = list(header), target, tuple(one_hot), source
        self.features = [name for name in header if name != target and name not in ignore]
        doubled = sorted({name for name in header if list(header).count(name) > 1})
        if doubled:
            raise ValueError(f"{source}: columns named twice: {', '.join(map(repr, doubled))}.")
        for name in (target, *ignore, *one_hot):
            if name not in header:
                raise ValueError(f"{source} has no column {name!r}; its columns are {', '.join(header)}.")
        for name in one_hot:
            if name not in self.features:
                what = "the target; its texts become class indices" if name == target else "left out by ignore="
                raise ValueError(f"{source}: one_hot has {name!r}, which is {what}.")
        if not self.features:
            raise ValueError(f"{source}: no feature is left besides {target!r}.")

    def policies(self, missing: Missing) -> Policies:
        """What becomes of missing cells; checked against the columns."""
        if not isinstance(missing, (str, Mapping)):
            raise TypeError(
                f"{self.source}: missing is one of {POLICIES}, or a dict of these by column, got {shown(missing)}."
            )
        found = Policies(missing, {self.target, *self.one_hot})
        for name, policy in found.by_column.items():
            if name not in (*self.features, self.target):
                raise ValueError(f"{self.source}: missing has {name!r}, which is no feature, nor the target.")
            if policy == "mean" and name in found.without_mean:
                what = "is what is to be learned" if name == self.target else "holds texts, which have no mean"
                raise ValueError(f"{self.source}: missing has a mean for {name!r}, which {what}. Write 'drop'.")
        return found


def from_frame(
    frame: Any, *, target: str, ignore: Sequence[str] = (), missing: Missing = "error", one_hot: Sequence[str] = ()
) -> Table:
    """Make a table of a pandas DataFrame, whose rows are the examples.

    Parameters
    ----------
    frame : pandas.DataFrame
        Its columns have names. Its index is no feature.
    target, ignore, missing, one_hot
        As for `read_csv`. What pandas counts as missing is missing.

    Returns
    -------
    Table
        With the examples as columns.

    Raises
    ------
    TypeError
        If it is no DataFrame.
    ValueError
        As for `read_csv`; and if a column holds dates or other objects. The error gives the row and the column.

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
    """
    if not all(hasattr(frame, name) for name in ("columns", "iloc", "index", "to_numpy")):
        raise TypeError(f"from_frame takes a pandas DataFrame, got {shown(frame)}.")
    header = list(frame.columns)
    if not all(isinstance(name, str) for name in header):
        raise ValueError(f"from_frame: the columns need names, got {shown(header)}. Write frame.columns = [...].")
    chosen = Chosen(header, target, ignore, one_hot, "from_frame")
    policies = chosen.policies(missing)
    features: dict[str, Column | int] = {}
    numbers: list[FloatArray] = []
    for name in chosen.features:
        column = _column(frame, name, chosen, policies)
        features[name] = len(numbers) if column.texts is None else column
        if column.texts is None:
            numbers.append(column.values)
    X = np.array(numbers, float).reshape(len(numbers), len(frame))
    if not len(frame):
        raise ValueError("from_frame: the frame has no rows.")
    return assemble(X, features, _column(frame, target, chosen, policies), target, policies, "from_frame")


def _column(frame: Any, name: str, chosen: Chosen, policies: Policies) -> Column:
    """A column of a DataFrame, checked."""
    series = frame[name]
    absent = series.isna().to_numpy(dtype=bool)

    def at(i: int) -> str:
        return f"from_frame: row {frame.index[i]!r}, column {name!r}"

    if absent.any() and policies[name] == "error":
        raise ValueError(f"{at(int(absent.argmax()))}: the cell is missing. {policies.advice(name)}")
    is_text = name in chosen.one_hot or (name == chosen.target and not _is_numeric(series))
    if is_text:
        cells = series.to_numpy(dtype=object)
        wrong = next((i for i, x in enumerate(cells) if not absent[i] and not isinstance(x, (str, int, bool))), None)
        if wrong is not None:
            raise ValueError(f"{at(wrong)}: {shown(cells[wrong])} is no text. Write frame[{name!r}].astype(str).")
        known: dict[str, int] = {}
        numbers = [-1 if gone else known.setdefault(str(x), len(known)) for x, gone in zip(cells, absent, strict=True)]
        return sorted_texts(numbers, list(known))
    if not _is_numeric(series):
        raise ValueError(
            f"from_frame: column {name!r} is of {series.dtype}, and no feature. If it holds categories, write "
            f"one_hot=[{name!r}]; or make numbers of it, or leave it out: ignore=[{name!r}]."
        )
    x = series.to_numpy(dtype=float, na_value=np.nan)
    if np.isinf(x).any():
        raise ValueError(f"{at(int(np.isinf(x).argmax()))}: {x[np.isinf(x)][0]} is not a finite number.")
    return Column(x)


def _is_numeric(series: Any) -> bool:
    return getattr(series.dtype, "kind", "O") in "fiub"
