"""Bad input, generated: every public function, each argument in turn made bad while the others stay good.

The table `CALLS` has a good call of everything public, with a computation of its answer in plain NumPy beside it. The
lists of corruptions say what an argument may be instead: another container, layout, dtype, shape or level with the
same numbers in it, or nonsense. What comes of a call must be one of two things:

1. the right answer: that of the reference for the same numbers in a plain float array (and, for gradients, the engine's
   own for them), or
2. a clear error of ours. Mechanically: a ValueError, TypeError, IndexError or RuntimeError (or a kind of one), raised
   by a ``raise`` statement in a file of the package (the last instruction that ran, as the traceback has it, is
   RAISE_VARARGS: an error that NumPy or Python raised under a line of the package does not count), whose text names
   the function or the argument's role.

Warnings are errors, refused calls must leave the model and the optimizer as they were, and a call that takes more than
`PATIENCE` seconds counts as a hang. Two allowances: integers follow NumPy's own integer arithmetic, as the ops promise
for plain arrays; and NaN and infinities are data like any other to an op, so that NumPy's warnings about them are off.

``python -m tests.bad_input.test_bad_input`` prints the number of calls, by function.
"""

from __future__ import annotations

import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_dls as tg
from tests.bad_input import checks, estimators, exports, losses, models, ops, optimizers, tensors, training  # noqa: F401  # they fill CALLS
from tests.bad_input.calls import CALLS
from tests.bad_input.corruptions import Bad
from tests.bad_input.judge import outcome
from tinygrad_dls.engine.ops import OF_NUMPY

# Where a huge array is no mistake: NumPy takes views of it at once, or reads it for hours.
TAKE_HUGE = {
    "tensor", "grad", "value_and_grad", "jacobian", "hessian", "hvp",
    "sum", "mean", "max", "min", "prod", "var", "std", "softmax", "log_softmax", "logsumexp", "reshape", "transpose",
    "swapaxes", "expand_dims", "squeeze", "broadcast_to", "getitem",
}  # fmt: skip


def tried(name):
    """Every corruption of every place of the calls of a function, and what came of it."""
    for number, call in enumerate(CALLS[name]):
        clean = [p.good for p in call.places]
        roles = tuple(p.role for p in call.places)
        for k, place in enumerate(call.places):
            named = call._replace(names=(*call.names, *roles))
            for bad in place.instead(place.good):
                if (name, place.role, bad.label) == ("Tensor.__pow__", "x", "matrix"):
                    continue  # np.matrix has a power of its own, and asks nobody
                if bad.label == "huge" and name.split(".")[-1].strip("_").lower() in TAKE_HUGE:
                    continue
                args = [bad.value if i == k else p.good for i, p in enumerate(call.places)]
                plain = [bad.clean if i == k else c for i, c in enumerate(clean)]
                result = outcome(named, args, plain, huge=bad.label == "huge")
                yield f"{name} #{number}, {place.role} = {bad.label}", result


@pytest.mark.parametrize("name", CALLS)
def test_good_calls_are_answered(name):
    for call in CALLS[name]:
        good = [p.good for p in call.places]
        assert outcome(call, good, good) == "answered"


# NumPy 2.5 says so of a time where it expects a number, before it refuses it.
@pytest.mark.filterwarnings("ignore:The 'generic' unit for NumPy timedelta is deprecated:DeprecationWarning")
@pytest.mark.parametrize("name", CALLS)
def test_bad_input_is_answered_rightly_or_refused_clearly(name):
    wrong = [f"{where}: {result}" for where, result in tried(name) if ":" in result]
    assert not wrong, "\n".join(wrong)


@given(st.data())
def test_several_bad_arguments_at_once(data):
    name = data.draw(st.sampled_from(sorted(CALLS.keys() - ALONE)))
    call = CALLS[name][data.draw(st.integers(0, len(CALLS[name]) - 1))]
    bads = [kinds[data.draw(st.integers(0, len(kinds) - 1))] for kinds in map(kinds_of, call.places)]
    args = [bad.value for bad in bads]
    named = call._replace(names=(*call.names, *(place.role for place in call.places)))
    assert ":" not in (result := outcome(named, args, [bad.clean for bad in bads])), (name, bads, result)


