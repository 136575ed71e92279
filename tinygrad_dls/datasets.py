"""Data with the examples as columns: the course's planar flower, and a reader for CSV that points at what is wrong."""

from __future__ import annotations

import math
from collections.abc import Sequence
from os import PathLike
from typing import Any, NamedTuple

import numpy as np

from tinygrad_dls.arrays import positive_integer, shown
from tinygrad_dls.init import generator

__all__ = ["Table", "planar_flower", "read_csv"]

FloatArray = np.ndarray[Any, np.dtype[np.float64]]
IntArray = np.ndarray[Any, np.dtype[np.int64]]


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
        A file in UTF-8.
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
        If a column is missing or named twice, if a line has too few or too many cells, or if a cell is empty, not a
        number, NaN or infinite. The error gives the line and the column.
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
            return _read(reader, path, target, ignore)
        except csv.Error as error:
            raise ValueError(f"{path}, line {reader.line_num}: {error}.") from error
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}, line {_undecodable_line(path)}: not UTF-8: {error.reason}.") from error


def _read(reader: Any, path: Any, target: str, ignore: Sequence[str]) -> Table:
    header = [name.strip() for name in next(reader, [])]
    _check_header(header, target, ignore, path)
    kept = [i for i, name in enumerate(header) if name != target and name not in ignore]
    position = header.index(target)
    features: list[list[float]] = []
    labels: list[str] = []
    lines: list[int] = []
    for row in reader:
        line = reader.line_num
        if not row:
            continue
        if len(row) != len(header):
            raise ValueError(f"{path}, line {line}: {len(row)} cells; the header has {len(header)} columns.")
        features.append([_number(row[i], path, line, i, header) for i in kept])
        labels.append(row[position].strip())
        lines.append(line)
        if not labels[-1]:
            raise ValueError(f"{_where(path, line, position, header)}: the cell is empty.")
    if not features:
        raise ValueError(f"{path} has a header but no rows.")
    X = np.ascontiguousarray(np.array(features).T)
    names = tuple(header[i] for i in kept)
    numeric = [_is_number(label) for label in labels]
    if any(numeric):
        if sum(numeric) < len(labels) / 2:  # a column of text with a stray number, NaN, say
            i = numeric.index(True)
            where = _where(path, lines[i], position, header)
            raise ValueError(f"{where}: {labels[i]!r} is a number among the text of the classes.")
        numbers = [_number(label, path, line, position, header) for label, line in zip(labels, lines, strict=True)]
        return Table(X, np.array(numbers)[None, :], names, target)
    classes, indices = np.unique(labels, return_inverse=True)
    return Table(X, indices.reshape(1, -1).astype(np.int64), names, target, tuple(map(str, classes)))


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


def _check_header(header: list[str], target: str, ignore: Sequence[str], path: Any) -> None:
    if not header:
        raise ValueError(f"{path}: the first line is empty; it must name the columns.")
    doubled = sorted({name for name in header if header.count(name) > 1})
    if doubled:
        raise ValueError(f"{path}, line 1: columns named twice: {', '.join(map(repr, doubled))}.")
    if isinstance(ignore, str):
        raise TypeError(f"ignore takes a list of columns: ignore=[{ignore!r}].")
    for name in (target, *ignore):
        if name not in header:
            raise ValueError(f"{path} has no column {name!r}; its columns are {', '.join(header)}.")
    if len(header) == 1 + len(set(ignore) - {target}):
        raise ValueError(f"{path}: no feature is left besides {target!r}.")


def _where(path: Any, line: int, position: int, header: list[str]) -> str:
    return f"{path}, line {line}, column {position + 1} ({header[position]!r})"


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell  # Python's 1_000, not a CSV's


def _number(cell: str, path: Any, line: int, position: int, header: list[str]) -> float:
    where = _where(path, line, position, header)
    if not cell.strip():
        raise ValueError(f"{where}: the cell is empty.")
    if not _is_number(cell):
        raise ValueError(f"{where}: {cell.strip()!r} is not a number.")
    number = float(cell)
    if not math.isfinite(number):
        raise ValueError(f"{where}: {cell.strip()!r} is not a finite number.")
    return number
