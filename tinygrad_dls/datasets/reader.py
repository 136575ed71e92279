"""Data with the examples as columns: the course's planar flower, and a reader for CSV that points at what is wrong.

A small file is read cell by cell. A large one is left to a reader that is written in C, pandas' where it is installed
and else NumPy's; whatever that one stumbles over, or might take for something else, is read cell by cell after all,
which says what is wrong, and where.
"""

from __future__ import annotations

import codecs
import math
import os
import re
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from os import PathLike
from typing import Any, NamedTuple

import numpy as np

from tinygrad_dls.engine.arrays import positive_integer
from tinygrad_dls.engine.errors import shown
from tinygrad_dls.nn.init import generator

__all__ = ["Table", "planar_flower", "read_csv"]

FloatArray = np.ndarray[Any, np.dtype[np.float64]]
IntArray = np.ndarray[Any, np.dtype[np.int64]]

_ROWS = 250_000  # that pandas reads at a time: few enough for little memory, and enough for speed
_LARGE = 1_000_000  # bytes; below, reading cell by cell takes less time than the import of pandas


def planar_flower(m: int = 400, *, rng: Any = None) -> tuple[FloatArray, IntArray]:
    """The course's flower: two classes of points on interleaved petals in the plane.

    Parameters
    ----------
    m : int, default 400
        Number of examples, half of each class; even.
    rng : int or generator, optional
        By default ``np.random.RandomState(1)``, which gives the course's own points.

    Returns
    -------
    X : array of float64, shape (2, m)
    Y : array of int64, shape (1, m)
        0 (red in the course) or 1 (blue).
    """
    if positive_integer(m, "planar_flower: m") % 2:
        raise ValueError(f"planar_flower: m must be even and at least 2, got {m}.")
    rng = np.random.RandomState(1) if rng is None else generator(rng, "planar_flower")
    n = m // 2
    petals, radius, noise = 4, 4, 0.2
    points = []
    for label in (0, 1):
        # 3.12 is the course's constant: a little less than half a turn for each class
        theta = np.linspace(label * 3.12, (label + 1) * 3.12, n) + rng.standard_normal(n) * noise
        r = radius * np.sin(petals * theta) + rng.standard_normal(n) * noise
        points.append(np.stack([r * np.sin(theta), r * np.cos(theta)]))
    return np.concatenate(points, axis=1), np.repeat([0, 1], n)[None, :]


class Table(NamedTuple):
    """A table of examples, read from a file.

    Attributes
    ----------
    X : array of float64, shape (n_x, m)
        The features, one row each.
    Y : array, shape (1, m)
        The target: float64 numbers, or int64 class indices where the file has text.
    features : tuple of str
        The names of X's rows.
    target : str
        The name of Y.
    classes : tuple of str
        The text of each class index, in alphabetical order; empty for a numeric target.
    """

    X: FloatArray
    Y: FloatArray | IntArray
    features: tuple[str, ...]
    target: str
    classes: tuple[str, ...] = ()


