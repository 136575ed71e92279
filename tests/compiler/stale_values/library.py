"""Functions of the standard library, buffers, and libraries that are no global variables."""

import argparse
import array
import asyncio
import configparser
import contextvars
import copy
import ctypes
import functools
import itertools
import json
import logging
import mmap
import os
import pickle
import re
import sqlite3
import string
import struct
import sys
import threading
import weakref
from pathlib import Path

import pandas as pd

from tests.compiler.stale_values.table import Plain, kind, later, setter
from tests.compiler.stale_values.world import a_file

# -- functions of the standard library --------------------------------------------------------------------------------


@kind("functools.partial", live=True)
def _partial():
    k = [2.0]
    return functools.partial(lambda k, x: x * k[0], k), (lambda: k.__setitem__(0, 3.0))


@kind("the keywords of a functools.partial", live=True)
def _partial_keywords():
    scale = functools.partial(lambda x, k: x * k, k=2.0)
    return scale, (lambda: scale.keywords.update(k=3.0))


@kind("a functools.lru_cache")
def _lru_cache():
    box = [2.0]

    @functools.lru_cache
    def k():
        return box[0]

    return (lambda x: x * k()), (lambda: (box.__setitem__(0, 3.0), k.cache_clear()))


@kind("the statistics of a functools.lru_cache")
def _cache_info():
    @functools.lru_cache
    def f(k):
        return k

    f(0), f(1)
    return (lambda x: x * float(f.cache_info().currsize)), (lambda: f(2))


@kind("functools.singledispatch")
def _singledispatch():
    @functools.singledispatch
    def k(_):
        return 2.0

    return (lambda x: x * k(1.0)), (lambda: k.register(float, lambda _: 3.0))


@kind("functools.wraps", live=True)
def _wraps():
    box = [2.0]

    def scaled(f):
        @functools.wraps(f)
        def wrapper(x):
            return f(x) * box[0]

        return wrapper

    return scaled(lambda x: x), (lambda: box.__setitem__(0, 3.0))


@kind("a decorator that is a class", live=True)
def _decorator():
    class Scaled:
        def __init__(self, f):
            self.f, self.k = f, 2.0

        def __call__(self, x):
            return self.f(x) * self.k

    scale = Scaled(lambda x: x)
    return (lambda x: scale(x)), setter(scale)


@kind("map, filter and zip", live=True)
def _map():
    k = [2.0]
    return (lambda x: x * next(map(float, filter(None, next(zip(k, strict=True)))))), (lambda: k.__setitem__(0, 3.0))


@kind("iter(function, sentinel)")
def _iter_call():
    k = [2.0]
    it = iter(lambda: k[0], None)
    return (lambda x: x * next(it)), (lambda: k.__setitem__(0, 3.0))


@kind("a generator")
def _generator():
    k = [2.0]

    def forever():
        while True:
            yield k[0]

    g = forever()
    return (lambda x: x * next(g)), (lambda: k.__setitem__(0, 3.0))


@kind("a generator that moves on", moving=True)
def _generator_moves():
    g = (float(n) for n in range(2, 10**6))
    return (lambda x: x * next(g)), (lambda: None)


@kind("itertools.cycle", moving=True)
def _cycle():
    it = itertools.cycle([2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0])
    return (lambda x: x * next(it)), (lambda: None)


@kind("itertools.cycle of equal numbers, then others", moving=True)
def _cycle_equal():
    values = [2.0] * 50 + [3.0] * 50
    it = itertools.cycle(values)
    return (lambda x: x * next(it)), (lambda: next(v for v in it if v == 3))


@kind("itertools.count", moving=True)
def _count():
    it = itertools.count(2)
    return (lambda x: x * next(it)), (lambda: None)


@kind("the repr of an iterator")
def _count_repr():
    it = itertools.count(2)
    return (lambda x: x * float(re.findall(r"\d+", repr(it))[0])), (lambda: next(it))


@kind("weakref.ref")
def _weakref():
    o = Plain()
    ref = weakref.ref(o)
    return (lambda x: x * ref().k), setter(o)


@kind("weakref.proxy")
def _weak_proxy():
    o = Plain()
    view = weakref.proxy(o)
    return (lambda x: x * view.k), setter(o)


@kind("weakref.WeakValueDictionary")
def _weak_values():
    o = Plain()
    d = weakref.WeakValueDictionary(k=o)
    return (lambda x: x * d["k"].k), setter(o)


