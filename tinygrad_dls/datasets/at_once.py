"""Large files of numbers: read at once by a reader that is written in C, pandas' where it is installed, else NumPy's.

Both give what `tinygrad_dls.datasets.reader` reads cell by cell, to the last bit; where that is in doubt, they give
nothing, and the file is read cell by cell.
"""

from __future__ import annotations

import codecs
import re
from importlib.util import find_spec
from typing import Any

import numpy as np

from tinygrad_dls.datasets.table import Chosen, Column, FloatArray, Policies, Table, assemble, sorted_texts

__all__ = ["MISSING", "Columns", "read_at_once"]

MISSING = {"", "na", "n/a", "nan", "null", "none", "?"}  # in lower case
_SPELLINGS = sorted({f(text) for text in MISSING for f in (str, str.upper, str.capitalize)} | {"NaN"})

_ROWS = 250_000  # that pandas reads at a time: few enough for little memory, and enough for speed


class Columns:
    """The columns of a file, and how its cells are written.

    Attributes
    ----------
    kept, texts : list of int
        The positions of the features, and of those among them that hold text.
    target : int
        That of the target.
    lines : int
        The lines of the header: a name in quotes may go over several.
    """

    def __init__(self, path: Any, chosen: Chosen, policies: Policies, sep: str, decimal: str, lines: int) -> None:
        self.path, self.chosen, self.policies = path, chosen, policies
        self.sep, self.decimal, self.lines = sep, decimal, lines
        self.kept = [i for i, name in enumerate(chosen.header) if name in chosen.features]
        self.texts = [i for i in self.kept if chosen.header[i] in chosen.one_hot]
        self.target = chosen.header.index(chosen.target)

    def table(self, X: FloatArray, texts: dict[int, Column], y: Column) -> Table:
        """What was read, under its names: the columns of numbers, those of text, and the target."""
        header, row = self.chosen.header, iter(range(len(X)))
        features = {header[i]: texts[i] if i in texts else next(row) for i in self.kept}
        return assemble(X, features, y, self.chosen.target, self.policies, str(self.path))

    def where(self, line: int, position: int) -> str:
        """A cell, as errors name it."""
        return f"{self.path}, line {line}, column {position + 1} ({self.chosen.header[position]!r})"

    def advice(self, position: int) -> str:
        """What to write where a cell is missing."""
        return self.policies.advice(self.chosen.header[position])

    def number(self, cell: str) -> float | None:
        """A cell as a number, if it is one as the file writes them."""
        if self.decimal == ",":
            cell = cell.replace(".", "_").replace(",", ".")  # points are for thousands there
        try:
            number = float(cell)
        except ValueError:
            return None
        return None if "_" in cell else number  # Python's 1_000, not a CSV's


def read_at_once(columns: Columns, first: list[str]) -> Table | None:
    """The table as a reader in C has it; None where the file is to be read cell by cell.

    Parameters
    ----------
    columns : Columns
    first : list of str
        The cells of the first row, which tell whether the target is numeric.
    """
    chosen = columns.chosen
    if len(first) != len(chosen.header) or first[columns.target].strip().casefold() in MISSING:
        return None
    by_pandas = find_spec("pandas") is not None
    if not by_pandas and (columns.decimal != "." or columns.texts or not columns.policies.are_strict):
        return None
    if not (most := _plain_lines(columns.path, columns.sep)):
        return None
    numeric = columns.number(first[columns.target]) is not None
    try:
        X, texts, y = (_by_pandas if by_pandas else _by_numpy)(columns, numeric, most - columns.lines)
    except Exception:  # whatever is wrong, the other reader finds it again, and names the line and the column
        return None
    rows = dict(zip((i for i in columns.kept if i not in texts), X, strict=True))
    found = {i: Column(row) for i, row in rows.items()} | texts | {columns.target: y}
    return columns.table(X, texts, y) if all(_is_plain(columns, i, column) for i, column in found.items()) else None


def _is_plain(columns: Columns, position: int, column: Column) -> bool:
    """Whether a column is what the other reader would read: no cell is missing that may not be, and none is odd."""
    may_be_missing = columns.policies[columns.chosen.header[position]] != "error"
    if column.texts is None:
        finite = np.isfinite(column.values)
        return bool(finite.all() or (may_be_missing and np.isnan(column.values[~finite]).all()))
    if not all(column.texts) or (
        position == columns.target and any(columns.number(text) is not None for text in column.texts)
    ):
        return False
    if column.missing.any() and not may_be_missing:
        return False
    return not any(text.casefold() in MISSING for text in column.texts)  # also those spelled as pandas does not know


