"""Compiled steps: a step of training, recorded once and replayed as planned NumPy calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, overload

from tinygrad_dls.compiler.function import CompiledFunction
from tinygrad_dls.compiler.native.building import compiler
from tinygrad_dls.compiler.native.program import BACKENDS
from tinygrad_dls.compiler.step import CompiledStep
from tinygrad_dls.engine.arrays import boolean, positive_integer
from tinygrad_dls.engine.errors import shown
from tinygrad_dls.graph.subject import subject
from tinygrad_dls.nn.module import Module
from tinygrad_dls.optimizer import Optimizer

__all__ = ["compile"]


@overload
def compile(
    model: Module,
    loss: Callable[[Any, Any], Any],
    optimizer: Optimizer,
    *,
    gradients: bool = ...,
    fallback: bool = ...,
    threads: int | None = ...,
    tile: int | None = ...,
    constants: Sequence[Any] = ...,
    backend: str = ...,
) -> CompiledStep: ...


@overload
def compile(
    model: Callable[..., Any],
    *,
    fallback: bool = ...,
    threads: int | None = ...,
    constants: Sequence[Any] = ...,
    backend: str = ...,
) -> CompiledFunction: ...


def compile(
    model: Any,
    loss: Any = None,
    optimizer: Any = None,
    *,
    gradients: bool = False,
    fallback: bool = False,
    threads: int | None = None,
    tile: int | None = None,
    constants: Sequence[Any] = (),
    backend: str = "numpy",
) -> Any:
    """Record a step of training, or a function of arrays, once, and replay it as planned NumPy calls.

    After ``step = tg.compile(model, loss, optimizer)``, ``step(X, Y)`` does what the eager loop does, up to rounding:
    ``J = loss(model(X), Y)``, ``optimizer.zero_grad()``, ``J.backward()``, ``optimizer.step()``. It returns the cost.
    The first call for data of a new shape or dtype records; so does a change of the model or of the optimizer's
    hyperparameters. The learning rate is an argument of what was recorded, and so are parameters that are frozen.

    ``tg.compile(f)`` does the same for a function of arrays that returns arrays, also in tuples, lists and dicts.

    Parameters
    ----------
    model : Module or function
        The model; or the function of arrays, without further arguments.
    loss : function
        A function of the model's output and the labels, such as `tinygrad_dls.binary_cross_entropy_with_logits`.
    optimizer : Optimizer
        Over ``model.parameters()``.
    gradients : bool, default False
        Whether each step leaves the gradients in ``p.grad``. Without, they are None after a step.
    fallback : bool, default False
        Whether what cannot be recorded runs eagerly; ``explain()`` says why then. Without, it is an error.
    threads : int, optional
        Threads that share the tiles of a large number of examples, or the large loops of C; by default, one for each
        processor where there is enough to do for them. The result does not depend on it. A function of arrays takes it
        for C only.
    tile : int, optional
        Examples in a tile; by default, as many as fit into the cache, and no tiles where all of them do.
    constants : sequence of objects
        What your code reads and never changes: it is not compared at each step. For what cannot be compared, such as a
        table in an object of another library, or would take long, such as a dict of a hundred thousand words.
    backend : {"numpy", "native", "auto"}
        What runs: NumPy's calls; or C, in which what is done to each example is fused, and for which a compiler is
        needed, beside NumPy's calls for the rest; or C if there is a compiler, and else NumPy. ``explain()`` says what
        was fused. `tile` is of NumPy's calls.

    Returns
    -------
    CompiledStep or CompiledFunction
        With ``source``, the program that runs, and ``explain()``, what was done to it.

    Raises
    ------
    TypeError, ValueError
        If the arguments are of the wrong kind.
    RecordingError
        A TypeError, at the first call: if the program would freeze something, such as a decision on a value, or depends
        on what cannot be watched.
    RuntimeError
        At a later call: if its numbers are others than the eager ones, as something has changed that was not watched.
        That call has changed nothing.

    Examples
    --------
    >>> import tinygrad_dls as tg
    >>> X, Y = tg.datasets.planar_flower()
    >>> model = tg.nn.TwoLayerNetwork(2, 4, rng=0)
    >>> step = tg.compile(model, tg.binary_cross_entropy_with_logits, tg.optim.SGD(model.parameters(), lr=1.2))
    >>> costs = [step(X, Y) for _ in range(1000)]
    >>> f"{costs[0]:.4f} -> {costs[-1]:.4f}"
    '0.6931 -> 0.2885'
    """
    boolean(fallback, "compile: fallback")
    if backend not in BACKENDS:
        raise ValueError(f"compile: backend is {shown(backend)}; expected one of {', '.join(map(repr, BACKENDS))}.")
    if backend == "native":
        compiler()
    if not isinstance(constants, (list, tuple)):
        raise TypeError(f"compile: constants must be a list of objects, constants=[...]; got {shown(constants)}.")
    given = subject("compile", model, (), loss, optimizer)
    for count, name in ((threads, "threads"), (tile, "tile")):
        if count is not None:
            positive_integer(count, f"compile: {name}")
    of_both: dict[str, Any] = {"fallback": fallback, "threads": threads, "constants": constants, "backend": backend}
    if given.model is not None:
        boolean(gradients, "compile: gradients")
        return CompiledStep(given.model, loss, optimizer, gradients=gradients, tile=tile, **of_both)
    if gradients or tile is not None or (threads is not None and backend == "numpy"):
        raise TypeError(
            "compile: the options of a step go with a model, not with a function: write compile(f). Only threads= is "
            "of a function too, in C: compile(f, backend='native', threads=...)."
        )
    return CompiledFunction(given.function, **of_both)
