"""Where a model or a loss may read a number from, each with a way to change that number behind the reader's back.

`KINDS` maps a name to a function that makes a fresh pair ``(scale, change)``: ``scale(x)`` is x times a factor that is
read from an object of this kind, and ``change()`` makes it another one. A recorded program that has seen ``scale`` once
must either notice the change or have refused to be recorded: a number from before the change is wrong, in silence.

The factor is 2 before and 3 after, unless the kind itself says otherwise (the time, random draws).
"""

import abc
import argparse
import array
import asyncio
import builtins
import collections
import configparser
import contextlib
import contextvars
import copy
import ctypes
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import functools
import gc
import heapq
import importlib
import inspect
import io
import itertools
import json
import linecache
import locale
import logging
import mmap
import operator
import os
import pickle
import queue
import random
import re
import sqlite3
import string
import struct
import sys
import tempfile
import threading
import time
import types
import warnings
import weakref
from pathlib import Path

import numpy as np
import pandas as pd

import tinygrad_dls as tg

KINDS = {}
LIVE = set()  # kinds of plain Python, as in most programs: their changes are seen, and they are never refused
MOVING = set()  # kinds in which reading alone changes what is read next
_undo = []


def kind(name, live=False, moving=False):
    """Add a kind."""

    def add(make):
        assert name not in KINDS, name
        KINDS[name] = make
        if live:
            LIVE.add(name)
        if moving:
            MOVING.add(name)
        return make

    return add


def put_back():
    """Undo what the kinds have done to the process, and close what they opened."""
    while _undo:
        _undo.pop()()


def later(undo):
    """Have `put_back` call this."""
    _undo.append(undo)


class Plain:
    """An object with a number."""

    def __init__(self, k=2.0):
        self.k = k


def setter(o, name="k"):
    return lambda: setattr(o, name, 3.0)


# -- variables --------------------------------------------------------------------------------------------------------

FACTOR = 2.0


@kind("a global variable", live=True)
def _global():
    globals()["FACTOR"] = 2.0
    return (lambda x: x * FACTOR), (lambda: globals().update(FACTOR=3.0))


@kind("globals() by name")
def _globals_call():
    globals()["FACTOR"] = 2.0
    return (lambda x: x * globals()["FACTOR"]), (lambda: globals().update(FACTOR=3.0))


@kind("a variable of the function around it", live=True)
def _closure():
    k = 2.0

    def change():
        nonlocal k
        k = 3.0

    return (lambda x: x * k), change


@kind("a closure's cell, by hand")
def _cell():
    k = 2.0

    def inner():
        return k

    def change():
        inner.__closure__[0].cell_contents = 3.0

    return (lambda x: x * inner.__closure__[0].cell_contents), change


@kind("a default argument", live=True)
def _default():
    def scale(x, k=2.0):
        return x * k

    return scale, (lambda: setattr(scale, "__defaults__", (3.0,)))


@kind("a default argument that is a list", live=True)
def _mutable_default():
    def scale(x, k=[2.0]):  # noqa: B006
        return x * k[0]

    return scale, (lambda: scale.__defaults__[0].__setitem__(0, 3.0))


@kind("a default of a keyword", live=True)
def _keyword_default():
    def scale(x, *, k=2.0):
        return x * k

    return scale, (lambda: setattr(scale, "__kwdefaults__", {"k": 3.0}))


@kind("the code of a function")
def _code():
    def factor():
        return 2.0

    def other():
        return 3.0

    return (lambda x: x * factor()), (lambda: setattr(factor, "__code__", other.__code__))


@kind("an attribute of a function")
def _function_attribute():
    def scale(x):
        return x * scale.k

    scale.k = 2.0
    return scale, setter(scale)


@kind("a function's __dict__")
def _function_dict():
    def scale(x):
        return x * scale.__dict__["k"]

    scale.k = 2.0
    return scale, setter(scale)


@kind("a function's annotations")
def _annotations():
    def scale(x):
        return x * scale.__annotations__["k"]

    scale.__annotations__["k"] = 2.0
    return scale, (lambda: scale.__annotations__.update(k=3.0))


@kind("a function's docstring")
def _docstring():
    def scale(x):
        return x * float(scale.__doc__)

    scale.__doc__ = "2"
    return scale, (lambda: setattr(scale, "__doc__", "3"))


@kind("inspect.signature")
def _signature():
    def other(k=2.0):
        return k

    return (
        lambda x: x * inspect.signature(other).parameters["k"].default,
        lambda: setattr(other, "__defaults__", (3.0,)),
    )


@kind("the globals of an exec'd function", live=True)
def _executed():
    space = {"k": 2.0}
    exec("def scale(x):\n    return x * k", space)
    return space["scale"], (lambda: space.update(k=3.0))


@kind("eval of a text")
def _evaluated():
    space = {"k": 2.0}
    return (lambda x: x * eval("k", space)), (lambda: space.update(k=3.0))


@kind("a nested function", live=True)
def _nested():
    k = [2.0]

    def outer():
        def inner():
            return k[0]

        return inner()

    return (lambda x: x * outer()), (lambda: k.__setitem__(0, 3.0))


