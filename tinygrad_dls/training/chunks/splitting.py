"""Whether the cost of all examples is the mean over chunks: tried with a few examples, before the training.

The tasks see a chunk each, and a copy of the model. What is no mean of examples (a loss that sums them, the statistics
of a batch), what draws random numbers of its own, and what reaches the model by another way than as its own, would give
other gradients than NumPy arrays do, without a word. Here it is refused, with what to write.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

import numpy as np

from tinygrad_dls.engine.arrays import Array
from tinygrad_dls.engine.recording import recording
from tinygrad_dls.engine.tensor import Tensor, values
from tinygrad_dls.nn.evaluation import evaluated
from tinygrad_dls.nn.module import Module
from tinygrad_dls.nn.normalisation import BatchNorm
from tinygrad_dls.nn.regularisation import counted_as
from tinygrad_dls.training.chunks.work import Block, Copy, State, Work, alone, counted, drops, state_of

__all__ = ["Found", "columns_of", "examine"]

T = TypeVar("T")


class Found(NamedTuple):
    """What was found out of a model and its loss.

    Attributes
    ----------
    follows : bool
        Whether an L2 penalty in the loss is over the number of examples that the loss sees.
    moves : str
        The layer that moves running statistics; empty, if none does.
    """

    follows: bool
    moves: str


def examine(work: Work, model: Module, loss: Callable[..., Any], block: Block, optimizer: Any) -> Found:
    """Try the model and the loss with a few examples.

    Raises
    ------
    TypeError, ValueError
        That say what cannot be trained in chunks, and what to write instead; or what the loss itself refuses.
    """
    own = set(model.parameters())
    if strange := [p.name or "a parameter" for p in optimizer.parameters if p not in own]:
        raise ValueError(
            f"fit: the optimizer holds {strange[0]}, which is none of the model's parameters, and would stay as it is "
            "where the chunks are. Make it an attribute of the model, which the loss may read there."
        )
    if recording.get() is not True:
        raise RuntimeError(
            "fit: dask arrays are trained on by other threads and processes, which detect_anomaly and no_grad do not "
            "reach. Train on one chunk in memory: X.blocks[:, 0].compute()."
        )
    state = _shaken(state_of(model))
    _refuse_other_copy(work, model, loss, block)
    follows = _follows(work, state, block)
    moves = _moving(work, state_of(model), block)
    _refuse_random(work, state_of(model), block)
    _warn_of_notes(work, state_of(model), block)
    if block.X.shape[1] > 1:
        _refuse_no_mean(work, state, block, follows)
    return Found(follows, moves)


def _shaken(state: State) -> State:
    """Other values of the parameters: a penalty that is forgotten does not show where all weights are 0."""
    rng = np.random.default_rng(0)
    return State([w + rng.normal(size=w.shape).astype(w.dtype) / 4 for w in state.values], state.trained, state.kept)


def _cut(block: Block, start: int, stop: int) -> Block:
    X, Y, w = block
    return Block(X[:, start:stop], Y[:, start:stop], None if w is None else w[:, start:stop])


def _cost(copy: Any, block: Block) -> Any:
    X, Y, w = block
    return copy.loss(copy.model(X), Y) if w is None else copy.loss(copy.model(X), Y, sample_weight=w)


def _fresh(work: Work, state: State) -> Copy:
    """A copy that nobody works on later."""
    copy = Copy(work)
    copy.take(state)
    return copy


def _step(copy: Copy, state: State, block: Block) -> tuple[float, list[Array | None]]:
    """The cost and the gradients of a copy in a state, with the same masks of dropout each time."""
    copy.take(state)
    return _with_masks(copy, lambda: copy.step(block))


def _with_masks(copy: Copy, run: Callable[[], T]) -> T:
    copy.seed([0] * len(drops(copy.model)), 0)
    with np.errstate(all="ignore"):
        return run()


class _Given(NamedTuple):
    model: Module
    loss: Callable[..., Any]


def _gradients(given: Any, block: Block) -> list[Any]:
    """The cost and the gradients, in evaluation; those that the parameters have stay."""
    parameters = given.model.parameters()
    before = [p._grad for p in parameters]

    def run() -> list[Any]:
        recording.set(True)
        for p in parameters:
            p._grad = None
        J = _cost(given, block)
        if isinstance(J, Tensor):
            J.backward()
        return [np.asarray(values(J)), *(p._grad for p in parameters)]

    try:
        with np.errstate(all="ignore"):
            return evaluated(run)
    finally:
        for p, dw in zip(parameters, before, strict=True):
            p._grad = dw


def _refuse_other_copy(work: Work, model: Module, loss: Callable[..., Any], block: Block) -> None:
    """Refuse a loss that reaches another model than the copy, such as one that is a global of its module."""
    original = _gradients(_Given(model, loss), block)
    copied = _gradients(_fresh(work, state_of(model)), block)
    if not _same(original, copied, work.dtype):
        raise ValueError(
            "fit: a copy of the model and the loss, as the chunks get it, has other gradients than they have "
            "themselves. Does the loss read a model, or parameters, that are globals of a module? Pass them: "
            "functools.partial(loss, model=model). Or do the two draw random numbers? tg.nn.Dropout may."
        )


def _follows(work: Work, state: State, block: Block) -> bool:
    """Whether the m of all L2 penalties is the number of examples."""
    m = block.X.shape[1]
    return all(n in _counts(work, state, _cut(block, 0, n)) for n in (m, max(1, m // 2)))


def _counts(work: Work, state: State, block: Block) -> set[int]:
    """The m of each L2 penalty in the loss of a few examples."""
    met = set()

    def note(m: int) -> int:
        met.add(m)
        return m

    with counted_as(note):
        _gradients(_fresh(work, state), block)
    return met


def _moving(work: Work, state: State, block: Block) -> str:
    """The layer whose running statistics a step of training moves."""
    copy = _fresh(work, state)
    if not copy.kept() or block.X.shape[1] < 2:
        return next((layer._titled() for layer in copy.model.modules() if isinstance(layer, BatchNorm)), "")
    _with_masks(copy, lambda: _cost(copy, block))
    pairs = zip(copy.model._buffers(), copy.kept(), state.kept, strict=True)
    return next((module._titled() for (_, module, _), new, old in pairs if new is not old), "")


def _refuse_random(work: Work, state: State, block: Block) -> None:
    """Refuse a model that draws random numbers of its own in training: a task that runs again would draw others."""
    copy = _fresh(work, state)
    (one, first), (other, second) = (_step(copy, state, block) for _ in range(2))
    if not _same([one, *first], [other, *second], work.dtype):
        raise ValueError(
            "fit: the model or the loss gives another cost each time, so they draw random numbers that no task could "
            "draw again after a worker's death. Let tg.nn.Dropout draw them, or pass them as rows of X."
        )


def _warn_of_notes(work: Work, state: State, block: Block) -> None:
    """Warn of what changes at each call, such as a counter: tasks call copies, whose notes nobody sees.

    What changes at the first call alone, such as something that is kept to be computed once, is no matter.
    """
    copy = _fresh(work, state)
    before: dict[str, bytes | None] = {}
    now = before
    for _ in range(3):
        _step(copy, state, block)
        before, now = now, _own(copy)
    if changed := [name for name, x in now.items() if None not in (x, before.get(name)) and x != before[name]]:
        warnings.warn(  # of what is innermost
            f"fit: {changed[-1]} changes at each call. Of dask arrays, each task calls a copy of the model and the "
            "loss, so what is noted there is lost, and what depends on it is not trained as with NumPy arrays. Let a "
            "function in callbacks= note or change it between epochs.",
            UserWarning,
            stacklevel=6,
        )


def _own(copy: Copy) -> dict[str, bytes | None]:
    """What the modules and the loss have besides arrays that are trained or kept, as bytes."""
    own = {"something that the loss holds": copy.loss}
    for module in copy.model.modules():
        own |= {f"{name} of {type(module).__name__}": x for name, x in vars(module).items()}
    return {name: _bytes(copy, x) for name, x in own.items()}


def _bytes(copy: Copy, x: Any) -> bytes | None:
    try:
        return alone(copy.model, x)
    except Exception:  # such as a Tensor with its graph, which is new at each call and says nothing
        return None


def _refuse_no_mean(work: Work, state: State, block: Block, follows: bool) -> None:
    """Refuse a cost that is not the mean over its parts."""
    m = block.X.shape[1]
    cut = m // 2 + 1 if m > 2 else 1
    parts = [_cut(block, 0, cut), _cut(block, cut, m)]
    copy = _fresh(work, state)
    for layer in copy.model.modules():
        layer.training = not isinstance(layer, BatchNorm) and layer not in drops(copy.model)
    whole = _of_parts(copy, [block], follows)
    sum_of_parts = _of_parts(copy, parts, follows)
    if np.isfinite(whole[0]) and not _alike(whole, sum_of_parts, 4 * float(np.sqrt(np.finfo(work.dtype).eps))):
        raise ValueError(
            "fit: the cost of all examples is not the mean of the costs of chunks, so there is no training in chunks. "
            "The loss is to be a mean over the columns, such as np.mean(losses) or tg.mean_squared_error; a penalty "
            "in it is tg.l2(model, lambd, Y.shape[1]), or the optimizer's weight_decay; and no layer may look at "
            "other columns (tg.nn.BatchNorm may, where batch_size makes each step one of a single chunk)."
        )


def _of_parts(copy: Copy, parts: list[Block], follows: bool) -> list[Any]:
    """The cost and the gradients, as the sum over parts."""
    m = sum(part.X.shape[1] for part in parts)
    sizes = [part.X.shape[1] if part.w is None else float(part.w.sum(dtype=float)) for part in parts]
    found: list[Any] = []
    for part, size in zip(parts, sizes, strict=True):
        if not size:
            continue
        for p in copy.parameters:
            p._grad = None
        with np.errstate(all="ignore"), counted(follows, part.X.shape[1], m):
            J = _cost(copy, part)
            J.backward()
        these = [np.asarray(values(J)), *(p._grad for p in copy.parameters)]
        share = size / sum(sizes)
        wide = [None if x is None else x.astype(float) * share for x in these]
        found = wide if not found else [_sum(a, b) for a, b in zip(found, wide, strict=True)]
    return found


def _sum(a: Any, b: Any) -> Any:
    return b if a is None else a if b is None else a + b


def _same(one: list[Any], other: list[Any], dtype: Any) -> bool:
    """Whether the cost and the gradients are equal but for rounding, as where an array lies differently in memory."""
    return _alike(one, other, 64 * float(np.finfo(dtype).eps))


def _alike(one: list[Any], other: list[Any], tolerance: float) -> bool:
    """Whether the cost and the gradients are equal, up to a part of the largest entry."""
    if [x is None for x in one] != [x is None for x in other]:
        return False
    pairs = [(np.asarray(a), np.asarray(b)) for a, b in zip(one, other, strict=True) if a is not None]
    largest = max(float(np.max(np.abs(a[np.isfinite(a)]), initial=0)) for a, _ in pairs)
    return all(np.allclose(a, b, rtol=0, atol=tolerance * largest, equal_nan=True) for a, b in pairs)


def columns_of(blocks: Iterator[Block]) -> Block:
    """Blocks side by side."""
    Xs, Ys, ws = zip(*blocks, strict=True)
    return Block(_beside(Xs), _beside(Ys), None if ws[0] is None else _beside(ws))


def _beside(arrays: tuple[Array, ...]) -> Array:
    return np.concatenate(arrays, axis=1)
