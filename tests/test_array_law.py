"""A rule never asks what kind of array it holds; the door, which looks at what users pass, does.

So one rule runs on NumPy's arrays, on Tensors in Tensors, on recordings, on symbols, on blocks and on devices. The law
is read off the source of the ops and the losses: whatever asks, or makes one of NumPy's own arrays, is listed below
with its reason, and what is listed is there.
"""

import ast
import re
from pathlib import Path

import numpy as np
import pytest

PACKAGE = Path(__file__).parents[1] / "tinygrad_dls"
PLACES = (
    "engine/arrays",
    "engine/devices",
    "engine/errors",
    "engine/tensor",
    "engine/operands",
    "engine/autodiff",
    "engine/ops",
    "engine/more_ops",
    "engine/linalg",
    "nn/losses",
    "nn/fused",
    "nn/weighted",
    "nn/labels",
    "nn/regularisation",
    "optim",
    "optimizer",
)
FILES = {place.split("/")[-1]: PACKAGE / f"{place}.py" for place in PLACES}
WITH_RULES = [
    "ops",
    "more_ops",
    "linalg",
    "losses",
    "fused",
    "weighted",
    "labels",
    "regularisation",
]  # the others are doors

# Functions that are no rules: they look at what a user passed, or at labels, before an op is called.
DOORS = {
    "ops.dot": "counts the axes of a list too",
    "ops.clip": "copies limits that the caller may change before backward",
    "ops._listed": "takes a list of arrays, or one array",
    "ops.getitem": "keeps copies of the index, which is no array of the graph",
    "ops._kept_index": "keeps copies of the index, which is no array of the graph",
    "ops._compared.compare": "compares with what the user passed, a list too",
    "ops._method": "makes a method of a function",
    "ops._method_along_axes": "makes a method of an op",
    "ops._method_tolist": "gives Python's numbers, without a graph",
    "linalg.einsum": "takes lists, and reads the subscripts",
    "linalg._letters": "reads the subscripts",
    "linalg.norm": "takes lists, and reads which norm",
    "fused.loss_of": "asks an op, not an array",
    "fused.fused_loss": "asks functions, not arrays",
    "fused.fused_loss.decorate": "asks a rule, not an array",
    "fused.fused_loss.decorate.loss": "asks where a Tensor comes from",
    "fused._activation": "asks where a Tensor comes from",
    "fused._is_one": "asks where a Tensor comes from",
    "fused._applies_one": "makes arrays to try a textbook form with",
    "fused._applies_one.run": "makes arrays to try a textbook form with",
    "fused.nodes": "goes through a graph",
    "losses.binary_cross_entropy_with_logits": "asks where a Tensor comes from",
    "losses.softmax_cross_entropy": "takes lists of labels",
    "labels.prepare": "takes lists, and labels that have no hash",
    "labels._floating": "takes lists",
    "labels._Passed.remember": "remembers labels, of types without weak references too",
    "labels.cut_from": "compares labels with the array that they are cut from",
    "labels._problem": "checks labels, which may be symbols without a truth value",
    "labels.check_columns": "names the column of the labels that is wrong",
    "regularisation.l2": "takes the number of examples, which may be a symbol",
    "regularisation._penalised": "takes a model, or a list of weights",
    "regularisation.dropout": "takes lists of activations, and of zeros and ones",
    "labels.prepare_weights": "takes lists, and dtypes",
    "labels.smooth_labels": "takes lists, and makes floats of integers",
    "labels.one_hot": "takes class indices, which are NumPy's",
    "labels.in_dtype": "leaves labels that are symbols as they are",
}

