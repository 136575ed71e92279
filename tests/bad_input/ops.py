"""Good calls of the ops and operators."""

# ruff: noqa: B008  # a default argument is how a lambda in a loop keeps its function
from __future__ import annotations

import numpy as np

import tinygrad_dls as tg
from tests.bad_input.calls import CALLS, X3, X23, X32, A, Call, O, call, op_calls, values_of

for _name in ("negative", "exp", "expm1", "log", "log1p", "sqrt", "square", "sin", "cos", "abs", "tanh"):
    op_calls(_name, A(X23), reference=getattr(np, _name))
op_calls("sigmoid", A(X23), reference=lambda z: 1 / (1 + np.exp(-1.0 * z)))
op_calls("relu", A(X23), reference=lambda z: np.maximum(z, 0))
op_calls("softplus", A(X23), reference=lambda z: np.logaddexp(0, 1.0 * z))


def flag(x):
    if not isinstance(x, (bool, np.bool_)):
        raise TypeError
    return x


def below_the_largest(z, axis=0):
    """Logits that are infinite alike are equal."""
    top = np.max(z, axis=axis, keepdims=True)
    return np.where(np.isinf(top) & (z == top), 0, z - top)


def softmax(z, axis=0):
    z = z if isinstance(z, int) else 1.0 * z  # 1.0 * 10**400 overflows
    e = np.exp(below_the_largest(z, axis))
    return e / e.sum(axis=axis, keepdims=True)


for _axis in (0, None, -1):
    op_calls("softmax", A(X23), O("axis", _axis), reference=softmax)
    op_calls("log_softmax", A(X23), O("axis", _axis), reference=lambda z, axis: np.log(softmax(z, axis)))
    op_calls("logsumexp", A(X23), O("axis", _axis), O("keepdims", False),
             f=lambda z, axis, keepdims: tg.logsumexp(z, axis=axis, keepdims=keepdims),
             reference=lambda z, axis, keepdims:
                 np.logaddexp.reduce(1.0 * z, axis=axis, keepdims=bool(flag(keepdims))),
             )  # fmt: skip
for _name in ("add", "subtract", "multiply", "divide", "power", "maximum", "minimum"):
    op_calls(_name, A(X23), A(X23[::-1], role="y"), reference=getattr(np, _name))
    op_calls(_name, A(X23), A(X3, role="y"), reference=getattr(np, _name))
    op_calls(_name, A(X3), A(0.5, role="y"), reference=getattr(np, _name))
for _name in ("matmul", "dot"):
    op_calls(_name, A(X23, role="a"), A(X32, role="b"), reference=getattr(np, _name), names=("matmul", "multiply"))
    op_calls(_name, A(X23, role="a"), A(X3, role="b"), reference=getattr(np, _name), names=("matmul", "multiply"))
op_calls("where", A(X23), A(X23[::-1], role="y"), f=lambda x, y: tg.where(np.array([True, False, True]), x, y),
         reference=lambda x, y: np.where(np.array([True, False, True]), x, y))  # fmt: skip
CALLS["where"].append(Call((A([[True, False, True]], role="condition"),),
                           lambda c: values_of(tg.where(c, tg.Tensor(X23), 0.0)),
                           lambda c: np.where(c, X23, 0.0), ("where",)))  # fmt: skip
op_calls("clip", A(X23), O("min", 0.2), O("max", 0.5), reference=np.clip)

for _name in ("sum", "mean", "max", "min", "prod"):
    op_calls(_name, A(X23), O("axis", 0), O("keepdims", True),
             f=lambda x, axis, keepdims, f=getattr(tg, _name): f(x, axis=axis, keepdims=keepdims),
             reference=lambda x, axis, keepdims, f=getattr(np, _name): f(x, axis=axis, keepdims=keepdims))  # fmt: skip
    op_calls(_name, A(X23), O("axis", None), reference=getattr(np, _name))
for _name in ("var", "std"):
    op_calls(_name, A(X23), O("axis", 1), O("ddof", 1), O("keepdims", False),
             f=lambda x, axis, ddof, keepdims, f=getattr(tg, _name): f(x, axis, ddof=ddof, keepdims=keepdims),
             reference=lambda x, axis, ddof, keepdims, f=getattr(np, _name):
                 f(x, axis, ddof=ddof, keepdims=keepdims))  # fmt: skip
