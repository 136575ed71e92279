"""Attributes of objects."""

import abc
import argparse
import dataclasses
import functools
import operator
import types

from tests.compiler.stale_values.table import Plain, kind, setter


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
    class Thing(Plain):
        def get(self):
            return self.k

    o, call = Thing(), operator.methodcaller("get")
    return (lambda x: x * call(o)), setter(o)


@kind("functools.reduce(getattr, path)")
def _reduced():
    o = types.SimpleNamespace(a=types.SimpleNamespace(b=2.0))
    return (lambda x: x * functools.reduce(getattr, ["a", "b"], o)), setter(o.a, "b")


@kind("__slots__", live=True)
def _slots():
    class Thing:
        __slots__ = ("k",)

    o = Thing()
    o.k = 2.0
    return (lambda x: x * o.k), setter(o)


@kind("a class's attribute", live=True)
def _class_attribute():
    class Thing:
        k = 2.0

    return (lambda x: x * Thing.k), setter(Thing)


@kind("a class's attribute through an instance", live=True)
def _class_attribute_of_instance():
    class Thing:
        k = 2.0

    o = Thing()
    return (lambda x: x * o.k), setter(Thing)


def base_and_thing():
    class Base:
        k = 2.0

    class Thing(Base):
        pass

    return Base, Thing


@kind("an inherited attribute", live=True)
def _inherited():
    Base, Thing = base_and_thing()
    o = Thing()
    return (lambda x: x * o.k), setter(Base)


@kind("the bases of a class")
def _bases():
    class A:
        k = 2.0

    class B:
        k = 3.0

    class Thing(A):
        pass

    o = Thing()
    return (lambda x: x * o.k), (lambda: setattr(Thing, "__bases__", (B,)))


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

    class Thing(metaclass=Meta):
        pass

    return (lambda x: x * Thing.k), setter(Meta)


@kind("a metaclass's property")
def _metaclass_property():
    box = [2.0]

    class Meta(type):
        @property
        def k(cls):
            return box[0]

    class Thing(metaclass=Meta):
        pass

    return (lambda x: x * Thing.k), (lambda: box.__setitem__(0, 3.0))


@kind("a property", live=True)
def _property():
    class Thing:
        def __init__(self):
            self._k = 2.0

        @property
        def k(self):
            return self._k

    o = Thing()
    return (lambda x: x * o.k), setter(o, "_k")


@kind("functools.cached_property")
def _cached_property():
    class Thing:
        @functools.cached_property
        def k(self):
            return 2.0

    o = Thing()
    return (lambda x: x * o.k), (lambda: vars(o).update(k=3.0))


@kind("a descriptor")
def _descriptor():
    class Stored:
        def __set_name__(self, owner, name):
            self.name = "_" + name

        def __get__(self, o, owner=None):
            return getattr(o, self.name)

    class Thing:
        k = Stored()

    o = Thing()
    o._k = 2.0
    return (lambda x: x * o.k), setter(o, "_k")


@kind("a descriptor that keeps the value itself")
def _descriptor_of_its_own():
    class Stored:
        value = 2.0

        def __get__(self, o, owner=None):
            return self.value

    class Thing:
        k = Stored()

    o, stored = Thing(), vars(Thing)["k"]
    return (lambda x: x * o.k), setter(stored, "value")


@kind("a class's method replaced", live=True)
def _method_replaced():
    class Thing:
        def k(self):
            return 2.0

    o = Thing()
    return (lambda x: x * o.k()), (lambda: setattr(Thing, "k", lambda self: 3.0))


@kind("an object's method replaced", live=True)
def _method_of_object_replaced():
    class Thing:
        def k(self):
            return 2.0

    o = Thing()
    return (lambda x: x * o.k()), (lambda: setattr(o, "k", lambda: 3.0))


@kind("a static method and a class method", live=True)
def _static():
    class Thing:
        k = 1.0

        @staticmethod
        def two():
            return 2.0

        @classmethod
        def own(cls):
            return cls.k

    return (lambda x: x * (Thing.two() * Thing.own())), (lambda: setattr(Thing, "k", 1.5))


@kind("super()", live=True)
def _super():
    class Base:
        def k(self):
            return 2.0

    class Thing(Base):
        def k(self):
            return super().k()

    o = Thing()
    return (lambda x: x * o.k()), (lambda: setattr(Base, "k", lambda self: 3.0))


@kind("functools.partialmethod")
def _partialmethod():
    class Thing:
        def get(self, name):
            return self.__dict__[name]

        k = functools.partialmethod(get, "value")

    o = Thing()
    o.value = 2.0
    return (lambda x: x * o.k()), setter(o, "value")


@kind("isinstance of a class that is registered later")
def _registered():
    class Triple(metaclass=abc.ABCMeta):  # noqa: B024
        pass

    class Thing:
        pass

    o = Thing()
    return (lambda x: x * (3.0 if isinstance(o, Triple) else 2.0)), (lambda: Triple.register(Thing))


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


@kind("an attribute that an object has not yet")
def _no_attribute():
    o = Plain()
    return (lambda x: x * (3.0 if hasattr(o, "flag") else 2.0)), setter(o, "flag")


@kind("an attribute that a class has not yet")
def _no_attribute_of_a_class():
    class Thing:
        pass

    o = Thing()

    def scale(x):
        try:
            return x * o.k
        except AttributeError:
            return x * 2.0

    return scale, setter(Thing)


@kind("a class's attribute that comes to hide an inherited one", live=True)
def _hidden_attribute():
    _, Thing = base_and_thing()
    o = Thing()
    return (lambda x: x * o.k), setter(Thing)


@kind("what an object is made from", live=True)
def _init():
    source = [2.0]

    class Thing:
        def __init__(self):
            self.k = source[0]

    return (lambda x: x * Thing().k), (lambda: source.__setitem__(0, 3.0))


@kind("the default factory of a data class")
def _default_factory():
    source = [2.0]

    @dataclasses.dataclass
    class Thing:
        k: list = dataclasses.field(default_factory=lambda: list(source))

    return (lambda x: x * Thing().k[0]), (lambda: source.__setitem__(0, 3.0))


@kind("the defaults of a data class")
def _defaults_of_a_data_class():
    @dataclasses.dataclass
    class Thing:
        k: float = 2.0

    return (lambda x: x * Thing().k), (lambda: setattr(Thing.__init__, "__defaults__", (3.0,)))


@kind("an attribute in a text that is formatted")
def _formatted():
    o = Plain()
    return (lambda x: x * float("{0.k}".format(o))), setter(o)  # noqa: UP030, UP032  # such a text is what is read