def _plain_lines(path: Any, sep: str) -> int:
    """The number of lines of a file in UTF-8 without NUL, whose quotes stand at the ends of cells; of others, 0.

    All readers make the same of such a file.
    """
    mark = re.escape(sep).encode()
    within = re.compile(rb'[^\r\n"' + mark + rb']"[^\r\n"' + mark + rb"]")
    decoder = codecs.getincrementaldecoder("utf-8")()
    before = b""
    lines = 0
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            if b"\0" in chunk or (b'"' in chunk and within.search(before + chunk)):
                return 0
            lines += int(np.count_nonzero(np.frombuffer(chunk, np.uint8) == ord("\n")))  # faster than count()
            if not chunk.isascii() or decoder.getstate()[0]:
                decoder.decode(chunk)
            before = chunk[-2:]
    return lines + (before[-1:] != b"\n")


Read = tuple[FloatArray, dict[int, Column], Column]


def _by_pandas(columns: Columns, numeric: bool, most: int) -> Read:
    import pandas as pd

    last = len(columns.chosen.header) - 1  # a line that is too short lacks it
    dtypes: dict[int, Any] = dict.fromkeys(range(last + 1), str)  # left out are also read: else lines may be too long
    dtypes |= dict.fromkeys(columns.kept, np.float64) | dict.fromkeys(columns.texts, "category")
    dtypes[columns.target] = np.float64 if numeric else "category"
    options: dict[str, Any] = {} if _version(pd) >= (3, 1) else {"float_precision": "round_trip"}
    if not columns.policies.are_strict:
        options["na_values"] = _SPELLINGS
    parts = pd.read_csv(
        columns.path, header=0, names=list(range(last + 1)), dtype=dtypes, sep=columns.sep, decimal=columns.decimal,
        keep_default_na=False, encoding="utf-8-sig", chunksize=_ROWS, **options,
    )  # fmt: skip
    numbers = [i for i in columns.kept if i not in columns.texts] + ([columns.target] if numeric else [])
    X = np.empty((len(numbers), most))
    texts = {i: _Texts(most) for i in (*columns.texts, *(() if numeric else (columns.target,)))}
    m = 0
    with parts:
        for part in parts:
            if not isinstance(part.index, pd.RangeIndex) or part[last].isna().any():
                raise ValueError("lines have too many cells, or too few")
            here = slice(m, m + len(part))
            for row, i in zip(X, numbers, strict=True):
                row[here] = part[i].to_numpy()
            for i, cells in texts.items():
                cells.add(here, part[i].cat)
            m += len(part)
    X = X if m == most else X[:, :m].copy()
    found = {i: cells.column(m) for i, cells in texts.items()}
    return (X[:-1], found, Column(X[-1].copy())) if numeric else (X, found, found.pop(columns.target))


class _Texts:
    """A column of text, read in parts."""

    def __init__(self, most: int) -> None:
        self.numbers, self.known = np.empty(most, np.int64), dict[str, int]()

    def add(self, here: slice, part: Any) -> None:
        """A part, as pandas' categories."""
        numbers = [self.known.setdefault(str(text), len(self.known)) for text in part.categories]
        codes = part.codes.to_numpy()
        self.numbers[here] = np.where(codes < 0, -1, np.array([*numbers, -1], np.int64)[codes])

    def column(self, m: int) -> Column:
        """All of it: the first m."""
        return sorted_texts(self.numbers[:m], list(self.known))


def _version(module: Any) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", module.__version__)[:2])


def _by_numpy(columns: Columns, numeric: bool, _most: int) -> Read:
    kinds = ["U1"] * len(columns.chosen.header)  # of columns that are left out, their first letters
    for i in columns.kept:
        kinds[i] = "f8"
    kinds[columns.target] = "f8" if numeric else "O"
    rows = np.loadtxt(
        columns.path, dtype=[(f"f{i}", kind) for i, kind in enumerate(kinds)], delimiter=columns.sep, quotechar='"',
        comments=None, skiprows=columns.lines, encoding="utf-8-sig", ndmin=1,
    )  # fmt: skip
    X = np.empty((len(columns.kept), len(rows)))
    for row, i in zip(X, columns.kept, strict=True):
        row[:] = rows[f"f{i}"]
    labels = rows[f"f{columns.target}"]
    if numeric:
        return X, {}, Column(labels.copy())
    known: dict[str, int] = {}
    return X, {}, sorted_texts([known.setdefault(label, len(known)) for label in labels], list(known))
