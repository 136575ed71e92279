"""Arrays that are called anything."""

import re
import unicodedata

import numpy as np
from hypothesis import strategies as st

import tinygrad_dls as tg

X = np.random.default_rng(0).standard_normal((2, 9))
Y = (np.random.default_rng(1).random((1, 9)) < 0.5) * 1.0

TEXTS = st.text(max_size=8) | st.sampled_from([
    "W", "W1", "b", "m", "M", "X", "Y", "Z", "A", "a", "J", "L", "U1", "P1", "C1", "dW", "dZ", "dA", "dU1", "VdW",
    "SdW", "tdW", "new_W", "state1_W", "W_", "W_2", "W 2", "enc.W", "enc_W", "x²", "x2", "½", "1/m", "µ", "μ", "λ", "Λ",
    "\N{LATIN SMALL LETTER LONG S}", "s", "ﬁ", "fi", "日本", "é", "e\u0301", "🙂", "_", "__", "__debug__",
    "__builtins__",
    "np", "float", "bool", "lambda", "None", "match", "type", "sigmoid", "softmax", "step", "memory", "part", "sums",
    "learning_rate", "gradients", "before", "parameters", "state1", "t", "t1", "c", "view", "view1", "ones",
    "zeros", "add", "multiply", "exp", "tanh", "el", "ivmod", "W" * 20_000, "W" * 20_000 + "1", "%", "#", "\\", "{",
    "\n", "\x00", '"', "'", "a\nimport os",
])  # fmt: skip


class Model(tg.nn.Module):
    """The sum of the parts of several parameters of one shape, each in a way of its own."""

    def __init__(self, names):
        rng = np.random.default_rng(2)
        self.parts = [tg.nn.Parameter(rng.standard_normal((1, 2))) for _ in names]
        for p, name in zip(self.parts, names, strict=True):
            p.name = name  # now: a model calls them parts.0, parts.1, ...

    def __call__(self, X):
        Z = self.parts[0] @ X
        for i, w in enumerate(self.parts[1:], 2):
            Z = Z * 0.7 + np.tanh(w @ X) * i
        return Z


def gradients(model):
    J = tg.binary_cross_entropy_with_logits(model(X), Y)
    for p in model.parameters():
        p.grad = None
    J.backward()
    return J, [p.grad for p in model.parameters()]


GREEK = [
    c for c in map(chr, range(0x370, 0x400)) if re.match(r"GREEK (SMALL|CAPITAL) LETTER \w+$", unicodedata.name(c, ""))
]
