"""Clusters of a few small processes on this machine."""

import contextlib
import logging
import os
import signal
import warnings

import dask
from distributed import Client, LocalCluster

QUIET = {
    "distributed.admin.tick.interval": "1h",  # it warns where a noisy machine is slow
    "distributed.comm.timeouts.connect": "5s",
    "distributed.worker.memory.terminate": False,
}


@contextlib.contextmanager
def cluster(n_workers=2, threads=1, config=(), **options):
    """A cluster's client, with its cluster; what it says of workers that die is not shown."""
    with dask.config.set(QUIET | dict(config)), warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # of sockets of processes that were killed
        with (
            LocalCluster(n_workers=n_workers, threads_per_worker=threads, dashboard_address=":0",
                         silence_logs=logging.CRITICAL, **options) as local,
            Client(local, set_as_default=False) as client,
        ):  # fmt: skip
            yield client


def pids(client):
    """The process of each worker."""
    return list(client.run(os.getpid).values())


def dies_once(path):
    """A function that kills the process that calls it, at the first call of all; a file says that it was called."""

    def die():
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return
        os.kill(os.getpid(), signal.SIGKILL)

    return die
