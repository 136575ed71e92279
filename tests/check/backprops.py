"""Backprops by hand in NumPy, of any depth: models, their states, and every array that the course's programs make.

Nothing here uses the engine but to hold parameters and data.
"""

from dataclasses import dataclass, field, replace

import numpy as np

import tinygrad_dls as tg


def sigmoid(z):
    return np.where(z >= 0, 1 / (1 + np.exp(-np.abs(z))), np.exp(-np.abs(z)) / (1 + np.exp(-np.abs(z))))


def softmax(z):
    e = np.exp(z - z.max(axis=0, keepdims=True))
    return e / e.sum(axis=0, keepdims=True)


# each activation, and its derivative in z and a
G = {
    "tanh": (np.tanh, lambda z, a: 1 - a * a),
    "sigmoid": (sigmoid, lambda z, a: a * (1 - a)),
    "relu": (lambda z: np.maximum(z, 0), lambda z, a: (z > 0).astype(z.dtype)),
    "linear": (lambda z: z, lambda z, a: np.ones_like(z)),
}
LAYERS = {"tanh": tg.nn.Tanh, "sigmoid": tg.nn.Sigmoid, "relu": tg.nn.ReLU}


@dataclass(frozen=True)
class Case:
    """A network, its data, its cost, and where its parameters come from."""

    sizes: tuple
    hidden: tuple
    loss: str = "binary"  # or softmax, squares
    m: int = 20
    seed: int = 0
    state: str = "first"  # or trained, zeros, large
    lambd: float = 0.0
    keep_prob: float = 1.0
    course: bool = True  # whether dA and dZ are those of each example's loss
    dtype: type = np.float64
    masks: dict = field(default_factory=dict)

    @property
    def numbers(self):
        L = len(self.sizes) - 1
        return [""] if L == 1 else [str(k) for k in range(1, L + 1)]

    def build(self):
        """The model, X, Y, and the keywords of diagnose."""
        rng = np.random.default_rng(self.seed)
        layers = []
        for k, (n, n_out) in enumerate(zip(self.sizes, self.sizes[1:], strict=False)):
            layers.append(tg.nn.Linear(n, n_out, rng=self.seed + k))
            if k < len(self.hidden):
                layers.append(LAYERS[self.hidden[k]]())
        model = tg.nn.Sequential(*layers)
        scale = {"first": 1.0, "trained": 1.0, "zeros": 0.0, "large": 4.0, "small": 0.01}[self.state]
        for p in model.parameters():
            p.data = (scale * p.data).astype(self.dtype).astype(float)
        X = rng.normal(size=(self.sizes[0], self.m)).astype(self.dtype).astype(float)
        if self.loss == "softmax":
            Y = np.eye(self.sizes[-1])[rng.integers(0, self.sizes[-1], size=self.m)].T
        elif self.loss == "squares":
            Y = rng.normal(size=(self.sizes[-1], self.m)).astype(self.dtype).astype(float)
        else:
            Y = ((X[:1] + 0.5 * rng.normal(size=(1, self.m))) > 0).astype(int)
        masks = {}
        if self.keep_prob < 1:
            drawn = np.random.RandomState(self.seed + 1)
            masks = {
                n: (drawn.rand(size, self.m) < self.keep_prob).astype(int)
                for n, size in zip(self.numbers[:-1], self.sizes[1:], strict=False)
            }
        if self.state == "trained":
            still = replace(self, state="first", masks={}, keep_prob=1.0, dtype=np.float64)
            for _ in range(60):
                s = still.backprop(model, X, Y, {})
                for name, p in model.named_parameters():
                    n = self.numbers[int(name.split(".")[0]) // 2] if "." in name else name[1:]
                    p.data = p.data - 0.3 * s[f"d{name[-1] if '.' in name else name[0]}{n}"]
        kw = {"loss": tg.mean_squared_error} if self.loss == "squares" else {}
        if self.lambd:
            kw["lambd"] = self.lambd
        if masks:
            kw |= {"masks": {f"D{n}": D for n, D in masks.items()}, "keep_prob": self.keep_prob}
        return model, X, Y, masks, kw

    def backprop(self, model, X, Y, masks):
        """Every array, forward and backward, in the course's order."""
        weights = [(layer.W.data.astype(self.dtype), layer.b.data.astype(self.dtype)) for layer in model.layers[::2]]
        s, A, X = {}, X.astype(self.dtype), X.astype(self.dtype)
        outputs = {"binary": sigmoid, "softmax": softmax, "squares": G["linear"][0]}
        gs = [*(G[name][0] for name in self.hidden), outputs[self.loss]]
        free = {}
        for n, (W, b), g in zip(self.numbers, weights, gs, strict=True):
            s[f"Z{n}"] = W @ A + b
            A = free[n] = g(s[f"Z{n}"])
            if n in masks:
                A = A * masks[n].astype(self.dtype) / self.dtype(self.keep_prob)
            s[f"A{n}"] = A
        m = X.shape[1]
        c = 1 if self.course else m
        last = self.numbers[-1]
        if self.loss == "binary":
            with np.errstate(all="ignore"):
                s[f"dA{last}"] = (-(Y / A) + (1 - Y) / (1 - A)) / c
        dZ = (A - Y) / c if self.loss != "squares" else 2 * (A - Y) / c
        for k in range(len(weights) - 1, -1, -1):
            n, (W, b) = self.numbers[k], weights[k]
            s[f"dZ{n}"] = dZ
            below = s[f"A{self.numbers[k - 1]}"] if k else X
            scale = self.dtype(1 if not self.course else 1 / m)
            s[f"dW{n}"] = dZ @ below.T * scale
            if self.lambd:
                s[f"dW{n}"] = s[f"dW{n}"] + self.dtype(self.lambd / m) * W
            s[f"db{n}"] = dZ.sum(axis=1, keepdims=True) * scale
            dA = W.T @ dZ
            if k:
                under = self.numbers[k - 1]
                if under in masks:
                    dA = dA * masks[under].astype(self.dtype) / self.dtype(self.keep_prob)
                s[f"dA{under}"] = dA
                dZ = dA * G[self.hidden[k - 1]][1](s[f"Z{under}"], free[under])
            else:
                s["dA0"] = dA
        return s


def gradients(s):
    return {name: x for name, x in s.items() if name[0] == "d" and np.all(np.isfinite(x))}


def cache(s):
    return {name: x for name, x in s.items() if name[0] != "d"}