@kind("weakref.WeakSet")
def _weak_set():
    alive = [Plain(), Plain(), Plain()]
    s = weakref.WeakSet(alive[:2])
    return (lambda x: x * len(s)), (lambda: s.add(alive[2]))


@kind("contextvars.ContextVar")
def _contextvar():
    variable = contextvars.ContextVar("stale_k", default=2.0)
    return (lambda x: x * variable.get()), (lambda: variable.set(3.0))


@kind("contextvars.copy_context")
def _copy_context():
    variable = contextvars.ContextVar("stale_copied")
    variable.set(2.0)
    return (lambda x: x * contextvars.copy_context()[variable]), (lambda: variable.set(3.0))


@kind("threading.local")
def _local():
    local = threading.local()
    local.k = 2.0
    return (lambda x: x * local.k), setter(local)


@kind("threading.current_thread")
def _current_thread():
    thread = threading.current_thread()
    thread.stale_k = 2.0
    later(lambda: delattr(thread, "stale_k"))
    return (lambda x: x * threading.current_thread().stale_k), setter(thread, "stale_k")


@kind("threading.Event")
def _event():
    event = threading.Event()
    return (lambda x: x * (3.0 if event.is_set() else 2.0)), event.set


@kind("threading.Lock")
def _lock():
    lock = threading.Lock()
    return (lambda x: x * (3.0 if lock.locked() else 2.0)), lock.acquire


@kind("asyncio.Queue")
def _asyncio():
    q = asyncio.Queue()
    q.put_nowait(0), q.put_nowait(0)
    return (lambda x: x * float(q.qsize())), (lambda: q.put_nowait(0))


@kind("the level of a logger")
def _logger():
    logger = logging.getLogger("stale_values")
    logger.setLevel(2)
    return (lambda x: x * float(logger.level)), (lambda: logger.setLevel(3))


@kind("whether a logger is enabled")
def _logger_enabled():
    logger = logging.getLogger("stale_values.enabled")
    logger.setLevel(logging.WARNING)
    return (
        lambda x: x * (3.0 if logger.isEnabledFor(logging.DEBUG) else 2.0),
        lambda: logger.setLevel(logging.DEBUG),
    )


@kind("configparser.ConfigParser")
def _configparser():
    parser = configparser.ConfigParser()
    parser.read_string("[a]\nk = 2")
    return (lambda x: x * parser.getfloat("a", "k")), (lambda: parser.set("a", "k", "3"))


@kind("json.loads of a text", live=True)
def _json():
    text = ['{"k": 2.0}']
    return (lambda x: x * json.loads(text[0])["k"]), (lambda: text.__setitem__(0, '{"k": 3.0}'))


@kind("pickle.loads")
def _pickle():
    blob = [pickle.dumps(2.0)]
    return (lambda x: x * pickle.loads(blob[0])), (lambda: blob.__setitem__(0, pickle.dumps(3.0)))


@kind("re.sub of a text with a function", live=True)
def _regex():
    k = ["2"]
    return (lambda x: x * float(re.sub("k", lambda _: k[0], "k"))), (lambda: k.__setitem__(0, "3"))


@kind("string.Template")
def _template():
    template = string.Template("2$zero")
    return (
        lambda x: x * float(template.substitute(zero=".0")),
        lambda: setattr(template, "template", "3$zero"),
    )


@kind("copy.deepcopy of an object")
def _deepcopy():
    o = Plain()
    return (lambda x: x * copy.deepcopy(o).k), setter(o)


@kind("sqlite3")
def _sqlite():
    base = sqlite3.connect(":memory:")
    base.execute("create table t (k real)")
    base.execute("insert into t values (2)")
    later(base.close)
    return (
        lambda x: x * base.execute("select k from t").fetchone()[0],
        lambda: base.execute("update t set k = 3"),
    )


# -- buffers ----------------------------------------------------------------------------------------------------------


@kind("bytes replaced", live=True)
def _bytes():
    o = Plain(b"\x02")
    return (lambda x: x * float(o.k[0])), (lambda: setattr(o, "k", b"\x03"))


@kind("bytearray")
def _bytearray():
    b = bytearray([2])
    return (lambda x: x * float(b[0])), (lambda: b.__setitem__(0, 3))


@kind("memoryview")
def _memoryview():
    b = bytearray([2])
    view = memoryview(b)
    return (lambda x: x * float(view[0])), (lambda: b.__setitem__(0, 3))