# Slow with classes in the thousands or a million epochs; and those that errors call by whatever name is passed.
ALONE = {"confusion_matrix", "fit", "Tensor", "nn.Parameter"}


def kinds_of(place):
    """The corruptions of a place, without the largest, those used up, and those of more levels; and none."""
    unfit = {
        "Tensor",
        "Tensor that requires a gradient",
        "Tensor of a Tensor",
        "Parameter",
        "huge",
        "huge int",
        "negative huge int",
        "generator",
        "iterator",
        "map",
        "dict values",
    }
    return [bad for bad in place.instead(place.good) if bad.label not in unfit] + [Bad("good", place.good, place.good)]


# Public, and not in the table: what takes nothing, or nothing but names, modes and other people's functions.
WITHOUT_ARRAYS = {
    "AnomalyError", "detect_anomaly", "LearningRates", "History", "History.plot", "History.to_csv",
    "History.__getitem__",
    "EarlyStopping", "EarlyStopping.begin", "EarlyStopping.__call__", "EarlyStopping.end",  # tested beside them
    "Checkpoint", "Checkpoint.begin", "Checkpoint.__call__", "Checkpoint.end", "no_grad", "op", "fused_loss",
    "nn.Module", "datasets.Table",
    "Tensor.__format__", "Tensor.__setitem__", "Tensor.__floordiv__", "Tensor.__rfloordiv__",
    "Tensor.__mod__", "Tensor.__rmod__", "Tensor.flatten",
    *(f"Tensor.{name}" for name in OF_NUMPY),  # NumPy's functions of these names, tried beside them
    "check.Diagnosis", "check.Finding", "check.GradCheck", "check.GradientError", "check.Row",
    "check.Step", "check.Variant", "check.UpdateDiagnosis", "check.causes",
    "compile",  # its steps take what a model and its loss take, with the same errors; tested beside it
    "load", "save",  # files, through which tests beside theirs send the same bad input
    "derive", "draw", "numpy_source", "report",  # readers of a graph, whose bad input has tests beside theirs
    "onnx.OPSET", "onnx.IR_VERSION", "onnx.add",
}  # fmt: skip


def public():
    """The dotted names of all public functions and classes, and of the methods and properties that take something."""
    for name in tg.__all__:
        thing = getattr(tg, name)
        if inspect.ismodule(thing):
            for inner in thing.__all__:
                yield from with_methods(f"{name}.{inner}", getattr(thing, inner))
        else:
            yield from with_methods(name, thing)


def with_methods(name, thing):
    yield name
    ours = thing.__mro__ if inspect.isclass(thing) and name not in ("datasets.Table", "nn.Parameter") else ()
    for base in (base for base in ours if base.__module__.startswith("tinygrad_dls")):
        for attribute, member in vars(base).items():
            operator = attribute in OPERATOR_NAMES or attribute == "__call__"
            if isinstance(member, property):
                takes = member.fset is not None
            else:
                takes = inspect.isfunction(member) and len(inspect.signature(member).parameters) > 1
            if takes and (operator or not attribute.startswith("_")):
                yield f"{name}.{attribute}"


OPERATOR_NAMES = {
    f"__{side}{name}__"
    for side in ("", "r")
    for name in ("add", "sub", "mul", "truediv", "pow", "matmul", "mod", "floordiv")
} | {f"__{name}__" for name in ("eq", "ne", "lt", "le", "gt", "ge", "getitem", "setitem", "format")}  # fmt: skip


def test_everything_public_is_in_the_table():
    def entries(name):
        """The name, and the same method of the classes that it is inherited from or by."""
        owner, _, method = name.rpartition(".")
        return {
            name,
            *(f"{other.rpartition('.')[0]}.{method}" for other in CALLS if other.endswith(f".{method}") and owner),
        }

    missing = {name for name in public() if not entries(name) & CALLS.keys()} - WITHOUT_ARRAYS
    assert not missing, missing


def test_the_sweep_is_not_smaller_than_the_docs_say(record_property):
    number = sum(len(list(place.instead(place.good))) for calls in CALLS.values() for c in calls for place in c.places)
    record_property("calls", number)
    assert number > 87_000


if __name__ == "__main__":
    total = 0
    for name in CALLS:
        results = [result for _, result in tried(name)]
        total += len(results)
        print(f"{name:50} {len(results):6,}")
    print(f"{'calls':50} {total:6,}")
