"""Who runs the tasks: dask's own scheduler in this process, or a cluster; and what is said when they fail for good.

A cluster runs tasks again whose worker has died, as it knows how each result was made. What is left here is to let go
of what is not needed any more, and to tell a task that failed from a cluster that is gone.
"""

from __future__ import annotations

import operator
import pickle
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import cloudpickle
import dask

from tinygrad_dls.engine.errors import shown
from tinygrad_dls.extras import install
from tinygrad_dls.training.history import History
from tinygrad_dls.training.steps import StepError

__all__ = ["Cluster", "Here", "failed", "missing_package", "runner"]

Graph = dict[Any, Any]
PATIENCE = 30  # seconds of a step after which somebody looks whether there are workers
RETRIES = 2  # of a task that raises, as reading from afar may; what always fails has failed three times then


class Here:
    """Dask's own scheduler: threads, or what ``dask.config.set(scheduler=...)`` says."""

    def __init__(self, get: Any) -> None:
        self._get = get

    def hold(self, graph: Graph, keys: Sequence[Any]) -> Graph:
        """A graph that has results of another one in it, to be used by many."""
        return dict(zip(keys, self.run(graph, keys), strict=True))

    def run(self, graph: Graph, keys: Sequence[Any]) -> list[Any]:
        """The results of tasks."""
        return list(self._get(graph, list(keys)))

    def drop(self, value: Any) -> None:
        """Nothing is held by others."""

    def close(self) -> None:
        """Nothing is held by others."""

    def failure(self, error: BaseException) -> str:
        """What an error says, in words."""
        return _said(error)


class Cluster:
    """The workers of a client of `distributed`."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._held: list[Any] = []

    def hold(self, graph: Graph, keys: Sequence[Any]) -> Graph:
        """Promises of results, which stay with the workers; those that are lost are made again."""
        futures = self._client.get(_sealed(graph), list(keys), sync=False, retries=RETRIES)
        self._held += futures
        return dict(zip(keys, futures, strict=True))

    def run(self, graph: Graph, keys: Sequence[Any]) -> list[Any]:
        """The results of tasks, which the workers forget then."""
        with warnings.catch_warnings():
            # parameters are sent once a step, however many they are
            warnings.filterwarnings("ignore", message="Sending large graph", category=UserWarning)
            futures = self._client.get(_sealed(graph), list(keys), sync=False, retries=RETRIES)
        try:
            self._wait(futures)
            return list(self._client.gather(futures))
        except BaseException:  # Ctrl-C too: nobody waits for them any more
            if self._client.status == "running":
                self._client.cancel(futures, force=True)
            raise
        finally:
            for future in futures:
                future.release()

    def _wait(self, futures: list[Any]) -> None:
        """Wait for results; and say so, if nobody is there to compute them."""
        silent = True
        for future in futures:
            while True:
                try:  # not distributed.wait, which needs a client that the whole process takes for its own meanwhile
                    future.exception(timeout=PATIENCE)
                    break
                except TimeoutError:
                    if silent and not self._client.nthreads():
                        silent = False
                        warnings.warn(
                            "fit: the cluster has no workers, and the next step waits for one. Ctrl-C ends the "
                            "training.",
                            RuntimeWarning,
                            stacklevel=2,
                        )

    def drop(self, future: Any) -> None:
        """Let the workers forget something that they hold."""
        if future in self._held:
            self._held.remove(future)
            future.release()

    def close(self) -> None:
        """Let the workers forget all."""
        for future in self._held:
            future.release()
        self._held.clear()

    def failure(self, error: BaseException) -> str:
        """What an error says, in words; and whether the cluster is gone."""
        if self._client.status != "running":
            return f"the scheduler is gone, or the client was closed ({_said(error)})"
        if type(error).__name__ == "KilledWorker":
            return f"the same task was there when several workers died, most often for want of memory ({_said(error)})"
        return _said(error)


def _sealed(graph: Graph) -> Graph:
    """A graph in which what is of this package is opened by its tasks, and not on the way to them.

    A worker without the package could not read the message else, and would never answer. The scheduler needs none.
    """
    return {key: _sealed_task(task) for key, task in graph.items()}


def _sealed_task(task: Any) -> Any:
    if isinstance(task, tuple) and task and callable(task[0]):
        function, *args = task
        return (operator.call, (pickle.loads, cloudpickle.dumps(function)), *args) if _is_ours(function) else task
    return (pickle.loads, cloudpickle.dumps(task)) if _is_ours(type(task)) else task


def _is_ours(x: Any) -> bool:
    return str(getattr(x, "__module__", "")).partition(".")[0] == "tinygrad_dls"


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def missing_package(error: BaseException | None) -> str:
    """The package of ours that a worker lacks, as its error says; else nothing."""
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        name = getattr(error, "name", None) if isinstance(error, ModuleNotFoundError) else None
        for package in ("tinygrad_dls", "numpy", "cloudpickle"):
            if str(name or "").partition(".")[0] == package or f"No module named '{package}" in str(error):
                return package
        error = error.__cause__ or error.__context__
    return ""


def failed(run: Here | Cluster, error: Exception, steps: int) -> StepError:
    """The error for a step that failed for good, after so many whole ones."""
    if package := missing_package(error):
        cause = f"a worker lacks {package}. Install it there, in the version that is here: {install('dask')}"
    else:
        cause = run.failure(error)
    whole = f"{steps} whole step{'s' if steps != 1 else ''}"
    told = StepError(
        f"fit: a step failed for good, after {whole}: {cause}\nThe model is as the last whole step left it, and the "
        "epochs before are in this error's history attribute."
    )
    told.history = History()  # of no epoch, before the first one; the loop puts its own there
    return told


def runner(client: Any) -> Here | Cluster:
    """Who runs tasks: a client's cluster; or without one whom dask itself would ask.

    Raises
    ------
    TypeError
        If it is no client of `distributed`, or one that is to be awaited.
    ImportError
        If `distributed` is missing.
    """
    found = client
    if found is None:
        get = dask.base.get_scheduler()
        owner = getattr(get, "__self__", None)
        if not _is_client(owner):
            return Here(_threads() if get is None else get)
        found = owner
    if not _is_client(found):
        try:
            import distributed  # noqa: F401
        except ImportError as error:
            raise ImportError(f"client= needs distributed: {install('dask')}") from error
        raise TypeError(f"fit: client= takes a distributed.Client, got {shown(client)}.")
    if found.asynchronous:
        raise TypeError("fit: the client is asynchronous, and fit waits for each step. Pass a Client without it.")
    return Cluster(found)


def _is_client(x: Any) -> bool:
    distributed = sys.modules.get("distributed")
    return distributed is not None and isinstance(x, distributed.Client)


def _threads() -> Any:
    from dask.threaded import get

    return get
