"""A training on arrays in chunks, for `fit`: its steps, its batches of whole chunks, and its validation.

A step is one task for each chunk, which gives the part of that chunk in the cost and the gradients, and their sum in
the order of the chunks. The parameters stay here, as NumPy arrays; so each step is the same graph of tasks, whatever
came before, and its result depends on the chunks alone, not on how many workers there are, or which of them die.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_dls.engine.arrays import Array, boolean
from tinygrad_dls.nn.chunks import is_chunked
from tinygrad_dls.nn.labels import check_any_weight
from tinygrad_dls.nn.module import Module
from tinygrad_dls.training.chunks.arrays import Chunked, in_chunks, refuse_elsewhere
from tinygrad_dls.training.chunks.look import Look, Shapes, look
from tinygrad_dls.training.chunks.running import Cluster, Here, failed, missing_package, runner
from tinygrad_dls.training.chunks.source import refuse_persisted, sources_of, warn_of_mapped
from tinygrad_dls.training.chunks.splitting import columns_of, examine
from tinygrad_dls.training.chunks.validation import ChunkedValidation, side_by_side
from tinygrad_dls.training.chunks.work import Block, Part, Work, drops, dumped, measure, state_of, step, total
from tinygrad_dls.training.examples import refuse_infinite
from tinygrad_dls.training.scores import Scores
from tinygrad_dls.training.steps import Prepared, Steps
from tinygrad_dls.training.trial import Trial, smoothing, tried
from tinygrad_dls.training.validation import Validation
from tinygrad_dls.training.weights import check_takes_weights, weights_by_class

if TYPE_CHECKING:
    from tinygrad_dls.graph.subject import Subject

__all__ = ["prepare"]

FEW = 4  # chunks of which a few examples each are tried
GROUP = 32  # parts that one task sums, whose gradients are in its memory together


def prepare(
    given: Subject,
    X: Any,
    Y: Any,
    *,
    batch_size: int | None,
    rng: Any,
    sample_weight: Any,
    class_weight: Any,
    label_smoothing: Any,
    validation: Any,
    validation_weight: Array | None,
    scores: Scores,
    compile: bool | Mapping[str, Any],
    client: Any,
    changing: bool,
) -> Prepared:
    """Look at the data and the model, and refuse what cannot be trained in chunks; the options are those of `fit`.

    Parameters
    ----------
    changing : bool
        Whether the model may be changed between epochs, as callbacks can.
    """
    assert given.model is not None
    refuse_elsewhere(given.model)
    data = in_chunks(X, Y, sample_weight, "the training data")
    held_out = None
    if validation is not None and any(map(is_chunked, validation)):
        if len(validation) != 2:
            raise TypeError(
                "fit: validation data of dask are a pair, validation=(X, Y), without weights. Bring the three here: "
                ".compute()."
            )
        held_out = in_chunks(validation[0], validation[1], None, "the validation data")
    if sample_weight is not None or class_weight is not None:
        assert given.loss is not None
        check_takes_weights(given.loss)
    per_step = _chunks_per_step(batch_size, data)
    run = runner(client)
    try:
        training = _Training(given, data, run)
        training.learn(class_weight, label_smoothing, compile, validation if held_out is None else None, held_out)
        training.refuse(single=per_step == 1 or len(data.numbers) == 1)
        measured: Validation | None = None
        if held_out is not None:
            measured = ChunkedValidation(given, training.measure, held_out.arrays[0], training.trial, scores)
        elif validation is not None:
            measured = Validation(given, validation[0], validation[1], validation_weight, training.trial, scores)
        steps = Steps((), training.take, training.size)
        refresh = training.refresh if changing else None
        return Prepared(steps, _Batches(data.numbers, per_step, rng, refresh), measured, run.close)
    except BaseException:
        run.close()
        raise


def _chunks_per_step(batch_size: int | None, data: Chunked) -> int | None:
    """How many chunks a mini-batch is made of; None for all of them."""
    largest = max(data.sizes)
    if batch_size is None or batch_size >= data.m:
        return None
    if batch_size % largest:
        near = max(1, batch_size // largest) * largest
        raise ValueError(
            f"fit: batch_size is {batch_size}, and the chunks have {largest} columns; a mini-batch is made of whole "
            f"chunks. Write batch_size={near}, or X = X.rechunk({{1: {batch_size}}})."
        )
    return batch_size // largest


class _Batches:
    """The chunks of each step, by their numbers, in an order that is shuffled anew in each epoch."""

    def __init__(self, numbers: list[int], per_step: int | None, rng: Any, refresh: Callable[[], None] | None) -> None:
        self._numbers, self._per_step, self._refresh = numbers, per_step, refresh
        self._rng = rng

    def __iter__(self) -> Iterator[tuple[tuple[int, ...]]]:
        if self._refresh is not None:
            self._refresh()
        if self._per_step is None:
            yield (tuple(self._numbers),)
            return
        order = [self._numbers[i] for i in self._rng.permutation(len(self._numbers))]
        for start in range(0, len(order), self._per_step):
            yield (tuple(sorted(order[start : start + self._per_step])),)


class _Training:
    """The model here, and the chunks there.

    Attributes
    ----------
    trial : Trial
        What the model is trained for.
    """

    trial: Trial

    def __init__(self, given: Subject, data: Chunked, run: Here | Cluster) -> None:
        assert given.model is not None
        assert given.loss is not None
        assert given.optimizer is not None
        self._model: Module = given.model
        self._loss, self._optimizer = given.loss, given.optimizer
        self._data, self._run = data, run
        self._name = uuid.uuid4().hex  # keys that another training has are other tasks
        self._calls = itertools.count()
        self._taken = 0
        self._weights: dict[int, float] = {}  # by chunk: what it counts
        self._held: dict[Any, Any] = {}  # what the workers keep, by key
        self._sources: dict[int, Any] = {}  # by chunk: its key
        self._held_out: tuple[Chunked, dict[int, Any]] | None = None
        self._work, self._follows, self._moves = Work(b"", self._dtype), False, ""
        self._model_key = ""

    @property
    def _dtype(self) -> np.dtype[Any]:
        dtype: np.dtype[Any] = self._model.parameters()[0].dtype
        return dtype

    # -- before the first step ----------------------------------------------------------------------------------------

    def learn(
        self,
        class_weight: Any,
        label_smoothing: Any,
        compile: bool | Mapping[str, Any],
        validation: tuple[Array, Array] | None,
        held_out: Chunked | None,
    ) -> None:
        """Find out from a look at the chunks what the model is trained for, and try it with a few examples."""
        compiled = isinstance(compile, Mapping) or boolean(compile, "fit: compile")
        options = {"threads": 1} | (dict(compile) if isinstance(compile, Mapping) else {})  # chunks run side by side
        options["gradients"] = True  # they are what is asked for
        self._sources, looks = self._look(self._data, class_weight is not None)
        by_class = self._weigh(looks, class_weight)
        plain = Work(b"", self._dtype)
        X, Y, _ = columns_of(plain.block((seen.X, seen.Y)) for seen in looks.values())
        if held_out is not None:
            sources, others = self._look(held_out, False)
            self._held_out = held_out, sources
            validation = columns_of(plain.block((seen.X, seen.Y)) for seen in others.values())[:2]
        self.trial = tried(self._model, self._loss, X, Y, validation)
        smooth = smoothing(label_smoothing, self._model, self._loss, X, Y)
        self._work = replace(plain, compiled=compiled, smooth=smooth, by_class=by_class)
        self._options = options
        self._work = replace(self._work, pickled=self._pickled())
        found = examine(self._work, self._model, self._loss, self._few(looks), self._optimizer)
        self._follows, self._moves = found
        self._work = replace(self._work, follows=found.follows)
        self._send()

    def _look(self, data: Chunked, classes: bool) -> tuple[dict[int, Any], dict[int, Look]]:
        """Where the chunks come from, and what is seen of them."""
        if isinstance(self._run, Here):
            refuse_persisted(data)
        else:
            warn_of_mapped(data)
        graph, sources = self._compute(lambda: sources_of(data, self._run.run), 0)
        held = self._compute(lambda: self._run.hold(graph, list(sources.values())), 0)
        self._held |= held
        name = f"look-{self._name}-{next(self._calls)}"
        rows = [x.shape[0] for x in data.arrays]
        tasks = {
            (name, i): (look, key, Shapes([(n, data.sizes[i]) for n in rows]), self._dtype, classes)
            for i, key in sources.items()
        }
        found = self._compute(lambda: self._run.run(tasks | held, list(tasks)), 0)
        looks = dict(zip(sources, found, strict=True))
        refuse_infinite(sum(seen.infinite for seen in looks.values()), rows[0] * data.m, data.which)
        return sources, looks

    def _weigh(self, looks: dict[int, Look], class_weight: Any) -> tuple[Array, Array] | None:
        """Note what each chunk counts; the classes and their weights, if there are any."""
        self._weights = {i: seen.weight for i, seen in looks.items()}
        by_class = None
        if class_weight is not None:
            tallies = {i: seen.tally for i, seen in looks.items() if seen.tally is not None}
            classes, inverse = np.unique(np.concatenate([x.classes for x in tallies.values()]), return_inverse=True)
            counts = np.bincount(inverse, weights=np.concatenate([x.counts for x in tallies.values()])).astype(int)
            of_class = weights_by_class(class_weight, classes, counts, self._data.arrays[1].shape[0])
            by_class = classes, of_class
            for i, x in tallies.items():
                self._weights[i] = float(np.sum(of_class[np.searchsorted(classes, x.classes)] * x.weights))
        if problem := check_any_weight(np.array(list(self._weights.values()))):
            raise ValueError(f"fit: {problem}")
        if not np.isfinite(sum(self._weights.values())):
            raise ValueError(f"fit: sample_weight sums to infinity in {self._dtype}. Divide it by its mean.")
        return by_class

    def _few(self, looks: dict[int, Look]) -> Block:
        """A few examples that count, to try the model with; of chunks from first to last, as labels may be sorted."""
        found = [seen for i, seen in looks.items() if self._weights[i]]
        spread = [found[i] for i in np.unique(np.linspace(0, len(found) - 1, FEW).astype(int))]
        block = columns_of(self._work.block((x.X, x.Y) if x.w is None else (x.X, x.Y, x.w)) for x in spread)
        if block.w is None:
            return block
        counts = np.flatnonzero(block.w[0])
        if counts.size < 2:  # no two of these few, as it takes to tell a mean from a sum
            return block._replace(w=np.ones_like(block.w))
        return Block(block.X[:, counts], block.Y[:, counts], block.w[:, counts])

    def refuse(self, single: bool) -> None:
        """Refuse what takes all examples of a step together, unless each step is of a `single` chunk."""
        if single:
            return
        if self._moves:
            raise ValueError(
                f"fit: {self._moves} takes mean and variance over all examples of a step, and chunks do not see each "
                "other. Let each step be of one chunk, which is a mini-batch: batch_size="
                f"{max(self._data.sizes)}, rng=0. Or train without it."
            )
        if self._follows and self._work.compiled:
            raise ValueError(
                "fit: with compile=, an L2 penalty in the loss would be added once for each chunk. Take it out of the "
                "loss, and let the optimizer add its gradient: weight_decay=lambd / m, with m examples in a step."
            )

    def refresh(self) -> None:
        """Send the model and the loss again, if they are others than before."""
        pickled = self._pickled()
        if pickled != self._work.pickled:
            self._work = replace(self._work, pickled=pickled)
            self._send()

    def _pickled(self) -> bytes:
        try:
            return dumped(self._model, self._loss, self._options)
        except Exception as error:  # whatever a class of the user's raises
            raise TypeError(
                "fit: the model and the loss are copied to where the chunks are, and do not pickle: "
                f"{str(error).rstrip('.')}. Leave out of them what belongs to this process alone, such as open files "
                "and locks."
            ) from error

    def _send(self) -> None:
        key = f"model-{self._name}-{next(self._calls)}"
        self._run.drop(self._held.pop(self._model_key, None))
        self._held |= self._compute(lambda: self._run.hold({key: self._work}, [key]), self._taken)
        self._model_key = key

    # -- steps --------------------------------------------------------------------------------------------------------

    def size(self, numbers: tuple[int, ...]) -> float:
        """What the chunks of a step count together."""
        return sum(self._weights[i] for i in numbers)

    def take(self, numbers: tuple[int, ...]) -> float:
        """A step with chunks of these numbers; the cost from before."""
        whole = self.size(numbers)
        used = [i for i in numbers if self._weights[i]]
        m = sum(self._data.sizes[i] for i in numbers)
        seeds = tuple(int(layer.rng.random() * 2**53) for layer in drops(self._model))
        n = next(self._calls)
        graph, state = self._shared(n)
        keys: list[Any] = []
        for i in used:
            share = 1.0 if len(used) == 1 else self._weights[i] / whole
            source = self._sources[i]
            keys.append((f"step-{self._name}-{n}", i))
            graph[source] = self._held[source]
            graph[keys[-1]] = step, self._model_key, state, source, i, share, m, seeds
        key = _summed(graph, keys, f"sum-{self._name}-{n}")
        (part,) = self._compute(lambda: self._run.run(graph, [key]), self._taken)
        self._update(part)
        self._taken += 1
        return float(part.cost)

    def _shared(self, n: int) -> tuple[dict[Any, Any], Any]:
        """The tasks that all others of a call depend on, and the key of the model's state as it is."""
        state = f"state-{self._name}-{n}"
        return {self._model_key: self._held[self._model_key], state: state_of(self._model)}, state

    def _update(self, part: Part) -> None:
        """The optimizer's step, with the gradients of all chunks."""
        self._optimizer.zero_grad()
        for p, dw in zip(self._model.parameters(), part.gradients, strict=True):
            p._grad = None if dw is None else np.array(dw, p.dtype)
        self._optimizer.step()
        if part.kept is not None:
            self._model._keep_arrays(part.kept)

    def measure(self, asked: tuple[str, ...]) -> dict[str, Any]:
        """What the model gives for the validation data."""
        assert self._held_out is not None
        data, sources = self._held_out
        n = next(self._calls)
        graph, state = self._shared(n)
        keys = [(f"measure-{self._name}-{n}", i) for i in sources]
        for key, source in zip(keys, sources.values(), strict=True):
            graph[source] = self._held[source]
            graph[key] = measure, self._model_key, state, source, data.m, asked
        results = self._compute(lambda: self._run.run(graph, keys), self._taken)
        return side_by_side(results, [data.sizes[i] / data.m for i in sources])

    def _compute(self, run: Callable[[], Any], steps: int) -> Any:
        """What is computed by tasks; if they fail for good, after so many whole steps, the error says so."""
        try:
            return run()
        except Exception as error:
            if not steps and isinstance(error, (TypeError, ValueError)) and not missing_package(error):
                raise  # of the data or the model, which nobody has touched yet
            raise failed(self._run, error, steps) from error


def _summed(graph: dict[Any, Any], keys: list[Any], name: str) -> Any:
    """Add tasks that sum the results of others in their order, a group at a time; the key of the sum."""
    for level in itertools.count():
        if len(keys) == 1:
            return keys[0]
        groups = [keys[i : i + GROUP] for i in range(0, len(keys), GROUP)]
        keys = [(name, level, i) for i in range(len(groups))]
        graph.update({key: (total, group) for key, group in zip(keys, groups, strict=True)})
    raise AssertionError
