"""What examples and their labels have to be before a model is trained on them: a column of both for each."""

from __future__ import annotations

from typing import Any

from tinygrad_dls.engine.arrays import Array
from tinygrad_dls.engine.errors import flattened, transposed

__all__ = ["check_columns_of", "refuse_infinite"]


def check_columns_of(X: Array, Y: Array, which: str) -> None:
    """Refuse X and Y without an equal number of columns; `which` says of what data they are."""
    if len(X.shape) == 2 and X.shape[1] == 0:
        raise ValueError(f"fit: X is {X.shape} in {which}: there are no examples, which are the columns.")
    if len(X.shape) != 2:
        hint = f": {flattened('X')}" if len(X.shape) > 2 else ""
        raise ValueError(f"fit: X is {X.shape} in {which}; expected (n_x, m), with the examples as columns{hint}.")
    if len(Y.shape) != 2 or Y.shape[1] != X.shape[1]:
        flat = "Write Y.reshape(1, -1)." if Y.shape in ((X.shape[1],), (X.shape[1], 1)) else ""
        hint = flat or transposed(X, Y) or "Is one transposed?"
        raise ValueError(f"fit: Y is {Y.shape}, X is {X.shape} in {which}; expected a column for each example. {hint}")


def refuse_infinite(wrong: Any, size: int, which: str) -> None:
    """Refuse examples of whose entries so many are not finite."""
    if wrong:
        raise ValueError(
            f"fit: X holds {wrong} NaN or infinities among its {size} entries in {which}. Leave "
            "their examples out, X[:, np.isfinite(X).all(axis=0)], and out of Y too; or fill them in."
        )