@kind("a builtin of one's own")
def _builtin():
    builtins.stale_factor = 2.0
    later(lambda: delattr(builtins, "stale_factor"))
    return (lambda x: x * stale_factor), setter(builtins, "stale_factor")  # noqa: F821


@kind("a comprehension", live=True)
def _comprehension():
    k = [1.0, 1.0]
    return (lambda x: x * sum([v for v in k])), (lambda: k.__setitem__(0, 2.0))  # noqa: C416


@kind("a lambda in a dict", live=True)
def _lambda_in_dict():
    table = {"k": lambda: 2.0}
    return (lambda x: x * table["k"]()), (lambda: table.update(k=lambda: 3.0))


# -- modules ----------------------------------------------------------------------------------------------------------


def a_module():
    module = types.ModuleType("stale_settings")
    module.k = 2.0
    sys.modules["stale_settings"] = module
    later(lambda: sys.modules.pop("stale_settings"))
    return module


@kind("a module's attribute", live=True)
def _module():
    module = a_module()
    return (lambda x: x * module.k), setter(module)


@kind("an import inside the function")
def _import():
    module = a_module()

    def scale(x):
        import stale_settings

        return x * stale_settings.k

    return scale, setter(module)


@kind("from module import k inside the function")
def _import_from():
    module = a_module()

    def scale(x):
        from stale_settings import k

        return x * k

    return scale, setter(module)


@kind("importlib.import_module")
def _import_module():
    module = a_module()
    return (lambda x: x * importlib.import_module("stale_settings").k), setter(module)


@kind("sys.modules")
def _sys_modules():
    module = a_module()
    return (lambda x: x * sys.modules["stale_settings"].k), setter(module)


@kind("vars(module)")
def _vars_module():
    module = a_module()
    return (lambda x: x * vars(module)["k"]), setter(module)


@kind("a module's __getattr__")
def _module_getattr():
    module, box = types.ModuleType("stale_lazy"), [2.0]
    module.__getattr__ = lambda _: box[0]
    return (lambda x: x * module.k), (lambda: box.__setitem__(0, 3.0))


# -- attributes of objects --------------------------------------------------------------------------------------------


@kind("an object's attribute", live=True)
def _attribute():
    o = Plain()
    return (lambda x: x * o.k), setter(o)


@kind("argparse.Namespace")
def _namespace():
    o = argparse.Namespace(k=2.0)
    return (lambda x: x * o.k), setter(o)


@kind("types.SimpleNamespace", live=True)
def _simple_namespace():
    o = types.SimpleNamespace(k=2.0)
    return (lambda x: x * o.k), setter(o)


@kind("getattr with a name")
def _getattr():
    o = Plain()
    return (lambda x: x * getattr(o, "k")), setter(o)  # noqa: B009


@kind("getattr with a computed name")
def _getattr_computed():
    o, names = types.SimpleNamespace(rate_1=2.0), ["rate", "1"]
    return (lambda x: x * getattr(o, "_".join(names))), setter(o, "rate_1")


@kind("hasattr")
def _hasattr():
    o = types.SimpleNamespace()
    return (lambda x: x * (3.0 if hasattr(o, "fl" + "ag") else 2.0)), setter(o, "flag")


@kind("vars(object)")
def _vars():
    o = Plain()
    return (lambda x: x * vars(o)["k"]), setter(o)


@kind("object.__dict__")
def _dict_of_object():
    o = Plain()
    return (lambda x: x * o.__dict__["k"]), setter(o)


@kind("operator.attrgetter")
def _attrgetter():
    o, get = Plain(), operator.attrgetter("k")
    return (lambda x: x * get(o)), setter(o)


@kind("operator.attrgetter of a path")
def _attrgetter_path():
    o, get = types.SimpleNamespace(a=types.SimpleNamespace(b=2.0)), operator.attrgetter("a.b")
    return (lambda x: x * get(o)), setter(o.a, "b")


@kind("operator.methodcaller")
def _methodcaller():
    class O(Plain):  # noqa: E742
        def get(self):
            return self.k

    o, call = O(), operator.methodcaller("get")
    return (lambda x: x * call(o)), setter(o)


@kind("functools.reduce(getattr, path)")
def _reduced():
    o = types.SimpleNamespace(a=types.SimpleNamespace(b=2.0))
    return (lambda x: x * functools.reduce(getattr, ["a", "b"], o)), setter(o.a, "b")


@kind("__slots__", live=True)
def _slots():
    class O:  # noqa: E742
        __slots__ = ("k",)

    o = O()
    o.k = 2.0
    return (lambda x: x * o.k), setter(o)


@kind("a class's attribute", live=True)
def _class_attribute():
    class O:  # noqa: E742
        k = 2.0

    return (lambda x: x * O.k), setter(O)


@kind("a class's attribute through an instance", live=True)
def _class_attribute_of_instance():
    class O:  # noqa: E742
        k = 2.0

    o = O()
    return (lambda x: x * o.k), setter(O)


