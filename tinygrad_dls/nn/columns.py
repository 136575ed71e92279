"""What comes into a layer: examples as columns. A DataFrame has them as rows, with names, which are kept or refused.

NumPy would read a DataFrame as an array whose columns are features, and forget what they are called. So wherever one
could come in, it either meets a layer that knows its features by name, or is refused with what to write.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from tinygrad_dls.engine.errors import flattened, shown
from tinygrad_dls.engine.tensor import Tensor

__all__ = [
    "called", "is_frame", "is_frame_of_pandas", "is_nameless", "named", "not_columns", "refuse_frame", "refuse_series",
]  # fmt: skip


def is_frame(x: Any) -> bool:
    """Whether something is a DataFrame, of pandas or of another library."""
    return hasattr(type(x), "to_numpy") and hasattr(x, "columns")


def is_frame_of_pandas(x: Any) -> bool:
    """Whether something is a DataFrame that has what is used of pandas' own."""
    return all(hasattr(x, name) for name in ("columns", "iloc", "index", "to_numpy"))


def is_nameless(name: str) -> bool:
    """Whether a column is called as pandas calls one without a name: most often, the row numbers that it wrote."""
    return re.fullmatch(r"(Unnamed: \d+(\.\d+)*(_level_\d+)?)?", name) is not None


def called(x: Any, otherwise: str) -> str:
    """The name of a Tensor, or else what its layer calls it."""
    return x.name if isinstance(x, Tensor) and x.name else otherwise


_ADVICE = (
    "Let the model be a tg.nn.Sequential or tg.nn.Classifier whose first layer is tg.nn.Standardizer.of(frame), which "
    "keeps and checks them; or write frame.to_numpy(float).T."
)


def refuse_frame(x: Any, who: str, name: str, advice: str = _ADVICE) -> None:
    """Refuse a DataFrame where there is no place for the names of its columns; `advice` says what to do.

    Raises
    ------
    TypeError
        That says what to write.
    """
    if not is_frame(x):
        return
    if name == "Y":
        raise TypeError(
            f"{who}: Y is a DataFrame, whose rows are examples; Y has them as columns. Write frame.to_numpy().T."
        )
    raise TypeError(
        f"{who}: {name} is a DataFrame, whose rows are examples, and the names of its columns would be lost. {advice}"
    )


def refuse_series(x: Any, who: str, name: str) -> None:
    """Refuse a Series of pandas, which has no columns, where each example has one.

    Raises
    ------
    ValueError
        That says what to write.
    """
    if hasattr(type(x), "to_numpy") and np.ndim(x) == 1:
        raise ValueError(
            f"{who}: {name} is a Series, {np.shape(x)}; expected (1, m): examples are columns. Write "
            f"{name}.to_numpy().reshape(1, -1)."
        )


def named(X: Any, who: str) -> tuple[tuple[str, ...], Any]:
    """The names of the features and their rows, of a table or a DataFrame; of all else, no names and itself."""
    if isinstance(X, tuple) and hasattr(X, "features") and hasattr(X, "X"):
        return tuple(X.features), X.X
    if not is_frame_of_pandas(X):
        return (), X
    names = tuple(X.columns)
    if not names or not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise ValueError(
            f"{who}: a DataFrame's columns are features, and need names that differ, got {shown(list(names))}; its "
            "rows are examples. Did you transpose it?"
        )
    rows = []
    for name in names:
        try:
            if not _holds_numbers(X[name]):
                raise TypeError
            row = X[name].to_numpy(dtype=float, na_value=np.nan)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"{who}: column {name!r} is of {X[name].dtype}, and no feature. tg.datasets.from_frame makes features "
                "of texts (one_hot=) and leaves out columns (ignore=); pd.to_numeric makes numbers of texts."
            ) from error
        if not np.isfinite(row).all():
            raise ValueError(
                f"{who}: column {name!r} has {np.sum(~np.isfinite(row))} cells that are missing or infinite. "
                "tg.datasets.from_frame takes missing=."
            )
        rows.append(row)
    return names, np.array(rows)


def _holds_numbers(series: Any) -> bool:
    """Whether a column holds numbers. Times would become counts of an unknown unit, and texts whatever they spell."""
    kind = getattr(series.dtype, "kind", "O")
    return kind in "fiub" or (kind == "O" and not any(isinstance(x, (str, bytes)) for x in series))


def not_columns(who: str, name: str, shape: tuple[int, ...], n: int, *, beside: str = "", otherwise: str = "") -> str:
    """Say that an array is not ``(n, m)``, and the likely cause.

    Parameters
    ----------
    who, name : str
        The layer, and what its input is called.
    shape : tuple of int
        That of the input.
    n : int
        The rows that the layer takes.
    beside : str
        Another array that the sentence begins with: ``"W is (4, 2), "``.
    otherwise : str
        The likely cause if its axes are in order: the layers do not fit.
    """
    text = f"{who}: {beside}{name} is {tuple(shape)}; expected {f'{name} to be ' if beside else ''}({n}, m)."
    if len(shape) > 2:
        return f"{text} Examples are columns: {flattened(name)}."
    if len(shape) != 2:
        return f"{text} Examples are columns: write {name}.reshape({n}, -1) if each has {n} values."
    if shape[1] == n:
        return f"{text} Did you pass {name} transposed?"
    return f"{text} {otherwise or 'Examples are columns.'}"
