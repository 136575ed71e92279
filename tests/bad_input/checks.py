"""Good calls of transforms and checks."""

# ruff: noqa: B008  # a default argument is how a lambda in a loop keeps its function
from __future__ import annotations

import numpy as np

import tinygrad_dls as tg
from tests.bad_input.calls import X3, X23, A, O, Place, call
from tests.bad_input.corruptions import REFUSE, arrays_instead, scalars_instead
from tests.bad_input.losses import probabilities
from tests.bad_input.models import count, drawn, no_functions, refuses
from tests.bad_input.tensors import same_shape
from tests.bad_input.training import junk_only
from tinygrad_dls.trees import is_tree

# -- transforms -------------------------------------------------------------------------------------------------------


def cubes(x):
    return np.sum(x**3)


def one_array(role, good=X23):
    """Not dicts, and not lists of Tensors: trees are arguments too, with functions that take them (test_transforms)."""
    return Place(role, good, lambda good: [bad for bad in arrays_instead(good) if not is_tree(bad.value)])


def axis_zero(n):
    """The argument to differentiate with respect to, of a function of one."""
    if isinstance(n, bool) or not isinstance(n, (int, tuple)) or n not in (0, -1, (0,), (-1,)):
        raise TypeError
    return n


for _name, _f, _reference in [
    ("grad", cubes, lambda x: 3.0 * x**2), ("value_and_grad", cubes, lambda x: [np.sum(1.0 * x**3), 3.0 * x**2]),
    ("jacobian", lambda x: x**2, lambda x: (np.eye(x.size) * (2.0 * x).ravel()).reshape(x.shape * 2)),
    ("hessian", cubes, lambda x: (np.eye(x.size) * (6.0 * x).ravel()).reshape(x.shape * 2)),
]:  # fmt: skip
    call(_name, one_array("x"), run=lambda x, t=getattr(tg, _name), f=_f: t(f)(x), reference=_reference)
    call(_name, O("argnums", 0), run=lambda n, t=getattr(tg, _name), f=_f: t(f, n)(X3),
         reference=lambda n, r=_reference: (axis_zero(n), r(X3))[1])  # fmt: skip
    call(_name, Place("f", cubes, lambda f: no_functions(scalars_instead(f))),
         reference=lambda f: f is cubes or refuses(),
         run=lambda f, t=getattr(tg, _name): t(f) is not None, names=("expected a function",))  # fmt: skip
call("hvp", one_array("x"), A(X23[::-1], role="v"), run=lambda x, v: tg.hvp(cubes)(x, v),
     reference=lambda x, v: 6.0 * x * same_shape(v, x))  # fmt: skip


# -- checks -----------------------------------------------------------------------------------------------------------


def checked(f=cubes, x=X23, **options):
    """How many entries are right; projections count as one each."""
    (row,) = tg.check.gradcheck(f, x, **options).rows
    assert not row.wrong
    return row.compared


def smooth(x):
    """The number of entries, of floats that are small enough for a difference of cubes to have digits."""
    return x.size if x.dtype.kind == "f" and np.isfinite(x**3).all() else refuses()


call("check.gradcheck", one_array("inputs"), run=lambda x: checked(x=x), names=("input", "inputs", "argument 1"),
     reference=smooth)  # fmt: skip
call("check.gradcheck", Place("f", cubes, lambda f: no_functions(scalars_instead(f))), run=lambda f: checked(f),
     reference=lambda f: 6 if f is cubes else refuses(), names=("expected a function",))  # fmt: skip
call("check.gradcheck", O("rng", 0), run=lambda rng: checked(rng=rng),
     reference=lambda rng: np.random.default_rng(rng) and drawn(rng, 1) is not None and 6)  # fmt: skip
for _option in ("entries", "projections"):
    call("check.gradcheck", O(_option, 2), run=lambda n, option=_option: checked(**{option: n}) > 0,
         reference=lambda n: count(n) > 0)  # fmt: skip

DIAGNOSED = tg.nn.LogisticRegression(2)
DIAGNOSED.layers[0].W.data = np.array([[0.5, -1.0]])
LABELS3 = np.array([[0.0, 1.0, 1.0]])


def slope_by_hand(X, Y):
    if X.shape != (2, np.shape(Y)[-1]) or Y.shape != (1, X.shape[1]) or not np.isfinite(X).all() or not X.size:
        raise ValueError
    A = 1 / (1 + np.exp(-np.array([[0.5, -1.0]]) @ X))
    probabilities(Y)
    return (A - Y) @ X.T / X.shape[1]


DW = slope_by_hand(X23, LABELS3)


def no_answers(good):
    """Junk without dicts, lists and tuples, which hold arrays, or are told to be no cache, and without functions."""
    return [bad for bad in no_functions(junk_only(good)) if not isinstance(bad.value, (dict, list, tuple))]