def read_csv(path: str | PathLike[str], *, target: str, ignore: Sequence[str] = ()) -> Table:
    """Read a CSV file whose first line names the columns.

    Parameters
    ----------
    path : str or path
        A file in UTF-8, with commas between the cells and points in the numbers. A large one is read several times as
        fast where pandas is installed, with the same result.
    target : str
        The column to predict; numbers, or text for classes.
    ignore : sequence of str
        Columns to leave out, such as an identifier.

    Returns
    -------
    Table
        With the examples as columns.

    Raises
    ------
    ValueError
        If a column is missing, named twice or nameless, as row numbers are; if the cells are separated by something
        else; if a line has too few or too many cells; or if a cell is empty, not a number, NaN or infinite, or holds a
        NUL. The error gives the line and the column.
    """
    if not isinstance(path, (str, PathLike)):  # open() takes an integer for an open file, and closes it
        raise TypeError(f"read_csv: path must be a str or a path, got {shown(path)}.")
    if not isinstance(target, str):
        raise TypeError(f"read_csv: target must be the name of a column, got {shown(target)}.")
    if not isinstance(ignore, Sequence) or not all(isinstance(name, str) for name in ignore):
        raise TypeError(f"read_csv: ignore takes a list of columns, got {shown(ignore)}.")

    import csv  # here, because it would cost `import tinygrad_dls` more than the rest of this module

    with open(path, newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file, strict=True)
        try:
            header = [name.strip() for name in next(reader, [])]
            columns = _Columns(path, header, target, ignore, reader.line_num)
            first = next(_rows(reader), [])
            if os.path.getsize(path) >= _LARGE and (table := _read_at_once(columns, first)) is not None:
                return table
            file.seek(0)
            reader = csv.reader(file, strict=True)
            next(reader)
            return _read(reader, columns)
        except csv.Error as error:
            if reader.line_num == 1:  # the header, in which others than commas may stand between quoted names
                file.seek(0)
                _refuse_separator(re.sub(r'"[^"]*"', '""', file.readline()).split(","), path)
            raise ValueError(f"{path}, line {reader.line_num}: {error}.") from error
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}, line {_undecodable_line(path)}: not UTF-8: {error.reason}.") from error


class _Columns:
    """The columns of a file: which are features, and which is the target.

    Attributes
    ----------
    lines : int
        The lines of the header: a name in quotes may go over several.
    """

    def __init__(self, path: Any, header: list[str], target: str, ignore: Sequence[str], lines: int) -> None:
        _check_header(header, target, ignore, path)
        self.path, self.header, self.lines = path, header, lines
        self.kept = [i for i, name in enumerate(header) if name != target and name not in ignore]
        self.target = header.index(target)

    def table(self, X: FloatArray, Y: Any, classes: Sequence[str] = ()) -> Table:
        """What was read, under its names."""
        return Table(X, Y, tuple(self.header[i] for i in self.kept), self.header[self.target], tuple(classes))

    def where(self, line: int, position: int) -> str:
        """A cell, as errors name it."""
        return f"{self.path}, line {line}, column {position + 1} ({self.header[position]!r})"


def _rows(reader: Any) -> Iterator[list[str]]:
    """The rows that are not blank."""
    return (row for row in reader if len(row) > 1 or any(cell.strip() for cell in row))


# -- cell by cell -----------------------------------------------------------------------------------------------------


def _read(reader: Any, columns: _Columns) -> Table:
    header, kept, position, where = columns.header, columns.kept, columns.target, columns.where
    features: list[list[float]] = []
    labels: list[str] = []
    lines: list[int] = []
    for row in _rows(reader):
        line = reader.line_num
        for i, cell in enumerate(row):
            if "\0" in cell:
                at = where(line, i) if i < len(header) else f"{columns.path}, line {line}"
                raise ValueError(f"{at}: the cell holds a NUL byte. {_NUL}")
        if len(row) != len(header):
            raise ValueError(f"{columns.path}, line {line}: {len(row)} cells; the header has {len(header)} columns.")
        features.append([_number(row[i], where, line, i) for i in kept])
        labels.append(row[position].strip())
        lines.append(line)
        if not labels[-1]:
            raise ValueError(f"{where(line, position)}: the cell is empty.")
    if not features:
        raise ValueError(f"{columns.path} has a header but no rows.")
    X = np.ascontiguousarray(np.array(features).T)
    numeric = [_is_number(label) for label in labels]
    if any(numeric):
        if sum(numeric) < len(labels) / 2:  # a column of text with a stray number, NaN, say
            i = numeric.index(True)
            at = where(lines[i], position)
            raise ValueError(f"{at}: {labels[i]!r} is a number among the text of the classes.")
        numbers = [_number(label, where, line, position) for label, line in zip(labels, lines, strict=True)]
        return columns.table(X, np.array(numbers)[None, :])
    classes, indices = np.unique(labels, return_inverse=True)
    return columns.table(X, indices.reshape(1, -1).astype(np.int64), [str(c) for c in classes])


