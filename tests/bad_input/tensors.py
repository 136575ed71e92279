"""Good calls of what a Tensor takes."""

from __future__ import annotations

import tinygrad_dls as tg
from tests.bad_input.calls import X23, X32, A, O, Place, call, unchanged
from tests.bad_input.corruptions import arrays_instead, as_plain
from tests.bad_input.ops import flag


def make_tensor(data, requires_grad, name):
    t = tg.Tensor(data, requires_grad, name=name)
    return [as_plain(t), t.requires_grad]


call("Tensor", A(X23, role="data"), O("requires_grad", True), O("name", "w"), run=make_tensor,
     reference=lambda data, wanted, name: [data, flag(wanted)], names=("this Tensor", "w"))  # fmt: skip


def assign(attribute):
    def run(new):
        t = tg.Tensor(X32, requires_grad=True, name="t")
        with unchanged(t):
            setattr(t, attribute, new)
        return [as_plain(getattr(t, attribute)), *([] if attribute != "data" else [as_plain(t * 2)])]

    return run


def same_shape(x, like=X32):
    if x.shape != like.shape:
        raise ValueError
    return x


call("Tensor.data", A(X32, role="data"), run=assign("data"), reference=lambda x: [same_shape(x), 2 * x], names=("t",))
call("Tensor.grad", Place("grad", X32, lambda x: [b for b in arrays_instead(x) if b.value is not None]),
     run=assign("grad"), names=("t",),     reference=same_shape)  # fmt: skip
call("Tensor.requires_grad", O("requires_grad", True), run=assign("requires_grad"), reference=flag, names=("t",))


def seeded(seed):
    t = tg.Tensor(X32, requires_grad=True, name="t")
    with unchanged(t):
        (t * 3.0).backward(seed)
    return t.grad


call("Tensor.backward", A(X32, role="seed"), run=seeded, reference=lambda seed: 3 * same_shape(seed))