@kind("an inherited attribute", live=True)
def _inherited():
    class Base:
        k = 2.0

    class O(Base):  # noqa: E742
        pass

    o = O()
    return (lambda x: x * o.k), setter(Base)


@kind("the bases of a class")
def _bases():
    class A:
        k = 2.0

    class B:
        k = 3.0

    class O(A):  # noqa: E742
        pass

    o = O()
    return (lambda x: x * o.k), (lambda: setattr(O, "__bases__", (B,)))


@kind("the class of an object")
def _class_of_object():
    class A:
        k = 2.0

    class B:
        k = 3.0

    o = A()
    return (lambda x: x * o.k), (lambda: setattr(o, "__class__", B))


@kind("a metaclass's attribute")
def _metaclass():
    class Meta(type):
        k = 2.0

    class O(metaclass=Meta):  # noqa: E742
        pass

    return (lambda x: x * O.k), setter(Meta)


@kind("a metaclass's property")
def _metaclass_property():
    box = [2.0]

    class Meta(type):
        @property
        def k(cls):
            return box[0]

    class O(metaclass=Meta):  # noqa: E742
        pass

    return (lambda x: x * O.k), (lambda: box.__setitem__(0, 3.0))


@kind("a property", live=True)
def _property():
    class O:  # noqa: E742
        def __init__(self):
            self._k = 2.0

        @property
        def k(self):
            return self._k

    o = O()
    return (lambda x: x * o.k), setter(o, "_k")


@kind("functools.cached_property")
def _cached_property():
    class O:  # noqa: E742
        @functools.cached_property
        def k(self):
            return 2.0

    o = O()
    return (lambda x: x * o.k), (lambda: vars(o).update(k=3.0))


@kind("a descriptor")
def _descriptor():
    class Stored:
        def __set_name__(self, owner, name):
            self.name = "_" + name

        def __get__(self, o, owner=None):
            return getattr(o, self.name)

    class O:  # noqa: E742
        k = Stored()

    o = O()
    o._k = 2.0
    return (lambda x: x * o.k), setter(o, "_k")


@kind("a descriptor that keeps the value itself")
def _descriptor_of_its_own():
    class Stored:
        value = 2.0

        def __get__(self, o, owner=None):
            return self.value

    class O:  # noqa: E742
        k = Stored()

    o, stored = O(), vars(O)["k"]
    return (lambda x: x * o.k), setter(stored, "value")


@kind("a class's method replaced", live=True)
def _method_replaced():
    class O:  # noqa: E742
        def k(self):
            return 2.0

    o = O()
    return (lambda x: x * o.k()), (lambda: setattr(O, "k", lambda self: 3.0))


@kind("an object's method replaced", live=True)
def _method_of_object_replaced():
    class O:  # noqa: E742
        def k(self):
            return 2.0

    o = O()
    return (lambda x: x * o.k()), (lambda: setattr(o, "k", lambda: 3.0))


@kind("a static method and a class method", live=True)
def _static():
    class O:  # noqa: E742
        k = 1.0

        @staticmethod
        def two():
            return 2.0

        @classmethod
        def own(cls):
            return cls.k

    return (lambda x: x * (O.two() * O.own())), (lambda: setattr(O, "k", 1.5))


@kind("super()", live=True)
def _super():
    class Base:
        def k(self):
            return 2.0

    class O(Base):  # noqa: E742
        def k(self):
            return super().k()

    o = O()
    return (lambda x: x * o.k()), (lambda: setattr(Base, "k", lambda self: 3.0))


@kind("functools.partialmethod")
def _partialmethod():
    class O:  # noqa: E742
        def get(self, name):
            return self.__dict__[name]

        k = functools.partialmethod(get, "value")

    o = O()
    o.value = 2.0
    return (lambda x: x * o.k()), setter(o, "value")


@kind("isinstance of a class that is registered later")
def _registered():
    class Triple(metaclass=abc.ABCMeta):  # noqa: B024
        pass

    class O:  # noqa: E742
        pass

    o = O()
    return (lambda x: x * (3.0 if isinstance(o, Triple) else 2.0)), (lambda: Triple.register(O))


@kind("the name of a class")
def _class_name():
    class O2:
        pass

    o = O2()
    return (lambda x: x * float(type(o).__name__[1:])), (lambda: setattr(O2, "__name__", "O3"))


@kind("a pattern of match")
def _match():
    o = Plain()

    def scale(x):
        match o:
            case Plain(k=k):
                return x * k

    return scale, setter(o)


@kind("an exception's argument")
def _exception():
    error = ValueError(2.0)

    def scale(x):
        try:
            raise error
        except ValueError as caught:
            return x * caught.args[0]

    return scale, (lambda: setattr(error, "args", (3.0,)))


# -- the protocols of a user's class ----------------------------------------------------------------------------------


def of(name, method):
    """An object of a class with this special method, which sees the object's k."""
    return type("User", (Plain,), {name: method})()


