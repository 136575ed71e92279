"""The examples: points of a plane, drawn here; or a table, which the package's own reader reads.

A table is standardised by the statistics of the examples that are trained with; of a number that is to be predicted,
the target too.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_dls as tg
from playground.engine.settings import PLANAR_FEATURES, Settings, SettingsError

__all__ = ["Data", "columns_of", "examples", "proposed"]

Array = np.ndarray[Any, np.dtype[Any]]

PLANAR_INPUTS: tuple[str, ...] = ("x1", "x2")
MOST_CLASSES = 10  # of whole numbers, that are taken for classes
MOST_TEXTS = 20  # of different texts, beyond which a column is rather a name than a category
TRANSFORMS = {
    "x1": lambda x: x[0],
    "x2": lambda x: x[1],
    "x1^2": lambda x: x[0] ** 2,
    "x2^2": lambda x: x[1] ** 2,
    "x1 x2": lambda x: x[0] * x[1],
    "sin x1": lambda x: np.sin(x[0]),
    "sin x2": lambda x: np.sin(x[1]),
}


@dataclass(frozen=True)
class Data:
    """Examples in two parts, and what they are called.

    Attributes
    ----------
    X, Y, X_held, Y_held : array
        To train with, and to validate with: as the network sees them.
    inputs, inputs_held : array
        As they came: the two coordinates of points, or all columns of a table.
    names : tuple of str
        Of the inputs.
    features : tuple of str
        Of X's rows.
    classes : tuple of str
        Empty for a number.
    target : str
    mean, scale : array, shape (n_x, 1)
        X is ``(features - mean) / scale``.
    target_mean, target_scale : float
        The same of Y.
    """

    X: Array
    Y: Array
    X_held: Array
    Y_held: Array
    inputs: Array
    inputs_held: Array
    names: tuple[str, ...]
    features: tuple[str, ...]
    classes: tuple[str, ...]
    target: str
    mean: Array
    scale: Array
    target_mean: float = 0.0
    target_scale: float = 1.0

    def seen(self, inputs: Array) -> Array:
        """Inputs as the network sees them."""
        return (_chosen(self.names, self.features, inputs) - self.mean) / self.scale


# -- points of a plane -------------------------------------------------------------------------------------------------


def _flower(m: int, _noise: float, _rng: Any) -> tuple[Array, Array]:
    return tg.datasets.planar_flower(m)


def _circles(m: int, noise: float, rng: Any) -> tuple[Array, Array]:
    angle = np.concatenate([np.linspace(0, 2 * np.pi, m // 2, endpoint=False)] * 2)
    radius = np.repeat([1.2, 3.0], m // 2)
    return radius * np.stack([np.cos(angle), np.sin(angle)]) + 2 * noise * rng.standard_normal((2, m)), _halves(m)


def _moons(m: int, noise: float, rng: Any) -> tuple[Array, Array]:
    angle = np.linspace(0, np.pi, m // 2)
    upper = np.stack([np.cos(angle) - 0.5, np.sin(angle) - 0.25])
    X = 2 * np.concatenate([upper, -upper], axis=1)  # turned by half a turn, one moon is the other
    return X + 2 * noise * rng.standard_normal((2, m)), _halves(m)


def _xor(m: int, noise: float, rng: Any) -> tuple[Array, Array]:
    X = rng.uniform(0.2, 3, (2, m)) * np.sign(rng.uniform(-1, 1, (2, m)))
    Y = (X[0] * X[1] < 0).astype(int)[None]
    return X + 2 * noise * rng.standard_normal((2, m)), Y


def _spirals(m: int, noise: float, rng: Any) -> tuple[Array, Array]:
    turn = np.sqrt(np.linspace(0.02, 1, m // 2)) * 3 * np.pi
    arm = turn / (3 * np.pi) * 3.5 * np.stack([np.cos(turn), np.sin(turn)])
    return np.concatenate([arm, -arm], axis=1) + noise * rng.standard_normal((2, m)), _halves(m)


def _halves(m: int) -> Array:
    return np.repeat([0, 1], m // 2)[None]


MADE = {"flower": _flower, "circles": _circles, "moons": _moons, "xor": _xor, "spirals": _spirals}


# -- tables ------------------------------------------------------------------------------------------------------------


def columns_of(text: str) -> dict[str, Any]:
    """What a CSV seems to hold: its separator, and of each column whether it is of numbers or of texts, and how many.

    It only proposes: what is then read is up to the package's reader, and so is every complaint.
    """
    first = text.lstrip("\ufeff").split("\n", 1)[0]
    sep = max((",", ";", "\t"), key=first.count)
    rows = [row for row in csv.reader(io.StringIO(text.lstrip("\ufeff")), delimiter=sep) if row]
    header = [name.strip() for name in rows[0]] if rows else []
    commas = sep != "," and any("," in cell and _is_number(cell.replace(",", ".")) for row in rows[1:] for cell in row)
    columns = []
    for i, name in enumerate(header):
        cells = [row[i].strip() for row in rows[1:] if i < len(row)]
        given = [cell for cell in cells if cell.casefold() not in ("", "na", "n/a", "nan", "null", "none", "?")]
        found = sum(_is_number(cell.replace(",", ".") if commas else cell) for cell in given)
        numbers = 2 * found >= len(given)  # a single word among numbers is a mistake, which the reader is to name
        columns.append(
            {"name": name, "numbers": numbers, "different": len(set(given)), "missing": len(cells) - len(given)}
        )
    return {"sep": sep, "decimal": "," if commas else ".", "rows": len(rows) - 1, "columns": columns}


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def proposed(text: str) -> dict[str, Any]:
    """Settings to read a CSV with: it predicts the last column, and texts of few kinds are categories.

    Texts of many kinds seem to name the rows, and are left out. Rows with missing cells are not: the reader refuses
    them, and says what can be done.
    """
    found = columns_of(text)
    columns = found["columns"]
    target = columns[-1]["name"] if columns else ""
    texts = [column for column in columns[:-1] if not column["numbers"]]
    return {
        "data": "csv",
        "target": target,
        "one_hot": [column["name"] for column in texts if column["different"] <= MOST_TEXTS],
        "ignore": [column["name"] for column in texts if column["different"] > MOST_TEXTS],
        "sep": found["sep"],
        "decimal": found["decimal"],
        "missing": "error",
        "task": "auto",
        "features": [],
        "axes": [],
    }


def _table(settings: Settings, path: Path) -> tg.datasets.Table:
    if settings.data == "cancer":
        return tg.datasets.read_csv(path, target="diagnosis")
    return tg.datasets.read_csv(
        path, target=settings.target, ignore=settings.ignore, sep=settings.sep, decimal=settings.decimal,
        missing=settings.missing, one_hot=settings.one_hot,
    )  # fmt: skip


def _targets(table: tg.datasets.Table, task: str) -> tuple[Array, tuple[str, ...]]:
    """What is to be predicted, and the names of classes: none for a number."""
    if table.classes:
        if task == "number":
            raise SettingsError(f"{table.target!r} holds texts, and no numbers: predict classes.")
        return table.Y, table.classes
    values, indices = np.unique(table.Y, return_inverse=True)
    few = len(values) <= MOST_CLASSES and np.all(values == np.round(values))
    if task == "number" or (task == "auto" and not few):
        return table.Y, ()
    if len(values) > MOST_CLASSES:
        raise SettingsError(
            f"{table.target!r} has {len(values)} different numbers, and there are {MOST_CLASSES} classes at most. "
            "Predict a number."
        )
    return indices.reshape(1, -1), tuple(f"{value:g}" for value in values)


# -- both --------------------------------------------------------------------------------------------------------------


def examples(settings: Settings, path: Path | None = None) -> Data:
    """The examples that settings ask for.

    Parameters
    ----------
    settings : Settings
    path : Path, optional
        The file of a table.

    Raises
    ------
    ValueError
        If the table cannot be read, in the reader's own words; or if there is nothing to learn from.
    """
    if settings.is_planar:
        inputs, Y = MADE[settings.data](settings.m, settings.noise, np.random.default_rng(settings.seed))
        names = PLANAR_INPUTS
        features: tuple[str, ...] = settings.features or PLANAR_FEATURES[:2]
        classes: tuple[str, ...] = ("0", "1")
        target = "class"
    else:
        if path is None:
            raise SettingsError("There is no file yet: drop one on the page, or choose one.")
        table = _table(settings, path)
        inputs, names, target = table.X, table.features, table.target
        if unknown := [name for name in settings.features if name not in names]:
            raise SettingsError(f"There is no feature {unknown[0]!r}; there are {', '.join(names)}.")
        features = tuple(name for name in names if name in settings.features) or names
        Y, classes = _targets(table, settings.task)
        if missing := [name for name in settings.axes if name not in features]:
            raise SettingsError(f"The picture cannot show {missing[0]!r}, which is no feature.")
    if classes and len(classes) < 2:
        raise SettingsError(f"All examples are of the class {classes[0]!r}: there is nothing to tell apart.")
    if inputs.shape[1] < 4:
        raise SettingsError(f"There are {inputs.shape[1]} examples, which are too few to learn from.")
    if len(classes) > 2:
        Y = tg.datasets.one_hot(Y, len(classes))
    return _in_parts(settings, inputs, Y, names, features, classes, target)


def _in_parts(
    settings: Settings,
    inputs: Array,
    Y: Array,
    names: tuple[str, ...],
    features: tuple[str, ...],
    classes: tuple[str, ...],
    target: str,
) -> Data:
    """The examples split, and a table standardised."""
    held = round(settings.held_out * inputs.shape[1])
    first, second, Y, Y_held = inputs, inputs[:, :0], Y, Y[:, :0]
    if held:
        first, second, Y, Y_held = tg.datasets.train_test_split(inputs, Y, test=held, rng=settings.seed)
    n = len(features)
    mean, scale, target_mean, target_scale = np.zeros((n, 1)), np.ones((n, 1)), 0.0, 1.0
    if not settings.is_planar:
        standardizer = tg.nn.Standardizer.of(_chosen(names, features, first))
        mean, scale = standardizer.mean, standardizer.scale
    if not classes:
        target_mean, target_scale = float(Y.mean()), float(Y.std()) or 1.0
        Y, Y_held = (Y - target_mean) / target_scale, (Y_held - target_mean) / target_scale
    X, X_held = ((_chosen(names, features, x) - mean) / scale for x in (first, second))
    return Data(
        X, Y, X_held, Y_held, first, second, names, features, classes, target, mean, scale, target_mean, target_scale
    )


def _chosen(names: tuple[str, ...], features: tuple[str, ...], inputs: Array) -> Array:
    """The features of inputs, a row for each."""
    if names == PLANAR_INPUTS:
        return np.stack([TRANSFORMS[name](inputs) for name in features])
    return inputs[[names.index(name) for name in features]]
