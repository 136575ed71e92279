"""The protocols of a user's class."""

import contextlib
import copy
import operator

from tests.compiler.stale_values.table import Plain, kind, setter


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
    class Thing(Plain):
        def __enter__(self):
            return self.k

        def __exit__(self, *_):
            pass

    o = Thing()

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
    class Thing:
        k = 2.0

        def __class_getitem__(cls, i):
            return cls.k

    return (lambda x: x * Thing[0]), setter(Thing)


@kind("__instancecheck__")
def _instancecheck():
    class Meta(type):
        k = 2.0

        def __instancecheck__(cls, o):
            return cls.k > 2

    class Thing(metaclass=Meta):
        pass

    return (lambda x: x * (3.0 if isinstance(0, Thing) else 2.0)), setter(Meta)


@kind("__mul__ of a user's class")
def _mul():
    class Thing(Plain):
        def __mul__(self, x):
            return x * self.k

    o = Thing()
    return (lambda x: o * x), setter(o)


@kind("__rsub__ of a user's class")
def _rsub():
    class Thing(Plain):
        def __rsub__(self, one):
            return one + self.k

    o = Thing()
    return (lambda x: x * (0 - o)), setter(o)


@kind("__new__ of a user's class")
def _new():
    class Thing(float):
        k = 2.0

        def __new__(cls):
            return float.__new__(cls, cls.k)

    return (lambda x: x * Thing()), setter(Thing)


@kind("a subclass of float with an attribute")
def _float_subclass():
    class Thing(float):
        pass

    o = Thing(1.0)
    o.k = 2.0
    return (lambda x: x * (o * o.k)), setter(o)


@kind("a class's __call__ replaced")
def _call_replaced():
    class Thing:
        def __call__(self, x):
            return x * 2.0

    return Thing(), (lambda: setattr(Thing, "__call__", lambda self, x: x * 3.0))


@kind("a subclass's __iter__ of a list")
def _list_subclass():
    class L(list):
        k = 2.0

        def __iter__(self):
            return iter([self.k])

    values = L([0.0])
    return (lambda x: x * next(iter(values))), setter(values)