def diagnosed(X=X23, Y=LABELS3, dW=DW, **options):
    result = tg.check.diagnose(DIAGNOSED, X, Y, {"dW": dW}, **options)
    return [result.findings[-1].expected_norm, float(result.findings[-1].verdict == "right")]


def right(dW):
    """Whether an array is the gradient, to the digits that the coarsest dtype leaves; the course's w is a column."""
    fits = dW.shape in (DW.shape, DW.T.shape, (DW.size,)) and np.allclose(dW.reshape(DW.shape), DW, rtol=1e-2)
    return [np.linalg.norm(DW), float(fits)]


call("check.diagnose", A(X23, role="X"), run=lambda X: diagnosed(X)[0],
     reference=lambda X: np.linalg.norm(slope_by_hand(X, LABELS3)))  # fmt: skip
call("check.diagnose", A(LABELS3, role="Y"), run=lambda Y: diagnosed(Y=Y)[0],
     reference=lambda Y: np.linalg.norm(slope_by_hand(X23, Y)))  # fmt: skip
call("check.diagnose", A(DW, role="dW"), run=lambda dW: diagnosed(dW=dW), reference=right)
Z3 = np.array([[0.5, -1.0]]) @ X23
call("check.diagnose", Place("Z", Z3, lambda z: [bad for bad in arrays_instead(z) if bad.clean is not REFUSE]),
     run=lambda Z: diagnosed(cache={"Z": Z}), reference=lambda Z: right(DW))  # fmt: skip
for _option in ("gradients", "cache", "loss", "model"):
    call("check.diagnose", Place(_option, None, no_answers), reference=lambda v: 1 if v is None else refuses(),
         run=lambda v, option=_option: 1 if v is None else tg.check.diagnose(
             **{"model": DIAGNOSED, "X": X23, "Y": LABELS3, "gradients": {"dW": DW}} | {option: v}),
         names=("expected",))  # fmt: skip
STEP = {"before": np.array([[0.5, -1.0]]), "gradients": DW, "after": np.array([[0.5, -1.0]]) - 0.25 * DW}


def stepped(**arrays):
    given = {role: {"dW" if role == "gradients" else "W": x} for role, x in (STEP | arrays).items()}
    optimizer = tg.optim.SGD(DIAGNOSED.parameters(), lr=0.25)
    [finding] = tg.check.diagnose_update(DIAGNOSED, optimizer=optimizer, **given).findings
    return float(finding.verdict != "wrong")  # in float16, the step is too small to tell


def step_is_right(**arrays):
    """To the digits that the coarsest dtype leaves; the course's w is a column."""
    given = {role: np.asarray(x, float) for role, x in (STEP | arrays).items()}
    if given["after"].shape not in ((1, 2), (2, 1), (2,)):
        return 0.0
    for role, x in given.items():
        if x.shape not in ((1, 2), (2, 1), (2,)) or (role != "after" and not np.isfinite(x).all()):
            raise ValueError
        given[role] = x.reshape(1, 2)
    return float(np.allclose(given["after"], given["before"] - 0.25 * given["gradients"], rtol=1e-2))


for _role in STEP:
    call("check.diagnose_update", A(STEP[_role], role=_role), run=lambda x, role=_role: stepped(**{role: x}),
         reference=lambda x, role=_role: step_is_right(**{role: x}), names=("W",))  # fmt: skip
for _option in ("model", "before", "gradients", "after", "optimizer", "state", "state_after"):
    call("check.diagnose_update", Place(_option, None, no_answers), names=("expected", "must be"),
         reference=lambda v: 1 if v is None else refuses(),
         run=lambda v, option=_option: 1 if v is None else tg.check.diagnose_update(**{
             "model": DIAGNOSED, "optimizer": tg.optim.Adam(DIAGNOSED.parameters()),
             "before": {"W": STEP["before"]}, "gradients": {"dW": DW}, "after": {"W": STEP["after"]},
         } | {option: v}))  # fmt: skip
call("check.diagnose_update", O("m", 5), reference=lambda m: 1.0 if m is None else count(m) > 0,
     run=lambda m: float(tg.check.diagnose_update(
         DIAGNOSED, *[{"W": STEP["before"]}, {"dW": DW}, {"W": STEP["after"]}],
         tg.optim.SGD(DIAGNOSED.parameters(), lr=0.25), m=m).first_wrong is None))  # fmt: skip
for _option, _good in (("name", "a mistake"), ("kinds", "dW")):
    call("check.cause", Place(_option, _good, junk_only), reference=lambda v, good=_good: v == good or refuses(),
         run=lambda v, option=_option: bool(tg.check.cause(**{"name": "a", "kinds": "dW"} | {option: v})))  # fmt: skip