# What a rule asks all the same, or makes.
EXCEPTIONS = {
    ("ops.power.dx", "hasattr(y, 'dtype')"): "a Python number has no precision of its own",
    ("ops.power.dy", "hasattr(x, 'dtype')"): "a Python number has no precision of its own",
    ("ops.power.dy", "float(np.log(x if x else 1))"): "the logarithm of a Python number, as one",
    ("ops._axes", "isinstance(axis, tuple)"): "of an option, not of an array",
    ("ops._count", "math.prod"): "of lengths",
    ("ops._refuse_too_few", "getattr(x, 'size', 1)"): "a Python number has no size",
    ("ops.std.dx", "a.dtype.kind != 'O'"): "symbols have no squares that vanish",
    ("ops._unit", "hasattr(type(x), '__array_interface__')"): "a unit is found by numbers, which recordings have not",
    ("ops._unit", "type(x)"): "a unit is found by numbers, which recordings have not",
    ("ops._unit", "on_device"): "a unit is found by numbers, which arrays on a device have",
    ("ops.transpose", "int(i)"): "of an option, not of an array",
    ("ops.astype", "as_array"): "refuses dtypes that are not numeric",
    ("ops.astype", "z.dtype.kind in 'fO'"): "of the dtype that was asked for",
    ("more_ops", "math.log"): "of the bases 2 and 10",
    ("more_ops", "math.pi"): "of degrees",
    ("ops._floats", "getattr(z, 'dtype', _FLOAT)"): "a Python number has no dtype",
    ("ops.below_largest", "top.dtype.kind == 'O'"): "symbols stand for finite numbers",
    (
        "losses._binary_cross_entropy_with_logits",
        "J.__class__",
    ): "a quick way to see that a cost is a number: small steps",
    ("losses", "np.float32"): "of the same quick way",
    ("losses", "np.float64"): "of the same quick way",
    ("fused.is_nan", "isinstance((J := values(J)), np.floating)"): "whether a cost is a number yet, not a recording",
    ("fused.is_nan", "np.floating"): "whether a cost is a number yet, not a recording",
    ("fused.is_nan", "on_device"): "whether a cost is a number yet, not a recording",
    ("fused.is_nan", "bool(J != J)"): "of a cost that is a number",
}


ASKS = {"isinstance", "issubclass", "type", "hasattr", "getattr", "callable", "vars", "dir"}
MAKES_A_NUMBER = {"float", "int", "bool", "complex"}  # as calls; `x.astype(float)` makes none
AS_WELL = {"as_array", "on_device", "to_host", "beside", "singledispatch", "suppress"}  # by name, or of a module
TELLING = {"flags", "base", "strides", "ctypes", "item", "tolist", "__class__", "__dict__"}  # of an array
CATCHES = {"AttributeError", "TypeError", "Exception", "BaseException"}
NO_ARRAYS = {"errstate", "finfo", "iinfo", "dtype", "inf", "nan", "pi", "e", "newaxis"}


class Asking(ast.NodeVisitor):
    """The places of a module that ask what kind of array it is, each as the function that it is in, and its text."""

    def __init__(self, module):
        self.function, self.found = [module], set()

    def add(self, node):
        self.found.add((".".join(self.function), ast.unparse(node)))

    def visit_within(self, node):
        for decorator in node.decorator_list:
            self.visit(decorator)
        self.function.append(node.name)
        for child in [*(node.args.defaults + node.args.kw_defaults if hasattr(node, "args") else []), *node.body]:
            if child is not None:  # a keyword-only argument without a default
                self.visit(child)
        self.function.pop()

    visit_FunctionDef = visit_ClassDef = visit_within

    def visit_AnnAssign(self, node):  # an annotation asks nothing
        if node.value is not None:
            self.visit(node.value)

    def visit_If(self, node):
        if ast.unparse(node.test) != "TYPE_CHECKING":
            self.generic_visit(node)

    def visit_Call(self, node):
        name = node.func.id if isinstance(node.func, ast.Name) else None
        if name in ASKS | MAKES_A_NUMBER:
            self.add(node)
        elif not any(keyword.arg == "like" for keyword in node.keywords):  # np.zeros(..., like=x) is of the kind of x
            self.visit(node.func)
        if name == "map" and ast.unparse(node.args[0]) in MAKES_A_NUMBER:
            self.add(node)
        for argument in [*node.args, *node.keywords]:
            self.visit(argument)

    def visit_Name(self, node):
        if node.id in ASKS | AS_WELL | {"np"} or "ndarray" in node.id.lower():  # a bare np could become another name
            self.add(node)

    def visit_Attribute(self, node):
        path = re.fullmatch(r"[\w.]+", ast.unparse(node))  # of names alone
        path = path.group().split(".") if path else [""]
        if path[0] == "np":
            if _is_numpys_own(path[1:]):
                self.add(node)
            return
        if path[0] in ("math", "builtins") or node.attr in TELLING | AS_WELL or node.attr.startswith("__array"):
            self.add(node)
        self.visit(node.value)

    def visit_Compare(self, node):
        sides = [node.left, *node.comparators]
        texts = [side.value for side in sides if isinstance(side, ast.Constant) and isinstance(side.value, str)]
        names = [side.id for side in sides if isinstance(side, ast.Name)]
        if any("O" in text for text in texts) or "object" in names:
            self.add(node)  # dtype.kind == "O", or dtype == object: whether it holds symbols
        self.generic_visit(node)

    def visit_ExceptHandler(self, node):
        caught = {n.id for n in ast.walk(node.type) if isinstance(n, ast.Name)} if node.type else CATCHES
        if caught & CATCHES:
            self.found.add((".".join(self.function), f"except {ast.unparse(node.type) if node.type else ''}".strip()))
        self.generic_visit(node)

    def visit_MatchClass(self, node):
        self.add(node)

    def visit_Import(self, node):
        if any(name.name.startswith("numpy") and name.asname != "np" for name in node.names):
            self.add(node)  # by another name, np.asarray would not be seen

    def visit_ImportFrom(self, node):
        if (node.module or "").startswith("numpy"):
            self.add(node)


