"""The world: time, files, the environment, threads."""

import datetime as dt
import gc
import io
import linecache
import locale
import os
import random
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path

import numpy as np

from tests.compiler.stale_values.table import kind, later


def a_file(content):
    """The path of a new file with this content."""
    with tempfile.NamedTemporaryFile(delete=False, dir=_folder.name) as file:
        file.write(content)
    return file.name


_folder = tempfile.TemporaryDirectory()


@kind("os.environ", live=True)
def _environ():
    os.environ["STALE_K"] = "2"
    later(lambda: os.environ.pop("STALE_K"))
    return (lambda x: x * float(os.environ["STALE_K"])), (lambda: os.environ.update(STALE_K="3"))


@kind("os.getenv")
def _getenv():
    os.environ["STALE_K"] = "2"
    later(lambda: os.environ.pop("STALE_K"))
    return (lambda x: x * float(os.getenv("STALE_K"))), (lambda: os.environ.update(STALE_K="3"))


@kind("sys.argv")
def _argv():
    before = sys.argv[:]
    later(lambda: sys.argv.__setitem__(slice(None), before))
    sys.argv[1:] = ["2"]
    return (lambda x: x * float(sys.argv[1])), (lambda: sys.argv.__setitem__(1, "3"))


@kind("io.StringIO")
def _stringio():
    file = io.StringIO("2")
    return (lambda x: x * float(file.getvalue())), (lambda: file.write("3"))


@kind("io.BytesIO, by seek and read")
def _bytesio():
    file = io.BytesIO(b"2")

    def scale(x):
        file.seek(0)
        return x * float(file.read())

    return scale, (lambda: (file.seek(0), file.write(b"3")))


@kind("an open file")
def _open_file():
    path = a_file(b"2")
    file = open(path)  # noqa: SIM115
    later(file.close)

    def scale(x):
        file.seek(0)
        return x * float(file.read())

    return scale, (lambda: Path(path).write_text("3"))


@kind("the lines of an open file", moving=True)
def _lines():
    file = open(a_file(b"2\n" * 50 + b"3\n" * 9999))  # noqa: SIM115
    later(file.close)
    return (lambda x: x * float(next(file))), (lambda: next(line for line in file if line == "3\n"))


@kind("a file that is opened by its name")
def _path():
    path = Path(a_file(b"2"))
    return (lambda x: x * float(path.read_text())), (lambda: path.write_text("3"))


@kind("np.load of a file")
def _load():
    path = a_file(b"") + ".npy"
    np.save(path, 2.0)
    return (lambda x: x * float(np.load(path))), (lambda: np.save(path, 3.0))


@kind("the size of a file")
def _stat():
    path = a_file(b"22")
    return (lambda x: x * float(os.stat(path).st_size)), (lambda: Path(path).write_text("333"))


@kind("whether a file exists")
def _exists():
    path = Path(a_file(b""))
    return (lambda x: x * (2.0 if path.exists() else 3.0)), path.unlink


@kind("linecache")
def _linecache():
    path = a_file(b"2\n")
    linecache.clearcache()
    return (
        lambda x: x * float(linecache.getline(path, 1)),
        lambda: (Path(path).write_text("3\n"), linecache.clearcache()),
    )


@kind("time.monotonic")
def _time():
    end = time.monotonic() + 0.3

    def change():
        time.sleep(max(0, end - time.monotonic()))

    return (lambda x: x * (2.0 if time.monotonic() < end else 3.0)), change


@kind("datetime.datetime.now")
def _now():
    end = dt.datetime.now() + dt.timedelta(seconds=0.3)

    def change():
        while dt.datetime.now() < end:
            time.sleep(0.01)

    return (lambda x: x * (2.0 if dt.datetime.now() < end else 3.0)), change


@kind("random.random", moving=True)
def _random():
    random.seed(0)
    return (lambda x: x * (1 + random.random())), (lambda: None)


@kind("random.Random", moving=True)
def _own_random():
    draws = random.Random(0)
    return (lambda x: x * (1 + draws.random())), (lambda: None)


@kind("random.SystemRandom", moving=True)
def _system_random():
    draws = random.SystemRandom()
    return (lambda x: x * (1 + draws.random())), (lambda: None)


@kind("sys.getrecursionlimit")
def _recursion():
    limit = sys.getrecursionlimit()
    return (
        lambda x: x * (2.0 if sys.getrecursionlimit() == limit else 3.0),
        lambda: (sys.setrecursionlimit(limit + 1), later(lambda: sys.setrecursionlimit(limit))),
    )


@kind("gc.isenabled")
def _gc():
    gc.enable()
    return (
        lambda x: x * (2.0 if gc.isenabled() else 3.0),
        lambda: (gc.disable(), later(gc.enable)),
    )


@kind("warnings.filters")
def _warnings():
    before = list(warnings.filters)
    n = len(warnings.filters)

    def change():
        warnings.filters.append(("ignore", None, UserWarning, None, 10**6))
        later(lambda: warnings.filters.__setitem__(slice(None), before))

    return (lambda x: x * (2.0 if len(warnings.filters) == n else 3.0)), change


@kind("locale.localeconv")
def _locale():
    locale.setlocale(locale.LC_NUMERIC, "C")

    def change():
        locale.setlocale(locale.LC_NUMERIC, "C.UTF-8")
        later(lambda: locale.setlocale(locale.LC_NUMERIC, "C"))

    return (lambda x: x * (2.0 if locale.setlocale(locale.LC_NUMERIC) == "C" else 3.0)), change


@kind("os.getcwd")
def _cwd():
    here = os.getcwd()

    def change():
        os.chdir(_folder.name)
        later(lambda: os.chdir(here))

    return (lambda x: x * (2.0 if os.getcwd() == here else 3.0)), change


@kind("the number of threads")
def _threads():
    n, stop = threading.active_count(), threading.Event()

    def change():
        thread = threading.Thread(target=stop.wait)
        thread.start()
        later(lambda: (stop.set(), thread.join()))

    return (lambda x: x * (2.0 if threading.active_count() == n else 3.0)), change


@kind("the locals of a frame")
def _frame_locals():
    def waiting():
        k = 2.0
        while True:
            k = (yield k) or k

    g = waiting()
    next(g)
    return (lambda x: x * g.gi_frame.f_locals["k"]), (lambda: g.send(3.0))