PROTOCOLS = {
    "__getattr__": (lambda self, name: vars(self)["k"], lambda o: o.other),
    "__getattribute__": (lambda self, name: object.__getattribute__(self, "k"), lambda o: o.other),
    "__getitem__": (lambda self, i: self.k, lambda o: o[0]),
    "__iter__": (lambda self: iter([self.k]), lambda o: next(iter(o))),
    "__len__": (lambda self: int(self.k), len),
    "__float__": (lambda self: self.k, float),
    "__int__": (lambda self: int(self.k), int),
    "__index__": (lambda self: int(self.k), operator.index),
    "__complex__": (lambda self: complex(self.k), lambda o: complex(o).real),
    "__bool__": (lambda self: self.k > 2, lambda o: 3.0 if o else 2.0),
    "__eq__": (lambda self, other: self.k == 2, lambda o: 2.0 if o == 0 else 3.0),
    "__lt__": (lambda self, other: self.k < 3, lambda o: 2.0 if o < 0 else 3.0),
    "__contains__": (lambda self, other: self.k == 2, lambda o: 2.0 if 0 in o else 3.0),
    "__call__": (lambda self: self.k, lambda o: o()),
    "__neg__": (lambda self: -self.k, lambda o: abs(-o)),
    "__abs__": (lambda self: self.k, abs),
    "__round__": (lambda self: self.k, round),
    "__add__": (lambda self, other: self.k + other, lambda o: o + 0),
    "__str__": (lambda self: str(self.k), lambda o: float(str(o))),
    "__format__": (lambda self, how: str(self.k), lambda o: float(f"{o}")),
    "__hash__": (lambda self: int(self.k), lambda o: float(hash(o))),
    "__reversed__": (lambda self: iter([self.k]), lambda o: next(reversed(o))),
    "__length_hint__": (lambda self: int(self.k), lambda o: float(operator.length_hint(o))),
    "__dir__": (lambda self: ["k"] * int(self.k), lambda o: float(len(dir(o)))),
    "__copy__": (lambda self: self.k, copy.copy),
}


def protocol(name, method, read):
    def make():
        o = of(name, method)
        return (lambda x: x * read(o)), setter(o)

    return make


for name, (method, read) in PROTOCOLS.items():
    kind(f"{name} of a user's class")(protocol(name, method, read))


@kind("a context manager of a user's class")
def _context_manager():
    class O(Plain):  # noqa: E742
        def __enter__(self):
            return self.k

        def __exit__(self, *_):
            pass

    o = O()

    def scale(x):
        with o as k:
            return x * k

    return scale, setter(o)


@kind("contextlib.contextmanager", live=True)
def _contextmanager():
    box = [2.0]

    @contextlib.contextmanager
    def given():
        yield box[0]

    def scale(x):
        with given() as k:
            return x * k

    return scale, (lambda: box.__setitem__(0, 3.0))


@kind("__missing__ of a dict's subclass")
def _missing():
    class D(dict):
        k = 2.0

        def __missing__(self, key):
            return self.k

    d = D()
    return (lambda x: x * d["any"]), setter(d)


@kind("__getitem__ of a dict's subclass")
def _dict_subclass():
    class D(dict):
        def __getitem__(self, key):
            return self.other

    d = D(k=0.0)
    d.other = 2.0
    return (lambda x: x * d["k"]), setter(d, "other")


@kind("a dict whose attributes are its items", live=True)
def _attribute_dict():
    class D(dict):
        __getattr__ = dict.__getitem__

    d = D(k=2.0)
    return (lambda x: x * d.k), (lambda: d.update(k=3.0))


@kind("__class_getitem__")
def _class_getitem():
    class O:  # noqa: E742
        k = 2.0

        def __class_getitem__(cls, i):
            return cls.k

    return (lambda x: x * O[0]), setter(O)


@kind("__instancecheck__")
def _instancecheck():
    class Meta(type):
        k = 2.0

        def __instancecheck__(cls, o):
            return cls.k > 2

    class O(metaclass=Meta):  # noqa: E742
        pass

    return (lambda x: x * (3.0 if isinstance(0, O) else 2.0)), setter(Meta)


@kind("__mul__ of a user's class")
def _mul():
    class O(Plain):  # noqa: E742
        def __mul__(self, x):
            return x * self.k

    o = O()
    return (lambda x: o * x), setter(o)


@kind("__rsub__ of a user's class")
def _rsub():
    class O(Plain):  # noqa: E742
        def __rsub__(self, one):
            return one + self.k

    o = O()
    return (lambda x: x * (0 - o)), setter(o)


@kind("__new__ of a user's class")
def _new():
    class O(float):  # noqa: E742
        k = 2.0

        def __new__(cls):
            return float.__new__(cls, cls.k)

    return (lambda x: x * O()), setter(O)


@kind("a subclass of float with an attribute")
def _float_subclass():
    class O(float):  # noqa: E742
        pass

    o = O(1.0)
    o.k = 2.0
    return (lambda x: x * (o * o.k)), setter(o)


