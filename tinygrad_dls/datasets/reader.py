"""A reader for CSV that points at what is wrong.

A small file is read cell by cell. A large one is left to a reader that is written in C (see
`tinygrad_dls.datasets.at_once`); whatever that one stumbles over, or might take for something else, is read cell by
cell after all, which says what is wrong, and where.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Sequence
from os import PathLike
from typing import Any

import numpy as np

from tinygrad_dls.datasets.at_once import MISSING, Columns, read_at_once
from tinygrad_dls.datasets.table import Chosen, Column, Missing, Table, sorted_texts
from tinygrad_dls.engine.errors import shown
from tinygrad_dls.nn.columns import is_nameless

__all__ = ["read_csv"]

_LARGE = 1_000_000  # bytes; below, reading cell by cell takes less time than the import of pandas


def read_csv(
    path: str | PathLike[str],
    *,
    target: str,
    ignore: Sequence[str] = (),
    sep: str = ",",
    decimal: str = ".",
    missing: Missing = "error",
    one_hot: Sequence[str] = (),
) -> Table:
    """Read a CSV file whose first line names the columns.

    Parameters
    ----------
    path : str or path
        A file in UTF-8. A large one is read several times as fast where pandas is installed, with the same result.
    target : str
        The column to predict; numbers, or text for classes.
    ignore : sequence of str
        Columns to leave out, such as an identifier.
    sep : str, default ","
        What stands between the cells: one character.
    decimal : str, default "."
        What stands before the decimals of a number: a point or a comma.
    missing : str or dict of str by column, default "error"
        What becomes of a cell that is empty, or says NA, N/A, NaN, null, None or ?, among texts as among numbers:
        ``"error"``; ``"drop"`` leaves out its row; ``"mean"`` puts the mean of the column's other numbers in its place,
        of all rows that are left. `Table.missing` has their numbers. (There is no mean of a target, nor of texts.)
    one_hot : sequence of str
        Columns of text: each text becomes a feature, which is 1 where it stands, and else 0.

    Returns
    -------
    Table
        With the examples as columns.

    Raises
    ------
    ValueError
        If a column is missing, named twice or nameless, as row numbers are; if the cells are separated by something
        else; if a line has too few or too many cells; or if a cell is missing, not a number or infinite, or holds a
        NUL. The error gives the line and the column.

    Notes
    -----
    A mean of all rows knows a little of those that a model is tested with. Where that matters, and for all that a small
    reader does not do (dates, encodings, joins), read the file with pandas and pass the frame to `from_frame`.
    """
    if not isinstance(path, (str, PathLike)):  # open() takes an integer for an open file, and closes it
        raise TypeError(f"read_csv: path must be a str or a path, got {shown(path)}.")
    if not isinstance(target, str):
        raise TypeError(f"read_csv: target must be the name of a column, got {shown(target)}.")
    if not isinstance(sep, str) or len(sep) != 1 or sep in '"\r\n\0' or sep.isalnum():
        raise ValueError(f"read_csv: sep is one character that stands between cells, such as ';', got {shown(sep)}.")
    if not isinstance(decimal, str) or decimal not in (".", ",") or decimal == sep:
        raise ValueError(f"read_csv: decimal is '.' or ',', and another one than sep={sep!r}; got {shown(decimal)}.")

    import csv  # here, because it would cost `import tinygrad_dls` more than the rest of this module

    with open(path, newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file, delimiter=sep, strict=True)
        try:
            header = [name.strip() for name in next(reader, [])]
            _check_header(header, target, ignore, path, sep)
            chosen = Chosen(header, target, ignore, one_hot, str(path))
            columns = Columns(path, chosen, chosen.policies(missing), sep, decimal, reader.line_num)
            first = next(_rows(reader), [])
            if os.path.getsize(path) >= _LARGE and (table := read_at_once(columns, first)) is not None:
                return table
            file.seek(0)
            reader = csv.reader(file, delimiter=sep, strict=True)
            next(reader)
            return _read(reader, columns)
        except csv.Error as error:
            if reader.line_num == 1:  # the header, in which others than commas may stand between quoted names
                file.seek(0)
                _refuse_separator(re.sub(r'"[^"]*"', '""', file.readline()).split(sep), path, sep)
            raise ValueError(f"{path}, line {reader.line_num}: {error}.") from error
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}, line {_undecodable_line(path)}: not UTF-8: {error.reason}.") from error


def _rows(reader: Any) -> Iterator[list[str]]:
    """The rows that are not blank."""
    return (row for row in reader if len(row) > 1 or any(cell.strip() for cell in row))


# -- cell by cell -----------------------------------------------------------------------------------------------------


def _read(reader: Any, columns: Columns) -> Table:
    chosen, where = columns.chosen, columns.where
    header, position = chosen.header, columns.target
    numeric_features = [i for i in columns.kept if i not in columns.texts]
    rows: list[list[float]] = []
    texts: dict[int, list[str]] = {i: [] for i in (*columns.texts, position)}
    lines: list[int] = []
    for row in _rows(reader):
        line = reader.line_num
        for i, cell in enumerate(row):
            if "\0" in cell:
                at = where(line, i) if i < len(header) else f"{columns.path}, line {line}"
                raise ValueError(f"{at}: the cell holds a NUL byte. {_NUL}")
        if len(row) != len(header):
            raise ValueError(f"{columns.path}, line {line}: {len(row)} cells; the header has {len(header)} columns.")
        rows.append([_number(row[i], columns, line, i) for i in numeric_features])
        for i, cells in texts.items():
            cells.append(_text(row[i], columns, line, i))
        lines.append(line)
    if not lines:
        raise ValueError(f"{columns.path} has a header but no rows.")
    X = np.ascontiguousarray(np.array(rows, float).T)
    labels = texts.pop(position)
    numeric = [columns.number(label) is not None for label in labels]
    if not any(numeric):
        y = _numbered(labels)
    elif sum(numeric) < sum(label != "" for label in labels) / 2:  # a column of text with a stray number, NaN, say
        i = numeric.index(True)
        raise ValueError(f"{where(lines[i], position)}: {labels[i]!r} is a number among the text of the classes.")
    else:
        y = Column(np.array([_number(x, columns, line, position) for x, line in zip(labels, lines, strict=True)]))
    return columns.table(X, {i: _numbered(cells) for i, cells in texts.items()}, y)


def _numbered(cells: Sequence[str]) -> Column:
    known: dict[str, int] = {}
    return sorted_texts([known.setdefault(cell, len(known)) if cell else -1 for cell in cells], list(known))


def _text(cell: str, columns: Columns, line: int, position: int) -> str:
    """A cell of text; empty if it is missing, which its column allows."""
    text = cell.strip()
    if text.casefold() not in MISSING:
        return text
    if columns.policies[columns.chosen.header[position]] != "error":
        return ""
    where, advice = columns.where(line, position), columns.advice(position)
    if not text:
        raise ValueError(f"{where}: the cell is empty. {advice}")
    raise ValueError(
        f"{where}: {text!r} stands for a missing cell. {advice} If it is a text like the others, write "
        "from_frame(pd.read_csv(path, keep_default_na=False), ...)."
    )


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
_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}


def _check_header(header: list[str], target: str, ignore: Sequence[str], path: Any, sep: str) -> None:
    if not header:
        raise ValueError(f"{path}: the first line is empty; it must name the columns.")
    if "\0" in "".join(header):
        raise ValueError(f"{path}, line 1 holds a NUL byte. {_NUL}")
    if target not in header:
        _refuse_separator(header, path, sep)
    for position, name in enumerate(header, 1):
        if is_nameless(name) and name != target and name not in ignore:
            raise ValueError(
                f"{path}, line 1: column {position} has no name, and is no feature then. If it is the row numbers, "
                f"which pandas writes without index=False, leave it out: ignore=[{name!r}]; or else name it."
            )


def _refuse_separator(header: list[str], path: Any, sep: str) -> None:
    """Raise if the first line looks as if something else stood between the cells."""
    line = sep.join(header)
    if line.lower().startswith("sep="):
        raise ValueError(f"{path}, line 1 is {line!r}, Excel's note of the separator; delete it.")
    mark = max(_SEPARATORS, key=line.count)
    if line.count(mark) > line.count(sep):
        comma = ", and decimal=',' if the numbers have commas" if mark != "," else ""
        raise ValueError(
            f"{path}: {_SEPARATORS[mark]} seem to be the separators, not {_SEPARATORS.get(sep, repr(sep))}. Write "
            f"sep={mark!r}{comma}."
        )


def _number(cell: str, columns: Columns, line: int, position: int) -> float:
    """A cell as a number; NaN if it is missing, which its column allows."""
    number = columns.number(cell)
    if number is not None and math.isfinite(number):
        return number
    text, where = cell.strip(), columns.where(line, position)
    is_missing = text.casefold() in MISSING
    if is_missing and columns.policies[columns.chosen.header[position]] != "error":
        return math.nan
    if not text:
        raise ValueError(f"{where}: the cell is empty. {columns.advice(position)}")
    if number is None:
        raise ValueError(f"{where}: {text!r} is not a number.{_hint(text, columns, position)}")
    advice = f" {columns.advice(position)}" if is_missing else ""
    raise ValueError(f"{where}: {text!r} is not a finite number.{advice}")


def _hint(text: str, columns: Columns, position: int) -> str:
    """What a cell might be that is no number."""
    name = columns.chosen.header[position]
    if text.casefold() in MISSING:
        return f" {columns.advice(position)}"
    if re.fullmatch(r"[-+]?\d+,\d+", text):
        return f" A decimal comma? Write {text.replace(',', '.')}, or decimal=',' for all."
    if columns.decimal == "," and re.fullmatch(r"[-+]?[\d.,]+", text):
        return " Points are for thousands there; take them out, or write decimal='.'."
    if name in columns.chosen.features and not re.search(r"\d", text):
        return f" If {name!r} holds categories, write one_hot=[{name!r}]."
    return ""
