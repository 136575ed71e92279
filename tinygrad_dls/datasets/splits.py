"""Examples to learn from, and others to test with."""

from __future__ import annotations

import math
from typing import Any, overload

import numpy as np

from tinygrad_dls.datasets.table import Table, fill
from tinygrad_dls.engine.arrays import Array, as_array, boolean, real_number
from tinygrad_dls.engine.errors import shown, transposed
from tinygrad_dls.engine.tensor import values
from tinygrad_dls.nn.columns import refuse_frame, refuse_series
from tinygrad_dls.nn.init import generator

__all__ = ["train_test_split"]

_OF_A_FRAME = (
    "Make a table of it, and split that: train_test_split(tg.datasets.from_frame(frame, target='...'), rng=0); or "
    "write frame.to_numpy(float).T."
)


@overload
def train_test_split(X: Table, *, test: float = ..., rng: Any, stratify: bool = ...) -> tuple[Table, Table]: ...
@overload
def train_test_split(
    X: Any, Y: Any, *, test: float = ..., rng: Any, stratify: bool = ...
) -> tuple[Array, Array, Array, Array]: ...
def train_test_split(X: Any, Y: Any = None, *, test: float = 0.25, rng: Any = None, stratify: bool = False) -> Any:
    """Split the examples, which are the columns, at random: most to learn from, the others to test with.

    Parameters
    ----------
    X : array, shape (n_x, m), or Table
    Y : array, shape (n_y, m)
        Left out where X is a `Table`, which has both.
    test : float or int, default 0.25
        The part of the examples to test with, between 0 and 1, or their number.
    rng : int or generator, keyword-only
        Where the order is drawn from.
    stratify : bool, default False
        Whether both get each class, or each column of labels, in the proportion that all have, to one example.

    Returns
    -------
    X_train, X_test, Y_train, Y_test : array
        Copies, in scikit-learn's order; of a table, two of them: ``train, test``. Where means stand for its missing
        cells, they become those of the rows to learn from, in both and in the recipe.

    Raises
    ------
    TypeError, ValueError
        If X and Y are of different numbers of examples, or if one part would be empty, or hold no example of a class.

    Examples
    --------
    >>> import numpy as np, tinygrad_dls as tg
    >>> X, Y = tg.datasets.planar_flower()
    >>> X_train, X_test, Y_train, Y_test = tg.datasets.train_test_split(X, Y, test=0.2, rng=0, stratify=True)
    >>> X_train.shape, X_test.shape, int(Y_test.sum())
    ((2, 320), (2, 80), 40)
    """
    if isinstance(X, Table):
        if Y is not None:
            raise TypeError("train_test_split: a Table holds X and Y; pass it alone.")
        x, y = X.X, X.Y
    elif Y is None:
        raise TypeError("train_test_split: Y is missing. Write train_test_split(X, Y, rng=0).")
    else:
        for a, name in ((X, "X"), (Y, "Y")):
            refuse_frame(a, "train_test_split", name, _OF_A_FRAME)
            refuse_series(a, "train_test_split", name)
        x, y = (as_array(values(a), f"train_test_split: {name}") for name, a in (("X", X), ("Y", Y)))
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise ValueError(
            f"train_test_split: X is {x.shape}, Y is {y.shape}; expected (n_x, m) and (n_y, m). "
            f"{transposed(x, y) or 'Examples are columns.'}"
        )
    count = _count(test, x.shape[1])
    rng = generator(rng, "train_test_split")
    order = rng.permutation(x.shape[1])
    if boolean(stratify, "train_test_split: stratify"):
        order = _stratified(order, y, count)
    chosen, rest = np.sort(order[:count]), np.sort(order[count:])
    if isinstance(X, Table):
        return tuple(_part(_filled_anew(X, rest), i) for i in (rest, chosen))
    return x[:, rest], x[:, chosen], y[:, rest], y[:, chosen]


def _filled_anew(table: Table, rest: Any) -> Table:
    """A table whose missing cells hold means of the rows to learn from: those to test with would show in the others."""
    x, means = table.X.copy(), dict(table.recipe.get("means", {}))
    for name, cells in table.filled.items():
        source = "train_test_split: among the rows to learn from"
        means[name] = fill(x[table.features.index(name)], cells, np.setdiff1d(rest, cells), name, source)
    return table._replace(X=x, recipe={**table.recipe, "means": means} if table.filled else table.recipe)


def _part(table: Table, chosen: Any) -> Table:
    """Some rows of a table."""
    filled = {name: tuple(np.flatnonzero(np.isin(chosen, cells)).tolist()) for name, cells in table.filled.items()}
    return table._replace(X=table.X[:, chosen], Y=table.Y[:, chosen], filled=filled)


def _count(test: Any, m: int) -> int:
    """The number of examples to test with."""
    part = real_number(test, "train_test_split: test")
    whole = as_array(values(test)).dtype.kind in "iu"
    if not 0 < part < math.inf or whole != (part >= 1):
        raise ValueError(
            f"train_test_split: test is a part between 0 and 1, or a number of examples, got {shown(test)}."
        )
    count = int(part) if whole else round(part * m)
    if not 0 < count < m:
        raise ValueError(f"train_test_split: test={test} of {m} examples leaves one part empty.")
    return count


def _stratified(order: Any, y: Array, count: int) -> Any:
    """An order whose first examples are of each class in its proportion."""
    _, classes = np.unique(y, axis=1, return_inverse=True)
    classes = classes.reshape(-1)
    sizes = np.bincount(classes)
    exact = sizes * count / len(order)
    shares = np.floor(exact).astype(int)
    for k in np.argsort(shares - exact, kind="stable")[: count - shares.sum()]:
        shares[k] += 1
    if shares.min() == 0 or (sizes - shares).min() == 0:
        k = int(np.argmin(np.minimum(shares, sizes - shares)))
        raise ValueError(
            f"train_test_split: a class of {sizes[k]} examples would be missing from one part. Is Y of classes? Give "
            "more examples, another test=, or leave stratify out."
        )
    first = np.concatenate([order[classes[order] == k][:share] for k, share in enumerate(shares)])
    return np.concatenate([first, order[~np.isin(order, first)]])