@kind("a class's __call__ replaced")
def _call_replaced():
    class O:  # noqa: E742
        def __call__(self, x):
            return x * 2.0

    return O(), (lambda: setattr(O, "__call__", lambda self, x: x * 3.0))


@kind("a subclass's __iter__ of a list")
def _list_subclass():
    class L(list):
        k = 2.0

        def __iter__(self):
            return iter([self.k])

    values = L([0.0])
    return (lambda x: x * next(iter(values))), setter(values)


# -- containers -------------------------------------------------------------------------------------------------------


@kind("a list", live=True)
def _list():
    k = [2.0]
    return (lambda x: x * k[0]), (lambda: k.__setitem__(0, 3.0))


@kind("the length of a list", live=True)
def _length():
    k = [0, 0]
    return (lambda x: x * len(k)), (lambda: k.append(0))


@kind("whether a list is empty", live=True)
def _empty():
    k = []
    return (lambda x: x * (3.0 if k else 2.0)), (lambda: k.append(0))


@kind("a dict", live=True)
def _dict():
    d = {"k": 2.0}
    return (lambda x: x * d["k"]), (lambda: d.update(k=3.0))


@kind("a nested dict", live=True)
def _nested_dict():
    d = {"a": [{"k": (2.0,)}]}
    return (lambda x: x * d["a"][0]["k"][0]), (lambda: d["a"][0].update(k=(3.0,)))


@kind("the order of a dict")
def _order():
    d = {"a": 2.0, "b": 3.0}
    return (lambda x: x * next(iter(d.values()))), (lambda: d.update(a=d.pop("a")))


@kind("the length of a dict", live=True)
def _dict_length():
    d = {1: 1, 2: 2}
    return (lambda x: x * len(d)), (lambda: d.update({3: 3}))


@kind("d.get, bound before")
def _get():
    d = {"k": 2.0}
    get = d.get
    return (lambda x: x * get("k")), (lambda: d.update(k=3.0))


@kind("list.__getitem__, bound before")
def _bound_getitem():
    k = [2.0]
    get = k.__getitem__
    return (lambda x: x * get(0)), (lambda: k.__setitem__(0, 3.0))


@kind("d.items(), made before")
def _items():
    d = {"k": 2.0}
    items = d.items()
    return (lambda x: x * dict(items)["k"]), (lambda: d.update(k=3.0))


@kind("d.values() and d.keys(), made before")
def _values():
    d = {1.0: 2.0}
    pair = d.values(), d.keys()
    return (lambda x: x * (sum(pair[0]) * len(pair[1]))), (lambda: d.update({1.0: 3.0}))


@kind("operator.itemgetter", live=True)
def _itemgetter():
    d, get = {"k": 2.0}, operator.itemgetter("k")
    return (lambda x: x * get(d)), (lambda: d.update(k=3.0))


@kind("a dict as keyword arguments", live=True)
def _keywords():
    d = {"k": 2.0}

    def product(x, k):
        return x * k

    return (lambda x: product(x, **d)), (lambda: d.update(k=3.0))


@kind("a set", live=True)
def _set():
    s = {1, 2}
    return (lambda x: x * float(len(s))), (lambda: s.add(3))


@kind("membership in a set", live=True)
def _membership():
    s = {"two"}
    return (lambda x: x * (2.0 if "two" in s else 3.0)), s.clear


@kind("a frozenset replaced", live=True)
def _frozenset():
    o = Plain(frozenset({2.0}))
    return (lambda x: x * max(o.k)), (lambda: setattr(o, "k", frozenset({3.0})))


@kind("a tuple replaced", live=True)
def _tuple():
    o = Plain((2.0,))
    return (lambda x: x * o.k[0]), (lambda: setattr(o, "k", (3.0,)))


@kind("a dict with keys that are objects")
def _object_keys():
    key = Plain()
    d = {key: 0}
    return (lambda x: x * next(iter(d)).k), setter(key)


@kind("a list that holds itself", live=True)
def _cyclic():
    k = [2.0]
    k.append(k)
    return (lambda x: x * k[1][1][0]), (lambda: k.__setitem__(0, 3.0))


@kind("collections.deque")
def _deque():
    d = collections.deque([2.0])
    return (lambda x: x * d[0]), (lambda: d.appendleft(3.0))


@kind("collections.UserDict")
def _userdict():
    d = collections.UserDict(k=2.0)
    return (lambda x: x * d["k"]), (lambda: d.update(k=3.0))


@kind("collections.UserList")
def _userlist():
    k = collections.UserList([2.0])
    return (lambda x: x * k[0]), (lambda: k.__setitem__(0, 3.0))


@kind("collections.UserString")
def _userstring():
    s = collections.UserString("2")
    return (lambda x: x * float(str(s))), (lambda: setattr(s, "data", "3"))


@kind("collections.ChainMap")
def _chainmap():
    front = {}
    d = collections.ChainMap(front, {"k": 2.0})
    return (lambda x: x * d["k"]), (lambda: front.update(k=3.0))


@kind("collections.Counter", live=True)
def _counter():
    d = collections.Counter("aa")
    return (lambda x: x * d["a"]), (lambda: d.update("a"))


