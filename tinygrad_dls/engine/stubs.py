"""What `Tensor` gets from other modules, written out for type checkers: nothing imports this file when it runs.

`tinygrad_dls.engine.ops` attaches the operators and the methods, `tinygrad_dls.engine.autodiff` attaches `backward`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

__all__ = ["Attached"]

if TYPE_CHECKING:
    Own = TypeVar("Own")

    class Attached(Generic[Own]):
        """The operators and methods of a Tensor that are ops, and the chain rule."""

        def __add__(self, other: Any) -> Own: ...
        def __radd__(self, other: Any) -> Own: ...
        def __sub__(self, other: Any) -> Own: ...
        def __rsub__(self, other: Any) -> Own: ...
        def __mul__(self, other: Any) -> Own: ...
        def __rmul__(self, other: Any) -> Own: ...
        def __truediv__(self, other: Any) -> Own: ...
        def __rtruediv__(self, other: Any) -> Own: ...
        def __pow__(self, other: Any) -> Own: ...
        def __rpow__(self, other: Any) -> Own: ...
        def __matmul__(self, other: Any) -> Own: ...
        def __rmatmul__(self, other: Any) -> Own: ...
        def __neg__(self) -> Own: ...
        def __pos__(self) -> Own: ...
        def __abs__(self) -> Own: ...
        def __getitem__(self, index: Any) -> Own: ...
        def __eq__(self, other: object) -> Any: ...
        def __ne__(self, other: object) -> Any: ...
        def __lt__(self, other: Any) -> Any: ...
        def __le__(self, other: Any) -> Any: ...
        def __gt__(self, other: Any) -> Any: ...
        def __ge__(self, other: Any) -> Any: ...

        def backward(self, seed: Any = None) -> None:
            """Compute the gradients; see `tinygrad_dls.engine.autodiff.backward`."""

        T: Own
        sum: Callable[..., Own]
        mean: Callable[..., Own]
        max: Callable[..., Own]
        min: Callable[..., Own]
        prod: Callable[..., Own]
        var: Callable[..., Own]
        std: Callable[..., Own]
        cumsum: Callable[..., Own]
        clip: Callable[..., Own]
        reshape: Callable[..., Own]
        transpose: Callable[..., Own]
        swapaxes: Callable[..., Own]
        squeeze: Callable[..., Own]
        astype: Callable[..., Own]
        ravel: Callable[..., Own]
        flatten: Callable[..., Own]
        dot: Callable[..., Own]
        copy: Callable[..., Own]
        take: Callable[..., Own]
        repeat: Callable[..., Own]
        cumprod: Callable[..., Own]
        trace: Callable[..., Own]
        diagonal: Callable[..., Own]
        round: Callable[..., Own]
        argmax: Callable[..., Any]
        argmin: Callable[..., Any]
        argsort: Callable[..., Any]
        all: Callable[..., Any]
        any: Callable[..., Any]
        tolist: Callable[..., Any]
