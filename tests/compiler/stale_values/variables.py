"""Variables and modules."""

import builtins
import importlib
import inspect
import sys
import types

from tests.compiler.stale_values.table import kind, later, setter

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


def in_a_file_of_its_own(code, **variables):
    """A function `f` and the variables of its file."""
    place = {"__name__": "stale_file", **variables}
    exec(code, place)
    return place["f"], place


@kind("a variable that comes to hide a builtin")
def _hidden_builtin():
    f, place = in_a_file_of_its_own("def f(x): return x * abs(-2.0)")
    return f, (lambda: place.update(abs=lambda _: 3.0))


@kind("a variable that is not there yet")
def _no_variable():
    f, place = in_a_file_of_its_own("def f(x):\n try: return x * k\n except NameError: return x * 2.0")
    return f, (lambda: place.update(k=3.0))


@kind("exec of a text")
def _exec():
    f, place = in_a_file_of_its_own("def f(x):\n d = {}\n exec('v=k', globals(), d)\n return x * d['v']", k=2.0)
    return f, (lambda: place.update(k=3.0))


@kind("a module that is not there yet")
def _no_module():
    def scale(x):
        try:
            import stale_later
        except ImportError:
            return x * 2.0
        return x * stale_later.k

    def change():
        sys.modules["stale_later"] = types.ModuleType("stale_later")
        sys.modules["stale_later"].k = 3.0
        later(lambda: sys.modules.pop("stale_later"))

    return scale, change