@kind("collections.OrderedDict", live=True)
def _ordered():
    d = collections.OrderedDict(a=2.0, b=3.0)
    return (lambda x: x * next(iter(d.values()))), (lambda: d.move_to_end("a"))


@kind("collections.defaultdict")
def _defaultdict():
    d = collections.defaultdict(lambda: 2.0)
    return (lambda x: x * d["k"]), (lambda: d.update(k=3.0))


@kind("the factory of a defaultdict")
def _factory():
    box = [2.0]
    d = collections.defaultdict(lambda: box[0])

    def scale(x):
        k = d["k"]
        d.clear()
        return x * k

    return scale, (lambda: box.__setitem__(0, 3.0))


@kind("a namedtuple replaced", live=True)
def _namedtuple():
    o = Plain(collections.namedtuple("Options", "k")(2.0))
    return (lambda x: x * o.k.k), (lambda: setattr(o, "k", o.k._replace(k=3.0)))


@kind("types.MappingProxyType")
def _proxy():
    d = {"k": 2.0}
    view = types.MappingProxyType(d)
    return (lambda x: x * view["k"]), (lambda: d.update(k=3.0))


@kind("heapq", live=True)
def _heap():
    h = [3.0]
    heapq.heappush(h, 2.0)
    return (lambda x: x * h[0]), (lambda: heapq.heappop(h))


@kind("queue.Queue")
def _queue():
    q = queue.Queue()
    q.put(2.0)
    return (lambda x: x * q.queue[0]), (lambda: q.queue.appendleft(3.0))


@kind("the size of a queue")
def _qsize():
    q = queue.SimpleQueue()
    q.put(0), q.put(0)
    return (lambda x: x * float(q.qsize())), (lambda: q.put(0))


@kind("sorted, max and sum of a list", live=True)
def _builtins_of_list():
    k = [2.0, 0.0]
    return (lambda x: x * (sorted(k)[-1] + max(k) + sum(k)) / 3), (lambda: k.__setitem__(0, 3.0))


# -- dataclasses, enums, other records --------------------------------------------------------------------------------


@dataclasses.dataclass
class Options:
    k: float = 2.0


@kind("a dataclass", live=True)
def _dataclass():
    o = Options()
    return (lambda x: x * o.k), setter(o)


@kind("dataclasses.asdict")
def _asdict():
    o = Options()
    return (lambda x: x * dataclasses.asdict(o)["k"]), setter(o)


@kind("dataclasses.astuple")
def _astuple():
    o = Options()
    return (lambda x: x * dataclasses.astuple(o)[0]), setter(o)


@kind("dataclasses.fields")
def _fields():
    o = Options()
    return (lambda x: x * sum(getattr(o, field.name) for field in dataclasses.fields(o))), setter(o)


@kind("a frozen dataclass, forced", live=True)
def _frozen():
    @dataclasses.dataclass(frozen=True)
    class Frozen:
        k: float = 2.0

    o = Frozen()
    return (lambda x: x * o.k), (lambda: object.__setattr__(o, "k", 3.0))


@kind("equality of dataclasses")
def _equal_dataclasses():
    o, two = Options(), Options()
    return (lambda x: x * (2.0 if o == two else 3.0)), (lambda: setattr(o, "k", 0.0))


@kind("an enum's member replaced", live=True)
def _enum():
    class Mode(enum.Enum):
        TWO = 2.0
        THREE = 3.0

    o = Plain(Mode.TWO)
    return (lambda x: x * o.k.value), (lambda: setattr(o, "k", Mode.THREE))


@kind("a list as an enum's value")
def _enum_list():
    class Mode(enum.Enum):
        K = [2.0]  # noqa: RUF012

    return (lambda x: x * Mode.K.value[0]), (lambda: Mode.K.value.__setitem__(0, 3.0))


@kind("an attribute of an enum's member", live=True)
def _enum_attribute():
    class Mode(enum.Enum):
        K = 1

    Mode.K.weight = 2.0
    return (lambda x: x * Mode.K.weight), setter(Mode.K, "weight")


@kind("fractions.Fraction replaced", live=True)
def _fraction():
    o = Plain(fractions.Fraction(2))
    return (lambda x: x * float(o.k)), (lambda: setattr(o, "k", fractions.Fraction(3)))


@kind("decimal.Decimal replaced", live=True)
def _decimal():
    o = Plain(decimal.Decimal("2"))
    return (lambda x: x * float(o.k)), (lambda: setattr(o, "k", decimal.Decimal("3")))


@kind("decimal's context")
def _decimal_context():
    later(functools.partial(decimal.setcontext, decimal.getcontext()))
    decimal.setcontext(decimal.Context(prec=2))
    return (lambda x: x * float(decimal.getcontext().prec)), (lambda: setattr(decimal.getcontext(), "prec", 3))


@kind("a complex number and a string replaced", live=True)
def _complex_and_text():
    o = types.SimpleNamespace(c=2 + 0j, s="1")
    return (lambda x: x * (o.c.real * float(o.s))), (lambda: (setattr(o, "c", 1.5 + 0j), setattr(o, "s", "2")))


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