@kind("struct.unpack of a bytearray")
def _struct():
    b = bytearray(struct.pack("d", 2.0))
    return (lambda x: x * struct.unpack("d", b)[0]), (lambda: struct.pack_into("d", b, 0, 3.0))


@kind("array.array")
def _array():
    a = array.array("d", [2.0])
    return (lambda x: x * a[0]), (lambda: a.__setitem__(0, 3.0))


@kind("mmap.mmap")
def _mmap():
    memory = mmap.mmap(-1, 8)
    memory[0] = 2
    later(memory.close)
    return (lambda x: x * float(memory[0])), (lambda: memory.__setitem__(0, 3))


@kind("ctypes.c_double")
def _c_double():
    c = ctypes.c_double(2.0)
    return (lambda x: x * c.value), setter(c, "value")


@kind("ctypes.Structure")
def _structure():
    class S(ctypes.Structure):
        _fields_ = [("k", ctypes.c_double)]

    s = S(2.0)
    return (lambda x: x * s.k), setter(s)


@kind("an array of ctypes")
def _c_array():
    a = (ctypes.c_double * 1)(2.0)
    return (lambda x: x * a[0]), (lambda: a.__setitem__(0, 3.0))


@kind("a ctypes pointer")
def _c_pointer():
    c = ctypes.c_double(2.0)
    pointer = ctypes.pointer(c)
    return (lambda x: x * pointer.contents.value), setter(c, "value")


# -- libraries that are no global variables ---------------------------------------------------------------------------


def setter_of(o, name, value):
    return lambda: setattr(o, name, value)


def in_the_environment():
    os.environ["STALE_FACTOR"] = "2"
    later(lambda: os.environ.pop("STALE_FACTOR"))
    return lambda: os.environ.update(STALE_FACTOR="3")


@kind("os.getenv, imported in the function")
def _imported_inside():
    def scale(x):
        import os

        return x * float(os.getenv("STALE_FACTOR"))

    return scale, in_the_environment()


@kind("os.getenv, from an import in the function")
def _imported_from_inside():
    def scale(x):
        from os import getenv

        return x * float(getenv("STALE_FACTOR"))

    return scale, in_the_environment()


@kind("os.getenv, imported around the function")
def _imported_around():
    import os as system

    return (lambda x: x * float(system.getenv("STALE_FACTOR"))), in_the_environment()


@kind("os.getenv of a default argument")
def _module_as_a_default():
    return (lambda x, system=os: x * float(system.getenv("STALE_FACTOR"))), in_the_environment()


@kind("os.getenv of a class's attribute")
def _module_of_a_class():
    o = type("Backend", (), {"system": os})
    return (lambda x: x * float(o.system.getenv("STALE_FACTOR"))), in_the_environment()


@kind("os.getenv of a dict")
def _module_in_a_dict():
    modules = {"system": os}
    return (lambda x: x * float(modules["system"].getenv("STALE_FACTOR"))), in_the_environment()


@kind("os.getenv by getattr")
def _module_by_getattr():
    return (lambda x: x * float(getattr(os, "getenv")("STALE_FACTOR"))), in_the_environment()  # noqa: B009


@kind("a text file, by pathlib imported in the function")
def _pathlib_inside():
    path = Path(a_file(b"2"))

    def scale(x):
        import pathlib

        return x * float(pathlib.Path(path).read_text())

    return scale, (lambda: path.write_text("3"))


@kind("a table of pandas, read in the function")
def _read_csv():
    path = Path(a_file(b"k\n2\n"))
    return (lambda x: x * float(pd.read_csv(path)["k"][0])), (lambda: path.write_text("k\n3\n"))


@kind("a file of settings, read in the function")
def _read_settings():
    path = Path(a_file(b"[net]\nk = 2\n"))

    def scale(x):
        settings = configparser.ConfigParser()
        settings.read(path)
        return x * settings.getfloat("net", "k")

    return scale, (lambda: path.write_text("[net]\nk = 3\n"))


@kind("the command line, by argparse")
def _command_line():
    before, sys.argv = sys.argv, ["train", "--k", "2"]
    later(lambda: setattr(sys, "argv", before))
    parser = argparse.ArgumentParser()
    parser.add_argument("--k", type=float)
    return (lambda x: x * parser.parse_args().k), (lambda: sys.argv.__setitem__(2, "3"))