def _is_numpys_own(path):
    """Whether NumPy keeps a function to itself, and does not hand it over to the array's own kind (NEP 13, NEP 18)."""
    found = np
    for name in path:  # of np.linalg.inv, the function; of np.add.at, the ufunc
        found = getattr(found, name, None)
        if isinstance(found, np.ufunc) or hasattr(found, "_implementation"):
            return False
    return path[0] not in NO_ARRAYS


def asked(source, module="module"):
    visitor = Asking(module)
    visitor.visit(ast.parse(source))
    return visitor.found


def source_of(name):
    return FILES[name].read_text()


def rules(source, module):
    """The functions that are decorated with ``op``."""
    return {
        f"{module}.{node.name}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef)
        and any(ast.unparse(d).split("(")[0] in ("op", "single_inside") for d in node.decorator_list)
    }


@pytest.mark.parametrize("module", WITH_RULES)
def test_a_rule_never_asks_what_kind_of_array_it_holds(module):
    found = {(place, text) for place, text in asked(source_of(module), module) if place not in DOORS}
    excepted = {(place, text) for place, text in EXCEPTIONS if place.split(".")[0] == module}
    assert found - excepted == set(), "write it with what NumPy's protocols give; or, at a door, give a reason above"
    assert excepted - found == set(), "these exceptions are needed no longer"


@pytest.mark.parametrize("module", WITH_RULES)
def test_no_door_is_a_rule_and_each_is_one(module):
    doors = {door for door in DOORS if door.split(".")[0] == module}
    assert doors & rules(source_of(module), module) == set()
    assert doors - {place for place, _ in asked(source_of(module), module)} == set(), "these ask nothing"


def test_rules_are_written_in_these_modules_alone():
    with_rules = {FILES[name] for name in ("ops", "more_ops", "linalg", "losses", "weighted", "regularisation")}
    assert {path for path in PACKAGE.rglob("*.py") if rules(path.read_text(), "")} == with_rules


NUMPYS_OWN_ARRAY = {
    "arrays": {
        "arrays", "arrays.as_array",  # the door
        "arrays.unbroadcast", "arrays.summed",  # what the method comes to, spelled out
    },
    "autodiff": {"autodiff", "autodiff.op.decorate.apply"},  # the door, spelled out
    "devices": set(), "operands": set(), "tensor": set(), "errors": set(), "ops": set(), "more_ops": set(),
    "linalg": set(), "losses": set(), "labels": set(), "regularisation": set(), "optim": set(), "optimizer": set(),
}  # fmt: skip


@pytest.mark.parametrize(("module", "places"), NUMPYS_OWN_ARRAY.items())
def test_the_engine_and_its_doors_name_numpys_own_array_in_these_places_alone(module, places):
    assert {place for place, text in asked(source_of(module), module) if "ndarray" in text.lower()} == places


@pytest.mark.parametrize("module", WITH_RULES)
def test_not_even_the_doors_of_ops_and_losses_turn_what_they_hold_into_numpys_own_array(module):
    made = {text for _, text in asked(source_of(module), module)}
    assert made & {"np.asarray", "np.asanyarray", "np.array", "np.ascontiguousarray", "np.asfortranarray"} == set()