# -- NumPy and pandas -------------------------------------------------------------------------------------------------


@kind("an array", live=True)
def _ndarray():
    a = np.array([[2.0]])
    return (lambda x: x * a), (lambda: a.fill(3.0))


@kind("an entry of an array as a number", live=True)
def _entry():
    a = np.array([2.0, 0.0])
    return (lambda x: x * float(a[0])), (lambda: a.__setitem__(0, 3.0))


@kind("an array of no axes", live=True)
def _scalar_array():
    a = np.array(2.0)
    return (lambda x: x * a), (lambda: a.fill(3.0))


@kind("a NumPy number replaced", live=True)
def _numpy_number():
    o = Plain(np.float64(2.0))
    return (lambda x: x * o.k), (lambda: setattr(o, "k", np.float64(3.0)))


@kind("an entry of a large array")
def _large():
    a = np.full(100_000, 2.0)
    return (lambda x: x * a[50_000]), (lambda: a.__setitem__(50_000, 3.0))


@kind("the sum of a large array")
def _large_sum():
    a = np.zeros(100_000)
    a[7] = 2.0
    return (lambda x: x * np.sum(a)), (lambda: a.__setitem__(7, 3.0))


@kind("a view of an array that changes")
def _view():
    a = np.full((3, 3), 2.0)
    row = a[1:2, :1]
    return (lambda x: x * row), (lambda: a.fill(3.0))


@kind("a view of a large array")
def _large_view():
    a = np.full(100_000, 2.0)
    row = a[70_000:70_001]
    return (lambda x: x * row), (lambda: a.fill(3.0))


@kind("the shape of an array", live=True)
def _shape():
    o = Plain(np.zeros((2, 100_000)))
    return (lambda x: x * float(len(o.k))), (lambda: setattr(o, "k", np.zeros((3, 100_000))))


@kind("an array of objects")
def _object_array():
    a = np.array([Plain(), None])
    return (lambda x: x * a[0].k), (lambda: setattr(a[0], "k", 3.0))


@kind("an array of lists")
def _array_of_lists():
    a = np.empty(1, dtype=object)
    a[0] = [2.0]
    return (lambda x: x * a[0][0]), (lambda: a[0].__setitem__(0, 3.0))


@kind("a structured array")
def _structured():
    a = np.array([(2.0,)], dtype=[("k", float)])
    return (lambda x: x * a["k"]), (lambda: a["k"].fill(3.0))


@kind("a record array")
def _record():
    a = np.rec.array([(2.0,)], dtype=[("k", float)])
    return (lambda x: x * a.k), (lambda: a.k.fill(3.0))


@kind("a masked array")
def _masked():
    a = np.ma.array([1.0, 1.0, 1.0], mask=[False, False, True])
    return (lambda x: x * float(a.sum())), (lambda: setattr(a, "mask", [False, False, False]))


@kind("a memory map")
def _memmap():
    a = np.memmap(a_file(b"\0" * 8), dtype=float, shape=(1,), mode="r+")
    a[0] = 2.0
    return (lambda x: x * float(a[0])), (lambda: a.__setitem__(0, 3.0))


@kind("a memory map that the file changes under")
def _memmap_file():
    path = a_file(np.array([2.0]).tobytes())
    a = np.memmap(path, dtype=float, shape=(1,), mode="r")

    def change():
        with open(path, "r+b") as file:
            file.write(np.array([3.0]).tobytes())

    return (lambda x: x * a), change


@kind("a.flat, made before")
def _flat():
    a = np.array([2.0])
    flat = a.flat
    return (lambda x: x * flat[0]), (lambda: a.fill(3.0))


@kind("np.poly1d")
def _poly():
    p = np.poly1d([1.0, 2.0])
    return (lambda x: x * p(0)), (lambda: p.__setitem__(0, 3.0))


@kind("np.vectorize")
def _vectorize():
    k = [2.0]
    f = np.vectorize(lambda one: one * k[0])
    return (lambda x: x * float(f(1.0))), (lambda: k.__setitem__(0, 3.0))


@kind("np.geterr")
def _geterr():
    before = np.seterr(all="warn")
    later(lambda: np.seterr(**before))
    return (
        lambda x: x * (2.0 if np.geterr()["over"] == "warn" else 3.0),
        lambda: np.seterr(over="ignore"),
    )


@kind("np.get_printoptions")
def _printoptions():
    before = np.get_printoptions()
    later(lambda: np.set_printoptions(**before))
    np.set_printoptions(precision=2)
    return (lambda x: x * float(np.get_printoptions()["precision"])), (lambda: np.set_printoptions(precision=3))


@kind("np.random.rand", moving=True)
def _numpy_random():
    np.random.seed(0)
    return (lambda x: x * (1 + np.random.rand())), (lambda: None)


@kind("np.random.Generator", moving=True)
def _numpy_generator():
    draws = np.random.default_rng(0)
    return (lambda x: x * (1 + draws.random())), (lambda: None)


