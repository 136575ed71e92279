"""NumPy and pandas, and what users hang on arrays, Tensors, layers and classes."""

import numpy as np
import pandas as pd

import tinygrad_dls as tg
from tests.compiler.stale_values.library import setter_of
from tests.compiler.stale_values.table import Plain, kind, later, setter
from tests.compiler.stale_values.world import a_file

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


@kind("an entry of a part of a large array")
def _large_part():
    a = np.full((300, 300), 2.0)
    part = a[:, ::2]
    return (lambda x: x * part[77, 39]), (lambda: a.__setitem__((77, 78), 3.0))


@kind("the shape of an array, assigned to")
def _shape():
    a = np.ones((2, 3))
    return (lambda x: x * float(a.shape[0])), (lambda: setattr(a, "shape", (3, 2)))


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


@kind("a function of NumPy's in a dict", live=True)
def _numpy_function():
    functions = {"pool": np.mean}
    return (lambda x: x * functions["pool"](np.array([1.0, 3.0]))), (lambda: functions.update(pool=np.max))
