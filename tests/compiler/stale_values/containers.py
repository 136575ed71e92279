"""Containers, dataclasses, enums and other records."""

import collections
import dataclasses
import decimal
import enum
import fractions
import functools
import heapq
import operator
import queue
import types

from tests.compiler.stale_values.table import Plain, kind, later, setter

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


@kind("the kind of a number in a list", live=True)
def _kind_in_a_list():
    k = [1]
    return (lambda x: x * (2.0 if isinstance(k[0], int) else 3.0)), (lambda: k.__setitem__(0, 1.0))


@kind("the kind of a number in a dict", live=True)
def _kind_in_a_dict():
    k = {"flag": 1}
    return (lambda x: x * (3.0 if k["flag"] is True else 2.0)), (lambda: k.update(flag=True))