@kind("np.random.RandomState, in a container", moving=True)
def _numpy_state():
    box = {"draws": [np.random.RandomState(0)]}
    return (lambda x: x * (1 + box["draws"][0].rand())), (lambda: None)


@kind("the state of a generator, read")
def _numpy_state_read():
    draws = np.random.default_rng(0)
    return (
        lambda x: x * (draws.bit_generator.state["state"]["state"] % 1009 / 1009 + 1),
        lambda: draws.random(),
    )


@kind("pandas.Series")
def _series():
    s = pd.Series({"k": 2.0})
    return (lambda x: x * s["k"]), (lambda: s.__setitem__("k", 3.0))


@kind("an attribute of a pandas.Series")
def _series_attribute():
    s = pd.Series({"k": 2.0})
    return (lambda x: x * s.k), (lambda: s.__setitem__("k", 3.0))


@kind("pandas.DataFrame.loc")
def _frame():
    table = pd.DataFrame({"k": [2.0]})
    return (lambda x: x * table.loc[0, "k"]), (lambda: table.__setitem__("k", [3.0]))


@kind("pandas.DataFrame.iloc and mean")
def _frame_mean():
    table = pd.DataFrame({"k": [2.0, 2.0]})
    return (
        lambda x: x * (table.iloc[0, 0] + table["k"].mean()) / 2,
        lambda: table.__setitem__("k", [3.0, 3.0]),
    )


@kind("pandas' options")
def _pandas_options():
    later(lambda: pd.reset_option("display.precision"))
    pd.set_option("display.precision", 2)
    return (lambda x: x * float(pd.get_option("display.precision"))), (lambda: pd.set_option("display.precision", 3))


# -- the world --------------------------------------------------------------------------------------------------------


def a_file(content):
    """The path of a new file with this content."""
    with tempfile.NamedTemporaryFile(delete=False, dir=_folder.name) as file:
        file.write(content)
    return file.name


_folder = tempfile.TemporaryDirectory()


@kind("os.environ")
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


# -- what users hang on arrays, Tensors, layers and classes -----------------------------------------------------------


@kind("an attribute of an array of a subclass")
def _array_attribute():
    class Data(np.ndarray):
        pass

    a = np.ones(3).view(Data)
    a.k = 2.0
    return (lambda x: x * a.k), setter(a)


@kind("the function in np.frompyfunc")
def _frompyfunc():
    k = [2.0]
    f = np.frompyfunc(lambda _: k[0], 1, 1)
    return (lambda x: x * float(f(1))), (lambda: k.__setitem__(0, 3.0))


@kind("the name of a Tensor", live=True)
def _tensor_name():
    t = tg.Tensor(1.0, name="first")
    return (lambda x: x * (2.0 if t.name == "first" else 3.0)), setter_of(t, "name", "second")


@kind("the gradient of a Tensor", live=True)
def _tensor_gradient():
    t = tg.Tensor(1.0, requires_grad=True)
    t.grad = 2.0
    return (lambda x: x * t.grad), setter(t, "grad")


@kind("an attribute of a Tensor of a subclass", live=True)
def _tensor_attribute():
    class Scaled(tg.nn.Parameter):
        pass

    t = Scaled(1.0)
    t.k = 2.0
    return (lambda x: x * t.k), setter(t)


@kind("how many subclasses a class has", live=True)
def _subclasses():
    class Base:
        pass

    kept = []
    return (lambda x: x * (2.0 + len(Base.__subclasses__()))), (lambda: kept.append(type("Next", (Base,), {})))


@kind("__getattr__ of a layer", live=True)
def _getattr_of_a_layer():
    class Layer(tg.nn.Module):
        def __init__(self):
            self.settings = {"k": 2.0}

        def __getattr__(self, name):
            if name in ("k",):
                return vars(self)["settings"][name]
            raise AttributeError(name)

        def __call__(self, x):
            return x * self.k

    layer = Layer()
    return (lambda x: layer(x)), (lambda: layer.settings.update(k=3.0))


@kind("__getitem__ of a layer", live=True)
def _getitem_of_a_layer():
    class Layer(tg.nn.Module):
        def __init__(self):
            self.k = 2.0

        def __getitem__(self, _):
            return self.k

    layer = Layer()
    return (lambda x: x * layer[0]), setter(layer)


@kind("a function of this package, replaced", live=True)
def _function_of_ours():
    softplus = tg.softplus
    later(lambda: setattr(tg, "softplus", softplus))
    return (lambda x: tg.softplus(x)), (lambda: setattr(tg, "softplus", lambda x: 3.0 * x))


@kind("the __call__ of this package's layers, replaced", live=True)
def _call_of_ours():
    tanh, layer = vars(tg.nn.Tanh)["__call__"], tg.nn.Tanh()
    later(lambda: setattr(tg.nn.Tanh, "__call__", tanh))
    return (lambda x: layer(x)), (lambda: setattr(tg.nn.Tanh, "__call__", lambda _, x: 3.0 * x))


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