# -- at once ----------------------------------------------------------------------------------------------------------


def _read_at_once(columns: _Columns, first: list[str]) -> Table | None:
    """The table as a reader in C has it; None where the file is to be read cell by cell."""
    if len(first) != len(columns.header) or not (most := _plain_lines(columns.path)):
        return None
    numeric = _is_number(first[columns.target])
    read = _by_pandas if find_spec("pandas") else _by_numpy
    try:
        X, Y, classes = read(columns, numeric, most - columns.lines)
    except Exception:  # whatever is wrong, the other reader finds it again, and names the line and the column
        return None
    if not all(np.isfinite(row).all() for row in X):  # row by row: less memory
        return None
    if numeric:
        return columns.table(X, Y[None, :]) if np.isfinite(Y).all() else None
    names = [name.strip() for name in classes]  # as they stand in the file: " a" and "a" are one class
    if not all(names) or any(map(_is_number, names)):
        return None
    sorted_names, indices = np.unique(names, return_inverse=True)
    return columns.table(X, indices.astype(np.int64)[Y][None, :], [str(c) for c in sorted_names])


def _plain_lines(path: Any) -> int:
    """The number of lines of a file in UTF-8 without NUL, whose quotes stand at the ends of cells; of others, 0.

    All readers make the same of such a file.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    before = b""
    lines = 0
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            if b"\0" in chunk or (b'"' in chunk and re.search(rb'[^,\r\n"]"[^,\r\n"]', before + chunk)):
                return 0
            lines += int(np.count_nonzero(np.frombuffer(chunk, np.uint8) == ord("\n")))  # faster than count()
            if not chunk.isascii() or decoder.getstate()[0]:
                decoder.decode(chunk)
            before = chunk[-2:]
    return lines + (before[-1:] != b"\n")


def _by_pandas(columns: _Columns, numeric: bool, most: int) -> tuple[FloatArray, Any, Sequence[str]]:
    import pandas as pd

    last = len(columns.header) - 1  # a line that is too short lacks it
    dtypes: dict[int, Any] = dict.fromkeys(range(last + 1), str)  # left out are also read: else lines may be too long
    dtypes |= dict.fromkeys(columns.kept, np.float64)
    dtypes[columns.target] = np.float64 if numeric else "category"
    exact: Any = {} if _version(pd) >= (3, 1) else {"float_precision": "round_trip"}
    parts = pd.read_csv(
        columns.path, header=0, names=list(range(last + 1)), dtype=dtypes,
        keep_default_na=False, encoding="utf-8-sig", chunksize=_ROWS, **exact,
    )  # fmt: skip
    X = np.empty((len(columns.kept), most))
    Y = np.empty(most, np.float64 if numeric else np.int64)
    known: dict[str, int] = {}
    m = 0
    with parts:
        for part in parts:
            if not isinstance(part.index, pd.RangeIndex) or part[last].isna().any():
                raise ValueError("lines have too many cells, or too few")
            here = slice(m, m + len(part))
            for row, i in zip(X, columns.kept, strict=True):
                row[here] = part[i].to_numpy()
            labels = part[columns.target]
            if numeric:
                Y[here] = labels.to_numpy()
            else:
                numbers = [known.setdefault(str(c), len(known)) for c in labels.cat.categories]
                Y[here] = np.array(numbers, np.int64)[labels.cat.codes.to_numpy()]
            m += len(part)
    return (X, Y, list(known)) if m == most else (X[:, :m].copy(), Y[:m].copy(), list(known))


def _version(module: Any) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", module.__version__)[:2])


def _by_numpy(columns: _Columns, numeric: bool, _most: int) -> tuple[FloatArray, Any, Sequence[str]]:
    kinds = ["U1"] * len(columns.header)  # of columns that are left out, their first letters
    for i in columns.kept:
        kinds[i] = "f8"
    kinds[columns.target] = "f8" if numeric else "O"
    rows = np.loadtxt(
        columns.path, dtype=[(f"f{i}", kind) for i, kind in enumerate(kinds)], delimiter=",", quotechar='"',
        comments=None, skiprows=columns.lines, encoding="utf-8-sig", ndmin=1,
    )  # fmt: skip
    X = np.empty((len(columns.kept), len(rows)))
    for row, i in zip(X, columns.kept, strict=True):
        row[:] = rows[f"f{i}"]
    labels = rows[f"f{columns.target}"]
    if numeric:
        return X, labels.copy(), ()
    known: dict[str, int] = {}
    return X, np.array([known.setdefault(label, len(known)) for label in labels]), list(known)


# -- what is wrong ----------------------------------------------------------------------------------------------------


def _undecodable_line(path: Any) -> int:
    """The line of the first byte that is not UTF-8 (the error counts from the start of a buffer)."""
    with open(path, "rb") as file:
        lines = file.readlines()
    return next(number for number, line in enumerate(lines, 1) if not _is_utf8(line))


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


_NUL = "Is the file damaged, or in UTF-16? Save it as UTF-8."
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}


def _check_header(header: list[str], target: str, ignore: Sequence[str], path: Any) -> None:
    if not header:
        raise ValueError(f"{path}: the first line is empty; it must name the columns.")
    if "\0" in "".join(header):
        raise ValueError(f"{path}, line 1 holds a NUL byte. {_NUL}")
    if isinstance(ignore, str):
        raise TypeError(f"ignore takes a list of columns: ignore=[{ignore!r}].")
    if target not in header:
        _refuse_separator(header, path)
    for position, name in enumerate(header, 1):
        if re.fullmatch(r"(Unnamed: \d+(\.\d+)*(_level_\d+)?)?", name) and name != target and name not in ignore:
            raise ValueError(
                f"{path}, line 1: column {position} has no name, and is no feature then. If it is the row numbers, "
                f"which pandas writes without index=False, leave it out: ignore=[{name!r}]; or else name it."
            )
    doubled = sorted({name for name in header if header.count(name) > 1})
    if doubled:
        raise ValueError(f"{path}, line 1: columns named twice: {', '.join(map(repr, doubled))}.")
    for name in (target, *ignore):
        if name not in header:
            raise ValueError(f"{path} has no column {name!r}; its columns are {', '.join(header)}.")
    if len(header) == 1 + len(set(ignore) - {target}):
        raise ValueError(f"{path}: no feature is left besides {target!r}.")


def _refuse_separator(header: list[str], path: Any) -> None:
    """Raise if the first line looks as if something else than commas stood between the cells."""
    line = ",".join(header)
    if line.lower().startswith("sep="):
        raise ValueError(f"{path}, line 1 is {line!r}, Excel's note of the separator; delete it.")
    mark = max(_SEPARATORS, key=line.count)
    if line.count(mark) > line.count(","):
        raise ValueError(
            f"{path}: {_SEPARATORS[mark]} seem to be the separators; expected commas (and points in the numbers). Save "
            f"it with commas, or let pandas do it: pd.read_csv(path, sep={mark!r}, decimal=...) and then "
            ".to_csv(path, index=False)."
        )


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell  # Python's 1_000, not a CSV's


def _number(cell: str, where: Callable[[int, int], str], line: int, position: int) -> float:
    if not cell.strip():
        raise ValueError(f"{where(line, position)}: the cell is empty.")
    if not _is_number(cell):
        cell = cell.strip()
        hint = f" A decimal comma? Write {cell.replace(',', '.')}." if re.fullmatch(r"[-+]?\d+,\d+", cell) else ""
        raise ValueError(f"{where(line, position)}: {cell!r} is not a number.{hint}")
    number = float(cell)
    if not math.isfinite(number):
        raise ValueError(f"{where(line, position)}: {cell.strip()!r} is not a finite number.")
    return number