@pytest.mark.parametrize(
    "line",
    [
        "if isinstance(x, np.ndarray): pass",
        "if issubclass(type(x), Tensor): pass",
        "if type(x) is Tensor: pass",
        "kind = type; kind(x)",
        "if x.__class__ is Tensor: pass",
        "if x.__class__.__name__ == 'Tensor': pass",
        "if hasattr(x, 'compute'): pass",
        "compute = getattr(x, 'compute', None)",
        "if 'compute' in dir(x): pass",
        "if hasattr(x.data, '__array_interface__'): pass",
        "f = x.__array_function__",
        "if x.flags.c_contiguous: pass",
        "if x.base is None: pass",
        "y = x.item()",
        "y = np.exp(x).tolist()",
        "y = float(x)",
        "y = bool(x > 0)",
        "y = list(map(float, x))",
        "y = math.exp(x)",
        "y = np.asarray(x)",
        "y = np.array(x)",
        "y = np.asanyarray(x) + 1",
        "y = np.ascontiguousarray(x)",
        "y = map(np.asarray, [x])",
        "y = np.zeros(x.shape)",
        "y = np.ones(x.shape, x.dtype)",
        "y = np.full(x.shape, 2.0)",
        "y = np.empty(3)",
        "y = np.eye(3)",
        "y = np.arange(3) * x",
        "y = np.float64(x)",
        "y = np.random.rand(3)",
        "y = np.isscalar(x)",
        "y = as_array(x)",
        "y = to_host(x)",
        "if on_device(x): pass",
        "if x.dtype == object: pass",
        "if x.dtype.kind == 'O': pass",
        "if x.dtype.kind in 'fO': pass",
        "from numpy import asarray",
        "import numpy as xp",
        "import numpy",
        "xp = np; y = xp.asarray(x)",
        "y = builtins.float(x)",
        "if x.__class__ is _NDARRAY: pass",
        "f = functools.singledispatch(rule)",
        "try: x.compute()\n    except AttributeError: pass",
        "try: x.compute()\n    except (KeyError, TypeError): pass",
        "try: x.compute()\n    except: pass",
        "with contextlib.suppress(AttributeError): x.compute()",
        "match x:\n        case np.ndarray(): pass",
        "def dx(dz=np.zeros(3)): return dz",
        "return x, (lambda dz: np.broadcast_to(np.asarray(dz), x.shape),)",
        "return x, (lambda dz: dz if isinstance(dz, Tensor) else 2 * dz,)",
    ],
)
def test_the_law_sees_whoever_breaks_it(line):
    found = asked(f"@op()\ndef rule(x, /, *, axis):\n    {line}\n")
    assert found
    assert {place for place, _ in found} <= {"module.rule", "module.rule.dx"}


@pytest.mark.parametrize(
    "line",
    [
        "return np.tanh(x), (lambda dz: dz * (1 - np.tanh(x) ** 2),)",
        "y = np.where(x > 0, x, 0)",
        "y = np.zeros_like(x) + np.ones_like(x)",
        "y = np.zeros(x.shape, like=x)",
        "y = like(False, x)",
        "y = np.concatenate([x, x], axis=0)",
        "np.add.at(y, index, x)",
        "y = np.linalg.inv(x)",
        "y = np.add.reduce(x)",
        "y = x.astype(float)",
        "if x.dtype.kind in 'iub': pass",
        "if x.ndim == 2 and x.shape[0] == 1: pass",
        "with np.errstate(invalid='ignore'): y = x / x",
        "limits = np.finfo(x.dtype)",
        "y: np.ndarray = x",
        "def dx(dz: np.ndarray, keepdims: bool = False) -> type[Tensor]: return dz",
        "try: y = x\n    except ValueError: pass",
    ],
)
def test_the_law_lets_pass_what_speaks_numpys_protocols(line):
    assert asked(f"@op()\ndef rule(x: np.ndarray, /, *, axis: int):\n    {line}\n") == set()


def test_what_is_loaded_for_type_checkers_alone_asks_nothing():
    assert asked("if TYPE_CHECKING:\n    from numpy.typing import DTypeLike\n") == set()