op_calls("cumsum", A(X23), O("axis", 1), reference=np.cumsum)
op_calls("cumsum", A(X23), O("axis", None), reference=np.cumsum)
op_calls("reshape", A(X23), O("shape", (3, 2)), reference=np.reshape)
op_calls("transpose", A(X23), O("axes", (1, 0)), reference=np.transpose)
op_calls("swapaxes", A(X23), O("axis1", 0), O("axis2", 1), reference=np.swapaxes)
op_calls("expand_dims", A(X23), O("axis", 1), reference=np.expand_dims)
op_calls("squeeze", A(X23[None]), O("axis", 0), reference=np.squeeze)
op_calls("broadcast_to", A(X23), O("shape", (4, 2, 3)), reference=np.broadcast_to)
op_calls("astype", A(X23), O("dtype", np.float32), reference=lambda x, dtype: x.astype(dtype))
op_calls("getitem", A(X23), O("index", 1), reference=lambda x, index: x[index])
op_calls("getitem", A(X23), O("index", (slice(None), [0, 2])), reference=lambda x, index: x[index])
for _name in ("concatenate", "stack"):
    op_calls(_name, A(X23), A(X23[::-1]), O("axis", 0), f=lambda x, y, axis, f=getattr(tg, _name): f([x, y], axis),
             reference=lambda x, y, axis, f=getattr(np, _name): f([x, y], axis),
             names=("reshape", "expand_dims", "concatenate"))  # fmt: skip
    CALLS[_name].append(Call((O("arrays", [X23, X23]),), lambda xs, f=getattr(tg, _name): values_of(f(xs)),
                             getattr(np, _name), (_name, "expand_dims", "concatenate")))  # fmt: skip

OPERATORS = {
    "add": lambda x, y: x + y, "sub": lambda x, y: x - y, "mul": lambda x, y: x * y, "truediv": lambda x, y: x / y,
    "pow": lambda x, y: x**y,
}  # fmt: skip
_OP = {"add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide", "pow": "power"}
for _name, _f in OPERATORS.items():
    for _direction, _g in {"": _f, "r": lambda x, y, f=_f: f(y, x)}.items():
        op_calls(f"Tensor.__{_direction}{_name}__", A(X23), A(X3, role="y"), f=_g, reference=_g, names=(_OP[_name],),
                 plain=False)  # fmt: skip
op_calls("Tensor.__matmul__", A(X23), A(X32, role="y"), f=lambda x, y: x @ y, reference=np.matmul, names=("matmul",),
         plain=False)  # fmt: skip
op_calls("Tensor.__rmatmul__", A(X23), A(X32, role="y"), f=lambda x, y: x @ y, reference=np.matmul, names=("matmul",),
         plain=False)  # fmt: skip
for _name, _f in {"eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater,
                  "ge": np.greater_equal}.items():  # fmt: skip
    call(f"Tensor.__{_name}__", A(X23, role="argument 2"), reference=lambda y, f=_f: f(X23[::-1], y),
         run=lambda y, name=_name: getattr(tg.Tensor(X23[::-1]), f"__{name}__")(y),
         names=(_f.__name__, "comparison"))  # fmt: skip
for _name, _places, _f in [
    ("sum", [O("axis", 0)], np.sum), ("mean", [O("axis", 0)], np.mean), ("max", [O("axis", 0)], np.max),
    ("min", [O("axis", 0)], np.min), ("prod", [O("axis", 0)], np.prod), ("var", [O("axis", 0)], np.var),
    ("std", [O("axis", 0)], np.std), ("cumsum", [O("axis", 0)], np.cumsum), ("squeeze", [O("axis", None)], np.squeeze),
    ("clip", [O("min", 0.2), O("max", 0.5)], np.clip), ("reshape", [O("shape", (3, 2))], np.reshape),
    ("reshape", [O("n", 3), O("m", 2)], lambda x, n, m: np.reshape(x, (n, m))),
    ("transpose", [O("axes", (1, 0))], np.transpose),
    ("transpose", [O("i", 1), O("j", 0)], lambda x, *ij: x.transpose(*ij)),
    ("swapaxes", [O("axis1", 0), O("axis2", 1)], np.swapaxes),
    ("astype", [O("dtype", float)], lambda x, d: x.astype(d)),
    ("__getitem__", [O("index", (0, 1))], lambda x, index: x[index]),
]:  # fmt: skip
    op_calls(f"Tensor.{_name}", A(X23), *_places, f=lambda x, *o, name=_name: getattr(x, name)(*o), reference=_f,
             plain=False, names=("getitem",))  # fmt: skip
