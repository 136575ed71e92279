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
from tinygrad_dls.engine.devices import like
from tinygrad_dls.engine.errors import shown
from tinygrad_dls.engine.tensor import values

__all__ = ["Chosen", "Column", "Missing", "Policies", "Table", "assemble", "fill", "one_hot", "sorted_texts"]

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
    recipe : dict
        How its columns became features: plain texts and numbers, which `tinygrad_dls.save` keeps with a model. With
        it, ``from_frame(frame, like=recipe)`` makes the same features of other rows.
    filled : mapping of str to tuple of int
        The columns of X where the mean of the others stands, by feature: `train_test_split` takes it anew, of the rows
        to learn from.
    """

    X: FloatArray
    Y: FloatArray | IntArray
    features: tuple[str, ...]
    target: str
    classes: tuple[str, ...] = ()
    missing: Mapping[str, int] = MappingProxyType({})
    recipe: Mapping[str, Any] = MappingProxyType({})
    filled: Mapping[str, tuple[int, ...]] = MappingProxyType({})

    def __repr__(self) -> str:
        shown = self._fields[:-1]  # the cells that were filled are too many to be read
        return f"Table({', '.join(f'{name}={getattr(self, name)!r}' for name in shown)})"

    @property
    def rows(self) -> tuple[FloatArray, Any]:
        """``X.T`` and ``Y[0]``: the examples as rows, as scikit-learn's functions and estimators take them."""
        if not len(self.Y):
            raise ValueError(f"the table has no column {self.target!r}, and so no Y. Its features as rows: table.X.T.")
        return np.ascontiguousarray(self.X.T), self.Y[0]

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpacked, (tuple(dict(x) if isinstance(x, MappingProxyType) else x for x in self),)


def _unpacked(parts: tuple[Any, ...]) -> Table:
    """A table that was pickled or copied: neither is there of what only shows a dict."""
    table = Table(*parts)
    return table._replace(missing=MappingProxyType(dict(table.missing)))


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
    ignored : collection of str
        Columns that are left out.
    """

    def __init__(self, missing: Missing, without_mean: Collection[str], ignored: Collection[str] = ()) -> None:
        self.ignored = ignored
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
    means, filled = {}, {}
    for name, column in features.items():
        if policies[name] == "mean" and isinstance(column, int):
            cells, present = (np.flatnonzero(np.isnan(X[column]) == empty) for empty in (True, False))
            means[name], filled[name] = fill(X[column], cells, present, name, source), tuple(cells.tolist())
    rows, names = [], []
    texts_of = {}
    for name, column in features.items():
        if isinstance(column, int):
            rows.append(X[column])
            names.append(name)
        else:
            indicators, categories = _indicators(name, column, kept, source)
            texts_of[name] = [*categories]
            rows += [*indicators]
            names += [f"{name}={category}" for category in categories]
    if any(isinstance(column, Column) for column in features.values()):
        X = np.array(rows, float)
    recipe = {
        "target": target,
        "classes": [*(y.texts or ())],
        "columns": [*features],
        "ignore": [*policies.ignored],
        "texts": {name: texts_of[name] for name in features if name in texts_of},
        "means": means,
    }
    return Table(X, y.values[None, :], tuple(names), target, y.texts or (), MappingProxyType(missing), recipe, filled)


def fill(row: FloatArray, cells: IntArray | Sequence[int], others: IntArray, name: str, source: str) -> float:
    """Put the mean of some cells of a column into others; the mean."""
    if not others.size:
        raise ValueError(f"{source}: column {name!r} has no number to take the mean of; ignore=[{name!r}].")
    mean = float(row[others].mean())
    row[np.asarray(cells, np.int64)] = mean
    return mean


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
    columns: FloatArray = (like(np.arange(n)[:, None], y) == y.reshape(1, -1)).astype(float)
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
        left_out = [name for name in self.header if name != self.target and name not in self.features]
        found = Policies(missing, {self.target, *self.one_hot}, left_out)
        for name, policy in found.by_column.items():
            if name not in (*self.features, self.target):
                raise ValueError(f"{self.source}: missing has {name!r}, which is no feature, nor the target.")
            if policy == "mean" and name in found.without_mean:
                what = "is what is to be learned" if name == self.target else "holds texts, which have no mean"
                raise ValueError(f"{self.source}: missing has a mean for {name!r}, which {what}. Write 'drop'.")
        return found
